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
use bijli_wire::hello::Span;
use bijli_wire::{
    BatchSeq, ContentHash, ErrorCode, Greeting, Hello, Millis, SpoolEpoch, UtcMillis,
};

use super::answer::event_of;
use super::{Attempt, Effect, Event, Fate, Jitter, Uplink};
use crate::clock::Moment;
use crate::draft::Draft;
use crate::schedule::words;
use crate::spool::{Reason, Spool, SpoolError, Stored};

const BATCH_CONTENT: &str = "application/x-bijli-batch";
/// Agents that start together say their first words within so many milliseconds.
const START_MS_MAX: u64 = 1_000;
/// With fewer batches waiting the newest one comes soon enough by itself.
const LIVE_BACKLOG_MIN: u64 = 8;
/// After trouble nothing is shown for so long.
const LIVE_QUIET: Millis = Millis::new(30_000);

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
    Batch {
        sequence: BatchSeq,
        attempt: Attempt,
        hash: ContentHash,
    },
    Schema {
        attempt: Attempt,
    },
    Hello {
        attempt: Attempt,
        epoch: SpoolEpoch,
    },
    /// The newest batch, shown while elder ones wait.
    Live {
        number: u64,
    },
}

/// Random numbers of this start.
pub struct Chance {
    /// Spreads the waits of many agents.
    pub seed: u64,
    /// Draws an epoch nobody has; asked when one is needed, so that two copies of a running
    /// machine do not draw the same. `None`: not now.
    pub draw: Box<dyn FnMut() -> Option<SpoolEpoch> + Send>,
}

impl std::fmt::Debug for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chance").field("seed", &self.seed).finish_non_exhaustive()
    }
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
    /// The connection was closed while nothing was asked on it.
    Closed,
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
    /// Refused batches of which no copy could be kept for people.
    pub uncopied: u64,
    /// Acked batches that a collector wanted again.
    pub rewound: u64,
    /// New epochs, because this disk was rolled back or there are two of it.
    pub renewed: u64,
    /// Batches not kept: the spool was full.
    pub full: u64,
    /// Batches that are no more, because the full spool was thinned to fewer.
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
    draw: Box<dyn FnMut() -> Option<SpoolEpoch> + Send>,
    live: LiveLane,
}

impl<D: Disk> std::fmt::Debug for Line<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("spool", &self.spool).finish_non_exhaustive()
    }
}

