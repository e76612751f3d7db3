//! The WebSocket handshake, the server's side (RFC 6455 §4.2).

use std::fmt;

use arrayvec::ArrayVec;
use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::GeneralPurposeConfig;
use sha1::Digest;
use sha1::Sha1;

use crate::proto::http::Request;

/// What is hashed behind the client's key (RFC 6455 §1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// How many offered sub-protocols are looked at.
const OFFERS_COUNT_MAX: usize = 16;

/// Keys made by hand often have stray bits behind the sixteenth byte; they do no harm.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// A request that may be upgraded.
#[derive(Clone, Debug)]
pub struct Upgrade<'a> {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: [u8; 28],
    offers: ArrayVec<&'a str, OFFERS_COUNT_MAX>,
}

impl<'a> Upgrade<'a> {
    /// The first sub-protocol in the client's order that is among `known`, in the client's
    /// spelling; case does not count. Looks at the first 16 that are offered.
    #[must_use]
    pub fn select_subprotocol(&self, known: &[&str]) -> Option<&'a str> {
        let is_known = |offer: &str| known.iter().any(|name| name.eq_ignore_ascii_case(offer));
        self.offers.iter().copied().find(|offer| is_known(offer))
    }
}

/// Why a request cannot be upgraded; answered with [`status`](Self::status) and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// Not a GET.
    Method,
    /// The `Upgrade` header does not name websocket.
    Upgrade,
    /// The `Connection` header does not name upgrade.
    Connection,
    /// HTTP/1.0 knows no upgrade.
    HttpVersion,
    /// `Sec-WebSocket-Key` is missing, repeated or not 16 bytes in base64.
    Key,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
}

impl UpgradeError {
    /// The status that answers it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::Upgrade | Self::Connection | Self::HttpVersion | Self::Key => 400,
            Self::Version => 426,
        }
    }

    /// The header that belongs to the status, as name and value.
    #[must_use]
    pub fn extra_header(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Method => Some(("Allow", "GET")),
            Self::Version => Some(("Sec-WebSocket-Version", "13")),
            Self::Upgrade | Self::Connection | Self::HttpVersion | Self::Key => None,
        }
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Method => "A WebSocket is opened with GET.",
            Self::Upgrade => "Can \"Upgrade\" only to \"WebSocket\".",
            Self::Connection => "\"Connection\" must be \"upgrade\".",
            Self::HttpVersion => {
                "A WebSocket needs HTTP/1.1; set the proxy in front to that version."
            }
            Self::Key => "\"Sec-WebSocket-Key\" must be 16 bytes in base64, once.",
            Self::Version => "\"Sec-WebSocket-Version\" must be 13.",
        })
    }
}

impl std::error::Error for UpgradeError {}

/// Judges whether `request` opens a WebSocket, and answers its key.
///
/// # Errors
///
/// The first thing that is wrong, in the order of [`UpgradeError`]'s variants.
pub fn upgrade<'a>(request: &Request<'a>) -> Result<Upgrade<'a>, UpgradeError> {
    if request.method() != "GET" {
        return Err(UpgradeError::Method);
    }
    if !request.has_token("upgrade", "websocket") {
        return Err(UpgradeError::Upgrade);
    }
    if !request.has_token("connection", "upgrade") {
        return Err(UpgradeError::Connection);
    }
    if request.minor_version() == 0 {
        return Err(UpgradeError::HttpVersion);
    }
    let key = only(request, "sec-websocket-key").ok_or(UpgradeError::Key)?;
    // 24 characters decode to 18 bytes at most, of which the padding takes two.
    let mut nonce = [0; 18];
    if key.len() != 24 || KEY_BASE64.decode_slice(key, &mut nonce) != Ok(16) {
        return Err(UpgradeError::Key);
    }
    if only(request, "sec-websocket-version") != Some("13") {
        return Err(UpgradeError::Version);
    }
    let lists = request.headers("sec-websocket-protocol");
    let offers = lists.flat_map(|list| list.split(',')).map(str::trim).filter(|it| !it.is_empty());
    Ok(Upgrade { accept: accept(key), offers: offers.take(OFFERS_COUNT_MAX).collect() })
}

/// The value of a header that came exactly once.
fn only<'a>(request: &Request<'a>, name: &str) -> Option<&'a str> {
    let mut values = request.headers(name);
    values.next().filter(|_| values.next().is_none())
}

/// The proof that the key was read (RFC 6455 §4.2.2).
fn accept(key: &str) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let mut accept = [0; 28];
    let written = KEY_BASE64.encode_slice(digest, &mut accept);
    debug_assert_eq!(written, Ok(28), "20 bytes are 28 characters");
    accept
}

