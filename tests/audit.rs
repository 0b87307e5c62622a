//! A month as an auditor meets it: closed by a person, corrected afterwards, packed, and checked by
//! `verify.py` with nothing but Python.

#[path = "audit/desk.rs"]
mod desk;
#[path = "report/month.rs"]
#[expect(dead_code, reason = "the report's test uses the rest of it")]
mod month;

use std::sync::OnceLock;

use harness::site::millijoules;
use serde_json::Value;

use desk::{Desk, Signed, python};

/// What the desk showed of July as it was closed, and after it was corrected.
struct July {
    desk: Desk,
    closed: Value,
    restated: Value,
    leaves: Vec<Vec<u8>>,
    /// What an auditor was given before the month was closed.
    older: String,
}

/// July is closed, a holder of the 21st is told three days late, and somebody stands for it.
fn july() -> &'static July {
    static JULY: OnceLock<July> = OnceLock::new();
    JULY.get_or_init(|| {
        let mut desk = Desk::open();
        let older = desk.checkpoint(0);
        let why = "the lights' meter was changed";
        let done = desk.period(&["close", "--by", "A. Khan", "--despite", why]);
        assert_eq!(done["verdict"], "new");
        let closed = desk.show(&[]);
        desk.tell_late();
        let corrected = desk.wait_for_state("corrected");
        assert!(corrected["restatement"][0]["by"].is_null());
        let done = desk.period(&["restate", "--by", "B. Ali", "--cause", "job 77 was found"]);
        assert_eq!(done["verdict"], "new");
        let restated = desk.show(&[]);
        desk.stop();
        let leaves = desk.leaves();
        July { desk, closed, restated, leaves, older }
    })
}

/// Goal: a month that is not over, or not whole, is not closed unless somebody says why; and a
/// closed one is closed once, whoever asks again.
#[test]
fn a_month_is_closed_once_and_with_its_doubts() {
    let mut desk = Desk::open();
    let refused = desk.refused(&["close", "--by", "A. Khan"]);
    for words in ["2026-07 is not whole", "incomplete: ", "--despite"] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let early = desk.said(&["close", "--by", "A. Khan", "--despite", "why"], "2026-08");
    assert!(early.1.contains("close it after that"), "{}", early.1);
    assert_eq!(desk.show(&[])["state"], "due");
    let nothing = desk.refused(&["restate", "--by", "A. Khan", "--cause", "why"]);
    assert!(nothing.contains("is not closed"), "{nothing}");

    let why = "the lights' meter was changed";
    let first = desk.period(&["close", "--by", "A. Khan", "--despite", why]);
    let again = desk.period(&["close", "--by", "Somebody Else"]);
    assert_eq!((&first["verdict"], &again["verdict"]), (&"new".into(), &"unchanged".into()));
    assert_eq!(first["period"], again["period"]);
    let closed = desk.show(&[]);
    assert_eq!(closed["state"], "closed");
    assert_eq!(
        (&closed["closed"]["by"], &closed["closed"]["despite"]),
        (&"A. Khan".into(), &why.into())
    );
    assert_eq!(closed["figures"]["intervals_expected"], 744);
    assert_eq!(closed["figures"]["intervals_posted"], 744);
    assert!(closed["doubts"].as_u64().is_some_and(|doubts| doubts > 0), "{closed}");
    let nothing = desk.refused(&["restate", "--by", "A. Khan", "--cause", "why"]);
    assert!(nothing.contains("nothing to restate"), "{nothing}");
    desk.stop();
}

/// Goal: what corrects a closed month is told by the books with both figures, and then stood for by
/// a person; nothing of what was told before changes.
#[test]
fn a_correction_of_a_closed_month_is_told_with_both_figures() {
    let July { closed, restated, .. } = july();
    assert_eq!(restated["state"], "restated");
    assert_eq!(restated["closed"], closed["closed"], "what was closed stays");
    let list = restated["restatement"].as_array().expect("a list");
    let (books, person) = (&list[0], &list[list.len() - 1]);
    assert_eq!((&books["old"], &person["old"]), (&closed["figures"], &closed["figures"]));
    assert_eq!((&person["by"], &person["cause"]), (&"B. Ali".into(), &"job 77 was found".into()));
    // Energy went from nobody to a project: no total moved, and what did is told.
    assert_eq!(person["new"]["used_mj"], closed["figures"]["used_mj"]);
    let moved: u128 = list[..list.len() - 1].iter().map(|one| millijoules(&one["moved_mj"])).sum();
    assert_eq!(millijoules(&person["moved_mj"]), moved);
    assert!(moved > 0);
    let supplied = millijoules(&closed["figures"]["supplied_mj"]);
    let ppm = (moved * 1_000_000).div_ceil(supplied);
    assert_eq!(u128::from(person["materiality_ppm"].as_u64().expect("a number")), ppm);
}

