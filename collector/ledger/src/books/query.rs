//! Questions to the books. Periods are `[from, to)` and floored to intervals; only closed
//! intervals answer, except in `provisional`.

use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::{Millijoules, ProjectId, UtcMillis};

use super::{Books, Fault, Interval};
use crate::account::{Account, Nature};
use crate::allocation::Allocation;
use crate::balance::{Balance, ProjectEnergy};
use crate::calibration::Calibration;
use crate::derive::{Flow, Reason};
use crate::entry::{Adjusts, Entry, Line};
use crate::event::RegisterEvent;
use crate::pue::{PueParts, Withheld};
use crate::rules::RULE_VERSION;
use crate::subject::{SubjectState, SubjectStatus};

/// Whether an interval is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalState {
    Open,
    Closed,
}

/// Whether everything that should be metered was, all the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completeness<'a> {
    Complete,
    Incomplete {
        reasons: &'a BTreeSet<Reason>,
    },
    /// Still open.
    NotYet,
}

/// One interval for the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntervalStatus<'a> {
    pub start: UtcMillis,
    pub end: UtcMillis,
    pub state: IntervalState,
    pub completeness: Completeness<'a>,
    /// The reasons where registers contradict each other.
    pub disputes: Vec<&'a Reason>,
    /// Why the interval adds nothing to PUE; `None` if it does, or is open.
    pub pue_withheld: Option<&'a Withheld>,
    pub entries: u64,
    /// How often late facts changed it.
    pub adjustments: u64,
}

/// The open interval as if it closed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisional {
    pub start: UtcMillis,
    pub end: UtcMillis,
    /// By giver and receiver.
    pub flows: BTreeMap<(Account, Account), u128>,
    pub projects: BTreeMap<ProjectId, ProjectEnergy>,
    pub reasons: BTreeSet<Reason>,
}

impl Books {
    pub(super) fn posted_intervals(
        &self,
        from: UtcMillis,
        to: UtcMillis,
    ) -> impl Iterator<Item = (i64, &Interval)> {
        let (from, to) = (self.floor(from.get()), self.floor(to.get()));
        self.intervals.range(from..to.max(from)).map(|(start, interval)| (*start, interval))
    }

