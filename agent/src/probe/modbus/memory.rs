//! What was found of a meter when it was last enrolled, and what of it has changed.

use bijli_wire::SubjectId;
use serde::{Deserialize, Serialize};

use super::decode::WordOrder;
use crate::probe::Happening;
use crate::probe::kept::{Facts, changed, code, differs};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) meter: String,
    pub(super) serial: Option<String>,
    pub(super) firmware: Option<String>,
    pub(super) word_order: Option<WordOrder>,
}

impl Facts for Memory {
    /// None: these files are elder than the other sources.
    const SOURCE: &'static [&'static str] = &[];

    fn meter(&self) -> &str {
        &self.meter
    }
}

impl Memory {
    pub(super) fn new(meter: &str) -> Self {
        Self { meter: meter.to_owned(), ..Self::default() }
    }

    /// What `found` says that this does not. What was not told then or now is no change.
    pub(super) fn changes(&self, found: &Self, subject: Option<&SubjectId>) -> Vec<Happening> {
        let mut changes = Vec::new();
        let mut tell = |code, text| changes.push(changed(subject, code, text));
        if let Some((old, new)) = differs(self.serial.as_ref(), found.serial.as_ref()) {
            tell(code::SERIAL, format!("another meter answers: serial {old} was, {new} is"));
        }
        if let Some((old, new)) = differs(self.word_order.as_ref(), found.word_order.as_ref()) {
            let (old, new) = (old.name(), new.name());
            let words = "compare it with the meter's display";
            tell(code::WORD_ORDER, format!("its word order was {old} and is {new}: {words}"));
        }
        if let Some((old, new)) = differs(self.firmware.as_ref(), found.firmware.as_ref()) {
            tell(code::FIRMWARE, format!("its firmware was {old} and is {new}"));
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::kept::{load, store};

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
        assert_eq!(load::<Memory>(folder, "isb/incomer"), None);
        let kept = memory("1024", WordOrder::Cdab);
        store(folder, &kept);
        assert_eq!(load::<Memory>(folder, "isb/incomer"), Some(kept));
        assert_eq!(load::<Memory>(folder, "isb/ups"), None);
        assert_eq!(load::<Memory>(None, "isb/incomer"), None);
    }

    #[test]
    fn changes_by_table() {
        let old = memory("1024", WordOrder::Abcd);
        let codes = |found: &Memory| -> Vec<u32> {
            old.changes(found, None).iter().map(|change| change.code).collect()
        };
        assert!(codes(&old).is_empty());
        assert_eq!(codes(&memory("1024", WordOrder::Cdab)), [code::WORD_ORDER]);
        assert_eq!(codes(&memory("7", WordOrder::Abcd)), [code::SERIAL]);
        assert_eq!(codes(&memory("7", WordOrder::Dcba)), [code::SERIAL, code::WORD_ORDER]);
        assert!(codes(&Memory::new("isb/incomer")).is_empty(), "not told is no change");
    }
}
