//! Frames to send, and the escapes of their headers.

use std::io::Write;

use memchr::memchr;
use memchr::memchr2;
use memchr::memchr3;

use crate::proto::stomp::Frame;
use crate::proto::stomp::Version;

/// Appends `text` to `out` as a part of a header, escaped for `version`.
///
/// What the version cannot say (a NUL in any, a CR in 1.1, both line ends in 1.0) becomes a blank:
/// written raw it would end the header or the frame and let a sender forge others.
pub fn push_escaped(out: &mut Vec<u8>, text: &str, version: Version) {
    let bytes = text.as_bytes();
    let is_plain = memchr3(b'\n', b'\r', 0, bytes).is_none()
        && (!version.has_escapes() || memchr2(b':', b'\\', bytes).is_none());
    if is_plain {
        out.extend_from_slice(bytes);
        return;
    }
    for &byte in bytes {
        match (byte, version) {
            (b'\n', Version::V1_1 | Version::V1_2) => out.extend_from_slice(b"\\n"),
            (b':', Version::V1_1 | Version::V1_2) => out.extend_from_slice(b"\\c"),
            (b'\\', Version::V1_1 | Version::V1_2) => out.extend_from_slice(b"\\\\"),
            (b'\r', Version::V1_2) => out.extend_from_slice(b"\\r"),
            (b'\n' | b'\r' | 0, _) => out.push(b' '),
            (other, _) => out.push(other),
        }
    }
}

/// Appends one header line to `out`.
///
/// Writes nothing when the value is empty, because there are clients that refuse such headers;
/// when the name is empty or, in 1.0, holds a colon, because the line would mean something else;
/// and when either holds what the version cannot say, because a blank would be white space.
pub fn push_header(out: &mut Vec<u8>, name: &str, value: &str, version: Version) {
    let is_ambiguous = !version.has_escapes() && memchr(b':', name.as_bytes()).is_some();
    let is_empty = value.is_empty() || name.is_empty();
    if is_empty || is_ambiguous || !can_say(name, version) || !can_say(value, version) {
        return;
    }
    push_escaped(out, name, version);
    out.push(b':');
    push_escaped(out, value, version);
    out.push(b'\n');
}

/// Whether `version` has a form for each byte of `text`.
fn can_say(text: &str, version: Version) -> bool {
    let bytes = text.as_bytes();
    let found = match version {
        Version::V1_0 => memchr3(b'\n', b'\r', 0, bytes),
        Version::V1_1 => memchr2(b'\r', 0, bytes),
        Version::V1_2 => memchr(0, bytes),
    };
    found.is_none()
}

/// Appends one whole server frame to `out`.
///
/// MESSAGE and ERROR always get the `content-length` of `body`, others only with a body; one among
/// `headers` is left out. CONNECTED is never escaped (STOMP 1.2, "Value Encoding"), and the caller
/// keeps white space out of its values. For small frames: the fan-out builds its own.
pub fn push_frame(
    out: &mut Vec<u8>,
    version: Version,
    command: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) {
    let version = if command == "CONNECTED" { Version::V1_0 } else { version };
    out.extend_from_slice(command.as_bytes());
    out.push(b'\n');
    for (name, value) in headers.iter().filter(|(name, _)| *name != "content-length") {
        push_header(out, name, value, version);
    }
    if !body.is_empty() || matches!(command, "MESSAGE" | "ERROR") {
        // Writing to a Vec cannot fail.
        writeln!(out, "content-length:{}", body.len()).unwrap_or_default();
    }
    out.push(b'\n');
    out.extend_from_slice(body);
    out.push(0);
}

