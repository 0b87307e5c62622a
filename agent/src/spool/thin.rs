//! What a full spool makes of the batches that wait longest: their energy registers at the edges
//! of accounting intervals, and little else. Pure.
//!
//! # Invariants
//! - The first and the last count of every register stay, and so do the counts on both sides of
//!   every edge of an interval (the one at the edge alone, where there is one). So the ledger cuts
//!   each interval at the very readings at which it would have cut it before.
//! - A step that a ledger cannot subtract (a reset, a wrap, a jump) keeps the counts around it, and
//!   a register that turns or runs hot keeps as many as tell its turns apart: the ledger books from
//!   the thinned counts the sum that it would have booked from all of them.
//! - Facts about holds stay, each of them.
//! - Thinning what was thinned keeps all of this: a month is thinned as often as it takes.

use std::collections::{BTreeMap, VecDeque};

use bijli_wire::batch::{Event, Register};
use bijli_wire::message::EventKind;
use bijli_wire::{
    Batch, BatchSeq, Hold, Matrix, Millis, Quantity, Schema, SchemaId, Uptime, UtcMillis, limits,
};

/// Readings stay where accounting intervals of this length begin and end.
pub(crate) const EDGE: Millis = Millis::new(15 * 60 * 1_000);
/// Events that stay of one thinned batch; the eldest.
const EVENTS_KEPT_MAX: usize = 64;
/// A ledger may want so many readings after a step that it does not understand.
const KEPT_AFTER: u32 = 4;
/// Readings of one register kept between two edges; whoever wants more is noise.
const BETWEEN_EDGES_MAX: u32 = 64;
/// Batches whose clocks differ by no more are of one clock, in milliseconds.
const STEP_MS_MAX: u64 = 500;
/// The slack of a ledger's bound: one refresh of a device's register.
const REFRESH_MS: u128 = 100;
/// Missing marks of all columns together, in bits: a batch of many columns has fewer rows, so
/// that it never looks like a bomb.
const MARKS_MAX: usize = 256 << 10;

/// One thinned batch, before it has a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thinned {
    pub(crate) schema: SchemaId,
    /// The newest batch's.
    pub(crate) created: UtcMillis,
    pub(crate) uptime: Option<Uptime>,
    /// The eldest sequence that it stands for, and when that was made.
    pub(crate) first: BatchSeq,
    pub(crate) since: UtcMillis,
    pub(crate) matrices: Vec<Matrix>,
    pub(crate) events: Vec<Event>,
    pub(crate) holds: Vec<Hold>,
}

/// Takes batches in the order of their sequences, and makes few of many.
#[derive(Debug, Default)]
pub(crate) struct Thinner {
    done: Vec<Thinned>,
    open: Option<Part>,
}

/// A batch and what it stands for: itself, or what it was thinned from.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) first: BatchSeq,
    pub(crate) since: UtcMillis,
    pub(crate) batch: Batch,
}

/// What becomes one thinned batch.
#[derive(Debug)]
struct Part {
    schema: SchemaId,
    first: BatchSeq,
    since: UtcMillis,
    last: BatchSeq,
    created: UtcMillis,
    uptime: Option<Uptime>,
    groups: BTreeMap<usize, Rows>,
    events: Vec<Event>,
    holds: Vec<Hold>,
}

/// Rows of the registers of one group.
#[derive(Debug)]
struct Rows {
    /// Columns of the group, register or not.
    width: usize,
    rows_max: usize,
    /// Column and how it counts.
    registers: Vec<(usize, Register)>,
    times: Vec<UtcMillis>,
    /// By row, then by register.
    counts: Vec<Vec<Option<i64>>>,
}

impl Thinner {
    pub(crate) fn take(&mut self, input: Input<'_>) {
        if let Some(open) = self.open.as_mut()
            && open.takes(&input)
        {
            open.absorb(input);
            return;
        }
        self.done.extend(self.open.take().map(Part::close));
        self.open.insert(Part::new(&input)).absorb(input);
    }

    /// Thinned batches so far.
    pub(crate) fn len(&self) -> usize {
        self.done.len() + usize::from(self.open.is_some())
    }

    pub(crate) fn finish(mut self) -> Vec<Thinned> {
        self.done.extend(self.open.take().map(Part::close));
        self.done
    }
}

impl Part {
    fn new(input: &Input<'_>) -> Self {
        Self {
            schema: input.batch.schema,
            first: input.first,
            since: input.since,
            last: input.batch.sequence,
            created: input.batch.created,
            uptime: input.batch.uptime,
            groups: BTreeMap::new(),
            events: Vec::new(),
            holds: Vec::new(),
        }
    }

