//! The protocol versions and how a session agrees on one.

/// A version of STOMP; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// STOMP 1.0: no escapes.
    V1_0,
    /// STOMP 1.1: `\n`, `\c` and `\\`.
    V1_1,
    /// STOMP 1.2: also `\r`.
    V1_2,
}

impl Version {
    /// The number as headers say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }

    /// The highest version that the `accept-version` header of a client names.
    ///
    /// Without the header the client speaks 1.0 (STOMP 1.2, "Protocol Negotiation"); `None` when
    /// it names only versions that nobody here knows. Blanks around the commas are overlooked.
    #[must_use]
    pub fn negotiate(accept_version: Option<&str>) -> Option<Self> {
        let Some(accept_version) = accept_version else { return Some(Self::V1_0) };
        accept_version.split(',').filter_map(|text| Self::parse(text.trim())).max()
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::V1_0, Self::V1_1, Self::V1_2].into_iter().find(|version| version.as_str() == text)
    }

    /// The byte that a backslash and `letter` stand for in headers of this version.
    pub(super) fn unescape(self, letter: u8) -> Option<u8> {
        match (letter, self) {
            (_, Self::V1_0) => None,
            (b'n', _) => Some(b'\n'),
            (b'c', _) => Some(b':'),
            (b'\\', _) => Some(b'\\'),
            (b'r', Self::V1_2) => Some(b'\r'),
            _ => None,
        }
    }

    /// Whether headers of this version know escapes at all.
    pub(super) fn has_escapes(self) -> bool {
        self != Self::V1_0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept_version: Option<&str>, expected: Option<Version>) {
        assert_eq!(Version::negotiate(accept_version), expected);
    }

    #[test]
    fn c1_c2_the_highest_common_version_wins() {
        check(Some("1.1,1.2"), Some(Version::V1_2));
        check(Some("1.0,1.1,1.2"), Some(Version::V1_2));
        check(Some("1.2,1.1,1.0"), Some(Version::V1_2));
        check(Some("1.1, 1.0"), Some(Version::V1_1));
        check(Some("1.0"), Some(Version::V1_0));
        check(Some("1.1,9.9"), Some(Version::V1_1));
    }

    #[test]
    fn c3_no_common_version_is_none() {
        check(Some("9.9"), None);
        check(Some(""), None);
        check(Some("1.2.0"), None);
    }

    #[test]
    fn c4_no_header_means_1_0() {
        check(None, Some(Version::V1_0));
    }
}
