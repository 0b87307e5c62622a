//! `energy`: what was used, by project, job, node, day, month or model, held idle apart, and what
//! nobody's was; as of now or of any earlier moment.

mod jobs;
mod rows;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::layout::{Amount, Table, field, period};
use super::when::Closed;
use super::{AnswerError, Hubs, Period, Said, Told, URL, query};
use crate::ask::ask;
use crate::calendar;

#[derive(Debug, Args)]
pub struct Ask {
    /// Only this hub [default: all of them].
    #[arg(long)]
    hub: Option<String>,
    #[command(flatten)]
    period: Period,
    /// Only this project, or the account of that name [default: all, and what nobody used].
    #[arg(long)]
    project: Option<String>,
    /// What a row is.
    #[arg(long, value_enum, default_value_t = By::Project)]
    by: By,
    #[command(flatten)]
    as_of: AsOf,
    /// As comma-separated values in millijoules; no cell is a formula.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
    #[arg(long, default_value = URL)]
    url: String,
}

/// What an answer is to rest on.
#[derive(Clone, Debug, Args)]
pub(super) struct AsOf {
    /// As the books and the registry of projects stood then: a time with its offset, a date, or
    /// what an answer said of itself, like 1042.3 [default: now].
    #[arg(long = "as-of", value_name = "WHEN")]
    as_of: Option<String>,
}

impl AsOf {
    /// `as_of`, a date as its midnight in UTC.
    pub(super) fn parameter(&self) -> Option<(&'static str, String)> {
        let text = self.as_of.as_deref()?;
        let midnight = format!("{text}T00:00:00Z");
        let is_date = calendar::parse(&midnight).is_ok();
        Some(("as_of", if is_date { midnight } else { text.to_owned() }))
    }
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    Project,
    Class,
    Account,
    Job,
    Node,
    Day,
    Month,
    GpuModel,
}

impl By {
    /// As the API asks for it.
    const fn word(self) -> &'static str {
        match self {
            Self::Project | Self::Class => "project",
            Self::Account => "account",
            Self::Job => "job",
            Self::Node => "node",
            Self::Day => "day",
            Self::Month => "month",
            Self::GpuModel => "gpu_model",
        }
    }
}

/// `/v1/energy`
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    hubs: Vec<String>,
    from: String,
    to: String,
    as_of: Rests,
    project: Option<String>,
    utc_offset: String,
    rows: Vec<Row>,
    it_mj: Amount,
    notes: Vec<String>,
}

/// What an answer rests on.
#[derive(Debug, Deserialize)]
pub(super) struct Rests {
    name: String,
    since: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Row {
    project: Option<String>,
    is_registered: Option<bool>,
    title: Option<String>,
    account: Option<String>,
    day: Option<String>,
    month: Option<String>,
    node: Option<String>,
    gpu_model: Option<String>,
    hub: Option<String>,
    job: Option<String>,
    gpu_active_mj: Amount,
    gpu_held_idle_mj: Amount,
    host_mj: Amount,
    nobody_mj: Option<Amount>,
    it_mj: Amount,
    by_class: Vec<Class>,
    facility: Option<Facility>,
    job_use: Option<jobs::JobUse>,
}

#[derive(Debug, Deserialize)]
struct Class {
    class: String,
    energy_mj: Amount,
}

#[derive(Debug, Deserialize)]
struct Facility {
    energy_mj: Amount,
    it_covered_mj: Amount,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    let hubs = Hubs::of(&asked.url).await?;
    let mut parameters = asked.period.parameters()?;
    if parameters.is_empty() {
        // The last day that all of them closed.
        let is_asked = |hub: &&Closed| asked.hub.as_ref().is_none_or(|name| *name == hub.hub);
        let days = hubs.hubs.iter().filter(is_asked).filter_map(Closed::last_day);
        if let Some((from, to)) = days.min_by_key(|(_, to)| *to) {
            let (from, to) = (calendar::rfc3339(from), calendar::rfc3339(to));
            parameters = vec![("from", from), ("to", to)];
        }
    }
    let mut add = |name, value: &Option<String>| {
        parameters.extend(value.iter().map(|value| (name, value.clone())));
    };
    add("hub", &asked.hub);
    add("project", &asked.project);
    add("by", &Some(asked.by.word().to_owned()));
    parameters.extend(asked.as_of.parameter());
    let (json, read) = ask(&asked.url, &format!("/v1/energy{}", query(&parameters))).await?;
    let told: Told<Answer> = Told { banner: hubs.banner, json, read };
    if asked.csv {
        return Ok(told.plain(told.read.csv(asked.by)));
    }
    Ok(told.json_or(asked.json, |answer| answer.show(asked.by)))
}

impl Answer {
    pub(super) fn show(&self, by: By) -> String {
        let name = if self.hubs.len() == 1 { "hub" } else { "hubs" };
        let mut text = field(name, &self.hubs.join(", "));
        if let Some(project) = &self.project {
            text.push_str(&field("project", project));
        }
        text.push_str(&period(&self.from, &self.to));
        text.push_str(&self.as_of.show());
        if matches!(by, By::Day | By::Month) {
            text.push_str(&field("days begin", &format!("at midnight, {}", self.utc_offset)));
        }
        text.push('\n');
        text.push_str(&match by {
            By::Class => self.by_class(),
            By::Account => self.by_account(),
            By::Job => jobs::table(&self.rows),
            By::Project | By::Node | By::Day | By::Month | By::GpuModel => self.amounts(by),
        });
        let notes = self.all_notes(by);
        if !notes.is_empty() {
            text.push('\n');
            notes.iter().for_each(|(name, words)| text.push_str(&field(name, words)));
        }
        text
    }

