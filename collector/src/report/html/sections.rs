//! The sections of the page, in the order in which an auditor asks.

use bijli_ledger::diagram::MAIN;
use bijli_ledger::{Account, Nature};
use bijli_wire::NodeId;
use bijli_wire::units::human_energy;
use maud::{Markup, html};

use super::cells::{Shown, table};
use super::{Report, charts, tile};
use crate::diagram::PlanNode;
use crate::page::flow::draw;
use crate::page::place::{Detail, Flows, bands};
use crate::page::{diagram, svg};
use crate::report::figures::DayFigures;
use crate::report::groups::Use;
use crate::report::instruments;

/// One section.
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) body: fn(&Report<'_>) -> Markup,
}

const fn section(
    id: &'static str,
    title: &'static str,
    body: fn(&Report<'_>) -> Markup,
) -> Section {
    Section { id, title, body }
}

pub(super) const ALL: [Section; 13] = [
    section("statement", "Statement", statement),
    section("boundary", "Boundary and single-line diagram", boundary),
    section("indicators", "PUE and what it rests on", indicators),
    section("energy", "Energy of the month", energy),
    section("balance", "Trial balance", balance),
    section("projects", "Projects", projects),
    section("meters", "Meter register", meters),
    section("completeness", "Completeness and gaps", completeness),
    section("uncertainty", "Uncertainty budget", uncertainty),
    section("checks", "Checks", checks),
    section("restatements", "Restatements", restatements),
    section("methods", "Methods, and what is not part of this report", methods),
    section("verification", "Verification", verification),
];

/// Rows of a table before the reader is sent to the file.
const ROWS: usize = 400;
const ROWS_OF_TROUBLE: usize = 24;

fn shown<'a>(
    report: &Report<'_>,
    number: &'static str,
    title: &'static str,
    none: &'a str,
) -> Shown<'a> {
    Shown { number, title, unit: report.unit(), rows_max: ROWS, none }
}

fn statement(report: &Report<'_>) -> Markup {
    let (figures, statement) = (report.figures, &report.document.statement);
    let sums = figures.sums();
    let [it, cooling, losses, rest] = sums.four();
    let whole = Some(sums.used());
    let (counts, unit) = (&statement.intervals, report.unit());
    let date = |day: Option<&DayFigures>| day.map(|day| day.day.date.to_string());
    let first = date(figures.days.first()).unwrap_or_default();
    let last = date(figures.days.last()).unwrap_or_default();
    html! {
        (figure(report))
        dl.tiles {
            (tile("Supplied", sums.supplied(), None, unit))
            (tile("IT equipment", it, whole, unit))
            (tile("Cooling", cooling, whole, unit))
            (tile("UPS and distribution losses", losses, whole, unit))
            (tile("Lighting, other, unmetered", rest, whole, unit))
        }
        p { "In " (super::month_words(figures.month)) ", from " (first) " to " (last) " in days of UTC"
            (statement.utc_offset) ", " (human_energy(sums.supplied())) " came into hub "
            bdi { (figures.hub) } " and were booked, each millijoule once, from the account that "
            "supplied it to the one that used it. " (figures.projects.len()) " projects and "
            (figures.nodes) " nodes used energy. Of " (counts.expected) " intervals " (counts.complete)
            " are complete, " (counts.incomplete) " incomplete, " (counts.disputed)
            " disputed by their own meters, and " (counts.missing) " not booked at all. "
            (corrections(statement.corrections)) }
        p { @if statement.status == "settled" {
                "No late fact can change these figures any more." }
            @else { "The figures are provisional: late facts can still change some of them"
                @if let Some(until) = &statement.settled_until { ", but none before "
                    time datetime=(until) { (until) } } "." }
            @if statement.checks_failed > 0 { " " strong.bad { (statement.checks_failed)
                " of the checks of section 10 failed." } } }
        (signatures())
    }
}

