//! One connection to one server: HTTP/1.1, in TLS or plain. It only gets.
//!
//! # Invariants
//! - Nothing is followed: a redirection is an answer like another, and no request ever goes to
//!   another address than the configured one.
//! - An answer has a limit in size, its headers too. Where it ends is told by its length, by the
//!   end of the connection (HTTP/1.0, with or without TLS's goodbye), or by nobody: whether it is
//!   whole is judged by who reads it.
//! - All that is asked in one go has one deadline.

use std::future::Future;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bijli_identity::device::refusal;
use bijli_wire::Millis;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::settings::RedfishConfig;

/// The largest answer that is read. A collection of a thousand sensors has 100 KiB.
const BODY_BYTES_MAX: usize = 1 << 20;
const HEAD_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 100;

type Sender = SendRequest<Empty<Bytes>>;

/// Runs `task` to its end or to the deadline; `None`: it took longer. It blocks.
pub(super) fn within<T>(limit: Millis, task: impl Future<Output = T>) -> Option<T> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build().ok()?;
    let limit = Duration::from_millis(limit.get());
    runtime.block_on(async { tokio::time::timeout(limit, task).await.ok() })
}

pub(super) struct Http {
    config: RedfishConfig,
    place: (String, u16),
    login: Option<String>,
    kept: Option<Sender>,
}

impl Http {
    pub(super) fn new(config: &RedfishConfig) -> Result<Self, String> {
        let login = config.login()?.map(|(user, password)| {
            // RFC 7617.
            format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
        });
        Ok(Self { config: config.clone(), place: config.place()?, login, kept: None })
    }

    /// Status and body; in words, why there is no answer.
    pub(super) async fn get(&mut self, path: &str) -> Result<(u16, Vec<u8>), String> {
        // Over a connection that the server closed meanwhile it is asked once more.
        if let Some(mut kept) = self.kept.take()
            && kept.ready().await.is_ok()
            && let Ok(answer) = exchange(&mut kept, self.request(path)?).await
        {
            self.kept = Some(kept);
            return Ok(answer);
        }
        let mut sender = self.connect().await?;
        let answer = exchange(&mut sender, self.request(path)?).await?;
        self.kept = Some(sender);
        Ok(answer)
    }

    fn request(&self, path: &str) -> Result<Request<Empty<Bytes>>, String> {
        let (host, port) = &self.place;
        let host =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(HOST, host)
            .header(ACCEPT, "application/json")
            .header("OData-Version", "4.0")
            .header(USER_AGENT, concat!("bijli-agent/", env!("CARGO_PKG_VERSION")));
        if let Some(login) = &self.login {
            request = request.header(AUTHORIZATION, login);
        }
        request.body(Empty::new()).map_err(|error| error.to_string())
    }

    async fn connect(&self) -> Result<Sender, String> {
        let (host, port) = &self.place;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(|error| io_words(&error))?;
        let Some(tls) = &self.config.tls else { return speak(stream).await };
        let config = tls.device()?.client().map_err(|error| error.to_string())?;
        let name = tls.name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{name:?} is no name that a certificate can have"))?;
        let stream = TlsConnector::from(config).connect(name, stream).await;
        speak(stream.map_err(|error| io_words(&error))?).await
    }
}

async fn speak<S>(stream: S) -> Result<Sender, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| http_words(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection to a Redfish service ended: {}", http_words(&error));
        }
    });
    Ok(sender)
}

async fn exchange(
    sender: &mut Sender,
    request: Request<Empty<Bytes>>,
) -> Result<(u16, Vec<u8>), String> {
    let answer = sender.send_request(request).await.map_err(|error| http_words(&error))?;
    let (head, body) = answer.into_parts();
    Ok((head.status.as_u16(), collect(body).await?))
}

/// What comes of a body before it ends, in whatever way it ends.
async fn collect(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            return Err(format!("it answers with more than {} KiB", BODY_BYTES_MAX >> 10));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn io_words(error: &std::io::Error) -> String {
    match (refusal(error), error.kind() == std::io::ErrorKind::ConnectionRefused) {
        (Some(refusal), _) => refusal.words,
        (None, true) => "connection refused".to_owned(),
        (None, false) => error.to_string(),
    }
}

fn http_words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "it closed the connection".to_owned();
    }
    let source = std::error::Error::source(error);
    match source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
        Some(error) => io_words(error),
        None => error.to_string(),
    }
}
