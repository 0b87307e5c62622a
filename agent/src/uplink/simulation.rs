//! A lossy link, a forgetful collector and an agent that restarts, played from one seed. The
//! collector forgets schemas, and now and then loses its disk or is restored from a backup.
//!
//! After every step: whatever is released is stored, byte for byte, at the collector. At the
//! end, when the link heals: everything spooled is stored and released, lost disks or not.

use std::collections::{BTreeMap, BTreeSet};

use bijli_wire::hello::Reached;
use bijli_wire::{Ack, AckVerdict, BatchSeq, ContentHash, ErrorCode, Millis, SpoolEpoch, limits};
use proptest::prelude::*;

use super::{Attempt, Effect, Event, Jitter, Uplink};
use crate::clock::Moment;

const EPOCH: SpoolEpoch = SpoolEpoch::new([3; 16]);
const BATCHES: u64 = 120;

/// What the link may carry: the time it arrives, on which connection, and what it is.
type Flying = BTreeMap<(Moment, u64), (u64, Message)>;

#[derive(Clone, Debug)]
enum Message {
    Batch { sequence: BatchSeq, attempt: Attempt, hash: ContentHash },
    Schema { attempt: Attempt },
    Hello { attempt: Attempt },
    Answer(Event),
}

struct World {
    dice: Jitter,
    now: Moment,
    is_lossy: bool,
    up: Uplink,
    /// What the agent's disk holds, by sequence.
    bodies: BTreeMap<BatchSeq, ContentHash>,
    released: u64,
    flying: Flying,
    /// Answers to what was asked on an elder one are not heard.
    connection: u64,
    serial: u64,
    /// The collector's disk.
    stored: BTreeMap<BatchSeq, ContentHash>,
    knows_schema: bool,
    poisoned: BTreeSet<BatchSeq>,
    losses: u32,
    resends: u64,
}

