//! The cheapest HTTP/2 client that is still one: prepared headers, pipelined requests, answers told
//! apart by stream. Blocking, over any stream of bytes, so that the load costs little beside it.

use std::collections::BTreeMap;
use std::io::{Read, Write};

const FRAME_HEAD: usize = 9;
const FRAME_DATA: u8 = 0;
const FRAME_HEADERS: u8 = 1;
const FRAME_RESET: u8 = 3;
const FRAME_SETTINGS: u8 = 4;
const FRAME_PING: u8 = 6;
const FRAME_GOAWAY: u8 = 7;
const FRAME_WINDOW: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
/// Largest frame that every server takes.
const FRAME_BYTES_MAX: usize = 16_384;
/// What a server lets in before it says more.
const WINDOW_AT_START: i64 = 65_535;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: S,
    next_id: u32,
    out: Vec<u8>,
    heard: Vec<u8>,
    /// Bytes of `heard` that were dealt with.
    dealt: usize,
    /// What may be sent before the server grants more.
    window: i64,
    /// Bodies by stream, as far as they have come.
    answers: BTreeMap<u32, Answer>,
}

/// What came back on one stream.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) is_ok: bool,
    pub(crate) body: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    /// Greets. Answers may be as many as they like: the windows are opened wide.
    pub(crate) fn new(stream: S) -> Self {
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // HEADER_TABLE_SIZE 0: every answer's headers stand for themselves.
        push_frame(&mut out, FRAME_SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
        push_frame(&mut out, FRAME_WINDOW, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes());
        let (heard, answers) = (Vec::new(), BTreeMap::new());
        Self { stream, next_id: 1, out, heard, dealt: 0, window: WINDOW_AT_START, answers }
    }

    /// Queues a request; [`Self::flush`] sends it.
    pub(crate) fn ask(&mut self, head: &[u8], body: &[u8]) {
        let length = i64::try_from(body.len()).expect("a small body");
        assert!(length < WINDOW_AT_START, "one body fits the window of its stream");
        while self.window < length {
            self.flush();
            self.hear_frame();
        }
        self.window -= length;
        let id = self.next_id;
        self.next_id += 2;
        push_frame(&mut self.out, FRAME_HEADERS, END_HEADERS, id, head);
        let mut chunks = body.chunks(FRAME_BYTES_MAX).peekable();
        while let Some(chunk) = chunks.next() {
            let flags = if chunks.peek().is_none() { END_STREAM } else { 0 };
            push_frame(&mut self.out, FRAME_DATA, flags, id, chunk);
        }
    }

    pub(crate) fn flush(&mut self) {
        self.stream.write_all(&self.out).expect("sent");
        self.stream.flush().expect("sent");
        self.out.clear();
    }

    /// Waits for one more whole answer.
    pub(crate) fn answer(&mut self) -> Answer {
        loop {
            if let Some(answer) = self.hear_frame() {
                return answer;
            }
        }
    }

    /// Deals with one frame; an answer if it was the last of one.
    fn hear_frame(&mut self) -> Option<Answer> {
        self.hear(FRAME_HEAD);
        let head = &self.heard[self.dealt..self.dealt + FRAME_HEAD];
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        self.hear(FRAME_HEAD + length);
        let start = self.dealt + FRAME_HEAD;
        let payload = &self.heard[start..start + length];
        self.dealt += FRAME_HEAD + length;
        match kind {
            FRAME_HEADERS => self.answers.entry(id).or_default().is_ok = is_ok(payload),
            FRAME_DATA => self.answers.entry(id).or_default().body.extend_from_slice(payload),
            FRAME_WINDOW if id == 0 => {
                let more = u32::from_be_bytes(payload.try_into().expect("four bytes"));
                self.window += i64::from(more);
            }
            FRAME_SETTINGS if flags & ACK == 0 => {
                push_frame(&mut self.out, FRAME_SETTINGS, ACK, 0, &[]);
            }
            FRAME_PING if flags & ACK == 0 => {
                let payload = payload.to_vec();
                push_frame(&mut self.out, FRAME_PING, ACK, 0, &payload);
            }
            FRAME_RESET | FRAME_GOAWAY => panic!("the server broke off: frame {kind} of {id}"),
            _ => {}
        }
        let is_last = flags & END_STREAM != 0 && matches!(kind, FRAME_HEADERS | FRAME_DATA);
        if is_last { self.answers.remove(&id) } else { None }
    }

    /// Reads until so many bytes are there that were not dealt with.
    fn hear(&mut self, bytes: usize) {
        while self.heard.len() - self.dealt < bytes {
            self.heard.drain(..self.dealt);
            self.dealt = 0;
            let had = self.heard.len();
            self.heard.resize(had + FRAME_BYTES_MAX, 0);
            let read = self.stream.read(&mut self.heard[had..]).expect("heard");
            self.heard.truncate(had + read);
            assert!(read > 0, "the server hung up");
        }
    }
}

/// A prepared header block: static table entries and literals that no table remembers.
pub(crate) fn head(method: &str, path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    // Indexed: `:scheme http`. Then literals without indexing, names from the static table.
    block.push(0x86);
    for (name, value) in [(2, method), (4, path), (1, "127.0.0.1")] {
        block.push(name);
        block.push(u8::try_from(value.len()).ok().filter(|n| *n < 127).expect("a short value"));
        block.extend_from_slice(value.as_bytes());
    }
    block
}

/// Whether a header block begins with `:status` 200 or 204, after changes of the table's size.
fn is_ok(block: &[u8]) -> bool {
    let first = block.iter().find(|byte| **byte & 0xe0 != 0x20);
    matches!(first, Some(0x88 | 0x89))
}

fn push_frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("at most 16 kB").to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}
