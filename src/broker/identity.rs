//! Names of users, and how they enter destinations and channels.

pub use crate::policy::auth::USER_BYTES_MAX;
pub use crate::stdx::percent::push_encoded;

/// Brings an id that a client wrote in a destination into the form of [`push_encoded`]: percent
/// escapes are decoded, then the id is encoded again. `None` when an escape is cut or is not UTF-8.
#[must_use]
pub fn canonical(written: &str) -> Option<String> {
    let user = decode(written)?;
    let mut out = String::with_capacity(written.len());
    push_encoded(&mut out, &user);
    Some(out)
}

/// The user id that `written` stands for in a destination or channel. `None` when an escape is cut
/// or is not UTF-8, or when it is no id.
#[must_use]
pub fn decode(written: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(written.len());
    let mut rest = written.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let user = String::from_utf8(bytes).ok()?;
    if user.is_empty() || user.contains(['\r', '\n', '\0']) {
        return None;
    }
    Some(user)
}

/// Whether `text` can stand as a header value for every known client: not empty, no white space,
/// no colon (CONNECTED is never escaped, and some clients cut at either).
#[must_use]
pub fn is_plain_value(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|it: char| it.is_whitespace() || it.is_control() || it == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(user: &str, encoded: &str) {
        let mut out = String::new();
        push_encoded(&mut out, user);
        assert_eq!(out, encoded);
        assert_eq!(canonical(encoded).as_deref(), Some(encoded));
    }

    #[test]
    fn a_user_id_enters_a_destination_in_one_form() {
        check("bob", "bob");
        check("a/b", "a%2Fb");
        check("100%", "100%25");
        check("tab\tbed", "tab%09bed");
        check("zoë@example.org", "zoë@example.org");
        check("\u{85}", "%C2%85");
        assert_eq!(canonical("bob%40x%2eorg").as_deref(), Some("bob@x.org"));
        assert_eq!(canonical("%2f").as_deref(), Some("%2F"));
    }

    #[test]
    fn broken_escapes_are_no_user() {
        for written in ["", "%", "%2", "%zz", "%ff", "a%0Ab", "%00"] {
            assert_eq!(canonical(written), None, "{written}");
        }
    }
}
