//! A spool that fills: what thinning keeps, judged by the real ledger, and what a power cut at any
//! moment leaves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bijli_ledger::{Account, Activity, Books, Class, Rules};
use bijli_seglog::testing::{Fault, ModelDisk};
use bijli_wire::batch::{Group, Register, Series, Subject};
use bijli_wire::message::EventKind;
use bijli_wire::{
    Batch, BatchSeq, HubId, Matrix, Method, Millis, Milliwatts, NodeId, Quantity, Schema, SchemaId,
    SpoolEpoch, SubjectId, SubjectKind, UtcMillis, codec,
};
use proptest::prelude::*;

use super::thin::{EDGE, Input, Thinned, Thinner};
use super::{BYTES_MIN, Fresh, Limits, Owner, Spool, SpoolError, Stored};
use crate::draft::{Draft, EncodedSchema};
use crate::uplink::Jitter;

/// In the middle of an interval.
const START: i64 = 1_782_900_420_000;
const GPUS: usize = 2;

fn seq(number: u64) -> BatchSeq {
    BatchSeq::new(number).unwrap()
}

fn hub() -> HubId {
    HubId::new("isb").unwrap()
}

fn node() -> NodeId {
    NodeId::new("n1").unwrap()
}

fn gpu(index: usize) -> SubjectId {
    SubjectId::new(&format!("gpu-{index}")).unwrap()
}

fn register(watts: u64) -> Register {
    Register {
        numerator: 1,
        denominator: 1,
        modulus: None,
        power_max: Milliwatts::new(watts * 1_000),
        epoch: 1,
        method: Method::Hardware,
        gap: Millis::new(3_000),
    }
}

/// Some GPUs, each with a register, and gauges that nobody needs to book.
fn schema(registers: &[Register], gauges: usize) -> Schema {
    let subject = |(index, register): (usize, &Register)| Subject {
        id: gpu(index),
        kind: SubjectKind::Gpu,
        label: String::new(),
        model: String::new(),
        serial: String::new(),
        register: Some(*register),
    };
    let mut series: Vec<Series> =
        (0..registers.len()).map(|one| Series::new(one, Quantity::EnergyRegister, 0)).collect();
    series.extend((0..gauges).map(|_| Series::new(0, Quantity::MemoryUsed, 0)));
    Schema {
        hub: hub(),
        node: node(),
        agent: "test".to_owned(),
        subjects: registers.iter().enumerate().map(subject).collect(),
        groups: vec![Group { cadence: Millis::new(1_000), series }],
    }
}

/// The real ledger, told what batches say.
struct Ledger {
    books: Books,
    last: i64,
}

impl Ledger {
    fn new(schema: &Schema) -> Self {
        let mut books = Books::new(hub(), Rules::default());
        for subject in &schema.subjects {
            let _bound = books.declare(&node(), subject);
        }
        Self { books, last: START }
    }

    fn book(&mut self, schema: &Schema, matrices: &[Matrix]) {
        for matrix in matrices {
            for (series, column) in schema.groups[0].series.iter().zip(&matrix.columns) {
                if series.quantity != Some(Quantity::EnergyRegister) {
                    continue;
                }
                let handle = self.books.handle(&gpu(series.subject)).unwrap();
                for (at, count) in matrix.times.iter().zip(column) {
                    let _verdict = self.books.read_at(handle, *at, *count, Activity::Unknown);
                }
            }
            self.last = self.last.max(matrix.times.last().map_or(0, |time| time.get()));
        }
    }

    /// What each GPU used, by interval, once all is closed.
    fn energies(&mut self) -> BTreeMap<(i64, usize), u128> {
        self.energies_of(|_| true)
    }

