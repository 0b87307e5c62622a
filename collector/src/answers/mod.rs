//! Answers at the command line: `pue`, `kpi`, `balance`, `diagram`, `energy`, `budgets`,
//! `events`, `checks`, `meterbook`, `period` and `retire`, asked of a running collector over its
//! JSON API.
//!
//! # Invariants
//! - Every number is the API's, exact; nothing is computed here but sums and shares of them.
//! - An answer is whole before a byte of it is printed: a refusal leaves stdout empty.
//! - A PUE is printed as the API shows it, with kind, category, period and coverage.
//! - What every page says at its top (readings are simulated) is said here too: above an answer
//!   for people, on stderr beside one for programs.

mod balance;
mod budgets;
mod checks;
pub(crate) mod csv;
mod diagram;
mod energy;
mod events;
mod kpi;
pub(crate) mod layout;
mod meterbook;
mod period;
mod pue;
mod retire;
#[cfg(test)]
mod tests;
mod together;
mod when;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::ask::{AskError, ask};
use crate::calendar;
use when::{Closed, WhenError};

/// How a program ends that was answered, and the answer is that there is no PUE.
pub const NO_PUE: u8 = 3;

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Question {
    /// Asks for the PUE of a period, with all that it rests on; exits with 3 where there is none.
    Pue(pue::Ask),
    /// Asks for the figures beside PUE: water, emissions, renewable and reused energy, generators,
    /// demand, cost; exits with 3 where there is none at all.
    Kpi(kpi::Ask),
    /// Asks for the trial balance of a period: every account with debits and credits.
    Balance(balance::Ask),
    /// Draws the single-line diagram with what passed each point of it in a period.
    Diagram(diagram::Ask),
    /// Asks what was used in a period by project, job, node or day, and what nobody used.
    Energy(energy::Ask),
    /// Asks what of their budgets projects have used, and will have at their end.
    Budgets(budgets::Ask),
    /// Asks what happened at nodes and to registers, newest first, and what is to be done.
    Events(events::Ask),
    /// Asks whether the meters of a hub fit together: pass, fail or cannot say, with the numbers.
    Checks(checks::Ask),
    /// Writes down what a person read off a meter, and lists it.
    #[command(subcommand)]
    Meterbook(meterbook::Ask),
    /// Closes a month with its figures, and tells what became of it since.
    #[command(subcommand)]
    Period(period::Ask),
    /// Says that a node is gone for good, so that what it had may be booked at another node.
    Retire(retire::Ask),
}

/// What is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub text: String,
    /// For stderr.
    pub notice: Option<String>,
    /// False: there is no PUE.
    pub has_figure: bool,
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error(transparent)]
    When(#[from] WhenError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("cannot read the photograph {path}", path = path.display())]
    Photo { path: std::path::PathBuf, source: std::io::Error },
}

/// Which collector, hub and period.
#[derive(Debug, Args)]
struct Scope {
    /// Hubs are listed by `status`.
    #[arg(long)]
    hub: String,
    #[command(flatten)]
    period: Period,
    #[arg(long, default_value = URL)]
    url: String,
}

const URL: &str = "http://127.0.0.1:8640";

#[derive(Clone, Debug, Args)]
struct Period {
    /// A time with its offset (2026-08-01T05:00:00+05:00) or a date, which is midnight UTC
    /// [default: without --to the last closed day of UTC, or all while no day is closed; with
    /// --to the first closed interval].
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// As --from; the period ends before it [default: the last closed interval].
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

/// Asks the running collector.
///
/// # Errors
/// When a time is none, nobody answers, or the collector refuses.
pub async fn answer(question: &Question) -> Result<Said, AnswerError> {
    match question {
        Question::Pue(asked) => pue::answer(asked).await,
        Question::Kpi(asked) => kpi::answer(asked).await,
        Question::Balance(asked) => balance::answer(asked).await,
        Question::Diagram(asked) => diagram::answer(asked).await,
        Question::Energy(asked) => energy::answer(asked).await,
        Question::Budgets(asked) => budgets::answer(asked).await,
        Question::Events(asked) => events::answer(asked).await,
        Question::Checks(asked) => checks::answer(asked).await,
        Question::Meterbook(asked) => meterbook::answer(asked).await,
        Question::Period(asked) => period::answer(asked).await,
        Question::Retire(asked) => retire::answer(asked).await,
    }
}

/// `/v1/hubs`
#[derive(Debug, Deserialize)]
struct Hubs {
    banner: Option<String>,
    hubs: Vec<Closed>,
}

/// An answer of the API, as it came and read.
#[derive(Debug)]
struct Told<T> {
    /// What is to be said beside everything.
    banner: Option<String>,
    json: String,
    read: T,
}

impl Scope {
    /// The hub's answer at `what`.
    async fn ask<T: DeserializeOwned>(&self, what: &str) -> Result<Told<T>, AnswerError> {
        self.ask_as_of(what, None).await
    }

    /// The same, as of a moment.
    async fn ask_as_of<T: DeserializeOwned>(
        &self,
        what: &str,
        as_of: Option<(&'static str, String)>,
    ) -> Result<Told<T>, AnswerError> {
        let mut parameters = self.period.parameters()?;
        let hubs = Hubs::of(&self.url).await?;
        if parameters.is_empty() {
            let hub = hubs.hubs.iter().find(|hub| hub.hub == self.hub);
            if let Some((from, to)) = hub.and_then(Closed::last_day) {
                let (from, to) = (calendar::rfc3339(from), calendar::rfc3339(to));
                parameters = vec![("from", from), ("to", to)];
            }
        }
        parameters.extend(as_of);
        let address = format!("/v1/hubs/{}/{what}{}", encoded(&self.hub), query(&parameters));
        let (json, read) = ask(&self.url, &address).await?;
        Ok(Told { banner: hubs.banner, json, read })
    }
}

impl Hubs {
    async fn of(url: &str) -> Result<Self, AskError> {
        let (_, hubs) = ask(url, "/v1/hubs").await?;
        Ok(hubs)
    }
}

impl Period {
    /// What is said, in UTC.
    fn parameters(&self) -> Result<Vec<(&'static str, String)>, WhenError> {
        let said = [("from", &self.from), ("to", &self.to)].into_iter();
        let said = said.filter_map(|(name, text)| Some((name, text.as_deref()?)));
        said.map(|(name, text)| Ok((name, calendar::rfc3339(when::time(name, text)?)))).collect()
    }
}

/// `?name=value&...`, or nothing.
fn query(parameters: &[(&str, String)]) -> String {
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// Percent-encoded, fit for a part of a path and for a query.
fn encoded(text: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

impl<T> Told<T> {
    /// For people: under what is to be said beside everything.
    fn shown(&self, show: impl FnOnce(&T) -> String) -> Said {
        let banner = self.banner.as_ref().map(|banner| format!("{banner}\n\n"));
        let text = banner.unwrap_or_default() + &show(&self.read);
        Said { text, notice: None, has_figure: true }
    }

    /// For programs: nothing but the answer is on stdout.
    fn plain(&self, text: String) -> Said {
        Said { text, notice: self.banner.clone(), has_figure: true }
    }

    /// JSON as it came, or the same for people.
    fn json_or(&self, is_json: bool, show: impl FnOnce(&T) -> String) -> Said {
        if is_json { self.plain(format!("{}\n", self.json)) } else { self.shown(show) }
    }
}
