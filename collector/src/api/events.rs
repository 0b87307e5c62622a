//! `/v1/events`: what happened over all hubs, newest first, and of an XID what it means and asks
//! for. The page shows the same list.
//!
//! # Invariants
//! - Read page after page, an event comes once: the key that a page goes on behind is the event's
//!   time, hub and number, so what comes in meanwhile moves nothing.
//! - One lock at a time, and of each hub at most one page is copied out from under it.

use std::cmp::Reverse;
use std::fmt;

use axum::extract::State;
use axum::http::Uri;
use bijli_ledger::{EventKind as RegisterKind, RegisterEvent};
use bijli_wire::message::EventKind;
use bijli_wire::{ErrorCode, HubId, NodeId, SubjectId, UtcMillis};
use serde::Serialize;

use super::amount::time;
use super::query::{Parameters, ROWS};
use super::{Answer, answer, node_event_word, ready};
use crate::events::NodeEvent;
use crate::refusal::Refusal;
use crate::severity::Severity;
use crate::state::{Hub, Shared, State as Collector};
use crate::xids::Advice;

/// Every parameter.
const PARAMETERS: &[&str] =
    &["hub", "node", "subject", "kind", "severity", "xid", "from", "to", "limit", "after"];

/// Which events are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) hub: Option<HubId>,
    pub(crate) node: Option<NodeId>,
    pub(crate) subject: Option<SubjectId>,
    /// One of the closed words.
    pub(crate) kind: Option<&'static str>,
    pub(crate) severity: Option<Severity>,
    pub(crate) xid: Option<u32>,
    /// Not floored: an event has no interval.
    pub(crate) from: Option<UtcMillis>,
    /// Exclusive.
    pub(crate) to: Option<UtcMillis>,
    pub(crate) limit: usize,
    pub(crate) after: Option<Key>,
}

/// Where an event stands in the list: the larger ones come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    at: UtcMillis,
    hub: HubId,
    origin: Origin,
    seq: u64,
}

/// Who counted the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Node,
    Register,
}

/// One event, with what it means at its hub.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    key: Key,
    /// `None`: of a register, which the books judge.
    pub(crate) node: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) kind: &'static str,
    pub(crate) severity: Severity,
    /// Foreign text.
    pub(crate) text: String,
    /// `None`: its kind has no numbers.
    pub(crate) code: Option<u32>,
    pub(crate) count: u32,
    /// Of an XID.
    pub(crate) xid: Option<Advice>,
}

/// Newest first.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) events: Vec<Told>,
    /// Where the next page goes on; `None`: there is none.
    pub(crate) next: Option<Key>,
}

#[derive(Debug, Serialize)]
pub(super) struct PageAnswer {
    events: Vec<EventAnswer>,
    /// For `after`; null: these were the last.
    next_after: Option<String>,
}

#[derive(Debug, Serialize)]
struct EventAnswer {
    at: String,
    hub: String,
    node: Option<String>,
    subject: Option<String>,
    kind: &'static str,
    severity: &'static str,
    text: String,
    code: Option<u32>,
    count: u32,
    xid: Option<Advice>,
}

pub(super) async fn list(State(state): State<Shared>, uri: Uri) -> Answer<PageAnswer> {
    answer(move || {
        ready(&state)?;
        let page = Page::of(&state, &Filter::of(&state, &uri, ROWS)?);
        let next_after = page.next.map(|key| key.to_string());
        let events = page.events.into_iter().map(EventAnswer::of).collect();
        Ok(PageAnswer { events, next_after })
    })
    .await
}

impl EventAnswer {
    fn of(told: Told) -> Self {
        let Told { key, node, subject, kind, severity, text, code, count, xid } = told;
        let (at, hub, severity) = (time(key.at), key.hub.to_string(), severity.word());
        Self { at, hub, node, subject, kind, severity, text, code, count, xid }
    }
}

