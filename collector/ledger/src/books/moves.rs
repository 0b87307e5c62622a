//! Which node has a subject, and how it comes to another: a GPU that is put into another machine,
//! a meter that another gateway asks from now on; and a node that will never say so, retired.
//!
//! A subject is its first node's until that node declares its devices without it. What another
//! node reads of a GPU until then is a *claim*: kept, and not booked, so that no energy is lost if
//! the claim turns out to be right. A meter's claim needs no keeping: its count runs on, whoever
//! asks.
//!
//! # Invariants
//! - At any time one node has a subject, and only what that node reads is booked.
//! - What was booked of a subject at its former node stays that node's.

use std::collections::BTreeSet;

use bijli_wire::batch::Subject;
use bijli_wire::{NodeId, SubjectId, SubjectKind};

use super::{Books, Touched, as_index, register_of};
use crate::event::EventKind;
use crate::register::RegisterState;
use crate::rules::ALLOCATION_TEXT_BYTES_MAX;
use crate::subject::{Declared, RegisterHandle, SubjectState, Tenure};

/// A node that is gone for good, by the word of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retirement {
    pub node: NodeId,
    pub who: String,
    pub why: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retired {
    /// It had so many subjects.
    LetGo { subjects: usize },
    /// It had none any more.
    Already,
}

/// Why a node is not retired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetireError {
    #[error("node {node} never declared anything here; its name is as in /v1/hubs/{{hub}}/nodes")]
    Unknown { node: NodeId },
    #[error("{what} needs 1 to {ALLOCATION_TEXT_BYTES_MAX} bytes without control characters")]
    Text { what: &'static str },
}

impl Books {
    /// Makes everything known that a node declares; what it declared before and does not now, it
    /// has no more. One answer for each subject, in their order.
    pub fn declare_all(&mut self, node: &NodeId, subjects: &[Subject]) -> Vec<Declared> {
        let named: BTreeSet<&SubjectId> = subjects.iter().map(|subject| &subject.id).collect();
        let had = self.by_node.get(node).into_iter().flatten();
        let gone = had.chain(self.claimed_by(node)).filter(|id| !named.contains(id));
        let gone: Vec<SubjectId> = gone.cloned().collect();
        let declared = subjects.iter().map(|subject| self.declare(node, subject)).collect();
        for id in gone {
            self.let_go(node, &id);
        }
        declared
    }

    /// A node that cannot declare its devices without what was taken out of it lets go of all it
    /// has. Nothing that was booked changes, and should it come back, what it declares is its own
    /// again, or contested.
    ///
    /// # Errors
    /// When it never declared anything, or nobody stands for it.
    pub fn retire(&mut self, retirement: &Retirement) -> Result<Retired, RetireError> {
        let judged = self.judge_retirement(retirement)?;
        let Retirement { node, who, why } = retirement;
        if judged == Retired::Already {
            return Ok(judged);
        }
        for id in self.held_by(node) {
            self.let_go(node, &id);
        }
        // Should it live after all, its next batch declares all of it again.
        self.moves = self.moves.saturating_add(1);
        let (at, words) = (self.now.unwrap_or(0), format!("retired by {who}: {why}"));
        self.events.push(EventKind::Retired, at, node.to_string(), words);
        Ok(judged)
    }

    /// What [`Self::retire`] would answer.
    ///
    /// # Errors
    /// As [`Self::retire`].
    pub fn judge_retirement(&self, retirement: &Retirement) -> Result<Retired, RetireError> {
        let Retirement { node, who, why } = retirement;
        for (what, text) in [("who", who), ("why", why)] {
            let is_long = text.len() > ALLOCATION_TEXT_BYTES_MAX;
            if text.is_empty() || is_long || text.chars().any(char::is_control) {
                return Err(RetireError::Text { what });
            }
        }
        if !self.subjects.iter().any(|subject| subject.node == *node) {
            return Err(RetireError::Unknown { node: node.clone() });
        }
        match self.held_by(node).len() {
            0 => Ok(Retired::Already),
            subjects => Ok(Retired::LetGo { subjects }),
        }
    }

