//! The thread that follows the ledger log, seals what is whole, and looks at old tiles again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bijli_seglog::{Disk, Log};
use bijli_tlog::Note;
use bijli_wire::{HubId, UtcMillis};

use super::follower::{Follower, StepError};
use super::sealer::{Refusal, Sealer};
use super::tree::Tree;
use super::view::{Seal, Seals, Witnessed};
use super::{NO_ORIGIN, files::FileError};
use crate::calendar;
use crate::clock::Clock;
use crate::health::Health;
use crate::journal::chain;

/// How often the log is looked at.
const EVERY: Duration = Duration::from_millis(250);
/// After a disk that failed, or a leaf that is damaged.
const REST: Duration = Duration::from_secs(1);
/// After a refusal, or a witness that was not reached.
const RETRY: Duration = Duration::from_secs(10);
/// A pass over all tiles begins at the start, and so long after the one before.
const CHECK_EVERY: Duration = Duration::from_secs(24 * 3_600);

/// What the thread works with.
#[derive(Debug)]
pub struct Setting<D: Disk> {
    pub disk: D,
    /// The folder of the logs.
    pub dir: PathBuf,
    pub log: Arc<Mutex<Log<D>>>,
    /// `None`: tiles are made, and nothing is signed.
    pub sealer: Option<Sealer<D>>,
    pub clock: Clock,
    pub seals: Seals,
    pub health: Health,
}

/// The thread, until it is stopped.
#[derive(Debug)]
pub struct Sealing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Starts the thread. Whatever fails in it is told and tried again; nothing waits for it.
///
/// # Errors
/// When no thread can be started.
pub fn start<D: Disk>(setting: Setting<D>) -> std::io::Result<Sealing> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("seal".into()).spawn(move || {
        Worker::new(setting).run(&told);
    })?;
    Ok(Sealing { stop, thread })
}

impl Sealing {
    /// Ends it when all leaves are dealt out; the ledger's thread must have ended before.
    ///
    /// # Errors
    /// When it had panicked.
    pub fn stop(self) -> std::thread::Result<()> {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join()
    }
}

/// The thread at work.
pub(super) struct Worker<D: Disk> {
    setting: Setting<D>,
    follower: Option<Follower<D>>,
    /// What the last try to seal a hub's tree came to.
    tried: BTreeMap<HubId, Tried>,
    check_began: Option<Instant>,
    /// What the last piece of work failed of; told once.
    ails: Option<String>,
}

struct Tried {
    size: u64,
    at: Instant,
    /// Signed, and by every witness that there is.
    is_settled: bool,
    refusal: Option<Refusal>,
}

impl<D: Disk> Worker<D> {
    pub(super) fn new(setting: Setting<D>) -> Self {
        let (follower, tried, check_began, ails) = (None, BTreeMap::new(), None, None);
        Self { setting, follower, tried, check_began, ails }
    }

    fn run(&mut self, stop: &AtomicBool) {
        loop {
            let is_last = stop.load(Ordering::Acquire);
            match self.turn(is_last) {
                Duration::ZERO => {}
                _ if is_last => return,
                wait => std::thread::park_timeout(wait),
            }
        }
    }

    /// Does what there is to do; how long it may rest then. In its last turns it asks nobody.
    pub(super) fn turn(&mut self, is_last: bool) -> Duration {
        match self.work(is_last) {
            Ok(true) => Duration::ZERO,
            Ok(false) => {
                self.ails = None;
                EVERY
            }
            Err(error) => {
                self.fail(&error);
                REST
            }
        }
    }

    /// As when so much time has passed that what was refused is tried again.
    #[cfg(test)]
    pub(super) fn try_again(&mut self) {
        self.tried.clear();
    }

    fn fail(&mut self, error: &StepError) {
        let ails = chain(error);
        if self.ails.as_ref() != Some(&ails) {
            tracing::error!(error = ails, "the ledger is not sealed");
        }
        if !matches!(error, StepError::Lost { .. } | StepError::Leaf { .. }) {
            // What is in memory may be ahead of the disk.
            self.follower = None;
        }
        for seal in self.setting.seals.all() {
            if let Ok(hub) = HubId::new(&seal.hub) {
                let seal = Seal { refused: Some(ails.clone()), ..seal };
                self.setting.seals.put(&hub, seal.said());
            }
        }
        self.setting.health.seals.refused.set(1);
        self.ails = Some(ails);
    }

    fn work(&mut self, is_last: bool) -> Result<bool, StepError> {
        let Setting { disk, dir, log, sealer, .. } = &self.setting;
        let mut follower = match self.follower.take() {
            Some(follower) => follower,
            None => {
                let base = sealer.as_ref().map_or(NO_ORIGIN, Sealer::base);
                Follower::open(disk.clone(), dir, base, Arc::clone(log))?
            }
        };
        let is_more = follower.step();
        if matches!(is_more, Ok(false)) {
            follower.flush()?;
            self.seal_all(&mut follower, is_last)?;
            if !is_last {
                self.check_one(&mut follower)?;
            }
        }
        self.follower = Some(follower);
        is_more
    }

