//! Compares a tree with every head that is known of it, and signs it if it contradicts none.

use std::collections::BTreeMap;
use std::path::Path;

use bijli_seglog::Disk;
use bijli_tlog::policy::{Standing, Witness};
use bijli_tlog::witness::{self, Request};
use bijli_tlog::{Checkpoint, Hash, Note, Signature, SigningKey};
use bijli_wire::HubId;

use super::ask::Ask;
use super::files::{FileError, Files};
use super::name::folder;
use super::signer::Signer;
use super::tree::Tree;
use crate::journal::chain;

const CHECKPOINT: &str = "checkpoint";
const WITNESSED: &str = "witnessed";
const KEY: &str = "key";
/// Where heads are kept elsewhere, once one is.
const ELSEWHERE: &str = "elsewhere";

/// Why a tree is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "{whose} has {theirs} entries, this log {ours}: it is older, as after restoring a backup; \
         it is signed again when the same leaves have been rebuilt, else `seal anew`"
    )]
    Behind { whose: String, theirs: u64, ours: u64 },
    #[error(
        "{whose} has another root at {size} entries: this log is another one; find out why, then \
         `seal anew`"
    )]
    Forked { whose: String, size: u64 },
    #[error("{whose} is of the log {theirs}, this is {ours}; `seal anew` begins another")]
    Origin { whose: String, theirs: String, ours: String },
    #[error("{whose} is not signed by the key of this log or one of old_keys: {reason}")]
    Foreign { whose: String, reason: String },
    #[error("the head kept elsewhere cannot be compared: {reason}")]
    Heads { reason: String },
    #[error("the tiles cannot be read: {reason}")]
    Tiles { reason: String },
    #[error("the log's name cannot be a key's: {reason}")]
    Name { reason: String },
}

/// Signs trees.
pub struct Sealer<D: Disk> {
    signer: Signer,
    heads: Option<Files<D>>,
    ask: Box<dyn Ask>,
    /// What a witness said against a log; a witness need not tell before something is signed.
    told: BTreeMap<HubId, Refusal>,
    /// The size that each witness is believed to know of each hub.
    reached: BTreeMap<(HubId, String), u64>,
}

impl<D: Disk> std::fmt::Debug for Sealer<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("signer", &self.signer).finish_non_exhaustive()
    }
}

/// What a tree was compared with.
type Compared = Result<(), Refusal>;

impl<D: Disk> Sealer<D> {
    /// `heads`: the directory elsewhere.
    pub fn new(signer: Signer, disk: D, heads: Option<&Path>, ask: Box<dyn Ask>) -> Self {
        let heads = heads.map(|dir| Files::new(disk, dir));
        Self { signer, heads, ask, told: BTreeMap::new(), reached: BTreeMap::new() }
    }

    #[must_use]
    pub fn base(&self) -> &str {
        &self.signer.base
    }

    #[must_use]
    pub const fn has_heads(&self) -> bool {
        self.heads.is_some()
    }

    /// The verifier keys that sign a log.
    #[must_use]
    pub fn verifiers(&self, origin: &str) -> Vec<String> {
        let keys = self.signer.keys(origin).unwrap_or_default();
        keys.iter().map(|key| key.verifier().to_string()).collect()
    }

    /// How a signed checkpoint stands with the policy.
    #[must_use]
    pub fn standing(&self, note: &Note) -> Option<Standing> {
        self.signer.policy.standing(note).ok()
    }

