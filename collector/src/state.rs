//! What the HTTP handlers may read: each hub's books and live view, and how the collector fares.
//!
//! Written by the bookkeeper only (`bookkeeper.rs`), read by everybody. Whoever holds a read
//! guard holds back booking, so take what you need, drop the guard, then render. A guard is never
//! held across an `await`. Ingest never waits for these locks.
//!
//! **Architecture invariant:** nothing here writes to the journal; a reader cannot change a book.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bijli_ledger::{Books, Rules};
use bijli_wire::{HubId, UtcMillis};

use crate::as_of::{self, AsOf, AsOfError, Moments};
use crate::carried::Room;
use crate::clock::Clock;
use crate::config::HubConfig;
use crate::crosscheck::{Checks, Watch};
use crate::diagram::Plan;
use crate::firing::Firing;
use crate::health::Health;
use crate::index::Index;
use crate::kpi::Tables;
use crate::projects::Registry;
use crate::projects::spent::Spent;
use crate::seal::Seals;
use crate::xids::Xids;

/// Shared by every handler.
pub type Shared = Arc<State>;

/// The collector as its readers see it.
#[derive(Debug)]
pub struct State {
    pub clock: Clock,
    pub started: UtcMillis,
    pub rules: Rules,
    /// The collector's own counters; `/metrics` renders them.
    pub health: Health,
    /// Shown at the top of every page, e.g. that the readings are simulated.
    pub banner: Option<String>,
    /// Decoded batches between the door and the books.
    pub room: Room,
    /// How the hubs' transparency logs stand.
    pub seals: Seals,
    hubs: RwLock<BTreeMap<HubId, Arc<Hub>>>,
    replay: Replay,
    index: OnceLock<Index>,
    firing: OnceLock<Firing>,
    leaves_made: AtomicU64,
    moments: RwLock<Moments>,
    registry: RwLock<Registry>,
    spent: RwLock<Spent>,
    is_reckoning: AtomicBool,
}

/// One hub. Its books are a pure function of the journal.
#[derive(Debug)]
pub struct Hub {
    pub id: HubId,
    /// For people; the id where the configuration gives none.
    pub title: String,
    /// Nodes that should report; `None`: not declared, so none is called missing.
    pub nodes_expected: Option<u32>,
    /// False for a hub that is only in the journal: kept and shown, but takes no batches.
    pub is_configured: bool,
    /// The XID catalogue as its operators have it.
    pub xids: Xids,
    /// Which bands its cross-checks have.
    pub checks: Checks,
    books: RwLock<Books>,
    watch: RwLock<Watch>,
    live: RwLock<crate::live::Live>,
    view: RwLock<View>,
}

/// What the bookkeeper keeps beside the books, for pages. (Allocations: ask the books.)
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The single-line diagram last journalled, as declared; empty: none was. Where its
    /// `pue_category` is `None`, nobody may show a PUE, whatever the books could compute.
    pub plan: Plan,
    /// What the figures beside PUE rest on; empty: nothing is declared.
    pub tables: Arc<Tables>,
    /// Receive time of the newest frame; what the books call now.
    pub booked_until: Option<UtcMillis>,
}

/// Where the replay of the journal stands.
#[derive(Debug, Default)]
struct Replay {
    phase: AtomicU64,
    done: AtomicU64,
    total: AtomicU64,
}

/// Whether the collector can be believed and written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The books are being rebuilt; what is shown is incomplete, batches are refused.
    Replaying {
        done: u64,
        total: u64,
    },
    Ready,
    /// The journal failed; the process is about to exit and a restart recovers.
    Failed,
}

const PHASE_READY: u64 = 1;
const PHASE_FAILED: u64 = 2;

impl State {
    #[must_use]
    pub fn new(clock: Clock, rules: Rules, health: Health, banner: Option<String>) -> Self {
        let (hubs, replay, room) = (RwLock::default(), Replay::default(), Room::default());
        let (index, leaves_made, started) = (OnceLock::new(), AtomicU64::new(0), clock.now());
        let firing = OnceLock::new();
        let seals = Seals::default();
        let (moments, registry) = (RwLock::default(), RwLock::default());
        let (spent, is_reckoning) = (RwLock::default(), AtomicBool::new(false));
        Self {
            clock,
            started,
            rules,
            health,
            banner,
            room,
            hubs,
            replay,
            index,
            firing,
            seals,
            leaves_made,
            moments,
            registry,
            spent,
            is_reckoning,
        }
    }

    #[must_use]
    pub fn hub(&self, id: &HubId) -> Option<Arc<Hub>> {
        read(&self.hubs).get(id).cloned()
    }

