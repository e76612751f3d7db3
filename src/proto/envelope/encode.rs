//! Envelopes out.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::proto::envelope::Key;
use crate::proto::envelope::Signed;
use crate::proto::json;

/// How much of an envelope is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All fields that are known.
    Full,
    /// The article's six fields, for receivers that refuse others. Ids, headers, content types,
    /// senders and signatures are lost.
    Article,
}

/// What an envelope is made of.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// The destination; a user's without the user, `/queue/private`.
    pub destination: &'a str,
    /// The user it is for, not percent-encoded.
    pub user_id: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
    /// Whether the body is UTF-8; otherwise, and if that is not so, it goes as base64.
    pub is_text: bool,
    /// Milliseconds since 1970.
    pub timestamp_ms: u64,
    /// This task's name.
    pub origin: &'a str,
    /// The message's id.
    pub id: &'a str,
    /// The place in its destination's order.
    pub seq: Option<u64>,
    /// The life of the counter that made `seq`.
    pub epoch: Option<u64>,
    /// The body's type.
    pub content_type: Option<&'a str>,
    /// The user who sent it.
    pub sender: Option<&'a str>,
    /// Custom headers; of a repeated name the first is written.
    pub headers: &'a [(Box<str>, Box<str>)],
    /// Signs the envelope, in the full form only.
    pub key: Option<&'a Key>,
    /// The Redis channel as it is published to, for the signature.
    pub channel: &'a [u8],
}

/// The article's form has no place for a body that is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit;

impl fmt::Display for Unfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("A binary body does not fit the article's envelope; send text.")
    }
}

impl std::error::Error for Unfit {}

/// The most bytes that [`encode`] makes of a body and the rest of a message (destination, user,
/// headers and so on) of so many bytes each: a control character becomes six (RFC 8259 §7).
#[must_use]
pub const fn encoded_bytes_max(body_bytes: usize, rest_bytes: usize) -> usize {
    body_bytes.saturating_add(rest_bytes).saturating_mul(6).saturating_add(8 * 1024)
}

/// Appends the JSON of an envelope: the article's fields in the order of its Jackson sender, nulls
/// included, then ours as far as they are known.
///
/// `payloadType` is the Java class that the body would have, `java.lang.String` or `[B`.
///
/// # Errors
///
/// [`Unfit`], and nothing is appended.
pub fn encode(out: &mut Vec<u8>, fields: &Fields<'_>, form: Form) -> Result<(), Unfit> {
    let text = if fields.is_text { simdutf8::basic::from_utf8(fields.body).ok() } else { None };
    let is_full = match form {
        Form::Full => true,
        Form::Article if text.is_none() => return Err(Unfit),
        Form::Article => false,
    };
    let encoded = if text.is_none() { STANDARD.encode(fields.body) } else { String::new() };
    let payload = text.unwrap_or(&encoded);

    out.extend_from_slice(b"{\"destination\":");
    json::push_string(out, fields.destination);
    out.extend_from_slice(b",\"userId\":");
    json::push_nullable(out, fields.user_id);
    out.extend_from_slice(b",\"payload\":");
    json::push_string(out, payload);
    out.extend_from_slice(b",\"payloadType\":");
    json::push_string(out, if text.is_some() { "java.lang.String" } else { "[B" });
    out.extend_from_slice(b",\"timestamp\":");
    json::push_number(out, fields.timestamp_ms);
    out.extend_from_slice(b",\"originServerId\":");
    json::push_string(out, fields.origin);
    if is_full {
        push_rest(out, fields, payload, text.is_none());
    }
    out.push(b'}');
    Ok(())
}

/// Appends what the article does not know.
fn push_rest(out: &mut Vec<u8>, fields: &Fields<'_>, payload: &str, is_base64: bool) {
    push_text(out, ",\"id\":", Some(fields.id));
    for (name, number) in [(",\"seq\":", fields.seq), (",\"epoch\":", fields.epoch)] {
        if let Some(number) = number {
            out.extend_from_slice(name.as_bytes());
            json::push_number(out, number);
        }
    }
    push_text(out, ",\"contentType\":", fields.content_type);
    push_text(out, ",\"senderId\":", fields.sender);
    push_headers(out, fields.headers);
    push_text(out, ",\"encoding\":", is_base64.then_some("base64"));
    if let Some(key) = fields.key {
        let signed = Signed {
            channel: fields.channel,
            id: Some(fields.id).filter(|id| !id.is_empty()),
            user_id: fields.user_id,
            timestamp_ms: fields.timestamp_ms,
            payload,
        };
        push_text(out, ",\"signature\":", Some(&signed.sign(key)));
    }
}

fn push_text(out: &mut Vec<u8>, name: &str, text: Option<&str>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.extend_from_slice(name.as_bytes());
        json::push_string(out, text);
    }
}

fn push_headers(out: &mut Vec<u8>, headers: &[(Box<str>, Box<str>)]) {
    let mut open: &[u8] = b",\"headers\":{";
    for (index, (name, value)) in headers.iter().enumerate() {
        // Jackson would take the last one of a name, STOMP takes the first.
        let is_repeated = headers.iter().take(index).any(|(earlier, _)| earlier == name);
        if is_repeated || name.is_empty() || value.is_empty() {
            continue;
        }
        out.extend_from_slice(open);
        json::push_string(out, name);
        out.push(b':');
        json::push_string(out, value);
        open = b",";
    }
    if open == b"," {
        out.push(b'}');
    }
}
