//! Percent-encoding of names that enter a destination.

/// Appends `user` with `%`, `/` and control characters percent-encoded.
///
/// This is the one form of a user id inside a destination (`/user/<id>/queue/…`) or a channel
/// (`user.<id>/queue/…`), so equal users give equal bytes.
pub fn push_encoded(out: &mut String, user: &str) {
    for character in user.chars() {
        if character == '%' || character == '/' || character.is_control() {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                out.push('%');
                for nibble in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(u32::from(nibble), 16);
                    out.push(digit.map_or('0', |it| it.to_ascii_uppercase()));
                }
            }
        } else {
            out.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_segment_or_a_line_is_encoded() {
        let check = |text: &str, expected: &str| {
            let mut out = String::new();
            push_encoded(&mut out, text);
            assert_eq!(out, expected);
        };
        check("zoë@example.org", "zoë@example.org");
        check("a/b%\t\u{85}", "a%2Fb%25%09%C2%85");
    }
}
