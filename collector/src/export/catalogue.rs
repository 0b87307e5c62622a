//! Every metric of `/metrics/fleet`, in one table: name, type, unit, labels, help.
//!
//! # Invariants
//! - Nothing is exported that is not a row here; the writer takes rows, not names.
//! - Every metric carries `hub` first. A label's value is an id, an index or a closed word, never
//!   free text, except in the `*_info` metrics, whose foreign texts are escaped.
//! - `docs/metrics.md` is this table; a test compares them.

/// What Prometheus is told a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Gauge,
    Counter,
}

impl Type {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Type,
    pub unit: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($row:ident $name:literal $kind:ident $unit:literal [$($label:literal)*] $help:literal)*) => {
        $(pub(crate) const $row: Metric = Metric {
            name: $name,
            kind: Type::$kind,
            unit: $unit,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// The whole table, in the order of the text.
        pub const CATALOGUE: &[Metric] = &[$($row),*];
    };
}

catalogue! {
    NODES_EXPECTED "bijli_collector_nodes_expected" Gauge "nodes" ["hub"]
        "Nodes that the configuration says should report; no line where it does not say."
    NODES_REPORTING "bijli_collector_nodes_reporting" Gauge "nodes" ["hub"]
        "Nodes that sent a batch within the last 60 s."
    NODE_UP "bijli_node_up" Gauge "0 or 1" ["hub" "node"]
        "1: a batch came in within the last 60 s. A node that is silent for a day disappears."
    NODE_INFO "bijli_node_info" Gauge "1" ["hub" "node" "agent"]
        "What the node's agent calls itself; always 1."
    NODE_CLOCK "bijli_node_clock_offset_seconds" Gauge "s" ["hub" "node"]
        "What had to be added to the times of the node's last batch; 0: its clock is good."
    NODE_CORRECTED "bijli_node_clock_corrected_batches_total" Counter "batches" ["hub" "node"]
        "Batches of the node whose times were corrected, since the journal begins."
    NODE_POWER "bijli_node_power_watts" Gauge "W" ["hub" "node" "source"]
        "Power of a node: input (the node's own meter) or sum (its devices; no line if one of its \
        GPUs gives none)."
    NODE_ENERGY "bijli_node_energy_joules_total" Counter "J" ["hub" "node" "source"]
        "Booked energy of a node: input (the node's own register) or sum (its devices)."
    NODE_CPU "bijli_node_cpu_utilization_ratio" Gauge "ratio" ["hub" "node"]
        "Busy share of the node's processors."
    NODE_MEMORY "bijli_node_memory_used_bytes" Gauge "B" ["hub" "node"]
        "Used memory of the node."
    NODE_GPUS_SEEN "bijli_node_gpus_seen" Gauge "GPUs" ["hub" "node"]
        "GPUs that the driver of the node lists."
    NODE_GPUS_EXPECTED "bijli_node_gpus_expected" Gauge "GPUs" ["hub" "node"]
        "GPUs that the node should have; no line where its agent is not told."
    NODE_KERNEL_LINES "bijli_node_kernel_lines_total" Counter "lines" ["hub" "node"]
        "Lines of the kernel's log that the agent read; no line where it may not."
    CPU_ENERGY "bijli_cpu_energy_joules_total" Counter "J" ["hub" "node" "package" "domain"]
        "Booked energy of a processor package: domain package or dram."
    GPU_UP "bijli_gpu_up" Gauge "0 or 1" ["hub" "node" "gpu"]
        "0: the node reports, but this GPU has given neither energy nor power for 30 s."
    GPU_INFO "bijli_gpu_info" Gauge "1" ["hub" "node" "gpu" "uuid" "model"]
        "Identity of a GPU; always 1."
    GPU_POWER "bijli_gpu_power_watts" Gauge "W" ["hub" "node" "gpu"]
        "Power of a GPU, instantaneous where it tells, else its average."
    GPU_POWER_LIMIT "bijli_gpu_power_limit_watts" Gauge "W" ["hub" "node" "gpu"]
        "Power limit in force."
    GPU_ENERGY "bijli_gpu_energy_joules_total" Counter "J" ["hub" "node" "gpu"]
        "Energy booked of a GPU's register since the journal begins, over resets and wraps."
    GPU_TEMPERATURE "bijli_gpu_temperature_celsius" Gauge "°C" ["hub" "node" "gpu" "sensor"]
        "Temperature by sensor: core or memory."
    GPU_MARGIN "bijli_gpu_temperature_margin_celsius" Gauge "°C" ["hub" "node" "gpu" "limit"]
        "What is left up to a limit, below 0 when over it: operation (the driver begins to slow \
        down) or slowdown (the hardware does)."
    GPU_FAN "bijli_gpu_fan_speed_ratio" Gauge "ratio" ["hub" "node" "gpu"]
        "Speed of the board's fastest fan, of its nominal most."
    GPU_UTILIZATION "bijli_gpu_utilization_ratio" Gauge "ratio" ["hub" "node" "gpu" "engine"]
        "Busy share of an engine: sm or memory."
    GPU_PROCESSES "bijli_gpu_processes" Gauge "processes" ["hub" "node" "gpu"]
        "Processes that compute on a GPU."
    GPU_MIG "bijli_gpu_mig_instances" Gauge "instances" ["hub" "node" "gpu"]
        "MIG instances of a GPU; no line where MIG is off."
    GPU_MEMORY_USED "bijli_gpu_memory_used_bytes" Gauge "B" ["hub" "node" "gpu"]
        "Used memory of a GPU."
    GPU_MEMORY_SIZE "bijli_gpu_memory_size_bytes" Gauge "B" ["hub" "node" "gpu"]
        "Memory of a GPU."
    GPU_CLOCK "bijli_gpu_clock_hertz" Gauge "Hz" ["hub" "node" "gpu" "domain"]
        "Clock by domain: sm or memory."
    GPU_PERFORMANCE "bijli_gpu_performance_state" Gauge "number" ["hub" "node" "gpu"]
        "Performance state: 0 is the fastest, 15 the slowest."
    GPU_THROTTLE "bijli_gpu_throttle_seconds_total" Counter "s" ["hub" "node" "gpu" "reason"]
        "Time that clocks were held down: power_cap, sync_boost, sw_thermal, hw_thermal, \
        power_brake. Reasons overlap: never sum them."
    GPU_INTEGRAL "bijli_gpu_power_integral_joules_total" Counter "J" ["hub" "node" "gpu"]
        "Power integrated by the agent, to compare with the register; never booked beside it. \
        Begins anew after a silence."
    GPU_DISTRUSTED "bijli_gpu_register_distrusted" Gauge "0 or 1" ["hub" "node" "gpu"]
        "1: the energy register disagrees with its power, and power is integrated and booked \
        instead."
    GPU_MODULE_POWER "bijli_gpu_module_power_watts" Gauge "W" ["hub" "node" "gpu"]
        "Power of the superchip that a GPU is on, processor included. Several GPUs may tell the \
        same module: never sum it."
    GPU_READ_TIME "bijli_gpu_read_time_seconds" Gauge "s" ["hub" "node" "gpu"]
        "How long the driver took to answer for this GPU, the last time."
    GPU_RECOVERY "bijli_gpu_recovery_action" Gauge "number" ["hub" "node" "gpu"]
        "What the driver says the GPU needs: 0 nothing, 1 a reset, 2 a reboot of the node, 3 to be \
        drained of peer-to-peer work, 4 to be drained and reset, 5 a look at IMEX, 6 a reset of \
        its bus, 7 a reboot of the system."
    GPU_ECC "bijli_gpu_ecc_errors_total" Counter "errors" ["hub" "node" "gpu" "kind"]
        "Memory errors of the board's life as the driver counts them: corrected or uncorrected."
    GPU_ECC_NOW "bijli_gpu_ecc_errors_since_load_total" Counter "errors" ["hub" "node" "gpu" "kind"]
        "Memory errors since the driver was loaded: corrected or uncorrected."
    GPU_REMAPPED "bijli_gpu_remapped_rows_total" Counter "rows" ["hub" "node" "gpu" "kind"]
        "Memory rows replaced by spare ones, after corrected or uncorrected errors."
    GPU_REMAP_PENDING "bijli_gpu_row_remap_pending" Gauge "0 or 1" ["hub" "node" "gpu"]
        "1: a row waits for a reset of the GPU to be replaced."
    GPU_REMAP_FAILED "bijli_gpu_row_remap_failure" Gauge "0 or 1" ["hub" "node" "gpu"]
        "1: a row could not be replaced: the GPU qualifies for replacement."
    GPU_BANKS_SPENT "bijli_gpu_row_remap_banks_spent" Gauge "banks" ["hub" "node" "gpu"]
        "Memory banks without a spare row."
    GPU_SRAM "bijli_gpu_sram_threshold_exceeded" Gauge "0 or 1" ["hub" "node" "gpu"]
        "1: more uncorrected SRAM errors than the board is allowed: it qualifies for replacement."
    GPU_PCIE_REPLAYS "bijli_gpu_pcie_replays_total" Counter "replays" ["hub" "node" "gpu"]
        "Packets that were sent again on the PCIe link."
    GPU_PCIE_GENERATION "bijli_gpu_pcie_generation" Gauge "number" ["hub" "node" "gpu"]
        "Generation that the PCIe link runs at; lower when idle."
    GPU_PCIE_WIDTH "bijli_gpu_pcie_width_lanes" Gauge "lanes" ["hub" "node" "gpu"]
        "Lanes that the PCIe link runs on."
    GPU_NVLINK_ERRORS "bijli_gpu_nvlink_errors_total" Counter "errors" ["hub" "node" "gpu" "kind"]
        "Of all links together: replay, recovery, crc."
    GPU_NVLINK_LINKS "bijli_gpu_nvlink_links_up" Gauge "links" ["hub" "node" "gpu"]
        "NVLink links that are up."
    GPU_FABRIC "bijli_gpu_fabric_state" Gauge "number" ["hub" "node" "gpu"]
        "Where a GPU is with its NVLink fabric: 0 not supported, 1 not started, 2 in progress, 3 \
        completed."
    METER_INFO "bijli_meter_info" Gauge "1" ["hub" "meter" "role"]
        "A meter that reports or that the single-line diagram declares; always 1. Role: its \
        point's, or none. Not of a meter that a person reads."
    METER_TYPED "bijli_meter_typed_timestamp_seconds" Gauge "s" ["hub" "meter"]
        "Time of the last reading that a person typed, of a meter that no agent reads."
    METER_POWER "bijli_meter_power_watts" Gauge "W" ["hub" "meter"]
        "Power at a meter."
    METER_ENERGY "bijli_meter_energy_joules_total" Counter "J" ["hub" "meter"]
        "Energy booked of a meter's register since the journal begins."
    METER_LAST "bijli_meter_last_reading_timestamp_seconds" Gauge "s" ["hub" "meter"]
        "Time of the last reading that was used; no line for a meter that was never read."
    METER_RESETS "bijli_meter_resets_total" Counter "resets" ["hub" "meter"]
        "Times the register began again."
    METER_IMPLAUSIBLE "bijli_meter_implausible_total" Counter "readings" ["hub" "meter"]
        "Readings that no power of this meter explains; not booked."
    METER_FREQUENCY "bijli_meter_frequency_hertz" Gauge "Hz" ["hub" "meter"]
        "Frequency of the mains at a meter."
    METER_POWER_FACTOR "bijli_meter_power_factor_ratio" Gauge "ratio" ["hub" "meter"]
        "Power factor at a meter, below 0 as the meter tells it."
    UPS_ON_BATTERY "bijli_ups_on_battery" Gauge "0 or 1" ["hub" "meter"]
        "1: this UPS feeds from its batteries."
    UPS_SINCE "bijli_ups_on_battery_seconds" Gauge "s" ["hub" "meter"]
        "How long this UPS has fed from its batteries; 0: it does not."
    UPS_LEFT "bijli_ups_time_left_seconds" Gauge "s" ["hub" "meter"]
        "How long its batteries would last, as this UPS estimates."
    UPS_CHARGE "bijli_ups_charge_ratio" Gauge "ratio" ["hub" "meter"]
        "Charge of a UPS's batteries."
    COOLING_SUPPLY "bijli_cooling_supply_temperature_celsius" Gauge "°C" ["hub" "meter"]
        "Temperature of what a cooling loop supplies."
    COOLING_RETURN "bijli_cooling_return_temperature_celsius" Gauge "°C" ["hub" "meter"]
        "Temperature of what comes back to a cooling loop."
    COOLING_FLOW "bijli_cooling_flow_cubic_meters_per_second" Gauge "m³/s" ["hub" "meter"]
        "Flow of a cooling loop."
    COOLING_HEAT "bijli_cooling_heat_watts" Gauge "W" ["hub" "meter"]
        "Heat that a cooling loop removes, by its own heat meter."
    LEAK_STATE "bijli_leak_state" Gauge "number" ["hub" "meter"]
        "Of all leak detectors of a cooling unit or chassis the worst: 0 dry, 1 warning, 2 \
        critical; no line where one of them does not tell and none leaks."
    METER_VOLTAGE "bijli_meter_voltage_volts" Gauge "V" ["hub" "meter" "phase"]
        "Voltage at a meter, line to neutral; phase 1 to 3, none for the meter as a whole."
    METER_CURRENT "bijli_meter_current_amperes" Gauge "A" ["hub" "meter" "phase"]
        "Current at a meter; phase 1 to 3, none for the meter as a whole."
    FACILITY_TOTAL "bijli_facility_total_energy_joules_total" Counter "J" ["hub" "source"]
        "Energy that entered the hub, closed intervals: grid, generator, solar; apart from them \
        store (batteries gave more than they took), missing (used while the meters above were \
        missing), dispute (beyond what the meter above shows), unplaced (nodes outside the \
        diagram)."
    FACILITY "bijli_facility_energy_joules_total" Counter "J" ["hub" "role"]
        "Where the energy of closed intervals ended: it (node inputs), cooling, ups_loss, \
        distribution_loss, lighting, other (with unmetered). The roles sum to all sources."
    PROJECT "bijli_project_energy_joules_total" Counter "J" ["hub" "project" "part"]
        "Energy booked to a project, closed intervals: gpu_active, gpu_held_idle, host."
    BUDGET "bijli_project_budget_joules" Gauge "J" ["hub" "project"]
        "IT energy that a project of the registry may use in all of its time, at all hubs together: \
        never sum it over hubs."
    BUDGET_USED "bijli_project_budget_used_joules" Gauge "J" ["hub" "project"]
        "What a project with a budget used at this hub since it began, corrections included."
    BUDGET_ELAPSED "bijli_project_budget_elapsed_ratio" Gauge "ratio" ["hub" "project"]
        "How much of a project's time has passed where the hub's books are closed; no line without \
        an end, or before a day. What is used, over this, is the linear forecast."
    IDLE "bijli_idle_energy_joules_total" Counter "J" ["hub"]
        "Energy of GPUs that nobody held, closed intervals."
    HOST_OVERHEAD "bijli_host_overhead_energy_joules_total" Counter "J" ["hub"]
        "Host energy of GPUs that nobody held, closed intervals."
    UNATTRIBUTED "bijli_unattributed_energy_joules_total" Counter "J" ["hub"]
        "Energy of GPUs that were busy and that nobody held, closed intervals."
    IMBALANCE "bijli_ledger_imbalance_joules" Gauge "J" ["hub"]
        "What the books are out by. Anything but 0 is a defect."
    CLOSED_UNTIL "bijli_ledger_closed_until_timestamp_seconds" Gauge "s" ["hub"]
        "End of the newest closed interval."
    ADJUSTMENTS "bijli_ledger_adjustments_total" Counter "adjustments" ["hub"]
        "Times that late facts changed a closed interval."
    PUE "bijli_pue_ratio" Gauge "ratio" ["hub" "window" "category"]
        "Interim PUE of the last closed hour (1h) or day (1d), cut to 6 decimals; no line where \
        there is no PUE."
    PUE_UNCERTAINTY "bijli_pue_uncertainty_ratio" Gauge "ratio" ["hub" "window" "category" "bound"]
        "Expanded uncertainty (k = 2) of that PUE, in its unit: bound independent, if no two \
        meters of a term shared a cause of error; correlated, if all were off to the same side. \
        No line where a meter's class is not declared."
    PUE_ESTIMATED "bijli_pue_estimated_ratio" Gauge "ratio" ["hub" "window"]
        "Share of E_DC or of E_IT that is estimated, of the two the larger, cut to 6 decimals."
    PUE_COVERAGE "bijli_pue_coverage_ratio" Gauge "ratio" ["hub" "window"]
        "Share of the window's intervals whose metering is complete."

    // What happened at nodes (events.rs).
    NODE_EVENTS "bijli_node_events_total" Counter "events" ["hub" "node" "kind"]
        "Events of a node by kind, each as often as it happened, since the journal begins."
    GPU_XIDS "bijli_gpu_xids_total" Counter "XIDs" ["hub" "node" "gpu" "xid"]
        "XIDs at a GPU's place, since the journal begins; only numbers that were seen. gpu unknown: \
        at no GPU that the node declares; xid other: beyond 512 different ones of a node."
    GPU_LAST_XID "bijli_gpu_last_xid_timestamp_seconds" Gauge "s" ["hub" "node" "gpu" "xid"]
        "Time of the last such XID at a GPU's place."

    // Cross-checks of the metering (checks.rs).
    CHECKS "bijli_checks" Gauge "checks" ["hub" "check" "verdict"]
        "How many subjects a cross-check passes, fails, or cannot say anything of."
    CHECK_FAILED "bijli_check_failed" Gauge "1" ["hub" "check" "subject"]
        "A cross-check that fails at a point, meter or node; always 1, no line where it does not."
    CHECK_VALUE "bijli_check_value_ratio" Gauge "ratio" ["hub" "check" "subject"]
        "What a check compares as a share: loss (of what went in), heat and bill (how far off), \
        heat_share (heat over power)."
}

/// Every name, for whoever checks dashboards and alerts against them.
#[must_use]
pub fn names() -> Vec<&'static str> {
    CATALOGUE.iter().map(|metric| metric.name).collect()
}

