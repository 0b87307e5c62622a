//! CPU packages and their memory, through the kernel's powercap files (Intel and AMD RAPL).
//!
//! # Invariants
//! - A package is counted once. Its `core` and `uncore` parts are inside it, `psys` holds it, and
//!   the `intel-rapl-mmio` tree shows the same registers a second time: all of them are skipped.
//! - The count is shipped raw, in microjoules, with the modulus that the kernel states.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use bijli_wire::batch::{Register, Subject};
use bijli_wire::{Method, Millis, Milliwatts, Quantity, SubjectId, SubjectKind};
use serde::Deserialize;

use super::kernel::{self, NumberFile};
use super::{
    Cadence, Context, Description, How, Note, Offer, Probe, ProbeError, Sample, Tick, admitted,
    epoch,
};

/// Readings further apart than this are bridged: five missed ticks.
const GAP: Millis = Millis::new(5_000);
/// More than any CPU package draws, for one that does not tell its limit.
const POWER_UNKNOWN_MAX: Milliwatts = Milliwatts::new(1_000_000);
const PERMISSION: &str = "the kernel lets only root read these registers (since Linux 5.10, \
     because of CVE-2020-8694); give the agent's group read access with a udev or tmpfiles rule, \
     for example: z /sys/class/powercap/intel-rapl:*/energy_uj 0440 root bijli";

/// `[rapl]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RaplConfig {
    pub enabled: bool,
    /// Where the kernel shows its powercap zones.
    pub root: PathBuf,
}

impl Default for RaplConfig {
    fn default() -> Self {
        Self { enabled: true, root: "/sys/class/powercap".into() }
    }
}

/// Reads all zones of one machine.
#[derive(Debug)]
pub struct RaplProbe {
    root: PathBuf,
    context: Context,
    files: Vec<NumberFile>,
    trouble: Option<String>,
}

/// A powercap zone that is worth metering.
struct Zone {
    id: String,
    kind: SubjectKind,
    label: String,
    folder: PathBuf,
}

impl RaplProbe {
    #[must_use]
    pub fn new(config: &RaplConfig, context: &Context) -> Self {
        Self {
            root: config.root.clone(),
            context: context.clone(),
            files: Vec::new(),
            trouble: None,
        }
    }

    fn subject(&self, zone: &Zone) -> Result<Subject, ProbeError> {
        let limit_uw = kernel::number(&zone.folder.join("constraint_0_max_power_uw"));
        let power_max = match limit_uw {
            // Twice the stated limit: short turbo peaks pass it.
            Some(limit_uw) if limit_uw >= 1_000 => {
                Milliwatts::new((limit_uw / 1_000).saturating_mul(2))
            }
            Some(_) | None => POWER_UNKNOWN_MAX,
        };
        let modulus = kernel::number(&zone.folder.join("max_energy_range_uj"));
        Ok(Subject {
            id: SubjectId::new(&zone.id).map_err(|source| ProbeError::Name { source })?,
            kind: zone.kind,
            label: zone.label.clone(),
            model: String::new(),
            serial: String::new(),
            register: Some(Register {
                numerator: 1,
                denominator: 1_000,
                modulus: modulus.filter(|modulus| *modulus > 0),
                power_max,
                epoch: epoch(&[&self.context.boot, &zone.id]),
                method: Method::Hardware,
                gap: GAP,
            }),
        })
    }
}

impl Probe for RaplProbe {
    fn name(&self) -> &str {
        "rapl"
    }

    fn describe(&mut self) -> Result<Description, ProbeError> {
        let zones = zones(&self.root, self.context.node.as_str());
        let mut description = Description::default();
        let mut files = Vec::new();
        let mut denied = None;
        for zone in &zones {
            let path = zone.folder.join("energy_uj");
            match NumberFile::open(&path) {
                Ok(file) => {
                    let subject = description.subjects.len();
                    description.subjects.push(self.subject(zone)?);
                    description.series.push(Offer {
                        cadence: Cadence::Hot,
                        subject,
                        quantity: Quantity::EnergyRegister,
                        part: 0,
                    });
                    let words = "the processor's own register (RAPL)";
                    description.notes.push(Note::new(How::Register, &zone.label, words));
                    files.push(file);
                }
                Err(error) => {
                    description.notes.push(Note::new(How::Missing, &zone.label, why(&error)));
                    denied = Some((path, error));
                }
            }
        }
        if let (true, Some((path, error))) = (files.is_empty(), denied) {
            return Err(refused(&path, &error));
        }
        if zones.is_empty() {
            let words = format!(
                "no CPU registers under {}: a virtual machine, or the kernel module intel_rapl_msr \
                 is not loaded",
                self.root.display()
            );
            description.notes.push(Note::new(How::NotOffered, "CPU energy", words));
        }
        self.files = files;
        Ok(description)
    }

