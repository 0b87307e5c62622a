//! Rebuilds the books from a journal: at each start, and offline to compare two machines.
//!
//! The same journal always gives the same books; [`Digest`] says so in 64 digits.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bijli_ledger::Rules;
use bijli_seglog::{Disk, Log, LogError, Options, RealDisk, RecordSeq, Recovery};
use bijli_wire::units::human_energy;
use bijli_wire::{UtcMillis, limits};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::clock::Clock;
use crate::frame::Frame;
use crate::health::Health;
use crate::intake::{Fact, Intake};
use crate::journal::{chain, lock};
use crate::leaves;
use crate::snapshot::{Begin, Grounds, NoBegin, Store};
use crate::state::{Hub, State};

/// Room for a frame around the largest body there is.
const RECORD_BYTES_MAX: u32 = 2 << 20;
const _: () = assert!(limits::BODY_BYTES_MAX + (64 << 10) <= 2 << 20);
/// How often a long replay tells how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Opens a journal.
///
/// # Errors
/// When another process has it open, its format is newer, or the disk fails.
pub fn open<D: Disk>(
    disk: D,
    dir: &Path,
    segment_bytes: u64,
) -> Result<(Log<D>, Recovery), LogError> {
    let options = Options::new(segment_bytes, RECORD_BYTES_MAX)
        .expect("the configuration refuses segments below 4 MiB");
    let (log, recovery) = Log::open(disk, dir, options.with_salt(salt()))?;
    if recovery.is_clean() {
        tracing::info!(records = recovery.records, torn_bytes = recovery.torn_bytes, "journal");
    } else {
        tracing::error!(?recovery, "the journal is damaged; agents send lost batches again");
    }
    Ok((log, recovery))
}

/// A number that a sender cannot guess: the standard library seeds its hash maps from the system.
pub(crate) fn salt() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// The rules that a journal was begun with; `None`: it is empty, or its begin is damaged.
pub fn rules<D: Disk>(log: &Log<D>) -> Option<Rules> {
    let (_, record) = log.read_from(RecordSeq::FIRST).next()?.ok()?;
    match Frame::decode(&record) {
        Ok(Frame::Rules { rules, .. }) => Some(rules),
        Ok(_) | Err(_) => None,
    }
}

/// Hands out every fact of a journal from a record on, in booking order. Damaged records are
/// counted and passed over. Returns how many bytes of records there were.
///
/// # Errors
/// When a segment that is there cannot be opened. Damage is for ever, this may pass: books with a
/// hole for one life would be other books, and the ledger log would take no more leaves of them.
pub fn replay<D: Disk>(
    log: &Log<D>,
    from: RecordSeq,
    state: &State,
    intake: &Mutex<Intake>,
    mut book: impl FnMut(Fact),
) -> Result<u64, LogError> {
    let started = state.clock.instant();
    let mut told = started;
    let total = log.durable_seq().get();
    let (mut frames, mut bytes) = (0_u64, 0_u64);
    let skips = lock(intake).skips();
    let mut facts = Vec::new();
    for record in log.read_from(from) {
        match record {
            Ok((seq, record)) => {
                frames += 1;
                bytes += u64::try_from(record.len()).expect("a length fits");
                if let Err(error) = lock(intake).replay(seq, &record, &mut facts) {
                    state.health.frames_unusable.inc();
                    tracing::error!(record = %seq, error = chain(&error), "cannot be booked");
                }
                facts.drain(..).for_each(&mut book);
                state.replayed(seq.get(), total);
            }
            Err(error) => {
                let LogError::Lost { first, last, .. } = &error else { return Err(error) };
                state.health.journal_lost_records.inc_by(last.get() - first.get() + 1);
                tracing::error!(error = chain(&error), "the journal has a gap");
            }
        }
        if state.clock.instant().duration_since(told) >= TELL_EVERY {
            told = state.clock.instant();
            tracing::info!(frames, total, "replaying the journal");
        }
    }
    state.health.lanes.skips.inc_by(lock(intake).skips() - skips);
    state.health.replayed(started.elapsed(), frames);
    Ok(bytes)
}

/// What a replay gives, to be compared. Every field is a function of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Digest {
    pub frames: String,
    pub frames_unusable: String,
    /// SHA-256 over every hub's id and the canonical lines of the entries that its books hold.
    pub sha256: String,
    pub hubs: Vec<HubDigest>,
}

/// One hub's totals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HubDigest {
    pub hub: String,
    pub entries: String,
    pub sha256: String,
    pub closed_until_ms: Option<String>,
    pub imbalance_mj: String,
    /// Millijoules by sink account, adjustments apart.
    pub totals_mj: std::collections::BTreeMap<String, String>,
}

