//! `bijli-agent simulate`: the simulated hub as real senders, each with its own spool and link.
//!
//! The fleet lives its past as fast as the collector acks it, then goes on at one second per
//! second. Every sender is a [`Courier`] like a real agent's: real files, real sockets, real acks.
//! All of them share this process and its one thread.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bijli_fleet::{Feed, FeedError, Fleet, FleetSpec, Job, SpecError, Truth};
use bijli_identity::{Files, IdentityError, NodeName};
use bijli_wire::{HubId, Matrix, Millis, NodeId, SpoolEpoch, UtcMillis};
use hyper::Method;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time;

use crate::agent::{AgentError, LineConfig, open_line};
use crate::clock::{Clock, Moment};
use crate::config::{self, CollectorUrl};
use crate::draft::{Draft, EncodedSchema};
use crate::schedule::words;
use crate::spool::{Limits, Owner, SpoolError, Stored};
use crate::uplink::connect::Route;
use crate::uplink::http::{Answer, Client, Courier};

/// Live batches, as an agent's. History goes in larger ones: fewer fsyncs on both sides.
const BATCH_EVERY: Millis = Millis::new(5_000);
const HISTORY_BATCH_EVERY: Millis = Millis::new(60_000);
/// The slowest register of the fleet, its meters', is read so often.
const ALL_READ_EVERY: Millis = Millis::new(5_000);
/// History is lived no faster than this many batches ahead of the acks.
const BACKLOG_MAX: u64 = 32;
/// How long the end waits for the last ack.
const DRAIN_MAX: Duration = Duration::from_secs(300);
const SPOOL_BYTES_MAX: u64 = 64 << 20;
const ALLOCATION_RETRY: Duration = Duration::from_millis(500);

/// What is simulated, and where it goes.
#[derive(Clone, Debug)]
pub struct Plan {
    pub collector: CollectorUrl,
    /// For `https`: `<node>/ca.pem`, `certificate.pem` and `key.pem` of each sender below this.
    pub tls: Option<PathBuf>,
    /// Where the scheduler tells of jobs; a node's certificate is none of a scheduler.
    pub allocations: CollectorUrl,
    /// One spool below this for each sender; must hold none yet.
    pub dir: PathBuf,
    pub size: Size,
    /// How much past is lived first.
    pub history: Millis,
    /// Simulated seconds per second while in the past; `None`: as fast as it is acked.
    pub speed: Option<u64>,
    /// How long to live on after the past; `None`: until stopped.
    pub live_for: Option<Millis>,
    /// Where the exact energies are written at the end.
    pub truth: Option<PathBuf>,
}

/// The hub.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub nodes: u32,
    pub gpus_per_node: u32,
    pub seed: Option<u64>,
    pub shedding_every: Option<Millis>,
}

#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error("this hub cannot be simulated")]
    Spec { source: SpecError },
    #[error("cannot feed sender {sender}")]
    Feed { sender: usize, source: FeedError },
    #[error("cannot open the sender of {node}")]
    Open { node: String, source: AgentError },
    #[error("{dir} holds an earlier simulation, whose registers this one cannot go on; give an \
             empty --dir", dir = dir.display())]
    Used { dir: PathBuf },
    #[error("the certificate of {node} cannot be used")]
    Identity { node: String, source: Box<IdentityError> },
    #[error("the spool of {node} failed")]
    Spool { node: String, source: SpoolError },
    #[error("the spool of {node} is full: nothing is acked")]
    Full { node: String },
    #[error("a schema of the fleet cannot be encoded")]
    Schema { source: bijli_wire::BatchError },
    #[error("cannot wait for signals")]
    Signal { source: std::io::Error },
    #[error("the collector did not take everything within {DRAIN_MAX:?}")]
    NotDrained,
    #[error("the collector refuses allocation {id}: {message}")]
    Allocation { id: String, message: String },
    #[error("cannot write the truth to {path}", path = path.display())]
    WriteTruth { path: PathBuf, source: std::io::Error },
}

