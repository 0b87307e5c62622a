//! Who sends: an agent on every node and one gateway for all meters, with schema and rows.
//!
//! One table for each cadence drives both the schema and the rows, so a column can never hold
//! another column's quantity.

use bijli_wire::batch::{Group, Series, Subject};
use bijli_wire::{Millis, NodeId, Quantity, Schema, SchemaId, SubjectKind, UtcMillis, codec};

use crate::gpu::{self, Gpu};
use crate::meter::{Meter, Role};
use crate::node::{self, Node, Package};
use crate::plant::Plant;
use crate::register::reading;
use crate::spec::{FleetSpec, SpecError};

const AGENT: &str = "bijli-fleet (simulated)";
const METERS_EVERY: Millis = Millis::new(5_000);

/// One node or gateway that sends batches.
#[derive(Clone, Debug)]
pub struct Sender {
    pub node: NodeId,
    pub schema: Schema,
    pub schema_id: SchemaId,
    /// The schema as it is sent.
    pub schema_body: Vec<u8>,
}

/// The readings of one group at one moment, in the order of its series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub group: usize,
    pub at: UtcMillis,
    pub values: Vec<Option<i64>>,
}

type Columns<T> = &'static [(Quantity, fn(&T) -> i64)];

/// What a node's agent reads at one cadence.
struct Table {
    cadence: Millis,
    node: Columns<Node>,
    package: Columns<Package>,
    gpu: Columns<Gpu>,
}

const HOT: Table = Table {
    cadence: Millis::new(1_000),
    node: &[
        (Quantity::EnergyRegister, |node| node.register.shown()),
        (Quantity::PowerInstant, |node| node.register.power()),
    ],
    package: &[(Quantity::EnergyRegister, |package| package.register.shown())],
    gpu: &[
        (Quantity::EnergyRegister, |gpu| gpu.register.shown()),
        (Quantity::PowerAverage, |gpu| gpu.register.power()),
        (Quantity::PowerInstant, Gpu::power_instant),
        (Quantity::Temperature, Gpu::temperature),
        (Quantity::GpuUtilization, Gpu::utilization),
        (Quantity::ProcessCount, Gpu::processes),
    ],
};

const WARM: Table = Table {
    cadence: Millis::new(10_000),
    node: &[
        (Quantity::Temperature, |node| node.host.inlet_mc),
        (Quantity::CpuUtilization, |node| node.host.cpu_utilization_ppm),
        (Quantity::HostMemoryUsed, |node| node.host.memory_used),
        (Quantity::NetworkReceived, |node| node.host.network_received),
        (Quantity::NetworkSent, |node| node.host.network_sent),
        (Quantity::DiskRead, |node| node.host.disk_read),
        (Quantity::DiskWritten, |node| node.host.disk_written),
    ],
    package: &[],
    gpu: &[
        (Quantity::MemoryTemperature, Gpu::memory_temperature),
        (Quantity::MemoryUtilization, Gpu::memory_utilization),
        (Quantity::MemoryUsed, Gpu::memory_used),
        (Quantity::ClockSm, Gpu::clock_sm),
        (Quantity::ClockMemory, Gpu::clock_memory),
        (Quantity::ThrottleReasons, Gpu::throttle_reasons),
    ],
};

const COLD: Table = Table {
    cadence: Millis::new(60_000),
    node: &[
        (Quantity::HostMemorySize, |_| node::HOST_MEMORY_BYTES),
        (Quantity::DiskUsed, |node| node.host.disk_used()),
        (Quantity::DiskSize, |_| node::DISK_BYTES),
    ],
    package: &[],
    gpu: &[
        (Quantity::PowerLimit, |_| reading(gpu::POWER_MW_MAX)),
        (Quantity::MemorySize, |_| reading(gpu::MEMORY_BYTES)),
        (Quantity::EccCorrected, Gpu::ecc_corrected),
        (Quantity::EccUncorrected, |_| 0),
    ],
};

const TABLES: [&Table; 3] = [&HOT, &WARM, &COLD];

impl Table {
    /// Subjects stand as in [`node_subjects`]: the node, its packages, its DRAM, its GPUs.
    fn group(&self, node: &Node) -> Group {
        let packages = node.packages.len() + 1;
        let kinds = std::iter::once(series_of(self.node))
            .chain(std::iter::repeat_n(series_of(self.package), packages))
            .chain(std::iter::repeat_n(series_of(self.gpu), node.gpus.len()));
        let series = kinds.enumerate().flat_map(|(subject, quantities)| {
            quantities.into_iter().map(move |quantity| Series::new(subject, quantity, 0))
        });
        Group { cadence: self.cadence, series: series.collect() }
    }

