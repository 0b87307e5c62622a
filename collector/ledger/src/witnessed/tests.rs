//! Facts of witnesses: by table, in any order, and within bounds.

use bijli_wire::Millis;
use bijli_wire::hold::{Grant, Instance};
use bijli_wire::message::Witness;
use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400_000;

fn node() -> NodeId {
    NodeId::new("n1").expect("a name")
}

fn gpu(number: u32) -> SubjectId {
    SubjectId::new(&format!("GPU-{number}")).expect("a name")
}

fn grant(project: &str, gpus: &[u32]) -> Grant {
    Grant {
        project: ProjectId::new(project).ok(),
        user: None,
        devices: gpus.iter().map(|number| gpu(*number)).collect(),
        shares: Vec::new(),
    }
}

fn fact(at: i64, witness: Witness, fact: Fact) -> HoldFact {
    let cluster = ClusterId::new("c").expect("a name");
    HoldFact { fact, witness, cluster, at: UtcMillis::new(at) }
}

fn job(number: u32) -> JobId {
    JobId::new(&number.to_string()).expect("a name")
}

fn began(at: i64, number: u32, project: &str, gpus: &[u32]) -> HoldFact {
    let told = Fact::Began { job: job(number), grant: grant(project, gpus) };
    fact(at, Witness::Hook, told)
}

fn ended(at: i64, number: u32) -> HoldFact {
    fact(at, Witness::Hook, Fact::Ended { job: job(number), began: None })
}

fn seen(at: i64, number: u32, since: i64, project: &str, gpus: &[u32]) -> HoldFact {
    let grant = (!gpus.is_empty()).then(|| grant(project, gpus));
    let told = Fact::Seen { job: job(number), began: UtcMillis::new(since), grant };
    fact(at, Witness::Poll, told)
}

fn over(at: i64, number: u32, since: i64) -> HoldFact {
    let told = Fact::Ended { job: job(number), began: Some(UtcMillis::new(since)) };
    fact(at, Witness::Poll, told)
}

fn looked(at: i64) -> HoldFact {
    fact(at, Witness::Poll, Fact::Looked { every: Millis::new(30_000) })
}

fn books(facts: &[HoldFact]) -> Witnessed {
    let mut books = Witnessed::default();
    for one in facts {
        let (_verdict, _) = books.tell(&node(), one);
    }
    books
}

/// Of one GPU: `from-to project`, joined by commas.
fn line(books: &Witnessed, number: u32) -> String {
    let holds = books.of_device(&gpu(number), &node(), 0, DAY);
    let words = |slot: &Slot<'_>| format!("{}-{} {}", slot.from, slot.to, slot.among);
    holds.iter().map(words).collect::<Vec<_>>().join(", ")
}

#[track_caller]
fn check(facts: &[HoldFact], number: u32, expected: &str) {
    assert_eq!(line(&books(facts), number), expected, "{facts:?}");
    let mut backwards = facts.to_vec();
    backwards.reverse();
    assert_eq!(line(&books(&backwards), number), expected, "backwards: {facts:?}");
    let twice: Vec<HoldFact> = facts.iter().chain(facts).cloned().collect();
    assert_eq!(line(&books(&twice), number), expected, "twice: {facts:?}");
}

#[test]
fn what_prolog_and_epilog_tell_is_exact() {
    let whole = [began(10_221, 1, "a", &[0, 1]), ended(20_379, 1)];
    check(&whole, 0, "10221-20379 a");
    check(&whole, 1, "10221-20379 a");
    check(&whole, 2, "");
    check(&whole[..1], 0, "10221-86400000 a");
    check(&whole[1..], 0, "");
}

#[test]
fn a_requeued_job_is_two_runs_of_one_number() {
    let facts = [
        began(10_000, 1, "a", &[0]),
        ended(20_000, 1),
        began(140_000, 1, "a", &[3]),
        ended(150_000, 1),
    ];
    check(&facts, 0, "10000-20000 a");
    check(&facts, 3, "140000-150000 a");
    // The first epilog was lost: it ran at most until the second prolog.
    check(&[facts[0].clone(), facts[2].clone()], 0, "10000-140000 a");
}

