//! From received bytes to frames and heart-beats, however the bytes were cut.

use std::mem;

use crate::proto::stomp::Error;
use crate::proto::stomp::Frame;
use crate::proto::stomp::Version;
use crate::proto::stomp::scan::Scan;
use crate::proto::stomp::scan::Shape;

/// How much of a frame is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One whole frame from its command to its NUL; below 64 is taken as 64.
    pub frame_bytes_max: usize,
    /// Header lines of one frame.
    pub headers_count_max: usize,
    /// Command, header lines and the blank line.
    pub header_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame_bytes_max: 64 << 10, headers_count_max: 64, header_bytes_max: 8 << 10 }
    }
}

/// What a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'e> {
    /// The input was line ends only (STOMP 1.2, "Heart-beating").
    HeartBeat,
    /// A whole frame.
    Frame(Frame<'e>),
}

/// Decodes the frames of one session.
///
/// A frame that lies whole in the input is decoded where it lies; only one that is cut is copied
/// together, into memory that is given back by the next call after the frame was returned. An idle
/// decoder owns no memory. Line ends in front of a frame are skipped, those behind belong to it.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// The beginning of a frame that is incomplete, or the frame just returned.
    partial: Option<Box<Partial>>,
    version: Version,
    /// Whether a CR between frames waits for its LF.
    owes_line_feed: bool,
    /// Whether the last event lent out `partial`.
    spent: bool,
    /// Whether an error has ended the decoding.
    ended: bool,
    /// The receipt that the frame asked for which could not be decoded, where it could be seen.
    receipt: Option<Box<str>>,
}

// Every session has one, also when it is idle.
const _: () = assert!(size_of::<Decoder>() <= 56);

#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    scan: Scan,
}

/// Something whole, and where its bytes are: in the input, or kept in the decoder.
enum Found<'i> {
    HeartBeat,
    Frame(&'i mut [u8], Shape),
    KeptFrame(Shape),
}

