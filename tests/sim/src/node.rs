//! A machine with an agent: real batcher, spool and line, on a model disk, with a clock of its own
//! and registers that know their truth.

use std::path::Path;
use std::sync::Arc;

use bijli_agent::batcher::{Batcher, Origin};
use bijli_agent::clock::Moment;
use bijli_agent::draft::Draft;
use bijli_agent::probe::{Cadence, Description, Offer, Sample};
use bijli_agent::spool::{Fresh, Limits, Opened, Owner, Spool, SpoolError, Stored};
use bijli_agent::uplink::collector_clock::{CollectorClock, Exchange, told};
use bijli_agent::uplink::line::{Answer, Chance, Input, Line, Now, Work};
use bijli_collector::ingest::correction::Claim;
use bijli_collector::ingest::door::Peer;
use bijli_identity::NodeName;
use bijli_identity::certificate::KeyHash;
use bijli_identity::server::Proven;
use bijli_seglog::testing::ModelDisk;
use bijli_wire::{
    BatchSeq, BootId, HubId, Millis, NodeId, Quantity, SpoolEpoch, Uptime, UtcMillis,
};

use crate::dice::Dice;
use crate::fault::Tally;
use crate::link::Link;
use crate::oracle::Key;
use crate::plan::{Plan, Sensors};
use crate::sensor::{Kind, Sensor, Truths, remember};

/// True time at which every history begins: 2026-03-01T00:00:00Z.
pub const BEGIN_UTC_MS: i64 = 1_772_323_200_000;
const SPOOL: &str = "/spool";

/// One machine.
#[derive(Debug)]
pub struct Node {
    pub id: NodeId,
    pub hub: HubId,
    /// As its certificate names it.
    pub peer: Peer,
    pub disk: ModelDisk,
    /// None while it is down.
    pub life: Option<Life>,
    /// Counts starts, so that what was meant for an earlier life is not heard by a later one.
    pub lives: u64,
    /// What its wall clock shows less the true time.
    pub clock_off_ms: i64,
    pub sensors: Vec<Sensor>,
    boot: BootId,
    booted_at: u64,
    pub link: Link,
    /// A disk as it was earlier.
    pub backup: Option<ModelDisk>,
    /// The disk lied, was emptied or set back: what it held may be gone.
    pub is_damaged: bool,
    /// The batch with the newest readings, once it is durable.
    pub newest: Option<Key>,
    limits: Limits,
    step: Millis,
}

/// One run of the agent.
#[derive(Debug)]
pub struct Life {
    pub line: Line<ModelDisk>,
    collector_clock: CollectorClock,
    batcher: Batcher,
    born: u64,
    rows: u64,
    /// Requests of an earlier connection are not answered to this one.
    pub connection: u64,
    /// When the line wants to be woken.
    pub wake_at: Option<u64>,
    /// Sequences taken and not yet durable.
    waiting: Vec<BatchSeq>,
}

/// What came of a step of the agent.
#[derive(Debug, Default)]
pub struct Done {
    pub work: Vec<Work>,
    /// Batches that became durable now.
    pub durable: Vec<BatchSeq>,
    /// Batches that were not kept: the spool is full.
    pub full: u64,
    /// The agent cannot go on: it must be started anew.
    pub is_fatal: bool,
}

/// Whoever sends from this machine has its certificate.
fn proven(hub: &HubId, name: &str) -> Peer {
    let node = NodeId::new(name).expect("a valid name");
    Peer::Proven(Arc::new(Proven {
        name: NodeName { hub: hub.clone(), node },
        key: KeyHash::of(name.as_bytes()),
        serial: "1".to_owned(),
        not_after: UtcMillis::new(i64::MAX),
    }))
}

