//! The report of a month: a simulated July through the real collector, held against the
//! simulation's own truth; its files against each other; and what a browser and a database make of
//! them.

#[path = "report/browser.rs"]
mod browser;
#[path = "report/month.rs"]
mod month;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use bijli_collector::diagram::Plan;
use harness::program::{binary, free_port};
use harness::site::millijoules;
use harness::{eventually, http};
use serde_json::Value;

use month::{HOSTILE, HOURS, Watts, counts, energy, project, truth};

/// What is declared of the hub, less its id. A make that a page or a spreadsheet could trip over.
const DIAGRAM: &str = r#"
pue_category = 1
pue_standard = "ISO/IEC 30134-2:2026"
utc_offset = "+05:00"
point = [
  { id = "incomer", role = "grid", meter = "m-grid" },
  { id = "genset", role = "generator", meter = "m-genset" },
  { id = "ups-in", role = "ups_in", meter = "m-ups-in" },
  { id = "ups-out", role = "ups_out", meter = "m-ups-out", fed_by = "ups-in" },
  { id = "pdu", role = "pdu", meter = "m-pdu", fed_by = "ups-out" },
  { id = "chiller", role = "cooling", meter = "m-chiller" },
  { id = "lights", role = "lighting", meter = "m-lights" },
]
node = [{ id = "n01", fed_by = "pdu" }, { id = "n02", fed_by = "pdu" }]
meter = [
  { id = "m-grid", make = "=cmd|' /C calc'!A0<script>", model = "E650", serial = "50123456", class = "0.5S", standard = "IEC 62053-22:2020", ct_ratio = "800/5", ct_class = "0.5S", calibrated = "2024-11-30", calibration_due = "2026-07-15", certificate = "C-17", laboratory = "NPSL" },
  { id = "m-genset", make = "ABB", class = "1", standard = "IEC 62053-21:2020" },
  { id = "m-ups-out", make = "Janitza", model = "UMG 604", class = "0.5S", standard = "IEC 62053-22:2020" },
]
"#;

/// A collector's folder after the month, and the report that was made then.
struct Site {
    folder: tempfile::TempDir,
    report: Value,
    leaves: u64,
}

fn site() -> &'static Site {
    static SITE: OnceLock<Site> = OnceLock::new();
    SITE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let plan = Plan::from_toml(DIAGRAM).expect("a diagram").to_toml();
        std::fs::create_dir(folder.path().join("collector")).expect("made");
        month::journal(&folder.path().join("collector/journal"), &plan);
        let leaves = serve(folder.path(), 1, 0);
        let made = report(folder.path(), "first", &[]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let report = json(&folder.path().join("first/report.json"));
        Site { folder, report, leaves }
    })
}

impl Site {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path("first").join(name)).expect("a file of the report")
    }

    fn rows(&self, table: &str) -> &Vec<Value> {
        self.report["tables"][table].as_array().expect("a table")
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

/// Runs the real collector so many hours after the month until its leaves are durable, and more
/// than those that are known; tells how many there are.
fn serve(folder: &Path, hours: i64, known: u64) -> u64 {
    let port = free_port();
    let hub = DIAGRAM.replace("point = [", "title = \"Lahore <hub>\"\npoint = [");
    let mut collector = month::serve(folder, (port, ""), &hub, hours);
    let metric = |name: &str| {
        let answer = http::ask("GET", port, "/metrics", b"")?;
        let text = answer.text().to_owned();
        let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
        line.rsplit(' ').next()?.parse::<u64>().ok()
    };
    if hours > 24 {
        // The books hear of the time from what comes in.
        let body = serde_json::json!({
            "project": "p", "who": "test", "why": "time", "devices": ["G9"],
            "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:01Z",
        });
        let told = http::ask("PUT", port, "/v1/allocations/time", body.to_string().as_bytes());
        assert!(told.expect("an answer").status < 300);
    }
    let mut last = 0;
    let leaves = eventually("leaves that are all durable", 300, || {
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        let leaves = metric("bijli_collector_ledger_leaves ")?;
        let is_still = leaves == last && leaves > known;
        last = leaves;
        is_still.then_some(leaves)
    });
    assert!(collector.stop(60).success(), "{}", collector.printed());
    leaves
}

fn report(folder: &Path, out: &str, more: &[&str]) -> Output {
    Command::new(binary("bijli-collector"))
        .args(["report", "--hub", "lhe", "--month", "2026-07", "--config"])
        .arg(folder.join("collector.toml"))
        .arg("--out")
        .arg(folder.join(out))
        .args(more)
        .output()
        .expect("it runs")
}

/// The truth of some hours, by use and source.
fn truths(hours: impl Iterator<Item = i64>) -> BTreeMap<&'static str, u128> {
    let mut sums = BTreeMap::new();
    for (what, amount) in hours.flat_map(truth) {
        *sums.entry(what).or_default() += amount;
    }
    sums
}

