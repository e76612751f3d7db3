//! What operators read of the history over the admin listener.

use serde_json::Value;

use crate::on_each_store;
use crate::support::Client;
use crate::support::Driver;
use crate::support::Server;
use crate::support::ask;
use crate::support::program;
use crate::world::MariaDb;
use crate::world::Store;
use crate::world::await_true;
use crate::world::place;
use crate::world::routes_that_keep_all;

on_each_store!(all_messages_are_read_in_pages_and_none_twice,);

const MESSAGES: usize = 150;

/// Status and body of an answer.
#[track_caller]
fn get(server: &Server, rest: &str) -> (u16, Value) {
    let head = format!("GET /api/history/{rest} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = ask(server.admin, &head);
    (answer.status, serde_json::from_str(&answer.body).expect("all bodies are JSON"))
}

#[track_caller]
fn page(server: &Server, rest: &str) -> Value {
    let (status, page) = get(server, rest);
    assert_eq!(status, 200, "{rest}: {page}");
    assert_eq!(page["count"], page["messages"].as_array().expect("a list").len(), "{page}");
    page
}

/// The bodies of a page.
fn bodies(page: &Value) -> Vec<&str> {
    let messages = page["messages"].as_array().expect("a list");
    messages.iter().map(|it| it["body"].as_str().expect("a text")).collect()
}

fn all_messages_are_read_in_pages_and_none_twice(store: &Store) {
    let routes = routes_that_keep_all();
    let server = store.serve_with(&["--config", &routes.path().display().to_string()]);
    let mut writer = Client::session(&server, "writer");
    let all: Vec<String> = (0..MESSAGES).map(|it| format!("text {it}")).collect();
    for body in &all {
        writer.send(&format!("SEND|destination:/app/room.1|x-own:a|content-type:text/a||{body}^@"));
    }
    writer.granted("SEND|destination:/app/room.2", "elsewhere");
    let last = place(&writer.granted("SEND|destination:/app/private.amy", "for amy"));
    let epoch = last.0;

    // The last ones, with and without the slashes in their place.
    for name in ["topic/room.1", "%2Ftopic%2Froom.1", "/topic/room.1", "app/room.1"] {
        let newest = page(&server, &format!("{name}?limit=3"));
        assert_eq!(bodies(&newest), all[MESSAGES - 3..], "{name}");
        assert_eq!((&newest["next"], newest.get("known")), (&Value::Null, None), "{name}");
    }
    assert_eq!(bodies(&page(&server, "topic/room.1")), all[MESSAGES - 100..]);
    let whole = page(&server, "topic/room.1?limit=1000");
    assert_eq!(bodies(&whole), all);
    let first = &whole["messages"][0];
    assert_eq!((first["epoch"].as_u64(), first["seq"].as_u64()), (Some(epoch), Some(1)));
    assert_eq!((&first["user"], &first["contentType"]), (&"writer".into(), &"text/a".into()));
    assert_eq!(first["headers"], serde_json::json!({ "x-own": "a" }));
    assert!(first["id"].is_string() && first["timestamp"].is_u64(), "{first}");

    // All of them, 70 at a time.
    let mut read = Vec::new();
    let mut since = "0:0".to_owned();
    let mut pages_count = 0;
    loop {
        let page = page(&server, &format!("topic/room.1?since={since}&limit=70"));
        assert_eq!(page["known"], pages_count != 0, "{page}");
        read.extend(bodies(&page).into_iter().map(str::to_owned));
        pages_count += 1;
        let Some(next) = page["next"].as_str() else { break };
        // As some clients write it.
        since = next.replace(':', "%3A");
    }
    assert_eq!((read, pages_count), (all, 3));

    let of_amy = page(&server, "user/amy/queue/private");
    assert_eq!(bodies(&of_amy), ["for amy"]);
    assert_eq!(of_amy["destination"], "/user/amy/queue/private");
    assert!(bodies(&page(&server, "topic/room.never")).is_empty());
    assert!(bodies(&page(&server, &format!("topic/room.1?since={epoch}:{MESSAGES}"))).is_empty());
}

#[test]
fn bytes_that_are_no_text_are_read_as_base64_and_large_ones_end_a_page() {
    let store = Store::Memory;
    let server = store.serve_with(&["--set", "limits.message_bytes=2MiB"]);
    let mut writer = Client::session(&server, "writer");
    writer.send("SEND|destination:/app/room.1|content-length:2||\u{1}\u{2}^@");
    let text = "x".repeat(1_500_000);
    for _ in 0..4 {
        writer.granted("SEND|destination:/app/room.1", &text);
    }
    let first = page(&server, "topic/room.1");
    assert_eq!(first["count"], 4, "of 6 MB");
    let rest =
        page(&server, &format!("topic/room.1?since={}", first["next"].as_str().expect("more")));
    assert_eq!((&rest["count"], &rest["next"]), (&1.into(), &Value::Null));
}

#[test]
fn what_cannot_be_read_is_told_as_json() {
    let server = Store::Memory.serve();
    #[track_caller]
    fn check(server: &Server, rest: &str, expected: (u16, &str)) {
        let (status, body) = get(server, rest);
        let code = body["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((status, code), expected, "{rest}: {body}");
        assert!(body["error"]["message"].is_string(), "{body}");
    }
    check(&server, "topic/room.1?limit=0", (400, "bad-request"));
    check(&server, "topic/room.1?limit=1001", (400, "bad-request"));
    check(&server, "topic/room.1?since=1", (400, "bad-request"));
    check(&server, "topic/room.*", (400, "bad-request"));
    check(&server, "topic/a%20b", (400, "bad-request"));
    check(&server, "topic/other", (404, "not-kept"));
    check(&server, "user/amy/queue/other", (404, "not-kept"));
    check(&server, "user/queue/private", (400, "bad-request"));
    check(&server, "app/nothing", (404, "not-kept"));
    check(&server, "elsewhere", (404, "not-kept"));
    check(&server, "", (404, "not-found"));

    let mut mariadb = MariaDb::start();
    let setting = format!("history.url={}", mariadb.url());
    let mut server = Server::start_as(program(), Driver::Epoll, &[&setting]);
    server.await_line("the store of the history is there");
    await_true("a page", || get(&server, "topic/room.1").0 == 200);
    mariadb.kill();
    // What was not read lately.
    check(&server, "topic/room.1?since=0:0", (503, "store-unavailable"));
    check(&server, "topic/room.1", (503, "store-unavailable"));
    mariadb.restart();
    await_true("a page again", || get(&server, "topic/room.1").0 == 200);
}
