//! The command line: `serve`, `check`, `status`, `pue`, `kpi`, `balance`, `diagram`, `energy`,
//! `budgets`, `events`, `checks`, `meterbook`, `period`, `retire`, `replay`, `report`, `pack`,
//! `demo`, `ca`, `seal`, `witness`, `verify`.
//!
//! Programs end with 0, with 1 and words on stderr where something failed, with 2 where the command
//! line is wrong, and `pue` and `kpi` with 3 where the answer is that there is none.

mod evidence;

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bijli_ledger::Month;
use bijli_wire::{HubId, Millis, NodeId, quantity};
use clap::{Args, Parser, Subcommand};

use crate::answers::{self, Question};
use crate::ca;
use crate::clock::Clock;
use crate::collector::{block_on, serve};
use crate::config::{Config, ConfigError, Overrides};
use crate::demo::{self, Plan};
use crate::{leaves, pack, replay, report, status};

/// Journals what agents send, books every millijoule, answers for PUE and projects.
#[derive(Debug, Parser)]
#[command(name = "bijli-collector", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs until it is stopped.
    Serve(At),
    /// Explains the whole configuration, and everything that is wrong with it.
    Check(At),
    /// Asks a running collector how it fares.
    Status {
        #[arg(long, default_value = "http://127.0.0.1:8640")]
        url: String,
        /// As JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    Ask(Question),
    /// Rebuilds the books from the journal of a stopped collector and prints their digest.
    Replay(Replay),
    /// Writes the report of a hub's month from the ledger log of a stopped collector.
    Report(Report),
    /// Writes the audit pack of a hub's month: the report, its leaves in their signed tree, and
    /// what checks them. The collector may be running.
    Pack(Pack),
    /// Plays a simulated hub against a collector of its own, on this machine, and shows it.
    Demo(Demo),
    /// Makes a hub's authority, and certificates for its nodes and collector.
    #[command(subcommand)]
    Ca(Ca),
    /// Makes keys that sign the ledger; begins a new log where one was lost.
    #[command(subcommand)]
    Seal(evidence::Seal),
    /// Watches over the logs of others: cosigns what only ever grew.
    #[command(subcommand)]
    Witness(evidence::Witness),
    /// Checks the ledger of a hub as an auditor does, from its files alone.
    Verify(evidence::Verify),
}

#[derive(Debug, Subcommand)]
enum Ca {
    /// Makes the authority of a hub: ca.pem, and ca.key.pem, which is to be kept offline.
    Init {
        #[arg(long)]
        hub: HubId,
        /// Where the authority is kept.
        #[arg(long)]
        dir: PathBuf,
        #[arg(long, default_value = ca::AUTHORITY_FOR, value_parser = quantity::duration)]
        valid_for: Millis,
    },
    /// Makes ca.pem, certificate.pem and key.pem for a node or a collector; asked again for the
    /// same folder, it renews the certificate and keeps the key.
    Issue {
        /// Where the authority is kept.
        #[arg(long)]
        dir: PathBuf,
        /// Refuses to go on if the authority is another hub's.
        #[arg(long)]
        hub: Option<HubId>,
        /// For this node's agent.
        #[arg(long, required_unless_present = "server", conflicts_with = "server")]
        node: Option<NodeId>,
        /// For a collector, by every DNS name and address that agents reach it under.
        #[arg(long, num_args = 1.., value_name = "NAME")]
        server: Vec<String>,
        /// Where the three files go.
        #[arg(long)]
        out: PathBuf,
        #[arg(long, default_value = ca::CERTIFICATE_FOR, value_parser = quantity::duration)]
        valid_for: Millis,
    },
}

