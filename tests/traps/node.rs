//! One node of sixteen GPUs, each with a trap (`fakenvml/scenarios/traps.toml`), from the library
//! to the closed books: what each drew is booked once, under its own name, and nobody pays for
//! another.

use std::path::Path;

use fakenvml::{Scenario, drawn_energy_uj, expected_energy_mj};
use harness::http::{ask, get};
use harness::program::{Program, free_port};
use harness::site::{Site, millijoules};
use harness::{eventually, utc_ms, within};
use serde_json::{Value, json};

use super::{HUB, ONLY_GPUS};

const GPUS: usize = 16;
/// From then on all stand still again.
const STILL_AGAIN_MS: u64 = 42_000;
/// The first that begin to draw do so then.
const BUSY_MS: u128 = 25_000;
/// By hardware registers that ran on through whatever happened.
const EXACT: [usize; 11] = [0, 2, 3, 4, 5, 6, 12, 13, 14, 15, 1];
const REMOVED: usize = 1;
const MODULE: usize = 4;
const IN_SEVEN: usize = 5;
const SHARED: usize = 6;
const RESET: usize = 7;
const WITHOUT_REGISTER: [usize; 4] = [8, 9, 10, 11];
const STORM: usize = 12;
const HUNG: usize = 13;
const SLOW: usize = 14;
const LOST: usize = 15;

struct Node {
    site: Site,
    agent: Program,
    scenario: Scenario,
    epoch: u128,
    metrics: u16,
}

