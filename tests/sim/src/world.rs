//! Plays one history: events in virtual time, faults among them, until everything has drained.

mod end;
mod losses;
mod traffic;
mod weather;

use std::collections::{BTreeMap, BTreeSet};

use bijli_agent::uplink::AHEAD_MAX;
use bijli_agent::uplink::line::{Answer, Input, Request, Ticket, Work};
use bijli_collector::health::Health;
use bijli_collector::ingest::correction::Claim;
use bijli_seglog::{Loss, Quarantine, Recovery};

use crate::dice::Dice;
use crate::fault::Tally;
use crate::history::{History, Note};
use crate::hub::{Call, Collector, Reaction, Started, Token};
use crate::node::{Done, Node};
use crate::oracle::{Oracle, Violation};
use crate::plan::{Plan, Sensors};

/// Frames that come within it share a commit.
const GROUP_WAIT_MS: u64 = 2;
const SLOW_COMMIT_MS: u64 = 5_000;
/// A collector without frames writes the time so often.
const BEAT_MS: u64 = 30_000;
/// When faults are over, everything has drained after this long.
const DRAIN_MS: u64 = 8 * 3_600_000;
/// The last readings are taken so long after the faults: beyond any step of a clock.
const LAST_WORDS_MS: u64 = 600_000;
/// No history has more steps; one that does goes in circles.
const STEPS_MAX: u64 = 400_000;
/// No gap record of ours takes more.
const GAP_BYTES_MAX: u64 = 350;
/// What would be there after a cut is looked at so often.
const LOOK_EVERY: u64 = 300;

#[derive(Debug)]
enum Happening {
    Sample(usize),
    Wake(usize),
    Start(usize),
    Arrive(Sent),
    Answer(Sent, Result<Answer, String>),
    Commit,
    Beat,
    StartCollector,
    Room(Option<usize>),
    /// A clock that was wrong since its machine booted is set.
    ClockSet(usize),
    Calm,
}

/// A request and where its answer goes.
#[derive(Clone, Debug)]
struct Sent {
    node: usize,
    life: u64,
    connection: u64,
    at: u64,
    ticket: Ticket,
    request: Request,
    claim: Option<Claim>,
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    dice: Dice,
    now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    serial: u64,
    nodes: Vec<Node>,
    collector: Collector,
    oracle: Oracle,
    pub tally: Tally,
    pub history: History,
    /// Requests that wait for the group commit.
    waiting: BTreeMap<Token, Sent>,
    answered: BTreeSet<(usize, u64, Ticket)>,
    /// To which life of the collector each connection leads: of a node, in one of its lives.
    connections: BTreeMap<(usize, u64, u64), u64>,
    is_commit_due: bool,
    slow_until: u64,
    is_calm: bool,
    /// Readings that were taken because the last ones went aside.
    read_again: u64,
    steps: u64,
}

