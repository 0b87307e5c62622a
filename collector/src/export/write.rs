//! From scenes to lines, family by family: Prometheus wants a family's lines together.

use std::collections::BTreeMap;

use bijli_ledger::Account;
use bijli_wire::{Quantity, SubjectKind};

use super::catalogue as c;
use super::catalogue::Metric;
use super::scene::{Scene, role};
use super::text::{Text, Unit, Value};
use super::{gpus, meters};
use crate::api::fleet::{Node, Subject};

pub(super) fn write(text: &mut Text, scenes: &[Scene]) {
    hubs(text, scenes);
    nodes(text, scenes);
    node_energies(text, scenes);
    gpus::write(text, scenes);
    meters::write(text, scenes);
    facility(text, scenes);
    projects(text, scenes);
    ledger(text, scenes);
    super::events::write(text, scenes);
    super::checks::write(text, scenes);
}

fn count(value: usize) -> Value {
    Value::Count(u64::try_from(value).unwrap_or(u64::MAX))
}

/// Millijoules as joules, milliwatts as watts, milliseconds as seconds.
pub(super) fn milli(value: u128) -> Value {
    Value::Milli(i128::try_from(value).unwrap_or(i128::MAX))
}

fn hubs(text: &mut Text, scenes: &[Scene]) {
    for scene in scenes {
        let expected = scene.nodes_expected.map(|nodes| Value::Count(u64::from(nodes)));
        text.line_if(&c::NODES_EXPECTED, &[&scene.hub], expected);
    }
    for scene in scenes {
        let up = scene.nodes.iter().filter(|node| node.is_up).count();
        text.line(&c::NODES_REPORTING, &[&scene.hub], count(up));
    }
}

/// One family over every node.
pub(super) fn each_node(
    text: &mut Text,
    scenes: &[Scene],
    mut line: impl FnMut(&mut Text, &Scene, &Node),
) {
    for scene in scenes {
        scene.nodes.iter().for_each(|node| line(text, scene, node));
    }
}

fn nodes(text: &mut Text, scenes: &[Scene]) {
    each_node(text, scenes, |text, scene, node| {
        let labels = [scene.hub.as_str(), node.id.as_str()];
        text.line(&c::NODE_UP, &labels, Value::Count(u64::from(node.is_up)));
    });
    each_node(text, scenes, |text, scene, node| {
        let labels = [scene.hub.as_str(), node.id.as_str(), node.agent.as_str()];
        text.line(&c::NODE_INFO, &labels, Value::Count(1));
    });
    each_node(text, scenes, |text, scene, node| {
        let labels = [scene.hub.as_str(), node.id.as_str()];
        text.line(&c::NODE_CLOCK, &labels, Value::Milli(i128::from(node.clock.0)));
    });
    each_node(text, scenes, |text, scene, node| {
        let labels = [scene.hub.as_str(), node.id.as_str()];
        text.line(&c::NODE_CORRECTED, &labels, Value::Count(node.clock.1));
    });
    each_node(text, scenes, |text, scene, node| {
        let (input, sum) = (
            node.power_input(&scene.registers, scene.now),
            node.power_sum(&scene.registers, scene.now),
        );
        for (source, power) in [("input", input), ("sum", sum)] {
            let labels = [scene.hub.as_str(), node.id.as_str(), source];
            let power = power.filter(|_| node.is_up).map(|power| milli(u128::from(power)));
            text.line_if(&c::NODE_POWER, &labels, power);
        }
    });
    for (metric, quantity, unit) in NODE_VALUES {
        each_node(text, scenes, |text, scene, node| {
            let value = node.own(*quantity, scene.now).filter(|_| node.is_up);
            let value = value.map(|value| unit.value(i64::try_from(value).unwrap_or(i64::MAX)));
            text.line_if(metric, &[scene.hub.as_str(), node.id.as_str()], value);
        });
    }
}

/// What is shown of a node itself, as it was read.
pub(super) const NODE_VALUES: &[(Metric, Quantity, Unit)] = &[
    (c::NODE_CPU, Quantity::CpuUtilization, Unit::Ppm),
    (c::NODE_MEMORY, Quantity::HostMemoryUsed, Unit::Whole),
    (c::NODE_GPUS_SEEN, Quantity::GpusSeen, Unit::Whole),
    (c::NODE_GPUS_EXPECTED, Quantity::GpusExpected, Unit::Whole),
    (c::NODE_KERNEL_LINES, Quantity::KernelLines, Unit::Whole),
];

/// What was booked of a subject that this node owns.
pub(super) fn booked(scene: &Scene, node: &Node, subject: &Subject) -> Option<u128> {
    let (owner, register) = scene.registers.get(&subject.id)?;
    (*owner == node.id).then(|| register.booked.total())
}

