//! Who holds which GPU, whole and in shares, by witnesses other than Slurm: a kubelet (grpcio),
//! dcgm-exporter's files of jobs, a file that people keep. Fake GPUs know what they drew; what each
//! project has to pay is worked out here from the edges that the collector shows, and compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use harness::kubelet::{Kubelet, Pod};
use harness::program::Program;
use harness::site::{Site, millijoules};
use harness::{eventually, within};
use serde_json::Value;

const HUB: &str = "[[hub]]\nid = \"lahore\"\ntitle = \"Lahore\"\n\
    [[hub.split]]\npolicy = \"slices-1\"\nfrom = \"2026-01-01T00:00:00+05:00\"\n";
const NODES: [&str; 3] = ["k1", "j1", "f1"];
const GPUS: u64 = 4;
/// This GPU of every node is split: four slices, two slices, and one that nobody has set up.
const SPLIT: u64 = 2;
/// Every GPU draws nothing, then its own power, then nothing.
const STILL_S: u64 = 40;
const BUSY_S: u64 = 70;
/// A reading is of its tick to within 600 ms, and the fake's register moves each 100 ms.
const READ_MS: u128 = 700;
/// An interval's parts are rounded to a millijoule; more intervals and parts than there can be.
const ROUNDED_MJ: u128 = 100;

fn power_mw(gpu: u64) -> u128 {
    200_000 + 37_000 * u128::from(gpu)
}

fn uuid(node: &str, gpu: u64) -> String {
    format!("GPU-{node}-0000-0000-{gpu:012}")
}

fn instance(node: &str, slices: u32) -> String {
    format!("MIG-{node}-{slices}")
}

struct Stage {
    site: Site,
    kubelet: Kubelet,
    agents: BTreeMap<&'static str, Program>,
    epoch_ms: u128,
}

impl Stage {
    fn start() -> Self {
        let site = Site::start(HUB);
        std::fs::create_dir(site.path("kubelet")).expect("a folder");
        std::fs::create_dir(site.path("jobs")).expect("a folder");
        write_whole(&site.path("holds.toml"), "version = 1\n");
        let kubelet = Kubelet::start(&site.path("kubelet"));
        kubelet.lists(&[]);
        let mut stage =
            Self { site, kubelet, agents: BTreeMap::new(), epoch_ms: harness::utc_ms() };
        for node in NODES {
            stage.write_scenario(node);
            stage.start_agent(node);
        }
        eventually("the readings of 12 GPUs", 60, || {
            let metrics = harness::http::ask("GET", stage.site.port, "/metrics/fleet", b"")?;
            let is_up = |line: &&str| line.starts_with("bijli_gpu_up{") && line.ends_with(" 1");
            (metrics.text().lines().filter(is_up).count() == 12).then_some(())
        });
        stage
    }

    fn write_scenario(&self, node: &str) {
        let mut text = String::new();
        for gpu in 0..GPUS {
            write!(
                text,
                "[[gpus]]\nuuid = \"{}\"\nminor = {}\npower_idle_mw = 0\npower_trace = [\n\
                 {{ for_ms = {}, power_mw = 0 }},\n{{ for_ms = {}, power_mw = {} }},\n\
                 {{ for_ms = 100_000_000, power_mw = 0 }},\n]\n",
                uuid(node, gpu),
                GPUS - 1 - gpu,
                STILL_S * 1_000,
                BUSY_S * 1_000,
                power_mw(gpu)
            )
            .expect("a string takes it");
            if gpu == SPLIT {
                write!(
                    text,
                    "[gpus.mig]\ninstances = [\n\
                     {{ gi_id = 1, slices = 4, uuid = \"{}\" }},\n\
                     {{ gi_id = 5, slices = 2, uuid = \"{}\" }},\n]\n",
                    instance(node, 4),
                    instance(node, 2)
                )
                .expect("a string takes it");
            }
        }
        std::fs::write(self.site.path(&format!("{node}.gpus.toml")), text).expect("written");
    }

