//! Finds where a frame ends, looking at every byte once however the frame was cut.

use memchr::memchr;
use memchr::memchr2;

use crate::proto::stomp::Command;
use crate::proto::stomp::Error;
use crate::proto::stomp::Limits;
use crate::proto::stomp::command::COMMAND_LINE_BYTES_MAX;

/// Where the parts of a whole frame lie, counted from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) command: Command,
    /// The first byte after the command's line.
    pub(super) headers_start: usize,
    /// The first byte of the blank line.
    pub(super) headers_end: usize,
    /// The first byte after the blank line.
    pub(super) body_start: usize,
    /// The NUL.
    pub(super) body_end: usize,
}

/// A scan that goes on where it stopped when more bytes have come.
///
/// Invariant: everything before `scanned` has been judged, and holds no end of the part
/// (line or body) that is being looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    scanned: usize,
    line_start: usize,
    headers_count: usize,
    command: Option<Command>,
    content_length: ContentLength,
    headers_start: usize,
    /// Both ends of the blank line, once it was found.
    blank: Option<(usize, usize)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ContentLength {
    /// No such header yet.
    #[default]
    Unknown,
    /// The first one is not a number: the body ends at the first NUL.
    Ignored,
    /// The body has so many octets, NULs included.
    Bytes(usize),
}

impl Scan {
    /// Looks at what is new in `buffer`, which begins with the frame's first byte and holds
    /// everything that was in it at the last call.
    ///
    /// Returns `None` while the frame is incomplete; then `buffer` is shorter than
    /// `limits.frame_bytes_max`.
    ///
    /// # Errors
    ///
    /// What breaks the frame, as early as it shows: which error comes does not depend on how the
    /// bytes were cut.
    pub(super) fn advance(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
    ) -> Result<Option<Shape>, Error> {
        while self.blank.is_none() {
            let new = buffer.get(self.scanned..).unwrap_or_default();
            let found = memchr2(b'\n', 0, new).map(|at| self.scanned + at);
            let line_end = found.unwrap_or(buffer.len());
            if self.command.is_none() {
                if COMMAND_LINE_BYTES_MAX < line_end {
                    return Err(Error::UnknownCommand);
                }
            } else if limits.header_bytes_max.min(limits.frame_bytes_max) <= line_end {
                return Err(Error::HeadTooBig);
            }
            self.scanned = line_end;
            if found.is_none() {
                return Ok(None);
            }
            self.take_line(buffer, line_end, limits)?;
        }
        self.find_body_end(buffer, limits)
    }

    /// Takes the line that ends in front of `line_end`, where an LF or a NUL is.
    fn take_line(&mut self, buffer: &[u8], line_end: usize, limits: &Limits) -> Result<(), Error> {
        if buffer.get(line_end) != Some(&b'\n') {
            return Err(Error::NullInHead);
        }
        let line = buffer.get(self.line_start..line_end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if memchr(b'\r', line).is_some() {
            return Err(Error::LoneCarriageReturn);
        }
        let line_start = self.line_start;
        self.scanned = line_end + 1;
        self.line_start = line_end + 1;
        let Some(command) = self.command else {
            self.command = Some(Command::parse(line)?);
            self.headers_start = line_end + 1;
            return Ok(());
        };
        if line.is_empty() {
            self.blank = Some((line_start, line_end + 1));
            return self.judge_body(command, line_end + 1, limits);
        }
        self.take_header(line, limits)
    }

    fn take_header(&mut self, line: &[u8], limits: &Limits) -> Result<(), Error> {
        self.headers_count += 1;
        if limits.headers_count_max < self.headers_count {
            return Err(Error::TooManyHeaders);
        }
        if matches!(memchr(b':', line), None | Some(0)) {
            return Err(Error::IllegalHeader);
        }
        // Only the first one counts (STOMP 1.2, "Repeated Header Entries").
        if self.content_length == ContentLength::Unknown
            && let Some(value) = line.strip_prefix(b"content-length:")
        {
            self.content_length = ContentLength::parse(value)?;
            if let ContentLength::Bytes(bytes) = self.content_length
                && limits.frame_bytes_max <= bytes
            {
                return Err(Error::FrameTooBig);
            }
        }
        Ok(())
    }

    /// Judges what the headers promise about the body before waiting for it.
    fn judge_body(&self, command: Command, start: usize, limits: &Limits) -> Result<(), Error> {
        let bytes = match self.content_length {
            ContentLength::Bytes(bytes) => bytes,
            ContentLength::Unknown | ContentLength::Ignored => 0,
        };
        if 0 < bytes && !command.may_have_body() {
            return Err(Error::BodyNotAllowed);
        }
        if limits.frame_bytes_max <= start.saturating_add(bytes) {
            return Err(Error::FrameTooBig);
        }
        Ok(())
    }

    fn find_body_end(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<Shape>, Error> {
        let (Some(command), Some((headers_end, body_start))) = (self.command, self.blank) else {
            return Ok(None);
        };
        let announced_end = match self.content_length {
            ContentLength::Bytes(bytes) => Some(body_start + bytes),
            ContentLength::Unknown | ContentLength::Ignored if command.may_have_body() => None,
            ContentLength::Unknown | ContentLength::Ignored => Some(body_start),
        };
        let body_end = match announced_end {
            Some(end) => match buffer.get(end) {
                Some(0) => end,
                Some(_) if command.may_have_body() => return Err(Error::NotTerminated),
                Some(_) => return Err(Error::BodyNotAllowed),
                None => return Ok(None),
            },
            None => {
                let new = buffer.get(self.scanned..).unwrap_or_default();
                let found = memchr(0, new).map(|at| self.scanned + at);
                self.scanned = found.unwrap_or(buffer.len());
                if limits.frame_bytes_max <= self.scanned {
                    return Err(Error::FrameTooBig);
                }
                let Some(end) = found else { return Ok(None) };
                end
            }
        };
        let headers_start = self.headers_start;
        Ok(Some(Shape { command, headers_start, headers_end, body_start, body_end }))
    }
}

impl ContentLength {
    /// Parses the header's value; what is not a number is ignored, as Spring does.
    fn parse(value: &[u8]) -> Result<Self, Error> {
        let (is_negative, digits) = match value.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, value),
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Ok(Self::Ignored);
        }
        if is_negative {
            return Err(Error::NegativeContentLength);
        }
        let bytes = digits.iter().fold(0_usize, |sum, digit| {
            sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
        });
        Ok(Self::Bytes(bytes))
    }
}
