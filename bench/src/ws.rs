//! WebSocket frames as a client sees them: masked going out, bare coming in (RFC 6455 §5).
//!
//! Written for this tool and shared with no server: two implementations that agree are a test.

use std::fmt;

/// The longest header of a frame from a server: two bytes and a length of eight.
pub const HEADER_BYTES_MAX: usize = 10;
/// Larger frames than this are refused: no scenario asks a server for one.
pub const PAYLOAD_BYTES_MAX: usize = 32 << 20;
/// The longest payload of a close, ping or pong (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// What a frame is (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// The next part of a message.
    Continuation,
    /// UTF-8, or the first part of it.
    Text,
    /// Bytes, or the first part of them.
    Binary,
    /// The end of the connection, with a code and a reason.
    Close,
    /// To be answered with a pong of the same payload.
    Ping,
    /// The answer to a ping.
    Pong,
}

/// How the server broke RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A reserved bit is set although no extension was agreed on.
    ReservedBits,
    /// An opcode that RFC 6455 does not define.
    UnknownOpcode(u8),
    /// A server must not mask (§5.1).
    Masked,
    /// A length that fits a shorter form (§5.2).
    LengthNotMinimal(u64),
    /// A control frame that is fragmented or longer than 125 bytes (§5.5).
    Control,
    /// Longer than this client accepts.
    PayloadTooLong(u64),
    /// A continuation without a beginning, or a beginning inside another message (§5.4).
    Fragments,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBits => write!(formatter, "a reserved bit is set"),
            Self::UnknownOpcode(opcode) => write!(formatter, "unknown opcode {opcode:#x}"),
            Self::Masked => write!(formatter, "a frame from the server is masked"),
            Self::LengthNotMinimal(bytes) => {
                write!(formatter, "length {bytes} is not in its shortest form")
            }
            Self::Control => write!(formatter, "a control frame is fragmented or too long"),
            Self::PayloadTooLong(bytes) => write!(formatter, "a payload of {bytes} bytes"),
            Self::Fragments => write!(formatter, "the fragments do not make a message"),
        }
    }
}

impl std::error::Error for Error {}

/// The header of one frame from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// Size of the header itself.
    pub header_bytes: usize,
    /// Size of what follows the header.
    pub payload_bytes: usize,
}

impl Header {
    /// Decodes the header at the front of `input`; `None` when `input` ends inside it.
    ///
    /// # Errors
    ///
    /// The server broke the protocol; the stream cannot be read further.
    pub fn decode(input: &[u8]) -> Result<Option<Self>, Error> {
        let Some((&[first, second], rest)) = input.split_first_chunk() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Error::ReservedBits);
        }
        if second & 0x80 != 0 {
            return Err(Error::Masked);
        }
        let fin = first & 0x80 != 0;
        let opcode = match first & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            other => return Err(Error::UnknownOpcode(other)),
        };
        let (header_bytes, payload_bytes, shortest) = match second {
            126 => match rest.first_chunk() {
                Some(bytes) => (4, u64::from(u16::from_be_bytes(*bytes)), 126),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(bytes) => (HEADER_BYTES_MAX, u64::from_be_bytes(*bytes), 0x1_0000),
                None => return Ok(None),
            },
            short => (2, u64::from(short), 0),
        };
        if payload_bytes < shortest {
            return Err(Error::LengthNotMinimal(payload_bytes));
        }
        let is_control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        if is_control && !(fin && payload_bytes <= CONTROL_BYTES_MAX as u64) {
            return Err(Error::Control);
        }
        match usize::try_from(payload_bytes) {
            Ok(payload_bytes) if payload_bytes <= PAYLOAD_BYTES_MAX => {
                Ok(Some(Self { fin, opcode, header_bytes, payload_bytes }))
            }
            Ok(_) | Err(_) => Err(Error::PayloadTooLong(payload_bytes)),
        }
    }
}

