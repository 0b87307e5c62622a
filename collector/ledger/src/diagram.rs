//! The single-line diagram that an operator declares: which meter feeds which.
//!
//! # Invariants
//! - A [`Diagram`] in hand is a tree below the one main board: supplies feed the board and are fed
//!   by nothing; every other point is fed by a known point or the board; no cycles; no meter is
//!   used twice; every UPS input has exactly one UPS output below it.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use bijli_wire::id::IdError;
use bijli_wire::{NodeId, SubjectId};

use crate::meter::Meter;
use crate::pue::PuePolicy;

/// A point of the diagram. The same characters as any other name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PointId(SubjectId);

/// The board that all supplies feed. A point may not have this name; it may be `fed_by` it.
pub const MAIN: &str = "main";

impl PointId {
    /// # Errors
    /// Says which rule of names it breaks.
    pub fn new(name: &str) -> Result<Self, IdError> {
        SubjectId::new(name).map(Self)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PointId {
    type Err = IdError;
    fn from_str(name: &str) -> Result<Self, IdError> {
        Self::new(name)
    }
}

/// What a point is for. Append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    Grid,
    Generator,
    Solar,
    UpsIn,
    UpsOut,
    Pdu,
    Cooling,
    Lighting,
    Other,
}

impl Role {
    pub const ALL: [Self; 9] = [
        Self::Grid,
        Self::Generator,
        Self::Solar,
        Self::UpsIn,
        Self::UpsOut,
        Self::Pdu,
        Self::Cooling,
        Self::Lighting,
        Self::Other,
    ];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Generator => "generator",
            Self::Solar => "solar",
            Self::UpsIn => "ups_in",
            Self::UpsOut => "ups_out",
            Self::Pdu => "pdu",
            Self::Cooling => "cooling",
            Self::Lighting => "lighting",
            Self::Other => "other",
        }
    }

    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    #[must_use]
    pub const fn is_supply(self) -> bool {
        matches!(self, Self::Grid | Self::Generator | Self::Solar)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Where IT energy is measured for PUE (ISO/IEC 30134-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Category {
    /// 1: UPS output.
    UpsOutput,
    /// 2: PDU output.
    PduOutput,
    /// 3: input of the IT equipment.
    ItInput,
}

impl Category {
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::UpsOutput => 1,
            Self::PduOutput => 2,
            Self::ItInput => 3,
        }
    }

    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::UpsOutput),
            2 => Some(Self::PduOutput),
            3 => Some(Self::ItInput),
            _ => None,
        }
    }
}

/// One point of the diagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    pub id: PointId,
    pub role: Role,
    /// The meter that counts at this point; `None`: nobody counts here.
    pub meter: Option<SubjectId>,
    /// The point above; `None` for supplies, and for whatever hangs on the main board.
    pub fed_by: Option<PointId>,
}

/// Why a diagram was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiagramError {
    #[error("point {point} is declared twice")]
    PointTwice { point: PointId },
    #[error("no point may be named {MAIN:?}: that is the board that all supplies feed")]
    NamedMain,
    #[error("meter {meter} counts at both {first} and {second}")]
    MeterTwice { meter: SubjectId, first: PointId, second: PointId },
    #[error("point {point} is fed by {feeder}, which is not declared")]
    UnknownFeeder { point: PointId, feeder: PointId },
    #[error("point {point} is fed by {feeder}, a supply: supplies feed the main board only")]
    FedBySupply { point: PointId, feeder: PointId },
    #[error("supply {point} is fed by {feeder}: a supply is fed by nothing")]
    SupplyFed { point: PointId, feeder: PointId },
    #[error("points feed each other in a circle: {}", circle(.points))]
    Cycle { points: Vec<PointId> },
    #[error("UPS input {point} feeds {outputs} UPS outputs; it needs exactly one")]
    UpsPair { point: PointId, outputs: usize },
    #[error("node {node} is fed by {feeder}, which is not declared")]
    NodeFeederUnknown { node: NodeId, feeder: PointId },
    #[error("node {node} is fed by {feeder}, a supply: supplies feed the main board only")]
    NodeFedBySupply { node: NodeId, feeder: PointId },
    #[error("PUE category {} is declared, but no grid, generator or solar point has a meter", .category.number())]
    NoSupplyMeter { category: Category },
    #[error("meter {meter} is described, but it counts at no point, and is no placed node's own")]
    UnknownMeter { meter: SubjectId },
}

