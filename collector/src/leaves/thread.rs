//! The ledger's thread: takes lots from the bookkeeper, makes them durable.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bijli_seglog::{Disk, Log, LogError};

use super::Lot;
use super::writer::{Keeping, Writer};
use crate::health::Health;
use crate::intake::Reply;
use crate::journal::chain;
use crate::snapshot::Snapshots;

/// Lots that wait for the thread: of a hub that closes four intervals an hour and corrects some,
/// half a day of a disk that takes nothing. Then the bookkeeper waits.
const LOTS_MAX: usize = 64;
/// How long a full disk is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// What the thread is told.
pub(super) enum Message {
    Lot(Lot),
    /// The journal is replayed: what the log has beyond it is told.
    Replayed(Reply<Keeping>),
}

/// Hands lots to the thread.
#[derive(Clone, Debug)]
pub struct Ledger {
    sender: SyncSender<Message>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

/// Starts the thread; `next` is the index of the first leaf that comes. Snapshots go on from here
/// when their leaf is durable. It ends when every handle is gone, or when an fsync
/// failed, which it tells: then the process must end, and the log recovers from disk.
///
/// # Errors
/// When no thread can be started.
pub fn start<D: Disk>(
    log: Log<D>,
    next: u64,
    snapshots: Snapshots,
    health: Health,
    failed: Reply<LogError>,
) -> std::io::Result<Started<D>> {
    let mut writer = Writer::after(log, next);
    let shared = writer.shared();
    let (sender, receiver) = sync_channel(LOTS_MAX);
    let thread = std::thread::Builder::new().name("ledger".into()).spawn(move || {
        if let Err(error) = run(&mut writer, &receiver, &snapshots, &health) {
            tracing::error!(error = chain(&error), "the ledger log failed");
            failed.send(error);
        }
    })?;
    Ok(Started { ledger: Ledger { sender }, log: shared, thread })
}

/// The ledger at work.
#[derive(Debug)]
pub struct Started<D: Disk> {
    pub ledger: Ledger,
    /// To read from.
    pub log: Arc<Mutex<Log<D>>>,
    pub thread: JoinHandle<()>,
}

impl Ledger {
    /// Hands over a lot; waits for room.
    pub fn add(&self, lot: Lot) {
        if self.sender.send(Message::Lot(lot)).is_err() {
            tracing::error!("the ledger's thread is gone; a start completes the log");
        }
    }

    /// Says that the journal is replayed; answers when everything before is durable.
    pub fn replayed(&self) -> Option<Keeping> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let reply = Reply::new(move |keeping| {
            let _heard = sender.send(keeping);
        });
        self.sender.send(Message::Replayed(reply)).ok()?;
        receiver.recv().ok()
    }
}

fn run<D: Disk>(
    writer: &mut Writer<D>,
    receiver: &Receiver<Message>,
    snapshots: &Snapshots,
    health: &Health,
) -> Result<(), LogError> {
    let mut is_replayed = false;
    show(writer, health, is_replayed);
    while let Ok(message) = receiver.recv() {
        let mut waiting = Vec::new();
        for message in std::iter::once(message).chain(receiver.try_iter().take(LOTS_MAX)) {
            match message {
                Message::Lot(mut lot) => {
                    keep(writer, &lot)?;
                    let snapshot = lot.snapshot.take();
                    if let Some(taken) = snapshot.filter(|_| writer.keeping() == Keeping::Same) {
                        snapshots.add(*taken);
                    }
                }
                Message::Replayed(reply) => waiting.push(reply),
            }
        }
        if !waiting.is_empty() {
            is_replayed = true;
            tell_ahead(writer);
        }
        show(writer, health, is_replayed);
        waiting.into_iter().for_each(|reply| reply.send(writer.keeping()));
    }
    Ok(())
}

/// Takes a lot; while the disk takes nothing, again and again. Only a failed fsync is final.
fn keep<D: Disk>(writer: &mut Writer<D>, lot: &Lot) -> Result<(), LogError> {
    let mut is_told = false;
    loop {
        match writer.take(lot) {
            Ok(()) => return Ok(()),
            Err(error) if writer.log().is_poisoned() => return Err(error),
            Err(error) => {
                if !is_told {
                    tracing::error!(error = chain(&error), "the ledger log waits for the disk");
                    is_told = true;
                }
                std::thread::sleep(RETRY);
            }
        }
    }
}

fn tell_ahead<D: Disk>(writer: &Writer<D>) {
    let ahead = writer.ahead();
    if ahead > 0 {
        tracing::error!(
            ahead,
            "the ledger log has leaves that the journal does not lead to: the journal is older than \
             the log, as after restoring a backup. They stand; what agents send again must lead to \
             the same leaves, or nothing is added"
        );
    }
}

fn show<D: Disk>(writer: &Writer<D>, health: &Health, is_replayed: bool) {
    let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let differs = writer.keeping() != Keeping::Same || (is_replayed && writer.ahead() > 0);
    health.ledger.leaves.set(gauge(writer.log().durable_seq().get()));
    health.ledger.bytes.set(gauge(writer.log().bytes()));
    health.ledger.lost_leaves.set(gauge(writer.lost()));
    health.ledger.differs.set(i64::from(differs));
}
