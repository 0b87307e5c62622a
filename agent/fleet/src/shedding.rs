//! Who carries the hub: the grid, for some seconds only the battery, then the generator.
//!
//! A shedding drops the grid; the generator needs about ten seconds to start; when the grid has
//! returned it carries on until the next. Moments are drawn from the seed.

use bijli_wire::Millis;

use crate::rng::Rng;

/// Seconds from the loss of the grid until the generator carries the hub.
const START_S: (u64, u64) = (8, 12);
/// The grid is back at least this long before it is shed again.
const REST_S: u64 = 30;

/// Who carries the hub in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    Grid,
    /// Neither supply: the UPS battery carries the IT, and nothing else runs.
    Battery,
    Generator,
}

#[derive(Clone, Debug)]
pub(crate) struct Shedding {
    rng: Rng,
    every_s: Option<u64>,
    generator_s: u64,
    supply: Supply,
    /// When the supply changes next, in seconds since 1970; `None`: never.
    until: Option<i64>,
    shed_at: i64,
}

impl Shedding {
    pub(crate) fn new(seed: u64, every: Option<Millis>, lasts: Millis, second: i64) -> Self {
        let mut shedding = Self {
            rng: Rng::new(seed),
            every_s: every.map(|every| every.get() / 1_000),
            generator_s: lasts.get() / 1_000,
            supply: Supply::Grid,
            until: None,
            shed_at: second,
        };
        shedding.until = shedding.next_shedding(second);
        shedding
    }

    pub(crate) fn supply(&self) -> Supply {
        self.supply
    }

    /// Who carries the second that begins now. A battery that is not yet half full holds the
    /// next shedding off: this hub never goes dark.
    pub(crate) fn advance(&mut self, second: i64, battery_is_ready: bool) -> Supply {
        if self.until.is_none_or(|until| second < until) {
            return self.supply;
        }
        match self.supply {
            Supply::Grid if !battery_is_ready => {}
            Supply::Grid => {
                self.supply = Supply::Battery;
                self.shed_at = second;
                self.until = Some(second + self.draw(START_S.0, START_S.1));
            }
            Supply::Battery => {
                self.supply = Supply::Generator;
                let quarter_s = self.generator_s / 4;
                let (low_s, high_s) = (self.generator_s - quarter_s, self.generator_s + quarter_s);
                self.until = Some(second + self.draw(low_s, high_s));
            }
            Supply::Generator => {
                self.supply = Supply::Grid;
                self.until = self.next_shedding(second);
            }
        }
        self.supply
    }

    /// From one shedding's start to the next, give or take a fifth.
    fn next_shedding(&mut self, second: i64) -> Option<i64> {
        let every_s = self.every_s?;
        let fifth_s = every_s / 5;
        let next = self.shed_at + self.draw(every_s - fifth_s, every_s + fifth_s);
        Some(next.max(second + i64::try_from(REST_S).expect("half a minute")))
    }

    fn draw(&mut self, low_s: u64, high_s: u64) -> i64 {
        // Longer than the age of the universe is as good as never.
        let ages = u64::from(u32::MAX);
        i64::try_from(self.rng.between(low_s.min(ages), high_s.min(ages))).expect("fits u32")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_sheddings_keeps_the_order_and_the_times() {
        let every = Some(Millis::new(360_000));
        let mut shedding = Shedding::new(3, every, Millis::new(120_000), 0);
        let (mut before, mut lasted, mut sheddings) = (Supply::Grid, 0_u64, 0);
        for second in 0..86_400 {
            let now = shedding.advance(second, true);
            if now == before {
                lasted += 1;
                continue;
            }
            match (before, now) {
                (Supply::Grid, Supply::Battery) => sheddings += 1,
                (Supply::Battery, Supply::Generator) => assert!((8..=12).contains(&lasted)),
                (Supply::Generator, Supply::Grid) => assert!((90..=150).contains(&lasted)),
                (from, to) => panic!("{from:?} must not become {to:?}"),
            }
            (before, lasted) = (now, 1);
        }
        assert!((200..=280).contains(&sheddings), "{sheddings} in a day, 240 expected");
    }

    #[test]
    fn never_is_never_and_an_empty_battery_waits() {
        let mut never = Shedding::new(3, None, Millis::new(120_000), 0);
        assert!((0..100_000).all(|second| never.advance(second, true) == Supply::Grid));
        let mut waits = Shedding::new(3, Some(Millis::new(60_000)), Millis::new(10_000), 0);
        assert!((0..1_000).all(|second| waits.advance(second, false) == Supply::Grid));
        assert_eq!(waits.advance(1_000, true), Supply::Battery);
    }
}
