//! Names: what a channel is called in Redis, which glob takes in all that an Ant pattern matches.

use std::borrow::Cow;

use crate::broker::relay::redis::options::Mode;
use crate::policy::pattern::Pattern;
use crate::policy::pattern::parts;
pub(super) use crate::proto::control::CHANNEL as CONTROL;
pub(super) use crate::proto::control::RECORD as REVOKED;
use crate::proto::resp;

/// What stands before every channel that carries messages.
const PREFIX: &str = "ws:";

/// Redis's name of a channel.
///
/// In sharded mode `{`, `}` and `%` are percent-encoded: so no channel has a hash tag, and its slot
/// is that of its whole name.
pub(super) fn name_of(mode: Mode, channel: &str) -> String {
    let mut name = String::with_capacity(PREFIX.len() + channel.len());
    name.push_str(PREFIX);
    match mode {
        Mode::PubSub => name.push_str(channel),
        Mode::Sharded => {
            for character in channel.chars() {
                match character {
                    '{' => name.push_str("%7B"),
                    '}' => name.push_str("%7D"),
                    '%' => name.push_str("%25"),
                    other => name.push(other),
                }
            }
        }
    }
    name
}

/// What is known of the history of the channel that Redis calls `name`. All keys of one history
/// have that name as their hash tag, so in a cluster they have the slot of the channel.
pub(super) fn state_of(name: &str) -> String {
    format!("ringway:history:{{{name}}}")
}

/// Its stream.
pub(super) fn stream_of(name: &str) -> String {
    format!("ringway:stream:{{{name}}}")
}

/// What of it is stored above its watermark.
pub(super) fn stored_of(name: &str) -> String {
    format!("ringway:stored:{{{name}}}")
}

/// The place of what was said with `key`.
pub(super) fn key_of(name: &str, key: &str) -> String {
    format!("ringway:key:{{{name}}}:{key}")
}

/// Histories with something that is not stored.
const UNSTORED: &str = "ringway:unstored";

/// Where the history of `name` stands while something of it is not stored; in a cluster there is
/// one such key for each slot.
pub(super) fn unstored_of(mode: Mode, name: &str) -> String {
    match mode {
        Mode::PubSub => UNSTORED.to_owned(),
        Mode::Sharded => unstored_at(resp::slot_of(name.as_bytes())),
    }
}

/// All such keys.
pub(super) fn all_unstored(mode: Mode) -> Vec<String> {
    match mode {
        Mode::PubSub => vec![UNSTORED.to_owned()],
        Mode::Sharded => (0..resp::SLOTS_COUNT).map(unstored_at).collect(),
    }
}

fn unstored_at(slot: u16) -> String {
    format!("{UNSTORED}:{{{}}}", resp::tag_of(slot))
}

/// The channel that Redis calls `name`; `None` when none is called so.
pub(super) fn channel_of(mode: Mode, name: &str) -> Option<Cow<'_, str>> {
    let written = name.strip_prefix(PREFIX)?;
    if mode == Mode::PubSub || !written.contains('%') {
        return Some(Cow::Borrowed(written));
    }
    let mut channel = String::with_capacity(written.len());
    let mut pieces = written.split('%');
    channel.push_str(pieces.next()?);
    for piece in pieces {
        let (escape, rest) = piece.split_at_checked(2)?;
        channel.push(match escape {
            "7B" => '{',
            "7D" => '}',
            "25" => '%',
            _ => return None,
        });
        channel.push_str(rest);
    }
    Some(Cow::Owned(channel))
}

/// A glob of Redis that matches, at least, Redis's names of all channels that `pattern` matches.
///
/// Redis's `*` crosses slashes and its `?` is one byte, so a glob takes in more, and what comes is
/// matched again. Destinations with empty segments, which a pattern does not count, are not taken
/// in: they stand in no pattern's glob (see [`EMPTY_SEGMENTS`]).
pub(super) fn glob_of(pattern: &Pattern) -> String {
    let text = pattern.as_str();
    let mut glob = String::with_capacity(PREFIX.len() + text.len() + 8);
    glob.push_str(PREFIX);
    if text.starts_with('/') {
        glob.push('/');
    }
    let mut ends_open = false;
    // `**` takes the slash before it too, because `/a/**` matches `/a`; the first slash is always
    // there, so that no user's channel is taken in.
    let mut is_slash_due = false;
    for (part, segment) in parts(text).zip(pattern.segments()) {
        ends_open = segment.is_deep() || part == "*";
        if segment.is_deep() {
            push_star(&mut glob);
            is_slash_due = glob.len() != PREFIX.len() + 2;
            continue;
        }
        if is_slash_due {
            glob.push('/');
        }
        push_segment(&mut glob, part);
        is_slash_due = true;
    }
    // `/topic/*/` matches `/topic/` too.
    if text.ends_with('/') && !ends_open && is_slash_due {
        glob.push('/');
    }
    glob
}

