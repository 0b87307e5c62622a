//! The directory that a site's hooks keep for dcgm-exporter (`--hpc-job-mapping-dir`): a file for
//! each GPU with its jobs, one a line.
//!
//! A file is named by NVML's index of the GPU, or `<index>.<GPU instance>`; no file, or an empty
//! one, is a GPU that nobody has. Several jobs in one file share the GPU. The files do not say
//! whose a job is: that Slurm is asked, where it may be.
#![expect(clippy::disallowed_methods, reason = "the directory is read here and nowhere else")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bijli_wire::message::Witness;
use bijli_wire::quantity::de_duration;
use bijli_wire::{ClusterId, Millis};
use serde::Deserialize;

use super::course::{Claim, Whose};
use super::parts::PART;
use super::{Source, Watched, check_every};
use crate::clock::{Clock, Moment};
use crate::holders::{SlurmConfig, ask, squeue};
use crate::probe;
use crate::probe::numbers::{By, Numbered, find};

/// Jobs of one GPU are a few.
const BYTES_MAX: u64 = 64 << 10;
/// Slurm is asked for jobs that nobody told of at most so often.
const ASK_EVERY: Millis = Millis::new(10_000);

/// `[job_files]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobFilesConfig {
    pub enabled: bool,
    pub dir: PathBuf,
    #[serde(deserialize_with = "de_duration")]
    pub every: Millis,
    /// The scheduler's name for itself.
    pub cluster: String,
    pub projects: Projects,
}

/// Who knows whose a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projects {
    /// Slurm: the account. It is asked as `[slurm]` says, which need not be enabled.
    #[default]
    Squeue,
    /// Nobody: what the jobs use is unattributed.
    Unknown,
}

impl Default for JobFilesConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            dir: PathBuf::from("/run/dcgm-job-map"),
            every: Millis::new(1_000),
            cluster: "slurm".to_owned(),
            projects: Projects::Squeue,
        }
    }
}

impl JobFilesConfig {
    pub(super) fn check(&self, slurm: &SlurmConfig) -> Result<(), String> {
        check_every(self.every)?;
        ClusterId::new(&self.cluster).map_err(|e| e.to_string())?;
        if self.enabled && slurm.enabled {
            return Err("[slurm] tells of the same jobs, to the millisecond and with their \
                        projects: enable one of both"
                .to_owned());
        }
        Ok(())
    }
}

pub(super) fn watched(
    config: &JobFilesConfig,
    slurm: &SlurmConfig,
    context: &probe::Context,
    clock: Clock,
) -> Watched {
    let accounts = (config.projects == Projects::Squeue).then(|| Accounts {
        node: slurm.node.clone().unwrap_or_else(|| context.node.to_string()),
        slurm: slurm.clone(),
        clock,
        known: BTreeMap::new(),
        asked: None,
        trouble: String::new(),
    });
    Watched {
        name: "job_files",
        witness: Witness::JobFiles,
        cluster: ClusterId::new(&config.cluster).expect("checked with the configuration"),
        every: config.every,
        source: Box::new(JobFiles { dir: config.dir.clone(), accounts }),
    }
}

struct JobFiles {
    dir: PathBuf,
    accounts: Option<Accounts>,
}

impl Source for JobFiles {
    fn look(&mut self, gpus: &[Numbered]) -> Result<Vec<Claim>, String> {
        let files = list(&self.dir).map_err(|e| format!("{}: {e}", self.dir.display()))?;
        let mut claims = Vec::new();
        for (name, text) in files {
            let text = text.map_err(|e| format!("{name}: {e}"))?;
            for job in jobs(&text) {
                let (ids, unclear) = match ids(&name, job, gpus) {
                    Ok(ids) => (ids, None),
                    Err(words) => (Vec::new(), Some(words)),
                };
                claims.push(Claim { job: job.to_owned(), ids, unclear, ..Claim::default() });
            }
        }
        if let Some(accounts) = &mut self.accounts {
            accounts.fill_in(&mut claims);
        }
        Ok(claims)
    }
}

type Text = std::io::Result<String>;

/// The files that are named like a GPU, in order; what else lies there is not looked at.
fn list(dir: &Path) -> std::io::Result<Vec<(String, Text)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if place(&name).is_none() {
            continue;
        }
        match read(&entry.path()) {
            // Gone between the list and the look.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            text => files.push((name, text)),
        }
    }
    files.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(files)
}

