//! The tables of a report, from its figures. `docs/formats/report.md` says what each column is.

use bijli_ledger::{Class, Nature, Pue};

use super::figures::{Changed, Figures, IntervalFigure, State, Sums, wide};
use super::groups::{Source, Use};
use super::instruments::{meters, points, uncertainty};
use super::table::{Cell, Table};
use crate::diagram::Plan;

/// Every table, in the order of the report.
pub(super) fn of(figures: &Figures, plan: &Plan) -> Vec<Table> {
    vec![
        sources(figures),
        uses(figures),
        days(figures),
        accounts(figures),
        trial(figures),
        projects(figures),
        points(figures, plan),
        meters(figures, plan),
        gaps(figures),
        withheld(figures),
        uncertainty(figures),
        checks(figures),
        restatements(figures),
        restated(figures),
        intervals(figures),
    ]
}

fn sources(figures: &Figures) -> Table {
    let sums = figures.sums();
    let row = |source: Source| {
        let amount = sums.by_source.get(&source).copied().unwrap_or(0);
        vec![Cell::Word(source.word()), Cell::Word(source.title()), Cell::Energy(amount)]
    };
    let columns = [("source", ""), ("title", "Source"), ("energy_mj", "Energy")];
    Table::new("sources", &columns, Source::ALL.into_iter().map(row).collect())
}

fn uses(figures: &Figures) -> Table {
    let sums = figures.sums();
    let row = |used: Use| {
        vec![Cell::Word(used.word()), Cell::Word(used.title()), Cell::Energy(sums.of(used))]
    };
    let columns = [("use", ""), ("title", "Use"), ("energy_mj", "Energy")];
    Table::new("uses", &columns, Use::ALL.into_iter().map(row).collect())
}

fn days(figures: &Figures) -> Table {
    let mut columns = vec![("date", "Day"), ("from", ""), ("to", "")];
    columns.extend(Source::ALL.map(|source| (day_source(source), "")));
    columns.push(("supplied_mj", "Supplied"));
    columns.extend(Use::ALL.map(|used| (day_use(used), "")));
    columns.extend([
        ("it_mj", "IT"),
        ("cooling_total_mj", "Cooling"),
        ("losses_mj", "Losses"),
        ("rest_mj", "Other, unmetered"),
        ("used_mj", ""),
        ("pue_total_mj", "E_DC"),
        ("pue_it_mj", "E_IT"),
        ("pue_shown", ""),
        ("pue_value", "PUE"),
        ("intervals_complete", "Complete"),
        ("intervals_booked", ""),
        ("intervals_expected", "of"),
        ("leaves", ""),
    ]);
    let row = |day: &super::figures::DayFigures| {
        let Sums { by_source, by_use } = &day.sums;
        let mut row = vec![
            Cell::text(day.day.date.to_string()),
            Cell::Time(day.day.from),
            Cell::Time(day.day.to),
        ];
        let amount = |amount: Option<&u128>| Cell::Energy(amount.copied().unwrap_or(0));
        row.extend(Source::ALL.iter().map(|source| amount(by_source.get(source))));
        row.push(Cell::Energy(day.sums.supplied()));
        row.extend(Use::ALL.iter().map(|used| amount(by_use.get(used))));
        let [it, cooling, losses, rest] = day.sums.four();
        row.extend([it, cooling, losses, rest, day.sums.used()].map(Cell::Energy));
        let pue = day.pue.as_ref().ok();
        row.extend([
            Cell::energy(pue.map(|pue| pue.total)),
            Cell::energy(pue.map(|pue| pue.it)),
            Cell::some(&pue),
            Cell::some(&pue.map(Pue::value)),
            Cell::Count(day.complete),
            Cell::Count(day.booked),
            Cell::Count(day.expected),
            Cell::text(day.cited.words()),
        ]);
        row
    };
    Table::new("days", &columns, figures.days.iter().map(row).collect())
}

