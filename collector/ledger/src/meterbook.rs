//! The meter book: what a person read off a meter's display and wrote down.
//!
//! A typed reading is a register count like any other, so the energy between two of them is exact
//! to the resolution of the display; when within that time it was used nobody knows. So a stretch
//! is spread evenly over its time, and every part of it is of class bridged.
//!
//! # Invariants
//! - The readings of one meter rise, in the order of time, but where one declares a restart (a
//!   swapped or reset meter) or a rollover. What would break that is refused, and nothing changes.
//! - What an interval has of a stretch depends on the readings as they stand, not on the order in
//!   which they were typed or corrected.
//! - The parts of a stretch sum to its energy, to the millijoule.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use bijli_wire::limits::POWER_MW_MAX;
use bijli_wire::units::human_energy;
use bijli_wire::{SubjectId, UtcMillis};

use crate::allocation::{PutVerdict, Touched};
use crate::class::{Activity, Class};
use crate::interpolate::Ramp;
use crate::profile::{Cell, Step};
use crate::rules::{
    ALLOCATION_ID_BYTES_MAX, ALLOCATION_TEXT_BYTES_MAX, TYPED_AHEAD_MS_MAX, TYPED_METERS_MAX,
    TYPED_PER_METER_MAX,
};

/// What a meter counts. Append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Measure {
    /// In millijoules.
    Energy,
    /// Of water or fuel, in millilitres. In no balance; only figures beside PUE ask for it.
    Volume,
}

impl Measure {
    /// The most that any meter counts in a millisecond, times a thousand: 1 GW, or a cubic metre a
    /// second.
    const fn most(self) -> u128 {
        match self {
            // mW x ms = uJ, a thousand to the millijoule.
            Self::Energy => POWER_MW_MAX as u128,
            Self::Volume => 1_000_000,
        }
    }
}

/// What a display showed, in millijoules or millilitres: the factor before the meter is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// As it was typed, with its unit.
    pub text: String,
    /// What one unit of the display is worth because of transformers before the meter; 1: none.
    pub factor: u32,
    /// The count, factor included.
    pub count: u128,
    /// The last digit that was typed, factor included.
    pub step: u128,
}

/// One typed reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypedReading {
    /// 1 to 96 bytes without control characters. The same id again corrects.
    pub id: String,
    pub meter: SubjectId,
    pub at: UtcMillis,
    pub measure: Measure,
    pub shown: Shown,
    /// Since the reading before, the display passed its last number once: it began again at this
    /// count, factor included.
    pub rollover: Option<u128>,
    /// At this moment the meter was swapped, reset or its transformers changed: `shown` is the last
    /// count of the old one, and this the first of the new one.
    pub restart: Option<Shown>,
    /// Who stands for it.
    pub who: String,
    /// Why, or a remark.
    pub why: String,
    /// SHA-256 of a photograph that somebody keeps.
    pub photo: Option<[u8; 32]>,
}

/// Why a typed reading was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeterBookError {
    #[error(
        "a reading's {what} needs 1 to {most} bytes without control characters; it has {bytes}"
    )]
    Text { what: &'static str, most: usize, bytes: usize },
    #[error("its time is not over yet: a reading is typed after it was read")]
    Ahead { at: UtcMillis },
    #[error("{meter} is a device of a node, no meter: its agent reads it")]
    NoMeter { meter: SubjectId },
    #[error("{meter} counts energy at a point of the diagram: type it with a unit of energy")]
    NoEnergy { meter: SubjectId },
    #[error(
        "{meter} counts energy in one of the readings {before:?} and {after:?} and a volume in the \
         other: correct the wrong one under its id"
    )]
    TwoMeasures { meter: SubjectId, before: String, after: String },
    #[error("{meter} has reading {other:?} at that very moment: correct it under its own id")]
    SameMoment { meter: SubjectId, other: String },
    #[error(
        "{meter} showed {} in reading {before:?} and later {} in reading {after:?}: a register does \
         not count back. Correct the wrong one under its id; if the meter was swapped or reset \
         between them, put a reading of that moment with its last count and a restart; if its \
         display passed its last number, say at how many digits",
        .shown.0, .shown.1
    )]
    Backwards { meter: SubjectId, before: String, after: String, shown: Box<(String, String)> },
    #[error(
        "{meter} has factor {} in reading {before:?} and {} in reading {after:?}: a factor changes \
         with a restart only; put a reading of that moment with the last count at the old factor \
         and a restart at the new one",
        .factors.0, .factors.1
    )]
    Factor { meter: SubjectId, before: String, after: String, factors: (u32, u32) },
    #[error(
        "reading {id:?} says that the display passed its last number, and shows no less than \
         reading {before:?}: leave the rollover out, or correct one of them"
    )]
    NoRollover { id: String, before: String },
    #[error("reading {id:?} shows more than a display of so many digits can")]
    BeyondRollover { id: String },
    #[error(
        "from reading {before:?} to reading {after:?} it would be {energy}, more than any meter's \
         1 GW in that time: is a digit or the unit wrong?"
    )]
    Power { before: String, after: String, energy: String },
    #[error(
        "from reading {before:?} to reading {after:?} it would be {millilitres} ml, more than a \
         cubic metre a second: is a digit or the unit wrong?"
    )]
    FlowRate { before: String, after: String, millilitres: u128 },
    #[error(
        "the meter book is full: {TYPED_METERS_MAX} meters, or {TYPED_PER_METER_MAX} readings of \
         one meter that can still be corrected"
    )]
    Full,
}

