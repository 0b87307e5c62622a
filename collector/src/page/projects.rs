//! The page at `/projects`: what each project used, and of one of them the days, the accounts and
//! the budget.
//!
//! It asks the index, so it is kept until the books have more leaves or the registry another
//! change: a page that refreshes every five seconds asks once an interval.

use std::sync::{Arc, Mutex, PoisonError};

use bijli_ledger::{Account, Date, Offset, Share};
use bijli_wire::units::human_energy;
use bijli_wire::{ErrorCode, ProjectId, UtcMillis};
use maud::{Markup, html};

use super::chart::{self, Bar};
use super::render::{rebuilding, shell};
use super::svg::share;
use super::tables::key;
use super::view::minute;
use crate::api::Period;
use crate::api::bill::{Question, hubs};
use crate::api::budgets;
use crate::as_of::AsOf;
use crate::projects::bill::{By, Key, Used, Whose};
use crate::projects::budget::Budget;
use crate::projects::{Project, ProjectText, Projects};
use crate::refusal::Refusal;
use crate::state::{Readiness, State};

/// Days on the page.
const DAYS: i64 = 31;
const DAY_MS: i64 = 86_400_000;
/// Projects on the page; the others are in the API.
const PROJECTS_MAX: usize = 60;

/// What the page shows.
#[derive(Clone, Debug)]
pub(super) struct View {
    banner: Option<String>,
    readiness: Readiness,
    shown: Option<Arc<Shown>>,
}

/// What was asked of the index.
#[derive(Debug)]
pub(super) struct Shown {
    as_of: AsOf,
    since: Option<UtcMillis>,
    period: Period,
    lines: Vec<Line>,
    more: usize,
    one: Option<One>,
}

/// A project, or an account that none claims.
#[derive(Debug)]
struct Line {
    id: String,
    is_registered: bool,
    title: String,
    parts: [u128; 3],
    budget: Option<Budget>,
}

/// The project that was asked for.
#[derive(Debug)]
struct One {
    id: String,
    text: Option<ProjectText>,
    bars: Vec<Bar>,
    accounts: Vec<(String, [u128; 3])>,
    budget: Option<Budget>,
}

/// What was last asked, and as of when.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Arc<Mutex<Option<Last>>>);

type Last = (AsOf, Option<ProjectId>, Arc<Shown>);

impl View {
    pub(super) fn of(state: &State, kept: &Kept, only: Option<ProjectId>) -> Result<Self, Refusal> {
        let readiness = state.readiness();
        let shown = match readiness {
            Readiness::Replaying { .. } => None,
            Readiness::Ready | Readiness::Failed => Some(kept.shown(state, only)?),
        };
        Ok(Self { banner: state.banner.clone(), readiness, shown })
    }
}

impl Kept {
    fn shown(&self, state: &State, only: Option<ProjectId>) -> Result<Arc<Shown>, Refusal> {
        let as_of = state
            .as_of(None)
            .map_err(|error| Refusal::new(ErrorCode::InvalidRequest, error.to_string()))?;
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |last: &&Last| last.0 == as_of && last.1 == only;
        if let Some((.., shown)) = lock().as_ref().filter(is_same) {
            return Ok(Arc::clone(shown));
        }
        let shown = Arc::new(Shown::of(state, as_of, only.clone())?);
        *lock() = Some((as_of, only, Arc::clone(&shown)));
        Ok(shown)
    }
}

impl Shown {
    fn of(state: &State, as_of: AsOf, only: Option<ProjectId>) -> Result<Self, Refusal> {
        let closed = budgets::closed_until(state, as_of);
        let to = closed.unwrap_or(UtcMillis::ZERO);
        let from = UtcMillis::new(to.get().saturating_sub(DAYS * DAY_MS));
        let period = Period { from, to };
        let ask = |only| Question::new(state, hubs(state, None)?, period, (as_of, only));
        let all = ask(None)?;
        let registry = &all.ask.projects;
        let mut lines = lines(all.bill(state, By::Whose)?, registry);
        let more = lines.len().saturating_sub(PROJECTS_MAX);
        lines.truncate(PROJECTS_MAX);
        let budget = |project: &Project| -> Result<Option<Budget>, Refusal> {
            Ok(budgets::of(state, project, (as_of, closed))?.map(|(budget, _)| budget))
        };
        for line in lines.iter_mut().filter(|line| line.is_registered) {
            let project = ProjectId::new(&line.id).ok().and_then(|id| registry.project(&id));
            line.budget = project.map(budget).transpose()?.flatten();
        }
        let one = match only {
            None => None,
            Some(id) => {
                let question = ask(Some(id.clone()))?;
                let project = registry.project(&id);
                Some(One {
                    id: id.to_string(),
                    text: project.map(ProjectText::of),
                    bars: bars(question.bill(state, By::Day)?, period, question.ask.offset),
                    accounts: accounts(question.bill(state, By::Account)?),
                    budget: project.map(budget).transpose()?.flatten(),
                })
            }
        };
        let since = state.moments().time_of(as_of.leaves);
        Ok(Self { as_of, since, period, lines, more, one })
    }
}

