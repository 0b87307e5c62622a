//! How an amount of energy is known, and sums kept apart by it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How an amount is known, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Difference of a hardware register.
    Measured,
    /// Difference of a register that the agent integrated from averages that leave no time out.
    Integrated,
    /// Difference of a register that the agent integrated from momentary power: what happened
    /// between two looks is not in it.
    Sampled,
    /// The register ran across a gap: the sum is exact, its shape in time unknown.
    Bridged,
    /// A blind stretch, from the power before it and within its bounds.
    Estimated,
    /// A difference of other amounts: a loss, a rest, what no meter explains.
    Derived,
}

impl Class {
    pub const ALL: [Self; 6] = [
        Self::Measured,
        Self::Integrated,
        Self::Sampled,
        Self::Bridged,
        Self::Estimated,
        Self::Derived,
    ];

    /// What stands for it in leaves and in the index. Append only.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Measured => 1,
            Self::Integrated => 2,
            Self::Bridged => 3,
            Self::Estimated => 4,
            Self::Derived => 5,
            Self::Sampled => 6,
        }
    }

    /// The class of a number; `None` if there is no such class.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.number() == number)
    }

    /// The word in entries and documents.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Integrated => "integrated",
            Self::Sampled => "sampled",
            Self::Bridged => "bridged",
            Self::Estimated => "estimated",
            Self::Derived => "derived",
        }
    }

    /// The class of a word; `None` if there is no such class.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.word() == word)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a device was doing during the step that a reading ends.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[repr(u8)]
pub enum Activity {
    /// Nobody could tell.
    #[default]
    Unknown = 0,
    Idle = 1,
    Busy = 2,
}

/// Millijoules by class. A sum over a hub and many years fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByClass([u128; 6]);

impl ByClass {
    #[must_use]
    pub fn of(class: Class, millijoules: u128) -> Self {
        let mut sums = Self::default();
        sums.add(class, millijoules);
        sums
    }

    #[must_use]
    pub const fn get(&self, class: Class) -> u128 {
        let [measured, integrated, sampled, bridged, estimated, derived] = self.0;
        match class {
            Class::Measured => measured,
            Class::Integrated => integrated,
            Class::Sampled => sampled,
            Class::Bridged => bridged,
            Class::Estimated => estimated,
            Class::Derived => derived,
        }
    }

    fn slot(&mut self, class: Class) -> &mut u128 {
        let [measured, integrated, sampled, bridged, estimated, derived] = &mut self.0;
        match class {
            Class::Measured => measured,
            Class::Integrated => integrated,
            Class::Sampled => sampled,
            Class::Bridged => bridged,
            Class::Estimated => estimated,
            Class::Derived => derived,
        }
    }

    /// Amounts are below 2^64 each, so 2^64 of them fit.
    pub fn add(&mut self, class: Class, millijoules: u128) {
        let slot = self.slot(class);
        *slot = slot.checked_add(millijoules).expect("a sum of energies fits u128");
    }

    pub(crate) fn subtract(&mut self, class: Class, millijoules: u128) {
        let slot = self.slot(class);
        *slot = slot.checked_sub(millijoules).expect("a reversal takes back what was posted");
    }

    pub fn add_all(&mut self, other: &Self) {
        for (class, millijoules) in other.iter() {
            self.add(class, millijoules);
        }
    }

    /// The amounts that are not zero, best class first.
    pub fn iter(&self) -> impl Iterator<Item = (Class, u128)> + use<> {
        let sums = *self;
        Class::ALL
            .into_iter()
            .map(move |class| (class, sums.get(class)))
            .filter(|(_, millijoules)| *millijoules > 0)
    }

    #[must_use]
    pub fn total(&self) -> u128 {
        self.0
            .iter()
            .fold(0, |sum: u128, part| sum.checked_add(*part).expect("a sum of energies fits u128"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ordered_best_first_and_survive_their_words_and_numbers() {
        assert!(Class::ALL.is_sorted());
        for class in Class::ALL {
            assert_eq!(Class::from_word(class.word()), Some(class));
            assert_eq!(Class::from_number(class.number()), Some(class));
        }
        assert_eq!(Class::from_word("guessed"), None);
        assert_eq!(Class::from_number(0), None);
    }

    #[test]
    fn sums_stay_apart_and_total_together() {
        let mut sums = ByClass::of(Class::Measured, 5);
        sums.add(Class::Estimated, 2);
        sums.add_all(&ByClass::of(Class::Measured, 1));
        assert_eq!(sums.get(Class::Measured), 6);
        assert_eq!(sums.total(), 8);
        let parts: Vec<_> = sums.iter().collect();
        assert_eq!(parts, [(Class::Measured, 6), (Class::Estimated, 2)]);
    }
}
