//! The driver: introduces probes, batcher, spool and uplink to each other and keeps time.
//!
//! One thread runs everything but the probes. What it waits for is in one `select!`; what it does
//! with each is in one function.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bijli_identity::{IdentityError, NodeName};
use bijli_seglog::RealDisk;
use bijli_wire::batch::Event;
use bijli_wire::message::EventKind;
use bijli_wire::{Hold, Millis, SpoolEpoch, UtcMillis};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::batcher::{Batcher, Origin, ProbeIndex};
use crate::clock::{Clock, Moment, next_tick};
use crate::config::Config;
use crate::draft::Draft;
use crate::health::{Gauges, Health, Outcome};
use crate::holders::{self, Filing, Holders};
use crate::pause::{self, Pause};
use crate::probe::{self, Cadence, Description, Happening, Probe, Sample};
use crate::schedule::{Change, DEADLINE_MS, Report, Roll, Runner, TICK, Tell, words};
use crate::spool::{Fresh, Limits, Owner, Spool, SpoolError, Stored};
use crate::uplink::connect::Route;
use crate::uplink::http::{Courier, until};
use crate::uplink::line::{Chance, Line};
use crate::xids::Xids;

/// Answers that were in time may still be on their way through the channel.
const GRACE: Millis = Millis::new(100);
/// Woken this late, the process was stopped: nobody is blamed for the tick.
const STOPPED: Millis = Millis::new(2_000);
/// A wall clock that moved so far against the uptime was set. Slewing is a thousand times less.
const SET_MS: u64 = 500;
/// Reports that may wait for the driver; probe threads then wait too.
const REPORTS_MAX: usize = 256;
/// A recorded trace is read on while fewer batches than this wait.
const RECORDED_BACKLOG_MAX: u64 = 64;
const FULL_TOLD_EVERY: Millis = Millis::new(3_600_000);

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("no random numbers: {reason}")]
    Random { reason: String },
    #[error("this node's certificate cannot be used")]
    Identity { source: Box<IdentityError> },
    #[error("cannot open the spool")]
    OpenSpool { source: SpoolError },
    #[error("the spool failed; starting again will recover what the disk has")]
    Spool { source: SpoolError },
    #[error("cannot wait for signals")]
    Signal { source: std::io::Error },
    #[error("cannot start a thread for {probe}")]
    Thread { probe: String, source: std::io::Error },
}

/// Program and version, as schemas name them.
pub const AGENT: &str = concat!("bijli-agent ", env!("CARGO_PKG_VERSION"));

/// Where a line keeps its batches and sends them.
#[derive(Clone, Debug)]
pub struct LineConfig<'a> {
    pub dir: &'a Path,
    pub limits: Limits,
    pub route: Route,
    pub owner: Owner,
}

/// Runs a future on this thread: the only runtime of the program, and it has no other threads.
///
/// # Errors
/// If the system gives no event queue.
pub fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(future))
}

/// The way to the collector, as this node.
///
/// # Errors
/// If the certificate files cannot be used, or are another node's.
pub fn route(config: &Config, clock: Clock) -> Result<Route, AgentError> {
    let Some(files) = config.tls.clone() else {
        return Ok(Route::plain(config.collector.clone()));
    };
    let me = NodeName { hub: config.hub.clone(), node: config.node.clone() };
    Route::tls(config.collector.clone(), files, me, clock)
        .map_err(|source| AgentError::Identity { source: Box::new(source) })
}

