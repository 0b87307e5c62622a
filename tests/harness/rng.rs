//! Chance that can be repeated: a small generator (`SplitMix64`) with one seed a test, printed when
//! the test fails.

/// The generator. Equal seeds give equal courses.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed in an environment variable, or one of this moment.
    #[must_use]
    pub fn seed_from(variable: &str) -> u64 {
        let given = std::env::var(variable).ok().and_then(|text| text.parse().ok());
        given.unwrap_or_else(|| u64::try_from(crate::utc_ms()).unwrap_or(1))
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is above 0. Its slight bias does not matter to a test.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// An index into something of this length, which is above 0.
    pub fn index(&mut self, length: usize) -> usize {
        let end = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(end)).unwrap_or(0)
    }

    /// True in `part` of `of` cases.
    pub fn chance(&mut self, part: u64, of: u64) -> bool {
        self.below(of) < part
    }

    /// Another generator, so that what one part of a test draws does not shift another's.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.draw())
    }

    /// Bytes that no compressor makes smaller.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.draw().to_le_bytes()[0]).collect()
    }
}
