//! Who has a device over a part of an interval, and what part each has: one, several, or nobody.
//!
//! # Invariants
//! - The parts of an amount sum to the amount, to the millijoule, whatever the holders and the
//!   policy.
//! - The parts follow from who holds what alone: instances are in the order of their ids, projects
//!   in that of their names, then those whose project is not known, and nobody last.

use std::collections::BTreeMap;

use bijli_wire::hold::Share;
use bijli_wire::{ProjectId, SubjectId};
use serde::{Deserialize, Serialize};

use crate::split::split;

/// Who pays for what of a shared device. The numbers and names are append only; what one of them
/// means never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SharePolicy {
    /// Each MIG instance its compute slices of all that the GPU has: slices that nobody holds are
    /// nobody's. Within an instance, and on a device without instances, equal parts among those
    /// who hold it.
    #[default]
    Slices,
    /// As `Slices`, but those who hold anything of the GPU have all of it: slices that nobody
    /// holds are theirs, by the slices that they hold.
    Holders,
}

impl SharePolicy {
    pub const ALL: [Self; 2] = [Self::Slices, Self::Holders];

    /// The name by which it is configured and shown, with its version.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Slices => "slices-1",
            Self::Holders => "holders-1",
        }
    }

    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.word() == word)
    }
}

/// Who has a device from one moment to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot<'a> {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) among: Among<'a>,
}

/// Those who have a device at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Among<'a> {
    units: Vec<Unit<'a>>,
    /// Slices of the GPU that nobody holds.
    free: u64,
}

/// The whole device, or one instance of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unit<'a> {
    slices: u64,
    /// How many equal parts each project has; `None`: it is not known whose they are.
    holders: Vec<(Option<&'a ProjectId>, u64)>,
}

/// Whose a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party<'a> {
    Project(&'a ProjectId),
    /// Somebody has it, and what project that is, nobody told.
    Unknown,
    /// Nobody has it.
    Nobody,
}

impl<'a> Among<'a> {
    /// One has all of it.
    pub(crate) fn whole(project: &'a ProjectId) -> Self {
        Self { units: vec![Unit { slices: 1, holders: vec![(Some(project), 1)] }], free: 0 }
    }

    /// Of shares that are all of the whole device, or all of instances: each once.
    pub(crate) fn shares(shares: impl Iterator<Item = (&'a Share, Option<&'a ProjectId>)>) -> Self {
        // `false` sorts first, so those who are known come before those who are not.
        type Counts<'a> = BTreeMap<(bool, Option<&'a ProjectId>), u64>;
        let mut units: BTreeMap<Option<&SubjectId>, (u64, Counts<'a>)> = BTreeMap::new();
        let mut of = 0;
        for (share, project) in shares {
            let instance = share.instance.as_ref();
            let (slices, counts) = units.entry(instance.map(|one| &one.id)).or_default();
            *slices = (*slices).max(instance.map_or(1, |one| u64::from(one.slices)));
            of = of.max(instance.map_or(0, |one| u64::from(one.of)));
            let count = counts.entry((project.is_none(), project)).or_default();
            *count = count.saturating_add(1);
        }
        let held = units.values().fold(0_u64, |sum, (slices, _)| sum.saturating_add(*slices));
        let unit = |(slices, counts): (u64, Counts<'a>)| Unit {
            slices,
            holders: counts.into_iter().map(|((_, project), count)| (project, count)).collect(),
        };
        Self { units: units.into_values().map(unit).collect(), free: of.saturating_sub(held) }
    }

    /// Everybody's part of an amount; a party may have several.
    pub(crate) fn split(&self, amount: u128, policy: SharePolicy) -> Vec<(Party<'a>, u128)> {
        let free = match policy {
            SharePolicy::Slices => self.free,
            SharePolicy::Holders => 0,
        };
        let weights: Vec<u64> = self.units.iter().map(|unit| unit.slices).chain([free]).collect();
        let mut parts = Vec::new();
        let mut of_units = split(amount, &weights).into_iter();
        for (unit, part) in self.units.iter().zip(of_units.by_ref()) {
            let counts: Vec<u64> = unit.holders.iter().map(|(_, count)| *count).collect();
            let party = |project: Option<&'a ProjectId>| match project {
                Some(project) => Party::Project(project),
                None => Party::Unknown,
            };
            let holders = unit.holders.iter().map(|(project, _)| party(*project));
            parts.extend(holders.zip(split(part, &counts)));
        }
        parts.extend(of_units.map(|part| (Party::Nobody, part)));
        parts.retain(|(_, part)| *part > 0);
        parts
    }
}