fn node_energies(text: &mut Text, scenes: &[Scene]) {
    each_node(text, scenes, |text, scene, node| {
        let (mut input, mut sum) = (None, None);
        for subject in &node.subjects {
            let Some(energy) = booked(scene, node, subject) else { continue };
            match subject.kind {
                SubjectKind::Node => input = Some(energy),
                SubjectKind::Gpu | SubjectKind::CpuPackage | SubjectKind::Dram => {
                    sum = Some(sum.unwrap_or(0_u128).saturating_add(energy));
                }
                SubjectKind::Meter | SubjectKind::Unspecified => {}
            }
        }
        for (source, energy) in [("input", input), ("sum", sum)] {
            let labels = [scene.hub.as_str(), node.id.as_str(), source];
            text.line_if(&c::NODE_ENERGY, &labels, energy.map(milli));
        }
    });
    each_node(text, scenes, |text, scene, node| {
        for subject in &node.subjects {
            let domain = match subject.kind {
                SubjectKind::CpuPackage => "package",
                SubjectKind::Dram => "dram",
                SubjectKind::Gpu
                | SubjectKind::Node
                | SubjectKind::Meter
                | SubjectKind::Unspecified => continue,
            };
            let labels = [scene.hub.as_str(), node.id.as_str(), place(node, subject), domain];
            text.line_if(&c::CPU_ENERGY, &labels, booked(scene, node, subject).map(milli));
        }
    });
}

/// `0` of `isb-n01/cpu0`.
fn place<'a>(node: &Node, subject: &'a Subject) -> &'a str {
    let id = subject.id.as_str();
    let own = id.strip_prefix(node.id.as_str()).map_or(id, |rest| rest.trim_start_matches('/'));
    own.trim_start_matches(|c: char| c.is_ascii_alphabetic())
}

fn facility(text: &mut Text, scenes: &[Scene]) {
    for scene in scenes {
        for (source, energy) in &scene.books.sources {
            text.line(&c::FACILITY_TOTAL, &[&scene.hub, source], milli(*energy));
        }
    }
    for scene in scenes {
        let mut roles: BTreeMap<&'static str, u128> = BTreeMap::new();
        for (account, energy) in &scene.books.sinks {
            if let Some(role) = role(account) {
                let sum = roles.entry(role).or_default();
                *sum = sum.saturating_add(*energy);
            }
        }
        for (role, energy) in roles {
            text.line(&c::FACILITY, &[&scene.hub, role], milli(energy));
        }
    }
}

fn projects(text: &mut Text, scenes: &[Scene]) {
    for scene in scenes {
        for (account, energy) in &scene.books.sinks {
            if let Some((project, share)) = account.project() {
                let labels = [scene.hub.as_str(), project.as_str(), share.word()];
                text.line(&c::PROJECT, &labels, milli(*energy));
            }
        }
    }
    for (metric, account) in [
        (&c::IDLE, Account::IdleUnallocated),
        (&c::HOST_OVERHEAD, Account::HostOverhead),
        (&c::UNATTRIBUTED, Account::Unattributed),
    ] {
        for scene in scenes.iter().filter(|scene| scene.books.closed_until.is_some()) {
            let energy = scene.books.sinks.get(&account).copied().unwrap_or(0);
            text.line(metric, &[&scene.hub], milli(energy));
        }
    }
}

fn ledger(text: &mut Text, scenes: &[Scene]) {
    for scene in scenes {
        text.line(&c::IMBALANCE, &[&scene.hub], Value::Milli(scene.books.imbalance));
    }
    for scene in scenes {
        let until = scene.books.closed_until.map(|at| Value::Milli(i128::from(at.get())));
        text.line_if(&c::CLOSED_UNTIL, &[&scene.hub], until);
    }
    for scene in scenes {
        text.line(&c::ADJUSTMENTS, &[&scene.hub], Value::Count(scene.books.adjustments));
    }
    for scene in scenes {
        for window in &scene.books.pue {
            let category = window.category.map(|number| number.to_string()).unwrap_or_default();
            let ratio = window.ratio_micro.map(Value::Micro);
            text.line_if(&c::PUE, &[&scene.hub, window.word, &category], ratio);
        }
    }
    pue_doubts(text, scenes);
    for scene in scenes {
        for window in &scene.books.pue {
            let coverage = window.coverage_micro.map(Value::Micro);
            text.line_if(&c::PUE_COVERAGE, &[&scene.hub, window.word], coverage);
        }
    }
}

fn pue_doubts(text: &mut Text, scenes: &[Scene]) {
    for scene in scenes {
        for window in &scene.books.pue {
            let category = window.category.map(|number| number.to_string()).unwrap_or_default();
            let bounds = window.uncertainty_micro.into_iter().flatten();
            for (bound, micro) in ["independent", "correlated"].into_iter().zip(bounds) {
                let labels = [scene.hub.as_str(), window.word, &category, bound];
                text.line(&c::PUE_UNCERTAINTY, &labels, Value::Micro(micro));
            }
        }
    }
    for scene in scenes {
        for window in &scene.books.pue {
            let estimated = window.estimated_micro.map(Value::Micro);
            text.line_if(&c::PUE_ESTIMATED, &[&scene.hub, window.word], estimated);
        }
    }
}
