//! How the logs stand: what `/v1/seals`, `status` and the page show.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bijli_wire::HubId;
use serde::{Deserialize, Serialize};

/// The log of one hub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    pub hub: String,
    /// The name of the log.
    pub origin: String,
    /// Entries of the tree that is on disk, and its root in base64.
    pub size: String,
    pub root: String,
    /// Entries of the newest signed checkpoint; absent: none is signed.
    pub signed_size: Option<String>,
    /// The keys that sign, for an auditor to compare with those that he was given.
    pub keys: Vec<String>,
    /// Who cosigned the newest checkpoint.
    pub witnessed_by: Vec<Witnessed>,
    /// Witnesses that the policy names.
    pub witnesses: usize,
    /// Whether those are as many as the policy asks for; false where it asks for none.
    pub is_witnessed: bool,
    /// Whether every head is also kept on another device.
    pub has_head_elsewhere: bool,
    /// Why the newest entries are not signed.
    pub refused: Option<String>,
    /// All of it in one line.
    pub words: String,
}

/// One cosignature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witnessed {
    pub name: String,
    /// When, by the witness's clock: RFC 3339.
    pub at: String,
}

impl Seal {
    /// The same with its words.
    #[must_use]
    pub fn said(self) -> Self {
        let words = match (&self.refused, &self.signed_size) {
            (Some(why), _) => format!("NOT SIGNED: {why}"),
            (None, None) => "not signed: no [seal] key is configured".to_owned(),
            (None, Some(size)) => format!("{size} entries, {}", self.by_whom()),
        };
        Self { words, ..self }
    }

    fn by_whom(&self) -> String {
        match (self.witnessed_by.len(), self.witnesses) {
            (0, _) => "self-signed".to_owned(),
            (by, of) => {
                let short = if self.is_witnessed { "" } else { ", fewer than the policy asks for" };
                format!("witnessed by {by} of {of}{short}")
            }
        }
    }
}

/// What the thread tells and others read.
#[derive(Clone, Debug, Default)]
pub struct Seals(Arc<RwLock<BTreeMap<HubId, Seal>>>);

impl Seals {
    pub fn put(&self, hub: &HubId, seal: Seal) {
        let mut seals = self.0.write().unwrap_or_else(PoisonError::into_inner);
        seals.insert(hub.clone(), seal);
    }

    /// By hub.
    #[must_use]
    pub fn all(&self) -> Vec<Seal> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    #[must_use]
    pub fn of(&self, hub: &HubId) -> Option<Seal> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(hub).cloned()
    }
}
