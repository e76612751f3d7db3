//! What kind of run a seed is: how many shards, how tight the limits, how rough the weather.

use std::time::Duration;

use ringway::broker::router::RouteOptions;
use ringway::broker::router::RouteTo;
use ringway::broker::router::Router;
use ringway::broker::session;
use ringway::policy::rules::Rules;
use ringway::proto::http;
use ringway::proto::http::origin::OriginPatterns;
use ringway::proto::stomp;
use ringway::proto::ws;
use ringway::shard::Admission;
use ringway::shard::DrainOptions;
use ringway::shard::Options;

use crate::dice::Dice;

pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
pub(crate) const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(12);
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(40);
pub(crate) const PONG_TIMEOUT: Duration = Duration::from_secs(15);
pub(crate) const OUTBOX_TIMEOUT: Duration = Duration::from_secs(8);
pub(crate) const HEART_BEAT_MIN: Duration = Duration::from_secs(1);
pub(crate) const HEART_BEAT_MAX: Duration = Duration::from_secs(25);
/// A WebSocket message or STOMP frame above this is too big.
pub(crate) const MESSAGE_BYTES_MAX: usize = 48 * 1024;
pub(crate) const TRANSACTIONS_MAX: usize = 2;
pub(crate) const TRANSACTION_MESSAGES_MAX: usize = 6;

/// The nature of one run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) shards_count: usize,
    pub(crate) turns_count: usize,
    pub(crate) clients_max: usize,
    pub(crate) mailbox_max: usize,
    pub(crate) outbox_bytes_max: usize,
    pub(crate) outbox_total_bytes_max: usize,
    pub(crate) handshakes_max: usize,
    pub(crate) connections_max: usize,
    pub(crate) subscriptions_max: usize,
    pub(crate) receipts_pending_max: usize,
    pub(crate) refusals_max: u32,
    pub(crate) refusal_closes: bool,
    /// Most bytes of a body; an empty outbox has room for one of them.
    pub(crate) body_bytes_max: usize,
    /// Most bytes that the kernel keeps for one peer.
    pub(crate) pipe_bytes_max: usize,
    /// In a thousand turns: how many have it.
    pub(crate) resets: usize,
    pub(crate) stalls: usize,
    pub(crate) jumps: usize,
    /// In a thousand acts of a client: how many are hostile.
    pub(crate) hostile: usize,
    /// In a hundred: how likely a shard flushes, and carries its mail, in one turn.
    pub(crate) flushes: usize,
    pub(crate) carries: usize,
    /// Longest time between turns.
    pub(crate) pace: Duration,
}

impl Plan {
    pub(crate) fn roll(dice: &mut Dice) -> Self {
        let shards_count = *dice.pick(&[2, 2, 2, 2, 2, 2, 2, 1, 3, 3]);
        let outbox_bytes_max = *dice.pick(&[3_000, 6_000, 20_000, 60_000, 500_000]);
        let is_calm = dice.percent(25);
        let rough = |dice: &mut Dice, most: usize| if is_calm { 0 } else { dice.below(most + 1) };
        Self {
            shards_count,
            turns_count: dice.between(60, 260),
            clients_max: dice.between(3, 9),
            mailbox_max: *dice.pick(&[1, 2, 3, 8, 64]),
            outbox_bytes_max,
            outbox_total_bytes_max: *dice.pick(&[30_000, 2_000_000, 2_000_000, 2_000_000]),
            handshakes_max: *dice.pick(&[2, 64, 64]),
            connections_max: *dice.pick(&[4, 1000, 1000, 1000]),
            subscriptions_max: *dice.pick(&[3, 100]),
            receipts_pending_max: *dice.pick(&[3, 1000, 1000, 1000, 1000]),
            refusals_max: *dice.pick(&[3, 100, 100]),
            refusal_closes: dice.percent(6),
            body_bytes_max: (outbox_bytes_max / 3).min(30_000),
            pipe_bytes_max: *dice.pick(&[200, 2_000, 20_000, 200_000]),
            resets: rough(dice, 14),
            stalls: rough(dice, 40),
            jumps: if dice.percent(60) { 0 } else { dice.below(15) },
            hostile: rough(dice, 12),
            flushes: dice.between(20, 100),
            carries: dice.between(10, 100),
            pace: Duration::from_millis(*dice.pick(&[1, 10, 100, 400])),
        }
    }

    /// What the shards are told.
    pub(crate) fn options(&self) -> Options {
        let row = |pattern: &str, to: &str| RouteOptions {
            pattern: pattern.into(),
            to: RouteTo::Destination(to.into()),
            history: false,
        };
        let routes = [
            row("/app/room.{room}", "/topic/room.{room}"),
            row("/app/private.{user}", "/user/{user}/queue/private"),
        ];
        let message_bytes_max = MESSAGE_BYTES_MAX as u64;
        Options {
            session: session::Options {
                heart_beat_min: HEART_BEAT_MIN,
                heart_beat_max: HEART_BEAT_MAX,
                refusal_closes: self.refusal_closes,
                subscriptions_max: self.subscriptions_max,
                transactions_max: TRANSACTIONS_MAX,
                transaction_messages_max: TRANSACTION_MESSAGES_MAX,
                transaction_bytes_max: 1 << 20,
                receipts_pending_max: self.receipts_pending_max,
                refusals_max: self.refusals_max,
                server: "ringway/sim".to_owned(),
                auth: None,
            },
            stomp: stomp::Limits {
                frame_bytes_max: MESSAGE_BYTES_MAX,
                headers_count_max: 64,
                header_bytes_max: 8 << 10,
            },
            ws: ws::Limits { frame_bytes_max: message_bytes_max, message_bytes_max },
            http: http::Limits { head_bytes_max: 8 << 10, headers_count_max: 64 },
            router: Router::new(&routes, 512).expect("the routes are sound"),
            rules: Rules::default_for(false),
            admission: Admission::default(),
            auth: None,
            origins: OriginPatterns::default(),
            has_tls: false,
            has_echo: true,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            first_frame_timeout: FIRST_FRAME_TIMEOUT,
            close_timeout: CLOSE_TIMEOUT,
            ping_interval: PING_INTERVAL,
            pong_timeout: PONG_TIMEOUT,
            connections_max: self.connections_max,
            handshakes_max: self.handshakes_max,
            outbox_bytes_max: self.outbox_bytes_max,
            outbox_timeout: OUTBOX_TIMEOUT,
            outbox_total_bytes_max: self.outbox_total_bytes_max,
            drain: DrainOptions {
                window: Duration::from_secs(75),
                deadline: Duration::from_secs(110),
                connection_age_max: Duration::ZERO,
            },
            mailbox_max: self.mailbox_max,
            redis: None,
            history: None,
        }
    }
}
