//! From a fault to the person on call, over the real programs: an agent reads a kernel's log that
//! tells XID 79, a collector exports it, Prometheus evaluates the shipped rules, Alertmanager
//! routes by the shipped example, and a webhook gets the page with its runbook.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use harness::eventually;
use harness::http::{ask, get};
use harness::program::{Program, free_port};
use harness::site::Site;
use serde_json::Value;

const HUB: &str = "[[hub]]\nid = \"lahore\"\ntitle = \"Lahore\"\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

/// Somebody's pager: answers 200 to each POST and hands its path and JSON on.
fn pager() -> (u16, mpsc::Receiver<(String, Value)>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Who hangs up, or a test that has ended, is nobody's fault.
            let Some(told) = stream.ok().and_then(answer) else { continue };
            if sender.send(told).is_err() {
                return;
            }
        }
    });
    (port, receiver)
}

fn answer(mut stream: TcpStream) -> Option<(String, Value)> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let size = stream.read(&mut part).ok()?;
        bytes.extend_from_slice(part.get(..size)?);
        let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(bytes.get(..at)?).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        let body = bytes.get(at + 4..)?;
        if size != 0 && body.len() < length.trim().parse().ok()? {
            continue;
        }
        let path = head.split(' ').nth(1)?.to_owned();
        let json = serde_json::from_slice(body).ok()?;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
        return Some((path, json));
    }
}

/// How often things are looked at: as shipped, or as often as a site may want that has few nodes.
#[derive(Clone, Copy, Debug)]
enum Pace {
    Shipped,
    FiveSeconds,
}

impl Pace {
    /// An example's text at this pace.
    fn set(self, example: &str) -> String {
        let quick = [
            ("scrape_interval: 15s", "scrape_interval: 5s"),
            ("scrape_timeout: 10s", "scrape_timeout: 5s"),
            ("evaluation_interval: 30s", "evaluation_interval: 5s"),
            ("group_wait: 10s", "group_wait: 5s"),
        ];
        match self {
            Self::Shipped => example.to_owned(),
            Self::FiveSeconds => {
                quick.iter().fold(example.to_owned(), |text, (slow, fast)| text.replace(slow, fast))
            }
        }
    }
}

