//! One connection to one server: HTTP/1.1, in TLS or plain. It gets; beside that it opens and ends
//! its own session, where one is asked for.
//!
//! # Invariants
//! - A session that the server has forgotten (HTTP 401) is ended, and followed by one login, not
//!   more: a refused password must not lock the user out.
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
use bijli_identity::device::{io_words, words};
use bijli_wire::Millis;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, LOCATION, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::session::{Open, SESSIONS, Session};
use super::settings::RedfishConfig;

/// The largest answer that is read. A collection of a thousand sensors has 100 KiB.
const BODY_BYTES_MAX: usize = 1 << 20;
const HEAD_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 100;

const TOKEN: &str = "X-Auth-Token";

type Sender = SendRequest<Full<Bytes>>;

/// How a request says who asks.
#[derive(Clone, Copy)]
enum Who<'a> {
    Nobody,
    /// RFC 7617.
    Login(&'a str, &'a str),
    Token(&'a str),
}

struct Answer {
    status: u16,
    head: HeaderMap,
    body: Vec<u8>,
}

/// Runs `task` to its end or to the deadline; `None`: it took longer. It blocks.
pub(super) fn within<T>(limit: Millis, task: impl Future<Output = T>) -> Option<T> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build().ok()?;
    let limit = Duration::from_millis(limit.get());
    runtime.block_on(async { tokio::time::timeout(limit, task).await.ok() })
}

pub(super) struct Http {
    config: RedfishConfig,
    place: (String, u16),
    login: Option<(String, String)>,
    session: Session,
    /// A session was refused in this go, and another one was opened.
    has_renewed: bool,
    kept: Option<Sender>,
}

impl Http {
    pub(super) fn new(config: &RedfishConfig, session: &Session) -> Result<Self, String> {
        Ok(Self {
            config: config.clone(),
            place: config.place()?,
            login: config.login()?,
            session: session.clone(),
            has_renewed: false,
            kept: None,
        })
    }

    /// Status and body; in words, why there is no answer.
    pub(super) async fn get(&mut self, path: &str) -> Result<(u16, Vec<u8>), String> {
        let Some((user, password)) = self.login.clone() else {
            return self.ask(path, Who::Nobody).await;
        };
        if !self.config.session {
            return self.ask(path, Who::Login(&user, &password)).await;
        }
        loop {
            let open = match self.session.open() {
                Some(open) => open,
                None => match self.log_in(&user, &password).await? {
                    Ok(open) => open,
                    Err(status) => return Ok((status, Vec::new())),
                },
            };
            let answer = self.ask(path, Who::Token(&open.token)).await?;
            if answer.0 != 401 || self.has_renewed {
                return Ok(answer);
            }
            self.has_renewed = true;
            self.log_out().await;
        }
    }

    /// Ends the session, if there is one. Whether the server still knew it does not matter.
    pub(super) async fn log_out(&mut self) {
        if let Some(open) = self.session.take() {
            self.end(&open).await;
        }
    }

    pub(super) async fn end(&mut self, open: &Open) {
        let Some(link) = &open.link else { return };
        let request = self.request(Method::DELETE, link.as_str(), Who::Token(&open.token), None);
        let outcome = match request {
            Ok(request) => self.send_anew(request).await.map(|answer| answer.status),
            Err(reason) => Err(reason),
        };
        tracing::debug!("the session {} was ended: {outcome:?}", link.as_str());
    }

    /// A new session, or the status of who refuses it.
    async fn log_in(&mut self, user: &str, password: &str) -> Result<Result<Open, u16>, String> {
        if !self.session.is_wanted() {
            return Err("the agent stops".to_owned());
        }
        let body = serde_json::json!({ "UserName": user, "Password": password }).to_string();
        let request = self.request(Method::POST, SESSIONS, Who::Nobody, Some(body))?;
        // Over a fresh connection: a login must not be sent twice because an old one was closed.
        let answer = self.send_anew(request).await?;
        let header = |name: &str| answer.head.get(name).and_then(|value| value.to_str().ok());
        match answer.status {
            200 | 201 => {}
            401 | 403 => return Ok(Err(answer.status)),
            status => return Err(format!("it opens no session at {SESSIONS}: HTTP {status}")),
        }
        let open = Open::of(header(TOKEN), header(LOCATION.as_str()));
        let open = open.ok_or_else(|| format!("it opened a session without an {TOKEN}"))?;
        if !self.session.keep(open.clone()) {
            self.end(&open).await;
            return Err("the agent stops".to_owned());
        }
        Ok(Ok(open))
    }

    async fn ask(&mut self, path: &str, who: Who<'_>) -> Result<(u16, Vec<u8>), String> {
        let request = || self.request(Method::GET, path, who, None);
        let (first, second) = (request()?, request()?);
        // Over a connection that the server closed meanwhile it is asked once more.
        if let Some(mut kept) = self.kept.take()
            && kept.ready().await.is_ok()
            && let Ok(answer) = exchange(&mut kept, first).await
        {
            self.kept = Some(kept);
            return Ok((answer.status, answer.body));
        }
        let answer = self.send_anew(second).await?;
        Ok((answer.status, answer.body))
    }

    async fn send_anew(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let mut sender = self.connect().await?;
        let answer = exchange(&mut sender, request).await?;
        self.kept = Some(sender);
        Ok(answer)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        who: Who<'_>,
        body: Option<String>,
    ) -> Result<Request<Full<Bytes>>, String> {
        let (host, port) = &self.place;
        let host =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(ACCEPT, "application/json")
            .header("OData-Version", "4.0")
            .header(USER_AGENT, concat!("bijli-agent/", env!("CARGO_PKG_VERSION")));
        request = match who {
            Who::Nobody => request,
            Who::Login(user, password) => {
                let login = BASE64.encode(format!("{user}:{password}"));
                request.header(AUTHORIZATION, format!("Basic {login}"))
            }
            Who::Token(token) => request.header(TOKEN, token),
        };
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        request.body(body).map_err(|error| error.to_string())
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

async fn exchange(sender: &mut Sender, request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let answer = sender.send_request(request).await.map_err(|error| http_words(&error))?;
    let (head, body) = answer.into_parts();
    Ok(Answer { status: head.status.as_u16(), head: head.headers, body: collect(body).await? })
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

fn http_words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return "it closed the connection".to_owned();
    }
    words(error)
}
