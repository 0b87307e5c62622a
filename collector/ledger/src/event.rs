//! What happened to registers and diagrams that a person may have to look at: a bounded memory.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

use bijli_wire::UtcMillis;

use crate::rules::EVENTS_PER_KIND_MAX;

/// What happened. Append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum EventKind {
    /// A register began again from zero.
    Reset = 1,
    /// A register passed its modulus.
    Wrap = 2,
    /// A register fell a little; it is held until it passes its old count.
    StepBack = 3,
    /// A reading that no power of this device explains.
    Implausible = 4,
    /// Readings agreed among themselves against the ones before: a new stretch began.
    Rebased = 5,
    /// More time passed than a full turn of the register takes.
    Ambiguous = 6,
    /// A decrease that nothing explains: a new stretch began.
    Unexplained = 7,
    /// A second node claims a subject.
    BoundElsewhere = 8,
    /// Meters below show more than a complete meter above.
    Dispute = 9,
    /// Energy of a time whose interval can no longer be corrected.
    TooOld = 10,
    /// The scale of a register changed; its old count means nothing any more.
    Rescaled = 11,
    /// Another node has a subject from now on.
    Moved = 12,
    /// A person said that a node is gone for good: it has nothing any more.
    Retired = 13,
}

impl EventKind {
    /// In the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Reset,
        Self::Wrap,
        Self::StepBack,
        Self::Implausible,
        Self::Rebased,
        Self::Ambiguous,
        Self::Unexplained,
        Self::BoundElsewhere,
        Self::Dispute,
        Self::TooOld,
        Self::Rescaled,
        Self::Moved,
        Self::Retired,
    ];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Wrap => "wrap",
            Self::StepBack => "step_back",
            Self::Implausible => "implausible",
            Self::Rebased => "rebased",
            Self::Ambiguous => "ambiguous",
            Self::Unexplained => "unexplained",
            Self::BoundElsewhere => "bound_elsewhere",
            Self::Dispute => "dispute",
            Self::TooOld => "too_old",
            Self::Rescaled => "rescaled",
            Self::Moved => "moved",
            Self::Retired => "retired",
        }
    }
}

/// One event, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterEvent {
    /// Counts all events of the books from 1, so that a reader knows which ones are new.
    pub seq: u64,
    pub at: UtcMillis,
    pub kind: EventKind,
    /// The subject, point or node.
    pub subject: String,
    pub words: String,
}

/// The last events of each kind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Events {
    seq: u64,
    kinds: BTreeMap<EventKind, VecDeque<RegisterEvent>>,
}

impl Events {
    pub(crate) fn push(&mut self, kind: EventKind, at: i64, subject: String, words: String) {
        self.seq = self.seq.saturating_add(1);
        let events = self.kinds.entry(kind).or_default();
        if events.len() >= EVENTS_PER_KIND_MAX {
            events.pop_front();
        }
        let at = UtcMillis::new(at);
        events.push_back(RegisterEvent { seq: self.seq, at, kind, subject, words });
    }

    /// Oldest first.
    pub(crate) fn list(&self) -> Vec<&RegisterEvent> {
        let mut events: Vec<_> = self.kinds.values().flatten().collect();
        events.sort_by_key(|event| event.seq);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_listed() {
        let numbers = EventKind::ALL.map(|kind| kind as usize);
        assert_eq!(numbers.to_vec(), (1..=EventKind::Retired as usize).collect::<Vec<_>>());
    }

    #[test]
    fn a_flood_of_one_kind_hides_no_other() {
        let mut events = Events::default();
        events.push(EventKind::Reset, 0, "gpu".into(), "reset".into());
        for at in 0..1_000 {
            events.push(EventKind::Wrap, at, "cpu".into(), "wrap".into());
        }
        let list = events.list();
        assert_eq!(list.len(), EVENTS_PER_KIND_MAX.saturating_add(1));
        assert_eq!(list[0].kind, EventKind::Reset);
        assert_eq!(list.last().map(|event| event.seq), Some(1_001));
    }
}
