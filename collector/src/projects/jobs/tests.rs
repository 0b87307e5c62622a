//! Jobs: exact where one job alone held a GPU, split by time elsewhere, and never more or less.

use proptest::prelude::*;

use super::*;

const QUARTER: i64 = 900_000;
const MINUTE: i64 = 60_000;

fn account(name: &str) -> ProjectId {
    ProjectId::new(name).expect("a name")
}

fn gpu(name: &str) -> SubjectId {
    SubjectId::new(name).expect("a name")
}

fn held(job: &str, project: &str, devices: &[&str], minutes: (i64, Option<i64>)) -> Held {
    Held {
        job: job.into(),
        account: account(project),
        node: Some(NodeId::new("n1").expect("a name")),
        devices: devices.iter().map(|name| gpu(name)).collect(),
        from: UtcMillis::new(minutes.0 * MINUTE),
        to: minutes.1.map(|minute| UtcMillis::new(minute * MINUTE)),
    }
}

/// Energy of a GPU (or, without one, of the host) in a quarter of an hour.
fn add(places: &mut Places, quarter: i64, project: &str, place: Option<&str>, amount: i128) {
    let (share, giver) = match place {
        Some(name) => (Share::GpuActive, Account::Gpu(gpu(name))),
        None => (Share::Host, Account::Node(NodeId::new("n1").expect("a name"))),
    };
    places.add(&Posted {
        interval: UtcMillis::new(quarter * QUARTER),
        user: &Account::Project(account(project), share),
        giver: &giver,
        owner: "node n1",
        class: Class::Measured,
        amount,
    });
}

fn by_job(places: &Places, held: &[Held], minutes: i64) -> BTreeMap<Option<String>, JobUse> {
    let period = (UtcMillis::new(0), UtcMillis::new(minutes * MINUTE));
    places.by_job(held, period, QUARTER)
}

fn it(jobs: &BTreeMap<Option<String>, JobUse>, job: Option<&str>) -> u128 {
    jobs.get(&job.map(str::to_owned)).map_or(0, |job| job.used.energy().it())
}

/// By hand: J1 has G0 for the first quarter and 10 minutes of the second, J2 for the other 5; J3
/// of another account has G1 all the time. Of the third quarter nobody knows a job.
#[test]
fn one_job_alone_is_exact_and_two_are_split_by_time() {
    let jobs = [
        held("J1", "fire", &["G0"], (0, Some(25))),
        held("J2", "fire", &["G0"], (25, Some(30))),
        held("J3", "water", &["G1"], (0, None)),
    ];
    let mut places = Places::default();
    for (quarter, amount) in [(0, 1_000), (1, 900), (2, 77)] {
        add(&mut places, quarter, "fire", Some("G0"), amount);
        add(&mut places, quarter, "water", Some("G1"), 500);
    }
    add(&mut places, 0, "fire", None, 60);
    add(&mut places, 0, "water", None, 40);
    let found = by_job(&places, &jobs, 45);
    assert_eq!(it(&found, Some("J1")), 1_000 + 600 + 60);
    assert_eq!(it(&found, Some("J2")), 300);
    assert_eq!(it(&found, Some("J3")), 1_500 + 40);
    assert_eq!(it(&found, None), 77, "what no known job held");
    let of = |job: &str| found.get(&Some(job.to_owned())).expect("a job");
    assert_eq!((of("J1").split, of("J2").split, of("J3").split), (600, 300, 0));
    let ms = |minutes: i64| u64::try_from(minutes * MINUTE).expect("positive");
    assert_eq!((of("J1").wall_ms, of("J1").gpu_ms), (ms(25), ms(25)));
    assert_eq!(of("J3").covered_ms, ms(45));
}

/// Loss: j. Two jobs share a node, GPUs disjoint. EAR gives each the whole node's GPUs.
#[test]
fn j_hosts_follow_the_time_for_which_gpus_were_held() {
    let jobs = [
        held("J1", "fire", &["G0", "G1", "G2"], (0, Some(15))),
        held("J2", "fire", &["G3"], (0, Some(15))),
    ];
    let mut places = Places::default();
    add(&mut places, 0, "fire", None, 1_000);
    for name in ["G0", "G1", "G2", "G3"] {
        add(&mut places, 0, "fire", Some(name), 100);
    }
    let found = by_job(&places, &jobs, 15);
    assert_eq!((it(&found, Some("J1")), it(&found, Some("J2"))), (300 + 750, 100 + 250));
    let split = |job: &str| found.get(&Some(job.to_owned())).map(|job| job.split);
    assert_eq!(split("J1"), Some(750), "its GPUs are exact");
}

/// Loss: a GPU that was not read in an interval. The job held it, and its figure says so.
#[test]
fn what_was_held_and_not_read_is_not_covered() {
    let jobs = [held("J1", "fire", &["G0", "G1"], (0, Some(30)))];
    let mut places = Places::default();
    add(&mut places, 0, "fire", Some("G0"), 10);
    let found = by_job(&places, &jobs, 30);
    let job = found.get(&Some("J1".into())).expect("a job");
    assert_eq!((job.covered_ms * 4, job.gpus), (job.gpu_ms, 2), "one GPU of two, half the time");
    let twice = [jobs[0].clone(), held("J1", "fire", &["G2"], (10, Some(40)))];
    let found = by_job(&places, &twice, 60);
    let job = found.get(&Some("J1".into())).expect("a job");
    let minute = u64::try_from(MINUTE).expect("positive");
    assert_eq!((job.wall_ms, job.gpu_ms), (40 * minute, 90 * minute), "no time is counted twice");
}

proptest! {
    /// Goal: whatever holds are known, the jobs have what was booked, to the millijoule.
    #[test]
    fn jobs_sum_to_what_was_booked(
        holds in proptest::collection::vec(
            (0..5_u8, 0..2_u8, 0..4_u8, 0..60_i64, 1..60_i64), 0..12,
        ),
        booked in proptest::collection::vec((0..5_i64, 0..2_u8, 0..5_u8, -9..1_000_i64), 1..40),
    ) {
        let jobs: Vec<Held> = holds.iter().map(|(job, project, device, from, long)| {
            let (project, device) = (format!("a{project}"), format!("G{device}"));
            held(&format!("J{job}"), &project, &[&device], (*from, Some(from + long)))
        }).collect();
        let mut places = Places::default();
        let mut whole = 0_i128;
        for (quarter, project, place, amount) in &booked {
            let name = format!("G{place}");
            let place = (*place < 4).then_some(name.as_str());
            add(&mut places, *quarter, &format!("a{project}"), place, i128::from(*amount));
            whole += i128::from(*amount);
        }
        let found = by_job(&places, &jobs, 75);
        prop_assert_eq!(found.values().map(|job| job.used.it()).sum::<i128>(), whole);
    }
}
