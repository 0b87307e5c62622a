//! Who held which GPU, told by a real Slurm's hooks, by asking it, and by both; the books
//! then have each project's energy. The GPUs are fake and know what they drew.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use harness::eventually;
use harness::program::{Program, binary};
use harness::site::{Site, millijoules};
use harness::slurm::{Call, Slurm};
use serde_json::Value;

const HUB: &str = "[[hub]]\nid = \"lahore\"\ntitle = \"Lahore\"\n";
const GPUS: u64 = 8;
/// Every GPU draws nothing, then its own power, then nothing: its register's total is known.
const STILL_S: u64 = 25;
const BUSY_S: u64 = 110;
/// A reading is of its tick to within the 600 ms in which it counts, and the fake's register moves
/// each 100 ms: so far may energy at an edge lie on its other side.
const READ_MS: u64 = 700;

fn power_mw(gpu: u64) -> u64 {
    200_000 + 37_000 * gpu
}

/// Of GPU `index` of node `node`.
fn uuid(node: u64, index: u64) -> String {
    format!("GPU-00000000-0000-0000-{node:04}-{index:012}")
}

struct Stage {
    site: Site,
    slurm: Slurm,
    agents: BTreeMap<u64, Program>,
    epoch_ms: u128,
}

impl Stage {
    /// Three nodes. `n1`: hooks and polling, device files numbered backwards; `n2`: polling alone;
    /// `n3`: hooks alone.
    fn start() -> Self {
        let site = Site::start(HUB);
        let hook = |node: u64| {
            let agent = binary("bijli-agent").display().to_string();
            format!("{agent} hold $1 --dir {}", site.path(&format!("n{node}.holds")).display())
        };
        let slurm = Slurm::start(&site.path("slurm"), &[&hook(1), ":", &hook(3)]);
        let mut stage = Self { site, slurm, agents: BTreeMap::new(), epoch_ms: harness::utc_ms() };
        for node in 1..=3 {
            stage.write_scenario(node);
            stage.start_agent(node);
        }
        eventually("the readings of 24 GPUs", 60, || {
            let metrics = harness::http::ask("GET", stage.site.port, "/metrics/fleet", b"")?;
            let is_up = |line: &&str| line.starts_with("bijli_gpu_up{") && line.ends_with(" 1");
            (metrics.text().lines().filter(is_up).count() == 24).then_some(())
        });
        let passed = harness::utc_ms() - stage.epoch_ms;
        assert!(passed < u128::from(STILL_S) * 1_000, "too slow: {passed} ms until the readings");
        stage.wait_until(STILL_S + 1);
        stage
    }

    fn write_scenario(&self, node: u64) {
        let mut text = String::new();
        for index in 0..GPUS {
            let minor = if node == 1 { GPUS - 1 - index } else { index };
            write!(
                text,
                "[[gpus]]\nuuid = \"{}\"\nminor = {minor}\npower_idle_mw = 0\npower_trace = [\n\
                 {{ for_ms = {}, power_mw = 0 }},\n{{ for_ms = {}, power_mw = {} }},\n\
                 {{ for_ms = 100_000_000, power_mw = 0 }},\n]\n",
                uuid(node, index),
                STILL_S * 1_000,
                BUSY_S * 1_000,
                power_mw(index)
            )
            .expect("a string takes it");
        }
        std::fs::write(self.site.path(&format!("n{node}.gpus.toml")), text).expect("written");
    }

    fn start_agent(&mut self, node: u64) {
        let path = |name: &str| self.site.path(&format!("n{node}.{name}")).display().to_string();
        let env = [
            ("BIJLI_NVML_LIB", fakenvml::library_path().display().to_string()),
            ("BIJLI_FAKENVML_SCENARIO", path("gpus.toml")),
            ("BIJLI_FAKENVML_EPOCH_UTC_MS", self.epoch_ms.to_string()),
        ];
        let settings = format!(
            "[rapl]\nenabled = false\n[slurm]\nenabled = true\nholds_dir = \"{}\"\nconf = \"{}\"\n\
             polling = {}\nevery = \"2s\"\ntimeout = \"10s\"\n",
            path("holds"),
            self.slurm.conf().display(),
            node != 3
        );
        let agent = self.site.agent("lahore", &format!("n{node}"), &settings, &env);
        self.agents.insert(node, agent);
    }

