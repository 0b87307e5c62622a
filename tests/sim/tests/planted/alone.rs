//! Planted bugs that no history of the simulator strikes: each has a small scene of its own, one
//! node and one collector over model disks, without any chance but that of its registers.

use std::collections::{BTreeSet, VecDeque};

use bijli_agent::uplink::line::{Answer, Input, Request, Ticket, Work};
use bijli_collector::health::Health;
use bijli_planted::Bug;
use bijli_seglog::{Loss, Recovery};
use bijli_sim::dice::Dice;
use bijli_sim::hub::{Call, Collector, Reaction};
use bijli_sim::node::{Done, Node};
use bijli_sim::oracle::{Oracle, Violation};
use bijli_sim::plan::{Plan, Sensors};
use bijli_wire::{ContentHash, codec};

/// A bug and its scene, which says after how many requests its promise was kept or broken.
pub type Scene = fn() -> (u64, Result<(), Violation>);
pub const SCENES: &[(Bug, Scene)] =
    &[(Bug::CorruptionAsTornTail, corruption), (Bug::ReuseSequence, set_back)];

const STEP_MS: u64 = 30_000;

struct Pair {
    node: Node,
    collector: Collector,
    oracle: Oracle,
    dice: Dice,
    now: u64,
    requests: u64,
    /// The bodies of batches that were acknowledged, in their order.
    acked: Vec<Vec<u8>>,
}

/// D5: one bit in the middle of a journal costs the one batch that it is in, and is told.
fn corruption() -> (u64, Result<(), Violation>) {
    let mut pair = Pair::new();
    (0..6).for_each(|_| pair.sample());
    assert_eq!(pair.acked.len(), 6);
    let struck = pair.acked.remove(2);
    flip_within(&pair.collector, &struck);
    pair.collector.life = None;
    pair.collector.disk.kill();
    let recovery = pair.start_collector();
    let there = pair.journalled();
    let acked: BTreeSet<ContentHash> = pair.acked.iter().map(|body| codec::hash(body)).collect();
    let is_told = recovery.quarantined.iter().any(|found| found.loss == Loss::Durable);
    let is_kept = is_told && acked == there;
    let words = format!("told: {is_told}; {} of 5 good batches are left", there.len());
    (pair.requests, kept(is_kept, "corruption is no torn tail", words))
}

/// A10: a spool that is set back to a copy loses nothing of what it is given then.
fn set_back() -> (u64, Result<(), Violation>) {
    let mut pair = Pair::new();
    (0..3).for_each(|_| pair.sample());
    let copy = pair.node.disk.fork(2);
    (0..3).for_each(|_| pair.sample());
    let before = pair.journalled();
    assert_eq!(before.len(), 6);
    pair.node.life = None;
    pair.node.disk = copy;
    pair.start_node();
    (0..3).for_each(|_| pair.sample());
    (0..20).for_each(|_| pair.wait());
    let after = pair.journalled();
    let news = after.difference(&before).count();
    let is_kept = news == 3 && before.is_subset(&after);
    let words = format!("{news} of 3 batches since then are in the journal");
    (pair.requests, kept(is_kept, "a spool set back loses nothing", words))
}

fn kept(is_kept: bool, invariant: &'static str, words: String) -> Result<(), Violation> {
    if is_kept { Ok(()) } else { Err(Violation::new(invariant, words)) }
}

/// Flips a bit in the middle of a body, where it stands in the journal.
fn flip_within(collector: &Collector, body: &[u8]) {
    for path in collector.disk.files() {
        let mut bytes = collector.disk.contents(&path).expect("it was listed");
        let found = bytes.windows(body.len()).position(|window| window == body);
        if let Some(begin) = found {
            bytes[begin + body.len() / 2] ^= 1;
            return collector.disk.set_contents(&path, &bytes);
        }
    }
    panic!("the body is in no file");
}

impl Pair {
    fn new() -> Self {
        let mut dice = Dice::new(1);
        let plan = Plan {
            step_ms: STEP_MS,
            interval_ms: 900_000,
            spool_bytes: 1 << 20,
            segment_bytes: 64 << 10,
            clock_step: 0,
            boot_1970: 0,
            ..Plan::draw(&mut dice)
        };
        let collector = Collector::new(&plan, Health::new(), &mut dice);
        let node = Node::new(0, &collector.id, &plan, &mut dice);
        let (oracle, acked) = (Oracle::default(), Vec::new());
        let mut pair = Self { node, collector, oracle, dice, now: 0, requests: 0, acked };
        pair.start_collector();
        pair.start_node();
        pair
    }

    fn start_collector(&mut self) -> Recovery {
        let started = self.collector.start(self.now, &mut self.oracle, &mut self.dice);
        started.expect("no promise is broken").expect("its disk is well").journal
    }

    fn start_node(&mut self) {
        self.node.start(self.now, &mut self.dice).expect("its disk is well");
        self.wait();
    }

    /// Reads all registers into a batch of its own, and carries what follows to and fro.
    fn sample(&mut self) {
        self.now += STEP_MS;
        let (calm, mut tally) = (Sensors::default(), bijli_sim::fault::Tally::default());
        let chance = (&mut self.dice, &mut tally);
        let done = self.node.sample(self.now, (&calm, 1), chance, &mut self.oracle.truths);
        self.carry(done);
    }

    fn wait(&mut self) {
        self.now += STEP_MS;
        let done = self.node.tell(Input::Tick, self.now);
        self.carry(done);
    }

    fn carry(&mut self, done: Done) {
        let mut work = VecDeque::from(done.work);
        while let Some(next) = work.pop_front() {
            if let Work::Ask { ticket, request } = next {
                let outcome = Ok(self.ask(ticket, &request));
                let done = self.node.tell(Input::Answer { ticket, outcome }, self.now);
                work.extend(done.work);
            }
        }
    }

    fn ask(&mut self, ticket: Ticket, request: &Request) -> Answer {
        self.requests += 1;
        let token = self.requests;
        let call = Call { request, peer: &self.node.peer, claim: None };
        let answer = match self.collector.take(call, token, self.now) {
            Reaction::Answer(answer) => answer,
            Reaction::Queued => {
                let answers = self.collector.commit(self.now, &mut self.oracle);
                let answers = answers.expect("no promise is broken").expect("it lives");
                let mine = answers.into_iter().find(|(whose, _)| *whose == token);
                mine.expect("what is durable is answered").1
            }
        };
        if matches!((&ticket, &answer), (Ticket::Batch { .. }, Answer::Ok(_))) {
            self.acked.push(request.body.clone());
        }
        answer
    }

    fn journalled(&self) -> BTreeSet<ContentHash> {
        self.collector.journalled().into_iter().collect()
    }
}
