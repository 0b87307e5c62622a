//! Closing: deriving what is due, and posting the difference to what was posted.

use std::collections::{BTreeMap, vec_deque};

use bijli_wire::UtcMillis;

use super::{Books, Closed, ClosedKind, Fault, Interval};
use crate::account::Nature;
use crate::derive::{Derived, Flow, Input, Inputs, Reason, derive, imbalances};
use crate::diagram::Diagram;
use crate::entry::{AccountNo, Line};
use crate::event::EventKind;
use crate::rules::{ADJUSTED_PER_ADVANCE_MAX, SILENT_MS_MAX};
use crate::subject::SubjectState;

/// An amount posted so far, forward minus reversed.
type Posted = BTreeMap<Flow, u128>;

impl Books {
    /// Tells the time, from the receive times of journal frames. Closes every interval whose grace
    /// is over and posts what late facts changed. Time does not go back: an earlier `now` is
    /// taken as the latest one told.
    pub fn advance(&mut self, now: UtcMillis) -> Vec<Closed> {
        let now = self.now.map_or(now.get(), |last| last.max(now.get()));
        self.now = Some(now);
        self.begin(now);
        self.forget();
        let mut closed = Vec::new();
        self.close_due(now, &mut closed);
        self.adjust_due(now, &mut closed);
        self.release(now);
        closed
    }

    fn close_due(&mut self, now: i64, closed: &mut Vec<Closed>) {
        let wait = i64::try_from(self.rules.close_after.get()).unwrap_or(i64::MAX);
        while let Some(start) = self.next_to_close() {
            let end = start.saturating_add(self.interval_ms);
            if end.saturating_add(wait) > now {
                return;
            }
            match self.post(start, ClosedKind::Closed) {
                Ok(posted) => closed.push(posted),
                Err(fault) => {
                    self.faults.insert(start, fault);
                    return;
                }
            }
            self.closed_until = Some(end);
        }
    }

    /// The next interval; those that nothing can be known of any more are passed over.
    fn next_to_close(&mut self) -> Option<i64> {
        let start = self.closed_until?;
        let horizon = self.horizon_at(self.now?);
        if start >= horizon {
            return Some(start);
        }
        let first = self.subjects.iter().filter_map(|s| s.cells.range(start..).next());
        let first = first.map(|(start, _)| *start).min().unwrap_or(i64::MAX);
        let start = horizon.min(first);
        self.closed_until = Some(start);
        Some(start)
    }

    fn adjust_due(&mut self, now: i64, closed: &mut Vec<Closed>) {
        let is_due = |(start, due): (&i64, &i64)| (*due <= now).then_some(*start);
        let due = self.touched.iter().filter_map(is_due).take(ADJUSTED_PER_ADVANCE_MAX);
        let due: Vec<i64> = due.collect();
        for start in due {
            match self.post(start, ClosedKind::Adjusted) {
                Ok(posted) => {
                    self.touched.remove(&start);
                    closed.push(posted);
                }
                Err(fault) => {
                    self.faults.insert(start, fault);
                }
            }
        }
        closed.retain(|posted| posted.kind == ClosedKind::Closed || posted.is_news);
    }

    /// Derives an interval and posts what differs from what is posted. What was read of it since
    /// it was last posted is compacted first, with the holds known now.
    fn post(&mut self, start: i64, kind: ClosedKind) -> Result<Closed, Fault> {
        let end = start.saturating_add(self.interval_ms);
        for subject in &mut self.subjects {
            subject.compact(start, end, &self.holdings);
        }
        let derived = self.derive_interval(start);
        check(start, &derived)?;
        let postings = self.intervals.get(&start).map(|interval| &interval.postings);
        let is_first = postings.into_iter().flatten().all(std::ops::Range::is_empty);
        let posted = self.posted(start);
        let from = self.next_seq();
        self.post_differences(&posted, &derived.flows, is_first);
        let entries = from..self.next_seq();
        self.note_disputes(start, &derived);
        let is_complete = derived.reasons.is_empty();
        let known = self.intervals.get(&start);
        let is_news = !entries.is_empty()
            || known.is_none_or(|old| old.reasons != derived.reasons || old.pue != derived.pue);
        self.record(start, derived, entries.clone());
        self.faults.remove(&start);
        let (start, end) = (UtcMillis::new(start), UtcMillis::new(end));
        Ok(Closed { start, end, kind, entries, is_complete, is_news })
    }

