//! Everything that a report says of energy: a function of the leaves of a ledger log up to a given
//! one, and of the diagram that the configuration declares.
//!
//! # Invariants
//! - The same leaves and the same diagram give the same figures, for ever.
//! - Amounts are integers of millijoules. Nothing is estimated, rounded or filled in here.
//! - Uses, sources, intervals and accounts each add up to the same whole, or [`Figures::checks`]
//!   says which does not.

use std::collections::BTreeMap;

use bijli_ledger::leaf::PueShown;
use bijli_ledger::pue::{self, Posted};
use bijli_ledger::{Account, ByClass, Day, Diagram, Flow, Month, Nature, Offset, Pue, Rules};
use bijli_wire::{HubId, Millis, ProjectId, UtcMillis};

use super::accounts::{accounts, drawn, points, restated, trial};
use super::checks::{self, Check};
use super::cited::{Cited, Leaves};
use super::fold::{Chart, Correction, Fold, Interval};
use super::groups::{Source, Use};
use crate::api::pue::WhyNot;
use crate::config::HubConfig;
use crate::page::place::Flows;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    pub hub: &'a HubConfig,
    pub rules: Rules,
    pub month: Month,
}

/// The month of a hub.
#[derive(Clone, Debug)]
pub struct Figures {
    pub hub: HubId,
    pub title: String,
    pub month: Month,
    pub offset: Offset,
    pub from: UtcMillis,
    pub to: UtcMillis,
    /// So many leaves of the log were read: index 0 to this one, exclusive.
    pub leaves: u64,
    /// The end of the last interval that these leaves close: what the report knows goes to here.
    pub as_of: Option<UtcMillis>,
    pub interval: Millis,
    /// Nothing that starts before it can be corrected any more, as far as the leaves tell.
    pub settled_until: Option<UtcMillis>,
    pub pue: Result<Pue, WhyNot>,
    pub days: Vec<DayFigures>,
    pub intervals: Vec<IntervalFigure>,
    /// Sources and sinks.
    pub accounts: Vec<AccountFigure>,
    pub trial: Trial,
    pub projects: BTreeMap<ProjectId, ProjectFigure>,
    pub restated: Vec<RestatedAccount>,
    /// For drawings: all nodes are one.
    pub flows: Flows,
    /// What went through each point of the diagram.
    pub points: BTreeMap<String, u128>,
    pub nodes: usize,
    pub rule_versions: Vec<u32>,
    pub records: Option<(u64, u64)>,
    pub cited: Cited,
    pub checks: Vec<Check>,
}

/// Sums by source and by use; both are the same whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub by_source: BTreeMap<Source, u128>,
    pub by_use: BTreeMap<Use, u128>,
}

/// One day.
#[derive(Clone, Debug)]
pub struct DayFigures {
    pub day: Day,
    pub sums: Sums,
    pub pue: Result<Pue, WhyNot>,
    pub expected: u64,
    pub booked: u64,
    pub complete: u64,
    pub cited: Cited,
}

/// How an interval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Complete,
    Incomplete,
    /// Registers contradict each other.
    Disputed,
    /// No leaf closes it.
    Missing,
}

/// E_DC and E_IT.
pub type TwoTerms = (u128, u128);

/// One interval of the month, booked or not.
#[derive(Clone, Debug)]
pub struct IntervalFigure {
    pub start: UtcMillis,
    pub end: UtcMillis,
    pub state: State,
    /// Words and whether it is a dispute.
    pub reasons: Vec<(String, bool)>,
    pub reasons_more: u32,
    pub supplied: u128,
    pub used: u128,
    /// E_DC and E_IT, if the interval counts...
    pub terms: Option<TwoTerms>,
    /// ...and why not.
    pub withheld: Option<String>,
    pub corrections: Vec<CorrectionFigure>,
    pub cited: Cited,
}

/// One correction of an interval.
#[derive(Clone, Debug)]
pub struct CorrectionFigure {
    pub revision: u32,
    pub what: Changed,
    pub supplied: (u128, u128),
    /// Before, and after.
    pub terms: (Option<TwoTerms>, Option<TwoTerms>),
    /// Energy that stands in another account than before.
    pub moved: u128,
    pub entries: u32,
    pub first_leaf: u64,
    pub leaf: u64,
    pub old_leaf: u64,
    pub record: u64,
}

/// What a correction changed. The fact behind it is in the journal, at the record that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changed {
    /// How much energy there was, or by which way it came.
    Energy,
    /// Only who used it.
    Attribution,
    /// No amount: what is told beside it.
    Completeness,
}

/// One source or sink.
#[derive(Clone, Debug)]
pub struct AccountFigure {
    pub account: Account,
    pub energy: u128,
    pub by_class: ByClass,
    pub cited: Cited,
}

