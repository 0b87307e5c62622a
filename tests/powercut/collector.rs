//! The collector under power cuts: what it acknowledged is in the journal, once, with its bytes,
//! and the books that it is replayed to equal what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use bijli_seglog::{Log, Options, RealDisk, RecordSeq};
use bijli_wire::Ack;
use harness::http::ask;
use harness::program::{Program, binary, free_port};
use harness::site::millijoules;
use harness::within;
use rustix::process::Signal;

use crate::disk::{self, Image};
use crate::history::History;
use crate::lanes::{HUB, Key, Lane};
use crate::trace::{Op, Traced};

/// Kinds of journal frames that carry a batch (`docs/formats/journal.md`), and where it begins.
const KIND_BATCH: u8 = 2;
const KIND_CORRECTED: u8 = 9;

/// A recorded course of a collector.
pub struct Course {
    pub history: History,
    /// When each batch's acknowledgement began to leave, first time.
    pub acked: BTreeMap<Key, usize>,
    /// When it first said that it is ready.
    pub ready: usize,
}

impl Course {
    /// What was acknowledged before a moment.
    pub fn acked_before(&self, moment: usize) -> BTreeSet<Key> {
        let before = self.acked.iter().filter(|(_, at)| **at < moment);
        before.map(|(key, _)| *key).collect()
    }
}

/// A folder with a configuration and, in `data`, what the collector has.
pub struct Place {
    folder: tempfile::TempDir,
    port: u16,
}

impl Place {
    pub fn new(image: &Image) -> Self {
        let folder = crate::folder();
        let port = free_port();
        let place = Self { folder, port };
        disk::write(image, &place.data());
        let config = format!(
            "listen = \"127.0.0.1:{port}\"\ndir = \"{}\"\ninterval = \"10s\"\nclose_after = \"5s\"\n\
             disk_reserve = \"1 MiB\"\n[journal]\nsegment = \"4 MiB\"\n[[hub]]\nid = \"{HUB}\"\n",
            place.data().display()
        );
        std::fs::write(place.config(), config).expect("written");
        place
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("collector.toml")
    }

    fn is_ready(&self) -> bool {
        ask("GET", self.port, "/readyz", b"").is_some_and(|answer| answer.status == 200)
    }

