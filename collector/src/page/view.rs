//! What the page shows, copied out from under the locks.
//!
//! Sums over closed intervals change when an interval closes or is adjusted; until then they are
//! kept, so a page that refreshes every five seconds does not sum a day of entries each time.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bijli_ledger::{Books, Completeness, EventKind, IntervalState, Pue};
use bijli_wire::message::EventKind as NodeEventKind;
use bijli_wire::{HubId, Quantity, SubjectKind, UtcMillis};

use super::firing::FiringView;
use super::place::Flows;
use crate::api::events::severity_of;
use crate::api::fleet::{self, Node, Registers};
use crate::api::nodes::{point_of, role_word};
use crate::api::{Period, closed, pue};
use crate::calendar::rfc3339;
use crate::crosscheck::{self, Finding};
use crate::diagram::Plan;
use crate::diagram::tree::Row;
use crate::events::NodeEvent;
use crate::kpi::{self, Kpi};
use crate::severity::Severity;
use crate::state::{Hub, Readiness, State};

/// The whole page.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) banner: Option<String>,
    pub(crate) now: UtcMillis,
    pub(crate) readiness: Readiness,
    /// `None`: nobody is asked.
    pub(crate) firing: Option<FiringView>,
    pub(crate) hubs: Vec<HubView>,
}

/// One hub.
#[derive(Clone, Debug)]
pub(crate) struct HubView {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) is_configured: bool,
    pub(crate) closed_until: Option<UtcMillis>,
    pub(crate) imbalance: i128,
    pub(crate) faults: Vec<String>,
    pub(crate) nodes_expected: Option<u32>,
    pub(crate) day: Option<Arc<Day>>,
    pub(crate) open: Option<Open>,
    pub(crate) nodes: Vec<NodeRow>,
    pub(crate) meters: Vec<MeterRow>,
    /// The single-line diagram; empty: none is declared.
    pub(crate) diagram: Vec<Row>,
    /// The figures beside the day's PUE; none where no tables are declared.
    pub(crate) beside: Vec<Kpi>,
    /// What it leaves open, in words.
    pub(crate) doubts: Vec<String>,
    pub(crate) notes: Vec<Note>,
    /// Cross-checks of the metering, failed ones first.
    pub(crate) checks: Vec<Finding>,
}

/// The last day of closed intervals, or as much of it as there is.
#[derive(Clone, Debug)]
pub(crate) struct Day {
    pub(crate) period: Period,
    pub(crate) flows: Flows,
    /// Or why there is none, in words.
    pub(crate) pue: Result<Pue, String>,
    pub(crate) incomplete: usize,
    /// Newest first.
    pub(crate) reasons: Vec<Note>,
}

/// The open interval as if it closed now.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) period: Period,
    pub(crate) flows: Flows,
}

#[derive(Clone, Debug)]
pub(crate) struct NodeRow {
    pub(crate) id: String,
    pub(crate) is_up: bool,
    pub(crate) age_ms: i64,
    pub(crate) power_mw: Option<u64>,
    pub(crate) gpus: usize,
    /// GPUs that gave energy or power lately.
    pub(crate) gpus_up: usize,
    /// Millidegrees of the hottest GPU.
    pub(crate) hottest: Option<i64>,
    /// Reads meters only.
    pub(crate) is_gateway: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct MeterRow {
    pub(crate) id: String,
    pub(crate) role: &'static str,
    pub(crate) power_mw: Option<u64>,
    pub(crate) booked: Option<u128>,
    pub(crate) age_ms: Option<i64>,
    /// A person reads it, and no agent.
    pub(crate) is_by_hand: bool,
}

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) at: UtcMillis,
    pub(crate) what: String,
    pub(crate) words: String,
    pub(crate) is_bad: bool,
}

/// Days by hub, with what they were summed from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closed(Arc<Mutex<Days>>);

type Days = BTreeMap<HubId, (Stand, Arc<Day>)>;

/// Changes whenever a sum over closed intervals may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stand {
    closed_until: UtcMillis,
    entries: u64,
    is_declared: bool,
}

const DAY_MS: i64 = 86_400_000;
/// Intervals whose reasons are listed, and reasons of each.
const REASON_INTERVALS: usize = 4;
const REASONS_EACH: usize = 4;
/// Events on the page.
const NOTES_MAX: usize = 12;

impl View {
    pub(crate) fn of(state: &State, closed: &Closed) -> Self {
        let (now, readiness) = (state.clock.now(), state.readiness());
        let hubs = match readiness {
            Readiness::Replaying { .. } => Vec::new(),
            Readiness::Ready | Readiness::Failed => {
                state.hubs().iter().map(|hub| HubView::of(hub, now, closed)).collect()
            }
        };
        let firing = state.firing().map(FiringView::of);
        Self { banner: state.banner.clone(), now, readiness, firing, hubs }
    }
}

