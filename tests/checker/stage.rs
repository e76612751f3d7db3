//! The processes of a run: tasks that are killed and started again, and the store below them.

use std::thread;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::plan::Dice;
use super::plan::Fault;
use super::plan::Kind;
use super::plan::Plan;
use super::redises::Redises;
use super::store::Base;
use super::wire::Shared;
use crate::databases::MariaDb;
use crate::support::Driver;
use crate::support::PATIENCE;
use crate::support::Server;
use crate::support::ask;
use crate::support::program;

/// So that nothing but the store and the relay refuses.
const SETTINGS: &[&str] = &["limits.refusals=100000", "limits.receipts_pending=10000"];

/// Lines of a task's output that a failure shows.
const LINES_MAX: usize = 60;

/// The processes of a run.
pub(crate) struct Stage<'r> {
    tasks: Vec<Option<Server>>,
    mariadb: &'r mut MariaDb,
    redises: Option<Redises>,
    dice: Dice,
    pub(crate) base: Base,
    driver: Driver,
    shared: &'r Shared,
    settings: Vec<String>,
    planted: Option<&'static str>,
    said: Vec<String>,
    _folder: TempDir,
}

impl<'r> Stage<'r> {
    /// Starts everything that the plan needs; `planted` is a fault of the server itself.
    pub(crate) fn start(
        plan: &Plan,
        dice: Dice,
        planted: Option<&'static str>,
        mariadb: &'r mut MariaDb,
        shared: &'r Shared,
    ) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let base = match plan.kind {
            Kind::Sqlite => Base::Sqlite(folder.path().join("a.db")),
            Kind::MariaDb | Kind::TwoTasks => Base::create(mariadb, &format!("seed_{}", plan.seed)),
        };
        let mut settings: Vec<String> = SETTINGS.iter().map(|it| (*it).to_owned()).collect();
        settings.push(format!("history.url={}", base.url()));
        let redises =
            (plan.kind == Kind::TwoTasks).then(|| Redises::start(plan.has(Fault::PromoteReplica)));
        settings.extend(redises.as_ref().map(Redises::setting));
        if plan.defers {
            settings.push("history.on_failure=defer".to_owned());
        }
        let tasks = (0..shared.tasks_count()).map(|_| None).collect();
        let driver = plan.driver;
        let said = Vec::new();
        let mut stage = Self {
            tasks,
            mariadb,
            redises,
            dice,
            base,
            driver,
            shared,
            settings,
            planted,
            said,
            _folder: folder,
        };
        (0..shared.tasks_count()).for_each(|task| stage.start_task(task));
        stage.await_up();
        stage
    }

    fn start_task(&mut self, task: usize) {
        let mut command = program();
        if let Some(planted) = self.planted {
            command.env("RINGWAY_PLANTED_FAULT", planted);
        }
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let server = Server::start_as(command, self.driver, &settings);
        self.shared.move_task(task, Some(server.public));
        self.tasks[task] = Some(server);
    }

    /// Waits until each task has all that it needs.
    pub(crate) fn await_up(&self) {
        let deadline = Instant::now() + PATIENCE;
        for task in self.tasks.iter().flatten() {
            loop {
                let request = "GET /actuator/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
                let body = ask(task.admin, request).body;
                let health: Value = serde_json::from_str(&body).expect("health is JSON");
                if health["status"] == "UP" {
                    break;
                }
                assert!(Instant::now() < deadline, "a task is not up: {body}");
                // A page announces nothing.
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Something goes wrong.
    pub(crate) fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::KillTask(task) => {
                let mut server = self.tasks[task].take().expect("it runs");
                self.shared.move_task(task, None);
                let lines = server.end_by(Signal::KILL).to_vec();
                // Dropping it would ask how it ended.
                std::mem::forget(server);
                self.note(task, &lines);
            }
            Fault::KillStore => self.mariadb.kill(),
            Fault::StallStore => self.mariadb.signal(Signal::STOP),
            Fault::KillRedis => self.redises().kill(),
            Fault::PromoteReplica => {
                let mut dice = self.dice.split();
                self.redises().kill_ahead_of_replica(&mut dice);
            }
            Fault::EmptyRedis => self.redises().empty(),
            Fault::CutSubscribers => self.redises().cut_subscribers(),
        }
    }

    /// It is well again.
    pub(crate) fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::KillTask(task) => self.start_task(task),
            Fault::KillStore => self.mariadb.restart(),
            Fault::StallStore => self.mariadb.signal(Signal::CONT),
            Fault::KillRedis => self.redises().restart(),
            Fault::PromoteReplica => self.redises().promote(),
            Fault::EmptyRedis => {}
            Fault::CutSubscribers => self.redises().cut_subscribers(),
        }
    }

    fn redises(&mut self) -> &mut Redises {
        self.redises.as_mut().expect("this run has a Redis")
    }

    /// Ends the tasks, as a host does that is shut down; returns what they have said.
    pub(crate) fn end(mut self) -> Vec<String> {
        for task in 0..self.tasks.len() {
            if let Some(mut server) = self.tasks[task].take() {
                let lines = server.end().to_vec();
                self.note(task, &lines);
            }
        }
        self.base.drop_it();
        self.said
    }

    fn note(&mut self, task: usize, lines: &[String]) {
        let skipped = lines.len().saturating_sub(LINES_MAX);
        self.said.extend(lines[skipped..].iter().map(|line| format!("task {task}: {line}")));
    }
}
