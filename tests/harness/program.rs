//! The real programs as child processes.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;

/// A program of this workspace, built beside the tests: `target/<profile>/<name>`.
///
/// # Panics
/// When it was not built: `cargo build --workspace` comes first.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("a test knows where it is");
    // A test is target/<profile>/deps/<test>, the bench is target/<profile>/bijli-bench.
    let folder = here.parent().expect("a program lies in a folder");
    let is_test = folder.ends_with("deps");
    let profile = if is_test { folder.parent().expect("target/<profile>") } else { folder };
    let path = profile.join(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace", path.display());
    path
}

/// Writes a program of a few lines.
///
/// # Panics
/// When the disk does not take it.
#[must_use]
pub fn write_script(path: &Path, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("written");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, executable).expect("executable");
    path.to_owned()
}

/// A loopback port that was free a moment ago.
///
/// # Panics
/// When no port is free.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Signals what a process has started, strace's program say. Asked late, because a program may have
/// short-lived children at its begin.
///
/// # Panics
/// When the kernel names a child that has no process id.
pub fn signal_children(parent: u32, signal: Signal) {
    let children = format!("/proc/{parent}/task/{parent}/children");
    let children = std::fs::read_to_string(children).unwrap_or_default();
    for child in children.split_ascii_whitespace() {
        let pid = child.parse().ok().and_then(Pid::from_raw);
        // It may have ended by itself.
        let _gone = kill_process(pid.expect("a pid"), signal);
    }
}

/// A running program; killed by its own process id when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command`; what it prints goes to the end of `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = || File::options().create(true).append(true).open(log).expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file())
            .stderr(file())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, log: log.to_owned() }
    }

    /// What it printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Any signal.
    ///
    /// # Panics
    /// When its process id is none.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It may have ended by itself: then there is nothing to signal.
        let _gone = kill_process(pid.expect("a child has a pid"), signal);
    }

    /// SIGKILL, as the out-of-memory killer does it.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("a child can be waited for");
    }

    /// SIGTERM, then waits up to `seconds` for its own end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self, seconds: u64) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(seconds)
    }

    /// Waits up to `seconds` for its own end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(&mut self, seconds: u64) -> ExitStatus {
        let log = self.log.display().to_string();
        eventually(&format!("the end of the program that logs to {log}"), seconds, || {
            self.child.try_wait().expect("a child can be asked")
        })
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it ever had resident.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn peak_memory_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a line");
        line.split_ascii_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.is_running() {
            self.kill();
        }
    }
}