fn read(path: &Path) -> Text {
    let mut text = String::new();
    std::fs::File::open(path)?.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn jobs(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// `3` is GPU 3, `3.7` its GPU instance 7; `None`: no file of a GPU.
fn place(name: &str) -> Option<(u32, Option<u32>)> {
    match name.split_once('.') {
        None => Some((name.parse().ok()?, None)),
        Some((gpu, instance)) => Some((gpu.parse().ok()?, Some(instance.parse().ok()?))),
    }
}

/// The parts of a GPU that a job has. Any number of jobs may have the same GPU.
fn ids(name: &str, job: &str, gpus: &[Numbered]) -> Result<Vec<String>, String> {
    let (index, gi) = place(name).ok_or("no name of a GPU")?;
    let unknown = || format!("file {name}: this node has no such GPU");
    let gpu = find(gpus, By::Index, index).ok_or_else(unknown)?;
    let Some(gi) = gi else { return Ok(vec![format!("{gpu}{PART}{job}")]) };
    let of = gpus.iter().find(|one| one.gpu == *gpu).and_then(|one| one.mig.as_ref());
    let instances = of.map(|mig| mig.instances.as_slice()).unwrap_or_default();
    let parts = instances.iter().filter(|one| one.gi == gi);
    let ids: Vec<String> = parts.map(|one| format!("{}{PART}{job}", one.id)).collect();
    if ids.is_empty() { Err(unknown()) } else { Ok(ids) }
}

/// Whose jobs are, as Slurm says while they run. Kept as long as their files are.
struct Accounts {
    node: String,
    slurm: SlurmConfig,
    clock: Clock,
    /// By job: account and user.
    known: BTreeMap<String, (String, String)>,
    asked: Option<Moment>,
    /// Why Slurm did not answer when it was last asked; empty: it did.
    trouble: String,
}

impl Accounts {
    fn fill_in(&mut self, claims: &mut [Claim]) {
        let there: BTreeSet<&str> = claims.iter().map(|claim| claim.job.as_str()).collect();
        self.known.retain(|job, _| there.contains(job.as_str()));
        let is_new = there.iter().any(|job| !self.known.contains_key(*job));
        let now = self.clock.now();
        let is_due = self.asked.is_none_or(|before| now.since(before) >= ASK_EVERY);
        if is_new && is_due {
            self.asked = Some(now);
            let answer = ask::squeue(&self.slurm, &self.node);
            match answer.and_then(|json| squeue::read(&json, &self.node)) {
                Ok(jobs) => {
                    self.trouble.clear();
                    let of_here = jobs.into_iter().filter(|job| there.contains(job.id.as_str()));
                    self.known.extend(of_here.map(|job| (job.id, (job.account, job.user))));
                }
                Err(words) => self.trouble = words,
            }
        }
        for claim in claims {
            match self.known.get(&claim.job) {
                Some((account, user)) => {
                    claim.project = Whose::Named(account.clone());
                    claim.user.clone_from(user);
                }
                None if self.trouble.is_empty() => {
                    let words = "Slurm does not list it, so nobody told whose it is";
                    claim.project = Whose::Untold(words.to_owned());
                }
                None => {
                    let words = format!("squeue: {}", self.trouble);
                    claim.project = Whose::Untold(words);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::tests::gpus;
    use super::*;

    fn look(files: &[(&str, &str)]) -> Vec<(String, Vec<String>, Option<String>)> {
        let home = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(home.path().join(name), text).expect("written");
        }
        let mut source = JobFiles { dir: home.path().to_owned(), accounts: None };
        let claims = source.look(&gpus()).expect("a folder");
        claims.into_iter().map(|claim| (claim.job, claim.ids, claim.unclear)).collect()
    }

    #[test]
    fn files_are_gpus_and_lines_are_jobs() {
        let found = look(&[
            ("0", "4711\n\n 4712 \n"),
            ("1.1", "4711\n"),
            ("1.2", "4713\n"),
            ("1", ""),
            ("0.tmp", "9\n"),
            (".0.swp", "9\n"),
            ("README", "9\n"),
        ]);
        let expected = [
            ("4711", &["GPU-0::4711"][..]),
            ("4712", &["GPU-0::4712"]),
            ("4711", &["MIG-a::4711"]),
            ("4713", &["MIG-b::4713", "MIG-c::4713"]),
        ];
        assert_eq!(found.len(), expected.len());
        for ((job, ids, unclear), (its, parts)) in found.iter().zip(expected) {
            assert_eq!((job.as_str(), unclear), (its, &None));
            assert_eq!(ids, parts);
        }
    }

    #[test]
    fn a_gpu_that_is_not_here_is_told_and_a_folder_that_is_not_is_no_look() {
        for name in ["8", "0.1", "1.9"] {
            let found = look(&[(name, "4711\n")]);
            let words = found[0].2.as_deref().expect("unclear");
            assert!(words.contains("no such GPU"), "{words}");
        }
        let mut source = JobFiles { dir: "/nowhere".into(), accounts: None };
        assert!(source.look(&gpus()).expect_err("none").contains("/nowhere"));
    }

    #[test]
    fn it_is_not_both_this_and_slurm() {
        let config = JobFilesConfig { enabled: true, ..JobFilesConfig::default() };
        let slurm = |enabled| SlurmConfig { enabled, ..SlurmConfig::default() };
        assert_eq!(config.check(&slurm(false)), Ok(()));
        assert!(config.check(&slurm(true)).expect_err("both").contains("[slurm]"));
    }
}
