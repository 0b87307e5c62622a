//! The `[seal]` section: who signs the ledger, and who watches over that.

use std::path::{Path, PathBuf};

use bijli_seglog::RealDisk;
use bijli_tlog::{KeyKind, Policy, VerifierKey};
use bijli_wire::HubId;
use serde::Deserialize;

use super::{Problem, note};
use crate::disk;
use crate::seal::{self, Http, KeyFileError, Sealer, Signer, read_key};

/// The section, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealConfig {
    /// What the names of logs begin with.
    pub origin: String,
    pub key: PathBuf,
    /// They sign too, until nobody relies on them.
    pub old_keys: Vec<PathBuf>,
    /// A directory on another device.
    pub heads: Option<PathBuf>,
    pub policy: Policy,
}

/// The section as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealText {
    origin: String,
    key: PathBuf,
    #[serde(default)]
    old_keys: Vec<PathBuf>,
    #[serde(default)]
    heads: Option<PathBuf>,
    #[serde(default)]
    policy: Option<PathBuf>,
}

/// `None`: there is no such section, or something is wrong with it.
pub(super) fn check(
    text: Option<SealText>,
    folder: &Path,
    problems: &mut Vec<Problem>,
) -> Option<SealConfig> {
    let SealText { origin, key, old_keys, heads, policy } = text?;
    if VerifierKey::new(&origin, KeyKind::Note, [0; 32]).is_err() || origin.ends_with('/') {
        let what = format!("{origin:?} cannot name a log");
        note(problems, "seal.origin", what, "write a domain of yours: \"ledger.example.pk\"");
    }
    let key = folder.join(key);
    let old_keys: Vec<PathBuf> = old_keys.into_iter().map(|key| folder.join(key)).collect();
    let all = std::iter::once(("seal.key", &key));
    for (place, key) in all.chain(old_keys.iter().map(|key| ("seal.old_keys", key))) {
        if let Err(error) = read_key(key, KeyKind::Note) {
            let remedy = "bijli-collector seal key --name NAME --out FILE makes one";
            note(problems, place, crate::journal::chain(&error), remedy);
        }
    }
    let heads = heads.map(|dir| folder.join(dir));
    let policy = match policy {
        None => Policy::of_log(Vec::new()),
        Some(file) => read_policy(&folder.join(file), problems)?,
    };
    Some(SealConfig { origin, key, old_keys, heads, policy })
}

fn read_policy(file: &Path, problems: &mut Vec<Problem>) -> Option<Policy> {
    let place = "seal.policy";
    let text = match disk::read_text(file) {
        Ok(text) => text,
        Err(error) => {
            let what = format!("cannot read {}: {error}", file.display());
            note(problems, place, what, "docs/formats/tlog.md shows one");
            return None;
        }
    };
    match Policy::parse(&text) {
        Ok(policy) => {
            for witness in &policy.witnesses {
                let is_spoken = |url: &String| url.starts_with("http://");
                if !witness.url.as_ref().is_some_and(is_spoken) {
                    let what = format!("witness {} has no http:// address", witness.name);
                    note(problems, place, what, "its checkpoints are signed: a proxy may do TLS");
                }
            }
            Some(policy)
        }
        Err(error) => {
            let what = format!("{}: {}", file.display(), crate::journal::chain(&error));
            note(problems, place, what, "docs/formats/tlog.md shows one");
            None
        }
    }
}

impl SealConfig {
    /// Reads the keys.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn signer(&self) -> Result<Signer, KeyFileError> {
        let files = std::iter::once(&self.key).chain(&self.old_keys);
        let keys = files.map(|file| read_key(file, KeyKind::Note)).collect::<Result<_, _>>()?;
        Ok(Signer { base: self.origin.clone(), keys, policy: self.policy.clone() })
    }

    /// Whoever signs with them.
    ///
    /// # Errors
    /// When a key cannot be used.
    pub fn sealer(&self) -> Result<Sealer<RealDisk>, KeyFileError> {
        let heads = self.heads.as_deref();
        Ok(Sealer::new(self.signer()?, RealDisk, heads, Box::new(Http)))
    }

    /// The section in words.
    pub(super) fn explain<'a>(&self, hubs: impl Iterator<Item = &'a HubId>) -> String {
        let mut text = "\nseal\n".to_owned();
        for hub in hubs {
            let origin = seal::origin(&self.origin, hub, 1);
            let keys =
                self.signer().and_then(|signer| signer.keys(&origin).map_err(KeyFileError::Name));
            for key in keys.unwrap_or_default() {
                text.push_str(&format!("    {}\n", key.verifier()));
            }
        }
        match &self.heads {
            Some(dir) => text.push_str(&format!("    heads also in {}\n", dir.display())),
            None => text.push_str(
                "    ! no heads on another device: a restored backup of this one is found out by \
                 witnesses only\n",
            ),
        }
        match self.policy.witnesses.len() {
            0 => text.push_str("    ! no witness: nobody else knows what was signed\n"),
            count => text.push_str(&format!("    {count} witnesses are asked to cosign\n")),
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::make_key;

    fn problems(text: &str, folder: &Path) -> Vec<String> {
        let mut problems = Vec::new();
        let text: SealText = toml::from_str(text).expect("the keys are known");
        check(Some(text), folder, &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn mistakes_in_the_section_by_table() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path();
        make_key(&dir.join("k"), "ledger.example.pk", KeyKind::Note).expect("made");
        make_key(&dir.join("open"), "ledger.example.pk", KeyKind::Note).expect("made");
        disk::set_mode(&dir.join("open"), 0o640).expect("ours");
        let witness = make_key(&dir.join("w"), "w.example", KeyKind::Cosignature).expect("made");
        let line = format!("witness w {}\nquorum w\n", witness.verifier());
        disk::write_text(&dir.join("nowhere"), &line).expect("written");
        disk::write_text(&dir.join("bad"), "quorum x\n").expect("written");
        let good = "origin = \"ledger.example.pk\"\nkey = \"k\"\n";
        assert_eq!(problems(good, dir), Vec::<String>::new());
        for (text, words) in [
            (good.replace("ledger.example.pk", "a b"), "cannot name a log"),
            (good.replace("ledger.example.pk", "a+b"), "cannot name a log"),
            (good.replace("\"k\"", "\"none\""), "cannot read"),
            (good.replace("\"k\"", "\"open\""), "mode 0640"),
            (good.replace("\"k\"", "\"w\""), "the other kind"),
            (format!("{good}old_keys = [\"open\"]\n"), "seal.old_keys"),
            (format!("{good}policy = \"none\"\n"), "seal.policy"),
            (format!("{good}policy = \"bad\"\n"), "line 1: x is not declared"),
            (format!("{good}policy = \"nowhere\"\n"), "no http:// address"),
        ] {
            let found = problems(&text, dir);
            assert_eq!(found.len(), 1, "{found:?} for {text}");
            assert!(found[0].contains(words), "{found:?} for {text}");
        }
    }
}
