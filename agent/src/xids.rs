//! XIDs as they are told: each once at once, and what repeats within three minutes as a count.
//!
//! The kernel's log and the driver may tell of the same one, and a broken GPU or job tells the same
//! many times a second. Pure: it is handed what was heard, and the time.
//!
//! # Invariants
//! - The first of a kind is told when it is heard. Nothing that is counted is forgotten: what was
//!   counted is told when its three minutes are over.
//! - Where both witnesses speak, the larger of the two counts is told: the driver hands out only
//!   the last of several, and the kernel's log may not be readable.

use std::collections::BTreeMap;

use bijli_wire::{Millis, SubjectId};

use crate::clock::Moment;
use crate::probe::{Happening, Witness};

/// Within this, the same XID of the same GPU is counted.
const SAME: Millis = Millis::new(180_000);
/// So many different ones are told apart; a flood of others is told as it comes.
const KINDS_MAX: usize = 1_024;

/// The GPU, where it is known, else the text that names its place; and the XID.
type Key = (Option<SubjectId>, u32);

#[derive(Debug, Default)]
pub struct Xids {
    heard: BTreeMap<Key, Heard>,
}

#[derive(Debug)]
struct Heard {
    first: Moment,
    by_kernel: u32,
    by_driver: u32,
    last: Happening,
}

impl Heard {
    fn count(&mut self, witness: Witness) {
        let count = match witness {
            Witness::Kernel => &mut self.by_kernel,
            Witness::Driver => &mut self.by_driver,
        };
        *count = count.saturating_add(1);
    }
}

impl Xids {
    /// What is to be told of it now: itself, if it is the first of its kind.
    pub fn hear(&mut self, xid: Happening, now: Moment) -> Option<Happening> {
        let key = (xid.subject.clone(), xid.code);
        if let Some(heard) = self.heard.get_mut(&key) {
            heard.count(xid.witness);
            // The kernel's words say more than the driver's.
            if xid.witness == Witness::Kernel {
                heard.last = xid;
            }
            return None;
        }
        if self.heard.len() < KINDS_MAX {
            let mut heard = Heard { first: now, by_kernel: 0, by_driver: 0, last: xid.clone() };
            heard.count(xid.witness);
            self.heard.insert(key, heard);
        }
        Some(xid)
    }

    /// What was counted beyond the first, of those whose time is over.
    pub fn due(&mut self, now: Moment) -> Vec<(Happening, u32)> {
        let is_over = |heard: &Heard| now.since(heard.first).get() >= SAME.get();
        let over: Vec<Key> = self
            .heard
            .iter()
            .filter(|(_, heard)| is_over(heard))
            .map(|(key, _)| key.clone())
            .collect();
        let taken = over.into_iter().filter_map(|key| self.heard.remove(&key));
        taken.filter_map(told).collect()
    }

    /// All that was counted beyond the first: the agent stops.
    pub fn rest(&mut self) -> Vec<(Happening, u32)> {
        std::mem::take(&mut self.heard).into_values().filter_map(told).collect()
    }
}

fn told(heard: Heard) -> Option<(Happening, u32)> {
    let more = heard.by_kernel.max(heard.by_driver).saturating_sub(1);
    (more > 0).then_some((heard.last, more))
}

#[cfg(test)]
mod tests {
    use bijli_wire::message::EventKind;

    use super::*;

    fn xid(gpu: &str, code: u32, witness: Witness) -> Happening {
        Happening {
            subject: Some(SubjectId::new(gpu).expect("a name")),
            kind: EventKind::GpuXid,
            code,
            text: format!("{witness:?}"),
            witness,
        }
    }

    fn at(second: u64) -> Moment {
        Moment::new(second * 1_000)
    }

    /// Guards against NVSentinel #1748: thousands of one XID hid the one that mattered.
    #[test]
    fn a_storm_is_told_once_and_then_counted() {
        let mut xids = Xids::default();
        assert!(xids.hear(xid("GPU-a", 119, Witness::Kernel), at(0)).is_some());
        for second in 1..170 {
            assert_eq!(xids.hear(xid("GPU-a", 119, Witness::Kernel), at(second)), None);
        }
        assert!(xids.hear(xid("GPU-a", 79, Witness::Kernel), at(5)).is_some(), "another one");
        assert!(xids.hear(xid("GPU-b", 119, Witness::Kernel), at(5)).is_some(), "another GPU");
        assert!(xids.due(at(179)).is_empty());
        let told = xids.due(at(180));
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].0.code, told[0].1), (119, 169));
        assert!(xids.due(at(400)).is_empty(), "what came once was told");
        assert!(xids.hear(xid("GPU-a", 119, Witness::Kernel), at(401)).is_some());
    }

    #[test]
    fn two_witnesses_of_one_xid_are_one_event() {
        let mut xids = Xids::default();
        assert!(xids.hear(xid("GPU-a", 79, Witness::Driver), at(0)).is_some());
        assert_eq!(xids.hear(xid("GPU-a", 79, Witness::Kernel), at(1)), None);
        assert!(xids.rest().is_empty());
        for witness in [Witness::Kernel, Witness::Kernel, Witness::Driver] {
            xids.hear(xid("GPU-a", 13, witness), at(2));
        }
        let told = xids.rest();
        assert_eq!(told[0].1, 1, "twice by the kernel's log, once by the driver: twice");
        assert_eq!(told[0].0.text, "Kernel");
    }
}
