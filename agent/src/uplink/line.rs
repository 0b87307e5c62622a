//! One spool and its uplink, joined: what happened goes in, what is to be sent comes out.
//!
//! Sans I/O but for the spool's disk: [`Line::on_input`] is handed answers and the time, and puts
//! [`Work`] out. `http.rs` performs it on a socket, a simulation in virtual time.
//!
//! # Invariants
//! - Nothing here waits, asks a clock or starts a thread: the same inputs give the same work.
//! - A batch is read from the spool when it is sent and goes out with its request: at most
//!   [`super::IN_FLIGHT_MAX`] bodies are in memory.
//! - An answer counts only if it is a collector's own JSON. Everything else is a lost link.

use std::collections::BTreeSet;

use bijli_seglog::{Disk, RealDisk};
use bijli_wire::{Ack, BatchSeq, ContentHash, ErrorCode, Millis, UtcMillis};

use super::{Attempt, Effect, Event, Fate, Jitter, Uplink};
use crate::clock::Moment;
use crate::draft::Draft;
use crate::schedule::words;
use crate::spool::{Reason, Spool, SpoolError, Stored};

/// What time it is, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Waits and deadlines are counted in it.
    pub moment: Moment,
    /// Labels what is written.
    pub utc: UtcMillis,
}

/// What the other side is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub verb: Verb,
    pub path: String,
    /// The content type of the body.
    pub content: &'static str,
    pub body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Put,
    Post,
}

/// Names a request, so that its answer finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ticket {
    Batch { sequence: BatchSeq, attempt: Attempt, hash: ContentHash },
    Schema { attempt: Attempt },
}

/// What the driver must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Ask {
        ticket: Ticket,
        request: Request,
    },
    /// Drop the connection and every request on it: their answers are not wanted.
    Disconnect,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A 200 with this body.
    Ok(Vec<u8>),
    Refused {
        code: ErrorCode,
        retry_after: Option<Millis>,
        message: String,
    },
}

/// What happened outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The answer to a request, or why there is none.
    Answer { ticket: Ticket, outcome: Result<Answer, String> },
    /// [`Line::wake_at`] has come.
    Tick,
}

/// What happened since the start; for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub stored: u64,
    pub acked: u64,
    pub refused: u64,
    pub resent: u64,
    pub quarantined: u64,
    /// Batches not kept: the spool was full.
    pub full: u64,
    /// How often the full spool was thinned.
    pub thinned: u64,
}

/// One spool and its way to the collector.
pub struct Line<D: Disk = RealDisk> {
    spool: Spool<D>,
    uplink: Uplink,
    /// Sent at least once since the start and not yet acked.
    sent: BTreeSet<BatchSeq>,
    counts: Counts,
    /// Set by an fsync that failed.
    fatal: Option<SpoolError>,
    is_link_down: bool,
}

impl<D: Disk> std::fmt::Debug for Line<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("spool", &self.spool).finish_non_exhaustive()
    }
}

impl<D: Disk> Line<D> {
    /// `seed` spreads the waits of many agents.
    #[must_use]
    pub fn new(spool: Spool<D>, seed: u64) -> Self {
        let jitter = Jitter::new(seed);
        let uplink = Uplink::new(spool.epoch(), spool.lowest(), spool.next(), jitter);
        Self {
            spool,
            uplink,
            sent: BTreeSet::new(),
            counts: Counts::default(),
            fatal: None,
            is_link_down: false,
        }
    }

    /// Puts a batch on disk and lets it go out.
    ///
    /// # Errors
    /// If the disk failed; see [`SpoolError::is_fatal`].
    pub fn store(
        &mut self,
        draft: &Draft,
        now: Now,
        work: &mut Vec<Work>,
    ) -> Result<Stored, SpoolError> {
        let before = self.spool.lowest();
        let outcome = self.spool.store(draft);
        let lowest = self.spool.lowest();
        if lowest > before {
            self.counts.thinned += 1;
            self.sent = self.sent.split_off(&lowest);
            tracing::warn!(
                %lowest,
                "the spool is full: what waits longest is thinned to registers at the edges of \
                 intervals, energy stays exact"
            );
            self.tell(Event::Thinned { lowest }, now, work);
        }
        let stored = outcome?;
        match stored {
            Stored::Durable { through } => {
                self.counts.stored += 1;
                self.tell(Event::Spooled { through }, now, work);
            }
            Stored::Waiting => self.counts.stored += 1,
            Stored::Full => self.counts.full += 1,
        }
        Ok(stored)
    }

