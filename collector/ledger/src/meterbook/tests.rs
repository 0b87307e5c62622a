//! The meter book by itself and in the books of a hub.
#![expect(clippy::arithmetic_side_effects, reason = "tests' own small numbers")]

use bijli_wire::batch::{Register, Subject};
use bijli_wire::{HubId, Method, Millis, Milliwatts, NodeId, SubjectKind};
use proptest::prelude::*;

use super::*;
use crate::books::{Books, TypedUse};
use crate::diagram::{Category, Diagram, Point, PointId, Role};
use crate::entry::Entry;
use crate::event::EventKind;
use crate::rules::Rules;

const KWH: u128 = 3_600_000_000;
const HOUR: i64 = 3_600_000;
const QUARTER: i64 = 900_000;
/// A midnight.
const DAY: i64 = 1_785_542_400_000;

fn meter() -> SubjectId {
    SubjectId::new("m-inc").expect("a name")
}

/// Tenths of a kWh on the display of a meter behind transformers of `factor`.
fn shown(tenths: u64, factor: u32) -> Shown {
    let tenth = (KWH / 10).saturating_mul(u128::from(factor));
    Shown {
        text: format!("{}.{} kWh", tenths / 10, tenths % 10),
        factor,
        count: u128::from(tenths).saturating_mul(tenth),
        step: tenth,
    }
}

fn reading(id: &str, at: i64, tenths: u64) -> TypedReading {
    TypedReading {
        id: id.into(),
        meter: meter(),
        at: UtcMillis::new(DAY.saturating_add(at)),
        measure: Measure::Energy,
        shown: shown(tenths, 1),
        rollover: None,
        restart: None,
        who: "A. Khan".into(),
        why: "round".into(),
        photo: None,
    }
}

fn put(book: &mut MeterBook, reading: TypedReading) -> Result<PutVerdict, MeterBookError> {
    book.put(reading, UtcMillis::new(DAY + 100 * HOUR), i64::MIN).map(|(verdict, _)| verdict)
}

fn energy(book: &MeterBook, at: i64) -> Option<u128> {
    book.between(&meter(), DAY.saturating_add(at)).map(|between| u128::from(between.energy))
}

#[test]
fn readings_rise_or_say_why_they_do_not() {
    let mut book = MeterBook::default();
    assert_eq!(put(&mut book, reading("a", 0, 9_999_000)), Ok(PutVerdict::New));
    assert_eq!(put(&mut book, reading("b", 24 * HOUR, 9_999_500)), Ok(PutVerdict::New));
    assert_eq!(energy(&book, 24 * HOUR), Some(50 * KWH));

    let lower = reading("c", 48 * HOUR, 400);
    let refused = put(&mut book, lower.clone()).expect_err("it counts back").to_string();
    for words in ["999950.0 kWh in reading \"b\"", "40.0 kWh in reading \"c\"", "a restart"] {
        assert!(refused.contains(words), "{refused}");
    }
    // A display of six digits before the point passed 999,999.9.
    let turned = TypedReading { rollover: Some(1_000_000 * KWH), ..lower };
    assert_eq!(put(&mut book, turned), Ok(PutVerdict::New));
    assert_eq!(energy(&book, 48 * HOUR), Some(90 * KWH));

    // Swapped for one with other transformers, that came with 12 kWh on it.
    let swap = TypedReading { restart: Some(shown(120, 200)), ..reading("d", 72 * HOUR, 900) };
    assert_eq!(put(&mut book, swap), Ok(PutVerdict::New));
    assert_eq!(energy(&book, 72 * HOUR), Some(50 * KWH));
    let after = reading("e", 80 * HOUR, 121);
    let refused = put(&mut book, after.clone()).expect_err("another factor").to_string();
    assert!(refused.contains("factor 200 in reading \"d\" and 1 in reading \"e\""), "{refused}");
    let after = TypedReading { shown: shown(121, 200), ..after };
    assert_eq!(put(&mut book, after), Ok(PutVerdict::New));
    assert_eq!(energy(&book, 80 * HOUR), Some(20 * KWH));

    // What holds two readings together cannot be taken away from between them.
    let moved = TypedReading { restart: None, ..reading("d", 72 * HOUR, 900) };
    assert!(put(&mut book, moved).expect_err("e stands on it").to_string().contains("factor"));
    assert_eq!(energy(&book, 80 * HOUR), Some(20 * KWH), "nothing changed");
}

