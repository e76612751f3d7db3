//! What must hold for any envelope and control message.

use ringway::proto::control;
use ringway::proto::envelope;

use super::Pieces;

/// An envelope is read as another implementation of JSON reads it, or dropped, and what is encoded
/// is decoded again.
pub(crate) fn envelopes(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let mut decoder = envelope::Decoder::new(100_000);
    let mut json = input.to_vec();
    let found = decoder.decode(&mut json);
    let theirs = serde_json::from_slice::<serde_json::Value>(input);
    match &found {
        Ok(envelope) => check_envelope(envelope, &theirs.expect("JSON elsewhere"), seed),
        Err(envelope::Error::Json) => {
            // Theirs may be nested twice as deep, and may be something else than an object.
            let is_other = theirs.as_ref().is_ok_and(|it| !it.is_object() || 64 <= depth(it));
            assert!(is_other || theirs.is_err(), "{theirs:?}");
        }
        Err(error) => assert!(!error.label().is_empty() && !error.to_string().is_empty()),
    }
    check_envelope_encoding(&mut decoder, input, seed);
}

/// The number that both mean; `-0` is a fraction to the other one.
fn as_number(value: &serde_json::Value) -> Option<u64> {
    value.as_u64().or((value.as_f64() == Some(0.0)).then_some(0))
}

fn depth(value: &serde_json::Value) -> usize {
    if let Some(items) = value.as_array() {
        return 1 + items.iter().map(depth).max().unwrap_or(0);
    }
    value.as_object().map_or(0, |fields| 1 + fields.values().map(depth).max().unwrap_or(0))
}

fn check_envelope(envelope: &envelope::Envelope<'_>, theirs: &serde_json::Value, seed: u8) {
    let text = |name: &str| theirs.get(name).and_then(serde_json::Value::as_str);
    let said = |name: &str| text(name).filter(|it| !it.is_empty());
    let number = |name: &str| theirs.get(name).and_then(as_number);
    assert_eq!(Some(envelope.destination), text("destination"));
    assert_eq!(Some(envelope.payload), text("payload"));
    assert_eq!(envelope.user_id, text("userId"));
    assert_eq!(envelope.payload_type, text("payloadType"));
    assert_eq!(envelope.timestamp_ms, number("timestamp").unwrap_or(0));
    assert_eq!(envelope.origin, text("originServerId"));
    assert_eq!((envelope.seq, envelope.epoch), (number("seq"), number("epoch")));
    assert_eq!(envelope.id, said("id"));
    assert_eq!((envelope.content_type, envelope.sender), (said("contentType"), said("senderId")));
    assert_eq!(envelope.signature, text("signature"));
    assert_eq!(envelope.is_base64, text("encoding").is_some());
    for (name, value) in &envelope.headers {
        assert!(!name.is_empty() && !value.is_empty() && !format!("{name}{value}").contains('\0'));
        assert!(theirs["headers"].get(name).is_some());
    }
    let head = [Some(envelope.destination), envelope.user_id, envelope.id, envelope.sender];
    for text in head.into_iter().flatten() {
        assert!(!text.contains(['\r', '\n', '\0']));
    }
    if let Ok(body) = envelope.body() {
        assert!(envelope.is_base64 || *body == *envelope.payload.as_bytes());
    }
    let key = envelope::Key::new(&[seed]);
    assert!(envelope.verify(&key, b"ws:", 0, u64::MAX).is_err(), "nobody has this key");
}