/// Goal: `docs/audit.md` is enough. Its commands are run in their order, against the collector that
/// signed its ledger itself; an auditor has the checkpoint and the key that he was given before.
#[test]
fn the_auditors_page_is_followed_to_the_letter() {
    let July { desk, closed, older, .. } = july();
    let _turn = desk::turn();
    let mut later = desk.again();
    let leaf = closed["closed"]["leaf"].as_u64().expect("a number");
    later.checkpoint(leaf);
    std::fs::write(later.path("checkpoint-of-june"), older).expect("written");
    let key = std::fs::read_to_string(later.path("collector/tlog/lhe/key")).expect("there");
    let policy = format!("log {}\nquorum none\n", key.trim());
    std::fs::write(later.path("my-policy"), policy).expect("written");
    let page = include_str!("../docs/audit.md");
    let is_command =
        |line: &&str| line.starts_with("    bijli-collector ") || line.starts_with("python3 ");
    let commands: Vec<&str> = page.lines().filter(is_command).map(str::trim).collect();
    let run = |desk: &Desk, words: &[&str]| {
        let [first, ..] = words else { panic!("nothing is looked for") };
        let line = commands.iter().find(|line| line.contains(first)).expect(first);
        let (is_done, said) = desk.shell(line);
        assert!(is_done, "{line}: {said}");
        words.iter().skip(1).for_each(|word| assert!(said.contains(word), "{word}: {said}"));
    };
    run(&later, &["collector pack ", "check it with"]);
    run(&later, &["python3 -I", "continues the tree", "closed at leaf", "PROVEN"]);
    run(&later, &["period show", "restated", "by 1234 leaves"]);
    later.stop();
    run(&later, &["replay --verify", "verdict:    the same"]);
    assert_eq!(commands.len(), 4, "every command of the page is run: {commands:?}");
}

/// Goal: as-of. The index gives the figures of the day on which the month was closed, although it
/// was corrected since; and a replay of the journal makes every leaf again, those of months too.
#[test]
fn the_figures_of_that_day_are_given_and_a_replay_gives_the_same_leaves() {
    let July { desk, closed, restated, .. } = july();
    let _turn = desk::turn();
    let mut later = desk.again();
    let leaf = closed["closed"]["leaf"].to_string();
    let then = later.show(&["--as-of", &leaf]);
    assert_eq!(then["as_of"]["figures"], closed["figures"]);
    let now = later.show(&["--as-of", &then["leaves"].to_string()]);
    assert_eq!(now["as_of"]["figures"], restated["figures"]);
    assert_eq!(later.show(&[]), *restated, "a start brings the same");
    later.stop();
    later.replay_verify();
}

/// Goal: whoever has Python and the pack needs nobody's word: signatures, tree, leaves, balance and
/// every total of the report; and the pack goes on from a checkpoint that he was given before.
#[test]
fn a_pack_is_proven_by_python_alone() {
    let July { desk, closed, leaves, .. } = july();
    let leaf = closed["closed"]["leaf"].as_u64().expect("a number");
    let signed = Signed::of(desk, leaves, "sealed");
    let older = signed.checkpoint_at(leaf + 1, "older");
    let pack = signed.pack("python-pack");
    let begun = harness::now();
    let said = python(&pack, &["--older", &older]);
    let bytes: usize = leaves.iter().map(Vec::len).sum();
    println!("{} leaves, {bytes} bytes: {} ms", leaves.len(), begun.elapsed().as_millis());
    assert!(said.0, "{}", said.1);
    for words in ["continues the tree", "the totals of report.json", "closed at leaf", "PROVEN"] {
        assert!(said.1.contains(words), "{words}: {}", said.1);
    }
    let policy = signed.policy_file();
    let said = python(&pack, &["--policy", &policy]);
    assert!(said.0 && said.1.contains("cosigned by university"), "{}", said.1);
}

/// Goal: X8, X9, X10. Whoever has the log's key and alters a leaf makes a tree that signs, and that
/// no auditor with an older checkpoint takes; nor one who asks for a witness.
#[test]
fn x8_a_tree_that_was_altered_and_signed_again_is_found() {
    let July { desk, leaves, .. } = july();
    let honest = Signed::of(desk, leaves, "honest");
    let older = honest.checkpoint_at(leaves.len() as u64, "honest-older");
    let mut altered = leaves.clone();
    // A snapshot's leaf is missed by no sum: it is the tree that has to tell.
    let source = altered[3].len() - 1;
    altered[3][source] ^= 1;
    let mut forged = Signed::of(desk, &altered, "forged");
    let said = python(&forged.bare_pack("forged-pack"), &["--older", &older]);
    assert!(!said.0 && said.1.contains("others than you were shown then"), "{}", said.1);
    forged.has_witness = false;
    let said = python(&forged.bare_pack("unwitnessed"), &["--policy", &honest.policy_file()]);
    assert!(!said.0 && said.1.contains("cosigned by []"), "{}", said.1);
}

/// Goal: D5. One flipped bit in any byte of a pack is found, and its file or leaf is named. Of the
/// report's files, which their sums alone protect, each 97th byte.
#[test]
fn d5_every_flipped_byte_of_a_pack_is_found_and_named() {
    let July { desk, leaves, .. } = july();
    let small = desk.first_summaries(leaves, 6);
    let signed = Signed::of(desk, &leaves[..small], "small");
    let (pack, policy) = (signed.pack("small-pack"), signed.policy_file());
    let said = python(&pack, &[]);
    assert!(said.0, "{}", said.1);
    let flips = desk::run_python(&["tests/audit/flips.py", &pack, &policy]);
    assert!(flips.0, "{}", flips.1);
    let count: u64 = flips.1.trim().parse().expect("a count");
    assert!(count > 50_000, "{count} flips");
}