/// Appends one whole frame with `payload`, masked with `mask`, to `output`.
pub fn encode(opcode: Opcode, payload: &[u8], mask: [u8; 4], output: &mut Vec<u8>) {
    output.push(match opcode {
        Opcode::Continuation => 0x80,
        Opcode::Text => 0x81,
        Opcode::Binary => 0x82,
        Opcode::Close => 0x88,
        Opcode::Ping => 0x89,
        Opcode::Pong => 0x8a,
    });
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(bytes @ 0..=125), _) => output.push(0x80 | bytes),
        (_, Ok(bytes)) => {
            output.push(0x80 | 126);
            output.extend_from_slice(&bytes.to_be_bytes());
        }
        (_, Err(_)) => {
            output.push(0x80 | 127);
            output.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    output.extend_from_slice(&mask);
    let start = output.len();
    output.extend_from_slice(payload);
    apply_mask(mask, &mut output[start..]);
}

fn apply_mask(mask: [u8; 4], payload: &mut [u8]) {
    let [a, b, c, d] = mask;
    let double = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ double).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Masks that differ from frame to frame, the same for the same seed (xorshift64*).
#[derive(Clone, Debug)]
pub struct Masks(u64);

impl Masks {
    /// A new row of masks.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next mask.
    pub fn next_mask(&mut self) -> [u8; 4] {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let [a, b, c, d, ..] = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes();
        [a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::Message;
    use tungstenite::protocol::Role;
    use tungstenite::protocol::WebSocket;

    #[track_caller]
    fn check(input: &[u8], expected: Result<Option<(bool, Opcode, usize, usize)>, Error>) {
        let header = Header::decode(input)
            .map(|header| header.map(|it| (it.fin, it.opcode, it.header_bytes, it.payload_bytes)));
        assert_eq!(header, expected);
    }

    #[test]
    fn lengths_change_form_at_126_and_65536() {
        check(b"\x82\x7d", Ok(Some((true, Opcode::Binary, 2, 125))));
        check(b"\x82\x7e\0\x7e", Ok(Some((true, Opcode::Binary, 4, 126))));
        check(b"\x82\x7e\0\x7d", Err(Error::LengthNotMinimal(125)));
        check(b"\x82\x7e\xff\xff", Ok(Some((true, Opcode::Binary, 4, 0xffff))));
        check(b"\x01\x7f\0\0\0\0\0\x01\0\0", Ok(Some((false, Opcode::Text, 10, 0x1_0000))));
        check(b"\x01\x7f\0\0\0\0\0\0\xff\xff", Err(Error::LengthNotMinimal(0xffff)));
        check(b"\x01\x7f\x01\0\0\0\0\0\0\0", Err(Error::PayloadTooLong(1 << 56)));
    }

    #[test]
    fn what_a_server_must_not_send_is_an_error() {
        check(b"\xc1\0", Err(Error::ReservedBits));
        check(b"\x81\x80", Err(Error::Masked));
        check(b"\x83\0", Err(Error::UnknownOpcode(3)));
        check(b"\x09\0", Err(Error::Control));
        check(b"\x88\x7e\0\x7e", Err(Error::Control));
    }

    #[test]
    fn every_prefix_of_a_header_is_incomplete_not_wrong() {
        let whole = b"\x82\x7f\0\0\0\0\0\x01\0\0";
        for cut in 0..whole.len() {
            check(&whole[..cut], Ok(None));
        }
    }

    #[test]
    fn another_implementation_reads_what_is_encoded_here() {
        let mut masks = Masks::new(7);
        let sizes = [0, 1, 7, 8, 9, 125, 126, 127, 300, 65535, 65536];
        let mut bytes = Vec::new();
        for size in sizes {
            encode(Opcode::Text, "x".repeat(size).as_bytes(), masks.next_mask(), &mut bytes);
        }
        let stream = std::io::Cursor::new(bytes);
        let mut server = WebSocket::from_raw_socket(stream, Role::Server, None);
        for size in sizes {
            assert_eq!(server.read().unwrap(), Message::text("x".repeat(size)));
        }
    }

    #[test]
    fn what_another_implementation_encodes_is_read_here() {
        for size in [0, 125, 126, 65535, 65536] {
            let stream = std::io::Cursor::new(Vec::new());
            let mut server = WebSocket::from_raw_socket(stream, Role::Server, None);
            server.send(Message::text("x".repeat(size))).unwrap();
            let bytes = server.into_inner().into_inner();
            let header = Header::decode(&bytes).unwrap().unwrap();
            assert_eq!((header.fin, header.opcode), (true, Opcode::Text));
            assert_eq!(header.payload_bytes, size);
            assert_eq!(header.header_bytes + size, bytes.len());
        }
    }
}