impl World {
    #[must_use]
    pub fn new(seed: u64, health: Health) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        let collector = Collector::new(&plan, health, &mut dice);
        let hub = collector.id.clone();
        let nodes = (0..plan.nodes).map(|index| Node::new(index, &hub, &plan, &mut dice));
        let nodes = nodes.collect();
        Self {
            nodes,
            collector,
            dice,
            now: 0,
            queue: BTreeMap::new(),
            serial: 0,
            oracle: Oracle::default(),
            tally: Tally::default(),
            history: History::default(),
            waiting: BTreeMap::new(),
            answered: BTreeSet::new(),
            connections: BTreeMap::new(),
            is_commit_due: false,
            slow_until: 0,
            is_calm: false,
            read_again: 0,
            steps: 0,
            plan,
        }
    }

    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    #[must_use]
    pub fn batches_booked(&self) -> usize {
        self.oracle.batches_booked()
    }

    /// Plays it to its end.
    ///
    /// # Errors
    /// Names the promise that is broken.
    pub fn play(&mut self) -> Result<(), Violation> {
        self.at(0, Happening::StartCollector);
        for node in 0..self.nodes.len() {
            let late = self.dice.between(0, self.plan.step_ms);
            self.at(late, Happening::Start(node));
            self.at(late, Happening::Sample(node));
        }
        self.at(BEAT_MS.max(self.plan.step_ms), Happening::Beat);
        let length = self.plan.step_ms * self.plan.rows * self.plan.batches;
        self.at(length, Happening::Calm);
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            self.now = self.now.max(at);
            self.steps += 1;
            self.happen(happening)?;
            if self.steps.is_multiple_of(LOOK_EVERY) {
                self.look()?;
            }
            if self.steps > STEPS_MAX {
                return Err(Violation::new("drains", "it goes in circles"));
            }
            if self.is_calm && self.has_drained() && !self.reads_again() {
                break;
            }
            if self.is_calm && self.now > length + DRAIN_MS + 3 * 86_400_000 {
                return Err(Violation::new("drains", self.backlogs()));
            }
        }
        self.settle()
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::Sample(node) => self.sample(node),
            Happening::Wake(node) => self.wake(node),
            Happening::Start(node) => self.start(node),
            Happening::Arrive(sent) => self.arrive(sent),
            Happening::Answer(sent, outcome) => self.answer(sent, outcome),
            Happening::Commit => {
                self.is_commit_due = false;
                self.commit()
            }
            Happening::Beat => self.beat(),
            Happening::StartCollector => self.start_collector(),
            Happening::Room(whose) => {
                self.disk(whose).set_bytes_max(u64::MAX);
                Ok(())
            }
            Happening::ClockSet(node) => self.set_clock(node, 0),
            Happening::Calm => self.calm(),
        }
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.serial += 1;
        self.queue.insert((at, self.serial), happening);
    }

    fn later(&mut self, delay: u64, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    fn note(&mut self, what: &'static str, node: Option<usize>, number: u64) {
        self.history.note(Note { at: self.now, what, node, number });
    }

    // Agents.

    fn sample(&mut self, index: usize) -> Result<(), Violation> {
        let node = &mut self.nodes[index];
        if self.is_calm && node.life.is_none() {
            self.later(60_000, Happening::Sample(index));
            return Ok(());
        }
        node.newest = None;
        let calm = Sensors::default();
        let sensors = if self.is_calm { &calm } else { &self.plan.sensors };
        let (how, chance) = ((sensors, self.plan.rows), (&mut self.dice, &mut self.tally));
        let done = node.sample(self.now, how, chance, &mut self.oracle.truths);
        let made = !done.durable.is_empty() || node.life.is_none();
        self.forget_thinned(index);
        self.carry_out(index, done)?;
        if self.is_calm {
            let mut done = Done::default();
            self.nodes[index].flush(self.now, &mut done);
            return self.carry_out(index, done);
        }
        self.later(self.plan.step_ms, Happening::Sample(index));
        if made { self.weather(index) } else { Ok(()) }
    }

    /// A spool that is full thins what waits longest while it stores: those sequences never come,
    /// their energy does.
    fn forget_thinned(&mut self, index: usize) {
        let node = &self.nodes[index];
        let Some(life) = &node.life else { return };
        let spool = life.line.spool();
        let lane = (node.id.clone(), spool.epoch());
        let lowest = spool.lowest();
        self.oracle.forget_below(&lane, lowest);
    }

    fn wake(&mut self, index: usize) -> Result<(), Violation> {
        let now = self.now;
        let node = &mut self.nodes[index];
        let is_due =
            node.life.as_mut().is_some_and(|life| life.wake_at.take_if(|at| *at <= now).is_some());
        if !is_due {
            return Ok(());
        }
        let done = node.tell(Input::Tick, now);
        self.carry_out(index, done)
    }

    fn start(&mut self, index: usize) -> Result<(), Violation> {
        if self.nodes[index].life.is_some() {
            return Ok(());
        }
        let (now, dice) = (self.now, &mut self.dice);
        let node = &mut self.nodes[index];
        match node.start(now, dice) {
            Ok(opened) => {
                let is_clean = is_sound(&opened.recovery);
                if !is_clean && !node.is_damaged {
                    let words = format!("node {index}: {:?}", opened.recovery);
                    return Err(Violation::new("no false alarm of damage", words));
                }
                if !is_clean {
                    self.oracle.forgive_spool(&node.id);
                }
                let next = node.life.as_ref().map_or(0, |life| life.line.spool().next().get());
                self.note("agent starts", Some(index), next);
                let done = self.nodes[index].tell(Input::Tick, now);
                self.carry_out(index, done)
            }
            Err(_) => {
                self.note("agent cannot start", Some(index), 0);
                self.fell(index)?;
                let wait = self.dice.between(1_000, 10_000);
                self.later(wait, Happening::Start(index));
                Ok(())
            }
        }
    }

    /// Sends what is to be sent, and looks whether the machine still stands.
    fn carry_out(&mut self, index: usize, done: Done) -> Result<(), Violation> {
        if done.full > 0 {
            self.note("spool full", Some(index), done.full);
        }
        if let Some(epoch) = self.nodes[index].epoch() {
            let lane = (self.nodes[index].id.clone(), epoch);
            for sequence in &done.durable {
                self.note("spooled", Some(index), sequence.get());
                let key = (lane.clone(), sequence.get());
                self.nodes[index].newest = Some(key.clone());
                self.oracle.spooled.insert(key);
            }
        }
        for work in done.work {
            match work {
                Work::Ask { ticket, request } => self.send(index, ticket, request),
                Work::Disconnect => {
                    if let Some(life) = &mut self.nodes[index].life {
                        life.connection += 1;
                    }
                }
            }
        }
        self.fell(index)?;
        if done.is_fatal && self.nodes[index].life.is_some() {
            self.note("agent ends", Some(index), 0);
            self.kill(index);
        }
        self.plan_wake(index);
        self.invariant_agent(index)
    }

    fn plan_wake(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let Some(wanted) = node.wants_wake(now) else { return };
        let Some(life) = &mut node.life else { return };
        let wanted = wanted.max(now);
        if life.wake_at.is_none_or(|at| at > wanted) {
            life.wake_at = Some(wanted);
            self.at(wanted, Happening::Wake(index));
        }
    }

    /// What must be true of an agent after each of its steps.
    fn invariant_agent(&mut self, index: usize) -> Result<(), Violation> {
        let node = &self.nodes[index];
        let Some(life) = &node.life else { return Ok(()) };
        let spool = life.line.spool();
        // One segment more than the limit may be begun before an elder one goes, and gap records
        // are written in any case: two at most for each batch that may be on its way.
        let most = spool.bytes_max() + spool.bytes_max() / 4 + 2 * AHEAD_MAX * GAP_BYTES_MAX;
        if spool.bytes() > most {
            let words = format!("node {index}: {} bytes spooled", spool.bytes());
            return Err(Violation::new("disk within bounds", words));
        }
        let lane = (node.id.clone(), spool.epoch());
        let lowest = spool.lowest();
        self.oracle.invariant_released_is_acked(&lane, lowest)
    }

    // The collector.

    fn arrive(&mut self, sent: Sent) -> Result<(), Violation> {
        if self.collector.life.is_none() {
            return self.reply(sent, Err("connection refused".into()));
        }
        let connection = (sent.node, sent.life, sent.connection);
        let lives = self.collector.lives;
        if *self.connections.entry(connection).or_insert(lives) != lives {
            return self.reply(sent, Err("connection reset".into()));
        }
        self.invariant_own_name_only(&sent)?;
        self.serial += 1;
        let token = self.serial;
        let peer = self.nodes[sent.node].peer.clone();
        let call = Call { request: &sent.request, peer: &peer, claim: sent.claim };
        match self.collector.take(call, token, self.now) {
            Reaction::Answer(answer) => self.reply(sent, Ok(answer)),
            Reaction::Queued => {
                self.waiting.insert(token, sent);
                self.plan_commit();
                Ok(())
            }
        }
    }

    fn plan_commit(&mut self) {
        if !self.is_commit_due {
            self.is_commit_due = true;
            let is_slow = self.now < self.slow_until;
            let wait = if is_slow { SLOW_COMMIT_MS } else { GROUP_WAIT_MS };
            self.later(wait, Happening::Commit);
        }
    }

    fn commit(&mut self) -> Result<(), Violation> {
        if !self.collector.has_group() {
            return Ok(());
        }
        self.write_group()
    }

    fn beat(&mut self) -> Result<(), Violation> {
        self.later(BEAT_MS.max(self.plan.step_ms), Happening::Beat);
        if self.collector.life.is_none() {
            return Ok(());
        }
        self.write_group()
    }

    fn write_group(&mut self) -> Result<(), Violation> {
        let answers = self.collector.commit(self.now, &mut self.oracle)?.unwrap_or_default();
        for (token, answer) in answers {
            if let Some(sent) = self.waiting.remove(&token) {
                self.reply(sent, Ok(answer))?;
            }
        }
        self.invariant_watermarks_rise()?;
        self.collector_fell()
    }

    /// The collector's process is gone: so is what waited for it.
    fn collector_ended(&mut self) -> Result<(), Violation> {
        self.collector.life = None;
        let orphans = std::mem::take(&mut self.waiting);
        for sent in orphans.into_values() {
            self.reply(sent, Err("the connection broke".into()))?;
        }
        let wait = self.dice.between(500, 10_000);
        self.later(wait, Happening::StartCollector);
        Ok(())
    }

    fn collector_fell(&mut self) -> Result<(), Violation> {
        if self.collector.disk.is_off() {
            self.cut_collector()
        } else if self.collector.life.is_none() {
            self.note("collector ends", None, 0);
            self.collector.disk.kill();
            self.collector_ended()
        } else {
            Ok(())
        }
    }

    fn start_collector(&mut self) -> Result<(), Violation> {
        if self.collector.life.is_some() {
            return Ok(());
        }
        let started = self.collector.start(self.now, &mut self.oracle, &mut self.dice)?;
        let Ok(Started { journal, ledger }) = started else {
            self.note("collector cannot start", None, 0);
            return self.collector_fell();
        };
        if self.collector.disk.is_off() {
            return self.collector_fell();
        }
        self.note("collector starts", None, journal.records);
        let is_clean = is_sound(&journal) && is_sound(&ledger);
        if !is_clean && !self.collector.is_damaged {
            let words = format!("collector: {journal:?}, {ledger:?}");
            return Err(Violation::new("no false alarm of damage", words));
        }
        let journalled = self.collector.journalled();
        if self.collector.is_damaged {
            self.oracle.forgive_lost(&journalled, self.plan.keeps_acked());
        }
        self.oracle.invariant_acked_is_durable(&journalled)?;
        self.invariant_watermarks_rise()?;
        self.write_group()
    }

    fn invariant_watermarks_rise(&mut self) -> Result<(), Violation> {
        let collector = &self.collector;
        self.oracle.invariant_watermarks_rise(|lane| collector.reached(lane))
    }

    /// After a cut at this very moment everything acknowledged would be there.
    fn look(&mut self) -> Result<(), Violation> {
        if self.collector.is_damaged || self.collector.life.is_none() {
            return Ok(());
        }
        let there = self.collector.durable_now(self.dice.draw());
        self.oracle.invariant_acked_is_durable(&there)
    }
}

/// Whether a log found nothing that it had promised gone. Frames of a group whose commit was
/// interrupted are no loss, only called one until somebody knows better.
fn is_sound(recovery: &Recovery) -> bool {
    let is_proven = |found: &Quarantine| found.loss == Loss::Durable;
    !recovery.quarantined.iter().any(is_proven)
        && recovery.missing.is_empty()
        && !recovery.cursor_damaged
}

fn sequence_of(ticket: &Ticket) -> u64 {
    match ticket {
        Ticket::Batch { sequence, .. } => sequence.get(),
        Ticket::Schema { .. } | Ticket::Hello { .. } | Ticket::Live { .. } => 0,
    }
}
