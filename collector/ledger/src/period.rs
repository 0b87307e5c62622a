//! Periods: a month of a hub whose figures somebody has closed, and what became of them since.
//!
//! # Invariants
//! - Closed figures are never changed. What corrects an interval of a closed period is told by a
//!   [`Restatement`] with the old figures and the new ones.
//! - [`Figures`] are sums over the newest summary of each interval, so whoever has the leaves comes
//!   to the same, for any count of leaves ([`Figures::of`]).
//!
//! What may be closed is decided in `books/period.rs`; the bytes are in `leaf/bytes/period.rs`.

mod month;

use serde::{Deserialize, Serialize};

use bijli_wire::UtcMillis;

use crate::leaf::{PueShown, Summary};
use crate::rules::{DOUBTS_BYTES_MAX, PERIOD_TEXT_BYTES_MAX, RESTATEMENTS_KEPT};

pub use month::{Day, Month, MonthError};

const MILLION: u128 = 1_000_000;

/// What a period comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Intervals that begin in it, by the calendar...
    pub expected: u32,
    /// ...of which so many are posted...
    pub posted: u32,
    /// ...of which so many are not complete...
    pub incomplete: u32,
    /// ...of which so many are disputed.
    pub disputed: u32,
    pub supplied: u128,
    pub used: u128,
    /// So many intervals add to PUE, and these are its terms over them.
    pub counted: u32,
    pub total: u128,
    pub it: u128,
    /// Of both terms.
    pub estimated: u128,
}

/// What one interval adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) supplied: u128,
    pub(crate) used: u128,
    pub(crate) is_incomplete: bool,
    pub(crate) is_disputed: bool,
    /// Total, IT and estimated, of one that adds to PUE.
    pub(crate) pue: Option<[u128; 3]>,
}

/// Why a period is not whole: a stretch of it, with the words of its intervals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    pub from: UtcMillis,
    /// Exclusive.
    pub to: UtcMillis,
    pub kind: DoubtKind,
    pub words: String,
}

/// Kinds of doubts; the numbers are in leaves, append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DoubtKind {
    /// Its intervals are not complete.
    Incomplete = 0,
    /// Two registers contradict each other.
    Disputed = 1,
    /// The books have no such intervals.
    NotPosted = 2,
}

/// Doubts as a leaf keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubts {
    /// By their begin.
    pub list: Vec<Doubt>,
    /// Those that did not fit.
    pub more: u32,
}

/// A month was closed: its figures as they stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodClosed {
    pub month: Month,
    pub from: UtcMillis,
    /// Exclusive.
    pub to: UtcMillis,
    /// Leaves of the log before this one, which is its own index: the figures follow from them.
    pub leaves: u64,
    pub figures: Figures,
    /// Who stands for it.
    pub by: String,
    /// Why it was closed although there are doubts.
    pub despite: Option<String>,
    pub doubts: Doubts,
}

/// Figures of a closed period are others than were told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restatement {
    pub month: Month,
    pub from: UtcMillis,
    /// Exclusive.
    pub to: UtcMillis,
    /// Index of the leaf that closed it.
    pub closed: u64,
    /// Index of the leaf that told the old figures.
    pub old_leaf: u64,
    /// Who stands for the new ones; `None`: the books tell it by themselves.
    pub by: Option<String>,
    pub cause: String,
    /// The first and the last entry since the old figures; `None`: no amount was posted.
    pub entries: Option<(u64, u64)>,
    pub old: Figures,
    pub new: Figures,
    /// Energy that corrections gave to uses or took from them, the larger of both by interval.
    pub moved: u128,
}

/// A closed period as the books know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    pub closed: PeriodClosed,
    /// When it was closed, by the journal.
    pub at: UtcMillis,
    /// The newest restatements; all of them are in the ledger log.
    pub restatements: Vec<Restated>,
    /// How many there were.
    pub restated: u64,
    /// As somebody last stood for them, and as they were last told, with the leaf of each.
    pub(crate) stated: (u64, Figures),
    pub(crate) told: (u64, Figures),
    pub(crate) since_stated: Change,
    pub(crate) since_told: Change,
}

/// A restatement and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restated {
    pub leaf: u64,
    pub at: UtcMillis,
    pub restatement: Restatement,
}

/// What corrections did to a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) intervals: u32,
    pub(crate) entries: Option<(u64, u64)>,
    pub(crate) moved: u128,
}