impl Decoder {
    /// A decoder at the start of a session; it unescapes as 1.2 until told otherwise.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let frame_bytes_max = limits.frame_bytes_max.max(64);
        Self {
            limits: Limits { frame_bytes_max, ..limits },
            partial: None,
            version: Version::V1_2,
            owes_line_feed: false,
            spent: false,
            ended: false,
            receipt: None,
        }
    }

    /// Sets the version that was agreed on; it holds for the frames after the one just returned.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// The `receipt` of the frame that the error is about, where its head had come so far: an ERROR
    /// should name it (STOMP 1.2, "ERROR").
    pub fn take_receipt(&mut self) -> Option<Box<str>> {
        self.receipt.take()
    }

    /// Whether a frame has begun that has not ended: the peer owes us bytes.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        self.partial.is_some() && !self.spent
    }

    /// Decodes up to the next event and moves `input` past what it took.
    ///
    /// `input` begins as one message of the transport. Returns `None` when all of it is taken and
    /// no event came out: whatever was incomplete is kept inside, so the caller keeps no bytes.
    /// Call it until it returns `None`; that last call also gives the memory of the last event
    /// back. After an error everything further is taken and ignored.
    ///
    /// # Errors
    ///
    /// Any [`Error`] means that the peer broke STOMP or exceeded a limit, and is final.
    pub fn decode<'e, 'i: 'e>(
        &'e mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'e>>, Error> {
        if mem::take(&mut self.spent) {
            self.partial = None;
        }
        if self.ended {
            *input = &mut [];
            return Ok(None);
        }
        let found = self.advance(input);
        let Self { partial, ended, version, .. } = self;
        let frame = match found {
            Ok(None) => return Ok(None),
            Ok(Some(Found::HeartBeat)) => return Ok(Some(Event::HeartBeat)),
            Ok(Some(Found::Frame(bytes, shape))) => Frame::decode(bytes, shape, *version),
            Ok(Some(Found::KeptFrame(shape))) => {
                let bytes = partial.as_mut().map_or(&mut [][..], |partial| &mut partial.bytes);
                Frame::decode(bytes, shape, *version)
            }
            Err(error) => {
                *partial = None;
                Err(error)
            }
        };
        *ended = frame.is_err();
        frame.map(|frame| Some(Event::Frame(frame)))
    }

    fn advance<'i>(&mut self, input: &mut &'i mut [u8]) -> Result<Option<Found<'i>>, Error> {
        if self.partial.is_some() {
            return self.advance_partial(input);
        }
        let has_line_ends = self.skip_line_ends(input);
        if input.is_empty() {
            return Ok(has_line_ends.then_some(Found::HeartBeat));
        }
        if self.owes_line_feed {
            return Err(Error::LoneCarriageReturn);
        }
        let mut scan = Scan::default();
        let scanned = scan.advance(input, &self.limits);
        let Some(shape) = scanned.inspect_err(|_| self.receipt = find_receipt(input))? else {
            let bytes = mem::take(input).to_vec();
            self.partial = Some(Box::new(Partial { bytes, scan }));
            return Ok(None);
        };
        let frame = take(input, shape.body_end + 1);
        self.skip_line_ends(input);
        Ok(Some(Found::Frame(frame, shape)))
    }

    /// Adds `input` to the frame that was cut.
    fn advance_partial<'i>(
        &mut self,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Found<'i>>, Error> {
        let Some(partial) = &mut self.partial else { return Ok(None) };
        let kept_bytes = partial.bytes.len();
        let room_bytes = self.limits.frame_bytes_max.saturating_sub(kept_bytes);
        let added = input.get(..room_bytes).unwrap_or(input);
        partial.bytes.extend_from_slice(added);
        let scanned = partial.scan.advance(&partial.bytes, &self.limits);
        let note = |_: &Error| self.receipt = find_receipt(&partial.bytes);
        let Some(shape) = scanned.inspect_err(note)? else {
            // Only a buffer that is not full can be incomplete, so all of `input` was added.
            *input = &mut [];
            return Ok(None);
        };
        // The frame was incomplete before, so it ends in what was added now.
        take(input, (shape.body_end + 1).saturating_sub(kept_bytes));
        self.spent = true;
        self.skip_line_ends(input);
        Ok(Some(Found::KeptFrame(shape)))
    }

    /// Takes line ends from the front of `input`, and stops in front of anything else.
    ///
    /// Returns whether there was a whole one.
    fn skip_line_ends(&mut self, input: &mut &mut [u8]) -> bool {
        let mut has_line_ends = false;
        loop {
            match input.first() {
                Some(b'\n') => {
                    self.owes_line_feed = false;
                    has_line_ends = true;
                }
                Some(b'\r') if !self.owes_line_feed => self.owes_line_feed = true,
                Some(_) | None => return has_line_ends,
            }
            take(input, 1);
        }
    }
}

/// The value of a plain `receipt` line in the head at the front of `bytes`, if all of it has come.
fn find_receipt(bytes: &[u8]) -> Option<Box<str>> {
    let whole_bytes = memchr::memrchr(b'\n', bytes)?;
    let bytes = bytes.get(..whole_bytes).unwrap_or_default();
    let mut lines = bytes.split(|it| *it == b'\n').map(|it| it.strip_suffix(b"\r").unwrap_or(it));
    let head = lines.by_ref().take_while(|it| !it.is_empty() && !it.contains(&0));
    let receipt = head.take(64).find_map(|it| it.strip_prefix(b"receipt:"))?;
    let is_plain = receipt.len() <= 256 && !receipt.contains(&b'\\');
    let receipt = simdutf8::basic::from_utf8(receipt).ok()?;
    is_plain.then(|| receipt.into())
}

