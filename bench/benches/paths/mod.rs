//! The server's hot paths, one call each, for whoever measures them: in time or in instructions.
//!
//! `echo` is a whole shard. Inputs are made with the bench's own codec, so that they are what a
//! client sends.

mod echo;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use ringway::broker::message::Encoder;
use ringway::broker::outbox::Outbox;
use ringway::broker::publication::Carried;
use ringway::broker::publication::Publication;
use ringway::broker::table::Format;
use ringway::broker::table::Slot;
use ringway::broker::table::Table;
use ringway::policy::pattern::Pattern;
use ringway::proto::envelope;
use ringway::proto::resp;
use ringway::proto::stomp;
use ringway::proto::stomp::Version;
use ringway::proto::ws;
use ringway::stdx::bytes::Meter;
use ringway::stdx::time::Instant;

/// One path: its name, and what makes the call that is measured.
pub(crate) type Path = (&'static str, fn() -> Box<dyn FnMut()>);

/// All of them.
pub(crate) const PATHS: &[Path] = &[
    ("ws decode 200 B", || ws_decode(200)),
    ("ws decode 16 KiB", || ws_decode(16 << 10)),
    ("stomp decode SEND 200 B", stomp_decode),
    ("publication from relay 200 B", publication_from_relay),
    ("message encode 200 B", || message_encode(200)),
    ("message encode 8 KiB", || message_encode(8 << 10)),
    ("table insert and remove", table_insert_and_remove),
    ("table groups by 100 patterns", table_patterns),
    ("fan-out to 1,000 outboxes", || fan_out(1)),
    ("fan-out to 1,000 in 100 groups", || fan_out(100)),
    ("echo 200 B, all open", || echo::echo(false)),
    ("echo 200 B, all guarded", || echo::echo(true)),
    (METERED, echo::turn),
    ("resp scan message", resp_scan),
    ("envelope decode", envelope_decode),
    ("envelope encode", envelope_encode),
];

/// The path whose cost with nothing counted or logged is held against that with the defaults.
pub(crate) const METERED: &str = "echo 200 B, a whole turn";

const DESTINATION: &str = "/topic/room.1";

fn body(bytes: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(bytes).collect()
}

fn publication(bytes: usize) -> Publication {
    let body = body(bytes);
    let carried = Carried {
        channel: DESTINATION,
        destination: DESTINATION.to_owned(),
        message_id: "a1b2c3-42".to_owned(),
        content_type: Some("text/plain"),
        sender: Some("user-7"),
        timestamp_ms: 1_700_000_000_000,
        received_at: Instant::from_nanos(1),
        body: &body,
    };
    Publication::from_relay(carried, [("priority", "1")].into_iter())
}

fn ws_decode(bytes: usize) -> Box<dyn FnMut()> {
    let mut frame = Vec::new();
    ringway_bench::ws::encode(
        ringway_bench::ws::Opcode::Text,
        &body(bytes),
        [1, 2, 3, 4],
        &mut frame,
    );
    let limits = ws::Limits { frame_bytes_max: 1 << 20, message_bytes_max: 1 << 20 };
    let mut decoder = ws::Decoder::new(limits);
    let mut input = frame.clone();
    Box::new(move || {
        // Decoding unmasks in place; a copy is what a read of the socket leaves, too.
        input.copy_from_slice(&frame);
        let mut rest = &mut input[..];
        while let Some(event) = decoder.decode(&mut rest).expect("the frame is right") {
            black_box(event);
        }
    })
}

fn stomp_decode() -> Box<dyn FnMut()> {
    let mut frame = Vec::new();
    ringway_bench::stomp::encode_send("/app/room.1", Some(7), &body(200), &mut frame);
    let mut decoder = stomp::Decoder::new(stomp::Limits::default());
    let mut input = frame.clone();
    Box::new(move || {
        input.copy_from_slice(&frame);
        let mut rest = &mut input[..];
        while let Some(event) = decoder.decode(&mut rest).expect("the frame is right") {
            black_box(event);
        }
    })
}

fn publication_from_relay() -> Box<dyn FnMut()> {
    Box::new(|| drop(black_box(publication(200))))
}

fn message_encode(bytes: usize) -> Box<dyn FnMut()> {
    let publication = publication(bytes);
    let meter = Meter::default();
    Box::new(move || {
        let mut encoder = Encoder::new(&publication, &meter);
        drop(black_box(encoder.encode(Version::V1_2, None, b"subscription:0\n")));
    })
}

fn format(id: &str) -> Format<'_> {
    Format { id: Some(id), version: Version::V1_2, shown: None, is_replaying: false }
}

