//! What a start does with what it finds.
//!
//! # Recovery
//! Mostly reading. Written are: the copy of damaged bytes in the quarantine, and the cut of a
//! torn tail. Both may be interrupted anywhere and done again with the same outcome.
//!
//! # Invariants
//! - Only bytes at the end of the newest segment, with no good frame behind them, that could be
//!   read, and that no cursor shows to have been durable, are torn and cut. All else stays.
//! - What is reported as recovered has been fdatasynced by this start, not only read from cache.

use std::io;
use std::path::{Path, PathBuf};

use crate::RecordSeq;
use crate::cursor::CursorFound;
use crate::disk::{Disk, DiskFile};
use crate::error::LogError;
use crate::format::{CursorStated, FORMAT_VERSION, frames_at_most};
use crate::segment::{
    QUARANTINE_NAME, Segment, SegmentId, UNFINISHED_SUFFIX, segment_id, segment_path, unfinished,
};
use crate::survey::{BadTail, Damage, Survey, survey};
use crate::window::{Window, as_u64};

/// Copies of damaged bytes are evidence; they stop when they take this much room.
const QUARANTINE_BYTES_MAX: u64 = 64 << 20;
const COPY_BYTES: u64 = 1 << 20;

/// What a start found and did. Not clean means: tell somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub segments: u64,
    /// Good records on disk.
    pub records: u64,
    /// Bytes cut from the end: written, and never acknowledged by an honest disk.
    pub torn_bytes: u64,
    pub quarantined: Vec<Quarantine>,
    pub missing: Vec<Missing>,
    /// The cursor file did not check: everything kept will be sent again.
    pub cursor_damaged: bool,
    /// Half-made files of an interrupted run, now removed.
    pub leftovers: u64,
}

/// Damaged bytes, left where they are and copied aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    pub segment: SegmentId,
    pub offset: u64,
    pub bytes: u64,
    /// The records that were there, first and last; for damage at the very end at most these.
    /// Absent if no record is gone.
    pub lost: Option<(RecordSeq, RecordSeq)>,
    pub loss: Loss,
    /// The copy; absent if none could be made (full disk, full quarantine).
    pub file: Option<PathBuf>,
}

/// Whether the lost records can have been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// They had been fdatasynced: energy data is lost here, ask for it again.
    Durable,
    /// They were of the last group: an interrupted commit looks the same. Ask for them too; if
    /// they were never acknowledged, they come by themselves.
    Unproven,
}

/// Records that should be there and whose bytes are gone: somebody removed a file, or cut one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The files that are gone or too short.
    pub segment_first: SegmentId,
    pub segment_last: SegmentId,
    pub seq_first: RecordSeq,
    pub seq_last: RecordSeq,
}

impl Recovery {
    /// Whether nothing durable was damaged or missing. A torn tail is no damage: it is what a
    /// power cut leaves.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.quarantined.is_empty() && self.missing.is_empty() && !self.cursor_damaged
    }
}

/// The state a log starts from.
pub(crate) struct Recovered<F> {
    pub(crate) sealed: Vec<Segment>,
    /// The segment to go on writing; none if the next commit must begin a new one.
    pub(crate) active: Option<(Segment, F)>,
    pub(crate) newest_segment: u64,
    pub(crate) next_seq: u64,
    pub(crate) durable: u64,
    pub(crate) report: Recovery,
}

pub(crate) fn recover<D: Disk>(
    disk: &D,
    dir: &Path,
    cursor: CursorFound,
) -> Result<Recovered<D::File>, LogError> {
    let names = disk
        .list(dir)
        .map_err(|source| LogError::ListDirectory { path: dir.to_owned(), source })?;
    // All is looked at before anything is touched: a newer format must be left as it is.
    let mut surveys = Vec::new();
    for id in names.iter().filter_map(|name| segment_id(name)) {
        surveys.push(survey_file(disk, dir, id)?);
    }
    let mut report = Recovery {
        leftovers: remove_leftovers(disk, dir, &names),
        cursor_damaged: cursor == CursorFound::Damaged,
        ..Recovery::default()
    };
    settle(&mut surveys, cursor.stated().floor);
    unlink_released(disk, dir, &mut surveys, cursor.stated().floor)?;
    find_missing(&surveys, cursor, &mut report);
    let recovered = finish(disk, dir, surveys, cursor.stated(), report)?;
    sync_dir(disk, dir)?;
    Ok(recovered)
}

