//! The files of the index, and what is asked of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bijli_ledger::leaf::{Body, Line};
use bijli_ledger::{Account, Class, Leaf};
use bijli_wire::{HubId, UtcMillis};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::month;
use super::rows::{self, EntryRow, SCHEMA, SCHEMA_VERSION, Sum, signed, unsigned};
use super::used;
use crate::disk;

const ENDING: &str = ".sqlite";

/// What goes wrong with the files. All of it is mended by making them again from the log.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("cannot make or list {path}", path = path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("cannot remove {path}", path = path.display())]
    Remove { path: PathBuf, source: std::io::Error },
    #[error("SQLite refuses {file}")]
    Sqlite { file: String, source: rusqlite::Error },
    #[error("{file} has {what}")]
    Content { file: String, what: String },
}

/// A row that does not follow from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub leaf: u64,
    pub file: String,
    /// Rows that are there, and rows that should be.
    pub found: Vec<String>,
    pub expected: Vec<String>,
}

/// A hub and a period `[from, to)`, in starts of intervals, as of so many leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub hub: HubId,
    pub from: UtcMillis,
    pub to: UtcMillis,
    /// Only what the first so many leaves say; `None`: all of them.
    pub before: Option<u64>,
}

impl Scope {
    /// For a comparison with a column of leaves.
    pub(super) fn end_leaf(&self) -> i64 {
        self.before.map_or(i64::MAX, |leaves| i64::try_from(leaves).unwrap_or(i64::MAX))
    }
}

/// Every file of the index, open.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    files: BTreeMap<String, Connection>,
    /// Tables in memory, always empty: what the rows of a leaf should be.
    model: Option<Connection>,
    /// Index of the next leaf to take.
    next: u64,
}

impl Store {
    /// Opens what is there. Files that are damaged, of another version, or not all of one log are
    /// removed: the store is then empty, and `true` tells it.
    ///
    /// # Errors
    /// If not even that can be done.
    pub fn open(dir: &Path) -> Result<(Self, bool), IndexError> {
        let here = |source| IndexError::Directory { path: dir.to_owned(), source };
        disk::make_dir(dir).map_err(here)?;
        let mut store = Self { dir: dir.to_owned(), files: BTreeMap::new(), model: None, next: 0 };
        match store.load() {
            Ok(()) => Ok((store, false)),
            Err(error) => {
                tracing::error!(
                    error = crate::journal::chain(&error),
                    "the index is made again from the ledger log"
                );
                store.clear()?;
                Ok((store, true))
            }
        }
    }

    /// Opens what is there and removes nothing, for a comparison.
    ///
    /// # Errors
    /// If it is damaged, of another version, or not all of one log.
    pub fn inspect(dir: &Path) -> Result<Self, IndexError> {
        let here = |source| IndexError::Directory { path: dir.to_owned(), source };
        disk::make_dir(dir).map_err(here)?;
        let (files, model) = (BTreeMap::new(), None);
        let mut store = Self { dir: dir.to_owned(), files, model, next: 0 };
        store.load().map(|()| store)
    }

    fn load(&mut self) -> Result<(), IndexError> {
        let here = |source| IndexError::Directory { path: self.dir.clone(), source };
        let names = disk::list(&self.dir).map_err(here)?;
        let names: Vec<String> =
            names.iter().filter_map(|name| name.strip_suffix(ENDING)).map(str::to_owned).collect();
        let (mut next, mut count) = (0, 0);
        for name in names {
            let db = self.file(&name)?;
            let refuse = |source| IndexError::Sqlite { file: name.clone(), source };
            let verdict: String =
                db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(refuse)?;
            if verdict != "ok" {
                return Err(IndexError::Content { file: name, what: verdict });
            }
            next = next.max(meta(db, "next").map_err(refuse)?);
            count += meta(db, "leaves").map_err(refuse)?;
        }
        if next != count {
            let what = format!("files of {count} leaves where there were {next}");
            return Err(IndexError::Content { file: "the index".into(), what });
        }
        self.next = next;
        Ok(())
    }

