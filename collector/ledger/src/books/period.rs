//! Months of these books: what they come to, closing them, and telling what changed since.

use std::collections::BTreeMap;
use std::ops::Range;

use bijli_wire::UtcMillis;
use serde::{Deserialize, Serialize};

use super::{Books, Interval};
use crate::account::Nature;
use crate::civil::Offset;
use crate::derive::{Derived, Reason};
use crate::entry::AccountNo;
use crate::period::{
    Change, Doubt, DoubtKind, Doubts, Figures, Month, Part, Period, PeriodClosed, PeriodError,
    Restatement, check_text,
};

/// Doubts that are looked at before the rest is only counted.
const DOUBTS_MAX: usize = 10_000;
/// Doubts that a refusal tells.
const TOLD_MAX: usize = 8;

impl Books {
    /// When a month begins and ends here: by the offset in force at its end.
    #[must_use]
    pub fn month(&self, month: Month) -> (UtcMillis, UtcMillis) {
        let (_, end) = month.span(Offset::UTC);
        let diagram = self.diagram_at(UtcMillis::new(end.get().saturating_sub(1)));
        month.span(diagram.map_or(Offset::UTC, |diagram| diagram.policy().offset))
    }

    /// The months that these books have intervals of, oldest first.
    #[must_use]
    pub fn months(&self) -> Vec<Month> {
        let ends = self.intervals.first_key_value().zip(self.intervals.last_key_value());
        let Some(((first, _), (last, _))) = ends else { return Vec::new() };
        // An offset may have changed, so a month is looked at by its own.
        let (mut month, last) = (Month::of(UtcMillis::new(*first), Offset::UTC), *last);
        let mut months = Vec::new();
        while self.month(month).0.get() <= last {
            let (from, to) = self.month(month);
            if self.intervals.range(from.get()..to.get()).next().is_some() {
                months.push(month);
            }
            month = month.next();
        }
        months
    }

    /// What a period comes to, as the books stand.
    #[must_use]
    pub fn figures(&self, from: UtcMillis, to: UtcMillis) -> Figures {
        let expected = u32::try_from(self.starts(from, to).1).unwrap_or(u32::MAX);
        let mut figures = Figures { expected, ..Figures::default() };
        for (_, interval) in self.intervals.range(from.get()..to.get()) {
            figures.add(&interval.part());
        }
        figures
    }

    /// The first start of an interval within a period, and how many there are.
    fn starts(&self, from: UtcMillis, to: UtcMillis) -> (i64, u64) {
        let floor = self.floor(from.get());
        let first = if floor < from.get() { floor.saturating_add(self.interval_ms) } else { floor };
        let span = u64::try_from(to.get().saturating_sub(first)).unwrap_or(0);
        let length = self.interval_ms.unsigned_abs().max(1);
        (first, span.div_ceil(length))
    }

    /// Why a period is not whole: what is not posted, not complete, or disputed.
    #[must_use]
    pub fn doubts(&self, from: UtcMillis, to: UtcMillis) -> Doubts {
        let mut runs = Runs::default();
        let (mut start, _) = self.starts(from, to);
        let mut posted = self.intervals.range(start..to.get()).peekable();
        while start < to.get() {
            let end = start.saturating_add(self.interval_ms);
            match posted.next_if(|(next, _)| **next <= start) {
                Some((_, interval)) => runs.interval((start, end), interval),
                None => {
                    // All that lack up to the next one at once: there may be a year of them.
                    let next = posted.peek().map_or(to.get(), |(next, _)| **next);
                    let words = "the books have no interval here".to_owned();
                    runs.add((start, next), DoubtKind::NotPosted, words);
                    start = next;
                    continue;
                }
            }
            start = end;
        }
        runs.finish()
    }

    /// Closed periods, oldest first.
    pub fn periods(&self) -> impl DoubleEndedIterator<Item = &Period> {
        self.periods.values()
    }

    #[must_use]
    pub fn period(&self, month: Month) -> Option<&Period> {
        self.periods.values().find(|period| period.closed.month == month)
    }

    /// Closes a month that is over, with its figures as they stand; `leaves` were made before.
    /// `None`: it is closed already, and stays as it is.
    ///
    /// # Errors
    /// When it is not over, or not whole and nobody says why it is to be closed all the same.
    pub fn close_period(
        &mut self,
        asked: &ClosePeriod<'_>,
        leaves: u64,
        at: UtcMillis,
    ) -> Result<Option<PeriodClosed>, PeriodError> {
        let Some(closed) = self.closable(asked, leaves)? else { return Ok(None) };
        self.periods.insert(closed.from.get(), Period::new(closed.clone(), at));
        Ok(Some(closed))
    }

