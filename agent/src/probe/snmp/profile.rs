//! Device profiles: what a kind of device tells, as data (`agent/profiles/snmp/*.toml`).
//!
//! # Invariants
//! - Every object has the name that its MIB gives it, and a source with document, edition and
//!   table. What nobody published is not in a profile.
//! - `{index}` in a name is what the configuration says, `{line}` counts a device's lines from 1.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::answer::ObjectId;

/// A file for each, by the name that a configuration gives.
const FILES: &[(&str, &str)] = &[
    ("apc-rpdu2", include_str!("../../../profiles/snmp/apc-rpdu2.toml")),
    ("apc-ups", include_str!("../../../profiles/snmp/apc-ups.toml")),
    ("eaton-ups", include_str!("../../../profiles/snmp/eaton-ups.toml")),
    ("entity-sensor", include_str!("../../../profiles/snmp/entity-sensor.toml")),
    ("raritan-pdu2", include_str!("../../../profiles/snmp/raritan-pdu2.toml")),
    ("ups-mib", include_str!("../../../profiles/snmp/ups-mib.toml")),
];

/// One kind of device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) model: String,
    sources: BTreeMap<String, Source>,
    pub(super) serial: Option<Named>,
    pub(super) firmware: Option<Named>,
    /// Where it measures; the first is meant where a configuration names none.
    points: Vec<Point>,
}

/// Where numbers were published.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    document: String,
    edition: String,
    /// The page or table of it.
    table: String,
}

/// A text that the device tells of itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub(super) oid: String,
    documented: String,
    source: String,
}

/// A place where a device measures: an inlet, an outlet, a phase.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Point {
    name: String,
    /// Which one, where the configuration does not say; `None`: it must.
    index: Option<String>,
    pub(super) objects: Vec<Object>,
}

/// One number of a point.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Object {
    pub(super) quantity: String,
    #[serde(default)]
    pub(super) part: u32,
    pub(super) oid: String,
    /// What the MIB calls it.
    pub(super) documented: String,
    pub(super) unit: String,
    #[serde(default = "unscaled")]
    pub(super) scale: String,
    /// Shows how many lines there are: parts 1, 2, 3.
    pub(super) lines: Option<String>,
    /// All lines together are part 0.
    #[serde(default)]
    pub(super) is_summed: bool,
    /// Shows how many digits stand behind the point.
    pub(super) decimals: Option<String>,
    /// Shows the prefix as ENTITY-SENSOR-MIB numbers them: 8 milli, 9 units, 10 kilo.
    pub(super) prefix: Option<String>,
    /// What must be so for the object to be this quantity in this unit.
    #[serde(default)]
    pub(super) fits: Vec<Condition>,
    /// What must be so for its number to count.
    #[serde(default)]
    pub(super) works: Vec<Condition>,
    /// The codes that mean yes and no, where the number is a code.
    #[serde(default)]
    pub(super) yes: Vec<i64>,
    #[serde(default)]
    pub(super) no: Vec<i64>,
    /// Anybody at the device may set this count back to zero.
    #[serde(default)]
    pub(super) is_resettable: bool,
    source: String,
}

/// Another object that must show one of some numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Condition {
    pub(super) oid: String,
    pub(super) documented: String,
    pub(super) is: Vec<i64>,
}

fn unscaled() -> String {
    "1".to_owned()
}

/// The names of all profiles, in order.
#[must_use]
pub fn known() -> Vec<&'static str> {
    FILES.iter().map(|(name, _)| *name).collect()
}

/// The profile of that name.
///
/// # Errors
/// Says which names there are.
pub(super) fn find(name: &str) -> Result<Profile, String> {
    let (_, text) = FILES
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("there is no profile {name:?}; there are {}", known().join(", ")))?;
    parse(text).map_err(|why| format!("profile {name}: {why}"))
}

fn parse(text: &str) -> Result<Profile, String> {
    let profile: Profile = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
    profile.check()?;
    Ok(profile)
}

impl Profile {
    fn check(&self) -> Result<(), String> {
        for (name, source) in &self.sources {
            let parts = [&source.document, &source.edition, &source.table];
            if parts.iter().any(|part| part.trim().is_empty()) {
                return Err(format!("source {name} lacks its document, edition or table"));
            }
        }
        let named = self.serial.iter().chain(&self.firmware);
        let named = named.map(|one| (&one.oid, &one.documented, &one.source));
        let objects = self.points.iter().flat_map(|point| &point.objects);
        let objects = objects.map(|one| (&one.oid, &one.documented, &one.source));
        for (oid, documented, source) in named.chain(objects) {
            if !self.sources.contains_key(source) {
                return Err(format!("{oid}: there is no source {source:?}"));
            }
            if documented.trim().is_empty() {
                return Err(format!("{oid}: `documented` is empty"));
            }
        }
        Ok(())
    }

