//! HTTP/2 by hand, as far as the tests need it: frames, the bodies in a client's bytes, and a
//! small server. Shares nothing with the product's library, and can say what that never would.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// On DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// On SETTINGS and PING.
pub const ACK: u8 = 1;
/// On HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    #[must_use]
    pub fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        Self { kind, flags, stream, payload: payload.to_vec() }
    }

    /// # Panics
    /// When the payload is longer than a length of three bytes can say.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a small payload").to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// Takes the bytes of one direction of a connection and gives its frames.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// The preface of a client is still to come.
    preface: usize,
}

impl Frames {
    #[must_use]
    pub fn of_client() -> Self {
        Self { bytes: Vec::new(), preface: PREFACE.len() }
    }

    #[must_use]
    pub fn of_server() -> Self {
        Self::default()
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let skipped = self.preface.min(self.bytes.len());
        self.bytes.drain(..skipped);
        self.preface -= skipped;
    }
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let head = self.bytes.get(..9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let (kind, flags) = (head[3], head[4]);
        let payload = self.bytes.get(9..9 + length)?.to_vec();
        self.bytes.drain(..9 + length);
        Some(Frame { kind, flags, stream, payload })
    }
}

/// Joins the DATA frames of each stream.
#[derive(Clone, Debug, Default)]
pub struct Bodies {
    open: BTreeMap<u32, Vec<u8>>,
}

impl Bodies {
    /// The whole body, if this frame ended one.
    pub fn push(&mut self, frame: &Frame) -> Option<Vec<u8>> {
        if frame.kind == DATA {
            self.open.entry(frame.stream).or_default().extend(&frame.payload);
        }
        let ends = matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0;
        ends.then(|| self.open.remove(&frame.stream).unwrap_or_default())
    }
}

/// What a server does with a request's body.
#[derive(Clone, Debug)]
pub enum Reply {
    Answer {
        status: u16,
        body: Vec<u8>,
    },
    /// Keeps the connection and says nothing.
    Silence,
    Hangup,
}

/// A server that knows bodies and no addresses. Stops when dropped.
#[derive(Debug)]
pub struct Server {
    pub port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on a free port of loopback and hands every body to `respond`.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn start(respond: impl Fn(&[u8]) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, respond) = (Arc::clone(&stop), Arc::new(respond));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let (respond, stopped) = (Arc::clone(&respond), Arc::clone(&stopped));
                std::thread::spawn(move || {
                    // A client that goes away is no failure of a test.
                    let _ended = converse(stream, &*respond, &stopped);
                });
            }
        });
        Self { port, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the accept.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn converse(
    mut stream: TcpStream,
    respond: &(dyn Fn(&[u8]) -> Reply + Send + Sync),
    stop: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(&Frame::new(SETTINGS, 0, 0, b"").encode())?;
    let (mut frames, mut bodies) = (Frames::of_client(), Bodies::default());
    let mut bytes = [0; 16 << 10];
    while !stop.load(Ordering::Relaxed) {
        let count = match stream.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(e),
        };
        frames.push(&bytes[..count]);
        for frame in frames.by_ref() {
            stream.write_all(&courtesy(&frame))?;
            let Some(body) = bodies.push(&frame) else { continue };
            match respond(&body) {
                Reply::Answer { status, body } => {
                    stream.write_all(&answer(frame.stream, status, &body))?;
                }
                Reply::Silence => {}
                Reply::Hangup => return Ok(()),
            }
        }
    }
    Ok(())
}

/// What a peer may expect in answer to a frame, apart from an answer to its request.
fn courtesy(frame: &Frame) -> Vec<u8> {
    match frame.kind {
        SETTINGS if frame.flags & ACK == 0 => Frame::new(SETTINGS, ACK, 0, b"").encode(),
        PING if frame.flags & ACK == 0 => Frame::new(PING, ACK, 0, &frame.payload).encode(),
        DATA if !frame.payload.is_empty() => {
            let count = u32::try_from(frame.payload.len()).expect("three bytes").to_be_bytes();
            let window = |stream| Frame::new(WINDOW_UPDATE, 0, stream, &count).encode();
            [window(0), window(frame.stream)].concat()
        }
        _ => Vec::new(),
    }
}

fn answer(stream: u32, status: u16, body: &[u8]) -> Vec<u8> {
    // HPACK: ":status" is name 8 of the static table; a literal that is not remembered.
    let head = [&[0x08, 3][..], status.to_string().as_bytes()].concat();
    let head = Frame::new(HEADERS, END_HEADERS, stream, &head);
    [head.encode(), Frame::new(DATA, END_STREAM, stream, body).encode()].concat()
}
