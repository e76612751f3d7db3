//! The head of a request: request line and headers, borrowed from the bytes that were received.

use arrayvec::ArrayVec;
use httparse::EMPTY_HEADER;
use memchr::memchr;
use memchr::memchr_iter;

use crate::proto::http::Error;

/// The most headers that can be asked for in [`Limits`].
pub const HEADERS_COUNT_MAX: usize = 128;

/// One empty line in front of the request line is overlooked (RFC 9112 §2.2).
const LEADING_BYTES_MAX: usize = 2;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the first byte to the blank line, both included.
    pub head_bytes_max: usize,
    /// Header lines; more than [`HEADERS_COUNT_MAX`] is taken as that.
    pub headers_count_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes_max: 8192, headers_count_max: 64 }
    }
}

/// A whole, well-formed head.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    minor_version: u8,
    headers: ArrayVec<(&'a str, &'a str), HEADERS_COUNT_MAX>,
    head_bytes: usize,
}

impl<'a> Request<'a> {
    /// The method as it was written; methods are case-sensitive.
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The path without the query; of an absolute target too (RFC 9112 §3.2.2).
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.path_and_query().0
    }

    /// What follows the first `?`, if there is one.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.path_and_query().1
    }

    /// The digit after `HTTP/1.`: 0 or 1.
    #[must_use]
    pub fn minor_version(&self) -> u8 {
        self.minor_version
    }

    /// The first header of that name, without the blanks around it; case does not count in `name`.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// All headers of that name in order.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let matching =
            self.headers.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name));
        matching.map(|(_, value)| *value)
    }

    /// How many bytes of the input the head is; what follows is early data.
    #[must_use]
    pub fn head_bytes(&self) -> usize {
        self.head_bytes
    }

    /// Whether a header of that name has `token` in its comma-separated lists, in any case.
    pub(super) fn has_token(&self, name: &str, token: &str) -> bool {
        let tokens = self.headers(name).flat_map(|list| list.split(','));
        tokens.map(str::trim).any(|found| found.eq_ignore_ascii_case(token))
    }

    fn path_and_query(&self) -> (&'a str, Option<&'a str>) {
        let origin_form = match self.target.split_once("://") {
            Some((_, rest)) if !self.target.starts_with('/') => {
                rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/")
            }
            Some(_) | None => self.target,
        };
        match origin_form.split_once('?') {
            Some((path, query)) => (if path.is_empty() { "/" } else { path }, Some(query)),
            None => (origin_form, None),
        }
    }
}

/// Decodes the head at the front of `input`.
///
/// Returns `None` while the blank line that ends it has not come. A caller whose peer sends many
/// small pieces uses [`decode_from`], which looks at each byte once.
///
/// # Errors
///
/// Any [`Error`] is final: answer with its status and close.
pub fn decode<'a>(input: &'a [u8], limits: &Limits) -> Result<Option<Request<'a>>, Error> {
    decode_from(input, 0, limits)
}

/// Does what [`decode`] does, told that the first `searched_bytes` of `input` were already handed
/// to it and came back as `None`, so that the search for the blank line goes on behind them.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_from<'a>(
    input: &'a [u8],
    searched_bytes: usize,
    limits: &Limits,
) -> Result<Option<Request<'a>>, Error> {
    let leading_bytes = match input {
        [b'\r', b'\n', ..] => LEADING_BYTES_MAX,
        [b'\n', ..] => 1,
        _ => 0,
    };
    let head = input.get(leading_bytes..).unwrap_or_default();
    // What cannot become a method (a TLS hello, line noise) is not waited for.
    if head.first().is_some_and(|byte| !byte.is_ascii_alphabetic()) && head != b"\r" {
        return Err(Error::RequestLine);
    }
    let searched_bytes = searched_bytes.saturating_sub(leading_bytes);
    let end = find_head_end(head, searched_bytes).map(|end| leading_bytes + end);
    let head_bytes_max = limits.head_bytes_max;
    match end {
        Some(end) if end <= head_bytes_max => {
            let head = input.get(leading_bytes..end).unwrap_or_default();
            parse(head, end, limits.headers_count_max).map(Some)
        }
        None if input.len() < head_bytes_max => Ok(None),
        Some(_) | None => {
            let first_line_bytes = memchr(b'\n', head).unwrap_or(usize::MAX);
            let is_long_target = head_bytes_max <= first_line_bytes.saturating_add(leading_bytes);
            Err(if is_long_target { Error::TargetTooLong } else { Error::HeadTooLarge })
        }
    }
}

/// The end of the first blank line, whose line end may lack its CR.
fn find_head_end(head: &[u8], searched_bytes: usize) -> Option<usize> {
    // The blank line may have begun up to three bytes before the new ones.
    let start = searched_bytes.saturating_sub(3);
    let new = head.get(start..)?;
    memchr_iter(b'\n', new).map(|at| start + at + 1).find_map(|line| match head.get(line..)? {
        [b'\n', ..] => Some(line + 1),
        [b'\r', b'\n', ..] => Some(line + 2),
        _ => None,
    })
}