fn amount(row: &Value, key: &str) -> u128 {
    millijoules(&row[key])
}

/// Goal: every total of the month, of each day and of each project is the simulation's own, to the
/// millijoule; and both terms of PUE.
#[test]
fn the_figures_are_the_simulations_own_truth() {
    let site = site();
    let whole = truths(0..HOURS);
    for (table, key) in [("sources", "source"), ("uses", "use")] {
        for row in site.rows(table) {
            let what = row[key].as_str().expect("a word");
            let expected = whole.get(what).copied().unwrap_or(0);
            assert_eq!(amount(row, "energy_mj"), expected, "{what}");
        }
    }
    let days = site.rows("days");
    assert_eq!(days.len(), 31);
    for (day, row) in (0..).zip(days) {
        for (what, expected) in truths(day * 24..(day + 1) * 24) {
            assert_eq!(amount(row, &format!("{what}_mj")), expected, "day {day}, {what}");
        }
    }
    let projects = site.rows("projects");
    assert_eq!(projects.len(), 3, "{projects:?}");
    for row in projects {
        let name = row["project"].as_str().expect("a name");
        let found = ["active_mj", "held_idle_mj", "host_mj"].map(|key| amount(row, key));
        assert_eq!(found, project(name), "{name}");
        assert_eq!(amount(row, "it_mj"), found.iter().sum::<u128>());
    }
    let counted = |of: &dyn Fn(&Watts) -> u64| -> u128 {
        let hours = (0..HOURS).filter(|hour| counts(*hour));
        hours.map(|hour| energy(of(&Watts::at(hour)))).sum()
    };
    let pue = &site.report["pue"];
    assert_eq!(amount(pue, "total_mj"), counted(&Watts::supplied));
    assert_eq!(amount(pue, "it_mj"), counted(&|watts| watts.of("m-ups-out")));
    let shown = pue["shown"].as_str().expect("a figure");
    assert!(shown.starts_with("iPUE1 (2026-07-01/2026-07-31 +05:00) = "), "{shown}");
    assert!(shown.ends_with(", coverage 741 of 744 intervals"), "{shown}");
}

