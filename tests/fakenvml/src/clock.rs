//! Scenario time: real monotonic time since the epoch, run `speed` times as fast.
//!
//! The only place of the fake that asks the machine what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Scenario time and the UTC time that NVML's time stamps show. Both run at the scenario's speed,
/// so that energy over time stamps gives the scripted power at any speed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    /// Scenario time at `started`.
    offset_us: u64,
    epoch_utc_us: u64,
    speed: u32,
}

impl Clock {
    /// Starts at 0 now, or at what has passed since `epoch_utc_ms`; an epoch to come counts as now.
    pub(crate) fn start(speed: u32, epoch_utc_ms: Option<u64>) -> Self {
        let now_utc_us = utc_us();
        let epoch_utc_us = match epoch_utc_ms {
            Some(epoch_ms) => epoch_ms.saturating_mul(1_000).min(now_utc_us),
            None => now_utc_us,
        };
        let offset_us = (now_utc_us - epoch_utc_us).saturating_mul(u64::from(speed));
        Self { started: now(), offset_us, epoch_utc_us, speed }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }

    /// What NVML's time stamps show at this scenario time.
    pub(crate) fn utc_us(&self, at_us: u64) -> u64 {
        self.epoch_utc_us.saturating_add(at_us)
    }

    /// Returns once scenario time has reached `at_ms`.
    pub(crate) fn sleep_until_ms(&self, at_ms: u64) {
        while let Some(missing_us) = at_ms.saturating_mul(1_000).checked_sub(self.now_us()) {
            if missing_us == 0 {
                break;
            }
            let real_us = missing_us.div_ceil(u64::from(self.speed));
            std::thread::sleep(Duration::from_micros(real_us));
        }
    }

    pub(crate) fn now_us(&self) -> u64 {
        let real_us = now().duration_since(self.started).as_micros();
        let real_us = u64::try_from(real_us).unwrap_or(u64::MAX);
        self.offset_us.saturating_add(real_us.saturating_mul(u64::from(self.speed)))
    }
}

/// The caller's own, unscaled time, for timeouts that the caller chose.
#[expect(clippy::disallowed_methods, reason = "the fake is a device: it has its own clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "NVML stamps its samples with the wall clock")]
fn utc_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_in_the_past_is_time_already_passed() {
        let clock = Clock::start(1, Some(utc_us() / 1_000 - 5_000));
        assert!((5_000..15_000).contains(&clock.now_ms()), "{}", clock.now_ms());
    }

    #[test]
    fn an_epoch_to_come_counts_as_now() {
        let clock = Clock::start(1, Some(u64::MAX));
        assert!(clock.now_ms() < 10_000);
    }

    #[test]
    fn sleeping_is_scaled_by_speed() {
        let clock = Clock::start(1_000, None);
        let before = now();
        clock.sleep_until_ms(20_000);
        assert!(clock.now_ms() >= 20_000);
        assert!(before.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn time_stamps_less_the_epoch_are_scenario_time() {
        let epoch_utc_ms = utc_us() / 1_000 - 7;
        let clock = Clock::start(100, Some(epoch_utc_ms));
        assert_eq!(clock.utc_us(1_234_567), epoch_utc_ms * 1_000 + 1_234_567);
    }
}
