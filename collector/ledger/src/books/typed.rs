//! Readings that a person typed: what they change, and how they compare with an agent's register.

use std::collections::BTreeMap;

use bijli_wire::units::human_energy;
use bijli_wire::{SubjectId, SubjectKind, UtcMillis};

use super::{Books, as_index};
use crate::allocation::{PutVerdict, Touched};
use crate::diagram::Diagram;
use crate::event::EventKind;
use crate::interpolate::proportion;
use crate::meterbook::{Between, Compared, Measure, MeterBookError, Typed, TypedReading};
use crate::subject::SubjectState;

/// What the stretch that a typed reading ends is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypedUse {
    /// It is the first of its meter, or of a meter at no point of the diagram.
    Kept,
    /// Its energy is in the books.
    Booked,
    /// An agent read the meter in that time. Its register is booked wherever it has a reading, and
    /// compared with this.
    Witness,
}

/// A typed reading for the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedStatus<'a> {
    pub reading: &'a TypedReading,
    /// The reading before it, and the energy since; `None`: it is the first.
    pub since: Option<(&'a TypedReading, u64)>,
    pub used: TypedUse,
    /// Of that energy, what came too late to be booked.
    pub too_old_mj: u64,
    /// `None`: the agent's register does not cover the stretch, or it is not closed yet.
    pub compared: Option<Compared>,
    /// How far display and intervals can be off by themselves.
    pub doubt_mj: Option<u128>,
}

impl TypedStatus<'_> {
    /// Whether display and register contradict each other.
    #[must_use]
    pub fn is_disputed(&self) -> bool {
        let (Some((_, typed)), Some(compared), Some(doubt)) =
            (self.since, self.compared, self.doubt_mj)
        else {
            return false;
        };
        u128::from(typed).abs_diff(compared.agent_mj) > doubt
    }
}

impl Books {
    /// Puts a typed reading that came in at `received`. The same id again corrects it.
    ///
    /// # Errors
    /// Says what is wrong with it; nothing changed.
    pub fn put_typed(
        &mut self,
        reading: TypedReading,
        received: UtcMillis,
    ) -> Result<PutVerdict, MeterBookError> {
        let kind = self.subject(&reading.meter).map(|subject| subject.kind);
        if kind.is_some_and(|kind| kind != SubjectKind::Meter) {
            return Err(MeterBookError::NoMeter { meter: reading.meter });
        }
        if reading.measure != Measure::Energy && self.is_point(&reading.meter) {
            return Err(MeterBookError::NoEnergy { meter: reading.meter });
        }
        let (meter, at) = (reading.meter.clone(), reading.at.get());
        self.begin(received.get());
        let (verdict, touched) = self.meterbook.put(reading, received, self.horizon)?;
        for span in touched {
            self.touch_all(span);
        }
        let too_old_mj = self.meterbook.get_mut(&meter, at).map_or(0, |typed| typed.too_old_mj);
        if verdict != PutVerdict::Unchanged && too_old_mj > 0 {
            let words = format!(
                "{too_old_mj} mJ were typed too late: their intervals are corrected no more"
            );
            self.events.push(EventKind::TooOld, at, meter.to_string(), words);
        }
        self.compare_typed();
        Ok(verdict)
    }

    /// Whether the newest diagram has a meter at one of its points.
    fn is_point(&self, meter: &SubjectId) -> bool {
        let diagram = self.diagrams.values().next_back();
        let mut points = diagram.into_iter().flat_map(Diagram::points);
        points.any(|point| point.meter.as_ref() == Some(meter))
    }

    /// What a person's readings of a meter say that it counted between two moments, cut evenly
    /// within a stretch; `None`: they do not span all of it, or are of another measure.
    #[must_use]
    pub fn typed_between(
        &self,
        meter: &SubjectId,
        measure: Measure,
        (from, to): (UtcMillis, UtcMillis),
    ) -> Option<u64> {
        self.meterbook.spanned((meter, measure), from.get(), to.get())
    }

    /// As `touch`, with intervals of before the books began.
    fn touch_all(&mut self, span: Touched) {
        let mut start = self.floor(span.from.max(self.oldest(span.to)));
        let end = span.to.min(self.closed_until.unwrap_or(i64::MIN));
        while start < end {
            self.touch_one(start);
            start = start.saturating_add(self.interval_ms);
        }
    }

