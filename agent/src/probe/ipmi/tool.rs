//! Runs `ipmitool` once, with a deadline.
//!
//! # Invariants
//! - When [`Tool::run`] is back, no process that it began is left: it ended, or was killed, and was
//!   waited for. It has a process group of its own, so that what it started ends with it.
//! - It is given no terminal, no standard input, and no environment but a path and a language.
//! - What it prints is bounded by a pipe: a flood blocks it, and the deadline ends it.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bijli_wire::Millis;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

const NAP_MS: u64 = 20;
const PRINTED_BYTES_MAX: u64 = 64 << 10;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Debug)]
pub(super) struct Tool<'a> {
    pub(super) program: &'a Path,
    pub(super) timeout: Millis,
}

/// What it printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) is_success: bool,
    pub(super) out: String,
    pub(super) err: String,
}

/// Why it said nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolFailure {
    #[error("there is no program {program}: install the Debian package ipmitool")]
    Missing { program: String },
    #[error("cannot run {program}: {reason}")]
    Start { program: String, reason: String },
    #[error("no answer within {} ms", timeout.get())]
    Silent { timeout: Millis },
}

impl Tool<'_> {
    pub(super) fn run(&self, words: &[OsString]) -> Result<Said, ToolFailure> {
        let mut child = self.start(words)?;
        let is_over = self.wait(&child).map_err(|error| self.trouble(&error));
        // Before it is waited for, its number is nobody else's. Whoever has ended is not there.
        let _gone = group(&child).map(|pid| kill_process_group(pid, Signal::KILL));
        let status = child.wait().map_err(|error| self.trouble(&error))?;
        if !is_over? {
            return Err(ToolFailure::Silent { timeout: self.timeout });
        }
        let is_success = status.success();
        Ok(Said {
            is_success,
            out: printed(child.stdout.take()),
            err: printed(child.stderr.take()),
        })
    }

    fn start(&self, words: &[OsString]) -> Result<Child, ToolFailure> {
        let started = Command::new(self.program)
            .args(words)
            .env_clear()
            .envs([("PATH", PATH), ("LC_ALL", "C")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        started.map_err(|error| match error.kind() == io::ErrorKind::NotFound {
            true => ToolFailure::Missing { program: self.program.display().to_string() },
            false => self.trouble(&error),
        })
    }

    /// Whether it has ended before the deadline; it is still there to be waited for. Naps are
    /// counted and no clock is asked: on a starved machine the deadline comes later.
    fn wait(&self, child: &Child) -> io::Result<bool> {
        let Some(pid) = group(child) else { return Ok(true) };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        for _ in 0..self.timeout.get().div_ceil(NAP_MS) {
            if waitid(WaitId::Pid(pid), options)?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(NAP_MS));
        }
        Ok(false)
    }

    fn trouble(&self, error: &io::Error) -> ToolFailure {
        let (program, reason) = (self.program.display().to_string(), error.to_string());
        ToolFailure::Start { program, reason }
    }
}

/// Of the process and all that it started.
fn group(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// What is in the pipe: its writers are gone.
fn printed(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What was read before an error is still what it printed.
        let _partly = pipe.take(PRINTED_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, timeout_ms: u64) -> Result<Said, ToolFailure> {
        let tool = Tool { program: Path::new("/bin/sh"), timeout: Millis::new(timeout_ms) };
        tool.run(&["-c".into(), script.into()])
    }

    #[test]
    fn what_is_printed_and_how_it_ended() {
        let said = run("echo 3180 Watts; echo bad >&2; exit 1", 60_000).expect("it ended");
        assert_eq!((said.is_success, said.out.as_str()), (false, "3180 Watts\n"));
        assert_eq!(said.err, "bad\n");
        assert!(run("test -z \"$HOME\"", 60_000).expect("it ended").is_success);
        let missing = Tool { program: Path::new("/nowhere/ipmitool"), timeout: Millis::new(9) };
        let words = missing.run(&[]).expect_err("missing").to_string();
        assert!(words.contains("install the Debian package ipmitool"), "{words}");
    }

    /// Goal: one that hangs, with a child that holds its pipe, ends with all that it started.
    #[test]
    fn what_hangs_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let pids = folder.path().join("pids");
        let script = format!("sleep 900 & echo $! $$ > {}; wait", pids.display());
        let failed = run(&script, 2_000).expect_err("it hangs").to_string();
        assert_eq!(failed, "no answer within 2000 ms");
        let numbers = crate::probe::kernel::text(&pids).expect("it began");
        assert_eq!(numbers.split(' ').count(), 2, "{numbers}");
        // What is killed is gone a moment later, and its new parent may not have waited for it.
        let is_gone = |pid: &str| {
            let stat = crate::probe::kernel::text(Path::new(&format!("/proc/{pid}/stat")));
            stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
        };
        for pid in numbers.split(' ') {
            let gone = (0..1_000).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                is_gone(pid)
            });
            assert!(gone, "{pid}");
        }
    }

    #[test]
    fn what_it_leaves_behind_ends_too_and_a_flood_is_cut_off() {
        let said = run("sleep 900 & echo done", 60_000).expect("it ended");
        assert_eq!(said.out, "done\n", "nobody holds the pipe any more");
        assert!(matches!(run("yes", 300), Err(ToolFailure::Silent { .. })));
    }
}
