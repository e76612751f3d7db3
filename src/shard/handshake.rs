//! The HTTP part of a connection: its head, then an upgrade or one answer.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use crate::broker::session::Session;
use crate::metrics::Handshake;
use crate::metrics::Rejected;
use crate::metrics::health::Phase as LifePhase;
use crate::metrics::health::Probe;
use crate::proto::http;
use crate::proto::http::Request;
use crate::proto::http::forwarded::Forwarded;
use crate::proto::stomp;
use crate::proto::ws;
use crate::shard::connection::Closing;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Head;
use crate::shard::connection::Phase;
use crate::shard::connection::Stomp;
use crate::shard::state::Shard;
use crate::stdx::bytes::Shared;
use crate::stdx::rate::Pace;
use crate::stdx::time::Now;

/// What the head of a request came to.
pub(super) enum Outcome {
    /// More bytes are needed.
    Incomplete(Box<Head>),
    /// The connection speaks WebSocket now; these bytes came behind the head.
    Upgraded(Phase, Vec<u8>),
    /// The answer is queued.
    Answered(Phase),
}

/// One answer that is no upgrade.
struct Answer {
    status: u16,
    header: Option<(&'static str, &'static str)>,
    content_type: &'static str,
    body: String,
    result: Option<Handshake>,
    /// The request was a HEAD.
    is_head: bool,
}

const SUBPROTOCOLS: &[&str] = &["v10.stomp", "v11.stomp", "v12.stomp"];

