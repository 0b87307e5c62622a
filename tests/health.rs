//! What goes wrong with GPUs, their driver and their registers, through the real agent, a fake
//! `libnvidia-ml` that is loaded as the real one is, and the real collector.

use std::io::Write as _;
use std::process::Command;

use harness::eventually;
use harness::gpus::uuid;
use harness::http::ask;
use harness::program::{Program, binary};
use harness::site::{Site, millijoules};
use serde_json::Value;

const HUB: &str = "[[hub]]\nid = \"lahore\"\ntitle = \"Lahore\"\n";
const ONLY_GPUS: &str = "[rapl]\nenabled = false\n";

/// An agent with a shipped scenario that begins now, and a kernel's log of its own.
fn agent(site: &Site, scenario: &str) -> Program {
    let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/fakenvml/scenarios");
    std::fs::write(site.path("kmsg"), "").expect("written");
    let env = [
        ("BIJLI_NVML_LIB", fakenvml::library_path().display().to_string()),
        ("BIJLI_FAKENVML_SCENARIO", format!("{scenarios}/{scenario}.toml")),
        ("BIJLI_KMSG", site.path("kmsg").display().to_string()),
    ];
    site.agent("lahore", "n01", ONLY_GPUS, &env)
}

fn events(site: &Site) -> Vec<Value> {
    let events = site.json("/v1/hubs/lahore/events");
    events["nodes"].as_array().expect("a list").clone()
}

/// Texts of one kind, with the subject where there is one.
fn told(site: &Site, kind: &str) -> Vec<(Option<String>, String)> {
    let events = events(site);
    let of_kind = events.iter().filter(|event| event["kind"] == kind);
    let text = |event: &Value| event["text"].as_str().expect("text").to_owned();
    of_kind.map(|event| (event["subject"].as_str().map(str::to_owned), text(event))).collect()
}

fn booked(site: &Site, uuid: &str) -> u128 {
    let balance = site.json("/v1/hubs/lahore/balance");
    assert_eq!(balance["imbalance_mj"], "0");
    let accounts = balance["accounts"].as_array().expect("a list");
    let line = accounts.iter().find(|line| line["account"] == format!("gpu:{uuid}").as_str());
    line.map_or(0, |line| millijoules(&line["debits_mj"]))
}

fn is_up(site: &Site, label: &str) -> bool {
    let Some(answer) = ask("GET", site.port, "/metrics/fleet", b"") else { return false };
    let name = format!("bijli_gpu_up{{hub=\"lahore\",node=\"n01\",gpu=\"{label}\"}} 1");
    answer.text().lines().any(|line| line == name)
}

/// Goal: a driver that is replaced under the agent, with other field numbers, is read on without a
/// restart; its counts begin anew and nothing is booked across.
#[test]
fn a12_a_replaced_driver_is_read_on_without_a_restart() {
    let site = Site::start_tls(HUB);
    let mut agent = agent(&site, "reloads");
    eventually("both GPUs", 60, || (is_up(&site, "0") && is_up(&site, "1")).then_some(()));
    let changed = eventually("another driver", 180, || told(&site, "driver_changed").pop());
    assert!(changed.1.contains("570.148.08 before, 580.105.08 now"), "{changed:?}");
    let before = booked(&site, &uuid(1));
    eventually("both GPUs again", 120, || (is_up(&site, "0") && is_up(&site, "1")).then_some(()));
    eventually("a minute of 400 W more in the books", 180, || {
        (booked(&site, &uuid(1)) > before + 20 * 400_000).then_some(())
    });
    // A phantom of a wrapped counter would be some 10^19 mJ.
    assert!(booked(&site, &uuid(1)) < 600 * 400_000, "{}", booked(&site, &uuid(1)));
    assert!(agent.is_running());
}

