//! A witness: keeps the last checkpoint that it cosigned of each log, and cosigns what follows
//! from it. Never two that contradict each other, never a smaller one after a larger.
//!
//! # Invariants
//! - What it knows is durable before it answers; comparing and keeping are one step, and no other
//!   process has the directory meanwhile.
//! - A state that cannot be read is a refusal, never a log of which nothing is known.
//! - A witness that lost its directory has lost its word: it needs a new key.

pub mod server;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bijli_seglog::{Disk as _, RealDisk};
use bijli_tlog::witness::{Known, Refused, Request, log_id};
use bijli_tlog::{
    Checkpoint, CheckpointError, KeyKind, Note, SigningKey, Tiles, VerifierKey, tree,
};
use bijli_wire::UtcMillis;

use crate::journal::chain;
use crate::seal::{FileError, Files, KeyFileError, read_key};

const LOCK: &str = ".lock";

/// A witness's key, the logs that it watches, and what it knows of them.
#[derive(Debug)]
pub struct Keeper {
    key: SigningKey,
    logs: Vec<VerifierKey>,
    files: Mutex<Files<RealDisk>>,
    _lock: <RealDisk as bijli_seglog::Disk>::Lock,
}

/// Why there is no witness, or it cannot say anything.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    #[error("the witness's key cannot be used")]
    Key(#[from] KeyFileError),
    #[error(
        "{dir} is not there: make it for a new witness. If it was there, this witness has lost what \
         it knew: make it with a new key", dir = dir.display()
    )]
    NoDir { dir: PathBuf, source: FileError },
    #[error("another witness works in {dir}", dir = dir.display())]
    Busy { dir: PathBuf, source: io::Error },
    #[error("cannot read or keep what is known of a log")]
    File(#[from] FileError),
    #[error("what is known of {origin} is damaged: {reason}; this witness must not go on with it")]
    Damaged { origin: String, reason: String },
    #[error("the log's checkpoint cannot be used")]
    Checkpoint(#[from] CheckpointError),
    #[error("{path} is not there", path = path.display())]
    NoCheckpoint { path: PathBuf },
    #[error("the log's tiles cannot be read: {reason}")]
    Tiles { reason: String },
    #[error("not cosigned")]
    Refused(#[from] Refused),
    #[error("cannot listen on {address}")]
    Listen { address: std::net::SocketAddr, source: io::Error },
}

impl Keeper {
    /// # Errors
    /// When the key cannot be used, or the directory is not there or another's.
    pub fn open(dir: &Path, key: &Path, logs: Vec<VerifierKey>) -> Result<Self, WitnessError> {
        let key = read_key(key, KeyKind::Cosignature)?;
        let files = Files::new(RealDisk, dir);
        let there = files.list();
        there.map_err(|source| WitnessError::NoDir { dir: dir.to_owned(), source })?;
        let lock = RealDisk.lock(&dir.join(LOCK));
        let lock = lock.map_err(|source| WitnessError::Busy { dir: dir.to_owned(), source })?;
        Ok(Self { key, logs, files: Mutex::new(files), _lock: lock })
    }

    #[must_use]
    pub const fn key(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// The last checkpoint that was cosigned of the log with this id.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn latest(&self, id: &str) -> Result<Option<String>, WitnessError> {
        // Only the ids of logs that are watched name a file.
        let Some(log) = self.logs.iter().find(|log| log_id(log.name()) == id) else {
            return Ok(None);
        };
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.known(&files, log.name())?.map(|(_, note)| note.to_string()))
    }

    fn known(
        &self,
        files: &Files<RealDisk>,
        origin: &str,
    ) -> Result<Option<(Known, Note)>, WitnessError> {
        let Some(text) = files.text(&log_id(origin))? else { return Ok(None) };
        let damaged = |reason: String| WitnessError::Damaged { origin: origin.to_owned(), reason };
        let note = Note::parse(&text).map_err(|error| damaged(error.to_string()))?;
        let text = note.by(self.key()).map_err(|error| damaged(error.to_string()))?;
        let Checkpoint { size, root, origin: found } = Checkpoint::parse(text)?;
        if found != origin {
            return Err(damaged(format!("it is of {found}")));
        }
        Ok(Some((Known { size, root }, note)))
    }

    /// Judges a request; the lines to answer with, and what is kept by then.
    ///
    /// # Errors
    /// Why it is not cosigned.
    pub fn add(&self, request: &Request, at: UtcMillis) -> Result<String, WitnessError> {
        let origin = request.origin()?;
        let keys: Vec<VerifierKey> =
            self.logs.iter().filter(|log| log.name() == origin).cloned().collect();
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known(&files, &origin)?.map(|(known, _)| known).unwrap_or_default();
        request.judge(&keys, known)?;
        let seconds = u64::try_from(at.get() / 1_000).unwrap_or(0);
        let lines = request.cosign(&self.key, seconds);
        let kept = format!("{}{lines}", request.checkpoint);
        // Twenty witnesses' lines may come with it: what must be readable later is ours.
        debug_assert!(Note::parse(&kept).is_ok(), "a note and one line more");
        files.write(&log_id(&origin), kept.as_bytes())?;
        Ok(lines)
    }

    /// Cosigns the checkpoint of a log whose files are at hand; the note with our line.
    ///
    /// # Errors
    /// Why it is not cosigned.
    pub fn once(&self, log: &Path, at: UtcMillis) -> Result<String, WitnessError> {
        let tiles = Files::new(RealDisk, log);
        let absent = || WitnessError::NoCheckpoint { path: log.join("checkpoint") };
        let text = tiles.text("checkpoint")?.ok_or_else(absent)?;
        let checkpoint = Note::parse(&text).map_err(CheckpointError::from)?;
        let Checkpoint { origin, size, .. } = Checkpoint::parse(checkpoint.text())?;
        let old = {
            let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            self.known(&files, &origin)?.map_or(0, |(known, _)| known.size)
        };
        if old > size {
            return Err(Refused::Conflict { size: old }.into());
        }
        let mut reader = Tiles::new(size, |tile| tiles.tile(tile));
        let proof = tree::consistency(&mut reader, old, size);
        let proof = proof.map_err(|error| WitnessError::Tiles { reason: chain(&error) })?;
        let request = Request { old, proof, checkpoint };
        let lines = self.add(&request, at)?;
        Ok(format!("{}{lines}", request.checkpoint))
    }
}
