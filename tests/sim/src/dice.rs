//! All chance of a history, from one seed: splitmix64.

/// A stream of decisions.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = u128::from(high.saturating_sub(low)) + 1;
        low + u64::try_from((u128::from(self.draw()) * span) >> 64).expect("below the span")
    }

    /// True once in `times`; never if that is 0.
    pub fn once_in(&mut self, times: u64) -> bool {
        times > 0 && self.between(1, times) == 1
    }

    pub fn index(&mut self, length: usize) -> usize {
        let last = u64::try_from(length.saturating_sub(1)).expect("a length fits");
        usize::try_from(self.between(0, last)).expect("below a length")
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    pub fn bytes(&mut self) -> [u8; 16] {
        (u128::from(self.draw()) << 64 | u128::from(self.draw())).to_le_bytes()
    }
}
