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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::envelope::Decoder;
    use crate::proto::envelope::Envelope;
    use crate::proto::envelope::Unverified;

    const FIELDS: Fields<'_> = Fields {
        destination: "/topic/room.1",
        user_id: None,
        body: br#"{"text":"hi"}"#,
        is_text: true,
        timestamp_ms: 1_700_000_000_000,
        origin: "task-1",
        id: "n-1",
        seq: None,
        epoch: None,
        content_type: None,
        sender: None,
        headers: &[],
        key: None,
        channel: b"ws:/topic/room.1",
    };

    #[track_caller]
    fn check(fields: &Fields<'_>, form: Form, expected: &str) {
        let mut out = b"before".to_vec();
        assert_eq!(encode(&mut out, fields, form), Ok(()));
        assert_eq!(str::from_utf8(&out), Ok(&*format!("before{expected}")));
    }

    #[test]
    fn the_articles_form_has_its_six_fields_in_its_order() {
        let front = concat!(
            r#"{"destination":"/topic/room.1","userId":null,"#,
            r#""payload":"{\"text\":\"hi\"}","payloadType":"java.lang.String","#,
            r#""timestamp":1700000000000,"originServerId":"task-1""#,
        );
        check(&FIELDS, Form::Article, &format!("{front}}}"));
        check(&FIELDS, Form::Full, &format!(r#"{front},"id":"n-1"}}"#));
        let key = Key::new(b"key");
        let headers = [("a".into(), "b".into())];
        let more = Fields {
            seq: Some(1),
            epoch: Some(2),
            content_type: Some("text/plain"),
            sender: Some("bob"),
            headers: &headers,
            key: Some(&key),
            ..FIELDS
        };
        check(&more, Form::Article, &format!("{front}}}"));
    }

    #[test]
    fn the_full_form_holds_what_is_known() {
        let header = |name: &str, value: &str| (name.into(), value.into());
        let headers = [
            header("a", "\"\n"),
            header("", "x"),
            header("b", ""),
            header("c", "1"),
            header("c", "2"),
        ];
        let fields = Fields {
            destination: "/queue/private",
            user_id: Some("4/2"),
            body: b"\xFF",
            is_text: false,
            seq: Some(u64::MAX),
            epoch: Some(0),
            content_type: Some("a/b"),
            sender: Some("é"),
            headers: &headers,
            ..FIELDS
        };
        let expected = concat!(
            r#"{"destination":"/queue/private","userId":"4/2","payload":"/w==","#,
            r#""payloadType":"[B","timestamp":1700000000000,"#,
            r#""originServerId":"task-1","id":"n-1","seq":18446744073709551615,"#,
            r#""epoch":0,"contentType":"a/b","senderId":"é","headers":{"a":"\"\n","#,
            r#""c":"1"},"encoding":"base64"}"#,
        );
        check(&fields, Form::Full, expected);
    }

    #[test]
    fn a_binary_body_does_not_fit_the_article_and_is_never_sent_as_text() {
        let mut out = Vec::new();
        for is_text in [false, true] {
            let fields = Fields { body: b"\xFF", is_text, ..FIELDS };
            assert_eq!(encode(&mut out, &fields, Form::Article), Err(Unfit));
            assert!(out.is_empty());
        }
        let fields = Fields { body: b"\xFF", ..FIELDS };
        assert_eq!(encode(&mut out, &fields, Form::Full), Ok(()));
        assert_eq!(
            Decoder::new(1000).decode(&mut out).unwrap().body().as_deref(),
            Ok(&b"\xFF"[..])
        );
    }

    #[test]
    fn a_signature_holds_for_its_channel_and_time_and_nothing_else() {
        let key = Key::new(b"key");
        let fields = Fields { user_id: Some("u"), key: Some(&key), ..FIELDS };
        let mut out = Vec::new();
        encode(&mut out, &fields, Form::Full).unwrap();
        let envelope = Decoder::new(1000).decode(&mut out).unwrap();
        let now_ms = FIELDS.timestamp_ms;
        let verify = |envelope: &Envelope<'_>, channel: &[u8]| {
            envelope.verify(&key, channel, now_ms + 60, 60)
        };
        assert_eq!(verify(&envelope, FIELDS.channel), Ok(()));
        assert_eq!(envelope.verify(&key, FIELDS.channel, now_ms - 60, 60), Ok(()));
        assert_eq!(envelope.verify(&key, FIELDS.channel, now_ms + 61, 60), Err(Unverified::Stale));
        assert_eq!(envelope.verify(&key, FIELDS.channel, now_ms - 61, 60), Err(Unverified::Stale));
        assert_eq!(verify(&envelope, b"ws:/topic/room.2"), Err(Unverified::Forged));
        let changed = [
            Envelope { id: Some("n-2"), ..envelope.clone() },
            Envelope { id: None, ..envelope.clone() },
            Envelope { user_id: None, ..envelope.clone() },
            Envelope { user_id: Some("v"), ..envelope.clone() },
            Envelope { timestamp_ms: now_ms + 1, ..envelope.clone() },
            Envelope { payload: "", ..envelope.clone() },
        ];
        for changed in changed {
            assert_eq!(verify(&changed, FIELDS.channel), Err(Unverified::Forged), "{changed:?}");
        }
        let unsigned = Envelope { signature: None, ..envelope.clone() };
        assert_eq!(verify(&unsigned, FIELDS.channel), Err(Unverified::Unsigned));
        let other = Key::new(b"other");
        assert_eq!(envelope.verify(&other, FIELDS.channel, now_ms, 60), Err(Unverified::Forged));
    }

    #[test]
    fn what_a_back_end_must_compute_is_written_down_and_stays() {
        let signed = crate::proto::envelope::Signed {
            channel: b"ws:/topic/a",
            id: Some("i"),
            user_id: None,
            timestamp_ms: 1,
            payload: "p",
        };
        // By another implementation of HMAC, from the text that `signature` describes.
        let expected = "34c3de269e50061840547d3d7a53bf4319459d31c4e9f5e4ce3fa46915da3d6b";
        assert_eq!(signed.sign(&Key::new(b"key")), expected);
    }

    #[test]
    fn no_envelope_is_larger_than_it_was_said_to_be() {
        let body = [0x01; 5000];
        let headers = [("\u{1}".repeat(100).into(), "\u{1}".repeat(1000).into())];
        let key = Key::new(b"key");
        let fields = Fields {
            body: &body,
            headers: &headers,
            seq: Some(u64::MAX),
            epoch: Some(u64::MAX),
            key: Some(&key),
            ..FIELDS
        };
        let mut out = Vec::new();
        encode(&mut out, &fields, Form::Full).unwrap();
        assert!(6 * (5000 + 1100) < out.len() && out.len() <= encoded_bytes_max(5000, 1100));
    }
}
