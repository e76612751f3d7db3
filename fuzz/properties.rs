//! What must hold for any bytes of a peer, as plain functions that panic when it does not.
//!
//! Shared by the fuzz targets, which look for inputs, and by `tests/properties.rs`, which replays
//! the saved ones. The first byte of an input chooses limits, version and where the rest is cut.

use std::io;
use std::io::Cursor;
use std::io::Read;
use std::io::Write;

use ringway::proto::http;
use ringway::proto::http::origin;
use ringway::proto::stomp;
use ringway::proto::ws;
use tungstenite::Message;
use tungstenite::protocol::Role;
use tungstenite::protocol::WebSocket;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

#[path = "properties/json.rs"]
pub(crate) mod json;
#[path = "properties/resp.rs"]
pub(crate) mod resp;

/// Cuts bytes into pieces of 1 to 24 bytes that a seed determines.
struct Pieces<'a> {
    rest: &'a [u8],
    state: u32,
}

impl<'a> Pieces<'a> {
    fn new(bytes: &'a [u8], seed: u8) -> Self {
        Self { rest: bytes, state: u32::from(seed) + 1 }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = if self.state >> 30 == 0 { 1 } else { 24 };
        let bytes = (1 + (self.state >> 16) as usize % most).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        (!piece.is_empty()).then_some(piece)
    }
}

/// A head is the same however it arrives, and everything that reads it stands any content.
pub(crate) fn http_head(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let limits = match seed % 3 {
        0 => http::Limits { head_bytes_max: 128, headers_count_max: 4 },
        _ => http::Limits { head_bytes_max: 8192, headers_count_max: 64 },
    };
    let whole = http::decode(input, &limits).map(|found| found.map(|it| describe(&it)));

    let mut searched_bytes = 0;
    let mut last = Ok(None);
    for piece in Pieces::new(input, seed) {
        let arrived = &input[..searched_bytes + piece.len()];
        last = http::decode_from(arrived, searched_bytes, &limits)
            .map(|found| found.map(|it| describe(&it)));
        searched_bytes = arrived.len();
        if last != Ok(None) {
            break;
        }
    }
    assert_eq!(last, whole, "the same in pieces");

    let Ok(Some(request)) = http::decode(input, &limits) else { return };
    let head = &input[..request.head_bytes()];
    assert!(head.len() <= limits.head_bytes_max);
    assert!(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n"));
    assert_eq!(http::decode(head, &limits).map(|it| it.is_some()), Ok(true));
    check_upgrade(&request);
    check_origin(&request);
    check_response(input);
}

/// What a request says, owned, so that it can be compared.
fn describe(request: &http::Request<'_>) -> (usize, u8, Vec<Option<String>>) {
    let mut said = vec![
        Some(request.method().to_owned()),
        Some(request.path().to_owned()),
        request.query().map(str::to_owned),
    ];
    for name in ["host", "a", "connection", "sec-websocket-key", "sec-websocket-protocol"] {
        said.extend(request.headers(name).map(|value| Some(value.to_owned())));
    }
    (request.head_bytes(), request.minor_version(), said)
}

fn check_upgrade(request: &http::Request<'_>) {
    match http::upgrade(request) {
        Ok(upgrade) => {
            assert_eq!(request.method(), "GET");
            assert!(upgrade.accept.ends_with(b"="));
            let selected = upgrade.select_subprotocol(&["v12.stomp", "v11.stomp"]);
            let mut out = Vec::new();
            http::encode_switching_protocols(&mut out, &upgrade.accept, selected);
            let mut headers = [httparse::EMPTY_HEADER; 8];
            let mut response = httparse::Response::new(&mut headers);
            assert_eq!(response.parse(&out), Ok(httparse::Status::Complete(out.len())));
            assert_eq!(response.headers.len(), 3 + usize::from(selected.is_some()));
        }
        Err(error) => {
            assert!((400..500).contains(&error.status()) && !error.to_string().is_empty())
        }
    }
}

fn check_origin(request: &http::Request<'_>) {
    let (Some(host), Some(origin)) = (request.header("host"), request.header("origin")) else {
        return;
    };
    let is_own = origin::same_origin(origin, "https", host);
    assert!(!is_own || !origin::same_origin(origin, "http", host), "one scheme only");
    if let Ok(patterns) = origin::OriginPatterns::parse([host]) {
        let shouted = origin.to_ascii_uppercase();
        assert_eq!(patterns.allows(origin), patterns.allows(&shouted), "case does not count");
    }
    if let Ok(patterns) = origin::OriginPatterns::parse([origin]) {
        assert!(origin.contains(['*', '[']) || patterns.allows(origin), "a literal allows itself");
    }
}

fn check_response(body: &[u8]) {
    let mut out = Vec::new();
    let value = String::from_utf8_lossy(body).replace(|it: char| it.is_control(), "\r\n");
    http::encode_response(&mut out, 400, &[("X-Value", &value)], body);
    let mut headers = [httparse::EMPTY_HEADER; 3];
    let mut response = httparse::Response::new(&mut headers);
    assert_eq!(response.parse(&out), Ok(httparse::Status::Complete(out.len() - body.len())));
    assert_eq!(response.headers[1].value, body.len().to_string().as_bytes());
}

/// What a WebSocket peer said, owned, so that it can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// Frames mean the same however they arrive, and what is accepted means the same to others.
pub(crate) fn ws_frames(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let limits = match seed % 3 {
        0 => ws::Limits { frame_bytes_max: 40, message_bytes_max: 60 },
        _ => ws::Limits { frame_bytes_max: 100_000, message_bytes_max: 150_000 },
    };
    let whole = ws_decode(&limits, [input].into_iter());
    assert_eq!(ws_decode(&limits, Pieces::new(input, seed)), whole, "the same in pieces");
    assert_eq!(ws_decode(&limits, input.chunks(1)), whole, "the same byte by byte");
    check_ws_header(input);
    // The other implementation does not know 1014 of the registry yet.
    if whole.1.is_ok() && !matches!(whole.0.last(), Some(Said::Close(Some(1014), _))) {
        assert_eq!(ws_decode_elsewhere(input), whole.0, "the same as another implementation");
    }
    check_ws_encoding(input, seed);
}

fn ws_decode<'a>(
    limits: &ws::Limits,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Said>, Result<(), ws::Error>) {
    let mut decoder = ws::Decoder::new(*limits);
    let mut said = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            said.push(match decoder.decode(&mut input) {
                Ok(None) => break,
                Ok(Some(ws::Event::Text(text))) => {
                    assert!(str::from_utf8(text).is_ok());
                    Said::Text(text.to_vec())
                }
                Ok(Some(ws::Event::Binary(bytes))) => Said::Binary(bytes.to_vec()),
                Ok(Some(ws::Event::Ping(payload))) => Said::Ping(payload.to_vec()),
                Ok(Some(ws::Event::Pong(payload))) => Said::Pong(payload.to_vec()),
                Ok(Some(ws::Event::Close { code, reason })) => Said::Close(code, reason.to_owned()),
                Err(error) => {
                    assert!(matches!(error.close_code(), 1002 | 1007 | 1009));
                    return (said, Err(error));
                }
            });
        }
        assert!(input.is_empty(), "all of the input is taken");
    }
    (said, Ok(()))
}

