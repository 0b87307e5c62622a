//! The feed into real stores: VictoriaMetrics by InfluxDB's v2 API, and the parser of InfluxDB 1
//! behind a shim. What is read back equals what was measured, reading by reading.

use std::path::Path;

use harness::eventually;
use harness::http::{ask, get};
use harness::program::free_port;
use harness::site::Site;
use harness::stores::{Shim, influx, start, victoria};
use harness::trace::{DAY_MS, MINUTE_MS, meter, minutes};
use rustix::process::Signal;
use serde_json::Value;

const HUB: &str = "[[hub]]\nid = \"isb\"\n";
/// Three days of minutes.
const MINUTES: i64 = 3 * DAY_MS / MINUTE_MS;

fn section(port: u16) -> String {
    format!(
        "[influx]\nurl = \"http://127.0.0.1:{port}\"\norg = \"ignite\"\nbucket = \"bijli\"\n\
         timeout = \"5s\"\n"
    )
}

/// All points of a metric in VictoriaMetrics, in the order of time, doubles included.
fn exported(port: u16, metric: &str) -> Vec<(i64, i64)> {
    let path = format!("/api/v1/export?match[]={metric}");
    let answer = get(port, &path);
    let mut points = Vec::new();
    for line in answer.text().lines() {
        let series: Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!(series["metric"]["subject"], "isb/incomer");
        assert_eq!(series["metric"]["label"], "hall 1, incomer");
        let column = |key: &str| series[key].as_array().cloned().unwrap_or_default();
        let rows = column("timestamps").into_iter().zip(column("values"));
        points.extend(rows.map(|(at, value)| {
            (at.as_i64().expect("ms"), value.as_i64().expect("an integer, exactly"))
        }));
    }
    points.sort_unstable();
    points
}

/// Goal: a store that is away for three days has every reading of them once when it is back, also
/// when it went away in the middle of catching up and the collector was killed meanwhile.
#[test]
fn an_outage_of_three_days_loses_and_doubles_no_point() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let run = || start(victoria(folder.path(), port), &folder.path().join("log"), port, "/health");
    let mut site = Site::start_with("15m", &format!("{}{HUB}", section(port)));
    let rows = minutes(MINUTES);
    let agent = meter(&rows, &site);
    eventually(&format!("a journal of everything\n{}", agent.printed()), 120, || {
        (site.number("bijli_collector_ingest_readings_total") >= 4_000).then_some(())
    });
    eventually("a feed that is late", 60, || {
        let is_late = site.number("bijli_collector_feed_lag_seconds") > 0;
        (is_late && site.number("bijli_collector_feed_retries_total") > 0).then_some(())
    });
    site.collector.kill();
    site.restart();
    let mut store = run();
    eventually("the first points", 90, || {
        (!exported(port, "bijli_meter_power_average_milliwatts").is_empty()).then_some(())
    });
    store.signal(Signal::TERM);
    store.wait(60);
    let _store = run();
    eventually(&format!("every reading\n{}", site.collector.printed()), 120, || {
        (exported(port, "bijli_meter_power_average_milliwatts") == rows).then_some(())
    });
    eventually("a feed that has everything", 60, || {
        (site.number("bijli_collector_feed_lag_seconds") == 0).then_some(())
    });
    assert_eq!(site.number("bijli_collector_feed_refused_lines_total"), 0);
}

fn query(port: u16, words: &str) -> Value {
    let words = words.replace(' ', "%20").replace('\'', "%27");
    get(port, &format!("/query?db=bijli&epoch=ms&q={words}")).json()
}

fn influx_rows(port: u16) -> Vec<(i64, i64)> {
    let answer = query(
        port,
        "SELECT power_average_milliwatts FROM bijli_meter WHERE subject = 'isb/incomer'",
    );
    let rows = answer["results"][0]["series"][0]["values"].as_array().cloned();
    let number = |value: &Value| value.as_i64().expect("an integer");
    rows.unwrap_or_default().iter().map(|row| (number(&row[0]), number(&row[1]))).collect()
}

fn set_apart(site: &Site) -> Vec<String> {
    let path: &Path = &site.path("collector/feed/refused.txt");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Goal: InfluxDB's own parser takes what is written, and a day that it refuses (somebody wrote the
/// field as another type) costs that day's points only: they are set apart, and counted.
#[test]
fn influxdb_reads_it_and_what_it_refuses_is_set_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let log = folder.path().join("log");
    let _store = start(influx(folder.path(), port), &log, port, "/ping");
    let created =
        ask("POST", port, "/query?q=CREATE%20DATABASE%20bijli%20WITH%20SHARD%20DURATION%201d", b"");
    assert_eq!(created.expect("an answer").status, 200);
    let rows = minutes(MINUTES);
    // One day's shard knows the field as a float.
    let (bad_at, _) = rows[rows.len() / 2];
    let bad_day = bad_at / DAY_MS;
    let spoilt = format!("bijli_meter,subject=other power_average_milliwatts=0.5 {bad_at}");
    let spoilt = ask("POST", port, "/write?db=bijli&precision=ms", spoilt.as_bytes());
    assert_eq!(spoilt.expect("an answer").status, 204);

    let shim = Shim::start(port);
    let site = Site::start_with("15m", &format!("{}{HUB}", section(shim.port)));
    let agent = meter(&rows, &site);
    let (bad, good): (Vec<_>, Vec<_>) = rows.iter().partition(|(at, _)| at / DAY_MS == bad_day);
    assert!(!bad.is_empty() && good.len() > bad.len());
    eventually(
        &format!("the other days\n{}{}", site.collector.printed(), agent.printed()),
        180,
        || (set_apart(&site).len() >= bad.len()).then_some(()),
    );
    eventually("every reading of the other days", 60, || {
        let read = influx_rows(port);
        let read: Vec<_> = read.into_iter().filter(|(at, _)| at / DAY_MS != bad_day).collect();
        (read == good).then_some(())
    });
    // Batches that were sent at once may be journalled in another order.
    let mut lines = set_apart(&site);
    lines.sort_by_key(|line| line.rsplit(' ').next().map(str::to_owned));
    assert_eq!(lines.len(), bad.len());
    for (line, (at, milliwatts)) in lines.iter().zip(&bad) {
        let expected = format!("power_average_milliwatts={milliwatts}i {at}");
        assert!(line.ends_with(&expected), "{line}: {expected}");
    }
    let counted = site.number("bijli_collector_feed_refused_lines_total");
    assert_eq!(counted, u64::try_from(lines.len()).expect("few"));
}