/// Failing to remove one is harmless: it is written over when its name is needed.
fn remove_leftovers<D: Disk>(disk: &D, dir: &Path, names: &[String]) -> u64 {
    let leftovers = names.iter().filter(|name| name.ends_with(UNFINISHED_SUFFIX));
    as_u64(leftovers.filter(|name| disk.unlink(&dir.join(name)).is_ok()).count())
}

fn survey_file<D: Disk>(disk: &D, dir: &Path, id: u64) -> Result<Survey, LogError> {
    let path = segment_path(dir, id);
    let failed = |source| LogError::OpenSegment { path: path.clone(), source };
    let file = disk.open_read(&path).map_err(failed)?;
    let bytes = file.len().map_err(failed)?;
    survey(file, id, bytes).map_err(|found| LogError::NewerFormat {
        path: path.clone(),
        found,
        supported: FORMAT_VERSION,
    })
}

/// Gives each segment its bounds: it starts where its header says and ends where the next one
/// starts. A segment that overlaps what lies before it is not where it belongs.
fn settle(surveys: &mut [Survey], floor: u64) {
    let mut expected = 1;
    for each in surveys.iter_mut() {
        if each.segment.first_seq < expected {
            *each = Survey::headless(each.segment.id, each.segment.bytes);
            each.segment.first_seq = expected.max(floor);
            each.segment.end_seq = each.segment.first_seq;
        }
        expected = each.segment.end_seq;
    }
    // What follows a headless segment may begin later than that one is known to reach.
    let mut end_seq = None;
    for each in surveys.iter_mut().rev() {
        let is_bounded = each.tail.is_some() || each.segment.header.is_none();
        match end_seq {
            Some(next_first) if is_bounded => settle_tail(each, next_first),
            _ => {}
        }
        end_seq = Some(each.segment.first_seq);
    }
}

/// The bad tail of a segment that has a successor is corruption: its frames were synced before
/// the successor was begun.
fn settle_tail(each: &mut Survey, next_first: u64) {
    if let Some(tail) = each.tail.take() {
        each.damage.push(Damage {
            offset: tail.offset,
            bytes: tail.bytes,
            lost_from: each.segment.end_seq,
            lost_before: next_first,
            is_proven: true,
        });
    }
    each.segment.end_seq = next_first;
}

/// Ends an unlinking that was interrupted: what lies before the floor was given up, and may
/// have holes. A file that cannot be unlinked now is met again at the next start.
///
/// The cursor that says so may be in the cache only, if its process was killed before the
/// directory was synced, or that sync failed. It is made durable first: else a power cut could
/// leave an elder one, and of the files behind it not all, which would look like a loss.
fn unlink_released<D: Disk>(
    disk: &D,
    dir: &Path,
    surveys: &mut Vec<Survey>,
    floor: u64,
) -> Result<(), LogError> {
    let newest = surveys.last().map_or(0, |survey| survey.segment.id);
    let is_released = |survey: &Survey| {
        let Segment { id, end_seq, .. } = survey.segment;
        end_seq <= floor && id < newest
    };
    if !surveys.iter().any(is_released) {
        return Ok(());
    }
    sync_dir(disk, dir)?;
    for survey in surveys.extract_if(.., |survey| is_released(survey)) {
        drop(disk.unlink(&segment_path(dir, survey.segment.id)));
    }
    Ok(())
}

fn sync_dir<D: Disk>(disk: &D, dir: &Path) -> Result<(), LogError> {
    disk.sync_dir(dir).map_err(|source| LogError::SyncDirectory { path: dir.to_owned(), source })
}

