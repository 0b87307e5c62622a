//! What an auditor checks of a hub's log, from its files and from what he was given elsewhere: the
//! log's key, a policy, checkpoints that he kept.
//!
//! Everything is made again from the entries: hashes, tiles, root, and each leaf is read and
//! balanced. What is wrong is named: a tile, an entry, a posting.

#[cfg(test)]
mod tests;

use std::path::Path;

use bijli_ledger::leaf::{Body, Line, Summary, held};
use bijli_ledger::{Account, Leaf};
use bijli_seglog::RealDisk;
use bijli_tlog::policy::Standing;
use bijli_tlog::tile::WIDTH;
use bijli_tlog::{Checkpoint, Edge, Hash, Note, Policy, Shelf, Tile, VerifierKey};
use serde::Serialize;

use crate::journal::chain;
use crate::seal::tree::{NO_INDEX, split};
use crate::seal::{Files, succeeded};

/// Wrong things that are told one by one; the rest is counted.
const TOLD_MAX: usize = 20;

/// What the auditor brings.
#[derive(Clone, Debug)]
pub struct Brought {
    /// The keys of which one must have signed, and the witnesses.
    pub policy: Policy,
    /// Checkpoints kept from before, as texts, each with where it is from.
    pub older: Vec<(String, String)>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub origin: String,
    /// Entries under the checkpoint, and its root.
    pub size: u64,
    pub root: String,
    /// Entries of postings, and intervals that were closed or corrected.
    pub postings: u64,
    pub summaries: u64,
    /// First and last index in the ledger log.
    pub ledger_from: Option<u64>,
    pub ledger_to: Option<u64>,
    /// The origin and size of the log that this one succeeds.
    pub succeeds: Option<(String, u64)>,
    pub witnessed_by: Vec<String>,
    pub witnesses: usize,
    /// Older checkpoints that this log is consistent with.
    pub older_same: u64,
    /// How much is wrong, and the first of it in words.
    pub wrong: u64,
    pub told: Vec<String>,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.wrong == 0
    }

    /// For people.
    #[must_use]
    pub fn show(&self) -> String {
        let Self { origin, size, root, postings, summaries, older_same, wrong, .. } = self;
        let witnessed = match self.witnesses {
            0 => "no policy with witnesses was given".to_owned(),
            of => format!("{} of {of}: {}", self.witnessed_by.len(), self.witnessed_by.join(", ")),
        };
        let verdict = if self.is_good() { "good".to_owned() } else { format!("{wrong} WRONG") };
        let mut text = format!(
            "log         {origin}\n\
             checkpoint  {size} entries, root {root}\n\
             entries     {postings} postings, {summaries} summaries, each balanced\n\
             witnesses   {witnessed}\n\
             older       consistent with {older_same} checkpoints that were kept\n"
        );
        if let Some((origin, size)) = &self.succeeds {
            text.push_str(&format!("succeeds    {origin}, lost after {size} entries\n"));
        }
        text.push_str(&format!("verdict     {verdict}\n"));
        self.told.iter().for_each(|one| text.push_str(&format!("    {one}\n")));
        text
    }

    fn tell(&mut self, words: String) {
        self.wrong += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(words);
        }
    }
}

/// Checks the log in a folder.
#[must_use]
pub fn verify(dir: &Path, brought: &Brought) -> Verdict {
    let files = Files::new(RealDisk, dir);
    let mut verdict = Verdict::default();
    let head = match open_checkpoint(&files, brought, &mut verdict) {
        Ok(head) => head,
        Err(words) => {
            verdict.tell(words);
            return verdict;
        }
    };
    let older = open_older(&head, brought, &mut verdict);
    let mut walk = Walk::new(&files, &head, older);
    let walked = walk.all(&mut verdict);
    if let Err(words) = walked {
        verdict.tell(words);
    }
    verdict
}