    /// Takes what happened; appends to `work` what is to be done now.
    ///
    /// # Errors
    /// If an fsync failed: stop, and start again from what the disk has.
    pub fn on_input(
        &mut self,
        input: Input,
        now: Now,
        work: &mut Vec<Work>,
    ) -> Result<(), SpoolError> {
        let event = match input {
            Input::Answer { ticket, outcome } => event_of(ticket, outcome),
            Input::Tick => Event::Tick,
        };
        if matches!(event, Event::Acked { .. } | Event::SchemaStored { .. }) && self.is_link_down {
            self.is_link_down = false;
            tracing::info!(backlog = self.backlog(), "the collector answers again");
        }
        self.tell(event, now, work);
        self.fatal.take().map_or(Ok(()), Err)
    }

    /// When an [`Input::Tick`] is next of use; `None`: nothing is awaited but answers and batches.
    #[must_use]
    pub fn wake_at(&self, now: Moment) -> Option<Moment> {
        // A backlog of a start is looked at once without anything having happened.
        let is_idle = self.uplink.backlog() > 0 && !self.uplink.is_awaiting();
        self.uplink.wake_at().or_else(|| is_idle.then_some(now))
    }

    /// Batches on disk that no ack covers.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.uplink.backlog()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    #[must_use]
    pub fn spool(&self) -> &Spool<D> {
        &self.spool
    }

    /// The clean end: what waits is made durable, and the release too.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn close(mut self, utc: UtcMillis) -> Result<(), SpoolError> {
        self.spool.commit()?;
        self.spool.persist(utc)
    }

    fn tell(&mut self, event: Event, now: Now, work: &mut Vec<Work>) {
        let mut effects = Vec::new();
        let mut events = vec![event];
        // An effect can answer at once (a batch put aside), and that answer has effects.
        while let Some(event) = events.pop() {
            self.count(&event);
            self.uplink.on_event(event, now.moment, &mut effects);
            for effect in effects.drain(..) {
                events.extend(self.perform(effect, now.utc, work));
            }
        }
    }

    fn count(&mut self, event: &Event) {
        match event {
            Event::Acked { sequence, .. } => {
                self.sent.remove(sequence);
                self.counts.acked += 1;
            }
            Event::Refused { .. } | Event::SchemaRefused { .. } => self.counts.refused += 1,
            Event::PutAside { .. } => self.counts.quarantined += 1,
            Event::LinkLost { .. } => self.is_link_down = true,
            Event::Spooled { .. }
            | Event::Thinned { .. }
            | Event::SchemaStored { .. }
            | Event::NotPutAside { .. }
            | Event::Unreadable { .. }
            | Event::Tick => {}
        }
    }

    fn perform(&mut self, effect: Effect, utc: UtcMillis, work: &mut Vec<Work>) -> Option<Event> {
        match effect {
            Effect::Send { sequence, attempt } => self.send(sequence, attempt, work),
            Effect::PutSchema { sequence, attempt } => self.put_schema(sequence, attempt, work),
            Effect::Release { through } => {
                self.sent = self.sent.split_off(&through.next());
                let outcome = self.spool.release(through, utc);
                outcome.err().and_then(|e| self.failed(e, None))
            }
            Effect::PutAside { sequence, code } => Some(self.put_aside(sequence, code, utc)),
            Effect::Disconnect => {
                work.push(Work::Disconnect);
                None
            }
            Effect::Alarm { sequence, code } => {
                tracing::error!(
                    %sequence, ?code,
                    "the collector does not take this; the spool keeps it until a person looks"
                );
                None
            }
        }
    }

    fn send(
        &mut self,
        sequence: BatchSeq,
        attempt: Attempt,
        work: &mut Vec<Work>,
    ) -> Option<Event> {
        match self.spool.load(sequence) {
            Ok(loaded) => {
                if !self.sent.insert(sequence) {
                    self.counts.resent += 1;
                }
                let ticket = Ticket::Batch { sequence, attempt, hash: loaded.hash };
                let request = Request {
                    verb: Verb::Post,
                    path: "/v1/batches".to_owned(),
                    content: "application/x-bijli-batch",
                    body: loaded.body,
                };
                work.push(Work::Ask { ticket, request });
                None
            }
            Err(e) => self.failed(e, Some((sequence, attempt))),
        }
    }

    fn put_schema(
        &mut self,
        sequence: BatchSeq,
        attempt: Attempt,
        work: &mut Vec<Work>,
    ) -> Option<Event> {
        match self.spool.schema_of(sequence) {
            Ok((id, body)) => {
                let request = Request {
                    verb: Verb::Put,
                    path: format!("/v1/schemas/{id}"),
                    content: "application/x-bijli-schema",
                    body,
                };
                work.push(Work::Ask { ticket: Ticket::Schema { attempt }, request });
                None
            }
            Err(e) => self.failed(e, Some((sequence, attempt))),
        }
    }

    fn put_aside(&mut self, sequence: BatchSeq, code: ErrorCode, utc: UtcMillis) -> Event {
        let name = serde_json::to_string(&code).unwrap_or_default();
        let name = name.trim_matches('"');
        let reason = Reason { code: name, leaves_gap: Fate::of(code) != Fate::Known };
        match self.spool.put_aside(sequence, reason, utc) {
            Ok(()) => {
                tracing::error!(%sequence, code = name, "batch put aside, its place is filled");
                Event::PutAside { sequence }
            }
            Err(e) => {
                tracing::error!(%sequence, "cannot put a batch aside: {}", words(&e));
                if e.is_fatal() {
                    self.fatal = Some(e);
                }
                Event::NotPutAside { sequence }
            }
        }
    }

    /// What a failure of the spool means for the batch that was wanted.
    fn failed(&mut self, e: SpoolError, wanted: Option<(BatchSeq, Attempt)>) -> Option<Event> {
        tracing::error!("{}", words(&e));
        let is_gone =
            matches!(e, SpoolError::Unreadable { .. } | SpoolError::UnreadableSchema { .. });
        if e.is_fatal() {
            self.fatal = Some(e);
        }
        wanted.map(|(sequence, attempt)| {
            // A file that cannot be opened now may be opened later: that costs a pause.
            if is_gone { Event::Unreadable { sequence } } else { Event::LinkLost { attempt } }
        })
    }
}

