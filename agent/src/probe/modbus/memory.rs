//! What was found of a meter when it was last enrolled, beside the spool.
//!
//! Lost, it costs one alarm at most: the meter is enrolled as if it were new.
#![expect(clippy::disallowed_methods, reason = "one small file for each meter")]

use std::path::{Path, PathBuf};

use bijli_wire::SubjectId;
use bijli_wire::message::EventKind;
use serde::{Deserialize, Serialize};

use super::decode::WordOrder;
use crate::probe::{Happening, Witness, epoch};

/// The code of [`EventKind::MeterChanged`]: what changed. Append only.
const CODE_WORD_ORDER: u32 = 1;
const CODE_SERIAL: u32 = 2;
const CODE_FIRMWARE: u32 = 3;
const CODE_CERTIFICATE: u32 = 6;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) meter: String,
    pub(super) serial: Option<String>,
    pub(super) firmware: Option<String>,
    pub(super) word_order: Option<WordOrder>,
}

/// Somebody answers who is not believed.
pub(super) fn untrusted(subject: Option<SubjectId>, why: &str) -> Happening {
    let (kind, code, text) = (EventKind::MeterChanged, CODE_CERTIFICATE, why.to_owned());
    Happening { subject, kind, code, text, witness: Witness::Driver }
}

impl Memory {
    pub(super) fn new(meter: &str) -> Self {
        Self { meter: meter.to_owned(), ..Self::default() }
    }

    /// Of this meter; `None`: it was never enrolled here.
    pub(super) fn load(folder: Option<&Path>, meter: &str) -> Option<Self> {
        let text = std::fs::read_to_string(path(folder?, meter)).ok()?;
        let memory: Self = serde_json::from_str(&text).ok()?;
        (memory.meter == meter).then_some(memory)
    }

    /// Whole or not at all. A disk that does not take it costs an alarm after the next start.
    pub(super) fn store(&self, folder: Option<&Path>) {
        let Some(folder) = folder else { return };
        let path = path(folder, &self.meter);
        let temporary = path.with_extension("tmp");
        let text = serde_json::to_string(self).unwrap_or_default();
        let outcome =
            std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path));
        if let Err(e) = outcome {
            tracing::warn!("cannot keep what was found of meter {}: {e}", self.meter);
        }
    }

    /// What `found` says that this does not. What was not told then or now is no change.
    pub(super) fn changes(&self, found: &Self, subject: Option<&SubjectId>) -> Vec<Happening> {
        let mut changes = Vec::new();
        let mut tell = |code, text| {
            let (subject, kind) = (subject.cloned(), EventKind::MeterChanged);
            changes.push(Happening { subject, kind, code, text, witness: Witness::Driver });
        };
        if let (Some(old), Some(new)) = (&self.serial, &found.serial)
            && old != new
        {
            tell(CODE_SERIAL, format!("another meter answers: serial {old} was, {new} is"));
        }
        if let (Some(old), Some(new)) = (self.word_order, found.word_order)
            && old != new
        {
            let (old, new) = (old.name(), new.name());
            tell(
                CODE_WORD_ORDER,
                format!(
                    "its word order was {old} and is {new}: compare it \
                 with the meter's display"
                ),
            );
        }
        if let (Some(old), Some(new)) = (&self.firmware, &found.firmware)
            && old != new
        {
            tell(CODE_FIRMWARE, format!("its firmware was {old} and is {new}"));
        }
        changes
    }
}

/// Ids have characters that no file should; their hash has none.
fn path(folder: &Path, meter: &str) -> PathBuf {
    folder.join(format!("meter-{:016x}.json", epoch(&[meter])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(serial: &str, order: WordOrder) -> Memory {
        Memory {
            serial: Some(serial.to_owned()),
            word_order: Some(order),
            ..Memory::new("isb/incomer")
        }
    }

    #[test]
    fn what_was_found_is_there_after_a_restart() {
        let kept_in = tempfile::tempdir().expect("a folder");
        let folder = Some(kept_in.path());
        assert_eq!(Memory::load(folder, "isb/incomer"), None);
        let kept = memory("1024", WordOrder::Cdab);
        kept.store(folder);
        assert_eq!(Memory::load(folder, "isb/incomer"), Some(kept));
        assert_eq!(Memory::load(folder, "isb/ups"), None);
        assert_eq!(Memory::load(None, "isb/incomer"), None);
        std::fs::write(path(kept_in.path(), "isb/incomer"), "{").expect("written");
        assert_eq!(Memory::load(folder, "isb/incomer"), None, "damage is no memory");
    }

    #[test]
    fn changes_by_table() {
        let old = memory("1024", WordOrder::Abcd);
        let codes = |found: &Memory| -> Vec<u32> {
            old.changes(found, None).iter().map(|change| change.code).collect()
        };
        assert!(codes(&old).is_empty());
        assert_eq!(codes(&memory("1024", WordOrder::Cdab)), [CODE_WORD_ORDER]);
        assert_eq!(codes(&memory("7", WordOrder::Abcd)), [CODE_SERIAL]);
        assert_eq!(codes(&memory("7", WordOrder::Dcba)), [CODE_SERIAL, CODE_WORD_ORDER]);
        assert!(codes(&Memory::new("isb/incomer")).is_empty(), "not told is no change");
    }
}
