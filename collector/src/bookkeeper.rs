//! Turns facts into the ledger's calls: one thread, in booking order, the only writer of `state`.
//!
//! # Invariants
//! - What is booked depends on the facts and their order alone; time is a fact's receive time.
//! - A fact that cannot be booked is counted and logged; the next one is booked.
//!
//! **Architecture invariant:** no clock, no file, no socket: a replay runs exactly this.

mod kept;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use bijli_ledger::leaf::{Body, Pruned, Snapshot};
use bijli_ledger::{
    Books, Closed, ClosedKind, Declared, HoldVerdict, Leaf, LeafMaker, PutVerdict, RegisterHandle,
    Rules,
};
use bijli_wire::message::EventKind;
use bijli_wire::{
    Batch, HubId, NodeId, Quantity, Schema, SchemaId, Table, UtcMillis, codec, limits,
};

use serde::{Deserialize, Serialize};

use crate::activity::Activities;
use crate::allocation::{EndText, PutText, TextError, Verdict};
use crate::calibration::{CalibrationText, Unbooked};
use crate::config::ConfigError;
use crate::diagram::Plan;
use crate::ingest::correction;
use crate::intake::{Fact, Reply};
use crate::journal::chain;
use crate::kpi::Tables;
use crate::leaves::{Lot, Trail};
use crate::meterbook::{TypedText, Untyped};
use crate::period::PeriodText;
use crate::projects::text::{ChangeText, Unregistered};
use crate::retirement::RetirementText;
use crate::snapshot::Taken;
use crate::state::{Hub, State};

/// Allocations that the books of one hub hold at once.
pub const ALLOCATIONS_MAX: usize = 100_000;
/// The books are told the time when it passes into another second, not at each frame.
const ADVANCE_STEP_MS: i64 = 1_000;

/// Books facts into a [`State`].
pub struct Bookkeeper {
    state: Arc<State>,
    rules: Rules,
    /// The hubs that the journal has spoken of so far. Only these are told the time: a hub that
    /// is configured and silent must not make its later books depend on the configuration.
    hubs: BTreeMap<HubId, Arc<Hub>>,
    /// By hub and node: what its schema declared.
    declared: BTreeMap<(HubId, NodeId), Declaration>,
    /// The largest receive time so far, in whole seconds.
    second: i64,
    unusable: u64,
    trail: Trail,
    maker: LeafMaker,
    /// Where leaves go; `None`: nobody asked for them, and none are made.
    leaves: Option<Out>,
}

/// Takes what one record of the journal led to. It may wait for room.
type Out = Box<dyn FnMut(Lot) + Send>;

/// When a batch came in, and what was added to its times.
#[derive(Clone, Copy, Debug)]
struct When {
    received: UtcMillis,
    offset_ms: i64,
}

/// A node's schema in force, with the ledger's handle of each subject.
#[derive(Debug, Serialize, Deserialize)]
struct Declaration {
    schema: SchemaId,
    /// Moves that the books had seen then: a subject that was another's may be this node's now.
    moves: u64,
    handles: Vec<RegisterHandle>,
    activities: Activities,
}

impl std::fmt::Debug for Bookkeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bookkeeper").field("second", &self.second).finish_non_exhaustive()
    }
}

impl Bookkeeper {
    #[must_use]
    pub fn new(state: Arc<State>) -> Self {
        let rules = state.rules;
        Self {
            state,
            rules,
            hubs: BTreeMap::new(),
            declared: BTreeMap::new(),
            second: i64::MIN,
            unusable: 0,
            trail: Trail::default(),
            maker: LeafMaker::default(),
            leaves: None,
        }
    }

    /// The same, telling the leaves of everything that it posts, in their order.
    #[must_use]
    pub fn with_leaves(self, out: impl FnMut(Lot) + Send + 'static) -> Self {
        Self { leaves: Some(Box::new(out)), ..self }
    }

    /// Books until the journal is gone.
    pub fn run(&mut self, facts: &Receiver<Fact>) {
        while let Ok(fact) = facts.recv() {
            self.book(fact);
        }
    }

    /// Facts that could not be booked so far.
    #[must_use]
    pub const fn unusable(&self) -> u64 {
        self.unusable
    }