impl TypedReading {
    fn check(&self, received: UtcMillis) -> Result<(), MeterBookError> {
        let texts = [
            ("id", &self.id, ALLOCATION_ID_BYTES_MAX),
            ("value", &self.shown.text, ALLOCATION_ID_BYTES_MAX),
            ("who", &self.who, ALLOCATION_TEXT_BYTES_MAX),
            ("why", &self.why, ALLOCATION_TEXT_BYTES_MAX),
        ];
        for (what, text, most) in texts {
            let bytes = text.len();
            if bytes == 0 || bytes > most || text.chars().any(char::is_control) {
                return Err(MeterBookError::Text { what, most, bytes });
            }
        }
        if self.at.get() > received.get().saturating_add(TYPED_AHEAD_MS_MAX) {
            return Err(MeterBookError::Ahead { at: self.at });
        }
        if self.rollover.is_some_and(|turn| self.shown.count >= turn) {
            return Err(MeterBookError::BeyondRollover { id: self.id.clone() });
        }
        Ok(())
    }

    /// What the meter counts on from after this reading.
    fn left(&self) -> &Shown {
        self.restart.as_ref().unwrap_or(&self.shown)
    }

    /// The energy from this reading to a later one.
    fn until(&self, after: &Self) -> Result<u64, MeterBookError> {
        let (from, to) = (self.left(), &after.shown);
        let ids = || (self.meter.clone(), self.id.clone(), after.id.clone());
        if self.measure != after.measure {
            let (meter, before, after) = ids();
            return Err(MeterBookError::TwoMeasures { meter, before, after });
        }
        if from.factor != to.factor {
            let ((meter, before, after), factors) = (ids(), (from.factor, to.factor));
            return Err(MeterBookError::Factor { meter, before, after, factors });
        }
        let energy = match (to.count.checked_sub(from.count), after.rollover) {
            (Some(energy), None) => energy,
            (Some(_), Some(_)) => {
                let (id, before) = (after.id.clone(), self.id.clone());
                return Err(MeterBookError::NoRollover { id, before });
            }
            (None, Some(turn)) => {
                let rest = turn.checked_sub(from.count);
                let rest = rest.ok_or(MeterBookError::BeyondRollover { id: after.id.clone() })?;
                rest.saturating_add(to.count)
            }
            (None, None) => {
                let (meter, before, after) = ids();
                let shown = Box::new((from.text.clone(), to.text.clone()));
                return Err(MeterBookError::Backwards { meter, before, after, shown });
            }
        };
        let span = u128::from(after.at.get().abs_diff(self.at.get()));
        let most = self.measure.most().saturating_mul(span);
        let possible = u64::try_from(energy).ok().filter(|_| energy.saturating_mul(1_000) <= most);
        possible.ok_or_else(|| {
            let (before, after) = (self.id.clone(), after.id.clone());
            match self.measure {
                Measure::Energy => {
                    MeterBookError::Power { before, after, energy: human_energy(energy) }
                }
                Measure::Volume => MeterBookError::FlowRate { before, after, millilitres: energy },
            }
        })
    }
}

/// What an agent's register counted over the stretch that a typed reading ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// By the agent's register; shares of intervals that the stretch cuts go by time.
    pub agent_mj: u128,
    /// The whole energy of the intervals that the stretch cuts: so much may belong outside it.
    pub cut_mj: u128,
}

/// A stretch between two successive readings of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Between<'a> {
    pub(crate) before: &'a TypedReading,
    pub(crate) after: &'a TypedReading,
    pub(crate) energy: u64,
}

