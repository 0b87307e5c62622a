//! `energy`: what each project used, held idle apart, and what nobody's was.

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::csv;
use super::layout::{Amount, Table, field, period};
use super::{AnswerError, Said, Scope, encoded};

#[derive(Debug, Args)]
pub struct Ask {
    #[command(flatten)]
    scope: Scope,
    /// Only this project [default: all, and what nobody used].
    #[arg(long)]
    project: Option<String>,
    /// What a row is.
    #[arg(long, value_enum, default_value_t = By::Project)]
    by: By,
    /// As comma-separated values in millijoules; no cell is a formula.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    Project,
    Class,
    Account,
}

/// `/v1/hubs/{hub}/projects`
#[derive(Debug, Deserialize)]
struct AllProjects {
    hub: String,
    from: String,
    to: String,
    projects: Vec<Project>,
    idle_unallocated: Nobody,
    host_overhead: Nobody,
    unattributed: Nobody,
}

/// `/v1/hubs/{hub}/projects/{project}`
#[derive(Debug, Deserialize)]
struct OneProject {
    hub: String,
    from: String,
    to: String,
    #[serde(flatten)]
    project: Project,
}

#[derive(Debug, Deserialize)]
struct Project {
    project: String,
    gpu_active_mj: Amount,
    gpu_held_idle_mj: Amount,
    host_mj: Amount,
    it_mj: Amount,
    by_class: Vec<Class>,
    facility: Facility,
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

#[derive(Debug, Deserialize)]
struct Nobody {
    energy_mj: Amount,
}

/// Either answer, ready to be printed.
#[derive(Debug)]
pub(super) struct Answer {
    hub: String,
    from: String,
    to: String,
    projects: Vec<Project>,
    /// Account, words for it, amount; empty if one project was asked for.
    nobody: Vec<(&'static str, &'static str, Amount)>,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    let told = match &asked.project {
        None => asked.scope.ask::<AllProjects>("projects").await?.map(Answer::from),
        Some(project) => {
            let what = format!("projects/{}", encoded(project));
            asked.scope.ask::<OneProject>(&what).await?.map(Answer::from)
        }
    };
    if asked.csv {
        return Ok(told.plain(told.read.csv(asked.by)));
    }
    Ok(told.json_or(asked.json, |answer| answer.show(asked.by)))
}

impl From<AllProjects> for Answer {
    fn from(all: AllProjects) -> Self {
        let AllProjects { hub, from, to, projects, .. } = all;
        let nobody = vec![
            ("idle:unallocated", "unallocated idle", all.idle_unallocated.energy_mj),
            ("host_overhead", "hosts of nobody's GPUs", all.host_overhead.energy_mj),
            ("unattributed", "unattributed", all.unattributed.energy_mj),
        ];
        Self { hub, from, to, projects, nobody }
    }
}

impl From<OneProject> for Answer {
    fn from(one: OneProject) -> Self {
        let OneProject { hub, from, to, project } = one;
        Self { hub, from, to, projects: vec![project], nobody: Vec::new() }
    }
}

impl Answer {
    pub(super) fn show(&self, by: By) -> String {
        let mut text = field("hub", &self.hub);
        text.push_str(&period(&self.from, &self.to));
        text.push('\n');
        text.push_str(&match by {
            By::Project => self.by_project() + &self.notes(),
            By::Class => self.by_class(),
            By::Account => self.by_account(),
        });
        text
    }

    fn by_project(&self) -> String {
        let head = ["project", "GPUs active", "held idle", "hosts", "IT", "facility"];
        let mut table = Table::new(1, head);
        for project in &self.projects {
            let [active, held, host, it, facility] = project.amounts().map(Amount::human);
            table.row([project.project.clone(), active, held, host, it, facility]);
        }
        if self.nobody.is_empty() {
            return table.show();
        }
        let blank = String::new;
        for (_, words, amount) in &self.nobody {
            table.row([(*words).to_owned(), blank(), blank(), blank(), amount.human(), blank()]);
        }
        let it = self.projects.iter().map(|project| project.it_mj);
        let it = Amount::sum(it.chain(self.nobody.iter().map(|(_, _, amount)| *amount)));
        table.row(["sum".to_owned(), blank(), blank(), blank(), it.human(), blank()]);
        table.show()
    }

    /// What a reader of the last column must know.
    fn notes(&self) -> String {
        let words = "IT energy times the PUE of each complete interval: derived, not metered";
        let mut text = format!("\n{}", field("facility", words));
        for project in &self.projects {
            let covered = project.facility.it_covered_mj;
            if covered != project.it_mj {
                let (name, covered) = (&project.project, covered.human());
                let words = format!("{name}: {covered} of {} has a PUE", project.it_mj.human());
                text.push_str(&field("", &words));
            }
        }
        text
    }

