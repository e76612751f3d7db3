//! From received bytes to messages and control frames, with as little copying as the bytes allow.

use std::mem;

use arrayvec::ArrayVec;

use crate::proto::ws::Error;
use crate::proto::ws::Header;
use crate::proto::ws::Opcode;
use crate::proto::ws::close;
use crate::proto::ws::header::CONTROL_BYTES_MAX;
use crate::proto::ws::header::HEADER_BYTES_MAX;
use crate::proto::ws::mask;

/// The most bytes that a peer may announce; both are judged from a frame's header alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Payload of one frame.
    pub frame_bytes_max: u64,
    /// All payloads of one message.
    pub message_bytes_max: u64,
}

/// What a peer said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'e> {
    /// A whole text message; the bytes are valid UTF-8.
    Text(&'e mut [u8]),
    /// A whole binary message.
    Binary(&'e mut [u8]),
    /// A ping, to be answered with a pong of the same payload.
    Ping(&'e [u8]),
    /// A pong.
    Pong(&'e [u8]),
    /// The peer's close frame; nothing is decoded after it.
    Close {
        /// Its code, if it gave one.
        code: Option<u16>,
        /// Its reason, perhaps empty.
        reason: &'e str,
    },
}

/// Decodes the frames of one client.
///
/// A message that lies whole in the input as one frame is unmasked where it lies; only what is cut
/// (by a read or by fragmentation) is copied together, into memory that is given back by the next
/// call after its message was returned. An idle decoder owns no memory.
///
/// ```text
///        header complete            last byte of the payload, fin
///  idle ───────────────► payload ──────────────────────────────► event ─► idle
///    ▲                      │ not fin                              │ close, error
///    └──────────────────────┘                                      ▼
///                                                                ended
/// ```
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// The unmasked bytes of the open message, or of the one just returned.
    assembly: Vec<u8>,
    /// How much of `assembly` is known to be whole UTF-8 characters; only for text.
    utf8_bytes: usize,
    /// The unmasked bytes of a control frame that arrived in parts.
    control: Option<Box<ArrayVec<u8, CONTROL_BYTES_MAX>>>,
    /// The frame whose payload is arriving.
    frame: Option<Frame>,
    /// The first bytes of a header that was cut.
    head: ArrayVec<u8, HEADER_BYTES_MAX>,
    /// The kind of the open message.
    message: Option<Kind>,
    /// Whether the last event lent out `assembly` or `control`.
    spent: bool,
    /// Whether a close frame or an error has ended the decoding.
    ended: bool,
}

// Every connection has one, also when it is idle.
const _: () = assert!(size_of::<Decoder>() <= 96);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

/// What is still to come of a frame whose header was accepted.
#[derive(Clone, Copy, Debug)]
struct Frame {
    fin: bool,
    opcode: Opcode,
    /// The mask as the next byte of the payload meets it.
    mask: [u8; 4],
    left_bytes: u64,
    /// Whether no byte of the payload has been taken yet.
    is_fresh: bool,
}

/// Something whole, and where its bytes are: in the input, or kept in the decoder.
enum Found<'i> {
    Message(Kind, &'i mut [u8]),
    KeptMessage(Kind),
    Control(Opcode, &'i [u8]),
    KeptControl(Opcode),
}

impl Decoder {
    /// A decoder at the start of a connection.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            assembly: Vec::new(),
            utf8_bytes: 0,
            control: None,
            frame: None,
            head: ArrayVec::new(),
            message: None,
            spent: false,
            ended: false,
        }
    }

    /// Decodes up to the next event and moves `input` past what it took.
    ///
    /// Returns `None` when all of `input` is taken and no event came out: whatever was incomplete
    /// is kept inside, so the caller keeps no bytes. Call it until it returns `None`; that last
    /// call also gives the memory of the last event back. After a close frame or an error
    /// everything further is taken and ignored.
    ///
    /// # Errors
    ///
    /// Any [`Error`] means that the peer broke RFC 6455 or exceeded a limit, and is final.
    pub fn decode<'e, 'i: 'e>(
        &'e mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'e>>, Error> {
        self.forget_spent();
        if self.ended {
            *input = &mut [];
            return Ok(None);
        }
        match self.advance(input) {
            Ok(None) => Ok(None),
            Ok(Some(found)) => self.event(found).map(Some),
            Err(error) => {
                self.end();
                Err(error)
            }
        }
    }

    /// Whether a message or a frame has begun that has not ended: the peer owes us bytes.
    #[must_use]
    pub fn is_mid_message(&self) -> bool {
        self.message.is_some() || self.frame.is_some() || !self.head.is_empty()
    }

    fn forget_spent(&mut self) {
        if mem::take(&mut self.spent) {
            self.control = None;
            if self.message.is_none() {
                self.assembly = Vec::new();
            }
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.assembly = Vec::new();
        self.control = None;
        self.frame = None;
        self.message = None;
        self.head.clear();
    }

    /// Takes frames from `input` until something is whole or `input` is empty.
    fn advance<'i>(&mut self, input: &mut &'i mut [u8]) -> Result<Option<Found<'i>>, Error> {
        loop {
            let frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.take_header(input)? {
                    Some(header) => self.accept(header)?,
                    None => return Ok(None),
                },
            };
            let bytes = usize::try_from(frame.left_bytes).unwrap_or(usize::MAX).min(input.len());
            let (payload, rest) = mem::take(input).split_at_mut(bytes);
            *input = rest;
            mask::apply(payload, frame.mask);
            let left_bytes = frame.left_bytes - bytes as u64;
            let is_done = left_bytes == 0;
            if !is_done {
                let mask = mask::rotated(frame.mask, bytes);
                let is_fresh = frame.is_fresh && payload.is_empty();
                self.frame = Some(Frame { mask, left_bytes, is_fresh, ..frame });
                if payload.is_empty() {
                    return Ok(None);
                }
            }
            let is_whole = is_done && frame.is_fresh;
            let found = if frame.opcode.is_control() {
                self.take_control(frame.opcode, payload, is_whole, is_done)?
            } else if is_whole && frame.fin && frame.opcode != Opcode::Continuation {
                self.take_whole_message(payload)?
            } else {
                self.take_part(payload, is_done && frame.fin)?
            };
            if found.is_some() || !is_done {
                return Ok(found);
            }
        }
    }

    /// Takes a header from what was kept and from `input`; keeps what is incomplete.
    fn take_header(&mut self, input: &mut &mut [u8]) -> Result<Option<Header>, Error> {
        let kept_bytes = self.head.len();
        if kept_bytes == 0
            && let Some((header, bytes)) = Header::decode(input)?
        {
            skip(input, bytes);
            return Ok(Some(header));
        }
        let added = input.iter().take(self.head.remaining_capacity());
        self.head.extend(added.copied());
        let Some((header, bytes)) = Header::decode(&self.head)? else {
            // A header never has more than `HEADER_BYTES_MAX`, so an incomplete one took all.
            skip(input, self.head.len() - kept_bytes);
            return Ok(None);
        };
        // What was kept before was incomplete, so `kept_bytes < bytes`.
        skip(input, bytes - kept_bytes);
        self.head.clear();
        Ok(Some(header))
    }

    /// Judges a header by what is open and by the limits, before any payload is waited for.
    fn accept(&mut self, header: Header) -> Result<Frame, Error> {
        let Header { fin, opcode, mask, payload_bytes } = header;
        let kind = match opcode {
            Opcode::Continuation => Some(self.message.ok_or(Error::ContinuationWithoutStart)?),
            Opcode::Text => Some(Kind::Text),
            Opcode::Binary => Some(Kind::Binary),
            Opcode::Close | Opcode::Ping | Opcode::Pong => None,
        };
        if kind.is_some() {
            if opcode != Opcode::Continuation && self.message.is_some() {
                return Err(Error::MessageNotFinished);
            }
            if self.limits.frame_bytes_max < payload_bytes {
                return Err(Error::FrameTooBig);
            }
            let message_bytes = payload_bytes.saturating_add(self.assembly.len() as u64);
            if self.limits.message_bytes_max < message_bytes {
                return Err(Error::MessageTooBig);
            }
            self.message = kind;
        }
        Ok(Frame { fin, opcode, mask, left_bytes: payload_bytes, is_fresh: true })
    }

    fn take_control<'i>(
        &mut self,
        opcode: Opcode,
        payload: &'i mut [u8],
        is_whole: bool,
        is_done: bool,
    ) -> Result<Option<Found<'i>>, Error> {
        // Nothing may follow a close frame, whatever its payload turns out to be.
        self.ended = is_done && opcode == Opcode::Close;
        if is_whole {
            return Ok(Some(Found::Control(opcode, payload)));
        }
        let kept = self.control.get_or_insert_default();
        kept.try_extend_from_slice(payload).map_err(|_| Error::ControlTooLong)?;
        self.spent = is_done;
        Ok(is_done.then_some(Found::KeptControl(opcode)))
    }

    /// A message that is one frame and lies whole in the input.
    fn take_whole_message<'i>(
        &mut self,
        payload: &'i mut [u8],
    ) -> Result<Option<Found<'i>>, Error> {
        let Some(kind) = self.message.take() else { return Ok(None) };
        if kind == Kind::Text && simdutf8::basic::from_utf8(payload).is_err() {
            return Err(Error::TextNotUtf8);
        }
        Ok(Some(Found::Message(kind, payload)))
    }

    /// A part of the open message, the last one if `is_last`.
    fn take_part<'i>(&mut self, payload: &[u8], is_last: bool) -> Result<Option<Found<'i>>, Error> {
        let Some(kind) = self.message else { return Ok(None) };
        self.assembly.extend_from_slice(payload);
        if kind == Kind::Text {
            self.check_utf8(is_last)?;
        }
        if !is_last {
            return Ok(None);
        }
        self.message = None;
        self.utf8_bytes = 0;
        self.spent = true;
        Ok(Some(Found::KeptMessage(kind)))
    }

    /// Checks what was added to the text in `assembly`; a character that is cut may still be
    /// completed unless the text is over. Fails with the first byte that makes it impossible.
    fn check_utf8(&mut self, is_last: bool) -> Result<(), Error> {
        let added = self.assembly.get(self.utf8_bytes..).unwrap_or_default();
        self.utf8_bytes += match simdutf8::compat::from_utf8(added) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() && !is_last => error.valid_up_to(),
            Err(_) => return Err(Error::TextNotUtf8),
        };
        Ok(())
    }

    fn event<'e, 'i: 'e>(&'e mut self, found: Found<'i>) -> Result<Event<'e>, Error> {
        Ok(match found {
            Found::Message(Kind::Text, payload) => Event::Text(payload),
            Found::Message(Kind::Binary, payload) => Event::Binary(payload),
            Found::KeptMessage(Kind::Text) => Event::Text(&mut self.assembly),
            Found::KeptMessage(Kind::Binary) => Event::Binary(&mut self.assembly),
            Found::Control(opcode, payload) => control_event(opcode, payload)?,
            Found::KeptControl(opcode) => {
                control_event(opcode, self.control.as_deref().map_or(&[], |kept| kept))?
            }
        })
    }
}