#[derive(Debug, Args)]
struct At {
    #[arg(long, default_value = "/etc/bijli/collector.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct Replay {
    /// The collector's directory.
    #[arg(long, required_unless_present = "config")]
    dir: Option<PathBuf>,
    /// Take the directory from this configuration.
    #[arg(long, conflicts_with = "dir")]
    config: Option<PathBuf>,
    /// Also make every leaf again and compare it, byte for byte with the ledger log and row for
    /// row with the index; fails unless all are the same.
    #[arg(long)]
    verify: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Report {
    #[command(flatten)]
    at: At,
    #[arg(long)]
    hub: HubId,
    /// The month, in the hub's own days: 2026-07.
    #[arg(long)]
    month: Month,
    /// A new folder for the files.
    #[arg(long)]
    out: PathBuf,
    /// Reads so many leaves, from the first one: as an earlier report did [default: all].
    #[arg(long)]
    leaves: Option<u64>,
    /// A ledger log [default: ledger/ below the collector's directory].
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Pack {
    #[command(flatten)]
    at: At,
    #[arg(long)]
    hub: HubId,
    /// The month, in the hub's own days: 2026-07.
    #[arg(long)]
    month: Month,
    /// A new folder for the files.
    #[arg(long)]
    out: PathBuf,
    /// The witnesses that an auditor shall believe (C2SP tlog-policy, as in `seal.policy`)
    /// [default: none, only the log's own key].
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Demo {
    /// Ends so long after the simulated past is booked [default: on Ctrl-C].
    #[arg(long = "for", value_parser = quantity::duration)]
    live_for: Option<Millis>,
    /// Prints the result as JSON at the end; the progress goes to stderr.
    #[arg(long)]
    json: bool,
    /// Where to listen on 127.0.0.1; 0 takes a free port.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Keeps everything here [default: a temporary directory that is removed].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Simulated past that is played first.
    #[arg(long, default_value = "1h", value_parser = quantity::duration)]
    history: Millis,
}

/// Parses the arguments and does what they ask.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.command {
        // A comparison may take long and tells how far it is.
        Command::Replay(Replay { verify: true, .. }) => tracing::Level::INFO,
        Command::Demo(_) | Command::Replay(_) => tracing::Level::WARN,
        Command::Serve(_)
        | Command::Check(_)
        | Command::Status { .. }
        | Command::Ask(_)
        | Command::Report(_)
        | Command::Pack(_)
        | Command::Ca(_)
        | Command::Seal(_)
        | Command::Witness(_)
        | Command::Verify(_) => tracing::Level::INFO,
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_max_level(level)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    match perform(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bijli-collector: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(path: &std::path::Path) -> Result<Config, ConfigError> {
    Config::load(path, &Overrides::from_env())
}

fn perform(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Ask(question) => return put(&question),
        Command::Serve(at) => {
            let config = load(&at.config).context("the configuration is refused")?;
            block_on(serve(config))??;
        }
        Command::Check(at) => {
            let config = load(&at.config).context("the configuration is refused")?;
            print!("{}\nno problem found\n", config.explain(Clock.now()));
        }
        Command::Status { url, json } => {
            let (text, status) = block_on(status::ask(&url))??;
            print!("{}", if json { format!("{text}\n") } else { status.show() });
        }
        Command::Replay(asked) => replay_offline(&asked)?,
        Command::Report(asked) => print!("{}", report_offline(&asked)?.show()),
        Command::Pack(asked) => print!("{}", packed(&asked)?.show()),
        Command::Ca(asked) => {
            print!("{}", authority(asked)?.show());
        }
        Command::Seal(asked) => evidence::seal(asked)?,
        Command::Witness(asked) => evidence::witness(asked)?,
        Command::Verify(asked) => evidence::verify(&asked)?,
        Command::Demo(asked) => {
            let Demo { live_for, json, port, dir, history } = asked;
            let plan = Plan { live_for, is_json: json, port, dir, history };
            block_on(demo::run(plan))??;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts a question to a running collector and prints what it says.
fn put(question: &Question) -> anyhow::Result<ExitCode> {
    let said = block_on(answers::answer(question))??;
    said.notice.iter().for_each(|notice| eprintln!("{notice}"));
    match std::io::stdout().lock().write_all(said.text.as_bytes()) {
        // Who reads no further has what it wanted.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("stdout")?,
        Ok(()) | Err(_) => {}
    }
    Ok(if said.has_figure { ExitCode::SUCCESS } else { ExitCode::from(answers::NO_PUE) })
}

fn authority(asked: Ca) -> Result<ca::Made, ca::CaError> {
    let now = Clock.now();
    match asked {
        Ca::Init { hub, dir, valid_for } => ca::init(&ca::Init { hub, dir, valid_for }, now),
        Ca::Issue { dir, hub, node, server, out, valid_for } => {
            let whom = node.map_or(ca::Whom::Server(server), ca::Whom::Node);
            ca::issue(&ca::Issue { dir, hub, whom, out, valid_for }, now)
        }
    }
}

fn replay_offline(asked: &Replay) -> anyhow::Result<()> {
    let dir = match (&asked.dir, &asked.config) {
        (Some(dir), _) => dir.clone(),
        (None, Some(config)) => load(config).context("the configuration is refused")?.dir,
        (None, None) => anyhow::bail!("say --dir or --config"),
    };
    if asked.verify {
        return verify(&dir, asked.json);
    }
    let digest = replay::offline(&dir)?;
    if asked.json {
        println!("{}", serde_json::to_string_pretty(&digest)?);
    } else {
        print!("{}", digest.show());
    }
    Ok(())
}

fn packed(asked: &Pack) -> anyhow::Result<pack::Packed> {
    let config = load(&asked.at.config).context("the configuration is refused")?;
    let hub = config.hubs.iter().find(|hub| hub.id == asked.hub);
    let no_hub = || report::ReportError::NoHub { hub: asked.hub.to_string() };
    let hub = hub.ok_or_else(no_hub)?;
    let report = report::Asked { hub, rules: config.rules, month: asked.month };
    let ask = pack::Ask { report, dir: &config.dir, policy: asked.policy.as_deref() };
    Ok(pack::make(&ask, &asked.out)?)
}

fn report_offline(asked: &Report) -> anyhow::Result<report::Made> {
    let config = load(&asked.at.config).context("the configuration is refused")?;
    let hub = config.hubs.iter().find(|hub| hub.id == asked.hub);
    let no_hub = || report::ReportError::NoHub { hub: asked.hub.to_string() };
    let hub = hub.ok_or_else(no_hub)?;
    let ledger = asked.ledger.clone().unwrap_or_else(|| config.dir.join("ledger"));
    let leaves = report::read_log(&ledger, asked.leaves)?;
    let asked_of = report::Asked { hub, rules: config.rules, month: asked.month };
    Ok(report::write(&asked_of, leaves, &asked.out)?)
}

fn verify(dir: &std::path::Path, is_json: bool) -> anyhow::Result<()> {
    let verdict = leaves::verify(dir)?;
    if is_json {
        println!("{}", serde_json::to_string_pretty(&verdict)?);
    } else {
        print!("{}", verdict.show());
    }
    anyhow::ensure!(verdict.is_same(), "journal, ledger log and index are not the same");
    Ok(())
}
