//! As of when an answer is: so many leaves of the ledger log, and so many changes of the registry
//! of projects.
//!
//! Nothing that was posted is changed, so the first so many leaves say for ever what the books said
//! when they had no more. A correction that comes weeks later is a later leaf.
//!
//! # Invariants
//! - [`Moments`] is a function of the journal; both of its numbers rise.
//! - A time names one count of leaves, for ever: only times that the books have passed are taken.

use std::fmt;

use bijli_wire::UtcMillis;
use serde::{Deserialize, Serialize};

use crate::calendar::{self, TimeError};

/// What an answer rests on. Its words, `1042.3`, are taken back by every `as_of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// The first so many leaves.
    pub leaves: u64,
    /// The first so many changes of the registry.
    pub changes: usize,
}

impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.leaves, self.changes)
    }
}

/// As somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Time(UtcMillis),
    Leaves {
        leaves: u64,
        /// `None`: all that were made before the next leaf.
        changes: Option<usize>,
    },
}

/// Why there is no answer as of then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsOfError {
    #[error(
        "as_of {text:?} is no time with an offset, and no count of leaves as answers give it \
         (1042, or 1042.3 with the changes of the registry)"
    )]
    Text { text: String, source: TimeError },
    #[error("as_of {at} is ahead: the books have heard until {heard}")]
    Ahead { at: String, heard: String },
    #[error("as_of {asked} is ahead: there are {known} {what}")]
    Beyond { what: &'static str, asked: u64, known: u64 },
}

impl Asked {
    /// # Errors
    /// When the text is neither a time nor a count.
    pub fn parse(text: &str) -> Result<Self, AsOfError> {
        let (leaves, changes) = match text.split_once('.') {
            Some((leaves, changes)) => (leaves, changes.parse().ok()),
            None => (text, None),
        };
        let is_whole = changes.is_some() || !text.contains('.');
        if let Some(leaves) = leaves.parse().ok().filter(|_| is_whole) {
            return Ok(Self::Leaves { leaves, changes });
        }
        // A plus sign that was not percent-encoded arrives as a space.
        let time = calendar::parse(&text.replace(' ', "+"));
        time.map(Self::Time).map_err(|source| {
            let text = text.chars().take(64).collect();
            AsOfError::Text { text, source }
        })
    }
}

/// When the books had how many leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moments {
    /// A time of the journal, and the leaves from it on.
    steps: Vec<(i64, u64)>,
    /// What the books call now; they are told the time each second.
    heard: Option<i64>,
}

impl Moments {
    /// The books have been told this time, and have so many leaves since.
    pub(crate) fn note(&mut self, at: UtcMillis, leaves: u64) {
        self.heard = self.heard.max(Some(at.get()));
        if self.steps.last().is_none_or(|(_, before)| *before < leaves) {
            self.steps.push((at.get(), leaves));
        }
    }

    /// How many leaves the books had at a moment.
    ///
    /// # Errors
    /// When it has not come for them.
    pub fn leaves_at(&self, at: UtcMillis) -> Result<u64, AsOfError> {
        match self.heard {
            Some(heard) if at.get() <= heard => {
                let passed = self.steps.partition_point(|(from, _)| *from <= at.get());
                let last = passed.checked_sub(1).and_then(|last| self.steps.get(last));
                Ok(last.map_or(0, |(_, leaves)| *leaves))
            }
            heard => Err(AsOfError::Ahead {
                at: calendar::rfc3339(at),
                heard: heard.map_or_else(
                    || "nothing yet".to_owned(),
                    |heard| calendar::rfc3339(UtcMillis::new(heard)),
                ),
            }),
        }
    }

    /// When the books first had so many leaves; `None`: before the first of them.
    #[must_use]
    pub fn time_of(&self, leaves: u64) -> Option<UtcMillis> {
        let before = self.steps.partition_point(|(_, had)| *had <= leaves);
        let step = before.checked_sub(1).and_then(|last| self.steps.get(last));
        step.map(|(at, _)| UtcMillis::new(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_say_is_taken_back() {
        let of = |text| Asked::parse(text);
        assert_eq!(of("1042"), Ok(Asked::Leaves { leaves: 1042, changes: None }));
        let said = AsOf { leaves: 1042, changes: 3 }.to_string();
        assert_eq!(of(&said), Ok(Asked::Leaves { leaves: 1042, changes: Some(3) }));
        let time = UtcMillis::new(1_785_542_400_000);
        for text in ["2026-08-01T05:00:00+05:00", "2026-08-01T05:00:00 05:00"] {
            assert_eq!(of(text), Ok(Asked::Time(time)), "{text}");
        }
        for text in ["", "-1", "1.", ".1", "1.x", "1.2.3", "2026-08-01T05:00:00", "yesterday"] {
            let refused = of(text).expect_err(text).to_string();
            assert!(refused.contains("as_of"), "{refused}");
        }
    }

    #[test]
    fn a_time_is_a_count_of_leaves_once_it_is_past() {
        let mut moments = Moments::default();
        let at = UtcMillis::new;
        assert!(moments.leaves_at(at(0)).is_err(), "nothing was heard");
        moments.note(at(1_000), 0);
        moments.note(at(2_000), 4);
        moments.note(at(3_000), 4);
        moments.note(at(4_000), 9);
        let counts = [0, 1_999, 2_000, 3_999, 4_000].map(|ms| moments.leaves_at(at(ms)));
        assert_eq!(counts, [Ok(0), Ok(0), Ok(4), Ok(4), Ok(9)]);
        let ahead = moments.leaves_at(at(4_001)).expect_err("ahead").to_string();
        assert!(ahead.contains("have heard until 1970-01-01T00:00:04Z"), "{ahead}");
        assert_eq!(
            [3, 4, 8, 9].map(|n| moments.time_of(n).map(UtcMillis::get)),
            [Some(1_000), Some(2_000), Some(2_000), Some(4_000)]
        );
    }
}
