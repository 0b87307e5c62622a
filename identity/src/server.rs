//! The collector's side: every connection shows a node's certificate, signed by that node's hub.
//!
//! An X.509 name constraint on URIs could not hold a hub's authority to its hub: it bounds the host
//! part, which is `bijli` for all (RFC 5280, 4.2.1.10). So the authority carries its hub as its
//! own name, and is asked about nodes of that hub only. One without such a name (of a
//! site's own PKI) is asked about all: its operator keeps the hubs apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use bijli_wire::{HubId, UtcMillis};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};

use crate::certificate::{Certificate, KeyHash};
use crate::client::foreign;
use crate::{Holder, IdentityError, Material, NodeName, provider};

/// Who is at the other end of a connection, proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    pub name: NodeName,
    pub key: KeyHash,
    pub serial: String,
    /// A connection does not outlive the certificate that it began with.
    pub not_after: UtcMillis,
}

impl Proven {
    /// From the certificate that the handshake has verified.
    #[must_use]
    pub fn of(verified: &CertificateDer<'_>) -> Option<Self> {
        let Certificate { holder, key, serial, not_after, .. } =
            Certificate::read(verified).ok()?;
        if let Some(Holder::Node(name)) = holder {
            return Some(Self { name, key, serial, not_after });
        }
        None
    }
}

/// TLS for a collector with these files.
///
/// # Errors
/// When no agent could believe them, as far as can be told here.
pub fn config(material: &Material) -> Result<Arc<ServerConfig>, IdentityError> {
    if material.own.hosts.is_empty() {
        return Err(IdentityError::NoHost { certificate: material.files.certificate.clone() });
    }
    let tls = |reason: String| IdentityError::Tls { reason };
    let verifier = Arc::new(Verifier::new(material)?);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| tls(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(material.chain.clone(), material.key.clone_key())
        .map_err(|error| tls(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Every connection proves itself anew: nothing outlives a certificate.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// webpki's verdict, by the authorities of the node's own hub.
#[derive(Debug)]
struct Verifier {
    hubs: BTreeMap<HubId, Arc<dyn ClientCertVerifier>>,
    /// Authorities that name no hub; `None`: there are none.
    others: Option<Arc<dyn ClientCertVerifier>>,
    hints: Vec<DistinguishedName>,
    /// Any of the above: how signatures are checked does not depend on the authority.
    first: Arc<dyn ClientCertVerifier>,
}

impl Verifier {
    fn new(material: &Material) -> Result<Self, IdentityError> {
        let all = material.roots(|_| true)?;
        let hints = all.subjects();
        let first = of_roots(all)?;
        let mut hubs = BTreeMap::new();
        let mut others = None;
        for authority in &material.authorities {
            let holder = &authority.facts.holder;
            match holder {
                Some(Holder::Hub(hub)) if !hubs.contains_key(hub) => {
                    let roots = material.roots(|facts| facts.holder == *holder)?;
                    hubs.insert(hub.clone(), of_roots(roots)?);
                }
                None if others.is_none() => {
                    others = Some(of_roots(material.roots(|facts| facts.holder.is_none())?)?);
                }
                Some(Holder::Hub(_) | Holder::Node(_)) | None => {}
            }
        }
        Ok(Self { hubs, others, hints, first })
    }
}

fn of_roots(roots: rustls::RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, IdentityError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| IdentityError::Tls { reason: error.to_string() })
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let facts = Certificate::read(end_entity).map_err(foreign)?;
        let Some(Holder::Node(name)) = facts.holder else {
            return Err(Error::InvalidCertificate(CertificateError::NotValidForName));
        };
        let mut verdict = Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        for verifier in self.hubs.get(&name.hub).into_iter().chain(&self.others) {
            verdict = verifier.verify_client_cert(end_entity, intermediates, now);
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    /// Never called: TLS 1.2 is not spoken.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.first.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.first.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.first.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Authority, DAY, NOW, handshake_at, later};

    /// What the collector says of a node that comes when both clocks show `now`.
    fn taken(
        node: (&Authority, &crate::testing::Made),
        known: &[&Authority],
        now: bijli_wire::UtcMillis,
    ) -> Result<Proven, String> {
        let server = node.0.server(&["c.example"], bijli_wire::Millis::new(DAY.get() * 99));
        handshake_at(node, (known, &server), "c.example", (now, now))
    }

    #[test]
    fn x1_an_authority_vouches_for_its_own_hub_only() {
        let (isb, lhe) = (Authority::new("isb"), Authority::new("lhe"));
        let honest = isb.node("isb", "n1", DAY);
        assert!(taken((&isb, &honest), &[&isb, &lhe], NOW).is_ok());
        // Islamabad's authority signs a node of Lahore; the collector knows both authorities.
        let posing = isb.node("lhe", "n1", DAY);
        let refused = taken((&isb, &posing), &[&isb, &lhe], NOW).expect_err("another hub");
        assert!(refused.starts_with("invalid peer certificate"), "{refused}");
        let pki = Authority::nameless();
        let node = pki.node("lhe", "n1", DAY);
        assert!(taken((&pki, &node), &[&isb, &pki], NOW).is_ok());
        assert!(taken((&pki, &node), &[&isb, &lhe], NOW).is_err());
    }

    #[test]
    fn an_expired_node_and_one_of_the_future_are_refused() {
        let isb = Authority::new("isb");
        let node = isb.node("isb", "n1", DAY);
        let expired = taken((&isb, &node), &[&isb], later(2)).expect_err("expired");
        assert!(expired.contains("expired"), "{expired}");
        let early = taken((&isb, &node), &[&isb], bijli_wire::UtcMillis::new(0));
        assert!(early.expect_err("early").contains("not valid yet"));
    }

    #[test]
    fn while_an_authority_is_replaced_both_are_believed() {
        let (old, new) = (Authority::new("isb"), Authority::new("isb"));
        for authority in [&old, &new] {
            let node = authority.node("isb", "n1", DAY);
            assert!(taken((authority, &node), &[&old, &new], NOW).is_ok());
        }
    }

    #[test]
    fn a_nameless_certificate_is_no_node() {
        let isb = Authority::new("isb");
        let nobody = isb.called(&[], DAY);
        assert!(taken((&isb, &nobody), &[&isb], NOW).is_err());
    }
}