fn check_ws_header(input: &[u8]) {
    let mut cursor = Cursor::new(input);
    let theirs = FrameHeader::parse(&mut cursor);
    match ws::Header::decode(input) {
        Ok(Some((header, header_bytes))) => {
            let (their_header, payload_bytes) = theirs.expect("accepted").expect("complete");
            assert_eq!(header.fin, their_header.is_final);
            assert_eq!(header.opcode.bits(), u8::from(their_header.opcode));
            assert_eq!(Some(header.mask), their_header.mask);
            assert_eq!(header.payload_bytes, payload_bytes);
            assert_eq!(header_bytes as u64, cursor.position());
        }
        Ok(None) => assert!(matches!(theirs, Ok(None))),
        // They judge some of the rules later or not at all.
        Err(_) => {}
    }
}

/// A socket that has received `input` and whose answers nobody reads.
struct Socket<'a>(&'a [u8]);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn ws_decode_elsewhere(input: &[u8]) -> Vec<Said> {
    let config = WebSocketConfig::default().read_buffer_size(1024);
    let mut socket = WebSocket::from_raw_socket(Socket(input), Role::Server, Some(config));
    let mut said = Vec::new();
    while let Ok(message) = socket.read() {
        said.push(match message {
            Message::Text(text) => Said::Text(text.as_bytes().to_vec()),
            Message::Binary(bytes) => Said::Binary(bytes.to_vec()),
            Message::Ping(payload) => Said::Ping(payload.to_vec()),
            Message::Pong(payload) => Said::Pong(payload.to_vec()),
            Message::Close(None) => Said::Close(None, String::new()),
            Message::Close(Some(close)) => {
                Said::Close(Some(close.code.into()), close.reason.as_str().to_owned())
            }
            Message::Frame(_) => continue,
        });
    }
    said
}

