//! July of a hub in Lahore, hour by hour: what each meter and device shows, and the truth.
//!
//! The feeder is cut from 17:00 to 19:00: an hour on batteries without cooling, then the generator.
//! A GPU's holder is told a week late; the chiller's meter is silent for a while and goes on; the
//! lights' meter and the UPS output's come back as others, so that what they counted meanwhile is
//! lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bijli_collector::frame::Frame;
use bijli_collector::replay;
use bijli_ledger::Rules;
use bijli_seglog::RealDisk;
use bijli_wire::batch::{Group, Register, Series, Subject};
use bijli_wire::{
    Batch, BatchSeq, HubId, Matrix, Method, Millis, Milliwatts, NodeId, Quantity, Schema,
    SpoolEpoch, SubjectId, SubjectKind, UtcMillis, codec,
};

use harness::faketime::seconds_ago;
use harness::program::{Program, binary};
use harness::{eventually, http, utc_ms};

pub const HOUR: i64 = 3_600_000;
pub const HOURS: i64 = 31 * 24;
/// 2026-07-01 at midnight of Pakistan.
pub const START: i64 = 1_782_846_000_000;
pub const END: i64 = START + HOURS * HOUR;
/// Hours, counted from the start.
const CHILLER_SILENT: std::ops::Range<i64> = 7 * 24 + 9..7 * 24 + 13;
const LIGHTS_LOST: std::ops::Range<i64> = 11 * 24 + 2..11 * 24 + 6;
const OUTPUT_LOST: std::ops::Range<i64> = 13 * 24 + 1..13 * 24 + 4;
const EARLY: std::ops::Range<i64> = 3 * 24..10 * 24;
const LATE: std::ops::Range<i64> = 14 * 24..17 * 24;
const TOLD_LATE: i64 = 21 * 24;
/// A name that a spreadsheet would take for a formula.
pub const HOSTILE: &str = "-1/cmd";

/// Watts of one hour.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watts {
    grid: u64,
    genset: u64,
    ups_in: u64,
    ups_out: u64,
    pdu: u64,
    chiller: u64,
    lights: u64,
    node: [u64; 2],
    gpu: [u64; 2],
}

pub const METERS: [&str; 7] =
    ["m-grid", "m-genset", "m-ups-in", "m-ups-out", "m-pdu", "m-chiller", "m-lights"];

impl Watts {
    pub fn at(hour: i64) -> Self {
        let of_day = hour % 24;
        let wave = u64::try_from((hour * 7_919) % 100).expect("above 0");
        let mut now = Self::default();
        now.gpu = [500 + wave, 400 - wave];
        now.node = [now.gpu[0] + 300, now.gpu[1] + 250 + wave];
        now.pdu = now.node[0] + now.node[1] + 20;
        now.ups_out = now.pdu;
        let is_on_battery = of_day == 17;
        let charge = if of_day == 19 { now.pdu + 100 } else { 0 };
        let mut spilled = 0;
        if !is_on_battery {
            now.ups_in = now.ups_out + 90 + charge;
            now.chiller = if CHILLER_SILENT.contains(&hour) { 600 } else { 500 + 2 * wave };
            now.lights = 40;
            spilled = 15;
        }
        let need = now.ups_in + now.chiller + now.lights + spilled;
        if of_day == 18 {
            now.genset = need;
        } else {
            now.grid = need;
        }
        now
    }

    pub fn of(&self, meter: &str) -> u64 {
        match meter {
            "m-grid" => self.grid,
            "m-genset" => self.genset,
            "m-ups-in" => self.ups_in,
            "m-ups-out" => self.ups_out,
            "m-pdu" => self.pdu,
            "m-chiller" => self.chiller,
            _ => self.lights,
        }
    }

    pub fn supplied(&self) -> u64 {
        self.grid + self.genset
    }
}

/// A watt for an hour, in millijoules.
pub fn energy(watts: u64) -> u128 {
    u128::from(watts) * 3_600_000
}

/// Whether a GPU is at work in an hour: the first rests at night, the other in odd hours.
fn is_busy(gpu: usize, hour: i64) -> bool {
    if gpu == 0 { hour % 24 >= 6 } else { hour % 2 == 0 }
}

/// Who held a GPU.
fn holder(gpu: usize, hour: i64) -> Option<&'static str> {
    match gpu {
        0 => Some("climate"),
        _ if EARLY.contains(&hour) => Some(HOSTILE),
        _ if LATE.contains(&hour) => Some("late"),
        _ => None,
    }
}

/// Whether the interval has a PUE: the meter of E_IT counted through it.
pub fn counts(hour: i64) -> bool {
    !OUTPUT_LOST.contains(&hour)
}

