//! The single-line diagram as rows of a tree: in the terminal, and what the page draws.

use std::collections::BTreeMap;

use bijli_ledger::diagram::MAIN;
use bijli_ledger::{Account, PointId};
use bijli_wire::NodeId;

use super::{Plan, PlanPoint, PlanRole};

/// One line of the tree, from the supplies down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub of: Of,
    /// How deep below the board; 0: the supplies and the board itself.
    pub depth: usize,
    /// Whether something follows on its own level, and on that of each above it, from the outside.
    pub follows: Vec<bool>,
}

/// What a line stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    Point {
        point: PlanPoint,
        /// PUE takes the energy of IT here.
        is_it: bool,
    },
    /// The main board.
    Board,
    /// All nodes of one feeder.
    Nodes { ids: Vec<String>, is_it: bool },
}

/// Beyond it lines are wider than a terminal.
const WIDTH: usize = 80;
const INDENT: &str = "    ";
const NAME_MAX: usize = 27;
const METER_MAX: usize = 18;
/// A circle would never end; no honest diagram is so deep.
const DEPTH_MAX: usize = 32;

impl Plan {
    /// The tree, line by line.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let supplies = self.points.iter().filter(|point| point.role.is_supply());
        let row = |of| Row { of, depth: 0, follows: Vec::new() };
        let mut rows: Vec<Row> =
            supplies.map(|point| row(Of::Point { point: point.clone(), is_it: false })).collect();
        rows.push(row(Of::Board));
        self.branch(None, &[], &mut rows);
        rows
    }

    fn branch(&self, feeder: Option<&str>, above: &[bool], rows: &mut Vec<Row>) {
        if above.len() > DEPTH_MAX {
            return;
        }
        let is_below = |fed_by: Option<&str>| fed_by.filter(|id| *id != MAIN) == feeder;
        let points = self.points.iter().filter(|point| !point.role.is_supply());
        let points: Vec<&PlanPoint> =
            points.filter(|point| is_below(point.fed_by.as_deref())).collect();
        let nodes = self.nodes.iter().filter(|node| is_below(Some(&node.fed_by)));
        let ids: Vec<String> = nodes.map(|node| node.id.clone()).collect();
        let mut left = points.len() + usize::from(!ids.is_empty());
        let mut level = |of| {
            left = left.saturating_sub(1);
            let follows = [above, &[left > 0]].concat();
            rows.push(Row { of, depth: follows.len(), follows: follows.clone() });
            (follows, rows.len())
        };
        if !ids.is_empty() {
            let is_it = self.pue_category == Some(3);
            level(Of::Nodes { ids, is_it });
        }
        let mut below = Vec::new();
        for point in points {
            let is_it = self.is_it(point);
            let (follows, place) = level(Of::Point { point: point.clone(), is_it });
            below.push((point, follows, place));
        }
        // Each point's own rows go right below it: from the last, so that places stay true.
        for (point, follows, place) in below.into_iter().rev() {
            let mut own = Vec::new();
            self.branch(Some(&point.id), &follows, &mut own);
            rows.splice(place..place, own);
        }
    }

    /// Whether PUE takes the energy of IT at a point: of the category's role, and none above it.
    pub(super) fn is_it(&self, point: &PlanPoint) -> bool {
        let wanted = match self.pue_category {
            Some(1) => PlanRole::UpsOut,
            Some(2) => PlanRole::Pdu,
            Some(_) | None => return false,
        };
        point.role == wanted && !self.above(point).any(|above| above.role == wanted)
    }

    /// The points above one, nearest first.
    pub(super) fn above<'a>(&'a self, point: &'a PlanPoint) -> impl Iterator<Item = &'a PlanPoint> {
        let feeder = |point: &PlanPoint| {
            let feeder = point.fed_by.as_deref()?;
            self.points.iter().find(|above| above.id == feeder)
        };
        std::iter::successors(feeder(point), move |point| feeder(point)).take(DEPTH_MAX)
    }

    /// The tree for a terminal: aligned, at most 80 columns, what has no meter marked.
    #[must_use]
    pub fn tree(&self) -> String {
        self.tree_with(|_| String::new())
    }

    /// The same with an amount beside each line.
    #[must_use]
    pub fn tree_with(&self, amount: impl Fn(&Of) -> String) -> String {
        let rows = self.rows();
        let cells: Vec<[String; 5]> = rows.iter().map(|row| row.cells(amount(&row.of))).collect();
        let widths: Vec<usize> = (0..5)
            .map(|column| {
                let points =
                    rows.iter().zip(&cells).filter(|(row, _)| column > 0 || !row.is_nodes());
                let cells = points.filter_map(|(_, cells)| cells.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let lines = rows.iter().zip(&cells).map(|(row, cells)| {
            let line = row.line(cells, &widths);
            cut(format!("{INDENT}{line}").trim_end(), WIDTH)
        });
        let mut text = lines.collect::<Vec<_>>().join("\n");
        let is_it = cells.iter().any(|row| row.iter().any(|cell| cell == IT));
        if let Some(category) = self.pue_category.filter(|_| is_it) {
            text.push_str(&format!(
                "\n{INDENT}{IT}: here PUE category {category} measures IT energy"
            ));
        }
        text
    }
}

/// The column of amounts.
const AMOUNT: usize = 3;
const IT: &str = "IT";

impl Row {
    fn is_nodes(&self) -> bool {
        matches!(self.of, Of::Nodes { .. })
    }

    /// Place, role, mark, amount, meter.
    fn cells(&self, amount: String) -> [String; 5] {
        let mark = |is_it: bool| if is_it { IT } else { "" }.to_owned();
        let lines = self.lines();
        let room = NAME_MAX.saturating_sub(lines.chars().count()).max(8);
        match &self.of {
            Of::Board => {
                ["main board".to_owned(), String::new(), mark(false), amount, String::new()]
            }
            Of::Nodes { ids, is_it } => {
                // Beside amounts there is no room for names.
                let count = format!("{} nodes", ids.len());
                let words = if amount.is_empty() || ids.len() < 2 { nodes(ids) } else { count };
                [format!("{lines}{words}"), String::new(), mark(*is_it), amount, String::new()]
            }
            Of::Point { point, is_it } => {
                let meter = point.meter.as_ref();
                let meter = meter.map_or("! no meter".to_owned(), |meter| cut(meter, METER_MAX));
                let name = format!("{lines}{}", cut(&point.id, room));
                [name, point.role.word().to_owned(), mark(*is_it), amount, meter]
            }
        }
    }

    /// Cells side by side. The words of nodes take the place of their role too.
    fn line(&self, cells: &[String; 5], widths: &[usize]) -> String {
        let named = |width: &usize| if *width > 0 { width + 2 } else { 0 };
        let [first, role, ..] = widths else { return String::new() };
        let cells = cells.iter().zip(widths).enumerate();
        let filled = cells.filter_map(|(column, (cell, width))| match column {
            0 if self.is_nodes() => Some(format!("{cell:0$}", first + named(role))),
            1 if self.is_nodes() => None,
            _ if *width == 0 => None,
            AMOUNT => Some(format!("{cell:>width$}")),
            _ => Some(format!("{cell:width$}")),
        });
        filled.collect::<Vec<_>>().join("  ")
    }

    /// The lines that lead to it.
    fn lines(&self) -> String {
        let Some((own, above)) = self.follows.split_last() else { return String::new() };
        let bars = above.iter().map(|follows| if *follows { "│  " } else { "   " });
        bars.chain([if *own { "├─ " } else { "└─ " }]).collect()
    }
}

/// What lines of the tree carried in a period.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    received: BTreeMap<Account, u128>,
    given: BTreeMap<Account, u128>,
}

impl Carried {
    /// From net flows by giver and receiver.
    #[must_use]
    pub fn of(flows: &BTreeMap<(Account, Account), u128>) -> Self {
        let mut carried = Self::default();
        for ((giver, receiver), energy) in flows {
            let given = carried.given.entry(giver.clone()).or_default();
            *given = given.saturating_add(*energy);
            let received = carried.received.entry(receiver.clone()).or_default();
            *received = received.saturating_add(*energy);
        }
        carried
    }

    /// What came in at a line; `None`: nothing was booked of it, be it that nothing came or that
    /// nobody knows.
    #[must_use]
    pub fn at(&self, of: &Of) -> Option<u128> {
        match of {
            Of::Board => self.received.get(&Account::Main).copied(),
            Of::Nodes { ids, .. } => {
                let known = ids.iter().filter_map(|id| self.node(id));
                known.reduce(u128::saturating_add)
            }
            Of::Point { point, .. } => self.point(point),
        }
    }

    #[must_use]
    pub fn node(&self, id: &str) -> Option<u128> {
        self.received.get(&Account::Node(NodeId::new(id).ok()?)).copied()
    }

    #[must_use]
    pub fn point(&self, point: &PlanPoint) -> Option<u128> {
        let id = PointId::new(&point.id).ok()?;
        match point.role {
            PlanRole::Grid => self.given.get(&Account::Grid(id)).copied(),
            PlanRole::Generator => self.given.get(&Account::Generator(id)).copied(),
            PlanRole::Solar => self.given.get(&Account::Solar(id)).copied(),
            PlanRole::UpsIn
            | PlanRole::UpsOut
            | PlanRole::Pdu
            | PlanRole::Cooling
            | PlanRole::Lighting
            | PlanRole::Other => self.received.get(&Account::Point(id)).copied(),
        }
    }
}

/// Nodes in a few words.
#[must_use]
pub fn nodes(ids: &[String]) -> String {
    match ids {
        [one] => format!("node {one}"),
        [first, second] => format!("2 nodes: {first}, {second}"),
        [first, .., last] => format!("{} nodes: {first} to {last}", ids.len()),
        [] => "no node".to_owned(),
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(more: &str) -> Plan {
        let text = format!("pue_category = 1\n[[point]]\nid = \"inc\"\nrole = \"grid\"\n{more}");
        Plan::from_toml(&text).expect("valid")
    }

    #[test]
    fn branches_are_drawn_and_what_has_no_meter_is_marked() {
        let point = |id: &str, role: &str, fed_by: &str, meter: &str| {
            let rest = [("fed_by", fed_by), ("meter", meter)];
            let rest = rest.iter().filter(|(_, value)| !value.is_empty());
            let rest: String = rest.map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
            format!("[[point]]\nid = \"{id}\"\nrole = \"{role}\"\n{rest}")
        };
        let node = |id: &str| format!("[[node]]\nid = \"{id}\"\nfed_by = \"pdu-1\"\n");
        let points = [
            point("ups", "ups_in", "", "m-1"),
            point("ups-out", "ups_out", "ups", "m-2"),
            point("pdu-1", "pdu", "ups-out", ""),
            point("pdu-2", "pdu", "ups-out", "m-4"),
            point("chiller", "cooling", "main", "m-5"),
            node("n1"),
            node("n2"),
            node("n3"),
        ];
        let tree = [
            "    inc             grid         ! no meter",
            "    main board",
            "    ├─ ups          ups_in       m-1",
            "    │  └─ ups-out   ups_out  IT  m-2",
            "    │     ├─ pdu-1  pdu          ! no meter",
            "    │     │  └─ 3 nodes: n1 to n3",
            "    │     └─ pdu-2  pdu          m-4",
            "    └─ chiller      cooling      m-5",
            "    IT: here PUE category 1 measures IT energy",
        ];
        let plan = plan(&points.concat());
        let drawn = plan.tree();
        assert_eq!(drawn.lines().collect::<Vec<_>>(), tree, "{drawn}");
        let flows = BTreeMap::from([
            (("grid:inc".parse().expect("known"), Account::Main), 5_000),
            ((Account::Main, "point:ups".parse().expect("known")), 4_000),
            (("point:pdu-1".parse().expect("known"), "node:n1".parse().expect("known")), 3_000),
        ]);
        let carried = Carried::of(&flows);
        let drawn = plan.tree_with(|of| carried.at(of).map_or("-".into(), |mj| format!("{mj} mJ")));
        let tree = [
            "    inc             grid         5000 mJ  ! no meter",
            "    main board                   5000 mJ",
            "    ├─ ups          ups_in       4000 mJ  m-1",
            "    │  └─ ups-out   ups_out  IT        -  m-2",
            "    │     ├─ pdu-1  pdu                -  ! no meter",
            "    │     │  └─ 3 nodes          3000 mJ",
            "    │     └─ pdu-2  pdu                -  m-4",
            "    └─ chiller      cooling            -  m-5",
            "    IT: here PUE category 1 measures IT energy",
        ];
        assert_eq!(drawn.lines().collect::<Vec<_>>(), tree, "{drawn}");
    }

    #[test]
    fn long_names_and_deep_trees_stay_within_80_columns() {
        let mut text = String::new();
        for depth in 0..12 {
            let id = format!("{}-{depth}", "p".repeat(60));
            let fed_by = format!("{}-{}", "p".repeat(60), depth - 1);
            let fed_by = if depth == 0 { "main".to_owned() } else { fed_by };
            let meter = "m".repeat(90);
            text.push_str(&format!(
                "[[point]]\nid = \"{id}\"\nrole = \"generator\"\nmeter = \"{meter}\"\n\
                 [[point]]\nid = \"{id}\"\nrole = \"pdu\"\nfed_by = \"{fed_by}\"\n\
                 [[node]]\nid = \"{id}\"\nfed_by = \"{id}\"\n"
            ));
        }
        let drawn = plan(&text).tree();
        assert!(drawn.lines().count() > 24);
        let wide = plan(&text).tree_with(|_| "1000.000 MWh".to_owned());
        for line in drawn.lines().chain(wide.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
