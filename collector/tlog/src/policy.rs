//! Policies: which logs are believed, and whose cosignatures are enough, in the C2SP's tlog-policy.
//!
//! # Layout
//! ```text
//! log <verifier key> [<url>]
//! witness <name> <verifier key> [<url>]
//! group <name> all|any|<k> <name>...
//! quorum none|<name>
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::key::{KeyError, KeyKind, VerifierKey};
use crate::note::{Note, NoteError};

/// Lines of a kind that a policy may have.
const LINES_MAX: usize = 64;

/// Who is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub logs: Vec<VerifierKey>,
    pub witnesses: Vec<Witness>,
    groups: BTreeMap<String, Group>,
    /// `None`: no cosignature is needed.
    quorum: Option<String>,
}

/// Whose cosignature counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// In this policy only.
    pub name: String,
    pub key: VerifierKey,
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    needed: usize,
    members: Vec<String>,
}

/// What a policy makes of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The witnesses that cosigned, by their names in the policy, with their times.
    pub by: Vec<(String, u64)>,
    /// Witnesses that there are.
    pub of: usize,
    /// Whether they are enough. Where none is needed this is so with none.
    pub is_enough: bool,
    /// Whether the policy asks for any at all.
    pub is_asked: bool,
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("line {line}: {reason}")]
    Line { line: usize, reason: String },
    #[error("line {line}: the key is none")]
    Key { line: usize, source: KeyError },
    #[error("a policy needs one quorum line, e.g. `quorum none`")]
    NoQuorum,
}

impl Policy {
    /// One that believes a log by itself.
    #[must_use]
    pub const fn of_log(log: Vec<VerifierKey>) -> Self {
        Self { logs: log, witnesses: Vec::new(), groups: BTreeMap::new(), quorum: None }
    }

    /// # Errors
    /// Says what is wrong, and in which line.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let mut reading = Reading::default();
        for (line, number) in text.lines().zip(1..) {
            let words: Vec<&str> =
                line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            if !words.first().is_none_or(|word| word.starts_with('#')) {
                reading.line(number, &words)?;
            }
        }
        let quorum = reading.quorum.ok_or(PolicyError::NoQuorum)?;
        let Reading { logs, witnesses, groups, .. } = reading;
        Ok(Self { logs, witnesses, groups, quorum: Some(quorum).filter(|name| name != "none") })
    }

    /// Whose cosignatures a note has, and whether they are enough.
    ///
    /// # Errors
    /// When a signature by one of the witnesses does not verify.
    pub fn standing(&self, note: &Note) -> Result<Standing, NoteError> {
        let mut by = Vec::new();
        for witness in &self.witnesses {
            if let Some(signed) = note.signed_by(&witness.key)? {
                by.push((witness.name.clone(), signed.at.unwrap_or(0)));
            }
        }
        let names = by.iter().map(|(name, _)| name.as_str()).collect();
        let is_enough = self.quorum.as_deref().is_none_or(|name| self.has(name, &names));
        let (of, is_asked) = (self.witnesses.len(), self.quorum.is_some());
        Ok(Standing { by, of, is_enough, is_asked })
    }

    fn has(&self, name: &str, names: &BTreeSet<&str>) -> bool {
        match self.groups.get(name) {
            None => names.contains(name),
            Some(group) => {
                let has = group.members.iter().filter(|member| self.has(member, names));
                has.count() >= group.needed
            }
        }
    }
}

/// A policy half read.
#[derive(Default)]
struct Reading {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    groups: BTreeMap<String, Group>,
    members: BTreeSet<String>,
    quorum: Option<String>,
}

impl Reading {
    fn line(&mut self, line: usize, words: &[&str]) -> Result<(), PolicyError> {
        let refuse = |reason: String| PolicyError::Line { line, reason };
        if self.logs.len().max(self.witnesses.len()).max(self.groups.len()) >= LINES_MAX {
            return Err(refuse(format!("more than {LINES_MAX} of a kind")));
        }
        match words {
            ["log", key] | ["log", key, _] => {
                let key = parse_key(line, key, KeyKind::Note)?;
                if self.logs.iter().any(|log| log.public == key.public) {
                    return Err(refuse("the log's key is there already".to_owned()));
                }
                self.logs.push(key);
            }
            ["witness", name, key] => self.witness(line, name, key, None)?,
            ["witness", name, key, url] => self.witness(line, name, key, Some(url))?,
            ["group", name, needed, members @ ..] => self.group(line, name, needed, members)?,
            ["quorum", name] => {
                if self.quorum.is_some() {
                    return Err(refuse("there is a quorum already".to_owned()));
                }
                if *name != "none" && !self.knows(name) {
                    return Err(refuse(format!("{name} is not declared before")));
                }
                self.quorum = Some((*name).to_owned());
            }
            _ => return Err(refuse("it is no log, witness, group or quorum line".to_owned())),
        }
        Ok(())
    }

    fn knows(&self, name: &str) -> bool {
        self.groups.contains_key(name) || self.witnesses.iter().any(|one| one.name == name)
    }

