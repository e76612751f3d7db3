//! What simulated clients write: HTTP heads, masked frames and STOMP, cut and packed by chance.

use std::fmt::Write;

use ringway::proto::stomp::Version;

use crate::dice::Dice;

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;

/// A whole WebSocket upgrade of `path`.
pub(crate) fn upgrade(path: &str, is_browser: bool) -> Vec<u8> {
    let origin = if is_browser { "Origin: http://sim\r\n" } else { "" };
    format!(
        "GET {path} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{origin}\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: v12.stomp, v11.stomp\r\n\r\n"
    )
    .into_bytes()
}

/// Appends one masked frame.
pub(crate) fn frame(out: &mut Vec<u8>, fin: bool, opcode: u8, payload: &[u8], dice: &mut Dice) {
    out.push(if fin { 0x80 } else { 0 } | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(bytes @ 0..=125), _) => out.push(0x80 | bytes),
        (_, Ok(bytes)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&bytes.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    let roll = dice.next().to_be_bytes();
    let mask = [roll[0], roll[1], roll[2], roll[3]];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Appends one message, now and then in fragments with pings in between; returns the pings.
pub(crate) fn message(out: &mut Vec<u8>, payload: &[u8], dice: &mut Dice) -> Vec<Vec<u8>> {
    let is_text = str::from_utf8(payload).is_ok() && dice.percent(60);
    let mut opcode = if is_text { TEXT } else { BINARY };
    let mut pings = Vec::new();
    let mut rest = payload;
    while dice.percent(12) && pings.len() < 4 {
        let (part, after) = rest.split_at(dice.below(rest.len() + 1));
        rest = after;
        frame(out, false, opcode, part, dice);
        opcode = CONTINUATION;
        if dice.percent(30) {
            let ping = dice.next().to_be_bytes()[..dice.below(9)].to_vec();
            frame(out, true, PING, &ping, dice);
            pings.push(ping);
        }
    }
    frame(out, true, opcode, rest, dice);
    pings
}

/// Appends a close frame.
pub(crate) fn close(out: &mut Vec<u8>, code: Option<u16>, dice: &mut Dice) {
    let payload = code.map(|code| code.to_be_bytes().to_vec()).unwrap_or_default();
    frame(out, true, CLOSE, &payload, dice);
}

/// One STOMP frame.
pub(crate) fn stomp(
    command: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    version: Version,
    dice: &mut Dice,
) -> Vec<u8> {
    let line_end = if version == Version::V1_2 && dice.percent(20) { "\r\n" } else { "\n" };
    let is_raw = matches!(command, "CONNECT" | "STOMP");
    let mut head = format!("{command}{line_end}");
    for (name, value) in headers {
        let value = if is_raw { (*value).to_owned() } else { escaped(value, version) };
        head.push_str(name);
        head.push(':');
        head.push_str(&value);
        head.push_str(line_end);
    }
    if body.contains(&0) || (!body.is_empty() && dice.percent(50)) {
        write!(head, "content-length:{}{line_end}", body.len()).expect("a String takes all");
    }
    head.push_str(line_end);
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes.push(0);
    if dice.percent(20) {
        bytes.push(b'\n');
    }
    bytes
}

fn escaped(text: &str, version: Version) -> String {
    if version == Version::V1_0 {
        return text.to_owned();
    }
    let text = text.replace('\\', "\\\\").replace('\n', "\\n").replace(':', "\\c");
    if version == Version::V1_2 { text.replace('\r', "\\r") } else { text }
}
