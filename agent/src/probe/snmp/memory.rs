//! Who a device said it is, beside the spool.
//!
//! Lost, it costs one alarm at most: the device is taken as if it were new.
#![expect(clippy::disallowed_methods, reason = "one small file for each device")]

use std::path::{Path, PathBuf};

use bijli_wire::SubjectId;
use bijli_wire::message::EventKind;
use serde::{Deserialize, Serialize};

use crate::probe::{Happening, Witness, epoch};

/// The code of [`EventKind::MeterChanged`]: what changed. Append only; 1 is a word order.
const CODE_SERIAL: u32 = 2;
const CODE_FIRMWARE: u32 = 3;
const CODE_KIND: u32 = 4;
pub(super) const CODE_SCALE: u32 = 5;
/// Letters of a device's description in an event: two of them fit its text.
const LETTERS_MAX: usize = 60;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Its first meter.
    pub(super) meter: String,
    /// sysObjectID: which kind of device.
    pub(super) kind: Option<String>,
    /// sysDescr: often with a firmware's number in it.
    pub(super) description: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) firmware: Option<String>,
}

impl Memory {
    /// Of the device with this meter; `None`: it was never met here.
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
            tracing::warn!("cannot keep who the device of meter {} is: {e}", self.meter);
        }
    }

    /// What was not told now is as it was.
    pub(super) fn with(self, before: &Self) -> Self {
        let Self { meter, kind, description, serial, firmware } = self;
        Self {
            meter,
            kind: kind.or(before.kind.clone()),
            description: description.or(before.description.clone()),
            serial: serial.or(before.serial.clone()),
            firmware: firmware.or(before.firmware.clone()),
        }
    }

    /// What `found` says that this does not. What was not told then or now is no change.
    pub(super) fn changes(&self, found: &Self, subject: Option<&SubjectId>) -> Vec<Happening> {
        let mut changes = Vec::new();
        let mut compare = |old: &Option<String>, new: &Option<String>, code, what: &str| {
            if let (Some(old), Some(new)) = (old, new)
                && old != new
            {
                let text = format!("{what}: {} was, {} is", cut(old), cut(new));
                let (subject, kind) = (subject.cloned(), EventKind::MeterChanged);
                changes.push(Happening { subject, kind, code, text, witness: Witness::Driver });
            }
        };
        compare(&self.serial, &found.serial, CODE_SERIAL, "another device answers: serial");
        compare(&self.kind, &found.kind, CODE_KIND, "another kind of device answers");
        compare(&self.firmware, &found.firmware, CODE_FIRMWARE, "another firmware");
        // A description has the firmware's number in it, which has been told then.
        if self.firmware == found.firmware {
            let (old, new) = (&self.description, &found.description);
            compare(old, new, CODE_FIRMWARE, "it describes itself anew");
        }
        changes
    }

    /// For people; `None`: it said nothing.
    pub(super) fn words(&self) -> Option<String> {
        let named = |name: &str, value: &Option<String>| Some(format!("{name}{}", value.as_ref()?));
        let parts = [
            named("", &self.description),
            named("sysObjectID ", &self.kind),
            named("firmware ", &self.firmware),
            named("serial ", &self.serial),
        ];
        let words = parts.into_iter().flatten().collect::<Vec<String>>().join(", ");
        (!words.is_empty()).then_some(words)
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LETTERS_MAX).collect()
}

/// Ids have characters that no file should; their hash has none.
fn path(folder: &Path, meter: &str) -> PathBuf {
    folder.join(format!("meter-{:016x}.json", epoch(&["snmp", meter])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(serial: &str, firmware: &str) -> Memory {
        let some = |text: &str| Some(text.to_owned());
        Memory {
            meter: "isb/a".to_owned(),
            kind: some("1.3.6.1.4.1.318.1.3.4.6"),
            description: some("APC Web/SNMP Management Card"),
            serial: some(serial),
            firmware: some(firmware),
        }
    }

    #[test]
    fn what_was_found_is_there_after_a_restart() {
        let kept_in = tempfile::tempdir().expect("a folder");
        let folder = Some(kept_in.path());
        assert_eq!(Memory::load(folder, "isb/a"), None);
        let kept = memory("ZA1", "v6.8.2");
        kept.store(folder);
        assert_eq!(Memory::load(folder, "isb/a"), Some(kept));
        assert_eq!(Memory::load(folder, "isb/b"), None);
        assert_eq!(Memory::load(None, "isb/a"), None);
        std::fs::write(path(kept_in.path(), "isb/a"), "{").expect("written");
        assert_eq!(Memory::load(folder, "isb/a"), None, "damage is no memory");
    }

    #[test]
    fn changes_by_table() {
        let old = memory("ZA1", "v1");
        let codes = |found: &Memory| -> Vec<u32> {
            old.changes(found, None).iter().map(|change| change.code).collect()
        };
        assert!(codes(&old).is_empty());
        assert_eq!(codes(&memory("ZA2", "v1")), [CODE_SERIAL]);
        assert_eq!(codes(&memory("ZA1", "v2")), [CODE_FIRMWARE]);
        let other = Memory { kind: Some("1.3.6.1.4.1.13742.6".to_owned()), ..old.clone() };
        assert_eq!(codes(&other), [CODE_KIND]);
        let described = Memory { description: Some("x".repeat(128)), ..old.clone() };
        assert_eq!(codes(&described), [CODE_FIRMWARE]);
        let text = &old.changes(&described, None)[0].text;
        assert!(text.len() <= bijli_wire::limits::EVENT_TEXT_BYTES_MAX, "{text}");
        let silent = Memory { meter: "isb/a".to_owned(), ..Memory::default() };
        assert!(codes(&silent).is_empty(), "not told is no change");
        assert_eq!(silent.with(&old), old);
    }
}