    fn read(&mut self, due: &[Cadence], _now: Tick) -> Vec<Sample> {
        if !due.contains(&Cadence::Hot) || self.files.is_empty() {
            return Vec::new();
        }
        let count = |file: &NumberFile| {
            admitted(Quantity::EnergyRegister, i64::try_from(file.read()?).ok()?)
        };
        let values: Vec<Option<i64>> = self.files.iter().map(count).collect();
        let missing = values.iter().filter(|value| value.is_none()).count();
        self.trouble = (missing > 0).then(|| format!("{missing} CPU registers could not be read"));
        vec![Sample { cadence: Cadence::Hot, at: None, values }]
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "not our enum")]
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => PERMISSION.to_owned(),
        _ => error.to_string(),
    }
}

fn refused(path: &Path, error: &io::Error) -> ProbeError {
    ProbeError::Device { device: path.display().to_string(), reason: why(error) }
}

/// The zones worth metering, in a fixed order; none where the kernel shows no powercap.
fn zones(root: &Path, node: &str) -> Vec<Zone> {
    let mut folders: Vec<PathBuf> = match std::fs::read_dir(root) {
        Ok(entries) => entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect(),
        Err(_) => return Vec::new(),
    };
    folders.sort();
    let mut seen = BTreeSet::new();
    folders
        .iter()
        .filter_map(|folder| zone(root, folder, node))
        .filter(|zone| seen.insert(zone.id.clone()))
        .collect()
}