fn find_missing(surveys: &[Survey], cursor: CursorFound, report: &mut Recovery) {
    let stated = cursor.stated();
    let floor = stated.floor.max(1);
    let gap = |segments: (u64, u64), from: u64, before: u64| Missing {
        segment_first: SegmentId(segments.0),
        segment_last: SegmentId(segments.1),
        seq_first: RecordSeq::new(from),
        seq_last: RecordSeq::new(before.saturating_sub(1)),
    };
    if let Some(first) = surveys.first().map(|survey| &survey.segment) {
        // Without a cursor nobody knows what was unlinked on purpose.
        if cursor != CursorFound::Damaged && first.first_seq > floor && first.header.is_some() {
            let gone = first.id.saturating_sub(1);
            report.missing.push(gap((gone, gone), floor, first.first_seq));
        }
    }
    for pair in surveys.windows(2) {
        let [before, after] = pair else { continue };
        let (before, after) = (&before.segment, &after.segment);
        let (from, to) = (before.end_seq, after.first_seq);
        if after.id > before.id + 1 {
            report.missing.push(gap((before.id + 1, after.id - 1), from, to));
        } else if to > from {
            report.missing.push(gap((before.id, before.id), from, to));
        }
    }
    let last_id = surveys.last().map_or(0, |survey| survey.segment.id);
    let last_end = surveys.last().map_or(floor, |survey| survey.segment.end_seq);
    if stated.newest_segment > last_id || stated.cursor >= last_end {
        let from = if stated.newest_segment > last_id { last_id + 1 } else { last_id };
        let before = (stated.cursor + 1).max(last_end);
        report.missing.push(gap((from, stated.newest_segment.max(from)), last_end, before));
    }
}

fn finish<D: Disk>(
    disk: &D,
    dir: &Path,
    mut surveys: Vec<Survey>,
    cursor: CursorStated,
    mut report: Recovery,
) -> Result<Recovered<D::File>, LogError> {
    report.segments = as_u64(surveys.len());
    report.records = surveys.iter().map(|survey| survey.records).sum();
    let newest = surveys.last_mut().map(|newest| settle_newest(newest, cursor));
    quarantine(disk, dir, &surveys, &mut report);

    let mut sealed: Vec<Segment> = surveys.into_iter().map(|survey| survey.segment).collect();
    let newest_segment = sealed.last().map_or(0, |segment| segment.id).max(cursor.newest_segment);
    let mut next_seq = cursor.cursor + 1;
    let mut durable = cursor.cursor;
    let mut active = None;
    if let (Some(newest), Some(segment)) = (newest, sealed.pop()) {
        next_seq = next_seq.max(newest.next_seq);
        durable = durable.max(segment.end_seq - 1);
        let file = secure_newest(disk, dir, &segment, newest.torn_bytes)?;
        report.torn_bytes = newest.torn_bytes;
        match file {
            Some(file) if newest.is_writable => active = Some((segment, file)),
            Some(_) | None => sealed.push(segment),
        }
    }
    Ok(Recovered { sealed, active, newest_segment, next_seq, durable, report })
}

/// What is to become of the newest segment.
struct Newest {
    torn_bytes: u64,
    next_seq: u64,
    is_writable: bool,
}

fn settle_newest(newest: &mut Survey, cursor: CursorStated) -> Newest {
    let end_seq = newest.segment.end_seq;
    let mut next_seq = end_seq;
    let mut torn_bytes = 0;
    if let Some(tail) = newest.tail.take() {
        if tail.is_unreadable || cursor.cursor >= end_seq {
            // Its records may have been acknowledged: their sequences are spent.
            next_seq += frames_at_most(tail.bytes);
            newest.damage.push(kept_tail(&tail, end_seq, next_seq));
        } else {
            torn_bytes = tail.bytes;
            newest.segment.bytes = tail.offset;
        }
    }
    // After damage a new segment begins: within one segment a frame's word on what was synced
    // before it must stay true, and every sequence must follow the one before it.
    let is_writable =
        newest.segment.header.is_some() && newest.damage.is_empty() && cursor.cursor < end_seq;
    Newest { torn_bytes, next_seq, is_writable }
}

