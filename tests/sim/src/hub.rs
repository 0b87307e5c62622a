//! The collector: real door, intake, group commit, replay, bookkeeper, books and ledger log, on a
//! model disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use bijli_agent::uplink::line::{self, Answer, Verb};
use bijli_collector::bookkeeper::Bookkeeper;
use bijli_collector::clock::Clock;
use bijli_collector::config::HubConfig;
use bijli_collector::frame::Frame;
use bijli_collector::health::Health;
use bijli_collector::ingest::admission::LaneKey;
use bijli_collector::ingest::correction::Claim;
use bijli_collector::ingest::door::{Decision, Door, Peer};
use bijli_collector::intake::{Fact, Intake, Reply};
use bijli_collector::journal::{
    FACTS_MAX, Outcome, Request, Retention, Setting, Writer, plain, tick,
};
use bijli_collector::refusal::Refusal;
use bijli_collector::replay;
use bijli_collector::state::{Hub, State};
use bijli_ledger::Rules;
use bijli_seglog::testing::ModelDisk;
use bijli_seglog::{Log, LogError, Options, RecordSeq, Recovery};
use bijli_wire::{BatchSeq, ContentHash, ErrorCode, HubId, Millis, UtcMillis, codec};
use bytes::Bytes;

use crate::dice::Dice;
use crate::ledger::LedgerLog;
use crate::node::BEGIN_UTC_MS;
use crate::oracle::{Lane, Oracle, Violation};
use crate::plan::Plan;

const JOURNAL: &str = "/journal";
/// Far more than any history's batch has.
const RECORD_BYTES_MAX: u32 = 16 << 10;

/// Who waits for an answer: the caller's own number for it.
pub type Token = u64;

/// What a request led to.
#[derive(Debug)]
pub enum Reaction {
    /// The answer, now.
    Answer(Answer),
    /// It comes with the group that is committed next.
    Queued,
}

/// A request as it comes in.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub request: &'a line::Request,
    pub peer: &'a Peer,
    /// What its sender knows of this collector's clock.
    pub claim: Option<Claim>,
}

/// What a start found on the disk.
#[derive(Debug)]
pub struct Started {
    pub journal: Recovery,
    pub ledger: Recovery,
}

/// The machine of the collector.
#[derive(Debug)]
pub struct Collector {
    pub id: HubId,
    pub disk: ModelDisk,
    pub life: Option<Life>,
    /// Counts starts: a connection leads to one life.
    pub lives: u64,
    pub backup: Option<ModelDisk>,
    /// The disk lied: what was durable may be gone.
    pub is_damaged: bool,
    rules: Rules,
    segment_bytes: u64,
    health: Health,
}

/// One run of the collector.
#[derive(Debug)]
pub struct Life {
    pub writer: Writer<ModelDisk>,
    pub state: Arc<State>,
    intake: Arc<Mutex<Intake>>,
    bookkeeper: Bookkeeper,
    ledger: LedgerLog,
    facts: Receiver<Fact>,
    group: Vec<Request>,
    /// What is answered to whom if its frame becomes durable.
    waiting: BTreeMap<Token, String>,
    outcomes: Arc<Mutex<Vec<(Token, Outcome)>>>,
}

impl Collector {
    #[must_use]
    pub fn new(plan: &Plan, health: Health, dice: &mut Dice) -> Self {
        let interval = Millis::new(plan.interval_ms);
        Self {
            id: HubId::new("isb").expect("a valid name"),
            disk: ModelDisk::new(dice.draw()),
            life: None,
            lives: 0,
            backup: None,
            is_damaged: false,
            rules: Rules { interval, close_after: interval, keep: Millis::new(35 * 86_400_000) },
            segment_bytes: plan.segment_bytes + u64::from(RECORD_BYTES_MAX),
            health,
        }
    }

    #[must_use]
    pub fn utc(&self, now: u64) -> UtcMillis {
        let now = i64::try_from(now).expect("histories are short");
        UtcMillis::new(BEGIN_UTC_MS + now)
    }

    fn open(&self, disk: &ModelDisk, salt: u64) -> Result<(Log<ModelDisk>, Recovery), LogError> {
        let options = Options::new(self.segment_bytes, RECORD_BYTES_MAX).expect("it fits");
        Log::open(disk.clone(), Path::new(JOURNAL), options.with_salt(salt))
    }

