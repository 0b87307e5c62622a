//! What one interval says of PUE, or why it says nothing.

use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::NodeId;

use super::points::Board;
use super::{Level, Reason};
use crate::class::{ByClass, Class};
use crate::diagram::{Category, Diagram, Point, PointId, Role};
use crate::pue::{PueParts, Withheld};

/// Supplies over IT, if every meter that either needs is complete and undisputed.
pub(super) fn pue_parts(
    diagram: &Diagram,
    board: &Board<'_>,
    nodes: &BTreeMap<&NodeId, Level>,
    reasons: &BTreeSet<Reason>,
) -> Result<PueParts, Withheld> {
    let mut by_source: BTreeMap<Role, u128> = BTreeMap::new();
    let mut supplied = ByClass::default();
    for point in diagram.points().filter(|point| point.role.is_supply()) {
        let energy = complete(point, board)?;
        let sum = by_source.entry(point.role).or_default();
        *sum = sum.saturating_add(energy.total());
        supplied.add_all(&energy);
    }
    let it = match diagram.category() {
        Category::UpsOutput | Category::PduOutput => it_of_points(diagram, board)?,
        Category::ItInput => it_of_nodes(diagram, nodes)?,
    };
    check_disputes(diagram, reasons)?;
    let estimated = supplied.get(Class::Estimated).saturating_add(it.get(Class::Estimated));
    Ok(PueParts {
        total: supplied.total(),
        it: it.total(),
        by_source,
        store_drawn: board.store_drawn,
        estimated,
        category: diagram.category(),
    })
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

fn it_of_points(diagram: &Diagram, board: &Board<'_>) -> Result<ByClass, Withheld> {
    let points = diagram.it_points();
    if points.is_empty() {
        return Err(Withheld::NoItMeter);
    }
    let mut it = ByClass::default();
    for point in points {
        it.add_all(&complete(point, board)?);
    }
    Ok(it)
}

fn it_of_nodes(diagram: &Diagram, nodes: &BTreeMap<&NodeId, Level>) -> Result<ByClass, Withheld> {
    if diagram.nodes().is_empty() {
        return Err(Withheld::NoItMeter);
    }
    let mut it = ByClass::default();
    for node in diagram.nodes().keys() {
        match nodes.get(node) {
            Some(level) if level.is_complete => it.add_all(&level.energy),
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
