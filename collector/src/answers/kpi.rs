//! `kpi`: the figures beside PUE as the API shows them, each with its terms or with the reason why
//! it is withheld.

use clap::Args;
use serde::Deserialize;

use super::layout::{Table, WIDTH, field, period, wrapped};
use super::pue::WhyNot;
use super::{AnswerError, Said, Scope};

#[derive(Debug, Args)]
pub struct Ask {
    #[command(flatten)]
    scope: Scope,
    /// Cost and emissions by project instead.
    #[arg(long)]
    by_project: bool,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
}

/// `/v1/hubs/{hub}/kpis`
#[derive(Debug, Deserialize)]
struct Answer {
    hub: String,
    from: String,
    to: String,
    kpis: Vec<One>,
    designed: Option<String>,
}

#[derive(Debug, Deserialize)]
struct One {
    kpi: String,
    figure: Option<Figure>,
    withheld: Option<WhyNot>,
}

#[derive(Debug, Deserialize)]
struct Figure {
    /// The only form in which it may be printed.
    shown: String,
    terms: Vec<Term>,
    notes: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Term {
    name: String,
    amount: String,
    unit: String,
    shown: String,
    from: Option<From>,
}

#[derive(Debug, Deserialize)]
struct From {
    shown: String,
}

/// `/v1/hubs/{hub}/kpis/projects`
#[derive(Debug, Deserialize)]
struct ByProject {
    hub: String,
    from: String,
    to: String,
    shares: Vec<Shares>,
}

#[derive(Debug, Deserialize)]
struct Shares {
    kpi: String,
    whole: Option<Whole>,
    projects: Vec<Share>,
    withheld: Option<WhyNot>,
}

#[derive(Debug, Deserialize)]
struct Whole {
    name: String,
    unit: String,
    shown: String,
}

#[derive(Debug, Deserialize)]
struct Share {
    project: Option<String>,
    amount: String,
    shown: String,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    if asked.by_project {
        let told = asked.scope.ask::<ByProject>("kpis/projects").await?;
        let said = told.json_or(asked.json, ByProject::show);
        let has_figure = told.read.shares.iter().any(|one| one.whole.is_some());
        return Ok(Said { has_figure, ..said });
    }
    let told = asked.scope.ask::<Answer>("kpis").await?;
    let said = told.json_or(asked.json, Answer::show);
    let has_figure = told.read.kpis.iter().any(|one| one.figure.is_some());
    Ok(Said { has_figure, ..said })
}

impl Answer {
    fn show(&self) -> String {
        let mut text = field("hub", &self.hub) + &period(&self.from, &self.to);
        for one in &self.kpis {
            text.push('\n');
            text.push_str(&one.show());
        }
        if let Some(designed) = &self.designed {
            text.push_str(&format!("\n{}\n", wrapped(designed, WIDTH).join("\n")));
        }
        text
    }
}

impl ByProject {
    fn show(&self) -> String {
        let mut text = field("hub", &self.hub) + &period(&self.from, &self.to);
        for Shares { kpi, whole, projects, withheld } in &self.shares {
            text.push('\n');
            let Some(whole) = whole else {
                text.push_str(&none(kpi, withheld.as_ref()));
                continue;
            };
            text.push_str(&format!("{kpi}: {} {}\n", whole.name, whole.shown));
            let mut table = Table::new(1, ["  project", "share", "exact"]);
            for Share { project, amount, shown } in projects {
                let name = project.as_deref().unwrap_or("(nobody)");
                table.row([format!("  {name}"), shown.clone(), format!("{amount} {}", whole.unit)]);
            }
            text.push_str(&table.show());
        }
        text
    }
}

/// A figure that is withheld, and why.
fn none(name: &str, why: Option<&WhyNot>) -> String {
    let why = why.map_or("the collector does not say why", |why| why.message.as_str());
    wrapped(&format!("no {name}: {why}"), WIDTH).join("\n") + "\n"
}

impl One {
    fn show(&self) -> String {
        let Some(Figure { shown, terms, notes }) = &self.figure else {
            return none(&self.kpi, self.withheld.as_ref());
        };
        let mut text = wrapped(shown, WIDTH).join("\n") + "\n";
        let mut table = Table::new(1, ["  made of", "of", "amount", "exact"]);
        for Term { name, amount, unit, shown, from } in terms {
            let from = from.as_ref().map(|from| from.shown.clone()).unwrap_or_default();
            table.row([format!("  {name}"), from, shown.clone(), format!("{amount} {unit}")]);
        }
        text.push_str(&table.show());
        notes.iter().for_each(|note| text.push_str(&field("  note", note)));
        text
    }
}
