//! A log on a model disk, beside a plain record of what was promised about it.
//!
//! After every start [`World::open`] checks the promises; a broken one is an `Err`, so that a
//! test with a planted bug can demand it.

use std::collections::BTreeMap;
use std::path::Path;

use bijli_seglog::testing::{Fault, ModelDisk};
use bijli_seglog::{Log, LogError, Loss, Options, RecordSeq, Recovery};

pub(crate) const DIR: &str = "/spool";

/// What can happen to a log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Append {
        bytes: usize,
    },
    Commit,
    Discard,
    Seal,
    Advance {
        back: u64,
    },
    Rewind {
        back: u64,
    },
    Unlink {
        back: u64,
    },
    Kill,
    PowerCut,
    /// The power goes at the nth operation from now; the next failure is noticed as that.
    CutAt {
        nth: u64,
    },
    /// The power goes, and again at the nth operation of the start after it.
    DoubleCut {
        nth: u64,
    },
}

pub(crate) struct World {
    pub(crate) disk: ModelDisk,
    pub(crate) log: Option<Log<ModelDisk>>,
    pub(crate) recovery: Recovery,
    /// Every payload that was ever appended under a sequence.
    written: BTreeMap<u64, Vec<Vec<u8>>>,
    /// What was promised, or told by a start, to be durable.
    durable: BTreeMap<u64, Vec<u8>>,
    /// Appended since, in order.
    pending: BTreeMap<u64, Vec<u8>>,
    /// Through here durability was promised.
    promised: u64,
    /// The cursors that a start may find: old and new, while a change is unsure.
    cursors: (u64, u64),
    /// The highest floor that was asked for.
    floor: u64,
    count: u8,
}

