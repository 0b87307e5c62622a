//! One hub's books: the state machine that is told facts and the time, and posts entries.
//!
//! # Invariants
//! - Intervals close in order, once. Only what leaves every account of passage at zero is posted;
//!   an interval that does not is set aside, and those after it close.
//! - A fact that touches a closed interval makes it be derived again; only the differences to
//!   what is posted are posted, so posted = derived, always.
//! - What was read of an interval is compacted when it is posted, never across an edge of a hold
//!   known then: what holds known in time used is exact, and deriving again does not change it.
//! - Entries, and what intervals are derived from, are kept for `Rules::keep`; older entries are
//!   in the leaves only, and `entries_from` says where those of the books begin.
//!
//! Facts are in this file, closing in `close`, questions in `query`, policies for shared devices in
//! `policies`, PUE in `figure`, where a subject is in `moves`, what leaves say in `statement`,
//! months in `period`, readings that a person typed in `typed`.

mod close;
mod figure;
mod moves;
mod period;
mod policies;
mod query;
mod statement;
mod typed;

pub use figure::Counting;
pub use moves::{RetireError, Retired, Retirement};
pub use period::{ClosePeriod, RestatePeriod};
pub use query::{Completeness, IntervalState, IntervalStatus, Provisional, projects_of};
pub use statement::Statement;
pub use typed::{TypedStatus, TypedUse};

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use bijli_wire::batch::{Register, Subject};
use bijli_wire::limits::POWER_MW_MAX;
use bijli_wire::{Hold, HubId, Milliwatts, NodeId, SubjectId, SubjectKind, UtcMillis};

use crate::account::Account;
use crate::allocation::{
    Allocation, AllocationError, Bound, EndVerdict, Holdings, PutVerdict, Touched,
};
use crate::calibration::{Calibration, CalibrationError, Calibrations};
use crate::class::Activity;
use crate::derive::Reason;
use crate::diagram::Diagram;
use crate::entry::{AccountNo, Chart, Line};
use crate::event::{EventKind, Events};
use crate::interpolate::Ramp;
use crate::meterbook::MeterBook;
use crate::period::Period;
use crate::profile::Step;
use crate::pue::{PueParts, Terms, Withheld};
use crate::register::{Judged, ReadVerdict, Redeclared, RegisterState, Stretch};
use crate::rules::{DEVICE_POWER_MW_MAX, NODE_POWER_MW_MAX, Rules};
use crate::share::SharePolicy;
use crate::subject::{Declared, RegisterHandle, SubjectState, Tenure};
use crate::witnessed::HoldVerdict;

/// Why an interval was posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedKind {
    Closed,
    /// Late facts changed it after it was closed.
    Adjusted,
}

/// An interval that was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub start: UtcMillis,
    pub end: UtcMillis,
    pub kind: ClosedKind,
    /// Sequences of the entries that were posted now; may be empty.
    pub entries: Range<u64>,
    pub is_complete: bool,
    /// Entries were posted, or its reasons or its part in PUE are others than before.
    pub is_news: bool,
}

/// An interval that cannot be posted: its flows do not balance, or an amount does not fit.
/// It closes disputed and without entries, and is tried again when a fact touches it. It is never
/// a fault of the input alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Fault {
    #[error("interval {start}: {account} received {inflow} mJ and gave {outflow} mJ")]
    Imbalance { start: UtcMillis, account: Account, inflow: u128, outflow: u128 },
    #[error("interval {start}: {millijoules} mJ from {credit} to {debit} is beyond an entry")]
    Amount { start: UtcMillis, debit: Account, credit: Account, millijoules: u128 },
}

/// One interval that was posted at least once.
#[derive(Debug, Serialize, Deserialize)]
struct Interval {
    /// Each posting's sequences.
    postings: Vec<Range<u64>>,
    reasons: BTreeSet<Reason>,
    pue: Result<PueParts, Withheld>,
    known: Terms,
    adjustments: u64,
    standing: period::Standing,
}

