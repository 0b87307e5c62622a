//! `/v1/hubs/{hub}/pue`: a PUE with everything that a figure must carry, or why there is none.
//!
//! There is no bare number: the ratio stands in `shown`, with kind, category, period and ±, beside
//! the two integers that it is of (`docs/pue.md`).

mod figure;
mod hubs;

use bijli_ledger::{Books, IntervalState, IntervalStatus, NoPue, Pue};
use serde::Serialize;

use super::amount::time;
use super::asked::Asked;
use super::query::Period;
use super::{Answer, answer};
use crate::refusal::Refusal;
use crate::state::Hub;
pub(crate) use figure::PueFigure;

pub(super) use hubs::together;

#[derive(Debug, Serialize)]
pub(super) struct PueAnswer {
    hub: String,
    from: String,
    to: String,
    pue: Option<PueFigure>,
    no_pue: Option<WhyNot>,
}

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WhyNot {
    pub code: &'static str,
    pub message: String,
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
    shown: Option<String>,
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
            Ok(pue) => (Some(PueFigure::of(&pue)), None),
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
        shown: None,
        total_mj: None,
        it_mj: None,
        no_pue: None,
    };
    let period = Period { from: status.start, to: status.end };
    match of(books, period, is_declared) {
        Ok(pue) => {
            answer.shown = Some(pue.to_string());
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

/// Whether the operator declared in which category PUE is to be computed.
pub(crate) fn is_declared(hub: &Hub) -> bool {
    hub.view().plan.pue_category.is_some()
}

/// PUE of a period, if a category is declared. The ledger's diagram always has one.
pub(crate) fn of(books: &Books, period: Period, is_declared: bool) -> Result<Pue, WhyNot> {
    if !is_declared {
        return Err(WhyNot::no_category());
    }
    books.pue(period.from, period.to).map_err(|why| WhyNot::of(&why))
}

impl WhyNot {
    pub(crate) fn of(why: &NoPue) -> Self {
        Self { code: code(why), message: why.to_string() }
    }

    pub(crate) fn no_category() -> Self {
        let message = "no PUE category is declared in the hub's diagram".to_owned();
        Self { code: "no_category", message }
    }
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
        NoPue::TooMuchEstimated { .. } => "too_much_estimated",
    }
}
