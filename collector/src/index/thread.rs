//! Who owns the index: one thread that follows the log, answers, and compares rows to leaves.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bijli_ledger::Leaf;
use bijli_seglog::{Disk, Log, LogError, Reader, RecordSeq};

use super::rows::{EntryRow, Sum};
use super::store::{IndexError, Scope, Store};
use crate::clock::Clock;
use crate::health::Health;
use crate::intake::Reply;
use crate::journal::chain;

/// Questions that wait; one more is refused.
const QUESTIONS_MAX: usize = 32;
/// How often the log is looked at.
const EVERY: Duration = Duration::from_millis(250);
/// After files that could not be written, a full disk say: until they are tried again.
const REST: Duration = Duration::from_secs(1);
/// Leaves of one transaction while it catches up.
const LEAVES_PER_STEP: usize = 1_024;
/// Leaves compared to their rows in one idle moment: 34 million a day.
const COMPARED_PER_STEP: usize = 100;
/// A pass of comparing begins at the start, and this long after the one before.
const COMPARE_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// A question waits for so many leaves to be taken; if it lags by more, it is being made again.
const LAG_MAX: u64 = 8 * 1_024;
/// A question waits so long for the log to get the leaves it needs: those of one interval take less
/// than a second, those of a hub that was down for weeks take minutes.
const LOG_WAIT: Duration = Duration::from_secs(2);
const LOG_LOOK: Duration = Duration::from_millis(10);

/// Why there is no answer now.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    #[error(
        "the index is being rebuilt from the ledger log: {done} of {total} leaves; ask again later"
    )]
    Rebuilding { done: u64, total: u64 },
    #[error("the ledger log has {done} of the {total} leaves that were booked; ask again later")]
    Unwritten { done: u64, total: u64 },
    #[error("too many questions about the past wait; ask again in a moment")]
    Busy,
    #[error("the index was damaged and is being rebuilt; ask again later")]
    Damaged,
}

/// What may be asked.
pub enum Asked {
    /// Ends the thread, so that the log is nobody's.
    Close,
    Entries {
        needs: Needs,
        scope: Scope,
        after: u64,
        limit: usize,
        reply: Reply<Result<Vec<EntryRow>, Unavailable>>,
    },
    Sums {
        needs: Needs,
        scope: Scope,
        by_interval: bool,
        reply: Reply<Result<Vec<Sum>, Unavailable>>,
    },
    /// Anything else: it reads the files itself, and tells what SQLite refused.
    Read { needs: Needs, read: Box<Reading> },
}

/// Is handed the files, or why they do not answer.
type Reading = dyn FnOnce(Result<&Store, Unavailable>) -> Option<IndexError> + Send;

/// What there must be before a question is answered.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// So many leaves, also if the log does not have them all yet.
    pub leaves: u64,
    /// How long they are waited for, however long the question itself has waited.
    pub until: Instant,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asked")
    }
}

/// Asks the thread. It ends when every handle is gone.
#[derive(Clone, Debug)]
pub struct Index {
    sender: SyncSender<Asked>,
}

/// Starts the thread. An index that cannot be opened or mended is left alone, with an alarm:
/// everything but old entries works without it.
///
/// # Errors
/// When no thread can be started.
pub fn start<D: Disk>(
    dir: &Path,
    log: Arc<Mutex<Log<D>>>,
    health: Health,
) -> std::io::Result<(Index, JoinHandle<()>)> {
    let (sender, receiver) = sync_channel(QUESTIONS_MAX);
    let dir: PathBuf = dir.to_owned();
    let thread =
        std::thread::Builder::new().name("index".into()).spawn(move || {
            match Store::open(&dir) {
                Ok((store, was_made_anew)) => {
                    health.ledger.index_rebuilds.inc_by(u64::from(was_made_anew));
                    Keeper::new(store, log, health).run(&receiver);
                }
                Err(error) => {
                    tracing::error!(error = chain(&error), "there is no index of the ledger log");
                }
            }
        })?;
    Ok((Index { sender }, thread))
}

impl Index {
    /// The entries of a scope after a sequence, at most `limit`, as of so many leaves.
    ///
    /// # Errors
    /// When the index is behind, or too many ask.
    pub fn entries(
        &self,
        leaves: u64,
        scope: Scope,
        after: u64,
        limit: usize,
    ) -> Result<Vec<EntryRow>, Unavailable> {
        let needs = Needs::of(leaves);
        self.ask(|reply| Asked::Entries { needs, scope, after, limit, reply })
    }

    /// Sums of the entries of a scope, as of so many leaves.
    ///
    /// # Errors
    /// As [`Index::entries`].
    pub fn sums(
        &self,
        leaves: u64,
        scope: Scope,
        by_interval: bool,
    ) -> Result<Vec<Sum>, Unavailable> {
        let needs = Needs::of(leaves);
        self.ask(|reply| Asked::Sums { needs, scope, by_interval, reply })
    }