    fn record(&mut self, start: i64, derived: Derived, entries: std::ops::Range<u64>) {
        let Derived { reasons, pue, .. } = derived;
        let adjusting = u64::from(!entries.is_empty());
        match self.intervals.get_mut(&start) {
            None => {
                let postings = vec![entries];
                let interval = Interval { postings, reasons, pue, adjustments: 0 };
                self.intervals.insert(start, interval);
            }
            Some(interval) => {
                interval.reasons = reasons;
                interval.pue = pue;
                if adjusting > 0 {
                    interval.postings.push(entries);
                    interval.adjustments = interval.adjustments.saturating_add(1);
                }
            }
        }
    }

    /// Derives an interval from what is known now.
    pub(super) fn derive_interval(&self, start: i64) -> Derived {
        let end = start.saturating_add(self.interval_ms);
        let diagram = self.diagrams.range(..=start).next_back().map(|(_, diagram)| diagram);
        let subjects = self.index.values().filter_map(|index| {
            let subject = self.subjects.get(super::as_index(*index))?;
            input(subject, start, end)
        });
        let subjects = subjects.collect();
        derive(&Inputs { start, end, diagram, subjects, holdings: &self.holdings })
    }

    /// What is posted of an interval, flow by flow.
    pub(super) fn posted(&self, start: i64) -> Posted {
        let mut sums = Posted::new();
        let Some(interval) = self.intervals.get(&start) else { return sums };
        for line in interval.postings.iter().flat_map(|seqs| self.lines_of(seqs)) {
            let (debit, credit) = if line.is_reversal {
                (line.credit, line.debit)
            } else {
                (line.debit, line.credit)
            };
            let (debit, credit) = (self.chart.account(debit), self.chart.account(credit));
            let flow = Flow { debit: debit.clone(), credit: credit.clone(), class: line.class };
            let sum = sums.entry(flow).or_default();
            let amount = u128::from(line.amount);
            *sum = if line.is_reversal {
                sum.checked_sub(amount).expect("a reversal takes back what was posted")
            } else {
                sum.saturating_add(amount)
            };
        }
        sums.retain(|_, sum| *sum > 0);
        sums
    }

    fn post_differences(&mut self, posted: &Posted, derived: &Posted, is_first: bool) {
        let flows: std::collections::BTreeSet<&Flow> =
            posted.keys().chain(derived.keys()).collect();
        for flow in flows {
            let old = posted.get(flow).copied().unwrap_or(0);
            let new = derived.get(flow).copied().unwrap_or(0);
            if new > old {
                self.post_line(flow, new.abs_diff(old), false, is_first);
            } else if new < old {
                self.post_line(flow, old.abs_diff(new), true, is_first);
            }
        }
    }

    fn post_line(&mut self, flow: &Flow, amount: u128, is_reversal: bool, is_first: bool) {
        let amount = u64::try_from(amount).expect("checked before posting");
        let (debit, credit) = (self.chart.number(&flow.debit), self.chart.number(&flow.credit));
        let (debit, credit) = if is_reversal { (credit, debit) } else { (debit, credit) };
        self.lines.push_back(Line { amount, debit, credit, class: flow.class, is_reversal });
        self.pass(debit, i128::from(amount));
        self.pass(credit, i128::from(amount).saturating_neg());
        if is_first && flow.debit.nature() == Nature::Sink {
            let total = self.totals.entry(flow.debit.clone()).or_default();
            *total = total.saturating_add(u128::from(amount));
        }
        if is_first && flow.credit.nature() == Nature::Source {
            let total = self.supplied.entry(flow.credit.clone()).or_default();
            *total = total.saturating_add(u128::from(amount));
        }
    }

    fn pass(&mut self, account: AccountNo, amount: i128) {
        if self.chart.account(account).nature() == Nature::Through {
            let sum = self.passage.entry(account).or_default();
            *sum = sum.checked_add(amount).expect("differences of u64 amounts fit i128");
        }
    }

    fn note_disputes(&mut self, start: i64, derived: &Derived) {
        let old = self.intervals.get(&start).map(|interval| interval.reasons.clone());
        for reason in derived.reasons.iter().filter(|reason| reason.is_dispute()) {
            if old.as_ref().is_some_and(|old| old.contains(reason)) {
                continue;
            }
            let subject = match reason {
                Reason::Dispute { point, .. } => point.to_string(),
                Reason::DisputeNode { node, .. } => node.to_string(),
                Reason::NoDiagram
                | Reason::NoMeter { .. }
                | Reason::MeterMissing { .. }
                | Reason::MeterPartial { .. }
                | Reason::NodeSilent { .. }
                | Reason::NodeUnplaced { .. }
                | Reason::DeviceMissing { .. }
                | Reason::DevicePartial { .. }
                | Reason::More { .. } => continue,
            };
            self.events.push(EventKind::Dispute, start, subject, reason.to_string());
        }
    }

