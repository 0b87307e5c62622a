//! What `bijli-agent once` and `check` say of a driver or a board with a trap.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::program::binary;
use serde_json::Value;
use tempfile::TempDir;

use super::ONLY_GPUS;

/// A node whose GPUs are those of a scenario.
struct Machine {
    folder: TempDir,
    library: PathBuf,
    scenario: PathBuf,
}

impl Machine {
    /// A scenario that is shipped.
    fn shipped(name: &str) -> Self {
        let mut machine = Self::of("");
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("fakenvml/scenarios");
        machine.scenario = scenarios.join(format!("{name}.toml"));
        machine
    }

    fn of(scenario: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("scenario.toml");
        std::fs::write(&path, scenario).expect("written");
        let config = format!(
            "hub = \"lahore\"\nnode = \"n01\"\ncollector = \"http://127.0.0.1:1\"\n\
             spool = {{ dir = \"spool\" }}\n{ONLY_GPUS}"
        );
        std::fs::write(folder.path().join("agent.toml"), config).expect("written");
        Self { folder, library: fakenvml::library_path(), scenario: path }
    }

    /// Without these symbols: an elder driver's library. Their names are altered where the loader
    /// looks them up, so that it does not find them.
    fn without(mut self, symbols: &[&str]) -> Self {
        let mut bytes = std::fs::read(&self.library).expect("the fake");
        for symbol in symbols {
            let name = [b"\0", symbol.as_bytes(), b"\0"].concat();
            let found = bytes.windows(name.len()).enumerate();
            let places: Vec<usize> =
                found.filter(|(_, window)| *window == name).map(|(at, _)| at).collect();
            assert!(!places.is_empty(), "the fake has no {symbol}");
            places.into_iter().for_each(|at| bytes[at + 1] = b'_');
        }
        self.library = self.folder.path().join("libelder.so");
        std::fs::write(&self.library, bytes).expect("written");
        self
    }

    fn said(&self, word: &str) -> Value {
        let mut command = Command::new(binary("bijli-agent"));
        command.args([word, "--json", "--config", "agent.toml"]).current_dir(self.folder.path());
        command.env("BIJLI_NVML_LIB", &self.library);
        command.env("BIJLI_FAKENVML_SCENARIO", &self.scenario);
        let said = command.output().expect("it runs");
        serde_json::from_slice(&said.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&said.stderr)))
    }

    fn once(&self) -> Gpus {
        Gpus(self.said("once"))
    }

    /// What `check` says of a GPU.
    fn checked(&self, gpu: usize) -> Value {
        let report = self.said("check");
        let probes = report["probes"].as_array().expect("a list");
        let name = format!("nvml:{}", uuid(gpu));
        let found = probes.iter().find(|probe| probe["name"] == name.as_str());
        found.unwrap_or_else(|| panic!("no {name} in {report:#}")).clone()
    }
}

fn uuid(gpu: usize) -> String {
    format!("GPU-00000000-0000-0000-0000-{gpu:012x}")
}

/// One reading of all GPUs.
struct Gpus(Value);

impl Gpus {
    /// `None`: the quantity is not offered; `Some(None)`: it is missing.
    #[expect(clippy::option_option, reason = "not offered and missing are two things")]
    fn find(&self, gpu: usize, quantity: &str) -> Option<Option<i64>> {
        let subjects = self.0["subjects"].as_array().expect("a list");
        let subject = subjects.iter().find(|subject| subject["id"] == uuid(gpu).as_str());
        let readings = subject.unwrap_or_else(|| panic!("no GPU {gpu} in {:#}", self.0));
        let readings = readings["readings"].as_array().expect("a list");
        let reading = readings.iter().find(|reading| reading["quantity"] == quantity)?;
        Some(reading["value"].as_str().map(|value| value.parse().expect("a number")))
    }

    fn of(&self, gpu: usize, quantity: &str) -> i64 {
        let found = self.find(gpu, quantity).flatten();
        found.unwrap_or_else(|| panic!("GPU {gpu}: no {quantity} in {:#}", self.0))
    }
}