/// Why a journal cannot be replayed offline.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("cannot open the journal")]
    Open(#[source] LogError),
    #[error("cannot read the journal")]
    Read(#[source] LogError),
    #[error("cannot open the ledger log")]
    Ledger(#[source] LogError),
    #[error("cannot open the snapshots")]
    Snapshots(#[source] std::io::Error),
    #[error(transparent)]
    NoBegin(#[from] NoBegin),
    #[error("{dir} has no journal: nothing was ever written there", dir = dir.display())]
    Empty { dir: std::path::PathBuf },
}

/// Rebuilds the books of a journal that no collector has open, and sums them up.
///
/// # Errors
/// When the journal cannot be opened or is empty.
pub fn offline(dir: &Path) -> Result<Digest, ReplayError> {
    let Offline { journal, state, begin, .. } = open_offline(dir)?;
    let Begin { from, intake, mut bookkeeper, .. } = begin;
    replay(&journal, from, &state, &Mutex::new(intake), |fact| bookkeeper.book(fact))
        .map_err(ReplayError::Read)?;
    Ok(digest(&state))
}

/// What a stopped collector has, and where its books begin: with the first record, if it is there.
#[derive(Debug)]
pub struct Offline {
    pub journal: Log<RealDisk>,
    pub ledger: Log<RealDisk>,
    pub store: Store<RealDisk>,
    pub state: Arc<State>,
    pub begin: Begin,
}

/// Opens journal and ledger log of a collector that does not run.
///
/// # Errors
/// When one cannot be opened, or the journal is empty.
pub fn open_offline(dir: &Path) -> Result<Offline, ReplayError> {
    let journal = dir.join("journal");
    if !journal.is_dir() {
        return Err(ReplayError::Empty { dir: dir.to_owned() });
    }
    let (journal, _) = open(RealDisk, &journal, 64 << 20).map_err(ReplayError::Open)?;
    let (ledger, _) = leaves::open(RealDisk, &dir.join("ledger")).map_err(ReplayError::Ledger)?;
    let store = Store::open(RealDisk, &dir.join("snapshots")).map_err(ReplayError::Snapshots)?;
    // A journal that begins later has its rules in the snapshot.
    let begun = rules(&journal);
    let begins = begun.is_some() || journal.first_seq() > RecordSeq::FIRST;
    if !begins {
        return Err(ReplayError::Empty { dir: dir.to_owned() });
    }
    let rules = begun.unwrap_or_default();
    let state = Arc::new(State::new(Clock, rules, Health::new(), None));
    let begin = Begin::eldest(&state, &store, &Grounds { journal: &journal, ledger: &ledger })?;
    Ok(Offline { journal, ledger, store, state, begin })
}

/// Sums up the books of a state.
#[must_use]
pub fn digest(state: &State) -> Digest {
    let mut all = Sha256::new();
    let mut hubs = Vec::new();
    for hub in state.hubs() {
        let one = hub_digest(&hub);
        all.update(format!("{} {}\n", one.hub, one.sha256));
        hubs.push(one);
    }
    Digest {
        frames: state.health.replay_frames.get().to_string(),
        frames_unusable: state.health.frames_unusable.get().to_string(),
        sha256: hex(&all.finalize()),
        hubs,
    }
}

impl Digest {
    /// For people.
    #[must_use]
    pub fn show(&self) -> String {
        let mut text = format!(
            "{} frames, {} of them not to be booked\nsha256 {}\n",
            self.frames, self.frames_unusable, self.sha256
        );
        for hub in &self.hubs {
            text.push_str(&format!(
                "\nhub {}: {} entries, imbalance {} mJ\n    sha256 {}\n",
                hub.hub, hub.entries, hub.imbalance_mj, hub.sha256
            ));
            for (account, energy) in &hub.totals_mj {
                let shown = energy.parse().map_or_else(|_| energy.clone(), human_energy);
                text.push_str(&format!("    {account:40} {shown:>16}  {energy} mJ\n"));
            }
        }
        text
    }
}

fn hub_digest(hub: &Hub) -> HubDigest {
    let books = hub.books();
    let (mut hash, mut entries) = (Sha256::new(), 0_u64);
    for entry in books.entries(UtcMillis::new(0), UtcMillis::new(i64::MAX)) {
        hash.update(format!("{entry}\n"));
        entries += 1;
    }
    let totals = books.totals().iter();
    HubDigest {
        hub: hub.id.to_string(),
        entries: entries.to_string(),
        sha256: hex(&hash.finalize()),
        closed_until_ms: books.closed_until().map(|at| at.get().to_string()),
        imbalance_mj: books.imbalance().to_string(),
        totals_mj: totals.map(|(account, mj)| (account.to_string(), mj.to_string())).collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
