//! The lines of meters, UPSs and cooling loops: one table from a series of the wire to a metric.

use std::collections::BTreeMap;

use bijli_wire::{Quantity, SubjectKind};

use super::catalogue as c;
use super::catalogue::Metric;
use super::scene::Scene;
use super::text::{Text, Unit, Value};
use super::write::{each_node, milli};
use crate::api::fleet::{Register, Subject};
use crate::api::nodes::{point_of, role_word};

pub(super) fn write(text: &mut Text, scenes: &[Scene]) {
    for scene in scenes {
        for (meter, role) in roles(scene) {
            text.line(&c::METER_INFO, &[&scene.hub, meter, role], Value::Count(1));
        }
    }
    for scene in scenes {
        for (meter, at) in &scene.by_hand {
            let at = Value::Milli(i128::from(at.get()));
            text.line(&c::METER_TYPED, &[&scene.hub, meter], at);
        }
    }
    each_meter(text, scenes, |text, scene, meter| {
        let power = meter.power(scene.now);
        let power = power.or_else(|| meter.register_power(&scene.registers, scene.now));
        let power = power.map(|power| milli(u128::from(power)));
        text.line_if(&c::METER_POWER, &[&scene.hub, meter.id.as_str()], power);
    });
    for (metric, value) in SUMS {
        for scene in scenes {
            for (id, (_, register)) in &scene.registers {
                if register.kind == SubjectKind::Meter {
                    text.line_if(metric, &[&scene.hub, id.as_str()], value(register));
                }
            }
        }
    }
    for (metric, quantity, unit) in VALUES {
        each_meter(text, scenes, |text, scene, meter| {
            let value = meter.fresh_signed(*quantity, scene.now).map(|value| unit.value(value));
            text.line_if(metric, &[&scene.hub, meter.id.as_str()], value);
        });
    }
    for (metric, quantity) in PHASES {
        each_meter(text, scenes, |text, scene, meter| {
            for (phase, value) in meter.fresh_parts(*quantity, scene.now) {
                // The whole meter has no phase: an empty label is none to Prometheus.
                let phase = if phase == 0 { String::new() } else { phase.to_string() };
                let labels = [scene.hub.as_str(), meter.id.as_str(), phase.as_str()];
                text.line(metric, &labels, Unit::Milli.value(value));
            }
        });
    }
}

type OfRegister = fn(&Register) -> Option<Value>;

const SUMS: &[(Metric, OfRegister)] = &[
    (c::METER_ENERGY, |register| Some(milli(register.booked.total()))),
    (c::METER_LAST, |register| register.last.map(|(at, _)| Value::Milli(i128::from(at.get())))),
    (c::METER_RESETS, |register| Some(Value::Count(register.counts.resets))),
    (c::METER_IMPLAUSIBLE, |register| Some(Value::Count(register.counts.implausible))),
];

/// What is shown of a meter as it was read.
pub(super) const VALUES: &[(Metric, Quantity, Unit)] = &[
    (c::METER_FREQUENCY, Quantity::Frequency, Unit::Milli),
    (c::METER_POWER_FACTOR, Quantity::PowerFactor, Unit::Ppm),
    (c::UPS_ON_BATTERY, Quantity::OnBattery, Unit::Whole),
    (c::UPS_SINCE, Quantity::SecondsOnBattery, Unit::Whole),
    (c::UPS_LEFT, Quantity::BatteryTimeLeft, Unit::Whole),
    (c::UPS_CHARGE, Quantity::BatteryCharge, Unit::Ppm),
    (c::COOLING_SUPPLY, Quantity::SupplyTemperature, Unit::Milli),
    (c::COOLING_RETURN, Quantity::ReturnTemperature, Unit::Milli),
    (c::COOLING_FLOW, Quantity::Flow, Unit::Ppm),
    (c::COOLING_HEAT, Quantity::HeatRemoved, Unit::Milli),
    (c::LEAK_STATE, Quantity::LeakState, Unit::Whole),
];

/// What is shown of each phase.
pub(super) const PHASES: &[(Metric, Quantity)] =
    &[(c::METER_VOLTAGE, Quantity::Voltage), (c::METER_CURRENT, Quantity::Current)];

/// One family over every meter of a gateway that is up.
fn each_meter(
    text: &mut Text,
    scenes: &[Scene],
    mut line: impl FnMut(&mut Text, &Scene, &Subject),
) {
    each_node(text, scenes, |text, scene, node| {
        for meter in node.of_kind(SubjectKind::Meter).filter(|_| node.is_up) {
            line(text, scene, meter);
        }
    });
}

/// Meters that report, and those that only the diagram knows, by id. One that a person reads is
/// not waited for here: its readings come days apart.
fn roles(scene: &Scene) -> BTreeMap<&str, &'static str> {
    let reporting = scene.nodes.iter().flat_map(|node| node.of_kind(SubjectKind::Meter));
    let reporting = reporting.map(|meter| {
        let id = meter.id.as_str();
        (id, point_of(&scene.plan, id).map_or("none", role_word))
    });
    let declared = scene.plan.points.iter();
    let declared = declared.filter_map(|point| Some((point.meter.as_deref()?, role_word(point))));
    let declared = declared.filter(|(meter, _)| !scene.by_hand.contains_key(*meter));
    reporting.chain(declared).collect()
}

/// Every series that a meter's lines are made of.
#[cfg(test)]
pub(super) fn tests_quantities() -> impl Iterator<Item = Quantity> {
    let values = VALUES.iter().map(|(_, quantity, _)| *quantity);
    values.chain(PHASES.iter().map(|(_, quantity)| *quantity))
}
