//! The agent under power cuts: what it had stored is sent with the same bytes, and no sequence is
//! ever sent with others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bijli_seglog::{Log, Options, RealDisk};
use bijli_wire::batch::Event;
use bijli_wire::message::EventKind;
use bijli_wire::{
    Ack, AckVerdict, Batch, BatchSeq, ContentHash, ErrorBody, ErrorCode, HubId, NodeId, Schema,
    SpoolEpoch, UtcMillis, codec, limits,
};
use harness::gpus;
use harness::h2::{Bodies, Frames, PREFACE, Reply, Server};
use harness::program::{Program, binary};
use harness::rng::Rng;
use harness::within;
use rustix::process::Signal;

use crate::disk::{self, Image};
use crate::history::History;
use crate::lanes::Key;
use crate::trace::{Op, Traced};
use crate::workers::lock;

const HUB: &str = "isb";
const NODE: &str = "n1";
const SEEDED_EPOCH: [u8; 16] = [0x5e; 16];
/// Sealed segments of a seeded spool, and batches in each; then some in the last.
const SEEDED_SEGMENTS: u64 = 3;
const SEEDED_BATCHES: u64 = 40;
/// What an agent under strace is given to live.
pub const LIFE: Duration = Duration::from_secs(9);

/// A batch that was seen: name, hash of its bytes, when it was made.
#[derive(Clone, Copy, Debug)]
struct Seen {
    key: Key,
    hash: ContentHash,
    created_ms: i64,
}

/// What an agent is known to have done before a cut.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Batches that had left it whole.
    sent: BTreeMap<Key, ContentHash>,
    /// Batches that it had made durable, or sent.
    stored: BTreeMap<Key, ContentHash>,
    /// Those of which it had read the acknowledgement.
    heard: BTreeSet<Key>,
}

impl Past {
    pub fn join(&self, later: &Self) -> Self {
        let mut both = self.clone();
        both.sent.extend(later.sent.clone());
        both.stored.extend(later.stored.clone());
        both.heard.extend(later.heard.iter().copied());
        both
    }

    /// Batches that must be sent after the cut.
    pub fn owed(&self) -> usize {
        self.stored.keys().filter(|key| !self.heard.contains(*key)).count()
    }
}

/// A recorded course of an agent.
pub struct Course {
    pub history: History,
    sent: Vec<(usize, Seen)>,
    stored: Vec<(usize, Seen)>,
    heard: Vec<(usize, Key)>,
}

impl Course {
    pub fn before(&self, moment: usize) -> Past {
        let sent = || self.sent.iter().filter(|(at, _)| *at < moment);
        let stored = self.stored.iter().filter(|(at, _)| *at < moment).chain(sent());
        let heard = self.heard.iter().filter(|(at, _)| *at < moment);
        Past {
            sent: sent().map(|(_, seen)| (seen.key, seen.hash)).collect(),
            stored: stored.map(|(_, seen)| (seen.key, seen.hash)).collect(),
            heard: heard.map(|(_, key)| *key).collect(),
        }
    }
}

/// How the collector of a record behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// Of 8 requests so many are not answered, and so many end the connection.
    pub silent: u64,
    pub hangs_up: u64,
    /// Every so many sequences one is refused for ever; 0: none.
    pub refuses_each: u64,
}

pub const POLITE: Manners = Manners { silent: 0, hangs_up: 0, refuses_each: 0 };