/// The shipped example with its routes, groups and inhibitions as they are; only the receivers are
/// webhooks here, because nobody has a real pager in a test.
fn alertmanager(folder: &Path, pager: u16, pace: Pace) -> (u16, Program) {
    let example = root().join("alerts/alertmanager.example.yml");
    let example = fs::read_to_string(example).expect("the example");
    let (routes, receivers) = example.split_once("\nreceivers:\n").expect("receivers");
    let (_, routes) = routes.split_once("\nroute:\n").expect("a route");
    let names = receivers.lines().filter_map(|line| line.strip_prefix("  - name: "));
    let receivers: String = names
        .map(|name| {
            let url = format!("http://127.0.0.1:{pager}/{name}");
            format!("  - name: {name}\n    webhook_configs: [{{url: \"{url}\"}}]\n")
        })
        .collect();
    let config = pace.set(&format!("route:\n{routes}\nreceivers:\n{receivers}"));
    fs::write(folder.join("alertmanager.yml"), config).expect("written");
    let port = free_port();
    let mut command = Command::new("prometheus-alertmanager");
    command.arg(format!("--config.file={}", folder.join("alertmanager.yml").display()));
    command.arg(format!("--storage.path={}", folder.join("alertmanager").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.arg("--cluster.listen-address=");
    (port, Program::start(&mut command, &folder.join("alertmanager.log")))
}

/// The shipped example.
fn prometheus(site: &Site, alertmanager: u16, pace: Pace) -> (u16, Program) {
    let example = root().join("dashboards/prometheus.example.yml");
    let example = fs::read_to_string(example).expect("the example");
    let config = pace
        .set(&example)
        .replace("collector.isb.example:8640", &format!("127.0.0.1:{}", site.port))
        .replace("hub: isb", "hub: lahore")
        .replace("127.0.0.1:9093", &format!("127.0.0.1:{alertmanager}"));
    fs::write(site.path("prometheus.yml"), config).expect("written");
    std::os::unix::fs::symlink(root().join("alerts/rules"), site.path("rules")).expect("linked");
    let port = free_port();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", site.path("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", site.path("tsdb").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    (port, Program::start(&mut command, &site.path("prometheus.log")))
}

fn agent(site: &Site) -> Program {
    let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/fakenvml/scenarios");
    fs::write(site.path("kmsg"), "").expect("written");
    let env = [
        ("BIJLI_NVML_LIB", fakenvml::library_path().display().to_string()),
        ("BIJLI_FAKENVML_SCENARIO", format!("{scenarios}/eight-training.toml")),
        ("BIJLI_KMSG", site.path("kmsg").display().to_string()),
    ];
    site.agent("lahore", "n01", "[rapl]\nenabled = false\n", &env)
}

/// Goal: a GPU that falls off the bus reaches the platform's pager, once, with the GPU's place and
/// an existing runbook; nobody else is woken, and a ticket of an hour's patience has not come.
#[test]
fn a_gpu_off_the_bus_reaches_the_pager_with_its_runbook() {
    a_gpu_off_the_bus_is_paged(Pace::Shipped);
}

#[test]
fn at_five_seconds_a_gpu_off_the_bus_is_paged_alike() {
    a_gpu_off_the_bus_is_paged(Pace::FiveSeconds);
}

fn a_gpu_off_the_bus_is_paged(pace: Pace) {
    let (pager_port, told) = pager();
    let site = Site::start_tls(HUB);
    let _agent = agent(&site);
    let (alertmanager_port, _alertmanager) = alertmanager(&site.path(""), pager_port, pace);
    let (prometheus_port, _prometheus) = prometheus(&site, alertmanager_port, pace);
    eventually("the dead man at the heartbeat service", 120, || {
        told.try_recv().ok().filter(|(path, _)| path == "/heartbeat").map(drop)
    });
    eventually("a GPU in Prometheus", 60, || {
        let up = ask("GET", prometheus_port, "/api/v1/query?query=bijli_gpu_up", b"")?;
        up.text().contains("lahore").then_some(())
    });

    let line = "4,1,9000000,-;NVRM: Xid (PCI:0000:10:00): 79, pid=1, GPU has fallen off the bus\n";
    fs::OpenOptions::new()
        .append(true)
        .open(site.path("kmsg"))
        .and_then(|mut log| log.write_all(line.as_bytes()))
        .expect("written");
    let began = Instant::now();

    let page = eventually("the page", 300, || {
        let (path, message) = told.try_recv().ok().filter(|(path, _)| path != "/heartbeat")?;
        assert_eq!(path, "/platform-oncall", "{message}");
        Some(message)
    });
    println!("{pace:?}: from the kernel's line to the pager: {} s", began.elapsed().as_secs());
    assert_eq!(page["status"], "firing", "{page}");
    assert_eq!(page["alerts"].as_array().map(Vec::len), Some(1), "{page}");
    let alert = &page["alerts"][0];
    let labels = &alert["labels"];
    for (label, wanted) in [
        ("alertname", "BijliGpuFatalXid"),
        ("severity", "page"),
        ("hub", "lahore"),
        ("node", "n01"),
        ("gpu", "0"),
        ("xid", "79"),
    ] {
        assert_eq!(labels[label], wanted, "{page}");
    }
    let annotation = |name: &str| alert["annotations"][name].as_str().expect("text").to_owned();
    assert_eq!(annotation("summary"), "Hub lahore: XID 79 at GPU 0 of node n01");
    assert!(root().join(annotation("runbook_url")).is_file(), "{page}");
    assert!(annotation("dashboard_url").ends_with("var-hub=lahore"), "{page}");
    let known = get(alertmanager_port, "/api/v2/alerts?active=true").json();
    let known: Vec<&Value> = known.as_array().expect("a list").iter().collect();
    let pages = known.iter().filter(|alert| alert["labels"]["severity"] == "page");
    assert_eq!(pages.count(), 1, "one fault, one page: {known:#?}");
}

/// Tells an Alertmanager of alerts, as a Prometheus does.
fn tell(port: u16, alerts: &[Value]) {
    let body = serde_json::to_vec(alerts).expect("JSON");
    let head = format!(
        "POST /api/v2/alerts HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.write_all(&[head.into_bytes(), body].concat()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Which alerts a real Alertmanager holds back, as `alertname hub`.
fn held_back(port: u16) -> Option<Vec<String>> {
    let answer = ask("GET", port, "/api/v2/alerts", b"")?;
    let alerts = answer.json();
    let held = alerts.as_array()?.iter().filter(|alert| alert["status"]["state"] == "suppressed");
    let place = |alert: &Value| {
        let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", label("alertname"), label("hub"))
    };
    let mut held: Vec<String> = held.map(place).collect();
    held.sort();
    Some(held)
}

/// Goal: one cause is one message. What follows from a blind hub, lost mains, lost cooling or a
/// fatal XID is held back at that hub and that GPU, and nowhere else.
#[test]
fn what_follows_from_a_cause_is_held_back_at_its_own_place_only() {
    let (pager_port, _told) = pager();
    let folder = tempfile::tempdir().expect("a folder");
    let (port, _alertmanager) = alertmanager(folder.path(), pager_port, Pace::Shipped);
    eventually("a ready Alertmanager", 60, || {
        ask("GET", port, "/-/ready", b"").filter(|answer| answer.status == 200)
    });
    let alerts = [
        ("BijliHubBlind", "isb", ""),
        ("BijliNodeDown", "isb", ""),
        ("BijliMeterSilent", "isb", ""),
        ("BijliLedgerImbalance", "isb", ""),
        ("BijliMainsLost", "lhe", ""),
        ("BijliVoltageOutOfBand", "lhe", ""),
        ("BijliUpsOnBattery", "lhe", ""),
        ("BijliNodeDown", "lhe", ""),
        ("BijliCoolingFlowLost", "khi", ""),
        ("BijliGpusHotTogether", "khi", ""),
        ("BijliGpuHot", "khi", "1"),
        ("BijliGpuFatalXid", "pew", "1"),
        ("BijliGpuLost", "pew", "1"),
        ("BijliGpuLost", "mux", "1"),
    ];
    let labels = alerts.map(|(name, hub, gpu)| {
        serde_json::json!({"labels": {"alertname": name, "hub": hub, "node": "n1", "gpu": gpu,
            "severity": "ticket", "team": "platform"}})
    });
    tell(port, &labels);

    // Alertmanager looks at inhibitions when it is about to tell somebody.
    let wanted = [
        "BijliGpuHot khi",
        "BijliGpuLost pew",
        "BijliGpusHotTogether khi",
        "BijliMeterSilent isb",
        "BijliNodeDown isb",
        "BijliVoltageOutOfBand lhe",
    ];
    let mut held = Vec::new();
    let is_right = harness::within(90, || {
        held = held_back(port)?;
        (held == wanted).then_some(())
    });
    assert!(is_right.is_some(), "held back: {held:?}, wanted: {wanted:?}");
}

/// Goal: the page shows what fires, the urgent first and no markup of others; it says when nobody
/// evaluates the rules and when the Alertmanager does not answer, and then nothing of before.
#[test]
fn the_page_shows_what_fires_and_says_when_it_cannot_know() {
    let (pager_port, _told) = pager();
    let folder = tempfile::tempdir().expect("a folder");
    let (port, mut alertmanager) = alertmanager(folder.path(), pager_port, Pace::Shipped);
    eventually("a ready Alertmanager", 60, || {
        ask("GET", port, "/-/ready", b"").filter(|answer| answer.status == 200)
    });
    let alert = |name: &str, severity: &str, summary: &str| {
        serde_json::json!({
            "labels": {"alertname": name, "severity": severity, "hub": "lahore", "node": "n07",
                "team": "platform"},
            "annotations": {"summary": summary, "runbook_url": "docs/runbooks/X.md"},
        })
    };
    tell(port, &[alert("BijliNodeDown", "ticket", "a node is silent")]);
    let section = format!("[alertmanager]\nurl = \"http://127.0.0.1:{port}/\"\n");
    let site = Site::start_with("15m", &format!("{section}{HUB}"));
    let page = || get(site.port, "/").text().to_owned();
    let shows = |words: &'static [&'static str]| {
        let mut last = String::new();
        let shown = harness::within(90, || {
            last = page();
            words.iter().all(|words| last.contains(words)).then(|| last.clone())
        });
        shown.unwrap_or_else(|| panic!("not shown: {words:?}\n{last}"))
    };
    shows(&["BijliNodeDown", "node n07", "a node is silent", "BijliDeadMan does not fire"]);

    let hostile = "<script>alert(1)</script>";
    tell(port, &[alert("BijliDeadMan", "info", ""), alert("BijliGpuFatalXid", "page", hostile)]);
    let text = shows(&["BijliGpuFatalXid", "&lt;script&gt;alert(1)"]);
    assert!(!text.contains(hostile) && !text.contains("does not fire"), "{text}");
    let at = |name: &str| text.find(name).expect("shown");
    assert!(at("BijliGpuFatalXid") < at("BijliNodeDown"), "the urgent first");

    alertmanager.stop(60);
    let text = shows(&["cannot be asked since", "connection refused", "is not known here"]);
    assert!(!text.contains("BijliNodeDown"), "nothing is held: {text}");
    assert_eq!(get(site.port, "/readyz").status, 200);
}
