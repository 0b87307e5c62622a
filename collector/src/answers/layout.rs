//! How answers stand on a terminal: columns that are aligned, lines that are not too wide, and no
//! control character of foreign text.

use bijli_wire::units::human_energy;
use serde::Deserialize;

/// No line is wider.
pub(super) const WIDTH: usize = 100;
/// A longer name in the first column stands on a line of its own.
const NAME_MAX: usize = 36;
/// Of the names before values.
const FIELD: usize = 13;

/// An amount in millijoules, which the API writes as a decimal string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Amount(u128);

impl TryFrom<String> for Amount {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl Amount {
    pub(super) const fn get(self) -> u128 {
        self.0
    }

    pub(super) fn human(self) -> String {
        human_energy(self.0)
    }

    /// As the API has it.
    pub(super) fn exact(self) -> String {
        self.0.to_string()
    }

    /// The difference, whichever is more.
    pub(super) const fn apart(self, other: Self) -> Self {
        Self(self.0.abs_diff(other.0))
    }

    pub(super) fn sum(amounts: impl Iterator<Item = Self>) -> Self {
        Self(amounts.fold(0, |sum, amount| sum.saturating_add(amount.0)))
    }
}

/// `"12.3 %"`, rounded half up, from integers; what is there is never shown as nothing.
pub(super) fn share(part: u128, whole: u128) -> String {
    let doubled = part.saturating_mul(2_000).saturating_add(whole);
    match doubled.checked_div(whole.saturating_mul(2)) {
        Some(0) if part > 0 => "<0.1 %".to_owned(),
        Some(permille) => format!("{}.{} %", permille / 10, permille % 10),
        None => "-".to_owned(),
    }
}

/// Rows under a head. The first `left` columns are words, the rest are numbers.
#[derive(Debug)]
pub(super) struct Table {
    left: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(left: usize, head: [&str; N]) -> Self {
        Self { left, rows: vec![head.map(str::to_owned).to_vec()] }
    }

    /// The same with as many columns as there are.
    pub(super) fn of(left: usize, head: Vec<String>) -> Self {
        Self { left, rows: vec![head] }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(cells.to_vec());
    }

    pub(super) fn cells(&mut self, mut cells: Vec<String>) {
        if let Some(name) = cells.first_mut().filter(|name| name.chars().count() > NAME_MAX) {
            let name = std::mem::take(name);
            self.rows.push(vec![name]);
        }
        self.rows.push(cells);
    }

    pub(super) fn show(&self) -> String {
        let table = || self.rows.iter().filter(|row| row.len() > 1);
        let columns = table().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = table().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        self.rows.iter().map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        if let [name] = row {
            return wrapped(name, WIDTH).join("\n") + "\n";
        }
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if column < self.left { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    }
}

/// `name  value`, with what is too wide on further lines below the value.
pub(super) fn field(name: &str, value: &str) -> String {
    let lines = wrapped(value, WIDTH.saturating_sub(FIELD));
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let name = if index == 0 { name } else { "" };
        text.push_str(&format!("{name:FIELD$}{line}\n"));
    }
    text
}

/// The period that was asked for, on interval edges. It ends before its second time; what is not
/// closed of it is in no answer.
pub(super) fn period(from: &str, to: &str) -> String {
    field("asked for", &format!("{from} to {to} (a date is midnight UTC)"))
}

/// Lines of at most `width` characters; a longer word is cut where it must be.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in printable(text).split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for piece in letters.chunks(width.max(1)) {
            let last = lines.last().map_or(0, |line| line.chars().count());
            let is_new = last == 0 || last.saturating_add(1).saturating_add(piece.len()) > width;
            if last > 0 && is_new {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                if !is_new {
                    line.push(' ');
                }
                line.extend(piece);
            }
        }
    }
    lines
}

/// Foreign text without what moves a terminal's cursor or turns its writing around.
pub(crate) fn printable(text: &str) -> String {
    let is_mark = |c| matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}');
    let turns = |c| is_mark(c) || matches!(c, '\u{2066}'..='\u{2069}');
    let shown = |c: char| match c {
        _ if c.is_whitespace() => ' ',
        _ if c.is_control() || turns(c) => char::REPLACEMENT_CHARACTER,
        _ => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_and_never_nothing() {
        for (part, whole, shown) in [
            (0, 10, "0.0 %"),
            (1, 3, "33.3 %"),
            (2, 3, "66.7 %"),
            (1, 1_000_000, "<0.1 %"),
            (5, 5, "100.0 %"),
            (0, 0, "-"),
        ] {
            assert_eq!(share(part, whole), shown, "{part}/{whole}");
        }
    }

    #[test]
    fn columns_are_aligned_and_long_names_stand_alone() {
        let mut table = Table::new(1, ["project", "IT"]);
        let long = "a".repeat(120);
        for name in ["climate", &long] {
            table.row([name.to_owned(), "710.000 Wh".to_owned()]);
        }
        let (first, rest) = long.split_at(WIDTH);
        let expected = format!(
            "project          IT\nclimate  710.000 Wh\n{first}\n{rest}\n{:7}  710.000 Wh\n",
            ""
        );
        assert_eq!(table.show(), expected);
    }

    #[test]
    fn foreign_text_is_wrapped_and_moves_nothing() {
        assert_eq!(wrapped("a\u{1b}[2J b\nc\u{202e}d", 80), ["a\u{fffd}[2J b c\u{fffd}d"]);
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("", 3), [""]);
    }
}
