//! What a seed stands for: which store, which faults, when, and for how long.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::support::Driver;

/// Clients that send, and their messages together.
pub(crate) const SENDERS: u32 = 10;
pub(crate) const MESSAGES: usize = 2_000;
/// Clients that listen, each to all rooms.
pub(crate) const LISTENERS: u32 = 10;
pub(crate) const ROOMS: u32 = 4;

/// Chance from a seed: SplitMix64.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        dice.below(1);
        dice
    }

    /// Dice of their own, for somebody whose rolls must not change those of others.
    pub(crate) fn split(&mut self) -> Self {
        Self::new(self.below(u64::MAX))
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let place = self.below(of.len() as u64);
        of[usize::try_from(place).expect("it is below a length")]
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A task is killed, and started again.
    KillTask(usize),
    /// The MariaDB is killed, and started again.
    KillStore,
    /// The MariaDB stands still.
    StallStore,
    /// The Redis is killed, and started again with all that it had.
    KillRedis,
    /// The Redis is killed, and its replica, which lacks the last of it, takes over.
    PromoteReplica,
    /// The Redis loses everything that it has.
    EmptyRedis,
    /// Those that are subscribed at the Redis lose their connections, and so does who comes back.
    CutSubscribers,
}

/// The tasks of a run, and what they share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One task with a SQLite file.
    Sqlite,
    /// One task with a MariaDB.
    MariaDb,
    /// Two tasks with a MariaDB and a Redis.
    TwoTasks,
}

/// One fault of a plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    /// It is made when so many messages have their RECEIPT.
    pub(crate) at: usize,
    /// Until it is over.
    pub(crate) lasts: Duration,
}

/// What a seed stands for.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    pub(crate) driver: Driver,
    pub(crate) faults: [Planned; 2],
    /// A RECEIPT need not wait for a store that is away.
    pub(crate) defers: bool,
    /// The second fault is made so long after the first one, while that lasts.
    pub(crate) overlaps: Option<Duration>,
}

impl Plan {
    /// Plans a run of one task.
    pub(crate) fn of_one_task(seed: u64) -> (Self, Dice) {
        let mut dice = Dice::new(seed);
        let of_both: &[Fault] = &[Fault::KillTask(0), Fault::KillStore, Fault::StallStore];
        let (kind, faults) = match dice.below(3) {
            0 => (Kind::Sqlite, &[Fault::KillTask(0)] as &[Fault]),
            _ => (Kind::MariaDb, of_both),
        };
        Self::with(seed, kind, faults, dice)
    }

    /// Plans a run of two tasks.
    pub(crate) fn of_two_tasks(seed: u64) -> (Self, Dice) {
        let faults = [
            Fault::KillTask(0),
            Fault::KillTask(1),
            Fault::KillStore,
            Fault::StallStore,
            Fault::KillRedis,
            Fault::PromoteReplica,
            Fault::EmptyRedis,
            Fault::CutSubscribers,
        ];
        Self::with(seed, Kind::TwoTasks, &faults, Dice::new(seed))
    }

    /// Plans a run of two tasks in which nothing happens but that messages are lost on their way.
    pub(crate) fn of_lost_pushes(seed: u64) -> (Self, Dice) {
        Self::with(seed, Kind::TwoTasks, &[Fault::CutSubscribers], Dice::new(seed))
    }

    /// Whether there is this fault.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.iter().any(|it| it.fault == fault)
    }

    /// Whether Redis loses some of what it has.
    pub(crate) fn loses_stream(&self) -> bool {
        self.has(Fault::PromoteReplica) || self.has(Fault::EmptyRedis)
    }

    fn with(seed: u64, kind: Kind, faults: &[Fault], mut dice: Dice) -> (Self, Dice) {
        let driver = dice.pick(&[Driver::IoUring, Driver::Epoll]);
        let mut planned = |faults: &[Fault], within: Range<u64>| {
            let fault = dice.pick(faults);
            let at = usize::try_from(dice.within(within)).expect("it is small");
            let lasts = match fault {
                Fault::StallStore => dice.within(500..2_500),
                Fault::KillTask(_) | Fault::KillStore | Fault::KillRedis => dice.within(0..500),
                Fault::PromoteReplica => dice.within(0..500),
                Fault::EmptyRedis | Fault::CutSubscribers => dice.within(0..100),
            };
            Planned { fault, at, lasts: Duration::from_millis(lasts) }
        };
        let first = planned(faults, 100..900);
        // There is one replica.
        let is_left = |it: &Fault| *it != Fault::PromoteReplica || first.fault != *it;
        let left: Vec<Fault> = faults.iter().copied().filter(is_left).collect();
        let faults = [first, planned(&left, 1_000..1_700)];
        // One thing cannot fail twice at the same time.
        let may_overlap = !faults[0].fault.is_of_same(faults[1].fault);
        let overlaps =
            (may_overlap && dice.below(3) == 0).then(|| Duration::from_millis(dice.within(0..300)));
        let defers = kind == Kind::TwoTasks && dice.below(4) == 0;
        (Self { seed, kind, driver, faults, defers, overlaps }, dice)
    }
}

impl Kind {
    pub(crate) fn tasks_count(self) -> usize {
        match self {
            Self::Sqlite | Self::MariaDb => 1,
            Self::TwoTasks => 2,
        }
    }
}

impl Fault {
    /// Whether both befall the same process.
    fn is_of_same(self, other: Self) -> bool {
        let place = |it| match it {
            Self::KillTask(task) => task,
            Self::KillStore | Self::StallStore => usize::MAX,
            Self::KillRedis | Self::PromoteReplica | Self::EmptyRedis | Self::CutSubscribers => {
                usize::MAX - 1
            }
        };
        place(self) == place(other)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.faults;
        write!(out, "{:?} on {:?}: {:?}", self.kind, self.driver, first.fault)?;
        write!(out, " after {} messages for {:?}", first.at, first.lasts)?;
        match self.overlaps {
            Some(gap) => write!(out, "; {gap:?} later {:?}", second.fault)?,
            None => write!(out, "; {:?} after {}", second.fault, second.at)?,
        }
        write!(out, " for {:?}{}", second.lasts, if self.defers { "; defers" } else { "" })
    }
}
