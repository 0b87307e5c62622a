//! Power cuts of the real programs.
//!
//! A real agent and a real collector run under strace. What they write, sync, rename and send is
//! replayed on a model of a disk (`powercut/disk.rs` says what it can and cannot lose); the
//! power is cut at random moments of the record; what a disk may hold then is laid out, the real
//! program is started on it and held to its word: it starts, nothing acknowledged is lost, nothing
//! is there twice. A few records give as many cuts as one likes: `BIJLI_POWERCUT_FACTOR=10 cargo
//! test -p bijli-tests --test powercut` makes ten times as many. A failure prints its seed
//! (`BIJLI_POWERCUT_SEED`) and keeps its disk; the moments in a record depend on the machine too.

#[path = "powercut/agent.rs"]
mod agent;
#[path = "powercut/collector.rs"]
mod collector;
#[path = "powercut/disk.rs"]
mod disk;
#[path = "powercut/history.rs"]
mod history;
#[path = "powercut/lanes.rs"]
mod lanes;
#[path = "powercut/trace.rs"]
mod trace;
#[path = "powercut/workers.rs"]
mod workers;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::rng::Rng;
use rustix::process::Signal;

use agent::Manners;
use disk::Image;
use history::{History, Planted};
use lanes::Lane;
use trace::Op;

/// Cuts of each program, and cuts of a recovery, that one run makes at least.
const CUTS: usize = 250;
const DOUBLE_CUTS: usize = 100;
/// Recoveries of each program that are cut, and how often each.
const RECOVERIES: usize = 12;
const CUTS_OF_A_RECOVERY: usize = 5;
const _: () = assert!(RECOVERIES * CUTS_OF_A_RECOVERY * 2 >= DOUBLE_CUTS);

/// A folder in memory if there is one: the model decides what a cut leaves, not this machine's
/// disk, and hundreds of starts would otherwise wait for it.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = tempfile::Builder::new().prefix("bijli-powercut-").tempdir_in(memory);
    made.or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

fn factor() -> usize {
    let given = std::env::var("BIJLI_POWERCUT_FACTOR").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The model, played to the end of a record, must show what the program left on the real disk.
fn assert_model_is_true(history: &History, folder: &Path) {
    let mut player = history.play(Planted::Nothing);
    player.finish();
    let (model, real) = (player.disk.seen(), disk::read(folder));
    let names = |image: &Image| image.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&model), names(&real), "the model misses a change of names");
    for (path, content) in &real {
        // SQLite maps this one into memory and rebuilds it at each start.
        let is_shared_memory = path.to_string_lossy().ends_with("-shm");
        assert!(is_shared_memory || &model[path] == content, "the model differs: {path:?}");
    }
}

/// So many moments of a history, before a last one: three of four while something waits for a sync.
fn moments(
    history: &History,
    planted: Planted,
    (count, last): (usize, usize),
    rng: &mut Rng,
) -> Vec<usize> {
    let (mut dirty, mut clean) = history.moments(planted);
    dirty.retain(|moment| *moment < last);
    clean.retain(|moment| *moment < last);
    let mut moments: Vec<usize> = (0..count)
        .map(|_| {
            let wants_dirty = rng.chance(3, 4) && !dirty.is_empty();
            let from = if wants_dirty || clean.is_empty() { &dirty } else { &clean };
            from[rng.index(from.len())]
        })
        .collect();
    moments.sort_unstable();
    moments
}

struct Cut {
    moment: usize,
    image: Image,
}

/// The disks that cuts at these moments leave.
fn cuts<'a>(
    history: &'a History,
    planted: Planted,
    moments: Vec<usize>,
    rng: &'a mut Rng,
) -> impl Iterator<Item = Cut> + 'a {
    let mut player = history.play(planted);
    moments.into_iter().map(move |moment| {
        player.advance(moment);
        Cut { moment, image: player.disk.cut(rng) }
    })
}