pub(crate) fn options() -> Options {
    Options::new(4096, 900).expect("a segment holds a record").with_salt(7)
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::on(ModelDisk::new(seed))
    }

    pub(crate) fn on(disk: ModelDisk) -> Self {
        Self {
            disk,
            log: None,
            recovery: Recovery::default(),
            written: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: BTreeMap::new(),
            promised: 0,
            cursors: (0, 0),
            floor: 0,
            count: 0,
        }
    }

    /// The same promises about a copy of the disk.
    pub(crate) fn fork(&self, seed: u64) -> Self {
        Self {
            disk: self.disk.fork(seed),
            log: None,
            recovery: Recovery::default(),
            written: self.written.clone(),
            durable: self.durable.clone(),
            pending: self.pending.clone(),
            ..*self
        }
    }

    /// Starts the log and checks every promise. A failing disk is no broken promise.
    pub(crate) fn open(&mut self) -> Result<bool, String> {
        self.log = None;
        let Ok((log, recovery)) = Log::open(self.disk.clone(), Path::new(DIR), options()) else {
            return Ok(false);
        };
        self.recovery = recovery;
        self.check_report()?;
        let cursor = log.cursor().get();
        if !(self.cursors.0..=self.cursors.1).contains(&cursor) {
            return Err(format!("cursor {cursor} instead of {:?}", self.cursors));
        }
        self.cursors = (cursor, cursor);
        if log.first_seq().get() > self.floor.max(1) {
            return Err(format!("starts at {}, floor {}", log.first_seq(), self.floor));
        }
        let checked = self.check_records(&log);
        if self.disk.is_off() {
            return Ok(false);
        }
        self.log = Some(log);
        checked
    }

    fn check_report(&self) -> Result<(), String> {
        let report = &self.recovery;
        let is_false_alarm = !report.missing.is_empty()
            || report.cursor_damaged
            || report.quarantined.iter().any(|it| it.loss == Loss::Durable);
        if is_false_alarm { Err(format!("nothing was damaged: {report:?}")) } else { Ok(()) }
    }

    fn check_records(&mut self, log: &Log<ModelDisk>) -> Result<bool, String> {
        let mut found = BTreeMap::new();
        let mut last = 0;
        for record in log.read_from(RecordSeq::FIRST) {
            match record {
                Ok((seq, payload)) => {
                    if seq.get() <= last {
                        return Err(format!("{seq} after {last}"));
                    }
                    last = seq.get();
                    if !self.written.get(&last).is_some_and(|all| all.contains(&payload)) {
                        return Err(format!("{seq} was never appended like this"));
                    }
                    found.insert(last, payload);
                }
                Err(LogError::Lost { first, last, .. }) => {
                    if let Some((seq, _)) = self.durable.range(first.get()..=last.get()).next() {
                        return Err(format!("durable {seq} told as lost"));
                    }
                }
                Err(_) => return Ok(false),
            }
        }
        let first = log.first_seq().get();
        for (seq, payload) in self.durable.range(first..) {
            if found.get(seq) != Some(payload) {
                return Err(format!("durable {seq} is gone or changed"));
            }
        }
        if log.durable_seq().get() < self.promised || log.next_seq() <= log.durable_seq() {
            return Err(format!("{log:?} forgot that {} was durable", self.promised));
        }
        self.promised = log.durable_seq().get();
        self.durable.extend(found);
        self.durable = self.durable.split_off(&first);
        self.pending.clear();
        Ok(true)
    }

    pub(crate) fn apply(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Kill => self.disk.kill(),
            Action::PowerCut => self.disk.power_cut(),
            Action::CutAt { nth } => {
                self.disk.fail_at(nth, Fault::PowerCut);
                return Ok(());
            }
            Action::DoubleCut { nth } => {
                self.disk.power_cut();
                self.disk.fail_at(nth, Fault::PowerCut);
                self.open()?;
                self.disk.power_cut();
            }
            Action::Append { .. }
            | Action::Commit
            | Action::Discard
            | Action::Seal
            | Action::Advance { .. }
            | Action::Rewind { .. }
            | Action::Unlink { .. } => {
                if self.write(action)?.is_ok() {
                    return Ok(());
                }
                // A program that meets a failing disk exits and starts again.
                self.log = None;
                self.disk.power_cut();
            }
        }
        self.restart()
    }

    pub(crate) fn restart(&mut self) -> Result<(), String> {
        if self.open()? {
            return Ok(());
        }
        // A planned cut struck during the start.
        self.disk.power_cut();
        if self.open()? { Ok(()) } else { Err("refuses to open a disk that works".into()) }
    }

    /// One call to the log; its promises are noted whether it succeeds or not.
    pub(crate) fn write(&mut self, action: Action) -> Result<Result<(), LogError>, String> {
        let mut log = self.log.take().ok_or("the log is not open")?;
        let (cursor, durable) = (log.cursor().get(), log.durable_seq().get());
        let outcome = match action {
            Action::Append { bytes } => {
                self.count = self.count.wrapping_add(1);
                let payload = vec![self.count; bytes];
                log.append(&payload).map(|seq| {
                    self.written.entry(seq.get()).or_default().push(payload.clone());
                    self.pending.insert(seq.get(), payload);
                })
            }
            Action::Commit => log.commit().map(|_| ()),
            Action::Seal => log.seal(),
            Action::Discard => {
                log.discard_pending();
                self.pending.clear();
                Ok(())
            }
            Action::Advance { back } => {
                let through = durable.saturating_sub(back);
                self.cursors.1 = self.cursors.1.max(through);
                log.advance_cursor(RecordSeq::new(through))
            }
            Action::Rewind { back } => {
                let through = cursor.saturating_sub(back);
                self.cursors.0 = self.cursors.0.min(through);
                log.rewind_cursor(RecordSeq::new(through))
            }
            Action::Unlink { back } => {
                let floor = (cursor + 1).saturating_sub(back);
                self.floor = self.floor.max(floor);
                log.unlink_before(RecordSeq::new(floor)).map(|_| ())
            }
            Action::Kill | Action::PowerCut | Action::CutAt { .. } | Action::DoubleCut { .. } => {
                Ok(())
            }
        };
        if outcome.is_ok() {
            self.cursors = (log.cursor().get(), log.cursor().get());
        }
        self.note_durable(&log, matches!(action, Action::Commit) && outcome.is_ok())?;
        self.log = Some(log);
        Ok(outcome)
    }

    fn note_durable(&mut self, log: &Log<ModelDisk>, is_committed: bool) -> Result<(), String> {
        self.promised = log.durable_seq().get();
        let later = self.pending.split_off(&(self.promised + 1));
        self.durable.append(&mut self.pending);
        self.pending = later;
        if is_committed && !self.pending.is_empty() {
            return Err(format!("commit left {:?}", self.pending.keys()));
        }
        Ok(())
    }
}
