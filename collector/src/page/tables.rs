//! The page's tables: energy in numbers, projects, nodes, meters.

use std::collections::BTreeMap;

use bijli_ledger::{Account, Nature, Share};
use bijli_wire::ProjectId;
use bijli_wire::units::{human_energy, human_power};
use maud::{Markup, html};

use super::place::{Flows, Place, Tone};
use super::svg::share;
use super::view::{HubView, MeterRow, NodeRow, ago};

/// What entered by source, and what ended by sink.
pub(crate) struct Ends {
    pub(crate) sources: BTreeMap<Account, u128>,
    pub(crate) sinks: BTreeMap<Account, u128>,
}

impl Ends {
    pub(crate) fn of(flows: &Flows) -> Self {
        let (mut sources, mut sinks) = (BTreeMap::new(), BTreeMap::new());
        for ((from, to), energy) in flows {
            if from.nature() == Nature::Source {
                let sum: &mut u128 = sources.entry(from.clone()).or_default();
                *sum = sum.saturating_add(*energy);
            }
            if to.nature() == Nature::Sink {
                let sum: &mut u128 = sinks.entry(to.clone()).or_default();
                *sum = sum.saturating_add(*energy);
            }
        }
        Self { sources, sinks }
    }

    pub(crate) fn entered(&self) -> u128 {
        sum(self.sources.values())
    }

    pub(crate) fn ended(&self) -> u128 {
        sum(self.sinks.values())
    }

    /// What nodes used: the sinks that are projects' or nobody's.
    pub(crate) fn it(&self) -> u128 {
        sum(self.sinks.iter().filter(|(account, _)| is_it(account)).map(|(_, energy)| energy))
    }

    fn of_account(&self, account: &Account) -> u128 {
        self.sinks.get(account).copied().unwrap_or(0)
    }

    /// GPUs active, GPUs held idle and hosts of every project, the largest first.
    pub(crate) fn projects_by_size(&self) -> Vec<(&ProjectId, [u128; 3])> {
        let mut projects: Vec<(&ProjectId, [u128; 3])> = self.projects().into_iter().collect();
        projects.sort_by_key(|(_, parts)| std::cmp::Reverse(sum(parts.iter())));
        projects
    }

    /// What no project used, with a title. Unattributed is named only where there is some.
    pub(crate) fn nobody(&self) -> Vec<(&'static str, u128)> {
        let of = |(account, title, _): &Nobody| (*title, self.of_account(account));
        let lines = NOBODY.iter().filter(|line| self.has(line));
        lines.map(of).collect()
    }

    fn has(&self, (account, ..): &Nobody) -> bool {
        self.of_account(account) > 0 || *account != Account::Unattributed
    }

    fn projects(&self) -> BTreeMap<&ProjectId, [u128; 3]> {
        let mut projects: BTreeMap<&ProjectId, [u128; 3]> = BTreeMap::new();
        for (account, energy) in &self.sinks {
            let Some((project, share)) = account.project() else { continue };
            let [active, held, host] = projects.entry(project).or_default();
            match share {
                Share::GpuActive => *active = active.saturating_add(*energy),
                Share::GpuHeldIdle => *held = held.saturating_add(*energy),
                Share::Host => *host = host.saturating_add(*energy),
            }
        }
        projects
    }
}

/// An account that is no project's, its title, and what it holds.
type Nobody = (Account, &'static str, &'static str);

const NOBODY: &[Nobody] = &[
    (Account::Unattributed, "Unattributed", "busy, and nobody is known to hold them"),
    (Account::IdleUnallocated, "Idle, unallocated", "GPUs that nobody held"),
    (Account::HostOverhead, "Host overhead", "hosts of GPUs that nobody held"),
];

fn is_it(account: &Account) -> bool {
    let is_nobody = [Account::IdleUnallocated, Account::Unattributed, Account::HostOverhead];
    account.project().is_some() || is_nobody.contains(account)
}

fn sum<'a>(energies: impl Iterator<Item = &'a u128>) -> u128 {
    energies.fold(0, |sum, energy| sum.saturating_add(*energy))
}

