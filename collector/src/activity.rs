//! Whether a GPU was busy at a moment: its last known utilization, or else its process count.
//!
//! Known means: read no longer than [`KNOWN_MS_MAX`] before. What nobody could tell is unknown,
//! never idle.

use bijli_ledger::Activity;
use serde::{Deserialize, Serialize};

use bijli_wire::{Batch, Quantity, Schema, Table, UtcMillis};

/// How long a reading of activity says something about the device.
pub const KNOWN_MS_MAX: i64 = 30_000;

/// What the subjects of one node were doing, over the batch at hand.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Activities {
    /// By the schema's index of the subject.
    subjects: Vec<Readings>,
}

/// Only readings that were not missing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Readings {
    utilization: Line,
    processes: Line,
}

/// Values by time in milliseconds, rising; the later said of one time replaces the earlier.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Line(Vec<(i64, i64)>);

impl Line {
    fn insert(&mut self, at: i64, value: i64) {
        let is_last = self.0.last().is_none_or(|(last, _)| *last < at);
        if is_last {
            return self.0.push((at, value));
        }
        let place = self.0.partition_point(|(time, _)| *time < at);
        match self.0.get_mut(place) {
            Some(known) if known.0 == at => known.1 = value,
            Some(_) | None => self.0.insert(place, (at, value)),
        }
    }

    /// The newest value at a moment, if it is not too old to say something.
    fn known(&self, at: i64) -> Option<i64> {
        let count = self.0.partition_point(|(time, _)| *time <= at);
        let (time, value) = self.0.get(count.checked_sub(1)?)?;
        (*time >= at.saturating_sub(KNOWN_MS_MAX)).then_some(*value)
    }

    fn keep_newest(&mut self) {
        let count = self.0.len().saturating_sub(1);
        drop(self.0.drain(..count));
    }
}

impl Activities {
    /// Adds a batch's readings to those that earlier batches left.
    pub fn take(&mut self, schema: &Schema, batch: &Batch<Table>) {
        self.subjects.resize(schema.subjects.len(), Readings::default());
        for table in &batch.matrices {
            let Some(group) = schema.groups.get(table.group) else { continue };
            for (series, column) in group.series.iter().zip(table.columns()) {
                let Some(quantity) = series.quantity.filter(|_| series.part == 0) else { continue };
                let is_utilization = quantity == Quantity::GpuUtilization;
                if !is_utilization && quantity != Quantity::ProcessCount {
                    continue;
                }
                let spec = quantity.spec();
                let Some(readings) = self.subjects.get_mut(series.subject) else { continue };
                let line = if is_utilization {
                    &mut readings.utilization
                } else {
                    &mut readings.processes
                };
                for (at, value) in table.times.iter().zip(column.iter()) {
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
        let Some(readings) = self.subjects.get(subject) else { return Activity::Unknown };
        let known = |line: &Line| line.known(at.get());
        match known(&readings.utilization).or_else(|| known(&readings.processes)) {
            None => Activity::Unknown,
            Some(value) if value > 0 => Activity::Busy,
            Some(_) => Activity::Idle,
        }
    }

    /// Keeps of each line only its newest reading: the memory of a node stays small.
    pub fn forget(&mut self) {
        for readings in &mut self.subjects {
            readings.utilization.keep_newest();
            readings.processes.keep_newest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activities(utilization: &[(i64, i64)], processes: &[(i64, i64)]) -> Activities {
        let line = |readings: &[(i64, i64)]| {
            let mut line = Line::default();
            readings.iter().for_each(|(at, value)| line.insert(*at, *value));
            line
        };
        let (utilization, processes) = (line(utilization), line(processes));
        Activities { subjects: vec![Readings { utilization, processes }] }
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
    fn readings_out_of_order_find_their_place_and_the_later_word_counts() {
        let activities = activities(&[(9_000, 0), (1_000, 1), (5_000, 0), (5_000, 1)], &[]);
        let at = |ms| activities.at(0, UtcMillis::new(ms));
        assert_eq!([0, 1_000, 5_000, 8_999].map(at)[1..], [Activity::Busy; 3]);
        assert_eq!([at(0), at(9_000)], [Activity::Unknown, Activity::Idle]);
    }

    #[test]
    fn forgetting_keeps_the_newest() {
        let mut activities = activities(&[(0, 1), (9_000, 0)], &[]);
        activities.forget();
        assert_eq!(activities.at(0, UtcMillis::new(10_000)), Activity::Idle);
        assert_eq!(activities.at(0, UtcMillis::new(8_000)), Activity::Unknown);
    }
}