    fn amounts(&self, by: By) -> String {
        let is_any = |is: fn(&Row) -> bool| self.rows.iter().any(is);
        let has_facility = is_any(|row| row.facility.is_some());
        let has_nobody = by != By::Project && is_any(|row| row.nobody_mj.is_some());
        let head = ["GPUs active", "held idle", "hosts", "nobody's", "IT", "facility"];
        let shown = [true, true, true, has_nobody, true, has_facility];
        let pick = |cells: Vec<String>| {
            cells.into_iter().zip(shown).filter(|(_, is)| *is).map(|(cell, _)| cell)
        };
        let head = pick(head.map(str::to_owned).to_vec());
        let title = by.word().replace('_', " ").replace("gpu", "GPU");
        let mut table = Table::of(1, std::iter::once(title).chain(head).collect());
        for row in &self.rows {
            let cells = pick(
                row.cells(by).map(|cell| cell.map_or_else(String::new, Amount::human)).to_vec(),
            );
            table.cells(std::iter::once(row.words(by)).chain(cells).collect());
        }
        let mut sum = vec![String::new(); 6];
        if let Some(cell) = sum.get_mut(4) {
            *cell = self.it_mj.human();
        }
        table.cells(std::iter::once("sum".to_owned()).chain(pick(sum)).collect());
        table.show()
    }

    fn by_class(&self) -> String {
        let mut table = Table::new(2, ["project", "class", "IT", "mJ"]);
        for row in &self.rows {
            for class in &row.by_class {
                let amount = class.energy_mj;
                let cells = [row.words(By::Project), class.class.clone()];
                let [name, class] = cells;
                table.row([name, class, amount.human(), amount.exact()]);
            }
        }
        table.show()
    }

    fn by_account(&self) -> String {
        let mut table = Table::new(2, ["account", "project", "energy", "mJ"]);
        for row in &self.rows {
            let account = row.account.clone().unwrap_or_default();
            let project = row.project.clone().unwrap_or_default();
            table.row([account, project, row.it_mj.human(), row.it_mj.exact()]);
        }
        table.show()
    }

    fn all_notes(&self, by: By) -> Vec<(&'static str, String)> {
        let mut notes = Vec::new();
        if self.rows.iter().any(|row| row.facility.is_some()) && by != By::Class {
            let words = "IT energy times the PUE of each complete interval: derived, not metered";
            notes.push(("facility", words.to_owned()));
            for row in &self.rows {
                let Some(facility) = &row.facility else { continue };
                if facility.it_covered_mj != row.it_mj {
                    let (covered, it) = (facility.it_covered_mj.human(), row.it_mj.human());
                    let words = format!("{}: {covered} of {it} has a PUE", row.words(by));
                    notes.push(("", words));
                }
            }
        }
        let is_first = |index: usize| if index == 0 { "note" } else { "" };
        let said = self.notes.iter().enumerate();
        notes.extend(said.map(|(index, words)| (is_first(index), words.clone())));
        notes
    }
}

impl Rests {
    pub(super) fn show(&self) -> String {
        let since = self.since.as_deref().map_or_else(String::new, |at| format!(", since {at}"));
        let words = format!("{}{since}: --as-of {} gives this answer again", self.name, self.name);
        field("as of", &words)
    }
}
