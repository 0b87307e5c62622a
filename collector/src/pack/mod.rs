//! The audit pack of a hub's month: the report, every leaf that it follows from, the signed tree
//! that they are in, and `verify.py`, which checks all of it with nothing but Python.
//!
//! # Invariants
//! - A pack is made from the files of the transparency log alone, as of one signed checkpoint; a
//!   running collector is not disturbed.
//! - It has every leaf from before the month's first one to the end of the tree, so what corrects
//!   the month cannot be left out; of what is before that, hashes.
//! - `SHA256SUMS` names every other file, and is written last.
//!
//! The files are described in `docs/audit.md`, for whoever gets them.

use std::io;
use std::path::{Path, PathBuf};

use bijli_ledger::leaf::{Body, Summary};
use bijli_ledger::{Diagram, Leaf, LeafError};
use bijli_tlog::tile::{Shelf, WIDTH};
use bijli_tlog::{Checkpoint, CheckpointError, Note, Policy, PolicyError, Tile, TileError};
use bijli_wire::{HubId, UtcMillis};
use sha2::{Digest as _, Sha256};

use crate::disk;
use crate::meterbook::hex;
use crate::report::{self, Asked, Made, ReportError};
use crate::seal;

/// What the pack checks itself with.
pub const VERIFY: &str = include_str!("verify.py");
const README: &str = include_str!("README.txt");
const SUMS: &str = "SHA256SUMS";
/// Where the index in an entry says that it is not of the ledger log.
const NO_INDEX: u64 = u64::MAX;

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error(
        "hub {hub} has no signed checkpoint in {path}: an auditor needs one; configure a key and \
         let the collector sign", path = path.display()
    )]
    Unsigned { hub: HubId, path: PathBuf },
    #[error("cannot read {path}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is damaged", path = path.display())]
    Tile { path: PathBuf, source: TileError },
    #[error("{path} is no checkpoint", path = path.display())]
    Checkpoint { path: PathBuf, source: CheckpointError },
    #[error("the policy in {path} is none", path = path.display())]
    Policy { path: PathBuf, source: PolicyError },
    #[error("entry {place} of the tree is no leaf")]
    Leaf { place: u64, source: LeafError },
    #[error("entry {place} of the tree is too short for a leaf")]
    Short { place: u64 },
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error("cannot write {path}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    pub report: Asked<'a>,
    /// The collector's directory.
    pub dir: &'a Path,
    /// Whose keys an auditor shall believe: the log's own where it names none; `None`: and no
    /// witness.
    pub policy: Option<&'a Path>,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Packed {
    pub folder: PathBuf,
    pub origin: String,
    pub size: u64,
    /// Leaves that are in it.
    pub entries: u64,
    pub bytes: u64,
    pub report: Made,
}

impl Packed {
    /// For people.
    #[must_use]
    pub fn show(&self) -> String {
        let figure = self.report.shown.as_deref().unwrap_or("no PUE; the report says why");
        let Self { folder, origin, size, entries, bytes, .. } = self;
        let folder = folder.display();
        format!(
            "{figure}\n{origin}: {size} entries, {entries} of them in the pack, {bytes} bytes\n\
             check it with: python3 -I {folder}/verify.py {folder}\n"
        )
    }
}