    fn name(&self, line: usize, name: &str) -> Result<String, PolicyError> {
        if name == "none" || self.knows(name) {
            let reason = format!("the name {name} is taken");
            return Err(PolicyError::Line { line, reason });
        }
        Ok(name.to_owned())
    }

    fn witness(
        &mut self,
        line: usize,
        name: &str,
        key: &str,
        url: Option<&str>,
    ) -> Result<(), PolicyError> {
        let (name, key) = (self.name(line, name)?, parse_key(line, key, KeyKind::Cosignature)?);
        if self.witnesses.iter().any(|one| one.key.public == key.public) {
            let reason = "the witness's key is there already".to_owned();
            return Err(PolicyError::Line { line, reason });
        }
        self.witnesses.push(Witness { name, key, url: url.map(str::to_owned) });
        Ok(())
    }

    fn group(
        &mut self,
        line: usize,
        name: &str,
        needed: &str,
        members: &[&str],
    ) -> Result<(), PolicyError> {
        let refuse = |reason: String| PolicyError::Line { line, reason };
        let name = self.name(line, name)?;
        let needed = match needed {
            "all" => Some(members.len()),
            "any" => Some(1),
            number => crate::number(number).and_then(|number| usize::try_from(number).ok()),
        };
        let needed = needed.filter(|needed| (1..=members.len()).contains(needed));
        let needed = needed.ok_or_else(|| refuse("needs all, any, or 1 to its members".into()))?;
        for member in members {
            if !self.knows(member) {
                return Err(refuse(format!("{member} is not declared before")));
            }
            if !self.members.insert((*member).to_owned()) {
                return Err(refuse(format!("{member} is a member already: it would count twice")));
            }
        }
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        self.groups.insert(name, Group { needed, members });
        Ok(())
    }
}

fn parse_key(line: usize, text: &str, kind: KeyKind) -> Result<VerifierKey, PolicyError> {
    let key = VerifierKey::parse(text).map_err(|source| PolicyError::Key { line, source })?;
    if key.kind == kind {
        return Ok(key);
    }
    let reason = match kind {
        KeyKind::Note => "this key is a witness's; a log's is of kind 1",
        KeyKind::Cosignature => "this key signs notes; a witness's is of kind 4",
    };
    Err(PolicyError::Line { line, reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    fn witness(number: u8) -> SigningKey {
        let name = format!("w{number}.example");
        SigningKey::from_seed(&name, KeyKind::Cosignature, [number; 32]).expect("a name")
    }

    fn text(end: &str) -> String {
        let log = SigningKey::from_seed("log.example", KeyKind::Note, [9; 32]).expect("a name");
        let log = log.verifier().to_string();
        let line =
            |number| format!("witness w{number} {} http://w{number}\n", witness(number).verifier());
        format!("# who\nlog {log}\n{}{}{}{end}", line(1), line(2), line(3))
    }

    fn cosigned(by: &[u8]) -> Note {
        let mut note = Note::new("log.example\n1\n".to_owned());
        by.iter().for_each(|number| note.sign(&witness(*number), 5));
        note
    }

    #[test]
    fn two_of_three_and_nested_groups() {
        let policy = Policy::parse(&text("group g 2 w1 w2 w3\nquorum g\n")).expect("valid");
        for (by, is_enough) in [(&[][..], false), (&[1], false), (&[1, 1], false), (&[3, 1], true)]
        {
            let standing = policy.standing(&cosigned(by)).expect("true");
            assert_eq!((standing.is_enough, standing.of), (is_enough, 3), "{by:?}");
        }
        let nested = "group a any w1 w2\ngroup b all a w3\nquorum b\n";
        let policy = Policy::parse(&text(nested)).expect("valid");
        let is_enough = |by: &[u8]| policy.standing(&cosigned(by)).expect("true").is_enough;
        assert!(is_enough(&[2, 3]) && !is_enough(&[1, 2]) && !is_enough(&[3]));
        let policy = Policy::parse("quorum none\n").expect("valid");
        assert!(policy.standing(&cosigned(&[])).expect("true").is_enough);
    }

    #[test]
    fn mistakes_in_policies_by_table() {
        let again = format!("witness w4 {}\nquorum none\n", witness(1).verifier());
        let log = SigningKey::from_seed("l", KeyKind::Note, [3; 32]).expect("a name");
        let wrong = format!("witness w4 {}\nquorum none\n", log.verifier());
        for (end, words) in [
            ("", "one quorum line"),
            ("quorum w9\n", "line 6: w9 is not declared"),
            ("group g 4 w1 w2 w3\nquorum g\n", "1 to its members"),
            ("group g 0 w1\nquorum g\n", "1 to its members"),
            ("group g any\nquorum g\n", "1 to its members"),
            ("group g 2 w1 w1\nquorum g\n", "would count twice"),
            ("group w1 any w2\nquorum w1\n", "taken"),
            ("quorum none\nquorum none\n", "already"),
            ("hello\nquorum none\n", "line 6"),
            ("witness x y\nquorum none\n", "line 6: the key"),
            (&again, "already"),
            (&wrong, "of kind 4"),
        ] {
            let error = Policy::parse(&text(end)).expect_err(end).to_string();
            assert!(error.contains(words), "{error} for {end}");
        }
    }
}
