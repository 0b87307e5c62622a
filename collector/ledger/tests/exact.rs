//! Energy per project is exact where the readings allow it: with readings each second and holds
//! that begin and end at whole seconds and are known before closing, every project's energy is the
//! sum of the steps within its holds, before the interval is posted, after, and derived again.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects")]

use std::collections::BTreeMap;

use bijli_ledger::{Account, Activity, Allocation, Books, Holds, Rules};
use bijli_wire::batch::{Register, Subject};
use bijli_wire::{
    HubId, Method, Millis, Milliwatts, NodeId, ProjectId, SubjectId, SubjectKind, UtcMillis,
};
use proptest::prelude::*;

/// 2026-07-01T10:00:00Z, where an interval starts.
const START: i64 = 1_782_900_000_000;
/// Two intervals.
const SECONDS: usize = 1_800;
const INTERVAL_SECONDS: usize = 900;

/// What a GPU did in each second: energy and activity.
type Seconds = Vec<(u64, Activity)>;

/// A stretch of like seconds: idle within a watt, busy and steady, or anything.
fn stretch() -> impl Strategy<Value = Seconds> {
    let idle = proptest::collection::vec((70_000_u64..71_000, Just(Activity::Idle)), 1..200);
    let busy = proptest::collection::vec((400_000_u64..440_000, Just(Activity::Busy)), 1..200);
    let steady = (0_u64..700_000, 1_usize..200).prop_map(|(mj, n)| vec![(mj, Activity::Busy); n]);
    let activity = prop_oneof![Just(Activity::Unknown), Just(Activity::Idle), Just(Activity::Busy)];
    let any = proptest::collection::vec((0_u64..700_000, activity), 1..100);
    prop_oneof![idle, busy, steady, any]
}

fn gpu() -> impl Strategy<Value = Seconds> {
    proptest::collection::vec(stretch(), SECONDS)
        .prop_map(|stretches| stretches.into_iter().flatten().take(SECONDS).collect())
}

/// Who holds each second, from lengths and projects; project 0 is nobody.
fn holds() -> impl Strategy<Value = Vec<(usize, usize, u8)>> {
    proptest::collection::vec((1_usize..400, 0_u8..4), 1..20).prop_map(|parts| {
        let mut from = 0;
        let mut holds = Vec::new();
        for (length, project) in parts {
            let to = (from + length).min(SECONDS);
            if project > 0 && from < to {
                holds.push((from, to, project));
            }
            from = to;
        }
        holds
    })
}

fn at(second: usize) -> UtcMillis {
    UtcMillis::new(START + i64::try_from(second).unwrap() * 1_000)
}

fn project(number: u8) -> ProjectId {
    ProjectId::new(&format!("p{number}")).unwrap()
}

/// Books that know of one GPU, and of who holds it, through the device or its node.
fn books_of(holds: &[(usize, usize, u8)]) -> Books {
    let mut books = Books::new(HubId::new("isb").unwrap(), Rules::default());
    let register = Register {
        numerator: 1,
        denominator: 1,
        modulus: None,
        power_max: Milliwatts::new(700_000),
        epoch: 1,
        method: Method::Hardware,
        gap: Millis::new(60_000),
    };
    let subject = Subject {
        id: SubjectId::new("G0").unwrap(),
        kind: SubjectKind::Gpu,
        label: String::new(),
        model: String::new(),
        serial: String::new(),
        register: Some(register),
    };
    let _verdict = books.declare(&NodeId::new("n1").unwrap(), &subject);
    for (number, (from, to, who)) in holds.iter().enumerate() {
        let whole = Holds::Node(NodeId::new("n1").unwrap());
        let device = Holds::Devices(vec![subject.id.clone()]);
        let what = if number.is_multiple_of(2) { device } else { whole };
        hold(&mut books, &format!("J{number}"), what, (*from, *to, *who));
    }
    books
}

fn hold(books: &mut Books, id: &str, what: Holds, (from, to, who): (usize, usize, u8)) {
    let allocation = Allocation {
        id: id.to_owned(),
        project: project(who),
        holds: what,
        from: at(from),
        to: Some(at(to)),
        who: String::new(),
        why: String::new(),
    };
    let _verdict = books.allocate(allocation).unwrap();
}

/// Reads seconds `[from, to)`; the count is what all seconds before used.
fn read(books: &mut Books, seconds: &Seconds, from: usize, to: usize) {
    let handle = books.handle(&SubjectId::new("G0").unwrap()).unwrap();
    let mut count: u64 = seconds[..from].iter().map(|(mj, _)| mj).sum();
    for (second, (mj, activity)) in seconds.iter().enumerate().take(to).skip(from) {
        count += mj;
        let shown = i64::try_from(count).unwrap();
        let _verdict = books.read_at(handle, at(second + 1), Some(shown), *activity);
    }
}

