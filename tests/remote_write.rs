//! Remote write into real stores: Prometheus and VictoriaMetrics. What is read back equals what was
//! measured, reading by reading, at the time it was measured.

use std::process::Command;

use harness::eventually;
use harness::http::get;
use harness::pki::Pki;
use harness::program::{Program, free_port};
use harness::site::Site;
use harness::stores::{prometheus, start, victoria};
use harness::trace::{DAY_MS, MINUTE_MS, meter, minutes};
use rustix::process::Signal;
use serde_json::Value;

const HUB: &str = "[[hub]]\nid = \"isb\"\n";
const MINUTES: i64 = 3 * DAY_MS / MINUTE_MS;
const LAG: &str = "bijli_collector_feed_lag_seconds{store=\"remote_write\"}";
const REFUSED: &str = "bijli_collector_feed_refused_lines_total{store=\"remote_write\"}";

fn section(port: u16) -> String {
    format!("[remote_write]\nurl = \"http://127.0.0.1:{port}/api/v1/write\"\ntimeout = \"5s\"\n")
}

/// Watts as text, as milliwatts.
fn milliwatts(text: &str) -> i64 {
    let (watts, more) = text.split_once('.').unwrap_or((text, ""));
    assert!(more.len() <= 3, "{text} has more than milliwatts");
    format!("{watts}{more:0<3}").parse().expect("a number")
}

/// Every sample of the meter's power in a Prometheus, doubles included, and its labels.
fn in_prometheus(port: u16) -> (Vec<(i64, i64)>, Value) {
    let answer = get(port, "/api/v1/query?query=bijli_meter_power_watts%5B5d%5D").json();
    let series = &answer["data"]["result"];
    let rows = series[0]["values"].as_array().cloned().unwrap_or_default();
    let at = |row: &Value| {
        // Seconds with a fraction.
        milliwatts(&row[0].to_string())
    };
    let value = |row: &Value| milliwatts(row[1].as_str().expect("text"));
    assert!(series.as_array().is_none_or(|all| all.len() < 2), "one series: {series}");
    (rows.iter().map(|row| (at(row), value(row))).collect(), series[0]["metric"].clone())
}

fn journalled(site: &Site, agent: &Program, readings: u64) {
    eventually(&format!("a journal of everything\n{}", agent.printed()), 120, || {
        (site.number("bijli_collector_ingest_readings_total") >= readings).then_some(())
    });
}

/// Goal: a Prometheus that is away for three days, and goes away again in the middle of catching
/// up, while the collector is killed: it has every reading, once, with labels of the metric table.
#[test]
fn an_outage_of_three_days_loses_and_doubles_no_sample() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let log = folder.path().join("log");
    let run = || start(prometheus(folder.path(), port, "30d"), &log, port, "/-/ready");
    let mut site = Site::start_with("15m", &format!("{}{HUB}", section(port)));
    let rows = minutes(MINUTES);
    let agent = meter(&rows, &site);
    journalled(&site, &agent, 4_000);
    eventually("a feed that is late", 60, || (site.number(LAG) > 0).then_some(()));
    site.collector.kill();
    site.restart();
    let mut store = run();
    eventually("the first samples", 90, || (!in_prometheus(port).0.is_empty()).then_some(()));
    store.signal(Signal::TERM);
    store.wait(60);
    let _store = run();
    let words = || site.collector.printed();
    eventually(&format!("every reading\n{}", words()), 120, || {
        (in_prometheus(port).0 == rows).then_some(())
    });
    eventually("a feed that has everything", 60, || (site.number(LAG) == 0).then_some(()));
    assert_eq!(site.number(REFUSED), 0, "{}", words());
    let labels = in_prometheus(port).1;
    let expected = serde_json::json!({
        "__name__": "bijli_meter_power_watts", "hub": "isb", "meter": "isb/incomer"
    });
    assert_eq!(labels, expected);
}

/// A VictoriaMetrics behind TLS that wants to know who is asking.
struct Guarded {
    port: u16,
    ca: String,
    _server: Program,
}

