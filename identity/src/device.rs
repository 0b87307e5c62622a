//! A device that others made, such as a meter: it is believed for the certificate that was pinned,
//! or for the authority that signed it, and is shown a certificate of ours where it wants one.
//!
//! # Invariants
//! - A pinned certificate is that one, byte for byte (or by the SHA-256 of its bytes). Its dates,
//!   names and uses are not asked: makers ship certificates that are self-signed, call themselves
//!   an authority, name nobody, and are over. The handshake must be signed by its key all the same:
//!   a copy of the certificate proves nothing.
//! - TLS 1.3; 1.2 with a device that has no other, as most of today's. The handshake itself shows
//!   a tampering that would talk both ends down.
//! - Files are read for each connection: new ones need no restart.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bijli_wire::UtcMillis;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    Error, OtherError, ProtocolVersion, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};

use crate::certificate::{Certificate, bytes_of_hex};
use crate::client::{Shown, foreign, unix};
use crate::{disk, provider};

/// SHA-256 of a whole certificate in its DER form, as `openssl x509 -fingerprint` shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// From 64 hexadecimal digits, with or without colons between the bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        bytes_of_hex(&text.replace(':', "")).map(Self)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a device's certificate is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is the one in this PEM file.
    Pinned(PathBuf),
    /// It has this fingerprint.
    PinnedSha256(Fingerprint),
    /// An authority in this PEM file signed it, for the name under which it is asked.
    Authorities(PathBuf),
}

/// Whom to believe and, where the device wants to know, who we are: certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub trust: Trust,
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Why there can be no TLS with a device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is no PEM file of {what}: {reason}", path = path.display())]
    Pem { path: PathBuf, what: &'static str, reason: String },
    #[error("{key} is not the key of {certificate}", key = key.display(), certificate = certificate.display())]
    KeyDiffers { certificate: PathBuf, key: PathBuf },
    #[error("TLS refuses the files: {reason}")]
    Tls { reason: String },
}

impl Device {
    /// TLS for a connection to it, from the files as they are now.
    ///
    /// # Errors
    /// Says which file is wrong.
    pub fn client(&self) -> Result<Arc<ClientConfig>, DeviceError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(tls)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier()?);
        let mut config = match &self.own {
            Some((certificate, key)) => {
                builder.with_client_cert_resolver(Arc::new(Shown(certified(certificate, key)?)))
            }
            None => builder.with_no_client_auth(),
        };
        // Every connection proves itself anew: a certificate that was replaced is not resumed.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, DeviceError> {
        let pinned = match &self.trust {
            Trust::Authorities(path) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path)? {
                    roots.add(authority).map_err(tls)?;
                }
                let roots = Arc::new(roots);
                let inner = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
                return Ok(Arc::new(Signed(inner.map_err(tls)?)));
            }
            Trust::Pinned(path) => certificates(path)?.first().map(|der| Fingerprint::of(der)),
            Trust::PinnedSha256(pinned) => Some(*pinned),
        };
        let none = || DeviceError::Tls { reason: "no certificate is pinned".to_owned() };
        Ok(Arc::new(Pinned(pinned.ok_or_else(none)?)))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it")]
fn tls(error: impl ToString) -> DeviceError {
    DeviceError::Tls { reason: error.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, DeviceError> {
    disk::read(path).map_err(|source| DeviceError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DeviceError> {
    let bytes = read(path)?;
    let wrong = |reason: String| {
        let what = "certificates";
        DeviceError::Pem { path: path.to_owned(), what, reason }
    };
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("it holds none".to_owned())) } else { Ok(found) }
}

fn certified(certificate: &Path, key: &Path) -> Result<CertifiedKey, DeviceError> {
    let chain = certificates(certificate)?;
    let der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| DeviceError::Pem {
        path: key.to_owned(),
        what: "a private key",
        reason: error.to_string(),
    })?;
    match CertifiedKey::from_der(chain, der, &provider()) {
        Ok(certified) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => {
            let (certificate, key) = (certificate.to_owned(), key.to_owned());
            Err(DeviceError::KeyDiffers { certificate, key })
        }
        Err(error) => Err(tls(error)),
    }
}

/// Another certificate than the pinned one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "it shows another certificate than the pinned one: sha256 {shown}, and pinned is {pinned}; if it \
     was renewed, compare with the device itself and pin the new one"
)]
struct NotPinned {
    shown: Fingerprint,
    pinned: Fingerprint,
}

