//! `[[redfish]]` of the configuration.

use std::path::{Path, PathBuf};

use bijli_wire::quantity;
use bijli_wire::{Millis, Milliwatts, SubjectId};
use serde::Deserialize;

use super::survey::Link;
use crate::probe::modbus::tls::TlsConfig;

/// One server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedfishConfig {
    /// The meter's id, unique in the hub: `"isb/n03/server"`.
    pub meter: String,
    /// `"10.0.1.3:443"`; without a port it is 443, or 80 where it is plain.
    pub address: String,
    /// `"1U"`, where the server has more than one.
    pub chassis: Option<String>,
    /// `"ThermalEquipment/CDUs/1"` or `"PowerEquipment/RackPDUs/1"`: a cooling unit or a PDU
    /// instead of a server's chassis.
    pub equipment: Option<String>,
    /// Ids of single sensors of the chassis, each a meter of its own.
    #[serde(default)]
    pub sensors: Vec<String>,
    pub user: Option<String>,
    /// Holds the password and nothing else; it is read at each tick.
    pub password_file: Option<PathBuf>,
    /// Opens one session and ends it at the stop, instead of a password in each request.
    #[serde(default)]
    pub session: bool,
    #[serde(default = "every", deserialize_with = "quantity::de_duration")]
    pub every: Millis,
    /// For all that is asked at a tick. Shorter than `every`.
    #[serde(default = "timeout", deserialize_with = "quantity::de_duration")]
    pub timeout: Millis,
    /// No true reading implies more.
    #[serde(deserialize_with = "quantity::de_power")]
    pub power_max: Milliwatts,
    pub tls: Option<TlsConfig>,
    #[serde(default)]
    pub allow_plain_http: bool,
}

const fn every() -> Millis {
    Millis::new(10_000)
}

const fn timeout() -> Millis {
    Millis::new(8_000)
}

impl RedfishConfig {
    /// Files are relative to the configuration's folder.
    pub fn locate(&mut self, folder: &Path) {
        if let Some(file) = &mut self.password_file {
            *file = folder.join(&*file);
        }
        if let Some(tls) = &mut self.tls {
            tls.locate(folder);
        }
    }

    /// Checks what no type can.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        SubjectId::new(&self.meter).map_err(|error| error.to_string())?;
        if self.timeout == Millis::ZERO || self.timeout >= self.every {
            let Self { timeout, every, .. } = self;
            return Err(format!(
                "`timeout` must be longer than nothing and shorter than `every`; they are {timeout} \
                 and {every}"
            ));
        }
        if self.power_max == Milliwatts::ZERO {
            return Err("`power_max` must be above zero".to_owned());
        }
        if self.user.is_some() != self.password_file.is_some() {
            return Err("write both `user` and `password_file`, or neither".to_owned());
        }
        if self.session && self.user.is_none() {
            return Err("`session` needs `user` and `password_file`".to_owned());
        }
        if !self.session && self.user.as_ref().is_some_and(|user| user.contains(':')) {
            return Err("`user` cannot have a colon in HTTP's basic authentication".to_owned());
        }
        if self.chassis.is_some() && self.chassis_link().is_none() {
            return Err("`chassis`: write its Id, for example \"1U\"".to_owned());
        }
        if self.equipment.is_some() && self.chassis.is_some() {
            return Err("write either `chassis` or `equipment`".to_owned());
        }
        if self.equipment.is_some() && self.equipment_link().is_none() {
            return Err("`equipment`: write its place below ThermalEquipment or PowerEquipment, \
                        for example \"ThermalEquipment/CDUs/1\""
                .to_owned());
        }
        if let Some(sensor) = self.sensors.iter().find(|sensor| !is_id(sensor)) {
            return Err(format!("`sensors`: {sensor:?} is no Id of a sensor"));
        }
        self.place()?;
        match (&self.tls, self.allow_plain_http) {
            (Some(tls), false) => tls.device().map(|_| ()),
            (None, true) => Ok(()),
            _ => Err("write either a [redfish.tls] or `allow_plain_http = true`, by which \
                      password and readings can be read and altered on the way"
                .to_owned()),
        }
    }

    /// Host and port; an IPv6 address has a port only behind brackets.
    pub(super) fn place(&self) -> Result<(String, u16), String> {
        let text = self.address.as_str();
        let is_bare = text.matches(':').count() > 1 && !text.starts_with('[');
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !is_bare && !port.contains(']') => {
                (host, port.parse().map_err(|_| format!("`address` {text:?}: no port"))?)
            }
            Some(_) | None => (text, if self.tls.is_some() { 443 } else { 80 }),
        };
        let host = host.trim_matches(['[', ']']);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:_".contains(&byte);
        match !host.is_empty() && host.bytes().all(is_host) {
            true => Ok((host.to_owned(), port)),
            false => Err(format!("`address` {text:?}: write host:port")),
        }
    }

    pub(super) fn chassis_link(&self) -> Option<Link> {
        let id = self.chassis.as_ref().filter(|id| is_id(id))?;
        Link::new(&format!("/redfish/v1/Chassis/{id}"))
    }

    pub(super) fn equipment_link(&self) -> Option<Link> {
        let place = self.equipment.as_ref()?;
        let steps: Vec<&str> = place.split('/').collect();
        let is_place = matches!(steps.as_slice(),
            ["ThermalEquipment" | "PowerEquipment", kind, id] if is_id(kind) && is_id(id));
        is_place.then(|| Link::new(&format!("/redfish/v1/{place}"))).flatten()
    }

    /// User and password.
    #[expect(clippy::disallowed_methods, reason = "one line of a file that may be renewed")]
    pub(super) fn login(&self) -> Result<Option<(String, String)>, String> {
        let (Some(user), Some(file)) = (&self.user, &self.password_file) else { return Ok(None) };
        let password = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        Ok(Some((user.clone(), password.trim_end_matches(['\r', '\n']).to_owned())))
    }
}

