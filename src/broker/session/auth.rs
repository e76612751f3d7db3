//! Tokens in a session: that of CONNECT, those of later frames, their renewal and their end.
//!
//! A frame without a token of its own costs two comparisons of integers; one with a token that was
//! seen before, a hash; only a new token costs a signature, which the verifier counts.

use std::time::Duration;

use crate::broker::close::CloseReason;
use crate::broker::identity;
use crate::broker::refusal::Code;
use crate::broker::refusal::Refusal;
use crate::broker::router;
use crate::broker::session::Context;
use crate::broker::session::Fault;
use crate::broker::session::Output;
use crate::broker::session::Session;
use crate::broker::session::State;
use crate::policy::auth::Claims;
use crate::policy::auth::Reject;
use crate::policy::auth::Standing;
use crate::policy::auth::Verifier;
use crate::policy::pattern::Pattern;
use crate::policy::rules::Action;
use crate::proto::stomp;
use crate::stdx::time::Instant;
use crate::stdx::time::Now;

/// How soon a client should come again whose token can never be accepted.
const RETRY_AFTER_MS: &str = "30000";

/// Where a session takes tokens from, and when it warns.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// The `Authorization: Bearer` header of CONNECT.
    pub takes_authorization: bool,
    /// The `token` header of CONNECT.
    pub takes_token: bool,
    /// The `passcode` of CONNECT.
    pub takes_passcode: bool,
    /// How long before its end a session is warned; half of a life that is shorter than twice it.
    pub notice: Duration,
}

/// The token that a session lives by.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) standing: Standing,
    warn_at: Instant,
    expires_at: Instant,
    is_warned: bool,
}

impl Token {
    fn new(standing: Standing, notice: Duration, now: Now) -> Self {
        let left = left_of(&standing, now);
        let expires_at = now.instant.after(left);
        let warn_at = now.instant.after(left - notice.min(left / 2));
        Self { standing, warn_at, expires_at, is_warned: false }
    }

    pub(super) fn next_deadline(&self) -> Instant {
        if self.is_warned { self.expires_at } else { self.warn_at }
    }

    pub(super) fn is_warned(&self) -> bool {
        self.is_warned
    }

    fn expires_at_ms(&self) -> u64 {
        self.standing.claims().expires_at_ms
    }
}

/// How long a token is still good.
fn left_of(standing: &Standing, now: Now) -> Duration {
    Duration::from_millis(standing.claims().expires_at_ms.saturating_sub(now.unix_ms))
}

/// The token in the `Authorization` header, if it is a bearer's (RFC 6750 §2.1).
fn bearer_of<'f>(frame: &stomp::Frame<'f>) -> Option<&'f str> {
    // Once over the headers: this is asked for every frame.
    let is_it = |name: &str| name == "Authorization" || name == "authorization";
    let (_, value) = frame.headers.iter().find(|(name, _)| is_it(name))?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

impl Session {
    /// Believes the token of a CONNECT, or refuses the session: then `false`.
    pub(super) fn authenticate(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) -> bool {
        let brought = self.http_token.take();
        let may_wait = context.learns_keys && !std::mem::take(&mut self.has_waited);
        let awaits_keys = context.awaits_keys;
        let (Some(auth), Some(verifier)) = (&context.options.auth, &mut context.verifier) else {
            return true;
        };
        let header = |is_taken: bool, name: &str| frame.headers.get(name).filter(|_| is_taken);
        let token = bearer_of(frame)
            .filter(|_| auth.takes_authorization)
            .or_else(|| header(auth.takes_token, "token"))
            .or_else(|| header(auth.takes_passcode, "passcode"))
            .or(brought.as_deref());
        let keyless = verifier.counts().keyless;
        match verifier.verify(context.now.unix_ms, token.unwrap_or("")) {
            Ok(standing) => {
                let mut user = String::with_capacity(standing.claims().user.len());
                identity::push_encoded(&mut user, &standing.claims().user);
                self.user = user.into_boxed_str();
                self.is_named = true;
                self.token = Some(Box::new(Token::new(standing, auth.notice, context.now)));
                true
            }
            // One that was judged before has been asked for already, unless that is under way.
            Err(Reject::UnknownKey)
                if may_wait && (awaits_keys || verifier.counts().keyless != keyless) =>
            {
                self.lacks_key = true;
                self.has_waited = true;
                self.http_token = brought;
                false
            }
            Err(reject) => {
                self.refuse_token(
                    reject,
                    reject.is_stale(),
                    frame.headers.get_filled("receipt"),
                    out,
                );
                false
            }
        }
    }

