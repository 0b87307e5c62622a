//! Chance without a clock: a splitmix64 stream for decisions, and a hash for per-second noise.
//!
//! The noise of a device in a second depends on seed, second and device only, never on the order
//! in which devices are asked.

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of splitmix64.
fn finalize(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 64 bits that belong to these three numbers.
pub(crate) fn noise(seed: u64, which: u64, second: i64) -> u64 {
    let when = second.cast_unsigned().wrapping_mul(GOLDEN_GAMMA);
    finalize(finalize(seed ^ which.wrapping_mul(0xd6e8_feb8_6659_fd93)).wrapping_add(when))
}

/// `bits` spread over `0..=span`. The bias is below `span / 2^64`: nobody's statistics.
pub(crate) fn spread(bits: u64, span: u64) -> u64 {
    let wide = u128::from(bits) * (u128::from(span) + 1);
    u64::try_from(wide >> 64).expect("the product of two u64 shifted by 64 fits u64")
}

/// A stream of decisions.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        finalize(self.0)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + spread(self.next(), high.saturating_sub(low))
    }

    /// True once in `times`, on average.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.between(1, times.max(1)) == 1
    }

    /// One of `choices`; `None` when there is none.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let last = u64::try_from(choices.len()).ok()?.checked_sub(1)?;
        choices.get(usize::try_from(self.between(0, last)).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of splitmix64 for seed 1234567, as its reference prints them.
    #[test]
    fn the_stream_is_splitmix64() {
        let mut rng = Rng::new(1_234_567);
        let first = [rng.next(), rng.next(), rng.next()];
        let expected =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(first, expected);
    }

    #[test]
    fn spread_reaches_both_ends_and_no_further() {
        assert_eq!(spread(0, 9), 0);
        assert_eq!(spread(u64::MAX, 9), 9);
        assert_eq!(spread(u64::MAX, u64::MAX), u64::MAX);
        let mut rng = Rng::new(1);
        let mut seen = [false; 6];
        for _ in 0..1_000 {
            let face = rng.between(0, 5);
            seen[usize::try_from(face).expect("small")] = true;
        }
        assert_eq!(seen, [true; 6]);
    }

    #[test]
    fn noise_differs_by_device_and_by_second() {
        assert_eq!(noise(1, 2, 3), noise(1, 2, 3));
        assert_ne!(noise(1, 2, 3), noise(1, 3, 3));
        assert_ne!(noise(1, 2, 3), noise(1, 2, 4));
        assert_ne!(noise(1, 2, 3), noise(2, 2, 3));
    }
}
