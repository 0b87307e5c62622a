//! `[[hub.check]]` and `[[hub.loop]]`: which bands hold at a hub, and where they are from.

use std::collections::BTreeMap;

use bijli_ledger::meter::percent;
use serde::Deserialize;

use super::Band;
use crate::diagram::{Plan, PlanRole};

const OURS: &str = "set for this hub";

/// A8 of our facility notes: usual losses of a double-conversion UPS over its load range.
pub const UPS_LOSS: Band = Band { low: 20_000, high: 80_000, source: "usual for a UPS: 2 to 8 %" };
pub const PDU_LOSS: Band =
    Band { low: 5_000, high: 20_000, source: "usual for PDU and distribution: 0.5 to 2 %" };
/// Below a PDU there are cables and two classes of meters: ours.
pub const CABLE_LOSS: Band = Band {
    low: -10_000,
    high: 20_000,
    source: "our own judgement: cables, and two meters of class 1",
};
pub const HEAT: Band =
    Band::around_zero(50_000, "our own judgement: EN 1434 class 2 heat meter and two sensors");
/// A room that air cools too, and pumps that add heat.
pub const HEAT_SHARE: Band =
    Band { low: 500_000, high: 1_100_000, source: "our own judgement; write the hub's own" };
pub const REGISTER: Band = Band::around_zero(20_000, "our own judgement: 2 % of power sampled");
/// Where a training job's steps beat with the polling: 16 % was seen in our own simulated hub,
/// whose meters are right. A wrong transformer's ratio is further off.
pub const REGISTER_OF_PULSES: Band = Band::around_zero(200_000, "seen in simulation");
pub const VOLTAGE_NOMINAL_MV: i64 = 230_000;
pub const VOLTAGE: &str = "EN 50160: nominal voltage within 10 %";
pub const FREQUENCY: Band =
    Band { low: 45_000, high: 65_000, source: "no mains is outside it: word order or scale" };
pub const PRODUCT: Band =
    Band::around_zero(50_000, "our own judgement: readings of one row, not of one cycle");
pub const BILL: Band = Band::around_zero(20_000, "our own judgement: two chains of class 0.5S");
/// Of water: 500 Btu per hour, gallon per minute and degree Fahrenheit, in J per litre and kelvin.
pub const WATER: i64 = 4_181;

/// What a hub says of its checks, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckText {
    pub point: String,
    #[serde(default)]
    pub loss_min: Option<String>,
    #[serde(default)]
    pub loss_max: Option<String>,
    #[serde(default)]
    pub voltage_nominal: Option<String>,
    #[serde(default)]
    pub bill: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoopText {
    pub meter: String,
    #[serde(default)]
    pub cools: Option<String>,
    #[serde(default)]
    pub heat_min: Option<String>,
    #[serde(default)]
    pub heat_max: Option<String>,
    #[serde(default)]
    pub heat_capacity: Option<String>,
}

/// What holds at one point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AtPoint {
    pub loss: Option<Band>,
    pub voltage_nominal_mv: Option<i64>,
    /// The meter of the meter book under which the bill is typed.
    pub bill: Option<String>,
}

/// What holds of one cooling loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    /// J per litre and kelvin.
    pub heat_capacity: i64,
    /// The point whose power it takes away as heat.
    pub cools: Option<String>,
    pub share: Band,
}

impl Default for Loop {
    fn default() -> Self {
        Self { heat_capacity: WATER, cools: None, share: HEAT_SHARE }
    }
}

/// All of it, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    points: BTreeMap<String, AtPoint>,
    loops: BTreeMap<String, Loop>,
}

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub place: String,
    pub what: String,
    pub remedy: &'static str,
}

impl Checks {
    /// Of a loop's meter; the usual where nothing is written.
    #[must_use]
    pub fn of_loop(&self, meter: &str) -> Loop {
        self.loops.get(meter).cloned().unwrap_or_default()
    }

    #[must_use]
    pub fn at(&self, point: &str) -> AtPoint {
        self.points.get(point).cloned().unwrap_or_default()
    }

