//! Fuzzes the head of an HTTP request: `cargo +nightly fuzz run http_head`.
#![no_main]

#[expect(dead_code, reason = "each target runs one of the shared properties")]
#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::http_head(data));