    fn energies_of(&mut self, is_asked: impl Fn(Class) -> bool) -> BTreeMap<(i64, usize), u128> {
        for minutes in [40, 80, 120] {
            self.books.advance(UtcMillis::new(self.last + minutes * 60_000));
        }
        assert_eq!(self.books.imbalance(), 0);
        let mut energies = BTreeMap::new();
        let mut at = UtcMillis::new(START - 1_800_000).floor_to(EDGE);
        while at.get() <= self.last {
            let to = at.plus(EDGE).unwrap();
            for (flow, energy) in self.books.flows_by_class(at, to) {
                for index in 0..8 {
                    if flow.debit == Account::Gpu(gpu(index)) && is_asked(flow.class) {
                        *energies.entry((at.get(), index)).or_default() += energy;
                    }
                }
            }
            at = to;
        }
        energies
    }
}

fn batch(id: SchemaId, number: u64, matrix: Matrix) -> Batch {
    Batch {
        hub: hub(),
        node: node(),
        epoch: SpoolEpoch::new([1; 16]),
        sequence: seq(number),
        schema: id,
        created: matrix.times.last().copied().unwrap_or(UtcMillis::new(START)),
        uptime: None,
        matrices: vec![matrix],
        events: Vec::new(),
        holds: Vec::new(),
    }
}

/// Thins `batches`, first those before `cut` and then that with the rest, as a spool would.
fn thin(schema: &Schema, batches: &[Batch], cut: usize) -> Vec<Thinned> {
    let mut thinner = Thinner::default();
    let (first, rest) = batches.split_at(cut.min(batches.len()));
    for batch in first {
        let (first, since, batch) = (batch.sequence, batch.created, batch.clone());
        thinner.take(Input { schema, first, since, batch });
    }
    let mut again = Thinner::default();
    for (number, part) in (1..).zip(thinner.finish()) {
        let bare = batch(part.schema, number, Matrix::default());
        let Thinned { created, uptime, first, since, matrices, events, .. } = part;
        let whole = Batch { created, uptime, matrices, events, ..bare };
        again.take(Input { schema, first, since, batch: whole });
    }
    for batch in rest {
        let (first, since, batch) = (batch.sequence, batch.created, batch.clone());
        again.take(Input { schema, first, since, batch });
    }
    again.finish()
}

/// How registers behave in a test.
#[derive(Clone, Copy, Debug)]
enum Nature {
    /// Within their rating, with silences.
    Sound,
    /// With wraps after minutes.
    Turning,
    /// With resets, steps back, jumps and nonsense.
    Sick,
}

fn registers(nature: Nature) -> Vec<Register> {
    let modulus = match nature {
        Nature::Turning => Some(262_143_328),
        Nature::Sound | Nature::Sick => None,
    };
    vec![Register { modulus, ..register(700) }; GPUS]
}

/// Hours of readings in batches of five rows.
fn readings(nature: Nature, seed: u64) -> Vec<Batch> {
    let mut dice = Jitter::new(seed);
    let (id, _) = codec::encode_schema(&schema(&registers(nature), 0)).unwrap();
    let (mut at, mut batches) = (START + signed(dice.up_to(600_000)), Vec::new());
    let mut counts: Vec<i64> = (0..GPUS).map(|_| signed(dice.up_to(900_000_000))).collect();
    while at < START + 3 * 3_600_000 {
        let mut matrix = Matrix { group: 0, times: Vec::new(), columns: vec![Vec::new(); GPUS] };
        for _ in 0..5 {
            let silent = dice.up_to(300) == 0;
            let span = 1_000 + if silent { signed(dice.up_to(1_500_000)) } else { 0 };
            at += span;
            matrix.times.push(UtcMillis::new(at));
            for (count, column) in counts.iter_mut().zip(&mut matrix.columns) {
                column.push(step(nature, count, span, &mut dice));
            }
        }
        let number = u64::try_from(batches.len() + 1).unwrap();
        batches.push(batch(id, number, matrix));
    }
    batches
}

