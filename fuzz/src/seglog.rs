//! Recovery of the segment log: whatever happens to its bytes, it opens, does not panic, gives back
//! every record whose segment is whole up to it, and goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bijli_seglog::testing::ModelDisk;
use bijli_seglog::{Log, Options, RecordSeq};

const DIR: &str = "/log";
const HEADER_BYTES: usize = 1024;
const FRAME_HEAD: usize = 32;

/// A record as it was written.
struct Written {
    file: PathBuf,
    /// Behind its frame.
    end: usize,
    payload: Vec<u8>,
}

/// Bytes one after another; zeros when they are used up.
struct Tape<'a>(std::slice::Iter<'a, u8>);

impl Tape<'_> {
    fn byte(&mut self) -> usize {
        self.0.next().map_or(0, |byte| usize::from(*byte))
    }

    fn word(&mut self) -> usize {
        self.byte() << 8 | self.byte()
    }
}

fn options() -> Options {
    Options::new(2_048, 600).expect("valid").with_salt(7)
}

fn open(disk: &ModelDisk) -> Log<ModelDisk> {
    Log::open(disk.clone(), Path::new(DIR), options()).expect("damage is no error").0
}

/// The tape: how many records and how long, commits between them, a release; then the damage.
pub fn check(data: &[u8]) {
    let mut tape = Tape(data.iter());
    let disk = ModelDisk::new(1);
    let floor = write(&disk, &mut tape);
    let written = layout(&disk);
    let harm = damage(&disk, &mut tape);
    disk.kill();
    let mut log = open(&disk);
    let first_kept = log.first_seq();
    let kept = read(&log);
    for (seq, record) in &written {
        let is_whole = harm.get(&record.file).is_none_or(|from| record.end <= *from);
        // What lies before the floor was given up.
        if is_whole && RecordSeq::new(*seq) >= floor {
            assert!(RecordSeq::new(*seq) >= first_kept, "record {seq} was unlinked");
            assert_eq!(kept.get(seq), Some(&record.payload), "record {seq} is lost");
        }
    }
    let seq = log.append(b"after").expect("it goes on");
    log.commit().expect("it goes on");
    assert!(kept.keys().next_back().is_none_or(|last| *last < seq.get()), "{seq:?} was used");
    drop(log);
    disk.power_cut();
    let again = read(&open(&disk));
    assert_eq!(again.get(&seq.get()).map(Vec::as_slice), Some(&b"after"[..]));
    assert!(kept.iter().all(|(seq, payload)| again.get(seq) == Some(payload)), "lost by a start");
}

/// Returns the floor: what lies before it may have been unlinked.
fn write(disk: &ModelDisk, tape: &mut Tape<'_>) -> RecordSeq {
    let mut log = open(disk);
    let records = 1 + tape.byte() % 16;
    for record in 0..records {
        let shape = tape.byte();
        let fill = u8::try_from(record + 1).expect("few");
        let _seq = log.append(&vec![fill; shape * 2]).expect("it fits");
        if shape & 1 == 0 {
            log.commit().expect("a disk that works");
        }
    }
    log.commit().expect("a disk that works");
    let release = RecordSeq::new(u64::try_from(tape.byte() % 8).expect("few"));
    if release > log.durable_seq() {
        return RecordSeq::FIRST;
    }
    log.advance_cursor(release).expect("it is durable");
    log.unlink_before(release).expect("a disk that works");
    release
}

/// Where each record lies, from the format's document.
fn layout(disk: &ModelDisk) -> BTreeMap<u64, Written> {
    let mut found = BTreeMap::new();
    for file in disk.files() {
        let bytes = disk.contents(&file).expect("listed");
        let is_segment = file.extension().is_some_and(|extension| extension == "seg");
        let mut at = HEADER_BYTES;
        while is_segment && at + FRAME_HEAD <= bytes.len() {
            let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four"));
            let seq = u64::from_le_bytes(bytes[at + 16..at + 24].try_into().expect("eight"));
            let end = at + FRAME_HEAD + usize::try_from(length).expect("small");
            let payload = bytes[at + FRAME_HEAD..end].to_vec();
            found.insert(seq, Written { file: file.clone(), end, payload });
            at = end;
        }
    }
    found
}

/// Harms files; from which byte on each is not what it was.
fn damage(disk: &ModelDisk, tape: &mut Tape<'_>) -> BTreeMap<PathBuf, usize> {
    let mut harm = BTreeMap::new();
    let files: Vec<PathBuf> = disk
        .files()
        .into_iter()
        .filter(|file| file.file_name().is_some_and(|name| name != "lock"))
        .collect();
    for _ in 0..tape.byte() % 8 {
        let Some(file) = files.get(tape.byte() % files.len().max(1)) else { break };
        let Some(mut bytes) = disk.contents(file) else { continue };
        let at = tape.word() % bytes.len().max(1);
        let mut from = at;
        match tape.byte() % 5 {
            0 if !bytes.is_empty() => bytes[at] ^= u8::try_from(tape.byte()).expect("a byte"),
            1 => bytes.truncate(at),
            2 => {
                from = bytes.len();
                bytes.extend((0..tape.byte()).map(|_| 0xB1));
            }
            3 => {
                let end = (at + tape.byte()).min(bytes.len());
                bytes[at..end].fill(0);
            }
            _ => {
                // Some of it comes again at its end: frames that are good, and not in turn.
                from = bytes.len();
                bytes.extend_from_within(at..);
            }
        }
        disk.set_contents(file, &bytes);
        let known = harm.entry(file.clone()).or_insert(from);
        *known = from.min(*known);
    }
    harm
}

fn read(log: &Log<ModelDisk>) -> BTreeMap<u64, Vec<u8>> {
    let records = log.read_from(RecordSeq::FIRST);
    // A gap is told as an error; what is behind it comes after.
    records.flatten().map(|(seq, payload)| (seq.get(), payload)).collect()
}
