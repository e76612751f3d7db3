//! The header of one frame: its bits, its length, its mask (RFC 6455 §5.2).

use crate::proto::ws::Error;

/// The longest header a client can write: two bytes, a 64-bit length and the mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455 §5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;

const _: () = assert!(HEADER_BYTES_MAX == 2 + 8 + 4);

/// What a frame is (RFC 6455 §5.2); the numbers are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further part of the open message.
    Continuation = 0x0,
    /// The start of a text message.
    Text = 0x1,
    /// The start of a binary message.
    Binary = 0x2,
    /// The end of the connection.
    Close = 0x8,
    /// A question that wants a pong.
    Ping = 0x9,
    /// The answer to a ping, or an unasked sign of life.
    Pong = 0xA,
}

impl Opcode {
    /// Whether it is a close, ping or pong, which may come between the frames of a message.
    #[must_use]
    pub fn is_control(self) -> bool {
        match self {
            Self::Close | Self::Ping | Self::Pong => true,
            Self::Continuation | Self::Text | Self::Binary => false,
        }
    }

    /// The four bits on the wire.
    #[must_use]
    pub fn bits(self) -> u8 {
        self as u8
    }

    fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }
}

/// A client's frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the message ends with this frame.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The key of the payload.
    pub mask: [u8; 4],
    /// How many bytes of payload follow.
    pub payload_bytes: u64,
}

impl Header {
    /// Decodes the header at the front of `input`.
    ///
    /// Returns the header and its own size in bytes, or `None` when `input` ends inside the header:
    /// a short read is normal, so it is not an error. Reads nothing past the header
    /// (RFC 6455 §5.2). The length is judged as soon as it is there, before the mask.
    ///
    /// # Errors
    ///
    /// Any [`Error`] means the peer broke the protocol; the stream cannot be resynchronised.
    pub fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, Error> {
        let Some((&[first, second], rest)) = input.split_first_chunk() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Error::ReservedBits);
        }
        let opcode = Opcode::from_bits(first & 0x0F).ok_or(Error::ReservedOpcode)?;
        let fin = first & 0x80 != 0;
        if second & 0x80 == 0 {
            return Err(Error::NotMasked);
        }
        let short_length = second & 0x7F;
        if opcode.is_control() {
            if !fin {
                return Err(Error::ControlFragmented);
            }
            if 125 < short_length {
                return Err(Error::ControlTooLong);
            }
        }
        let Some((payload_bytes, rest)) = decode_length(short_length, rest)? else {
            return Ok(None);
        };
        let Some((&mask, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        Ok(Some((Self { fin, opcode, mask, payload_bytes }, input.len() - rest.len())))
    }
}

/// The length that `short_length` says or that follows it, and what comes after it.
fn decode_length(short_length: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Error> {
    let (payload_bytes, minimum, rest) = match short_length {
        126 => {
            let Some((&bytes, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(bytes)), 126, rest)
        }
        127 => {
            let Some((&bytes, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(bytes), 0x1_0000, rest)
        }
        _ => (u64::from(short_length), 0, rest),
    };
    if payload_bytes < minimum {
        return Err(Error::LengthNotMinimal);
    }
    if payload_bytes >> 63 != 0 {
        return Err(Error::LengthOverflow);
    }
    Ok(Some((payload_bytes, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Expected = Result<Option<(Opcode, u64, usize)>, Error>;

    #[track_caller]
    fn check(input: &[u8], expected: Expected) {
        let found = Header::decode(input)
            .map(|found| found.map(|(it, bytes)| (it.opcode, it.payload_bytes, bytes)));
        assert_eq!(found, expected);
    }

    #[test]
    fn lengths_change_form_at_126_and_65536() {
        check(b"\x82\xFD____", Ok(Some((Opcode::Binary, 125, 6))));
        check(b"\x82\xFE\x00\x7E____", Ok(Some((Opcode::Binary, 126, 8))));
        check(b"\x82\xFE\x00\x7D____", Err(Error::LengthNotMinimal));
        check(b"\x82\xFE\xFF\xFF____", Ok(Some((Opcode::Binary, 65_535, 8))));
        check(b"\x82\xFF\0\0\0\0\0\x01\0\0____", Ok(Some((Opcode::Binary, 65_536, 14))));
        check(b"\x82\xFF\0\0\0\0\0\0\xFF\xFF____", Err(Error::LengthNotMinimal));
    }

    #[test]
    fn the_highest_bit_of_a_length_must_be_zero() {
        check(b"\x82\xFF\x80\0\0\0\0\0\0\0", Err(Error::LengthOverflow));
        let largest = b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF____";
        check(largest, Ok(Some((Opcode::Binary, u64::MAX >> 1, 14))));
    }

    #[test]
    fn a_length_is_judged_before_the_mask_arrives() {
        check(b"\x82\xFE\x00\x7D", Err(Error::LengthNotMinimal));
    }

    #[test]
    fn every_prefix_of_a_header_is_incomplete_not_wrong() {
        for whole in
            [&b"\x82\xFF\0\0\0\0\0\x01\0\0____"[..], b"\x81\xFE\x01\x00____", b"\x89\x80____"]
        {
            for cut in 0..whole.len() {
                check(&whole[..cut], Ok(None));
            }
        }
    }

    #[test]
    fn each_reserved_bit_and_opcode_is_refused() {
        for bits in [0x10, 0x20, 0x40, 0x70] {
            check(&[0x81 | bits, 0x80, 0, 0, 0, 0], Err(Error::ReservedBits));
        }
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            check(&[0x80 | opcode, 0x80, 0, 0, 0, 0], Err(Error::ReservedOpcode));
        }
    }

    #[test]
    fn a_client_must_mask() {
        check(b"\x81\x00", Err(Error::NotMasked));
        check(b"\x81\x80____", Ok(Some((Opcode::Text, 0, 6))));
    }

    #[test]
    fn control_frames_are_whole_and_short() {
        check(b"\x89\xFD____", Ok(Some((Opcode::Ping, 125, 6))));
        check(b"\x89\xFE", Err(Error::ControlTooLong));
        check(b"\x8A\xFF", Err(Error::ControlTooLong));
        check(b"\x09\x80", Err(Error::ControlFragmented));
        check(b"\x08\x80", Err(Error::ControlFragmented));
    }
}
