//! Sensors of a made tree.
#![expect(clippy::disallowed_methods, reason = "the tests write the sysfs that they read")]

use std::fs;

use bijli_wire::{NodeId, UtcMillis};

use super::*;
use crate::clock::Moment;

/// hwmon0 and hwmon2 are two supplies of one kind, hwmon1 is the ACPI meter, hwmon3 counts energy.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().expect("a folder"));
        for (chip, device, files) in [
            ("hwmon0", "0-0058", &[("name", "pmbus"), ("power1_input", "612000000")][..]),
            (
                "hwmon1",
                "ACPI000D:00",
                &[
                    ("name", "power_meter"),
                    ("power1_average", "3180500000"),
                    ("power1_average_interval", "1000"),
                    ("power1_label", "chassis"),
                    ("power1_cap", "1"),
                    ("temp1_input", "45000"),
                ],
            ),
            ("hwmon2", "0-0059", &[("name", "pmbus"), ("power1_input", "598000000")]),
            ("hwmon3", "amd_energy.0", &[("name", "amd_energy"), ("energy1_input", "123456789")]),
        ] {
            tree.chip(chip, device, files);
        }
        tree
    }

    fn chip(&self, chip: &str, device: &str, files: &[(&str, &str)]) {
        let device = self.0.path().join("devices").join(device);
        fs::create_dir_all(&device).expect("a device");
        fs::create_dir_all(self.root().join(chip)).expect("a chip");
        std::os::unix::fs::symlink(device, self.root().join(chip).join("device")).expect("a link");
        for (file, text) in files {
            self.set(&format!("{chip}/{file}"), text);
        }
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("hwmon")
    }

    fn set(&self, file: &str, text: &str) {
        fs::write(self.root().join(file), format!("{text}\n")).expect("written");
    }

    fn probe(&self, text: &str) -> HwmonProbe {
        let root = self.root().display().to_string();
        let least = "meter = \"isb/n01/board\"\npower_max = \"6 kW\"\n";
        let config: HwmonConfig =
            toml::from_str(&format!("{least}root = \"{root}\"\n{text}")).expect("a configuration");
        HwmonProbe::new(&config, &Context::new(NodeId::new("n1").unwrap(), 1, "boot".to_owned()))
    }
}

const ACPI: &str = "chip = \"power_meter\"\nsensor = \"power1_average\"\nlabel = \"chassis\"\n";
const ENERGY: &str = "chip = \"amd_energy\"\nsensor = \"energy1_input\"\n";

fn read(probe: &mut HwmonProbe, ms: u64) -> Vec<Option<i64>> {
    let now = Tick { utc: UtcMillis::new(0), monotonic: Moment::new(ms) };
    let mut samples = probe.read(&[Cadence::Every(Millis::new(1_000))], now);
    assert_eq!(samples.len(), 1);
    samples.remove(0).values
}

#[test]
fn power_is_integrated_by_what_its_average_leaves_out() {
    let tree = Tree::new();
    let mut probe = tree.probe(ACPI);
    let description = probe.describe().expect("it is there");
    let register = description.subjects[0].register.expect("our own");
    assert_eq!((register.method, register.denominator), (Method::Integrated, 1));
    assert_eq!(description.series[1].quantity, Quantity::PowerAverage);
    let words = "power1_average of chip power_meter on ACPI000D:00, label \"chassis\", averaged \
                 over 1000 ms; 3180 W now";
    assert_eq!(description.notes[1].words, words);
    assert_eq!(read(&mut probe, 0), [Some(0), Some(3_180_500)]);
    tree.set("hwmon1/power1_average", "1000000000");
    assert_eq!(read(&mut probe, 1_000), [Some(1_000_000), Some(1_000_000)]);
    // Averages of half a second, read each second, leave half of the time out.
    tree.set("hwmon1/power1_average_interval", "500");
    let sampled = tree.probe(ACPI).describe().expect("it is there").subjects[0].register;
    assert_eq!(sampled.map(|register| register.method), Some(Method::Sampled));
}

#[test]
fn a_register_of_energy_is_shipped_as_it_counts() {
    let tree = Tree::new();
    let mut probe = tree.probe(ENERGY);
    let description = probe.describe().expect("it is there");
    let register = description.subjects[0].register.expect("its own");
    assert_eq!((register.method, register.denominator), (Method::Hardware, 1_000));
    assert_eq!(description.series.len(), 1);
    assert_eq!(read(&mut probe, 0), [Some(123_456_789)]);
    tree.set("hwmon3/energy1_input", "18446744073709551615");
    assert_eq!(read(&mut probe, 1_000), [None], "a sentinel");
}

