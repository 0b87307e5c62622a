//! The agent's configuration: one TOML file, a few overrides from the environment.
//!
//! # Invariants
//! - An unknown key is refused with its file and line; a number has its unit.
//! - Readings do not leave this machine in plain text unless the operator says so.
#![expect(clippy::disallowed_methods, reason = "this is the config.rs that may touch files")]

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use bijli_identity::Files;
use bijli_wire::id::IdError;
use bijli_wire::{HubId, Millis, NodeId};
use serde::Deserialize;

use crate::holders::{HoldsFileConfig, JobFilesConfig, KubeletConfig, SlurmConfig, WatchConfig};
use crate::probe::{
    ProbesConfig, host, hwmon, ipmi, kmsg, modbus, nvml, rapl, redfish, replay, snmp,
};
use crate::spool::{BYTES_MIN, Limits};
use bijli_wire::quantity::{de_duration, de_size};

pub const PATH: &str = "/etc/bijli/agent.toml";
/// The environment overrides `collector`, `hub`, `node`, `listen` and `spool.dir`.
pub const ENV_PREFIX: &str = "BIJLI_AGENT_";
/// A batch holds at most so much time, so that no body passes the wire's limits.
const BATCH_MS: std::ops::RangeInclusive<u64> = 1_000..=60_000;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "cannot read {path}: write one (agent.example.toml shows every key) or give --config FILE",
        path = path.display()
    )]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {words}", path = path.display())]
    Parse { path: PathBuf, words: String },
    #[error("{path}: {key}: {source}", path = path.display())]
    Name { path: PathBuf, key: &'static str, source: IdError },
    #[error("{path}: {key}: {rule}", path = path.display())]
    Rule { path: PathBuf, key: &'static str, rule: String },
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct Config {
    pub hub: HubId,
    pub node: NodeId,
    pub collector: CollectorUrl,
    /// Who this node is to the collector; there where `collector` is `https`.
    pub tls: Option<Files>,
    /// The collector is on another machine and reached in plain text; warn at each start.
    pub is_plain_http_abroad: bool,
    pub spool_dir: PathBuf,
    pub limits: Limits,
    /// Time from one batch to the next, in whole seconds.
    pub batch: Millis,
    /// Where `/metrics` is served; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    pub probes: ProbesConfig,
    pub slurm: SlurmConfig,
    pub watch: WatchConfig,
}

/// Where the collector is: `https://host[:port]`, or `http://host[:port]` on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorUrl {
    pub is_tls: bool,
    pub host: String,
    pub port: u16,
}

impl CollectorUrl {
    const PORT: u16 = 8640;
    const TLS_PORT: u16 = 8643;

    /// Without TLS.
    #[must_use]
    pub fn plain(host: &str, port: u16) -> Self {
        Self { is_tls: false, host: host.to_owned(), port }
    }

    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "write for example \"https://collector.example:8643\"";
        let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(format!("no URL: {example}")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@', ' ']) {
            return Err(format!("only a host and a port are wanted: {example}"));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let port = port.parse().map_err(|_| format!("no port: {port:?}; {example}"))?;
                (host, port)
            }
            Some(_) | None => (rest, if is_tls { Self::TLS_PORT } else { Self::PORT }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(format!("no host: {example}"));
        }
        Ok(Self { is_tls, host: host.to_owned(), port })
    }

    /// Whether what is sent there stays on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }
}

