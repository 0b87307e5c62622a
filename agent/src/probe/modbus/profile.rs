//! Meter profiles: which registers a kind of meter has, as data (`agent/profiles/*.toml`).
//!
//! # Invariants
//! - Addresses are zero-based, as everywhere in this probe; what a manual prints stands beside it.
//! - Every register names a source, and every source its document, edition and table.
//! - A profile holds numbers that somebody published. What nobody did is not in it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::RegisterConfig;
use super::decode::{Number, NumberType, WordOrder, number};
use super::link::{Function, Span};

/// A file for each, by the name that a configuration gives.
const FILES: &[(&str, &str)] = &[
    ("eastron-sdm120", include_str!("../../../profiles/eastron-sdm120.toml")),
    ("eastron-sdm630", include_str!("../../../profiles/eastron-sdm630.toml")),
    ("janitza-umg", include_str!("../../../profiles/janitza-umg.toml")),
    ("schneider-iem3000", include_str!("../../../profiles/schneider-iem3000.toml")),
    ("schneider-pm5000", include_str!("../../../profiles/schneider-pm5000.toml")),
    ("siemens-pac2200", include_str!("../../../profiles/siemens-pac2200.toml")),
];

/// One kind of meter.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) model: String,
    /// As documented. What a meter does is found when it is enrolled.
    pub(super) word_order: WordOrder,
    sources: BTreeMap<String, Source>,
    registers: Vec<Entry>,
    pub(super) serial: Option<Identity>,
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

/// One register of a profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    quantity: String,
    #[serde(default)]
    part: u32,
    function: Function,
    register: u16,
    /// As the manual prints it, where that differs or is worth knowing.
    documented: Option<String>,
    #[serde(rename = "type")]
    kind: NumberType,
    unit: String,
    #[serde(default = "super::settings::unscaled")]
    scale: String,
    /// A key of `sources`.
    source: String,
}

/// Where a meter shows its serial number, as an integer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    function: Function,
    register: u16,
    documented: Option<String>,
    #[serde(rename = "type")]
    kind: NumberType,
    source: String,
}

impl Identity {
    pub(super) fn span(&self) -> Span {
        Span { function: self.function, first: self.register, words: self.kind.words() }
    }

    /// The serial number in `words`; `None` for what no meter has: zero, all ones.
    pub(super) fn serial(&self, words: &[u16], order: WordOrder) -> Option<String> {
        if words.iter().all(|word| *word == u16::MAX) {
            return None;
        }
        match number(words, self.kind, order)? {
            Number::Integer(serial) if serial > 0 => Some(serial.to_string()),
            Number::Integer(_) | Number::Float(_) => None,
        }
    }
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
    let (_, text) = FILES.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        format!("there is no profile {name:?}; there are {}, sunspec", known().join(", "))
    })?;
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
        let of_registers = self.registers.iter().map(|e| (e.register, &e.documented, &e.source));
        let serial = self.serial.iter().map(|e| (e.register, &e.documented, &e.source));
        for (register, documented, source) in of_registers.chain(serial) {
            if !self.sources.contains_key(source) {
                return Err(format!("register {register}: there is no source {source:?}"));
            }
            if documented.as_ref().is_some_and(|number| number.trim().is_empty()) {
                return Err(format!("register {register}: `documented` is empty"));
            }
        }
        Ok(())
    }

    /// Its registers, with those of `own` in the place of the same quantity and part.
    pub(super) fn registers(&self, own: &[RegisterConfig]) -> Vec<RegisterConfig> {
        let is_own = |entry: &&Entry| {
            own.iter().any(|one| one.quantity == entry.quantity && one.part == entry.part)
        };
        let kept = self.registers.iter().filter(|entry| !is_own(entry));
        kept.map(Entry::config).chain(own.iter().cloned()).collect()
    }

    /// What it is and by whose word, in one line.
    pub(super) fn words(&self) -> String {
        let of = |source: &Source| format!("{}, {}", source.document, source.edition);
        let sources: Vec<String> = self.sources.values().map(of).collect();
        format!("{}: {}", self.model, sources.join("; "))
    }
}

