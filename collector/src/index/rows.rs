//! The tables of one file, and the rows of one leaf in them.

use bijli_ledger::leaf::{Body, Line, Posting, PueShown, Summary};
use bijli_ledger::{Account, Class, Leaf};
use bijli_wire::UtcMillis;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::used;

/// Raised with each change of the tables; another number is deleted and made again.
pub(super) const SCHEMA_VERSION: i64 = 2;

pub(super) const SCHEMA: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE hub (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE account (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE leaf (
  leaf INTEGER PRIMARY KEY, kind INTEGER NOT NULL, hub INTEGER, interval_ms INTEGER,
  owner TEXT NOT NULL, old_leaf INTEGER, rule INTEGER NOT NULL,
  first_record INTEGER NOT NULL, last_record INTEGER NOT NULL, bytes BLOB
) STRICT;
CREATE TABLE entry (
  hub INTEGER NOT NULL, seq INTEGER NOT NULL, leaf INTEGER NOT NULL,
  interval_ms INTEGER NOT NULL, debit INTEGER NOT NULL, credit INTEGER NOT NULL,
  class INTEGER NOT NULL, amount_mj INTEGER NOT NULL, is_reversal INTEGER NOT NULL,
  corrects INTEGER, rule INTEGER NOT NULL, PRIMARY KEY (hub, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_by_interval ON entry (hub, interval_ms);
CREATE INDEX entry_by_leaf ON entry (leaf);
CREATE INDEX entry_by_debit ON entry (debit, interval_ms);
CREATE INDEX entry_taken_back ON entry (credit, interval_ms) WHERE is_reversal = 1;
CREATE TABLE used (
  hub INTEGER NOT NULL, account INTEGER NOT NULL, interval_ms INTEGER NOT NULL,
  leaf INTEGER NOT NULL, class INTEGER NOT NULL, is_reversal INTEGER NOT NULL,
  amount_mj INTEGER NOT NULL,
  PRIMARY KEY (hub, account, interval_ms, leaf, class, is_reversal)
) STRICT, WITHOUT ROWID;
CREATE INDEX used_by_leaf ON used (leaf);
CREATE TABLE summary (
  leaf INTEGER PRIMARY KEY, hub INTEGER NOT NULL, interval_ms INTEGER NOT NULL,
  end_ms INTEGER NOT NULL, revision INTEGER NOT NULL, entries INTEGER NOT NULL,
  supplied_mj TEXT NOT NULL, used_mj TEXT NOT NULL, pue_total_mj TEXT, pue_it_mj TEXT,
  pue_category INTEGER, reasons INTEGER NOT NULL
) STRICT;
";

/// One entry, as `/v1/.../entries` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryRow {
    pub interval: UtcMillis,
    pub line: Line,
    /// The first entry of the interval that it corrects.
    pub corrects: Option<u64>,
    pub rule: u32,
}

/// Entries of one interval, or of a period, that are alike but for their amounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Start of the interval; of the period's first where intervals are not kept apart.
    pub interval: UtcMillis,
    pub debit: Account,
    pub credit: Account,
    pub class: Class,
    pub is_reversal: bool,
    pub amount: u128,
    pub entries: u64,
    pub adjustments: u64,
}

/// SQLite's numbers are signed; the bits are kept.
pub(super) const fn signed(number: u64) -> i64 {
    i64::from_le_bytes(number.to_le_bytes())
}

pub(super) const fn unsigned(number: i64) -> u64 {
    u64::from_le_bytes(number.to_le_bytes())
}

fn id_of(db: &Connection, table: &str, name: &str) -> rusqlite::Result<i64> {
    let mut find = db.prepare_cached(&format!("SELECT id FROM {table} WHERE name = ?1"))?;
    if let Some(id) = find.query_row([name], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    db.prepare_cached(&format!("INSERT INTO {table} (name) VALUES (?1)"))?.execute([name])?;
    Ok(db.last_insert_rowid())
}

/// A leaf that the log has lost keeps its place, so that the count of leaves is whole.
pub(super) fn insert_lost(db: &Connection, index: u64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO leaf VALUES (?1, 0, NULL, NULL, 'lost', NULL, 0, 0, 0, NULL)";
    db.prepare_cached(sql)?.execute([signed(index)]).map(|_| ())
}

/// Writes every row of a leaf.
pub(super) fn insert(db: &Connection, index: u64, leaf: &Leaf) -> rusqlite::Result<()> {
    let hub = leaf.hub.as_ref().map(|hub| id_of(db, "hub", hub.as_str())).transpose()?;
    let head = Head::of(leaf);
    let sql = "INSERT INTO leaf VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    db.prepare_cached(sql)?.execute(params![
        signed(index),
        head.kind,
        hub,
        head.interval,
        head.owner,
        head.old_leaf.map(signed),
        leaf.rule_version,
        signed(leaf.source.first),
        signed(leaf.source.last),
        head.bytes,
    ])?;
    let hub = hub.unwrap_or(0);
    match &leaf.body {
        Body::Posting(posting) => insert_lines(db, (index, hub, leaf), posting, None),
        Body::Adjustment { corrects, posting, .. } => {
            insert_lines(db, (index, hub, leaf), posting, Some(*corrects))
        }
        Body::Pruned(_)
        | Body::Snapshot(_)
        | Body::Statement(_)
        | Body::Period(_)
        | Body::Restatement(_) => Ok(()),
        Body::Summary(summary) => {
            used::insert(db, index, hub, summary)?;
            insert_summary(db, index, hub, summary)
        }
    }
}

/// What the table of leaves says of one.
struct Head {
    kind: i64,
    interval: Option<i64>,
    owner: String,
    old_leaf: Option<u64>,
    /// Of what has no rows of its own.
    bytes: Option<Vec<u8>>,
}

impl Head {
    fn of(leaf: &Leaf) -> Self {
        let interval = leaf.interval().map(UtcMillis::get);
        let owner = leaf.posting().map_or_else(String::new, |posting| posting.owner.words());
        let (kind, old_leaf, bytes) = match &leaf.body {
            Body::Posting(_) => (1, None, None),
            Body::Adjustment { old_leaf, .. } => (2, Some(*old_leaf), None),
            Body::Summary(summary) => (3, summary.old_leaf, Some(leaf.encode())),
            Body::Pruned(_) => (4, None, Some(leaf.encode())),
            Body::Snapshot(_) => (5, None, Some(leaf.encode())),
            Body::Statement(_) => (6, None, Some(leaf.encode())),
            Body::Period(_) => (9, None, Some(leaf.encode())),
            Body::Restatement(restated) => (10, Some(restated.old_leaf), Some(leaf.encode())),
        };
        Self { kind, interval, owner, old_leaf, bytes }
    }
}

fn insert_lines(
    db: &Connection,
    of: (u64, i64, &Leaf),
    posting: &Posting,
    corrects: Option<u64>,
) -> rusqlite::Result<()> {
    let (index, hub, leaf) = of;
    let sql = "INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    for line in &posting.lines {
        let debit = id_of(db, "account", &line.debit.to_string())?;
        let credit = id_of(db, "account", &line.credit.to_string())?;
        db.prepare_cached(sql)?.execute(params![
            hub,
            signed(line.seq),
            signed(index),
            posting.interval.get(),
            debit,
            credit,
            line.class.number(),
            signed(line.amount),
            line.is_reversal,
            corrects.map(signed),
            leaf.rule_version,
        ])?;
    }
    Ok(())
}

