//! What people should hear of witnesses: each thing once, each change of a witness once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bijli_wire::hold::Hold;
use bijli_wire::message::EventKind;

use crate::schedule::{Report, Tell};

/// Words that are remembered, so that each is said once.
const SAID_MAX: usize = 256;

/// Nobody listens any more.
#[derive(Debug)]
pub(super) struct Gone;

/// Tells the agent.
pub(super) struct Voice {
    tell: Tell,
    /// What stands in the way of each witness.
    troubles: BTreeMap<&'static str, String>,
    /// What cannot be joined, told once.
    said: BTreeSet<String>,
}

impl Voice {
    pub(super) fn new(tell: Tell) -> Self {
        Self { tell, troubles: BTreeMap::new(), said: BTreeSet::new() }
    }

    /// Notes what a witness complains of, once per change.
    pub(super) fn take_outcome(
        &mut self,
        witness: &'static str,
        outcome: Result<(), String>,
    ) -> Result<(), Gone> {
        let before = self.troubles.get(witness);
        let words = match outcome {
            Ok(()) if before.is_none() => return Ok(()),
            Ok(()) => {
                self.troubles.remove(witness);
                format!("{witness}: answers again")
            }
            Err(words) if before == Some(&words) => return Ok(()),
            Err(words) => {
                self.troubles.insert(witness, words.clone());
                format!("{witness}: {words}; what is held goes on")
            }
        };
        self.report(Vec::new(), Vec::new(), vec![(EventKind::WitnessChanged, words)])
    }

    pub(super) fn report(
        &mut self,
        facts: Vec<Hold>,
        records: Vec<PathBuf>,
        mut news: Vec<(EventKind, String)>,
    ) -> Result<(), Gone> {
        if self.said.len() > SAID_MAX {
            self.said.clear();
        }
        news.retain(|(kind, words)| {
            *kind == EventKind::WitnessChanged || self.said.insert(words.clone())
        });
        if facts.is_empty() && news.is_empty() {
            return Ok(());
        }
        if (self.tell)(Report::Held { facts, records, news }) { Ok(()) } else { Err(Gone) }
    }
}