fn event_of(ticket: Ticket, outcome: Result<Answer, String>) -> Event {
    match ticket {
        Ticket::Batch { sequence, attempt, hash } => {
            batch_event((sequence, attempt, hash), outcome)
        }
        Ticket::Schema { attempt } => schema_event(attempt, outcome),
    }
}

fn batch_event(
    (sequence, attempt, hash): (BatchSeq, Attempt, ContentHash),
    outcome: Result<Answer, String>,
) -> Event {
    match outcome {
        Ok(Answer::Ok(body)) => match serde_json::from_slice::<Ack>(&body) {
            Ok(ack) => Event::Acked { sequence, attempt, hash, ack },
            Err(_) => {
                tracing::warn!("a 200 that is no ack: something stands before the collector");
                Event::LinkLost { attempt }
            }
        },
        Ok(Answer::Refused { code, retry_after, message }) => {
            match Fate::of(code) {
                // The line goes on by itself, and nothing was wrong with it.
                Fate::TeachSchema | Fate::ElderFirst => {
                    tracing::debug!(%sequence, ?code, "not yet: {message}");
                }
                Fate::Later | Fate::Person | Fate::Never | Fate::Known => {
                    tracing::warn!(%sequence, ?code, "refused: {message}");
                }
            }
            Event::Refused { sequence, attempt, code, retry_after }
        }
        Err(reason) => {
            tracing::warn!("{reason}");
            Event::LinkLost { attempt }
        }
    }
}

fn schema_event(attempt: Attempt, outcome: Result<Answer, String>) -> Event {
    match outcome {
        Ok(Answer::Ok(_)) => Event::SchemaStored { attempt },
        Ok(Answer::Refused { code, retry_after, message }) => {
            tracing::warn!(?code, "schema refused: {message}");
            Event::SchemaRefused { attempt, code, retry_after }
        }
        Err(reason) => {
            tracing::warn!("{reason}");
            Event::LinkLost { attempt }
        }
    }
}