/// The specification of a hub that began `history` ago.
#[must_use]
pub fn spec(size: &Size, start: UtcMillis) -> FleetSpec {
    let demo = FleetSpec::demo(start);
    let shedding_every = size.shedding_every.or(demo.shedding_every);
    // A shedding lasts a third of its period, as in the demo.
    let shedding_for = shedding_every.map_or(demo.shedding_for, |every| {
        let third = every.get() / 3;
        Millis::new((third - third % 1_000).max(1_000))
    });
    FleetSpec {
        nodes: size.nodes,
        gpus_per_node: size.gpus_per_node,
        pdus: demo.pdus.min(size.nodes),
        seed: size.seed.unwrap_or(demo.seed),
        shedding_every,
        shedding_for,
        ..demo
    }
}

/// The collector's configuration of the simulated hub.
///
/// # Errors
/// If there is no such hub.
pub fn diagram(size: &Size) -> Result<String, SimulateError> {
    let start = UtcMillis::new(1_767_225_600_000);
    let fleet = Fleet::new(spec(size, start)).map_err(|source| SimulateError::Spec { source })?;
    Ok(fleet.diagram_toml())
}

/// Lives the hub until its time is over or a signal comes, and waits for the last ack.
///
/// # Errors
/// If a spool fails, the collector refuses an allocation, or the end is never acked.
pub async fn run(plan: Plan) -> Result<(), SimulateError> {
    let clock = Clock::new();
    let begin = clock.utc().floor_to(Millis::new(1_000));
    let history = i64::try_from(plan.history.get()).unwrap_or(0);
    let start = UtcMillis::new(begin.get() - history).floor_to(Millis::new(1_000));
    let fleet =
        Fleet::new(spec(&plan.size, start)).map_err(|source| SimulateError::Spec { source })?;
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut senders = Vec::new();
    for index in 0..fleet.senders().len() {
        senders.push(open_sender(&plan, &fleet, (index, clock), (&mut tasks, stopped.clone()))?);
    }
    let (jobs, queue) = mpsc::unbounded_channel();
    let (taken, jobs_taken) = watch::channel(0);
    let hub = fleet.spec().hub.clone();
    tasks.spawn(allocate(Client::new(Route::plain(plan.allocations.clone())), hub, queue, taken));
    tracing::info!(
        senders = senders.len(),
        "hub {} lives from {}",
        fleet.spec().hub,
        rfc3339(start)
    );
    let jobs = Jobs { told: jobs, count: 0, taken: jobs_taken };
    let life = Life { clock, begin, born: clock.now(), fleet, senders, jobs };
    let fleet = live(life, &plan, &mut tasks).await?;
    drain(tasks, stop).await?;
    match &plan.truth {
        Some(path) => write_truth(path, &fleet.truth()),
        None => Ok(()),
    }
}

/// One sender of the fleet.
struct Sender {
    feed: Feed,
    schema: Arc<EncodedSchema>,
    drafts: mpsc::Sender<Draft>,
    /// Rows that wait for the next batch.
    rows: Vec<Matrix>,
    /// Simulated time of the last batch.
    sent_at: UtcMillis,
}

struct Life {
    clock: Clock,
    /// The present when the simulation began.
    begin: UtcMillis,
    born: Moment,
    fleet: Fleet,
    senders: Vec<Sender>,
    jobs: Jobs,
}

/// What the collector was told of jobs, and how much of it it took.
struct Jobs {
    told: mpsc::UnboundedSender<Job>,
    count: u64,
    taken: watch::Receiver<u64>,
}

impl Jobs {
    fn tell(&mut self, job: &Job) {
        // Without its receiver the run is failing for another reason.
        if self.told.send(job.clone()).is_err() {
            tracing::debug!("nobody books allocations any more");
        }
        self.count += 1;
    }

    /// Waits until the collector has them all. A scheduler tells of a job while it runs, so the
    /// ledger knows of it before the interval closes; only then is a split exact to the second.
    async fn all_taken(&mut self) {
        let count = self.count;
        if self.taken.wait_for(|taken| *taken >= count).await.is_err() {
            tracing::debug!("nobody books allocations any more");
        }
    }
}

