//! A publication as a row of the table `messages`, and back.

use crate::broker::publication::Carried;
use crate::broker::publication::Historic;
use crate::broker::publication::Place;
use crate::broker::publication::Publication;
use crate::stdx::time::Instant;

/// What a SELECT of a page gives, in the order of `schema::PAGE_COLUMNS`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) message_id: Vec<u8>,
    pub(super) sender_id: Option<Vec<u8>>,
    pub(super) content_type: Option<Vec<u8>>,
    pub(super) headers: Option<Vec<u8>>,
    pub(super) payload: Vec<u8>,
    pub(super) created_at: u64,
}

impl Row {
    /// The publication that was stored for `channel`.
    pub(super) fn publication(&self, channel: &str) -> Publication {
        let text = |bytes: &Option<Vec<u8>>| {
            bytes.as_ref().map(|it| String::from_utf8_lossy(it).into_owned())
        };
        let (content_type, sender) = (text(&self.content_type), text(&self.sender_id));
        let headers: Vec<(String, String)> = (self.headers.as_deref())
            .and_then(|it| serde_json::from_slice(it).ok())
            .unwrap_or_default();
        let carried = Carried {
            channel,
            destination: destination_of(channel),
            message_id: String::from_utf8_lossy(&self.message_id).into_owned(),
            content_type: content_type.as_deref(),
            sender: sender.as_deref(),
            timestamp_ms: self.created_at,
            received_at: Instant::default(),
            body: &self.payload,
        };
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut publication = Publication::from_relay(carried, headers);
        let place = Place { epoch: self.epoch, seq: self.seq };
        publication.history = Some(Box::new(Historic::at(place)));
        publication
    }
}

/// A publication's own headers as JSON, a list of pairs; none where it has none.
pub(super) fn headers_of(publication: &Publication) -> Option<Vec<u8>> {
    let headers = &publication.headers;
    (!headers.is_empty()).then(|| serde_json::to_vec(headers).expect("texts are always JSON"))
}

/// What receivers see of a channel: a user's own queues have another name.
fn destination_of(channel: &str) -> String {
    match channel.strip_prefix("user.").and_then(|it| it.split_once('/')) {
        Some((_, queue)) => format!("/user/{queue}"),
        None => channel.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_queue_is_shown_without_the_user() {
        assert_eq!(destination_of("/topic/user.a/b"), "/topic/user.a/b");
        assert_eq!(destination_of("user.a%2Fb/queue/x/y"), "/user/queue/x/y");
    }
}
