//! A cumulative register as real devices have them: it began long ago, and some wrap.
//!
//! What is known exactly is the energy since the fleet began; the count shown adds to it a start
//! that nobody knows, so only differences mean anything.

use bijli_wire::batch::Register as Declared;
use bijli_wire::{Method, Millijoules, Millis, Milliwatts};

/// How registers of one kind of device count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial {
    counts_per_millijoule: u64,
    /// The count wraps to 0 on reaching this.
    modulus: Option<u64>,
    /// Readings further apart are bridged.
    gap: Millis,
    /// The count at the start lies in this range.
    begins: (u64, u64),
}

impl Dial {
    /// NVML's counter: millijoules since the driver was loaded, months ago at most.
    pub(crate) const GPU: Self = Self {
        counts_per_millijoule: 1,
        modulus: None,
        gap: Millis::new(3_000),
        begins: (100_000_000_000, 9_000_000_000_000),
    };
    /// RAPL counts microjoules and wraps at `max_energy_range_uj`; under load every quarter hour.
    pub(crate) const PACKAGE: Self = Self {
        counts_per_millijoule: 1_000,
        modulus: Some(262_143_328_850),
        gap: Millis::new(3_000),
        begins: (0, 262_143_328_849),
    };
    pub(crate) const DRAM: Self = Self {
        counts_per_millijoule: 1_000,
        modulus: Some(65_712_999_613),
        gap: Millis::new(3_000),
        begins: (0, 65_712_999_612),
    };
    /// A whole node's input, as a BMC counts it.
    pub(crate) const NODE: Self = Self {
        counts_per_millijoule: 1,
        modulus: None,
        gap: Millis::new(3_000),
        begins: (1_000_000_000_000, 90_000_000_000_000),
    };
    /// A facility meter. Real ones step by a watt-hour or more; these count millijoules, so that
    /// the books can be compared with the truth at every interval's edge.
    pub(crate) const METER: Self = Self {
        counts_per_millijoule: 1,
        modulus: None,
        gap: Millis::new(15_000),
        begins: (10_000_000_000_000, 9_000_000_000_000_000),
    };
}

/// One register, and the power of the second that went into it last.
#[derive(Clone, Debug)]
pub(crate) struct Register {
    dial: Dial,
    begin: u64,
    energy: u64,
    pub(crate) power_mw: u64,
    power_mw_max: u64,
}

impl Register {
    /// `bits` decide where the count begins.
    pub(crate) fn new(dial: Dial, bits: u64, power_mw_max: u64) -> Self {
        let (low, high) = dial.begins;
        let begin = low + crate::rng::spread(bits, high - low);
        Self { dial, begin, energy: 0, power_mw: 0, power_mw_max }
    }

    /// Counts the second that `power_mw` describes.
    pub(crate) fn count_second(&mut self) {
        assert!(self.power_mw <= self.power_mw_max, "the declared bound holds for every second");
        self.energy = self.energy.checked_add(self.power_mw).expect("u64 mJ last for years");
    }

    /// Exactly what was counted since the fleet began.
    pub(crate) fn energy(&self) -> Millijoules {
        Millijoules::new(self.energy)
    }

    /// What the device shows.
    pub(crate) fn shown(&self) -> i64 {
        let counted = u128::from(self.energy) * u128::from(self.dial.counts_per_millijoule);
        let sum = u128::from(self.begin) + counted;
        let shown = self.dial.modulus.map_or(sum, |modulus| sum % u128::from(modulus));
        i64::try_from(shown).expect("a simulated register stays far below 2^62")
    }

    /// The power of the last second, as a reading.
    pub(crate) fn power(&self) -> i64 {
        reading(self.power_mw)
    }

    pub(crate) fn declared(&self) -> Declared {
        Declared {
            numerator: 1,
            denominator: self.dial.counts_per_millijoule,
            modulus: self.dial.modulus,
            power_max: Milliwatts::new(self.power_mw_max),
            epoch: 1,
            method: Method::Hardware,
            gap: self.dial.gap,
        }
    }
}

/// A number of ours as a reading.
pub(crate) fn reading(value: u64) -> i64 {
    i64::try_from(value).expect("simulated magnitudes are far below 2^63")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrap_loses_nothing() {
        let mut register = Register::new(Dial::PACKAGE, u64::MAX, 350_000);
        let modulus = Dial::PACKAGE.modulus.expect("RAPL wraps");
        assert_eq!(register.shown(), reading(modulus - 1));
        register.power_mw = 250_000;
        register.count_second();
        assert_eq!(register.shown(), 250_000 * 1_000 - 1);
        assert_eq!(register.energy(), Millijoules::new(250_000));
    }

    #[test]
    #[should_panic(expected = "bound holds")]
    fn power_above_the_declared_bound_is_a_bug() {
        let mut register = Register::new(Dial::GPU, 0, 700_000);
        register.power_mw = 700_001;
        register.count_second();
    }
}
