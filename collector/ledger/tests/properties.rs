//! What must hold for any hub: random diagrams, registers with resets, gaps and nonsense,
//! allocations early and late, batches in any interleaving of the nodes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects")]

mod world;

use std::collections::BTreeMap;

use bijli_ledger::{
    Account, Activity, Books, ByClass, Class, EventKind, Flow, IntervalState, Nature, Rules,
};
use bijli_wire::batch::{Register, Subject};
use bijli_wire::{
    HubId, Method, Millijoules, Millis, Milliwatts, NodeId, SubjectId, SubjectKind, UtcMillis,
};
use proptest::prelude::*;
use world::{Fact, World};

const ALL: (UtcMillis, UtcMillis) = (UtcMillis::new(i64::MIN), UtcMillis::new(i64::MAX));

/// Every invariant that must hold after every step.
fn check_books(books: &Books) {
    assert_eq!(books.imbalance(), 0);
    assert_eq!(books.faults().next(), None);
}

/// Per interval: sources = sinks, and every account of passage is zero.
fn check_intervals(books: &Books) {
    for interval in books.intervals() {
        let balance = books.balance(interval.start, interval.end);
        assert!(balance.is_balanced(), "{:?} {balance:?}", interval.start);
    }
}

fn play(world: &World, facts: &[Fact]) -> Books {
    let mut books = world.books();
    for fact in facts {
        fact.tell(&mut books);
        check_books(&books);
    }
    world.settle(&mut books);
    check_books(&books);
    check_intervals(&books);
    books
}

fn final_flows(books: &Books) -> BTreeMap<UtcMillis, BTreeMap<Flow, u128>> {
    let flows = |start, end| books.flows_by_class(start, end);
    let all = books.intervals().map(|i| (i.start, flows(i.start, i.end)));
    all.filter(|(_, flows)| !flows.is_empty()).collect()
}

fn entries(books: &Books) -> Vec<String> {
    books.entries_since(1).map(|entry| entry.to_string()).collect()
}

/// What was measured: every flow that does not end in a use.
fn measured(books: &Books) -> BTreeMap<Flow, u128> {
    let flows = books.flows_by_class(ALL.0, ALL.1);
    flows.into_iter().filter(|(flow, _)| flow.debit.nature() == Nature::Through).collect()
}

/// What the uses of each GPU sum to.
fn used_of_gpus(books: &Books) -> BTreeMap<(UtcMillis, Account, Class), u128> {
    let mut sums = BTreeMap::new();
    for (start, flows) in final_flows(books) {
        for (flow, millijoules) in flows {
            if matches!(flow.credit, Account::Gpu(_)) {
                *sums.entry((start, flow.credit, flow.class)).or_default() += millijoules;
            }
        }
    }
    sums
}

/// What each GPU took, of each node that it was in.
fn taken_by_gpus(books: &Books) -> BTreeMap<(UtcMillis, Account), BTreeMap<Account, u128>> {
    let mut sums: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (start, flows) in final_flows(books) {
        for (flow, millijoules) in flows {
            if matches!((&flow.debit, &flow.credit), (Account::Gpu(_), Account::Node(_))) {
                let of_nodes = sums.entry((start, flow.debit)).or_default();
                *of_nodes.entry(flow.credit).or_default() += millijoules;
            }
        }
    }
    sums
}

/// What the users of each GPU had of it.
fn total_of_gpus(books: &Books) -> BTreeMap<(UtcMillis, Account), u128> {
    let mut sums = BTreeMap::new();
    for (start, flows) in final_flows(books) {
        for (flow, millijoules) in flows {
            let is_use = flow.debit.nature() == Nature::Sink;
            if is_use && matches!(flow.credit, Account::Gpu(_)) {
                *sums.entry((start, flow.credit)).or_default() += millijoules;
            }
        }
    }
    sums
}

fn allocations_first(facts: Vec<Fact>) -> Vec<Fact> {
    let (mut first, rest): (Vec<_>, Vec<_>) =
        facts.into_iter().partition(|fact| matches!(fact, Fact::Allocate(_)));
    first.extend(rest);
    first
}

