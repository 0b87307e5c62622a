//! libFuzzer's door to `bijli_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bijli_fuzz::config::check(data));