    /// Signs a tree that is durable. The checkpoint that is there already, if nothing was added.
    ///
    /// # Errors
    /// When the disk fails; and within, why it must not be signed.
    pub fn seal(&mut self, tree: &mut Tree<D>) -> Result<Result<Note, Refusal>, FileError> {
        let keys = match self.signer.keys(&tree.origin) {
            Ok(keys) => keys,
            Err(error) => return Ok(Err(Refusal::Name { reason: error.to_string() })),
        };
        let own = tree.files.text(CHECKPOINT)?;
        let known = match self.compare(tree, own.as_deref(), &keys) {
            Ok(known) => known,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let size = tree.size();
        if let Some(note) = known
            .own
            .filter(|(checkpoint, note)| checkpoint.size == size && is_signed_by_all(note, &keys))
        {
            if known.elsewhere.is_none_or(|elsewhere| elsewhere.size < size) {
                self.keep_elsewhere(tree, &note.1)?;
            }
            return Ok(Ok(note.1));
        }
        let mut note = Note::new(tree.checkpoint().text());
        keys.iter().for_each(|key| note.sign(key, 0));
        // Elsewhere first: who comes back with an older disk after a cut here finds it.
        self.keep_elsewhere(tree, &note)?;
        let verifiers: String = keys.iter().map(|key| format!("{}\n", key.verifier())).collect();
        tree.files.write(KEY, verifiers.as_bytes())?;
        tree.files.write(CHECKPOINT, note.to_string().as_bytes())?;
        Ok(Ok(note))
    }

    fn keep_elsewhere(&mut self, tree: &mut Tree<D>, note: &Note) -> Result<(), FileError> {
        let Some(heads) = &mut self.heads else { return Ok(()) };
        heads.write(&folder(&tree.hub), note.to_string().as_bytes())?;
        let place = place(heads);
        if tree.files.text(ELSEWHERE)?.as_deref() != Some(&place) {
            tree.files.write(ELSEWHERE, place.as_bytes())?;
        }
        Ok(())
    }

    /// Compares with everything that is known of this log.
    fn compare(
        &mut self,
        tree: &Tree<D>,
        own: Option<&str>,
        keys: &[SigningKey],
    ) -> Result<Known, Refusal> {
        match self.told.get(&tree.hub) {
            Some(Refusal::Behind { theirs, .. }) if tree.size() >= *theirs => {
                self.told.remove(&tree.hub);
            }
            Some(refusal) => return Err(refusal.clone()),
            None => {}
        }
        let own = own.map(|text| open(tree, "the last checkpoint", text, keys)).transpose()?;
        let elsewhere = self.elsewhere(tree)?;
        let elsewhere = elsewhere
            .map(|text| open(tree, "the head kept elsewhere", &text, keys))
            .transpose()?
            .map(|(checkpoint, _)| checkpoint);
        for witness in self.witnesses() {
            self.compare_witness(tree, &witness, own.as_ref().map(|(_, note)| note), keys)?;
        }
        Ok(Known { own, elsewhere })
    }

    fn elsewhere(&self, tree: &Tree<D>) -> Result<Option<String>, Refusal> {
        let Some(heads) = &self.heads else { return Ok(None) };
        let unread = |error: FileError| Refusal::Heads { reason: chain(&error) };
        // A directory that is not there is a device that is not there, not a first time.
        heads.list().map_err(unread)?;
        let head = heads.text(&folder(&tree.hub)).map_err(unread)?;
        let was_there = tree.files.text(ELSEWHERE).map_err(unread)?;
        if head.is_none() && was_there.as_deref() == Some(&place(heads)) {
            let dir = heads.dir().display();
            let reason = format!("{dir} has none of this hub, and had one: is the device there?");
            return Err(Refusal::Heads { reason });
        }
        Ok(head)
    }

    fn witnesses(&self) -> Vec<(Witness, String)> {
        let witnesses = self.signer.policy.witnesses.iter();
        let with_url = witnesses.filter_map(|one| Some((one.clone(), one.url.clone()?)));
        with_url.map(|(one, url)| (one, url.trim_end_matches('/').to_owned())).collect()
    }

    /// Asks a witness what it has cosigned last; one that does not answer says nothing.
    fn compare_witness(
        &mut self,
        tree: &Tree<D>,
        (witness, url): &(Witness, String),
        own: Option<&Note>,
        keys: &[SigningKey],
    ) -> Compared {
        let whose = format!("witness {}", witness.name);
        match self.ask.get(&witness::latest_url(url, &tree.origin)) {
            Ok((200, text)) => {
                return match open(tree, &whose, &text, keys) {
                    Ok((theirs, _)) => {
                        self.reach(tree, witness, theirs.size);
                        Ok(())
                    }
                    // Something that this log never signed is nothing against it.
                    Err(refusal @ (Refusal::Foreign { .. } | Refusal::Origin { .. })) => {
                        tracing::warn!(hub = %tree.hub, %refusal, "the witness is passed over");
                        Ok(())
                    }
                    Err(refusal) => Err(refusal),
                };
            }
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
        // It does not tell its last one. It refuses an old size of 0 with the size that it knows,
        // and a tree of nothing contradicts no tree.
        let probe = own.cloned().unwrap_or_else(|| {
            let (origin, size, root) = (tree.origin.clone(), 0, Hash::empty());
            let mut note = Note::new(Checkpoint { origin, size, root }.text());
            keys.iter().for_each(|key| note.sign(key, 0));
            note
        });
        let request = Request { old: 0, proof: Vec::new(), checkpoint: probe };
        match self.ask.post(&witness::add_url(url), request.show()) {
            Ok((409, body)) => match witness::size_of_conflict(&body) {
                Some(theirs) if theirs > tree.size() => {
                    Err(Refusal::Behind { whose, theirs, ours: tree.size() })
                }
                Some(theirs) => {
                    self.reach(tree, witness, theirs);
                    Ok(())
                }
                None => Ok(()),
            },
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn reach(&mut self, tree: &Tree<D>, witness: &Witness, size: u64) {
        self.reached.insert((tree.hub.clone(), witness.name.clone()), size);
    }

    /// Asks every witness that has not cosigned this checkpoint, and keeps what they sign.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn cosign(&mut self, tree: &mut Tree<D>, mut note: Note) -> Result<Note, FileError> {
        let had = note.signatures.len();
        for (witness, url) in self.witnesses() {
            if matches!(note.signed_by(&witness.key), Ok(Some(_))) {
                continue;
            }
            match self.ask_to_cosign(tree, &note, &(witness, url)) {
                Ok(signatures) => note.signatures.extend(signatures),
                Err(refusal) => {
                    tracing::error!(hub = %tree.hub, %refusal, "a witness contradicts this log");
                    self.told.insert(tree.hub.clone(), refusal);
                }
            }
        }
        if note.signatures.len() > had {
            tree.files.write(CHECKPOINT, note.to_string().as_bytes())?;
        }
        let standing = self.standing(&note);
        let text = note.to_string();
        let is_new = || Ok(tree.files.text(WITNESSED)?.as_deref() != Some(&text));
        if standing.is_some_and(|standing| standing.is_asked && standing.is_enough) && is_new()? {
            tree.files.write(WITNESSED, text.as_bytes())?;
        }
        Ok(note)
    }

    /// What a witness said against this log after it was signed.
    #[must_use]
    pub fn told(&self, hub: &HubId) -> Option<&Refusal> {
        self.told.get(hub)
    }

    fn ask_to_cosign(
        &mut self,
        tree: &Tree<D>,
        note: &Note,
        (witness, url): &(Witness, String),
    ) -> Result<Vec<Signature>, Refusal> {
        let whose = format!("witness {}", witness.name);
        let key = (tree.hub.clone(), witness.name.clone());
        let mut old = self.reached.get(&key).copied().unwrap_or(0);
        for _ in 0..2 {
            let tiles = |error| Refusal::Tiles { reason: chain(&error) };
            let proof = tree.consistency(old.min(tree.size())).map_err(tiles)?;
            let request = Request { old, proof, checkpoint: note.clone() };
            match self.ask.post(&witness::add_url(url), request.show()) {
                Ok((200, lines)) => {
                    self.reach(tree, witness, tree.size());
                    return Ok(believed(note, &lines, witness));
                }
                Ok((409, body)) => match witness::size_of_conflict(&body) {
                    Some(theirs) if theirs > tree.size() => {
                        return Err(Refusal::Behind { whose, theirs, ours: tree.size() });
                    }
                    Some(theirs) if theirs == old => {
                        return Err(Refusal::Forked { whose, size: theirs });
                    }
                    Some(theirs) => old = theirs,
                    None => return Ok(Vec::new()),
                },
                Ok((422, _)) => return Err(Refusal::Forked { whose, size: old }),
                Ok((status, _)) => {
                    tracing::warn!(hub = %tree.hub, whose, status, "the witness does not cosign");
                    return Ok(Vec::new());
                }
                Err(reason) => {
                    tracing::debug!(hub = %tree.hub, whose, reason, "the witness is not reached");
                    return Ok(Vec::new());
                }
            }
        }
        Ok(Vec::new())
    }
}

/// What is known of a log, and contradicts it nowhere.
struct Known {
    own: Option<(Checkpoint, Note)>,
    elsewhere: Option<Checkpoint>,
}

/// Opens a head that this log once had and compares it.
fn open<D: Disk>(
    tree: &Tree<D>,
    whose: &str,
    text: &str,
    keys: &[SigningKey],
) -> Result<(Checkpoint, Note), Refusal> {
    let whose = || whose.to_owned();
    let foreign = |reason: String| Refusal::Foreign { whose: whose(), reason };
    let note = Note::parse(text).map_err(|error| foreign(error.to_string()))?;
    let theirs = Checkpoint::parse(note.text()).map_err(|error| foreign(error.to_string()))?;
    if theirs.origin != tree.origin {
        let (theirs, ours) = (theirs.origin, tree.origin.clone());
        return Err(Refusal::Origin { whose: whose(), theirs, ours });
    }
    let by = keys.iter().map(|key| note.signed_by(key.verifier()));
    let by: Result<Vec<_>, _> = by.collect();
    let by = by.map_err(|error| foreign(error.to_string()))?;
    if by.iter().all(Option::is_none) {
        return Err(foreign("another key signed it".to_owned()));
    }
    if theirs.size > tree.size() {
        let ours = tree.size();
        return Err(Refusal::Behind { whose: whose(), theirs: theirs.size, ours });
    }
    let root = tree.root_at(theirs.size);
    let root = root.map_err(|error| Refusal::Tiles { reason: chain(&error) })?;
    if root != theirs.root {
        return Err(Refusal::Forked { whose: whose(), size: theirs.size });
    }
    Ok((theirs, note))
}

fn place<D: Disk>(heads: &Files<D>) -> String {
    format!("{}\n", heads.dir().display())
}

fn is_signed_by_all(note: &Note, keys: &[SigningKey]) -> bool {
    keys.iter().all(|key| matches!(note.signed_by(key.verifier()), Ok(Some(_))))
}

/// Of a witness's answer, the lines that are its cosignatures of this note.
fn believed(note: &Note, lines: &str, witness: &Witness) -> Vec<Signature> {
    let signatures = Signature::parse_lines(lines).unwrap_or_default();
    let holds = |signature: &Signature| {
        let mut alone = Note::new(note.text().to_owned());
        alone.signatures.push(signature.clone());
        matches!(alone.signed_by(&witness.key), Ok(Some(_)))
    };
    let believed: Vec<Signature> = signatures.into_iter().filter(holds).take(1).collect();
    if believed.is_empty() {
        tracing::warn!(witness = witness.name, "the answer is no cosignature by its key");
    }
    believed
}