    /// Seconds of the course.
    fn wait_until(&self, second: u64) {
        eventually("the course to go on", 200, || {
            (harness::utc_ms() - self.epoch_ms > u128::from(second) * 1_000).then_some(())
        });
    }

    fn allocations(&self) -> Vec<Held> {
        let answer = self.site.json("/v1/allocations");
        answer["allocations"].as_array().expect("a list").iter().map(Held::of).collect()
    }

    /// The allocations of a project, when `is_there` accepts them.
    fn held(&self, project: &str, is_there: impl Fn(&[Held]) -> bool) -> Vec<Held> {
        let mut last = Vec::new();
        let found = harness::within(60, || {
            let all = self.allocations();
            last = all.into_iter().filter(|held| held.project == project).collect();
            is_there(&last).then(|| last.clone())
        });
        let printed = || self.agents.values().map(Program::printed).collect::<String>();
        found.unwrap_or_else(|| panic!("{project} holds {last:#?}\n{}", printed()))
    }

    /// Waits until each end was told by the epilog: Slurm says it too, to the second, and earlier.
    fn ended(&self, project: &str, count: usize) -> Vec<Held> {
        let is_told = |one: &Held| one.why.contains("ended as the epilog told");
        self.held(project, |held| held.len() == count && held.iter().all(is_told))
    }

    fn debits(&self) -> BTreeMap<String, u128> {
        let balance = self.site.json("/v1/hubs/lahore/balance");
        assert_eq!(balance["imbalance_mj"], "0");
        let accounts = balance["accounts"].as_array().expect("a list");
        let line = |line: &Value| {
            let account = line["account"].as_str().expect("a name").to_owned();
            (account, millijoules(&line["debits_mj"]))
        };
        accounts.iter().map(line).collect()
    }
}

#[derive(Clone, Debug)]
struct Held {
    id: String,
    project: String,
    devices: Vec<String>,
    from: i64,
    to: Option<i64>,
    why: String,
}

impl Held {
    fn of(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().expect("a text").to_owned();
        let devices = value["devices"].as_array().expect("a list").iter();
        let time = |name: &str| value[name].as_str().map(milliseconds);
        Self {
            id: text("id"),
            project: text("project"),
            devices: devices.map(|id| id.as_str().expect("an id").to_owned()).collect(),
            from: time("from").expect("a start"),
            to: time("to"),
            why: text("why"),
        }
    }

    /// What it drew while held, and by how much the edges may be off, in mJ.
    fn energy(&self) -> (u128, u128) {
        let (from, to) = (self.from, self.to.expect("an end"));
        let ms = u64::try_from(to - from).expect("forward");
        let power: u64 = self.devices.iter().map(|id| power_mw(index_of(id))).sum();
        let of = |ms: u64| u128::from(power) * u128::from(ms) / 1_000;
        (of(ms), of(2 * READ_MS))
    }
}

fn index_of(uuid: &str) -> u64 {
    uuid.rsplit('-').next().and_then(|text| text.parse().ok()).expect("an index")
}

/// RFC 3339 in UTC, by GNU date: not by the code under test.
fn milliseconds(text: &str) -> i64 {
    let date = std::process::Command::new("date").args(["-d", text, "+%s%3N"]).output();
    let date = date.expect("GNU date").stdout;
    String::from_utf8_lossy(&date).trim().parse().expect("milliseconds")
}

/// The hooks noted when they were called: the hold begins and ends within those calls.
#[track_caller]
fn is_between(held: &Held, calls: &[Call], index: usize) {
    let (prolog, epilog) = (&calls[2 * index], &calls[2 * index + 1]);
    assert_eq!((prolog.hook.as_str(), epilog.hook.as_str()), ("prolog", "epilog"));
    let to = held.to.expect("an end");
    assert!(prolog.before <= held.from && held.from <= prolog.after, "{held:?} {prolog:?}");
    assert!(epilog.before <= to && to <= epilog.after, "{held:?} {epilog:?}");
    assert!(held.why.contains("as the prolog told"), "{held:?}");
    assert!(held.why.contains("as the epilog told"), "{held:?}");
}

/// The UUIDs of Slurm's numbers on a node.
fn uuids(node: u64, numbers: &str) -> Vec<String> {
    let index = |number: u64| if node == 1 { GPUS - 1 - number } else { number };
    let numbers = numbers.split(',').map(|text| text.parse().expect("a number"));
    let mut uuids: Vec<String> = numbers.map(|number| uuid(node, index(number))).collect();
    uuids.sort();
    uuids
}