impl std::fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    hub: Option<String>,
    node: Option<String>,
    #[serde(default = "collector_default")]
    collector: String,
    #[serde(default)]
    allow_plain_http: bool,
    #[serde(default = "batch_default", deserialize_with = "de_duration")]
    batch: Millis,
    listen: Option<SocketAddr>,
    tls: Option<TlsTable>,
    #[serde(default)]
    spool: SpoolTable,
    #[serde(default)]
    nvml: nvml::NvmlConfig,
    #[serde(default)]
    rapl: rapl::RaplConfig,
    #[serde(default)]
    host: host::HostConfig,
    #[serde(default)]
    kernel_log: kmsg::KmsgConfig,
    #[serde(default)]
    slurm: SlurmConfig,
    #[serde(default)]
    job_files: JobFilesConfig,
    #[serde(default)]
    holds_file: HoldsFileConfig,
    #[serde(default)]
    kubelet: KubeletConfig,
    #[serde(default)]
    modbus: Vec<modbus::ModbusConfig>,
    #[serde(default)]
    ipmi: Vec<ipmi::IpmiConfig>,
    #[serde(default)]
    redfish: Vec<redfish::RedfishConfig>,
    #[serde(default)]
    hwmon: Vec<hwmon::HwmonConfig>,
    #[serde(default)]
    snmp: Vec<snmp::SnmpConfig>,
    #[serde(default)]
    replay: Vec<replay::ReplayConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsTable {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SpoolTable {
    dir: PathBuf,
    #[serde(deserialize_with = "de_size")]
    bytes_max: u64,
    #[serde(deserialize_with = "de_duration")]
    keep_acked: Millis,
}

impl Default for SpoolTable {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("/var/lib/bijli-agent"),
            bytes_max: 256 << 20,
            keep_acked: Millis::new(7 * 24 * 3_600_000),
        }
    }
}

fn collector_default() -> String {
    "http://127.0.0.1:8640".to_owned()
}

const fn batch_default() -> Millis {
    Millis::new(5_000)
}

/// Reads the file and applies the environment.
///
/// # Errors
/// Says which file, line and key, and what to write instead.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, path, env)
}

fn parse(
    text: &str,
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let mut file: File = toml::from_str(text).map_err(|e| ConfigError::Parse {
        path: path.to_owned(),
        words: e.to_string().trim_end().to_owned(),
    })?;
    let env = |key: &str| env(&format!("{ENV_PREFIX}{key}")).filter(|value| !value.is_empty());
    let rule = |key, rule: String| ConfigError::Rule { path: path.to_owned(), key, rule };
    let name = |key| move |source| ConfigError::Name { path: path.to_owned(), key, source };
    let missing = |key, example: &str| rule(key, format!("is missing: write {key} = {example:?}"));

    let hub = env("HUB").or(file.hub.take()).ok_or_else(|| missing("hub", "isb"))?;
    let node = env("NODE").or(file.node.take()).ok_or_else(|| missing("node", "isb-n01"))?;
    let collector = env("COLLECTOR").unwrap_or_else(|| file.collector.clone());
    let collector = CollectorUrl::parse(&collector).map_err(|e| rule("collector", e))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    file.modbus.iter_mut().for_each(|meter| meter.locate(folder));
    file.ipmi.iter_mut().for_each(|bmc| bmc.locate(folder));
    file.redfish.iter_mut().for_each(|server| server.locate(folder));
    let host = file.host.enabled.then_some(node.as_str());
    file.snmp.iter_mut().for_each(|device| device.locate(folder));
    let probes = ProbesConfig {
        nvml: file.nvml,
        rapl: file.rapl,
        host: file.host,
        kernel_log: file.kernel_log,
        modbus: file.modbus,
        ipmi: file.ipmi,
        redfish: file.redfish,
        hwmon: file.hwmon,
        snmp: file.snmp,
        replay: file.replay,
    };
    check_subjects(&probes, host).map_err(|(key, words)| rule(key, words))?;
    let tls = check_tls(&collector, file.tls, path).map_err(|e| rule("tls", e))?;
    let is_abroad = !collector.is_tls && !collector.is_loopback();
    if is_abroad && !file.allow_plain_http {
        let words = format!(
            "{collector} is another machine, and plain HTTP there can be read and altered on the \
             way; write https and a [tls] section, or allow_plain_http = true"
        );
        return Err(rule("collector", words));
    }
    if !BATCH_MS.contains(&file.batch.get()) || !file.batch.get().is_multiple_of(1_000) {
        return Err(rule("batch", "whole seconds from \"1s\" to \"60s\" are possible".to_owned()));
    }
    if file.spool.bytes_max < BYTES_MIN {
        return Err(rule("spool.bytes_max", format!("at least \"{} MiB\"", BYTES_MIN >> 20)));
    }
    file.slurm.check().map_err(|words| rule("slurm", words))?;
    let File { job_files, holds_file, kubelet, .. } = file;
    let watch = WatchConfig { job_files, holds_file, kubelet };
    watch.check(&file.slurm).map_err(|(key, words)| rule(key, words))?;
    let listen = match env("LISTEN") {
        Some(text) => Some(text.parse().map_err(|_| {
            rule("listen", format!("{text:?} is no address: write \"127.0.0.1:8641\""))
        })?),
        None => file.listen,
    };
    Ok(Config {
        hub: HubId::new(&hub).map_err(name("hub"))?,
        node: NodeId::new(&node).map_err(name("node"))?,
        collector,
        tls,
        is_plain_http_abroad: is_abroad,
        spool_dir: env("SPOOL_DIR").map_or(file.spool.dir, PathBuf::from),
        limits: Limits { bytes_max: file.spool.bytes_max, keep_acked: file.spool.keep_acked },
        batch: file.batch,
        listen,
        slurm: file.slurm,
        watch,
        probes,
    })
}

