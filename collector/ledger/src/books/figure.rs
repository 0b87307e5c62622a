//! PUE of a period, from what its intervals add.

use bijli_wire::UtcMillis;

use super::{Books, as_index};
use crate::diagram::Diagram;
use crate::pue::{Added, Asked, MeterShare, NoPue, Pue, PuePolicy, PueSum};

impl Books {
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
