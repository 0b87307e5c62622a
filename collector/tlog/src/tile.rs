//! Tiles: the tree cut into static files of up to 256 hashes or entries, and their names.
//!
//! # Layout
//! ```text
//! tile/<level>/<N>          256 hashes of 32 bytes, each over 256^level leaves
//! tile/entries/<N>          256 entries, each with its length before it in two bytes, big-endian
//! ...<N>.p/<width>          the same while there are only `width` of them, 1 to 255
//! <N>                       in groups of three digits: 1234067 is x001/x234/067
//! ```

use std::fmt;

use crate::hash::{HASH_BYTES, Hash};
use crate::number;

/// Hashes or entries of a full tile.
pub const WIDTH: u64 = 256;
/// Levels of tiles that a tree of 2^64 leaves has.
pub const LEVELS: u8 = 8;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shelf {
    Entries,
    /// Hashes over 256^level leaves each.
    Hashes(u8),
}

/// The place of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    pub shelf: Shelf,
    pub index: u64,
    /// 1 to 256: there is no tile of nothing.
    width: u16,
}

/// Why bytes are no tile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    #[error("{found} bytes are not {expected} hashes")]
    Hashes { found: usize, expected: u16 },
    #[error("entry {number} of the bundle is cut")]
    Cut { number: u16 },
    #[error("{more} bytes are after the {expected} entries of the bundle")]
    More { more: usize, expected: u16 },
}