    /// What [`Books::close_period`] would do now.
    ///
    /// # Errors
    /// The same.
    pub fn closable(
        &self,
        asked: &ClosePeriod<'_>,
        leaves: u64,
    ) -> Result<Option<PeriodClosed>, PeriodError> {
        let ClosePeriod { month, by, despite } = *asked;
        check_text("by", by)?;
        despite.map_or(Ok(()), |despite| check_text("despite", despite))?;
        if self.period(month).is_some() {
            return Ok(None);
        }
        let (from, to) = self.month(month);
        if self.closed_until.is_none_or(|until| until < to.get()) {
            let time = |at: UtcMillis| Offset::UTC.time(at);
            let closed_until = self.closed_until().map_or("no time".to_owned(), time);
            return Err(PeriodError::NotOver { month, closed_until, to: time(to) });
        }
        let other = self.periods.range(..to.get()).next_back();
        if let Some((_, other)) = other.filter(|(_, other)| other.closed.to > from) {
            return Err(PeriodError::Overlaps { month, other: other.closed.month });
        }
        let doubts = self.doubts(from, to);
        if doubts.count() > 0 && despite.is_none() {
            return Err(PeriodError::Doubts {
                month,
                count: doubts.count(),
                shown: shown(&doubts),
            });
        }
        // A reason against no doubts says nothing.
        let despite = despite.filter(|_| doubts.count() > 0).map(str::to_owned);
        let (figures, by) = (self.figures(from, to), by.to_owned());
        Ok(Some(PeriodClosed { month, from, to, leaves, figures, by, despite, doubts }))
    }

    /// Somebody stands for the figures of a closed month as they are now.
    /// `None`: he said just that before.
    ///
    /// # Errors
    /// When it is not closed, or nothing has changed since somebody last stood for it.
    pub fn restate_period(
        &mut self,
        asked: &RestatePeriod<'_>,
        leaf: u64,
        at: UtcMillis,
    ) -> Result<Option<Restatement>, PeriodError> {
        if !self.is_restatable(asked)? {
            return Ok(None);
        }
        let RestatePeriod { month, by, cause } = *asked;
        let (from, to) = self
            .period(month)
            .map_or_else(|| self.month(month), |period| (period.closed.from, period.closed.to));
        let new = self.figures(from, to);
        let Some(period) = self.periods.get_mut(&from.get()) else { return Ok(None) };
        let said = Some((by.to_owned(), cause.to_owned()));
        Ok(Some(period.restate(said, new, (leaf, at))))
    }

    /// Whether [`Books::restate_period`] would change something now.
    ///
    /// # Errors
    /// The same.
    pub fn is_restatable(&self, asked: &RestatePeriod<'_>) -> Result<bool, PeriodError> {
        let RestatePeriod { month, by, cause } = *asked;
        check_text("by", by)?;
        check_text("cause", cause)?;
        let period = self.period(month).ok_or(PeriodError::NotClosed { month })?;
        if period.since_stated != Change::default() {
            return Ok(true);
        }
        let last = period.restatements.last().map(|restated| &restated.restatement);
        let is_again =
            last.is_some_and(|last| last.by.as_deref() == Some(by) && last.cause == cause);
        if is_again { Ok(false) } else { Err(PeriodError::NothingChanged { month }) }
    }

    /// Tells of closed periods that were corrected since this was last asked; the first
    /// restatement becomes leaf `leaf`, the others follow it.
    pub fn restated(&mut self, leaf: u64, at: UtcMillis) -> Vec<Restatement> {
        let changed = self.periods.values().filter(|one| one.since_told != Change::default());
        let changed: Vec<(i64, Figures)> = changed
            .map(|Period { closed, .. }| (closed.from.get(), self.figures(closed.from, closed.to)))
            .collect();
        let told = changed.into_iter().zip(leaf..).filter_map(|((from, new), leaf)| {
            let period = self.periods.get_mut(&from)?;
            Some(period.restate(None, new, (leaf, at)))
        });
        told.collect()
    }

    /// An interval was posted; a closed period that it is in has other figures now.
    pub(super) fn note_in_period(&mut self, start: i64, entries: &Range<u64>) {
        let is_in = |(_, period): &(&i64, &Period)| start < period.closed.to.get();
        let found = self.periods.range(..=start).next_back().filter(is_in);
        let Some(from) = found.map(|(from, _)| *from) else { return };
        let last = entries.end.saturating_sub(1);
        let entries_told = (!entries.is_empty()).then_some((entries.start, last));
        let moved = self.moved(entries);
        let change = Change { intervals: 1, entries: entries_told, moved };
        if let Some(period) = self.periods.get_mut(&from) {
            period.note(change);
        }
    }

