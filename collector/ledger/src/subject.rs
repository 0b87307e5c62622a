//! What the books know of one subject, and how callers name it quickly.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use bijli_wire::{Milliwatts, NodeId, SubjectId, SubjectKind, UtcMillis};

use crate::allocation::Holdings;
use crate::class::ByClass;
use crate::profile::Cell;
use crate::register::RegisterState;

/// A subject as `Books::declare` named it: no lookup is needed to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterHandle {
    pub(crate) index: u32,
    /// Readings under this handle are counted and not booked.
    pub(crate) is_held_out: bool,
}

/// What a declaration led to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Declared {
    /// Known for the first time, bound to this node from now on.
    New(RegisterHandle),
    /// Known, and nothing changed that breaks its register.
    Known(RegisterHandle),
    /// The register's epoch changed: its next reading is judged as a reset.
    NewEpoch(RegisterHandle),
    /// The register's scale, modulus or method changed: its next reading begins a new stretch.
    Rescaled(RegisterHandle),
    /// Another node had it until now; its energy is this node's from here on.
    Moved { from: NodeId, handle: RegisterHandle },
    /// Bound to another node. Readings under this handle are counted and held out.
    BoundElsewhere { node: NodeId, handle: RegisterHandle },
    /// A node's own register must carry the node's name, and a subject keeps its kind; this one is
    /// held out.
    NotItsName { handle: RegisterHandle },
}

impl Declared {
    /// The handle under which this declarer's readings come.
    #[must_use]
    pub const fn handle(&self) -> RegisterHandle {
        match self {
            Self::New(handle)
            | Self::Known(handle)
            | Self::NewEpoch(handle)
            | Self::Rescaled(handle)
            | Self::Moved { handle, .. }
            | Self::BoundElsewhere { handle, .. }
            | Self::NotItsName { handle } => *handle,
        }
    }
}

/// What was counted of a subject's readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub resets: u64,
    pub wraps: u64,
    pub step_backs: u64,
    pub implausible: u64,
    /// New stretches: rebased, ambiguous and unexplained.
    pub broken: u64,
    pub missing: u64,
    pub late: u64,
    pub held_out: u64,
}

/// One subject for the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectStatus<'a> {
    pub id: &'a SubjectId,
    pub kind: SubjectKind,
    pub node: &'a NodeId,
    pub has_register: bool,
    /// The last reading that was used, and its raw count.
    pub last: Option<(UtcMillis, u64)>,
    /// Everything ever booked of its register, by class.
    pub booked: ByClass,
    /// Energy whose interval could no longer be corrected; not in `booked`.
    pub too_old_mj: u128,
    pub counts: Counts,
    /// Mean over the last measured step; `None` before one.
    pub power: Option<Milliwatts>,
}

/// What the books hold of a subject's being at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Tenure {
    Bound,
    /// It was there; what was read there stays that node's.
    Former,
    /// The node says so, and another one has it: what is read is kept and not booked.
    Claimed,
}

/// One subject at one node, in the books.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SubjectState {
    pub(crate) id: SubjectId,
    pub(crate) kind: SubjectKind,
    pub(crate) node: NodeId,
    pub(crate) tenure: Tenure,
    /// The node named it when it last declared what it has.
    pub(crate) is_declared: bool,
    pub(crate) register: Option<RegisterState>,
    pub(crate) booked: ByClass,
    pub(crate) too_old_mj: u128,
    pub(crate) counts: Counts,
    /// By interval start.
    pub(crate) cells: BTreeMap<i64, Cell>,
}

impl SubjectState {
    pub(crate) fn status(&self) -> SubjectStatus<'_> {
        let register = self.register.as_ref();
        SubjectStatus {
            id: &self.id,
            kind: self.kind,
            node: &self.node,
            has_register: register.is_some(),
            last: register.and_then(RegisterState::last),
            booked: self.booked,
            too_old_mj: self.too_old_mj,
            counts: self.counts,
            power: register.and_then(RegisterState::power),
        }
    }

    /// Makes runs of what was read of `[start, end)`, with the holds known now.
    pub(crate) fn compact(&mut self, start: i64, end: i64, holdings: &Holdings) {
        let Some(cell) = self.cells.get_mut(&start).filter(|cell| cell.is_open()) else { return };
        cell.compact(&holdings.edges_of_device(&self.id, &self.node, start, end));
    }

    /// Only a GPU is held, so only its profile matters.
    pub(crate) fn keeps_steps(&self) -> bool {
        self.kind == SubjectKind::Gpu
    }
}
