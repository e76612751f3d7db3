//! What arrives on a subscriber connection, found without building it.

use std::ops::Range;

use crate::proto::resp::Error;
use crate::proto::resp::Limits;
use crate::proto::resp::Skip;
use crate::proto::resp::measure::measure;
use crate::proto::resp::token::ITEM_BYTES_MIN;
use crate::proto::resp::token::Stop;
use crate::proto::resp::token::bulk_body;
use crate::proto::resp::token::length;

/// What is at the front of the buffer. Ranges are indexes into it, so that the caller can borrow a
/// payload mutably and decode it in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// Not all of it has come. It is not worth another try before the buffer holds `bytes_min`
    /// bytes, which is more than it holds and never more than the reply has.
    Incomplete {
        /// Counted from the front of the buffer.
        bytes_min: usize,
    },
    /// A `message` or `smessage`.
    Message {
        /// The channel it was published to.
        channel: Range<usize>,
        /// What was published.
        payload: Range<usize>,
        /// The first byte behind it.
        end: usize,
    },
    /// A `pmessage`.
    PatternMessage {
        /// The pattern as it was subscribed to.
        pattern: Range<usize>,
        /// The channel it was published to.
        channel: Range<usize>,
        /// What was published.
        payload: Range<usize>,
        /// The first byte behind it.
        end: usize,
    },
    /// A message with a part of more than `bulk_bytes_max` bytes. It need not have come: `skip`
    /// passes over it as it comes, from its first byte on. A publisher's fault is not the
    /// connection's.
    Oversize {
        /// The channel, unless it is what is too large or stands behind it.
        channel: Option<Range<usize>>,
        /// The announced bytes of the part.
        part_bytes: usize,
        /// Passes over the message.
        skip: Skip,
    },
    /// Any other reply, complete: give it to [`parse`](crate::proto::resp::parse).
    Other {
        /// The first byte behind it.
        end: usize,
    },
}

/// Looks at what is at the front of `bytes`, on a connection that subscribes: on others a RESP2
/// array could look like a message.
///
/// A message is a push (RESP3, "Pushes") or an array (RESP2) of bulk strings as "Pub/sub" of the
/// Redis manual has them, without attributes; `items_max` and `depth_max` are not asked about it.
/// An incomplete reply is looked at again from its front: a message costs nothing, because its
/// lengths stand in front of what they count.
///
/// # Errors
///
/// Any [`Error`] means that the stream is lost.
pub fn scan(bytes: &[u8], limits: &Limits) -> Result<Scanned, Error> {
    let found = match message(bytes, limits) {
        Ok(None) => measure(bytes, limits).map(|end| Scanned::Other { end }),
        Ok(Some(message)) => Ok(message),
        Err(stop) => Err(stop),
    };
    match found {
        Ok(scanned) => Ok(scanned),
        Err(Stop::Incomplete(bytes_min)) => Ok(Scanned::Incomplete { bytes_min }),
        Err(Stop::Broken(error)) => Err(error),
    }
}

/// The message at the front of `bytes`; `None` when it is something else, or too short to tell.
fn message(bytes: &[u8], limits: &Limits) -> Result<Option<Scanned>, Stop> {
    let Some((b'*' | b'>', rest)) = bytes.split_first() else { return Ok(None) };
    if rest.starts_with(b"3\r\n$7\r\nmessage\r\n") {
        return exact(bytes, 1 + 16, limits);
    }
    if rest.starts_with(b"3\r\n$8\r\nsmessage\r\n") {
        return exact(bytes, 1 + 17, limits);
    }
    if rest.starts_with(b"4\r\n$8\r\npmessage\r\n") {
        return by_pattern(bytes, 1 + 17, limits);
    }
    Ok(None)
}

