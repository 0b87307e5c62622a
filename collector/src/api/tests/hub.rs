//! A small hub: grid, UPS, PDU, chiller and lights; two nodes with two GPUs each; a gateway.
//!
//! Powers are constant, so every amount can be worked out by hand: 1,800 W come in, 1,350 W leave
//! the UPS, 1,320 W reach the devices.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bijli_ledger::leaf::Source;
use bijli_ledger::{Activity, Allocation, Holds, Leaf, LeafMaker, Rules};
use bijli_seglog::testing::ModelDisk;
use bijli_wire::batch::{Event, Group, Matrix, Register, Series, Subject};
use bijli_wire::message::EventKind;
use bijli_wire::{
    Batch, BatchSeq, HubId, Method, Millis, Milliwatts, NodeId, ProjectId, Quantity, Schema,
    SchemaId, SpoolEpoch, SubjectId, SubjectKind, UtcMillis,
};

use crate::clock::Clock;
use crate::diagram::{Plan, PlanMeter, PlanNode, PlanPoint, PlanRole};
use crate::health::Health;
use crate::projects::ProjectText;
use crate::projects::registry::Change;
use crate::projects::text::ClaimText;
use crate::state::{Hub, Shared, State};

/// 2026-08-01T09:00:00Z, where documents begin.
pub(crate) const NINE: i64 = 1_785_542_400_000 + 9 * 3_600_000;
pub(crate) const QUARTER: i64 = 900_000;
const MINUTE: i64 = 60_000;

/// Subject, node, kind, watts, busy or not, index.
type Row = (&'static str, &'static str, SubjectKind, i64, Activity, &'static str);

const SUBJECTS: &[Row] = &[
    ("GPU-aa01", "isb-n01", SubjectKind::Gpu, 400, Activity::Busy, "0"),
    ("GPU-aa02", "isb-n01", SubjectKind::Gpu, 90, Activity::Idle, "1"),
    ("isb-n01/cpu0", "isb-n01", SubjectKind::CpuPackage, 180, Activity::Unknown, ""),
    ("isb-n01/dram0", "isb-n01", SubjectKind::Dram, 40, Activity::Unknown, ""),
    ("GPU-bb01", "isb-n02", SubjectKind::Gpu, 350, Activity::Busy, "0"),
    ("GPU-bb02", "isb-n02", SubjectKind::Gpu, 70, Activity::Idle, "1"),
    ("isb-n02/cpu0", "isb-n02", SubjectKind::CpuPackage, 150, Activity::Unknown, ""),
    ("isb-n02/dram0", "isb-n02", SubjectKind::Dram, 40, Activity::Unknown, ""),
    ("m-incomer", "isb-gw", SubjectKind::Meter, 1_800, Activity::Unknown, "Incomer"),
    ("m-ups-in", "isb-gw", SubjectKind::Meter, 1_420, Activity::Unknown, "UPS input"),
    ("m-ups-out", "isb-gw", SubjectKind::Meter, 1_350, Activity::Unknown, "UPS output"),
    ("m-pdu-a", "isb-gw", SubjectKind::Meter, 1_345, Activity::Unknown, "PDU A"),
    ("m-chiller", "isb-gw", SubjectKind::Meter, 310, Activity::Unknown, "Chiller"),
    ("m-lights", "isb-gw", SubjectKind::Meter, 40, Activity::Unknown, "Lights"),
];

/// What outsiders can write: an agent's name, a model, an event.
pub(crate) const HOSTILE: &str = "<script>alert(1)</script>\"} 1\n";

pub(crate) fn empty_state() -> State {
    State::new(Clock, Rules::default(), Health::new(), Some("All readings are simulated".into()))
}

/// A ready collector with the small hub, its books from `start` over `quarters` closed intervals
/// and seven minutes of an open one.
pub(crate) fn state(start: i64, quarters: i64) -> Shared {
    let state = empty_state();
    let mut hub = Hub::journalled(id("isb"), Rules::default());
    hub.title = "Islamabad".into();
    hub.nodes_expected = Some(3);
    hub.is_configured = true;
    let hub = state.add_hub(hub);
    let tables = crate::kpi::Tables::read(TABLES).expect("sound");
    hub.view_mut().tables = Arc::new(tables);
    let leaves = fill(&hub, plan(), start, quarters);
    index(&state, &leaves);
    let heard = UtcMillis::new(start + quarters * QUARTER + 7 * MINUTE);
    state.moments_mut().note(heard, state.leaves_made());
    state.set_ready();
    Arc::new(state)
}

/// One factor; no market-based one, no water.
const TABLES: &str = r#"
demand_window = "30m"
[[factor]]
id = "grid-example"
of = "grid"
method = "location"
value = "400 g/kWh"
scope = 2
source = "an example, no real factor"
year = 2026
from = "2026-01-01"
"#;
/// An index of some leaves, in a folder that goes when the state does.
pub(crate) fn index(state: &State, leaves: &[Leaf]) {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut log, _) = crate::leaves::open(ModelDisk::new(1), Path::new("/ledger")).expect("opens");
    for leaf in leaves {
        log.append(&leaf.encode()).expect("fits");
    }
    log.commit().expect("no fault");
    let log = Arc::new(Mutex::new(log));
    let (index, thread) = crate::index::start(folder.path(), log, Health::new()).expect("starts");
    state.set_index(index);
    state.set_leaves_made(u64::try_from(leaves.len()).expect("few"));
    std::thread::spawn(move || {
        thread.join().expect("it ends when nobody asks any more");
        drop(folder);
    });
}

