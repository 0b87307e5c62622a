//! The lines of GPUs: one table from a series of the wire to a metric.

use bijli_wire::{Quantity, SubjectKind};

use super::catalogue as c;
use super::catalogue::Metric;
use super::scene::Scene;
use super::text::{Text, Unit, Value};
use super::write::{booked, each_node, milli};
use crate::api::fleet::{FRESH, Node, Subject, age};

pub(super) fn write(text: &mut Text, scenes: &[Scene]) {
    identities(text, scenes);
    powers(text, scenes);
    for (metric, word, quantity, unit) in VALUES {
        each_gpu(text, scenes, |text, place, scene, gpu| {
            let value = gpu.fresh_signed(*quantity, scene.now).map(|value| unit.value(value));
            let [hub, node, index] = place;
            match word {
                None => text.line_if(metric, &place, value),
                Some(word) => text.line_if(metric, &[hub, node, index, word], value),
            }
        });
    }
}

/// A value of a GPU: the metric, its closed label if it has one, and the series it is read from.
pub(super) const VALUES: &[(Metric, Option<&str>, Quantity, Unit)] = &[
    (c::GPU_POWER_LIMIT, None, Quantity::PowerLimit, Unit::Milli),
    (c::GPU_MODULE_POWER, None, Quantity::ModulePower, Unit::Milli),
    (c::GPU_INTEGRAL, None, Quantity::PowerIntegral, Unit::Milli),
    (c::GPU_READ_TIME, None, Quantity::ReadTime, Unit::Ppm),
    (c::GPU_TEMPERATURE, Some("core"), Quantity::Temperature, Unit::Milli),
    (c::GPU_TEMPERATURE, Some("memory"), Quantity::MemoryTemperature, Unit::Milli),
    (c::GPU_MARGIN, Some("operation"), Quantity::TemperatureMargin, Unit::Milli),
    (c::GPU_MARGIN, Some("slowdown"), Quantity::SlowdownMargin, Unit::Milli),
    (c::GPU_FAN, None, Quantity::FanSpeed, Unit::Ppm),
    (c::GPU_UTILIZATION, Some("sm"), Quantity::GpuUtilization, Unit::Ppm),
    (c::GPU_UTILIZATION, Some("memory"), Quantity::MemoryUtilization, Unit::Ppm),
    (c::GPU_PROCESSES, None, Quantity::ProcessCount, Unit::Whole),
    (c::GPU_MIG, None, Quantity::MigInstances, Unit::Whole),
    (c::GPU_MEMORY_USED, None, Quantity::MemoryUsed, Unit::Whole),
    (c::GPU_MEMORY_SIZE, None, Quantity::MemorySize, Unit::Whole),
    (c::GPU_CLOCK, Some("sm"), Quantity::ClockSm, Unit::Whole),
    (c::GPU_CLOCK, Some("memory"), Quantity::ClockMemory, Unit::Whole),
    (c::GPU_PERFORMANCE, None, Quantity::PerformanceState, Unit::Whole),
    (c::GPU_THROTTLE, Some("power_cap"), Quantity::ThrottlePowerCap, Unit::Nano),
    (c::GPU_THROTTLE, Some("sync_boost"), Quantity::ThrottleSyncBoost, Unit::Nano),
    (c::GPU_THROTTLE, Some("sw_thermal"), Quantity::ThrottleSwThermal, Unit::Nano),
    (c::GPU_THROTTLE, Some("hw_thermal"), Quantity::ThrottleHwThermal, Unit::Nano),
    (c::GPU_THROTTLE, Some("power_brake"), Quantity::ThrottlePowerBrake, Unit::Nano),
    (c::GPU_RECOVERY, None, Quantity::RecoveryAction, Unit::Whole),
    (c::GPU_ECC, Some("corrected"), Quantity::EccCorrected, Unit::Whole),
    (c::GPU_ECC, Some("uncorrected"), Quantity::EccUncorrected, Unit::Whole),
    (c::GPU_ECC_NOW, Some("corrected"), Quantity::EccCorrectedNow, Unit::Whole),
    (c::GPU_ECC_NOW, Some("uncorrected"), Quantity::EccUncorrectedNow, Unit::Whole),
    (c::GPU_REMAPPED, Some("corrected"), Quantity::RemappedCorrected, Unit::Whole),
    (c::GPU_REMAPPED, Some("uncorrected"), Quantity::RemappedUncorrected, Unit::Whole),
    (c::GPU_REMAP_PENDING, None, Quantity::RemapPending, Unit::Whole),
    (c::GPU_REMAP_FAILED, None, Quantity::RemapFailed, Unit::Whole),
    (c::GPU_BANKS_SPENT, None, Quantity::RemapBanksSpent, Unit::Whole),
    (c::GPU_SRAM, None, Quantity::SramThreshold, Unit::Whole),
    (c::GPU_PCIE_REPLAYS, None, Quantity::PcieReplays, Unit::Whole),
    (c::GPU_PCIE_GENERATION, None, Quantity::PcieGeneration, Unit::Whole),
    (c::GPU_PCIE_WIDTH, None, Quantity::PcieWidth, Unit::Whole),
    (c::GPU_NVLINK_ERRORS, Some("replay"), Quantity::NvlinkReplays, Unit::Whole),
    (c::GPU_NVLINK_ERRORS, Some("recovery"), Quantity::NvlinkRecoveries, Unit::Whole),
    (c::GPU_NVLINK_ERRORS, Some("crc"), Quantity::NvlinkCrcErrors, Unit::Whole),
    (c::GPU_NVLINK_LINKS, None, Quantity::NvlinkLinks, Unit::Whole),
    (c::GPU_FABRIC, None, Quantity::FabricState, Unit::Whole),
];

