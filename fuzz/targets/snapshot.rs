//! libFuzzer's door to `bijli_fuzz::snapshot`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bijli_fuzz::snapshot::check(data));
