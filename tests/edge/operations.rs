//! What an operator does to a running server: a new configuration, a scrape, lines for CloudWatch.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::Client;
use crate::support::Driver;
use crate::support::PATIENCE;
use crate::support::Server;
use crate::support::ask;
use crate::support::on_each_driver;
use crate::support::program;

on_each_driver!(
    a_reload_takes_what_is_live_and_no_connection_notices,
    a_bad_file_changes_nothing,
    a_reload_changes_who_may_connect,
    a_reload_changes_how_many_may_connect,
    a_scrape_needs_its_token,
    the_cores_tell_how_busy_and_how_late_they_are,
    the_last_line_for_cloudwatch_tells_what_the_others_could_not,
    a_line_about_a_connection_says_whose_it_is_and_no_secret,
    reloads_under_load_lose_no_connection_and_no_message,
);

/// A server whose configuration file can be changed.
struct Configured {
    server: Server,
    file: PathBuf,
    /// Removed at the end.
    _folder: TempDir,
}

impl Configured {
    fn start(driver: Driver, text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("ringway.toml");
        fs::write(&file, text).expect("room");
        let mut command = program();
        command.arg("--config").arg(&file);
        Self { server: Server::start_as(command, driver, &[]), file, _folder: folder }
    }

    /// Puts `text` in the file's place and lets the server read it; returns the line about `what`.
    #[track_caller]
    fn reload(&mut self, text: &str, what: &str) -> String {
        fs::write(&self.file, text).expect("room");
        self.server.signal(Signal::HUP);
        self.server.await_line(what)
    }
}

/// Asks again until `is_so`: the shards look for something new ten times a second.
#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so after {PATIENCE:?}");
    }
}

fn route(name: &str) -> String {
    format!("[[route]]\nmatch = \"/app/{name}\"\nto = \"/topic/{name}\"\n")
}

fn a_reload_takes_what_is_live_and_no_connection_notices(driver: Driver) {
    // A client that asks until it is granted is refused often before.
    let limits = "[limits]\nrefusals = 100000\n";
    let mut configured = Configured::start(driver, &format!("{limits}{}", route("round0")));
    let mut clients: Vec<Client> =
        (0..8).map(|_| Client::session(&configured.server, "user")).collect();
    for round in 1..=4 {
        let [old, new] = [round - 1, round].map(|round| format!("round{round}"));
        for client in &mut clients {
            client.subscribe(&old, &format!("/topic/{old}"));
        }
        clients[0].publish(&format!("/app/{old}"), "before");
        for client in &mut clients {
            client.expect(&old, "before");
        }
        let cores = format!("[server]\ncores = {}\n", round + 2);
        configured.reload(&format!("{limits}{cores}{}", route(&new)), "routes: 1 until now, 1");
        for client in &mut clients {
            let send = format!("SEND|destination:/app/{new}");
            until(|| client.ask(&send, "after").command == "RECEIPT");
            client.refused(&format!("SEND|destination:/app/{old}"), "gone");
        }
    }
    // The flag of the start still wins over the file's `cores`.
    assert_eq!(configured.server.metric("websocket_relay_up", "core=\"1\""), 1.0);
    assert_eq!(configured.server.metric("websocket_relay_up", ""), 2.0);
    for client in &mut clients {
        client.assert_open();
    }
}

fn a_bad_file_changes_nothing(driver: Driver) {
    let mut configured = Configured::start(driver, &route("good"));
    let mut client = Client::session(&configured.server, "user");
    let line = configured.reload("[limits]\nrefusals = 0\n", "nothing is changed");
    assert!(line.contains("limits.refusals") && line.contains("ringway.toml:2"), "{line}");
    client.publish("/app/good", "still");
    configured.reload(&route("good"), "as it was");
    // Each valid alone, and wrong together.
    let text = "[limits]\nmessage_bytes = \"16MiB\"\noutbox_bytes = \"1MiB\"\n";
    let line = configured.reload(text, "limits.outbox_bytes");
    assert!(line.contains("nothing is changed"), "{line}");
    client.publish("/app/good", "still");
}