/// A collector of one page, that believes everything.
struct Stub {
    server: Server,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Stub {
    fn start(manners: Manners, seed: u64) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (shelf, rng) = (Arc::clone(&seen), Mutex::new(Rng::new(seed)));
        let server = Server::start(move |body| {
            // Questions are answered: an agent that waits for an answer to one sends nothing.
            let draw = if body.starts_with(b"{") { 8 } else { lock(&rng).below(8) };
            if draw < manners.silent {
                return Reply::Silence;
            }
            if draw < manners.silent + manners.hangs_up {
                return Reply::Hangup;
            }
            respond(body, manners, &shelf)
        });
        Self { server, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }
}

fn respond(body: &[u8], manners: Manners, seen: &Mutex<Vec<Seen>>) -> Reply {
    let refuse = |code: ErrorCode| {
        let body = serde_json::to_vec(&ErrorBody::new(code, "a test")).expect("JSON");
        Reply::Answer { status: code.http_status(), body }
    };
    if body.starts_with(b"{") {
        // A question of a later version of the protocol: an older collector knows none.
        return refuse(ErrorCode::NotFound);
    }
    let Some(batch) = batch_in(body) else {
        return Reply::Answer { status: 200, body: b"{}".to_vec() };
    };
    if is_refused(body, batch.key.1, manners) {
        return refuse(ErrorCode::MalformedBody);
    }
    let (epoch, sequence) = batch.key;
    lock(seen).push(batch);
    let sequence = BatchSeq::new(sequence).expect("not zero");
    let ack = Ack::new(SpoolEpoch::new(epoch), sequence, batch.hash, AckVerdict::Accepted);
    Reply::Answer { status: 200, body: serde_json::to_vec(&ack).expect("JSON") }
}

/// Gap records are taken, else the line would not go on.
fn is_refused(body: &[u8], sequence: u64, manners: Manners) -> bool {
    let is_gap = || codec::open(body).is_ok_and(|it| it.envelope.schema == bare_schema().0);
    manners.refuses_each > 0 && sequence.is_multiple_of(manners.refuses_each) && !is_gap()
}

/// `None`: a schema.
fn batch_in(body: &[u8]) -> Option<Seen> {
    let envelope = codec::open(body).ok()?.envelope;
    Some(Seen {
        key: (*envelope.epoch.as_bytes(), envelope.sequence.get()),
        hash: envelope.hash,
        created_ms: envelope.created.get(),
    })
}

/// The schema of gap records, as the agent makes it.
fn bare_schema() -> (bijli_wire::SchemaId, Vec<u8>) {
    let schema = Schema {
        hub: HubId::new(HUB).expect("valid"),
        node: NodeId::new(NODE).expect("valid"),
        agent: format!("bijli-agent {}", env!("CARGO_PKG_VERSION")),
        subjects: Vec::new(),
        groups: Vec::new(),
    };
    codec::encode_schema(&schema).expect("encodes")
}

/// A folder with a configuration and, in `root`, what the agent has.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new(image: &Image, port: u16) -> Self {
        let place = Self { folder: crate::folder() };
        disk::write(image, &place.root());
        let config = format!(
            "hub = \"{HUB}\"\nnode = \"{NODE}\"\ncollector = \"http://127.0.0.1:{port}\"\n\
             batch = \"1s\"\n[rapl]\nenabled = false\n[host]\nenabled = false\n[spool]\n\
             dir = \"{}/spool\"\nbytes_max = \"16 MiB\"\nkeep_acked = \"1s\"\n",
            place.root().display()
        );
        std::fs::write(place.config(), config).expect("written");
        let course = gpus::Course { still_s: 1, busy_s: 1_000_000 };
        gpus::write_scenario(&place.folder.path().join("gpus.toml"), course);
        place
    }

    /// The model's root. The spool is a directory in it, so that it can be lost too.
    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("agent.toml")
    }

    /// What the program is given: GPUs that draw power from now on.
    fn environment(&self) -> [(&'static str, String); 3] {
        let scenario = self.folder.path().join("gpus.toml");
        [
            ("BIJLI_NVML_LIB", fakenvml::library_path().display().to_string()),
            ("BIJLI_FAKENVML_SCENARIO", scenario.display().to_string()),
            ("BIJLI_FAKENVML_EPOCH_UTC_MS", harness::utc_ms().to_string()),
        ]
    }
}

/// Runs a real agent under strace from `image` on.
pub fn record(
    image: &Image,
    manners: Manners,
    (life, end): (Duration, Signal),
    seed: u64,
) -> Result<Course, String> {
    let stub = Stub::start(manners, seed);
    let place = Place::new(image, stub.server.port);
    let config = place.config();
    let args = ["run", "--config", config.to_str().expect("UTF-8")];
    let environment = place.environment();
    let (folder, program) = (place.folder.path(), binary("bijli-agent"));
    let mut program = Traced::start(&program, &args, &environment, (folder, "agent"));
    std::thread::sleep(life);
    if !program.is_running() {
        return Err(format!("REFUSED TO START: {}", program.printed()));
    }
    let calls = program.end(end);
    let history = History::new(&place.root(), image.clone(), calls);
    crate::assert_model_is_true(&history, &place.root());
    let (mut sent, heard) = conversation(&history);
    // What was refused for ever makes room for a gap record of the same sequence.
    sent.retain(|(_, seen, body)| !is_refused(body, seen.key.1, manners));
    let stored = stored(&history, image, &sent);
    Ok(Course {
        history,
        sent: sent.into_iter().map(|(at, seen, _)| (at, seen)).collect(),
        stored,
        heard,
    })
}

