//! What `forward` routes hand to back ends: entries of bounded Redis Streams.

use crate::broker::relay::Token;
use crate::broker::relay::redis::Redis;
use crate::broker::relay::redis::entry::Kind;
use crate::proto::resp;
use crate::stdx::time::Instant;

/// One SEND for a back end.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// As the client named it.
    pub destination: &'a str,
    /// What the sender says the body is; handed on as the header of that name.
    pub content_type: Option<&'a str>,
    /// The sender's own headers.
    pub headers: &'a [(Box<str>, Box<str>)],
    /// The body, whatever it is.
    pub body: &'a [u8],
    /// The sender's user id.
    pub user: Option<&'a str>,
    /// The sender's session.
    pub session: &'a str,
    /// The message's id.
    pub id: &'a str,
    /// In milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
}

impl Redis {
    /// Appends an entry to the stream `stream`, which is cut to about its most entries; `token` is
    /// settled when Redis has it.
    ///
    /// Its fields are `destination`, `headers` (a JSON object), `body`, `user` (empty when there is
    /// none), `session`, `id` and `timestamp`.
    pub fn forward(
        &mut self,
        now: Instant,
        stream: &str,
        forward: &Forward<'_>,
        token: Option<Token>,
    ) {
        self.counts.published += 1;
        let mut headers = Vec::with_capacity(64);
        push_headers(&mut headers, forward.content_type, forward.headers);
        let entries_max = self.options.stream_entries_max.to_string();
        let timestamp = forward.timestamp_ms.to_string();
        let key = stream.as_bytes();
        let parts: [&[u8]; 20] = [
            b"XADD",
            key,
            b"MAXLEN",
            b"~",
            entries_max.as_bytes(),
            b"*",
            b"destination",
            forward.destination.as_bytes(),
            b"headers",
            &headers,
            b"body",
            forward.body,
            b"user",
            forward.user.unwrap_or("").as_bytes(),
            b"session",
            forward.session.as_bytes(),
            b"id",
            forward.id.as_bytes(),
            b"timestamp",
            timestamp.as_bytes(),
        ];
        let mut command = Vec::new();
        resp::push_command(&mut command, &parts);
        let done = self.publisher.push(now, key, command, Kind::Append, token, &self.routes);
        self.finish_push(done, token);
    }
}

/// A JSON object; of a repeated name the first counts, as in STOMP.
fn push_headers(out: &mut Vec<u8>, content_type: Option<&str>, headers: &[(Box<str>, Box<str>)]) {
    out.push(b'{');
    let mut is_first = content_type.is_none();
    if let Some(content_type) = content_type {
        out.extend(b"\"content-type\":");
        push_string(out, content_type);
    }
    for (index, (name, value)) in headers.iter().enumerate() {
        if headers[..index].iter().any(|(earlier, _)| earlier == name) {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        push_string(out, name);
        out.push(b':');
        push_string(out, value);
    }
    out.push(b'}');
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a Vec takes all, and text is always JSON");
}
