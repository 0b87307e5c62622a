//! The real agent against Redfish services: `sushy-static`, which serves DMTF's mock-up of a server
//! from files that it reads at each request, plain and in TLS; and one of our own that fails.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use harness::eventually;
use harness::redfish::{Servers, others_off};
use harness::site::{Site, millijoules};
use serde_json::{Value, json};

const CHASSIS: &str = "Chassis/1U";
const METRICS: &str = "Chassis/1U/EnvironmentMetrics";
/// Of the base64 of `bijli:secret`.
const LOGIN: &str = "authorization: Basic YmlqbGk6c2VjcmV0";

const GOOD: u8 = 0;
const FAILS: u8 = 1;
const SLOW: u8 = 2;
const CUT: u8 = 3;
const DENIES: u8 = 4;

/// A server of our own that serves a mock-up, or fails as it is told. It ends with the test.
struct Faulty {
    port: u16,
    mode: Arc<AtomicU8>,
}

impl Faulty {
    fn start(files: PathBuf, mode: u8) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let mode = Arc::new(AtomicU8::new(mode));
        let shared = Arc::clone(&mode);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, mode) = (files.clone(), shared.load(Ordering::SeqCst));
                std::thread::spawn(move || answer(stream, &files, mode));
            }
        });
        Self { port, mode }
    }

    fn behaves(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }
}

fn answer(mut stream: TcpStream, files: &Path, mode: u8) -> Option<()> {
    let mut bytes = [0_u8; 4_096];
    let length = stream.read(&mut bytes).ok()?;
    let asked = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let path = asked.split(' ').nth(1)?.strip_prefix("/redfish/v1/")?.to_owned();
    let (status, body) = match std::fs::read_to_string(files.join(path).join("index.json")) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", "{}".to_owned()),
    };
    let (status, body) = match mode {
        FAILS => ("500 Internal Server Error", "{}".to_owned()),
        DENIES => ("401 Unauthorized", "{}".to_owned()),
        _ => (status, body),
    };
    let length = body.len();
    let sent = if mode == CUT { &body[..length / 2] } else { &body };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    if mode == SLOW {
        // Longer than the agent waits; the half of an answer keeps the connection busy.
        stream.write_all(head.as_bytes()).ok()?;
        std::thread::sleep(Duration::from_secs(5));
        return None;
    }
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(sent.as_bytes()).ok()
}

fn without(member: &'static str) -> impl Fn(&mut Value) {
    move |document| drop(document.as_object_mut().expect("an object").remove(member))
}

/// Goal: what the files say is what is read, from the best source that there is, in TLS as in
/// plain text; whoever is not believed, refuses or points elsewhere is told in words.
#[test]
fn each_server_is_read_from_the_best_source_that_it_has() {
    let servers = Servers::new();
    for name in ["metrics", "counts", "supplies", "legacy", "nothing", "elsewhere"] {
        servers.mock(name);
    }
    servers.edit("counts", METRICS, |it| it["EnergyJoules"] = json!({"Reading": "<12.5>"}));
    servers.edit("counts", METRICS, |it| it["EnergykWh"] = json!({"Reading": 9}));
    servers.edit("supplies", METRICS, |it| it["PowerWatts"]["Reading"] = Value::Null);
    for name in ["legacy", "nothing"] {
        servers.edit(name, CHASSIS, without("EnvironmentMetrics"));
        servers.edit(name, CHASSIS, without("PowerSubsystem"));
    }
    servers.edit("nothing", CHASSIS, without("Power"));
    let other = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    other.set_nonblocking(true).expect("set");
    let link = format!("http://{}/redfish/v1/x", other.local_addr().expect("bound"));
    servers.edit("elsewhere", CHASSIS, |it| it["EnvironmentMetrics"]["@odata.id"] = json!(link));

    let mut running = Vec::new();
    let mut sections = Vec::new();
    for name in ["metrics", "counts", "supplies", "legacy", "nothing", "elsewhere"] {
        let (port, program) = servers.serve(name, &[]);
        sections.push(servers.plain(name, port));
        running.push(program);
    }
    let (certificate, key) = servers.certificate("bmc");
    let (foreign, _) = servers.certificate("foreign");
    let (port, tls) = servers.serve("metrics", &["-c", &certificate, "-k", &key]);
    for (name, pinned) in [("tls", &certificate), ("foreign", &foreign)] {
        let more = format!("[redfish.tls]\npinned = \"{pinned}\"");
        sections.push(servers.section(name, port, &more));
    }
    let denies = Faulty::start(servers.path("metrics"), DENIES);
    sections.push(servers.plain("denies", denies.port));

    let report = servers.said("check", &sections.concat());
    let probe = |name: &str| {
        let probes = report["probes"].as_array().expect("a list");
        let is_it = |one: &&Value| one["name"] == format!("redfish:isb/{name}").as_str();
        probes.iter().find(is_it).unwrap_or_else(|| panic!("{name}: {report}")).to_string()
    };
    for (name, words) in [
        ("metrics", "EnvironmentMetrics, PowerWatts"),
        ("metrics", "class sampled"),
        ("counts", "EnvironmentMetrics, EnergyJoules"),
        ("supplies", "PowerSupplies/*/Metrics, InputPowerWatts summed"),
        ("legacy", "legacy Power, PowerConsumedWatts"),
        ("nothing", "tells neither energy nor power"),
        ("elsewhere", "leaves the server: not followed"),
        ("tls", "in TLS, believed as pinned"),
        ("foreign", "it shows another certificate than the pinned one"),
        ("denies", "it refuses user and password"),
    ] {
        assert!(probe(name).contains(words), "{name}: {words}\n{}", probe(name));
    }
    let nobody = other.accept().expect_err("nobody asks there").kind();
    assert_eq!(nobody, std::io::ErrorKind::WouldBlock);

    let read = [0, 1, 2, 3, 6].map(|index| sections[index].as_str()).concat();
    let once = servers.said("once", &read);
    let value = |index: usize, quantity: &str| {
        let readings = once["subjects"][index]["readings"].as_array().expect("a list");
        let is_it = |one: &&Value| one["quantity"] == quantity;
        readings.iter().find(is_it).expect("offered")["value"].clone()
    };
    for (index, milliwatts) in [(0, "374000"), (2, "937400"), (3, "344000"), (4, "374000")] {
        assert_eq!(value(index, "power_instant"), milliwatts, "{once}");
    }
    assert_eq!(value(1, "energy_register"), "12500");
    for program in running.iter().chain([&tls]) {
        let asked = program.printed();
        assert!(asked.contains(LOGIN) && !asked.contains("$expand"), "{asked}");
        assert!(!asked.contains("POST") && !asked.contains("DELETE"), "{asked}");
    }
}

