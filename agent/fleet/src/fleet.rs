//! The simulated hub as a whole: a second at a time, and what can be seen of it.

use std::collections::VecDeque;
use std::sync::Arc;

use bijli_wire::{Millijoules, Millis, NodeId, UtcMillis};

use crate::diagram;
use crate::gpu::{Demand, Tally};
use crate::meter::Point;
use crate::node::{self, Node, Slot};
use crate::plant::Plant;
use crate::rng::noise;
use crate::schedule::{Job, Schedule};
use crate::sender::{self, Row, Sender};
use crate::shedding::{Shedding, Supply};
use crate::spec::{FleetSpec, SpecError};
use crate::truth::{Catalogue, ProjectEnergy, Truth};

const SECOND: Millis = Millis::new(1_000);
/// Kept truths; a month of quarter hours. The oldest give way.
const TRUTHS_MAX: usize = 3_000;

/// One simulated hub at one moment.
#[derive(Clone, Debug)]
pub struct Fleet {
    spec: FleetSpec,
    now: UtcMillis,
    nodes: Vec<Node>,
    plant: Plant,
    schedule: Schedule,
    shedding: Shedding,
    tally: Tally,
    senders: Vec<Sender>,
    subjects: Arc<Catalogue>,
    truths: VecDeque<Truth>,
    demands: Vec<Demand>,
}

impl Fleet {
    /// The hub at `spec.start`: its first jobs have just begun, nothing is counted yet.
    ///
    /// # Errors
    /// Says which rule the specification breaks.
    pub fn new(spec: FleetSpec) -> Result<Self, SpecError> {
        spec.check()?;
        let named = |source| SpecError::Name { hub: spec.hub.clone(), source };
        let slots = Slots::new(&spec);
        let nodes: Vec<Node> = (0..spec.nodes)
            .map(|index| Node::new(slots.slot(index, &slots.name(index))))
            .collect::<Result<_, _>>()
            .map_err(named)?;
        let node_mw_max = node::power_mw_max(spec.gpus_per_node);
        let plant = Plant::new(&spec, &slots.per_pdu(&nodes), node_mw_max).map_err(named)?;
        let senders = sender::senders(&spec, &nodes, &plant)?;
        let gpus = nodes.iter().flat_map(|node| &node.gpus).map(|gpu| gpu.id.clone()).collect();
        let per_node = usize::try_from(spec.gpus_per_node).expect("a few GPUs");
        let projects = spec.projects.clone();
        let second = spec.start.get() / 1_000;
        let (every, lasts) = (spec.shedding_every, spec.shedding_for);
        let mut fleet = Self {
            now: spec.start,
            schedule: Schedule::new(noise(spec.seed, 31, 0), projects, gpus, per_node),
            shedding: Shedding::new(noise(spec.seed, 32, 0), every, lasts, second),
            tally: Tally::new(&spec.projects),
            subjects: Arc::new(Catalogue::new(std::iter::empty())),
            truths: VecDeque::new(),
            demands: Vec::new(),
            nodes,
            plant,
            senders,
            spec,
        };
        fleet.begin(second);
        Ok(fleet)
    }

    /// Lives the second before the start uncounted, so that the first rows show power, not zero.
    fn begin(&mut self, second: i64) {
        let ids = self.registers().into_iter().map(|(id, _)| id.clone());
        self.subjects = Arc::new(Catalogue::new(ids));
        self.run(second - 1);
        self.schedule.fill(self.now);
        self.truths.push_back(self.truth());
    }

    /// Lives one second.
    pub fn step(&mut self) {
        self.run(self.now.get() / 1_000);
        self.count_second();
        self.now = self.now.plus(SECOND).expect("simulated time does not end");
        self.schedule.advance(self.now);
        if self.now.floor_to(self.spec.truth_every) == self.now {
            if self.truths.len() == TRUTHS_MAX {
                self.truths.pop_front();
            }
            self.truths.push_back(self.truth());
        }
    }

    /// Sets the power of everything for this second.
    fn run(&mut self, second: i64) {
        self.schedule.demand(UtcMillis::new(second * 1_000), &mut self.demands);
        let mut demands = self.demands.iter().copied();
        let mut pdu_mw = vec![0; self.plant.pdus.len()];
        let inlet_mc = self.plant.inlet_mc();
        for node in &mut self.nodes {
            node.run(&mut demands, second, inlet_mc);
            *pdu_mw.get_mut(node.pdu).expect("a PDU feeds it") += node.register.power_mw;
        }
        let supply = self.shedding.advance(second, self.plant.battery_is_ready());
        self.plant.run(supply, &pdu_mw, second);
    }

    fn count_second(&mut self) {
        for node in &mut self.nodes {
            node.gpus.iter().for_each(|gpu| self.tally.count(gpu));
            node.count_second();
        }
        self.plant.count_second();
    }

