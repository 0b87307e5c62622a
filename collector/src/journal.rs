//! The journal thread: groups frames, makes them durable with one fdatasync, and only then lets
//! anybody acknowledge or book them.
//!
//! # Invariants
//! - [`Outcome::Durable`] is sent after the fdatasync that covers the frame, never before.
//! - Facts go to the bookkeeper in journal order, and only of durable frames.
//! - A full disk refuses and recovers by itself; a failed fsync ends the thread, and with it the
//!   process: what the page cache shows after one cannot be believed.

mod retention;

use std::path::Path;
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bijli_seglog::{Disk, Log, LogError, RecordSeq};
use bijli_wire::UtcMillis;

pub use retention::Retention;

use crate::clock::Clock;
use crate::frame::{Frame, FrameDigest};
use crate::health::Health;
use crate::intake::{Fact, Intake, Note, Reply};
use crate::scrub::Scrub;

/// Frames made durable by one fdatasync.
pub const GROUP_FRAMES_MAX: usize = 256;
/// A group takes no further frame beyond so many bytes. With one largest frame more it still
/// fits into the smallest segment (`config.rs`).
pub const GROUP_BYTES_MAX: usize = 2 << 20;
/// How long the first frame of a group waits for company. While one group is synced the next
/// one gathers anyway; this only joins frames that come at nearly the same moment.
const GROUP_WAIT: Duration = Duration::from_millis(2);
/// Requests that wait for the journal thread; one more is refused as overload.
const QUEUE_MAX: usize = 512;
/// Facts that wait for the bookkeeper. Beyond it the journal waits: booking keeps up with
/// ingest within this many frames.
pub const FACTS_MAX: usize = 4_096;
/// Without any frame for this long a tick is journalled, so that intervals close.
pub const TICK_AFTER: Duration = Duration::from_secs(30);

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Durable,
    /// Nothing was written; try again later.
    DiskFull,
    /// It may or may not be on disk; the process is about to end.
    Failed,
}

/// A frame on its way to the disk.
#[derive(Debug)]
pub struct Request {
    pub frame: Frame,
    pub note: Note,
    pub reply: Reply<Outcome>,
}

/// A request that is in the log, with its record.
type Appended = (RecordSeq, FrameDigest, Request);

/// A record of the log, or why there is none.
pub type Read = Result<(RecordSeq, Vec<u8>), LogError>;

/// What is durable from some record on.
pub struct Stretch {
    /// The last record that is.
    pub through: RecordSeq,
    /// Begins later where the first ones were let go: compare.
    pub records: Box<dyn Iterator<Item = Read> + Send>,
}

enum Message {
    Append(Box<Request>),
    /// Somebody wants to read what is durable, from this record on.
    Read(RecordSeq, SyncSender<Stretch>),
    Close,
}

/// Hands frames to the journal thread. Cloning gives another handle.
#[derive(Clone)]
pub struct Journal {
    sender: SyncSender<Message>,
    pub intake: Arc<Mutex<Intake>>,
}

/// What the thread works with besides the log.
pub struct Setting {
    pub clock: Clock,
    pub health: Health,
    pub facts: SyncSender<Fact>,
    /// Free bytes where the journal is; `None`: cannot be told, so nothing is refused for it.
    pub space: Box<dyn Fn() -> Option<u64> + Send>,
    /// Below this many free bytes nothing is taken, so that reading and repair have room.
    pub reserve_bytes: u64,
    pub retention: Retention,
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setting")
            .field("reserve_bytes", &self.reserve_bytes)
            .finish_non_exhaustive()
    }
}

/// How the thread ended.
#[derive(Debug)]
pub enum JournalEnd {
    Closed,
    Failed(LogError),
}

/// The group commit. The thread runs it; a simulation calls [`Writer::write`] itself.
pub struct Writer<D: Disk> {
    log: Log<D>,
    setting: Setting,
    intake: Arc<Mutex<Intake>>,
    /// Whether the disk took nothing the last time.
    is_refusing: bool,
    /// The thread's; a simulation has none.
    scrub: Option<Scrub<D>>,
}

