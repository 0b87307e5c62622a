//! Beyond one machine: one national store that every hub writes to, and a national Prometheus that
//! asks the hubs' own. The configurations are those that `docs/scaling.md` ships.

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::eventually;
use harness::http::get;
use harness::program::{Program, free_port};
use harness::site::Site;
use harness::stores::{start, victoria};
use harness::trace::{meter_of, minutes};
use serde_json::Value;

const HUBS: [&str; 2] = ["isb", "khi"];

/// A hub with one meter, whose readings are at hand.
fn hub(hub: &str, section: &str, rows: &[(i64, i64)]) -> (Site, Program) {
    let point = "[[hub.point]]\nid = \"incomer\"\nrole = \"grid\"\nmeter = \"incomer\"\n";
    let site = Site::start_with("15m", &format!("{section}[[hub]]\nid = \"{hub}\"\n{point}"));
    let agent = meter_of(hub, "incomer", rows, &site);
    (site, agent)
}

/// The samples of each series of a metric in a VictoriaMetrics, in thousandths, by hub.
fn exported(port: u16, metric: &str) -> Vec<(String, Vec<(i64, i64)>)> {
    let answer = get(port, &format!("/api/v1/export?match[]={metric}"));
    let line = |line: &str| {
        let series: Value = serde_json::from_str(line).expect("a line of JSON");
        let list = |name: &str| series[name].as_array().expect("a list").clone();
        let at = list("timestamps").into_iter().map(|at| at.as_i64().expect("ms"));
        let value = |value: Value| thousandths(&value.to_string());
        let rows = at.zip(list("values").into_iter().map(value)).collect();
        (series["metric"]["hub"].as_str().expect("a hub").to_owned(), rows)
    };
    let mut all: Vec<_> = answer.text().lines().map(line).collect();
    all.sort();
    all
}

fn thousandths(text: &str) -> i64 {
    let (whole, more) = text.split_once('.').unwrap_or((text, ""));
    assert!(more.len() <= 3, "{text} has more than thousandths");
    format!("{whole}{more:0<3}").parse().expect("a number")
}

/// Goal: the hubs of a nation in one VictoriaMetrics, started as `docs/scaling.md` says: each
/// reading of each hub once, under its hub, also when a hub tells everything a second time.
#[test]
fn a_national_store_has_every_reading_of_every_hub_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut command = victoria(folder.path(), port);
    command.arg("-dedup.minScrapeInterval=1ms");
    let _store = start(command, &folder.path().join("log"), port, "/health");
    let section = format!("[remote_write]\nurl = \"http://127.0.0.1:{port}/api/v1/write\"\n");
    let rows = HUBS.map(|hub| {
        let mut rows = minutes(240);
        // Two hubs do not draw the same.
        rows.iter_mut().for_each(|(_, milliwatts)| *milliwatts += i64::from(hub.as_bytes()[0]));
        rows
    });
    let mut sites: Vec<_> =
        HUBS.iter().zip(&rows).map(|(name, rows)| hub(name, &section, rows)).collect();
    let wanted: Vec<_> =
        HUBS.iter().zip(&rows).map(|(hub, rows)| ((*hub).to_owned(), rows.clone())).collect();
    let has_all = || (exported(port, "bijli_meter_power_watts") == wanted).then_some(());
    eventually(&format!("every reading\n{}", sites[0].0.collector.printed()), 120, has_all);

    // As an operator does who has lost a store, or is not sure.
    let (site, _agent) = &mut sites[0];
    site.collector.stop(30);
    fs::remove_dir_all(site.path("collector/remote-write")).expect("a cursor");
    site.restart();
    eventually("everything told again", 120, || {
        let told = site.number("bijli_collector_feed_values_total{store=\"remote_write\"}");
        (told >= 2 * 240).then_some(())
    });
    let again = exported(port, "bijli_meter_power_watts");
    assert!(again == wanted, "told twice is there once");
}

/// A hub's Prometheus, by the shipped example.
fn of_hub(site: &Site) -> (u16, Program) {
    let port = free_port();
    let text = shipped("prometheus.example.yml")
        .replace("collector.isb.example:8640", &format!("127.0.0.1:{}", site.port))
        .replace("scrape_interval: 15s", "scrape_interval: 1s")
        .replace("scrape_timeout: 10s", "scrape_timeout: 1s")
        .replace("evaluation_interval: 30s", "evaluation_interval: 1s");
    let rules = root().join("alerts/rules");
    std::os::unix::fs::symlink(rules, site.path("rules")).expect("linked");
    (port, prometheus(&site.path("hub"), &text, &site.path("rules"), port))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root")
}

fn shipped(name: &str) -> String {
    fs::read_to_string(root().join("dashboards").join(name)).expect("it is shipped")
}

fn prometheus(folder: &Path, text: &str, rules: &Path, port: u16) -> Program {
    fs::create_dir_all(folder).expect("a folder");
    let config = folder.join("prometheus.yml");
    fs::write(&config, text.replace("rules/*.yml", &format!("{}/*.yml", rules.display())))
        .expect("written");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    start(command, &folder.join("log"), port, "/-/ready")
}

/// What a Prometheus has of a metric now: hub and value.
fn values(port: u16, expression: &str) -> Vec<(String, String)> {
    let answer = get(port, &format!("/api/v1/query?query={expression}")).json();
    let series = answer["data"]["result"].as_array().expect("a vector").clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<_> =
        series.iter().map(|one| (text(&one["metric"]["hub"]), text(&one["value"][1]))).collect();
    all.sort();
    all
}

/// Goal: the programme's Prometheus has what the hubs' have of hubs, each under its hub and with
/// its value, and nothing of a single meter, node or GPU.
#[test]
fn a_national_prometheus_has_every_hub_and_no_node() {
    let rows = minutes(90);
    let sites = HUBS.map(|name| hub(name, "", &rows));
    let hubs = [0, 1].map(|index: usize| of_hub(&sites[index].0));
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = shipped("national.example.yml")
        .replace("scrape_interval: 60s", "scrape_interval: 1s")
        .replace("scrape_timeout: 30s", "scrape_timeout: 1s");
    for (target, (port, _)) in
        ["prometheus.isb.example:9090", "prometheus.khi.example:9090"].iter().zip(&hubs)
    {
        assert!(text.contains(target), "{target} is shipped");
        text = text.replace(target, &format!("127.0.0.1:{port}"));
    }
    let port = free_port();
    let _national = prometheus(folder.path(), &text, Path::new("none"), port);
    let facility = "bijli_facility_total_energy_joules_total";
    let has_both = || {
        let national = values(port, facility);
        let own: Vec<_> = hubs.iter().flat_map(|(port, _)| values(*port, facility)).collect();
        (own.len() == 2 && national == own && own.iter().all(|(_, joules)| joules != "0"))
            .then_some(())
    };
    eventually("what each hub's boundary counted", 120, has_both);
    let ups = values(port, "up%7Bjob%3D%22bijli-fleet%22%7D");
    assert_eq!(ups.len(), 2, "each hub's own scrapes: {ups:?}");
    for (hub, _) in &hubs {
        assert!(!values(*hub, "bijli_meter_power_watts").is_empty(), "the hub has its meter");
    }
    for metric in ["bijli_meter_power_watts", "bijli_gpu_power_watts", "bijli_node_up"] {
        assert!(values(port, metric).is_empty(), "{metric} stays in the hub");
    }
}
