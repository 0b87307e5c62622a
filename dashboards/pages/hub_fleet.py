"""For the engineer on call: nodes and GPUs of one hub, who is silent, hot, slowed or broken."""
from builder.page import HUB, ONE_HUB, Page
from builder.panel import bars, lines, stat, table
from builder.query import Query, now

TO_NODE = ("This node", "/d/bijli-node?var-hub=${hub}&var-node=${__field.labels.node}")
RED = [("red", None)]
HIDDEN = ("Time", "Value")

PAGE = Page(
    "bijli-hub-fleet", "bijli: hub fleet", "Nodes and GPUs of one hub: who reports, who is hot, who is broken.",
    variables=[HUB], scope=ONE_HUB,
    answers="for one hub: which nodes and GPUs report; where the power is; which GPUs are hot, slowed, in need of a reset or to be replaced; which XIDs came, "
    "where and when. A bar leads to its node.",
    cannot="what a job was doing: jobs are no labels here. What an XID asks for is on the collector's page */events*. A node that is silent has no gauges, so "
    "it is missing in sums of power, not zero.",
    rows=[
        ("Overview", [
            stat("Nodes watched",
                 Query("max by (hub) (bijli_collector_nodes_reporting) / (max by (hub) (bijli_collector_nodes_expected) > 0)", "{{hub}}"), "percentunit",
                 "Nodes that delivered in the last minute over nodes expected.", limits=[("red", None), ("orange", 0.8), ("green", 0.98)],
                 source="red below 80 % (source: alert BijliHubBlind), orange below 98 % (house value)"),
            stat("GPUs that answer", Query("sum by (hub) (max by (hub, node, gpu) (bijli_gpu_up))", "{{hub}}"), "short",
                 "GPUs that give energy or power, of nodes that report.", source="none, a count (source: alert BijliGpuLost watches each)"),
            stat("GPUs lost", Query("count by (hub) (bijli_gpu_up == 0) or 0 * count by (hub) (bijli_gpu_up)", "{{hub}}"), "short",
                 "GPUs of reporting nodes that have given neither energy nor power for 30 s.", limits=[("green", None), ("red", 1)],
                 source="red from 1 (source: alert BijliGpuLost)"),
            stat("GPU power", Query("sum by (hub) (max by (hub, node, gpu) (bijli_gpu_power_watts))", "{{hub}}"), "watt",
                 "Power of all GPUs that tell it.", source="none, a quantity (source: NVML)"),
            stat("GPUs that ask for help", Query("count by (hub) (bijli_gpu_recovery_action > 0) or 0 * count by (hub) (bijli_gpu_up)", "{{hub}}"), "short",
                 "GPUs of which the driver says that they need a reset, a reboot or to be drained.", limits=[("green", None), ("red", 1)],
                 source="red from 1 (source: alert BijliGpuNeedsRecovery)"),
            stat("XIDs in the period", now("sum by (hub) (increase(bijli_gpu_xids_total[$__range]))", "{{hub}}"), "short",
                 "XIDs of all GPUs in the page's time range, of whatever weight.", decimals=0, limits=[("green", None), ("orange", 1)],
                 source="orange from 1; which of them matter is in the catalogue (source: collector/xids.toml)"),
        ]),
        ("Nodes", [
            lines("Nodes reporting", [Query("max by (hub) (bijli_collector_nodes_expected)", "expected"),
                                      Query("max by (hub) (bijli_collector_nodes_reporting)", "reporting")], "short",
                  "Nodes expected, and those that delivered in the last minute.", least=0,
                  source="a dip below 80 % for ten minutes pages (source: alert BijliHubBlind)"),
            table("Nodes not reporting", now("max by (node) (bijli_node_up) == 0", "{{node}}"), "none",
                  "Nodes whose agent has not delivered for a minute, now. Empty is good, unless Nodes watched says no data.", width=4, limits=RED,
                  hidden=HIDDEN, no_value="none", source="every line is red (source: bijli_node_up is 0)"),
            bars("Nodes with most power", now("sort_desc(topk(20, max by (node) (bijli_node_power_watts{source='sum'})))", "{{node}}"), "watt",
                 "The 20 nodes whose devices use most, now.", width=6, link=TO_NODE, source="none, a quantity (source: devices)"),
            lines("Clocks that are wrong", Query("topk(10, abs(max by (node) (bijli_node_clock_offset_seconds)))", "{{node}}"), "s",
                  "What had to be added to the times of a node's batches, the ten largest. 0: its clock is good.", width=6,
                  limits=[("green", None), ("orange", 1)], source="orange above 1 s (source: house value; alert BijliNodeClockWrong says when it matters)"),
        ]),
        ("GPUs: power and heat", [
            lines("GPU power, all and by half",
                  [Query("sum(bijli_gpu_power_watts)", "all GPUs"), Query("sum(bijli_gpu_power_limit_watts)", "all limits")], "watt",
                  "Power of all GPUs that tell it, and what their limits would allow.", least=0, source="the upper line is the limit (source: NVML)"),
            lines("Busy share", [Query("avg(bijli_gpu_utilization_ratio{engine='sm'})", "sm, mean of all GPUs")], "percentunit",
                  "Mean busy share of all GPUs. It says that kernels ran, not how well.", least=0, source="none, a quantity (source: NVML)"),
            bars("Hottest GPUs",
                 now("sort_desc(topk(20, max by (node, gpu) (bijli_gpu_temperature_celsius{sensor='core'})))", "{{node}} GPU {{gpu}}"), "celsius",
                 "The 20 hottest GPU cores, now. Memory has limits of its own and is not shown.", link=TO_NODE,
                 limits=[("green", None), ("orange", 87), ("red", 89)],
                 source="orange from 87 °C, the highest operating temperature, red from 89 °C, where the GPU slows itself (source: nvidia-smi -q of H100 and H200 "
                 "SXM boards; other models differ)"),
            lines("GPUs held down, by reason", Query("sum by (reason) (rate(bijli_gpu_throttle_seconds_total[$__rate_interval]))", "{{reason}}"), "short",
                  "How many GPUs' time clocks were held down, by reason. Reasons overlap: never sum them. power_cap is how a GPU at full load should be.", least=0,
                  width=12, source="none here (source: alerts BijliGpuHeldDownByHeat and BijliGpuPowerBrake)"),
            bars("GPUs held down most by heat",
                 now("sort_desc(topk(20, max by (node, gpu) (increase(bijli_gpu_throttle_seconds_total{reason=~'hw_thermal|sw_thermal'}[$__range])) > 0))",
                     "{{node}} GPU {{gpu}}"), "s", "Time that heat held a GPU down in the page's time range, the 20 longest.", width=12, link=TO_NODE,
                 source="none here (source: alert BijliGpuHeldDownByHeat)"),
        ]),
        ("GPUs: faults", [
            lines("XIDs", Query("sum by (xid) (increase(bijli_gpu_xids_total[$__rate_interval]))", "XID {{xid}}"), "short",
                  "XIDs by number as they came.", least=0, source="none here; the catalogue weighs each (source: collector/xids.toml)"),
            table("Last XID at each place", now("max by (node, gpu, xid) (bijli_gpu_last_xid_timestamp_seconds) * 1000", "{{node}}"), "dateTimeAsIso",
                  "When which XID last came, by node and GPU.", source="none, times (source: kernel logs)", renamed={"Value": "last"}),
            table("GPUs to be looked at",
                  now("max by (node, gpu) (bijli_gpu_recovery_action) > 0 or max by (node, gpu) (bijli_gpu_row_remap_failure) > 0 or "
                      "max by (node, gpu) (bijli_gpu_row_remap_pending) > 0 or max by (node, gpu) (bijli_gpu_sram_threshold_exceeded) > 0", "{{node}}"), "none",
                  "GPUs whose driver asks for a recovery, or whose memory waits for a reset or qualifies for replacement. Empty is good.", limits=RED,
                  hidden=HIDDEN, no_value="none", source="every line is red (source: alerts BijliGpuNeedsRecovery, BijliGpuToReplace, BijliGpuRowRemapPending)"),
        ]),
    ],
)
