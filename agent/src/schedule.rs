//! Runs each probe on a thread of its own, at whole seconds, and judges who answered in time.
//!
//! # Invariants
//! - A probe that hangs blocks its own thread and nothing else. It is waited for, never killed.
//! - An answer counts for the tick it was asked at, if the thread had it within
//!   [`DEADLINE_MS`] of that tick; a late one is dropped.
//! - A process that was stopped (SIGSTOP) finds its ticks gone: nobody is blamed for them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bijli_wire::message::EventKind;
use bijli_wire::{Hold, Millis, UtcMillis};

use crate::batcher::ProbeIndex;
use crate::clock::{Clock, Moment, next_tick};
use crate::probe::{self, Cadence, Description, Happening, Probe, Sample};

/// Ticks fall on whole seconds.
pub const TICK: Millis = Millis::new(1_000);
/// After this much of a tick its row is closed.
pub const DEADLINE_MS: Millis = Millis::new(600);
/// Ticks without an answer that make a probe hung.
pub const MISSED_MAX: u32 = 5;
/// NVML's calls need some stack; sixteen probes still take only 8 MiB of address space.
const STACK_BYTES: usize = 512 << 10;
const RETRY_MS_MIN: u64 = 1_000;
const RETRY_MS_MAX: u64 = 60_000;
/// A probe that keeps failing is asked again what it is: a driver may have been reloaded.
const FAILURES_MAX: u32 = 10;

/// What a probe's thread tells.
#[derive(Debug)]
pub enum Report {
    Described {
        probe: ProbeIndex,
        name: String,
        description: Description,
    },
    /// It cannot be described now, and will be asked again.
    Refused {
        probe: ProbeIndex,
        name: String,
        reason: String,
    },
    Read {
        probe: ProbeIndex,
        tick: UtcMillis,
        took: Millis,
        samples: Vec<Sample>,
        trouble: Option<String>,
    },
    /// What a probe saw happen.
    Happened {
        happened: Vec<Happening>,
    },
    /// Facts about holds, the records that tell them, and what cannot be told.
    Held {
        facts: Vec<Hold>,
        records: Vec<PathBuf>,
        news: Vec<(EventKind, String)>,
    },
    /// Another probe was found; give it a number and a thread.
    Found {
        probe: Box<dyn Found>,
    },
    /// Nothing more will come of it.
    Finished {
        probe: ProbeIndex,
    },
}

/// A found probe on its way; a trait of its own only so that [`Report`] can be printed.
pub trait Found: Send + std::fmt::Debug {
    fn take(self: Box<Self>) -> Box<dyn Probe>;
}

struct Wrapped(Box<dyn Probe>);

impl std::fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}

impl Found for Wrapped {
    fn take(self: Box<Self>) -> Box<dyn Probe> {
        self.0
    }
}

/// Where reports go; false: nobody listens any more.
pub type Tell = Arc<dyn Fn(Report) -> bool + Send + Sync>;

/// What all probe threads share.
#[derive(Clone)]
pub struct Runner {
    pub clock: Clock,
    pub tell: Tell,
    /// Set while there is no room for more of a recorded trace.
    pub is_held: Arc<AtomicBool>,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("clock", &self.clock).finish_non_exhaustive()
    }
}

impl Runner {
    /// Starts a probe's thread; it ends when nobody listens any more.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(&self, index: ProbeIndex, probe: Box<dyn Probe>) -> std::io::Result<()> {
        let runner = self.clone();
        // The kernel shows 15 bytes of a thread's name.
        let name: String = probe.name().chars().take(15).collect();
        thread::Builder::new()
            .name(name)
            .stack_size(STACK_BYTES)
            .spawn(move || drop(Worker { runner, index, probe }.run()))
            .map(drop)
    }
}

struct Worker {
    runner: Runner,
    index: ProbeIndex,
    probe: Box<dyn Probe>,
}

/// Nobody listens any more.
struct Gone;

