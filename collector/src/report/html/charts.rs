//! Two drawings over the days of a month: energy by use, stacked, and PUE with its ±. Integers
//! only; the same figures give the same drawing.

use bijli_ledger::Pue;
use maud::{Markup, html};

use super::unit::{Unit, step};
use crate::report::figures::{DayFigures, Figures};
use crate::report::groups::Use;

const WIDTH: u64 = 720;
const HEIGHT: u64 = 230;
/// Room for the labels of the axes.
const LEFT: u64 = 58;
const BOTTOM: u64 = 24;
const TOP: u64 = 10;
const PLOT: u64 = HEIGHT - BOTTOM - TOP;
const MILLION: u128 = 1_000_000;

/// A bar for each day.
pub(super) fn days(figures: &Figures, unit: Unit) -> Markup {
    let most = figures.days.iter().map(|day| day.sums.used()).max().unwrap_or(0);
    let step = step(most);
    let top = step.saturating_mul(5).min(most.div_ceil(step.max(1)).max(1).saturating_mul(step));
    let columns = Columns::of(figures.days.len());
    let words = format!("Energy by day and use, in {}; table 4.3 has the numbers", unit.symbol);
    html! {
        svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(words) {
            @for tick in ticks(step, top) {
                (grid(height(tick, top), &unit.tick(tick)))
            }
            text.axis x=(LEFT - 8) y=(TOP + 4) text-anchor="end" { (unit.symbol) }
            @for (place, day) in figures.days.iter().enumerate() {
                (stack(day, columns.at(place), top, unit))
            }
            (dates(figures, columns))
        }
    }
}

fn stack(day: &DayFigures, (x, width): (u64, u64), top: u128, unit: Unit) -> Markup {
    let mut below = 0_u128;
    let parts = Use::ALL.into_iter().filter(|used| day.sums.of(*used) > 0).map(|used| {
        let from = below;
        below = below.saturating_add(day.sums.of(used));
        (used, height(from, top), height(below, top))
    });
    let parts: Vec<(Use, u64, u64)> = parts.collect();
    html! {
        g {
            title { (day.day.date) ": " (unit.show(day.sums.used())) " " (unit.symbol) }
            @for (used, low, high) in parts {
                rect class={ "t-" (used.tone()) } x=(x) width=(width) y=(TOP + PLOT - high)
                    height=(high - low) { title { (day.day.date) ", " (used.title()) ": "
                        (unit.show(day.sums.of(used))) " " (unit.symbol) } }
            }
        }
    }
}

/// Each day's PUE and its ±; a day without one is marked.
pub(super) fn pue(figures: &Figures) -> Markup {
    let values: Vec<Option<(u128, u128)>> =
        figures.days.iter().map(|day| day.pue.as_ref().ok().map(micro)).collect();
    let known = || values.iter().flatten();
    let low = known().map(|(value, off)| value.saturating_sub(*off)).min().unwrap_or(MILLION);
    let high = known().map(|(value, off)| value.saturating_add(*off)).max().unwrap_or(MILLION);
    let step = [10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000]
        .into_iter()
        .find(|step| high.saturating_sub(low) <= step * 4)
        .unwrap_or(100_000_000);
    let base = low / step * step;
    let top = (high.saturating_sub(base).div_ceil(step)).max(1) * step;
    let columns = Columns::of(figures.days.len());
    html! {
        svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img"
            aria-label="PUE of each day with its ±; table 4.3 has the numbers" {
            @for tick in ticks(step, top) {
                (grid(height(tick, top), &hundredths(base + tick)))
            }
            @for (place, (day, value)) in figures.days.iter().zip(&values).enumerate() {
                @let (x, width) = columns.at(place);
                @match value {
                    Some((value, off)) => {
                        (mark(day, x + width / 2, [value - base, *off], top))
                    }
                    None => {
                        g { title { (day.day.date) ": no PUE" }
                            path.none d=(format!("M{0} {1}l6 6m0 -6l-6 6", x + width / 2 - 3,
                                TOP + PLOT - 10)) {} }
                    }
                }
            }
            (dates(figures, columns))
        }
    }
}

fn mark(day: &DayFigures, x: u64, [value, off]: [u128; 2], top: u128) -> Markup {
    let y = |value: u128| TOP + PLOT - height(value, top);
    let words = day.pue.as_ref().map(ToString::to_string).unwrap_or_default();
    html! {
        g {
            title { (words) }
            path.off d=(format!("M{x} {}V{}", y(value.saturating_sub(off)),
                y(value.saturating_add(off).min(top)))) {}
            circle.day cx=(x) cy=(y(value)) r="4" {}
        }
    }
}

/// Value and ± in millionths.
fn micro(pue: &Pue) -> (u128, u128) {
    let value = pue.total.saturating_mul(MILLION).checked_div(pue.it).unwrap_or(0);
    (value, pue.uncertainty.as_ref().map_or(0, |known| known.correlated_micro))
}

fn hundredths(micro: u128) -> String {
    format!("{}.{:02}", micro / MILLION, micro % MILLION / 10_000)
}

/// Where the days stand.
#[derive(Clone, Copy)]
struct Columns {
    pitch: u64,
}

impl Columns {
    fn of(days: usize) -> Self {
        let days = u64::try_from(days).unwrap_or(u64::MAX).max(1);
        Self { pitch: (WIDTH - LEFT) / days }
    }

    fn at(self, place: usize) -> (u64, u64) {
        let place = u64::try_from(place).unwrap_or(0);
        (LEFT + place * self.pitch, self.pitch.saturating_sub(4).max(1))
    }
}

fn height(value: u128, top: u128) -> u64 {
    let pixels = value.saturating_mul(u128::from(PLOT)).checked_div(top).unwrap_or(0);
    u64::try_from(pixels).unwrap_or(PLOT).min(PLOT)
}

fn ticks(step: u128, top: u128) -> impl Iterator<Item = u128> {
    (0..=20).map(move |place| step.saturating_mul(place)).take_while(move |tick| *tick <= top)
}

fn grid(height: u64, label: &str) -> Markup {
    let y = TOP + PLOT - height;
    html! {
        path.grid d=(format!("M{LEFT} {y}H{WIDTH}")) {}
        // The topmost line has the unit where there is one.
        @if y > TOP { text.axis x=(LEFT - 8) y=(y + 4) text-anchor="end" { (label) } }
        @else { text.axis x=(LEFT - 8) y=(y + 16) text-anchor="end" { (label) } }
    }
}

fn dates(figures: &Figures, columns: Columns) -> Markup {
    html! {
        @for (place, day) in figures.days.iter().enumerate() {
            @let (x, width) = columns.at(place);
            @let date = day.day.date.to_string();
            @let number = date.rsplit('-').next().unwrap_or("").trim_start_matches('0').to_owned();
            text.axis x=(x + width / 2) y=(HEIGHT - 8) text-anchor="middle" { (number) }
        }
    }
}
