//! One element of a reply: a plain value, or the head of an aggregate.

use memchr::memchr2;

use crate::proto::resp::Error;
use crate::proto::resp::Limits;
use crate::proto::resp::Value;

/// Fewest bytes of an element: type, CR, LF.
pub(super) const ITEM_BYTES_MIN: usize = 3;

/// Longest line that is no length. A line that is cut is searched again when more of it has come,
/// so this bounds what that can cost.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Digits of a length; more cannot be a size that exists.
const LENGTH_DIGITS_MAX: usize = 19;

/// Why there is no element: not all of it has come, or it can never be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The buffer must hold so many bytes before another try can do better.
    Incomplete(usize),
    /// The stream is broken.
    Broken(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

/// One element.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// A value that holds no others.
    Plain(Value<'a>),
    /// The head of an aggregate; `items_count` elements follow.
    Open { kind: Kind, items_count: usize },
}

/// Which aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Array,
    Set,
    Push,
    /// Its elements are keys and values in turn.
    Map,
    /// The same, in front of the reply that it says something about ("Attribute type").
    Attribute,
}

/// Reads the element at `at` and returns it with the index behind it.
pub(super) fn token<'a>(
    bytes: &'a [u8],
    at: usize,
    limits: &Limits,
) -> Result<(Token<'a>, usize), Stop> {
    let Some(&kind) = bytes.get(at) else { return Err(Stop::Incomplete(at + ITEM_BYTES_MIN)) };
    let front = at + 1;
    match kind {
        b'+' => line(bytes, front, |line| Ok(Value::Simple(line))),
        b'-' => line(bytes, front, |line| Ok(Value::Error(line))),
        b':' => line(bytes, front, integer),
        b'_' => {
            line(
                bytes,
                front,
                |line| {
                    if line.is_empty() { Ok(Value::Null) } else { Err(Error::Null) }
                },
            )
        }
        b'#' => line(bytes, front, |line| match line {
            b"t" => Ok(Value::Boolean(true)),
            b"f" => Ok(Value::Boolean(false)),
            _ => Err(Error::Boolean),
        }),
        b',' => line(bytes, front, double),
        b'(' => line(bytes, front, big_number),
        b'$' => {
            let (bulk, next) = nullable_bulk(bytes, front, limits)?;
            Ok((Token::Plain(bulk.map_or(Value::Null, Value::Bulk)), next))
        }
        b'!' => {
            let (bulk, next) = bulk(bytes, front, limits)?;
            Ok((Token::Plain(Value::Error(bulk)), next))
        }
        b'=' => {
            let (bulk, next) = bulk(bytes, front, limits)?;
            let [format @ .., b':'] = bulk.get(..4).unwrap_or_default() else {
                return Err(Error::Verbatim.into());
            };
            let text = bulk.get(4..).unwrap_or_default();
            Ok((Token::Plain(Value::Verbatim { format, text }), next))
        }
        b'*' => match length(bytes, front)? {
            (Some(items_count), next) => Ok((Token::Open { kind: Kind::Array, items_count }, next)),
            (None, next) => Ok((Token::Plain(Value::Null), next)),
        },
        b'~' => open(bytes, front, Kind::Set),
        b'>' => open(bytes, front, Kind::Push),
        b'%' => open(bytes, front, Kind::Map),
        b'|' => open(bytes, front, Kind::Attribute),
        _ => Err(Error::UnknownType.into()),
    }
}

/// Reads the line at `front` and what `parse` makes of it.
fn line<'a>(
    bytes: &'a [u8],
    front: usize,
    parse: impl FnOnce(&'a [u8]) -> Result<Value<'a>, Error>,
) -> Result<(Token<'a>, usize), Stop> {
    let rest = bytes.get(front..).unwrap_or_default();
    let window = rest.get(..=LINE_BYTES_MAX).unwrap_or(rest);
    let Some(end) = memchr2(b'\r', b'\n', window) else {
        if LINE_BYTES_MAX < rest.len() {
            return Err(Error::LineTooLong.into());
        }
        return Err(Stop::Incomplete(bytes.len() + 2));
    };
    match rest.get(end..) {
        Some([b'\r', b'\n', ..]) => {
            let value = parse(rest.get(..end).unwrap_or_default())?;
            Ok((Token::Plain(value), front + end + 2))
        }
        Some([b'\r']) => Err(Stop::Incomplete(bytes.len() + 1)),
        Some(_) | None => Err(Error::LineEnd.into()),
    }
}