impl Journal {
    /// Starts the thread that owns the log.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start<D: Disk>(
        log: Log<D>,
        intake: Arc<Mutex<Intake>>,
        setting: Setting,
        ended: Reply<JournalEnd>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let scrub = Scrub::start(setting.clock, setting.health.clone())?;
        let mut writer = Writer::new(log, Arc::clone(&intake), setting);
        writer.scrub = Some(scrub);
        std::thread::Builder::new().name("journal".into()).spawn(move || {
            let how = writer.run(&receiver);
            // First the log's lock and the bookkeeper's channel, then the news.
            drop(writer);
            ended.send(how);
        })?;
        Ok(Self { sender, intake })
    }

    /// Hands over a frame; false: too many wait already, or the thread has ended. Then nobody
    /// is told anything.
    #[must_use]
    pub fn append(&self, frame: Frame, note: Note, reply: Reply<Outcome>) -> bool {
        let message = Message::Append(Box::new(Request { frame, note, reply }));
        match self.sender.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                if let Message::Append(request) = message {
                    self.intake().give_up(&request.note);
                }
                false
            }
        }
    }

    /// What is durable from `seq` on, to be read elsewhere; `None`: the thread has ended. Waits for
    /// the group that is being written.
    #[must_use]
    pub fn read_from(&self, seq: RecordSeq) -> Option<Stretch> {
        let (sender, receiver) = sync_channel(1);
        self.sender.send(Message::Read(seq, sender)).ok()?;
        receiver.recv().ok()
    }

    /// Ends the thread after everything that was handed over before. Waits for room.
    pub fn close(&self) {
        // A thread that has ended is closed.
        drop(self.sender.send(Message::Close));
    }

    /// The lanes and schemas. Held briefly: the journal thread needs it too.
    pub fn intake(&self) -> MutexGuard<'_, Intake> {
        lock(&self.intake)
    }
}

impl std::fmt::Debug for Stretch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stretch").field("through", &self.through).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

