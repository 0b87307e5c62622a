//! A well-behaved sender over one kept connection, that looks at its watch.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bijli_wire::{Batch, BatchSeq, HubId, Matrix, NodeId, SchemaId, SpoolEpoch, UtcMillis, codec};
use harness::http::ask;
use harness::now;
use harness::schema::of_one_gpu;

pub const HUB: &str = "[[hub]]\nid = \"isb\"\n";
pub const GPU: &str = "GPU-1";
const STEP_MJ: i64 = 100_000;

/// One GPU whose register rises by 100 J a second, one second a batch, from an hour ago on.
pub struct Sender {
    port: u16,
    link: Option<BufReader<TcpStream>>,
    schema: SchemaId,
    begin_ms: i64,
    next: u64,
    pub acked: u64,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    Acked,
    Refused { status: u16, text: String },
    NoAnswer,
}

impl Sender {
    pub fn new(port: u16) -> Self {
        let (schema, body) =
            codec::encode_schema(&of_one_gpu("isb", "good", GPU)).expect("encodes");
        let answer = ask("PUT", port, &format!("/v1/schemas/{schema}"), &body).expect("an answer");
        assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
        let begin_ms = i64::try_from(harness::utc_ms()).expect("small") - 3_600_000;
        Self { port, link: None, schema, begin_ms, next: 1, acked: 0 }
    }

    fn body(&self, sequence: u64) -> Vec<u8> {
        let row = i64::try_from(sequence).expect("small");
        let at = UtcMillis::new(self.begin_ms + row * 1_000);
        let matrix = Matrix { group: 0, times: vec![at], columns: vec![vec![Some(row * STEP_MJ)]] };
        let batch = Batch {
            hub: HubId::new("isb").expect("valid"),
            node: NodeId::new("good").expect("valid"),
            epoch: SpoolEpoch::new([7; 16]),
            sequence: BatchSeq::new(sequence).expect("from 1"),
            schema: self.schema,
            created: at,
            uptime: None,
            matrices: vec![matrix],
            events: Vec::new(),
            holds: Vec::new(),
        };
        codec::encode_batch(&batch).expect("encodes")
    }

    /// Sends the next batch, or the one that was not acked before, once.
    pub fn send(&mut self) -> Told {
        let body = self.body(self.next);
        // A kept connection that was silent for long has been ended: begin another, once.
        let told = self.post(&body).or_else(|_| {
            self.link = None;
            self.post(&body)
        });
        let told = told.unwrap_or_else(|_| {
            self.link = None;
            Told::NoAnswer
        });
        if told == Told::Acked {
            self.acked = self.next;
            self.next += 1;
        }
        told
    }

    /// Sends so many batches that must be acked; the times it took, sorted.
    pub fn send_timed(&mut self, count: usize) -> Vec<Duration> {
        let mut times: Vec<Duration> = (0..count)
            .map(|_| {
                let begun = now();
                let told = self.send();
                assert_eq!(told, Told::Acked, "batch {}", self.next);
                std::thread::sleep(Duration::from_millis(10));
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        times
    }

    /// The exact energy of what was acked.
    pub fn energy_mj(&self) -> u128 {
        u128::from(self.acked.saturating_sub(1)) * u128::try_from(STEP_MJ).expect("above 0")
    }

    fn post(&mut self, body: &[u8]) -> std::io::Result<Told> {
        let link = match &mut self.link {
            Some(link) => link,
            none => {
                let stream = TcpStream::connect(("127.0.0.1", self.port))?;
                stream.set_read_timeout(Some(Duration::from_secs(20)))?;
                stream.set_nodelay(true)?;
                none.insert(BufReader::new(stream))
            }
        };
        let head = format!(
            "POST /v1/batches HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        link.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if link.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(0);
            } else if let Some(count) = line.strip_prefix("content-length: ") {
                length = count.parse().unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        link.read_exact(&mut answer)?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let is_acked = status == 200 && text.contains("\"verdict\"");
        Ok(if is_acked { Told::Acked } else { Told::Refused { status, text } })
    }
}
