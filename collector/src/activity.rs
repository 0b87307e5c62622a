//! Whether a GPU was busy at a moment: its last known utilization, or else its process count.
//!
//! Known means: read no longer than [`KNOWN_MS_MAX`] before. What nobody could tell is unknown,
//! never idle.

use std::collections::BTreeMap;

use bijli_ledger::Activity;
use bijli_wire::batch::{Batch, Schema};
use bijli_wire::{Quantity, UtcMillis};

/// How long a reading of activity says something about the device.
pub const KNOWN_MS_MAX: i64 = 30_000;

/// What the subjects of one node were doing, over the batch at hand.
#[derive(Debug, Default)]
pub struct Activities {
    subjects: BTreeMap<usize, Readings>,
}

/// By time, in milliseconds; only readings that were not missing.
#[derive(Debug, Default)]
struct Readings {
    utilization: BTreeMap<i64, i64>,
    processes: BTreeMap<i64, i64>,
}

impl Activities {
    /// Adds a batch's readings to those that earlier batches left.
    pub fn take(&mut self, schema: &Schema, batch: &Batch) {
        for matrix in &batch.matrices {
            let Some(group) = schema.groups.get(matrix.group) else { continue };
            for (series, column) in group.series.iter().zip(&matrix.columns) {
                let Some(quantity) = series.quantity.filter(|_| series.part == 0) else { continue };
                let is_utilization = quantity == Quantity::GpuUtilization;
                if !is_utilization && quantity != Quantity::ProcessCount {
                    continue;
                }
                let spec = quantity.spec();
                let readings = self.subjects.entry(series.subject).or_default();
                let line = if is_utilization {
                    &mut readings.utilization
                } else {
                    &mut readings.processes
                };
                for (at, value) in matrix.times.iter().zip(column) {
                    if let Some(value) = value.filter(|value| spec.admits(*value)) {
                        line.insert(at.get(), value);
                    }
                }
            }
        }
    }

    /// What a subject was doing at a moment.
    #[must_use]
    pub fn at(&self, subject: usize, at: UtcMillis) -> Activity {
        let Some(readings) = self.subjects.get(&subject) else { return Activity::Unknown };
        let known = |line: &BTreeMap<i64, i64>| {
            let since = at.get().saturating_sub(KNOWN_MS_MAX);
            line.range(since..=at.get()).next_back().map(|(_, value)| *value)
        };
        match known(&readings.utilization).or_else(|| known(&readings.processes)) {
            None => Activity::Unknown,
            Some(value) if value > 0 => Activity::Busy,
            Some(_) => Activity::Idle,
        }
    }

    /// Keeps of each line only its newest reading: the memory of a node stays small.
    pub fn forget(&mut self) {
        for readings in self.subjects.values_mut() {
            for line in [&mut readings.utilization, &mut readings.processes] {
                if let Some(newest) = line.keys().next_back().copied() {
                    *line = line.split_off(&newest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activities(utilization: &[(i64, i64)], processes: &[(i64, i64)]) -> Activities {
        let readings = Readings {
            utilization: utilization.iter().copied().collect(),
            processes: processes.iter().copied().collect(),
        };
        Activities { subjects: [(0, readings)].into() }
    }

    #[test]
    fn activity_by_table() {
        let at = |second: i64| UtcMillis::new(second * 1_000);
        for (utilization, processes, second, expected) in [
            (&[][..], &[][..], 0, Activity::Unknown),
            (&[(0, 0)], &[], 30, Activity::Idle),
            (&[(0, 0)], &[], 31, Activity::Unknown),
            (&[(0, 1)], &[(0, 0)], 1, Activity::Busy),
            (&[(0, 0)], &[(0, 3)], 1, Activity::Idle),
            (&[(0, 0)], &[(40_000, 3)], 41, Activity::Busy),
            (&[(5_000, 1)], &[], 4, Activity::Unknown),
        ] {
            let found = activities(utilization, processes).at(0, at(second));
            assert_eq!(found, expected, "{utilization:?} {processes:?} at {second} s");
        }
        assert_eq!(activities(&[(0, 1)], &[]).at(1, at(0)), Activity::Unknown);
    }

    #[test]
    fn forgetting_keeps_the_newest() {
        let mut activities = activities(&[(0, 1), (9_000, 0)], &[]);
        activities.forget();
        assert_eq!(activities.at(0, UtcMillis::new(10_000)), Activity::Idle);
        assert_eq!(activities.at(0, UtcMillis::new(8_000)), Activity::Unknown);
    }
}
