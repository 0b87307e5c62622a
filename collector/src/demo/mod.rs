//! `demo`: one command that shows everything. A collector of its own in this process, a simulated
//! hub, and this machine's own agent; no root, no GPU, no other server.
//!
//! # Invariants
//! - Everything it shows of the simulated hub is labelled as simulated.
//! - Nothing that it started outlives it, whichever way it leaves.
//! - With `--json`, stdout is one JSON document and nothing else.

mod children;
mod identities;
mod outcome;
mod progress;
mod screen;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use bijli_tlog::KeyKind;
use bijli_wire::Millis;

use crate::ca::CaError;
use crate::collector::{Collector, CollectorError, start, told_to_stop};
use crate::config::{Config, ConfigError, Overrides};
use crate::disk::{self, TempDir};
use crate::replay::salt;
use crate::seal::{KeyFileError, make_key};
use children::{Children, Ways, ended};
use identities::Identities;
use outcome::Outcome;
use progress::{Phase, Progress};
use screen::Screen;

const AGENT: &str = "bijli-agent";
const HERE: &str = "this-machine";
/// What the names of its ledgers begin with.
const ORIGIN: &str = "demo.example";
/// Short intervals, so that something is closed while one watches.
const INTERVAL: &str = "1m";
/// The played past is booked so long after it came in; short, so that one need not wait for it.
const CLOSE_AFTER: &str = "10s";
const SHOW_EVERY: Duration = Duration::from_secs(1);

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub live_for: Option<Millis>,
    pub is_json: bool,
    pub port: u16,
    pub dir: Option<PathBuf>,
    pub history: Millis,
}

