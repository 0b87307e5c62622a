//! Retirements of nodes as people write them, and as the ledger takes them.
//!
//! Field order and names are on disk: append only.

use bijli_ledger::Retirement;
use bijli_wire::{HubId, NodeId};
use serde::{Deserialize, Serialize};

use crate::allocation::{TextError, name};

/// A node that is gone for good, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetirementText {
    /// May be left out where the address names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// May be left out where there is only one hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    pub who: String,
    pub why: String,
}

impl RetirementText {
    /// # Errors
    /// Says which field is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        TextError::read("a retirement", json)
    }

    /// The bytes that the journal keeps.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings can be written as JSON")
    }

    /// # Errors
    /// Says which field is wrong.
    pub fn read(&self) -> Result<(HubId, Retirement), TextError> {
        let hub = self.hub.as_deref().ok_or(TextError::NoHub)?;
        let retirement = Retirement {
            node: name("node", NodeId::new(&self.node))?,
            who: self.who.clone(),
            why: self.why.clone(),
        };
        Ok((name("hub", HubId::new(hub))?, retirement))
    }
}
