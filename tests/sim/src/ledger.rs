//! The ledger log of a collector: the real writer beside the journal, and a queue instead of its
//! thread. What the disk does not take waits and is tried again with the next group.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bijli_collector::leaves::{self, Keeping, Lot, Writer};
use bijli_ledger::Leaf;
use bijli_ledger::leaf::{Body, Line, held};
use bijli_seglog::testing::ModelDisk;
use bijli_seglog::{LogError, Recovery};

use crate::oracle::Violation;

const LEDGER: &str = "/ledger";

/// The log of one run of the collector.
#[derive(Debug)]
pub struct LedgerLog {
    writer: Writer<ModelDisk>,
    made: Arc<Mutex<Vec<Lot>>>,
    waiting: VecDeque<Lot>,
}

impl LedgerLog {
    /// Opens it.
    ///
    /// # Errors
    /// If it cannot be opened now.
    pub fn open(disk: &ModelDisk) -> Result<(Self, Recovery), LogError> {
        let (log, recovery) = leaves::open(disk.clone(), Path::new(LEDGER))?;
        let (made, waiting) = (Arc::default(), VecDeque::new());
        Ok((Self { writer: Writer::new(log), made, waiting }, recovery))
    }

    /// Where the bookkeeper puts leaves.
    pub fn inlet(&self) -> impl FnMut(Lot) + Send + 'static {
        let made = Arc::clone(&self.made);
        move |lot| made.lock().unwrap_or_else(PoisonError::into_inner).push(lot)
    }

    /// Compares and makes durable what was made. The inner error: an fsync failed, and the process
    /// must end.
    ///
    /// # Errors
    /// If a promise is broken.
    pub fn keep(&mut self) -> Result<Result<(), LogError>, Violation> {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        made.iter().try_for_each(|lot| invariant_leaves_balance(&lot.leaves))?;
        self.waiting.extend(made);
        while let Some(lot) = self.waiting.front() {
            match self.writer.take(lot) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(error) if self.writer.log().is_poisoned() => return Ok(Err(error)),
                Err(_) => break,
            }
        }
        Ok(Ok(()))
    }

    /// P6: every leaf that the log has is, byte for byte, the one that the journal leads to.
    ///
    /// # Errors
    /// Says what differs.
    pub fn invariant_is_the_journals(&self) -> Result<(), Violation> {
        let (keeping, lost) = (self.writer.keeping(), self.writer.lost());
        // What the disk has not let be read yet is not compared yet.
        let ahead = if self.waiting.is_empty() { self.writer.ahead() } else { 0 };
        if keeping == Keeping::Same && ahead == 0 && lost == 0 {
            return Ok(());
        }
        let words = format!("{keeping:?}; {ahead} leaves ahead of the journal, {lost} lost");
        Err(Violation::new("leaves are the journal's", words))
    }
}

/// P3: each leaf by itself, and the leaves of each posting together.
fn invariant_leaves_balance(leaves: &[Leaf]) -> Result<(), Violation> {
    let broken = |words: String| Err(Violation::new("every leaf balances", words));
    let mut lines: Vec<&Line> = Vec::new();
    for leaf in leaves {
        match Leaf::decode(&leaf.encode()) {
            Ok(read) if read == *leaf => {}
            Ok(read) => return broken(format!("{leaf:?} is read back as {read:?}")),
            Err(error) => return broken(format!("{leaf:?}: {error}")),
        }
        lines.extend(leaf.posting().into_iter().flat_map(|posting| &posting.lines));
        if matches!(leaf.body, Body::Summary(_)) {
            let left = held(lines.drain(..));
            if !left.is_empty() {
                return broken(format!("a posting leaves {left:?}"));
            }
        }
    }
    Ok(())
}
