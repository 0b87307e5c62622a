//! A snapshot's file: a head of fixed width, both parts compressed, and a hash over all.

use bijli_seglog::RecordSeq;
use sha2::{Digest as _, Sha256};

use super::pack::unpack;
use super::{Loaded, Taken};
use crate::frame::FrameDigest;

const MAGIC: &[u8; 8] = b"BIJLISNP";
/// Of everything in the file. A version reads its own and says so of others: then the journal is
/// replayed from an elder snapshot, or from its beginning.
const VERSION: u32 = 4;
const HEAD_BYTES: usize = 8 + 4 + 8 + 32 + 8 + 8 + 32 + 8 + 8;
const HASH_BYTES: usize = 32;
/// No snapshot of a hub is larger; a head that says otherwise is not ours.
const BOOKS_BYTES_MAX: u64 = 64 << 30;

/// Why bytes are no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read it")]
    Read(#[source] std::io::Error),
    #[error("{found} bytes are no snapshot")]
    Short { found: usize },
    #[error("it is no snapshot of bijli")]
    Magic,
    #[error("it is of version {found}, this program reads {VERSION}")]
    Version { found: u32 },
    #[error("its bytes are not those that were written")]
    Hash,
    #[error("it is the one after record {record}, in a wrong place")]
    Misplaced { record: RecordSeq },
    #[error("its lengths contradict each other")]
    Lengths,
    #[error("it cannot be decompressed")]
    Unpack(#[source] std::io::Error),
}

/// A snapshot and the digest of the record that it stands after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) digest: FrameDigest,
    pub(super) loaded: Loaded,
}

pub(super) fn encode(taken: &Taken) -> Vec<u8> {
    let Taken { record, digest, next_leaf, bytes, sha256, books, views } = taken;
    let length = |part: &[u8]| u64::try_from(part.len()).expect("a length fits").to_le_bytes();
    let mut file = Vec::with_capacity(HEAD_BYTES + books.len() + views.len() + HASH_BYTES);
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend_from_slice(&record.get().to_le_bytes());
    file.extend_from_slice(&digest.0);
    file.extend_from_slice(&next_leaf.to_le_bytes());
    file.extend_from_slice(&bytes.to_le_bytes());
    file.extend_from_slice(sha256);
    file.extend_from_slice(&length(books));
    file.extend_from_slice(&length(views));
    file.extend_from_slice(books);
    file.extend_from_slice(views);
    let hash = Sha256::digest(&file);
    file.extend_from_slice(&hash);
    file
}

/// Checks and decompresses a file. The books' bytes have their own hash, which leaves name.
pub(super) fn decode(file: &[u8]) -> Result<Read, FileError> {
    let short = || FileError::Short { found: file.len() };
    let body = file.len().checked_sub(HASH_BYTES).filter(|body| *body >= HEAD_BYTES);
    let (body, hash) = file.split_at_checked(body.ok_or_else(short)?).ok_or_else(short)?;
    let mut head = Head(body);
    if head.take::<8>().ok_or_else(short)? != *MAGIC {
        return Err(FileError::Magic);
    }
    let version = u32::from_le_bytes(head.take::<4>().ok_or_else(short)?);
    if version != VERSION {
        return Err(FileError::Version { found: version });
    }
    if Sha256::digest(body)[..] != *hash {
        return Err(FileError::Hash);
    }
    let record = RecordSeq::new(head.u64().ok_or_else(short)?);
    let digest = FrameDigest(head.take::<32>().ok_or_else(short)?);
    let (next_leaf, bytes) = (head.u64().ok_or_else(short)?, head.u64().ok_or_else(short)?);
    let sha256 = head.take::<32>().ok_or_else(short)?;
    let (books, views) = (head.u64().ok_or_else(short)?, head.u64().ok_or_else(short)?);
    let (books, rest) = split(head.0, books).ok_or(FileError::Lengths)?;
    let (views, rest) = split(rest, views).ok_or(FileError::Lengths)?;
    if !rest.is_empty() || bytes > BOOKS_BYTES_MAX {
        return Err(FileError::Lengths);
    }
    let books = unpack(books, bytes).map_err(FileError::Unpack)?;
    let views = unpack(views, BOOKS_BYTES_MAX).map_err(FileError::Unpack)?;
    if u64::try_from(books.len()).ok() != Some(bytes) || Sha256::digest(&books)[..] != sha256 {
        return Err(FileError::Hash);
    }
    Ok(Read { digest, loaded: Loaded { record, next_leaf, sha256, books, views } })
}

fn split(bytes: &[u8], at: u64) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(usize::try_from(at).ok()?)
}

struct Head<'a>(&'a [u8]);

impl Head<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (found, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*found)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take::<8>().map(u64::from_le_bytes)
    }
}
