//! Certificates made for a test, and a handshake in memory: no socket, and both clocks given.
#![expect(clippy::disallowed_methods, reason = "a test's own files in its own folder")]

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bijli_wire::{Millis, UtcMillis};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConnection, ServerConnection};

use crate::client::Learned;
use crate::server::Proven;
use crate::{Files, client, server};

pub(crate) const DAY: Millis = Millis::new(86_400_000);
pub(crate) const NOW: UtcMillis = UtcMillis::new(1_800_000_000_000);

/// `days` after [`NOW`].
pub(crate) fn later(days: u64) -> UtcMillis {
    NOW.plus(Millis::new(DAY.get() * days)).expect("in range")
}

/// A certificate and its key.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
    pub(crate) key: String,
}

pub(crate) struct Authority {
    pub(crate) der: Vec<u8>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

fn valid(params: &mut CertificateParams, valid_for: Millis) {
    let from = SystemTime::UNIX_EPOCH + Duration::from_millis(NOW.get().unsigned_abs());
    params.not_before = from.into();
    params.not_after = (from + Duration::from_millis(valid_for.get())).into();
}

impl Authority {
    pub(crate) fn new(hub: &str) -> Self {
        Self::with(vec![uri(&format!("spiffe://bijli/hub/{hub}"))])
    }

    /// Of some site's own PKI.
    pub(crate) fn nameless() -> Self {
        Self::with(Vec::new())
    }

    fn with(names: Vec<SanType>) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names = names;
        let key = KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("signed");
        let (der, pem) = (made.der().to_vec(), made.pem());
        Self { der, pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn pem(&self) -> String {
        self.pem.clone()
    }

    fn made(
        &self,
        names: Vec<SanType>,
        purpose: ExtendedKeyUsagePurpose,
        valid_for: Millis,
    ) -> Made {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![purpose];
        valid(&mut params, valid_for);
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("signed");
        Made { der: made.der().to_vec(), pem: made.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn node(&self, hub: &str, node: &str, valid_for: Millis) -> Made {
        let segment = |id: &str| id.replace('/', "%2F");
        let name = format!("spiffe://bijli/hub/{hub}/node/{}", segment(node));
        self.called(&[&name], valid_for)
    }

    /// A node's certificate that names a host too.
    pub(crate) fn node_at_host(
        &self,
        hub: &str,
        node: &str,
        host: &str,
        valid_for: Millis,
    ) -> Made {
        let host = SanType::DnsName(host.try_into().expect("ASCII"));
        let names = vec![uri(&format!("spiffe://bijli/hub/{hub}/node/{node}")), host];
        self.made(names, ExtendedKeyUsagePurpose::ClientAuth, valid_for)
    }

    pub(crate) fn called(&self, uris: &[&str], valid_for: Millis) -> Made {
        let names = uris.iter().map(|text| uri(text)).collect();
        self.made(names, ExtendedKeyUsagePurpose::ClientAuth, valid_for)
    }

    pub(crate) fn server(&self, hosts: &[&str], valid_for: Millis) -> Made {
        let names = hosts.iter().map(|host| match host.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*host).try_into().expect("ASCII")),
        });
        self.made(names.collect(), ExtendedKeyUsagePurpose::ServerAuth, valid_for)
    }

    /// The files of one that believes this authority.
    pub(crate) fn folder(&self, made: &Made) -> Folder {
        Folder::with(&self.pem, &made.pem, &made.key)
    }
}

/// As many devices ship: self-signed, calls itself an authority, names nobody.
pub(crate) fn self_signed() -> Made {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("signed");
    Made { der: made.der().to_vec(), pem: made.pem(), key: key.serialize_pem() }
}

/// A certificate to damage.
pub(crate) fn sample() -> &'static [u8] {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    SAMPLE.get_or_init(|| Authority::new("isb").node("isb", "n1", DAY).der)
}

/// Three files of an identity.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn with(ca: &str, certificate: &str, key: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.write("ca.pem", ca);
        folder.write("certificate.pem", certificate);
        folder.write("key.pem", key);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("removed");
    }

    pub(crate) fn files(&self) -> Files {
        Files {
            ca: self.path("ca.pem"),
            certificate: self.path("certificate.pem"),
            key: self.path("key.pem"),
        }
    }
}

#[derive(Debug)]
struct At(UtcMillis);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        let since = Duration::from_millis(self.0.get().unsigned_abs());
        Some(UnixTime::since_unix_epoch(since))
    }
}

/// A node whose clock shows `clock` comes to a collector whose clock shows [`NOW`].
pub(crate) fn handshake(
    node: (&Authority, &Made),
    collector: (&[&Authority], &Made),
    host: &str,
    clock: UtcMillis,
) -> Result<Proven, String> {
    handshake_at(node, collector, host, (clock, NOW))
}

/// The clocks: the node's and the collector's.
pub(crate) fn handshake_at(
    (authority, node): (&Authority, &Made),
    (known, served): (&[&Authority], &Made),
    host: &str,
    (node_clock, collector_clock): (UtcMillis, UtcMillis),
) -> Result<Proven, String> {
    let files = authority.folder(node);
    let all: String = known.iter().map(|authority| authority.pem.as_str()).collect();
    let theirs = Folder::with(&all, &served.pem, &served.key);
    let words = |error: rustls::Error| error.to_string();
    let material = files.files().load().expect("files of the node");
    let mine = client::config(&material, &Arc::<Learned>::default());
    let mut mine = Arc::unwrap_or_clone(mine.map_err(|error| error.to_string())?);
    let material = theirs.files().load().expect("files of the collector");
    let other = server::config(&material).map_err(|error| error.to_string());
    let mut other = Arc::unwrap_or_clone(other?);
    mine.time_provider = Arc::new(At(node_clock));
    other.time_provider = Arc::new(At(collector_clock));
    let host = ServerName::try_from(host.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(mine), host).map_err(words)?;
    let mut server = ServerConnection::new(Arc::new(other)).map_err(words)?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("memory");
        server.read_tls(&mut bytes.as_slice()).expect("memory");
        server.process_new_packets().map_err(words)?;
        bytes.clear();
        server.write_tls(&mut bytes).expect("memory");
        client.read_tls(&mut bytes.as_slice()).expect("memory");
        client.process_new_packets().map_err(words)?;
    }
    let shown = server.peer_certificates().and_then(<[_]>::first).expect("one was demanded");
    Ok(Proven::of(shown).expect("a node"))
}
