//! From pairs of register readings to energy: what a difference is, and what a decrease is.
//!
//! # Invariants
//! - Unsigned counts are never subtracted blindly; every difference is bounded by power and time.
//! - Reading a register in pieces books the same sum as reading it once: what is below a
//!   millijoule is carried.
//! - A decrease is an event (wrap, step back, reset, unexplained), never a number.
//! - A register that stands still books zero.

use bijli_wire::batch::Register;
use bijli_wire::{Method, Milliwatts, Quantity, UtcMillis};
use serde::{Deserialize, Serialize};

use crate::class::Class;
use crate::event::EventKind;
use crate::rules::{ESTIMATE_MS_MAX, REBASE_READINGS, REFRESH_MS, STEP_BACK_MS};

/// What became of one reading, in order of precedence. Append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ReadVerdict {
    /// Nobody declared this subject.
    Unknown = 1,
    /// It comes from a node that the subject is not bound to.
    HeldOut = 2,
    /// The subject counts no energy.
    NoRegister = 3,
    /// No value: the next reading bridges.
    Missing = 4,
    /// Not later than the last reading; a duplicate or reordered. Not used.
    Late = 5,
    /// Out of range, or more than the device can use in the time. Not used.
    Implausible = 6,
    /// The first reading of a register: the base of later ones.
    Began = 7,
    /// A small step back; nothing is booked until the register passes its old count.
    Held = 8,
    /// The difference was booked.
    Booked = 9,
    /// The register passed its modulus once; the difference was booked.
    Wrapped = 10,
    /// The register began again; what it shows was booked, the blind stretch estimated or missing.
    Reset = 11,
    /// It may have turned more than once; the stretch was estimated or is missing.
    Ambiguous = 12,
    /// A decrease that nothing explains; the stretch is missing.
    Unexplained = 13,
    /// The readings of late agree against the ones before; the stretch before them is missing.
    Rebased = 14,
}

/// Energy over a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) energy: u64,
    pub(crate) class: Class,
    /// Whether this stretch counts as covered.
    pub(crate) covers: bool,
}

/// What a reading led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) verdict: ReadVerdict,
    pub(crate) stretches: [Option<Stretch>; 2],
    pub(crate) event: Option<(EventKind, String)>,
}

impl Judged {
    fn plain(verdict: ReadVerdict) -> Self {
        Self { verdict, stretches: [None, None], event: None }
    }

    fn eventful(verdict: ReadVerdict, kind: EventKind, words: String) -> Self {
        Self { verdict, stretches: [None, None], event: Some((kind, words)) }
    }
}

/// A reading that is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    at: i64,
    count: u64,
}

/// Readings that disagree with the mark and, so far, agree among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Suspects {
    first: Mark,
    last: Mark,
    readings: u32,
}

/// Why the next reading cannot simply be subtracted from the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Break {
    /// Another epoch: the count may have restarted.
    Epoch,
    /// Another scale: the old count means nothing.
    Scale,
}

/// How a changed declaration affects the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Redeclared {
    Same,
    NewEpoch,
    Rescaled,
}

/// One register as it is followed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RegisterState {
    declared: Register,
    mark: Option<Mark>,
    /// The last reading that was held below the mark.
    held_at: Option<i64>,
    suspects: Option<Suspects>,
    broken: Option<Break>,
    /// Below one millijoule, in units of 1/denominator mJ.
    carry: u128,
    /// Energy and length of the last difference that was booked, in mJ and ms.
    last_step: Option<(u64, u64)>,
    /// The very first reading.
    first_at: Option<i64>,
}

impl RegisterState {
    pub(crate) fn new(declared: Register) -> Self {
        Self {
            declared,
            mark: None,
            held_at: None,
            suspects: None,
            broken: None,
            carry: 0,
            last_step: None,
            first_at: None,
        }
    }

    pub(crate) fn last(&self) -> Option<(UtcMillis, u64)> {
        self.mark.map(|mark| (UtcMillis::new(self.held_at.unwrap_or(mark.at)), mark.count))
    }