/// The newest checkpoint, if one of the keys signed it.
fn open_checkpoint(
    files: &Files<RealDisk>,
    brought: &Brought,
    verdict: &mut Verdict,
) -> Result<Checkpoint, String> {
    let text = files.text("checkpoint").map_err(|error| chain(&error))?;
    let text = text.ok_or("there is no checkpoint: the log is not signed")?;
    let note = Note::parse(&text).map_err(|error| format!("checkpoint: {error}"))?;
    let head =
        signed(&note, &brought.policy.logs).map_err(|reason| format!("checkpoint: {reason}"))?;
    verdict.origin.clone_from(&head.origin);
    (verdict.size, verdict.root) = (head.size, head.root.to_string());
    match brought.policy.standing(&note) {
        Ok(Standing { by, of, is_enough, .. }) => {
            verdict.witnessed_by = by.into_iter().map(|(name, _)| name).collect();
            verdict.witnesses = of;
            if !is_enough {
                verdict.tell("checkpoint: fewer cosignatures than the policy asks for".to_owned());
            }
        }
        Err(error) => verdict.tell(format!("checkpoint: {error}")),
    }
    Ok(head)
}

fn signed(note: &Note, keys: &[VerifierKey]) -> Result<Checkpoint, String> {
    let mut why = "no log key was given".to_owned();
    for key in keys {
        match Checkpoint::open(note, key) {
            Ok(checkpoint) => return Ok(checkpoint),
            Err(error) => why = chain(&error),
        }
    }
    Err(why)
}

/// Checkpoints kept before, by size, as far as they are of this log.
fn open_older(
    head: &Checkpoint,
    brought: &Brought,
    verdict: &mut Verdict,
) -> Vec<(u64, Hash, String)> {
    let mut older = Vec::new();
    for (whence, text) in &brought.older {
        let note = Note::parse(text).map_err(|error| error.to_string());
        match note.and_then(|note| signed(&note, &brought.policy.logs)) {
            Err(reason) => verdict.tell(format!("{whence}: {reason}")),
            Ok(old) if old.origin != head.origin => {
                verdict.tell(format!("{whence} is of {}, not of this log", old.origin));
            }
            Ok(old) if old.size > head.size => verdict.tell(format!(
                "{whence} has {} entries, this log only {}: entries are gone",
                old.size, head.size
            )),
            Ok(old) => older.push((old.size, old.root, whence.clone())),
        }
    }
    older.sort();
    older
}

/// Goes through all entries and makes everything else from them.
struct Walk<'a> {
    files: &'a Files<RealDisk>,
    head: &'a Checkpoint,
    older: std::vec::IntoIter<(u64, Hash, String)>,
    edge: Edge,
    last: Option<u64>,
    /// Lines of the posting whose summary is yet to come, and how many leaves they are of.
    lines: Vec<Line>,
    leaves: u32,
}

impl<'a> Walk<'a> {
    fn new(
        files: &'a Files<RealDisk>,
        head: &'a Checkpoint,
        older: Vec<(u64, Hash, String)>,
    ) -> Self {
        let (edge, older) = (Edge::default(), older.into_iter());
        Self { files, head, older, edge, last: None, lines: Vec::new(), leaves: 0 }
    }

    fn all(&mut self, verdict: &mut Verdict) -> Result<(), String> {
        let size = self.head.size;
        let mut next_older = self.older.next();
        for bundle in 0..size.div_ceil(WIDTH) {
            let tile = Tile::holding(Shelf::Entries, bundle * WIDTH, size);
            let tile = tile.ok_or("the tree has no entries")?;
            let bytes = self.read(tile)?;
            let entries = tile.entries(&bytes).map_err(|error| format!("{tile}: {error}"))?;
            self.compare_hashes(bundle, &entries, verdict);
            for entry in entries {
                self.take(entry, verdict);
                while let Some((_, root, whence)) =
                    next_older.take_if(|(old, ..)| *old <= self.edge.size())
                {
                    if root == self.edge.root() {
                        verdict.older_same += 1;
                    } else {
                        let size = self.edge.size();
                        verdict.tell(format!(
                            "{whence}: the first {size} entries are not those that were signed then"
                        ));
                    }
                    next_older = self.older.next();
                }
            }
        }
        let partial: Vec<_> = self.edge.partial().collect();
        partial.iter().for_each(|(tile, bytes)| self.compare(*tile, bytes, verdict));
        if self.edge.root() != self.head.root {
            verdict.tell(format!(
                "the entries have the root {}, the checkpoint {}: they are not what was signed",
                self.edge.root(),
                self.head.root
            ));
        }
        if self.leaves > 0 {
            verdict.tell(format!("the last {} entries have no summary", self.leaves));
        }
        Ok(())
    }

    fn read(&self, tile: Tile) -> Result<Vec<u8>, String> {
        self.files.tile(tile).map_err(|error| format!("{tile}: {error}"))
    }

