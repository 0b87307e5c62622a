//! One page of truth about a running collector: `GET /v1/status`, and the `status` command that
//! asks for it.
//!
//! Periods are the closed intervals of the last day. Amounts are millijoules as decimal strings.

use axum::extract::State as FromState;
use axum::routing::get;
use axum::{Json, Router};
use bijli_wire::units::human_energy;
use bijli_wire::{Millis, UtcMillis};
use serde::{Deserialize, Serialize};

use crate::ask::AskError;
use crate::calendar;
use crate::state::{Hub, Readiness, Shared, State};

const PERIOD: Millis = Millis::new(24 * 3_600 * 1_000);
/// A node that sent nothing for this long is not reporting.
const REPORTING_MS: i64 = 60_000;

/// The whole collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub is_ready: bool,
    /// E.g. that the readings are simulated.
    pub banner: Option<String>,
    pub started: String,
    pub journal_records: String,
    pub journal_bytes: String,
    pub hubs: Vec<HubStatus>,
}

/// One hub over the last day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubStatus {
    pub hub: String,
    pub title: String,
    pub nodes_reporting: usize,
    pub nodes_expected: Option<u32>,
    pub from: String,
    pub to: String,
    /// Everything before is closed; absent before the first interval.
    pub closed_until: Option<String>,
    pub supplied_mj: String,
    pub used_mj: String,
    /// Must be 0.
    pub imbalance_mj: String,
    pub is_balanced: bool,
    pub pue: Option<PueStatus>,
    /// Why there is no PUE.
    pub no_pue: Option<String>,
    /// How the hub's transparency log stands, in words; absent before its first interval.
    #[serde(default)]
    pub seal: Option<String>,
    pub projects: Vec<ProjectStatus>,
}

/// A PUE with everything it must be printed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PueStatus {
    pub kind: String,
    pub category: u8,
    pub total_mj: String,
    pub it_mj: String,
    pub estimated_mj: String,
    pub intervals_complete: u32,
    pub intervals_expected: u32,
    /// All of it in one line.
    pub words: String,
}

/// What a project used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectStatus {
    pub project: String,
    pub gpu_active_mj: String,
    pub gpu_held_idle_mj: String,
    pub host_mj: String,
    pub it_mj: String,
    /// IT energy times PUE, over the intervals that have one.
    pub facility_mj: String,
}

pub fn router(state: Shared) -> Router {
    Router::new().route("/v1/status", get(answer)).with_state(state)
}

/// `GET /v1/status`
async fn answer(FromState(state): FromState<Shared>) -> Json<Status> {
    Json(Status::of(&state))
}

impl Status {
    #[must_use]
    pub fn of(state: &State) -> Self {
        let now = state.clock.now();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_ready: state.readiness() == Readiness::Ready,
            banner: state.banner.clone(),
            started: calendar::rfc3339(state.started),
            journal_records: state.health.journal_records.get().to_string(),
            journal_bytes: state.health.journal_bytes.get().to_string(),
            hubs: state.hubs().iter().map(|hub| HubStatus::of(state, hub, now)).collect(),
        }
    }

    /// For people: aligned, with units.
    #[must_use]
    pub fn show(&self) -> String {
        let mut text = String::new();
        if let Some(banner) = &self.banner {
            text.push_str(&format!("{banner}\n"));
        }
        let ready = if self.is_ready { "ready" } else { "replaying its journal" };
        text.push_str(&format!(
            "bijli-collector {}, {ready}, {} records in {} KiB of journal\n",
            self.version,
            self.journal_records,
            self.journal_bytes.parse::<u64>().unwrap_or(0) >> 10,
        ));
        self.hubs.iter().for_each(|hub| text.push_str(&hub.show()));
        text
    }
}

