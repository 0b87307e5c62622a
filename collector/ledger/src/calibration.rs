//! What a comparison with a better meter says of GPUs: a gain, its doubt, and who stands for it.
//!
//! # Invariants
//! - What was read stays in the books as it was read. The correction is an amount of its own, of
//!   class derived, between the node and its GPU, on top of what the register showed.
//! - No GPU has two calibrations at a time. Putting the same again changes nothing; the same id
//!   with other content replaces.
//! - An interval is corrected as a whole, by the calibration in force at its start.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use bijli_wire::{SubjectId, SubjectKind, UtcMillis};

use crate::allocation::{PutVerdict, Touched};
use crate::class::{ByClass, Class};
use crate::rules::{
    ALLOCATION_DEVICES_MAX, ALLOCATION_ID_BYTES_MAX, ALLOCATION_TEXT_BYTES_MAX, DOUBT_PPM_MAX,
    GAIN_PPM_MAX, GAIN_PPM_MIN,
};
use crate::split::split;

const ONE_PPM: u32 = 1_000_000;

/// What the reference showed for each millijoule that the register showed, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gain(u32);

impl Gain {
    /// # Errors
    /// It is beyond what a register that may be booked at all can be off by.
    pub fn from_ppm(ppm: u32) -> Result<Self, CalibrationError> {
        let is_possible = (GAIN_PPM_MIN..=GAIN_PPM_MAX).contains(&ppm);
        is_possible.then_some(Self(ppm)).ok_or(CalibrationError::Gain { ppm })
    }

    #[must_use]
    pub const fn ppm(self) -> u32 {
        self.0
    }

    /// Corrects what the users of a GPU had of its `whole`, each by its part, and tells the sum: it
    /// depends on what the register showed and on nothing else. What is taken away is taken from
    /// the best class first, so that no correction makes energy look better known than it is.
    pub(crate) fn correct<T>(self, whole: &ByClass, uses: &mut [(T, ByClass)]) -> Correction {
        let part = u128::from(self.0.abs_diff(ONE_PPM));
        let product = whole.total().saturating_mul(part);
        let amount = product.checked_div(u128::from(ONE_PPM)).unwrap_or(0);
        if self.0 >= ONE_PPM {
            let parts = split(amount, &weights(uses, ByClass::total));
            for ((_, energy), part) in uses.iter_mut().zip(parts) {
                energy.add(Class::Derived, part);
            }
            return Correction::More(amount);
        }
        let mut left = amount;
        for (class, has) in whole.iter() {
            let of_class = has.min(left);
            left = left.saturating_sub(of_class);
            let parts = split(of_class, &weights(uses, |energy| energy.get(class)));
            for ((_, energy), part) in uses.iter_mut().zip(parts) {
                energy.subtract(class, part);
            }
        }
        Correction::Less(amount)
    }
}

fn weights<T>(uses: &[(T, ByClass)], of: impl Fn(&ByClass) -> u128) -> Vec<u64> {
    uses.iter().map(|(_, energy)| u64::try_from(of(energy)).unwrap_or(u64::MAX)).collect()
}

/// What a calibration did to a GPU's energy, in millijoules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Correction {
    More(u128),
    Less(u128),
}

/// A gain of some GPUs from a moment on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// 1 to 96 bytes without control characters.
    pub id: String,
    pub devices: Vec<SubjectId>,
    pub gain: Gain,
    /// Expanded uncertainty (k = 2) of the gain, in millionths of 1.
    pub doubt_ppm: u32,
    pub from: UtcMillis,
    /// Exclusive; `None`: it is still in force.
    pub to: Option<UtcMillis>,
    /// Who signed it off.
    pub who: String,
    pub why: String,
}

/// Why a calibration was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    #[error(
        "a calibration's {what} needs 1 to {most} bytes without control characters; it has {bytes}"
    )]
    Text { what: &'static str, most: usize, bytes: usize },
    #[error(
        "a gain of {ppm} ppm is beyond {GAIN_PPM_MIN} to {GAIN_PPM_MAX}: no calibration, a defect"
    )]
    Gain { ppm: u32 },
    #[error("a doubt of {ppm} ppm is beyond {DOUBT_PPM_MAX}: it says nothing")]
    Doubt { ppm: u32 },
    #[error("calibration {id:?} ends at {to}, not after its start at {from}")]
    Backwards { id: String, from: UtcMillis, to: UtcMillis },
    #[error("calibration {id:?} names {count} devices; it needs 1 to {ALLOCATION_DEVICES_MAX}")]
    Devices { id: String, count: usize },
    #[error("{device} is no GPU: only GPUs can be calibrated, meters have their own factors")]
    NoGpu { device: SubjectId },
    #[error("{device} has calibration {other:?} at that time: end that one first")]
    Overlap { device: SubjectId, other: String },
}