fn note<'a>(probe: &'a Value, what: &str) -> &'a str {
    let notes = probe["notes"].as_array().expect("a list");
    let found = notes.iter().find(|note| note["what"] == what);
    found.and_then(|note| note["words"].as_str()).unwrap_or_else(|| panic!("{what}: {probe:#}"))
}

/// Trap 1: the fields 251 to 273 have other numbers from driver 580.82 on. Each reason has a
/// duration of its own, so that one taken for another shows.
#[test]
fn throttle_durations_are_right_by_either_numbering() {
    let second = 1_000_000_000;
    for version in ["570.148.08", "580.65.06", "580.82.07", "580.105.08", "595.91"] {
        let machine = Machine::of(&format!(
            "[driver]\nversion = \"{version}\"\n[[gpus]]\nthrottle = [\n\
             {{ until_ms = 1, reason_bits = 0x04 }}, {{ until_ms = 2, reason_bits = 0x10 }},\n\
             {{ until_ms = 3, reason_bits = 0x20 }}, {{ until_ms = 5, reason_bits = 0x40 }},\n\
             {{ until_ms = 8, reason_bits = 0x80 }},\n]\n"
        ));
        let read = machine.once();
        for (quantity, ms) in [
            ("throttle_power_cap", 1),
            ("throttle_sync_boost", 2),
            ("throttle_sw_thermal", 3),
            ("throttle_hw_thermal", 5),
            ("throttle_power_brake", 8),
        ] {
            assert_eq!(read.of(0, quantity), ms * second / 1_000, "{version}: {quantity}");
        }
    }
}

/// Traps 2 and 3: power of a module, links one by one, signed distances. Neither the module's power
/// nor its energy is the GPU's, but for a board that tells nothing else, which says so.
#[test]
fn modules_links_and_signed_values_are_told_for_what_they_are() {
    let machine = Machine::shipped("grace");
    let read = machine.once();
    for gpu in [1, 2] {
        let (own, module) = (read.of(gpu, "power_instant"), read.of(gpu, "module_power"));
        assert!(own <= 1_020_000 && module > own, "GPU {gpu}: {own} mW of {module} mW");
        assert_eq!(read.of(gpu, "nvlink_links"), 18);
        assert_eq!(read.of(gpu, "slowdown_margin"), -2_000);
    }
    assert_eq!(read.find(0, "power_instant"), None);
    assert_eq!(read.find(0, "power_average"), None);
    assert!(read.of(0, "module_power") >= 430_000);
    let [superchip, of_two] = [0, 1].map(|gpu| machine.checked(gpu));
    assert_eq!(superchip["subjects"][0]["model"], "NVIDIA GH200 480GB (whole module)");
    assert!(note(&superchip, "energy").contains("CPU"), "{superchip:#}");
    assert_eq!(of_two["subjects"][0]["register"]["power_max_mw"], "1200000");
    assert!(note(&of_two, "module power").contains("never added"), "{of_two:#}");
}

/// Trap 7: calls that CUDA 13 deprecates are refused, and everything has a newer one. Trap 8: bits
/// of throttle reasons that nobody knows are kept.
#[test]
fn a_driver_that_refuses_deprecated_calls_tells_all_the_same() {
    let gpu = "[[gpus]]\nthrottle = [{ reason_bits = 0x40_0000_0008 }]\n\
               power_trace = [{ for_ms = 1000, power_mw = 350_000 }]\n";
    let willing = Machine::of(gpu).once();
    let refusing = Machine::of(&format!(
        "[driver]\nversion = \"595.91\"\nis_refusing_deprecated = true\n{gpu}"
    ))
    .once();
    for quantity in
        ["temperature", "temperature_margin", "throttle_reasons", "performance_state", "clock_sm"]
    {
        assert_eq!(refusing.of(0, quantity), willing.of(0, quantity), "{quantity}");
    }
    assert_eq!(refusing.of(0, "throttle_reasons"), 0x40_0000_0008);
}

