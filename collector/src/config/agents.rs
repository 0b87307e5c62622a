//! The `[agents]` section: where nodes come to, and by which certificates both sides are known.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bijli_identity::{Certificate, Files, disk, server};
use bijli_wire::UtcMillis;
use serde::Deserialize;

use super::{Overrides, Problem, note};
use crate::ca::named;
use crate::ingest::denied;
use crate::journal::chain;

const LISTEN: &str = "0.0.0.0:8643";
/// From here on `check` calls a certificate one that must be renewed.
const DAYS_SOON: u64 = 10;
const DAY_MS: u64 = 86_400_000;

/// The agents' listener, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentsConfig {
    pub listen: SocketAddr,
    pub files: Files,
    /// Keys that are refused, one a line.
    pub denied: Option<PathBuf>,
}

/// The section as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentsText {
    listen: Option<String>,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    denied: Option<PathBuf>,
}

/// What the environment says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentsOverrides {
    pub listen: Option<String>,
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl AgentsOverrides {
    pub(super) fn from_env() -> Self {
        let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
        Self {
            listen: std::env::var("BIJLI_COLLECTOR_AGENTS_LISTEN").ok(),
            ca: path("BIJLI_COLLECTOR_AGENTS_CA"),
            certificate: path("BIJLI_COLLECTOR_AGENTS_CERTIFICATE"),
            key: path("BIJLI_COLLECTOR_AGENTS_KEY"),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `None`: there is no such section, agents come to the plain listener.
pub(super) fn check(
    text: Option<AgentsText>,
    folder: &Path,
    overrides: &Overrides,
    problems: &mut Vec<Problem>,
) -> Option<AgentsConfig> {
    let said = &overrides.agents;
    let text = match text {
        None if said.is_empty() => return None,
        text => text.unwrap_or_default(),
    };
    let listen = said.listen.clone().or(text.listen).unwrap_or_else(|| LISTEN.to_owned());
    let listen = listen.parse::<SocketAddr>();
    if listen.is_err() {
        note(
            problems,
            "agents.listen",
            "it is not an address and port",
            format!("write it like {LISTEN:?}"),
        );
    }
    let mut path = |key: &str, env: &Option<PathBuf>, file: Option<PathBuf>| {
        let path = env.clone().or_else(|| file.map(|file| folder.join(file)));
        if path.is_none() {
            note(
                problems,
                format!("agents.{key}"),
                "it is missing",
                "`bijli-collector ca issue --server` makes ca.pem, certificate.pem and key.pem",
            );
        }
        path
    };
    let ca = path("ca", &said.ca, text.ca);
    let certificate = path("certificate", &said.certificate, text.certificate);
    let key = path("key", &said.key, text.key);
    let files = Files { ca: ca?, certificate: certificate?, key: key? };
    if let Err(error) = files.load().and_then(|material| server::config(&material)) {
        note(problems, "agents", chain(&error), "agents could not connect");
    }
    let denied = text.denied.map(|file| folder.join(file));
    if let Some(Err(error)) = denied.as_deref().map(denied::read) {
        note(problems, "agents.denied", chain(&error), "one key hash a line, 64 digits");
    }
    Some(AgentsConfig { listen: listen.ok()?, files, denied })
}

impl AgentsConfig {
    /// The listener and its certificates in words, and what will soon be wrong with them.
    pub(super) fn explain(&self, now: UtcMillis) -> String {
        let mut rows = vec![
            ("listen", format!("{}, TLS 1.3, nodes' certificates only", self.listen)),
            ("files", self.files.certificate.display().to_string()),
        ];
        if let Ok(material) = self.files.load() {
            rows.push(("certificate", sentence(&material.own, now)));
            let authorities = material.authorities.iter();
            rows.extend(authorities.map(|found| ("believes", sentence(&found.facts, now))));
        }
        if disk::is_open_to_others(&self.files.key) {
            let words = format!("every user can read {}: chmod 600", self.files.key.display());
            rows.push(("WARNING", words));
        }
        let denied = match self.denied.as_deref().map(denied::read) {
            Some(Ok(keys)) => format!("{} keys", keys.len()),
            Some(Err(error)) => chain(&error),
            None => "nobody: no file is named".to_owned(),
        };
        rows.push(("denied", denied));
        let rows = rows.iter().map(|(name, value)| format!("    {name:12}  {value}\n"));
        format!("\nagents\n{}", rows.collect::<String>())
    }
}

/// Whom it names, and how long it lasts.
fn sentence(certificate: &Certificate, now: UtcMillis) -> String {
    let name = named(certificate);
    match certificate.left(now).map(|left| left.get() / DAY_MS) {
        None => format!("{name}: EXPIRED, renew it now"),
        _ if now < certificate.not_before => format!("{name}: not valid yet, compare the clocks"),
        Some(days) if days < DAYS_SOON => format!("{name}: {days} days left, RENEW IT"),
        Some(days) => format!("{name}: {days} days left"),
    }
}