    /// What entries gave to uses or took from them, whichever is more.
    fn moved(&self, entries: &Range<u64>) -> u128 {
        let mut nets: BTreeMap<AccountNo, i128> = BTreeMap::new();
        for line in self.lines_of(entries) {
            let amount = i128::from(line.amount);
            for (account, change) in [(line.debit, amount), (line.credit, amount.saturating_neg())]
            {
                if self.chart.account(account).nature() == Nature::Sink {
                    let net = nets.entry(account).or_default();
                    *net = net.saturating_add(change);
                }
            }
        }
        let (mut given, mut taken) = (0_u128, 0_u128);
        for net in nets.into_values() {
            let side = if net > 0 { &mut given } else { &mut taken };
            *side = side.saturating_add(net.unsigned_abs());
        }
        given.max(taken)
    }
}

/// Who closes which month.
#[derive(Clone, Copy, Debug)]
pub struct ClosePeriod<'a> {
    pub month: Month,
    pub by: &'a str,
    /// Why it is to be closed although there are doubts.
    pub despite: Option<&'a str>,
}

/// Who stands for new figures of which month, and why they are new.
#[derive(Clone, Copy, Debug)]
pub struct RestatePeriod<'a> {
    pub month: Month,
    pub by: &'a str,
    pub cause: &'a str,
}

/// What an interval comes to besides PUE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) supplied: u128,
    pub(super) used: u128,
    /// By the reasons that its summary shows.
    is_disputed: bool,
}

impl Standing {
    pub(super) fn of(derived: &Derived) -> Self {
        let is_disputed = super::statement::is_disputed(&derived.reasons);
        let mut standing = Self { is_disputed, ..Self::default() };
        for (flow, amount) in &derived.flows {
            if flow.credit.nature() == Nature::Source {
                standing.supplied = standing.supplied.saturating_add(*amount);
            }
            if flow.debit.nature() == Nature::Sink {
                standing.used = standing.used.saturating_add(*amount);
            }
        }
        standing
    }
}

impl Interval {
    fn part(&self) -> Part {
        let Standing { supplied, used, is_disputed } = self.standing;
        let pue = self.pue.as_ref().ok().map(|parts| [parts.total, parts.it, parts.estimated]);
        Part { supplied, used, is_incomplete: !self.reasons.is_empty(), is_disputed, pue }
    }
}

/// Doubts of consecutive intervals with the same words are one.
#[derive(Default)]
struct Runs {
    list: Vec<Doubt>,
    /// Place in the list by kind and words.
    open: BTreeMap<(DoubtKind, String), usize>,
    more: u32,
}

impl Runs {
    fn interval(&mut self, span: (i64, i64), interval: &Interval) {
        for reason in &interval.reasons {
            let kind = kind_of(reason);
            self.add(span, kind, reason.to_string());
        }
    }

    fn add(&mut self, (from, to): (i64, i64), kind: DoubtKind, words: String) {
        let key = (kind, words);
        let open = self.open.get(&key).and_then(|place| self.list.get_mut(*place));
        if let Some(open) = open.filter(|open| open.to.get() == from) {
            open.to = UtcMillis::new(to);
        } else if self.list.len() < DOUBTS_MAX {
            let (from, to) = (UtcMillis::new(from), UtcMillis::new(to));
            self.list.push(Doubt { from, to, kind, words: key.1.clone() });
            self.open.insert(key, self.list.len().saturating_sub(1));
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    fn finish(self) -> Doubts {
        let doubts = Doubts::new(self.list);
        Doubts { more: doubts.more.saturating_add(self.more), ..doubts }
    }
}

fn kind_of(reason: &Reason) -> DoubtKind {
    if reason.is_dispute() { DoubtKind::Disputed } else { DoubtKind::Incomplete }
}

fn shown(doubts: &Doubts) -> String {
    let line = |doubt: &Doubt| {
        let Doubt { from, to, kind, words } = doubt;
        format!("  {}: {words}, {}\n", kind.word(), Offset::UTC.period(*from, *to))
    };
    let mut text: String = doubts.list.iter().take(TOLD_MAX).map(line).collect();
    let more = doubts.count().saturating_sub(TOLD_MAX);
    if more > 0 {
        text.push_str(&format!("  and {more} more\n"));
    }
    text
}
