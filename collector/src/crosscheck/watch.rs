//! Stretches of what each meter tells: its register beside its power, a power that never changes,
//! and two meters that tell the same.
//!
//! # Invariants
//! - A view: begun anew at each start of the collector, never booked. What was seen is bounded: one
//!   `Meter` per meter, `RING` values of each.
//! - Only rows count in which both were read, with no gap between them: what was missing is not
//!   filled here.
//! - A stretch ends when the register's own step is at most half a per cent of it, so that a coarse
//!   register is not blamed for being coarse.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bijli_wire::batch::Register;
use bijli_wire::units::{human_energy, human_power};
use bijli_wire::{Batch, Method, Quantity, Schema, SubjectId, SubjectKind, Table, UtcMillis};

use super::settings::{REGISTER, REGISTER_OF_PULSES};
use super::{Finding, Kind, Measured, Unit, deviation};

/// A stretch has at least so many pairs of rows, and so much time.
const PAIRS_MIN: u64 = 60;
const SPAN_MIN_MS: u64 = 15 * 60_000;
/// So many of the smallest step seen: half a per cent.
const STEPS_MIN: u64 = 200;
/// Rows further apart, in the mean, let a load that pulses in step with them hide from the power.
const SPARSE_MS: u64 = 2_000;
/// Beyond it a stretch begins anew, and a register that stood still is told.
const SPAN_MAX_MS: u64 = 24 * 3_600_000;
const STILL_MS: u64 = 6 * 3_600_000;
/// Rows further apart say nothing of what lies between.
const GAP_MS: u64 = 5 * 60_000;
/// A power that is the same for so long, and so often, is stuck.
const SAME_MS: u64 = 30 * 60_000;
const SAME_MIN: u64 = 60;
/// Successive values that differ, kept of each meter.
const RING: usize = 32;
/// So many in the same order are no chance.
const RUN: usize = 16;

/// Of one hub.
#[derive(Debug, Default)]
pub struct Watch {
    meters: BTreeMap<SubjectId, Meter>,
}

#[derive(Debug, Default)]
struct Meter {
    /// The register's scale and epoch; `None`: it has none, or counts what we integrated ourselves.
    scale: Option<Scale>,
    last: Option<Row>,
    stretch: Stretch,
    done: Option<Done>,
    same: Option<Same>,
    changes: VecDeque<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scale {
    numerator: u64,
    denominator: u64,
    epoch: u64,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    at: i64,
    count: Option<i64>,
    power: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    from: i64,
    to: i64,
    pairs: u64,
    span_ms: u64,
    counts: u64,
    step: Option<u64>,
    /// Milliwatts by milliseconds, twice: a trapezoid without its half.
    area: u128,
}

/// A stretch that ended.
#[derive(Clone, Copy, Debug)]
struct Done {
    from: i64,
    to: i64,
    /// From one row to the next, in the mean.
    every_ms: u64,
    counted_mj: u128,
    integrated_mj: u128,
}

#[derive(Clone, Copy, Debug)]
struct Same {
    value: i64,
    since: i64,
    until: i64,
    times: u64,
}

/// The columns of one meter in a table.
#[derive(Clone, Copy, Debug, Default)]
struct Columns {
    count: Option<usize>,
    power: Option<usize>,
}

impl Watch {
    /// Takes what a batch says of meters.
    pub fn absorb(&mut self, schema: &Schema, batch: &Batch<Table>) {
        if !schema.subjects.iter().any(|subject| subject.kind == SubjectKind::Meter) {
            return;
        }
        for table in &batch.matrices {
            let Some(group) = schema.groups.get(table.group) else { continue };
            let mut meters: BTreeMap<usize, Columns> = BTreeMap::new();
            for (index, series) in group.series.iter().enumerate().filter(|(_, s)| s.part == 0) {
                match series.quantity {
                    Some(Quantity::EnergyRegister) => {
                        meters.entry(series.subject).or_default().count = Some(index);
                    }
                    Some(Quantity::PowerInstant) => {
                        meters.entry(series.subject).or_default().power = Some(index);
                    }
                    _ => {}
                }
            }
            let columns: Vec<Vec<Option<i64>>> =
                table.columns().map(|column| column.iter().collect()).collect();
            let value = |column: Option<usize>, row: usize| {
                columns.get(column?)?.get(row).copied().flatten()
            };
            for (subject, of) in meters {
                let Some(subject) = schema.subjects.get(subject) else { continue };
                if subject.kind != SubjectKind::Meter || of.power.is_none() {
                    continue;
                }
                let meter = self.meters.entry(subject.id.clone()).or_default();
                meter.declare(subject.register.as_ref());
                for (row, at) in table.times.iter().enumerate() {
                    let (count, power) = (value(of.count, row), value(of.power, row));
                    meter.take(Row { at: at.get(), count, power });
                }
            }
        }
    }