impl Node {
    fn start() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fakenvml/scenarios/traps.toml");
        let site = Site::start_tls(HUB);
        // Ticks fall on whole seconds, and so GPU 14 answers at one of five.
        let epoch = utc_ms() / 1_000 * 1_000;
        let env = [
            ("BIJLI_NVML_LIB", fakenvml::library_path().display().to_string()),
            ("BIJLI_FAKENVML_SCENARIO", path.display().to_string()),
            ("BIJLI_FAKENVML_EPOCH_UTC_MS", epoch.to_string()),
            ("BIJLI_FAKENVML_REFUSALS", site.path("refusals").display().to_string()),
        ];
        let metrics = free_port();
        let settings = format!("listen = \"127.0.0.1:{metrics}\"\n{ONLY_GPUS}");
        let agent = site.agent("lahore", "n01", &settings, &env);
        let scenario = Scenario::load(&path).expect("it is valid");
        Self { site, agent, scenario, epoch, metrics }
    }

    fn uuid(&self, gpu: usize) -> &str {
        &self.scenario.gpus[gpu].uuid
    }

    fn now_ms(&self) -> u128 {
        utc_ms() - self.epoch
    }

    /// What the registers and sensors of a GPU say that it drew.
    fn truth_mj(&self, gpu: usize) -> u128 {
        if gpu == RESET || WITHOUT_REGISTER.contains(&gpu) {
            return drawn_energy_uj(&self.scenario, gpu, 0, STILL_AGAIN_MS) / 1_000;
        }
        let register = |at_ms| expected_energy_mj(&self.scenario, gpu, at_ms);
        u128::from(register(STILL_AGAIN_MS) - register(0))
    }

    fn device(&self, gpu: usize) -> Option<Value> {
        let answer = self.site.json("/v1/hubs/lahore/devices");
        let devices = answer["devices"].as_array().expect("a list");
        devices.iter().find(|device| device["subject"] == self.uuid(gpu)).cloned()
    }

    fn debits(&self, account: &str) -> u128 {
        let balance = self.site.json("/v1/hubs/lahore/balance");
        assert_eq!(balance["imbalance_mj"], "0");
        let accounts = balance["accounts"].as_array().expect("a list");
        let line = accounts.iter().find(|line| line["account"] == account);
        line.map_or(0, |line| millijoules(&line["debits_mj"]))
    }

    fn booked(&self, gpu: usize) -> u128 {
        self.debits(&format!("gpu:{}", self.uuid(gpu)))
    }

    /// Energy of a project in its accounts of GPUs.
    fn project(&self, name: &str) -> u128 {
        let parts = ["gpu_active", "gpu_held_idle"];
        parts.iter().map(|part| self.debits(&format!("project:{name}/{part}"))).sum()
    }

    fn hold(&self, id: &str, project: &str, gpu: usize) -> u16 {
        let body = json!({
            "id": id, "project": project, "who": "test", "why": "traps",
            "devices": [self.uuid(gpu)], "from": "2026-01-01T00:00:00+05:00",
        });
        let path = format!("/v1/allocations/{id}");
        let answer = ask("PUT", self.site.port, &path, body.to_string().as_bytes());
        answer.expect("an answer").status
    }

    /// What was told of a GPU, by kind.
    fn told(&self, kind: &str, gpu: usize) -> Vec<String> {
        let events = self.site.json("/v1/hubs/lahore/events");
        let events = events["nodes"].as_array().expect("a list").clone();
        let text = |event: &Value| event["text"].as_str().expect("text").to_owned();
        let is_of = |event: &&Value| {
            let is_subject = event["subject"] == self.uuid(gpu);
            event["kind"] == kind && (is_subject || text(event).contains(self.uuid(gpu)))
        };
        events.iter().filter(is_of).map(text).collect()
    }

    /// Ticks that a GPU's probe had, and of these the ones it did not answer.
    fn ticks(&self, gpu: usize) -> (u64, u64) {
        let metrics = get(self.metrics, "/metrics");
        let of = |outcome: &str| {
            let probe = format!("probe=\"nvml:{}\"", self.uuid(gpu));
            let outcome = format!("outcome=\"{outcome}\"");
            let is_it = |line: &&str| line.contains(&probe) && line.contains(&outcome);
            let mut lines = metrics.text().lines();
            let line = lines.find(|line| line.starts_with("bijli_agent_samples") && is_it(line));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0_u64)
        };
        let skipped = of("skipped");
        (of("ok") + of("error") + skipped, skipped)
    }

    fn refusals(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.site.path("refusals")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// Goal: each of sixteen GPUs has a trap, and each joule is booked once, under the right name.
#[test]
fn sixteen_gpus_with_a_trap_each_are_booked_to_the_millijoule() {
    let node = Node::start();
    hold_them(&node);
    eventually("readings of all GPUs", 60, || {
        let is_read = |gpu: usize| {
            let device = node.device(gpu)?;
            device["register"]["last_count"].as_str().map(drop)
        };
        (0..GPUS).all(|gpu| is_read(gpu).is_some()).then_some(())
    });
    assert!(node.now_ms() < BUSY_MS, "too slow: {} ms\n{}", node.now_ms(), node.agent.printed());
    // GPU 5 says at 20 s that it has other instances, and is asked everything once more.
    eventually("that the GPUs draw power", 60, || (node.now_ms() > BUSY_MS + 2_000).then_some(()));
    let refused = node.refusals();
    let missing = || -> Vec<(usize, u128)> {
        let missing = |gpu| {
            let booked = node.booked(gpu);
            let missing = node.truth_mj(gpu).checked_sub(booked);
            (gpu, missing.unwrap_or_else(|| panic!("GPU {gpu}: booked twice: {booked} mJ")))
        };
        EXACT.map(missing).into_iter().filter(|(_, missing_mj)| *missing_mj > 0).collect()
    };
    let whole = within(90, || missing().is_empty().then_some(()));
    assert!(whole.is_some(), "missing mJ {:?}\n{}", missing(), node.agent.printed());
    nothing_is_counted_twice(&node);
    resets_and_integrals_are_near_and_say_so(&node);
    what_happened_was_told_once(&node);
    one_bad_gpu_costs_no_other(&node);
    assert_eq!(refused, node.refusals(), "what is not supported is asked once");
}

/// Four pods share a GPU and seven jobs have an instance each: of one project. Nobody else can hold
/// what is held.
fn hold_them(node: &Node) {
    for pod in 0..4 {
        assert!(node.hold(&format!("pod-{pod}"), "pods", SHARED) < 300);
    }
    for instance in 0..7 {
        assert!(node.hold(&format!("mig-{instance}"), "slices", IN_SEVEN) < 300);
    }
    assert_eq!(node.hold("pod-5", "others", SHARED), 409);
}

fn nothing_is_counted_twice(node: &Node) {
    assert_eq!(node.project("pods"), node.truth_mj(SHARED), "once, and not once a pod");
    assert_eq!(node.project("slices"), node.truth_mj(IN_SEVEN), "once, and not once an instance");
    assert_eq!(node.project("others"), 0);
    let sum: u128 = (0..GPUS).map(|gpu| node.booked(gpu)).sum();
    let balance = node.site.json("/v1/hubs/lahore/balance");
    assert_eq!(millijoules(&balance["used_mj"]), sum, "no module is added to its GPUs");
    let module = node.device(MODULE).expect("there");
    assert!(module["model"].as_str().expect("a name").ends_with("(whole module)"), "{module:#}");
    assert_eq!(node.booked(REMOVED), 0);
    let metrics = get(node.site.port, "/metrics/fleet");
    let mut series: Vec<&str> = metrics.text().lines().filter_map(name_of).collect();
    let count = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), count, "two series have one name:\n{}", metrics.text());
}

