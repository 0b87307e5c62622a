//! Keys and certificates in memory. The only user of `rcgen`.

use std::time::{Duration, SystemTime};

use bijli_identity::{Certificate, Holder, NodeName};
use bijli_wire::{HubId, UtcMillis};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};

use super::CaError;

/// PEM texts.
#[derive(Debug)]
pub(super) struct Pems {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Who gets a certificate, completely named.
#[derive(Debug)]
pub(super) enum Who {
    Node(NodeName),
    Server(Vec<String>),
}

/// From when until when.
type Span = (UtcMillis, UtcMillis);

pub(super) fn authority(hub: &HubId, span: Span) -> Result<Pems, CaError> {
    let key = KeyPair::generate()?;
    let mut params = params(&format!("bijli hub {hub}"), span)?;
    // It signs nodes and collectors, and no further authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![uri(&Holder::Hub(hub.clone()))?];
    let certificate = params.self_signed(&key)?.pem();
    Ok(Pems { certificate, key: key.serialize_pem() })
}

pub(super) fn certificate(
    (ca, ca_key): (&str, &str),
    who: &Who,
    old_key: Option<&str>,
    span: Span,
) -> Result<Pems, CaError> {
    let issuer = Issuer::from_ca_cert_pem(ca, KeyPair::from_pem(ca_key)?)?;
    let key = match old_key {
        Some(pem) => KeyPair::from_pem(pem)?,
        None => KeyPair::generate()?,
    };
    let mut params = match who {
        Who::Node(name) => {
            let mut params = params(&format!("bijli node {}", name.node), span)?;
            params.subject_alt_names = vec![uri(&Holder::Node(name.clone()))?];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params
        }
        Who::Server(hosts) => {
            let mut params = params("bijli collector", span)?;
            let names = hosts.iter().map(|name| host(name));
            params.subject_alt_names = names.collect::<Result<_, _>>()?;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params
        }
    };
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer)?.pem();
    Ok(Pems { certificate, key: key.serialize_pem() })
}

/// What the first certificate of a PEM text says; `None`: there is none.
pub(super) fn facts(pem: &str) -> Option<Certificate> {
    Certificate::first_of_pem(pem.as_bytes()).ok()
}

fn params(common_name: &str, (from, to): Span) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = time(from).into();
    params.not_after = time(to).into();
    // By itself it would be derived from the key, and a renewal keeps the key.
    let mut serial = [0; 16];
    bijli_identity::random(&mut serial)?;
    // A positive number, and as long for every certificate.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn time(at: UtcMillis) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.get()).unwrap_or(0))
}

fn uri(holder: &Holder) -> Result<SanType, CaError> {
    Ok(SanType::URI(holder.to_string().try_into()?))
}

fn host(name: &str) -> Result<SanType, CaError> {
    let refused = || CaError::Host { name: name.to_owned() };
    if let Ok(address) = name.parse() {
        return Ok(SanType::IpAddress(address));
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || !name.chars().all(letter) {
        return Err(refused());
    }
    Ok(SanType::DnsName(name.try_into().map_err(|_| refused())?))
}