type Tasks = JoinSet<Result<(), SimulateError>>;

fn open_sender(
    plan: &Plan,
    fleet: &Fleet,
    (index, clock): (usize, Clock),
    (tasks, stopped): (&mut Tasks, watch::Receiver<bool>),
) -> Result<Sender, SimulateError> {
    let who = fleet.senders().get(index).expect("the index is of a sender");
    let node = who.node.to_string();
    let dir = plan.dir.join(&node);
    let config = LineConfig {
        dir: &dir,
        limits: Limits { bytes_max: SPOOL_BYTES_MAX, keep_acked: Millis::ZERO },
        route: route_of(plan, fleet, &who.node, clock)?,
        owner: Owner {
            hub: fleet.spec().hub.clone(),
            node: who.node.clone(),
            agent: who.schema.agent.clone(),
        },
    };
    let line = open_line(config, clock)
        .map_err(|source| SimulateError::Open { node: node.clone(), source })?;
    if line.spool().next().get() > 1 {
        return Err(SimulateError::Used { dir: plan.dir.clone() });
    }
    // The feed only gathers rows; the spool numbers its batches anew.
    let feed = Feed::new(fleet, index, SpoolEpoch::new([0; 16]), 1)
        .map_err(|source| SimulateError::Feed { sender: index, source })?;
    let schema = EncodedSchema { id: who.schema_id, body: who.schema_body.clone() };
    let (drafts, inbox) = mpsc::channel(1);
    tasks.spawn(Box::pin(send(line, inbox, stopped, node)));
    Ok(Sender { feed, schema: Arc::new(schema), drafts, rows: Vec::new(), sent_at: fleet.now() })
}

/// Each sender has a certificate of its own: the collector knows no node by its word.
fn route_of(
    plan: &Plan,
    fleet: &Fleet,
    node: &NodeId,
    clock: Clock,
) -> Result<Route, SimulateError> {
    let Some(folder) = &plan.tls else { return Ok(Route::plain(plan.collector.clone())) };
    let folder = folder.join(node.as_str());
    let files = Files {
        ca: folder.join("ca.pem"),
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
    };
    let me = NodeName { hub: fleet.spec().hub.clone(), node: node.clone() };
    Route::tls(plan.collector.clone(), files, me, clock).map_err(|source| SimulateError::Identity {
        node: node.to_string(),
        source: Box::new(source),
    })
}

/// The senders' names, one a line: who needs a certificate.
///
/// # Errors
/// If there is no such hub.
pub fn senders(size: &Size) -> Result<String, SimulateError> {
    let start = UtcMillis::new(1_767_225_600_000);
    let fleet = Fleet::new(spec(size, start)).map_err(|source| SimulateError::Spec { source })?;
    Ok(fleet.senders().iter().map(|sender| format!("{}\n", sender.node)).collect())
}

/// Empties one sender's drafts into its line until there are no more and all are acked.
async fn send(
    mut line: Courier,
    mut inbox: mpsc::Receiver<Draft>,
    mut stopped: watch::Receiver<bool>,
    node: String,
) -> Result<(), SimulateError> {
    let failed = |source| SimulateError::Spool { node: node.clone(), source };
    let mut is_open = true;
    while is_open || line.backlog() > 0 {
        tokio::select! {
            draft = inbox.recv(), if is_open && line.backlog() < BACKLOG_MAX => match draft {
                Some(draft) => {
                    if line.store(&draft).map_err(failed)? == Stored::Full {
                        return Err(SimulateError::Full { node });
                    }
                }
                None => is_open = false,
            },
            outcome = line.step() => outcome.map_err(failed)?,
            _ = stopped.wait_for(|stop| *stop) => break,
        }
    }
    line.close().map_err(failed)
}

