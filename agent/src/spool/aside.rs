//! Batches that no collector will ever take: copied aside, and their sequences filled.

use std::io;
use std::path::{Path, PathBuf};

use bijli_seglog::{Disk, DiskFile, RecordSeq};
use bijli_wire::batch::Event;
use bijli_wire::message::EventKind;
use bijli_wire::{Batch, BatchSeq, Schema, UtcMillis, codec, limits};

use super::record::{Head, Record};
use super::{Spool, SpoolError, Stored, frame_bytes};
use crate::draft::EncodedSchema;

const FOLDER: &str = "refused";
/// Refused batches are evidence for people; beyond this much room no more is copied. The batch
/// itself stays in the log like any other, for as long as acknowledged ones are kept.
const BYTES_MAX: u64 = 16 << 20;

/// Why a batch leaves the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason<'a> {
    /// The collector's error code, as in file names.
    pub code: &'a str,
    /// False when the collector holds another batch of this sequence: there is no gap to fill.
    pub leaves_gap: bool,
    /// The first gap record was refused too: this one says nothing that could be refused.
    pub is_bare: bool,
}

impl<D: Disk> Spool<D> {
    /// Copies a batch to `refused/`, durably, and puts a gap record in its place. A batch that
    /// is not readable has nothing to copy; a gap record that was refused is made anew. A copy
    /// that cannot be made does not hold the line up: false says that there is none.
    ///
    /// # Errors
    /// If the disk does not take the gap record; the batch then keeps its place.
    pub fn put_aside(
        &mut self,
        sequence: BatchSeq,
        reason: Reason<'_>,
        now: UtcMillis,
    ) -> Result<bool, SpoolError> {
        let mut is_copied = false;
        if !self.sent().gaps.contains_key(&sequence) {
            match self.load(sequence) {
                Ok(loaded) => is_copied = self.copy_aside(sequence, reason, &loaded.body).is_ok(),
                Err(SpoolError::Unreadable { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        if reason.leaves_gap {
            self.fill_gap(sequence, reason, now)?;
        }
        Ok(is_copied)
    }

    /// A schema without subjects: what a gap record names, so that it depends on nothing else.
    pub(super) fn bare_schema(&self) -> Result<EncodedSchema, SpoolError> {
        let schema = Schema {
            hub: self.owner.hub.clone(),
            node: self.owner.node.clone(),
            agent: self.owner.agent.clone(),
            subjects: Vec::new(),
            groups: Vec::new(),
        };
        EncodedSchema::new(&schema).map_err(|source| SpoolError::Encode { source })
    }

    fn fill_gap(
        &mut self,
        sequence: BatchSeq,
        reason: Reason<'_>,
        now: UtcMillis,
    ) -> Result<(), SpoolError> {
        // While the disk is full of other people's files it is asked for again and again.
        let at = match self.sent().gaps_to_come.get(&sequence) {
            Some(waits) => *waits,
            None => self.append_gap(sequence, reason, now)?,
        };
        let outcome = self.commit()?;
        if self.log.durable_seq() < at {
            debug_assert!(!matches!(outcome, Stored::Full), "a commit refuses nothing");
            let path = self.dir.clone();
            return Err(SpoolError::PutAside { path, source: io::ErrorKind::StorageFull.into() });
        }
        let era = self.sent_mut();
        era.gaps_to_come.remove(&sequence);
        era.gaps.insert(sequence, at);
        Ok(())
    }

    /// Takes a gap record into memory; it is in force when it is durable.
    fn append_gap(
        &mut self,
        sequence: BatchSeq,
        reason: Reason<'_>,
        now: UtcMillis,
    ) -> Result<RecordSeq, SpoolError> {
        let schema = self.bare_schema()?;
        let epoch = self.sent().epoch;
        let is_bare = reason.is_bare || now.get() < limits::EARLIEST_UTC_MS;
        let told = Event {
            code: 0,
            count: 1,
            at: now,
            subject: None,
            kind: EventKind::BatchesQuarantined,
            text: format!("batch {sequence} put aside: {}", reason.code),
        };
        let batch = Batch {
            hub: self.owner.hub.clone(),
            node: self.owner.node.clone(),
            epoch,
            sequence,
            schema: schema.id,
            created: now,
            uptime: None,
            matrices: Vec::new(),
            // A wrong clock can make an event unacceptable; nothing at all is always taken. One
            // that was never set surely does, and a second record for each batch would fill the
            // spool.
            events: if is_bare { Vec::new() } else { vec![told] },
            holds: Vec::new(),
        };
        let body = codec::encode_batch(&batch).map_err(|source| SpoolError::Encode { source })?;
        let head = Head { epoch, sequence, created: now, schema: schema.id };
        let record = Record::Gap { head, body: &body }.encode();
        let bytes = frame_bytes(record.len()) + frame_bytes(33 + schema.body.len());
        self.free_acked(bytes)?;
        self.begin_segment_if_full(bytes)?;
        self.append_schema(schema.id, &schema.body)?;
        let at = self.log.append(&record).map_err(|source| SpoolError::Store { source })?;
        self.sent_mut().gaps_to_come.insert(sequence, at);
        Ok(at)
    }

    fn copy_aside(
        &mut self,
        sequence: BatchSeq,
        reason: Reason<'_>,
        body: &[u8],
    ) -> Result<(), SpoolError> {
        let folder = self.dir.join(FOLDER);
        let failed = |path: PathBuf| move |source| SpoolError::PutAside { path, source };
        let taken = taken_bytes(&self.disk, &folder).map_err(failed(folder.clone()))?;
        if taken + u64::try_from(body.len()).unwrap_or(u64::MAX / 2) > BYTES_MAX {
            let source = io::ErrorKind::QuotaExceeded.into();
            return Err(SpoolError::PutAside { path: folder, source });
        }
        if let Ok((id, schema)) = self.schema_of(sequence) {
            // Without its schema a refused batch could not be read by anybody.
            let path = folder.join(format!("{id}.schema"));
            write_durably(&self.disk, &path, &schema).map_err(failed(path.clone()))?;
        }
        let name = format!("{}-{:020}-{}.batch", self.sent().epoch, sequence.get(), reason.code);
        let path = folder.join(name);
        write_durably(&self.disk, &path, body).map_err(failed(path.clone()))?;
        self.disk.sync_dir(&folder).map_err(failed(folder.clone()))
    }
}

fn taken_bytes<D: Disk>(disk: &D, folder: &Path) -> io::Result<u64> {
    disk.create_dir_all(folder)?;
    let mut taken = 0_u64;
    for name in disk.list(folder)? {
        taken += disk.open_read(&folder.join(name))?.len()?;
    }
    Ok(taken)
}

/// Whole or not at all, under its name only when it is on disk.
fn write_durably<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let file = disk.create(&temporary)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&temporary, path)
}