/// Goal: a register that stands still under load is found within a minute, replaced by the integral
/// of the power, and nobody else is accused. A field of a wrong type is missing, never a number.
#[test]
fn a_stuck_register_is_replaced_and_a_wrong_type_is_missing() {
    let site = Site::start_tls(HUB);
    let agent = agent(&site, "bad-counters");
    let stuck = eventually("the stuck register", 120, || told(&site, "register_distrusted").pop());
    assert_eq!(stuck.0, Some(uuid(1)), "{stuck:?}");
    assert!(stuck.1.contains("stood still"), "{stuck:?}");
    eventually("integrated energy of that GPU in the books", 120, || {
        let entries = site.json("/v1/hubs/lahore/entries");
        let of_gpu = format!("gpu:{}", uuid(1));
        let is_it = |entry: &&Value| {
            let words = entry.to_string();
            words.contains(&of_gpu) && words.contains("integrated")
        };
        entries["entries"].as_array()?.iter().find(is_it).map(drop)
    });
    eventually("the metric that says whose register is not believed", 60, || {
        let metrics = ask("GET", site.port, "/metrics/fleet", b"")?;
        let of = |gpu: u32, value: u32| {
            let labels = format!("{{hub=\"lahore\",node=\"n01\",gpu=\"{gpu}\"}} {value}");
            let line = format!("bijli_gpu_register_distrusted{labels}");
            metrics.text().lines().any(|found| found == line)
        };
        (of(0, 0) && of(1, 1)).then_some(())
    });
    let accused: Vec<Option<String>> =
        told(&site, "register_distrusted").into_iter().map(|(subject, _)| subject).collect();
    assert!(!accused.contains(&Some(uuid(0))), "{accused:?}");
    let wrong = told(&site, "probe_failed").into_iter().find(|(_, text)| text.contains(&uuid(5)));
    assert!(wrong.is_some(), "{}", agent.printed());
}

/// Goal: a board that takes another's place is metered under its own name, and the former one is
/// not mourned for ever.
#[test]
fn a13_a_replaced_gpu_is_metered_under_its_own_name() {
    let site = Site::start_tls(HUB);
    let agent = agent(&site, "replaced");
    let new = "GPU-11111111-2222-3333-4444-666666666666";
    eventually("the new board's energy", 240, || (booked(&site, new) > 330_000).then_some(()));
    assert!(!told(&site, "inventory_changed").is_empty(), "{}", agent.printed());
    eventually("the former board gone from what is shown", 120, || {
        let metrics = ask("GET", site.port, "/metrics/fleet", b"")?;
        (!metrics.text().contains(&uuid(3))).then_some(())
    });
}

/// An agent of another node, with GPUs of these names that draw as much.
fn other_agent(site: &Site, node: &str, gpus: &[(&str, u32)]) -> Program {
    let of = |(uuid, power_mw): &(&str, u32)| {
        let trace = format!("power_trace = [{{ for_ms = 1000, power_mw = {power_mw} }}]");
        format!("[[gpus]]\nuuid = \"{uuid}\"\n{trace}\n")
    };
    let scenario = site.path(&format!("{node}-gpus.toml"));
    std::fs::write(&scenario, gpus.iter().map(of).collect::<String>()).expect("written");
    let env = [
        ("BIJLI_NVML_LIB", fakenvml::library_path().display().to_string()),
        ("BIJLI_FAKENVML_SCENARIO", scenario.display().to_string()),
    ];
    site.agent("lahore", node, ONLY_GPUS, &env)
}

/// The newest event of a kind of what the books have.
fn of_register(site: &Site, kind: &str, subject: &str) -> Option<Value> {
    let events = site.json("/v1/hubs/lahore/events");
    let of_it = |event: &&Value| event["kind"] == kind && event["subject"] == subject;
    events["registers"].as_array().expect("a list").iter().rfind(of_it).cloned()
}

/// What a node has used by the books, in millijoules.
fn of_node(site: &Site, node: &str) -> u128 {
    let balance = site.json("/v1/hubs/lahore/balance");
    assert_eq!(balance["imbalance_mj"], "0");
    let accounts = balance["accounts"].as_array().expect("a list").clone();
    let line = accounts.iter().find(|line| line["account"] == format!("node:{node}").as_str());
    line.map_or(0, |line| millijoules(&line["debits_mj"]))
}

