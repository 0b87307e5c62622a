//! `/v1/hubs/{hub}/kpis`: the figures beside PUE with their terms, or why each is withheld; and
//! cost and emissions by project.

use bijli_wire::ErrorCode;
use serde::Serialize;

use super::amount::time;
use super::asked::Asked;
use super::pue;
use super::query::Period;
use super::{Answer, answer};
use crate::kpi::{self, Figure, Kpi, Party, Quantity, Shares, Term};
use crate::refusal::Refusal;

#[derive(Debug, Serialize)]
pub(super) struct Kpis {
    hub: String,
    from: String,
    to: String,
    kpis: Vec<One>,
    /// dPUE: from design data, beside what was measured; `null`: none is declared.
    designed: Option<String>,
}

#[derive(Debug, Serialize)]
struct One {
    kpi: &'static str,
    figure: Option<FigureAnswer>,
    withheld: Option<pue::WhyNot>,
}

#[derive(Debug, Serialize)]
struct FigureAnswer {
    shown: String,
    numerator: Amount,
    denominator: Option<Amount>,
    terms: Vec<TermAnswer>,
    intervals_complete: u32,
    intervals_expected: u32,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct TermAnswer {
    #[serde(flatten)]
    part: Amount,
    from: Option<Amount>,
}

/// An integer with its unit, and the same for people.
#[derive(Debug, Serialize)]
struct Amount {
    name: String,
    amount: String,
    unit: &'static str,
    shown: String,
}

pub(super) async fn period(asked: Asked) -> Answer<Kpis> {
    answer(move || {
        let (parameters, hub) = (asked.parameters(&["from", "to"])?, asked.hub()?);
        let (is_declared, tables) = (pue::is_declared(&hub), hub.view().tables.clone());
        let books = hub.books();
        let Period { from, to } = asked.period(&parameters, &books)?;
        let kpis = match pue::of(&books, Period { from, to }, is_declared) {
            Ok(pue) => kpi::of(&books, &tables, &pue),
            Err(why) => kpi::withheld(why.code, &why.message),
        };
        drop(books);
        let (hub, designed) = (hub.id.to_string(), tables.designed());
        let kpis = kpis.into_iter().map(One::of).collect();
        Ok(Kpis { hub, from: time(from), to: time(to), kpis, designed })
    })
    .await
}

/// `/v1/hubs/{hub}/kpis/projects`
#[derive(Debug, Serialize)]
pub(super) struct ByProject {
    hub: String,
    from: String,
    to: String,
    shares: Vec<SharesAnswer>,
}

#[derive(Debug, Serialize)]
struct SharesAnswer {
    kpi: &'static str,
    whole: Option<Amount>,
    /// They sum to the whole.
    projects: Vec<ShareAnswer>,
    withheld: Option<pue::WhyNot>,
}

#[derive(Debug, Serialize)]
struct ShareAnswer {
    /// `null`: nobody.
    project: Option<String>,
    amount: String,
    shown: String,
}

pub(super) async fn projects(asked: Asked) -> Answer<ByProject> {
    answer(move || {
        let (parameters, hub) = (asked.parameters(&["from", "to"])?, asked.hub()?);
        let (is_declared, tables) = (pue::is_declared(&hub), hub.view().tables.clone());
        let books = hub.books();
        let Period { from, to } = asked.period(&parameters, &books)?;
        if from < books.entries_from() && from < to {
            let begin = time(books.entries_from());
            let words = format!("shares are made of entries in memory, which begin at {begin}");
            return Err(Refusal::new(ErrorCode::InvalidRequest, words));
        }
        let why = |why: pue::WhyNot| Refusal::new(ErrorCode::NotFound, why.message);
        let pue = pue::of(&books, Period { from, to }, is_declared).map_err(why)?;
        let shares = kpi::shares(&books, &tables, &pue);
        drop(books);
        let shares = shares.into_iter().map(SharesAnswer::of).collect();
        Ok(ByProject { hub: hub.id.to_string(), from: time(from), to: time(to), shares })
    })
    .await
}

impl SharesAnswer {
    fn of(shares: Shares) -> Self {
        let kpi = shares.name;
        match shares.outcome {
            Ok((whole, parties)) => {
                let share = |(party, amount): (Party, u128)| ShareAnswer {
                    project: party.map(|project| project.to_string()),
                    amount: amount.to_string(),
                    shown: whole.unit.human(amount),
                };
                let projects = parties.into_iter().map(share).collect();
                Self { kpi, whole: Some(Amount::of(&whole)), projects, withheld: None }
            }
            Err(why) => {
                let withheld = Some(pue::WhyNot { code: why.code, message: why.message });
                Self { kpi, whole: None, projects: Vec::new(), withheld }
            }
        }
    }
}

impl One {
    fn of(one: Kpi) -> Self {
        let (figure, withheld) = match one.outcome {
            Ok(figure) => (Some(FigureAnswer::of(figure)), None),
            Err(why) => (None, Some(pue::WhyNot { code: why.code, message: why.message })),
        };
        Self { kpi: one.name, figure, withheld }
    }
}

impl FigureAnswer {
    fn of(figure: Figure) -> Self {
        let term = |term: Term| TermAnswer {
            part: Amount::of(&term.part),
            from: term.from.as_ref().map(Amount::of),
        };
        Self {
            numerator: Amount::of(&figure.numerator),
            denominator: figure.denominator.as_ref().map(Amount::of),
            terms: figure.terms.into_iter().map(term).collect(),
            shown: figure.shown,
            intervals_complete: figure.intervals_complete,
            intervals_expected: figure.intervals_expected,
            notes: figure.notes,
        }
    }
}

impl Amount {
    fn of(of: &Quantity) -> Self {
        Self {
            name: of.name.clone(),
            amount: of.amount.to_string(),
            unit: of.unit.symbol(),
            shown: of.human(),
        }
    }
}
