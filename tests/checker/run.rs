//! One run: clients at work, two faults, and what is left of it all.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::ScopedJoinHandle;
use std::time::Duration;
use std::time::Instant;

use super::judge::Figures;
use super::judge::judge;
use super::listener;
use super::listener::Ears;
use super::plan::Dice;
use super::plan::LISTENERS;
use super::plan::MESSAGES;
use super::plan::Plan;
use super::plan::ROOMS;
use super::plan::SENDERS;
use super::record::History;
use super::record::Id;
use super::record::Kept;
use super::record::Said;
use super::record::Wish;
use super::sender;
use super::sender::Sender;
use super::stage::Stage;
use super::wire::Shared;
use crate::databases::MariaDb;

/// Longer than any good run on a busy machine.
const LASTS: Duration = Duration::from_secs(90);
/// How long everything that was acknowledged may take to be in the store when all is well.
const SETTLING: Duration = Duration::from_secs(15);
/// Tasks look for what others have left every two seconds; after so long nothing comes any more.
const RESTING: Duration = Duration::from_secs(5);
/// Messages that each sender keeps until all faults are over.
const KEPT_BACK: usize = 20;
/// Who says what comes last in each room: first so that all is heard, then that nothing follows.
const FENCES: [u32; 2] = [100, 101];

/// What comes last in a room.
fn last_of(room: u32) -> Id {
    Id { sender: FENCES[1], number: room }
}

/// Runs a plan; an error tells the first broken promise, and what the tasks have said.
pub(crate) fn run(
    plan: &Plan,
    mut dice: Dice,
    planted: Option<&'static str>,
    mariadb: &mut MariaDb,
) -> Result<Figures, String> {
    let shared = Shared::new(plan.kind.tasks_count(), LASTS);
    let mut stage = Stage::start(plan, dice.split(), planted, mariadb, &shared);
    let result = perform(plan, &mut dice, &shared, &mut stage);
    shared.end();
    let said = stage.end();
    result.map_err(|what| format!("{what}\n  the tasks said:\n    {}", said.join("\n    ")))
}

fn perform(
    plan: &Plan,
    dice: &mut Dice,
    shared: &Shared,
    stage: &mut Stage<'_>,
) -> Result<Figures, String> {
    let has_lost_stream = plan.loses_stream();
    let mut history = History { has_lost_stream, ..History::default() };
    let mut odd = Vec::new();
    thread::scope(|scope| {
        let ears = (0..LISTENERS).map(|number| listening(number, dice)).collect::<Vec<_>>();
        let ears: Vec<_> = ears.into_iter().map(|it| scope.spawn(|| it.run(shared))).collect();
        await_until(shared, || {
            (LISTENERS * ROOMS) as usize <= shared.confirmed.load(Ordering::SeqCst)
        });
        let each = MESSAGES / SENDERS as usize;
        shared.allowed.store(each - KEPT_BACK, Ordering::SeqCst);
        let senders: Vec<_> = (0..SENDERS)
            .map(|number| {
                let rooms: Vec<u32> = (0..each).map(|_| room(dice)).collect();
                let sender = Sender::new(number, &rooms, dice.split());
                scope.spawn(move || sender.run(shared))
            })
            .collect();
        make_faults(plan, shared, stage);
        shared.allowed.store(each, Ordering::SeqCst);
        gather_senders(senders, &mut history, &mut odd);
        for number in FENCES {
            let rooms: Vec<u32> = (0..ROOMS).collect();
            let fence = Sender::new(number, &rooms, dice.split()).run(shared);
            history.said.extend(fence.said);
            odd.extend(fence.odd);
            await_stored(stage, &history);
        }
        let late: Vec<_> = (0..shared.tasks_count())
            .map(|task| {
                let name = format!("late-{task}");
                let ears = Ears::new(&name, task, Wish::All, last_of, dice.split());
                scope.spawn(move || ears.run(shared))
            })
            .collect();
        gather_listeners(ears, &mut history, &mut odd);
        gather_listeners(late, &mut history, &mut odd);
    });
    if let Some(odd) = odd.first() {
        return Err(odd.clone());
    }
    history.rows = stage.base.rows()?;
    judge(&history).map_err(|it| it.to_string())
}

/// A listener of the run: one in three stays where it is as long as it can.
fn listening(number: u32, dice: &mut Dice) -> Ears {
    let name = format!("listener-{number}");
    let ears = Ears::new(&name, number as usize, Wish::Live, last_of, dice.split());
    if number.is_multiple_of(3) { ears } else { ears.travelling() }
}

fn room(dice: &mut Dice) -> u32 {
    u32::try_from(dice.below(ROOMS.into())).expect("there are few")
}

fn make_faults(plan: &Plan, shared: &Shared, stage: &mut Stage<'_>) {
    let has = |count: usize| move || count <= shared.acknowledged.load(Ordering::SeqCst);
    let [first, second] = plan.faults;
    await_until(shared, has(first.at));
    stage.begin(first.fault);
    match plan.overlaps {
        Some(gap) => {
            thread::sleep(gap);
            stage.begin(second.fault);
            thread::sleep(first.lasts);
            stage.heal(first.fault);
            thread::sleep(second.lasts);
            stage.heal(second.fault);
        }
        None => {
            thread::sleep(first.lasts);
            stage.heal(first.fault);
            await_until(shared, has(second.at));
            stage.begin(second.fault);
            thread::sleep(second.lasts);
            stage.heal(second.fault);
        }
    }
    stage.await_up();
}

/// Waits for what clients count; gives up with them.
fn await_until(shared: &Shared, is_true: impl Fn() -> bool) {
    while !is_true() && !shared.is_over() {
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the store has all that was acknowledged; what is missing then, the judge will say.
fn await_stored(stage: &Stage<'_>, history: &History) {
    let of = |kept: &[Kept]| -> BTreeSet<Id> {
        let is_of = |it: &&Said| it.receipts.first().is_some_and(|it| kept.contains(&it.kept));
        history.said.iter().filter(is_of).map(|it| it.id).collect()
    };
    let (all, committed) = (of(&[Kept::Committed, Kept::Deferred]), of(&[Kept::Committed]));
    let (mut count, mut changed_at) = (0, Instant::now());
    let deadline = Instant::now() + SETTLING;
    while Instant::now() < deadline {
        let ids = stage.base.ids();
        if count < ids.len() {
            (count, changed_at) = (ids.len(), Instant::now());
        }
        let rests = RESTING < changed_at.elapsed();
        let has_all = all.is_subset(&ids);
        // What was deferred may be lost with Redis.
        if has_all || history.has_lost_stream && rests && committed.is_subset(&ids) {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn gather_senders(
    threads: Vec<ScopedJoinHandle<'_, sender::Account>>,
    history: &mut History,
    odd: &mut Vec<String>,
) {
    for thread in threads {
        let account = thread.join().expect("a client does not fail");
        history.said.extend(account.said);
        odd.extend(account.odd);
    }
}

fn gather_listeners(
    threads: Vec<ScopedJoinHandle<'_, listener::Account>>,
    history: &mut History,
    odd: &mut Vec<String>,
) {
    for thread in threads {
        let account = thread.join().expect("a client does not fail");
        history.listeners.extend(account.rooms);
        odd.extend(account.odd);
    }
}
