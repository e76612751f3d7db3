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
