//! Cutting energy in time: integer, monotone, and exact in sum.
//!
//! # Invariants
//! - `Ramp::at` never falls as time passes, is 0 at the start and the whole energy at the end, so
//!   the parts of any cut sum to the whole.

/// Energy that arrived evenly over `[from, to]`, in milliseconds of any one origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ramp {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) energy: u64,
}

impl Ramp {
    /// What had arrived by `t`: `floor(energy x (t - from) / (to - from))`.
    pub(crate) fn at(&self, t: i64) -> u64 {
        assert!(self.from < self.to, "a ramp has a length");
        if t >= self.to {
            return self.energy;
        }
        if t <= self.from {
            return 0;
        }
        let passed = t.abs_diff(self.from);
        proportion(self.energy, passed, self.to.abs_diff(self.from))
    }

    /// What arrived between two moments.
    pub(crate) fn between(&self, start: i64, end: i64) -> u64 {
        self.at(end).saturating_sub(self.at(start))
    }
}

/// `floor(amount x part / whole)` for a part of a whole.
pub(crate) fn proportion(amount: u64, part: u64, whole: u64) -> u64 {
    assert!(part <= whole && whole > 0, "a part of a whole");
    // Two u64 factors fit u128, and a part of the amount fits the amount's width.
    let product = u128::from(amount).saturating_mul(u128::from(part));
    product
        .checked_div(u128::from(whole))
        .and_then(|share| u64::try_from(share).ok())
        .expect("a part is not more than the whole")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn before_the_start_is_nothing_and_after_the_end_is_all() {
        let ramp = Ramp { from: 10, to: 20, energy: 7 };
        assert_eq!([-5, 10, 15, 19, 20, 99].map(|t| ramp.at(t)), [0, 0, 3, 6, 7, 7]);
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_whole(
            from in -1_000_000_i64..1_000_000,
            length in 1_i64..10_000_000,
            energy in any::<u64>(),
            mut cuts in proptest::collection::vec(-1_000_000_i64..11_000_000, 0..40),
        ) {
            let to = from.saturating_add(length);
            let ramp = Ramp { from, to, energy };
            cuts.push(from);
            cuts.push(to);
            cuts.sort_unstable();
            let mut sum = 0_u128;
            for pair in cuts.windows(2) {
                prop_assert!(ramp.at(pair[0]) <= ramp.at(pair[1]));
                sum = sum.saturating_add(u128::from(ramp.between(pair[0], pair[1])));
            }
            prop_assert_eq!(sum, u128::from(energy));
        }
    }
}
