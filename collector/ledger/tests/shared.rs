//! Random fleets whose GPUs are held whole, in time slices and in MIG instances: nothing of a GPU
//! is lost or counted twice, in any order of telling, under any policy.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what it expects")]

use std::collections::BTreeMap;

use bijli_ledger::{Account, Activity, Books, Flow, Nature, Rules, SharePolicy};
use bijli_wire::batch::{Register, Subject};
use bijli_wire::hold::{Fact, Grant, Hold, Instance, Share};
use bijli_wire::message::Witness;
use bijli_wire::{
    ClusterId, HubId, JobId, Method, Millis, Milliwatts, NodeId, ProjectId, SubjectId, SubjectKind,
    UtcMillis,
};
use proptest::prelude::*;

const QUARTER: i64 = 900_000;
const NODES: u32 = 2;
const GPUS: u32 = 2;
/// Readings of a GPU: half an hour, each ten seconds.
const READINGS: i64 = 180;
const STEP_MS: i64 = 10_000;
const END: UtcMillis = UtcMillis::new(2 * QUARTER);

#[derive(Clone, Debug)]
enum Told {
    /// Of a GPU, its next reading: what it drew since the last one.
    Read {
        gpu: u32,
        millijoules: i64,
        activity: Activity,
    },
    Hold {
        node: u32,
        hold: Hold,
    },
    Advance {
        to: i64,
    },
}

fn node(number: u32) -> NodeId {
    NodeId::new(&format!("n{}", number % NODES)).unwrap()
}

fn gpu(number: u32) -> SubjectId {
    SubjectId::new(&format!("G{number}")).unwrap()
}

fn books(policies: &BTreeMap<UtcMillis, SharePolicy>) -> Books {
    let mut books = Books::new(HubId::new("isb").unwrap(), Rules::default());
    books.set_share_policies(policies);
    for number in 0..NODES * GPUS {
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
            id: gpu(number),
            kind: SubjectKind::Gpu,
            label: String::new(),
            model: String::new(),
            serial: String::new(),
            register: Some(register),
        };
        let _new = books.declare(&node(number), &subject);
    }
    books
}

fn play(told: &[Told], policies: &BTreeMap<UtcMillis, SharePolicy>) -> Books {
    let mut books = books(policies);
    let mut shown: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
    for one in told {
        match one {
            Told::Read { gpu: number, millijoules, activity } => {
                let (at, count) = shown.entry(*number).or_insert((-STEP_MS, 1_000_000));
                (*at, *count) = (*at + STEP_MS, *count + *millijoules);
                let _booked =
                    books.read(&gpu(*number), UtcMillis::new(*at), Some(*count), *activity);
            }
            Told::Hold { node: number, hold } => {
                let _verdict = books.witness(&node(*number), hold);
            }
            Told::Advance { to } => drop(books.advance(UtcMillis::new(*to))),
        }
        assert_eq!((books.imbalance(), books.faults().next()), (0, None));
    }
    // Twice: the first closes, the second books what late facts changed.
    books.advance(UtcMillis::new(4 * QUARTER));
    books.advance(UtcMillis::new(8 * QUARTER));
    assert_eq!((books.imbalance(), books.faults().next()), (0, None));
    books
}

fn flows(books: &Books) -> BTreeMap<Flow, u128> {
    books.flows_by_class(UtcMillis::new(0), END)
}

/// What the users of every GPU had is what its register showed.
fn check_conserved(books: &Books) {
    for number in 0..NODES * GPUS {
        let booked = books.subject(&gpu(number)).unwrap().booked.total();
        let account = Account::Gpu(gpu(number));
        let is_use = |flow: &&Flow| flow.credit == account && flow.debit.nature() == Nature::Sink;
        let used: u128 = flows(books).iter().filter(|(f, _)| is_use(f)).map(|(_, mj)| mj).sum();
        assert_eq!(used, booked, "{account}");
    }
}

fn share(gpu_number: u32, kind: u32, place: u32) -> Share {
    let name = |text: String| SubjectId::new(&text).unwrap();
    let unit = format!("M{gpu_number}-{}", place % 3);
    let instance = || Some(Instance { id: name(unit.clone()), slices: 1 + place % 3, of: 7 });
    let (id, instance) = match kind {
        0 => (format!("G{gpu_number}::{place}"), None),
        1 => (unit.clone(), instance()),
        _ => (format!("{unit}::{place}"), instance()),
    };
    Share { device: gpu(gpu_number), id: name(id), instance }
}

