//! What was used, by account and posting: the sums that bills are made of, so that a month of a
//! country is read in seconds and not entry by entry.
//!
//! # Invariants
//! - A row of `used` is the sum of the entries of one posting that one sink of IT received, by
//!   class. It is made with the posting's summary, which comes last: a posting whose summary is
//!   not there counts for nothing yet.
//! - What the first so many leaves say is the sum of the rows of leaves below that number.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::str::FromStr as _;

use bijli_ledger::leaf::Summary;
use bijli_ledger::{Account, Class};
use bijli_wire::{HubId, UtcMillis};
use rusqlite::{Connection, params};

use super::rows::{signed, unsigned};
use super::store::{self, IndexError, Scope, Store};

/// All energy of an interval's PUE, and that of IT.
pub type Terms = (u128, u128);

/// One line of an interval that a sink of IT received, or gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted<'a> {
    pub interval: UtcMillis,
    /// The sink.
    pub user: &'a Account,
    /// What gave it: a GPU, a processor, a node.
    pub giver: &'a Account,
    /// Of the leaf, in its words: `node n1`.
    pub owner: &'a str,
    pub class: Class,
    /// Below zero: taken back.
    pub amount: i128,
}

/// Whether an account is one that bills are made of: a project's, or nobody's.
pub(super) const fn is_use(account: &Account) -> bool {
    matches!(
        account,
        Account::Project(..)
            | Account::IdleUnallocated
            | Account::HostOverhead
            | Account::Unattributed
    )
}

/// Sums of a posting by account, class and whether they take back.
type Sums = BTreeMap<(i64, u8, bool), u64>;

/// Sums up a posting whose entries are there.
pub(super) fn insert(db: &Connection, leaf: u64, hub: i64, s: &Summary) -> rusqlite::Result<()> {
    let sql = "INSERT INTO used VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let mut insert = db.prepare_cached(sql)?;
    for ((account, class, is_reversal), amount) in sums(db, leaf, hub, s)? {
        let start = s.interval.get();
        let row = params![hub, account, start, signed(leaf), class, is_reversal, signed(amount)];
        insert.execute(row)?;
    }
    Ok(())
}

/// The sums of a posting as they are kept, and as its entries have them, where they differ.
pub(super) fn difference(
    db: &Connection,
    leaf: u64,
    s: &Summary,
) -> rusqlite::Result<Option<(Vec<String>, Vec<String>)>> {
    let sql = "SELECT account, class, is_reversal, amount_mj FROM used WHERE leaf = ?1";
    let mut find = db.prepare_cached(sql)?;
    let mut rows = find.query([signed(leaf)])?;
    let mut kept = Sums::new();
    while let Some(row) = rows.next()? {
        kept.insert((row.get(0)?, row.get(1)?, row.get(2)?), unsigned(row.get(3)?));
    }
    let sql = "SELECT hub FROM summary WHERE leaf = ?1";
    let hub = db.prepare_cached(sql)?.query_row([signed(leaf)], |row| row.get(0))?;
    let made = sums(db, leaf, hub, s)?;
    let words = |sums: &Sums| sums.iter().map(|sum| format!("used {sum:?}")).collect();
    Ok((kept != made).then(|| (words(&kept), words(&made))))
}

fn sums(db: &Connection, leaf: u64, hub: i64, s: &Summary) -> rusqlite::Result<Sums> {
    let first = leaf.saturating_sub(u64::from(s.leaves));
    let sql = "SELECT debit, credit, class, amount_mj, is_reversal FROM entry \
        WHERE leaf >= ?1 AND leaf < ?2 AND hub = ?3 AND interval_ms = ?4";
    let mut entries = db.prepare_cached(sql)?;
    let asked = params![signed(first), signed(leaf), hub, s.interval.get()];
    let (mut rows, mut known) = (entries.query(asked)?, BTreeMap::new());
    let mut sums = Sums::new();
    while let Some(row) = rows.next()? {
        let is_reversal: bool = row.get(4)?;
        let account: i64 = row.get(if is_reversal { 1 } else { 0 })?;
        let is_counted = match known.get(&account) {
            Some(is_counted) => *is_counted,
            None => {
                let is_counted = is_use(&named(db, account)?);
                known.insert(account, is_counted);
                is_counted
            }
        };
        if is_counted {
            let sum = sums.entry((account, row.get(2)?, is_reversal)).or_default();
            // What all nodes of a hub can use in a day is far below 2^63 mJ (`rules.rs`).
            *sum = sum.saturating_add(unsigned(row.get(3)?));
        }
    }
    Ok(sums)
}