/// Certificates where TLS is spoken, and nowhere else. Their paths are relative to the file's.
fn check_tls(
    collector: &CollectorUrl,
    table: Option<TlsTable>,
    path: &Path,
) -> Result<Option<Files>, String> {
    let folder = path.parent().unwrap_or(Path::new("."));
    match table {
        Some(_) if !collector.is_tls => {
            Err(format!("{collector} is plain HTTP, and shows no certificate: write https"))
        }
        None if collector.is_tls => {
            Err("is missing: `bijli-collector ca issue --node` makes ca.pem, certificate.pem and \
                 key.pem; write [tls] with ca, certificate and key"
                .to_owned())
        }
        Some(TlsTable { ca, certificate, key }) => Ok(Some(Files {
            ca: folder.join(ca),
            certificate: folder.join(certificate),
            key: folder.join(key),
        })),
        None => Ok(None),
    }
}

/// What no type can say of the configured meters and traces, and that each has a name of its own:
/// two of one name would be booked as one register that jumps.
fn check_subjects(probes: &ProbesConfig, host: Option<&str>) -> Result<(), (&'static str, String)> {
    let wrong = |key, id: &str, why: String| (key, format!("meter {id:?}: {why}"));
    for meter in &probes.modbus {
        meter.check().map_err(|why| wrong("modbus", &meter.meter, why))?;
    }
    for bmc in &probes.ipmi {
        bmc.check().map_err(|why| wrong("ipmi", &bmc.meter, why))?;
    }
    for server in &probes.redfish {
        server.check().map_err(|why| wrong("redfish", &server.meter, why))?;
    }
    for sensor in &probes.hwmon {
        sensor.check().map_err(|why| wrong("hwmon", &sensor.meter, why))?;
    }
    for device in &probes.snmp {
        let why = |why| ("snmp", format!("device {:?}: {why}", device.address));
        device.check().map_err(why)?;
    }
    let meters = probes.modbus.iter().map(|meter| ("modbus", meter.meter.as_str()));
    let bmcs = probes.ipmi.iter().map(|bmc| ("ipmi", bmc.meter.as_str()));
    let servers = probes.redfish.iter().map(|server| ("redfish", server.meter.as_str()));
    let sensors = probes.hwmon.iter().map(|sensor| ("hwmon", sensor.meter.as_str()));
    let of_devices = probes.snmp.iter().flat_map(|device| &device.meters);
    let of_devices = of_devices.map(|meter| ("snmp", meter.meter.as_str()));
    let traces = probes.replay.iter().map(|trace| ("replay", trace.subject.as_str()));
    let mut seen: BTreeSet<&str> = host.into_iter().collect();
    for (key, subject) in
        meters.chain(bmcs).chain(servers).chain(sensors).chain(of_devices).chain(traces)
    {
        if !seen.insert(subject) {
            let whose =
                if Some(subject) == host { "is the node's own name" } else { "is named twice" };
            return Err((key, format!("{subject:?} {whose}: give each subject an id of its own")));
        }
    }
    Ok(())
}

