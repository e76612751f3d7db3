//! The names of scripts.

use std::fmt::Write;

use sha1::Digest;
use sha1::Sha1;

/// What EVALSHA calls a script: SHA-1 of its text, in hex digits ("EVALSHA" of the Redis manual).
#[must_use]
pub fn script_hash(source: &str) -> String {
    let mut hash = String::with_capacity(40);
    for byte in Sha1::digest(source) {
        // Writing to a String cannot fail.
        write!(hash, "{byte:02x}").expect("a String takes all");
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::script_hash;

    #[test]
    fn a_hash_is_forty_hex_digits() {
        // FIPS 180-4, the example of one block.
        assert_eq!(script_hash("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }
}
