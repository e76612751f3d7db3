//! MESSAGE frames: a publication encoded once for all subscribers to whom it looks the same.

use std::sync::Arc;

use crate::broker::publication::Publication;
use crate::proto::stomp;
use crate::proto::stomp::Version;
use crate::proto::ws;
use crate::stdx::bytes::Meter;
use crate::stdx::bytes::Shared;

/// Bodies up to this size are copied behind each distinct head, so that a frame is one run of bytes
/// and needs no gathering; larger ones stand apart and are shared by all heads.
const BODY_BYTES_COPIED_MAX: usize = 2048;

/// One outgoing frame: its first run, and the shared body where that stands apart.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// WebSocket header, STOMP head and, up to a size, the body.
    pub head: Shared,
    /// The body and its NUL.
    pub body: Option<Shared>,
}

impl Encoded {
    /// Bytes of the whole frame.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len() + self.body.as_ref().map_or(0, Shared::len)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Encodes one publication for group after group of subscribers.
///
/// Order of headers as Spring writes them: destination, content-type, subscription, message-id,
/// the rest, content-length last (STOMP 1.2, "MESSAGE").
#[derive(Debug)]
pub struct Encoder<'p> {
    publication: &'p Publication,
    meter: &'p Meter,
    body: Option<Shared>,
    /// The part after the subscription line, encoded for this version.
    tail: Vec<u8>,
    tail_version: Option<Version>,
}

impl<'p> Encoder<'p> {
    /// An encoder whose frames count against `meter`.
    #[must_use]
    pub const fn new(publication: &'p Publication, meter: &'p Meter) -> Self {
        Self { publication, meter, body: None, tail: Vec::new(), tail_version: None }
    }

    /// The frame for one group: `subscription_line` is its whole header line, or empty.
    pub fn encode(
        &mut self,
        version: Version,
        shown: Option<&str>,
        subscription_line: &[u8],
    ) -> Encoded {
        if self.tail_version != Some(version) {
            self.encode_tail(version);
        }
        let publication = self.publication;
        let destination = shown.unwrap_or(&publication.destination);
        let body_nul = &publication.body_nul;
        let is_apart = BODY_BYTES_COPIED_MAX < body_nul.len();

        let mut front = Vec::with_capacity(64 + destination.len());
        front.extend_from_slice(b"MESSAGE\n");
        stomp::push_header(&mut front, "destination", destination, version);
        if let Some(content_type) = &publication.content_type {
            stomp::push_header(&mut front, "content-type", content_type, version);
        }
        let head_bytes = front.len() + subscription_line.len() + self.tail.len();
        let opcode = if publication.is_text { ws::Opcode::Text } else { ws::Opcode::Binary };
        let ws_header = ws::header(opcode, head_bytes + body_nul.len());
        let body_bytes = if is_apart { 0 } else { body_nul.len() };
        let mut head = Vec::with_capacity(ws_header.len() + head_bytes + body_bytes);
        head.extend_from_slice(&ws_header);
        head.extend_from_slice(&front);
        head.extend_from_slice(subscription_line);
        head.extend_from_slice(&self.tail);
        if !is_apart {
            head.extend_from_slice(body_nul);
        }
        let body = is_apart.then(|| {
            self.body
                .get_or_insert_with(|| Shared::from_body(Arc::clone(body_nul), self.meter))
                .clone()
        });
        Encoded { head: Shared::new(head, self.meter), body }
    }

    fn encode_tail(&mut self, version: Version) {
        let publication = self.publication;
        let tail = &mut self.tail;
        tail.clear();
        stomp::push_header(tail, "message-id", &publication.message_id, version);
        if let Some(sender) = &publication.sender {
            stomp::push_header(tail, "user-id", sender, version);
        }
        push_number(tail, b"timestamp:", publication.timestamp_ms);
        if let Some(place) = publication.place() {
            push_number(tail, b"seq:", place.seq);
            push_number(tail, b"epoch:", place.epoch);
        }
        for (name, value) in &publication.headers {
            stomp::push_header(tail, name, value, version);
        }
        push_number(tail, b"content-length:", publication.body().len() as u64);
        tail.push(b'\n');
        self.tail_version = Some(version);
    }
}

fn push_number(out: &mut Vec<u8>, name: &[u8], number: u64) {
    let mut digits = [0_u8; 20];
    let mut first = digits.len();
    let mut rest = number;
    loop {
        first -= 1;
        let digit = (rest % 10) as u8;
        digits[first] = b'0' + digit;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(name);
    out.extend_from_slice(&digits[first..]);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::publication::Historic;
    use crate::broker::publication::Place;

    fn publication(body: &[u8], is_text: bool) -> Publication {
        let mut body_nul = body.to_vec();
        body_nul.push(0);
        Publication {
            channel: "/topic/t".into(),
            destination: "/topic/t".into(),
            message_id: "n-1".into(),
            content_type: Some("text/plain".into()),
            sender: Some("bob".into()),
            timestamp_ms: 1_700_000_000_123,
            received_at: crate::stdx::time::Instant::default(),
            headers: vec![("foo".into(), "a:b".into())],
            body_nul: body_nul.into(),
            is_text,
            forwarded_by: None,
            history: None,
        }
    }

    #[test]
    fn a_small_message_is_one_run_with_all_its_headers() {
        let meter = Meter::default();
        let publication = publication(b"hi", true);
        let mut encoder = Encoder::new(&publication, &meter);
        let frame = encoder.encode(Version::V1_2, None, b"subscription:s1\n");
        let expected = "MESSAGE\ndestination:/topic/t\ncontent-type:text/plain\nsubscription:s1\n\
            message-id:n-1\nuser-id:bob\ntimestamp:1700000000123\nfoo:a\\cb\n\
            content-length:2\n\nhi\0";
        assert!(frame.body.is_none());
        let bytes = frame.head.as_slice();
        assert_eq!(&bytes[..4], [0x81, 126, 0, u8::try_from(expected.len()).unwrap()]);
        assert_eq!(std::str::from_utf8(&bytes[4..]).unwrap(), expected);
    }

    #[test]
    fn a_place_in_history_is_shown() {
        let meter = Meter::default();
        let mut publication = publication(b"hi", true);
        publication.history = Some(Box::new(Historic::at(Place { epoch: 7, seq: 12 })));
        let frame = Encoder::new(&publication, &meter).encode(Version::V1_2, None, b"");
        let head = String::from_utf8_lossy(frame.head.as_slice()).into_owned();
        assert!(head.contains("\ntimestamp:1700000000123\nseq:12\nepoch:7\nfoo:"), "{head}");
    }

    #[test]
    fn a_large_body_is_shared_by_all_heads_and_counted_once() {
        let meter = Meter::default();
        let publication = publication(&[0xFF; 5000], false);
        let mut encoder = Encoder::new(&publication, &meter);
        let one = encoder.encode(Version::V1_2, None, b"subscription:a\n");
        let two = encoder.encode(Version::V1_0, Some("/user/queue/t"), b"");
        assert_eq!(one.head.as_slice()[0], 0x82);
        assert_eq!(one.body.as_ref().unwrap().len(), 5001);
        assert_eq!(meter.bytes(), one.head.len() + two.head.len() + 5001);
        let head = String::from_utf8_lossy(two.head.as_slice()).into_owned();
        assert!(head.contains("MESSAGE\ndestination:/user/queue/t\n"), "{head}");
        assert!(head.contains("\nfoo:a:b\n"), "{head}");
    }
}
