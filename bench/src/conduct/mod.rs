//! One run: generator processes are started, told what to do and when, and the server is looked at
//! from outside meanwhile.
//!
//! Read this file (the course of a run), then `generators` (the processes), `course` (how it goes
//! from second to second) and `verdict` (what came of it).

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use rustix::process::Pid;
use rustix::process::Signal;

use crate::clock;
use crate::launch;
use crate::live::Live;
use crate::measure::Reading;
use crate::measure::Usage;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::plan::Scenario;
use crate::watch::Watch;
use crate::wire::Finished;
use crate::wire::Note;
use crate::wire::Order;

pub mod course;
pub mod generators;
pub mod verdict;

use course::Course;
use generators::Generators;

/// After the last delivery the server may still have to finish what it was doing.
const REST: Duration = Duration::from_millis(20);
/// Between the word to begin and the beginning.
const LEAD: Duration = Duration::from_millis(10);
/// The same where several processes must have heard it: one that has not would take the first
/// messages of the others for some that were not asked for.
const LEAD_TOGETHER: Duration = Duration::from_millis(250);
/// Beyond the time that a part should take, a process that says nothing is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a run needs besides its plan.
pub struct Stage<'a> {
    /// This program, to be started as a generator.
    pub program: &'a Path,
    /// Who shows how it goes.
    pub live: &'a mut Live,
}

/// Runs `plan` once against a server that is there.
///
/// # Errors
///
/// The server refused or ended, a generator failed, or a closed loop was broken.
pub fn conduct(plan: &Plan, stage: &mut Stage<'_>) -> anyhow::Result<Outcome> {
    let watch = Watch::new(plan.place.server_pid, plan.place.cgroup.as_deref())?;
    let run = Run { plan, watch, stage };
    let outcome = run.run();
    // That the server died explains whatever else went wrong.
    outcome.map_err(|error| match plan.place.server_pid {
        Some(pid) if crate::cpu::used_ns(pid).is_err() => {
            error.context(format!("the server, process {pid}, has ended"))
        }
        Some(_) | None => error,
    })
}

struct Run<'a, 'b> {
    plan: &'a Plan,
    watch: Watch,
    stage: &'a mut Stage<'b>,
}

impl Run<'_, '_> {
    fn run(mut self) -> anyhow::Result<Outcome> {
        let plan = self.plan;
        let mut outcome = Outcome { memory_before: self.watch.memory()?, ..Outcome::default() };
        let mut generators = Generators::start(self.stage.program, plan)?;
        let pids = generators.pids();
        let before = Reading::take(&self.watch, &pids)?;
        let opened = self.open(&mut generators)?;
        let ready = Reading::take(&self.watch, &pids)?;
        outcome.opening = Usage::between(&before, &ready, clock::now());
        outcome.memory_ready = self.watch.memory()?;
        verdict::add_opened(&mut outcome, &opened);
        let has_warm_up = match plan.scenario {
            Scenario::Idle | Scenario::Storm | Scenario::ReplayStorm => false,
            Scenario::Echo
            | Scenario::Fanout
            | Scenario::Rooms
            | Scenario::Users
            | Scenario::RedisFanout
            | Scenario::Slow
            | Scenario::Drain
            | Scenario::Soak => plan.load.warm_up != 0.0,
        };
        if has_warm_up {
            self.stage.live.phase("warming up");
            let at_ns = clock::to_shared_ns(clock::now() + self.lead());
            generators.tell(&Order::WarmUp { at_ns })?;
            self.await_warm_up(&mut generators)?;
        }
        let reads_before = self.store_reads()?;
        let started_at = clock::now() + self.lead();
        let start = Reading::take(&self.watch, &pids)?.beginning_at(started_at);
        generators.tell(&Order::Go { at_ns: clock::to_shared_ns(started_at) })?;
        let mut course = Course::new(started_at, plan.tick());
        let finished = self.watch_over(&mut generators, &mut course, &mut outcome)?;
        std::thread::sleep(REST);
        let reads = self.store_reads()?.zip(reads_before);
        outcome.store_reads = reads.map(|(after, before)| after.saturating_sub(before));
        let ended_ns = finished.iter().map(|it| it.at_ns).max().unwrap_or(0);
        let work_ended_at = clock::from_shared_ns(ended_ns).max(started_at);
        let end = Reading::take(&self.watch, &pids);
        let memory_after = self.watch.memory();
        // A server that was told to end may be gone; what it used is known from the course.
        let is_gone = plan.scenario == Scenario::Drain && (end.is_err() || memory_after.is_err());
        let end = if is_gone { course.last_reading().unwrap_or(start.clone()) } else { end? };
        outcome.usage = Usage::between(&start, &end, work_ended_at);
        outcome.usage.generator_busy_share =
            finished.iter().map(|it| it.busy_share).fold(0.0, f64::max);
        outcome.memory_after = if is_gone { outcome.memory_ready } else { memory_after? };
        generators.tell(&Order::End { limits: verdict::limits(plan, &finished) })?;
        let parts = self.parts(&mut generators)?;
        outcome.series = course.into_slices();
        verdict::judge(&mut outcome, plan, parts);
        outcome.work_out(plan);
        self.stage.live.end();
        Ok(outcome)
    }

