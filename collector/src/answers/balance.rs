//! `balance`: the trial balance, account by account in the order of the chart.

use clap::Args;
use serde::Deserialize;

use super::energy::AsOf;
use super::layout::{Amount, Table, field, period};
use super::{AnswerError, Said, Scope};

/// Accounts that say what the meters do not: shown as sums even where nothing is in them.
const UNSURE: [(&str, &[&str]); 4] = [
    ("unmetered", &["unmetered:"]),
    ("disputed", &["dispute:", "dispute_node:"]),
    ("missing", &["missing:"]),
    ("unplaced", &["unplaced:"]),
];

#[derive(Debug, Args)]
pub struct Ask {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    as_of: AsOf,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
}

/// `/v1/hubs/{hub}/balance`
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    hub: String,
    from: String,
    to: String,
    accounts: Vec<Account>,
    supplied_mj: Amount,
    used_mj: Amount,
    imbalance_mj: Amount,
    is_balanced: bool,
    entries: usize,
    adjustments: usize,
}

#[derive(Debug, Deserialize)]
struct Account {
    account: String,
    nature: String,
    debits_mj: Amount,
    credits_mj: Amount,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    let as_of = asked.as_of.parameter();
    Ok(asked.scope.ask_as_of("balance", as_of).await?.json_or(asked.json, Answer::show))
}

impl Answer {
    pub(super) fn show(&self) -> String {
        let mut text = field("hub", &self.hub);
        text.push_str(&period(&self.from, &self.to));
        let entries = format!("{}, {} of them adjustments", self.entries, self.adjustments);
        text.push_str(&field("entries", &entries));
        text.push('\n');
        text.push_str(&self.accounts());
        text.push('\n');
        text.push_str(&self.verdict());
        text
    }

    fn accounts(&self) -> String {
        let head = ["account", "nature", "debits, mJ", "credits, mJ", "net"];
        let mut table = Table::new(2, head);
        for account in &self.accounts {
            let Account { account: name, nature, debits_mj, credits_mj } = account;
            let net = account.net().human();
            table.row([name.clone(), nature.clone(), debits_mj.exact(), credits_mj.exact(), net]);
        }
        let debits = Amount::sum(self.accounts.iter().map(|account| account.debits_mj));
        let credits = Amount::sum(self.accounts.iter().map(|account| account.credits_mj));
        let net = debits.apart(credits).human();
        table.row(["sum".to_owned(), String::new(), debits.exact(), credits.exact(), net]);
        table.show()
    }

    fn verdict(&self) -> String {
        let mut table = Table::new(1, ["", "amount", "mJ"]);
        let mut row = |name: &str, amount: Amount| {
            table.row([name.to_owned(), amount.human(), amount.exact()]);
        };
        row("supplied", self.supplied_mj);
        row("used or lost", self.used_mj);
        for (name, prefixes) in UNSURE {
            let is_it = |one: &&Account| prefixes.iter().any(|p| one.account.starts_with(p));
            row(name, Amount::sum(self.accounts.iter().filter(is_it).map(Account::net)));
        }
        row("imbalance", self.imbalance_mj);
        let words = match (self.is_balanced, self.imbalance_mj.get()) {
            (true, 0) => "balanced to the millijoule\n",
            _ => "NOT BALANCED: the books are wrong; see docs/runbooks/BijliLedgerImbalance.md\n",
        };
        format!("{}\n{words}", table.show())
    }
}

impl Account {
    fn net(&self) -> Amount {
        self.debits_mj.apart(self.credits_mj)
    }
}
