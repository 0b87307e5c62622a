//! A log of a collector's real leaves, altered in every way that a hand or a disk may find.

use std::sync::{Arc, Mutex};

use bijli_ledger::leaf::{LEAF_VERSION, Posting};
use bijli_seglog::testing::ModelDisk;
use bijli_tlog::{KeyKind, SigningKey};
use bijli_wire::HubId;

use super::*;
use crate::disk;
use crate::seal::{Follower, Nobody, Sealer, Signer, origin};
use crate::testing::{Machine, leaves};

const BASE: &str = "ledger.example.pk";

fn key() -> SigningKey {
    SigningKey::from_seed(BASE, KeyKind::Note, [1; 32]).expect("a name")
}

fn log_key() -> VerifierKey {
    let origin = origin(BASE, &HubId::new("isb").expect("valid"), 1);
    key().named(&origin).expect("a name").verifier().clone()
}

/// The leaves of two hours of a GPU.
fn story() -> Vec<Vec<u8>> {
    let disk = ModelDisk::new(1);
    Machine::boot(&disk).expect("opens").live();
    leaves(&disk).into_iter().map(|(_, bytes)| bytes).collect()
}

/// A signed log of leaves in a folder, as a collector makes it.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn of(leaves: &[Vec<u8>]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut log, _) =
            crate::leaves::open(RealDisk, &folder.path().join("ledger")).expect("opens");
        for leaf in leaves {
            log.append(leaf).expect("room");
        }
        log.commit().expect("no fault");
        let dir = folder.path().join("tlog");
        let log = Arc::new(Mutex::new(log));
        let mut follower = Follower::open(RealDisk, &dir, BASE, log).expect("opens");
        while follower.step().expect("no fault") {}
        follower.flush().expect("no fault");
        let policy = Policy::of_log(Vec::new());
        let signer = Signer { base: BASE.to_owned(), keys: vec![key()], policy };
        let mut sealer = Sealer::new(signer, RealDisk, None, Box::new(Nobody));
        for tree in follower.trees.values_mut() {
            sealer.seal(tree).expect("no fault").expect("signed");
        }
        Self { folder }
    }

    fn dir(&self) -> std::path::PathBuf {
        self.folder.path().join("tlog/isb")
    }

    fn checkpoint(&self) -> String {
        disk::read_text(&self.dir().join("checkpoint")).expect("there")
    }

    fn verify(&self, older: &[String]) -> Verdict {
        let policy = Policy::of_log(vec![log_key()]);
        let older = older.iter().map(|text| ("mine".to_owned(), text.clone())).collect();
        verify(&self.dir(), &Brought { policy, older })
    }

    /// That it is told, in these words.
    #[track_caller]
    fn is_told(&self, older: &[String], words: &str) {
        let verdict = self.verify(older);
        assert!(verdict.told.iter().any(|told| told.contains(words)), "{words}: {verdict:?}");
    }
}

#[test]
fn a_collectors_log_is_good_and_of_what_it_was() {
    let story = story();
    let made = Made::of(&story);
    let old = Made::of(&story[..story.len() - 2]).checkpoint();
    let verdict = made.verify(&[old]);
    assert!(verdict.is_good(), "{verdict:?}");
    let count = story.len() as u64;
    assert_eq!((verdict.size, verdict.postings + verdict.summaries), (count, count));
    assert_eq!((verdict.ledger_from, verdict.ledger_to), (Some(0), Some(count - 1)));
    assert_eq!(verdict.older_same, 1);
    assert!(verdict.show().contains("verdict     good"), "{}", verdict.show());
}

/// Goal: D5. No single byte of the checkpoint or of a tile can change and go unseen.
#[test]
fn d5_every_flipped_byte_of_a_log_is_found() {
    let story = story();
    let made = Made::of(&story);
    let size = story.len() as u64;
    let tiles = Tile::all(size).map(|tile| tile.path());
    let mut flipped = 0;
    for name in tiles.chain(["checkpoint".to_owned()]) {
        let path = made.dir().join(&name);
        let whole = disk::read_bytes(&path).expect("there");
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << (place % 8);
            put(&path, &bytes).expect("written");
            assert!(!made.verify(&[]).is_good(), "byte {place} of {name}");
            flipped += 1;
        }
        put(&path, &whole).expect("written");
    }
    assert!(made.verify(&[]).is_good());
    assert!(flipped > 5_000, "{flipped} bytes");
}

