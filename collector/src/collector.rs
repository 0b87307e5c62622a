//! The driver: introduces journal, bookkeeper, state and server to each other, starts them in the
//! order that keeps the promises, and stops them in the reverse.

mod declared;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use bijli_ledger::Rules;
use bijli_seglog::{Log, LogError, RealDisk};
use bijli_wire::ErrorCode;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Config;
use crate::feed::Feed;
use crate::firing::Firing;
use crate::health::Health;
use crate::index;
use crate::ingest::server::Entrance;
use crate::ingest::tls::{Gate, GateError};
use crate::ingest::{self, Ingest, server, tls};
use crate::intake::{Fact, Reply};
use crate::journal::{self, FACTS_MAX, Journal, JournalEnd, Retention, Setting, chain};
use crate::leaves::{self, Lot};
use crate::refusal::{self, Refusal};
use crate::replay;
use crate::seal::{self, Sealing};
use crate::snapshot::{Begin, Grounds, Keeping, NoBegin, Snapshots, Store};
use crate::state::{Hub, Readiness, Shared, State};

/// How long handlers may still answer after the journal failed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a collector does not start or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("nobody can come to the agents' listener")]
    Gate(#[from] GateError),
    #[error("cannot open the journal in {dir}", dir = dir.display())]
    Journal { dir: PathBuf, source: LogError },
    #[error(
        "the journal in {dir} was begun with interval {} and close_after {}, the configuration \
         says {} and {}: write the old values, or begin in another directory",
        .begun.interval, .begun.close_after, .asked.interval, .asked.close_after,
        dir = dir.display()
    )]
    RulesDiffer { dir: PathBuf, begun: Rules, asked: Rules },
    #[error("the ledger in {dir} cannot be kept", dir = dir.display())]
    Ledger { dir: PathBuf, source: LogError },
    #[error("the snapshots in {dir} cannot be kept", dir = dir.display())]
    Snapshots { dir: PathBuf, source: std::io::Error },
    #[error("the books have no begin")]
    NoBegin(#[from] NoBegin),
    #[error("the ledger log failed; start again, it recovers from disk")]
    LedgerFailed(#[source] LogError),
    #[error("cannot hand readings on to the time-series store")]
    Feed(#[source] std::io::Error),
    #[error("the ledger cannot be signed")]
    Seal(#[from] seal::KeyFileError),
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    #[error("the journal failed; start again, the journal recovers from disk")]
    JournalFailed(#[source] LogError),
    #[error(
        "less space is free in {dir} than disk_reserve, and the configuration is not in the journal \
         yet: make room, or write a smaller disk_reserve", dir = dir.display()
    )]
    NoSpace { dir: PathBuf },
    #[error("the journal in {dir} cannot be written at start", dir = dir.display())]
    Opening { dir: PathBuf },
    #[error("a part of the collector ended unexpectedly")]
    Ended,
}

/// A collector that listens; it may still be replaying.
#[derive(Debug)]
pub struct Collector {
    pub address: SocketAddr,
    /// Of the agents' own listener, if there is one.
    pub agents: Option<SocketAddr>,
    pub state: Shared,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    work: JoinHandle<Result<(), CollectorError>>,
}

/// Runs a future on a runtime of its own until it is done.
///
/// # Errors
/// When no runtime can be started.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, CollectorError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    Ok(runtime.map_err(CollectorError::Runtime)?.block_on(future))
}

/// Runs until SIGTERM, SIGINT, or a failure.
///
/// # Errors
/// When it cannot start, or the journal failed: then the process must end and be started anew.
pub async fn serve(config: Config) -> Result<(), CollectorError> {
    let mut collector = start(config, None).await?;
    tracing::info!("listening on http://{}", collector.address);
    match collector.agents {
        Some(address) => tracing::info!("agents come to https://{address}"),
        None => tracing::warn!(
            "there is no [agents] section: agents are believed by the names they claim"
        ),
    }
    tokio::select! {
        () = told_to_stop() => tracing::info!("stopping"),
        () = collector.ended() => {}
    }
    collector.stop().await
}

/// Returns on SIGTERM or SIGINT.
pub async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be heard; stop this process with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Listens, then replays and opens the journal in the background.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn start(config: Config, banner: Option<String>) -> Result<Collector, CollectorError> {
    let (listener, address) = listen_on(config.listen).await?;
    let health = Health::new();
    let state = Arc::new(State::new(Clock, config.rules, health.clone(), banner));
    for hub in &config.hubs {
        state.add_hub(Hub::configured(hub, config.rules));
    }
    if let Some(server) = &config.alertmanager {
        let firing = Firing::start(server.clone(), state.clock);
        state.set_firing(firing.map_err(CollectorError::Thread)?);
    }
    let ingest = Arc::new(Ingest::new(Arc::clone(&state)));
    let (stop, stopped) = watch::channel(false);
    let (mut servers, mut agents) = (Vec::new(), None);
    if let Some(asked) = &config.agents {
        let gate = Arc::new(Gate::open(asked, health.clone())?);
        let (listener, address) = listen_on(asked.listen).await?;
        agents = Some(address);
        let router = agents_router(Arc::clone(&ingest), &gate);
        let entrance = Entrance::Agents(router, Arc::clone(&gate));
        servers.push(tokio::spawn(gate.watch(stopped.clone())));
        let serving = server::serve(listener, entrance, health.clone(), stopped.clone());
        servers.push(tokio::spawn(serving));
    }
    let own = router(&state, &ingest, agents.is_none());
    let own = own.merge(crate::api::tlog_router(config.dir.join(seal::DIR)));
    let entrance = Entrance::Plain(own);
    servers.push(tokio::spawn(server::serve(listener, entrance, health, stopped.clone())));
    let work = tokio::spawn(work(config, ingest, stopped));
    Ok(Collector { address, agents, state, stop, servers, work })
}

async fn listen_on(address: SocketAddr) -> Result<(TcpListener, SocketAddr), CollectorError> {
    let refuse = |source| CollectorError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let bound = listener.local_addr().map_err(refuse)?;
    Ok((listener, bound))
}

impl Collector {
    /// Waits until the journal is replayed, or it ended before.
    pub async fn ready(&self) -> bool {
        loop {
            match self.state.readiness() {
                Readiness::Ready => return true,
                Readiness::Failed => return false,
                Readiness::Replaying { .. } if self.work.is_finished() => return false,
                Readiness::Replaying { .. } => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Returns when it ended by itself: that is a failure.
    pub async fn ended(&mut self) {
        while !self.work.is_finished() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Answers what is under way, makes it durable, and ends.
    ///
    /// # Errors
    /// What had ended it before, if anything had.
    pub async fn stop(self) -> Result<(), CollectorError> {
        // Nobody listening means that it has ended already.
        let _was = self.stop.send_replace(true);
        for server in self.servers {
            server.await.map_err(|_| CollectorError::Ended)?;
        }
        self.work.await.map_err(|_| CollectorError::Ended)?
    }
}

/// Every route of the agents' listener; each asks first whether the key is denied.
fn agents_router(ingest: Arc<Ingest>, gate: &Arc<Gate>) -> Router {
    ingest::agents_router(ingest)
        .fallback(refusal::not_found)
        .method_not_allowed_fallback(refusal::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(gate), tls::allowed))
}

/// Every route of the plain listener; the agents' too, where they have none of their own.
fn router(state: &Shared, ingest: &Arc<Ingest>, has_agents: bool) -> Router {
    let own = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(state));
    let agents = if has_agents { ingest::agents_router(Arc::clone(ingest)) } else { Router::new() };
    own.merge(agents)
        .merge(ingest::people_router(Arc::clone(ingest)))
        .merge(crate::status::router(Arc::clone(state)))
        .merge(crate::api::router(Arc::clone(state)))
        .merge(crate::page::router(Arc::clone(state)))
        .merge(crate::export::router(Arc::clone(state)))
        .fallback(refusal::not_found)
        .method_not_allowed_fallback(refusal::method_not_allowed)
}

type FromState = axum::extract::State<Shared>;

/// Whether the process should be left alone.
async fn healthz(axum::extract::State(state): FromState) -> Result<&'static str, Refusal> {
    match state.readiness() {
        Readiness::Ready | Readiness::Replaying { .. } => Ok("ok\n"),
        Readiness::Failed => {
            Err(Refusal::new(ErrorCode::StorageFailed, "the journal failed; restart recovers"))
        }
    }
}

/// Whether it takes batches and its books are whole.
async fn readyz(axum::extract::State(state): FromState) -> Result<&'static str, Refusal> {
    match state.readiness() {
        Readiness::Ready => Ok("ready\n"),
        Readiness::Replaying { done, total } => Err(Refusal::not_ready(format!(
            "the journal is being replayed: {done} of {total} records"
        ))),
        Readiness::Failed => {
            Err(Refusal::new(ErrorCode::StorageFailed, "the journal failed; restart recovers"))
        }
    }
}

/// The collector's own counters.
async fn metrics(axum::extract::State(state): FromState) -> impl IntoResponse {
    let is_ready = state.readiness() == Readiness::Ready;
    state.health.ready.set(i64::from(is_ready));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.health.render())
}

