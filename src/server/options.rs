//! From settings to what each layer is told.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::relay::redis::Address;
use crate::broker::relay::redis::Keeping;
use crate::broker::relay::redis::Mode;
use crate::broker::relay::redis::Options as RedisOptions;
use crate::broker::router::RouteError;
use crate::broker::router::RouteOptions;
use crate::broker::router::RouteTo;
use crate::broker::router::Router;
use crate::broker::seats;
use crate::broker::session;
use crate::config::Loaded;
use crate::config::Resolved;
use crate::config::redis_url::RedisUrl;
use crate::config::settings::Envelope;
use crate::config::settings::OnFailure;
use crate::config::settings::ProxyProtocol;
use crate::config::settings::Refusal;
use crate::config::settings::RelayMode;
use crate::config::settings::RouteSettings;
use crate::config::settings::RouteTarget;
use crate::config::settings::Settings;
use crate::io::probe::Driver;
use crate::io::resolver;
use crate::io::resolver::Resolver;
use crate::io::resolver::Worker;
use crate::metrics;
use crate::policy::auth::KeySet;
use crate::proto::envelope;
use crate::proto::http;
use crate::proto::http::origin::OriginPatterns;
use crate::proto::stomp;
use crate::proto::ws;
use crate::server::StartError;
use crate::server::auth;
use crate::shard;
use crate::shard::Admission;
use crate::shard::DrainOptions;
use crate::shard::Options;
use crate::shard::link;
use crate::stdx::cidr::Cidr;

/// How long a name, a TCP connection and a TLS handshake with Redis may take, each.
const LINK_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long Redis's host may leave bytes unacknowledged: it is gone then, and the kernel says so.
const LINK_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the shards are told; totals are shared out evenly. `origin` names this process to others.
pub(super) fn shard_options(
    loaded: &Loaded,
    resolved: &Resolved,
    origin: &str,
    keys: Arc<KeySet>,
) -> Result<Options, StartError> {
    let settings = &loaded.settings;
    let rules = loaded.rules().map_err(|error| StartError(error.to_string()))?;
    let limits = &settings.limits;
    let has_history = settings.keeps_history();
    let router = router(settings).map_err(|error| StartError(error.0))?;
    let schema = |it: &RouteSettings| it.schema.as_ref().map(|it| it.schema.clone());
    let router = match settings.routes.iter().any(|it| it.schema.is_some()) {
        true => router.with_schemas(settings.routes.iter().map(schema).collect()),
        false => router,
    };
    let origins =
        origins(settings).map_err(|error| StartError(format!("auth.origins: {error}")))?;
    let message_bytes_max = limits.message_bytes as u64;
    Ok(Options {
        session: session::Options {
            heart_beat_min: settings.stomp.heart_beat_min,
            heart_beat_max: settings.stomp.heart_beat_max,
            refusal_closes: settings.stomp.refusal == Refusal::ErrorClose,
            subscriptions_max: limits.subscriptions_per_session,
            transactions_max: limits.transactions_per_session,
            transaction_messages_max: limits.transaction_messages,
            transaction_bytes_max: limits.transaction_bytes,
            receipts_pending_max: limits.receipts_pending,
            refusals_max: u32::try_from(limits.refusals).unwrap_or(u32::MAX),
            server: concat!("ringway/", env!("CARGO_PKG_VERSION")).to_owned(),
            auth: auth::session_options(&settings.auth),
        },
        stomp: stomp::Limits {
            frame_bytes_max: limits.message_bytes,
            headers_count_max: limits.stomp_headers,
            header_bytes_max: limits.stomp_header_bytes,
        },
        ws: ws::Limits { frame_bytes_max: message_bytes_max, message_bytes_max },
        http: http::Limits {
            head_bytes_max: limits.header_block_bytes,
            headers_count_max: limits.http_headers,
        },
        router,
        admission: admission(settings, resolved.cores)?,
        auth: auth::shard_options(&settings.auth, &rules, keys),
        rules,
        origins,
        has_tls: settings.tls.is_some(),
        has_echo: settings.server.echo,
        handshake_timeout: settings.server.handshake_timeout,
        first_frame_timeout: settings.server.first_frame_timeout,
        close_timeout: settings.server.close_timeout,
        ping_interval: settings.server.ping_interval,
        pong_timeout: settings.server.pong_timeout,
        connections_max: resolved.connections,
        handshakes_max: limits.handshakes_pending.div_ceil(resolved.cores),
        outbox_bytes_max: resolved.outbox_bytes,
        outbox_timeout: limits.outbox_seconds,
        outbox_total_bytes_max: resolved.outbox_total_bytes / resolved.cores,
        drain: DrainOptions {
            window: settings.drain.window,
            deadline: settings.drain.deadline,
            connection_age_max: settings.server.max_connection_age,
        },
        mailbox_max: settings.relay.mailbox_messages,
        redis: redis_options(settings, resolved.cores, origin).map(Arc::new),
        history: has_history.then(|| settings.history_name()),
    })
}

