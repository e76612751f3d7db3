//! The page for Prometheus, in its text format 0.0.4.

use std::sync::Arc;

use prometheus::TextEncoder;
use prometheus::proto;

use crate::metrics::auth;
use crate::metrics::catalogue;
use crate::metrics::catalogue::Driver;
use crate::metrics::catalogue::Kind;
use crate::metrics::catalogue::Label;
use crate::metrics::catalogue::Series;
use crate::metrics::counters::BUCKET_BOUNDS_NS;
use crate::metrics::counters::Counter;
use crate::metrics::counters::Histogram;
use crate::metrics::counters::Labelled;
use crate::metrics::counters::ShardCounters;
use crate::metrics::drain;
use crate::metrics::history;
use crate::metrics::history::HistoryCounters;
use crate::metrics::history::HistoryFailure;
use crate::metrics::relay;
use crate::metrics::turn;

/// The `content-type` of the page.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// What is true of the whole process and is shown beside the counters.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The driver that runs.
    pub driver: Driver,
}

/// Renders the page: `shards` in the order of their cores, the store's counters, `info` of the
/// process.
///
/// Values of different shards, and of one shard, are read one after the other: the page is not a
/// snapshot, and no number on it ever falls that must not.
#[must_use]
pub fn render(shards: &[Arc<ShardCounters>], store: &HistoryCounters, info: &Info) -> String {
    let sum = |read: fn(&ShardCounters) -> u64| shards.iter().map(|it| read(it)).sum::<u64>();
    let total = |series, read| family(series, vec![(None, sum(read))]);
    let by_core = |series, read: fn(&ShardCounters) -> u64| {
        let cores =
            (0..).zip(shards).map(|(core, it): (u32, _)| (Some(core.to_string()), read(it)));
        family(series, cores)
    };
    let scaled_by_core = |series, read: fn(&ShardCounters) -> u64, unit: f64| {
        let cores = (0..)
            .zip(shards)
            .map(|(core, it): (u32, _)| (Some(core.to_string()), number(read(it)) / unit));
        family_of(series, cores)
    };
    let mut families = vec![
        by_core(catalogue::CONNECTIONS_ACTIVE, |it| it.connections_active.get()),
        labelled(catalogue::HANDSHAKES, shards, |it| &it.handshakes),
        labelled(catalogue::TLS_HANDSHAKES, shards, |it| &it.tls_handshakes),
        total(catalogue::MESSAGES_RECEIVED, |it| it.messages_received.get()),
        total(catalogue::MESSAGES_SENT, |it| it.messages_sent.get()),
        histogram(catalogue::PROCESSING_TIME, shards, |it| &it.processing_time),
        histogram(turn::HANDSHAKE_TIME, shards, |it| &it.handshake_time),
        histogram(turn::FAN_OUT_TIME, shards, |it| &it.fan_out_time),
        histogram(turn::OUTBOX_AGE, shards, |it| &it.outbox_age),
        histogram_by_core(turn::LAG, shards, |it| &it.lag),
        scaled_by_core(turn::BUSY_RATIO, |it| it.busy_ppm.get(), 1e6),
        scaled_by_core(turn::BUSY_SECONDS, |it| it.busy_ns.get(), 1e9),
        labelled(catalogue::CONNECTION_ERRORS, shards, |it| &it.connection_errors),
        labelled(catalogue::REJECTED, shards, |it| &it.rejected),
        labelled(catalogue::CLOSED, shards, |it| &it.closed),
        total(catalogue::SLOW_CONSUMERS, |it| it.slow_consumers.get()),
        total(catalogue::SUBSCRIPTIONS_ACTIVE, |it| it.subscriptions_active.get()),
        total(catalogue::OUTBOX_BYTES, |it| it.outbox_bytes.get()),
        total(catalogue::BYTES_RECEIVED, |it| it.bytes_received.get()),
        total(catalogue::BYTES_SENT, |it| it.bytes_sent.get()),
        total(relay::MAIL, |it| it.relay_mail.get()),
        total(relay::PAUSED, |it| it.relay_paused.get()),
        total(auth::THROTTLED, |it| it.throttled.get()),
        labelled(catalogue::REFUSALS, shards, |it| &it.refusals),
        labelled(auth::REJECTED, shards, |it| &it.auth.rejected),
        total(auth::SIGNATURES, |it| it.auth.signatures.get()),
        total(auth::KNOWN, |it| it.auth.known.get()),
        by_core(drain::ACTIVE, |it| it.drain.active.get()),
        total(drain::TOLD, |it| it.drain.told.get()),
        total(drain::CLOSED, |it| it.drain.closed.get()),
        total(drain::FLUSHED, |it| it.drain.flushed.get()),
        total(drain::CUT, |it| it.drain.cut.get()),
        by_core(relay::UP, |it| it.relay.up.get()),
        total(relay::RECONNECTS, |it| it.relay.reconnects.get()),
        seconds(relay::GAP, sum(|it| it.relay.gap_ns.get())),
        total(relay::PUBLISHED, |it| it.relay.published.get()),
        total(relay::REFUSED, |it| it.relay.refused.get()),
        total(relay::RECEIVED, |it| it.relay.received.get()),
        labelled(relay::DROPPED, shards, |it| &it.relay.dropped),
        total(relay::COMMANDS, |it| it.relay.commands.get()),
        total(relay::OUTBOX_BYTES, |it| it.relay.outbox_bytes.get()),
        histogram(relay::ROUND_TRIP, shards, |it| &it.relay.round_trip),
    ];
    families.extend(of_history(shards, store));
    families.push(family(catalogue::IO_DRIVER, vec![(Some(info.driver.text().to_owned()), 1)]));
    // The encoder refuses a family without a value; without shards the one by core has none.
    families.retain(|it| !it.get_metric().is_empty());
    TextEncoder::new()
        .encode_to_string(&families)
        .expect("every family has a name and a value, and a string takes any text")
}

