//! Whose joules, by the real programs: accounts become projects, and what was answered once is
//! answered again, whatever is corrected after it.

use std::process::Command;

use harness::eventually;
use harness::gpus::{self, Course};
use harness::http::ask;
use harness::program::binary;
use harness::site::{Site, millijoules};
use serde_json::{Value, json};

const HUB: &str = "[[hub]]\nid = \"lahore\"\ntitle = \"Lahore\"\n";
const TITLE: &str = "=HYPERLINK(\"http://x\")<script>alert(1)</script>";

fn put(site: &Site, path: &str, body: &Value) -> Value {
    let answer = ask("PUT", site.port, path, body.to_string().as_bytes()).expect("an answer");
    assert!(answer.status < 300, "{} {}", answer.status, answer.text());
    answer.json()
}

/// What is held by an account from the beginning on.
fn hold(site: &Site, id: &str, account: &str, gpu: u64) {
    let body = json!({
        "id": id, "project": account, "devices": [gpus::uuid(gpu)], "who": "slurm", "why": id,
        "from": "2026-01-01T00:00:00+05:00",
    });
    put(site, &format!("/v1/allocations/{id}"), &body);
}

fn project(site: &Site, id: &str, accounts: &[&str]) -> Value {
    let body = json!({
        "title": TITLE, "accounts": accounts, "from": "2026-01-01T00:00:00Z", "who": "A. Khan",
        "why": "grant letter", "budget": "1 kWh", "to": "2036-01-01T00:00:00Z",
    });
    put(site, &format!("/v1/projects/{id}"), &body)
}

/// Before anything was drawn; a period has so many intervals at most.
fn hour_ago() -> String {
    let hour = i64::try_from(harness::utc_ms() / 3_600_000).expect("this age") - 1;
    bijli_collector::calendar::rfc3339(bijli_wire::UtcMillis::new(hour * 3_600_000))
}

fn command(site: &Site, words: &[&str]) -> String {
    let url = format!("http://127.0.0.1:{}", site.port);
    let from = hour_ago();
    let output = Command::new(binary("bijli-collector"))
        .arg("energy")
        .args(words)
        .args(["--from", &from])
        .args(["--url", &url])
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn energy(site: &Site, words: &[&str]) -> Value {
    serde_json::from_str(&command(site, &[words, &["--json"]].concat())).expect("JSON")
}

/// Of the row whose `key` is `name`.
fn it(answer: &Value, key: &str, name: &str) -> u128 {
    let rows = answer["rows"].as_array().expect("rows");
    rows.iter().find(|row| row[key] == name).map_or(0, |row| millijoules(&row["it_mj"]))
}

/// Until a scrape shows what a project used of its budget.
fn wait_for_used(site: &Site, project: &str, millijoules: u128) {
    let name = format!("bijli_project_budget_used_joules{{hub=\"lahore\",project=\"{project}\"}} ");
    let line = format!("{name}{}.{:03}", millijoules / 1_000, millijoules % 1_000);
    eventually(&line, 90, || {
        let scraped = ask("GET", site.port, "/metrics/fleet", b"")?;
        scraped.text().lines().any(|shown| shown == line).then_some(())
    });
}

/// Goal: O4, X11. Two jobs of two accounts draw a known energy; one project has both. A job was the
/// other's all along: it is corrected, and the answer that was given is given again, also after
/// the index was lost. Jobs have their GPU's energy to the millijoule.
#[test]
fn o4_a_corrected_allocation_leaves_the_old_answer_as_it_was() {
    let course = Course { still_s: 25, busy_s: 17 };
    let mut site = Site::start_tls(HUB);
    hold(&site, "J1", "fire", 0);
    hold(&site, "J2", "water", 1);
    let env = gpus::environment(&site, &fakenvml::library_path(), course);
    let agent = site.agent("lahore", "n01", "[rapl]\nenabled = false\n", &env);
    course.wait_for_first_readings(&site, "lahore", &env);
    let drawn = |gpu| gpus::energy_mj(course, gpu);
    eventually(&format!("all energy in the closed books\n{}", agent.printed()), 120, || {
        let both = energy(&site, &["--by", "job"]);
        (it(&both, "job", "J1") == drawn(0) && it(&both, "job", "J2") == drawn(1)).then_some(())
    });
    drop(agent);

    // Accounts stand under their own names; then one project has both.
    let names = energy(&site, &[]);
    assert_eq!(it(&names, "project", "fire"), drawn(0));
    let unregistered = names["as_of"]["name"].as_str().expect("a name").to_owned();
    assert_eq!(project(&site, "monsoon", &["fire"])["verdict"], "new");
    assert_eq!(project(&site, "monsoon", &["fire"])["verdict"], "unchanged");
    let refused = json!({
        "title": "x", "accounts": ["fire"], "from": "2026-01-01T00:00:00Z", "who": "x", "why": "x",
    });
    let refused = refused.to_string();
    let refused = ask("PUT", site.port, "/v1/projects/glacier", refused.as_bytes());
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("is project monsoon's"), "{}", refused.text());

    let before = energy(&site, &[]);
    assert_eq!(it(&before, "project", "monsoon"), drawn(0));
    wait_for_used(&site, "monsoon", drawn(0));
    let name = before["as_of"]["name"].as_str().expect("a name").to_owned();
    hold(&site, "J2", "fire", 1);
    eventually("the correction in the books", 90, || {
        let now = energy(&site, &[]);
        (it(&now, "project", "monsoon") == drawn(0) + drawn(1)).then_some(())
    });
    let rows = |as_of: &str| energy(&site, &["--as-of", as_of])["rows"].clone();
    assert_eq!(rows(&name), before["rows"], "as of {name}");
    assert_eq!(rows(&unregistered), names["rows"], "as of {unregistered}");
    wait_for_used(&site, "monsoon", drawn(0) + drawn(1));

    // X11: no cell is a formula, and the page has no foreign script.
    let csv = command(&site, &["--csv"]);
    assert!(csv.contains("\"'=HYPERLINK(\"\"http://x\"\")<script>"), "{csv}");
    let page = harness::http::get(site.port, "/projects?project=monsoon");
    assert!(page.text().contains("&lt;script&gt;alert(1)"), "{}", page.text());
    assert!(!page.text().contains("<script>alert"), "{}", page.text());

    // The index is lost, and everything is made again from journal and leaves.
    let _stopped = site.collector.stop(30);
    std::fs::remove_dir_all(site.path("collector/index")).expect("there");
    site.restart();
    let again = eventually("an index", 60, || {
        let path = format!("/v1/energy?from={}&as_of={name}", hour_ago());
        ask("GET", site.port, &path, b"").filter(|answer| answer.status == 200)
    });
    assert_eq!(again.json()["rows"], before["rows"]);
    wait_for_used(&site, "monsoon", drawn(0) + drawn(1));
    assert_eq!(
        it(&energy(&site, &["--project", "monsoon"]), "project", "monsoon"),
        drawn(0) + drawn(1)
    );
}
