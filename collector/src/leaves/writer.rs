//! Writes the leaves that the log lacks, compares those that it has.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bijli_ledger::Leaf;
use bijli_ledger::leaf::LEAF_BYTES_MAX;
use bijli_seglog::{Disk, Log, LogError, Options, RecordSeq, Recovery};

use super::{Kept, Lot};

const SEGMENT_BYTES: u64 = 64 << 20;

/// How the log and what the books make of the journal go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// Leaf by leaf the same, so far.
    Same,
    /// The books make another leaf than the one at this index, which stands. Nothing is
    /// written any more: an entry number must not be given out twice.
    Differs { index: u64 },
}

/// The log and what of it the books have come to.
#[derive(Debug)]
pub struct Writer<D: Disk> {
    /// Shared with those who read it; written here only.
    log: Arc<Mutex<Log<D>>>,
    /// The leaves that were there when it was opened and were not compared yet.
    old: Kept<D>,
    /// So many were there then.
    known: u64,
    /// Index of the next leaf that the books make.
    next: u64,
    keeping: Keeping,
    lost: u64,
}

/// Opens the ledger log.
///
/// # Errors
/// When another process has it open, its format is newer, or the disk fails.
pub fn open<D: Disk>(disk: D, dir: &Path) -> Result<(Log<D>, Recovery), LogError> {
    let bytes = u32::try_from(LEAF_BYTES_MAX).expect("a leaf has 16 bits of length");
    let options = Options::new(SEGMENT_BYTES, bytes).expect("many leaves fit into a segment");
    // A leaf carries no bytes that a stranger chose, so the checksums need no secret number.
    let (log, recovery) = Log::open(disk, dir, options)?;
    if !recovery.is_clean() {
        tracing::error!(?recovery, "the ledger log is damaged");
    }
    Ok((log, recovery))
}

impl<D: Disk> Writer<D> {
    #[must_use]
    pub fn new(log: Log<D>) -> Self {
        Self::after(log, 0)
    }

    /// For books that begin from a snapshot: the first leaf that they make has this index.
    #[must_use]
    pub fn after(log: Log<D>, next: u64) -> Self {
        let old = Kept::new(log.read_from(RecordSeq::new(next + 1)));
        let known = log.durable_seq().get();
        let log = Arc::new(Mutex::new(log));
        Self { log, old, known, next, keeping: Keeping::Same, lost: 0 }
    }

    /// Compares what the log has, appends and makes durable what it lacks. Leaf by leaf: a cut in
    /// a group could leave the last of it and lose the first, and a leaf's place is its index.
    ///
    /// # Errors
    /// If the log takes no more. The same lot again goes on where it stopped; unless the log is
    /// poisoned.
    pub fn take(&mut self, lot: &Lot) -> Result<(), LogError> {
        for (leaf, index) in lot.leaves.iter().zip(lot.first..) {
            if index < self.next {
                // Of a lot that was taken in part before the disk took no more.
                continue;
            }
            let bytes = leaf.encode();
            if index < self.known {
                self.compare(index, &bytes)?;
            } else if self.keeping == Keeping::Same {
                self.keep(&bytes)?;
            }
            self.next = index + 1;
        }
        Ok(())
    }

    fn keep(&self, bytes: &[u8]) -> Result<(), LogError> {
        let mut log = self.log();
        let kept = log.append(bytes).and_then(|_| log.commit());
        if kept.is_err() {
            log.discard_pending();
        }
        kept.map(|_| ())
    }

    fn compare(&mut self, index: u64, bytes: &[u8]) -> Result<(), LogError> {
        let old = match self.old.leaf(index) {
            Ok(old) => old,
            Err(error) => {
                // A file that does not open now is not damaged: the next try begins here.
                let from_here = self.log().read_from(RecordSeq::new(index + 1));
                self.old = Kept::new(from_here);
                return Err(error);
            }
        };
        match old {
            Some(old) if old == bytes => {}
            Some(old) => self.alarm(index, &old, bytes),
            None => {
                self.lost += 1;
                tracing::error!(leaf = index, "the leaf is damaged in the ledger log");
            }
        }
        Ok(())
    }

    fn alarm(&mut self, index: u64, old: &[u8], new: &[u8]) {
        if self.keeping != Keeping::Same {
            return;
        }
        self.keeping = Keeping::Differs { index };
        let kept = Leaf::decode(old).map_err(|error| error.to_string());
        let made = Leaf::decode(new).map_err(|error| error.to_string());
        tracing::error!(
            leaf = index,
            ?kept,
            ?made,
            "the journal gives another leaf than the ledger log keeps; the log stands, and \
             nothing is added to it: was the journal restored or damaged?"
        );
    }

    #[must_use]
    pub const fn keeping(&self) -> Keeping {
        self.keeping
    }

    /// Leaves of the log that the books have not made (yet). At the end of a replay above 0: the
    /// journal is behind the log.
    #[must_use]
    pub const fn ahead(&self) -> u64 {
        self.known.saturating_sub(self.next)
    }

    /// Leaves found damaged.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// The log, for as long as the guard is held.
    pub fn log(&self) -> MutexGuard<'_, Log<D>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log, for a reader of it.
    #[must_use]
    pub fn shared(&self) -> Arc<Mutex<Log<D>>> {
        Arc::clone(&self.log)
    }
}