#[test]
fn what_hooks_and_polling_both_tell_is_one_hold() {
    let polled = [
        seen(30_000, 1, 10_000, "a", &[0]),
        looked(30_000),
        seen(60_000, 1, 10_000, "", &[]),
        looked(60_000),
        looked(90_000),
    ];
    let hooks = [began(10_221, 1, "a", &[0]), ended(61_379, 1)];
    let both: Vec<HoldFact> = polled.iter().chain(&hooks).cloned().collect();
    check(&both, 0, "10221-61379 a");
    // Polling alone: the begin by the scheduler's clock, the end where it was last seen.
    check(&polled, 0, "10000-60000 a");
    check(&polled[..2], 0, "10000-86400000 a");
    let told: Vec<HoldFact> = polled.iter().cloned().chain([over(61_000, 1, 10_000)]).collect();
    check(&told, 0, "10000-61000 a");
    // The prolog's words, the epilog lost.
    let half: Vec<HoldFact> = polled.iter().chain(&hooks[..1]).cloned().collect();
    check(&half, 0, "10221-60000 a");
}

/// Goal: a scheduler that does not answer, or answers of other nodes, ends nothing that only the
/// hooks told.
#[test]
fn a_look_ends_only_what_a_look_has_seen() {
    check(&[began(10_000, 1, "a", &[0]), looked(DAY - 1)], 0, "10000-86400000 a");
}

#[test]
fn a_lost_end_is_where_the_next_job_begins_on_that_device() {
    let facts = [began(10_000, 1, "a", &[0, 1]), began(50_000, 2, "b", &[1]), ended(60_000, 2)];
    check(&facts, 0, "10000-86400000 a");
    check(&facts, 1, "10000-50000 a, 50000-60000 b");
    // The end is told after all: the GPU was shared, and is the first one's again after.
    let shared: Vec<HoldFact> = facts.iter().cloned().chain([ended(70_000, 1)]).collect();
    check(&shared, 0, "10000-70000 a");
    check(&shared, 1, "10000-50000 a, 50000-60000 b, 60000-70000 a");
}

/// `G0::1` of GPU 0, or instance `M1` of it with three of seven slices, or `M1::0` in that.
fn share(id: &str) -> Share {
    let name = |id: &str| SubjectId::new(id).expect("a name");
    let instance = id.starts_with('M').then(|| Instance {
        id: name(id.split(':').next().unwrap_or(id)),
        slices: 3,
        of: 7,
    });
    Share { device: gpu(0), id: name(id), instance }
}

fn shared(at: i64, number: u32, since: i64, project: &str, shares: &[&str]) -> HoldFact {
    let shares = shares.iter().map(|id| share(id)).collect();
    let grant = Some(Grant { shares, ..grant(project, &[]) });
    let told = Fact::Seen { job: job(number), began: UtcMillis::new(since), grant };
    fact(at, Witness::Kubelet, told)
}

fn asked_kubelet(at: i64) -> HoldFact {
    fact(at, Witness::Kubelet, Fact::Looked { every: Millis::new(10_000) })
}

#[test]
fn what_is_told_as_shares_has_several_holders_at_a_time() {
    let four = [
        shared(90_000, 1, 10_000, "a", &["G0::0"]),
        shared(90_000, 2, 20_000, "b", &["G0::1", "G0::2"]),
        fact(
            30_000,
            Witness::Kubelet,
            Fact::Ended { job: job(1), began: Some(UtcMillis::new(10_000)) },
        ),
    ];
    check(&four, 0, "10000-20000 a, 20000-30000 a+2 b, 30000-86400000 2 b");
    // Whose a share is need not be known for it to be one.
    let unknown = [
        shared(90_000, 1, 10_000, "a", &["G0::0"]),
        shared(90_000, 2, 20_000, "no project", &["G0::1"]),
    ];
    check(&unknown, 0, "10000-20000 a, 20000-86400000 a+1 unknown");
}

/// Loss: the kubelet goes on listing a pod that has ended, and its GPU counts twice.
#[test]
fn of_two_that_have_one_share_the_one_that_began_last_has_it() {
    let facts = [
        shared(90_000, 1, 10_000, "a", &["M1"]),
        shared(90_000, 2, 20_000, "b", &["M1"]),
        shared(90_000, 3, 15_000, "c", &["M2"]),
    ];
    check(&facts, 0, "10000-15000 a, 15000-20000 a+c, 20000-86400000 b+c");
    // The same where both ends are told.
    let told =
        [facts[0].clone(), facts[1].clone(), over(50_000, 1, 10_000), over(40_000, 2, 20_000)];
    check(&told, 0, "10000-20000 a, 20000-40000 b, 40000-50000 a");
}

