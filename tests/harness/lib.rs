//! What the end-to-end tests share: starting the real programs, asking them over HTTP, third-party
//! peers, and published measurements.
//!
//! Every server that a test starts listens on loopback, on a port that was free, and is stopped by
//! its own process id when its guard is dropped, whatever became of the test.

pub mod faketime;
pub mod gpus;
pub mod h2;
pub mod http;
pub mod kubelet;
pub mod meters;
pub mod pki;
pub mod program;
pub mod proxy;
pub mod redfish;
pub mod rng;
pub mod schema;
pub mod site;
pub mod slurm;
pub mod snmp;
pub mod stores;
pub mod trace;
pub mod truth;

use std::time::{Duration, Instant};

/// Asks again until there is an answer; panics with `what` when time is up.
///
/// # Panics
/// When `ask` gave no answer within `seconds`.
pub fn eventually<T>(what: &str, seconds: u64, ask: impl FnMut() -> Option<T>) -> T {
    within(seconds, ask).unwrap_or_else(|| panic!("in {seconds} s not: {what}"))
}

/// Asks again until there is an answer; `None` when time is up.
pub fn within<T>(seconds: u64, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let start = now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if start.elapsed() >= Duration::from_secs(seconds) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The harness waits for real programs, so it looks at the real clock.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Now, in UTC milliseconds since 1970.
///
/// # Panics
/// When the machine's clock is before 1970.
#[must_use]
pub fn utc_ms() -> u128 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis()
}
