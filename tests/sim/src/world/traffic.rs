//! What goes over the links of a world: requests up, answers down, and what became of them.

use bijli_agent::uplink::line::{Answer, Input, Request, Ticket};
use bijli_wire::{Ack, ErrorCode, codec};

use super::{Happening, Sent, Violation, World, sequence_of};
use crate::fault::Fault;
use crate::hub::{Call, Reaction};
use crate::link::{Fate, Way};
use crate::plan::Net;

/// A request that arrives in such a step is sent by another node too.
const IMPOSTOR_EVERY: u64 = 7;

impl World {
    pub(super) fn send(&mut self, index: usize, ticket: Ticket, request: Request) {
        let node = &self.nodes[index];
        let Some(life) = &node.life else { return };
        let (life, connection, at) = (node.lives, life.connection, self.now);
        let claim = node.claim(at).filter(|_| matches!(ticket, Ticket::Batch { .. }));
        let sent = Sent { node: index, life, connection, at, ticket, request, claim };
        self.note("sends", Some(index), sequence_of(&sent.ticket));
        match self.carry(index, Way::Up) {
            Fate::Arrives(delays) => {
                for delay in delays {
                    self.later(delay, Happening::Arrive(sent.clone()));
                }
            }
            Fate::Held => {
                let delay = self.held_for(index);
                self.later(delay, Happening::Arrive(sent));
            }
            Fate::Refused => {
                self.later(1, Happening::Answer(sent, Err("no way to the collector".into())));
            }
            Fate::Lost => {}
        }
    }

    pub(super) fn reply(
        &mut self,
        sent: Sent,
        outcome: Result<Answer, String>,
    ) -> Result<(), Violation> {
        self.invariant_answer(&sent, &outcome)?;
        match self.carry(sent.node, Way::Down) {
            Fate::Arrives(delays) => {
                let delay = delays[0];
                self.later(delay, Happening::Answer(sent, outcome));
            }
            Fate::Held => {
                let delay = self.held_for(sent.node);
                self.later(delay, Happening::Answer(sent, outcome));
            }
            Fate::Refused | Fate::Lost => {}
        }
        Ok(())
    }

    /// I8: what a node sends in the name of another is refused, whatever it is. Tried without a
    /// draw, so that histories are the same with it.
    pub(super) fn invariant_own_name_only(&mut self, sent: &Sent) -> Result<(), Violation> {
        let impostor = (sent.node + 1) % self.nodes.len();
        let is_tried = self.steps.is_multiple_of(IMPOSTOR_EVERY) && impostor != sent.node;
        if !is_tried || matches!(sent.ticket, Ticket::Live { .. }) {
            return Ok(());
        }
        self.count(Fault::Impostor, Some(impostor));
        self.serial += 1;
        let peer = self.nodes[impostor].peer.clone();
        let call = Call { request: &sent.request, peer: &peer, claim: sent.claim };
        match self.collector.take(call, self.serial, self.now) {
            Reaction::Answer(Answer::Refused { code: ErrorCode::ForeignIdentity, .. }) => Ok(()),
            taken => {
                let words = format!("node {impostor} wrote as node {}: {taken:?}", sent.node);
                Err(Violation::new("a node writes for itself only", words))
            }
        }
    }

    /// An acknowledgement is a promise from the moment it is given.
    fn invariant_answer(
        &mut self,
        sent: &Sent,
        outcome: &Result<Answer, String>,
    ) -> Result<(), Violation> {
        let Ticket::Batch { sequence, hash, .. } = &sent.ticket else { return Ok(()) };
        let node = self.nodes[sent.node].id.clone();
        match outcome {
            Ok(Answer::Ok(body)) => {
                let ack: Ack = serde_json::from_slice(body)
                    .map_err(|error| Violation::new("answers are acks", error.to_string()))?;
                let epoch = ack
                    .epoch
                    .parse()
                    .map_err(|_| Violation::new("answers are acks", ack.epoch.clone()))?;
                self.note("acked", Some(sent.node), sequence.get());
                self.oracle.ack((node, epoch), sequence.get(), *hash);
            }
            // Another sender's, of the same name: what is left of this epoch is evidence.
            Ok(Answer::Refused {
                code: code @ (ErrorCode::IdentityFork | ErrorCode::IdentityContested),
                ..
            }) => {
                self.note(words_of(*code), Some(sent.node), sequence.get());
                let opened = codec::open(&sent.request.body).map(|opened| opened.envelope.epoch);
                let epoch =
                    opened.map_err(|e| Violation::new("agents send batches", e.to_string()))?;
                self.oracle.refuse_as_fork((node, epoch), sequence.get());
            }
            Ok(Answer::Refused { code, .. }) => {
                self.note(words_of(*code), Some(sent.node), sequence.get());
            }
            Err(_) => {}
        }
        Ok(())
    }

    fn carry(&mut self, index: usize, way: Way) -> Fate {
        let calm = Net::default();
        let net = if self.is_calm { &calm } else { &self.plan.net };
        self.nodes[index].link.carry((way, self.now), net, &mut self.dice, &mut self.tally)
    }

    fn held_for(&mut self, index: usize) -> u64 {
        let until = self.nodes[index].link.clogged_until.saturating_sub(self.now);
        until + self.dice.between(1, 2_000)
    }

    pub(super) fn answer(
        &mut self,
        sent: Sent,
        outcome: Result<Answer, String>,
    ) -> Result<(), Violation> {
        let node = &mut self.nodes[sent.node];
        let connection = node.life.as_ref().map(|life| life.connection);
        let is_heard = node.lives == sent.life && connection == Some(sent.connection);
        // A request has one answer, however often the network doubled it.
        if !is_heard || !self.answered.insert((sent.node, sent.life, sent.ticket)) {
            return Ok(());
        }
        if let Ok(answer) = &outcome {
            node.learn(answer, sent.at, self.now);
        }
        let done = node.tell(Input::Answer { ticket: sent.ticket, outcome }, self.now);
        self.carry_out(sent.node, done)
    }
}

/// Which of the refusals that a history can meet it was.
fn words_of(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::UnknownSchema => "refused: unknown schema",
        ErrorCode::FromTheFuture => "refused: from the future",
        ErrorCode::FromThePast => "refused: from the past",
        ErrorCode::SequenceGap => "refused: elder first",
        ErrorCode::IdentityFork => "refused: fork",
        ErrorCode::IdentityContested => "refused: contested",
        ErrorCode::Overloaded => "refused: overloaded",
        ErrorCode::DiskFull => "refused: disk full",
        ErrorCode::StorageFailed => "refused: storage failed",
        _ => "refused",
    }
}