/// Goal: the books of the month balance to the millijoule in the report, what is missing is told
/// with its reason, and what became known late is a restatement with old, new and its leaves.
#[test]
fn what_is_missing_and_what_came_late_is_told() {
    let site = site();
    let statement = &site.report["statement"];
    assert_eq!(statement["supplied_mj"], statement["used_mj"]);
    assert_eq!(
        (&statement["status"], &statement["checks_failed"]),
        (&"provisional".into(), &0.into())
    );
    for check in site.rows("checks") {
        assert_eq!(check["passed"], true, "{check}");
    }
    let trial = site.rows("trial_balance");
    let total = trial.last().expect("the total");
    assert_eq!((&total["account"], &total["difference_mj"]), (&"total".into(), &"0".into()));
    for row in trial.iter().filter(|row| row["side"] == "passage") {
        assert_eq!(row["difference_mj"], "0", "{row}");
    }
    let gaps = site.rows("gaps");
    let reason = |words: &str, intervals: u64| {
        let found = gaps
            .iter()
            .find(|gap| gap["reason"].as_str().is_some_and(|reason| reason.contains(words)));
        let found = found.unwrap_or_else(|| panic!("{words}: {gaps:?}"));
        assert_eq!(
            (&found["intervals"], &found["state"]),
            (&intervals.into(), &"incomplete".into())
        );
    };
    reason("meter m-lights at lights", 4);
    reason("meter m-ups-out at ups-out", 3);
    assert_eq!(statement["intervals"]["incomplete"], 7);
    assert_eq!(site.rows("withheld")[0]["intervals"], 3);

    let of = |word: &str| {
        let rows = site.rows("restatements").iter().filter(|row| row["changed"] == word);
        rows.collect::<Vec<_>>()
    };
    let late = of("attribution");
    assert_eq!(late.len(), 72, "three days, told a week late");
    assert_eq!(of("energy").len(), 2, "the chiller's meter went on counting");
    for row in &late {
        let [old, first, last] =
            ["old_leaf", "first_leaf", "leaf"].map(|key| row[key].as_u64().expect("an index"));
        assert!(old < first && first < last && last < site.leaves, "{row}");
        assert_eq!(row["supplied_before_mj"], row["supplied_after_mj"]);
    }
    let moved: u128 = late.iter().map(|row| amount(row, "moved_mj")).sum();
    assert_eq!(moved, project("late").iter().sum::<u128>());
    let restated = site.rows("restated_accounts").iter();
    let restated: Vec<&Value> = restated
        .filter(|row| row["account"].as_str().is_some_and(|name| name.starts_with("project:late")))
        .collect();
    assert_eq!(restated.len(), 3, "at work, held idle, hosts");
    for row in restated {
        assert_eq!((&row["first_mj"], &row["now_mj"]), (&"0".into(), &row["difference_mj"]));
    }
    let meters = site.rows("meters");
    assert_eq!((&meters[0]["is_overdue"], &meters[1]["is_overdue"]), (&true.into(), &Value::Null));
}

/// Cells of a line of RFC 4180.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => cell.extend(letters.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
            letter => cell.push(letter),
        }
    }
    cells.push(cell);
    cells
}

