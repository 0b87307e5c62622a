//! A collector on one simulated disk, for tests: journal, books, ledger log and snapshots, without
//! threads and sockets.

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use bijli_ledger::Rules;
use bijli_seglog::testing::ModelDisk;
use bijli_seglog::{Log, LogError, Options, RecordSeq};
use bijli_wire::batch::{Group, Register, Series, Subject};
use bijli_wire::{
    Batch, BatchSeq, HubId, Matrix, Method, Millis, Milliwatts, NodeId, Quantity, Schema,
    SpoolEpoch, SubjectId, SubjectKind, UtcMillis, codec,
};

use crate::bookkeeper::Bookkeeper;
use crate::clock::Clock;
use crate::frame::Frame;
use crate::health::Health;
use crate::intake::{Fact, Note, Reply};
use crate::journal::{self, Request, Retention, Setting};
use crate::leaves::{Keeping, Writer, open};
use crate::replay;
use crate::snapshot::{self, Begin, Grounds, Store};
use crate::state::State;

pub(crate) const BEGIN: i64 = 1_782_864_000_000;
pub(crate) const FIVE: i64 = 300_000;

pub(crate) fn at(ms: i64) -> UtcMillis {
    UtcMillis::new(BEGIN + ms)
}

pub(crate) fn schema() -> Schema {
    let register = Register {
        numerator: 1,
        denominator: 1,
        modulus: None,
        power_max: Milliwatts::new(700_000),
        epoch: 1,
        method: Method::Hardware,
        gap: Millis::new(5_000),
    };
    Schema {
        hub: HubId::new("isb").expect("valid"),
        node: NodeId::new("n01").expect("valid"),
        agent: "test".into(),
        subjects: vec![Subject {
            id: SubjectId::new("GPU-1").expect("valid"),
            kind: SubjectKind::Gpu,
            label: "0".into(),
            model: String::new(),
            serial: String::new(),
            register: Some(register),
        }],
        groups: vec![Group {
            cadence: Millis::new(1_000),
            series: vec![Series::new(0, Quantity::EnergyRegister, 0)],
        }],
    }
}

/// Two hours of a GPU at 100 W, an allocation that is told an hour late, time passing.
pub(crate) fn story() -> Vec<Frame> {
    let (id, body) = codec::encode_schema(&schema()).expect("encodes");
    let rules = Rules::default();
    let mut frames =
        vec![Frame::Rules { received: at(0), rules }, Frame::Schema { received: at(0), body }];
    for number in 0..24_i64 {
        let times = [number * FIVE, number * FIVE + 150_000];
        let batch = Batch {
            hub: schema().hub,
            node: schema().node,
            epoch: SpoolEpoch::new([3; 16]),
            sequence: BatchSeq::new(u64::try_from(number).expect("small") + 1).expect("from 1"),
            schema: id,
            created: at(times[1]),
            uptime: None,
            matrices: vec![Matrix {
                group: 0,
                times: times.map(at).to_vec(),
                columns: vec![times.map(|time| Some(time * 100)).to_vec()],
            }],
            events: Vec::new(),
            holds: Vec::new(),
        };
        let body = codec::encode_batch(&batch).expect("encodes");
        frames.push(Frame::Batch { received: at(times[1] + 1_000), body });
        if number == 14 {
            let json = br#"{"id":"1","hub":"isb","project":"climate","devices":["GPU-1"],"from":"2026-07-01T00:10:00Z","to":"2026-07-01T00:50:00Z","who":"slurm","why":""}"#;
            let received = at(times[1] + 2_000);
            frames.push(Frame::AllocationPut { received, json: json.to_vec() });
        }
    }
    for minutes in [122, 125, 130, 140] {
        frames.push(Frame::Tick { received: at(minutes * 60_000) });
    }
    frames
}

pub(crate) struct Machine {
    pub(crate) journal: journal::Writer<ModelDisk>,
    pub(crate) facts: Receiver<Fact>,
    pub(crate) keeper: Bookkeeper,
    pub(crate) ledger: Arc<Mutex<Writer<ModelDisk>>>,
    pub(crate) state: Arc<State>,
    /// Records that it replayed when it started.
    pub(crate) replayed: u64,
}

