//! The command line: `serve`, `check`, `status`, `pue`, `balance`, `diagram`, `energy`,
//! `budgets`, `events`, `meterbook`, `replay`, `demo`, `ca`.
//!
//! Programs end with 0, with 1 and words on stderr where something failed, with 2 where the command
//! line is wrong, and `pue` with 3 where the answer is that there is none.

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bijli_wire::{HubId, Millis, NodeId, quantity};
use clap::{Args, Parser, Subcommand};

use crate::answers::{self, Question};
use crate::ca;
use crate::clock::Clock;
use crate::collector::{block_on, serve};
use crate::config::{Config, ConfigError, Overrides};
use crate::demo::{self, Plan};
use crate::{leaves, replay, status};

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
    /// Plays a simulated hub against a collector of its own, on this machine, and shows it.
    Demo(Demo),
    /// Makes a hub's authority, and certificates for its nodes and collector.
    #[command(subcommand)]
    Ca(Ca),
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
        | Command::Ca(_) => tracing::Level::INFO,
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
        Command::Ca(asked) => {
            print!("{}", authority(asked)?.show());
        }
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
