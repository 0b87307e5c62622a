//! Who holds the GPUs of this node: what Slurm's hooks, Slurm itself, files and the kubelet tell
//! becomes facts that travel with the batches. Slurm's two are here, the others in `watch`.
//!
//! # Invariants
//! - A record is removed only when the spool has its fact on disk. Told twice is told once: the
//!   collector's books take the same fact any number of times.
//! - What the scheduler does not answer ends nothing.
//! - Nothing here reads a GPU or holds up metering: it has a thread of its own.

mod ask;
mod filing;
mod folder;
mod join;
mod record;
mod squeue;
mod survey;
mod voice;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use bijli_wire::hold::{Fact, Hold};
use bijli_wire::message::{EventKind, Witness};
use bijli_wire::quantity::de_duration;
use bijli_wire::{Millis, UtcMillis};
use serde::Deserialize;

use crate::clock::{Clock, Moment};
use crate::probe;
use crate::probe::numbers::{By, Numbered, Numbers};
use crate::schedule::Tell;

pub use filing::{Desk, Filing};
pub use folder::leave;
pub use record::{Edge, Record, When};
pub use survey::{Surveyed, survey};

pub use watch::{HoldsFileConfig, JobFilesConfig, KubeletConfig, WatchConfig, watch};

use join::{Joined, Joiner, Now};
use squeue::{Job, State};
use voice::{Gone, Voice};

/// Where hooks leave records unless they are told otherwise.
pub const FOLDER: &str = "/var/lib/bijli-agent/holds";
/// Facts of one report: a batch takes several.
const FACTS_MAX: usize = 64;
/// The folder is looked into so often.
const EACH: Millis = Millis::new(1_000);
/// A job's GPUs are told again after so long, should the batch that had them be lost.
const AGAIN: Millis = Millis::new(600_000);

/// `[slurm]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmConfig {
    pub enabled: bool,
    /// Where prolog and epilog leave their records.
    pub holds_dir: PathBuf,
    /// What Slurm calls this node; `None`: as we do.
    pub node: Option<String>,
    /// Whether Slurm itself is asked too.
    pub polling: bool,
    #[serde(deserialize_with = "de_duration")]
    pub every: Millis,
    #[serde(deserialize_with = "de_duration")]
    pub timeout: Millis,
    pub squeue: PathBuf,
    /// Slurm's configuration, if it is not where Slurm finds it.
    pub conf: Option<PathBuf>,
    /// Which numbers of GPUs Slurm's are.
    pub numbers: By,
    /// The device file's number of each line of gres.conf, where they are not 0, 1, 2.
    pub minors: Vec<u32>,
}

impl Default for SlurmConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            holds_dir: PathBuf::from(FOLDER),
            node: None,
            polling: true,
            every: Millis::new(30_000),
            timeout: Millis::new(10_000),
            squeue: PathBuf::from("squeue"),
            conf: None,
            numbers: By::Minor,
            minors: Vec::new(),
        }
    }
}

impl SlurmConfig {
    /// # Errors
    /// Says what no type can.
    pub fn check(&self) -> Result<(), String> {
        let spans = 1_000..=3_600_000;
        if !spans.contains(&self.every.get()) || !spans.contains(&self.timeout.get()) {
            return Err("every and timeout are from \"1s\" to \"1h\"".to_owned());
        }
        if !self.minors.is_empty() && self.numbers == By::Index {
            return Err("minors are of device files: leave numbers = \"index\" out".to_owned());
        }
        Ok(())
    }
}

/// Reads the folder and asks Slurm, until nobody listens.
pub struct Holders {
    config: SlurmConfig,
    node: String,
    boot: String,
    clock: Clock,
    numbers: Arc<Numbers>,
    desk: Arc<Desk>,
    voice: Voice,
    polled: Option<Moment>,
    /// Jobs by their begin whose GPUs were told, what they were, and when.
    told: BTreeMap<(String, i64), (State, Moment)>,
    over: BTreeSet<(String, i64)>,
}

