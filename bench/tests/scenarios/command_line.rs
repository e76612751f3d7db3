//! The program itself: what its exit code says, and what is left when it is ended early.

use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use ringway_bench::clock;
use ringway_bench::record::Record;
use rustix::process::Pid;
use rustix::process::Signal;

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway-bench"));
    command.args(arguments).stdin(Stdio::null());
    command
}

#[track_caller]
fn check(arguments: &[&str], code: i32, told: &str) {
    let output = bench(arguments).output().expect("the program is there");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(told), "{error}");
    assert!(output.stdout.is_empty(), "nothing was measured");
}

#[test]
fn what_is_wrong_is_told_before_the_first_run_and_whose_fault_it_is() {
    let here = "ws://127.0.0.1:1/";
    check(&["fanuot"], 2, "unrecognized subcommand");
    check(&["fanout"], 2, "no server is named");
    check(&["fanout", "--url", "http://127.0.0.1:1/"], 2, "begins with ws:// or wss://");
    check(&["fanout", "--url", here, "--json", "/nowhere/a.json"], 2, "cannot write /nowhere/");
    check(&["fanout", "--url", here, "--html", "/"], 2, "cannot write /");
    check(&["fanout", "--url", here, "--only", "x"], 2, "no subject is called x");
    check(&["sweep", "fanout", "--over", "n", "--url", here], 2, "NAME=VALUE,VALUE");
    check(&["run", "/nowhere/a.toml"], 2, "cannot read /nowhere/a.toml");
    check(&["fanout", "--url", here], 1, "Connection refused");
}

/// Processes with `word` on their command line.
fn count_with(word: &str) -> usize {
    let processes = std::fs::read_dir("/proc").expect("there is a /proc");
    let lines = processes.filter_map(|it| std::fs::read(it.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|it| it == word.as_bytes())).count()
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = clock::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(clock::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts rounds without end, whose server can be told by `word`.
fn start(word: &str, json: &Path, log: &Path) -> Child {
    let launch = format!(
        "{} --buffer-bytes {word}",
        Path::new(env!("CARGO_BIN_EXE_peer-tungstenite")).display()
    );
    let flags = ["--dialect", "plain", "-n", "4", "--rate", "50", "--rounds", "1000"];
    let mut command = bench(&["fanout", "--launch", &launch, "--seconds", "0.3", "--warm-up", "0"]);
    command.args(flags).arg("--json").arg(json);
    let log = std::fs::File::create(log).expect("the folder is ours");
    command.stdout(Stdio::null()).stderr(log).spawn().expect("the program is there")
}

#[test]
fn an_interrupted_run_keeps_what_was_measured_and_leaves_no_server() {
    for (signal, word) in [(Signal::INT, "4211"), (Signal::TERM, "4213")] {
        let folder = tempfile::tempdir().unwrap();
        let (json, log) = (folder.path().join("a.json"), folder.path().join("log"));
        let mut child = start(word, &json, &log);
        wait_until("no second round began", || {
            std::fs::read_to_string(&log).unwrap().contains("round 1: ")
        });
        wait_until("no server was started", || count_with(word) != 0);
        rustix::process::kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        // The program itself names the word within one argument, the server as one of its own.
        wait_until("a server is left", || count_with(word) == 0);
        let record = Record::read(&json).unwrap();
        assert!(!record.runs.is_empty() && !record.is_clean);
        assert!(record.failures[0].ends_with("interrupted"), "{:?}", record.failures);
    }
}

#[test]
fn a_server_that_fails_in_a_later_case_does_not_take_the_earlier_ones_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (json, file) = (folder.path().join("a.json"), folder.path().join("a.toml"));
    let peer = env!("CARGO_BIN_EXE_peer-tungstenite");
    let text = format!(
        "scenario = 'fanout'\nconnections = 2\nrate = 20\nseconds = 0.2\nwarm-up = 0\n\
         dialect = 'plain'\n[[target]]\nname = 'good'\nlaunch = '{peer}'\n\
         [[target]]\nname = 'bad'\nlaunch = 'false'\n"
    );
    std::fs::write(&file, text).unwrap();
    let output = bench(&["run"]).arg(&file).arg("--json").arg(&json).output().unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(table.contains("NOT WHOLE: fanout of bad, round 1: bad ended by itself"), "{table}");
    assert_eq!(Record::read(&json).unwrap().runs.len(), 1);
}
