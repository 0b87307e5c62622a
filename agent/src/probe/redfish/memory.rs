//! Who a server said it is, and what of it has changed.

use bijli_wire::SubjectId;
use serde::{Deserialize, Serialize};

use crate::probe::kept::{Facts, changed, code, differs};
use crate::probe::{Happening, short};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) meter: String,
    pub(super) model: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) firmware: Option<String>,
}

impl Facts for Memory {
    const SOURCE: &'static [&'static str] = &["redfish"];

    fn meter(&self) -> &str {
        &self.meter
    }
}

impl Memory {
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
            (&self.serial, &found.serial, code::SERIAL, "another server answers: serial"),
            (&self.model, &found.model, code::KIND, "another model answers:"),
            (&self.firmware, &found.firmware, code::FIRMWARE, "another firmware:"),
        ];
        let told = |(old, new, code, what): (&Option<String>, &Option<String>, u32, &str)| {
            let (old, new) = differs(old.as_ref(), new.as_ref())?;
            Some(changed(subject, code, short(&format!("{what} {old} was, {new} is"))))
        };
        rows.into_iter().filter_map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::kept::{load, store};

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
        store(folder, &kept);
        assert_eq!(load(folder, "isb/a"), Some(kept.clone()));
        assert_eq!(load::<Memory>(folder, "isb/b"), None);
        let other = Memory { serial: some("7"), firmware: some("2"), ..kept.clone() };
        let codes: Vec<u32> = kept.changes(&other, None).iter().map(|change| change.code).collect();
        assert_eq!(codes, [code::SERIAL]);
        let silent = Memory { meter: "isb/a".to_owned(), ..Memory::default() };
        assert!(kept.changes(&silent, None).is_empty());
        assert_eq!(silent.with(&kept), kept);
    }
}