    /// Keeps the folder for whoever looks into a failure.
    fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

/// Runs a real collector under strace from `image` on, while all lanes send everything.
pub fn record(image: &Image, lanes: &[Lane], end: Signal) -> Result<Course, String> {
    let place = Place::new(image);
    let config = place.config();
    let args = ["serve", "--config", config.to_str().expect("UTF-8")];
    let mut program =
        Traced::start(&binary("bijli-collector"), &args, &[], (place.folder.path(), "collector"));
    let is_up =
        within(60, || (place.is_ready() || !program.is_running()).then(|| program.is_running()));
    if is_up != Some(true) {
        return Err(format!("it does not start: {}", program.printed()));
    }
    let port = place.port;
    std::thread::scope(|scope| {
        for lane in lanes {
            scope.spawn(move || send(port, lane));
        }
    });
    let calls = program.end(end);
    let history = History::new(&place.data(), image.clone(), calls);
    crate::assert_model_is_true(&history, &place.data());
    let (acked, ready) = told(&history);
    Ok(Course { history, acked, ready })
}

/// Teaches and sends until all is acknowledged; what it hears is read from the trace.
fn send(port: u16, lane: &Lane) {
    let schema = format!("/v1/schemas/{}", lane.schema);
    let answer = ask("PUT", port, &schema, &lane.schema_body).expect("an answer");
    assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
    for (_, body) in &lane.batches {
        let answer = ask("POST", port, "/v1/batches", body).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// The acks in what the program wrote to sockets, and when it began to write them.
fn told(history: &History) -> (BTreeMap<Key, usize>, usize) {
    let (mut acked, mut ready) = (BTreeMap::new(), usize::MAX);
    for call in history.calls() {
        let Op::Write { offset: None, bytes, .. } = &call.op else { continue };
        let text = String::from_utf8_lossy(bytes);
        if text.contains("\r\n\r\nready") {
            ready = ready.min(call.begin);
        }
        for ack in acks(&text) {
            let epoch = ack.epoch.parse::<bijli_wire::SpoolEpoch>().expect("an epoch");
            let key = (*epoch.as_bytes(), ack.sequence.parse().expect("a number"));
            acked.entry(key).or_insert(call.begin);
        }
    }
    (acked, ready)
}

/// Every whole ack in a text.
pub fn acks(text: &str) -> Vec<Ack> {
    let starts = text.match_indices("{\"epoch\"").map(|(at, _)| at);
    let objects = starts.filter_map(|at| {
        let end = text[at..].find('}')?;
        serde_json::from_str(&text[at..=at + end]).ok()
    });
    objects.collect()
}

/// A journal that is about to begin its second segment. What fills it is of no kind that this
/// version knows; the format says that such frames are passed over.
pub fn nearly_full_segment(lanes: &[Lane]) -> Image {
    let place = Place::new(&Image::new());
    let config = place.config();
    let mut program = start(&place, &config);
    assert!(within(60, || place.is_ready().then_some(())).is_some(), "{}", program.printed());
    send(place.port, lanes.first().expect("lanes"));
    assert!(program.stop(20).success());
    let options = Options::new(4 << 20, 2 << 20).expect("valid").with_salt(7);
    let journal = place.data().join("journal");
    let (mut log, _) = Log::open(RealDisk, &journal, options).expect("opens");
    let room = (4_u64 << 20) - log.bytes() - (16 << 10);
    for _ in 0..4 {
        let bytes = usize::try_from(room / 4).expect("small");
        log.append(&[&[99_u8][..], &vec![0x5a; bytes]].concat()).expect("room");
        log.commit().expect("durable");
    }
    drop(log);
    disk::read(&place.data())
}

fn start(place: &Place, config: &Path) -> Program {
    let mut command = Command::new(binary("bijli-collector"));
    command.arg("serve").arg("--config").arg(config);
    Program::start(&mut command, &place.folder.path().join("collector.log"))
}

/// Ports that are tried when others take the one that was free.
const PORTS_MAX: usize = 5;

/// Starts the real program on what a cut left, and holds it to its word.
pub fn check(image: &Image, acked: &BTreeSet<Key>, lanes: &[Lane]) -> Result<(), String> {
    let mut place = Place::new(image);
    let mut outcome = is_kept(&place, acked, lanes);
    // A free port is found and then taken by somebody else: no fault of the disk. From the start.
    for _ in 0..PORTS_MAX {
        if !outcome.as_ref().is_err_and(|words| words.contains("Address already in use")) {
            break;
        }
        place = Place::new(image);
        outcome = is_kept(&place, acked, lanes);
    }
    outcome.map_err(|complaint| {
        let folder = place.keep();
        disk::write(image, &folder.join("before"));
        format!("{complaint}\n  look into {}", folder.display())
    })
}

fn is_kept(place: &Place, acked: &BTreeSet<Key>, lanes: &[Lane]) -> Result<(), String> {
    let mut program = start(place, &place.config());
    let is_up =
        within(60, || (place.is_ready() || !program.is_running()).then(|| program.is_running()));
    if is_up != Some(true) {
        return Err(format!("REFUSED TO START: {}", program.printed()));
    }
    // Before anything is taught or sent: what was acknowledged needs nothing but itself.
    for (key, body) in lanes.iter().flat_map(|lane| &lane.batches) {
        if acked.contains(key) {
            let verdict = verdict(place.port, body)?;
            if verdict != "duplicate" {
                return Err(format!("LOST: batch {} was acknowledged; now {verdict}", key.1));
            }
        }
    }
    for lane in lanes {
        let path = format!("/v1/schemas/{}", lane.schema);
        ask("PUT", place.port, &path, &lane.schema_body).ok_or("no answer to a schema")?;
        for (key, body) in &lane.batches {
            let verdict = verdict(place.port, body)?;
            if verdict != "accepted" && verdict != "duplicate" {
                return Err(format!("batch {} sent again: {verdict}", key.1));
            }
        }
    }
    are_books_right(place, lanes)?;
    if !program.stop(30).success() {
        return Err(format!("it does not end well: {}", program.printed()));
    }
    is_each_there_once(place, lanes)
}

fn verdict(port: u16, body: &[u8]) -> Result<String, String> {
    let answer = ask("POST", port, "/v1/batches", body).ok_or("no answer to a batch")?;
    let verdict = answer.json()["verdict"].as_str().map(str::to_owned);
    Ok(verdict.unwrap_or_else(|| format!("{} {}", answer.status, answer.text())))
}

/// Intervals close as frames arrive, so somebody says something until they are.
fn are_books_right(place: &Place, lanes: &[Lane]) -> Result<(), String> {
    let mut found = BTreeMap::new();
    let mut asked = 0;
    let right = within(30, || {
        asked += 1;
        let body = nudge(asked);
        let id = bijli_wire::codec::decode_schema(&body).ok()?.0;
        let _answer = ask("PUT", place.port, &format!("/v1/schemas/{id}"), &body)?;
        let flows = ask("GET", place.port, &format!("/v1/hubs/{HUB}/flows"), b"")?.json();
        found.clear();
        for flow in flows["flows"].as_array()? {
            let debit = flow["debit"].as_str()?.to_owned();
            *found.entry(debit).or_insert(0) += millijoules(&flow["energy_mj"]);
        }
        let has = |lane: &Lane| {
            found.get(&format!("gpu:{}", lane.gpu)).copied().unwrap_or(0) == lane.energy_mj
        };
        lanes.iter().all(has).then_some(())
    });
    let energy: Vec<_> = lanes.iter().map(|lane| (&lane.gpu, lane.energy_mj)).collect();
    right.ok_or_else(|| format!("THE BOOKS DIFFER: {found:?}, sent {energy:?}"))
}

/// A schema of another node, new each time.
fn nudge(asked: u32) -> Vec<u8> {
    let schema = bijli_wire::Schema {
        hub: bijli_wire::HubId::new(HUB).expect("valid"),
        node: bijli_wire::NodeId::new("n99").expect("valid"),
        agent: format!("nudge {asked}"),
        subjects: Vec::new(),
        groups: Vec::new(),
    };
    bijli_wire::codec::encode_schema(&schema).expect("encodes").1
}

/// Reads the journal itself: each batch once, with the bytes that were sent.
fn is_each_there_once(place: &Place, lanes: &[Lane]) -> Result<(), String> {
    let options = Options::new(4 << 20, 2 << 20).expect("valid");
    let (log, _) = Log::open(RealDisk, &place.data().join("journal"), options)
        .map_err(|e| format!("the journal does not open: {e}"))?;
    let mut bodies: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for record in log.read_from(RecordSeq::FIRST) {
        let Ok((_, record)) = record else { continue };
        let at = match record.first() {
            Some(&KIND_BATCH) => 9,
            Some(&KIND_CORRECTED) => 17,
            _ => continue,
        };
        *bodies.entry(record[at..].to_vec()).or_insert(0) += 1;
    }
    for (key, body) in lanes.iter().flat_map(|lane| &lane.batches) {
        let count = bodies.remove(body).unwrap_or(0);
        if count != 1 {
            return Err(format!("batch {} stands {count} times in the journal", key.1));
        }
    }
    if bodies.is_empty() { Ok(()) } else { Err("the journal has batches nobody sent".to_owned()) }
}
