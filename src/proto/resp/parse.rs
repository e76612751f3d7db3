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

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::proto::resp::DEPTH_MAX;
    use crate::proto::resp::Error;
    use crate::proto::resp::Limits;
    use crate::proto::resp::Scanned;
    use crate::proto::resp::Value;
    use crate::proto::resp::Value::Array;
    use crate::proto::resp::Value::Bulk;
    use crate::proto::resp::Value::Integer;
    use crate::proto::resp::Value::Simple;
    use crate::proto::resp::scan;

    const LIMITS: Limits = Limits { bulk_bytes_max: 100_000, items_max: 1000, depth_max: 4 };

    /// `bytes` are one reply, no part of it is, and what follows does not count.
    #[track_caller]
    fn check(bytes: &[u8], expected: Value<'_>) {
        for known_bytes in 0..bytes.len() {
            let known = &bytes[..known_bytes];
            assert_eq!(parse(known, &LIMITS), Ok(None), "{known_bytes}");
            let Ok(Scanned::Incomplete { bytes_min }) = scan(known, &LIMITS) else {
                panic!("{known_bytes} are complete");
            };
            assert!(known_bytes < bytes_min && bytes_min <= bytes.len(), "{known_bytes}");
        }
        let followed = [bytes, b"+OK\r\n"].concat();
        for bytes_given in [bytes, &followed] {
            assert_eq!(parse(bytes_given, &LIMITS), Ok(Some((expected.clone(), bytes.len()))));
            assert_eq!(scan(bytes_given, &LIMITS), Ok(Scanned::Other { end: bytes.len() }));
        }
    }

    #[test]
    fn every_type_of_resp2_is_understood() {
        check(b"+OK\r\n", Simple(b"OK"));
        check(b"+\r\n", Simple(b""));
        check(b"+\xFF\0\r\n", Simple(b"\xFF\0"));
        check(b"-ERR unknown command\r\n", Value::Error(b"ERR unknown command"));
        check(b":0\r\n", Integer(0));
        check(b":+7\r\n", Integer(7));
        check(b":-9223372036854775808\r\n", Integer(i64::MIN));
        check(b"$5\r\nhe\r\no\r\n", Bulk(b"he\r\no"));
        check(b"$0\r\n\r\n", Bulk(b""));
        check(b"$-1\r\n", Value::Null);
        check(b"*-1\r\n", Value::Null);
        check(b"*0\r\n", Array(vec![]));
        let nested = Array(vec![Integer(1), Array(vec![Bulk(b"a"), Value::Null])]);
        check(b"*2\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n", nested);
    }

    #[test]
    fn every_type_of_resp3_is_understood() {
        check(b"_\r\n", Value::Null);
        check(b"#t\r\n", Value::Boolean(true));
        check(b"#f\r\n", Value::Boolean(false));
        check(b",1.23\r\n", Value::Double(1.23));
        check(b",10\r\n", Value::Double(10.0));
        check(b",1e+20\r\n", Value::Double(1e20));
        check(b",-inf\r\n", Value::Double(f64::NEG_INFINITY));
        check(b"(-3492890328409238509324850943850943825024385\r\n", {
            Value::BigNumber(b"-3492890328409238509324850943850943825024385")
        });
        check(b"!21\r\nSYNTAX invalid syntax\r\n", Value::Error(b"SYNTAX invalid syntax"));
        let verbatim = Value::Verbatim { format: b"txt", text: b"Some string" };
        check(b"=15\r\ntxt:Some string\r\n", verbatim);
        check(b"=4\r\nmkd:\r\n", Value::Verbatim { format: b"mkd", text: b"" });
        check(b"~2\r\n+a\r\n+a\r\n", Value::Set(vec![Simple(b"a"), Simple(b"a")]));
        check(b">1\r\n+a\r\n", Value::Push(vec![Simple(b"a")]));
        let entries = vec![(Simple(b"a"), Integer(1)), (Simple(b"b"), Array(vec![]))];
        check(b"%2\r\n+a\r\n:1\r\n+b\r\n*0\r\n", Value::Map(entries));
        check(b"%0\r\n", Value::Map(vec![]));
    }

    #[test]
    fn attributes_are_left_out_wherever_they_stand() {
        check(b"|1\r\n+ttl\r\n:3600\r\n:7\r\n", Integer(7));
        check(b"|0\r\n|1\r\n+a\r\n|1\r\n+b\r\n:1\r\n*0\r\n:7\r\n", Integer(7));
        check(b"*2\r\n:1\r\n|1\r\n+a\r\n*1\r\n:0\r\n:2\r\n", Array(vec![Integer(1), Integer(2)]));
    }

    #[test]
    fn confirmations_and_pongs_are_other_replies() {
        let subscribed = vec![Bulk(b"subscribe"), Bulk(b"ws:/topic/a"), Integer(1)];
        check(b"*3\r\n$9\r\nsubscribe\r\n$11\r\nws:/topic/a\r\n:1\r\n", Array(subscribed));
        let unsubscribed = vec![Bulk(b"unsubscribe"), Value::Null, Integer(0)];
        check(b">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n", Value::Push(unsubscribed));
        let pong = vec![Bulk(b"pong"), Bulk(b"message")];
        check(b"*2\r\n$4\r\npong\r\n$7\r\nmessage\r\n", Array(pong));
        // Such a message does not exist.
        let odd = vec![Bulk(b"message"), Value::Null, Bulk(b"a")];
        check(b"*3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\na\r\n", Array(odd));
        let odd = vec![Bulk(b"message"), Bulk(b"a"), Integer(1)];
        check(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n:1\r\n", Array(odd));
    }

    /// `bytes` break the stream, whatever follows; what stands in front of `sound_bytes` does not.
    #[track_caller]
    fn check_broken(bytes: &[u8], sound_bytes: usize, expected: Error) {
        for known_bytes in 0..=bytes.len() {
            let known = &bytes[..known_bytes];
            let is_sound = known_bytes <= sound_bytes;
            let parsed = if is_sound { Ok(None) } else { Err(expected) };
            assert_eq!(parse(known, &LIMITS), parsed, "{known_bytes}");
            assert_eq!(scan(known, &LIMITS).err(), parsed.err(), "{known_bytes}");
        }
        assert_eq!(parse(&[bytes, b"\r\n\r\n"].concat(), &LIMITS), Err(expected));
    }

    #[test]
    fn lines_end_in_cr_and_lf_together() {
        check_broken(b"+a\n", 2, Error::LineEnd);
        check_broken(b"+a\rb", 3, Error::LineEnd);
        check_broken(b"+a\r\r", 3, Error::LineEnd);
        check_broken(b":1\r:", 3, Error::LineEnd);
        check_broken(b"$1\ra", 3, Error::LineEnd);
        check_broken(b"*1\r*", 3, Error::LineEnd);
        check_broken(b"$1\n", 2, Error::Length);
        check_broken(b"$1\r\nab\r", 6, Error::BulkEnd);
        check_broken(b"$1\r\na\n\n", 6, Error::BulkEnd);
        check_broken(b"$0\r\n\n\r", 5, Error::BulkEnd);
    }

    #[test]
    fn lengths_are_digits_and_nothing_else() {
        for kind in ["$", "*", "!", "=", "~", ">", "%", "|"] {
            for length in ["+", " ", "a", "\r", "?", "--", "-2", "-\r", "-11", "-1 ", "-1\n"] {
                let bytes = format!("{kind}{length}");
                check_broken(bytes.as_bytes(), bytes.len() - 1, Error::Length);
            }
            let digits = format!("{kind}{}", "0".repeat(20));
            check_broken(digits.as_bytes(), 20, Error::Length);
        }
        for kind in ["!", "=", "~", ">", "%", "|"] {
            check_broken(format!("{kind}-1\r\n").as_bytes(), 4, Error::Length);
        }
        check(b"$0000000000000000001\r\na\r\n", Bulk(b"a"));
    }

    #[test]
    fn plain_values_are_judged() {
        check_broken(b"\0", 0, Error::UnknownType);
        check_broken(b"PING\r\n", 0, Error::UnknownType);
        check_broken(b":\r\n", 2, Error::Integer);
        check_broken(b":1.0\r\n", 5, Error::Integer);
        check_broken(b": 1\r\n", 4, Error::Integer);
        check_broken(b":9223372036854775808\r\n", 21, Error::Integer);
        check_broken(b",\r\n", 2, Error::Double);
        check_broken(b",1,5\r\n", 5, Error::Double);
        check_broken(b"#\r\n", 2, Error::Boolean);
        check_broken(b"#T\r\n", 3, Error::Boolean);
        check_broken(b"_0\r\n", 3, Error::Null);
        check_broken(b"(\r\n", 2, Error::BigNumber);
        check_broken(b"(-\r\n", 3, Error::BigNumber);
        check_broken(b"(+-1\r\n", 5, Error::BigNumber);
        check_broken(b"=3\r\ntxt\r\n", 8, Error::Verbatim);
        check_broken(b"=4\r\ntxt;\r\n", 9, Error::Verbatim);
    }

    #[test]
    fn what_is_over_a_limit_is_refused_when_it_is_announced() {
        check_broken(b"$100001\r\n", 8, Error::BulkTooLong);
        check_broken(b"!100001\r\n", 8, Error::BulkTooLong);
        check_broken(b"*1\r\n=9999999999999999999\r\n", 25, Error::BulkTooLong);
        check_broken(b"*1001\r\n", 6, Error::TooManyItems);
        check_broken(b"%501\r\n", 5, Error::TooManyItems);
        check_broken(b"|9999999999999999999\r\n", 21, Error::TooManyItems);
        check_broken(b"*2\r\n*999\r\n", 9, Error::TooManyItems);
        check_broken(b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", 19, Error::TooDeep);
        check_broken(b"*1\r\n*1\r\n*1\r\n*1\r\n|0\r\n", 19, Error::TooDeep);
        assert_eq!(parse(b"$100000\r\n", &LIMITS), Ok(None));
        assert_eq!(parse(b"*1000\r\n", &LIMITS), Ok(None));
        assert_eq!(parse(b"*1\r\n*1\r\n*1\r\n*1\r\n", &LIMITS), Ok(None));

        let line = [b"+", &vec![b'a'; 64 * 1024][..]].concat();
        assert_eq!(parse(&line, &LIMITS), Ok(None));
        assert!(parse(&[&line[..], b"\r\n"].concat(), &LIMITS).is_ok_and(|it| it.is_some()));
        assert_eq!(parse(&[&line[..], b"a"].concat(), &LIMITS), Err(Error::LineTooLong));
        assert_eq!(parse(&[&line[..], b"a\r\n"].concat(), &LIMITS), Err(Error::LineTooLong));
    }

    #[test]
    fn no_limit_allows_more_depth_than_the_stack_does() {
        let limits = Limits { depth_max: usize::MAX, items_max: usize::MAX, ..LIMITS };
        let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
        assert!(parse(&nested(DEPTH_MAX), &limits).is_ok_and(|it| it.is_some()));
        assert_eq!(parse(&nested(DEPTH_MAX + 1), &limits), Err(Error::TooDeep));
        assert_eq!(parse(&nested(1_000_000), &limits), Err(Error::TooDeep));
        // Nothing is reserved for what has not come.
        let huge = b"*9223372036854775807\r\n*9223372036854775807\r\n";
        assert_eq!(parse(huge, &limits), Ok(None));
        assert_eq!(scan(huge, &limits), Ok(Scanned::Incomplete { bytes_min: usize::MAX }));
    }

    #[test]
    fn missing_elements_are_a_part_of_the_hint() {
        let hint = |bytes: &[u8]| match scan(bytes, &LIMITS) {
            Ok(Scanned::Incomplete { bytes_min }) => bytes_min,
            other => panic!("{other:?}"),
        };
        assert_eq!(hint(b""), 3);
        assert_eq!(hint(b"$"), 4);
        assert_eq!(hint(b"$5"), 4);
        assert_eq!(hint(b"$5\r\n"), 11);
        assert_eq!(hint(b"*100\r\n"), 6 + 300);
        assert_eq!(hint(b"*100\r\n$5\r\n"), 6 + 11 + 99 * 3);
        assert_eq!(hint(b"%2\r\n:1\r\n*2\r\n"), 12 + 4 * 3);
    }
}