impl Filter {
    /// What the address asks for, at most `rows` unless it says otherwise.
    pub(crate) fn of(state: &Collector, uri: &Uri, rows: usize) -> Result<Self, Refusal> {
        let asked = Parameters::of(uri, PARAMETERS)?;
        let filter = Self {
            hub: asked.text("hub").map(|name| hub(state, name)).transpose()?,
            node: asked.text("node").map(|name| named("node", NodeId::new(name))).transpose()?,
            subject: asked
                .text("subject")
                .map(|name| named("subject", SubjectId::new(name)))
                .transpose()?,
            kind: asked.text("kind").map(kind).transpose()?,
            severity: asked.text("severity").map(severity).transpose()?,
            xid: asked.text("xid").map(xid).transpose()?,
            from: asked.time("from")?,
            to: asked.time("to")?,
            limit: asked.limit_or(rows)?,
            after: asked.text("after").map(key).transpose()?,
        };
        if filter.from.zip(filter.to).is_some_and(|(from, to)| from >= to) {
            return Err(refuse("from is not before to: nothing lies between them"));
        }
        if filter.xid.is_some() && filter.kind.is_some_and(|kind| kind != XID) {
            return Err(refuse(format!("xid goes with kind={XID}: no other kind has XIDs")));
        }
        Ok(filter)
    }

    fn admits_time(&self, at: UtcMillis) -> bool {
        self.from.is_none_or(|from| at >= from) && self.to.is_none_or(|to| at < to)
    }

    fn admits_key(&self, key: &Key) -> bool {
        self.admits_time(key.at) && self.after.as_ref().is_none_or(|after| key < after)
    }

    fn admits_node_event(&self, hub: &Hub, event: &NodeEvent) -> bool {
        let is_xid = event.kind == EventKind::GpuXid;
        self.node.as_ref().is_none_or(|node| *node == event.node)
            && self.subject.as_ref().is_none_or(|subject| event.subject.as_ref() == Some(subject))
            && self.kind.is_none_or(|kind| kind == node_event_word(event.kind))
            && self.xid.is_none_or(|code| is_xid && code == event.code)
            && self.severity.is_none_or(|asked| asked == severity_of(hub, event))
    }

    fn admits_register_event(&self, event: &RegisterEvent) -> bool {
        self.node.is_none()
            && self.xid.is_none()
            && self.subject.as_ref().is_none_or(|subject| subject.as_str() == event.subject)
            && self.kind.is_none_or(|kind| kind == event.kind.word())
            && self.severity.is_none_or(|asked| asked == Severity::of_register(event.kind))
    }
}

/// How urgent an event of a node is at its hub.
pub(crate) fn severity_of(hub: &Hub, event: &NodeEvent) -> Severity {
    if event.kind == EventKind::GpuXid {
        hub.xids.severity(event.code)
    } else {
        Severity::of_kind(event.kind, event.code)
    }
}

impl Page {
    pub(crate) fn of(state: &Collector, filter: &Filter) -> Self {
        let hubs = state.hubs();
        let asked = hubs.iter().filter(|hub| filter.hub.as_ref().is_none_or(|id| *id == hub.id));
        let mut events: Vec<Told> = asked.flat_map(|hub| of_hub(hub, filter)).collect();
        events.sort_unstable_by_key(|told| Reverse(told.key.clone()));
        let has_more = events.len() > filter.limit;
        events.truncate(filter.limit);
        let next = events.last().filter(|_| has_more).map(|told| told.key.clone());
        Self { events, next }
    }
}

/// The newest of one hub, one more than a page has.
fn of_hub(hub: &Hub, filter: &Filter) -> Vec<Told> {
    let mut told = of_nodes(hub, filter);
    told.extend(of_registers(hub, filter));
    told
}

fn newest<E>(mut events: Vec<(Key, E)>, filter: &Filter) -> Vec<(Key, E)> {
    events.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
    events.truncate(filter.limit.saturating_add(1));
    events
}

fn of_nodes(hub: &Hub, filter: &Filter) -> Vec<Told> {
    let live = hub.live();
    let events = live.events().iter().filter_map(|event| {
        let (at, origin, seq) = (event.at, Origin::Node, event.seq);
        let key = Key { at, hub: hub.id.clone(), origin, seq };
        let is_asked = filter.admits_key(&key) && filter.admits_node_event(hub, event);
        is_asked.then_some((key, event))
    });
    let told = |(key, event): (Key, &NodeEvent)| Told {
        key,
        node: Some(event.node.to_string()),
        subject: event.subject.as_ref().map(ToString::to_string),
        kind: node_event_word(event.kind),
        severity: severity_of(hub, event),
        text: event.text.clone(),
        code: (event.code != 0).then_some(event.code),
        count: event.count,
        xid: (event.kind == EventKind::GpuXid).then(|| hub.xids.advice(event.code)),
    };
    newest(events.collect(), filter).into_iter().map(told).collect()
}