    /// What a node declares.
    fn held_by(&self, node: &NodeId) -> Vec<SubjectId> {
        let is_his = |it: &&SubjectState| it.node == *node && it.is_declared;
        self.subjects.iter().filter(is_his).map(|subject| subject.id.clone()).collect()
    }

    /// Counts the times that a subject was let go of or came to another node: who declared before
    /// the last of them declares again, since what was held out may be his now.
    #[must_use]
    pub const fn moves(&self) -> u64 {
        self.moves
    }

    /// A node does not declare a subject any more. Once the node that has it does not, and one
    /// other claims it, it is there.
    fn let_go(&mut self, node: &NodeId, id: &SubjectId) {
        let numbers = self.numbers_of(id);
        for number in &numbers {
            if let Some(subject) = self.subjects.get_mut(as_index(*number))
                && subject.node == *node
            {
                subject.is_declared = false;
            }
        }
        let Some(bound) = self.bound(id).filter(|bound| !bound.is_declared) else { return };
        if bound.kind == SubjectKind::Meter {
            self.moves = self.moves.saturating_add(1);
        }
        let is_claim = |number: &&u32| {
            let subject = self.subjects.get(as_index(**number));
            subject.is_some_and(|it| it.tenure == Tenure::Claimed && it.is_declared)
        };
        let claims: Vec<u32> = numbers.iter().filter(is_claim).copied().collect();
        if let [claim] = claims.as_slice() {
            self.bind(id, *claim);
        }
    }

    /// A node declares what another one has.
    pub(super) fn declare_elsewhere(&mut self, node: &NodeId, subject: &Subject) -> Declared {
        let bound = self.index.get(&subject.id).copied().unwrap_or(u32::MAX);
        let held_out = RegisterHandle { index: bound, is_held_out: true };
        let Some(known) = self.subjects.get_mut(as_index(bound)) else {
            return Declared::NotItsName { handle: held_out };
        };
        if known.kind != subject.kind {
            return Declared::NotItsName { handle: held_out };
        }
        let (is_let_go, from) = (!known.is_declared, known.node.clone());
        match subject.kind {
            SubjectKind::Meter if is_let_go => self.take_over(node, subject),
            SubjectKind::Gpu => {
                let claim = self.claim(node, subject);
                if is_let_go {
                    self.bind(&subject.id, claim);
                    return Declared::Moved { from, handle: handle(claim) };
                }
                self.contested(&from, node, &subject.id, handle(claim))
            }
            SubjectKind::Meter
            | SubjectKind::Node
            | SubjectKind::CpuPackage
            | SubjectKind::Dram
            | SubjectKind::Unspecified => self.contested(&from, node, &subject.id, held_out),
        }
    }

    /// Two nodes say that they have it; a person has to look.
    fn contested(
        &mut self,
        bound: &NodeId,
        node: &NodeId,
        id: &SubjectId,
        handle: RegisterHandle,
    ) -> Declared {
        let words = format!("bound to {bound}, also claimed by {node}");
        let at = self.now.unwrap_or(0);
        self.events.push(EventKind::BoundElsewhere, at, id.to_string(), words);
        Declared::BoundElsewhere { node: bound.clone(), handle }
    }

    /// The register is the meter's own and ran on meanwhile: what lies between the last reading
    /// by the one and the first by the other is bridged.
    fn take_over(&mut self, node: &NodeId, subject: &Subject) -> Declared {
        let number = self.index.get(&subject.id).copied().unwrap_or(u32::MAX);
        let handle = handle(number);
        let Some(known) = self.subjects.get_mut(as_index(number)) else {
            return Declared::NotItsName { handle };
        };
        let from = std::mem::replace(&mut known.node, node.clone());
        known.is_declared = true;
        match (&mut known.register, register_of(subject)) {
            // A changed epoch or scale is judged with the next reading, as at one node.
            (Some(register), Some(declared)) => drop(register.redeclare(declared)),
            (register @ None, Some(declared)) => *register = Some(RegisterState::new(declared)),
            (Some(_) | None, None) => {}
        }
        if let Some(former) = self.by_node.get_mut(&from) {
            former.remove(&subject.id);
        }
        self.by_node.entry(node.clone()).or_default().insert(subject.id.clone());
        self.tell_moved(&subject.id, &from, node);
        Declared::Moved { from, handle }
    }