/// Makes the pack in a new folder.
///
/// # Errors
/// Says what is missing, damaged or cannot be written. The folder then has no `SHA256SUMS`.
pub fn make(asked: &Ask<'_>, folder: &Path) -> Result<Packed, PackError> {
    let tree = Tree::open(asked)?;
    let month = span(&asked.report);
    let mut out = Out::new(folder)?;
    let leaves = tree.leaves()?;
    let made = leaves.iter().filter(|one| one.index != NO_INDEX);
    let read = made.map(|one| Ok((one.index, one.leaf.clone())));
    let report = report::write(&asked.report, read, &folder.join("report"))?;
    out.take_folder("report")?;
    let first = first_place(&leaves, month, &asked.report.hub.id) / WIDTH * WIDTH;
    for tile in Tile::all(tree.size) {
        let is_wanted = match tile.shelf {
            Shelf::Entries => tile.index * WIDTH >= first,
            Shelf::Hashes(level) => level == 0,
        };
        if is_wanted {
            out.write(&tile.path(), &tree.read(tile)?)?;
        }
    }
    out.write("checkpoint", tree.signed.as_bytes())?;
    out.write("policy", tree.policy.as_bytes())?;
    out.write("verify.py", VERIFY.as_bytes())?;
    out.write("README.txt", README.as_bytes())?;
    let bytes = out.finish()?;
    let (origin, size) = (tree.origin, tree.size);
    let entries = size.saturating_sub(first);
    Ok(Packed { folder: folder.to_owned(), origin, size, entries, bytes, report })
}

/// The month's begin and end, as its report has them.
fn span(asked: &Asked<'_>) -> (UtcMillis, UtcMillis) {
    let diagram = asked.hub.plan.diagram().ok().flatten();
    let offset = diagram.as_ref().map(Diagram::policy).map(|policy| policy.offset);
    asked.month.span(offset.unwrap_or_default())
}

/// Where the entries of the pack begin: with the last interval that closed before the month's
/// first leaf, whole, so that a reader sees that nothing of the month is before them.
fn first_place(leaves: &[Entry], (from, to): (UtcMillis, UtcMillis), hub: &HubId) -> u64 {
    let is_of_hub = |entry: &&Entry| entry.leaf.hub.as_ref() == Some(hub);
    let mut before = 0;
    for entry in leaves.iter().filter(is_of_hub) {
        if entry.leaf.interval().is_some_and(|interval| from <= interval && interval < to) {
            return before;
        }
        if let Body::Summary(Summary { revision: 0, leaves, interval, .. }) = &entry.leaf.body
            && *interval < from
        {
            before = entry.place.saturating_sub(u64::from(*leaves));
        }
    }
    before
}

/// One entry of the tree.
struct Entry {
    place: u64,
    index: u64,
    leaf: Leaf,
}

/// The files of a hub's transparency log, as of a signed checkpoint.
struct Tree {
    folder: PathBuf,
    signed: String,
    origin: String,
    size: u64,
    policy: String,
}

impl Tree {
    fn open(asked: &Ask<'_>) -> Result<Self, PackError> {
        let hub = &asked.report.hub.id;
        let folder = asked.dir.join("tlog").join(seal::folder(hub));
        // The newest that enough witnesses have signed, where some are asked for.
        let witnessed = folder.join("witnessed");
        let is_asked = asked.policy.is_some() && witnessed.exists();
        let path = if is_asked { witnessed } else { folder.join("checkpoint") };
        if !path.exists() {
            return Err(PackError::Unsigned { hub: hub.clone(), path });
        }
        let mut policy = match asked.policy {
            Some(path) => read_text(path)?,
            None => "quorum none\n".to_owned(),
        };
        if !policy.lines().any(|line| line.starts_with("log ")) {
            let keys = read_text(&folder.join("key"))?;
            let keys = keys.lines().filter(|line| !line.is_empty());
            policy = keys.map(|key| format!("log {key}\n")).collect::<String>() + &policy;
        }
        let refuse = |source| PackError::Policy {
            path: asked.policy.map_or_else(|| folder.join("key"), Path::to_owned),
            source,
        };
        Policy::parse(&policy).map_err(refuse)?;
        let signed = read_text(&path)?;
        let note = Note::parse(&signed).map_err(CheckpointError::from);
        let checkpoint = note.and_then(|note| Checkpoint::parse(note.text()));
        let checkpoint = checkpoint.map_err(|source| PackError::Checkpoint { path, source })?;
        let Checkpoint { origin, size, .. } = checkpoint;
        Ok(Self { folder, signed, origin, size, policy })
    }

