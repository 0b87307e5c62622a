//! The same month in Debian's Prometheus and VictoriaMetrics, and the same question there:
//! `increase` over the month, summed by project. Each is loaded by its own bulk way.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use harness::http::get;
use harness::program::{Program, free_port};
use harness::{stores, within};

use super::fleet::{DAYS, END, NODES_OF_A_PART, project, truth};
use super::{ASKED, samples, size, tenths, timed};

/// Somebody else's store.
pub(crate) struct Peer {
    pub(crate) key: &'static str,
    name: &'static str,
    /// Loads and starts it; tells series and samples.
    load: fn(&Path, u16) -> (Program, u64, u64),
}

pub(crate) const PEERS: [Peer; 2] = [
    Peer { key: "prometheus", name: "Prometheus", load: prometheus },
    Peer { key: "victoria", name: "VictoriaMetrics", load: victoria },
];

fn prometheus(folder: &Path, port: u16) -> (Program, u64, u64) {
    let (files, series, samples) = samples::openmetrics(folder);
    for file in files {
        let mut promtool = Command::new("promtool");
        promtool.args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"]);
        promtool.arg(&file).arg(folder.join("prometheus"));
        let done = promtool.output().expect("promtool runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::remove_file(file).expect("removed");
    }
    let command = stores::prometheus(folder, port, "0s");
    let program = stores::start(command, &folder.join("log"), port, "/-/ready");
    // Until blocks of two hours are compacted to larger ones, as they are in a store that has
    // taken a month.
    let compacted = within(300, || {
        let metrics = get(port, "/metrics");
        let line = metrics.text().lines().find(|l| l.starts_with("prometheus_tsdb_blocks_loaded "));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<u64>().ok())
            .filter(|count| *count < 30)
    });
    println!("| blocks when it is asked | Prometheus | {compacted:?} |");
    (program, series, samples)
}

fn victoria(folder: &Path, port: u16) -> (Program, u64, u64) {
    let command = stores::victoria(folder, port);
    let program = stores::start(command, &folder.join("log"), port, "/health");
    let (series, samples) = samples::json_lines(|body| {
        let answer = harness::http::ask("POST", port, "/api/v1/import", body.as_bytes());
        assert!(answer.is_some_and(|answer| answer.status == 204), "it takes them");
    });
    let flushed = get(port, "/internal/force_flush");
    assert_eq!(flushed.status, 200);
    (program, series, samples)
}

pub(crate) fn measure(peer: &Peer) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (port, begun) = (free_port(), Instant::now());
    let (program, series, samples) = (peer.load)(folder.path(), port);
    println!("| series, samples | {} | {series}, {samples} |", peer.name);
    println!("| loaded in | {} | {} s |", peer.name, tenths(begun.elapsed()));
    println!("| size on disk | {} | {} MB |", peer.name, size(folder.path()) / 1_000_000);
    let truth = truth(NODES_OF_A_PART);
    for number in ASKED {
        let (name, used) = (project(number), truth[usize::try_from(number).expect("few")]);
        let query = question(&format!("=\"{name}\""));
        let found =
            timed(peer.name, &format!("one project's bill ({name})"), || query_of(port, &query));
        println!("| off the truth | {} | {} |", peer.name, off(found.get(&name), used));
    }
    let query = question("!=\"\"");
    let found = timed(peer.name, "the whole fund's bill", || query_of(port, &query));
    let mut offs: Vec<f64> = Vec::new();
    for (number, used) in (0..).zip(&truth).filter(|(_, used)| **used > 0) {
        let got = found.get(&project(number)).copied().unwrap_or(0.0);
        offs.push((got / whole(*used) - 1.0) * 100.0);
    }
    offs.sort_by(f64::total_cmp);
    let (low, high) = (offs[0], offs[offs.len() - 1]);
    let all: f64 = found.values().sum();
    let sum: u64 = truth.iter().sum();
    println!("| off the truth, projects | {} | {low:+.2} % to {high:+.2} % |", peer.name);
    println!("| off the truth, all | {} | {} |", peer.name, off(Some(&all), sum));
    drop(program);
}

fn question(project: &str) -> String {
    let series = format!("gpu_energy_millijoules_total{{project{project}}}");
    format!("sum by (project) (increase({series}[{DAYS}d]))")
}

type Found = std::collections::BTreeMap<String, f64>;

fn query_of(port: u16, query: &str) -> Found {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let at = END / 1_000;
    let answer = get(port, &format!("/api/v1/query?query={encoded}&time={at}&nocache=1")).json();
    let rows = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let row = |row: &serde_json::Value| {
        let project = row["metric"]["project"].as_str()?.to_owned();
        Some((project, row["value"][1].as_str()?.parse().ok()?))
    };
    rows.iter().filter_map(row).collect()
}

fn off(found: Option<&f64>, truth: u64) -> String {
    let found = found.copied().unwrap_or(0.0);
    format!("{:+.3} %", (found / whole(truth) - 1.0) * 100.0)
}

/// Below 2^53, so exact.
fn whole(number: u64) -> f64 {
    number.to_string().parse().expect("a number")
}
