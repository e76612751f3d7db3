//! The API of the admin listener: who may use it, what it does, and that its document says so.

use std::thread;
use std::time::Instant;

use rustix::net::sockopt::set_socket_recv_buffer_size;
use serde_json::Value;
use serde_json::json;

use crate::support::Client;
use crate::support::Driver;
use crate::support::PATIENCE;
use crate::support::Response;
use crate::support::Server;
use crate::support::ask;
use crate::support::on_each_driver;

on_each_driver!(
    nobody_uses_the_api_without_its_token,
    what_a_page_of_others_would_send_is_refused,
    connections_and_users_are_listed_and_closed,
    messages_are_published_in_order,
    a_large_batch_waits_for_those_who_read_it,
    what_cannot_be_published_is_told_as_json,
    a_share_of_the_connections_is_sent_elsewhere,
    a_rebalance_closes_the_share_that_it_is_told_and_no_more,
    a_drain_is_begun_over_the_api,
    the_document_has_each_path_and_each_path_its_document,
);

/// Asks with `lines` as further headers; a body makes it a POST with JSON.
#[track_caller]
fn call(server: &Server, method: &str, path: &str, lines: &str, body: &str) -> Response {
    let host = server.admin;
    let post = match method {
        "POST" if !lines.to_ascii_lowercase().contains("content-type") => {
            "Content-Type: application/json\r\n"
        }
        _ => "",
    };
    let length = body.len();
    let host = if lines.contains("Host: ") { String::new() } else { format!("Host: {host}\r\n") };
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{post}{lines}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    ask(server.admin, &request)
}

#[track_caller]
fn get(server: &Server, path: &str) -> Value {
    let answer = call(server, "GET", path, "", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_str(&answer.body).expect("the body is JSON")
}

#[track_caller]
fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let answer = call(server, "POST", path, "", &body.to_string());
    (answer.status, serde_json::from_str(&answer.body).expect("the body is JSON"))
}

/// The code of a failure, which has a message too.
#[track_caller]
fn code(answer: &Response) -> String {
    let body: Value = serde_json::from_str(&answer.body).expect("a failure is JSON");
    assert!(body["error"]["message"].as_str().is_some_and(|it| !it.is_empty()), "{body}");
    body["error"]["code"].as_str().expect("a code").to_owned()
}

fn nobody_uses_the_api_without_its_token(driver: Driver) {
    let server = Server::start_with(driver, &["admin.token=operators-only-please"]);
    for (method, path) in [("GET", "/api/connections"), ("POST", "/api/drain")] {
        for line in ["", "Authorization: Bearer operators-only-pleasf\r\n"] {
            let answer = call(&server, method, path, line, "");
            assert_eq!((answer.status, &*code(&answer)), (401, "unauthorized"));
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    let token = "Authorization: Bearer operators-only-please\r\n";
    assert_eq!(call(&server, "GET", "/api/connections", token, "").status, 200);
    let elsewhere = format!("Host: edge.internal\r\n{token}");
    assert_eq!(call(&server, "GET", "/api/connections", &elsewhere, "").status, 200);
    // Its health and its page are no secret, and the drain has not begun.
    assert_eq!(call(&server, "GET", "/actuator/health/readiness", "", "").status, 200);
    assert_eq!(call(&server, "GET", "/", "", "").status, 200);
}

fn what_a_page_of_others_would_send_is_refused(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "user");
    for (lines, status) in [
        ("Origin: http://evil.test\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Host: evil.test\r\nOrigin: http://evil.test\r\n", 403),
        ("Host: evil.test\r\n", 403),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 415),
        ("Content-Type: text/plain\r\n", 415),
        ("Content-Type: multipart/form-data; boundary=x\r\n", 415),
    ] {
        let answer = call(&server, "POST", "/api/users/user/disconnect", lines, "{}");
        assert_eq!(answer.status, status, "{lines:?}: {answer:?}");
        code(&answer);
    }
    client.assert_open();
}

fn connections_and_users_are_listed_and_closed(driver: Driver) {
    let server = Server::start(driver);
    let mut alice = [Client::session(&server, "alice"), Client::session(&server, "alice")];
    let mut bob = Client::session(&server, "bob smith/é");
    alice[0].subscribe("s", "/topic/room.1");
    alice[1].subscribe("s", "/topic/room.1");
    bob.subscribe("s", "/topic/room.*");
    let all = get(&server, "/api/connections");
    assert_eq!(all["count"], 3);
    let one = get(&server, "/api/connections?limit=1");
    assert_eq!((&one["count"], one["connections"].as_array().map(Vec::len)), (&json!(3), Some(1)));
    let listed = get(&server, "/api/users/alice");
    assert_eq!((&listed["user"], &listed["count"]), (&json!("alice"), &json!(2)));
    let row = &listed["connections"][0];
    assert_eq!((&row["user"], &row["subscriptions"]), (&json!("alice"), &json!(1)));
    let top = get(&server, "/api/destinations");
    let rooms = json!({ "destination": "/topic/room.1", "pattern": false, "subscriptions": 2 });
    assert_eq!((&top["count"], &top["destinations"][0]), (&json!(2), &rooms));

    let path = format!("/api/connections/{}/disconnect", row["id"].as_str().expect("an id"));
    assert_eq!(post(&server, &path, &json!({})), (200, json!({ "disconnected": 1 })));
    let deadline = Instant::now() + PATIENCE;
    while get(&server, "/api/users/alice")["count"] != 1 {
        assert!(Instant::now() < deadline);
    }
    let answer = call(&server, "POST", &path, "", "{}");
    assert_eq!((answer.status, &*code(&answer)), (404, "not-found"));
    let path = "/api/users/bob%20smith%2F%C3%A9/disconnect";
    let said = (202, json!({ "reach": "process" }));
    assert_eq!(post(&server, path, &json!({})), said);
    bob.error_then_close(1008);
    assert_eq!(post(&server, "/api/users/alice/disconnect", &json!({})), said);
    for client in &mut alice {
        client.error_then_close(1008);
    }
}