    /// A tile of the tree of this size; the collector may have gone on, and have the full one.
    fn read(&self, tile: Tile) -> Result<Vec<u8>, PackError> {
        let path = self.folder.join(tile.path());
        match disk::read_bytes(&path) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !tile.is_full() => {
                let path = self.folder.join(tile.full().path());
                let bytes = read_bytes(&path)?;
                let part = tile.part_of_full(&bytes);
                part.map(<[u8]>::to_vec).map_err(|source| PackError::Tile { path, source })
            }
            Err(source) => Err(PackError::Read { path, source }),
        }
    }

    fn leaves(&self) -> Result<Vec<Entry>, PackError> {
        let mut leaves = Vec::new();
        for tile in Tile::all(self.size).filter(|tile| tile.shelf == Shelf::Entries) {
            let bytes = self.read(tile)?;
            let path = self.folder.join(tile.path());
            let entries = tile.entries(&bytes);
            let entries = entries.map_err(|source| PackError::Tile { path, source })?;
            for (entry, place) in entries.into_iter().zip(tile.index * WIDTH..) {
                leaves.push(Entry::of(place, entry)?);
            }
        }
        Ok(leaves)
    }
}

impl Entry {
    fn of(place: u64, entry: &[u8]) -> Result<Self, PackError> {
        let (index, leaf) = entry.split_first_chunk::<8>().ok_or(PackError::Short { place })?;
        let leaf = Leaf::decode(leaf).map_err(|source| PackError::Leaf { place, source })?;
        Ok(Self { place, index: u64::from_le_bytes(*index), leaf })
    }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, PackError> {
    disk::read_bytes(path).map_err(|source| PackError::Read { path: path.to_owned(), source })
}

fn read_text(path: &Path) -> Result<String, PackError> {
    disk::read_text(path).map_err(|source| PackError::Read { path: path.to_owned(), source })
}

/// The folder that is filled, and the hash of each file in it.
struct Out {
    folder: PathBuf,
    sums: Vec<(String, String)>,
    bytes: u64,
}

impl Out {
    fn new(folder: &Path) -> Result<Self, PackError> {
        let refuse = |source| PackError::Write { path: folder.to_owned(), source };
        disk::make_dir(folder).map_err(refuse)?;
        if !disk::list(folder).map_err(refuse)?.is_empty() {
            return Err(ReportError::Used { path: folder.to_owned() }.into());
        }
        Ok(Self { folder: folder.to_owned(), sums: Vec::new(), bytes: 0 })
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), PackError> {
        let path = self.folder.join(name);
        let refuse = |source| PackError::Write { path: path.clone(), source };
        let parent = path.parent().map(disk::make_dir);
        parent.unwrap_or(Ok(())).map_err(refuse)?;
        let mut file = disk::create(&path).map_err(refuse)?;
        let written = io::Write::write_all(&mut file, bytes).and_then(|()| file.sync_all());
        written.map_err(refuse)?;
        self.add(name, bytes);
        Ok(())
    }

    /// Notes the files that somebody else wrote.
    fn take_folder(&mut self, name: &str) -> Result<(), PackError> {
        let path = self.folder.join(name);
        let names = disk::list(&path).map_err(|source| PackError::Read { path, source })?;
        for file in names {
            let name = format!("{name}/{file}");
            let bytes = read_bytes(&self.folder.join(&name))?;
            self.add(&name, &bytes);
        }
        Ok(())
    }

    fn add(&mut self, name: &str, bytes: &[u8]) {
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.sums.push((name.to_owned(), hex(&Sha256::digest(bytes))));
    }

    /// Names every file; gives their bytes.
    fn finish(mut self) -> Result<u64, PackError> {
        self.sums.sort();
        let line = |(name, sum): &(String, String)| format!("{sum}  {name}\n");
        let text: String = self.sums.iter().map(line).collect();
        let path = self.folder.join(SUMS);
        let written = disk::replace_text(&path, &text);
        written.map_err(|source| PackError::Write { path, source })?;
        Ok(self.bytes)
    }
}
