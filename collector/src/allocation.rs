//! Allocations as schedulers and people write them (JSON, TOML), and as the ledger books them.
//!
//! The journal keeps the canonical JSON of [`PutText`] and [`EndText`], so that a replay reads what
//! the first run read. Field order and names are on disk: append only.

use bijli_ledger::{
    Allocation, AllocationError, CalibrationError, EndVerdict, Holds, MeterBookError, PeriodError,
    PutVerdict, RetireError, Retired,
};
use bijli_wire::id::IdError;
use bijli_wire::{HubId, NodeId, ProjectId, SubjectId};
use serde::{Deserialize, Serialize};

use crate::calendar::{self, TimeError};
use crate::projects::{ProjectError, Registered};

/// An allocation in JSON or TOML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutText {
    /// May be left out where the address names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// May be left out where there is only one hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    pub project: String,
    /// Every GPU of this node, and the node itself. Either this or `devices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// RFC 3339 with an offset.
    pub from: String,
    /// Exclusive; left out while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    pub who: String,
    pub why: String,
}

/// The end of an allocation, as journalled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndText {
    pub hub: String,
    pub id: String,
    pub at: String,
}

/// Why a text is no allocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("not the JSON of {what}: {reason}")]
    Json { what: &'static str, reason: String },
    #[error("{field}: {words}")]
    Field { field: &'static str, words: String },
    #[error("{field}: {source}")]
    Name { field: &'static str, source: IdError },
    #[error("{field}: {source}")]
    Time { field: &'static str, source: TimeError },
    #[error("write either node or devices, not both and not neither")]
    Holds,
    #[error("hub is missing, and there is more than one")]
    NoHub,
    #[error("the address names allocation {path:?}, the body {body:?}")]
    OtherId { path: String, body: String },
}

impl TextError {
    /// What a JSON says; `what` it should be.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(
        what: &'static str,
        json: &[u8],
    ) -> Result<T, Self> {
        serde_json::from_slice(json).map_err(|e| Self::Json { what, reason: e.to_string() })
    }
}

/// How the books answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Put(PutVerdict),
    Ended(EndVerdict),
    Refused(AllocationError),
    Calibrated(Result<PutVerdict, CalibrationError>),
    Typed(Result<PutVerdict, MeterBookError>),
    Period(Result<PutVerdict, PeriodError>),
    Registered(Result<Registered, ProjectError>),
    Retired(Result<Retired, RetireError>),
    /// The journalled text cannot be read; nothing was booked.
    Unreadable(TextError),
}

impl Verdict {
    /// The word in answers.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Put(verdict)
            | Self::Calibrated(Ok(verdict))
            | Self::Typed(Ok(verdict))
            | Self::Period(Ok(verdict)) => match verdict {
                PutVerdict::New => "new",
                PutVerdict::Unchanged => "unchanged",
                PutVerdict::Replaced => "replaced",
            },
            Self::Registered(Ok(verdict)) => verdict.word(),
            Self::Ended(EndVerdict::Unchanged) => "unchanged",
            Self::Ended(EndVerdict::Ended) => "ended",
            Self::Ended(EndVerdict::Moved) => "moved",
            Self::Retired(Ok(Retired::LetGo { .. })) => "retired",
            Self::Retired(Ok(Retired::Already)) => "unchanged",
            Self::Refused(_)
            | Self::Calibrated(Err(_))
            | Self::Typed(Err(_))
            | Self::Period(Err(_))
            | Self::Registered(Err(_))
            | Self::Retired(Err(_))
            | Self::Unreadable(_) => "refused",
        }
    }
}

pub(crate) fn name<T>(field: &'static str, parsed: Result<T, IdError>) -> Result<T, TextError> {
    parsed.map_err(|source| TextError::Name { field, source })
}

