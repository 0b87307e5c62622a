//! `pue`: the figure as the API shows it, then everything that it rests on.

use clap::Args;
use serde::Deserialize;

use super::layout::{Amount, Table, WIDTH, field, period, share, wrapped};
use super::{AnswerError, Said, Scope};

#[derive(Debug, Args)]
pub struct Ask {
    #[command(flatten)]
    scope: Scope,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
}

/// `/v1/hubs/{hub}/pue`
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    hub: String,
    from: String,
    to: String,
    pue: Option<Figure>,
    no_pue: Option<WhyNot>,
}

#[derive(Debug, Deserialize)]
struct Figure {
    kind: String,
    category: u8,
    /// The only form in which it may be printed.
    shown: String,
    total_mj: Amount,
    it_mj: Amount,
    intervals_complete: u32,
    intervals_expected: u32,
    by_source: Vec<Source>,
    store_drawn_mj: Amount,
    estimated_mj: Amount,
    withheld: Vec<Withheld>,
}

#[derive(Debug, Deserialize)]
struct Source {
    source: String,
    energy_mj: Amount,
}

#[derive(Debug, Deserialize)]
struct Withheld {
    reason: String,
    intervals: u32,
}

#[derive(Debug, Deserialize)]
struct WhyNot {
    code: String,
    message: String,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    let told = asked.scope.ask::<Answer>("pue").await?;
    let said = told.json_or(asked.json, Answer::show);
    Ok(Said { has_figure: told.read.pue.is_some(), ..said })
}

impl Answer {
    pub(super) fn show(&self) -> String {
        let Some(figure) = &self.pue else { return self.show_none() };
        let mut text = wrapped(&figure.shown, WIDTH).join("\n") + "\n\n";
        text.push_str(&field("hub", &self.hub));
        text.push_str(&figure.fields(&self.from, &self.to));
        text.push('\n');
        text.push_str(&figure.terms());
        text
    }

    fn show_none(&self) -> String {
        let (code, message) = match &self.no_pue {
            Some(why) => (why.code.as_str(), why.message.as_str()),
            None => ("unknown", "the collector does not say why"),
        };
        let mut text = wrapped(&format!("no PUE: {message}"), WIDTH).join("\n") + "\n\n";
        text.push_str(&field("hub", &self.hub));
        text.push_str(&period(&self.from, &self.to));
        text.push_str(&field("code", code));
        text
    }
}

impl Figure {
    fn fields(&self, from: &str, to: &str) -> String {
        let kind = match self.kind.as_str() {
            "interim" => "interim (iPUE): over a period other than twelve months",
            other => other,
        };
        let (complete, expected) = (self.intervals_complete, self.intervals_expected);
        let coverage = format!("{complete} of {expected} intervals count");
        let mut text = field("kind", kind);
        text.push_str(&field("category", &self.category.to_string()));
        text.push_str(&period(from, to));
        text.push_str(&field("coverage", &coverage));
        let mut unexplained = expected.saturating_sub(complete);
        for Withheld { reason, intervals } in &self.withheld {
            unexplained = unexplained.saturating_sub(*intervals);
            text.push_str(&field("not counted", &format!("{intervals}: {reason}")));
        }
        if unexplained > 0 {
            text.push_str(&field("not counted", &format!("{unexplained}: not booked")));
        }
        text
    }

    /// Numerator and denominator, and the supplies apart.
    fn terms(&self) -> String {
        let (total, it) = (self.total_mj.get(), self.it_mj.get());
        let mut table = Table::new(1, ["energy", "amount", "mJ", "share"]);
        let mut row = |name: &str, amount: Amount, share: String| {
            table.row([name.to_owned(), amount.human(), amount.exact(), share]);
        };
        row("numerator: into the data centre", self.total_mj, String::new());
        for Source { source, energy_mj } in &self.by_source {
            row(&format!("  from {source}"), *energy_mj, share(energy_mj.get(), total));
        }
        row("denominator: IT", self.it_mj, String::new());
        row("estimated part of the two", self.estimated_mj, {
            share(self.estimated_mj.get(), total.saturating_add(it))
        });
        row("UPS stores gave, in neither", self.store_drawn_mj, String::new());
        table.show()
    }
}
