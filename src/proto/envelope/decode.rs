//! Envelopes in, decoded where they lie.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::GeneralPurposeConfig;
use memchr::memchr3;

use crate::proto::envelope::Error;
use crate::proto::envelope::Field;
use crate::proto::envelope::Key;
use crate::proto::envelope::Signed;
use crate::proto::envelope::Unverified;
use crate::proto::json::Fields;
use crate::proto::json::Reader;
use crate::proto::json::Value;
use crate::proto::signature;

/// Most headers of an envelope: the highest that `limits.stomp_headers` can be set to.
const HEADERS_COUNT_MAX: usize = 1024;

/// Standard base64 (RFC 4648 §4), with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One envelope, borrowed from the receive buffer. Absent and null fields are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Without CR, LF and NUL. Whether it agrees with the channel is the caller's to judge.
    pub destination: &'a str,
    /// Without CR, LF and NUL; not percent-encoded.
    pub user_id: Option<&'a str>,
    /// The body as it was sent; see [`body`](Self::body).
    pub payload: &'a str,
    /// A Java class in the article; nothing depends on it.
    pub payload_type: Option<&'a str>,
    /// Milliseconds since 1970, 0 when absent.
    pub timestamp_ms: u64,
    /// Which task sent it.
    pub origin: Option<&'a str>,
    /// Never empty, without white space and control characters.
    pub id: Option<&'a str>,
    /// The place in its destination's order.
    pub seq: Option<u64>,
    /// The life of the counter that made `seq`.
    pub epoch: Option<u64>,
    /// Never empty, without CR, LF and NUL.
    pub content_type: Option<&'a str>,
    /// The user who sent it. Never empty, without CR, LF and NUL.
    pub sender: Option<&'a str>,
    /// Custom headers in their order; of a repeated name the first counts, as in STOMP.
    ///
    /// Neither names nor values are empty (those are left out) or hold NUL. They may hold CR, LF
    /// and other white space, which STOMP's encoding escapes or blanks, and they may have the
    /// names of the server's own headers: the caller filters.
    pub headers: Vec<(&'a str, &'a str)>,
    /// Whether `payload` is base64.
    pub is_base64: bool,
    /// See [`verify`](Self::verify).
    pub signature: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    /// The body's bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Base64`] when the payload is not the base64 that it should be.
    pub fn body(&self) -> Result<Cow<'a, [u8]>, Error> {
        if !self.is_base64 {
            return Ok(Cow::Borrowed(self.payload.as_bytes()));
        }
        BASE64.decode(self.payload).map(Cow::Owned).map_err(|_| Error::Base64)
    }

    /// Whether the envelope is signed with `key` for `channel`, at most `window_ms` from `now_ms`.
    ///
    /// The signature covers what [`Signed`] has, so nothing else in the envelope is proved.
    ///
    /// # Errors
    ///
    /// [`Unverified`] says why it must not be believed.
    pub fn verify(
        &self,
        key: &Key,
        channel: &[u8],
        now_ms: u64,
        window_ms: u64,
    ) -> Result<(), Unverified> {
        let signed = Signed {
            channel,
            id: self.id,
            user_id: self.user_id,
            timestamp_ms: self.timestamp_ms,
            payload: self.payload,
        };
        let text = || signed.text(key);
        signature::verify(self.signature, text, self.timestamp_ms, now_ms, window_ms)
    }
}

/// Decodes one envelope after the other, keeping its buffers between them.
pub struct Decoder {
    reader: Reader,
    bytes_max: usize,
}

impl Decoder {
    /// A decoder of envelopes of up to `bytes_max` bytes; see
    /// [`encoded_bytes_max`](crate::proto::envelope::encoded_bytes_max).
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { reader: Reader::new(), bytes_max }
    }

    /// Decodes `json` in place: whatever comes of it, its bytes are not JSON any more.
    ///
    /// Unknown fields are checked to be JSON and ignored. Takes time by the bytes, and for as long
    /// as it runs memory of up to 30 times as many, when they are all structure.
    ///
    /// # Errors
    ///
    /// Any [`Error`] means that this envelope must be dropped.
    pub fn decode<'a>(&mut self, json: &'a mut [u8]) -> Result<Envelope<'a>, Error> {
        if self.bytes_max < json.len() {
            return Err(Error::Oversize);
        }
        self.reader.read(json, envelope).ok_or(Error::Json)?
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Decoder").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

