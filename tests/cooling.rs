//! The real agent against Redfish services of cooling units, PDUs and leak detectors:
//! `sushy-static` with a mock-up in the shapes of DSP8010, simhall's emulated nodes (another third
//! party, by uvicorn and HTTP/1.1), and one of our own that gives sessions and forgets them.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use harness::eventually;
use harness::http::{ask, get};
use harness::program::{Program, free_port};
use harness::redfish::{Servers, others_off};
use harness::site::Site;
use serde_json::{Value, json};

const CDU: &str = "ThermalEquipment/CDUs/1";
const PDU: &str = "PowerEquipment/RackPDUs/1";
const LEAKS: &str = "ThermalEquipment/CDUs/1/LeakDetection";

fn link(document: &str) -> Value {
    json!({ "@odata.id": format!("/redfish/v1/{document}") })
}

fn detectors(manifold: &str) -> Value {
    json!({ "Id": "LeakDetection", "LeakDetectorGroups": [{ "GroupName": "rack", "Detectors": [
        { "DeviceName": "tray", "DetectorState": "OK" },
        { "DeviceName": "manifold", "DetectorState": manifold },
    ] }] })
}

/// A cooling unit with a loop on either side, and a PDU with two outlets, as DSP8010 shapes them.
fn plant(servers: &Servers) {
    let put = |document: &str, value: &Value| servers.put("plant", document, value);
    let below = |name: &str| format!("{CDU}/{name}");
    put(
        CDU,
        &json!({
            "Id": "1", "EquipmentType": "CDU", "Model": "BRRR4000", "SerialNumber": "29347ZT536",
            "EnvironmentMetrics": link(&below("EnvironmentMetrics")),
            "LeakDetection": link(LEAKS),
            "PrimaryCoolantConnectors": link(&below("PrimaryCoolantConnectors")),
            "SecondaryCoolantConnectors": link(&below("SecondaryCoolantConnectors")),
        }),
    );
    put(&below("EnvironmentMetrics"), &json!({ "PowerWatts": { "Reading": 2100.5 } }));
    put(LEAKS, &detectors("OK"));
    let loops = [("PrimaryCoolantConnectors", 18.1), ("SecondaryCoolantConnectors", 30.0)];
    for (name, supply) in loops {
        let one = format!("{}/1", below(name));
        put(&below(name), &json!({ "Members": [link(&one)] }));
        put(
            &one,
            &json!({
                "Id": "1",
                "SupplyTemperatureCelsius": { "Reading": supply },
                "ReturnTemperatureCelsius": { "Reading": supply + 8.0 },
                "FlowLitersPerMinute": { "Reading": 120 },
                "HeatRemovedkW": { "Reading": 66.9 },
                "SupplyPressurekPa": { "Reading": null },
            }),
        );
    }
    put(
        PDU,
        &json!({
            "Id": "1", "Metrics": link(&format!("{PDU}/Metrics")),
            "Outlets": link(&format!("{PDU}/Outlets")),
        }),
    );
    put(
        &format!("{PDU}/Metrics"),
        &json!({
            "PowerWatts": { "Reading": 6438, "PowerFactor": 0.93 }, "EnergykWh": { "Reading": 56438 },
        }),
    );
    let outlet = |id: &str| format!("{PDU}/Outlets/{id}");
    put(
        &format!("{PDU}/Outlets"),
        &json!({ "Members": [link(&outlet("A1")), link(&outlet("A2"))] }),
    );
    put(
        &outlet("A1"),
        &json!({
            "Id": "A1", "EnergykWh": { "Reading": 12.5 }, "Voltage": { "Reading": 229.4 },
            "PowerWatts": { "Reading": 412.25, "PowerFactor": 0.98 },
        }),
    );
    put(&outlet("A2"), &json!({ "Id": "A2", "PowerWatts": { "Reading": 0 } }));
}

