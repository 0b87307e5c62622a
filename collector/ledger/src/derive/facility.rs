//! What one interval says of PUE, or why it says nothing.

use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::{NodeId, SubjectId};

use super::points::Board;
use super::{Draft, Flow, Inputs, Level, Reason};
use crate::account::Account;
use crate::class::{ByClass, Class};
use crate::diagram::{Category, Diagram, Point, PointId, Role};
use crate::pue::{PueParts, Terms, Withheld};

/// A term as it is summed: its energy, and what each meter counted of it.
#[derive(Default)]
struct Sum {
    energy: ByClass,
    meters: Vec<(u32, u64)>,
}

impl Sum {
    fn add(&mut self, meter: Option<u32>, energy: &ByClass) {
        self.energy.add_all(energy);
        let counted = u64::try_from(energy.total()).unwrap_or(u64::MAX);
        self.meters.extend(meter.map(|meter| (meter, counted)));
    }
}

/// Supplies over IT, if every meter that either needs is complete and undisputed.
pub(super) fn pue_parts(
    inputs: &Inputs<'_>,
    diagram: &Diagram,
    board: &Board<'_>,
    nodes: &BTreeMap<&NodeId, Level>,
    draft: &Draft,
) -> Result<PueParts, Withheld> {
    let mut by_source: BTreeMap<Role, u128> = BTreeMap::new();
    let mut supplied = Sum::default();
    for point in diagram.points().filter(|point| point.role.is_supply()) {
        let energy = complete(point, board)?;
        let sum = by_source.entry(point.role).or_default();
        *sum = sum.saturating_add(energy.total());
        supplied.add(number(inputs, point), &energy);
    }
    let it = match diagram.category() {
        Category::UpsOutput | Category::PduOutput => it_of_points(inputs, diagram, board)?,
        Category::ItInput => it_of_nodes(inputs, diagram, nodes)?,
    };
    check_disputes(diagram, &draft.reasons)?;
    let it_estimated = it.energy.get(Class::Estimated);
    let estimated = supplied.energy.get(Class::Estimated).saturating_add(it_estimated);
    let it_points: BTreeSet<&PointId> =
        diagram.it_points().into_iter().map(|point| &point.id).collect();
    let flowed = |counts: &dyn Fn(&Flow) -> bool| {
        let flows = draft.flows.iter().filter(|(flow, _)| counts(flow));
        flows.fold(0, |sum: u128, (_, amount)| sum.saturating_add(*amount))
    };
    Ok(PueParts {
        total: supplied.energy.total(),
        it: it.energy.total(),
        by_source,
        store_drawn: board.store_drawn,
        estimated,
        it_estimated,
        unexplained: flowed(&|flow| is_unexplained(diagram, &it_points, flow)),
        contradicted: flowed(&|flow| matches!(flow.credit, Account::Dispute(_))),
        outside: flowed(&|flow| matches!(flow.credit, Account::Unplaced(_))),
        category: diagram.category(),
        of_total: supplied.meters,
        of_it: it.meters,
    })
}

/// Whether no meter explains where a flow went. What goes through a point where IT is measured is
/// IT energy by the declared category, whatever is known of it below.
pub(crate) fn is_unexplained(
    diagram: &Diagram,
    it_points: &BTreeSet<&PointId>,
    flow: &Flow,
) -> bool {
    let Account::Unmetered(point) = &flow.debit else { return false };
    let is_it = |id: &PointId| it_points.contains(id);
    !is_it(point) && !diagram.above(point).any(|above| is_it(&above.id))
}

/// What the books know of both terms, whether or not the interval counts.
pub(super) fn known(
    diagram: &Diagram,
    board: &Board<'_>,
    nodes: &BTreeMap<&NodeId, Level>,
) -> Terms {
    let at = |point: &Point| board.levels.get(&point.id).map_or(0, |level| level.energy.total());
    let supplies = diagram.points().filter(|point| point.role.is_supply());
    let total = supplies.map(at).fold(0, u128::saturating_add);
    let it = match diagram.category() {
        Category::UpsOutput | Category::PduOutput => {
            diagram.it_points().into_iter().map(at).fold(0, u128::saturating_add)
        }
        Category::ItInput => {
            let placed = diagram.nodes().keys().filter_map(|node| nodes.get(node));
            placed.map(|level| level.energy.total()).fold(0, u128::saturating_add)
        }
    };
    Terms { total, it }
}

