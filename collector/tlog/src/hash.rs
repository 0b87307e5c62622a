//! Hashes of RFC 6962: a leaf and a node never have the same, because each has its own first byte.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

pub const HASH_BYTES: usize = 32;
const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// SHA-256 of a leaf, a node or a whole tree. Shown in base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; HASH_BYTES]);

impl Hash {
    /// The root of a tree without leaves.
    #[must_use]
    pub fn empty() -> Self {
        Self(Sha256::digest([]).into())
    }

    #[must_use]
    pub fn leaf(entry: &[u8]) -> Self {
        Self(Sha256::new().chain_update(LEAF).chain_update(entry).finalize().into())
    }

    #[must_use]
    pub fn node(left: &Self, right: &Self) -> Self {
        let hash = Sha256::new().chain_update(NODE).chain_update(left.0).chain_update(right.0);
        Self(hash.finalize().into())
    }

    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The root over hashes of equal subtrees; there must be a power of two of them.
#[must_use]
pub fn over(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Hash::empty(),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            Hash::node(&over(left), &over(right))
        }
    }
}
