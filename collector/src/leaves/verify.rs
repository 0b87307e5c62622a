//! Whether the journal, the ledger log and the index tell one story: byte for byte, row for row.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bijli_ledger::Leaf;
use bijli_seglog::{RealDisk, RecordSeq};
use serde::Serialize;

use super::{Kept, Lot};
use crate::index::{IndexError, Store};
use crate::journal::chain;
use crate::replay::{self, Offline};
use crate::snapshot::{Begin, Grounds};

/// Differences told one by one; the rest is counted.
const TOLD_MAX: usize = 20;

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub frames: u64,
    /// Leaves that the journal leads to.
    pub leaves: u64,
    /// Of them: with the same bytes in the ledger log...
    pub same: u64,
    /// ...with other bytes...
    pub differing: u64,
    /// ...damaged there...
    pub damaged: u64,
    /// ...and not there: the next start appends them.
    pub missing: u64,
    /// Leaves of the log that the journal does not lead to.
    pub surplus: u64,
    /// The first record that was replayed. Above 1 the records before it are no longer kept...
    pub begins_with: u64,
    /// ...and so many leaves before it rest on the ledger log alone.
    pub unproven: u64,
    /// Snapshots whose hash is in the log where the journal says...
    pub snapshots_same: u64,
    /// ...and others, which no start believes.
    pub snapshots_differing: u64,
    /// Leaves whose rows in the index are those that follow from them...
    pub rows_same: u64,
    /// ...others...
    pub rows_differing: u64,
    /// ...and leaves without rows: the next start makes them.
    pub rows_missing: u64,
    /// The first differences, in words.
    pub told: Vec<String>,
}

/// Why nothing can be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Replay(#[from] replay::ReplayError),
    #[error("cannot open the index; delete its directory, a start makes it again")]
    Index(#[source] IndexError),
}

impl Verdict {
    /// Whether all three tell the same.
    #[must_use]
    pub const fn is_same(&self) -> bool {
        self.same == self.leaves
            && self.damaged == 0
            && self.surplus == 0
            && self.rows_same == self.leaves + self.unproven
            && self.rows_differing == 0
            && self.snapshots_differing == 0
    }

    /// For people.
    #[must_use]
    pub fn show(&self) -> String {
        let Self { frames, leaves, same, differing, damaged, missing, surplus, .. } = self;
        let Self { rows_same, rows_differing, rows_missing, .. } = self;
        let Self { snapshots_same, snapshots_differing, .. } = self;
        let verdict = if self.is_same() { "the same" } else { "NOT the same" };
        let mut text = format!(
            "{frames} frames of the journal lead to {leaves} leaves\n\
             ledger log: {same} the same, {differing} differ, {damaged} damaged, \
             {missing} missing, {surplus} too many\n\
             index:      {rows_same} the same, {rows_differing} differ, {rows_missing} missing\n\
             snapshots:  {snapshots_same} the same, {snapshots_differing} differ\n\
             verdict:    {verdict}\n"
        );
        if self.begins_with > 1 {
            let (gone, unproven) = (self.begins_with - 1, self.unproven);
            text.push_str(&format!(
                "records 1 to {gone} are no longer kept: {unproven} leaves before rest on the \
                 ledger log, and on the snapshot that was begun from\n"
            ));
        }
        for one in &self.told {
            text.push_str(&format!("    {one}\n"));
        }
        text
    }

    fn tell(&mut self, words: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(words);
        }
    }
}

/// What leaves are compared with while they are made.
struct Bench {
    kept: Kept<RealDisk>,
    /// Leaves in the log.
    count: u64,
    index: Store,
    verdict: Verdict,
    failed: Option<IndexError>,
}

impl Bench {
    fn take(&mut self, lot: &Lot) {
        for (leaf, index) in lot.leaves.iter().zip(lot.first..) {
            self.verdict.leaves += 1;
            self.compare_bytes(index, leaf);
            if let Err(error) = self.compare_rows(index, leaf) {
                self.failed.get_or_insert(error);
            }
        }
    }

    fn kept_leaf(&mut self, index: u64) -> Option<Vec<u8>> {
        self.kept.leaf(index).unwrap_or_else(|error| {
            tracing::error!(error = chain(&error), "the ledger log cannot be read");
            None
        })
    }

