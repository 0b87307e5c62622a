//! Which leaves a figure rests on, as ranges of their indexes.
//!
//! # Invariants
//! - Every leaf that added to a figure is within its ranges. Where there would be more than
//!   [`RANGES_MAX`] of them, neighbours are joined, and the citation says that it is a cover.

use serde::Serialize;

/// Ranges of one figure: a report is read by people too.
const RANGES_MAX: usize = 16;

/// Leaves as they come, by rising index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leaves {
    count: u64,
    ranges: Vec<(u64, u64)>,
}

/// What is written of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cited {
    /// Leaves that added something.
    pub count: u64,
    /// First and last index of each range, both within it.
    pub ranges: Vec<(u64, u64)>,
    /// False: some leaves within the ranges added nothing.
    pub is_exact: bool,
}

impl Leaves {
    pub(super) fn add(&mut self, index: u64) {
        match self.ranges.last_mut() {
            Some((_, last)) if *last == index => return,
            Some((_, last)) if last.checked_add(1) == Some(index) => *last = index,
            Some(_) | None => self.ranges.push((index, index)),
        }
        self.count += 1;
    }

    /// Those of several figures together.
    pub(super) fn of_all<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        let mut ranges: Vec<(u64, u64)> = all.flat_map(|one| one.ranges.iter().copied()).collect();
        ranges.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                Some(_) | None => joined.push((first, last)),
            }
        }
        let count = joined.iter().map(|(first, last)| last - first + 1).sum();
        Self { count, ranges: joined }
    }

    /// At most [`RANGES_MAX`] ranges: those with the least between them become one.
    pub(super) fn cited(&self) -> Cited {
        let mut gaps: Vec<u64> =
            self.ranges.windows(2).filter_map(|two| gap(two.first()?, two.last()?)).collect();
        gaps.sort_unstable_by(|a, b| b.cmp(a));
        let widest = gaps.get(RANGES_MAX - 1).copied();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for range in &self.ranges {
            match ranges.last_mut() {
                Some(last) if widest.is_some_and(|widest| gap(last, range) <= Some(widest)) => {
                    last.1 = range.1;
                }
                Some(_) | None => ranges.push(*range),
            }
        }
        let is_exact = ranges.len() == self.ranges.len();
        Cited { count: self.count, ranges, is_exact }
    }
}

/// Leaves between two ranges.
fn gap(left: &(u64, u64), right: &(u64, u64)) -> Option<u64> {
    right.0.checked_sub(left.1)
}

impl Cited {
    /// `12-40 62`; a `~` before what is a cover.
    #[must_use]
    pub fn words(&self) -> String {
        let one = |(first, last): &(u64, u64)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        let all = self.ranges.iter().map(one).collect::<Vec<_>>().join(" ");
        if self.is_exact { all } else { format!("~ {all}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_every_leaf_and_are_few() {
        let mut leaves = Leaves::default();
        [3, 4, 4, 5, 9].into_iter().for_each(|index| leaves.add(index));
        let cited = leaves.cited();
        assert_eq!((cited.count, cited.words().as_str(), cited.is_exact), (4, "3-5 9", true));
        let mut many = Leaves::default();
        (0..100).for_each(|index| many.add(index * 10 + u64::from(index > 50)));
        let cited = many.cited();
        assert!(cited.ranges.len() <= RANGES_MAX && !cited.is_exact, "{cited:?}");
        assert_eq!(cited.count, 100);
        let within =
            |index: u64| cited.ranges.iter().any(|(first, last)| (*first..=*last).contains(&index));
        assert!((0..100).all(|index| within(index * 10 + u64::from(index > 50))));
        assert_eq!(Leaves::of_all([&leaves, &many].into_iter()).count, 104);
    }
}