    fn horizon_at(&self, now: i64) -> i64 {
        let keep = i64::try_from(self.rules.keep.get()).unwrap_or(i64::MAX);
        self.floor(now.saturating_sub(keep))
    }

    /// Forgets what closed intervals before the horizon were derived from.
    fn release(&mut self, now: i64) {
        // What is still open or due is kept, whatever its age.
        let due = self.touched.keys().next().copied().unwrap_or(i64::MAX);
        let open = self.closed_until.unwrap_or(i64::MIN);
        let horizon = self.horizon_at(now).min(due).min(open);
        if horizon <= self.horizon {
            return;
        }
        self.horizon = horizon;
        for subject in &mut self.subjects {
            subject.cells = subject.cells.split_off(&horizon);
        }
        self.holdings.release(horizon);
    }

    pub(super) fn next_seq(&self) -> u64 {
        let kept = u64::try_from(self.lines.len()).expect("a count of entries fits");
        self.released.saturating_add(kept).saturating_add(1)
    }

    /// The entries with these sequences, as far as they are kept.
    pub(super) fn lines_of(&self, seqs: &std::ops::Range<u64>) -> vec_deque::Iter<'_, Line> {
        let place = |seq: u64| {
            let place = seq.saturating_sub(1).saturating_sub(self.released);
            usize::try_from(place).unwrap_or(usize::MAX).min(self.lines.len())
        };
        self.lines.range(place(seqs.start)..place(seqs.end))
    }

    /// Forgets the entries of intervals that can no longer be corrected. Whoever keeps leaves has
    /// them by now: they were told when they were posted, an `advance` ago at least.
    fn forget(&mut self) {
        let kept = self.intervals.range(self.horizon..).next();
        let first = kept.and_then(|(_, interval)| interval.postings.first());
        let first = first.map_or(self.next_seq(), |seqs| seqs.start);
        let count = first.saturating_sub(1).saturating_sub(self.released);
        let places = usize::try_from(count).unwrap_or(usize::MAX).min(self.lines.len());
        self.lines.drain(..places);
        self.released = self.released.saturating_add(count);
    }

    /// The start of the first interval whose entries are all kept here.
    #[must_use]
    pub fn entries_from(&self) -> UtcMillis {
        let whole = self.intervals.iter().rev().take_while(|(_, interval)| {
            interval.postings.first().is_none_or(|seqs| seqs.start > self.released)
        });
        UtcMillis::new(whole.last().map_or(i64::MAX, |(start, _)| *start))
    }
}

fn check(start: i64, derived: &Derived) -> Result<(), Fault> {
    let start = UtcMillis::new(start);
    if let Some((account, (inflow, outflow))) = imbalances(&derived.flows).into_iter().next() {
        return Err(Fault::Imbalance { start, account: account.clone(), inflow, outflow });
    }
    let beyond = derived.flows.iter().find(|(_, amount)| u64::try_from(**amount).is_err());
    match beyond {
        None => Ok(()),
        Some((Flow { debit, credit, .. }, amount)) => {
            let (debit, credit, millijoules) = (debit.clone(), credit.clone(), *amount);
            Err(Fault::Amount { start, debit, credit, millijoules })
        }
    }
}

/// A subject's part in an interval: its cell, or that it is missing although it was heard of late.
fn input(subject: &SubjectState, start: i64, end: i64) -> Option<Input<'_>> {
    let SubjectState { id, node, kind, cells, register, .. } = subject;
    let cell = cells.get(&start);
    if cell.is_none() {
        let (first, last) = register.as_ref()?.heard()?;
        let is_expected = first < end && last.saturating_add(SILENT_MS_MAX) >= start;
        if !is_expected {
            return None;
        }
    }
    Some(Input { id, node, kind: *kind, cell })
}

/// The diagram in force at a moment.
impl Books {
    #[must_use]
    pub fn diagram_at(&self, at: UtcMillis) -> Option<&Diagram> {
        self.diagrams.range(..=at.get()).next_back().map(|(_, diagram)| diagram)
    }
}