fn id(hub: &str) -> HubId {
    HubId::new(hub).expect("a name")
}

pub(crate) fn plan() -> Plan {
    let point = |id: &str, role, fed_by: Option<&str>| PlanPoint {
        id: id.into(),
        role,
        meter: Some(format!("m-{id}")),
        fed_by: fed_by.map(Into::into),
    };
    let node = |id: &str| PlanNode { id: id.into(), fed_by: "pdu-a".into() };
    Plan {
        pue_category: Some(1),
        points: vec![
            point("incomer", PlanRole::Grid, None),
            point("ups-in", PlanRole::UpsIn, None),
            point("ups-out", PlanRole::UpsOut, Some("ups-in")),
            point("pdu-a", PlanRole::Pdu, Some("ups-out")),
            point("chiller", PlanRole::Cooling, None),
            point("lights", PlanRole::Lighting, None),
        ],
        nodes: vec![node("isb-n01"), node("isb-n02")],
        pue_standard: Some("ISO/IEC 30134-2:2026".into()),
        meters: meters(),
        ..Plan::default()
    }
}

/// The two that PUE rests on: one in full, of one the least.
fn meters() -> Vec<PlanMeter> {
    let text = |words: &str| Some(words.to_owned());
    let incomer = PlanMeter {
        id: "m-incomer".into(),
        make: text("Landis+Gyr"),
        model: text("E650"),
        serial: text("50 123 456"),
        class: text("0.5S"),
        standard: text("IEC 62053-22:2020"),
        ct_ratio: text("2000/5"),
        ct_class: text("0.5S"),
        calibrated: text("2026-03-31"),
        calibration_due: text("2028-03-31"),
        certificate: text("NPSL-2026-0117"),
        laboratory: text("NPSL Islamabad"),
    };
    let (class, standard) = (text("1"), text("IEC 62053-21:2020"));
    let ups = PlanMeter { id: "m-ups-out".into(), class, standard, ..PlanMeter::default() };
    vec![incomer, ups]
}

/// What the small hub measured, booked along a plan; the leaves that this led to.
pub(crate) fn fill(hub: &Hub, plan: Plan, start: i64, quarters: i64) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    {
        let (mut books, mut maker) = (hub.books_mut(), LeafMaker::default());
        let diagram = plan.diagram().expect("sound").expect("not empty");
        books.set_diagram(UtcMillis::new(0), diagram);
        for (name, node, kind, ..) in SUBJECTS {
            let _known = books.declare(&node_id(node), &subject(name, *kind, ""));
        }
        for (id, device, project) in [
            ("1", "GPU-aa01", "climate"),
            ("2", "GPU-aa02", "climate"),
            ("3", "GPU-bb01", "urdu-llm"),
        ] {
            let _new = books.allocate(allocation(id, device, project, start)).expect("sound");
        }
        let minutes = quarters * 15 + 7;
        for minute in 0..=minutes {
            let ms = minute * MINUTE;
            for (name, _, _, watts, activity, _) in SUBJECTS {
                let at = UtcMillis::new(start + ms);
                let _verdict = books.read(&subject_id(name), at, Some(watts * ms), *activity);
            }
            let closed = books.advance(UtcMillis::new(start + ms));
            let source = Source { first: 1, last: 1, hash: [0; 32] };
            for posted in closed {
                leaves.extend(maker.make(&hub.id, books.statement(&posted), source));
            }
        }
    }
    hub.view_mut().plan = plan;
    hub.view_mut().booked_until = Some(UtcMillis::new(start + quarters * QUARTER + 7 * MINUTE));
    let now = Clock.now();
    for node in ["isb-n01", "isb-n02", "isb-gw"] {
        let (schema, batch) = batch(node, now);
        hub.live_mut().absorb(SchemaId::new([1; 32]), &schema, &batch.into_tables(), now);
    }
    leaves
}

pub(crate) fn allocation(id: &str, device: &str, project: &str, from: i64) -> Allocation {
    Allocation {
        id: id.into(),
        project: ProjectId::new(project).expect("a name"),
        holds: Holds::Devices(vec![subject_id(device)]),
        from: UtcMillis::new(from),
        to: None,
        who: "slurm".into(),
        why: "job".into(),
    }
}

