//! Which seeds are run, several side by side.

use std::any::Any;
use std::env;
use std::ops::Range;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use super::judge::Figures;
use super::plan::Dice;
use super::plan::Plan;
use super::run::run;
use crate::databases::MariaDb;

/// The seeds to run: those of the environment (`COUNT`, or `FROM..TO`), else the first few.
fn seeds(few: u64) -> Range<u64> {
    let Ok(text) = env::var("HISTORY_SEEDS") else { return 1..few + 1 };
    let numbers: Option<Vec<u64>> = text.split("..").map(|it| it.parse().ok()).collect();
    match numbers.as_deref() {
        Some([count]) => 1..count + 1,
        Some([from, to]) => *from..*to,
        Some(_) | None => panic!("HISTORY_SEEDS is COUNT or FROM..TO, not {text:?}"),
    }
}

/// Runs the plan of each seed, as many at a time as there are cores; fails with the first seed
/// whose run is not good.
fn with_seeds(few: u64, test: &str, plan: fn(u64) -> (Plan, Dice)) {
    let seeds = seeds(few);
    let next = AtomicU64::new(seeds.start);
    let failures: Vec<(u64, String)> = thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> =
            (0..cores).map(|_| scope.spawn(|| work(&next, seeds.end, plan))).collect();
        workers.into_iter().flat_map(|it| it.join().expect("a worker catches failures")).collect()
    });
    let failed: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
    if let Some((seed, told)) = failures.iter().min() {
        let again = format!("HISTORY_SEEDS={seed}..{} cargo test --test checker {test}", seed + 1);
        panic!("seeds {failed:?} of {seeds:?} failed; run one again by\n{again}\n{told}");
    }
}

/// Runs seeds until there are no more, or one has failed.
fn work(next: &AtomicU64, end: u64, plan: fn(u64) -> (Plan, Dice)) -> Vec<(u64, String)> {
    // One for all runs: each has a database of its own there.
    let mut mariadb = None;
    let mut failures = Vec::new();
    loop {
        let seed = next.fetch_add(1, Ordering::SeqCst);
        if end <= seed {
            return failures;
        }
        let (plan, dice) = plan(seed);
        let began = Instant::now();
        match attempt(&plan, dice, None, &mut mariadb) {
            Ok(figures) => eprintln!("seed {seed}, {:.1?}, {plan}: {figures:?}", began.elapsed()),
            Err(told) => {
                let told = format!("seed {seed}, {plan}:\n  {told}");
                eprintln!("{told}");
                failures.push((seed, told));
                // Whatever state it is in.
                mariadb = None;
            }
        }
    }
}

/// One run; an assertion that fails in it is a failure like any other.
fn attempt(
    plan: &Plan,
    dice: Dice,
    planted: Option<&'static str>,
    mariadb: &mut Option<MariaDb>,
) -> Result<Figures, String> {
    let mariadb = AssertUnwindSafe(mariadb);
    panic::catch_unwind(move || {
        let AssertUnwindSafe(mariadb) = { mariadb };
        run(plan, dice, planted, mariadb.get_or_insert_with(MariaDb::start))
    })
    .unwrap_or_else(|told| Err(text_of(&*told)))
}

/// What a panic has said.
fn text_of(told: &(dyn Any + Send)) -> String {
    let text = told.downcast_ref::<String>().cloned();
    let text = text.or_else(|| told.downcast_ref::<&str>().map(|it| (*it).to_owned()));
    text.unwrap_or_else(|| "something failed".to_owned())
}

#[test]
fn one_task_loses_doubles_and_reorders_nothing() {
    with_seeds(8, "one_task", Plan::of_one_task);
}

/// Runs the plans of some seeds on a server that neglects a duty, until one is found out.
fn is_found_out(neglected: &'static str, plan: fn(u64) -> (Plan, Dice), complaints: &[&str]) {
    let mut mariadb = None;
    for seed in 1..4 {
        let (plan, dice) = plan(seed);
        match attempt(&plan, dice, Some(neglected), &mut mariadb) {
            Ok(figures) => eprintln!("seed {seed}, {plan}, without {neglected}: {figures:?}"),
            Err(told) if complaints.iter().any(|it| told.contains(it)) => {
                let first = told.lines().next().unwrap_or_default();
                return eprintln!("seed {seed}, {plan}, without {neglected}: {first}");
            }
            Err(told) => panic!("seed {seed}, {plan}, without {neglected}: {told}"),
        }
    }
    panic!("nobody noticed that the server lacks {neglected}");
}

#[test]
fn a_server_without_deduplication_is_found_out() {
    is_found_out("deduplication", Plan::of_one_task, &["was acknowledged at ", " twice, at "]);
}

#[test]
fn two_tasks_lose_double_and_reorder_nothing() {
    with_seeds(8, "two_tasks", Plan::of_two_tasks);
}

#[test]
fn a_server_without_gap_healing_is_found_out() {
    is_found_out("gap-healing", Plan::of_lost_pushes, &["never heard"]);
}
