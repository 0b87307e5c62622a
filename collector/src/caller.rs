//! Asks a server of others: a remote-write store, an Alertmanager. HTTP/1.1, plain or in TLS, one
//! connection a request.
//!
//! # Invariants
//! - Nothing is followed: a redirection is an answer like another, and no request ever goes to
//!   another address than the configured one.
//! - A request has one deadline, an answer a largest size.
//! - A server is believed for what was pinned, or for the authority that was named; there is no
//!   list of authorities of the machine's behind it.

use std::time::Duration;

use bijli_identity::device::{Device, io_words, words};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, HOST, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Where a server is, why it is believed, and who we are to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    pub host: String,
    pub port: u16,
    /// With its query, if there is one; begins with a slash.
    pub path: String,
    /// `None`: plain HTTP.
    pub tls: Option<Device>,
    /// The value of the header `Authorization`; `None`: it asks for none.
    pub login: Option<String>,
    /// How long one request may take, from the connection to the end of the answer.
    pub timeout: Duration,
}

/// A secret is not printed.
impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port, path, tls, .. } = self;
        let scheme = if tls.is_some() { "https" } else { "http" };
        write!(f, "{scheme}://{host}:{port}{path}")
    }
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Behind the server's own path.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'static str, &'static str)],
    pub(crate) body: Vec<u8>,
}

/// Status and body; in words, why there is no answer. It blocks.
///
/// # Errors
/// When there is no answer in time, or none that can be read.
pub(crate) fn ask(server: &Server, call: Call<'_>) -> Result<(u16, Vec<u8>), String> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let limit = server.timeout;
    runtime.block_on(async {
        match tokio::time::timeout(limit, exchange(server, call)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {limit:?}")),
        }
    })
}

async fn exchange(server: &Server, call: Call<'_>) -> Result<(u16, Vec<u8>), String> {
    let request = request(server, call)?;
    let mut sender = connect(server).await?;
    let answer = sender.send_request(request).await.map_err(|error| http_words(&error))?;
    let (head, body) = answer.into_parts();
    Ok((head.status.as_u16(), collect(body).await?))
}

fn request(server: &Server, call: Call<'_>) -> Result<Request<Full<Bytes>>, String> {
    let Server { host, port, path, login, .. } = server;
    let host =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = Request::builder()
        .method(call.method)
        .uri(format!("{path}{}", call.path))
        .header(HOST, host)
        .header(USER_AGENT, concat!("bijli-collector/", env!("CARGO_PKG_VERSION")));
    for (name, value) in call.headers {
        request = request.header(*name, *value);
    }
    if let Some(login) = login {
        request = request.header(AUTHORIZATION, login);
    }
    request.body(Full::new(Bytes::from(call.body))).map_err(|error| error.to_string())
}

async fn connect(server: &Server) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect((server.host.as_str(), server.port)).await;
    let stream = stream.map_err(|error| io_words(&error))?;
    let Some(device) = &server.tls else { return speak(stream).await };
    let config = device.client().map_err(|error| error.to_string())?;
    let name = ServerName::try_from(server.host.clone())
        .map_err(|_| format!("{:?} is no name that a certificate can have", server.host))?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    speak(stream.map_err(|error| io_words(&error))?).await
}

async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| http_words(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection ended: {}", http_words(&error));
        }
    });
    Ok(sender)
}

async fn collect(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| http_words(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > ANSWER_BYTES_MAX {
            return Err(format!("it answers with more than {} MiB", ANSWER_BYTES_MAX >> 20));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn http_words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "it closed the connection".to_owned();
    }
    words(error)
}
