//! The connection to one meter: connects late, gives up early, comes back with back-off.
//!
//! # Invariants
//! - After a timeout or a broken connection the socket is dropped, so that a late answer is never
//!   taken for the answer to the next question.
//! - A refusal by the meter (a Modbus exception) keeps the connection.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};

use bijli_identity::device::Peer;
use bijli_wire::Millis;
use serde::Deserialize;
use tokio_modbus::ExceptionCode;
use tokio_modbus::prelude::ReadCode;

use super::connection::Connection;
use super::settings::ModbusConfig;
use super::tls::TlsConfig;
use crate::clock::Moment;
use crate::probe::rest::Rest;
use crate::probe::{How, Note, short};

/// The Modbus specification's limit for one read.
const WORDS_MAX: u16 = 125;
const PORT: u16 = 502;
/// Of Modbus inside TLS.
const TLS_PORT: u16 = 802;
/// Objects of the device identification that the specification names.
const PRODUCT_CODE: u8 = 1;
const REVISION: u8 = 2;

/// Which of a meter's two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// Function code 4.
    Input,
    /// Function code 3.
    Holding,
}

/// Registers read in one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) function: Function,
    pub(super) first: u16,
    pub(super) words: u16,
}

impl Span {
    /// Whether `part` lies within.
    pub(super) fn has(self, part: Self) -> bool {
        self.function == part.function && self.first <= part.first && part.end() <= self.end()
    }

    /// One past the last register; `None` beyond the 65,536 that there are.
    pub(super) fn end(self) -> Option<u32> {
        let end = u32::from(self.first) + u32::from(self.words);
        (end <= 1 << 16).then_some(end)
    }
}

/// Joins spans that touch, up to what one request may ask for.
pub(super) fn group(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut groups: Vec<Span> = Vec::new();
    for span in spans {
        if let Some(last) = groups.last_mut()
            && let Some(words) = joined(*last, span)
        {
            last.words = words;
        } else {
            groups.push(span);
        }
    }
    groups
}

/// The words of both in one request; `None` if a gap lies between or they are too many.
fn joined(before: Span, after: Span) -> Option<u16> {
    if before.function != after.function || u32::from(after.first) > before.end()? {
        return None;
    }
    let end = before.end()?.max(after.end()?);
    let words = u16::try_from(end - u32::from(before.first)).ok()?;
    (words <= WORDS_MAX).then_some(words)
}

/// The words of `span` out of the requests that were answered.
pub(super) fn part(read: &BTreeMap<Span, Vec<u16>>, span: Span) -> Option<&[u16]> {
    read.iter().find_map(|(whole, words)| {
        if whole.function != span.function {
            return None;
        }
        let from = usize::from(span.first.checked_sub(whole.first)?);
        words.get(from..from + usize::from(span.words))
    })
}

/// What a meter says of itself by function 43.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identification {
    pub(super) product: Option<String>,
    pub(super) firmware: Option<String>,
    pub(super) serial: Option<String>,
}

impl Identification {
    /// For people; `None`: it says nothing.
    pub(super) fn note(&self) -> Option<Note> {
        let named = |name: &str, value: &Option<String>| Some(format!("{name}{}", value.as_ref()?));
        let parts = [
            named("", &self.product),
            named("firmware ", &self.firmware),
            named("serial ", &self.serial),
        ];
        let words = parts.into_iter().flatten().collect::<Vec<String>>().join(", ");
        (!words.is_empty()).then(|| Note::new(How::Read, "identity", words))
    }

    fn take(&mut self, id: u8, serial_object: Option<u8>, value: &[u8]) {
        let told = told(value);
        match id {
            _ if Some(id) == serial_object => self.serial = told,
            PRODUCT_CODE => self.product = told,
            REVISION => self.firmware = told,
            _ => {}
        }
    }
}

