//! The Grafana pages without a Grafana: made by their builder, understood by Grafana's own SDK,
//! and every query answered by a real Prometheus that holds a week of the simulated hub. Each check
//! is also shown a broken copy, which it must notice.

#[path = "dashboards/week.rs"]
mod week;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::eventually;
use harness::http::{ask, get};
use harness::program::{Program, free_port};
use serde_json::Value;

/// A pixel of a week, nearly.
const STEP_S: i64 = 1_800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

fn output(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [stdout, stderr].concat();
    (status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn run(command: &mut Command) -> String {
    let (is_good, text) = output(command);
    assert!(is_good, "{command:?}\n{text}");
    text
}

fn pages() -> Vec<(String, Value)> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(root().join("dashboards")).expect("the pages") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("readable");
            pages.push((name, serde_json::from_str(&text).expect("JSON")));
        }
    }
    pages.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert!(pages.len() >= 7, "only {} pages", pages.len());
    pages
}

/// What the builder reads, in a folder that may be broken.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let root = root();
    for part in ["dashboards", "docs"] {
        run(Command::new("cp").arg("-r").arg(root.join(part)).arg(folder.path()));
    }
    folder
}

fn build(root: &Path) -> (bool, String) {
    output(Command::new("python3").arg(root.join("dashboards/build.py")).arg("--check"))
}

fn replace(path: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(path).expect("readable");
    assert!(text.contains(old), "{} has no {old}", path.display());
    fs::write(path, text.replacen(old, new, 1)).expect("written");
}

#[test]
fn the_pages_are_what_their_builder_writes() {
    let (is_good, text) = build(&root());
    assert!(is_good, "{text}");
}

/// Goal: a metric or label that the code does not export, a page edited by hand and a page that
/// nobody builds are errors of the build.
#[test]
fn the_builder_refuses_what_does_not_exist_and_notices_what_differs() {
    let edited: [(&str, &str, &str, &str); 4] = [
        ("pages/node.py", "bijli_node_up)", "bijli_node_upp)", "bijli_node_upp is not in docs"),
        ("pages/node.py", "{sensor='core'}", "{sensr='core'}", "has no label sensr"),
        ("node.json", "\"Reports (live)\"", "\"Report (live)\"", "node.json is not what"),
        ("builder/panel.py", "\"spanNulls\": False", "\"spanNulls\": True", "hub-facility.json is"),
    ];
    for (file, old, new, said) in edited {
        let folder = copy();
        replace(&folder.path().join("dashboards").join(file), old, new);
        let (is_good, text) = build(folder.path());
        assert!(!is_good && text.contains(said), "{file}: {text}");
    }
    let folder = copy();
    fs::write(folder.path().join("dashboards/old.json"), "{}").expect("written");
    let (is_good, text) = build(folder.path());
    assert!(!is_good && text.contains("old.json"), "{text}");
}

fn round_trip(page: &Path) -> (bool, String) {
    let python = root().join(".venv/bin/python");
    output(Command::new(python).arg(root().join("dashboards/roundtrip.py")).arg(page))
}

/// Goal: Grafana's own model of a page reads every key of ours and writes it again; a misspelt or
/// misplaced one, at any depth, is noticed.
#[test]
fn grafanas_sdk_understands_every_key() {
    for (name, _) in pages() {
        let (is_good, text) = round_trip(&root().join(format!("dashboards/{name}.json")));
        assert!(is_good, "{text}");
    }
    for (old, new) in [
        ("\"reduceOptions\"", "\"reduceOption\""),
        ("\"fillOpacity\"", "\"fillOpacityy\""),
        ("\"expr\"", "\"exprr\""),
        ("\"thresholds\"", "\"thresholdz\""),
        ("\"gridPos\"", "\"gridpos\""),
        ("\"legendFormat\"", "\"legend\""),
    ] {
        let folder = copy();
        let page = folder.path().join("dashboards/hub-facility.json");
        replace(&page, old, new);
        let (is_good, text) = round_trip(&page);
        assert!(!is_good && !text.contains("Traceback"), "{new} was not noticed: {text}");
    }
}

/// A Prometheus that holds the week.
struct Store {
    port: u16,
    _server: Program,
    _folder: tempfile::TempDir,
}