/// A metric's name with its labels.
fn name_of(line: &str) -> Option<&str> {
    line.rsplit_once(' ').map(|(name, _)| name).filter(|name| !name.starts_with('#'))
}

/// Fixtures (a) and (n): a phantom of a wrapped counter would be some 10^19 mJ, a board without a
/// counter would have drawn nothing.
fn resets_and_integrals_are_near_and_say_so(node: &Node) {
    let classes = |gpu: usize| {
        let device = node.device(gpu).expect("there");
        let classes = device["register"]["by_class"].as_array().expect("a list").clone();
        classes.iter().map(|one| one["class"].as_str().expect("a word").to_owned()).collect()
    };
    let near = |gpu: usize| {
        let (booked, truth) = (node.booked(gpu), node.truth_mj(gpu));
        assert!(booked * 5 > truth * 4 && booked * 4 < truth * 5, "GPU {gpu}: {booked} of {truth}");
    };
    near(RESET);
    assert_eq!(node.device(RESET).expect("there")["register"]["resets"], 1);
    for gpu in WITHOUT_REGISTER {
        near(gpu);
        let classes: Vec<String> = classes(gpu);
        assert!(classes.iter().all(|class| class != "measured"), "GPU {gpu}: {classes:?}");
    }
    let measured: Vec<String> = classes(0);
    assert!(measured.contains(&"measured".to_owned()), "{measured:?}");
}

fn what_happened_was_told_once(node: &Node) {
    let storm = node.told("gpu_xid", STORM);
    assert_eq!(storm.len(), 1, "a thousand XIDs in ten seconds: {storm:?}");
    assert!(storm[0].starts_with("XID 119"), "{storm:?}");
    let sound = node.told("gpu_xid", 0);
    assert_eq!(sound.len(), 1, "while another GPU was lost: {sound:?}");
    assert!(!node.told("probe_hung", HUNG).is_empty(), "{}", node.agent.printed());
    let lost = node.told("probe_failed", LOST);
    assert!(lost.iter().any(|text| text.contains("fell off the bus")), "{lost:?}");
    // Blank temperatures are missing, and nothing is called 9223372036854775794.
    let hot = node.device(STORM).expect("there");
    let readings = hot["readings"].as_array().expect("a list");
    for quantity in ["temperature", "memory_temperature"] {
        let reading = readings.iter().find(|reading| reading["quantity"] == quantity);
        assert_eq!(reading.expect("offered")["value"], Value::Null, "{quantity}");
    }
}

/// Fixture (m): most samples of one GPU are lost, which shows, and the others keep their second.
fn one_bad_gpu_costs_no_other(node: &Node) {
    let (ticks, skipped) = node.ticks(SLOW);
    assert!(ticks > 20 && skipped * 100 > ticks * 60, "{skipped} of {ticks} ticks without answer");
    let (_, hung) = node.ticks(HUNG);
    assert!(hung >= 5, "{hung} ticks without answer");
    for gpu in (0..GPUS).filter(|gpu| ![REMOVED, HUNG, SLOW].contains(gpu)) {
        let (ticks, skipped) = node.ticks(gpu);
        // A busy machine costs some; four of five would be the neighbour's.
        assert!(ticks > 20 && skipped * 3 < ticks, "GPU {gpu}: {skipped} of {ticks}");
    }
}
