//! Runs `squeue`, bounded in time and size.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::SlurmConfig;

/// The agent's own memory is bounded too: some thousand jobs.
const BYTES_MAX: u64 = 16 << 20;

/// What it printed.
///
/// # Errors
/// Says why there is no whole answer.
pub(super) fn squeue(config: &SlurmConfig, node: &str) -> Result<Vec<u8>, String> {
    let mut command = Command::new(&config.squeue);
    // Slurm 22.05 tells of all nodes nevertheless.
    command.arg("--json").arg("--nodelist").arg(node);
    if let Some(conf) = &config.conf {
        command.env("SLURM_CONF", conf);
    }
    let spawned =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|e| format!("{}: {e}", config.squeue.display()))?;
    let (sender, receiver) = mpsc::channel();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = move || {
        let mut json = Vec::new();
        let whole = stdout.map(|out| out.take(BYTES_MAX + 1).read_to_end(&mut json));
        let mut words = String::new();
        let said = stderr.map(|err| err.take(400).read_to_string(&mut words));
        drop((said, sender.send(whole.map(|whole| whole.map(|_| (json, words))))));
    };
    let reader = thread::Builder::new().name("squeue".to_owned()).spawn(read);
    let timeout = Duration::from_millis(config.timeout.get());
    let answer = reader.map_err(|e| e.to_string()).map(|_| receiver.recv_timeout(timeout));
    // It has closed what it prints to, or it is late: nothing is waited for.
    let is_late = matches!(answer, Ok(Err(_)) | Err(_));
    if is_late {
        child.kill().map_err(|e| e.to_string())?;
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    match answer? {
        Ok(Some(Ok((json, _)))) if u64::try_from(json.len()).is_ok_and(|len| len > BYTES_MAX) => {
            Err(format!("its answer has more than {} MiB", BYTES_MAX >> 20))
        }
        Ok(Some(Ok((json, _)))) if status.success() => Ok(json),
        Ok(Some(Ok((_, words)))) => {
            Err(format!("{status}: {}", words.lines().next().unwrap_or_default()))
        }
        Ok(Some(Err(e))) => Err(e.to_string()),
        Ok(None) => Err("it has no output".to_owned()),
        Err(_) => Err(format!("no answer within {} s", config.timeout.get() / 1_000)),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test writes the program that it runs")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use bijli_wire::Millis;

    use super::*;

    fn ask(script: &str) -> Result<Vec<u8>, String> {
        let home = tempfile::tempdir().expect("a folder");
        let program = home.path().join("squeue");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, executable).expect("executable");
        let timeout = Millis::new(1_000);
        squeue(&SlurmConfig { squeue: program, timeout, ..SlurmConfig::default() }, "n1")
    }

    #[test]
    fn only_a_whole_answer_in_time_is_one() {
        assert_eq!(ask("echo \"$@\""), Ok(b"--json --nodelist n1\n".to_vec()));
        let refused = ask("echo slurm_load_jobs error >&2; exit 1").expect_err("refused");
        assert!(refused.contains("slurm_load_jobs error"), "{refused}");
        assert!(ask("exec sleep 60").expect_err("late").contains("within 1 s"));
        let large = ask("head -c 17000000 /dev/zero").expect_err("large");
        assert!(large.contains("16 MiB"), "{large}");
        let none = SlurmConfig { squeue: "/nowhere/squeue".into(), ..SlurmConfig::default() };
        assert!(squeue(&none, "n1").expect_err("none").contains("/nowhere/squeue"));
    }
}
