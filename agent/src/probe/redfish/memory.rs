//! Who a server said it is, beside the spool.
//!
//! Lost, it costs one alarm at most: the server is taken as if it were new.
#![expect(clippy::disallowed_methods, reason = "one small file for each server")]

use std::path::{Path, PathBuf};

use bijli_wire::SubjectId;
use bijli_wire::message::EventKind;
use serde::{Deserialize, Serialize};

use crate::probe::{Happening, Witness, epoch, short};

/// The code of [`EventKind::MeterChanged`]: what changed. Append only.
const CODE_SERIAL: u32 = 2;
const CODE_FIRMWARE: u32 = 3;
const CODE_KIND: u32 = 4;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) meter: String,
    pub(super) model: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) firmware: Option<String>,
}

impl Memory {
    /// Of this meter; `None`: it was never met here.
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
            tracing::warn!("cannot keep who the server of meter {} is: {e}", self.meter);
        }
    }

    /// What was not told now is as it was.
    pub(super) fn with(self, before: &Self) -> Self {
        Self {
            meter: self.meter,
            model: self.model.or_else(|| before.model.clone()),
            serial: self.serial.or_else(|| before.serial.clone()),
            firmware: self.firmware.or_else(|| before.firmware.clone()),
        }
    }

    /// What `found` says that this does not. What was not told then or now is no change.
    pub(super) fn changes(&self, found: &Self, subject: Option<&SubjectId>) -> Vec<Happening> {
        let rows = [
            (&self.serial, &found.serial, CODE_SERIAL, "another server answers: serial"),
            (&self.model, &found.model, CODE_KIND, "another model answers:"),
            (&self.firmware, &found.firmware, CODE_FIRMWARE, "another firmware:"),
        ];
        let changed = |(old, new, code, what): (&Option<String>, &Option<String>, u32, &str)| {
            let (old, new) = (old.as_ref()?, new.as_ref()?);
            let text = short(&format!("{what} {old} was, {new} is"));
            let (subject, kind) = (subject.cloned(), EventKind::MeterChanged);
            let told = Happening { subject, kind, code, text, witness: Witness::Driver };
            (old != new).then_some(told)
        };
        rows.into_iter().filter_map(changed).collect()
    }
}

/// Ids have characters that no file should; their hash has none.
fn path(folder: &Path, meter: &str) -> PathBuf {
    folder.join(format!("meter-{:016x}.json", epoch(&["redfish", meter])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_kept_and_only_what_is_told_changes() {
        let kept_in = tempfile::tempdir().expect("a folder");
        let folder = Some(kept_in.path());
        let some = |text: &str| Some(text.to_owned());
        let kept = Memory {
            meter: "isb/a".to_owned(),
            model: some("3500RX"),
            serial: some("437XR1138R2"),
            firmware: None,
        };
        kept.store(folder);
        assert_eq!(Memory::load(folder, "isb/a"), Some(kept.clone()));
        assert_eq!(Memory::load(folder, "isb/b"), None);
        let other = Memory { serial: some("7"), firmware: some("2"), ..kept.clone() };
        let codes: Vec<u32> = kept.changes(&other, None).iter().map(|change| change.code).collect();
        assert_eq!(codes, [CODE_SERIAL]);
        let silent = Memory { meter: "isb/a".to_owned(), ..Memory::default() };
        assert!(kept.changes(&silent, None).is_empty());
        assert_eq!(silent.with(&kept), kept);
    }
}
