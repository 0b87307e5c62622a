//! How many batches each sender may have under way, so that a thousand that come back together
//! take turns. Pure: no I/O, no clock.
//!
//! A sender whose batch is older than [`BEHIND`] has a backlog. The total is divided among those
//! that have one; who has none is not in the way and gets what everybody gets in quiet times.
//!
//! # Invariants
//! - Every sender has at least one credit: nobody starves.
//! - One entry per node, and only of those heard of within `HEARD_MAX`: bounded.

use std::collections::BTreeMap;

use bijli_wire::hello::CREDITS_MAX;
use bijli_wire::{HubId, Millis, NodeId, UtcMillis};

/// Batches of backlogs under way at once, over all senders, unless configured.
pub const TOTAL: u16 = 256;
/// What a sender without a backlog gets; it is also what agents begin with.
const QUIET: u8 = 4;
/// A batch that was made longer ago than this waited in a spool.
pub const BEHIND: Millis = Millis::new(30_000);
/// A backlog that was not heard of for so long is over, or its sender is away.
const HEARD_MAX: Millis = Millis::new(60_000);
/// Overload answers ask for 1 second to this many more, each node for its own.
const PATIENCE_S_MAX: u64 = 15;

/// Who has a backlog, and since when it was not heard of.
#[derive(Debug)]
pub struct Credits {
    total: u16,
    behind: BTreeMap<(HubId, NodeId), UtcMillis>,
    swept: UtcMillis,
}

impl Default for Credits {
    fn default() -> Self {
        Self::new(TOTAL)
    }
}

impl Credits {
    #[must_use]
    pub const fn new(total: u16) -> Self {
        Self { total, behind: BTreeMap::new(), swept: UtcMillis::ZERO }
    }

    /// A sender was heard; says how many batches it may have under way.
    pub fn share(&mut self, hub: &HubId, node: &NodeId, is_behind: bool, now: UtcMillis) -> u8 {
        self.sweep(now);
        let key = (hub.clone(), node.clone());
        if !is_behind {
            self.behind.remove(&key);
            return QUIET;
        }
        self.behind.insert(key, now);
        let senders = u16::try_from(self.behind.len()).unwrap_or(u16::MAX);
        let share = self.total.checked_div(senders).unwrap_or(self.total);
        u8::try_from(share).unwrap_or(CREDITS_MAX).clamp(1, CREDITS_MAX)
    }

    /// Senders with a backlog.
    #[must_use]
    pub fn behind(&self) -> usize {
        self.behind.len()
    }

    fn sweep(&mut self, now: UtcMillis) {
        // Also when the clock went back.
        if now.since(self.swept).is_some_and(|since| since < Millis::new(1_000)) {
            return;
        }
        self.swept = now;
        let is_heard =
            |heard: &UtcMillis| now.since(*heard).is_none_or(|silent| silent < HEARD_MAX);
        self.behind.retain(|_, heard| is_heard(heard));
    }
}

/// Whether a batch made then waited in a spool.
#[must_use]
pub fn is_behind(created: UtcMillis, now: UtcMillis) -> bool {
    now.since(created).is_some_and(|age| age > BEHIND)
}

/// After how many seconds a refused node should ask again: always the same for one node, spread
/// over the nodes.
#[must_use]
pub fn patience_s(node: &str) -> u16 {
    // FNV-1a; it spreads, it guards nothing.
    let hash = node.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u16::try_from(1 + (hash >> 7) % (PATIENCE_S_MAX + 1)).expect("small")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> HubId {
        HubId::new("isb").expect("valid")
    }

    fn node(number: usize) -> NodeId {
        NodeId::new(&format!("n{number:04}")).expect("valid")
    }

    const NOW: UtcMillis = UtcMillis::new(1_800_000_000_000);

    #[test]
    fn n4_the_total_is_divided_among_those_who_have_a_backlog() {
        let mut credits = Credits::default();
        assert_eq!(credits.share(&hub(), &node(0), false, NOW), 4);
        assert_eq!(credits.share(&hub(), &node(1), true, NOW), 16, "alone, and not more");
        for number in 2..=64 {
            credits.share(&hub(), &node(number), true, NOW);
        }
        assert_eq!(credits.share(&hub(), &node(1), true, NOW), 4);
        for number in 65..=1_000 {
            credits.share(&hub(), &node(number), true, NOW);
        }
        assert_eq!(credits.share(&hub(), &node(1), true, NOW), 1, "nobody starves");
        assert_eq!(credits.share(&hub(), &node(0), false, NOW), 4, "who is up to date goes on");
    }

    #[test]
    fn n4_who_has_drained_or_left_makes_room_for_the_others() {
        let mut credits = Credits::new(8);
        for number in 0..8 {
            credits.share(&hub(), &node(number), true, NOW);
        }
        for number in 1..4 {
            credits.share(&hub(), &node(number), false, NOW);
        }
        assert_eq!(credits.share(&hub(), &node(0), true, NOW), 1);
        let later = UtcMillis::new(NOW.get() + 60_000);
        assert_eq!(credits.share(&hub(), &node(0), true, later), 8);
        assert_eq!(credits.behind(), 1);
        let earlier = UtcMillis::new(0);
        assert_eq!(credits.share(&hub(), &node(1), true, earlier), 4, "a clock set back");
    }

    #[test]
    fn n4_each_node_is_asked_for_its_own_patience() {
        let asked: Vec<u16> = (0..1_000).map(|n| patience_s(node(n).as_str())).collect();
        assert_eq!(asked.first(), Some(&patience_s("n0000")));
        for second in 1..=16 {
            let count = asked.iter().filter(|asked| **asked == second).count();
            assert!((30..100).contains(&count), "{count} of 1,000 in second {second}");
        }
    }
}
