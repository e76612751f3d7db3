//! What the reporting process and those that make the load say to each other: one line of JSON for
//! each.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::latency::Buckets;
use crate::plan::Plan;
use crate::sequence::Verdict;

/// What one process has to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Assignment {
    /// The whole run.
    pub plan: Plan,
    /// Which of the processes this is, from 0.
    pub worker: usize,
    /// How many there are: every so many-th client is this one's.
    pub workers: usize,
    /// Tells the messages of this run from others.
    pub run: u32,
    /// CPU that it may run on.
    pub cpu: Option<usize>,
}

/// What a process is told.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Run the part that is not measured, beginning at this time.
    WarmUp {
        /// Shared monotonic clock.
        at_ns: u64,
    },
    /// Run the part that is measured, beginning at this time.
    Go {
        /// Shared monotonic clock.
        at_ns: u64,
    },
    /// Tell what you have and end.
    End {
        /// For each sender the messages below which all its own were sent.
        limits: Vec<u64>,
    },
}

/// What a process tells.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// So many clients are ready.
    Opening {
        /// Of this process.
        ready: usize,
    },
    /// All clients are.
    Ready(Opened),
    /// The part that is not measured is over.
    WarmedUp,
    /// How it goes.
    Tick(Tick),
    /// The part that is measured is over.
    Finished(Finished),
    /// All that is to be told.
    Part(Box<Part>),
    /// It cannot go on.
    Failed {
        /// Why.
        why: String,
    },
}

/// How the opening went.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Opened {
    /// From connect to ready.
    pub ready: Buckets,
    /// Clients that are ready.
    pub ready_count: u64,
    /// Attempts that failed, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Clients that were refused, as they must be.
    pub refused_count: u64,
    /// Messages that came before their subscription was confirmed.
    #[serde(default)]
    pub replayed_count: u64,
}

/// How it goes, at the end of a slice of time.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Tick {
    /// Which slice, from 0.
    pub slice: u64,
    /// Connections that are open.
    pub open_count: u64,
    /// Messages sent so far.
    pub sent_count: u64,
    /// Deliveries so far.
    pub deliveries_count: u64,
    /// ERROR frames and ended connections so far.
    pub troubles_count: u64,
    /// Latencies of this slice.
    pub latency: Buckets,
}

/// The end of the measured part.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Finished {
    /// When the last delivery came, or the last message left.
    pub at_ns: u64,
    /// Share of the time that this process was not waiting.
    pub busy_share: f64,
    /// For each sender of this process, the first message that was not sent.
    pub limits: BTreeMap<u16, u64>,
}

/// What one process found.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Part {
    /// Loss, doubles and order.
    pub verdict: Verdict,
    /// The same of the part that was not measured.
    pub warm_up_verdict: Verdict,
    /// Messages sent.
    pub sent_count: u64,
    /// Deliveries, doubles not counted.
    pub deliveries_count: u64,
    /// Messages that the server, or Redis, confirmed.
    pub receipts_count: u64,
    /// ERROR frames and what could not be understood.
    pub troubles_count: u64,
    /// The first of them.
    pub first_trouble: Option<String>,
    /// Connections that the server ended, by its words.
    pub closings: BTreeMap<String, u64>,
    /// From the start of measuring to the end of each such connection.
    pub closed_after: Buckets,
    /// Messages that those lack from before their end.
    pub lost_at_close_count: u64,
    /// Clients that stopped reading.
    pub slow_count: u64,
    /// Those of them that the server closed.
    pub slow_closed_count: u64,
    /// The order in which the first reader of each room saw its messages.
    pub orders: BTreeMap<u64, u64>,
    /// Readers who saw another.
    pub other_orders_count: u64,
    /// STOMP heart-beats that came.
    pub heart_beats_count: u64,
    /// Times a client heard nothing for twice the heart-beat's interval.
    pub silences_count: u64,
    /// Pings that came.
    pub pings_count: u64,
    /// From due to delivered.
    pub latency: Buckets,
    /// From the write of a batch to the last of its deliveries.
    pub latency_last: Buckets,
    /// From due to confirmed.
    pub confirmed: Buckets,
    /// How late this process was with its messages.
    pub lag: Buckets,
    /// From the start of the storm until each client was ready.
    pub storm: Opened,
}
