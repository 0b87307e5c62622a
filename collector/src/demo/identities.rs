//! The demo's authorities and certificates: made anew, valid for a day, gone with its folder.

use std::path::{Path, PathBuf};

use bijli_wire::{HubId, Millis, NodeId};

use super::{DemoError, HERE, quoted, simulate};
use crate::ca::{self, CaError, Init, Issue, Whom};
use crate::clock::Clock;
use crate::config::{Config, Overrides};
use crate::disk;

const DAY: Millis = Millis::new(86_400_000);
/// Nothing outlives its authority.
const TWO_DAYS: Millis = Millis::new(2 * 86_400_000);

/// Where they are. There are two hubs, so two authorities; everybody here believes both.
#[derive(Debug)]
pub(super) struct Identities {
    folder: PathBuf,
}

impl Identities {
    /// One certificate for the collector, one for this machine, one for each simulated sender.
    pub(super) fn make(agent: &Path, dir: &Path) -> Result<Self, DemoError> {
        let identities = Self { folder: dir.join("certificates") };
        let simulated = simulated_hub(agent, dir)?;
        let here = HubId::new(HERE).map_err(|_| no_name(HERE))?;
        let mut all = String::new();
        for hub in [&simulated, &here] {
            identities.authority(hub)?;
            let pem = disk::read_text(&identities.ca_dir(hub).join("ca.pem"));
            all.push_str(&pem.map_err(|source| files(&identities.folder, source))?);
        }
        let addresses = vec!["127.0.0.1".to_owned()];
        identities.issue(&simulated, Whom::Server(addresses), "collector", &all)?;
        identities.issue(&here, node(HERE)?, HERE, &all)?;
        for sender in simulate(agent, "--print-senders")?.lines() {
            identities.issue(&simulated, node(sender)?, &format!("senders/{sender}"), &all)?;
        }
        Ok(identities)
    }

    /// Of this machine's own agent.
    pub(super) fn here(&self) -> String {
        section("tls", &self.folder.join(HERE), "")
    }

    /// One folder each.
    pub(super) fn senders(&self) -> PathBuf {
        self.folder.join("senders")
    }

    pub(super) fn agents_section(&self) -> String {
        section("agents", &self.folder.join("collector"), "listen = \"127.0.0.1:0\"\n")
    }

    fn ca_dir(&self, hub: &HubId) -> PathBuf {
        self.folder.join(format!("authority-{hub}"))
    }

    fn authority(&self, hub: &HubId) -> Result<(), DemoError> {
        let asked = Init { hub: hub.clone(), dir: self.ca_dir(hub), valid_for: TWO_DAYS };
        ca::init(&asked, Clock.now()).map(drop).map_err(refused)
    }

    fn issue(&self, hub: &HubId, whom: Whom, name: &str, all: &str) -> Result<(), DemoError> {
        let out = self.folder.join(name);
        let asked =
            Issue { dir: self.ca_dir(hub), hub: None, whom, out: out.clone(), valid_for: DAY };
        ca::issue(&asked, Clock.now()).map_err(refused)?;
        // The collector's certificate is of the simulated hub's authority: all believe it too.
        disk::replace_text(&out.join("ca.pem"), all).map_err(|source| files(&out, source))
    }
}

/// The id in the simulated hub's own configuration.
fn simulated_hub(agent: &Path, dir: &Path) -> Result<HubId, DemoError> {
    let path = dir.join("simulated.toml");
    disk::write_text(&path, &simulate(agent, "--print-diagram")?)
        .map_err(|source| files(dir, source))?;
    let config = Config::load(&path, &Overrides::default()).map_err(DemoError::Config)?;
    config.hubs.first().map(|hub| hub.id.clone()).ok_or_else(|| no_name("no hub"))
}

fn section(name: &str, folder: &Path, first: &str) -> String {
    let file = |name: &str| quoted(&folder.join(name));
    format!(
        "[{name}]\n{first}ca = {}\ncertificate = {}\nkey = {}\n",
        file("ca.pem"),
        file("certificate.pem"),
        file("key.pem")
    )
}

fn node(name: &str) -> Result<Whom, DemoError> {
    NodeId::new(name).map(Whom::Node).map_err(|_| no_name(name))
}

fn no_name(name: &str) -> DemoError {
    DemoError::Diagram { words: format!("it names {name:?}") }
}

fn refused(error: CaError) -> DemoError {
    DemoError::Certificates(Box::new(error))
}

fn files(dir: &Path, source: std::io::Error) -> DemoError {
    DemoError::Files { dir: dir.to_owned(), source }
}