/// The worlds of the properties below have what they are about.
#[test]
fn in_some_worlds_a_gpu_moves_and_draws_at_both_nodes() {
    let moved = (0..60).filter(|seed| {
        let world = World::new(*seed);
        let books = play(&world, &world.facts(*seed));
        let events = books.events();
        let moved = events.iter().find(|event| event.kind == EventKind::Moved);
        moved.is_some_and(|event| {
            let stays = books.subjects().filter(|stay| stay.id.as_str() == event.subject);
            stays.filter(|stay| stay.booked.total() > 0).count() == 2
        })
    });
    assert!(moved.count() > 5);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn the_books_balance_and_posted_is_derived(seed in any::<u64>()) {
        let world = World::new(seed);
        let books = play(&world, &world.facts(seed));
        for interval in books.intervals() {
            if interval.state == IntervalState::Closed {
                prop_assert!(books.is_settled(interval.start), "{:?}", interval.start);
            }
        }
    }

    /// The energy of a device in the entries is the energy booked of its register: nothing is
    /// invented between the register and the last account, and nothing lost.
    #[test]
    fn every_device_is_booked_exactly_once(seed in any::<u64>()) {
        let world = World::new(seed);
        let books = play(&world, &world.facts(seed));
        let closed = books.closed_until().unwrap();
        prop_assert!(closed >= world.end());
        let flows = books.flows_by_class(ALL.0, ALL.1);
        let mut read: BTreeMap<SubjectId, ByClass> = BTreeMap::new();
        for gpu in books.subjects().filter(|subject| subject.kind == SubjectKind::Gpu) {
            read.entry(gpu.id.clone()).or_default().add_all(&gpu.booked);
        }
        for (gpu, read) in read {
            let account = Account::Gpu(gpu);
            for class in Class::ALL {
                let sum = |is_of: &dyn Fn(&Flow) -> bool| -> u128 {
                    flows.iter().filter(|(f, _)| f.class == class && is_of(f)).map(|(_, m)| m).sum()
                };
                let booked = read.get(class);
                prop_assert_eq!(sum(&|f| f.debit == account), booked);
                prop_assert_eq!(sum(&|f| f.credit == account), booked);
            }
        }
    }

    /// However the nodes' readings are interleaved, and whichever of them come after closing. What
    /// each allocation uses is exact if it was told first; the runs may differ.
    #[test]
    fn any_interleaving_of_the_nodes_gives_the_same_final_flows(
        seed in any::<u64>(), other in any::<u64>(),
    ) {
        let world = World::new(seed);
        let one = play(&world, &allocations_first(world.facts(seed)));
        let two = play(&world, &allocations_first(world.facts(other)));
        prop_assert_eq!(final_flows(&one), final_flows(&two));
    }

    /// Told at different times, allocations are cut inside different runs; what was measured, and
    /// that each GPU's energy is used exactly once, does not depend on it.
    #[test]
    fn when_allocations_are_told_moves_only_who_used_it(
        seed in any::<u64>(),
        other in any::<u64>(),
    ) {
        let world = World::new(seed);
        let one = play(&world, &world.facts(seed));
        let two = play(&world, &world.facts(other));
        prop_assert_eq!(measured(&one), measured(&two));
        prop_assert_eq!(used_of_gpus(&one), used_of_gpus(&two));
    }

    #[test]
    fn replaying_gives_identical_entries(seed in any::<u64>()) {
        let world = World::new(seed);
        let facts = world.facts(seed);
        prop_assert_eq!(entries(&play(&world, &facts)), entries(&play(&world, &facts)));
    }

    #[test]
    fn a_late_allocation_touches_no_measurement(seed in any::<u64>()) {
        let world = World::new(seed);
        let facts = world.facts(seed);
        let is_early = |fact: &&Fact| !matches!(fact, Fact::Allocate(_));
        let early: Vec<Fact> = facts.iter().filter(is_early).cloned().collect();
        let mut books = play(&world, &early);
        let before = (measured(&books), entries(&books));
        let booked: Vec<_> = books.subjects().map(|subject| subject.booked).collect();
        for late in facts.iter().filter(|fact| matches!(fact, Fact::Allocate(_))) {
            late.tell(&mut books);
        }
        world.settle(&mut books);
        check_books(&books);
        check_intervals(&books);
        prop_assert_eq!(&measured(&books), &before.0);
        prop_assert_eq!(booked, books.subjects().map(|s| s.booked).collect::<Vec<_>>());
        prop_assert_eq!(&entries(&books)[..before.1.len()], &before.1[..], "nothing is rewritten");
        // In the end every GPU's energy is used as exactly as if they had been told in time.
        prop_assert_eq!(used_of_gpus(&books), used_of_gpus(&play(&world, &facts)));
        for interval in books.intervals().filter(|i| i.state == IntervalState::Closed) {
            prop_assert!(books.is_settled(interval.start), "{:?}", interval.start);
        }
    }

    /// A calibration told first or last comes to the same; what was read stays as it was read, and
    /// the correction of each GPU is exact, interval by interval.
    #[test]
    fn a_calibration_adds_exactly_its_part_whenever_it_is_told(
        seed in any::<u64>(), ppm in 500_000_u32..2_000_000,
    ) {
        let world = World::new(seed);
        let facts = world.facts(seed);
        let calibrate = Fact::Calibrate(world.calibration(ppm));
        let plain = play(&world, &facts);
        let first = play(&world, &[std::slice::from_ref(&calibrate), &facts].concat());
        let mut last = play(&world, &facts);
        let before = entries(&last);
        calibrate.tell(&mut last);
        world.settle(&mut last);
        check_books(&last);
        check_intervals(&last);
        prop_assert_eq!(final_flows(&first), final_flows(&last));
        prop_assert_eq!(&entries(&last)[..before.len()], &before[..], "nothing is rewritten");
        let booked = |books: &Books| books.subjects().map(|s| s.booked).collect::<Vec<_>>();
        prop_assert_eq!(booked(&plain), booked(&last));
        let read = taken_by_gpus(&plain);
        for (place, used) in total_of_gpus(&last) {
            let corrected = read[&place].values().map(|before| {
                let part = before * u128::from(ppm.abs_diff(1_000_000)) / 1_000_000;
                if ppm < 1_000_000 { before - part } else { before + part }
            });
            prop_assert_eq!(used, corrected.sum::<u128>());
        }
    }

    /// Any subset of the readings of a register that only rises books the same sum between the
    /// same ends, whatever a count is worth.
    #[test]
    fn reading_in_pieces_equals_reading_at_once(
        steps in proptest::collection::vec((1_u64..5_000, 0_u64..1_000), 1..60),
        keep in proptest::collection::vec(any::<bool>(), 60),
        numerator in 1_u64..7_000,
        denominator in 1_u64..70_000,
    ) {
        let mut readings = vec![(UtcMillis::new(1_782_900_000_000), 5_u64)];
        for (dt, rise) in steps {
            let (at, count) = *readings.last().unwrap();
            readings.push((at.plus(Millis::new(dt)).unwrap(), count + rise));
        }
        let (first, last) = (readings[0], *readings.last().unwrap());
        let some: Vec<_> = readings
            .iter()
            .zip(keep.iter().chain(std::iter::repeat(&true)))
            .filter(|(r, keep)| **keep || **r == first || **r == last)
            .map(|(r, _)| *r)
            .collect();
        let exact = u128::from(last.1 - first.1) * u128::from(numerator) / u128::from(denominator);
        for readings in [&readings, &some, &vec![first, last]] {
            prop_assert_eq!(book(readings, numerator, denominator), exact);
        }
    }
}

