//! What is compared: the registers of this node's GPUs, and a meter of its configuration if one is
//! the reference.

use bijli_wire::batch::Register;
use bijli_wire::{Quantity, SubjectId, SubjectKind};

use crate::probe::{Cadence, Described, Description, Probe, Tick, describe_all};

/// Where one energy register is.
struct Source {
    probe: usize,
    cadence: Cadence,
    /// Among the values of its cadence.
    column: usize,
    id: SubjectId,
    register: Register,
}

/// The probes, and which of their values count.
pub(super) struct Bench {
    probes: Vec<Box<dyn Probe>>,
    gpus: Vec<Source>,
    reference: Option<Source>,
}

/// Why nothing can be compared here.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("no GPU with an energy register was found: see `bijli-agent check`")]
    NoGpu,
    #[error("{id} has no energy register here; those that have: {known}")]
    NoReference { id: String, known: String },
    #[error("{id} could not be read")]
    Unread { id: SubjectId },
}

impl Bench {
    /// Describes everything; `reference` is the id of a subject that is no GPU.
    pub(super) fn new(
        probes: Vec<Box<dyn Probe>>,
        reference: Option<&str>,
    ) -> Result<Self, BenchError> {
        let (mut kept, mut gpus, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for Described { probe, outcome } in describe_all(probes) {
            let Ok(description) = outcome else { continue };
            for source in registers(kept.len(), &description) {
                let kind = description.subjects.iter().find(|subject| subject.id == source.id);
                let is_gpu = kind.is_some_and(|subject| subject.kind == SubjectKind::Gpu);
                if is_gpu { gpus.push(source) } else { others.push(source) }
            }
            kept.push(probe);
        }
        if gpus.is_empty() {
            return Err(BenchError::NoGpu);
        }
        let known = others.iter().map(|source| source.id.as_str()).collect::<Vec<_>>().join(", ");
        let found = |id: &str| {
            let place = others.iter().position(|source| source.id.as_str() == id);
            let none = || BenchError::NoReference { id: id.to_owned(), known: known.clone() };
            place.ok_or_else(none)
        };
        let place = reference.map(found).transpose()?;
        let reference = place.map(|place| others.swap_remove(place));
        Ok(Self { probes: kept, gpus, reference })
    }

    pub(super) fn devices(&self) -> Vec<SubjectId> {
        self.gpus.iter().map(|source| source.id.clone()).collect()
    }

    /// What one count of the reference is worth, in millijoules, at least one.
    pub(super) fn resolution_mj(&self) -> u64 {
        let register = self.reference.as_ref().map(|source| source.register);
        register.map_or(1, |r| (r.numerator / r.denominator.max(1)).max(1))
    }

    /// What all GPUs' registers show, in millijoules each, in the order of [`Bench::devices`].
    pub(super) fn registers(&mut self, now: Tick) -> Vec<Option<u64>> {
        read(&mut self.probes, &self.gpus, now)
    }

    /// What the reference meter shows, in millijoules; `None` where there is no such meter.
    pub(super) fn reference(&mut self, now: Tick) -> Option<Result<u64, BenchError>> {
        let source = self.reference.as_ref()?;
        let shown = read(&mut self.probes, std::slice::from_ref(source), now);
        let unread = || BenchError::Unread { id: source.id.clone() };
        Some(shown.first().copied().flatten().ok_or_else(unread))
    }
}

/// The energy registers of one probe.
fn registers(probe: usize, description: &Description) -> Vec<Source> {
    let mut sources = Vec::new();
    for cadence in description.cadences() {
        for (column, offer) in description.of(cadence).enumerate() {
            let subject = description.subjects.get(offer.subject);
            let register =
                subject.and_then(|subject| Some((subject.id.clone(), subject.register?)));
            if let (Quantity::EnergyRegister, 0, Some((id, register))) =
                (offer.quantity, offer.part, register)
            {
                sources.push(Source { probe, cadence, column, id, register });
            }
        }
    }
    sources
}

/// One reading of each probe that has one of the sources.
fn read(probes: &mut [Box<dyn Probe>], sources: &[Source], now: Tick) -> Vec<Option<u64>> {
    let mut last = None;
    let mut values = Vec::new();
    for source in sources {
        let key = (source.probe, source.cadence);
        if last.as_ref().is_none_or(|(known, _)| *known != key) {
            let probe = probes.get_mut(source.probe);
            let samples = probe.map(|probe| probe.read(&[source.cadence], now)).unwrap_or_default();
            last = Some((key, samples.into_iter().next_back()));
        }
        let sample = last.as_ref().and_then(|(_, sample)| sample.as_ref());
        let count = sample.and_then(|sample| sample.values.get(source.column).copied().flatten());
        values.push(count.and_then(|count| millijoules(count, source.register)));
    }
    values
}

fn millijoules(count: i64, register: Register) -> Option<u64> {
    let count = u128::try_from(count).ok()?;
    let worth = count * u128::from(register.numerator) / u128::from(register.denominator.max(1));
    u64::try_from(worth).ok()
}
