//! The energy-flow drawing as inline SVG. Colours are classes of the style sheet, so it follows
//! the reader's light or dark scheme.

use bijli_wire::units::human_energy;
use maud::{Markup, html};

use super::flow::{BOX, Band, Box, Drawing};

const LABEL: &str = "Energy from supply to use; the table below has the numbers";

pub(crate) fn svg(drawing: &Drawing, class: &str) -> Markup {
    let view = format!("0 0 {} {}", drawing.width, drawing.height);
    html! {
        svg class=(class) viewBox=(view) role="img" aria-label=(LABEL) {
            @for one in &drawing.bands { (band(one)) }
            @for one in &drawing.boxes { (label(one, drawing)) }
        }
    }
}

fn band(band: &Band) -> Markup {
    let ((x0, y0), (x1, y1), h) = (band.start, band.end, band.height);
    let middle = x0.midpoint(x1);
    let (low0, low1) = (y0 + h, y1 + h);
    let path = format!(
        "M{x0} {y0}C{middle} {y0} {middle} {y1} {x1} {y1}\
         V{low1}C{middle} {low1} {middle} {low0} {x0} {low0}Z"
    );
    let words =
        format!("{} → {}: {}", band.from.title(), band.to.title(), human_energy(band.energy));
    html! { path class={ "band t-" (band.tone.class()) } d=(path) { title { (words) } } }
}

fn label(one: &Box, drawing: &Drawing) -> Markup {
    let title = one.place.title();
    let room = if one.is_last { drawing.last_chars } else { drawing.label_chars };
    let x = one.x + BOX + 6;
    let share = share(one.energy, drawing.total);
    let amount = match (one.is_last, drawing.is_compact) {
        (true, false) => format!("{} · {share}", human_energy(one.energy)),
        (false, false) => human_energy(one.energy),
        (true, true) => format!("{} · {share}", tenths(one.energy)),
        (false, true) => tenths(one.energy),
    };
    let name = if drawing.is_compact { one.place.short() } else { title.clone() };
    let whole = format!("{title}: {} ({share})", human_energy(one.energy));
    html! {
        g {
            title { (whole) }
            rect class={ "box t-" (one.place.tone().class()) } x=(one.x) y=(one.y)
                width=(BOX) height=(one.height) rx="2" {}
            text class="name" x=(x) y=(one.y + 13) { (shorten(&name, room)) }
            text class="amount" x=(x) y=(one.y + 29) { (amount) }
        }
    }
}

/// An energy with one decimal, cut.
fn tenths(energy: u128) -> String {
    let text = human_energy(energy);
    match text.split_once('.') {
        Some((whole, rest)) => {
            let (digits, unit) = rest.split_once(' ').unwrap_or((rest, ""));
            format!("{whole}.{} {unit}", digits.get(..1).unwrap_or("0"))
        }
        None => text,
    }
}

/// `"12.3 %"`, cut, from integers; what is there is never shown as nothing.
pub(crate) fn share(part: u128, whole: u128) -> String {
    match part.saturating_mul(1_000).checked_div(whole) {
        Some(0) if part > 0 => "<0.1 %".to_owned(),
        Some(permille) => format!("{}.{} %", permille / 10, permille % 10),
        None => "–".to_owned(),
    }
}

/// At most `room` characters; what was cut is in the tooltip.
pub(super) fn shorten(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::flow::draw;
    use crate::page::place::{Detail, bands, tests};

    #[test]
    fn the_drawing_names_every_place_and_uses_no_style_of_its_own() {
        let drawing = draw(&bands(&tests::flows(tests::SMALL), Detail::Full), Detail::Full);
        let text = svg(&drawing, "wide").into_string();
        for words in ["Grid incomer", "Main board", "ups-out", "IT equipment", "climate", "25.0 %"]
        {
            assert!(text.contains(words), "{words}");
        }
        assert!(!text.contains("style=") && !text.contains("<script"));
    }

    #[test]
    fn shares_are_cut_and_long_names_shortened() {
        assert_eq!(share(1, 3), "33.3 %");
        assert_eq!(share(1, 0), "–");
        assert_eq!((share(1, 1_001), share(0, 5)), ("<0.1 %".to_owned(), "0.0 %".to_owned()));
        assert_eq!(tenths(1_299_000), "1299.0 J");
        assert_eq!(shorten("abcdef", 4), "abc…");
    }
}
