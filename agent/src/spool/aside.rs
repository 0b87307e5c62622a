//! Batches that no collector will ever take: copied aside, and their sequences filled.

use std::io;
use std::path::{Path, PathBuf};

use bijli_seglog::{Disk, DiskFile};
use bijli_wire::batch::Event;
use bijli_wire::message::EventKind;
use bijli_wire::{Batch, BatchSeq, Schema, UtcMillis, codec};

use super::record::Record;
use super::{Spool, SpoolError, Stored};
use crate::draft::EncodedSchema;

const FOLDER: &str = "refused";
/// Refused batches are evidence; they stop when they take this much room.
const BYTES_MAX: u64 = 16 << 20;

/// Why a batch leaves the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason<'a> {
    /// The collector's error code, as in file names.
    pub code: &'a str,
    /// False when the collector holds another batch of this sequence: there is no gap to fill.
    pub leaves_gap: bool,
}

impl<D: Disk> Spool<D> {
    /// Copies a batch to `refused/`, durably, and puts a gap record in its place. A batch that
    /// is not readable has nothing to copy; a gap record that was refused is made anew.
    ///
    /// # Errors
    /// If the disk does not take it; the batch then keeps its place.
    pub fn put_aside(
        &mut self,
        sequence: BatchSeq,
        reason: Reason<'_>,
        now: UtcMillis,
    ) -> Result<(), SpoolError> {
        if !self.gaps.contains_key(&sequence) {
            match self.load(sequence) {
                Ok(loaded) => self.copy_aside(sequence, reason, &loaded.body)?,
                Err(SpoolError::Unreadable { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        if reason.leaves_gap {
            self.fill_gap(sequence, reason, now)?;
        }
        Ok(())
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
        let schema = self.bare_schema()?;
        let batch = Batch {
            hub: self.owner.hub.clone(),
            node: self.owner.node.clone(),
            epoch: self.epoch,
            sequence,
            schema: schema.id,
            created: now,
            uptime: None,
            matrices: Vec::new(),
            events: vec![Event {
                at: now,
                subject: None,
                kind: EventKind::BatchesQuarantined,
                text: format!("batch {sequence} put aside: {}", reason.code),
            }],
        };
        let body = codec::encode_batch(&batch).map_err(|source| SpoolError::Encode { source })?;
        let head = self.head(sequence, now, schema.id);
        self.append_schema(schema.id, &schema.body)?;
        let record = Record::Gap { head, body: &body }.encode();
        let at = self.log.append(&record).map_err(|source| SpoolError::Store { source })?;
        let outcome = self.commit()?;
        if self.log.durable_seq() < at {
            debug_assert!(!matches!(outcome, Stored::Full), "a commit refuses nothing");
            let path = self.dir.clone();
            return Err(SpoolError::PutAside { path, source: io::ErrorKind::StorageFull.into() });
        }
        self.gaps.insert(sequence, at);
        Ok(())
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
            return Err(SpoolError::AsideFull { path: folder });
        }
        if let Ok((id, schema)) = self.schema_of(sequence) {
            // Without its schema a refused batch could not be read by anybody.
            let path = folder.join(format!("{id}.schema"));
            write_durably(&self.disk, &path, &schema).map_err(failed(path.clone()))?;
        }
        let name = format!("{}-{:020}-{}.batch", self.epoch, sequence.get(), reason.code);
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
