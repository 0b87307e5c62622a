//! The feed over a journal in memory and a store that fails on command.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use bijli_seglog::testing::ModelDisk;
use bijli_seglog::{Log, Options, RecordSeq};
use bijli_wire::batch::{Batch, Group, Matrix, Register, Schema, Series, Subject};
use bijli_wire::message::{Method, SubjectKind};
use bijli_wire::{
    BatchSeq, HubId, Millis, Milliwatts, NodeId, Quantity, SchemaId, SpoolEpoch, SubjectId,
    UtcMillis, codec,
};

use super::follow::Source;
use super::{Delivery, Fate, Follower, Form, Pause, Store, refused_path};
use crate::disk;
use crate::frame::Frame;
use crate::health::{FeedHealth, Health};
use crate::journal::Stretch;

/// A journal that the test writes, and that another thread could read.
#[derive(Clone)]
struct Journal {
    log: Arc<Mutex<Log<ModelDisk>>>,
    schemas: Arc<Mutex<BTreeMap<SchemaId, Arc<Schema>>>>,
}

impl Journal {
    fn new() -> Self {
        let options = Options::new(8 << 10, 4 << 10).expect("valid");
        let opened = Log::open(ModelDisk::new(7), Path::new("/journal"), options);
        let (log, _) = opened.expect("an empty log");
        Self { log: Arc::new(Mutex::new(log)), schemas: Arc::default() }
    }

    fn append(&self, frame: &Frame) {
        let mut log = self.log.lock().expect("nobody panicked");
        log.append(&frame.encode()).expect("fits");
        log.commit().expect("no fault");
    }

    /// A batch of one row; `count` is the register's.
    fn batch(&self, schema: &Schema, sequence: u64, count: i64, offset_ms: i64) {
        let (id, _) = codec::encode_schema(schema).expect("valid");
        self.schemas.lock().expect("nobody panicked").insert(id, Arc::new(schema.clone()));
        let at = UtcMillis::new(1_790_000_000_000 + 1_000 * i64::try_from(sequence).expect("few"));
        let matrix = Matrix {
            group: 0,
            times: vec![at],
            columns: vec![vec![Some(count)], vec![None], vec![Some(231_000)]],
        };
        let body = codec::encode_batch(&Batch {
            hub: schema.hub.clone(),
            node: schema.node.clone(),
            epoch: SpoolEpoch::new([3; 16]),
            sequence: BatchSeq::new(sequence).expect("not 0"),
            schema: id,
            created: at,
            uptime: None,
            matrices: vec![matrix],
            events: Vec::new(),
            holds: Vec::new(),
        });
        let body = body.expect("encodes");
        self.append(&match offset_ms {
            0 => Frame::Batch { received: at, body },
            offset_ms => Frame::Corrected { received: at, offset_ms, body },
        });
    }
}

impl Source for Journal {
    fn read_from(&self, seq: RecordSeq) -> Option<Stretch> {
        let log = self.log.lock().expect("nobody panicked");
        Some(Stretch { through: log.durable_seq(), records: Box::new(log.read_from(seq)) })
    }

    fn schema(&self, id: SchemaId) -> Option<Arc<Schema>> {
        self.schemas.lock().expect("nobody panicked").get(&id).cloned()
    }
}

/// What the store has, and what it thinks of lines.
#[derive(Clone, Default)]
struct Shelf {
    lines: Arc<Mutex<BTreeSet<String>>>,
    is_away: Arc<Mutex<bool>>,
    hates: Arc<Mutex<Option<String>>>,
}

impl Store for Shelf {
    const FORM: Form = Form::Line;

    fn write(&mut self, lines: &str) -> Fate {
        if *self.is_away.lock().expect("nobody panicked") {
            return Fate::Later { reason: "503: away".to_owned() };
        }
        let hates = self.hates.lock().expect("nobody panicked").clone();
        if hates.is_some_and(|word| lines.contains(&word)) {
            return Fate::Refused { reason: "400: bad".to_owned() };
        }
        let mut shelf = self.lines.lock().expect("nobody panicked");
        shelf.extend(lines.lines().map(str::to_owned));
        Fate::Taken
    }
}

impl Shelf {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panicked").iter().cloned().collect()
    }
}

fn meter() -> Schema {
    let register = Register {
        numerator: 3_600_000,
        denominator: 7,
        modulus: None,
        power_max: Milliwatts::new(1_000_000_000),
        epoch: 1,
        method: Method::Hardware,
        gap: Millis::new(60_000),
    };
    let subject = Subject {
        id: SubjectId::new("isb/incomer").expect("a name"),
        kind: SubjectKind::Meter,
        label: "main, hall 1".to_owned(),
        model: String::new(),
        serial: String::new(),
        register: Some(register),
    };
    let series = vec![
        Series::new(0, Quantity::EnergyRegister, 0),
        Series::new(0, Quantity::PowerInstant, 0),
        Series::new(0, Quantity::Voltage, 2),
    ];
    Schema {
        hub: HubId::new("isb").expect("a name"),
        node: NodeId::new("gateway").expect("a name"),
        agent: String::new(),
        subjects: vec![subject],
        groups: vec![Group { cadence: Millis::new(1_000), series }],
    }
}

