//! `demo`: one command that shows everything. A collector of its own in this process, a simulated
//! hub, and this machine's own agent; no root, no GPU, no other server.
//!
//! Everything it shows of the simulated hub is labelled as simulated.

use std::io::{IsTerminal, Write as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bijli_wire::Millis;
use rustix::process::{Pid, Signal, kill_process};

use crate::collector::{Collector, CollectorError, start, told_to_stop};
use crate::config::{Config, ConfigError, Overrides};
use crate::disk::{self, TempDir};
use crate::quantity::Span;
use crate::replay::salt;
use crate::status::Status;

const BANNER: &str = "SIMULATED: hub sim-* is played by bijli-agent simulate, not measured";
const AGENT: &str = "bijli-agent";
const HERE: &str = "this-machine";
/// Short intervals, so that something is closed while one watches.
const INTERVAL: &str = "1m";
const CLOSE_AFTER: &str = "20s";
const SHOW_EVERY: Duration = Duration::from_secs(2);
const CHILD_TIME_MAX: Duration = Duration::from_secs(15);

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Plan {
    pub live_for: Option<Span>,
    pub is_json: bool,
    pub port: u16,
    pub dir: Option<PathBuf>,
    pub history: Span,
}

/// Why the demo does not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(
        "{AGENT} is neither beside this program nor in PATH: build it with `cargo build --release`"
    )]
    NoAgent,
    #[error("cannot make the demo's files in {dir}", dir = dir.display())]
    Files { dir: PathBuf, source: std::io::Error },
    #[error("cannot start {program}", program = program.display())]
    Spawn { program: PathBuf, source: std::io::Error },
    #[error("{AGENT} simulate --print-diagram failed: {words}")]
    Diagram { words: String },
    #[error("the demo's configuration is refused")]
    Config(#[source] ConfigError),
    #[error("the collector failed")]
    Collector(#[from] CollectorError),
    #[error("{AGENT} simulate ended early ({status}); its log: {log}", log = log.display())]
    Simulate { status: ExitStatus, log: PathBuf },
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
        (Some(dir), _) => dir.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => std::env::temp_dir(),
    };
    let files = |source| DemoError::Files { dir: dir.clone(), source };
    disk::make_dir(&dir).map_err(files)?;
    let config = configure(&plan, &agent, &dir)?;
    let collector = start(config, Some(BANNER.to_owned())).await?;
    if !collector.ready().await {
        return Err(collector.stop().await.err().unwrap_or(CollectorError::Ended).into());
    }
    let mut children = Children::spawn(&plan, &agent, &dir, &collector)?;
    let outcome = watch(&plan, &collector, &mut children).await;
    children.stop().await;
    let status = Status::of(&collector.state);
    collector.stop().await?;
    outcome?;
    show_result(&plan, &status)
}

fn find_agent() -> Result<PathBuf, DemoError> {
    let here = std::env::current_exe().ok();
    let beside = here.as_deref().and_then(Path::parent).map(|folder| folder.join(AGENT));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join(AGENT));
    beside.into_iter().chain(in_path).find(|file| file.is_file()).ok_or(DemoError::NoAgent)
}

/// Writes the collector's configuration: the simulated hub's own diagram, and this machine.
fn configure(plan: &Plan, agent: &Path, dir: &Path) -> Result<Config, DemoError> {
    let spawn = |source| DemoError::Spawn { program: agent.to_owned(), source };
    let output =
        Command::new(agent).args(["simulate", "--print-diagram"]).output().map_err(spawn)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(DemoError::Diagram { words });
    }
    let diagram = String::from_utf8_lossy(&output.stdout);
    let text = format!(
        "listen = \"127.0.0.1:{}\"\ndir = {}\ninterval = \"{INTERVAL}\"\n\
         close_after = \"{CLOSE_AFTER}\"\ndisk_reserve = \"16 MiB\"\n\n{diagram}\n\
         [[hub]]\nid = \"{HERE}\"\ntitle = \"This machine\"\n",
        plan.port,
        quoted(&dir.join("collector")),
    );
    let path = dir.join("collector.toml");
    let files = |source| DemoError::Files { dir: dir.to_owned(), source };
    disk::write_text(&path, &text).map_err(files)?;
    Config::load(&path, &Overrides::default()).map_err(DemoError::Config)
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    serde_json::to_string(&path.to_string_lossy()).expect("a string can be written as JSON")
}

/// The two agents, each logging into a file of its own.
#[derive(Debug)]
struct Children {
    simulate: Child,
    here: Child,
    simulate_log: PathBuf,
}