/// The families of the history.
fn of_history(shards: &[Arc<ShardCounters>], store: &HistoryCounters) -> [proto::MetricFamily; 12] {
    let one = |series, value| family(series, [(None, value)]);
    let failures = HistoryFailure::ALL.map(|it| (it.text(), store.failures.of(it).get()));
    let queue = shards.iter().map(|it| it.replays.queue.get()).sum();
    let given = shards.iter().map(|it| it.replays.given.get()).sum();
    [
        one(history::UP, store.up.get()),
        one(history::QUEUE, queue),
        one(history::COMMITS, store.commits.get()),
        one(history::STORED, store.stored.get()),
        head(
            history::COMMIT_TIME,
            vec![buckets(history::COMMIT_TIME, None, &[&store.commit_time])],
        ),
        family(history::FAILURES, failures.map(|(text, it)| (Some(text.to_owned()), it))),
        one(history::READS, store.reads.get()),
        head(history::READ_TIME, vec![buckets(history::READ_TIME, None, &[&store.read_time])]),
        one(history::SHARED, store.shared.get()),
        one(history::FORGOTTEN, store.forgotten.get()),
        labelled(history::REPLAYS, shards, |it| &it.replays.ended),
        one(history::REPLAYED, given),
    ]
}

/// One family of counters or gauges, a value per label text.
fn family(
    series: Series,
    values: impl IntoIterator<Item = (Option<String>, u64)>,
) -> proto::MetricFamily {
    family_of(series, values.into_iter().map(|(label, value)| (label, number(value))))
}

/// One counter of nanoseconds, shown in seconds.
fn seconds(series: Series, nanoseconds: u64) -> proto::MetricFamily {
    family_of(series, [(None, number(nanoseconds) / 1e9)])
}

fn family_of(
    series: Series,
    values: impl IntoIterator<Item = (Option<String>, f64)>,
) -> proto::MetricFamily {
    let metrics = values
        .into_iter()
        .map(|(label, value)| {
            let mut metric = proto::Metric::from_label(pairs(series, label));
            match series.kind {
                Kind::Counter => {
                    let mut counter = proto::Counter::default();
                    counter.set_value(value);
                    metric.set_counter(counter);
                }
                Kind::Gauge => {
                    let mut gauge = proto::Gauge::default();
                    gauge.set_value(value);
                    metric.set_gauge(gauge);
                }
                Kind::Histogram => unreachable!("histograms are built by their own function"),
            }
            metric
        })
        .collect();
    head(series, metrics)
}

/// One family with a value for each label, summed over the shards.
fn labelled<L: Label, const N: usize>(
    series: Series,
    shards: &[Arc<ShardCounters>],
    read: fn(&ShardCounters) -> &Labelled<L, N>,
) -> proto::MetricFamily {
    family(
        series,
        L::all().iter().map(|label| {
            let sum = shards.iter().map(|it| read(it).of(*label)).map(Counter::get).sum();
            (Some(label.text().to_owned()), sum)
        }),
    )
}

