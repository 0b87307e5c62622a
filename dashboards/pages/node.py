"""One node: its power, its GPUs, its health."""
from builder.page import HUB, Page
from builder.panel import bars, lines, stack, stat
from builder.query import Query, now

NODE = ("node", "Node", "label_values(bijli_node_up{hub='$hub'}, node)")
GPU = "GPU {{gpu}}"

PAGE = Page(
    "bijli-node", "bijli: node", "Power, temperatures, faults and energy of one node.",
    variables=[HUB, NODE], scope={"hub": '="$hub"', "node": '="$node"'}, span="6h",
    answers="for one node: whether it reports; what it uses, and which of its devices use it; how hot, busy and slowed its GPUs are; which faults they had.",
    cannot="which job ran: ask the collector (docs/api.md). Fans and power supplies are only in the node's own meter, where it has one: input less the devices' "
    "sum is theirs. A silent node has no gauges: what you see then is the past.",
    rows=[
        ("Now", [
            stat("Reports", Query("max by (node) (bijli_node_up)", "{{node}}"), "none", "1: a batch came in within the last 60 s.",
                 limits=[("red", None), ("green", 1)], source="red at 0 (source: alert BijliNodeDown)"),
            stat("Power", Query("max by (source) (bijli_node_power_watts)", "{{source}}"), "watt",
                 "input: the node's own meter; sum: its devices, absent if one of its GPUs tells none.", source="none, a quantity (source: BMC, NVML, RAPL)"),
            stat("GPUs that answer", Query("sum(max by (gpu) (bijli_gpu_up))", "GPUs"), "short", "GPUs that give energy or power.",
                 source="none, a count (source: alert BijliGpuLost watches each)"),
            stat("Hottest GPU", Query("max(bijli_gpu_temperature_celsius{sensor='core'})", "core"), "celsius", "The hottest core of the node.",
                 limits=[("green", None), ("orange", 87), ("red", 89)],
                 source="87 and 89 °C (source: nvidia-smi -q of H100 and H200 SXM boards; other models differ)"),
            stat("GPUs that ask for help", Query("count(bijli_gpu_recovery_action > 0) or 0 * count(bijli_gpu_up)", "GPUs"), "short",
                 "GPUs of which the driver says that they need a reset, a reboot or to be drained.", limits=[("green", None), ("red", 1)],
                 source="red from 1 (source: alert BijliGpuNeedsRecovery)"),
            stat("Clock", Query("max by (node) (bijli_node_clock_offset_seconds)", "{{node}}"), "s",
                 "What had to be added to the times of its last batch; 0: its clock is good.", limits=[("red", None), ("green", -1), ("red", 1)],
                 source="red beyond 1 s either way (source: house value; alert BijliNodeClockWrong)"),
        ]),
        ("Power and energy", [
            stack("Power of its GPUs", Query("max by (gpu) (bijli_gpu_power_watts)", GPU), "watt", "Each GPU, as read; the stack is all of them.",
                  source="none here; each GPU has a limit of its own (source: NVML)"),
            lines("Input and devices", Query("max by (source) (bijli_node_power_watts)", "{{source}}"), "watt",
                  "The node's own meter, and the sum of its devices. What lies between them is fans, power supplies and boards.", least=0,
                  source="none, quantities (source: BMC, NVML, RAPL)"),
            stack("Power of processors and memory",
                  Query("sum by (package, domain) (rate(bijli_cpu_energy_joules_total[$__rate_interval]))", "{{domain}} {{package}}"), "watt",
                  "From the booked registers of each package and its DRAM.", source="none, quantities (source: RAPL)"),
            bars("Energy in the period, by GPU", now("sum by (gpu) (increase(bijli_gpu_energy_joules_total[$__range])) / 3.6e6", GPU), "kwatth",
                 "What was booked of each GPU's register in the page's time range, over resets and wraps.",
                 source="none, a quantity (source: NVML registers; increase extrapolates)"),
            bars("Energy in the period, node", now("sum by (source) (increase(bijli_node_energy_joules_total[$__range])) / 3.6e6", "{{source}}"), "kwatth",
                 "input: the node's own register; sum: its devices.", source="none, a quantity (source: registers; increase extrapolates)"),
            lines("Power limits", Query("max by (gpu) (bijli_gpu_power_limit_watts)", GPU), "watt", "The limit in force of each GPU.", least=0,
                  source="none; the board's own (source: NVML)"),
        ]),
        ("Heat and work", [
            lines("GPU core temperatures", Query("max by (gpu) (bijli_gpu_temperature_celsius{sensor='core'})", GPU), "celsius", "Each GPU's core.",
                  limits=[("green", None), ("orange", 87), ("red", 89)],
                  source="87 and 89 °C (source: nvidia-smi -q of H100 and H200 SXM boards; other models differ)"),
            lines("GPU memory temperatures", Query("max by (gpu) (bijli_gpu_temperature_celsius{sensor='memory'})", GPU), "celsius", "Each GPU's memory.",
                  source="none here; limits of memory differ by model (source: NVML)"),
            lines("Busy share", Query("max by (gpu) (bijli_gpu_utilization_ratio{engine='sm'})", GPU), "percentunit",
                  "Share of time in which a kernel ran. It says nothing of how well.", least=0, source="none, a quantity (source: NVML)"),
            lines("Held down, by reason", Query("sum by (reason) (rate(bijli_gpu_throttle_seconds_total[$__rate_interval]))", "{{reason}}"), "short",
                  "How many GPUs' time clocks were held down. Reasons overlap: never sum them.", least=0,
                  source="none here (source: alerts BijliGpuHeldDownByHeat and BijliGpuPowerBrake)"),
            lines("Memory used", Query("max by (gpu) (bijli_gpu_memory_used_bytes)", GPU), "bytes", "Of each GPU.", least=0,
                  source="none; its size is the model's (source: NVML)"),
            lines("Clocks", Query("max by (gpu) (bijli_gpu_clock_hertz{domain='sm'})", GPU), "hertz", "SM clock of each GPU.", least=0,
                  source="none; what is usual is the model's (source: NVML)"),
        ]),
        ("Faults", [
            lines("XIDs and events", [Query("sum by (gpu, xid) (increase(bijli_gpu_xids_total[$__rate_interval]))", "XID {{xid}} at GPU {{gpu}}"),
                                      Query("sum by (kind) (increase(bijli_node_events_total[$__rate_interval]))", "{{kind}}")], "short",
                  "What happened at the node and its GPUs, by number and kind. An XID is an event too.", width=24, least=0,
                  source="none here; the catalogue weighs each XID (source: collector/xids.toml)"),
        ]),
    ],
)
