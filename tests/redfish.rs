//! The real agent against Redfish services: `sushy-static`, which serves DMTF's mock-up of a server
//! from files that it reads at each request, plain and in TLS; and one of our own that fails.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use harness::eventually;
use harness::program::{Program, binary, free_port};
use harness::site::{Site, millijoules};
use serde_json::{Value, json};
use tempfile::TempDir;

const CHASSIS: &str = "Chassis/1U";
const METRICS: &str = "Chassis/1U/EnvironmentMetrics";
/// Of the base64 of `bijli:secret`.
const LOGIN: &str = "authorization: Basic YmlqbGk6c2VjcmV0";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the root")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).expect("copied")),
        }
    }
}

/// Mock-ups of servers, each a folder of its own, and the agent's files.
struct Servers(TempDir);

impl Servers {
    fn new() -> Self {
        let servers = Self(tempfile::tempdir().expect("a folder"));
        std::fs::write(servers.path("password"), "secret\n").expect("written");
        servers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A server of this name as DMTF publishes it.
    fn mock(&self, name: &str) {
        copy(&root().join("tests/peers/redfish/public-rackmount1"), &self.path(name));
    }

    /// Changes one document of a mock-up, at once.
    fn edit(&self, name: &str, document: &str, change: impl Fn(&mut Value)) {
        let path = self.path(name).join(document).join("index.json");
        let text = std::fs::read_to_string(&path).expect("a document");
        let mut value = serde_json::from_str(&text).expect("JSON");
        change(&mut value);
        let text = value.to_string();
        // A number with more digits than a double has is written as a text here.
        let text = text.replace("\"<", "").replace(">\"", "");
        let temporary = self.path("document.tmp");
        std::fs::write(&temporary, text).expect("written");
        std::fs::rename(temporary, path).expect("in place");
    }

    fn serve(&self, name: &str, more: &[&str]) -> (u16, Program) {
        let port = free_port();
        let mut command = Command::new(root().join(".venv/bin/python"));
        command.env("PYTHONUNBUFFERED", "1").arg("-c");
        command.arg("import sys; from sushy_tools.static.main import main; sys.exit(main())");
        command.args(["-i", "127.0.0.1", "-p", &port.to_string(), "-m"]);
        command.arg(self.path(name)).args(more);
        let program = Program::start(&mut command, &self.path(&format!("{name}-{port}.log")));
        let what = format!("the server {name}: {}", program.printed());
        eventually(&what, 60, || TcpStream::connect(("127.0.0.1", port)).ok());
        (port, program)
    }

    /// A self-signed certificate that names nobody the agent asks for.
    fn certificate(&self, name: &str) -> (String, String) {
        let file = |end: &str| self.path(&format!("{name}.{end}")).display().to_string();
        let (certificate, key) = (file("pem"), file("key"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bmc"]);
        openssl.args(["-days", "2", "-keyout", &key, "-out", &certificate]);
        assert!(openssl.output().expect("openssl").status.success());
        (certificate, key)
    }

    fn section(&self, name: &str, port: u16, more: &str) -> String {
        format!(
            "[[redfish]]\nmeter = \"isb/{name}\"\naddress = \"127.0.0.1:{port}\"\n\
             user = \"bijli\"\npassword_file = \"{}\"\nevery = \"2s\"\ntimeout = \"1500ms\"\n\
             power_max = \"12 kW\"\n{more}\n",
            self.path("password").display()
        )
    }

    fn plain(&self, name: &str, port: u16) -> String {
        self.section(name, port, "allow_plain_http = true")
    }

    /// What `bijli-agent COMMAND --json` says of these servers.
    fn said(&self, command: &str, sections: &str) -> Value {
        let config = self.path("agent.toml");
        let spool = self.path("spool").display().to_string();
        let text = format!(
            "hub = \"isb\"\nnode = \"gateway\"\n{}{sections}\n[spool]\ndir = \"{spool}\"\n",
            others_off()
        );
        std::fs::write(&config, text).expect("written");
        let mut agent = Command::new(binary("bijli-agent"));
        agent.args([command, "--json", "--config"]).arg(&config);
        let out = agent.output().expect("it starts");
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{err}"))
    }
}

fn others_off() -> String {
    let others = ["nvml", "rapl", "host", "kernel_log"];
    others.map(|name| format!("[{name}]\nenabled = false\n")).concat()
}

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