fn exact(bytes: &[u8], at: usize, limits: &Limits) -> Result<Option<Scanned>, Stop> {
    let (channel, at) = match part(bytes, at, 1, limits)? {
        Part::Bulk(channel, next) => (channel, next),
        Part::Other => return Ok(None),
        Part::TooLong(part_bytes, skip) => {
            return Ok(Some(Scanned::Oversize { channel: None, part_bytes, skip }));
        }
    };
    Ok(match part(bytes, at, 0, limits)? {
        Part::Bulk(payload, end) => Some(Scanned::Message { channel, payload, end }),
        Part::Other => None,
        Part::TooLong(part_bytes, skip) => {
            Some(Scanned::Oversize { channel: Some(channel), part_bytes, skip })
        }
    })
}

fn by_pattern(bytes: &[u8], at: usize, limits: &Limits) -> Result<Option<Scanned>, Stop> {
    let (pattern, at) = match part(bytes, at, 2, limits)? {
        Part::Bulk(pattern, next) => (pattern, next),
        Part::Other => return Ok(None),
        Part::TooLong(part_bytes, skip) => {
            return Ok(Some(Scanned::Oversize { channel: None, part_bytes, skip }));
        }
    };
    Ok(match exact(bytes, at, limits)? {
        Some(Scanned::Message { channel, payload, end }) => {
            Some(Scanned::PatternMessage { pattern, channel, payload, end })
        }
        other => other,
    })
}

/// One part of a message.
enum Part {
    /// Where it lies, and the first byte behind it.
    Bulk(Range<usize>, usize),
    /// More bytes than the limit.
    TooLong(usize, Skip),
    /// Not a bulk string: so this is no message.
    Other,
}

