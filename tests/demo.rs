//! The demo as a newcomer runs it: one command, a JSON that keeps its promises, a page that a real
//! browser reads, and nothing left behind.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use harness::eventually;
use harness::program::binary;
use harness::site::millijoules;
use rustix::process::{Pid, test_kill_process};
use serde_json::Value;

/// Nodes of the simulated hub, and the gateway that reads its meters.
const NODES: usize = 16;
const ENDED_WITHIN: u64 = 55;

/// The demo, with stdout and stderr in files; it is asked to end if the test fails.
struct Demo {
    child: Child,
    folder: tempfile::TempDir,
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name| std::fs::File::create(folder.path().join(name)).expect("a file");
        let child = Command::new(binary("bijli-collector"))
            .arg("demo")
            .args(args)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("the demo starts");
        Self { child, folder }
    }

    fn printed(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).expect("what it printed")
    }

    fn page(&self) -> String {
        eventually("the page's address on stderr", 20, || {
            let text = self.printed("stderr");
            let line = text.lines().find_map(|line| line.strip_prefix("page: "));
            line.map(str::to_owned)
        })
    }

    /// The processes that it started, by Linux' own word.
    fn children(&self) -> Vec<i32> {
        let pid = self.child.id();
        let path = format!("/proc/{pid}/task/{pid}/children");
        let all = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
        let lists = all.filter_map(|task| {
            std::fs::read_to_string(task.expect("a thread").path().join("children")).ok()
        });
        let text: String = lists.collect();
        assert!(Path::new(&path).exists(), "{path}");
        text.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
    }

    fn wait(&mut self) -> bool {
        eventually("the demo's end", ENDED_WITHIN, || self.child.try_wait().expect("a child"))
            .success()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), pid) {
            // So that it ends its own children.
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ended = self.child.wait();
        }
    }
}

/// The page as a browser has it after its scripts ran.
fn browsed(page: &str) -> String {
    let profile = tempfile::tempdir().expect("a temporary folder");
    let out = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=3000", "--dump-dom", page])
        .output()
        .expect("chromium is installed");
    String::from_utf8(out.stdout).expect("a page in UTF-8")
}

/// Every string below a key that ends in `_mj` or `_mw` must be digits; returns how many there are.
fn amounts(value: &Value) -> usize {
    let is_amount = |key: &str| key.ends_with("_mj") || key.ends_with("_mw");
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| match value {
                Value::Null => 0,
                amount if is_amount(key) => usize::from(millijoules(amount) < u128::MAX),
                other => amounts(other),
            })
            .sum(),
        Value::Array(values) => values.iter().map(amounts).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn assert_promises(result: &Value) {
    assert_eq!(result["simulated_hubs"], serde_json::json!(["sim-lahore"]));
    assert!(result["banner"].as_str().expect("words").starts_with("SIMULATED"), "{result}");
    let hubs = result["hubs"].as_array().expect("hubs");
    let hub = |id: &str| hubs.iter().find(|hub| hub["hub"] == id).expect("both hubs");
    let (lahore, here) = (hub("sim-lahore"), hub("this-machine"));
    assert_eq!((&lahore["imbalance_mj"], &lahore["is_balanced"]), (&"0".into(), &true.into()));
    assert_eq!(lahore["supplied_mj"], lahore["used_mj"]);
    assert!(millijoules(&lahore["supplied_mj"]) > 0);
    let pue = &lahore["pue"];
    let (total, it) = (millijoules(&pue["total_mj"]), millijoules(&pue["it_mj"]));
    assert!(it < total && total < 2 * it, "a PUE between 1 and 2: {pue}");
    let hundredths = (total * 200 + it) / (2 * it);
    let value = format!(" = {}.{:02} ± ", hundredths / 100, hundredths % 100);
    assert!(pue["words"].as_str().expect("words").contains(&value), "{value} half up: {pue}");
    assert_eq!(pue["category"], 1);
    let count = |key: &str| pue[key].as_u64().expect("a count");
    assert!(count("intervals_complete") >= 27, "half an hour of whole minutes: {pue}");
    assert!(count("intervals_complete") <= count("intervals_expected"), "{pue}");
    assert!(lahore["projects"].as_array().expect("projects").len() > 2);
    assert!(here["pue"].is_null() && here["no_pue"].is_string(), "{here}");
    let nodes = result["nodes"].as_array().expect("nodes");
    let of = |kind: &str| {
        let is = |node: &&Value| node["hub"] == "sim-lahore" && node["kind"] == kind;
        nodes.iter().filter(is).filter(|node| node["is_up"] == true).count()
    };
    assert_eq!((of("node"), of("gateway")), (NODES, 1), "{nodes:?}");
    assert!(amounts(result) > 20, "amounts are decimal strings");
}

