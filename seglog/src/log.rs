//! The log itself: append, commit, read, release.
//!
//! [`Log::append`] costs no I/O. [`Log::commit`] writes all that was appended in one go and
//! fdatasyncs it; what it returns may be acknowledged, and nothing else.
//!
//! # Invariants
//! - The bytes of the active segment that count are exactly its durable ones; whatever a failed
//!   commit left behind them is cut off, or the log is poisoned.
//! - The cursor is durable before a segment is unlinked.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use crate::RecordSeq;
use crate::cursor;
use crate::disk::{Disk, DiskFile, RealDisk};
use crate::error::LogError;
use crate::format::{CursorStated, FRAME_BYTES, Header, frame_ends, push_frame, stamp};
use crate::options::Options;
use crate::reader::{Chapter, Reader, Span};
use crate::recovery::{Recovery, recover};
use crate::scan::Mark;
use crate::segment::{LOCK_NAME, SealedSegment, Segment, create_segment, segment_path};
use crate::window::as_u64;

/// Read at once where bytes are not looked into.
const RAW_BYTES: usize = 128 << 10;

pub struct Log<D: Disk = RealDisk> {
    disk: D,
    dir: PathBuf,
    options: Options,
    /// Oldest first.
    sealed: VecDeque<Segment>,
    /// None until the first commit, and after damage at the end of the log.
    active: Option<(Segment, D::File)>,
    newest_segment: u64,
    /// Frames that wait for a commit.
    pending: Vec<u8>,
    next_seq: u64,
    durable: u64,
    cursor: CursorStated,
    is_poisoned: bool,
    _lock: D::Lock,
}

impl<D: Disk> Log<D> {
    /// Opens the log in `dir`, making it if need be, and puts right what a crash left.
    ///
    /// # Errors
    /// If another process has it open, if it was written in a newer format, or if the disk
    /// fails. Damage to the log's own bytes is no error: it is told in [`Recovery`].
    pub fn open(disk: D, dir: &Path, options: Options) -> Result<(Self, Recovery), LogError> {
        let dir = dir.to_owned();
        disk.create_dir_all(&dir)
            .map_err(|source| LogError::CreateDirectory { path: dir.clone(), source })?;
        let lock = lock(&disk, &dir)?;
        let found = cursor::load(&disk, &dir)?;
        let recovered = recover(&disk, &dir, found)?;
        let log = Self {
            disk,
            dir,
            options,
            sealed: recovered.sealed.into(),
            active: recovered.active,
            newest_segment: recovered.newest_segment,
            pending: Vec::new(),
            next_seq: recovered.next_seq,
            durable: recovered.durable,
            cursor: found.stated(),
            is_poisoned: false,
            _lock: lock,
        };
        Ok((log, recovered.report))
    }

    /// Takes a record into memory. It is lost in a crash until [`Log::commit`] succeeds.
    ///
    /// # Errors
    /// If the record or all that waits is too large, or the log is poisoned.
    pub fn append(&mut self, payload: &[u8]) -> Result<RecordSeq, LogError> {
        self.refuse_if_poisoned()?;
        let bytes_max = self.options.record_bytes_max();
        if as_u64(payload.len()) > u64::from(bytes_max) {
            return Err(LogError::RecordTooLarge { bytes: payload.len(), bytes_max });
        }
        let bytes = self.pending_bytes() + FRAME_BYTES + as_u64(payload.len());
        let bytes_max = self.options.pending_bytes_max();
        if bytes > bytes_max {
            return Err(LogError::PendingFull { bytes, bytes_max });
        }
        push_frame(&mut self.pending, self.next_seq, payload);
        let seq = RecordSeq::new(self.next_seq);
        self.next_seq += 1;
        Ok(seq)
    }