/// Goal: coolant, outlets, sensors and leak detectors are read to the last digit as meters of their
/// own, each with what it tells and nothing else; a leak is told, shown, and told when it is over.
#[test]
fn a_cooling_unit_and_a_pdu_are_read_whole_and_a_leak_is_told() {
    let servers = Servers::new();
    plant(&servers);
    servers.mock("server");
    let (port, _plant) = servers.serve("plant", &[]);
    let (chassis, _server) = servers.serve("server", &[]);
    let section = |name: &str, port: u16, more: &str| {
        servers.section(name, port, &format!("allow_plain_http = true\n{more}"))
    };
    let cdu = section("cdu", port, &format!("equipment = \"{CDU}\""));
    let sections = cdu.clone()
        + &section("pdu", port, &format!("equipment = \"{PDU}\""))
        + &section("hall", chassis, "sensors = [\"AmbientTemp\", \"PS1Energy\"]");
    assert_read_whole(&servers.said("once", &sections));
    let site = Site::start("[[hub]]\nid = \"isb\"\ntitle = \"Islamabad\"\n");
    let agent = site.agent("isb", "gateway", &(others_off() + &cdu), &[]);
    let shown = |state: &str| {
        let line = format!("bijli_leak_state{{hub=\"isb\",meter=\"isb/cdu\"}} {state}\n");
        get(site.port, "/metrics/fleet").text().contains(&line).then_some(())
    };
    let told = |kind: &str, text: &str| {
        let events = site.json("/v1/events?hub=isb");
        let all = events["events"].as_array().expect("a list").clone();
        let is_it = |one: &&Value| one["kind"] == kind && one["text"] == text;
        all.iter().find(is_it).map(|one| one["severity"].clone())
    };
    eventually(&format!("dry\n{}", agent.printed()), 60, || shown("0"));
    let heat = "bijli_cooling_heat_watts{hub=\"isb\",meter=\"isb/cdu/secondary-1\"} 66900.000\n";
    assert!(get(site.port, "/metrics/fleet").text().contains(heat));
    heat_is_checked(&servers, &site);
    servers.put("plant", LEAKS, &detectors("Critical"));
    eventually("the leak is shown", 60, || shown("2"));
    let text = "leak detector \"manifold\": OK was, Critical is";
    assert_eq!(eventually("it is told", 60, || told("leak_detected", text)), "page");
    servers.put("plant", LEAKS, &detectors("Unavailable"));
    let text = "leak detector \"manifold\": it tells no state: nobody watches there";
    assert_eq!(eventually("nobody watches", 60, || told("leak_unwatched", text)), "ticket");
    let silent =
        || (!get(site.port, "/metrics/fleet").text().contains("bijli_leak_state{")).then_some(());
    eventually("no state is shown for the whole", 60, silent);
    servers.put("plant", LEAKS, &detectors("Warning"));
    eventually("a warning", 60, || shown("1"));
    servers.put("plant", LEAKS, &detectors("OK"));
    let text = "leak detector \"manifold\": Warning was, OK is";
    assert_eq!(eventually("it is over", 60, || told("leak_cleared", text)), "info");
}