#[test]
fn whole_shares_and_instances_exclude_each_other_by_who_began_last() {
    let whole =
        [shared(90_000, 1, 10_000, "a", &["G0::0"]), began(20_000, 2, "b", &[0]), ended(30_000, 2)];
    // The share's end was not told: it ends where another begins.
    check(&whole, 0, "10000-20000 a, 20000-30000 b");
    let lost = [began(10_000, 1, "a", &[0]), shared(90_000, 2, 20_000, "b", &["M1"])];
    check(&lost, 0, "10000-20000 a, 20000-86400000 b");
    let mixed = [
        shared(90_000, 1, 10_000, "a", &["G0::0"]),
        shared(90_000, 2, 20_000, "b", &["M1::0"]),
        shared(90_000, 3, 30_000, "c", &["M1::1"]),
    ];
    check(&mixed, 0, "10000-20000 a, 20000-30000 b, 30000-86400000 b+c");
}

/// Loss: one witness does not find what only another one tells, and ends it.
#[test]
fn a_look_ends_only_what_the_same_witness_has_seen() {
    let facts = [
        shared(30_000, 1, 10_000, "a", &["G0::0"]),
        asked_kubelet(30_000),
        seen(40_000, 2, 15_000, "b", &[1]),
        looked(40_000),
        looked(70_000),
    ];
    check(&facts, 0, "10000-86400000 a");
    check(&facts, 1, "15000-40000 b");
    let asked: Vec<HoldFact> = facts.iter().cloned().chain([asked_kubelet(60_000)]).collect();
    check(&asked, 0, "10000-30000 a");
}

#[test]
fn without_a_project_or_devices_nobody_holds() {
    check(&[began(10_000, 1, "no project", &[0]), ended(20_000, 1)], 0, "");
    check(&[began(10_000, 1, "a", &[]), ended(20_000, 1)], 0, "");
    check(&[began(10_000, 1, "a", &[0]), ended(10_000, 1)], 0, "");
    // What the prolog could not say, asking can.
    let known = [began(10_221, 1, "no project", &[0]), seen(30_000, 1, 10_000, "a", &[0])];
    check(&known, 0, "10221-86400000 a");
}

#[test]
fn a_node_speaks_of_its_own_devices_only() {
    let mut books = Witnessed::default();
    let other = NodeId::new("n2").expect("a name");
    let (verdict, _) = books.tell(&other, &began(10_000, 1, "a", &[0]));
    assert_eq!(verdict, HoldVerdict::Changed);
    assert_eq!(line(&books, 0), "");
    assert_eq!(books.of_device(&gpu(0), &other, 0, DAY).len(), 1);
}

#[test]
fn allocations_say_what_their_edges_rest_on() {
    let facts = [
        began(10_221, 1, "a", &[0]),
        seen(60_000, 2, 10_000, "b", &[1]),
        looked(60_000),
        looked(90_000),
        began(70_000, 3, "c", &[0]),
    ];
    let books = books(&facts);
    let told: Vec<(String, Option<i64>, String)> =
        books.allocations().map(|one| (one.id, one.to.map(UtcMillis::get), one.why)).collect();
    let expected = [
        ("c/1/n1/10221", Some(70_000), "began as the prolog told; its end was not told: another"),
        ("c/2/n1/10000", Some(60_000), "it was last seen then, looked for each 30 s"),
        ("c/3/n1/70000", None, "it runs"),
    ];
    assert_eq!(told.len(), expected.len());
    for ((id, to, why), (its, at, part)) in told.iter().zip(expected) {
        assert_eq!((id.as_str(), *to), (its, at));
        assert!(why.contains(part), "{why}");
    }
}

#[test]
fn what_can_no_longer_be_corrected_is_forgotten() {
    let facts = [
        began(10_000, 1, "a", &[0]),
        ended(20_000, 1),
        // Its end was never told, but another began there.
        began(30_000, 2, "b", &[0]),
        began(40_000, 3, "c", &[0]),
    ];
    let mut books = books(&facts);
    books.release(25_000);
    assert_eq!((books.jobs.len(), line(&books, 0)), (2, "30000-40000 b, 40000-86400000 c".into()));
    books.release(45_000);
    assert_eq!((books.jobs.len(), line(&books, 0)), (1, "40000-86400000 c".into()));
    assert_eq!(books.counts[&node()], 1);
}