/// What each use and source comes to in one hour, by the word of the report.
pub fn truth(hour: i64) -> BTreeMap<&'static str, u128> {
    let watts = Watts::at(hour);
    let mut sums: BTreeMap<&str, u128> = BTreeMap::new();
    let mut add = |what, watts: u64| *sums.entry(what).or_default() += energy(watts);
    add("grid", watts.grid);
    add("generator", watts.genset);
    add("store", watts.ups_out.saturating_sub(watts.ups_in));
    let loss = watts.ups_in.saturating_sub(watts.ups_out);
    // Without its output's meter nobody knows that it is the UPS' loss.
    add(if counts(hour) { "loss_ups" } else { "unmetered" }, loss);
    add("loss_distribution", watts.pdu - watts.node[0] - watts.node[1]);
    add("cooling", watts.chiller);
    add(if LIGHTS_LOST.contains(&hour) { "unmetered" } else { "lighting" }, watts.lights);
    add("unmetered", watts.supplied() - watts.ups_in - watts.chiller - watts.lights);
    for gpu in [0, 1] {
        let host = watts.node[gpu] - watts.gpu[gpu];
        let (device, host_to) = match (holder(gpu, hour), is_busy(gpu, hour)) {
            (Some(_), true) => ("project_active", "project_host"),
            (Some(_), false) => ("project_held_idle", "project_host"),
            (None, true) => ("unattributed", "host_overhead"),
            (None, false) => ("idle_unallocated", "host_overhead"),
        };
        add(device, watts.gpu[gpu]);
        add(host_to, host);
    }
    sums
}

/// What a project used: at work, held idle, its part of the hosts.
pub fn project(name: &str) -> [u128; 3] {
    let mut sums = [0; 3];
    for hour in 0..HOURS {
        let watts = Watts::at(hour);
        for gpu in [0, 1].into_iter().filter(|gpu| holder(*gpu, hour) == Some(name)) {
            sums[usize::from(!is_busy(gpu, hour))] += energy(watts.gpu[gpu]);
            sums[2] += energy(watts.node[gpu] - watts.gpu[gpu]);
        }
    }
    sums
}

fn register(epoch: u64) -> Register {
    Register {
        numerator: 1,
        denominator: 1,
        modulus: None,
        power_max: Milliwatts::new(100_000_000),
        epoch,
        method: Method::Hardware,
        gap: Millis::new(4_000_000),
    }
}

fn subject(id: &str, kind: SubjectKind, epoch: u64) -> Subject {
    Subject {
        id: SubjectId::new(id).expect("valid"),
        kind,
        label: String::new(),
        model: String::new(),
        serial: String::new(),
        register: Some(register(epoch)),
    }
}

fn schema(node: &str, subjects: Vec<Subject>, has_gpu: bool) -> Schema {
    let count = subjects.len();
    let mut series: Vec<Series> =
        (0..count).map(|place| Series::new(place, Quantity::EnergyRegister, 0)).collect();
    if has_gpu {
        series.push(Series::new(1, Quantity::GpuUtilization, 0));
    }
    Schema {
        hub: HubId::new("lhe").expect("valid"),
        node: NodeId::new(node).expect("valid"),
        agent: "test".into(),
        subjects,
        groups: vec![Group { cadence: Millis::new(3_600_000), series }],
    }
}

/// One sender: its schema in force, and how often it sent.
struct Sender {
    schema: Schema,
    epoch: u8,
    sent: u64,
}

impl Sender {
    fn new(schema: Schema, epoch: u8) -> Self {
        Self { schema, epoch, sent: 0 }
    }

    fn described(&self, received: UtcMillis) -> Frame {
        Frame::Schema { received, body: codec::encode_schema(&self.schema).expect("encodes").1 }
    }

    fn row(&mut self, at: i64, received: i64, values: Vec<Option<i64>>) -> Frame {
        self.sent += 1;
        let batch = Batch {
            hub: self.schema.hub.clone(),
            node: self.schema.node.clone(),
            epoch: SpoolEpoch::new([self.epoch; 16]),
            sequence: BatchSeq::new(self.sent).expect("from 1"),
            schema: codec::encode_schema(&self.schema).expect("encodes").0,
            created: UtcMillis::new(at),
            uptime: None,
            matrices: vec![Matrix {
                group: 0,
                times: vec![UtcMillis::new(at)],
                columns: values.into_iter().map(|value| vec![value]).collect(),
            }],
            events: Vec::new(),
            holds: Vec::new(),
        };
        let received = UtcMillis::new(received);
        Frame::Batch { received, body: codec::encode_batch(&batch).expect("encodes") }
    }
}

fn gateway(epochs: &BTreeMap<&str, u64>) -> Schema {
    let meters = METERS.map(|id| {
        let epoch = epochs.get(id).copied().unwrap_or(1);
        subject(id, SubjectKind::Meter, epoch)
    });
    schema("gateway", meters.into(), false)
}

fn allocation(id: &str, project: &str, gpu: &str, hours: &std::ops::Range<i64>) -> Vec<u8> {
    let at = |hour: i64| bijli_collector::calendar::rfc3339(UtcMillis::new(START + hour * HOUR));
    serde_json::json!({
        "id": id, "hub": "lhe", "project": project, "devices": [gpu],
        "from": at(hours.start), "to": at(hours.end), "who": "test", "why": "a month",
    })
    .to_string()
    .into_bytes()
}

