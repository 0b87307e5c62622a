//! What Slurm's prolog and epilog leave for the agent: one small file for each call.
//!
//! # Invariants
//! - A record is on disk, fsynced, before the hook returns, whether an agent runs or not.
//! - Nothing is judged when it is written: names are checked by whoever reads it.

use serde::{Deserialize, Serialize};

/// The version of the files.
const VERSION: u32 = 1;
/// A name of Slurm is shorter; what is longer is cut.
const TEXT_BYTES_MAX: usize = 256;

/// Which hook wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// Slurm's prolog: the job has its GPUs from now on.
    Start,
    /// Slurm's epilog: it has let go of them.
    End,
}

/// One call of a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub version: u32,
    pub edge: Edge,
    /// The node's clock, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// The same moment by the clock that nobody sets, and the boot that it counts from.
    pub uptime_ms: u64,
    pub boot: String,
    pub cluster: String,
    pub job: String,
    /// As Slurm says it; a requeued job's epilog already tells the next run's.
    pub restart: String,
    /// The array's own number, and the task's.
    pub array: String,
    pub account: String,
    pub user: String,
    /// `SLURM_JOB_GPUS`: numbers, by the order of gres.conf.
    pub gpus: String,
}

/// The moment of a call, by both clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    pub at_ms: i64,
    pub uptime_ms: u64,
    pub boot: String,
}

impl Record {
    /// From a hook's environment; `None`: this is no job, or it begins without GPUs here. An epilog
    /// does not always tell them: after slurmctld was restarted it does not (22.05.8).
    #[must_use]
    pub fn of(edge: Edge, when: When, env: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let text = |name: &str| {
            let mut text = env(name).unwrap_or_default();
            while text.len() > TEXT_BYTES_MAX {
                text.pop();
            }
            text
        };
        // More than eight GPUs in seven instances each fit by far.
        let gpus = env("SLURM_JOB_GPUS").filter(|gpus| gpus.len() <= 4 * TEXT_BYTES_MAX);
        let gpus = gpus.unwrap_or_default();
        let job = text("SLURM_JOB_ID");
        if (gpus.is_empty() && edge == Edge::Start) || job.is_empty() {
            return None;
        }
        let array = [text("SLURM_ARRAY_JOB_ID"), text("SLURM_ARRAY_TASK_ID")];
        Some(Self {
            version: VERSION,
            edge,
            at_ms: when.at_ms,
            uptime_ms: when.uptime_ms,
            boot: when.boot,
            cluster: text("SLURM_CLUSTER_NAME"),
            job,
            restart: text("SLURM_JOB_RESTART_COUNT"),
            array: array.join("_").trim_matches('_').to_owned(),
            account: text("SLURM_JOB_ACCOUNT"),
            user: text("SLURM_JOB_USER"),
            gpus,
        })
    }

    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers can be written as JSON")
    }

    /// # Errors
    /// Says why it is no record of this version.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if record.version == VERSION {
            Ok(record)
        } else {
            Err(format!("its version is {}, this agent reads {VERSION}", record.version))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn when() -> When {
        When { at_ms: 1_795_771_417_231, uptime_ms: 5_000, boot: "b".to_owned() }
    }

    fn of(pairs: &[(&str, &str)]) -> Option<Record> {
        let env = |name: &str| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Record::of(Edge::Start, when(), &env)
    }

    #[test]
    fn a_hooks_environment_becomes_a_record_and_comes_back() {
        let record = of(&[
            ("SLURM_CLUSTER_NAME", "hubtest"),
            ("SLURM_JOB_ID", "3"),
            ("SLURM_JOB_RESTART_COUNT", "0"),
            ("SLURM_JOB_ACCOUNT", "uni-vision"),
            ("SLURM_JOB_USER", "aisha"),
            ("SLURM_JOB_GPUS", "3,4"),
        ])
        .expect("a job with GPUs");
        assert_eq!((record.account.as_str(), record.gpus.as_str()), ("uni-vision", "3,4"));
        assert_eq!(Record::from_json(&record.to_json()), Ok(record));
    }

    #[test]
    fn without_a_job_or_gpus_there_is_nothing_to_record() {
        assert_eq!(of(&[("SLURM_JOB_ID", "3")]), None);
        assert_eq!(of(&[("SLURM_JOB_ID", "3"), ("SLURM_JOB_GPUS", "")]), None);
        assert_eq!(of(&[("SLURM_JOB_GPUS", "1")]), None);
        let env = |name: &str| (name == "SLURM_JOB_ID").then(|| "3".to_owned());
        assert!(Record::of(Edge::End, when(), &env).is_some(), "an end is an end");
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_is_foreign_is_refused() {
        let long = "ü".repeat(200);
        let record =
            of(&[("SLURM_JOB_ID", "3"), ("SLURM_JOB_GPUS", "1"), ("SLURM_JOB_USER", &long)]);
        assert_eq!(record.expect("a record").user.len(), TEXT_BYTES_MAX);
        assert!(Record::from_json(b"{").is_err());
        let mut newer = of(&[("SLURM_JOB_ID", "3"), ("SLURM_JOB_GPUS", "1")]).expect("a record");
        newer.version = 2;
        assert!(Record::from_json(&newer.to_json()).expect_err("newer").contains("version"));
    }
}