/// Goal: `demo --json` as in the README; the page in a real browser while it runs; no process left.
#[test]
fn the_demo_keeps_what_it_promises() {
    let args = ["--for", "20s", "--json", "--history", "30m", "--port", "0"];
    let mut demo = Demo::start(&args);
    let page = demo.page();
    let started = eventually("the two agents", 10, || {
        Some(demo.children()).filter(|children| children.len() == 2)
    });
    let dom = eventually("a page with a PUE", 30, || {
        Some(browsed(&page)).filter(|dom| dom.contains("PUE, category 1"))
    });
    for words in ["Lahore (simulated)", "interim", "coverage", "SIMULATED", "books balance to 0 mJ"]
    {
        assert!(dom.contains(words), "{words}:\n{dom}");
    }
    for words in ["Single-line diagram: what feeds what", "ups-out: ups out · IT of PUE"] {
        assert!(dom.contains(words), "{words}:\n{dom}");
    }
    assert!(demo.wait(), "{}", demo.printed("stderr"));
    let stdout = demo.printed("stdout");
    let result: Value = serde_json::from_str(&stdout).expect("stdout is one JSON document");
    assert_promises(&result);
    for pid in started {
        let pid = Pid::from_raw(pid).expect("a pid");
        assert!(test_kill_process(pid).is_err(), "child {pid:?} outlived the demo");
    }
}

/// Goal: what the README has an auditor do with a demo that has ended: a pack, and its proof by
/// Python alone. The meters of a sound hub are accused of nothing while it runs.
#[test]
fn an_ended_demo_is_proven_by_python_alone() {
    let mut demo = Demo::start(&["--json", "--for", "20s", "--history", "40m", "--dir", "demo"]);
    let address = demo.page();
    let collector = |words: &[&str]| {
        let mut command = Command::new(binary("bijli-collector"));
        let out = command.args(words).current_dir(demo.folder.path()).output().expect("it runs");
        (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into())
    };
    let checks: String = eventually("checks of the hub's meters", 40, || {
        let url = address.trim_end_matches('/');
        let (is_told, words): (bool, String) =
            collector(&["checks", "--hub", "sim-lahore", "--url", url]);
        (is_told && words.contains("pass        register")).then_some(words)
    });
    assert!(!checks.contains("fail        register"), "{checks}");
    assert!(!checks.contains("fail        voltage"), "{checks}");
    eventually("the demo's end", ENDED_WITHIN, || demo.child.try_wait().expect("a child"));
    let config = std::fs::read_to_string(demo.folder.path().join("demo/collector.toml"));
    assert!(config.expect("kept").contains("[seal]"));
    let out = Command::new("date").args(["-u", "+%Y-%m"]).output().expect("date");
    let month = String::from_utf8(out.stdout).expect("text");
    let (is_packed, words): (bool, String) = collector(&[
        "pack",
        "--config",
        "demo/collector.toml",
        "--hub",
        "sim-lahore",
        "--month",
        month.trim(),
        "--out",
        "pack",
    ]);
    assert!(is_packed, "{words}");
    let python = Command::new("python3")
        .args(["-I", "pack/verify.py", "pack"])
        .current_dir(demo.folder.path())
        .output()
        .expect("python");
    let proof = String::from_utf8_lossy(&python.stdout);
    assert!(python.status.success() && proof.contains("PROVEN"), "{proof}");
}

/// Goal: a port that is taken is told in words that say what to do, and nothing is started.
#[test]
fn a_taken_port_is_told() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let mut demo = Demo::start(&["--port", &port]);
    assert!(!demo.wait());
    let words = demo.printed("stderr");
    assert!(words.contains(&format!("port {port} is taken")), "{words}");
    assert!(words.contains("--port"), "{words}");
    assert_eq!(demo.printed("stdout"), "");
}