fn table_insert_and_remove() -> Box<dyn FnMut()> {
    let mut table = Table::new();
    for slot in 0..1000 {
        table.insert_exact(DESTINATION, Slot(slot), format("0"));
    }
    Box::new(move || {
        let inserted = table.insert_exact(DESTINATION, Slot(1000), format("0"));
        black_box(table.remove(inserted.subscription));
    })
}

fn table_patterns() -> Box<dyn FnMut()> {
    let mut table = Table::new();
    for number in 0..100 {
        let pattern = Pattern::parse(&format!("/topic/area.{number}/**")).expect("it is right");
        table.insert_pattern(&pattern, Slot(number), format("0"));
    }
    Box::new(move || {
        let groups = table.groups("/topic/area.42/room.7/door");
        assert!(black_box(groups).count() == 1);
    })
}

/// A publication to 1,000 subscribers: found, encoded, queued and sent.
fn fan_out(groups_count: u32) -> Box<dyn FnMut()> {
    let mut table = Table::new();
    for slot in 0..1000 {
        let id = (slot % groups_count).to_string();
        table.insert_exact(DESTINATION, Slot(slot), format(&id));
    }
    let mut outboxes: Vec<Outbox> = (0..1000).map(|_| Outbox::default()).collect();
    let publication = Arc::new(publication(200));
    let meter = Meter::default();
    let now = Instant::from_nanos(1).after(Duration::from_secs(1));
    Box::new(move || {
        let mut encoder = Encoder::new(&publication, &meter);
        for group in table.groups(DESTINATION) {
            let frame = encoder.encode(group.version(), group.shown(), group.subscription_line());
            for member in group.members() {
                let outbox = &mut outboxes[member.slot.0 as usize];
                outbox.push(&frame, 1 << 20, now).expect("the outbox is empty");
            }
        }
        for outbox in &mut outboxes {
            let batch = black_box(outbox.batch()).expect("it has something");
            outbox.consume(batch.len(), now);
        }
    })
}

fn fields<'a>(body: &'a [u8], headers: &'a [(Box<str>, Box<str>)]) -> envelope::Fields<'a> {
    envelope::Fields {
        destination: DESTINATION,
        user_id: None,
        body,
        is_text: true,
        timestamp_ms: 1_700_000_000_000,
        origin: "task-1",
        id: "a1b2c3-42",
        seq: Some(42),
        epoch: Some(1),
        content_type: Some("text/plain"),
        sender: Some("user-7"),
        headers,
        key: None,
        channel: b"ws:/topic/room.1",
    }
}

fn envelope_text() -> Vec<u8> {
    let mut text = Vec::new();
    let body = body(200);
    envelope::encode(&mut text, &fields(&body, &[]), envelope::Form::Full).expect("text fits");
    text
}

fn envelope_decode() -> Box<dyn FnMut()> {
    let text = envelope_text();
    let mut decoder = envelope::Decoder::new(1 << 20);
    let mut input = text.clone();
    Box::new(move || {
        input.copy_from_slice(&text);
        black_box(decoder.decode(&mut input)).expect("the envelope is right");
    })
}

fn envelope_encode() -> Box<dyn FnMut()> {
    let body = body(200);
    let mut output = Vec::new();
    Box::new(move || {
        output.clear();
        let fields = fields(&body, &[]);
        envelope::encode(&mut output, &fields, envelope::Form::Full).expect("text fits");
        black_box(&output);
    })
}

fn resp_scan() -> Box<dyn FnMut()> {
    let text = envelope_text();
    let mut reply = b"*3\r\n$7\r\nmessage\r\n$16\r\nws:/topic/room.1\r\n$".to_vec();
    reply.extend_from_slice(format!("{}\r\n", text.len()).as_bytes());
    reply.extend_from_slice(&text);
    reply.extend_from_slice(b"\r\n");
    let limits = resp::Limits { bulk_bytes_max: 1 << 20, items_max: 100, depth_max: 4 };
    Box::new(move || {
        let scanned = resp::scan(black_box(&reply), &limits).expect("the reply is right");
        assert!(matches!(scanned, resp::Scanned::Message { end, .. } if end == reply.len()));
    })
}
