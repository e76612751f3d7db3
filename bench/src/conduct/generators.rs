//! The processes that make the load.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;

use crate::clock;
use crate::interrupt;
use crate::plan::Plan;
use crate::wire::Assignment;
use crate::wire::Note;
use crate::wire::Order;

/// How long a wait may last before it is seen that the end is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// All processes of one run; they end with this.
pub struct Generators {
    processes: Vec<Process>,
    notes: mpsc::Receiver<(usize, Option<Note>)>,
    ended_count: usize,
}

struct Process {
    child: Child,
    orders: ChildStdin,
}

impl Generators {
    /// Starts `program` as often as `plan` says, and gives each its assignment.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(program: &Path, plan: &Plan) -> anyhow::Result<Self> {
        let run = run_number();
        let (sender, notes) = mpsc::channel();
        let mut processes = Vec::new();
        let workers = plan.generator.processes;
        for worker in 0..workers {
            let mut child = Command::new(program)
                .arg("generate")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot start {}", program.display()))?;
            let mut orders = child.stdin.take().context("a piped input is there")?;
            let output = child.stdout.take().context("a piped output is there")?;
            listen(worker, output, sender.clone())?;
            let cpus = &plan.generator.client_cpus;
            let cpu = (!cpus.is_empty()).then(|| cpus[worker % cpus.len()]);
            let plan = plan.clone();
            write_line(&mut orders, &Assignment { plan, worker, workers, run, cpu })?;
            processes.push(Process { child, orders });
        }
        Ok(Self { processes, notes, ended_count: 0 })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.processes.len()
    }

    /// Their numbers.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(|it| it.child.id()).collect()
    }

    /// Tells all of them.
    ///
    /// # Errors
    ///
    /// One has ended.
    pub fn tell(&mut self, order: &Order) -> anyhow::Result<()> {
        for process in &mut self.processes {
            write_line(&mut process.orders, order)?;
        }
        Ok(())
    }

    /// The next note, and whose it is; a failure that it tells of is an error.
    ///
    /// # Errors
    ///
    /// None comes until `deadline`, or a process failed.
    pub fn next(&mut self, deadline: Instant) -> anyhow::Result<(usize, Note)> {
        self.next_until(deadline)?.context("a generator says nothing more")
    }

    /// The next note that comes until `until`.
    ///
    /// # Errors
    ///
    /// A process failed, or somebody asked for the end.
    pub fn next_until(&mut self, until: Instant) -> anyhow::Result<Option<(usize, Note)>> {
        loop {
            interrupt::check()?;
            let left = until.saturating_duration_since(clock::now());
            return match self.notes.recv_timeout(left.min(LOOK_EVERY)) {
                Ok((_, Some(Note::Failed { why }))) => Err(anyhow::anyhow!("{why}")),
                Ok((worker, Some(note))) => Ok(Some((worker, note))),
                Ok((worker, None)) => {
                    self.ended_count += 1;
                    let status = self.processes[worker].child.wait()?;
                    anyhow::ensure!(status.success(), "generator {worker} ended with {status}");
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Timeout) if LOOK_EVERY < left => continue,
                Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    Err(anyhow::anyhow!("all generators have ended"))
                }
            };
        }
    }
}

impl Drop for Generators {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // One that has ended needs no end.
            drop(process.child.kill());
            drop(process.child.wait());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "pipes can only be waited for together by threads")]
fn listen(
    worker: usize,
    output: ChildStdout,
    notes: mpsc::Sender<(usize, Option<Note>)>,
) -> anyhow::Result<()> {
    let listen = move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { break };
            let note = serde_json::from_str(&line).unwrap_or_else(|error| Note::Failed {
                why: format!("a generator said something odd: {error}: {line}"),
            });
            if notes.send((worker, Some(note))).is_err() {
                return;
            }
        }
        // Nobody listens when the run is over: then the end is no news.
        drop(notes.send((worker, None)));
    };
    std::thread::Builder::new().name(format!("notes-{worker}")).spawn(listen)?;
    Ok(())
}

fn write_line(orders: &mut ChildStdin, what: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    orders.write_all(&line).context("a generator has ended")
}

/// A number that no other run of the last hours had, to tell its messages from theirs. Its last bit
/// is free for the two phases.
fn run_number() -> u32 {
    let now = clock::to_shared_ns(clock::now());
    let mixed = (clock::unix_seconds() ^ now).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ u64::from(std::process::id()).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let [a, b, c, d, ..] = mixed.to_be_bytes();
    u32::from_be_bytes([a, b, c, d]) & !1
}
