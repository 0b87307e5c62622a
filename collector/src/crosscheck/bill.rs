//! The utility's bill against the import meter: the one number that an outsider believes already.
//!
//! A bill is typed into the meter book as the readings that are printed on it, under a meter of its
//! own that hangs nowhere, so nothing is booked of it (`[[hub.check]]`, `bill`).

use bijli_ledger::meterbook::Compared;
use bijli_ledger::{Books, Measure, TypedStatus};
use bijli_wire::SubjectId;
use bijli_wire::units::human_energy;

use super::settings::BILL;
use super::{Finding, Kind, Measured, Unit, deviation};

/// The newest bill of a grid point against its meter.
#[must_use]
pub fn newest(books: &Books, (point, meter): (&str, Option<&str>), bill: &str) -> Finding {
    let cannot = |words: String| Finding::cannot_say(Kind::Bill, point, words);
    let Some(meter) = meter.and_then(|meter| SubjectId::new(meter).ok()) else {
        return cannot("the point has no meter".to_owned());
    };
    let of_bill = books.typed().filter(|typed| typed.reading.meter.as_str() == bill);
    let of_bill = of_bill.filter(|typed| typed.reading.measure == Measure::Energy);
    let Some(typed) = of_bill.filter(|typed| typed.since.is_some()).last() else {
        return cannot(format!("no two readings of {bill} are in the meter book"));
    };
    let Some((before, energy)) = typed.since else { return cannot(String::new()) };
    let (from, to) = (before.at, typed.reading.at);
    let counted = books.counted(&meter, from, to);
    compared(point, &typed, (u128::from(energy), counted)).over(from, to)
}

fn compared(
    point: &str,
    typed: &TypedStatus<'_>,
    (billed, counted): (u128, Option<Compared>),
) -> Finding {
    let who = &typed.reading.who;
    let Some(Compared { agent_mj, .. }) = counted else {
        let words = format!(
            "{} billed, typed by {who}: the point's meter does not cover that time, or it is not \
             in memory any more",
            human_energy(billed)
        );
        return Finding::cannot_say(Kind::Bill, point, words);
    };
    let signed = |energy: u128| i128::try_from(energy).unwrap_or(i128::MAX);
    let Some(value) = deviation(signed(billed), signed(agent_mj)) else {
        return Finding::cannot_say(Kind::Bill, point, "its meter counted nothing");
    };
    let words = format!(
        "{} billed, typed by {who}, and {} by the point's meter",
        human_energy(billed),
        human_energy(agent_mj)
    );
    let measured = Measured { value, unit: Unit::Share, band: BILL };
    Finding::compared(Kind::Bill, point, measured, words)
}