    /// Starts, replays, and begins a new journal if there is none.
    ///
    /// # Errors
    /// `Ok(Err(..))` if journal or ledger log cannot be opened now; `Err` if a promise is broken.
    pub fn start(
        &mut self,
        now: u64,
        oracle: &mut Oracle,
        dice: &mut Dice,
    ) -> Result<Result<Started, LogError>, Violation> {
        let opened = self.open(&self.disk, dice.draw());
        let opened = opened.and_then(|journal| Ok((journal, LedgerLog::open(&self.disk)?)));
        let ((log, journal), (ledger, found)) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        oracle.collector_started();
        let mut life = self.life(log, ledger);
        if let Err(error) = life.replay(oracle)? {
            return Ok(Err(error));
        }
        // Without power nothing was read to its end.
        if !self.is_damaged && !self.disk.is_off() {
            life.ledger.invariant_is_the_journals()?;
        }
        if lock(&life.intake).rules().is_none() {
            let frame = Frame::Rules { received: self.utc(now), rules: self.rules };
            life.group.push(plain(frame));
        }
        self.life = Some(life);
        self.lives += 1;
        Ok(Ok(Started { journal, ledger: found }))
    }

    /// One that knows nothing yet.
    fn life(&self, log: Log<ModelDisk>, ledger: LedgerLog) -> Life {
        let state = Arc::new(State::new(Clock, self.rules, self.health.clone(), None));
        state.add_hub(Hub::configured(&self.config(), self.rules));
        let intake = Arc::new(Mutex::new(Intake::default()));
        let (sender, facts) = sync_channel(FACTS_MAX);
        let setting = Setting {
            clock: Clock,
            health: self.health.clone(),
            facts: sender,
            space: Box::new(|| None),
            reserve_bytes: 0,
            retention: Retention::none(),
        };
        Life {
            writer: Writer::new(log, Arc::clone(&intake), setting),
            bookkeeper: Bookkeeper::new(Arc::clone(&state)).with_leaves(ledger.inlet()),
            state,
            intake,
            ledger,
            facts,
            group: Vec::new(),
            waiting: BTreeMap::new(),
            outcomes: Arc::default(),
        }
    }

    fn config(&self) -> HubConfig {
        HubConfig {
            id: self.id.clone(),
            title: "simulated".to_owned(),
            nodes_expected: None,
            plan: bijli_collector::diagram::Plan::default(),
            tables: bijli_collector::kpi::Tables::default(),
            xids: bijli_collector::xids::Xids::default(),
            checks: bijli_collector::crosscheck::Checks::default(),
        }
    }

    /// What arrived, taken through the door.
    pub fn take(&mut self, call: Call<'_>, token: Token, now: u64) -> Reaction {
        let now = self.utc(now);
        let Some(life) = &mut self.life else {
            return Reaction::Answer(refused(Refusal::not_ready("starting")));
        };
        match life.take(call, token, now) {
            Ok(None) => Reaction::Queued,
            Ok(Some(json)) => Reaction::Answer(Answer::Ok(json.into_bytes())),
            Err(refusal) => Reaction::Answer(refused(refusal)),
        }
    }

    /// Commits what has gathered; answers and books it. `None`: the process ended with it.
    ///
    /// # Errors
    /// If a promise is broken.
    pub fn commit(
        &mut self,
        now: u64,
        oracle: &mut Oracle,
    ) -> Result<Option<Vec<(Token, Answer)>>, Violation> {
        let utc = self.utc(now);
        let Some(life) = &mut self.life else { return Ok(None) };
        let mut group = std::mem::take(&mut life.group);
        if group.is_empty() {
            group.push(tick(utc));
        }
        let is_ended = life.writer.write(group).is_err();
        let answers = life.answers();
        while let Ok(fact) = life.facts.try_recv() {
            oracle.book(fact, &mut life.bookkeeper, &life.state)?;
        }
        let is_ended = life.ledger.keep()?.is_err() || is_ended;
        if !self.is_damaged && !self.disk.is_off() {
            life.ledger.invariant_is_the_journals()?;
        }
        // What was answered before the process ended is on its way.
        if is_ended {
            self.life = None;
        }
        Ok(Some(answers))
    }

    #[must_use]
    pub fn has_group(&self) -> bool {
        self.life.as_ref().is_some_and(|life| !life.group.is_empty())
    }

    /// The hashes of all bodies that would be there after a power cut now.
    #[must_use]
    pub fn durable_now(&self, seed: u64) -> Vec<ContentHash> {
        let disk = self.disk.fork(seed);
        disk.power_cut();
        self.open(&disk, 0).map_or_else(|_| Vec::new(), |(log, _)| hashes(&log))
    }

