//! For `bijli-agent check`: each witness of who holds what is looked at once, as the agent would.

use super::{SlurmConfig, WatchConfig, ask, folder, squeue, watch};
use crate::clock::Clock;
use crate::probe;

/// Records that are counted; more are not looked through.
const RECORDS_MAX: usize = 10_000;

/// A witness, and what it said or why it could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    pub name: &'static str,
    pub outcome: Result<String, String>,
}

/// Every witness that is enabled, after the GPUs were listed.
#[must_use]
pub fn survey(
    slurm: &SlurmConfig,
    config: &WatchConfig,
    context: &probe::Context,
    clock: Clock,
) -> Vec<Surveyed> {
    let mut all = Vec::new();
    if slurm.enabled {
        all.push(Surveyed { name: "slurm hooks", outcome: hooks(slurm) });
    }
    if slurm.enabled && slurm.polling {
        all.push(Surveyed { name: "squeue", outcome: polling(slurm, context) });
    }
    let gpus = context.numbers.listed().unwrap_or_default();
    for mut watched in watch::watched(config, slurm, context, clock) {
        let advice = advice(watched.name);
        let outcome = watched.held(&gpus).map(|count| format!("read; {count} held now"));
        let outcome = outcome.map_err(|words| format!("{words}. {advice}"));
        all.push(Surveyed { name: watched.name, outcome });
    }
    all
}

fn hooks(slurm: &SlurmConfig) -> Result<String, String> {
    let dir = slurm.holds_dir.display();
    let listed = folder::list(&slurm.holds_dir, |_| false, RECORDS_MAX);
    let count = listed.map(|paths| paths.len()).map_err(|e| {
        format!(
            "{dir}: {e}. The agent makes it when it starts; then name `bijli-agent hold` in \
             slurm.conf as prolog and epilog (agent/slurm/)"
        )
    })?;
    Ok(format!("{dir} is there; {count} records wait"))
}

fn polling(slurm: &SlurmConfig, context: &probe::Context) -> Result<String, String> {
    let node = slurm.node.clone().unwrap_or_else(|| context.node.to_string());
    let jobs = ask::squeue(slurm, &node).and_then(|json| squeue::read(&json, &node));
    let jobs = jobs.map_err(|words| {
        format!(
            "{words}. Set squeue and conf in [slurm] so that `squeue --json` answers here, or \
             polling = false where the hooks alone are to tell"
        )
    })?;
    Ok(format!("answers; {} jobs on {node}", jobs.len()))
}

fn advice(name: &str) -> &'static str {
    match name {
        "job_files" => {
            "Set dir in [job_files] to dcgm-exporter's --hpc-job-mapping-dir, and let the agent's \
             user read it"
        }
        "holds_file" => {
            "Write the file as docs/formats/holds.md says, `version = 1` alone where nobody holds \
             anything, and let the agent's user read it"
        }
        _ => {
            "Set socket in [kubelet] to the kubelet's pod-resources socket, and let the agent's \
             user open it"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bijli_wire::NodeId;

    use super::*;
    use crate::holders::{HoldsFileConfig, JobFilesConfig, KubeletConfig};

    /// Goal: what is missing is said, with what to do; what is there is counted.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test makes what the witnesses read")]
    fn each_witness_is_looked_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("holds.toml");
        let context = probe::Context::new(NodeId::new("n1").expect("a name"), 1, "b".to_owned());
        let slurm = SlurmConfig {
            enabled: true,
            holds_dir: dir.path().join("none"),
            squeue: PathBuf::from("/no/squeue"),
            ..SlurmConfig::default()
        };
        let config = WatchConfig {
            job_files: JobFilesConfig {
                enabled: true,
                dir: dir.path().join("jobs"),
                ..JobFilesConfig::default()
            },
            holds_file: HoldsFileConfig {
                enabled: true,
                path: file.clone(),
                ..HoldsFileConfig::default()
            },
            kubelet: KubeletConfig {
                enabled: true,
                socket: dir.path().join("none.sock"),
                ..KubeletConfig::default()
            },
        };
        let survey = |slurm: &SlurmConfig| survey(slurm, &config, &context, Clock::new());
        let names = ["slurm hooks", "squeue", "job_files", "holds_file", "kubelet"];
        let advices = ["slurm.conf", "polling = false", "[job_files]", "holds.md", "[kubelet]"];
        let found = survey(&slurm);
        assert_eq!(found.iter().map(|one| one.name).collect::<Vec<_>>(), names);
        for (one, advice) in found.iter().zip(advices) {
            let words = one.outcome.clone().expect_err("it is not there");
            assert!(words.contains(advice), "{words}");
        }
        std::fs::create_dir(&slurm.holds_dir).expect("made");
        std::fs::create_dir(&config.job_files.dir).expect("made");
        std::fs::write(&file, "version = 1\n").expect("written");
        let off = SlurmConfig { polling: false, ..slurm };
        let found = survey(&off);
        assert_eq!(
            found[0].outcome.as_deref().map(|words| words.ends_with("0 records wait")),
            Ok(true)
        );
        assert_eq!(found[1].outcome.as_deref(), Ok("read; 0 held now"));
        assert_eq!(found[2].outcome.as_deref(), Ok("read; 0 held now"));
    }
}