/// One histogram in seconds, summed over the shards.
fn histogram(
    series: Series,
    shards: &[Arc<ShardCounters>],
    read: fn(&ShardCounters) -> &Histogram,
) -> proto::MetricFamily {
    let all: Vec<_> = shards.iter().map(|it| read(it)).collect();
    head(series, vec![buckets(series, None, &all)])
}

/// One histogram in seconds for each shard.
fn histogram_by_core(
    series: Series,
    shards: &[Arc<ShardCounters>],
    read: fn(&ShardCounters) -> &Histogram,
) -> proto::MetricFamily {
    let cores = (0_u32..).zip(shards);
    head(series, cores.map(|(core, it)| buckets(series, Some(core), &[read(it)])).collect())
}

fn buckets(series: Series, core: Option<u32>, all: &[&Histogram]) -> proto::Metric {
    let mut count = 0;
    let mut buckets = Vec::with_capacity(BUCKET_BOUNDS_NS.len());
    for (index, bound) in BUCKET_BOUNDS_NS.into_iter().enumerate() {
        count += all.iter().map(|it| it.bucket(index)).sum::<u64>();
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(number(bound) / 1e9);
        bucket.set_cumulative_count(count);
        buckets.push(bucket);
    }
    count += all.iter().map(|it| it.bucket(BUCKET_BOUNDS_NS.len())).sum::<u64>();
    let mut sums = proto::Histogram::default();
    sums.set_bucket(buckets);
    // The sum of the buckets, not a counter beside them: it cannot disagree with them.
    sums.set_sample_count(count);
    sums.set_sample_sum(number(all.iter().map(|it| it.sum_ns()).sum()) / 1e9);
    let core = core.map(|it| it.to_string());
    let mut metric = proto::Metric::from_label(pairs(series, core));
    metric.set_histogram(sums);
    metric
}

/// The label of one value; a value has one exactly when its series has one.
fn pairs(series: Series, label: Option<String>) -> Vec<proto::LabelPair> {
    assert_eq!(series.label.is_some(), label.is_some(), "{}", series.name);
    series
        .label
        .zip(label)
        .map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value);
            pair
        })
        .into_iter()
        .collect()
}

/// A family with its name, help and type.
fn head(series: Series, metrics: Vec<proto::Metric>) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(series.name.to_owned());
    family.set_help(series.help.to_owned());
    family.set_field_type(match series.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
        Kind::Histogram => proto::MetricType::HISTOGRAM,
    });
    family.set_metric(metrics);
    family
}

