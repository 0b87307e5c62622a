//! How shared devices are split, from when on.

use std::collections::BTreeMap;

use bijli_wire::UtcMillis;

use super::Books;
use crate::allocation::Touched;
use crate::share::SharePolicy;

impl Books {
    /// Puts policies in force, each from its moment on, in the place of those that were. An
    /// interval uses the one in force at its start; before the first one it is the usual one.
    pub fn set_share_policies(&mut self, policies: &BTreeMap<UtcMillis, SharePolicy>) {
        let new: BTreeMap<i64, SharePolicy> =
            policies.iter().map(|(from, policy)| (from.get(), *policy)).collect();
        let old = std::mem::replace(&mut self.share_policies, new);
        let moments = old.keys().chain(self.share_policies.keys());
        let differs = |at: &&i64| policy_at(&old, **at) != policy_at(&self.share_policies, **at);
        if let Some(from) = moments.filter(differs).min().copied() {
            self.touch(Touched { from, to: i64::MAX });
        }
    }

    /// The policies that are in force somewhere in `[from, to)`, each with its begin; `None`: it
    /// was not put, it is the usual one.
    #[must_use]
    pub fn share_policies(
        &self,
        from: UtcMillis,
        to: UtcMillis,
    ) -> Vec<(Option<UtcMillis>, SharePolicy)> {
        let first = self.share_policies.range(..=from.get()).next_back();
        let first = first.map(|(at, policy)| (Some(UtcMillis::new(*at)), *policy));
        let later = self.share_policies.range(from.get().saturating_add(1)..);
        let later = later.take_while(|(at, _)| **at < to.get());
        let later = later.map(|(at, policy)| (Some(UtcMillis::new(*at)), *policy));
        [first.unwrap_or((None, SharePolicy::default()))].into_iter().chain(later).collect()
    }

    /// How shared devices are split in an interval that begins then.
    #[must_use]
    pub fn share_policy(&self, at: UtcMillis) -> SharePolicy {
        policy_at(&self.share_policies, at.get())
    }
}

fn policy_at(policies: &BTreeMap<i64, SharePolicy>, at: i64) -> SharePolicy {
    policies.range(..=at).next_back().map(|(_, policy)| *policy).unwrap_or_default()
}