    /// What `read` makes of the files, as of so many leaves at least.
    ///
    /// # Errors
    /// As [`Index::entries`].
    pub fn read<T: Send + 'static>(
        &self,
        leaves: u64,
        read: impl FnOnce(&Store) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let needs = Needs::of(leaves);
        self.ask(|reply| {
            let read = Box::new(move |store: Result<&Store, Unavailable>| {
                let (answer, refused) = match store.map(read) {
                    Ok(Ok(found)) => (Ok(found), None),
                    Ok(Err(error)) => (Err(Unavailable::Damaged), Some(error)),
                    Err(why) => (Err(why), None),
                };
                reply.send(answer);
                refused
            });
            Asked::Read { needs, read }
        })
    }

    /// Ends the thread. Waits for room.
    pub fn close(&self) {
        // One that has ended is closed.
        drop(self.sender.send(Asked::Close));
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Reply<Result<T, Unavailable>>) -> Asked,
    ) -> Result<T, Unavailable> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let reply = Reply::new(move |answer| {
            let _heard = sender.send(answer);
        });
        self.sender.try_send(question(reply)).map_err(|_| Unavailable::Busy)?;
        receiver.recv().unwrap_or(Err(Unavailable::Damaged))
    }
}

impl Needs {
    fn of(leaves: u64) -> Self {
        Self { leaves, until: Clock.instant() + LOG_WAIT }
    }
}

/// The store, and how far it and its comparing are.
pub(super) struct Keeper<D: Disk> {
    pub(super) store: Store,
    log: Arc<Mutex<Log<D>>>,
    health: Health,
    clock: Clock,
    /// Follows the log from `store.next()` on; remade when it is used up.
    reader: Option<Reader<D>>,
    comparing: Option<Reader<D>>,
    compared: Option<Instant>,
    /// What the last piece of work failed of; told once.
    ails: Option<String>,
}

impl<D: Disk> Keeper<D> {
    pub(super) fn new(store: Store, log: Arc<Mutex<Log<D>>>, health: Health) -> Self {
        let (reader, comparing, compared, ails) = (None, None, None, None);
        Self { store, log, health, clock: Clock, reader, comparing, compared, ails }
    }

