//! The third-party Modbus meters of `tests/peers/meters.py`, and what their registers show.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::eventually;
use crate::program::{Program, free_port};

/// pymodbus meters: unit 1 the incomer (int64 Wh), unit 2 the UPS output (float32 kWh), and six
/// that stand still.
#[derive(Debug)]
pub struct Meters {
    pub port: u16,
    control: PathBuf,
    pub program: Program,
}

/// What both registers show, in millijoules, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub incomer: u128,
    pub ups_out: u128,
}

impl Meters {
    /// Starts them: they stand still for `hold` seconds, then count for `run` seconds.
    ///
    /// # Panics
    /// When they do not start.
    #[must_use]
    pub fn start(folder: &Path, hold: u64, run: u64) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("in the root");
        let port = free_port();
        let mut command = Command::new(root.join(".venv/bin/python"));
        command.arg(root.join("tests/peers/meters.py"));
        let control = folder.join("meters.json");
        command.args([port.to_string(), hold.to_string(), run.to_string()]).arg(&control);
        let program = Program::start(&mut command, &folder.join("meters.log"));
        let meters = Self { port, control, program };
        eventually("the meters' first word", 30, || meters.line("start_wh"));
        eventually("an open Modbus port", 30, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        meters
    }

    fn line(&self, key: &str) -> Option<Value> {
        let printed = self.program.printed();
        let mut lines = printed.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.find(|line: &Value| line.get(key).is_some())
    }

    /// Before they moved.
    ///
    /// # Panics
    /// When they did not say.
    #[must_use]
    pub fn at_start(&self) -> Shown {
        shown(&self.line("start_wh").expect("said at start"), "start")
    }

    /// After they stopped; waits for it.
    ///
    /// # Panics
    /// When they do not stop in time.
    #[must_use]
    pub fn at_end(&self, seconds: u64) -> Shown {
        shown(&eventually("the meters' last word", seconds, || self.line("end_wh")), "end")
    }

    /// Lets things go wrong from the next request on; `wanted` is JSON, see `meters.py`.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn control(&self, wanted: &Value) {
        let temporary = self.control.with_extension("tmp");
        std::fs::write(&temporary, wanted.to_string()).expect("written");
        std::fs::rename(&temporary, &self.control).expect("in place");
    }

    /// The agent's settings to read these by their profiles, by name, unit and profile.
    #[must_use]
    pub fn by_profile(&self, hub: &str, meters: &[(&str, u8, &str)]) -> String {
        let port = self.port;
        let section = |(name, unit, profile): &(&str, u8, &str)| {
            format!(
                "[[modbus]]\nmeter = \"{hub}/{name}\"\naddress = \"127.0.0.1:{port}\"\n\
                 unit_id = {unit}\nevery = \"1s\"\ntimeout = \"1s\"\npower_max = \"2 MW\"\n\
                 profile = \"{profile}\"\n\n"
            )
        };
        let sections: String = meters.iter().map(section).collect();
        format!("[nvml]\nenabled = false\n[rapl]\nenabled = false\n\n{sections}")
    }

    /// The agent's settings to read both, register by register.
    #[must_use]
    pub fn settings(&self, hub: &str) -> String {
        let port = self.port;
        format!(
            r#"
[nvml]
enabled = false
[rapl]
enabled = false

[[modbus]]
meter = "{hub}/incomer"
address = "127.0.0.1:{port}"
unit_id = 1
every = "1s"
timeout = "2s"
power_max = "2 MW"
registers = [
  {{ quantity = "energy_register", function = "holding", register = 3203, type = "i64", word_order = "ABCD", unit = "Wh" }},
  {{ quantity = "power_average", function = "holding", register = 3059, type = "f32", word_order = "ABCD", unit = "kW" }},
  {{ quantity = "frequency", function = "holding", register = 3109, type = "f32", word_order = "ABCD", unit = "Hz" }},
]

[[modbus]]
meter = "{hub}/ups-out"
address = "127.0.0.1:{port}"
unit_id = 2
every = "1s"
timeout = "2s"
power_max = "2 MW"
registers = [
  {{ quantity = "energy_register", function = "input", register = 72, type = "f32", word_order = "ABCD", unit = "kWh" }},
  {{ quantity = "voltage", function = "input", register = 0, type = "f32", word_order = "ABCD", unit = "V", part = 1 }},
]
"#
        )
    }
}

fn shown(line: &Value, when: &str) -> Shown {
    let number = |key: &str| {
        line.get(format!("{when}_{key}")).and_then(Value::as_u64).expect("a number of the meters")
    };
    let bits = u32::try_from(number("kwh_bits")).expect("32 bits");
    Shown { incomer: u128::from(number("wh")) * 3_600_000, ups_out: kilowatt_hours(bits) }
}

/// The exact millijoules of a float32 kilowatt-hour register, by its bits and in integers: an
/// oracle that shares nothing with the agent's decoding.
fn kilowatt_hours(bits: u32) -> u128 {
    let exponent = (bits >> 23) & 0xff;
    let mantissa = u128::from((bits & 0x7f_ffff) | 0x80_0000);
    assert!((127..=150).contains(&exponent), "between 1 and 16 million kWh");
    // value = mantissa x 2^(exponent - 150) kWh; one kWh is 3,600,000,000 mJ.
    (mantissa * 3_600_000_000) >> (150 - exponent)
}