fn circle(points: &[PointId]) -> String {
    let mut names: Vec<&str> = points.iter().map(PointId::as_str).collect();
    names.extend(points.first().map(PointId::as_str));
    names.join(" -> ")
}

/// A checked diagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagram {
    points: BTreeMap<PointId, Point>,
    nodes: BTreeMap<NodeId, PointId>,
    category: Category,
    /// By feeder; the main board under its reserved name.
    children: BTreeMap<PointId, Vec<PointId>>,
    nodes_of: BTreeMap<PointId, Vec<NodeId>>,
    /// Every fed point, children before their feeders.
    upward: Vec<PointId>,
    main: PointId,
    /// What is declared of meters, of those that anything is.
    meters: BTreeMap<SubjectId, Meter>,
    policy: PuePolicy,
}

impl Diagram {
    /// # Errors
    /// Says which rule the diagram breaks, and where.
    pub fn new(
        points: Vec<Point>,
        nodes: BTreeMap<NodeId, PointId>,
        category: Category,
    ) -> Result<Self, DiagramError> {
        let main = PointId::new(MAIN).expect("the reserved name is a name");
        let points = unique(points, &main)?;
        check_feeders(&points, &main)?;
        check_nodes(&points, &nodes, &main)?;
        let mut children: BTreeMap<PointId, Vec<PointId>> = BTreeMap::new();
        for point in points.values().filter(|point| !point.role.is_supply()) {
            let feeder = point.fed_by.clone().unwrap_or_else(|| main.clone());
            children.entry(feeder).or_default().push(point.id.clone());
        }
        let upward = upward(&points, &children, &main)?;
        check_ups_pairs(&points, &children)?;
        let metered = |point: &Point| point.role.is_supply() && point.meter.is_some();
        if !points.values().any(metered) {
            return Err(DiagramError::NoSupplyMeter { category });
        }
        let mut nodes_of: BTreeMap<PointId, Vec<NodeId>> = BTreeMap::new();
        for (node, feeder) in &nodes {
            nodes_of.entry(feeder.clone()).or_default().push(node.clone());
        }
        let (meters, policy) = (BTreeMap::new(), PuePolicy::default());
        Ok(Self { points, nodes, category, children, nodes_of, upward, main, meters, policy })
    }

    /// The same with what is declared of its meters, and of its PUE.
    ///
    /// # Errors
    /// A meter is described that is none of the diagram's.
    pub fn with(
        self,
        meters: BTreeMap<SubjectId, Meter>,
        policy: PuePolicy,
    ) -> Result<Self, DiagramError> {
        let counts = |meter: &SubjectId| {
            self.points.values().any(|point| point.meter.as_ref() == Some(meter))
                || self.nodes.keys().any(|node| node.as_str() == meter.as_str())
        };
        match meters.keys().find(|meter| !counts(meter)) {
            Some(meter) => Err(DiagramError::UnknownMeter { meter: meter.clone() }),
            None => Ok(Self { meters, policy, ..self }),
        }
    }

    /// What is declared of meters, of those that anything is.
    #[must_use]
    pub fn meters(&self) -> &BTreeMap<SubjectId, Meter> {
        &self.meters
    }

    #[must_use]
    pub fn policy(&self) -> &PuePolicy {
        &self.policy
    }

    #[must_use]
    pub fn category(&self) -> Category {
        self.category
    }

