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
fn saved_resp_replies_hold() {
    replay("resp_replies", properties::resp::replies);
}

#[test]
fn saved_envelopes_hold() {
    replay("envelopes", properties::json::envelopes);
}

#[test]
fn saved_controls_hold() {
    replay("controls", properties::json::controls);
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

/// Appends a legal reply of RESP2 or RESP3, at most `depth` levels deep, that `choices` make.
fn push_resp_reply(out: &mut Vec<u8>, choices: &mut impl Iterator<Item = u8>, depth: u32) {
    #[rustfmt::skip]
    const LINES: &[&str] = &[
        "+OK", "+", "-ERR no", "-MOVED 3999 127.0.0.1:6381", ":0", ":-1", ":9223372036854775807",
        "#t", "#f", ",1", ",-1.5e-3", ",inf", ",nan", "(-123456789012345678901234567890", "_",
        "$-1", "*-1", "*0", "$0\r\n", "$7\r\nmessage", "$8\r\nsmessage", "$8\r\npmessage",
    ];
    let choice = choices.next().unwrap_or(0);
    let aggregate = ["*", "~", ">", "%", "|"].get(usize::from(choice % 16));
    let (Some(kind), 1..) = (aggregate, depth) else {
        match LINES.get(usize::from(choice / 4)) {
            Some(line) => out.extend_from_slice(line.as_bytes()),
            None => {
                let (kind, front) =
                    [("$", ""), ("!", "ERR "), ("=", "txt:")][usize::from(choice % 3)];
                let bytes: Vec<u8> = choices.take(usize::from(choice % 23)).collect();
                let head = format!("{kind}{}\r\n{front}", front.len() + bytes.len());
                out.extend_from_slice(&[head.as_bytes(), &bytes].concat());
            }
        }
        out.extend_from_slice(b"\r\n");
        return;
    };
    let count = 1 + choice / 16 % 4;
    out.extend_from_slice(format!("{kind}{count}\r\n").as_bytes());
    let items_count = match *kind {
        "%" => 2 * count,
        // What it says something about is one more.
        "|" => 2 * count + 1,
        // The other implementation wants a name.
        ">" => {
            out.extend_from_slice(b"$7\r\nmessage\r\n");
            count - 1
        }
        _ => count,
    };
    for _ in 0..items_count {
        push_resp_reply(out, choices, depth - 1);
    }
}

#[test]
fn generated_resp_replies_hold() {
    let replies = vec(any::<u8>(), 1..20).prop_map(|choices| {
        let mut out = Vec::new();
        push_resp_reply(&mut out, &mut choices.into_iter(), 3);
        out
    });
    generate(replies, properties::resp::replies);
    let words = words(&[
        "*3\r\n$7\r\nmessage\r\n",
        ">3\r\n$8\r\nsmessage\r\n",
        ">4\r\n$8\r\npmessage\r\n",
        "$4\r\nws:a\r\n",
        "$13\r\n0123456789abc\r\n",
        "$0\r\n\r\n",
        "$-1\r\n",
        "*2\r\n",
        "%1\r\n",
        "|1\r\n",
        ":1\r\n",
        "+OK\r\n",
        "=5\r\ntxt:a\r\n",
        "\r\n",
        "\r",
        "$",
        "9",
    ]);
    generate(words, properties::resp::replies);
}

#[test]
fn generated_envelopes_hold() {
    let words = words(&[
        "{\"destination\":\"/topic/a\",\"userId\":null,\"payload\":\"b\"",
        ",\"timestamp\":1700000000000,\"originServerId\":null",
        ",\"payloadType\":\"java.lang.String\"",
        ",\"id\":\"i\",\"seq\":1,\"epoch\":18446744073709551615",
        ",\"headers\":{\"a\":\"b\",\"a\":\"\\u0000\"}",
        ",\"headers\":{\"a\":\"\\r\\n\",\"\":\"\"}",
        ",\"encoding\":\"base64\"",
        ",\"x\":",
        "[[[",
        "]]]",
        "{\"y\":",
        "\"\\ud834\\udd1e\\ud834\"",
        "1e999",
        "-0",
        "}",
        "}",
        ",",
        " ",
    ]);
    generate(words, properties::json::envelopes);
}

#[test]
fn generated_controls_hold() {
    let words = words(&[
        "{\"kind\":\"drain\",\"id\":\"a\",\"timestamp\":1",
        "{\"kind\":\"disconnect\",\"id\":\"a\",\"timestamp\":1,\"user\":\"u\"",
        "{\"kind\":\"revoke\",\"id\":\"\\u0001\",\"timestamp\":0,\"jti\":\"j\"",
        ",\"task\":\"t\"",
        ",\"until\":18446744073709551615",
        ",\"signature\":\"00\"",
        ",\"user\":null",
        ",\"x\":[{}]",
        "}",
        "}",
    ]);
    generate(words, properties::json::controls);
}