#[test]
fn a_sensor_is_meant_and_never_the_first_that_matches() {
    let tree = Tree::new();
    for (text, words) in [
        (
            "chip = \"pmbus\"\nsensor = \"power1_input\"",
            "several chips have it; say which `device`",
        ),
        (
            "chip = \"pmbus\"\nsensor = \"power2_input\"",
            "no such sensor. There is: power1_input of",
        ),
        ("chip = \"nct6775\"\nsensor = \"power1_input\"", "chip power_meter on ACPI000D:00"),
        (&ACPI.replace("chassis\"", "PSU 1\""), "its label is \"chassis\" and not \"PSU 1\""),
        (&format!("{ENERGY}label = \"socket 0\""), "its label is \"none\""),
        ("chip = \"pmbus\"\nsensor = \"power1_cap\"", "is no file of power or energy"),
        ("chip = \"pmbus\"\nsensor = \"power1_input/../x_input\"", "is no file of power or energy"),
        ("chip = \"pmbus\"\ndevice = \"x\"\nsensor = \"power1_input\"", "no such sensor"),
    ] {
        let refused = tree.probe(text).describe().expect_err(words).to_string();
        assert!(refused.contains(words), "{words}\n{refused}");
    }
    let one = "chip = \"pmbus\"\ndevice = \"0-0059\"\nsensor = \"power1_input\"\n";
    let mut one = tree.probe(one);
    one.describe().expect("that one");
    assert_eq!(read(&mut one, 0)[1], Some(598_000));
    let nothing = format!("{ENERGY}root = \"/nowhere/hwmon\"\n");
    let nothing = format!("meter = \"m\"\npower_max = \"1 kW\"\n{nothing}");
    let config: HwmonConfig = toml::from_str(&nothing).expect("a configuration");
    let context = Context::new(NodeId::new("n1").unwrap(), 1, String::new());
    let refused = HwmonProbe::new(&config, &context).describe().expect_err("nothing");
    assert!(refused.to_string().contains("load the chip's driver"), "{refused}");
}

/// Goal: a driver that is unloaded, and comes back under another number.
#[test]
fn a_file_that_is_gone_is_missing_and_is_found_elsewhere() {
    let tree = Tree::new();
    let (mut power, mut energy) = (tree.probe(ACPI), tree.probe(ENERGY));
    let before = [power.describe(), energy.describe()]
        .map(|description| description.expect("there").subjects[0].register.map(|one| one.epoch));
    read(&mut power, 0);
    for chip in ["hwmon1", "hwmon3"] {
        fs::remove_dir_all(tree.root().join(chip)).expect("removed");
    }
    assert_eq!(read(&mut power, 1_000), [None, None]);
    let trouble = power.trouble().expect("words");
    assert_eq!(trouble, "isb/n01/board at power_meter/power1_average: it is gone");
    assert_eq!(read(&mut energy, 1_000), [None]);
    assert!(power.wants_describe() && energy.wants_describe());
    assert!(power.describe().expect_err("gone").to_string().contains("no such sensor"));
    tree.chip(
        "hwmon7",
        "ACPI000D:00",
        &[("name", "power_meter"), ("power1_average", "5"), ("power1_label", "chassis")],
    );
    let files = [("name", "amd_energy"), ("energy1_input", "123456999")];
    tree.chip("hwmon8", "amd_energy.0", &files);
    let after = [power.describe(), energy.describe()]
        .map(|description| description.expect("there").subjects[0].register.map(|one| one.epoch));
    assert_eq!(after, before, "nothing was counted anew: the silence was short");
    assert_eq!(read(&mut energy, 2_000), [Some(123_456_999)]);
    assert_eq!(read(&mut power, 9_000), [None, Some(0)], "5 µW, after too long a silence");
    assert!(power.wants_describe());
    power.describe().expect("there");
    assert_eq!(read(&mut power, 10_000), [Some(0), Some(0)]);
}

#[test]
fn what_cannot_be_true_is_missing() {
    let tree = Tree::new();
    let mut probe = tree.probe(ACPI);
    probe.describe().expect("it is there");
    for text in ["4294967295000", "6000000001", "-1", "", "N/A"] {
        tree.set("hwmon1/power1_average", text);
        assert_eq!(read(&mut probe, 0), [None, None], "{text}");
        assert!(probe.trouble().is_some() && !probe.wants_describe(), "{text}");
    }
    tree.set("hwmon1/power1_average", "6000000000");
    assert_eq!(read(&mut probe, 0)[1], Some(6_000_000));
}
