//! Tokens on a shard: its verifier, what replaces its keys, and the log of who was turned away.

use std::sync::Arc;

use crate::broker::identity;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::seats::UserSeats;
use crate::broker::session::Session;
use crate::metrics;
use crate::policy::auth::KeySet;
use crate::policy::auth::Options;
use crate::policy::auth::Reject;
use crate::policy::auth::Revocation;
use crate::policy::auth::Verifier;
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
    /// Whether keys that are missing are fetched, so that it is worth to wait for them.
    pub learns_keys: bool,
    /// Where the request of an upgrade may carry one.
    pub sources: Sources,
}

/// What comes to a shard from outside of it.
#[derive(Clone, Debug)]
pub enum Notice {
    /// These keys replace those in force, or are still those: none that was missing has come.
    Keys(Arc<KeySet>),
    /// These are revoked.
    Revoked(Arc<[Revocation]>),
    /// The sessions of this user are to end; the id is as tokens have it.
    Disconnected(Arc<str>),
    /// These users have too many connections over all tasks: so many may stay here.
    Crowded(Arc<[UserSeats]>),
}

impl Shard {
    /// Takes what came from outside.
    pub fn handle_notice(&mut self, now: Now, notice: &Notice) {
        match notice {
            Notice::Keys(keys) => {
                let verifier = self.verifier.as_mut();
                if verifier.is_some_and(|it| it.set_keys(Arc::clone(keys))) {
                    self.end_fallen(now);
                }
                self.retry_keyless();
            }
            Notice::Revoked(revocations) => self.revoke(now, revocations),
            Notice::Disconnected(user) => self.disconnect(now, user),
            Notice::Crowded(users) => {
                users.iter().for_each(|(user, allowed)| self.seats.handle_allowed(user, *allowed));
            }
        }
        self.settle(now);
    }

    /// Revokes tokens, and ends the sessions that hold one; the caller settles.
    pub(super) fn revoke(&mut self, now: Now, revocations: &[Revocation]) {
        let Some(verifier) = &mut self.verifier else {
            return;
        };
        let mut news_count = 0_usize;
        for revocation in revocations {
            news_count += usize::from(verifier.revoke(now.unix_ms, revocation));
        }
        // The sessions are walked once, however many are revoked.
        if 0 < news_count {
            tracing::info!(shard = self.identity.id.0, news_count, "tokens were revoked");
            self.end_fallen(now);
        }
    }

    /// Ends the sessions of a user; the caller settles.
    pub(super) fn disconnect(&mut self, now: Now, user: &str) {
        let mut name = String::with_capacity(user.len());
        identity::push_encoded(&mut name, user);
        let is_theirs = |phase: &Phase| match phase {
            Phase::Stomp(stomp) => stomp.session.is_of(&name),
            Phase::Head(_) | Phase::Echo(_) | Phase::Closing(_) | Phase::Taken => false,
        };
        let theirs = self.connections.iter().filter(|(_, it)| is_theirs(&it.phase));
        let keys: Vec<Key> = theirs.map(|(key, _)| key).collect();
        if !keys.is_empty() {
            let (shard, count) = (self.identity.id.0, keys.len());
            tracing::info!(shard, count, user, "told to disconnect a user");
        }
        for key in keys {
            self.with_session(now, ConnectionId(key), Session::handle_expelled);
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
            // Whoever waits for a key has brought a token that may come in place of its own.
            let is_waiting = connection.parked().is_some();
            let fallen = match &mut connection.phase {
                Phase::Stomp(stomp) => stomp
                    .session
                    .fallen_by(verifier, now)
                    .filter(|it| !is_waiting || *it != Reject::UnknownKey),
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
            let span = self.span(id, Some(session));
            span.in_scope(|| tracing::info!(suppressed, "refused: {refusal}"));
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
