//! What broken and hostile peers write.

use ringway::proto::stomp::Version;

use crate::dice::Dice;
use crate::plan::MESSAGE_BYTES_MAX;
use crate::wire;

/// A whole head that is no upgrade, or none at all.
pub(crate) fn request(dice: &mut Dice) -> Vec<u8> {
    let text = *dice.pick(&[
        "GET /actuator/health HTTP/1.1\r\nHost: sim\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: sim\r\n\r\n",
        "POST /ws HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: sim\r\n\r\n",
        "GET /ws HTTP/1.0\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: sim\r\nA b: c\r\n\r\nand more",
    ]);
    text.as_bytes().to_vec()
}

/// Bytes behind an upgrade that break a rule, or lead to nothing.
pub(crate) fn bytes(version: Version, dice: &mut Dice) -> Vec<u8> {
    let mut out = Vec::new();
    match dice.below(9) {
        0 => out.extend((0..dice.between(1, 300)).map(|_| dice.next().to_le_bytes()[0])),
        1 => out.extend_from_slice(b"\x81\x05hello"),
        2 => wire::frame(&mut out, true, 0xB, b"", dice),
        3 => wire::frame(&mut out, true, wire::TEXT, b"SEND\n\xFF", dice),
        4 => wire::frame(&mut out, true, wire::CONTINUATION, b"loose", dice),
        5 => wire::frame(&mut out, false, wire::PING, b"in parts", dice),
        6 => {
            // Announces more than it may and says nothing.
            out.extend_from_slice(&[0x82, 0xFF]);
            out.extend_from_slice(&(MESSAGE_BYTES_MAX as u64 + 1).to_be_bytes());
        }
        7 => wire::close(&mut out, Some(1005), dice),
        _ => {
            let frame = stomp(version, dice);
            wire::frame(&mut out, true, wire::BINARY, &frame, dice);
        }
    }
    if dice.percent(30) {
        out.extend((0..dice.below(100)).map(|_| dice.next().to_le_bytes()[0]));
    }
    out
}

fn stomp(version: Version, dice: &mut Dice) -> Vec<u8> {
    match dice.below(8) {
        0 => wire::stomp("CONNECT", &[("accept-version", "1.2")], b"", version, dice),
        1 => wire::stomp("MESSAGE", &[("destination", "/topic/a")], b"0;", version, dice),
        2 => b"SEND\ndestination\n\n\0".to_vec(),
        3 => b"SEND\ndestination:/topic/\0\n\n\0".to_vec(),
        4 => b"SEND\n\n\0".to_vec(),
        5 => b"SEND\ndestination:/topic/a\ncontent-length:2\n\nlonger\0".to_vec(),
        6 => b"WHATEVER\n\n\0".to_vec(),
        _ => {
            let long = "x".repeat(MESSAGE_BYTES_MAX / 2);
            wire::stomp("SEND", &[("destination", &long)], b"", version, dice)
        }
    }
}