    /// The point of that name, and which one of them.
    ///
    /// # Errors
    /// Says which points there are, or what an index looks like.
    pub(super) fn point<'a>(
        &'a self,
        at: Option<&str>,
        index: Option<&'a str>,
    ) -> Result<(&'a Point, &'a str), String> {
        let found = match at {
            Some(name) => self.points.iter().find(|point| point.name == name),
            None => self.points.first(),
        };
        let point = found.ok_or_else(|| {
            let names: Vec<&str> = self.points.iter().map(|point| point.name.as_str()).collect();
            format!("{:?} is no point of it: use one of {}", at.unwrap_or(""), names.join(", "))
        })?;
        let index = index.or(point.index.as_deref()).ok_or_else(|| {
            format!("which {} it is, is missing: write for example index = \"1\"", point.name)
        })?;
        let is_index = |part: &str| !part.is_empty() && part.parse::<u32>().is_ok();
        match index.split('.').all(is_index) {
            true => Ok((point, index)),
            false => Err(format!("index {index:?}: write numbers and dots, for example \"1.3\"")),
        }
    }

    /// What it is and by whose word, in one line.
    pub(super) fn words(&self) -> String {
        let of = |source: &Source| format!("{}, {}", source.document, source.edition);
        let sources: Vec<String> = self.sources.values().map(of).collect();
        format!("{}: {}", self.model, sources.join("; "))
    }
}

/// A name out of its pattern.
///
/// # Errors
/// If the pattern is no name: a mistake of the profile.
pub(super) fn name(pattern: &str, index: &str, line: u32) -> Result<ObjectId, String> {
    let text = pattern.replace("{index}", index).replace("{line}", &line.to_string());
    ObjectId::parse(&text).ok_or_else(|| format!("{text:?} is no object's name"))
}

#[cfg(test)]
mod tests {
    use super::super::number::{Number, is_main, is_power};
    use super::*;
    use bijli_wire::Quantity;

    /// Goal: what is shipped can be used: it parses, and every point's names, units and scales
    /// are some.
    #[test]
    fn every_shipped_profile_is_whole() {
        for name in known() {
            let profile = find(name).expect(name);
            let mut has_power = false;
            for point in &profile.points {
                let numbers = Number::of(point, "1", 0, &|_| Some(3)).expect(name);
                assert!(!numbers.is_empty(), "{name}");
                let is_main_energy = |one: &Number| is_main(one, Quantity::EnergyRegister);
                has_power |= numbers.iter().any(is_power) || numbers.iter().any(is_main_energy);
                let mut seen: Vec<(Quantity, u32)> =
                    numbers.iter().map(|one| (one.quantity, one.part)).collect();
                let all = seen.len();
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), all, "{name}, {}: a quantity comes twice", point.name);
            }
            assert!(has_power, "{name}");
        }
    }

    #[test]
    fn every_file_of_the_folder_is_carried_by_the_agent() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/snmp");
        let files = std::fs::read_dir(folder).expect("a folder").flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        let mut found: Vec<String> =
            names.filter_map(|name| Some(name.strip_suffix(".toml")?.to_owned())).collect();
        found.sort_unstable();
        assert_eq!(found, known());
    }

    /// Goal: the energy counters that the reference lists, as it lists them.
    #[test]
    fn energy_counters_by_table() {
        for (name, at, index, oid, millijoules) in [
            ("apc-rpdu2", "device", "1", "1.3.6.1.4.1.318.1.1.26.4.3.1.9.1", 360_000_000),
            ("apc-rpdu2", "outlet", "7", "1.3.6.1.4.1.318.1.1.26.9.4.3.1.11.7", 360_000_000),
            ("apc-ups", "output", "0", "1.3.6.1.4.1.318.1.1.1.4.3.6.0", 36_000_000),
            ("raritan-pdu2", "inlet", "1.1", "1.3.6.1.4.1.13742.6.5.2.3.1.4.1.1.8", 3_600_000),
            ("raritan-pdu2", "outlet", "1.4", "1.3.6.1.4.1.13742.6.5.4.3.1.4.1.4.8", 3_600_000),
        ] {
            let profile = find(name).expect(name);
            let (point, index) = profile.point(Some(at), Some(index)).expect(name);
            let numbers = Number::of(point, index, 0, &|_| Some(1)).expect(name);
            let energy = numbers.iter().find(|one| is_main(one, Quantity::EnergyRegister));
            let energy = energy.expect(name);
            assert_eq!(energy.terms, [ObjectId::parse(oid).expect(oid)], "{name}");
            assert_eq!((energy.scale.numerator, energy.scale.denominator), (millijoules, 1));
        }
    }

    #[test]
    fn mistakes_say_what_there_is() {
        assert!(find("apc").expect_err("none").starts_with("there is no profile \"apc\"; there"));
        let profile = find("apc-rpdu2").expect("shipped");
        let at = |at, index| profile.point(at, index).map(drop).expect_err("refused");
        assert_eq!(
            at(Some("rack"), None),
            "\"rack\" is no point of it: use one of device, phase, outlet"
        );
        let missing = "which outlet it is, is missing: write for example index = \"1\"";
        assert_eq!(at(Some("outlet"), None), missing);
        for index in ["", "a", "1.", ".1", "-1", "1,2"] {
            assert!(at(None, Some(index)).starts_with("index \""), "{index}");
        }
        assert_eq!(profile.point(None, None).expect("the whole device").1, "1");
        for (text, why) in [
            ("model = \"m\"\nsources = {}\npoints = []\nregisters = 1\n", "unknown field"),
            (
                "model = \"m\"\n[sources.s]\ndocument = \"d\"\nedition = \"\"\ntable = \"t\"\n\
                 [[points]]\nname = \"p\"\nobjects = []\n",
                "source s lacks",
            ),
            (
                "model = \"m\"\nsources = {}\n[serial]\noid = \"1.3\"\ndocumented = \"d\"\n\
                 source = \"s\"\n[[points]]\nname = \"p\"\nobjects = []\n",
                "1.3: there is no source \"s\"",
            ),
        ] {
            let refused = parse(text).expect_err(why);
            assert!(refused.contains(why), "{refused}");
        }
    }
}
