//! Lines for CloudWatch in its embedded metric format: one JSON object, once a minute.
//!
//! What rises is told as what it rose since the last line, because CloudWatch adds lines up. Each
//! metric goes out with the dimension `Service` and once more without any: CloudWatch takes the two
//! for different metrics, and alarms that name no dimension find only the second.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::metrics::catalogue::Driver;
use crate::metrics::catalogue::Label;
use crate::metrics::counters::BUCKET_BOUNDS_NS;
use crate::metrics::counters::Histogram;
use crate::metrics::counters::ShardCounters;

/// How often a line is due: one point per task and period, so that a Sum over tasks is a total.
pub const PERIOD: Duration = Duration::from_secs(60);

/// The namespace of all metrics.
pub const NAMESPACE: &str = "WebSocketService";

/// One metric of the line.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in CloudWatch.
    pub name: &'static str,
    /// CloudWatch's word for its unit.
    pub unit: &'static str,
    source: Source,
}

/// Where a value comes from; counters of a shard are summed unless said otherwise.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// Always 1: there is a task.
    Heartbeat,
    /// A level, as it is.
    Level(fn(&ShardCounters) -> u64),
    /// The highest level of a shard, in parts of the unit.
    Highest(fn(&ShardCounters) -> u64, f64),
    /// What a counter rose, in parts of the unit.
    Rise(fn(&ShardCounters) -> u64, f64),
    /// What a histogram took in, in milliseconds.
    Times(fn(&ShardCounters) -> &Histogram),
}

/// The metrics of a line. A dashboard or an alarm may use these and no others.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    metric("websocket.heartbeat", "Count", Source::Heartbeat),
    metric("websocket.connections.active", "Count",
        Source::Level(|it| it.connections_active.get())),
    metric("websocket.subscriptions.active", "Count",
        Source::Level(|it| it.subscriptions_active.get())),
    metric("websocket.outbox.bytes", "Bytes", Source::Level(|it| it.outbox_bytes.get())),
    metric("websocket.handshakes", "Count", Source::Rise(|it| it.handshakes.sum(), 1.0)),
    metric("websocket.rejected", "Count", Source::Rise(|it| it.rejected.sum(), 1.0)),
    metric("websocket.connection.errors", "Count",
        Source::Rise(|it| it.connection_errors.sum(), 1.0)),
    metric("websocket.slow.consumers", "Count", Source::Rise(|it| it.slow_consumers.get(), 1.0)),
    metric("websocket.refusals", "Count", Source::Rise(|it| it.refusals.sum(), 1.0)),
    metric("websocket.messages.received", "Count",
        Source::Rise(|it| it.messages_received.get(), 1.0)),
    metric("websocket.messages.sent", "Count", Source::Rise(|it| it.messages_sent.get(), 1.0)),
    metric("websocket.message.processing.time", "Milliseconds",
        Source::Times(|it| &it.processing_time)),
    metric("websocket.shard.busy", "Percent", Source::Highest(|it| it.busy_ppm.get(), 1e4)),
    metric("websocket.relay.down", "Count", Source::Level(|it| u64::from(it.relay.up.get() == 0))),
    metric("websocket.relay.reconnects", "Count",
        Source::Rise(|it| it.relay.reconnects.get(), 1.0)),
    metric("websocket.relay.gap", "Seconds", Source::Rise(|it| it.relay.gap_ns.get(), 1e9)),
    metric("websocket.relay.refused", "Count", Source::Rise(|it| it.relay.refused.get(), 1.0)),
    metric("websocket.relay.dropped", "Count", Source::Rise(|it| it.relay.dropped.sum(), 1.0)),
];

const fn metric(name: &'static str, unit: &'static str, source: Source) -> Metric {
    Metric { name, unit, source }
}

/// Who the lines are from.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The value of the dimension `Service`, the same for all tasks.
    pub service: String,
    /// The task: a property for searches, never a dimension, since each would be a metric to pay.
    pub task: String,
    /// The driver that runs.
    pub driver: Driver,
}

const BUCKETS_COUNT: usize = BUCKET_BOUNDS_NS.len() + 1;

/// Makes the lines of one process, and remembers what the last one told.
#[derive(Debug)]
pub struct Emf {
    sender: Sender,
    told: Vec<Told>,
}