/// Replays, opens the journal for writing, waits for the stop, closes it.
async fn work(
    config: Config,
    ingest: Arc<Ingest>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), CollectorError> {
    let (sender, mut end) = oneshot::channel();
    let (teller, mut ledger_end) = oneshot::channel();
    let this = Arc::clone(&ingest);
    // Whoever hears of an end is below; if it is gone, so is the process.
    let ended = Ended {
        journal: Reply::new(|how| drop(sender.send(how))),
        ledger: Reply::new(|error| drop(teller.send(error))),
    };
    let opened = tokio::task::spawn_blocking(move || open(&config, &this, ended));
    let threads = opened.await.map_err(|_| CollectorError::Ended)??;
    let how = tokio::select! {
        () = server::stopped(&mut stop) => None,
        how = &mut end => Some(how),
        Ok(error) = &mut ledger_end => {
            return Err(failed(&ingest, CollectorError::LedgerFailed(error)).await);
        }
    };
    let how = match how {
        Some(how) => how,
        None => {
            close_later(&ingest).await;
            end.await
        }
    };
    match how {
        Ok(JournalEnd::Closed) => tokio::task::spawn_blocking(move || threads.join())
            .await
            .map_err(|_| CollectorError::Ended)?,
        Ok(JournalEnd::Failed(error)) => {
            Err(failed(&ingest, CollectorError::JournalFailed(error)).await)
        }
        Err(_) => Err(CollectorError::Ended),
    }
}

