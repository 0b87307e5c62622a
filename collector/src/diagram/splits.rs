//! How a hub splits shared GPUs, as its operator declares it: policies by name, each from a moment
//! on. They travel with the diagram, so the journal has them and a replay splits alike.

use std::collections::BTreeMap;

use bijli_ledger::SharePolicy;
use bijli_wire::UtcMillis;
use serde::Deserialize;

use super::{Plan, PlanError, quoted};
use crate::calendar::{self, TimeError};

/// A policy, and from when on it is in force.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanSplit {
    /// The name of a [`SharePolicy`], with its version.
    pub policy: String,
    /// RFC 3339 with an offset.
    pub from: String,
}

/// Why a policy cannot be put in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("there is no policy {found:?}; there are {}", known())]
    Policy { found: String },
    #[error("its from")]
    From(#[source] TimeError),
    #[error("two begin at {from}")]
    Twice { from: String },
}

fn known() -> String {
    SharePolicy::ALL.map(SharePolicy::word).join(", ")
}

impl PlanSplit {
    pub(super) fn to_toml(&self) -> String {
        let (policy, from) = (quoted(&self.policy), quoted(&self.from));
        format!("\n[[split]]\npolicy = {policy}\nfrom = {from}\n")
    }

    fn read(&self) -> Result<(UtcMillis, SharePolicy), SplitError> {
        let unknown = || SplitError::Policy { found: self.policy.clone() };
        let policy = SharePolicy::from_word(&self.policy).ok_or_else(unknown)?;
        Ok((calendar::parse(&self.from).map_err(SplitError::From)?, policy))
    }
}

impl Plan {
    /// The declared policies by their begin.
    ///
    /// # Errors
    /// When one does not exist, has no time, or begins when another does.
    pub fn share_policies(&self) -> Result<BTreeMap<UtcMillis, SharePolicy>, PlanError> {
        let mut policies = BTreeMap::new();
        for split in &self.splits {
            let (from, policy) = split.read()?;
            if policies.insert(from, policy).is_some() {
                return Err(SplitError::Twice { from: split.from.clone() }.into());
            }
        }
        Ok(policies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(splits: &[(&str, &str)]) -> Plan {
        let split = |(policy, from): &(&str, &str)| PlanSplit {
            policy: (*policy).to_owned(),
            from: (*from).to_owned(),
        };
        Plan { splits: splits.iter().map(split).collect(), ..Plan::default() }
    }

    #[test]
    fn policies_are_read_and_written_and_what_is_wrong_says_what_to_do() {
        let sound = plan(&[
            ("slices-1", "2026-01-01T00:00:00+05:00"),
            ("holders-1", "2026-07-01T00:00:00Z"),
        ]);
        let read: Vec<SharePolicy> = sound.share_policies().expect("sound").into_values().collect();
        assert_eq!(read, [SharePolicy::Slices, SharePolicy::Holders]);
        assert_eq!(Plan::from_toml(&sound.to_toml()), Ok(sound));
        for (splits, words) in [
            (&[("fair", "2026-01-01T00:00:00Z")][..], "slices-1, holders-1"),
            (&[("slices-1", "2026-01-01")], "its from"),
            (
                &[("slices-1", "2026-01-01T00:00:00Z"), ("holders-1", "2026-01-01T05:00:00+05:00")],
                "two begin",
            ),
        ] {
            let error = plan(splits).share_policies().expect_err(words);
            assert!(crate::journal::chain(&error).contains(words), "{error:?}");
            assert!(!error.remedy().is_empty());
        }
    }
}
