"""For the facility manager: the cooling loops of one hub, what they cost, and whether the GPUs feel it."""
from builder.page import HUB, ONE_HUB, Page
from builder.panel import bars, lines, stack, stat
from builder.query import Query, now

SUPPLY = "max by (meter) (bijli_cooling_supply_temperature_celsius)"
RETURN = "max by (meter) (bijli_cooling_return_temperature_celsius)"
FLOW = "max by (meter) (bijli_cooling_flow_cubic_meters_per_second)"
# Of water at 15 °C: 999 kg/m³ x 4,189 J/(kg K); with 30 % glycol it is some 8 % less.
HEAT = f"{FLOW} * ({RETURN} - {SUPPLY}) * 4.185e6"
WATER = "calculated, not metered: it takes the loop for plain water (4.185 MJ/(m³ K)); with 30 % glycol it is some 8 % less"
SUPPLY_LIMITS = dict(limits=[("green", None), ("orange", 27), ("red", 32)],
                     source="red above 32 °C (source: alert BijliCoolingSupplyHot, ASHRAE W32), orange above 27 °C (ASHRAE TC 9.9, W27)")

PAGE = Page(
    "bijli-hub-cooling", "bijli: hub cooling", "Temperatures, flow, heat and power of the cooling loops of one hub.",
    variables=[HUB], scope=ONE_HUB,
    answers="for one hub: how warm each loop supplies and returns, how much flows; how much heat that carries (calculated) and what it costs; whether GPUs run "
    "hot or are slowed by heat.",
    cannot="whether a leak is somewhere, what the set points are, how much water evaporates, and what the weather was: no such metric is exported yet. Inlet "
    "temperatures of nodes are in the journal but not in Prometheus. Air-cooled halls have no loop here.",
    rows=[
        ("Now", [
            stat("Warmest supply", Query(f"max({SUPPLY})", "supply"), "celsius", "The warmest of what the loops supply.", decimals=1, **SUPPLY_LIMITS),
            stat("Smallest flow", Query(f"min({FLOW}) * 1000", "flow"), "none", "The smallest flow of any loop, in litres a second. At zero the pumps stand.",
                 decimals=1, limits=[("red", None), ("green", 0.1)],
                 source="red at zero; less than the loop's own usual is an alert (source: alert BijliCoolingFlowLost)"),
            stat("Heat carried", Query(f"sum({HEAT})", "heat"), "watt", f"Flow times difference of temperatures, all loops. It is {WATER}.",
                 source="none; it should be near the hub's IT power (source: meters)"),
            stat("Cooling power", Query("sum(max by (meter) (bijli_meter_power_watts) and on (meter) max by (meter) (bijli_meter_info{role='cooling'}))",
                                        "power"), "watt", "Power at all cooling meters together, as read.", source="none, a quantity (source: meters)"),
            stat("Hottest GPU", Query("max(bijli_gpu_temperature_celsius{sensor='core'})", "core"), "celsius", "The hottest GPU core of the hub.",
                 limits=[("green", None), ("orange", 87), ("red", 89)],
                 source="orange from 87 °C, the highest operating temperature, red from 89 °C, where it slows itself (source: nvidia-smi -q of H100 and H200 "
                 "SXM boards; other models differ)"),
            stat("GPUs slowed by heat",
                 Query("count(max by (node, gpu) (rate(bijli_gpu_throttle_seconds_total{reason=~'hw_thermal|sw_thermal'}[$__rate_interval])) > 0.1) "
                       "or 0 * count(bijli_gpu_up)", "GPUs"), "short",
                 "GPUs whose clocks heat held down for more than a tenth of the time.", limits=[("green", None), ("orange", 1), ("red", 8)],
                 source="red from 8 (source: alert BijliGpusHotTogether)"),
        ]),
        ("The loops", [
            lines("Supply temperature", Query(SUPPLY, "{{meter}}"), "celsius", "What each loop supplies.", decimals=1, **SUPPLY_LIMITS),
            lines("Return temperature", Query(RETURN, "{{meter}}"), "celsius", "What comes back to each loop.", decimals=1,
                  source="none; the design of the plant is the site's own (source: meters)"),
            lines("Flow, litres a second", Query(f"{FLOW} * 1000", "{{meter}}"), "none", "Flow of each loop.", decimals=1, least=0,
                  source="none here; the alert compares with the loop's own past (source: alert BijliCoolingFlowLost)"),
            lines("Difference of return and supply", Query(f"{RETURN} - {SUPPLY}", "{{meter}}"), "celsius",
                  "How much each loop warms. Small at high flow is pumping for nothing.", decimals=1,
                  source="none; the design of the plant is the site's own (source: meters)"),
            lines("Heat carried, by loop", Query(HEAT, "{{meter}}"), "watt", f"Flow times difference of temperatures. It is {WATER}.",
                  source="none, a quantity (source: meters)"),
            lines("How fast supply rises", Query("max by (meter) (delta(bijli_cooling_supply_temperature_celsius[$__rate_interval]))", "{{meter}}"),
                  "celsius", "Change within one range of rates. A loop that lost its chiller rises by degrees in minutes.", decimals=1,
                  limits=[("green", None), ("orange", 1), ("red", 2)], source="red above 2 K in 5 min (source: alert BijliCoolingSupplyRising), orange half of it"),
        ]),
        ("What it costs", [
            lines("Cooling energy per unit of IT energy",
                  Query("sum by (hub) (rate(bijli_facility_energy_joules_total{role='cooling'}[1h])) / "
                        "(sum by (hub) (rate(bijli_facility_energy_joules_total{role='it'}[1h])) > 0)", "{{hub}}"), "none",
                  "Energy to cooling over energy to nodes, last hour: cooling's own part of the overhead.", decimals=3,
                  limits=[("green", None), ("orange", 0.4), ("red", 0.7)],
                  source="orange above 0.4, red above 0.7 (source: house values; compare with the season, not with a number)"),
            lines("Power at cooling meters",
                  Query("max by (meter) (bijli_meter_power_watts) and on (meter) max by (meter) (bijli_meter_info{role='cooling'})", "{{meter}}"), "watt",
                  "Each meter whose role is cooling, as read. A meter that is silent leaves a gap and is not summed as zero.", least=0,
                  source="none; the rating of each plant is the site's own (source: meters)"),
            bars("Cooling energy in the period", now("sum(increase(bijli_facility_energy_joules_total{role='cooling'}[$__range])) / 3.6e6", "cooling"),
                 "kwatth", "Energy that cooling used over the page's time range.",
                 source="none, a quantity and not a judgement (source: closed books; increase extrapolates, so quote the report)"),
        ]),
        ("Whether GPUs feel it", [
            lines("GPU core temperatures",
                  [Query("quantile(0.5, bijli_gpu_temperature_celsius{sensor='core'})", "half are cooler"),
                   Query("quantile(0.95, bijli_gpu_temperature_celsius{sensor='core'})", "95 % are cooler"),
                   Query("max(bijli_gpu_temperature_celsius{sensor='core'})", "hottest")], "celsius",
                  "Median, 95th percentile and the hottest of all GPU cores. All three rise together when the loop is at fault; one alone is a node's fault.",
                  limits=[("green", None), ("orange", 87), ("red", 89)], source="87 and 89 °C (source: nvidia-smi -q of H100 and H200 SXM boards; others differ)"),
            lines("Smallest margin before GPUs slow", Query("min by (limit) (bijli_gpu_temperature_margin_celsius)", "{{limit}}"), "celsius",
                  "What the GPU nearest to its limit has left: operation (the driver begins to slow it) and slowdown (the hardware does). Below 0 it is over.",
                  limits=[("red", None), ("orange", 0), ("green", 5)], source="red below 0, by what the margin means, orange below 5 K (source: house value)"),
            stack("GPUs slowed by heat, over time",
                  Query("sum by (reason) (rate(bijli_gpu_throttle_seconds_total{reason=~'hw_thermal|sw_thermal'}[$__rate_interval]))", "{{reason}}"), "short",
                  "How many GPUs' time was held down by heat, by reason; the two overlap, so the upper one alone is the better number.",
                  source="none here; 8 GPUs are an alert (source: alert BijliGpusHotTogether)"),
        ]),
    ],
)