    /// The times of the first and the last reading that were used.
    pub(crate) fn heard(&self) -> Option<(i64, i64)> {
        let mark = self.mark?;
        Some((self.first_at?, self.held_at.unwrap_or(mark.at)))
    }

    pub(crate) fn power(&self) -> Option<Milliwatts> {
        let (energy, span) = self.last_step?;
        let power = u128::from(energy).saturating_mul(1_000).checked_div(u128::from(span))?;
        Some(Milliwatts::new(u64::try_from(power).unwrap_or(u64::MAX)))
    }

    /// Follows a new declaration of the same register.
    pub(crate) fn redeclare(&mut self, declared: Register) -> Redeclared {
        let old = std::mem::replace(&mut self.declared, declared);
        let scale = |r: &Register| (r.numerator, r.denominator, r.modulus, r.method);
        if scale(&old) != scale(&declared) {
            self.broken = Some(Break::Scale);
            self.suspects = None;
            return Redeclared::Rescaled;
        }
        if old.epoch == declared.epoch {
            return Redeclared::Same;
        }
        self.broken = self.broken.or(Some(Break::Epoch));
        self.suspects = None;
        Redeclared::NewEpoch
    }

    /// Judges one reading and moves on.
    pub(crate) fn read(&mut self, at: i64, count: i64) -> Judged {
        let Some(now) = in_range(at, count) else {
            let words = format!("count {count} cannot be true");
            return Judged::eventful(ReadVerdict::Implausible, EventKind::Implausible, words);
        };
        let Some(mark) = self.mark else {
            self.begin_at(now);
            self.first_at = Some(at);
            return Judged::plain(ReadVerdict::Began);
        };
        if at <= self.held_at.unwrap_or(mark.at) {
            return Judged::plain(ReadVerdict::Late);
        }
        let dt = at.abs_diff(mark.at);
        match self.broken {
            Some(Break::Scale) => {
                self.begin_at(now);
                let words = "the register's scale changed; a new stretch begins".to_owned();
                Judged::eventful(ReadVerdict::Rebased, EventKind::Rescaled, words)
            }
            Some(Break::Epoch) => self.restarted(mark, now, dt),
            None if self.is_ambiguous(dt) => self.ambiguous(mark, now, dt),
            None if now.count >= mark.count => self.increased(mark, now, dt),
            None => self.decreased(mark, now, dt),
        }
    }

    fn begin_at(&mut self, mark: Mark) {
        self.mark = Some(mark);
        self.held_at = None;
        self.suspects = None;
        self.broken = None;
        self.carry = 0;
    }

    /// More time than a full turn takes at full power: how often it turned, nobody knows.
    fn is_ambiguous(&self, dt: u64) -> bool {
        let Some(modulus) = self.declared.modulus else { return false };
        let turn_mj = self.worth(modulus);
        // mW x ms = uJ, a thousand to the millijoule.
        let drawn = u128::from(self.declared.power_max.get()).saturating_mul(u128::from(dt));
        drawn >= turn_mj.saturating_mul(1_000)
    }

    fn increased(&mut self, mark: Mark, now: Mark, dt: u64) -> Judged {
        let difference = now.count.abs_diff(mark.count);
        match self.plausible(difference, self.carry, dt) {
            Some(energy) => self.book(mark, now, energy, ReadVerdict::Booked),
            None => self.suspect(now, difference, dt),
        }
    }

    fn decreased(&mut self, mark: Mark, now: Mark, dt: u64) -> Judged {
        if planted!(UnsignedDifference) {
            let energy = now.count.wrapping_sub(mark.count);
            return self.book(mark, now, Booking { energy, carry: 0 }, ReadVerdict::Booked);
        }
        if let Some(energy) = self.wrapped(mark, now, dt) {
            let words = format!("count passed its modulus: {} -> {}", mark.count, now.count);
            let mut judged = self.book(mark, now, energy, ReadVerdict::Wrapped);
            judged.event = Some((EventKind::Wrap, words));
            return judged;
        }
        if self.is_step_back(mark, now) {
            let is_first = self.held_at.is_none();
            self.held_at = Some(now.at);
            self.suspects = None;
            let words = format!("count stepped back: {} -> {}", mark.count, now.count);
            let event = is_first.then_some((EventKind::StepBack, words));
            return Judged { event, ..Judged::plain(ReadVerdict::Held) };
        }
        self.restarted(mark, now, dt)
    }