/// What the lines so far have told of one metric.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    total: u64,
    buckets: [u64; BUCKETS_COUNT],
}

impl Emf {
    /// Nothing told yet: the first line tells what rose since the start.
    #[must_use]
    pub fn new(sender: Sender) -> Self {
        Self { sender, told: vec![Told::default(); METRICS.len()] }
    }

    /// The line for now, without a line end.
    #[must_use]
    pub fn line(&mut self, shards: &[Arc<ShardCounters>], unix_ms: u64) -> String {
        self.make(shards, unix_ms, false)
    }

    /// The line of a process that ends: only what rose since the last one. A level or a heartbeat
    /// would be a second point of its minute.
    #[must_use]
    pub fn last_line(&mut self, shards: &[Arc<ShardCounters>], unix_ms: u64) -> String {
        self.make(shards, unix_ms, true)
    }

    fn make(&mut self, shards: &[Arc<ShardCounters>], unix_ms: u64, is_last: bool) -> String {
        let mut line = Map::new();
        let mut definitions = Vec::new();
        for (metric, told) in METRICS.iter().zip(&mut self.told) {
            let Metric { name, unit, source } = *metric;
            let sum =
                |read: fn(&ShardCounters) -> u64| shards.iter().map(|it| read(it)).sum::<u64>();
            let value = match source {
                Source::Heartbeat | Source::Level(_) | Source::Highest(..) if is_last => None,
                Source::Heartbeat => Some(json!(1)),
                Source::Level(read) => Some(json!(sum(read))),
                Source::Highest(read, unit) => {
                    let highest = shards.iter().map(|it| read(it)).max().unwrap_or(0);
                    Some(json!(float(highest) / unit))
                }
                Source::Rise(read, unit) => {
                    let total = sum(read);
                    let rise = total.wrapping_sub(told.total);
                    told.total = total;
                    Some(if unit == 1.0 { json!(rise) } else { json!(float(rise) / unit) })
                }
                Source::Times(read) => times(shards, read, told),
            };
            if let Some(value) = value {
                definitions.push(json!({ "Name": name, "Unit": unit }));
                line.insert(name.to_owned(), value);
            }
        }
        line.insert("Service".to_owned(), json!(self.sender.service));
        line.insert("TaskId".to_owned(), json!(self.sender.task));
        line.insert("IoDriver".to_owned(), json!(self.sender.driver.text()));
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": unix_ms,
                "CloudWatchMetrics": [{
                    "Namespace": NAMESPACE,
                    "Dimensions": [[], ["Service"]],
                    "Metrics": definitions,
                }],
            }),
        );
        Value::Object(line).to_string()
    }
}

/// What a histogram took in since `told`, which is brought up to date; `None` when nothing.
///
/// CloudWatch makes percentiles of values and how often each came: the middle of its bucket stands
/// for each duration.
fn times(
    shards: &[Arc<ShardCounters>],
    read: fn(&ShardCounters) -> &Histogram,
    told: &mut Told,
) -> Option<Value> {
    let (mut values, mut counts, mut count) = (Vec::new(), Vec::new(), 0);
    let (mut min_ns, mut max_ns) = (None, 0);
    let mut lower_ns = 0;
    for (index, told) in told.buckets.iter_mut().enumerate() {
        let total = shards.iter().map(|it| read(it).bucket(index)).sum::<u64>();
        let rise = total.wrapping_sub(*told);
        *told = total;
        // The last bucket has no end: its beginning stands for it.
        let upper_ns = BUCKET_BOUNDS_NS.get(index).copied().unwrap_or(lower_ns);
        if 0 < rise {
            values.push(json!(float(lower_ns + upper_ns) / 2e6));
            counts.push(json!(rise));
            count += rise;
            min_ns = min_ns.or(Some(lower_ns));
            max_ns = upper_ns;
        }
        lower_ns = upper_ns;
    }
    let total_ns = shards.iter().map(|it| read(it).sum_ns()).sum::<u64>();
    let sum_ns = total_ns.wrapping_sub(told.total);
    told.total = total_ns;
    let min_ns = min_ns?;
    Some(json!({
        "Values": values,
        "Counts": counts,
        "Count": count,
        "Sum": float(sum_ns) / 1e6,
        "Min": float(min_ns) / 1e6,
        "Max": float(max_ns) / 1e6,
    }))
}