impl Store {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (text, tsdb) = (folder.path().join("week.om"), folder.path().join("tsdb"));
        week::write(&text);
        let mut promtool = Command::new("promtool");
        promtool.args(["tsdb", "create-blocks-from", "--max-block-duration=192h", "openmetrics"]);
        run(promtool.arg(&text).arg(&tsdb));
        let config = folder.path().join("prometheus.yml");
        fs::write(&config, "global: {}\n").expect("written");
        let port = free_port();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", tsdb.display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command.arg("--storage.tsdb.retention.time=50y");
        // A value is good until the next scrape is overdue.
        command.arg(format!("--query.lookback-delta={}s", week::SCRAPE_S + 60));
        let server = Program::start(&mut command, &folder.path().join("prometheus.log"));
        eventually("a ready Prometheus", 120, || {
            ask("GET", port, "/-/ready", b"").filter(|answer| answer.status == 200)
        });
        Self { port, _server: server, _folder: folder }
    }

    /// The series that a query gives over the week, or what Prometheus says against it.
    fn ask(&self, target: &Value) -> Result<Vec<Value>, String> {
        let expression = encoded(&resolved(target["expr"].as_str().expect("an expression")));
        let end = week::END_S;
        let path = if target["instant"] == true {
            format!("/api/v1/query?query={expression}&time={end}")
        } else {
            let (begin, step) = (week::BEGIN_S, STEP_S);
            format!("/api/v1/query_range?query={expression}&start={begin}&end={end}&step={step}")
        };
        let answer = get(self.port, &path);
        if answer.status != 200 {
            return Err(answer.text().to_owned());
        }
        Ok(answer.json()["data"]["result"].as_array().expect("a result").clone())
    }

    /// What is wrong with a target; `None`: it shows something, and its legend names what is there.
    fn fault(&self, target: &Value) -> Option<String> {
        let series = match self.ask(target) {
            Ok(series) if series.is_empty() => return Some("shows nothing".to_owned()),
            Ok(series) => series,
            Err(said) => return Some(said),
        };
        let legend = target["legendFormat"].as_str().expect("a legend");
        let named = legend.split("{{").skip(1).filter_map(|part| part.split("}}").next());
        let has = |label: &str| series.iter().any(|one| one["metric"][label].is_string());
        let missing: Vec<&str> = named.filter(|label| !has(label)).collect();
        (!missing.is_empty()).then(|| format!("no series has the label {missing:?} of its legend"))
    }
}

/// A query of a page with its variables filled in.
fn resolved(expression: &str) -> String {
    let range = format!("{}s", week::END_S - week::BEGIN_S);
    let rate = format!("{}s", 4 * week::SCRAPE_S);
    expression
        .replace("$hub", week::HUB)
        .replace("$node", "sim-n01")
        .replace("$project", "urdu-llm")
        .replace("$__rate_interval", &rate)
        .replace("$__range", &range)
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

fn targets(page: &Value) -> Vec<(&str, &Value)> {
    let panels = page["panels"].as_array().expect("panels").iter();
    let named = panels.map(|panel| (panel["title"].as_str().expect("a title"), panel));
    named
        .flat_map(|(title, panel)| {
            panel["targets"].as_array().into_iter().flatten().map(move |target| (title, target))
        })
        .collect()
}

fn target<'a>(pages: &'a [(String, Value)], page: &str, panel: &str) -> &'a Value {
    let (_, page) = pages.iter().find(|(name, _)| name == page).expect("the page");
    let found = targets(page).into_iter().find(|(title, _)| *title == panel);
    found.unwrap_or_else(|| panic!("no panel {panel}")).1
}

/// The values of a series, and at which times.
fn points(series: &Value) -> Vec<(i64, f64)> {
    let rows = series["values"].as_array().expect("a range");
    let number = |value: &Value| value.as_str().expect("text").parse().expect("a number");
    rows.iter().map(|row| (row[0].as_i64().expect("a time"), number(&row[1]))).collect()
}

