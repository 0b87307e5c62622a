//! The Merkle tree of RFC 6962: its root at any size, and both kinds of proof, made and checked.
//!
//! Making follows the definitions of section 2.1, checking the loops of RFC 9162, sections 2.1.3.2
//! and 2.1.4.2: two ways of saying the same that must agree.

use crate::hash::Hash;

/// Whoever knows the hashes of complete subtrees.
pub trait Hashes {
    type Error;
    /// The root over the 2^level leaves from index · 2^level on. The tree has all of them.
    ///
    /// # Errors
    /// When it cannot be read, or contradicts what is above it.
    fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The root of the first `size` leaves.
///
/// # Errors
/// When a hash cannot be read.
pub fn root<H: Hashes>(hashes: &mut H, size: u64) -> Result<Hash, H::Error> {
    if size == 0 { Ok(Hash::empty()) } else { over(hashes, 0, size) }
}

/// Proves that the leaf at `index` is among the first `size`, which must be more than `index`.
///
/// # Errors
/// When a hash cannot be read.
pub fn inclusion<H: Hashes>(hashes: &mut H, index: u64, size: u64) -> Result<Vec<Hash>, H::Error> {
    assert!(index < size, "a leaf that the tree does not have");
    let mut proof = Vec::new();
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(over(hashes, middle, to)?);
            to = middle;
        } else {
            proof.push(over(hashes, from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proves that the first `old` leaves are the first of the `size` leaves; `old` is at most `size`.
///
/// # Errors
/// When a hash cannot be read.
pub fn consistency<H: Hashes>(hashes: &mut H, old: u64, size: u64) -> Result<Vec<Hash>, H::Error> {
    assert!(old <= size, "a tree that is not that large");
    let mut proof = Vec::new();
    if old == 0 || old == size {
        return Ok(proof);
    }
    // Whether the old tree is what remains: then its root is known and not in the proof.
    let (mut from, mut to, mut is_old_tree) = (0, size, true);
    while old < to {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(over(hashes, middle, to)?);
            to = middle;
        } else {
            proof.push(over(hashes, from, middle)?);
            (from, is_old_tree) = (middle, false);
        }
    }
    if !is_old_tree {
        proof.push(over(hashes, from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether a leaf of this hash is at `index` of the tree with this size and root.
#[must_use]
pub fn check_inclusion(leaf: Hash, index: u64, proof: &[Hash], size: u64, root: Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for part in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = Hash::node(part, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = Hash::node(&hash, part);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == root
}

/// Whether the tree `old` is the beginning of the tree `new`; each is a size and a root.
#[must_use]
pub fn check_consistency(old: (u64, Hash), new: (u64, Hash), proof: &[Hash]) -> bool {
    if old.0 == new.0 || old.0 == 0 || new.0 == 0 {
        let is_same = old == new || (old.0 == 0 && old.1 == Hash::empty() && new.0 > 0);
        return is_same && proof.is_empty();
    }
    if old.0 > new.0 {
        return false;
    }
    let (first, rest) = match proof.split_first() {
        // The old tree is one complete subtree: it begins the proof and is left out of it.
        _ if old.0.is_power_of_two() => (old.1, proof),
        Some((first, rest)) => (*first, rest),
        None => return false,
    };
    let (mut at, mut last) = (old.0 - 1, new.0 - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old_root, mut new_root) = (first, first);
    for part in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_root = Hash::node(part, &old_root);
            new_root = Hash::node(part, &new_root);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new_root = Hash::node(&new_root, part);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old_root == old.1 && new_root == new.1
}

/// The root over the leaves `from..to`, of which the left part is always complete.
fn over<H: Hashes>(hashes: &mut H, from: u64, to: u64) -> Result<Hash, H::Error> {
    let count = to - from;
    if count.is_power_of_two() {
        return hashes.subtree(count.trailing_zeros(), from / count);
    }
    let middle = from + split(count);
    let left = over(hashes, from, middle)?;
    Ok(Hash::node(&left, &over(hashes, middle, to)?))
}

/// The largest power of two below `count`, which is at least 2.
const fn split(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// Leaves in memory; every hash from its definition.
    struct Leaves(Vec<Hash>);

    impl Hashes for Leaves {
        type Error = Infallible;

        fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, Infallible> {
            let (count, index) = (1_usize << level, usize::try_from(index).expect("small"));
            Ok(crate::hash::over(&self.0[index * count..(index + 1) * count]))
        }
    }

    fn leaves(count: u64) -> Leaves {
        Leaves((0..count).map(|index| Hash::leaf(&index.to_be_bytes())).collect())
    }

    fn root_of(count: u64) -> Hash {
        root(&mut leaves(count), count).expect("never")
    }

    /// The test vectors that go about with RFC 6962 (certificate-transparency, merkletree tests).
    #[test]
    fn the_vectors_of_rfc_6962() {
        let entries: [&[u8]; 8] = [
            b"",
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[
                0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
                0x6e, 0x6f,
            ],
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Leaves(entries.map(Hash::leaf).to_vec());
        for (size, hex) in (1..).zip(roots) {
            let root = root(&mut tree, size).expect("never");
            let shown: String = root.0.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(shown, hex, "of {size} leaves");
        }
        let empty: String = Hash::empty().0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(empty, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    /// Goal: a leaf that looks like a node is not one.
    #[test]
    fn leaves_and_nodes_are_told_apart() {
        let (one, two) = (Hash::leaf(b"1"), Hash::leaf(b"2"));
        let forged: Vec<u8> = [[1].as_slice(), &one.0, &two.0].concat();
        assert_ne!(Hash::leaf(&forged), Hash::node(&one, &two));
        assert_ne!(Hash::leaf(&forged[1..]), Hash::node(&one, &two));
    }

    #[test]
    fn every_proof_of_small_trees_holds_and_no_other_size_does() {
        for size in 1..=40_u64 {
            let (mut tree, root_now) = (leaves(size), root_of(size));
            for index in 0..size {
                let proof = inclusion(&mut tree, index, size).expect("never");
                let leaf = Hash::leaf(&index.to_be_bytes());
                assert!(check_inclusion(leaf, index, &proof, size, root_now), "{index} of {size}");
                assert!(!check_inclusion(leaf, index + 1, &proof, size, root_now));
                let other = Hash::leaf(b"other");
                assert!(!check_inclusion(other, index, &proof, size, root_now));
            }
            for old in 0..=size {
                let proof = consistency(&mut tree, old, size).expect("never");
                let (before, now) = ((old, root_of(old)), (size, root_now));
                assert!(check_consistency(before, now, &proof), "{old} of {size}");
                if old > 0 {
                    assert!(!check_consistency((old, Hash::leaf(b"x")), now, &proof));
                    assert!(!check_consistency(before, (size, Hash::leaf(b"x")), &proof));
                }
                let longer: Vec<Hash> = proof.iter().copied().chain([root_now]).collect();
                assert!(!check_consistency(before, now, &longer), "{old} of {size}, and more");
            }
        }
        assert!(!check_inclusion(root_of(1), 0, &[], 0, Hash::empty()), "nothing is in no tree");
        assert!(check_inclusion(root_of(1), 0, &[], 1, root_of(1)), "a tree of one is its leaf");
        assert!(
            !check_consistency((2, root_of(2)), (1, root_of(1)), &[]),
            "a tree does not shrink"
        );
    }

    proptest! {
        /// Goal: nothing that was changed in a proof is believed.
        #[test]
        fn a_changed_proof_is_refused(
            size in 2_u64..700, old in 1_u64..700, place in 0_usize..16, bit in 0_u8..8,
        ) {
            let old = old.min(size - 1);
            let proof = consistency(&mut leaves(size), old, size).expect("never");
            let (before, now) = ((old, root_of(old)), (size, root_of(size)));
            prop_assert!(check_consistency(before, now, &proof));
            let mut changed = proof.clone();
            let place = place % proof.len();
            changed[place].0[0] ^= 1 << bit;
            prop_assert!(!check_consistency(before, now, &changed));
            prop_assert!(!check_consistency(before, now, &proof[1..]));
        }
    }
}
