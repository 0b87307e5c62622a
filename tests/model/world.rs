//! The protocol between two agents and one collector, as small as it can be told: what each keeps
//! on its disk, what is on its way, and every step that may happen next.
//!
//! Everything that was ever sent stays on its way: it may arrive now, later, twice or never, in any
//! order. The second agent is off until it starts from a copy of the first one's disk.

use std::collections::BTreeSet;

use crate::collector::{Collector, Known, Verdict};

/// One batch that was ever made; no two are alike, so it is its own hash.
pub type Content = u8;
/// What no batch ever is.
const NOBODYS: Content = 0;
/// One spool epoch; drawn fresh, never twice.
pub type Epoch = u8;
/// The place of a batch in its epoch, from 1.
pub type Seq = u8;

/// What an agent has on its disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spool {
    pub epoch: Epoch,
    /// The sequence of the first body; what was before is unlinked.
    pub oldest: Seq,
    /// The eldest sequence that no ack covers.
    pub lowest: Seq,
    pub bodies: Vec<Content>,
}

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Agent {
    pub is_on: bool,
    /// Its hello was answered on this connection.
    pub is_greeted: bool,
    pub spool: Spool,
    /// Acked, with an elder one missing. In memory only.
    pub settled: BTreeSet<Seq>,
}

/// What is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    pub kind: Kind,
    /// Who hears the answer, or is told it; `None`: that connection has ended.
    pub ear: Option<usize>,
    pub epoch: Epoch,
    pub seq: Seq,
    pub content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Batch,
    Ack,
    Fork,
}

/// How often each fault may still happen, and how many batches may still be made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Budget {
    pub batches: u8,
    pub restarts: u8,
    pub rollbacks: u8,
    pub clones: u8,
    pub unlinks: u8,
    pub disk_losses: u8,
    pub backups: u8,
    pub portals: u8,
}

/// What an observer knows and no machine does: it decides whether a promise was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ghost {
    /// Acknowledged to some agent.
    pub acked: BTreeSet<Content>,
    /// Gone by a fault of the agent's disk, or put aside with a record of it.
    pub excused: BTreeSet<Content>,
}

/// A moment of the whole system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct World {
    pub agents: [Agent; 2],
    pub collector: Collector,
    /// An older state of the collector's disk.
    pub backup: Option<Collector>,
    /// An older state of the first agent's disk.
    pub snapshot: Option<Spool>,
    pub under_way: BTreeSet<Message>,
    pub budget: Budget,
    pub ghost: Ghost,
    pub epochs: Epoch,
    pub made: Content,
}

/// One step. `usize` is the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Make(usize),
    Greet(usize),
    Send(usize, Seq),
    Arrive(Message),
    Restart(usize),
    Unlink(usize),
    /// Something that is no collector answers 200.
    Portal(usize, Seq),
    TakeSnapshot,
    RollBack,
    Clone,
    TakeBackup,
    LoseCollectorsDisk,
    RestoreBackup,
}

/// A rule of the protocol that may be left out, to see that the search notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// The agent releases what a hello says is there.
    HelloReleases,
    /// The agent still believes acks of an elder connection for what it has not released yet.
    SettledKept,
    /// The agent does not go back for a collector that lost its disk.
    NoRewind,
    /// The agent goes on in an epoch that the collector knows further than it does.
    NoRenewal,
    /// An ack is believed without its hash.
    AckWithoutHash,
    /// The collector does not tell a fork from a duplicate.
    ForkIsDuplicate,
    /// The collector waits for ever for what was unlinked.
    NoFloor,
    /// The collector waits in an epoch that its node has left.
    EldersAwaited,
    /// The collector books a batch as often as it arrives.
    BookedOnReceipt,
    /// A new start of the agent gives the sequence of its last batch to the next one.
    LastForgotten,
}

impl Spool {
    pub fn next(&self) -> Seq {
        self.oldest + Seq::try_from(self.bodies.len()).expect("a small world")
    }

    pub fn body(&self, seq: Seq) -> Option<Content> {
        self.bodies.get(usize::from(seq.checked_sub(self.oldest)?)).copied()
    }

    pub fn waiting(&self) -> impl Iterator<Item = (Seq, Content)> {
        (self.lowest..self.next()).filter_map(|seq| Some((seq, self.body(seq)?)))
    }
}

impl Agent {
    fn new(is_on: bool, epoch: Epoch) -> Self {
        let spool = Spool { epoch, oldest: 1, lowest: 1, bodies: Vec::new() };
        Self { is_on, is_greeted: false, spool, settled: BTreeSet::new() }
    }

