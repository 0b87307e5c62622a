//! `pue` of several hubs: one figure, in both ways that are in use, each by its name.

use serde::Deserialize;

use super::layout::{Amount, Table, WIDTH, field, period, wrapped};
use super::pue::{Uncertainty, WhyNot, doubt, show_none};
use super::{AnswerError, Hubs, Period, Said, Told, query};
use crate::ask::ask;
use crate::calendar;

/// `/v1/pue`
#[derive(Debug, Deserialize)]
struct Answer {
    hubs: Vec<String>,
    from: String,
    to: String,
    pue: Option<Together>,
    no_pue: Option<WhyNot>,
}

#[derive(Debug, Deserialize)]
struct Together {
    standard: Option<String>,
    total_mj: Amount,
    it_mj: Amount,
    sums: Way,
    weighted: Way,
    hubs: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Way {
    shown: String,
    uncertainty: Option<Uncertainty>,
    uncertainty_unstated: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Part {
    hub: String,
    shown: String,
    total_mj: Amount,
    it_mj: Amount,
}

/// `hubs` together, or all of them.
pub(super) async fn answer(
    url: &str,
    hubs: Option<&[String]>,
    period: &Period,
    is_json: bool,
) -> Result<Said, AnswerError> {
    let mut parameters = period.parameters()?;
    let known = Hubs::of(url).await?;
    if parameters.is_empty() {
        // The last day that all of them closed.
        let named = |hub: &str| hubs.is_none_or(|hubs| hubs.iter().any(|name| name == hub));
        let days = known.hubs.iter().filter(|hub| named(&hub.hub)).filter_map(|hub| hub.last_day());
        if let Some((from, to)) = days.min_by_key(|(_, to)| *to) {
            let (from, to) = (calendar::rfc3339(from), calendar::rfc3339(to));
            parameters = vec![("from", from), ("to", to)];
        }
    }
    parameters.extend(hubs.map(|hubs| ("hubs", hubs.join(","))));
    let (json, read) = ask(url, &format!("/v1/pue{}", query(&parameters))).await?;
    let told: Told<Answer> = Told { banner: known.banner, json, read };
    let said = told.json_or(is_json, Answer::show);
    Ok(Said { has_figure: told.read.pue.is_some(), ..said })
}

impl Answer {
    fn show(&self) -> String {
        let asked = field("hubs", &self.hubs.join(", ")) + &period(&self.from, &self.to);
        let Some(pue) = &self.pue else { return show_none(self.no_pue.as_ref(), &asked) };
        let mut text = String::new();
        for way in [&pue.sums, &pue.weighted] {
            text.push_str(&(wrapped(&way.shown, WIDTH).join("\n") + "\n"));
            let doubt = doubt(way.uncertainty.as_ref(), way.uncertainty_unstated.as_deref());
            text.push_str(&field("", &doubt));
        }
        text.push('\n');
        text.push_str(&asked);
        text.push_str(&field("standard", pue.standard.as_deref().unwrap_or("not declared")));
        for part in &pue.hubs {
            text.push_str(&field(&part.hub, &part.shown));
        }
        text.push('\n');
        text.push_str(&pue.terms());
        text
    }
}

impl Together {
    fn terms(&self) -> String {
        let mut table = Table::new(1, ["hub", "into the data centre, mJ", "IT, mJ"]);
        for part in &self.hubs {
            table.row([part.hub.clone(), part.total_mj.exact(), part.it_mj.exact()]);
        }
        table.row(["sum".to_owned(), self.total_mj.exact(), self.it_mj.exact()]);
        table.show()
    }
}