/// Goal: over a week with faults no query of any page fails, none is empty, every legend names what
/// is there, every variable has values, the faults are seen, and what was not read is a gap.
#[test]
fn every_query_answers_over_a_week_and_the_faults_are_seen() {
    let store = Store::start();
    let pages = pages();
    let mut faults = Vec::new();
    let mut asked = 0;
    for (name, page) in &pages {
        for (panel, target) in targets(page) {
            asked += 1;
            let fault = store.fault(target);
            faults.extend(fault.map(|fault| format!("{name}: {panel}: {fault}\n    {target}")));
        }
        faults.extend(variables(&store, page).map(|fault| format!("{name}: {fault}")));
    }
    assert!(asked > 100, "only {asked} queries");
    assert!(faults.is_empty(), "{} of {asked}\n{}", faults.len(), faults.join("\n"));

    the_week_is_seen(&store, &pages);
    a_broken_query_is_noticed(&store, &pages);
}

fn variables<'a>(store: &'a Store, page: &'a Value) -> impl Iterator<Item = String> + 'a {
    let list = page["templating"]["list"].as_array().expect("variables").iter();
    list.filter(|variable| variable["type"] == "query").filter_map(|variable| {
        let query = variable["query"]["query"].as_str().expect("a query");
        let inner = query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')'));
        let (series, label) = inner.and_then(|inner| inner.rsplit_once(", ")).expect("its form");
        let series = encoded(&resolved(series));
        let (begin, end) = (week::BEGIN_S, week::END_S);
        let path =
            format!("/api/v1/label/{label}/values?match%5B%5D={series}&start={begin}&end={end}");
        let values = get(store.port, &path).json()["data"].as_array().map_or(0, Vec::len);
        (values == 0).then(|| format!("variable {label} has no values: {query}"))
    })
}

fn the_week_is_seen(store: &Store, pages: &[(String, Value)]) {
    let asked = |page, panel| store.ask(target(pages, page, panel)).expect("an answer");
    let during = |at: i64, span: week::Span| {
        let offset = at - week::BEGIN_S;
        (span.0 + 1_800..span.1).contains(&offset)
    };
    let supply = asked("hub-facility", "Supply by source (closed)");
    let of = |source: &str| {
        let series = supply.iter().find(|one| one["metric"]["source"] == source).expect("a source");
        points(series).into_iter().map(|(_, watts)| watts).fold(f64::NAN, f64::max)
    };
    assert!(of("generator") > 1_000.0 && of("grid") > 1_000.0, "the generator carried the hub");

    let loops = asked("hub-cooling", "Supply temperature (live)");
    let hot = points(&loops[0]).into_iter().filter(|(_, celsius)| *celsius > 35.0);
    let hot: Vec<i64> = hot.map(|(at, _)| at).collect();
    assert!(hot.len() >= 3 && hot.iter().all(|at| at - week::BEGIN_S < 3 * week::DAY_S), "{hot:?}");

    // What nobody read has no points: nothing is held over it, and no page draws there.
    let meters = asked("hub-facility", "Power at the supplies (live)");
    assert!(meters.len() >= 2, "{meters:?}");
    for meter in &meters {
        let silent =
            points(meter).iter().filter(|(at, _)| during(*at, week::GATEWAY_SILENT)).count();
        assert_eq!(silent, 0, "{}", meter["metric"]);
        assert!(points(meter).len() > 300, "{}", meter["metric"]);
    }
    let silent = asked("hub-fleet", "Nodes not reporting (live)");
    assert_eq!(silent.len(), 1, "{silent:?}");
    let xids = asked("hub-fleet", "Last XID at each place (live)");
    let xids: BTreeSet<&str> =
        xids.iter().filter_map(|one| one["metric"]["xid"].as_str()).collect();
    assert_eq!(xids, BTreeSet::from(["13", "79"]));
}

fn a_broken_query_is_noticed(store: &Store, pages: &[(String, Value)]) {
    let good = target(pages, "hub-facility", "Interim PUE over time (closed)");
    assert_eq!(store.fault(good), None);
    for (key, old, new) in [
        ("expr", "bijli_pue_ratio", "bijli_pue_rate"),
        ("expr", "{hub=", "{hubb="),
        ("expr", "max by (window, category)", "max by (window category"),
        ("expr", "max by (window, category)", "max by (window)"),
        ("legendFormat", "{{window}}", "{{windw}}"),
        ("expr", "$hub", "$hubs"),
    ] {
        let mut broken = good.clone();
        let text = broken[key].as_str().expect("text").replacen(old, new, 1);
        assert_ne!(broken[key], text.as_str(), "{old} is not there");
        broken[key] = text.into();
        assert!(store.fault(&broken).is_some(), "{new} was not noticed");
    }
}
