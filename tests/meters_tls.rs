//! Modbus inside TLS: the real agent against a third-party meter (pymodbus on OpenSSL) that shows
//! a certificate and wants to see one. Who is not believed is asked nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::eventually;
use harness::program::{Program, binary, free_port};
use harness::site::Site;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, SanType,
};
use serde_json::Value;
use tempfile::TempDir;

/// 87,600,123,456 Wh in millijoules.
const ENERGY_MJ: &str = "315360444441600000";

/// Certificates of a plant, in files: `NAME.pem` and `NAME.key`.
struct Plant {
    folder: TempDir,
    authority: Issuer<'static, KeyPair>,
}

fn called(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Plant {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = called("plant");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("signed");
        std::fs::write(folder.path().join("ca.pem"), own.pem()).expect("written");
        let plant = Self { folder, authority: Issuer::new(params, key) };
        plant.signed("gateway", &[], ExtendedKeyUsagePurpose::ClientAuth);
        plant
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, pem: &str, key: &KeyPair) {
        std::fs::write(self.path(&format!("{name}.pem")), pem).expect("written");
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("written");
    }

    fn signed(&self, name: &str, hosts: &[&str], purpose: ExtendedKeyUsagePurpose) {
        let mut params = called(name);
        let host = |host: &&str| SanType::DnsName((*host).try_into().expect("ASCII"));
        params.subject_alt_names = hosts.iter().map(host).collect();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().expect("a key");
        self.write(name, &params.signed_by(&key, &self.authority).expect("signed").pem(), &key);
    }

    /// As many meters ship: self-signed, calls itself an authority, names nobody.
    fn self_signed(&self, name: &str) {
        let mut params = called(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        self.write(name, &params.self_signed(&key).expect("signed").pem(), &key);
    }

    /// SHA-256 of a certificate, by OpenSSL.
    fn fingerprint(&self, name: &str) -> String {
        let file = self.path(&format!("{name}.pem"));
        let words = ["x509", "-noout", "-fingerprint", "-sha256", "-in"];
        let out = Command::new("openssl").args(words).arg(file).output().expect("openssl");
        let text = String::from_utf8(out.stdout).expect("text");
        text.trim().split_once('=').expect("NAME=FINGERPRINT").1.to_owned()
    }

    /// Starts a meter with the certificate `name`.
    fn meter(&self, port: u16, name: &str, more: &[&str]) -> Program {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the root");
        let mut command = Command::new(root.join(".venv/bin/python"));
        command.arg(root.join("tests/peers/modbus_tls.py")).arg(port.to_string());
        command.arg(self.path(&format!("{name}.pem"))).arg(self.path(&format!("{name}.key")));
        command.args(more);
        let meter = Program::start(&mut command, &self.path(&format!("{name}-{port}.log")));
        let what = format!("the meter {name}");
        eventually(&what, 60, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        meter
    }

    /// Starts a meter that hears only clients of this plant.
    fn mutual(&self, port: u16, name: &str) -> Program {
        self.meter(port, name, &["--clients", &self.path("ca.pem").display().to_string()])
    }
}

/// The gateway's settings, with this table `tls`.
fn settings(port: u16, tls: &str) -> String {
    let others = ["nvml", "rapl", "host", "kernel_log"];
    let off: String = others.map(|name| format!("[{name}]\nenabled = false\n")).concat();
    format!(
        r#"{off}
[[modbus]]
meter = "isb/incomer"
address = "127.0.0.1:{port}"
every = "1s"
timeout = "5s"
power_max = "40 MW"
tls = {{ {tls} }}
registers = [
  {{ quantity = "energy_register", function = "holding", register = 3203, type = "i64", unit = "Wh" }},
  {{ quantity = "power_average", function = "holding", register = 3059, type = "f32", unit = "kW" }},
  {{ quantity = "voltage", function = "holding", register = 3027, type = "f32", unit = "V", part = 1 }},
]
"#
    )
}

/// What `bijli-agent COMMAND --json` says of the meter, whose files lie beside the configuration.
fn said(plant: &Plant, command: &str, port: u16, tls: &str) -> String {
    let config = plant.path("agent.toml");
    let spool = plant.path("spool").display().to_string();
    let text = format!("hub = \"isb\"\nnode = \"gateway\"\n{}", settings(port, tls));
    std::fs::write(&config, format!("{text}\n[spool]\ndir = \"{spool}\"\n")).expect("written");
    let mut agent = Command::new(binary("bijli-agent"));
    agent.args([command, "--json", "--config"]).arg(config);
    let out = agent.output().expect("it starts");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    said + &String::from_utf8_lossy(&out.stderr)
}

const WITH_OURS: &str = "certificate = \"gateway.pem\", key = \"gateway.key\"";

/// Goal: TLS both ways, believed by fingerprint, by file and by authority; by 1.3 and, where the
/// meter has no other, by 1.2. What is read is what the meter shows.
#[test]
fn a_meter_behind_tls_is_read_for_what_it_shows() {
    let plant = Plant::new();
    plant.self_signed("meter");
    plant.signed("named", &["meter.isb"], ExtendedKeyUsagePurpose::ServerAuth);
    let (own, named, old) = (free_port(), free_port(), free_port());
    let _meters = [
        plant.mutual(own, "meter"),
        plant.mutual(named, "named"),
        plant.meter(old, "meter", &["--tls12"]),
    ];
    let print = plant.fingerprint("meter");
    for (port, tls) in [
        (own, format!("pinned_sha256 = \"{print}\", {WITH_OURS}")),
        (own, format!("pinned = \"meter.pem\", {WITH_OURS}")),
        (named, format!("ca = \"ca.pem\", name = \"meter.isb\", {WITH_OURS}")),
        (old, "pinned = \"meter.pem\"".to_owned()),
    ] {
        let once = said(&plant, "once", port, &tls);
        let report: Value = serde_json::from_str(&once).unwrap_or_else(|e| panic!("{e}: {once}"));
        let readings = report["subjects"][0]["readings"].as_array().expect("a list").clone();
        let value = |index: usize, key: &str| readings[index][key].as_str().map(str::to_owned);
        assert_eq!(value(0, "energy_mj").as_deref(), Some(ENERGY_MJ), "{tls}: {once}");
        assert_eq!(value(1, "value").as_deref(), Some("98500000"), "{tls}: {once}");
        assert_eq!(value(2, "value").as_deref(), Some("230125"), "{tls}: {once}");
    }
    let digits = print.replace(':', "").to_lowercase();
    let check = said(&plant, "check", own, &format!("pinned = \"meter.pem\", {WITH_OURS}"));
    let words = format!("TLS 1.3, its certificate as pinned: sha256 {digits}");
    assert!(check.contains(&words), "{check}");
    let check = said(&plant, "check", old, "pinned = \"meter.pem\"");
    assert!(check.contains("TLS 1.2, its certificate as pinned"), "{check}");
}

/// Goal: whoever is not believed, and whoever does not believe us, is told in words; not one
/// request is sent.
#[test]
fn who_is_not_believed_is_asked_nothing() {
    let plant = Plant::new();
    plant.self_signed("meter");
    plant.self_signed("other");
    plant.signed("named", &["another.isb"], ExtendedKeyUsagePurpose::ServerAuth);
    let (own, named) = (free_port(), free_port());
    let meters = [plant.mutual(own, "meter"), plant.mutual(named, "named")];
    let prints = [plant.fingerprint("meter"), plant.fingerprint("other")];
    let [shown, pinned] = prints.map(|print| print.replace(':', "").to_lowercase());
    let other_pinned = format!("sha256 {shown}, and pinned is {pinned}");
    for (port, tls, words) in [
        (own, format!("pinned = \"other.pem\", {WITH_OURS}"), other_pinned.as_str()),
        (own, format!("ca = \"ca.pem\", {WITH_OURS}"), "its certificate is not believed"),
        (own, format!("ca = \"meter.pem\", {WITH_OURS}"), "pin it (`pinned`)"),
        (named, format!("ca = \"ca.pem\", {WITH_OURS}"), "not valid for name"),
        (own, "pinned = \"meter.pem\"".to_owned(), "it wants a certificate of ours"),
        (
            own,
            "pinned = \"meter.pem\", certificate = \"other.pem\", key = \"other.key\"".to_owned(),
            "it does not take our certificate",
        ),
        (
            own,
            "pinned = \"meter.pem\", certificate = \"gateway.pem\", key = \"other.key\"".to_owned(),
            "is not the key of",
        ),
    ] {
        let check = said(&plant, "check", port, &tls);
        let report: Value = serde_json::from_str(&check).unwrap_or_else(|e| panic!("{e}: {check}"));
        let error = report["probes"][0]["error"].as_str().unwrap_or_else(|| panic!("{check}"));
        assert!(error.contains(words), "{words}\n{error}");
    }
    let plain = free_port();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the root");
    let mut command = Command::new(root.join(".venv/bin/python"));
    command.arg(root.join("tests/peers/meters.py")).args([&plain.to_string(), "600", "1"]);
    let _plain = Program::start(&mut command, &plant.path("plain.log"));
    eventually("a plain meter", 60, || std::net::TcpStream::connect(("127.0.0.1", plain)).ok());
    let check = said(&plant, "check", plain, "pinned = \"meter.pem\"");
    assert!(check.contains("TLS") || check.contains("no answer within"), "{check}");
    for meter in &meters {
        assert!(!meter.printed().contains("asked"), "{}", meter.printed());
    }
}

/// Goal: the meter's certificate changes while the agent runs. It is told once and the meter is
/// not read; when the pinned one is back, so is the meter.
#[test]
fn a_certificate_that_changes_stops_the_reading_and_is_told() {
    let hub = "[[hub]]\nid = \"isb\"\ntitle = \"Islamabad\"\n[[hub.point]]\nid = \"incomer\"\n\
               role = \"grid\"\nmeter = \"isb/incomer\"\n";
    let site = Site::start(hub);
    let plant = Plant::new();
    plant.self_signed("meter");
    plant.self_signed("other");
    let port = free_port();
    let mut meter = plant.mutual(port, "meter");
    let file = |name: &str| plant.path(name).display().to_string();
    let tls = format!(
        "pinned = \"{}\", certificate = \"{}\", key = \"{}\"",
        file("meter.pem"),
        file("gateway.pem"),
        file("gateway.key")
    );
    let agent = site.agent("isb", "gateway", &settings(port, &tls), &[]);
    let age = || {
        let answer = site.json("/v1/hubs/isb/meters");
        answer["meters"][0]["register"]["age_s"].as_u64()
    };
    let is_fresh = || age().filter(|age| *age < 5);
    eventually(&format!("its count\n{}", agent.printed()), 60, is_fresh);
    meter.kill();

    let mut other = plant.mutual(port, "other");
    let changed = || {
        let events = site.json("/v1/hubs/isb/events");
        let all = events["nodes"].as_array().expect("a list").clone();
        let texts = all.iter().filter(|event| event["kind"] == "meter_changed");
        texts.map(|event| event["text"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    eventually("the change", 60, || (!changed().is_empty()).then_some(()));
    // It comes back to it a few times.
    eventually("its silence", 60, || age().filter(|age| *age > 12));
    let told = changed();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("it shows another certificate than the pinned one"), "{told:?}");
    assert!(!other.printed().contains("asked"), "{}", other.printed());
    other.kill();

    let _meter = plant.mutual(port, "meter");
    eventually("its count again", 90, is_fresh);
}