/// A trial balance: every account that anything was posted to.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    pub rows: Vec<TrialRow>,
    pub accounts: u64,
    pub debits: u128,
    pub credits: u128,
    /// Accounts of passage that do not come out at zero.
    pub unbalanced: Vec<String>,
}

/// One account, or all nodes or devices of one kind.
#[derive(Clone, Debug)]
pub struct TrialRow {
    pub account: String,
    pub nature: Nature,
    pub accounts: u64,
    pub debits: u128,
    pub credits: u128,
    pub cited: Cited,
}

/// What one project used.
#[derive(Clone, Debug, Default)]
pub struct ProjectFigure {
    pub active: u128,
    pub held_idle: u128,
    pub host: u128,
    /// Of it in intervals that have a PUE...
    pub with_pue: u128,
    /// ...and that times each interval's PUE, cut per interval.
    pub facility: u128,
    pub cited: Cited,
}

/// A source or sink that corrections changed.
#[derive(Clone, Debug)]
pub struct RestatedAccount {
    pub account: Account,
    /// When each interval was first closed, and now.
    pub first: u128,
    pub now: u128,
    pub corrections: u64,
}

/// Leaves of the log are missing: what was taken back was never posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    pub(super) interval: UtcMillis,
}

impl Figures {
    /// From what a fold of the month's leaves kept.
    pub(super) fn of(asked: &Asked<'_>, fold: Fold, leaves: u64) -> Result<Self, Torn> {
        let diagram = asked.hub.plan.diagram().ok().flatten();
        let offset = diagram.as_ref().map_or(Offset::UTC, |diagram| diagram.policy().offset);
        let days = asked.month.days(offset);
        let (from, to) = period(&days);
        let kept = kept(&fold)?;
        let settled_until = fold.closed_until.map(|end| {
            let keep = i64::try_from(asked.rules.keep.get()).unwrap_or(i64::MAX);
            UtcMillis::new(end.get().saturating_sub(keep)).floor_to(asked.rules.interval)
        });
        let interval = fold.intervals.iter().next().map_or(asked.rules.interval, |(start, one)| {
            Millis::new(one.end.get().abs_diff(*start))
        });
        let view = View { asked, diagram: diagram.as_ref(), kept: &kept, settled_until, interval };
        let accounts = accounts(&fold, &kept);
        let cited = Leaves::of_all(kept.values().map(|one| &one.interval.leaves)).cited();
        let trial = trial(&fold, &cited);
        let checks = checks::of(&kept, &trial, view.explained());
        let figures = Self {
            hub: asked.hub.id.clone(),
            title: asked.hub.title.clone(),
            month: asked.month,
            offset,
            from,
            to,
            leaves,
            as_of: fold.closed_until,
            interval,
            settled_until,
            pue: view.pue(from, to),
            days: days.into_iter().map(|day| view.day(day)).collect(),
            intervals: view.intervals(from, to, &fold.chart),
            trial,
            projects: view.projects(&fold),
            restated: restated(&fold, &accounts),
            flows: drawn(&kept),
            points: points(&kept),
            nodes: fold.nodes.len(),
            rule_versions: fold.rules.iter().copied().collect(),
            records: fold.records,
            cited,
            checks,
            accounts,
        };
        Ok(figures)
    }

    /// Whether the month's figures can still change.
    #[must_use]
    pub fn status(&self) -> &'static str {
        let is_settled = self.settled_until.is_some_and(|until| until >= self.to);
        if is_settled { "settled" } else { "provisional" }
    }

    /// Sums of the whole month.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        self.days.iter().for_each(|day| sums.add(&day.sums));
        sums
    }

    /// Corrections of the month's intervals.
    pub fn corrections(&self) -> impl Iterator<Item = (&IntervalFigure, &CorrectionFigure)> {
        self.intervals.iter().flat_map(|one| one.corrections.iter().map(move |two| (one, two)))
    }

    /// How many intervals are in a state.
    #[must_use]
    pub fn count(&self, state: State) -> u64 {
        wide(self.intervals.iter().filter(|one| one.state == state).count())
    }
}

pub(super) fn period(days: &[Day]) -> (UtcMillis, UtcMillis) {
    let nothing = UtcMillis::new(0);
    let from = days.first().map_or(nothing, |day| day.from);
    (from, days.last().map_or(nothing, |day| day.to))
}

pub(super) fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// An interval with its net flows.
pub(super) struct Kept<'a> {
    pub(super) interval: &'a Interval,
    pub(super) flows: BTreeMap<Flow, u128>,
}

/// By start.
pub(super) type AllKept<'a> = BTreeMap<i64, Kept<'a>>;