impl Calibration {
    fn check(&self) -> Result<(), CalibrationError> {
        let texts = [
            ("id", &self.id, ALLOCATION_ID_BYTES_MAX),
            ("who", &self.who, ALLOCATION_TEXT_BYTES_MAX),
            ("why", &self.why, ALLOCATION_TEXT_BYTES_MAX),
        ];
        for (what, text, most) in texts {
            let bytes = text.len();
            if bytes == 0 || bytes > most || text.chars().any(char::is_control) {
                return Err(CalibrationError::Text { what, most, bytes });
            }
        }
        if self.doubt_ppm > DOUBT_PPM_MAX {
            return Err(CalibrationError::Doubt { ppm: self.doubt_ppm });
        }
        if let Some(to) = self.to.filter(|to| *to <= self.from) {
            return Err(CalibrationError::Backwards { id: self.id.clone(), from: self.from, to });
        }
        let count = self.devices.len();
        if count == 0 || count > ALLOCATION_DEVICES_MAX {
            return Err(CalibrationError::Devices { id: self.id.clone(), count });
        }
        Ok(())
    }

    fn span(&self) -> Touched {
        Touched { from: self.from.get(), to: self.to.map_or(i64::MAX, UtcMillis::get) }
    }
}

/// All calibrations, by id and by what they correct.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Calibrations {
    by_id: BTreeMap<String, Calibration>,
    /// Of each GPU, by start.
    by_device: BTreeMap<SubjectId, BTreeMap<i64, String>>,
}

impl Calibrations {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Calibration> {
        self.by_id.values()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Calibration> {
        self.by_id.get(id)
    }

    /// Puts a calibration; tells what it touches. `kind_of` tells what a known subject is.
    pub(crate) fn put(
        &mut self,
        new: Calibration,
        kind_of: impl Fn(&SubjectId) -> Option<SubjectKind>,
    ) -> Result<(PutVerdict, Vec<Touched>), CalibrationError> {
        new.check()?;
        if self.by_id.get(&new.id) == Some(&new) {
            return Ok((PutVerdict::Unchanged, Vec::new()));
        }
        for device in &new.devices {
            if kind_of(device).is_some_and(|kind| kind != SubjectKind::Gpu) {
                return Err(CalibrationError::NoGpu { device: device.clone() });
            }
            if let Some(other) = self.rival(device, &new) {
                let (device, other) = (device.clone(), other.id.clone());
                return Err(CalibrationError::Overlap { device, other });
            }
        }
        let old = self.remove(&new.id);
        let touched = [Some(new.span()), old.as_ref().map(Calibration::span)];
        for device in &new.devices {
            let starts = self.by_device.entry(device.clone()).or_default();
            starts.insert(new.from.get(), new.id.clone());
        }
        self.by_id.insert(new.id.clone(), new);
        let verdict = if old.is_some() { PutVerdict::Replaced } else { PutVerdict::New };
        Ok((verdict, touched.into_iter().flatten().collect()))
    }

    /// The gain of a GPU in the interval that begins at `start`.
    pub(crate) fn of(&self, device: &SubjectId, start: i64) -> Option<Gain> {
        let (_, id) = self.by_device.get(device)?.range(..=start).next_back()?;
        let calibration = self.by_id.get(id)?;
        (start < calibration.span().to).then_some(calibration.gain)
    }

    /// Forgets what ended before `horizon`: no interval that it touches can be derived again.
    pub(crate) fn release(&mut self, horizon: i64) {
        let is_over = |one: &&Calibration| one.span().to <= horizon;
        let over: Vec<String> =
            self.by_id.values().filter(is_over).map(|one| one.id.clone()).collect();
        for id in over {
            self.remove(&id);
        }
    }

    fn rival(&self, device: &SubjectId, new: &Calibration) -> Option<&Calibration> {
        let Touched { from, to } = new.span();
        let ids = self.by_device.get(device)?.values();
        let mut others = ids.filter(|id| **id != new.id).filter_map(|id| self.by_id.get(id));
        others.find(|other| other.span().from < to && from < other.span().to)
    }