/// What is encoded is read by others as it was meant, and by us once it is masked.
fn check_ws_encoding(payload: &[u8], seed: u8) {
    let mut out = Vec::new();
    ws::push_frame(&mut out, ws::Opcode::Binary, payload);
    let mut cursor = Cursor::new(&out[..]);
    let (header, payload_bytes) =
        FrameHeader::parse(&mut cursor).expect("well-formed").expect("whole");
    assert!(header.is_final && header.mask.is_none());
    assert_eq!(header.opcode, OpCode::from(ws::Opcode::Binary.bits()));
    assert_eq!(payload_bytes, payload.len() as u64);
    let header_bytes = usize::try_from(cursor.position()).expect("short");
    assert_eq!(out[header_bytes..], *payload);

    let mask = [seed, seed ^ 0x55, 0, 0xFF];
    out[1] |= 0x80;
    out.splice(header_bytes..header_bytes, mask);
    for (byte, key) in out[header_bytes + 4..].iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    let limits = ws::Limits { frame_bytes_max: u64::MAX, message_bytes_max: u64::MAX };
    let expected = (vec![Said::Binary(payload.to_vec())], Ok(()));
    assert_eq!(ws_decode(&limits, Pieces::new(&out, seed)), expected);
}

/// A STOMP frame, owned, so that it can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OwnedFrame {
    command: stomp::Command,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Frames are the same however they arrive, and after being encoded and decoded again.
pub(crate) fn stomp_frames(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let limits = match seed % 4 {
        0 => stomp::Limits { frame_bytes_max: 80, headers_count_max: 3, header_bytes_max: 60 },
        _ => stomp::Limits::default(),
    };
    let version = match seed / 4 % 4 {
        0 => stomp::Version::V1_0,
        1 => stomp::Version::V1_1,
        _ => stomp::Version::V1_2,
    };
    let whole = stomp_decode(&limits, version, [input].into_iter());
    let cut = stomp_decode(&limits, version, Pieces::new(input, seed));
    assert_eq!(cut, whole, "the same in pieces");
    assert_eq!(stomp_decode(&limits, version, input.chunks(1)), whole, "the same byte by byte");
    for frame in &whole.0 {
        check_stomp_encoding(frame, version, seed);
    }
    if let Ok(text) = str::from_utf8(input) {
        check_stomp_text(text);
    }
}

fn stomp_decode<'a>(
    limits: &stomp::Limits,
    version: stomp::Version,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<OwnedFrame>, Result<(), stomp::Error>) {
    let mut decoder = stomp::Decoder::new(*limits);
    decoder.set_version(version);
    let mut frames = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            let stomp::Frame { command, headers, body } = match decoder.decode(&mut input) {
                Ok(None) => break,
                Ok(Some(stomp::Event::HeartBeat)) => {
                    assert!(input.is_empty() && !decoder.is_mid_frame());
                    continue;
                }
                Ok(Some(stomp::Event::Frame(frame))) => frame,
                Err(error) => return (frames, Err(error)),
            };
            for (name, _) in headers.iter() {
                let first = headers.iter().find(|(found, _)| *found == name);
                assert_eq!(headers.get(name), first.map(|(_, value)| value));
            }
            let owned = headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            frames.push(OwnedFrame { command, headers: owned.collect(), body: body.to_vec() });
        }
        assert!(input.is_empty(), "all of the input is taken");
    }
    (frames, Ok(()))
}

fn check_stomp_encoding(frame: &OwnedFrame, version: stomp::Version, seed: u8) {
    let is_connect = matches!(frame.command, stomp::Command::Connect | stomp::Command::Stomp);
    let written = if is_connect { stomp::Version::V1_0 } else { version };
    let headers: Vec<(&str, &str)> =
        frame.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let mut out = Vec::new();
    stomp::push_frame(&mut out, written, frame.command.as_str(), &headers, &frame.body);

    let mut expected = frame.clone();
    expected.headers.retain(|(name, value)| name != "content-length" && !value.is_empty());
    if !frame.body.is_empty() {
        expected.headers.push(("content-length".to_owned(), frame.body.len().to_string()));
    }
    let roomy = stomp::Limits {
        frame_bytes_max: usize::MAX >> 1,
        headers_count_max: usize::MAX,
        header_bytes_max: usize::MAX,
    };
    let found = stomp_decode(&roomy, version, Pieces::new(&out, seed));
    assert_eq!(found, (vec![expected], Ok(())), "the same after encoding");
}

fn check_stomp_text(text: &str) {
    if let Some(version) = stomp::Version::negotiate(Some(text)) {
        assert!(text.contains(version.as_str()));
    }
    if let Ok(heart_beat) = stomp::HeartBeat::parse(text) {
        let again = format!("{},{}", heart_beat.send_ms, heart_beat.receive_ms);
        assert_eq!(stomp::HeartBeat::parse(&again), Ok(heart_beat));
    }
    for version in [stomp::Version::V1_0, stomp::Version::V1_1, stomp::Version::V1_2] {
        let mut out = Vec::new();
        stomp::push_header(&mut out, text, text, version);
        let lines_count = out.iter().filter(|byte| **byte == b'\n').count();
        assert!(lines_count <= 1 && !out.contains(&0), "a header is one line");
        assert!(str::from_utf8(&out).is_ok());
    }
}
