//! Which sequences of a lane are durable, and with which content: all of the first, the newest of
//! the second. Pure, and bounded whatever is sent.
//!
//! # Invariants
//! - A recorded sequence is known for ever, so it is never booked twice.
//! - At most [`HASHES_MAX`] + [`HASHES_SLACK`] hashes and [`RANGES_MAX`] ranges are kept.
//! - What is not known for certain is said to be so: a sequence below the blur is never called
//!   new and never called the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use bijli_wire::ContentHash;

/// Hashes kept of a lane, 8 bytes each: five and a half hours of batches of 5 s.
pub(super) const HASHES_MAX: usize = 4_096;
/// Trimmed in such steps.
const HASHES_SLACK: usize = 512;
/// Stretches without a hole between. An honest lane has one, and one more per loss.
pub(super) const RANGES_MAX: usize = 1_024;

/// The first 8 bytes of a content hash: enough to tell a duplicate from a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Prefix([u8; 8]);

impl Prefix {
    pub(super) fn of(hash: ContentHash) -> Self {
        Self(*hash.as_bytes().first_chunk::<8>().expect("a hash has 32 bytes"))
    }
}

/// What is known of a durable sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Content(Prefix),
    /// It is durable; its hash is not kept any more.
    Forgotten,
    /// The lane had so many holes that it is not known whether this was one.
    Blurred,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Known {
    /// First and last of each stretch, without a hole in it.
    ranges: BTreeMap<u64, u64>,
    /// By first sequence, the prefixes of consecutive ones.
    runs: BTreeMap<u64, Vec<Prefix>>,
    hashes: usize,
    /// Up to here, ranges were joined across holes.
    blur: u64,
}

impl Known {
    pub(super) fn find(&self, seq: u64) -> Option<Found> {
        let (_, last) = self.ranges.range(..=seq).next_back()?;
        if *last < seq {
            return None;
        }
        let content = self.runs.range(..=seq).next_back().and_then(|(first, run)| {
            run.get(usize::try_from(seq - first).ok()?).copied().map(Found::Content)
        });
        let forgotten = if seq <= self.blur { Found::Blurred } else { Found::Forgotten };
        Some(content.unwrap_or(forgotten))
    }

    /// The last of the stretch that goes on from `seq`; `seq - 1` if it is not there.
    pub(super) fn through(&self, seq: u64) -> u64 {
        let around = self.ranges.range(..=seq).next_back();
        around.map(|(_, last)| *last).filter(|last| *last >= seq).unwrap_or(seq.saturating_sub(1))
    }

    /// The highest that is there; 0: none is.
    pub(super) fn newest(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, last)| *last)
    }

    /// Takes a sequence that is not there yet.
    pub(super) fn record(&mut self, seq: u64, prefix: Prefix) {
        self.record_range(seq);
        self.record_hash(seq, prefix);
        if self.ranges.len() > RANGES_MAX {
            self.blur_eldest();
        }
        if self.hashes >= HASHES_MAX + HASHES_SLACK {
            self.trim();
        }
    }

    fn record_range(&mut self, seq: u64) {
        let before = self.ranges.range_mut(..seq).next_back();
        let joined = before.filter(|(_, last)| last.checked_add(1) == Some(seq));
        let first = match joined {
            Some((first, last)) => {
                *last = seq;
                *first
            }
            None => {
                self.ranges.insert(seq, seq);
                seq
            }
        };
        // The hole behind it may just have been filled.
        if let Some(last) = seq.checked_add(1).and_then(|next| self.ranges.remove(&next)) {
            self.ranges.insert(first, last);
        }
    }

    fn record_hash(&mut self, seq: u64, prefix: Prefix) {
        self.hashes += 1;
        let before = self.runs.range_mut(..seq).next_back();
        let joined = before.filter(|(first, run)| {
            u64::try_from(run.len()).is_ok_and(|length| *first + length == seq)
        });
        let first = match joined {
            Some((first, run)) => {
                run.push(prefix);
                *first
            }
            None => {
                self.runs.insert(seq, vec![prefix]);
                seq
            }
        };
        if let Some(behind) = seq.checked_add(1).and_then(|next| self.runs.remove(&next)) {
            self.runs.entry(first).or_default().extend(behind);
        }
    }

    /// Forgets the hashes of the lowest sequences.
    fn trim(&mut self) {
        let mut surplus = self.hashes.saturating_sub(HASHES_MAX);
        self.hashes -= surplus;
        while surplus > 0
            && let Some((first, mut run)) = self.runs.pop_first()
        {
            let gone = surplus.min(run.len());
            surplus -= gone;
            let kept = run.split_off(gone);
            if !kept.is_empty() {
                let gone = u64::try_from(gone).expect("a run is short");
                self.runs.insert(first + gone, kept);
            }
        }
    }

    /// Joins the two lowest stretches. The hole between them is not a hole any more.
    fn blur_eldest(&mut self) {
        let (Some((first, _)), Some((behind, last))) =
            (self.ranges.pop_first(), self.ranges.pop_first())
        else {
            return;
        };
        self.blur = self.blur.max(behind);
        self.ranges.insert(first, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(of: u64) -> Prefix {
        Prefix(of.to_le_bytes())
    }

    #[test]
    fn old_hashes_are_forgotten_and_old_sequences_are_not() {
        let mut known = Known::default();
        for seq in 1..=20_000 {
            known.record(seq, prefix(seq));
        }
        assert!(known.hashes < HASHES_MAX + HASHES_SLACK);
        assert_eq!(known.find(20_000), Some(Found::Content(prefix(20_000))));
        assert_eq!(known.find(1), Some(Found::Forgotten));
        assert_eq!(
            (known.find(20_001), known.through(1), known.through(20_001)),
            (None, 20_000, 20_000)
        );
    }

    /// Goal: P7. A sender that leaves every second sequence out costs no memory without end.
    #[test]
    fn holes_without_end_are_blurred_and_nothing_is_called_new_twice() {
        let mut known = Known::default();
        for seq in (1..20_000).map(|n| n * 2) {
            known.record(seq, prefix(seq));
        }
        assert!(known.ranges.len() <= RANGES_MAX);
        assert!(known.hashes < HASHES_MAX + HASHES_SLACK);
        assert_eq!(known.find(2), Some(Found::Blurred));
        assert_eq!(known.find(3), Some(Found::Blurred), "it may have been there");
        assert_eq!(known.find(39_997), None);
        assert!((1..20_000).all(|n| known.find(n * 2).is_some()));
    }

    proptest! {
        #[test]
        fn any_order_is_known_like_a_set(
            seqs in proptest::collection::btree_set(1_u64..300, 0..200),
            seed: u64,
        ) {
            let mut order: Vec<u64> = seqs.iter().copied().collect();
            order.sort_by_key(|seq| seq.wrapping_mul(seed | 1).rotate_left(17));
            let mut known = Known::default();
            for seq in order {
                prop_assert_eq!(known.find(seq), None);
                known.record(seq, prefix(seq));
            }
            for seq in 1..302 {
                let expected = seqs.contains(&seq).then(|| Found::Content(prefix(seq)));
                prop_assert_eq!(known.find(seq), expected);
                let through = (seq..).take_while(|s| seqs.contains(s)).last().unwrap_or(seq - 1);
                prop_assert_eq!(known.through(seq), through);
            }
        }
    }
}
