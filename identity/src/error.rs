//! What can be wrong with certificate files, in words that say what to do.

use std::path::PathBuf;

use crate::certificate::CertificateError;
use crate::name::NodeName;

/// Why files make no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot read {path}: give the file to the user this program runs as", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is no PEM file of {what}: {reason}", path = path.display())]
    Pem { path: PathBuf, what: &'static str, reason: String },
    #[error("{path} holds no {what}; `bijli-collector ca` makes one", path = path.display())]
    Empty { path: PathBuf, what: &'static str },
    #[error("the certificate in {path} cannot be used", path = path.display())]
    Certificate { path: PathBuf, source: CertificateError },
    #[error(
        "{path} is no certificate of an authority: name the ca.pem that `bijli-collector ca init` \
         made", path = path.display()
    )]
    NoAuthority { path: PathBuf },
    #[error(
        "{key} is not the key of {certificate}: both must come from one `bijli-collector ca issue`",
        key = key.display(), certificate = certificate.display()
    )]
    KeyDiffers { certificate: PathBuf, key: PathBuf },
    #[error(
        "{certificate} was not signed by an authority in {ca}: the collector would refuse it; \
         issue it by that authority, or name the other ca.pem",
        certificate = certificate.display(), ca = ca.display()
    )]
    NotSigned { certificate: PathBuf, ca: PathBuf },
    #[error(
        "{certificate} names no node, as an agent's must: issue one with \
         `bijli-collector ca issue --node`", certificate = certificate.display()
    )]
    NoNode { certificate: PathBuf },
    #[error(
        "{certificate} is of node {} of hub {}, and this is node {} of hub {}: use the certificate \
         that was issued for it", found.node, found.hub, wanted.node, wanted.hub,
        certificate = certificate.display()
    )]
    OtherNode { certificate: PathBuf, found: Box<NodeName>, wanted: Box<NodeName> },
    #[error(
        "{certificate} names no host, as a collector's must: issue one with \
         `bijli-collector ca issue --server`", certificate = certificate.display()
    )]
    NoHost { certificate: PathBuf },
    #[error("TLS refuses the files: {reason}")]
    Tls { reason: String },
}