fn kept(fold: &Fold) -> Result<AllKept<'_>, Torn> {
    let one = |(start, interval): (&i64, &Interval)| {
        let flows = interval.flows(&fold.chart);
        let flows = flows.ok_or(Torn { interval: UtcMillis::new(*start) })?;
        Ok((*start, flows))
    };
    let flows: Vec<(i64, BTreeMap<Flow, u128>)> =
        fold.intervals.iter().map(one).collect::<Result<_, Torn>>()?;
    let both = flows.into_iter().zip(fold.intervals.values());
    Ok(both.map(|((start, flows), interval)| (start, Kept { interval, flows })).collect())
}

impl Sums {
    pub(super) fn add_flow(&mut self, flow: &Flow, amount: u128) {
        if let Some(source) = Source::of(&flow.credit) {
            *self.by_source.entry(source).or_default() += amount;
        }
        if let Some(used) = Use::of(&flow.debit) {
            *self.by_use.entry(used).or_default() += amount;
        }
    }

    fn add(&mut self, other: &Self) {
        for (source, amount) in &other.by_source {
            *self.by_source.entry(*source).or_default() += amount;
        }
        for (used, amount) in &other.by_use {
            *self.by_use.entry(*used).or_default() += amount;
        }
    }

    #[must_use]
    pub fn supplied(&self) -> u128 {
        self.by_source.values().sum()
    }

    #[must_use]
    pub fn used(&self) -> u128 {
        self.by_use.values().sum()
    }

    #[must_use]
    pub fn of(&self, used: Use) -> u128 {
        self.by_use.get(&used).copied().unwrap_or(0)
    }
}

pub(super) fn kept_sums(kept: &AllKept<'_>) -> Sums {
    let mut sums = Sums::default();
    for one in kept.values() {
        one.flows.iter().for_each(|(flow, amount)| sums.add_flow(flow, *amount));
    }
    sums
}

/// The kept intervals as the configuration explains them.
struct View<'a> {
    asked: &'a Asked<'a>,
    diagram: Option<&'a Diagram>,
    kept: &'a AllKept<'a>,
    settled_until: Option<UtcMillis>,
    interval: Millis,
}

impl View<'_> {
    fn pue(&self, from: UtcMillis, to: UtcMillis) -> Result<Pue, WhyNot> {
        let declared = self.diagram.filter(|_| self.asked.hub.plan.pue_category.is_some());
        let Some(diagram) = declared else { return Err(WhyNot::no_category()) };
        let posted = self.kept.range(from.get()..to.get()).map(|(start, one)| {
            let start = UtcMillis::new(*start);
            Posted {
                start,
                pue: &one.interval.standing.pue,
                flows: &one.flows,
                adjustments: one.interval.adjustments(),
                is_settled: self.settled_until.is_some_and(|until| start < until),
            }
        });
        // As the books do: a period ends where nothing is closed any more.
        let last = self.kept.range(..to.get()).next_back();
        let closed = last.map_or(from, |(_, one)| one.interval.end).max(from).min(to);
        let pue = pue::of_posted(diagram, (from, closed), self.interval, posted);
        pue.map_err(|why| WhyNot::of(&why))
    }

    fn expected(&self, from: UtcMillis, to: UtcMillis) -> u64 {
        let span = to.get().abs_diff(from.get());
        span.checked_div(self.interval.get()).unwrap_or(0)
    }

    fn day(&self, day: Day) -> DayFigures {
        let mut sums = Sums::default();
        let (mut booked, mut complete) = (0, 0);
        let of_day = || self.kept.range(day.from.get()..day.to.get()).map(|(_, one)| one);
        for one in of_day() {
            one.flows.iter().for_each(|(flow, amount)| sums.add_flow(flow, *amount));
            booked += 1;
            complete += u64::from(state(one.interval) == State::Complete);
        }
        let expected = self.expected(day.from, day.to);
        let pue = self.pue(day.from, day.to);
        let cited = Leaves::of_all(of_day().map(|one| &one.interval.leaves)).cited();
        DayFigures { day, sums, pue, expected, booked, complete, cited }
    }

    fn intervals(&self, from: UtcMillis, to: UtcMillis, chart: &Chart) -> Vec<IntervalFigure> {
        let length = i64::try_from(self.interval.get()).unwrap_or(i64::MAX).max(1);
        let count = self.expected(from, to);
        let starts = (0..count).filter_map(|place| {
            let after = i64::try_from(place).ok()?.checked_mul(length)?;
            from.get().checked_add(after)
        });
        let figure = |start: i64| match self.kept.get(&start) {
            Some(one) => booked(UtcMillis::new(start), one.interval, chart),
            None => missing(UtcMillis::new(start), UtcMillis::new(start.saturating_add(length))),
        };
        starts.map(figure).collect()
    }

    fn projects(&self, fold: &Fold) -> BTreeMap<ProjectId, ProjectFigure> {
        let mut projects: BTreeMap<ProjectId, ProjectFigure> = BTreeMap::new();
        for one in self.kept.values() {
            let mut of_interval: BTreeMap<&ProjectId, u128> = BTreeMap::new();
            for (flow, amount) in &one.flows {
                let Some((project, share)) = flow.debit.project() else { continue };
                let figure = projects.entry(project.clone()).or_default();
                *figure.slot(share) += amount;
                *of_interval.entry(project).or_default() += amount;
            }
            let PueShown::Parts { total, it, .. } = &one.interval.standing.pue else { continue };
            for (project, energy) in of_interval {
                let figure = projects.entry(project.clone()).or_default();
                figure.with_pue += energy;
                figure.facility += energy.saturating_mul(*total).checked_div(*it).unwrap_or(0);
            }
        }
        for (project, figure) in &mut projects {
            let is_its = |number: &u32| {
                let account = fold.chart.account(*number).and_then(Account::project);
                account.is_some_and(|(other, _)| other == project)
            };
            let sides = fold.sides.iter().filter(|(number, _)| is_its(number));
            figure.cited = Leaves::of_all(sides.map(|(_, sides)| &sides.leaves)).cited();
        }
        projects
    }

    /// Of the intervals that have a PUE: how many the declared diagram explains to the millijoule.
    fn explained(&self) -> Option<(u64, u64)> {
        let diagram = self.diagram?;
        let (mut explained, mut of) = (0, 0);
        for one in self.kept.values() {
            let PueShown::Parts { total, it, .. } = &one.interval.standing.pue else { continue };
            let terms = pue::terms(diagram, &one.flows);
            of += 1;
            explained += u64::from(terms.total == *total && terms.it == *it);
        }
        Some((explained, of))
    }
}

