//! The diagram from its leaves up: what each point takes, what it loses, what its supplies gave.

use std::collections::BTreeMap;

use bijli_wire::{NodeId, SubjectId, SubjectKind};

use super::{Draft, Inputs, Level, Reason};
use crate::account::Account;
use crate::class::{ByClass, Class};
use crate::diagram::{Diagram, Point, PointId, Role};
use crate::profile::Cell;

/// Levels of all points, and what came in from where.
pub(super) struct Board<'a> {
    pub(super) levels: BTreeMap<&'a PointId, Level>,
    /// What UPS batteries gave beyond what their inputs took.
    pub(super) store_drawn: u128,
}

/// The sum of what hangs below a feeder.
#[derive(Clone, Copy, Debug, Default)]
struct Below {
    energy: ByClass,
    count: usize,
    /// Whether each of them has a complete register of its own.
    all_complete: bool,
}

/// Books every point downward, the supplies, and the board.
pub(super) fn derive_points<'a>(
    inputs: &Inputs<'_>,
    diagram: &'a Diagram,
    nodes: &BTreeMap<&NodeId, Level>,
    draft: &mut Draft,
) -> Board<'a> {
    let meters: BTreeMap<&SubjectId, &Cell> = inputs
        .subjects
        .iter()
        .filter(|input| input.kind == SubjectKind::Meter)
        .filter_map(|input| Some((input.id, input.cell?)))
        .collect();
    let mut board = Board { levels: BTreeMap::new(), store_drawn: 0 };
    for point in diagram.upward() {
        let account = Account::Point(point.id.clone());
        let own = metered(inputs, point, &meters, draft);
        let below = feed_below(diagram, &point.id, &account, (nodes, &board.levels), draft);
        let level = settle(point, own, &below, &mut board, draft);
        board.levels.insert(&point.id, level);
    }
    note_silent(diagram, nodes, draft);
    let mut supplied = Level { energy: ByClass::default(), is_complete: true };
    for point in diagram.points().filter(|point| point.role.is_supply()) {
        let own = metered(inputs, point, &meters, draft);
        draft.flow(&supply_account(point), &Account::Main, &own.energy);
        supplied.energy.add_all(&own.energy);
        supplied.is_complete &= own.is_complete;
        board.levels.insert(&point.id, own);
    }
    let below = feed_below(diagram, diagram.main(), &Account::Main, (nodes, &board.levels), draft);
    settle_main(diagram, &supplied, &below, draft);
    board
}

pub(crate) fn supply_account(point: &Point) -> Account {
    let id = point.id.clone();
    match point.role {
        Role::Generator => Account::Generator(id),
        Role::Solar => Account::Solar(id),
        Role::Grid
        | Role::UpsIn
        | Role::UpsOut
        | Role::Pdu
        | Role::Cooling
        | Role::Lighting
        | Role::Other => Account::Grid(id),
    }
}

/// What a point's own meter says.
fn metered(
    inputs: &Inputs<'_>,
    point: &Point,
    meters: &BTreeMap<&SubjectId, &Cell>,
    draft: &mut Draft,
) -> Level {
    let (id, interval_ms) = (point.id.clone(), inputs.interval_ms());
    let Some(meter) = point.meter.clone() else {
        draft.reasons.insert(Reason::NoMeter { point: id });
        return Level::default();
    };
    let typed = match meters.contains_key(&meter) {
        true => None,
        false => inputs.meterbook.cell(&meter, inputs.start, inputs.end),
    };
    let Some(cell) = meters.get(&meter).copied().or(typed.as_ref()) else {
        draft.reasons.insert(Reason::MeterMissing { point: id, meter });
        return Level::default();
    };
    let is_complete = inputs.is_full(cell);
    if !is_complete {
        let covered_ms = cell.covered_ms();
        draft.reasons.insert(Reason::MeterPartial { point: id, meter, covered_ms, interval_ms });
    }
    Level { energy: *cell.energy(), is_complete }
}

/// Flows from a feeder to the points and nodes directly below it.
fn feed_below(
    diagram: &Diagram,
    feeder: &PointId,
    account: &Account,
    (nodes, levels): (&BTreeMap<&NodeId, Level>, &BTreeMap<&PointId, Level>),
    draft: &mut Draft,
) -> Below {
    let mut below = Below { all_complete: true, ..Below::default() };
    let points = diagram
        .children(feeder)
        .iter()
        .map(|id| (Account::Point(id.clone()), levels.get(id).copied().unwrap_or_default()));
    let nodes = diagram
        .nodes_of(feeder)
        .iter()
        .map(|id| (Account::Node(id.clone()), nodes.get(id).copied().unwrap_or_default()));
    for (child, level) in points.chain(nodes) {
        draft.flow(account, &child, &level.energy);
        below.energy.add_all(&level.energy);
        below.count = below.count.saturating_add(1);
        below.all_complete &= level.is_complete;
    }
    below
}

