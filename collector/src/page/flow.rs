//! Where the boxes and bands of the energy-flow drawing lie. Pure, integers only, deterministic.
//!
//! Columns from left to right are the longest way from a supply; what ends energy is in the last
//! column. One scale for the whole drawing: a band's height is its energy. A box that is too low
//! for its label still gets the label's room, so nothing overlaps.

use std::collections::BTreeMap;

use super::place::{Bands, Detail, Place, Tone};

/// The drawing, in pixels of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drawing {
    pub(crate) width: u64,
    pub(crate) height: u64,
    pub(crate) boxes: Vec<Box>,
    pub(crate) bands: Vec<Band>,
    /// Characters that a label has room for in the inner columns, and in the last.
    pub(crate) label_chars: usize,
    pub(crate) last_chars: usize,
    /// Labels are shortened to fit a narrow screen.
    pub(crate) is_compact: bool,
    /// All energy that enters.
    pub(crate) total: u128,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Box {
    pub(crate) place: Place,
    pub(crate) energy: u128,
    pub(crate) x: u64,
    pub(crate) y: u64,
    pub(crate) height: u64,
    pub(crate) is_last: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Band {
    pub(crate) tone: Tone,
    pub(crate) energy: u128,
    pub(crate) from: Place,
    pub(crate) to: Place,
    /// Upper left and upper right corner.
    pub(crate) start: (u64, u64),
    pub(crate) end: (u64, u64),
    pub(crate) height: u64,
}

/// Measures of a drawing.
struct Frame {
    width: u64,
    /// Room for the labels of the last column.
    margin: u64,
    /// Height of all energy.
    scale: u64,
}

/// Width of a box.
pub(crate) const BOX: u64 = 12;
/// Room for a box with its two lines of label.
const SLOT: u64 = 36;
const GAP: u64 = 10;
/// Room above the first box.
const TOP: u64 = 6;
/// Mean width of a character of a label.
const CHARACTER: u64 = 8;
/// Longest chain of points that is drawn; a diagram this deep has no reader.
const COLUMNS_MAX: u64 = 12;

impl Detail {
    const fn frame(self) -> Frame {
        match self {
            Self::Full => Frame { width: 1_080, margin: 184, scale: 330 },
            Self::Compact => Frame { width: 372, margin: 126, scale: 300 },
        }
    }
}

/// Lays out `bands`. Nothing to draw gives an empty drawing.
pub(crate) fn draw(bands: &Bands, detail: Detail) -> Drawing {
    let frame = detail.frame();
    let columns = columns(bands);
    let last = columns.values().copied().max().unwrap_or(0);
    if last == 0 {
        return Drawing::default();
    }
    let sums = sums(bands);
    let total = bands.iter().filter(|((from, ..), _)| matches!(from, Place::Supply(..)));
    let total: u128 = total.fold(0, |sum, (_, energy)| sum.saturating_add(*energy));
    let pitch = (frame.width - frame.margin - BOX) / last;
    let height_of = |energy: u128| scaled(energy, frame.scale, total);
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    let mut boxes = Vec::new();
    for (place, column) in in_order(&columns, bands) {
        let energy = sums.get(place).copied().unwrap_or(0);
        let height = height_of(energy).max(2);
        let y = next.entry(column).or_insert(TOP);
        let (x, is_last) = (column * pitch, column == last);
        boxes.push(Box { place: place.clone(), energy, x, y: *y, height, is_last });
        *y += height.max(SLOT) + GAP;
    }
    let height = next.values().copied().max().unwrap_or(0);
    let bands = curves(bands, &boxes, &height_of);
    Drawing {
        width: frame.width,
        height,
        boxes,
        bands,
        label_chars: characters(pitch.saturating_sub(BOX)),
        last_chars: characters(frame.margin),
        is_compact: detail == Detail::Compact,
        total,
    }
}

/// How many characters of a label fit beside a box.
fn characters(room: u64) -> usize {
    usize::try_from(room.saturating_sub(6) / CHARACTER).unwrap_or(0)
}

fn scaled(energy: u128, scale: u64, total: u128) -> u64 {
    let height = energy.saturating_mul(u128::from(scale)).checked_div(total).unwrap_or(0);
    u64::try_from(height).unwrap_or(scale).min(scale.saturating_mul(2))
}

/// The column of every place: the longest way from a supply, ends in the last.
fn columns(bands: &Bands) -> BTreeMap<Place, u64> {
    let mut columns: BTreeMap<Place, u64> = BTreeMap::new();
    for (from, to, _) in bands.keys() {
        columns.entry(from.clone()).or_insert(0);
        columns.entry(to.clone()).or_insert(0);
    }
    for _ in 0..COLUMNS_MAX {
        let mut moved = false;
        for (from, to, _) in bands.keys() {
            let after = columns.get(from).copied().unwrap_or(0) + 1;
            if let Some(column) = columns.get_mut(to)
                && *column < after.min(COLUMNS_MAX)
            {
                *column = after;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    let last = columns.values().copied().max().unwrap_or(0);
    for (place, column) in &mut columns {
        if place.is_end() {
            *column = last;
        }
    }
    columns
}

/// Ends that are fed from further right lie higher, so that their bands do not cross those that
/// come from the left; otherwise the order of places.
fn in_order<'a>(columns: &'a BTreeMap<Place, u64>, bands: &Bands) -> Vec<(&'a Place, u64)> {
    let feeder = |place: &Place| {
        let feeders = bands.keys().filter(|(_, to, _)| to == place);
        feeders.filter_map(|(from, ..)| columns.get(from)).max().copied().unwrap_or(0)
    };
    let mut order: Vec<(&Place, u64, u64)> =
        columns.iter().map(|(place, column)| (place, *column, feeder(place))).collect();
    order.sort_by_key(|(_, column, feeder)| (*column, std::cmp::Reverse(*feeder)));
    order.into_iter().map(|(place, column, _)| (place, column)).collect()
}

/// The larger of what a place received and gave.
fn sums(bands: &Bands) -> BTreeMap<Place, u128> {
    let mut sums: BTreeMap<Place, (u128, u128)> = BTreeMap::new();
    for ((from, to, _), energy) in bands {
        let given = &mut sums.entry(from.clone()).or_default().1;
        *given = given.saturating_add(*energy);
        let received = &mut sums.entry(to.clone()).or_default().0;
        *received = received.saturating_add(*energy);
    }
    sums.into_iter().map(|(place, (received, given))| (place, received.max(given))).collect()
}

/// Bands leave and reach a box from its top downwards, in the order of the boxes at their other
/// ends.
fn curves(bands: &Bands, boxes: &[Box], height_of: &dyn Fn(u128) -> u64) -> Vec<Band> {
    let by_place: BTreeMap<&Place, &Box> = boxes.iter().map(|one| (&one.place, one)).collect();
    let (mut given, mut received) = (BTreeMap::new(), BTreeMap::new());
    let mut drawn = Vec::new();
    let known = bands.iter().filter_map(|((from, to, tone), energy)| {
        Some((*by_place.get(from)?, *by_place.get(to)?, *tone, *energy))
    });
    let mut known: Vec<(&Box, &Box, Tone, u128)> = known.collect();
    known.sort_by_key(|(left, right, tone, _)| (left.y, right.y, left.x, *tone));
    for (left, right, tone, energy) in known {
        let (from, to) = (&left.place, &right.place);
        let out: &mut u128 = given.entry(from).or_default();
        let into: &mut u128 = received.entry(to).or_default();
        drawn.push(Band {
            tone,
            energy,
            from: from.clone(),
            to: to.clone(),
            start: (left.x + BOX, left.y + height_of(*out)),
            end: (right.x, right.y + height_of(*into)),
            height: height_of(energy).max(1),
        });
        *out = out.saturating_add(energy);
        *into = into.saturating_add(energy);
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::super::place::{bands, tests};
    use super::*;

    fn small(detail: Detail) -> Drawing {
        draw(&bands(&tests::flows(tests::SMALL), detail), detail)
    }

    #[test]
    fn boxes_of_a_column_never_overlap_and_lie_within_the_drawing() {
        for detail in [Detail::Full, Detail::Compact] {
            let drawing = small(detail);
            assert_eq!(drawing.total, 1_000);
            for (index, one) in drawing.boxes.iter().enumerate() {
                assert!(one.x + BOX <= drawing.width && one.y + one.height <= drawing.height);
                for other in drawing.boxes.iter().skip(index + 1).filter(|b| b.x == one.x) {
                    assert!(other.y >= one.y + one.height.max(SLOT), "{one:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn bands_run_left_to_right_and_are_as_high_as_their_energy() {
        let drawing = small(Detail::Full);
        for band in &drawing.bands {
            assert!(band.start.0 < band.end.0, "{band:?}");
        }
        let chiller = drawing.bands.iter().find(|band| band.energy == 250).expect("cooling");
        assert_eq!(chiller.height, 250 * 330 / 1_000);
        assert_eq!(small(Detail::Full), drawing, "the same books give the same drawing");
    }

    #[test]
    fn nothing_and_a_circle_are_drawn_without_harm() {
        assert_eq!(draw(&Bands::new(), Detail::Full), Drawing::default());
        let circle = tests::flows("grid:i -> main 5\nmain -> point:a 5\npoint:a -> main 5");
        assert!(!draw(&bands(&circle, Detail::Full), Detail::Full).boxes.is_empty());
    }
}