impl ProjectFigure {
    const fn slot(&mut self, share: bijli_ledger::Share) -> &mut u128 {
        match share {
            bijli_ledger::Share::GpuActive => &mut self.active,
            bijli_ledger::Share::GpuHeldIdle => &mut self.held_idle,
            bijli_ledger::Share::Host => &mut self.host,
        }
    }

    /// All IT energy of the project.
    #[must_use]
    pub const fn it(&self) -> u128 {
        self.active + self.held_idle + self.host
    }
}

pub(super) fn state(interval: &Interval) -> State {
    let reasons = &interval.standing.reasons;
    if reasons.iter().any(|reason| reason.is_dispute) {
        State::Disputed
    } else if reasons.is_empty() && interval.standing.reasons_more == 0 {
        State::Complete
    } else {
        State::Incomplete
    }
}

const fn terms(pue: &PueShown) -> Option<(u128, u128)> {
    match pue {
        PueShown::Parts { total, it, .. } => Some((*total, *it)),
        PueShown::Withheld(_) => None,
    }
}

fn missing(start: UtcMillis, end: UtcMillis) -> IntervalFigure {
    IntervalFigure {
        start,
        end,
        state: State::Missing,
        reasons: Vec::new(),
        reasons_more: 0,
        supplied: 0,
        used: 0,
        terms: None,
        withheld: None,
        corrections: Vec::new(),
        cited: Cited::default(),
    }
}

fn booked(start: UtcMillis, interval: &Interval, chart: &Chart) -> IntervalFigure {
    let standing = &interval.standing;
    let reasons = standing.reasons.iter().map(|one| (one.words.clone(), one.is_dispute));
    IntervalFigure {
        start,
        end: interval.end,
        state: state(interval),
        reasons: reasons.collect(),
        reasons_more: standing.reasons_more,
        supplied: standing.supplied,
        used: standing.used,
        terms: terms(&standing.pue),
        withheld: match &standing.pue {
            PueShown::Withheld(withheld) => Some(withheld.to_string()),
            PueShown::Parts { .. } => None,
        },
        corrections: interval.corrections.iter().map(|one| correction(one, chart)).collect(),
        cited: interval.leaves.cited(),
    }
}

fn correction(one: &Correction, chart: &Chart) -> CorrectionFigure {
    let changed = one.moved.keys().filter_map(|number| chart.account(*number));
    let is_of_users = |account: &Account| Use::of(account).is_some_and(Use::is_of_it);
    let what = match (one.moved.is_empty(), changed.into_iter().all(is_of_users)) {
        (true, _) => Changed::Completeness,
        (false, true) => Changed::Attribution,
        (false, false) => Changed::Energy,
    };
    let given =
        one.moved.values().filter(|amount| **amount > 0).map(|amount| amount.unsigned_abs());
    CorrectionFigure {
        revision: one.revision,
        what,
        supplied: (one.before.supplied, one.after.supplied),
        terms: (terms(&one.before.pue), terms(&one.after.pue)),
        moved: given.sum(),
        entries: one.entries,
        first_leaf: one.first_leaf,
        leaf: one.after.leaf,
        old_leaf: one.before.leaf,
        record: one.record,
    }
}
