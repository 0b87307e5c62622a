//! A PUE as the API writes it: the text that may be printed, both energies as integers, and
//! everything that they rest on. No field is the ratio alone.

use std::collections::BTreeMap;

use bijli_ledger::pue::{MeterShare, Uncertainty};
use bijli_ledger::{Meter, Pue, Withheld};
use bijli_wire::units::human_energy;
use serde::Serialize;

use crate::api::amount::{Amount, time};

#[derive(Debug, Serialize)]
pub(crate) struct PueFigure {
    kind: &'static str,
    category: u8,
    /// Standard and edition, as the hub declares them.
    standard: Option<String>,
    /// Of The Green Grid's WP49, and the figure's name in its manner.
    level: u8,
    wp49: String,
    shown: String,
    from: String,
    to: String,
    utc_offset: String,
    /// Whole calendar months in that offset.
    months: Option<u32>,
    interval_ms: u64,
    total_mj: String,
    total: String,
    it_mj: String,
    it: String,
    intervals_complete: u32,
    intervals_expected: u32,
    coverage: Coverage,
    by_source: Vec<SourceAmount>,
    /// What UPS batteries gave beyond what they took; not in the total.
    store_drawn_mj: String,
    /// Part of total plus IT that was estimated.
    estimated_mj: String,
    estimated: Estimated,
    uncertainty: Option<UncertaintyAnswer>,
    uncertainty_unstated: Option<String>,
    residual: Residual,
    meters: Vec<MeterFacts>,
    status: &'static str,
    intervals_provisional: u32,
    adjustments: u64,
    withheld: Vec<WithheldAnswer>,
}

/// How much of the period is in the figure. Shares are cut, never rounded up.
#[derive(Debug, Serialize)]
struct Coverage {
    time: String,
    /// Of what the books know of both terms in the period, the lesser of the two.
    energy: String,
    total_known_mj: String,
    it_known_mj: String,
    /// The longest stretch that is not counted.
    gap_ms: u64,
}

/// Shares of estimates are rounded up.
#[derive(Debug, Serialize)]
struct Estimated {
    total_mj: String,
    it_mj: String,
    /// Of the term that has more of it.
    share: String,
    /// Beyond it there is no figure.
    share_max: String,
    /// Standard uncertainty of what is estimated, k = 1.
    doubt: String,
}

/// Expanded, in units of the figure.
#[derive(Debug, Serialize)]
pub(super) struct UncertaintyAnswer {
    k: u8,
    /// If no two meters of a term shared a cause of error...
    independent: String,
    /// ...and if all of a term were off to the same side.
    correlated: String,
}

#[derive(Debug, Serialize)]
struct Residual {
    /// What came in and no meter explains.
    unexplained_mj: String,
    /// What meters below show beyond those above, at places that leave both terms alone.
    contradicted_mj: String,
    /// What nodes used that no diagram places.
    outside_mj: String,
}

#[derive(Debug, Serialize)]
struct SourceAmount {
    source: &'static str,
    #[serde(flatten)]
    amount: Amount,
}

/// A meter that counted, as it was described at the time.
#[derive(Debug, Serialize)]
struct MeterFacts {
    meter: String,
    term: String,
    #[serde(flatten)]
    amount: Amount,
    make: Option<String>,
    model: Option<String>,
    serial: Option<String>,
    class: Option<String>,
    standard: Option<String>,
    ct_ratio: Option<String>,
    ct_class: Option<String>,
    calibrated: Option<String>,
    calibration_due: Option<String>,
    certificate: Option<String>,
    laboratory: Option<String>,
}

/// Why intervals add nothing to the figure.
#[derive(Debug, Serialize)]
struct WithheldAnswer {
    reason: String,
    intervals: u32,
}

