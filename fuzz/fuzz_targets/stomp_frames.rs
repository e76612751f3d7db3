//! Fuzzes STOMP frames: `cargo +nightly fuzz run stomp_frames`.
#![no_main]

#[expect(dead_code, reason = "each target runs one of the shared properties")]
#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::stomp_frames(data));
