//! The log of one hub: its tree's edge in memory, its tiles on disk.

use std::io;
use std::path::Path;

use bijli_ledger::Leaf;
use bijli_ledger::leaf::Body;
use bijli_seglog::Disk;
use bijli_tlog::edge::EdgeError;
use bijli_tlog::hash::over;
use bijli_tlog::tile::{LEVELS, WIDTH};
use bijli_tlog::tiles::TilesError;
use bijli_tlog::{Checkpoint, Edge, Hash, Note, Shelf, Tile, Tiles, tree};
use bijli_wire::HubId;

use super::files::{FileError, Files};
use super::name::folder;
use crate::journal::chain;

const HEAD: &str = "head";
const FIRST: &str = "first";
/// The index of an entry that is not of the ledger log.
pub const NO_INDEX: u64 = u64::MAX;
const INDEX_BYTES: usize = 8;

/// A hub's log.
#[derive(Debug)]
pub struct Tree<D: Disk> {
    pub hub: HubId,
    pub origin: String,
    pub files: Files<D>,
    edge: Edge,
    /// Ledger index of the last entry; `None`: it has none of the ledger log.
    last: Option<u64>,
    /// Entries that are durable as tiles.
    flushed: u64,
    /// Whether the last entry ends a posting.
    is_whole: bool,
    /// Tiles that have become full since.
    filled: Vec<Tile>,
    /// The next bundle to be looked at again.
    checked: u64,
}