    pub fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.values()
    }

    #[must_use]
    pub fn point(&self, id: &PointId) -> Option<&Point> {
        self.points.get(id)
    }

    /// Which point feeds which node.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<NodeId, PointId> {
        &self.nodes
    }

    /// The points directly below `feeder`; ask for [`Diagram::main`] to get the board's.
    #[must_use]
    pub fn children(&self, feeder: &PointId) -> &[PointId] {
        self.children.get(feeder).map_or(&[], Vec::as_slice)
    }

    /// The nodes directly below `feeder`.
    #[must_use]
    pub fn nodes_of(&self, feeder: &PointId) -> &[NodeId] {
        self.nodes_of.get(feeder).map_or(&[], Vec::as_slice)
    }

    /// The reserved name of the main board.
    #[must_use]
    pub fn main(&self) -> &PointId {
        &self.main
    }

    /// Every fed point, children before their feeders.
    pub(crate) fn upward(&self) -> impl Iterator<Item = &Point> {
        self.upward.iter().filter_map(|id| self.points.get(id))
    }

    /// The points above `id`, nearest first, without the main board.
    pub(crate) fn above<'a>(&'a self, id: &PointId) -> impl Iterator<Item = &'a Point> {
        let feeder = |id: &PointId| {
            let feeder = self.points.get(id)?.fed_by.as_ref()?;
            self.points.get(feeder)
        };
        std::iter::successors(feeder(id), move |point| feeder(&point.id))
    }

    /// The points where IT energy is measured: of the category's role, and none above another.
    /// None of category 3, which measures at the nodes.
    #[must_use]
    pub fn it_points(&self) -> Vec<&Point> {
        let role = match self.category {
            Category::UpsOutput => Role::UpsOut,
            Category::PduOutput => Role::Pdu,
            Category::ItInput => return Vec::new(),
        };
        let is_outermost =
            |point: &&Point| point.role == role && self.above(&point.id).all(|p| p.role != role);
        self.points.values().filter(is_outermost).collect()
    }
}

fn unique(points: Vec<Point>, main: &PointId) -> Result<BTreeMap<PointId, Point>, DiagramError> {
    let mut by_id = BTreeMap::new();
    let mut meters: BTreeMap<SubjectId, PointId> = BTreeMap::new();
    for point in points {
        if point.id == *main {
            return Err(DiagramError::NamedMain);
        }
        if let Some(meter) = &point.meter
            && let Some(first) = meters.insert(meter.clone(), point.id.clone())
        {
            let (meter, second) = (meter.clone(), point.id);
            return Err(DiagramError::MeterTwice { meter, first, second });
        }
        let id = point.id.clone();
        if by_id.insert(id.clone(), point).is_some() {
            return Err(DiagramError::PointTwice { point: id });
        }
    }
    Ok(by_id)
}