fn kept_tail(tail: &BadTail, lost_from: u64, lost_before: u64) -> Damage {
    let (offset, bytes) = (tail.offset, tail.bytes);
    Damage { offset, bytes, lost_from, lost_before, is_proven: true }
}

/// Cuts the torn tail and syncs what is left: frames of a killed process may so far be in the
/// page cache only. Nothing to secure in a segment without a header.
fn secure_newest<D: Disk>(
    disk: &D,
    dir: &Path,
    segment: &Segment,
    torn_bytes: u64,
) -> Result<Option<D::File>, LogError> {
    if segment.header.is_none() {
        return Ok(None);
    }
    let path = segment_path(dir, segment.id);
    let file = disk
        .open_write(&path)
        .map_err(|source| LogError::OpenSegment { path: path.clone(), source })?;
    if torn_bytes > 0 {
        file.truncate(segment.bytes)
            .map_err(|source| LogError::CutTail { path: path.clone(), source })?;
    }
    file.sync().map_err(|source| LogError::SyncSegment { path, source })?;
    Ok(Some(file))
}

fn quarantine<D: Disk>(disk: &D, dir: &Path, surveys: &[Survey], report: &mut Recovery) {
    let mut room = None;
    for (survey, damage) in surveys.iter().flat_map(|s| s.damage.iter().map(move |d| (s, d))) {
        let keep = dir.join(QUARANTINE_NAME);
        let room = room.get_or_insert_with(|| room_in(disk, &keep));
        let lost = damage.lost_from..damage.lost_before;
        report.quarantined.push(Quarantine {
            segment: SegmentId(survey.segment.id),
            offset: damage.offset,
            bytes: damage.bytes,
            lost: (!lost.is_empty())
                .then(|| (RecordSeq::new(lost.start), RecordSeq::new(lost.end - 1))),
            loss: if damage.is_proven { Loss::Durable } else { Loss::Unproven },
            // The damaged bytes stay in their segment, so a copy that fails loses nothing.
            file: copy_aside(disk, dir, survey.segment.id, damage, room).ok().flatten(),
        });
    }
}

/// Bytes that still fit into the quarantine; none if it cannot be used.
fn room_in<D: Disk>(disk: &D, keep: &Path) -> u64 {
    let taken = || -> io::Result<u64> {
        disk.create_dir_all(keep)?;
        let mut taken = 0_u64;
        for name in disk.list(keep)? {
            taken += disk.open_read(&keep.join(name))?.len()?;
        }
        Ok(taken)
    };
    taken().map_or(0, |taken| QUARANTINE_BYTES_MAX.saturating_sub(taken))
}

fn copy_aside<D: Disk>(
    disk: &D,
    dir: &Path,
    id: u64,
    damage: &Damage,
    room: &mut u64,
) -> io::Result<Option<PathBuf>> {
    let keep = dir.join(QUARANTINE_NAME);
    let path = keep.join(format!("{id:020}-{:020}.bad", damage.offset));
    if disk.open_read(&path).is_ok_and(|copy| copy.len().is_ok_and(|len| len == damage.bytes)) {
        return Ok(Some(path));
    }
    if damage.bytes > *room {
        return Ok(None);
    }
    let end = damage.offset + damage.bytes;
    let mut from = Window::new(disk.open_read(&segment_path(dir, id))?, end);
    let temporary = unfinished(&path);
    let copy = disk.create(&temporary)?;
    let mut at = damage.offset;
    while at < end {
        let bytes = from.get(at, COPY_BYTES.min(end - at)).unwrap_or_default();
        copy.write_at(at - damage.offset, bytes)?;
        at += as_u64(bytes.len());
    }
    copy.sync()?;
    disk.rename(&temporary, &path)?;
    disk.sync_dir(&keep)?;
    *room -= damage.bytes;
    Ok(Some(path))
}
