//! What is read of a GPU, how often, and where it comes from: one table.
//!
//! Field numbers are those of `nvml.h` before CUDA 13.0 update 1; the driver's own are found by the
//! one who asks. Names in capitals are the header's.

use bijli_wire::Quantity;

use super::library::Ask;
use crate::probe::Cadence;

/// One value of the batched call.
pub(super) const FIELDS: [(Cadence, Quantity, u32); 18] = [
    (Cadence::Hot, Quantity::MemoryTemperature, 82),
    (Cadence::Warm, Quantity::RecoveryAction, 230),
    (Cadence::Warm, Quantity::ThrottlePowerCap, 74),
    (Cadence::Warm, Quantity::ThrottleSyncBoost, 76),
    (Cadence::Warm, Quantity::ThrottleSwThermal, 251),
    (Cadence::Warm, Quantity::ThrottleHwThermal, 252),
    (Cadence::Warm, Quantity::ThrottlePowerBrake, 253),
    (Cadence::Cold, Quantity::EccCorrectedNow, 3),
    (Cadence::Cold, Quantity::EccUncorrectedNow, 4),
    (Cadence::Cold, Quantity::EccCorrected, 5),
    (Cadence::Cold, Quantity::EccUncorrected, 6),
    (Cadence::Cold, Quantity::RemappedCorrected, 142),
    (Cadence::Cold, Quantity::RemappedUncorrected, 143),
    (Cadence::Cold, Quantity::RemapPending, 144),
    (Cadence::Cold, Quantity::RemapFailed, 145),
    (Cadence::Cold, Quantity::PcieReplays, 94),
    (Cadence::Cold, Quantity::SlowdownMargin, 194),
    // The limit in force; `Ask::PowerLimit` where this one is not known.
    (Cadence::Warm, Quantity::PowerLimit, 190),
];

/// Summed over all links. Of two numbers the first that the driver knows: NVLink 4, NVLink 5.
pub(super) const OF_LINKS: [(Cadence, Quantity, [u32; 2]); 4] = [
    (Cadence::Cold, Quantity::NvlinkReplays, [161, 161]),
    // `DL_RECOVERY`, `COUNT_LINK_RECOVERY_EVENTS`.
    (Cadence::Cold, Quantity::NvlinkRecoveries, [162, 215]),
    // `DL_CRC`, `COUNT_EFFECTIVE_ERRORS`.
    (Cadence::Cold, Quantity::NvlinkCrcErrors, [163, 219]),
    // Each link's state is 1 when it is up.
    (Cadence::Cold, Quantity::NvlinkLinks, [165, 165]),
];

/// One call each. Where a quantity was had by a field, its question is not asked.
pub(super) const QUESTIONS: [(Cadence, Quantity, Ask); 21] = [
    (Cadence::Hot, Quantity::Temperature, Ask::Celsius),
    (Cadence::Hot, Quantity::GpuUtilization, Ask::Utilization),
    (Cadence::Warm, Quantity::PowerLimit, Ask::PowerLimit),
    (Cadence::Warm, Quantity::MemoryUsed, Ask::MemoryUsed),
    (Cadence::Warm, Quantity::MemorySize, Ask::MemorySize),
    (Cadence::Warm, Quantity::MemoryUtilization, Ask::MemoryUtilization),
    (Cadence::Warm, Quantity::ClockSm, Ask::ClockSm),
    (Cadence::Warm, Quantity::ClockMemory, Ask::ClockMemory),
    (Cadence::Warm, Quantity::ThrottleReasons, Ask::ThrottleReasons),
    (Cadence::Warm, Quantity::ProcessCount, Ask::Processes),
    (Cadence::Warm, Quantity::PerformanceState, Ask::PerformanceState),
    (Cadence::Warm, Quantity::TemperatureMargin, Ask::MarginCelsius),
    (Cadence::Warm, Quantity::FanSpeed, Ask::Fan),
    (Cadence::Warm, Quantity::PcieGeneration, Ask::PcieGeneration),
    (Cadence::Warm, Quantity::PcieWidth, Ask::PcieWidth),
    (Cadence::Cold, Quantity::EccCorrected, Ask::EccCorrected),
    (Cadence::Cold, Quantity::EccUncorrected, Ask::EccUncorrected),
    (Cadence::Cold, Quantity::SramThreshold, Ask::SramThreshold),
    (Cadence::Cold, Quantity::RemapBanksSpent, Ask::RemapBanksSpent),
    (Cadence::Cold, Quantity::FabricState, Ask::FabricState),
    (Cadence::Cold, Quantity::MigInstances, Ask::MigInstances),
];

/// The driver's unit to the catalogue's.
pub(super) const fn per_unit(quantity: Quantity) -> i64 {
    if matches!(
        quantity,
        Quantity::Temperature
            | Quantity::MemoryTemperature
            | Quantity::TemperatureMargin
            | Quantity::SlowdownMargin
    ) {
        1_000
    } else if matches!(
        quantity,
        Quantity::GpuUtilization | Quantity::MemoryUtilization | Quantity::FanSpeed
    ) {
        10_000
    } else if matches!(quantity, Quantity::ClockSm | Quantity::ClockMemory) {
        1_000_000
    } else {
        1
    }
}