#[test]
fn nobody_fills_memory_with_jobs_or_times() {
    let mut books = Witnessed::default();
    for number in 0..u32::try_from(TIMES_PER_JOB_MAX).expect("few") {
        let (verdict, _) = books.tell(&node(), &ended(i64::from(number) + 1, 1));
        assert_eq!(verdict, HoldVerdict::Unchanged);
    }
    let (verdict, _) = books.tell(&node(), &ended(DAY, 1));
    assert_eq!(verdict, HoldVerdict::TooMany);
}

fn any_fact() -> impl Strategy<Value = HoldFact> {
    let gpus = proptest::sample::subsequence(vec![0_u32, 1, 2], 0..=3);
    (0_u32..7, 1_i64..40, 0_u32..3, 0_i64..8, gpus).prop_map(|(kind, at, number, since, gpus)| {
        let (at, since) = (at.saturating_mul(3_000), since.saturating_mul(15_000));
        let project = ["a", "b", "c"][usize::try_from(number).expect("few")];
        let shares = [&["G0::0"][..], &["G0::1", "M1"], &["M2::0", "M2::1"]];
        let shares = shares[usize::try_from(since / 15_000 % 3).expect("few")];
        match kind {
            0 => began(at, number, project, &gpus),
            1 => ended(at, number),
            2 => seen(at.max(since), number, since, project, &gpus),
            3 => over(at.max(since), number, since),
            4 => shared(at.max(since), number, since, project, shares),
            5 => asked_kubelet(at),
            _ => looked(at),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Goal: the order in which facts come, and how often, changes nothing; what the lines have is
    /// what deriving from all facts at once gives; and no moment of a device has two holders.
    #[test]
    fn any_order_leads_to_the_same_holders(
        (facts, shuffled) in proptest::collection::vec(any_fact(), 1..24).prop_flat_map(|facts| {
            (Just(facts.clone()), Just(facts).prop_shuffle())
        }),
        again in any::<prop::sample::Index>(),
    ) {
        let (one, mut other) = (books(&facts), books(&shuffled));
        let (_verdict, _) = other.tell(&node(), again.get(&facts));
        for number in 0..3 {
            prop_assert_eq!(line(&one, number), line(&other, number));
            let holds = one.of_device(&gpu(number), &node(), 0, DAY);
            prop_assert!(holds.windows(2).all(|two| two[0].to <= two[1].from));
            prop_assert!(holds.iter().all(|hold| hold.from < hold.to));
        }
        prop_assert_eq!(
            one.allocations().collect::<Vec<_>>(), other.allocations().collect::<Vec<_>>()
        );
        prop_assert_eq!(one.jobs, other.jobs);
    }

    /// Goal: what a fact changes is told, or closed intervals would keep what is no longer so.
    #[test]
    fn what_changes_lies_in_what_was_touched(
        facts in proptest::collection::vec(any_fact(), 1..16),
    ) {
        let mut one = Witnessed::default();
        for told in &facts {
            let before = books_of(&one, DAY);
            let holders = |books: &Witnessed| (0..3).map(|n| line(books, n)).collect::<Vec<_>>();
            let was = holders(&one);
            let (verdict, touched) = one.tell(&node(), told);
            prop_assert_eq!(verdict == HoldVerdict::Changed, touched.is_some());
            match touched {
                None => prop_assert_eq!(was, holders(&one)),
                Some(span) => {
                    let cut = |all: &[Moments]| -> Vec<Moments> {
                        all.iter().map(|moments| moments[..until(span.from)].to_vec()).collect()
                    };
                    prop_assert_eq!(cut(&before), cut(&books_of(&one, DAY)));
                }
            }
        }
    }
}

/// Who has a GPU at each second of the first two minutes and a half.
type Moments = Vec<Option<String>>;

fn until(at: i64) -> usize {
    usize::try_from((at / 1_000).clamp(0, 150)).expect("few")
}

fn books_of(books: &Witnessed, end: i64) -> Vec<Moments> {
    let of = |number: u32| {
        let holds = books.of_device(&gpu(number), &node(), 0, end);
        let at = |second: i64| {
            let at = i64::saturating_mul(second, 1_000);
            let has_it = |slot: &&Slot<'_>| slot.from <= at && at < slot.to;
            holds.iter().find(has_it).map(|slot| slot.among.to_string())
        };
        (0..150).map(at).collect()
    };
    (0..3).map(of).collect()
}