    fn start_agent(&mut self, node: &'static str) {
        let path = |name: &str| self.site.path(name).display().to_string();
        let env = [
            ("BIJLI_NVML_LIB", fakenvml::library_path().display().to_string()),
            ("BIJLI_FAKENVML_SCENARIO", path(&format!("{node}.gpus.toml"))),
            ("BIJLI_FAKENVML_EPOCH_UTC_MS", self.epoch_ms.to_string()),
        ];
        let witness = match node {
            "k1" => format!(
                "[kubelet]\nenabled = true\nsocket = \"{}\"\nevery = \"1s\"\n\
                 [kubelet.projects]\nteam-b = \"climate\"\n",
                self.kubelet.socket().display()
            ),
            "j1" => format!(
                "[job_files]\nenabled = true\ndir = \"{}\"\n[slurm]\nsqueue = \"{}\"\n",
                path("jobs"),
                self.squeue().display()
            ),
            _ => format!("[holds_file]\nenabled = true\npath = \"{}\"\n", path("holds.toml")),
        };
        let settings = format!("[rapl]\nenabled = false\n{witness}");
        let agent = self.site.agent("lahore", node, &settings, &env);
        self.agents.insert(node, agent);
    }

    /// What a real squeue of 22.05 says of two jobs; of a third it does not know.
    fn squeue(&self) -> PathBuf {
        let job = |id: u32, account: &str| {
            format!(
                "{{\"job_id\":{id},\"account\":\"{account}\",\"user_name\":\"aisha\",\"cluster\":\
                 \"hubtest\",\"nodes\":\"j1\",\"gres_detail\":[\"gpu:h100:1(IDX:0)\"],\
                 \"job_state\":\"RUNNING\",\"start_time\":1795771417,\"end_time\":0}}"
            )
        };
        let jobs = [job(41, "j41"), job(42, "j42"), job(43, "j43")].join(",");
        let script = format!("#!/bin/sh\necho '{{\"errors\":[],\"jobs\":[{jobs}]}}'\n");
        harness::program::write_script(&self.site.path("squeue"), &script)
    }