fn corrections(count: u64) -> String {
    match count {
        0 => "None was corrected after it was closed.".to_owned(),
        1 => "One correction was booked after the interval was closed (section 11).".to_owned(),
        count => format!("{count} corrections were booked after closing (section 11)."),
    }
}

fn figure(report: &Report<'_>) -> Markup {
    match &report.figures.pue {
        Ok(pue) => html! {
            div.figure {
                p.value { (pue.value()) }
                p.words { (pue.to_string()) }
            }
        },
        Err(why) => html! {
            div.figure.none {
                p.value { "No PUE" }
                p.words { (why.message) }
            }
        },
    }
}

fn signatures() -> Markup {
    html! {
        div.signatures {
            @for who in ["Prepared by", "Reviewed by", "Verifier, level of assurance"] {
                div { span.line {} p { (who) } p.hint { "Name, signature, date" } }
            }
        }
    }
}

fn boundary(report: &Report<'_>) -> Markup {
    let rows = report.plan.rows();
    let numbers = instruments::numbers(report.plan);
    let flows = metered(report);
    html! {
        p { "E_DC is what the meters of grid, generator and solar counted. E_IT is what was counted at "
            @match report.plan.pue_category {
                Some(1) => "the outputs of the UPS (category 1)",
                Some(2) => "the outputs of the PDUs (category 2)",
                Some(_) => "the inputs of the IT equipment (category 3)",
                None => "no declared place: the hub declares no PUE category",
            }
            ". The numbers are those of the tables; a ring without filling has no meter." }
        figure.line { (diagram::numbered(&rows, Some(&flows), "report", &numbers)) }
        (table(report.table("points"), &shown(report, "2.1",
            "Points, and what went through each in the month", "No diagram is declared.")))
    }
}

/// What meters counted, without what was booked into a point from elsewhere; what all nodes of a
/// feeder took together stands at its first one.
fn metered(report: &Report<'_>) -> Flows {
    let mut flows = Flows::new();
    for ((giver, receiver), amount) in &report.figures.flows {
        let feeder = if let Account::Point(point) = giver { Some(point.as_str()) } else { None };
        let fed = |node: &&PlanNode| Some(node.fed_by.as_str()).filter(|id| *id != MAIN) == feeder;
        let node = || {
            let node = report.plan.nodes.iter().find(fed)?;
            NodeId::new(&node.id).ok().map(Account::Node)
        };
        let node = if matches!(receiver, Account::Node(_)) { node() } else { None };
        let receiver = node.unwrap_or_else(|| receiver.clone());
        let is_supply = matches!(receiver, Account::Main);
        if giver.nature() != Nature::Source || is_supply {
            *flows.entry((giver.clone(), receiver)).or_default() += amount;
        }
    }
    flows
}

fn indicators(report: &Report<'_>) -> Markup {
    let Ok(pue) = &report.figures.pue else {
        return html! { (figure(report))
            (table(report.table("withheld"), &shown(report, "3.1", "Why intervals do not count", "")))
        };
    };
    let number = |amount: u128| human_energy(amount);
    let generator = pue.by_source.get(&bijli_ledger::Role::Generator).copied().unwrap_or(0);
    html! {
        dl.facts {
            dt { "Figure" } dd { (pue.to_string()) }
            dt { "Formula" } dd { "E_DC / E_IT, sums over the same intervals; never a mean of ratios" }
            dt { "E_DC" } dd { data value=(pue.total) { (number(pue.total)) } }
            dt { "E_IT" } dd { data value=(pue.it) { (number(pue.it)) } }
            dt { "of E_DC from generators" } dd { data value=(generator) { (number(generator)) } }
            dt { "Drawn from UPS batteries" } dd { data value=(pue.store_drawn) {
                (number(pue.store_drawn)) } ", in neither term" }
            dt { "Standard" } dd { (pue.policy.standard.as_deref().unwrap_or("none is declared")) }
            dt { "Level (WP49)" } dd { (pue.wp49()) }
            dt { "Coverage" } dd { (pue.intervals_complete) " of " (pue.intervals_expected)
                " intervals count" }
            dt { "Estimated" } dd { data value=(pue.estimated) { (number(pue.estimated)) }
                " of both terms" }
            dt { "Unexplained" } dd { data value=(pue.unexplained) { (number(pue.unexplained)) }
                " came in, and no meter shows where it went" }
        }
        figure { figcaption { "PUE of each day, with its ± (k = 2)" } (charts::pue(report.figures)) }
        (table(report.table("withheld"), &shown(report, "3.1", "Why intervals do not count",
            "All closed intervals count.")))
    }
}

