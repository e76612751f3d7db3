//! What an operator says to a whole fleet: it is heard at once, and not forgotten by those who were
//! away.

use std::process::Output;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::support::Client;
use crate::support::Driver;
use crate::support::ask;
use crate::support::on_each_driver;
use crate::support::program;
use crate::world::Cluster;
use crate::world::Proxy;
use crate::world::Redis;
use crate::world::Reply;
use crate::world::Ringway;
use crate::world::await_true;

on_each_driver!(
    a_revoked_token_ends_everywhere_at_once,
    what_is_revoked_over_http_while_redis_is_away_holds_here_and_later_everywhere,
);

const KEY: &str = "0123456789abcdef0123456789abcdef";
const SECRET: &str = "fedcba9876543210fedcba9876543210";
/// What tokens and words are made with, and what servers believe.
const SECRETS: [(&str, &str); 2] = [("RINGWAY_RELAY_HMAC_KEY", KEY), ("JWT_SECRET", SECRET)];
const RECORD: &str = "ringway:revoked";
/// What "at once" means.
const SOON: Duration = Duration::from_secs(1);

fn start(driver: Driver, setting: &str) -> Ringway {
    let server = start_early(driver, setting);
    server.await_up();
    server
}

fn start_early(driver: Driver, setting: &str) -> Ringway {
    Ringway::start_with_environment(driver, &[setting], &SECRETS)
}

fn run(arguments: &[&str]) -> Output {
    let mut command = program();
    command.envs(SECRETS).args(arguments);
    command.output().expect("the program runs")
}

