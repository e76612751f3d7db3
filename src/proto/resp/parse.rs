//! A whole reply as a [`Value`].

use crate::proto::resp::Error;
use crate::proto::resp::Limits;
use crate::proto::resp::Value;
use crate::proto::resp::measure::measure;
use crate::proto::resp::token::Kind;
use crate::proto::resp::token::Stop;
use crate::proto::resp::token::Token;
use crate::proto::resp::token::token;

/// Parses the reply at the front of `bytes`; also returns how many bytes it has.
///
/// `None` when it is not complete: then nothing was built. [`scan`](crate::proto::resp::scan) says
/// when to try again.
///
/// # Errors
///
/// Any [`Error`] means that the stream is lost; it does not depend on how the bytes were cut but
/// that it may come later.
pub fn parse<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Option<(Value<'a>, usize)>, Error> {
    match measure(bytes, limits).and_then(|_| build(bytes, 0, limits)) {
        Ok(found) => Ok(Some(found)),
        Err(Stop::Incomplete(_)) => Ok(None),
        Err(Stop::Broken(error)) => Err(error),
    }
}

/// Builds the value at `at` of a reply that was measured, which bounds the recursion.
fn build<'a>(bytes: &'a [u8], mut at: usize, limits: &Limits) -> Result<(Value<'a>, usize), Stop> {
    loop {
        let (found, next) = token(bytes, at, limits)?;
        let (kind, items_count) = match found {
            Token::Plain(value) => return Ok((value, next)),
            Token::Open { kind, items_count } => (kind, items_count),
        };
        at = next;
        // All of them are in `bytes`, so no count can ask for much more memory than it brought.
        let mut items = Vec::with_capacity(items_count);
        for _ in 0..items_count {
            let (item, next) = build(bytes, at, limits)?;
            items.push(item);
            at = next;
        }
        let value = match kind {
            Kind::Attribute => continue,
            Kind::Array => Value::Array(items),
            Kind::Set => Value::Set(items),
            Kind::Push => Value::Push(items),
            Kind::Map => {
                let mut items = items.into_iter();
                let entries = std::iter::from_fn(|| Some((items.next()?, items.next()?)));
                Value::Map(entries.collect())
            }
        };
        return Ok((value, at));
    }
}
