//! What a snapshot costs: how long booking stands still while it is taken, how large it is, and how
//! soon a start has it back.

use std::time::Instant;

use bijli_collector::snapshot::Packer;
use bijli_ledger::{Activity, Books, Rules};
use bijli_wire::batch::{Register, Subject};
use bijli_wire::{HubId, Method, Millis, Milliwatts, NodeId, SubjectId, SubjectKind, UtcMillis};

/// A twenty-fourth of the programme; what is measured grows with it.
const GPUS: u32 = 1_000;
const GPUS_PER_NODE: u32 = 8;
/// As long as intervals can be corrected.
const DAYS: i64 = 35;
const READ_EVERY_MS: i64 = 60_000;
const BEGIN: i64 = 1_782_864_000_000;

pub fn run() {
    println!("\n## Snapshot: {GPUS} GPUs, {DAYS} days of inputs\n");
    println!("| what | |\n| --- | --- |");
    let begun = Instant::now();
    let books = filled();
    row("booking it all, from readings a minute apart", begun, "");
    let begun = Instant::now();
    let mut packer = Packer::new();
    postcard::to_io(&books, &mut packer).expect("memory takes any bytes");
    let (packed, bytes, _) = packer.finish();
    row("taking the snapshot: written, hashed, compressed", begun, "");
    println!("| bytes, compressed | {} MB, {} MB |", bytes / 1_000_000, packed.len() / 1_000_000);
    drop(books);
    let begun = Instant::now();
    let raw = zstd::decode_all(&packed[..]).expect("just packed");
    let back: Books = postcard::from_bytes(&raw).expect("just packed");
    row("reading it back", begun, "");
    assert_eq!(back.imbalance(), 0);
}

fn row(what: &str, begun: Instant, more: &str) {
    println!("| {what} | {:.2} s{more} |", begun.elapsed().as_secs_f64());
}

/// GPUs whose power changes every few minutes, as jobs do.
fn filled() -> Books {
    let mut books = Books::new(HubId::new("isb").expect("valid"), Rules::default());
    let register = Register {
        numerator: 1,
        denominator: 1,
        modulus: None,
        power_max: Milliwatts::new(1_000_000),
        epoch: 1,
        method: Method::Hardware,
        gap: Millis::new(120_000),
    };
    let handles: Vec<_> = (0..GPUS)
        .map(|gpu| {
            let node = NodeId::new(&format!("n{:04}", gpu / GPUS_PER_NODE)).expect("valid");
            let subject = Subject {
                id: SubjectId::new(&format!("GPU-{gpu:05}")).expect("valid"),
                kind: SubjectKind::Gpu,
                label: String::new(),
                model: String::new(),
                serial: String::new(),
                register: Some(register),
            };
            books.declare(&node, &subject).handle()
        })
        .collect();
    let mut counts = vec![0_i64; handles.len()];
    for minute in 0..DAYS * 24 * 60 {
        let at = UtcMillis::new(BEGIN + minute * READ_EVERY_MS);
        for (number, (handle, count)) in handles.iter().zip(&mut counts).enumerate() {
            let phase = (i64::try_from(number).expect("small") * 7 + minute) / 5;
            *count += 6_000_000 + (phase * 7_919) % 30_000_000;
            let _booked = books.read_at(*handle, at, Some(*count), Activity::Busy);
        }
        let _closed = books.advance(at);
    }
    books
}