/// How a closed period stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeriodState {
    /// As it was closed, or as somebody stood for it since.
    Closed,
    /// Corrected since, and nobody has stood for the new figures yet.
    Corrected,
    /// Somebody stands for other figures than it was closed with.
    Restated,
}

/// Why a period is not closed or not restated. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    #[error("{field} needs 1 to {PERIOD_TEXT_BYTES_MAX} bytes without control characters")]
    Text { field: &'static str },
    #[error("{month} ends {to} and the books are closed until {closed_until}: close it after that")]
    NotOver { month: Month, closed_until: String, to: String },
    #[error(
        "{month} is not whole, {count} doubts:\n{shown}close it all the same with a reason \
         (--despite), which is kept beside the figures"
    )]
    Doubts { month: Month, count: usize, shown: String },
    #[error("{month} would share intervals with {other}, which is closed: its offset has changed")]
    Overlaps { month: Month, other: Month },
    #[error("{month} is not closed: there is nothing to restate")]
    NotClosed { month: Month },
    #[error("the figures of {month} are those that were stated: there is nothing to restate")]
    NothingChanged { month: Month },
}

impl Figures {
    /// Sums the newest summaries of the intervals of a period, by the leaves at hand.
    #[must_use]
    pub fn of<'a>(expected: u32, summaries: impl Iterator<Item = &'a Summary>) -> Self {
        let mut figures = Self { expected, ..Self::default() };
        summaries.for_each(|summary| figures.add(&Part::of(summary)));
        figures
    }

    pub(crate) const fn add(&mut self, part: &Part) {
        let Part { supplied, used, is_incomplete, is_disputed, pue } = part;
        self.posted = self.posted.saturating_add(1);
        self.incomplete = self.incomplete.saturating_add(if *is_incomplete { 1 } else { 0 });
        self.disputed = self.disputed.saturating_add(if *is_disputed { 1 } else { 0 });
        self.supplied = self.supplied.saturating_add(*supplied);
        self.used = self.used.saturating_add(*used);
        if let Some([total, it, estimated]) = pue {
            self.counted = self.counted.saturating_add(1);
            self.total = self.total.saturating_add(*total);
            self.it = self.it.saturating_add(*it);
            self.estimated = self.estimated.saturating_add(*estimated);
        }
    }
}

impl Part {
    pub(crate) fn of(summary: &Summary) -> Self {
        let Summary { supplied, used, reasons, reasons_more, pue, .. } = summary;
        let pue = match pue {
            PueShown::Withheld(_) => None,
            PueShown::Parts { total, it, estimated, .. } => Some([*total, *it, *estimated]),
        };
        Self {
            supplied: *supplied,
            used: *used,
            is_incomplete: !reasons.is_empty() || *reasons_more > 0,
            is_disputed: reasons.iter().any(|reason| reason.is_dispute),
            pue,
        }
    }
}

impl DoubtKind {
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Incomplete),
            1 => Some(Self::Disputed),
            2 => Some(Self::NotPosted),
            _ => None,
        }
    }

    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Incomplete => 0,
            Self::Disputed => 1,
            Self::NotPosted => 2,
        }
    }

    /// The word in answers.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Disputed => "disputed",
            Self::NotPosted => "not posted",
        }
    }
}

impl Doubts {
    /// Keeps as many as a leaf has room for.
    pub(crate) fn new(mut all: Vec<Doubt>) -> Self {
        all.sort_by(|a, b| (a.from, a.kind, &a.words).cmp(&(b.from, b.kind, &b.words)));
        let mut bytes = 0_usize;
        let fits = |doubt: &&Doubt| {
            bytes = bytes.saturating_add(doubt.words.len()).saturating_add(32);
            bytes <= DOUBTS_BYTES_MAX
        };
        let count = all.iter().take_while(fits).count();
        let more = u32::try_from(all.len().saturating_sub(count)).unwrap_or(u32::MAX);
        all.truncate(count);
        Self { list: all, more }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len().saturating_add(usize::try_from(self.more).unwrap_or(usize::MAX))
    }
}

impl Restatement {
    /// What moved, in millionths of what the period was supplied with before, rounded up.
    #[must_use]
    pub fn materiality_ppm(&self) -> u32 {
        if self.moved == 0 {
            return 0;
        }
        let whole = self.old.supplied;
        let part = self.moved.checked_mul(MILLION);
        let ppm = part.and_then(|part| {
            let rounded = part.checked_add(whole.checked_sub(1)?)?;
            rounded.checked_div(whole)
        });
        // Of nothing, anything is material.
        ppm.and_then(|ppm| u32::try_from(ppm).ok()).unwrap_or(u32::MAX)
    }
}