/// Supply and use, to the millijoule.
pub(super) fn numbers(ends: &Ends) -> Markup {
    let side = |title: &str, rows: &BTreeMap<Account, u128>, total: u128| {
        html! {
            table {
                thead { tr { th { (title) } th.n { "Energy" } th.n { "Share" } } }
                tbody {
                    @for (account, energy) in rows {
                        tr { td { (words(account)) } td.n { (human_energy(*energy)) }
                            td.n.soft { (share(*energy, total)) } }
                    }
                    tr.sum { td { "Sum" } td.n { (human_energy(total)) }
                        td.n.soft title="exact, in millijoules" { (total) " mJ" } }
                }
            }
        }
    };
    html! {
        .columns {
            div { (side("Supply", &ends.sources, ends.entered())) }
            div { (side("Use", &ends.sinks, ends.ended())) }
        }
    }
}

fn words(account: &Account) -> String {
    match account.project() {
        Some((project, Share::GpuActive)) => format!("{project}, GPUs active"),
        Some((project, Share::GpuHeldIdle)) => format!("{project}, GPUs held idle"),
        Some((project, Share::Host)) => format!("{project}, hosts"),
        None => account.to_string(),
    }
}

/// Projects, largest first, then what is nobody's.
pub(super) fn projects(ends: &Ends) -> Markup {
    let it = ends.it();
    let projects = ends.projects_by_size();
    let largest = projects.iter().map(|(_, parts)| sum(parts.iter())).max().unwrap_or(0);
    html! {
        table.stack {
            thead { tr { th { "Project" } th {} th.n { "GPUs active" } th.n { "Held idle" }
                th.n { "Hosts" } th.n { "Total" } th.n { "of IT" } } }
            tbody {
                @for (project, parts) in &projects {
                    @let [active, held, host] = parts;
                    @let total = sum(parts.iter());
                    tr { td { (project) } td.full { (bar(parts, largest)) }
                        td.n data-l="active" { (or_zero(*active)) }
                        td.n data-l="held idle" { (or_zero(*held)) }
                        td.n data-l="hosts" { (or_zero(*host)) }
                        td.n data-l="total" { b { (human_energy(total)) } }
                        td.n.soft data-l="of IT" { (share(total, it)) } }
                }
                @for line in NOBODY {
                    @let (account, title, why) = line;
                    @let energy = ends.of_account(account);
                    @if ends.has(line) {
                        tr.soft { td { (title) } td.full colspan="4" { (why) }
                            td.n data-l="total" { (human_energy(energy)) }
                            td.n data-l="of IT" { (share(energy, it)) } }
                    }
                }
            }
        }
        (key(&[("active", "GPUs active"), ("held", "held, and idle"), ("host", "hosts")]))
    }
}

/// Nothing is not a number of joules with three decimals.
fn or_zero(energy: u128) -> Markup {
    html! { @if energy == 0 { span.soft { "0" } } @else { (human_energy(energy)) } }
}

pub(super) fn key(entries: &[(&str, &str)]) -> Markup {
    html! {
        p.key {
            @for (class, words) in entries {
                span { svg viewBox="0 0 10 10" aria-hidden="true" {
                    rect class={ "t-" (class) } width="10" height="10" rx="2" {} } (words) }
            }
        }
    }
}

/// Three parts of a bar that is as long as the project's share of the largest.
fn bar(parts: &[u128; 3], largest: u128) -> Markup {
    let tones = [Tone::Active, Tone::HeldIdle, Tone::Host];
    let wide = |energy: u128| energy.saturating_mul(1_000).checked_div(largest).unwrap_or(0);
    let mut x = 0;
    let rects = parts.iter().zip(tones).map(|(energy, tone)| {
        let (from, width) = (x, wide(*energy));
        x += width;
        (from, width, tone.class())
    });
    let rects: Vec<_> = rects.collect();
    html! {
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
            @for (x, width, class) in &rects {
                rect class={ "t-" (class) } x=(x) width=(width) height="10" {}
            }
        }
    }
}