fn a_reload_changes_how_many_may_connect(driver: Driver) {
    let mut configured = Configured::start(driver, "");
    let two = |server: &Server| [(); 2].map(|()| Client::session(server, "amy"));
    let rejected = |server: &Server| server.metric("websocket_rejected_total", "reason=\"user\"");
    let before = two(&configured.server);
    let text = "[limits]\nconnections_per_user = 1\n";
    configured.reload(text, "limits.connections_per_user: 0 until now, 1");
    until(|| {
        drop(two(&configured.server));
        0.0 < rejected(&configured.server)
    });
    // Those from before were not counted, and stay.
    for mut client in before {
        client.assert_open();
    }
    configured.reload("", "limits.connections_per_user: 1 until now, 0");
    until(|| {
        let before = rejected(&configured.server);
        let mut clients = two(&configured.server);
        clients.iter_mut().all(|it| it.is_served("UNSUBSCRIBE|id:x|receipt:r||^@"))
            && rejected(&configured.server) == before
    });
}

fn a_reload_changes_who_may_connect(driver: Driver) {
    let mut configured = Configured::start(driver, "");
    let asked = |server: &Server| {
        let head = crate::support::upgrade_head("Origin: https://pages.test\r\n");
        ask(server.public, &head).status
    };
    assert_eq!(asked(&configured.server), 403);
    let text = "[auth]\norigins = [\"https://pages.test\"]\n";
    let line = configured.reload(text, "auth.origins");
    assert!(line.contains("from now on"), "{line}");
    until(|| asked(&configured.server) == 101);
}

fn a_scrape_needs_its_token(driver: Driver) {
    let text = "[metrics]\ntoken = \"scrape-me-if-you-can\"\n";
    let mut configured = Configured::start(driver, text);
    let scrape = |server: &Server, path: &str, line: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{line}\r\n");
        ask(server.admin, &request)
    };
    let token = "Authorization: Bearer scrape-me-if-you-can\r\n";
    for path in ["/metrics", "/actuator/prometheus"] {
        let refused = scrape(&configured.server, path, "");
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
        let wrong = "Authorization: Bearer scrape-me-if-you-cannot\r\n";
        assert_eq!(scrape(&configured.server, path, wrong).status, 401);
        let page = scrape(&configured.server, path, token);
        assert!(page.status == 200 && page.body.contains("websocket_"), "{page:?}");
    }
    assert_eq!(scrape(&configured.server, "/actuator/health", "").status, 200);
    let line = configured.reload("[metrics]\n", "metrics.token");
    assert!(line.contains("from now on") && !line.contains("scrape-me"), "{line}");
    assert_eq!(scrape(&configured.server, "/metrics", "").status, 200);
}

fn the_cores_tell_how_busy_and_how_late_they_are(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "user");
    client.subscribe("s", "/topic/x");
    client.publish("/app/room.x", "nobody");
    client.publish("/topic/x", "here");
    client.expect("s", "here");
    assert_eq!(server.metric("websocket_fan_out_time_seconds_count", ""), 1.0);
    assert_eq!(server.metric("websocket_handshake_time_seconds_count", ""), 1.0);
    assert!(1.0 <= server.metric("websocket_outbox_age_seconds_count", ""));
    for core in ["core=\"0\"", "core=\"1\""] {
        until(|| 0.0 < server.metric("websocket_shard_lag_seconds_count", core));
        until(|| 0.0 < server.metric("websocket_shard_busy_seconds_total", core));
        let ratio = server.metric("websocket_shard_busy_ratio", core);
        assert!((0.0..=1.0).contains(&ratio), "{ratio}");
    }
}