impl Guarded {
    fn start(folder: &std::path::Path) -> Self {
        let port = free_port();
        let pki = Pki::new(&folder.join("pki"), &["isb"]);
        let mut command = victoria(folder, port);
        let file = |name: &str| folder.join("pki/collector").join(name).display().to_string();
        command.arg("-tls").arg(format!("-tlsCertFile={}", file("certificate.pem")));
        command.arg(format!("-tlsKeyFile={}", file("key.pem")));
        command.args(["-httpAuth.username=bijli", "-httpAuth.password=s3cret"]);
        let server = Program::start(&mut command, &folder.join("log"));
        let store = Self { port, ca: pki.ca().display().to_string(), _server: server };
        eventually("a ready store", 60, || store.get("/health"));
        store
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut curl = Command::new("curl");
        curl.args(["-sfg", "--cacert", &self.ca, "-u", "bijli:s3cret"]);
        let out = curl.arg(format!("https://localhost:{}{path}", self.port)).output();
        let out = out.expect("curl is installed");
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// All samples of a metric, doubles included, in thousandths.
    fn exported(&self, metric: &str) -> Vec<(i64, i64)> {
        let mut samples = Vec::new();
        let answer = self.get(&format!("/api/v1/export?match[]={metric}")).unwrap_or_default();
        for line in answer.lines() {
            let series: Value = serde_json::from_str(line).expect("a line of JSON");
            let column = |key: &str| series[key].as_array().cloned().unwrap_or_default();
            let rows = column("timestamps").into_iter().zip(column("values"));
            samples.extend(
                rows.map(|(at, value)| (at.as_i64().expect("ms"), milliwatts(&value.to_string()))),
            );
        }
        samples.sort_unstable();
        samples
    }
}

fn secret(folder: &std::path::Path, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let file = folder.join("password");
    std::fs::write(&file, text).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
    file.display().to_string()
}

/// Goal: in TLS with the authority that is named, and with a password; one that is wrong waits for
/// whoever mends it and loses nothing; powers and registers read back are those that were measured.
#[test]
fn victoriametrics_behind_tls_and_a_password_has_every_reading() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Guarded::start(folder.path());
    let password = secret(folder.path(), "wrong\n");
    let section = format!(
        "[remote_write]\nurl = \"https://localhost:{}/api/v1/write\"\nca = \"{}\"\n\
         user = \"bijli\"\npassword_file = \"{password}\"\n",
        store.port, store.ca
    );
    let mut site = Site::start_with("15m", &format!("{section}{HUB}"));
    let rows = minutes(600);
    let agent = meter(&rows, &site);
    journalled(&site, &agent, 600);
    let retries = "bijli_collector_feed_retries_total{store=\"remote_write\"}";
    eventually("a refused password", 60, || (site.number(retries) > 0).then_some(()));
    assert!(site.collector.printed().contains("401"), "{}", site.collector.printed());
    assert_eq!((site.number(REFUSED), store.exported("bijli_meter_power_watts").len()), (0, 0));

    secret(folder.path(), "s3cret\n");
    site.collector.stop(30);
    site.restart();
    eventually(&format!("every reading\n{}", site.collector.printed()), 120, || {
        (store.exported("bijli_meter_power_watts") == rows).then_some(())
    });
    assert_eq!(site.number(REFUSED), 0);
    // The agent integrates what each reading says of the minute before it.
    let register = store.exported("bijli_meter_register_joules_total");
    assert_eq!(register.len(), rows.len());
    for (pair, (_, milliwatts)) in register.windows(2).zip(&rows[1..]) {
        assert_eq!(pair[1].1 - pair[0].1, milliwatts * 60, "millijoules of a minute");
    }
}

/// Goal: a store that refuses what is too old (Prometheus with a narrow window, and with none)
/// costs those samples only: the others are in it, the refused ones are set apart line by line.
#[test]
fn what_a_store_refuses_for_ever_is_set_apart() {
    for window in ["0s", "3h"] {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, log) = (free_port(), folder.path().join("log"));
        let _store = start(prometheus(folder.path(), port, window), &log, port, "/-/ready");
        eventually("a store that knows the time", 60, || {
            let up = get(port, "/api/v1/query?query=up").json();
            (up["data"]["result"][0]["value"][1] == "1").then_some(())
        });
        let site = Site::start_with("15m", &format!("{}{HUB}", section(port)));
        let rows = minutes(480);
        let agent = meter(&rows, &site);
        journalled(&site, &agent, 480);
        let words = || format!("window {window}\n{}", site.collector.printed());
        let all_have_a_fate = harness::within(180, || {
            let is_done = site.number("bijli_collector_feed_values_total") >= 960;
            (is_done && site.number(LAG) == 0).then_some(())
        });
        assert!(all_have_a_fate.is_some(), "not every reading has a fate: {}", words());
        let (stored, _) = in_prometheus(port);
        let text = std::fs::read_to_string(site.path("collector/remote-write/refused.txt"));
        let text = text.expect("something was refused");
        let head = "bijli_meter_power_watts{hub=\"isb\",meter=\"isb/incomer\"} ";
        let mut refused: Vec<(i64, i64)> = text
            .lines()
            .filter_map(|line| line.strip_prefix(head)?.split_once(' '))
            .map(|(value, at)| (at.parse().expect("ms"), milliwatts(value)))
            .collect();
        refused.sort_unstable();
        assert!(stored.len() > 20 && refused.len() > 20, "{}", words());
        assert_eq!([refused, stored].concat(), rows, "{}", words());
        let count = u64::try_from(text.lines().count()).expect("few");
        assert_eq!(site.number(REFUSED), count);
    }
}
