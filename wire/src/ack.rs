//! The collector's word that a batch is durable.
//!
//! An agent believes an ack only if epoch, sequence and hash are those of the batch that it sent:
//! a captive portal's 200 says nothing.

use serde::{Deserialize, Serialize};

use crate::id::{BatchSeq, ContentHash, SpoolEpoch};

/// Body of a 200 to `POST /v1/batches`, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Spool epoch, 32 hexadecimal digits.
    pub epoch: String,
    /// Sequence, a decimal string: 64 bits do not fit a JSON number everywhere.
    pub sequence: String,
    /// SHA-256 of the body as received, 64 hexadecimal digits.
    pub hash: String,
    pub verdict: AckVerdict,
    /// How many batches this sender may have under way now; absent from older collectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits: Option<u8>,
    /// True on a duplicate of long ago: the sequence is on disk, and with which content is not
    /// remembered any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unverified: bool,
    /// The collector's clock, milliseconds since 1970 UTC; absent from older collectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc_ms: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this shape")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Whether the batch was new. Both mean: on disk, fsynced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckVerdict {
    Accepted,
    Duplicate,
}

impl Ack {
    #[must_use]
    pub fn new(
        epoch: SpoolEpoch,
        sequence: BatchSeq,
        hash: ContentHash,
        verdict: AckVerdict,
    ) -> Self {
        Self {
            epoch: epoch.to_string(),
            sequence: sequence.to_string(),
            hash: hash.to_string(),
            verdict,
            credits: None,
            unverified: false,
            utc_ms: None,
        }
    }

    /// Whether this ack is for exactly this batch.
    #[must_use]
    pub fn names(&self, epoch: SpoolEpoch, sequence: BatchSeq, hash: ContentHash) -> bool {
        self.epoch.parse() == Ok(epoch)
            && self.sequence.parse() == Ok(sequence.get())
            && self.hash.parse() == Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_for_another_batch_is_not_believed() {
        let (epoch, hash) = (SpoolEpoch::new([7; 16]), ContentHash::new([9; 32]));
        let seven = BatchSeq::new(7).expect("not zero");
        let ack = Ack::new(epoch, seven, hash, AckVerdict::Accepted);
        assert!(ack.names(epoch, seven, hash));
        assert!(!ack.names(SpoolEpoch::new([8; 16]), seven, hash));
        assert!(!ack.names(epoch, seven.next(), hash));
        assert!(!ack.names(epoch, seven, ContentHash::new([0; 32])));
    }
}