#[test]
fn what_is_no_reading_is_refused_with_words() {
    let mut book = MeterBook::default();
    assert_eq!(put(&mut book, reading("a", 0, 1_000)), Ok(PutVerdict::New));
    assert_eq!(put(&mut book, reading("a", 0, 1_000)), Ok(PutVerdict::Unchanged));
    let unsigned = TypedReading { who: String::new(), ..reading("b", HOUR, 1_001) };
    let ahead = reading("b", 101 * HOUR, 1_001);
    let again = reading("b", 0, 1_000);
    let large = reading("b", HOUR, 1_000 + 11_000_000);
    let no_turn = TypedReading { rollover: Some(1_000 * KWH), ..reading("b", HOUR, 1_001) };
    let beyond = TypedReading { rollover: Some(100 * KWH), ..reading("b", HOUR, 1_001) };
    for (wrong, words) in [
        (unsigned, "who needs 1 to"),
        (ahead, "not over yet"),
        (again, "has reading \"a\" at that very moment"),
        (large, "more than any meter's 1 GW"),
        (no_turn, "leave the rollover out"),
        (beyond, "more than a display of so many digits can"),
    ] {
        let refused = put(&mut book, wrong).expect_err(words).to_string();
        assert!(refused.contains(words), "{refused}");
    }
    assert_eq!(book.iter().count(), 1);
}

proptest! {
    /// Whatever was typed, in whatever order and however it was corrected: the parts of the
    /// intervals sum to what the meter counted, and cover the time without a gap.
    #[test]
    fn parts_sum_to_the_whole_in_any_order(
        steps in proptest::collection::vec((1_i64..50 * HOUR, 0_u64..5_000), 1..12),
        order in any::<prop::sample::Index>(),
    ) {
        let (mut at, mut count) = (7_i64, 100_u64);
        let mut readings = vec![reading("r", at, count)];
        for (index, (later, more)) in steps.iter().enumerate() {
            at = at.saturating_add(*later);
            count = count.saturating_add((*more).min(later.unsigned_abs() / 100));
            readings.push(reading(&format!("r{index}"), at, count));
        }
        let whole = u128::from(count - 100).saturating_mul(KWH / 10);
        let turn = order.index(readings.len());
        readings.rotate_left(turn);
        let mut book = MeterBook::default();
        let received = UtcMillis::new(DAY.saturating_add(at));
        for typed in readings {
            // First by another hand, a second off; then put right.
            let off = UtcMillis::new(typed.at.get().saturating_sub(1));
            let first = TypedReading { at: off, ..typed.clone() };
            if book.put(first, received, i64::MIN).is_ok() {
                prop_assert_eq!(
                    book.put(typed, received, i64::MIN).map(|put| put.0),
                    Ok(PutVerdict::Replaced)
                );
            } else {
                prop_assert_eq!(
                    book.put(typed, received, i64::MIN).map(|put| put.0),
                    Ok(PutVerdict::New)
                );
            }
        }
        let (mut sum, mut covered, mut start) = (0_u128, 0_u64, DAY);
        while start <= DAY.saturating_add(at) {
            let end = start.saturating_add(QUARTER);
            if let Some(cell) = book.cell(&meter(), start, end) {
                sum = sum.saturating_add(cell.energy().get(Class::Bridged));
                prop_assert_eq!(cell.energy().total(), cell.energy().get(Class::Bridged));
                covered = covered.saturating_add(u64::from(cell.covered_ms()));
            }
            start = end;
        }
        prop_assert_eq!(sum, whole);
        prop_assert_eq!(covered, (at - 7).unsigned_abs());
    }
}

/// Books of a hub whose incomer is `m-inc`, told that it is so late.
fn books(hour: i64) -> Books {
    let mut books = Books::new(HubId::new("isb").expect("valid"), Rules::default());
    let id = PointId::new("inc").expect("a name");
    let point = Point { id, role: Role::Grid, meter: Some(meter()), fed_by: None };
    let diagram = Diagram::new(vec![point], BTreeMap::new(), Category::ItInput).expect("sound");
    books.set_diagram(UtcMillis::new(0), diagram);
    books.advance(UtcMillis::new(DAY));
    settle(&mut books, hour.saturating_mul(HOUR));
    books
}

/// Tells the time, until everything that is due is posted.
fn settle(books: &mut Books, at: i64) {
    for _ in 0..40 {
        books.advance(UtcMillis::new(DAY.saturating_add(at)));
    }
}

fn typed(books: &mut Books, reading: TypedReading, hour: i64) {
    let received = UtcMillis::new(DAY.saturating_add(hour.saturating_mul(HOUR)));
    let _verdict = books.put_typed(reading, received).expect("sound");
    let now = books.now().expect("told").max(received);
    settle(books, now.get().saturating_sub(DAY).saturating_add(10 * 60_000));
}