/// Where destinations lead, without what bodies must be like.
pub(super) fn router(settings: &Settings) -> Result<Router, RouteError> {
    let has_history = settings.keeps_history();
    let routes: Vec<RouteOptions> =
        settings.routes.iter().map(|it| route(it, has_history)).collect();
    Router::new(&routes, settings.limits.destination_bytes)
}

/// Pages of which other origins may connect.
pub(super) fn origins(settings: &Settings) -> Result<OriginPatterns, String> {
    OriginPatterns::parse(settings.auth.origins.iter().map(String::as_str))
        .map_err(|error| error.to_string())
}

/// How the links of a relay through Redis connect, and who answers for names: one thread for all.
pub(super) fn links(
    settings: &Settings,
    tls: Option<link::Tls>,
) -> Option<(link::Options, Worker)> {
    if !settings.relay.is_redis() {
        return None;
    }
    let (resolver, worker) = Resolver::new(resolver::system());
    let options = link::Options {
        resolver,
        tls,
        connect_timeout: LINK_CONNECT_TIMEOUT,
        user_timeout: LINK_USER_TIMEOUT,
    };
    Some((options, worker))
}

fn admission(settings: &Settings, cores: usize) -> Result<Admission, StartError> {
    let it = &settings.admission;
    let range = |text: &String| {
        let wrong = || StartError(format!("server.trusted_proxies: {text} is no range"));
        Cidr::parse(text).ok_or_else(wrong)
    };
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Admission {
        trusted_proxies: it.trusted_proxies.iter().map(range).collect::<Result<_, _>>()?,
        proxy_protocol: match it.proxy_protocol {
            ProxyProtocol::Off => shard::ProxyProtocol::Off,
            ProxyProtocol::Optional => shard::ProxyProtocol::Optional,
            ProxyProtocol::Required => shard::ProxyProtocol::Required,
        },
        handshakes_per_second: it.handshakes_per_second.div_ceil(cores) as u64,
        frames_per_second: it.frames_per_second as u64,
        bytes_per_second: it.bytes_per_second as u64,
        user_frames_per_second: it.user_frames_per_second as u64,
        user_bytes_per_second: it.user_bytes_per_second as u64,
        seats: seats::Limits {
            user_max: number(it.connections_per_user),
            address_max: number(it.connections_per_address),
        },
    })
}

fn route(route: &RouteSettings, has_history: bool) -> RouteOptions {
    let to = match &route.to {
        RouteTarget::Destination(to) => RouteTo::Destination(to.clone()),
        RouteTarget::Stream(stream) => RouteTo::Stream(stream.clone()),
    };
    RouteOptions { pattern: route.pattern.clone(), to, history: has_history && route.history }
}

/// The relay through Redis, where one is configured; `origin` names this process there.
pub(super) fn redis_options(
    settings: &Settings,
    cores: usize,
    origin: &str,
) -> Option<RedisOptions> {
    let relay = &settings.relay;
    let mode = match relay.effective_mode() {
        RelayMode::Auto | RelayMode::Embedded => return None,
        RelayMode::PubSub => Mode::PubSub,
        RelayMode::Sharded => Mode::Sharded,
    };
    let address = |it: &RedisUrl| Address { host: it.host.as_str().into(), port: it.port };
    let (user, password) = relay.credentials();
    Some(RedisOptions {
        user: user.map(Box::from),
        password: password.map(|it| it.reveal().into()),
        form: match relay.envelope {
            Envelope::Full => envelope::Form::Full,
            Envelope::Article => envelope::Form::Article,
        },
        key: relay.hmac_key.as_ref().map(|it| envelope::Key::new(it.reveal().as_bytes())),
        reads_revoked: settings.auth.is_on() && relay.hmac_key.is_some(),
        hmac_window: relay.hmac_window,
        origin: origin.into(),
        outbox_timeout: relay.outbox_seconds,
        outbox_bytes_max: relay.outbox_bytes.div_ceil(cores),
        confirm_timeout: relay.confirm_seconds,
        linger: relay.linger_seconds,
        ping_interval: relay.ping_seconds,
        look_interval: relay.resolve_seconds,
        patterns_max: relay.patterns.div_ceil(cores),
        message_bytes_max: settings.limits.message_bytes,
        destination_bytes_max: settings.limits.destination_bytes,
        stream_entries_max: relay.stream_entries as u64,
        keeping: settings.keeps_history().then(|| Keeping {
            has_store: settings.has_store(),
            defers: settings.history.on_failure == OnFailure::Defer,
            kept_max: settings.history.stream_messages,
            unstored_max: settings.history.unstored_messages,
        }),
        ..RedisOptions::new(mode, relay.url.iter().map(address).collect())
    })
}

/// The driver's label in the metrics.
pub(super) fn metrics_driver(driver: Driver) -> metrics::Driver {
    match driver {
        Driver::IoUring => metrics::Driver::IoUring,
        Driver::Epoll => metrics::Driver::Epoll,
    }
}
