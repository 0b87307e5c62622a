//! The tables of points and meters, and what each meter adds to the uncertainty.

use std::collections::BTreeMap;

use bijli_ledger::pue::{Counted, MeterShare, Relative, Term};
use bijli_ledger::{Diagram, Meter, Pue};
use bijli_wire::{SubjectId, UtcMillis};

use super::figures::{Figures, wide};
use super::table::{Cell, Table};
use crate::diagram::tree::Of;
use crate::diagram::{Plan, PlanPoint};

pub(super) fn points(figures: &Figures, plan: &Plan) -> Table {
    let columns = [
        ("number", "No."),
        ("point", "Point"),
        ("role", "Role"),
        ("fed_by", "Fed by"),
        ("meter", "Meter"),
        ("is_it", ""),
        ("energy_mj", "Energy"),
    ];
    let rows = plan.rows().into_iter().filter_map(|row| match row.of {
        Of::Point { point, is_it } => Some((point, is_it)),
        Of::Board | Of::Nodes { .. } => None,
    });
    let row = |(place, (point, is_it)): (usize, (PlanPoint, bool))| {
        let feeder = match (point.role.is_supply(), &point.fed_by) {
            (true, _) => Cell::Missing,
            (false, Some(feeder)) => Cell::text(feeder.clone()),
            (false, None) => Cell::Word("main board"),
        };
        vec![
            Cell::Count(wide(place + 1)),
            Cell::text(point.id.clone()),
            Cell::Word(point.role.word()),
            feeder,
            Cell::some(&point.meter),
            Cell::Flag(is_it),
            Cell::Energy(figures.points.get(&point.id).copied().unwrap_or(0)),
        ]
    };
    Table::new("points", &columns, rows.enumerate().map(row).collect())
}

pub(super) fn meters(figures: &Figures, plan: &Plan) -> Table {
    let columns = [
        ("number", "No."),
        ("point", "Point"),
        ("meter", "Meter"),
        ("make", "Make"),
        ("model", "Model"),
        ("serial", "Serial"),
        ("class", "Class"),
        ("standard", "Standard"),
        ("ct_ratio", "CT"),
        ("ct_class", "CT class"),
        ("certificate", "Certificate"),
        ("laboratory", "Laboratory"),
        ("calibrated", "Calibrated"),
        ("calibration_due", "Due"),
        ("is_overdue", ""),
        ("counted_mj", "Counted"),
    ];
    let diagram = plan.diagram().ok().flatten();
    let described = |id: &str| -> Meter {
        let meters = diagram.as_ref().map(Diagram::meters);
        let id = SubjectId::new(id).ok();
        let meter = id.and_then(|id| meters.and_then(|meters| meters.get(&id)));
        meter.cloned().unwrap_or_default()
    };
    let last = figures.offset.date(UtcMillis::new(figures.to.get() - 1));
    let row = |Installed { number, point, meter }: Installed| {
        let Meter { make, model, serial, class, standard, .. } = described(&meter);
        let Meter { ct_ratio, ct_class, certificate, laboratory, .. } = described(&meter);
        let Meter { calibrated, calibration_due, .. } = described(&meter);
        let counted = point.as_ref().and_then(|point| figures.points.get(point)).copied();
        vec![
            number.map_or(Cell::Missing, |number| Cell::Count(wide(number))),
            Cell::some(&point),
            Cell::text(meter),
            Cell::some(&make),
            Cell::some(&model),
            Cell::some(&serial),
            Cell::some(&class),
            Cell::some(&standard),
            Cell::some(&ct_ratio),
            Cell::some(&ct_class),
            Cell::some(&certificate),
            Cell::some(&laboratory),
            Cell::some(&calibrated),
            Cell::some(&calibration_due),
            calibration_due.map_or(Cell::Missing, |due| Cell::Flag(due < last)),
            point.map_or(Cell::Missing, |_| Cell::Energy(counted.unwrap_or(0))),
        ]
    };
    Table::new("meters", &columns, installed(plan).into_iter().map(row).collect())
}

