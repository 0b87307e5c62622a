//! A thousand uplinks before one door, in virtual time: the agents' real state machines and the
//! collector's real credits and patience. Between them is a door as the collector's: so many
//! places, and a disk that takes so many batches with one fsync.

use std::collections::{BTreeMap, VecDeque};

use bijli_agent::clock::Moment;
use bijli_agent::uplink::{Attempt, Effect, Event, Jitter, Uplink};
use bijli_collector::ingest::credits::{Credits, patience_s};
use bijli_wire::hello::Reached;
use bijli_wire::{
    Ack, AckVerdict, BatchSeq, ContentHash, ErrorCode, HubId, Millis, NodeId, SpoolEpoch, UtcMillis,
};

const EPOCH: SpoolEpoch = SpoolEpoch::new([3; 16]);
const HASH: ContentHash = ContentHash::new([5; 32]);
/// Of each sender.
const BACKLOG: u64 = 36;
/// As in the collector.
const PLACES: usize = 1_024;
/// The disk's: 2,000 batches a second.
const GROUP: usize = 20;
const GROUP_EVERY: Millis = Millis::new(10);
const TICK_EVERY: Millis = Millis::new(100);
const BEGIN: UtcMillis = UtcMillis::new(1_800_000_000_000);

/// How the collector behaves; the real one shares and spreads.
#[derive(Clone, Copy)]
struct Manners {
    shares: bool,
    spreads: bool,
}

enum Message {
    Hello(Attempt),
    Schema(Attempt),
    Batch(BatchSeq, Attempt),
    Answer(Event),
    /// A clock of the world's.
    Group,
    Tick,
}

struct Sender {
    node: NodeId,
    up: Uplink,
    /// Last told.
    credits: Option<u8>,
    under_way: usize,
    stored: Vec<u64>,
    released: u64,
}

/// What is looked at in the end.
#[derive(Debug, Default)]
struct Tally {
    sent: usize,
    refused: usize,
    /// By the second.
    refused_of: BTreeMap<u64, usize>,
    /// The most places that were taken.
    peak: usize,
    drained_ms: u64,
}

struct World {
    manners: Manners,
    now: Moment,
    dice: Jitter,
    senders: Vec<Sender>,
    credits: Credits,
    flying: BTreeMap<(Moment, u64), (usize, Message)>,
    serial: u64,
    /// Who has a place: batches that wait for the disk, and what they will be told of credits.
    places: VecDeque<(usize, BatchSeq, Attempt, u8)>,
    tally: Tally,
}

fn hub() -> HubId {
    HubId::new("isb").expect("valid")
}

fn sender(number: usize) -> Sender {
    let node = NodeId::new(&format!("n{number:04}")).expect("valid");
    let end = BatchSeq::new(BACKLOG + 1).expect("from 1");
    let seed = u64::try_from(number).expect("small");
    let up = Uplink::new(EPOCH, BatchSeq::FIRST, end, Jitter::new(seed));
    Sender { node, up, credits: None, under_way: 0, stored: Vec::new(), released: 0 }
}