    /// Writes and fdatasyncs everything appended; returns the last durable sequence. Only now
    /// may anything be acknowledged.
    ///
    /// # Errors
    /// After a failed write what waits is kept: commit again (when there is space), or give it
    /// up with [`Log::discard_pending`]. A part of it may have become durable: ask
    /// [`Log::durable_seq`]. After a failed fsync the log is poisoned.
    pub fn commit(&mut self) -> Result<RecordSeq, LogError> {
        self.refuse_if_poisoned()?;
        while !self.pending.is_empty() {
            match self.fitting_bytes() {
                0 => self.roll()?,
                bytes => self.write_group(bytes)?,
            }
        }
        Ok(self.durable_seq())
    }

    /// Forgets what was appended and not committed; returns how many records. Their sequences
    /// are given out again.
    pub fn discard_pending(&mut self) -> u64 {
        let count = as_u64(frame_ends(&self.pending).count());
        self.next_seq -= count;
        self.pending.clear();
        count
    }

    /// Commits, then ends the active segment, so that its bytes may be hashed or copied. A
    /// segment without records is left as it is.
    ///
    /// # Errors
    /// As [`Log::commit`]; the segment may then still be active.
    pub fn seal(&mut self) -> Result<(), LogError> {
        self.commit()?;
        match &self.active {
            Some((segment, _)) if segment.end_seq > segment.first_seq => self.roll(),
            Some(_) | None => Ok(()),
        }
    }

    /// The durable records from `seq` on, as of now. Starts with the first record kept if `seq`
    /// was unlinked: compare with what comes.
    pub fn read_from(&self, seq: RecordSeq) -> Reader<D> {
        let from = seq.max(self.first_seq()).get();
        let chapters = self
            .segments()
            .filter(|segment| segment.end_seq > from)
            .filter_map(|segment| {
                Some(Chapter {
                    header: segment.header?,
                    from: segment.mark_before(from)?,
                    end_seq: segment.end_seq,
                    bytes: segment.bytes,
                })
            })
            .collect();
        let span = Span { from, through: self.durable };
        Reader::new(self.disk.clone(), self.dir.clone(), chapters, span)
    }