/// A meter, and where it hangs: at a point, or in a node.
struct Installed {
    number: Option<usize>,
    point: Option<String>,
    meter: String,
}

/// By the number of the point; those of nodes last.
fn installed(plan: &Plan) -> Vec<Installed> {
    let numbered = numbers(plan);
    let at_point = |point: &PlanPoint| {
        let (number, meter) = (numbered.get(&point.id).copied(), point.meter.clone()?);
        Some(Installed { number, point: Some(point.id.clone()), meter })
    };
    let is_node = |id: &str| plan.nodes.iter().any(|node| node.id == id);
    let of_nodes = plan.meters.iter().filter(|meter| is_node(&meter.id));
    let of_nodes = of_nodes.map(|meter| {
        let (number, point) = (None, None);
        Installed { number, point, meter: meter.id.clone() }
    });
    let mut all: Vec<Installed> = plan.points.iter().filter_map(at_point).chain(of_nodes).collect();
    all.sort_by_key(|one| one.number.unwrap_or(usize::MAX));
    all
}

/// Points by their number in the diagram.
pub(super) fn numbers(plan: &Plan) -> BTreeMap<String, usize> {
    let rows = plan.rows().into_iter().filter_map(|row| match row.of {
        Of::Point { point, .. } => Some(point.id),
        Of::Board | Of::Nodes { .. } => None,
    });
    rows.zip(1..).collect()
}

/// What each meter of both terms adds to the uncertainty.
pub(super) fn uncertainty(figures: &Figures) -> Table {
    let columns = [
        ("term", "Term"),
        ("meter", "Meter"),
        ("energy_mj", "Counted"),
        ("weight_ppm", "Weight, ppm"),
        ("class_limit_ppm", "Class limit, ppm"),
        ("ct_limit_ppm", "CT limit, ppm"),
        ("standard_ppb", "u of the chain, ppb"),
        ("not_stated", "Not stated"),
    ];
    let Ok(pue) = &figures.pue else { return Table::new("uncertainty", &columns, Vec::new()) };
    let row = |share: &MeterShare| {
        let whole = if share.term == Term::Total { pue.total } else { pue.it };
        let weight = share.millijoules.saturating_mul(1_000_000).checked_div(whole).unwrap_or(0);
        let limits = share.meter.as_ref().map_or(Err("has no class"), Meter::limits);
        let of = |ppm: u32| Cell::Count(ppm.into());
        vec![
            Cell::text(share.term.to_string()),
            Cell::text(share.id.to_string()),
            Cell::Energy(share.millijoules),
            Cell::Count(u64::try_from(weight).unwrap_or(u64::MAX)),
            limits.map_or(Cell::Missing, |limits| of(limits.meter_ppm)),
            limits.map_or(Cell::Missing, |limits| of(limits.ct_ppm)),
            limits.map_or(Cell::Missing, |limits| {
                Cell::Count(u64::try_from(limits.standard_ppt() / 1_000).unwrap_or(u64::MAX))
            }),
            limits.err().map_or(Cell::Missing, Cell::Word),
        ]
    };
    Table::new("uncertainty", &columns, pue.meters.iter().map(row).collect())
}

/// Relative standard uncertainty of a term, both bounds; `None`: it is not stated.
pub(super) fn of_term(pue: &Pue, term: Term) -> Option<Relative> {
    let (whole, estimated) = match term {
        Term::Total => (pue.total, pue.total_estimated()),
        Term::It => (pue.it, pue.it_estimated),
    };
    pue.uncertainty.as_ref().ok()?;
    let of_term = pue.meters.iter().filter(|share| share.term == term && share.millijoules > 0);
    let counted = of_term.map(|share| {
        let limits = share.meter.as_ref()?.limits().ok()?;
        Some(Counted { millijoules: share.millijoules, limits })
    });
    let counted: Vec<_> = counted.collect::<Option<_>>()?;
    debug_assert_eq!(counted.iter().map(|one| one.millijoules).sum::<u128>(), whole);
    Some(Relative::of(&counted, estimated, pue.policy.estimate_doubt_ppm))
}