/// What `once` reads of the plant and of the server, to the last digit.
fn assert_read_whole(once: &Value) {
    let value = |subject: &str, quantity: &str| -> Option<String> {
        let subjects = once["subjects"].as_array().expect("a list");
        let one = subjects.iter().find(|one| one["id"] == subject)?;
        let readings = one["readings"].as_array().expect("a list");
        let reading = readings.iter().find(|one| one["quantity"] == quantity)?;
        reading["value"].as_str().map(str::to_owned)
    };
    for (subject, quantity, expected) in [
        ("isb/cdu", "power_instant", Some("2100500")),
        ("isb/cdu", "leak_state", Some("0")),
        ("isb/cdu/primary-1", "supply_temperature", Some("18100")),
        ("isb/cdu/secondary-1", "return_temperature", Some("38000")),
        ("isb/cdu/primary-1", "flow", Some("2000")),
        ("isb/cdu/primary-1", "heat_removed", Some("66900000")),
        ("isb/cdu/primary-1", "supply_pressure", None),
        ("isb/pdu", "energy_register", Some("203176800000000")),
        ("isb/pdu/outlet-A1", "energy_register", Some("45000000000")),
        ("isb/pdu/outlet-A1", "power_instant", Some("412250")),
        ("isb/pdu/outlet-A1", "power_factor", Some("980000")),
        ("isb/pdu/outlet-A2", "power_instant", Some("0")),
        ("isb/pdu/outlet-A2", "energy_register", None),
        ("isb/hall/sensor-AmbientTemp", "temperature", Some("22500")),
        ("isb/hall/sensor-PS1Energy", "energy_register", Some("28278000000000")),
    ] {
        let found = value(subject, quantity);
        assert_eq!(found.as_deref(), expected, "{subject} {quantity}: {once}");
    }
}

/// The check of both loops, as API, command line, metrics and page tell it.
fn heat_is_checked(servers: &Servers, site: &Site) {
    let check = |verdict: &str| {
        let path = format!("/v1/checks?hub=isb&check=heat&verdict={verdict}");
        let answer = site.json(&path);
        answer["hubs"][0]["checks"].as_array().expect("a list").clone()
    };
    let passed = eventually("both loops balance", 30, || {
        let passed = check("pass");
        (passed.len() == 2).then_some(passed)
    });
    // 2 L/s by 8 K of water are 66.896 kW; its heat meter says 66.9.
    assert_eq!(passed[0]["measured"]["value"], "59", "{passed:?}");
    let one = format!("{CDU}/PrimaryCoolantConnectors/1");
    servers.edit("plant", &one, |it| it["HeatRemovedkW"] = json!({ "Reading": 80 }));
    let failed = eventually("it does not balance", 60, || check("fail").first().cloned());
    assert_eq!(failed["subject"], "isb/cdu/primary-1");
    assert_eq!(failed["measured"]["shown"], "19.59 %");
    assert_eq!(failed["measured"]["band"], "-5.00 % to 5.00 %");
    let url = format!("http://127.0.0.1:{}", site.port);
    let mut ask = Command::new(harness::program::binary("bijli-collector"));
    let out = ask.args(["checks", "--hub", "isb", "--verdict", "fail", "--url", &url]);
    let said = String::from_utf8(out.output().expect("it starts").stdout).expect("UTF-8");
    assert!(said.contains("fail        heat isb/cdu/primary-1"), "{said}");
    assert!(said.contains("its heat meter says 80.000 kW"), "{said}");
    let metrics = get(site.port, "/metrics/fleet");
    let metrics = metrics.text();
    for line in [
        "bijli_check_failed{hub=\"isb\",check=\"heat\",subject=\"isb/cdu/primary-1\"} 1\n",
        "bijli_checks{hub=\"isb\",check=\"heat\",verdict=\"pass\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let page = get(site.port, "/page/fragment");
    assert!(page.text().contains("heat isb/cdu/primary-1"), "{}", page.text());
    servers.edit("plant", &one, |it| it["HeatRemovedkW"] = json!({ "Reading": 66.9 }));
    eventually("it balances again", 60, || check("fail").is_empty().then_some(()));
}

/// Goal: another third party's service, which keeps its connections, answers 500 when told so, and
/// has leak detectors below a chassis and nothing else that is metered.
#[test]
fn s10_leak_detectors_of_another_service_are_read_and_outlast_its_failure() {
    let servers = Servers::new();
    let port = free_port();
    let mut hall = Command::new(harness::redfish::root().join(".venv/bin/python"));
    hall.arg(harness::redfish::root().join("tests/peers/leaking.py"))
        .args(["node7", &port.to_string()]);
    let hall = Program::start(&mut hall, &servers.path("hall.log"));
    eventually(&format!("the hall\n{}", hall.printed()), 60, || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    let fault = |fault: &Value| {
        let answer = ask("POST", port, "/sim/faults", fault.to_string().as_bytes());
        let answer = answer.expect("it answers").json();
        format!("/sim/faults/{}", answer["id"].as_str().expect("an id"))
    };
    let cleared = |fault: &str| drop(ask("DELETE", port, fault, b"").expect("it answers"));

    let site = Site::start("[[hub]]\nid = \"isb\"\ntitle = \"Islamabad\"\n");
    let section = servers.plain("node7", port);
    let agent = site.agent("isb", "gateway", &(others_off() + &section), &[]);
    let kinds = || {
        let events = site.json("/v1/events?hub=isb");
        let all = events["events"].as_array().expect("a list");
        let kinds = all.iter().filter_map(|one| one["kind"].as_str());
        kinds.filter(|kind| kind.starts_with("leak_")).map(str::to_owned).collect::<Vec<_>>()
    };
    let shown = |state: &str| {
        let line = format!("bijli_leak_state{{hub=\"isb\",meter=\"isb/node7\"}} {state}\n");
        get(site.port, "/metrics/fleet").text().contains(&line).then_some(())
    };
    eventually(&format!("dry\n{}", agent.printed()), 60, || shown("0"));
    assert_eq!(kinds(), Vec::<String>::new());
    let leak = fault(&json!({ "kind": "coolant_leak", "node": "node7" }));
    eventually("it leaks", 60, || shown("2"));
    eventually("both detectors tell", 60, || (kinds().len() == 2).then_some(()));
    let ill = fault(&json!({ "kind": "unreachable_node", "node": "node7", "mode": "http_500" }));
    eventually("its failure is told", 60, || agent.printed().contains("HTTP 500").then_some(()));
    cleared(&leak);
    cleared(&ill);
    eventually("it is dry again", 120, || shown("0"));
    eventually("and told", 60, || (kinds().len() == 4).then_some(()));
    let over = kinds().iter().filter(|kind| *kind == "leak_cleared").count();
    assert_eq!(over, 2, "{:?}", kinds());
}

/// A service of our own with room for two sessions, without basic authentication.
#[derive(Default)]
struct Desk {
    open: Vec<String>,
    logins: usize,
    ended: usize,
    /// Most that were open at once.
    most: usize,
    refused: usize,
}

const ROOM: usize = 2;

/// Starts it; it serves one server's document, and ends with the test.
fn desk() -> (u16, Arc<Mutex<Desk>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let desk = Arc::new(Mutex::new(Desk::default()));
    let shared = Arc::clone(&desk);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let desk = Arc::clone(&shared);
            std::thread::spawn(move || while serve(&mut stream, &desk).is_some() {});
        }
    });
    (port, desk)
}