/// Parses a head that ends with its blank line.
fn parse(head: &[u8], head_bytes: usize, headers_count_max: usize) -> Result<Request<'_>, Error> {
    let mut places = [EMPTY_HEADER; HEADERS_COUNT_MAX];
    let places = places.get_mut(..headers_count_max.min(HEADERS_COUNT_MAX)).unwrap_or_default();
    let mut parsed = httparse::Request::new(places);
    let status = parsed.parse(head).map_err(|error| translate(error, head))?;
    let (true, Some(method), Some(target), Some(minor_version)) =
        (status.is_complete(), parsed.method, parsed.path, parsed.version)
    else {
        return Err(Error::RequestLine);
    };
    let mut headers = ArrayVec::new();
    for header in parsed.headers.iter() {
        let value = str::from_utf8(header.value).map_err(|_| Error::HeaderNotUtf8)?;
        headers
            .try_push((header.name, value.trim_matches([' ', '\t'])))
            .map_err(|_| Error::TooManyHeaders)?;
    }
    let request = Request { method, target, minor_version, headers, head_bytes };
    judge(&request)?;
    Ok(request)
}

fn translate(error: httparse::Error, head: &[u8]) -> Error {
    match error {
        httparse::Error::HeaderName
        | httparse::Error::HeaderValue
        | httparse::Error::NewLine
        | httparse::Error::Status => Error::HeaderLine,
        httparse::Error::Token => Error::RequestLine,
        httparse::Error::TooManyHeaders => Error::TooManyHeaders,
        httparse::Error::Version => {
            let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let last_word = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            if last_word.starts_with(b"HTTP/") { Error::Version } else { Error::RequestLine }
        }
    }
}

