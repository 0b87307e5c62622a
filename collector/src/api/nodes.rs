//! Nodes, devices and meters: what they last said and what was booked of them.

use bijli_wire::units::{human_energy, human_power};
use bijli_wire::{NodeId, SubjectKind, UtcMillis};
use serde::Serialize;

use super::amount::{ClassAmount, classes, time};
use super::asked::{Asked, missing};
use super::fleet::{self, Node, Registers, Subject, age, kind_word};
use super::{Answer, answer};
use crate::diagram::{Plan, PlanPoint, PlanRole};

#[derive(Debug, Serialize)]
pub(super) struct NodesAnswer {
    hub: String,
    nodes_expected: Option<u32>,
    nodes_reporting: usize,
    nodes: Vec<NodeAnswer>,
}

#[derive(Debug, Serialize)]
struct NodeAnswer {
    node: String,
    agent: String,
    /// A batch came in within the last 60 s.
    is_up: bool,
    last_batch: String,
    age_s: i64,
    newest_reading: Option<String>,
    batches: u64,
    /// Only of a node whose clock was ever found wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<ClockAnswer>,
    /// The point of the diagram that feeds it; null: not placed, so outside PUE.
    fed_by: Option<String>,
    gpus: usize,
    power: Option<Power>,
}

/// A wrong clock.
#[derive(Debug, Serialize)]
struct ClockAnswer {
    /// Added to the times of its last batch; 0: the clock is good again.
    offset_ms: String,
    corrected_batches: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct OneNode {
    hub: String,
    #[serde(flatten)]
    node: NodeAnswer,
    subjects: Vec<SubjectAnswer>,
}

#[derive(Debug, Serialize)]
pub(super) struct DevicesAnswer {
    hub: String,
    devices: Vec<SubjectAnswer>,
}

#[derive(Debug, Serialize)]
pub(super) struct MetersAnswer {
    hub: String,
    meters: Vec<MeterAnswer>,
}

#[derive(Debug, Serialize)]
struct MeterAnswer {
    /// Where it hangs in the diagram; null: nowhere, so it counts for nothing.
    point: Option<String>,
    role: Option<&'static str>,
    #[serde(flatten)]
    subject: SubjectAnswer,
}

#[derive(Debug, Serialize)]
struct SubjectAnswer {
    subject: String,
    kind: &'static str,
    /// Null: declared in the diagram, and no node reads it.
    node: Option<String>,
    label: String,
    model: String,
    serial: String,
    power: Option<Power>,
    register: Option<RegisterAnswer>,
    readings: Vec<ReadingAnswer>,
}

#[derive(Debug, Serialize)]
struct Power {
    power_mw: String,
    power: String,
}

#[derive(Debug, Serialize)]
struct RegisterAnswer {
    last_reading: Option<String>,
    age_s: Option<i64>,
    /// The raw count.
    last_count: Option<String>,
    booked_mj: String,
    booked: String,
    by_class: Vec<ClassAmount>,
    resets: u64,
    wraps: u64,
    step_backs: u64,
    implausible: u64,
    broken: u64,
    missing: u64,
    late: u64,
    held_out: u64,
}

#[derive(Debug, Serialize)]
struct ReadingAnswer {
    quantity: &'static str,
    part: u32,
    unit: &'static str,
    /// Null: it could not be read at that time.
    value: Option<String>,
    at: String,
}

/// What the answers are made of.
struct Scene {
    now: UtcMillis,
    nodes: Vec<Node>,
    registers: Registers,
    plan: Plan,
}

impl Scene {
    fn of(asked: &Asked, hub: &crate::state::Hub) -> Self {
        let now = asked.now();
        let nodes = fleet::nodes(hub, now);
        let registers = fleet::registers(hub);
        let plan = hub.view().plan.clone();
        Self { now, nodes, registers, plan }
    }
}

pub(super) async fn list(asked: Asked) -> Answer<NodesAnswer> {
    answer(move || {
        asked.parameters(&[])?;
        let hub = asked.hub()?;
        let scene = Scene::of(&asked, &hub);
        Ok(NodesAnswer {
            hub: hub.id.to_string(),
            nodes_expected: hub.nodes_expected,
            nodes_reporting: scene.nodes.iter().filter(|node| node.is_up).count(),
            nodes: scene.nodes.iter().map(|one| node(one, &scene)).collect(),
        })
    })
    .await
}

pub(super) async fn one(asked: Asked) -> Answer<OneNode> {
    answer(move || {
        asked.parameters(&[])?;
        let (hub, id) = (asked.hub()?, asked.node()?);
        let scene = Scene::of(&asked, &hub);
        let Some(found) = scene.nodes.iter().find(|node| node.id == id) else {
            return Err(missing("node", asked.name()));
        };
        let subjects = found.subjects.iter().map(|one| subject(one, &found.id, &scene)).collect();
        Ok(OneNode { hub: hub.id.to_string(), node: node(found, &scene), subjects })
    })
    .await
}

pub(super) async fn devices(asked: Asked) -> Answer<DevicesAnswer> {
    answer(move || {
        let parameters = asked.parameters(&["node"])?;
        let hub = asked.hub()?;
        let scene = Scene::of(&asked, &hub);
        let is_asked =
            |node: &&Node| parameters.text("node").is_none_or(|id| id == node.id.as_str());
        let mut devices = Vec::new();
        for node in scene.nodes.iter().filter(is_asked) {
            let is_device = |subject: &&Subject| match subject.kind {
                SubjectKind::Gpu | SubjectKind::CpuPackage | SubjectKind::Dram => true,
                SubjectKind::Node | SubjectKind::Meter | SubjectKind::Unspecified => false,
            };
            let here = node.subjects.iter().filter(is_device);
            devices.extend(here.map(|one| subject(one, &node.id, &scene)));
        }
        Ok(DevicesAnswer { hub: hub.id.to_string(), devices })
    })
    .await
}

pub(super) async fn meters(asked: Asked) -> Answer<MetersAnswer> {
    answer(move || {
        asked.parameters(&[])?;
        let hub = asked.hub()?;
        let scene = Scene::of(&asked, &hub);
        let mut meters = Vec::new();
        for node in &scene.nodes {
            for one in node.of_kind(SubjectKind::Meter) {
                let point = point_of(&scene.plan, one.id.as_str());
                meters.push(meter(point, subject(one, &node.id, &scene)));
            }
        }
        for point in &scene.plan.points {
            let Some(id) = &point.meter else { continue };
            if !meters.iter().any(|meter| meter.subject.subject == *id) {
                meters.push(meter(Some(point), never_read(id)));
            }
        }
        meters.sort_by(|a, b| a.subject.subject.cmp(&b.subject.subject));
        Ok(MetersAnswer { hub: hub.id.to_string(), meters })
    })
    .await
}

/// The point of the diagram where a meter hangs.
pub(crate) fn point_of<'a>(plan: &'a Plan, meter: &str) -> Option<&'a PlanPoint> {
    plan.points.iter().find(|point| point.meter.as_deref() == Some(meter))
}