    pub fn book(&mut self, fact: Fact) {
        match fact {
            Fact::Batch { received, id, schema, readings, offset_ms } => {
                let when = When { received, offset_ms };
                match readings.decoded {
                    Some(carried) => self.book_batch(when, (id, &schema), carried.batch()),
                    None => self.book_body(when, (id, &schema), &readings.body),
                }
                self.advance(received);
            }
            Fact::Put { received, json, reply } => {
                let verdict = self.put(&json);
                self.answer(verdict, received, reply);
            }
            Fact::End { received, json, reply } => {
                let verdict = self.end(&json);
                self.answer(verdict, received, reply);
            }
            Fact::Calibration { received, json, reply } => {
                let verdict = self.calibrate(&json);
                self.answer(verdict, received, reply);
            }
            Fact::Typed { received, json, reply } => {
                let verdict = self.put_typed(&json, received);
                self.answer(verdict, received, reply);
            }
            Fact::Period { received, json, reply } => {
                let verdict = self.put_period(&json, received);
                self.answer(verdict, received, reply);
            }
            Fact::Project { received, json, reply } => {
                let verdict = self.register(&json, received);
                self.answer(verdict, received, reply);
            }
            Fact::Retirement { received, json, reply } => {
                let verdict = self.retire(&json);
                self.answer(verdict, received, reply);
            }
            Fact::Diagram { received, from, hub, toml } => {
                self.set_diagram(&hub, from, &toml);
                self.advance(received);
            }
            Fact::Tables { received, hub, toml } => {
                match Tables::read(&toml) {
                    Ok(tables) => self.hub(&hub).view_mut().tables = Arc::new(tables),
                    Err(problems) => self.refuse("tables", &ConfigError::Problems { problems }),
                }
                self.advance(received);
            }
            Fact::Rules { received, rules } => {
                self.rules = rules;
                self.advance(received);
            }
            Fact::Tick { received } => self.advance(received),
            Fact::Floor { received, lane, floor } => {
                self.state.health.lanes.floors.inc();
                let text = format!("epoch {}: below {floor} nothing comes any more", lane.epoch);
                let kind = EventKind::SequencesFloored;
                self.hub(&lane.hub).live_mut().tell(&lane.node, received, kind, text);
                self.advance(received);
            }
            Fact::Snapshot { received, intake } => self.take_snapshot(received, &intake),
            Fact::Pruned { received, pruned } => self.note_pruned(received, pruned),
            Fact::Record { seq, digest } => self.trail.add(seq, digest),
            Fact::Barrier(reply) => reply.send(()),
        }
    }

    fn hub(&mut self, id: &HubId) -> Arc<Hub> {
        if let Some(hub) = self.hubs.get(id) {
            return Arc::clone(hub);
        }
        let hub = match self.state.hub(id) {
            Some(hub) => hub,
            None => self.state.add_hub(Hub::journalled(id.clone(), self.rules)),
        };
        self.hubs.insert(id.clone(), Arc::clone(&hub));
        hub
    }

    fn book_body(&mut self, when: When, schema: (SchemaId, &Schema), body: &[u8]) {
        match codec::open(body).and_then(|opened| opened.read_tables(schema.0, schema.1)) {
            Ok(mut batch) => {
                correction::shift(&mut batch, when.offset_ms);
                self.book_batch(when, schema, &batch);
            }
            Err(error) => self.refuse("batch", &error),
        }
    }

    fn book_batch(&mut self, when: When, schema: (SchemaId, &Schema), batch: &Batch<Table>) {
        let When { received, offset_ms } = when;
        let (id, schema) = schema;
        let hub = self.hub(&batch.hub);
        let mut books = hub.books_mut();
        let key = (batch.hub.clone(), batch.node.clone());
        let declaration =
            self.declared.entry(key).or_insert_with(|| Declaration::new(id, schema, &mut books));
        if declaration.schema != id || declaration.moves != books.moves() {
            declaration.declare(id, schema, &mut books);
        }
        declaration.book(schema, batch, &mut books);
        let unusable = witness(batch, received, &mut books);
        drop(books);
        self.count_holds(&batch.node, unusable);
        let mut live = hub.live_mut();
        live.absorb(id, schema, batch, received);
        live.correct(&batch.node, offset_ms, received);
        drop(live);
        hub.watch_mut().absorb(schema, batch);
        if offset_ms != 0 {
            self.state.health.lanes.corrected.inc();
        }
    }