impl Between<'_> {
    /// What the display can be off by over the stretch: it shows whole digits at both ends.
    pub(crate) fn step(&self) -> u128 {
        self.before.left().step.max(self.after.shown.step)
    }
}

/// A reading and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Typed {
    pub(crate) reading: TypedReading,
    pub(crate) compared: Option<Compared>,
    /// Of its stretch, what was of intervals that could no longer be corrected when it was put.
    pub(crate) too_old_mj: u64,
}

/// All typed readings of a hub.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct MeterBook {
    meters: BTreeMap<SubjectId, BTreeMap<i64, Typed>>,
    by_id: BTreeMap<String, (SubjectId, i64)>,
}

impl MeterBook {
    /// By meter, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Typed> {
        self.meters.values().flat_map(BTreeMap::values)
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Typed> {
        let (meter, at) = self.by_id.get(id)?;
        self.meters.get(meter)?.get(at)
    }

    pub(crate) fn get_mut(&mut self, meter: &SubjectId, at: i64) -> Option<&mut Typed> {
        self.meters.get_mut(meter)?.get_mut(&at)
    }

    /// Puts a reading; tells which time it touches. The same id again replaces.
    pub(crate) fn put(
        &mut self,
        new: TypedReading,
        received: UtcMillis,
        horizon: i64,
    ) -> Result<(PutVerdict, Vec<Touched>), MeterBookError> {
        new.check(received)?;
        if self.get(&new.id).is_some_and(|held| held.reading == new) {
            return Ok((PutVerdict::Unchanged, Vec::new()));
        }
        let (id, place) = (new.id.clone(), (new.meter.clone(), new.at.get()));
        let old_place = self.by_id.get(&id).cloned();
        let mut touched: Vec<Touched> = old_place.iter().map(|place| self.around(place)).collect();
        let old = self.take(&id);
        let outcome = self.insert(new, horizon).and_then(|()| {
            let places = [Some(&place), old_place.as_ref()];
            places.into_iter().flatten().try_for_each(|place| self.check_around(place))
        });
        if let Err(error) = outcome {
            if self.by_id.get(&id) == Some(&place) {
                self.take(&id);
            }
            old.into_iter().for_each(|old| self.restore(old));
            return Err(error);
        }
        touched.push(self.around(&place));
        for place in [Some(&place), old_place.as_ref()].into_iter().flatten() {
            self.forget_compared(place);
        }
        self.note_too_old(&place, horizon);
        Ok((if old.is_some() { PutVerdict::Replaced } else { PutVerdict::New }, touched))
    }

    fn insert(&mut self, new: TypedReading, horizon: i64) -> Result<(), MeterBookError> {
        let is_room = self.meters.contains_key(&new.meter) || self.meters.len() < TYPED_METERS_MAX;
        let readings = self.meters.get(&new.meter);
        if let Some(there) = readings.and_then(|readings| readings.get(&new.at.get())) {
            let (meter, other) = (new.meter, there.reading.id.clone());
            return Err(MeterBookError::SameMoment { meter, other });
        }
        if readings.is_some_and(|readings| readings.len() >= TYPED_PER_METER_MAX) {
            self.let_go(&new.meter, horizon)?;
        }
        if !is_room {
            return Err(MeterBookError::Full);
        }
        self.restore(Typed { reading: new, compared: None, too_old_mj: 0 });
        Ok(())
    }

    /// Lets the eldest reading of a meter go, if no interval that it touches can be corrected. It
    /// stays in the journal.
    fn let_go(&mut self, meter: &SubjectId, horizon: i64) -> Result<(), MeterBookError> {
        let readings = self.meters.get(meter).into_iter().flat_map(BTreeMap::values);
        let mut eldest = readings.take(2);
        let (Some(eldest), Some(next)) = (eldest.next(), eldest.next()) else { return Ok(()) };
        if next.reading.at.get() > horizon {
            return Err(MeterBookError::Full);
        }
        let id = eldest.reading.id.clone();
        self.take(&id);
        Ok(())
    }

    fn restore(&mut self, typed: Typed) {
        let (meter, at) = (typed.reading.meter.clone(), typed.reading.at.get());
        self.by_id.insert(typed.reading.id.clone(), (meter.clone(), at));
        self.meters.entry(meter).or_default().insert(at, typed);
    }

    fn take(&mut self, id: &str) -> Option<Typed> {
        let (meter, at) = self.by_id.remove(id)?;
        let readings = self.meters.get_mut(&meter)?;
        let typed = readings.remove(&at);
        if readings.is_empty() {
            self.meters.remove(&meter);
        }
        typed
    }