impl Sums {
    /// IT, cooling, losses, and all else.
    #[must_use]
    pub fn four(&self) -> [u128; 4] {
        let (mut it, mut cooling, mut losses, mut rest) = (0, 0, 0, 0);
        for (used, amount) in &self.by_use {
            let sum = match used {
                used if used.is_of_it() => &mut it,
                Use::Cooling => &mut cooling,
                Use::LossUps | Use::LossDistribution => &mut losses,
                Use::Lighting
                | Use::Other
                | Use::Unmetered
                | Use::Active
                | Use::HeldIdle
                | Use::Host
                | Use::Unattributed
                | Use::IdleUnallocated
                | Use::HostOverhead => &mut rest,
            };
            *sum += amount;
        }
        [it, cooling, losses, rest]
    }
}

/// Keys are words of this program, so a few are written out.
const fn day_source(source: Source) -> &'static str {
    match source {
        Source::Grid => "grid_mj",
        Source::Generator => "generator_mj",
        Source::Solar => "solar_mj",
        Source::Store => "store_mj",
        Source::Dispute => "dispute_mj",
        Source::Missing => "missing_mj",
        Source::Unplaced => "unplaced_mj",
    }
}

const fn day_use(used: Use) -> &'static str {
    match used {
        Use::Active => "project_active_mj",
        Use::HeldIdle => "project_held_idle_mj",
        Use::Host => "project_host_mj",
        Use::Unattributed => "unattributed_mj",
        Use::IdleUnallocated => "idle_unallocated_mj",
        Use::HostOverhead => "host_overhead_mj",
        Use::Cooling => "cooling_mj",
        Use::LossUps => "loss_ups_mj",
        Use::LossDistribution => "loss_distribution_mj",
        Use::Lighting => "lighting_mj",
        Use::Other => "other_mj",
        Use::Unmetered => "unmetered_mj",
    }
}

fn accounts(figures: &Figures) -> Table {
    let columns = [
        ("account", "Account"),
        ("kind", ""),
        ("energy_mj", "Energy"),
        ("measured_mj", "Measured"),
        ("integrated_mj", ""),
        ("sampled_mj", ""),
        ("bridged_mj", "Bridged"),
        ("estimated_mj", "Estimated"),
        ("derived_mj", "Derived"),
        ("leaf_count", "Leaves"),
        ("leaves", ""),
    ];
    let row = |one: &super::figures::AccountFigure| {
        let kind = Source::of(&one.account).map(Source::word);
        let kind = kind.or_else(|| Use::of(&one.account).map(Use::word));
        let mut row = vec![
            Cell::text(one.account.to_string()),
            kind.map_or(Cell::Missing, Cell::Word),
            Cell::Energy(one.energy),
        ];
        row.extend(Class::ALL.map(|class| Cell::Energy(one.by_class.get(class))));
        row.extend([Cell::Count(one.cited.count), Cell::text(one.cited.words())]);
        row
    };
    Table::new("accounts", &columns, figures.accounts.iter().map(row).collect())
}

fn trial(figures: &Figures) -> Table {
    let columns = [
        ("account", "Account"),
        ("side", "Side"),
        ("accounts", "Accounts"),
        ("debits_mj", "Debits, mJ"),
        ("credits_mj", "Credits, mJ"),
        ("difference_mj", "Debits − credits, mJ"),
        ("leaves", ""),
    ];
    let side = |nature: Nature| match nature {
        Nature::Source => "source",
        Nature::Through => "passage",
        Nature::Sink => "use",
    };
    let difference = |debits: u128, credits: u128| {
        let signed = |amount: u128| i128::try_from(amount).unwrap_or(i128::MAX);
        Cell::Difference(signed(debits).saturating_sub(signed(credits)))
    };
    let row = |row: &super::figures::TrialRow| {
        vec![
            Cell::text(row.account.clone()),
            Cell::Word(side(row.nature)),
            Cell::Count(row.accounts),
            Cell::Energy(row.debits),
            Cell::Energy(row.credits),
            difference(row.debits, row.credits),
            Cell::text(row.cited.words()),
        ]
    };
    let trial = &figures.trial;
    let total = vec![
        Cell::Word("total"),
        Cell::Missing,
        Cell::Count(trial.accounts),
        Cell::Energy(trial.debits),
        Cell::Energy(trial.credits),
        difference(trial.debits, trial.credits),
        Cell::text(figures.cited.words()),
    ];
    let rows = trial.rows.iter().map(row).chain([total]).collect();
    Table::new("trial_balance", &columns, rows)
}