    fn remove(&mut self, id: &str) -> Option<Calibration> {
        let old = self.by_id.remove(id)?;
        for device in &old.devices {
            if let Some(starts) = self.by_device.get_mut(device) {
                starts.retain(|_, other| other != id);
                if starts.is_empty() {
                    self.by_device.remove(device);
                }
            }
        }
        Some(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(name: &str) -> SubjectId {
        SubjectId::new(name).expect("a name")
    }

    fn calibration(id: &str, ppm: u32, from: i64, to: Option<i64>) -> Calibration {
        Calibration {
            id: id.into(),
            devices: vec![gpu("G0"), gpu("G1")],
            gain: Gain::from_ppm(ppm).expect("possible"),
            doubt_ppm: 8_000,
            from: UtcMillis::new(from),
            to: to.map(UtcMillis::new),
            who: "A. Khan".into(),
            why: "comparison of March".into(),
        }
    }

    fn put(all: &mut Calibrations, one: Calibration) -> Result<PutVerdict, CalibrationError> {
        all.put(one, |id| (id.as_str() == "M0").then_some(SubjectKind::Meter)).map(|(v, _)| v)
    }

    #[test]
    fn one_gain_at_a_time_and_the_same_again_changes_nothing() {
        let mut all = Calibrations::default();
        let first = calibration("a", 1_020_000, 1_000, None);
        assert_eq!(put(&mut all, first.clone()), Ok(PutVerdict::New));
        assert_eq!(put(&mut all, first.clone()), Ok(PutVerdict::Unchanged));
        let second = calibration("b", 1_030_000, 5_000, None);
        let overlap = CalibrationError::Overlap { device: gpu("G0"), other: "a".into() };
        assert_eq!(put(&mut all, second.clone()), Err(overlap));
        let ended = Calibration { to: Some(UtcMillis::new(5_000)), ..first };
        assert_eq!(put(&mut all, ended), Ok(PutVerdict::Replaced));
        assert_eq!(put(&mut all, second), Ok(PutVerdict::New));
        let ppm = |at| all.of(&gpu("G1"), at).map(Gain::ppm);
        assert_eq!(
            [999, 1_000, 4_999, 5_000].map(ppm),
            [None, Some(1_020_000), Some(1_020_000), Some(1_030_000)]
        );
        all.release(5_000);
        assert_eq!(all.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(all.of(&gpu("G1"), 4_999), None);
    }

    #[test]
    fn what_is_no_calibration_is_refused_with_words() {
        let mut all = Calibrations::default();
        assert_eq!(Gain::from_ppm(3_000_000), Err(CalibrationError::Gain { ppm: 3_000_000 }));
        let good = || calibration("a", 990_000, 1_000, Some(2_000));
        let unsigned = Calibration { who: String::new(), ..good() };
        let backwards = Calibration { to: Some(UtcMillis::new(1_000)), ..good() };
        let nothing = Calibration { devices: Vec::new(), ..good() };
        let meter = Calibration { devices: vec![gpu("M0")], ..good() };
        let vague = Calibration { doubt_ppm: DOUBT_PPM_MAX + 1, ..good() };
        for (wrong, words) in [
            (unsigned, "who needs 1 to"),
            (backwards, "not after its start"),
            (nothing, "names 0 devices"),
            (meter, "no GPU"),
            (vague, "says nothing"),
        ] {
            let error = put(&mut all, wrong).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn corrections_are_cut_and_never_improve_a_class() {
        let gain = |ppm| Gain::from_ppm(ppm).expect("possible");
        let mut whole = ByClass::of(Class::Measured, 30);
        whole.add(Class::Bridged, 1_019);
        let mut first = ByClass::of(Class::Measured, 20);
        first.add(Class::Bridged, 1_019);
        let uses = || [((), first), ((), ByClass::of(Class::Measured, 10))];
        let mut same = uses();
        assert_eq!(gain(1_000_000).correct(&whole, &mut same), Correction::More(0));
        assert_eq!(same, uses());
        let mut more = uses();
        assert_eq!(gain(1_020_000).correct(&whole, &mut more), Correction::More(20));
        assert_eq!(more.map(|(_, energy)| energy.get(Class::Derived)), [20, 0]);
        let mut less = uses();
        assert_eq!(gain(950_000).correct(&whole, &mut less), Correction::Less(52));
        let left = |class| less.map(|(_, energy)| energy.get(class));
        assert_eq!((left(Class::Measured), left(Class::Bridged)), ([0, 0], [997, 0]));
    }
}
