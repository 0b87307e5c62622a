//! One question to the kubelet: a unary gRPC call over HTTP/2 on a unix socket.
//!
//! All that gRPC adds to HTTP/2 for it is a prefix of five bytes and a status in the trailers
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>), so no gRPC library is here
//! (`docs/decisions/0031-more-witnesses-and-shares.md`). Each look has a connection of its own: a
//! kubelet that was restarted is found again.

use std::path::Path;
use std::time::Duration;

use bijli_wire::Millis;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, TE};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::runtime::Builder;

use super::message::Listed;

const LIST: &str = "http://localhost/v1.PodResourcesLister/List";
/// A node has some hundred pods.
const BYTES_MAX: usize = 16 << 20;
/// Not compressed, and its length.
const PREFIX_BYTES: usize = 5;
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What it lists. It blocks, until the deadline at most.
///
/// # Errors
/// Says why there is no whole answer.
pub(super) fn list(socket: &Path, timeout: Millis) -> Result<Listed, String> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let limit = Duration::from_millis(timeout.get());
    let late = |_| format!("no answer within {} ms", timeout.get());
    runtime.block_on(async { tokio::time::timeout(limit, ask(socket)).await }).map_err(late)?
}

async fn ask(socket: &Path) -> Result<Listed, String> {
    let words = |e: hyper::Error| crate::schedule::words(&e);
    let stream = UnixStream::connect(socket).await.map_err(|e| e.to_string())?;
    let connecting = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = connecting.map_err(words)?;
    // It ends with the runtime.
    tokio::spawn(connection);
    let request =
        Request::post(LIST).header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
    let nothing = Full::new(Bytes::from_static(&[0; PREFIX_BYTES]));
    let request = request.body(nothing).map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await.map_err(words)?;
    if response.status() != StatusCode::OK {
        return Err(format!("HTTP status {}", response.status()));
    }
    // An answer without a body has its status in the head.
    let head = response.headers().clone();
    let body = Limited::new(response.into_body(), BYTES_MAX).collect().await;
    let body = body.map_err(|e| e.to_string())?;
    judge(body.trailers().unwrap_or(&head))?;
    read(&body.to_bytes())
}

/// Whether the call went well.
fn judge(told: &HeaderMap) -> Result<(), String> {
    let text = |name| told.get(name).and_then(|value| value.to_str().ok());
    match text(STATUS) {
        Some("0") => Ok(()),
        Some(status) => Err(format!("gRPC status {status}: {}", text(MESSAGE).unwrap_or_default())),
        None => Err("the answer was cut off: no gRPC status".to_owned()),
    }
}

fn read(body: &[u8]) -> Result<Listed, String> {
    let (prefix, message) =
        body.split_first_chunk::<PREFIX_BYTES>().ok_or("an answer without a message")?;
    let [compressed, length @ ..] = prefix;
    let length = u32::from_be_bytes(*length);
    if *compressed != 0 || usize::try_from(length) != Ok(message.len()) {
        return Err("an answer that is not one uncompressed message".to_owned());
    }
    Listed::decode(message).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::message::Pod;
    use super::*;

    #[test]
    fn one_whole_message_with_status_0_is_an_answer() {
        let listed = Listed { pods: vec![Pod { name: "one".to_owned(), ..Pod::default() }] };
        let message = listed.encode_to_vec();
        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
        let framed = |flag: u8, length: &[u8]| [&[flag][..], length, &message].concat();
        assert_eq!(read(&framed(0, &length)), Ok(listed));
        assert_eq!(read(&[0; PREFIX_BYTES]), Ok(Listed::default()));
        for wrong in [framed(1, &length), framed(0, &[0; 4]), vec![0; 3], vec![0, 0, 0, 0, 1, 0xFF]]
        {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_status_says_whether_it_went_well() {
        let told = |pairs: &[(HeaderName, &str)]| {
            let header = |(name, value): &(HeaderName, &str)| {
                (name.clone(), value.parse().expect("a value"))
            };
            judge(&pairs.iter().map(header).collect())
        };
        assert_eq!(told(&[(STATUS, "0")]), Ok(()));
        let refused = told(&[(STATUS, "12"), (MESSAGE, "unknown service")]).expect_err("12");
        assert!(refused.contains("12: unknown service"), "{refused}");
        assert!(told(&[]).expect_err("cut").contains("cut off"));
    }

    #[test]
    fn a_socket_that_is_not_there_says_so() {
        let none = list(Path::new("/nowhere/kubelet.sock"), Millis::new(500));
        assert!(none.expect_err("none").contains("No such file"));
    }
}
