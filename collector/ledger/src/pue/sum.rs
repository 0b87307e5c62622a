//! What intervals add to a period: sums of both terms, and of everything that is told beside them.

use std::collections::BTreeMap;

use bijli_wire::{Millis, UtcMillis};
use serde::{Deserialize, Serialize};

use super::doubt::{Counted, Relative, Uncertainty};
use super::{MeterShare, NoPue, Pue, PueKind, PuePolicy, Term, Unstated, Withheld};
use crate::diagram::{Category, Role};

/// What one complete interval adds to both terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PueParts {
    pub(crate) total: u128,
    pub(crate) it: u128,
    pub(crate) by_source: BTreeMap<Role, u128>,
    pub(crate) store_drawn: u128,
    /// Of both terms.
    pub(crate) estimated: u128,
    /// Of IT alone.
    pub(crate) it_estimated: u128,
    /// What no meter explains, what meters contradict, and what is outside of the diagram.
    pub(crate) unexplained: u128,
    pub(crate) contradicted: u128,
    pub(crate) outside: u128,
    pub(crate) category: Category,
    /// What each meter counted, by the number of its subject. Of nodes only those that are
    /// described: a hub has many, and undescribed they add nothing to what can be said.
    pub(crate) of_total: Vec<(u32, u64)>,
    pub(crate) of_it: Vec<(u32, u64)>,
}

impl PueParts {
    /// All energy, and that of IT.
    pub(crate) const fn terms(&self) -> (u128, u128) {
        (self.total, self.it)
    }
}

/// What the books know of both terms in an interval, whether or not it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub total: u128,
    pub it: u128,
}

impl Terms {
    fn add(&mut self, other: Self) {
        self.total = self.total.saturating_add(other.total);
        self.it = self.it.saturating_add(other.it);
    }
}

/// One interval, as a sum wants it.
pub(crate) struct Added<'a> {
    pub(crate) start: i64,
    pub(crate) pue: &'a Result<PueParts, Withheld>,
    pub(crate) known: Terms,
    pub(crate) adjustments: u64,
    /// No fact can change it any more.
    pub(crate) is_settled: bool,
}

/// What is asked.
pub(crate) struct Asked<'a> {
    pub(crate) from: UtcMillis,
    pub(crate) to: UtcMillis,
    pub(crate) interval: Millis,
    pub(crate) policy: &'a PuePolicy,
}

/// Energy by subject's number, of the diagram at hand.
pub(crate) type ByMeter = BTreeMap<(Term, u32), u128>;

/// Sums complete intervals into a period.
#[derive(Debug, Default)]
pub(crate) struct PueSum {
    parts: Option<PueParts>,
    known: Terms,
    complete: u32,
    provisional: u32,
    adjustments: u64,
    withheld: BTreeMap<Withheld, u32>,
    has_two_categories: bool,
    by_meter: ByMeter,
    meters: Vec<MeterShare>,
    /// Where the last interval that counts began, and the longest stretch between two so far.
    last: Option<i64>,
    gap: u64,
}

