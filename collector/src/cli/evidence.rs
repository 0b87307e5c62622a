//! The commands of the evidence: `seal`, `witness`, `verify`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bijli_tlog::{KeyKind, Policy, VerifierKey};
use bijli_wire::HubId;
use clap::{Args, Subcommand};

use super::load;
use crate::clock::Clock;
use crate::collector::block_on;
use crate::seal::{self, Anew, begin_anew, make_key};
use crate::verify::{self, Brought};
use crate::witness::{self, Keeper};
use crate::{disk, leaves};

#[derive(Debug, Subcommand)]
pub(super) enum Seal {
    /// Makes a signing key (mode 0400) and prints its verifier key.
    Key {
        /// A domain of yours; a witness's is its name.
        #[arg(long)]
        name: String,
        #[arg(long)]
        out: PathBuf,
        /// For a witness instead of a log.
        #[arg(long)]
        witness: bool,
    },
    /// Begins a new log for a hub whose leaves are truly gone; its first entry is the last head of
    /// the old one. The collector must be stopped.
    Anew {
        #[arg(long, default_value = "/etc/bijli/collector.toml")]
        config: PathBuf,
        #[arg(long)]
        hub: HubId,
        /// A checkpoint that somebody else kept, if it is newer than those at hand.
        #[arg(long)]
        old_head: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Witness {
    /// Cosigns what logs send (C2SP tlog-witness), until it is stopped.
    Serve {
        #[arg(long, default_value = "127.0.0.1:8660")]
        listen: SocketAddr,
        #[command(flatten)]
        who: Who,
    },
    /// Cosigns the checkpoint of a log whose files are at hand, and prints it.
    Once {
        #[command(flatten)]
        who: Who,
        /// The log's files: `tlog/HUB` in a collector's directory, or a copy of it.
        #[arg(long)]
        tiles: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct Who {
    /// What it knows of the logs is kept here; it must be there.
    #[arg(long)]
    dir: PathBuf,
    /// Made by `seal key --witness`.
    #[arg(long)]
    key: PathBuf,
    /// The verifier key of a log that is watched.
    #[arg(long = "log", required = true, value_parser = VerifierKey::parse)]
    logs: Vec<VerifierKey>,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The log's files: `tlog/HUB` in a collector's directory, or a copy of it.
    #[arg(long, required_unless_present = "dir")]
    tiles: Option<PathBuf>,
    /// A collector's directory: each of its hubs.
    #[arg(long, conflicts_with = "tiles")]
    dir: Option<PathBuf>,
    /// A verifier key of the log. Have it from elsewhere: where none is given, the one beside the
    /// log is believed.
    #[arg(long = "key", value_parser = VerifierKey::parse)]
    keys: Vec<VerifierKey>,
    /// Whose cosignatures are enough (C2SP tlog-policy); its logs are keys as well.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// A checkpoint that you kept.
    #[arg(long)]
    older: Vec<PathBuf>,
    #[arg(long)]
    json: bool,
}

pub(super) fn seal(asked: Seal) -> anyhow::Result<()> {
    match asked {
        Seal::Key { name, out, witness } => {
            let kind = if witness { KeyKind::Cosignature } else { KeyKind::Note };
            println!("{}", make_key(&out, &name, kind)?.verifier());
        }
        Seal::Anew { config, hub, old_head } => {
            let config = load(&config).context("the configuration is refused")?;
            let asked = config.seal.as_ref().context("the configuration has no [seal] section")?;
            // Held until the end: no collector runs meanwhile.
            let ledger = leaves::open(bijli_seglog::RealDisk, &config.dir.join("ledger"));
            let _held = ledger.context("the ledger log cannot be opened; stop the collector")?;
            let dir = config.dir.join(seal::DIR);
            let (signer, heads) = (asked.signer()?, asked.heads.as_deref());
            let old_head = old_head.as_deref();
            let anew = Anew { dir: &dir, hub: &hub, signer: &signer, heads, old_head };
            println!("{}", begin_anew(&anew, Clock.now())?);
        }
    }
    Ok(())
}

pub(super) fn witness(asked: Witness) -> anyhow::Result<()> {
    let open = |who: Who| Keeper::open(&who.dir, &who.key, who.logs);
    match asked {
        Witness::Serve { listen, who } => {
            block_on(witness::server::serve(listen, open(who)?))??;
        }
        Witness::Once { who, tiles } => print!("{}", open(who)?.once(&tiles, Clock.now())?),
    }
    Ok(())
}

pub(super) fn verify(asked: &Verify) -> anyhow::Result<()> {
    let logs = match (&asked.tiles, &asked.dir) {
        (Some(tiles), _) => vec![tiles.clone()],
        (None, Some(dir)) => logs_of(&dir.join(seal::DIR))?,
        (None, None) => anyhow::bail!("say --tiles or --dir"),
    };
    anyhow::ensure!(!logs.is_empty(), "there is no log: nothing was posted yet");
    let (mut all, mut wrong) = (Vec::new(), 0);
    for log in &logs {
        let verdict = verify::verify(log, &brought(asked, log)?);
        wrong += usize::from(!verdict.is_good());
        if !asked.json {
            print!("{}", verdict.show());
        }
        all.push(verdict);
    }
    if asked.json {
        println!("{}", serde_json::to_string_pretty(&all)?);
    }
    anyhow::ensure!(wrong == 0, "{wrong} of {} logs are not what they should be", logs.len());
    Ok(())
}

fn logs_of(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let names = disk::list(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let ours = names.iter().filter(|name| seal::hub_of(name).is_some());
    Ok(ours.map(|name| dir.join(name)).collect())
}

fn brought(asked: &Verify, log: &Path) -> anyhow::Result<Brought> {
    let read = |path: &Path| {
        disk::read_text(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut policy = match &asked.policy {
        Some(path) => Policy::parse(&read(path)?).context("the policy is refused")?,
        None => Policy::of_log(Vec::new()),
    };
    policy.logs.extend(asked.keys.iter().cloned());
    if policy.logs.is_empty() {
        let beside = log.join("key");
        anyhow::ensure!(
            beside.exists(),
            "{} is not signed and no --key was given: a collector signs when its configuration has \
             a [seal] section",
            log.display()
        );
        eprintln!("no key was given: {} is believed", beside.display());
        for line in read(&beside)?.lines() {
            policy.logs.push(VerifierKey::parse(line).context("the key beside the log is none")?);
        }
    }
    let older = asked.older.iter().map(|path| Ok((path.display().to_string(), read(path)?)));
    Ok(Brought { policy, older: older.collect::<anyhow::Result<_>>()? })
}
