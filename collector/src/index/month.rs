//! Which file a leaf's rows are in.

use bijli_ledger::Leaf;
use bijli_wire::UtcMillis;

/// The file of leaves that are of no interval.
pub(super) const OF_NO_MONTH: &str = "journal";
const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// The name of a leaf's file, without its ending.
pub(super) fn of_leaf(leaf: &Leaf) -> String {
    leaf.interval().map_or_else(|| OF_NO_MONTH.to_owned(), of)
}

/// `2026-07`, by the calendar of UTC. Names sort by time within years of four digits.
pub(super) fn of(at: UtcMillis) -> String {
    // Days from civil, turned round: eras of 400 years that begin in March.
    let days = at.get().div_euclid(DAY_MS) + 719_468;
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + days.div_euclid(146_097) * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_turn_where_the_calendar_says() {
        for (at, month) in [
            (0, "1970-01"),
            (1_782_864_000_000, "2026-07"),
            (1_782_863_999_999, "2026-06"),
            (1_709_164_800_000, "2024-02"),
            (1_709_251_200_000, "2024-03"),
            (951_782_400_000, "2000-02"),
            (4_102_444_799_999, "2099-12"),
        ] {
            assert_eq!(of(UtcMillis::new(at)), month, "{at}");
        }
    }
}