type SentBody = (usize, Seen, Vec<u8>);

/// Batches that left, at the call that sent their last byte, and acks that arrived.
fn conversation(history: &History) -> (Vec<SentBody>, Vec<(usize, Key)>) {
    let (mut sent, mut heard) = (Vec::new(), Vec::new());
    let mut links: BTreeMap<i64, (Frames, Bodies)> = BTreeMap::new();
    let mut answers: BTreeMap<i64, String> = BTreeMap::new();
    for call in history.calls() {
        match &call.op {
            Op::Write { fd, offset: None, bytes } => {
                if bytes.starts_with(PREFACE) {
                    links.insert(*fd, (Frames::of_client(), Bodies::default()));
                    answers.remove(fd);
                }
                let Some((frames, bodies)) = links.get_mut(fd) else { continue };
                frames.push(bytes);
                for frame in frames {
                    let Some(body) = bodies.push(&frame) else { continue };
                    sent.extend(batch_in(&body).map(|seen| (call.begin, seen, body)));
                }
            }
            Op::Receive { fd, bytes } => {
                let text = answers.entry(*fd).or_default();
                text.push_str(&String::from_utf8_lossy(bytes));
                for ack in crate::collector::acks(text) {
                    let epoch: SpoolEpoch = ack.epoch.parse().expect("an epoch");
                    let sequence = ack.sequence.parse().expect("a number");
                    heard.push((call.end.unwrap_or(usize::MAX), (*epoch.as_bytes(), sequence)));
                }
                if let Some(at) = text.rfind('}') {
                    text.drain(..=at);
                }
            }
            Op::Close { fd } => {
                links.remove(fd);
                answers.remove(fd);
            }
            _ => {}
        }
    }
    (sent, heard)
}

