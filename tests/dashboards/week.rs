//! A week of the simulated hub as a Prometheus would have scraped it: the real books and the real
//! text of `/metrics/fleet`, in simulated time, with faults that the pages are there to show.
//!
//! - The mains fail every ten hours or so, and the generator carries the hub for an hour.
//! - Wednesday from 10:00 to 12:00 the cooling stands: no flow, supply at 36 °C, GPUs at 91 °C.
//! - Thursday from 02:00 to 05:00 the gateway is silent, and with it every meter.
//! - In the last two hours the last node is silent. XIDs come, and a GPU asks for a reset.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bijli_agent::health::{Gauges, Health as AgentHealth, Outcome};
use bijli_agent::uplink::line::Counts;
use bijli_collector::bookkeeper::Bookkeeper;
use bijli_collector::clock::Clock;
use bijli_collector::config::{Config, Overrides};
use bijli_collector::export;
use bijli_collector::health::Health;
use bijli_collector::intake::{Fact, Readings, Reply};
use bijli_collector::state::{Hub, State};
use bijli_fleet::{Fleet, FleetSpec, Job};
use bijli_wire::batch::{Event, Group, Series};
use bijli_wire::message::EventKind;
use bijli_wire::{
    Batch, BatchSeq, Matrix, Millis, Quantity, Schema, SchemaId, SpoolEpoch, SubjectKind,
    UtcMillis, codec,
};

pub const HUB: &str = "sim-lahore";
/// Monday, 2026-09-07, 00:00 UTC.
pub const BEGIN_S: i64 = 1_788_739_200;
pub const END_S: i64 = BEGIN_S + 7 * DAY_S;
pub const DAY_S: i64 = 86_400;
/// How often the hub is scraped; batches come twice as often.
pub const SCRAPE_S: i64 = 600;
const BATCH_S: i64 = 300;
const NODES: u32 = 3;

/// From when to when of the week, in seconds after its begin.
pub type Span = (i64, i64);
pub const COOLING_STANDS: Span = (2 * DAY_S + 10 * 3_600, 2 * DAY_S + 12 * 3_600);
pub const GATEWAY_SILENT: Span = (3 * DAY_S + 2 * 3_600, 3 * DAY_S + 5 * 3_600);
const NODE_SILENT: Span = (7 * DAY_S - 2 * 3_600, 8 * DAY_S);

fn is_in(span: Span, second: i64) -> bool {
    (span.0..span.1).contains(&(second - BEGIN_S))
}

/// Writes the week as OpenMetrics text.
pub fn write(path: &Path) {
    let mut week = Week::new();
    let mut text = String::new();
    while week.second() <= END_S {
        if week.second() % BATCH_S == 0 {
            week.send();
        }
        if week.second() % SCRAPE_S == 0 {
            week.scrape(&mut text);
        }
        week.step();
    }
    text.push_str("# EOF\n");
    fs::write(path, text).expect("written");
}

/// One sender with what its schema says beyond the fleet's.
struct Sender {
    schema: Arc<Schema>,
    id: SchemaId,
    sequence: BatchSeq,
    /// Subjects, quantities and parts that are added to the fleet's, in one group at the end.
    more: Vec<(usize, Quantity, u32)>,
    agent: AgentHealth,
}

struct Week {
    fleet: Fleet,
    state: Arc<State>,
    bookkeeper: Bookkeeper,
    senders: Vec<Sender>,
}

const OF_GPUS: [Quantity; 8] = [
    Quantity::TemperatureMargin,
    Quantity::SlowdownMargin,
    Quantity::ThrottlePowerCap,
    Quantity::ThrottleSwThermal,
    Quantity::ThrottleHwThermal,
    Quantity::RecoveryAction,
    Quantity::RemapPending,
    Quantity::FanSpeed,
];

impl Week {
    fn new() -> Self {
        let spec = FleetSpec {
            nodes: NODES,
            gpus_per_node: 4,
            pdus: 2,
            shedding_every: Some(Millis::new(10 * 3_600_000)),
            shedding_for: Millis::new(3_600_000),
            ..FleetSpec::demo(UtcMillis::new(BEGIN_S * 1_000))
        };
        let fleet = Fleet::new(spec).expect("a hub");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("collector.toml");
        fs::write(&file, fleet.diagram_toml()).expect("written");
        let config = Config::load(&file, &Overrides::default()).expect("valid");
        let state = Arc::new(State::new(Clock, config.rules, Health::new(), None));
        state.add_hub(Hub::configured(&config.hubs[0], config.rules));
        let mut bookkeeper = Bookkeeper::new(Arc::clone(&state));
        bookkeeper.book(Fact::Diagram {
            received: fleet.now(),
            from: UtcMillis::ZERO,
            hub: config.hubs[0].id.clone(),
            toml: config.hubs[0].plan.to_toml(),
        });
        // A feed that has nothing to do shows zeros.
        drop(state.health.feed("influx"));
        let senders = fleet.senders().iter().map(Sender::new).collect();
        Self { fleet, state, bookkeeper, senders }
    }