impl PueSum {
    pub(crate) fn add(&mut self, added: &Added<'_>, asked: &Asked<'_>) {
        self.known.add(added.known);
        self.adjustments = self.adjustments.saturating_add(added.adjustments);
        if !added.is_settled {
            self.provisional = self.provisional.saturating_add(1);
        }
        match added.pue {
            Ok(parts) => {
                self.note_gap(added.start, asked);
                self.last = Some(added.start);
                self.count(parts);
            }
            Err(withheld) => {
                let count = self.withheld.entry(withheld.clone()).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    /// The stretch from the last interval that counts to this moment.
    fn note_gap(&mut self, until: i64, asked: &Asked<'_>) {
        let length = i64::try_from(asked.interval.get()).unwrap_or(i64::MAX);
        let from = self.last.map_or(asked.from.get(), |last| last.saturating_add(length));
        self.gap = self.gap.max(u64::try_from(until.saturating_sub(from)).unwrap_or(0));
    }

    fn count(&mut self, parts: &PueParts) {
        self.complete = self.complete.saturating_add(1);
        for (term, meters) in [(Term::Total, &parts.of_total), (Term::It, &parts.of_it)] {
            for (meter, energy) in meters {
                let sum = self.by_meter.entry((term, *meter)).or_default();
                *sum = sum.saturating_add(u128::from(*energy));
            }
        }
        let Some(sum) = &mut self.parts else {
            self.parts = Some(parts.clone());
            return;
        };
        self.has_two_categories |= sum.category != parts.category;
        for (sum, part) in [
            (&mut sum.total, parts.total),
            (&mut sum.it, parts.it),
            (&mut sum.store_drawn, parts.store_drawn),
            (&mut sum.estimated, parts.estimated),
            (&mut sum.it_estimated, parts.it_estimated),
            (&mut sum.unexplained, parts.unexplained),
            (&mut sum.contradicted, parts.contradicted),
            (&mut sum.outside, parts.outside),
        ] {
            *sum = sum.saturating_add(part);
        }
        for (role, energy) in &parts.by_source {
            let source = sum.by_source.entry(*role).or_default();
            *source = source.saturating_add(*energy);
        }
    }

    /// What meters counted since this was last asked: another diagram comes into force.
    pub(crate) fn take_by_meter(&mut self) -> ByMeter {
        std::mem::take(&mut self.by_meter)
    }

    /// What one meter counted, as it was described at the time.
    pub(crate) fn share(&mut self, share: MeterShare) {
        let is_same = |known: &&mut MeterShare| {
            known.term == share.term && known.id == share.id && known.meter == share.meter
        };
        match self.meters.iter_mut().find(is_same) {
            Some(known) => known.millijoules = known.millijoules.saturating_add(share.millijoules),
            None => self.meters.push(share),
        }
    }

    pub(crate) fn finish(mut self, asked: &Asked<'_>) -> Result<Pue, NoPue> {
        self.note_gap(asked.to.get(), asked);
        let Some(parts) = self.parts.take() else { return Err(why_none(&self.withheld)) };
        if self.has_two_categories {
            return Err(NoPue::CategoryChanged);
        }
        let PueParts { total, it, .. } = parts;
        if it == 0 {
            return Err(NoPue::NoItEnergy);
        }
        if total <= it {
            return Err(NoPue::BelowOne { total, it });
        }
        check_estimated(&parts, asked.policy)?;
        let span = asked.to.get().abs_diff(asked.from.get());
        let expected = span.checked_div(asked.interval.get()).unwrap_or(0);
        let expected = u32::try_from(expected).unwrap_or(u32::MAX);
        let uncertainty = uncertainty(&parts, &self.meters, asked.policy);
        Ok(Pue {
            total,
            it,
            category: parts.category,
            kind: kind(asked, self.complete, expected),
            from: asked.from,
            to: asked.to,
            policy: asked.policy.clone(),
            interval: asked.interval,
            intervals_complete: self.complete,
            intervals_expected: expected,
            intervals_provisional: self.provisional,
            adjustments: self.adjustments,
            known: self.known,
            gap: Millis::new(self.gap),
            by_source: parts.by_source,
            store_drawn: parts.store_drawn,
            estimated: parts.estimated,
            it_estimated: parts.it_estimated,
            unexplained: parts.unexplained,
            contradicted: parts.contradicted,
            outside: parts.outside,
            meters: self.meters,
            uncertainty,
            withheld: self.withheld,
        })
    }
}

/// A year is one only if it was measured.
fn kind(asked: &Asked<'_>, complete: u32, expected: u32) -> PueKind {
    let is_year = asked.policy.zone().months(asked.from, asked.to) == Some(12);
    let missing = u64::from(expected.saturating_sub(complete));
    let is_measured = !exceeds(missing.into(), expected.into(), asked.policy.estimated_ppm_max);
    if is_year && is_measured { PueKind::Annual } else { PueKind::Interim }
}

/// Whether a part is more than so many millionths of a whole.
fn exceeds(part: u128, whole: u128, ppm: u32) -> bool {
    part.saturating_mul(1_000_000) > whole.saturating_mul(u128::from(ppm))
}

fn check_estimated(parts: &PueParts, policy: &PuePolicy) -> Result<(), NoPue> {
    let of_total = parts.estimated.saturating_sub(parts.it_estimated);
    let limit_ppm = policy.estimated_ppm_max;
    let terms = [(Term::Total, of_total, parts.total), (Term::It, parts.it_estimated, parts.it)];
    match terms.into_iter().find(|(_, part, whole)| exceeds(*part, *whole, limit_ppm)) {
        Some((term, estimated, of)) => {
            Err(NoPue::TooMuchEstimated { term, estimated, of, limit_ppm })
        }
        None => Ok(()),
    }
}

/// From the limits of all meters that counted anything, or what keeps it from being stated.
fn uncertainty(
    parts: &PueParts,
    meters: &[MeterShare],
    policy: &PuePolicy,
) -> Result<Uncertainty, Unstated> {
    let of = |term: Term, whole: u128, estimated: u128| -> Result<(u128, Relative), Unstated> {
        let counted = counted(term, whole, meters)?;
        Ok((whole, Relative::of(&counted, estimated, policy.estimate_doubt_ppm)))
    };
    let of_total = parts.estimated.saturating_sub(parts.it_estimated);
    let total = of(Term::Total, parts.total, of_total)?;
    Ok(Uncertainty::of(total, of(Term::It, parts.it, parts.it_estimated)?))
}

/// The meters of a term with their limits: all of them, or the first thing that is not declared.
pub(super) fn counted(
    term: Term,
    whole: u128,
    meters: &[MeterShare],
) -> Result<Vec<Counted>, Unstated> {
    let (mut counted, mut sum) = (Vec::new(), 0_u128);
    let of_term = meters.iter().filter(|share| share.term == term && share.millijoules > 0);
    for MeterShare { id, meter, millijoules, .. } in of_term {
        let limits = meter.as_ref().map_or(Err("has no class"), |meter| meter.limits());
        let limits = limits.map_err(|why| Unstated::Meter { meter: id.clone(), why })?;
        counted.push(Counted { millijoules: *millijoules, limits });
        sum = sum.saturating_add(*millijoules);
    }
    let rest = whole.saturating_sub(sum);
    if rest == 0 { Ok(counted) } else { Err(Unstated::Undescribed { millijoules: rest }) }
}

/// The reason that most intervals give; the first in order among equals.
fn why_none(withheld: &BTreeMap<Withheld, u32>) -> NoPue {
    let most = withheld.iter().rev().max_by_key(|(_, intervals)| **intervals);
    match most {
        None => NoPue::NothingClosed,
        Some((Withheld::NoSupplyMeter, _)) => NoPue::NoSupplyMeter,
        Some((Withheld::NoItMeter, _)) => NoPue::NoItMeter,
        Some((Withheld::MissingMeter { meter }, intervals)) => {
            NoPue::MissingMeter { meter: meter.clone(), intervals: *intervals }
        }
        Some((Withheld::Disputed { point }, _)) => NoPue::Disputed { point: point.clone() },
    }
}