    fn start(&mut self, spool: Spool) {
        *self = Self { is_on: true, is_greeted: false, spool, settled: BTreeSet::new() };
    }

    fn settle(&mut self, seq: Seq) {
        if seq < self.spool.lowest || seq >= self.spool.next() {
            return;
        }
        self.settled.insert(seq);
        while self.settled.remove(&self.spool.lowest) {
            self.spool.lowest += 1;
        }
    }
}

impl World {
    pub fn new(budget: Budget) -> Self {
        Self {
            agents: [Agent::new(true, 1), Agent::new(false, 0)],
            collector: Collector::default(),
            backup: None,
            snapshot: None,
            under_way: BTreeSet::new(),
            budget,
            ghost: Ghost::default(),
            epochs: 1,
            made: 0,
        }
    }

    /// Everything that may happen next.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = self.under_way.iter().map(|m| Step::Arrive(*m)).collect();
        for (who, agent) in self.agents.iter().enumerate().filter(|(_, agent)| agent.is_on) {
            if self.budget.batches > 0 {
                steps.push(Step::Make(who));
            }
            if self.budget.restarts > 0 {
                steps.push(Step::Restart(who));
            }
            if self.budget.unlinks > 0 && agent.spool.oldest < agent.spool.lowest {
                steps.push(Step::Unlink(who));
            }
            if agent.is_greeted {
                steps.extend(agent.spool.waiting().map(|(seq, _)| Step::Send(who, seq)));
                if self.budget.portals > 0 {
                    steps.extend(agent.spool.waiting().map(|(seq, _)| Step::Portal(who, seq)));
                }
            } else {
                steps.push(Step::Greet(who));
            }
        }
        steps.extend(self.faults());
        steps
    }

    fn faults(&self) -> Vec<Step> {
        let budget = &self.budget;
        let mut steps = Vec::new();
        if budget.rollbacks > 0 && self.snapshot.is_none() {
            steps.push(Step::TakeSnapshot);
        }
        if budget.rollbacks > 0 && self.snapshot.is_some() {
            steps.push(Step::RollBack);
        }
        if budget.clones > 0 {
            steps.push(Step::Clone);
        }
        if budget.backups > 0 && self.backup.is_none() {
            steps.push(Step::TakeBackup);
        }
        if budget.backups > 0 && self.backup.is_some() {
            steps.push(Step::RestoreBackup);
        }
        if budget.disk_losses > 0 {
            steps.push(Step::LoseCollectorsDisk);
        }
        steps
    }

    /// What is true after a step.
    #[must_use]
    pub fn after(&self, step: Step, broken: Broken) -> Self {
        let mut world = self.clone();
        match step {
            Step::Make(who) => world.make(who),
            Step::Greet(who) => world.greet(who, broken),
            Step::Send(who, seq) => world.send(who, seq),
            Step::Portal(who, seq) => world.portal(who, seq),
            Step::Arrive(message) => world.arrive(message, broken),
            Step::Restart(who) => world.restart(who, broken),
            Step::Unlink(who) => world.unlink(who),
            Step::TakeSnapshot => world.snapshot = Some(world.agents[0].spool.clone()),
            Step::RollBack => world.roll_back(),
            Step::Clone => world.clone_disk(),
            Step::TakeBackup => world.backup = Some(world.collector.clone()),
            Step::LoseCollectorsDisk => {
                world.budget.disk_losses -= 1;
                world.replace_collector(Collector::default());
            }
            Step::RestoreBackup => world.restore(),
        }
        world
    }

    fn make(&mut self, who: usize) {
        self.budget.batches -= 1;
        self.made += 1;
        self.agents[who].spool.bodies.push(self.made);
    }

    fn greet(&mut self, who: usize, broken: Broken) {
        let spool = &self.agents[who].spool;
        let (epoch, oldest, next) = (spool.epoch, spool.oldest, spool.next());
        let Known { contiguous, newest } = self.collector.greet(epoch, oldest, broken);
        self.agents[who].is_greeted = true;
        if newest >= next && broken != Broken::NoRenewal {
            self.renew(who);
            return;
        }
        if broken != Broken::SettledKept {
            // Acked by the disk that was; the one that answers now may be another.
            self.agents[who].settled.clear();
        }
        let spool = &mut self.agents[who].spool;
        if contiguous + 1 < spool.lowest && broken != Broken::NoRewind {
            spool.lowest = oldest.max(contiguous + 1);
        } else if broken == Broken::HelloReleases {
            spool.lowest = spool.lowest.max(next.min(contiguous + 1));
        }
    }

    /// A new epoch. What still waits in the old one is on the collector's disk already, or is put
    /// aside: registers carry its energy.
    fn renew(&mut self, who: usize) {
        let spool = &self.agents[who].spool;
        self.ghost.excused.extend(spool.bodies.iter().copied());
        self.epochs += 1;
        let epoch = self.epochs;
        self.start(who, Spool { epoch, oldest: 1, lowest: 1, bodies: Vec::new() });
    }

    fn send(&mut self, who: usize, seq: Seq) {
        let spool = &self.agents[who].spool;
        let content = spool.body(seq).expect("only what waits is sent");
        let (kind, ear, epoch) = (Kind::Batch, Some(who), spool.epoch);
        self.under_way.insert(Message { kind, ear, epoch, seq, content });
    }

    fn portal(&mut self, who: usize, seq: Seq) {
        self.budget.portals -= 1;
        let (kind, ear, epoch) = (Kind::Ack, Some(who), self.agents[who].spool.epoch);
        self.under_way.insert(Message { kind, ear, epoch, seq, content: NOBODYS });
    }

    fn arrive(&mut self, message: Message, broken: Broken) {
        let Message { kind, ear, epoch, seq, content } = message;
        if kind == Kind::Batch {
            let kind = match self.collector.take(epoch, seq, content, broken) {
                Verdict::Durable => Kind::Ack,
                Verdict::Fork => Kind::Fork,
            };
            if ear.is_some() {
                self.under_way.insert(Message { kind, ..message });
            }
            return;
        }
        let Some(who) = ear else { return };
        let agent = &mut self.agents[who];
        let held = agent.spool.body(seq);
        let is_named =
            held == Some(content) || (broken == Broken::AckWithoutHash && held.is_some());
        if agent.spool.epoch != epoch || !is_named {
            return;
        }
        match kind {
            Kind::Ack => {
                self.ghost.acked.extend(held);
                agent.settle(seq);
            }
            Kind::Fork if seq >= agent.spool.lowest && broken != Broken::NoRenewal => {
                self.renew(who);
            }
            Kind::Fork | Kind::Batch => {}
        }
    }

    /// What was on its way may still arrive; its answers are not heard any more.
    fn hang_up(&mut self, who: usize) {
        self.agents[who].is_greeted = false;
        let deafened =
            std::mem::take(&mut self.under_way).into_iter().filter_map(|message| {
                match (message.ear == Some(who), message.kind) {
                    (true, Kind::Batch) => Some(Message { ear: None, ..message }),
                    (true, Kind::Ack | Kind::Fork) => None,
                    (false, _) => Some(message),
                }
            });
        self.under_way = deafened.collect();
    }

    fn restart(&mut self, who: usize, broken: Broken) {
        self.budget.restarts -= 1;
        let mut spool = self.agents[who].spool.clone();
        if broken == Broken::LastForgotten {
            spool.bodies.pop();
        }
        // The cursor is written late: an agent may start with less than it had released.
        spool.lowest = spool.oldest;
        self.start(who, spool);
    }

    fn start(&mut self, who: usize, spool: Spool) {
        self.hang_up(who);
        self.agents[who].start(spool);
    }

    fn unlink(&mut self, who: usize) {
        self.budget.unlinks -= 1;
        let spool = &mut self.agents[who].spool;
        let gone = spool.bodies.remove(0);
        spool.oldest += 1;
        self.ghost.excused.insert(gone);
    }

    fn roll_back(&mut self) {
        self.budget.rollbacks -= 1;
        let Some(snapshot) = self.snapshot.take() else { return };
        self.ghost.excused.extend(self.agents[0].spool.bodies.iter().copied());
        self.start(0, snapshot);
    }

    fn clone_disk(&mut self) {
        self.budget.clones -= 1;
        let spool = self.agents[0].spool.clone();
        self.start(1, spool);
    }

    fn restore(&mut self) {
        self.budget.backups -= 1;
        if let Some(backup) = self.backup.take() {
            self.replace_collector(backup);
        }
    }

    /// Every connection ends with the collector.
    fn replace_collector(&mut self, disk: Collector) {
        self.collector = disk;
        (0..self.agents.len()).for_each(|who| self.hang_up(who));
    }
}
