//! A collector on one simulated disk, journal and ledger log together, cut wherever it writes.

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use bijli_ledger::{Leaf, Rules};
use bijli_seglog::testing::{Fault, ModelDisk};
use bijli_seglog::{Log, LogError, Options, RecordSeq};
use bijli_wire::batch::{Group, Register, Series, Subject};
use bijli_wire::{
    Batch, BatchSeq, HubId, Matrix, Method, Millis, Milliwatts, NodeId, Quantity, Schema,
    SpoolEpoch, SubjectId, SubjectKind, UtcMillis, codec,
};

use super::*;
use crate::bookkeeper::Bookkeeper;
use crate::clock::Clock;
use crate::frame::Frame;
use crate::health::Health;
use crate::index::{self, Store};
use crate::intake::{Fact, Intake, Note, Reply};
use crate::journal::{self, Request, Setting};
use crate::replay;
use crate::state::State;

const BEGIN: i64 = 1_782_864_000_000;
const FIVE: i64 = 300_000;

fn at(ms: i64) -> UtcMillis {
    UtcMillis::new(BEGIN + ms)
}

fn schema() -> Schema {
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
fn story() -> Vec<Frame> {
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

struct Machine {
    journal: journal::Writer<ModelDisk>,
    facts: Receiver<Fact>,
    keeper: Bookkeeper,
    ledger: Arc<Mutex<Writer<ModelDisk>>>,
}

impl Machine {
    fn boot(disk: &ModelDisk) -> Result<Self, LogError> {
        let options = Options::new(1 << 20, 1 << 16).expect("valid");
        let (log, _) = Log::open(disk.clone(), Path::new("/journal"), options)?;
        let (leaves, _) = open(disk.clone(), Path::new("/ledger"))?;
        let ledger = Arc::new(Mutex::new(Writer::new(leaves)));
        let state = Arc::new(State::new(Clock, Rules::default(), Health::new(), None));
        let out = Arc::clone(&ledger);
        let mut keeper = Bookkeeper::with_leaves(Arc::clone(&state), move |lot| {
            // A disk that is cut takes nothing; the next start appends it.
            drop(out.lock().expect("no panic").take(&lot));
        });
        let intake = Arc::new(Mutex::new(Intake::default()));
        replay::replay(&log, &state, &intake, |fact| keeper.book(fact));
        let (sender, facts) = sync_channel(1_024);
        let setting = Setting {
            clock: Clock,
            health: Health::new(),
            facts: sender,
            space: Box::new(|| None),
            reserve_bytes: 0,
        };
        let journal = journal::Writer::new(log, intake, setting);
        Ok(Self { journal, facts, keeper, ledger })
    }

    /// Goes on with the story where the journal ends, until its end or a failure.
    fn live(&mut self) {
        let from = usize::try_from(self.journal.log().durable_seq().get()).expect("small");
        for frame in story().into_iter().skip(from) {
            let before = self.journal.log().durable_seq();
            let note = Note::of(&frame).expect("our own");
            let request = Request { frame, note, reply: Reply::none() };
            let outcome = self.journal.write(vec![request]);
            for fact in self.facts.try_iter() {
                self.keeper.book(fact);
            }
            if outcome.is_err() || self.journal.log().durable_seq() == before {
                return;
            }
        }
    }

    fn keeping(&self) -> (Keeping, u64, u64) {
        let ledger = self.ledger.lock().expect("no panic");
        (ledger.keeping(), ledger.ahead(), ledger.lost())
    }
}

fn leaves(disk: &ModelDisk) -> Vec<(u64, Vec<u8>)> {
    let (log, _) = open(disk.clone(), Path::new("/ledger")).expect("opens");
    let records = log.read_from(RecordSeq::FIRST).map(|record| record.expect("whole"));
    records.map(|(seq, bytes)| (seq.get(), bytes)).collect()
}

/// The leaves of a life without a cut, and how many I/O operations it took.
fn reference() -> (Vec<(u64, Vec<u8>)>, u64) {
    let disk = ModelDisk::new(1);
    Machine::boot(&disk).expect("opens").live();
    (leaves(&disk), disk.operations())
}

/// Goal: P6. What was made live is what a replay makes.
#[test]
fn p6_leaves_made_live_are_those_of_a_replay() {
    let disk = ModelDisk::new(1);
    Machine::boot(&disk).expect("opens").live();
    let (kept, _) = reference();
    let bodies = kept.iter().map(|(_, bytes)| Leaf::decode(bytes).expect("whole").body);
    let adjusted =
        bodies.filter(|body| matches!(body, bijli_ledger::leaf::Body::Adjustment { .. }));
    assert!(adjusted.count() >= 2, "the late allocation corrected closed intervals");
    let again = Machine::boot(&disk).expect("opens");
    assert_eq!(again.keeping(), (Keeping::Same, 0, 0));
    let ledger = again.ledger.lock().expect("no panic");
    assert_eq!(ledger.log().durable_seq().get(), kept.len() as u64);
}

/// Goal: C2, C4. A cut at any operation of its life, a second one at any of its recovery: in the
/// end the ledger log has the same bytes as after a life without one.
#[test]
fn c4_cuts_in_life_and_in_recovery_end_in_the_same_ledger() {
    let (expected, operations) = reference();
    let step = usize::try_from(operations / 48).expect("small").max(1);
    for (round, first) in (0..operations).step_by(step).zip(0_u64..).map(|(a, b)| (b, a)) {
        let disk = ModelDisk::new(first);
        disk.fail_at(first, Fault::PowerCut);
        if let Ok(mut machine) = Machine::boot(&disk) {
            machine.live();
        }
        disk.clear_fault();
        disk.power_cut();
        disk.fail_at(round % 17, Fault::PowerCut);
        if let Ok(mut machine) = Machine::boot(&disk) {
            machine.live();
        }
        disk.clear_fault();
        disk.power_cut();
        let mut machine = Machine::boot(&disk).expect("opens");
        machine.live();
        assert_eq!(machine.keeping(), (Keeping::Same, 0, 0), "cuts at {first}, {}", round % 17);
        drop(machine);
        assert_eq!(leaves(&disk), expected, "cuts at {first} and {}", round % 17);
    }
}

/// Goal: O2, C5. The ledger log removed as a whole, or one segment of it: made again from the
/// journal; and the index of it follows.
#[test]
fn o2_a_removed_ledger_log_is_made_again_from_the_journal() {
    let (expected, _) = reference();
    let disk = ModelDisk::new(1);
    Machine::boot(&disk).expect("opens").live();
    let files = disk.files();
    let files = files.iter().filter(|path| path.starts_with("/ledger"));
    files.for_each(|path| disk.remove(path));
    assert_eq!(Machine::boot(&disk).expect("opens").keeping(), (Keeping::Same, 0, 0));
    assert_eq!(leaves(&disk), expected);
    let dir = tempfile::tempdir().expect("a directory");
    let (mut store, _) = Store::open(dir.path()).expect("opens");
    let decoded = expected.iter().map(|(_, bytes)| Leaf::decode(bytes).ok()).collect::<Vec<_>>();
    store.take(&decoded).expect("taken");
    let (from, to) = (at(0), at(3 * 3_600_000));
    let scope = index::Scope { hub: schema().hub, from, to };
    let sums = store.sums(&scope, false).expect("whole");
    let to_gpu = sums.iter().filter(|sum| sum.debit.to_string() == "gpu:GPU-1");
    let signed = to_gpu.map(|sum| {
        i128::try_from(sum.amount).expect("small") * if sum.is_reversal { 0 } else { 1 }
    });
    assert_eq!(signed.sum::<i128>(), i128::from(23 * FIVE + 150_000) * 100, "100 W all the time");
}

/// Goal: C11. Yesterday's journal under today's ledger log: what comes now is another story.
#[test]
fn c11_a_restored_journal_rewrites_nothing() {
    let (expected, _) = reference();
    let old = ModelDisk::new(1);
    let mut machine = Machine::boot(&old).expect("opens");
    for frame in story().into_iter().take(8) {
        let note = Note::of(&frame).expect("our own");
        machine.journal.write(vec![Request { frame, note, reply: Reply::none() }]).expect("room");
    }
    drop(machine);
    let disk = ModelDisk::new(2);
    Machine::boot(&disk).expect("opens").live();
    for path in disk.files().iter().filter(|path| path.starts_with("/journal")) {
        disk.remove(path);
    }
    for path in old.files().iter().filter(|path| path.starts_with("/journal")) {
        disk.set_contents(path, &old.contents(path).expect("there"));
    }
    let mut restored = Machine::boot(&disk).expect("opens");
    let (keeping, ahead, _) = restored.keeping();
    assert_eq!(keeping, Keeping::Same);
    assert!(ahead > 0);
    // An hour passes in which nobody sends: the intervals close otherwise than they had.
    for minutes in [60, 61, 122, 130, 140] {
        let received = at(minutes * 60_000);
        let request = journal::tick(received);
        restored.journal.write(vec![request]).expect("room");
        restored.facts.try_iter().for_each(|fact| restored.keeper.book(fact));
    }
    assert!(matches!(restored.keeping().0, Keeping::Differs { .. }));
    drop(restored);
    assert_eq!(leaves(&disk), expected, "the log stands");
}