fn energy(report: &Report<'_>) -> Markup {
    let (figures, unit) = (report.figures, report.unit());
    let drawing = |detail| draw(&bands(&figures.flows, detail), detail);
    let used = Use::ALL.into_iter().filter(|used| figures.sums().of(*used) > 0);
    html! {
        figure {
            figcaption { "By day and use" }
            (charts::days(figures, unit))
            ul.legend { @for used in used {
                li { i class={ "t-" (used.tone()) } {} (used.title()) }
            } }
        }
        figure.flow {
            figcaption { "From supply to use" }
            (svg::svg(&drawing(Detail::Full), "wide"))
            (svg::svg(&drawing(Detail::Compact), "narrow"))
        }
        div.pair {
            (table(report.table("sources"), &shown(report, "4.1", "By source", "")))
            (table(report.table("uses"), &shown(report, "4.2", "By use", "")))
        }
        (table(report.table("days"), &shown(report, "4.3", "By day", "")))
        (table(report.table("accounts"), &shown(report, "4.4",
            "By account, and how it is known", "")))
    }
}

fn balance(report: &Report<'_>) -> Markup {
    html! {
        p { "Every entry has a giver and a receiver, so debits and credits of all accounts are equal; "
            "what came into a board, a point, a node or a device left it again. Amounts are exact." }
        (table(report.table("trial_balance"), &shown(report, "5.1",
            "Debits and credits of the month", "")))
    }
}

fn projects(report: &Report<'_>) -> Markup {
    let sums = report.figures.sums();
    html! {
        p { "A GPU that a project held and left idle is the project's, and stands apart. With the facility's part: the "
            "project's IT energy times the PUE of each interval, where there is one." }
        (table(report.table("projects"), &shown(report, "6.1", "Projects", "No project held anything.")))
        dl.facts {
            @for used in [Use::IdleUnallocated, Use::HostOverhead, Use::Unattributed] {
                dt { (used.title()) } dd { data value=(sums.of(used)) {
                    (human_energy(sums.of(used))) } }
            }
        }
    }
}

fn meters(report: &Report<'_>) -> Markup {
    html! {
        p { "As declared in the configuration when this report was made. What is not declared is left empty, "
            "and costs the figure its ±." }
        (table(report.table("meters"), &shown(report, "7.1", "Meters", "No meter is declared.")))
    }
}

fn completeness(report: &Report<'_>) -> Markup {
    let gaps = Shown {
        rows_max: ROWS_OF_TROUBLE,
        ..shown(report, "8.1", "Intervals that are not complete", "Every interval is complete.")
    };
    html! {
        p { "An interval is complete if everything that should be metered was, all the time. Energy of an incomplete one "
            "is booked as far as it is known; nothing is filled in. Times are UTC." }
        (table(report.table("gaps"), &gaps))
    }
}