fn messages_are_published_in_order(driver: Driver) {
    let server = Server::start(driver);
    let mut client = Client::session(&server, "alice");
    client.subscribe("room", "/topic/room.1");
    client.subscribe("own", "/user/queue/private");
    let message = json!({
        "destination": "/topic/room.1", "body": "{\"a\":1}", "contentType": "application/json",
        "headers": { "kind": "notice" },
    });
    let (status, answer) = post(&server, "/api/publish", &message);
    assert_eq!((status, &answer["published"]), (200, &json!(1)));
    let frame = client.message();
    assert_eq!((frame.header("subscription"), frame.text()), ("room", "{\"a\":1}"));
    assert_eq!(
        (frame.header("content-type"), frame.header("kind")),
        ("application/json", "notice")
    );
    assert_eq!(answer["ids"][0], frame.header("message-id"));
    let private = json!({ "destination": "/queue/private", "body": "for you" });
    assert_eq!(post(&server, "/api/users/alice/publish", &private).0, 200);
    client.expect("own", "for you");
    // As many as one body may hold.
    let list: Vec<Value> = (0..10_000)
        .map(|number| json!({ "destination": "/topic/room.1", "body": number.to_string() }))
        .collect();
    let (status, answer) = post(&server, "/api/publish/batch", &json!({ "messages": list }));
    assert_eq!((status, &answer["published"]), (200, &json!(10_000)), "{answer}");
    assert_eq!(answer["ids"].as_array().map(Vec::len), Some(10_000));
    for number in 0..10_000 {
        client.expect("room", &number.to_string());
    }
    // What comes before one that is refused is published, and the answer says so.
    let list = ["/topic/room.1", "/app/no", "/topic/room.1"]
        .map(|to| json!({ "destination": to, "body": "part" }));
    let (status, answer) = post(&server, "/api/publish/batch", &json!({ "messages": list }));
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("no-route")), "{answer}");
    assert!(answer["error"]["message"].as_str().is_some_and(|it| it.starts_with("message 2 of 3")));
    assert_eq!((&answer["published"], &answer["ids"][1]), (&json!(1), &Value::Null));
    client.expect("room", "part");
    client.assert_open();
}

/// 8 MB to one destination, and readers whose kernels hold little of it: what a core may keep for
/// one of them is a sixteenth.
fn a_large_batch_waits_for_those_who_read_it(driver: Driver) {
    const COUNT: usize = 10_000;
    let server = Server::start_with(driver, &["server.cores=2"]);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let mut client = Client::session(&server, "reader");
            set_socket_recv_buffer_size(client.stream(), 64 << 10).expect("it may be small");
            client.subscribe("s", "/topic/news");
            thread::spawn(move || {
                for number in 0..COUNT {
                    let frame = client.message();
                    assert!(frame.text().starts_with(&format!("{number} ")), "{number}: {frame:?}");
                }
                client.assert_open();
            })
        })
        .collect();
    let filler = "x".repeat(800);
    let list: Vec<Value> = (0..COUNT)
        .map(|number| json!({ "destination": "/topic/news", "body": format!("{number} {filler}") }))
        .collect();
    let (status, answer) = post(&server, "/api/publish/batch", &json!({ "messages": list }));
    assert_eq!((status, &answer["published"]), (200, &json!(COUNT)));
    for reader in readers {
        reader.join().expect("it has all of them, in order");
    }
    assert!(server.metric("websocket_slow_consumers_total", "").abs() < 0.5);
}

