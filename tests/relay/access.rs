//! Getting in: users and rights, TLS under an authority of one's own, servers without RESP3.

use crate::support::Client;
use crate::support::Driver;
use crate::support::on_each_driver;
use crate::world::Certificates;
use crate::world::Redis;
use crate::world::Ringway;

on_each_driver!(a_user_of_few_rights_is_enough_and_tls_protects_it);

/// All that a server needs of Redis whose clients subscribe to exact names only.
const RULES: &str = "user ringway on >of-ringway resetchannels &ws:* &ringway:* ~ringway:* -@all \
    +hello +auth +ping +role +subscribe +unsubscribe +publish +xadd";

/// And where they may subscribe to patterns: of PSUBSCRIBE, Redis compares the pattern itself with
/// the rule, letter by letter, so `&ws:*` would allow just the pattern `ws:*`.
const RULES_FOR_PATTERNS: &str = "user ringway on >of-ringway allchannels ~ringway:* -@all \
    +hello +auth +ping +role +subscribe +unsubscribe +psubscribe +punsubscribe +publish +xadd";

/// A session on `server` that hears what it says, by an exact name and by a pattern.
#[track_caller]
fn assert_works(server: &Ringway) {
    let mut client = Client::session(server, "alice");
    client.subscribe("s", "/topic/room.1");
    client.publish("/topic/room.1", "heard");
    client.expect("s", "heard");
    client.unsubscribe("s");
    client.subscribe("p", "/topic/hall.*");
    client.publish("/topic/hall.1", "heard");
    client.expect("p", "heard");
}

/// Bodies far larger than a TLS record, both ways.
#[track_caller]
fn assert_carries_much(server: &Ringway) {
    let mut client = Client::session(server, "alice");
    client.subscribe("s", "/topic/much");
    let body_of = |number: u32| -> Vec<u8> {
        (0..40_000_u32).map(|at| (at.wrapping_mul(number + 7) >> 5).to_le_bytes()[0]).collect()
    };
    for number in 0..100 {
        let body = body_of(number);
        let head = format!("SEND\ndestination:/topic/much\ncontent-length:{}\n\n", body.len());
        client.send_binary(&[head.as_bytes(), &body, b"\0"].concat());
        if number % 10 == 9 {
            for number in number - 9..=number {
                assert_eq!(client.message().body, body_of(number), "body {number}");
            }
        }
    }
}

fn a_user_of_few_rights_is_enough_and_tls_protects_it(driver: Driver) {
    let certificates = Certificates::of(&["redis.test", "127.0.0.1"]);
    let redis = Redis::with_acl_and_tls(RULES_FOR_PATTERNS, &certificates);
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let ca = certificates.write(folder.path()).ca;
    let tls_port = redis.tls_port.expect("it has one");
    let url = format!("relay.url=rediss://127.0.0.1:{tls_port}");
    let ca = format!("relay.tls_ca={}", ca.display());
    let settings = [&*url, &ca, "relay.user=ringway"];
    let password = [("RINGWAY_RELAY_PASSWORD", "of-ringway")];
    let server = Ringway::start_with_environment(driver, &settings, &password);
    server.await_up();
    assert_works(&server);
    assert_carries_much(&server);
    let by_name = [&settings[..], &["relay.tls_server_name=redis.test"]].concat();
    let server = Ringway::start_with_environment(driver, &by_name, &password);
    server.await_up();
    assert_works(&server);
}

#[test]
fn the_url_may_hold_user_and_password() {
    let redis = Redis::with_acl(RULES_FOR_PATTERNS);
    let url = format!("relay.url=redis://ringway:of-ringway@127.0.0.1:{}", redis.port);
    assert_works(&Ringway::start(Driver::IoUring, &[&url]));
    let url = format!("redis://ringway:of-ringway@127.0.0.1:{}", redis.port);
    let environment = [("REDIS_URL", &*url)];
    let server = Ringway::start_with_environment(Driver::IoUring, &[], &environment);
    server.await_up();
    assert_works(&server);
}

/// Redis listens on one of the addresses that the name has.
#[test]
fn a_name_is_looked_up() {
    let redis = Redis::plain();
    let url = format!("relay.url=redis://localhost:{}", redis.port);
    assert_works(&Ringway::start(Driver::IoUring, &[&url]));
}