impl Worker {
    fn run(mut self) -> Result<(), Gone> {
        loop {
            let is_finished = match self.describe()? {
                Some(cadences) => self.read_on(&cadences)?,
                None => true,
            };
            if is_finished {
                return self.tell(Report::Finished { probe: self.index });
            }
        }
    }

    /// Asks until the device answers, with back-off: late start works. `None`: it never will.
    fn describe(&mut self) -> Result<Option<Vec<Cadence>>, Gone> {
        let mut wait_ms = RETRY_MS_MIN;
        loop {
            let outcome = self.probe.describe();
            self.tell_happened()?;
            for found in self.probe.found() {
                self.tell(Report::Found { probe: Box::new(Wrapped(found)) })?;
            }
            let name = self.probe.name().to_owned();
            match outcome {
                Ok(description) => {
                    let cadences = description.cadences();
                    self.tell(Report::Described { probe: self.index, name, description })?;
                    return Ok(Some(cadences));
                }
                Err(e) => {
                    let reason = words(&e);
                    self.tell(Report::Refused { probe: self.index, name, reason })?;
                }
            }
            if self.probe.is_finished() {
                return Ok(None);
            }
            self.runner.clock.sleep(Millis::new(wait_ms));
            wait_ms = (wait_ms * 2).min(RETRY_MS_MAX);
        }
    }