/// Whether it is there, what it is, and what the books have of it.
fn identities(text: &mut Text, scenes: &[Scene]) {
    each_listed(text, scenes, |text, place, scene, node, gpu| {
        let Some(newest) = node.newest.filter(|_| node.is_up) else { return };
        let up = u64::from(gpu.gives(&scene.registers, newest));
        text.line(&c::GPU_UP, &place, Value::Count(up));
    });
    each_listed(text, scenes, |text, [hub, node, index], _, _, gpu| {
        let labels = [hub, node, index, gpu.id.as_str(), gpu.model.as_str()];
        text.line(&c::GPU_INFO, &labels, Value::Count(1));
    });
    each_listed(text, scenes, |text, place, scene, node, gpu| {
        text.line_if(&c::GPU_ENERGY, &place, booked(scene, node, gpu).map(milli));
    });
}

fn powers(text: &mut Text, scenes: &[Scene]) {
    each_gpu(text, scenes, |text, place, scene, gpu| {
        let power = gpu.power(scene.now).map(|power| milli(u128::from(power)));
        text.line_if(&c::GPU_POWER, &place, power);
    });
    each_gpu(text, scenes, |text, place, scene, gpu| {
        let distrusted = gpu.fresh(Quantity::DistrustedRegister, scene.now).map(|_| 1);
        let last = scene.registers.get(&gpu.id).and_then(|(_, register)| register.last);
        let has_energy = last.is_some_and(|(at, _)| age(at, scene.now) <= FRESH);
        let value = distrusted.or_else(|| has_energy.then_some(0));
        text.line_if(&c::GPU_DISTRUSTED, &place, value.map(Value::Count));
    });
}

/// One family over every GPU of every node that is listed, with its hub, node and index.
pub(super) fn each_listed(
    text: &mut Text,
    scenes: &[Scene],
    mut line: impl FnMut(&mut Text, [&str; 3], &Scene, &Node, &Subject),
) {
    each_node(text, scenes, |text, scene, node| {
        for gpu in node.of_kind(SubjectKind::Gpu) {
            let place = [scene.hub.as_str(), node.id.as_str(), index(gpu)];
            line(text, place, scene, node, gpu);
        }
    });
}

/// [`each_listed`], of nodes that are up.
fn each_gpu(
    text: &mut Text,
    scenes: &[Scene],
    mut line: impl FnMut(&mut Text, [&str; 3], &Scene, &Subject),
) {
    each_listed(text, scenes, |text, place, scene, node, gpu| {
        if node.is_up {
            line(text, place, scene, gpu);
        }
    });
}

/// The index that people know a GPU by; its UUID where the agent gives none.
fn index(gpu: &Subject) -> &str {
    if gpu.label.is_empty() { gpu.id.as_str() } else { &gpu.label }
}

/// Every series that a GPU's lines are made of.
#[cfg(test)]
pub(super) fn tests_quantities() -> impl Iterator<Item = Quantity> {
    VALUES.iter().map(|(_, _, quantity, _)| *quantity).chain([Quantity::PowerInstant])
}
