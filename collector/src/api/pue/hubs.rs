//! `/v1/pue`: one figure of several hubs, in both ways that are in use, each by its name.

use std::sync::Arc;

use bijli_ledger::{RollUp, Weighting, roll_up};
use bijli_wire::{ErrorCode, HubId};
use serde::Serialize;

use super::figure::UncertaintyAnswer;
use super::{WhyNot, is_declared, of};
use crate::api::amount::time;
use crate::api::asked::{Asked, closed};
use crate::api::query::{Parameters, Period};
use crate::api::{Answer, answer, ready};
use crate::refusal::Refusal;
use crate::state::Hub;

/// Hubs of one answer.
const HUBS_MAX: usize = 64;

#[derive(Debug, Serialize)]
pub(crate) struct HubsAnswer {
    hubs: Vec<String>,
    from: String,
    to: String,
    pue: Option<Together>,
    no_pue: Option<WhyNot>,
}

#[derive(Debug, Serialize)]
struct Together {
    kind: String,
    category: u8,
    standard: Option<String>,
    total_mj: String,
    it_mj: String,
    /// Sum of E_DC over sum of E_IT.
    sums: Way,
    /// The hubs' figures weighted by their E_DC.
    weighted: Way,
    hubs: Vec<Part>,
}

/// One way to put hubs together.
#[derive(Debug, Serialize)]
struct Way {
    rule: &'static str,
    shown: String,
    uncertainty: Option<UncertaintyAnswer>,
    uncertainty_unstated: Option<String>,
}

/// One hub's own figure.
#[derive(Debug, Serialize)]
struct Part {
    hub: String,
    shown: String,
    total_mj: String,
    it_mj: String,
}

pub(crate) async fn together(asked: Asked) -> Answer<HubsAnswer> {
    answer(move || {
        let parameters = asked.parameters(&["hubs", "from", "to"])?;
        ready(&asked.state)?;
        let hubs = named(&asked, &parameters)?;
        let period = period(&asked, &parameters, &hubs)?;
        let (pue, no_pue) = match figures(&hubs, period) {
            Ok(all) => (Some(Together::of(&all)), None),
            Err(why) => (None, Some(why)),
        };
        let hubs = hubs.iter().map(|hub| hub.id.to_string()).collect();
        Ok(HubsAnswer { hubs, from: time(period.from), to: time(period.to), pue, no_pue })
    })
    .await
}

/// `hubs=isb,khi`; left out, all that declare a category. Each once, by id.
fn named(asked: &Asked, parameters: &Parameters) -> Result<Vec<Arc<Hub>>, Refusal> {
    let Some(names) = parameters.text("hubs") else {
        let hubs = asked.state.hubs().into_iter();
        return Ok(hubs.filter(|hub| is_declared(hub)).collect());
    };
    let mut names: Vec<&str> = names.split(',').take(HUBS_MAX).collect();
    names.sort_unstable();
    names.dedup();
    let find = |name: &str| {
        let known = HubId::new(name).ok().and_then(|id| asked.state.hub(&id));
        known.ok_or_else(|| {
            let name: String = name.chars().take(96).collect();
            let words = format!("there is no hub {name:?}; /v1/hubs lists them");
            Refusal::new(ErrorCode::UnknownHub, words)
        })
    };
    names.into_iter().map(find).collect()
}

/// What is not said is what all of them have closed.
fn period(asked: &Asked, parameters: &Parameters, hubs: &[Arc<Hub>]) -> Result<Period, Refusal> {
    let mut all: Option<Period> = None;
    for hub in hubs {
        let Some(one) = closed(&hub.books()) else { continue };
        all = Some(match all {
            None => one,
            Some(all) => Period { from: all.from.max(one.from), to: all.to.min(one.to) },
        });
    }
    let all = all.map(|all| Period { from: all.from.min(all.to), ..all });
    parameters.period(&asked.state.rules, all, asked.now())
}

/// One hub at a time: no reader holds back two hubs' booking.
fn figures(hubs: &[Arc<Hub>], period: Period) -> Result<RollUp, WhyNot> {
    let mut figures = Vec::new();
    for hub in hubs {
        let is_declared = is_declared(hub);
        let pue = of(&hub.books(), period, is_declared);
        let pue = pue.map_err(|why| {
            let message = format!("hub {}: {}", hub.id, why.message);
            WhyNot { message, ..why }
        })?;
        figures.push((hub.id.clone(), pue));
    }
    roll_up(figures).map_err(|why| WhyNot { code: "cannot_mix", message: why.to_string() })
}

impl Together {
    fn of(all: &RollUp) -> Self {
        let first = all.figures().first().map(|(_, pue)| pue);
        let part = |(hub, pue): &(HubId, bijli_ledger::Pue)| Part {
            hub: hub.to_string(),
            shown: pue.to_string(),
            total_mj: pue.total.to_string(),
            it_mj: pue.it.to_string(),
        };
        Self {
            kind: first.map(|pue| pue.kind.to_string()).unwrap_or_default(),
            category: first.map_or(0, |pue| pue.category.number()),
            standard: first.and_then(|pue| pue.policy.standard.clone()),
            total_mj: all.total().to_string(),
            it_mj: all.it().to_string(),
            sums: Way::of(all, Weighting::Sums),
            weighted: Way::of(all, Weighting::TotalEnergy),
            hubs: all.figures().iter().map(part).collect(),
        }
    }
}

impl Way {
    fn of(all: &RollUp, weighting: Weighting) -> Self {
        let uncertainty = all.uncertainty(weighting);
        Self {
            rule: weighting.words(),
            shown: all.shown(weighting),
            uncertainty: uncertainty.as_ref().ok().map(UncertaintyAnswer::of),
            uncertainty_unstated: uncertainty.err().map(|why| why.to_string()),
        }
    }
}
