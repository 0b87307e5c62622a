//! `ca`: a hub's own authority, and the certificates it signs. Two commands, plain files.
//!
//! # Invariants
//! - A key is written once, readable by its owner only, and never overwritten: issuing again into
//!   the same folder renews the certificate of the key that is there.
//! - The authority names its hub, so that collectors believe it about nodes of that hub only.
//! - A node's certificate cannot serve and a collector's cannot send: a stolen one is no use for
//!   the other's part.
//! - `certificate.pem` and `ca.pem` appear whole: a program that watches them never reads half.

mod make;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use bijli_identity::certificate::CertificateError;
use bijli_identity::{Certificate, Files, Holder, IdentityError, NodeName};
use bijli_wire::{HubId, Millis, NodeId, UtcMillis};

use crate::disk;

/// An authority lives ten years: replacing it means visiting every node.
pub const AUTHORITY_FOR: &str = "3650d";
/// Short, because a certificate that is over needs no deny list.
pub const CERTIFICATE_FOR: &str = "30d";
/// A clock of a node or collector may be a little behind the authority's.
const BACKDATED: Millis = Millis::new(3_600_000);
/// The calendar in certificates ends in 9999; nobody plans further than this.
const VALID_FOR_MAX: Millis = Millis::new(100 * 366 * 86_400_000);

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key.pem";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// A new authority.
#[derive(Clone, Debug)]
pub struct Init {
    pub hub: HubId,
    pub dir: PathBuf,
    pub valid_for: Millis,
}

/// A certificate by an authority.
#[derive(Clone, Debug)]
pub struct Issue {
    /// Of the authority.
    pub dir: PathBuf,
    /// If said, the authority must be this hub's.
    pub hub: Option<HubId>,
    pub whom: Whom,
    pub out: PathBuf,
    pub valid_for: Millis,
}