    /// The difference across one turn, if it is what happened.
    fn wrapped(&self, mark: Mark, now: Mark, dt: u64) -> Option<Booking> {
        let modulus = self.declared.modulus?;
        let rest = modulus.checked_sub(mark.count)?;
        let difference = rest.checked_add(now.count)?;
        if difference >= modulus {
            return None;
        }
        self.plausible(difference, self.carry, dt)
    }

    fn is_step_back(&self, mark: Mark, now: Mark) -> bool {
        let drop_mj = self.worth(mark.count.abs_diff(now.count));
        let lost_moments = energy_mj(self.declared.power_max, STEP_BACK_MS);
        now.count.saturating_mul(2) >= mark.count && drop_mj <= lost_moments
    }

    /// A register that shows no more than it can have counted since the mark began again;
    /// one that shows more is not explained.
    fn restarted(&mut self, mark: Mark, now: Mark, dt: u64) -> Judged {
        let old = mark.count;
        let Some(shown) = self.plausible(now.count, 0, dt) else {
            self.begin_at(now);
            let words = format!("count {old} -> {}: no explanation", now.count);
            return Judged::eventful(ReadVerdict::Unexplained, EventKind::Unexplained, words);
        };
        let estimate = self.estimate(dt).map(|energy| energy.saturating_sub(shown.energy));
        self.begin_at(now);
        self.carry = shown.carry;
        let blind = estimate.map(|energy| Stretch {
            from: mark.at,
            to: now.at,
            energy,
            class: Class::Estimated,
            covers: true,
        });
        let booked = Stretch {
            from: mark.at,
            to: now.at,
            energy: shown.energy,
            class: self.class_over(dt),
            covers: false,
        };
        let words = match estimate {
            Some(mj) => format!("count {old} -> {}; {mj} mJ estimated", now.count),
            None => format!("count {old} -> {}; the rest of {dt} ms is missing", now.count),
        };
        let event = Some((EventKind::Reset, words));
        Judged { verdict: ReadVerdict::Reset, stretches: [Some(booked), blind], event }
    }

    fn ambiguous(&mut self, mark: Mark, now: Mark, dt: u64) -> Judged {
        let estimate = self.estimate(dt);
        self.begin_at(now);
        let blind = estimate.map(|energy| Stretch {
            from: mark.at,
            to: now.at,
            energy,
            class: Class::Estimated,
            covers: true,
        });
        let words = format!("{dt} ms without a reading, longer than a full turn of the register");
        let event = Some((EventKind::Ambiguous, words));
        Judged { verdict: ReadVerdict::Ambiguous, stretches: [blind, None], event }
    }

    /// What the power before a blind stretch says of it; `None` if it is too long or unknown.
    fn estimate(&self, dt: u64) -> Option<u64> {
        let (energy, span) = self.last_step.filter(|_| dt <= ESTIMATE_MS_MAX)?;
        let held = u128::from(energy).saturating_mul(u128::from(dt));
        let held = held.checked_div(u128::from(span))?;
        u64::try_from(held.min(energy_mj(self.declared.power_max, dt))).ok()
    }

    fn book(&mut self, mark: Mark, now: Mark, booking: Booking, verdict: ReadVerdict) -> Judged {
        let dt = now.at.abs_diff(mark.at);
        self.begin_at(now);
        self.carry = booking.carry;
        self.last_step = Some((booking.energy, dt));
        let stretch = Stretch {
            from: mark.at,
            to: now.at,
            energy: booking.energy,
            class: self.class_over(dt),
            covers: true,
        };
        Judged { verdict, stretches: [Some(stretch), None], event: None }
    }