fn control_event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, Error> {
    match opcode {
        Opcode::Ping => Ok(Event::Ping(payload)),
        Opcode::Pong => Ok(Event::Pong(payload)),
        Opcode::Close => close::decode(payload).map(|(code, reason)| Event::Close { code, reason }),
        Opcode::Continuation | Opcode::Text | Opcode::Binary => Err(Error::ReservedOpcode),
    }
}

/// Moves `input` past `bytes`, or to its end.
fn skip(input: &mut &mut [u8], bytes: usize) {
    let bytes = bytes.min(input.len());
    *input = mem::take(input).split_at_mut(bytes).1;
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { frame_bytes_max: 100_000, message_bytes_max: 100_000 };

    /// What an event said, owned, so that many can be compared.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Said {
        Text(String),
        Binary(Vec<u8>),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(Option<u16>, String),
    }

    /// A client's frame, masked.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x11, 0x22, 0x93, 0xF4];
        let mut out = vec![first];
        match payload.len() {
            short @ 0..126 => out.push(0x80 | u8::try_from(short).expect("short")),
            medium => {
                out.push(0x80 | 126);
                out.extend(u16::try_from(medium).expect("medium").to_be_bytes());
            }
        }
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        out
    }

    fn frames(list: &[(u8, &[u8])]) -> Vec<u8> {
        list.iter().flat_map(|(first, payload)| frame(*first, payload)).collect()
    }

    fn feed(decoder: &mut Decoder, piece: &[u8], said: &mut Vec<Said>) -> Result<(), Error> {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        while let Some(event) = decoder.decode(&mut input)? {
            said.push(match event {
                Event::Text(text) => Said::Text(str::from_utf8(text).expect("checked").to_owned()),
                Event::Binary(bytes) => Said::Binary(bytes.to_vec()),
                Event::Ping(payload) => Said::Ping(payload.to_vec()),
                Event::Pong(payload) => Said::Pong(payload.to_vec()),
                Event::Close { code, reason } => Said::Close(code, reason.to_owned()),
            });
        }
        assert!(input.is_empty());
        Ok(())
    }

    /// What `bytes` say, decoded in pieces of `piece_bytes`, and how it ended.
    fn said(bytes: &[u8], piece_bytes: usize) -> (Vec<Said>, Result<(), Error>) {
        let mut decoder = Decoder::new(LIMITS);
        let mut said = Vec::new();
        for piece in bytes.chunks(piece_bytes) {
            if let Err(error) = feed(&mut decoder, piece, &mut said) {
                return (said, Err(error));
            }
        }
        (said, Ok(()))
    }

    /// Whole, byte by byte and in pieces of three, `list` must say the same.
    #[track_caller]
    fn check(list: &[(u8, &[u8])], expected: &[Said], end: Result<(), Error>) {
        let bytes = frames(list);
        for piece_bytes in [bytes.len(), 1, 3] {
            let found = said(&bytes, piece_bytes);
            assert_eq!(found, (expected.to_vec(), end), "in pieces of {piece_bytes}");
        }
    }

    #[test]
    fn messages_of_one_frame() {
        check(&[(0x81, b"Hello")], &[Said::Text("Hello".into())], Ok(()));
        check(&[(0x81, b"")], &[Said::Text(String::new())], Ok(()));
        check(&[(0x82, b"\xFF\x00")], &[Said::Binary(b"\xFF\x00".into())], Ok(()));
        let long = [7; 126];
        check(&[(0x82, &long)], &[Said::Binary(long.into())], Ok(()));
    }

    #[test]
    fn fragments_become_one_message_with_control_frames_between() {
        check(
            &[(0x01, b"Hel"), (0x89, b"ping"), (0x00, b""), (0x8A, b""), (0x80, b"lo")],
            &[Said::Ping(b"ping".into()), Said::Pong(Vec::new()), Said::Text("Hello".into())],
            Ok(()),
        );
        check(
            &[(0x02, b""), (0x80, b""), (0x82, b"x")],
            &[Said::Binary(Vec::new()), Said::Binary(b"x".into())],
            Ok(()),
        );
    }

    #[test]
    fn frames_out_of_order_are_refused() {
        check(&[(0x80, b"x")], &[], Err(Error::ContinuationWithoutStart));
        check(&[(0x00, b"x")], &[], Err(Error::ContinuationWithoutStart));
        check(&[(0x01, b"x"), (0x81, b"y")], &[], Err(Error::MessageNotFinished));
        let first = Said::Text("x".into());
        check(&[(0x81, b"x"), (0x80, b"y")], &[first], Err(Error::ContinuationWithoutStart));
    }

    #[test]
    fn nothing_is_decoded_after_a_close() {
        let close = Said::Close(Some(1000), "bye".into());
        check(&[(0x88, b"\x03\xE8bye"), (0x81, b"more")], &[close], Ok(()));
        check(&[(0x88, b""), (0xF7, b"")], &[Said::Close(None, String::new())], Ok(()));
        check(&[(0x88, b"\x03")], &[], Err(Error::ClosePayload));
        check(&[(0x88, b"\x03\xED")], &[], Err(Error::CloseCode));
        check(&[(0x88, b"\x03\xE8\xFF")], &[], Err(Error::CloseReasonNotUtf8));
    }

    #[test]
    fn nothing_is_decoded_after_an_error() {
        let mut decoder = Decoder::new(LIMITS);
        let mut events = Vec::new();
        let bytes = frames(&[(0x80, b"x"), (0x81, b"y")]);
        assert!(feed(&mut decoder, &bytes, &mut events).is_err());
        assert_eq!(feed(&mut decoder, &frame(0x81, b"z"), &mut events), Ok(()));
        assert!(events.is_empty());
        assert!(!decoder.is_mid_message());
    }

    #[test]
    fn text_is_checked_across_fragments() {
        let text = "κόσμε 𐍈";
        for cut in 0..=text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            check(&[(0x01, first), (0x80, second)], &[Said::Text(text.into())], Ok(()));
        }
        check(&[(0x01, b"\xCE"), (0x80, b"")], &[], Err(Error::TextNotUtf8));
        check(&[(0x81, b"\xCE")], &[], Err(Error::TextNotUtf8));
        check(&[(0x81, b"\xED\xA0\x80")], &[], Err(Error::TextNotUtf8));
        check(&[(0x02, b"\xCE"), (0x80, b"")], &[Said::Binary(b"\xCE".into())], Ok(()));
    }

    #[test]
    fn text_fails_with_the_first_impossible_byte() {
        let impossible: [&[u8]; 6] =
            [b"a\x80", b"a\xC0", b"a\xE0\x80", b"a\xED\xA0", b"a\xF4\x90", b"a\xF5"];
        for start in impossible {
            let bytes = frame(0x81, &[start, b"more to come"].concat());
            let wrong_at = 6 + start.len();
            for cut in 0..wrong_at {
                assert_eq!(said(&bytes[..cut], 1), (Vec::new(), Ok(())), "{start:?} to {cut}");
            }
            let failed = (Vec::new(), Err(Error::TextNotUtf8));
            assert_eq!(said(&bytes[..wrong_at], 1), failed, "{start:?}");
            assert_eq!(said(&bytes[..wrong_at], wrong_at), failed, "{start:?}");
        }
    }

    #[test]
    fn limits_are_judged_by_the_header() {
        let limits = Limits { frame_bytes_max: 8, message_bytes_max: 12 };
        let end = |bytes: &[u8]| feed(&mut Decoder::new(limits), bytes, &mut Vec::new());
        assert_eq!(end(&frame(0x82, &[0; 8])), Ok(()));
        assert_eq!(end(&frame(0x82, &[0; 9])[..6]), Err(Error::FrameTooBig));
        let start = frame(0x02, &[0; 8]);
        assert_eq!(end(&[start.clone(), frame(0x80, &[0; 4])].concat()), Ok(()));
        let over = [start, frame(0x80, &[0; 5])[..6].to_vec()].concat();
        assert_eq!(end(&over), Err(Error::MessageTooBig));
        // Control frames have their own limit.
        assert_eq!(end(&frame(0x89, &[0; 125])), Ok(()));
    }

    #[test]
    fn a_whole_message_is_not_copied_and_an_idle_decoder_owns_nothing() {
        let mut decoder = Decoder::new(LIMITS);
        let mut bytes = frames(&[(0x81, b"whole"), (0x89, b"p"), (0x82, b"cut in two")]);
        let range = bytes.as_ptr_range();
        let cut = bytes.len() - 3;
        let (mut input, mut rest) = bytes.split_at_mut(cut);
        let Ok(Some(Event::Text(text))) = decoder.decode(&mut input) else { panic!("no text") };
        assert!(range.contains(&text.as_ptr()));
        let Ok(Some(Event::Ping(ping))) = decoder.decode(&mut input) else { panic!("no ping") };
        assert!(range.contains(&ping.as_ptr()));
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert!(decoder.is_mid_message());
        assert_eq!(decoder.decode(&mut rest), Ok(Some(Event::Binary(&mut b"cut in two".to_vec()))));
        assert!(!decoder.is_mid_message());
        assert_eq!(decoder.decode(&mut rest), Ok(None));
        assert_eq!(decoder.assembly.capacity(), 0);
    }

    #[test]
    fn a_message_cut_behind_its_header_is_not_copied() {
        let mut decoder = Decoder::new(LIMITS);
        let mut bytes = frame(0x82, b"payload");
        let range = bytes.as_ptr_range();
        let (mut head, mut rest) = bytes.split_at_mut(6);
        assert_eq!(decoder.decode(&mut head), Ok(None));
        let Ok(Some(Event::Binary(found))) = decoder.decode(&mut rest) else { panic!("nothing") };
        assert!(range.contains(&found.as_ptr()));
    }
}
