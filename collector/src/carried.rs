//! Batches on their way from the door to the books, so that each is decoded once.
//!
//! # Invariants
//! - Batches in a room take at most [`CARRIED_BYTES_MAX`], give or take one; what finds no place is
//!   decoded again from its body when it is booked, with the same outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bijli_wire::{Batch, Table};

/// Memory of the batches that wait to be booked.
pub const CARRIED_BYTES_MAX: usize = 64 << 20;

/// Counts what is carried. Cloning gives another handle to the same room.
#[derive(Clone, Debug, Default)]
pub struct Room(Arc<AtomicUsize>);

/// A decoded batch that has its place.
#[derive(Debug)]
pub struct Carried(Box<Placed>);

#[derive(Debug)]
struct Placed {
    batch: Batch<Table>,
    bytes: usize,
    room: Room,
}

impl Room {
    /// `None`: there is no place.
    #[must_use]
    pub fn carry(&self, batch: Batch<Table>) -> Option<Carried> {
        if self.0.load(Ordering::Relaxed) >= CARRIED_BYTES_MAX {
            return None;
        }
        let bytes = bytes_of(&batch);
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Some(Carried(Box::new(Placed { batch, bytes, room: self.clone() })))
    }
}

impl Carried {
    #[must_use]
    pub fn batch(&self) -> &Batch<Table> {
        &self.0.batch
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a batch takes, nearly: its tables and, for each part, what a small allocation costs.
fn bytes_of(batch: &Batch<Table>) -> usize {
    const PART_BYTES: usize = 64;
    let tables = batch.matrices.iter().map(|table| table.bytes().saturating_add(PART_BYTES));
    let texts = batch.events.iter().map(|event| event.text.len().saturating_add(PART_BYTES));
    let holds = batch.holds.iter().map(|hold| {
        let grant = hold.grant().map_or(0, |grant| grant.devices.len());
        grant.saturating_add(1).saturating_mul(2 * PART_BYTES)
    });
    let parts = tables.chain(texts).chain(holds).fold(0, usize::saturating_add);
    parts.saturating_add(PART_BYTES * 8)
}

#[cfg(test)]
mod tests {
    use bijli_wire::{BatchSeq, HubId, Matrix, NodeId, SchemaId, SpoolEpoch, UtcMillis};

    use super::*;

    fn batch() -> Batch<Table> {
        let times = (0..600).map(UtcMillis::new).collect();
        let columns = vec![vec![Some(7); 600]; 2_048];
        Batch {
            hub: HubId::new("isb").expect("valid"),
            node: NodeId::new("n01").expect("valid"),
            epoch: SpoolEpoch::new([0; 16]),
            sequence: BatchSeq::FIRST,
            schema: SchemaId::new([0; 32]),
            created: UtcMillis::ZERO,
            uptime: None,
            matrices: vec![Table::from(&Matrix { group: 0, times, columns })],
            events: Vec::new(),
            holds: Vec::new(),
        }
    }

    #[test]
    fn a_full_room_takes_nothing_and_an_emptied_one_takes_again() {
        let room = Room::default();
        let mut carried = Vec::new();
        while let Some(one) = room.carry(batch()) {
            carried.push(one);
        }
        // 9.8 MB each: the seventh is the one too many that is still let in.
        assert_eq!(carried.len(), 7);
        carried.pop();
        assert!(room.carry(batch()).is_some());
        carried.clear();
        assert_eq!(room.0.load(Ordering::Relaxed), 0);
    }
}