/// What a cell of the JSON is in CSV.
fn in_csv(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Numbers that stand as `data` in the page's table, by key, row by row.
fn on_page(page: &str, table: &str) -> Vec<BTreeMap<String, String>> {
    let begin = format!("<table data-table=\"{table}\"");
    let body = page.split(&begin).nth(1).and_then(|rest| rest.split("</table>").next());
    let Some(body) = body else { return Vec::new() };
    let rows = body.split("<tbody>").nth(1).expect("a body").split("<tr>").skip(1);
    let row = |row: &str| {
        let cells = row.split("data-key=\"").skip(1).filter_map(|cell| {
            let (key, rest) = cell.split_once('"')?;
            let value = rest.split("</td>").next()?.split("<data value=\"").nth(1)?;
            Some((key.to_owned(), value.split('"').next()?.to_owned()))
        });
        cells.collect()
    };
    rows.map(row).collect()
}

/// Goal: JSON, CSV and page say the same numbers, every one of them; and no text of a stranger is a
/// formula or a script (X11).
#[test]
fn json_csv_and_page_say_the_same_and_no_text_is_a_formula() {
    let site = site();
    let page = site.text("report.html");
    let tables = site.report["tables"].as_object().expect("tables");
    assert_eq!(tables.len(), 15);
    let mut compared = 0;
    for (name, rows) in tables {
        let rows = rows.as_array().expect("rows");
        let csv = site.text(&format!("{name}.csv"));
        let mut lines = csv.lines();
        let keys = cells(lines.next().expect("a line of names"));
        let written: Vec<Vec<String>> = lines.map(cells).collect();
        assert_eq!(written.len(), rows.len(), "{name}");
        for (cells, row) in written.iter().zip(rows) {
            assert_eq!(cells.len(), keys.len(), "{name}: {cells:?}");
            for (cell, key) in cells.iter().zip(&keys) {
                let expected = in_csv(&row[key]);
                let tamed = format!("'{expected}");
                assert!(*cell == expected || *cell == tamed, "{name} {key}: {cell} {expected}");
            }
        }
        let shown = on_page(&page, name);
        for (cells, row) in shown.iter().zip(rows) {
            for (key, value) in cells {
                assert_eq!(*value, in_csv(&row[key]), "{name} {key}");
                compared += 1;
            }
        }
    }
    assert!(compared > 600, "{compared} numbers of the page were compared");
    for energy in ["supplied_mj", "it_mj", "cooling_mj", "losses_mj", "rest_mj"] {
        let value = format!("<data value=\"{}\"", in_csv(&site.report["statement"][energy]));
        assert_eq!(page.matches(&value).count().min(2), 2, "{energy}: in English and in Urdu");
    }
    let projects = site.text("projects.csv");
    assert!(projects.contains(&format!("\n'{HOSTILE},")), "{projects}");
    let meters = site.text("meters.csv");
    assert!(meters.contains(",'=cmd|' /C calc'!A0<script>,"), "{meters}");
    assert!(!page.contains("<script") && page.contains("A0&lt;script&gt;"));
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing from elsewhere");
}

fn sums_of(folder: &Path) -> String {
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(folder)
        .output()
        .expect("sha256sum");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    std::fs::read_to_string(folder.join("SHA256SUMS")).expect("the sums")
}

/// Goal: the same leaves give the same bytes, forty days and many leaves later; then the month is
/// settled. What cannot be made says why, and is not half made.
#[test]
fn the_same_leaves_give_the_same_bytes_for_ever() {
    let site = site();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = Command::new("cp").arg("-r").arg(site.path(".")).arg(folder.path()).status();
    assert!(copy.expect("cp").success());
    let here = folder.path();
    let first = sums_of(&here.join("first"));
    assert_eq!(first.lines().count(), 15 + 3, "{first}");
    let again = report(here, "again", &[]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(sums_of(&here.join("again")), first);

    let leaves = serve(here, 40 * 24, site.leaves);
    assert!(leaves > site.leaves + 100, "{leaves} after {}", site.leaves);
    assert!(report(here, "later", &["--leaves", &site.leaves.to_string()]).status.success());
    assert_eq!(sums_of(&here.join("later")), first);
    assert!(report(here, "settled", &[]).status.success());
    let settled = json(&here.join("settled/report.json"));
    assert_eq!(settled["statement"]["status"], "settled");
    assert_eq!(settled["tables"]["uses"], site.report["tables"]["uses"]);

    for (out, more, words) in [
        ("again", &[][..], "holds files already"),
        ("a", &["--leaves", "99999999"], "leaves, not 99999999"),
        ("b", &["--ledger", "/nowhere"], "no ledger log in /nowhere"),
        ("c", &["--leaves", "0"], "closes an interval of hub lhe in 2026-07"),
    ] {
        let refused = report(here, out, more);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && text.contains(words), "{words}: {text}");
        assert!(out == "again" || !here.join(out).join("SHA256SUMS").exists());
    }
}

/// Goal: a database reads the entries, and from them alone comes to the report's own totals.
#[test]
fn a_database_reads_the_entries_and_comes_to_the_same_sums() {
    let site = site();
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python");
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/entries.py");
    let asked = Command::new(python)
        .arg(peer)
        .arg(site.path("first/entries.parquet"))
        .output()
        .expect("the peer of the tests: tests/install.sh");
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let found: Value = serde_json::from_slice(&asked.stdout).expect("JSON");
    let accounts = site.rows("accounts");
    assert!(accounts.len() > 15, "{accounts:?}");
    for row in accounts {
        let name = row["account"].as_str().expect("a name");
        assert_eq!(found["net_mj"][name], row["energy_mj"], "{name}");
    }
    let total = site.rows("trial_balance").last().expect("the total");
    assert_eq!(found["sum_mj"], total["debits_mj"]);
    let first = found["first"].as_str().expect("a time");
    assert_eq!(Some(first), site.report["statement"]["from"].as_str());
    let records: u64 = found["entries"].as_u64().expect("a count");
    assert!(records > 10_000, "{records}");
}