/// Goal: a machine that burnt never says that it has its GPUs no more. A person says it, and what
/// they drew elsewhere since is booked there.
#[test]
fn a13_the_gpus_of_a_node_that_a_person_retires_are_booked_where_they_are() {
    let site = Site::start_tls(HUB);
    let moves = "GPU-moves";
    let mut first = other_agent(&site, "n01", &[(moves, 200_000)]);
    eventually("its energy", 180, || (booked(&site, moves) > 200_000).then_some(()));
    first.kill();
    let _second = other_agent(&site, "n02", &[("GPU-third", 150_000), (moves, 300_000)]);
    eventually("that two nodes have it", 120, || of_register(&site, "bound_elsewhere", moves));
    let url = format!("http://127.0.0.1:{}", site.port);
    let mut retire = std::process::Command::new(binary("bijli-collector"));
    retire.args(["retire", "--hub", "lahore", "--node", "n01", "--url", &url]);
    let retired = retire.args(["--who", "A. Khan", "--why", "burnt"]).output().expect("it runs");
    let words = String::from_utf8_lossy(&retired.stdout);
    assert!(retired.status.success(), "{}", String::from_utf8_lossy(&retired.stderr));
    assert!(words.starts_with("retired      n01\n"), "{words}");
    assert!(words.contains("A. Khan: burnt"), "{words}");
    let moved = eventually("that it moved", 60, || of_register(&site, "moved", moves));
    assert_eq!(moved["words"], "moved from n01 to n02", "{moved}");
    let told = of_register(&site, "retired", "n01").expect("on record");
    assert_eq!(told["words"], "retired by A. Khan: burnt");
    eventually("what both GPUs of the node drew", 180, || {
        let third = booked(&site, "GPU-third");
        (third > 0 && of_node(&site, "n02") >= third * 29 / 10).then_some(())
    });
}

/// Goal: a GPU that is put into another machine loses no energy. While its former node is off,
/// what it draws is kept and told of; when that node is back without it, it is booked where it was
/// drawn.
#[test]
fn a13_a_gpu_that_was_put_into_another_node_is_booked_there() {
    let site = Site::start_tls(HUB);
    let (stays, moves) = ("GPU-stays", "GPU-moves");
    let mut first = other_agent(&site, "n01", &[(stays, 100_000), (moves, 200_000)]);
    eventually("both GPUs' energy", 180, || (booked(&site, moves) > 200_000).then_some(()));
    assert!(first.stop(60).success(), "{}", first.printed());
    let second = other_agent(&site, "n02", &[("GPU-third", 150_000), (moves, 300_000)]);
    let told = |kind: &str| of_register(&site, kind, moves);
    let claimed = eventually("that two nodes have it", 120, || told("bound_elsewhere"));
    assert_eq!(claimed["words"], "bound to n01, also claimed by n02", "{claimed}");
    let of_node = |name: &str| of_node(&site, name);
    eventually("the other GPU's energy", 180, || {
        (booked(&site, "GPU-third") > 150_000 * 30).then_some(())
    });
    let third = booked(&site, "GPU-third");
    assert!(of_node("n02") <= third + 150_000 * 60, "only what is his: {}", second.printed());

    let _first = other_agent(&site, "n01", &[(stays, 100_000)]);
    let moved = eventually("that it moved", 120, || told("moved"));
    assert_eq!(moved["words"], "moved from n01 to n02", "{moved}");
    // Of the time before it was known, too: twice what the third GPU drew, for as long.
    eventually("what it drew there", 300, || {
        let third = booked(&site, "GPU-third");
        (of_node("n02") >= third * 29 / 10).then_some(())
    });
}

/// The XIDs of one number, newest first, as `/v1/events` answers them.
fn answered(site: &Site, code: u32) -> Vec<Value> {
    let answer = site.json(&format!("/v1/events?hub=lahore&node=n01&xid={code}"));
    answer["events"].as_array().expect("a list").clone()
}

fn has_line(site: &Site, line: &str) -> Option<()> {
    let metrics = ask("GET", site.port, "/metrics/fleet", b"")?;
    metrics.text().lines().any(|found| found == line).then_some(())
}

