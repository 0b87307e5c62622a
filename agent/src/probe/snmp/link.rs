//! The way to one device: datagrams with attempts, secrets from files, back-off.
//!
//! # Invariants
//! - After any failure the session is forgotten: secrets are read again, and the device's engine
//!   is discovered anew. A late answer finds nobody who asked.
//! - What failed is said once, by [`Failure`]; the library's own log of it is not heard.
//! - No secret is kept here or printed.

use std::collections::BTreeSet;
use std::time::Duration;

use async_snmp::v3::ReportStatus;
use async_snmp::{
    Auth, AuthProtocol, Client, Error, ErrorStatus, Oid, PrivProtocol, Retry, UdpHandle, UsmConfig,
    Value,
};
use bijli_wire::Millis;
use tokio::runtime::{Builder, Runtime};
use tracing::subscriber::{NoSubscriber, with_default};

use super::answer::{Answer, Answers, ObjectId};
use super::settings::{AuthAlgorithm, Credentials, PrivacyAlgorithm};
use crate::clock::Moment;
use crate::probe::rest::Rest;
use crate::probe::short;

const PORT: u16 = 161;
/// So many values of usual length fit a datagram of 1,472 bytes; a device may still say tooBig.
const OBJECTS_MAX: usize = 32;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("{reason}")]
    Secret { reason: String },
    #[error("{reason}")]
    Unreachable { reason: String },
    #[error("no answer within {} ms, {} times; {hint}", timeout.get(), attempts)]
    Silent { timeout: Millis, attempts: u32, hint: &'static str },
    /// The device answers, and says no.
    #[error("it refuses: {reason}")]
    Refused { reason: String },
    #[error("waiting {} ms before the next attempt, after: {reason}", wait.get())]
    BackingOff { wait: Millis, reason: String },
}

pub(super) struct Link {
    address: String,
    credentials: Credentials,
    timeout: Millis,
    retries: u32,
    session: Option<Session>,
    rest: Rest,
}

/// Its runtime turns only while something is asked; no thread belongs to it.
struct Session {
    client: Client<UdpHandle>,
    runtime: Runtime,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(
        address: &str,
        credentials: Credentials,
        timeout: Millis,
        retries: u32,
    ) -> Self {
        let address = address.to_owned();
        Self { address, credentials, timeout, retries, session: None, rest: Rest::default() }
    }

    /// As [`Link::get`], but not before the back-off after the last failure is over.
    pub(super) fn get_at(
        &mut self,
        names: &BTreeSet<ObjectId>,
        now: Moment,
    ) -> Result<Answers, Failure> {
        if let Some((wait, reason)) = self.rest.left(now) {
            return Err(Failure::BackingOff { wait, reason });
        }
        let outcome = self.get(names);
        match &outcome {
            Ok(_) => self.rest.answered(),
            Err(failure) => self.rest.failed(now, failure.to_string()),
        }
        outcome
    }

    /// Asks for all of `names`.
    pub(super) fn get(&mut self, names: &BTreeSet<ObjectId>) -> Result<Answers, Failure> {
        with_default(NoSubscriber::default(), || self.ask(names))
    }

