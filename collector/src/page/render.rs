//! The page itself, from a [`View`].

use bijli_ledger::{Category, Pue, PueKind};
use bijli_wire::UtcMillis;
use bijli_wire::units::{human_energy, human_power};
use maud::{DOCTYPE, Markup, html};

use super::checks;
use super::diagram;
use super::firing;
use super::flow::draw;
use super::place::{Detail, Flows, bands};
use super::svg::{share, svg};
use super::tables::{self, Ends};
use super::view::{Day, HubView, Note, Open, View, minute, span};
use crate::api::Period;
use crate::kpi::Kpi;
use crate::state::Readiness;

pub(super) fn page(view: &View) -> Markup {
    shell("bijli: energy of the hubs", "/page/fragment", &fragment(view))
}

/// A whole page around what changes, which is fetched anew `from` there.
pub(super) fn shell(title: &str, from: &str, live: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="stylesheet" href="/page.css";
                link rel="icon" href="/icon.svg";
                script src="/page.js" defer {}
                noscript { meta http-equiv="refresh" content="15"; }
            }
            body {
                header.top {
                    img src="/icon.svg" alt="" width="36" height="36";
                    div { h1 { "bijli " span lang="ur" dir="rtl" { "بجلی" } }
                        p { "Every millijoule booked once, from supply to "
                            a href="/projects" { "project" } } }
                    span.age #age {}
                }
                main #live data-from=(from) { (live) }
                footer { p { "bijli-collector " (env!("CARGO_PKG_VERSION")) " · machine-readable: "
                    a href="/v1/hubs" { "/v1/hubs" } " · "
                    a href="/v1/events" { "/v1/events" } " · "
                    a href="/audit" { "for the auditor" } " · "
                    a href="/metrics/fleet" { "/metrics/fleet" }
                    " · all times UTC" } }
            }
        }
    }
}

/// The part that changes.
pub(super) fn fragment(view: &View) -> Markup {
    html! {
        @if let Some(banner) = &view.banner { p.banner role="status" { (banner) } }
        @match view.readiness {
            Readiness::Replaying { done, total } => { (rebuilding(done, total)) }
            Readiness::Failed => {
                p.banner role="alert" { "The journal cannot be written; this collector is "
                    "stopping. Nothing that was acknowledged is lost." }
            }
            Readiness::Ready => {}
        }
        @if let Some(one) = &view.firing { (firing::section(one, view.now)) }
        @for one in &view.hubs { (hub(one, view.now)) }
        @if view.hubs.is_empty() && view.readiness == Readiness::Ready {
            .rebuild {
                h2 { "No hub yet" }
                p { "Declare one in the configuration, or let an agent send." }
            }
        }
    }
}

pub(super) fn rebuilding(done: u64, total: u64) -> Markup {
    html! {
        .rebuild {
            h2 { "Rebuilding the books" }
            p { "Replaying the journal: " (done) " of " (total) " frames. "
                "Numbers appear when it is done." }
            progress value=(done) max=(total.max(1)) {}
        }
    }
}

fn hub(hub: &HubView, now: UtcMillis) -> Markup {
    let day = hub.day.as_deref();
    html! {
        section.hub id={ "hub-" (hub.id) } {
            header {
                h2 { (hub.title) @if hub.title != hub.id { " " small { (hub.id) } } }
                (chips(hub))
            }
            @for fault in &hub.faults { p.banner role="alert" { "Not closed: " (fault) } }
            .tiles { (pue_tile(day)) (energy_tiles(day, hub)) }
            (energy(hub, day))
            @if !hub.beside.is_empty() { h3 { "Beside PUE" } (beside(&hub.beside)) }
            (single_line(hub, day))
            h3 { "Nodes" } (tables::nodes(hub))
            @if !hub.meters.is_empty() { h3 { "Meters" } (tables::meters(&hub.meters)) }
            @if !hub.checks.is_empty() { h3 { "Do the meters fit together" } (checks::table(hub)) }
            (notes(hub, now))
        }
    }
}

/// Every figure in the form in which it may be printed, or why there is none.
fn beside(kpis: &[Kpi]) -> Markup {
    html! {
        ul.doubts {
            @for kpi in kpis {
                @match &kpi.outcome {
                    Ok(figure) => li { (figure.shown) },
                    Err(why) => li.soft { "no " (kpi.name) ": " (why.message) },
                }
            }
        }
    }
}

