//! What becomes of a subscription when its replay has caught up, or was all that it wanted.

use crate::broker::session::Output;
use crate::broker::session::Session;
use crate::broker::table::SubscriptionKey;

impl Session {
    /// A subscription that was `replaying` is in the table as `live` now, unless it has ended or
    /// was replaced since.
    pub fn handle_replayed(
        &mut self,
        id: &str,
        replaying: SubscriptionKey,
        live: SubscriptionKey,
        out: &mut Vec<Output>,
    ) {
        let entry = self.subscriptions.get_mut(id).filter(|it| it.key == Some(replaying));
        match entry {
            Some(entry) => {
                entry.key = Some(live);
                out.push(Output::Unsubscribe(replaying));
            }
            None => out.push(Output::Unsubscribe(live)),
        }
    }

    /// A subscription that is answered once has its answer.
    pub fn handle_answered_once(
        &mut self,
        id: &str,
        replaying: SubscriptionKey,
        out: &mut Vec<Output>,
    ) {
        if self.subscriptions.get(id).is_some_and(|it| it.key == Some(replaying)) {
            self.subscriptions.remove(id);
            out.push(Output::Unsubscribe(replaying));
        }
    }
}
