//! The way through the journal: what is durable, record by record, to lines, to the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bijli_seglog::{LogError, RecordSeq};
use bijli_wire::{Batch, Schema, SchemaId, Table, UtcMillis, codec};

use super::Pause;
use super::cursor::Cursor;
use super::deliver::{Delivery, Store};
use super::{Form, remote, shape};
use crate::frame::Frame;
use crate::health::FeedHealth;
use crate::ingest::correction;
use crate::journal::{Journal, Stretch, chain};

/// Lines that are sent together, nearly: a store takes a few megabytes well, and what is sent again
/// after a failure stays small.
const BODY_BYTES: usize = 1 << 20;
/// From one look at the journal to the next.
const EVERY: Duration = Duration::from_secs(1);
/// Schemas that are held ready; a hub has one a node, and few more while it changes.
const SHAPES_MAX: usize = 8_192;

/// Where records come from.
pub trait Source: Send + 'static {
    /// The durable records from `seq` on; `None`: there is no journal any more.
    fn read_from(&self, seq: RecordSeq) -> Option<Stretch>;
    fn schema(&self, id: SchemaId) -> Option<Arc<Schema>>;
}

impl Source for Journal {
    fn read_from(&self, seq: RecordSeq) -> Option<Stretch> {
        Self::read_from(self, seq)
    }

    fn schema(&self, id: SchemaId) -> Option<Arc<Schema>> {
        self.intake().schema(id)
    }
}

/// Follows a journal.
#[derive(Debug)]
pub struct Follower<J, S> {
    journal: J,
    delivery: Delivery<S>,
    cursor: Cursor,
    shapes: BTreeMap<SchemaId, Shape>,
    health: FeedHealth,
    waiting: Waiting,
}

/// A schema, ready to write lines of its batches.
#[derive(Debug)]
enum Shape {
    Line(shape::Shape),
    Text(remote::Shape),
}

impl Shape {
    fn new(form: Form, schema: &Schema) -> Self {
        match form {
            Form::Line => Self::Line(shape::Shape::new(schema)),
            Form::Text => Self::Text(remote::Shape::new(schema)),
        }
    }

    fn write(&self, batch: &Batch<Table>, out: &mut String) -> usize {
        match self {
            Self::Line(shape) => shape.write(batch, out),
            Self::Text(shape) => shape.write(batch, out),
        }
    }
}

/// Lines on their way, and the records that they are of.
#[derive(Debug, Default)]
struct Waiting {
    lines: String,
    values: usize,
    /// When the first of them was received.
    eldest: Option<UtcMillis>,
}

impl<J: Source, S: Store> Follower<J, S> {
    pub fn new(dir: &Path, journal: J, delivery: Delivery<S>, health: FeedHealth) -> Self {
        let cursor = Cursor::open(dir);
        let (shapes, waiting) = (BTreeMap::new(), Waiting::default());
        Self { journal, delivery, cursor, shapes, health, waiting }
    }

    /// Goes on until it is told to stop, or the journal ends.
    pub fn run(&mut self, pause: &Pause) {
        while self.turn(pause) && pause.rest(EVERY) {}
    }

    /// Delivers what is there; false: it is to end.
    #[must_use]
    pub fn turn(&mut self, pause: &Pause) -> bool {
        let Some(stretch) = self.journal.read_from(self.cursor.next()) else { return false };
        if self.cursor.next() > stretch.through.next() {
            // An elder copy of the journal was put back: what it has since then is new.
            tracing::warn!("the feed was further than the journal is: it begins anew");
            self.move_on(RecordSeq::FIRST);
            return true;
        }
        let mut next = self.cursor.next();
        for record in stretch.records {
            match record {
                Ok((seq, record)) => {
                    self.miss(next, seq);
                    self.take(&record);
                    next = seq.next();
                }
                Err(LogError::Lost { last, .. }) => {
                    self.miss(next, last.next());
                    next = last.next();
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the feed cannot read the journal");
                    break;
                }
            }
            if self.waiting.lines.len() >= BODY_BYTES && !self.flush(next, pause) {
                return false;
            }
        }
        let is_done = self.flush(next, pause);
        if is_done {
            self.delivery.show_lag(None);
        }
        is_done
    }

    /// Records that are no more: let go before the store was back, or damaged.
    fn miss(&self, expected: RecordSeq, found: RecordSeq) {
        let missed = found.get().saturating_sub(expected.get());
        if missed > 0 {
            self.health.missed_records.inc_by(missed);
            tracing::warn!(%expected, missed, "records are gone from the journal before the feed had them");
        }
    }

    /// Turns a record's readings into lines. One without readings has none.
    fn take(&mut self, record: &[u8]) {
        let (received, offset_ms, body) = match Frame::decode(record) {
            Ok(Frame::Batch { received, body }) => (received, 0, body),
            Ok(Frame::Corrected { received, offset_ms, body }) => (received, offset_ms, body),
            // The bookkeeper tells of what is no frame.
            Ok(_) | Err(_) => return,
        };
        self.waiting.eldest.get_or_insert(received);
        if self.write(offset_ms, &body).is_none() {
            self.health.unusable.inc();
        }
    }

    /// `None`: the body cannot be read here.
    fn write(&mut self, offset_ms: i64, body: &[u8]) -> Option<()> {
        let opened = codec::open(body).ok()?;
        let id = opened.envelope.schema;
        let schema = self.journal.schema(id)?;
        let mut batch = opened.read_tables(id, &schema).ok()?;
        correction::shift(&mut batch, offset_ms);
        if self.shapes.len() >= SHAPES_MAX && !self.shapes.contains_key(&id) {
            self.shapes.clear();
        }
        let shape = self.shapes.entry(id).or_insert_with(|| Shape::new(S::FORM, &schema));
        self.waiting.values += shape.write(&batch, &mut self.waiting.lines);
        Some(())
    }

    /// Everything before `next` has its lines in `waiting`.
    fn flush(&mut self, next: RecordSeq, pause: &Pause) -> bool {
        let Waiting { lines, values, eldest } = std::mem::take(&mut self.waiting);
        if !lines.is_empty() {
            let eldest = eldest.unwrap_or(UtcMillis::ZERO);
            if !self.delivery.deliver(&lines, eldest, pause) {
                return false;
            }
            self.health.points.inc_by(u64::try_from(values).unwrap_or(u64::MAX));
        }
        if next != self.cursor.next() {
            self.move_on(next);
        }
        true
    }

    fn move_on(&mut self, next: RecordSeq) {
        if let Err(error) = self.cursor.advance(next) {
            tracing::warn!(%error, "the feed's cursor cannot be kept");
        }
    }
}
