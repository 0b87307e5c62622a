//! `[[ipmi]]` of the configuration, and the words that it makes of `ipmitool`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bijli_wire::quantity;
use bijli_wire::{Millis, Milliwatts, SubjectId};
use serde::Deserialize;

const PORT: &str = "623";

/// What a session may do at most; nothing here changes anything on a BMC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Privilege {
    /// Enough for every reading by the specification, not on every BMC.
    #[default]
    User,
    Operator,
    Administrator,
}

impl Privilege {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Operator => "OPERATOR",
            Self::Administrator => "ADMINISTRATOR",
        }
    }
}

/// One BMC.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpmiConfig {
    /// The meter's id, unique in the hub: `"isb/n01/bmc"`.
    pub meter: String,
    /// `"10.0.1.7"`, with a port where it is not 623. `None`: this machine's own, by `/dev/ipmi0`.
    pub address: Option<String>,
    pub user: Option<String>,
    /// Holds the password and nothing else; only `ipmitool` reads it.
    pub password_file: Option<PathBuf>,
    #[serde(default)]
    pub privilege: Privilege,
    /// `None`: `ipmitool` and the BMC find one.
    pub cipher_suite: Option<u8>,
    /// A power sensor of the BMC by its name, for a BMC that has no DCMI.
    pub sensor: Option<String>,
    #[serde(default = "every", deserialize_with = "quantity::de_duration")]
    pub every: Millis,
    /// After this `ipmitool` is ended. Shorter than `every`.
    #[serde(default = "timeout", deserialize_with = "quantity::de_duration")]
    pub timeout: Millis,
    /// No true reading implies more.
    #[serde(deserialize_with = "quantity::de_power")]
    pub power_max: Milliwatts,
    #[serde(default)]
    pub model: String,
    #[serde(default)]
    pub serial: String,
    #[serde(default = "program")]
    pub program: PathBuf,
}

const fn every() -> Millis {
    Millis::new(10_000)
}

const fn timeout() -> Millis {
    Millis::new(8_000)
}

fn program() -> PathBuf {
    PathBuf::from("ipmitool")
}

impl IpmiConfig {
    /// Files are relative to the configuration's folder.
    pub fn locate(&mut self, folder: &Path) {
        if let Some(file) = &mut self.password_file {
            *file = folder.join(&*file);
        }
    }

    /// Checks what no type can.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        SubjectId::new(&self.meter).map_err(|error| error.to_string())?;
        if self.timeout == Millis::ZERO || self.timeout >= self.every {
            return Err("`timeout` must be longer than nothing and shorter than `every`".into());
        }
        if self.power_max == Milliwatts::ZERO {
            return Err("`power_max` must be above zero".to_owned());
        }
        let words = [self.address.as_deref(), self.user.as_deref(), self.sensor.as_deref()];
        if let Some(word) = words.into_iter().flatten().find(|word| !is_plain(word)) {
            return Err(format!("{word:?} cannot be handed to ipmitool"));
        }
        let remote = self.user.is_some() && self.password_file.is_some();
        let is_local = self.user.is_none() && self.password_file.is_none();
        match &self.address {
            Some(_) if !remote => Err("`address` needs `user` and `password_file`".to_owned()),
            None if !is_local || self.cipher_suite.is_some() => {
                let words = "without `address` this machine's own BMC is asked, which takes no \
                             `user`, `password_file` or `cipher_suite`";
                Err(words.to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Where it is, for people.
    pub(super) fn place(&self) -> String {
        self.address.clone().unwrap_or_else(|| "/dev/ipmi0".to_owned())
    }

    /// What `ipmitool` is told.
    pub(super) fn words(&self) -> Result<Vec<OsString>, String> {
        let mut words: Vec<OsString> = Vec::new();
        match (&self.address, &self.user, &self.password_file) {
            (Some(address), Some(user), Some(file)) => {
                // Else it would ask a terminal for one.
                std::fs::metadata(file)
                    .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
                let (host, port) = parts(address);
                let fixed = ["-I", "lanplus", "-L", self.privilege.name(), "-N", "1", "-R", "3"];
                words.extend(fixed.map(OsString::from));
                words.extend(["-H", host, "-p", port, "-U", user, "-f"].map(OsString::from));
                words.push(file.into());
                if let Some(suite) = self.cipher_suite {
                    words.extend(["-C".into(), suite.to_string().into()]);
                }
            }
            _ => words.extend(["-I", "open"].map(OsString::from)),
        }
        match &self.sensor {
            Some(sensor) => words.extend(["sdr", "get", sensor].map(OsString::from)),
            None => words.extend(["dcmi", "power", "reading"].map(OsString::from)),
        }
        Ok(words)
    }
}

/// Neither an option nor anything that a terminal would not show.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && !word.starts_with('-') && !word.chars().any(char::is_control)
}

/// Host and port; an IPv6 address has a port only behind brackets.
fn parts(address: &str) -> (&str, &str) {
    let bare = |host: &'_ str| -> bool { host.contains(':') && !host.starts_with('[') };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !bare(host) && !port.contains(']') => (host, port),
        Some(_) | None => (address, PORT),
    };
    (host.trim_matches(['[', ']']), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> IpmiConfig {
        let least = "meter = \"isb/n01/bmc\"\npower_max = \"12 kW\"\n";
        toml::from_str(&format!("{least}{text}")).expect("a configuration")
    }

    fn words(config: &IpmiConfig) -> String {
        let words = config.words().expect("words");
        words.join(&OsString::from(" ")).into_string().expect("text")
    }

    #[test]
    fn what_ipmitool_is_told() {
        assert_eq!(words(&config("")), "-I open dcmi power reading");
        let sensor = config("sensor = \"PW Consumption\"");
        assert_eq!(words(&sensor), "-I open sdr get PW Consumption");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().display().to_string();
        let remote = format!(
            "address = \"[fd00::7]:6230\"\nuser = \"bijli\"\npassword_file = \"{path}\"\n\
             cipher_suite = 17\n"
        );
        assert_eq!(
            words(&config(&remote)),
            format!(
                "-I lanplus -L USER -N 1 -R 3 -H fd00::7 -p 6230 -U bijli -f {path} -C 17 dcmi \
                 power reading"
            )
        );
        let gone = config(&remote.replace(&path, "/nowhere/password"));
        assert!(gone.words().expect_err("no file").contains("/nowhere/password"));
    }

    #[test]
    fn hosts_and_ports() {
        for (address, expected) in [
            ("10.0.1.7", ("10.0.1.7", "623")),
            ("bmc.isb:16231", ("bmc.isb", "16231")),
            ("fd00::7", ("fd00::7", "623")),
            ("[fd00::7]", ("fd00::7", "623")),
        ] {
            assert_eq!(parts(address), expected);
        }
    }

    #[test]
    fn mistakes_by_table() {
        for (text, words) in [
            ("every = \"5s\"", "shorter than `every`"),
            ("address = \"10.0.1.7\"", "needs `user` and `password_file`"),
            ("user = \"admin\"", "without `address`"),
            ("cipher_suite = 3", "without `address`"),
            ("sensor = \"-P\"", "cannot be handed to ipmitool"),
            ("sensor = \"\"", "cannot be handed to ipmitool"),
        ] {
            assert!(config(text).check().expect_err(text).contains(words), "{text}");
        }
        assert_eq!(config("").check(), Ok(()));
    }
}