/// Tells the collector who holds what, one after the other, as often as it takes.
async fn allocate(
    client: Client,
    hub: HubId,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    taken: watch::Sender<u64>,
) -> Result<(), SimulateError> {
    while let Some(job) = jobs.recv().await {
        let devices: Vec<&str> = job.holds.iter().map(bijli_wire::SubjectId::as_str).collect();
        let mut body = json!({
            "id": job.id, "hub": hub.as_str(), "project": job.project.as_str(),
            "devices": devices, "from": rfc3339(job.from),
            "who": "simulated scheduler", "why": "simulated job",
        });
        if let (Some(to), Some(fields)) = (job.to, body.as_object_mut()) {
            fields.insert("to".to_owned(), json!(rfc3339(to)));
        }
        let path = format!("/v1/allocations/{}", job.id);
        loop {
            let body = body.to_string().into_bytes();
            match Box::pin(client.ask(Method::PUT, &path, "application/json", body)).await {
                Ok(Answer::Ok(text)) if is_json(&text) => break,
                Ok(Answer::Ok(_)) => tracing::warn!("allocation: a page of somebody else's"),
                Ok(Answer::Refused { code, message, .. }) if !code.is_retryable() => {
                    return Err(SimulateError::Allocation { id: job.id, message });
                }
                Ok(Answer::Refused { message, .. }) => tracing::warn!("allocation: {message}"),
                Err(e) => tracing::warn!("allocation: {}", words(&e)),
            }
            time::sleep(ALLOCATION_RETRY).await;
        }
        taken.send_modify(|taken| *taken += 1);
    }
    Ok(())
}

/// What stands before a collector answers 200 too, and not in JSON.
fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(text).is_ok()
}