/// Appends a client's frame to `out` so that it is decoded to the same once more, by a session of
/// this version.
pub fn push_client_frame(out: &mut Vec<u8>, version: Version, frame: &Frame<'_>) {
    // CONNECT is never escaped (STOMP 1.2, "Value Encoding").
    let version = if frame.command.is_connect() { Version::V1_0 } else { version };
    out.extend_from_slice(frame.command.as_str().as_bytes());
    out.push(b'\n');
    for (name, value) in frame.headers.iter() {
        push_escaped(out, name, version);
        out.push(b':');
        push_escaped(out, value, version);
        out.push(b'\n');
    }
    // A body that holds a NUL has its length among them.
    out.push(b'\n');
    out.extend_from_slice(frame.body);
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::stomp::Decoder;
    use crate::proto::stomp::Event;
    use crate::proto::stomp::Limits;

    #[track_caller]
    fn check(command: &str, headers: &[(&str, &str)], body: &[u8], expected: &str) {
        let mut out = Vec::new();
        push_frame(&mut out, Version::V1_2, command, headers, body);
        assert_eq!(String::from_utf8(out).as_deref(), Ok(expected));
    }

    #[test]
    fn e1_no_headers_no_body() {
        check("RECEIPT", &[], b"", "RECEIPT\n\n\0");
    }

    #[test]
    fn e2_names_and_values_are_escaped() {
        let headers = [("a:\r\n\\b", "alpha:bravo\r\n\\")];
        check("RECEIPT", &headers, b"", "RECEIPT\na\\c\\r\\n\\\\b:alpha\\cbravo\\r\\n\\\\\n\n\0");
    }

    #[test]
    fn e3_connected_is_not_escaped_and_cannot_be_forged() {
        let headers = [("version", "1.2"), ("server", "a:b\\c")];
        check("CONNECTED", &headers, b"", "CONNECTED\nversion:1.2\nserver:a:b\\c\n\n\0");
        check("CONNECTED", &[("a", "b\nc:d\0")], b"", "CONNECTED\n\n\0");
    }

    #[test]
    fn a_header_that_the_version_cannot_say_is_left_out() {
        let said = |version, value| {
            let mut out = Vec::new();
            push_header(&mut out, "a", value, version);
            !out.is_empty()
        };
        for (value, in_1_0, in_1_1, in_1_2) in [
            ("b\nc", false, true, true),
            ("b\rc", false, false, true),
            ("b\0c", false, false, false),
            ("b:c\\", true, true, true),
        ] {
            assert_eq!(said(Version::V1_0, value), in_1_0, "{value:?} in 1.0");
            assert_eq!(said(Version::V1_1, value), in_1_1, "{value:?} in 1.1");
            assert_eq!(said(Version::V1_2, value), in_1_2, "{value:?} in 1.2");
        }
    }

    #[test]
    fn e4_content_length_is_the_bodys_own() {
        let headers = [("destination", "/a"), ("content-length", "99")];
        let expected = "MESSAGE\ndestination:/a\ncontent-length:3\n\nn\u{e9}\0";
        check("MESSAGE", &headers, "né".as_bytes(), expected);
        check("ERROR", &[("message", "no")], b"", "ERROR\nmessage:no\ncontent-length:0\n\n\0");
    }

    #[test]
    fn empty_values_are_left_out() {
        check("RECEIPT", &[("a", ""), ("b", "c")], b"", "RECEIPT\nb:c\n\n\0");
    }

    #[track_caller]
    fn check_escaped(version: Version, expected: &[u8]) {
        let mut out = Vec::new();
        push_escaped(&mut out, "a:\\\r\n\0b", version);
        assert_eq!(out, expected, "{version:?}");
    }

    #[test]
    fn escapes_follow_the_version_and_never_end_a_line() {
        check_escaped(Version::V1_2, b"a\\c\\\\\\r\\n b");
        check_escaped(Version::V1_1, b"a\\c\\\\ \\n b");
        check_escaped(Version::V1_0, b"a:\\   b");
    }

    #[test]
    fn a_name_that_1_0_cannot_say_is_left_out() {
        let mut out = Vec::new();
        push_header(&mut out, "a:b", "c", Version::V1_0);
        push_header(&mut out, "", "c", Version::V1_2);
        assert!(out.is_empty());
        push_header(&mut out, "a:b", "c", Version::V1_1);
        assert_eq!(out, b"a\\cb:c\n");
    }

    #[test]
    fn a_client_frame_is_decoded_to_the_same_once_more() {
        let versions = [Version::V1_0, Version::V1_1, Version::V1_2];
        for (text, version) in [
            ("SEND\ndestination:/topic/a\nx:\\c\\n\\\\\ny:\n\nbody\0", 1),
            ("SEND\r\ndestination:/topic/a\r\nx:\\r\r\ncontent-length:3\r\n\r\na\0b\0", 2),
            ("SEND\nx:a:\\n\nx:again\n\n\0", 0),
            ("SUBSCRIBE\nid:1\ndestination:/topic/**\ntransaction:\n\n\0", 2),
            ("CONNECT\naccept-version:1.2\npasscode:a\\nb:c\n\n\0", 2),
        ] {
            let version = versions[version];
            let mut bytes = text.as_bytes().to_vec();
            let mut decoder = Decoder::new(Limits::default());
            decoder.set_version(version);
            let mut input = &mut bytes[..];
            let Ok(Some(Event::Frame(first))) = decoder.decode(&mut input) else {
                panic!("{text}")
            };
            let mut again = Vec::new();
            push_client_frame(&mut again, version, &first);
            let mut decoder = Decoder::new(Limits::default());
            decoder.set_version(version);
            let mut input = &mut again[..];
            assert_eq!(decoder.decode(&mut input), Ok(Some(Event::Frame(first))), "{text}");
            assert!(input.is_empty());
        }
    }
}
