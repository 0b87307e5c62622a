//! A witness on a real disk: what it knows outlives it, and damage is no ignorance.

use bijli_tlog::{Edge, Hash};

use super::*;
use crate::disk;
use crate::seal::make_key;

const ORIGIN: &str = "ledger.example.pk/hub/isb/ledger";
const AT: UtcMillis = UtcMillis::new(1_790_000_000_000);

struct Desk {
    folder: tempfile::TempDir,
    log: SigningKey,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = make_key(&folder.path().join("log.key"), ORIGIN, KeyKind::Note).expect("made");
        make_key(&folder.path().join("w.key"), "w.example", KeyKind::Cosignature).expect("made");
        disk::make_dir(&folder.path().join("state")).expect("made");
        Self { folder, log }
    }

    fn keeper(&self) -> Result<Keeper, WitnessError> {
        let (dir, key) = (self.folder.path().join("state"), self.folder.path().join("w.key"));
        Keeper::open(&dir, &key, vec![self.log.verifier().clone()])
    }

    /// A log of so many entries that are all `kind`, in a folder.
    fn log(&self, name: &str, kind: u8, size: u64) -> PathBuf {
        let dir = self.folder.path().join(name);
        let mut files = Files::new(RealDisk, &dir);
        let mut edge = Edge::default();
        let mut tiles = Vec::new();
        (0..size).for_each(|_| tiles.extend(edge.push(&[kind])));
        tiles.extend(edge.partial());
        for (tile, bytes) in tiles {
            files.write(&tile.path(), &bytes).expect("written");
        }
        let (origin, root) = (ORIGIN.to_owned(), edge.root());
        let mut note = Note::new(Checkpoint { origin, size, root }.text());
        note.sign(&self.log, 0);
        files.write("checkpoint", note.to_string().as_bytes()).expect("written");
        dir
    }
}

#[test]
fn x9_what_was_cosigned_outlives_the_witness() {
    let desk = Desk::new();
    let id = log_id(ORIGIN);
    let keeper = desk.keeper().expect("opens");
    assert_eq!(keeper.latest(&id).expect("readable"), None);
    let note = keeper.once(&desk.log("a", 0, 300), AT).expect("the first");
    assert_eq!(keeper.latest(&id).expect("readable").as_deref(), Some(note.as_str()));
    let signed = Note::parse(&note).expect("a note").signed_by(keeper.key()).expect("true");
    assert_eq!(signed.and_then(|signed| signed.at), Some(1_790_000_000));
    let busy = desk.keeper().expect_err("one process at a time");
    assert!(busy.to_string().starts_with("another witness works in"), "{busy}");
    drop(keeper);
    let keeper = desk.keeper().expect("opens");
    keeper.once(&desk.log("b", 0, 700), AT).expect("it grew");
    for (dir, words) in [
        (desk.log("c", 0, 500), "has 700 entries"),
        (desk.log("d", 1, 700), "has 700 entries"),
        (desk.log("e", 1, 900), "has forked"),
    ] {
        let error = keeper.once(&dir, AT).expect_err("refused");
        assert!(chain(&error).contains(words), "{}", chain(&error));
    }
    assert_eq!(keeper.latest("../../etc/passwd").expect("no file is looked for"), None);
}

#[test]
fn a_damaged_or_missing_state_is_a_refusal() {
    let desk = Desk::new();
    let log = desk.log("a", 0, 10);
    desk.keeper().expect("opens").once(&log, AT).expect("the first");
    let state = desk.folder.path().join("state");
    let file = state.join(log_id(ORIGIN));
    let whole = disk::read_text(&file).expect("there");
    for damaged in [String::new(), whole.replace("\n10\n", "\n11\n"), whole.replace("— w", "— v")]
    {
        disk::write_text(&file, &damaged).expect("written");
        let error = desk.keeper().expect("opens").once(&log, AT).expect_err("damaged");
        assert!(matches!(error, WitnessError::Damaged { .. }), "{}", chain(&error));
    }
    #[expect(clippy::disallowed_methods, reason = "a test takes the directory away")]
    std::fs::remove_dir_all(&state).expect("gone");
    let error = desk.keeper().expect_err("its word is lost").to_string();
    assert!(error.contains("make it with a new key"), "{error}");
}

#[test]
fn a_log_that_is_not_watched_is_unknown() {
    let desk = Desk::new();
    let other = SigningKey::from_seed("other", KeyKind::Note, [1; 32]).expect("named");
    let (origin, root) = ("other".to_owned(), Hash::empty());
    let mut checkpoint = Note::new(Checkpoint { origin, size: 0, root }.text());
    checkpoint.sign(&other, 0);
    let request = Request { old: 0, proof: Vec::new(), checkpoint };
    let error = desk.keeper().expect("opens").add(&request, AT).expect_err("unknown");
    assert!(matches!(error, WitnessError::Refused(Refused::Unknown)), "{error:?}");
}