    /// The reading before a moment, the one at it, and the one after it, as far as they are there.
    fn neighbours(&self, (meter, at): &(SubjectId, i64)) -> [Option<&Typed>; 3] {
        let Some(readings) = self.meters.get(meter) else { return [None; 3] };
        let before = readings.range(..at).next_back().map(|(_, typed)| typed);
        let after = readings.range((Excluded(at), Unbounded)).next().map(|(_, typed)| typed);
        [before, readings.get(at), after]
    }

    fn check_around(&self, place: &(SubjectId, i64)) -> Result<(), MeterBookError> {
        let there: Vec<&Typed> = self.neighbours(place).into_iter().flatten().collect();
        there.windows(2).try_for_each(|pair| match pair {
            [before, after] => before.reading.until(&after.reading).map(|_energy| ()),
            _ => Ok(()),
        })
    }

    /// From the reading before a place to the one after it.
    fn around(&self, place: &(SubjectId, i64)) -> Touched {
        let [before, _, after] = self.neighbours(place);
        let at = |typed: Option<&Typed>| typed.map_or(place.1, |typed| typed.reading.at.get());
        Touched { from: at(before), to: at(after) }
    }

    /// What was compared of stretches that are others now.
    fn forget_compared(&mut self, place: &(SubjectId, i64)) {
        let next = self.neighbours(place)[2].map(|typed| typed.reading.at.get());
        for at in [Some(place.1), next].into_iter().flatten() {
            if let Some(typed) = self.get_mut(&place.0, at) {
                typed.compared = None;
            }
        }
    }

    fn note_too_old(&mut self, (meter, at): &(SubjectId, i64), horizon: i64) {
        let Some(between) = self.between(meter, *at) else { return };
        if between.after.measure != Measure::Energy {
            return; // No interval is derived from it.
        }
        let lost = ramp(&between).at(horizon);
        if let Some(typed) = self.get_mut(meter, *at) {
            typed.too_old_mj = lost;
        }
    }

    /// The stretch that ends with the reading at a moment; `None`: it is the meter's first.
    pub(crate) fn between(&self, meter: &SubjectId, at: i64) -> Option<Between<'_>> {
        let readings = self.meters.get(meter)?;
        let after = &readings.get(&at)?.reading;
        let before = &readings.range(..at).next_back()?.1.reading;
        let energy = before.until(after).ok()?;
        Some(Between { before, after, energy })
    }

    /// What an interval has of a meter; `None`: no stretch reaches into it.
    pub(crate) fn cell(&self, meter: &SubjectId, start: i64, end: i64) -> Option<Cell> {
        let readings = self.meters.get(meter)?;
        if readings.values().any(|typed| typed.reading.measure != Measure::Energy) {
            return None;
        }
        let mut cell = None;
        let begun = readings.range(..=start).next_back().map_or(start, |(at, _)| *at);
        for (at, _) in readings.range((Excluded(begun), Unbounded)) {
            if let Some(between) = self.between(meter, *at) {
                let (from, to) = (between.before.at.get().max(start), (*at).min(end));
                let step = Step {
                    from: offset(start, from),
                    to: offset(start, to),
                    energy: ramp(&between).between(from, to),
                    class: Class::Bridged,
                    activity: Activity::Unknown,
                };
                cell.get_or_insert_with(Cell::default).push(step, true, false);
            }
            if *at >= end {
                break;
            }
        }
        cell
    }
}

impl MeterBook {
    /// What a meter counted between two moments, cut evenly; `None`: its readings do not span them,
    /// or count another measure.
    pub(crate) fn spanned(
        &self,
        (meter, measure): (&SubjectId, Measure),
        start: i64,
        end: i64,
    ) -> Option<u64> {
        let readings = self.meters.get(meter)?;
        let begun = *readings.range(..=start).next_back()?.0;
        let _ends = readings.range(end..).next()?;
        let mut sum = 0_u64;
        for (at, typed) in readings.range((Excluded(begun), Unbounded)) {
            let between = self.between(meter, *at)?;
            if typed.reading.measure != measure || between.before.measure != measure {
                return None;
            }
            sum = sum.saturating_add(ramp(&between).between(start, end));
            if *at >= end {
                break;
            }
        }
        Some(sum)
    }
}

fn ramp(between: &Between<'_>) -> Ramp {
    let Between { before, after, energy } = *between;
    Ramp { from: before.at.get(), to: after.at.get(), energy }
}

fn offset(start: i64, at: i64) -> u32 {
    u32::try_from(at.saturating_sub(start)).expect("a moment of the interval")
}

#[cfg(test)]
mod tests;