fn uncertainty(report: &Report<'_>) -> Markup {
    let Ok(pue) = &report.figures.pue else {
        return html! { p { "Without a PUE there is no uncertainty of one." } };
    };
    let ppt = |text: &str| {
        let ppt: u128 = text.parse().unwrap_or(0);
        let rounded = (ppt + 500_000) / 1_000_000;
        format!("{}.{:04} %", rounded / 10_000, rounded % 10_000)
    };
    let budget = crate::report::document::Budget::of(report.figures);
    html! {
        p { "After the GUM (JCGM 100): a class limit c is a rectangle, u = c/√3; meter and transformer add in quadrature; "
            "meters are weighted by what each counted. The ± of the figure is the correlated bound, k = 2." }
        (table(report.table("uncertainty"), &shown(report, "9.1", "Meters of both terms", "")))
        @match (&pue.uncertainty, &budget) {
            (Ok(known), Some(budget)) => {
                dl.facts {
                    @for (name, term) in [("E_DC", &budget.total), ("E_IT", &budget.it)] {
                        dt { "u of " (name) ", independent and correlated" }
                        dd { (ppt(&term.independent_ppt)) " and " (ppt(&term.correlated_ppt)) }
                    }
                    dt { "U of the PUE (k = 2), independent and correlated" }
                    dd { (millionths(known.independent_micro)) " and "
                        (millionths(known.correlated_micro)) }
                }
            }
            (Err(why), _) => p { "The uncertainty is not stated: " (why) "." },
            (Ok(_), None) => {}
        }
    }
}

fn millionths(micro: u128) -> String {
    format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000)
}

fn checks(report: &Report<'_>) -> Markup {
    html! {
        (table(report.table("checks"), &shown(report, "10.1",
            "What was checked when this report was made", "")))
    }
}

fn restatements(report: &Report<'_>) -> Markup {
    let list = Shown {
        rows_max: ROWS_OF_TROUBLE,
        ..shown(report, "11.2", "Corrections, one by one", "No interval was corrected.")
    };
    html! {
        p { "Nothing posted is ever changed. What became known after an interval was closed is booked as entries that name the "
            "old ones; the journal's record that led to them is named. Times are UTC." }
        (table(report.table("restated_accounts"), &shown(report, "11.1",
            "Accounts that corrections changed", "No account was changed.")))
        (table(report.table("restatements"), &list))
    }
}

fn methods(report: &Report<'_>) -> Markup {
    let methods = &report.document.methods;
    let versions = methods.rule_versions.iter().map(ToString::to_string).collect::<Vec<_>>();
    html! {
        dl.facts {
            dt { "Program" } dd { (methods.program) " " (methods.version) }
            dt { "Derivation rules" } dd { "version " (versions.join(", ")) " in the leaves" }
            dt { "Leaves" } dd { "format " (methods.leaf_version) }
            dt { "PUE standard" } dd { (methods.standard.as_deref().unwrap_or("none is declared")) }
            dt { "Interval" } dd { (report.document.statement.interval_ms / 1_000) " s" }
        }
        h3 { "Not part of this report" }
        dl.facts { @for one in &report.document.not_part {
            dt { (one.what) } dd { (one.why) }
        } }
    }
}

fn verification(report: &Report<'_>) -> Markup {
    let verification = &report.document.verification;
    html! {
        p { "Every figure names the leaves that it rests on, by their index in the hub's ledger log. Whoever has the log makes "
            "the same files again, byte for byte:" }
        pre { code { "bijli-collector report --config collector.toml --hub " (report.figures.hub)
            " --month " (report.figures.month) " --leaves " (verification.leaves)
            " --ledger LEDGER --out NEW" } }
        p { "and that no file was changed since, with " code { "sha256sum --check SHA256SUMS" } "." }
        dl.facts {
            dt { "Leaves read" } dd { "0 to " (verification.leaves.saturating_sub(1)) }
            dt { "Leaves of the month" } dd { (verification.cited.words()) }
            @if let Some((first, last)) = verification.records {
                dt { "Records of the journal" } dd { (first) " to " (last) }
            }
            dt { "Root hash of the tree" } dd { (verification.root_hash.as_deref()
                .unwrap_or("none was given: this report is not tied to a checkpoint")) }
            dt { "SHA-256 of report.json" } dd.hash { code { (report.json_sha256) } }
        }
    }
}
