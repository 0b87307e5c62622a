//! Projects as people write them (JSON, TOML), and as the registry keeps them.
//!
//! The journal keeps the JSON of [`ChangeText`]. Field order and names are on disk: append only.

use bijli_wire::quantity::{self, QuantityError};
use bijli_wire::{ProjectId, UtcMillis};
use serde::{Deserialize, Serialize};

use super::registry::{Change, Claim, Project, ProjectError};
use crate::allocation::{TextError, name};
use crate::calendar;

/// A project in JSON or TOML.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectText {
    /// May be left out where the address names it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    pub title: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub organisation: String,
    /// Number of the grant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub grant: String,
    /// Slurm's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<ClaimText>,
    /// Of Kubernetes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<ClaimText>,
    /// RFC 3339 with an offset, on an edge of intervals.
    pub from: String,
    /// Exclusive; left out where no end is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// IT energy from `from` to `to`, with its unit: `"120000 kWh"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    pub who: String,
    pub why: String,
}

/// An account: by its name, for as long as the project lasts; or with times of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClaimText {
    Name(String),
    Dated(DatedText),
}

/// An account that is the project's for a part of its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatedText {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// One change of the registry, as journalled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ChangeText {
    Put(ProjectText),
    Delete(DeleteText),
}

/// A project that is to be no longer in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteText {
    pub id: String,
    pub who: String,
    pub why: String,
}

/// Why a text changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unregistered {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("budget: {0}")]
    Budget(QuantityError),
    #[error(transparent)]
    Refused(#[from] ProjectError),
}

impl ChangeText {
    /// # Errors
    /// Says which field is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        TextError::read("a change of projects", json)
    }

    /// The bytes that the journal keeps.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings can be written as JSON")
    }

    /// # Errors
    /// Says which field is wrong.
    pub fn read(&self) -> Result<Change, Unregistered> {
        match self {
            Self::Put(text) => text.read().map(|project| Change::Put(Box::new(project))),
            Self::Delete(DeleteText { id, who, why }) => Ok(Change::Delete {
                id: name("id", ProjectId::new(id))?,
                who: who.clone(),
                why: why.clone(),
            }),
        }
    }
}

impl ProjectText {
    /// # Errors
    /// Says which field is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        TextError::read("a project", json)
    }

    /// # Errors
    /// Says which field is wrong.
    pub fn read(&self) -> Result<Project, Unregistered> {
        let (from, to) = (time("from", &self.from)?, maybe_time("to", self.to.as_deref())?);
        let claims = |field, texts: &[ClaimText]| {
            let read = texts.iter().map(|text| text.read(field, from, to));
            read.collect::<Result<Vec<Claim>, TextError>>()
        };
        Ok(Project {
            id: name("id", ProjectId::new(&self.id))?,
            title: self.title.clone(),
            organisation: self.organisation.clone(),
            grant: self.grant.clone(),
            accounts: claims("accounts", &self.accounts)?,
            namespaces: claims("namespaces", &self.namespaces)?,
            from,
            to,
            budget: self
                .budget
                .as_deref()
                .map(quantity::energy)
                .transpose()
                .map_err(Unregistered::Budget)?,
            budget_words: self.budget.clone(),
            who: self.who.clone(),
            why: self.why.clone(),
        })
    }

    /// The text of a project in the registry: the same project always gives the same text.
    #[must_use]
    pub fn of(project: &Project) -> Self {
        let claims =
            |claims: &[Claim]| claims.iter().map(|claim| ClaimText::of(claim, project)).collect();
        Self {
            id: project.id.to_string(),
            title: project.title.clone(),
            organisation: project.organisation.clone(),
            grant: project.grant.clone(),
            accounts: claims(&project.accounts),
            namespaces: claims(&project.namespaces),
            from: calendar::rfc3339(project.from),
            to: project.to.map(calendar::rfc3339),
            budget: project.budget_words.clone(),
            who: project.who.clone(),
            why: project.why.clone(),
        }
    }
}