fn insert_summary(db: &Connection, index: u64, hub: i64, s: &Summary) -> rusqlite::Result<()> {
    let sql = "INSERT INTO summary VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let (total, it, category) = pue(s);
    let reasons = i64::try_from(s.reasons.len()).unwrap_or(i64::MAX) + i64::from(s.reasons_more);
    db.prepare_cached(sql)?.execute(params![
        signed(index),
        hub,
        s.interval.get(),
        s.end.get(),
        s.revision,
        s.entries,
        s.supplied.to_string(),
        s.used.to_string(),
        total,
        it,
        category,
        reasons,
    ])?;
    Ok(())
}

fn pue(summary: &Summary) -> (Option<String>, Option<String>, Option<u8>) {
    match &summary.pue {
        PueShown::Withheld(_) => (None, None, None),
        PueShown::Parts { total, it, category, .. } => {
            (Some(total.to_string()), Some(it.to_string()), Some(category.number()))
        }
    }
}

/// A cell as a person reads it; no two different cells are alike.
fn words(cell: ValueRef<'_>) -> String {
    match cell {
        ValueRef::Null => "-".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(_) => "a real number".to_owned(),
        ValueRef::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// Every row of one leaf as text, names resolved: what two stores are compared by.
pub(super) fn dump(db: &Connection, index: u64) -> rusqlite::Result<Vec<String>> {
    let mut rows = Vec::new();
    for sql in [
        "SELECT 'leaf', leaf, kind, (SELECT name FROM hub WHERE id = hub), interval_ms, owner, \
         old_leaf, rule, first_record, last_record, bytes FROM leaf WHERE leaf = ?1",
        "SELECT 'entry', seq, (SELECT name FROM hub WHERE id = hub), interval_ms, \
         (SELECT name FROM account WHERE id = debit), \
         (SELECT name FROM account WHERE id = credit), \
         class, amount_mj, is_reversal, corrects, rule FROM entry WHERE leaf = ?1 ORDER BY hub, seq",
        "SELECT 'summary', (SELECT name FROM hub WHERE id = hub), interval_ms, end_ms, revision, \
         entries, supplied_mj, used_mj, pue_total_mj, pue_it_mj, pue_category, reasons \
         FROM summary WHERE leaf = ?1",
    ] {
        let mut statement = db.prepare_cached(sql)?;
        let columns = statement.column_count();
        let mut found = statement.query([signed(index)])?;
        while let Some(row) = found.next()? {
            let cells = (0..columns).map(|at| row.get_ref(at).map(words));
            rows.push(cells.collect::<rusqlite::Result<Vec<_>>>()?.join(" "));
        }
    }
    Ok(rows)
}