    fn count_holds(&mut self, node: &NodeId, unusable: u64) {
        if unusable == 0 {
            return;
        }
        self.unusable = self.unusable.saturating_add(unusable);
        self.state.health.frames_unusable.inc_by(unusable);
        tracing::error!(%node, unusable, "facts about holds cannot be booked: too many, or no time");
    }

    fn refuse(&mut self, what: &str, error: &dyn std::error::Error) {
        self.unusable = self.unusable.saturating_add(1);
        self.state.health.frames_unusable.inc();
        tracing::error!(what, error = chain(error), "a journalled fact cannot be booked");
    }

    fn put(&mut self, json: &[u8]) -> Verdict {
        let (hub, allocation) = match PutText::from_json(json).and_then(|text| text.read()) {
            Ok(put) => put,
            Err(error) => return Verdict::Unreadable(error),
        };
        let hub = self.hub(&hub);
        let mut books = hub.books_mut();
        match books.allocate(allocation) {
            Ok(verdict) => Verdict::Put(verdict),
            Err(error) => Verdict::Refused(error),
        }
    }

    fn end(&mut self, json: &[u8]) -> Verdict {
        let text = match EndText::from_json(json) {
            Ok(text) => text,
            Err(error) => return Verdict::Unreadable(error),
        };
        match text.read() {
            Ok((hub, at)) => match self.hub(&hub).books_mut().end_allocation(&text.id, at) {
                Ok(verdict) => Verdict::Ended(verdict),
                Err(error) => Verdict::Refused(error),
            },
            Err(error) => Verdict::Unreadable(error),
        }
    }

    fn calibrate(&mut self, json: &[u8]) -> Verdict {
        match CalibrationText::from_json(json).map_err(Unbooked::from).and_then(|text| text.read())
        {
            Ok((hub, calibration)) => {
                Verdict::Calibrated(self.hub(&hub).books_mut().calibrate(calibration))
            }
            Err(Unbooked::Refused(error)) => Verdict::Calibrated(Err(error)),
            Err(Unbooked::Text(error)) => Verdict::Unreadable(error),
        }
    }

    fn put_typed(&mut self, json: &[u8], received: UtcMillis) -> Verdict {
        match TypedText::from_json(json).map_err(Untyped::from).and_then(|text| text.read()) {
            Ok((hub, reading)) => {
                Verdict::Typed(self.hub(&hub).books_mut().put_typed(reading, received))
            }
            Err(Untyped::Refused(error)) => Verdict::Typed(Err(error)),
            Err(Untyped::Text(error)) => Verdict::Unreadable(error),
            Err(error) => Verdict::Unreadable(TextError::Json {
                what: "a typed reading",
                reason: error.to_string(),
            }),
        }
    }

    fn retire(&mut self, json: &[u8]) -> Verdict {
        match RetirementText::from_json(json).and_then(|text| text.read()) {
            Ok((hub, retirement)) => {
                Verdict::Retired(self.hub(&hub).books_mut().retire(&retirement))
            }
            Err(error) => Verdict::Unreadable(error),
        }
    }

    /// The registry is beside the books: no entry depends on it.
    fn register(&self, json: &[u8], received: UtcMillis) -> Verdict {
        match ChangeText::from_json(json).map_err(Unregistered::from).and_then(|text| text.read()) {
            Ok(change) => {
                let when = (received, self.maker.next());
                let interval_ms = self.rules.interval.get();
                Verdict::Registered(self.state.registry_mut().make(change, when, interval_ms))
            }
            Err(Unregistered::Refused(error)) => Verdict::Registered(Err(error)),
            Err(Unregistered::Text(error)) => Verdict::Unreadable(error),
            Err(error) => {
                let (what, reason) = ("a change of projects", error.to_string());
                Verdict::Unreadable(TextError::Json { what, reason })
            }
        }
    }

    /// Tells the one who waits, and the books the time.
    fn answer(&mut self, verdict: Verdict, received: UtcMillis, reply: Reply<Verdict>) {
        if let Verdict::Unreadable(error) = &verdict {
            self.state.health.frames_unusable.inc();
            tracing::error!(
                error = chain(error),
                "a journalled text (allocation, calibration, typed reading, month, project, \
                 retirement) cannot be read"
            );
        }
        reply.send(verdict);
        self.advance(received);
    }

