//! Eight fake GPUs whose registers stand still, then draw a known energy, then stand still again.

use std::fmt::Write as _;
use std::path::Path;

use crate::eventually;
use crate::http::ask;
use crate::site::Site;

const GPUS: usize = 8;
const EPOCH: &str = "BIJLI_FAKENVML_EPOCH_UTC_MS";

/// When a scenario's GPUs draw power, in seconds from its epoch.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    pub still_s: u64,
    pub busy_s: u64,
}

impl Course {
    /// Waits until a hub shows all eight GPUs. What was drawn before an agent first read a register
    /// is nobody's: on a machine too slow for this course it says so, instead of a sum that never
    /// comes right.
    ///
    /// # Panics
    /// When the GPUs are not shown, or not before they began to draw.
    pub fn wait_for_first_readings(self, site: &Site, hub: &str, env: &[(&'static str, String)]) {
        let line_start = format!("bijli_gpu_up{{hub=\"{hub}\",");
        eventually(&format!("the first readings of {hub}"), 60, || {
            let metrics = ask("GET", site.port, "/metrics/fleet", b"")?;
            let is_up = |line: &&str| line.starts_with(&line_start) && line.ends_with(" 1");
            (metrics.text().lines().filter(is_up).count() == GPUS).then_some(())
        });
        let epoch = env.iter().find(|(name, _)| *name == EPOCH).expect("the course's environment");
        let epoch: u128 = epoch.1.parse().expect("a number");
        let (passed_ms, still_ms) = (crate::utc_ms() - epoch, u128::from(self.still_s) * 1_000);
        assert!(passed_ms < still_ms, "too slow: {passed_ms} ms until the readings of {hub}");
    }
}

/// The power of GPU `index` while busy, in milliwatts: uneven, so that shares cannot be mixed up.
#[must_use]
pub fn busy_mw(index: u64) -> u64 {
    300_000 + 41_237 * index
}

/// The exact energy that GPU `index` draws in its course, in millijoules.
#[must_use]
pub fn energy_mj(course: Course, index: u64) -> u128 {
    u128::from(busy_mw(index)) * u128::from(course.busy_s)
}

/// The UUID that the fake gives GPU `index`.
#[must_use]
pub fn uuid(index: u64) -> String {
    format!("GPU-00000000-0000-0000-0000-{index:012}")
}

/// Writes the scenario file.
///
/// # Panics
/// When it cannot be written.
pub fn write_scenario(path: &Path, course: Course) {
    let mut text = String::from("# Written by a test.\n");
    for index in (0_u64..).take(GPUS) {
        let start = 800_000_000_000 + index * 1_000_003;
        let (still, busy) = (course.still_s * 1_000, course.busy_s * 1_000);
        write!(
            text,
            "[[gpus]]\nuuid = \"{}\"\nenergy_start_mj = {start}\npower_idle_mw = 0\npower_trace = [\n  \
             {{ for_ms = {still}, power_mw = 0 }},\n  {{ for_ms = {busy}, power_mw = {} }},\n  \
             {{ for_ms = 100_000_000, power_mw = 0 }},\n]\n",
            uuid(index),
            busy_mw(index)
        )
        .expect("a string takes it");
    }
    std::fs::write(path, text).expect("written");
}

/// The environment that makes an agent load the fake with this scenario.
///
/// # Panics
/// When the machine's clock is before 1970.
#[must_use]
pub fn environment(site: &Site, library: &Path, course: Course) -> Vec<(&'static str, String)> {
    let scenario = site.path("gpus.toml");
    write_scenario(&scenario, course);
    vec![
        ("BIJLI_NVML_LIB", library.display().to_string()),
        ("BIJLI_FAKENVML_SCENARIO", scenario.display().to_string()),
        (EPOCH, crate::utc_ms().to_string()),
    ]
}
