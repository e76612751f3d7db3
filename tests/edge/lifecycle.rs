//! The process: how it starts, what it refuses to start with, how it ends.

use std::process::Output;

use rustix::process::Signal;

use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::on_each_driver;
use crate::support::program;

on_each_driver!(
    a_signal_closes_every_session_with_1012_and_exits_0,
    an_interrupt_ends_it_as_well,
    a_peer_that_stays_does_not_hold_up_the_end,
    the_banner_says_that_anybody_may_enter,
    healthcheck_tells_a_live_server_from_none,
    a_taken_port_is_a_start_error,
);

/// Runs the program to its end.
fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("the server's binary was built before the tests")
}

/// Asserts that starting with `arguments` is refused with exit 2 and a line that holds each of
/// `words`.
#[track_caller]
fn check_refused(arguments: &[&str], words: &[&str]) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    let line = said.lines().find(|line| words.iter().all(|word| line.contains(word)));
    assert!(line.is_some(), "{arguments:?}: no line holds {words:?}:\n{said}");
}

fn a_signal_closes_every_session_with_1012_and_exits_0(driver: Driver) {
    let mut server = Server::start(driver);
    let mut clients: Vec<Client> =
        (0..16).map(|index| Client::session(&server, &format!("user-{index}"))).collect();
    server.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.closed(), 1012);
    }
    drop(clients);
    assert_eq!(server.await_exit().code(), Some(0));
}

fn an_interrupt_ends_it_as_well(driver: Driver) {
    let mut server = Server::start(driver);
    let mut client = Client::session(&server, "user");
    server.signal(Signal::INT);
    assert_eq!(client.closed(), 1012);
    drop(client);
    assert_eq!(server.await_exit().code(), Some(0));
}

fn a_peer_that_stays_does_not_hold_up_the_end(driver: Driver) {
    let settings = ["server.close_timeout=1h", "drain.window=100ms", "drain.deadline=300ms"];
    let mut server = Server::start_with(driver, &settings);
    // It reads nothing and answers nothing, so only the deadline of the process ends it.
    let client = Client::session(&server, "user");
    server.signal(Signal::TERM);
    assert_eq!(server.await_exit().code(), Some(0));
    drop(client);
}

fn the_banner_says_that_anybody_may_enter(driver: Driver) {
    let mut server = Server::start(driver);
    server.await_line("authentication");
}

fn healthcheck_tells_a_live_server_from_none(driver: Driver) {
    let url = {
        let server = Server::start(driver);
        let url = format!("http://{}/actuator/health/liveness", server.admin);
        let output = run(&["healthcheck", "--url", &url]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        url
    };
    let output = run(&["healthcheck", "--url", &url]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

fn a_taken_port_is_a_start_error(driver: Driver) {
    let server = Server::start(driver);
    let taken = server.admin.to_string();
    let listen = ["--listen", "127.0.0.1:0", "--admin-listen", &taken, "--driver", driver.name()];
    check_refused(&listen, &[&taken]);
    // The public port is shared by our own cores only, not with another process.
    let taken = server.public.to_string();
    let listen = ["--listen", &taken, "--admin-listen", "127.0.0.1:0", "--driver", driver.name()];
    check_refused(&listen, &[&taken]);
}

#[test]
fn a_bad_setting_is_named_with_its_value() {
    check_refused(&["--set", "server.nonsense=1"], &["server.nonsense"]);
    check_refused(&["--set", "io.driver=kqueue"], &["io.driver", "kqueue"]);
    check_refused(&["--set", "limits.message_bytes=lots"], &["limits.message_bytes", "lots"]);
    check_refused(&["--set", "limits.message_bytes=1"], &["limits.message_bytes", "1"]);
    // 0 is no word for what a host allows: `auto` is.
    check_refused(&["--cores", "0"], &["server.cores", "0", "auto"]);
    check_refused(&["--set", "limits.connections=0"], &["limits.connections", "0", "auto"]);
    check_refused(&["doctor", "--connections", "0"], &["--connections", "0"]);
    check_refused(&["--config", "no-such-file.toml"], &["no-such-file.toml"]);
}

#[test]
fn config_print_shows_every_setting_and_where_it_comes_from() {
    let output = run(&["config", "print"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for key in ["driver", "message_bytes", "listen"] {
        assert!(said.contains(key), "{key} is missing:\n{said}");
    }
}