impl Children {
    fn spawn(
        plan: &Plan,
        agent: &Path,
        dir: &Path,
        collector: &Collector,
    ) -> Result<Self, DemoError> {
        let url = format!("http://{}", collector.address);
        let files = |source| DemoError::Files { dir: dir.to_owned(), source };
        let config = dir.join("agent.toml");
        let text = format!(
            "hub = \"{HERE}\"\nnode = \"{HERE}\"\ncollector = \"{url}\"\n\n[spool]\ndir = {}\n",
            quoted(&dir.join("spool")),
        );
        disk::write_text(&config, &text).map_err(files)?;
        let mut here = Command::new(agent);
        here.arg("run").arg("--config").arg(&config);
        let mut simulate = Command::new(agent);
        let history = format!("{}ms", plan.history.millis().get());
        simulate.args(["simulate", "--collector", &url, "--history", &history, "--dir"]);
        simulate.arg(dir.join(format!("simulated-{:016x}", salt())));
        let simulate_log = dir.join("simulate.log");
        let here = child(here, &dir.join("agent.log")).map_err(files)?;
        match child(simulate, &simulate_log).map_err(files) {
            Ok(simulate) => Ok(Self { simulate, here, simulate_log }),
            Err(error) => {
                let mut here = here;
                drop(here.kill());
                drop(here.wait());
                Err(error)
            }
        }
    }

    /// Asks both to end, and waits; what does not end is killed.
    async fn stop(&mut self) {
        for child in [&mut self.simulate, &mut self.here] {
            let is_running = matches!(child.try_wait(), Ok(None));
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid.filter(|_| is_running) {
                // It may end by itself in this moment.
                let _gone = kill_process(pid, Signal::TERM);
            }
        }
        for child in [&mut self.simulate, &mut self.here] {
            if tokio::time::timeout(CHILD_TIME_MAX, ended(child)).await.is_err() {
                tracing::warn!(pid = child.id(), "a child did not end and is killed");
                drop(child.kill());
                drop(child.wait());
            }
        }
    }
}

/// Nothing that this program started outlives it, whichever way it leaves.
impl Drop for Children {
    fn drop(&mut self) {
        for child in [&mut self.simulate, &mut self.here] {
            if matches!(child.try_wait(), Ok(None)) {
                drop(child.kill());
                drop(child.wait());
            }
        }
    }
}

/// Waits for a child's end.
async fn ended(child: &mut Child) -> std::io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// In a process group of its own, so that Ctrl-C reaches only this program, which then ends it.
fn child(mut command: Command, log: &Path) -> std::io::Result<Child> {
    let file = disk::create(log)?;
    let again = file.try_clone()?;
    command.stdin(Stdio::null()).stdout(file).stderr(again).process_group(0).spawn()
}

/// Shows the hub until the time is up.
async fn watch(
    plan: &Plan,
    collector: &Collector,
    children: &mut Children,
) -> Result<(), DemoError> {
    let stop = told_to_stop();
    let mut stop = std::pin::pin!(stop);
    let clock = collector.state.clock;
    let started = clock.now();
    // The past is played as fast as it is acked; the asked time counts from when it is over.
    let mut live_since = None;
    loop {
        show(plan, collector);
        tokio::select! {
            () = &mut stop => return Ok(()),
            ended = ended(&mut children.simulate) => {
                let status = ended.map_err(DemoError::Result)?;
                return Err(DemoError::Simulate { status, log: children.simulate_log.clone() });
            }
            () = tokio::time::sleep(SHOW_EVERY) => {}
        }
        let now = clock.now();
        if live_since.is_none() && is_live(collector, started) {
            live_since = Some(now);
        }
        let lived = live_since.and_then(|since| now.since(since)).unwrap_or(Millis::ZERO);
        if plan.live_for.is_some_and(|asked| live_since.is_some() && lived >= asked.millis()) {
            return Ok(());
        }
    }
}

/// Whether every simulated node has sent readings from after the start.
fn is_live(collector: &Collector, started: bijli_wire::UtcMillis) -> bool {
    let hubs = collector.state.hubs();
    hubs.iter().filter(|hub| hub.id.as_str() != HERE).all(|hub| {
        let live = hub.live();
        let is_now = |newest: Option<bijli_wire::UtcMillis>| newest.is_some_and(|at| at >= started);
        live.nodes().next().is_some() && live.nodes().all(|(_, node)| is_now(node.newest))
    })
}

/// Redraws a terminal, or writes lines; with `--json` to stderr, so that stdout is the result.
fn show(plan: &Plan, collector: &Collector) {
    let text = Status::of(&collector.state).show();
    let page = format!("page   http://{}/\n", collector.address);
    let (mut out, is_terminal): (Box<dyn std::io::Write>, bool) = if plan.is_json {
        (Box::new(std::io::stderr()), std::io::stderr().is_terminal())
    } else {
        (Box::new(std::io::stdout()), std::io::stdout().is_terminal())
    };
    let clear = if is_terminal { "\x1b[H\x1b[2J" } else { "" };
    // A closed terminal ends the demo by its signal, not here.
    let _shown = write!(out, "{clear}{text}{page}").and_then(|()| out.flush());
}

fn show_result(plan: &Plan, status: &Status) -> Result<(), DemoError> {
    let text = if plan.is_json {
        let json = serde_json::to_string_pretty(status);
        format!("{}\n", json.expect("a status can be written as JSON"))
    } else {
        status.show()
    };
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(DemoError::Result)
}
