//! Snapshots: any file is refused in words, any content is refused or gone on from, without a
//! panic; what was saved is read again as it was.

use std::path::Path;
use std::sync::Arc;

use bijli_collector::bookkeeper::Bookkeeper;
use bijli_collector::clock::Clock;
use bijli_collector::frame::FrameDigest;
use bijli_collector::health::Health;
use bijli_collector::intake::Intake;
use bijli_collector::snapshot::{Grounds, LoadError, Loaded, Packer, Store, Taken};
use bijli_collector::state::State;
use bijli_ledger::Rules;
use bijli_seglog::testing::ModelDisk;
use bijli_seglog::{Log, Options, RecordSeq};
use sha2::{Digest as _, Sha256};

const DIR: &str = "/snapshots";
const RECORD: RecordSeq = RecordSeq::FIRST;

/// The first byte says what the rest is.
pub fn check(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    match mode % 3 {
        0 => file(rest),
        // No chance finds a hash.
        1 => file(&[rest, &Sha256::digest(rest)].concat()),
        _ => content(rest),
    }
}

/// A file that lies there, whatever is in it. The journal is empty, so none can be believed.
fn file(bytes: &[u8]) {
    let disk = ModelDisk::new(1);
    let store = Store::open(disk.clone(), Path::new(DIR)).expect("a disk that works");
    disk.set_contents(&Path::new(DIR).join("00000000000000000001.snapshot"), bytes);
    let error = verdict(&disk, &store);
    assert!(!error.to_string().is_empty());
}

/// What the only snapshot is refused for.
fn verdict(disk: &ModelDisk, store: &Store<ModelDisk>) -> LoadError {
    let options = || Options::new(2_048, 600).expect("valid").with_salt(7);
    let open = |dir: &str| Log::open(disk.clone(), Path::new(dir), options()).expect("empty").0;
    let (journal, ledger) = (open("/journal"), open("/ledger"));
    let mut found = store.check(&Grounds { journal: &journal, ledger: &ledger });
    assert_eq!(found.len(), 1, "{found:?}");
    let (record, error) = found.remove(0);
    assert_eq!(record, RECORD);
    error.expect("the journal is empty")
}

/// Two bytes of length, the books' part, the views' part.
fn content(rest: &[u8]) {
    let Some((length, rest)) = rest.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (books, views) = rest.split_at(length);
    let sha256 = save(books, views);
    let state = Arc::new(State::new(Clock, Rules::default(), Health::new(), None));
    let (books, views) = (books.to_vec(), views.to_vec());
    let loaded = Loaded { record: RECORD, next_leaf: 0, sha256, books, views };
    match Bookkeeper::restore(state, &loaded) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok((intake, _bookkeeper)) => {
            let bytes = intake.to_bytes();
            let again = Intake::from_bytes(&bytes).expect("what was written can be read");
            assert_eq!(again.to_bytes(), bytes, "an intake changed on its way");
        }
    }
}

/// Saves it and looks whether its file is whole; returns the hash of the books' part.
fn save(books: &[u8], views: &[u8]) -> [u8; 32] {
    let pack = |plain: &[u8]| {
        let mut packer = Packer::new();
        std::io::Write::write_all(&mut packer, plain).expect("memory takes any bytes");
        packer.finish()
    };
    let ((books, bytes, sha256), (views, _, _)) = (pack(books), pack(views));
    let digest = FrameDigest([1; 32]);
    let taken = Taken { record: RECORD, digest, next_leaf: 0, bytes, sha256, books, views };
    let disk = ModelDisk::new(1);
    let store = Store::open(disk.clone(), Path::new(DIR)).expect("a disk that works");
    let _kept = store.save(&taken).expect("a disk that works");
    let error = verdict(&disk, &store);
    assert!(matches!(error, LoadError::Ahead { .. }), "{error}");
    sha256
}
