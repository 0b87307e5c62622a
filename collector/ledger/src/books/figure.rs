//! PUE of a period, from what its intervals add.

use std::collections::BTreeMap;

use bijli_wire::UtcMillis;

use super::{Books, as_index};
use crate::diagram::{Diagram, Role};
use crate::pue::{Added, Asked, MeterShare, NoPue, Pue, PuePolicy, PueSum};

/// An interval that counts for PUE: what other figures of the same energies are summed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counting<'a> {
    pub start: UtcMillis,
    pub end: UtcMillis,
    /// E_DC and E_IT, in millijoules.
    pub total: u128,
    pub it: u128,
    /// E_DC by kind of supply.
    pub by_source: &'a BTreeMap<Role, u128>,
}

impl Books {
    /// The intervals of a period that count for its PUE, oldest first.
    pub fn counting(&self, from: UtcMillis, to: UtcMillis) -> impl Iterator<Item = Counting<'_>> {
        self.posted_intervals(from, to).filter_map(|(start, interval)| {
            let parts = interval.pue.as_ref().ok()?;
            Some(Counting {
                start: UtcMillis::new(start),
                end: UtcMillis::new(start.saturating_add(self.interval_ms)),
                total: parts.total,
                it: parts.it,
                by_source: &parts.by_source,
            })
        })
    }

    /// PUE of a period: sums over its complete intervals, under the policy in force at its end.
    ///
    /// # Errors
    /// Says why there is none.
    pub fn pue(&self, from: UtcMillis, to: UtcMillis) -> Result<Pue, NoPue> {
        let start = self.floor(from.get());
        let closed = self.closed_until.unwrap_or(start);
        let end = self.floor(to.get()).min(closed).max(start);
        let usual = PuePolicy::default();
        let last = self.diagram_at(UtcMillis::new(end.saturating_sub(1)));
        let asked = Asked {
            from: UtcMillis::new(start),
            to: UtcMillis::new(end),
            interval: self.rules.interval,
            policy: last.map_or(&usual, Diagram::policy),
        };
        let mut sum = PueSum::default();
        let mut in_force = None;
        for (start, interval) in self.posted_intervals(asked.from, asked.to) {
            let diagram = self.diagrams.range(..=start).next_back();
            let epoch = diagram.map(|(from, _)| *from);
            if in_force != epoch {
                self.describe(in_force, &mut sum);
                in_force = epoch;
            }
            let added = Added {
                start,
                pue: &interval.pue,
                known: interval.known,
                adjustments: interval.adjustments,
                is_settled: start < self.horizon,
            };
            sum.add(&added, &asked);
        }
        self.describe(in_force, &mut sum);
        sum.finish(&asked)
    }

    /// Puts names and descriptions of a diagram's time to what was counted under it.
    fn describe(&self, in_force: Option<i64>, sum: &mut PueSum) {
        let diagram = in_force.and_then(|from| self.diagrams.get(&from));
        for ((term, number), millijoules) in sum.take_by_meter() {
            let Some(subject) = self.subjects.get(as_index(number)) else { continue };
            let meter = diagram.and_then(|diagram| diagram.meters().get(&subject.id)).cloned();
            sum.share(MeterShare { term, id: subject.id.clone(), meter, millijoules });
        }
    }
}