    /// Removes everything; the next leaf to take is the first.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn clear(&mut self) -> Result<(), IndexError> {
        self.files.clear();
        self.next = 0;
        let here = |source| IndexError::Directory { path: self.dir.clone(), source };
        for name in disk::list(&self.dir).map_err(here)? {
            // Its log and shared memory have longer names.
            if name.contains(ENDING) {
                let path = self.dir.join(name);
                disk::remove(&path).map_err(|source| IndexError::Remove { path, source })?;
            }
        }
        Ok(())
    }

    /// Index of the next leaf to take.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    fn file(&mut self, name: &str) -> Result<&mut Connection, IndexError> {
        if !self.files.contains_key(name) {
            let refuse = |source| IndexError::Sqlite { file: name.to_owned(), source };
            let db = connect(&self.dir.join(format!("{name}{ENDING}"))).map_err(refuse)?;
            let version = meta(&db, "version").map_err(refuse)?;
            if signed(version) != SCHEMA_VERSION {
                let what = format!("tables of version {version}");
                return Err(IndexError::Content { file: name.to_owned(), what });
            }
            self.files.insert(name.to_owned(), db);
        }
        Ok(self.files.get_mut(name).expect("inserted above"))
    }

    /// Takes the next leaves; `None`: the log has lost it. One transaction for those in a row that
    /// are of one file.
    ///
    /// # Errors
    /// If SQLite refuses; what was committed before is whole.
    pub fn take(&mut self, leaves: &[Option<Leaf>]) -> Result<(), IndexError> {
        let name = |leaf: &Option<Leaf>| {
            leaf.as_ref().map_or_else(|| month::OF_NO_MONTH.to_owned(), month::of_leaf)
        };
        let mut rest = leaves;
        while let Some(first) = rest.first() {
            let file = name(first);
            let count = rest.iter().take_while(|leaf| name(leaf) == file).count();
            let (run, behind) = rest.split_at(count);
            let from = self.next;
            let db = self.file(&file)?;
            insert(db, from, run).map_err(|source| IndexError::Sqlite { file, source })?;
            self.next = from + u64::try_from(run.len()).unwrap_or(u64::MAX);
            rest = behind;
        }
        Ok(())
    }

    /// Whether SQLite's own structures agree with each other: an index of a table that has lost an
    /// entry gives wrong sums of right rows.
    ///
    /// # Errors
    /// If they do not.
    pub fn check(&self) -> Result<(), IndexError> {
        for (file, db) in &self.files {
            let refuse = |source| IndexError::Sqlite { file: file.clone(), source };
            let verdict = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
            let verdict: String = verdict.map_err(refuse)?;
            if verdict != "ok" {
                return Err(IndexError::Content { file: file.clone(), what: verdict });
            }
        }
        Ok(())
    }

    /// Whether the rows of a leaf are those that follow from it.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub fn compare(&mut self, index: u64, leaf: &Leaf) -> Result<Option<Difference>, IndexError> {
        let file = month::of_leaf(leaf);
        let refuse = |source| IndexError::Sqlite { file: file.clone(), source };
        let found = rows::dump(self.file(&file)?, index).map_err(refuse)?;
        let expected = self.expected(index, leaf).map_err(refuse)?;
        if found != expected {
            return Ok(Some(Difference { leaf: index, file, found, expected }));
        }
        let Body::Summary(summary) = &leaf.body else { return Ok(None) };
        let refuse = |source| IndexError::Sqlite { file: file.clone(), source };
        let sums = used::difference(self.file(&file)?, index, summary).map_err(refuse)?;
        Ok(sums.map(|(found, expected)| Difference { leaf: index, file, found, expected }))
    }

    fn expected(&mut self, index: u64, leaf: &Leaf) -> rusqlite::Result<Vec<String>> {
        if self.model.is_none() {
            let model = Connection::open_in_memory()?;
            model.execute_batch(SCHEMA)?;
            self.model = Some(model);
        }
        let model = self.model.as_mut().expect("made above");
        // Dropped, a transaction is rolled back.
        let trial = model.transaction()?;
        rows::insert(&trial, index, leaf)?;
        rows::dump(&trial, index)
    }

    pub(super) fn months(&self, scope: &Scope) -> impl Iterator<Item = (&String, &Connection)> {
        let (from, to) = (month::of(scope.from), month::of(scope.to));
        let is_month = |name: &&String| name.as_str() != month::OF_NO_MONTH;
        let within = move |name: &&String| **name >= from && **name <= to;
        self.files.iter().filter(move |(name, _)| is_month(name) && within(name))
    }

    /// Every file of the index.
    pub(super) fn files(&self) -> impl Iterator<Item = (&String, &Connection)> {
        self.files.iter()
    }

    /// The entries of a scope with sequences after one, by sequence, at most `limit`.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub fn entries(
        &self,
        scope: &Scope,
        after: u64,
        limit: usize,
    ) -> Result<Vec<EntryRow>, IndexError> {
        const SQL: &str = "SELECT e.seq, e.interval_ms, d.name, c.name, e.class, e.amount_mj, \
             e.is_reversal, e.corrects, e.rule FROM entry e JOIN account d ON d.id = e.debit \
             JOIN account c ON c.id = e.credit WHERE e.hub = ?1 AND e.seq > ?2 \
             AND e.interval_ms >= ?3 AND e.interval_ms < ?4 AND e.leaf < ?6 \
             ORDER BY e.seq LIMIT ?5";
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut entries = Vec::new();
        for (file, db) in self.months(scope) {
            let refuse = |source| IndexError::Sqlite { file: file.clone(), source };
            let Some(hub) = hub(db, &scope.hub).map_err(refuse)? else { continue };
            let (from, to) = (scope.from.get(), scope.to.get());
            let asked = params![hub, signed(after), from, to, rows, scope.end_leaf()];
            let mut statement = db.prepare_cached(SQL).map_err(refuse)?;
            let found = statement.query_map(asked, entry).map_err(refuse)?;
            for row in found {
                entries.push(row.map_err(refuse)?);
            }
        }
        entries.sort_by_key(|row: &EntryRow| row.line.seq);
        entries.truncate(limit);
        Ok(entries)
    }

    /// Sums of the entries of a scope, alike but for their amounts; each interval's apart or not.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub fn sums(&self, scope: &Scope, by_interval: bool) -> Result<Vec<Sum>, IndexError> {
        let by = if by_interval { "e.interval_ms" } else { "?4" };
        // In halves: a sum of many large amounts is beyond SQLite's 64 bits.
        let sql = format!(
            "SELECT {by}, d.name, c.name, e.class, e.is_reversal, SUM(e.amount_mj >> 32 & 4294967295), \
             SUM(e.amount_mj & 4294967295), COUNT(*), COUNT(e.corrects) FROM entry e \
             JOIN account d ON d.id = e.debit JOIN account c ON c.id = e.credit \
             WHERE e.hub = ?1 AND e.interval_ms >= ?2 AND e.interval_ms < ?3 AND ?4 IS NOT NULL \
             AND e.leaf < ?5 GROUP BY 1, e.debit, e.credit, e.class, e.is_reversal"
        );
        let mut sums = Vec::new();
        for (file, db) in self.months(scope) {
            let refuse = |source| IndexError::Sqlite { file: file.clone(), source };
            let Some(hub) = hub(db, &scope.hub).map_err(refuse)? else { continue };
            let from = scope.from.get();
            let mut statement = db.prepare_cached(&sql).map_err(refuse)?;
            let asked = params![hub, from, scope.to.get(), from, scope.end_leaf()];
            let found = statement.query_map(asked, sum);
            for row in found.map_err(refuse)? {
                sums.push(row.map_err(refuse)?);
            }
        }
        Ok(sums)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    // Another process that reads a copy in the making waits, and so do we.
    db.busy_timeout(std::time::Duration::from_secs(2))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    let is_new = db
        .query_row("SELECT 1 FROM sqlite_master WHERE name = 'meta'", [], |_| Ok(()))
        .optional()?
        .is_none();
    if is_new {
        let made = db.unchecked_transaction()?;
        made.execute_batch(SCHEMA)?;
        for (key, value) in [("version", SCHEMA_VERSION), ("next", 0), ("leaves", 0)] {
            made.execute("INSERT INTO meta VALUES (?1, ?2)", params![key, value])?;
        }
        made.commit()?;
    }
    Ok(db)
}