fn check_feeders(points: &BTreeMap<PointId, Point>, main: &PointId) -> Result<(), DiagramError> {
    for point in points.values() {
        let Some(feeder) = &point.fed_by else { continue };
        let (id, feeder) = (point.id.clone(), feeder.clone());
        if point.role.is_supply() {
            return Err(DiagramError::SupplyFed { point: id, feeder });
        }
        match points.get(&feeder) {
            Some(above) if above.role.is_supply() => {
                return Err(DiagramError::FedBySupply { point: id, feeder });
            }
            None if feeder != *main => {
                return Err(DiagramError::UnknownFeeder { point: id, feeder });
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

fn check_nodes(
    points: &BTreeMap<PointId, Point>,
    nodes: &BTreeMap<NodeId, PointId>,
    main: &PointId,
) -> Result<(), DiagramError> {
    for (node, feeder) in nodes {
        let (node, feeder) = (node.clone(), feeder.clone());
        match points.get(&feeder) {
            Some(above) if above.role.is_supply() => {
                return Err(DiagramError::NodeFedBySupply { node, feeder });
            }
            None if feeder != *main => {
                return Err(DiagramError::NodeFeederUnknown { node, feeder });
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Every fed point with children before feeders. What is not reached from the board is a circle.
fn upward(
    points: &BTreeMap<PointId, Point>,
    children: &BTreeMap<PointId, Vec<PointId>>,
    main: &PointId,
) -> Result<Vec<PointId>, DiagramError> {
    let mut downward = Vec::new();
    let mut waiting = vec![main.clone()];
    while let Some(feeder) = waiting.pop() {
        let below = children.get(&feeder).map_or(&[][..], Vec::as_slice);
        waiting.extend(below.iter().cloned());
        downward.extend(below.iter().cloned());
    }
    let reached: BTreeSet<&PointId> = downward.iter().collect();
    let lost = points.values().find(|p| !p.role.is_supply() && !reached.contains(&p.id));
    if let Some(lost) = lost {
        return Err(DiagramError::Cycle { points: walk_cycle(points, &lost.id) });
    }
    downward.reverse();
    Ok(downward)
}

/// Going up from a point that does not reach the board ends in a circle; only the circle is named.
fn walk_cycle(points: &BTreeMap<PointId, Point>, from: &PointId) -> Vec<PointId> {
    let mut path: Vec<PointId> = Vec::new();
    let mut at = Some(from);
    while let Some(id) = at {
        if let Some(first) = path.iter().position(|seen| seen == id) {
            return path.split_off(first);
        }
        path.push(id.clone());
        at = points.get(id).and_then(|point| point.fed_by.as_ref());
    }
    path
}

fn check_ups_pairs(
    points: &BTreeMap<PointId, Point>,
    children: &BTreeMap<PointId, Vec<PointId>>,
) -> Result<(), DiagramError> {
    let is_output = |id: &&PointId| points.get(*id).is_some_and(|p| p.role == Role::UpsOut);
    for input in points.values().filter(|point| point.role == Role::UpsIn) {
        let below = children.get(&input.id).map_or(&[][..], Vec::as_slice);
        let outputs = below.iter().filter(is_output).count();
        if outputs != 1 {
            return Err(DiagramError::UpsPair { point: input.id.clone(), outputs });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> PointId {
        PointId::new(name).expect("a name")
    }

    fn point(name: &str, role: Role, fed_by: &str) -> Point {
        let fed_by = (!fed_by.is_empty()).then(|| id(fed_by));
        Point { id: id(name), role, meter: Some(SubjectId::new(name).expect("a name")), fed_by }
    }

    fn check(points: Vec<Point>, refused: &str) {
        let words = match Diagram::new(points, BTreeMap::new(), Category::PduOutput) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert!(words.contains(refused) && words.is_empty() == refused.is_empty(), "{words}");
    }

    #[test]
    fn what_a_diagram_may_not_be_is_refused_in_words() {
        let grid = || point("grid", Role::Grid, "");
        check(vec![grid(), point("p", Role::Pdu, "")], "");
        check(vec![grid(), point("p", Role::Pdu, "main")], "");
        check(vec![grid(), point("p", Role::Pdu, "x")], "fed by x, which is not declared");
        check(vec![grid(), point("p", Role::Pdu, "grid")], "supplies feed the main board only");
        check(vec![point("s", Role::Solar, "main")], "a supply is fed by nothing");
        check(vec![grid(), grid()], "meter grid counts at both");
        let twice = Point { meter: None, ..grid() };
        check(vec![grid(), twice], "declared twice");
        check(vec![grid(), point("main", Role::Pdu, "")], "no point may be named");
        check(vec![point("p", Role::Pdu, "")], "category 2 is declared, but no grid");
        check(vec![grid(), point("u", Role::UpsIn, "")], "feeds 0 UPS outputs");
    }

    #[test]
    fn a_circle_is_named() {
        let points = vec![
            point("grid", Role::Grid, ""),
            point("a", Role::Pdu, "b"),
            point("b", Role::Pdu, "c"),
            point("c", Role::Pdu, "b"),
        ];
        check(points, "circle: b -> c -> b");
    }

    #[test]
    fn children_come_before_their_feeders_and_it_is_measured_once() {
        let points = vec![
            point("grid", Role::Grid, ""),
            point("a", Role::Pdu, ""),
            point("b", Role::Pdu, "a"),
            point("c", Role::Cooling, ""),
        ];
        let nodes = [(NodeId::new("n").expect("a name"), id("b"))].into();
        let diagram = Diagram::new(points, nodes, Category::PduOutput).expect("sound");
        let upward: Vec<_> = diagram.upward().map(|p| p.id.as_str()).collect();
        let place = |name| upward.iter().position(|p| *p == name).expect("listed");
        assert!(place("b") < place("a") && upward.len() == 3);
        let it: Vec<_> = diagram.it_points().iter().map(|p| p.id.as_str()).collect();
        assert_eq!(it, ["a"], "a PDU below a PDU is not counted again");
        assert_eq!(diagram.nodes_of(&id("b")).len(), 1);
        assert_eq!(diagram.above(&id("b")).count(), 1);
    }
}
