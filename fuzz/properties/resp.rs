//! What must hold for any bytes of a Redis server.

use std::ops::Range;

use ringway::proto::resp;

use super::Pieces;

/// A reply is what it is once it is complete, no part of it is taken for one, and another
/// implementation reads the same.
pub(crate) fn replies(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let limits = match seed % 3 {
        0 => resp::Limits { bulk_bytes_max: 12, items_max: 6, depth_max: 2 },
        _ => resp::Limits { bulk_bytes_max: 100_000, items_max: 10_000, depth_max: 16 },
    };
    let whole = resp::scan(input, &limits);
    check_prefixes(input, &whole, &limits);
    let parsed = resp::parse(input, &limits);
    match whole.clone() {
        Ok(resp::Scanned::Incomplete { .. }) => {
            assert_eq!(parsed, Ok(None));
            if seed % 3 != 0 {
                assert!(redis::parse_redis_value(input).is_err(), "not complete elsewhere");
            }
        }
        Ok(resp::Scanned::Other { end }) => {
            let (value, bytes) = parsed.expect("as scanned").expect("as scanned");
            assert!(bytes == end && end <= input.len());
            check_elsewhere(&value, &input[..end]);
        }
        Ok(resp::Scanned::Message { channel, payload, end }) => {
            check_message(input, parsed, &["message", "smessage"], &[channel, payload], end);
        }
        Ok(resp::Scanned::PatternMessage { pattern, channel, payload, end }) => {
            check_message(input, parsed, &["pmessage"], &[pattern, channel, payload], end);
        }
        Ok(resp::Scanned::Oversize { channel, part_bytes, skip }) => {
            assert!(limits.bulk_bytes_max < part_bytes);
            assert!(channel.is_none_or(|it| it.end <= input.len()));
            assert_eq!(parsed, Err(resp::Error::BulkTooLong));
            check_skip(input, &skip, seed);
        }
        Err(error) => assert_eq!(parsed, Err(error)),
    }
    check_command(input, seed);
}

/// The first bytes of a reply are incomplete, never something else.
fn check_prefixes(input: &[u8], whole: &Result<resp::Scanned, resp::Error>, limits: &resp::Limits) {
    let mut hint = 0;
    // All of them where that is cheap.
    for known_bytes in (0..input.len()).filter(|it| *it < 80 || it % 13 == 0) {
        let scanned = resp::scan(&input[..known_bytes], limits);
        if let Ok(resp::Scanned::Incomplete { bytes_min }) = scanned {
            assert!(known_bytes < bytes_min && hint <= bytes_min, "a hint only rises");
            assert_eq!(resp::parse(&input[..known_bytes], limits), Ok(None));
            hint = bytes_min;
        } else {
            assert_eq!(scanned, *whole, "known after {known_bytes} bytes");
        }
    }
    match whole {
        Ok(resp::Scanned::Incomplete { bytes_min }) => {
            assert!(input.len() < *bytes_min && hint <= *bytes_min);
        }
        Ok(
            resp::Scanned::Message { end, .. }
            | resp::Scanned::PatternMessage { end, .. }
            | resp::Scanned::Other { end },
        ) => assert!(hint <= *end, "nobody waits for bytes that do not come"),
        Ok(resp::Scanned::Oversize { .. }) | Err(_) => {}
    }
}