    /// Whether a batch can be joined to this: the same columns, a clock that was not set in
    /// between, later rows, and room.
    fn takes(&mut self, input: &Input<'_>) -> bool {
        let clocks = (self.uptime, self.created);
        input.batch.schema == self.schema
            && self.holds.len() + input.batch.holds.len() <= limits::HOLDS_MAX
            && is_one_clock(clocks, (input.batch.uptime, input.batch.created))
            && input.batch.matrices.iter().all(|matrix| {
                self.groups.get_mut(&matrix.group).is_none_or(|rows| rows.takes(matrix))
            })
    }

    fn absorb(&mut self, input: Input<'_>) {
        let Input { schema, batch, .. } = input;
        self.last = batch.sequence;
        (self.created, self.uptime) = (batch.created, batch.uptime);
        for matrix in &batch.matrices {
            let rows =
                self.groups.entry(matrix.group).or_insert_with(|| Rows::new(schema, matrix.group));
            rows.absorb(matrix);
        }
        let is_news = |event: &Event| event.kind != EventKind::ResolutionReduced;
        let room = EVENTS_KEPT_MAX.saturating_sub(self.events.len());
        self.events.extend(batch.events.into_iter().filter(is_news).take(room));
        // Each is a fact that nobody tells again.
        self.holds.extend(batch.holds);
    }

    fn close(self) -> Thinned {
        let mut events = self.events;
        events.push(Event {
            code: 0,
            count: 1,
            at: self.created,
            subject: None,
            kind: EventKind::ResolutionReduced,
            text: format!(
                "the spool was full: batches {} to {} are reduced to their registers at the \
                 edges of intervals; energy is exact, its shape is not",
                self.first, self.last
            ),
        });
        let matrices = self.groups.into_iter().filter_map(|(group, rows)| rows.close(group));
        Thinned {
            schema: self.schema,
            created: self.created,
            uptime: self.uptime,
            first: self.first,
            since: self.since,
            matrices: matrices.collect(),
            events,
            holds: self.holds,
        }
    }
}

/// Whether one correction fits both: neither a boot nor a set clock lies between them.
fn is_one_clock(a: (Option<Uptime>, UtcMillis), b: (Option<Uptime>, UtcMillis)) -> bool {
    let zero = |uptime: Uptime, created: UtcMillis| {
        created.get().saturating_sub(i64::try_from(uptime.at.get()).unwrap_or(i64::MAX))
    };
    match (a, b) {
        ((Some(one), created), (Some(other), later)) => {
            one.boot == other.boot && zero(one, created).abs_diff(zero(other, later)) <= STEP_MS_MAX
        }
        ((None, _), (None, _)) => true,
        ((Some(_), _), (None, _)) | ((None, _), (Some(_), _)) => false,
    }
}

impl Rows {
    fn new(schema: &Schema, group: usize) -> Self {
        let series = schema.groups.get(group).map_or(&[][..], |group| &group.series);
        let registers = series.iter().enumerate().filter_map(|(column, series)| {
            let is_register = series.quantity == Some(Quantity::EnergyRegister) && series.part == 0;
            let subject = schema.subjects.get(series.subject).filter(|_| is_register)?;
            subject.register.map(|register| (column, register))
        });
        let width = series.len();
        Self {
            width,
            rows_max: limits::ROWS_MAX.min(MARKS_MAX / width.max(1)),
            registers: registers.collect(),
            times: Vec::new(),
            counts: Vec::new(),
        }
    }

    fn takes(&mut self, matrix: &Matrix) -> bool {
        let Some(first) = matrix.times.first() else { return true };
        if self.times.last().is_some_and(|last| last >= first) {
            return false;
        }
        if self.times.len() + matrix.times.len() > self.rows_max {
            self.prune();
        }
        self.registers.is_empty()
            || self.times.is_empty()
            || self.times.len() + matrix.times.len() <= self.rows_max
    }

    fn absorb(&mut self, matrix: &Matrix) {
        if self.registers.is_empty() {
            return;
        }
        for (row, time) in matrix.times.iter().enumerate() {
            let counts = self.registers.iter().map(|(column, _)| {
                let value = matrix.columns.get(*column).and_then(|values| values.get(row));
                // What cannot be true no ledger uses.
                value
                    .copied()
                    .flatten()
                    .filter(|count| Quantity::EnergyRegister.spec().admits(*count))
            });
            let counts: Vec<Option<i64>> = counts.collect();
            if counts.iter().any(Option::is_some) {
                self.times.push(*time);
                self.counts.push(counts);
            }
        }
    }

    /// Drops every row that no register needs.
    fn prune(&mut self) {
        let mut is_kept = vec![false; self.times.len()];
        for (index, (_, register)) in self.registers.iter().enumerate() {
            let counts = self.times.iter().zip(&self.counts).enumerate();
            let readings = counts.filter_map(|(row, (time, counts))| {
                let count = counts.get(index).copied().flatten()?;
                Some(Reading { row, at: *time, count: u64::try_from(count).ok()? })
            });
            Sieve::new(*register).run(readings, &mut is_kept);
        }
        let mut kept = is_kept.iter();
        self.times.retain(|_| kept.next().copied().unwrap_or(false));
        let mut kept = is_kept.iter();
        self.counts.retain(|_| kept.next().copied().unwrap_or(false));
    }