fn chips(hub: &HubView) -> Markup {
    let up = hub.nodes_up();
    let all_up = hub.nodes_expected.is_none_or(|expected| u64::from(expected) <= wide(up));
    html! {
        ul.chips {
            li.good[all_up && up > 0].bad[!all_up] { (reporting(hub)) }
            @if hub.imbalance == 0 { li.good { "books balance to 0 mJ" } }
            @else { li.bad { "books are out by " (hub.imbalance) " mJ" } }
            @if let Some(until) = hub.closed_until { li { "closed until " (minute(until)) } }
            @if !hub.is_configured { li { "from the journal only" } }
        }
    }
}

/// What is expected counts gateways as nodes, so then they are not told apart.
fn reporting(hub: &HubView) -> String {
    let (up, gateways) = (hub.nodes_up(), hub.gateways_up());
    match (hub.nodes_expected, up, gateways) {
        (Some(expected), ..) => format!("{up} of {expected} nodes report"),
        (None, 1, 0) => "1 node reports".to_owned(),
        (None, _, 0) => format!("{up} nodes report"),
        (None, _, 1) => format!("{} nodes and 1 gateway report", up - 1),
        (None, ..) => format!("{} nodes and {gateways} gateways report", up - gateways),
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn pue_tile(day: Option<&Day>) -> Markup {
    let none = |words: &str| {
        html! { h4 { "PUE" } p.none { "No PUE" } p { (words) }
        p { "A PUE compares what entered the building with what its IT equipment used, so it "
            "needs meters of both." } }
    };
    html! {
        .tile.pue {
            @match day.map(|day| &day.pue) {
                Some(Ok(pue)) => { (pue_figure(pue)) }
                Some(Err(why)) => { (none(why)) }
                None => { (none("no interval is closed yet")) }
            }
        }
    }
}

fn pue_figure(pue: &Pue) -> Markup {
    let period = Period { from: pue.from, to: pue.to };
    let interim = html! {
        " " span.tag.interim title="not of a whole measured year" { "interim" }
    };
    html! {
        h4 { "PUE, category " (pue.category.number())
            @if pue.kind == PueKind::Interim { (interim) } }
        p.big { (pue.value()) }
        @if let Err(why) = &pue.uncertainty { p { "uncertainty not stated: " (why) } }
        p { (human_energy(pue.total)) " supplied ÷ " (human_energy(pue.it)) " of IT, "
            (measured_at(pue.category)) }
        p { (span(period)) ", coverage " (pue.intervals_complete) " of "
            (pue.intervals_expected) " intervals, " (pue.status().word()) }
        @if let Some(standard) = &pue.policy.standard { p { "after " (standard) } }
        @if pue.store_drawn > 0 {
            p { "UPS batteries gave " (human_energy(pue.store_drawn)) " beyond what they took" }
        }
        @if pue.estimated > 0 { p { (human_energy(pue.estimated)) " of both terms is estimated" } }
    }
}

/// Where the category takes IT energy; why it differs from what nodes say of themselves.
const fn measured_at(category: Category) -> &'static str {
    match category {
        Category::UpsOutput => "measured at the UPS outputs",
        Category::PduOutput => "measured at the PDU outputs",
        Category::ItInput => "measured at the IT equipment",
    }
}

fn energy_tiles(day: Option<&Day>, hub: &HubView) -> Markup {
    // Of a time in which nothing was read, nobody can say that it was 0 J.
    let ends = day.filter(|day| !day.flows.is_empty()).map(|day| Ends::of(&day.flows));
    let power = hub.supply_power().or(hub.it_power());
    html! {
        .tile { h4 { "Entered" }
            p.big { (or_dash(ends.as_ref().map(Ends::entered), human_energy)) }
            p { @match (day, &ends) {
                (Some(day), Some(_)) => { (hours(day.period)) ", closed" }
                (Some(_), None) => { "no energy was read" }
                (None, _) => { "nothing closed yet" }
            } } }
        .tile { h4 { "Used by IT" }
            p.big { (or_dash(ends.as_ref().map(Ends::it), human_energy)) }
            @if let Some(ends) = &ends {
                p { (share(ends.it(), ends.entered())) " of what entered" }
            } }
        .tile { h4 { "Power now" }
            p.big { (or_dash(power, human_power)) }
            p { @match (hub.supply_power(), hub.it_power()) {
                (Some(_), Some(it)) => { "entering; IT uses " (human_power(it)) }
                (Some(_), None) => { "entering" }
                (None, Some(_)) => { "of IT; the supply meters do not tell" }
                (None, None) => { "not every meter or node tells" }
            } } }
    }
}

fn or_dash<T>(value: Option<T>, words: fn(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), words)
}

