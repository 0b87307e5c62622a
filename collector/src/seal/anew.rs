//! A new log for a hub whose leaves are truly gone: its first entry is the old log's last head.

use std::io;
use std::path::{Path, PathBuf};

use bijli_ledger::leaf::{Body, Source, Statement};
use bijli_ledger::{Leaf, RULE_VERSION};
use bijli_seglog::{Disk, RealDisk};
use bijli_tlog::{Checkpoint, Note};
use bijli_wire::{HubId, UtcMillis};

use super::files::{FileError, Files};
use super::name::folder;
use super::signer::Signer;
use super::tree::NO_INDEX;

/// What is to begin.
#[derive(Debug)]
pub struct Anew<'a> {
    /// The folder of the logs; no collector may run on it.
    pub dir: &'a Path,
    pub hub: &'a HubId,
    pub signer: &'a Signer,
    pub heads: Option<&'a Path>,
    /// A checkpoint that somebody else kept.
    pub old_head: Option<&'a Path>,
}

/// Why nothing was begun.
#[derive(Debug, thiserror::Error)]
pub enum AnewError {
    #[error("cannot read or write the log's files")]
    File(#[from] FileError),
    #[error("cannot set {path} aside", path = path.display())]
    Aside { path: PathBuf, source: io::Error },
    #[error(
        "no checkpoint of this hub that one of the keys signed is here, in the heads kept elsewhere \
         or in --old-head: there is nothing to succeed"
    )]
    NoHead,
}

/// Sets the old tree aside and writes the first entry of the new one; returns the new origin.
///
/// # Errors
/// When there is no old head, or the disk fails.
pub fn begin_anew(anew: &Anew<'_>, at: UtcMillis) -> Result<String, AnewError> {
    let name = folder(anew.hub);
    let (old, note) = newest(anew, &name)?.ok_or(AnewError::NoHead)?;
    let generation = super::generation(&old.origin) + 1;
    let text = note.to_string();
    let said = Statement { at, about: "old head".to_owned(), text };
    let source = Source { first: 0, last: 0, hash: [0; 32] };
    let (hub, body) = (Some(anew.hub.clone()), Body::Statement(said));
    let leaf = Leaf { rule_version: RULE_VERSION, hub, source, body }.encode();
    let entry = [&NO_INDEX.to_le_bytes()[..], &leaf].concat();
    set_aside(anew.dir, &name, generation - 1)?;
    Files::new(RealDisk, &anew.dir.join(&name)).write("first", &entry)?;
    if let Some(heads) = anew.heads {
        set_aside(heads, &name, generation - 1)?;
    }
    Ok(super::origin(&anew.signer.base, anew.hub, generation))
}

/// The largest checkpoint of this hub that one of our keys signed.
fn newest(anew: &Anew<'_>, name: &str) -> Result<Option<(Checkpoint, Note)>, FileError> {
    let in_dir = |dir: &Path, name: &str| Files::new(RealDisk, dir).text(name);
    let mut texts = vec![in_dir(&anew.dir.join(name), "checkpoint")?];
    if let Some(heads) = anew.heads {
        texts.push(in_dir(heads, name)?);
    }
    if let Some(file) = anew.old_head {
        let folder = file.parent().unwrap_or(Path::new("."));
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        texts.push(in_dir(folder, &name.unwrap_or_default())?);
    }
    let ours = texts.into_iter().flatten().filter_map(|text| {
        let note = Note::parse(&text).ok()?;
        let checkpoint = Checkpoint::parse(note.text()).ok()?;
        let mine =
            super::origin(&anew.signer.base, anew.hub, super::generation(&checkpoint.origin));
        let keys = anew.signer.keys(&checkpoint.origin).ok()?;
        let is_ours = keys.iter().any(|key| note.by(key.verifier()).is_ok());
        (is_ours && checkpoint.origin == mine).then_some((checkpoint, note))
    });
    Ok(ours.max_by_key(|(checkpoint, _)| (super::generation(&checkpoint.origin), checkpoint.size)))
}

/// Renames to the first name with `@` and a number that is free.
fn set_aside(dir: &Path, name: &str, generation: u64) -> Result<(), AnewError> {
    let path = dir.join(name);
    let refuse = |source| AnewError::Aside { path: path.clone(), source };
    let names = match RealDisk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(refuse)?,
    };
    if !names.iter().any(|one| one == name) {
        return Ok(());
    }
    let free = (generation..).map(|number| format!("{name}@{number}"));
    let free = free.into_iter().find(|free| !names.contains(free)).unwrap_or_default();
    RealDisk.rename(&path, &dir.join(free)).map_err(refuse)?;
    RealDisk.sync_dir(dir).map_err(refuse)
}
