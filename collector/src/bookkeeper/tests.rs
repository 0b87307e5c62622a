//! What a wrong clock of the collector's own machine does to the books.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bijli_ledger::{Account, Rules};
use bijli_wire::{
    Batch, BatchSeq, HubId, Matrix, Schema, SchemaId, SpoolEpoch, SubjectId, UtcMillis, codec,
};

use super::{Bookkeeper, Fact};
use crate::clock::Clock;
use crate::health::Health;
use crate::intake::Readings;
use crate::state::{Hub, State};
use crate::testing::schema;

const QUARTER: i64 = 15 * 60 * 1_000;
const DAY: i64 = 96 * QUARTER;
/// A quarter of an hour that begins a day, so that intervals are easy to count.
const BEGIN: i64 = 20_000 * DAY;
/// 100 W for a second.
const STEP_MJ: i64 = 100_000;

fn hub_id() -> HubId {
    HubId::new("isb").expect("valid")
}

/// A collector's bookkeeper, and a node that sends a minute of 100 W at a time.
struct Desk {
    keeper: Bookkeeper,
    hub: Arc<Hub>,
    schema: (SchemaId, Arc<Schema>),
}

impl Desk {
    fn new() -> Self {
        let state = Arc::new(State::new(Clock, Rules::default(), Health::new(), None));
        let hub = state.add_hub(Hub::journalled(hub_id(), Rules::default()));
        let (id, _) = codec::encode_schema(&schema()).expect("encodes");
        Self { keeper: Bookkeeper::new(state), hub, schema: (id, Arc::new(schema())) }
    }

    /// The readings of one minute, journalled by a clock that is wrong by `off`.
    fn minute(&mut self, minute: i64, off: i64) {
        let first = minute * 60;
        let times = (first..first + 60).map(|second| UtcMillis::new(BEGIN + second * 1_000));
        let column = (first..first + 60).map(|second| Some(second * STEP_MJ)).collect();
        let (id, schema) = self.schema.clone();
        let batch = Batch {
            hub: hub_id(),
            node: schema.node.clone(),
            epoch: SpoolEpoch::new([3; 16]),
            sequence: BatchSeq::new(u64::try_from(minute).expect("small") + 1).expect("from 1"),
            schema: id,
            created: UtcMillis::new(BEGIN + first * 1_000),
            uptime: None,
            matrices: vec![Matrix { group: 0, times: times.collect(), columns: vec![column] }],
            events: Vec::new(),
            holds: Vec::new(),
        };
        let body = codec::encode_batch(&batch).expect("encodes");
        let received = UtcMillis::new(BEGIN + (first + 60) * 1_000 + off);
        self.keeper.book(Fact::Batch {
            received,
            id,
            schema,
            readings: Readings { body, decoded: None },
            offset_ms: 0,
        });
        self.check();
    }

    fn minutes(&mut self, minutes: std::ops::Range<i64>, off: i64) {
        minutes.for_each(|minute| self.minute(minute, off));
    }

    fn tick(&mut self, at: i64) {
        self.keeper.book(Fact::Tick { received: UtcMillis::new(BEGIN + at) });
        self.check();
    }

    fn check(&self) {
        let books = self.hub.books();
        assert_eq!((books.imbalance(), books.faults().count()), (0, 0));
    }

    /// What the entries of a quarter of an hour book to the GPU, corrections included.
    fn posted(&self, quarter: i64) -> i128 {
        let from = UtcMillis::new(BEGIN + quarter * QUARTER);
        let gpu: Account = "gpu:GPU-1".parse().expect("an account");
        let books = self.hub.books();
        let entries = books.entries(from, UtcMillis::new(from.get() + QUARTER));
        let amounts = entries.map(|entry| {
            let is_reversal = entry.adjusts.is_some_and(|adjusts| adjusts.is_reversal);
            let amount = i128::from(entry.amount.get());
            match (*entry.debit == gpu, *entry.credit == gpu) {
                (true, false) if !is_reversal => amount,
                (false, true) if is_reversal => -amount,
                (true | false, true | false) => 0,
            }
        });
        amounts.sum()
    }

    /// Booked of the register, and what came too late for any interval.
    fn read(&self) -> (u128, u128) {
        let books = self.hub.books();
        let gpu = books.subject(&SubjectId::new("GPU-1").expect("valid")).expect("declared");
        (gpu.booked.total(), gpu.too_old_mj)
    }
}

fn energy(seconds: i64) -> i128 {
    i128::from(seconds * STEP_MJ)
}

