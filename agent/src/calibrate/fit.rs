//! The straight line through a few steady loads, and how well it is known. Pure.
//!
//! The gain is a quotient of integers. Its doubt follows the GUM (JCGM 100:2008): the readings'
//! own scatter or what their resolution and timing allow, whichever is more, and the reference's
//! class, which no number of readings makes smaller.

use bijli_wire::{Millis, UtcMillis};

const PPM: f64 = 1_000_000.0;
/// A line through loads that are all alike says nothing of its slope: the least load must be at
/// most this share of the most, in percent.
const LEAST_LOAD_PERCENT: i128 = 80;
/// Steps that a line and its scatter need.
pub const STEPS_MIN: usize = 3;

/// One steady load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub from: UtcMillis,
    pub to: UtcMillis,
    pub span: Millis,
    /// By the registers of all devices together.
    pub device_mj: u64,
    pub reference_mj: u64,
    /// Share of the seconds in which every register was read.
    pub covered_ppm: u32,
}

/// How well the reference is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its accuracy class: most error, in millionths of what it shows.
    pub class_ppm: u32,
    /// The least difference that it can show.
    pub resolution_mj: u64,
    /// How far apart in time its reading and that of the registers may be.
    pub timing: Millis,
}

/// What the comparison comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// What the reference shows more for each millijoule of the registers, in millionths.
    pub gain_ppm: u32,
    /// What the reference shows when the registers stand still, in milliwatts.
    pub rest_mw: i64,
    /// Expanded uncertainty of the gain (k = 2), in millionths of 1.
    pub doubt_ppm: u32,
}

/// Why the steps give no gain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    #[error("{count} steps are not enough: at least {STEPS_MIN} steady loads are needed")]
    TooFew { count: usize },
    #[error(
        "the loads are too much alike ({least_mw} to {most_mw} mW of the registers): make the least \
         at most {LEAST_LOAD_PERCENT} % of the most"
    )]
    TooAlike { least_mw: i128, most_mw: i128 },
    #[error("the reference falls when the registers rise: it is not above these GPUs")]
    Backwards,
}

/// Fits reference = rest + gain x registers, by mean powers.
///
/// # Errors
/// The steps are too few or too much alike, or contradict each other.
pub fn fit(steps: &[Step], reference: &Reference) -> Result<Fit, FitError> {
    let count = steps.len();
    if count < STEPS_MIN {
        return Err(FitError::TooFew { count });
    }
    let powers: Vec<(i128, i128)> = steps.iter().map(powers_uw).collect();
    let (least, most) = bounds(&powers);
    if least * 100 > most * LEAST_LOAD_PERCENT || most <= 0 {
        return Err(FitError::TooAlike { least_mw: least / 1_000, most_mw: most / 1_000 });
    }
    let n = i128::try_from(count).unwrap_or(i128::MAX);
    let sum = |of: fn(&(i128, i128)) -> i128| -> i128 { powers.iter().map(of).sum() };
    let (x, y) = (sum(|p| p.0), sum(|p| p.1));
    let (xx, xy) = (sum(|p| p.0 * p.0), sum(|p| p.0 * p.1));
    let (over, under) = (n * xy - x * y, n * xx - x * x);
    if over <= 0 || under <= 0 {
        return Err(FitError::Backwards);
    }
    let gain_ppm = u32::try_from(rounded(over * 1_000_000, under)).unwrap_or(u32::MAX);
    let rest_uw = rounded(y * under - over * x, n * under);
    let rest_mw = i64::try_from(rest_uw / 1_000).unwrap_or(i64::MAX);
    let doubt = doubt(steps, &powers, reference, f64::from(gain_ppm) / PPM, rest_uw);
    Ok(Fit { gain_ppm, rest_mw, doubt_ppm: doubt_ppm(doubt) })
}

/// Mean powers of registers and reference, in microwatts.
fn powers_uw(step: &Step) -> (i128, i128) {
    let span = i128::from(step.span.get().max(1));
    let power = |energy: u64| i128::from(energy) * 1_000_000 / span;
    (power(step.device_mj), power(step.reference_mj))
}

fn bounds(powers: &[(i128, i128)]) -> (i128, i128) {
    let registers = || powers.iter().map(|power| power.0);
    (registers().min().unwrap_or(0), registers().max().unwrap_or(0))
}

/// `over / under` to the nearest whole; `under` is above zero.
const fn rounded(over: i128, under: i128) -> i128 {
    (2 * over + under).div_euclid(2 * under)
}

