//! `tls` of a meter: Modbus/TCP Security, which is Modbus inside TLS, on port 802.

use std::path::{Path, PathBuf};

use bijli_identity::device::{Device, Fingerprint, Trust};
use serde::Deserialize;

/// Whom to believe, by one of the first three, and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// A PEM file of the meter's own certificate.
    pub pinned: Option<PathBuf>,
    /// The SHA-256 of it, as `openssl x509 -fingerprint -sha256` prints it.
    pub pinned_sha256: Option<String>,
    /// A PEM file of the authorities that sign meters.
    pub ca: Option<PathBuf>,
    /// The name in its certificate, where that is not the host of `address`. With `ca` only.
    pub name: Option<String>,
    /// Ours, for a meter that wants to know who asks.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl TlsConfig {
    /// Paths are relative to the configuration's folder.
    pub fn locate(&mut self, folder: &Path) {
        let paths = [&mut self.pinned, &mut self.ca, &mut self.certificate, &mut self.key];
        for path in paths.into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    /// # Errors
    /// Says what is wrong with it.
    pub(in crate::probe) fn device(&self) -> Result<Device, String> {
        let trust = match (&self.pinned, &self.pinned_sha256, &self.ca) {
            (Some(path), None, None) => Trust::Pinned(path.clone()),
            (None, Some(text), None) => Trust::PinnedSha256(fingerprint(text)?),
            (None, None, Some(path)) => Trust::Authorities(path.clone()),
            _ => {
                return Err("tls: write one of pinned, pinned_sha256 and ca: nothing else says \
                             that it is the meter who answers"
                    .to_owned());
            }
        };
        if self.name.is_some() && self.ca.is_none() {
            return Err("tls: `name` is for `ca`; a pinned certificate needs none".to_owned());
        }
        let own = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => return Err("tls: write both certificate and key, or neither".to_owned()),
        };
        Ok(Device { trust, own })
    }

    /// Why the meter is believed, for people.
    pub(in crate::probe) const fn ground(&self) -> &'static str {
        if self.ca.is_some() { "signed by an authority of `ca`" } else { "as pinned" }
    }
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse(text).ok_or_else(|| {
        format!("tls: pinned_sha256 {text:?} is not 64 hexadecimal digits, colons between or not")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> TlsConfig {
        toml::from_str(text).expect("a table")
    }

    #[test]
    fn one_reason_to_believe_is_wanted_and_a_whole_identity() {
        let print = "ab".repeat(32);
        for (text, refused) in [
            ("", Some("write one of pinned")),
            ("pinned = \"a\"\nca = \"b\"", Some("write one of pinned")),
            ("pinned_sha256 = \"AB:CD\"", Some("not 64 hexadecimal digits")),
            ("pinned = \"a\"\nname = \"b\"", Some("is for `ca`")),
            ("ca = \"a\"\nkey = \"b\"", Some("both certificate and key")),
            ("ca = \"a\"\nname = \"b\"\ncertificate = \"c\"\nkey = \"d\"", None),
            (&format!("pinned_sha256 = \"{print}\""), None),
        ] {
            let outcome = read(text).device();
            match refused {
                Some(words) => assert!(outcome.expect_err(text).contains(words), "{text}"),
                None => assert!(outcome.is_ok(), "{text}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn files_lie_beside_the_configuration() {
        let mut tls = read("pinned = \"meter.pem\"\ncertificate = \"/abs/c.pem\"\nkey = \"k.pem\"");
        tls.locate(Path::new("/etc/bijli"));
        assert_eq!(tls.pinned.as_deref(), Some(Path::new("/etc/bijli/meter.pem")));
        assert_eq!(tls.certificate.as_deref(), Some(Path::new("/abs/c.pem")));
    }
}
