//! The only file of the agent that asks what time it is.
//!
//! # Invariants
//! - A [`Moment`] never goes back and goes on while the machine is suspended (`CLOCK_BOOTTIME`):
//!   power is integrated over it, and a suspend is a silence, not a stretch at the last power.
//! - Wall-clock time ([`Clock::utc`]) labels readings and aligns ticks; nothing waits on it alone.
#![expect(clippy::disallowed_methods, reason = "this is the clock.rs that may ask for the time")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bijli_wire::{Millis, UtcMillis};
use rustix::time::{ClockId, clock_gettime};

/// Monotonic time: milliseconds since the process's clock was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    #[must_use]
    pub const fn new(ms: u64) -> Self {
        Self(ms)
    }

    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The moment `span` later, at most the end of time.
    #[must_use]
    pub const fn after(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.get()))
    }

    /// Milliseconds from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis::new(self.0.saturating_sub(earlier.0))
    }
}

/// Tells the time. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Uptime when it was made.
    origin: Millis,
}

impl Clock {
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default value that asks for the time hides")]
    pub fn new() -> Self {
        Self { origin: uptime() }
    }

    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(uptime().get().saturating_sub(self.origin.get()))
    }

    /// How long this machine is up, suspended time included. Nobody sets this clock.
    #[must_use]
    pub fn uptime(&self) -> Millis {
        uptime()
    }

    /// Wall-clock time as this machine believes it.
    #[must_use]
    pub fn utc(&self) -> UtcMillis {
        let ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(span) => i64::try_from(span.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        UtcMillis::new(ms)
    }

    /// Blocks this thread. Only probe threads sleep so.
    pub fn sleep(&self, span: Millis) {
        std::thread::sleep(Duration::from_millis(span.get()));
    }
}

fn uptime() -> Millis {
    let up = clock_gettime(ClockId::Boottime);
    let part = |count: i64, ms: u64| u64::try_from(count).unwrap_or(0).saturating_mul(ms);
    Millis::new(part(up.tv_sec, 1_000).saturating_add(part(up.tv_nsec, 1) / 1_000_000))
}

/// The first multiple of `period` (counted from 1970 UTC) strictly after `now`.
#[must_use]
pub fn next_tick(now: UtcMillis, period: Millis) -> UtcMillis {
    let floor = now.floor_to(period);
    floor.plus(Millis::new(period.get().max(1))).unwrap_or(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_fall_on_whole_seconds_and_lie_ahead() {
        let second = Millis::new(1_000);
        for (now, tick) in [(0, 1_000), (1, 1_000), (999, 1_000), (1_000, 2_000), (-1, 0)] {
            assert_eq!(next_tick(UtcMillis::new(now), second), UtcMillis::new(tick), "{now}");
        }
    }

    #[test]
    fn moments_do_not_go_back() {
        let clock = Clock::new();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(clock.uptime().get() >= first.get());
        assert!(clock.utc().get() > 1_577_836_800_000, "this machine's clock is set");
        assert_eq!(first.since(first.after(Millis::new(5))), Millis::ZERO);
    }
}