/// Splits `bytes` off the front of `input`, or all of it.
fn take<'i>(input: &mut &'i mut [u8], bytes: usize) -> &'i mut [u8] {
    let bytes = bytes.min(input.len());
    let (taken, rest) = mem::take(input).split_at_mut(bytes);
    *input = rest;
    taken
}

#[cfg(test)]
mod tests {
    use crate::proto::stomp::Command;

    use super::*;

    /// A frame, owned, so that many can be compared.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Owned {
        command: Command,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    }

    fn owned(command: Command, headers: &[(&str, &str)], body: &[u8]) -> Owned {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Owned { command, headers: headers.collect(), body: body.to_vec() }
    }

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Heard {
        frames: Vec<Owned>,
        heart_beats_count: usize,
    }

    fn feed(decoder: &mut Decoder, piece: &[u8], heard: &mut Heard) -> Result<(), Error> {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        while let Some(event) = decoder.decode(&mut input)? {
            match event {
                Event::HeartBeat => heard.heart_beats_count += 1,
                Event::Frame(Frame { command, headers, body }) => {
                    let headers: Vec<_> = headers.iter().collect();
                    heard.frames.push(owned(command, &headers, body));
                }
            }
        }
        assert!(input.is_empty());
        Ok(())
    }

    /// Writes `|` as LF and `^` as NUL, so that cases read like the tables they come from.
    fn bytes(text: &str) -> Vec<u8> {
        text.bytes()
            .map(|byte| match byte {
                b'|' => b'\n',
                b'^' => 0,
                other => other,
            })
            .collect()
    }

    fn decode_with(
        limits: Limits,
        version: Version,
        pieces: &[&[u8]],
    ) -> (Heard, Result<(), Error>) {
        let mut decoder = Decoder::new(limits);
        decoder.set_version(version);
        let mut heard = Heard::default();
        for piece in pieces {
            if let Err(error) = feed(&mut decoder, piece, &mut heard) {
                return (heard, Err(error));
            }
        }
        (heard, Ok(()))
    }

    /// Whole, byte by byte and cut anywhere in two, `text` must give the same frames and end.
    #[track_caller]
    fn check_in(version: Version, text: &str, expected: &[Owned], end: Result<(), Error>) {
        let bytes = bytes(text);
        let decode = |pieces: &[&[u8]]| {
            let (heard, end) = decode_with(Limits::default(), version, pieces);
            (heard.frames, end)
        };
        let expected = (expected.to_vec(), end);
        assert_eq!(decode(&[&bytes]), expected, "whole");
        assert_eq!(decode(&bytes.chunks(1).collect::<Vec<_>>()), expected, "byte by byte");
        for cut in 1..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(decode(&[first, second]), expected, "cut at {cut}");
        }
    }

    #[track_caller]
    fn check(text: &str, command: Command, headers: &[(&str, &str)], body: &[u8]) {
        check_in(Version::V1_2, text, &[owned(command, headers, body)], Ok(()));
    }

    #[track_caller]
    fn check_error(text: &str, expected: Error) {
        check_in(Version::V1_2, text, &[], Err(expected));
    }

    /// `text` is the beginning of a frame: nothing comes out, nothing is wrong.
    #[track_caller]
    fn check_incomplete(text: &str) {
        let mut decoder = Decoder::new(Limits::default());
        let mut heard = Heard::default();
        assert_eq!(feed(&mut decoder, &bytes(text), &mut heard), Ok(()));
        assert_eq!(heard, Heard::default(), "{text}");
        assert!(decoder.is_mid_frame(), "{text}");
    }

    #[test]
    fn the_receipt_of_a_broken_frame_is_told_where_it_was_seen() {
        let check = |text: &str, expected: Option<&str>| {
            let mut decoder = Decoder::new(Limits::default());
            feed(&mut decoder, &bytes(text), &mut Heard::default()).unwrap_err();
            assert_eq!(decoder.take_receipt().as_deref(), expected, "{text}");
        };
        check("MESSAGE|destination:d|receipt:mine||^", Some("mine"));
        check("FOO|receipt:a\r|b:c||^", Some("a"));
        check("SUBSCRIBE|receipt:r||body^", Some("r"));
        check("FOO|receipt:a\\cb||^", None);
        check("FOO||receipt:body^", None);
        check("FOO|", None);
        check("FOO|receipt:cut", None);
    }

    #[test]
    fn d1_d2_no_headers_no_body_either_line_end() {
        check("DISCONNECT||^", Command::Disconnect, &[], b"");
        check("DISCONNECT\r|\r|^", Command::Disconnect, &[], b"");
        check("ACK|a:b\r|\r|^", Command::Ack, &[("a", "b")], b"");
    }

    #[test]
    fn d3_a_carriage_return_needs_its_line_feed() {
        check_error("DISC\rT||^", Error::LoneCarriageReturn);
        check_error("SEND|a:b\rc||^", Error::LoneCarriageReturn);
        check_error("SEND|a:b\r\r||^", Error::LoneCarriageReturn);
        check_error("\rSEND||^", Error::LoneCarriageReturn);
        check_error("|\r\r|", Error::LoneCarriageReturn);
        let first = owned(Command::Ack, &[], b"");
        check_in(Version::V1_2, "ACK||^\rX", &[first], Err(Error::LoneCarriageReturn));
        check("SEND||a\rb^", Command::Send, &[], b"a\rb");
    }

    #[test]
    fn d4_d5_headers_and_a_body() {
        check(
            "CONNECT|accept-version:1.1|host:github.org||^",
            Command::Connect,
            &[("accept-version", "1.1"), ("host", "github.org")],
            b"",
        );
        let body = b"The body of the message";
        check(
            "SEND|destination:test||The body of the message^",
            Command::Send,
            &[("destination", "test")],
            body,
        );
    }

    #[test]
    fn d6_d7_d8_the_announced_length_wins_over_nul() {
        let length = [("content-length", "23")];
        let text = "SEND|content-length:23||The body of the message^";
        check(text, Command::Send, &length, b"The body of the message");
        let text = "SEND|content-length:23||The b^dy ^f the message^|";
        check(text, Command::Send, &length, b"The b\0dy \0f the message");
        check("SEND|content-length:0||^", Command::Send, &[("content-length", "0")], b"");
    }

    #[test]
    fn d9_d10_lengths_that_are_none() {
        check_error("SEND|content-length:-1||x^", Error::NegativeContentLength);
        for value in ["abc", "3, 4", "0x10", "", " 3", "+3", "-", "-x"] {
            let text = format!("SEND|content-length:{value}||The body^");
            check(&text, Command::Send, &[("content-length", value)], b"The body");
        }
        let text = "SEND|content-length:99999999999999999999999||The body^";
        check_error(text, Error::FrameTooBig);
        let padded = "00000000000000000000000002";
        let text = format!("SEND|content-length:{padded}||ab^");
        check(&text, Command::Send, &[("content-length", padded)], b"ab");
    }

    #[test]
    fn d11_d12_the_octet_after_the_body_is_nul() {
        check_error("SEND|content-length:23||The body of the message*", Error::NotTerminated);
        check_error("SEND|content-length:3||abcdef^", Error::NotTerminated);
    }

    #[test]
    fn d13_escapes_stand_for_their_characters() {
        let text = r"DISCONNECT|a\c\r\n\\b:alpha\cbravo\r\n\\||^";
        check(text, Command::Disconnect, &[("a:\r\n\\b", "alpha:bravo\r\n\\")], b"");
        let text = "SEND|é\\c:ü\\\\|next:plain\r||x^";
        check(text, Command::Send, &[("é:", "ü\\"), ("next", "plain")], b"x");
    }

    #[test]
    fn d14_connect_and_stomp_are_not_unescaped() {
        let headers = [("accept-version", "1.1"), ("key", r"\value")];
        check(r"CONNECT|accept-version:1.1|key:\value||^", Command::Connect, &headers, b"");
        check("STOMP|accept-version:1.1|key:\\value\r||^", Command::Stomp, &headers, b"");
    }

    #[test]
    fn d15_other_escapes_are_wrong() {
        for value in [r"alpha\x", r"\", r"\t", r"\q", r"\N", "\\\r", r"\\\"] {
            check_error(&format!("SEND|a:{value}||b^"), Error::IllegalEscape);
        }
        check_error("SEND|a\\:b||c^", Error::IllegalEscape);
    }

    #[test]
    fn escapes_depend_on_the_version() {
        let sent = |value| [owned(Command::Send, &[("a", value)], b"")];
        check_in(Version::V1_0, r"SEND|a:\n\q\||^", &sent(r"\n\q\"), Ok(()));
        check_in(Version::V1_1, r"SEND|a:\n\c\\||^", &sent("\n:\\"), Ok(()));
        check_in(Version::V1_1, r"SEND|a:\r||^", &[], Err(Error::IllegalEscape));
        check_in(Version::V1_2, r"SEND|a:\r||^", &sent("\r"), Ok(()));
    }

    #[test]
    fn d16_only_send_has_a_body() {
        check_error("CONNECT|accept-version:1.2||body^", Error::BodyNotAllowed);
        check_error("SUBSCRIBE|id:1|destination:/a||b^", Error::BodyNotAllowed);
        check_error("SUBSCRIBE|content-length:1||b^", Error::BodyNotAllowed);
        check_error("SUBSCRIBE|content-length:0||b^", Error::BodyNotAllowed);
        check("ACK|content-length:0||^", Command::Ack, &[("content-length", "0")], b"");
    }

    #[test]
    fn d17_d20_line_ends_behind_a_frame_belong_to_it() {
        let heard = |pieces: &[&str]| {
            let pieces: Vec<_> = pieces.iter().map(|text| bytes(text)).collect();
            let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
            let (heard, end) = decode_with(Limits::default(), Version::V1_2, &pieces);
            assert_eq!(end, Ok(()));
            (heard.frames.len(), heard.heart_beats_count)
        };
        assert_eq!(heard(&["SEND|destination:test||body^|||"]), (1, 0));
        assert_eq!(heard(&["SEND|destination:test||body^\r|\r|"]), (1, 0));
        assert_eq!(heard(&["SEND|destination:te", "st||body^||"]), (1, 0));
        assert_eq!(heard(&["|"]), (0, 1));
        assert_eq!(heard(&["|||"]), (0, 1));
        assert_eq!(heard(&["\r|"]), (0, 1));
        assert_eq!(heard(&["\r", "|"]), (0, 1));
        assert_eq!(heard(&["|", "||SEND||^|", "|"]), (1, 2));
        assert_eq!(heard(&[""]), (0, 0));
    }

    #[test]
    fn d18_d28_frames_follow_each_other() {
        let disconnect = owned(Command::Disconnect, &[], b"");
        let send = owned(Command::Send, &[], b"x");
        check_in(Version::V1_2, "SEND||x^DISCONNECT||^", &[send, disconnect], Ok(()));

        let pieces =
            ["SEND|a:alpha||Payload1^SEND|content-length:19|", "|Payload2a", "-Payload2b^"]
                .map(bytes);
        let mut decoder = Decoder::new(Limits::default());
        let mut heard = Heard::default();
        let mut counts = Vec::new();
        for piece in &pieces {
            assert_eq!(feed(&mut decoder, piece, &mut heard), Ok(()));
            counts.push(heard.frames.len());
        }
        assert_eq!(counts, [1, 1, 2]);
        assert_eq!(heard.frames[0], owned(Command::Send, &[("a", "alpha")], b"Payload1"));
        let length = [("content-length", "19")];
        assert_eq!(heard.frames[1], owned(Command::Send, &length, b"Payload2a-Payload2b"));
    }

    #[test]
    fn d19_d22_d23_values_may_be_empty_hold_colons_and_repeat() {
        let text = "CONNECT|accept-version:1.1|key:||^";
        check(text, Command::Connect, &[("accept-version", "1.1"), ("key", "")], b"");
        check("SEND|k:a:b:c||^", Command::Send, &[("k", "a:b:c")], b"");
        check("SEND|k: a ||^", Command::Send, &[("k", " a ")], b"");
        check("SEND|k:1|k:2||^", Command::Send, &[("k", "1"), ("k", "2")], b"");
        let mut bytes = bytes("SEND|k:1|k:2|content-length:1|content-length:9||x^");
        let mut decoder = Decoder::new(Limits::default());
        let Ok(Some(Event::Frame(frame))) = decoder.decode(&mut &mut bytes[..]) else { panic!() };
        assert_eq!(frame.headers.get("k"), Some("1"));
        assert_eq!(frame.headers.get("K"), None);
        assert_eq!(frame.body, b"x");
    }

    #[test]
    fn d21_a_header_has_a_name_and_a_colon() {
        check_error("SEND|destination||^", Error::IllegalHeader);
        check_error("SEND|:value||^", Error::IllegalHeader);
        check_error("SEND|a:b| ||^", Error::IllegalHeader);
    }

    #[test]
    fn d24_c22_commands_are_a_clients_own() {
        check_error("FOO||^", Error::UnknownCommand);
        check_error("send||^", Error::UnknownCommand);
        check_error("^", Error::NullInHead);
        check_error("GET /ws HTTP/1.1\r|", Error::UnknownCommand);
        check_error("no line end in sight", Error::UnknownCommand);
        check_error("MESSAGE|destination:/a||x^", Error::ServerCommand);
        check("UNSUBSCRIBE\r|id:1||^", Command::Unsubscribe, &[("id", "1")], b"");
    }

    #[test]
    fn d25_content_type_is_not_judged() {
        check("SEND|content-type:nonsense||^", Command::Send, &[("content-type", "nonsense")], b"");
    }

    #[test]
    fn d26_a_beginning_is_incomplete_not_wrong() {
        for text in ["SUBSC", "SEND|destination", "SEND|destination:test|", "SEND|a:long\\"] {
            check_incomplete(text);
        }
        check_incomplete("SEND|content-length:23||The body of the");
        let whole = r"SEND|destination:/a\c|content-length:4||b^dy^";
        for cut in 1..whole.len() {
            check_incomplete(&whole[..cut]);
        }
    }

    #[test]
    fn a_nul_among_the_headers_is_wrong() {
        check_error("SEND|destination:/a^", Error::NullInHead);
        check_error("DISCONNECT|^", Error::NullInHead);
    }

    #[test]
    fn headers_are_utf8_and_bodies_are_anything() {
        let mut wrong = bytes("SEND|a:?||^");
        wrong[7] = 0xFF;
        let (heard, end) = decode_with(Limits::default(), Version::V1_2, &[&wrong]);
        assert_eq!((heard, end), (Heard::default(), Err(Error::HeadNotUtf8)));
        let mut body = bytes("SEND||?^");
        body[6] = 0xFF;
        let (heard, end) = decode_with(Limits::default(), Version::V1_2, &[&body]);
        assert_eq!((heard.frames, end), (vec![owned(Command::Send, &[], b"\xFF")], Ok(())));
    }

    const SMALL: Limits =
        Limits { frame_bytes_max: 64, headers_count_max: 2, header_bytes_max: 32 };

    #[track_caller]
    fn check_limit(text: &str, frames_count: usize, expected: Result<(), Error>) {
        let bytes = bytes(text);
        for piece_bytes in [bytes.len(), 1, 7] {
            let pieces: Vec<_> = bytes.chunks(piece_bytes).collect();
            let (heard, end) = decode_with(SMALL, Version::V1_2, &pieces);
            assert_eq!((heard.frames.len(), end), (frames_count, expected), "{piece_bytes}");
        }
    }

    #[test]
    fn d29_an_announced_length_is_judged_before_the_body() {
        // 24 bytes of head and the NUL leave 39 of 64.
        check_limit("SEND|content-length:39||", 0, Ok(()));
        check_limit(&format!("SEND|content-length:39||{}^", "x".repeat(39)), 1, Ok(()));
        check_limit("SEND|content-length:40||", 0, Err(Error::FrameTooBig));
        check_limit("SEND|content-length:64|", 0, Err(Error::FrameTooBig));
    }

    #[test]
    fn d30_a_frame_ends_before_its_limit() {
        check_limit(&format!("SEND||{}^|ACK||^", "x".repeat(57)), 2, Ok(()));
        check_limit(&format!("SEND||{}", "x".repeat(57)), 0, Ok(()));
        check_limit(&format!("SEND||{}", "x".repeat(58)), 0, Err(Error::FrameTooBig));
        check_limit(&format!("SEND||{}^", "x".repeat(58)), 0, Err(Error::FrameTooBig));
    }

    #[test]
    fn headers_have_limits_of_their_own() {
        check_limit("SEND|a:1|b:2||^", 1, Ok(()));
        check_limit("SEND|a:1|b:2|c:3||^", 0, Err(Error::TooManyHeaders));
        check_limit(&format!("SEND|a:{}||^", "x".repeat(23)), 1, Ok(()));
        check_limit(&format!("SEND|a:{}||^", "x".repeat(24)), 0, Err(Error::HeadTooBig));
        check_limit(&format!("SEND|a:{}", "x".repeat(25)), 0, Err(Error::HeadTooBig));
    }

    #[test]
    fn nothing_is_decoded_after_an_error() {
        let mut decoder = Decoder::new(Limits::default());
        let mut heard = Heard::default();
        let illegal = bytes(r"SEND|a:\x||^SEND||^");
        assert_eq!(feed(&mut decoder, &illegal, &mut heard), Err(Error::IllegalEscape));
        assert_eq!(feed(&mut decoder, &bytes("SEND||^"), &mut heard), Ok(()));
        assert_eq!(heard, Heard::default());
        assert!(!decoder.is_mid_frame());
    }

    #[test]
    fn a_whole_frame_is_not_copied_and_an_idle_decoder_owns_nothing() {
        let mut decoder = Decoder::new(Limits::default());
        let mut bytes = bytes(r"SEND|a:\c||body^SEND||cut^");
        let range = bytes.as_ptr_range();
        let cut = bytes.len() - 2;
        let (mut input, mut rest) = bytes.split_at_mut(cut);
        let Ok(Some(Event::Frame(frame))) = decoder.decode(&mut input) else { panic!("no frame") };
        assert!(range.contains(&frame.body.as_ptr()));
        assert!(range.contains(&frame.headers.get("a").unwrap().as_ptr()));
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert!(decoder.is_mid_frame());
        assert!(matches!(decoder.decode(&mut rest), Ok(Some(Event::Frame(_)))));
        assert!(!decoder.is_mid_frame());
        assert_eq!(decoder.decode(&mut rest), Ok(None));
        assert!(decoder.partial.is_none());
    }

    #[test]
    fn the_version_holds_for_the_frames_after_the_one_returned() {
        let mut decoder = Decoder::new(Limits::default());
        let mut bytes = bytes(r"CONNECT||^SEND|a:\r||^");
        let mut input = &mut bytes[..];
        assert!(matches!(decoder.decode(&mut input), Ok(Some(Event::Frame(_)))));
        decoder.set_version(Version::V1_1);
        assert_eq!(decoder.decode(&mut input), Err(Error::IllegalEscape));
    }
}
