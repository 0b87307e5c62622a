//! The summaries of a period as they stood when the log had so many leaves.

use std::collections::BTreeMap;

use bijli_ledger::Leaf;
use bijli_ledger::leaf::{Body, Summary};
use rusqlite::params;

use super::rows::signed;
use super::store::{self, IndexError, Scope, Store};

impl Store {
    /// The newest summary of each interval of a scope among the first so many leaves of the log.
    ///
    /// # Errors
    /// If SQLite refuses, or a row is no summary.
    pub fn summaries(&self, scope: &Scope, leaves: u64) -> Result<Vec<Summary>, IndexError> {
        const SQL: &str = "SELECT leaf, bytes FROM leaf WHERE hub = ?1 AND kind = 3 \
             AND interval_ms >= ?2 AND interval_ms < ?3 AND leaf < ?4 ORDER BY leaf";
        let mut newest = BTreeMap::new();
        for (file, db) in self.months(scope) {
            let refuse = |source| IndexError::Sqlite { file: file.clone(), source };
            let Some(hub) = store::hub(db, &scope.hub).map_err(refuse)? else { continue };
            let asked = params![hub, scope.from.get(), scope.to.get(), signed(leaves)];
            let mut statement = db.prepare_cached(SQL).map_err(refuse)?;
            let mut rows = statement.query(asked).map_err(refuse)?;
            while let Some(row) = rows.next().map_err(refuse)? {
                let bytes: Vec<u8> = row.get(1).map_err(refuse)?;
                let Ok(Leaf { body: Body::Summary(summary), .. }) = Leaf::decode(&bytes) else {
                    let index: i64 = row.get(0).map_err(refuse)?;
                    let what = format!("a row of leaf {index} that is no summary");
                    return Err(IndexError::Content { file: file.clone(), what });
                };
                newest.insert(summary.interval, summary);
            }
        }
        Ok(newest.into_values().collect())
    }
}