fn check_message(
    input: &[u8],
    parsed: Result<Option<(resp::Value<'_>, usize)>, resp::Error>,
    names: &[&str],
    ranges: &[Range<usize>],
    end: usize,
) {
    let (value, bytes) = parsed.expect("as scanned").expect("as scanned");
    assert_eq!(bytes, end);
    let items = value.items().expect("an array or push");
    assert!(names.iter().any(|name| items[0].as_str() == Some(name)));
    let parts: Vec<_> =
        ranges.iter().map(|range| resp::Value::Bulk(&input[range.clone()])).collect();
    assert_eq!(items[1..], parts);
}

/// What is passed over ends where it would have ended if it had been kept.
fn check_skip(input: &[u8], skip: &resp::Skip, seed: u8) {
    let mut skip = skip.clone();
    let (mut start, mut known_bytes) = (0, 0);
    let mut is_sound = true;
    for piece in Pieces::new(input, seed) {
        known_bytes += piece.len();
        match skip.advance(&input[start..known_bytes]) {
            Ok(passed_bytes) => start += passed_bytes,
            Err(_) => is_sound = false,
        }
        if !is_sound || skip.is_done() {
            break;
        }
    }
    let roomy =
        resp::Limits { bulk_bytes_max: usize::MAX, items_max: usize::MAX, depth_max: usize::MAX };
    let end = match resp::scan(input, &roomy) {
        Ok(resp::Scanned::Message { end, .. } | resp::Scanned::PatternMessage { end, .. }) => {
            Some(end)
        }
        Ok(_) | Err(_) => None,
    };
    assert_eq!((is_sound && skip.is_done()).then_some(start), end);
}

/// Where both understand a reply, they mean the same.
fn check_elsewhere(value: &resp::Value<'_>, bytes: &[u8]) {
    match redis::parse_redis_value(bytes) {
        Ok(theirs) => assert!(is_same_reply(value, &theirs), "{value:?} is {theirs:?}"),
        // They want text to be UTF-8, and a push to begin with a string.
        Err(error) => assert!(bytes.contains(&b'>') || str::from_utf8(bytes).is_err(), "{error}"),
    }
}

fn is_same_reply(ours: &resp::Value<'_>, theirs: &redis::Value) -> bool {
    use redis::Value as Theirs;
    use resp::Value as Ours;
    let are_same = |ours: &[Ours<'_>], theirs: &[Theirs]| {
        ours.len() == theirs.len()
            && ours.iter().zip(theirs).all(|(ours, theirs)| is_same_reply(ours, theirs))
    };
    match (ours, theirs) {
        (_, Theirs::Attribute { data, .. }) => is_same_reply(ours, data),
        (Ours::Null, Theirs::Nil) => true,
        (Ours::Simple(text), Theirs::Okay) => *text == b"OK",
        (Ours::Simple(text), Theirs::SimpleString(theirs)) => *text == theirs.as_bytes(),
        (Ours::Error(text), Theirs::ServerError(error)) => {
            // They give the kind a name of their own.
            String::from_utf8_lossy(text).contains(error.details().unwrap_or_default())
        }
        (Ours::Integer(number), Theirs::Int(theirs)) => number == theirs,
        (Ours::Bulk(bytes), Theirs::BulkString(theirs)) => bytes == theirs,
        (Ours::Boolean(value), Theirs::Boolean(theirs)) => value == theirs,
        (Ours::Double(number), Theirs::Double(theirs)) => {
            number == theirs || (number.is_nan() && theirs.is_nan())
        }
        (Ours::BigNumber(digits), Theirs::BigNumber(theirs)) => digits == theirs,
        (Ours::Verbatim { format, text }, Theirs::VerbatimString { text: theirs, .. }) => {
            // They cut at the first colon, wherever it is, and patch what is not UTF-8.
            let all = [format, &b":"[..], text].concat();
            String::from_utf8_lossy(&all).ends_with(theirs)
        }
        (Ours::Array(items), Theirs::Array(theirs)) => are_same(items, theirs),
        (Ours::Set(items), Theirs::Set(theirs)) => are_same(items, theirs),
        (Ours::Push(items), Theirs::Push { kind, data }) => {
            items.split_first().map_or(data.is_empty(), |(name, items)| {
                name.as_bytes() == Some(kind.to_string().as_bytes()) && are_same(items, data)
            })
        }
        (Ours::Map(entries), Theirs::Map(theirs)) => {
            entries.len() == theirs.len()
                && entries.iter().zip(theirs).all(|(ours, theirs)| {
                    is_same_reply(&ours.0, &theirs.0) && is_same_reply(&ours.1, &theirs.1)
                })
        }
        _ => false,
    }
}

/// What is sent is one array of just these parts, for us and for others.
fn check_command(input: &[u8], seed: u8) {
    let parts: Vec<&[u8]> = Pieces::new(input, seed).collect();
    let mut out = Vec::new();
    resp::push_command(&mut out, &parts);
    let roomy =
        resp::Limits { bulk_bytes_max: usize::MAX, items_max: usize::MAX, depth_max: usize::MAX };
    let bulks = parts.iter().map(|part| resp::Value::Bulk(part)).collect();
    let expected = resp::Value::Array(bulks);
    assert_eq!(resp::parse(&out, &roomy), Ok(Some((expected, out.len()))));

    let slot = resp::slot_of(input);
    assert!(slot < resp::SLOTS_COUNT);
    if !input.is_empty() && !input.contains(&b'{') && !input.contains(&b'}') {
        assert_eq!(resp::slot_of(&[b"a{", input, b"}b{c}"].concat()), slot, "only the tag counts");
    }
}