/// Tells everybody, and lets the handlers answer for a moment.
async fn failed(ingest: &Ingest, error: CollectorError) -> CollectorError {
    ingest.state.set_failed();
    tracing::error!(error = chain(&error), "the end");
    tokio::time::sleep(FAREWELL).await;
    error
}

/// Whom to tell that a log is at its end.
struct Ended {
    journal: Reply<JournalEnd>,
    ledger: Reply<LogError>,
}

/// What runs behind the journal.
struct Threads {
    bookkeeper: std::thread::JoinHandle<()>,
    ledger: std::thread::JoinHandle<()>,
    snapshots: std::thread::JoinHandle<()>,
    index: (index::Index, std::thread::JoinHandle<()>),
    sealing: Sealing,
    feeds: Vec<Feed>,
}

impl Threads {
    /// Waits until everything is booked, and every leaf of it durable.
    fn join(self) -> Result<(), CollectorError> {
        self.feeds.into_iter().for_each(Feed::stop);
        self.bookkeeper.join().map_err(|_| CollectorError::Ended)?;
        self.ledger.join().map_err(|_| CollectorError::Ended)?;
        self.snapshots.join().map_err(|_| CollectorError::Ended)?;
        self.sealing.stop().map_err(|_| CollectorError::Ended)?;
        let (index, thread) = self.index;
        index.close();
        thread.join().map_err(|_| CollectorError::Ended)
    }
}

/// Requests under way still reach the journal: it closes behind them, in its own order.
async fn close_later(ingest: &Arc<Ingest>) {
    tokio::time::sleep(Duration::from_millis(100)).await;
    let ingest = Arc::clone(ingest);
    let closed = tokio::task::spawn_blocking(move || {
        if let Some(journal) = ingest.journal.get() {
            journal.close();
        }
    });
    // A failure to close is seen as the journal's end.
    drop(closed.await);
}

