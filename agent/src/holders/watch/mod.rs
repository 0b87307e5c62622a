//! Witnesses that show what is held now and no more: files of jobs, a file that people keep, the
//! kubelet. Each is looked at by a thread of its own, and what changes becomes facts.
//!
//! # Invariants
//! - A look is whole or it is none: a witness that does not answer, or whose answer cannot be
//!   read, ends nothing.
//! - When something was first seen outlives the agent, in a small file beside the spool. So what is
//!   there before and after a restart was held all the time.

mod course;
mod holds_file;
mod job_files;
mod kept;
mod kubelet;
mod parts;

use std::path::PathBuf;
use std::sync::Arc;

use bijli_wire::message::Witness;
use bijli_wire::{ClusterId, Millis};

use self::course::{Claim, Course};
pub use self::holds_file::HoldsFileConfig;
pub use self::job_files::JobFilesConfig;
pub use self::kubelet::KubeletConfig;
use super::voice::{Gone, Voice};
use super::{FACTS_MAX, SlurmConfig};
use crate::clock::Clock;
use crate::probe;
use crate::probe::numbers::{Numbered, Numbers};
use crate::schedule::Tell;

/// `[job_files]`, `[holds_file]` and `[kubelet]` of the configuration.
#[derive(Clone, Debug, Default)]
pub struct WatchConfig {
    pub job_files: JobFilesConfig,
    pub holds_file: HoldsFileConfig,
    pub kubelet: KubeletConfig,
}

impl WatchConfig {
    /// # Errors
    /// The key, and what no type can say of it.
    pub fn check(&self, slurm: &SlurmConfig) -> Result<(), (&'static str, String)> {
        self.job_files.check(slurm).map_err(|words| ("job_files", words))?;
        self.holds_file.check().map_err(|words| ("holds_file", words))?;
        self.kubelet.check().map_err(|words| ("kubelet", words))
    }
}

/// How often a witness may be looked at.
fn check_every(every: Millis) -> Result<(), String> {
    let is_possible = (1_000..=3_600_000).contains(&every.get());
    is_possible.then_some(()).ok_or_else(|| "every is from \"1s\" to \"1h\"".to_owned())
}

/// What shows who holds what now.
trait Source: Send {
    /// Everything that is held.
    ///
    /// # Errors
    /// Says why nothing is known; that is not: nobody holds anything.
    fn look(&mut self, gpus: &[Numbered]) -> Result<Vec<Claim>, String>;
}

/// A source, and who it is.
pub(super) struct Watched {
    /// Of files and complaints.
    pub(super) name: &'static str,
    witness: Witness,
    cluster: ClusterId,
    every: Millis,
    source: Box<dyn Source>,
}

impl Watched {
    /// How much is held, by one look.
    ///
    /// # Errors
    /// Says why that is not known.
    pub(super) fn held(&mut self, gpus: &[Numbered]) -> Result<usize, String> {
        self.source.look(gpus).map(|claims| claims.len())
    }
}

/// Looks at one source, until nobody listens.
struct Watcher {
    watched: Watched,
    course: Course,
    /// Where it is kept what was seen since when; `None`: nowhere.
    path: Option<PathBuf>,
    clock: Clock,
    numbers: Arc<Numbers>,
    voice: Voice,
}

/// Every source that is enabled.
pub(super) fn watched(
    config: &WatchConfig,
    slurm: &SlurmConfig,
    context: &probe::Context,
    clock: Clock,
) -> Vec<Watched> {
    let WatchConfig { job_files, holds_file, kubelet } = config;
    let watched = [
        job_files.enabled.then(|| job_files::watched(job_files, slurm, context, clock)),
        holds_file.enabled.then(|| holds_file::watched(holds_file)),
        kubelet.enabled.then(|| kubelet::watched(kubelet)),
    ];
    watched.into_iter().flatten().collect()
}

/// Starts a watcher of every source that is enabled.
///
/// # Errors
/// If the system gives no thread.
pub fn watch(
    config: &WatchConfig,
    slurm: &SlurmConfig,
    context: &probe::Context,
    clock: Clock,
    tell: &Tell,
) -> std::io::Result<()> {
    for watched in watched(config, slurm, context, clock) {
        let file = format!("held-{}.json", watched.name);
        let path = context.state_dir.as_ref().map(|dir| dir.join(file));
        let known = path.as_deref().map(kept::load).unwrap_or_default();
        let course = Course::new(watched.witness, watched.cluster.clone(), known);
        let (numbers, voice) = (Arc::clone(&context.numbers), Voice::new(Arc::clone(tell)));
        Watcher { watched, course, path, clock, numbers, voice }.start()?;
    }
    Ok(())
}

impl Watcher {
    /// Starts the thread.
    fn start(mut self) -> std::io::Result<()> {
        let run = move || {
            while self.round().is_ok() {
                self.clock.sleep(self.watched.every);
            }
        };
        std::thread::Builder::new().name("holders".to_owned()).spawn(run).map(drop)
    }

    fn round(&mut self) -> Result<(), Gone> {
        // Before the GPUs are listed nothing can be joined, and everything waits.
        let Some(gpus) = self.numbers.listed() else { return Ok(()) };
        // As of when it was looked at: what is seen is not older.
        let (at, now) = (self.clock.utc(), self.clock.now());
        let looked = self.watched.source.look(&gpus);
        let looked = looked.and_then(|claims| self.course.look(&claims, &gpus, at, now));
        let seen = match looked {
            Ok(seen) => seen,
            Err(words) => return self.voice.take_outcome(self.watched.name, Err(words)),
        };
        self.voice.take_outcome(self.watched.name, Ok(()))?;
        if let (true, Some(path)) = (seen.is_changed, &self.path) {
            kept::store(path, self.course.known());
        }
        self.voice.report(Vec::new(), Vec::new(), seen.news)?;
        // A batch takes several of these. That everything was looked at is the last fact of all.
        let mut facts = seen.facts.chunks(FACTS_MAX);
        facts.try_for_each(|facts| self.voice.report(facts.to_vec(), Vec::new(), Vec::new()))
    }
}
