//! libFuzzer's door to `bijli_fuzz::batch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bijli_fuzz::batch::check(data));
