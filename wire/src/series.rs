//! The series catalogue: every quantity there is, its unit, kind, range, and what absence means.
//!
//! One table drives decoding, plausibility, exports and `docs/formats/wire.md`. Numbers are on
//! the wire and on disk: append only, never renumber, never reuse.

use serde::{Deserialize, Serialize};

/// What a series' numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A cumulative count that may wrap or reset; the subject's `Register` gives scale and modulus.
    Register,
    /// A momentary value.
    Gauge,
    /// A cumulative count without energy meaning, zero at boot.
    Counter,
    /// Bits.
    Flags,
}

/// One row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub quantity: Quantity,
    pub name: &'static str,
    pub unit: &'static str,
    pub kind: Kind,
    /// Smallest and largest value that can be true. Anything else is missing, never clamped.
    pub min: i64,
    pub max: i64,
    /// What a missing value says.
    pub absence: &'static str,
}

impl Spec {
    /// Whether `value` can be true at all. Sentinels such as 2^63-14 cannot.
    #[must_use]
    pub fn admits(&self, value: i64) -> bool {
        (self.min..=self.max).contains(&value)
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> Self {
        quantity as Self
    }
}

impl TryFrom<u32> for Quantity {
    type Error = String;
    fn try_from(number: u32) -> Result<Self, String> {
        Self::from_number(number).ok_or_else(|| format!("quantity {number} is of a newer version"))
    }
}

macro_rules! catalogue {
    ($(
        $number:literal $variant:ident $name:literal $unit:literal $kind:ident
        $min:literal $max:literal $absence:literal
    )*) => {
        /// A quantity of the catalogue. The number is the one on the wire.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(into = "u32", try_from = "u32")]
        #[repr(u32)]
        pub enum Quantity {
            $($variant = $number,)*
        }

        /// The whole catalogue, by number.
        pub const CATALOGUE: &[Spec] = &[
            $(Spec {
                quantity: Quantity::$variant, name: $name, unit: $unit, kind: Kind::$kind,
                min: $min, max: $max, absence: $absence,
            },)*
        ];

        impl Quantity {
            /// The quantity of a wire number; `None` if this version does not know it.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            #[must_use]
            pub const fn spec(self) -> &'static Spec {
                match self {
                    $(Self::$variant => &Spec {
                        quantity: Quantity::$variant, name: $name, unit: $unit,
                        kind: Kind::$kind, min: $min, max: $max, absence: $absence,
                    },)*
                }
            }
        }
    };
}

