//! What is current of a hub's nodes and registers, copied out from under the locks.
//!
//! # Invariants
//! - One lock at a time: first the live view is copied, then the registers.
//! - A gauge is fresh or absent: a value older than [`FRESH`] is not shown as if it were now, and
//!   a node that is silent for [`GONE`] is not listed.

use std::collections::BTreeMap;

use bijli_ledger::subject::Counts;
use bijli_ledger::{ByClass, SubjectStatus};
use bijli_wire::{NodeId, Quantity, SubjectId, SubjectKind, UtcMillis};

use super::hubs::UP;
use crate::live::{Latest, NodeLive};
use crate::state::Hub;

/// Oldest gauge that is still shown, in milliseconds. Clocks of nodes may be minutes off.
pub(crate) const FRESH: i64 = 5 * 60_000;
/// A node that sent nothing for this long has left.
pub(crate) const GONE: i64 = 24 * 3_600_000;
/// A GPU without energy and power for this long, while its node reports, is lost.
const LOST: i64 = 30_000;

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) agent: String,
    pub(crate) received: UtcMillis,
    pub(crate) newest: Option<UtcMillis>,
    pub(crate) batches: u64,
    /// What was added to the times of its last batch, and how many were corrected.
    pub(crate) clock: (i64, u64),
    pub(crate) is_up: bool,
    pub(crate) subjects: Vec<Subject>,
}

/// One subject with its latest readings.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) id: SubjectId,
    pub(crate) kind: SubjectKind,
    pub(crate) label: String,
    pub(crate) model: String,
    pub(crate) serial: String,
    pub(crate) readings: Vec<(Quantity, u32, Latest)>,
}

/// What the books know of one register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Register {
    pub(crate) kind: SubjectKind,
    pub(crate) last: Option<(UtcMillis, u64)>,
    pub(crate) booked: ByClass,
    pub(crate) counts: Counts,
    pub(crate) power_mw: Option<u64>,
}

pub(crate) type Registers = BTreeMap<SubjectId, (NodeId, Register)>;

/// Every node that did not leave.
pub(crate) fn nodes(hub: &Hub, now: UtcMillis) -> Vec<Node> {
    let live = hub.live();
    let stays = |node: &NodeLive| age(node.received, now) < GONE;
    live.nodes().filter(|(_, node)| stays(node)).map(|(id, one)| node(id, one, now)).collect()
}

pub(crate) fn registers(hub: &Hub) -> Registers {
    let register = |status: SubjectStatus<'_>| {
        let register = Register {
            kind: status.kind,
            last: status.last,
            booked: status.booked,
            counts: status.counts,
            power_mw: status.power.map(bijli_wire::Milliwatts::get),
        };
        (status.id.clone(), (status.node.clone(), register))
    };
    hub.books().subjects().filter(|status| status.has_register).map(register).collect()
}

/// Milliseconds from `at` to `now`, 0 if it lies ahead.
pub(crate) fn age(at: UtcMillis, now: UtcMillis) -> i64 {
    now.get().saturating_sub(at.get()).max(0)
}

fn node(id: &NodeId, live: &NodeLive, now: UtcMillis) -> Node {
    let mut readings: BTreeMap<&SubjectId, Vec<(Quantity, u32, Latest)>> = BTreeMap::new();
    for (key, latest) in live.readings() {
        readings.entry(&key.subject).or_default().push((key.quantity, key.part, latest));
    }
    let subjects = live.subjects.iter().map(|subject| Subject {
        id: subject.id.clone(),
        kind: subject.kind,
        label: subject.label.clone(),
        model: subject.model.clone(),
        serial: subject.serial.clone(),
        readings: readings.remove(&subject.id).unwrap_or_default(),
    });
    Node {
        id: id.clone(),
        agent: live.agent.clone(),
        received: live.received,
        newest: live.newest,
        batches: live.batches,
        clock: (live.clock_offset_ms, live.clock_corrected),
        is_up: age(live.received, now) <= UP,
        subjects: subjects.collect(),
    }
}

impl Node {
    pub(crate) fn of_kind(&self, kind: SubjectKind) -> impl Iterator<Item = &Subject> {
        self.subjects.iter().filter(move |subject| subject.kind == kind)
    }