    fn set_diagram(&mut self, hub: &HubId, from: UtcMillis, toml: &str) {
        let plan = match Plan::from_toml(toml) {
            Ok(plan) => plan,
            Err(error) => return self.refuse("diagram", &error),
        };
        let diagram = match plan.diagram() {
            Ok(diagram) => diagram,
            Err(error) => return self.refuse("diagram", &error),
        };
        let policies = match plan.share_policies() {
            Ok(policies) => policies,
            Err(error) => return self.refuse("diagram", &error),
        };
        let hub = self.hub(hub);
        let mut books = hub.books_mut();
        if let Some(diagram) = diagram {
            books.set_diagram(from, diagram);
        }
        books.set_share_policies(&policies);
        drop(books);
        hub.view_mut().plan = plan;
    }

    fn advance(&mut self, received: UtcMillis) {
        let lot = self.close(received);
        if !lot.leaves.is_empty() {
            self.trail.turn();
            self.hand_out(lot);
        }
    }

    /// Tells every hub's books the time, if it moved on: it never moves back. Returns the leaves
    /// that this led to.
    fn close(&mut self, received: UtcMillis) -> Lot {
        let mut lot = Lot { first: self.maker.next(), leaves: Vec::new(), snapshot: None };
        let second = received.get().div_euclid(ADVANCE_STEP_MS);
        if second <= self.second {
            return lot;
        }
        self.second = second;
        let hubs: Vec<Arc<Hub>> = self.hubs.values().cloned().collect();
        let mut entries_held = 0_usize;
        for hub in hubs {
            let mut books = hub.books_mut();
            let closed = books.advance(received);
            self.make_leaves(&hub, &books, &closed, &mut lot.leaves);
            for restated in books.restated(self.maker.next(), received) {
                self.add_leaf(&hub.id, Body::Restatement(Box::new(restated)), &mut lot.leaves);
            }
            // Before anybody sees these books: what they let go of is in a leaf before this.
            self.state.set_leaves_made(self.maker.next());
            let is_news = !closed.is_empty();
            let (faults, imbalance) = (books.faults().count(), books.imbalance());
            entries_held += books.entries_held();
            drop(books);
            hub.view_mut().booked_until = Some(received);
            for interval in closed {
                let (start, is_complete) = (interval.start.get(), interval.is_complete);
                let entries = interval.entries.end.saturating_sub(interval.entries.start);
                let is_adjusted = interval.kind == ClosedKind::Adjusted;
                tracing::debug!(hub = %hub.id, start, entries, is_complete, is_adjusted, "closed");
            }
            if is_news && (faults > 0 || imbalance != 0) {
                tracing::error!(hub = %hub.id, faults, imbalance, "the books do not balance");
            }
        }
        self.state.moments_mut().note(received, self.maker.next());
        let entries_held = i64::try_from(entries_held).unwrap_or(i64::MAX);
        self.state.health.entries_held.set(entries_held);
        lot
    }

    fn hand_out(&mut self, lot: Lot) {
        if let Some(out) = &mut self.leaves {
            out(lot);
        }
    }

    /// A leaf says that the segment was there, and what it was.
    fn note_pruned(&mut self, received: UtcMillis, pruned: Pruned) {
        let mut lot = self.close(received);
        if self.leaves.is_none() {
            return;
        }
        let source = self.trail.source();
        self.maker.skip();
        self.trail.turn();
        lot.leaves.push(Leaf::of_journal(Body::Pruned(pruned), source));
        self.hand_out(lot);
    }

    /// Keeps everything as it stands after this record, and a leaf with its hash.
    fn take_snapshot(&mut self, received: UtcMillis, intake: &[u8]) {
        let mut lot = self.close(received);
        if self.leaves.is_none() {
            return;
        }
        let source = self.trail.source();
        // The leaf has its index before the snapshot is taken: whoever begins from this goes on
        // behind it.
        self.maker.skip();
        self.trail.turn();
        let taken = self.taken(received, intake);
        let Taken { bytes, sha256, .. } = taken;
        lot.leaves.push(Leaf::of_journal(Body::Snapshot(Snapshot { bytes, sha256 }), source));
        lot.snapshot = Some(Box::new(taken));
        self.hand_out(lot);
    }

