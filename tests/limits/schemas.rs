//! Bodies that must fit a JSON Schema.

use ringway::broker::router::RouteOptions;
use ringway::broker::router::RouteTo;
use ringway::broker::router::Router;
use ringway::policy::schema::Schema;

use crate::world::World;

const SCHEMA: &str = r#"{"type":"object","required":["text"],
    "properties":{"text":{"type":"string","maxLength":5}}}"#;

/// Two routes, of which the first asks for a schema.
fn world() -> World {
    World::new(|options| {
        let row = |pattern: &str, to: &str| RouteOptions {
            pattern: pattern.into(),
            to: RouteTo::Destination(to.into()),
            history: false,
        };
        let rows = [row("/app/room.{room}", "/topic/{room}"), row("/app/**", "/topic/any")];
        let router = Router::new(&rows, 512).expect("good routes");
        let schema = Schema::parse(SCHEMA).expect("a schema");
        options.router = router.with_schemas(vec![Some(schema), None]);
    })
}

#[test]
fn a_body_that_does_not_fit_its_route_is_refused_with_its_place() {
    let mut world = world();
    let id = world.session();
    let send = |world: &mut World, destination: &str, body: &str| {
        let lines = format!("destination:{destination}\nreceipt:r\n");
        world.frame(id, "SEND", &lines, body.as_bytes());
    };
    for (body, place) in [
        (r#"{"text":"hello!"}"#, "the body at /text: "),
        (r#"{"text":7}"#, "the body at /text: "),
        ("{}", "the body: "),
        ("hello", "not JSON"),
        ("", "not JSON"),
    ] {
        send(&mut world, "/app/room.1", body);
        let refused = world.only_frame(id);
        assert_eq!((&*refused.command, refused.header("receipt-id")), ("ERROR", "r"), "{body}");
        assert!(refused.header("message").contains("bad-payload"), "{refused:?}");
        assert!(refused.text().contains(place), "{body}: {}", refused.text());
        assert!(!refused.text().contains("hello"), "what was sent is not repeated");
    }
    send(&mut world, "/app/room.1", r#"{"text":"hello"}"#);
    world.assert_receipts(id, &["r"]);
    // Other routes, and destinations without one, ask for nothing.
    for destination in ["/app/hall.1", "/topic/x"] {
        send(&mut world, destination, "hello");
        world.assert_receipts(id, &["r"]);
    }
}