impl PutText {
    /// # Errors
    /// Says which field is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        TextError::read("an allocation", json)
    }

    /// The bytes that the journal keeps.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings can be written as JSON")
    }

    /// # Errors
    /// Says which field is wrong.
    pub fn read(&self) -> Result<(HubId, Allocation), TextError> {
        let hub = self.hub.as_deref().ok_or(TextError::NoHub)?;
        let time = |field, text: &str| {
            calendar::parse(text).map_err(|source| TextError::Time { field, source })
        };
        let allocation = Allocation {
            id: self.id.clone(),
            project: name("project", ProjectId::new(&self.project))?,
            holds: self.holds()?,
            from: time("from", &self.from)?,
            to: self.to.as_deref().map(|text| time("to", text)).transpose()?,
            who: self.who.clone(),
            why: self.why.clone(),
        };
        Ok((name("hub", HubId::new(hub))?, allocation))
    }

    fn holds(&self) -> Result<Holds, TextError> {
        match (&self.node, self.devices.is_empty()) {
            (Some(node), true) => Ok(Holds::Node(name("node", NodeId::new(node))?)),
            (None, false) => {
                let devices = self.devices.iter().map(|id| SubjectId::new(id));
                let devices = name("devices", devices.collect::<Result<Vec<_>, _>>())?;
                Ok(Holds::Devices(devices))
            }
            (Some(_), false) | (None, true) => Err(TextError::Holds),
        }
    }

    /// The text of a booked allocation: the same allocation always gives the same text.
    #[must_use]
    pub fn of(hub: &HubId, allocation: &Allocation) -> Self {
        let (node, devices) = match &allocation.holds {
            Holds::Node(node) => (Some(node.to_string()), Vec::new()),
            Holds::Devices(devices) => (None, devices.iter().map(ToString::to_string).collect()),
        };
        Self {
            id: allocation.id.clone(),
            hub: Some(hub.to_string()),
            project: allocation.project.to_string(),
            node,
            devices,
            from: calendar::rfc3339(allocation.from),
            to: allocation.to.map(calendar::rfc3339),
            who: allocation.who.clone(),
            why: allocation.why.clone(),
        }
    }
}

impl EndText {
    /// # Errors
    /// Says which field is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        TextError::read("an allocation", json)
    }

    /// The bytes that the journal keeps.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings can be written as JSON")
    }

    /// # Errors
    /// Says which field is wrong.
    pub fn read(&self) -> Result<(HubId, bijli_wire::UtcMillis), TextError> {
        let at =
            calendar::parse(&self.at).map_err(|source| TextError::Time { field: "at", source })?;
        Ok((name("hub", HubId::new(&self.hub))?, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> PutText {
        PutText::from_json(
            br#"{"id":"job-7","hub":"isb","project":"climate","node":"n01",
                "from":"2026-08-01T05:00:00+05:00","who":"slurm","why":"grant 12"}"#,
        )
        .expect("valid")
    }

    #[test]
    fn what_is_journalled_reads_back_as_the_same_allocation() {
        let (hub, allocation) = text().read().expect("valid");
        assert_eq!(allocation.from.get(), 1_785_542_400_000);
        let canonical = PutText::of(&hub, &allocation);
        let again = PutText::from_json(&canonical.to_json()).expect("our own text");
        assert_eq!(again.read(), Ok((hub, allocation)));
        assert_eq!(
            String::from_utf8(canonical.to_json()).expect("text"),
            r#"{"id":"job-7","hub":"isb","project":"climate","node":"n01","from":"2026-08-01T00:00:00Z","who":"slurm","why":"grant 12"}"#
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |change: &dyn Fn(&mut PutText)| {
            let mut text = text();
            change(&mut text);
            text.read().expect_err("wrong").to_string()
        };
        for (message, part) in [
            (wrong(&|t| t.from = "2026-08-01T05:00:00".into()), "has no offset"),
            (wrong(&|t| t.devices = vec!["GPU-1".into()]), "either node or devices"),
            (wrong(&|t| t.node = None), "either node or devices"),
            (wrong(&|t| t.project = "a b".into()), "project: project id"),
            (wrong(&|t| t.hub = None), "more than one"),
        ] {
            assert!(message.contains(part), "{message}");
        }
        assert!(PutText::from_json(br#"{"projekt":"x"}"#).is_err());
    }
}