impl Shard {
    /// Collects the head and answers it once it is whole.
    pub(super) fn ingest_head(
        &mut self,
        now: Now,
        id: ConnectionId,
        mut head: Box<Head>,
        bytes: &[u8],
    ) -> Outcome {
        let mut searched_bytes = head.bytes.len();
        // Bytes behind the largest head are no part of it: they are looked at after the upgrade.
        head.bytes.extend_from_slice(bytes);
        let was_begun = head.is_begun;
        match self.begin_head(id, &mut head) {
            Ok(true) => {}
            Ok(false) => return Outcome::Incomplete(head),
            Err(text) => {
                let answer = Answer::refusal(400, None, text, Handshake::BadRequest);
                self.handshakes_count -= 1;
                return Outcome::Answered(self.queue_answer(now, id, &answer));
            }
        }
        if was_begun != head.is_begun {
            // What was there is another text now.
            searched_bytes = 0;
        }
        let decode = || http::decode_from(&head.bytes, searched_bytes, &head.limits);
        let decided = match catch_unwind(AssertUnwindSafe(decode)) {
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(request))) => {
                let answered = self.answer_request(now, id, &request);
                let answered = answered.map(|it| (it, request.head_bytes()));
                Ok(Some(answered.map_err(|it| (it, request.method() == "HEAD"))))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let text = "a fault of this server; it is in its log".to_owned();
                Ok(Some(Err((Answer::refusal(500, None, text, Handshake::BadRequest), false))))
            }
        };
        let answer = match decided {
            Ok(None) => return Outcome::Incomplete(head),
            Ok(Some(decided)) => match decided {
                Ok(((phase, is_browser), head_bytes)) => {
                    let early = head.bytes.split_off(head_bytes);
                    let leaves_at = self.leaves_at(now.instant);
                    if let Some(connection) = self.connections.get_mut(id.0) {
                        connection.is_browser = is_browser;
                        self.counters
                            .handshake_time
                            .observe(now.instant.since(connection.opened_at));
                        connection.opened_at = now.instant;
                        connection.active_at = now.instant;
                        connection.leaves_at = leaves_at;
                    }
                    self.handshakes_count -= 1;
                    self.enter_active();
                    return Outcome::Upgraded(phase, early);
                }
                Err((answer, is_head)) => Answer { is_head, ..answer },
            },
            Err(error) => {
                let result = match error.status() {
                    414 | 431 => Handshake::HeaderTooLarge,
                    _ => Handshake::BadRequest,
                };
                Answer::refusal(error.status(), None, error.to_string(), result)
            }
        };
        self.handshakes_count -= 1;
        Outcome::Answered(self.queue_answer(now, id, &answer))
    }

    /// Answers a head that was not whole in time.
    pub(super) fn time_out_head(&mut self, now: Now, id: ConnectionId) -> Phase {
        self.handshakes_count -= 1;
        let text = format!(
            "the request head was not complete within {:?}",
            self.options.handshake_timeout
        );
        self.queue_answer(now, id, &Answer::refusal(408, None, text, Handshake::TimedOut))
    }

    fn queue_answer(&mut self, now: Now, id: ConnectionId, answer: &Answer) -> Phase {
        let bytes = self.encode_answer(answer);
        self.push_raw(now, id, Shared::new(bytes, &self.meter.clone()));
        Phase::Closing(Closing {
            deadline: now.instant.after(self.options.close_timeout),
            ws: None,
            is_write_ended: false,
            is_aborted: false,
            was_active: false,
        })
    }

    /// Counts an answer; its bytes.
    fn encode_answer(&self, answer: &Answer) -> Vec<u8> {
        if let Some(result) = answer.result {
            self.counters.handshakes.of(result).add(1);
        }
        let mut bytes = Vec::with_capacity(256 + answer.body.len());
        let mut headers =
            vec![("Content-Type", answer.content_type), ("Cache-Control", "no-store")];
        headers.extend(answer.header);
        http::encode_response(&mut bytes, answer.status, &headers, answer.body.as_bytes());
        if answer.is_head {
            // The headers of a GET, without its content (RFC 9110 §9.3.2).
            bytes.truncate(bytes.len() - answer.body.len());
        }
        bytes
    }

    /// Decides on a whole head: the phase after its upgrade and whether a browser asks, or an
    /// answer.
    fn answer_request(
        &mut self,
        now: Now,
        id: ConnectionId,
        request: &Request<'_>,
    ) -> Result<(Phase, bool), Answer> {
        let is_echo = match request.path() {
            "/ws" => false,
            "/echo" if self.options.has_echo => true,
            path => return Err(self.answer_path(id, request, path)),
        };
        let upgrade = http::upgrade(request).map_err(|error| {
            let result = match error.status() {
                405 => Handshake::MethodNotAllowed,
                426 => Handshake::UpgradeRequired,
                _ => Handshake::BadRequest,
            };
            Answer::refusal(error.status(), error.extra_header(), error.to_string(), result)
        })?;
        let peer = self.connections.get(id.0).map(|it| it.peer.ip());
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let trusted = &self.options.admission.trusted_proxies;
        let scheme = if self.options.has_tls { "https" } else { "http" };
        let seen = http::forwarded::of(request, peer, scheme, trusted);
        let origin = request.header("origin");
        if let Some(origin) = origin.filter(|origin| !self.is_allowed(origin, &seen)) {
            self.counters.rejected.of(Rejected::Origin).add(1);
            let text = format!("origin {origin} is not allowed; see auth.origins");
            return Err(Answer::refusal(403, None, text, Handshake::Forbidden));
        }
        self.check_room(now, seen.address)?;
        let subprotocol = if is_echo { None } else { upgrade.select_subprotocol(SUBPROTOCOLS) };
        let mut bytes = Vec::with_capacity(192);
        http::encode_switching_protocols(&mut bytes, &upgrade.accept, subprotocol);
        self.push_raw(now, id, Shared::new(bytes, &self.meter.clone()));
        self.note_address(id, seen.address);
        self.counters.handshakes.of(Handshake::Accepted).add(1);
        let decoder = ws::Decoder::new(self.options.ws);
        let phase = if is_echo {
            Phase::Echo(Box::new(decoder))
        } else {
            let session_id = format!("{:016x}", self.random.next());
            let auth = self.options.auth.as_ref();
            let token = auth.and_then(|it| http::credentials::token(request, &it.sources));
            Phase::Stomp(Box::new(Stomp {
                ws: decoder,
                decoder: stomp::Decoder::new(self.options.stomp),
                session: Session::new(session_id, token.map(Box::from)),
                pace: Pace::default(),
                parked: None,
            }))
        };
        Ok((phase, origin.is_some()))
    }

    fn check_room(&mut self, now: Now, address: IpAddr) -> Result<(), Answer> {
        let retry = Some(("Retry-After", "5"));
        if self.is_draining || self.identity.health.phase() == LifePhase::Draining {
            self.counters.rejected.of(Rejected::Draining).add(1);
            let text = "the server is going away; connect again".to_owned();
            return Err(Answer::refusal(503, retry, text, Handshake::Draining));
        }
        if self.options.connections_max <= self.active_everywhere() {
            self.counters.rejected.of(Rejected::Connections).add(1);
            let text = format!(
                "the server holds {} connections, limits.connections allows no more",
                self.options.connections_max
            );
            return Err(Answer::refusal(503, retry, text, Handshake::Full));
        }
        if self.is_nearly_full() && self.is_suspect(address) {
            return Err(self.refuse_last_places());
        }
        if !self.takes_handshake(now) {
            self.counters.rejected.of(Rejected::HandshakeRate).add(1);
            let text = "too many connections begin here at once; try again".to_owned();
            return Err(Answer::refusal(503, Some(("Retry-After", "1")), text, Handshake::Full));
        }
        Ok(())
    }

    /// What a newcomer is told who is turned away unread.
    pub(super) fn say_no_place(&self) -> Vec<u8> {
        self.encode_answer(&self.refuse_last_places())
    }

    /// What a suspect is told where there is hardly room.
    fn refuse_last_places(&self) -> Answer {
        self.counters.rejected.of(Rejected::Connections).add(1);
        let text = "the last places are for addresses whose tokens were not refused; try later";
        Answer::refusal(503, Some(("Retry-After", "5")), text.to_owned(), Handshake::Full)
    }

    fn is_allowed(&self, origin: &str, seen: &Forwarded<'_>) -> bool {
        if self.options.origins.is_empty() {
            return http::origin::same_origin(origin, seen.scheme, seen.host);
        }
        self.options.origins.allows(origin)
    }

    fn answer_path(&self, id: ConnectionId, request: &Request<'_>, path: &str) -> Answer {
        let Some(probe) = Probe::of_path(path) else {
            let text = format!("nothing at {path}; WebSocket clients connect to /ws");
            return Answer::refusal(404, None, text, Handshake::NotFound);
        };
        if !matches!(request.method(), "GET" | "HEAD") {
            let allow = Some(("Allow", "GET, HEAD"));
            let text = "health is read with GET".to_owned();
            return Answer::refusal(405, allow, text, Handshake::MethodNotAllowed);
        }
        let peer = self.connections.get(id.0).map(|it| it.peer.ip());
        let is_detailed = peer
            .is_some_and(|it| it.to_canonical().is_loopback() || self.options.admission.trusts(it));
        let (status, body) = self.identity.health.answer(probe, is_detailed);
        let content_type = "application/json";
        Answer { status, header: None, content_type, body, result: None, is_head: false }
    }
}

impl Answer {
    fn refusal(
        status: u16,
        header: Option<(&'static str, &'static str)>,
        text: String,
        result: Handshake,
    ) -> Self {
        let body = text + "\n";
        let content_type = "text/plain;charset=UTF-8";
        Self { status, header, content_type, body, result: Some(result), is_head: false }
    }
}