fn node_id(name: &str) -> NodeId {
    NodeId::new(name).expect("a name")
}

pub(crate) fn subject_id(name: &str) -> SubjectId {
    SubjectId::new(name).expect("a name")
}

fn subject(name: &str, kind: SubjectKind, label: &str) -> Subject {
    let register = Register {
        numerator: 1,
        denominator: 1,
        modulus: None,
        power_max: Milliwatts::new(10_000_000),
        epoch: 0,
        method: Method::Hardware,
        gap: Millis::new(120_000),
    };
    Subject {
        id: subject_id(name),
        kind,
        label: label.into(),
        model: if kind == SubjectKind::Gpu { "NVIDIA H200".into() } else { String::new() },
        serial: String::new(),
        register: Some(register),
    }
}

/// One batch with the newest readings of a node.
fn batch(node: &str, at: UtcMillis) -> (Schema, Batch) {
    let rows: Vec<&Row> = SUBJECTS.iter().filter(|row| row.1 == node).collect();
    let mut subjects: Vec<Subject> = rows.iter().map(|row| subject(row.0, row.2, row.5)).collect();
    let (mut series, mut columns) = (Vec::new(), Vec::new());
    for (index, row) in rows.iter().enumerate() {
        series.push(Series::new(index, Quantity::PowerInstant, 0));
        columns.push(vec![Some(row.3 * 1_000)]);
        if row.2 == SubjectKind::Gpu {
            series.push(Series::new(index, Quantity::Temperature, 0));
            columns.push(vec![Some(30_000 + row.3 * 100)]);
            series.push(Series::new(index, Quantity::MemoryTemperature, 0));
            columns.push(vec![None]);
            series.push(Series::new(index, Quantity::GpuUtilization, 0));
            columns.push(vec![Some(if row.4 == Activity::Busy { 970_000 } else { 0 })]);
            series.push(Series::new(index, Quantity::EccCorrected, 0));
            columns.push(vec![Some(3)]);
        }
    }
    if node != "isb-gw" {
        let mut host = subject(node, SubjectKind::Node, "");
        host.register = None;
        subjects.push(host);
        series.push(Series::new(subjects.len() - 1, Quantity::CpuUtilization, 0));
        columns.push(vec![Some(125_000)]);
        series.push(Series::new(subjects.len() - 1, Quantity::HostMemoryUsed, 0));
        columns.push(vec![Some(64 << 30)]);
    }
    let agent = if node == "isb-n02" { HOSTILE.to_owned() } else { "bijli-agent 0.1.0".into() };
    let groups = vec![Group { cadence: Millis::new(1_000), series }];
    let schema = Schema { hub: id("isb"), node: node_id(node), agent, subjects, groups };
    let (kind, text) = (EventKind::ProbeFailed, HOSTILE.to_owned());
    let failed = Event::plain(UtcMillis::new(NINE), Some(0), kind, text);
    let batch = Batch {
        hub: id("isb"),
        node: node_id(node),
        epoch: SpoolEpoch::new([7; 16]),
        sequence: BatchSeq::FIRST,
        schema: SchemaId::new([1; 32]),
        created: at,
        uptime: None,
        matrices: vec![Matrix { group: 0, times: vec![at], columns }],
        events: if node == "isb-n01" { vec![failed, xid(79, 1), xid(94, 3)] } else { Vec::new() },
        holds: Vec::new(),
    };
    (schema, batch)
}

/// An XID of the first GPU, a quarter of an hour times `count` after nine.
fn xid(code: u32, count: u32) -> Event {
    let at = UtcMillis::new(NINE + i64::from(count) * QUARTER);
    let (subject, kind, text) = (Some(0), EventKind::GpuXid, format!("pid=1, {HOSTILE}"));
    Event { at, subject, kind, text, code, count }
}

/// A project of the registry, over all of August 2026.
pub(crate) fn register(state: &State, id: &str, accounts: &[&str], budget: Option<&str>) {
    let names = accounts.iter().map(|name| ClaimText::Name((*name).into()));
    let text = ProjectText {
        id: id.into(),
        title: HOSTILE.trim_end().into(),
        organisation: "PMD".into(),
        grant: "NTF-2026-17".into(),
        accounts: names.collect(),
        namespaces: Vec::new(),
        from: "2026-08-01T00:00:00Z".into(),
        to: Some("2026-09-01T00:00:00Z".into()),
        budget: budget.map(Into::into),
        who: "A. Khan".into(),
        why: "grant letter".into(),
    };
    let change = Change::Put(Box::new(text.read().expect("sound")));
    let when = (UtcMillis::new(NINE), state.leaves_made());
    let _new = state.registry_mut().make(change, when, 900_000).expect("sound");
}
