//! Instructions of one call of each hot path, counted by callgrind and compared with the committed
//! counts: unlike times they are the same on a busy machine.
//!
//! `cargo bench -p ringway-bench --bench instructions` compares and exits 1 beyond the threshold;
//! with `-- --update` it writes the counts anew. With `--features unmetered`, where nothing is
//! counted or logged, `-- --bare FILE --update` writes what a turn costs then; `-- --bare FILE`
//! holds what it costs by default against that. Another compiler, C library or CPU counts
//! otherwise: then only a large change is a failure, and the counts are to be renewed in a commit
//! of their own.

mod paths;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use ringway::metrics::IS_METERED;
use serde::Deserialize;
use serde::Serialize;

/// Calls of the shorter run; the longer one has twice as many, and the difference is counted.
const CALLS_COUNT: u64 = 200;
/// A count may be higher by so much than the committed one, in percent.
const THRESHOLD_PERCENT: f64 = 1.0;
/// The same where compiler, C library or CPU are others than those of the committed counts.
const ELSEWHERE_PERCENT: f64 = 20.0;

/// What metrics and logs may add to a message at their defaults, in percent.
const METRICS_PERCENT: f64 = 2.0;

/// Counts instructions of hot paths.
#[derive(Debug, Parser)]
struct Arguments {
    /// Write the counts instead of comparing them.
    #[arg(long)]
    update: bool,
    /// Compare with the counts of a build that counts and logs nothing, or write them.
    #[arg(long, value_name = "FILE")]
    bare: Option<PathBuf>,
    /// Only paths whose names hold this.
    filter: Option<String>,
    /// Makes these many calls of the path that is named: what callgrind runs.
    #[arg(long, hide = true, value_name = "COUNT")]
    calls: Option<u64>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is committed.
#[derive(Default, Deserialize, Serialize)]
struct Counts {
    /// Compiler, C library and kind of CPU that they hold for.
    toolchain: String,
    /// Instructions of one call, by path.
    instructions: BTreeMap<String, u64>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(calls_count) = arguments.calls {
        let name = arguments.filter.as_deref().unwrap_or_default();
        return run(name, calls_count).map(|()| ExitCode::SUCCESS);
    }
    if let Some(file) = &arguments.bare {
        return compare_with_bare(file, arguments.update);
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions/counts.json");
    let committed: Counts = match std::fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).context("the committed counts are damaged")?,
        Err(_) => Counts::default(),
    };
    let toolchain = toolchain()?;
    let is_same = committed.toolchain == toolchain;
    let threshold = if is_same { THRESHOLD_PERCENT } else { ELSEWHERE_PERCENT };
    let mut counts = Counts { toolchain: toolchain.clone(), instructions: BTreeMap::new() };
    let mut output = std::io::stdout().lock();
    let (mut passed_count, mut failed_count) = (0, 0);
    for (name, _) in paths::PATHS {
        if arguments.filter.as_ref().is_some_and(|part| !name.contains(part.as_str())) {
            continue;
        }
        let count = count_of_one(name)?;
        counts.instructions.insert((*name).to_owned(), count);
        let before = committed.instructions.get(*name).copied();
        let change = before.map(|before| 100.0 * (count as f64 / before as f64 - 1.0));
        let is_worse = change.is_none_or(|change| threshold < change);
        let mark = match change {
            None => "not committed".to_owned(),
            Some(change) => format!("{change:+.2} %{}", if is_worse { "  WORSE" } else { "" }),
        };
        writeln!(output, "{name:<34}{count:>10}  {mark}")?;
        if is_worse { failed_count += 1 } else { passed_count += 1 }
    }
    if arguments.update {
        let text = serde_json::to_string_pretty(&counts)?;
        std::fs::write(&file, format!("{text}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !is_same {
        writeln!(
            output,
            "the committed counts are of {}, this is {toolchain}",
            committed.toolchain
        )?;
    }
    writeln!(output, "{passed_count} passed, {failed_count} failed")?;
    Ok(if failed_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What metrics and logs cost: the metered path in this build against that in one without them.
fn compare_with_bare(file: &Path, is_update: bool) -> anyhow::Result<ExitCode> {
    let count = count_of_one(paths::METERED)?;
    if is_update {
        anyhow::ensure!(!IS_METERED, "this build counts: make it with --features unmetered");
        std::fs::write(file, count.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::ensure!(IS_METERED, "this build counts nothing");
    let bare: u64 = std::fs::read_to_string(file)?.trim().parse()?;
    let percent = 100.0 * (count as f64 / bare as f64 - 1.0);
    let is_good = 0.0 < percent && percent <= METRICS_PERCENT;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}: {count} instructions, {bare} without metrics and logs", paths::METERED)?;
    writeln!(output, "metrics and logs cost {percent:.2} %, {METRICS_PERCENT} % are allowed")?;
    writeln!(output, "{} passed, {} failed", u8::from(is_good), u8::from(!is_good))?;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn count_of_one(name: &str) -> anyhow::Result<u64> {
    Ok((count(name, 2 * CALLS_COUNT)? - count(name, CALLS_COUNT)?) / CALLS_COUNT)
}

fn run(name: &str, calls_count: u64) -> anyhow::Result<()> {
    let found = paths::PATHS.iter().find(|(other, _)| *other == name);
    let (_, make) = found.with_context(|| format!("there is no path {name}"))?;
    let mut call = make();
    for _ in 0..calls_count {
        call();
    }
    Ok(())
}

/// Instructions of a whole run of this program, its start included.
fn count(name: &str, calls_count: u64) -> anyhow::Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([name, "--calls", &calls_count.to_string()])
        .output()
        .context("cannot start valgrind: is it installed?")?;
    let text = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{name} failed under valgrind:\n{text}");
    let line = text.lines().find_map(|line| line.split_once("Collected : "));
    let (_, collected) = line.with_context(|| format!("valgrind counted nothing:\n{text}"))?;
    Ok(collected.trim().parse()?)
}

fn toolchain() -> anyhow::Result<String> {
    let first_line = |program: &str| -> anyhow::Result<String> {
        let output = Command::new(program).arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = if cpu.contains(" avx2 ") { "AVX2" } else { "no AVX2" };
    Ok(format!("{}, {}, {cpu}", first_line("rustc")?, first_line("ldd")?))
}