/// One register a little later, and what it shows.
fn step(nature: Nature, count: &mut i64, span: i64, dice: &mut Jitter) -> Option<i64> {
    *count += span * signed(dice.up_to(700));
    match nature {
        Nature::Sound => (dice.up_to(40) > 0).then_some(*count),
        Nature::Turning => {
            *count %= 262_143_328;
            Some(*count)
        }
        Nature::Sick => match dice.up_to(1_500) {
            0 => {
                *count = signed(dice.up_to(500_000));
                Some(*count)
            }
            1 => {
                *count -= (*count).min(signed(dice.up_to(3_000_000)));
                Some(*count)
            }
            2 => Some(*count * 3 + 90_000_000),
            3 => Some(i64::MAX - 13),
            4 => {
                *count += 50_000_000;
                Some(*count)
            }
            _ => Some(*count),
        },
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

/// Goal: the ledger books from the thinned batches, interval by interval and GPU by GPU, what it
/// would have booked from all of them.
fn check(nature: Nature, seed: u64, cut: usize) {
    let schema = schema(&registers(nature), 0);
    let batches = readings(nature, seed);
    let (mut dense, mut thinned) = (Ledger::new(&schema), Ledger::new(&schema));
    for batch in &batches {
        dense.book(&schema, &batch.matrices);
    }
    let parts = thin(&schema, &batches, cut);
    for part in &parts {
        thinned.book(&schema, &part.matrices);
    }
    let rows = |matrices: &[Matrix]| matrices.iter().map(|one| one.times.len()).sum::<usize>();
    let before: usize = batches.iter().map(|batch| rows(&batch.matrices)).sum();
    let after: usize = parts.iter().map(|part| rows(&part.matrices)).sum();
    assert!(before < 2_000 || after * 4 < before, "{after} of {before} rows stay");
    if matches!(nature, Nature::Sick) {
        // While a register lies, its energy may move across an edge; it is neither lost nor made.
        // What it does not show, in the minutes around a reset, is estimated from the power
        // before: thinned, that is the mean of a longer stretch.
        let [dense, thinned] = [&mut dense, &mut thinned]
            .map(|ledger| by_gpu(&ledger.energies_of(|class| class != Class::Estimated)));
        return assert_eq!(dense, thinned);
    }
    let (dense, thinned) = (dense.energies(), thinned.energies());
    let differ: Vec<_> = dense.iter().filter(|(key, mj)| thinned.get(key) != Some(mj)).collect();
    assert!(differ.is_empty() && dense.len() == thinned.len(), "{differ:?} {thinned:?}");
}

fn by_gpu(energies: &BTreeMap<(i64, usize), u128>) -> BTreeMap<usize, u128> {
    let mut sums = BTreeMap::new();
    for ((_, index), energy) in energies {
        *sums.entry(*index).or_default() += energy;
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn a5_thinned_registers_book_the_same_energies(seed in any::<u64>(), cut in 0_usize..2_000) {
        check(Nature::Sound, seed, cut);
    }

    #[test]
    fn a5_registers_that_turn_keep_their_turns(seed in any::<u64>(), cut in 0_usize..2_000) {
        check(Nature::Turning, seed, cut);
    }

    #[test]
    fn a5_resets_steps_back_and_jumps_book_the_same(seed in any::<u64>(), cut in 0_usize..2_000) {
        check(Nature::Sick, seed, cut);
    }
}

fn open(disk: &ModelDisk, epoch: u8) -> Result<Spool<ModelDisk>, SpoolError> {
    let limits = Limits { bytes_max: BYTES_MIN, keep_acked: Millis::new(604_800_000) };
    let owner = Owner { hub: hub(), node: node(), agent: "test".to_owned() };
    let fresh = Fresh { epoch: SpoolEpoch::new([epoch; 16]), salt: 1 };
    Spool::open(disk.clone(), Path::new("/spool"), limits, owner, fresh).map(|(spool, _)| spool)
}

/// A node that is read for ever: two registers and gauges that do not compress.
struct Source {
    schema: Schema,
    encoded: Arc<EncodedSchema>,
    at: i64,
    span: i64,
    gauges: usize,
    counts: Vec<i64>,
    dice: Jitter,
    /// Counts at the edges of intervals.
    edges: BTreeMap<i64, Vec<i64>>,
}

impl Source {
    fn new(span: i64, gauges: usize) -> Self {
        let schema = schema(&[register(700); GPUS], gauges);
        let encoded = Arc::new(EncodedSchema::new(&schema).unwrap());
        let (counts, dice) = (vec![0; GPUS], Jitter::new(5));
        let at = UtcMillis::new(START).floor_to(EDGE).get();
        Self { schema, encoded, at, span, gauges, counts, dice, edges: BTreeMap::new() }
    }

    /// Five rows.
    fn draft(&mut self) -> Draft {
        let width = GPUS + self.gauges;
        let mut matrix = Matrix { group: 0, times: Vec::new(), columns: vec![Vec::new(); width] };
        for _ in 0..5 {
            self.at += self.span;
            matrix.times.push(UtcMillis::new(self.at));
            for (count, column) in self.counts.iter_mut().zip(&mut matrix.columns) {
                *count += self.span * signed(self.dice.up_to(700));
                column.push(Some(*count));
            }
            for column in &mut matrix.columns[GPUS..] {
                column.push(Some(signed(self.dice.up_to(1 << 49))));
            }
            if self.at % 900_000 == 0 {
                self.edges.insert(self.at, self.counts.clone());
            }
        }
        let (schema, created) = (Arc::clone(&self.encoded), UtcMillis::new(self.at));
        let (matrices, events, holds) = (vec![matrix], Vec::new(), Vec::new());
        Draft { schema, created, uptime: None, matrices, events, holds }
    }

    /// What the ledger books of all that waits in a spool, in the order in which it is sent.
    fn booked(&self, spool: &mut Spool<ModelDisk>) -> BTreeMap<(i64, usize), u128> {
        let mut ledger = Ledger::new(&self.schema);
        let mut number = spool.lowest();
        while number < spool.next() {
            let body = spool.load(number).unwrap().body;
            let (id, schema) = spool.schema_of(number).unwrap();
            let schema = codec::decode_schema(&schema).unwrap().1;
            let batch = codec::open(&body).unwrap().read(id, &schema).unwrap();
            assert_eq!(batch.sequence, number);
            ledger.book(&self.schema, &batch.matrices);
            number = number.next();
        }
        ledger.energies()
    }

    /// Every interval between two edges has, of each GPU, exactly the difference of its counts.
    fn check(&self, booked: &BTreeMap<(i64, usize), u128>) {
        let pairs = self.edges.iter().zip(self.edges.iter().skip(1));
        let mut intervals = 0;
        for ((from, before), (to, after)) in pairs {
            assert_eq!(to - from, 900_000);
            for index in 0..GPUS {
                let used = u128::try_from(after[index] - before[index]).unwrap();
                assert_eq!(booked.get(&(*from, index)), Some(&used), "GPU {index} from {from}");
            }
            intervals += 1;
        }
        assert_eq!(intervals + 1, self.edges.len());
    }
}

/// Goal: an outage of any length. Thirty days at sixteen MiB, never above them, every interval of
/// every GPU exact to the millijoule, and little written twice.
#[test]
fn a5_thirty_days_without_network_cost_shape_and_never_energy() {
    let disk = ModelDisk::new(1);
    let mut spool = open(&disk, 1).unwrap();
    let mut source = Source::new(60_000, 120);
    let (mut batches, mut most, mut plain) = (0_u64, 0, 0_u64);
    while batches < 30 * 24 * 12 {
        let before = spool.bytes();
        batches += 1;
        assert_eq!(
            spool.store(&source.draft()).unwrap(),
            Stored::Durable { through: seq(batches) }
        );
        most = most.max(spool.bytes());
        plain += spool.bytes().saturating_sub(before);
    }
    assert!(most <= BYTES_MIN, "{most} bytes");
    assert!(plain > 2 * BYTES_MIN, "only {plain} bytes were written: nothing had to go");
    let thinned = spool.lowest();
    assert!(thinned.get() > batches / 4, "{thinned} of {batches}");
    source.check(&source.booked(&mut spool));
    // A restart sends the same.
    let bodies: Vec<_> =
        (thinned.get()..batches).map(|number| spool.load(seq(number)).unwrap().hash).collect();
    drop(spool);
    disk.power_cut();
    let mut spool = open(&disk, 2).unwrap();
    assert_eq!((spool.lowest(), spool.next()), (thinned, seq(batches + 1)));
    assert_eq!(spool.epoch(), SpoolEpoch::new([1; 16]));
    for (number, hash) in (thinned.get()..).zip(bodies) {
        assert_eq!(spool.load(seq(number)).unwrap().hash, hash, "batch {number}");
    }
    let standing = spool.sent().thinned.len();
    let eldest = spool.load(thinned).unwrap().body;
    assert!(standing < 20 && eldest.len() < 32_000, "{standing} of {} bytes", eldest.len());
}

/// A spool that is full but for the next batch; its batches have 50 kB.
fn filled(disk: &ModelDisk) -> (Spool<ModelDisk>, Source, u64) {
    let mut spool = open(disk, 1).unwrap();
    let mut source = Source::new(60_000, 0);
    let mut stored = 0;
    while spool.bytes() + (2 << 20) + 60_000 < BYTES_MIN {
        stored += 1;
        let outcome = spool.store(&source.fat_draft(stored)).unwrap();
        assert_eq!(outcome, Stored::Durable { through: seq(stored) });
    }
    (spool, source, stored)
}

/// `count` events that do not compress.
fn noise(at: UtcMillis, count: usize, seed: u64) -> Vec<bijli_wire::batch::Event> {
    let mut dice = Jitter::new(seed);
    let mut text = || -> String {
        let letters = (0..250).map(|_| u8::try_from(dice.up_to(94)).unwrap() + 33);
        letters.map(char::from).collect()
    };
    let (subject, kind) = (None, EventKind::ProbeFailed);
    (0..count).map(|_| bijli_wire::batch::Event::plain(at, subject, kind, text())).collect()
}

impl Source {
    fn fat_draft(&mut self, seed: u64) -> Draft {
        let mut draft = self.draft();
        draft.events = noise(draft.created, 230, seed);
        draft
    }

    /// The same node going on from here, as often as one likes.
    fn again(&self) -> Self {
        Self {
            schema: self.schema.clone(),
            encoded: Arc::clone(&self.encoded),
            counts: self.counts.clone(),
            dice: Jitter::new(77),
            edges: self.edges.clone(),
            ..*self
        }
    }
}

/// One full spool, thinned again and again.
struct Trial<'a> {
    disk: &'a ModelDisk,
    source: &'a Source,
    stored: u64,
    whole: BTreeMap<(i64, usize), u128>,
}

impl Trial<'_> {
    /// Stores batches until some are thinned, the power going at operation `cut`. Then starts, and
    /// looks at what would be sent. Returns how many operations there were, and whether the start
    /// found them thinned.
    fn run(&self, cut: u64) -> (u64, bool) {
        let disk = self.disk.fork(cut);
        let (mut source, mut spool) = (self.source.again(), open(&disk, 9).unwrap());
        let (mut number, begun) = (self.stored, disk.operations());
        disk.fail_at(cut, Fault::PowerCut);
        while spool.lowest() == seq(1) && !disk.is_off() {
            number += 1;
            if spool.store(&source.fat_draft(number)).is_err() {
                number -= 1;
            }
        }
        let operations = disk.operations() - begun;
        drop(spool);
        disk.clear_fault();
        disk.power_cut();
        let mut spool = open(&disk, 9).unwrap_or_else(|e| panic!("cut {cut}: refused: {e}"));
        assert_eq!(spool.epoch(), SpoolEpoch::new([1; 16]), "cut {cut}");
        assert!(spool.next() > seq(number), "cut {cut}: {number} was durable");
        let is_thinned = spool.lowest() > seq(1);
        let booked = source.booked(&mut spool);
        for (key, energy) in &self.whole {
            // The interval under way may have got more since.
            let found = booked.get(key).copied().unwrap_or(0);
            let is_last = key.0 + 900_000 > self.source.at;
            assert!(found == *energy || is_last && found > *energy, "cut {cut}: {key:?}");
        }
        // It goes on where it was.
        let outcome = spool.store(&source.fat_draft(1));
        assert!(matches!(outcome, Ok(Stored::Durable { .. })), "cut {cut}: {outcome:?}");
        assert!(spool.bytes() <= BYTES_MIN);
        (operations, is_thinned)
    }
}

/// Goal: whichever operation of a thinning the power goes at, the next start takes up the spool,
/// and what is then sent books the same energy.
#[test]
fn a5_a_power_cut_at_any_operation_of_a_thinning_loses_no_energy() {
    let disk = ModelDisk::new(2);
    let (spool, source, stored) = filled(&disk);
    drop(spool);
    let whole = source.booked(&mut open(&disk, 9).unwrap());
    let trial = Trial { disk: &disk, source: &source, stored, whole };
    let (all, is_thinned) = trial.run(u64::MAX / 2);
    assert!(is_thinned && all > 40, "{all} operations");
    // Those before are reads, and change nothing.
    let outcomes: Vec<bool> = (all.saturating_sub(44)..all).map(|cut| trial.run(cut).1).collect();
    assert!(!outcomes[4], "the first cuts come before the set is durable: {outcomes:?}");
    assert!(outcomes.iter().filter(|is_thinned| **is_thinned).count() > 8, "{outcomes:?}");
}

/// Goal: no body is replaced that a collector may have seen.
#[test]
fn a5_what_may_have_been_sent_is_never_sent_with_another_body() {
    let disk = ModelDisk::new(3);
    let (mut spool, mut source, stored) = filled(&disk);
    let mut number = stored;
    while spool.lowest() == seq(1) {
        number += 1;
        spool.store(&source.fat_draft(number)).unwrap();
    }
    let lowest = spool.lowest();
    assert!(lowest > seq(128), "{lowest} may have been sent");
    let (id, schema) = spool.schema_of(lowest).unwrap();
    let schema = codec::decode_schema(&schema).unwrap().1;
    let body = spool.load(lowest).unwrap().body;
    let batch = codec::open(&body).unwrap().read(id, &schema).unwrap();
    let reduced = batch.events.last().unwrap();
    assert_eq!(reduced.kind, EventKind::ResolutionReduced);
    assert!(reduced.text.contains("batches 1 to"), "{}", reduced.text);
    assert!(spool.oldest_waiting().unwrap() <= UtcMillis::new(START + 300_000));
    // What is left is dense, and acks go on from there.
    spool.release(lowest, UtcMillis::new(START)).unwrap();
    assert_eq!(spool.lowest(), lowest.next());
    assert!(spool.load(lowest.next()).is_ok());
}

/// Goal: where thinning cannot help (nothing but what may have been sent), nothing is dropped.
#[test]
fn a5_a_spool_of_few_large_batches_refuses_the_newest() {
    let disk = ModelDisk::new(4);
    let mut spool = open(&disk, 1).unwrap();
    let mut source = Source::new(60_000, 24);
    let mut stored = 0;
    loop {
        let mut draft = source.draft();
        let matrix = draft.matrices[0].clone();
        draft.matrices = vec![wide(&matrix, stored)];
        match spool.store(&draft).unwrap() {
            Stored::Durable { .. } => stored += 1,
            Stored::Full => break,
            Stored::Waiting => panic!("the disk has room"),
        }
    }
    // The sealed segments hold fewer than may have been sent; only the active one goes beyond.
    assert!(stored < 192, "{stored}");
    assert_eq!(spool.lowest(), seq(1), "what waits is not dropped");
    assert!(spool.bytes() <= BYTES_MIN);
}

/// The same columns with as many rows as a batch may have.
fn wide(matrix: &Matrix, seed: u64) -> Matrix {
    let mut dice = Jitter::new(seed);
    let first = matrix.times[0].get();
    let times: Vec<UtcMillis> = (0..600).map(|row| UtcMillis::new(first + row)).collect();
    let columns = matrix.columns.iter().enumerate().map(|(index, column)| {
        if index < GPUS {
            return vec![column[0]; 600];
        }
        (0..600).map(|_| Some(signed(dice.up_to(1 << 49)))).collect()
    });
    Matrix { group: 0, times, columns: columns.collect() }
}