    fn ask(&mut self, names: &BTreeSet<ObjectId>) -> Result<Answers, Failure> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.connect()?,
        };
        let wanted: Vec<Oid> = names.iter().map(|name| Oid::from_slice(&name.0)).collect();
        let asked = session.runtime.block_on(session.client.get_many(&wanted));
        let answered = asked.map_err(|error| self.failure(&error))?;
        self.session = Some(session);
        let answers = answered.varbinds.into_iter();
        let answers = answers.map(|one| (ObjectId(one.oid.arcs().to_vec()), answer(&one.value)));
        Ok(answers.filter(|(name, _)| names.contains(name)).collect())
    }

    fn connect(&self) -> Result<Session, Failure> {
        let unreachable = |reason: String| Failure::Unreachable { reason };
        let auth = auth(&self.credentials)?;
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|error| unreachable(error.to_string()))?;
        let retry = Retry::fixed(self.retries, Duration::ZERO);
        let retry = retry.map_err(|error| unreachable(error.to_string()))?;
        let builder = Client::builder(target(&self.address), auth)
            .request_timeout(Duration::from_millis(self.timeout.get()))
            .retry(retry)
            .max_oids_per_request(OBJECTS_MAX)
            // "Wrong password" comes unsigned, and is not heard otherwise. Who forges it costs a
            // row, as who drops datagrams does; an unsigned value is refused all the same.
            .allow_unauthenticated_v3_time_correction(true)
            .strict_source(true);
        let client = runtime.block_on(builder.connect()).map_err(|error| self.failure(&error))?;
        Ok(Session { client, runtime })
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "not our enum")]
    fn failure(&self, error: &Error) -> Failure {
        let refused = |reason: &str| Failure::Refused { reason: reason.to_owned() };
        match error {
            Error::SharedOperation { source } => self.failure(source),
            Error::Exchange { source, .. } => self.failure(source),
            Error::Timeout { .. } | Error::ConstructionTimeout { .. } => Failure::Silent {
                timeout: self.timeout,
                attempts: self.retries.saturating_add(1),
                hint: match &self.credentials {
                    Credentials::Community { .. } => "a wrong community looks the same",
                    Credentials::User { .. } => "a wrong privacy password may look the same",
                },
            },
            Error::Network { source, .. } => match source.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    Failure::Unreachable { reason: "connection refused".to_owned() }
                }
                _ => Failure::Unreachable { reason: source.to_string() },
            },
            Error::Report { status, .. } => report(status),
            Error::Auth { .. } => refused(AUTH_PASSWORD),
            Error::Snmp { status: ErrorStatus::AuthorizationError, .. } => {
                refused("it does not let this user or community read that")
            }
            Error::Snmp { status, .. } => Failure::Refused { reason: status.to_string() },
            other => Failure::Unreachable { reason: other.to_string() },
        }
    }
}

const AUTH_PASSWORD: &str = "wrong authentication password, or not the device's algorithm \
                             (auth_password_file, auth)";

/// What a device says instead of an answer (RFC 3414, 3.2).
#[expect(clippy::wildcard_enum_match_arm, reason = "not our enum")]
fn report(status: &ReportStatus) -> Failure {
    let reason = match status {
        ReportStatus::WrongDigest { .. } => AUTH_PASSWORD,
        ReportStatus::UnknownUserName { .. } => "it does not know this user (user)",
        ReportStatus::DecryptionError { .. } => {
            "wrong privacy password, or not the device's algorithm (privacy_password_file, privacy)"
        }
        ReportStatus::UnsupportedSecurityLevel { .. } => {
            "this user may not sign and encrypt there: allow authPriv at the device"
        }
        ReportStatus::NotInTimeWindow { .. } => "its clock moved on; asked anew",
        other => return Failure::Refused { reason: other.to_string() },
    };
    Failure::Refused { reason: reason.to_owned() }
}

/// Host and port of `address`.
fn target(address: &str) -> (String, u16) {
    if let Ok(socket) = address.parse::<std::net::SocketAddr>() {
        return (socket.ip().to_string(), socket.port());
    }
    let is_bare = address.parse::<std::net::IpAddr>().is_ok();
    match address.rsplit_once(':').filter(|_| !is_bare) {
        Some((host, port)) => match port.parse() {
            Ok(port) => (host.to_owned(), port),
            Err(_) => (address.to_owned(), PORT),
        },
        None => (address.to_owned(), PORT),
    }
}

/// The secrets, read now.
fn auth(credentials: &Credentials) -> Result<Auth, Failure> {
    match credentials {
        Credentials::Community { file } => Ok(Auth::v2c(secret(file)?)),
        Credentials::User { name, auth, privacy } => {
            let user = UsmConfig::new(name.clone().into_bytes());
            let signing = match auth.0 {
                AuthAlgorithm::Sha1 => AuthProtocol::Sha1,
                AuthAlgorithm::Sha224 => AuthProtocol::Sha224,
                AuthAlgorithm::Sha256 => AuthProtocol::Sha256,
                AuthAlgorithm::Sha384 => AuthProtocol::Sha384,
                AuthAlgorithm::Sha512 => AuthProtocol::Sha512,
            };
            let encrypting = match privacy.0 {
                PrivacyAlgorithm::Aes128 => PrivProtocol::Aes128,
                PrivacyAlgorithm::Aes192 => PrivProtocol::Aes192Blumenthal,
                PrivacyAlgorithm::Aes256 => PrivProtocol::Aes256Blumenthal,
            };
            let user = user.auth_priv(signing, secret(&auth.1)?, encrypting, secret(&privacy.1)?);
            let user = user.map_err(|error| Failure::Secret {
                reason: format!("the passwords of user {name:?} cannot be used: {error}"),
            })?;
            Ok(Auth::from(user))
        }
    }
}