/// Prometheus numbers are doubles: exact up to 2^53, rounded above.
#[expect(clippy::cast_precision_loss, reason = "the format has no other number")]
fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::metrics::catalogue::CloseCode;
    use crate::metrics::catalogue::Handshake;
    use crate::metrics::catalogue::SERIES;
    use crate::metrics::relay::RelayDropped;

    /// Reads a page back: the value of each series with its labels, and each family's type.
    fn parse(page: &str) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
        let (mut values, mut types, mut helps) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for line in page.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                helps.push(help.split_once(' ').expect("name and text").0.to_owned());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("name and type");
                assert_eq!(helps.last().map(String::as_str), Some(name), "HELP goes before TYPE");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else {
                let (name, value) = line.rsplit_once(' ').expect("name and value");
                let value = value.parse().expect("a number");
                assert!(values.insert(name.to_owned(), value).is_none(), "{name} twice");
            }
        }
        (values, types)
    }

    fn shards() -> Vec<Arc<ShardCounters>> {
        vec![Arc::default(), Arc::default()]
    }

    const INFO: Info = Info { driver: Driver::Epoll };

    #[test]
    fn every_series_of_the_catalogue_is_on_the_page_with_its_type() {
        let (_, types) = parse(&render(&shards(), &HistoryCounters::default(), &INFO));
        assert_eq!(types.len(), SERIES.len());
        for series in SERIES {
            let kind = format!("{:?}", series.kind).to_lowercase();
            assert_eq!(types.get(series.name), Some(&kind), "{}", series.name);
        }
    }

    #[test]
    fn counters_are_summed_and_connections_shown_by_core() {
        let shards = shards();
        shards[0].connections_active.set(3);
        shards[1].connections_active.set(4);
        shards[0].messages_sent.add(10);
        shards[1].messages_sent.add(5);
        shards[0].handshakes.of(Handshake::Accepted).add(3);
        shards[1].handshakes.of(Handshake::Accepted).add(4);
        shards[1].closed.of(CloseCode::of(4999)).add(1);
        let (values, _) = parse(&render(&shards, &HistoryCounters::default(), &INFO));
        let check = |name: &str, expected| assert_eq!(values.get(name), Some(&expected), "{name}");
        check("websocket_connections_active{core=\"0\"}", 3.0);
        check("websocket_connections_active{core=\"1\"}", 4.0);
        check("websocket_messages_sent_total", 15.0);
        check("websocket_messages_received_total", 0.0);
        check("websocket_handshakes_total{result=\"accepted\"}", 7.0);
        check("websocket_handshakes_total{result=\"full\"}", 0.0);
        check("websocket_closed_total{code=\"peer_other\"}", 1.0);
        check("websocket_closed_total{code=\"1000\"}", 0.0);
        check("websocket_io_driver_info{driver=\"epoll\"}", 1.0);
    }

    #[test]
    fn what_is_counted_in_nanoseconds_is_shown_in_seconds() {
        let shards = shards();
        shards[0].relay.gap_ns.add(1_500_000_000);
        shards[1].relay.gap_ns.add(250_000_000);
        shards[1].relay.up.set(1);
        shards[0].relay.dropped.of(RelayDropped::BadSignature).raise_to(3);
        let (values, _) = parse(&render(&shards, &HistoryCounters::default(), &INFO));
        let check = |name: &str, expected| assert_eq!(values.get(name), Some(&expected), "{name}");
        check("websocket_relay_gap_seconds_total", 1.75);
        check("websocket_relay_up{core=\"0\"}", 0.0);
        check("websocket_relay_up{core=\"1\"}", 1.0);
        check("websocket_relay_dropped_total{reason=\"bad-signature\"}", 3.0);
    }

    #[test]
    fn the_histogram_is_cumulative_and_in_seconds() {
        let shards = shards();
        shards[0].processing_time.observe_ns(9_000);
        shards[1].processing_time.observe_ns(10_000);
        shards[1].processing_time.observe_many_ns(2_000_000, 2);
        shards[0].processing_time.observe_ns(20_000_000_000);
        let (values, _) = parse(&render(&shards, &HistoryCounters::default(), &INFO));
        let name = "websocket_message_processing_time_seconds";
        let check = |suffix: &str, expected: f64| {
            let value = values[&format!("{name}{suffix}")];
            assert!((value - expected).abs() < 1e-9, "{suffix}: {value}");
        };
        check("_bucket{le=\"0.00001\"}", 2.0);
        check("_bucket{le=\"0.001\"}", 2.0);
        check("_bucket{le=\"0.0025\"}", 4.0);
        check("_bucket{le=\"10\"}", 4.0);
        check("_bucket{le=\"+Inf\"}", 5.0);
        check("_count", 5.0);
        check("_sum", 20.004_019);
    }

    #[test]
    fn each_core_has_its_own_lag_and_its_own_share_of_work() {
        let shards = shards();
        shards[1].lag.observe_ns(2_000_000);
        shards[1].busy_ppm.set(250_000);
        shards[0].busy_ns.raise_to(3_500_000_000);
        let (values, _) = parse(&render(&shards, &HistoryCounters::default(), &INFO));
        let check = |name: &str, expected| assert_eq!(values.get(name), Some(&expected), "{name}");
        check("websocket_shard_lag_seconds_bucket{core=\"0\",le=\"+Inf\"}", 0.0);
        check("websocket_shard_lag_seconds_bucket{core=\"1\",le=\"0.001\"}", 0.0);
        check("websocket_shard_lag_seconds_bucket{core=\"1\",le=\"0.0025\"}", 1.0);
        check("websocket_shard_lag_seconds_count{core=\"1\"}", 1.0);
        check("websocket_shard_busy_ratio{core=\"1\"}", 0.25);
        check("websocket_shard_busy_seconds_total{core=\"0\"}", 3.5);
    }

    #[test]
    fn without_shards_the_page_is_still_valid() {
        let (values, types) = parse(&render(&[], &HistoryCounters::default(), &INFO));
        assert_eq!(types.len(), SERIES.iter().filter(|it| it.label != Some("core")).count());
        assert_eq!(values["websocket_messages_sent_total"], 0.0);
    }
}