/// Goal: a project is booked the energy of the very GPUs that its jobs held, for the time that they
/// held them, whichever witness told it and whatever went wrong; and nothing is booked twice.
#[test]
fn s12_each_project_is_booked_what_the_gpus_of_its_jobs_drew() {
    let mut stage = Stage::start();

    // Without hooks: asking Slurm alone.
    let polled = stage.slurm.submit("polled", "n2", 2, &["--wrap", "sleep 12"]);
    // Without asking: hooks alone, and the epilog of a cancelled job in the middle of an interval.
    let cancelled = stage.slurm.submit("cancelled", "n3", 1, &["--wrap", "sleep 120"]);

    // The whole node; then two jobs on it, of which one needs what the other leaves.
    let whole = stage.slurm.submit("whole", "n1", 8, &["--wrap", "sleep 4"]);
    let whole_calls = stage.slurm.calls(&whole, 2);
    let left = stage.slurm.submit("left", "n1", 3, &["--wrap", "sleep 6"]);
    let right = stage.slurm.submit("right", "n1", 5, &["--wrap", "sleep 5"]);
    let (left_calls, right_calls) = (stage.slurm.calls(&left, 2), stage.slurm.calls(&right, 2));
    assert!(stage.slurm.ask("scancel", &[&cancelled]).is_some());
    let cancelled_calls = stage.slurm.calls(&cancelled, 2);

    for (project, node, calls) in [
        ("whole", 1, &whole_calls),
        ("left", 1, &left_calls),
        ("right", 1, &right_calls),
        ("cancelled", 3, &cancelled_calls),
    ] {
        let held = stage.ended(project, 1);
        assert_eq!(held[0].devices, uuids(node, &calls[0].gpus), "{project}: {calls:?}");
        is_between(&held[0], calls, 0);
    }

    // Short jobs of one array, two GPUs each, one after the other where there is no room.
    let array = stage.slurm.submit("array", "n1", 4, &["--array=0-3", "--wrap", "sleep 1"]);
    // A job that runs again under its number: the epilog of the first run tells the second's count.
    let again = ["--requeue", "--wrap", "sleep 120"];
    let again = stage.slurm.submit("again", "n3", 2, &again);
    stage.slurm.calls(&again, 1);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(stage.slurm.ask("scontrol", &["requeue", &again]).is_some());
    stage.slurm.calls(&again, 2);
    // Slurm waits two minutes before it begins again, unless it is told otherwise; a slurmd refuses
    // a credential of the second in which it revoked the one before.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let now = format!("JobId={again}");
    let second = harness::within(60, || {
        let _asked = stage.slurm.ask("scontrol", &["update", &now, "StartTime=now"]);
        harness::within(5, || (stage.slurm.calls(&again, 2).len() > 2).then_some(()))
    });
    assert!(second.is_some(), "no second run of {again}:\n{}", stage.slurm.log());
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(stage.slurm.ask("scancel", &[&again]).is_some());
    let again_calls = stage.slurm.calls(&again, 4);
    let held = stage.ended("again", 2);
    for (run, held) in held.iter().enumerate() {
        assert_eq!(held.devices, uuids(3, &again_calls[2 * run].gpus));
        is_between(held, &again_calls, run);
    }
    let tasks = stage.ended("array", 4);
    for held in &tasks {
        let job = held.id.split('/').nth(1).expect("a job's number");
        let calls = stage.slurm.calls(job, 2);
        assert_eq!(held.devices, uuids(1, &calls[0].gpus));
        is_between(held, &calls, 0);
    }
    assert!(tasks.iter().any(|held| held.id.contains(&format!("/{array}/"))), "{tasks:?}");

    // No hook told of it: Slurm's own times, whole seconds, and the GPUs while it ran.
    let is_told = |held: &[Held]| held.iter().any(|one| one.why.contains("ended as the scheduler"));
    let held = stage.held("polled", is_told);
    assert_eq!(held.len(), 1, "{held:?}");
    let calls = stage.slurm.calls(&polled, 2);
    assert_eq!(held[0].devices, uuids(2, &calls[0].gpus));
    assert!((held[0].from - calls[0].before).abs() < 2_000, "{held:?} {calls:?}");
    assert!((held[0].to.expect("an end") - calls[1].before).abs() < 3_000, "{held:?} {calls:?}");
    assert!(held[0].why.contains("as the scheduler told, to the second"), "{held:?}");

    // An agent that is down when a job begins and ends has not missed it. A controller that is down
    // ends nothing.
    let long = stage.slurm.submit("long", "n1", 1, &["--wrap", "sleep 120"]);
    stage.slurm.calls(&long, 1);
    stage.held("long", |held| held.len() == 1);
    stage.agents.get_mut(&3).expect("an agent").kill();
    let unseen = stage.slurm.submit("unseen", "n3", 3, &["--wrap", "sleep 3"]);
    let unseen_calls = stage.slurm.calls(&unseen, 2);
    stage.slurm.kill_controller();
    eventually("the agent's word on the controller", 60, || {
        let events = stage.site.json("/v1/hubs/lahore/events").to_string();
        events.contains("squeue: ").then_some(())
    });
    assert!(stage.allocations().iter().all(|one| one.project != "long" || one.to.is_none()));
    stage.start_agent(3);
    stage.slurm.start_controller();
    eventually("the controller's word", 60, || stage.slurm.ask("scancel", &[&long]));
    let long_calls = stage.slurm.calls(&long, 2);
    let held = stage.ended("long", 1);
    assert_eq!(held[0].devices, uuids(1, &long_calls[0].gpus));
    is_between(&held[0], &long_calls, 0);
    let held = stage.ended("unseen", 1);
    assert_eq!(held[0].devices, uuids(3, &unseen_calls[0].gpus));
    is_between(&held[0], &unseen_calls, 0);

    the_books_have_it(&stage);
}