    /// A leaf of records that are no longer kept: it must be a leaf, and have its rows.
    fn take_alone(&mut self, index: u64) {
        self.verdict.unproven += 1;
        match self.kept_leaf(index).map(|bytes| Leaf::decode(&bytes)) {
            Some(Ok(leaf)) => {
                if let Err(error) = self.compare_rows(index, &leaf) {
                    self.failed.get_or_insert(error);
                }
            }
            Some(Err(_)) | None => {
                self.verdict.damaged += 1;
                self.verdict.tell(format!("leaf {index} is damaged in the ledger log"));
            }
        }
    }

    fn compare_bytes(&mut self, index: u64, leaf: &Leaf) {
        if index >= self.count {
            self.verdict.missing += 1;
            return;
        }
        let kept = self.kept_leaf(index);
        let verdict = &mut self.verdict;
        match kept {
            None => {
                verdict.damaged += 1;
                verdict.tell(format!("leaf {index} is damaged in the ledger log"));
            }
            Some(bytes) if bytes == leaf.encode() => verdict.same += 1,
            Some(bytes) => {
                verdict.differing += 1;
                let kept = Leaf::decode(&bytes).map_err(|error| error.to_string());
                verdict.tell(format!("leaf {index}: the log has {kept:?}, the journal {leaf:?}"));
            }
        }
    }

    fn compare_rows(&mut self, index: u64, leaf: &Leaf) -> Result<(), IndexError> {
        if index >= self.index.next() {
            self.verdict.rows_missing += 1;
            return Ok(());
        }
        match self.index.compare(index, leaf)? {
            None => self.verdict.rows_same += 1,
            Some(found) => {
                self.verdict.rows_differing += 1;
                let only = |here: &[String], there: &[String]| -> Vec<String> {
                    here.iter().filter(|row| !there.contains(row)).cloned().collect()
                };
                let words = format!(
                    "rows of leaf {index} in {}: there is {}, the journal leads to {}",
                    found.file,
                    only(&found.found, &found.expected).join(", "),
                    only(&found.expected, &found.found).join(", "),
                );
                self.verdict.tell(words);
            }
        }
        Ok(())
    }
}

/// Rebuilds everything of a stopped collector in memory and compares. Writes nothing.
///
/// # Errors
/// When journal, log or index cannot be opened: by a collector that runs, for one.
pub fn verify(dir: &Path) -> Result<Verdict, VerifyError> {
    let Offline { journal, ledger, store, state, begin } = replay::open_offline(dir)?;
    let Begin { from, next_leaf, intake, bookkeeper } = begin;
    let index = Store::inspect(&dir.join("index")).map_err(VerifyError::Index)?;
    index.check().map_err(VerifyError::Index)?;
    let count = ledger.durable_seq().get();
    let kept = Kept::new(ledger.read_from(RecordSeq::FIRST));
    let mut bench = Bench { kept, count, index, verdict: Verdict::default(), failed: None };
    bench.verdict.begins_with = from.get();
    (0..next_leaf).for_each(|index| bench.take_alone(index));
    let bench = Arc::new(Mutex::new(bench));
    let out = Arc::clone(&bench);
    let mut keeper = bookkeeper.with_leaves(move |lot: Lot| {
        out.lock().unwrap_or_else(PoisonError::into_inner).take(&lot);
    });
    replay::replay(&journal, from, &state, &Mutex::new(intake), |fact| keeper.book(fact))
        .map_err(replay::ReplayError::Read)?;
    let mut bench = bench.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = bench.failed.take() {
        return Err(VerifyError::Index(error));
    }
    let verdict = &mut bench.verdict;
    verdict.surplus = count.saturating_sub(next_leaf + verdict.leaves);
    verdict.frames = u64::try_from(state.health.replay_frames.get()).unwrap_or(0);
    for (record, error) in store.check(&Grounds { journal: &journal, ledger: &ledger }) {
        match error {
            None => verdict.snapshots_same += 1,
            Some(error) => {
                verdict.snapshots_differing += 1;
                verdict.tell(format!("the snapshot after record {record}: {}", chain(&error)));
            }
        }
    }
    Ok(verdict.clone())
}
