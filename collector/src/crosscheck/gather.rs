//! All checks of one hub, from what is under its locks: one lock at a time.

use bijli_ledger::{Books, PointId};
use bijli_wire::{Quantity, SubjectKind, UtcMillis};

use super::instant::{self, Water};
use super::{Band, Finding, Kind, Measured, Unit, bill, tree};
use crate::api::closed;
use crate::api::fleet::{self, Node, Registers, Subject};
use crate::api::nodes::point_of;
use crate::diagram::Plan;
use crate::state::Hub;

/// Losses are of the newest closed hour: long enough for registers that count in tenths of a kWh.
const HOUR_MS: i64 = 3_600_000;
/// Smaller offsets of a clock are left as they are (`ingest/correction.rs`).
const CLOCK: Band =
    Band { low: -2_000, high: 2_000, source: "beyond it the collector corrects a node's times" };

/// Every check of a hub, failed ones first.
#[must_use]
pub fn findings(hub: &Hub, now: UtcMillis) -> Vec<Finding> {
    let plan = hub.view().plan.clone();
    let nodes = fleet::nodes(hub, now);
    let registers = fleet::registers(hub);
    let mut findings = of_books(hub, &hub.books(), &plan);
    let scene = Scene { hub, plan: &plan, nodes: &nodes, registers: &registers, now };
    for node in nodes.iter().filter(|node| node.is_up) {
        findings.push(clock(node));
        for meter in node.of_kind(SubjectKind::Meter) {
            findings.extend(scene.of_meter(meter));
        }
    }
    findings.extend(hub.watch().findings());
    findings.sort_by(|a, b| (a.verdict, a.kind, &a.subject).cmp(&(b.verdict, b.kind, &b.subject)));
    findings
}

fn of_books(hub: &Hub, books: &Books, plan: &Plan) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(all) = closed(books) {
        let from = UtcMillis::new(all.to.get().saturating_sub(HOUR_MS)).max(all.from);
        let flows = books.flows(from, all.to);
        for point in &plan.points {
            let band = hub.checks.loss(&point.id, point.role);
            if let (Some(band), Ok(id)) = (band, PointId::new(&point.id)) {
                findings.push(tree::loss(&id, band, &flows).over(from, all.to));
            }
        }
    }
    for (point, meter) in hub.checks.bills() {
        let at = plan.points.iter().find(|known| known.id == point);
        let own = at.and_then(|point| point.meter.as_deref());
        findings.push(bill::newest(books, (point, own), meter));
    }
    findings
}

fn clock(node: &Node) -> Finding {
    let (value, _) = node.clock;
    let words = match value {
        0 => "its times need no correction".to_owned(),
        _ => "was added to its times".to_owned(),
    };
    let measured = Measured { value, unit: Unit::Milliseconds, band: CLOCK };
    Finding::compared(Kind::Clock, node.id.as_str(), measured, words)
}

struct Scene<'a> {
    hub: &'a Hub,
    plan: &'a Plan,
    nodes: &'a [Node],
    registers: &'a Registers,
    now: UtcMillis,
}

impl Scene<'_> {
    fn of_meter(&self, meter: &Subject) -> Vec<Finding> {
        let id = meter.id.as_str();
        let point = point_of(self.plan, id);
        let nominal = point.and_then(|point| self.hub.checks.at(&point.id).voltage_nominal_mv);
        let mut findings = Vec::new();
        findings.extend(instant::voltage(meter, nominal, self.now));
        findings.extend(instant::frequency(meter, self.now));
        findings.extend(instant::product(meter, self.now));
        findings.extend(self.of_loop(meter));
        findings
    }

    fn of_loop(&self, meter: &Subject) -> Vec<Finding> {
        let id = meter.id.as_str();
        let of = self.hub.checks.of_loop(id);
        let water = Water::of(meter, self.now);
        let told = meter.fresh_signed(Quantity::HeatRemoved, self.now);
        let mut findings = Vec::new();
        if let (Some(water), Some(told)) = (water, told) {
            findings.push(instant::heat(id, water, told, &of));
        }
        let heat = told.or_else(|| water?.heat(of.heat_capacity));
        if let Some(point) = &of.cools {
            findings.push(match heat {
                Some(heat) => {
                    let fed = (point.as_str(), self.power_at(point));
                    instant::heat_share(id, heat, fed, &of)
                }
                None => Finding::cannot_say(Kind::HeatShare, id, "it tells no heat now"),
            });
        }
        findings
    }

    /// Power at a point's meter now.
    fn power_at(&self, point: &str) -> Option<i64> {
        let point = self.plan.points.iter().find(|known| known.id == point)?;
        let id = point.meter.as_deref()?;
        let mut meters = self.nodes.iter().flat_map(|node| node.of_kind(SubjectKind::Meter));
        let meter = meters.find(|meter| meter.id.as_str() == id)?;
        let power = meter.power(self.now);
        let power = power.or_else(|| meter.register_power(self.registers, self.now))?;
        i64::try_from(power).ok()
    }
}
