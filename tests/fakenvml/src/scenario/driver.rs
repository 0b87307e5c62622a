//! The driver: its versions, and when it is not there.

use serde::Deserialize;

use super::is_within;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriverSpec {
    /// From 580.82 on, fields 251–273 have their new numbers.
    pub version: String,
    pub nvml_version: String,
    /// 1000 × major + 10 × minor.
    pub cuda_version: i32,
    /// `nvmlInit` fails with `DRIVER_NOT_LOADED` before.
    pub load_after_ms: u64,
    /// Calls deprecated in CUDA 13 answer `DEPRECATED`, as they will once removed.
    pub is_refusing_deprecated: bool,
    /// In order of time.
    pub reloads: Vec<Reload>,
}

/// The driver goes and comes back, with energy registers and volatile counters at 0. A real one
/// cannot go while a process has it open; this one can, and that process must shut down NVML and
/// initialise it again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    pub at_ms: u64,
    pub back_ms: u64,
    /// None: as before.
    pub version: Option<String>,
    pub nvml_version: Option<String>,
    /// Until then `nvmlInit` fails with `LIB_RM_VERSION_MISMATCH`, as in a process that still has
    /// the library of the old version.
    pub mismatch_until_ms: Option<u64>,
}

impl DriverSpec {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.reloads.iter().any(|reload| reload.back_ms <= reload.at_ms) {
            return Err("a reload has a back_ms that is not after its at_ms");
        }
        let mut neighbours = self.reloads.iter().zip(self.reloads.iter().skip(1));
        if neighbours.any(|(earlier, later)| later.at_ms < earlier.back_ms) {
            return Err("reloads overlap or are out of order");
        }
        Ok(())
    }

    /// How often it has gone.
    pub(crate) fn generation(&self, at_ms: u64) -> usize {
        self.reloads.iter().filter(|reload| reload.at_ms <= at_ms).count()
    }

    pub(crate) fn is_loaded(&self, at_ms: u64) -> bool {
        let mut gone = self.reloads.iter();
        self.load_after_ms <= at_ms
            && !gone.any(|reload| is_within(at_ms, reload.at_ms, Some(reload.back_ms)))
    }

    pub(crate) fn is_mismatched(&self, at_ms: u64) -> bool {
        self.reloads.iter().any(|reload| {
            reload
                .mismatch_until_ms
                .is_some_and(|until| is_within(at_ms, reload.at_ms, Some(until)))
        })
    }

    pub(crate) fn version(&self, at_ms: u64) -> &str {
        let past = self.reloads.iter().filter(|reload| reload.at_ms <= at_ms);
        past.filter_map(|reload| reload.version.as_deref()).next_back().unwrap_or(&self.version)
    }

    pub(crate) fn nvml_version(&self, at_ms: u64) -> &str {
        let past = self.reloads.iter().filter(|reload| reload.at_ms <= at_ms);
        past.filter_map(|reload| reload.nvml_version.as_deref())
            .next_back()
            .unwrap_or(&self.nvml_version)
    }

    /// Whether fields 251–273 have the numbers they got with CUDA 13.0 update 1, that is from
    /// driver 580.82 on.
    pub(crate) fn has_renumbered_fields(&self, at_ms: u64) -> bool {
        let mut parts = self.version(at_ms).split('.').map(|part| part.parse().ok());
        let mut next = || parts.next().flatten().unwrap_or(0_u32);
        (next(), next()) >= (580, 82)
    }
}

impl Default for DriverSpec {
    fn default() -> Self {
        Self {
            version: "580.105.08".to_owned(),
            nvml_version: "13.580.105.08".to_owned(),
            cuda_version: 13_000,
            load_after_ms: 0,
            is_refusing_deprecated: false,
            reloads: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Scenario;

    fn driver(text: &str) -> super::DriverSpec {
        Scenario::parse(&format!("[driver]\n{text}")).unwrap().driver
    }

    #[test]
    fn fields_are_renumbered_from_580_82_on() {
        let is_renumbered =
            |version: &str| driver(&format!("version = '{version}'")).has_renumbered_fields(0);
        assert!(!is_renumbered("570.148.08"));
        assert!(!is_renumbered("580.65.06"));
        assert!(is_renumbered("580.82.07"));
        assert!(is_renumbered("595.1"));
        assert!(!is_renumbered("none"));
    }

    #[test]
    fn a_reload_may_bring_another_version() {
        let driver = driver(
            "version = '570.1'\nload_after_ms = 5\nreloads = [\
             {at_ms = 10, back_ms = 20, version = '595.2', mismatch_until_ms = 25}, \
             {at_ms = 30, back_ms = 40}]",
        );
        assert_eq!(
            [4, 5, 10, 20, 35].map(|at| driver.is_loaded(at)),
            [false, true, false, true, false]
        );
        assert_eq!([9, 10, 40].map(|at| driver.version(at)), ["570.1", "595.2", "595.2"]);
        assert_eq!([9, 40].map(|at| driver.has_renumbered_fields(at)), [false, true]);
        assert_eq!([9, 10, 29, 30].map(|at| driver.generation(at)), [0, 1, 1, 2]);
        assert_eq!([9, 24, 25].map(|at| driver.is_mismatched(at)), [false, true, false]);
    }
}
