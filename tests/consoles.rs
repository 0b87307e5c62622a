//! What managers and on-call engineers look at, over a real Prometheus that scrapes a real
//! collector with the simulated hub: every query of the page answers, every rule loads, and the
//! dead man fires.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::http::{ask, get};
use harness::program::{Program, binary, free_port};
use harness::site::Site;
use harness::{eventually, within};
use serde_json::Value;

/// What a simulated UPS does not tell, and what takes more than some minutes of a hub.
/// `tests/dashboards.rs` shows every page over a week in which nothing is empty.
const EMPTY_HERE: [&str; 2] = ["UPS time left (live)", "Highest half hour of demand (live)"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

fn run(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(out.status.success(), "{command:?}\n{text}");
    text
}

/// The names of the pages that are compared with the code.
fn metric_names() -> Vec<String> {
    let page = |name: &str| fs::read_to_string(root().join("docs").join(name)).expect("a page");
    let pages =
        [page("metrics.md"), page("metrics-agent.md"), page("metrics-collector.md")].concat();
    let rows = pages.lines().filter_map(|line| line.strip_prefix("| `bijli_"));
    let rows = rows.filter_map(|row| row.split('`').next()).map(|name| format!("bijli_{name}"));
    rows.collect()
}

#[test]
fn every_alert_rule_is_tested_and_each_broken_one_is_noticed() {
    run(Command::new(root().join("alerts/check.sh")).env("BIJLI_REQUIRE_AMTOOL", "1"));
}

#[test]
fn the_page_and_the_rules_use_only_metrics_that_exist() {
    let names = metric_names();
    assert!(names.len() > 20, "{names:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("metrics.txt");
    fs::write(&list, names.join("\n")).expect("written");
    for extra in [&[][..], &["--self-test"]] {
        run(Command::new("python3").arg(root().join("dashboards/check.py")).arg(&list).args(extra));
    }
}

fn hub_with_fleet() -> (Site, Program) {
    let size = ["--nodes", "4", "--gpus", "4"];
    let mut command = Command::new(binary("bijli-agent"));
    let site = Site::start(&run(command.arg("simulate").args(size).arg("--print-diagram")));
    let mut command = Command::new(binary("bijli-agent"));
    command.arg("simulate").args(size);
    command.arg("--collector").arg(format!("http://127.0.0.1:{}", site.port));
    command.arg("--dir").arg(site.path("simulated")).args(["--history", "10m"]);
    let fleet = Program::start(&mut command, &site.path("simulate.log"));
    eventually("a PUE of the simulated hub", 60, || {
        site.json("/v1/hubs/sim-lahore/pue").get("pue").filter(|pue| pue.is_object()).cloned()
    });
    (site, fleet)
}

fn prometheus(site: &Site) -> (u16, Program) {
    let port = free_port();
    let example = root().join("dashboards/prometheus.example.yml");
    let config = fs::read_to_string(example)
        .expect("the example")
        .replace("collector.isb.example:8640", &format!("127.0.0.1:{}", site.port))
        .replace("scrape_interval: 15s", "scrape_interval: 1s")
        .replace("scrape_timeout: 10s", "scrape_timeout: 1s")
        .replace("evaluation_interval: 30s", "evaluation_interval: 1s");
    fs::write(site.path("prometheus.yml"), config).expect("written");
    std::os::unix::fs::symlink(root().join("alerts/rules"), site.path("rules")).expect("linked");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", site.path("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", site.path("tsdb").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    (port, Program::start(&mut command, &site.path("prometheus.log")))
}

fn query(port: u16, expression: &str) -> Value {
    let encoded: String = expression
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let answer = get(port, &format!("/api/v1/query?query={encoded}"));
    assert_eq!(answer.status, 200, "{expression}\n{}", answer.text());
    answer.json()["data"]["result"].clone()
}

/// Every expression of the page, for one hub.
fn expressions() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("dashboards/hub-facility.json")).expect("the page");
    let page: Value = serde_json::from_str(&text).expect("JSON");
    let mut found = Vec::new();
    for panel in page["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression");
            let expression = expression
                .replace("$hub", "sim-lahore")
                .replace("$__rate_interval", "30s")
                .replace("$__range", "1h")
                .replace("$__interval", "15s");
            found.push((panel["title"].as_str().expect("a title").to_owned(), expression));
        }
    }
    found
}

#[test]
fn a_real_prometheus_reads_the_hub_and_the_page_answers() {
    let (site, _fleet) = hub_with_fleet();
    run(Command::new("sh").arg("-c").arg(format!(
        "curl -sf http://127.0.0.1:{}/metrics/fleet | promtool check metrics",
        site.port
    )));
    let (port, _prometheus) = prometheus(&site);
    eventually("a ready Prometheus", 60, || {
        ask("GET", port, "/-/ready", b"").filter(|answer| answer.status == 200)
    });
    eventually("both scrapes up", 30, || {
        let up = query(port, "sum(up)").to_string();
        up.contains("\"2\"").then_some(())
    });
    // Rates need two scrapes.
    eventually("power by the hub's meters", 30, || {
        let power = query(port, "rate(bijli_meter_energy_joules_total[30s])");
        power.as_array().filter(|series| series.len() > 3).map(|_| ())
    });
    let expressions = expressions();
    assert!(expressions.len() >= 15);
    // Counters of the books move when an interval closes, so their rates take some seconds.
    let mut silent = Vec::new();
    let is_silent = |(_, expression): &&(String, String)| {
        query(port, expression).as_array().is_none_or(Vec::is_empty)
    };
    let answered = within(60, || {
        silent = expressions.iter().filter(is_silent).collect();
        silent.retain(|(panel, _)| !EMPTY_HERE.contains(&panel.as_str()));
        silent.is_empty().then_some(())
    });
    assert!(answered.is_some(), "these panels show nothing: {silent:#?}");

    eventually("the dead man's alert", 30, || {
        let alerts = get(port, "/api/v1/alerts").json();
        let alerts = alerts["data"]["alerts"].as_array()?.clone();
        let firing = |alert: &&Value| alert["state"] == "firing";
        let names: Vec<_> =
            alerts.iter().filter(firing).map(|a| &a["labels"]["alertname"]).collect();
        assert!(names.iter().all(|name| **name == "BijliDeadMan"), "a sound hub: {names:?}");
        (!names.is_empty()).then_some(())
    });
}
