//! libFuzzer's door to `bijli_fuzz::seglog`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bijli_fuzz::seglog::check(data));
