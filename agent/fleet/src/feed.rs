//! Batches without a spool: collects a sender's rows and yields what an agent would have sent.

use bijli_wire::limits::ROWS_MAX;
use bijli_wire::{Batch, BatchSeq, HubId, Matrix, NodeId, SchemaId, SpoolEpoch, UtcMillis};

use crate::fleet::Fleet;

/// Why no feed can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    #[error("the fleet has no sender {sender}, it has {count}")]
    NoSender { sender: usize, count: usize },
    #[error("batches of {seconds} s, where 1 to {ROWS_MAX} are possible")]
    Seconds { seconds: usize },
}

/// One sender's batches, numbered from 1 in its spool epoch.
#[derive(Clone, Debug)]
pub struct Feed {
    sender: usize,
    hub: HubId,
    node: NodeId,
    schema: SchemaId,
    epoch: SpoolEpoch,
    next: BatchSeq,
    seconds_per_batch: usize,
    seconds: usize,
    last: Option<UtcMillis>,
    matrices: Vec<Matrix>,
}

impl Feed {
    /// Batches of `seconds_per_batch` for the fleet's sender of this index.
    ///
    /// # Errors
    /// When there is no such sender, or a batch could not hold so many rows.
    pub fn new(
        fleet: &Fleet,
        sender: usize,
        epoch: SpoolEpoch,
        seconds_per_batch: usize,
    ) -> Result<Self, FeedError> {
        if !(1..=ROWS_MAX).contains(&seconds_per_batch) {
            return Err(FeedError::Seconds { seconds: seconds_per_batch });
        }
        let senders = fleet.senders();
        let refused = FeedError::NoSender { sender, count: senders.len() };
        let who = senders.get(sender).ok_or(refused)?;
        Ok(Self {
            sender,
            hub: who.schema.hub.clone(),
            node: who.node.clone(),
            schema: who.schema_id,
            epoch,
            next: BatchSeq::FIRST,
            seconds_per_batch,
            seconds: 0,
            last: None,
            matrices: Vec::new(),
        })
    }

    /// Takes what is due now, and yields a batch when one is full. Call it once before the first
    /// step and once after each; a second call in the same second adds nothing.
    pub fn take(&mut self, fleet: &Fleet) -> Option<Batch> {
        let now = fleet.now();
        if self.last.is_some_and(|last| now <= last) {
            return None;
        }
        self.last = Some(now);
        for row in fleet.rows(self.sender) {
            self.add(row);
        }
        self.seconds += 1;
        if self.seconds < self.seconds_per_batch { None } else { self.finish() }
    }

    /// What was collected and not yet yielded; `None` when that is nothing.
    pub fn finish(&mut self) -> Option<Batch> {
        self.seconds = 0;
        let created = self.last?;
        if self.matrices.is_empty() {
            return None;
        }
        let sequence = self.next;
        self.next = sequence.next();
        Some(Batch {
            hub: self.hub.clone(),
            node: self.node.clone(),
            epoch: self.epoch,
            sequence,
            schema: self.schema,
            created,
            uptime: None,
            matrices: std::mem::take(&mut self.matrices),
            events: Vec::new(),
            holds: Vec::new(),
        })
    }

    fn add(&mut self, row: crate::Row) {
        let place = self.matrices.iter().position(|matrix| matrix.group == row.group);
        let matrix = match place.and_then(|place| self.matrices.get_mut(place)) {
            Some(matrix) => matrix,
            None => {
                let columns = vec![Vec::new(); row.values.len()];
                self.matrices.push(Matrix { group: row.group, times: Vec::new(), columns });
                self.matrices.last_mut().expect("it was pushed just now")
            }
        };
        matrix.times.push(row.at);
        for (column, value) in matrix.columns.iter_mut().zip(row.values) {
            column.push(value);
        }
    }
}
