//! A transparency log as the C2SP writes it down: what a log signs, what a witness adds to it, and
//! what an auditor checks with no word of ours.
//!
//! Pure: bytes, hashes and keys in, bytes out. Files, clocks and sockets are the collector's.
//!
//! - `hash`, `tree`: the Merkle tree of RFC 6962, proofs made and checked.
//! - `tile`, `edge`, `tiles`: the same tree as static files, written at its edge, read anywhere.
//! - `key`, `note`: signed notes. `checkpoint`: a tree's size and root in one, and cosignatures.
//! - `policy`: whose cosignatures are enough. `proof`: all of it about one entry, in a text.
//! - `witness`: what a witness is told and answers.
//!
//! # Invariants
//! - What has one form is taken in that form only: numbers without leading zeroes, base64 with its
//!   padding, no tile without an entry. So equal things are equal bytes.
//! - A signature by a known key that does not verify condemns the note; one by an unknown key is
//!   passed over.
//!
//! The formats, and what of them this house chose, are in `docs/formats/tlog.md`.

pub mod checkpoint;
pub mod edge;
pub mod hash;
pub mod key;
pub mod note;
pub mod policy;
pub mod proof;
pub mod tile;
pub mod tiles;
pub mod tree;
pub mod witness;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use edge::{ENTRY_BYTES_MAX, Edge};
pub use hash::Hash;
pub use key::{KeyError, KeyKind, SigningKey, VerifierKey};
pub use note::{Note, NoteError, Signature};
pub use policy::{Policy, PolicyError};
pub use proof::Proof;
pub use tile::{Shelf, Tile, TileError};
pub use tiles::Tiles;
pub use tree::{Hashes, check_consistency, check_inclusion};

/// A number in decimal without leading zeroes, sign or space.
pub(crate) fn number(text: &str) -> Option<u64> {
    let is_one_form = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_one_form)
}