/// The number of a point's meter among the subjects.
fn number(inputs: &Inputs<'_>, point: &Point) -> Option<u32> {
    inputs.index.get(point.meter.as_ref()?).copied()
}

fn complete(point: &Point, board: &Board<'_>) -> Result<ByClass, Withheld> {
    match board.levels.get(&point.id) {
        Some(level) if level.is_complete => Ok(level.energy),
        Some(_) | None => {
            let meter = point.meter.as_ref().map_or(point.id.as_str(), |meter| meter.as_str());
            Err(Withheld::MissingMeter { meter: meter.to_owned() })
        }
    }
}

fn it_of_points(
    inputs: &Inputs<'_>,
    diagram: &Diagram,
    board: &Board<'_>,
) -> Result<Sum, Withheld> {
    let points = diagram.it_points();
    if points.is_empty() {
        return Err(Withheld::NoItMeter);
    }
    let mut it = Sum::default();
    for point in points {
        it.add(number(inputs, point), &complete(point, board)?);
    }
    Ok(it)
}

fn it_of_nodes(
    inputs: &Inputs<'_>,
    diagram: &Diagram,
    nodes: &BTreeMap<&NodeId, Level>,
) -> Result<Sum, Withheld> {
    if diagram.nodes().is_empty() {
        return Err(Withheld::NoItMeter);
    }
    let described: BTreeMap<&str, &SubjectId> =
        diagram.meters().keys().map(|meter| (meter.as_str(), meter)).collect();
    let mut it = Sum::default();
    for node in diagram.nodes().keys() {
        match nodes.get(node) {
            Some(level) if level.is_complete => {
                let meter = described.get(node.as_str());
                it.add(meter.and_then(|meter| inputs.index.get(*meter).copied()), &level.energy);
            }
            Some(_) | None => {
                return Err(Withheld::MissingMeter { meter: node.as_str().to_owned() });
            }
        }
    }
    Ok(it)
}

/// A dispute at or above a point where IT is measured leaves either term in doubt.
fn check_disputes(diagram: &Diagram, reasons: &BTreeSet<Reason>) -> Result<(), Withheld> {
    let doubted = doubted_points(diagram);
    for reason in reasons {
        match reason {
            Reason::Dispute { point, .. } if point == diagram.main() || doubted.contains(point) => {
                return Err(Withheld::Disputed { point: point.to_string() });
            }
            Reason::DisputeNode { node, .. }
                if diagram.category() == Category::ItInput
                    && diagram.nodes().contains_key(node) =>
            {
                return Err(Withheld::Disputed { point: node.to_string() });
            }
            Reason::Dispute { .. }
            | Reason::DisputeNode { .. }
            | Reason::NotPosted { .. }
            | Reason::NoDiagram
            | Reason::NoMeter { .. }
            | Reason::MeterMissing { .. }
            | Reason::MeterPartial { .. }
            | Reason::NodeSilent { .. }
            | Reason::NodeUnplaced { .. }
            | Reason::DeviceMissing { .. }
            | Reason::DevicePartial { .. }
            | Reason::More { .. } => {}
        }
    }
    Ok(())
}

fn doubted_points(diagram: &Diagram) -> BTreeSet<PointId> {
    let mut points: BTreeSet<PointId> = BTreeSet::new();
    let mut doubt = |id: &PointId| {
        points.insert(id.clone());
        points.extend(diagram.above(id).map(|point| point.id.clone()));
    };
    match diagram.category() {
        Category::UpsOutput | Category::PduOutput => {
            for point in diagram.it_points() {
                doubt(&point.id);
            }
        }
        Category::ItInput => diagram.nodes().values().for_each(doubt),
    }
    points
}