impl World {
    fn new(senders: usize, manners: Manners) -> Self {
        Self {
            manners,
            now: Moment::default(),
            dice: Jitter::new(7),
            senders: (0..senders).map(sender).collect(),
            credits: Credits::default(),
            flying: BTreeMap::new(),
            serial: 0,
            places: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    fn after(&mut self, wait: Millis, who: usize, message: Message) {
        self.serial += 1;
        self.flying.insert((self.now.after(wait), self.serial), (who, message));
    }

    /// Over a network of one to five milliseconds.
    fn carry(&mut self, who: usize, message: Message) {
        let wait = Millis::new(1 + self.dice.up_to(4));
        self.after(wait, who, message);
    }

    fn tell(&mut self, who: usize, event: Event) {
        let sender = &mut self.senders[who];
        match &event {
            Event::Acked { ack, .. } => sender.credits = ack.credits.or(sender.credits),
            Event::Welcomed { credits, .. } => sender.credits = credits.or(sender.credits),
            _ => {}
        }
        sender.under_way -=
            usize::from(matches!(event, Event::Acked { .. } | Event::Refused { .. }));
        let mut effects = Vec::new();
        sender.up.on_event(event, self.now, &mut effects);
        for effect in effects {
            self.perform(who, effect);
        }
    }

    fn perform(&mut self, who: usize, effect: Effect) {
        match effect {
            Effect::SayHello { attempt, .. } => self.carry(who, Message::Hello(attempt)),
            Effect::PutSchema { attempt, .. } => self.carry(who, Message::Schema(attempt)),
            Effect::Send { sequence, attempt } => {
                self.tally.sent += 1;
                let sender = &mut self.senders[who];
                sender.under_way += 1;
                let credits = sender.credits.map_or(4, usize::from);
                assert!(sender.under_way <= credits, "{} over its credits", sender.node);
                self.carry(who, Message::Batch(sequence, attempt));
            }
            Effect::Release { through } => self.senders[who].released = through.get(),
            other => panic!("nothing was lost, and yet {other:?}"),
        }
    }

    fn share(&mut self, who: usize) -> Option<u8> {
        let now = UtcMillis::new(BEGIN.get() + i64::try_from(self.now.get()).expect("small"));
        let share = self.credits.share(&hub(), &self.senders[who].node, true, now);
        self.manners.shares.then_some(share)
    }

    fn patience(&self, who: usize) -> Option<Millis> {
        let own = patience_s(self.senders[who].node.as_str());
        let seconds = if self.manners.spreads { own } else { 1 };
        Some(Millis::new(u64::from(seconds) * 1_000))
    }

    fn heard(&mut self, who: usize, message: Message) {
        match message {
            Message::Answer(event) => self.tell(who, event),
            Message::Hello(attempt) => {
                let reached = Reached { contiguous: 0, newest: 0 };
                let credits = self.share(who);
                self.carry(who, Message::Answer(Event::Welcomed { attempt, reached, credits }));
            }
            Message::Schema(attempt) => {
                self.carry(who, Message::Answer(Event::SchemaStored { attempt }));
            }
            Message::Batch(sequence, attempt) => self.knock(who, sequence, attempt),
            Message::Group => {
                self.write();
                self.after(GROUP_EVERY, 0, Message::Group);
            }
            Message::Tick => {
                (0..self.senders.len()).for_each(|who| self.tell(who, Event::Tick));
                self.after(TICK_EVERY, 0, Message::Tick);
            }
        }
    }

    fn knock(&mut self, who: usize, sequence: BatchSeq, attempt: Attempt) {
        if self.places.len() == PLACES {
            self.tally.refused += 1;
            *self.tally.refused_of.entry(self.now.get() / 1_000).or_default() += 1;
            let (code, retry_after) = (ErrorCode::Overloaded, self.patience(who));
            let told = Event::Refused { sequence, attempt, code, retry_after };
            return self.carry(who, Message::Answer(told));
        }
        let credits = self.share(who).unwrap_or(0);
        self.places.push_back((who, sequence, attempt, credits));
        self.tally.peak = self.tally.peak.max(self.places.len());
    }

    fn write(&mut self) {
        for _ in 0..GROUP.min(self.places.len()) {
            let (who, sequence, attempt, credits) = self.places.pop_front().expect("counted");
            self.senders[who].stored.push(sequence.get());
            let ack = Ack::new(EPOCH, sequence, HASH, AckVerdict::Accepted);
            let ack = Ack { credits: (credits > 0).then_some(credits), ..ack };
            let told = Event::Acked { sequence, attempt, hash: HASH, ack };
            self.carry(who, Message::Answer(told));
        }
    }

    fn play(mut self) -> Tally {
        self.heard(0, Message::Tick);
        self.heard(0, Message::Group);
        while self.senders.iter().any(|sender| sender.released < BACKLOG) {
            let step = self.now.after(Millis::new(1_000));
            while self.now < step {
                let ((at, _), (who, message)) = self.flying.pop_first().expect("clocks go on");
                self.now = at;
                self.heard(who, message);
            }
            assert!(self.now.get() < 3_600_000, "an hour is over: {:?}", self.tally);
        }
        for sender in &mut self.senders {
            sender.stored.sort_unstable();
            assert!(sender.stored.iter().copied().eq(1..=BACKLOG), "each once: {}", sender.node);
        }
        self.tally.drained_ms = self.now.get();
        self.tally
    }
}

/// How long the disk needs for all of it.
fn at_best_ms(senders: usize) -> u64 {
    let batches = u64::try_from(senders).expect("small") * BACKLOG;
    batches * GROUP_EVERY.get() / u64::try_from(GROUP).expect("small")
}

/// Goal: N4. Whoever returns is served as quickly as the disk allows, and refusals are few: within
/// the first second, before anybody knows how many have returned.
#[test]
fn n4_a_thousand_that_return_at_once_drain_as_fast_as_the_disk() {
    let real = World::new(1_000, Manners { shares: true, spreads: true }).play();
    println!("with credits and patience: {real:?}");
    assert!(real.refused <= 1_000, "{real:?}");
    assert!(real.refused_of.keys().all(|second| *second == 0), "{real:?}");
    assert!(real.drained_ms <= at_best_ms(1_000) + 2_000, "{real:?}");
    let naive = World::new(1_000, Manners { shares: false, spreads: false }).play();
    println!("without: {naive:?}");
    assert!(naive.refused > 10 * real.refused && naive.drained_ms > 2 * real.drained_ms);
}

/// Goal: N4. A whole hub, which is more than the collector has places: each batch is refused
/// less than once in ten, and nobody waits for nothing.
#[test]
fn n4_three_thousand_are_more_than_there_are_places_and_drain_as_fast() {
    let real = World::new(3_000, Manners { shares: true, spreads: true }).play();
    println!("with credits and patience: {real:?}");
    assert!(real.refused * 10 < real.sent, "{real:?}");
    assert!(real.drained_ms <= at_best_ms(3_000) + 5_000, "{real:?}");
}