#[test]
fn redis_host_is_enough() {
    let redis = Redis::plain();
    let port = redis.port.to_string();
    let environment = [("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &*port)];
    let server = Ringway::start_with_environment(Driver::IoUring, &[], &environment);
    server.await_up();
    assert_works(&server);
}

/// Starts a server that Redis will not let in, and waits for the line that says why.
#[track_caller]
fn check_kept_out(settings: &[&str], environment: &[(&str, &str)], reason: &str) {
    let mut server = Ringway::start_with_environment(Driver::IoUring, settings, environment);
    let line = server.await_line(reason);
    assert!(line.contains("127.0.0.1"), "the line names the address: {line}");
    for (name, secret) in environment {
        assert!(!line.contains(secret), "the line tells {name}");
    }
    server.await_degraded();
    // Clients are served all the same, and told what cannot be done.
    let mut client = Client::session(&server, "alice");
    client.refused("SUBSCRIBE|id:s|destination:/topic/room.1", "");
}

#[test]
fn who_is_kept_out_is_told_why() {
    let certificates = Certificates::of(&["127.0.0.1"]);
    let redis = Redis::with_acl_and_tls(RULES, &certificates);
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let ca = format!("relay.tls_ca={}", certificates.write(folder.path()).ca.display());
    let plain = redis.setting();
    let tls_port = redis.tls_port.expect("it has one");
    let tls = format!("relay.url=rediss://127.0.0.1:{tls_port}");
    let (soon, user) = ("relay.confirm_seconds=500ms", "relay.user=ringway");
    let wrong = [("RINGWAY_RELAY_PASSWORD", "not-of-ringway")];
    let right = [("RINGWAY_RELAY_PASSWORD", "of-ringway")];
    check_kept_out(&[&plain, user, soon], &wrong, "WRONGPASS");
    check_kept_out(&[&plain, soon], &[], "NOAUTH");
    check_kept_out(&[&tls, user, soon], &right, "certificate");
    let name = "relay.tls_server_name=other.test";
    check_kept_out(&[&tls, user, soon, &ca, name], &right, "certificate");
}

#[test]
fn a_user_of_certain_channels_may_use_them_and_no_patterns() {
    let redis = Redis::with_acl(&format!("{RULES} +psubscribe"));
    let url = format!("relay.url=redis://ringway:of-ringway@127.0.0.1:{}", redis.port);
    let server = Ringway::start(Driver::IoUring, &[&url]);
    let mut client = Client::session(&server, "alice");
    let error = client.refused("SUBSCRIBE|id:p|destination:/topic/room.*", "");
    assert_eq!(error.header("message"), "relay-refused", "{error:?}");
    assert!(error.text().contains("NOPERM"), "{error:?}");
    client.subscribe("s", "/topic/room.1");
    client.publish("/topic/room.1", "heard");
    client.expect("s", "heard");
}

#[test]
fn a_user_without_a_needed_right_is_told_which() {
    let rules = RULES.replace(" +publish", "");
    let redis = Redis::with_acl(&rules);
    let url = format!("relay.url=redis://ringway:of-ringway@127.0.0.1:{}", redis.port);
    let server = Ringway::start(Driver::IoUring, &[&url]);
    let mut client = Client::session(&server, "alice");
    let error = client.refused("SEND|destination:/topic/room.1", "x");
    assert!(error.text().contains("NOPERM"), "{error:?}");
}

/// As Redis before 6, or a proxy that knows RESP2 only.
#[test]
fn a_server_without_hello_works() {
    let without_command = Redis::with(&["--rename-command", "HELLO", ""]);
    assert_works(&Ringway::start(Driver::IoUring, &[&without_command.setting()]));
    let without_right = Redis::with_acl("user ringway on >x ~* &* +@all -hello");
    // Before a client has said who it is, HELLO is judged by the rights of `default`.
    without_right.client().ask(&["ACL", "SETUSER", "default", "-hello"]);
    let url = format!("relay.url=redis://ringway:x@127.0.0.1:{}", without_right.port);
    assert_works(&Ringway::start(Driver::IoUring, &[&url]));
}
