//! CONNECT: the version, who the client is, and the heart-beats.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::close::CloseReason;
use crate::broker::identity;
use crate::broker::session::Context;
use crate::broker::session::HeartBeats;
use crate::broker::session::Output;
use crate::broker::session::Session;
use crate::broker::session::State;
use crate::proto::stomp;
use crate::proto::stomp::Version;
use crate::stdx::rate::Bucket;

impl Session {
    pub(super) fn connect(
        &mut self,
        frame: &stomp::Frame<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<Output>,
    ) {
        let Some(version) = Version::negotiate(frame.headers.get("accept-version")) else {
            let mut bytes = Vec::new();
            let headers = [
                ("message", "no common version, this server speaks 1.0, 1.1 and 1.2"),
                ("version", "1.2,1.1,1.0"),
                ("content-type", "text/plain"),
            ];
            stomp::push_frame(&mut bytes, Version::V1_2, "ERROR", &headers, b"");
            self.state = State::Ended;
            out.push(Output::Reply(bytes));
            out.push(Output::Close(CloseReason::Protocol));
            return;
        };
        self.version = version;
        let wish = match frame.headers.get("heart-beat").map(stomp::HeartBeat::parse) {
            None => stomp::HeartBeat { send_ms: 0, receive_ms: 0 },
            Some(Ok(wish)) => wish,
            Some(Err(error)) => return self.break_off(frame, &error.to_string(), out),
        };
        if !self.authenticate(frame, context, out) {
            return;
        }
        let login = frame.headers.get("login").filter(|it| !it.is_empty());
        if let Some(login) = login.filter(|_| self.token.is_none()) {
            if identity::USER_BYTES_MAX < login.len() || login.contains(['\r', '\n', '\0']) {
                return self.break_off(frame, "the login is too long or holds a line end", out);
            }
            let mut user = String::with_capacity(login.len());
            identity::push_encoded(&mut user, login);
            self.user = user.into_boxed_str();
            self.is_named = true;
        }
        let options = context.options;
        let grant = |wish_ms: u64| match wish_ms {
            0 => Duration::ZERO,
            _ => {
                Duration::from_millis(wish_ms).clamp(options.heart_beat_min, options.heart_beat_max)
            }
        };
        // What the client can send is what we receive, and the other way round.
        let granted = HeartBeats { send: grant(wish.receive_ms), receive: grant(wish.send_ms) };
        self.heart_beats = HeartBeats {
            send: granted.send.max(Duration::from_millis(wish.receive_ms)),
            receive: granted.receive.max(Duration::from_millis(wish.send_ms)),
        };
        let heart_beat = format!("{},{}", granted.send.as_millis(), granted.receive.as_millis());
        let user = self.token.as_ref().map(|it| it.standing.claims().user.clone());
        let user = user.as_deref().or(login).unwrap_or("");
        let mut headers = vec![
            ("version", version.as_str()),
            ("heart-beat", &heart_beat),
            ("session", &self.id),
            ("server", &options.server),
        ];
        if self.is_named && identity::is_plain_value(user) {
            headers.push(("user-name", user));
        }
        let mut bytes = Vec::new();
        stomp::push_frame(&mut bytes, version, "CONNECTED", &headers, b"");
        self.state = State::Open;
        self.refusals = Some(Bucket::new(options.refusals_max, context.now.instant));
        out.push(Output::Reply(bytes));
        if self.is_named {
            out.push(Output::Entered(Arc::from(&*self.user)));
        }
    }
}