    /// How often the store of the server was read, where somebody is asked for it and says so.
    fn store_reads(&self) -> anyhow::Result<Option<u64>> {
        let Some(admin) = &self.plan.place.admin else { return Ok(None) };
        if self.plan.scenario != Scenario::ReplayStorm {
            return Ok(None);
        }
        let text = launch::http_get(admin.parse()?, "/metrics")?;
        let sum = text.lines().filter_map(|it| it.strip_prefix("websocket_history_reads_total"));
        let values = sum.filter_map(|it| it.split_whitespace().next_back()?.parse::<f64>().ok());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        Ok(values.map(|it| it as u64).reduce(|a, b| a + b))
    }

    fn lead(&self) -> Duration {
        if self.plan.generator.processes == 1 { LEAD } else { LEAD_TOGETHER }
    }

    /// Time that a part of `seconds` may take until something is wrong.
    fn patience(&self, seconds: f64) -> Duration {
        let generator = &self.plan.generator;
        Duration::from_secs_f64(seconds + generator.timeout + generator.settle) + PATIENCE
    }

    fn open(&mut self, generators: &mut Generators) -> anyhow::Result<Vec<crate::wire::Opened>> {
        let clients_count = self.plan.load.connections;
        self.stage.live.phase("connecting");
        let mut ready_counts = vec![0; generators.count()];
        let mut opened = Vec::new();
        let deadline = clock::now() + self.patience(0.0) * 2;
        while opened.len() < generators.count() {
            match generators.next(deadline)? {
                (worker, Note::Opening { ready }) => ready_counts[worker] = ready,
                (_, Note::Ready(told)) => opened.push(told),
                (_, other) => anyhow::bail!("{other:?} is out of turn"),
            }
            self.stage.live.connecting(ready_counts.iter().sum(), clients_count);
        }
        Ok(opened)
    }

    fn await_warm_up(&mut self, generators: &mut Generators) -> anyhow::Result<()> {
        let deadline = clock::now() + self.patience(self.plan.load.warm_up);
        let mut warm_count = 0;
        while warm_count < generators.count() {
            match generators.next(deadline)? {
                (_, Note::WarmedUp) => warm_count += 1,
                (_, other) => anyhow::bail!("{other:?} is out of turn"),
            }
        }
        Ok(())
    }

    /// Takes notes until all processes have finished, looks at the server, and tells it to end when
    /// its time has come.
    fn watch_over(
        &mut self,
        generators: &mut Generators,
        course: &mut Course,
        outcome: &mut Outcome,
    ) -> anyhow::Result<Vec<Finished>> {
        let plan = self.plan;
        self.stage.live.phase(plan.scenario.name());
        let deadline = course.started_at() + self.patience(plan.load.seconds);
        let pids = generators.pids();
        let drain_after = plan.load.drain_after;
        let mut end_at = (drain_after != 0.0)
            .then(|| course.started_at() + Duration::from_secs_f64(drain_after));
        let mut ready_counts = vec![0; generators.count()];
        let mut finished = Vec::new();
        while finished.len() < generators.count() {
            let until = deadline.min(course.look_at()).min(end_at.unwrap_or(deadline));
            match generators.next_until(until)? {
                Some((_, Note::Tick(tick))) => course.add(tick),
                Some((_, Note::Finished(told))) => finished.push(told),
                // A storm.
                Some((worker, Note::Opening { ready })) => {
                    ready_counts[worker] = ready;
                    let ready_count = ready_counts.iter().sum();
                    self.stage.live.connecting(ready_count, plan.load.connections);
                }
                Some((_, other)) => anyhow::bail!("{other:?} is out of turn"),
                None => {}
            }
            let now = clock::now();
            if end_at.is_some_and(|at| at <= now) {
                end_at = None;
                course.look(&self.watch, &pids, now);
                self.tell_server_to_end()?;
                let after = clock::elapsed_ns(course.started_at(), now) as f64 / 1e9;
                outcome.told_to_end_at = Some(after);
                self.stage.live.say(&format!("SIGTERM after {after:.1} s"));
            }
            if course.look_at() <= now {
                course.look(&self.watch, &pids, now);
                self.stage.live.going(course.latest(), plan.load.seconds);
            }
            anyhow::ensure!(now < deadline, "the generators say nothing more");
        }
        Ok(finished)
    }

    fn tell_server_to_end(&self) -> anyhow::Result<()> {
        let pid = self.watch.pid().context("no process to tell to end")?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("process 0 is nobody")?;
        rustix::process::kill_process(pid, Signal::TERM).context("cannot tell the server to end")
    }

    fn parts(&mut self, generators: &mut Generators) -> anyhow::Result<Vec<crate::wire::Part>> {
        let deadline: Instant = clock::now() + self.patience(0.0);
        let mut parts = Vec::new();
        while parts.len() < generators.count() {
            match generators.next(deadline)? {
                (_, Note::Part(part)) => parts.push(*part),
                // A slice that was over just before.
                (_, Note::Tick(_)) => {}
                (_, other) => anyhow::bail!("{other:?} is out of turn"),
            }
        }
        Ok(parts)
    }
}
