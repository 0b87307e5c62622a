//! A site under test: one collector and its agents, each with files in one temporary folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::eventually;
use crate::http::{Answer, ask, get};
use crate::pki::{Pki, tls_section};
use crate::program::{Program, binary, free_port};

/// A temporary folder and a collector in it.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    /// Of readers and schedulers; of agents too, at a plain site.
    pub port: u16,
    /// Of agents, by TLS; `None`: this site is plain.
    pub tls: Option<(u16, Pki)>,
    pub collector: Program,
}

impl Site {
    /// As [`Self::start`], and agents come by TLS with certificates of their own.
    #[must_use]
    pub fn start_tls(hubs: &str) -> Self {
        Self::begin("10s", hubs, true)
    }

    /// Starts a collector with `hubs` (TOML sections) and intervals of 10 s.
    #[must_use]
    pub fn start(hubs: &str) -> Self {
        Self::start_with("10s", hubs)
    }

    /// Starts a collector with `hubs` (TOML sections) and intervals of this length.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn start_with(interval: &str, hubs: &str) -> Self {
        Self::begin(interval, hubs, false)
    }

    /// As [`Self::start_with`]; with TLS or without.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn begin(interval: &str, hubs: &str, is_tls: bool) -> Self {
        Self::begin_under(interval, hubs, is_tls, &[])
    }

    /// As [`Self::begin`], with an environment for the collector.
    ///
    /// # Panics
    /// When it does not get ready.
    #[must_use]
    pub fn begin_under(interval: &str, hubs: &str, is_tls: bool, env: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let tls = is_tls.then(|| {
            let ids: Vec<&str> = hub_ids(hubs);
            (free_port(), Pki::new(&folder.path().join("pki"), &ids))
        });
        let agents = tls.as_ref().map(|(port, pki)| pki.agents_section(*port));
        let agents = agents.unwrap_or_default();
        let config = format!(
            "listen = \"127.0.0.1:{port}\"\ndir = \"{}\"\ninterval = \"{interval}\"\n\
             close_after = \"5s\"\ndisk_reserve = \"1 MiB\"\n{agents}{hubs}",
            folder.path().join("collector").display()
        );
        std::fs::write(folder.path().join("collector.toml"), config).expect("written");
        let collector = serve(folder.path(), env);
        let site = Self { folder, port, tls, collector };
        site.wait_until_ready();
        site
    }

    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// # Panics
    /// When the collector does not get ready in time.
    pub fn wait_until_ready(&self) {
        eventually(&format!("a ready collector:\n{}", self.collector.printed()), 60, || {
            ask("GET", self.port, "/readyz", b"").filter(|answer| answer.status == 200)
        });
    }

    /// Starts the collector again, on the same files and port.
    pub fn restart(&mut self) {
        self.collector = serve(self.folder.path(), &[]);
        self.wait_until_ready();
    }

    /// Starts an agent whose own settings are `settings` (TOML after the common keys).
    ///
    /// # Panics
    /// When its files cannot be written.
    #[must_use]
    pub fn agent(&self, hub: &str, node: &str, settings: &str, env: &[(&str, String)]) -> Program {
        let config = self.path(&format!("{node}.toml"));
        let (collector, tls) = match &self.tls {
            Some((port, pki)) => {
                (format!("https://localhost:{port}"), tls_section(&pki.node(hub, node)))
            }
            None => (format!("http://127.0.0.1:{}", self.port), String::new()),
        };
        let text = format!(
            "hub = \"{hub}\"\nnode = \"{node}\"\ncollector = \"{collector}\"\n\
             batch = \"2s\"\n{settings}\n{tls}[spool]\ndir = \"{}\"\n",
            self.path(&format!("{node}.spool")).display()
        );
        std::fs::write(&config, text).expect("written");
        let mut command = Command::new(binary("bijli-agent"));
        command.arg("run").arg("--config").arg(&config);
        command.envs(env.iter().map(|(name, value)| (*name, value.as_str())));
        Program::start(&mut command, &self.path(&format!("{node}.log")))
    }

    /// A JSON answer to a GET that must succeed. It is asked again when it says so.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn json(&self, path: &str) -> Value {
        let answer: Answer = eventually("a collector with time for a question", 30, || {
            Some(get(self.port, path)).filter(|answer| answer.status != 429)
        });
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    /// A metric without labels from `/metrics`, as its text.
    #[must_use]
    pub fn metric(&self, line_start: &str) -> Option<String> {
        let answer = get(self.port, "/metrics");
        let line = answer.text().lines().find(|line| line.starts_with(line_start))?.to_owned();
        line.rsplit(' ').next().map(str::to_owned)
    }

    /// A metric as a whole number; one that is not shown counts nothing yet.
    ///
    /// # Panics
    /// When it is no such number.
    #[must_use]
    pub fn number(&self, line_start: &str) -> u64 {
        self.metric(line_start).map_or(0, |text| text.parse().expect("a whole number"))
    }
}

/// The ids of `[[hub]]` sections.
fn hub_ids(hubs: &str) -> Vec<&str> {
    let sections = hubs.split("[[hub]]").skip(1);
    let ids = sections.filter_map(|text| text.split("id = \"").nth(1)?.split('"').next());
    ids.collect()
}

fn serve(folder: &Path, env: &[(&str, String)]) -> Program {
    let mut command = Command::new(binary("bijli-collector"));
    command.envs(env.iter().map(|(name, value)| (*name, value.as_str())));
    command.arg("serve").arg("--config").arg(folder.join("collector.toml"));
    Program::start(&mut command, &folder.join("collector.log"))
}

/// A decimal-string amount of the API.
///
/// # Panics
/// When the value is no such string.
#[must_use]
pub fn millijoules(value: &Value) -> u128 {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no amount: {value}"))
}