impl PueFigure {
    pub(crate) fn of(pue: &Pue) -> Self {
        let sources = pue.by_source.iter();
        Self {
            kind: pue.kind.word(),
            category: pue.category.number(),
            standard: pue.policy.standard.clone(),
            level: pue.level(),
            wp49: pue.wp49(),
            shown: pue.to_string(),
            from: time(pue.from),
            to: time(pue.to),
            utc_offset: pue.policy.zone().offset(pue.from).to_string(),
            months: pue.policy.zone().months(pue.from, pue.to),
            interval_ms: pue.interval.get(),
            total_mj: pue.total.to_string(),
            total: human_energy(pue.total),
            it_mj: pue.it.to_string(),
            it: human_energy(pue.it),
            intervals_complete: pue.intervals_complete,
            intervals_expected: pue.intervals_expected,
            coverage: Coverage::of(pue),
            by_source: sources
                .map(|(role, sum)| SourceAmount { source: role.word(), amount: Amount::of(*sum) })
                .collect(),
            store_drawn_mj: pue.store_drawn.to_string(),
            estimated_mj: pue.estimated.to_string(),
            estimated: Estimated::of(pue),
            uncertainty: pue.uncertainty.as_ref().ok().map(UncertaintyAnswer::of),
            uncertainty_unstated: pue.uncertainty.as_ref().err().map(ToString::to_string),
            residual: Residual {
                unexplained_mj: pue.unexplained.to_string(),
                contradicted_mj: pue.contradicted.to_string(),
                outside_mj: pue.outside.to_string(),
            },
            meters: pue.meters.iter().map(MeterFacts::of).collect(),
            status: pue.status().word(),
            intervals_provisional: pue.intervals_provisional,
            adjustments: pue.adjustments,
            withheld: withheld(&pue.withheld),
        }
    }
}

impl Coverage {
    fn of(pue: &Pue) -> Self {
        let (complete, expected) = (pue.intervals_complete, pue.intervals_expected);
        let parts = [(pue.total, pue.known.total), (pue.it, pue.known.it)];
        let least = parts.into_iter().map(|(part, whole)| myriad(part, whole)).min();
        Self {
            time: percent(myriad(complete.into(), expected.into())),
            energy: percent(least.unwrap_or(0)),
            total_known_mj: pue.known.total.to_string(),
            it_known_mj: pue.known.it.to_string(),
            gap_ms: pue.gap.get(),
        }
    }
}

impl Estimated {
    fn of(pue: &Pue) -> Self {
        let parts = [(pue.total_estimated(), pue.total), (pue.it_estimated, pue.it)];
        let up = |(part, whole): (u128, u128)| part.saturating_mul(10_000).div_ceil(whole.max(1));
        let share = parts.into_iter().map(up).max().unwrap_or(0);
        Self {
            total_mj: pue.total_estimated().to_string(),
            it_mj: pue.it_estimated.to_string(),
            share: percent(share),
            share_max: percent(u128::from(pue.policy.estimated_ppm_max) / 100),
            doubt: percent(u128::from(pue.policy.estimate_doubt_ppm) / 100),
        }
    }
}

impl UncertaintyAnswer {
    pub(super) fn of(known: &Uncertainty) -> Self {
        let shown = |micro: u128| format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
        Self {
            k: 2,
            independent: shown(known.independent_micro),
            correlated: shown(known.correlated_micro),
        }
    }
}

impl MeterFacts {
    fn of(share: &MeterShare) -> Self {
        let Meter {
            make,
            model,
            serial,
            class,
            standard,
            ct_ratio,
            ct_class,
            calibrated,
            calibration_due,
            certificate,
            laboratory,
        } = share.meter.clone().unwrap_or_default();
        Self {
            meter: share.id.to_string(),
            term: share.term.to_string(),
            amount: Amount::of(share.millijoules),
            make,
            model,
            serial,
            class: class.map(|class| class.to_string()),
            standard,
            ct_ratio,
            ct_class: ct_class.map(|class| class.to_string()),
            calibrated: calibrated.map(|date| date.to_string()),
            calibration_due: calibration_due.map(|date| date.to_string()),
            certificate,
            laboratory,
        }
    }
}

/// In ten-thousandths, cut; all of nothing.
fn myriad(part: u128, whole: u128) -> u128 {
    part.saturating_mul(10_000).checked_div(whole).unwrap_or(10_000)
}

fn percent(myriad: u128) -> String {
    format!("{}.{:02} %", myriad / 100, myriad % 100)
}

fn withheld(reasons: &BTreeMap<Withheld, u32>) -> Vec<WithheldAnswer> {
    let one = |(reason, intervals): (&Withheld, &u32)| WithheldAnswer {
        reason: reason.to_string(),
        intervals: *intervals,
    };
    reasons.iter().map(one).collect()
}