/// The pinned certificate, and nothing else.
#[derive(Debug)]
struct Pinned(Fingerprint);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (shown, pinned) = (Fingerprint::of(end_entity), self.0);
        if shown == pinned {
            return Ok(ServerCertVerified::assertion());
        }
        let other = OtherError(Arc::new(NotPinned { shown, pinned }));
        Err(Error::InvalidCertificate(CertificateError::Other(other)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// webpki's verdict. A certificate proves that its first moment has come, so that a clock which was
/// never set locks no meter out.
#[derive(Debug)]
struct Signed(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Signed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The device's URIs are none of our names: only its dates are asked.
        let from = Certificate::not_before(end_entity).map_err(foreign)?;
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            now.as_secs().max(unix(from.max(UtcMillis::new(0))).as_secs()),
        ));
        self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Who is at the other end, after the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub version: &'static str,
    pub certificate: Fingerprint,
}

impl Peer {
    /// `None` before the end of the handshake.
    #[must_use]
    pub fn of(connection: &ClientConnection) -> Option<Self> {
        let is_newest = connection.protocol_version()? == ProtocolVersion::TLSv1_3;
        let version = if is_newest { "TLS 1.3" } else { "TLS 1.2" };
        let certificate = Fingerprint::of(connection.peer_certificates()?.first()?);
        Some(Self { version, certificate })
    }
}

/// Why there is no connection, in words.
#[must_use]
pub fn io_words(error: &io::Error) -> String {
    match (refusal(error), error.kind() == io::ErrorKind::ConnectionRefused) {
        (Some(refusal), _) => refusal.words,
        (None, true) => "connection refused".to_owned(),
        (None, false) => error.to_string(),
    }
}

/// The same of an error that may stand over one of the connection.
#[must_use]
pub fn words(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(error) => io_words(error),
        None => error.to_string(),
    }
}

/// What TLS has against the other end, in words; `None`: it is not TLS that failed.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "not our enums")]
pub fn refusal(error: &io::Error) -> Option<Refusal> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let (is_untrusted, words) = match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            match other.0.downcast_ref::<NotPinned>() {
                Some(other) => (true, other.to_string()),
                None => (true, format!("its certificate is not believed: {}", told(&other.0))),
            }
        }
        Error::InvalidCertificate(why) => (true, format!("its certificate is not believed: {why}")),
        Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate,
        ) => (false, format!("{WANTS_ONE} and was shown none")),
        Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            (false, format!("it breaks the handshake off: no common cipher, or {WANTS_ONE}"))
        }
        Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied),
        ) => (false, format!("it does not take our certificate ({alert:?})")),
        Error::InvalidMessage(_) => (false, format!("it does not speak TLS there: {error}")),
        Error::PeerIncompatible(_) | Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            (false, format!("it has neither TLS 1.3 nor a TLS 1.2 that is still safe: {error}"))
        }
        _ => (false, format!("TLS: {error}")),
    };
    Some(Refusal { is_untrusted, words })
}

const WANTS_ONE: &str = "it wants a certificate of ours (tls: certificate and key)";

fn told(error: &Arc<dyn std::error::Error + Send + Sync>) -> String {
    let words = error.to_string();
    match words.contains("CaUsedAsEndEntity") {
        true => "it is an authority's own: pin it (`pinned`) instead of naming it as `ca`".into(),
        false => words,
    }
}

/// Why there is no TLS with the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// It is somebody else, or nobody vouches for it.
    pub is_untrusted: bool,
    pub words: String,
}

