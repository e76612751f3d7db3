//! Fuzzes envelopes of the relay: `cargo +nightly fuzz run envelopes`.
#![no_main]

#[expect(dead_code, reason = "each target runs one of the shared properties")]
#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::json::envelopes(data));