impl HubStatus {
    #[must_use]
    pub fn of(state: &State, hub: &Hub, now: UtcMillis) -> Self {
        let day_ago = now.get().saturating_sub(i64::try_from(PERIOD.get()).unwrap_or(i64::MAX));
        let has_category = hub.view().plan.pue_category.is_some();
        let nodes_reporting =
            hub.live().reporting(UtcMillis::new(now.get().saturating_sub(REPORTING_MS)));
        let books = hub.books();
        // A hub younger than a day has no gaps before its first interval.
        let first = books.intervals().next().map_or(day_ago, |first| first.start.get());
        let from = UtcMillis::new(first.max(day_ago));
        let balance = books.balance(from, now);
        let imbalance = books.imbalance();
        let pue = if has_category {
            books.pue(from, now).map_err(|error| error.to_string())
        } else {
            Err("no pue_category is declared for this hub".to_owned())
        };
        let projects =
            books.projects(from, now).into_iter().map(|(project, energy)| ProjectStatus {
                project: project.to_string(),
                gpu_active_mj: energy.gpu_active.to_string(),
                gpu_held_idle_mj: energy.gpu_held_idle.to_string(),
                host_mj: energy.host.to_string(),
                it_mj: energy.it().to_string(),
                facility_mj: energy.facility.to_string(),
            });
        Self {
            hub: hub.id.to_string(),
            title: hub.title.clone(),
            nodes_reporting,
            nodes_expected: hub.nodes_expected,
            from: calendar::rfc3339(from),
            to: calendar::rfc3339(now),
            closed_until: books.closed_until().map(calendar::rfc3339),
            supplied_mj: balance.supplied().to_string(),
            used_mj: balance.used().to_string(),
            imbalance_mj: imbalance.to_string(),
            is_balanced: balance.is_balanced() && imbalance == 0,
            no_pue: pue.as_ref().err().cloned(),
            pue: pue.ok().as_ref().map(PueStatus::of),
            seal: state.seals.of(&hub.id).map(|seal| seal.words),
            projects: projects.collect(),
        }
    }

    #[must_use]
    pub fn show(&self) -> String {
        let expected = self.nodes_expected.map(|count| format!(" of {count}")).unwrap_or_default();
        let pue = match (&self.pue, &self.no_pue) {
            (Some(pue), _) => pue.words.clone(),
            (None, Some(why)) => format!("none: {why}"),
            (None, None) => "none".to_owned(),
        };
        let balance = if self.is_balanced {
            "balanced to the millijoule".to_owned()
        } else {
            format!("NOT BALANCED: {} mJ", self.imbalance_mj)
        };
        let rows = [
            ("nodes reporting", format!("{}{expected}", self.nodes_reporting)),
            ("closed until", self.closed_until.clone().unwrap_or_else(|| "nothing yet".into())),
            ("supplied", human(&self.supplied_mj)),
            ("used", human(&self.used_mj)),
            ("books", balance),
            ("PUE", pue),
            ("log", self.seal.clone().unwrap_or_else(|| "nothing sealed yet".into())),
        ];
        let mut text =
            format!("\nhub {} ({}), last 24 h of closed intervals\n", self.hub, self.title);
        rows.iter().for_each(|(name, value)| text.push_str(&format!("    {name:15}  {value}\n")));
        text.push_str(&self.show_projects());
        text
    }
}

impl HubStatus {
    /// A table that fits 80 columns as long as names are short; nothing if there is no project.
    fn show_projects(&self) -> String {
        let names = self.projects.iter().map(|line| line.project.chars().count());
        let width = names.max().unwrap_or(0).max("project".len());
        let row = |cells: [&str; 4]| {
            let [project, it, idle, facility] = cells;
            format!("    {project:width$}  {it:>14}  {idle:>14}  {facility:>14}\n")
        };
        let heads = ["project", "IT", "held idle", "facility"];
        let head = (!self.projects.is_empty()).then(|| row(heads));
        let lines = self.projects.iter().map(|line| {
            let energies = [&line.it_mj, &line.gpu_held_idle_mj, &line.facility_mj];
            let [it, idle, facility] = energies.map(|energy| human(energy));
            row([&line.project, &it, &idle, &facility])
        });
        head.into_iter().chain(lines).collect()
    }
}

impl PueStatus {
    fn of(pue: &bijli_ledger::Pue) -> Self {
        Self {
            kind: pue.kind.to_string(),
            category: pue.category.number(),
            total_mj: pue.total.to_string(),
            it_mj: pue.it.to_string(),
            estimated_mj: pue.estimated.to_string(),
            intervals_complete: pue.intervals_complete,
            intervals_expected: pue.intervals_expected,
            words: pue.to_string(),
        }
    }
}

fn human(millijoules: &str) -> String {
    millijoules.parse().map_or_else(|_| millijoules.to_owned(), human_energy)
}

/// Asks a collector for its status; returns the JSON as it came, and read.
///
/// # Errors
/// When nobody answers, or not a collector.
pub async fn ask(url: &str) -> Result<(String, Status), AskError> {
    crate::ask::ask(url, "/v1/status").await
}