/// What a meter tells in letters; `None`: nothing.
pub(super) fn told(value: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(value);
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| short(text))
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("{reason}")]
    Unreachable { reason: String },
    #[error("the meter closed the connection")]
    Closed,
    /// Somebody else answers, or nobody vouches for who does.
    #[error("not believed, so nothing is read: {reason}")]
    Untrusted { reason: String },
    #[error("no answer within {} ms", timeout.get())]
    Silent { timeout: Millis },
    /// The meter has no such register.
    #[error("the meter refuses: {reason}")]
    Refused { reason: String },
    #[error("waiting {} ms before the next attempt, after: {reason}", wait.get())]
    BackingOff { wait: Millis, reason: String },
}

pub(super) struct Link {
    address: String,
    unit_id: u8,
    timeout: Millis,
    tls: Option<TlsConfig>,
    connection: Option<Connection>,
    rest: Rest,
    /// Who answered the last connection, by TLS.
    peer: Option<Peer>,
    /// Why nobody was believed, and what of it was told.
    untrusted: Option<String>,
    told: Option<String>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(config: &ModbusConfig) -> Self {
        Self {
            address: config.address.clone(),
            unit_id: config.unit_id,
            timeout: config.timeout,
            tls: config.tls.clone(),
            connection: None,
            rest: Rest::default(),
            peer: None,
            untrusted: None,
            told: None,
        }
    }

    /// As [`Link::read`], but not before the back-off after the last failure is over.
    pub(super) fn read_at(&mut self, span: Span, now: Moment) -> Result<Vec<u16>, Failure> {
        if let Some((wait, reason)) = self.rest.left(now) {
            return Err(Failure::BackingOff { wait, reason });
        }
        let outcome = self.read(span);
        match &outcome {
            Ok(_) | Err(Failure::Refused { .. }) => self.rest.answered(),
            Err(failure) => self.rest.failed(now, failure.to_string()),
        }
        outcome
    }

    /// Asks for `span`, connecting first if need be.
    pub(super) fn read(&mut self, span: Span) -> Result<Vec<u16>, Failure> {
        self.ask(|connection| connection.registers(span))
    }

    /// Who is at the other end by TLS, as of the last connection.
    pub(super) const fn peer(&self) -> Option<Peer> {
        self.peer
    }

    /// Why the other end is not believed; each reason once.
    pub(super) fn take_untrusted(&mut self) -> Option<String> {
        let now = self.untrusted.clone();
        let is_news = now != self.told;
        self.told.clone_from(&now);
        now.filter(|_| is_news)
    }

    /// What one connection answers; one that failed is dropped.
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut Connection) -> Result<Result<T, ExceptionCode>, Failure>,
    ) -> Result<T, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let answer = question(&mut connection)?;
        self.connection = Some(connection);
        answer.map_err(refused)
    }

    /// Who the meter says it is. The specification has no object for a serial number: a maker may
    /// have one of its own, `serial_object`. A meter need know neither, and costs nothing then.
    pub(super) fn identify(&mut self, serial_object: Option<u8>) -> Identification {
        let mut told = Identification::default();
        let basic = self.ask_identity(ReadCode::Basic, 0, serial_object, &mut told);
        if let Some(object) = serial_object
            && matches!(basic, Ok(()) | Err(Failure::Refused { .. }))
        {
            self.ask_identity(ReadCode::Specific, object, serial_object, &mut told)
                .unwrap_or_default();
        }
        told
    }

    fn ask_identity(
        &mut self,
        code: ReadCode,
        object: u8,
        serial_object: Option<u8>,
        told: &mut Identification,
    ) -> Result<(), Failure> {
        let answer = self.ask(|connection| connection.identity(code, object))?;
        for object in answer.device_id_objects {
            told.take(object.id, serial_object, &object.value);
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<Connection, Failure> {
        let address = self.resolve()?;
        let tls = self.tls.as_ref();
        let outcome =
            Connection::open((host(&self.address), address), self.unit_id, self.timeout, tls);
        match &outcome {
            Ok(connection) => (self.peer, self.untrusted) = (connection.peer, None),
            Err(Failure::Untrusted { reason }) => self.untrusted = Some(reason.clone()),
            Err(_) => {}
        }
        outcome
    }

    fn resolve(&self) -> Result<SocketAddr, Failure> {
        let with_port =
            if self.address.parse::<std::net::IpAddr>().is_ok() || !self.address.contains(':') {
                let port = if self.tls.is_some() { TLS_PORT } else { PORT };
                (self.address.as_str(), port).to_socket_addrs()
            } else {
                self.address.to_socket_addrs()
            };
        let unknown = |reason| Failure::Unreachable { reason };
        let mut addresses =
            with_port.map_err(|error| unknown(format!("no such address: {error}")))?;
        addresses.next().ok_or_else(|| unknown("no such address".to_owned()))
    }
}

/// Without a port and without the brackets of IPv6.
fn host(address: &str) -> &str {
    if address.parse::<std::net::IpAddr>().is_ok() {
        return address;
    }
    address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']'])
}