    fn second(&self) -> i64 {
        self.fleet.now().get() / 1_000
    }

    fn step(&mut self) {
        for job in self.fleet.allocations_changed() {
            let json = allocation(job).into_bytes();
            let received = self.fleet.now();
            self.bookkeeper.book(Fact::Put { received, json, reply: Reply::none() });
        }
        self.fleet.step();
    }

    /// Every sender that is not silent sends what it reads now.
    fn send(&mut self) {
        let (received, second) = (self.fleet.now(), self.second());
        let last = self.senders.len() - 1;
        for index in 0..self.senders.len() {
            let is_gateway = index == last;
            let is_silent = is_gateway && is_in(GATEWAY_SILENT, second)
                || index + 1 == last && is_in(NODE_SILENT, second);
            if !is_silent {
                let mut rows = self.fleet.rows(index);
                let sender = &mut self.senders[index];
                let body = sender.body(&mut rows, received, index == 0);
                self.bookkeeper.book(Fact::Batch {
                    received,
                    id: sender.id,
                    schema: Arc::clone(&sender.schema),
                    readings: Readings { body, decoded: None },
                    offset_ms: 0,
                });
                self.state.health.batches.with_label_values(&["accepted"]).inc();
            }
            self.senders[index].live(second, is_silent);
        }
        self.state.health.committed(Duration::from_millis(4), self.senders.len());
        self.state.health.journal_bytes.add(40_000);
        self.state.health.disk_free_bytes.set(80 << 30);
        self.state.health.ready.set(1);
        self.bookkeeper.book(Fact::Tick { received });
    }

    fn scrape(&self, text: &mut String) {
        let (now, second) = (self.fleet.now(), self.second());
        timed(text, &export::text_at(&self.state, now), second, "");
        timed(text, &self.state.health.render(), second, &format!("hub=\"{HUB}\""));
        for sender in &self.senders {
            timed(text, &sender.agent.text(), second, "");
        }
    }
}

/// The lines of a scrape with their time, and with a label that the scrape adds.
fn timed(text: &mut String, scrape: &str, second: i64, label: &str) {
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let comma = if label.is_empty() || labels == "}" { "" } else { "," };
        writeln!(text, "{name}{{{label}{comma}{labels} {value} {second}").expect("a string");
    }
}

fn allocation(job: &Job) -> String {
    let devices: Vec<&str> = job.holds.iter().map(bijli_wire::SubjectId::as_str).collect();
    let mut body = serde_json::json!({
        "id": job.id, "hub": HUB, "project": job.project.as_str(), "devices": devices,
        "from": bijli_collector::calendar::rfc3339(job.from),
        "who": "simulated scheduler", "why": "simulated job",
    });
    if let Some(to) = job.to {
        body["to"] = bijli_collector::calendar::rfc3339(to).into();
    }
    body.to_string()
}

impl Sender {
    fn new(of: &bijli_fleet::Sender) -> Self {
        let mut schema = of.schema.clone();
        let mut more = Vec::new();
        for (index, subject) in schema.subjects.iter().enumerate() {
            match subject.kind {
                SubjectKind::Gpu => more.extend(OF_GPUS.map(|quantity| (index, quantity, 0))),
                SubjectKind::Meter if subject.id.as_str().ends_with("ups-in") => {
                    more.push((index, Quantity::BatteryTimeLeft, 0));
                }
                SubjectKind::Meter if subject.id.as_str().ends_with("incomer") => {
                    more.extend((1..=3).map(|phase| (index, Quantity::Voltage, phase)));
                }
                _ => {}
            }
        }
        let series = more.iter();
        let series =
            series.map(|(subject, quantity, part)| Series::new(*subject, *quantity, *part));
        let (cadence, series) = (Millis::new(60_000), series.collect());
        if !more.is_empty() {
            schema.groups.push(Group { cadence, series });
        }
        let (id, _) = codec::encode_schema(&schema).expect("encodes");
        let agent = AgentHealth::new(HUB, of.node.as_str());
        Self { schema: Arc::new(schema), id, sequence: BatchSeq::FIRST, more, agent }
    }