#[cfg(test)]
mod tests {
    use crate::proto::http::Limits;
    use crate::proto::http::decode;

    use super::*;

    const GOOD: &str = "GET /ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    /// Upgrades the good request with `old` replaced by `new`.
    fn upgraded(old: &str, new: &str) -> Result<[u8; 28], UpgradeError> {
        assert!(GOOD.contains(old), "{old}");
        let text = GOOD.replace(old, new);
        let request = decode(text.as_bytes(), &Limits::default()).unwrap().unwrap();
        upgrade(&request).map(|it| it.accept)
    }

    #[track_caller]
    fn check_error(old: &str, new: &str, expected: UpgradeError) {
        assert_eq!(upgraded(old, new), Err(expected));
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        assert_eq!(upgraded("", ""), Ok(*b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn w1_to_w5_what_is_wrong_is_said_in_order() {
        check_error("GET", "POST", UpgradeError::Method);
        check_error("Upgrade: websocket", "Upgrade: h2c", UpgradeError::Upgrade);
        check_error("Upgrade: websocket\r\n", "", UpgradeError::Upgrade);
        check_error("Connection: Upgrade", "Connection: keep-alive", UpgradeError::Connection);
        check_error("HTTP/1.1", "HTTP/1.0", UpgradeError::HttpVersion);
        check_error("Sec-WebSocket-Key", "X-Key", UpgradeError::Key);
        check_error("Version: 13", "Version: 8", UpgradeError::Version);
        check_error("Sec-WebSocket-Version: 13\r\n", "", UpgradeError::Version);
        check_error("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", UpgradeError::Key);
    }

    #[test]
    fn upgrade_and_connection_are_lists_in_any_case() {
        assert!(upgraded("Upgrade: websocket", "Upgrade: h2c, WebSocket").is_ok());
        assert!(upgraded("Connection: Upgrade", "Connection: keep-alive , UPGRADE").is_ok());
        let two = "Connection: keep-alive\r\nConnection: upgrade";
        assert!(upgraded("Connection: Upgrade", two).is_ok());
    }

    #[test]
    fn a_key_is_sixteen_bytes_once() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        for wrong in [
            "",
            "dGhl",
            "SGVsbG8sIHdvcmxkIQ==",         // 13 bytes
            "dGhlIHNhbXBsZSBub25jZSE=",     // 17 bytes
            "dGhlIHNhbXBsZSBub25jZSEh",     // 18 bytes
            "dGhlIHNhbXBsZSBub25jZQ",       // no padding
            "dGhlIHNhbXBsZSBub25jZ_==",     // not in the alphabet
            "dGhlIHNhbXBsZSBub25jZQ==AAAA", // more behind the padding
        ] {
            check_error(key, wrong, UpgradeError::Key);
        }
        assert!(upgraded(key, "abcdefghijklmnopqrstuv==").is_ok());
        let twice = format!("{key}\r\nSec-WebSocket-Key: {key}");
        check_error(key, &twice, UpgradeError::Key);
    }

    #[test]
    fn statuses_bring_their_headers() {
        assert_eq!(UpgradeError::Method.status(), 405);
        assert_eq!(UpgradeError::Method.extra_header(), Some(("Allow", "GET")));
        assert_eq!(UpgradeError::Version.status(), 426);
        let version = Some(("Sec-WebSocket-Version", "13"));
        assert_eq!(UpgradeError::Version.extra_header(), version);
        assert_eq!(UpgradeError::Key.status(), 400);
        assert_eq!(UpgradeError::Upgrade.to_string(), r#"Can "Upgrade" only to "WebSocket"."#);
        assert_eq!(UpgradeError::Connection.to_string(), r#""Connection" must be "upgrade"."#);
    }

    #[track_caller]
    fn check_selected(headers: &str, expected: Option<&str>) {
        let text = GOOD.replace("Upgrade: websocket", &format!("Upgrade: websocket{headers}"));
        let request = decode(text.as_bytes(), &Limits::default()).unwrap().unwrap();
        let known = ["v10.stomp", "v11.stomp", "v12.stomp"];
        assert_eq!(upgrade(&request).unwrap().select_subprotocol(&known), expected);
    }

    #[test]
    fn c20_the_first_known_offer_wins_in_the_clients_spelling() {
        let offer = "\r\nSec-WebSocket-Protocol: ";
        check_selected("", None);
        check_selected(&format!("{offer}v12.stomp, v11.stomp"), Some("v12.stomp"));
        check_selected(&format!("{offer}bearer.x,V11.STOMP ,v12.stomp"), Some("V11.STOMP"));
        check_selected(&format!("{offer}mqtt{offer}, v10.stomp"), Some("v10.stomp"));
        check_selected(&format!("{offer}mqtt"), None);
    }
}