/// What is known before the month begins.
fn declared(begun: UtcMillis, diagram: &str) -> Vec<Frame> {
    let hub = HubId::new("lhe").expect("valid");
    let rules = Rules {
        interval: Millis::new(3_600_000),
        close_after: Millis::new(60_000),
        ..Rules::default()
    };
    let mut frames = vec![
        Frame::Rules { received: begun, rules },
        Frame::Diagram { received: begun, from: UtcMillis::new(0), hub, toml: diagram.to_owned() },
    ];
    for (id, project, gpu, hours) in
        [("1", "climate", "G1", &(0..HOURS)), ("2", HOSTILE, "G2", &EARLY)]
    {
        let json = allocation(id, project, gpu, hours);
        frames.push(Frame::AllocationPut { received: begun, json });
    }
    frames
}

/// Writes the journal of the month as a collector would have: each hour's readings a second after
/// it, so that each interval closes in its time.
pub fn journal(folder: &Path, diagram: &str) {
    let (mut log, _) = replay::open(RealDisk, folder, 64 << 20).expect("a journal");
    let begun = UtcMillis::new(START - 10_000);
    let mut frames = declared(begun, diagram);
    let mut epochs: BTreeMap<&str, u64> = BTreeMap::new();
    let mut meters = Sender::new(gateway(&epochs), 1);
    let mut nodes = [("n01", "G1", 2), ("n02", "G2", 3)].map(|(node, gpu, epoch)| {
        let own = subject(node, SubjectKind::Node, 1);
        let gpu = subject(gpu, SubjectKind::Gpu, 1);
        Sender::new(schema(node, vec![own, gpu], true), epoch)
    });
    frames.push(meters.described(begun));
    frames.extend(nodes.iter().map(|node| node.described(begun)));
    let mut counts: BTreeMap<&str, i64> = METERS.map(|meter| (meter, 1_000)).into();
    let mut of_nodes = [[0_i64; 2]; 2];
    for hour in -1..HOURS {
        let (at, watts) = (START + (hour + 1) * HOUR, Watts::at(hour.max(0)));
        let joule = |watts: u64| i64::try_from(energy(watts)).expect("small");
        let mut row = Vec::new();
        for meter in METERS {
            let count = counts.get_mut(meter).expect("known");
            *count += if hour < 0 { 0 } else { joule(watts.of(meter)) };
            let (silent, comes_back_as_another) = match meter {
                "m-chiller" => (CHILLER_SILENT, false),
                "m-lights" => (LIGHTS_LOST, true),
                "m-ups-out" => (OUTPUT_LOST, true),
                _ => (0..0, false),
            };
            let is_back = hour + 1 == silent.end;
            if is_back && comes_back_as_another {
                // It counted elsewhere before: nobody could take it for energy of here.
                *count = 5_000_000_000_000_000;
                epochs.insert(meter, 2);
            }
            row.push((!silent.contains(&hour) || is_back).then_some(*count));
        }
        if meters.schema != gateway(&epochs) {
            meters.schema = gateway(&epochs);
            frames.push(meters.described(UtcMillis::new(at + 500)));
        }
        frames.push(meters.row(at, at + 1_000, row));
        for (place, node) in nodes.iter_mut().enumerate() {
            if hour >= 0 {
                of_nodes[place][0] += joule(watts.node[place]);
                of_nodes[place][1] += joule(watts.gpu[place]);
            }
            let [own, gpu] = of_nodes[place];
            let busy = if is_busy(place, hour.max(0)) { 900 } else { 0 };
            frames.push(node.row(at, at + 2_000, vec![Some(own), Some(gpu), Some(busy)]));
        }
        if hour == TOLD_LATE {
            let json = allocation("3", "late", "G2", &LATE);
            frames.push(Frame::AllocationPut { received: UtcMillis::new(at + 3_000), json });
        }
    }
    frames.push(Frame::Tick { received: UtcMillis::new(END + 120_000) });
    for (place, frame) in frames.iter().enumerate() {
        log.append(&frame.encode()).expect("it fits");
        if place % 500 == 0 {
            log.commit().expect("durable");
        }
    }
    log.commit().expect("durable");
}

/// Runs the real collector over a folder's journal so many hours after the month, and waits until
/// it is ready. `also`: what its configuration has besides the hub.
pub fn serve(folder: &Path, (port, also): (u16, &str), hub: &str, hours: i64) -> Program {
    let config = format!(
        "listen = \"127.0.0.1:{port}\"\ndir = \"{}\"\ninterval = \"1h\"\nclose_after = \"1m\"\n\
         disk_reserve = \"1 MiB\"\n{also}[[hub]]\nid = \"lhe\"\n{hub}",
        folder.join("collector").display()
    );
    let path = folder.join("collector.toml");
    std::fs::write(&path, config).expect("written");
    let now = i64::try_from(utc_ms()).expect("small");
    let mut command = Command::new(binary("bijli-collector"));
    command.envs(seconds_ago((now - END - hours * HOUR) / 1_000));
    command.args(["serve", "--config"]).arg(path);
    let collector = Program::start(&mut command, &folder.join("collector.log"));
    eventually(&format!("a ready collector:\n{}", collector.printed()), 120, || {
        http::ask("GET", port, "/readyz", b"").filter(|answer| answer.status == 200)
    });
    collector
}