    /// Every register, in the order of the catalogue.
    fn registers(&self) -> Vec<(&bijli_wire::SubjectId, Millijoules)> {
        let mut registers = Vec::new();
        for node in &self.nodes {
            registers.push((&node.subject, node.register.energy()));
            let packages = node.packages.iter().chain([&node.dram]);
            registers.extend(packages.map(|package| (&package.id, package.register.energy())));
            registers.extend(node.gpus.iter().map(|gpu| (&gpu.id, gpu.register.energy())));
        }
        let meters = self.plant.meters();
        registers.extend(meters.map(|meter| (&meter.point.meter, meter.register.energy())));
        registers
    }

    /// The moment up to which the fleet has lived.
    #[must_use]
    pub fn now(&self) -> UtcMillis {
        self.now
    }

    #[must_use]
    pub fn spec(&self) -> &FleetSpec {
        &self.spec
    }

    /// An agent for each node, and last the gateway of all meters.
    #[must_use]
    pub fn senders(&self) -> &[Sender] {
        &self.senders
    }

    /// What the sender of this index reads now: the groups that are due, at the start all of
    /// them. Empty for a sender that there is not.
    #[must_use]
    pub fn rows(&self, sender: usize) -> Vec<Row> {
        let all = self.now == self.spec.start;
        match self.nodes.get(sender) {
            Some(node) => sender::node_rows(node, self.now, all),
            None if sender == self.nodes.len() => sender::gateway_rows(&self.plant, self.now, all),
            None => Vec::new(),
        }
    }

    /// Jobs that started (`to` is `None`) or ended at this moment, ends first. At the start:
    /// the first jobs.
    #[must_use]
    pub fn allocations_changed(&self) -> &[Job] {
        self.schedule.changed()
    }

    /// Jobs that run now.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.schedule.running()
    }

    /// Who carried the last second.
    #[must_use]
    pub fn supply(&self) -> Supply {
        self.shedding.supply()
    }

    /// The points of the single-line diagram, each after its feeder.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        self.plant.meters().map(|meter| &meter.point)
    }

    /// Each node and the point that feeds it.
    pub fn placements(&self) -> impl Iterator<Item = (&NodeId, &str)> {
        let pdu = |node: &Node| self.plant.pdus.get(node.pdu).expect("a PDU feeds it");
        self.nodes.iter().map(move |node| (&node.id, pdu(node).point.id.as_str()))
    }

    /// The diagram as the collector's configuration has it.
    #[must_use]
    pub fn diagram_toml(&self) -> String {
        diagram::toml(&self.spec, self.points(), self.placements())
    }

    /// Exact energies from the start until now.
    #[must_use]
    pub fn truth(&self) -> Truth {
        let of = |(project, (active, held_idle)): (&bijli_wire::ProjectId, &(u64, u64))| {
            let energy = ProjectEnergy {
                gpu_active: Millijoules::new(*active),
                gpu_held_idle: Millijoules::new(*held_idle),
            };
            (project.clone(), energy)
        };
        Truth {
            from: self.spec.start,
            to: self.now,
            subjects: Arc::clone(&self.subjects),
            energies: self.registers().into_iter().map(|(_, energy)| energy).collect(),
            projects: self.spec.projects.iter().zip(&self.tally.projects).map(of).collect(),
            unallocated_idle: Millijoules::new(self.tally.unallocated),
            store: self.plant.store(),
        }
    }

    /// Exact energies of `[from, to)`. Both are the start, a multiple of `truth_every` (UTC) that
    /// is still kept, or now; otherwise `None`.
    #[must_use]
    pub fn truth_between(&self, from: UtcMillis, to: UtcMillis) -> Option<Truth> {
        self.truth_at(to)?.since(&self.truth_at(from)?)
    }

    fn truth_at(&self, at: UtcMillis) -> Option<Truth> {
        if at == self.now {
            return Some(self.truth());
        }
        self.truths
            .binary_search_by_key(&at, |truth| truth.to)
            .ok()
            .and_then(|place| self.truths.get(place))
            .cloned()
    }
}

/// Names of nodes and which PDU feeds them.
struct Slots<'a> {
    spec: &'a FleetSpec,
    seed: u64,
}

impl<'a> Slots<'a> {
    fn new(spec: &'a FleetSpec) -> Self {
        Self { spec, seed: noise(spec.seed, 33, 0) }
    }

    fn name(&self, index: u32) -> String {
        let number = index + 1;
        if self.spec.nodes < 100 {
            format!("sim-n{number:02}")
        } else {
            format!("sim-n{number:04}")
        }
    }

    /// Nodes stand in rows, and a row hangs on one PDU.
    fn slot<'b>(&'b self, index: u32, name: &'b str) -> Slot<'b> {
        let pdu = u64::from(index) * u64::from(self.spec.pdus) / u64::from(self.spec.nodes);
        Slot {
            hub: &self.spec.hub,
            name,
            index,
            gpus: self.spec.gpus_per_node,
            pdu: usize::try_from(pdu).expect("below the number of PDUs"),
            seed: self.seed,
        }
    }

    fn per_pdu(&self, nodes: &[Node]) -> Vec<u64> {
        let mut counts = vec![0; usize::try_from(self.spec.pdus).expect("a few PDUs")];
        for node in nodes {
            *counts.get_mut(node.pdu).expect("below the number of PDUs") += 1;
        }
        counts
    }
}