fn envelope<'a>(fields: Fields<'_, 'a>) -> Result<Envelope<'a>, Error> {
    let mut envelope = Envelope::default();
    let mut seen: u32 = 0;
    for (name, value) in fields {
        let Some(field) = Field::parse(name) else { continue };
        let bit = 1 << field as u32;
        if seen & bit != 0 {
            return Err(Error::Repeated(field));
        }
        seen |= bit;
        match field {
            Field::Destination => envelope.destination = said(text(value, field)?, field)?,
            Field::UserId => {
                envelope.user_id = nullable(value, field)?.map(|it| said(it, field)).transpose()?;
            }
            Field::Payload => envelope.payload = text(value, field)?,
            Field::PayloadType => envelope.payload_type = nullable(value, field)?,
            Field::Timestamp => envelope.timestamp_ms = number(value, field)?,
            Field::OriginServerId => envelope.origin = nullable(value, field)?,
            Field::Id => envelope.id = id(value)?,
            Field::Seq => envelope.seq = nullable_number(value, field)?,
            Field::Epoch => envelope.epoch = nullable_number(value, field)?,
            Field::ContentType => envelope.content_type = in_head(value, field)?,
            Field::SenderId => envelope.sender = in_head(value, field)?,
            Field::Headers => envelope.headers = headers(value)?,
            Field::Encoding => match nullable(value, field)? {
                None => {}
                Some("base64") => envelope.is_base64 = true,
                Some(_) => return Err(Error::Encoding),
            },
            Field::Signature => envelope.signature = nullable(value, field)?,
        }
    }
    for field in [Field::Destination, Field::Payload] {
        if seen & 1 << field as u32 == 0 {
            return Err(Error::Missing(field));
        }
    }
    Ok(envelope)
}

fn text<'a>(value: Value<'_, 'a>, field: Field) -> Result<&'a str, Error> {
    value.as_str().ok_or(Error::Type(field))
}

fn nullable<'a>(value: Value<'_, 'a>, field: Field) -> Result<Option<&'a str>, Error> {
    if value.is_null() { Ok(None) } else { text(value, field).map(Some) }
}

fn number(value: Value<'_, '_>, field: Field) -> Result<u64, Error> {
    value.as_u64().ok_or(Error::Type(field))
}

fn nullable_number(value: Value<'_, '_>, field: Field) -> Result<Option<u64>, Error> {
    if value.is_null() { Ok(None) } else { number(value, field).map(Some) }
}

/// Text that can be a part of a head: without CR, LF and NUL.
fn said(text: &str, field: Field) -> Result<&str, Error> {
    if memchr3(b'\r', b'\n', 0, text.as_bytes()).is_some() {
        return Err(Error::Character(field));
    }
    Ok(text)
}

/// The same, `None` when empty.
fn in_head<'a>(value: Value<'_, 'a>, field: Field) -> Result<Option<&'a str>, Error> {
    let text = nullable(value, field)?.filter(|text| !text.is_empty());
    text.map(|text| said(text, field)).transpose()
}

fn id<'a>(value: Value<'_, 'a>) -> Result<Option<&'a str>, Error> {
    let id = nullable(value, Field::Id)?.filter(|id| !id.is_empty());
    if id.is_some_and(|id| id.contains(|it: char| it.is_whitespace() || it.is_control())) {
        return Err(Error::Character(Field::Id));
    }
    Ok(id)
}