fn hours(period: Period) -> String {
    let minutes = period.to.since(period.from).map_or(0, |span| span.get() / 60_000);
    match minutes {
        0..120 => format!("last {minutes} min"),
        minutes => format!("last {} h", minutes / 60),
    }
}

/// The drawing, its numbers, the projects: of the closed day, or of the open interval while
/// nothing is closed.
fn energy(hub: &HubView, day: Option<&Day>) -> Markup {
    html! {
        @match (day, &hub.open) {
            (Some(day), open) => {
                h3 { "Where the energy went " span.tag.closed { "closed" } }
                p.hint { (span(day.period))
                    @if day.incomplete > 0 { ", " (incomplete(day.incomplete)) } }
                (drawing(&day.flows, false)) (numbers(&hub.id, &day.flows))
                h3 { "Projects " span.tag.closed { "closed" } }
                (tables::projects(&Ends::of(&day.flows)))
                @if let Some(open) = open { (strip(open)) }
            }
            (None, Some(open)) => {
                h3 { "Where the energy goes " span.tag.open { "provisional" } }
                p.hint { "The open interval, " (span(open.period)) ", as if it closed now. It is not booked yet." }
                (drawing(&open.flows, true)) (numbers(&hub.id, &open.flows))
                h3 { "Projects " span.tag.open { "provisional" } }
                (tables::projects(&Ends::of(&open.flows)))
            }
            (None, None) => { p.hint { "No energy has been read yet." } }
        }
    }
}

/// The diagram as declared, with what came in at each point of it.
fn single_line(hub: &HubView, day: Option<&Day>) -> Markup {
    html! {
        @if !hub.diagram.is_empty() {
            h3 { "Single-line diagram" }
            @if let Some(day) = day { p.hint { "Energy of " (span(day.period)) ", closed" } }
            figure.line { (diagram::svg(&hub.diagram, day.map(|day| &day.flows), &hub.id)) }
            @if !hub.doubts.is_empty() {
                ul.open-points { @for doubt in &hub.doubts { li { (doubt) } } }
            }
        }
    }
}

fn incomplete(intervals: usize) -> String {
    match intervals {
        1 => "1 interval incomplete".to_owned(),
        more => format!("{more} intervals incomplete"),
    }
}

fn drawing(flows: &Flows, is_open: bool) -> Markup {
    let class = if is_open { "open" } else { "shut" };
    let of = |detail| draw(&bands(flows, detail), detail);
    let wide = of(Detail::Full);
    html! {
        @if wide.boxes.is_empty() {
            p.hint { "Nothing that counts energy was read in this time: no meter, no GPU, no "
                "processor with an energy register." }
        }
        @else {
            figure class=(class) { (svg(&wide, "wide")) (svg(&of(Detail::Compact), "narrow")) }
            (tables::key(tables::DRAWING_KEY))
        }
    }
}

fn numbers(hub: &str, flows: &Flows) -> Markup {
    html! {
        details id={ "numbers-" (hub) } {
            summary { "The same in numbers" }
            (tables::numbers(&Ends::of(flows)))
        }
    }
}

/// The open interval beside the closed ones.
fn strip(open: &Open) -> Markup {
    let ends = Ends::of(&open.flows);
    html! {
        .strip {
            p { span.tag.open { "provisional" } " The open interval from "
                (minute(open.period.from)) ": "
                b { (human_energy(ends.entered())) } " entered so far, "
                b { (human_energy(ends.it())) } " used by IT." }
            p.parts { "As if it closed now; not booked, and in none of the figures above." }
        }
    }
}

fn notes(hub: &HubView, now: UtcMillis) -> Markup {
    let row = |note: &Note| {
        html! {
            li { time.soft[note.at > now] { (minute(note.at)) }
                span { b.bad[note.is_bad] { (note.what) } " · " (note.words) } }
        }
    };
    html! {
        h3 { "To look at" }
        @if hub.notes.is_empty() {
            p.hint { "Nothing: every interval is complete and no register misbehaved." }
        } @else { ul.doubts { @for note in &hub.notes { (row(note)) } } }
        p.hint { a href={ "/events?hub=" (hub.id) } { "All events of this hub" } }
    }
}