/// One request over a connection that is kept.
fn serve(stream: &mut TcpStream, desk: &Mutex<Desk>) -> Option<()> {
    let (mut text, mut bytes) = (String::new(), [0_u8; 4_096]);
    let body_at = loop {
        let length = stream.read(&mut bytes).ok().filter(|length| *length > 0)?;
        text.push_str(&String::from_utf8_lossy(&bytes[..length]));
        if let Some(at) = text.find("\r\n\r\n") {
            break at + 4;
        }
    };
    let header = |name: &str| {
        let lines = text[..body_at].lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim().to_owned())
    };
    let token = header("x-auth-token");
    let length: usize = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while text.len() < body_at + length {
        let read = stream.read(&mut bytes).ok().filter(|read| *read > 0)?;
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    let mut words = text.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let (status, more, answer) = answer(desk, method, path, token, &text[body_at..]);
    let head = format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n", answer.len());
    stream.write_all((head + &answer).as_bytes()).ok()
}

fn answer(
    desk: &Mutex<Desk>,
    method: &str,
    path: &str,
    token: Option<String>,
    body: &str,
) -> (&'static str, String, String) {
    let mut desk = desk.lock().expect("no panic");
    let plain = |status| (status, String::new(), "{}".to_owned());
    let known = token.filter(|token| desk.open.contains(token));
    match (method, path) {
        ("POST", "/redfish/v1/SessionService/Sessions") => {
            let login: Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(login, json!({ "UserName": "bijli", "Password": "secret" }));
            desk.logins += 1;
            if desk.open.len() >= ROOM {
                desk.refused += 1;
                return plain("503 Service Unavailable");
            }
            let token = format!("t{}", desk.logins);
            desk.open.push(token.clone());
            desk.most = desk.most.max(desk.open.len());
            let place = format!("http://bmc/redfish/v1/SessionService/Sessions/{token}");
            let more = format!("X-Auth-Token: {token}\r\nLocation: {place}\r\n");
            ("201 Created", more, "{}".to_owned())
        }
        ("DELETE", path) => {
            let id = path.rsplit('/').next().unwrap_or_default().to_owned();
            let Some(token) = known.filter(|token| *token == id) else {
                return plain("401 Unauthorized");
            };
            desk.open.retain(|open| *open != token);
            desk.ended += 1;
            plain("204 No Content")
        }
        ("GET", _) if known.is_none() => plain("401 Unauthorized"),
        ("GET", "/redfish/v1/Chassis/1U") => {
            let metrics = link("Chassis/1U/EnvironmentMetrics");
            ("200 OK", String::new(), json!({ "EnvironmentMetrics": metrics }).to_string())
        }
        ("GET", "/redfish/v1/Chassis/1U/EnvironmentMetrics") => {
            let metrics = json!({ "PowerWatts": { "Reading": 374 } });
            ("200 OK", String::new(), metrics.to_string())
        }
        _ => plain("404 Not Found"),
    }
}

