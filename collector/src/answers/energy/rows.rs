//! The rows of an answer in words and as comma-separated values.

use super::{Answer, By, Row};
use crate::answers::csv;
use crate::answers::layout::Amount;

/// What each account that is nobody's holds, for people.
const NOBODY: [(&str, &str); 3] = [
    ("idle:unallocated", "unallocated idle"),
    ("host_overhead", "hosts of nobody's GPUs"),
    ("unattributed", "unattributed"),
];

impl Row {
    /// What a row is, for people.
    pub(super) fn words(&self, by: By) -> String {
        let text = match by {
            By::Project | By::Class | By::Account => self.project.clone().or_else(|| {
                let account = self.account.as_deref()?;
                let known = NOBODY.iter().find(|(name, _)| *name == account);
                Some(known.map_or(account, |(_, words)| words).to_owned())
            }),
            By::Job => self.job.clone(),
            By::Node => self.node.clone(),
            By::Day => self.day.clone(),
            By::Month => self.month.clone(),
            By::GpuModel => self.gpu_model.clone(),
        };
        let words = text.unwrap_or_default();
        if self.is_registered == Some(false) { format!("{words} (account)") } else { words }
    }

    /// Active, held idle, hosts, nobody's, IT, facility.
    pub(super) fn cells(&self, by: By) -> [Option<Amount>; 6] {
        // What is nobody's is IT energy and no more.
        let is_whole = !(by == By::Project && self.project.is_none());
        let some = |amount: Amount| is_whole.then_some(amount);
        let facility = self.facility.as_ref().map(|facility| facility.energy_mj);
        let parts = [self.gpu_active_mj, self.gpu_held_idle_mj, self.host_mj].map(some);
        let [active, held, host] = parts;
        [active, held, host, self.nobody_mj, Some(self.it_mj), facility]
    }

    fn keys(&self, by: By) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let registered = self.is_registered.map_or("", |is| if is { "yes" } else { "no" });
        match by {
            By::Project | By::Class => {
                let (title, account) = (text(&self.title), text(&self.account));
                vec![title, registered.to_owned(), account, text(&self.project)]
            }
            By::Account => vec![text(&self.account), text(&self.project)],
            By::Job => vec![text(&self.hub), text(&self.job)],
            By::Node => vec![text(&self.node)],
            By::Day => vec![text(&self.day)],
            By::Month => vec![text(&self.month)],
            By::GpuModel => vec![text(&self.gpu_model)],
        }
    }

    fn values(&self, by: By) -> Vec<String> {
        let exact = |amount: Option<Amount>| amount.map_or_else(String::new, Amount::exact);
        let [active, held, host, nobody, it, facility] = self.cells(by);
        let parts = [active, held, host].map(exact);
        let mut cells = parts.to_vec();
        if by != By::Project {
            cells.push(exact(nobody.or(Some(Amount::default()))));
        }
        cells.push(exact(it));
        let covered = self.facility.as_ref().map(|facility| facility.it_covered_mj);
        match by {
            By::Project | By::Day | By::Month => {
                cells.extend([facility, covered].map(exact));
            }
            By::Job => cells.extend(super::jobs::cells(self)),
            By::Class | By::Account | By::Node | By::GpuModel => {}
        }
        cells
    }
}

impl Answer {
    pub(super) fn csv(&self, by: By) -> String {
        let ours = ["hubs", "from", "to", "as_of"];
        let hubs = self.hubs.join(" ");
        let first = [&hubs, &self.from, &self.to, &self.as_of.name].map(String::as_str);
        let line = |keys: &[String], cells: &[String]| {
            let rest = keys.iter().chain(cells).map(String::as_str);
            csv::line(first.into_iter().chain(rest))
        };
        let mut text = csv::line(ours.into_iter().chain(columns(by)));
        for row in &self.rows {
            let keys = row.keys(by);
            match by {
                By::Class => {
                    for class in &row.by_class {
                        let cells = [class.class.clone(), class.energy_mj.exact()];
                        text.push_str(&line(&keys, &cells));
                    }
                }
                By::Account => text.push_str(&line(&keys, &[row.it_mj.exact()])),
                By::Project | By::Job | By::Node | By::Day | By::Month | By::GpuModel => {
                    text.push_str(&line(&keys, &row.values(by)));
                }
            }
        }
        text
    }
}

fn columns(by: By) -> Vec<&'static str> {
    const PROJECT: [&str; 4] = ["title", "is_registered", "account", "project"];
    const PARTS: [&str; 3] = ["gpu_active_mj", "gpu_held_idle_mj", "host_mj"];
    const FACILITY: [&str; 2] = ["facility_mj", "it_covered_mj"];
    let with_nobody = || PARTS.into_iter().chain(["nobody_mj", "it_mj"]);
    match by {
        By::Project => PROJECT.into_iter().chain(PARTS).chain(["it_mj"]).chain(FACILITY).collect(),
        By::Class => PROJECT.into_iter().chain(["class", "energy_mj"]).collect(),
        By::Account => vec!["account", "project", "energy_mj"],
        By::Job => {
            let more = super::jobs::COLUMNS;
            ["hub", "job"].into_iter().chain(with_nobody()).chain(more).collect()
        }
        By::Node => std::iter::once("node").chain(with_nobody()).collect(),
        By::Day => std::iter::once("day").chain(with_nobody()).chain(FACILITY).collect(),
        By::Month => std::iter::once("month").chain(with_nobody()).chain(FACILITY).collect(),
        By::GpuModel => std::iter::once("gpu_model").chain(with_nobody()).collect(),
    }
}
