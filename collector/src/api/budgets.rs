//! `/v1/budgets`: what projects may use, have used, and will have used if they go on so.

use bijli_wire::units::human_energy;
use bijli_wire::{ErrorCode, ProjectId, UtcMillis};
use serde::Serialize;

use super::amount::time;
use super::asked::{Asked, closed, missing};
use super::bill::{Question, hubs};
use super::energy::{AsOfAnswer, share};
use super::past::as_of;
use super::query::Period;
use super::{Answer, answer};
use crate::as_of::AsOf;
use crate::projects::Project;
use crate::projects::bill::By;
use crate::projects::budget::Budget;
use crate::refusal::Refusal;
use crate::state::State;

#[derive(Debug, Serialize)]
pub(super) struct BudgetsAnswer {
    as_of: AsOfAnswer,
    /// Where the books of every hub are closed.
    closed_until: Option<String>,
    /// How a forecast is made.
    method: &'static str,
    budgets: Vec<BudgetAnswer>,
}

const METHOD: &str = "linear: the mean power since the project began, until where the books are \
    closed, goes on until it ends; none before a day has passed";

#[derive(Debug, Serialize)]
pub(crate) struct BudgetAnswer {
    project: String,
    title: String,
    from: String,
    to: Option<String>,
    budget_mj: String,
    budget: String,
    used_mj: String,
    used: String,
    used_share: String,
    /// Null: no end is set.
    days_left: Option<u64>,
    forecast_mj: Option<String>,
    forecast: Option<String>,
    forecast_share: Option<String>,
    /// When the budget is used up at that power; null: not within the project's time.
    used_up: Option<String>,
}

pub(super) async fn list(asked: Asked) -> Answer<BudgetsAnswer> {
    answer(move || {
        let parameters = asked.parameters(&["project", "as_of"])?;
        super::ready(&asked.state)?;
        let state = &asked.state;
        let as_of = as_of(state, parameters.text("as_of"))?;
        let projects = state.registry().as_of(as_of.changes);
        let projects = projects.map_err(|error| refuse(error.to_string()))?;
        let only = parameters.text("project");
        let is_asked = |project: &&Project| only.is_none_or(|only| project.id.as_str() == only);
        let closed = closed_until(state, as_of);
        let (mut is_known, mut budgets) = (only.is_none(), Vec::new());
        for project in projects.iter().filter(is_asked) {
            is_known = true;
            budgets.extend(of(state, project, (as_of, closed))?.map(|(_, words)| words));
        }
        if !is_known {
            return Err(missing("project", only.unwrap_or_default()));
        }
        Ok(BudgetsAnswer {
            as_of: AsOfAnswer::of(state, as_of),
            closed_until: closed.map(time),
            method: METHOD,
            budgets,
        })
    })
    .await
}

/// Where every hub was closed when the books had so many leaves.
pub(crate) fn closed_until(state: &State, as_of: AsOf) -> Option<UtcMillis> {
    let then = state.moments().time_of(as_of.leaves)?.floor_to(state.rules.interval);
    let hubs = state.hubs();
    let ends = hubs.iter().filter_map(|hub| closed(&hub.books()).map(|period| period.to));
    ends.min().map(|end| end.min(then))
}

/// A project's budget, in numbers and in words; `None`: it has none.
pub(crate) fn of(
    state: &State,
    project: &Project,
    (as_of, closed): (AsOf, Option<UtcMillis>),
) -> Result<Option<(Budget, BudgetAnswer)>, Refusal> {
    let Some(budget) = project.budget else { return Ok(None) };
    let closed = closed.unwrap_or(project.from);
    let end = project.to.map_or(closed, |to| to.min(closed));
    let used = if end > project.from {
        used(state, project.id.clone(), (project.from, end), as_of)?
    } else {
        0
    };
    let (from, to) = (project.from, project.to);
    let budget = Budget { budget: budget.get().into(), used, from, to, closed };
    Ok(Some((budget, answer_of(project, &budget))))
}

fn used(
    state: &State,
    id: ProjectId,
    (from, to): (UtcMillis, UtcMillis),
    as_of: AsOf,
) -> Result<u128, Refusal> {
    let period = Period { from, to };
    let question = Question::new(state, hubs(state, None)?, period, (as_of, Some(id)))?;
    let rows = question.bill(state, By::Whose)?;
    Ok(rows.values().map(|used| used.energy().it()).sum())
}

fn answer_of(project: &Project, budget: &Budget) -> BudgetAnswer {
    let forecast = budget.forecast();
    BudgetAnswer {
        project: project.id.to_string(),
        title: project.title.clone(),
        from: time(project.from),
        to: project.to.map(time),
        budget_mj: budget.budget.to_string(),
        budget: human_energy(budget.budget),
        used_mj: budget.used.to_string(),
        used: human_energy(budget.used),
        used_share: share(budget.used, budget.budget),
        days_left: budget.days_left(),
        forecast_mj: forecast.map(|forecast| forecast.to_string()),
        forecast: forecast.map(human_energy),
        forecast_share: forecast.map(|forecast| share(forecast, budget.budget)),
        used_up: budget.used_up().map(time),
    }
}

fn refuse(words: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, words)
}
