//! One decoded frame: its command, its headers, unescaped where they lay, and its body.

use std::fmt;
use std::iter;

use memchr::memchr;

use crate::proto::stomp::Command;
use crate::proto::stomp::Error;
use crate::proto::stomp::Version;
use crate::proto::stomp::scan::Shape;

/// A client's frame; everything in it lies in the bytes it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'e> {
    /// What the client wants.
    pub command: Command,
    /// Its headers, unescaped.
    pub headers: Headers<'e>,
    /// Its body: any bytes, empty unless the command is SEND.
    pub body: &'e [u8],
}

/// The headers of a frame in the order they came.
///
/// Invariant: `block` is name, NUL, value, NUL for each header. No name or value holds a NUL,
/// because a frame with one in its headers is refused.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers<'e> {
    block: &'e str,
}

impl<'e> Frame<'e> {
    /// Decodes the frame of that `shape` in `bytes`, which it rewrites.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalEscape`] or [`Error::HeadNotUtf8`]; all else was judged by the scan.
    pub(super) fn decode(
        bytes: &'e mut [u8],
        shape: Shape,
        version: Version,
    ) -> Result<Self, Error> {
        let Shape { command, headers_start, headers_end, body_start, body_end } = shape;
        // CONNECT is never escaped, so that 1.0 peers understand it (STOMP 1.2, "Value Encoding").
        let version = if command.is_connect() { Version::V1_0 } else { version };
        let (head, rest) = bytes.split_at_mut_checked(body_start).ok_or(Error::NotTerminated)?;
        let body = rest.get(..body_end - body_start).ok_or(Error::NotTerminated)?;
        let lines = head.get_mut(headers_start..headers_end).unwrap_or_default();
        Ok(Self { command, headers: Headers::decode(lines, version)?, body })
    }
}

impl<'e> Headers<'e> {
    /// The value of the first header called `name` (STOMP 1.2, "Repeated Header Entries").
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'e str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// As [`Headers::get`], unless the value is empty: that names nothing, and could not be given
    /// back, because some clients cannot read an empty header.
    #[must_use]
    pub fn get_filled(&self, name: &str) -> Option<&'e str> {
        self.get(name).filter(|it| !it.is_empty())
    }

    /// All headers as name and value, in order, repeated ones included.
    pub fn iter(&self) -> impl Iterator<Item = (&'e str, &'e str)> + use<'e> {
        let mut rest = self.block;
        iter::from_fn(move || {
            let name = split_field(&mut rest)?;
            Some((name, split_field(&mut rest)?))
        })
    }

    /// Decodes header lines, each with a colon and a line end, by rewriting them.
    fn decode(lines: &'e mut [u8], version: Version) -> Result<Self, Error> {
        let has_escapes = version.has_escapes() && memchr(b'\\', lines).is_some();
        let block_bytes = if has_escapes || memchr(b'\r', lines).is_some() {
            unescape(lines, version)?
        } else {
            separate(lines);
            lines.len()
        };
        let block = lines.get(..block_bytes).unwrap_or_default();
        let block = simdutf8::basic::from_utf8(block).map_err(|_| Error::HeadNotUtf8)?;
        Ok(Self { block })
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

/// The name or value at the front of `rest`, which is moved past it.
fn split_field<'e>(rest: &mut &'e str) -> Option<&'e str> {
    let end = memchr(0, rest.as_bytes())?;
    let field = rest.get(..end)?;
    *rest = rest.get(end + 1..)?;
    Some(field)
}

/// Puts NULs where the first colon and the end of each line are.
fn separate(mut lines: &mut [u8]) {
    for mark in [b':', b'\n'].into_iter().cycle() {
        let Some(at) = memchr(mark, lines) else { return };
        let Some((separator, rest)) =
            lines.split_at_mut_checked(at).and_then(|(_, rest)| rest.split_first_mut())
        else {
            return;
        };
        *separator = 0;
        lines = rest;
    }
}

/// Does the same where there are escapes or CRs; returns how many bytes are left of `lines`.
fn unescape(lines: &mut [u8], version: Version) -> Result<usize, Error> {
    let mut written = 0;
    let mut read = 0;
    let mut in_name = true;
    while let Some(&byte) = lines.get(read) {
        read += 1;
        let byte = match byte {
            b'\n' => {
                in_name = true;
                0
            }
            b':' if in_name => {
                in_name = false;
                0
            }
            // The scan has seen that an LF follows.
            b'\r' => continue,
            b'\\' if version.has_escapes() => {
                let letter = lines.get(read).copied().ok_or(Error::IllegalEscape)?;
                read += 1;
                version.unescape(letter).ok_or(Error::IllegalEscape)?
            }
            other => other,
        };
        if let Some(place) = lines.get_mut(written) {
            *place = byte;
        }
        written += 1;
    }
    Ok(written)
}
