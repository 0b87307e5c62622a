//! What the collector decides about what is sent to it. Synchronous, no I/O, no clock: whoever
//! serves it (HTTP in `ingest/mod.rs`, or a simulation) hands in bytes, the peer and the time,
//! then journals and answers as told.
//!
//! A body is taken in two steps. *Reading* decodes and validates wholly and may take long;
//! *admitting* is quick and reserves the sequence, so a [`Decision::Journal`] must reach the
//! journal or be given up ([`Intake::give_up`]): between the two nothing may be awaited.
//!
//! # Invariants
//! - Nothing that could not be booked is told to be journalled.
//! - An answer inside [`Decision::Journal`] is true only once its frame is durable.

use std::sync::{Arc, Mutex};

use bijli_identity::NodeName;
use bijli_identity::server::Proven;
use bijli_wire::batch::Envelope;
use bijli_wire::hello::CREDITS_MAX;
use bijli_wire::message::EventKind;
use bijli_wire::{
    Ack, AckVerdict, Batch, BatchSeq, ErrorCode, Greeting, Hello, HubId, NodeId, Schema, SchemaId,
    Table, UtcMillis, Welcome, codec, limits,
};
use bytes::Bytes;

use super::correction::{self, Claim};
use super::credits;
use super::refusal::Refusal;
use crate::carried::Carried;
use crate::frame::Frame;
use crate::ingest::admission::{Admit, LaneKey};
use crate::intake::{Intake, Note, SchemaAdmit};
use crate::journal::lock;
use crate::state::State;

/// Whom a connection is known to belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Nobody in particular: what a body says of its sender is believed.
    Claimed,
    /// The node in a certificate that its hub's authority signed.
    Proven(Arc<Proven>),
}

/// What is to be done with what was sent.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made, never kept")]
pub enum Decision<A> {
    /// Make the frame durable; then, and only then, answer.
    Journal { frame: Frame, note: Note, answer: A },
    /// It is durable already.
    Answer(A),
}

/// A schema whose bytes are good.
#[derive(Debug)]
pub struct ReadSchema {
    pub id: SchemaId,
    schema: Schema,
    body: Bytes,
}

/// A batch whose bytes are good.
#[derive(Debug)]
pub struct ReadBatch {
    pub envelope: Envelope,
    pub readings: usize,
    /// What was added to its times.
    pub offset_ms: i64,
    body: Bytes,
    /// `None`: too many batches wait to be booked.
    carried: Option<Carried>,
}

impl ReadBatch {
    /// The bytes as they came, compressed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.len()
    }
}

/// What is known of a decoded batch beside its rows.
struct Whole {
    envelope: Envelope,
    schema: Arc<Schema>,
    offset_ms: i64,
}

/// The rules of entry, for one peer.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    pub state: &'a State,
    pub intake: &'a Mutex<Intake>,
    pub peer: &'a Peer,
}