/// Nodes on the page; the others are in the API.
const NODES_MAX: usize = 40;

/// Nodes that are not up first, then the hottest.
pub(super) fn nodes(hub: &HubView) -> Markup {
    let mut rows: Vec<&NodeRow> = hub.nodes.iter().collect();
    rows.sort_by_key(|row| (row.is_up, std::cmp::Reverse(row.hottest)));
    let more = rows.len().saturating_sub(NODES_MAX);
    html! {
        table.stack {
            thead { tr { th { "Node" } th.n { "Last batch" } th.n { "Power" } th.n { "GPUs" }
                th.n { "Hottest GPU" } } }
            tbody { @for row in rows.iter().take(NODES_MAX) { (node(row)) } }
        }
        @if more > 0 { p.hint { "and " (more) " more: /v1/hubs/" (hub.id) "/nodes" } }
    }
}

fn node(row: &NodeRow) -> Markup {
    let dot = if row.is_up { "dot" } else { "dot down" };
    let word = if row.is_up { "up" } else { "silent" };
    html! {
        tr {
            td { span class=(dot) role="img" aria-label=(word) {} (row.id)
                @if row.is_gateway { " " span.tag { "meters" } } }
            td.n.bad[!row.is_up] data-l="last batch" { (ago(row.age_ms)) " ago" }
            td.n data-l="power" { @if let Some(power) = row.power_mw { (human_power(power)) } }
            td.n.bad[row.is_up && row.gpus_up < row.gpus] data-l="GPUs" {
                @if row.gpus > 0 {
                    @if row.gpus_up < row.gpus { (row.gpus_up) " of " }
                    (row.gpus)
                }
            }
            td.n data-l="hottest" { @if let Some(heat) = row.hottest { (celsius(heat)) } }
        }
    }
}

fn celsius(millidegrees: i64) -> String {
    format!("{} °C", millidegrees.div_euclid(1_000))
}

pub(super) fn meters(rows: &[MeterRow]) -> Markup {
    html! {
        table.stack {
            thead { tr { th { "Meter" } th { "At" } th.n { "Last reading" } th.n { "Power" }
                th.n { "Booked so far" } } }
            tbody { @for row in rows { (meter(row)) } }
        }
    }
}

/// A meter that was not read for so long is called silent.
const SILENT_MS: i64 = 300_000;

fn meter(row: &MeterRow) -> Markup {
    let is_silent = !row.is_by_hand && row.age_ms.is_none_or(|age| age > SILENT_MS);
    let (dot, word) = match (row.is_by_hand, is_silent) {
        (true, _) => ("dot none", "read by hand"),
        (false, true) => ("dot down", "silent"),
        (false, false) => ("dot", "read"),
    };
    html! {
        tr {
            td { span class=(dot) role="img" aria-label=(word) {} (row.id) }
            td.soft data-l="at" { (row.role.replace('_', " ")) }
            td.n.bad[is_silent] data-l="last reading" {
                @match row.age_ms {
                    Some(age) if row.is_by_hand => { "by hand, " (ago(age)) " ago" }
                    Some(age) => { (ago(age)) " ago" }
                    None => { "never" }
                }
            }
            td.n data-l="power" { @if let Some(power) = row.power_mw { (human_power(power)) } }
            td.n data-l="booked" { @if let Some(energy) = row.booked { (human_energy(energy)) } }
        }
    }
}

/// The class of a place, for keys of the drawing.
pub(super) const DRAWING_KEY: &[(&str, &str)] = &[
    (Tone::Supply.class(), "supply"),
    (Tone::It.class(), "IT equipment"),
    (Tone::Active.class(), "GPUs active"),
    (Tone::HeldIdle.class(), "held idle"),
    (Tone::Host.class(), "hosts"),
    (Tone::Free.class(), "nobody's"),
    (Place::Main.tone().class(), "passing on"),
    (Tone::Cooling.class(), "cooling"),
    (Tone::Loss.class(), "loss, other"),
    (Tone::Doubt.class(), "unmetered supply, dispute"),
];