/// Two standard uncertainties of the gain.
fn doubt(
    steps: &[Step],
    powers: &[(i128, i128)],
    reference: &Reference,
    gain: f64,
    rest_uw: i128,
) -> f64 {
    let powers: Vec<(f64, f64)> = powers.iter().map(|(x, y)| (real(*x), real(*y))).collect();
    let n = real(i128::try_from(steps.len()).unwrap_or(i128::MAX));
    let mean = powers.iter().map(|power| power.0).sum::<f64>() / n;
    let spread: f64 = powers.iter().map(|power| (power.0 - mean).powi(2)).sum();
    let residual = |power: &(f64, f64)| (power.1 - real(rest_uw) - gain * power.0).powi(2);
    let scatter = powers.iter().map(residual).sum::<f64>() / (n - 2.0) / spread;
    let lever = |power: &(f64, f64)| ((power.0 - mean) / spread).powi(2);
    let each = steps.iter().zip(&powers);
    let of_readings = each.map(|(step, power)| lever(power) * variance(step, power.1, reference));
    // A class is a bound: rectangular, its standard uncertainty is the bound over the root of 3.
    let class = (gain * f64::from(reference.class_ppm) / PPM).powi(2) / 3.0;
    2.0 * (scatter.max(of_readings.sum()) + class).sqrt()
}

/// Variance of a step's mean power of the reference, in square microwatts: two readings, each
/// off by at most half the resolution and by what is drawn in the time between the clocks.
fn variance(step: &Step, power_uw: f64, reference: &Reference) -> f64 {
    let milliseconds = |span: Millis| real(i128::from(span.get()));
    let span = milliseconds(step.span).max(1.0);
    let resolution = real(i128::from(reference.resolution_mj)) * PPM / span;
    let timing = power_uw * milliseconds(reference.timing) / span;
    2.0 * (resolution.powi(2) / 12.0 + timing.powi(2) / 3.0)
}

#[expect(clippy::cast_precision_loss, reason = "only a doubt is made of it")]
const fn real(value: i128) -> f64 {
    value as f64
}

/// In whole millionths, rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is too large, or none, becomes the most that there is: no certainty"
)]
fn doubt_ppm(doubt: f64) -> u32 {
    if doubt.is_nan() { u32::MAX } else { (doubt * PPM).ceil() as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(device_w: u64, reference_w: u64) -> Step {
        Step {
            from: UtcMillis::new(0),
            to: UtcMillis::new(600_000),
            span: Millis::new(600_000),
            device_mj: device_w * 600_000,
            reference_mj: reference_w * 600_000,
            covered_ppm: 1_000_000,
        }
    }

    const BEST: Reference = Reference { class_ppm: 0, resolution_mj: 0, timing: Millis::ZERO };

    #[test]
    fn a_straight_line_is_found_exactly_and_doubted_by_the_class_alone() {
        let steps = [step(1_000, 1_650), step(3_000, 3_750), step(5_000, 5_850)];
        let exact = Fit { gain_ppm: 1_050_000, rest_mw: 600_000, doubt_ppm: 0 };
        assert_eq!(fit(&steps, &BEST), Ok(exact));
        // 0.5 % of 1.05, over the root of 3, twice.
        let class = Reference { class_ppm: 5_000, ..BEST };
        assert_eq!(fit(&steps, &class).expect("a line").doubt_ppm, 6_063);
        // A resolution of 1 kWh over ten minutes leaves 6 kW open at each step.
        let coarse = Reference { resolution_mj: 3_600_000_000, ..BEST };
        assert_eq!(fit(&steps, &coarse).expect("a line").doubt_ppm, 1_732_051);
        // 2 of 600 s at 1.65 and 5.85 kW, each end, with levers of 2 kW in 8 kW².
        let late = Reference { timing: Millis::new(2_000), ..BEST };
        assert_eq!(fit(&steps, &late).expect("a line").doubt_ppm, 8_272);
    }

    #[test]
    fn scatter_counts_where_it_is_more_than_the_readings_allow() {
        let steps = [step(1_000, 1_650), step(3_000, 3_780), step(5_000, 5_850)];
        let found = fit(&steps, &BEST).expect("a line");
        assert_eq!((found.gain_ppm, found.rest_mw), (1_050_000, 610_000));
        assert!((17_000..18_000).contains(&found.doubt_ppm), "{}", found.doubt_ppm);
    }

    #[test]
    fn what_gives_no_gain_is_refused() {
        let few = fit(&[step(1, 2), step(9, 9)], &BEST);
        assert_eq!(few, Err(FitError::TooFew { count: 2 }));
        let alike = fit(&[step(900, 1), step(950, 2), step(1_000, 3)], &BEST);
        assert_eq!(alike, Err(FitError::TooAlike { least_mw: 900_000, most_mw: 1_000_000 }));
        let falling = fit(&[step(100, 900), step(500, 500), step(900, 100)], &BEST);
        assert_eq!(falling, Err(FitError::Backwards));
    }
}