/// The glob of all destinations with an empty segment.
pub(super) const EMPTY_SEGMENTS: &str = "ws:*//*";

/// Whether a destination has an empty segment, so that only [`EMPTY_SEGMENTS`] brings it.
pub(super) fn has_empty_segment(destination: &str) -> bool {
    destination.contains("//")
}

fn push_segment(glob: &mut String, part: &str) {
    if part.contains('{') {
        // What a variable's regex holds is not looked into: between the first brace and the last
        // one anything may stand.
        let (before, rest) = part.split_once('{').unwrap_or((part, ""));
        let after = rest.rsplit_once('}').map_or("", |(_, after)| after);
        push_plain(glob, before);
        push_star(glob);
        push_plain(glob, after);
    } else {
        push_plain(glob, part);
    }
}

fn push_plain(glob: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '*' => push_star(glob),
            // One character has at least one byte.
            '?' => {
                glob.push('?');
                push_star(glob);
            }
            '[' | ']' | '\\' => {
                glob.push('\\');
                glob.push(character);
            }
            other => glob.push(other),
        }
    }
}

/// Two stars in a row would mean the same as one, at a price.
fn push_star(glob: &mut String) {
    if !glob.ends_with('*') {
        glob.push('*');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::broker::relay::redis::tests::matches;

    #[track_caller]
    fn check_glob(pattern: &str, expected: &str) {
        assert_eq!(glob_of(&Pattern::parse(pattern).unwrap()), expected, "{pattern}");
    }

    #[test]
    fn a_pattern_becomes_a_glob_that_takes_in_all_of_it() {
        check_glob("/topic/*", "ws:/topic/*");
        check_glob("/topic/**", "ws:/topic*");
        check_glob("/topic/**/x", "ws:/topic*/x");
        check_glob("/**", "ws:/*");
        check_glob("/**/x", "ws:/*x");
        check_glob("/topic/a?b", "ws:/topic/a?*b");
        check_glob("/topic/PRICE.*.{t:(A|\\{B)}x", "ws:/topic/PRICE.*.*x");
        check_glob("/topic/[a]\\*", "ws:/topic/\\[a\\]\\\\*");
        check_glob("/topic/{a}{b}/", "ws:/topic/*/");
        check_glob("/topic/*/", "ws:/topic/*");
        check_glob("/topic/**/**/", "ws:/topic*");
    }

    #[track_caller]
    fn check_name(mode: Mode, channel: &str, name: &str) {
        assert_eq!(name_of(mode, channel), name);
        assert_eq!(channel_of(mode, name).as_deref(), Some(channel));
    }

    #[test]
    fn a_channel_has_one_name_and_the_name_has_one_channel() {
        check_name(Mode::PubSub, "/topic/{a}%", "ws:/topic/{a}%");
        check_name(Mode::Sharded, "/topic/{a}%b", "ws:/topic/%7Ba%7D%25b");
        check_name(Mode::Sharded, "user.a%2Fé/queue/x", "ws:user.a%252Fé/queue/x");
        for name in ["/topic/a", "wsx", "ws", "ws:a%", "ws:%2", "ws:%7b", "ws:%é", "ws:%2F"] {
            assert_eq!(channel_of(Mode::Sharded, name), None, "{name}");
        }
    }

    #[test]
    fn a_glob_below_the_root_takes_in_no_users_channel() {
        for pattern in ["/**", "/*", "/?", "/{x}", "/**/**"] {
            let glob = glob_of(&Pattern::parse(pattern).unwrap());
            assert!(!matches(glob.as_bytes(), b"ws:user.a/queue/b"), "{pattern}");
        }
    }

    fn some_pattern() -> impl Strategy<Value = String> {
        let part = select(vec![
            "a", "é", "ab", "*", "**", "?", "a*", "*b", "a*b", "a?b", "{x}", "{x:a|b}c", "[a]",
            "?*", "\\",
        ]);
        (prop::collection::vec(part, 1..5), select(vec!["", "", "/"]))
            .prop_map(|(parts, last)| format!("/{}{last}", parts.join("/")))
    }

    fn some_destination() -> impl Strategy<Value = String> {
        let part = select(vec!["a", "é", "ab", "aéb", "bc", "[a]", "\\", "", "aab"]);
        (prop::collection::vec(part, 0..5), select(vec!["", "", "/"]))
            .prop_map(|(parts, last)| format!("/{}{last}", parts.join("/")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn what_a_pattern_matches_its_glob_takes_in(
            pattern in some_pattern(),
            destination in some_destination(),
        ) {
            let Ok(parsed) = Pattern::parse(&pattern) else { return Ok(()) };
            if parsed.matches(&destination) {
                let glob = glob_of(&parsed);
                let name = name_of(Mode::PubSub, &destination);
                let is_empty = has_empty_segment(&destination);
                let glob = if is_empty { EMPTY_SEGMENTS } else { &glob };
                prop_assert!(matches(glob.as_bytes(), name.as_bytes()), "{} {}", glob, name);
            }
        }
    }
}