/// Opens a spool and makes the line that empties it.
///
/// # Errors
/// If another agent has the spool, or the disk fails.
pub fn open_line(config: LineConfig<'_>, clock: Clock) -> Result<Courier, AgentError> {
    let random = |bytes: &mut [u8]| {
        getrandom::fill(bytes).map_err(|e| AgentError::Random { reason: e.to_string() })
    };
    let (mut epoch, mut salt, mut seed) = ([0; 16], [0; 8], [0; 8]);
    random(&mut epoch)?;
    random(&mut salt)?;
    random(&mut seed)?;
    let fresh = Fresh { epoch: SpoolEpoch::new(epoch), salt: u64::from_le_bytes(salt) };
    let (spool, opened) = Spool::open(RealDisk, config.dir, config.limits, config.owner, fresh)
        .map_err(|source| AgentError::OpenSpool { source })?;
    if !opened.recovery.is_clean() {
        tracing::error!(
            dir = %config.dir.display(),
            damaged = opened.recovery.quarantined.len(),
            missing = opened.recovery.missing.len(),
            "the spool was damaged; what is lost is filled by gap records, registers carry the \
             energy on"
        );
    }
    if opened.recovery.torn_bytes > 0 {
        tracing::warn!(bytes = opened.recovery.torn_bytes, "cut a torn tail, nothing acked in it");
    }
    tracing::info!(
        epoch = %spool.epoch(),
        is_new = opened.is_new_epoch,
        next = %spool.next(),
        waiting = spool.next().get() - spool.lowest().get(),
        "spool {} open", config.dir.display()
    );
    let draw = || {
        let mut epoch = [0; 16];
        getrandom::fill(&mut epoch).ok().map(|()| SpoolEpoch::new(epoch))
    };
    let chance = Chance { seed: u64::from_le_bytes(seed), draw: Box::new(draw) };
    let line = Line::new(spool, chance);
    Ok(Courier::new(line, config.route, clock))
}

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// If the spool cannot be opened or its disk fails.
pub async fn run(config: Config) -> Result<(), AgentError> {
    let waited = |source| AgentError::Signal { source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(waited)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(waited)?;
    let (sender, mut reports) = mpsc::channel(REPORTS_MAX);
    let mut agent =
        Agent::new(&config, Arc::new(move |report| sender.blocking_send(report).is_ok()))?;
    if let Some(listen) = config.listen
        && let Err(e) = agent.health.clone().serve(listen).await
    {
        // Metering goes on: the metrics are about it, not part of it.
        tracing::error!("no metrics on {listen}: {e}");
    }
    let mut tick = next_tick(agent.clock.utc(), TICK);
    loop {
        if tick.since(agent.clock.utc()).is_some_and(|ahead| ahead > TICK) {
            agent.set_back()?;
            tick = next_tick(agent.clock.utc(), TICK);
        }
        let close_at = tick.plus(DEADLINE_MS).and_then(|at| at.plus(GRACE)).unwrap_or(tick);
        tokio::select! {
            biased;
            () = signalled(&mut interrupt, &mut terminate) => break,
            Some(report) = reports.recv() => agent.on_report(report)?,
            () = until(agent.clock, close_at) => {
                while let Ok(report) = reports.try_recv() {
                    agent.on_report(report)?;
                }
                agent.close(tick)?;
                tick = next_tick(agent.clock.utc(), TICK);
            }
            outcome = agent.line.step() => outcome.map_err(|source| AgentError::Spool { source })?,
        }
    }
    agent.stop()
}

async fn signalled(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

struct Agent {
    clock: Clock,
    batch: Millis,
    batcher: Batcher,
    roll: Roll,
    line: Courier,
    health: Health,
    runner: Runner,
    names: BTreeMap<ProbeIndex, String>,
    /// The last words of each probe that failed.
    troubles: BTreeMap<ProbeIndex, String>,
    probes_started: usize,
    /// The wall clock at uptime 0, as of the last batch.
    zero_ms: i64,
    /// The last tick whose row is closed.
    closed: Option<UtcMillis>,
    full: Option<Full>,
    xids: Xids,
    pause: Arc<Pause>,
    farewells: Arc<probe::Farewells>,
    spool_dir: PathBuf,
    filing: Filing,
}

/// Since when batches are not kept, and how many.
#[derive(Clone, Copy, Debug)]
struct Full {
    since: UtcMillis,
    batches: u64,
    told: Moment,
}

impl Agent {
    fn new(config: &Config, tell: Tell) -> Result<Self, AgentError> {
        let clock = Clock::new();
        let context = context(config)?;
        let owner =
            Owner { hub: config.hub.clone(), node: config.node.clone(), agent: AGENT.to_owned() };
        let line = LineConfig {
            dir: &config.spool_dir,
            limits: config.limits,
            route: route(config, clock)?,
            owner,
        };
        let line = open_line(line, clock)?;
        let holders = Holders::new(&config.slurm, &context, clock, Arc::clone(&tell));
        let origin =
            Origin { hub: config.hub.clone(), node: config.node.clone(), agent: AGENT.to_owned() };
        let mut agent = Self {
            clock,
            batch: config.batch,
            batcher: Batcher::new(origin),
            roll: Roll::default(),
            line,
            health: Health::new(config.hub.as_str(), config.node.as_str()),
            runner: Runner { clock, tell, is_held: Arc::new(AtomicBool::new(false)) },
            names: BTreeMap::new(),
            troubles: BTreeMap::new(),
            probes_started: 0,
            zero_ms: zero_ms(clock),
            closed: None,
            full: None,
            xids: Xids::default(),
            pause: Arc::clone(&context.pause),
            farewells: Arc::clone(&context.farewells),
            spool_dir: config.spool_dir.clone(),
            filing: Filing::new(holders.desk()),
        };
        agent.batcher.event(clock.utc(), EventKind::AgentStarted, AGENT.to_owned());
        // Before any probe: a pause outlives a restart.
        agent.follow_pause(clock.utc());
        for probe in probe::build(&config.probes, &context) {
            agent.start(probe)?;
        }
        let thread = |source| AgentError::Thread { probe: "holders".to_owned(), source };
        if config.slurm.enabled {
            holders.start().map_err(thread)?;
        }
        let tell = &agent.runner.tell;
        holders::watch(&config.watch, &config.slurm, &context, clock, tell).map_err(thread)?;
        Ok(agent)
    }

    fn start(&mut self, probe: Box<dyn Probe>) -> Result<(), AgentError> {
        let (index, name) = (self.probes_started, probe.name().to_owned());
        self.probes_started += 1;
        tracing::info!("probe {name}");
        self.names.insert(index, name.clone());
        self.runner.start(index, probe).map_err(|source| AgentError::Thread { probe: name, source })
    }

    fn on_report(&mut self, report: Report) -> Result<(), AgentError> {
        match report {
            Report::Described { probe, name, description } => {
                self.described(probe, name, description)
            }
            Report::Refused { probe, name, reason } => {
                self.names.insert(probe, name);
                self.in_trouble(probe, Some(reason));
                Ok(())
            }
            Report::Read { probe, tick, took, samples, trouble } => {
                self.in_trouble(probe, trouble);
                self.read(probe, (tick, took), &samples)
            }
            Report::Happened { happened } => {
                happened.into_iter().for_each(|one| self.happened(one));
                Ok(())
            }
            Report::Held { facts, records, news } => self.held(&facts, records, news),
            Report::Found { probe } => self.start(probe.take()),
            Report::Finished { probe } => {
                if let Some(name) = self.names.get(&probe) {
                    tracing::info!("probe {name} has no more to give");
                }
                self.roll.leave(probe);
                self.in_trouble(probe, None);
                match self.batcher.leave(probe, self.clock.utc()) {
                    Some(before) => self.store(before),
                    None => Ok(()),
                }
            }
        }
    }

    fn held(
        &mut self,
        facts: &[Hold],
        records: Vec<PathBuf>,
        news: Vec<(EventKind, String)>,
    ) -> Result<(), AgentError> {
        for (kind, words) in news {
            tracing::warn!("{words}");
            self.batcher.event(self.clock.utc(), kind, words);
        }
        if !self.batcher.holds(facts) {
            self.flush()?;
            if !self.batcher.holds(facts) {
                self.filing.refused(&records);
                return Ok(());
            }
        }
        self.filing.gather(records);
        Ok(())
    }

    fn described(
        &mut self,
        probe: ProbeIndex,
        name: String,
        description: Description,
    ) -> Result<(), AgentError> {
        self.in_trouble(probe, None);
        let periods = description.cadences().into_iter().filter_map(|cadence| match cadence {
            Cadence::Recorded(_) => None,
            Cadence::Hot | Cadence::Warm | Cadence::Cold | Cadence::Every(_) => {
                Some(cadence.period())
            }
        });
        if let Some(period) = periods.min() {
            self.roll.enter(probe, &name, period, self.clock.now());
        }
        match self.batcher.describe(probe, description, self.clock.utc()) {
            Ok(Some(before)) => self.store(before)?,
            Ok(None) => {}
            Err(e) => {
                tracing::error!("probe {name} is left out: {}", words(&e));
                self.in_trouble(probe, Some(words(&e)));
            }
        }
        self.names.insert(probe, name);
        Ok(())
    }

    fn read(
        &mut self,
        probe: ProbeIndex,
        (tick, took): (UtcMillis, Millis),
        samples: &[Sample],
    ) -> Result<(), AgentError> {
        let is_recorded = samples.iter().any(|sample| sample.at.is_some());
        let is_closed = self.closed.is_some_and(|closed| tick <= closed);
        let is_in_time = self.roll.answer(probe, tick, took) && !is_closed;
        if !is_in_time && !is_recorded {
            return Ok(());
        }
        let has_gaps = samples.iter().any(|sample| sample.values.iter().any(Option::is_none));
        if let Some(name) = self.names.get(&probe) {
            let outcome = if has_gaps { Outcome::Error } else { Outcome::Ok };
            self.health.sample(name, outcome, Some(took));
        }
        for sample in samples {
            self.batcher.sample(probe, tick, sample);
            if self.batcher.is_full() {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Ends a tick: whoever has not answered has missed it.
    fn close(&mut self, tick: UtcMillis) -> Result<(), AgentError> {
        self.follow_clock()?;
        let now = self.clock.utc();
        let Some(late) = now.since(tick) else { return self.set_back() };
        let was_stopped = late > STOPPED;
        if !was_stopped {
            for name in self.roll.absent(tick) {
                self.health.sample(name, Outcome::Skipped, None);
            }
            self.batcher.begin(tick);
            for change in self.roll.close(tick, self.clock.now()) {
                self.on_change(tick, change);
            }
        }
        self.closed = Some(tick);
        for (one, count) in self.xids.due(self.clock.now()) {
            self.tell(one, count);
        }
        self.follow_pause(now);
        if tick.floor_to(self.batch) == tick || was_stopped {
            self.flush()?;
        }
        self.show(now);
        Ok(())
    }

    /// The wall clock was set back: ticks that are to come were closed already, and answers were
    /// given to them. All of that is forgotten, or nothing would be read until they come.
    fn set_back(&mut self) -> Result<(), AgentError> {
        self.follow_clock()?;
        self.closed = None;
        self.roll.forget();
        self.flush()
    }

    /// A batch has one clock: rows from before the wall clock was set go out as of that clock.
    fn follow_clock(&mut self) -> Result<(), AgentError> {
        let zero_ms = zero_ms(self.clock);
        let moved_ms = zero_ms.saturating_sub(self.zero_ms);
        if moved_ms.unsigned_abs() <= SET_MS {
            return Ok(());
        }
        tracing::warn!(moved_ms, "the wall clock was set");
        let uptime = i64::try_from(self.clock.uptime().get()).unwrap_or(i64::MAX);
        self.flush_as_of(UtcMillis::new(self.zero_ms.saturating_add(uptime)))?;
        self.zero_ms = zero_ms;
        Ok(())
    }

    fn on_change(&mut self, at: UtcMillis, change: Change) {
        match change {
            Change::Hung { probe } => {
                tracing::error!("probe {probe} does not answer; its values are missing");
                self.batcher.event(at, EventKind::ProbeHung, probe);
            }
            Change::Recovered { probe } => {
                tracing::warn!("probe {probe} answers again");
                self.batcher.event(at, EventKind::ProbeRecovered, probe);
            }
        }
    }

    /// Notes what a probe complains of, once per change.
    fn in_trouble(&mut self, probe: ProbeIndex, trouble: Option<String>) {
        let name = self.names.get(&probe).cloned().unwrap_or_default();
        let before = self.troubles.get(&probe);
        if before == trouble.as_ref() {
            return;
        }
        match trouble {
            Some(words) => {
                tracing::warn!("probe {name}: {words}");
                let text = format!("{name}: {words}");
                self.batcher.event(self.clock.utc(), EventKind::ProbeFailed, text);
                self.troubles.insert(probe, words);
            }
            None => {
                tracing::info!("probe {name} reads all it offers");
                self.batcher.event(self.clock.utc(), EventKind::ProbeRecovered, name);
                self.troubles.remove(&probe);
            }
        }
    }

    fn happened(&mut self, one: Happening) {
        if one.kind != EventKind::GpuXid {
            return self.tell(one, 1);
        }
        if let Some(first) = self.xids.hear(one, self.clock.now()) {
            self.tell(first, 1);
        }
    }

    fn tell(&mut self, one: Happening, count: u32) {
        let Happening { subject, kind, code, text, .. } = one;
        let of = subject.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(code, count, "{kind:?} {of}: {text}");
        let event = Event { at: self.clock.utc(), subject: None, kind, text, code, count };
        self.batcher.event_of(subject, event);
    }

    /// Lets go of the GPUs if somebody asks for it, and takes them again.
    fn follow_pause(&mut self, now: UtcMillis) {
        match self.pause.follow(&self.spool_dir, now) {
            Some(pause::Change::Begun { until }) => {
                tracing::warn!("paused: the GPUs are let go of until {until}");
                let text = format!("the GPUs are let go of until {until}, as asked");
                self.batcher.event(now, EventKind::ProbePaused, text);
            }
            Some(pause::Change::Ended) => tracing::warn!("the pause is over"),
            None => {}
        }
    }

    fn flush(&mut self) -> Result<(), AgentError> {
        self.zero_ms = zero_ms(self.clock);
        self.flush_as_of(self.clock.utc())
    }

    fn flush_as_of(&mut self, created: UtcMillis) -> Result<(), AgentError> {
        if let Some(draft) = self.batcher.take(created) {
            self.store(draft)?;
        }
        let is_held = self.line.backlog() >= RECORDED_BACKLOG_MAX;
        self.runner.is_held.store(is_held, Ordering::Relaxed);
        Ok(())
    }

    fn store(&mut self, draft: Draft) -> Result<(), AgentError> {
        let draft = Draft { uptime: self.line.uptime(), ..draft };
        let batch = (self.line.spool().epoch(), self.line.spool().next());
        let stored = self.line.store(&draft);
        self.filing.follow(batch, stored.as_ref().ok(), self.line.spool().epoch());
        match stored {
            Ok(Stored::Durable { .. }) => self.has_room(),
            Ok(Stored::Waiting) => tracing::warn!("the disk is full: a batch waits in memory"),
            Ok(Stored::Full) => self.is_full(),
            Err(source) if source.is_fatal() => return Err(AgentError::Spool { source }),
            // Not the disk's fault: these readings cannot be said in the wire's format.
            Err(e) => tracing::error!("a batch is lost: {}", words(&e)),
        }
        Ok(())
    }

    /// The spool has no room: sampling goes on, and registers carry the energy across.
    fn is_full(&mut self) {
        let (now, utc) = (self.clock.now(), self.clock.utc());
        let is_first = self.full.is_none();
        let full = self.full.get_or_insert(Full { since: utc, batches: 0, told: now });
        full.batches += 1;
        if is_first || now.since(full.told) >= FULL_TOLD_EVERY {
            full.told = now;
            tracing::error!(
                batches = full.batches,
                "the spool is full and nothing in it is acked: readings are not kept; energy \
                 since then will be bridged by the registers"
            );
        }
    }

    fn has_room(&mut self) {
        if let Some(full) = self.full.take() {
            let text = format!("spool full: {} batches not kept, energy bridged", full.batches);
            tracing::warn!("{text}");
            self.batcher.event(full.since, EventKind::ProbeFailed, text);
        }
    }

    fn show(&self, now: UtcMillis) {
        let spool = self.line.spool();
        let gauges = Gauges {
            spool_bytes: spool.bytes(),
            spool_waiting_bytes: spool.waiting_bytes(),
            spool_bytes_max: spool.bytes_max(),
            oldest_ms: spool.oldest_waiting().unwrap_or(now).get(),
            backlog: self.line.backlog(),
            certificate_left_s: self.line.route().certificate_left_s(now),
        };
        self.health.set(gauges, self.line.counts());
    }

    /// The clean end: what was read is on disk.
    fn stop(mut self) -> Result<(), AgentError> {
        for (one, count) in self.xids.rest() {
            self.tell(one, count);
        }
        self.flush()?;
        let waiting = self.line.backlog();
        self.line.close().map_err(|source| AgentError::Spool { source })?;
        self.farewells.say();
        tracing::info!(waiting, "stopped; what waits is on disk");
        Ok(())
    }
}

/// The wall clock at uptime 0, in milliseconds since 1970 UTC.
fn zero_ms(clock: Clock) -> i64 {
    let uptime = i64::try_from(clock.uptime().get()).unwrap_or(i64::MAX);
    clock.utc().get().saturating_sub(uptime)
}

/// What the probes share.
///
/// # Errors
/// If the system gives no random numbers.
pub fn context(config: &Config) -> Result<probe::Context, AgentError> {
    let mut start = [0; 8];
    getrandom::fill(&mut start).map_err(|e| AgentError::Random { reason: e.to_string() })?;
    let start = u64::from_le_bytes(start);
    let context = probe::Context::new(config.node.clone(), start, probe::boot_id());
    Ok(probe::Context { state_dir: Some(config.spool_dir.clone()), ..context })
}
