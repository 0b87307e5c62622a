//! `period`: closes a month, restates it, and shows what became of it.

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::layout::{Amount, Table, field};
use super::{AnswerError, Hubs, Said, Told, URL, encoded};
use crate::ask::{ask, post, put};
use crate::period::PeriodText;

#[derive(Debug, Subcommand)]
pub enum Ask {
    /// Closes a month for good: its figures go into a leaf of the ledger. Refused while an interval
    /// of it is open, incomplete or disputed, unless somebody says why.
    Close {
        #[command(flatten)]
        of: Of,
        /// Who stands for the figures.
        #[arg(long)]
        by: String,
        /// Closes it although it is not whole; the reason is kept beside the figures.
        #[arg(long, value_name = "REASON")]
        despite: Option<String>,
    },
    /// Stands for the figures of a closed month as corrections have made them.
    Restate {
        #[command(flatten)]
        of: Of,
        /// Who stands for them.
        #[arg(long)]
        by: String,
        /// Why they are others than before.
        #[arg(long)]
        cause: String,
    },
    /// Lists the months of a hub: open, due, closed, corrected, restated.
    List {
        #[arg(long)]
        hub: String,
        #[arg(long, default_value = URL)]
        url: String,
        /// The API's answer as it came.
        #[arg(long)]
        json: bool,
    },
    /// Shows one month with its doubts and restatements.
    Show {
        #[command(flatten)]
        of: Of,
        /// Also what the first so many leaves of the ledger come to: the figures of that day.
        #[arg(long, value_name = "LEAVES")]
        as_of: Option<u64>,
    },
}

#[derive(Debug, Args)]
pub struct Of {
    #[arg(long)]
    hub: String,
    /// Like 2026-07; it begins and ends at midnight of the hub.
    #[arg(long)]
    month: String,
    #[arg(long, default_value = URL)]
    url: String,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
}

/// `/v1/hubs/{hub}/periods`
#[derive(Debug, Deserialize)]
struct List {
    periods: Vec<Head>,
}

#[derive(Debug, Deserialize)]
struct Head {
    month: String,
    state: String,
    figures: Figures,
    doubts: usize,
    restatements: u64,
}

/// Answer to close and restate.
#[derive(Debug, Deserialize)]
struct Done {
    verdict: String,
    period: One,
}

/// `/v1/hubs/{hub}/periods/{month}`
#[derive(Debug, Deserialize)]
struct One {
    month: String,
    from: String,
    to: String,
    state: String,
    figures: Figures,
    closed: Option<Closed>,
    doubts: usize,
    doubt: Vec<Doubt>,
    restatements: u64,
    restatement: Vec<Restatement>,
    as_of: Option<AsOf>,
}

#[derive(Debug, Deserialize)]
struct Closed {
    leaf: u64,
    at: String,
    by: String,
    despite: Option<String>,
    figures: Figures,
}

#[derive(Debug, Deserialize)]
struct Doubt {
    from: String,
    to: String,
    kind: String,
    words: String,
}

#[derive(Debug, Deserialize)]
struct Restatement {
    leaf: u64,
    at: String,
    by: Option<String>,
    cause: String,
    old: Figures,
    new: Figures,
    moved_mj: Amount,
    materiality_ppm: u32,
}

#[derive(Debug, Deserialize)]
struct AsOf {
    leaves: u64,
    figures: Figures,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Figures {
    intervals_expected: u32,
    intervals_posted: u32,
    intervals_incomplete: u32,
    intervals_disputed: u32,
    supplied_mj: Amount,
    used_mj: Amount,
    pue_intervals: u32,
    pue_total_mj: Amount,
    pue_it_mj: Amount,
    pue_estimated_mj: Amount,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    match asked {
        Ask::Close { of, by, despite } => {
            let text = of.text(by, despite.clone(), None);
            let banner = Hubs::of(&of.url).await?.banner;
            let (json, read) = put(&of.url, &of.put_address(), text.to_json()).await?;
            Ok(Told { banner, json, read }.json_or(of.json, Done::show))
        }
        Ask::Restate { of, by, cause } => {
            let text = of.text(by, None, Some(cause.clone()));
            let banner = Hubs::of(&of.url).await?.banner;
            let (json, read) = post(&of.url, &of.put_address(), text.to_json()).await?;
            Ok(Told { banner, json, read }.json_or(of.json, Done::show))
        }
        Ask::List { hub, url, json: is_json } => {
            let banner = Hubs::of(url).await?.banner;
            let (json, read) = ask(url, &format!("/v1/hubs/{}/periods", encoded(hub))).await?;
            Ok(Told { banner, json, read }.json_or(*is_json, List::show))
        }
        Ask::Show { of, as_of } => {
            let asked = as_of.map(|leaves| format!("?as_of={leaves}")).unwrap_or_default();
            let (hub, month) = (encoded(&of.hub), encoded(&of.month));
            let address = format!("/v1/hubs/{hub}/periods/{month}{asked}");
            let banner = Hubs::of(&of.url).await?.banner;
            let (json, read) = ask(&of.url, &address).await?;
            Ok(Told { banner, json, read }.json_or(of.json, One::show))
        }
    }
}

impl Of {
    fn text(&self, by: &str, despite: Option<String>, cause: Option<String>) -> PeriodText {
        let (month, hub) = (self.month.clone(), Some(self.hub.clone()));
        PeriodText { month, hub, by: by.to_owned(), despite, cause }
    }