/// Why the demo does not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(
        "{AGENT} is neither beside this program nor in PATH: build it with `cargo build --release`"
    )]
    NoAgent,
    #[error("cannot write the demo's files in {dir}; name another folder with --dir", dir = dir.display())]
    Files { dir: PathBuf, source: std::io::Error },
    #[error("cannot start {program}", program = program.display())]
    Spawn { program: PathBuf, source: std::io::Error },
    #[error("{AGENT} simulate --print-diagram failed: {words}")]
    Diagram { words: String },
    #[error(
        "{dir} holds an earlier demo, whose registers this one cannot go on: give an empty or new \
         --dir", dir = dir.display()
    )]
    Used { dir: PathBuf },
    #[error("port {port} is taken: end what listens there, or leave --port away for a free one")]
    PortTaken { port: u16 },
    #[error("the demo's certificates cannot be made")]
    Certificates(#[from] Box<CaError>),
    #[error("the demo's signing key cannot be made")]
    Key(#[source] KeyFileError),
    #[error("the demo's configuration is refused")]
    Config(#[source] ConfigError),
    #[error("the collector failed")]
    Collector(#[from] CollectorError),
    #[error("{AGENT} simulate ended early ({status}); its last words:\n{words}")]
    Simulate { status: ExitStatus, words: String },
    #[error("cannot wait for a child")]
    Wait(#[source] std::io::Error),
    #[error("cannot write the result")]
    Result(#[source] std::io::Error),
}

/// Runs until the time is up, Ctrl-C, or a failure.
///
/// # Errors
/// Says what could not be started or what ended.
pub async fn run(plan: Plan) -> Result<(), DemoError> {
    let agent = find_agent()?;
    let temporary = match &plan.dir {
        Some(_) => None,
        None => Some(
            TempDir::make("bijli-demo", salt())
                .map_err(|source| DemoError::Files { dir: std::env::temp_dir(), source })?,
        ),
    };
    let dir = match (&plan.dir, &temporary) {
        // The configuration in it names its files, from wherever it is read.
        (Some(dir), _) => std::path::absolute(dir)
            .map_err(|source| DemoError::Files { dir: dir.clone(), source })?,
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => std::env::temp_dir(),
    };
    let files = |source| DemoError::Files { dir: dir.clone(), source };
    disk::make_dir(&dir).map_err(files)?;
    if dir.join("collector").exists() {
        return Err(DemoError::Used { dir });
    }
    let identities = Identities::make(&agent, &dir)?;
    let config = configure(&plan, (&agent, &identities), &dir)?;
    let banner = banner(&config);
    let collector = start(config, Some(banner)).await.map_err(|error| refused(&plan, error))?;
    if !collector.ready().await {
        return Err(collector.stop().await.err().unwrap_or(CollectorError::Ended).into());
    }
    let url = format!("http://{}", collector.address);
    let agents = collector.agents.ok_or(CollectorError::Ended)?;
    let ways = Ways { agents: format!("https://{agents}"), readers: url.clone() };
    let mut children = Children::spawn(&plan, &agent, (&dir, &identities), &ways)?;
    let mut screen = Screen::new(plan.is_json, format!("{url}/"));
    let outcome = watch(&plan, &collector, &mut children, &mut screen).await;
    children.stop().await;
    let result = Outcome::of(&collector.state);
    let last = screen.last(&collector.state);
    collector.stop().await?;
    outcome?;
    show_result(if plan.is_json { result.json() } else { last })
}

fn refused(plan: &Plan, error: CollectorError) -> DemoError {
    let is_taken = |source: &std::io::Error| source.kind() == std::io::ErrorKind::AddrInUse;
    if let CollectorError::Listen { source, .. } = &error
        && is_taken(source)
    {
        return DemoError::PortTaken { port: plan.port };
    }
    DemoError::Collector(error)
}

fn banner(config: &Config) -> String {
    let simulated = config.hubs.iter().map(|hub| hub.id.as_str()).filter(|id| *id != HERE);
    let simulated: Vec<&str> = simulated.collect();
    format!("SIMULATED: a program plays hub {}; nothing of it is measured", simulated.join(", "))
}

fn find_agent() -> Result<PathBuf, DemoError> {
    let here = std::env::current_exe().ok();
    let beside = here.as_deref().and_then(Path::parent).map(|folder| folder.join(AGENT));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join(AGENT));
    beside.into_iter().chain(in_path).find(|file| file.is_file()).ok_or(DemoError::NoAgent)
}

/// Writes the collector's configuration: the simulated hub's own diagram, and this machine.
fn configure(
    plan: &Plan,
    (agent, identities): (&Path, &Identities),
    dir: &Path,
) -> Result<Config, DemoError> {
    let diagram = simulate(agent, "--print-diagram")?;
    let key = dir.join("seal.key");
    make_key(&key, ORIGIN, KeyKind::Note).map_err(DemoError::Key)?;
    let text = format!(
        "listen = \"127.0.0.1:{}\"\ndir = {}\ninterval = \"{INTERVAL}\"\n\
         close_after = \"{CLOSE_AFTER}\"\ndisk_reserve = \"16 MiB\"\n\n{}\n\
         [seal]\norigin = \"{ORIGIN}\"\nkey = {}\n\n{diagram}\n\
         [[hub]]\nid = \"{HERE}\"\ntitle = \"This machine\"\n",
        plan.port,
        quoted(&dir.join("collector")),
        identities.agents_section(),
        quoted(&key),
    );
    let path = dir.join("collector.toml");
    let files = |source| DemoError::Files { dir: dir.to_owned(), source };
    disk::write_text(&path, &text).map_err(files)?;
    Config::load(&path, &Overrides::default()).map_err(DemoError::Config)
}

/// What `bijli-agent simulate` prints of its hub.
fn simulate(agent: &Path, print: &str) -> Result<String, DemoError> {
    let spawn = |source| DemoError::Spawn { program: agent.to_owned(), source };
    let output = Command::new(agent).args(["simulate", print]).output().map_err(spawn)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(DemoError::Diagram { words })
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    serde_json::to_string(&path.to_string_lossy()).expect("a string can be written as JSON")
}

/// Shows the hub until the time is up.
async fn watch(
    plan: &Plan,
    collector: &Collector,
    children: &mut Children,
    screen: &mut Screen,
) -> Result<(), DemoError> {
    let stop = told_to_stop();
    let mut stop = std::pin::pin!(stop);
    let clock = collector.state.clock;
    let mut progress = Progress::new(clock.now(), plan.history, HERE);
    // The past is played as fast as it is acked; the asked time counts from when it is booked.
    let mut live_since = None;
    loop {
        let phase = progress.look(&collector.state);
        screen.show(&collector.state, phase);
        let now = clock.now();
        if phase == Phase::Live {
            let lived = now.since(*live_since.get_or_insert(now)).unwrap_or(Millis::ZERO);
            if plan.live_for.is_some_and(|asked| lived >= asked) {
                return Ok(());
            }
        }
        tokio::select! {
            () = &mut stop => return Ok(()),
            ended = ended(&mut children.simulate) => {
                let status = ended.map_err(DemoError::Wait)?;
                return Err(DemoError::Simulate { status, words: children.last_words() });
            }
            () = tokio::time::sleep(SHOW_EVERY) => {}
        }
    }
}

fn show_result(text: String) -> Result<(), DemoError> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(DemoError::Result)
}
