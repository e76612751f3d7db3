//! The span of a connection: whose it is, for every line of the log that is about it.
//!
//! It is made where a line is written, and not entered with each message: that would cost more than
//! all else that is counted or logged.

use tracing::Level;
use tracing::Span;

use crate::broker::session::Session;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Phase;
use crate::shard::state::Shard;

impl Shard {
    /// The span of a connection; `session` is the one that is worked on and not in its place.
    pub(super) fn span(&self, id: ConnectionId, session: Option<&Session>) -> Span {
        let connection = self.connections.get(id.0);
        let in_place = connection.and_then(|it| match &it.phase {
            Phase::Stomp(stomp) => Some(&stomp.session),
            Phase::Head(_) | Phase::Echo(_) | Phase::Closing(_) | Phase::Taken => None,
        });
        let session = session.or(in_place);
        tracing::error_span!(
            "connection",
            id = format!("{}-{:x}", self.identity.id.0, id.to_bits()),
            address = connection.map(|it| tracing::field::display(it.peer)),
            session = session.map(Session::id),
            user = session.map(Session::user),
        )
    }

    /// The same for a line that is normal, and seldom written.
    pub(super) fn span_for_debug(&self, id: ConnectionId) -> Span {
        if tracing::enabled!(Level::DEBUG) { self.span(id, None) } else { Span::none() }
    }
}