/// Lives second by second; gives the fleet back when its time is over.
async fn live(mut life: Life, plan: &Plan, tasks: &mut Tasks) -> Result<Fleet, SimulateError> {
    let waited = |source| SimulateError::Signal { source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(waited)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(waited)?;
    let mut present = None;
    life.tell_jobs();
    loop {
        let ahead = tokio::select! {
            biased;
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            // A sender's task ends early only when it failed.
            Some(ended) = tasks.join_next() => match ended {
                Ok(outcome) => { outcome?; continue }
                Err(_) => continue,
            },
            ahead = life.second(plan) => ahead,
        };
        if ahead && present.is_none() {
            let took = life.clock.now().since(life.born);
            tracing::info!("the present is reached after {took}; one second per second from here");
            present = Some(life.clock.now());
        }
        let lived = present.map(|since| life.clock.now().since(since));
        if plan.live_for.is_some_and(|most| lived.is_some_and(|lived| lived >= most)) {
            break;
        }
    }
    life.end().await;
    Ok(life.fleet)
}

impl Life {
    /// Lives one second, or waits until it may be lived. True when the past is over.
    async fn second(&mut self, plan: &Plan) -> bool {
        let now = self.clock.utc();
        let is_past = self.fleet.now() < self.begin;
        let may_live_at = match plan.speed.filter(|_| is_past) {
            Some(speed) => {
                let start = self.fleet.spec().start;
                let lived = self.fleet.now().since(start).unwrap_or(Millis::ZERO);
                let due = self.born.after(Millis::new(lived.get() / speed.max(1)));
                due.since(self.clock.now())
            }
            None => self.fleet.now().since(now).unwrap_or(Millis::ZERO),
        };
        if may_live_at > Millis::ZERO {
            time::sleep(Duration::from_millis(may_live_at.get())).await;
            return !is_past;
        }
        let every = if is_past { HISTORY_BATCH_EVERY } else { BATCH_EVERY };
        let at = self.fleet.now();
        // All that may wait comes before the fleet moves: dropped midway, it is simply done again.
        self.jobs.all_taken().await;
        for sender in &mut self.senders {
            sender.gather(&self.fleet);
            if at.since(sender.sent_at) >= Some(every) {
                sender.finish(at).await;
            }
        }
        self.fleet.step();
        self.tell_jobs();
        false
    }

    /// Lives on to the next moment at which every register is read, so that what was sent says
    /// as much as the truth does.
    async fn end(&mut self) {
        while self.fleet.now().floor_to(ALL_READ_EVERY) != self.fleet.now() {
            for sender in &mut self.senders {
                sender.gather(&self.fleet);
            }
            self.fleet.step();
            self.tell_jobs();
        }
        self.jobs.all_taken().await;
        for sender in &mut self.senders {
            sender.gather(&self.fleet);
            sender.finish(self.fleet.now()).await;
        }
    }

    fn tell_jobs(&mut self) {
        for job in self.fleet.allocations_changed() {
            self.jobs.tell(job);
        }
    }
}

impl Sender {
    /// Takes this second's rows; a second call in the same second adds nothing.
    fn gather(&mut self, fleet: &Fleet) {
        let Some(batch) = self.feed.take(fleet) else { return };
        for matrix in batch.matrices {
            match self.rows.iter_mut().find(|known| known.group == matrix.group) {
                Some(known) => {
                    known.times.extend(matrix.times);
                    for (column, more) in known.columns.iter_mut().zip(matrix.columns) {
                        column.extend(more);
                    }
                }
                None => self.rows.push(matrix),
            }
        }
    }

    /// Hands what was gathered to the line; waits while that is behind.
    async fn finish(&mut self, now: UtcMillis) {
        if self.rows.is_empty() {
            return;
        }
        // The rows leave only when there is room, so that a dropped call loses none.
        let Ok(room) = self.drafts.reserve().await else { return };
        self.sent_at = now;
        room.send(Draft {
            schema: Arc::clone(&self.schema),
            created: now,
            uptime: None,
            matrices: std::mem::take(&mut self.rows),
            events: Vec::new(),
            holds: Vec::new(),
        });
    }
}

/// Waits until every line is acked and closed; a second signal or too long a wait ends it.
async fn drain(mut tasks: Tasks, stop: watch::Sender<bool>) -> Result<(), SimulateError> {
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|source| SimulateError::Signal { source })?;
    let mut failures = VecDeque::new();
    let deadline = time::sleep(DRAIN_MAX);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(Ok(Err(e))) => failures.push_back(e),
                Some(Ok(Ok(())) | Err(_)) => {}
                None => break,
            },
            () = &mut deadline => {
                failures.push_back(SimulateError::NotDrained);
                break;
            }
            _ = interrupt.recv() => break,
        }
    }
    // Lines that still wait close their spools now.
    if stop.send(true).is_err() {
        tracing::debug!("every line is closed");
    }
    while let Ok(Some(_)) = time::timeout(Duration::from_secs(5), tasks.join_next()).await {}
    failures.pop_front().map_or(Ok(()), Err)
}

/// Decimal strings: 64 bits do not fit a JSON number everywhere.
fn write_truth(path: &Path, truth: &Truth) -> Result<(), SimulateError> {
    let subjects: serde_json::Map<String, serde_json::Value> = truth
        .energies()
        .map(|(id, energy)| (id.to_string(), json!(energy.get().to_string())))
        .collect();
    let projects: serde_json::Map<String, serde_json::Value> = truth
        .projects
        .iter()
        .map(|(id, energy)| {
            let energies = json!({
                "gpu_active_mj": energy.gpu_active.get().to_string(),
                "gpu_held_idle_mj": energy.gpu_held_idle.get().to_string(),
            });
            (id.to_string(), energies)
        })
        .collect();
    let text = json!({
        "from": rfc3339(truth.from),
        "to": rfc3339(truth.to),
        "subjects": subjects,
        "projects": projects,
        "unallocated_idle_mj": truth.unallocated_idle.get().to_string(),
        "store": {
            "drawn_mj": truth.store.drawn.get().to_string(),
            "charged_mj": truth.store.charged.get().to_string(),
            "ups_loss_mj": truth.store.ups_loss.get().to_string(),
        },
    });
    config::write_report(path, &format!("{text:#}\n"))
        .map_err(|source| SimulateError::WriteTruth { path: path.to_owned(), source })
}