/// Registered projects first, also those that used nothing, the largest first; then accounts.
fn lines(rows: std::collections::BTreeMap<Key, Used>, registry: &Projects) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for project in registry.iter() {
        let key = Key::Whose(Whose::Project(project.id.clone()));
        lines.push(Line {
            id: project.id.to_string(),
            is_registered: true,
            title: project.title.clone(),
            parts: rows.get(&key).map_or([0; 3], parts),
            budget: None,
        });
    }
    for (key, used) in &rows {
        let Key::Whose(Whose::Account(account)) = key else { continue };
        let (id, title) = (account.to_string(), String::new());
        let parts = parts(used);
        lines.push(Line { id, is_registered: false, title, parts, budget: None });
    }
    lines.sort_by_key(|line| std::cmp::Reverse((line.is_registered, total(&line.parts))));
    lines
}

fn parts(used: &Used) -> [u128; 3] {
    let energy = used.energy();
    [energy.gpu_active, energy.gpu_held_idle, energy.host]
}

fn total(parts: &[u128; 3]) -> u128 {
    parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
}

/// Every day of the period, also those without energy.
fn bars(rows: std::collections::BTreeMap<Key, Used>, period: Period, offset: Offset) -> Vec<Bar> {
    let last = UtcMillis::new(period.to.get().saturating_sub(1));
    let days = (0..=DAYS).rev().map(|ago| UtcMillis::new(last.get() - ago * DAY_MS));
    let dates: std::collections::BTreeSet<Date> =
        days.filter(|at| *at >= period.from).map(|at| offset.date(at)).collect();
    let bar = |date: Date| {
        let parts = rows.get(&Key::Day(date)).map_or([0; 3], parts);
        Bar { label: date.to_string(), parts }
    };
    dates.into_iter().map(bar).collect()
}

fn accounts(rows: std::collections::BTreeMap<Key, Used>) -> Vec<(String, [u128; 3])> {
    let mut accounts: std::collections::BTreeMap<String, [u128; 3]> = Default::default();
    for (key, used) in &rows {
        let Key::Account(Account::Project(account, share), _) = key else { continue };
        let [active, held, host] = accounts.entry(account.to_string()).or_default();
        let sum = match share {
            Share::GpuActive => active,
            Share::GpuHeldIdle => held,
            Share::Host => host,
        };
        *sum = sum.saturating_add(total(&parts(used)));
    }
    accounts.into_iter().collect()
}

pub(super) fn page(view: &View, only: Option<&ProjectId>) -> Markup {
    let query = only.map_or_else(String::new, |id| format!("?project={id}"));
    let from = format!("/projects/fragment{query}");
    shell("bijli: energy of the projects", &from, &fragment(view))
}

/// The part that changes.
pub(super) fn fragment(view: &View) -> Markup {
    html! {
        @if let Some(banner) = &view.banner { p.banner role="status" { (banner) } }
        @if let Readiness::Replaying { done, total } = view.readiness { (rebuilding(done, total)) }
        @if let Some(shown) = view.shown.as_deref() {
            @if let Some(one) = &shown.one { (one_project(one, shown)) }
            (all_projects(shown))
        }
    }
}

fn rests_on(shown: &Shown) -> Markup {
    let Period { from, to } = shown.period;
    html! {
        p.hint { (minute(from)) " to " (minute(to)) " UTC, as of " b { (shown.as_of) }
            @if let Some(since) = shown.since { " (since " (minute(since)) ")" }
            ": ask with this for the same figures again" }
    }
}