#[expect(clippy::disallowed_methods, reason = "a test changes what a collector wrote")]
fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::write(path, bytes)
}

/// Goal: O2. A file that is gone is named.
#[test]
fn o2_a_missing_tile_is_named() {
    let story = story();
    for tile in Tile::all(story.len() as u64) {
        let made = Made::of(&story);
        disk::remove(&made.dir().join(tile.path())).expect("gone");
        made.is_told(&[], &tile.path());
    }
    let made = Made::of(&story);
    disk::remove(&made.dir().join("checkpoint")).expect("gone");
    made.is_told(&[], "there is no checkpoint");
}

/// An entry of a story with another amount in a line, still balanced.
fn altered(leaf: &[u8]) -> Vec<u8> {
    let mut leaf = Leaf::decode(leaf).expect("a leaf");
    if let Body::Posting(Posting { lines, .. }) = &mut leaf.body {
        lines.iter_mut().for_each(|line| line.amount -= 1);
    }
    leaf.encode()
}

/// Goal: X8. The collector's owner takes a little from an old posting, makes everything again and
/// signs it with the right key. Alone it is a good log; whoever kept a checkpoint knows better.
#[test]
fn x8_an_altered_and_resigned_log_contradicts_a_kept_checkpoint() {
    let story = story();
    let kept = Made::of(&story[..story.len() - 2]).checkpoint();
    let mut forged = story.clone();
    let posting = forged.iter().position(|leaf| leaf[1] == 1).expect("a posting");
    // The lines of one flow through the node: all a little less, so that it balances.
    forged[posting] = altered(&forged[posting]);
    assert_ne!(forged[posting], story[posting]);
    let made = Made::of(&forged);
    assert!(made.verify(&[]).is_good(), "nothing in it tells: {:?}", made.verify(&[]));
    made.is_told(std::slice::from_ref(&kept), "are not those that were signed then");
    Made::of(&story[..story.len() - 4]).is_told(&[kept], "entries are gone");
}

#[test]
fn leaves_that_are_none_or_do_not_balance_are_named() {
    let story = story();
    let posting = story.iter().position(|leaf| leaf[1] == 1).expect("a posting");
    let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut leaves = story.clone();
        change(&mut leaves);
        Made::of(&leaves)
    };
    // A line of the first posting takes a millijoule more than it gives.
    let torn = with(&|leaves| {
        let mut leaf = Leaf::decode(&leaves[posting]).expect("a leaf");
        if let Body::Posting(Posting { lines, .. }) = &mut leaf.body {
            lines[0].amount += 1;
        }
        leaves[posting] = leaf.encode();
    });
    torn.is_told(&[], &format!("entry {posting}: leaf {posting}:"));
    let cut = with(&|leaves| leaves[posting].truncate(40));
    cut.is_told(&[], &format!("entry {posting}: leaf {posting}:"));
    let gone = with(&|leaves| drop(leaves.remove(posting)));
    gone.is_told(&[], "the summary is of");
    assert_eq!(story[posting][0], LEAF_VERSION);
}

#[test]
fn another_key_another_log_and_missing_witnesses_are_told() {
    let made = Made::of(&story());
    let stranger = SigningKey::from_seed(log_key().name(), KeyKind::Note, [2; 32]).expect("named");
    let other =
        Brought { policy: Policy::of_log(vec![stranger.verifier().clone()]), older: Vec::new() };
    let verdict = verify(&made.dir(), &other);
    assert!(verdict.told[0].contains("not signed by"), "{verdict:?}");
    let none = Brought { policy: Policy::of_log(Vec::new()), older: Vec::new() };
    assert!(verify(&made.dir(), &none).told[0].contains("no log key was given"));
    let witness = SigningKey::from_seed("w", KeyKind::Cosignature, [3; 32]).expect("named");
    let text = format!("log {}\nwitness w {}\nquorum w\n", log_key(), witness.verifier());
    let policy = Policy::parse(&text).expect("valid");
    let verdict = verify(&made.dir(), &Brought { policy, older: Vec::new() });
    assert!(verdict.told[0].contains("fewer cosignatures"), "{verdict:?}");
}