/// For tests: the projects, each with its parts where it has not all.
#[cfg(test)]
impl std::fmt::Display for Among<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let holders = self.units.iter().flat_map(|unit| &unit.holders);
        let words = holders.map(|(project, count)| match (project, count) {
            (Some(project), 1) => project.to_string(),
            (Some(project), count) => format!("{count} {project}"),
            (None, count) => format!("{count} unknown"),
        });
        f.write_str(&words.collect::<Vec<_>>().join("+"))
    }
}

#[cfg(test)]
mod tests {
    use bijli_wire::hold::Instance;
    use proptest::prelude::*;

    use super::*;

    fn name(id: &str) -> SubjectId {
        SubjectId::new(id).expect("a name")
    }

    fn share(id: &str, instance: Option<(&str, u32)>) -> Share {
        let instance = instance.map(|(id, slices)| Instance { id: name(id), slices, of: 7 });
        Share { device: name("G"), id: name(id), instance }
    }

    /// `fire 57, nobody 43` of an amount under each policy.
    #[track_caller]
    fn check(held: &[(Share, &str)], amount: u128, slices: &str, holders: &str) {
        let projects: Vec<Option<ProjectId>> =
            held.iter().map(|(_, project)| ProjectId::new(project).ok()).collect();
        let shares = held.iter().zip(&projects);
        let among = Among::shares(shares.map(|((share, _), p)| (share, p.as_ref())));
        for (policy, expected) in [(SharePolicy::Slices, slices), (SharePolicy::Holders, holders)] {
            let words = |(party, part): &(Party<'_>, u128)| match party {
                Party::Project(project) => format!("{project} {part}"),
                Party::Unknown => format!("unknown {part}"),
                Party::Nobody => format!("nobody {part}"),
            };
            let parts = among.split(amount, policy);
            let told: Vec<String> = parts.iter().map(words).collect();
            assert_eq!(told.join(", "), expected, "{policy:?} {held:?}");
        }
    }

    #[test]
    fn by_table() {
        let slice = |number: u32| share(&format!("G::{number}"), None);
        let mig = |id: &str, slices| share(id, Some((id, slices)));
        // Time slices: equal parts, what is left over by name.
        let four = [(slice(0), "d"), (slice(1), "c"), (slice(2), "b"), (slice(3), "a")];
        check(&four, 10, "a 3, b 3, c 2, d 2", "a 3, b 3, c 2, d 2");
        // Two parts for who has two, and nobody's project is no reason to give it to others.
        let two = [(slice(0), "fire"), (slice(1), "fire"), (slice(2), "no project")];
        check(&two, 9, "fire 6, unknown 3", "fire 6, unknown 3");
        // Instances by their slices; one slice is free.
        let mixed = [(mig("M1", 3), "fire"), (mig("M2", 3), "water")];
        check(&mixed, 700, "fire 300, water 300, nobody 100", "fire 350, water 350");
        // All seven, and a remainder.
        let seven: Vec<_> = (1..=7).map(|n| (mig(&format!("M{n}"), 1), "fire")).collect();
        let parts = ["fire 15"; 2].into_iter().chain(["fire 14"; 5]).collect::<Vec<_>>().join(", ");
        check(&seven, 100, &parts, &parts);
        // An instance in time slices: its part is split once more.
        let nested = [
            (share("M1::0", Some(("M1", 4))), "fire"),
            (share("M1::1", Some(("M1", 4))), "water"),
            (mig("M2", 3), "air"),
        ];
        check(&nested, 700, "fire 200, water 200, air 300", "fire 200, water 200, air 300");
    }

    #[test]
    fn words_are_names_with_versions() {
        for policy in SharePolicy::ALL {
            assert_eq!(SharePolicy::from_word(policy.word()), Some(policy));
        }
        assert_eq!(SharePolicy::from_word("slices"), None);
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_amount(
            amount in any::<u64>(),
            held in proptest::collection::vec((0_u32..9, 0_u32..4, 0_usize..4), 1..24),
            is_mig in any::<bool>(),
        ) {
            let projects = ["a", "b", "c"].map(|name| ProjectId::new(name).expect("a name"));
            let shares: Vec<Share> = held.iter().map(|(unit, number, _)| {
                let unit = format!("M{unit}");
                let instance = is_mig.then_some((unit.as_str(), number.saturating_add(1)));
                share(&format!("{unit}::{number}"), instance)
            }).collect();
            let of = held.iter().map(|(_, _, project)| projects.get(*project));
            let among = Among::shares(shares.iter().zip(of));
            for policy in SharePolicy::ALL {
                let parts = among.split(u128::from(amount), policy);
                prop_assert_eq!(parts.iter().map(|(_, part)| part).sum::<u128>(), amount.into());
            }
        }
    }
}