impl Period {
    pub(crate) fn new(closed: PeriodClosed, at: UtcMillis) -> Self {
        let stated = (closed.leaves, closed.figures);
        let (since_stated, since_told) = (Change::default(), Change::default());
        let (restatements, restated) = (Vec::new(), 0);
        Self { closed, at, restatements, restated, stated, told: stated, since_stated, since_told }
    }

    #[must_use]
    pub fn state(&self) -> PeriodState {
        if self.since_stated != Change::default() {
            PeriodState::Corrected
        } else if self.stated.0 != self.closed.leaves {
            PeriodState::Restated
        } else {
            PeriodState::Closed
        }
    }

    /// As they were last told.
    #[must_use]
    pub const fn figures(&self) -> Figures {
        self.told.1
    }

    pub(crate) fn note(&mut self, change: Change) {
        self.since_stated.add(change);
        self.since_told.add(change);
    }

    /// New figures under a leaf: of a person, or told by the books.
    pub(crate) fn restate(
        &mut self,
        said: Option<(String, String)>,
        new: Figures,
        (leaf, at): (u64, UtcMillis),
    ) -> Restatement {
        let (old, change) = match said {
            Some(_) => (self.stated, self.since_stated),
            None => (self.told, self.since_told),
        };
        let (by, cause) = match said {
            Some((by, cause)) => (Some(by), cause),
            None => (None, format!("{} intervals posted again", change.intervals)),
        };
        let PeriodClosed { month, from, to, leaves: closed, .. } = self.closed;
        let Change { entries, moved, .. } = change;
        let (old_leaf, old) = old;
        let restatement =
            Restatement { month, from, to, closed, old_leaf, by, cause, entries, old, new, moved };
        if restatement.by.is_some() {
            self.stated = (leaf, new);
            self.since_stated = Change::default();
        }
        self.told = (leaf, new);
        self.since_told = Change::default();
        self.restated = self.restated.saturating_add(1);
        if self.restatements.len() >= RESTATEMENTS_KEPT {
            self.restatements.remove(0);
        }
        self.restatements.push(Restated { leaf, at, restatement: restatement.clone() });
        restatement
    }
}

impl Change {
    fn add(&mut self, other: Self) {
        self.intervals = self.intervals.saturating_add(other.intervals);
        self.moved = self.moved.saturating_add(other.moved);
        self.entries = match (self.entries, other.entries) {
            (Some((first, _)), Some((_, last))) => Some((first, last)),
            (known, None) => known,
            (None, new) => new,
        };
    }
}

/// Whether a text may stand in a leaf for good.
pub(crate) fn check_text(field: &'static str, text: &str) -> Result<(), PeriodError> {
    let is_fit = (1..=PERIOD_TEXT_BYTES_MAX).contains(&text.len());
    if is_fit && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(PeriodError::Text { field })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restatement(supplied: u128, moved: u128) -> Restatement {
        let month = "2026-07".parse().expect("a month");
        let old = Figures { supplied, ..Figures::default() };
        let (from, to) = (UtcMillis::new(0), UtcMillis::new(1));
        let (by, cause, entries) = (None, String::new(), None);
        let new = old;
        let (closed, old_leaf) = (1, 1);
        Restatement { month, from, to, closed, old_leaf, by, cause, entries, old, new, moved }
    }

    #[test]
    fn materiality_is_of_the_whole_period_and_rounded_up() {
        for (supplied, moved, ppm) in [
            (1_000_000, 1, 1),
            (2_000_000, 1, 1),
            (1_000_000, 0, 0),
            (1_000, 1_000, 1_000_000),
            (0, 5, u32::MAX),
            (u128::MAX, u128::MAX, u32::MAX),
        ] {
            assert_eq!(restatement(supplied, moved).materiality_ppm(), ppm, "{moved}/{supplied}");
        }
    }

    #[test]
    fn doubts_beyond_a_leaf_are_counted() {
        let doubt = |n: i64| Doubt {
            from: UtcMillis::new(n),
            to: UtcMillis::new(n),
            kind: DoubtKind::Incomplete,
            words: "w".repeat(500),
        };
        let doubts = Doubts::new((0..200_i64).rev().map(doubt).collect());
        assert_eq!(doubts.count(), 200);
        assert!(doubts.more > 0 && doubts.list.len() > 50);
        assert_eq!(doubts.list.first().map(|first| first.from), Some(UtcMillis::new(0)));
    }
}
