//! Who a device said it is, and what of it has changed.

use bijli_wire::SubjectId;
use serde::{Deserialize, Serialize};

use crate::probe::Happening;
use crate::probe::kept::{Facts, changed, code, differs};

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

impl Facts for Memory {
    const SOURCE: &'static [&'static str] = &["snmp"];

    fn meter(&self) -> &str {
        &self.meter
    }
}

impl Memory {
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
            if let Some((old, new)) = differs(old.as_ref(), new.as_ref()) {
                let text = format!("{what}: {} was, {} is", cut(old), cut(new));
                changes.push(changed(subject, code, text));
            }
        };
        compare(&self.serial, &found.serial, code::SERIAL, "another device answers: serial");
        compare(&self.kind, &found.kind, code::KIND, "another kind of device answers");
        compare(&self.firmware, &found.firmware, code::FIRMWARE, "another firmware");
        // A description has the firmware's number in it, which has been told then.
        if self.firmware == found.firmware {
            let (old, new) = (&self.description, &found.description);
            compare(old, new, code::FIRMWARE, "it describes itself anew");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::kept::{load, store};

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
        assert_eq!(load::<Memory>(folder, "isb/a"), None);
        let kept = memory("ZA1", "v6.8.2");
        store(folder, &kept);
        assert_eq!(load::<Memory>(folder, "isb/a"), Some(kept));
        assert_eq!(load::<Memory>(folder, "isb/b"), None);
        assert_eq!(load::<Memory>(None, "isb/a"), None);
    }

    #[test]
    fn changes_by_table() {
        let old = memory("ZA1", "v1");
        let codes = |found: &Memory| -> Vec<u32> {
            old.changes(found, None).iter().map(|change| change.code).collect()
        };
        assert!(codes(&old).is_empty());
        assert_eq!(codes(&memory("ZA2", "v1")), [code::SERIAL]);
        assert_eq!(codes(&memory("ZA1", "v2")), [code::FIRMWARE]);
        let other = Memory { kind: Some("1.3.6.1.4.1.13742.6".to_owned()), ..old.clone() };
        assert_eq!(codes(&other), [code::KIND]);
        let described = Memory { description: Some("x".repeat(128)), ..old.clone() };
        assert_eq!(codes(&described), [code::FIRMWARE]);
        let text = &old.changes(&described, None)[0].text;
        assert!(text.len() <= bijli_wire::limits::EVENT_TEXT_BYTES_MAX, "{text}");
        let silent = Memory { meter: "isb/a".to_owned(), ..Memory::default() };
        assert!(codes(&silent).is_empty(), "not told is no change");
        assert_eq!(silent.with(&old), old);
    }
}