pub(crate) const fn role_word(point: &PlanPoint) -> &'static str {
    match point.role {
        PlanRole::Grid => "grid",
        PlanRole::Generator => "generator",
        PlanRole::Solar => "solar",
        PlanRole::UpsIn => "ups_in",
        PlanRole::UpsOut => "ups_out",
        PlanRole::Pdu => "pdu",
        PlanRole::Cooling => "cooling",
        PlanRole::Lighting => "lighting",
        PlanRole::Other => "other",
    }
}

fn meter(point: Option<&PlanPoint>, subject: SubjectAnswer) -> MeterAnswer {
    let role = point.map(role_word);
    MeterAnswer { point: point.map(|point| point.id.clone()), role, subject }
}

fn never_read(id: &str) -> SubjectAnswer {
    SubjectAnswer {
        subject: id.to_owned(),
        kind: kind_word(SubjectKind::Meter),
        node: None,
        label: String::new(),
        model: String::new(),
        serial: String::new(),
        power: None,
        register: None,
        readings: Vec::new(),
    }
}

fn node(node: &Node, scene: &Scene) -> NodeAnswer {
    let fed_by = scene.plan.nodes.iter().find(|placed| placed.id == node.id.as_str());
    let power = node.power_input(&scene.registers, scene.now);
    let power = power.or_else(|| node.power_sum(&scene.registers, scene.now));
    NodeAnswer {
        node: node.id.to_string(),
        agent: node.agent.clone(),
        is_up: node.is_up,
        last_batch: time(node.received),
        age_s: age(node.received, scene.now) / 1_000,
        newest_reading: node.newest.map(time),
        batches: node.batches,
        clock: (node.clock.1 > 0).then(|| ClockAnswer {
            offset_ms: node.clock.0.to_string(),
            corrected_batches: node.clock.1,
        }),
        fed_by: fed_by.map(|placed| placed.fed_by.clone()),
        gpus: node.of_kind(SubjectKind::Gpu).count(),
        power: power.map(power_answer),
    }
}

fn power_answer(milliwatts: u64) -> Power {
    Power { power_mw: milliwatts.to_string(), power: human_power(milliwatts) }
}

fn subject(subject: &Subject, node: &NodeId, scene: &Scene) -> SubjectAnswer {
    let power = subject.power(scene.now);
    let power = power.or_else(|| subject.register_power(&scene.registers, scene.now));
    let register = scene.registers.get(&subject.id).filter(|(owner, _)| owner == node);
    let readings = subject.readings.iter().map(|(quantity, part, latest)| ReadingAnswer {
        quantity: quantity.spec().name,
        part: *part,
        unit: quantity.spec().unit,
        value: latest.value.map(|value| value.to_string()),
        at: time(latest.at),
    });
    SubjectAnswer {
        subject: subject.id.to_string(),
        kind: kind_word(subject.kind),
        node: Some(node.to_string()),
        label: subject.label.clone(),
        model: subject.model.clone(),
        serial: subject.serial.clone(),
        power: power.map(power_answer),
        register: register.map(|(_, register)| register_answer(register, scene.now)),
        readings: readings.collect(),
    }
}

fn register_answer(register: &fleet::Register, now: UtcMillis) -> RegisterAnswer {
    let counts = register.counts;
    let booked = register.booked.total();
    RegisterAnswer {
        last_reading: register.last.map(|(at, _)| time(at)),
        age_s: register.last.map(|(at, _)| age(at, now) / 1_000),
        last_count: register.last.map(|(_, count)| count.to_string()),
        booked_mj: booked.to_string(),
        booked: human_energy(booked),
        by_class: classes(&register.booked),
        resets: counts.resets,
        wraps: counts.wraps,
        step_backs: counts.step_backs,
        implausible: counts.implausible,
        broken: counts.broken,
        missing: counts.missing,
        late: counts.late,
        held_out: counts.held_out,
    }
}