/// Net energy from the grid, interval by interval.
fn taken(books: &Books) -> Vec<(i64, u128)> {
    let mut sums: BTreeMap<i64, i128> = BTreeMap::new();
    let signed = |entry: &Entry<'_>| {
        let amount = i128::from(entry.amount.get());
        let is_reversal = entry.adjusts.is_some_and(|adjusts| adjusts.is_reversal);
        if is_reversal { amount.saturating_neg() } else { amount }
    };
    for entry in books.entries(UtcMillis::new(DAY - 100 * HOUR), UtcMillis::new(i64::MAX)) {
        let is_grid = [entry.debit, entry.credit].iter().any(|a| a.to_string() == "grid:inc");
        if is_grid {
            let sum = sums.entry(entry.interval.get() - DAY).or_default();
            *sum = sum.saturating_add(signed(&entry));
            assert_eq!(entry.class, Class::Bridged);
        }
    }
    let whole = |(at, sum): (i64, i128)| (at, u128::try_from(sum).expect("not negative"));
    sums.into_iter().map(whole).filter(|(_, sum)| *sum > 0).collect()
}

fn sum(books: &Books) -> u128 {
    taken(books).iter().map(|(_, mj)| mj).sum()
}

#[test]
fn a_meter_that_nobody_reads_by_wire_is_booked_from_what_was_typed() {
    let mut books = books(26);
    assert_eq!(sum(&books), 0, "closed, and missing");
    typed(&mut books, reading("a", 9 * HOUR + 7 * 60_000, 10_000), 26);
    assert_eq!(sum(&books), 0, "one reading is no energy");
    typed(&mut books, reading("b", 25 * HOUR, 11_000), 27);
    assert_eq!(sum(&books), 100 * KWH, "exact over the stretch");
    let parts = taken(&books);
    assert_eq!(parts.first().map(|(at, _)| *at), Some(9 * HOUR));
    assert_eq!(parts.last().map(|(at, _)| *at), Some(25 * HOUR - QUARTER));
    assert_eq!(parts.len(), 64);
    assert_eq!((books.imbalance(), books.faults().count()), (0, 0));

    // The first was misread: what was posted stands, and the difference is posted.
    let posted = books.entries(UtcMillis::new(0), UtcMillis::new(i64::MAX)).count();
    typed(&mut books, reading("a", 9 * HOUR + 7 * 60_000, 10_600), 28);
    assert_eq!(sum(&books), 40 * KWH);
    assert!(books.entries(UtcMillis::new(0), UtcMillis::new(i64::MAX)).count() > posted);
    let status = books.typed_of("b").expect("held");
    assert_eq!((status.used, status.too_old_mj), (TypedUse::Booked, 0));
    assert_eq!(
        status.since.map(|(before, mj)| (before.id.as_str(), mj)),
        Some(("a", 144_000_000_000))
    );
}

#[test]
fn readings_of_before_the_books_began_and_in_any_order_give_the_same() {
    let all = || {
        let early = reading("a", -30 * HOUR, 500);
        [early, reading("b", 2 * HOUR, 3_700), reading("c", 20 * HOUR, 4_000)]
    };
    let mut forward = books(26);
    all().into_iter().for_each(|one| typed(&mut forward, one, 26));
    let mut backward = books(26);
    all().into_iter().rev().for_each(|one| typed(&mut backward, one, 26));
    assert_eq!(taken(&forward), taken(&backward));
    assert_eq!(sum(&forward), 350 * KWH);
}

/// Goal: P5. A stretch that is partly too old to be corrected says how much was not booked.
#[test]
fn what_was_typed_too_late_is_told_and_not_booked() {
    let mut books = books(40 * 24);
    typed(&mut books, reading("a", 0, 0), 40 * 24);
    typed(&mut books, reading("b", 40 * 24 * HOUR, 96_000), 40 * 24);
    let status = books.typed_of("b").expect("held");
    // Five of forty days, and not a millijoule of them is lost sight of.
    assert_eq!(u128::from(status.too_old_mj), 1_200 * KWH);
    assert_eq!(sum(&books), 8_400 * KWH);
    assert!(books.events().iter().any(|event| event.kind == EventKind::TooOld));
}