/// Makes an envelope of the pieces of `input` and reads it back.
fn check_envelope_encoding(decoder: &mut envelope::Decoder, input: &[u8], seed: u8) {
    let key = envelope::Key::new(&[seed]);
    let texts: Vec<String> = Pieces::new(input, seed)
        .map(|piece| String::from_utf8_lossy(piece).replace(['\r', '\n', '\0'], ""))
        .filter(|text| !text.is_empty())
        .collect();
    let text = |index: usize| texts.get(index).map(String::as_str);
    let headers: Vec<(Box<str>, Box<str>)> = texts
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[name, value]| (name.as_str().into(), value.as_str().into()))
        .collect();
    let is_text = str::from_utf8(input).is_ok();
    let id = format!("{seed}-{}", input.len());
    let fields = envelope::Fields {
        destination: text(0).unwrap_or_default(),
        user_id: text(1),
        body: input,
        is_text,
        timestamp_ms: u64::from(seed) << 50,
        origin: text(2).unwrap_or_default(),
        id: &id,
        seq: seed.is_multiple_of(2).then_some(u64::MAX),
        epoch: seed.is_multiple_of(4).then_some(0),
        content_type: text(3),
        sender: text(4),
        headers: &headers,
        key: (!seed.is_multiple_of(3)).then_some(&key),
        channel: input,
    };
    let mut out = Vec::new();
    let fits = envelope::encode(&mut out, &fields, envelope::Form::Article).is_ok();
    assert_eq!(fits, is_text);
    if fits {
        let theirs: serde_json::Map<_, _> = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(theirs.len(), 6);
        let article = decoder.decode(&mut out).expect("what we said");
        assert_eq!(article.body().as_deref(), Ok(input));
    }
    out.clear();
    envelope::encode(&mut out, &fields, envelope::Form::Full).expect("anything fits");
    let rest_bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    // Six bytes more for the quotes and signs of each header.
    let rest_bytes = rest_bytes + headers.len() + 200;
    assert!(out.len() <= envelope::encoded_bytes_max(input.len(), rest_bytes));
    if 100_000 < out.len() {
        assert_eq!(decoder.decode(&mut out), Err(envelope::Error::Oversize));
        return;
    }
    let found = decoder.decode(&mut out).expect("what we said");
    assert_eq!(found.body().as_deref(), Ok(input));
    assert_eq!((found.destination, found.user_id), (fields.destination, fields.user_id));
    assert_eq!((found.timestamp_ms, found.origin), (fields.timestamp_ms, Some(fields.origin)));
    assert_eq!((found.seq, found.epoch), (fields.seq, fields.epoch));
    assert_eq!((found.content_type, found.sender), (fields.content_type, fields.sender));
    assert_eq!((found.id, found.is_base64), (Some(&id[..]), !is_text));
    for (name, value) in &headers {
        let first = headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value);
        let read: Vec<_> = found.headers.iter().filter(|(other, _)| *other == &**name).collect();
        assert!(read.len() == 1 && Some(read[0].1) == first, "{name}: {value}");
    }
    let now_ms = fields.timestamp_ms;
    assert_eq!(found.verify(&key, input, now_ms, 0).is_ok(), fields.key.is_some());
    assert!(found.verify(&key, &[input, b"."].concat(), now_ms, 0).is_err());
}

/// A control message means one thing, and its signature covers it.
pub(crate) fn controls(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let mut json = input.to_vec();
    let Ok(message) = control::decode(&mut json) else { return };
    let theirs: serde_json::Value = serde_json::from_slice(input).expect("JSON elsewhere");
    assert_eq!(theirs["id"].as_str(), Some(message.id));
    assert_eq!(as_number(&theirs["timestamp"]), Some(message.timestamp_ms));

    let key = envelope::Key::new(&[seed]);
    assert!(message.verify(&key, message.timestamp_ms, 0).is_err(), "nobody has this key");
    let mut out = Vec::new();
    message.encode(&mut out, Some(&key));
    let again = match control::decode(&mut out) {
        Ok(again) => again,
        Err(error) => {
            assert!(error == control::Error::Oversize && control::BYTES_MAX / 8 < input.len());
            return;
        }
    };
    assert_eq!(again.verify(&key, message.timestamp_ms, 0), Ok(()));
    assert_eq!(control::Message { signature: message.signature, ..again }, message);
    let later = control::Message { timestamp_ms: message.timestamp_ms ^ 1, ..again };
    assert!(later.verify(&key, message.timestamp_ms, 1).is_err());
}