/// Why a machine does not start.
#[derive(Debug)]
pub(crate) enum NoBoot {
    Disk,
    NoBegin,
}

impl From<LogError> for NoBoot {
    fn from(_: LogError) -> Self {
        Self::Disk
    }
}

impl Machine {
    pub(crate) fn boot(disk: &ModelDisk) -> Result<Self, NoBoot> {
        Self::boot_keeping(disk, None)
    }

    /// One that lets segments of the journal go that are older than this.
    pub(crate) fn boot_keeping(disk: &ModelDisk, keep: Option<Millis>) -> Result<Self, NoBoot> {
        let options = Options::new(16 << 10, 4 << 10).expect("valid");
        let (log, _) = Log::open(disk.clone(), Path::new("/journal"), options)?;
        let (leaves, _) = open(disk.clone(), Path::new("/ledger"))?;
        let store = Store::open(disk.clone(), Path::new("/snapshots")).map_err(|_| NoBoot::Disk)?;
        let state = Arc::new(State::new(Clock, Rules::default(), Health::new(), None));
        let grounds = Grounds { journal: &log, ledger: &leaves };
        let begin = Begin::newest(&state, &store, &grounds).map_err(|_| NoBoot::NoBegin)?;
        let ledger = Arc::new(Mutex::new(Writer::after(leaves, begin.next_leaf)));
        let (out, keeping) = (Arc::clone(&ledger), snapshot::Keeping::default());
        let (kept, health) = (keeping.clone(), state.health.clone());
        let mut keeper = begin.bookkeeper.with_leaves(move |lot| {
            // A disk that is cut takes nothing; the next start appends it.
            let is_kept = out.lock().expect("no panic").take(&lot).is_ok();
            if let Some(taken) = lot.snapshot.filter(|_| is_kept) {
                snapshot::keep(&store, &taken, &kept, &health);
            }
        });
        let replayed = log.durable_seq().get() + 1 - begin.from.get();
        let intake = Arc::new(Mutex::new(begin.intake));
        replay::replay(&log, begin.from, &state, &intake, |fact| keeper.book(fact))?;
        let (sender, facts) = sync_channel(1_024);
        let setting = Setting {
            clock: Clock,
            health: state.health.clone(),
            facts: sender,
            space: Box::new(|| None),
            reserve_bytes: 0,
            retention: Retention { keep, keeping, ..Retention::none() },
        };
        let journal = journal::Writer::new(log, intake, setting);
        Ok(Self { journal, facts, keeper, ledger, state, replayed })
    }

    /// Goes on with the story where the journal ends, until its end or a failure.
    pub(crate) fn live(&mut self) {
        self.live_through(&story());
    }

    /// The same with another story.
    pub(crate) fn live_through(&mut self, story: &[Frame]) {
        let from = usize::try_from(self.journal.log().durable_seq().get()).expect("small");
        for frame in story.iter().skip(from).cloned() {
            let before = self.journal.log().durable_seq();
            let note = Note::of(&frame).expect("our own");
            let request = Request { frame, note, reply: Reply::none() };
            let outcome = self.journal.write(vec![request]);
            self.book();
            if outcome.is_err() || self.journal.log().durable_seq() == before {
                return;
            }
        }
    }

    /// Books what the journal has handed on.
    pub(crate) fn book(&mut self) {
        self.facts.try_iter().for_each(|fact| self.keeper.book(fact));
    }

    pub(crate) fn keeping(&self) -> (Keeping, u64, u64) {
        let ledger = self.ledger.lock().expect("no panic");
        (ledger.keeping(), ledger.ahead(), ledger.lost())
    }
}

/// Every leaf of the ledger log.
pub(crate) fn leaves(disk: &ModelDisk) -> Vec<(u64, Vec<u8>)> {
    let (log, _) = open(disk.clone(), Path::new("/ledger")).expect("opens");
    let records = log.read_from(RecordSeq::FIRST).map(|record| record.expect("whole"));
    records.map(|(seq, bytes)| (seq.get(), bytes)).collect()
}
