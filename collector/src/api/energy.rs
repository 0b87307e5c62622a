//! `/v1/energy`: what was used, by whom, when, where and by which job; as of any moment.

use std::sync::Arc;

use bijli_ledger::{Account, ProjectEnergy};
use bijli_wire::units::{human_energy, human_power};
use bijli_wire::{ErrorCode, HubId};
use serde::Serialize;

use super::amount::{ClassAmount, classes, time};
use super::asked::{Asked, missing};
use super::bill::{Grouped, Question};
use super::projects::Facility;
use super::{Answer, answer};
use crate::as_of::AsOf;
use crate::projects::bill::{By, Key, Used, Whose};
use crate::projects::jobs::JobUse;
use crate::refusal::Refusal;
use crate::state::{Hub, State};

#[derive(Debug, Serialize)]
pub(super) struct EnergyAnswer {
    hubs: Vec<String>,
    from: String,
    to: String,
    as_of: AsOfAnswer,
    project: Option<String>,
    by: &'static str,
    /// Where days and months begin.
    utc_offset: String,
    rows: Vec<RowAnswer>,
    it_mj: String,
    it: String,
    /// What a reader must know of these rows.
    notes: Vec<String>,
}

/// What an answer rests on. `name` is taken back by `as_of=`.
#[derive(Debug, Serialize)]
pub(super) struct AsOfAnswer {
    name: String,
    leaves: u64,
    changes: usize,
    /// When the books first had so many leaves; null: before the first.
    since: Option<String>,
}

impl AsOfAnswer {
    pub(super) fn of(state: &State, as_of: AsOf) -> Self {
        let since = state.moments().time_of(as_of.leaves).map(time);
        let AsOf { leaves, changes } = as_of;
        Self { name: as_of.to_string(), leaves, changes, since }
    }
}

#[derive(Debug, Default, Serialize)]
struct RowAnswer {
    #[serde(flatten)]
    of: Of,
    gpu_active_mj: String,
    gpu_held_idle_mj: String,
    host_mj: String,
    /// What no account used; left out where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    nobody_mj: Option<String>,
    it_mj: String,
    it: String,
    by_class: Vec<ClassAmount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facility: Option<Facility>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_use: Option<JobAnswer>,
}

/// What a row is of: one of these, and what goes with it.
#[derive(Debug, Default, Serialize)]
struct Of {
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    /// False: an account that no project claims, under its own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_registered: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    month: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
}

/// What else is known of a job in the period.
#[derive(Debug, Serialize)]
struct JobAnswer {
    accounts: Vec<String>,
    nodes: Vec<String>,
    gpus: usize,
    /// Time for which it held any GPU, and of all its GPUs together.
    wall_ms: u64,
    gpu_ms: u64,
    /// Its energy over its time.
    mean_power_mw: String,
    mean_power: String,
    /// Energy for each hour of a GPU held.
    wh_per_gpu_hour: String,
    /// Of what its GPUs used, what they used idle.
    held_idle_share: String,
    /// Of the time of its GPUs, what lies in intervals in which they were read.
    coverage: String,
    /// `exact`, or `split_by_time`: `split_mj` of it was divided among several jobs.
    method: &'static str,
    split_mj: String,
}

const NAMES: &[&str] = &["hub", "project", "by", "from", "to", "as_of"];