/// Goal: XIDs come from the kernel's log and from the driver, each once; the collector says what
/// each asks for, counts a storm without telling it, and knows all of it after a restart.
#[test]
fn xids_of_both_witnesses_are_told_once_with_what_to_do() {
    let mut site = Site::start_tls(HUB);
    let mut agent = agent(&site, "health-rising");
    eventually("the first GPU", 60, || is_up(&site, "0").then_some(()));
    let mut log =
        std::fs::OpenOptions::new().append(true).open(site.path("kmsg")).expect("the log");
    for sequence in 1..=50 {
        writeln!(log, "4,{sequence},9000000,-;NVRM: Xid (PCI:0000:10:00): 62, pid=1, PMU halt")
            .expect("written");
    }
    writeln!(log, "4,51,9100000,-;NVRM: Xid (PCI:0000:11:00): 94, pid=2, Contained")
        .expect("written");
    let xids = eventually("XIDs 62, 94, 63 and 64", 120, || {
        let xids = told(&site, "gpu_xid");
        let has = |code: &str| xids.iter().any(|(_, text)| text.starts_with(code));
        ["XID 62:", "XID 94:", "XID 63:", "XID 64:"].into_iter().all(has).then_some(xids)
    });
    let of = |code: &str| xids.iter().filter(|(_, text)| text.starts_with(code)).count();
    assert_eq!((of("XID 62:"), of("XID 94:")), (1, 1), "{xids:?}");
    let subject = |code: &str| xids.iter().find(|(_, text)| text.starts_with(code)).cloned();
    assert_eq!(subject("XID 62:").expect("there").0, Some(uuid(0)), "{}", agent.printed());
    assert_eq!(subject("XID 94:").expect("there").0, Some(uuid(1)));
    let driver = eventually("the driver's other events", 60, || told(&site, "gpu_event").pop());
    assert!(driver.0.is_some(), "{driver:?}");
    let failed = answered(&site, 64).pop().expect("there");
    assert_eq!(
        (&failed["severity"], &failed["xid"]["class"]),
        (&"page".into(), &"reset_gpu".into())
    );
    assert!(failed["xid"]["action"].as_str().expect("text").contains("RMA"), "{failed}");
    assert!(failed["xid"]["provenance"].as_str().expect("text").contains("NVIDIA"), "{failed}");

    // Stopped, it tells what it has counted; started again, it sends that.
    assert!(agent.stop(60).success(), "{}", agent.printed());
    let _agent = self::agent(&site, "health-rising");
    let storm = eventually("the other 49 of XID 62", 120, || {
        Some(answered(&site, 62)).filter(|told| told.len() == 2)
    });
    let counts: Vec<Option<u64>> = storm.iter().map(|told| told["count"].as_u64()).collect();
    assert_eq!(counts, [Some(49), Some(1)], "{storm:?}");
    for told in &storm {
        let subject = told["subject"].as_str().map(str::to_owned);
        assert_eq!((subject, &told["hub"]), (Some(uuid(0)), &"lahore".into()), "{told}");
        assert_eq!(told["xid"]["name"], "internal micro-controller halt");
        assert!(told["xid"]["action"].as_str().expect("text").contains("reset the GPU"), "{told}");
    }
    let place = "hub=\"lahore\",node=\"n01\",gpu=\"0\"";
    let counted = format!("bijli_gpu_xids_total{{{place},xid=\"62\"}} 50");
    eventually(&counted, 30, || has_line(&site, &counted));
    let paged = site.json("/v1/events?severity=page&to=2020-01-01T00:00:00Z");
    assert_eq!(paged["events"].as_array().map(Vec::len), Some(0), "nothing was that long ago");

    site.collector.kill();
    site.restart();
    assert_eq!(answered(&site, 62), storm, "the same after a restart");
    eventually(&counted, 60, || has_line(&site, &counted));
}

/// Goal: a pause is answered when the library is let go of; afterwards the GPUs are read again, and
/// the registers carry the energy across.
#[test]
fn a_pause_lets_go_of_the_gpus_and_loses_no_energy() {
    let site = Site::start_tls(HUB);
    let agent = agent(&site, "eight-training");
    eventually("a GPU", 60, || is_up(&site, "0").then_some(()));
    let config = site.path("n01.toml");
    let say = |words: &[&str]| {
        let mut command = Command::new(binary("bijli-agent"));
        let said = command.args(words).arg("--config").arg(&config).output().expect("it runs");
        (said.status.success(), String::from_utf8_lossy(&said.stdout).into_owned())
    };
    let (is_done, words) = say(&["pause", "--for", "5m"]);
    assert!(is_done && words.contains("let go"), "{words}\n{}", agent.printed());
    eventually("no GPU is read", 60, || (!is_up(&site, "0")).then_some(()));
    let before = booked(&site, &uuid(0));
    let (is_done, words) = say(&["resume"]);
    assert!(is_done, "{words}");
    eventually("the GPUs again", 120, || is_up(&site, "0").then_some(()));
    eventually("energy in the books again", 120, || {
        (booked(&site, &uuid(0)) > before).then_some(())
    });
    assert!(!told(&site, "probe_paused").is_empty());
}
