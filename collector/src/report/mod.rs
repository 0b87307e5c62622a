//! The report of a hub's month that the fund publishes: `report.json`, the same numbers as CSV
//! files, a page for people, and every entry as Parquet. Made from the ledger log of a stopped
//! collector, or of a copy.
//!
//! One direction: leaves → `fold` (sums) → `figures` → `tables` → `document` and CSV → `html`.
//! What a page shows was a cell of a table before.
//!
//! # Invariants
//! - Figures are a function of the leaves up to a count, and of the declared diagram; no clock, no
//!   journal. The same input gives the same bytes of every file.
//! - A damaged or missing leaf ends it with its index: half a month is no report.
//! - `SHA256SUMS` names every other file, and is written last.
//!
//! The files are described in `docs/formats/report.md`; why they are so, in decision 28.

mod accounts;
mod checks;
mod cited;
mod document;
mod figures;
mod fold;
mod groups;
mod html;
mod instruments;
mod parquet;
mod table;
mod tables;
mod thrift;

use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use bijli_ledger::{Category, Leaf, LeafError, Month};
use bijli_seglog::{LogError, RealDisk, RecordSeq};
use bijli_wire::{HubId, UtcMillis};
use sha2::{Digest as _, Sha256};

use crate::disk;
use crate::leaves::{self, Kept};
use crate::meterbook::hex;
use document::Document;
use fold::Fold;
use parquet::Parquet;

pub use crate::api::pue::WhyNot;
pub use checks::Check;
pub use cited::Cited;
pub use document::FORMAT;
pub use figures::{
    AccountFigure, Asked, Changed, CorrectionFigure, DayFigures, Figures, IntervalFigure,
    ProjectFigure, RestatedAccount, State, Sums, Trial, TrialRow, TwoTerms,
};
pub use fold::EntryAt;
pub use groups::{Source, Use};
pub use table::{Cell, Column, Table};

/// Which file is which.
const JSON: &str = "report.json";
const PAGE: &str = "report.html";
const ENTRIES: &str = "entries.parquet";
/// As `sha256sum --check` reads it.
pub const SUMS: &str = "SHA256SUMS";

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("hub {hub} is not declared in the configuration")]
    NoHub { hub: String },
    #[error("there is no ledger log in {path}", path = path.display())]
    NoLedger { path: PathBuf },
    #[error(
        "cannot open the ledger log: a running collector holds it; stop it, or copy its ledger/ \
         and name the copy with --ledger"
    )]
    Open(#[source] LogError),
    #[error("cannot read the ledger log")]
    Read(#[source] LogError),
    #[error("the log has {found} leaves, not {asked}")]
    Short { asked: u64, found: u64 },
    #[error("leaf {index} is damaged in the ledger log: bring it back from a copy first")]
    Lost { index: u64 },
    #[error("leaf {index} of the ledger log is none")]
    Leaf { index: u64, source: LeafError },
    #[error(
        "the leaves of the interval at {interval} take back what none of them posted: some are \
         missing from the log"
    )]
    Torn { interval: UtcMillis },
    #[error("no leaf of this log closes an interval of hub {hub} in {month}")]
    Nothing { hub: HubId, month: Month },
    #[error("{path} holds files already: name a new folder", path = path.display())]
    Used { path: PathBuf },
    #[error("cannot write {path}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// A leaf of a log, by its index; what a reader of logs gives.
pub type Read = Result<(u64, Leaf), ReportError>;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub folder: PathBuf,
    /// Each file with its SHA-256, by name.
    pub files: Vec<(String, String)>,
    pub shown: Option<String>,
    pub leaves: u64,
}

impl Made {
    /// For people.
    #[must_use]
    pub fn show(&self) -> String {
        let figure = self.shown.as_deref().unwrap_or("no PUE; the report says why");
        let mut text = format!("{figure}\nfrom {} leaves\n", self.leaves);
        for (name, sum) in &self.files {
            text += &format!("{sum}  {}\n", self.folder.join(name).display());
        }
        text
    }
}

