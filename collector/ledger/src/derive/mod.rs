//! From what registers and allocations say of one interval to the flows between accounts. Pure.
//!
//! # Invariants
//! - What flows into an account of passage flows out of it, to the millijoule.
//! - The flows are a function of the interval's inputs; no order of arrival is in them.
//!
//! Devices first (`node`), then the diagram from the leaves up (`points`), then what the interval
//! says of PUE (`facility`).

mod facility;
mod node;
mod points;

pub(crate) use facility::is_unexplained;
pub(crate) use points::supply_account;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::{NodeId, SubjectId, SubjectKind};

use crate::account::{Account, Nature};
use crate::allocation::Holdings;
use crate::calibration::Calibrations;
use crate::class::{ByClass, Class};
use crate::diagram::{Diagram, PointId};
use crate::meterbook::MeterBook;
use crate::profile::Cell;
use crate::pue::{PueParts, Terms, Withheld};
use crate::rules::REASONS_MAX;
use crate::share::SharePolicy;

/// One flow of an interval.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// The receiver.
    pub debit: Account,
    /// The giver.
    pub credit: Account,
    pub class: Class,
}

/// Why an interval is not complete.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error, Serialize, Deserialize,
)]
pub enum Reason {
    /// The rules came to flows that cannot be posted: a defect, set aside with its proof.
    #[error("nothing is posted: {words}")]
    NotPosted { words: String },
    #[error("no diagram is in force")]
    NoDiagram,
    #[error("point {point} has no meter")]
    NoMeter { point: PointId },
    #[error("meter {meter} at {point} was not read")]
    MeterMissing { point: PointId, meter: SubjectId },
    #[error("meter {meter} at {point} covers {covered_ms} of {interval_ms} ms")]
    MeterPartial { point: PointId, meter: SubjectId, covered_ms: u32, interval_ms: u32 },
    #[error("meters below {point} show {millijoules} mJ more than its own")]
    Dispute { point: PointId, millijoules: u128 },
    #[error("devices of node {node} show {millijoules} mJ more than its own register")]
    DisputeNode { node: NodeId, millijoules: u128 },
    #[error("node {node} showed no energy")]
    NodeSilent { node: NodeId },
    #[error("node {node} is not placed in the diagram")]
    NodeUnplaced { node: NodeId },
    #[error("{device} of node {node} was not read")]
    DeviceMissing { node: NodeId, device: SubjectId },
    #[error("{device} of node {node} covers {covered_ms} of {interval_ms} ms")]
    DevicePartial { node: NodeId, device: SubjectId, covered_ms: u32, interval_ms: u32 },
    /// Reasons are kept in this order, so it is devices that are only counted.
    #[error("and {count} more")]
    More { count: usize },
}

impl Reason {
    /// Whether two registers contradict each other, rather than one being absent.
    #[must_use]
    pub const fn is_dispute(&self) -> bool {
        matches!(self, Self::Dispute { .. } | Self::DisputeNode { .. } | Self::NotPosted { .. })
    }
}

/// A subject's part of an interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    pub(crate) id: &'a SubjectId,
    pub(crate) node: &'a NodeId,
    pub(crate) kind: SubjectKind,
    /// `None`: expected, and not read in this interval.
    pub(crate) cell: Option<&'a Cell>,
}

/// Everything that an interval is derived from.
pub(crate) struct Inputs<'a> {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) diagram: Option<&'a Diagram>,
    /// By id; a GPU that moved in this interval, once for each of its nodes.
    pub(crate) subjects: Vec<Input<'a>>,
    /// The number of each subject.
    pub(crate) index: &'a BTreeMap<SubjectId, u32>,
    pub(crate) holdings: &'a Holdings,
    pub(crate) calibrations: &'a Calibrations,
    /// How shared devices are split.
    pub(crate) policy: SharePolicy,
    /// What people read off meters; it counts where no agent has a reading.
    pub(crate) meterbook: &'a MeterBook,
}

impl Inputs<'_> {
    fn interval_ms(&self) -> u32 {
        u32::try_from(self.end.abs_diff(self.start)).expect("an interval is at most a day")
    }

    fn is_full(&self, cell: &Cell) -> bool {
        cell.covered_ms() >= self.interval_ms()
    }
}

/// What an interval comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Derived {
    pub(crate) flows: BTreeMap<Flow, u128>,
    pub(crate) reasons: BTreeSet<Reason>,
    pub(crate) pue: Result<PueParts, Withheld>,
    /// Of both terms of PUE, whether or not the interval counts.
    pub(crate) known: Terms,
}

/// Flows and reasons as they are found.
#[derive(Default)]
struct Draft {
    flows: BTreeMap<Flow, u128>,
    reasons: BTreeSet<Reason>,
}

impl Draft {
    fn flow(&mut self, credit: &Account, debit: &Account, energy: &ByClass) {
        for (class, millijoules) in energy.iter() {
            let flow = Flow { debit: debit.clone(), credit: credit.clone(), class };
            let sum = self.flows.entry(flow).or_default();
            *sum = sum.checked_add(millijoules).expect("an interval's energy fits u128");
        }
    }
}

/// What an element of the tree takes from the one above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Level {
    energy: ByClass,
    /// Whether a register of its own covers the whole interval.
    is_complete: bool,
}

/// Derives one interval.
pub(crate) fn derive(inputs: &Inputs<'_>) -> Derived {
    let mut draft = Draft::default();
    let nodes = node::derive_nodes(inputs, &mut draft);
    let Some(diagram) = inputs.diagram else {
        draft.reasons.insert(Reason::NoDiagram);
        points::feed_unplaced(&nodes, None, &mut draft);
        let Draft { flows, reasons } = draft;
        let (pue, known) = (Err(Withheld::NoSupplyMeter), Terms::default());
        return Derived { flows, reasons: bounded(reasons), pue, known };
    };
    let board = points::derive_points(inputs, diagram, &nodes, &mut draft);
    points::feed_unplaced(&nodes, Some(diagram), &mut draft);
    let pue = facility::pue_parts(inputs, diagram, &board, &nodes, &draft);
    let known = facility::known(diagram, &board, &nodes);
    let Draft { flows, reasons } = draft;
    Derived { flows, reasons: bounded(reasons), pue, known }
}

/// A hub in the dark has a reason for each device; a page needs a few and their number.
fn bounded(reasons: BTreeSet<Reason>) -> BTreeSet<Reason> {
    let count = reasons.len().saturating_sub(REASONS_MAX);
    if count == 0 {
        return reasons;
    }
    let kept = reasons.into_iter().take(REASONS_MAX);
    kept.chain([Reason::More { count }]).collect()
}

/// The accounts of passage that do not come out at zero, with inflow and outflow.
pub(crate) fn imbalances(flows: &BTreeMap<Flow, u128>) -> BTreeMap<&Account, (u128, u128)> {
    let mut sums: BTreeMap<&Account, (u128, u128)> = BTreeMap::new();
    for (flow, millijoules) in flows {
        let inflow = &mut sums.entry(&flow.debit).or_default().0;
        *inflow = inflow.saturating_add(*millijoules);
        let outflow = &mut sums.entry(&flow.credit).or_default().1;
        *outflow = outflow.saturating_add(*millijoules);
    }
    sums.retain(|account, (inflow, outflow)| match account.nature() {
        Nature::Through => inflow != outflow,
        Nature::Source => *inflow > 0,
        Nature::Sink => *outflow > 0,
    });
    sums
}