fn hash_of(sequence: BatchSeq, version: u8) -> ContentHash {
    let mut bytes = [version; 32];
    bytes[..8].copy_from_slice(&sequence.get().to_le_bytes());
    ContentHash::new(bytes)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Jitter::new(seed);
        let poisoned = (0..3).filter_map(|_| BatchSeq::new(1 + dice.up_to(BATCHES - 1))).collect();
        Self {
            dice,
            now: Moment::default(),
            is_lossy: true,
            up: Uplink::new(EPOCH, BatchSeq::FIRST, BatchSeq::FIRST, Jitter::new(seed)),
            bodies: BTreeMap::new(),
            released: 0,
            flying: Flying::new(),
            connection: 0,
            serial: 0,
            stored: BTreeMap::new(),
            knows_schema: false,
            poisoned,
            losses: 0,
            resends: 0,
        }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.is_lossy && self.dice.up_to(one_in - 1) == 0
    }

    /// Lost, delayed, doubled, and so reordered.
    fn send(&mut self, message: &Message) {
        let copies = if self.chance(5) {
            0
        } else if self.chance(6) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let delay = if self.chance(20) { 40_000 } else { self.dice.up_to(300) };
            self.serial += 1;
            let at = self.now.after(Millis::new(delay));
            self.flying.insert((at, self.serial), (self.connection, message.clone()));
        }
    }

    fn tell(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.up.on_event(event, self.now, &mut effects);
        for effect in effects {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { sequence, attempt } => {
                let hash = self.bodies[&sequence];
                assert!(sequence.get() > self.released, "a released batch was sent");
                self.resends += 1;
                self.send(&Message::Batch { sequence, attempt, hash });
            }
            Effect::PutSchema { attempt, .. } => self.send(&Message::Schema { attempt }),
            Effect::SayHello { attempt, .. } => self.send(&Message::Hello { attempt }),
            Effect::Rewind { to } => {
                assert!(self.losses > 0, "nothing was lost");
                self.released = to.get() - 1;
                self.tell(Event::Rewound { lowest: to });
            }
            Effect::RenewEpoch => panic!("nobody was rolled back"),
            Effect::Release { through } => {
                for number in self.released + 1..=through.get() {
                    let sequence = BatchSeq::new(number).unwrap();
                    assert_eq!(
                        self.stored.get(&sequence),
                        Some(&self.bodies[&sequence]),
                        "batch {number} was forgotten without being stored"
                    );
                }
                self.released = through.get();
            }
            Effect::PutAside { sequence, .. } => {
                self.bodies.insert(sequence, hash_of(sequence, 1));
                self.tell(Event::PutAside { sequence });
            }
            // Answers of the dropped connection do not arrive; requests may have.
            Effect::Disconnect => self.connection += 1,
            Effect::Alarm { .. } => {}
        }
    }

    fn collector(&mut self, connection: u64, message: Message) {
        let answer = match message {
            Message::Answer(event) if connection == self.connection => return self.tell(event),
            Message::Answer(_) => return,
            Message::Schema { attempt } => {
                self.knows_schema = true;
                Event::SchemaStored { attempt }
            }
            Message::Hello { attempt } => {
                let newest = self.stored.keys().next_back().map_or(0, |newest| newest.get());
                let reached = Reached { contiguous: self.awaited().get() - 1, newest };
                Event::Welcomed { attempt, reached, credits: None }
            }
            Message::Batch { sequence, attempt, hash } => {
                match self.store(sequence, hash) {
                    Ok(verdict) => {
                        // N7: now and then a portal answers instead.
                        let epoch = if self.chance(15) { SpoolEpoch::new([9; 16]) } else { EPOCH };
                        let ack = Ack::new(epoch, sequence, hash, verdict);
                        Event::Acked { sequence, attempt, hash, ack }
                    }
                    Err(code) => Event::Refused { sequence, attempt, code, retry_after: None },
                }
            }
        };
        if connection == self.connection {
            self.send(&Message::Answer(answer));
        }
    }

    fn store(&mut self, sequence: BatchSeq, hash: ContentHash) -> Result<AckVerdict, ErrorCode> {
        if let Some(found) = self.stored.get(&sequence) {
            if *found != hash {
                // Only a delayed copy of what was put aside meanwhile.
                let is_stale = self.poisoned.contains(&sequence) && hash == hash_of(sequence, 0);
                assert!(is_stale, "two bodies for {sequence}");
                return Err(ErrorCode::IdentityFork);
            }
            return Ok(AckVerdict::Duplicate);
        }
        let awaited = self.awaited();
        if sequence.get() >= awaited.get() + limits::SEQUENCE_WINDOW {
            assert!(self.losses > 0, "batch {sequence} ran into the window at {awaited}");
            return Err(ErrorCode::SequenceGap);
        }
        if self.chance(12) {
            return Err(ErrorCode::Overloaded);
        }
        if self.chance(30) {
            self.knows_schema = false;
        }
        if !self.knows_schema {
            return Err(ErrorCode::UnknownSchema);
        }
        if self.poisoned.contains(&sequence) && hash == hash_of(sequence, 0) {
            return Err(ErrorCode::MalformedBody);
        }
        self.stored.insert(sequence, hash);
        Ok(AckVerdict::Accepted)
    }

    /// The first sequence that is not stored.
    fn awaited(&self) -> BatchSeq {
        let mut awaited = BatchSeq::FIRST;
        while self.stored.contains_key(&awaited) {
            awaited = awaited.next();
        }
        awaited
    }

    /// C10, C11: the collector starts from an empty disk or an elder copy of it.
    fn lose_disk(&mut self) {
        self.losses += 1;
        let newest = self.stored.keys().next_back().map_or(0, |newest| newest.get());
        let kept = self.dice.up_to(newest);
        self.stored.retain(|sequence, _| sequence.get() <= kept);
        self.knows_schema = false;
        self.connection += 1;
        let awaited = self.up.awaited().next().map(|flight| flight.attempt);
        self.tell(awaited.map_or(Event::Closed, |attempt| Event::LinkLost { attempt }));
    }

    /// The agent is killed and starts from what its disk says.
    fn restart(&mut self) {
        let lowest = BatchSeq::new(self.released + 1).unwrap();
        let end = BatchSeq::new(u64::try_from(self.bodies.len()).unwrap() + 1).unwrap();
        let seed = self.dice.next_u64();
        self.up = Uplink::new(EPOCH, lowest, end, Jitter::new(seed));
        self.connection += 1;
        self.tell(Event::Tick);
    }

    /// Plays until everything is released; true if it was within the given time.
    fn play(&mut self, until: Moment) -> bool {
        while self.released < BATCHES && self.now < until {
            let spooled = u64::try_from(self.bodies.len()).unwrap();
            let spool_at = Moment::new(spooled * 500);
            let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
            let next_spool = (spooled < BATCHES).then_some(spool_at);
            let next = [arrival, next_spool, self.up.wake_at()].into_iter().flatten().min();
            self.now = self.now.max(next.expect("something is always awaited while work is left"));
            if next_spool.is_some_and(|at| at <= self.now) {
                let sequence = BatchSeq::new(spooled + 1).unwrap();
                self.bodies.insert(sequence, hash_of(sequence, 0));
                self.tell(Event::Spooled { through: sequence });
            } else if arrival.is_some_and(|at| at <= self.now) {
                let (_, (connection, message)) = self.flying.pop_first().unwrap();
                self.collector(connection, message);
            } else {
                self.tell(Event::Tick);
            }
            if self.chance(400) {
                self.restart();
            }
            if self.released < BATCHES && self.losses < 3 && self.chance(300) {
                self.lose_disk();
            }
        }
        self.released == BATCHES
    }
}

fn story(seed: u64) -> (u64, u64, BTreeMap<BatchSeq, ContentHash>) {
    let mut world = World::new(seed);
    // Ten minutes of bad link, then a healed one.
    if !world.play(Moment::new(600_000)) {
        world.is_lossy = false;
        assert!(world.play(world.now.after(Millis::new(300_000))), "seed {seed} does not drain");
    }
    assert_eq!(world.stored, world.bodies, "seed {seed}");
    (world.now.get(), world.resends, world.stored)
}

#[test]
fn the_same_seed_tells_the_same_story() {
    assert_eq!(story(11), story(11));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn everything_spooled_is_acked_and_nothing_is_forgotten_before(seed: u64) {
        story(seed);
    }
}