    /// Whether it was let in with a token.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether a frame could not be judged for want of a key, and is to come again.
    #[must_use]
    pub fn lacks_key(&self) -> bool {
        self.lacks_key
    }

    /// The same, and that it will.
    pub fn take_lack_of_key(&mut self) -> bool {
        std::mem::take(&mut self.lacks_key)
    }

    /// Before each frame of an open session: whether it may go on. A token that the frame brings is
    /// believed in place of the old one when it ends later, or when that is what the frame is for.
    pub(super) fn check_token(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) -> bool {
        let (Some(token), Some(auth)) = (&mut self.token, &context.options.auth) else {
            return true;
        };
        let Some(verifier) = &mut context.verifier else { return true };
        let now_ms = context.now.unix_ms;
        let receipt = || frame.headers.get_filled("receipt");
        let brought = bearer_of(frame);
        let has_waited = brought.is_some() && std::mem::take(&mut self.has_waited);
        let standing = verifier.check(now_ms, &mut token.standing);
        // What a frame has waited for may have taken the place of the key that it has come by.
        if let Err(reject) = standing
            && !has_waited
        {
            self.refuse_token(reject, true, receipt(), out);
            return false;
        }
        let Some(brought) = brought else { return true };
        let is_renewal = frame.headers.get("destination") == Some(router::TOKEN);
        let keyless = verifier.counts().keyless;
        let judged = verifier.verify(now_ms, brought).and_then(|standing| {
            let is_same = standing.claims().user == token.standing.claims().user;
            if is_same { Ok(standing) } else { Err(Reject::OtherUser) }
        });
        let is_asked_for = context.awaits_keys || verifier.counts().keyless != keyless;
        match judged {
            Ok(fresh) => {
                let is_longer = token.expires_at_ms() < fresh.claims().expires_at_ms;
                if is_renewal || is_longer || standing.is_err() {
                    **token = Token::new(fresh, auth.notice, context.now);
                }
                true
            }
            Err(Reject::UnknownKey) if context.learns_keys && !has_waited && is_asked_for => {
                self.lacks_key = true;
                self.has_waited = true;
                false
            }
            Err(reject) => {
                self.refuse_token(reject, is_renewal || reject.is_stale(), receipt(), out);
                false
            }
        }
    }

    /// The SEND that only brings a token, which [`Session::check_token`] has believed already.
    pub(super) fn renew(&mut self, frame: &stomp::Frame<'_>, out: &mut Vec<Output>) {
        if bearer_of(frame).is_some() {
            self.receipt_now(frame, out);
        } else {
            self.refuse_token(Reject::Missing, true, frame.headers.get_filled("receipt"), out);
        }
    }

    /// The one ERROR of a token that is not or no longer believed, then the close.
    fn refuse_token(
        &mut self,
        reject: Reject,
        is_stale: bool,
        receipt: Option<&str>,
        out: &mut Vec<Output>,
    ) {
        let message = reject.to_string();
        let mut headers = vec![("message", &*message), ("code", reject.as_str())];
        headers.extend(receipt.map(|it| ("receipt-id", it)));
        if !is_stale {
            headers.push(("retry-after-ms", RETRY_AFTER_MS));
        }
        let mut bytes = Vec::new();
        stomp::push_frame(&mut bytes, self.version, "ERROR", &headers, b"");
        self.state = State::Ended;
        out.push(Output::Reply(bytes));
        out.push(Output::Rejected(reject));
        let reason = if is_stale { CloseReason::TokenStale } else { CloseReason::TokenRefused };
        out.push(Output::Close(reason));
    }

    /// Whether the session's token has fallen since keys were replaced or something was revoked.
    pub fn fallen_by(&mut self, verifier: &Verifier, now: Now) -> Option<Reject> {
        let token = self.token.as_mut().filter(|_| self.state == State::Open)?;
        verifier.check(now.unix_ms, &mut token.standing).err()
    }

    /// Ends a session whose token has fallen.
    pub fn handle_fallen(&mut self, reject: Reject, out: &mut Vec<Output>) {
        self.refuse_token(reject, true, None, out);
    }