impl std::fmt::Debug for Holders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holders").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Holders {
    #[must_use]
    pub fn new(config: &SlurmConfig, context: &probe::Context, clock: Clock, tell: Tell) -> Self {
        Self {
            node: config.node.clone().unwrap_or_else(|| context.node.to_string()),
            config: config.clone(),
            boot: context.boot.clone(),
            clock,
            numbers: Arc::clone(&context.numbers),
            desk: Arc::default(),
            voice: Voice::new(tell),
            polled: None,
            told: BTreeMap::new(),
            over: BTreeSet::new(),
        }
    }

    #[must_use]
    pub fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.desk)
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives none.
    pub fn start(mut self) -> std::io::Result<()> {
        let run = move || {
            let opened = folder::open(&self.config.holds_dir);
            drop(self.voice.take_outcome("records", opened.map_err(|e| e.to_string())));
            while self.round().is_ok() {
                self.clock.sleep(EACH);
            }
        };
        std::thread::Builder::new().name("holders".to_owned()).spawn(run).map(drop)
    }

    fn round(&mut self) -> Result<(), Gone> {
        // Before the GPUs are listed nothing can be joined, and everything waits.
        let Some(gpus) = self.numbers.listed() else { return Ok(()) };
        self.records(&gpus)?;
        let now = self.clock.now();
        let is_due = self.polled.is_none_or(|before| now.since(before) >= self.config.every);
        if self.config.polling && is_due {
            self.polled = Some(now);
            self.poll(&gpus)?;
        }
        Ok(())
    }

    fn records(&mut self, gpus: &[Numbered]) -> Result<(), Gone> {
        let desk = Arc::clone(&self.desk);
        let listed = folder::list(&self.config.holds_dir, |path| desk.is_handed(path), FACTS_MAX);
        let paths = match listed {
            Ok(paths) => paths,
            Err(e) => return self.voice.take_outcome("records", Err(e.to_string())),
        };
        self.voice.take_outcome("records", Ok(()))?;
        let (mut facts, mut records, mut news) = (Vec::new(), Vec::new(), Vec::new());
        for path in paths {
            let boot = self.boot.clone();
            let now =
                Now { utc: self.clock.utc(), uptime: self.clock.uptime(), boot: boot.as_str() };
            let joiner = Joiner { config: &self.config, gpus };
            match folder::read(&path).and_then(|record| joiner.record(&record, now)) {
                Ok(Joined { hold, troubles }) => {
                    facts.push(hold);
                    records.push(path);
                    news.extend(troubles);
                }
                Err(words) => {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    let aside = folder::refuse(&path).err().map(|e| format!("; {e}"));
                    let words = format!("{name}: {words}{}", aside.unwrap_or_default());
                    news.push((EventKind::HoldRefused, words));
                }
            }
        }
        self.desk.hand(&records);
        self.voice.report(facts, records, news)
    }

    fn poll(&mut self, gpus: &[Numbered]) -> Result<(), Gone> {
        // As of when it was asked: what it says is not older.
        let (at, now) = (self.clock.utc(), self.clock.now());
        let answer =
            ask::squeue(&self.config, &self.node).and_then(|json| squeue::read(&json, &self.node));
        let jobs = match answer {
            Ok(jobs) => jobs,
            Err(words) => return self.voice.take_outcome("squeue", Err(words)),
        };
        self.voice.take_outcome("squeue", Ok(()))?;
        let (mut facts, mut news) = (Vec::new(), Vec::new());
        for job in &jobs {
            if let Some(Joined { hold, troubles }) = self.polled(job, gpus, at, now) {
                facts.push(hold);
                news.extend(troubles);
            }
        }
        let is_listed =
            |key: &(String, i64)| jobs.iter().any(|job| job.id == key.0 && job.began_ms == key.1);
        self.told.retain(|key, _| is_listed(key));
        self.over.retain(is_listed);
        // A look is whole or it is none: what is not in it counts as gone.
        let fact = Fact::Looked { every: self.config.every };
        facts.push(Hold { fact, witness: Witness::Poll, cluster: join::cluster(""), at });
        if facts.len() > bijli_wire::limits::HOLDS_MAX {
            let words = format!("{} jobs at once are more than a batch can tell", facts.len());
            return self.voice.take_outcome("squeue", Err(words));
        }
        self.voice.report(facts, Vec::new(), news)
    }

    fn polled(
        &mut self,
        job: &Job,
        gpus: &[Numbered],
        at: UtcMillis,
        now: Moment,
    ) -> Option<Joined> {
        let key = (job.id.clone(), job.began_ms);
        let is_known = match &job.state {
            // Slurm lists it for some minutes after.
            State::Over { .. } => {
                if !self.over.insert(key) {
                    return None;
                }
                true
            }
            State::Leaves => self.told.contains_key(&key),
            State::Holds(_) | State::Unclear(_) => {
                let is_fresh = |(state, told): &&(State, Moment)| {
                    *state == job.state && now.since(*told) < AGAIN
                };
                let is_known = self.told.get(&key).filter(is_fresh).is_some();
                if !is_known {
                    self.told.insert(key, (job.state.clone(), now));
                }
                is_known
            }
        };
        Joiner { config: &self.config, gpus }.polled(job, at, is_known)
    }
}