    /// Points with a bill, and its meter.
    pub fn bills(&self) -> impl Iterator<Item = (&str, &str)> {
        let bills = self.points.iter();
        bills.filter_map(|(point, at)| Some((point.as_str(), at.bill.as_deref()?)))
    }

    /// The band of the losses below a point.
    #[must_use]
    pub fn loss(&self, point: &str, role: PlanRole) -> Option<Band> {
        let usual = match role {
            PlanRole::UpsIn => UPS_LOSS,
            PlanRole::UpsOut => PDU_LOSS,
            PlanRole::Pdu => CABLE_LOSS,
            PlanRole::Grid
            | PlanRole::Generator
            | PlanRole::Solar
            | PlanRole::Cooling
            | PlanRole::Lighting
            | PlanRole::Other => return None,
        };
        Some(self.at(point).loss.unwrap_or(usual))
    }

    /// Checks what is written against the diagram.
    #[must_use]
    pub fn read(checks: &[CheckText], loops: &[LoopText], plan: &Plan) -> (Self, Vec<Wrong>) {
        let mut read = Self::default();
        let mut wrong = Vec::new();
        let role = |id: &str| plan.points.iter().find(|point| point.id == id).map(|p| p.role);
        for text in checks {
            let place = format!("check {:?}", text.point);
            let mut note = |what: String, remedy| {
                wrong.push(Wrong { place: place.clone(), what, remedy });
            };
            let Some(role) = role(&text.point) else {
                note("there is no such point".to_owned(), "name a point of this hub");
                continue;
            };
            let usual = read.loss(&text.point, role);
            if usual.is_none() && (text.loss_min.is_some() || text.loss_max.is_some()) {
                let what = format!("a {} has no loss that is checked", role.word());
                note(what, "loss_min and loss_max are for ups_in, ups_out and pdu");
            }
            if text.bill.is_some() && role != PlanRole::Grid {
                note(format!("a {} has no bill", role.word()), "bill is for a grid point");
            }
            let ends = (&text.loss_min, &text.loss_max);
            let loss = usual.and_then(|usual| band(ends, usual, &mut note));
            let voltage_nominal_mv = text.voltage_nominal.as_ref().and_then(|text| {
                let read = millivolts(text);
                if read.is_none() {
                    let what = format!("voltage_nominal = {text:?} is no voltage");
                    note(what, "write it like \"230 V\" or \"6350 V\", line to neutral");
                }
                read
            });
            let at = AtPoint { loss, voltage_nominal_mv, bill: text.bill.clone() };
            if read.points.insert(text.point.clone(), at).is_some() {
                note("it is written twice".to_owned(), "keep one [[hub.check]] per point");
            }
        }
        for text in loops {
            let place = format!("loop {:?}", text.meter);
            let mut note = |what: String, remedy| {
                wrong.push(Wrong { place: place.clone(), what, remedy });
            };
            if let Some(point) = text.cools.as_deref().filter(|point| role(point).is_none()) {
                note(format!("there is no point {point:?}"), "name a point of this hub");
            }
            let share = band((&text.heat_min, &text.heat_max), HEAT_SHARE, &mut note);
            let heat_capacity = match &text.heat_capacity {
                None => WATER,
                Some(text) => heat_capacity(text).unwrap_or_else(|| {
                    let what = format!("heat_capacity = {text:?} is none of a coolant");
                    note(what, "write it like \"3900 J/(L K)\"; water has 4181");
                    WATER
                }),
            };
            let share = share.unwrap_or(HEAT_SHARE);
            let one = Loop { heat_capacity, cools: text.cools.clone(), share };
            if read.loops.insert(text.meter.clone(), one).is_some() {
                note("it is written twice".to_owned(), "keep one [[hub.loop]] per meter");
            }
        }
        (read, wrong)
    }
}

