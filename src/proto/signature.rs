//! Signatures of what is said over the relay: HMAC (RFC 2104) with SHA-256 (FIPS 180-4).
//!
//! What is signed is a label and then fields, each behind its length, so that no two messages of
//! different fields have one text. In Java: `writeLong(length)` and `write(bytes)` for a string's
//! UTF-8, `writeLong(-1)` for null, `writeLong(number)` for a number. The signature is 64 hex
//! digits in lower case.

use std::fmt;

use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use sha2::Sha256;

const SIGNATURE_BYTES: usize = 32;

/// A secret that the tasks and the back ends share.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// The key of these bytes, of which there may be any number (RFC 2104 §3 wants at least 32).
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length"))
    }

    /// Begins a text; different labels make signatures for one purpose worthless for another.
    pub(super) fn text(&self, label: &str) -> Text {
        Text(self.0.clone()).bytes(label.as_bytes())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key(secret)")
    }
}

/// A text that is being signed.
pub(super) struct Text(Hmac<Sha256>);

impl Text {
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let mut text = self.number(bytes.len() as u64);
        text.0.update(bytes);
        text
    }

    pub(super) fn nullable(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.bytes(text.as_bytes()),
            None => self.number(u64::MAX),
        }
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.0.update(&number.to_be_bytes());
        self
    }

    pub(super) fn sign(self) -> String {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
        let bytes = self.0.finalize().into_bytes();
        bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// Whether `signature` is this text's, in constant time.
    pub(super) fn verify(self, signature: &str) -> bool {
        let mut bytes = [0; SIGNATURE_BYTES];
        let (pairs, []) = signature.as_bytes().as_chunks::<2>() else { return false };
        if pairs.len() != SIGNATURE_BYTES {
            return false;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (Some(high), Some(low)) = (nibble(*high), nibble(*low)) else { return false };
            *byte = high << 4 | low;
        }
        self.0.verify_slice(&bytes).is_ok()
    }
}

/// A hex digit in lower case, so that a signature has one form.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Why a message is not believed although it is well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// It has no signature.
    Unsigned,
    /// It was made too long ago, or in the future.
    Stale,
    /// The signature is not that of this message by this key.
    Forged,
}

impl Unverified {
    /// The label of a counter.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Stale => "stale",
            Self::Forged => "bad-signature",
        }
    }
}

impl fmt::Display for Unverified {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Unsigned => "The message has no signature; give its sender the relay's key.",
            Self::Stale => {
                "The message is outside of the time window; compare the clocks of both hosts."
            }
            Self::Forged => "The signature is not that of this message by the relay's key.",
        })
    }
}

impl std::error::Error for Unverified {}

/// Judges a signature and the time it was made at, the cheapest first.
///
/// Inside the window a message can be sent again by who has seen it: ids are for the caller to
/// remember.
pub(super) fn verify(
    signature: Option<&str>,
    text: impl FnOnce() -> Text,
    timestamp_ms: u64,
    now_ms: u64,
    window_ms: u64,
) -> Result<(), Unverified> {
    let signature = signature.ok_or(Unverified::Unsigned)?;
    if window_ms < now_ms.abs_diff(timestamp_ms) {
        return Err(Unverified::Stale);
    }
    if text().verify(signature) { Ok(()) } else { Err(Unverified::Forged) }
}

#[cfg(test)]
mod tests {
    use super::Key;
    use super::Text;

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        // Test cases 2 and 6, whose key is longer than a block.
        let mut text = Text(Key::new(b"Jefe").0);
        hmac::Mac::update(&mut text.0, b"what do ya want for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(text.sign(), expected);
        let mut text = Text(Key::new(&[0xAA; 131]).0);
        hmac::Mac::update(&mut text.0, b"Test Using Larger Than Block-Size Key - Hash Key First");
        let expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(text.sign(), expected);
    }

    #[test]
    fn where_a_field_ends_and_which_is_missing_counts() {
        let key = Key::new(b"secret");
        let texts = [
            key.text("a").bytes(b"bc").bytes(b"d").sign(),
            key.text("a").bytes(b"b").bytes(b"cd").sign(),
            key.text("ab").bytes(b"c").bytes(b"d").sign(),
            key.text("a").nullable(Some("")).sign(),
            key.text("a").nullable(None).sign(),
            key.text("a").sign(),
            Key::new(b"other").text("a").sign(),
        ];
        for (index, one) in texts.iter().enumerate() {
            assert!(texts.iter().skip(index + 1).all(|other| one != other), "{index}");
        }
    }

    #[test]
    fn a_signature_has_one_form() {
        let key = Key::new(b"");
        let text = || key.text("a").number(1);
        let signature = text().sign();
        assert!(text().verify(&signature));
        let mut flipped = signature.clone().into_bytes();
        flipped[63] ^= 1;
        let flipped = String::from_utf8(flipped).unwrap();
        let longer = format!("{signature}0");
        let wide = format!("é{}", &signature[2..]);
        for other in ["", "00", &flipped, &longer, &signature[..63], &wide] {
            assert!(!text().verify(other), "{other}");
        }
        assert!(!text().verify(&signature.to_uppercase()));
        assert!(!key.text("a").number(2).verify(&signature));
        assert!(!format!("{key:?}").contains("Hmac"));
    }
}
