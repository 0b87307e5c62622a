//! Another wall clock for a program, by Debian's package faketime. It answers for that program's
//! wall clock and for nothing else: its timers run as ever.

/// What is loaded before the program.
pub const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// The environment of a program whose clock is so many seconds behind.
#[must_use]
pub fn seconds_ago(seconds: i64) -> [(&'static str, String); 3] {
    [
        ("LD_PRELOAD", LIBRARY.to_owned()),
        ("FAKETIME", format!("-{seconds}s")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}