/// Projects, and after them what of IT is no project's.
fn projects(figures: &Figures) -> Table {
    let columns = [
        ("project", "Project"),
        ("active_mj", "GPUs at work"),
        ("held_idle_mj", "GPUs held idle"),
        ("host_mj", "Hosts"),
        ("it_mj", "IT energy"),
        ("it_with_pue_mj", ""),
        ("facility_mj", "With the facility's part"),
        ("leaf_count", ""),
        ("leaves", ""),
    ];
    let row = |(project, one): (&bijli_wire::ProjectId, &super::figures::ProjectFigure)| {
        vec![
            Cell::text(project.to_string()),
            Cell::Energy(one.active),
            Cell::Energy(one.held_idle),
            Cell::Energy(one.host),
            Cell::Energy(one.it()),
            Cell::Energy(one.with_pue),
            Cell::Energy(one.facility),
            Cell::Count(one.cited.count),
            Cell::text(one.cited.words()),
        ]
    };
    Table::new("projects", &columns, figures.projects.iter().map(row).collect())
}

/// Intervals one after the other that are not complete for the same reason.
fn gaps(figures: &Figures) -> Table {
    let columns = [
        ("from", "From"),
        ("to", "To"),
        ("intervals", "Intervals"),
        ("state", "State"),
        ("reason", "Reason"),
        ("leaves", "Leaves"),
    ];
    let mut gaps: Vec<(&IntervalFigure, &IntervalFigure, u64, Vec<String>)> = Vec::new();
    for one in figures.intervals.iter().filter(|one| one.state != State::Complete) {
        let reasons = reasons(one);
        match gaps.last_mut() {
            Some((_, last, count, words))
                if last.end == one.start && last.state == one.state && *words == reasons =>
            {
                *last = one;
                *count += 1;
            }
            Some(_) | None => gaps.push((one, one, 1, reasons)),
        }
    }
    let row =
        |(first, last, count, words): (&IntervalFigure, &IntervalFigure, u64, Vec<String>)| {
            let leaves = match (first.cited.ranges.first(), last.cited.ranges.last()) {
                (Some((first, _)), Some((_, last))) => Cell::text(format!("{first}-{last}")),
                (None, _) | (_, None) => Cell::Missing,
            };
            vec![
                Cell::Time(first.start),
                Cell::Time(last.end),
                Cell::Count(count),
                Cell::Word(first.state.word()),
                Cell::text(words.join("; ")),
                leaves,
            ]
        };
    Table::new("gaps", &columns, gaps.into_iter().map(row).collect())
}

/// Why an interval is not complete, without the numbers that differ from one to the next.
fn reasons(one: &IntervalFigure) -> Vec<String> {
    if one.state == State::Missing {
        return vec!["no leaf closes it".to_owned()];
    }
    let mut words: Vec<String> = one.reasons.iter().map(|(words, _)| unnumbered(words)).collect();
    if one.reasons_more > 0 {
        words.push(format!("and {} more", one.reasons_more));
    }
    words
}

/// Words without amounts and spans, which differ from one interval to the next.
fn unnumbered(words: &str) -> String {
    let tokens: Vec<&str> = words.split(' ').collect();
    let is_amount = |place: usize, token: &str| {
        let is_number = token.bytes().all(|byte| byte.is_ascii_digit());
        let next = tokens.get(place + 1).copied();
        is_number && matches!(next, Some("mJ" | "ms" | "of"))
    };
    let kept = tokens.iter().enumerate();
    let kept = kept.map(|(place, token)| if is_amount(place, token) { "…" } else { token });
    kept.collect::<Vec<_>>().join(" ")
}

impl State {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Disputed => "disputed",
            Self::Missing => "missing",
        }
    }
}

fn withheld(figures: &Figures) -> Table {
    let columns = [("reason", "Reason"), ("intervals", "Intervals")];
    let mut counts = std::collections::BTreeMap::new();
    for words in figures.intervals.iter().filter_map(|one| one.withheld.as_ref()) {
        *counts.entry(words).or_insert(0_u64) += 1;
    }
    let row = |(words, count): (&String, u64)| vec![Cell::text(words.clone()), Cell::Count(count)];
    Table::new("withheld", &columns, counts.into_iter().map(row).collect())
}