    fn kubelet_lists(&self, is_later: bool) {
        let [whole, sliced] = [0, 1].map(|gpu| uuid("k1", gpu));
        let slice = |number: u32| format!("{sliced}::{number}");
        let [zero, one, two] = [0, 1, 2].map(slice);
        let four = instance("k1", 4);
        let halves = [0, 1].map(|number| format!("{}::{number}", instance("k1", 2)));
        let (whole, zero) = ([whole.as_str()], [zero.as_str()]);
        let both = [one.as_str(), two.as_str()];
        let (four, first, second) = ([four.as_str()], [halves[0].as_str()], [halves[1].as_str()]);
        let (plain, shared) = ("nvidia.com/gpu", "nvidia.com/gpu.shared");
        let (of_whole, of_zero) = ([(plain, &whole[..])], [(shared, &zero[..])]);
        let of_both = [("vendor.com/nic", &["eth0"][..]), (shared, &both[..])];
        let of_four = [("nvidia.com/mig-4g.40gb", &four[..])];
        let (of_first, of_second) = (
            [("nvidia.com/mig-2g.20gb.shared", &first[..])],
            [("nvidia.com/mig-2g.20gb.shared", &second[..])],
        );
        let mut pods: Vec<Pod<'_>> = vec![
            ("old", "ended", &of_whole),
            ("team-a", "one", &of_zero),
            ("mig-a", "four", &of_four),
            ("mig-b", "half", &of_first),
            ("mig-c", "half", &of_second),
        ];
        if is_later {
            // The kubelet goes on listing the pod that has ended, beside the one that has its GPU.
            pods.push(("new", "next", &of_whole));
        } else {
            pods.push(("team-b", "two", &of_both));
        }
        self.kubelet.lists(&pods);
    }

    fn job_files(&self, is_later: bool) {
        let shared = if is_later { "41\n" } else { "41\n42\n" };
        for (name, text) in
            [("0", shared), ("1", "41"), ("2.1", "43\n"), ("3", "99\n"), ("x", "9\n")]
        {
            write_whole(&self.site.path("jobs").join(name), text);
        }
    }

    fn holds_file(&self, is_later: bool) {
        let hold = |name: &str, devices: &[String], shared: bool| {
            format!(
                "[[hold]]\nname = \"{name}\"\nproject = \"f-{name}\"\ndevices = {devices:?}\n\
                 shared = {shared}\n"
            )
        };
        let gpu = |gpu| uuid("f1", gpu);
        let mut text = "version = 1\n".to_owned();
        text.push_str(&hold("training", &[gpu(0), gpu(1), instance("f1", 2)], false));
        text.push_str(&hold("one", &[gpu(3)], true));
        if !is_later {
            text.push_str(&hold("two", &[gpu(3)], true));
        }
        write_whole(&self.site.path("holds.toml"), &text);
    }

    fn busy(&self) -> (u128, u128) {
        let from = self.epoch_ms + u128::from(STILL_S) * 1_000;
        (from, from + u128::from(BUSY_S) * 1_000)
    }

    fn wait_until(&self, ms: u128) {
        eventually("the course to go on", 200, || (harness::utc_ms() > ms).then_some(()));
    }

    fn held(&self) -> Vec<Held> {
        let answer = self.site.json("/v1/allocations");
        answer["allocations"].as_array().expect("a list").iter().map(Held::of).collect()
    }

    /// What is held, when all these projects hold something and none of those does any more.
    fn wait_for(&self, holding: &[&str], ended: &[&str]) -> Vec<Held> {
        let mut last = Vec::new();
        let found = within(60, || {
            last = self.held();
            let holds = |project: &&&str| {
                last.iter().any(|one| one.project == **project && one.to.is_none())
            };
            let is_so =
                holding.iter().all(|one| holds(&one)) && !ended.iter().any(|one| holds(&one));
            is_so.then_some(())
        });
        let printed = || self.agents.values().map(Program::printed).collect::<String>();
        assert!(found.is_some(), "{holding:?} and not {ended:?}: {last:#?}\n{}", printed());
        last
    }

    fn wait_for_event(&self, words: &str) {
        eventually(&format!("an event: {words}"), 60, || {
            self.site.json("/v1/hubs/lahore/events").to_string().contains(words).then_some(())
        });
    }

    fn debits(&self) -> BTreeMap<String, u128> {
        let balance = self.site.json("/v1/hubs/lahore/balance");
        assert_eq!(balance["imbalance_mj"], "0");
        let accounts = balance["accounts"].as_array().expect("a list");
        let line = |line: &Value| {
            let account = line["account"].as_str().expect("a name").to_owned();
            (account, millijoules(&line["debits_mj"]) - millijoules(&line["credits_mj"]))
        };
        let is_gpu = |account: &str| account.starts_with("gpu:");
        let passed = |line: &Value| {
            let account = line["account"].as_str().expect("a name").to_owned();
            is_gpu(&account).then(|| (account, millijoules(&line["debits_mj"])))
        };
        let sinks = accounts.iter().filter(|line| {
            let account = line["account"].as_str().expect("a name");
            ["project:", "idle:", "unattributed"].iter().any(|start| account.starts_with(start))
        });
        sinks.map(line).chain(accounts.iter().filter_map(passed)).collect()
    }
}

fn write_whole(path: &Path, text: &str) {
    let half = path.with_extension("half");
    std::fs::write(&half, text).and_then(|()| std::fs::rename(&half, path)).expect("written");
}

#[derive(Clone, Debug)]
struct Held {
    project: String,
    devices: Vec<String>,
    from: u128,
    to: Option<u128>,
    why: String,
}

impl Held {
    fn of(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().expect("a text").to_owned();
        let devices = value["devices"].as_array().expect("a list").iter();
        Self {
            project: text("project"),
            devices: devices.map(|id| id.as_str().expect("an id").to_owned()).collect(),
            from: milliseconds(&text("from")),
            to: value["to"].as_str().map(milliseconds),
            why: text("why"),
        }
    }

    /// When it has this GPU or instance, or a part of it.
    fn parts(&self, of: &str) -> u128 {
        let is_of = |id: &&String| id.split("::").next() == Some(of);
        self.devices.iter().filter(is_of).count().try_into().expect("few")
    }
}