fn one_project(one: &One, shown: &Shown) -> Markup {
    let text = one.text.as_ref();
    let about = |words: &str| html! { @if !words.is_empty() { li { (words) } } };
    let used = one.accounts.iter().fold(0_u128, |sum, (_, parts)| sum + total(parts));
    html! {
        section.hub {
            header {
                h2 { (text.map_or(&one.id, |text| &text.title)) " " small { (one.id) } }
                ul.chips {
                    @if let Some(text) = text {
                        (about(&text.organisation)) (about(&text.grant))
                        li { (day(&text.from)) " to " (text.to.as_deref().map_or("no end", day)) }
                    } @else { li.bad { "an account of no project" } }
                }
            }
            @if let Some(budget) = &one.budget { (budget_bar(budget)) }
            h3 { "Energy by day" }
            (rests_on(shown))
            figure { (chart::svg(&one.bars, "wide")) (chart::svg(&one.bars, "narrow")) }
            (key(&[("active", "GPUs active"), ("held", "held, and idle"), ("host", "hosts")]))
            h3 { "Accounts" }
            (split(one.accounts.iter().map(|(name, parts)| (html! { (name) }, parts)), used))
        }
    }
}

/// The date of a time as the registry writes it.
fn day(text: &str) -> &str {
    text.split('T').next().unwrap_or(text)
}

fn budget_bar(budget: &Budget) -> Markup {
    let whole = budget.budget.max(budget.used).max(1);
    let wide = |energy: u128| energy.saturating_mul(1_000).checked_div(whole).unwrap_or(0);
    let forecast = budget.forecast();
    let ahead =
        forecast.map_or(0, |energy| wide(energy.min(whole)).saturating_sub(wide(budget.used)));
    let is_over = budget.used > budget.budget;
    html! {
        h3 { "Budget" }
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" role="img"
            aria-label=(format!("{} of the budget", share(budget.used, budget.budget))) {
            rect class="t-rest" x="0" width=(wide(budget.budget)) height="10" {}
            rect class="t-held" x=(wide(budget.used)) width=(ahead) height="10" {}
            rect class={ @if is_over { "t-doubt" } @else { "t-active" } } x="0"
                width=(wide(budget.used)) height="10" {}
        }
        p.hint {
            b { (human_energy(budget.used)) } " of " (human_energy(budget.budget)) ", "
            (share(budget.used, budget.budget))
            @if let Some(days) = budget.days_left() { "; " (days) " days left" }
            @match forecast {
                Some(forecast) => {
                    "; " b.bad[forecast > budget.budget] { (share(forecast, budget.budget)) }
                    " at its end, if the mean power so far goes on"
                    @if let Some(up) = budget.used_up() { ": used up " (minute(up)) " UTC" }
                }
                None => { "; too early, or without an end, to foretell" }
            }
        }
    }
}

fn all_projects(shown: &Shown) -> Markup {
    let used = shown.lines.iter().fold(0_u128, |sum, line| sum + total(&line.parts));
    let name = |line: &Line| {
        html! {
            a href={ "/projects?project=" (line.id) } { (line.id) }
            @if line.is_registered { br; span.soft { (line.title) } }
            @else { " " span.tag { "account" } }
            @if let Some(budget) = &line.budget {
                br; span.soft.bad[budget.used > budget.budget] {
                    (share(budget.used, budget.budget)) " of its budget" }
            }
        }
    };
    html! {
        section.hub {
            header { h2 { "Projects" } p.hint { a href="/" { "All hubs" } } }
            (rests_on(shown))
            @if shown.lines.is_empty() {
                p.hint { "No project is registered and no account used energy in this time." }
            } @else {
                (split(shown.lines.iter().map(|line| (name(line), &line.parts)), used))
                (key(&[("active", "GPUs active"), ("held", "held, and idle"), ("host", "hosts")]))
            }
            @if shown.more > 0 { p.hint { "and " (shown.more) " more: /v1/energy" } }
        }
    }
}

/// Names with their three parts, and their share of the whole.
fn split<'a>(rows: impl Iterator<Item = (Markup, &'a [u128; 3])>, whole: u128) -> Markup {
    let rows: Vec<(Markup, &[u128; 3])> = rows.collect();
    let largest = rows.iter().map(|(_, parts)| total(parts)).max().unwrap_or(0);
    html! {
        table.stack {
            thead { tr { th { "Whose" } th {} th.n { "GPUs active" } th.n { "Held idle" }
                th.n { "Hosts" } th.n { "Total" } th.n { "Share" } } }
            tbody {
                @for (name, parts) in &rows {
                    @let [active, held, host] = parts;
                    tr { td { (name) } td.full { (chart::bar(parts, largest)) }
                        td.n data-l="active" { (human_energy(*active)) }
                        td.n data-l="held idle" { (human_energy(*held)) }
                        td.n data-l="hosts" { (human_energy(*host)) }
                        td.n data-l="total" { b { (human_energy(total(parts))) } }
                        td.n.soft data-l="share" { (share(total(parts), whole)) } }
                }
            }
        }
    }
}
