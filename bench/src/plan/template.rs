//! Texts with `{names}` in them.

/// `template` with each `{name}` that `values` knows replaced; other braces stay, so JSON needs no
/// escapes.
#[must_use]
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let (before, from) = rest.split_at(start);
        filled.push_str(before);
        let value = from.find('}').and_then(|end| {
            let (_, value) = values.iter().find(|(name, _)| *name == &from[1..end])?;
            Some((end + 1, *value))
        });
        let (used_bytes, text) = value.unwrap_or((1, "{"));
        filled.push_str(text);
        rest = &from[used_bytes..];
    }
    filled.push_str(rest);
    filled
}

/// `text` with `\r`, `\n` and `\\` as what they stand for.
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, false) => plain.push(letter),
            (_, true) => match letters.next() {
                Some('r') => plain.push('\r'),
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, expected: &str) {
        assert_eq!(fill(template, &[("room", "7"), ("body", "{room}")]), expected);
    }

    #[test]
    fn known_names_are_filled_once_and_other_braces_stay() {
        check("/topic/room.{room}", "/topic/room.7");
        check("{\"a\":{\"b\":\"{body}\"}}", "{\"a\":{\"b\":\"{room}\"}}");
        check("{unknown} {", "{unknown} {");
        check("{}{room", "{}{room");
        check("", "");
    }

    #[test]
    fn escapes_stand_for_line_ends() {
        assert_eq!(unescape("PING\\r\\n"), "PING\r\n");
        assert_eq!(unescape("a\\\\n\\"), "a\\n\\");
    }
}