/// JSON numbers are doubles: exact up to 2^53, rounded above.
#[expect(clippy::cast_precision_loss, reason = "the format has no other number")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metrics::catalogue::ConnectionError;
    use crate::metrics::catalogue::Handshake;

    /// CloudWatch Logs cut lines here in some drivers; ours are far below.
    const LINE_BYTES_MAX: usize = 16 * 1024;
    /// The units that the specification allows, without those per second.
    const UNITS: &[&str] = &[
        "Seconds",
        "Microseconds",
        "Milliseconds",
        "Bytes",
        "Kilobytes",
        "Megabytes",
        "Gigabytes",
        "Terabytes",
        "Bits",
        "Kilobits",
        "Megabits",
        "Gigabits",
        "Terabits",
        "Percent",
        "Count",
        "None",
    ];

    fn emf() -> Emf {
        let [service, task] = ["chat", "abc"].map(str::to_owned);
        Emf::new(Sender { service, task, driver: Driver::Epoll })
    }

    fn shards() -> Vec<Arc<ShardCounters>> {
        vec![Arc::default(), Arc::default()]
    }

    /// Checks `line` against the rules of the specification, and returns its root.
    #[track_caller]
    fn check_format(line: &str) -> Map<String, Value> {
        assert!(line.len() <= LINE_BYTES_MAX && !line.contains('\n'), "{line}");
        let root: Map<String, Value> = serde_json::from_str(line).expect("one object and no more");
        let aws = root["_aws"].as_object().expect("metadata is an object");
        assert_eq!(keys(aws), ["CloudWatchMetrics", "Timestamp"]);
        assert!(aws["Timestamp"].is_u64());
        let directives = aws["CloudWatchMetrics"].as_array().expect("a list of directives");
        for directive in directives {
            let directive = directive.as_object().expect("a directive is an object");
            assert_eq!(keys(directive), ["Dimensions", "Metrics", "Namespace"]);
            check_text(&directive["Namespace"]);
            let dimension_sets = directive["Dimensions"].as_array().expect("a list of sets");
            assert!(!dimension_sets.is_empty());
            for set in dimension_sets {
                let set = set.as_array().expect("a set is a list");
                assert!(set.len() <= 9);
                for dimension in set {
                    check_text(dimension);
                    check_text(&root[dimension.as_str().expect("a name")]);
                }
            }
            let metrics = directive["Metrics"].as_array().expect("a list of metrics");
            assert!(metrics.len() <= 100);
            let mut names = BTreeSet::new();
            for metric in metrics {
                let metric = metric.as_object().expect("a metric is an object");
                assert_eq!(keys(metric), ["Name", "Unit"]);
                check_text(&metric["Name"]);
                assert!(UNITS.contains(&metric["Unit"].as_str().expect("a text")));
                let name = metric["Name"].as_str().expect("a text");
                assert!(names.insert(name), "{name} twice");
                check_target(&root[name]);
            }
        }
        root
    }

    fn keys(object: &Map<String, Value>) -> Vec<&str> {
        object.keys().map(String::as_str).collect()
    }

    #[track_caller]
    fn check_text(value: &Value) {
        let text = value.as_str().expect("a text");
        assert!((1..=255).contains(&text.len()) && text.is_ascii(), "{text}");
    }

    /// A number, or values with how often each came: at most 100.
    #[track_caller]
    fn check_target(value: &Value) {
        if value.is_number() {
            return;
        }
        let object = value.as_object().expect("a number or a distribution");
        assert_eq!(keys(object), ["Count", "Counts", "Max", "Min", "Sum", "Values"]);
        let [values, counts] =
            ["Values", "Counts"].map(|it| object[it].as_array().expect("a list"));
        assert!(values.len() == counts.len() && (1..=100).contains(&values.len()));
        let total: u64 = counts.iter().map(|it| it.as_u64().expect("a count")).sum();
        assert_eq!(object["Count"], json!(total));
        let [min, max, sum] =
            ["Min", "Max", "Sum"].map(|it| object[it].as_f64().expect("a number"));
        assert!(0.0 <= min && min <= max && 0.0 <= sum);
        for value in values {
            assert!((min..=max).contains(&value.as_f64().expect("a number")));
        }
    }

    #[test]
    fn a_line_is_what_the_specification_asks_for() {
        let shards = shards();
        let mut emf = emf();
        check_format(&emf.line(&shards, 1_764_000_000_000));
        for nanos in BUCKET_BOUNDS_NS.into_iter().chain([1, u64::MAX >> 20]) {
            shards[0].processing_time.observe_ns(nanos);
        }
        let root = check_format(&emf.line(&shards, 1_764_000_060_000));
        assert_eq!(root["_aws"]["Timestamp"], json!(1_764_000_060_000_u64));
        let directive = &root["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], json!("WebSocketService"));
        assert_eq!(directive["Dimensions"], json!([[], ["Service"]]));
        assert_eq!(directive["Metrics"].as_array().map(Vec::len), Some(METRICS.len()));
        assert_eq!(root["Service"], json!("chat"));
        assert_eq!(root["TaskId"], json!("abc"));
        assert_eq!(root["IoDriver"], json!("epoll"));
    }

    #[test]
    fn counters_are_told_as_what_they_rose_and_levels_as_they_are() {
        let shards = shards();
        let mut emf = emf();
        shards[0].connections_active.set(3);
        shards[1].connections_active.set(4);
        shards[0].handshakes.of(Handshake::Accepted).add(7);
        shards[1].handshakes.of(Handshake::Forbidden).add(2);
        shards[1].connection_errors.of(ConnectionError::Reset).add(1);
        shards[1].relay.gap_ns.add(1_500_000_000);
        shards[0].busy_ppm.set(250_000);
        shards[1].busy_ppm.set(500_000);
        shards[0].relay.up.set(1);
        let root = check_format(&emf.line(&shards, 0));
        assert_eq!(root["websocket.heartbeat"], json!(1));
        assert_eq!(root["websocket.connections.active"], json!(7));
        assert_eq!(root["websocket.handshakes"], json!(9));
        assert_eq!(root["websocket.connection.errors"], json!(1));
        assert_eq!(root["websocket.relay.gap"], json!(1.5));
        assert_eq!(root["websocket.relay.down"], json!(1));
        assert_eq!(root["websocket.shard.busy"], json!(50.0));

        shards[0].handshakes.of(Handshake::Accepted).add(1);
        let root = check_format(&emf.line(&shards, 60_000));
        assert_eq!(root["websocket.connections.active"], json!(7));
        assert_eq!(root["websocket.handshakes"], json!(1));
        assert_eq!(root["websocket.connection.errors"], json!(0));
        assert_eq!(root["websocket.relay.gap"], json!(0.0));
    }

    #[test]
    fn times_are_told_as_middles_of_buckets_in_milliseconds() {
        let shards = shards();
        let mut emf = emf();
        assert!(!emf.line(&shards, 0).contains("processing"));
        shards[0].processing_time.observe_ns(2_000_000);
        shards[1].processing_time.observe_many_ns(3_000_000, 2);
        let expected = json!({
            "Values": [1.75, 3.75], "Counts": [1, 2],
            "Count": 3, "Sum": 8.0, "Min": 1.0, "Max": 5.0,
        });
        let root = check_format(&emf.line(&shards, 0));
        assert_eq!(root["websocket.message.processing.time"], expected);
        shards[0].processing_time.observe_ns(20_000_000_000);
        let root = check_format(&emf.line(&shards, 0));
        let expected = json!({
            "Values": [10_000.0], "Counts": [1],
            "Count": 1, "Sum": 20_000.0, "Min": 10_000.0, "Max": 10_000.0,
        });
        assert_eq!(root["websocket.message.processing.time"], expected);
    }

    #[test]
    fn the_last_line_has_no_second_point_of_a_level() {
        let shards = shards();
        shards[0].messages_sent.add(5);
        shards[0].connections_active.set(5);
        let root = check_format(&emf().last_line(&shards, 0));
        assert_eq!(root["websocket.messages.sent"], json!(5));
        for level in ["heartbeat", "connections.active", "relay.down", "shard.busy"] {
            assert!(!root.contains_key(&format!("websocket.{level}")), "{level}");
        }
    }
}