/// Goal: a count is booked to its last digit, another server is told, and one that fails in
/// each way that servers fail costs only its own values and is read again afterwards.
#[test]
fn s10_a_failing_server_costs_only_itself_and_a_count_is_booked_to_the_digit() {
    let hub = "[[hub]]\nid = \"isb\"\ntitle = \"Islamabad\"\n[[hub.point]]\nid = \"incomer\"\n\
               role = \"grid\"\nmeter = \"isb/n01\"\n[[hub.point]]\nid = \"chiller\"\n\
               role = \"cooling\"\nmeter = \"isb/n02\"\n";
    let site = Site::start(hub);
    let servers = Servers::new();
    servers.mock("n01");
    servers.mock("n02");
    let shows = |kwh: &str| {
        let kwh = format!("<{kwh}>");
        servers.edit("n01", METRICS, |it| it["EnergykWh"] = json!({"Reading": kwh}));
    };
    shows("9007199.254740993");
    let (good, _good) = servers.serve("n01", &[]);
    let sick = Faulty::start(servers.path("n02"), GOOD);
    let sections = servers.plain("n01", good) + &servers.plain("n02", sick.port);
    let agent = site.agent("isb", "gateway", &(others_off() + &sections), &[]);
    let register = |name: &str, key: &str| {
        let answer = site.json("/v1/hubs/isb/meters");
        let meters = answer["meters"].as_array().expect("a list");
        let is_it = |one: &&Value| one["subject"] == format!("isb/{name}").as_str();
        Some(meters.iter().find(is_it)?["register"][key].clone())
    };
    let age = |name: &str| register(name, "age_s")?.as_u64();
    let booked = |name: &str| {
        let value = register(name, "booked_mj").filter(Value::is_string);
        value.map_or(0, |value| millijoules(&value))
    };
    let shown = |count: &str| (register("n01", "last_count")? == json!(count)).then_some(());
    // A double has no such number: 9007199.254740993 kWh.
    let what = format!("its count\n{}", agent.printed());
    eventually(&what, 60, || shown("32425917317067575"));
    let before = booked("n01");
    shows("9007199.255975560");
    eventually("its next count", 60, || shown("32425917321512016"));
    eventually("its books", 60, || (booked("n01") - before == 4_444_441).then_some(()));

    eventually("the other's count", 60, || (booked("n02") > 0).then_some(()));
    for (mode, words) in [
        (FAILS, "HTTP 500"),
        (SLOW, "no whole answer within 1500 ms"),
        (CUT, "no JSON object, or ends too early"),
    ] {
        sick.behaves(mode);
        eventually(words, 90, || agent.printed().contains(words).then_some(()));
        eventually("its silence", 90, || age("n02").filter(|age| *age > 6));
        assert!(age("n01").is_some_and(|age| age < 6), "{words}: {}", agent.printed());
        sick.behaves(GOOD);
        let what = format!("it is back after {words}\n{}", agent.printed());
        eventually(&what, 120, || age("n02").filter(|age| *age < 5));
    }
    assert_eq!(register("n02", "implausible"), Some(json!(0)));
    assert_eq!(register("n01", "implausible"), Some(json!(0)));

    servers.edit("n01", CHASSIS, |it| it["SerialNumber"] = json!("7"));
    let text = "another server answers: serial 437XR1138R2 was, 7 is";
    eventually(text, 60, || {
        let events = site.json("/v1/hubs/isb/events");
        let all = events["nodes"].as_array().expect("a list").clone();
        let is_it = |one: &Value| one["kind"] == "meter_changed" && one["text"] == text;
        all.iter().any(is_it).then_some(())
    });
}
