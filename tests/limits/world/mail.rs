//! What the other shard of a world of two says.

use std::sync::Arc;

use ringway::broker::publication::Publication;
use ringway::broker::relay::Mail;
use ringway::broker::relay::Reply;
use ringway::broker::relay::Request;
use ringway::broker::seats;
use ringway::broker::seats::Answer;

use crate::world::OTHER;
use crate::world::World;

impl World {
    /// The other shard, as its home, hands over a publication.
    pub(crate) fn deliver_from_other(&mut self, destination: &str, body: &[u8]) {
        let publication = Arc::new(Publication {
            channel: destination.into(),
            destination: destination.into(),
            message_id: "other-1".into(),
            content_type: None,
            sender: None,
            timestamp_ms: self.now().unix_ms,
            received_at: self.now,
            headers: Vec::new(),
            body_nul: [body, b"\0"].concat().into(),
            is_text: true,
            forwarded_by: None,
            history: None,
        });
        let mail = Mail::Reply(Reply::Deliver(publication));
        self.shard.handle_mail(self.now(), OTHER, mail);
        self.carry();
    }

    /// Answers the oldest `count` requests as the other shard would, as the home that it is.
    #[track_caller]
    pub(crate) fn answer_mail(&mut self, count: usize) {
        for request in self.mail.drain(..count).collect::<Vec<_>>() {
            let reply = match request {
                Request::Publish { token: Some(token), .. } => Reply::Accepted(token),
                Request::Interest { target, is_wanted: true, number } => {
                    Reply::Confirmed { target, number }
                }
                Request::Seat(seats::Ask::Take { holder, connection }) => {
                    Reply::Seat(Answer { holder, connection, is_granted: true })
                }
                Request::Seat(seats::Ask::Free { .. })
                | Request::Publish { token: None, .. }
                | Request::Interest { .. } => continue,
            };
            self.shard.handle_mail(self.now(), OTHER, Mail::Reply(reply));
        }
        self.carry();
    }
}
