//! Frames to send: unmasked, never fragmented (RFC 6455 §5.1).

use arrayvec::ArrayVec;

use crate::proto::ws::Opcode;
use crate::proto::ws::header::CONTROL_BYTES_MAX;

/// The header of one final, unmasked frame whose payload of `payload_bytes` the caller appends.
///
/// The payload of a control frame must not exceed 125 bytes; that is the caller's to keep.
#[must_use]
pub fn header(opcode: Opcode, payload_bytes: usize) -> ArrayVec<u8, 10> {
    let mut header = ArrayVec::new();
    header.push(0x80 | opcode.bits());
    match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(short @ 0..=125), _) => header.push(short),
        (_, Ok(medium)) => {
            header.push(126);
            header.extend(medium.to_be_bytes());
        }
        (_, Err(_)) => {
            header.push(127);
            header.extend((payload_bytes as u64).to_be_bytes());
        }
    }
    header
}

/// Appends one whole frame to `out`.
pub fn push_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let header = header(opcode, payload.len());
    out.reserve(header.len() + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// Appends a close frame to `out`; `reason` is cut to what fits beside the code (RFC 6455 §5.5.1).
pub fn push_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut payload = ArrayVec::<u8, CONTROL_BYTES_MAX>::new();
    payload.extend(code.to_be_bytes());
    let reason_bytes = reason.floor_char_boundary(payload.remaining_capacity());
    payload.extend(reason.bytes().take(reason_bytes));
    push_frame(out, Opcode::Close, &payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_take_the_shortest_form() {
        assert_eq!(header(Opcode::Text, 0)[..], *b"\x81\x00");
        assert_eq!(header(Opcode::Text, 125)[..], *b"\x81\x7D");
        assert_eq!(header(Opcode::Binary, 126)[..], *b"\x82\x7E\x00\x7E");
        assert_eq!(header(Opcode::Binary, 255)[..], *b"\x82\x7E\x00\xFF");
        assert_eq!(header(Opcode::Binary, 65_535)[..], *b"\x82\x7E\xFF\xFF");
        assert_eq!(header(Opcode::Binary, 65_536)[..], *b"\x82\x7F\0\0\0\0\0\x01\0\0");
    }

    #[test]
    fn a_frame_is_its_header_and_its_payload() {
        let mut out = b"before".to_vec();
        push_frame(&mut out, Opcode::Pong, b"hi");
        assert_eq!(out, b"before\x8A\x02hi");
    }

    #[track_caller]
    fn check_close(reason: &str, expected_reason: &str) {
        let mut out = Vec::new();
        push_close(&mut out, 1002, reason);
        let mut expected = vec![0x88, u8::try_from(2 + expected_reason.len()).expect("short")];
        expected.extend(b"\x03\xEA");
        expected.extend(expected_reason.bytes());
        assert_eq!(out, expected);
    }

    #[test]
    fn a_reason_is_cut_at_a_character() {
        check_close("", "");
        check_close(&"x".repeat(123), &"x".repeat(123));
        check_close(&"x".repeat(124), &"x".repeat(123));
        check_close(&format!("{}é", "x".repeat(122)), &"x".repeat(122));
        check_close(&format!("{}é", "x".repeat(121)), &format!("{}é", "x".repeat(121)));
    }
}