impl Door<'_> {
    /// Decodes a schema that was sent under the id `asked`.
    ///
    /// # Errors
    /// When its bytes, its id or its hub are wrong.
    pub fn read_schema(&self, asked: SchemaId, body: Bytes) -> Result<ReadSchema, Refusal> {
        let (id, schema) = codec::decode_schema(&body).map_err(|error| refuse_body(&error))?;
        if id != asked {
            let message = format!("the body is schema {id}, the address names {asked}");
            return Err(Refusal::new(ErrorCode::MalformedBody, message));
        }
        self.is_own(&schema.hub, &schema.node)?;
        self.is_hub(&schema.hub)?;
        Ok(ReadSchema { id, schema, body })
    }

    /// Decides about a schema.
    ///
    /// # Errors
    /// When there are too many already.
    pub fn admit_schema(
        &self,
        read: ReadSchema,
        now: UtcMillis,
    ) -> Result<Decision<AckVerdict>, Refusal> {
        let ReadSchema { id, schema, body } = read;
        let admit = lock(self.intake).admit_schema(id, &schema);
        match admit {
            SchemaAdmit::Known => Ok(Decision::Answer(AckVerdict::Duplicate)),
            SchemaAdmit::TooManyNodes => Err(overloaded("this hub has too many nodes")),
            SchemaAdmit::TooManySchemas => Err(overloaded("this node has too many schemas")),
            SchemaAdmit::New => Ok(Decision::Journal {
                frame: Frame::Schema { received: now, body: body.to_vec() },
                note: Note::Schema { id, schema: Arc::new(schema) },
                answer: AckVerdict::Accepted,
            }),
        }
    }

    /// Decodes and validates a batch wholly.
    ///
    /// # Errors
    /// When its bytes, hub, schema or times are wrong.
    pub fn read_batch(&self, body: Bytes, now: UtcMillis) -> Result<ReadBatch, Refusal> {
        self.read_batch_of(body, now, None)
    }

    /// The same of a sender that says what it knows of this collector's clock.
    ///
    /// # Errors
    /// As [`Door::read_batch`]; its times are judged after the correction.
    pub fn read_batch_of(
        &self,
        body: Bytes,
        now: UtcMillis,
        claim: Option<Claim>,
    ) -> Result<ReadBatch, Refusal> {
        let (whole, batch) = self.decode_batch(&body, now, claim)?;
        let Whole { envelope, offset_ms, .. } = whole;
        let readings = batch.readings();
        let carried = self.state.room.carry(batch);
        Ok(ReadBatch { envelope, readings, offset_ms, body, carried })
    }

    /// Shows a batch that is not booked yet, where it is newer than what is shown.
    ///
    /// # Errors
    /// As [`Door::read_batch`].
    pub fn show(&self, body: &[u8], now: UtcMillis) -> Result<(), Refusal> {
        let (Whole { envelope, schema, .. }, batch) = self.decode_batch(body, now, None)?;
        if let Some(hub) = self.state.hub(&envelope.hub) {
            hub.live_mut().glimpse(envelope.schema, &schema, &batch);
        }
        Ok(())
    }

    fn decode_batch(
        &self,
        body: &[u8],
        now: UtcMillis,
        claim: Option<Claim>,
    ) -> Result<(Whole, Batch<Table>), Refusal> {
        let opened = codec::open(body).map_err(|error| refuse_body(&error))?;
        let envelope = opened.envelope.clone();
        let offset_ms = correction::offset_ms(&envelope, claim, now);
        self.is_own(&envelope.hub, &envelope.node)?;
        self.is_hub(&envelope.hub)?;
        let schema = lock(self.intake).schema(envelope.schema).ok_or_else(|| {
            let message = format!("schema {} was never sent here; send it first", envelope.schema);
            Refusal::new(ErrorCode::UnknownSchema, message)
        })?;
        let mut batch =
            opened.read_tables(envelope.schema, &schema).map_err(|error| refuse_body(&error))?;
        correction::shift(&mut batch, offset_ms);
        check_times(&batch, now)?;
        Ok((Whole { envelope, schema, offset_ms }, batch))
    }

    /// Decides about a batch; the sequence of one to be journalled is reserved.
    ///
    /// # Errors
    /// When its sequence is taken by another content, on its way, or too far ahead, or when two
    /// senders are alive.
    pub fn admit_batch(&self, read: ReadBatch, now: UtcMillis) -> Result<Decision<Ack>, Refusal> {
        let ReadBatch { envelope, offset_ms, body, carried, .. } = read;
        let Envelope { hub, node, epoch, sequence, hash, schema, created, .. } = envelope;
        let lane = LaneKey { hub, node, epoch };
        let created = UtcMillis::new(created.get().saturating_add(offset_ms));
        let (admit, credits) = {
            let mut intake = lock(self.intake);
            let is_behind = credits::is_behind(created, now);
            let credits = intake.credits.share(&lane.hub, &lane.node, is_behind, now);
            (intake.admit_made(&lane, (sequence, hash), created, now), credits)
        };
        if let Some(refusal) = refusal_of(admit, &lane, sequence) {
            if matches!(admit, Admit::Fork | Admit::Contested) {
                self.tell_of_fork(&lane, &refusal.message, now);
            }
            return Err(refusal);
        }
        let ack = |verdict| Ack {
            credits: Some(credits),
            utc_ms: Some(now.get().to_string()),
            unverified: admit == Admit::Forgotten,
            ..Ack::new(epoch, sequence, hash, verdict)
        };
        if matches!(admit, Admit::Duplicate | Admit::Forgotten) {
            return Ok(Decision::Answer(ack(AckVerdict::Duplicate)));
        }
        Ok(Decision::Journal {
            frame: match offset_ms {
                0 => Frame::Batch { received: now, body: body.to_vec() },
                _ => Frame::Corrected { received: now, offset_ms, body: body.to_vec() },
            },
            note: Note::Batch { lane, seq: sequence, hash, schema, carried },
            answer: ack(AckVerdict::Accepted),
        })
    }

    /// Answers a hello; what its sender has no more is journalled first.
    ///
    /// # Errors
    /// When it is no hello, or names no hub of this collector.
    pub fn greet(&self, body: &[u8], now: UtcMillis) -> Result<Decision<Welcome>, Refusal> {
        let hello: Hello = serde_json::from_slice(body)
            .map_err(|error| Refusal::new(ErrorCode::InvalidRequest, error.to_string()))?;
        let greeting = hello.read().ok_or_else(|| {
            let message = "a hello names hub, node and epoch, and oldest is not above next";
            Refusal::new(ErrorCode::InvalidRequest, message)
        })?;
        self.is_own(&greeting.hub, &greeting.node)?;
        self.is_hub(&greeting.hub)?;
        let Greeting { hub, node, epoch, span } = greeting;
        let lane = LaneKey { hub, node, epoch };
        let mut intake = lock(self.intake);
        if !intake.has_room(&lane) {
            return Err(overloaded("this hub has too many nodes, or this node too many spools"));
        }
        let floor = span.oldest;
        let before = intake.reached(&lane, BatchSeq::FIRST).contiguous;
        let is_floored = floor.get() > before.saturating_add(1);
        let reached = intake.reached(&lane, if is_floored { floor } else { BatchSeq::FIRST });
        let is_behind = span.next.get() > reached.contiguous.saturating_add(u64::from(CREDITS_MAX));
        let credits = intake.credits.share(&lane.hub, &lane.node, is_behind, now);
        drop(intake);
        let answer = Welcome::new(epoch, reached, now, credits);
        if !is_floored {
            return Ok(Decision::Answer(answer));
        }
        tracing::warn!(hub = %lane.hub, node = %lane.node, %floor, "sequences will never come");
        let note = Note::Floor { lane: lane.clone(), floor };
        Ok(Decision::Journal { frame: Frame::Floor { received: now, lane, floor }, note, answer })
    }

    fn tell_of_fork(&self, lane: &LaneKey, message: &str, now: UtcMillis) {
        if let Some(hub) = self.state.hub(&lane.hub) {
            let kind = EventKind::IdentityForked;
            hub.live_mut().tell(&lane.node, now, kind, message.to_owned());
        }
    }

    /// A node writes for itself. (A schema or batch of another node would be booked as his.)
    ///
    /// # Errors
    /// When the peer is proven to be somebody else.
    pub fn is_own(&self, hub: &HubId, node: &NodeId) -> Result<(), Refusal> {
        if planted!(TrustPayloadNode) {
            return Ok(());
        }
        match self.peer {
            Peer::Claimed => Ok(()),
            Peer::Proven(proven) if proven.name.hub == *hub && proven.name.node == *node => Ok(()),
            Peer::Proven(proven) => {
                let NodeName { hub: own_hub, node: own } = &proven.name;
                let message = format!(
                    "sent as {node} of hub {hub}, by the certificate of {own} of hub {own_hub}"
                );
                Err(Refusal::new(ErrorCode::ForeignIdentity, message))
            }
        }
    }

    fn is_hub(&self, hub: &HubId) -> Result<(), Refusal> {
        if self.state.hub(hub).is_some_and(|hub| hub.is_configured) {
            return Ok(());
        }
        let message = format!("hub {hub} is not one of this collector; check the agent's hub");
        Err(Refusal::new(ErrorCode::UnknownHub, message))
    }
}