/// Opens and replays the journal, starts the threads, and journals what the configuration says and
/// the journal does not.
fn open(config: &Config, ingest: &Ingest, ended: Ended) -> Result<Threads, CollectorError> {
    let dir = config.dir.join("journal");
    let refuse = |source| CollectorError::Journal { dir: dir.clone(), source };
    let (log, _) = replay::open(RealDisk, &dir, config.segment_bytes).map_err(refuse)?;
    let state = &ingest.state;
    let ledger = open_ledger(config)?;
    let store = open_snapshots(config)?;
    let begin_from = Begin::newest(state, &store, &Grounds { journal: &log, ledger: &ledger })?;
    let Begin { from, next_leaf, intake, bookkeeper } = begin_from;
    let begun = intake.rules().or_else(|| replay::rules(&log));
    if let Some(begun) = begun.filter(|begun| *begun != config.rules) {
        return Err(CollectorError::RulesDiffer { dir, begun, asked: config.rules });
    }
    let intake = Arc::new(Mutex::new(intake));
    let keeping = Keeping::default();
    let (snapshots, snapshots_thread) =
        Snapshots::start(store, keeping.clone(), state.health.clone())
            .map_err(CollectorError::Thread)?;
    let started = leaves::start(ledger, next_leaf, snapshots, state.health.clone(), ended.ledger)
        .map_err(CollectorError::Thread)?;
    let sealing = start_sealing(config, state, Arc::clone(&started.log))?;
    let index = index::start(&config.dir.join("index"), started.log, state.health.clone());
    let (index, index_thread) = index.map_err(CollectorError::Thread)?;
    state.set_index(index.clone());
    let (ledger, out) = (started.ledger.clone(), started.ledger);
    let mut bookkeeper = bookkeeper.with_leaves(move |lot: Lot| out.add(lot));
    let grown = replay::replay(&log, from, state, &intake, |fact| bookkeeper.book(fact));
    let grown = grown.map_err(refuse)?;
    // What it says is in the log and the metrics; whatever it is, batches are taken.
    let _keeping = ledger.replayed();
    drop(ledger);
    journal::show_size(&state.health, &log);
    let (facts, receiver) = sync_channel(FACTS_MAX);
    let thread = std::thread::Builder::new()
        .name("bookkeeper".into())
        .spawn(move || bookkeeper.run(&receiver))
        .map_err(CollectorError::Thread)?;
    let setting = Setting {
        clock: state.clock,
        health: state.health.clone(),
        facts: facts.clone(),
        space: Box::new(move || journal::free_bytes(&dir)),
        reserve_bytes: config.reserve_bytes,
        retention: Retention {
            snapshot_after: config.snapshot_after,
            grown,
            keep: config.journal_keep,
            keeping,
            ..Retention::none()
        },
    };
    let journal =
        Journal::start(log, intake, setting, ended.journal).map_err(CollectorError::Thread)?;
    declared::begin(config, ingest, &journal)?;
    barrier(&facts);
    let feeds = start_feeds(config, &journal, &state.health)?;
    if ingest.journal.set(journal).is_ok() {
        state.set_ready();
    }
    let index = (index, index_thread);
    let (ledger, snapshots) = (started.thread, snapshots_thread);
    Ok(Threads { bookkeeper: thread, ledger, snapshots, index, sealing, feeds })
}

/// Each with a cursor of its own: what one store waits for, the other does not.
fn start_feeds(
    config: &Config,
    journal: &Journal,
    health: &Health,
) -> Result<Vec<Feed>, CollectorError> {
    let dir = |name: &str| config.dir.join(name);
    let influx = config.influx.as_ref();
    let influx = influx.map(|target| Feed::influx(target, &dir("feed"), journal.clone(), health));
    let remote = config.remote_write.as_ref();
    let remote = remote
        .map(|server| Feed::remote_write(server, &dir("remote-write"), journal.clone(), health));
    let feeds: std::io::Result<Vec<Feed>> = influx.into_iter().chain(remote).collect();
    feeds.map_err(CollectorError::Feed)
}

fn start_sealing(
    config: &Config,
    state: &State,
    log: Arc<Mutex<Log<RealDisk>>>,
) -> Result<Sealing, CollectorError> {
    let sealer = config.seal.as_ref().map(|asked| asked.sealer()).transpose()?;
    let setting = seal::Setting {
        disk: RealDisk,
        dir: config.dir.join(seal::DIR),
        log,
        sealer,
        clock: state.clock,
        seals: state.seals.clone(),
        health: state.health.clone(),
    };
    seal::start(setting).map_err(CollectorError::Thread)
}

fn open_ledger(config: &Config) -> Result<Log<RealDisk>, CollectorError> {
    let dir = config.dir.join("ledger");
    let opened = leaves::open(RealDisk, &dir);
    opened.map(|(log, _)| log).map_err(|source| CollectorError::Ledger { dir, source })
}

fn open_snapshots(config: &Config) -> Result<Store<RealDisk>, CollectorError> {
    let dir = config.dir.join("snapshots");
    Store::open(RealDisk, &dir).map_err(|source| CollectorError::Snapshots { dir, source })
}

/// Waits until everything so far is booked.
fn barrier(facts: &std::sync::mpsc::SyncSender<Fact>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let told = Reply::new(move |()| {
        let _heard = sender.send(());
    });
    if facts.send(Fact::Barrier(told)).is_ok() {
        // An error means that the bookkeeper is gone: nothing is left to wait for.
        let _booked = receiver.recv();
    }
}
