//! `budgets`: what projects may use, have used, and will have used if they go on so.

use clap::Args;
use serde::Deserialize;

use super::energy::{AsOf, Rests};
use super::layout::{Table, field, printable};
use super::{AnswerError, Hubs, Said, Told, URL, query};
use crate::ask::ask;

#[derive(Debug, Args)]
pub struct Ask {
    /// Only this project [default: all that have a budget].
    #[arg(long)]
    project: Option<String>,
    #[command(flatten)]
    as_of: AsOf,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
    #[arg(long, default_value = URL)]
    url: String,
}

/// `/v1/budgets`
#[derive(Debug, Deserialize)]
struct Answer {
    as_of: Rests,
    closed_until: Option<String>,
    method: String,
    budgets: Vec<Budget>,
}

#[derive(Debug, Deserialize)]
struct Budget {
    project: String,
    title: String,
    budget: String,
    used: String,
    used_share: String,
    days_left: Option<u64>,
    forecast_share: Option<String>,
    used_up: Option<String>,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    let banner = Hubs::of(&asked.url).await?.banner;
    let mut parameters: Vec<(&str, String)> = Vec::new();
    parameters.extend(asked.project.iter().map(|project| ("project", project.clone())));
    parameters.extend(asked.as_of.parameter());
    let (json, read) = ask(&asked.url, &format!("/v1/budgets{}", query(&parameters))).await?;
    let told: Told<Answer> = Told { banner, json, read };
    Ok(told.json_or(asked.json, Answer::show))
}

impl Answer {
    fn show(&self) -> String {
        let closed = self.closed_until.as_deref().unwrap_or("nothing is closed yet");
        let mut text = self.as_of.show() + &field("booked until", closed) + "\n";
        let head = ["project", "used", "budget", "of it", "days left", "at its end", "used up"];
        let mut table = Table::new(1, head);
        for one in &self.budgets {
            let dash = || "-".to_owned();
            let day = |at: &String| at.split('T').next().unwrap_or(at).to_owned();
            table.row([
                one.project.clone(),
                one.used.clone(),
                one.budget.clone(),
                one.used_share.clone(),
                one.days_left.map_or_else(dash, |days| days.to_string()),
                one.forecast_share.clone().unwrap_or_else(dash),
                one.used_up.as_ref().map_or_else(dash, day),
            ]);
        }
        text.push_str(&table.show());
        text.push('\n');
        for one in &self.budgets {
            text.push_str(&field(&one.project, &printable(&one.title)));
        }
        text + &field("forecast", &self.method)
    }
}