impl HubView {
    fn of(hub: &Hub, now: UtcMillis, kept: &Closed) -> Self {
        let nodes = fleet::nodes(hub, now);
        let registers = fleet::registers(hub);
        let (plan, tables) = (hub.view().plan.clone(), Arc::clone(&hub.view().tables));
        let node_events = node_notes(hub);
        let checks = crosscheck::findings(hub, now);
        let books = hub.books();
        let day = kept.day(&hub.id, &books, plan.pue_category.is_some());
        let pue = day.as_ref().and_then(|day| day.pue.as_ref().ok());
        let beside = pue.filter(|_| !tables.is_empty());
        let beside = beside.map(|pue| kpi::of(&books, &tables, pue)).unwrap_or_default();
        let open = books.provisional().map(|open| Open {
            period: Period { from: open.start, to: open.end },
            flows: open.flows,
        });
        Self {
            id: hub.id.to_string(),
            title: hub.title.clone(),
            is_configured: hub.is_configured,
            closed_until: closed(&books).map(|period| period.to),
            imbalance: books.imbalance(),
            faults: books.faults().map(ToString::to_string).collect(),
            nodes_expected: hub.nodes_expected,
            notes: notes(&books, day.as_deref(), node_events),
            day,
            open: open.filter(|open| !open.flows.is_empty()),
            nodes: nodes.iter().map(|node| NodeRow::of(node, &registers, now)).collect(),
            meters: by_hand(meters(&nodes, &registers, &plan, now), &books, now),
            beside,
            diagram: if plan.is_empty() { Vec::new() } else { plan.rows() },
            doubts: plan.doubts(),
            checks,
        }
    }

    pub(crate) fn nodes_up(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_up).count()
    }

    /// Of those that are up, the ones that only read meters.
    pub(crate) fn gateways_up(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_up && node.is_gateway).count()
    }

    /// Power of all nodes; `None` unless every node that is up tells.
    pub(crate) fn it_power(&self) -> Option<u64> {
        let machines = self.nodes.iter().filter(|node| node.is_up && !node.is_gateway);
        let mut sum = None;
        for node in machines {
            sum = Some(sum.unwrap_or(0_u64).saturating_add(node.power_mw?));
        }
        sum
    }

    /// Power at the supply meters; `None` unless all of them tell.
    pub(crate) fn supply_power(&self) -> Option<u64> {
        let supplies = ["grid", "generator", "solar"];
        let mut sum = None;
        for meter in self.meters.iter().filter(|meter| supplies.contains(&meter.role)) {
            sum = Some(sum.unwrap_or(0_u64).saturating_add(meter.power_mw?));
        }
        sum
    }
}

impl Closed {
    fn day(&self, hub: &HubId, books: &Books, is_declared: bool) -> Option<Arc<Day>> {
        let whole = closed(books)?;
        let from = UtcMillis::new(whole.to.get().saturating_sub(DAY_MS)).max(whole.from);
        let period = Period { from, to: whole.to };
        let entries = books.intervals().fold(0, |sum: u64, one| sum.saturating_add(one.entries));
        let stand = Stand { closed_until: whole.to, entries, is_declared };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, day)) = kept.get(hub).filter(|(at, _)| *at == stand) {
            return Some(Arc::clone(day));
        }
        let day = Arc::new(Day::of(books, period, is_declared));
        kept.insert(hub.clone(), (stand, Arc::clone(&day)));
        Some(day)
    }
}

impl Day {
    fn of(books: &Books, period: Period, is_declared: bool) -> Self {
        let (mut incomplete, mut reasons) = (0, Vec::new());
        let closed = books.intervals().rev().filter(|one| one.state == IntervalState::Closed);
        for one in closed.take_while(|one| one.start >= period.from) {
            let Completeness::Incomplete { reasons: why } = one.completeness else { continue };
            incomplete += 1;
            if incomplete > REASON_INTERVALS {
                continue;
            }
            let note = |words, is_bad| {
                let what = "incomplete".to_owned();
                Note { at: one.start, what, words, is_bad }
            };
            let listed = why.iter().take(REASONS_EACH);
            reasons.extend(listed.map(|reason| note(reason.to_string(), reason.is_dispute())));
            let more = why.len().saturating_sub(REASONS_EACH);
            if more > 0 {
                reasons.push(note(format!("and {more} more reasons"), false));
            }
        }
        Self {
            flows: books.flows(period.from, period.to),
            pue: pue::of(books, period, is_declared).map_err(|why| why.message),
            period,
            incomplete,
            reasons,
        }
    }
}

impl NodeRow {
    fn of(node: &Node, registers: &Registers, now: UtcMillis) -> Self {
        let newest = node.newest.unwrap_or(node.received);
        let gpus = || node.of_kind(SubjectKind::Gpu);
        let power = node.power_input(registers, now).or_else(|| node.power_sum(registers, now));
        let hottest = gpus().filter_map(|gpu| gpu.fresh_signed(Quantity::Temperature, now)).max();
        let is_meter = |subject: &fleet::Subject| subject.kind == SubjectKind::Meter;
        Self {
            id: node.id.to_string(),
            is_up: node.is_up,
            age_ms: fleet::age(node.received, now),
            power_mw: power.filter(|_| node.is_up),
            gpus: gpus().count(),
            gpus_up: gpus().filter(|gpu| gpu.gives(registers, newest)).count(),
            hottest: hottest.filter(|_| node.is_up),
            is_gateway: gpus().next().is_none() && node.subjects.iter().any(is_meter),
        }
    }
}