    fn body(
        &mut self,
        rows: &mut Vec<bijli_fleet::Row>,
        at: UtcMillis,
        has_events: bool,
    ) -> Vec<u8> {
        let second = at.get() / 1_000;
        if is_in(COOLING_STANDS, second) {
            self.overheat(rows);
        }
        if !self.more.is_empty() {
            let group = self.schema.groups.len() - 1;
            let values = self.more.iter().map(|(_, quantity, _)| Some(told(*quantity, second)));
            rows.push(bijli_fleet::Row { group, at, values: values.collect() });
        }
        let matrix = |row: &bijli_fleet::Row| Matrix {
            group: row.group,
            times: vec![row.at],
            columns: row.values.iter().map(|value| vec![*value]).collect(),
        };
        let sequence = self.sequence;
        self.sequence = sequence.next();
        let body = codec::encode_batch(&Batch {
            hub: self.schema.hub.clone(),
            node: self.schema.node.clone(),
            epoch: SpoolEpoch::new([7; 16]),
            sequence,
            schema: self.id,
            created: at,
            uptime: None,
            matrices: rows.iter().map(matrix).collect(),
            events: if has_events { self.xids(at) } else { Vec::new() },
            holds: Vec::new(),
        });
        body.expect("encodes")
    }

    /// What the readings of temperature and flow are while the cooling stands.
    fn overheat(&self, rows: &mut [bijli_fleet::Row]) {
        for row in rows {
            for (series, value) in self.schema.groups[row.group].series.iter().zip(&mut row.values)
            {
                let kind = self.schema.subjects[series.subject].kind;
                match (series.quantity, kind) {
                    (Some(Quantity::SupplyTemperature), _) => *value = Some(36_000),
                    (Some(Quantity::ReturnTemperature), _) => *value = Some(36_500),
                    (Some(Quantity::Flow), _) => *value = Some(0),
                    (Some(Quantity::Temperature), SubjectKind::Gpu) => *value = Some(91_000),
                    _ => {}
                }
            }
        }
    }

    /// An XID 13 each six hours, and a 79 in the last hour.
    fn xids(&self, at: UtcMillis) -> Vec<Event> {
        let second = at.get() / 1_000;
        let code = match second - BEGIN_S {
            offset if offset == 7 * DAY_S - 3_600 => 79,
            offset if offset % 21_600 == 0 => 13,
            _ => return Vec::new(),
        };
        let gpu = self.schema.subjects.iter().position(|one| one.kind == SubjectKind::Gpu);
        let (kind, text) = (EventKind::GpuXid, "simulated".to_owned());
        vec![Event { at, subject: gpu, kind, text, code, count: 1 }]
    }

    /// What the agent says of itself.
    fn live(&self, second: i64, is_silent: bool) {
        self.agent.sample("nvml", Outcome::Ok, Some(Millis::new(30)));
        let (backlog, oldest_s) = if is_silent { (40, second - 3_000) } else { (0, second) };
        let gauges = Gauges {
            spool_bytes: 4 << 20,
            spool_waiting_bytes: backlog * 10_000,
            spool_bytes_max: 64 << 20,
            oldest_ms: oldest_s * 1_000,
            backlog,
            certificate_left_s: Some(40 * DAY_S),
        };
        self.agent.set(gauges, Counts { acked: self.sequence.get(), ..Counts::default() });
    }
}

/// A reading that the fleet does not give. Counters of nanoseconds grow with the week.
fn told(quantity: Quantity, second: i64) -> i64 {
    let offset = second - BEGIN_S;
    let (begin, end) = COOLING_STANDS;
    let hot_s = (offset.min(end) - begin).max(0);
    let is_hot = i64::from(is_in(COOLING_STANDS, second));
    match quantity {
        Quantity::TemperatureMargin => 22_000 - 26_000 * is_hot,
        Quantity::SlowdownMargin => 24_000 - 26_000 * is_hot,
        Quantity::ThrottlePowerCap => offset * 100_000_000,
        Quantity::ThrottleSwThermal | Quantity::ThrottleHwThermal => hot_s * 600_000_000,
        Quantity::RecoveryAction => i64::from(offset > 6 * DAY_S),
        Quantity::FanSpeed => 350_000,
        Quantity::BatteryTimeLeft => 900,
        Quantity::Voltage => 231_000,
        _ => 0,
    }
}
