//! What one posting says, grouped as leaves hold it.

use std::collections::BTreeSet;

use bijli_wire::{SubjectId, UtcMillis};

use super::period::Standing;
use super::{Books, Closed};
use crate::derive::Reason;
use crate::leaf::{Owned, PueShown, ReasonShown, Summary};
use crate::pue::{PueParts, Withheld};

/// Reasons of one summary, in bytes of their words; the rest is counted.
const REASONS_BYTES_MAX: usize = 48_000;

/// One posting of an interval, ready to be made into leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub owned: Owned,
    /// The first entry of the interval, if these entries correct it.
    pub corrects: Option<u64>,
    /// Its place among the leaves is not filled in.
    pub summary: Summary,
}

impl Books {
    /// What a posting said. Ask before the next `advance`: the summary is as of now.
    #[must_use]
    pub fn statement(&self, closed: &Closed) -> Statement {
        let start = closed.start.get();
        let node_of = |device: &SubjectId| self.node_in(device, start);
        let interval = self.intervals.get(&start).expect("it was posted just now");
        let entries = || self.entries_in(start, interval, closed.entries.clone());
        let corrects = entries().next().and_then(|entry| entry.adjusts);
        let count = closed.entries.end.saturating_sub(closed.entries.start);
        let Standing { supplied, used, .. } = interval.standing;
        let (reasons, reasons_more) = shown(interval.reasons.iter());
        let summary = Summary {
            interval: closed.start,
            end: closed.end,
            revision: 0,
            old_leaf: None,
            leaves: 0,
            first_entry: closed.entries.start,
            entries: u32::try_from(count).expect("a posting has fewer than 2^32 entries"),
            supplied,
            used,
            pue: PueShown::of(&interval.pue),
            reasons,
            reasons_more,
        };
        let owned = crate::leaf::group(entries(), node_of);
        Statement { owned, corrects: corrects.map(|adjusts| adjusts.first), summary }
    }

    /// Nothing that starts before this moment can be corrected any more.
    #[must_use]
    pub const fn horizon(&self) -> UtcMillis {
        UtcMillis::new(self.horizon)
    }
}

/// Whether a summary shows a dispute among these.
pub(super) fn is_disputed(reasons: &BTreeSet<Reason>) -> bool {
    !reasons.is_empty() && shown(reasons.iter()).0.iter().any(|shown| shown.is_dispute)
}

fn shown<'a>(reasons: impl Iterator<Item = &'a Reason>) -> (Vec<ReasonShown>, u32) {
    let (mut list, mut more, mut bytes) = (Vec::new(), 0_u32, 0_usize);
    for reason in reasons {
        let words = reason.to_string();
        bytes = bytes.saturating_add(words.len());
        if bytes > REASONS_BYTES_MAX {
            more = more.saturating_add(1);
        } else {
            list.push(ReasonShown { is_dispute: reason.is_dispute(), words });
        }
    }
    (list, more)
}

impl PueShown {
    pub(crate) fn of(pue: &Result<PueParts, Withheld>) -> Self {
        match pue {
            Err(withheld) => Self::Withheld(withheld.clone()),
            Ok(parts) => {
                let PueParts { total, it, store_drawn, estimated, category, by_source, .. } = parts;
                Self::Parts {
                    total: *total,
                    it: *it,
                    by_source: by_source.clone(),
                    store_drawn: *store_drawn,
                    estimated: *estimated,
                    category: *category,
                }
            }
        }
    }
}