/// RFC 3339 in UTC, by GNU date: not by the code under test.
fn milliseconds(text: &str) -> u128 {
    let date = std::process::Command::new("date").args(["-d", text, "+%s%3N"]).output();
    let date = date.expect("GNU date").stdout;
    String::from_utf8_lossy(&date).trim().parse().expect("milliseconds")
}

/// What each project has to pay: from edge to edge, by who holds what then. Whoever began last of
/// those that have a whole GPU has it; parts are equal; an instance has its slices of seven.
fn owed(held: &[Held], (start, end): (u128, u128)) -> BTreeMap<String, u128> {
    let edges = held.iter().flat_map(|one| [one.from, one.to.unwrap_or(end)]);
    let edges: BTreeSet<u128> = edges.chain([start, end]).map(|at| at.clamp(start, end)).collect();
    let mut owed: BTreeMap<String, u128> = BTreeMap::new();
    for (from, to) in edges.iter().zip(edges.iter().skip(1)) {
        let on: Vec<&Held> = held
            .iter()
            .filter(|one| one.from <= *from && one.to.is_none_or(|at| *to <= at))
            .collect();
        for node in NODES {
            for gpu in 0..GPUS {
                let drawn = power_mw(gpu) * (to - from) / 1_000;
                pay(&on, &uuid(node, gpu), drawn, &mut owed);
                if gpu == SPLIT {
                    pay(&on, &instance(node, 4), drawn * 4 / 7, &mut owed);
                    pay(&on, &instance(node, 2), drawn * 2 / 7, &mut owed);
                }
            }
        }
    }
    owed
}

fn pay(on: &[&Held], of: &str, drawn: u128, owed: &mut BTreeMap<String, u128>) {
    let whole = on.iter().filter(|one| one.devices.iter().any(|id| id == of));
    if let Some(last) = whole.max_by_key(|one| one.from) {
        *owed.entry(last.project.clone()).or_default() += drawn;
        return;
    }
    let parts: u128 = on.iter().map(|one| one.parts(of)).sum();
    for one in on.iter().filter(|one| one.parts(of) > 0) {
        *owed.entry(one.project.clone()).or_default() += drawn * one.parts(of) / parts;
    }
}

/// Goal: dcgm-exporter gives every pod and every instance the whole GPU (issues 257, 307, 582).
/// Here each pays its part, all parts together are what the GPUs drew, and what nobody is known to
/// hold is nobody's; through a kubelet that is away, an agent that is killed, a file half written.
#[test]
fn s12_those_who_share_a_gpu_pay_for_it_once() {
    let mut stage = Stage::start();
    stage.kubelet_lists(false);
    stage.job_files(false);
    stage.holds_file(false);
    let first = [
        "old",
        "team-a",
        "climate",
        "mig-a",
        "mig-b",
        "mig-c",
        "j41",
        "j42",
        "j43",
        "f-training",
        "f-one",
        "f-two",
    ];
    let held = stage.wait_for(&first, &[]);
    assert_eq!(held.len(), first.len(), "one hold of each: {held:#?}");
    let (start, end) = stage.busy();
    let now = harness::utc_ms();
    assert!(now < start, "too slow: {} ms late until everything is held", now - start);
    stage.wait_for_event("names no GPU by its UUID");
    stage.wait_for_event("job 99: Slurm does not list it, so nobody told whose it is");

    stage.wait_until(start + 5_000);
    let moved = changed(&stage);
    while_some_are_away(&mut stage);
    let held = stage.held();
    for (project, from) in [("new", moved), ("climate", moved), ("f-two", moved), ("j42", moved)] {
        let one = held.iter().find(|one| one.project == project).expect("it held something");
        let edge = if project == "new" { one.from } else { one.to.expect("it ended") };
        assert!((from.0..from.1).contains(&edge), "{project} {from:?} {one:?}");
    }
    assert!(harness::utc_ms() < end, "too slow: the GPUs stopped before the test did");
    the_books_have_it(&stage, &held);
}