/// Goal: one session is enough for every tick; one that the server forgot is followed by one login;
/// none is left behind, neither by `once` nor by the agent's stop.
#[test]
fn s10_one_session_is_used_renewed_once_and_ended() {
    let servers = Servers::new();
    let (port, desk) = desk();
    let look = |what: fn(&Desk) -> usize| what(&desk.lock().expect("no panic"));
    let section =
        servers.section("n01", port, "allow_plain_http = true\nchassis = \"1U\"\nsession = true");
    for round in 1..=5 {
        let once = servers.said("once", &section);
        assert!(once.to_string().contains("374000"), "{once}");
        assert_eq!(look(|desk| desk.open.len()), 0, "round {round}");
        assert_eq!((look(|desk| desk.logins), look(|desk| desk.ended)), (round, round));
    }

    let site = Site::start("[[hub]]\nid = \"isb\"\ntitle = \"Islamabad\"\n");
    let mut agent = site.agent("isb", "gateway", &(others_off() + &section), &[]);
    let read = || {
        let meters = site.json("/v1/hubs/isb/meters");
        let one = meters["meters"].as_array().expect("a list").first().cloned()?;
        let last = one["register"]["last_reading"].as_str().map(str::to_owned);
        last.filter(|_| one["register"]["age_s"].as_u64().is_some_and(|age| age < 4))
    };
    eventually(&format!("it is read\n{}", agent.printed()), 60, read);
    assert_eq!(look(|desk| desk.logins), 6, "one for all ticks");
    for renewed in 1..=3 {
        desk.lock().expect("no panic").open.clear();
        eventually("a new session", 60, || (look(|desk| desk.logins) == 6 + renewed).then_some(()));
    }
    eventually("it is still read", 60, read);
    assert_eq!((look(|desk| desk.logins), look(|desk| desk.most)), (9, 1));
    assert_eq!(look(|desk| desk.refused), 0);
    assert!(agent.stop(20).success());
    assert_eq!(look(|desk| desk.open.len()), 0, "none is left behind");
}