fn rfc3339(at: UtcMillis) -> String {
    chrono::DateTime::from_timestamp_millis(at.get()).map_or_else(
        || at.to_string(),
        |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a test reads what was written")]

    use std::collections::BTreeMap;

    use bijli_wire::{NodeId, codec};

    use super::*;
    use crate::uplink::http::stub;

    const SMALL: Size = Size { nodes: 2, gpus_per_node: 2, seed: Some(1), shedding_every: None };

    #[test]
    fn the_diagram_names_every_node_and_says_it_is_simulated() {
        let text = diagram(&SMALL).unwrap();
        assert!(text.contains("sim-lahore") && text.contains("(simulated)"), "{text}");
        let fleet = Fleet::new(spec(&SMALL, UtcMillis::new(1_767_225_600_000))).unwrap();
        for sender in fleet.placements() {
            assert!(text.contains(sender.0.as_str()), "{text}");
        }
    }

    #[test]
    fn a_shedding_leaves_time_between_two() {
        let size = Size { shedding_every: Some(Millis::new(240_000)), ..SMALL };
        let spec = spec(&size, UtcMillis::new(1_767_225_600_000));
        assert_eq!(spec.shedding_for, Millis::new(80_000));
        assert_eq!(spec.check(), Ok(()));
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(rfc3339(UtcMillis::new(1_767_225_600_001)), "2026-01-01T00:00:00.001Z");
    }

    /// Goal: a small hub through real spools and sockets; every second of every sender arrives
    /// exactly once, every job is told, and the truth is written.
    #[tokio::test]
    async fn every_second_of_every_sender_arrives_once() {
        let shelf = stub::Shared::default();
        let collector = stub::serve(Arc::clone(&shelf)).await;
        let folder = tempfile::tempdir().unwrap();
        let truth = folder.path().join("truth.json");
        let plan = Plan {
            collector: collector.clone(),
            tls: None,
            allocations: collector,
            dir: folder.path().join("senders"),
            size: SMALL,
            history: Millis::new(600_000),
            speed: None,
            live_for: Some(Millis::new(2_000)),
            truth: Some(truth.clone()),
        };
        run(plan.clone()).await.unwrap();
        let text: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&truth).unwrap()).unwrap();
        assert!(text["subjects"].as_object().unwrap().len() > 8, "{text}");

        let shelf = std::mem::take(&mut *shelf.lock().unwrap());
        assert!(!shelf.allocations.is_empty());
        assert!(shelf.allocations.iter().all(|job| job["hub"] == "sim-lahore"));
        let mut hot: BTreeMap<NodeId, Vec<i64>> = BTreeMap::new();
        let mut next: BTreeMap<NodeId, u64> = BTreeMap::new();
        for ((node, sequence), body) in &shelf.batches {
            let opened = codec::open(body).unwrap();
            let id = opened.envelope.schema;
            let batch = opened.read(id, &shelf.schemas[&id]).unwrap();
            let expected = next.entry(node.clone()).or_insert(1);
            assert_eq!(sequence.get(), *expected);
            *expected += 1;
            let first_group = batch.matrices.iter().find(|matrix| matrix.group == 0).unwrap();
            hot.entry(node.clone())
                .or_default()
                .extend(first_group.times.iter().map(|time| time.get()));
        }
        assert_eq!(hot.len(), 3, "two nodes and the gateway");
        for (node, times) in hot {
            // The first row is the start's, which need not be a whole period before the second.
            let step = times[2] - times[1];
            assert!(times[1..].windows(2).all(|pair| pair[1] - pair[0] == step), "{node}");
            assert!(times[times.len() - 1] - times[0] >= 600_000, "{node}");
            let end = crate::simulate::rfc3339(UtcMillis::new(times[times.len() - 1]));
            assert_eq!(text["to"], end, "{node}: the last reading is at the truth's end");
        }
        let again = run(plan).await.expect_err("its registers cannot go on");
        assert!(matches!(again, SimulateError::Used { .. }), "{again}");
    }
}
