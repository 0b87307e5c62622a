//! One node: its register or its devices, its GPUs to their holders, its host by GPU time held.

use std::collections::BTreeMap;

use bijli_wire::{NodeId, SubjectKind};

use super::{Draft, Input, Inputs, Level, Reason};
use crate::account::{Account, Share};
use crate::calibration::Correction;
use crate::class::{Activity, ByClass, Class};
use crate::interpolate::Ramp;
use crate::profile::{Cell, Step};
use crate::share::{Party, SharePolicy, Slot};
use crate::split::split;

/// What the devices of a node show.
#[derive(Default)]
struct Devices<'a> {
    gpus: Vec<(&'a Input<'a>, &'a Cell)>,
    /// CPU packages and DRAM.
    hosts: Vec<(Account, &'a Cell)>,
    /// The node's own register: `Some(None)` when it was not read.
    register: Option<Option<&'a Cell>>,
}

/// Books every node downward and tells what each takes from above.
pub(super) fn derive_nodes<'a>(
    inputs: &'a Inputs<'a>,
    draft: &mut Draft,
) -> BTreeMap<&'a NodeId, Level> {
    let mut nodes: BTreeMap<&NodeId, Devices<'_>> = BTreeMap::new();
    for input in &inputs.subjects {
        if input.kind == SubjectKind::Meter || input.kind == SubjectKind::Unspecified {
            continue;
        }
        note_coverage(inputs, input, draft);
        let devices = nodes.entry(input.node).or_default();
        match (input.kind, input.cell) {
            (SubjectKind::Node, cell) => devices.register = Some(cell),
            (SubjectKind::Gpu, Some(cell)) => devices.gpus.push((input, cell)),
            (SubjectKind::CpuPackage, Some(cell)) => {
                devices.hosts.push((Account::Cpu(input.id.clone()), cell));
            }
            (SubjectKind::Dram, Some(cell)) => {
                devices.hosts.push((Account::Dram(input.id.clone()), cell));
            }
            (SubjectKind::Meter | SubjectKind::Unspecified, _)
            | (SubjectKind::Gpu | SubjectKind::CpuPackage | SubjectKind::Dram, None) => {}
        }
    }
    nodes.into_iter().map(|(id, devices)| (id, derive_node(inputs, id, &devices, draft))).collect()
}

fn note_coverage(inputs: &Inputs<'_>, input: &Input<'_>, draft: &mut Draft) {
    let (node, device) = (input.node.clone(), input.id.clone());
    match input.cell {
        None => draft.reasons.insert(Reason::DeviceMissing { node, device }),
        Some(cell) if !inputs.is_full(cell) => {
            let (covered_ms, interval_ms) = (cell.covered_ms(), inputs.interval_ms());
            draft.reasons.insert(Reason::DevicePartial { node, device, covered_ms, interval_ms })
        }
        Some(_) => false,
    };
}

fn derive_node(
    inputs: &Inputs<'_>,
    id: &NodeId,
    devices: &Devices<'_>,
    draft: &mut Draft,
) -> Level {
    let account = Account::Node(id.clone());
    let mut gpus = ByClass::default();
    for (gpu, cell) in &devices.gpus {
        gpus.add_all(&derive_gpu(inputs, gpu, cell, draft));
    }
    let weights = host_weights(inputs, id, devices);
    let mut parts = gpus;
    for (_, cell) in &devices.hosts {
        parts.add_all(cell.energy());
    }
    let register = devices.register.flatten();
    let is_complete = register.is_some_and(|cell| inputs.is_full(cell));
    let whole = register.map(|cell| *cell.energy()).unwrap_or_default();
    if !is_complete && whole.total() < parts.total() || register.is_none() {
        for (host, cell) in &devices.hosts {
            draft.flow(&account, host, cell.energy());
            split_host(host, cell.energy(), &weights, draft);
        }
        return Level { energy: parts, is_complete: false };
    }
    // CPU and DRAM are inside the node's own register: they are not booked again.
    match whole.total().checked_sub(gpus.total()) {
        Some(_) if gpus.total() == 0 => split_host(&account, &whole, &weights, draft),
        Some(host) => {
            split_host(&account, &derived(host), &weights, draft);
        }
        None => {
            let millijoules = gpus.total().abs_diff(whole.total());
            draft.flow(&Account::DisputeNode(id.clone()), &account, &derived(millijoules));
            draft.reasons.insert(Reason::DisputeNode { node: id.clone(), millijoules });
        }
    }
    Level { energy: whole, is_complete }
}