fn what_cannot_be_published_is_told_as_json(driver: Driver) {
    let server = Server::start(driver);
    for (path, body, status, expected) in [
        ("/api/publish", "{", 400, "bad-request"),
        ("/api/publish", "[]", 400, "bad-request"),
        ("/api/publish", r#"{"destination":"/topic/x"}"#, 400, "bad-request"),
        ("/api/publish", r#"{"destination":"/nowhere","body":""}"#, 422, "no-route"),
        ("/api/publish", r#"{"destination":"/app/room.1","body":""}"#, 422, "no-route"),
        ("/api/publish", r#"{"destination":"/topic/*","body":""}"#, 422, "bad-destination"),
        ("/api/publish", r#"{"destination":"/topic/server.events","body":""}"#, 422, "forbidden"),
        ("/api/users/%FF/disconnect", "{}", 400, "bad-request"),
        ("/api/users/a/publish", r#"{"destination":"/topic/x","body":""}"#, 400, "bad-request"),
        ("/api/publish/batch", r#"{"messages":[]}"#, 400, "bad-request"),
        ("/api/rebalance", r#"{"share":2}"#, 400, "bad-request"),
        ("/api/tokens/revoke", "{}", 400, "bad-request"),
        ("/api/tokens/revoke", r#"{"jti":"a","user":"b"}"#, 400, "bad-request"),
        ("/api/nothing", "{}", 404, "not-found"),
    ] {
        let answer = call(&server, "POST", path, "", body);
        assert_eq!((answer.status, &*code(&answer)), (status, expected), "{path} {body}");
    }
    let large = format!(r#"{{"destination":"/topic/x","body":"{}"}}"#, "x".repeat(16 << 20));
    let answer = call(&server, "POST", "/api/publish", "", &large);
    assert_eq!((answer.status, &*code(&answer)), (413, "too-large"));
    let answer = call(&server, "GET", "/api/publish", "", "");
    assert_eq!((answer.status, &*code(&answer)), (405, "method"));
    let answer = call(&server, "GET", "/api/connections?limit=0", "", "");
    assert_eq!((answer.status, &*code(&answer)), (400, "bad-request"));
}

fn a_share_of_the_connections_is_sent_elsewhere(driver: Driver) {
    let server = Server::start_with(driver, &["server.cores=1"]);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::session(&server, "user")).collect();
    let moved = post(&server, "/api/rebalance", &json!({ "share": 1.0 }));
    assert_eq!(moved, (202, json!({ "leaving": 4 })));
    for client in &mut clients {
        let (code, reason) = client.closed_with();
        assert!(code == 1012 && reason.contains("; reconnect in "), "{code} {reason}");
    }
    // The server goes on.
    Client::session(&server, "user").assert_open();
}

fn a_rebalance_closes_the_share_that_it_is_told_and_no_more(driver: Driver) {
    let server = Server::start_with(driver, &["server.cores=1"]);
    let mut clients: Vec<Client> = (0..40).map(|_| Client::session(&server, "user")).collect();
    let moved = post(&server, "/api/rebalance", &json!({ "share": 0.25 }));
    assert_eq!(moved, (202, json!({ "leaving": 10 })));
    server.await_metric("websocket_closed_total", "code=\"1012\"", 10.0);
    clients.retain_mut(|it| it.is_served("UNSUBSCRIBE|id:never-used|receipt:r||^@"));
    assert_eq!(clients.len(), 30);
    server.await_metric("websocket_connections_active", "", 30.0);
    // A second one takes its share of those that are left.
    let again = post(&server, "/api/rebalance", &json!({ "share": 0.1 }));
    assert_eq!(again, (202, json!({ "leaving": 3 })));
    server.await_metric("websocket_closed_total", "code=\"1012\"", 13.0);
    clients.retain_mut(|it| it.is_served("UNSUBSCRIBE|id:never-used|receipt:r||^@"));
    assert_eq!(clients.len(), 27);
}

fn a_drain_is_begun_over_the_api(driver: Driver) {
    let mut server = Server::start(driver);
    let mut client = Client::session(&server, "user");
    assert_eq!(post(&server, "/api/drain", &json!({})), (202, json!({ "draining": true })));
    assert_eq!(client.closed(), 1012);
    drop(client);
    assert_eq!(server.await_exit().code(), Some(0));
}

fn the_document_has_each_path_and_each_path_its_document(driver: Driver) {
    let server = Server::start(driver);
    let document = get(&server, "/api/openapi.json");
    let paths = document["paths"].as_object().expect("paths");
    let source = include_str!("../../src/admin/api.rs");
    let routed: Vec<(String, &str)> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".route(\"")?.split_once("\", "))
        .map(|(path, rest)| {
            (path.replace("{*", "{"), if rest.starts_with("get") { "get" } else { "post" })
        })
        .collect();
    assert_eq!(routed.len(), paths.len());
    for (path, method) in routed {
        let operation = &paths[&path][method];
        assert!(operation.is_object(), "{method} {path} is not in the document");
        if ["/api/drain", "/api/rebalance"].contains(&&*path) {
            continue;
        }
        // An empty object is wrong for some: what comes back is in the document all the same.
        let concrete = path.replace("{id}", "nobody").replace("{destination}", "topic/room.1");
        let answer = call(&server, &method.to_ascii_uppercase(), &concrete, "", "{}");
        let told = &operation["responses"][answer.status.to_string()];
        assert!(told.is_object(), "{method} {path} answers {}: {answer:?}", answer.status);
        let body: Value = serde_json::from_str(&answer.body).expect("all bodies are JSON");
        let schema = match told["$ref"].as_str() {
            Some(_) => &document["components"]["schemas"]["Failure"],
            None => &told["content"]["application/json"]["schema"],
        };
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().expect("names are texts");
            assert!(!body[name].is_null(), "{method} {path} has no {name}: {body}");
        }
    }
}