pub(super) async fn energy(asked: Asked) -> Answer<EnergyAnswer> {
    answer(move || {
        let parameters = asked.parameters(NAMES)?;
        let by = parameters.text("by").unwrap_or("project").to_owned();
        let question = Question::of(&asked, &parameters)?;
        let state = &asked.state;
        let (by, rows, notes) = match by.as_str() {
            "project" => {
                let rows = sums(state, &question, By::Whose)?;
                let notes = of_projects(&question, &rows);
                ("project", rows, notes)
            }
            "account" => ("account", sums(state, &question, By::Account)?, Vec::new()),
            "day" => ("day", sums(state, &question, By::Day)?, Vec::new()),
            "month" => ("month", sums(state, &question, By::Month)?, Vec::new()),
            "node" => {
                let rows = question.grouped(state, &Grouped::Node)?;
                ("node", plain(rows, &question), vec![NODES.to_owned()])
            }
            "gpu_model" => {
                let models = Grouped::Model(Arc::new(question.models(state.clock.now())));
                let rows = question.grouped(state, &models)?;
                ("gpu_model", plain(rows, &question), vec![MODELS.to_owned()])
            }
            "job" => {
                check_now(state, &question)?;
                let jobs = question.jobs(state)?;
                let notes = vec![JOBS.to_owned(), known_since(&question)];
                ("job", jobs.iter().map(|(hub, job, used)| of_job(hub, job, used)).collect(), notes)
            }
            _ => return Err(refuse(WHICH)),
        };
        if rows.is_empty() {
            check_known(&question)?;
        }
        let it: u128 = rows.iter().map(|row: &(u128, RowAnswer)| row.0).sum();
        Ok(EnergyAnswer {
            hubs: question.hubs.iter().map(|hub| hub.id.to_string()).collect(),
            from: time(question.period.from),
            to: time(question.period.to),
            as_of: AsOfAnswer::of(state, question.as_of),
            project: question.ask.only.as_ref().map(ToString::to_string),
            by,
            utc_offset: question.ask.offset.to_string(),
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            it_mj: it.to_string(),
            it: human_energy(it),
            notes,
        })
    })
    .await
}

const NOBODY: [Account; 3] =
    [Account::IdleUnallocated, Account::HostOverhead, Account::Unattributed];
const WHICH: &str = "by is one of project, account, day, month, node, gpu_model, job";
const NODES: &str = "exact: each entry's leaf names its node";
const MODELS: &str = "exact by GPU; models are what nodes declare that were heard within a day, and \
    `not declared` has the GPUs of the others";
const JOBS: &str = "exact where one job alone held a GPU for its account in an interval; what several \
    held one after the other is split by the time held, and counted as split. Hosts follow the \
    time for which GPUs were held";

fn known_since(question: &Question) -> String {
    let horizons = question.hubs.iter().map(|hub| hub.books().horizon());
    let since = horizons.max().map_or_else(|| "now".to_owned(), time);
    format!("jobs are known since {since}; what no known job held stands without a job")
}

fn of_projects(question: &Question, rows: &Rows) -> Vec<String> {
    let words = "an account that no project of the registry claims stands under its own name";
    let named = question.ask.only.as_ref();
    match named.filter(|only| question.ask.projects.project(only).is_none()) {
        Some(only) => {
            vec![format!("there is no project {only} in the registry: this is the account")]
        }
        None if rows.iter().any(|(_, row)| row.of.is_registered == Some(false)) => {
            vec![words.to_owned()]
        }
        None => Vec::new(),
    }
}

/// A project that used nothing yet exists if it is registered, or holds something.
fn check_known(question: &Question) -> Result<(), Refusal> {
    let Some(only) = &question.ask.only else { return Ok(()) };
    let holds = |hub: &Arc<Hub>| {
        let books = hub.books();
        books.allocations().any(|held| held.project == *only)
            || books.witnessed().any(|held| held.project == *only)
    };
    if question.ask.projects.project(only).is_some() || question.hubs.iter().any(holds) {
        return Ok(());
    }
    Err(missing("project", only.as_str()))
}

/// Who held what is kept as it is known now.
fn check_now(state: &State, question: &Question) -> Result<(), Refusal> {
    let is_now = question.as_of.leaves >= state.leaves_made();
    if is_now {
        return Ok(());
    }
    Err(refuse(
        "by=job has no as_of: the books keep who held what as it is known now. Ask by project, \
         account, day, month, node or gpu_model",
    ))
}

type Rows = Vec<(u128, RowAnswer)>;

fn sums(state: &State, question: &Question, by: By) -> Result<Rows, Refusal> {
    let mut rows = question.bill(state, by)?;
    if question.ask.only.is_none() && by == By::Whose {
        // That nobody used nothing is said.
        for account in NOBODY {
            rows.entry(Key::Whose(Whose::Nobody(account))).or_default();
        }
    }
    let with_facility = by != By::Account;
    let row = |(key, used): (Key, Used)| {
        let is_nobody = matches!(key, Key::Whose(Whose::Nobody(_)));
        let facility = (with_facility && !is_nobody).then(|| Facility::of(&used.energy()));
        let (it, row) = row(&used);
        (it, RowAnswer { of: Of::key(key, question), facility, ..row })
    };
    Ok(rows.into_iter().map(row).collect())
}