    /// The hashes of all bodies in the journal, read past all faults.
    #[must_use]
    pub fn journalled(&self) -> Vec<ContentHash> {
        let disk = self.disk.fork(0);
        self.open(&disk, 0).map_or_else(|_| Vec::new(), |(log, _)| hashes(&log))
    }

    /// How far a lane is without a hole.
    #[must_use]
    pub fn reached(&self, (node, epoch): &Lane) -> Option<u64> {
        let life = self.life.as_ref()?;
        let lane = LaneKey { hub: self.id.clone(), node: node.clone(), epoch: *epoch };
        Some(lock(&life.intake).reached(&lane, BatchSeq::FIRST).contiguous)
    }

    /// A digest of the books.
    #[must_use]
    pub fn digest(&self) -> String {
        self.life.as_ref().map_or_else(String::new, |life| replay::digest(&life.state).sha256)
    }
}

impl Life {
    /// Books the whole journal, and compares the leaves that the ledger log has.
    fn replay(&mut self, oracle: &mut Oracle) -> Result<Result<(), LogError>, Violation> {
        let Self { writer, state, intake, bookkeeper, ledger, .. } = self;
        let mut outcome = Ok(());
        let replayed = replay::replay(writer.log(), RecordSeq::FIRST, state, intake, |fact| {
            if outcome.is_ok() {
                outcome = oracle.book(fact, bookkeeper, state);
            }
        });
        outcome?;
        match replayed {
            Ok(_) => ledger.keep(),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The JSON of a 200, now or (`None`) when the frame is durable.
    fn take(
        &mut self,
        call: Call<'_>,
        token: Token,
        now: UtcMillis,
    ) -> Result<Option<String>, Refusal> {
        let Call { request, peer, claim } = call;
        let door = Door { state: &self.state, intake: &self.intake, peer };
        let body = Bytes::copy_from_slice(&request.body);
        match (request.verb, request.path.as_str()) {
            (Verb::Post, "/v1/batches") => {
                let decision = door.admit_batch(door.read_batch_of(body, now, claim)?, now)?;
                Ok(self.queue(token, decision))
            }
            (Verb::Put, path) if path.starts_with("/v1/schemas/") => {
                let id = path["/v1/schemas/".len()..].parse().expect("an agent's own path");
                let decision = door.admit_schema(door.read_schema(id, body)?, now)?;
                Ok(self.queue(token, decision))
            }
            (Verb::Post, "/v1/hello") => {
                let decision = door.greet(&body, now)?;
                Ok(self.queue(token, decision))
            }
            (Verb::Post | Verb::Put, path) => {
                Err(Refusal::new(ErrorCode::NotFound, format!("{path} is nothing here")))
            }
        }
    }

    fn queue<A: serde::Serialize>(
        &mut self,
        token: Token,
        decision: Decision<A>,
    ) -> Option<String> {
        let json = |answer: &A| serde_json::to_string(answer).expect("an answer is JSON");
        match decision {
            Decision::Answer(answer) => Some(json(&answer)),
            Decision::Journal { frame, note, answer } => {
                self.waiting.insert(token, json(&answer));
                let outcomes = Arc::clone(&self.outcomes);
                let reply = Reply::new(move |outcome| lock(&outcomes).push((token, outcome)));
                self.group.push(Request { frame, note, reply });
                None
            }
        }
    }

    fn answers(&mut self) -> Vec<(Token, Answer)> {
        let told = std::mem::take(&mut *lock(&self.outcomes));
        let answers = told.into_iter().map(|(token, outcome)| {
            let json = self.waiting.remove(&token).unwrap_or_default();
            let answer = match outcome {
                Outcome::Durable => Answer::Ok(json.into_bytes()),
                Outcome::DiskFull => refused(Refusal::new(ErrorCode::DiskFull, "full")),
                Outcome::Failed => refused(Refusal::new(ErrorCode::StorageFailed, "failed")),
            };
            (token, answer)
        });
        answers.collect()
    }
}

fn refused(refusal: Refusal) -> Answer {
    let retry_after = refusal.retry_after_s().map(|s| Millis::new(u64::from(s) * 1_000));
    Answer::Refused { code: refusal.code, retry_after, message: refusal.message }
}

fn hashes(log: &Log<ModelDisk>) -> Vec<ContentHash> {
    let mut found = Vec::new();
    for record in log.read_from(log.first_seq()) {
        let Ok((_, record)) = record else { continue };
        if let Ok(Frame::Batch { body, .. } | Frame::Corrected { body, .. }) =
            Frame::decode(&record)
        {
            found.push(codec::hash(&body));
        }
    }
    found
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
