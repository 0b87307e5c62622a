//! A file that a person or a program keeps: who holds which GPUs of this node, for sites without a
//! scheduler. The format is in `docs/formats/holds.md`.
#![expect(clippy::disallowed_methods, reason = "the file is read here and nowhere else")]

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bijli_wire::message::Witness;
use bijli_wire::quantity::de_duration;
use bijli_wire::{ClusterId, JobId, Millis, ProjectId, UserId};
use serde::Deserialize;
use toml::Spanned;

use super::course::{Claim, Whose};
use super::parts::PART;
use super::{Source, Watched, check_every};
use crate::probe::numbers::Numbered;

const VERSION: u32 = 1;
const BYTES_MAX: u64 = 1 << 20;

/// `[holds_file]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HoldsFileConfig {
    pub enabled: bool,
    pub path: PathBuf,
    #[serde(deserialize_with = "de_duration")]
    pub every: Millis,
}

impl Default for HoldsFileConfig {
    fn default() -> Self {
        Self { enabled: false, path: "/etc/bijli/holds.toml".into(), every: Millis::new(1_000) }
    }
}

impl HoldsFileConfig {
    pub(super) fn check(&self) -> Result<(), String> {
        check_every(self.every)
    }
}

pub(super) fn watched(config: &HoldsFileConfig) -> Watched {
    Watched {
        name: "holds_file",
        witness: Witness::File,
        cluster: ClusterId::new("file").expect("a name of plain letters"),
        every: config.every,
        source: Box::new(HoldsFile(config.path.clone())),
    }
}

struct HoldsFile(PathBuf);

impl Source for HoldsFile {
    fn look(&mut self, _gpus: &[Numbered]) -> Result<Vec<Claim>, String> {
        let named = |words: String| format!("{}: {words}", self.0.display());
        let text = read(&self.0).map_err(named)?;
        claims(&text).map_err(named)
    }
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    let is_small = u64::try_from(text.len()).is_ok_and(|bytes| bytes <= BYTES_MAX);
    is_small.then_some(text).ok_or_else(|| format!("it has more than {BYTES_MAX} bytes"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default, rename = "hold")]
    holds: Vec<Spanned<Hold>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hold {
    name: String,
    project: String,
    #[serde(default)]
    user: String,
    devices: Vec<String>,
    #[serde(default)]
    shared: bool,
}

/// All holds of a text, or none.
fn claims(text: &str) -> Result<Vec<Claim>, String> {
    // What is half written has no version yet, and is no empty file.
    let file: File = toml::from_str(text).map_err(|e| {
        let place =
            e.span().map_or_else(String::new, |at| format!("line {}: ", line(text, at.start)));
        format!("{place}{}", e.message().replace('\n', ", "))
    })?;
    if file.version != VERSION {
        return Err(format!("its version is {}, this agent reads {VERSION}", file.version));
    }
    let mut names = BTreeSet::new();
    let mut claims = Vec::with_capacity(file.holds.len());
    for hold in file.holds {
        let line = line(text, hold.span().start);
        let hold = hold.into_inner();
        let words = match hold.wrong() {
            None if names.insert(hold.name.clone()) => {
                claims.push(hold.claim());
                continue;
            }
            None => format!("name {:?} is there twice", hold.name),
            Some(words) => words,
        };
        return Err(format!("line {line}: {words}"));
    }
    Ok(claims)
}

/// The line of a byte, from 1.
fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

impl Hold {
    fn wrong(&self) -> Option<String> {
        let user = (!self.user.is_empty()).then(|| UserId::new(&self.user).err()).flatten();
        let names = [JobId::new(&self.name).err(), ProjectId::new(&self.project).err(), user];
        if let Some(error) = names.into_iter().flatten().next() {
            return Some(error.to_string());
        }
        let is_part = |id: &&String| id.contains(PART);
        match self.devices.iter().find(is_part) {
            Some(id) => Some(format!("{id:?} is a part: name what it is a part of, shared = true")),
            None if self.devices.is_empty() => Some("devices is empty".to_owned()),
            None => None,
        }
    }

    fn claim(self) -> Claim {
        let Self { name, project, user, devices, shared } = self;
        let part = |id: String| if shared { format!("{id}{PART}{name}") } else { id };
        let ids = devices.into_iter().map(part).collect();
        Claim { job: name, project: Whose::Named(project), user, ids, unclear: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "version = 1\n\
        [[hold]]\nname = \"training\"\nproject = \"urdu-llm\"\ndevices = [\"GPU-0\", \"MIG-a\"]\n\
        [[hold]]\nname = \"notebook\"\nproject = \"climate\"\nuser = \"aisha\"\n\
        devices = [\"GPU-1\"]\nshared = true\n";

    #[test]
    fn a_sound_file_is_its_holds() {
        let claims = claims(SOUND).expect("sound");
        let ids: Vec<&[String]> = claims.iter().map(|claim| claim.ids.as_slice()).collect();
        assert_eq!(
            ids,
            [&["GPU-0".to_owned(), "MIG-a".to_owned()][..], &["GPU-1::notebook".to_owned()]]
        );
        assert_eq!(claims[1].project, Whose::Named("climate".to_owned()));
        assert_eq!(super::claims("version = 1"), Ok(Vec::new()), "nobody holds anything");
    }

    #[test]
    fn what_is_wrong_is_no_empty_file_and_names_its_line() {
        let with = |more: &str| format!("{SOUND}{more}");
        let hold = |name: &str, devices: &str| {
            with(&format!("[[hold]]\nname = {name:?}\nproject = \"p\"\ndevices = {devices}\n"))
        };
        for (text, part) in [
            (String::new(), "version"),
            ("version = 2".to_owned(), "reads 1"),
            (with("[[hold]]\nname = \"x"), "line 13: "),
            (with("[[hold]]\nnames = \"x\"\n"), "line 13: "),
            (hold("training", "[\"GPU-2\"]"), "line 12: name \"training\" is there twice"),
            (hold("a b", "[\"GPU-2\"]"), "line 12: job id"),
            (hold("x", "[]"), "line 12: devices is empty"),
            (hold("x", "[\"GPU-2::0\"]"), "shared = true"),
        ] {
            let words = claims(&text).expect_err(part);
            assert!(words.contains(part), "{part}: {words}");
        }
        assert!(
            HoldsFile("/nowhere/holds.toml".into())
                .look(&[])
                .expect_err("gone")
                .contains("/nowhere")
        );
    }
}