    /// Reads at each tick. True: it has no more to give; false: describe it again.
    fn read_on(&mut self, cadences: &[Cadence]) -> Result<bool, Gone> {
        if cadences.is_empty() {
            // It only finds others; look again once a minute for new ones.
            self.runner.clock.sleep(Millis::new(RETRY_MS_MAX));
            return Ok(false);
        }
        let mut failures = 0;
        while failures < FAILURES_MAX {
            let Some(tick) = self.sleep_until_tick() else { continue };
            let due: Vec<Cadence> =
                cadences.iter().copied().filter(|cadence| self.is_due(*cadence, tick)).collect();
            if due.is_empty() {
                continue;
            }
            let now = probe::Tick { utc: tick, monotonic: self.runner.clock.now() };
            let samples = self.probe.read(&due, now);
            let has_values = samples.iter().any(|one| one.values.iter().any(Option::is_some));
            failures = if has_values { 0 } else { failures + 1 };
            let trouble = self.probe.trouble();
            let took = self.runner.clock.utc().since(tick).unwrap_or(Millis::ZERO);
            let probe = self.index;
            self.tell(Report::Read { probe, tick, took, samples, trouble })?;
            self.tell_happened()?;
            if self.probe.is_finished() {
                return Ok(true);
            }
            // An integrated register that was silent too long begins a new epoch.
            if self.probe.wants_describe() {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// `None`: woke too late for the tick (a starved or stopped process); try the next one.
    fn sleep_until_tick(&self) -> Option<UtcMillis> {
        let clock = &self.runner.clock;
        let now = clock.utc();
        let tick = next_tick(now, TICK);
        clock.sleep(tick.since(now).unwrap_or(TICK));
        let late = clock.utc().since(tick)?;
        (late < DEADLINE_MS).then_some(tick)
    }

    fn is_due(&self, cadence: Cadence, tick: UtcMillis) -> bool {
        match cadence {
            Cadence::Recorded(_) => !self.runner.is_held.load(Ordering::Relaxed),
            Cadence::Hot | Cadence::Warm | Cadence::Cold | Cadence::Every(_) => {
                tick.floor_to(cadence.period()) == tick
            }
        }
    }

    fn tell_happened(&mut self) -> Result<(), Gone> {
        let happened = self.probe.happened();
        if happened.is_empty() { Ok(()) } else { self.tell(Report::Happened { happened }) }
    }

    fn tell(&self, report: Report) -> Result<(), Gone> {
        if (self.runner.tell)(report) { Ok(()) } else { Err(Gone) }
    }
}

/// An error and what it came from, in one line.
pub fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

/// Who answered lately. Pure.
#[derive(Debug, Default)]
pub struct Roll {
    probes: BTreeMap<ProbeIndex, Attendance>,
}

#[derive(Debug)]
struct Attendance {
    name: String,
    /// The shortest period of its series.
    period: Millis,
    missed: u32,
    is_hung: bool,
    answered: Option<UtcMillis>,
    since: Moment,
}

/// A change that people should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Hung { probe: String },
    Recovered { probe: String },
}

impl Roll {
    /// Expects answers of a probe from now on.
    pub fn enter(&mut self, probe: ProbeIndex, name: &str, period: Millis, now: Moment) {
        let entry = self.probes.entry(probe).or_insert_with(|| Attendance {
            name: name.to_owned(),
            period,
            missed: 0,
            is_hung: false,
            answered: None,
            since: now,
        });
        entry.period = period;
    }

    pub fn leave(&mut self, probe: ProbeIndex) {
        self.probes.remove(&probe);
    }

    /// Forgets which ticks were answered: the wall clock was set, and they come again.
    pub fn forget(&mut self) {
        for entry in self.probes.values_mut() {
            entry.answered = None;
        }
    }

    /// Takes an answer; false: too late, drop it.
    pub fn answer(&mut self, probe: ProbeIndex, tick: UtcMillis, took: Millis) -> bool {
        let Some(entry) = self.probes.get_mut(&probe) else { return false };
        if took > DEADLINE_MS {
            return false;
        }
        entry.answered = Some(entry.answered.map_or(tick, |before| before.max(tick)));
        true
    }

    /// Closes a tick: whoever was due and did not answer has missed one.
    pub fn close(&mut self, tick: UtcMillis, now: Moment) -> Vec<Change> {
        let mut changes = Vec::new();
        for entry in self.probes.values_mut() {
            let is_new = now.since(entry.since) < TICK;
            if tick.floor_to(entry.period) != tick || is_new {
                continue;
            }
            if entry.answered.is_some_and(|answered| answered >= tick) {
                entry.missed = 0;
                if std::mem::take(&mut entry.is_hung) {
                    changes.push(Change::Recovered { probe: entry.name.clone() });
                }
            } else {
                entry.missed = entry.missed.saturating_add(1);
                if entry.missed == MISSED_MAX {
                    entry.is_hung = true;
                    changes.push(Change::Hung { probe: entry.name.clone() });
                }
            }
        }
        changes
    }

    /// Probes whose answer for this tick is not in.
    pub fn absent(&self, tick: UtcMillis) -> impl Iterator<Item = &str> {
        let is_absent = move |entry: &&Attendance| {
            tick.floor_to(entry.period) == tick
                && entry.answered.is_none_or(|answered| answered < tick)
        };
        self.probes.values().filter(is_absent).map(|entry| entry.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::probe::{Offer, ProbeError};

    fn at(second: i64) -> UtcMillis {
        UtcMillis::new(second * 1_000)
    }

    const SOON: Millis = Millis::new(5);

    #[test]
    fn a11_five_missed_ticks_are_a_hang_and_one_answer_is_recovery() {
        let mut roll = Roll::default();
        roll.enter(0, "nvml:0", TICK, Moment::new(0));
        let later = Moment::new(100_000);
        assert!(roll.answer(0, at(1), SOON));
        assert_eq!(roll.close(at(1), later), []);
        for second in 2..6 {
            assert_eq!(roll.close(at(second), later), []);
        }
        let hung = Change::Hung { probe: "nvml:0".to_owned() };
        assert_eq!(roll.close(at(6), later), [hung]);
        assert_eq!(roll.close(at(7), later), []);
        assert_eq!(roll.absent(at(7)).collect::<Vec<_>>(), ["nvml:0"]);
        assert!(!roll.answer(0, at(2), Millis::new(6_000)), "a late answer is dropped");
        assert!(roll.answer(0, at(8), SOON));
        let recovered = Change::Recovered { probe: "nvml:0".to_owned() };
        assert_eq!(roll.close(at(8), later), [recovered]);
    }

    /// Goal: a clock set back by an hour hides no hung probe for that hour.
    #[test]
    fn k2_after_the_clock_was_set_back_a_probe_must_answer_again() {
        let mut roll = Roll::default();
        roll.enter(0, "nvml:0", TICK, Moment::new(0));
        let later = Moment::new(100_000);
        assert!(roll.answer(0, at(3_600), SOON));
        assert_eq!(roll.close(at(3_600), later), []);
        roll.forget();
        let closed = (1..=5).map(|second| roll.close(at(second), later).len());
        assert_eq!(closed.collect::<Vec<_>>(), [0, 0, 0, 0, 1], "it hangs, and is found out");
        assert!(roll.answer(0, at(6), SOON));
        assert_eq!(roll.close(at(6), later).len(), 1);
    }

    #[test]
    fn a_probe_is_expected_only_when_it_is_due() {
        let mut roll = Roll::default();
        roll.enter(0, "meter", Millis::new(10_000), Moment::new(0));
        for second in 1..=49 {
            assert_eq!(roll.close(at(second), Moment::new(100_000)), []);
        }
        assert_eq!(roll.close(at(50), Moment::new(100_000)).len(), 1);
    }

    /// Blocks for ever in its read when told so.
    #[derive(Debug)]
    struct Stub {
        name: &'static str,
        hangs: bool,
        refusals: u32,
    }

    impl Probe for Stub {
        fn name(&self) -> &str {
            self.name
        }

        fn describe(&mut self) -> Result<Description, ProbeError> {
            if self.refusals > 0 {
                self.refusals -= 1;
                return Err(ProbeError::List { reason: "not yet".to_owned() });
            }
            let offer = Offer {
                cadence: Cadence::Hot,
                subject: 0,
                quantity: bijli_wire::Quantity::PowerAverage,
                part: 0,
            };
            Ok(Description { series: vec![offer], ..Description::default() })
        }

        fn read(&mut self, due: &[Cadence], _: probe::Tick) -> Vec<Sample> {
            if self.hangs {
                loop {
                    thread::park();
                }
            }
            let one =
                |cadence: &Cadence| Sample { cadence: *cadence, at: None, values: vec![Some(1)] };
            due.iter().map(one).collect()
        }
    }

    /// Goal: a hung probe and one that starts late leave the third alone.
    #[test]
    fn threads_are_alone_and_read_at_whole_seconds() {
        let (sender, reports) = mpsc::channel();
        let sender = std::sync::Mutex::new(sender);
        let tell: Tell = Arc::new(move |report| sender.lock().unwrap().send(report).is_ok());
        let runner = Runner { clock: Clock::new(), tell, is_held: Arc::default() };
        let stubs = [("hangs", true, 0), ("late", false, 1), ("good", false, 0)];
        for (index, (name, hangs, refusals)) in stubs.into_iter().enumerate() {
            runner.start(index, Box::new(Stub { name, hangs, refusals })).unwrap();
        }
        let (mut reads, mut refused) = ([0; 3], 0);
        while reads[2] < 3 || reads[1] < 1 {
            match reports.recv_timeout(std::time::Duration::from_secs(20)).unwrap() {
                Report::Read { probe, tick, samples, .. } => {
                    assert_eq!(tick.floor_to(TICK), tick);
                    assert_eq!(samples.len(), 1);
                    reads[probe] += 1;
                }
                Report::Refused { probe, .. } => {
                    assert_eq!(probe, 1);
                    refused += 1;
                }
                Report::Described { .. }
                | Report::Happened { .. }
                | Report::Held { .. }
                | Report::Found { .. }
                | Report::Finished { .. } => {}
            }
        }
        assert_eq!((reads[0], refused), (0, 1));
    }
}