/// Every project's energy, and every millijoule of every register.
fn the_books_have_it(stage: &Stage) {
    let passed = harness::utc_ms() - stage.epoch_ms;
    let end_s = STILL_S + BUSY_S;
    assert!(passed < u128::from(end_s) * 1_000, "too slow: the GPUs stopped before the jobs");
    let drawn = |index: u64| u128::from(power_mw(index)) * u128::from(BUSY_S);
    stage.wait_until(end_s);
    eventually("the whole energy of all 24 GPUs in closed intervals", 90, || {
        let debits = stage.debits();
        let of = |node: u64, index: u64| debits.get(&format!("gpu:{}", uuid(node, index)));
        let is_whole = |node, index| of(node, index) == Some(&drawn(index));
        (1..=3).all(|node| (0..GPUS).all(|index| is_whole(node, index))).then_some(())
    });
    let debits = stage.debits();
    let mut expected: BTreeMap<String, (u128, u128)> = BTreeMap::new();
    for held in stage.allocations() {
        let (energy, slack) = held.energy();
        let sum = expected.entry(held.project.clone()).or_default();
        *sum = (sum.0 + energy, sum.1 + slack);
    }
    assert_eq!(expected.len(), 9, "{expected:?}");
    let mut projects = 0;
    for (project, (energy, slack)) in &expected {
        let share = |part: &str| debits.get(&format!("project:{project}/{part}")).copied();
        let booked =
            share("gpu_active").unwrap_or_default() + share("gpu_held_idle").unwrap_or_default();
        let off = booked.abs_diff(*energy);
        println!("{project}: {booked} mJ booked, {energy} mJ held, {off} apart, {slack} allowed");
        assert!(off <= *slack, "{project}: {booked} mJ booked, {energy} mJ drawn while held");
        projects += booked;
    }
    let nobody = ["unattributed", "idle:unallocated"].map(|one| debits.get(one).copied());
    let nobody: u128 = nobody.into_iter().flatten().sum();
    let whole: u128 = 3 * (0..GPUS).map(drawn).sum::<u128>();
    assert_eq!(projects + nobody, whole, "projects and nobody have what the registers show");
    for project in expected.keys() {
        let one = stage.site.json(&format!("/v1/hubs/lahore/projects/{project}"));
        let parts = ["gpu_active", "gpu_held_idle"];
        let told: u128 = parts.iter().map(|part| millijoules(&one[&format!("{part}_mj")])).sum();
        let share = |part: &str| debits.get(&format!("project:{project}/{part}")).copied();
        let booked: u128 = parts.into_iter().filter_map(share).sum();
        assert_eq!(told, booked, "{project}: {one}");
    }
}