impl<D: Disk> Line<D> {
    #[must_use]
    pub fn new(mut spool: Spool<D>, chance: Chance) -> Self {
        let Chance { seed, draw } = chance;
        let mut jitter = Jitter::new(seed);
        let first_words = Moment::new(jitter.up_to(START_MS_MAX));
        spool.turn_to_first();
        let page = spool.page();
        let mut uplink = Uplink::new(page.epoch, page.lowest, page.next, jitter);
        uplink.turn(page);
        uplink.wait_first(first_words);
        Self {
            spool,
            uplink,
            sent: BTreeSet::new(),
            counts: Counts::default(),
            fatal: None,
            is_link_down: false,
            draw,
            live: LiveLane::default(),
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
            self.counts.thinned += lowest.get() - before.get();
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
                let event = if self.spool.page().is_last {
                    Event::Spooled { through }
                } else {
                    // An elder epoch is sent first.
                    Event::Tick
                };
                self.tell(event, now, work);
                self.show_newest(through, now, work);
            }
            Stored::Waiting => self.counts.stored += 1,
            Stored::Full => {
                self.counts.full += 1;
                // No other batch comes to say so while the spool is full, and so it would stay.
                if let Some(event) = self.untold() {
                    self.tell(event, now, work);
                }
            }
        }
        Ok(stored)
    }

    /// What is durable and the uplink does not know: what waited in memory became so with a gap
    /// record, or when a segment was ended.
    fn untold(&self) -> Option<Event> {
        let page = self.spool.page();
        let through = BatchSeq::new(page.next.get() - 1)?;
        (page.next > self.uplink.end).then_some(Event::Spooled { through })
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
            Input::Answer { ticket: Ticket::Live { .. }, outcome } => {
                self.live.on_answer(&outcome, now.moment);
                return Ok(());
            }
            Input::Answer { ticket, outcome } => event_of(ticket, outcome),
            // Whatever is on its way is lost with it, and says so.
            Input::Closed if self.uplink.is_awaiting() => Event::Tick,
            Input::Closed => {
                self.start_over();
                Event::Closed
            }
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
        let has_words = self.uplink.backlog() > 0 || !self.spool.page().is_last;
        let is_idle = has_words && !self.uplink.is_awaiting();
        self.uplink.wake_at().or_else(|| is_idle.then_some(now))
    }

    /// Batches on disk that no ack covers.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        let page = self.spool.page();
        let waiting = page.next.get().saturating_sub(page.lowest.get());
        let settled = waiting.saturating_sub(self.uplink.backlog());
        self.spool.waiting().saturating_sub(settled)
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
            let is_over = effects.contains(&Effect::Disconnect);
            for effect in effects.drain(..) {
                events.extend(self.perform(effect, now.utc, work));
            }
            if is_over {
                self.start_over();
            } else if self.uplink.is_done() {
                if let Some(event) = self.untold() {
                    events.push(event);
                    continue;
                }
                self.spool.turn();
                self.sent.clear();
                self.uplink.turn(self.spool.page());
                events.push(Event::Tick);
            }
        }
    }

    /// On a new connection the eldest epoch greets first: the collector may have lost it.
    fn start_over(&mut self) {
        self.live.is_under_way = false;
        if !self.spool.page().is_last || self.spool.has_elder() {
            self.spool.turn_to_first();
            self.sent.clear();
            self.uplink.turn(self.spool.page());
        }
    }

    /// Shows the newest batch beside a backlog. It is booked when its turn comes.
    fn show_newest(&mut self, newest: BatchSeq, now: Now, work: &mut Vec<Work>) {
        let is_behind = self.uplink.backlog() > LIVE_BACKLOG_MIN && self.spool.page().is_last;
        if !is_behind || self.uplink.is_paused(now.moment) || !self.live.is_free(now.moment) {
            return;
        }
        let Ok(loaded) = self.spool.peek(newest) else { return };
        self.live.is_under_way = true;
        self.live.number += 1;
        let ticket = Ticket::Live { number: self.live.number };
        let request = Request {
            verb: Verb::Post,
            path: "/v1/live".to_owned(),
            content: BATCH_CONTENT,
            body: loaded.body,
        };
        work.push(Work::Ask { ticket, request });
    }

    fn count(&mut self, event: &Event) {
        match event {
            Event::Acked { sequence, .. } => {
                self.sent.remove(sequence);
                self.counts.acked += 1;
            }
            Event::Refused { .. } | Event::SchemaRefused { .. } | Event::HelloRefused { .. } => {
                self.counts.refused += 1;
            }
            Event::PutAside { .. } => self.counts.quarantined += 1,
            Event::LinkLost { .. } => self.is_link_down = true,
            Event::Spooled { .. }
            | Event::Thinned { .. }
            | Event::Welcomed { .. }
            | Event::Rewound { .. }
            | Event::NotRewound
            | Event::NotRenewed
            | Event::Closed
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
            Effect::SayHello { attempt, next } => self.say_hello((attempt, next), utc, work),
            Effect::Rewind { to } => self.rewind(to),
            Effect::RenewEpoch => self.renew_epoch(),
            Effect::Release { through } => {
                self.sent = self.sent.split_off(&through.next());
                let outcome = self.spool.release(through, utc);
                outcome.err().and_then(|e| self.failed(e, None))
            }
            Effect::PutAside { sequence, code, is_bare } => {
                Some(self.put_aside(sequence, (code, is_bare), utc))
            }
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
                    content: BATCH_CONTENT,
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

    fn say_hello(
        &mut self,
        (attempt, next): (Attempt, BatchSeq),
        utc: UtcMillis,
        work: &mut Vec<Work>,
    ) -> Option<Event> {
        let oldest = match self.spool.oldest() {
            Ok(oldest) => oldest,
            Err(e) => {
                self.failed(e, None);
                return Some(Event::LinkLost { attempt });
            }
        };
        let (owner, epoch) = (self.spool.owner(), self.spool.page().epoch);
        let greeting = Greeting {
            hub: owner.hub.clone(),
            node: owner.node.clone(),
            epoch,
            span: Span { oldest, next },
        };
        let hello = Hello::new(&greeting, utc);
        let request = Request {
            verb: Verb::Post,
            path: "/v1/hello".to_owned(),
            content: "application/json",
            body: serde_json::to_vec(&hello).unwrap_or_default(),
        };
        work.push(Work::Ask { ticket: Ticket::Hello { attempt, epoch }, request });
        None
    }

    fn rewind(&mut self, to: BatchSeq) -> Option<Event> {
        let before = self.spool.page().lowest;
        match self.spool.rewind(to) {
            Ok(lowest) => {
                let count = before.get() - lowest.get();
                self.counts.rewound += count;
                if count > 0 {
                    tracing::warn!(%lowest, count, "the collector lost batches: sending them again");
                }
                Some(Event::Rewound { lowest })
            }
            Err(e) => {
                self.failed(e, None);
                Some(Event::NotRewound)
            }
        }
    }

    fn renew_epoch(&mut self) -> Option<Event> {
        match (self.draw)() {
            Some(epoch) if self.spool.renew_epoch(epoch) => {
                self.counts.renewed += 1;
                tracing::error!(
                    %epoch,
                    "the collector knows more of this spool than we do: its disk was rolled back, \
                     or another agent has a copy of it; new batches go into a new epoch"
                );
                None
            }
            Some(_) | None => Some(Event::NotRenewed),
        }
    }

    fn put_aside(
        &mut self,
        sequence: BatchSeq,
        (code, is_bare): (ErrorCode, bool),
        utc: UtcMillis,
    ) -> Event {
        let name = serde_json::to_string(&code).unwrap_or_default();
        let name = name.trim_matches('"');
        let leaves_gap = Fate::of(code) != Fate::Known;
        let reason = Reason { code: name, leaves_gap, is_bare };
        match self.spool.put_aside(sequence, reason, utc) {
            Ok(is_copied) => {
                self.counts.uncopied += u64::from(!is_copied);
                let code = name;
                tracing::error!(%sequence, code, is_copied, "batch put aside, its place is filled");
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

/// Showing the newest batch while elder ones wait.
#[derive(Clone, Copy, Debug, Default)]
struct LiveLane {
    is_under_way: bool,
    number: u64,
    quiet_until: Moment,
}

impl LiveLane {
    fn is_free(&self, now: Moment) -> bool {
        !self.is_under_way && self.quiet_until <= now
    }

    /// Any trouble: not again for a while.
    fn on_answer(&mut self, outcome: &Result<Answer, String>, now: Moment) {
        self.is_under_way = false;
        if !matches!(outcome, Ok(Answer::Ok(_))) {
            self.quiet_until = now.after(LIVE_QUIET);
        }
    }
}