/// Goal: the receive time jumps a day ahead and comes back. The day's intervals close empty; what
/// is read later is booked as adjustments once the true time has passed the wrong one. No
/// millijoule is lost, none is booked twice.
#[test]
fn c14_a_clock_a_day_ahead_delays_entries_and_loses_nothing() {
    let mut desk = Desk::new();
    desk.minutes(0..20, 0);
    assert_eq!([0, 1].map(|quarter| desk.posted(quarter)), [energy(900), 0]);
    desk.minute(20, DAY);
    assert_eq!(desk.posted(1), energy(21 * 60 - 1 - 900), "closed with what was read so far");
    let closed = desk.hub.books().closed_until().expect("closed");
    assert!(closed.get() > BEGIN + DAY, "everything up to the wrong time is closed: {closed}");
    desk.minutes(21..60, 0);
    assert_eq!(desk.posted(2), 0, "later readings wait for the true time");
    assert_eq!(desk.read(), (359_900_000, 0), "but are in the books");
    desk.minutes(60..120, 0);
    desk.tick(DAY + 2 * QUARTER);
    let expected = [900, 900, 900, 900, 900, 900, 900, 899].map(energy);
    assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(|quarter| desk.posted(quarter)), expected);
    let books = desk.hub.books();
    let adjusted = books.intervals().filter(|interval| interval.adjustments > 0).count();
    assert_eq!(adjusted, 7);
}

/// Goal: the same by more than `keep`. Those intervals cannot be corrected any more: the energy is
/// counted and told, not booked, and never silently dropped. The journal still has it.
#[test]
fn c14_a_clock_ahead_by_more_than_is_kept_counts_what_it_cannot_book() {
    let mut desk = Desk::new();
    desk.minutes(0..20, 0);
    desk.minute(20, 36 * DAY);
    desk.minutes(21..60, 0);
    let (booked, too_old) = desk.read();
    assert_eq!((booked, too_old), (125_900_000, 234_000_000));
    assert_eq!(booked + too_old, 359_900_000);
}

/// Goal: who looks at the books knows how many leaves hold what they have let go of, also while
/// these wait for the disk.
#[test]
fn the_leaves_of_what_is_posted_are_counted_before_the_log_has_them() {
    let mut desk = Desk::new();
    let (state, lots) = (Arc::clone(&desk.keeper.state), Arc::new(AtomicUsize::new(0)));
    let (seen, count) = (Arc::clone(&state), Arc::clone(&lots));
    desk.keeper = desk.keeper.with_leaves(move |lot| {
        assert_eq!(seen.leaves_made(), lot.first + lot.leaves.len() as u64);
        count.fetch_add(1, Ordering::Relaxed);
    });
    desk.minutes(0..60, 0);
    desk.tick(2 * 60 * 60 * 1_000);
    assert!(lots.load(Ordering::Relaxed) > 0 && state.leaves_made() > 0);
}

/// Goal: what is known of a meter is a fact of the journal like any other: it counts for the time
/// from which it was declared on, and a meter that was swapped keeps what it was before.
#[test]
fn a_meters_class_is_journalled_and_in_force_from_its_diagram_on() {
    let mut desk = Desk::new();
    let mut declare = |from: i64, class: &str| {
        let toml = format!(
            "pue_category = 1\npue_standard = \"ISO/IEC 30134-2:2026\"\n\
             [[point]]\nid = \"inc\"\nrole = \"grid\"\nmeter = \"m1\"\n\
             [[meter]]\nid = \"m1\"\nclass = \"{class}\"\nstandard = \"IEC 62053-21:2020\"\n"
        );
        let (received, from) = (UtcMillis::new(BEGIN + from), UtcMillis::new(BEGIN + from));
        desk.keeper.book(Fact::Diagram { received, from, hub: hub_id(), toml });
    };
    declare(0, "1");
    declare(DAY, "0.5");
    let books = desk.hub.books();
    let meter = SubjectId::new("m1").expect("valid");
    let class_at = |at: i64| {
        let diagram = books.diagram_at(UtcMillis::new(BEGIN + at)).expect("in force");
        let standard = diagram.policy().standard.as_deref();
        assert_eq!(standard, Some("ISO/IEC 30134-2:2026"));
        diagram.meters().get(&meter).and_then(|meter| meter.class.as_ref()).map(ToString::to_string)
    };
    assert_eq!(class_at(DAY - 1).as_deref(), Some("1"));
    assert_eq!(class_at(DAY).as_deref(), Some("0.5"));
}
