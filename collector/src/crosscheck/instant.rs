//! Checks of the latest readings of one meter: heat, voltage, frequency, and power as a product.

use bijli_wire::units::human_power;
use bijli_wire::{Quantity, UtcMillis};

use super::settings::{FREQUENCY, HEAT, Loop, PRODUCT, VOLTAGE, VOLTAGE_NOMINAL_MV};
use super::{Band, Finding, Kind, Measured, Unit, deviation, share};
use crate::api::fleet::Subject;

/// Below it two sensors do not resolve a difference of temperatures.
const KELVIN_MIN: i64 = 1_000;
/// Below it a phase is not connected.
const DEAD_MV: i64 = 10_000;
/// Below it a product says little.
const POWER_MIN_MW: i64 = 100_000;

/// What a loop tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Water {
    /// mL/s.
    pub flow: i64,
    /// Millidegrees.
    pub supply: i64,
    pub back: i64,
}

impl Water {
    /// Of a meter that tells all three now.
    #[must_use]
    pub(crate) fn of(meter: &Subject, now: UtcMillis) -> Option<Self> {
        Some(Self {
            flow: meter.fresh_signed(Quantity::Flow, now)?,
            supply: meter.fresh_signed(Quantity::SupplyTemperature, now)?,
            back: meter.fresh_signed(Quantity::ReturnTemperature, now)?,
        })
    }

    /// Heat that it carries away, in mW; `None`: the temperatures are too close.
    #[must_use]
    pub fn heat(&self, heat_capacity: i64) -> Option<i64> {
        let kelvin = self.back.checked_sub(self.supply)?;
        if kelvin.abs() < KELVIN_MIN {
            return None;
        }
        // mL/s by J per litre and kelvin by mK are microwatts.
        let microwatts = i128::from(self.flow) * i128::from(heat_capacity) * i128::from(kelvin);
        i64::try_from(microwatts / 1_000).ok()
    }
}

/// A loop's own heat meter against its water.
#[must_use]
pub fn heat(subject: &str, water: Water, heat_mw: i64, of: &Loop) -> Finding {
    let Some(found) = water.heat(of.heat_capacity) else {
        let words = "supply and return are less than 1 K apart";
        return Finding::cannot_say(Kind::Heat, subject, words);
    };
    let Some(value) = deviation(i128::from(heat_mw), i128::from(found)) else {
        return Finding::cannot_say(Kind::Heat, subject, "nothing flows");
    };
    let words = format!(
        "its heat meter says {}, its flow and temperatures come to {}",
        power(heat_mw),
        power(found)
    );
    Finding::compared(Kind::Heat, subject, Measured { value, unit: Unit::Share, band: HEAT }, words)
}

/// Heat that a loop takes away against the power of what it cools.
#[must_use]
pub fn heat_share(
    subject: &str,
    heat_mw: i64,
    (point, fed): (&str, Option<i64>),
    of: &Loop,
) -> Finding {
    let cannot = |words: String| Finding::cannot_say(Kind::HeatShare, subject, words);
    let Some(fed) = fed else { return cannot(format!("no power is read at {point} now")) };
    let Some(value) = share(i128::from(heat_mw), i128::from(fed)) else {
        return cannot(format!("{point} takes no power"));
    };
    let words = format!("{} of heat of {} at {point}", power(heat_mw), power(fed));
    let measured = Measured { value, unit: Unit::Share, band: of.share };
    Finding::compared(Kind::HeatShare, subject, measured, words)
}

fn power(milliwatts: i64) -> String {
    let sign = if milliwatts < 0 { "-" } else { "" };
    format!("{sign}{}", human_power(milliwatts.unsigned_abs()))
}

/// The phase that is furthest from the nominal voltage; `None`: it tells none.
#[must_use]
pub(crate) fn voltage(meter: &Subject, nominal_mv: Option<i64>, now: UtcMillis) -> Option<Finding> {
    let phases: Vec<(u32, i64)> = meter.fresh_parts(Quantity::Voltage, now).collect();
    let id = meter.id.as_str();
    if phases.is_empty() {
        return None;
    }
    let nominal = nominal_mv.unwrap_or(VOLTAGE_NOMINAL_MV);
    let live = phases.iter().filter(|(_, value)| *value >= DEAD_MV);
    let Some((phase, value)) = live.max_by_key(|(_, value)| value.abs_diff(nominal)).copied()
    else {
        return Some(Finding::cannot_say(Kind::Voltage, id, "no phase has voltage"));
    };
    let tenth = nominal / 10;
    let band = Band { low: nominal - tenth, high: nominal + tenth, source: VOLTAGE };
    let words = match phase {
        0 => format!("nominal {}", Unit::Millivolts.show(nominal)),
        phase => format!("phase {phase}, nominal {}", Unit::Millivolts.show(nominal)),
    };
    let measured = Measured { value, unit: Unit::Millivolts, band };
    Some(Finding::compared(Kind::Voltage, id, measured, words))
}

