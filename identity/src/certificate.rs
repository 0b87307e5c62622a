//! What a certificate says, as far as it matters here.
//!
//! Reading is not believing: nothing here checks a signature.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use bijli_wire::UtcMillis;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::name::{Holder, NameError};

/// SHA-256 of a public key in its DER form (SPKI): what stays the same when a certificate is
/// renewed for the same key, and what a deny list names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    #[must_use]
    pub fn of(public_key_der: &[u8]) -> Self {
        Self(Sha256::digest(public_key_der).into())
    }

    /// From 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        bytes_of_hex(text).map(Self)
    }
}

/// 32 bytes from 64 hexadecimal digits.
pub(crate) fn bytes_of_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a certificate cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("it is no X.509 certificate: {reason}")]
    Malformed { reason: String },
    #[error("it has {count} URIs as names, and one is wanted")]
    ManyNames { count: usize },
    #[error("its name is not of this system")]
    Name(#[source] NameError),
}

/// The facts of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// By its one URI; `None`: it has none, as a collector's.
    pub holder: Option<Holder>,
    /// DNS names and addresses, as a collector's certificate has them.
    pub hosts: Vec<String>,
    /// Hexadecimal.
    pub serial: String,
    pub key: KeyHash,
    pub not_before: UtcMillis,
    pub not_after: UtcMillis,
    /// It may sign others.
    pub is_authority: bool,
}

impl Certificate {
    /// Reads the DER form.
    ///
    /// # Errors
    /// When it is malformed, or is called by a URI that is no name of this system.
    pub fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let parsed = parsed(der)?;
        let names = parsed.subject_alternative_name();
        let names = names.map_err(malformed)?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        Ok(Self {
            holder: holder(names)?,
            hosts: names.iter().filter_map(host).collect(),
            serial: parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
            key: KeyHash::of(parsed.public_key().raw),
            not_before: millis(parsed.validity().not_before.timestamp()),
            not_after: millis(parsed.validity().not_after.timestamp()),
            is_authority: parsed.is_ca(),
        })
    }

    /// The first moment of a certificate of others, whose names are none of this system.
    ///
    /// # Errors
    /// When it is malformed.
    pub(crate) fn not_before(der: &[u8]) -> Result<UtcMillis, CertificateError> {
        Ok(millis(parsed(der)?.validity().not_before.timestamp()))
    }

    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn first_of_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let der = CertificateDer::from_pem_slice(pem);
        Self::read(&der.map_err(malformed)?)
    }

    /// How long it is valid from `now` on; `None`: it is over.
    #[must_use]
    pub fn left(&self, now: UtcMillis) -> Option<bijli_wire::Millis> {
        self.not_after.since(now)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it")]
fn malformed(error: impl ToString) -> CertificateError {
    CertificateError::Malformed { reason: error.to_string() }
}

fn parsed(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    let (rest, parsed) = X509Certificate::from_der(der).map_err(malformed)?;
    if rest.is_empty() { Ok(parsed) } else { Err(malformed("bytes follow it")) }
}

fn millis(seconds: i64) -> UtcMillis {
    UtcMillis::new(seconds.saturating_mul(1_000))
}

/// A certificate of a stranger may have any URI; ours has one, and it is a name of ours.
fn holder(names: &[GeneralName<'_>]) -> Result<Option<Holder>, CertificateError> {
    let uris: Vec<&str> = names
        .iter()
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
        .collect();
    match uris.as_slice() {
        [] => Ok(None),
        [uri] => Ok(Some(uri.parse().map_err(CertificateError::Name)?)),
        several => Err(CertificateError::ManyNames { count: several.len() }),
    }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some((*name).to_owned());
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    let bytes: &[u8] = bytes;
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).to_string());
    let sixteen = <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).to_string());
    four.or(sixteen).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Authority, DAY, NOW};

    #[test]
    fn a_certificate_is_read_as_it_was_made() {
        let authority = Authority::new("isb");
        let made = authority.node("isb", "rack1/n01", DAY);
        let read = Certificate::read(&made.der).expect("readable");
        assert_eq!(
            read.holder.as_ref().map(ToString::to_string).as_deref(),
            Some("spiffe://bijli/hub/isb/node/rack1%2Fn01")
        );
        assert_eq!((read.not_before, read.is_authority), (NOW, false));
        assert_eq!(read.left(NOW), Some(DAY));
        assert_eq!(read.left(NOW.plus(DAY).and_then(|at| at.plus(DAY)).expect("later")), None);
        let server = authority.server(&["c.example", "10.0.0.5", "::1"], DAY);
        let read = Certificate::read(&server.der).expect("readable");
        assert_eq!((read.hosts.join(" ").as_str(), read.holder), ("c.example 10.0.0.5 ::1", None));
        assert!(Certificate::read(&authority.der).expect("readable").is_authority);
    }

    #[test]
    fn a_key_hash_is_read_back_and_nothing_else_is() {
        let hash = KeyHash::of(b"key");
        assert_eq!(KeyHash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(KeyHash::from_hex(&hash.to_string().to_uppercase()), Some(hash));
        for text in ["", "00", &"g".repeat(64), &"+1".repeat(32), &"0".repeat(65)] {
            assert_eq!(KeyHash::from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn x6_two_names_or_a_foreign_one_are_refused() {
        let authority = Authority::new("isb");
        let of = |uris: &[&str]| Certificate::read(&authority.called(uris, DAY).der);
        let ours = "spiffe://bijli/hub/isb/node/a";
        assert!(of(&[ours]).is_ok());
        assert_eq!(
            of(&[ours, "spiffe://bijli/hub/isb/node/b"]),
            Err(CertificateError::ManyNames { count: 2 })
        );
        assert!(matches!(of(&["spiffe://x/hub/isb/node/a"]), Err(CertificateError::Name(_))));
    }

    proptest! {
        #[test]
        fn x12_no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _read = Certificate::read(&bytes);
        }

        /// Goal: a certificate with flipped bytes is another one or none, and never a panic.
        #[test]
        fn x12_no_damage_makes_it_panic(
            flips in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..6),
        ) {
            let mut der = crate::testing::sample().to_vec();
            for (at, with) in flips {
                let at = usize::from(at) % der.len();
                der[at] ^= with;
            }
            let _read = Certificate::read(&der);
        }
    }
}
