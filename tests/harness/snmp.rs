//! Third-party SNMP agents of `tests/peers/snmp`, and net-snmp's own word on what they show.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::eventually;
use crate::program::{Program, free_port};

pub const USER: &str = "bijli";
pub const AUTH_PASSWORD: &str = "auctoritas1";
pub const PRIVACY_PASSWORD: &str = "privatus12";

fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/snmp")
}

fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the root");
    root.join(".venv/bin/python")
}

/// net-snmp's agent; what it shows below PDUs' and UPSs' names, a test sets.
#[derive(Debug)]
pub struct Snmpd {
    pub port: u16,
    folder: PathBuf,
    pub program: Program,
}

impl Snmpd {
    /// Starts it with `shown`: objects by name, `["integer", 982]`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(folder: &Path, shown: &Value) -> Self {
        let folder = folder.join("snmpd");
        std::fs::create_dir_all(&folder).expect("a folder");
        let port = free_port();
        let handler = format!(
            "{} {} {}",
            python().display(),
            peers().join("table.py").display(),
            folder.join("table.json").display()
        );
        let passes: String = ["1.3.6.1.4.1.318", "1.3.6.1.4.1.13742", "1.3.6.1.2.1.33"]
            .iter()
            .map(|name| format!("pass_persist .{name} {handler}\n"))
            .collect();
        let text = format!(
            "agentaddress udp:127.0.0.1:{port}\nsysDescr a PDU of the tests\n\
             createUser {USER} SHA-256 \"{AUTH_PASSWORD}\" AES \"{PRIVACY_PASSWORD}\"\n\
             rouser {USER} authpriv .1\nrocommunity public 127.0.0.1\n{passes}"
        );
        std::fs::write(folder.join("snmpd.conf"), text).expect("written");
        show(&folder, shown);
        let program = run(&folder);
        let snmpd = Self { port, folder, program };
        snmpd.wait();
        snmpd
    }

    fn wait(&self) {
        let of = || get_v3(self.port, "1.3.6.1.2.1.1.3.0");
        eventually(&format!("an answer of snmpd\n{}", self.program.printed()), 60, of);
    }

    /// Another process, with the same memory of its engine: its boots count one more.
    pub fn restart(&mut self) {
        self.program.stop(30);
        self.program = run(&self.folder);
        self.wait();
    }

    /// From the next request on.
    pub fn show(&self, shown: &Value) {
        show(&self.folder, shown);
    }

    /// What net-snmp's own snmpget reads, by version 3.
    ///
    /// # Panics
    /// When it reads no whole number.
    #[must_use]
    pub fn number(&self, name: &str) -> i64 {
        let text = get_v3(self.port, name).expect("an answer");
        text.parse().unwrap_or_else(|_| panic!("{name}: {text}"))
    }
}

fn show(folder: &Path, shown: &Value) {
    let temporary = folder.join("table.tmp");
    std::fs::write(&temporary, shown.to_string()).expect("written");
    std::fs::rename(&temporary, folder.join("table.json")).expect("in place");
}

fn run(folder: &Path) -> Program {
    let mut command = Command::new("/usr/sbin/snmpd");
    command.args(["-f", "-C", "-Lo", "-c"]).arg(folder.join("snmpd.conf"));
    command.env("SNMP_PERSISTENT_DIR", folder.join("var"));
    Program::start(&mut command, &folder.join("snmpd.log"))
}

fn get_v3(port: u16, name: &str) -> Option<String> {
    let user = ["-v3", "-l", "authPriv", "-u", USER, "-a", "SHA-256", "-A", AUTH_PASSWORD];
    let privacy = ["-x", "AES", "-X", PRIVACY_PASSWORD];
    get(port, &[&user[..], &privacy[..]].concat(), name)
}