fn named(db: &Connection, id: i64) -> rusqlite::Result<Account> {
    let mut find = db.prepare_cached("SELECT name FROM account WHERE id = ?1")?;
    let name: String = find.query_row([id], |row| row.get(0))?;
    Account::from_str(&name).map_err(|_| rusqlite::Error::InvalidQuery)
}

/// The sinks of IT that a file knows and `is_asked` takes.
fn asked_of(
    db: &Connection,
    is_asked: &dyn Fn(&Account) -> bool,
) -> rusqlite::Result<Vec<(i64, Account)>> {
    // Names of points and devices are many and are no use.
    let sql = "SELECT id, name FROM account WHERE name LIKE 'project:%' \
        OR name IN ('idle:unallocated', 'host_overhead', 'unattributed')";
    let mut find = db.prepare_cached(sql)?;
    let mut rows = find.query([])?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(1)?;
        let account = Account::from_str(&name).map_err(|_| rusqlite::Error::InvalidQuery)?;
        if is_use(&account) && is_asked(&account) {
            accounts.push((row.get(0)?, account));
        }
    }
    // The shares of one project's account stand together.
    accounts.sort_by(|(_, one), (_, other)| one.cmp(other));
    Ok(accounts)
}

/// The leaf after the last summary of a file that is in the scope: postings end with one.
fn whole_leaves(db: &Connection, scope: &Scope) -> rusqlite::Result<i64> {
    let sql = "SELECT MAX(leaf) FROM summary WHERE leaf < ?1";
    let last: Option<i64> = db.query_row(sql, [scope.end_leaf()], |row| row.get(0))?;
    Ok(last.map_or(0, |last| last.saturating_add(1)))
}

fn class(number: u8) -> rusqlite::Result<Class> {
    Class::from_number(number).ok_or(rusqlite::Error::InvalidQuery)
}

fn net(amount: i64, is_reversal: bool) -> i128 {
    let amount = i128::from(unsigned(amount));
    if is_reversal { -amount } else { amount }
}

