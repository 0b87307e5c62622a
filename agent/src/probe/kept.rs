//! What a device said it was when it was last met, in small files beside the spool, and the event
//! of what has changed since.
//!
//! Lost, a file costs one alarm at most: the device is taken as if it were new.
#![expect(clippy::disallowed_methods, reason = "one small file for each device")]

use std::path::{Path, PathBuf};

use bijli_wire::SubjectId;
use bijli_wire::message::EventKind;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Happening, Witness, epoch};

/// What changed: the codes of [`EventKind::MeterChanged`]. Append only.
pub(super) mod code {
    pub(in crate::probe) const WORD_ORDER: u32 = 1;
    pub(in crate::probe) const SERIAL: u32 = 2;
    pub(in crate::probe) const FIRMWARE: u32 = 3;
    pub(in crate::probe) const KIND: u32 = 4;
    pub(in crate::probe) const SCALE: u32 = 5;
    pub(in crate::probe) const CERTIFICATE: u32 = 6;
}

/// What is kept of one device.
pub(super) trait Facts: Serialize + DeserializeOwned {
    /// Of which source; part of the file's name, so it never changes.
    const SOURCE: &'static [&'static str];
    /// The meter that stands for the device.
    fn meter(&self) -> &str;
}

/// Of the device with this meter; `None`: it was never met here.
pub(super) fn load<F: Facts>(folder: Option<&Path>, meter: &str) -> Option<F> {
    let text = std::fs::read_to_string(path::<F>(folder?, meter)).ok()?;
    let facts: F = serde_json::from_str(&text).ok()?;
    (facts.meter() == meter).then_some(facts)
}

/// Whole or not at all. A disk that does not take it costs an alarm after the next start.
pub(super) fn store<F: Facts>(folder: Option<&Path>, facts: &F) {
    let Some(folder) = folder else { return };
    let path = path::<F>(folder, facts.meter());
    let temporary = path.with_extension("tmp");
    let text = serde_json::to_string(facts).unwrap_or_default();
    let outcome =
        std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path));
    if let Err(e) = outcome {
        tracing::warn!("cannot keep who the device of meter {} is: {e}", facts.meter());
    }
}

/// Ids have characters that no file should; their hash has none.
pub(super) fn path<F: Facts>(folder: &Path, meter: &str) -> PathBuf {
    let parts = [F::SOURCE, &[meter]].concat();
    folder.join(format!("meter-{:016x}.json", epoch(&parts)))
}

/// Whether both were told and differ. What was not told then or now is no change.
pub(super) fn differs<'a, T: PartialEq>(
    old: Option<&'a T>,
    new: Option<&'a T>,
) -> Option<(&'a T, &'a T)> {
    let (old, new) = (old?, new?);
    (old != new).then_some((old, new))
}

/// A device is not as it was.
pub(super) fn changed(subject: Option<&SubjectId>, code: u32, text: String) -> Happening {
    let (subject, kind) = (subject.cloned(), EventKind::MeterChanged);
    Happening { subject, kind, code, text, witness: Witness::Driver }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Thing {
        meter: String,
    }

    impl Facts for Thing {
        const SOURCE: &'static [&'static str] = &["test"];
        fn meter(&self) -> &str {
            &self.meter
        }
    }

    #[test]
    fn what_was_found_is_there_after_a_restart() {
        let kept_in = tempfile::tempdir().expect("a folder");
        let folder = Some(kept_in.path());
        let thing = Thing { meter: "isb/a".to_owned() };
        assert_eq!(load::<Thing>(folder, "isb/a"), None);
        store(folder, &thing);
        assert_eq!(load(folder, "isb/a"), Some(thing));
        assert_eq!(load::<Thing>(folder, "isb/b"), None);
        assert_eq!(load::<Thing>(None, "isb/a"), None);
        std::fs::write(path::<Thing>(kept_in.path(), "isb/a"), "{").expect("written");
        assert_eq!(load::<Thing>(folder, "isb/a"), None, "damage is no memory");
    }

    #[test]
    fn what_was_not_told_is_no_change() {
        assert_eq!(differs(Some(&1), Some(&2)), Some((&1, &2)));
        for (old, new) in [(Some(&1), Some(&1)), (None, Some(&1)), (Some(&1), None), (None, None)] {
            assert_eq!(differs(old, new), None);
        }
    }
}
