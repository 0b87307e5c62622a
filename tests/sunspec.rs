//! The real agent and third-party SunSpec meters (pymodbus): found wherever their list begins, and
//! read by it, whatever their model.

use std::path::Path;
use std::process::Command;

use harness::eventually;
use harness::program::{Program, binary, free_port};
use serde_json::Value;

fn meter(folder: &Path, base: u16, model: u16) -> (u16, Program) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the root");
    let port = free_port();
    let mut command = Command::new(root.join(".venv/bin/python"));
    command.arg(root.join("tests/peers/sunspec.py"));
    command.args([port.to_string(), base.to_string(), model.to_string()]);
    let program = Program::start(&mut command, &folder.join(format!("{model}.log")));
    eventually(&format!("a meter: {}", program.printed()), 60, || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    (port, program)
}

fn said(folder: &Path, command: &str, ports: &[u16]) -> Value {
    let others = ["nvml", "rapl", "host", "kernel_log"];
    let off: String = others.map(|name| format!("[{name}]\nenabled = false\n")).concat();
    let section = |(index, port): (usize, &u16)| {
        format!(
            "[[modbus]]\nmeter = \"isb/m{index}\"\naddress = \"127.0.0.1:{port}\"\n\
             timeout = \"5s\"\npower_max = \"2 MW\"\nprofile = \"sunspec\"\n"
        )
    };
    let sections: String = ports.iter().enumerate().map(section).collect();
    let spool = folder.join("spool").display().to_string();
    let text =
        format!("hub = \"isb\"\nnode = \"gateway\"\n{off}{sections}\n[spool]\ndir = \"{spool}\"\n");
    let config = folder.join("agent.toml");
    std::fs::write(&config, text).expect("written");
    let mut agent = Command::new(binary("bijli-agent"));
    let out = agent.args([command, "--json", "--config"]).arg(config).output().expect("it starts");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Goal: energy, power, frequency and voltages of all eight models, at all three places.
#[test]
fn a_sunspec_meter_is_found_and_read_for_what_it_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let places = [40_000, 50_000, 0];
    let models = [201, 202, 203, 204, 211, 212, 213, 214];
    let meters: Vec<(u16, Program)> = models
        .iter()
        .zip(places.iter().cycle())
        .map(|(model, base)| meter(folder.path(), *base, *model))
        .collect();
    let ports: Vec<u16> = meters.iter().map(|(port, _)| *port).collect();
    let once = said(folder.path(), "once", &ports);
    for (index, model) in models.iter().enumerate() {
        let readings = once["subjects"][index]["readings"].as_array().expect("a list").clone();
        let value = |quantity: &str, part: u64, key: &str| -> Option<String> {
            let is_it = |one: &&Value| one["quantity"] == quantity && one["part"] == part;
            Some(readings.iter().find(is_it)?[key].as_str().expect("a value").to_owned())
        };
        // 87,600,120 Wh; the float holds it exactly.
        let energy = value("energy_register", 0, "energy_mj");
        assert_eq!(energy.as_deref(), Some("315360432000000"), "{model}: {once}");
        assert_eq!(value("power_instant", 0, "value").as_deref(), Some("98420000"), "{model}");
        assert_eq!(value("frequency", 0, "value").as_deref(), Some("50020"), "{model}");
        let is_delta = model % 10 == 4;
        for (part, volts) in [(1, "230100"), (2, "229700"), (3, "231000")] {
            let expected = (!is_delta).then_some(volts);
            assert_eq!(value("voltage", part, "value").as_deref(), expected, "{model}");
        }
    }
    let check = said(folder.path(), "check", &ports);
    let third = check["probes"][2].to_string();
    for words in ["SunSpec model 203, at register 122", "Ampere M-203", "SN-1024", "1.2.3"] {
        assert!(third.contains(words), "{words}: {third}");
    }
    assert!(check["probes"][3].to_string().contains("the meter does not keep it"), "{check}");
}

/// Goal: a Modbus meter that is no SunSpec device says so.
#[test]
fn what_lists_nothing_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let meters = harness::meters::Meters::start(folder.path(), 600, 1);
    let check = said(folder.path(), "check", &[meters.port]).to_string();
    assert!(check.contains("no SunSpec device: no \\\"SunS\\\" at 40000, 50000, 0"), "{check}");
}