/// Makes the spool's directory and a file in it, and removes the file: for `check`.
///
/// # Errors
/// If the agent could not write there.
pub fn try_write(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let path = dir.join("check.tmp");
    std::fs::write(&path, b"bijli-agent check")?;
    std::fs::remove_file(&path)
}

/// Writes a report (truth of a simulated fleet), whole or not at all.
///
/// # Errors
/// If the disk does not take it.
pub fn write_report(path: &Path, text: &str) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}

/// Resident memory in bytes and CPU time in clock ticks, from the kernel; `None` where it does
/// not tell.
#[must_use]
pub fn own_cost() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.split_whitespace().next()?.parse().ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((kibibytes << 10, user + system))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        parse(text, Path::new("agent.toml"), &|_| None).map_err(|e| e.to_string())
    }

    const LEAST: &str = "hub = \"isb\"\nnode = \"isb-n01\"\n";

    #[test]
    fn the_least_file_has_all_defaults() {
        let config = read(LEAST).unwrap();
        assert_eq!(config.collector.to_string(), "http://127.0.0.1:8640");
        assert_eq!(config.batch, Millis::new(5_000));
        assert_eq!(config.limits.bytes_max, 256 << 20);
        assert_eq!(config.limits.keep_acked, Millis::new(604_800_000));
        assert_eq!(config.listen, None);
    }

    #[test]
    fn the_shipped_example_is_read() {
        let config = read(include_str!("../agent.example.toml")).unwrap();
        assert_eq!(config.hub.as_str(), "isb");
        assert_eq!(config.listen, Some("127.0.0.1:8641".parse().unwrap()));
    }

    /// Goal: every line that the example offers in a comment is one that is accepted.
    #[test]
    fn the_shipped_example_is_read_with_every_offer_taken() {
        let text: String = include_str!("../agent.example.toml")
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = read(&text).unwrap();
        assert_eq!((config.probes.modbus.len(), config.probes.replay.len()), (3, 1));
        assert_eq!((config.probes.ipmi.len(), config.probes.hwmon.len()), (2, 1));
        assert_eq!(config.probes.redfish.len(), 2);
        assert_eq!(config.probes.snmp.iter().map(|one| one.meters.len()).sum::<usize>(), 3);
    }

    #[test]
    fn mistakes_are_refused_with_their_place_and_a_hint() {
        for (text, expected) in [
            ("hub = \"isb\"\nnode = \"n\"\ncolector = \"x\"\n", "line 3"),
            ("hub = \"isb\"\nnode = \"n\"\ncolector = \"x\"\n", "colector"),
            ("node = \"n\"\n", "hub = \"isb\""),
            ("hub = \"isb\"\nnode = \"n 1\"\n", "character ' '"),
            ("hub = \"isb\"\nnode = \"n\"\nbatch = 5\n", "line 3"),
            ("hub = \"isb\"\nnode = \"n\"\nbatch = \"1500ms\"\n", "whole seconds"),
            ("hub = \"isb\"\nnode = \"n\"\n[spool]\nbytes_max = \"1 MiB\"\n", "16 MiB"),
            ("hub = \"isb\"\nnode = \"n\"\ncollector = \"10.0.0.5:8640\"\n", "no URL"),
            (
                "hub = \"isb\"\nnode = \"n\"\ncollector = \"https://c:1\"\n",
                "tls: is missing: `bijli",
            ),
            (
                "hub = \"isb\"\nnode = \"n\"\n[tls]\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\"\n",
                "tls: http://127.0.0.1:8640 is plain HTTP",
            ),
            ("hub = \"isb\"\nnode = \"n\"\ncollector = \"http://10.0.0.5\"\n", "allow_plain_http"),
        ] {
            let refused = read(text).expect_err(text);
            assert!(refused.contains(expected), "{text} gave {refused}");
            assert!(refused.starts_with("agent.toml"), "{refused}");
        }
    }

    /// Goal: a meter that could never be read, or booked, is refused before anything runs.
    #[test]
    fn meters_are_checked_at_once() {
        let meter = |name: &str, quantity: &str| {
            format!(
                "[[modbus]]\nmeter = \"{name}\"\naddress = \"127.0.0.1:502\"\npower_max = \"1 MW\"\n\
                 registers = [{{ quantity = \"{quantity}\", function = \"holding\", register = 1, \
                 type = \"i64\", unit = \"Wh\" }}]\n"
            )
        };
        let good = meter("m", "energy_register");
        let trace = "[[replay]]\nsubject = \"m\"\nfile = \"f\"\nformat = \"csv\"\n\
                     integrate = \"previous\"\npower_max = \"1 kW\"\n";
        let device = |meters: &str| {
            format!(
                "[[snmp]]\naddress = \"10.0.0.9\"\nprofile = \"ups-mib\"\n\
                 community_file = \"c\"\nmeters = [{meters}]\n"
            )
        };
        let of_device = "{ meter = \"m\", power_max = \"1 MW\" }";
        assert!(read(&format!("{LEAST}{good}")).is_ok());
        assert!(read(&format!("{LEAST}{}", device(of_device))).is_ok());
        // Where nothing else is called after the node, its meter may be.
        let apart =
            format!("{LEAST}{}[host]\nenabled = false\n", meter("isb-n01", "energy_register"));
        assert!(read(&apart).is_ok());
        for (text, expected) in [
            (good.repeat(2), "modbus: \"m\" is named twice: give each"),
            (format!("{good}{trace}"), "replay: \"m\" is named twice"),
            (format!("{good}{}", device(of_device)), "snmp: \"m\" is named twice"),
            (device(""), "snmp: device \"10.0.0.9\": it has no meters"),
            (meter("isb-n01", "energy_register"), "is the node's own name"),
            (meter("m", "enrgy"), "modbus: meter \"m\": register 1: \"enrgy\" is no quantity"),
        ] {
            let refused = read(&format!("{LEAST}{text}")).expect_err(expected);
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn tls_files_are_relative_to_the_configuration() {
        let text = format!(
            "{LEAST}collector = \"https://c.example\"\n\
             [tls]\nca = \"ca.pem\"\ncertificate = \"/x/c.pem\"\nkey = \"k.pem\"\n"
        );
        let config = parse(&text, Path::new("/etc/bijli/agent.toml"), &|_| None).unwrap();
        assert_eq!(config.collector.to_string(), "https://c.example:8643");
        assert!(!config.is_plain_http_abroad);
        let files = config.tls.unwrap();
        assert_eq!(files.ca, Path::new("/etc/bijli/ca.pem"));
        assert_eq!(files.certificate, Path::new("/x/c.pem"));
    }

    #[test]
    fn plain_http_abroad_is_allowed_only_by_name() {
        let text = format!("{LEAST}collector = \"http://c.example\"\nallow_plain_http = true\n");
        let config = read(&text).unwrap();
        assert!(config.is_plain_http_abroad);
        assert!(!read(LEAST).unwrap().is_plain_http_abroad);
    }

    #[test]
    fn the_environment_goes_first() {
        let env = |key: &str| match key {
            "BIJLI_AGENT_COLLECTOR" => Some("http://[::1]:9".to_owned()),
            "BIJLI_AGENT_NODE" => Some("other".to_owned()),
            "BIJLI_AGENT_SPOOL_DIR" => Some("/tmp/s".to_owned()),
            "BIJLI_AGENT_LISTEN" => Some("127.0.0.1:0".to_owned()),
            _ => None,
        };
        let config = parse(LEAST, Path::new("agent.toml"), &env).unwrap();
        assert_eq!(config.collector, CollectorUrl::plain("::1", 9));
        assert_eq!(config.collector.to_string(), "http://[::1]:9");
        assert_eq!(config.node.as_str(), "other");
        assert_eq!(config.spool_dir, Path::new("/tmp/s"));
        assert!(config.listen.is_some());
    }
}