    /// An increase beyond the bound is kept aside. Readings that go on agreeing among themselves
    /// overrule the mark: the register is based on the first of them, and the jump is not booked.
    fn suspect(&mut self, now: Mark, difference: u64, dt: u64) -> Judged {
        let agrees = |last: Mark| {
            let step = now.count.checked_sub(last.count)?;
            let span = u64::try_from(now.at.saturating_sub(last.at)).ok().filter(|ms| *ms > 0)?;
            self.plausible(step, 0, span)
        };
        let suspects = match self.suspects {
            Some(s) if agrees(s.last).is_some() => {
                Suspects { last: now, readings: s.readings.saturating_add(1), ..s }
            }
            Some(_) | None => Suspects { first: now, last: now, readings: 1 },
        };
        if suspects.readings < REBASE_READINGS {
            self.suspects = Some(suspects);
            let words = format!("{difference} counts in {dt} ms is more than the device can use");
            return Judged::eventful(ReadVerdict::Implausible, EventKind::Implausible, words);
        }
        self.rebase(suspects)
    }

    fn rebase(&mut self, suspects: Suspects) -> Judged {
        let Suspects { first, last, .. } = suspects;
        self.begin_at(first);
        let difference = last.count.abs_diff(first.count);
        let span = last.at.abs_diff(first.at);
        let words = format!("{REBASE_READINGS} readings agree on {}: new stretch", first.count);
        let event = Some((EventKind::Rebased, words));
        // Two steps within the bound are together within the bound plus one refresh; if not by a
        // hair, the stretch begins at the last reading instead.
        let Some(booking) = self.plausible(difference, 0, span) else {
            self.begin_at(last);
            return Judged { event, ..Judged::plain(ReadVerdict::Rebased) };
        };
        Judged { event, ..self.book(first, last, booking, ReadVerdict::Rebased) }
    }

    /// The energy of a difference with what is carried, if the device can have used it in `dt`.
    fn plausible(&self, difference: u64, carry: u128, dt: u64) -> Option<Booking> {
        let denominator = u128::from(self.declared.denominator.max(1));
        let scaled = u128::from(difference)
            .checked_mul(u128::from(self.declared.numerator))?
            .checked_add(carry)?;
        let energy = scaled.checked_div(denominator)?;
        let carry = scaled.checked_rem(denominator)?;
        if energy > bound_mj(self.declared.power_max, dt) {
            return None;
        }
        u64::try_from(energy).ok().map(|energy| Booking { energy, carry })
    }

    /// What a count is worth, in millijoules rounded down.
    fn worth(&self, count: u64) -> u128 {
        u128::from(count)
            .saturating_mul(u128::from(self.declared.numerator))
            .checked_div(u128::from(self.declared.denominator))
            .unwrap_or(0)
    }

    fn class_over(&self, dt: u64) -> Class {
        if dt > self.declared.gap.get() {
            return Class::Bridged;
        }
        match self.declared.method {
            Method::Hardware => Class::Measured,
            Method::Integrated => Class::Integrated,
            // A sender that does not say how it integrated is not believed to leave no time out.
            Method::Sampled | Method::Unspecified => Class::Sampled,
        }
    }
}

/// Whole millijoules and the carried rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Booking {
    energy: u64,
    carry: u128,
}

fn in_range(at: i64, count: i64) -> Option<Mark> {
    if !Quantity::EnergyRegister.spec().admits(count) {
        return None;
    }
    u64::try_from(count).ok().map(|count| Mark { at, count })
}

/// Power over a time, rounded down.
fn energy_mj(power: Milliwatts, ms: u64) -> u128 {
    let microjoules = u128::from(power.get()).saturating_mul(u128::from(ms));
    microjoules.checked_div(1_000).unwrap_or(0)
}