/// A gateway's trouble behind it passes; what the meter itself refuses, it refuses for good.
fn refused(exception: ExceptionCode) -> Failure {
    let reason = exception.to_string().to_lowercase();
    match exception {
        ExceptionCode::IllegalFunction
        | ExceptionCode::IllegalDataAddress
        | ExceptionCode::IllegalDataValue => Failure::Refused { reason },
        ExceptionCode::ServerDeviceFailure
        | ExceptionCode::Acknowledge
        | ExceptionCode::ServerDeviceBusy
        | ExceptionCode::MemoryParityError
        | ExceptionCode::GatewayPathUnavailable
        | ExceptionCode::GatewayTargetDevice
        | ExceptionCode::Custom(_) => Failure::Unreachable { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(function: Function, first: u16, words: u16) -> Span {
        Span { function, first, words }
    }

    #[test]
    fn neighbours_share_a_request_and_gaps_are_never_spanned() {
        let input = |first, words| span(Function::Input, first, words);
        let holding = |first, words| span(Function::Holding, first, words);
        for (spans, groups) in [
            (vec![input(0, 2), input(2, 2), input(4, 2)], vec![input(0, 6)]),
            (vec![input(72, 2), input(52, 2)], vec![input(52, 2), input(72, 2)]),
            (vec![input(0, 2), holding(2, 2)], vec![input(0, 2), holding(2, 2)]),
            (vec![input(0, 4), input(2, 2), input(0, 2)], vec![input(0, 4)]),
            (vec![input(0, 124), input(124, 2)], vec![input(0, 124), input(124, 2)]),
            (vec![input(0, 123), input(123, 2)], vec![input(0, 125)]),
            (vec![input(65_534, 2)], vec![input(65_534, 2)]),
        ] {
            assert_eq!(group(spans.clone()), groups, "{spans:?}");
        }
        assert_eq!(input(65_535, 2).end(), None);
    }

    #[test]
    fn the_host_is_what_a_certificate_names() {
        for (address, expected) in [
            ("10.0.0.7:802", "10.0.0.7"),
            ("meter.isb", "meter.isb"),
            ("meter.isb:802", "meter.isb"),
            ("[fd00::7]:802", "fd00::7"),
            ("fd00::7", "fd00::7"),
        ] {
            assert_eq!(host(address), expected);
        }
    }

    #[test]
    fn parts_are_found_in_their_own_table() {
        let words = (10..16).collect::<Vec<u16>>();
        let read = BTreeMap::from([(span(Function::Input, 100, 6), words)]);
        assert_eq!(part(&read, span(Function::Input, 102, 2)), Some(&[12, 13][..]));
        assert_eq!(part(&read, span(Function::Input, 105, 2)), None);
        assert_eq!(part(&read, span(Function::Input, 99, 1)), None);
        assert_eq!(part(&read, span(Function::Holding, 102, 2)), None);
    }
}