    /// The entries of a period, by interval and sequence.
    pub fn entries(&self, from: UtcMillis, to: UtcMillis) -> impl Iterator<Item = Entry<'_>> {
        self.posted_intervals(from, to)
            .flat_map(|(start, interval)| self.entries_of(start, interval))
    }

    /// The entries from a sequence on, in the order in which they were posted: for sealing.
    pub fn entries_since(&self, seq: u64) -> impl Iterator<Item = Entry<'_>> {
        let mut postings: Vec<(u64, u64, i64, &Interval)> = Vec::new();
        for (start, interval) in &self.intervals {
            for seqs in interval.postings.iter().filter(|seqs| seqs.end > seq) {
                postings.push((seqs.start, seqs.end, *start, interval));
            }
        }
        postings.sort_unstable_by_key(|(first, ..)| *first);
        postings.into_iter().flat_map(move |(first, end, start, interval)| {
            self.entries_in(start, interval, first.max(seq)..end)
        })
    }

    fn entries_of<'a>(
        &'a self,
        start: i64,
        interval: &'a Interval,
    ) -> impl Iterator<Item = Entry<'a>> {
        interval
            .postings
            .iter()
            .flat_map(move |seqs| self.entries_in(start, interval, seqs.clone()))
    }

    pub(super) fn entries_in<'a>(
        &'a self,
        start: i64,
        interval: &Interval,
        seqs: std::ops::Range<u64>,
    ) -> impl Iterator<Item = Entry<'a>> {
        let first = interval.postings.iter().find(|seqs| !seqs.is_empty());
        let first = first.or(interval.postings.first()).map_or(0..0, Clone::clone);
        let kept = seqs.start.max(self.released.saturating_add(1))..seqs.end;
        self.lines_of(&seqs).zip(kept).map(move |(line, seq)| {
            let Line { amount, debit, credit, class, is_reversal } = *line;
            let is_original = first.contains(&seq);
            Entry {
                seq,
                interval: UtcMillis::new(start),
                debit: self.chart.account(debit),
                credit: self.chart.account(credit),
                class,
                amount: Millijoules::new(amount),
                adjusts: (!is_original).then_some(Adjusts { first: first.start, is_reversal }),
                rule_version: RULE_VERSION,
            }
        })
    }

    /// The trial balance of a period.
    #[must_use]
    pub fn balance(&self, from: UtcMillis, to: UtcMillis) -> Balance {
        let mut balance = Balance::default();
        for entry in self.entries(from, to) {
            balance.add(entry.debit, entry.credit, u128::from(entry.amount.get()));
        }
        balance
    }

    /// Net flows of a period by giver and receiver, corrections included.
    #[must_use]
    pub fn flows(&self, from: UtcMillis, to: UtcMillis) -> BTreeMap<(Account, Account), u128> {
        let mut sums = BTreeMap::new();
        for (flow, millijoules) in self.flows_by_class(from, to) {
            let sum: &mut u128 = sums.entry((flow.credit, flow.debit)).or_default();
            *sum = sum.saturating_add(millijoules);
        }
        sums
    }

    /// Net flows of a period with their classes, corrections included.
    #[must_use]
    pub fn flows_by_class(&self, from: UtcMillis, to: UtcMillis) -> BTreeMap<Flow, u128> {
        let mut sums: BTreeMap<Flow, u128> = BTreeMap::new();
        for (start, _) in self.posted_intervals(from, to) {
            for (flow, millijoules) in self.posted(start) {
                let sum = sums.entry(flow).or_default();
                *sum = sum.saturating_add(millijoules);
            }
        }
        sums
    }

    /// What each project used in a period.
    #[must_use]
    pub fn projects(&self, from: UtcMillis, to: UtcMillis) -> BTreeMap<ProjectId, ProjectEnergy> {
        let mut sums: BTreeMap<ProjectId, ProjectEnergy> = BTreeMap::new();
        for (start, interval) in self.posted_intervals(from, to) {
            let pue = interval.pue.as_ref().ok().map(PueParts::terms);
            for (project, energy) in projects_of(&self.posted(start), pue) {
                sums.entry(project).or_default().add_all(&energy);
            }
        }
        sums
    }

    /// Every subject that was declared, by id; one that moved, at each node that has or had it.
    pub fn subjects(&self) -> impl Iterator<Item = SubjectStatus<'_>> {
        self.tenures().map(SubjectState::status)
    }

    #[must_use]
    pub fn subject(&self, id: &bijli_wire::SubjectId) -> Option<SubjectStatus<'_>> {
        let index = self.index.get(id).copied()?;
        self.subjects.get(super::as_index(index)).map(SubjectState::status)
    }

    /// Every posted interval, oldest first, then the open ones up to now.
    pub fn intervals(&self) -> impl DoubleEndedIterator<Item = IntervalStatus<'_>> {
        let closed = self.intervals.iter().map(|(start, interval)| self.status(*start, interval));
        let mut open = Vec::new();
        let mut start = self.closed_until.unwrap_or(i64::MAX);
        while self.now.is_some_and(|now| start <= now) {
            open.push(self.open_status(start));
            start = start.saturating_add(self.interval_ms);
        }
        closed.chain(open)
    }

    fn status<'a>(&self, start: i64, interval: &'a Interval) -> IntervalStatus<'a> {
        let reasons = &interval.reasons;
        let completeness = if reasons.is_empty() {
            Completeness::Complete
        } else {
            Completeness::Incomplete { reasons }
        };
        let count = |seqs: &std::ops::Range<u64>| seqs.end.saturating_sub(seqs.start);
        let entries = interval.postings.iter().map(count).fold(0, u64::saturating_add);
        IntervalStatus {
            state: IntervalState::Closed,
            completeness,
            disputes: reasons.iter().filter(|reason| reason.is_dispute()).collect(),
            pue_withheld: interval.pue.as_ref().err(),
            entries,
            adjustments: interval.adjustments,
            ..self.open_status(start)
        }
    }

    fn open_status(&self, start: i64) -> IntervalStatus<'static> {
        IntervalStatus {
            start: UtcMillis::new(start),
            end: UtcMillis::new(start.saturating_add(self.interval_ms)),
            state: IntervalState::Open,
            completeness: Completeness::NotYet,
            disputes: Vec::new(),
            pue_withheld: None,
            entries: 0,
            adjustments: 0,
        }
    }

    /// The interval that contains the latest time told, as if it closed now; `None` before that.
    #[must_use]
    pub fn provisional(&self) -> Option<Provisional> {
        let start = self.floor(self.now?);
        let derived = self.derive_interval(start);
        let mut flows: BTreeMap<(Account, Account), u128> = BTreeMap::new();
        for (flow, millijoules) in &derived.flows {
            let sum = flows.entry((flow.credit.clone(), flow.debit.clone())).or_default();
            *sum = sum.saturating_add(*millijoules);
        }
        Some(Provisional {
            start: UtcMillis::new(start),
            end: UtcMillis::new(start.saturating_add(self.interval_ms)),
            flows,
            projects: projects_of(&derived.flows, derived.pue.as_ref().ok().map(PueParts::terms)),
            reasons: derived.reasons,
        })
    }

    /// Everything that starts before this moment is closed.
    #[must_use]
    pub fn closed_until(&self) -> Option<UtcMillis> {
        self.closed_until.map(UtcMillis::new)
    }

    /// The latest time told.
    #[must_use]
    pub fn now(&self) -> Option<UtcMillis> {
        self.now.map(UtcMillis::new)
    }

    /// Absolute sum of what accounts of passage hold: zero, or the program is wrong.
    #[must_use]
    pub fn imbalance(&self) -> i128 {
        self.passage.values().fold(0, |sum: i128, held| sum.saturating_add(held.saturating_abs()))
    }

    /// Intervals that could not be posted: none, or the program is wrong.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.faults.values()
    }

    /// The last events of each kind, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<&RegisterEvent> {
        self.events.list()
    }

    /// What intervals posted to each sink when they first closed. Adjustments are apart, so these
    /// sums never go down and may be exported as counters.
    #[must_use]
    pub fn totals(&self) -> &BTreeMap<Account, u128> {
        &self.totals
    }

    /// What intervals took from each source when they first closed; as [`Books::totals`].
    #[must_use]
    pub fn supplied(&self) -> &BTreeMap<Account, u128> {
        &self.supplied
    }

    pub fn allocations(&self) -> impl Iterator<Item = &Allocation> {
        self.holdings.allocations()
    }

    /// What nodes' witnesses told, as allocations; [`Books::allocations`] has those that were put.
    pub fn witnessed(&self) -> impl Iterator<Item = Allocation> + '_ {
        self.holdings.witnessed.allocations()
    }

    #[must_use]
    pub fn allocation(&self, id: &str) -> Option<&Allocation> {
        self.holdings.allocation(id)
    }

    /// Every calibration that touches what can still be corrected.
    pub fn calibrations(&self) -> impl Iterator<Item = &Calibration> {
        self.calibrations.iter()
    }

    #[must_use]
    pub fn calibration(&self, id: &str) -> Option<&Calibration> {
        self.calibrations.get(id)
    }

    /// Posted flows of one interval against what deriving it now would give: where they differ,
    /// facts are still due. For audits and tests.
    #[must_use]
    pub fn is_settled(&self, start: UtcMillis) -> bool {
        let start = self.floor(start.get());
        start < self.horizon || self.posted(start) == self.derive_interval(start).flows
    }
}

/// What each project used in an interval, and with what the facility needed for it, where the
/// interval has a PUE: its two terms, all energy and that of IT.
#[must_use]
pub fn projects_of(
    flows: &BTreeMap<Flow, u128>,
    pue: Option<(u128, u128)>,
) -> BTreeMap<ProjectId, ProjectEnergy> {
    let mut projects: BTreeMap<ProjectId, ProjectEnergy> = BTreeMap::new();
    for (flow, millijoules) in flows.iter().filter(|(f, _)| f.debit.nature() == Nature::Sink) {
        let Some((project, share)) = flow.debit.project() else { continue };
        let energy = projects.entry(project.clone()).or_default();
        energy.add(share, flow.class, *millijoules);
    }
    for energy in projects.values_mut() {
        energy.cover(pue);
    }
    projects
}