/// `intel-rapl:0` is a package (or `psys`), `intel-rapl:0:1` a part of it.
fn zone(root: &Path, folder: &Path, node: &str) -> Option<Zone> {
    let place = folder.file_name()?.to_str()?.strip_prefix("intel-rapl:")?;
    let name = kernel::text(&folder.join("name")).ok()?;
    let (number, kind) = match place.split_once(':') {
        None => (name.strip_prefix("package-")?.to_owned(), SubjectKind::CpuPackage),
        Some((package, _)) if name == "dram" => {
            let package = root.join(format!("intel-rapl:{package}")).join("name");
            let package = kernel::text(&package).ok()?;
            (package.strip_prefix("package-")?.to_owned(), SubjectKind::Dram)
        }
        Some(_) => return None,
    };
    let (id, label) = if kind == SubjectKind::Dram {
        (format!("{node}/dram{number}"), format!("memory of CPU package {number}"))
    } else {
        (format!("{node}/cpu{number}"), format!("CPU package {number}"))
    };
    Some(Zone { id, kind, label, folder: folder.to_owned() })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the sysfs that they read")]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use bijli_wire::{NodeId, UtcMillis};
    use std::fs;

    fn tree(zones: &[(&str, &[(&str, &str)])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (zone, files) in zones {
            let folder = root.path().join(zone);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in *files {
                fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
        }
        root
    }

    fn probe(root: &Path) -> RaplProbe {
        let context = Context::new(NodeId::new("n1").unwrap(), 1, "boot".to_owned());
        RaplProbe::new(&RaplConfig { enabled: true, root: root.to_owned() }, &context)
    }

    fn read(probe: &mut RaplProbe) -> Vec<Option<i64>> {
        let now = Tick { utc: UtcMillis::new(0), monotonic: Moment::new(0) };
        let mut samples = probe.read(&[Cadence::Hot, Cadence::Warm], now);
        assert_eq!(samples.len(), 1);
        samples.remove(0).values
    }

    const TWO_SOCKETS: &[(&str, &[(&str, &str)])] = &[
        (
            "intel-rapl:0",
            &[
                ("name", "package-0"),
                ("energy_uj", "123456789"),
                ("max_energy_range_uj", "262143328850"),
                ("constraint_0_max_power_uw", "350000000"),
            ],
        ),
        ("intel-rapl:0:0", &[("name", "core"), ("energy_uj", "1")]),
        (
            "intel-rapl:0:1",
            &[("name", "dram"), ("energy_uj", "77"), ("max_energy_range_uj", "65712999613")],
        ),
        (
            "intel-rapl:1",
            &[("name", "package-1"), ("energy_uj", "42"), ("max_energy_range_uj", "262143328850")],
        ),
        (
            "intel-rapl:1:0",
            &[("name", "dram"), ("energy_uj", "43"), ("max_energy_range_uj", "65712999613")],
        ),
        ("intel-rapl:2", &[("name", "psys"), ("energy_uj", "9999")]),
        ("intel-rapl-mmio:0", &[("name", "package-0"), ("energy_uj", "5")]),
        ("dtpm", &[]),
    ];

    #[test]
    fn packages_and_memory_are_counted_once() {
        let root = tree(TWO_SOCKETS);
        let mut probe = probe(root.path());
        let description = probe.describe().expect("readable");
        let ids: Vec<&str> = description.subjects.iter().map(|s| s.id.as_str()).collect();
        assert_eq!(ids, ["n1/cpu0", "n1/dram0", "n1/cpu1", "n1/dram1"]);
        let register = description.subjects[0].register.expect("a register");
        assert_eq!((register.numerator, register.denominator), (1, 1_000));
        assert_eq!(register.modulus, Some(262_143_328_850));
        assert_eq!(register.power_max, Milliwatts::new(700_000));
        let unknown = description.subjects[2].register.expect("a register");
        assert_eq!(unknown.power_max, POWER_UNKNOWN_MAX);
        assert_eq!(read(&mut probe), [Some(123_456_789), Some(77), Some(42), Some(43)]);
        // The files are kept open: the next reading sees the next number.
        fs::write(root.path().join("intel-rapl:1/energy_uj"), "50\n").unwrap();
        assert_eq!(read(&mut probe)[2], Some(50));
        assert_eq!(probe.trouble(), None);
    }

    #[test]
    fn a_register_that_fails_costs_only_itself() {
        let root = tree(TWO_SOCKETS);
        let mut probe = probe(root.path());
        probe.describe().expect("readable");
        fs::write(root.path().join("intel-rapl:0/energy_uj"), "no number\n").unwrap();
        assert_eq!(read(&mut probe), [None, Some(77), Some(42), Some(43)]);
        assert_eq!(probe.trouble(), Some("1 CPU registers could not be read".to_owned()));
    }

    #[test]
    fn a_machine_without_registers_is_not_an_error_and_says_so() {
        let root = tree(&[]);
        for root in [root.path(), Path::new("/nowhere/powercap")] {
            let description = probe(root).describe().expect("nothing is fine");
            assert!(description.subjects.is_empty());
            assert_eq!(description.notes[0].how, How::NotOffered);
        }
    }

    #[test]
    fn dies_of_one_package_have_names_of_their_own() {
        let root = tree(&[
            ("intel-rapl:0", &[("name", "package-0-die-0"), ("energy_uj", "1")]),
            ("intel-rapl:1", &[("name", "package-0-die-1"), ("energy_uj", "2")]),
        ]);
        let description = probe(root.path()).describe().expect("readable");
        let ids: Vec<&str> = description.subjects.iter().map(|s| s.id.as_str()).collect();
        assert_eq!(ids, ["n1/cpu0-die-0", "n1/cpu0-die-1"]);
    }

    #[test]
    fn a_refusal_tells_what_to_do() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let words = refused(Path::new("/sys/x/energy_uj"), &denied).to_string();
        assert!(words.starts_with("/sys/x/energy_uj does not answer: the kernel lets only root"));
        assert!(words.contains("CVE-2020-8694") && words.contains("0440 root bijli"), "{words}");
        // A zone without its register file is noted; the others are metered.
        let root = tree(&[
            ("intel-rapl:0", &[("name", "package-0")]),
            ("intel-rapl:1", &[("name", "package-1"), ("energy_uj", "2")]),
        ]);
        let description = probe(root.path()).describe().expect("one is readable");
        assert_eq!(description.subjects.len(), 1);
        assert_eq!(description.notes[0].how, How::Missing);
    }
}