/// One hub's books.
#[derive(Debug, Serialize, Deserialize)]
pub struct Books {
    hub: HubId,
    rules: Rules,
    interval_ms: i64,
    now: Option<i64>,
    diagrams: BTreeMap<i64, Diagram>,
    /// How shared devices are split from each moment on.
    share_policies: BTreeMap<i64, SharePolicy>,
    subjects: Vec<SubjectState>,
    /// Each subject where it is now.
    index: BTreeMap<SubjectId, u32>,
    /// The same where it was before, and where it is said to be.
    others: BTreeMap<SubjectId, Vec<u32>>,
    moves: u64,
    /// Subjects by node, those that it had included, for holds of whole nodes.
    by_node: BTreeMap<NodeId, BTreeSet<SubjectId>>,
    holdings: Holdings,
    calibrations: Calibrations,
    meterbook: MeterBook,
    /// Everything that starts before is closed. `None` before the first fact.
    closed_until: Option<i64>,
    intervals: BTreeMap<i64, Interval>,
    /// Closed intervals that a fact has touched, and when they are due.
    touched: BTreeMap<i64, i64>,
    /// What starts before can no longer be corrected.
    horizon: i64,
    /// The horizon for which entries were last forgotten. Not kept: whoever does not know it looks.
    #[serde(skip)]
    forgotten: Option<i64>,
    chart: Chart,
    /// Entries of intervals that can still be corrected, and those posted after their first.
    lines: VecDeque<Line>,
    /// So many entries were before them.
    released: u64,
    /// Inflow minus outflow of accounts of passage.
    passage: BTreeMap<AccountNo, i128>,
    totals: BTreeMap<Account, u128>,
    supplied: BTreeMap<Account, u128>,
    faults: BTreeMap<i64, Fault>,
    /// Closed periods by their begin; they do not overlap.
    periods: BTreeMap<i64, Period>,
    events: Events,
}

impl Books {
    /// Empty books.
    ///
    /// # Panics
    /// If the rules are not valid.
    #[must_use]
    pub fn new(hub: HubId, rules: Rules) -> Self {
        assert!(rules.are_valid(), "rules that were checked: {rules:?}");
        Self {
            hub,
            rules,
            interval_ms: i64::try_from(rules.interval.get()).expect("a day fits"),
            now: None,
            diagrams: BTreeMap::new(),
            share_policies: BTreeMap::new(),
            subjects: Vec::new(),
            index: BTreeMap::new(),
            others: BTreeMap::new(),
            moves: 0,
            by_node: BTreeMap::new(),
            holdings: Holdings::default(),
            calibrations: Calibrations::default(),
            meterbook: MeterBook::default(),
            closed_until: None,
            intervals: BTreeMap::new(),
            touched: BTreeMap::new(),
            horizon: i64::MIN,
            forgotten: None,
            chart: Chart::default(),
            lines: VecDeque::new(),
            released: 0,
            passage: BTreeMap::new(),
            totals: BTreeMap::new(),
            supplied: BTreeMap::new(),
            faults: BTreeMap::new(),
            periods: BTreeMap::new(),
            events: Events::default(),
        }
    }

    #[must_use]
    pub fn hub(&self) -> &HubId {
        &self.hub
    }

    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Puts a diagram in force from a moment on. An interval uses the one in force at its start.
    pub fn set_diagram(&mut self, from: UtcMillis, diagram: Diagram) {
        let from = from.get();
        let later = self.diagrams.range(from.saturating_add(1)..).next();
        let to = later.map_or(i64::MAX, |(later, _)| *later);
        self.diagrams.insert(from, diagram);
        self.touch(Touched { from, to });
    }