impl Entry {
    fn config(&self) -> RegisterConfig {
        RegisterConfig {
            quantity: self.quantity.clone(),
            function: self.function,
            register: self.register,
            kind: self.kind,
            word_order: None,
            unit: self.unit.clone(),
            scale: self.scale.clone(),
            part: self.part,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ModbusConfig, Quantity, is_main, is_power};
    use super::*;

    fn meter(name: &str) -> ModbusConfig {
        let text = format!(
            "meter = \"m\"\naddress = \"127.0.0.1\"\npower_max = \"2 MW\"\nprofile = \"{name}\"\n"
        );
        toml::from_str(&text).expect("a configuration")
    }

    /// Goal: what is shipped can be used: it parses, has energy and power, a voltage to enrol by,
    /// and no two of its numbers lie on the same register.
    #[test]
    fn every_shipped_profile_is_whole() {
        for name in known() {
            let numbers = meter(name).numbers().expect(name);
            assert!(numbers.iter().any(|one| is_main(one, Quantity::EnergyRegister)), "{name}");
            assert!(numbers.iter().any(is_power), "{name}");
            assert!(numbers.iter().any(|one| one.quantity == Quantity::Voltage), "{name}");
            let mut spans: Vec<Span> = numbers.iter().map(|one| one.span).collect();
            spans.extend(find(name).expect(name).serial.map(|serial| serial.span()));
            spans.sort_unstable();
            for pair in spans.windows(2) {
                let is_apart = pair[0].function != pair[1].function
                    || pair[0].end() <= Some(u32::from(pair[1].first));
                assert!(is_apart, "{name}: {pair:?} overlap");
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_carried_by_the_agent() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let files = std::fs::read_dir(folder).expect("a folder").flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        let mut found: Vec<String> =
            names.filter_map(|name| Some(name.strip_suffix(".toml")?.to_owned())).collect();
        found.sort_unstable();
        assert_eq!(found, known());
    }

    /// Goal: the registers that the reference lists, as it lists them.
    #[test]
    fn energy_registers_by_table() {
        for (name, function, register, kind) in [
            ("eastron-sdm120", Function::Input, 0x48, NumberType::F32),
            ("eastron-sdm630", Function::Input, 0x48, NumberType::F32),
            ("janitza-umg", Function::Holding, 0x4a7c, NumberType::F32),
            ("schneider-iem3000", Function::Holding, 0x0c83, NumberType::I64),
            ("schneider-pm5000", Function::Holding, 0x0c83, NumberType::I64),
            ("siemens-pac2200", Function::Input, 801, NumberType::F64),
        ] {
            let numbers = meter(name).numbers().expect(name);
            let energy = numbers.iter().find(|one| is_main(one, Quantity::EnergyRegister));
            let energy = energy.expect(name);
            assert_eq!((energy.span.function, energy.span.first), (function, register), "{name}");
            assert_eq!(energy.kind, kind, "{name}");
        }
    }

    #[test]
    fn an_unknown_profile_is_refused_with_those_that_there_are() {
        let refused = meter("eastron-sdm72").check().expect_err("no such profile");
        let expected = "there is no profile \"eastron-sdm72\"; there are eastron-sdm120, \
                        eastron-sdm630, janitza-umg, schneider-iem3000, schneider-pm5000, \
                        siemens-pac2200, sunspec";
        assert_eq!(refused, expected);
    }

    #[test]
    fn a_faulty_profile_is_refused() {
        let (_, good) = FILES[0];
        assert!(parse(good).is_ok());
        for (from, to, words) in [
            ("source = \"map\"", "source = \"mop\"", "there is no source \"mop\""),
            ("table = \"input", "tables = \"input", "unknown field `tables`"),
            ("documented = \"30073\"", "documented = \" \"", "`documented` is empty"),
            ("unit = \"kWh\"", "unit = \"kWh\"\npage = 3", "unknown field `page`"),
            ("edition = \"mbmd", "edition = \"\" # ", "source map lacks its document"),
        ] {
            let refused = parse(&good.replace(from, to)).expect_err(to);
            assert!(refused.contains(words), "{to}: {refused}");
        }
    }

    #[test]
    fn a_key_of_ones_own_takes_the_place_of_the_profiles() {
        let mut config = meter("eastron-sdm630");
        let count = config.numbers().expect("a profile").len();
        let own = "quantity = \"power_instant\"\nfunction = \"holding\"\nregister = 9\n\
                   type = \"u32\"\nunit = \"kW\"\n";
        config.registers = vec![toml::from_str(own).expect("a register")];
        let numbers = config.numbers().expect("overridden");
        assert_eq!(numbers.len(), count);
        let power = numbers.iter().find(|one| is_power(one)).expect("power");
        assert_eq!((power.span.function, power.span.first), (Function::Holding, 9));
    }
}