/// `None` where nothing is written. What is left out is as usual.
fn band(
    (low, high): (&Option<String>, &Option<String>),
    usual: Band,
    note: &mut impl FnMut(String, &'static str),
) -> Option<Band> {
    if low.is_none() && high.is_none() {
        return None;
    }
    let mut end = |text: &Option<String>, usual: i64| match text {
        None => usual,
        Some(text) => percent(text).map_or_else(
            || {
                note(format!("{text:?} is no share"), "write it like \"2 %\"");
                usual
            },
            i64::from,
        ),
    };
    let band = Band { low: end(low, usual.low), high: end(high, usual.high), source: OURS };
    if band.low > band.high {
        note("its lower end is above its upper end".to_owned(), "write both ends");
    }
    Some(band)
}

fn whole(text: &str, unit: &str) -> Option<i64> {
    text.strip_suffix(unit)?.trim_end().parse().ok()
}

fn millivolts(text: &str) -> Option<i64> {
    whole(text, "V").filter(|volts| (50..=100_000).contains(volts)).map(|volts| volts * 1_000)
}

fn heat_capacity(text: &str) -> Option<i64> {
    whole(text, "J/(L K)").filter(|found| (1_000..=5_000).contains(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Checks, Vec<String>) {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            check: Vec<CheckText>,
            #[serde(default, rename = "loop")]
            loops: Vec<LoopText>,
        }
        let plan = "[[point]]\nid = \"in\"\nrole = \"grid\"\n[[point]]\nid = \"ups\"\n\
                    role = \"ups_in\"\n[[point]]\nid = \"out\"\nrole = \"ups_out\"\n\
                    fed_by = \"ups\"\n";
        let plan = Plan::from_toml(plan).expect("a plan");
        let file: File = toml::from_str(text).expect("TOML");
        let (checks, wrong) = Checks::read(&file.check, &file.loops, &plan);
        (checks, wrong.into_iter().map(|one| format!("{}: {}", one.place, one.what)).collect())
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let (checks, wrong) = read(
            "[[check]]\npoint = \"ups\"\nloss_max = \"6 %\"\n[[check]]\npoint = \"in\"\n\
             voltage_nominal = \"6350 V\"\nbill = \"isb/iesco\"\n[[loop]]\nmeter = \"isb/cdu\"\n\
             cools = \"out\"\nheat_capacity = \"3900 J/(L K)\"\n",
        );
        assert!(wrong.is_empty(), "{wrong:?}");
        let ups = checks.loss("ups", PlanRole::UpsIn).expect("a band");
        assert_eq!((ups.low, ups.high, ups.source), (20_000, 60_000, OURS));
        assert_eq!(checks.loss("out", PlanRole::UpsOut), Some(PDU_LOSS));
        assert_eq!(checks.loss("in", PlanRole::Grid), None);
        assert_eq!(checks.at("in").voltage_nominal_mv, Some(6_350_000));
        assert_eq!(checks.bills().collect::<Vec<_>>(), [("in", "isb/iesco")]);
        assert_eq!(checks.of_loop("isb/cdu").heat_capacity, 3_900);
        assert_eq!(checks.of_loop("isb/other"), Loop::default());
    }

    #[test]
    fn mistakes_by_table() {
        for (text, words) in [
            ("[[check]]\npoint = \"x\"", "check \"x\": there is no such point"),
            ("[[check]]\npoint = \"in\"\nloss_min = \"2 %\"", "a grid has no loss"),
            ("[[check]]\npoint = \"ups\"\nbill = \"b\"", "a ups_in has no bill"),
            ("[[check]]\npoint = \"ups\"\nloss_min = \"2\"", "\"2\" is no share"),
            ("[[check]]\npoint = \"ups\"\nloss_min = \"9 %\"", "above its upper end"),
            ("[[check]]\npoint = \"in\"\nvoltage_nominal = \"230\"", "is no voltage"),
            ("[[check]]\npoint = \"in\"\n[[check]]\npoint = \"in\"", "it is written twice"),
            ("[[loop]]\nmeter = \"a\"\ncools = \"x\"", "there is no point \"x\""),
            ("[[loop]]\nmeter = \"a\"\nheat_capacity = \"4.2 kJ\"", "none of a coolant"),
        ] {
            let (_, wrong) = read(text);
            assert!(wrong.len() == 1 && wrong[0].contains(words), "{text}: {wrong:?}");
        }
    }
}
