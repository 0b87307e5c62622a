//! The collector of the model beside the collector's own admission: the same frames, the same
//! answers, the same order of booking.

use bijli_collector::ingest::admission::{Admission, Admit, LaneKey};
use bijli_wire::hello::Reached;
use bijli_wire::{BatchSeq, ContentHash, HubId, NodeId, SpoolEpoch, UtcMillis};

use crate::collector::{Known, Verdict};
use crate::world::{Content, Epoch, Seq};

const NOW: UtcMillis = UtcMillis::new(1_790_000_000_000);

/// The product's rules of admission, asked as the model is.
#[derive(Debug, Default)]
pub struct Real {
    admission: Admission<Content>,
    pub booked: Vec<Content>,
}

fn lane(epoch: Epoch) -> LaneKey {
    LaneKey {
        hub: HubId::new("isb").expect("valid"),
        node: NodeId::new("n01").expect("valid"),
        epoch: SpoolEpoch::new([epoch; 16]),
    }
}

fn seq(number: Seq) -> BatchSeq {
    BatchSeq::new(u64::from(number)).expect("from 1")
}

fn small(number: u64) -> Seq {
    Seq::try_from(number).expect("a small world")
}

impl Real {
    /// As the door and the intake do with a hello.
    pub fn greet(&mut self, epoch: Epoch, oldest: Seq) -> Known {
        let key = lane(epoch);
        let before = self.admission.reached(&key, BatchSeq::FIRST).contiguous;
        if u64::from(oldest) > before + 1 {
            self.booked.extend(self.admission.begin(&key, NOW));
            self.booked.extend(self.admission.floor(&key, seq(oldest)));
        }
        let Reached { contiguous, newest } = self.admission.reached(&key, BatchSeq::FIRST);
        Known { contiguous: small(contiguous), newest: small(newest) }
    }

    /// As they do with a batch.
    pub fn take(&mut self, epoch: Epoch, number: Seq, content: Content) -> Verdict {
        let (key, hash) = (lane(epoch), ContentHash::new([content; 32]));
        match self.admission.admit(&key, seq(number), hash, NOW) {
            Admit::New => {
                self.booked.extend(self.admission.begin(&key, NOW));
                self.booked.extend(self.admission.settle(&key, seq(number), hash, content));
                Verdict::Durable
            }
            Admit::Duplicate | Admit::Forgotten => Verdict::Durable,
            Admit::Fork => Verdict::Fork,
            found @ (Admit::Contested | Admit::Busy | Admit::Gap { .. } | Admit::TooManyEpochs) => {
                panic!("{found:?} cannot be, in a world so small")
            }
        }
    }
}