fn the_last_line_for_cloudwatch_tells_what_the_others_could_not(driver: Driver) {
    let mut command = program();
    command.env("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/0123456789abcdef-1");
    let settings = ["metrics.emf=true", "metrics.service=chat"];
    let mut server = Server::start_as(command, driver, &settings);
    let mut client = Client::session(&server, "user");
    server.signal(Signal::TERM);
    assert_eq!(client.closed(), 1012);
    drop(client);
    let line = server.await_line("CloudWatchMetrics");
    let root: Value = serde_json::from_str(&line).expect("the line is one object and no more");
    assert_eq!(root["Service"], "chat");
    assert_eq!(root["TaskId"], "0123456789abcdef");
    assert_eq!(root["IoDriver"], driver.name());
    assert_eq!(root["websocket.handshakes"], 1);
    assert_eq!(root["websocket.messages.received"], 1);
    assert_eq!(root["_aws"]["CloudWatchMetrics"][0]["Dimensions"][1][0], "Service");
    assert_eq!(server.await_exit().code(), Some(0));
}

fn a_line_about_a_connection_says_whose_it_is_and_no_secret(driver: Driver) {
    let settings = ["log.format=json", "log.level=ringway=trace", "server.cores=1"];
    let mut server = Server::start_with(driver, &settings);
    let mut client = Client::open(&server);
    client.connect("accept-version:1.2|login:amy|passcode:open-sesame|token:open-sesame");
    client.subscribe("s", "/topic/room.1");
    client.publish("/topic/room.1", "a secret of amy");
    client.expect("s", "a secret of amy");
    client.send("BOGUS||^@");
    client.error_then_close(1002);
    drop(client);
    let line = server.await_line("closed: ");
    let root: Value = serde_json::from_str(&line).expect("a line is one object");
    let span = &root["span"];
    assert_eq!((&root["level"], &span["name"]), (&"WARN".into(), &"connection".into()), "{line}");
    assert_eq!(span["user"], "amy", "{line}");
    for name in ["id", "address", "session"] {
        assert!(span[name].as_str().is_some_and(|it| !it.is_empty()), "{name}: {line}");
    }
    // Each message has its lines at this level only, and none has what it says.
    let said = server.end().join("\n");
    assert!(said.contains("given to subscribers") && said.contains("\"said\""), "{said}");
    assert!(!said.contains("open-sesame") && !said.contains("a secret"), "{said}");
}

/// Eight clients that say something all the time, each hearing all of it; the configuration changes
/// under them.
fn reloads_under_load_lose_no_connection_and_no_message(driver: Driver) {
    const CLIENTS: usize = 8;
    const MESSAGES: usize = 200;
    let mut configured = Configured::start(driver, &route("round0"));
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|_| Client::session(&configured.server, "user")).collect();
    clients.iter_mut().for_each(|it| it.subscribe("s", "/topic/load"));
    let working: Vec<_> = (0..)
        .zip(clients)
        .map(|(number, mut client)| {
            thread::spawn(move || {
                for message in 0..MESSAGES {
                    client.publish("/topic/load", &format!("{number} {message}"));
                }
                let mut heard = BTreeMap::new();
                for _ in 0..CLIENTS * MESSAGES {
                    let text = client.message().text().to_owned();
                    let (who, what) = text.split_once(' ').expect("who and what");
                    let next = heard.entry(who.to_owned()).or_insert(0);
                    assert_eq!(what, next.to_string(), "of {who}");
                    *next += 1;
                }
                client.assert_open();
                client
            })
        })
        .collect();
    let mut rounds_count = 0;
    while rounds_count < 3 || working.iter().any(|it| !it.is_finished()) {
        rounds_count += 1;
        let text = format!("[limits]\nrefusals = {rounds_count}\n{}", route("other"));
        configured.reload(&text, &format!("until now, {rounds_count} ("));
    }
    let clients: Vec<Client> =
        working.into_iter().map(|it| it.join().expect("no client fails")).collect();
    let active = configured.server.metric("websocket_connections_active", "");
    assert_eq!(active, f64::from(u8::try_from(clients.len()).expect("a few")));
    assert_eq!(configured.server.metric("websocket_handshakes_total", "accepted"), active);
}