    fn put_address(&self) -> String {
        format!("/v1/periods/{}", encoded(&self.month))
    }
}

impl List {
    fn show(&self) -> String {
        if self.periods.is_empty() {
            return "no interval of this hub is closed yet\n".to_owned();
        }
        let head = ["month", "state", "intervals", "doubts", "restated", "supplied", "used"];
        let mut table = Table::new(2, head);
        for Head { month, state, figures, doubts, restatements } in &self.periods {
            table.row([
                month.clone(),
                state.clone(),
                format!("{}/{}", figures.intervals_posted, figures.intervals_expected),
                doubts.to_string(),
                restatements.to_string(),
                figures.supplied_mj.human(),
                figures.used_mj.human(),
            ]);
        }
        table.show()
    }
}

impl Done {
    fn show(&self) -> String {
        field(&self.verdict, &self.period.month) + &self.period.show()
    }
}

impl One {
    fn show(&self) -> String {
        let mut text = field("month", &format!("{}: {} to {}", self.month, self.from, self.to));
        text.push_str(&field("state", self.meaning()));
        if let Some(Closed { leaf, at, by, despite, .. }) = &self.closed {
            text.push_str(&field("closed", &format!("{at} by {by}, leaf {leaf}")));
            if let Some(despite) = despite {
                text.push_str(&field("although", &format!("it has doubts: {despite}")));
            }
        }
        text.push('\n');
        text.push_str(&self.table());
        text.push_str(&self.doubts());
        text.push_str(&self.restatements());
        text
    }

    fn meaning(&self) -> &'static str {
        match self.state.as_str() {
            "open" => "open: not over in the books",
            "due" => "due: over, and nobody has closed it",
            "closed" => "closed: the figures stand as somebody closed them",
            "corrected" => "corrected: facts came later, and nobody has stood for the new figures",
            _ => "restated: somebody stands for other figures than it was closed with",
        }
    }

    fn table(&self) -> String {
        let mut columns = Vec::new();
        if let Some(closed) = self.closed.as_ref().filter(|one| one.figures != self.figures) {
            columns.push(("as closed".to_owned(), &closed.figures));
        }
        columns.push(("now".to_owned(), &self.figures));
        if let Some(AsOf { leaves, figures }) = &self.as_of {
            columns.push((format!("by {leaves} leaves"), figures));
        }
        let mut text = String::new();
        for (name, figures) in columns {
            let mut table = Table::new(1, [name.as_str(), "amount", "mJ"]);
            figures.rows(&mut table);
            text.push_str(&table.show());
            text.push_str(&format!("{}\n\n", figures.counts()));
        }
        text
    }

    fn doubts(&self) -> String {
        let mut text = String::new();
        for Doubt { from, to, kind, words } in &self.doubt {
            text.push_str(&field(kind, &format!("{words}, {from} to {to}")));
        }
        let more = self.doubts.saturating_sub(self.doubt.len());
        if more > 0 {
            text.push_str(&field("", &format!("and {more} more")));
        }
        text
    }

    fn restatements(&self) -> String {
        let mut text = String::new();
        let shown = u64::try_from(self.restatement.len()).unwrap_or(u64::MAX);
        if self.restatements > shown {
            let elder = self.restatements - shown;
            text.push_str(&field("restated", &format!("{elder} times before these")));
        }
        for Restatement { leaf, at, by, cause, old, new, moved_mj, materiality_ppm } in
            &self.restatement
        {
            let by = by.as_deref().unwrap_or("the books");
            let (old, new) = (old.used_mj.human(), new.used_mj.human());
            let words = format!(
                "{at} by {by}, leaf {leaf}: {cause}; used {old}, now {new}, {} moved, \
                 {materiality_ppm} ppm of what was supplied",
                moved_mj.human()
            );
            text.push_str(&field("restated", &words));
        }
        text
    }
}

impl Figures {
    fn rows(&self, table: &mut Table) {
        for (name, amount) in [
            ("supplied", self.supplied_mj),
            ("used", self.used_mj),
            ("E_DC", self.pue_total_mj),
            ("E_IT", self.pue_it_mj),
            ("estimated", self.pue_estimated_mj),
        ] {
            table.row([name.to_owned(), amount.human(), amount.exact()]);
        }
    }

    fn counts(&self) -> String {
        let Self { intervals_expected, intervals_posted, intervals_incomplete, .. } = self;
        let Self { intervals_disputed, pue_intervals, .. } = self;
        format!(
            "{intervals_posted} of {intervals_expected} intervals, {intervals_incomplete} \
             incomplete, {intervals_disputed} disputed; {pue_intervals} have both terms of PUE"
        )
    }
}