/// One value as net-snmp's snmpget prints it, without its type.
fn get(port: u16, as_whom: &[&str], name: &str) -> Option<String> {
    let printed = Command::new("snmpget")
        .args(as_whom)
        .args(["-t", "2", "-Oqvt", &format!("127.0.0.1:{port}"), name])
        .env("MIBS", "")
        .output()
        .expect("snmpget: tests/install.sh");
    let text = String::from_utf8(printed.stdout).expect("UTF-8");
    printed.status.success().then(|| text.trim().to_owned())
}

/// snmpsim with `tests/peers/snmp/data`: the name of a file is its community.
#[derive(Debug)]
pub struct Snmpsim {
    pub port: u16,
    pub program: Program,
}

impl Snmpsim {
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        let port = free_port();
        let cache = folder.join("snmpsim");
        std::fs::create_dir_all(&cache).expect("a folder");
        let mut command = Command::new(python());
        command.args(["-m", "snmpsim.commands.responder"]);
        command.arg(format!("--data-dir={}", peers().join("data").display()));
        command.arg(format!("--cache-dir={}", cache.display()));
        command.arg(format!("--agent-udpv4-endpoint=127.0.0.1:{port}"));
        // It refuses to run as root unless it is told to.
        if rustix::process::geteuid().is_root() {
            command.args(["--process-user=root", "--process-group=root"]);
        }
        let program = Program::start(&mut command, &folder.join("snmpsim.log"));
        let sim = Self { port, program };
        eventually(&format!("an answer of snmpsim\n{}", sim.program.printed()), 60, || {
            get(port, &["-v2c", "-c", "eaton9px"], "1.3.6.1.2.1.1.2.0")
        });
        sim
    }

    /// What net-snmp's own snmpget reads there.
    ///
    /// # Panics
    /// When it reads no whole number.
    #[must_use]
    pub fn number(&self, community: &str, name: &str) -> i64 {
        let text = get(self.port, &["-v2c", "-c", community], name).expect("an answer");
        text.parse().unwrap_or_else(|_| panic!("{name}: {text}"))
    }
}

/// Objects of an APC rPDU2 that counts `energy` tenths of a kWh and draws `power` tens of watts.
#[must_use]
pub fn rpdu2(energy: i64, power: i64, serial: &str) -> Value {
    json!({
        "1.3.6.1.4.1.318.1.1.26.2.1.6.1": ["string", "v6.8.2"],
        "1.3.6.1.4.1.318.1.1.26.2.1.9.1": ["string", serial],
        "1.3.6.1.4.1.318.1.1.26.4.3.1.5.1": ["integer", power],
        "1.3.6.1.4.1.318.1.1.26.4.3.1.9.1": ["integer", energy],
        "1.3.6.1.4.1.318.1.1.26.4.3.1.17.1": ["integer", 98],
        "1.3.6.1.4.1.318.1.1.26.6.3.1.5.1": ["integer", 142],
        "1.3.6.1.4.1.318.1.1.26.6.3.1.6.1": ["integer", 230],
        "1.3.6.1.4.1.318.1.1.26.6.3.1.7.1": ["integer", 327],
    })
}

/// Files of secrets in `folder`; the settings that name them.
///
/// # Panics
/// When they cannot be written.
#[must_use]
pub fn user_settings(folder: &Path, auth_password: &str) -> String {
    let secret = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, format!("{text}\n")).expect("written");
        path.display().to_string()
    };
    let auth = secret(&format!("auth-{auth_password}"), auth_password);
    let privacy = secret("privacy", PRIVACY_PASSWORD);
    format!(
        "user = \"{USER}\"\nauth_password_file = \"{auth}\"\nprivacy_password_file = \"{privacy}\"\n"
    )
}

/// As [`user_settings`], for version 2c.
///
/// # Panics
/// When the file cannot be written.
#[must_use]
pub fn community_settings(folder: &Path, community: &str) -> String {
    let path = folder.join(format!("community-{community}"));
    std::fs::write(&path, format!("{community}\n")).expect("written");
    format!("community_file = \"{}\"\n", path.display())
}