    fn values(&self, node: &Node) -> Vec<Option<i64>> {
        let packages = node.packages.iter().chain([&node.dram]);
        read(self.node, node)
            .chain(packages.flat_map(|package| read(self.package, package)))
            .chain(node.gpus.iter().flat_map(|gpu| read(self.gpu, gpu)))
            .collect()
    }
}

fn series_of<T>(columns: Columns<T>) -> Vec<Quantity> {
    columns.iter().map(|(quantity, _)| *quantity).collect()
}

fn read<T>(columns: Columns<T>, subject: &T) -> impl Iterator<Item = Option<i64>> {
    columns.iter().map(move |(_, read)| Some(read(subject)))
}

/// The rows of a node's agent at `now`: those due, or all of them.
pub(crate) fn node_rows(node: &Node, now: UtcMillis, all: bool) -> Vec<Row> {
    let due = TABLES.iter().enumerate().filter(|(_, table)| all || is_due(now, table.cadence));
    due.map(|(group, table)| Row { group, at: now, values: table.values(node) }).collect()
}

/// The row of the gateway at `now`, if one is due.
pub(crate) fn gateway_rows(plant: &Plant, now: UtcMillis, all: bool) -> Vec<Row> {
    if !all && !is_due(now, METERS_EVERY) {
        return Vec::new();
    }
    let values = plant.meters().flat_map(|meter| read(meter.point.role.readings(), meter));
    vec![Row { group: 0, at: now, values: values.collect() }]
}

fn is_due(now: UtcMillis, cadence: Millis) -> bool {
    now.floor_to(cadence) == now
}

/// An agent's schema for each node, then the gateway's.
pub(crate) fn senders(
    spec: &FleetSpec,
    nodes: &[Node],
    plant: &Plant,
) -> Result<Vec<Sender>, SpecError> {
    let agent = |node: &Node| {
        let groups = TABLES.iter().map(|table| table.group(node)).collect();
        sender(spec, node.id.clone(), node_subjects(node), groups)
    };
    let gateway = NodeId::new("sim-gateway")
        .map_err(|source| SpecError::Name { hub: spec.hub.clone(), source })?;
    let gateway = sender(spec, gateway, meter_subjects(plant), vec![meter_group(plant)]);
    nodes.iter().map(agent).chain([gateway]).collect()
}

fn sender(
    spec: &FleetSpec,
    node: NodeId,
    subjects: Vec<Subject>,
    groups: Vec<Group>,
) -> Result<Sender, SpecError> {
    let hub = spec.hub.clone();
    let schema = Schema { hub, node: node.clone(), agent: AGENT.to_owned(), subjects, groups };
    let (schema_id, schema_body) = codec::encode_schema(&schema)
        .map_err(|source| SpecError::Schema { node: node.to_string(), source })?;
    Ok(Sender { node, schema, schema_id, schema_body })
}

fn node_subjects(node: &Node) -> Vec<Subject> {
    let itself = Subject {
        id: node.subject.clone(),
        kind: SubjectKind::Node,
        label: "whole input, BMC".to_owned(),
        model: "Simulated 8-GPU node".to_owned(),
        serial: format!("SIM-{}", node.id),
        register: Some(node.register.declared()),
    };
    let package = |package: &Package, kind, model: &str| Subject {
        id: package.id.clone(),
        kind,
        label: String::new(),
        model: model.to_owned(),
        serial: String::new(),
        register: Some(package.register.declared()),
    };
    let gpu = |(index, gpu): (usize, &Gpu)| Subject {
        id: gpu.id.clone(),
        kind: SubjectKind::Gpu,
        label: index.to_string(),
        model: "Simulated H100 80GB HBM3".to_owned(),
        serial: format!("SIM-{}-{index}", node.id),
        register: Some(gpu.register.declared()),
    };
    let cpus = node.packages.iter();
    let cpus = cpus.map(|cpu| package(cpu, SubjectKind::CpuPackage, "Simulated CPU package"));
    let dram = package(&node.dram, SubjectKind::Dram, "Simulated DRAM");
    let gpus = node.gpus.iter().enumerate().map(gpu);
    std::iter::once(itself).chain(cpus).chain([dram]).chain(gpus).collect()
}

fn meter_subjects(plant: &Plant) -> Vec<Subject> {
    let subject = |meter: &Meter| Subject {
        id: meter.point.meter.clone(),
        kind: SubjectKind::Meter,
        label: meter.point.id.clone(),
        model: format!("Simulated meter ({})", meter.point.role.as_str()),
        serial: format!("SIM-{}", meter.point.id),
        register: Some(meter.register.declared()),
    };
    plant.meters().map(subject).collect()
}

fn meter_group(plant: &Plant) -> Group {
    let series = plant.meters().enumerate().flat_map(|(subject, meter)| {
        let quantities = Role::readings(meter.point.role).iter();
        quantities.map(move |(quantity, _)| Series::new(subject, *quantity, 0))
    });
    Group { cadence: METERS_EVERY, series: series.collect() }
}