    /// Whether the session is open, and of this user; the id is as it stands in channels.
    #[must_use]
    pub fn is_of(&self, user: &str) -> bool {
        self.state == State::Open && *self.user == *user
    }

    /// Ends a session that an operator does not want.
    pub fn handle_expelled(&mut self, out: &mut Vec<Output>) {
        let reason = CloseReason::Expelled;
        let headers = [("message", reason.text()), ("retry-after-ms", RETRY_AFTER_MS)];
        let mut bytes = Vec::new();
        stomp::push_frame(&mut bytes, self.version, "ERROR", &headers, b"");
        self.state = State::Ended;
        out.push(Output::Reply(bytes));
        out.push(Output::Close(reason));
    }

    /// What is due for the token: the warning, or the end.
    pub(super) fn expire_token(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(token) = self.token.as_mut().filter(|_| self.state == State::Open) else {
            return;
        };
        if token.expires_at_ms() <= now.unix_ms {
            return self.refuse_token(Reject::Expired, true, None, out);
        }
        if token.expires_at <= now.instant {
            // The wall clock was set back.
            token.expires_at = now.instant.after(left_of(&token.standing, now));
        }
        if !token.is_warned && token.warn_at <= now.instant {
            token.is_warned = true;
            let mut ids: Vec<Box<str>> = (self.subscriptions.iter())
                .filter(|(_, entry)| entry.hears_session)
                .map(|(id, entry)| if entry.has_id { id.clone() } else { Box::default() })
                .collect();
            ids.sort_unstable();
            for id in ids {
                self.warn(&id, now, out);
            }
        }
    }

    /// Tells one subscription that the token ends soon, and what to do.
    pub(super) fn warn(&mut self, subscription: &str, now: Now, out: &mut Vec<Output>) {
        let Some(token) = &self.token else { return };
        let expires_at_ms = token.expires_at_ms();
        let body = format!(
            "{{\"event\":\"token-expires\",\"expiresAt\":{expires_at_ms},\
             \"expiresInMs\":{},\"renewAt\":\"{}\"}}",
            expires_at_ms.saturating_sub(now.unix_ms),
            router::TOKEN
        );
        self.notices_count += 1;
        let message_id = format!("{}-e{:x}", self.id, self.notices_count);
        let headers = [
            ("destination", router::SESSION),
            ("content-type", "application/json"),
            ("subscription", subscription),
            ("message-id", &message_id),
            ("event", "token-expires"),
        ];
        let mut bytes = Vec::new();
        stomp::push_frame(&mut bytes, self.version, "MESSAGE", &headers, body.as_bytes());
        out.push(Output::Reply(bytes));
    }

    /// What the session's token says.
    #[must_use]
    pub fn claims(&self) -> Option<&Claims> {
        self.token.as_ref().map(|it| it.standing.claims())
    }

    /// Whether the rules let the session subscribe or send there.
    pub(super) fn check_right(
        &self,
        action: Action,
        destination: &str,
        context: &Context<'_>,
    ) -> Result<(), Fault> {
        context.router.check(destination)?;
        // What is served nowhere, or is the session's own, is no matter of rights.
        let is_own = action == Action::Subscribe
            && [router::ERRORS, router::SESSION, router::SERVER_EVENTS].contains(&destination);
        if is_own || !router::is_served(destination) {
            return Ok(());
        }
        let claims = self.claims();
        let rules = context.rules;
        let allowed = if action == Action::Subscribe && Pattern::is_pattern(destination) {
            let Ok(pattern) = Pattern::parse(destination) else { return Ok(()) };
            rules.check_pattern(claims, &pattern)
        } else if let Some(canonical) = canonical_of(destination) {
            rules.check(action, claims, &canonical)
        } else {
            rules.check(action, claims, destination)
        };
        let verb = match action {
            Action::Subscribe => "subscribe to",
            Action::Send => "send to",
        };
        allowed.map_err(|denied| {
            let text = format!("you may not {verb} {destination}: {denied}");
            Refusal::new(Code::Forbidden, text).into()
        })
    }
}

/// A user's destination with the id as it is written everywhere, however the client wrote it.
fn canonical_of(destination: &str) -> Option<String> {
    let (user, queue) = destination.strip_prefix("/user/")?.split_once('/')?;
    if user == "queue" || !user.contains('%') {
        return None;
    }
    Some(format!("/user/{}/{queue}", identity::canonical(user)?))
}