/// The figures of a month from leaves, in the order of their indexes from 0. `entries` is handed
/// every entry that counts.
///
/// # Errors
/// What the leaves or `entries` fail with; or that there is nothing to report.
pub fn figures(
    asked: &Asked<'_>,
    leaves: impl Iterator<Item = Read>,
    mut entries: impl FnMut(EntryAt<'_>) -> Result<(), ReportError>,
) -> Result<Figures, ReportError> {
    let diagram = asked.hub.plan.diagram().ok().flatten();
    let keeps_nodes = diagram.as_ref().is_some_and(|one| one.category() == Category::ItInput);
    let offset = diagram.map(|diagram| diagram.policy().offset).unwrap_or_default();
    let period = figures::period(&asked.month.days(offset));
    let mut fold = Fold::new(asked.hub.id.clone(), period, keeps_nodes);
    let mut count = 0;
    for read in leaves {
        let (index, leaf) = read?;
        fold.take(index, leaf, &mut entries)?;
        count = index + 1;
    }
    if fold.intervals.is_empty() {
        return Err(ReportError::Nothing { hub: asked.hub.id.clone(), month: asked.month });
    }
    Figures::of(asked, fold, count).map_err(|torn| ReportError::Torn { interval: torn.interval })
}

/// The leaves of the ledger log in a folder, up to a count.
///
/// # Errors
/// When it cannot be opened, or has fewer.
pub fn read_log(
    folder: &Path,
    asked: Option<u64>,
) -> Result<impl Iterator<Item = Read> + use<>, ReportError> {
    if !folder.is_dir() {
        return Err(ReportError::NoLedger { path: folder.to_owned() });
    }
    let (log, _) = leaves::open(RealDisk, folder).map_err(ReportError::Open)?;
    let found = log.durable_seq().get();
    let count = asked.unwrap_or(found);
    if count > found {
        return Err(ReportError::Short { asked: count, found });
    }
    let mut kept = Kept::new(log.read_from(RecordSeq::FIRST));
    Ok((0..count).map(move |index| {
        let _held_until_all_is_read = &log;
        let bytes = kept.leaf(index).map_err(ReportError::Read)?;
        let bytes = bytes.ok_or(ReportError::Lost { index })?;
        let leaf = Leaf::decode(&bytes);
        leaf.map(|leaf| (index, leaf)).map_err(|source| ReportError::Leaf { index, source })
    }))
}

/// Makes the report in a new folder.
///
/// # Errors
/// Says what is missing, damaged or cannot be written. The folder then has no `SHA256SUMS`.
pub fn write(
    asked: &Asked<'_>,
    leaves: impl Iterator<Item = Read>,
    folder: &Path,
) -> Result<Made, ReportError> {
    let at = |name: &str| folder.join(name);
    let failed = |name: &str| {
        let path = folder.join(name);
        move |source| ReportError::Write { path, source }
    };
    disk::make_dir(folder).map_err(failed(""))?;
    if !disk::list(folder).map_err(failed(""))?.is_empty() {
        return Err(ReportError::Used { path: folder.to_owned() });
    }
    let file = disk::create(&at(ENTRIES)).map_err(failed(ENTRIES))?;
    let file = Hashed { to: BufWriter::new(file), hash: Sha256::new() };
    let mut entries = Parquet::begin(file).map_err(failed(ENTRIES))?;
    let figures = figures(asked, leaves, |entry| entries.add(&entry).map_err(failed(ENTRIES)))?;
    let file = entries.finish().map_err(failed(ENTRIES))?;
    let mut sums = vec![(ENTRIES.to_owned(), hex(&file.hash.finalize()))];

    let plan = &asked.hub.plan;
    let tables = tables::of(&figures, plan);
    let document = Document::of(&figures, plan, &tables);
    let json = document.json();
    let page = html::page(&html::Report {
        figures: &figures,
        plan,
        tables: &tables,
        document: &document,
        json_sha256: &hex(&Sha256::digest(json.as_bytes())),
    });
    let mut files = vec![(JSON.to_owned(), json), (PAGE.to_owned(), page)];
    files.extend(tables.iter().map(|one| (format!("{}.csv", one.name), one.csv())));
    for (name, text) in files {
        disk::replace_text(&at(&name), &text).map_err(failed(&name))?;
        sums.push((name, hex(&Sha256::digest(text.as_bytes()))));
    }
    sums.sort();
    let lines: String = sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    disk::replace_text(&at(SUMS), &lines).map_err(failed(SUMS))?;
    let shown = figures.pue.as_ref().ok().map(ToString::to_string);
    let folder = folder.to_owned();
    Ok(Made { folder, files: sums, shown, leaves: figures.leaves })
}

/// A file, and the hash of what went into it.
struct Hashed<W> {
    to: W,
    hash: Sha256,
}

impl<W: io::Write> io::Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or(bytes));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
