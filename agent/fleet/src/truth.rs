//! What the books must come to: exact energies, known because the fleet made them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bijli_wire::{Millijoules, ProjectId, SubjectId, UtcMillis};

/// The energies of a period, from the fleet's start or between two kept truths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    pub from: UtcMillis,
    pub to: UtcMillis,
    pub(crate) subjects: Arc<Catalogue>,
    /// In the order of the catalogue.
    pub(crate) energies: Vec<Millijoules>,
    /// Energy of GPUs that a project's jobs held; every project of the specification is here.
    pub projects: BTreeMap<ProjectId, ProjectEnergy>,
    /// Energy of GPUs that nobody held; all of them idle.
    pub unallocated_idle: Millijoules,
    pub store: StoreEnergy,
}

/// GPU energy of one project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectEnergy {
    pub gpu_active: Millijoules,
    /// Held by a job, at utilization 0 and without a process.
    pub gpu_held_idle: Millijoules,
}

/// What happens inside the UPS, where no meter is. Its input + `drawn` = its output + `ups_loss`
/// + `charged`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreEnergy {
    pub drawn: Millijoules,
    pub charged: Millijoules,
    pub ups_loss: Millijoules,
}

/// Which register stands where; the same for the fleet's whole life.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Catalogue(BTreeMap<SubjectId, usize>);

impl Catalogue {
    pub(crate) fn new(subjects: impl Iterator<Item = SubjectId>) -> Self {
        Self(subjects.zip(0..).collect())
    }
}

impl Truth {
    /// The energy of a GPU, CPU package, DRAM, node or meter by its subject id; `None`: the hub
    /// has no such register.
    #[must_use]
    pub fn energy(&self, subject: &SubjectId) -> Option<Millijoules> {
        self.subjects.0.get(subject).and_then(|place| self.energies.get(*place)).copied()
    }

    /// Every register's energy, by subject id.
    pub fn energies(&self) -> impl Iterator<Item = (&SubjectId, Millijoules)> {
        let energy = |place: &usize| *self.energies.get(*place).expect("one for each subject");
        self.subjects.0.iter().map(move |(subject, place)| (subject, energy(place)))
    }

    /// What came after `earlier`; `None` unless both are of one fleet, from one moment, and in
    /// this order.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let is_comparable = self.from == earlier.from
            && self.to >= earlier.to
            && self.subjects == earlier.subjects
            && self.projects.len() == earlier.projects.len();
        if !is_comparable {
            return None;
        }
        let energies = self.energies.iter().zip(&earlier.energies);
        let projects = self.projects.iter().map(|(project, energy)| {
            let before = earlier.projects.get(project)?;
            Some((project.clone(), energy.since(*before)?))
        });
        Some(Self {
            from: earlier.to,
            to: self.to,
            subjects: Arc::clone(&self.subjects),
            energies: energies.map(|(now, then)| now.checked_sub(*then)).collect::<Option<_>>()?,
            projects: projects.collect::<Option<_>>()?,
            unallocated_idle: self.unallocated_idle.checked_sub(earlier.unallocated_idle)?,
            store: self.store.since(earlier.store)?,
        })
    }
}

impl ProjectEnergy {
    fn since(self, earlier: Self) -> Option<Self> {
        Some(Self {
            gpu_active: self.gpu_active.checked_sub(earlier.gpu_active)?,
            gpu_held_idle: self.gpu_held_idle.checked_sub(earlier.gpu_held_idle)?,
        })
    }
}

impl StoreEnergy {
    fn since(self, earlier: Self) -> Option<Self> {
        Some(Self {
            drawn: self.drawn.checked_sub(earlier.drawn)?,
            charged: self.charged.checked_sub(earlier.charged)?,
            ups_loss: self.ups_loss.checked_sub(earlier.ups_loss)?,
        })
    }
}
