//! Closing: deriving what is due, and posting the difference to what was posted.

use std::collections::{BTreeMap, vec_deque};

use bijli_wire::UtcMillis;

use super::period::Standing;
use super::{Books, Closed, ClosedKind, Fault, Interval};
use crate::account::Nature;
use crate::derive::{Derived, Flow, Input, Inputs, Reason, derive, imbalances};
use crate::diagram::Diagram;
use crate::entry::{AccountNo, Line};
use crate::event::EventKind;
use crate::pue::{Terms, Withheld};
use crate::rules::{ADJUSTED_PER_ADVANCE_MAX, SILENT_MS_MAX};
use crate::subject::{SubjectState, Tenure};

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
        if !closed.is_empty() {
            self.compare_typed();
        }
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
            closed.push(match self.post(start, ClosedKind::Closed) {
                Ok(posted) => posted,
                Err(fault) => self.set_aside(start, fault),
            });
            self.closed_until = Some(end);
        }
    }

    /// Closes an interval that cannot be posted: disputed, with the proof and without entries, so
    /// that those after it go on. What touches it later makes it be tried again.
    fn set_aside(&mut self, start: i64, fault: Fault) -> Closed {
        let words = fault.to_string();
        let end = start.saturating_add(self.interval_ms);
        self.events.push(EventKind::Dispute, start, self.hub.to_string(), words.clone());
        self.faults.insert(start, fault);
        let pue = Err(Withheld::Disputed { point: self.hub.to_string() });
        let reasons = [Reason::NotPosted { words }].into();
        let entries = self.next_seq()..self.next_seq();
        let (flows, known) = (Posted::new(), Terms::default());
        self.record(start, Derived { flows, reasons, pue, known }, entries.clone());
        self.note_in_period(start, &entries);
        let (start, end) = (UtcMillis::new(start), UtcMillis::new(end));
        let kind = ClosedKind::Closed;
        Closed { start, end, kind, entries, is_complete: false, is_news: true }
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
        if is_news {
            self.note_in_period(start, &entries);
        }
        self.faults.remove(&start);
        let (start, end) = (UtcMillis::new(start), UtcMillis::new(end));
        Ok(Closed { start, end, kind, entries, is_complete, is_news })
    }

    fn record(&mut self, start: i64, derived: Derived, entries: std::ops::Range<u64>) {
        let standing = Standing::of(&derived);
        let Derived { reasons, pue, known, .. } = derived;
        let adjusting = u64::from(!entries.is_empty());
        match self.intervals.get_mut(&start) {
            None => {
                let postings = vec![entries];
                let adjustments = 0;
                let interval = Interval { postings, reasons, pue, known, adjustments, standing };
                self.intervals.insert(start, interval);
            }
            Some(interval) => {
                interval.reasons = reasons;
                interval.pue = pue;
                interval.known = known;
                interval.standing = standing;
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
        let subjects = self.tenures().filter_map(|subject| input(subject, start, end)).collect();
        let policy = self.share_policy(UtcMillis::new(start));
        let Self { index, holdings, calibrations, meterbook, .. } = self;
        derive(&Inputs {
            start,
            end,
            diagram,
            subjects,
            index,
            holdings,
            calibrations,
            policy,
            meterbook,
        })
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
                | Reason::NotPosted { .. }
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
        self.calibrations.release(horizon);
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
    /// them by now: they were told when they were posted, an `advance` ago at least. Intervals are
    /// many and are looked at only when the horizon has passed one: it was most of what a replay
    /// cost.
    fn forget(&mut self) {
        let before = self.forgotten.replace(self.horizon);
        let passed = |before| self.intervals.range(before..self.horizon).next().is_some();
        if before.is_some_and(|before| before >= self.horizon || !passed(before)) {
            return;
        }
        // Not the eldest interval's: one that readings of long ago added was posted after it.
        let kept = self.intervals.range(self.horizon..);
        let first = kept.filter_map(|(_, interval)| Some(interval.postings.first()?.start)).min();
        let first = first.unwrap_or(self.next_seq());
        let count = first.saturating_sub(1).saturating_sub(self.released);
        let places = usize::try_from(count).unwrap_or(usize::MAX).min(self.lines.len());
        self.lines.drain(..places);
        self.released = self.released.saturating_add(count);
    }

    /// Entries that are kept here.
    #[must_use]
    pub fn entries_held(&self) -> usize {
        self.lines.len()
    }

    /// All entries of intervals that begin here or later are kept here.
    #[must_use]
    pub fn entries_from(&self) -> UtcMillis {
        if self.released == 0 {
            return UtcMillis::new(i64::MIN);
        }
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
    let SubjectState { id, node, kind, tenure, cells, register, .. } = subject;
    let cell = cells.get(&start);
    if cell.is_none() {
        if *tenure == Tenure::Former {
            return None;
        }
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

#[cfg(test)]
mod tests {
    use bijli_wire::batch::{Register, Subject};
    use bijli_wire::{HubId, Method, Millis, Milliwatts, NodeId, SubjectId, SubjectKind};

    use super::*;
    use crate::books::{Completeness, IntervalState};
    use crate::class::Activity;
    use crate::diagram::{Category, Point, PointId, Role};
    use crate::rules::Rules;

    const QUARTER: i64 = 900_000;

    /// A GPU at 100 W for an hour.
    fn books() -> Books {
        let mut books = Books::new(HubId::new("isb").expect("valid"), Rules::default());
        let register = Register {
            numerator: 1,
            denominator: 1,
            modulus: None,
            power_max: Milliwatts::new(700_000),
            epoch: 1,
            method: Method::Hardware,
            gap: Millis::new(120_000),
        };
        let subject = Subject {
            id: SubjectId::new("G0").expect("valid"),
            kind: SubjectKind::Gpu,
            label: String::new(),
            model: String::new(),
            serial: String::new(),
            register: Some(register),
        };
        let handle = books.declare(&NodeId::new("n1").expect("valid"), &subject).handle();
        for minute in 0..=60_i64 {
            let at = minute.saturating_mul(60_000);
            let count = Some(at.saturating_mul(100));
            let _verdict = books.read_at(handle, UtcMillis::new(at), count, Activity::Unknown);
        }
        books
    }

    /// Goal: C7. An interval that breaks the rules' engine is disputed, with proof; it does not
    /// hold up those after it, and is posted once a fact lets it.
    #[test]
    fn c7_an_interval_that_cannot_be_posted_is_set_aside_and_the_rest_goes_on() {
        let mut books = books();
        let start = UtcMillis::new(0);
        let account: crate::Account = "main".parse().expect("known");
        let fault = Fault::Imbalance { start, account, inflow: 3, outflow: 2 };
        let closed = books.set_aside(0, fault);
        books.closed_until = Some(QUARTER);
        let statement = books.statement(&closed);
        assert!(statement.owned.is_empty());
        assert!(statement.summary.reasons[0].is_dispute);
        let words = &statement.summary.reasons[0].words;
        assert!(words.contains("main received 3 mJ and gave 2 mJ"), "{words}");
        assert_eq!(books.advance(UtcMillis::new(4_000_000)).len(), 3, "those after it close");
        assert_eq!((books.faults().count(), books.imbalance()), (1, 0));
        let first = books.intervals().next().expect("closed");
        assert_eq!(first.state, IntervalState::Closed);
        assert!(matches!(first.completeness, Completeness::Incomplete { .. }));
        books.touch_one(0);
        let posted = books.advance(UtcMillis::new(5_000_000));
        let again = posted.iter().find(|posted| posted.start == start).expect("tried again");
        assert!(!again.entries.is_empty());
        assert_eq!((books.faults().count(), books.imbalance()), (0, 0));
        let mine = books.entries(start, UtcMillis::new(QUARTER));
        let used = mine.filter(|entry| entry.debit.nature() == Nature::Sink);
        assert_eq!(used.map(|entry| entry.amount.get()).sum::<u64>(), 90_000_000);
    }

    /// Goal: C8. A diagram that comes into force within an interval holds from the next one on, and
    /// what was posted by the old one stands.
    #[test]
    fn c8_a_diagram_changed_within_an_interval_holds_from_the_next_one() {
        let mut books = books();
        let point = |id: &str, role| Point {
            id: PointId::new(id).expect("valid"),
            role,
            meter: Some(SubjectId::new(&format!("m-{id}")).expect("valid")),
            fed_by: None,
        };
        let points = vec![point("inc", Role::Grid), point("pdu", Role::Pdu)];
        let node = NodeId::new("n1").expect("valid");
        let placed = [(node, PointId::new("pdu").expect("valid"))].into();
        let diagram = Diagram::new(points, placed, Category::PduOutput).expect("sound");
        assert_eq!(books.advance(UtcMillis::new(QUARTER + 130_000)).len(), 1);
        let before: Vec<String> = books.entries_since(1).map(|e| e.to_string()).collect();
        books.set_diagram(UtcMillis::new(QUARTER + 300_000), diagram);
        books.advance(UtcMillis::new(4_000_000));
        let giver = |quarter: i64| {
            let from = UtcMillis::new(quarter.saturating_mul(QUARTER));
            let to = UtcMillis::new(quarter.saturating_add(1).saturating_mul(QUARTER));
            let node: crate::Account = "node:n1".parse().expect("known");
            let mut fed = books.entries(from, to).filter(|entry| *entry.debit == node);
            fed.next().expect("the node used energy").credit.to_string()
        };
        assert_eq!([giver(0), giver(1)], ["unplaced:n1", "unplaced:n1"]);
        assert_eq!([giver(2), giver(3)], ["point:pdu", "point:pdu"]);
        let after: Vec<String> = books.entries_since(1).map(|e| e.to_string()).collect();
        assert_eq!(after[..before.len()], before[..]);
    }
}
