//! What a snapshot keeps of the lanes: all that follows from the journal, and nothing else.

use std::collections::BTreeMap;

use bijli_wire::UtcMillis;
use serde::Serialize;

use super::super::known::Known;
use super::{Admission, Lane, LaneKey};

/// Lanes as a snapshot writes them; read back as an [`Admission`], field by field.
#[derive(Debug, Serialize)]
pub struct KeptLanes<'a, K> {
    lanes: BTreeMap<&'a LaneKey, KeptLane<'a, K>>,
    skips: u64,
}

#[derive(Debug, Serialize)]
struct KeptLane<'a, K> {
    next: u64,
    floor: u64,
    known: &'a Known,
    held: BTreeMap<u64, K>,
    is_begun: bool,
    left: Option<UtcMillis>,
}

impl<T> Admission<T> {
    /// The lanes to be kept, with `keep` for what they hold back. A lane of which nothing is in
    /// the journal is the door's own affair.
    pub fn kept<K>(&self, keep: impl Fn(&T) -> K) -> KeptLanes<'_, K> {
        let begun = self.lanes.iter().filter(|(_, lane)| lane.is_begun);
        let lanes = begun.map(|(key, lane)| {
            let held = lane.held.iter().map(|(seq, item)| (*seq, keep(item))).collect();
            let Lane { next, floor, known, is_begun, left, .. } = lane;
            let (next, floor, is_begun, left) = (*next, *floor, *is_begun, *left);
            (key, KeptLane { next, floor, known, held, is_begun, left })
        });
        KeptLanes { lanes: lanes.collect(), skips: self.skips }
    }

    /// The same lanes with other items.
    #[must_use]
    pub fn map<K>(self, mut make: impl FnMut(T) -> K) -> Admission<K> {
        let lanes = self.lanes.into_iter().map(|(key, lane)| {
            let Lane { next, floor, known, held, in_flight, stalled, is_begun, left } = lane;
            let held = held.into_iter().map(|(seq, item)| (seq, make(item))).collect();
            (key, Lane { next, floor, known, held, in_flight, stalled, is_begun, left })
        });
        Admission { lanes: lanes.collect(), skips: self.skips }
    }
}
