//! One connection to a meter: TCP, TLS where it is configured, Modbus on top. It blocks, and each
//! step has the meter's deadline.
//!
//! # Invariants
//! - Over TLS nothing is asked of a meter that is not believed.
//! - The files are read at each connection: renewed ones need no restart.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bijli_identity::device::{Peer, refusal};
use bijli_wire::Millis;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio_modbus::client::{Context, Reader as _, tcp};
use tokio_modbus::prelude::{ReadCode, ReadDeviceIdentificationResponse};
use tokio_modbus::{ExceptionCode, Slave};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::link::{Failure, Function, Span};
use super::tls::TlsConfig;

/// What a meter answers: what was asked for, or an exception. After either the connection is good.
type Answer<T> = Result<T, ExceptionCode>;

pub(super) struct Connection {
    runtime: Runtime,
    context: Context,
    timeout: Millis,
    /// Who is at the other end; `None`: there is no TLS.
    pub(super) peer: Option<Peer>,
    /// It has answered. By TLS 1.3 our handshake ends before the meter has judged our certificate.
    has_answered: bool,
    shows_ours: bool,
}

impl Connection {
    /// Connects to `address`, which is that of `host`.
    pub(super) fn open(
        (host, address): (&str, SocketAddr),
        unit_id: u8,
        timeout: Millis,
        tls: Option<&TlsConfig>,
    ) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|error| failure(&error, timeout))?;
        let (context, peer) = match tls {
            None => {
                let tcp = async { TcpStream::connect(address).await.map_err(Problem::Io) };
                let stream = wait(&runtime, timeout, tcp)?;
                (tcp::attach_slave(stream, Slave(unit_id)), None)
            }
            Some(tls) => {
                let stream = wait(&runtime, timeout, shake_hands(host, address, tls))?;
                let peer = Peer::of(stream.get_ref().1);
                (tcp::attach_slave(stream, Slave(unit_id)), peer)
            }
        };
        let shows_ours = tls.is_some_and(|tls| tls.certificate.is_some());
        Ok(Self { runtime, context, timeout, peer, has_answered: false, shows_ours })
    }

    pub(super) fn registers(&mut self, span: Span) -> Result<Answer<Vec<u16>>, Failure> {
        let Span { function, first, words } = span;
        let answer = async {
            match function {
                Function::Input => self.context.read_input_registers(first, words).await,
                Function::Holding => self.context.read_holding_registers(first, words).await,
            }
        };
        let answer = answered(&self.runtime, self.timeout, answer);
        self.judged(answer)
    }

    pub(super) fn identity(
        &mut self,
        code: ReadCode,
        object: u8,
    ) -> Result<Answer<ReadDeviceIdentificationResponse>, Failure> {
        let answer = self.context.read_device_identification(code, object);
        let answer = answered(&self.runtime, self.timeout, answer);
        self.judged(answer)
    }

    /// A meter that closes the connection instead of its first answer does not want us; not every
    /// one says so by an alert.
    fn judged<T>(&mut self, answer: Result<Answer<T>, Failure>) -> Result<Answer<T>, Failure> {
        if !self.has_answered && self.peer.is_some() && matches!(answer, Err(Failure::Closed)) {
            let why = match self.shows_ours {
                true => "it does not take our certificate",
                false => "it wants a certificate of ours (tls: certificate and key)",
            };
            let reason =
                format!("it closed the connection right after the handshake; most likely {why}");
            return Err(Failure::Unreachable { reason });
        }
        self.has_answered |= answer.is_ok();
        answer
    }
}

async fn shake_hands(
    host: &str,
    address: SocketAddr,
    tls: &TlsConfig,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Problem> {
    let config = tls.device().map_err(Problem::Words)?.client();
    let config = config.map_err(|error| Problem::Words(error.to_string()))?;
    let name = tls.name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| Problem::Words(format!("{name:?} is no name that a certificate can have")))?;
    let stream = TcpStream::connect(address).await.map_err(Problem::Io)?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
        let is_closed = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
        match is_closed.contains(&error.kind()) {
            true => Problem::Words(NO_TLS.to_owned()),
            false => Problem::Io(error),
        }
    })
}

const NO_TLS: &str = "it closed the connection during the TLS handshake: is this its TLS port?";

/// Why there is no connection.
enum Problem {
    Io(io::Error),
    Words(String),
}

fn wait<T>(
    runtime: &Runtime,
    timeout: Millis,
    task: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Failure> {
    let limit = Duration::from_millis(timeout.get());
    match runtime.block_on(async { tokio::time::timeout(limit, task).await }) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Problem::Io(error))) => Err(failure(&error, timeout)),
        Ok(Err(Problem::Words(reason))) => Err(Failure::Unreachable { reason }),
        Err(_) => Err(Failure::Silent { timeout }),
    }
}

fn answered<T>(
    runtime: &Runtime,
    timeout: Millis,
    task: impl Future<Output = tokio_modbus::Result<T>>,
) -> Result<Answer<T>, Failure> {
    let limit = Duration::from_millis(timeout.get());
    match runtime.block_on(async { tokio::time::timeout(limit, task).await }) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(tokio_modbus::Error::Transport(error))) => Err(failure(&error, timeout)),
        Ok(Err(tokio_modbus::Error::Protocol(error))) => {
            Err(Failure::Unreachable { reason: format!("not an answer of Modbus: {error}") })
        }
        Err(_) => Err(Failure::Silent { timeout }),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "not our enum")]
fn failure(error: &io::Error, timeout: Millis) -> Failure {
    if let Some(refusal) = refusal(error) {
        let reason = refusal.words;
        return match refusal.is_untrusted {
            true => Failure::Untrusted { reason },
            false => Failure::Unreachable { reason },
        };
    }
    let words = |reason: &str| Failure::Unreachable { reason: reason.to_owned() };
    match error.kind() {
        io::ErrorKind::TimedOut => Failure::Silent { timeout },
        io::ErrorKind::ConnectionRefused => words("connection refused"),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Failure::Closed,
        _ => Failure::Unreachable { reason: error.to_string() },
    }
}