/// Decides what a point takes, and books its rest or what it lacks.
fn settle(
    point: &Point,
    own: Level,
    below: &Below,
    board: &mut Board<'_>,
    draft: &mut Draft,
) -> Level {
    let account = Account::Point(point.id.clone());
    let children = below.energy.total();
    if !own.is_complete && own.energy.total() < children {
        return Level { energy: below.energy, is_complete: false };
    }
    match own.energy.total().checked_sub(children) {
        Some(rest) => {
            // A load without anything below keeps the class of its meter.
            let is_leaf = below.count == 0;
            let rest = if is_leaf { own.energy } else { ByClass::of(Class::Derived, rest) };
            draft.flow(&account, &rest_account(point, below), &rest);
        }
        None => {
            let lacking = children.abs_diff(own.energy.total());
            let energy = ByClass::of(Class::Derived, lacking);
            let source = lack_account(point, lacking, board, draft);
            draft.flow(&source, &account, &energy);
        }
    }
    own
}

/// Where the rest of a point goes: what its meter shows beyond those below.
fn rest_account(point: &Point, below: &Below) -> Account {
    let id = point.id.clone();
    let is_explained = below.count > 0 && below.all_complete;
    match point.role {
        Role::Cooling => Account::Cooling(id),
        Role::Lighting => Account::Lighting(id),
        Role::Other => Account::Other(id),
        Role::UpsIn if is_explained => Account::LossUps(id),
        Role::UpsOut | Role::Pdu if is_explained => Account::LossDistribution(id),
        Role::UpsIn | Role::UpsOut | Role::Pdu | Role::Grid | Role::Generator | Role::Solar => {
            Account::Unmetered(id)
        }
    }
}

/// Where it comes from when those below took more than a complete meter shows.
fn lack_account(point: &Point, lacking: u128, board: &mut Board<'_>, draft: &mut Draft) -> Account {
    if point.role == Role::UpsIn {
        board.store_drawn = board.store_drawn.saturating_add(lacking);
        return Account::Store(point.id.clone());
    }
    let (id, millijoules) = (point.id.clone(), lacking);
    draft.reasons.insert(Reason::Dispute { point: id.clone(), millijoules });
    Account::Dispute(id)
}

fn settle_main(diagram: &Diagram, supplied: &Level, below: &Below, draft: &mut Draft) {
    let (given, taken) = (supplied.energy.total(), below.energy.total());
    let main = diagram.main().clone();
    match given.checked_sub(taken) {
        Some(rest) => {
            let rest = ByClass::of(Class::Derived, rest);
            draft.flow(&Account::Main, &Account::Unmetered(main), &rest);
        }
        None => {
            let millijoules = taken.abs_diff(given);
            let lack = ByClass::of(Class::Derived, millijoules);
            if supplied.is_complete {
                let reason = Reason::Dispute { point: main.clone(), millijoules };
                draft.reasons.insert(reason);
                draft.flow(&Account::Dispute(main), &Account::Main, &lack);
            } else {
                draft.flow(&Account::Missing(main), &Account::Main, &lack);
            }
        }
    }
}

fn note_silent(diagram: &Diagram, nodes: &BTreeMap<&NodeId, Level>, draft: &mut Draft) {
    for node in diagram.nodes().keys().filter(|node| !nodes.contains_key(node)) {
        draft.reasons.insert(Reason::NodeSilent { node: node.clone() });
    }
}

/// Nodes that no diagram places are supplied apart, outside PUE.
pub(super) fn feed_unplaced(
    nodes: &BTreeMap<&NodeId, Level>,
    diagram: Option<&Diagram>,
    draft: &mut Draft,
) {
    for (id, level) in nodes {
        let node = NodeId::clone(id);
        if diagram.is_some_and(|diagram| diagram.nodes().contains_key(&node)) {
            continue;
        }
        let account = Account::Unplaced(node.clone());
        draft.flow(&account, &Account::Node(node.clone()), &level.energy);
        draft.reasons.insert(Reason::NodeUnplaced { node });
    }
}
