//! From received bytes to frames, and from each frame to what the session makes of it.

use std::mem;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use crate::broker::close::CloseReason;
use crate::broker::session::Context;
use crate::broker::session::Session;
use crate::proto::stomp;
use crate::proto::ws;
use crate::shard::connection::Closing;
use crate::shard::connection::ConnectionId;
use crate::shard::connection::Phase;
use crate::shard::connection::Stomp;
use crate::shard::handshake::Outcome;
use crate::shard::state::Shard;
use crate::stdx::bytes::Shared;
use crate::stdx::rate::Pace;
use crate::stdx::time::Now;

/// What understands the messages of a connection.
pub(super) type Speaker<'s> = (&'s mut stomp::Decoder, &'s mut Session, &'s mut Pace);

/// What the STOMP frames of one message came to.
enum Step {
    /// Nothing more in this message.
    Done,
    /// Outputs wait, or a heart-beat came.
    Again,
}

impl Shard {
    /// Takes bytes of a connection; they are worked on in place and not kept.
    pub fn handle_bytes(&mut self, now: Now, id: ConnectionId, bytes: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(id.0) else {
            return;
        };
        connection.received_at = now.instant;
        connection.pinged_at = None;
        self.counters.bytes_received.add(bytes.len() as u64);
        self.ahead = self.pace_bytes(now, id, bytes.len());
        self.ingest(now, id, bytes);
        let over = mem::take(&mut self.ahead).over;
        self.throttle(now, id, over);
        self.settle(now);
        self.rearm(id);
    }

    pub(super) fn ingest(&mut self, now: Now, id: ConnectionId, bytes: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(id.0) else {
            return;
        };
        let mut input = bytes;
        let (phase, close) = match mem::replace(&mut connection.phase, Phase::Taken) {
            Phase::Head(head) => match self.ingest_head(now, id, head, &*mem::take(&mut input)) {
                Outcome::Incomplete(head) => (Phase::Head(head), None),
                Outcome::Answered(phase) => (phase, None),
                Outcome::Upgraded(phase, mut early) => {
                    self.put_back(id, phase);
                    if !early.is_empty() {
                        self.ingest(now, id, &mut early);
                    }
                    return;
                }
            },
            Phase::Stomp(mut stomp) => {
                let close = self.ingest_stomp(now, id, &mut stomp, &mut input).err();
                (Phase::Stomp(stomp), close)
            }
            Phase::Echo(mut decoder) => {
                let close = self.ingest_echo(now, id, &mut decoder, &mut input).err();
                (Phase::Echo(decoder), close)
            }
            Phase::Closing(closing) => {
                (self.ingest_closing(id, closing, mem::take(&mut input)), None)
            }
            Phase::Taken => unreachable!("bytes are worked on one after the other"),
        };
        self.put_back(id, phase);
        if let Some(reason) = close {
            self.close(now, id, reason);
            // The peer's own close frame may stand right behind what made us close.
            self.ingest(now, id, input);
        }
    }

    pub(super) fn put_back(&mut self, id: ConnectionId, phase: Phase) {
        if let Some(connection) = self.connections.get_mut(id.0) {
            connection.phase = phase;
        }
    }

    fn ingest_stomp(
        &mut self,
        now: Now,
        id: ConnectionId,
        stomp: &mut Stomp,
        input: &mut &mut [u8],
    ) -> Result<(), CloseReason> {
        if stomp.parked.is_some() {
            return self.park_more(now, id, stomp, &*mem::take(input));
        }
        loop {
            let is_parking = self.is_parking(stomp);
            let event = guarded_decode(&mut stomp.ws, input)?;
            let payload = match event {
                None => return Ok(()),
                Some(ws::Event::Text(payload) | ws::Event::Binary(payload)) if is_parking => {
                    stomp.parked = Some(self.park(id, payload, &*mem::take(input)));
                    return Ok(());
                }
                Some(ws::Event::Text(payload) | ws::Event::Binary(payload)) => payload,
                Some(ws::Event::Ping(payload)) => {
                    self.push_control(now, id, ws::Opcode::Pong, payload);
                    continue;
                }
                Some(ws::Event::Pong(_)) => continue,
                Some(ws::Event::Close { code, .. }) => return Err(CloseReason::PeerClosed(code)),
            };
            self.ahead.behind_bytes = input.len();
            let Stomp { decoder, session, pace, .. } = stomp;
            if let Some(again) = self.ingest_message(now, id, (decoder, session, pace), payload)? {
                stomp.session.take_lack_of_key();
                stomp.parked = Some(self.park_again(now, id, again, &*mem::take(input)));
                return Ok(());
            }
        }
    }

