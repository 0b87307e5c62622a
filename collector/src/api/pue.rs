//! `/v1/hubs/{hub}/pue`: a PUE with everything that a figure must carry, or why there is none.
//!
//! The ratio is rounded half up from two integers that are printed beside it; there is no bare
//! number. ISO/IEC 30134-2 asks for category and period; shorter than twelve months
//! it is interim (iPUE).

use std::collections::BTreeMap;

use bijli_ledger::{Books, IntervalState, IntervalStatus, NoPue, Pue, PueKind, Withheld};
use bijli_wire::units::human_energy;
use serde::Serialize;

use super::amount::{Amount, ratio, time};
use super::asked::Asked;
use super::query::Period;
use super::{Answer, answer};
use crate::refusal::Refusal;
use crate::state::Hub;

#[derive(Debug, Serialize)]
pub(super) struct PueAnswer {
    hub: String,
    from: String,
    to: String,
    pue: Option<PueFigure>,
    no_pue: Option<WhyNot>,
}

#[derive(Debug, Serialize)]
struct PueFigure {
    kind: &'static str,
    category: u8,
    ratio: String,
    shown: String,
    total_mj: String,
    total: String,
    it_mj: String,
    it: String,
    intervals_complete: u32,
    intervals_expected: u32,
    by_source: Vec<SourceAmount>,
    /// What UPS batteries gave beyond what they took; not in the total.
    store_drawn_mj: String,
    /// Part of total plus IT that was estimated.
    estimated_mj: String,
    withheld: Vec<WithheldAnswer>,
}

#[derive(Debug, Serialize)]
struct SourceAmount {
    source: &'static str,
    #[serde(flatten)]
    amount: Amount,
}

/// Why intervals add nothing to the figure.
#[derive(Debug, Serialize)]
struct WithheldAnswer {
    reason: String,
    intervals: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct WhyNot {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

#[derive(Debug, Serialize)]
pub(super) struct PueIntervals {
    hub: String,
    from: String,
    to: String,
    intervals: Vec<PueInterval>,
}

#[derive(Debug, Serialize)]
struct PueInterval {
    start: String,
    end: String,
    ratio: Option<String>,
    total_mj: Option<String>,
    it_mj: Option<String>,
    no_pue: Option<WhyNot>,
}

pub(super) async fn period(asked: Asked) -> Answer<PueAnswer> {
    answer(move || {
        let (parameters, hub) = (asked.parameters(&["from", "to"])?, asked.hub()?);
        let is_declared = is_declared(&hub);
        let books = hub.books();
        let Period { from, to } = asked.period(&parameters, &books)?;
        let (pue, no_pue) = match of(&books, Period { from, to }, is_declared) {
            Ok(pue) => (Some(figure(&pue)), None),
            Err(why) => (None, Some(why)),
        };
        Ok(PueAnswer { hub: hub.id.to_string(), from: time(from), to: time(to), pue, no_pue })
    })
    .await
}

pub(super) async fn intervals(asked: Asked) -> Answer<PueIntervals> {
    answer(move || -> Result<PueIntervals, Refusal> {
        let (parameters, hub) = (asked.parameters(&["from", "to"])?, asked.hub()?);
        let is_declared = is_declared(&hub);
        let books = hub.books();
        let Period { from, to } = asked.period(&parameters, &books)?;
        let within = |status: &IntervalStatus<'_>| {
            status.state == IntervalState::Closed && status.start >= from && status.end <= to
        };
        let intervals =
            books.intervals().filter(within).map(|one| interval(&books, &one, is_declared));
        let intervals = intervals.collect();
        Ok(PueIntervals { hub: hub.id.to_string(), from: time(from), to: time(to), intervals })
    })
    .await
}

fn interval(books: &Books, status: &IntervalStatus<'_>, is_declared: bool) -> PueInterval {
    let mut answer = PueInterval {
        start: time(status.start),
        end: time(status.end),
        ratio: None,
        total_mj: None,
        it_mj: None,
        no_pue: None,
    };
    let period = Period { from: status.start, to: status.end };
    match of(books, period, is_declared) {
        Ok(pue) => {
            answer.ratio = ratio(pue.total, pue.it, 3);
            answer.total_mj = Some(pue.total.to_string());
            answer.it_mj = Some(pue.it.to_string());
        }
        Err(mut why) => {
            // The interval's own reason is more exact than the period's.
            if let Some(withheld) = status.pue_withheld.filter(|_| is_declared) {
                why.message = withheld.to_string();
            }
            answer.no_pue = Some(why);
        }
    }
    answer
}

fn figure(pue: &Pue) -> PueFigure {
    let kind = match pue.kind {
        PueKind::Interim => "interim",
    };
    let sources = pue.by_source.iter();
    PueFigure {
        kind,
        category: pue.category.number(),
        ratio: ratio(pue.total, pue.it, 3).unwrap_or_default(),
        shown: shown(pue),
        total_mj: pue.total.to_string(),
        total: human_energy(pue.total),
        it_mj: pue.it.to_string(),
        it: human_energy(pue.it),
        intervals_complete: pue.intervals_complete,
        intervals_expected: pue.intervals_expected,
        by_source: sources
            .map(|(role, sum)| SourceAmount { source: role.word(), amount: Amount::of(*sum) })
            .collect(),
        store_drawn_mj: pue.store_drawn.to_string(),
        estimated_mj: pue.estimated.to_string(),
        withheld: withheld(&pue.withheld),
    }
}

fn withheld(reasons: &BTreeMap<Withheld, u32>) -> Vec<WithheldAnswer> {
    let one = |(reason, intervals): (&Withheld, &u32)| WithheldAnswer {
        reason: reason.to_string(),
        intervals: *intervals,
    };
    reasons.iter().map(one).collect()
}

/// The figure alone, two decimals: ordinary metering supports no third one. Show it only
/// beside [`shown`].
pub(crate) fn headline(pue: &Pue) -> String {
    ratio(pue.total, pue.it, 2).unwrap_or_default()
}

/// The figure as it may be printed: with kind, category, period and coverage.
pub(crate) fn shown(pue: &Pue) -> String {
    let kind = match pue.kind {
        PueKind::Interim => "iPUE",
    };
    format!(
        "{kind}{} ({}/{}) = {}, coverage {} of {} intervals",
        pue.category.number(),
        time(pue.from),
        time(pue.to),
        headline(pue),
        pue.intervals_complete,
        pue.intervals_expected,
    )
}

/// Whether the operator declared in which category PUE is to be computed.
pub(crate) fn is_declared(hub: &Hub) -> bool {
    hub.view().plan.pue_category.is_some()
}

/// PUE of a period, if a category is declared. The ledger's diagram always has one.
pub(crate) fn of(books: &Books, period: Period, is_declared: bool) -> Result<Pue, WhyNot> {
    if !is_declared {
        let message = "no PUE category is declared in the hub's diagram".to_owned();
        return Err(WhyNot { code: "no_category", message });
    }
    let why = |why: NoPue| WhyNot { code: code(&why), message: why.to_string() };
    books.pue(period.from, period.to).map_err(why)
}

const fn code(why: &NoPue) -> &'static str {
    match why {
        NoPue::NothingClosed => "nothing_closed",
        NoPue::MissingMeter { .. } => "missing_meter",
        NoPue::NoSupplyMeter => "no_supply_meter",
        NoPue::NoItMeter => "no_it_meter",
        NoPue::Disputed { .. } => "disputed",
        NoPue::CategoryChanged => "category_changed",
        NoPue::BelowOne { .. } => "below_one",
        NoPue::NoItEnergy => "no_it_energy",
    }
}
