//! A crowd that comes back at once and asks for what was said.

use crate::on_each_store;
use crate::support::Client;
use crate::world::Store;
use crate::world::place;

on_each_store!(a_crowd_costs_one_read_for_each_room_and_not_for_each_client);

const ROOMS: usize = 20;
const CLIENTS: usize = 600;
const MESSAGES: u64 = 60;

fn a_crowd_costs_one_read_for_each_room_and_not_for_each_client(store: &Store) {
    let server = store.serve();
    let mut writer = Client::session(&server, "writer");
    for number in 1..=MESSAGES {
        for room in 0..ROOMS {
            let ask = if number == MESSAGES { "|receipt:r" } else { "" };
            writer.send(&format!("SEND|destination:/app/room.{room}{ask}||{number}^@"));
        }
    }
    for _ in 0..ROOMS {
        assert_eq!(writer.answer().command, "RECEIPT");
    }
    let figure = |name: &str| server.metric(&format!("websocket_history_{name}_total"), "");
    assert!((figure("reads") - 0.0).abs() < f64::EPSILON, "nobody has asked yet");
    assert!(f64::from(u32::try_from(MESSAGES).expect("small") * 20) <= figure("stored"));

    let session = |it| Client::session(&server, &format!("client-{it}"));
    let mut crowd: Vec<Client> = (0..CLIENTS).map(session).collect();
    for (client, number) in crowd.iter_mut().zip(0..) {
        let room = number % ROOMS;
        client.send(&format!(
            "SUBSCRIBE|id:s|destination:/topic/room.{room}|history:50|receipt:r||^@"
        ));
    }
    for client in &mut crowd {
        let receipt = client.answer();
        assert_eq!((receipt.header("recovered"), place(&receipt).1), ("true", MESSAGES));
        for number in MESSAGES - 49..=MESSAGES {
            assert_eq!(client.message().text(), number.to_string());
        }
    }
    let clients = f64::from(u32::try_from(CLIENTS).expect("small"));
    assert!(figure("reads") <= 100.0, "{} reads", figure("reads"));
    assert!((figure("reads") + figure("shared") - clients).abs() < f64::EPSILON);
    assert!((figure("replayed") - 50.0 * clients).abs() < f64::EPSILON);
    let whole = server.metric("websocket_history_replays_total", "recovered=\"true\"");
    assert!((whole - clients).abs() < f64::EPSILON);
    server.await_metric("websocket_history_queue", "", 0.0);
}