/// Meters that report and meters that the diagram declares, by id.
fn meters(nodes: &[Node], registers: &Registers, plan: &Plan, now: UtcMillis) -> Vec<MeterRow> {
    let mut rows = BTreeMap::new();
    for point in &plan.points {
        let Some(id) = &point.meter else { continue };
        let (role, id) = (role_word(point), id.clone());
        let (power_mw, booked, age_ms) = (None, None, None);
        let row = MeterRow { id: id.clone(), role, power_mw, booked, age_ms, is_by_hand: false };
        rows.insert(id, row);
    }
    for node in nodes {
        for meter in node.of_kind(SubjectKind::Meter) {
            let register = registers.get(&meter.id).map(|(_, register)| register);
            let power = meter.power(now).or_else(|| meter.register_power(registers, now));
            let id = meter.id.to_string();
            let role = point_of(plan, &id).map_or("not in the diagram", role_word);
            let age = register.and_then(|register| register.last);
            let row = MeterRow {
                id: id.clone(),
                role,
                power_mw: power.filter(|_| node.is_up),
                booked: register.map(|register| register.booked.total()),
                age_ms: age.map(|(at, _)| fleet::age(at, now)),
                is_by_hand: false,
            };
            rows.insert(id, row);
        }
    }
    rows.into_values().collect()
}

/// The same, with the last readings of those that a person reads.
fn by_hand(mut rows: Vec<MeterRow>, books: &Books, now: UtcMillis) -> Vec<MeterRow> {
    for (meter, at) in books.by_hand() {
        if let Some(row) = rows.iter_mut().find(|row| row.id == meter.as_str()) {
            (row.age_ms, row.is_by_hand) = (Some(fleet::age(at, now)), true);
        }
    }
    rows
}

/// The newest events of nodes that somebody has to look at.
fn node_notes(hub: &Hub) -> Vec<Note> {
    let live = hub.live();
    let mut events: Vec<&NodeEvent> = live.events().iter().collect();
    events.retain(|event| severity_of(hub, event) > Severity::Info);
    events.sort_unstable_by_key(|event| Reverse((event.at, event.seq)));
    events.into_iter().take(NOTES_MAX).map(|event| node_note(hub, event)).collect()
}

fn node_note(hub: &Hub, event: &NodeEvent) -> Note {
    let subject = event.subject.as_ref().map(|subject| format!(" {subject}"));
    let mut words = format!("{}{}: {}", event.node, subject.unwrap_or_default(), event.words());
    if event.kind == NodeEventKind::GpuXid {
        let advice = hub.xids.advice(event.code);
        words.push_str(&format!(" · {}: {}", advice.name, advice.action));
    }
    Note {
        at: event.at,
        what: crate::api::node_event_word(event.kind).replace('_', " "),
        words,
        is_bad: severity_of(hub, event) == Severity::Page,
    }
}

/// Reasons first, then the newest events.
fn notes(books: &Books, day: Option<&Day>, node_events: Vec<Note>) -> Vec<Note> {
    let register = |event: &bijli_ledger::RegisterEvent| Note {
        at: event.at,
        what: event.kind.word().replace('_', " "),
        words: format!("{}: {}", event.subject, event.words),
        is_bad: event.kind == EventKind::Dispute,
    };
    // That a register passed its modulus is what registers do; its energy is booked.
    let news = books.events().into_iter().rev().filter(|event| event.kind != EventKind::Wrap);
    let mut events: Vec<Note> = news.take(NOTES_MAX).map(register).collect();
    events.extend(node_events);
    events.sort_by_key(|note| Reverse(note.at));
    events.truncate(NOTES_MAX);
    let mut notes = day.map(|day| day.reasons.clone()).unwrap_or_default();
    notes.extend(events);
    notes
}

/// `2026-08-01 09:15` in UTC.
pub(crate) fn minute(at: UtcMillis) -> String {
    let text = rfc3339(at);
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) if text.ends_with('Z') => format!("{day} {minute}"),
        _ => text,
    }
}

/// `2026-08-01 09:15 to 10:15 UTC`, with the second day where it is another one.
pub(crate) fn span(period: Period) -> String {
    let (from, to) = (minute(period.from), minute(period.to));
    let is_same_day = from.get(..DAY_CHARS) == to.get(..DAY_CHARS);
    let to = if is_same_day { to.get(DAY_CHARS..).unwrap_or(&to).trim_start() } else { &to };
    format!("{from} to {to} UTC")
}

/// Of a date like `2026-08-01`.
const DAY_CHARS: usize = 10;

/// `4 s`, `12 min`, `3 h`, `2 d`, cut.
pub(crate) fn ago(ms: i64) -> String {
    match ms / 1_000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