    /// What can be said of every meter now.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let copies = self.copies();
        let mut findings = Vec::new();
        for (id, meter) in &self.meters {
            findings.extend(meter.register(id.as_str()));
            findings.push(meter.stuck(id.as_str()));
            findings.push(match copies.get(id) {
                Some(other) => Finding {
                    verdict: super::Verdict::Fail,
                    ..Finding::cannot_say(
                        Kind::Copy,
                        id.as_str(),
                        format!("its power takes the same {RUN} values in turn as {other}'s"),
                    )
                },
                None if meter.changes.len() < RUN => {
                    Finding::cannot_say(Kind::Copy, id.as_str(), "its power changed too rarely")
                }
                None => Finding {
                    verdict: super::Verdict::Pass,
                    ..Finding::cannot_say(Kind::Copy, id.as_str(), "no other meter tells the same")
                },
            });
        }
        findings
    }

    /// Meters whose changes another one has too, and which one.
    fn copies(&self) -> BTreeMap<&SubjectId, &SubjectId> {
        let mut seen: BTreeMap<Vec<i64>, &SubjectId> = BTreeMap::new();
        let mut copies = BTreeMap::new();
        for (id, meter) in &self.meters {
            let changes: Vec<i64> = meter.changes.iter().copied().collect();
            let mut own = BTreeSet::new();
            for run in changes.windows(RUN) {
                match seen.get(run) {
                    Some(other) if *other != id => {
                        copies.insert(id, *other);
                        copies.insert(*other, id);
                    }
                    Some(_) => {}
                    None => {
                        own.insert(run.to_vec());
                    }
                }
            }
            seen.extend(own.into_iter().map(|run| (run, id)));
        }
        copies
    }
}

impl Meter {
    fn declare(&mut self, register: Option<&Register>) {
        let scale = register.filter(|register| register.method == Method::Hardware);
        let scale = scale.map(|register| Scale {
            numerator: register.numerator,
            denominator: register.denominator.max(1),
            epoch: register.epoch,
        });
        if scale != self.scale {
            self.scale = scale;
            self.last = None;
            self.stretch = Stretch::default();
            self.done = None;
        }
    }

    fn take(&mut self, row: Row) {
        if self.last.is_some_and(|last| row.at <= last.at) {
            return;
        }
        if let Some(power) = row.power {
            self.note(row.at, power);
        }
        if let Some(last) = self.last {
            self.pair(last, row);
        }
        self.last = Some(row);
    }

    /// A value of its power.
    fn note(&mut self, at: i64, value: i64) {
        match &mut self.same {
            Some(same) if same.value == value && at.abs_diff(same.until) <= GAP_MS => {
                same.until = at;
                same.times = same.times.saturating_add(1);
            }
            same => *same = Some(Same { value, since: at, until: at, times: 1 }),
        }
        if self.changes.back() != Some(&value) {
            if self.changes.len() == RING {
                self.changes.pop_front();
            }
            self.changes.push_back(value);
        }
    }

    /// What passed from one row to the next, by both.
    fn pair(&mut self, before: Row, after: Row) {
        let Some(scale) = self.scale else { return };
        let (Some(p0), Some(p1), Some(c0), Some(c1)) =
            (before.power, after.power, before.count, after.count)
        else {
            return;
        };
        let span = after.at.abs_diff(before.at);
        let (Ok(counts), Ok(area)) =
            (u64::try_from(c1 - c0), u128::try_from(p0.saturating_add(p1)))
        else {
            return;
        };
        if span > GAP_MS {
            return;
        }
        let stretch = &mut self.stretch;
        if stretch.pairs == 0 {
            *stretch = Stretch { from: before.at, ..Stretch::default() };
        }
        stretch.to = after.at;
        stretch.pairs = stretch.pairs.saturating_add(1);
        stretch.span_ms = stretch.span_ms.saturating_add(span);
        stretch.counts = stretch.counts.saturating_add(counts);
        if counts > 0 {
            stretch.step = Some(stretch.step.map_or(counts, |step| step.min(counts)));
        }
        stretch.area = stretch.area.saturating_add(area.saturating_mul(u128::from(span)));
        if stretch.is_enough(scale) {
            self.done = Some(stretch.done(scale));
            self.stretch = Stretch::default();
        } else if stretch.span_ms > SPAN_MAX_MS {
            self.done = None;
            self.stretch = Stretch::default();
        }
    }