    /// The claim of a node, known or new.
    fn claim(&mut self, node: &NodeId, subject: &Subject) -> u32 {
        let is_his = |number: &&u32| {
            let known = self.subjects.get(as_index(**number));
            known.is_some_and(|it| it.node == *node && it.tenure == Tenure::Claimed)
        };
        let numbers = self.numbers_of(&subject.id);
        let known = numbers.iter().find(is_his).copied();
        let Some(number) = known else {
            let number = self.add(node, subject, Tenure::Claimed);
            self.others.entry(subject.id.clone()).or_default().push(number);
            return number;
        };
        if let Some(claim) = self.subjects.get_mut(as_index(number)) {
            claim.is_declared = true;
            if let (Some(register), Some(declared)) = (&mut claim.register, register_of(subject)) {
                let _judged_with_its_next_reading = register.redeclare(declared);
            }
        }
        number
    }

    /// A claim is right: from its first reading on the GPU is that node's.
    fn bind(&mut self, id: &SubjectId, claim: u32) {
        let Some(former) = self.index.insert(id.clone(), claim) else { return };
        let others = self.others.entry(id.clone()).or_default();
        others.retain(|number| *number != claim);
        others.push(former);
        let Some(subject) = self.subjects.get_mut(as_index(former)) else { return };
        subject.tenure = Tenure::Former;
        let from = subject.node.clone();
        let Some(subject) = self.subjects.get_mut(as_index(claim)) else { return };
        subject.tenure = Tenure::Bound;
        let to = subject.node.clone();
        let first = subject.cells.keys().next().copied().unwrap_or(i64::MAX);
        self.by_node.entry(to.clone()).or_default().insert(id.clone());
        self.touch(Touched { from: first, to: i64::MAX });
        self.tell_moved(id, &from, &to);
    }

    fn tell_moved(&mut self, id: &SubjectId, from: &NodeId, to: &NodeId) {
        self.moves = self.moves.saturating_add(1);
        let at = self.now.unwrap_or(0);
        let words = format!("moved from {from} to {to}");
        self.events.push(EventKind::Moved, at, id.to_string(), words);
    }

    fn bound(&self, id: &SubjectId) -> Option<&SubjectState> {
        self.subjects.get(as_index(*self.index.get(id)?))
    }

    fn claimed_by(&self, node: &NodeId) -> impl Iterator<Item = &SubjectId> {
        let others = self.others.values().flatten();
        let claims = others.filter_map(|number| self.subjects.get(as_index(*number)));
        claims
            .filter(move |it| it.node == *node && it.tenure == Tenure::Claimed)
            .map(|claim| &claim.id)
    }

    /// Of every node that has or had or claims it.
    fn numbers_of(&self, id: &SubjectId) -> Vec<u32> {
        let others = self.others.get(id).into_iter().flatten();
        others.chain(self.index.get(id)).copied().collect()
    }

    /// Every subject at every node that has or had it, by id; claims are not among them.
    pub(super) fn tenures(&self) -> impl Iterator<Item = &SubjectState> {
        let numbers = self.index.iter().flat_map(|(id, bound)| {
            self.others.get(id).into_iter().flatten().chain(std::iter::once(bound))
        });
        numbers
            .filter_map(|number| self.subjects.get(as_index(*number)))
            .filter(|subject| subject.tenure != Tenure::Claimed)
    }

    /// The node that had a device in an interval.
    pub(super) fn node_in(&self, device: &SubjectId, start: i64) -> Option<NodeId> {
        let had = self.others.get(device).into_iter().flatten().find_map(|number| {
            let subject = self.subjects.get(as_index(*number))?;
            let is_former = subject.tenure == Tenure::Former && subject.cells.contains_key(&start);
            is_former.then(|| subject.node.clone())
        });
        had.or_else(|| Some(self.bound(device)?.node.clone()))
    }
}

const fn handle(index: u32) -> RegisterHandle {
    RegisterHandle { index, is_held_out: false }
}