/// What a file holds, without the end of its line.
fn secret(file: &std::path::Path) -> Result<Vec<u8>, Failure> {
    let fail = |what: &str| Failure::Secret { reason: format!("{}: {what}", file.display()) };
    let mut bytes = bijli_identity::disk::read(file)
        .map_err(|error| fail(&format!("cannot read the secret: {error}")))?;
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.is_empty() { Err(fail("there is no secret in it")) } else { Ok(bytes) }
}

fn answer(value: &Value) -> Answer {
    match value {
        Value::Integer(number) => Answer::Integer(i128::from(*number)),
        Value::Counter32(number)
        | Value::Gauge32(number)
        | Value::UInteger32(number)
        | Value::TimeTicks(number) => Answer::Integer(i128::from(*number)),
        Value::Counter64(number) => Answer::Integer(i128::from(*number)),
        Value::OctetString(bytes) | Value::Nsap(bytes) => Answer::Text(text(bytes)),
        Value::ObjectIdentifier(oid) => Answer::Name(ObjectId(oid.arcs().to_vec())),
        Value::NoSuchObject | Value::NoSuchInstance | Value::EndOfMibView => Answer::Absent,
        Value::IpAddress(_) => Answer::Other("an address"),
        Value::Opaque(_) => Answer::Other("something opaque"),
        Value::Null => Answer::Other("nothing"),
        Value::Unknown { .. } | _ => Answer::Other("of an unknown type"),
    }
}

/// For people: one line, without what no terminal should get.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    short(text.trim())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "secrets of a test")]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_by_table() {
        for (address, host, port) in [
            ("10.0.0.9", "10.0.0.9", 161),
            ("10.0.0.9:1161", "10.0.0.9", 1161),
            ("::1", "::1", 161),
            ("[::1]:1161", "::1", 1161),
            ("pdu7.isb.example", "pdu7.isb.example", 161),
            ("pdu7.isb.example:1161", "pdu7.isb.example", 1161),
        ] {
            assert_eq!(target(address), (host.to_owned(), port), "{address}");
        }
    }

    #[test]
    fn a_secret_is_a_files_first_line_and_never_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        let missing = secret(&file).expect_err("no file").to_string();
        assert!(missing.contains("cannot read the secret: "), "{missing}");
        for (written, expected) in [("auctoritas1\n", "auctoritas1"), ("a b \r\n", "a b ")] {
            std::fs::write(&file, written).expect("written");
            assert_eq!(secret(&file), Ok(expected.as_bytes().to_vec()));
        }
        std::fs::write(&file, "\n").expect("written");
        assert!(secret(&file).expect_err("empty").to_string().ends_with("no secret in it"));
        let user = Credentials::User {
            name: "u".to_owned(),
            auth: (AuthAlgorithm::Sha256, file.clone()),
            privacy: (PrivacyAlgorithm::Aes128, file.clone()),
        };
        std::fs::write(&file, "short\n").expect("written");
        let refused = auth(&user).expect_err("shorter than eight").to_string();
        assert!(refused.starts_with("the passwords of user \"u\" cannot be used"), "{refused}");
        assert!(!refused.contains("short\n"), "{refused}");
    }

    #[test]
    fn reports_are_told_in_words_that_say_what_to_do() {
        for (status, words) in [
            (ReportStatus::WrongDigest { counter: 1 }, "wrong authentication password"),
            (ReportStatus::UnknownUserName { counter: 1 }, "does not know this user"),
            (ReportStatus::DecryptionError { counter: 1 }, "wrong privacy password"),
            (ReportStatus::UnsupportedSecurityLevel { counter: 1 }, "allow authPriv"),
        ] {
            let said = report(&status).to_string();
            assert!(said.starts_with("it refuses: ") && said.contains(words), "{said}");
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_printable_line(
            bytes in proptest::collection::vec(any::<u8>(), 0..300)
        ) {
            let text = text(&bytes);
            prop_assert!(text.len() <= bijli_wire::limits::TEXT_BYTES_MAX);
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}
