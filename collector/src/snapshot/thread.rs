//! The thread that writes snapshots, so that booking waits for no disk, and says from which record
//! on the journal is needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use bijli_seglog::{Disk, RecordSeq};

use super::{Store, Taken};
use crate::health::Health;

/// The record of the elder of two sound snapshots: no start needs what came before it. Cloning
/// gives another handle.
#[derive(Clone, Debug, Default)]
pub struct Keeping(Arc<AtomicU64>);

impl Keeping {
    #[must_use]
    pub fn needed_from(&self) -> RecordSeq {
        RecordSeq::new(self.0.load(Ordering::Acquire))
    }

    pub(crate) fn raise(&self, record: RecordSeq) {
        self.0.fetch_max(record.get(), Ordering::AcqRel);
    }
}

/// Hands snapshots to the thread; it ends with this handle.
#[derive(Clone, Debug)]
pub struct Snapshots {
    sender: SyncSender<Taken>,
}

impl Snapshots {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn start<D: Disk>(
        store: Store<D>,
        keeping: Keeping,
        health: Health,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (sender, receiver) = sync_channel::<Taken>(1);
        let thread = std::thread::Builder::new().name("snapshots".into()).spawn(move || {
            while let Ok(taken) = receiver.recv() {
                keep(&store, &taken, &keeping, &health);
            }
        })?;
        Ok((Self { sender }, thread))
    }

    /// Hands one over. One that comes while two others are being written is not needed.
    pub fn add(&self, taken: Taken) {
        if let Err(error) = self.sender.try_send(taken) {
            tracing::warn!(%error, "a snapshot is not written");
        }
    }
}

/// Writes one. A disk that takes it not costs nothing but the time of the next start.
pub(crate) fn keep<D: Disk>(store: &Store<D>, taken: &Taken, keeping: &Keeping, health: &Health) {
    let eldest = match store.save(taken) {
        Ok(eldest) => eldest,
        Err(error) => {
            health.snapshots.failures.inc();
            tracing::error!(record = %taken.record, %error, "a snapshot cannot be written");
            return;
        }
    };
    let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    health.snapshots.record.set(gauge(taken.record.get()));
    health.snapshots.bytes.set(gauge(taken.bytes));
    // What came before a snapshot is let go only if that one is whole as it lies on the disk.
    let Some(eldest) = eldest else { return };
    match store.load(eldest) {
        Ok(_) => keeping.raise(eldest),
        Err(error) => {
            tracing::error!(record = %eldest, %error, "a kept snapshot is damaged");
        }
    }
}
