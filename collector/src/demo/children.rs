//! The demo's two agents as child processes: started apart from the terminal, ended with the demo.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::identities::Identities;
use super::{DemoError, HERE, Plan, quoted};
use crate::disk;
use crate::replay::salt;

const CHILD_TIME_MAX: Duration = Duration::from_secs(15);
/// Lines of a failed child's log that are shown.
const LAST_LINES: usize = 5;

/// The two agents, each logging into a file of its own.
#[derive(Debug)]
pub(super) struct Children {
    pub(super) simulate: Child,
    here: Child,
    simulate_log: PathBuf,
}

/// Where the collector is reached.
#[derive(Debug)]
pub(super) struct Ways {
    /// With certificates.
    pub(super) agents: String,
    /// Without: the simulated scheduler goes here too.
    pub(super) readers: String,
}

impl Children {
    /// Both, each as itself.
    pub(super) fn spawn(
        plan: &Plan,
        agent: &Path,
        (dir, identities): (&Path, &Identities),
        ways: &Ways,
    ) -> Result<Self, DemoError> {
        let files = |source| DemoError::Files { dir: dir.to_owned(), source };
        let config = dir.join("agent.toml");
        let text = format!(
            "hub = \"{HERE}\"\nnode = \"{HERE}\"\ncollector = \"{}\"\n\n{}\n[spool]\ndir = {}\n",
            ways.agents,
            identities.here(),
            quoted(&dir.join("spool")),
        );
        disk::write_text(&config, &text).map_err(files)?;
        let mut here = Command::new(agent);
        here.arg("run").arg("--config").arg(&config);
        let mut simulate = Command::new(agent);
        let history = format!("{}ms", plan.history.get());
        simulate.args(["simulate", "--collector", &ways.agents, "--allocations", &ways.readers]);
        simulate.arg("--tls").arg(identities.senders());
        simulate.args(["--history", &history, "--dir"]);
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

    /// The end of the simulation's log.
    pub(super) fn last_words(&self) -> String {
        let log = disk::read_text(&self.simulate_log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LAST_LINES);
        lines.get(from..).unwrap_or_default().join("\n")
    }

    /// Asks both to end, and waits; what does not end is killed.
    pub(super) async fn stop(&mut self) {
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
pub(super) async fn ended(child: &mut Child) -> std::io::Result<ExitStatus> {
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