    /// Makes a subject known, or follows a change of its declaration.
    pub fn declare(&mut self, node: &NodeId, subject: &Subject) -> Declared {
        let Some(index) = self.index.get(&subject.id).copied() else {
            return self.declare_new(node, subject);
        };
        let handle = RegisterHandle { index, is_held_out: false };
        let held_out = RegisterHandle { index, is_held_out: true };
        let Some(known) = self.subjects.get_mut(as_index(index)) else {
            return Declared::NotItsName { handle: held_out };
        };
        if known.node != *node {
            return self.declare_elsewhere(node, subject);
        }
        known.is_declared = true;
        if known.kind != subject.kind {
            return Declared::NotItsName { handle: held_out };
        }
        match (&mut known.register, register_of(subject)) {
            (Some(register), Some(declared)) => match register.redeclare(declared) {
                Redeclared::Same => Declared::Known(handle),
                Redeclared::NewEpoch => Declared::NewEpoch(handle),
                Redeclared::Rescaled => Declared::Rescaled(handle),
            },
            (register @ None, Some(declared)) => {
                *register = Some(RegisterState::new(declared));
                Declared::Known(handle)
            }
            // A register that is not offered at the moment is kept: it may come back.
            (Some(_) | None, None) => Declared::Known(handle),
        }
    }

    fn declare_new(&mut self, node: &NodeId, subject: &Subject) -> Declared {
        let is_its_name = subject.kind != SubjectKind::Node || subject.id.as_str() == node.as_str();
        if !is_its_name {
            let handle = RegisterHandle { index: u32::MAX, is_held_out: true };
            return Declared::NotItsName { handle };
        }
        let index = self.add(node, subject, Tenure::Bound);
        self.index.insert(subject.id.clone(), index);
        self.by_node.entry(node.clone()).or_default().insert(subject.id.clone());
        Declared::New(RegisterHandle { index, is_held_out: false })
    }

    fn add(&mut self, node: &NodeId, subject: &Subject, tenure: Tenure) -> u32 {
        let index = u32::try_from(self.subjects.len()).expect("fewer than 2^32 subjects");
        self.subjects.push(SubjectState {
            id: subject.id.clone(),
            kind: subject.kind,
            node: node.clone(),
            tenure,
            is_declared: true,
            register: register_of(subject).map(RegisterState::new),
            booked: Default::default(),
            too_old_mj: 0,
            counts: Default::default(),
            cells: BTreeMap::new(),
        });
        index
    }

    /// The handle of a subject, for its own node.
    #[must_use]
    pub fn handle(&self, subject: &SubjectId) -> Option<RegisterHandle> {
        let index = self.index.get(subject).copied()?;
        Some(RegisterHandle { index, is_held_out: false })
    }

    /// One register reading; `None` is missing, never zero. Activity is that of the step that
    /// this reading ends. The caller has made sure that the reading is from the subject's node;
    /// [`Books::read_at`] with the declarer's handle does so by itself.
    pub fn read(
        &mut self,
        subject: &SubjectId,
        at: UtcMillis,
        count: Option<i64>,
        activity: Activity,
    ) -> ReadVerdict {
        match self.handle(subject) {
            Some(handle) => self.read_at(handle, at, count, activity),
            None => ReadVerdict::Unknown,
        }
    }

