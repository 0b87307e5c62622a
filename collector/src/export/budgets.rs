//! Budgets: what each may use, has used at each hub, and how much of its time has passed.
//!
//! A scrape shows what is known and has the next figures made on a thread aside: reading years of
//! a country for the first time takes longer than a scrape may. After that, each asks only for what
//! was posted since. A project's name is an id of the registry, whose number is bounded there.

use std::sync::Arc;

use bijli_wire::{HubId, UtcMillis};

use super::catalogue as c;
use super::scene::Scene;
use super::text::{Text, Value};
use super::write::milli;
use crate::as_of::AsOf;
use crate::index::{Scope, Store};
use crate::projects::budget::Budget;
use crate::projects::spent::Spent;
use crate::projects::{Project, Projects};
use crate::state::{Shared, State};

/// How much time is asked for at once, so that other questions are answered in between.
const AT_ONCE_MS: i64 = 31 * 86_400_000;

/// Has the figures made that the next scrape shows.
pub(super) fn go_on(state: &Shared) {
    let Ok(as_of) = state.as_of(None) else { return };
    if state.index().is_none() || state.spent().as_of() == Some(as_of) {
        return;
    }
    let state = Arc::clone(state);
    let reckon = move || state.reckon_spent(|spent| reckoned(&state, spent, as_of));
    let thread = std::thread::Builder::new().name("budgets".into()).spawn(reckon);
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread for the figures of budgets; the next scrape tries again");
    }
}

/// `None`: the index does not answer now.
pub(super) fn reckoned(state: &State, spent: Spent, as_of: AsOf) -> Option<Spent> {
    let projects = state.registry().as_of(as_of.changes).ok()?;
    let begin = projects.iter().filter(|one| one.budget.is_some()).map(|one| one.from).min();
    let (mut spent, first) = spent.begin(as_of);
    let Some(begin) = begin else { return Some(spent) };
    for hub in state.hubs() {
        if first > 0 {
            spent = since(state, (spent, &projects), &hub.id, (first, as_of.leaves))?;
            continue;
        }
        let Some(end) = hub.books().closed_until() else { continue };
        let mut from = begin;
        while from < end {
            let to = UtcMillis::new(from.get().saturating_add(AT_ONCE_MS)).min(end);
            let scope = Scope { hub: hub.id.clone(), from, to, before: Some(as_of.leaves) };
            spent = within(state, (spent, &projects), scope)?;
            from = to;
        }
    }
    Some(spent)
}

fn within(state: &State, (spent, projects): (Spent, &Projects), scope: Scope) -> Option<Spent> {
    let (projects, leaves) = (projects.clone(), scope.before.unwrap_or(0));
    let read = move |store: &Store| {
        let mut spent = spent;
        let of = (&projects, &scope.hub);
        store.used(&scope, &|user| user.project().is_some(), &mut |start, user, _, amount| {
            spent.add(of, start, user, amount);
        })?;
        Ok(spent)
    };
    state.index()?.read(leaves, read).ok()
}

fn since(
    state: &State,
    (spent, projects): (Spent, &Projects),
    hub: &HubId,
    leaves: (u64, u64),
) -> Option<Spent> {
    let (projects, hub) = (projects.clone(), hub.clone());
    let read = move |store: &Store| {
        let mut spent = spent;
        store.used_in(&hub, leaves, &mut |start, user, amount| {
            spent.add((&projects, &hub), start, user, amount);
        })?;
        Ok(spent)
    };
    state.index()?.read(leaves.1, read).ok()
}

pub(super) fn write(text: &mut Text, state: &State, scenes: &[Scene]) {
    let spent = state.spent();
    let Some(as_of) = spent.as_of() else { return };
    let Ok(projects) = state.registry().as_of(as_of.changes) else { return };
    let lines: Vec<(&str, &str, Budget)> = scenes
        .iter()
        .filter_map(|scene| Some((scene, HubId::new(&scene.hub).ok()?, scene.books.closed_until?)))
        .flat_map(|(scene, hub, closed)| {
            let (spent, projects) = (&spent, &projects);
            projects.iter().filter_map(move |project| {
                let budget = of(project, spent.of(&hub, &project.id), closed)?;
                Some((scene.hub.as_str(), project.id.as_str(), budget))
            })
        })
        .collect();
    for (hub, project, budget) in &lines {
        text.line(&c::BUDGET, &[hub, project], milli(budget.budget));
    }
    for (hub, project, budget) in &lines {
        text.line(&c::BUDGET_USED, &[hub, project], milli(budget.used));
    }
    for (hub, project, budget) in &lines {
        let elapsed = budget.elapsed_ppm().and_then(|ppm| i128::try_from(ppm).ok());
        text.line_if(&c::BUDGET_ELAPSED, &[hub, project], elapsed.map(Value::Micro));
    }
}

fn of(project: &Project, used: u128, closed: UtcMillis) -> Option<Budget> {
    let (from, to) = (project.from, project.to);
    Some(Budget { budget: project.budget?.get().into(), used, from, to, closed })
}