    /// Closes or restates a month. The time comes first: what is closed is what was due before.
    fn put_period(&mut self, json: &[u8], received: UtcMillis) -> Verdict {
        let mut lot = self.close(received);
        let verdict = match PeriodText::from_json(json) {
            Err(error) => Verdict::Unreadable(error),
            Ok(text) => match text.read() {
                Err(error) => Verdict::Unreadable(error),
                Ok((hub, said)) => {
                    let hub = self.hub(&hub);
                    let told = said.tell(&mut hub.books_mut(), self.maker.next(), received);
                    Verdict::Period(told.map(|body| match body {
                        None => PutVerdict::Unchanged,
                        Some(body) => {
                            self.add_leaf(&hub.id, body, &mut lot.leaves);
                            self.state.set_leaves_made(self.maker.next());
                            PutVerdict::New
                        }
                    }))
                }
            },
        };
        if !lot.leaves.is_empty() {
            self.trail.turn();
            self.hand_out(lot);
        }
        verdict
    }

    /// A leaf about a month, unless nobody asked for leaves.
    fn add_leaf(&mut self, hub: &HubId, body: Body, leaves: &mut Vec<Leaf>) {
        if self.leaves.is_some() {
            self.maker.skip();
            leaves.push(Leaf::of_period(hub.clone(), body, self.trail.source()));
        }
    }

    fn make_leaves(&mut self, hub: &Hub, books: &Books, closed: &[Closed], lot: &mut Vec<Leaf>) {
        if self.leaves.is_none() {
            return;
        }
        for posted in closed {
            let source = self.trail.source();
            lot.extend(self.maker.make(&hub.id, books.statement(posted), source));
        }
        self.maker.release(&hub.id, books.horizon());
    }
}

/// Books what a batch tells of holds; returns how many facts cannot be: their times cannot be true,
/// or their node has told too much.
fn witness(batch: &Batch<Table>, received: UtcMillis, books: &mut Books) -> u64 {
    let latest = received.get().saturating_add(limits::FUTURE_MS_MAX);
    let can_be = |at: UtcMillis| (limits::EARLIEST_UTC_MS..=latest).contains(&at.get());
    let mut unusable = 0_u64;
    for told in &batch.holds {
        let is_dated = can_be(told.at) && told.began().is_none_or(can_be);
        let is_booked = is_dated && books.witness(&batch.node, told) != HoldVerdict::TooMany;
        unusable = unusable.saturating_add(u64::from(!is_booked));
    }
    unusable
}

impl Declaration {
    fn new(id: SchemaId, schema: &Schema, books: &mut Books) -> Self {
        let (handles, activities) = (Vec::new(), Activities::default());
        let mut declaration = Self { schema: id, moves: 0, handles, activities };
        declaration.declare(id, schema, books);
        declaration
    }

    fn declare(&mut self, id: SchemaId, schema: &Schema, books: &mut Books) {
        let declared = books.declare_all(&schema.node, &schema.subjects);
        self.handles = declared.iter().map(Declared::handle).collect();
        self.moves = books.moves();
        if self.schema != id {
            self.schema = id;
            // The columns may mean other subjects now.
            self.activities = Activities::default();
        }
    }

    /// Books every register reading of a batch, subject by subject, in time order.
    fn book(&mut self, schema: &Schema, batch: &Batch<Table>, books: &mut Books) {
        self.activities.take(schema, batch);
        for table in &batch.matrices {
            let Some(group) = schema.groups.get(table.group) else { continue };
            for (series, column) in group.series.iter().zip(table.columns()) {
                let is_register =
                    series.quantity == Some(Quantity::EnergyRegister) && series.part == 0;
                let Some(handle) = self.handles.get(series.subject).filter(|_| is_register) else {
                    continue;
                };
                for (at, count) in table.times.iter().zip(column.iter()) {
                    let activity = self.activities.at(series.subject, *at);
                    // The verdict is in the subject's counts and events.
                    let _counted = books.read_at(*handle, *at, count, activity);
                }
            }
        }
        self.activities.forget();
    }
}
