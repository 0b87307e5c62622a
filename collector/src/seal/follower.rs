//! Follows the ledger log and deals its leaves out to the hubs' trees.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bijli_ledger::{Leaf, LeafError};
use bijli_seglog::{Disk, Log, LogError, Reader, RecordSeq};
use bijli_wire::HubId;

use super::files::{FileError, Files};
use super::name::hub_of;
use super::tree::Tree;

/// No hub's folder begins with a dot.
const PROGRESS: &str = ".progress";
/// Leaves of one step.
const LEAVES_PER_STEP: usize = 1_024;

/// All trees of a collector.
#[derive(Debug)]
pub struct Follower<D: Disk> {
    disk: D,
    dir: PathBuf,
    base: String,
    log: Arc<Mutex<Log<D>>>,
    files: Files<D>,
    /// Index of the next leaf.
    next: u64,
    reader: Option<Reader<D>>,
    pub trees: BTreeMap<HubId, Tree<D>>,
}

/// Why the trees do not grow.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error("cannot keep the tiles")]
    File(#[from] FileError),
    #[error("cannot read the ledger log")]
    Log(#[source] LogError),
    #[error(
        "leaf {leaf} is damaged in the ledger log, and no tree goes on without it: stop, remove \
         ledger/, start: it is made again from the journal"
    )]
    Lost { leaf: u64 },
    #[error("leaf {leaf} of the ledger log is none")]
    Leaf { leaf: u64, source: LeafError },
}

impl<D: Disk> Follower<D> {
    /// Takes up every tree that there is in `dir`.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(
        disk: D,
        dir: &Path,
        base: &str,
        log: Arc<Mutex<Log<D>>>,
    ) -> Result<Self, FileError> {
        let files = Files::new(disk.clone(), dir);
        files.make()?;
        let mut trees = BTreeMap::new();
        let progress = files.text(PROGRESS)?.and_then(|text| parse(&text));
        let known = progress.iter().flat_map(|progress| progress.sizes.keys().cloned());
        let there = files.list()?;
        let there = there.iter().filter_map(|name| hub_of(name));
        for hub in there.chain(known).collect::<BTreeSet<_>>() {
            let tree = Tree::open(disk.clone(), dir, &hub, base)?;
            trees.insert(hub, tree);
        }
        let next = progress.filter(|progress| progress.holds(&trees)).map_or(0, |it| it.next);
        let (base, dir, reader) = (base.to_owned(), dir.to_owned(), None);
        Ok(Self { disk, dir, base, log, files, next, reader, trees })
    }

    /// Takes some leaves; whether there are more.
    ///
    /// # Errors
    /// When the disk fails or a leaf is damaged. After a failure of the disk it must be opened
    /// anew: what is in memory may be ahead.
    pub fn step(&mut self) -> Result<bool, StepError> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
                if self.next >= log.durable_seq().get() {
                    return Ok(false);
                }
                log.read_from(RecordSeq::new(self.next + 1))
            }
        };
        for _ in 0..LEAVES_PER_STEP {
            match reader.next() {
                Some(Ok((seq, leaf))) => {
                    let index = seq.get() - 1;
                    self.take(index, &leaf)?;
                    self.next = index + 1;
                }
                Some(Err(LogError::Lost { first, .. })) => {
                    return Err(StepError::Lost { leaf: first.get().saturating_sub(1) });
                }
                Some(Err(error)) => return Err(StepError::Log(error)),
                // It saw what was durable when it was made.
                None => return Ok(true),
            }
        }
        self.reader = Some(reader);
        Ok(true)
    }

    fn take(&mut self, index: u64, leaf: &[u8]) -> Result<(), StepError> {
        let peek = Leaf::peek(leaf).map_err(|source| StepError::Leaf { leaf: index, source })?;
        let is_whole = !peek.is_within_posting;
        let Some(hub) = peek.hub else {
            // What all hubs rest on is in each log that has begun.
            for tree in self.trees.values_mut().filter(|tree| tree.has_begun()) {
                tree.push(index, leaf, is_whole && tree.is_whole())?;
            }
            return Ok(());
        };
        if !self.trees.contains_key(&hub) {
            let tree = Tree::open(self.disk.clone(), &self.dir, &hub, &self.base)?;
            self.trees.insert(hub.clone(), tree);
        }
        match self.trees.get_mut(&hub) {
            Some(tree) => Ok(tree.push(index, leaf, is_whole)?),
            None => Ok(()),
        }
    }

    /// Makes every tree durable that ends where a posting ends, and notes how far all are.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn flush(&mut self) -> Result<(), StepError> {
        let mut is_news = false;
        for tree in self.trees.values_mut().filter(|tree| tree.is_whole() && tree.has_begun()) {
            is_news |= tree.flushed() != tree.size();
            tree.flush()?;
        }
        let is_level = |tree: &Tree<D>| tree.flushed() == tree.size() || !tree.has_begun();
        if is_news && self.trees.values().all(is_level) {
            let sizes = self.trees.iter().map(|(hub, tree)| format!("{hub} {}\n", tree.flushed()));
            let text = format!("next {}\n{}", self.next, sizes.collect::<String>());
            self.files.write(PROGRESS, text.as_bytes())?;
        }
        Ok(())
    }

    /// Makes a tree again from the ledger log.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn restart(&mut self, hub: &HubId) -> Result<(), StepError> {
        if let Some(tree) = self.trees.get_mut(hub) {
            tree.restart()?;
            (self.next, self.reader) = (0, None);
        }
        Ok(())
    }

    /// Leaves of the ledger log that were dealt out.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }
}

/// How far all trees are. Less than true does no harm, more would lose leaves: so it holds only
/// if no tree has fewer entries than it says.
struct Progress {
    next: u64,
    sizes: BTreeMap<HubId, u64>,
}

impl Progress {
    fn holds<D: Disk>(&self, trees: &BTreeMap<HubId, Tree<D>>) -> bool {
        let has = |(hub, size): (&HubId, &u64)| {
            trees.get(hub).is_some_and(|tree| tree.flushed() >= *size)
        };
        self.sizes.iter().all(has) && trees.keys().all(|hub| self.sizes.contains_key(hub))
    }
}

fn parse(text: &str) -> Option<Progress> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let next = lines.next()?.strip_prefix("next ")?.parse().ok()?;
    let size = |line: &str| {
        let (hub, size) = line.rsplit_once(' ')?;
        Some((HubId::new(hub).ok()?, size.parse().ok()?))
    };
    Some(Progress { next, sizes: lines.map(size).collect::<Option<_>>()? })
}