/// A GPU to those who held it, step by step; to idleness where nobody did. Tells what it took:
/// what its register shows, corrected where it is calibrated.
fn derive_gpu(inputs: &Inputs<'_>, gpu: &Input<'_>, cell: &Cell, draft: &mut Draft) -> ByClass {
    let account = Account::Gpu(gpu.id.clone());
    let slots = inputs.holdings.of_device(gpu.id, gpu.node, inputs.start, inputs.end);
    let mut held: Vec<(Slot<'_>, ByActivity)> =
        slots.into_iter().map(|slot| (slot, ByActivity::default())).collect();
    let mut free = ByActivity::default();
    for step in cell.steps() {
        cut_step(inputs.start, &step, &mut held, &mut free);
    }
    let free = free.iter().map(|(activity, energy)| (nobody(activity), *energy));
    let held = held.iter().flat_map(|(slot, sums)| {
        sums.iter().flat_map(|(activity, energy)| parts(slot, activity, energy, inputs.policy))
    });
    let mut uses: Vec<(Account, ByClass)> = free.chain(held).collect();
    let node = Account::Node(gpu.node.clone());
    draft.flow(&node, &account, cell.energy());
    if let Some(gain) = inputs.calibrations.of(gpu.id, inputs.start) {
        match gain.correct(cell.energy(), &mut uses) {
            Correction::More(amount) => draft.flow(&node, &account, &derived(amount)),
            Correction::Less(amount) => draft.flow(&account, &node, &derived(amount)),
        }
    }
    let mut taken = ByClass::default();
    for (user, energy) in &uses {
        draft.flow(&account, user, energy);
        taken.add_all(energy);
    }
    taken
}

fn derived(millijoules: u128) -> ByClass {
    ByClass::of(Class::Derived, millijoules)
}

/// What one hold, or nobody, had of a GPU.
#[derive(Default)]
struct ByActivity {
    unknown: ByClass,
    idle: ByClass,
    busy: ByClass,
}

impl ByActivity {
    fn add(&mut self, step: &Step, energy: u64) {
        let sums = match step.activity {
            Activity::Unknown => &mut self.unknown,
            Activity::Idle => &mut self.idle,
            Activity::Busy => &mut self.busy,
        };
        sums.add(step.class, u128::from(energy));
    }

    fn iter(&self) -> impl Iterator<Item = (Activity, &ByClass)> {
        let Self { unknown, idle, busy } = self;
        [(Activity::Unknown, unknown), (Activity::Idle, idle), (Activity::Busy, busy)].into_iter()
    }
}

/// What each party had of the energy of a slot, class by class: split once, when all of the slot is
/// summed up.
fn parts(
    slot: &Slot<'_>,
    activity: Activity,
    energy: &ByClass,
    policy: SharePolicy,
) -> Vec<(Account, ByClass)> {
    let of_class = energy.iter().flat_map(|(class, millijoules)| {
        let parts = slot.among.split(millijoules, policy).into_iter();
        parts.map(move |(party, part)| (user(party, activity), ByClass::of(class, part)))
    });
    let mut parts: BTreeMap<Account, ByClass> = BTreeMap::new();
    for (account, energy) in of_class {
        parts.entry(account).or_default().add_all(&energy);
    }
    parts.into_iter().collect()
}

/// The parts of a step by slot. The cuts are those of one ramp, so they sum to the step.
fn cut_step(start: i64, step: &Step, held: &mut [(Slot<'_>, ByActivity)], free: &mut ByActivity) {
    let at = |offset: u32| start.saturating_add(i64::from(offset));
    let ramp = Ramp { from: at(step.from), to: at(step.to), energy: step.energy };
    let mut done = ramp.from;
    for (hold, sums) in held {
        if hold.to <= ramp.from || hold.from >= ramp.to {
            continue;
        }
        let (from, to) = (hold.from.max(done), hold.to.min(ramp.to));
        free.add(step, ramp.between(done, from));
        sums.add(step, ramp.between(from, to));
        done = to;
    }
    free.add(step, ramp.between(done, ramp.to));
}

fn user(party: Party<'_>, activity: Activity) -> Account {
    match (party, activity) {
        (Party::Project(project), Activity::Busy | Activity::Unknown) => {
            Account::Project(project.clone(), Share::GpuActive)
        }
        (Party::Project(project), Activity::Idle) => {
            Account::Project(project.clone(), Share::GpuHeldIdle)
        }
        // Held and idle is not unallocated.
        (Party::Unknown, _) => Account::Unattributed,
        (Party::Nobody, activity) => nobody(activity),
    }
}

const fn nobody(activity: Activity) -> Account {
    match activity {
        Activity::Idle | Activity::Unknown => Account::IdleUnallocated,
        Activity::Busy => Account::Unattributed,
    }
}

/// Milliseconds held, by account; what was not held is overhead. In order of accounts. Those of a
/// shared GPU are split as its energy is.
///
/// GPUs that were not read in the interval have no time in it.
fn host_weights(inputs: &Inputs<'_>, id: &NodeId, devices: &Devices<'_>) -> Vec<(Account, u64)> {
    let (start, end) = (inputs.start, inputs.end);
    let lines: Vec<Vec<Slot<'_>>> = if devices.gpus.is_empty() {
        vec![inputs.holdings.of_node(id, start, end)]
    } else {
        let of = |(gpu, _): &(&Input<'_>, &Cell)| {
            inputs.holdings.of_device(gpu.id, gpu.node, start, end)
        };
        devices.gpus.iter().map(of).collect()
    };
    let mut weights: BTreeMap<Account, u64> = BTreeMap::new();
    for line in lines {
        let mut free = end.abs_diff(start);
        for slot in line {
            let held = u128::from(slot.to.abs_diff(slot.from));
            for (party, part) in slot.among.split(held, inputs.policy) {
                let Party::Project(project) = party else { continue };
                let part = u64::try_from(part).expect("a part of an interval's milliseconds");
                let weight = weights.entry(Account::Project(project.clone(), Share::Host));
                let weight = weight.or_default();
                *weight = weight.saturating_add(part);
                free = free.saturating_sub(part);
            }
        }
        let rest = weights.entry(Account::HostOverhead).or_default();
        *rest = rest.saturating_add(free);
    }
    weights.into_iter().collect()
}

/// Splits host energy by the weights, each class on its own.
fn split_host(from: &Account, energy: &ByClass, weights: &[(Account, u64)], draft: &mut Draft) {
    let numbers: Vec<u64> = weights.iter().map(|(_, weight)| *weight).collect();
    for (class, millijoules) in energy.iter() {
        let parts = split(millijoules, &numbers);
        for ((account, _), part) in weights.iter().zip(parts) {
            draft.flow(from, account, &ByClass::of(class, part));
        }
    }
}