#[must_use]
pub(crate) fn frequency(meter: &Subject, now: UtcMillis) -> Option<Finding> {
    let value = meter.fresh_signed(Quantity::Frequency, now)?;
    let id = meter.id.as_str();
    if value == 0 {
        return Some(Finding::cannot_say(Kind::Frequency, id, "there is no voltage"));
    }
    let measured = Measured { value, unit: Unit::Millihertz, band: FREQUENCY };
    Some(Finding::compared(Kind::Frequency, id, measured, "of the mains".to_owned()))
}

/// Power against voltage, current and power factor, where the meter tells them all.
#[must_use]
pub(crate) fn product(meter: &Subject, now: UtcMillis) -> Option<Finding> {
    let told = meter.fresh_signed(Quantity::PowerInstant, now)?;
    let factor = meter.fresh_signed(Quantity::PowerFactor, now)?;
    let mut apparent_uw = 0_i128;
    let mut phases = 0_usize;
    for (phase, current) in meter.fresh_parts(Quantity::Current, now) {
        let mut voltages = meter.fresh_parts(Quantity::Voltage, now);
        let (_, voltage) = voltages.find(|(part, _)| *part == phase)?;
        apparent_uw += i128::from(voltage) * i128::from(current);
        phases += 1;
    }
    let id = meter.id.as_str();
    if phases == 0 {
        return None;
    }
    if told < POWER_MIN_MW {
        return Some(Finding::cannot_say(Kind::Product, id, "it shows less than 100 W"));
    }
    // Millivolts by milliamperes are microwatts; the factor is in millionths.
    let found = apparent_uw * i128::from(factor.abs()) / 1_000_000_000;
    let Some(value) = deviation(i128::from(told), found) else {
        return Some(Finding::cannot_say(Kind::Product, id, "its currents are zero"));
    };
    let words = format!(
        "it shows {}, and voltage, current and power factor come to {}",
        power(told),
        power(i64::try_from(found).unwrap_or(i64::MAX))
    );
    let measured = Measured { value, unit: Unit::Share, band: PRODUCT };
    Some(Finding::compared(Kind::Product, id, measured, words))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::settings::WATER;
    use super::*;

    /// Thousandths of a unit of a decimal number.
    fn milli(text: &str) -> i64 {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let part = format!("{part:0<3}");
        let whole: i64 = whole.parse().expect("digits");
        whole * 1_000 + part.get(..3).expect("three").parse::<i64>().expect("digits")
    }

    /// ORNL Summit, all ten rows of its plant: tons of heat against water flow in gallons per
    /// minute and temperatures in degrees Fahrenheit.
    const SUMMIT: [(&str, &str, &str, &str); 10] = [
        ("2189.753662", "4343.891602", "70.910156", "83.008545"),
        ("2168.441406", "4312.183105", "70.918228", "83.001266"),
        ("2167.139893", "4293.492188", "70.889786", "83.002884"),
        ("2177.359375", "4285.313965", "70.795486", "82.990372"),
        ("2198.479736", "4318.357422", "70.758934", "82.981873"),
        ("2103.173340", "5380.755859", "69.146515", "78.525208"),
        ("2126.177979", "5430.487793", "69.144089", "78.542755"),
        ("2110.370850", "5389.935059", "69.148254", "78.545715"),
        ("2114.762451", "5396.777344", "69.154816", "78.558792"),
        ("2111.573975", "5375.916016", "69.160446", "78.578323"),
    ];

    fn summit((tons, flow, supply, back): (&str, &str, &str, &str)) -> (i64, Water) {
        let celsius = |fahrenheit: &str| (milli(fahrenheit) - 32_000) * 5 / 9;
        // A gallon per minute is 63.0902 mL/s, a ton of refrigeration 3516.853 W.
        let flow = milli(flow) * 630_902 / 10_000_000;
        let water = Water { flow, supply: celsius(supply), back: celsius(back) };
        (milli(tons) * 3_516_853 / 1_000_000 * 1_000, water)
    }

    #[test]
    fn all_ten_rows_of_summits_plant_balance_within_a_sixth_of_a_per_cent() {
        for row in SUMMIT {
            let (heat_mw, water) = summit(row);
            let found = heat("mtw", water, heat_mw, &Loop::default());
            let value = found.measured.expect("compared").value;
            // 0.15 % is the rows' own; millilitres and millidegrees add a little.
            assert!(value.abs() < 1_700, "{row:?}: {} ppm, {}", value, found.words);
            assert_eq!(found.verdict, Verdict::Pass);
        }
    }

    #[test]
    fn a_loop_that_does_not_balance_is_told_by_table() {
        let (heat_mw, water) = summit(SUMMIT[0]);
        let verdict =
            |water: Water, heat_mw: i64| heat("mtw", water, heat_mw, &Loop::default()).verdict;
        // Supply and return exchanged; gallons taken for litres; no difference; nothing flows.
        let turned = Water { supply: water.back, back: water.supply, ..water };
        assert_eq!(verdict(turned, heat_mw), Verdict::Fail);
        assert_eq!(
            verdict(Water { flow: water.flow * 1_000 / 3_785, ..water }, heat_mw),
            Verdict::Fail
        );
        assert_eq!(
            verdict(Water { back: water.supply + 500, ..water }, heat_mw),
            Verdict::CannotSay
        );
        assert_eq!(verdict(Water { flow: 0, ..water }, heat_mw), Verdict::CannotSay);
        let glycol = Loop { heat_capacity: 3_900, ..Loop::default() };
        assert_eq!(heat("mtw", water, heat_mw, &glycol).verdict, Verdict::Fail);
        assert_eq!(water.heat(WATER).map(|heat| heat / 1_000_000), Some(7_701));
    }

    #[test]
    fn heat_is_compared_with_what_is_cooled() {
        let found = |fed| heat_share("cdu", 80_000_000, ("pdu", fed), &Loop::default());
        assert_eq!(found(Some(100_000_000)).verdict, Verdict::Pass);
        assert_eq!(found(Some(50_000_000)).verdict, Verdict::Fail);
        assert_eq!(found(Some(0)).verdict, Verdict::CannotSay);
        assert_eq!(found(None).verdict, Verdict::CannotSay);
    }

    fn meter(readings: &[(Quantity, u32, i64)]) -> Subject {
        let at = UtcMillis::new(1_000);
        let latest = |value| crate::live::Latest { at, value: Some(value) };
        Subject {
            id: bijli_wire::SubjectId::new("m").expect("a name"),
            kind: bijli_wire::SubjectKind::Meter,
            label: String::new(),
            model: String::new(),
            serial: String::new(),
            readings: readings
                .iter()
                .map(|(what, part, value)| (*what, *part, latest(*value)))
                .collect(),
        }
    }

    #[test]
    fn voltage_frequency_and_product_by_table() {
        let now = UtcMillis::new(2_000);
        let volts = |values: &[i64], nominal| {
            let rows: Vec<_> =
                values.iter().zip(1..).map(|(v, phase)| (Quantity::Voltage, phase, *v)).collect();
            voltage(&meter(&rows), nominal, now).map(|found| found.verdict)
        };
        assert_eq!(volts(&[230_100, 229_700, 0], None), Some(Verdict::Pass));
        assert_eq!(volts(&[230_100, 260_000, 229_000], None), Some(Verdict::Fail));
        assert_eq!(volts(&[11_000_000], None), Some(Verdict::Fail));
        assert_eq!(volts(&[6_350_000], Some(6_350_000)), Some(Verdict::Pass));
        assert_eq!(volts(&[0, 0, 0], None), Some(Verdict::CannotSay));
        assert_eq!(volts(&[], None), None);
        let hertz = |value| {
            frequency(&meter(&[(Quantity::Frequency, 0, value)]), now).map(|found| found.verdict)
        };
        assert_eq!(hertz(50_020), Some(Verdict::Pass));
        assert_eq!(hertz(5_002), Some(Verdict::Fail));
        assert_eq!(hertz(0), Some(Verdict::CannotSay));
        let rows = |watts: i64| {
            let mut rows = vec![
                (Quantity::PowerInstant, 0, watts * 1_000),
                (Quantity::PowerFactor, 0, -950_000),
            ];
            for phase in 1..=3 {
                rows.push((Quantity::Voltage, phase, 230_000));
                rows.push((Quantity::Current, phase, 100_000));
            }
            product(&meter(&rows), now).map(|found| found.verdict)
        };
        // 3 by 230 V by 100 A by 0.95 are 65.55 kW.
        assert_eq!(rows(65_550), Some(Verdict::Pass));
        assert_eq!(rows(65_550 / 5), Some(Verdict::Fail));
        assert_eq!(rows(50), Some(Verdict::CannotSay));
        assert_eq!(product(&meter(&[(Quantity::PowerInstant, 0, 1_000_000)]), now), None);
    }
}