/// Reads the part at `at`, behind which `parts_count` more are to come.
fn part(bytes: &[u8], at: usize, parts_count: usize, limits: &Limits) -> Result<Part, Stop> {
    let others_bytes = parts_count * ITEM_BYTES_MIN;
    let found = match bytes.get(at) {
        None => Err(Stop::Incomplete(at + ITEM_BYTES_MIN)),
        Some(b'$') => length(bytes, at + 1),
        Some(_) => return Ok(Part::Other),
    };
    let found = match found {
        Ok((None, _)) => return Ok(Part::Other),
        Ok((Some(part_bytes), start)) if limits.bulk_bytes_max < part_bytes => {
            return Ok(Part::TooLong(part_bytes, Skip::new(start, part_bytes, parts_count)));
        }
        Ok((Some(part_bytes), start)) => bulk_body(bytes, start, part_bytes)
            .map(|(_, next)| Part::Bulk(start..start + part_bytes, next)),
        Err(stop) => Err(stop),
    };
    match found {
        Err(Stop::Incomplete(bytes_min)) => {
            Err(Stop::Incomplete(bytes_min.saturating_add(others_bytes)))
        }
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bulk_bytes_max: 20, items_max: 8, depth_max: 1 };

    /// The text of each part of a message.
    fn parts(bytes: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
        match scan(bytes, &LIMITS) {
            Ok(Scanned::Message { channel, payload, end }) => {
                Some((vec![&bytes[channel], &bytes[payload]], end))
            }
            Ok(Scanned::PatternMessage { pattern, channel, payload, end }) => {
                Some((vec![&bytes[pattern], &bytes[channel], &bytes[payload]], end))
            }
            Ok(Scanned::Incomplete { bytes_min }) => {
                assert!(bytes.len() < bytes_min);
                None
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &[&[u8]]) {
        for known_bytes in 0..bytes.len() {
            let known = &bytes[..known_bytes];
            assert_eq!(parts(known), None, "{known_bytes}");
            let Ok(Scanned::Incomplete { bytes_min }) = scan(known, &LIMITS) else { panic!() };
            assert!(bytes_min <= bytes.len(), "{known_bytes}: {bytes_min}");
        }
        let followed = [bytes, b"*3\r\n"].concat();
        assert_eq!(parts(bytes), Some((expected.to_vec(), bytes.len())));
        assert_eq!(parts(&followed), Some((expected.to_vec(), bytes.len())));
    }

    #[test]
    fn messages_of_both_versions_are_found_where_they_lie() {
        for kind in ["*", ">"] {
            for name in ["$7\r\nmessage", "$8\r\nsmessage"] {
                let bytes = format!("{kind}3\r\n{name}\r\n$4\r\nws:a\r\n$2\r\n{{}}\r\n");
                check(bytes.as_bytes(), &[b"ws:a", b"{}"]);
            }
            let bytes = format!("{kind}4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\na\r\n$0\r\n\r\n");
            check(bytes.as_bytes(), &[b"*", b"a", b""]);
        }
        check(
            b"*3\r\n$7\r\nmessage\r\n$3\r\n\xFF\r\n\r\n$4\r\n\r\n$1\r\n",
            &[b"\xFF\r\n", b"\r\n$1"],
        );
    }

    #[test]
    fn a_message_knows_how_much_of_it_is_missing() {
        let hint = |bytes: &[u8]| match scan(bytes, &LIMITS) {
            Ok(Scanned::Incomplete { bytes_min }) => bytes_min,
            other => panic!("{other:?}"),
        };
        let front = b"*3\r\n$7\r\nmessage\r\n".to_vec();
        assert_eq!(hint(&front), 17 + 3 + 3);
        assert_eq!(hint(&[&front[..], b"$9\r\n"].concat()), 17 + 4 + 9 + 2 + 3);
        assert_eq!(hint(&[&front[..], b"$1\r\na\r\n$20\r\n"].concat()), 17 + 7 + 5 + 20 + 2);
    }

    /// `bytes` hold a part over the limit: they are passed over exactly, however they are cut.
    #[track_caller]
    fn check_oversize(bytes: &[u8], expected_channel: Option<&[u8]>) {
        let Ok(Scanned::Oversize { channel, part_bytes, skip }) = scan(bytes, &LIMITS) else {
            panic!("not too large");
        };
        assert_eq!(channel.map(|it| &bytes[it]), expected_channel);
        assert_eq!(part_bytes, 21);
        let followed = [bytes, b"$3\r\nabc\r\n"].concat();
        for step in 1..followed.len() {
            let mut skip = skip.clone();
            let (mut start, mut known_bytes) = (0, 0);
            while !skip.is_done() {
                known_bytes = (known_bytes + step).min(followed.len());
                start += skip.advance(&followed[start..known_bytes]).unwrap();
                assert!(known_bytes - start < 25, "what is left over is short");
            }
            assert_eq!(start, bytes.len(), "by {step}");
        }
    }

    #[test]
    fn a_message_over_the_limit_is_passed_over_without_being_kept() {
        let long = "a".repeat(21);
        let front = "*3\r\n$7\r\nmessage\r\n";
        let bytes = format!("{front}$4\r\nws:a\r\n$21\r\n{long}\r\n");
        check_oversize(bytes.as_bytes(), Some(b"ws:a"));
        let bytes = format!("{front}$21\r\n{long}\r\n$2\r\n{{}}\r\n");
        check_oversize(bytes.as_bytes(), None);
        let front = ">4\r\n$8\r\npmessage\r\n";
        let bytes = format!("{front}$21\r\n{long}\r\n$4\r\nws:a\r\n$0\r\n\r\n");
        check_oversize(bytes.as_bytes(), None);
        let bytes = format!("{front}$1\r\n*\r\n$4\r\nws:a\r\n$21\r\n{long}\r\n");
        check_oversize(bytes.as_bytes(), Some(b"ws:a"));
        let bytes = format!("{front}$1\r\n*\r\n$21\r\n{long}\r\n$21\r\n{long}\r\n");
        check_oversize(bytes.as_bytes(), None);
    }

    #[test]
    fn what_is_passed_over_is_judged_all_the_same() {
        let front = b"*3\r\n$7\r\nmessage\r\n$21\r\n123456789012345678901";
        let Ok(Scanned::Oversize { skip, .. }) = scan(front, &LIMITS) else { panic!() };
        let broken: [(&[u8], Error); 4] = [
            (b"22", Error::BulkEnd),
            (b"\r\n:1\r\n", Error::Message),
            (b"\r\n$-1\r\n", Error::Message),
            (b"\r\n$a\r\n", Error::Length),
        ];
        for (rest, error) in broken {
            assert_eq!(skip.clone().advance(&[front, rest].concat()), Err(error));
        }
    }
}
