//! Which GPU has which number now. Schedulers name GPUs by numbers; the books know UUIDs only.
//!
//! There are two numbers, and they differ: the library's index, in the order of the bus, and the
//! minor number of `/dev/nvidia<minor>`, in the order in which the driver found the GPUs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bijli_wire::SubjectId;
use serde::Deserialize;

/// One GPU that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    pub index: u32,
    /// `None`: the driver does not tell.
    pub minor: Option<u32>,
    pub gpu: SubjectId,
    /// `None`: it is not split.
    pub mig: Option<Mig>,
}

/// A GPU that is split into instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mig {
    /// Compute slices of the whole GPU: as many instances as it can have at most.
    pub of: u32,
    pub instances: Vec<Instance>,
}

/// A MIG device: a compute instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub id: SubjectId,
    /// The number of its GPU instance, of its GPU.
    pub gi: u32,
    /// Compute slices.
    pub slices: u32,
}

/// Which number is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Of the device file.
    #[default]
    Minor,
    /// The library's.
    Index,
}

/// The GPUs as they were last listed; nothing before that.
#[derive(Debug, Default)]
pub struct Numbers(Mutex<Option<Vec<Numbered>>>);

impl Numbers {
    /// Takes what is there now, in the place of what was.
    pub fn put(&self, gpus: Vec<Numbered>) {
        *self.lock() = Some(gpus);
    }

    /// All GPUs; `None`: they were not listed yet.
    #[must_use]
    pub fn listed(&self) -> Option<Vec<Numbered>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Numbered>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The GPU of a number.
#[must_use]
pub fn find(gpus: &[Numbered], by: By, number: u32) -> Option<&SubjectId> {
    let has_it = |one: &&Numbered| match by {
        By::Minor => one.minor == Some(number),
        By::Index => one.index == number,
    };
    gpus.iter().find(has_it).map(|one| &one.gpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minor_number_is_no_index() {
        let gpu = |name: &str| SubjectId::new(name).expect("a name");
        let gpus = [("a", 0, Some(1)), ("b", 1, Some(0)), ("c", 2, None)]
            .map(|(name, index, minor)| Numbered { index, minor, gpu: gpu(name), mig: None });
        for (by, number, expected) in [
            (By::Minor, 0, Some("b")),
            (By::Minor, 1, Some("a")),
            (By::Minor, 2, None),
            (By::Index, 0, Some("a")),
            (By::Index, 2, Some("c")),
        ] {
            let found = find(&gpus, by, number).map(SubjectId::as_str);
            assert_eq!(found, expected, "{by:?} {number}");
        }
        let numbers = Numbers::default();
        assert_eq!(numbers.listed(), None, "not asked yet, which is not: there are none");
        numbers.put(gpus.to_vec());
        assert_eq!(numbers.listed().map(|gpus| gpus.len()), Some(3));
    }
}
