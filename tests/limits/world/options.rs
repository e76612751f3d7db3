//! What a shard of these tests is told, where a test does not say otherwise.

use std::time::Duration;

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

/// Connections that shake hands at the same time.
pub(crate) const HANDSHAKES_MAX: usize = 4096;

/// The defaults of the settings, where a test does not say otherwise.
pub(super) fn defaults() -> Options {
    Options {
        session: session::Options {
            heart_beat_min: Duration::from_secs(1),
            heart_beat_max: Duration::from_secs(25),
            refusal_closes: false,
            subscriptions_max: 1000,
            transactions_max: 16,
            transaction_messages_max: 100,
            transaction_bytes_max: 1 << 20,
            receipts_pending_max: 1000,
            refusals_max: 100,
            server: "ringway/test".to_owned(),
            auth: None,
        },
        stomp: stomp::Limits {
            frame_bytes_max: 64 << 10,
            headers_count_max: 64,
            header_bytes_max: 8 << 10,
        },
        ws: ws::Limits { frame_bytes_max: 64 << 10, message_bytes_max: 64 << 10 },
        http: http::Limits { head_bytes_max: 8 << 10, headers_count_max: 64 },
        router: Router::new(&[], 512).expect("no route, no error"),
        rules: Rules::default_for(false),
        admission: Admission::default(),
        auth: None,
        origins: OriginPatterns::parse(["*"]).expect("all origins"),
        has_tls: false,
        has_echo: false,
        handshake_timeout: Duration::from_secs(10),
        first_frame_timeout: Duration::from_secs(60),
        close_timeout: Duration::from_secs(5),
        ping_interval: Duration::from_secs(60),
        pong_timeout: Duration::from_secs(30),
        connections_max: 20_000,
        handshakes_max: HANDSHAKES_MAX,
        outbox_bytes_max: 512 << 10,
        outbox_timeout: Duration::from_secs(10),
        outbox_total_bytes_max: 256 << 20,
        drain: DrainOptions {
            window: Duration::from_secs(75),
            deadline: Duration::from_secs(110),
            connection_age_max: Duration::ZERO,
        },
        mailbox_max: 1024,
        redis: None,
        history: None,
    }
}