impl Node {
    #[must_use]
    pub fn new(index: usize, hub: &HubId, plan: &Plan, dice: &mut Dice) -> Self {
        let name = format!("n{index:02}");
        let gap = Millis::new(plan.step_ms * 3);
        let is_steady = plan.has_true_clocks();
        let kinds = [Kind::Gpu, Kind::Rapl, Kind::Integrated];
        let sensors = kinds.iter().enumerate().filter(|(which, kind)| {
            *which == 0 || (dice.once_in(2) && (is_steady || **kind != Kind::Rapl))
        });
        let sensors: Vec<(usize, Kind)> = sensors.map(|(which, kind)| (which, *kind)).collect();
        let sensors = sensors
            .into_iter()
            .map(|(which, kind)| Sensor::new(kind, &format!("{name}-{which}"), gap, dice));
        Self {
            id: NodeId::new(&name).expect("a valid name"),
            hub: hub.clone(),
            peer: proven(hub, &name),
            sensors: sensors.collect(),
            boot: BootId::new(dice.bytes()),
            booted_at: 0,
            disk: ModelDisk::new(dice.draw()),
            life: None,
            lives: 0,
            clock_off_ms: 0,
            link: Link::default(),
            backup: None,
            is_damaged: false,
            newest: None,
            limits: Limits { bytes_max: plan.spool_bytes, keep_acked: Millis::new(plan.keep_ms) },
            step: Millis::new(plan.step_ms),
        }
    }

    #[must_use]
    pub fn utc(&self, now: u64) -> UtcMillis {
        let now = i64::try_from(now).expect("histories are short");
        UtcMillis::new(BEGIN_UTC_MS + now + self.clock_off_ms)
    }

    /// The machine starts; its registers and the clock that nobody sets begin at 0.
    pub fn boots(&mut self, now: u64, boot: BootId) {
        (self.boot, self.booted_at) = (boot, now);
        self.sensors.iter_mut().for_each(|sensor| sensor.machine_booted(now));
    }

    fn uptime(&self, now: u64) -> Uptime {
        Uptime { boot: self.boot, at: Millis::new(now.saturating_sub(self.booted_at)) }
    }

    /// What this agent can say of its collector's clock.
    #[must_use]
    pub fn claim(&self, now: u64) -> Option<Claim> {
        let Uptime { boot, at } = self.uptime(now);
        let (zero_ms, bound_ms) = self.life.as_ref()?.collector_clock.claim(at)?;
        Some(Claim { boot, zero_ms, bound_ms })
    }

    /// Hears the collector's time in an answer to what was sent then.
    pub fn learn(&mut self, answer: &Answer, sent: u64, now: u64) {
        let (sent, heard) = (self.uptime(sent).at, self.uptime(now).at);
        if let (Answer::Ok(body), Some(life)) = (answer, &mut self.life)
            && let Some(utc) = told(body)
        {
            life.collector_clock.learn(Exchange { sent, heard, utc });
        }
    }

    fn now(&self, now: u64) -> Now {
        let born = self.life.as_ref().map_or(0, |life| life.born);
        Now { moment: Moment::new(now.saturating_sub(born)), utc: self.utc(now) }
    }