    fn by_class(&self) -> String {
        let mut table = Table::new(2, ["project", "class", "IT", "mJ"]);
        for row in self.class_rows() {
            let Row { name, class, amount, .. } = row;
            table.row([name.to_owned(), class.to_owned(), amount.human(), amount.exact()]);
        }
        table.show()
    }

    fn by_account(&self) -> String {
        let mut table = Table::new(1, ["account", "energy", "mJ"]);
        for Row { account, amount, .. } in self.account_rows() {
            table.row([account, amount.human(), amount.exact()]);
        }
        table.show()
    }

    pub(super) fn csv(&self, by: By) -> String {
        let ours = ["hub", "from", "to", "account", "project"].into_iter();
        let head = |names: &[&'static str]| csv::line(ours.clone().chain(names.iter().copied()));
        let line = |row: &Row<'_>, cells: &[String]| {
            let first = [&self.hub, &self.from, &self.to, &row.account].map(String::as_str);
            let first = first.into_iter().chain([row.project]);
            csv::line(first.chain(cells.iter().map(String::as_str)))
        };
        let mut text = head(match by {
            By::Project => &PROJECT_COLUMNS,
            By::Class => &["class", "energy_mj"],
            By::Account => &["energy_mj"],
        });
        match by {
            By::Project => text.extend(self.project_rows().map(|(row, cells)| line(&row, &cells))),
            By::Class => text.extend(
                self.class_rows().map(|row| line(&row, &[row.class.into(), row.amount.exact()])),
            ),
            By::Account => {
                text.extend(self.account_rows().map(|row| line(&row, &[row.amount.exact()])));
            }
        }
        text
    }

    /// Rows with the cells of [`PROJECT_COLUMNS`]; what is nobody's is IT energy and no more.
    fn project_rows(&self) -> impl Iterator<Item = (Row<'_>, Vec<String>)> {
        let projects = self.projects.iter().map(|project| {
            let amounts = project.amounts().map(Amount::exact).into_iter();
            let covered = project.facility.it_covered_mj.exact();
            (project.row(), amounts.chain([covered]).collect())
        });
        let blank = String::new;
        let nobody = self.nobody_rows().map(move |row| {
            let it = row.amount.exact();
            (row, vec![blank(), blank(), blank(), it, blank(), blank()])
        });
        projects.chain(nobody)
    }

    fn class_rows(&self) -> impl Iterator<Item = Row<'_>> {
        let projects = self.projects.iter().flat_map(|project| {
            let class = |one| class_row(project, one);
            project.by_class.iter().map(class)
        });
        projects.chain(self.nobody_rows())
    }

    fn account_rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.projects.iter().flat_map(Project::share_rows).chain(self.nobody_rows())
    }

    fn nobody_rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.nobody.iter().map(|(account, words, amount)| Row {
            account: (*account).to_owned(),
            project: "",
            name: words,
            class: "",
            amount: *amount,
        })
    }
}

/// Columns of the CSV by project, after the common ones.
const PROJECT_COLUMNS: [&str; 6] =
    ["gpu_active_mj", "gpu_held_idle_mj", "host_mj", "it_mj", "facility_mj", "it_covered_mj"];

/// One amount and whose it is.
#[derive(Debug)]
struct Row<'a> {
    account: String,
    /// Empty: nobody's.
    project: &'a str,
    /// For people.
    name: &'a str,
    /// Empty: the API does not tell.
    class: &'a str,
    amount: Amount,
}

fn class_row<'a>(project: &'a Project, class: &'a Class) -> Row<'a> {
    Row { class: &class.class, amount: class.energy_mj, ..project.row() }
}

impl Project {
    /// Active, held idle, hosts; their sum; with its part of the facility.
    const fn amounts(&self) -> [Amount; 5] {
        let facility = self.facility.energy_mj;
        [self.gpu_active_mj, self.gpu_held_idle_mj, self.host_mj, self.it_mj, facility]
    }

    /// All of it.
    fn row(&self) -> Row<'_> {
        let name = &self.project;
        let account = format!("project:{name}");
        Row { account, project: name, name, class: "", amount: self.it_mj }
    }

    /// Its accounts in the order of the chart.
    fn share_rows(&self) -> impl Iterator<Item = Row<'_>> {
        let shares = [
            ("gpu_active", self.gpu_active_mj),
            ("gpu_held_idle", self.gpu_held_idle_mj),
            ("host", self.host_mj),
        ];
        let row = |(share, amount)| {
            let account = format!("project:{}/{share}", self.project);
            Row { account, amount, ..self.row() }
        };
        shares.into_iter().map(row)
    }
}
