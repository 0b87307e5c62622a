//! The way between one node and the collector: lossy, doubling, late, cut, clogged.

use crate::dice::Dice;
use crate::fault::{Fault, Tally};
use crate::plan::Net;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

/// What the network does with one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Arrives after each of these delays: once, or twice.
    Arrives(Vec<u64>),
    /// Nobody hears of it.
    Lost,
    /// The sender is told at once that there is no way.
    Refused,
    /// Waits until the link is unclogged.
    Held,
}

/// One node's link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Cut in both ways until then; a cut link refuses or swallows.
    pub cut_until: u64,
    pub swallows: bool,
    /// Answers do not come through until then.
    pub one_way_until: u64,
    pub clogged_until: u64,
}

impl Link {
    pub fn carry(
        &self,
        (way, now): (Way, u64),
        net: &Net,
        dice: &mut Dice,
        tally: &mut Tally,
    ) -> Fate {
        if now < self.cut_until {
            return if self.swallows || way == Way::Down { Fate::Lost } else { Fate::Refused };
        }
        if way == Way::Down && now < self.one_way_until {
            return Fate::Lost;
        }
        if now < self.clogged_until {
            return Fate::Held;
        }
        let (lose, lost) = match way {
            Way::Up => (net.lose_up, Fault::RequestLost),
            Way::Down => (net.lose_down, Fault::AnswerLost),
        };
        if dice.once_in(lose) {
            tally.count(lost);
            return Fate::Lost;
        }
        let mut delays = vec![dice.between(1, 200)];
        if dice.once_in(net.double) {
            tally.count(Fault::MessageDoubled);
            delays.push(dice.between(1, 5_000));
        }
        if dice.once_in(net.late) {
            tally.count(Fault::MessageLate);
            // Seconds, hours, or up to three days.
            let most = dice.pick(&[60_000, 7_200_000, 3 * 86_400_000]);
            delays[0] += dice.between(0, most);
        }
        Fate::Arrives(delays)
    }

    pub fn heal(&mut self) {
        *self = Self::default();
    }
}