/// A holder that panicked would have ended the process (release) or the test.
pub(crate) fn lock(intake: &Mutex<Intake>) -> MutexGuard<'_, Intake> {
    intake.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Disk> std::fmt::Debug for Writer<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl<D: Disk> Writer<D> {
    #[must_use]
    pub fn new(log: Log<D>, intake: Arc<Mutex<Intake>>, setting: Setting) -> Self {
        Self { log, setting, intake, is_refusing: false, scrub: None }
    }

    /// What is durable.
    #[must_use]
    pub fn log(&self) -> &Log<D> {
        &self.log
    }

    fn run(&mut self, receiver: &Receiver<Message>) -> JournalEnd {
        let mut written = self.setting.clock.instant();
        loop {
            // Readers that come in between make no tick late.
            let wait = TICK_AFTER.saturating_sub(written.elapsed());
            let (group, is_last) = match receiver.recv_timeout(wait) {
                Ok(Message::Append(first)) => self.gather(*first, receiver),
                Ok(Message::Read(seq, reader)) => {
                    self.lend(seq, &reader);
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => (vec![tick(self.setting.clock.now())], false),
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => (Vec::new(), true),
            };
            if !group.is_empty()
                && let Err(error) = self.write(group)
            {
                return JournalEnd::Failed(error);
            }
            written = self.setting.clock.instant();
            if let Err(error) = self.tend() {
                return JournalEnd::Failed(error);
            }
            if let Some(scrub) = &mut self.scrub {
                scrub.turn(|| self.log.read_from(RecordSeq::FIRST));
            }
            if is_last {
                return JournalEnd::Closed;
            }
        }
    }

    fn lend(&self, seq: RecordSeq, reader: &SyncSender<Stretch>) {
        let records = Box::new(self.log.read_from(seq));
        // Who asked may have gone.
        let _heard = reader.try_send(Stretch { through: self.log.durable_seq(), records });
    }

    /// The frames that come with the first one; true if the journal is to close after them. Between
    /// a look and the next it sleeps, so that a frame that comes wakes nobody.
    fn gather(&self, first: Request, receiver: &Receiver<Message>) -> (Vec<Request>, bool) {
        let mut bytes = weight(&first);
        let mut group = vec![first];
        let mut is_last = self.take_waiting(receiver, &mut group, &mut bytes);
        if !is_last && has_room(group.len(), bytes) {
            std::thread::sleep(GROUP_WAIT);
            is_last = self.take_waiting(receiver, &mut group, &mut bytes);
        }
        (group, is_last)
    }

    /// Takes what waits already; true if the journal is to close after it.
    fn take_waiting(
        &self,
        receiver: &Receiver<Message>,
        group: &mut Vec<Request>,
        bytes: &mut usize,
    ) -> bool {
        while has_room(group.len(), *bytes) {
            match receiver.try_recv() {
                Ok(Message::Append(request)) => {
                    *bytes = bytes.saturating_add(weight(&request));
                    group.push(*request);
                }
                Ok(Message::Read(seq, reader)) => self.lend(seq, &reader),
                Err(TryRecvError::Empty) => return false,
                Ok(Message::Close) | Err(TryRecvError::Disconnected) => return true,
            }
        }
        false
    }

    /// Makes a group durable and answers everybody in it.
    ///
    /// # Errors
    /// Only what cannot be recovered from without a restart.
    pub fn write(&mut self, group: Vec<Request>) -> Result<(), LogError> {
        if !self.has_space() {
            self.refuse(group, Outcome::DiskFull);
            return Ok(());
        }
        let started = self.setting.clock.instant();
        let mut last = self.log.durable_seq();
        let mut appended = Vec::with_capacity(group.len());
        for request in group {
            let record = request.frame.encode();
            match self.log.append(&record) {
                Ok(seq) => {
                    self.setting.retention.grown += len(&record);
                    let digest = request.note.digest(&request.frame, &record);
                    appended.push((seq, digest, request));
                }
                Err(error) => {
                    tracing::error!(%error, "a frame was refused by the journal");
                    self.refuse(vec![request], Outcome::Failed);
                }
            }
        }
        if planted!(AckBeforeFsync) {
            for (.., request) in &mut appended {
                std::mem::replace(&mut request.reply, Reply::none()).send(Outcome::Durable);
            }
        }
        let outcome = self.log.commit();
        last = last.max(self.log.durable_seq());
        let is_durable = |(seq, ..): &Appended| *seq <= last;
        let (durable, rest): (Vec<_>, Vec<_>) = appended.into_iter().partition(is_durable);
        self.setting.health.committed(started.elapsed(), durable.len());
        show_size(&self.setting.health, &self.log);
        self.settle(durable);
        let rest: Vec<Request> = rest.into_iter().map(|(.., request)| request).collect();
        match outcome {
            Ok(_) => {
                if std::mem::take(&mut self.is_refusing) {
                    tracing::info!("the journal can be written again");
                }
                Ok(())
            }
            Err(error) => self.fail(error, rest),
        }
    }

    fn fail(&mut self, error: LogError, rest: Vec<Request>) -> Result<(), LogError> {
        self.log.discard_pending();
        if error.is_storage_full() && !self.log.is_poisoned() {
            self.refuse(rest, Outcome::DiskFull);
            return Ok(());
        }
        self.refuse(rest, Outcome::Failed);
        if self.log.is_poisoned() {
            return Err(error);
        }
        // A read-only remount, say: nothing was half written. Reading goes on. Told once, not for
        // each of the thousand senders that are refused meanwhile.
        if !std::mem::replace(&mut self.is_refusing, true) {
            tracing::error!(error = chain(&error), "the journal cannot be written; agents wait");
        }
        Ok(())
    }

    /// Tells the intake, answers the senders, then feeds the bookkeeper, in this order: an ack
    /// does not wait for booking.
    fn settle(&self, durable: Vec<Appended>) {
        let mut facts = Vec::with_capacity(durable.len());
        let mut replies = Vec::with_capacity(durable.len());
        {
            let mut intake = lock(&self.intake);
            let skips = intake.skips();
            for (seq, digest, Request { frame, note, reply }) in durable {
                facts.push(Fact::Record { seq, digest });
                if let Err(error) = intake.settle(frame, note, &mut facts) {
                    self.setting.health.frames_unusable.inc();
                    tracing::error!(error = chain(&error), "a frame cannot be booked");
                }
                replies.push(reply);
            }
            self.setting.health.lanes.skips.inc_by(intake.skips() - skips);
        }
        for reply in replies {
            reply.send(Outcome::Durable);
        }
        for fact in facts {
            if self.setting.facts.send(fact).is_err() {
                tracing::error!("the bookkeeper is gone");
            }
        }
    }

    fn refuse(&self, requests: Vec<Request>, outcome: Outcome) {
        for request in requests {
            lock(&self.intake).give_up(&request.note);
            request.reply.send(outcome);
        }
    }

    fn has_space(&self) -> bool {
        let Some(free) = (self.setting.space)() else { return true };
        self.setting.health.disk_free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        free >= self.setting.reserve_bytes
    }
}

const fn has_room(frames: usize, bytes: usize) -> bool {
    frames < GROUP_FRAMES_MAX && bytes < GROUP_BYTES_MAX
}

/// Takes what waits already, as far as the group has room; true if the journal is to close.
fn len(record: &[u8]) -> u64 {
    u64::try_from(record.len()).expect("a length fits")
}

/// Brings the journal's size into the metrics.
pub fn show_size<D: Disk>(health: &Health, log: &Log<D>) {
    health.journal_bytes.set(i64::try_from(log.bytes()).unwrap_or(i64::MAX));
    health.journal_records.set(i64::try_from(log.durable_seq().get()).unwrap_or(i64::MAX));
}

fn weight(request: &Request) -> usize {
    match &request.frame {
        Frame::Schema { body, .. } | Frame::Batch { body, .. } | Frame::Corrected { body, .. } => {
            body.len()
        }
        Frame::AllocationPut { json, .. }
        | Frame::AllocationEnd { json, .. }
        | Frame::Calibration { json, .. }
        | Frame::Typed { json, .. }
        | Frame::Period { json, .. }
        | Frame::Project { json, .. }
        | Frame::Retirement { json, .. } => json.len(),
        Frame::Diagram { toml, .. } | Frame::Tables { toml, .. } => toml.len(),
        Frame::Incident { incident, .. } => incident.text.len(),
        Frame::Tick { .. }
        | Frame::Rules { .. }
        | Frame::Floor { .. }
        | Frame::Snapshot { .. }
        | Frame::Pruned { .. } => 0,
    }
}

/// A frame that only tells the time.
#[must_use]
pub fn tick(received: UtcMillis) -> Request {
    plain(Frame::Tick { received })
}

/// A frame that nobody waits for, and that says all of itself.
#[must_use]
pub fn plain(frame: Frame) -> Request {
    Request { frame, note: Note::Other, reply: Reply::none() }
}

/// An error with its sources, for a log line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Free bytes for an unprivileged writer where `dir` is.
#[must_use]
pub fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc::channel;

    use bijli_seglog::Options;
    use bijli_seglog::testing::{Fault, ModelDisk};

    use super::*;

    const DIR: &str = "/journal";

    struct Bench {
        journal: Journal,
        facts: Receiver<Fact>,
        end: Receiver<JournalEnd>,
        free: Arc<AtomicU64>,
    }

    fn open(disk: &ModelDisk) -> Log<ModelDisk> {
        let options = Options::new(1 << 20, 1 << 16).expect("valid");
        Log::open(disk.clone(), Path::new(DIR), options).expect("opens").0
    }

    fn bench(disk: &ModelDisk) -> Bench {
        let (facts, receiver) = sync_channel(64);
        let free = Arc::new(AtomicU64::new(1_000));
        let shown = Arc::clone(&free);
        let setting = Setting {
            clock: Clock,
            health: Health::new(),
            facts,
            space: Box::new(move || Some(shown.load(Ordering::Relaxed))),
            reserve_bytes: 500,
            retention: Retention::none(),
        };
        let (sender, end) = channel();
        let ended = Reply::new(move |how| {
            let _heard = sender.send(how);
        });
        let journal = Journal::start(open(disk), Arc::default(), setting, ended).expect("starts");
        Bench { journal, facts: receiver, end, free }
    }

    fn tick_of(second: i64) -> Frame {
        Frame::Tick { received: UtcMillis::new(second * 1_000) }
    }

    impl Bench {
        /// `None`: never answered, which is no ack either.
        fn append(&self, second: i64) -> Option<Outcome> {
            let (sender, receiver) = channel();
            let reply = Reply::new(move |outcome| {
                let _heard = sender.send(outcome);
            });
            let is_taken = self.journal.append(tick_of(second), Note::Other, reply);
            if is_taken { receiver.recv().ok() } else { None }
        }
    }

    fn kept(disk: &ModelDisk) -> Vec<Frame> {
        let log = open(disk);
        let records = log.read_from(RecordSeq::FIRST).map(|record| record.expect("whole").1);
        records.map(|record| Frame::decode(&record).expect("a frame")).collect()
    }

    #[test]
    fn what_is_durable_is_booked_in_order_and_there_after_a_power_cut() {
        let disk = ModelDisk::new(1);
        let bench = bench(&disk);
        assert!((0..5).all(|second| bench.append(second) == Some(Outcome::Durable)));
        for (second, record) in (0..5).zip(1..) {
            let fact = bench.facts.recv().expect("told");
            let Fact::Record { seq, .. } = fact else { panic!("{fact:?}") };
            assert_eq!(seq.get(), record);
            let fact = bench.facts.recv().expect("booked");
            let Fact::Tick { received } = fact else { panic!("{fact:?}") };
            assert_eq!(received.get(), second * 1_000);
        }
        bench.journal.close();
        assert!(matches!(bench.end.recv(), Ok(JournalEnd::Closed)));
        disk.power_cut();
        assert_eq!(kept(&disk), (0..5).map(tick_of).collect::<Vec<_>>());
    }

    /// Goal: D3. A failed fsync is never acknowledged, and ends the journal.
    #[test]
    fn d3_a_failed_fsync_is_no_ack_and_ends_the_thread() {
        let disk = ModelDisk::new(2);
        let bench = bench(&disk);
        assert_eq!(bench.append(0), Some(Outcome::Durable));
        // After the write of the group comes its sync.
        disk.fail_at(1, Fault::Sync);
        assert_eq!(bench.append(1), Some(Outcome::Failed));
        assert!(matches!(bench.end.recv(), Ok(JournalEnd::Failed(_))));
        assert_eq!(bench.append(2), None);
        assert!(matches!(bench.facts.recv(), Ok(Fact::Record { .. })));
        let Ok(Fact::Tick { received }) = bench.facts.recv() else { panic!("the first one") };
        assert_eq!(received, UtcMillis::ZERO);
        assert!(bench.facts.recv().is_err(), "what was not durable is not booked");
    }

    /// Goal: whatever fails wherever, an ack is true after a power cut.
    #[test]
    fn an_ack_is_true_whatever_fails() {
        for fault in [Fault::Io, Fault::Full, Fault::Sync, Fault::PowerCut] {
            for nth in 0..24 {
                let disk = ModelDisk::new(nth);
                let bench = bench(&disk);
                disk.fail_at(nth, fault);
                let acked: Vec<Frame> = (0..6)
                    .filter(|second| bench.append(*second) == Some(Outcome::Durable))
                    .map(tick_of)
                    .collect();
                bench.journal.close();
                drop(bench.end.recv());
                disk.clear_fault();
                disk.power_cut();
                let kept = kept(&disk);
                let is_kept = |frame: &Frame| kept.contains(frame);
                assert!(acked.iter().all(is_kept), "{fault:?} at {nth}: {acked:?} in {kept:?}");
            }
        }
    }

    #[test]
    fn d4_a_full_disk_refuses_and_recovers_by_itself() {
        let disk = ModelDisk::new(3);
        let bench = bench(&disk);
        assert_eq!(bench.append(0), Some(Outcome::Durable));
        bench.free.store(499, Ordering::Relaxed);
        assert_eq!(bench.append(1), Some(Outcome::DiskFull));
        bench.free.store(500, Ordering::Relaxed);
        disk.set_bytes_max(1);
        assert_eq!(bench.append(2), Some(Outcome::DiskFull));
        disk.set_bytes_max(u64::MAX);
        assert_eq!(bench.append(3), Some(Outcome::Durable));
        bench.journal.close();
        assert!(matches!(bench.end.recv(), Ok(JournalEnd::Closed)));
        assert_eq!(kept(&disk), [tick_of(0), tick_of(3)]);
    }
}