    /// By hub id.
    #[must_use]
    pub fn hubs(&self) -> Vec<Arc<Hub>> {
        read(&self.hubs).values().cloned().collect()
    }

    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match self.replay.phase.load(Ordering::Acquire) {
            PHASE_READY => Readiness::Ready,
            PHASE_FAILED => Readiness::Failed,
            _ => Readiness::Replaying {
                done: self.replay.done.load(Ordering::Relaxed),
                total: self.replay.total.load(Ordering::Relaxed),
            },
        }
    }

    /// What is asked of entries that the books no longer hold; `None` before it is opened.
    pub fn index(&self) -> Option<&Index> {
        self.index.get()
    }

    /// Who is asked what fires; `None`: nobody.
    pub fn firing(&self) -> Option<&Firing> {
        self.firing.get()
    }

    pub(crate) fn set_firing(&self, firing: Firing) {
        // Set once, by the driver.
        drop(self.firing.set(firing));
    }

    pub(crate) fn set_index(&self, index: Index) {
        // Opened once, by the driver.
        drop(self.index.set(index));
    }

    /// Leaves of what the books have posted. The ledger log may not have the newest yet: read it
    /// while the books are locked, and nothing that they have let go of is in a later leaf.
    pub(crate) fn leaves_made(&self) -> u64 {
        self.leaves_made.load(Ordering::Acquire)
    }

    pub(crate) fn set_leaves_made(&self, count: u64) {
        self.leaves_made.store(count, Ordering::Release);
    }

    pub(crate) fn moments(&self) -> RwLockReadGuard<'_, Moments> {
        read(&self.moments)
    }

    pub(crate) fn moments_mut(&self) -> RwLockWriteGuard<'_, Moments> {
        write(&self.moments)
    }

    /// Which account is which project's.
    pub fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        read(&self.registry)
    }

    pub(crate) fn registry_mut(&self) -> RwLockWriteGuard<'_, Registry> {
        write(&self.registry)
    }

    /// What projects with a budget have used, as of a moment not long ago.
    pub(crate) fn spent(&self) -> Spent {
        read(&self.spent).clone()
    }

    /// Reckons it anew, unless somebody is at it; who does may take long.
    pub(crate) fn reckon_spent(&self, reckon: impl FnOnce(Spent) -> Option<Spent>) {
        if self.is_reckoning.swap(true, Ordering::AcqRel) {
            return;
        }
        let spent = reckon(self.spent());
        if let Some(spent) = spent {
            *write(&self.spent) = spent;
        }
        self.is_reckoning.store(false, Ordering::Release);
    }

    /// What an answer rests on that is asked for as of a moment; of now, if none is named.
    ///
    /// # Errors
    /// When it is no moment, or one that has not come.
    pub fn as_of(&self, asked: Option<&str>) -> Result<AsOf, AsOfError> {
        let registry = self.registry();
        // The registry is held: no change comes between its count and that of the leaves.
        let (leaves, known) = (self.leaves_made(), registry.changes());
        match asked.map(as_of::Asked::parse).transpose()? {
            None => Ok(AsOf { leaves, changes: known }),
            Some(as_of::Asked::Time(at)) => {
                let leaves = self.moments().leaves_at(at)?;
                Ok(AsOf { leaves, changes: registry.changes_by(at) })
            }
            Some(as_of::Asked::Leaves { leaves: asked, .. }) if asked > leaves => {
                Err(AsOfError::Beyond { what: "leaves", asked, known: leaves })
            }
            Some(as_of::Asked::Leaves { leaves, changes }) => {
                let changes = changes.unwrap_or_else(|| registry.changes_by_leaves(leaves));
                registry.as_of(changes).map(|_| AsOf { leaves, changes })
            }
        }
    }

    /// Adds a hub, unless it is there.
    pub fn add_hub(&self, hub: Hub) -> Arc<Hub> {
        let mut hubs = write(&self.hubs);
        Arc::clone(hubs.entry(hub.id.clone()).or_insert_with(|| Arc::new(hub)))
    }

    pub(crate) fn replayed(&self, done: u64, total: u64) {
        self.replay.done.store(done, Ordering::Relaxed);
        self.replay.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn set_ready(&self) {
        let phase = &self.replay.phase;
        // A journal that failed stays failed until the process is started anew.
        let _was = phase.compare_exchange(0, PHASE_READY, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn set_failed(&self) {
        self.replay.phase.store(PHASE_FAILED, Ordering::Release);
    }
}

impl Hub {
    /// A hub that only the journal knows.
    pub(crate) fn journalled(id: HubId, rules: Rules) -> Self {
        Self {
            books: RwLock::new(Books::new(id.clone(), rules)),
            live: RwLock::default(),
            view: RwLock::default(),
            watch: RwLock::default(),
            checks: Checks::default(),
            nodes_expected: None,
            is_configured: false,
            xids: Xids::default(),
            title: id.to_string(),
            id,
        }
    }

    /// A hub that takes batches.
    #[must_use]
    pub fn configured(config: &HubConfig, rules: Rules) -> Self {
        Self {
            title: config.title.clone(),
            nodes_expected: config.nodes_expected,
            is_configured: true,
            xids: config.xids.clone(),
            checks: config.checks.clone(),
            ..Self::journalled(config.id.clone(), rules)
        }
    }

    pub fn books(&self) -> RwLockReadGuard<'_, Books> {
        read(&self.books)
    }

    pub fn live(&self) -> RwLockReadGuard<'_, crate::live::Live> {
        read(&self.live)
    }

    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        read(&self.view)
    }

    pub fn watch(&self) -> RwLockReadGuard<'_, Watch> {
        read(&self.watch)
    }

    pub(crate) fn watch_mut(&self) -> RwLockWriteGuard<'_, Watch> {
        write(&self.watch)
    }

    pub(crate) fn books_mut(&self) -> RwLockWriteGuard<'_, Books> {
        write(&self.books)
    }

    pub(crate) fn live_mut(&self) -> RwLockWriteGuard<'_, crate::live::Live> {
        write(&self.live)
    }

    pub(crate) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        write(&self.view)
    }
}

/// A reader that panicked cannot have left the books half written, so its poison is no news.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
