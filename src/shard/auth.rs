//! Tokens on a shard: its verifier, what replaces its keys, and the log of who was turned away.

use std::sync::Arc;

use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::session::Session;
use crate::metrics;
use crate::policy::auth::KeySet;
use crate::policy::auth::Options;
use crate::policy::auth::Reject;
use crate::policy::auth::Revocation;
use crate::policy::auth::Verifier;
use crate::policy::auth::Whom;
use crate::proto::http::credentials::Sources;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Phase;
use crate::shard::state::Shard;
use crate::stdx::slab::Key;
use crate::stdx::time::Now;

/// What a shard is told where tokens are needed.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// How tokens are judged.
    pub verifier: Options,
    /// With which keys, until others come.
    pub keys: Arc<KeySet>,
    /// Where the request of an upgrade may carry one.
    pub sources: Sources,
}

/// What comes to a shard from outside of it.
#[derive(Clone, Debug)]
pub enum Notice {
    /// These keys replace those in force.
    Keys(Arc<KeySet>),
    /// This is revoked.
    Revoked(Revocation),
}

impl Shard {
    /// Takes what came from outside.
    pub fn handle_notice(&mut self, now: Now, notice: &Notice) {
        let Some(verifier) = &mut self.verifier else {
            return;
        };
        let is_news = match notice {
            Notice::Keys(keys) => verifier.set_keys(Arc::clone(keys)),
            Notice::Revoked(revocation) => verifier.revoke(now.unix_ms, revocation),
        };
        if is_news {
            self.end_fallen(now);
            self.settle(now);
        }
    }

    /// Revokes what a word to the whole fleet names; the caller settles.
    pub(super) fn revoke(&mut self, now: Now, whom: Whom, until_ms: Option<u64>) {
        let revocation = Revocation { whom, until_ms: until_ms.unwrap_or(u64::MAX) };
        let verifier = self.verifier.as_mut();
        if verifier.is_some_and(|it| it.revoke(now.unix_ms, &revocation)) {
            self.end_fallen(now);
        }
    }

    /// Whether a token named a key that is not here, since this was last asked.
    pub fn take_lack_of_key(&mut self) -> bool {
        self.verifier.as_mut().is_some_and(Verifier::take_lack_of_key)
    }

    /// Ends the sessions whose tokens have fallen, also of those who say nothing.
    fn end_fallen(&mut self, now: Now) {
        let keys: Vec<Key> = self.connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            let (Some(verifier), Some(connection)) =
                (&self.verifier, self.connections.get_mut(key))
            else {
                continue;
            };
            let fallen = match &mut connection.phase {
                Phase::Stomp(stomp) => stomp.session.fallen_by(verifier, now),
                Phase::Head(_) | Phase::Echo(_) | Phase::Closing(_) | Phase::Taken => None,
            };
            if let Some(reject) = fallen {
                let end = |session: &mut Session, out: &mut Vec<_>| {
                    session.handle_fallen(reject, out);
                };
                self.with_session(now, ConnectionId(key), end);
            }
        }
    }

    /// Counts and logs a token that was turned away: the reason, from where, whose it was if that
    /// is known; never the token.
    pub(super) fn count_rejected(
        &mut self,
        now: Now,
        id: ConnectionId,
        session: &Session,
        reject: Reject,
    ) {
        self.counters.auth.rejected.of(label_of(reject)).add(1);
        self.count_verifier();
        if let Some(suppressed) = self.audit_limit.admit(now.instant) {
            let peer = self.connections.get(id.0).map(|it| it.peer);
            tracing::warn!(
                target: "ringway::audit",
                event = "token-rejected",
                reason = reject.as_str(),
                ?peer,
                session = session.id(),
                user = session.claims().map(|it| &*it.user),
                suppressed,
                "a token was rejected: {reject}"
            );
        }
    }

    /// Logs a frame that was refused; who asked for what it has no right to, or for too much, is a
    /// matter of the audit.
    pub(super) fn log_refused(
        &mut self,
        now: Now,
        id: ConnectionId,
        session: &Session,
        refusal: &Refusal,
    ) {
        let is_audited = matches!(refusal.code, Code::Forbidden | Code::Limit | Code::Rate);
        let limit = if is_audited { &mut self.audit_limit } else { &mut self.log_limit };
        let Some(suppressed) = limit.admit(now.instant) else { return };
        let peer = self.connections.get(id.0).map(|it| it.peer);
        let (session_id, user) = (session.id(), session.claims().map(|it| &*it.user));
        if is_audited {
            tracing::warn!(
                target: "ringway::audit",
                event = "refused",
                reason = refusal.code.as_str(),
                ?peer,
                session = session_id,
                user,
                suppressed,
                "refused: {refusal}"
            );
        } else {
            tracing::info!(?peer, session = session_id, user, suppressed, "refused: {refusal}");
        }
    }

    /// Takes over what the verifier has counted.
    pub(super) fn count_verifier(&self) {
        if let Some(verifier) = &self.verifier {
            let counts = verifier.counts();
            self.counters.auth.signatures.raise_to(counts.signatures);
            self.counters.auth.known.raise_to(counts.known_good + counts.known_bad);
        }
    }
}

fn label_of(reject: Reject) -> metrics::TokenRejected {
    use metrics::TokenRejected as Label;
    match reject {
        Reject::Missing => Label::Missing,
        Reject::TooLarge => Label::TooLarge,
        Reject::Malformed => Label::Malformed,
        Reject::Unsigned => Label::Unsigned,
        Reject::Algorithm => Label::Algorithm,
        Reject::UnknownKey => Label::UnknownKey,
        Reject::Signature => Label::Signature,
        Reject::Expired => Label::Expired,
        Reject::NotYetValid => Label::NotYetValid,
        Reject::Issuer => Label::Issuer,
        Reject::Audience => Label::Audience,
        Reject::Claim => Label::Claim,
        Reject::User => Label::User,
        Reject::Revoked => Label::Revoked,
        Reject::OtherUser => Label::OtherUser,
    }
}