    #[must_use]
    pub fn epoch(&self) -> Option<SpoolEpoch> {
        self.life.as_ref().map(|life| life.line.spool().epoch())
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// If the spool cannot be opened; then it is tried again later.
    pub fn start(&mut self, now: u64, dice: &mut Dice) -> Result<Opened, SpoolError> {
        let owner =
            Owner { hub: self.hub.clone(), node: self.id.clone(), agent: "bijli-sim/1".to_owned() };
        let fresh = Fresh { epoch: SpoolEpoch::new(dice.bytes()), salt: dice.draw() };
        let (spool, opened) =
            Spool::open(self.disk.clone(), Path::new(SPOOL), self.limits, owner, fresh)?;
        self.lives += 1;
        for sensor in &mut self.sensors {
            sensor.agent_started(now);
        }
        let origin = Origin {
            hub: self.hub.clone(),
            node: self.id.clone(),
            agent: "bijli-sim/1".to_owned(),
        };
        let mut epochs = Dice::new(dice.draw());
        let draw = move || Some(SpoolEpoch::new(epochs.bytes()));
        let chance = Chance { seed: dice.draw(), draw: Box::new(draw) };
        self.life = Some(Life {
            line: Line::new(spool, chance),
            collector_clock: CollectorClock::default(),
            batcher: Batcher::new(origin),
            born: now,
            rows: 0,
            connection: 0,
            wake_at: None,
            waiting: Vec::new(),
        });
        Ok(opened)
    }

    /// Reads every register; true if that made a batch.
    pub fn sample(
        &mut self,
        now: u64,
        (sensors, rows): (&Sensors, u64),
        (dice, tally): (&mut Dice, &mut Tally),
        truths: &mut Truths,
    ) -> Done {
        let mut values = Vec::with_capacity(self.sensors.len());
        for sensor in &mut self.sensors {
            let (value, truth) = sensor.read(now, (sensors, dice), tally);
            if let (Some(count), Some(truth)) = (value, truth) {
                remember(truths, &sensor.subject.id, count, truth);
            }
            values.push(value);
        }
        let description = self.description();
        let utc = self.utc(now);
        let tick = utc.floor_to(self.step);
        let Some(life) = &mut self.life else { return Done::default() };
        let before = life.batcher.describe(0, description, utc).expect("within the limits");
        life.batcher.begin(tick);
        let sample = Sample { cadence: Cadence::Every(self.step), at: None, values };
        life.batcher.sample(0, tick, &sample);
        life.rows += 1;
        let is_full = life.rows >= rows;
        let mut done = Done::default();
        if let Some(draft) = before {
            self.store(draft, now, &mut done);
        }
        if is_full {
            self.flush(now, &mut done);
        }
        done
    }

    /// Makes a batch of what was gathered.
    pub fn flush(&mut self, now: u64, done: &mut Done) {
        let utc = self.utc(now);
        let Some(life) = &mut self.life else { return };
        life.rows = 0;
        if let Some(draft) = life.batcher.take(utc) {
            self.store(draft, now, done);
        }
    }

    fn store(&mut self, draft: Draft, at: u64, done: &mut Done) {
        let now = self.now(at);
        let draft = Draft { uptime: Some(self.uptime(at)), ..draft };
        let Some(life) = &mut self.life else { return };
        let sequence = life.line.spool().next();
        match life.line.store(&draft, now, &mut done.work) {
            Ok(Stored::Durable { through }) => {
                life.waiting.push(sequence);
                done.durable.extend(life.waiting.extract_if(.., |waits| *waits <= through));
            }
            Ok(Stored::Waiting) => life.waiting.push(sequence),
            Ok(Stored::Full) => done.full += 1,
            Err(error) => done.is_fatal |= error.is_fatal(),
        }
    }

    /// Tells the line what happened.
    pub fn tell(&mut self, input: Input, at: u64) -> Done {
        let now = self.now(at);
        let mut done = Done::default();
        let Some(life) = &mut self.life else { return done };
        done.is_fatal = life.line.on_input(input, now, &mut done.work).is_err();
        done
    }

    /// When the line wants to hear of the time.
    #[must_use]
    pub fn wants_wake(&self, at: u64) -> Option<u64> {
        let life = self.life.as_ref()?;
        let moment = life.line.wake_at(self.now(at).moment)?;
        Some(life.born + moment.get())
    }

    fn description(&self) -> Description {
        let cadence = Cadence::Every(self.step);
        let series = (0..self.sensors.len()).map(|subject| Offer {
            cadence,
            subject,
            quantity: Quantity::EnergyRegister,
            part: 0,
        });
        Description {
            subjects: self.sensors.iter().map(|sensor| sensor.subject.clone()).collect(),
            series: series.collect(),
            notes: Vec::new(),
        }
    }
}