impl<D: Disk> Tree<D> {
    /// Takes up what there is. Tiles that do not fit each other are made again from the ledger
    /// log: then it begins with nothing.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(disk: D, dir: &Path, hub: &HubId, base: &str) -> Result<Self, FileError> {
        let files = Files::new(disk, &dir.join(folder(hub)));
        let first = files.read(FIRST)?;
        let succeeds = first.as_deref().and_then(succeeded);
        let generation = succeeds.map_or(1, |old| super::generation(&old.origin) + 1);
        let origin = super::origin(base, hub, generation);
        let (edge, last) = match Self::load(&files)? {
            Some((edge, last)) => (edge, last),
            None => (Self::begun(first.as_deref()), None),
        };
        let flushed = if last.is_some() { edge.size() } else { 0 };
        let (hub, is_whole, filled, checked) = (hub.clone(), true, Vec::new(), 0);
        Ok(Self { hub, origin, files, edge, last, flushed, is_whole, filled, checked })
    }

    /// The edge and the last ledger index of what the head says.
    fn load(files: &Files<D>) -> Result<Option<(Edge, Option<u64>)>, FileError> {
        let Some(head) = files.text(HEAD)? else { return Ok(None) };
        let loaded = Checkpoint::parse(&head).map_err(|error| chain(&error)).and_then(|head| {
            let edge = Edge::load(head.size, head.root, |tile| files.tile(tile));
            let edge = edge.map_err(|error: EdgeError<io::Error>| chain(&error))?;
            let last = last_index(files, head.size).map_err(|error| chain(&error))?;
            Ok((edge, last))
        });
        match loaded {
            Ok((edge, Some(last))) => Ok(Some((edge, Some(last)))),
            Ok((_, None)) => Ok(None),
            Err(error) => {
                let dir = files.dir().display();
                tracing::error!(%dir, error, "the tiles are made again from the ledger log");
                Ok(None)
            }
        }
    }

    fn begun(first: Option<&[u8]>) -> Edge {
        let mut edge = Edge::default();
        if let Some(first) = first {
            let full = edge.push(first);
            debug_assert!(full.is_empty(), "one entry fills no tile");
        }
        edge
    }

    /// Begins again with nothing, to be made again from the ledger log.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn restart(&mut self) -> Result<(), FileError> {
        self.edge = Self::begun(self.files.read(FIRST)?.as_deref());
        (self.last, self.flushed, self.is_whole, self.checked) = (None, 0, true, 0);
        self.filled.clear();
        Ok(())
    }

    #[must_use]
    pub const fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Entries that are durable as tiles.
    #[must_use]
    pub const fn flushed(&self) -> u64 {
        self.flushed
    }

    /// Whether it has an entry of the ledger log.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.last.is_some()
    }

    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    #[must_use]
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// The next leaf of the ledger log that is this hub's; one that is there already is passed.
    ///
    /// # Errors
    /// When the disk fails: then the tree in memory is ahead of it and must be opened anew.
    pub fn push(&mut self, index: u64, leaf: &[u8], is_whole: bool) -> Result<(), FileError> {
        if self.last.is_some_and(|last| index <= last) {
            return Ok(());
        }
        let entry = [&index.to_le_bytes()[..], leaf].concat();
        for (tile, bytes) in self.edge.push(&entry) {
            self.files.write(&tile.path(), &bytes)?;
            self.filled.push(tile);
        }
        (self.last, self.is_whole) = (Some(index), is_whole);
        Ok(())
    }

    /// Makes everything so far durable: tiles first, then the head that names them.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn flush(&mut self) -> Result<(), FileError> {
        if self.flushed == self.size() {
            return Ok(());
        }
        for (tile, bytes) in self.edge.partial() {
            self.files.write(&tile.path(), &bytes)?;
        }
        let head = self.checkpoint().text();
        self.files.write(HEAD, head.as_bytes())?;
        self.flushed = self.size();
        for tile in std::mem::take(&mut self.filled) {
            self.files.forget_parts(tile);
        }
        Ok(())
    }

    /// What may be signed of it now.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let (origin, size, root) = (self.origin.clone(), self.size(), self.root());
        Checkpoint { origin, size, root }
    }

    fn tiles(&self) -> Tiles<impl FnMut(Tile) -> io::Result<Vec<u8>>> {
        Tiles::new(self.flushed, |tile| self.files.tile(tile))
    }

    /// The root that it had at a size, by its tiles.
    ///
    /// # Errors
    /// When a tile cannot be read.
    pub fn root_at(&self, size: u64) -> Result<Hash, TilesError<io::Error>> {
        tree::root(&mut self.tiles(), size)
    }

    /// # Errors
    /// When a tile cannot be read.
    pub fn consistency(&self, old: u64) -> Result<Vec<Hash>, TilesError<io::Error>> {
        tree::consistency(&mut self.tiles(), old, self.flushed)
    }

    /// Looks at the next bundle again, and at the tiles above it; what is wrong, in words.
    pub fn check_next(&mut self) -> Option<String> {
        let bundle = self.checked;
        if bundle * WIDTH >= self.flushed {
            return None;
        }
        self.checked += 1;
        self.check(bundle).err()
    }

    /// Whether every bundle was looked at since [`Tree::check_anew`].
    #[must_use]
    pub const fn is_checked(&self) -> bool {
        self.checked * WIDTH >= self.flushed
    }

    pub const fn check_anew(&mut self) {
        self.checked = 0;
    }

    fn check(&self, bundle: u64) -> Result<(), String> {
        let read = |shelf, at| {
            let tile = Tile::holding(shelf, at, self.flushed).ok_or("the tree has no such tile")?;
            let bytes = self.files.tile(tile).map_err(|error| format!("{tile}: {error}"))?;
            Ok::<_, String>((tile, bytes))
        };
        let (tile, bytes) = read(Shelf::Entries, bundle * WIDTH)?;
        let entries = tile.entries(&bytes).map_err(|error| format!("{tile}: {error}"))?;
        let row: Vec<Hash> = entries.into_iter().map(Hash::leaf).collect();
        let (mut index, mut below) = (bundle, None);
        for level in 0..LEVELS {
            let (tile, bytes) = read(Shelf::Hashes(level), index * WIDTH)?;
            let hashes = tile.hashes(&bytes).map_err(|error| format!("{tile}: {error}"))?;
            let is_right = match below {
                None => hashes == row,
                Some((place, hash)) => hashes.get(place) == Some(&hash),
            };
            if !is_right {
                return Err(format!("{tile} has not the hash of what is below it"));
            }
            if !tile.is_full() {
                break;
            }
            let place = usize::try_from(index % WIDTH).unwrap_or(usize::MAX);
            (index, below) = (index / WIDTH, Some((place, over(&hashes))));
        }
        Ok(())
    }
}

/// The ledger index of the last of so many entries.
fn last_index<D: Disk>(files: &Files<D>, size: u64) -> io::Result<Option<u64>> {
    let Some(tile) = size.checked_sub(1).and_then(|at| Tile::holding(Shelf::Entries, at, size))
    else {
        return Ok(None);
    };
    let bytes = files.tile(tile)?;
    let entries = tile.entries(&bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    let index = entries.last().and_then(|entry| split(entry)).map(|(index, _)| index);
    let index = index.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(index).filter(|index| *index != NO_INDEX))
}

/// The ledger index and the leaf of an entry.
#[must_use]
pub fn split(entry: &[u8]) -> Option<(u64, &[u8])> {
    let (index, leaf) = entry.split_first_chunk::<INDEX_BYTES>()?;
    Some((u64::from_le_bytes(*index), leaf))
}

/// The checkpoint of the log that an entry says it succeeds.
#[must_use]
pub fn succeeded(entry: &[u8]) -> Option<Checkpoint> {
    let (NO_INDEX, leaf) = split(entry)? else { return None };
    let Body::Statement(said) = Leaf::decode(leaf).ok()?.body else { return None };
    let note = Note::parse(&said.text).ok()?;
    Checkpoint::parse(note.text()).ok()
}