#[cfg(test)]
mod tests {
    use rustls::server::WebPkiClientVerifier;
    use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion};

    use super::*;
    use crate::testing::{Authority, DAY, Folder, Made, self_signed};

    /// A device with this certificate, and a client that trusts as `trust` says.
    fn meet(
        device: &Made,
        versions: &[&'static SupportedProtocolVersion],
        wants: Option<&Authority>,
        client: &Device,
    ) -> Result<Peer, Refusal> {
        let chain = vec![CertificateDer::from(device.der.clone())];
        let key = PrivateKeyDer::from_pem_slice(device.key.as_bytes()).expect("a key");
        let builder =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions);
        let builder = builder.expect("versions");
        let builder = match wants {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from(authority.der.clone())).expect("a root");
                let roots = Arc::new(roots);
                let wants = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
                builder.with_client_cert_verifier(wants.expect("a verifier"))
            }
            None => builder.with_no_client_auth(),
        };
        // As it comes: rustls itself would refuse to serve some certificates that devices have.
        let mut server =
            ServerConnection::new(Arc::new(builder.with_single_cert(chain, key).expect("its key")))
                .expect("a server");
        let name = ServerName::try_from("meter.isb").expect("a name");
        let mut client = ClientConnection::new(client.client().expect("files"), name).expect("one");
        let failed = |error: Error| {
            refusal(&io::Error::new(io::ErrorKind::InvalidData, error)).expect("of TLS")
        };
        for _ in 0..4 {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).expect("memory");
            server.read_tls(&mut bytes.as_slice()).expect("memory");
            // What the server has against the client, it tells the client.
            let _told = server.process_new_packets();
            bytes.clear();
            server.write_tls(&mut bytes).expect("memory");
            client.read_tls(&mut bytes.as_slice()).expect("memory");
            client.process_new_packets().map_err(failed)?;
        }
        Ok(Peer::of(&client).expect("shaken hands"))
    }

    fn pinning(made: &Made) -> Device {
        Device { trust: Trust::PinnedSha256(Fingerprint::of(&made.der)), own: None }
    }

    #[test]
    fn a_pinned_certificate_is_believed_whatever_it_says_of_itself() {
        let (mine, other) = (self_signed(), self_signed());
        let peer = meet(&mine, &[&TLS13, &TLS12], None, &pinning(&mine)).expect("the pinned one");
        assert_eq!(peer, Peer { version: "TLS 1.3", certificate: Fingerprint::of(&mine.der) });
        let old = meet(&mine, &[&TLS12], None, &pinning(&mine)).expect("has no other");
        assert_eq!(old.version, "TLS 1.2");
        let folder = Folder::with(&mine.pem, "", "");
        let by_file = Device { trust: Trust::Pinned(folder.path("ca.pem")), own: None };
        assert!(meet(&mine, &[&TLS13], None, &by_file).is_ok());
        for versions in [&[&TLS13][..], &[&TLS12]] {
            let refused = meet(&other, versions, None, &by_file).expect_err("another one");
            let words = format!(
                "it shows another certificate than the pinned one: sha256 {}, and pinned is {}",
                Fingerprint::of(&other.der),
                Fingerprint::of(&mine.der)
            );
            assert!(refused.is_untrusted && refused.words.starts_with(&words), "{refused:?}");
        }
    }

    /// Goal: a copy of the pinned certificate, which anybody can have, without its key.
    #[test]
    fn a_copied_certificate_without_its_key_is_refused() {
        let (mine, thief) = (self_signed(), self_signed());
        for (version, what) in [(&TLS13, "TLS 1.3"), (&TLS12, "TLS 1.2")] {
            let copy = CertifiedKey::new(
                vec![CertificateDer::from(mine.der.clone())],
                provider()
                    .key_provider
                    .load_private_key(
                        PrivateKeyDer::from_pem_slice(thief.key.as_bytes()).expect("a key"),
                    )
                    .expect("a key"),
            );
            let config = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[version])
                .expect("a version")
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(copy)));
            let mut server = ServerConnection::new(Arc::new(config)).expect("a server");
            let name = ServerName::try_from("meter.isb").expect("a name");
            let config = pinning(&mine).client().expect("a pin");
            let mut client = ClientConnection::new(config, name).expect("one");
            let mut outcome = Ok(());
            for _ in 0..4 {
                let mut bytes = Vec::new();
                client.write_tls(&mut bytes).expect("memory");
                server.read_tls(&mut bytes.as_slice()).expect("memory");
                let _told = server.process_new_packets();
                bytes.clear();
                server.write_tls(&mut bytes).expect("memory");
                client.read_tls(&mut bytes.as_slice()).expect("memory");
                outcome = outcome.and(client.process_new_packets().map(|_| ()));
            }
            let refused = outcome.expect_err(what).to_string();
            assert!(refused.contains("BadSignature"), "{what}: {refused}");
        }
    }

    #[test]
    fn an_authority_vouches_for_the_name_and_not_for_itself() {
        let authority = Authority::nameless();
        let folder = Folder::with(&authority.pem(), "", "");
        let device = Device { trust: Trust::Authorities(folder.path("ca.pem")), own: None };
        // Its first moment is in the future: the clock is taken to be behind.
        let good = authority.server(&["meter.isb"], DAY);
        assert!(meet(&good, &[&TLS13], None, &device).is_ok());
        let other = authority.server(&["other.isb"], DAY);
        let refused = meet(&other, &[&TLS13], None, &device).expect_err("another name");
        assert!(refused.is_untrusted && refused.words.contains("not valid for name"));
        let foreign = Authority::nameless().server(&["meter.isb"], DAY);
        assert!(meet(&foreign, &[&TLS13], None, &device).expect_err("foreign").is_untrusted);
        let own = self_signed();
        folder.write("ca.pem", &own.pem);
        let refused = meet(&own, &[&TLS13], None, &device).expect_err("an authority as a leaf");
        assert!(refused.words.contains("pin it"), "{refused:?}");
    }

    #[test]
    fn a_device_that_wants_a_certificate_and_takes_no_foreign_one_says_so() {
        let (device, authority) = (self_signed(), Authority::nameless());
        let wants = Some(&authority);
        for versions in [&[&TLS13][..], &[&TLS12]] {
            let refused = meet(&device, versions, wants, &pinning(&device)).expect_err("none");
            assert!(refused.words.contains("it wants a certificate of ours"), "{refused:?}");
            assert!(!refused.is_untrusted);
            let shown = |made: &Made| {
                let folder = Folder::with("", &made.pem, &made.key);
                let own = Some((folder.path("certificate.pem"), folder.path("key.pem")));
                (Device { own, ..pinning(&device) }, folder)
            };
            let (foreign, _files) = shown(&Authority::nameless().called(&[], DAY));
            let refused = meet(&device, versions, wants, &foreign).expect_err("foreign");
            assert!(refused.words.starts_with("it does not take our certificate"), "{refused:?}");
        }
    }

    #[test]
    fn wrong_files_are_told_by_name() {
        let (mine, other) = (self_signed(), self_signed());
        let folder = Folder::with(&mine.pem, &mine.pem, &other.key);
        let own = Some((folder.path("certificate.pem"), folder.path("key.pem")));
        let trust = Trust::Pinned(folder.path("ca.pem"));
        let refused = |device: Device| device.client().expect_err("wrong files").to_string();
        let differs = refused(Device { trust: trust.clone(), own });
        assert!(differs.contains("key.pem is not the key of"), "{differs}");
        folder.write("ca.pem", "nothing");
        assert!(refused(Device { trust, own: None }).ends_with("certificates: it holds none"));
        let trust = Trust::Authorities(folder.path("nowhere.pem"));
        assert!(refused(Device { trust, own: None }).contains("nowhere.pem"));
    }

    #[test]
    fn fingerprints_are_read_as_openssl_prints_them() {
        let print = Fingerprint::of(b"der");
        let text = print.to_string().to_uppercase();
        let pairs: Vec<&str> = (0..32).map(|at| &text[2 * at..2 * at + 2]).collect();
        assert_eq!(Fingerprint::parse(&pairs.join(":")), Some(print));
        assert_eq!(Fingerprint::parse(&text), Some(print));
        for wrong in ["", "AB:CD", &"g".repeat(64)] {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
    }
}
