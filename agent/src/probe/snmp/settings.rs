//! `[[snmp]]` of the configuration, and what no type can say of it.

use std::path::{Path, PathBuf};

use bijli_wire::quantity;
use bijli_wire::{Millis, Milliwatts, SubjectId};
use serde::Deserialize;

use super::number::{Lines, Number};
use super::profile::{self, Profile};

/// `[[snmp]]` of the configuration: one device with its meters.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnmpConfig {
    /// `"10.0.0.9:161"`; without a port it is 161.
    pub address: String,
    /// A name of `agent/profiles/snmp`: `"apc-rpdu2"`.
    pub profile: String,
    /// Version 2c: the file that holds the community.
    pub community_file: Option<PathBuf>,
    /// Version 3: who asks.
    pub user: Option<String>,
    #[serde(default)]
    pub auth: AuthAlgorithm,
    pub auth_password_file: Option<PathBuf>,
    #[serde(default)]
    pub privacy: PrivacyAlgorithm,
    pub privacy_password_file: Option<PathBuf>,
    #[serde(default = "every", deserialize_with = "quantity::de_duration")]
    pub every: Millis,
    /// For each attempt of each request.
    #[serde(default = "timeout", deserialize_with = "quantity::de_duration")]
    pub timeout: Millis,
    /// Further attempts: a datagram may be lost.
    #[serde(default = "retries")]
    pub retries: u32,
    pub meters: Vec<MeterConfig>,
}

/// One place where the device measures.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterConfig {
    /// The meter's id, unique in the hub: `"isb/rack07-a"`.
    pub meter: String,
    /// A point of the profile: `"outlet"`; `None`: its first.
    pub at: Option<String>,
    /// Which one of them: `"7"`, `"1.1"`; `None`: the profile knows.
    pub index: Option<String>,
    /// No true reading implies more: bounds every energy difference.
    #[serde(deserialize_with = "quantity::de_power")]
    pub power_max: Milliwatts,
    #[serde(default)]
    pub model: String,
    /// Where the device does not tell its own.
    #[serde(default)]
    pub serial: String,
}

/// How messages of version 3 are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthAlgorithm {
    Sha1,
    Sha224,
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

/// How messages of version 3 are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrivacyAlgorithm {
    #[default]
    Aes128,
    Aes192,
    Aes256,
}

/// Where the secrets are, by version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    Community { file: PathBuf },
    User { name: String, auth: (AuthAlgorithm, PathBuf), privacy: (PrivacyAlgorithm, PathBuf) },
}

impl Credentials {
    pub(super) fn files(&self) -> Vec<&Path> {
        match self {
            Self::Community { file } => vec![file],
            Self::User { auth, privacy, .. } => vec![&auth.1, &privacy.1],
        }
    }
}

const RETRIES_MAX: u32 = 5;

const fn every() -> Millis {
    Millis::new(5_000)
}

/// A row that is later than 600 ms is dropped, so that there is no use in waiting longer.
const fn timeout() -> Millis {
    Millis::new(500)
}

const fn retries() -> u32 {
    1
}

impl SnmpConfig {
    /// Secrets' paths are relative to the configuration's.
    pub fn locate(&mut self, folder: &Path) {
        let files = [
            &mut self.community_file,
            &mut self.auth_password_file,
            &mut self.privacy_password_file,
        ];
        for file in files.into_iter().flatten() {
            *file = folder.join(&*file);
        }
    }

    /// Checks what no type can: the profile, its points, who asks.
    ///
    /// # Errors
    /// Says what is wrong with what.
    pub fn check(&self) -> Result<(), String> {
        if self.every == Millis::ZERO || self.timeout == Millis::ZERO {
            return Err("`every` and `timeout` must be longer than nothing".to_owned());
        }
        if self.retries > RETRIES_MAX {
            return Err(format!("`retries`: at most {RETRIES_MAX}"));
        }
        if self.meters.is_empty() {
            return Err(
                "it has no meters: write meters = [{ meter = \"isb/rack07-a\", ... }]".to_owned()
            );
        }
        self.credentials()?;
        let profile = self.profile()?;
        self.numbers(&profile, &|_| Some(1)).map(drop)
    }

    /// What its profile comes to, for people.
    #[must_use]
    pub fn resolved(&self) -> String {
        let version = if self.user.is_some() { "3" } else { "2c" };
        let meters = self.meters.len();
        let plural = if meters == 1 { "" } else { "s" };
        format!("profile {}, SNMP version {version}: {meters} meter{plural}", self.profile)
    }

    pub(super) fn profile(&self) -> Result<Profile, String> {
        profile::find(&self.profile)
    }

