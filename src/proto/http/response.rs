//! Answers: the switch to WebSocket, and short responses that end the connection.

use std::io::Write;

/// Appends the answer that completes a handshake (RFC 6455 §4.2.2).
pub fn encode_switching_protocols(out: &mut Vec<u8>, accept: &[u8; 28], subprotocol: Option<&str>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept);
    out.extend_from_slice(b"\r\n");
    if let Some(subprotocol) = subprotocol {
        push_header(out, "Sec-WebSocket-Protocol", subprotocol);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a whole response with `body`, after which the connection is closed.
///
/// `Content-Length` and `Connection: close` are added; all else, also `Content-Type`, is the
/// caller's. A line end inside a header value becomes a blank.
pub fn encode_response(out: &mut Vec<u8>, status: u16, headers: &[(&str, &str)], body: &[u8]) {
    // Writing to a Vec cannot fail.
    write!(out, "HTTP/1.1 {status} {}\r\n", reason(status)).unwrap_or_default();
    for (name, value) in headers {
        push_header(out, name, value);
    }
    write!(out, "Content-Length: {}\r\nConnection: close\r\n\r\n", body.len()).unwrap_or_default();
    out.extend_from_slice(body);
}

fn push_header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase of the statuses in use here (RFC 9110 §15); empty for others, as is allowed.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switching_protocols_names_the_subprotocol_only_if_there_is_one() {
        let mut out = Vec::new();
        encode_switching_protocols(&mut out, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", None);
        let without = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), without);

        let mut out = Vec::new();
        encode_switching_protocols(&mut out, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", Some("v12.stomp"));
        let with = without.replace("=\r\n\r\n", "=\r\nSec-WebSocket-Protocol: v12.stomp\r\n\r\n");
        assert_eq!(String::from_utf8(out).unwrap(), with);
    }

    #[test]
    fn a_response_counts_its_body_and_closes() {
        let mut out = Vec::new();
        encode_response(&mut out, 405, &[("Allow", "GET"), ("X", "a\r\nb")], b"no");
        let expected = "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nX: a  b\r\n\
            Content-Length: 2\r\nConnection: close\r\n\r\nno";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