    fn run(&mut self, receiver: &Receiver<Asked>) {
        loop {
            let is_behind = self.lag() > 0;
            let wait = match (&self.ails, is_behind) {
                (Some(_), _) => REST,
                (None, true) => Duration::ZERO,
                (None, false) => EVERY,
            };
            match receiver.recv_timeout(wait) {
                Ok(Asked::Close) => {
                    // So that a comparison of what lies on the disk finds it level with the log.
                    let _unless_it_is_being_made = self.up_to_date();
                    return;
                }
                Ok(asked) => self.answer(asked),
                Err(RecvTimeoutError::Timeout) if is_behind => self.mended(Self::step),
                Err(RecvTimeoutError::Timeout) => self.mended(Self::compare),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Does something; if the files do not let it, they are made again from the log.
    pub(super) fn mended(&mut self, work: impl FnOnce(&mut Self) -> Result<(), IndexError>) {
        match work(self) {
            Ok(()) => self.ails = None,
            Err(error) => {
                let ails = Some(chain(&error));
                if self.ails != ails {
                    tracing::error!(error = ails, "the index is made again from the ledger log");
                }
                self.ails = ails;
                self.rebuild();
            }
        }
        let leaves = i64::try_from(self.store.next()).unwrap_or(i64::MAX);
        self.health.ledger.index_leaves.set(leaves);
    }

    fn rebuild(&mut self) {
        self.health.ledger.index_rebuilds.inc();
        (self.reader, self.comparing) = (None, None);
        if let Err(error) = self.store.clear() {
            tracing::error!(error = chain(&error), "the index cannot be removed");
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn total(&self) -> u64 {
        locked(&self.log).durable_seq().get()
    }

    #[cfg(test)]
    pub(super) fn append(&self, leaves: &[Leaf]) {
        let mut log = locked(&self.log);
        for leaf in leaves {
            log.append(&leaf.encode()).expect("fits");
        }
        log.commit().expect("no fault");
    }

    pub(super) fn lag(&self) -> u64 {
        self.total().saturating_sub(self.store.next())
    }

    /// Takes the next leaves of the log. One that was lost there keeps its place.
    pub(super) fn step(&mut self) -> Result<(), IndexError> {
        if self.total() < self.store.next() {
            let what = "leaves that the log does not have".to_owned();
            return Err(IndexError::Content { file: "the index".into(), what });
        }
        let next = self.store.next();
        let mut reader = self
            .reader
            .take()
            .unwrap_or_else(|| locked(&self.log).read_from(RecordSeq::new(next + 1)));
        let mut leaves = Vec::new();
        let mut is_more = true;
        while leaves.len() < LEAVES_PER_STEP {
            match reader.next() {
                Some(Ok((_, bytes))) => leaves.push(Leaf::decode(&bytes).ok()),
                Some(Err(LogError::Lost { first, last, .. })) => {
                    leaves.extend((first.get()..=last.get()).map(|_| None));
                }
                Some(Err(_)) | None => {
                    is_more = false;
                    break;
                }
            }
        }
        self.reader = is_more.then_some(reader);
        self.store.take(&leaves)
    }

    /// Compares some rows to their leaves.
    pub(super) fn compare(&mut self) -> Result<(), IndexError> {
        if self.comparing.is_none() {
            let is_due = self.compared.is_none_or(|at| at.elapsed() >= COMPARE_EVERY);
            if !is_due {
                return Ok(());
            }
            self.compared = Some(self.clock.instant());
            self.store.check()?;
            self.comparing = Some(locked(&self.log).read_from(RecordSeq::FIRST));
        }
        for _ in 0..COMPARED_PER_STEP {
            let Some(record) = self.comparing.as_mut().and_then(Iterator::next) else {
                self.comparing = None;
                return Ok(());
            };
            let (seq, bytes) = match record {
                Ok(record) => record,
                Err(error) => {
                    self.tell_lost(&error);
                    continue;
                }
            };
            if seq.get() > self.store.next() {
                // Written since this thread last looked: its rows are still to come.
                self.comparing = None;
                return Ok(());
            }
            let Ok(leaf) = Leaf::decode(&bytes) else { continue };
            let Some(found) = self.store.compare(seq.get() - 1, &leaf)? else { continue };
            self.health.ledger.index_differences.inc();
            tracing::error!(?found, "rows of the index do not follow from the ledger log");
            let what = format!("rows of leaf {} that do not follow from the log", found.leaf);
            return Err(IndexError::Content { file: found.file, what });
        }
        Ok(())
    }

    /// Damage of the ledger log that this reading of it found.
    fn tell_lost(&self, error: &LogError) {
        if let LogError::Lost { first, last, .. } = error {
            let (first, last) = (first.get() - 1, last.get() - 1);
            tracing::error!(first, last, "leaves are damaged in the ledger log");
            self.health.ledger.rotten_leaves.inc_by(last - first + 1);
        } else {
            tracing::error!(error = chain(error), "the ledger log cannot be read");
        }
    }

    /// Catches up with what the log has now.
    pub(super) fn up_to_date(&mut self) -> Result<(), Unavailable> {
        self.catch_up(Needs { leaves: 0, until: self.clock.instant() })
    }

    /// Catches up with what is needed and with what the log has when this begins: what comes while
    /// it is at it waits for the next question. Refuses while the index is being made, or the log
    /// is written.
    pub(super) fn catch_up(&mut self, needs: Needs) -> Result<(), Unavailable> {
        let total = self.total().max(needs.leaves);
        loop {
            let (done, log) = (self.store.next(), self.total());
            if done >= total {
                return Ok(());
            }
            if done >= log {
                if self.clock.instant() >= needs.until {
                    return Err(Unavailable::Unwritten { done: log, total });
                }
                std::thread::sleep(LOG_LOOK);
                continue;
            }
            if log.min(total) - done > LAG_MAX {
                return Err(Unavailable::Rebuilding { done, total: log });
            }
            self.mended(Self::step);
            if self.store.next() <= done {
                return Err(Unavailable::Damaged);
            }
        }
    }

    fn answer(&mut self, asked: Asked) {
        match asked {
            Asked::Close => {}
            Asked::Entries { needs, scope, after, limit, reply } => {
                let found = self.catch_up(needs);
                let ask = |store: &Store| store.entries(&scope, after, limit);
                reply.send(found.and_then(|()| self.found(ask)));
            }
            Asked::Sums { needs, scope, by_interval, reply } => {
                let found = self.catch_up(needs);
                let ask = |store: &Store| store.sums(&scope, by_interval);
                reply.send(found.and_then(|()| self.found(ask)));
            }
            Asked::Read { needs, read } => {
                let found = self.catch_up(needs);
                if let Some(error) = read(found.map(|()| &self.store)) {
                    self.made_again(&error);
                }
            }
        }
    }

    fn made_again(&mut self, error: &IndexError) {
        tracing::error!(error = chain(error), "the index is made again from the ledger log");
        self.rebuild();
    }

    fn found<T>(
        &mut self,
        ask: impl Fn(&Store) -> Result<T, IndexError>,
    ) -> Result<T, Unavailable> {
        ask(&self.store).map_err(|error| {
            self.made_again(&error);
            Unavailable::Damaged
        })
    }
}

fn locked<D: Disk>(log: &Mutex<Log<D>>) -> MutexGuard<'_, Log<D>> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
