//! What a session is told before it is let go, where it listens.

use crate::broker::router;
use crate::broker::session::Output;
use crate::broker::session::Session;
use crate::broker::session::State;
use crate::proto::stomp;

/// Why a session is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// The server ends.
    End,
    /// The connection is as old as it may be.
    Age,
    /// Others have more room.
    Rebalance,
}

impl Leaving {
    const fn text(self) -> &'static str {
        match self {
            Self::End => "The server is going away. Connect again.",
            Self::Age => "This connection is as old as it may be. Connect again.",
            Self::Rebalance => "Other servers have more room. Connect again.",
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::End => "drain",
            Self::Age => "age",
            Self::Rebalance => "rebalance",
        }
    }
}

impl Session {
    /// Tells each subscription that hears of the server to connect again in `reconnect_ms` from
    /// now, by when the connection is closed. `false` when none does.
    pub fn handle_leaving(
        &mut self,
        leaving: Leaving,
        reconnect_ms: u64,
        out: &mut Vec<Output>,
    ) -> bool {
        if self.state != State::Open {
            return false;
        }
        let mut ids: Vec<Box<str>> = (self.subscriptions.iter())
            .filter(|(_, entry)| entry.hears_events)
            .map(|(id, entry)| if entry.has_id { id.clone() } else { Box::default() })
            .collect();
        ids.sort_unstable();
        for id in &ids {
            self.push_leaving(id, leaving, reconnect_ms, out);
        }
        !ids.is_empty()
    }

    fn push_leaving(
        &mut self,
        subscription: &str,
        leaving: Leaving,
        reconnect_ms: u64,
        out: &mut Vec<Output>,
    ) {
        let body = format!(
            "{{\"type\":\"ServerShutdownNotice\",\"reason\":\"{}\",\"message\":\"{}\",\
             \"reconnectInSeconds\":{},\"reconnectInMs\":{reconnect_ms}}}",
            leaving.reason(),
            leaving.text(),
            reconnect_ms.div_ceil(1_000),
        );
        self.notices_count += 1;
        let message_id = format!("{}-e{:x}", self.id, self.notices_count);
        let headers = [
            ("destination", router::SERVER_EVENTS),
            ("content-type", "application/json"),
            ("subscription", subscription),
            ("message-id", &message_id),
            ("event", "server-shutdown"),
        ];
        let mut bytes = Vec::new();
        stomp::push_frame(&mut bytes, self.version, "MESSAGE", &headers, body.as_bytes());
        out.push(Output::Reply(bytes));
    }

    /// Whether it is owed a receipt.
    #[must_use]
    pub fn awaits_receipt(&self) -> bool {
        0 < self.receipts_pending || matches!(self.state, State::Ending { .. })
    }
}
