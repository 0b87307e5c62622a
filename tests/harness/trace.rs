//! A meter whose every reading is known: what a store holds in the end can be compared with it.

use std::fmt::Write as _;

use crate::program::Program;
use crate::site::Site;
use crate::utc_ms;

pub const MINUTE_MS: i64 = 60_000;
pub const DAY_MS: i64 = 86_400_000;

/// Each of the last `count` minutes, until now: a time, and milliwatts that tell the minutes apart.
///
/// # Panics
/// When the machine's clock is out of range.
#[must_use]
pub fn minutes(count: i64) -> Vec<(i64, i64)> {
    let end = i64::try_from(utc_ms()).expect("now") / MINUTE_MS * MINUTE_MS;
    let begin = end - count * MINUTE_MS;
    (0..count).map(|minute| (begin + minute * MINUTE_MS, 500_000_000 + minute * 1_013)).collect()
}

/// An agent that plays `rows` as the meter `isb/incomer` of hub isb, at once.
///
/// # Panics
/// When its file cannot be written.
#[must_use]
pub fn meter(rows: &[(i64, i64)], site: &Site) -> Program {
    meter_of("isb", "isb/incomer", rows, site)
}

/// The same of another hub and meter.
///
/// # Panics
/// When its file cannot be written.
#[must_use]
pub fn meter_of(hub: &str, meter: &str, rows: &[(i64, i64)], site: &Site) -> Program {
    let mut text = String::from("time_ms,power_mw\n");
    for (at, milliwatts) in rows {
        writeln!(text, "{at},{milliwatts}").expect("a string takes it");
    }
    let file = site.path("trace.csv");
    std::fs::write(&file, text).expect("written");
    let settings = format!(
        "[host]\nenabled = false\n[nvml]\nenabled = false\n[rapl]\nenabled = false\n\
         [[replay]]\nsubject = \"{meter}\"\nlabel = \"hall 1, incomer\"\nfile = \"{}\"\n\
         format = \"csv\"\nintegrate = \"previous\"\npower_max = \"20 MW\"\n",
        file.display()
    );
    site.agent(hub, "gateway", &settings, &[])
}
