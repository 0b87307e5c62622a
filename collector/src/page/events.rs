//! The page at `/events`: what happened, how urgent it is, and what is to be done about it.
//!
//! Its filters are addresses, the same as those of `/v1/events`: they work without script, and
//! whoever is told of an event can be sent a link.

use bijli_wire::UtcMillis;
use maud::{Markup, html};

use super::render::{rebuilding, shell};
use super::view::minute;
use crate::api::events::{Filter, Page, Told};
use crate::calendar::rfc3339;
use crate::severity::Severity;
use crate::state::{Readiness, State};

/// Events on one page, unless the address says otherwise.
pub(super) const ROWS: usize = 100;

/// What the page shows, copied out from under the locks.
#[derive(Clone, Debug)]
pub(super) struct View {
    banner: Option<String>,
    readiness: Readiness,
    now: UtcMillis,
    /// Id and title.
    hubs: Vec<(String, String)>,
    filter: Filter,
    page: Page,
}

impl View {
    pub(super) fn of(state: &State, filter: Filter) -> Self {
        let readiness = state.readiness();
        let page = match readiness {
            Readiness::Replaying { .. } => Page { events: Vec::new(), next: None },
            Readiness::Ready | Readiness::Failed => Page::of(state, &filter),
        };
        let hubs = state.hubs();
        let hubs = hubs.iter().map(|hub| (hub.id.to_string(), hub.title.clone())).collect();
        let (banner, now) = (state.banner.clone(), state.clock.now());
        Self { banner, readiness, now, hubs, filter, page }
    }
}

pub(super) fn page(view: &View) -> Markup {
    let query = Query::of(&view.filter).text();
    shell("bijli: events of the hubs", &format!("/events/fragment{query}"), &fragment(view))
}

/// The part that changes.
pub(super) fn fragment(view: &View) -> Markup {
    html! {
        @if let Some(banner) = &view.banner { p.banner role="status" { (banner) } }
        @if let Readiness::Replaying { done, total } = view.readiness { (rebuilding(done, total)) }
        @else {
            section.hub {
                header { h2 { "Events" } p.hint { a href="/" { "All hubs" } } }
                (filters(view))
                (table(view))
                @if let Some(next) = &view.page.next {
                    p { a href={ "/events" (Query::of(&view.filter).with("after", next).text()) }
                        { "Older events" } }
                }
                p.hint { "The last of each kind, and of each XID, are kept here; the journal has \
                    all of them. Severities are our own judgement, actions are NVIDIA's unless it \
                    is said otherwise: " a href={ "/v1/events" (Query::of(&view.filter).text()) }
                    { "the same for programs" } " names each source." }
            }
        }
    }
}

/// The parameters of an address. What is in them needs no escape: ids, closed words, UTC.
#[derive(Clone, Debug)]
struct Query(Vec<(&'static str, String)>);

impl Query {
    /// All but the place in the list: another filter begins at its newest.
    fn of(filter: &Filter) -> Self {
        let Filter { hub, node, subject, kind, severity, xid, from, to, limit, after: _ } = filter;
        let limit = (*limit != ROWS).then(|| limit.to_string());
        let parts = [
            ("hub", hub.as_ref().map(ToString::to_string)),
            ("node", node.as_ref().map(ToString::to_string)),
            ("subject", subject.as_ref().map(ToString::to_string)),
            ("kind", kind.map(str::to_owned)),
            ("severity", severity.map(|severity| severity.word().to_owned())),
            ("xid", xid.map(|code| code.to_string())),
            ("from", from.map(rfc3339)),
            ("to", to.map(rfc3339)),
            ("limit", limit),
        ];
        Self(parts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }

    fn without(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| *known != name);
        self
    }

    fn with(self, name: &'static str, value: impl ToString) -> Self {
        let mut query = self.without(name);
        query.0.push((name, value.to_string()));
        query
    }

    /// With its `?`, if it has anything.
    fn text(&self) -> String {
        let parts: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }
}

fn filters(view: &View) -> Markup {
    let Filter { hub, severity, .. } = &view.filter;
    let base = Query::of(&view.filter);
    let link = |query: &Query, words: &str, is_chosen: bool| {
        let current = is_chosen.then_some("true");
        html! { li.good[is_chosen] {
        a href={ "/events" (query.text()) } aria-current=[current] { (words) } } }
    };
    html! {
        ul.chips.filters {
            (link(&base.clone().without("hub"), "every hub", hub.is_none()))
            @for (id, title) in &view.hubs {
                @let is_chosen = hub.as_ref().is_some_and(|hub| hub.as_str() == id);
                (link(&base.clone().with("hub", id), title, is_chosen))
            }
        }
        ul.chips.filters {
            (link(&base.clone().without("severity"), "every severity", severity.is_none()))
            @for one in Severity::ALL {
                (link(&base.clone().with("severity", one.word()), one.word(),
                    *severity == Some(one)))
            }
        }
        @let others = ["node", "subject", "kind", "xid", "from", "to"];
        @for (name, value) in base.0.iter().filter(|(name, _)| others.contains(name)) {
            p.hint { (name) " " b { (value) } " · "
                a href={ "/events" (base.clone().without(name).text()) } { "take off" } }
        }
    }
}

fn table(view: &View) -> Markup {
    html! {
        @if view.page.events.is_empty() {
            p.hint { "Nothing of this kind happened, as far back as is kept here." }
        } @else {
            table.stack {
                thead { tr { th { "When, UTC" } th { "Severity" } th { "Hub" } th { "Where" }
                    th { "What" } th { "To do" } } }
                tbody { @for told in &view.page.events { (row(told, view)) } }
            }
        }
    }
}

fn row(told: &Told, view: &View) -> Markup {
    let base = Query::of(&view.filter);
    let Told { node, subject, kind, severity, text, code, count, xid, .. } = told;
    let to_node = |node: &str| base.clone().with("hub", told.hub()).with("node", node).text();
    html! {
        tr {
            td { time.soft[told.at() > view.now] { (minute(told.at())) } }
            td data-l="severity" { span.tag.bad[*severity == Severity::Page]
                .open[*severity == Severity::Ticket] { (severity.word()) } }
            td data-l="hub" { (told.hub()) }
            td.full data-l="where" {
                @if let Some(node) = node { a href={ "/events" (to_node(node)) } { (node) } " " }
                @if let Some(subject) = subject { span.soft { (subject) } }
            }
            td.full {
                b { @if let Some(advice) = xid { "XID " (code.unwrap_or(0)) ", " (advice.name) }
                    @else { (kind.replace('_', " ")) } }
                @if *count > 1 { ", " (count) " times" }
                br; span.soft { (text) }
            }
            td.full data-l="to do" {
                @if let Some(advice) = xid {
                    b title=(advice.provenance) { (advice.class.word().replace('_', " ")) } ": " (advice.action)
                    @if let Some(when) = &advice.escalates { br; span.soft { "Escalates: " (when) } }
                }
            }
        }
    }
}