/// A meter that an agent reads each minute at 100 kW from hour `from` to hour `to`.
fn read_by_agent(books: &mut Books, from: i64, to: i64) {
    let register = Register {
        numerator: 1,
        denominator: 1,
        modulus: None,
        power_max: Milliwatts::new(2_000_000_000),
        epoch: 1,
        method: Method::Hardware,
        gap: Millis::new(120_000),
    };
    let subject = Subject {
        id: meter(),
        kind: SubjectKind::Meter,
        label: String::new(),
        model: String::new(),
        serial: String::new(),
        register: Some(register),
    };
    let node = NodeId::new("gw").expect("valid");
    let handle = books.declare(&node, &subject).handle();
    for minute in from.saturating_mul(60)..=to.saturating_mul(60) {
        let at = minute.saturating_mul(60_000);
        let count = Some(at.saturating_mul(100_000));
        let at = UtcMillis::new(DAY.saturating_add(at));
        let _verdict = books.read_at(handle, at, count, Activity::Unknown);
    }
}

#[test]
fn what_an_agent_reads_is_booked_once_and_the_typed_reading_is_its_witness() {
    let mut books = books(0);
    read_by_agent(&mut books, 0, 30);
    settle(&mut books, 31 * HOUR);
    let before = books.entries_held();
    typed(&mut books, reading("a", 2 * HOUR + 60_000, 0), 31);
    typed(&mut books, reading("b", 22 * HOUR + 60_000, 20_000), 31);
    assert_eq!(books.entries_held(), before, "nothing is booked twice");
    let status = books.typed_of("b").expect("held");
    assert_eq!(status.used, TypedUse::Witness);
    let compared = status.compared.expect("closed and covered");
    assert_eq!(compared.agent_mj, 2_000 * KWH);
    assert_eq!(compared.cut_mj, 50 * KWH, "two intervals of 25 kWh are cut");
    assert!(!status.is_disputed());

    // A tenth too much: beyond what the display and the cut intervals explain.
    typed(&mut books, reading("b", 22 * HOUR + 60_000, 22_000), 32);
    assert!(books.typed_of("b").expect("held").is_disputed());
    let events = books.events();
    let told = events.iter().find(|event| event.kind == EventKind::Dispute).expect("told");
    assert!(told.words.contains("they are 200.000 kWh apart"), "{}", told.words);
    assert_eq!(books.entries_held(), before);
}

#[test]
fn each_interval_is_booked_from_the_agent_or_from_paper_never_from_both() {
    let mut books = books(0);
    typed(&mut books, reading("a", 0, 0), 1);
    typed(&mut books, reading("b", 6 * HOUR, 3_000), 7);
    let last = UtcMillis::new(DAY + 6 * HOUR);
    assert_eq!(books.by_hand(), BTreeMap::from([(&meter(), last)]));
    read_by_agent(&mut books, 6, 12);
    assert_eq!(books.by_hand(), BTreeMap::new());
    settle(&mut books, 30 * HOUR);
    // The gateway is gone. A day later the meter is read again.
    typed(&mut books, reading("c", 12 * HOUR, 9_000), 30);
    typed(&mut books, reading("d", 18 * HOUR, 9_600), 30);
    assert_eq!(sum_of_all(&books), (300 + 600 + 60) * KWH);
    let used = |id: &str| books.typed_of(id).expect("held").used;
    let expected = [TypedUse::Kept, TypedUse::Booked, TypedUse::Witness, TypedUse::Booked];
    assert_eq!(["a", "b", "c", "d"].map(used), expected);
    // It was not gone: what it counted meanwhile replaces what was typed.
    read_by_agent(&mut books, 18, 19);
    settle(&mut books, 31 * HOUR);
    assert_eq!(sum_of_all(&books), (300 + 1_300) * KWH);
}

/// From the grid, whatever the class.
fn sum_of_all(books: &Books) -> u128 {
    let balance = books.balance(UtcMillis::new(DAY), UtcMillis::new(DAY + 30 * HOUR));
    let account = "grid:inc".parse().expect("an account");
    let sums = balance.accounts.get(&account).expect("it gave");
    sums.credits.checked_sub(sums.debits).expect("it gave more than it took back")
}

/// Goal: S8. A meter is swapped, and its transformers with it: the energy is continuous across the
/// change, whatever both displays showed, and what was posted before stands untouched.
#[test]
fn s8_a_swapped_meter_with_other_transformers_loses_no_energy() {
    let mut books = books(4);
    typed(&mut books, TypedReading { shown: shown(990_000, 40), ..reading("a", 0, 0) }, 5);
    typed(&mut books, TypedReading { shown: shown(990_010, 40), ..reading("b", HOUR, 0) }, 5);
    let posted = |books: &Books| -> Vec<String> {
        books.entries_since(1).map(|entry| entry.to_string()).collect()
    };
    let before = posted(&books);
    let swap = TypedReading {
        measure: Measure::Energy,
        shown: shown(990_015, 40),
        restart: Some(shown(3, 200)),
        ..reading("swap", HOUR + 20 * 60_000, 0)
    };
    typed(&mut books, swap, 5);
    typed(&mut books, TypedReading { shown: shown(5, 200), ..reading("c", 2 * HOUR, 0) }, 5);
    assert_eq!(posted(&books)[..before.len()], before[..]);
    // 1.0 and 0.5 kWh at 40, then 0.2 kWh at 200.
    assert_eq!(sum(&books), (40 + 20 + 40) * KWH);
    let complete = books.intervals().filter(|interval| {
        let within = interval.start.get() >= DAY && interval.end.get() <= DAY + 2 * HOUR;
        within && interval.pue_withheld.is_none_or(|why| !why.to_string().contains("m-inc"))
    });
    assert_eq!(complete.count(), 8, "no moment of the two hours is without the meter");
}