/// Whether it can be one step of an address.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id != ".." && !id.contains(['/', '?', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> RedfishConfig {
        let least = "meter = \"isb/n03\"\npower_max = \"12 kW\"\n";
        let address = if text.contains("address") { "" } else { "address = \"10.0.1.3\"\n" };
        toml::from_str(&format!("{least}{address}{text}")).expect("a configuration")
    }

    #[test]
    fn mistakes_by_table() {
        for (text, words) in [
            ("", "write either a [redfish.tls]"),
            ("allow_plain_http = true\ntls = { pinned = \"a\" }", "write either"),
            ("allow_plain_http = true\nevery = \"5s\"", "shorter than `every`"),
            ("allow_plain_http = true\nuser = \"a\"", "both `user` and"),
            ("user = \"a:b\"\npassword_file = \"p\"", "a colon"),
            ("chassis = \"../x\"", "write its Id"),
            ("session = true", "needs `user`"),
            ("chassis = \"1U\"\nequipment = \"PowerEquipment/RackPDUs/1\"", "either `chassis`"),
            ("equipment = \"RackPDUs/1\"", "write its place"),
            ("equipment = \"ThermalEquipment/CDUs/..\"", "write its place"),
            ("sensors = [\"a/b\"]", "no Id of a sensor"),
            ("address = \"a:b\"", "no port"),
            ("address = \"http://a\"", "no port"),
            ("address = \"a b:80\"", "write host:port"),
            ("tls = {}", "one of pinned"),
        ] {
            assert!(config(text).check().expect_err(text).contains(words), "{text}");
        }
        config("allow_plain_http = true").check().expect("good");
        let cdu = "allow_plain_http = true\nequipment = \"ThermalEquipment/CDUs/1\"";
        config(cdu).check().expect("good");
        config("chassis = \"1U\"\ntls = { pinned = \"a.pem\" }").check().expect("good");
    }

    #[test]
    fn hosts_and_ports() {
        for (address, host, port) in [
            ("10.0.1.3", "10.0.1.3", 80),
            ("bmc.isb:8443", "bmc.isb", 8_443),
            ("fd00::7", "fd00::7", 80),
            ("[fd00::7]:443", "fd00::7", 443),
        ] {
            let config = config(&format!("address = \"{address}\""));
            assert_eq!(config.place(), Ok((host.to_owned(), port)));
        }
    }
}
