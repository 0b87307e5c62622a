//! Which GPU is where on the bus: the kernel's log knows places only, the driver both.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bijli_wire::SubjectId;

/// By PCI address, in small letters and without the function: `0000:19:00`.
#[derive(Debug, Default)]
pub struct Places(Mutex<BTreeMap<String, SubjectId>>);

impl Places {
    /// Notes that this GPU is there now.
    pub fn put(&self, pci: &str, gpu: SubjectId) {
        self.lock().insert(key(pci), gpu);
    }

    #[must_use]
    pub fn at(&self, pci: &str) -> Option<SubjectId> {
        self.lock().get(&key(pci)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, SubjectId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// NVML writes `00000000:19:00.0`, the kernel `0000:19:00` or `0000:19:00.0`.
fn key(pci: &str) -> String {
    let pci = pci.to_ascii_lowercase();
    let place = pci.split('.').next().unwrap_or_default();
    let (domain, rest) = place.split_once(':').unwrap_or(("", place));
    let digits = domain.trim_start_matches('0');
    format!("{digits:0>4}:{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_and_the_kernels_addresses_are_one_place() {
        let places = Places::default();
        let gpu = SubjectId::new("GPU-a").expect("a name");
        places.put("00000000:1A:00.0", gpu.clone());
        for pci in ["0000:1a:00", "0000:1a:00.0", "00000000:1A:00.0"] {
            assert_eq!(places.at(pci), Some(gpu.clone()), "{pci}");
        }
        assert_eq!(places.at("0001:1a:00"), None);
        assert_eq!(places.at(""), None);
    }
}