/// Judges what the headers say about each other and about a body.
fn judge(request: &Request<'_>) -> Result<(), Error> {
    match request.headers("host").count() {
        1 => {}
        0 if request.minor_version == 0 => {}
        0 => return Err(Error::HostMissing),
        _ => return Err(Error::HostRepeated),
    }
    let mut content_length = None;
    for text in request.headers("content-length") {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.trim_start_matches('0');
        if !is_number || content_length.is_some_and(|other| other != number) {
            return Err(Error::ContentLength);
        }
        content_length = Some(number);
    }
    // The other methods are refused by whoever routes them, whatever their bodies are.
    if matches!(request.method, "GET" | "HEAD") {
        if request.header("transfer-encoding").is_some() {
            return Err(Error::TransferEncoding);
        }
        if content_length.is_some_and(|number| !number.is_empty()) {
            return Err(Error::Body);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { head_bytes_max: 256, headers_count_max: 4 };

    fn request(text: &str) -> Request<'_> {
        decode(text.as_bytes(), &LIMITS).unwrap().unwrap()
    }

    #[track_caller]
    fn check_error(text: &str, expected: Error) {
        assert_eq!(
            decode(text.as_bytes(), &LIMITS).map(|it| it.is_some()),
            Err(expected),
            "{text}"
        );
    }

    #[test]
    fn a_head_is_what_it_says() {
        let text =
            "GET /ws?token=a?b HTTP/1.1\r\nHost: here\r\nX-A:  one \t\r\nx-a: two\r\n\r\nearly";
        let request = request(text);
        assert_eq!(request.method(), "GET");
        assert_eq!(request.path(), "/ws");
        assert_eq!(request.query(), Some("token=a?b"));
        assert_eq!(request.minor_version(), 1);
        assert_eq!(request.header("HOST"), Some("here"));
        assert_eq!(request.header("x-a"), Some("one"));
        assert_eq!(request.headers("X-A").collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(request.header("x"), None);
        assert_eq!(&text[request.head_bytes()..], "early");
    }

    #[test]
    fn targets_have_a_path_in_each_form() {
        let path = |target: &str| {
            let text = format!("GET {target} HTTP/1.1\r\nHost: here\r\n\r\n");
            let request = request(&text);
            (request.path().to_owned(), request.query().map(str::to_owned))
        };
        assert_eq!(path("/"), ("/".into(), None));
        assert_eq!(path("/ws?"), ("/ws".into(), Some(String::new())));
        assert_eq!(path("/ws?u=a://b"), ("/ws".into(), Some("u=a://b".into())));
        assert_eq!(path("http://here:80/ws?q"), ("/ws".into(), Some("q".into())));
        assert_eq!(path("http://here"), ("/".into(), None));
        assert_eq!(path("http://here?q"), ("/".into(), Some("q".into())));
        assert_eq!(path("*"), ("*".into(), None));
    }

    #[test]
    fn every_prefix_of_a_head_is_incomplete_not_wrong() {
        for whole in [
            "GET / HTTP/1.1\r\nHost: here\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: here\r\n\r\n",
            "\nGET / HTTP/1.1\nHost: here\n\n",
        ] {
            for cut in 0..whole.len() {
                let found = decode(&whole.as_bytes()[..cut], &LIMITS).map(|it| it.is_some());
                assert_eq!(found, Ok(false), "{cut}");
                for searched in 0..=cut {
                    let found = decode_from(whole.as_bytes(), searched, &LIMITS).unwrap().unwrap();
                    assert_eq!(found.head_bytes(), whole.len());
                }
            }
        }
    }

    #[test]
    fn what_is_no_http_is_refused_at_once() {
        check_error("\x16\x03\x01", Error::RequestLine);
        check_error("\r\n\r\n\0\r\nQUIT\n", Error::RequestLine);
        check_error("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n\r\n", Error::RequestLine);
        check_error("GET /\r\n\r\n", Error::RequestLine);
        check_error("GET / HTTP/2.0\r\n\r\n", Error::Version);
        check_error("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Error::Version);
        check_error("G@T / HTTP/1.1\r\n\r\n", Error::RequestLine);
    }

    #[test]
    fn header_lines_are_strict() {
        let with = |line: &str| format!("GET / HTTP/1.1\r\nHost: here\r\n{line}\r\n\r\n");
        check_error(&with("A: b\r\n folded"), Error::HeaderLine);
        check_error(&with("A : b"), Error::HeaderLine);
        check_error(&with("no colon"), Error::HeaderLine);
        check_error(&with(": b"), Error::HeaderLine);
        check_error(&with("A: b\0"), Error::HeaderLine);
        check_error(&with("A: b\x7F"), Error::HeaderLine);
        let text = with("A: bé");
        assert_eq!(request(&text).header("a"), Some("bé"));
        let mut bytes = text.into_bytes();
        for byte in bytes.iter_mut().filter(|byte| !byte.is_ascii()) {
            *byte = 0xFF;
        }
        assert_eq!(decode(&bytes, &LIMITS).map(|it| it.is_some()), Err(Error::HeaderNotUtf8));
    }

    #[test]
    fn a_host_comes_once() {
        check_error("GET / HTTP/1.1\r\n\r\n", Error::HostMissing);
        check_error("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Error::HostRepeated);
        assert_eq!(request("GET / HTTP/1.0\r\n\r\n").minor_version(), 0);
    }

    #[test]
    fn bodies_are_refused() {
        let with = |line: &str| format!("GET / HTTP/1.1\r\nHost: here\r\n{line}\r\n\r\n");
        assert!(decode(with("Content-Length: 0").as_bytes(), &LIMITS).is_ok());
        assert!(
            decode(with("Content-Length: 0\r\nContent-Length: 00").as_bytes(), &LIMITS).is_ok()
        );
        check_error(&with("Content-Length: 1"), Error::Body);
        check_error(&with("Content-Length: 99999999999999999999999"), Error::Body);
        check_error(&with("Content-Length: 1\r\nContent-Length: 2"), Error::ContentLength);
        check_error(&with("Content-Length: -1"), Error::ContentLength);
        check_error(&with("Content-Length: 1, 1"), Error::ContentLength);
        check_error(&with("Transfer-Encoding: chunked"), Error::TransferEncoding);
        // Who routes it answers 405 or 404.
        let post = with("Content-Length: 1").replace("GET", "POST");
        assert!(decode(post.as_bytes(), &LIMITS).is_ok());
    }

    #[test]
    fn heads_end_before_their_limit() {
        let with = |filler: usize| {
            format!("GET / HTTP/1.1\r\nHost: here\r\nA: {}\r\n\r\n", "x".repeat(filler))
        };
        let fits = with(256 - with(0).len());
        assert_eq!(request(&fits).head_bytes(), 256);
        let over = with(256 - with(0).len() + 1);
        check_error(&over, Error::HeadTooLarge);
        check_error(&over[..256], Error::HeadTooLarge);
        assert_eq!(decode(&over.as_bytes()[..255], &LIMITS).map(|it| it.is_some()), Ok(false));
        check_error(&format!("GET /{}", "x".repeat(251)), Error::TargetTooLong);
        check_error(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(251)), Error::TargetTooLong);
    }

    #[test]
    fn headers_are_counted() {
        let with = |count: usize| {
            format!("GET / HTTP/1.1\r\nHost: here\r\n{}\r\n", "a: b\r\n".repeat(count - 1))
        };
        assert!(decode(with(4).as_bytes(), &LIMITS).is_ok());
        check_error(&with(5), Error::TooManyHeaders);
        let many = Limits { head_bytes_max: 8192, headers_count_max: usize::MAX };
        assert!(decode(with(128).as_bytes(), &many).is_ok());
        assert!(decode(with(129).as_bytes(), &many).is_err());
    }
}