struct Bench {
    folder: tempfile::TempDir,
    journal: Journal,
    shelf: Shelf,
    health: FeedHealth,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            folder,
            journal: Journal::new(),
            shelf: Shelf::default(),
            health: Health::new().feed("shelf"),
        }
    }

    fn follower(&self) -> Follower<Journal, Shelf> {
        let dir = self.folder.path();
        let delivery = Delivery::new(self.shelf.clone(), refused_path(dir), self.health.clone());
        Follower::new(dir, self.journal.clone(), delivery, self.health.clone())
    }
}

/// One that rests as long as it is asked to; the sender ends it.
fn pause() -> (Sender<()>, Pause) {
    let (stop, stopped) = channel();
    (stop, Pause(stopped))
}

#[test]
fn readings_become_lines_exactly() {
    let bench = Bench::new();
    bench.journal.append(&Frame::Tick { received: UtcMillis::ZERO });
    bench.journal.batch(&meter(), 1, 7, 0);
    bench.journal.batch(&meter(), 2, 8, 500);
    let (_stop, pause) = pause();
    assert!(bench.follower().turn(&pause));
    let head = "bijli_meter,hub=isb,label=main\\,\\ hall\\ 1,node=gateway";
    let subject = "subject=isb/incomer";
    assert_eq!(
        bench.shelf.lines(),
        [
            format!("{head},part=2,{subject} voltage_millivolts=231000i 1790000001000"),
            format!("{head},part=2,{subject} voltage_millivolts=231000i 1790000002500"),
            format!("{head},{subject} energy_millijoules=3600000i 1790000001000"),
            format!("{head},{subject} energy_millijoules=4114285i 1790000002500"),
        ]
    );
    assert_eq!(bench.health.points.get(), 4, "what was missing is no value");
    assert_eq!(bench.health.lag_seconds.get(), 0);
}

/// Goal: K-faults of a store. Nothing is lost while it is away, and nothing is sent again once it
/// was taken, over a restart too.
#[test]
fn a_store_that_was_away_gets_everything_once() {
    let bench = Bench::new();
    bench.journal.batch(&meter(), 1, 7, 0);
    *bench.shelf.is_away.lock().expect("nobody panicked") = true;
    let (stop, waiting) = pause();
    drop(stop);
    assert!(!bench.follower().turn(&waiting), "told to stop while it insists");
    assert_eq!(bench.shelf.lines(), Vec::<String>::new());
    assert!(bench.health.lag_seconds.get() > 0 && bench.health.retries.get() == 1);

    *bench.shelf.is_away.lock().expect("nobody panicked") = false;
    bench.journal.batch(&meter(), 2, 8, 0);
    let (_stop, pause) = pause();
    let mut follower = bench.follower();
    assert!(follower.turn(&pause) && follower.turn(&pause));
    assert_eq!(bench.shelf.lines().len(), 4);
    assert_eq!(bench.health.points.get(), 4);

    bench.shelf.lines.lock().expect("nobody panicked").clear();
    assert!(bench.follower().turn(&pause), "a restart goes on where the last one was");
    assert_eq!(bench.shelf.lines(), Vec::<String>::new());
}

#[test]
fn a_line_that_is_refused_for_ever_costs_only_itself() {
    let bench = Bench::new();
    for sequence in 1..=9 {
        bench.journal.batch(&meter(), sequence, 7 * i64::try_from(sequence).expect("few"), 0);
    }
    *bench.shelf.hates.lock().expect("nobody panicked") = Some("=18000000i".to_owned());
    let (_stop, pause) = pause();
    assert!(bench.follower().turn(&pause));
    assert_eq!(bench.shelf.lines().len(), 17);
    assert_eq!(bench.health.refused.get(), 1);
    let kept = disk::read_text(&refused_path(bench.folder.path())).expect("kept");
    assert!(kept.ends_with("energy_millijoules=18000000i 1790000005000\n"), "{kept}");
}

#[test]
fn a_journal_that_was_put_back_is_told_from_its_begin() {
    let bench = Bench::new();
    disk::write_text(&bench.folder.path().join("cursor"), "50\n").expect("written");
    bench.journal.batch(&meter(), 1, 7, 0);
    let (_stop, pause) = pause();
    let mut follower = bench.follower();
    assert!(follower.turn(&pause) && follower.turn(&pause));
    assert_eq!(bench.shelf.lines().len(), 2);
}
