//! The power tree: what goes in at a point comes out below it, less a loss of the usual size.

use std::collections::BTreeMap;

use bijli_ledger::{Account, PointId};
use bijli_wire::units::human_energy;

use super::{Band, Finding, Kind, Measured, Unit, share};

/// Net flows of closed intervals by giver and receiver.
pub type Flows = BTreeMap<(Account, Account), u128>;

/// What passed one point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Passed {
    /// By its own meter.
    taken: u128,
    /// To what has a meter below it.
    given: u128,
    /// To nobody knows where.
    unmetered: u128,
    /// It is not known, because a meter was missing, or a battery lent it.
    unknown: u128,
}

impl Passed {
    fn of(point: &PointId, flows: &Flows) -> Self {
        let mut passed = Self::default();
        let own = Account::Point(point.clone());
        for ((from, to), energy) in flows {
            let sum = match (from, to) {
                // What those below took beyond what its meter shows: the books dispute it.
                (Account::Dispute(_), to) if *to == own => continue,
                (Account::Missing(_) | Account::Store(_), to) if *to == own => &mut passed.unknown,
                (_, to) if *to == own => &mut passed.taken,
                (from, Account::Point(_) | Account::Node(_)) if *from == own => &mut passed.given,
                (from, Account::Unmetered(_)) if *from == own => &mut passed.unmetered,
                _ => continue,
            };
            *sum = sum.saturating_add(*energy);
        }
        passed
    }
}

/// The loss below a point against its band.
#[must_use]
pub fn loss(point: &PointId, band: Band, flows: &Flows) -> Finding {
    let passed = Passed::of(point, flows);
    let Passed { taken, given, unmetered, unknown } = passed;
    let cannot = |words: &str| Finding::cannot_say(Kind::Loss, point.as_str(), words);
    if unknown > 0 {
        return cannot("its own meter was missing at times");
    }
    if given == 0 {
        return cannot("nothing below it was metered");
    }
    // Part of what is below has no meter: only more out than in would say something.
    if unmetered > 0 {
        return cannot("not everything below it has a meter that was read all the time");
    }
    compared(point.as_str(), (taken, given), band)
}

/// Energy that went in and that came out.
#[must_use]
pub fn compared(subject: &str, (taken, given): (u128, u128), band: Band) -> Finding {
    let signed = |energy: u128| i128::try_from(energy).unwrap_or(i128::MAX);
    let lost = signed(taken).saturating_sub(signed(given));
    let Some(value) = share(lost, signed(taken)) else {
        return Finding::cannot_say(Kind::Loss, subject, "nothing went in by its meter");
    };
    let words = match value < 0 {
        true => format!(
            "{} went in and {} came out: more than went in",
            human_energy(taken),
            human_energy(given)
        ),
        false => format!("{} went in and {} came out", human_energy(taken), human_energy(given)),
    };
    Finding::compared(Kind::Loss, subject, Measured { value, unit: Unit::Share, band }, words)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::settings::{PDU_LOSS, UPS_LOSS};
    use super::*;
    use crate::page::place::tests::flows;

    fn found(point: &str, band: Band, lines: &str) -> (Verdict, Option<i64>) {
        let found = loss(&PointId::new(point).expect("a name"), band, &flows(lines));
        (found.verdict, found.measured.map(|measured| measured.value))
    }

    #[test]
    fn losses_by_table() {
        let ups = |rest: &str| found("ups", UPS_LOSS, &format!("main -> point:ups 1000\n{rest}"));
        let good = "point:ups -> point:out 950\npoint:ups -> loss:ups:ups 50";
        assert_eq!(ups(good), (Verdict::Pass, Some(50_000)));
        let hot = "point:ups -> point:out 900\npoint:ups -> loss:ups:ups 100";
        assert_eq!(ups(hot), (Verdict::Fail, Some(100_000)));
        let cold = "point:ups -> point:out 999\npoint:ups -> loss:ups:ups 1";
        assert_eq!(ups(cold), (Verdict::Fail, Some(1_000)));
        let more = "point:ups -> point:out 1100\ndispute:ups -> point:ups 100";
        assert_eq!(ups(more), (Verdict::Fail, Some(-100_000)));
        assert_eq!(ups("point:ups -> unmetered:ups 1000"), (Verdict::CannotSay, None));
        let part = "point:ups -> point:out 950\npoint:ups -> unmetered:ups 50";
        assert_eq!(ups(part), (Verdict::CannotSay, None));
        let lent = "missing:ups -> point:ups 100\npoint:ups -> point:out 1100";
        assert_eq!(ups(lent), (Verdict::CannotSay, None));
        let nodes = "point:out -> point:pdu 900\nmain -> point:out 1000\npoint:out -> node:n1 90\n\
                     point:out -> loss:distribution:out 10";
        assert_eq!(found("out", PDU_LOSS, nodes), (Verdict::Pass, Some(10_000)));
    }

    /// ORNL Summit, switchboard meters against the sum of the nodes' own readings below them, in kW
    /// and W: what such sums must not be used for.
    #[test]
    fn summits_node_sums_exceed_their_switchboards_and_are_flagged() {
        for (board_kw, nodes_w, above_percent) in [
            (1_352_007_u128, 1_622_864_750_u128, 20),
            (1_060_525, 1_224_204_125, 15),
            (1_106_379, 1_266_596_500, 14),
            (1_110_938, 1_237_253_500, 11),
            (1_121_829, 1_192_493_375, 6),
        ] {
            let found = compared("msb", (board_kw * 1_000, nodes_w), PDU_LOSS);
            assert_eq!(found.verdict, Verdict::Fail, "{}", found.words);
            let value = found.measured.expect("compared").value;
            assert_eq!(-value / 10_000, above_percent, "{}", found.words);
            assert!(found.words.ends_with("more than went in"));
        }
    }
}