    /// The same without a look-up.
    pub fn read_at(
        &mut self,
        handle: RegisterHandle,
        at: UtcMillis,
        count: Option<i64>,
        activity: Activity,
    ) -> ReadVerdict {
        let Some(subject) = self.subjects.get_mut(as_index(handle.index)) else {
            return if handle.is_held_out { ReadVerdict::HeldOut } else { ReadVerdict::Unknown };
        };
        let counts = &mut subject.counts;
        if handle.is_held_out {
            counts.held_out = counts.held_out.saturating_add(1);
            return ReadVerdict::HeldOut;
        }
        if subject.tenure == Tenure::Claimed {
            counts.held_out = counts.held_out.saturating_add(1);
        }
        let Some(register) = &mut subject.register else { return ReadVerdict::NoRegister };
        let Some(count) = count else {
            counts.missing = counts.missing.saturating_add(1);
            return ReadVerdict::Missing;
        };
        let Judged { verdict, stretches, event } = register.read(at.get(), count);
        let counted = match verdict {
            ReadVerdict::Late => Some(&mut counts.late),
            ReadVerdict::Implausible => Some(&mut counts.implausible),
            ReadVerdict::Held => Some(&mut counts.step_backs),
            ReadVerdict::Wrapped => Some(&mut counts.wraps),
            ReadVerdict::Reset => Some(&mut counts.resets),
            ReadVerdict::Ambiguous | ReadVerdict::Unexplained | ReadVerdict::Rebased => {
                Some(&mut counts.broken)
            }
            ReadVerdict::Unknown
            | ReadVerdict::HeldOut
            | ReadVerdict::NoRegister
            | ReadVerdict::Missing
            | ReadVerdict::Began
            | ReadVerdict::Booked => None,
        };
        // A held register is one step back, however many readings see it.
        let is_again = verdict == ReadVerdict::Held && event.is_none();
        if let Some(counted) = counted.filter(|_| !is_again) {
            *counted = counted.saturating_add(1);
        }
        if let Some((kind, words)) = event {
            self.events.push(kind, at.get(), subject.id.to_string(), words);
        }
        if verdict == ReadVerdict::Began {
            self.begin(at.get());
        }
        for stretch in stretches.into_iter().flatten() {
            self.book(handle.index, &stretch, activity);
        }
        verdict
    }

    /// The books begin with the first fact that has a time.
    fn begin(&mut self, at: i64) {
        let start = self.floor(at);
        self.closed_until.get_or_insert(start);
    }

    /// Cuts a stretch at the interval edges and puts each part where it belongs.
    fn book(&mut self, index: u32, stretch: &Stretch, activity: Activity) {
        let ramp = Ramp { from: stretch.from, to: stretch.to, energy: stretch.energy };
        let mut from = self.floor(stretch.from.max(self.oldest(stretch.to))).max(stretch.from);
        self.count_too_old(index, &ramp, from);
        while from < stretch.to {
            let start = self.floor(from);
            let to = start.saturating_add(self.interval_ms).min(stretch.to);
            let step = Step {
                from: offset(start, from),
                to: offset(start, to),
                energy: ramp.between(from, to),
                class: stretch.class,
                activity,
            };
            self.push(index, start, step, stretch.covers);
            from = to;
        }
    }

    fn push(&mut self, index: u32, start: i64, step: Step, covers: bool) {
        let Some(subject) = self.subjects.get_mut(as_index(index)) else { return };
        let keeps_steps = subject.keeps_steps();
        subject.booked.add(step.class, u128::from(step.energy));
        let cell = subject.cells.entry(start).or_default();
        cell.push(step, covers, keeps_steps);
        if cell.is_full() {
            let end = start.saturating_add(self.interval_ms);
            subject.compact(start, end, &self.holdings);
        }
        if self.closed_until.is_some_and(|closed| start < closed) {
            self.touch_one(start);
        }
    }

    /// The earliest moment that a stretch to `to` can still be booked at: nothing before what was
    /// released, and never more than `keep` at once, so that no reading makes a million intervals.
    fn oldest(&self, to: i64) -> i64 {
        let keep = i64::try_from(self.rules.keep.get()).unwrap_or(i64::MAX);
        self.horizon.max(to.saturating_sub(keep))
    }

    fn count_too_old(&mut self, index: u32, ramp: &Ramp, from: i64) {
        let lost = ramp.at(from);
        if from <= ramp.from || lost == 0 {
            return;
        }
        let Some(subject) = self.subjects.get_mut(as_index(index)) else { return };
        subject.too_old_mj = subject.too_old_mj.saturating_add(u128::from(lost));
        let words = format!("{lost} mJ are of intervals that can no longer be corrected");
        self.events.push(EventKind::TooOld, ramp.from, subject.id.to_string(), words);
    }

