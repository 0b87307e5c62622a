//! Hashes of a tree from its tiles.

use std::collections::BTreeMap;

use crate::hash::{Hash, over};
use crate::tile::{Shelf, Tile, TileError, WIDTH};
use crate::tree::Hashes;

/// Tiles that are kept in memory; a proof needs a few.
const KEPT_MAX: usize = 64;

/// Reads the hashes of a tree of a given size.
#[derive(Debug)]
pub struct Tiles<R> {
    size: u64,
    read: R,
    kept: BTreeMap<Tile, Vec<Hash>>,
}

/// Why a hash is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum TilesError<E> {
    #[error("{tile} cannot be read")]
    Read { tile: Tile, source: E },
    #[error("{tile} is damaged")]
    Tile { tile: Tile, source: TileError },
    #[error("the tree has no leaves where they were asked for")]
    Beyond,
}

impl<R, E> Tiles<R>
where
    R: FnMut(Tile) -> Result<Vec<u8>, E>,
{
    pub const fn new(size: u64, read: R) -> Self {
        Self { size, read, kept: BTreeMap::new() }
    }

    fn tile(&mut self, tile: Tile) -> Result<&[Hash], TilesError<E>> {
        if !self.kept.contains_key(&tile) {
            let bytes = (self.read)(tile).map_err(|source| TilesError::Read { tile, source })?;
            let hashes = tile.hashes(&bytes);
            let hashes = hashes.map_err(|source| TilesError::Tile { tile, source })?;
            if self.kept.len() >= KEPT_MAX {
                self.kept.clear();
            }
            self.kept.insert(tile, hashes);
        }
        Ok(self.kept.get(&tile).map(Vec::as_slice).unwrap_or_default())
    }
}

impl<R, E> Hashes for Tiles<R>
where
    R: FnMut(Tile) -> Result<Vec<u8>, E>,
{
    type Error = TilesError<E>;

    fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        let shelf = Shelf::Hashes(u8::try_from(level / 8).unwrap_or(u8::MAX));
        let height = level % 8;
        let first = index << height;
        let tile = Tile::holding(shelf, first, self.size).ok_or(TilesError::Beyond)?;
        let from = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
        let hashes = self.tile(tile)?;
        let part = hashes.get(from..from.saturating_add(1 << height));
        part.map(over).ok_or(TilesError::Beyond)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::edge::Edge;
    use crate::tree;

    type Files = BTreeMap<String, Vec<u8>>;

    fn entry(index: u64) -> Vec<u8> {
        vec![u8::try_from(index % 251).expect("small"); usize::try_from(index % 40).expect("small")]
    }

    /// A log of so many entries, as its files.
    fn log(size: u64) -> (Edge, Files) {
        let (mut edge, mut files) = (Edge::default(), Files::new());
        for index in 0..size {
            let full = edge.push(&entry(index));
            files.extend(full.into_iter().map(|(tile, bytes)| (tile.path(), bytes)));
        }
        files.extend(edge.partial().map(|(tile, bytes)| (tile.path(), bytes)));
        (edge, files)
    }

    fn reading(files: &Files) -> impl FnMut(Tile) -> Result<Vec<u8>, String> + '_ {
        |tile| files.get(&tile.path()).cloned().ok_or_else(|| tile.path())
    }

    /// Goal: sizes on both sides of every change of shape, powers of 256 among them.
    #[test]
    fn the_files_are_those_that_a_tree_has_and_give_its_root() {
        for size in [0, 1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 65_792] {
            let (edge, files) = log(size);
            let mut names: Vec<String> = Tile::all(size).map(|tile| tile.path()).collect();
            names.sort();
            assert_eq!(files.keys().cloned().collect::<Vec<_>>(), names, "of {size}");
            let root = tree::root(&mut Tiles::new(size, reading(&files)), size).expect("readable");
            assert_eq!(root, edge.root(), "of {size}");
            let again = Edge::load(size, root, reading(&files)).expect("whole");
            assert_eq!(again, normal(edge), "of {size}");
        }
    }

    /// Rows that are empty at the top are the same as none.
    fn normal(edge: Edge) -> Edge {
        let size = edge.size();
        let files: Files = edge.partial().map(|(tile, bytes)| (tile.path(), bytes)).collect();
        Edge::load(size, edge.root(), reading(&files)).expect("whole")
    }

    #[test]
    fn an_edge_that_is_taken_up_goes_on_as_if_it_had_not_stopped() {
        let (whole, _) = log(700);
        let (edge, files) = log(513);
        let mut edge = Edge::load(513, edge.root(), reading(&files)).expect("whole");
        (513..700).for_each(|index| drop(edge.push(&entry(index))));
        assert_eq!(edge.root(), whole.root());
    }

    #[test]
    fn a_flipped_bit_in_a_small_edge_is_found() {
        let (edge, files) = log(300);
        for path in files.keys().filter(|path| path.contains(".p/")) {
            for place in 0..files[path].len() {
                let mut files = files.clone();
                files.get_mut(path).expect("there")[place] ^= 4;
                let loaded = Edge::load(300, edge.root(), reading(&files));
                assert!(loaded.is_err(), "byte {place} of {path}");
            }
        }
    }

    proptest! {
        #[test]
        fn proofs_from_tiles_hold(
            size in 1_u64..1_500, index in 0_u64..1_500, old in 0_u64..1_500,
        ) {
            let (index, old) = (index % size, old % (size + 1));
            let (edge, files) = log(size);
            let mut tiles = Tiles::new(size, reading(&files));
            let proof = tree::inclusion(&mut tiles, index, size).expect("readable");
            let leaf = Hash::leaf(&entry(index));
            prop_assert!(tree::check_inclusion(leaf, index, &proof, size, edge.root()));
            let proof = tree::consistency(&mut tiles, old, size).expect("readable");
            let before = (old, log(old).0.root());
            prop_assert!(tree::check_consistency(before, (size, edge.root()), &proof));
        }
    }
}
