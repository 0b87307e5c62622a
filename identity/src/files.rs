//! Three files in PEM make an identity: whom to believe, who one is, and the proof of it.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use crate::certificate::Certificate;
use crate::{IdentityError, disk, provider};

/// Where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Authorities that are believed; while one is being replaced, both.
    pub ca: PathBuf,
    /// One's own, and below it the authorities between it and those of `ca`, if any.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The bytes of the three.
#[derive(Debug)]
pub struct Raw {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// An authority that is believed.
#[derive(Clone, Debug)]
pub struct Authority {
    pub der: CertificateDer<'static>,
    pub facts: Certificate,
}

/// What is in them, and fits together.
#[derive(Debug)]
pub struct Material {
    pub files: Files,
    pub authorities: Vec<Authority>,
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    /// The facts of one's own certificate.
    pub own: Certificate,
}

impl Files {
    /// Reads the bytes.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&self) -> Result<Raw, IdentityError> {
        let read = |path: &Path| {
            disk::read(path).map_err(|source| IdentityError::Read { path: path.to_owned(), source })
        };
        Ok(Raw {
            ca: read(&self.ca)?,
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
        })
    }

    /// Reads and understands them.
    ///
    /// # Errors
    /// Says which file is wrong, and what to do.
    pub fn load(&self) -> Result<Material, IdentityError> {
        Material::of(self, &self.read()?)
    }
}

impl Raw {
    /// Tells one content from another.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut all = Sha256::new();
        for part in [&self.ca, &self.certificate, &self.key] {
            all.update(Sha256::digest(part));
        }
        all.finalize().into()
    }
}

impl Material {
    /// Understands the bytes of `files`.
    ///
    /// # Errors
    /// Says which file is wrong, and what to do.
    pub fn of(files: &Files, raw: &Raw) -> Result<Self, IdentityError> {
        let authorities = certificates(&files.ca, &raw.ca)?;
        let authorities = authorities.into_iter().map(|der| {
            let facts = facts(&files.ca, &der)?;
            if facts.is_authority {
                Ok(Authority { der, facts })
            } else {
                Err(IdentityError::NoAuthority { path: files.ca.clone() })
            }
        });
        let authorities = authorities.collect::<Result<Vec<_>, _>>()?;
        let chain = certificates(&files.certificate, &raw.certificate)?;
        let first = chain.first().ok_or_else(|| IdentityError::Empty {
            path: files.certificate.clone(),
            what: "certificate",
        })?;
        let own = facts(&files.certificate, first)?;
        let key = PrivateKeyDer::from_pem_slice(&raw.key).map_err(|error| IdentityError::Pem {
            path: files.key.clone(),
            what: "a private key",
            reason: error.to_string(),
        })?;
        let material = Self { files: files.clone(), authorities, chain, key, own };
        material.certified().map(|_| material)
    }

    /// The certificate with its key, if it is its key.
    pub(crate) fn certified(&self) -> Result<CertifiedKey, IdentityError> {
        let key = self.key.clone_key();
        match CertifiedKey::from_der(self.chain.clone(), key, &provider()) {
            Ok(certified) => Ok(certified),
            Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::KeyDiffers {
                certificate: self.files.certificate.clone(),
                key: self.files.key.clone(),
            }),
            Err(error) => Err(IdentityError::Tls { reason: error.to_string() }),
        }
    }

    /// The authorities that `wanted` picks, as rustls wants them.
    pub(crate) fn roots(
        &self,
        wanted: impl Fn(&Certificate) -> bool,
    ) -> Result<RootCertStore, IdentityError> {
        let mut roots = RootCertStore::empty();
        for authority in self.authorities.iter().filter(|authority| wanted(&authority.facts)) {
            roots
                .add(authority.der.clone())
                .map_err(|error| IdentityError::Tls { reason: error.to_string() })?;
        }
        Ok(roots)
    }
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found = CertificateDer::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| IdentityError::Pem {
        path: path.to_owned(),
        what: "certificates",
        reason: error.to_string(),
    })?;
    if found.is_empty() {
        return Err(IdentityError::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(found)
}

fn facts(path: &Path, der: &CertificateDer<'_>) -> Result<Certificate, IdentityError> {
    Certificate::read(der)
        .map_err(|source| IdentityError::Certificate { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Authority, DAY, Folder};

    /// Goal: each mistake is told with its file and what to do.
    #[test]
    fn mistakes_by_table() {
        let authority = Authority::new("isb");
        let (mine, other) = (authority.node("isb", "a", DAY), authority.node("isb", "b", DAY));
        let (ca, certificate, key) = (authority.pem(), mine.pem.clone(), mine.key.clone());
        for (ca, certificate, key, expected) in [
            (ca.as_str(), certificate.as_str(), other.key.as_str(), "key.pem is not the key of"),
            (&certificate, &certificate, &key, "ca.pem is no certificate of an authority"),
            ("", &certificate, &key, "ca.pem holds no certificate"),
            (&ca, "", &key, "certificate.pem holds no certificate"),
            (&ca, &certificate, "", "key.pem is no PEM file of a private key"),
            (&ca, "-----BEGIN CERTIFICATE-----\n!\n", &key, "certificate.pem"),
            (&ca, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, "cannot"),
        ] {
            let folder = Folder::with(ca, certificate, key);
            let error = folder.files().load().expect_err(expected).to_string();
            assert!(error.contains(expected), "{expected:?} in {error:?}");
        }
        let folder = Folder::with(&ca, &certificate, &key);
        assert!(folder.files().load().is_ok());
        let missing = Files { key: folder.path("none.pem"), ..folder.files() };
        let error = missing.load().expect_err("missing").to_string();
        assert!(error.contains("none.pem: give the file to the user"), "{error}");
    }
}