    /// Puts an allocation. The same id again replaces it.
    ///
    /// # Errors
    /// Says what is wrong with it; nothing changed.
    pub fn allocate(&mut self, allocation: Allocation) -> Result<PutVerdict, AllocationError> {
        let (verdict, touched) =
            self.with_bound(|holdings, bound| holdings.put(allocation, bound))?;
        touched.into_iter().for_each(|span| self.touch(span));
        Ok(verdict)
    }

    /// Sets the end of an allocation.
    ///
    /// # Errors
    /// There is no such allocation, or it would end before it began or overlap another project's.
    pub fn end_allocation(
        &mut self,
        id: &str,
        at: UtcMillis,
    ) -> Result<EndVerdict, AllocationError> {
        let (verdict, touched) = self.with_bound(|holdings, bound| holdings.end(id, at, bound))?;
        touched.into_iter().for_each(|span| self.touch(span));
        Ok(verdict)
    }

    /// A fact about who holds what, of a witness on `node`; it counts for that node's devices.
    pub fn witness(&mut self, node: &NodeId, told: &Hold) -> HoldVerdict {
        let (verdict, touched) = self.holdings.witnessed.tell(node, told);
        touched.into_iter().for_each(|span| self.touch(span));
        verdict
    }

    /// Puts a calibration. The same id again replaces it.
    ///
    /// # Errors
    /// Says what is wrong with it; nothing changed.
    pub fn calibrate(&mut self, calibration: Calibration) -> Result<PutVerdict, CalibrationError> {
        let (index, subjects) = (&self.index, &self.subjects);
        let kind_of = |id: &SubjectId| Some(subjects.get(as_index(*index.get(id)?))?.kind);
        let (verdict, touched) = self.calibrations.put(calibration, kind_of)?;
        touched.into_iter().for_each(|span| self.touch(span));
        Ok(verdict)
    }

    fn with_bound<T>(&mut self, change: impl FnOnce(&mut Holdings, &Bound<'_>) -> T) -> T {
        let (index, subjects, by_node) = (&self.index, &self.subjects, &self.by_node);
        let node_of = |device: &SubjectId| {
            let subject = subjects.get(as_index(*index.get(device)?))?;
            Some(subject.node.clone())
        };
        let devices_of = |node: &NodeId| {
            by_node.get(node).into_iter().flatten().cloned().collect::<Vec<SubjectId>>()
        };
        change(&mut self.holdings, &Bound { node_of: &node_of, devices_of: &devices_of })
    }

    /// Notes every closed interval of a span for deriving again.
    fn touch(&mut self, span: Touched) {
        let from = self.floor(span.from.max(self.horizon));
        let starts: Vec<i64> = self
            .intervals
            .range(from..)
            .map(|(start, _)| *start)
            .take_while(|start| *start < span.to)
            .collect();
        starts.into_iter().for_each(|start| self.touch_one(start));
    }

    /// It is due once `close_after` has passed, so that a backlog is posted once, not per batch.
    fn touch_one(&mut self, start: i64) {
        let wait = i64::try_from(self.rules.close_after.get()).unwrap_or(i64::MAX);
        let due = self.now.unwrap_or(i64::MIN).saturating_add(wait);
        self.touched.entry(start).or_insert(due);
    }

    fn floor(&self, at: i64) -> i64 {
        UtcMillis::new(at).floor_to(self.rules.interval).get()
    }
}

/// The declared register, its power bounded by what a subject of its kind can be.
fn register_of(subject: &Subject) -> Option<Register> {
    let declared = subject.register?;
    let max = match subject.kind {
        SubjectKind::Gpu
        | SubjectKind::CpuPackage
        | SubjectKind::Dram
        | SubjectKind::Unspecified => DEVICE_POWER_MW_MAX,
        SubjectKind::Node => NODE_POWER_MW_MAX,
        SubjectKind::Meter => POWER_MW_MAX,
    };
    let power_max = declared.power_max.min(Milliwatts::new(max));
    Some(Register { power_max, ..declared })
}

fn as_index(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn offset(start: i64, at: i64) -> u32 {
    u32::try_from(at.saturating_sub(start)).expect("a moment of the interval")
}