/// A few facts about one job, told now or later.
fn any_holds() -> impl Strategy<Value = Vec<Told>> {
    let shares = proptest::collection::vec((0..GPUS, 0_u32..3, 0_u32..5), 0..4);
    let whole = proptest::sample::subsequence(vec![0, 1], 0..=1);
    let times = (0_i64..1_800_000, 1_i64..900_000, any::<bool>());
    (0_u32..6, 0..NODES, shares, whole, times).prop_map(|(job, of, shares, whole, times)| {
        let (from, span, is_ended) = times;
        let own = |number: u32| number * NODES + of;
        let shares = shares.iter().map(|(gpu, kind, place)| share(own(*gpu), *kind, *place));
        let grant = Grant {
            project: ProjectId::new(["a", "b", "c", "no project"][job as usize % 4]).ok(),
            user: None,
            devices: whole.iter().map(|number| gpu(own(*number))).collect(),
            shares: shares.collect(),
        };
        let (job, began) = (JobId::new(&job.to_string()).unwrap(), UtcMillis::new(from));
        let told = |fact, at| Told::Hold {
            node: of,
            hold: Hold {
                fact,
                witness: Witness::Kubelet,
                cluster: ClusterId::new("c").unwrap(),
                at: UtcMillis::new(at),
            },
        };
        let seen = told(Fact::Seen { job: job.clone(), began, grant: Some(grant) }, from);
        let ended = told(Fact::Ended { job, began: Some(began) }, from + span);
        if is_ended { vec![seen, ended] } else { vec![seen] }
    })
}

/// Readings of every GPU in its own order, and holds anywhere between them.
fn any_course() -> impl Strategy<Value = (Vec<Told>, Vec<Told>)> {
    let holds = proptest::collection::vec(any_holds(), 0..10);
    (holds, any::<u64>()).prop_map(|(holds, seed)| {
        let mut dice = seed;
        let mut below = move |bound: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % bound
        };
        let mut readings = Vec::new();
        for number in 0..READINGS * i64::from(NODES * GPUS) {
            let gpu = u32::try_from(number).unwrap() % (NODES * GPUS);
            let millijoules = i64::try_from(below(6_999_999)).unwrap();
            let activity = [Activity::Busy, Activity::Idle, Activity::Unknown];
            let activity = activity[usize::try_from(below(3)).unwrap()];
            readings.push(Told::Read { gpu, millijoules, activity });
        }
        (readings, holds.into_iter().flatten().collect())
    })
}

/// Holds put between readings at these places.
fn woven(readings: &[Told], holds: &[Told], places: &[prop::sample::Index]) -> Vec<Told> {
    let mut told = readings.to_vec();
    for (hold, place) in holds.iter().zip(places.iter().cycle()) {
        told.insert(place.index(told.len() + 1), hold.clone());
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..Default::default()
    })]

    /// What was told before an interval is posted counts alike, whenever it was told.
    #[test]
    fn books_in_shares_are_the_same_in_any_order(
        (readings, holds) in any_course(),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 1..20),
        change in proptest::option::of(0_i64..1_800_000),
    ) {
        let policies = change.map(|at| (UtcMillis::new(at), SharePolicy::Holders));
        let policies = policies.into_iter().collect();
        let first = play(&[holds.clone(), readings.clone()].concat(), &policies);
        let backwards: Vec<Told> = holds.iter().rev().cloned().collect();
        let other = play(&woven(&readings, &backwards, &places), &policies);
        prop_assert_eq!(flows(&first), flows(&other));
        check_conserved(&first);
    }

    /// Closed in between, told late, split anew: the parts of every GPU are what it drew.
    #[test]
    fn a_gpu_is_counted_once_however_late_its_holders_are_told(
        (readings, holds) in any_course(),
        places in proptest::collection::vec(any::<prop::sample::Index>(), 1..20),
        closed in 0_i64..2_200_000,
    ) {
        let mut told = woven(&readings, &holds, &places);
        told.insert(places[0].index(told.len()), Told::Advance { to: closed });
        let mut books = play(&told, &BTreeMap::new());
        check_conserved(&books);
        books.set_share_policies(&[(UtcMillis::new(0), SharePolicy::Holders)].into());
        books.advance(UtcMillis::new(12 * QUARTER));
        books.advance(UtcMillis::new(16 * QUARTER));
        prop_assert_eq!(books.imbalance(), 0);
        check_conserved(&books);
    }
}
