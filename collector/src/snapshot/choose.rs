//! From where a start replays: the newest snapshot that journal and ledger log bear out, else the
//! journal's first record.

use std::sync::Arc;

use bijli_ledger::Leaf;
use bijli_ledger::leaf::Body;
use bijli_seglog::{Disk, Log, RecordSeq};

use super::file::Read;
use super::{LoadError, Loaded, Store};
use crate::bookkeeper::Bookkeeper;
use crate::frame::FrameDigest;
use crate::intake::Intake;
use crate::journal::chain;
use crate::state::State;

/// What a snapshot must agree with.
#[derive(Debug)]
pub struct Grounds<'a, D: Disk> {
    pub journal: &'a Log<D>,
    pub ledger: &'a Log<D>,
}

/// Where the books begin.
#[derive(Debug)]
pub struct Begin {
    /// The first record to replay.
    pub from: RecordSeq,
    /// The first leaf that the replay makes.
    pub next_leaf: u64,
    pub intake: Intake,
    pub bookkeeper: Bookkeeper,
}

/// The journal has let go of records that no snapshot stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the journal begins with record {first}, and no snapshot before it can be used: put back \
     snapshots/ from a copy, or the journal's elder segments"
)]
pub struct NoBegin {
    pub first: RecordSeq,
}

impl Begin {
    /// With the journal's first record.
    #[must_use]
    pub fn at_first(state: &Arc<State>) -> Self {
        let (intake, bookkeeper) = (Intake::default(), Bookkeeper::new(Arc::clone(state)));
        Self { from: RecordSeq::FIRST, next_leaf: 0, intake, bookkeeper }
    }

    /// From the newest snapshot that can be believed; from the first record if there is none.
    ///
    /// # Errors
    /// When the journal no longer has its first record either.
    pub fn newest<D: Disk>(
        state: &Arc<State>,
        store: &Store<D>,
        grounds: &Grounds<'_, D>,
    ) -> Result<Self, NoBegin> {
        Self::from_any(state, store, grounds, listed(store))
    }

    /// With the first record if the journal has it; else from the eldest snapshot.
    ///
    /// # Errors
    /// When there is none that can be believed.
    pub fn eldest<D: Disk>(
        state: &Arc<State>,
        store: &Store<D>,
        grounds: &Grounds<'_, D>,
    ) -> Result<Self, NoBegin> {
        let mut records = listed(store);
        records.reverse();
        if grounds.journal.first_seq() <= RecordSeq::FIRST {
            records.clear();
        }
        Self::from_any(state, store, grounds, records)
    }

    fn from_any<D: Disk>(
        state: &Arc<State>,
        store: &Store<D>,
        grounds: &Grounds<'_, D>,
        records: Vec<RecordSeq>,
    ) -> Result<Self, NoBegin> {
        for record in records {
            match sound(store, record, grounds).and_then(|loaded| Self::after(state, &loaded)) {
                Ok(begin) => {
                    tracing::info!(%record, "the books begin from a snapshot");
                    return Ok(begin);
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::error!(%record, error, "a snapshot is passed over");
                }
            }
        }
        let first = grounds.journal.first_seq();
        if first > RecordSeq::FIRST {
            return Err(NoBegin { first });
        }
        Ok(Self::at_first(state))
    }

    fn after(state: &Arc<State>, loaded: &Loaded) -> Result<Self, LoadError> {
        let (intake, bookkeeper) = Bookkeeper::restore(Arc::clone(state), loaded)?;
        Ok(Self { from: loaded.record.next(), next_leaf: loaded.next_leaf, intake, bookkeeper })
    }
}

impl<D: Disk> Store<D> {
    /// Of each snapshot, newest first, why it cannot be believed; `None`: it can.
    pub fn check(&self, grounds: &Grounds<'_, D>) -> Vec<(RecordSeq, Option<LoadError>)> {
        let records = listed(self).into_iter();
        records.map(|record| (record, sound(self, record, grounds).err())).collect()
    }
}

/// Newest first.
fn listed<D: Disk>(store: &Store<D>) -> Vec<RecordSeq> {
    store.list().unwrap_or_else(|error| {
        tracing::error!(%error, "the snapshots cannot be listed");
        Vec::new()
    })
}

/// The snapshot, if journal and ledger log bear it out.
fn sound<D: Disk>(
    store: &Store<D>,
    record: RecordSeq,
    grounds: &Grounds<'_, D>,
) -> Result<Loaded, LoadError> {
    let Read { digest, loaded } = store.load(record)?;
    let record = loaded.record;
    if record > grounds.journal.durable_seq() {
        return Err(LoadError::Ahead { record });
    }
    let there = record_at(grounds.journal, record);
    if !there.is_some_and(|bytes| FrameDigest::of(&bytes) == digest) {
        return Err(LoadError::OtherJournal { record });
    }
    // A leaf's record is its index plus 1.
    let leaf = record_at(grounds.ledger, RecordSeq::new(loaded.next_leaf));
    match leaf.map(|bytes| Leaf::decode(&bytes)) {
        Some(Ok(Leaf { body: Body::Snapshot(leaf), .. })) if leaf.sha256 == loaded.sha256 => {
            Ok(loaded)
        }
        Some(_) | None => Err(LoadError::NoLeaf { leaf: loaded.next_leaf.saturating_sub(1) }),
    }
}

fn record_at<D: Disk>(log: &Log<D>, seq: RecordSeq) -> Option<Vec<u8>> {
    let (found, bytes) = log.read_from(seq).next()?.ok()?;
    (found == seq).then_some(bytes)
}