fn of_registers(hub: &Hub, filter: &Filter) -> Vec<Told> {
    let books = hub.books();
    let events = books.events().into_iter().filter_map(|event| {
        let (at, origin, seq) = (event.at, Origin::Register, event.seq);
        let key = Key { at, hub: hub.id.clone(), origin, seq };
        (filter.admits_key(&key) && filter.admits_register_event(event)).then_some((key, event))
    });
    let told = |(key, event): (Key, &RegisterEvent)| Told {
        key,
        node: None,
        subject: Some(event.subject.clone()),
        kind: event.kind.word(),
        severity: Severity::of_register(event.kind),
        text: event.words.clone(),
        code: None,
        count: 1,
        xid: None,
    };
    newest(events.collect(), filter).into_iter().map(told).collect()
}

impl Told {
    pub(crate) const fn at(&self) -> UtcMillis {
        self.key.at
    }

    pub(crate) const fn hub(&self) -> &HubId {
        &self.key.hub
    }
}

const XID: &str = node_event_word(EventKind::GpuXid);

/// All words of both kinds of kinds.
fn kinds() -> impl Iterator<Item = &'static str> {
    // Numbers may be given ahead of their kinds, so there are gaps.
    let of_nodes =
        (1..256).filter_map(|number| EventKind::try_from(number).ok()).map(node_event_word);
    of_nodes.chain(RegisterKind::ALL.into_iter().map(RegisterKind::word))
}

fn kind(word: &str) -> Result<&'static str, Refusal> {
    kinds().find(|known| *known == word).ok_or_else(|| {
        let known: Vec<&str> = kinds().collect();
        refuse(format!("there is no kind {:?}; there are {}", short(word), known.join(", ")))
    })
}

fn severity(word: &str) -> Result<Severity, Refusal> {
    Severity::from_word(word).ok_or_else(|| {
        let known = Severity::ALL.map(Severity::word).join(", ");
        refuse(format!("there is no severity {:?}; there are {known}", short(word)))
    })
}

fn xid(text: &str) -> Result<u32, Refusal> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| refuse(format!("xid is a number like 79, not {:?}", short(text))))
}

fn hub(state: &Collector, name: &str) -> Result<HubId, Refusal> {
    let known = HubId::new(name).ok().filter(|id| state.hub(id).is_some());
    known.ok_or_else(|| refuse(format!("there is no hub {:?}; /v1/hubs lists them", short(name))))
}

fn named<T>(what: &str, id: Result<T, bijli_wire::id::IdError>) -> Result<T, Refusal> {
    id.map_err(|error| refuse(format!("{what}: {error}")))
}

fn key(text: &str) -> Result<Key, Refusal> {
    let parsed = Key::parse(text);
    parsed.ok_or_else(|| refuse("after is the next_after of the page before, as it was given"))
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '.');
        let at = UtcMillis::new(parts.next()?.parse().ok()?);
        let origin = match parts.next()? {
            "n" => Origin::Node,
            "r" => Origin::Register,
            _ => return None,
        };
        let seq = parts.next()?.parse().ok()?;
        let hub = HubId::new(parts.next()?).ok()?;
        Some(Self { at, hub, origin, seq })
    }
}

/// Without a character that an address would have to escape.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match self.origin {
            Origin::Node => "n",
            Origin::Register => "r",
        };
        write!(f, "{}.{origin}.{}.{}", self.at.get(), self.seq, self.hub)
    }
}

fn refuse(words: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, words)
}

/// Foreign text in a refusal, bounded.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        for text in ["1785574800000.n.12.isb", "-5.r.1.a.b:c/d"] {
            let key = Key::parse(text).expect(text);
            assert_eq!(key.to_string(), text);
        }
        for text in ["", "1", "1.x.1.isb", "x.n.1.isb", "1.n.-1.isb", "1.n.1.", "1.n.1.i b"] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        let all: Vec<&str> = kinds().collect();
        let mut apart = all.clone();
        apart.sort_unstable();
        apart.dedup();
        assert_eq!(apart.len(), all.len());
        assert!(all.len() > 25 && !all.contains(&"unspecified"), "{all:?}");
    }
}