    pub(super) fn credentials(&self) -> Result<Credentials, String> {
        let is_v3 = self.auth_password_file.is_some() || self.privacy_password_file.is_some();
        match (&self.user, &self.community_file) {
            (Some(_), Some(_)) => {
                Err("it has a user (version 3) and a community (2c): write one of them".to_owned())
            }
            (None, None) => Err("who asks is missing: write user and its password files, or \
                                 community_file"
                .to_owned()),
            (None, Some(_)) if is_v3 => Err("passwords need a user".to_owned()),
            (None, Some(file)) => Ok(Credentials::Community { file: file.clone() }),
            (Some(name), None) => {
                let of = |file: &Option<PathBuf>, key: &str| {
                    file.clone().ok_or_else(|| format!("user {name:?} has no {key}"))
                };
                let auth = of(&self.auth_password_file, "auth_password_file")?;
                let privacy = of(&self.privacy_password_file, "privacy_password_file")?;
                Ok(Credentials::User {
                    name: name.clone(),
                    auth: (self.auth, auth),
                    privacy: (self.privacy, privacy),
                })
            }
        }
    }

    /// What is read, meter by meter.
    pub(super) fn numbers(
        &self,
        profile: &Profile,
        lines: Lines<'_>,
    ) -> Result<Vec<Number>, String> {
        let mut numbers = Vec::new();
        for (index, meter) in self.meters.iter().enumerate() {
            let named = |why: String| format!("meter {:?}: {why}", meter.meter);
            SubjectId::new(&meter.meter).map_err(|error| named(error.to_string()))?;
            if meter.power_max == Milliwatts::ZERO {
                return Err(named("`power_max` must be above zero".to_owned()));
            }
            let (point, which) =
                profile.point(meter.at.as_deref(), meter.index.as_deref()).map_err(named)?;
            numbers.extend(Number::of(point, which, index, lines).map_err(named)?);
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "address = \"10.0.0.9\"\nprofile = \"apc-rpdu2\"\n\
                         meters = [{ meter = \"isb/a\", power_max = \"11 kW\" }]\n";

    fn checked(text: &str) -> Result<SnmpConfig, String> {
        let config: SnmpConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map(|()| config)
    }

    #[test]
    fn the_least_device_of_each_version() {
        let config = checked(&format!("community_file = \"c\"\n{LEAST}")).expect("whole");
        assert_eq!(config.credentials().expect("one").files(), [Path::new("c")]);
        assert_eq!(config.resolved(), "profile apc-rpdu2, SNMP version 2c: 1 meter");
        let user = "user = \"u\"\nauth_password_file = \"a\"\nprivacy_password_file = \"/p\"\n";
        let mut config = checked(&format!("{user}{LEAST}")).expect("whole");
        config.locate(Path::new("/etc/bijli"));
        let expected = Credentials::User {
            name: "u".to_owned(),
            auth: (AuthAlgorithm::Sha256, PathBuf::from("/etc/bijli/a")),
            privacy: (PrivacyAlgorithm::Aes128, PathBuf::from("/p")),
        };
        assert_eq!(config.credentials(), Ok(expected));
        assert_eq!((config.every, config.timeout), (Millis::new(5_000), Millis::new(500)));
    }

    #[test]
    fn mistakes_are_refused_with_a_hint() {
        let community = "community_file = \"c\"\n";
        for (text, expected) in [
            (LEAST.to_owned(), "who asks is missing"),
            (format!("{community}user = \"u\"\n{LEAST}"), "write one of them"),
            (format!("user = \"u\"\n{LEAST}"), "user \"u\" has no auth_password_file"),
            (format!("{community}auth_password_file = \"a\"\n{LEAST}"), "passwords need a user"),
            (format!("{community}community = \"public\"\n{LEAST}"), "unknown field `community`"),
            (format!("{community}auth = \"md5\"\n{LEAST}"), "unknown variant `md5`"),
            (format!("{community}retries = 6\n{LEAST}"), "`retries`: at most 5"),
            (format!("{community}{}", LEAST.replace("apc-rpdu2", "apc")), "there is no profile"),
            (format!("{community}{}", LEAST.replace("isb/a", "isb a")), "meter \"isb a\": "),
            (format!("{community}{}", LEAST.replace("11 kW", "0 W")), "must be above zero"),
            (format!("{community}{}", LEAST.replace("11 kW", "11")), "bare number"),
            (
                format!("{community}{}", LEAST.replace("power_max", "at = \"outlet\", power_max")),
                "meter \"isb/a\": which outlet it is, is missing",
            ),
            (
                "address = \"a\"\nprofile = \"ups-mib\"\ncommunity_file = \"c\"\nmeters = []\n"
                    .to_owned(),
                "it has no meters",
            ),
        ] {
            let refused = checked(&text).expect_err(expected);
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
