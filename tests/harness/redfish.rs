//! Mock-ups of Redfish services, served by sushy-static: files that are read at each request.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::eventually;
use crate::program::{Program, binary, free_port};

/// The repository.
///
/// # Panics
/// Never: this folder is in it.
#[must_use]
pub fn root() -> &'static Path {
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
#[derive(Debug)]
pub struct Servers(TempDir);

impl Default for Servers {
    fn default() -> Self {
        Self::new()
    }
}

impl Servers {
    /// # Panics
    /// Without a temporary folder.
    #[must_use]
    pub fn new() -> Self {
        let servers = Self(tempfile::tempdir().expect("a folder"));
        std::fs::write(servers.path("password"), "secret\n").expect("written");
        servers
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A server of this name as DMTF publishes it.
    ///
    /// # Panics
    /// Where it cannot be copied.
    pub fn mock(&self, name: &str) {
        copy(&root().join("tests/peers/redfish/public-rackmount1"), &self.path(name));
    }

    /// Adds a document to a mock-up.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn put(&self, name: &str, document: &str, value: &Value) {
        let folder = self.path(name).join(document);
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("index.json"), value.to_string()).expect("written");
    }

    /// Changes one document of a mock-up, at once.
    ///
    /// # Panics
    /// Where there is none.
    pub fn edit(&self, name: &str, document: &str, change: impl Fn(&mut Value)) {
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

    /// Starts a server of a mock-up.
    ///
    /// # Panics
    /// Where it does not come up.
    #[must_use]
    pub fn serve(&self, name: &str, more: &[&str]) -> (u16, Program) {
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
    ///
    /// # Panics
    /// Where openssl makes none.
    #[must_use]
    pub fn certificate(&self, name: &str) -> (String, String) {
        let file = |end: &str| self.path(&format!("{name}.{end}")).display().to_string();
        let (certificate, key) = (file("pem"), file("key"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bmc"]);
        openssl.args(["-days", "2", "-keyout", &key, "-out", &certificate]);
        assert!(openssl.output().expect("openssl").status.success());
        (certificate, key)
    }

    #[must_use]
    pub fn section(&self, name: &str, port: u16, more: &str) -> String {
        format!(
            "[[redfish]]\nmeter = \"isb/{name}\"\naddress = \"127.0.0.1:{port}\"\n\
             user = \"bijli\"\npassword_file = \"{}\"\nevery = \"2s\"\ntimeout = \"1500ms\"\n\
             power_max = \"12 kW\"\n{more}\n",
            self.path("password").display()
        )
    }

    #[must_use]
    pub fn plain(&self, name: &str, port: u16) -> String {
        self.section(name, port, "allow_plain_http = true")
    }

    /// What `bijli-agent COMMAND --json` says of these servers.
    ///
    /// # Panics
    /// Where it says no JSON.
    #[must_use]
    pub fn said(&self, command: &str, sections: &str) -> Value {
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

/// Every probe that a machine may have of its own, off.
#[must_use]
pub fn others_off() -> String {
    let others = ["nvml", "rapl", "host", "kernel_log"];
    others.map(|name| format!("[{name}]\nenabled = false\n")).concat()
}