impl Store {
    /// Hands over every sum of use in a scope, account by account, in the order of time.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub fn used(
        &self,
        scope: &Scope,
        is_asked: &dyn Fn(&Account) -> bool,
        each: &mut dyn FnMut(UtcMillis, &Account, Class, i128),
    ) -> Result<(), IndexError> {
        const SQL: &str = "SELECT interval_ms, class, is_reversal, amount_mj FROM used \
            WHERE hub = ?1 AND account = ?2 AND interval_ms >= ?3 AND interval_ms < ?4 \
            AND leaf < ?5";
        self.each_account(scope, is_asked, SQL, &mut |user, row| {
            let amount = net(row.get(3)?, row.get(2)?);
            each(UtcMillis::new(row.get(0)?), user, class(row.get(1)?)?, amount);
            Ok(())
        })
    }

    /// Hands over the sums of use of a hub in the leaves from one to before another, of all time.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub fn used_in(
        &self,
        hub: &HubId,
        (first, before): (u64, u64),
        each: &mut dyn FnMut(UtcMillis, &Account, i128),
    ) -> Result<(), IndexError> {
        const SQL: &str = "SELECT account, interval_ms, is_reversal, amount_mj FROM used \
            WHERE leaf >= ?1 AND leaf < ?2 AND hub = ?3";
        for (file, db) in self.files() {
            let refuse = |source| IndexError::Sqlite { file: file.clone(), source };
            let Some(hub) = store::hub(db, hub).map_err(refuse)? else { continue };
            let mut statement = db.prepare_cached(SQL).map_err(refuse)?;
            let asked = params![signed(first), signed(before), hub];
            let (mut rows, mut known) = (statement.query(asked).map_err(refuse)?, BTreeMap::new());
            while let Some(row) = rows.next().map_err(refuse)? {
                let mut take = || -> rusqlite::Result<()> {
                    let id: i64 = row.get(0)?;
                    let user = match known.entry(id) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(new) => new.insert(named(db, id)?),
                    };
                    each(UtcMillis::new(row.get(1)?), user, net(row.get(3)?, row.get(2)?));
                    Ok(())
                };
                take().map_err(refuse)?;
            }
        }
        Ok(())
    }

    /// Hands over every entry of use in a scope, account by account; of postings whose summary is
    /// there.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub fn posted(
        &self,
        scope: &Scope,
        is_asked: &dyn Fn(&Account) -> bool,
        each: &mut dyn FnMut(Posted<'_>),
    ) -> Result<(), IndexError> {
        const HEAD: &str = "SELECT e.interval_ms, e.class, e.is_reversal, e.amount_mj, l.owner,";
        const JOIN: &str = "FROM entry e JOIN leaf l ON l.leaf = e.leaf JOIN account a ON a.id =";
        const WITHIN: &str = "AND e.hub = ?1 AND e.interval_ms >= ?3 AND e.interval_ms < ?4 \
            AND e.leaf < ?5";
        let debits = format!("{HEAD} a.name {JOIN} e.credit WHERE e.debit = ?2 {WITHIN}");
        let taken_back = format!(
            "{HEAD} a.name {JOIN} e.debit WHERE e.credit = ?2 AND e.is_reversal = 1 {WITHIN}"
        );
        let mut givers: BTreeMap<String, Account> = BTreeMap::new();
        for sql in [&debits, &taken_back] {
            self.each_account(scope, is_asked, sql, &mut |user, row| {
                let (owner, giver): (String, String) = (row.get(4)?, row.get(5)?);
                if !givers.contains_key(&giver) {
                    let account = giver.parse().map_err(|_| rusqlite::Error::InvalidQuery)?;
                    givers.insert(giver.clone(), account);
                }
                let giver = givers.get(&giver).ok_or(rusqlite::Error::InvalidQuery)?;
                let (interval, class) = (UtcMillis::new(row.get(0)?), class(row.get(1)?)?);
                let amount = net(row.get(3)?, row.get(2)?);
                each(Posted { interval, user, giver, owner: &owner, class, amount });
                Ok(())
            })?;
        }
        Ok(())
    }

    fn each_account(
        &self,
        scope: &Scope,
        is_asked: &dyn Fn(&Account) -> bool,
        sql: &str,
        each: &mut dyn FnMut(&Account, &rusqlite::Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), IndexError> {
        for (file, db) in self.months(scope) {
            let refuse = |source| IndexError::Sqlite { file: file.clone(), source };
            let Some(hub) = store::hub(db, &scope.hub).map_err(refuse)? else { continue };
            let whole = whole_leaves(db, scope).map_err(refuse)?;
            let mut statement = db.prepare_cached(sql).map_err(refuse)?;
            for (id, account) in asked_of(db, is_asked).map_err(refuse)? {
                let (from, to) = (scope.from.get(), scope.to.get());
                let asked = params![hub, id, from, to, whole];
                let mut rows = statement.query(asked).map_err(refuse)?;
                while let Some(row) = rows.next().map_err(refuse)? {
                    each(&account, row).map_err(refuse)?;
                }
            }
        }
        Ok(())
    }

    /// The terms of each interval's PUE by its last summary in the scope; intervals that have none
    /// are not among them.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub fn terms(&self, scope: &Scope) -> Result<BTreeMap<UtcMillis, Terms>, IndexError> {
        // The other columns are those of the row with the largest leaf.
        const SQL: &str = "SELECT interval_ms, pue_total_mj, pue_it_mj, MAX(leaf) FROM summary \
            WHERE hub = ?1 AND interval_ms >= ?2 AND interval_ms < ?3 AND leaf < ?4 \
            GROUP BY interval_ms";
        let mut terms = BTreeMap::new();
        for (file, db) in self.months(scope) {
            let refuse = |source| IndexError::Sqlite { file: file.clone(), source };
            let Some(hub) = store::hub(db, &scope.hub).map_err(refuse)? else { continue };
            let mut statement = db.prepare_cached(SQL).map_err(refuse)?;
            let asked = params![hub, scope.from.get(), scope.to.get(), scope.end_leaf()];
            let mut rows = statement.query(asked).map_err(refuse)?;
            while let Some(row) = rows.next().map_err(refuse)? {
                let words = |at| row.get::<_, Option<String>>(at);
                let (total, it) = (words(1).map_err(refuse)?, words(2).map_err(refuse)?);
                let number = |text: Option<String>| text?.parse::<u128>().ok();
                if let (Some(total), Some(it)) = (number(total), number(it)) {
                    let start = row.get(0).map_err(refuse)?;
                    terms.insert(UtcMillis::new(start), (total, it));
                }
            }
        }
        Ok(terms)
    }

    /// How many intervals of the scope have a summary.
    ///
    /// # Errors
    /// If SQLite refuses.
    pub fn closed(&self, scope: &Scope) -> Result<u64, IndexError> {
        const SQL: &str = "SELECT COUNT(DISTINCT interval_ms) FROM summary \
            WHERE hub = ?1 AND interval_ms >= ?2 AND interval_ms < ?3 AND leaf < ?4";
        let mut count = 0;
        for (file, db) in self.months(scope) {
            let refuse = |source| IndexError::Sqlite { file: file.clone(), source };
            let Some(hub) = store::hub(db, &scope.hub).map_err(refuse)? else { continue };
            let asked = params![hub, scope.from.get(), scope.to.get(), scope.end_leaf()];
            let found = db.query_row(SQL, asked, |row| row.get(0)).map_err(refuse)?;
            count += unsigned(found);
        }
        Ok(count)
    }
}