fn plain(rows: impl IntoIterator<Item = (Key, Used)>, question: &Question) -> Rows {
    let row = |(key, used): (Key, Used)| {
        let (it, row) = row(&used);
        (it, RowAnswer { of: Of::key(key, question), ..row })
    };
    rows.into_iter().map(row).collect()
}

/// All IT energy of a row, and the row without what it is of.
fn row(used: &Used) -> (u128, RowAnswer) {
    let energy: ProjectEnergy = used.energy();
    let nobody = used.nobody();
    let it = energy.it() + nobody;
    let row = RowAnswer {
        gpu_active_mj: energy.gpu_active.to_string(),
        gpu_held_idle_mj: energy.gpu_held_idle.to_string(),
        host_mj: energy.host.to_string(),
        nobody_mj: (nobody > 0).then(|| nobody.to_string()),
        it_mj: it.to_string(),
        it: human_energy(it),
        by_class: classes(&energy.by_class),
        ..RowAnswer::default()
    };
    (it, row)
}

fn of_job(hub: &HubId, job: &Option<String>, used: &JobUse) -> (u128, RowAnswer) {
    let (it, row) = row(&used.used);
    let of = Of { hub: Some(hub.to_string()), job: job.clone(), ..Of::default() };
    let job_use = job.as_ref().map(|_| JobAnswer::of(used, it));
    (it, RowAnswer { of, job_use, ..row })
}

impl JobAnswer {
    fn of(job: &JobUse, it: u128) -> Self {
        let (active, held_idle) = job.used.gpus();
        let power = it.saturating_mul(1_000).checked_div(u128::from(job.wall_ms));
        let power = u64::try_from(power.unwrap_or(0)).unwrap_or(u64::MAX);
        // Millijoules in a millisecond are watts, and so many Wh in an hour.
        let per_hour = it.checked_div(u128::from(job.gpu_ms)).unwrap_or(0);
        let (covered, held) = (u128::from(job.covered_ms), u128::from(job.gpu_ms));
        Self {
            accounts: job.accounts.iter().map(ToString::to_string).collect(),
            nodes: job.nodes.iter().map(ToString::to_string).collect(),
            gpus: job.gpus,
            wall_ms: job.wall_ms,
            gpu_ms: job.gpu_ms,
            mean_power_mw: power.to_string(),
            mean_power: human_power(power),
            wh_per_gpu_hour: per_hour.to_string(),
            held_idle_share: share(held_idle, active + held_idle),
            coverage: share(covered, held),
            method: if job.split > 0 { "split_by_time" } else { "exact" },
            split_mj: job.split.to_string(),
        }
    }
}

/// `"12.34 %"`, cut.
pub(super) fn share(part: u128, whole: u128) -> String {
    match part.saturating_mul(10_000).checked_div(whole) {
        Some(share) => format!("{}.{:02} %", share / 100, share % 100),
        None => "-".to_owned(),
    }
}

impl Of {
    fn key(key: Key, question: &Question) -> Self {
        let title = |project: &bijli_wire::ProjectId| {
            question.ask.projects.project(project).map(|project| project.title.clone())
        };
        let none = Self::default();
        match key {
            Key::Whose(Whose::Project(project)) => Self {
                title: title(&project),
                project: Some(project.to_string()),
                is_registered: Some(true),
                ..none
            },
            Key::Whose(Whose::Account(account)) => {
                Self { project: Some(account.to_string()), is_registered: Some(false), ..none }
            }
            Key::Whose(Whose::Nobody(account)) => {
                Self { account: Some(account.to_string()), ..none }
            }
            Key::Account(account, project) => Self {
                is_registered: account.project().map(|_| project.is_some()),
                account: Some(Account::to_string(&account)),
                project: project.map(|project| project.to_string()),
                ..none
            },
            Key::Day(date) => Self { day: Some(date.to_string()), ..none },
            Key::Month(month) => Self { month: Some(month), ..none },
            Key::Node(node) => {
                Self { node: Some(node.unwrap_or_else(|| "not known".to_owned())), ..none }
            }
            Key::Model(model) => {
                let model = model.unwrap_or_else(|| "not declared".to_owned());
                Self { gpu_model: Some(model), ..none }
            }
            Key::Host => Self { gpu_model: Some("no GPU: hosts".to_owned()), ..none },
        }
    }
}

fn refuse(words: &str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, words)
}
