//! At which moment an agent judges the collector's certificate, so that a node with a wrong
//! clock is not locked out. Pure.
//!
//! A certificate that the hub's authority signed proves that its first moment has come. So:
//! - A clock that is **behind** what is proven is read as the latest proven moment.
//! - A clock that is **within one's own certificate** is believed, and an expired collector is
//!   refused.
//! - A clock that is **beyond one's own certificate** proves nothing: it is ahead, or one's own
//!   certificate is over and the collector, whose clock is kept, will say so. Then there only has
//!   to be a moment, not before what is proven, at which both certificates are valid.
//!
//! What this gives away: to a node whose clock is beyond its own certificate, a collector's
//! certificate that has expired since the last one it saw is still good. Such a node has no
//! better knowledge; once it has seen a newer certificate, it takes no elder, expired one.

use bijli_wire::UtcMillis;

use crate::certificate::Certificate;

/// When a certificate is valid, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: UtcMillis,
    pub to: UtcMillis,
}

impl Window {
    #[must_use]
    pub const fn of(certificate: &Certificate) -> Self {
        Self { from: certificate.not_before, to: certificate.not_after }
    }
}

/// The moment to judge `theirs` at, for a node whose clock shows `clock`. `proven` is the latest
/// first moment of a collector's certificate that was found good before.
#[must_use]
pub fn judged_at(clock: UtcMillis, own: Window, theirs: Window, proven: UtcMillis) -> UtcMillis {
    let proven = proven.max(own.from);
    // If its signature is false, it is refused whatever the moment.
    let moment = clock.max(proven).max(theirs.from);
    let both = own.to.min(theirs.to);
    if clock > own.to && moment > both && both >= proven.max(theirs.from) {
        return both;
    }
    moment
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window((from, to): (i64, i64)) -> Window {
        Window { from: UtcMillis::new(from), to: UtcMillis::new(to) }
    }

    /// Whether the collector's certificate is in time, by day: the clock, one's own certificate,
    /// the collector's, and what is proven.
    fn is_taken(clock: i64, own: (i64, i64), theirs: (i64, i64), proven: i64) -> bool {
        let theirs = window(theirs);
        let at = judged_at(UtcMillis::new(clock), window(own), theirs, UtcMillis::new(proven));
        (theirs.from..=theirs.to).contains(&at)
    }

    #[test]
    fn k6_wrong_clocks_by_table() {
        for (clock, own, theirs, proven, expected, why) in [
            (110, (100, 130), (90, 120), 0, true, "a true clock, a good certificate"),
            (125, (100, 130), (90, 120), 0, false, "a true clock, an expired collector"),
            (0, (100, 130), (90, 120), 0, true, "1970"),
            (
                0,
                (100, 130),
                (115, 145),
                0,
                true,
                "1970, and the collector's is newer than one's own",
            ),
            (0, (100, 130), (60, 90), 0, false, "1970, and it expired before one's own was made"),
            (0, (100, 130), (90, 120), 125, false, "1970, and it is proven to be over"),
            (95, (100, 130), (90, 120), 0, true, "behind by some days"),
            (111, (100, 130), (115, 145), 0, true, "the collector's is newer than the clock"),
            (9_999, (100, 130), (90, 120), 0, true, "far ahead"),
            (9_999, (100, 130), (115, 145), 110, true, "far ahead, and a newer collector"),
            (9_999, (100, 130), (90, 120), 125, false, "far ahead, and it is proven to be over"),
            (
                9_999,
                (100, 130),
                (60, 90),
                0,
                false,
                "far ahead, and they never were valid together",
            ),
            (140, (100, 130), (135, 165), 0, true, "one's own is over: the collector will say so"),
        ] {
            assert_eq!(is_taken(clock, own, theirs, proven), expected, "{why}");
        }
    }

    proptest! {
        /// Goal: a wrong clock never makes good what has expired for certain, and a clock behind
        /// never locks out of what is valid now.
        #[test]
        fn k6_true_time_decides(
            clock in -500_i64..2_000,
            own in 100_i64..150,
            theirs in 50_i64..200,
            now in 100_i64..250,
        ) {
            let (own, theirs) = ((own, own + 30), (theirs, theirs + 30));
            let is_valid = (theirs.0..=theirs.1).contains(&now) && (own.0..=own.1).contains(&now);
            if is_valid && !(own.0..=own.1).contains(&clock) {
                prop_assert!(is_taken(clock, own, theirs, 0));
            }
            if theirs.1 < own.0 {
                prop_assert!(!is_taken(clock, own, theirs, 0));
            }
        }
    }
}
