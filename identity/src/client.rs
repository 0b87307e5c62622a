//! An agent's side: it shows its certificate, and believes a collector that its authorities signed
//! for the host it asked for, at a moment that its own clock cannot spoil ([`crate::moment`]).

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bijli_wire::UtcMillis;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};

use crate::certificate::Certificate;
use crate::moment::{Window, judged_at};
use crate::{Holder, IdentityError, Material, NodeName, provider};

/// What an agent learned of its collector's certificates; lives as long as the agent.
#[derive(Debug, Default)]
pub struct Learned {
    /// Milliseconds: the latest first moment of a certificate that was found good.
    proven: AtomicI64,
    last: RwLock<Option<Arc<Certificate>>>,
}

impl Learned {
    fn proven(&self) -> UtcMillis {
        UtcMillis::new(self.proven.load(Ordering::Relaxed))
    }

    fn saw(&self, good: Certificate) {
        self.proven.fetch_max(good.not_before.get(), Ordering::Relaxed);
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(good));
    }

    /// The collector's certificate that was last found good.
    #[must_use]
    pub fn last(&self) -> Option<Arc<Certificate>> {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The node that these files make one.
///
/// # Errors
/// When the certificate names no node.
pub fn node(material: &Material) -> Result<&NodeName, IdentityError> {
    if let Some(Holder::Node(name)) = &material.own.holder {
        return Ok(name);
    }
    Err(IdentityError::NoNode { certificate: material.files.certificate.clone() })
}

/// TLS for an agent with these files.
///
/// # Errors
/// When the collector would refuse them, as far as can be told here.
pub fn config(
    material: &Material,
    learned: &Arc<Learned>,
) -> Result<Arc<ClientConfig>, IdentityError> {
    node(material)?;
    would_be_taken(material)?;
    let tls = |reason: String| IdentityError::Tls { reason };
    let roots = Arc::new(material.roots(|_| true)?);
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
    let verifier = Verifier {
        inner: inner.map_err(|error| tls(error.to_string()))?,
        own: Window::of(&material.own),
        learned: Arc::clone(learned),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = builder.with_client_cert_resolver(Arc::new(Shown(material.certified()?)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Every connection proves itself anew: a certificate that was replaced is not resumed.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Whether one of our authorities signed us, as a client. (Not when: see [`crate::moment`].)
fn would_be_taken(material: &Material) -> Result<(), IdentityError> {
    let Some((own, between)) = material.chain.split_first() else { return Ok(()) };
    let tls = |reason: String| IdentityError::Tls { reason };
    let roots = Arc::new(material.roots(|_| true)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
    let verifier = verifier.map_err(|error| tls(error.to_string()))?;
    match verifier.verify_client_cert(own, between, unix(material.own.not_before)) {
        Ok(_) => Ok(()),
        Err(Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => Err(IdentityError::NotSigned {
            certificate: material.files.certificate.clone(),
            ca: material.files.ca.clone(),
        }),
        Err(error) => Err(tls(error.to_string())),
    }
}

pub(crate) fn unix(at: UtcMillis) -> UnixTime {
    let seconds = u64::try_from(at.get().max(0) / 1_000).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

fn millis(at: UnixTime) -> UtcMillis {
    UtcMillis::new(i64::try_from(at.as_secs()).unwrap_or(i64::MAX).saturating_mul(1_000))
}

/// Shows the certificate to whoever asks: which authorities he names does not matter.
#[derive(Debug)]
pub(crate) struct Shown(pub(crate) CertifiedKey);

impl rustls::client::ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let CertifiedKey { cert, key, ocsp } = &self.0;
        Some(Arc::new(CertifiedKey {
            cert: cert.clone(),
            key: Arc::clone(key),
            ocsp: ocsp.clone(),
        }))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// webpki's verdict, at a moment of our choice.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    own: Window,
    learned: Arc<Learned>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let facts = Certificate::read(end_entity).map_err(foreign)?;
        let theirs = Window::of(&facts);
        let at = judged_at(millis(now), self.own, theirs, self.learned.proven());
        let verdict = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            unix(at),
        )?;
        self.learned.saw(facts);
        Ok(verdict)
    }

    /// Never called: TLS 1.2 is not spoken.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

pub(crate) fn foreign(error: crate::certificate::CertificateError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Authority, DAY, NOW, handshake, later};

    #[test]
    fn a_node_and_its_collector_believe_each_other() {
        let authority = Authority::new("isb");
        let node = authority.node("isb", "n1", DAY);
        let server = authority.server(&["c.example"], DAY);
        let peer = handshake((&authority, &node), (&[&authority], &server), "c.example", NOW);
        assert_eq!(peer.expect("taken").name.node.as_str(), "n1");
    }

    #[test]
    fn n8_another_host_or_another_authority_is_refused() {
        let (authority, foreign) = (Authority::new("isb"), Authority::new("isb"));
        let node = authority.node("isb", "n1", DAY);
        let server = authority.server(&["c.example"], DAY);
        let other = handshake((&authority, &node), (&[&authority], &server), "d.example", NOW);
        assert!(other.expect_err("another host").contains("not valid for name"));
        let captive = foreign.server(&["c.example"], DAY);
        let other = handshake((&authority, &node), (&[&authority], &captive), "c.example", NOW);
        let refused = other.expect_err("another authority");
        assert!(refused.starts_with("invalid peer certificate"), "{refused}");
    }

    /// Goal: a node's key does not make one a collector, nor a collector's key a node.
    #[test]
    fn x3_a_nodes_certificate_serves_nobody_and_a_collectors_sends_nothing() {
        let authority = Authority::new("isb");
        let node = authority.node("isb", "n1", DAY);
        let server = authority.server(&["c.example"], DAY);
        let as_server = authority.node_at_host("isb", "n2", "c.example", DAY);
        let posing = handshake((&authority, &node), (&[&authority], &as_server), "c.example", NOW);
        assert!(posing.expect_err("no server").contains("usage"));
        let files = authority.folder(&server);
        let refused = config(&files.files().load().expect("files"), &Arc::default());
        assert!(matches!(refused, Err(IdentityError::NoNode { .. })));
    }

    #[test]
    fn k6_a_wrong_clock_locks_no_node_out() {
        let authority = Authority::new("isb");
        let node = authority.node("isb", "n1", DAY);
        let server = authority.server(&["c.example"], DAY);
        for clock in [UtcMillis::new(0), NOW, later(400)] {
            let peer = handshake((&authority, &node), (&[&authority], &server), "c.example", clock);
            assert!(peer.is_ok(), "{clock:?}: {peer:?}");
        }
    }

    #[test]
    fn an_expired_collector_is_refused_by_a_node_whose_clock_is_plausible() {
        let authority = Authority::new("isb");
        let node = authority.node("isb", "n1", bijli_wire::Millis::new(DAY.get() * 30));
        let server = authority.server(&["c.example"], DAY);
        let peer = handshake((&authority, &node), (&[&authority], &server), "c.example", later(2));
        assert!(peer.expect_err("expired").contains("expired"));
    }

    #[test]
    fn a_certificate_of_another_authority_is_told_before_anything_is_sent() {
        let (authority, other) = (Authority::new("isb"), Authority::new("isb"));
        let files = other.folder(&authority.node("isb", "n1", DAY));
        let refused = config(&files.files().load().expect("files"), &Arc::default());
        let refused = refused.expect_err("not signed").to_string();
        assert!(refused.contains("was not signed by an authority in"), "{refused}");
    }
}