/// The uses by hand: second by second to whoever held it.
fn by_hand(
    seconds: &Seconds,
    holds: &[(usize, usize, u8)],
    (from, to): (usize, usize),
) -> BTreeMap<Account, u128> {
    let mut uses: BTreeMap<Account, u128> = BTreeMap::new();
    for (second, (mj, activity)) in seconds.iter().enumerate().take(to).skip(from) {
        let holder = holds.iter().find(|(from, to, _)| (*from..*to).contains(&second));
        let account = match (holder, activity) {
            (Some((.., who)), Activity::Idle) => format!("project:p{who}/gpu_held_idle"),
            (Some((.., who)), _) => format!("project:p{who}/gpu_active"),
            (None, Activity::Busy) => "unattributed".to_owned(),
            (None, _) => "idle:unallocated".to_owned(),
        };
        *uses.entry(account.parse().unwrap()).or_default() += u128::from(*mj);
    }
    uses.retain(|_, mj| *mj > 0);
    uses
}

fn is_gpu(account: &Account) -> bool {
    matches!(account, Account::Gpu(_))
}

fn posted(books: &Books, (from, to): (usize, usize)) -> BTreeMap<Account, u128> {
    let flows = books.flows(at(from), at(to)).into_iter();
    flows.filter(|((giver, _), _)| is_gpu(giver)).map(|((_, user), mj)| (user, mj)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn every_project_has_the_sum_of_the_seconds_within_its_holds(
        seconds in gpu(),
        holds in holds(),
        late in 1..SECONDS,
    ) {
        let mut books = books_of(&holds);
        let handle = books.handle(&SubjectId::new("G0").unwrap()).unwrap();
        let _verdict = books.read_at(handle, at(0), Some(0), Activity::Unknown);

        // Before it is posted: the first interval as if it closed now.
        let first = late.min(INTERVAL_SECONDS);
        read(&mut books, &seconds, 0, first);
        books.advance(at(INTERVAL_SECONDS - 1));
        let flows = books.provisional().unwrap().flows.into_iter();
        let of_gpus = flows.filter(|((giver, _), _)| is_gpu(giver));
        let open: BTreeMap<Account, u128> = of_gpus.map(|((_, user), mj)| (user, mj)).collect();
        prop_assert_eq!(open, by_hand(&seconds, &holds, (0, first)));

        // Posted, with whatever was read until then; the rest comes late.
        read(&mut books, &seconds, first, late);
        books.advance(at(2 * SECONDS));
        prop_assert_eq!(posted(&books, (0, SECONDS)), by_hand(&seconds, &holds, (0, late)));
        read(&mut books, &seconds, late, SECONDS);
        books.advance(at(3 * SECONDS));
        for part in [(0, INTERVAL_SECONDS), (INTERVAL_SECONDS, SECONDS)] {
            prop_assert_eq!(posted(&books, part), by_hand(&seconds, &holds, part));
        }

        // Derived again, because of a hold of something else: nothing is posted.
        let entries = books.entries_since(1).count();
        let other = Holds::Devices(vec![SubjectId::new("G9").unwrap()]);
        hold(&mut books, "other", other, (0, SECONDS, 9));
        books.advance(at(4 * SECONDS));
        prop_assert!(books.is_settled(at(0)) && books.is_settled(at(INTERVAL_SECONDS)));
        prop_assert_eq!(books.entries_since(1).count(), entries);
    }
}

/// Ten readings a second are more than are kept as read: they are compacted on the way, with the
/// holds known then, and stay exact.
#[test]
fn more_readings_than_are_kept_are_as_exact() {
    let mut books = books_of(&[(123, 777, 1)]);
    let handle = books.handle(&SubjectId::new("G0").unwrap()).unwrap();
    let (mut count, mut held) = (0, 0);
    for tenth in 0..=9_000_i64 {
        let used = if tenth % 2 == 0 { 40_000 } else { 50_000 + tenth % 7 };
        count += used;
        held += if (1_230..7_770).contains(&(tenth - 1)) { used } else { 0 };
        let at = UtcMillis::new(START + tenth * 100);
        let _verdict = books.read_at(handle, at, Some(count), Activity::Busy);
    }
    books.advance(at(SECONDS));
    let fire: Account = "project:p1/gpu_active".parse().unwrap();
    assert_eq!(posted(&books, (0, SECONDS)).get(&fire), Some(&u128::try_from(held).unwrap()));
}
