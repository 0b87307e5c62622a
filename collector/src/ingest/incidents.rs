//! Attempts that belong on record (fault X1): counted, logged and journalled, but never so often
//! that a node could fill the journal or the log with them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bijli_identity::NodeName;
use bijli_wire::{ErrorCode, Millis, UtcMillis};

use super::Ingest;
use super::door::Peer;
use super::refusal::Refusal;
use crate::frame::{Frame, Incident};
use crate::intake::{Note, Reply};

/// One record for each node and this long; the counter has them all.
const EVERY: Millis = Millis::new(60_000);

/// When each node was last put on record. Bounded by the certificates that were issued.
#[derive(Debug, Default)]
pub(super) struct Incidents(Mutex<BTreeMap<NodeName, UtcMillis>>);

impl Incidents {
    /// Whether it is time for another record of this node.
    fn is_due(&self, name: &NodeName, now: UtcMillis) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back makes it due again.
        let is_fresh = |at: &UtcMillis| now.since(*at).is_some_and(|since| since < EVERY);
        if last.get(name).is_some_and(is_fresh) {
            return false;
        }
        last.insert(name.clone(), now);
        true
    }
}

impl Ingest {
    /// Puts a refusal on record where it is one of somebody who poses as another.
    pub(super) fn on_record<T>(
        &self,
        peer: &Peer,
        outcome: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if let (Err(refusal), Peer::Proven(proven)) = (&outcome, peer)
            && refusal.code == ErrorCode::ForeignIdentity
        {
            self.state.health.identity.foreign.inc();
            let now = self.state.clock.now();
            if self.incidents.is_due(&proven.name, now) {
                self.journal_incident(&proven.name, refusal, now);
            }
        }
        outcome
    }

    /// Nobody waits for it: the refusal is true whether or not it is durable.
    fn journal_incident(&self, name: &NodeName, refusal: &Refusal, received: UtcMillis) {
        let NodeName { hub, node } = name.clone();
        tracing::error!(%hub, %node, "a node poses as another: {}", refusal.message);
        let text = refusal.message.clone();
        let incident = Box::new(Incident { hub, node, code: refusal.code, text });
        let frame = Frame::Incident { received, incident };
        let is_taken =
            self.journal().is_ok_and(|journal| journal.append(frame, Note::Other, Reply::none()));
        if !is_taken {
            tracing::warn!("the journal is busy: the incident above is not on record");
        }
    }
}

#[cfg(test)]
mod tests {
    use bijli_wire::{HubId, NodeId};

    use super::*;

    #[test]
    fn x1_a_node_is_put_on_record_once_a_minute() {
        let incidents = Incidents::default();
        let name = |node: &str| NodeName {
            hub: HubId::new("isb").expect("valid"),
            node: NodeId::new(node).expect("valid"),
        };
        let at = UtcMillis::new;
        assert!(incidents.is_due(&name("a"), at(1_000)));
        assert!(!incidents.is_due(&name("a"), at(60_999)));
        assert!(incidents.is_due(&name("b"), at(60_999)));
        assert!(incidents.is_due(&name("a"), at(61_000)));
        assert!(incidents.is_due(&name("a"), at(0)), "the clock was set back");
    }
}
