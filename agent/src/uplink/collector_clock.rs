//! What this agent knows of its collector's clock: when, by that clock, this machine was switched
//! on. Pure.
//!
//! Every answer with the collector's time is an exchange: it was given between the uptime at which
//! the request went and the one at which the answer came. The best exchange counts, and ages: a
//! crystal is off by less than 200 ppm.

use bijli_wire::{Millis, UtcMillis};
use serde::Deserialize;

/// How much two clocks that nobody disciplines part, in parts per million.
const DRIFT_PPM: u64 = 200;
/// Half a millisecond is lost at either end by rounding.
const ROUNDING_MS: u64 = 1;

/// One request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Uptime when the request went.
    pub sent: Millis,
    /// Uptime when the answer had come.
    pub heard: Millis,
    /// The collector's clock as the answer tells it.
    pub utc: UtcMillis,
}

/// The best that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectorClock(Option<Known>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// The collector's UTC at uptime 0.
    zero_ms: i64,
    bound_ms: u64,
    at: Millis,
}

#[derive(Deserialize)]
struct Timed {
    utc_ms: String,
}

/// The time in an answer's body; `None`: an older collector, or no collector's answer.
#[must_use]
pub fn told(body: &[u8]) -> Option<UtcMillis> {
    let timed: Timed = serde_json::from_slice(body).ok()?;
    timed.utc_ms.parse().ok().map(UtcMillis::new)
}

impl CollectorClock {
    /// Takes an exchange, if it is better than what is known or contradicts it: then the
    /// collector's clock was set, and its clock is what counts.
    pub fn learn(&mut self, exchange: Exchange) {
        let Exchange { sent, heard, utc } = exchange;
        let half = heard.get().saturating_sub(sent.get()) / 2;
        let middle = i64::try_from(sent.get().saturating_add(half)).unwrap_or(i64::MAX);
        let fresh = Known {
            zero_ms: utc.get().saturating_sub(middle),
            bound_ms: half.saturating_add(ROUNDING_MS),
            at: heard,
        };
        let is_better = self.0.is_none_or(|known| {
            let bound = known.bound_at(heard);
            fresh.bound_ms <= bound
                || known.zero_ms.abs_diff(fresh.zero_ms) > bound.saturating_add(fresh.bound_ms)
        });
        if is_better {
            self.0 = Some(fresh);
        }
    }

    /// The collector's UTC at uptime 0 and how far off it may be, both in milliseconds, as the
    /// request header `bijli-clock` says it behind the boot id.
    #[must_use]
    pub fn claim(&self, now: Millis) -> Option<(i64, u64)> {
        self.0.map(|known| (known.zero_ms, known.bound_at(now)))
    }
}

impl Known {
    fn bound_at(self, now: Millis) -> u64 {
        let age = now.get().saturating_sub(self.at.get());
        self.bound_ms.saturating_add(age.saturating_mul(DRIFT_PPM).div_ceil(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: i64 = 1_800_000_000_000;

    /// An answer given `given` after the boot, by a collector whose clock is `ahead`.
    fn exchange(sent: u64, given: u64, heard: u64, ahead: i64) -> Exchange {
        let utc = UtcMillis::new(ZERO + i64::try_from(given).unwrap() + ahead);
        Exchange { sent: Millis::new(sent), heard: Millis::new(heard), utc }
    }

    #[test]
    fn the_truth_is_within_the_bound_and_the_shortest_way_counts() {
        let mut clock = CollectorClock::default();
        assert_eq!(clock.claim(Millis::new(5)), None);
        clock.learn(exchange(1_000, 1_900, 2_000, 0));
        assert_eq!(clock.claim(Millis::new(2_000)), Some((ZERO + 400, 501)));
        clock.learn(exchange(3_000, 3_001, 3_010, 0));
        assert_eq!(clock.claim(Millis::new(3_010)), Some((ZERO - 4, 6)));
        clock.learn(exchange(4_000, 4_500, 5_000, 0));
        assert_eq!(clock.claim(Millis::new(5_000)), Some((ZERO - 4, 7)));
    }

    /// Goal: K3. Thirty days at 200 ppm: the bound says so, and one exchange puts it right.
    #[test]
    fn k3_thirty_days_of_drift_are_within_the_bound() {
        let mut clock = CollectorClock::default();
        clock.learn(exchange(0, 1, 2, 0));
        let (month, drift) = (30 * 86_400_000, 518_400);
        let (zero, bound) = clock.claim(Millis::new(month)).unwrap();
        assert!(zero.abs_diff(ZERO) + drift <= bound + 2, "{bound}");
        clock.learn(exchange(month, month + 1, month + 2, i64::try_from(drift).unwrap()));
        let (zero, bound) = clock.claim(Millis::new(month + 2)).unwrap();
        assert_eq!((zero, bound), (ZERO + 518_400, 2));
    }

    #[test]
    fn a_collector_whose_clock_was_set_is_believed() {
        let mut clock = CollectorClock::default();
        clock.learn(exchange(0, 1, 2, 0));
        clock.learn(exchange(1_000, 1_400, 1_900, 3_600_000));
        let (zero, bound) = clock.claim(Millis::new(1_900)).unwrap();
        assert!(zero.abs_diff(ZERO + 3_600_000) <= bound && bound < 460, "{zero} {bound}");
    }

    #[test]
    fn only_an_answer_with_a_time_is_an_exchange() {
        assert_eq!(told(br#"{"utc_ms":"-5","other":1}"#), Some(UtcMillis::new(-5)));
        for body in [&b"{}"[..], b"<html>", br#"{"utc_ms":5}"#, br#"{"utc_ms":"x"}"#] {
            assert_eq!(told(body), None);
        }
    }
}
