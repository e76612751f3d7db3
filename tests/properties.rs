//! Replays the saved inputs of the fuzz targets, and generated ones from a fixed seed, through the
//! properties that the fuzzer checks.
#![expect(clippy::unwrap_used, reason = "a test that cannot read the corpus should stop")]

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::Config;
use proptest::test_runner::RngAlgorithm;
use proptest::test_runner::TestRng;
use proptest::test_runner::TestRunner;

#[path = "../fuzz/properties.rs"]
mod properties;

/// Fewer files than this and the corpus was lost rather than minimised.
const CORPUS_FILES_MIN: usize = 20;

/// Runs `property` on every file of `fuzz/corpus/<target>`.
#[track_caller]
fn replay(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(CORPUS_FILES_MIN <= paths.len(), "{} holds too few inputs", folder.display());
    for path in paths {
        // Shown only when the property fails.
        eprintln!("{}", path.display());
        property(&fs::read(&path).unwrap());
    }
}

/// Runs `property` on inputs made of `parts`, the same ones in every run.
fn generate(parts: impl Strategy<Value = Vec<u8>>, property: fn(&[u8])) {
    let config = Config { cases: 2_000, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let inputs = (any::<u8>(), vec(parts, 0..24));
    TestRunner::new_with_rng(config, rng)
        .run(&inputs, |(seed, parts)| {
            property(&[vec![seed], parts.concat()].concat());
            Ok(())
        })
        .unwrap();
}

/// One of `texts`, or now and then a few bytes of anything.
fn words(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => select(texts).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
    ]
}

/// A masked frame that is mostly legal.
fn ws_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = select(&[0x81_u8, 0x82, 0x01, 0x02, 0x00, 0x80, 0x80, 0x89, 0x8A, 0x88, 0xC1][..]);
    let payload = prop_oneof![
        select(&["", "Hello", "κόσμε", "\u{10348}"][..]).prop_map(|text| text.as_bytes().to_vec()),
        (1000_u16..1020).prop_map(|code| code.to_be_bytes().to_vec()),
        vec(any::<u8>(), 0..140),
    ];
    (first, payload, any::<[u8; 4]>()).prop_map(|(first, payload, mask)| {
        let mut frame = vec![first];
        match u8::try_from(payload.len()) {
            Ok(short @ 0..=125) => frame.push(0x80 | short),
            Ok(_) | Err(_) => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    })
}

#[test]
fn saved_http_heads_hold() {
    replay("http_head", properties::http_head);
}

#[test]
fn saved_ws_frames_hold() {
    replay("ws_frames", properties::ws_frames);
}

#[test]
fn saved_stomp_frames_hold() {
    replay("stomp_frames", properties::stomp_frames);
}

#[test]
fn generated_http_heads_hold() {
    let words = words(&[
        "GET / HTTP/1.1\r\n",
        "GET /ws?q HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Sec-WebSocket-Version: 13\r\n",
        "Sec-WebSocket-Protocol: v12.stomp, v11.stomp\r\n",
        "Host: https://*.here:[80,*]\r\n",
        "Origin: https://here:443\r\n",
        "Content-Length: 0\r\n",
        "A: \t b \r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        ":",
    ]);
    generate(words, properties::http_head);
}

#[test]
fn generated_ws_frames_hold() {
    generate(ws_frame(), properties::ws_frames);
}

#[test]
fn generated_stomp_frames_hold() {
    let words = words(&[
        "SEND\n",
        "CONNECT\r\n",
        "DISCONNECT\n\n\0",
        "a:b\n",
        "a\\c\\n\\\\:\\r\r\n",
        "é:\n",
        "content-length:3\n",
        "content-length:70000\n",
        "\n",
        "\r\n",
        "\0",
        "abc",
        ":",
        "\\",
        "\r",
    ]);
    generate(words, properties::stomp_frames);
}