fn checks(figures: &Figures) -> Table {
    let columns =
        [("check", ""), ("rule", "What must hold"), ("passed", "Passed"), ("found", "Found")];
    let row = |check: &super::checks::Check| {
        vec![
            Cell::Word(check.name),
            Cell::Word(check.rule),
            Cell::Flag(check.is_passed),
            Cell::text(check.found.clone()),
        ]
    };
    Table::new("checks", &columns, figures.checks.iter().map(row).collect())
}

impl Changed {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Energy => "energy",
            Self::Attribution => "attribution",
            Self::Completeness => "completeness",
        }
    }
}

fn restatements(figures: &Figures) -> Table {
    let columns = [
        ("interval", "Interval"),
        ("revision", "No."),
        ("changed", "Changed"),
        ("moved_mj", "In other accounts"),
        ("supplied_before_mj", "Supplied before"),
        ("supplied_after_mj", "and after"),
        ("pue_total_before_mj", ""),
        ("pue_total_after_mj", ""),
        ("pue_it_before_mj", ""),
        ("pue_it_after_mj", ""),
        ("entries", "Entries"),
        ("old_leaf", "Old leaf"),
        ("first_leaf", "First leaf"),
        ("leaf", "Last leaf"),
        ("record", "Record"),
    ];
    let row = |(interval, one): (&IntervalFigure, &super::figures::CorrectionFigure)| {
        let (before, after) = one.terms;
        vec![
            Cell::Time(interval.start),
            Cell::Count(one.revision.into()),
            Cell::Word(one.what.word()),
            Cell::Energy(one.moved),
            Cell::Energy(one.supplied.0),
            Cell::Energy(one.supplied.1),
            Cell::energy(before.map(|terms| terms.0)),
            Cell::energy(after.map(|terms| terms.0)),
            Cell::energy(before.map(|terms| terms.1)),
            Cell::energy(after.map(|terms| terms.1)),
            Cell::Count(one.entries.into()),
            Cell::Count(one.old_leaf),
            Cell::Count(one.first_leaf),
            Cell::Count(one.leaf),
            Cell::Count(one.record),
        ]
    };
    Table::new("restatements", &columns, figures.corrections().map(row).collect())
}

fn restated(figures: &Figures) -> Table {
    let columns = [
        ("account", "Account"),
        ("first_mj", "As first closed"),
        ("now_mj", "Now"),
        ("difference_mj", "Difference"),
        ("corrections", "Corrections"),
    ];
    let row = |one: &super::figures::RestatedAccount| {
        let signed = |amount: u128| i128::try_from(amount).unwrap_or(i128::MAX);
        vec![
            Cell::text(one.account.to_string()),
            Cell::Energy(one.first),
            Cell::Energy(one.now),
            Cell::Difference(signed(one.now).saturating_sub(signed(one.first))),
            Cell::Count(one.corrections),
        ]
    };
    Table::new("restated_accounts", &columns, figures.restated.iter().map(row).collect())
}

fn intervals(figures: &Figures) -> Table {
    let columns = [
        ("start", ""),
        ("end", ""),
        ("state", ""),
        ("corrections", ""),
        ("supplied_mj", ""),
        ("used_mj", ""),
        ("pue_total_mj", ""),
        ("pue_it_mj", ""),
        ("withheld", ""),
        ("leaves", ""),
    ];
    let row = |one: &IntervalFigure| {
        let is_booked = one.state != State::Missing;
        let amount = |amount: u128| Cell::energy(is_booked.then_some(amount));
        vec![
            Cell::Time(one.start),
            Cell::Time(one.end),
            Cell::Word(one.state.word()),
            Cell::Count(wide(one.corrections.len())),
            amount(one.supplied),
            amount(one.used),
            Cell::energy(one.terms.map(|terms| terms.0)),
            Cell::energy(one.terms.map(|terms| terms.1)),
            Cell::some(&one.withheld),
            Cell::text(one.cited.words()),
        ]
    };
    Table::new("intervals", &columns, figures.intervals.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_amounts_are_taken_out_of_a_reason() {
        for (words, kept) in [
            (
                "meters below 17 show 5000 mJ more than its own",
                "meters below 17 show … mJ more than its own",
            ),
            ("meter m1 at p covers 300 of 900000 ms", "meter m1 at p covers … of … ms"),
            ("point 4 has no meter", "point 4 has no meter"),
        ] {
            assert_eq!(unnumbered(words), kept);
        }
    }
}