/// Who gets a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    Node(NodeId),
    /// A collector, by the names and addresses that agents reach it under.
    Server(Vec<String>),
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error(
        "{path} is there already, and a key is never overwritten: name another --dir, or move it \
         away if this authority is to be forgotten", path = path.display()
    )]
    Exists { path: PathBuf },
    #[error("cannot write {path}", path = path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot read {path}: make an authority first, with `bijli-collector ca init`", path = path.display())]
    NoAuthority { path: PathBuf, source: std::io::Error },
    #[error("cannot read {path}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is no authority of a hub: it must come from `bijli-collector ca init`", path = path.display())]
    NotOurs { path: PathBuf },
    #[error("the authority in {dir} is hub {found}'s, not {asked}'s: name the other --dir", dir = dir.display())]
    OtherHub { dir: PathBuf, found: HubId, asked: HubId },
    #[error(
        "{out} holds the certificate of {found}, not of {asked}: give each its own --out",
        out = out.display()
    )]
    OtherHolder { out: PathBuf, found: String, asked: String },
    #[error("{name:?} is no DNS name or address")]
    Host { name: String },
    #[error("a certificate can be valid for 1 hour to 100 years, not {asked}")]
    ValidFor { asked: Millis },
    #[error(
        "the authority itself is valid until {until} only: shorten --valid-for, or make a new \
         authority"
    )]
    Outlived { until: String },
    #[error("what was made cannot be read back")]
    ReadBack(#[from] IdentityError),
    #[error("what was made cannot be read back")]
    Facts(#[from] CertificateError),
    #[error("the certificate cannot be made")]
    Make(#[from] rcgen::Error),
}

/// What was made, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub title: String,
    pub rows: Vec<(&'static str, String)>,
}

impl Made {
    #[must_use]
    pub fn show(&self) -> String {
        let rows = self.rows.iter().map(|(name, value)| format!("    {name:12}  {value}\n"));
        format!("{}\n{}", self.title, rows.collect::<String>())
    }
}

/// Makes a hub's authority.
///
/// # Errors
/// When one is there, or the folder cannot be written.
pub fn init(asked: &Init, now: UtcMillis) -> Result<Made, CaError> {
    let span = check_span(asked.valid_for, now)?;
    let (certificate, key) = (asked.dir.join(CA), asked.dir.join(CA_KEY));
    for path in [&certificate, &key] {
        if path.exists() {
            return Err(CaError::Exists { path: path.clone() });
        }
    }
    let made = make::authority(&asked.hub, span)?;
    make_dir(&asked.dir)?;
    write_key(&key, &made.key)?;
    write(&certificate, &made.certificate)?;
    Ok(Made {
        title: format!("authority of hub {}", asked.hub),
        rows: vec![
            ("certificate", format!("{}  (public)", certificate.display())),
            ("key", format!("{}  (secret: it makes nodes)", key.display())),
            ("valid", until(span.1, asked.valid_for)),
        ],
    })
}

/// Makes or renews a certificate.
///
/// # Errors
/// When there is no authority, the folder is another's, or it cannot be written.
pub fn issue(asked: &Issue, now: UtcMillis) -> Result<Made, CaError> {
    let span = check_span(asked.valid_for, now)?;
    let ca = asked.dir.join(CA);
    let (ca_text, hub) = authority(asked, &ca, span.1)?;
    let path = asked.dir.join(CA_KEY);
    let ca_key = disk::read_text(&path).map_err(|source| CaError::NoAuthority { path, source })?;
    let who = match &asked.whom {
        Whom::Node(node) => make::Who::Node(NodeName { hub, node: node.clone() }),
        Whom::Server(hosts) => make::Who::Server(hosts.clone()),
    };
    let (certificate, key) = (asked.out.join(CERTIFICATE), asked.out.join(KEY));
    check_holder(asked, &certificate, &who)?;
    let old_key = if key.exists() { Some(read(&key)?) } else { None };
    let made = make::certificate((&ca_text, &ca_key), &who, old_key.as_deref(), span)?;
    make_dir(&asked.out)?;
    if old_key.is_none() {
        write_key(&key, &made.key)?;
    }
    write(&asked.out.join(CA), &ca_text)?;
    write(&certificate, &made.certificate)?;
    let files = Files { ca: asked.out.join(CA), certificate, key };
    let own = files.load()?.own;
    let kept = if old_key.is_some() { "  (kept)" } else { "  (secret)" };
    Ok(Made {
        title: format!("certificate of {}", named(&own)),
        rows: vec![
            ("ca", files.ca.display().to_string()),
            ("certificate", files.certificate.display().to_string()),
            ("key", format!("{}{kept}", files.key.display())),
            ("valid", until(own.not_after, asked.valid_for)),
            ("serial", own.serial.clone()),
            ("key sha256", own.key.to_string()),
        ],
    })
}

/// Whom a certificate names, in words.
#[must_use]
pub fn named(certificate: &Certificate) -> String {
    match &certificate.holder {
        Some(Holder::Node(NodeName { hub, node })) => format!("node {node} of hub {hub}"),
        Some(Holder::Hub(hub)) => format!("the authority of hub {hub}"),
        None if certificate.hosts.is_empty() => "nobody".to_owned(),
        None => format!("collector {}", certificate.hosts.join(", ")),
    }
}

/// The authority's text and its hub, if it may be asked for this.
fn authority(asked: &Issue, ca: &Path, to: UtcMillis) -> Result<(String, HubId), CaError> {
    let text = disk::read_text(ca)
        .map_err(|source| CaError::NoAuthority { path: ca.to_owned(), source })?;
    let not_ours = || CaError::NotOurs { path: ca.to_owned() };
    let facts = make::facts(&text).ok_or_else(not_ours)?;
    let Some(Holder::Hub(hub)) = facts.holder else { return Err(not_ours()) };
    if let Some(asked_hub) = asked.hub.as_ref().filter(|asked_hub| **asked_hub != hub) {
        let asked_hub = asked_hub.clone();
        return Err(CaError::OtherHub { dir: asked.dir.clone(), found: hub, asked: asked_hub });
    }
    if to > facts.not_after {
        return Err(CaError::Outlived { until: crate::calendar::rfc3339(facts.not_after) });
    }
    Ok((text, hub))
}

/// A folder belongs to the one whose certificate it holds.
fn check_holder(asked: &Issue, certificate: &Path, who: &make::Who) -> Result<(), CaError> {
    if !certificate.exists() {
        return Ok(());
    }
    let Some(facts) = make::facts(&read(certificate)?) else { return Ok(()) };
    let is_same = match who {
        make::Who::Node(name) => facts.holder == Some(Holder::Node(name.clone())),
        make::Who::Server(_) => facts.holder.is_none(),
    };
    if is_same {
        return Ok(());
    }
    let asked_for = match who {
        make::Who::Node(NodeName { hub, node }) => format!("node {node} of hub {hub}"),
        make::Who::Server(hosts) => format!("collector {}", hosts.join(", ")),
    };
    Err(CaError::OtherHolder { out: asked.out.clone(), found: named(&facts), asked: asked_for })
}

/// From when until when.
fn check_span(valid_for: Millis, now: UtcMillis) -> Result<(UtcMillis, UtcMillis), CaError> {
    let is_sound = (BACKDATED..=VALID_FOR_MAX).contains(&valid_for);
    let from = UtcMillis::new(now.get().saturating_sub_unsigned(BACKDATED.get()));
    match now.plus(valid_for).filter(|_| is_sound) {
        Some(to) => Ok((from, to)),
        None => Err(CaError::ValidFor { asked: valid_for }),
    }
}

fn until(at: UtcMillis, valid_for: Millis) -> String {
    let hours = valid_for.get() / 3_600_000;
    let span = match hours {
        _ if hours.is_multiple_of(24) => format!("{} days", hours / 24),
        _ => format!("{hours} hours"),
    };
    format!("until {} ({span})", crate::calendar::rfc3339(at))
}

fn read(path: &Path) -> Result<String, CaError> {
    disk::read_text(path).map_err(|source| CaError::Read { path: path.to_owned(), source })
}

fn make_dir(path: &Path) -> Result<(), CaError> {
    disk::make_dir(path).map_err(|source| CaError::Write { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), CaError> {
    disk::replace_text(path, text)
        .map_err(|source| CaError::Write { path: path.to_owned(), source })
}

fn write_key(path: &Path, text: &str) -> Result<(), CaError> {
    disk::write_secret(path, text)
        .map_err(|source| CaError::Write { path: path.to_owned(), source })
}