fn refusal_of(admit: Admit, lane: &LaneKey, sequence: BatchSeq) -> Option<Refusal> {
    match admit {
        Admit::New | Admit::Duplicate | Admit::Forgotten => None,
        Admit::Fork => {
            tracing::warn!(hub = %lane.hub, node = %lane.node, %sequence, "identity fork");
            Some(Refusal::new(
                ErrorCode::IdentityFork,
                format!(
                    "sequence {sequence} of node {} is known with another content: two senders \
                     use one name, or a spool was restored from a backup",
                    lane.node
                ),
            ))
        }
        Admit::Contested => {
            tracing::warn!(hub = %lane.hub, node = %lane.node, %sequence, "two senders alive");
            Some(Refusal::new(
                ErrorCode::IdentityContested,
                format!(
                    "node {} has begun a newer spool and this one is still alive: two senders use \
                     one name; stop one of them, then start the other one anew",
                    lane.node
                ),
            ))
        }
        Admit::Busy => Some(overloaded("the same sequence is being written now")),
        Admit::Gap { next } => Some(Refusal::new(
            ErrorCode::SequenceGap,
            format!("sequence {sequence} is too far ahead: {next} is awaited"),
        )),
        Admit::TooManyEpochs => Some(overloaded("this node has begun too many spools")),
    }
}

fn check_times(batch: &Batch<Table>, now: UtcMillis) -> Result<(), Refusal> {
    let events = || batch.events.iter().map(|event| event.at);
    let earliest = batch.earliest().into_iter().chain(events()).min();
    let latest = batch.latest().into_iter().chain(events()).max();
    if earliest.is_some_and(|at| at.get() < limits::EARLIEST_UTC_MS) {
        let message = "a reading is from before 2020: the sender's clock was never set";
        return Err(Refusal::new(ErrorCode::FromThePast, message));
    }
    let horizon = now.get().saturating_add(limits::FUTURE_MS_MAX);
    if latest.is_some_and(|at| at.get() > horizon) {
        let message = "a reading is more than 5 minutes in the future: compare the clocks";
        return Err(Refusal::new(ErrorCode::FromTheFuture, message));
    }
    Ok(())
}

/// Nothing was written; the same will be taken later.
pub(super) fn overloaded(what: &str) -> Refusal {
    Refusal::new(ErrorCode::Overloaded, format!("{what}; send again later"))
}

fn refuse_body(error: &bijli_wire::BatchError) -> Refusal {
    Refusal::new(ErrorCode::of_batch(error), error.to_string())
}