    fn seal_all(&mut self, follower: &mut Follower<D>, is_last: bool) -> Result<(), StepError> {
        let (mut entries, mut signed, mut refused) = (0, 0, 0);
        for (hub, tree) in &mut follower.trees {
            if tree.is_whole() && tree.has_begun() && self.is_due(hub, tree.size()) {
                let seal = self.seal(tree, is_last)?;
                self.setting.seals.put(hub, seal.said());
            }
            entries += tree.flushed();
            if let Some(seal) = self.setting.seals.of(hub) {
                signed += seal.signed_size.and_then(|size| size.parse().ok()).unwrap_or(0);
                refused += i64::from(seal.refused.is_some());
            }
        }
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let health = &self.setting.health.seals;
        health.entries.set(gauge(entries));
        health.signed_entries.set(gauge(signed));
        health.refused.set(refused);
        Ok(())
    }

    fn is_due(&self, hub: &HubId, size: u64) -> bool {
        // A failure of the disk was told instead: what is true is shown again.
        self.ails.is_some()
            || self.tried.get(hub).is_none_or(|tried| {
                tried.size != size || (!tried.is_settled && tried.at.elapsed() >= RETRY)
            })
    }

    fn seal(&mut self, tree: &mut Tree<D>, is_last: bool) -> Result<Seal, FileError> {
        let mut seal = Seal {
            hub: tree.hub.to_string(),
            origin: tree.origin.clone(),
            size: tree.size().to_string(),
            root: tree.root().to_string(),
            ..Seal::default()
        };
        let mut tried = Tried {
            size: tree.size(),
            at: self.setting.clock.instant(),
            is_settled: true,
            refusal: None,
        };
        if let Some(sealer) = &mut self.setting.sealer {
            seal.keys = sealer.verifiers(&tree.origin);
            seal.has_head_elsewhere = sealer.has_heads();
            match sealer.seal(tree)? {
                Ok(note) => {
                    let note = if is_last { note } else { sealer.cosign(tree, note)? };
                    show(&mut seal, sealer, &note, tree.size());
                    tried.is_settled = seal.witnessed_by.len() == seal.witnesses;
                    tried.refusal = sealer.told(&tree.hub).cloned();
                }
                Err(refusal) => {
                    let before = self.setting.seals.of(&tree.hub);
                    seal.signed_size = before.and_then(|seal| seal.signed_size);
                    (tried.refusal, tried.is_settled) = (Some(refusal), false);
                }
            }
        }
        seal.refused = tried.refusal.as_ref().map(ToString::to_string);
        self.tell(&tree.hub, tried);
        Ok(seal)
    }

    fn tell(&mut self, hub: &HubId, tried: Tried) {
        let before = self.tried.get(hub).and_then(|tried| tried.refusal.as_ref());
        match &tried.refusal {
            Some(refusal) if before != Some(refusal) => {
                tracing::error!(%hub, %refusal, "the hub's log is not signed");
            }
            None if before.is_some() => tracing::info!(%hub, "the hub's log is signed again"),
            Some(_) | None => {}
        }
        self.tried.insert(hub.clone(), tried);
    }

    /// Looks at one old bundle of a hub's log and the tiles above it.
    fn check_one(&mut self, follower: &mut Follower<D>) -> Result<(), StepError> {
        let is_due = self.check_began.is_none_or(|began| began.elapsed() >= CHECK_EVERY);
        if is_due && follower.trees.values().all(Tree::is_checked) {
            follower.trees.values_mut().for_each(Tree::check_anew);
            self.check_began = Some(self.setting.clock.instant());
        }
        let unchecked = follower.trees.iter_mut().find(|(_, tree)| !tree.is_checked());
        let wrong = unchecked.and_then(|(hub, tree)| Some((hub.clone(), tree.check_next()?)));
        if let Some((hub, what)) = wrong {
            tracing::error!(%hub, what, "the tiles are made again from the ledger log");
            self.setting.health.seals.rebuilds.inc();
            follower.restart(&hub)?;
        }
        Ok(())
    }
}

fn show<D: Disk>(seal: &mut Seal, sealer: &Sealer<D>, note: &Note, size: u64) {
    seal.signed_size = Some(size.to_string());
    let Some(standing) = sealer.standing(note) else { return };
    seal.witnesses = standing.of;
    seal.is_witnessed = standing.is_asked && standing.is_enough;
    let by = standing.by.into_iter().map(|(name, at)| {
        let ms = i64::try_from(at.saturating_mul(1_000)).unwrap_or(i64::MAX);
        Witnessed { name, at: calendar::rfc3339(UtcMillis::new(ms)) }
    });
    seal.witnessed_by = by.collect();
}