/// One goes from each shared GPU, and another comes. Between when it was written and when seen.
fn changed(stage: &Stage) -> (u128, u128) {
    let before = harness::utc_ms();
    stage.kubelet_lists(true);
    stage.job_files(true);
    stage.holds_file(true);
    let held = stage.wait_for(&["new"], &["old", "climate", "j42", "f-two"]);
    let why = |project: &str| {
        let one = held.iter().find(|one| one.project == project).expect("it held something");
        one.why.clone()
    };
    assert!(why("climate").ends_with("began as the kubelet told; ended as the kubelet told"));
    assert!(why("j42").contains("of aisha; began as the files of jobs told; ended as the files"));
    assert!(why("f-two").contains("began as the file on the node told"));
    assert!(why("old").contains("its end was not told: another job began there"));
    (before, harness::utc_ms())
}

/// Nothing that is held ends, and nothing begins anew.
fn while_some_are_away(stage: &mut Stage) {
    let before = stage.held();
    write_whole(&stage.site.path("holds.toml"), "version = 1\n[[hold]]\nname = \"x\"\nproject");
    stage.wait_for_event("holds.toml: line 4: ");
    stage.kubelet.kill();
    stage.wait_for_event("kubelet.sock: Connection refused");
    stage.agents.get_mut("k1").expect("an agent").kill();
    stage.agents.get_mut("j1").expect("an agent").kill();
    stage.start_agent("k1");
    stage.start_agent("j1");
    stage.kubelet.start_again();
    stage.holds_file(true);
    stage.wait_for_event("holds_file: answers again");
    assert_eq!(edges(&stage.held()), edges(&before));
}

fn edges(held: &[Held]) -> Vec<(&str, u128, Option<u128>)> {
    held.iter().map(|one| (one.project.as_str(), one.from, one.to)).collect()
}

fn the_books_have_it(stage: &Stage, held: &[Held]) {
    let (start, end) = stage.busy();
    let drawn = |gpu: u64| power_mw(gpu) * u128::from(BUSY_S);
    eventually("the whole energy of all 12 GPUs in closed intervals", 150, || {
        let debits = stage.debits();
        let is_whole =
            |node: &str, gpu| debits.get(&format!("gpu:{}", uuid(node, gpu))) == Some(&drawn(gpu));
        NODES.iter().all(|node| (0..GPUS).all(|gpu| is_whole(node, gpu))).then_some(())
    });
    let debits = stage.debits();
    let of = |start: &str| -> u128 {
        debits.iter().filter(|(account, _)| account.starts_with(start)).map(|(_, mj)| mj).sum()
    };
    let sum = of("project:") + of("idle:") + of("unattributed");
    let all: u128 = (0..GPUS).map(drawn).sum::<u128>() * 3;
    assert_eq!(sum, all, "every millijoule once: {debits:#?}");
    let owed = owed(held, (start, end));
    let mut paid = 0;
    for (project, owed) in &owed {
        let found = of(&format!("project:{project}/"));
        paid += found;
        // Edges at which a power of at most the largest GPU's changes hands.
        let slack = power_mw(GPUS - 1) * READ_MS * 2 / 1_000 + ROUNDED_MJ;
        assert!(found.abs_diff(*owed) <= slack, "{project}: booked {found}, owed {owed}, {slack}");
    }
    assert_eq!(paid, of("project:"), "and nobody else has anything: {debits:#?}");
    // Of j1's GPU 3 nobody knows whose the job is; of k1's nobody told who has it; of the split
    // GPUs nobody has one slice of seven, of j1's three, of f1's five.
    let unknown = of("unattributed") + of("idle:");
    let slices = drawn(SPLIT) * (1 + 3 + 5) / 7;
    let expected = 2 * drawn(3) + slices;
    assert!(unknown.abs_diff(expected) <= 4 * ROUNDED_MJ, "{unknown} and {expected}");
    assert!(of("unattributed") >= drawn(3), "whose project is not known is not idle");
    assert_eq!(edges(&stage.held()), edges(held), "the agents that came back told the same");
    let answer = stage.site.json("/v1/hubs/lahore/projects");
    let policy = &answer["share_policies"][0];
    assert_eq!(
        (&policy["policy"], &policy["from"]),
        (&"slices-1".into(), &"2025-12-31T19:00:00Z".into())
    );
}
