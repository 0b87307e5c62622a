//! The single-line diagram as inline SVG: the tree from the top down, one line to a row, so that it
//! fits a telephone. Colours are classes of the style sheet.

use std::collections::BTreeMap;

use bijli_wire::units::human_energy;
use maud::{Markup, html};

use super::place::Flows;
use super::svg::shorten;
use crate::diagram::tree::{Carried, Of, Row, nodes};

/// Width of the drawing, in pixels of its own: that of a telephone.
const WIDTH: usize = 360;
/// Height of a row: two lines of text.
const ROW: usize = 42;
/// From one level to the next.
const STEP: usize = 16;
/// Characters of one line that certainly fit.
const LETTERS: usize = 46;
/// A longer tree is no drawing any more; `/v1/hubs/{hub}/diagram` has all of it.
const ROWS_MAX: usize = 120;

pub(super) fn svg(rows: &[Row], flows: Option<&Flows>, hub: &str) -> Markup {
    numbered(rows, flows, hub, &BTreeMap::new())
}

/// The same with a number before each point that has one.
pub(crate) fn numbered(
    rows: &[Row],
    flows: Option<&Flows>,
    hub: &str,
    numbers: &BTreeMap<String, usize>,
) -> Markup {
    let carried = flows.map(Carried::of).unwrap_or_default();
    let shown: Vec<&Row> = rows.iter().take(ROWS_MAX).collect();
    let view = format!("0 0 {WIDTH} {}", shown.len() * ROW + 4);
    let (title, words) = (format!("line-{hub}"), format!("words-{hub}"));
    html! {
        svg.line viewBox=(view) role="img" aria-labelledby={ (title) " " (words) } {
            title id=(title) { "Single-line diagram: what feeds what" }
            desc id=(words) { @for row in &shown { (spoken(row, &carried)) ". " } }
            @for (place, row) in shown.iter().enumerate() {
                (wires(row, place))
                (label(row, place, carried.at(&row.of), numbers))
            }
        }
        @if rows.len() > ROWS_MAX { p.hint { "and " (rows.len() - ROWS_MAX) " more lines" } }
    }
}

/// The lines that lead to a row: down past it for each level that goes on, and across to it.
fn wires(row: &Row, place: usize) -> Markup {
    let (top, middle) = (place * ROW, place * ROW + 17);
    let x = |level: usize| level * STEP + 7;
    let last = row.follows.len().checked_sub(1);
    html! {
        @for (level, follows) in row.follows.iter().enumerate() {
            @if Some(level) == last {
                @let end = if *follows { top + ROW } else { middle };
                path.wire d=(format!("M{0} {top}V{end}M{0} {middle}H{1}", x(level), x(level) + 11)) {}
            } @else if *follows {
                path.wire d=(format!("M{} {top}V{}", x(level), top + ROW)) {}
            }
        }
    }
}

fn label(
    row: &Row,
    place: usize,
    energy: Option<u128>,
    numbers: &BTreeMap<String, usize>,
) -> Markup {
    let number = match &row.of {
        Of::Point { point, .. } => numbers.get(&point.id),
        Of::Board | Of::Nodes { .. } => None,
    };
    let named = number.map_or_else(|| name(row), |number| format!("{number} · {}", name(row)));

    let x = row.depth * STEP + 4;
    let (first, second) = (place * ROW + 21, place * ROW + 36);
    let room = LETTERS.saturating_sub(row.depth * 2);
    html! {
        g {
            circle.dot-off[row.is_bare()].dot-on[!row.is_bare()] cx=(x + 3) cy=(first - 4) r="4" {}
            text.name x=(x + 13) y=(first) { (shorten(&named, room.saturating_sub(14))) }
            text.amount.end x=(WIDTH) y=(first) { (energy.map_or_else(|| "–".to_owned(), human_energy)) }
            text.amount x=(x + 13) y=(second) { (shorten(&below(row), room)) }
        }
    }
}

impl Row {
    /// A point without a meter.
    fn is_bare(&self) -> bool {
        matches!(&self.of, Of::Point { point, .. } if point.meter.is_none())
    }
}

fn name(row: &Row) -> String {
    match &row.of {
        Of::Board => "main board".to_owned(),
        Of::Point { point, .. } => point.id.clone(),
        Of::Nodes { ids, .. } if ids.len() > 1 => format!("{} nodes", ids.len()),
        Of::Nodes { ids, .. } => nodes(ids),
    }
}

/// What stands below the name.
fn below(row: &Row) -> String {
    let it = |is_it: bool| if is_it { "IT of PUE · " } else { "" };
    match &row.of {
        Of::Board => "all supplies together".to_owned(),
        Of::Point { point, is_it } => {
            let role = point.role.word().replace('_', " ");
            match &point.meter {
                Some(meter) => format!("{role} · {}meter {meter}", it(*is_it)),
                None => format!("{role} · {}no meter", it(*is_it)),
            }
        }
        Of::Nodes { ids, is_it } => match ids.as_slice() {
            [first, .., last] => format!("{}{first} to {last}", it(*is_it)),
            [] | [_] => format!("{}by its own registers", it(*is_it)),
        },
    }
}

/// A row in words, for who cannot see the drawing.
fn spoken(row: &Row, carried: &Carried) -> String {
    let energy = carried.at(&row.of).map_or_else(|| "nothing booked".to_owned(), human_energy);
    let fed = match &row.of {
        Of::Point { point, .. } if point.role.is_supply() => ", feeds the main board".to_owned(),
        Of::Point { point, .. } => {
            format!(", fed by {}", point.fed_by.as_deref().unwrap_or("the main board"))
        }
        Of::Board | Of::Nodes { .. } => String::new(),
    };
    format!("{}: {}{fed}, {energy}", name(row), below(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::hub::plan;
    use crate::page::place::tests::flows;

    #[test]
    fn every_point_is_drawn_named_and_spoken_of_with_its_energy() {
        let mut plan = plan();
        plan.points[5].meter = None;
        let flows = flows("grid:incomer -> main 3600000\nmain -> point:ups-in 1800000");
        let text = svg(&plan.rows(), Some(&flows), "isb").into_string();
        for words in ["incomer", "ups out · IT of PUE · meter m-ups-out", "1.000 Wh", "1800.000 J"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
        let spoken = "lights: lighting · no meter, fed by the main board, nothing booked. ";
        assert!(text.contains(spoken), "{text}");
        assert_eq!(text.matches("dot-off").count(), 1, "what has no meter is marked");
        assert!(!text.contains("style=") && !text.contains("<script"));
    }

    #[test]
    fn a_long_tree_is_cut_and_says_so() {
        let mut plan = plan();
        for number in 0..200 {
            let point = plan.points[5].clone();
            plan.points.push(crate::diagram::PlanPoint { id: format!("l{number}"), ..point });
        }
        let text = svg(&plan.rows(), None, "isb").into_string();
        assert!(text.contains("more lines") && text.len() < 60_000, "{} bytes", text.len());
    }
}