    /// Every typed reading that is held, by meter, oldest first.
    pub fn typed(&self) -> impl Iterator<Item = TypedStatus<'_>> {
        self.meterbook.iter().map(|typed| self.typed_status(typed))
    }

    /// Meters that a person reads and no agent ever did, with the time of their last reading.
    #[must_use]
    pub fn by_hand(&self) -> BTreeMap<&SubjectId, UtcMillis> {
        let is_heard = |meter: &SubjectId| {
            let register = self.subject_of(meter).and_then(|subject| subject.register.as_ref());
            register.is_some_and(|register| register.heard().is_some())
        };
        let readings = self.meterbook.iter().map(|typed| &typed.reading);
        let mine = readings.filter(|reading| !is_heard(&reading.meter));
        // By meter, oldest first: the last one stays.
        mine.map(|reading| (&reading.meter, reading.at)).collect()
    }

    /// The typed reading of an id.
    #[must_use]
    pub fn typed_of(&self, id: &str) -> Option<TypedStatus<'_>> {
        self.meterbook.get(id).map(|typed| self.typed_status(typed))
    }

    fn typed_status<'a>(&'a self, typed: &'a Typed) -> TypedStatus<'a> {
        let Typed { reading, compared, too_old_mj } = typed;
        let between = self.meterbook.between(&reading.meter, reading.at.get());
        let is_placed = self.diagram_at(reading.at).is_some_and(|diagram| {
            diagram.points().any(|point| point.meter.as_ref() == Some(&reading.meter))
        });
        let used = match &between {
            Some(between) if self.is_read_by_agent(between) => TypedUse::Witness,
            Some(_) if is_placed => TypedUse::Booked,
            Some(_) | None => TypedUse::Kept,
        };
        TypedStatus {
            reading,
            since: between.map(|between| (between.before, between.energy)),
            used,
            too_old_mj: *too_old_mj,
            compared: *compared,
            doubt_mj: between
                .zip(*compared)
                .map(|(between, compared)| between.step().saturating_add(compared.cut_mj)),
        }
    }

    fn is_read_by_agent(&self, between: &Between<'_>) -> bool {
        let register = self.subject_of(&between.after.meter).and_then(|s| s.register.as_ref());
        let heard = register.and_then(|register| register.heard());
        let (from, to) = (between.before.at.get(), between.after.at.get());
        heard.is_some_and(|(first, last)| first < to && last > from)
    }

    fn subject_of(&self, id: &SubjectId) -> Option<&SubjectState> {
        self.subjects.get(as_index(*self.index.get(id)?))
    }

    /// Compares what can be compared by now and was not yet.
    pub(super) fn compare_typed(&mut self) {
        let fresh = self.meterbook.iter().filter(|typed| typed.compared.is_none());
        let found: Vec<(SubjectId, i64, Compared)> = fresh
            .filter_map(|typed| {
                let (meter, at) = (&typed.reading.meter, typed.reading.at.get());
                let between = self.meterbook.between(meter, at)?;
                if between.after.measure != Measure::Energy {
                    return None;
                }
                let (from, to) = (between.before.at, between.after.at);
                Some((meter.clone(), at, self.counted(&between.after.meter, from, to)?))
            })
            .collect();
        for (meter, at, compared) in found {
            if let Some(typed) = self.meterbook.get_mut(&meter, at) {
                typed.compared = Some(compared);
            }
            self.tell_dispute(&meter, at, compared);
        }
    }

    /// What the agent's register counted over a stretch, if it covers all intervals of it and they
    /// are closed.
    #[must_use]
    pub fn counted(&self, meter: &SubjectId, from: UtcMillis, to: UtcMillis) -> Option<Compared> {
        let (from, to) = (from.get(), to.get());
        let subject = self.subject_of(meter)?;
        let mut start = self.floor(from);
        let is_kept = start >= self.horizon && to <= self.closed_until?;
        let interval = self.rules.interval.get();
        let mut sum = Compared { agent_mj: 0, cut_mj: 0 };
        while is_kept && start < to {
            let end = start.saturating_add(self.interval_ms);
            let cell = subject.cells.get(&start)?;
            if u64::from(cell.covered_ms()) < interval {
                return None;
            }
            let energy = u64::try_from(cell.energy().total()).ok()?;
            let inside = to.min(end).abs_diff(from.max(start));
            let part = proportion(energy, inside, interval);
            sum.agent_mj = sum.agent_mj.saturating_add(u128::from(part));
            if inside < interval {
                sum.cut_mj = sum.cut_mj.saturating_add(u128::from(energy));
            }
            start = end;
        }
        is_kept.then_some(sum)
    }

    fn tell_dispute(&mut self, meter: &SubjectId, at: i64, compared: Compared) {
        let Some(typed) = self.meterbook.get_mut(meter, at).map(|typed| typed.clone()) else {
            return;
        };
        let status = self.typed_status(&typed);
        let Some((before, energy)) = status.since.filter(|_| status.is_disputed()) else { return };
        let doubt = status.doubt_mj.unwrap_or(0);
        let (typed_mj, agent_mj) = (u128::from(energy), compared.agent_mj);
        let words = format!(
            "from reading {:?} to {:?} the display counted {}, the agent's register {}: they are \
             {} apart, and display and intervals explain {}",
            before.id,
            typed.reading.id,
            human_energy(typed_mj),
            human_energy(agent_mj),
            human_energy(typed_mj.abs_diff(agent_mj)),
            human_energy(doubt),
        );
        self.events.push(EventKind::Dispute, at, meter.to_string(), words);
    }
}