fn headers<'a>(value: Value<'_, 'a>) -> Result<Vec<(&'a str, &'a str)>, Error> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let mut headers = Vec::new();
    for (name, value) in value.fields().ok_or(Error::Type(Field::Headers))? {
        let Some(value) = nullable(value, Field::Headers)? else { continue };
        if name.is_empty() || value.is_empty() {
            continue;
        }
        if name.contains('\0') || value.contains('\0') {
            return Err(Error::Character(Field::Headers));
        }
        if headers.len() == HEADERS_COUNT_MAX {
            return Err(Error::TooManyHeaders);
        }
        headers.push((name, value));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the article's Jackson sender writes, byte for byte.
    const ARTICLE: &str = concat!(
        r#"{"destination":"/topic/room.1","userId":null,"#,
        r#""payload":"{\"text\":\"hi\"}","#,
        r#""payloadType":"com.example.ws.dto.ChatMessage","#,
        r#""timestamp":1700000000000,"originServerId":null}"#,
    );

    #[track_caller]
    fn check(json: &str, check: impl FnOnce(Result<Envelope<'_>, Error>)) {
        let mut bytes = json.as_bytes().to_vec();
        check(Decoder::new(1 << 20).decode(&mut bytes));
        // Cut, it is none.
        for known_bytes in 0..json.trim_end().len() {
            let mut bytes = json.as_bytes()[..known_bytes].to_vec();
            assert_eq!(Decoder::new(1 << 20).decode(&mut bytes), Err(Error::Json));
        }
    }

    #[track_caller]
    fn check_refused(json: &str, expected: Error) {
        check(json, |found| assert_eq!(found, Err(expected), "{json}"));
    }

    /// A small envelope with `more` in it.
    fn with(more: &str) -> String {
        format!(r#"{{"destination":"/topic/a","payload":"b",{more}}}"#)
    }

    #[test]
    fn the_articles_envelope_is_understood() {
        let expected = Envelope {
            destination: "/topic/room.1",
            payload: r#"{"text":"hi"}"#,
            payload_type: Some("com.example.ws.dto.ChatMessage"),
            timestamp_ms: 1_700_000_000_000,
            ..Envelope::default()
        };
        check(ARTICLE, |found| assert_eq!(found, Ok(expected)));
    }

    #[test]
    fn all_fields_are_understood_in_any_order_and_unknown_ones_ignored() {
        let json = r#" { "signature" : "s", "encoding":"base64", "headers":{"a":"b","é":"\u00e9\n"},
            "senderId":"bob","contentType":"text/plain","epoch":18446744073709551615,"seq":0,
            "unknown":{"destination":"/x","deep":[[[{"payload":1}]]]}, "unknown":2, "id":"i-1",
            "originServerId":"t","timestamp":7,"payloadType":"[B","payload":"aGk=",
            "userId":"4/2","destination":"/queue/private" } "#;
        let expected = Envelope {
            destination: "/queue/private",
            user_id: Some("4/2"),
            payload: "aGk=",
            payload_type: Some("[B"),
            timestamp_ms: 7,
            origin: Some("t"),
            id: Some("i-1"),
            seq: Some(0),
            epoch: Some(u64::MAX),
            content_type: Some("text/plain"),
            sender: Some("bob"),
            headers: vec![("a", "b"), ("é", "é\n")],
            is_base64: true,
            signature: Some("s"),
        };
        check(json, |found| {
            assert_eq!(found, Ok(expected));
            assert_eq!(found.unwrap().body().as_deref(), Ok(&b"hi"[..]));
        });
    }

    #[test]
    fn null_is_absent_and_absent_is_allowed() {
        let expected = Envelope { destination: "/topic/a", payload: "b", ..Envelope::default() };
        let json = with(
            r#""userId":null,"payloadType":null,"originServerId":null,"id":null,"seq":null,
            "epoch":null,"contentType":null,"senderId":null,"headers":null,"encoding":null,
            "signature":null"#,
        );
        check(&json, |found| assert_eq!(found, Ok(expected.clone())));
        check(&with(r#""id":"","contentType":"","senderId":"","headers":{}"#), |found| {
            assert_eq!(found, Ok(expected));
        });
    }

    #[test]
    fn missing_repeated_and_wrong_fields_are_refused() {
        check_refused(r#"{"destination":"/a"}"#, Error::Missing(Field::Payload));
        check_refused(r#"{"payload":"/a"}"#, Error::Missing(Field::Destination));
        check_refused(r#"{"Destination":"/a","payload":""}"#, Error::Missing(Field::Destination));
        for field in Field::ALL {
            let name = field.as_str();
            let twice = format!(r#"{{"{name}":null,"{name}":null}}"#);
            let is_nullable =
                !matches!(field, Field::Destination | Field::Payload | Field::Timestamp);
            let error = if is_nullable { Error::Repeated(field) } else { Error::Type(field) };
            check_refused(&twice, error);
            let is_known = matches!(field, Field::Destination | Field::Payload);
            let error = if is_known { Error::Repeated(field) } else { Error::Type(field) };
            check_refused(&with(&format!(r#""{name}":[]"#)), error);
        }
        check_refused(&with(r#""timestamp":1,"timestamp":1"#), Error::Repeated(Field::Timestamp));
        for number in ["-1", "1.5", "1e3", "\"1\"", "null", "true"] {
            let json = with(&format!(r#""timestamp":{number}"#));
            check_refused(&json, Error::Type(Field::Timestamp));
        }
        check_refused(r#"{"destination":null,"payload":""}"#, Error::Type(Field::Destination));
        check_refused(r#"{"destination":"/a","payload":null}"#, Error::Type(Field::Payload));
        check_refused(r#"{"destination":"/a","payload":{"a":1}}"#, Error::Type(Field::Payload));
        check_refused(&with(r#""headers":{"a":1}"#), Error::Type(Field::Headers));
        check_refused(&with(r#""headers":[["a","b"]]"#), Error::Type(Field::Headers));
        check_refused(&with(r#""encoding":"hex""#), Error::Encoding);
    }

    #[test]
    fn what_would_end_a_line_is_refused_but_in_headers_and_the_body() {
        for end in ["\\r", "\\n", "\\u0000"] {
            let json = format!(r#"{{"destination":"/a{end}","payload":""}}"#);
            check_refused(&json, Error::Character(Field::Destination));
            for field in [Field::UserId, Field::SenderId, Field::ContentType, Field::Id] {
                let json = with(&format!(r#""{}":"a{end}b""#, field.as_str()));
                check_refused(&json, Error::Character(field));
            }
            let json = format!(r#"{{"destination":"/a","payload":"{end}"}}"#);
            check(&json, |found| assert_eq!(found.unwrap().payload.len(), 1));
        }
        for blank in [" ", "\\t", "\u{2028}", "\u{7F}"] {
            let json = with(&format!(r#""id":"a{blank}""#));
            check_refused(&json, Error::Character(Field::Id));
        }
        check_refused(&with(r#""headers":{"a":"\u0000"}"#), Error::Character(Field::Headers));
        check_refused(&with(r#""headers":{"\u0000":"a"}"#), Error::Character(Field::Headers));
        let json = with(r#""headers":{"a":"","":"b","c":null,"d e":" \r\n","f":"1","f":"2"}"#);
        check(&json, |found| {
            let expected = vec![("d e", " \r\n"), ("f", "1"), ("f", "2")];
            assert_eq!(found.unwrap().headers, expected);
        });
    }

    #[test]
    fn headers_are_counted() {
        let headers = |count: usize| {
            let headers: Vec<_> = (0..count).map(|it| format!(r#""h{it}":"v""#)).collect();
            with(&format!(r#""headers":{{{}}}"#, headers.join(","))).into_bytes()
        };
        let mut decoder = Decoder::new(1 << 20);
        let mut bytes = headers(HEADERS_COUNT_MAX);
        assert_eq!(decoder.decode(&mut bytes).unwrap().headers.len(), HEADERS_COUNT_MAX);
        let mut bytes = headers(HEADERS_COUNT_MAX + 1);
        assert_eq!(decoder.decode(&mut bytes), Err(Error::TooManyHeaders));
    }

    #[test]
    fn size_is_judged_first_and_several_mib_are_understood() {
        let json = |bytes: usize| {
            let rest = r#"{"destination":"/a","payload":""}"#.len();
            format!(r#"{{"destination":"/a","payload":"{}"}}"#, "é".repeat((bytes - rest) / 2))
        };
        let mut bytes = json(4 << 20).into_bytes();
        let bytes_max = bytes.len();
        assert!(4_000_000 < bytes_max);
        assert_eq!(Decoder::new(bytes_max - 1).decode(&mut bytes), Err(Error::Oversize));
        let mut decoder = Decoder::new(bytes_max);
        assert!(decoder.decode(&mut bytes).is_ok_and(|it| 4_000_000 < it.payload.len()));
        let mut small = ARTICLE.as_bytes().to_vec();
        assert!(decoder.decode(&mut small).is_ok());
    }

    #[test]
    fn a_broken_envelope_leaves_nothing_for_the_next() {
        let mut decoder = Decoder::new(1 << 20);
        for broken in ["", "{", "[[[[", r#"{"payload":"\ud800"}"#, r#"{"destination":1}"#] {
            let mut bytes = broken.as_bytes().to_vec();
            assert!(decoder.decode(&mut bytes).is_err());
            let mut bytes = ARTICLE.as_bytes().to_vec();
            assert_eq!(decoder.decode(&mut bytes).map(|it| it.destination), Ok("/topic/room.1"));
        }
    }

    #[test]
    fn base64_is_judged_when_the_body_is_wanted() {
        let body = |payload: &str| {
            let envelope = Envelope { payload, is_base64: true, ..Envelope::default() };
            envelope.body().map(Cow::into_owned)
        };
        assert_eq!(body(""), Ok(vec![]));
        assert_eq!(body("/+8="), Ok(vec![0xFF, 0xEF]));
        assert_eq!(body("/+8"), Ok(vec![0xFF, 0xEF]));
        for broken in ["a", "_-8=", "aGk=\n", "aGk==", "====", "é"] {
            assert_eq!(body(broken), Err(Error::Base64), "{broken}");
        }
    }
}
