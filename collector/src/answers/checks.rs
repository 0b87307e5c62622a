//! `checks`: whether the meters of a hub fit together.

use clap::Args;
use serde::Deserialize;

use super::layout::{WIDTH, wrapped};
use super::{AnswerError, Hubs, Said, Told, URL, query};
use crate::ask::ask;

const INDENT: &str = "            ";

#[derive(Debug, Args)]
pub struct Ask {
    /// Only of this hub [default: of all].
    #[arg(long)]
    hub: Option<String>,
    /// Only what failed, passed, or could not be said.
    #[arg(long, value_parser = ["fail", "cannot_say", "pass"])]
    verdict: Option<String>,
    #[arg(long, default_value = URL)]
    url: String,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
}

/// `/v1/checks`
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    hubs: Vec<OfHub>,
}

#[derive(Debug, Deserialize)]
struct OfHub {
    hub: String,
    failed: usize,
    cannot_say: usize,
    passed: usize,
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Check {
    check: String,
    subject: String,
    verdict: String,
    measured: Option<Measured>,
    words: String,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Measured {
    shown: String,
    band: String,
    source: String,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    let said = [("hub", &asked.hub), ("verdict", &asked.verdict)].into_iter();
    let said = said.filter_map(|(name, value)| Some((name, value.clone()?)));
    let address = format!("/v1/checks{}", query(&said.collect::<Vec<_>>()));
    let banner = Hubs::of(&asked.url).await?.banner;
    let (json, read) = ask(&asked.url, &address).await?;
    Ok(Told { banner, json, read }.json_or(asked.json, Answer::show))
}

impl Answer {
    pub(super) fn show(&self) -> String {
        self.hubs.iter().map(OfHub::show).collect()
    }
}

impl OfHub {
    fn show(&self) -> String {
        let Self { hub, failed, cannot_say, passed, checks } = self;
        let head = format!("{hub}: {failed} failed, {cannot_say} cannot say, {passed} passed\n");
        head + &checks.iter().map(Check::show).collect::<String>()
    }
}

impl Check {
    /// A line with verdict, check and subject; below it the number, its band, and the words.
    fn show(&self) -> String {
        let verdict = self.verdict.replace('_', " ");
        let mut text = format!("{verdict:10}  {} {}\n", self.check, self.subject);
        let mut add = |words: &str| {
            let lines = wrapped(words, WIDTH.saturating_sub(INDENT.len()));
            text.push_str(&format!("{INDENT}{}\n", lines.join(&format!("\n{INDENT}"))));
        };
        if let Some(Measured { shown, band, source }) = &self.measured {
            add(&format!("{shown}; {band} ({source})"));
        }
        add(&self.words);
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            add(&format!("{from} to {to}"));
        }
        text
    }
}