/// The most that a device of this power can have used: 1.25 x power x time, for devices above
/// their rating, plus one refresh of the register; rounded up.
fn bound_mj(power: Milliwatts, dt: u64) -> u128 {
    let quarters =
        u128::from(dt).saturating_mul(5).saturating_add(u128::from(REFRESH_MS).saturating_mul(4));
    u128::from(power.get()).saturating_mul(quarters).div_ceil(4_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bijli_wire::Millis;

    fn register(watts: u64) -> Register {
        Register {
            numerator: 1,
            denominator: 1,
            modulus: None,
            power_max: Milliwatts::new(watts.saturating_mul(1_000)),
            epoch: 1,
            method: Method::Hardware,
            gap: Millis::new(3_000),
        }
    }

    fn energy(judged: &Judged) -> Vec<(u64, Class, bool)> {
        let stretches = judged.stretches.iter().flatten();
        stretches.map(|stretch| (stretch.energy, stretch.class, stretch.covers)).collect()
    }

    #[test]
    fn the_bound_is_a_quarter_over_the_rating_and_one_refresh_rounded_up() {
        // 700 W for 1 s: 875 J and 70 J.
        assert_eq!(bound_mj(Milliwatts::new(700_000), 1_000), 945_000);
        assert_eq!(bound_mj(Milliwatts::new(1), 0), 1);
        let mut state = RegisterState::new(register(700));
        assert_eq!(state.read(0, 0).verdict, ReadVerdict::Began);
        assert_eq!(state.read(1_000, 945_001).verdict, ReadVerdict::Implausible);
        assert_eq!(state.read(1_000, 945_000).verdict, ReadVerdict::Booked);
    }

    #[test]
    fn a_gap_is_bridged_and_exact() {
        let mut state = RegisterState::new(register(700));
        state.read(0, 0);
        assert_eq!(energy(&state.read(3_000, 9)), [(9, Class::Measured, true)]);
        assert_eq!(energy(&state.read(6_001, 20)), [(11, Class::Bridged, true)]);
    }

    #[test]
    fn what_is_below_a_millijoule_is_carried() {
        // RAPL's unit of 2^-14 J: 61.035 uJ.
        let rapl = Register { numerator: 1_000, denominator: 16_384, ..register(400) };
        let mut state = RegisterState::new(rapl);
        state.read(0, 0);
        let mut sum = 0_u64;
        for second in 1..=16_384_i64 {
            let judged = state.read(second.saturating_mul(1_000), second.saturating_mul(5));
            sum = judged.stretches.iter().flatten().fold(sum, |s, p| s.saturating_add(p.energy));
        }
        assert_eq!(sum, 5_000);
    }

    #[test]
    fn s8_a_replaced_meter_begins_a_new_stretch_and_keeps_the_old_one() {
        let mut state = RegisterState::new(register(2_000_000));
        state.read(0, 5_000_000);
        assert_eq!(energy(&state.read(1_000, 6_000_000)).len(), 1);
        let ten = Register { numerator: 10, ..register(2_000_000) };
        assert_eq!(state.redeclare(ten), Redeclared::Rescaled);
        let judged = state.read(2_000, 700_000);
        assert_eq!((judged.verdict, energy(&judged)), (ReadVerdict::Rebased, vec![]));
        assert_eq!(energy(&state.read(3_000, 800_000)), [(1_000_000, Class::Measured, true)]);
    }

    #[test]
    fn an_unexplained_decrease_books_nothing() {
        let mut state = RegisterState::new(register(700));
        state.read(0, 90_000_000_000);
        let judged = state.read(1_000, 40_000_000_000);
        assert_eq!((judged.verdict, energy(&judged)), (ReadVerdict::Unexplained, vec![]));
        assert_eq!(energy(&state.read(2_000, 40_000_000_500)), [(500, Class::Measured, true)]);
    }

    #[test]
    fn a_reset_is_estimated_at_the_power_before_it_and_never_above_the_rating() {
        let mut state = RegisterState::new(register(700));
        state.read(0, 90_000_000_000);
        // 800 W: plausible for a moment, not for an estimate.
        state.read(1_000, 90_000_800_000);
        let judged = state.read(61_000, 1_000_000);
        let shown = (1_000_000, Class::Bridged, false);
        assert_eq!(energy(&judged), [shown, (41_000_000, Class::Estimated, true)]);
        let judged = state.read(400_000, 1_000);
        assert_eq!(energy(&judged), [(1_000, Class::Bridged, false)], "too long to estimate");
    }
}