/// What a lone register books of some readings.
fn book(readings: &[(UtcMillis, u64)], numerator: u64, denominator: u64) -> u128 {
    let mut books = Books::new(HubId::new("isb").unwrap(), Rules::default());
    let register = Register {
        numerator,
        denominator,
        modulus: None,
        power_max: Milliwatts::new(bijli_wire::limits::POWER_MW_MAX),
        epoch: 1,
        method: Method::Hardware,
        gap: Millis::new(3_000),
    };
    let id = SubjectId::new("G0").unwrap();
    let subject = Subject {
        id: id.clone(),
        kind: SubjectKind::Gpu,
        label: String::new(),
        model: String::new(),
        serial: String::new(),
        register: Some(register),
    };
    let handle = books.declare(&NodeId::new("n1").unwrap(), &subject).handle();
    for (at, count) in readings {
        let count = i64::try_from(*count).unwrap();
        let _verdict = books.read_at(handle, *at, Some(count), Activity::Unknown);
    }
    books.advance(UtcMillis::new(1_782_900_000_000 + 86_400_000));
    let sums = books.balance(ALL.0, ALL.1);
    let booked = books.subject(&id).unwrap().booked.total();
    assert_eq!(sums.used(), booked, "what is booked is posted");
    assert!(Millijoules::new(u64::try_from(booked).unwrap()) >= Millijoules::ZERO);
    booked
}

/// Guards against a loss: entries were let go by the place of the eldest interval's first one, and
/// an interval that readings of long ago had added was posted after others that were still kept.
#[test]
fn an_interval_that_was_added_late_lets_go_of_nobody_elses_entries() {
    let seed = 11_197_518_163_164_282_548;
    let world = World::new(seed);
    let books = play(&world, &world.facts(seed));
    assert!(
        books.intervals().all(|i| i.state != IntervalState::Closed || books.is_settled(i.start))
    );
}
