//! Which node has a subject, and how it comes to another: a GPU that is put into another machine,
//! a meter that another gateway asks from now on.
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
use crate::subject::{Declared, RegisterHandle, SubjectState, Tenure};

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