fn meta(db: &Connection, key: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT value FROM meta WHERE key = ?1";
    db.query_row(sql, [key], |row| row.get(0)).map(unsigned)
}

pub(super) fn hub(db: &Connection, hub: &HubId) -> rusqlite::Result<Option<i64>> {
    let mut find = db.prepare_cached("SELECT id FROM hub WHERE name = ?1")?;
    find.query_row([hub.as_str()], |row| row.get(0)).optional()
}

fn insert(db: &mut Connection, from: u64, leaves: &[Option<Leaf>]) -> rusqlite::Result<()> {
    let taking = db.transaction()?;
    let mut next = from;
    for leaf in leaves {
        match leaf {
            Some(leaf) => rows::insert(&taking, next, leaf)?,
            None => rows::insert_lost(&taking, next)?,
        }
        next += 1;
    }
    let sql = "UPDATE meta SET value = ?1 WHERE key = 'next'";
    taking.execute(sql, [signed(next)])?;
    let sql = "UPDATE meta SET value = value + ?1 WHERE key = 'leaves'";
    taking.execute(sql, [signed(next - from)])?;
    taking.commit()
}

fn parsed<T: std::str::FromStr>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    let text: String = row.get(at)?;
    text.parse().map_err(|_| rusqlite::Error::InvalidQuery)
}

fn class(row: &Row<'_>, at: usize) -> rusqlite::Result<Class> {
    let number: u8 = row.get(at)?;
    let class = Class::from_number(number);
    class.ok_or(rusqlite::Error::InvalidQuery)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<EntryRow> {
    let corrects: Option<i64> = row.get(7)?;
    Ok(EntryRow {
        interval: UtcMillis::new(row.get(1)?),
        line: Line {
            seq: unsigned(row.get(0)?),
            debit: parsed(row, 2)?,
            credit: parsed(row, 3)?,
            class: class(row, 4)?,
            amount: unsigned(row.get(5)?),
            is_reversal: row.get(6)?,
        },
        corrects: corrects.map(unsigned),
        rule: row.get(8)?,
    })
}

fn sum(row: &Row<'_>) -> rusqlite::Result<Sum> {
    let (high, low): (i64, i64) = (row.get(5)?, row.get(6)?);
    let amount = (u128::from(unsigned(high)) << 32) + u128::from(unsigned(low));
    let (debit, credit): (Account, Account) = (parsed(row, 1)?, parsed(row, 2)?);
    Ok(Sum {
        interval: UtcMillis::new(row.get(0)?),
        debit,
        credit,
        class: class(row, 3)?,
        is_reversal: row.get(4)?,
        amount,
        entries: unsigned(row.get(7)?),
        adjustments: unsigned(row.get(8)?),
    })
}