    /// The value of the node's own series.
    pub(crate) fn own(&self, quantity: Quantity, now: UtcMillis) -> Option<u64> {
        self.of_kind(SubjectKind::Node).find_map(|subject| subject.fresh(quantity, now))
    }

    /// Power of all devices; `None` if a GPU gives none, or if there is no device with power.
    pub(crate) fn power_sum(&self, registers: &Registers, now: UtcMillis) -> Option<u64> {
        let mut sum = None;
        for subject in &self.subjects {
            let power = subject.power(now).or_else(|| subject.register_power(registers, now));
            match subject.kind {
                SubjectKind::Gpu => sum = Some(sum.unwrap_or(0_u64).saturating_add(power?)),
                SubjectKind::CpuPackage | SubjectKind::Dram => {
                    sum = power.map(|power| sum.unwrap_or(0_u64).saturating_add(power)).or(sum);
                }
                SubjectKind::Node | SubjectKind::Meter | SubjectKind::Unspecified => {}
            }
        }
        sum
    }

    /// Power at the node's own meter.
    pub(crate) fn power_input(&self, registers: &Registers, now: UtcMillis) -> Option<u64> {
        let own = self.of_kind(SubjectKind::Node).next()?;
        own.power(now).or_else(|| own.register_power(registers, now))
    }
}

impl Subject {
    /// The latest value of a series, if it was read and is fresh. Signed values below zero too.
    pub(crate) fn fresh_signed(&self, quantity: Quantity, now: UtcMillis) -> Option<i64> {
        let is_it = |reading: &&(Quantity, u32, Latest)| reading.0 == quantity && reading.1 == 0;
        let (_, _, latest) = self.readings.iter().find(is_it)?;
        latest.value.filter(|_| age(latest.at, now) <= FRESH)
    }

    /// Each part of a series that was read and is fresh: phases, channels; 0 is the whole.
    pub(crate) fn fresh_parts(
        &self,
        quantity: Quantity,
        now: UtcMillis,
    ) -> impl Iterator<Item = (u32, i64)> {
        let of = self.readings.iter().filter(move |(found, ..)| *found == quantity);
        of.filter_map(move |(_, part, latest)| {
            latest.value.filter(|_| age(latest.at, now) <= FRESH).map(|value| (*part, value))
        })
    }

    pub(crate) fn fresh(&self, quantity: Quantity, now: UtcMillis) -> Option<u64> {
        self.fresh_signed(quantity, now).and_then(|value| u64::try_from(value).ok())
    }

    /// In milliwatts, instantaneous where it tells.
    pub(crate) fn power(&self, now: UtcMillis) -> Option<u64> {
        let instant = self.fresh(Quantity::PowerInstant, now);
        instant.or_else(|| self.fresh(Quantity::PowerAverage, now))
    }

    /// Mean power over the last step of the register.
    pub(crate) fn register_power(&self, registers: &Registers, now: UtcMillis) -> Option<u64> {
        let (_, register) = registers.get(&self.id)?;
        register.power_mw.filter(|_| register.last.is_some_and(|(at, _)| age(at, now) <= FRESH))
    }

    /// Whether this GPU gave energy or power lately, as the time of its node's readings goes.
    pub(crate) fn gives(&self, registers: &Registers, newest: UtcMillis) -> bool {
        let is_near = |at: UtcMillis| age(at, newest) <= LOST;
        let powers = [Quantity::PowerInstant, Quantity::PowerAverage];
        let has_power = self.readings.iter().any(|(quantity, _, latest)| {
            powers.contains(quantity) && latest.value.is_some() && is_near(latest.at)
        });
        let last = registers.get(&self.id).and_then(|(_, register)| register.last);
        has_power || last.is_some_and(|(at, _)| is_near(at))
    }
}

pub(crate) const fn kind_word(kind: SubjectKind) -> &'static str {
    match kind {
        SubjectKind::Unspecified => "unspecified",
        SubjectKind::Node => "node",
        SubjectKind::Gpu => "gpu",
        SubjectKind::CpuPackage => "cpu_package",
        SubjectKind::Dram => "dram",
        SubjectKind::Meter => "meter",
    }
}