impl ClaimText {
    fn read(
        &self,
        field: &'static str,
        from: UtcMillis,
        to: Option<UtcMillis>,
    ) -> Result<Claim, TextError> {
        let (text, own_from, own_to) = match self {
            Self::Name(name) => (name, None, None),
            Self::Dated(dated) => (&dated.name, dated.from.as_deref(), dated.to.as_deref()),
        };
        Ok(Claim {
            account: name(field, ProjectId::new(text))?,
            from: maybe_time(field, own_from)?.unwrap_or(from),
            to: maybe_time(field, own_to)?.or(to),
        })
    }

    /// With times only where they are not the project's.
    fn of(claim: &Claim, project: &Project) -> Self {
        let name = claim.account.to_string();
        let from = (claim.from != project.from).then(|| calendar::rfc3339(claim.from));
        let to = claim.to.filter(|_| claim.to != project.to).map(calendar::rfc3339);
        match (from, to) {
            (None, None) => Self::Name(name),
            (from, to) => Self::Dated(DatedText { name, from, to }),
        }
    }
}

fn time(field: &'static str, text: &str) -> Result<UtcMillis, TextError> {
    calendar::parse(text).map_err(|source| TextError::Time { field, source })
}

fn maybe_time(field: &'static str, text: Option<&str>) -> Result<Option<UtcMillis>, TextError> {
    text.map(|text| time(field, text)).transpose()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Grant and title are what people write: anything but control characters.
    pub(crate) const HOSTILE: &str = "=HYPERLINK(\"http://x\")<script>alert(1)</script>'\"} 1";

    pub(crate) fn text(id: &str, accounts: &[&str]) -> ProjectText {
        ProjectText {
            id: id.into(),
            title: format!("Title of {id}"),
            organisation: "PMD".into(),
            grant: "NTF-2026-17".into(),
            accounts: accounts.iter().map(|name| ClaimText::Name((*name).into())).collect(),
            namespaces: Vec::new(),
            from: "2026-08-01T00:00:00Z".into(),
            to: Some("2026-09-01T00:00:00Z".into()),
            budget: Some("1200 kWh".into()),
            who: "A. Khan".into(),
            why: "grant letter".into(),
        }
    }

    #[test]
    fn what_is_journalled_reads_back_as_the_same_project() {
        let mut text = text("monsoon", &["fire"]);
        text.title = HOSTILE.into();
        text.namespaces.push(ClaimText::Dated(DatedText {
            name: "climate/prod".into(),
            from: Some("2026-08-10T05:00:00+05:00".into()),
            to: None,
        }));
        let project = text.read().expect("valid");
        let again = ChangeText::Put(ProjectText::of(&project));
        let again = ChangeText::from_json(&again.to_json()).expect("our own text");
        assert_eq!(again.read(), Ok(Change::Put(Box::new(project.clone()))));
        assert_eq!(project.namespaces[0].to, project.to, "to the end of the project");
        assert_eq!(project.budget.map(bijli_wire::Millijoules::get), Some(4_320_000_000_000));
        let delete = DeleteText { id: "x".into(), who: "w".into(), why: "y".into() };
        let json = String::from_utf8(ChangeText::Delete(delete).to_json()).expect("text");
        assert_eq!(json, r#"{"delete":{"id":"x","who":"w","why":"y"}}"#);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |change: &dyn Fn(&mut ProjectText)| {
            let mut text = text("monsoon", &["fire"]);
            change(&mut text);
            text.read().expect_err("wrong").to_string()
        };
        for (message, part) in [
            (wrong(&|t| t.id = "a b".into()), "id: project id"),
            (wrong(&|t| t.from = "2026-08-01T00:00:00".into()), "from: "),
            (wrong(&|t| t.to = Some("later".into())), "to: "),
            (wrong(&|t| t.budget = Some("1200".into())), "budget: \"1200\" is a bare number"),
            (wrong(&|t| t.accounts.push(ClaimText::Name("=1".into()))), "accounts: "),
        ] {
            assert!(message.contains(part), "{message}");
        }
        for json in [r#"{"titel":"x"}"#, r#"{"id":"a","title":"b","accounts":[{"nam":"x"}]}"#] {
            assert!(ProjectText::from_json(json.as_bytes()).is_err(), "{json}");
        }
    }
}