impl Tile {
    /// `None`: nothing, or too much, is in it.
    #[must_use]
    pub fn new(shelf: Shelf, index: u64, width: u64) -> Option<Self> {
        let is_level = !matches!(shelf, Shelf::Hashes(level) if level >= LEVELS);
        let width = u16::try_from(width).ok().filter(|_| (1..=WIDTH).contains(&width) && is_level);
        width.map(|width| Self { shelf, index, width })
    }

    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == WIDTH
    }

    /// The same tile when it is full.
    #[must_use]
    pub fn full(self) -> Self {
        Self { width: 256, ..self }
    }

    /// The tile that has hash or entry number `at` of its shelf in a tree of `size`.
    #[must_use]
    pub fn holding(shelf: Shelf, at: u64, size: u64) -> Option<Self> {
        let count = count(shelf, size);
        let index = at / WIDTH;
        let width = count.checked_sub(index * WIDTH)?;
        Self::new(shelf, index, width.min(WIDTH))
    }

    /// Every tile of a tree, entries first, then level by level from the leaves up.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        let shelves = std::iter::once(Shelf::Entries).chain((0..LEVELS).map(Shelf::Hashes));
        shelves.flat_map(move |shelf| {
            let tiles = count(shelf, size).div_ceil(WIDTH);
            (0..tiles).filter_map(move |index| Self::holding(shelf, index * WIDTH, size))
        })
    }

    /// Its file below the log's.
    #[must_use]
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// Reads a path back; only the one form is taken.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("tile/")?;
        let (shelf, rest) = rest.split_once('/')?;
        let shelf = match shelf {
            "entries" => Shelf::Entries,
            level => Shelf::Hashes(u8::try_from(number(level)?).ok()?),
        };
        let (name, width) = match rest.split_once(".p/") {
            None => (rest, WIDTH),
            Some((name, width)) => (name, number(width).filter(|width| *width < WIDTH)?),
        };
        let mut index = 0_u64;
        for group in name.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            index = index.checked_mul(1_000)?.checked_add(digits.parse().ok()?)?;
        }
        Self::new(shelf, index, width).filter(|tile| tile.path() == path)
    }

    /// The hashes of a tile's file.
    ///
    /// # Errors
    /// When there are more or fewer than it must have.
    pub fn hashes(&self, bytes: &[u8]) -> Result<Vec<Hash>, TileError> {
        let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
        if hashes.len() != usize::from(self.width) || !rest.is_empty() {
            return Err(TileError::Hashes { found: bytes.len(), expected: self.width });
        }
        Ok(hashes.iter().copied().map(Hash).collect())
    }

    /// The entries of a bundle's file.
    ///
    /// # Errors
    /// When there are more or fewer than it must have.
    pub fn entries<'a>(&self, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>, TileError> {
        let (entries, rest) = self.first_entries(bytes)?;
        match rest.len() {
            0 => Ok(entries),
            more => Err(TileError::More { more, expected: self.width }),
        }
    }

    /// As much of a full tile's file as this one has: both must be there where the other is gone.
    ///
    /// # Errors
    /// When there is less.
    pub fn part_of_full<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], TileError> {
        let length = match self.shelf {
            Shelf::Hashes(_) => usize::from(self.width) * HASH_BYTES,
            Shelf::Entries => bytes.len() - self.first_entries(bytes)?.1.len(),
        };
        let expected = self.width;
        bytes.get(..length).ok_or(TileError::Hashes { found: bytes.len(), expected })
    }

    fn first_entries<'a>(&self, bytes: &'a [u8]) -> Result<(Vec<&'a [u8]>, &'a [u8]), TileError> {
        let (mut entries, mut rest) = (Vec::new(), bytes);
        for number in 0..self.width {
            let cut = TileError::Cut { number };
            let (length, after) = rest.split_first_chunk::<2>().ok_or(cut.clone())?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (entry, after) = after.split_at_checked(length).ok_or(cut)?;
            entries.push(entry);
            rest = after;
        }
        Ok((entries, rest))
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shelf {
            Shelf::Entries => f.write_str("tile/entries/")?,
            Shelf::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let digits = self.index.to_string();
        let groups = digits.len().div_ceil(3);
        let digits = format!("{digits:0>width$}", width = groups * 3);
        for group in 0..groups {
            let mark = if group + 1 < groups { "x" } else { "" };
            let slash = if group == 0 { "" } else { "/" };
            let part = digits.get(group * 3..group * 3 + 3).unwrap_or_default();
            write!(f, "{slash}{mark}{part}")?;
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

/// How many hashes or entries a shelf has in a tree of `size`.
fn count(shelf: Shelf, size: u64) -> u64 {
    match shelf {
        Shelf::Entries => size,
        Shelf::Hashes(level) => size.checked_shr(u32::from(level) * 8).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_spec() {
        let path = |shelf, index, width| Tile::new(shelf, index, width).expect("one").path();
        assert_eq!(path(Shelf::Hashes(0), 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(path(Shelf::Hashes(1), 0, 1), "tile/1/000.p/1");
        assert_eq!(path(Shelf::Entries, 273, 112), "tile/entries/273.p/112");
        assert_eq!(path(Shelf::Entries, 1_000, 256), "tile/entries/x001/000");
    }

    #[test]
    fn only_the_one_form_of_a_path_is_read() {
        for path in ["tile/0/x001/x234/067", "tile/7/000.p/255", "tile/entries/999"] {
            assert_eq!(Tile::parse(path).expect("a tile").path(), path);
        }
        for path in [
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/8/000",
            "tile/00/000",
            "tile/0/x000/001",
            "tile/0/1",
            "tile/0/001/002",
            "tile/0/../../x",
            "tile/entries/",
            "tile/0/x99x",
            "/tile/0/000",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(Tile::parse(path), None, "{path}");
        }
    }

    #[test]
    fn there_is_no_tile_of_nothing() {
        assert_eq!(Tile::new(Shelf::Entries, 0, 0), None);
        let names = |size| Tile::all(size).map(|tile| tile.path()).collect::<Vec<_>>();
        assert_eq!(names(0), Vec::<String>::new());
        assert_eq!(names(1), ["tile/entries/000.p/1", "tile/0/000.p/1"]);
        assert_eq!(names(256), ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
        let size = 65_536;
        let count = |level| Tile::all(size).filter(|one| one.shelf == Shelf::Hashes(level)).count();
        assert_eq!((count(0), count(1), count(2)), (256, 1, 1));
        assert!(Tile::all(size).all(|tile| tile.is_full() || tile.shelf == Shelf::Hashes(2)));
    }

    #[test]
    fn bundles_have_exactly_their_entries() {
        let tile = Tile::new(Shelf::Entries, 0, 2).expect("one");
        let bytes = [0, 1, 7, 0, 0];
        assert_eq!(tile.entries(&bytes), Ok(vec![&[7][..], &[][..]]));
        assert_eq!(tile.entries(&bytes[..4]), Err(TileError::Cut { number: 1 }));
        assert!(tile.entries(&[0, 1, 7, 0, 0, 0]).is_err());
        let one = Tile::new(Shelf::Entries, 0, 1).expect("one");
        assert_eq!(one.part_of_full(&bytes), Ok(&bytes[..3]));
    }
}