/// Goal: C8. The diagram changes within a typed stretch: each interval is booked by the diagram in
/// force at its start, and both together are what the display counted.
#[test]
fn c8_a_diagram_that_changes_within_a_typed_stretch_keeps_its_energy() {
    let mut books = books(5);
    let point = |id: &str| Point {
        id: PointId::new(id).expect("a name"),
        role: Role::Grid,
        meter: Some(meter()),
        fed_by: None,
    };
    let other = Diagram::new(vec![point("new")], BTreeMap::new(), Category::ItInput);
    books.set_diagram(UtcMillis::new(DAY + 3 * HOUR), other.expect("sound"));
    typed(&mut books, reading("a", HOUR, 0), 6);
    typed(&mut books, reading("b", 5 * HOUR, 4_000), 6);
    let balance = books.balance(UtcMillis::new(DAY), UtcMillis::new(DAY + 6 * HOUR));
    let gave = |account: &str| {
        let account = account.parse().expect("an account");
        balance.accounts.get(&account).map_or(0, |sums| sums.credits - sums.debits)
    };
    assert_eq!([gave("grid:inc"), gave("grid:new")], [200 * KWH; 2]);
}

#[test]
fn a_device_is_no_meter() {
    let mut books = books(1);
    let gpu = Subject {
        id: SubjectId::new("G0").expect("a name"),
        kind: SubjectKind::Gpu,
        label: String::new(),
        model: String::new(),
        serial: String::new(),
        register: None,
    };
    let _new = books.declare(&NodeId::new("n1").expect("valid"), &gpu);
    let wrong = TypedReading { meter: gpu.id, ..reading("a", 0, 1) };
    let refused = books.put_typed(wrong, UtcMillis::new(DAY + HOUR)).expect_err("no meter");
    assert!(refused.to_string().contains("no meter"), "{refused}");
}

/// Goal: a meter counts one measure, a volume is never energy, and its parts sum to it.
#[test]
fn a_volume_is_counted_apart_from_energy() {
    let mut books = Books::new(HubId::new("lahore").expect("a name"), Rules::default());
    let litres = |id: &str, at: i64, tenths: u64| TypedReading {
        meter: SubjectId::new("water").expect("a name"),
        measure: Measure::Volume,
        shown: Shown { count: u128::from(tenths).saturating_mul(100), ..shown(tenths, 1) },
        ..reading(id, at, tenths)
    };
    let received = UtcMillis::new(DAY.saturating_add(10 * HOUR));
    let mut put = |reading| books.put_typed(reading, received);
    assert_eq!(put(litres("w1", 0, 0)), Ok(PutVerdict::New));
    assert_eq!(put(litres("w2", 4 * HOUR, 10)), Ok(PutVerdict::New));
    let energy = TypedReading { measure: Measure::Energy, ..litres("w3", 5 * HOUR, 20) };
    assert!(matches!(put(energy), Err(MeterBookError::TwoMeasures { .. })));
    let flood = TypedReading {
        shown: Shown { count: 10_000_000_000_000, ..shown(0, 1) },
        ..litres("w3", 5 * HOUR, 20)
    };
    assert!(matches!(put(flood), Err(MeterBookError::FlowRate { .. })));
    let meter = SubjectId::new("water").expect("a name");
    let part = |measure, from: i64, to: i64| {
        let at = |at: i64| UtcMillis::new(DAY.saturating_add(at));
        books.typed_between(&meter, measure, (at(from), at(to)))
    };
    assert_eq!(part(Measure::Volume, 0, 4 * HOUR), Some(1_000));
    assert_eq!(part(Measure::Volume, HOUR, 2 * HOUR), Some(250));
    assert_eq!(part(Measure::Volume, 3 * HOUR, 5 * HOUR), None);
    assert_eq!(part(Measure::Energy, 0, 4 * HOUR), None);
}