// Energy registers count in the subject's own unit (`Register`: numerator / denominator mJ per
// count), so nothing below a millijoule is lost before the ledger. The upper bound 2^62 keeps
// sentinels near 2^63 (DCGM's 9223372036854775794) out.
catalogue! {
    1  EnergyRegister     "energy_register"      "count"  Register 0 4_611_686_018_427_387_904 "no register, or the read failed: energy is bridged by the next reading"
    2  PowerAverage       "power_average"        "mW"     Gauge 0 1_000_000_000_000 "not offered by this device, or the read failed"
    3  PowerInstant       "power_instant"        "mW"     Gauge 0 1_000_000_000_000 "not offered by this device, or the read failed"
    4  PowerLimit         "power_limit"          "mW"     Gauge 0 1_000_000_000_000 "no limit can be read"
    5  Temperature        "temperature"          "m°C"    Gauge -80_000 250_000 "no sensor, or the read failed"
    6  MemoryTemperature  "memory_temperature"   "m°C"    Gauge -80_000 250_000 "no memory sensor"
    7  GpuUtilization     "gpu_utilization"      "ppm"    Gauge 0 1_000_000 "refused by the driver (MIG), or the read failed: activity unknown"
    8  MemoryUtilization  "memory_utilization"   "ppm"    Gauge 0 1_000_000 "refused by the driver (MIG), or the read failed"
    9  MemoryUsed         "memory_used"          "byte"   Gauge 0 1_125_899_906_842_624 "the read failed"
    10 MemorySize         "memory_size"          "byte"   Gauge 0 1_125_899_906_842_624 "the read failed"
    11 ClockSm            "clock_sm"             "Hz"     Gauge 0 100_000_000_000 "the read failed"
    12 ClockMemory        "clock_memory"         "Hz"     Gauge 0 100_000_000_000 "the read failed"
    13 ThrottleReasons    "throttle_reasons"     "bits"   Flags 0 9_223_372_036_854_775_807 "the driver does not tell"
    14 EccCorrected       "ecc_corrected"        "count"  Counter 0 4_611_686_018_427_387_904 "ECC is off or not supported"
    15 EccUncorrected     "ecc_uncorrected"      "count"  Counter 0 4_611_686_018_427_387_904 "ECC is off or not supported"
    16 ProcessCount       "process_count"        "count"  Gauge 0 1_000_000 "the read failed: activity unknown"
    17 CpuUtilization     "cpu_utilization"      "ppm"    Gauge 0 1_000_000 "first reading after start, or the read failed"
    18 HostMemoryUsed     "host_memory_used"     "byte"   Gauge 0 1_125_899_906_842_624 "the read failed"
    19 HostMemorySize     "host_memory_size"     "byte"   Gauge 0 1_125_899_906_842_624 "the read failed"
    20 NetworkReceived    "network_received"     "byte"   Counter 0 4_611_686_018_427_387_904 "no interface"
    21 NetworkSent        "network_sent"         "byte"   Counter 0 4_611_686_018_427_387_904 "no interface"
    22 DiskRead           "disk_read"            "byte"   Counter 0 4_611_686_018_427_387_904 "no disk"
    23 DiskWritten        "disk_written"         "byte"   Counter 0 4_611_686_018_427_387_904 "no disk"
    24 DiskUsed           "disk_used"            "byte"   Gauge 0 1_152_921_504_606_846_976 "no disk"
    25 DiskSize           "disk_size"            "byte"   Gauge 0 1_152_921_504_606_846_976 "no disk"
    26 Voltage            "voltage"              "mV"     Gauge 0 1_000_000_000 "not read"
    27 Current            "current"              "mA"     Gauge 0 1_000_000_000 "not read"
    28 Frequency          "frequency"            "mHz"    Gauge 0 1_000_000 "not read"
    29 PowerFactor        "power_factor"         "ppm"    Gauge -1_000_000 1_000_000 "not read"
    30 SupplyTemperature  "supply_temperature"   "m°C"    Gauge -80_000 250_000 "not read"
    31 ReturnTemperature  "return_temperature"   "m°C"    Gauge -80_000 250_000 "not read"
    32 Flow               "flow"                 "mL/s"   Gauge 0 1_000_000_000 "not read"
    33 OnBattery          "on_battery"           "0/1"    Gauge 0 1 "the UPS does not tell"
    34 BatteryCharge      "battery_charge"       "ppm"    Gauge 0 1_000_000 "the UPS does not tell"
    35 ModulePower        "module_power"         "mW"     Gauge 0 1_000_000_000_000 "not a superchip, or the read failed; several GPUs may tell the same module"
    36 PowerIntegral      "power_integral"       "mJ"     Counter 0 4_611_686_018_427_387_904 "no power was read for too long: the count begins anew at 0"
    37 ThrottlePowerCap   "throttle_power_cap"   "ns"     Counter 0 4_611_686_018_427_387_904 "the driver does not tell"
    38 ThrottleSyncBoost  "throttle_sync_boost"  "ns"     Counter 0 4_611_686_018_427_387_904 "the driver does not tell"
    39 ThrottleSwThermal  "throttle_sw_thermal"  "ns"     Counter 0 4_611_686_018_427_387_904 "the driver does not tell"
    40 ThrottleHwThermal  "throttle_hw_thermal"  "ns"     Counter 0 4_611_686_018_427_387_904 "the driver does not tell"
    41 ThrottlePowerBrake "throttle_power_brake" "ns"     Counter 0 4_611_686_018_427_387_904 "the driver does not tell"
    42 RecoveryAction     "recovery_action"      "number" Gauge 0 255 "the driver does not tell"
    43 EccCorrectedNow    "ecc_corrected_now"    "count"  Counter 0 4_611_686_018_427_387_904 "ECC is off or not supported"
    44 EccUncorrectedNow  "ecc_uncorrected_now"  "count"  Counter 0 4_611_686_018_427_387_904 "ECC is off or not supported"
    45 RemappedCorrected  "remapped_corrected"   "rows"   Counter 0 1_000_000_000 "no row remapping on this GPU, or MIG instances are active"
    46 RemappedUncorrected "remapped_uncorrected" "rows"  Counter 0 1_000_000_000 "no row remapping on this GPU, or MIG instances are active"
    47 RemapPending       "remap_pending"        "0/1"    Gauge 0 1 "no row remapping on this GPU, or MIG instances are active"
    48 RemapFailed        "remap_failed"         "0/1"    Gauge 0 1 "no row remapping on this GPU, or MIG instances are active"
    49 RemapBanksSpent    "remap_banks_spent"    "banks"  Gauge 0 1_000_000_000 "no row remapping on this GPU, or MIG instances are active"
    50 SramThreshold      "sram_threshold"       "0/1"    Gauge 0 1 "the driver does not tell"
    51 PcieReplays        "pcie_replays"         "count"  Counter 0 4_611_686_018_427_387_904 "the driver does not tell"
    52 PcieGeneration     "pcie_generation"      "number" Gauge 1 32 "the driver does not tell"
    53 PcieWidth          "pcie_width"           "lanes"  Gauge 1 64 "the driver does not tell"
    54 NvlinkReplays      "nvlink_replays"       "count"  Counter 0 4_611_686_018_427_387_904 "no NVLink"
    55 NvlinkRecoveries   "nvlink_recoveries"    "count"  Counter 0 4_611_686_018_427_387_904 "no NVLink"
    56 NvlinkCrcErrors    "nvlink_crc_errors"    "count"  Counter 0 4_611_686_018_427_387_904 "no NVLink"
    57 NvlinkLinks        "nvlink_links"         "links"  Gauge 0 1_000 "no NVLink"
    58 TemperatureMargin  "temperature_margin"   "m°C"    Gauge -250_000 250_000 "the driver tells no margin"
    59 SlowdownMargin     "slowdown_margin"      "m°C"    Gauge -250_000 250_000 "the driver tells no margin"
    60 FanSpeed           "fan_speed"            "ppm"    Gauge 0 2_000_000 "no fan on this board"
    61 FabricState        "fabric_state"         "number" Gauge 0 255 "no NVLink fabric"
    62 PerformanceState   "performance_state"    "number" Gauge 0 15 "the driver does not tell"
    63 MigInstances       "mig_instances"        "count"  Gauge 0 1_000 "MIG is off or not supported"
    64 GpusSeen           "gpus_seen"            "count"  Gauge 0 1_000 "the driver does not answer"
    65 GpusExpected       "gpus_expected"        "count"  Gauge 0 1_000 "the configuration does not say how many there are"
    66 ReadTime           "read_time"            "us"     Gauge 0 3_600_000_000 "nothing was read"
    67 DistrustedRegister "distrusted_register"  "count"  Counter 0 4_611_686_018_427_387_904 "the register is believed, or the read failed; never booked"
    68 KernelLines        "kernel_lines"         "lines"  Counter 0 4_611_686_018_427_387_904 "the kernel's log cannot be read: XIDs come from the driver only"
    69 SecondsOnBattery   "seconds_on_battery"   "s"      Gauge 0 31_536_000 "the UPS does not tell"
    70 BatteryTimeLeft    "battery_time_left"    "s"      Gauge 0 31_536_000 "the UPS does not tell"
    71 HeatRemoved        "heat_removed"         "mW"     Gauge -1_000_000_000_000 1_000_000_000_000 "not read"
    72 LeakState          "leak_state"           "number" Gauge 0 2 "a leak detector does not tell, and none says that it leaks"
    73 SupplyPressure     "supply_pressure"      "Pa"     Gauge -100_000 100_000_000 "not read"
    74 ReturnPressure     "return_pressure"      "Pa"     Gauge -100_000 100_000_000 "not read"
    75 Humidity           "humidity"             "ppm"    Gauge 0 1_000_000 "not read"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_round_trip() {
        for (index, spec) in CATALOGUE.iter().enumerate() {
            let number = spec.quantity as u32;
            assert_eq!(Quantity::from_number(number), Some(spec.quantity));
            assert_eq!(spec.quantity.spec().name, spec.name);
            assert!(spec.min <= spec.max && !spec.absence.is_empty());
            assert!(CATALOGUE.iter().skip(index + 1).all(|later| later.name != spec.name));
        }
        assert_eq!(Quantity::from_number(0), None);
        assert_eq!(Quantity::from_number(9_999), None);
    }

    #[test]
    fn known_sentinels_are_never_admitted() {
        // dcgm-exporter's README prints 9223372036854775794 as a temperature; NVML says
        // "not available" with u32::MAX.
        for spec in CATALOGUE.iter().filter(|spec| spec.kind != Kind::Flags) {
            assert!(!spec.admits(9_223_372_036_854_775_794), "{}", spec.name);
            assert!(!spec.admits(i64::MIN), "{}", spec.name);
        }
        assert!(!Quantity::Temperature.spec().admits(i64::from(u32::MAX)));
    }
}