/// A symbol that an elder library has not is found missing when it is called, and costs what only
/// it could tell. Temperature and reasons have elder calls.
#[test]
fn an_elder_library_costs_only_what_it_lacks() {
    let gpu = "[[gpus]]\nthrottle = [{ reason_bits = 0x40_0000_0008 }]\n\
               power_trace = [{ for_ms = 1000, power_mw = 350_000 }]\n";
    let newer = [
        "nvmlDeviceGetTemperatureV",
        "nvmlDeviceGetMarginTemperature",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlDeviceGetSramEccErrorStatus",
        "nvmlDeviceGetRowRemapperHistogram",
        "nvmlDeviceGetGpuFabricInfoV",
        "nvmlEventSetWait_v2",
        "nvmlDeviceGetFieldValues",
    ];
    let elder = Machine::of(gpu).without(&newer);
    let read = elder.once();
    assert!(read.of(0, "temperature") > 30_000);
    assert_eq!(read.of(0, "throttle_reasons"), 0x40_0000_0008);
    assert!(read.of(0, "energy_register") > 0);
    assert_eq!(read.of(0, "power_instant"), 350_000);
    for quantity in ["temperature_margin", "sram_threshold", "fabric_state", "remap_banks_spent"] {
        assert_eq!(read.find(0, quantity), None, "{quantity}");
    }
    assert_eq!(elder.checked(0)["subjects"][0]["register"]["method"], "hardware");
}

/// A value of a wrong type, one whose own code failed, and blank values are missing: never a
/// number, and nothing else's fault.
#[test]
fn wrong_types_failures_and_blank_values_are_missing_and_never_zero() {
    let read = Machine::of(
        "[[gpus]]\npower_trace = [{ for_ms = 1000, power_mw = 350_000 }]\n[gpus.faults]\n\
         wrong_type_fields = [230, 144]\nfailing_fields = [185, 253, 94]\n\
         temperature_sentinel_at_ms = 0\n",
    )
    .once();
    // 253 has another number with this driver; its own is what fails there.
    for quantity in
        ["recovery_action", "remap_pending", "power_average", "pcie_replays", "temperature"]
    {
        assert_eq!(read.find(0, quantity), Some(None), "{quantity}");
    }
    assert_eq!(read.find(0, "memory_temperature"), Some(None));
    assert_eq!(read.of(0, "throttle_power_brake"), 0);
    assert_eq!(read.of(0, "power_instant"), 350_000);
}

/// Fixture (e): seven instances, one energy. What MIG makes NVML refuse is not offered.
#[test]
fn a_gpu_in_seven_is_one_register_and_says_so() {
    let machine = Machine::shipped("mig");
    let read = machine.once();
    assert_eq!([0, 1, 2].map(|gpu| read.of(gpu, "mig_instances")), [7, 0, 0]);
    assert_eq!(read.find(0, "gpu_utilization"), None);
    assert!(read.of(2, "gpu_utilization") > 0);
    let subjects = read.0["subjects"].as_array().expect("a list");
    assert_eq!(subjects.iter().filter(|subject| subject["kind"] == "gpu").count(), 3);
    let split = machine.checked(0);
    assert!(note(&split, "energy of a MIG instance").contains("by allocation"), "{split:#}");
}

/// Fixture (n), and the way down from it: which class of energy each board will have, and why.
#[test]
fn without_a_register_the_best_power_there_is_gets_integrated() {
    let machine = Machine::shipped("no-energy-counter");
    let report = machine.said("check");
    let probes = report["probes"].as_array().expect("a list");
    let method = |gpu: usize| {
        let name = format!("nvml:{}", uuid(gpu));
        let probe = probes.iter().find(|probe| probe["name"] == name.as_str()).expect("there");
        probe["subjects"][0]["register"]["method"].as_str().map(str::to_owned)
    };
    let methods = [0, 1, 2, 3].map(method);
    let methods = methods.each_ref().map(Option::as_deref);
    assert_eq!(methods, [Some("integrated"), Some("sampled"), Some("sampled"), None]);
    let read = machine.once();
    assert_eq!(read.find(3, "energy_register"), None, "absent, and not zero");
    for gpu in [0, 1, 2] {
        let counted = read.of(gpu, "energy_register");
        assert!((60_000..3_000_000).contains(&counted), "GPU {gpu}: {counted} mJ in a second");
    }
}
