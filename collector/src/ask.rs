//! Asking a running collector over its own JSON API, as the commands do that need one.
//!
//! # Invariants
//! - An answer is bounded in time and size, and is read whole before anything is made of it.
//! - What the collector refuses is told in the collector's own words.
//! - A question that the collector has no time for just now is asked again for a while; what
//!   changes something is sent once.

use std::time::Duration;

use bijli_wire::{ErrorBody, ErrorCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Method;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::Instant;

const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long a collector is asked again that says "ask again in a moment".
const BUSY_TIME_MAX: Duration = Duration::from_secs(15);
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{url:?} is no address like http://127.0.0.1:8640")]
    Url { url: String },
    #[error("cannot connect to {authority}; is a collector running there?")]
    Connect { authority: String, source: std::io::Error },
    #[error("the connection to {authority} failed: {reason}")]
    Http { authority: String, reason: String },
    #[error("{authority} did not answer in time")]
    TimeOut { authority: String },
    #[error("{authority} refuses {path}: {message}")]
    Refused { authority: String, path: String, message: String },
    #[error("{authority} answered {status}, nothing that a collector says to {path}")]
    Answer { authority: String, path: String, status: u16 },
}

/// `GET path` of the collector at `url`; returns the JSON as it came, and read.
///
/// # Errors
/// When nobody answers, not a collector, or it refuses.
pub async fn ask<T: DeserializeOwned>(url: &str, path: &str) -> Result<(String, T), AskError> {
    send(url, path, (Method::GET, Bytes::new())).await
}

/// `PUT path` with a JSON; as [`ask`].
///
/// # Errors
/// As [`ask`].
pub async fn put<T: DeserializeOwned>(
    url: &str,
    path: &str,
    json: Vec<u8>,
) -> Result<(String, T), AskError> {
    send(url, path, (Method::PUT, Bytes::from(json))).await
}

/// `POST path` with a JSON; as [`ask`].
///
/// # Errors
/// As [`ask`].
pub async fn post<T: DeserializeOwned>(
    url: &str,
    path: &str,
    json: Vec<u8>,
) -> Result<(String, T), AskError> {
    send(url, path, (Method::POST, Bytes::from(json))).await
}

async fn send<T: DeserializeOwned>(
    url: &str,
    path: &str,
    what: (Method, Bytes),
) -> Result<(String, T), AskError> {
    let refused = || AskError::Url { url: url.to_owned() };
    let authority = url.strip_prefix("http://").ok_or_else(refused)?.trim_end_matches('/');
    if authority.is_empty() || authority.contains('/') {
        return Err(refused());
    }
    let patience = if what.0 == Method::GET { BUSY_TIME_MAX } else { Duration::ZERO };
    let until = Instant::now() + patience;
    loop {
        let answer = fetch(authority, path, what.clone());
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, answer).await;
        let late = |_| AskError::TimeOut { authority: authority.to_owned() };
        let (status, text) = answer.map_err(late)??;
        let Ok(ErrorBody { error }) = serde_json::from_str(&text) else {
            let read =
                serde_json::from_str(&text).map_err(|_| not_ours(authority, path, status))?;
            return Ok((text, read));
        };
        if error.code != ErrorCode::Overloaded || Instant::now() >= until {
            let (authority, path) = (authority.to_owned(), path.to_owned());
            return Err(AskError::Refused { authority, path, message: error.message });
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}

/// Sends a text to `http://host:port/any/path` and waits on this thread; the status and text that
/// come back, whoever answers.
///
/// # Errors
/// Why there is no answer, in words.
pub fn exchange(
    url: &str,
    method: Method,
    body: String,
    time_max: Duration,
) -> Result<(u16, String), String> {
    let rest = url.strip_prefix("http://").ok_or("only http:// is spoken here")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let answer = fetch(authority, path, (method, Bytes::from(body)));
        match tokio::time::timeout(time_max, answer).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("{authority} did not answer in time")),
        }
    })
}

fn not_ours(authority: &str, path: &str, status: u16) -> AskError {
    AskError::Answer { authority: authority.to_owned(), path: path.to_owned(), status }
}

async fn fetch(
    authority: &str,
    path: &str,
    (method, body): (Method, Bytes),
) -> Result<(u16, String), AskError> {
    let failed = |reason: String| AskError::Http { authority: authority.to_owned(), reason };
    let stream = TcpStream::connect(authority)
        .await
        .map_err(|source| AskError::Connect { authority: authority.to_owned(), source })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(error.to_string()))?;
    // Its failure is the request's failure.
    tokio::spawn(async move { drop(connection.await) });
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, authority)
        .body(Full::new(body))
        .map_err(|error| failed(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
    let text = String::from_utf8(body.to_vec()).map_err(|_| not_ours(authority, path, status))?;
    Ok((status, text))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use serde_json::{Value, json};

    use super::*;

    fn busy() -> (u16, String) {
        let body = ErrorBody::new(ErrorCode::Overloaded, "ask again in a moment");
        (429, serde_json::to_string(&body).expect("JSON"))
    }

    /// Answers one connection each with these, and then is gone.
    fn server<const N: usize>(answers: [(u16, String); N]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for (status, text) in answers {
                let (mut stream, _) = listener.accept().expect("a connection");
                let lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
                lines.map(|line| line.expect("text")).take_while(|line| !line.is_empty()).count();
                let length = text.len();
                write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n{text}")
                    .expect("sent");
            }
        });
        url
    }

    #[tokio::test]
    async fn a_busy_collector_is_asked_again() {
        let url = server([busy(), busy(), (200, json!({ "is_ready": true }).to_string())]);
        let (_, answer) = ask::<Value>(&url, "/v1/status").await.expect("an answer");
        assert_eq!(answer, json!({ "is_ready": true }));
    }

    /// Whether it was done is not known to who sent it: a person looks, and does it again.
    #[tokio::test]
    async fn what_changes_something_is_sent_once() {
        let url = server([busy(), (200, "{}".to_owned())]);
        let refused = put::<Value>(&url, "/v1/x", b"{}".to_vec()).await.expect_err("busy");
        assert!(refused.to_string().ends_with("ask again in a moment"), "{refused}");
    }
}
