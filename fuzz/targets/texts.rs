//! libFuzzer's door to `bijli_fuzz::texts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bijli_fuzz::texts::check(data));
