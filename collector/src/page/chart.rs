//! Energy by day as inline SVG: one bar a day, three parts each. Colours are classes of the style
//! sheet.

use bijli_wire::units::human_energy;
use maud::{Markup, html};

use super::place::Tone;

/// A day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    /// `2026-08-01`
    pub(super) label: String,
    /// GPUs active, GPUs held idle, hosts.
    pub(super) parts: [u128; 3],
}

const TONES: [Tone; 3] = [Tone::Active, Tone::HeldIdle, Tone::Host];
/// Room above the bars for the largest one's amount, and below for dates.
const TOP: u128 = 22;
const BOTTOM: u128 = 20;

/// Width, height, and how many bars share a date below.
const fn size(is_narrow: bool) -> (u128, u128, usize) {
    if is_narrow { (360, 190, 10) } else { (1_000, 240, 5) }
}

fn total(bar: &Bar) -> u128 {
    bar.parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
}

/// The days in a row. `class` is `wide` or `narrow`, as the style sheet shows one or the other.
pub(super) fn svg(bars: &[Bar], class: &str) -> Markup {
    let (width, height, each) = size(class == "narrow");
    let largest = bars.iter().map(total).max().unwrap_or(0);
    let count = u128::try_from(bars.len().max(1)).unwrap_or(1);
    let room = height - TOP - BOTTOM;
    let high = |energy: u128| energy.saturating_mul(room).checked_div(largest).unwrap_or(0);
    let left = |index: usize| width * u128::try_from(index).unwrap_or(0) / count;
    let thick = (width / count).saturating_sub(2).max(1);
    let base = height - BOTTOM;
    html! {
        svg class=(class) viewBox={ "0 0 " (width) " " (height) } role="img"
            aria-label="Energy of each day; the table below has the sums" {
            text class="amount" x="0" y="14" { "most in a day: " (human_energy(largest)) }
            line class="base" x1="0" x2=(width) y1=(base) y2=(base) {}
            @for (index, bar) in bars.iter().enumerate() {
                g {
                    title { (bar.label) ": " (human_energy(total(bar))) }
                    @for (y, tall, tone) in stacked(bar, base, &high) {
                        rect class={ "t-" (tone.class()) } x=(left(index)) y=(y) width=(thick)
                            height=(tall) {}
                    }
                }
                @if index % each == 0 {
                    // The last one has no room to its right.
                    @let is_last = left(index) + 40 > width;
                    text.amount.end[is_last] x=(if is_last { width } else { left(index) })
                        y=(height - 5) { (bar.label.get(5..).unwrap_or(&bar.label)) }
                }
            }
        }
    }
}

/// From the bottom up: active, held idle, hosts.
fn stacked(bar: &Bar, base: u128, high: &dyn Fn(u128) -> u128) -> Vec<(u128, u128, Tone)> {
    let mut done = 0_u128;
    let mut rects = Vec::new();
    for (part, tone) in bar.parts.iter().zip(TONES) {
        // Edges are rounded, not heights, so that the bar is as high as its sum.
        let from = high(done);
        done = done.saturating_add(*part);
        let tall = high(done).saturating_sub(from);
        if tall > 0 {
            rects.push((base.saturating_sub(from).saturating_sub(tall), tall, tone));
        }
    }
    rects
}

/// Three parts of a bar that lies, as long as its share of the largest.
pub(super) fn bar(parts: &[u128; 3], largest: u128) -> Markup {
    let wide = |energy: u128| energy.saturating_mul(1_000).checked_div(largest).unwrap_or(0);
    let mut done = 0;
    let rects: Vec<(u128, u128, &str)> = parts
        .iter()
        .zip(TONES)
        .map(|(energy, tone)| {
            let from = wide(done);
            done = done.saturating_add(*energy);
            (from, wide(done).saturating_sub(from), tone.class())
        })
        .collect();
    html! {
        svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
            @for (x, width, class) in &rects {
                rect class={ "t-" (class) } x=(x) width=(width) height="10" {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(amounts: &[[u128; 3]]) -> Vec<Bar> {
        let label = |day: usize| format!("2026-08-{:02}", day + 1);
        let bar = |(day, parts): (usize, &[u128; 3])| Bar { label: label(day), parts: *parts };
        amounts.iter().enumerate().map(bar).collect()
    }

    #[test]
    fn a_bar_is_as_high_as_its_sum_and_the_largest_fills_the_room() {
        let bars = days(&[[50, 25, 25], [1, 1, 1], [0, 0, 0]]);
        let high = |energy: u128| energy * 198 / 100;
        let rects = stacked(&bars[0], 220, &high);
        assert_eq!(rects.iter().map(|(_, tall, _)| tall).sum::<u128>(), 198);
        assert_eq!(rects.last().map(|(y, ..)| *y), Some(22), "up to the top");
        assert_eq!(stacked(&bars[1], 220, &high).iter().map(|r| r.1).sum::<u128>(), 3 * 198 / 100);
        assert_eq!(stacked(&bars[2], 220, &high), []);
    }

    #[test]
    fn nothing_is_drawn_without_harm_and_nothing_lies_outside() {
        for bars in [days(&[]), days(&[[0; 3]; 3]), days(&[[u128::MAX / 9; 3]; 32])] {
            for class in ["wide", "narrow"] {
                let text = svg(&bars, class).into_string();
                assert!(!text.contains("style=") && text.contains("viewBox"), "{text}");
            }
        }
        let text = svg(&days(&[[3_600_000_000, 0, 0]]), "wide").into_string();
        assert!(text.contains("most in a day: 1.000 kWh") && text.contains("08-01"), "{text}");
    }
}
