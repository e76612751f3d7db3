//! A whole shard: what a client sends to a room comes back to it, with everything that guards the
//! room on, and off.

#[path = "../../../tests/limits/world/options.rs"]
mod options;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use ringway::broker::relay::ShardId;
use ringway::broker::router::RouteOptions;
use ringway::broker::router::RouteTo;
use ringway::broker::router::Router;
use ringway::broker::seats;
use ringway::broker::session;
use ringway::io::clock::Clock;
use ringway::metrics::ShardCounters;
use ringway::metrics::health::Health;
use ringway::policy::auth;
use ringway::policy::auth::ClaimPath;
use ringway::policy::auth::KeySet;
use ringway::policy::auth::SigningKey;
use ringway::policy::rules::Rules;
use ringway::proto::http::credentials::Sources;
use ringway::shard::Admission;
use ringway::shard::AuthOptions;
use ringway::shard::ConnectionId;
use ringway::shard::Identity;
use ringway::shard::Options;
use ringway::shard::Shard;
use ringway::stdx::time::Instant;
use ringway::stdx::time::Now;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW_MS: u64 = 1_700_000_000_000;
const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// One SEND of 200 bytes and its MESSAGE; `is_guarded`: with a token, rights, rates and seats.
pub(super) fn echo(is_guarded: bool) -> Box<dyn FnMut()> {
    let (mut shard, id, send) = session(is_guarded, now());
    let mut input = send.clone();
    Box::new(move || {
        input.copy_from_slice(&send);
        shard.handle_bytes(now(), id, &mut input);
        assert!(200 < black_box(heard(&mut shard, id, now())), "it comes back");
        shard.handle_turn_end(now().instant);
    })
}

/// The same as the shard's runtime does it: with its readings of the clock, of which one is there
/// for the metrics only, and with a log of the default level.
pub(super) fn turn() -> Box<dyn FnMut()> {
    ringway::server::logs::init(&ringway::config::settings::Settings::default().log);
    let clock = Clock::start();
    let unix_start_ms = clock.unix_start_ms();
    let (mut shard, id, send) = session(false, clock.now(unix_start_ms));
    let mut input = send.clone();
    Box::new(move || {
        input.copy_from_slice(&send);
        let began = clock.now(unix_start_ms);
        shard.handle_bytes(began, id, &mut input);
        if shard.has_fanned_out() {
            shard.handle_fan_out_end(began.instant, clock.instant());
        }
        let now = clock.now(unix_start_ms);
        shard.handle_turn_end(now.instant);
        assert!(200 < black_box(heard(&mut shard, id, now)), "it comes back");
    })
}

/// A shard, a session in it that hears a room, and the bytes of what it says there.
fn session(is_guarded: bool, now: Now) -> (Shard, ConnectionId, Vec<u8>) {
    let mut shard = shard(is_guarded);
    let id = shard.handle_opened(now, ([192, 0, 2, 1], 4000).into()).expect("there is room");
    shard.handle_bytes(now, id, &mut UPGRADE.to_vec());
    assert!(0 < heard(&mut shard, id, now));
    let claims = serde_json::json!({"sub": "amy", "exp": NOW_MS / 1000 + 3600});
    let token = SigningKey::secret(SECRET).sign(&claims).expect("it signs");
    let connect = format!("CONNECT\naccept-version:1.2\nlogin:amy\ntoken:{token}\n\n\0");
    for text in [&*connect, "SUBSCRIBE\nid:0\ndestination:/topic/room.1\nreceipt:r\n\n\0"] {
        shard.handle_bytes(now, id, &mut message(text.as_bytes()));
        while shard.admit_next(now) {}
        assert!(0 < heard(&mut shard, id, now), "an answer");
    }
    let mut send = Vec::new();
    ringway_bench::stomp::encode_send("/app/room.1", None, &super::body(200), &mut send);
    (shard, id, message(&send))
}

fn now() -> Now {
    Now { instant: Instant::from_nanos(1).after(Duration::from_secs(9)), unix_ms: NOW_MS }
}

fn message(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let opcode = ringway_bench::ws::Opcode::Text;
    ringway_bench::ws::encode(opcode, payload, [1, 2, 3, 4], &mut frame);
    frame
}

/// Takes what the shard sends; how many bytes that is.
fn heard(shard: &mut Shard, id: ConnectionId, now: Now) -> usize {
    let mut bytes = 0;
    while let Some((to, batch)) = shard.poll_send() {
        assert!(to == id);
        bytes += batch.len();
        let sent = batch.len();
        drop(batch);
        shard.handle_sent(now, id, sent);
    }
    bytes
}

fn shard(is_guarded: bool) -> Shard {
    let route = RouteOptions {
        pattern: "/app/room.{room}".into(),
        to: RouteTo::Destination("/topic/room.{room}".into()),
        history: false,
    };
    let defaults = options::defaults();
    let options = Options {
        session: session::Options {
            auth: is_guarded.then_some(session::AuthOptions {
                takes_authorization: true,
                takes_token: true,
                takes_passcode: true,
                notice: Duration::from_secs(60),
            }),
            ..defaults.session
        },
        router: Router::new(&[route], 512).expect("a good route"),
        rules: Rules::default_for(is_guarded),
        admission: if is_guarded { admission() } else { Admission::default() },
        auth: is_guarded.then(auth_options),
        ..defaults
    };
    let health = Arc::new(Health::new(1, "none", String::new(), String::new()));
    health.shard_started();
    let counters: Arc<[Arc<ShardCounters>]> = [Arc::default()].into();
    Shard::new(
        Arc::new(options),
        Identity { id: ShardId(0), counters, health, seed: 1, home_seed: 2 },
    )
}

/// Rates that nobody reaches and seats that are counted.
fn admission() -> Admission {
    Admission {
        handshakes_per_second: 1_000_000,
        frames_per_second: 1_000_000,
        bytes_per_second: 1_000_000_000,
        user_frames_per_second: 1_000_000,
        user_bytes_per_second: 1_000_000_000,
        seats: seats::Limits { user_max: 100, address_max: 100 },
        ..Admission::default()
    }
}

fn auth_options() -> AuthOptions {
    let rules = Rules::default_for(true);
    let claims = auth::ClaimOptions {
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway_ms: 0,
        required: vec![ClaimPath::new("exp")],
        user: ClaimPath::new("sub"),
        roles: ClaimPath::new("roles"),
        kept: rules.claim_paths(),
    };
    let key = auth::Key::secret(SECRET).expect("long enough");
    AuthOptions {
        verifier: auth::Options { claims, token_bytes_max: 4096, remembered_max: 64 },
        keys: Arc::new(KeySet::new(vec![key], 1)),
        learns_keys: false,
        sources: Sources {
            has_authorization: true,
            cookie: None,
            query: None,
            has_subprotocol: false,
        },
    }
}