/// When the bytes of each batch that was ever sent had been written and synced.
fn stored(history: &History, begin: &Image, sent: &[SentBody]) -> Vec<(usize, Seen)> {
    let mut stored = Vec::new();
    let mut waiting: Vec<&SentBody> = Vec::new();
    let mut keys = BTreeSet::new();
    for body in sent {
        if !keys.insert(body.1.key) {
            continue;
        }
        let was_there = begin.values().flatten().any(|file| contains(file, &body.2));
        if was_there { stored.push((0, body.1)) } else { waiting.push(body) }
    }
    let mut written: BTreeMap<i64, Vec<Seen>> = BTreeMap::new();
    for call in history.calls() {
        match &call.op {
            Op::Write { fd, offset: Some(_), bytes } => {
                let (found, rest) = waiting.into_iter().partition(|(_, _, b)| contains(bytes, b));
                waiting = rest;
                let found: Vec<&SentBody> = found;
                written.entry(*fd).or_default().extend(found.iter().map(|(_, seen, _)| *seen));
            }
            Op::Sync { fd } => {
                let at = call.end.unwrap_or(usize::MAX);
                let synced = written.remove(fd).unwrap_or_default();
                stored.extend(synced.into_iter().map(|seen| (at, seen)));
            }
            _ => {}
        }
    }
    stored
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A spool with much to send and little room in its last segment: sending it moves the cursor,
/// unlinks segments, and begins a new one.
pub fn seeded(now_ms: i64) -> Image {
    let folder = crate::folder();
    let dir = folder.path().join("spool");
    let record_bytes = u32::try_from(65 + limits::BODY_BYTES_MAX).expect("small");
    let options = Options::new(4 << 20, record_bytes).expect("valid").with_salt(9);
    let (mut log, _) = Log::open(RealDisk, &dir, options).expect("opens");
    let (schema, schema_body) = bare_schema();
    let mut sequence = 0;
    for segment in 0..=SEEDED_SEGMENTS {
        log.append(&[&[1][..], schema.as_bytes(), &schema_body].concat()).expect("room");
        for _ in 0..SEEDED_BATCHES {
            sequence += 1;
            log.append(&seeded_record(sequence, now_ms - 3_600_000)).expect("room");
        }
        log.commit().expect("durable");
        if segment < SEEDED_SEGMENTS {
            log.seal().expect("sealed");
        }
    }
    let sealed: u64 = log.sealed_segments().map(|segment| segment.bytes).sum();
    let room = (4_u64 << 20) - (log.bytes() - sealed) - 2_500;
    for _ in 0..5 {
        // Of a kind that this version does not know, as the format allows.
        let bytes = usize::try_from(room / 5).expect("small") - 33;
        log.append(&[&[99_u8][..], &vec![0x5a; bytes]].concat()).expect("room");
    }
    log.commit().expect("durable");
    drop(log);
    disk::read(folder.path())
}

fn seeded_record(sequence: u64, created_ms: i64) -> Vec<u8> {
    let at = UtcMillis::new(created_ms + i64::try_from(sequence).expect("few") * 1_000);
    let batch = Batch {
        hub: HubId::new(HUB).expect("valid"),
        node: NodeId::new(NODE).expect("valid"),
        epoch: SpoolEpoch::new(SEEDED_EPOCH),
        sequence: BatchSeq::new(sequence).expect("from 1"),
        schema: bare_schema().0,
        created: at,
        uptime: None,
        matrices: Vec::new(),
        holds: Vec::new(),
        events: vec![Event {
            code: 0,
            count: 1,
            at,
            subject: None,
            kind: EventKind::AgentStarted,
            text: format!("seeded {sequence}"),
        }],
    };
    let head = [&[2][..], &SEEDED_EPOCH, &sequence.to_le_bytes(), &at.get().to_le_bytes()];
    let body = codec::encode_batch(&batch).expect("encodes");
    [&head.concat(), &batch.schema.as_bytes()[..], &body].concat()
}

/// Starts the real program on what a cut left, and holds it to its word.
pub fn check(image: &Image, past: &Past) -> Result<(), String> {
    let stub = Stub::start(POLITE, 1);
    let place = Place::new(image, stub.server.port);
    let begun_ms = i64::try_from(harness::utc_ms()).expect("small");
    let outcome = is_kept(&place, &stub, past, begun_ms);
    outcome.map_err(|complaint| {
        let folder = place.folder.keep();
        disk::write(image, &folder.join("before"));
        format!("{complaint}\n  look into {}", folder.display())
    })
}

fn start(place: &Place) -> Program {
    let mut command = Command::new(binary("bijli-agent"));
    command.arg("run").arg("--config").arg(place.config()).envs(place.environment());
    Program::start(&mut command, &place.folder.path().join("agent.log"))
}

fn is_kept(place: &Place, stub: &Stub, past: &Past, begun_ms: i64) -> Result<(), String> {
    let mut program = start(place);
    let mut owed: Vec<u64> = Vec::new();
    let mut is_new_there = false;
    let is_done = within(40, || {
        let seen = stub.seen();
        let keys: BTreeSet<Key> = seen.iter().map(|seen| seen.key).collect();
        let wanted = past.stored.keys().filter(|key| !past.heard.contains(*key));
        owed = wanted.filter(|key| !keys.contains(*key)).map(|key| key.1).collect();
        is_new_there = seen.iter().any(|seen| seen.created_ms >= begun_ms);
        // Several are under way at once, so an elder one may come after a newer.
        let is_whole = owed.is_empty() && is_new_there && is_one_course(past, &seen).is_ok();
        (is_whole || !program.is_running()).then_some(())
    });
    if !program.is_running() {
        return Err(format!("REFUSED TO START: {}", program.printed()));
    }
    if is_done.is_none() {
        is_one_course(past, &stub.seen())?;
        let printed = program.printed();
        return Err(format!("LOST: {owed:?} not sent again (new: {is_new_there}): {printed}"));
    }
    is_one_course(past, &stub.seen())
}

/// No sequence with two bodies, and none left out.
fn is_one_course(past: &Past, seen: &[Seen]) -> Result<(), String> {
    let mut course = past.stored.clone();
    course.extend(past.sent.clone());
    for seen in seen {
        let known = course.insert(seen.key, seen.hash);
        if known.is_some_and(|known| known != seen.hash) {
            return Err(format!("FORK: sequence {} was sent with other bytes", seen.key.1));
        }
    }
    let mut last: Option<Key> = None;
    for key in course.keys() {
        let before = last.filter(|last| last.0 == key.0).map_or(0, |last| last.1);
        if key.1 != before + 1 {
            return Err(format!("HOLE: after sequence {before} comes {}", key.1));
        }
        last = Some(*key);
    }
    Ok(())
}
