//! Places for requests under way: so many in all, so that memory is bounded, and so many of one
//! node, so that a node that sends its bodies slowly, or very many, takes no place from the others.
//!
//! # Invariants
//! - A place is given back when its request ends, however it ends.
//! - Only nodes with a request under way are remembered.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bijli_wire::hello::CREDITS_MAX;
use bijli_wire::{HubId, NodeId};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::door::{Peer, overloaded};
use super::refusal::Refusal;

/// Requests whose bodies are being read or journalled at once.
pub(super) const REQUESTS_MAX: usize = 1_024;
/// Requests of one node at once: the credits of a sender, twice, because a connection that was cut
/// may still have its requests here when the next one comes; and a greeting and a schema with each.
pub(super) const OF_NODE_MAX: u32 = 2 * (CREDITS_MAX as u32 + 2);

type Name = (HubId, NodeId);

/// All places, and who has how many.
#[derive(Debug)]
pub(super) struct Places {
    all: Semaphore,
    of_nodes: Mutex<BTreeMap<Name, u32>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    places: &'a Places,
    node: Option<Name>,
    _permit: SemaphorePermit<'a>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self { all: Semaphore::new(REQUESTS_MAX), of_nodes: Mutex::default() }
    }

    /// Who is not proven has no name that could be counted: each of his connections has a bound of
    /// its own (`STREAMS_MAX` in `server.rs`), and plain HTTP is for this machine alone.
    pub(super) fn take(&self, peer: &Peer) -> Result<Place<'_>, Refusal> {
        let too_many = |whose| overloaded(&format!("too many requests {whose}at once"));
        let permit = self.all.try_acquire().map_err(|_| too_many(""))?;
        let node = match peer {
            Peer::Claimed => None,
            Peer::Proven(proven) => {
                let name = (proven.name.hub.clone(), proven.name.node.clone());
                let mut of_nodes = self.of_nodes();
                let count = of_nodes.entry(name.clone()).or_default();
                if *count >= OF_NODE_MAX {
                    return Err(too_many("of this node "));
                }
                *count += 1;
                Some(name)
            }
        };
        Ok(Place { places: self, node, _permit: permit })
    }

    pub(super) fn free(&self) -> usize {
        self.all.available_permits()
    }

    fn of_nodes(&self) -> MutexGuard<'_, BTreeMap<Name, u32>> {
        self.of_nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(name) = self.node.take() else { return };
        let mut of_nodes = self.places.of_nodes();
        match of_nodes.get_mut(&name) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(of_nodes.remove(&name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bijli_identity::server::Proven;
    use bijli_identity::{KeyHash, NodeName};
    use bijli_wire::UtcMillis;

    use super::*;

    fn node(name: &str) -> Peer {
        let hub = HubId::new("isb").expect("valid");
        let node = NodeId::new(name).expect("valid");
        let (key, not_after) = (KeyHash::of(name.as_bytes()), UtcMillis::ZERO);
        let name = NodeName { hub, node };
        Peer::Proven(Arc::new(Proven { name, key, serial: String::new(), not_after }))
    }

    /// Goal: N5. A node that holds as many requests as it may is refused one more; the others, and
    /// it itself once one has ended, are not.
    #[test]
    fn n5_no_node_takes_the_places_of_the_others() {
        let places = Places::new();
        let (slow, good) = (node("slow"), node("good"));
        let mut held: Vec<Place<'_>> =
            (0..OF_NODE_MAX).map(|_| places.take(&slow).expect("room")).collect();
        let refusal = places.take(&slow).expect_err("too many");
        assert!(refusal.message.contains("of this node"), "{}", refusal.message);
        drop(places.take(&good).expect("room for others"));
        held.pop();
        held.push(places.take(&slow).expect("one has ended"));
        drop(held);
        assert!(places.of_nodes().is_empty(), "who has none is forgotten");
        assert_eq!(places.free(), REQUESTS_MAX);
    }

    #[test]
    fn all_places_together_are_bounded() {
        let places = Places::new();
        let held: Vec<Place<'_>> =
            (0..REQUESTS_MAX).map(|_| places.take(&Peer::Claimed).expect("room")).collect();
        assert!(places.take(&node("late")).is_err());
        drop(held);
        assert!(places.take(&node("late")).is_ok());
    }
}
