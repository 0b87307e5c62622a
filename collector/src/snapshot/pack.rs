//! Hashes and compresses what is written to it, a little at a time, so that a snapshot of a large
//! hub never lies in memory as it is.

use std::io::{self, Read as _, Write};

use sha2::{Digest as _, Sha256};
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

/// Fast, and still a quarter of the size: a snapshot is written every gigabyte of journal.
const LEVEL: i32 = 1;
const BLOCK_BYTES: usize = 64 << 10;

/// Takes bytes, and tells their number, their hash, and themselves compressed.
pub struct Packer {
    block: Vec<u8>,
    bytes: u64,
    hash: Sha256,
    encoder: Encoder<'static, Vec<u8>>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Packer {
    #[must_use]
    pub fn new() -> Self {
        let encoder = Encoder::new(Vec::new(), LEVEL).expect("a level that there is");
        Self { block: Vec::with_capacity(BLOCK_BYTES), bytes: 0, hash: Sha256::new(), encoder }
    }

    /// The bytes compressed, their number before it, and their hash.
    #[must_use]
    pub fn finish(mut self) -> (Vec<u8>, u64, [u8; 32]) {
        self.turn().expect("memory takes any bytes");
        let packed = self.encoder.finish().expect("memory takes any bytes");
        (packed, self.bytes, self.hash.finalize().into())
    }

    fn turn(&mut self) -> io::Result<()> {
        self.hash.update(&self.block);
        self.bytes += u64::try_from(self.block.len()).expect("a length fits");
        self.encoder.write_all(&self.block)?;
        self.block.clear();
        Ok(())
    }
}

/// What was packed, if it is no larger than this; one byte more says that it is.
pub(super) fn unpack(packed: &[u8], bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Decoder::new(packed)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Default for Packer {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() + bytes.len() > BLOCK_BYTES {
            self.turn()?;
        }
        self.block.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