    /// Takes one whole message. Gives what of it an open session is to hear again, once there are
    /// other keys; a CONNECT is for the caller to keep.
    pub(super) fn ingest_message(
        &mut self,
        now: Now,
        id: ConnectionId,
        (decoder, session, pace): Speaker<'_>,
        mut payload: &mut [u8],
    ) -> Result<Option<Vec<u8>>, CloseReason> {
        let mut again = None;
        loop {
            let mut has_spoken = false;
            let user = self.connections.get(id.0).and_then(|it| it.user_pace.clone());
            let options = &*self.options;
            let mut context = Context {
                now,
                options: &options.session,
                router: &options.router,
                rules: &options.rules,
                verifier: self.verifier.as_mut(),
                learns_keys: options.auth.as_ref().is_some_and(|it| it.learns_keys),
                awaits_keys: self.waiting.awaits_keys(),
                node: &self.node,
                messages_count: &mut self.messages_count,
            };
            let outputs = &mut self.outputs;
            let ahead = self.ahead.before(payload.len());
            let mut over = Duration::ZERO;
            let (admission, counters) = (&options.admission, &self.counters);
            let step =
                panic::catch_unwind(AssertUnwindSafe(|| match decoder.decode(&mut payload) {
                    Ok(None) => Step::Done,
                    Ok(Some(stomp::Event::HeartBeat)) => Step::Again,
                    Ok(Some(stomp::Event::Frame(frame))) => {
                        counters.messages_received.add(1);
                        has_spoken = true;
                        let frames = admission.pace_frame(now.instant, pace, user.as_deref());
                        over = frames.over;
                        if let Some(refusal) = frames.max(ahead).refusal()
                            && !session.is_fresh()
                        {
                            session.handle_refusal(&frame, refusal, &mut context, outputs);
                        } else {
                            let was_open = !session.is_fresh();
                            session.handle_frame(&frame, &mut context, outputs);
                            again = (was_open && session.lacks_key())
                                .then(|| said_again(&frame, session.version()));
                        }
                        Step::Again
                    }
                    Err(error) => {
                        let receipt = decoder.take_receipt();
                        session.handle_broken(error, receipt.as_deref(), outputs);
                        Step::Done
                    }
                }));
            let Ok(step) = step else {
                self.outputs.clear();
                return Err(CloseReason::Internal);
            };
            if has_spoken && let Some(connection) = self.connections.get_mut(id.0) {
                connection.active_at = now.instant;
            }
            decoder.set_version(session.version());
            self.throttle(now, id, over);
            if !self.outputs.is_empty() {
                self.apply(now, id, session)?;
            }
            if let Some(again) = &mut again {
                again.extend_from_slice(payload);
            }
            if matches!(step, Step::Done) || session.lacks_key() {
                return Ok(again);
            }
        }
    }

    fn ingest_echo(
        &mut self,
        now: Now,
        id: ConnectionId,
        decoder: &mut ws::Decoder,
        input: &mut &mut [u8],
    ) -> Result<(), CloseReason> {
        loop {
            let event = guarded_decode(decoder, input)?;
            let (opcode, payload): (_, &[u8]) = match event {
                None => return Ok(()),
                Some(ws::Event::Text(payload)) => (ws::Opcode::Text, payload),
                Some(ws::Event::Binary(payload)) => (ws::Opcode::Binary, payload),
                Some(ws::Event::Ping(payload)) => {
                    self.push_control(now, id, ws::Opcode::Pong, payload);
                    continue;
                }
                Some(ws::Event::Pong(_)) => continue,
                Some(ws::Event::Close { code, .. }) => return Err(CloseReason::PeerClosed(code)),
            };
            let header = ws::header(opcode, payload.len());
            let mut frame = Vec::with_capacity(header.len() + payload.len());
            frame.extend_from_slice(&header);
            frame.extend_from_slice(payload);
            self.counters.messages_received.add(1);
            self.counters.messages_sent.add(1);
            let frame = Shared::new(frame, &self.meter.clone());
            self.push_bounded(now, id, frame)?;
        }
    }

    /// Looks for the peer's close frame, and lets everything else go.
    fn ingest_closing(
        &mut self,
        id: ConnectionId,
        mut closing: Closing,
        bytes: &mut [u8],
    ) -> Phase {
        let mut input = bytes;
        while let Some(messages) = &mut closing.ws {
            match messages.decode(&mut input) {
                Ok(Some(ws::Event::Close { .. })) | Err(_) => {
                    closing.ws = None;
                    self.end_write_if_flushed(id, &mut closing);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
            }
        }
        Phase::Closing(closing)
    }
}

/// The bytes of a frame.
fn said_again(frame: &stomp::Frame<'_>, version: stomp::Version) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame.body.len() + 1024);
    stomp::push_client_frame(&mut bytes, version, frame);
    bytes
}

/// Decodes one event; a fault of ours in it costs this connection and no other.
fn guarded_decode<'e, 'i: 'e>(
    decoder: &'e mut ws::Decoder,
    input: &mut &'i mut [u8],
) -> Result<Option<ws::Event<'e>>, CloseReason> {
    let mut both = Some((decoder, input));
    let decode = || both.take().map_or(Ok(None), |(decoder, input)| decoder.decode(input));
    panic::catch_unwind(AssertUnwindSafe(decode))
        .map_err(|_| CloseReason::Internal)?
        .map_err(CloseReason::Frame)
}