    fn close(mut self, group: usize) -> Option<Matrix> {
        self.prune();
        if self.times.is_empty() {
            return None;
        }
        let mut columns = vec![vec![None; self.times.len()]; self.width];
        for (index, (column, _)) in self.registers.iter().enumerate() {
            if let Some(values) = columns.get_mut(*column) {
                for (value, counts) in values.iter_mut().zip(&self.counts) {
                    *value = counts.get(index).copied().flatten();
                }
            }
        }
        Some(Matrix { group, times: self.times, columns })
    }
}

/// One count of one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    row: usize,
    at: UtcMillis,
    count: u64,
}

/// Decides which readings of one register stay.
#[derive(Debug)]
struct Sieve {
    register: Register,
    /// The last two readings, the newer one behind.
    recent: VecDeque<Reading>,
    /// The last one that stays.
    kept: Option<Reading>,
    /// Readings that stay because of an odd step before them.
    after: u32,
    /// The interval that is counted, and odd steps in it.
    odd: (UtcMillis, u32),
}

impl Sieve {
    fn new(register: Register) -> Self {
        let odd = (UtcMillis::new(i64::MIN), 0);
        Self { register, recent: VecDeque::new(), kept: None, after: 0, odd }
    }

    fn run(mut self, readings: impl Iterator<Item = Reading>, is_kept: &mut [bool]) {
        for reading in readings {
            self.take(reading, is_kept);
        }
        if let Some(last) = self.recent.back().copied() {
            self.keep(last, is_kept);
        }
    }

    fn take(&mut self, now: Reading, is_kept: &mut [bool]) {
        match self.recent.back().copied() {
            None => self.keep(now, is_kept),
            Some(before) => self.step(before, now, is_kept),
        }
        self.recent.push_back(now);
        if self.recent.len() > 2 {
            self.recent.pop_front();
        }
    }

    fn step(&mut self, before: Reading, now: Reading, is_kept: &mut [bool]) {
        let edge = now.at.floor_to(EDGE);
        if edge > before.at {
            // A reading at the edge itself cuts the interval alone.
            let is_alone = edge == now.at && now.at.since(before.at).is_some_and(|ms| ms <= EDGE);
            if !is_alone {
                self.keep(before, is_kept);
            }
            self.keep(now, is_kept);
        }
        let is_odd = !self.joins(before, now, REFRESH_MS);
        let is_long = self.kept.is_some_and(|kept| !self.joins(kept, now, 0));
        if (is_odd || is_long) && self.is_worth_keeping(edge) {
            self.keep(before, is_kept);
        }
        if is_odd && self.is_worth_keeping(edge) {
            let around: Vec<Reading> = self.recent.iter().copied().chain([now]).collect();
            around.into_iter().for_each(|reading| self.keep(reading, is_kept));
            self.after = KEPT_AFTER;
        } else if self.after > 0 {
            self.after -= 1;
            self.keep(now, is_kept);
        }
    }

    fn keep(&mut self, reading: Reading, is_kept: &mut [bool]) {
        if let Some(mark) = is_kept.get_mut(reading.row) {
            *mark = true;
        }
        if self.kept.is_none_or(|kept| kept.row < reading.row) {
            self.kept = Some(reading);
        }
    }

    /// Noise must not fill what thinning empties.
    fn is_worth_keeping(&mut self, edge: UtcMillis) -> bool {
        if self.odd.0 != edge {
            self.odd = (edge, 0);
        }
        self.odd.1 += 1;
        self.odd.1 <= BETWEEN_EDGES_MAX
    }

    /// Whether a ledger books the difference of two counts as it stands: a rise within the bound
    /// of `docs/formats/ledger.md`, too short for a whole turn. With a slack of 0, what joins in
    /// two halves joins as a whole.
    fn joins(&self, from: Reading, to: Reading, slack_ms: u128) -> bool {
        let Some(span) = to.at.since(from.at).map(|span| u128::from(span.get())) else {
            return false;
        };
        let Some(difference) = to.count.checked_sub(from.count) else { return false };
        let worth = |count: u64| {
            u128::from(count).saturating_mul(u128::from(self.register.numerator))
                / u128::from(self.register.denominator.max(1))
        };
        let power = u128::from(self.register.power_max.get());
        let turns = self.register.modulus.is_some_and(|modulus| {
            power.saturating_mul(span) >= worth(modulus).saturating_mul(1_000)
        });
        let bound = power.saturating_mul(span.saturating_mul(5) + slack_ms * 4) / 4_000;
        !turns && worth(difference) <= bound
    }
}