    /// `None`: it has no register of its own.
    fn register(&self, id: &str) -> Option<Finding> {
        self.scale?;
        let cannot = |words: &str| Finding::cannot_say(Kind::Register, id, words);
        let Some(done) = self.done else {
            return Some(cannot("not enough was read yet for the steps that it counts in"));
        };
        let Done { counted_mj, integrated_mj, every_ms, .. } = done;
        let signed = |energy: u128| i128::try_from(energy).unwrap_or(i128::MAX);
        let Some(value) = deviation(signed(counted_mj), signed(integrated_mj)) else {
            return Some(cannot("it shows no power"));
        };
        let words = format!(
            "the register counted {}, its power comes to {}",
            human_energy(counted_mj),
            human_energy(integrated_mj)
        );
        let measured = Measured { value, unit: Unit::Share, band: REGISTER };
        let mut found = Finding::compared(Kind::Register, id, measured, words);
        let may_pulse = every_ms > SPARSE_MS && REGISTER_OF_PULSES.holds(value);
        if found.verdict == super::Verdict::Fail && may_pulse {
            found.verdict = super::Verdict::CannotSay;
            found.words += "; it is read each ";
            found.words += &format!("{} s", every_ms / 1_000);
            found.words +=
                ", and a load that pulses in step may make so much: read it each second or two";
        }
        Some(found.over(UtcMillis::new(done.from), UtcMillis::new(done.to)))
    }

    fn stuck(&self, id: &str) -> Finding {
        let of = |words: String, verdict| {
            let (kind, subject, measured, period) = (Kind::Stuck, id.to_owned(), None, None);
            Finding { kind, subject, verdict, measured, words, period }
        };
        let Some(same) = self.same else {
            return Finding::cannot_say(Kind::Stuck, id, "no power was read yet");
        };
        let is_long = same.until.abs_diff(same.since) >= SAME_MS && same.times >= SAME_MIN;
        let power = u64::try_from(same.value).unwrap_or(0);
        match (is_long, power) {
            (true, 0) => Finding::cannot_say(Kind::Stuck, id, "it shows 0 W all the time"),
            (true, _) => {
                let words = format!("{} in {} readings in turn", human_power(power), same.times);
                of(words, super::Verdict::Fail)
                    .over(UtcMillis::new(same.since), UtcMillis::new(same.until))
            }
            (false, _) if self.changes.len() > 1 => {
                of("its power changes".to_owned(), super::Verdict::Pass)
            }
            (false, _) => Finding::cannot_say(Kind::Stuck, id, "not enough was read yet"),
        }
    }
}

impl Stretch {
    fn is_enough(&self, scale: Scale) -> bool {
        if self.pairs < PAIRS_MIN || self.span_ms < SPAN_MIN_MS {
            return false;
        }
        match self.step {
            Some(step) => self.counts >= step.saturating_mul(STEPS_MIN),
            // It stood still, though by its power it should have moved often.
            None => {
                let done = self.done(scale);
                let step = u128::from(scale.numerator.div_ceil(scale.denominator));
                let most = step.saturating_mul(u128::from(STEPS_MIN));
                self.span_ms >= STILL_MS && done.integrated_mj >= most
            }
        }
    }

    fn done(&self, scale: Scale) -> Done {
        let counted = u128::from(self.counts).saturating_mul(u128::from(scale.numerator));
        Done {
            from: self.from,
            to: self.to,
            every_ms: self.span_ms / self.pairs.max(1),
            counted_mj: counted / u128::from(scale.denominator),
            // Milliwatts by milliseconds are microjoules.
            integrated_mj: self.area / 2_000,
        }
    }
}

#[cfg(test)]
mod tests;