    /// Every byte of a sealed segment's file, as it lies on the disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_raw(
        &self,
        segment: &SealedSegment,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), LogError> {
        let path = || segment.path.clone();
        let file = self.disk.open_read(&segment.path);
        let file = file.map_err(|source| LogError::OpenSegment { path: path(), source })?;
        let mut buffer = vec![0; RAW_BYTES];
        let mut offset = 0;
        loop {
            let count = file.read_at(offset, &mut buffer);
            let count = count.map_err(|source| LogError::ReadSegment { path: path(), source })?;
            match buffer.get(..count) {
                None | Some([]) => return Ok(()),
                Some(bytes) => take(bytes),
            }
            offset += as_u64(count);
        }
    }

    /// Says that everything through here may be forgotten, durably. Going back is ignored: see
    /// [`Log::rewind_cursor`].
    ///
    /// # Errors
    /// If nothing so late is durable, or the disk fails; then the old cursor stands.
    pub fn advance_cursor(&mut self, through: RecordSeq) -> Result<(), LogError> {
        self.refuse_if_poisoned()?;
        if through > self.durable_seq() {
            return Err(LogError::CursorAhead { asked: through, durable: self.durable_seq() });
        }
        if through <= self.cursor() {
            return Ok(());
        }
        self.persist_cursor(CursorStated { cursor: through.get(), ..self.cursor })
    }

    /// Takes the word back: everything after `through` is wanted again. Going forward is
    /// ignored. What was unlinked does not come back.
    ///
    /// # Errors
    /// If the disk fails; then the old cursor stands.
    pub fn rewind_cursor(&mut self, through: RecordSeq) -> Result<(), LogError> {
        self.refuse_if_poisoned()?;
        if through >= self.cursor() {
            return Ok(());
        }
        self.persist_cursor(CursorStated { cursor: through.get(), ..self.cursor })
    }

    /// Unlinks the sealed segments of which every record is before `floor` and released by the
    /// cursor. Returns how many. The floor is durable before the first file goes, so that a
    /// power cut between two unlinks does not look like a loss.
    ///
    /// # Errors
    /// If the disk fails; what is left is unlinked by a later call.
    pub fn unlink_before(&mut self, floor: RecordSeq) -> Result<u64, LogError> {
        self.refuse_if_poisoned()?;
        let floor = floor.get().min(self.cursor.cursor + 1);
        // The newest segment stays even when damage has ended it: it holds the place of the
        // sequences and segment ids that are spent.
        let newest = self.newest_segment;
        let is_done = |segment: &Segment| segment.end_seq <= floor && segment.id < newest;
        if !self.sealed.front().is_some_and(is_done) {
            return Ok(0);
        }
        if floor > self.cursor.floor && !planted!(UnlinkBeforeCursor) {
            self.persist_cursor(CursorStated { floor, ..self.cursor })?;
        }
        let mut count = 0;
        while let Some(oldest) = self.sealed.front().filter(|segment| is_done(segment)) {
            let path = segment_path(&self.dir, oldest.id);
            match self.disk.unlink(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                outcome => {
                    outcome.map_err(|source| LogError::UnlinkSegment { path, source })?;
                }
            }
            self.sealed.pop_front();
            count += 1;
        }
        let synced = self.disk.sync_dir(&self.dir);
        synced.map_err(|source| {
            self.is_poisoned = true;
            LogError::SyncDirectory { path: self.dir.clone(), source }
        })?;
        if planted!(UnlinkBeforeCursor) {
            self.persist_cursor(CursorStated { floor, ..self.cursor })?;
        }
        Ok(count)
    }

    /// The first record still on disk; the next one to come if there is none.
    #[must_use]
    pub fn first_seq(&self) -> RecordSeq {
        let first = self.segments().next().map_or(self.durable + 1, |segment| segment.first_seq);
        RecordSeq::new(first)
    }

    /// The last record that is durable; [`RecordSeq::NONE`] if there never was one.
    #[must_use]
    pub fn durable_seq(&self) -> RecordSeq {
        RecordSeq::new(self.durable)
    }

    /// What the next [`Log::append`] returns.
    #[must_use]
    pub fn next_seq(&self) -> RecordSeq {
        RecordSeq::new(self.next_seq)
    }

    /// Everything through here was released.
    #[must_use]
    pub fn cursor(&self) -> RecordSeq {
        RecordSeq::new(self.cursor.cursor)
    }

    /// Bytes of all segments on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments().map(|segment| segment.bytes).sum()
    }

    /// Bytes that wait for a commit.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        as_u64(self.pending.len())
    }

    /// Whether an fsync failed, so that only reading is left.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }

    /// The segments that are never written again, oldest first.
    pub fn sealed_segments(&self) -> impl Iterator<Item = SealedSegment> {
        self.sealed.iter().map(|segment| segment.sealed(&self.dir))
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.sealed.iter().chain(self.active.iter().map(|(segment, _)| segment))
    }

    fn refuse_if_poisoned(&self) -> Result<(), LogError> {
        if self.is_poisoned {
            return Err(LogError::Poisoned { path: self.dir.clone() });
        }
        Ok(())
    }

    /// How many pending bytes, in whole frames, the active segment can take. One that was made
    /// for smaller records takes none: its readers would not believe a larger one.
    fn fitting_bytes(&self) -> usize {
        let Some((segment, _)) = &self.active else { return 0 };
        let header = segment.header.expect("what is written has a header");
        let room = self.options.segment_bytes_max().saturating_sub(segment.bytes);
        if self.options.record_bytes_max() > header.record_bytes_max {
            return 0;
        }
        frame_ends(&self.pending).take_while(|end| as_u64(*end) <= room).last().unwrap_or(0)
    }

    fn write_group(&mut self, bytes: usize) -> Result<(), LogError> {
        let (segment, file) = self.active.as_mut().expect("it has room");
        let header = segment.header.expect("what is written has a header");
        let group = self.pending.get_mut(..bytes).expect("the ends lie in the buffer");
        stamp_group(group, &header, self.durable);
        let path = segment_path(&self.dir, segment.id);
        if let Err(source) = file.write_at(segment.bytes, group) {
            // Half a group must not stay: a reader after a crash could believe the whole
            // frames in it.
            let is_cut = file.truncate(segment.bytes).and_then(|()| file.sync()).is_ok();
            // A file system that has become read-only cannot be cut and need not: the group's
            // bytes do not reach it, and when it is writable again they are written over.
            self.is_poisoned = !is_cut && source.kind() != io::ErrorKind::ReadOnlyFilesystem;
            return Err(LogError::WriteFrames { path, source });
        }
        if !planted!(SkipFsync)
            && let Err(source) = file.sync()
        {
            self.is_poisoned = true;
            // The page cache now shows bytes that the disk may not have. Best effort, so that
            // the next start does not find them there and believe them.
            drop(file.truncate(segment.bytes));
            return Err(LogError::SyncSegment { path, source });
        }
        let mut offset = segment.bytes;
        let mut start = 0;
        for end in frame_ends(group) {
            segment.mark(Mark { seq: segment.end_seq, offset });
            segment.end_seq += 1;
            offset += as_u64(end - start);
            start = end;
        }
        segment.bytes = offset;
        self.durable = segment.end_seq - 1;
        self.pending.drain(..bytes);
        Ok(())
    }

    /// Begins a new segment. The old one has nothing unsynced, so it is sealed by this.
    fn roll(&mut self) -> Result<(), LogError> {
        let header = Header {
            record_bytes_max: self.options.record_bytes_max(),
            segment: self.newest_segment + 1,
            first_seq: self.next_seq - as_u64(frame_ends(&self.pending).count()),
            salt: self.options.salt(),
        };
        let file = create_segment(&self.disk, &self.dir, &header)
            .inspect_err(|e| self.is_poisoned |= is_sync_failure(e))?;
        self.newest_segment = header.segment;
        let begun = (Segment::fresh(header), file);
        if let Some((mut ended, file)) = self.active.replace(begun) {
            if planted!(LoseLastAtRotation) {
                drop(file.truncate(ended.bytes.saturating_sub(1)).and_then(|()| file.sync()));
            }
            ended.end_seq = header.first_seq;
            self.sealed.push_back(ended);
        }
        Ok(())
    }

    fn persist_cursor(&mut self, stated: CursorStated) -> Result<(), LogError> {
        let stated = CursorStated { newest_segment: self.newest_segment, ..stated };
        cursor::persist(&self.disk, &self.dir, &stated)
            .inspect_err(|e| self.is_poisoned |= is_sync_failure(e))?;
        self.cursor = stated;
        Ok(())
    }
}

fn lock<D: Disk>(disk: &D, dir: &Path) -> Result<D::Lock, LogError> {
    let path = dir.join(LOCK_NAME);
    disk.lock(&path).map_err(|source| {
        if source.kind() == io::ErrorKind::WouldBlock {
            LogError::AlreadyOpen { path }
        } else {
            LogError::Lock { path, source }
        }
    })
}

fn stamp_group(group: &mut [u8], header: &Header, synced: u64) {
    let ends: Vec<usize> = frame_ends(group).collect();
    let mut start = 0;
    for end in ends {
        stamp(group.get_mut(start..end).expect("ends rise"), header, synced);
        start = end;
    }
}

fn is_sync_failure(e: &LogError) -> bool {
    matches!(
        e,
        LogError::SyncSegment { .. } | LogError::SyncCursor { .. } | LogError::SyncDirectory { .. }
    )
}

impl<D: Disk> std::fmt::Debug for Log<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.dir)
            .field("durable", &self.durable)
            .field("next_seq", &self.next_seq)
            .field("cursor", &self.cursor)
            .field("is_poisoned", &self.is_poisoned)
            .finish_non_exhaustive()
    }
}
