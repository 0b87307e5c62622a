//! The page at `/audit`: which months of each hub are closed, by whom, in spite of what, and what
//! changed since; with what each word means, and how the pack of a month is made.

use maud::{Markup, html};

use super::render::{rebuilding, shell};
use crate::api::periods::{Head, heads};
use crate::state::{Readiness, State};

/// Months of a hub on the page, the newest first; all are in `/v1/hubs/{hub}/periods`.
const MONTHS: usize = 24;

/// What the page shows, copied out from under the locks.
#[derive(Debug)]
pub(super) struct View {
    banner: Option<String>,
    readiness: Readiness,
    hubs: Vec<HubView>,
}

#[derive(Debug)]
struct HubView {
    id: String,
    title: String,
    imbalance: i128,
    months: Vec<Head>,
}

impl View {
    pub(super) fn of(state: &State) -> Self {
        let readiness = state.readiness();
        let hubs = match readiness {
            Readiness::Replaying { .. } => Vec::new(),
            Readiness::Ready | Readiness::Failed => state.hubs(),
        };
        let hub = |hub: &std::sync::Arc<crate::state::Hub>| {
            let books = hub.books();
            let mut months = heads(&books);
            months.reverse();
            months.truncate(MONTHS);
            let (id, title) = (hub.id.to_string(), hub.title.clone());
            HubView { id, title, imbalance: books.imbalance(), months }
        };
        Self { banner: state.banner.clone(), readiness, hubs: hubs.iter().map(hub).collect() }
    }
}

pub(super) fn page(view: &View) -> Markup {
    shell("bijli: for the auditor", "/audit/fragment", &fragment(view))
}

/// The part that changes.
pub(super) fn fragment(view: &View) -> Markup {
    html! {
        @if let Some(banner) = &view.banner { p.banner role="status" { (banner) } }
        @if let Readiness::Replaying { done, total } = view.readiness { (rebuilding(done, total)) }
        @for hub in &view.hubs { (of_hub(hub)) }
        section.hub {
            header { h2 { "What the words mean" } p.hint { a href="/" { "All hubs" } } }
            (words())
        }
    }
}

fn of_hub(hub: &HubView) -> Markup {
    let HubView { id, title, imbalance, months } = hub;
    html! {
        section.hub id={ "audit-" (id) } {
            header {
                h2 { "Months of " (title) }
                ul.chips {
                    @if *imbalance == 0 { li.good { "books balance to 0 mJ" } }
                    @else { li.bad { "books are out by " (imbalance) " mJ" } }
                }
            }
            @if months.is_empty() { p.hint { "No interval of this hub is closed yet." } }
            @else {
                table.stack {
                    thead { tr { th { "Month" } th { "State" } th { "Intervals" } th { "Doubts" }
                        th { "Restated" } th { "Supplied" } th { "Closed" } } }
                    tbody { @for month in months { (row(month)) } }
                }
            }
            p.hint { "The pack of a closed month, with what checks it: "
                code { "bijli-collector pack --config FILE --hub " (id) " --month MONTH --out DIR" }
                ". Each doubt and restatement: "
                a href={ "/v1/hubs/" (id) "/periods" } { "/v1/hubs/" (id) "/periods" } "." }
        }
    }
}

fn row(month: &Head) -> Markup {
    let figures = &month.figures;
    html! {
        tr {
            td { b { (month.month) } }
            td data-l="state" { span.tag.closed[month.state == "closed"]
                .open[matches!(month.state, "open" | "due")]
                .bad[month.state == "corrected"] { (month.state) } }
            td data-l="intervals" { (figures.intervals_posted) " of " (figures.intervals_expected)
                @if figures.intervals_disputed > 0 { ", " (figures.intervals_disputed) " disputed" } }
            td data-l="doubts" { (month.doubts) }
            td data-l="restated" { (month.restatements) }
            td data-l="supplied" { (figures.supplied) }
            td.full data-l="closed" {
                @if let Some(closed) = &month.closed {
                    (closed.at) " by " (closed.by) ", leaf " (closed.leaf)
                    @if let Some(despite) = &closed.despite {
                        br; span.soft { "although: " (despite) }
                    }
                }
            }
        }
    }
}

/// What a reader needs to know before he relies on a word above.
const WORDS: [(&str, &str); 7] = [
    ("open", "The month is not over in the books."),
    ("due", "It is over, and nobody has closed it: its figures may still change without a notice."),
    (
        "closed",
        "Somebody stands for its figures by name. They are in a leaf of the ledger, for good.",
    ),
    (
        "corrected",
        "Facts that came later changed an interval. The books told it at once, with both figures; \
         nobody stands for the new ones yet.",
    ),
    ("restated", "Somebody stands for the new figures, and says why they are others."),
    (
        "doubt",
        "A stretch of the month that is not posted, not complete, or where two registers \
         contradict each other. A month is closed with doubts only with a reason, which is kept.",
    ),
    (
        "leaf",
        "One record of the ledger. Leaves are hashed into a tree: whoever holds an earlier root \
         sees whether any of them was changed. It shows a change; it cannot prevent one.",
    ),
];

fn words() -> Markup {
    html! {
        dl { @for (word, meaning) in WORDS { dt { b { (word) } } dd { (meaning) } } }
    }
}