fn assert_none(complaints: &[String], what: &str, seed: u64) {
    assert!(
        complaints.is_empty(),
        "{} of the {what} broke the contract, with BIJLI_POWERCUT_SEED={seed}:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

fn collector_courses(lanes: &[Lane]) -> Vec<collector::Course> {
    let record = |image: &Image, end| collector::record(image, lanes, end).expect("it runs");
    let born = record(&Image::new(), Signal::TERM);
    let rolling = record(&collector::nearly_full_segment(lanes), Signal::TERM);
    assert_happened(&[&born.history, &rolling.history], &["mkdir data/journal"]);
    assert_eq!(
        count(&rolling.history, "rename journal/.seg"),
        1,
        "a segment was begun under strace"
    );
    vec![born, rolling]
}

/// How often names changed, by `<what> <folder>/<name or .extension>`.
fn count(history: &History, what: &str) -> usize {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map_or(String::new(), |name| name.to_string_lossy().into())
    };
    let kind = |path: &Path| match path.extension() {
        Some(extension) => format!("{}/.{}", name(path.parent()), extension.to_string_lossy()),
        None => format!("{}/{}", name(path.parent()), name(Some(path))),
    };
    let happened = history.calls().iter().filter_map(|call| match &call.op {
        Op::MakeDirectory { path } => Some(format!("mkdir {}", kind(path))),
        Op::Unlink { path } => Some(format!("unlink {}", kind(path))),
        Op::Rename { to, .. } => Some(format!("rename {}", kind(to))),
        _ => None,
    });
    happened.filter(|happened| happened == what).count()
}

/// A record in which the interesting things did not happen would prove little.
fn assert_happened(histories: &[&History], what: &[&str]) {
    for what in what {
        let times: usize = histories.iter().map(|history| count(history, what)).sum();
        assert!(times > 0, "no {what:?} in any record");
    }
}

/// An agent's first day, one with much to send and little room, one that is refused.
fn agent_courses(rng: &mut Rng) -> Vec<agent::Course> {
    let rude = Manners { silent: 1, hangs_up: 1, refuses_each: 0 };
    let refusing = Manners { silent: 0, hangs_up: 0, refuses_each: 7 };
    let seeded = agent::seeded(now_ms());
    let plans = [
        (Image::new(), rude, Signal::TERM),
        (seeded.clone(), agent::POLITE, Signal::TERM),
        (seeded, refusing, Signal::TERM),
    ];
    let plans = plans.map(|(image, manners, end)| (image, manners, end, rng.draw()));
    std::thread::scope(|scope| {
        let runs = plans.map(|(image, manners, end, seed)| {
            scope.spawn(move || agent::record(&image, manners, (agent::LIFE, end), seed))
        });
        let courses: Vec<agent::Course> =
            runs.into_iter().map(|run| run.join().expect("recorded").expect("it runs")).collect();
        let histories: Vec<&History> = courses.iter().map(|course| &course.history).collect();
        let what = [
            "mkdir root/spool",
            "rename spool/.seg",
            "rename spool/cursor",
            "unlink spool/.seg",
            "rename refused/.batch",
        ];
        assert_happened(&histories, &what);
        courses
    })
}

/// Goal: C1. Whatever a power cut leaves of what was not synced, the collector starts, has every
/// batch that it acknowledged, takes the others again, and books each once.
#[test]
fn c1_no_power_cut_of_the_collector_loses_what_it_acknowledged() {
    let seed = Rng::seed_from("BIJLI_POWERCUT_SEED");
    let mut rng = Rng::new(seed);
    let lanes = lanes::lanes(&mut rng, now_ms());
    let courses = collector_courses(&lanes);
    let count = (CUTS * factor()).div_ceil(courses.len());
    let (mut total, mut acked) = (0, 0);
    for course in &courses {
        let moments = moments(&course.history, Planted::Nothing, (count, usize::MAX), &mut rng);
        total += moments.len();
        acked += moments.iter().map(|moment| course.acked_before(*moment).len()).sum::<usize>();
        let mut luck = rng.fork();
        let cuts = cuts(&course.history, Planted::Nothing, moments, &mut luck);
        let complaints = workers::each(cuts, |cut| {
            collector::check(&cut.image, &course.acked_before(cut.moment), &lanes)
        });
        assert_none(&complaints, "cuts of the collector", seed);
    }
    println!(
        "{total} power cuts of the collector, {acked} acknowledged batches looked for, 0 lost"
    );
    assert!(total >= CUTS, "{total}");
}

/// Goal: A1, A2, A3, A4. Whatever a power cut leaves, the agent starts, sends all that it had
/// stored and knew no ack of, with the same bytes, and gives no sequence to others.
#[test]
fn a1_a2_a3_a4_no_power_cut_of_the_agent_loses_what_it_stored() {
    let seed = Rng::seed_from("BIJLI_POWERCUT_SEED");
    let mut rng = Rng::new(seed);
    let courses = agent_courses(&mut rng);
    let count = (CUTS * factor()).div_ceil(courses.len());
    let (mut total, mut owed) = (0, 0);
    for course in &courses {
        let moments = moments(&course.history, Planted::Nothing, (count, usize::MAX), &mut rng);
        total += moments.len();
        owed += moments.iter().map(|moment| course.before(*moment).owed()).sum::<usize>();
        let mut luck = rng.fork();
        let cuts = cuts(&course.history, Planted::Nothing, moments, &mut luck);
        let complaints =
            workers::each(cuts, |cut| agent::check(&cut.image, &course.before(cut.moment)));
        assert_none(&complaints, "cuts of the agent", seed);
    }
    println!("{total} power cuts of the agent, {owed} stored batches waited for, 0 lost");
    assert!(total >= CUTS && owed > 0, "{total} {owed}");
}

/// Goal: C4 for the collector. The power is cut again while it recovers, or soon after.
#[test]
fn c4_a_second_cut_of_the_collector_during_recovery_loses_nothing() {
    let seed = Rng::seed_from("BIJLI_POWERCUT_SEED");
    let mut rng = Rng::new(seed);
    let lanes = lanes::lanes(&mut rng, now_ms());
    let courses = collector_courses(&lanes);
    cut_recoveries(
        ("collector", seed),
        &courses,
        &mut rng,
        |image, _| collector::record(image, &lanes, Signal::TERM),
        |(first, moment), (second, again)| {
            let acked = &first.acked_before(moment) | &second.acked_before(again.moment);
            collector::check(&again.image, &acked, &lanes)
        },
    );
}

/// Goal: C4 for the agent.
#[test]
fn c4_a_second_cut_of_the_agent_during_recovery_loses_nothing() {
    let seed = Rng::seed_from("BIJLI_POWERCUT_SEED");
    let mut rng = Rng::new(seed);
    let courses = agent_courses(&mut rng);
    let life = (Duration::from_secs(3), Signal::TERM);
    cut_recoveries(
        ("agent", seed),
        &courses,
        &mut rng,
        |image, rng| agent::record(image, agent::POLITE, life, rng.draw()),
        |(first, moment), (second, again)| {
            let past = first.before(moment).join(&second.before(again.moment));
            agent::check(&again.image, &past)
        },
    );
}

/// What the courses of both programs have.
trait Course: Sync {
    fn history(&self) -> &History;
    /// When its start was over; `usize::MAX`: nobody was told.
    fn ready(&self) -> usize;
}

impl Course for collector::Course {
    fn history(&self) -> &History {
        &self.history
    }

    fn ready(&self) -> usize {
        self.ready
    }
}

impl Course for agent::Course {
    fn history(&self) -> &History {
        &self.history
    }

    fn ready(&self) -> usize {
        usize::MAX
    }
}

/// Cuts each course, records how the program recovers from it, cuts that, and checks what is left
/// of both: the course and its moment, the recovery and its cut.
fn cut_recoveries<C: Course>(
    (program, seed): (&str, u64),
    courses: &[C],
    rng: &mut Rng,
    recover: impl Fn(&Image, &mut Rng) -> Result<C, String> + Sync,
    check: impl Fn((&C, usize), (&C, &Cut)) -> Result<(), String> + Sync,
) {
    let count = (RECOVERIES * factor()).div_ceil(courses.len());
    let total = AtomicUsize::new(0);
    for course in courses {
        let moments = moments(course.history(), Planted::Nothing, (count, usize::MAX), rng);
        let (mut luck, forks) = (rng.fork(), Mutex::new(rng.fork()));
        let first = cuts(course.history(), Planted::Nothing, moments, &mut luck);
        let complaints = workers::each(first, |cut| {
            let mut rng = workers::lock(&forks).fork();
            let second = recover(&cut.image, &mut rng)?;
            let during = early(second.history(), second.ready(), &mut rng);
            for again in cuts(second.history(), Planted::Nothing, during, &mut rng) {
                check((course, cut.moment), (&second, &again))?;
                total.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        assert_none(&complaints, &format!("double cuts of the {program}"), seed);
    }
    let total = total.into_inner();
    println!("{total} double power cuts of the {program}, 0 lost");
    assert!(total >= DOUBLE_CUTS / 2, "{total}");
}

/// Moments of a recovery: all but one before the program was ready.
fn early(history: &History, ready: usize, rng: &mut Rng) -> Vec<usize> {
    let mut chosen = moments(history, Planted::Nothing, (CUTS_OF_A_RECOVERY - 1, ready), rng);
    chosen.extend(moments(history, Planted::Nothing, (1, usize::MAX), rng));
    chosen.sort_unstable();
    chosen
}

/// Goal: the harness has teeth. A program that forgets a sync, or speaks before it, is caught.
#[test]
fn planted_a_program_that_forgets_a_sync_is_caught() {
    let mut rng = Rng::new(Rng::seed_from("BIJLI_POWERCUT_SEED"));
    let lanes = lanes::lanes(&mut rng, now_ms());
    let collectors = collector_courses(&lanes);
    let agents = agent_courses(&mut rng);
    for planted in [Planted::SkipFileSync, Planted::SkipDirectorySync, Planted::LateSync] {
        // A directory is synced when the first segment gets its name: at a birth.
        let course = &collectors[0];
        let caught = cuts_until_caught(&course.history, planted, &mut rng, |cut| {
            collector::check(&cut.image, &course.acked_before(cut.moment), &lanes)
        });
        println!("{planted:?} in the collector: noticed in {} of {} cuts", caught.0, caught.1);
        let course = &agents[usize::from(planted == Planted::SkipDirectorySync)];
        let caught = cuts_until_caught(&course.history, planted, &mut rng, |cut| {
            agent::check(&cut.image, &course.before(cut.moment))
        });
        println!("{planted:?} in the agent: noticed in {} of {} cuts", caught.0, caught.1);
    }
}

fn cuts_until_caught(
    history: &History,
    planted: Planted,
    rng: &mut Rng,
    check: impl Fn(Cut) -> Result<(), String> + Sync,
) -> (usize, usize) {
    for round in 1..=12 {
        let moments = moments(history, planted, (workers::WORKERS, usize::MAX), rng);
        let mut luck = rng.fork();
        let complaints = workers::each(cuts(history, planted, moments, &mut luck), &check);
        for folder in complaints.iter().filter_map(|text| text.rsplit("look into ").next()) {
            // It failed as it should: nobody will look.
            drop(std::fs::remove_dir_all(folder));
        }
        if !complaints.is_empty() {
            return (complaints.len(), round * workers::WORKERS);
        }
    }
    panic!("{planted:?} was not noticed in {} cuts", 12 * workers::WORKERS);
}

fn now_ms() -> i64 {
    i64::try_from(harness::utc_ms()).expect("before the year 292 million")
}