    /// Names the entry that is not the one in the tile of hashes.
    fn compare_hashes(&self, bundle: u64, entries: &[&[u8]], verdict: &mut Verdict) {
        let Some(tile) = Tile::holding(Shelf::Hashes(0), bundle * WIDTH, self.head.size) else {
            return;
        };
        let hashes = self
            .read(tile)
            .and_then(|bytes| tile.hashes(&bytes).map_err(|error| format!("{tile}: {error}")));
        match hashes {
            Err(words) => verdict.tell(words),
            Ok(hashes) => {
                for ((entry, hash), at) in entries.iter().zip(hashes).zip(bundle * WIDTH..) {
                    if Hash::leaf(entry) != hash {
                        verdict.tell(format!("entry {at} is not the one that {tile} has"));
                    }
                }
            }
        }
    }

    fn compare(&self, tile: Tile, expected: &[u8], verdict: &mut Verdict) {
        match self.read(tile) {
            Ok(found) if found == expected => {}
            Ok(_) => verdict.tell(format!("{tile} does not follow from the entries")),
            Err(words) => verdict.tell(words),
        }
    }

    fn take(&mut self, entry: &[u8], verdict: &mut Verdict) {
        let at = self.edge.size();
        for (tile, bytes) in self.edge.push(entry) {
            self.compare(tile, &bytes, verdict);
        }
        if let Err(words) = self.read_entry(at, entry, verdict) {
            verdict.tell(format!("entry {at}: {words}"));
        }
    }

    fn read_entry(&mut self, at: u64, entry: &[u8], verdict: &mut Verdict) -> Result<(), String> {
        let (index, leaf) = split(entry).ok_or("it has no ledger index")?;
        let leaf = Leaf::decode(leaf).map_err(|error| format!("leaf {index}: {error}"))?;
        if index == NO_INDEX {
            let old = succeeded(entry).filter(|_| at == 0);
            let old =
                old.ok_or("only the first entry may be of no ledger, and names an old head")?;
            verdict.succeeds = Some((old.origin, old.size));
            return Ok(());
        }
        if self.last.is_some_and(|last| index <= last) {
            return Err(format!("leaf {index} comes after a later one"));
        }
        self.last = Some(index);
        verdict.ledger_from.get_or_insert(index);
        verdict.ledger_to = Some(index);
        let hub = leaf.hub.as_ref().map(bijli_wire::HubId::as_str);
        if hub.is_some_and(|hub| !self.head.origin.contains(&format!("/hub/{hub}/ledger"))) {
            return Err(format!("leaf {index} is of the hub {}", hub.unwrap_or_default()));
        }
        self.balance(leaf, verdict).map_err(|words| format!("leaf {index}: {words}"))
    }

    /// Sums postings up to their summary.
    fn balance(&mut self, leaf: Leaf, verdict: &mut Verdict) -> Result<(), String> {
        match leaf.body {
            Body::Posting(posting) | Body::Adjustment { posting, .. } => {
                verdict.postings += 1;
                self.leaves += 1;
                self.lines.extend(posting.lines);
                Ok(())
            }
            Body::Summary(summary) => {
                verdict.summaries += 1;
                let (lines, leaves) = (std::mem::take(&mut self.lines), self.leaves);
                self.leaves = 0;
                check_summary(&summary, &lines, leaves)
            }
            Body::Pruned(_)
            | Body::Snapshot(_)
            | Body::Statement(_)
            | Body::Period(_)
            | Body::Restatement(_) => Ok(()),
        }
    }
}

fn check_summary(summary: &Summary, lines: &[Line], leaves: u32) -> Result<(), String> {
    if summary.leaves != leaves || usize::try_from(summary.entries).ok() != Some(lines.len()) {
        return Err(format!(
            "the summary is of {} leaves with {} entries, there are {leaves} with {}",
            summary.leaves,
            summary.entries,
            lines.len()
        ));
    }
    if summary.supplied != summary.used {
        return Err(format!("{} mJ supplied, {} mJ used", summary.supplied, summary.used));
    }
    match held(lines.iter()).first_key_value() {
        None => Ok(()),
        Some((account, sum)) => {
            let account: &Account = account;
            Err(format!("the posting leaves {sum} mJ in {account}, where it only passes"))
        }
    }
}
