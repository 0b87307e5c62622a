//! How long to wait after a failure: exponential ceiling, full jitter.
//!
//! Full jitter (a uniform draw below the ceiling) is what keeps a thousand agents that lost the
//! same link from coming back in the same second.

use bijli_wire::Millis;

const CEILING_MS_MIN: u64 = 250;
const CEILING_MS_MAX: u64 = 60_000;

/// A small seeded generator (SplitMix64). It spreads load; it guards no secret.
#[derive(Clone, Copy, Debug)]
pub struct Jitter(u64);

impl Jitter {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0..=max`; the bias of the remainder is below `max / 2^64`.
    pub fn up_to(&mut self, max: u64) -> u64 {
        self.next_u64() % max.saturating_add(1).max(1)
    }
}

/// Counts failures in a row and draws the waits.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    failures: u32,
    jitter: Jitter,
}

impl Backoff {
    #[must_use]
    pub const fn new(jitter: Jitter) -> Self {
        Self { failures: 0, jitter }
    }

    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure: between nothing and the ceiling.
    pub fn next_wait(&mut self) -> Millis {
        let ceiling = Self::ceiling(self.failures);
        self.failures = self.failures.saturating_add(1);
        Millis::new(self.jitter.up_to(ceiling))
    }

    fn ceiling(failures: u32) -> u64 {
        let factor = 1_u64.checked_shl(failures).unwrap_or(u64::MAX);
        CEILING_MS_MIN.saturating_mul(factor).min(CEILING_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_from_250_ms_to_60_s_and_stays() {
        let ceilings: Vec<u64> = (0..10).map(Backoff::ceiling).collect();
        assert_eq!(
            ceilings,
            [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
        );
        assert_eq!(Backoff::ceiling(u32::MAX), 60_000);
    }

    #[test]
    fn waits_fill_the_whole_range_below_the_ceiling() {
        let mut jitter = Jitter::new(7);
        let draws: Vec<u64> = (0..10_000).map(|_| jitter.up_to(999)).collect();
        assert!(draws.iter().all(|draw| *draw <= 999));
        let below_half = draws.iter().filter(|draw| **draw < 500).count();
        assert!((4_700..5_300).contains(&below_half), "{below_half} of 10,000");
    }

    #[test]
    fn success_starts_over_and_the_same_seed_waits_the_same() {
        let mut one = Backoff::new(Jitter::new(1));
        let mut two = Backoff::new(Jitter::new(1));
        for _ in 0..20 {
            assert_eq!(one.next_wait(), two.next_wait());
        }
        one.reset();
        assert!(one.next_wait() <= Millis::new(CEILING_MS_MIN));
    }
}
