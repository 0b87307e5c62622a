//! The right edge of a growing tree: what the next entry needs, at most 255 hashes a level.

use crate::hash::{Hash, over};
use crate::tile::{Shelf, Tile, TileError, WIDTH};

/// The longest entry that a bundle can hold.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// A tree that grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// By level: the hashes of the tile that is not full.
    rows: Vec<Vec<Hash>>,
    /// The bundle that is not full, as its file.
    bundle: Vec<u8>,
}

/// Why a tree cannot be taken up again.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError<E> {
    #[error("{tile} cannot be read")]
    Read { tile: Tile, source: E },
    #[error("{tile} is damaged")]
    Tile { tile: Tile, source: TileError },
    #[error("the hashes of {tile} are not those of its entries")]
    Entries { tile: Tile },
    #[error("the tiles of {size} entries have the root {found}, not {expected}")]
    Root { size: u64, found: Hash, expected: Hash },
}

/// A tile and the bytes of its file.
pub type Written = (Tile, Vec<u8>);

impl Edge {
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds an entry; gives the tiles that it filled.
    ///
    /// # Panics
    /// If the entry is longer than a bundle can hold.
    pub fn push(&mut self, entry: &[u8]) -> Vec<Written> {
        let length = u16::try_from(entry.len()).expect("the caller knows ENTRY_BYTES_MAX");
        self.bundle.extend_from_slice(&length.to_be_bytes());
        self.bundle.extend_from_slice(entry);
        let index = self.size / WIDTH;
        self.size += 1;
        let mut full = Vec::new();
        let mut hash = Hash::leaf(entry);
        if self.size.is_multiple_of(WIDTH) {
            let tile = Tile::new(Shelf::Entries, index, WIDTH).expect("it is full");
            full.push((tile, std::mem::take(&mut self.bundle)));
        }
        for level in 0.. {
            let row = self.row(level);
            row.push(hash);
            if row.len() < usize::try_from(WIDTH).unwrap_or(usize::MAX) {
                break;
            }
            let row = std::mem::take(row);
            hash = over(&row);
            let index = (self.size >> (8 * (u32::from(level) + 1))) - 1;
            let tile = Tile::new(Shelf::Hashes(level), index, WIDTH).expect("it is full");
            full.push((tile, joined(&row)));
        }
        full
    }

    /// The tiles that are not full.
    pub fn partial(&self) -> impl Iterator<Item = Written> {
        let tile = |shelf| Tile::holding(shelf, self.size.saturating_sub(1), self.size);
        let bundle = Some(&self.bundle).filter(|bundle| !bundle.is_empty());
        let bundle = bundle.and_then(|bundle| Some((tile(Shelf::Entries)?, bundle.clone())));
        let rows = (0_u8..).zip(&self.rows).filter_map(|(level, row)| {
            let width = u64::try_from(row.len()).ok()?;
            let index = self.size >> (8 * (u32::from(level) + 1));
            Some((Tile::new(Shelf::Hashes(level), index, width)?, joined(row)))
        });
        bundle.into_iter().chain(rows)
    }

    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = Vec::new();
        for row in self.rows.iter().rev() {
            let mut rest = row.as_slice();
            while !rest.is_empty() {
                let (peak, after) = rest.split_at(1 << rest.len().ilog2());
                peaks.push(over(peak));
                rest = after;
            }
        }
        let joined = peaks.into_iter().rev().reduce(|right, left| Hash::node(&left, &right));
        joined.unwrap_or_else(Hash::empty)
    }

    /// Takes up a tree of this size and root from its tiles, of which it reads one a level.
    ///
    /// # Errors
    /// When a tile cannot be read or contradicts the others or the root.
    pub fn load<E>(
        size: u64,
        root: Hash,
        mut read: impl FnMut(Tile) -> Result<Vec<u8>, E>,
    ) -> Result<Self, EdgeError<E>> {
        let mut edge = Self { size, ..Self::default() };
        let mut read = |tile| read(tile).map_err(|source| EdgeError::Read { tile, source });
        for level in 0..crate::tile::LEVELS {
            let count = size >> (8 * u32::from(level));
            if let Some(tile) = Tile::new(Shelf::Hashes(level), count / WIDTH, count % WIDTH) {
                let bytes = read(tile)?;
                let row = tile.hashes(&bytes).map_err(|source| EdgeError::Tile { tile, source })?;
                *edge.row(level) = row;
            }
        }
        if let Some(tile) = Tile::new(Shelf::Entries, size / WIDTH, size % WIDTH) {
            let bytes = read(tile)?;
            let entries = tile.entries(&bytes);
            let entries = entries.map_err(|source| EdgeError::Tile { tile, source })?;
            let hashes = entries.into_iter().map(Hash::leaf);
            if !hashes.eq(edge.row(0).iter().copied()) {
                return Err(EdgeError::Entries { tile });
            }
            edge.bundle = bytes;
        }
        match edge.root() {
            found if found == root => Ok(edge),
            found => Err(EdgeError::Root { size, found, expected: root }),
        }
    }

    fn row(&mut self, level: u8) -> &mut Vec<Hash> {
        let level = usize::from(level);
        if self.rows.len() <= level {
            self.rows.resize(level + 1, Vec::new());
        }
        self.rows.get_mut(level).expect("made long enough above")
    }
}

fn joined(row: &[Hash]) -> Vec<u8> {
    row.iter().flat_map(|hash| hash.0).collect()
}