/// "Integers": an optional sign and decimal digits.
fn integer(line: &[u8]) -> Result<Value<'_>, Error> {
    let number = str::from_utf8(line).ok().and_then(|text| text.parse().ok());
    number.map(Value::Integer).ok_or(Error::Integer)
}

/// "Doubles", `inf`, `-inf` and `nan` included.
fn double(line: &[u8]) -> Result<Value<'_>, Error> {
    let number = str::from_utf8(line).ok().and_then(|text| text.parse().ok());
    number.map(Value::Double).ok_or(Error::Double)
}

/// "Big numbers": an optional sign and decimal digits, any number of them.
fn big_number(line: &[u8]) -> Result<Value<'_>, Error> {
    let digits = line.strip_prefix(b"-").or(line.strip_prefix(b"+")).unwrap_or(line);
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if is_number { Ok(Value::BigNumber(line)) } else { Err(Error::BigNumber) }
}

fn open(bytes: &[u8], front: usize, kind: Kind) -> Result<(Token<'_>, usize), Stop> {
    let (Some(count), next) = length(bytes, front)? else { return Err(Error::Length.into()) };
    let items_count = match kind {
        Kind::Map | Kind::Attribute => count.saturating_mul(2),
        Kind::Array | Kind::Set | Kind::Push => count,
    };
    Ok((Token::Open { kind, items_count }, next))
}

fn bulk<'a>(bytes: &'a [u8], front: usize, limits: &Limits) -> Result<(&'a [u8], usize), Stop> {
    let (bulk, next) = nullable_bulk(bytes, front, limits)?;
    Ok((bulk.ok_or(Error::Length)?, next))
}

fn nullable_bulk<'a>(
    bytes: &'a [u8],
    front: usize,
    limits: &Limits,
) -> Result<(Option<&'a [u8]>, usize), Stop> {
    let (Some(bulk_bytes), start) = length(bytes, front)? else {
        return Ok((None, front + b"-1\r\n".len()));
    };
    // Judged before it is waited for.
    if limits.bulk_bytes_max < bulk_bytes {
        return Err(Error::BulkTooLong.into());
    }
    let (bulk, next) = bulk_body(bytes, start, bulk_bytes)?;
    Ok((Some(bulk), next))
}

/// Reads the `bulk_bytes` at `start` and their CR LF.
pub(super) fn bulk_body(
    bytes: &[u8],
    start: usize,
    bulk_bytes: usize,
) -> Result<(&[u8], usize), Stop> {
    let end = start.saturating_add(bulk_bytes);
    let next = end.saturating_add(2);
    match bytes.get(end..next) {
        Some(b"\r\n") => Ok((bytes.get(start..end).unwrap_or_default(), next)),
        Some(_) => Err(Error::BulkEnd.into()),
        None => Err(Stop::Incomplete(next)),
    }
}

/// Reads the length or count at `front` and its line's end; `None` is the -1 of a RESP2 null.
pub(super) fn length(bytes: &[u8], front: usize) -> Result<(Option<usize>, usize), Stop> {
    let rest = bytes.get(front..).unwrap_or_default();
    if let Some(null) = rest.strip_prefix(b"-") {
        let expected = b"1\r\n";
        let known = null.get(..expected.len()).unwrap_or(null);
        return match expected.strip_prefix(known) {
            Some(b"") => Ok((None, front + 1 + expected.len())),
            Some(missing) => Err(Stop::Incomplete(bytes.len() + missing.len())),
            None => Err(Error::Length.into()),
        };
    }
    let mut number: usize = 0;
    for (&byte, index) in rest.iter().zip(0..) {
        match byte {
            b'0'..=b'9' if index < LENGTH_DIGITS_MAX => {
                // 19 digits are below 2^64.
                number = number.saturating_mul(10).saturating_add(usize::from(byte - b'0'));
            }
            b'\r' if 0 < index => {
                return match rest.get(index + 1) {
                    Some(b'\n') => Ok((Some(number), front + index + 2)),
                    Some(_) => Err(Error::LineEnd.into()),
                    None => Err(Stop::Incomplete(bytes.len() + 1)),
                };
            }
            _ => return Err(Error::Length.into()),
        }
    }
    Err(Stop::Incomplete(bytes.len() + if rest.is_empty() { 3 } else { 2 }))
}