/// `docs/metrics.md`.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(DOCUMENT_HEAD);
    for metric in CATALOGUE {
        let labels = metric.labels.join(", ");
        let Metric { name, unit, help, .. } = metric;
        let row = format!("| `{name}` | {} | {unit} | {labels} | {help} |\n", metric.kind.word());
        text.push_str(&row);
    }
    text + &super::dcgm::document()
}

const DOCUMENT_HEAD: &str = "\
# Metrics of the fleet

What `GET /metrics/fleet` says, in Prometheus text format 0.0.4. This page is written from
`collector/src/export/catalogue.rs`; a test compares them. What the collector says of itself is on
`/metrics`.

- A value that is missing has no line. Nothing is held: a gauge older than 5 minutes is left out,
  and so are the gauges of a node that is not up.
- Joules are printed from integers, three decimals. Counters of energy are sums of the books: they
  move when an interval closes (`bijli_facility_*`, `bijli_project_*`, ...) or when a register is
  read (`bijli_gpu_energy_*`, `bijli_meter_energy_*`, ...), and never go down.
- A node that was silent for a day disappears with everything on it.

| name | type | unit | labels | meaning |
| --- | --- | --- | --- | --- |
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut seen = BTreeSet::new();
        for metric in CATALOGUE {
            let name = metric.name;
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("bijli_") && metric.labels.first() == Some(&"hub"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Type::Counter, "{name}");
            for (unit, part) in [("J", "_joules"), ("W", "_watts"), ("B", "_bytes")] {
                assert_eq!(metric.unit == unit, name.contains(part), "{name}");
            }
            assert!(metric.help.ends_with('.') && !metric.help.contains('\\'), "{name}");
        }
        assert_eq!(names().len(), CATALOGUE.len());
    }

    #[test]
    fn the_page_of_metrics_is_this_table() {
        crate::api::tests::same_as_the_document("metrics.md", &document());
    }
}