/// Says it, and gives what was answered.
#[track_caller]
fn tell(setting: &str, arguments: &[&str]) -> String {
    let output = run(&[arguments, &["--set", setting]].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn token(user: &str, jti: &str) -> String {
    let claim = format!("jti={jti}");
    let output = run(&["token", "--user", user, "--claim", &claim]);
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// A session with this token, or the code that it was closed with.
fn try_connect(server: &Ringway, token: &str) -> Result<Client, u16> {
    let mut client = Client::open(server);
    client.send(&format!("CONNECT|accept-version:1.2|Authorization:Bearer {token}||^@"));
    let is_in = client.answer().command == "CONNECTED";
    if is_in { Ok(client) } else { Err(client.closed()) }
}

#[track_caller]
fn connect(server: &Ringway, token: &str) -> Client {
    try_connect(server, token).unwrap_or_else(|code| panic!("closed with {code}"))
}

#[track_caller]
fn assert_ended(client: &mut Client, code: u16, message: &str) {
    assert_eq!(client.error_then_close(code).header("message"), message);
}

fn a_revoked_token_ends_everywhere_at_once(driver: Driver) {
    let redis = Redis::plain();
    let setting = redis.setting();
    let servers = [start(driver, &setting), start(driver, &setting)];
    let (stolen, other) = (token("amy", "stolen"), token("amy", "other"));
    let bob = token("bob", "b1");
    let mut thieves: Vec<Client> =
        servers.iter().flat_map(|it| (0..4).map(|_| connect(it, &stolen))).collect();
    let mut amy = connect(&servers[0], &other);
    let mut bobs: Vec<Client> = servers.iter().map(|it| connect(it, &bob)).collect();

    let began = Instant::now();
    // Two tasks of two cores each.
    let told = tell(&setting, &["revoke", "--jti", "stolen"]);
    assert_eq!(told, "told; cores that heard it: 4\n");
    for thief in &mut thieves {
        assert_ended(thief, 4401, "the token was revoked");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    for server in &servers {
        assert_eq!(try_connect(server, &stolen).err(), Some(4401));
    }
    amy.assert_open();

    tell(&setting, &["revoke", "--user", "bob"]);
    for bob in &mut bobs {
        assert_ended(bob, 4401, "the token was revoked");
    }
    assert_eq!(try_connect(&servers[0], &bob).err(), Some(4401));

    tell(&setting, &["disconnect", "--user", "amy"]);
    assert_ended(&mut amy, 1008, "disconnected by an operator");
    connect(&servers[1], &other).assert_open();
    assert_eq!(redis.client().ask(&["ZCARD", RECORD]), Reply::Number(2));
}

/// Asks the API of a server; the status and the answer.
fn post(server: &Ringway, path: &str, body: &str) -> (u16, Value) {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = ask(server.admin, &request);
    (answer.status, serde_json::from_str(&answer.body).expect("JSON"))
}

fn what_is_revoked_over_http_while_redis_is_away_holds_here_and_later_everywhere(driver: Driver) {
    let mut redis = Redis::plain();
    let setting = redis.setting();
    let servers = [start(driver, &setting), start(driver, &setting)];
    let (stolen, fine, bob) = (token("amy", "stolen"), token("amy", "fine"), token("bob", "b1"));
    let mut thieves = servers.each_ref().map(|it| connect(it, &stolen));
    let mut amys = servers.each_ref().map(|it| connect(it, &fine));
    let mut bobs = servers.each_ref().map(|it| connect(it, &bob));
    redis.kill();
    servers.iter().for_each(Ringway::await_degraded);

    // Here it holds at once, and the answer says so, and what comes.
    for (body, ended) in
        [(r#"{"jti":"stolen"}"#, &mut thieves[0]), (r#"{"user":"bob"}"#, &mut bobs[0])]
    {
        let (status, answer) = post(&servers[0], "/api/tokens/revoke", body);
        assert_eq!((status, &answer["reach"]), (202, &"process".into()), "{answer}");
        assert_eq!(answer["pending"], true, "{answer}");
        let text = answer["message"].as_str().expect("a text");
        assert!(text.contains("as soon as Redis answers"), "{answer}");
        assert_ended(ended, 4401, "the token was revoked");
    }
    assert_eq!(try_connect(&servers[0], &stolen).err(), Some(4401));
    // The other has not heard of it yet, as was said.
    thieves[1].assert_open();
    bobs[1].assert_open();
    // Who would end a session later than asked for might end one that has just begun.
    let (status, answer) = post(&servers[0], "/api/users/amy/disconnect", "{}");
    assert_eq!((status, &answer["error"]["code"]), (503, &"relay".into()), "{answer}");

    redis.restart();
    assert_ended(&mut thieves[1], 4401, "the token was revoked");
    assert_ended(&mut bobs[1], 4401, "the token was revoked");
    amys.iter_mut().for_each(Client::assert_open);
    // Written down as well: who comes later reads it.
    await_true("both are written down", || {
        redis.client().ask(&["ZCARD", RECORD]) == Reply::Number(2)
    });
    let late = start(driver, &setting);
    await_true("the record to be read", || try_connect(&late, &stolen).err() == Some(4401));
    await_true("the record to be read", || try_connect(&late, &bob).err() == Some(4401));
    connect(&late, &fine).assert_open();
}

#[test]
fn revocations_that_redis_never_took_are_told_at_the_end() {
    let redis = Redis::plain();
    let proxy = Proxy::to(redis.port);
    let mut server = start(Driver::IoUring, &proxy.setting());
    drop(redis);
    server.await_degraded();
    let (status, answer) = post(&server, "/api/tokens/revoke", r#"{"jti":"one"}"#);
    assert_eq!((status, &answer["pending"]), (202, &true.into()), "{answer}");
    server.await_line("a revocation waits for Redis");
    let lines = server.end();
    assert!(lines.iter().any(|it| it.contains("lost to the rest of the fleet")), "{lines:?}");
}

#[test]
fn a_task_that_was_away_or_comes_later_knows_what_is_revoked() {
    let redis = Redis::plain();
    let proxy = Proxy::to(redis.port);
    let through = proxy.setting();
    let away = start(Driver::IoUring, &through);
    let (one, two) = (token("amy", "one"), token("amy", "two"));
    let mut amy = connect(&away, &one);
    let mut fine = connect(&away, &two);
    proxy.stall();
    proxy.cut();
    away.await_degraded();
    let told = tell(&redis.setting(), &["revoke", "--jti", "one"]);
    assert_eq!(told, "told; cores that heard it: 0\n");
    amy.assert_open();
    proxy.resume();
    assert_ended(&mut amy, 4401, "the token was revoked");
    fine.assert_open();

    // And one that has just started.
    let late = start(Driver::IoUring, &redis.setting());
    await_true("the record to be read", || try_connect(&late, &one).err() == Some(4401));
    connect(&late, &two).assert_open();
}

#[test]
fn the_record_forgets_what_has_expired_and_holds_so_many() {
    let redis = Redis::plain();
    let mut client = redis.client();
    client.ask(&["ZADD", RECORD, "1", "long past"]);
    tell(&redis.setting(), &["revoke", "--jti", "one", "--keep-for", "60"]);
    assert_eq!(client.ask(&["ZCARD", RECORD]), Reply::Number(1));
    let script = "for it = 1, 100000 do redis.call('ZADD', KEYS[1], '9e15', it) end";
    client.ask(&["EVAL", script, "1", RECORD]);
    tell(&redis.setting(), &["revoke", "--jti", "two"]);
    assert_eq!(client.ask(&["ZCARD", RECORD]), Reply::Number(100_000));
}

#[test]
fn a_cluster_is_told_wherever_its_slots_are() {
    let cluster = Cluster::start();
    let setting = cluster.setting(&[0]);
    let settings = [&*setting, "relay.mode=sharded"];
    let server = Ringway::start_with_environment(Driver::IoUring, &settings, &SECRETS);
    server.await_up();
    let one = token("amy", "one");
    let mut amy = connect(&server, &one);
    let arguments = ["revoke", "--jti", "one", "--set", "relay.mode=sharded"];
    tell(&setting, &arguments);
    assert_ended(&mut amy, 4401, "the token was revoked");
    let late = Ringway::start_with_environment(Driver::IoUring, &settings, &SECRETS);
    late.await_up();
    await_true("the record to be read", || try_connect(&late, &one).err() == Some(4401));
}

#[test]
fn who_cannot_be_heard_is_told_why() {
    for (arguments, code, reason) in [
        (&["revoke", "--jti", "a"][..], 2, "needs relay.url and relay.hmac_key"),
        (&["revoke"], 2, "--jti"),
        (&["revoke", "--jti", "a", "--user", "b"], 2, "cannot be used with"),
        (&["disconnect"], 2, "--user"),
        (&["revoke", "--user", "", "--set", "relay.url=redis://127.0.0.1:1"], 2, "1 to"),
        (&["disconnect", "--user", "a", "--set", "relay.url=redis://127.0.0.1:1"], 1, "refused"),
    ] {
        let output = run(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(reason), "{arguments:?}: {text}");
    }
}
