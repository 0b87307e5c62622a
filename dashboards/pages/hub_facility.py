"""For the facility manager: supply, UPS, losses, PUE and its split, demand and generator of one hub."""
from builder.page import HUB, ONE_HUB, Page
from builder.panel import bars, lines, stack, stat
from builder.query import Query, now

QUANTITY = "none, a quantity and not a judgement (source: closed books; increase extrapolates, so quote the report)"
OF_SUPPLIES = "and on (meter) max by (meter) (bijli_meter_info{role=~'grid|generator|solar'})"
OF_GRID = "and on (meter) max by (meter) (bijli_meter_info{role='grid'})"

PAGE = Page(
    "bijli-hub", "bijli: hub facility", "Supply, UPS, losses, PUE and its parts, demand and generator of one hub.",
    variables=[HUB], scope=ONE_HUB,
    answers="for one hub: how much energy comes in and from where; how the mains and the UPS are; where the energy goes and what is lost on the way; what the "
    "interim PUE is, of which parts it is made, and on how much of the time it rests; how high the demand was.",
    cannot="what the contracted demand is (no such metric). Weather is not here. Cooling, GPUs and projects have pages of their own, above at *bijli*.",
    rows=[
        ("Overview", [
            stat("Interim PUE, 1 day", Query("max by (category) (bijli_pue_ratio{window='1d'})", "category {{category}}"), "none",
                 "Energy into the hub over energy to IT in the last closed day, by category (where IT is metered: 1 UPS output, 2 PDU output, 3 IT input). "
                 "Absent when a needed meter is missing.", limits=[("red", None), ("green", 1)], decimals=3,
                 source="red below 1 is a defect of metering or boundary, never a good result (ISO/IEC 30134-2: PUE is above 1 by definition); no Pakistani "
                 "limit exists, so nothing else is coloured"),
            stat("± of that PUE", Query("max by (bound) (bijli_pue_uncertainty_ratio{window='1d'})", "{{bound}}"), "none",
                 "Expanded uncertainty (k = 2): independent, if no two meters of a term shared a cause of error; correlated, if all were off to the same side.",
                 decimals=3, limits=[("green", None), ("orange", 0.05), ("red", 0.1)],
                 source="orange above 0.05, red above 0.1 (source: house values; class 0.5S meters stay near 0.02)"),
            stat("PUE coverage, 1 day", Query("max by (hub) (bijli_pue_coverage_ratio{window='1d'})", "{{hub}}"), "percentunit",
                 "Share of the last day whose intervals had complete metering, so that a PUE exists.", limits=[("red", None), ("orange", 0.95), ("green", 1)],
                 source="orange below 100 %, red below 95 % (source: house value; a figure is quoted with its coverage whatever it is)"),
            stat("UPS on battery", Query("max by (meter) (bijli_ups_on_battery)", "{{meter}}"), "none", "1: this UPS feeds from its batteries now.",
                 limits=[("green", None), ("red", 1)], source="red at 1 (source: alert BijliUpsOnBattery)"),
            stat("Ledger imbalance", Query("max by (hub) (bijli_ledger_imbalance_joules)", "{{hub}}"), "joule",
                 "Debits less credits over all closed books. No data means that the books are not proven, not that they balance.",
                 limits=[("red", None), ("green", 0), ("red", 0.001)], source="anything but zero is red (source: alert BijliLedgerImbalance)"),
            stat("Closed until, ago", Query("time() - max by (hub) (bijli_ledger_closed_until_timestamp_seconds)", "{{hub}}"), "s",
                 "How long ago the last closed interval ended.", limits=[("green", None), ("orange", 1800), ("red", 7200)],
                 source="orange above 30 min, two intervals, red above 2 h (source: house value for a closing that stalls)"),
        ]),
        ("Supply, demand and generator", [
            stack("Supply by source", Query("sum by (source) (rate(bijli_facility_total_energy_joules_total[1h]))", "{{source}}"), "watt",
                  "Mean power over the last hour from each source. During load-shedding grid goes to zero and the generator takes over.", shape="stepAfter",
                  source="none; the contracted demand is the site's own (source: no such metric is exported yet)"),
            lines("Power at the supplies", Query(f"max by (meter) (bijli_meter_power_watts) {OF_SUPPLIES}", "{{meter}}"), "watt",
                  "Each grid, generator and solar meter as read; the detail behind the hour's mean.", least=0,
                  source="none; the rating of each supply is the site's own (source: meters)"),
            bars("Supply in the period", now("sum by (source) (increase(bijli_facility_total_energy_joules_total[$__range])) / 3.6e6", "{{source}}"),
                 "kwatth", "Energy from each source over the page's time range; generator is what the diesel had to carry.", source=QUANTITY, width=4),
            stat("Highest half hour of demand",
                 now("max_over_time(sum by (hub) (avg_over_time(bijli_meter_power_watts[30m]) and on (hub, meter) bijli_meter_info{role='grid'})[$__range:15m])",
                     "{{hub}}"), "watt",
                 "The highest mean power of 30 minutes at all grid meters together in the page's time range: what a utility bills as maximum demand, nearly. "
                 "Its own meter decides.", source="none; the contracted demand is the site's own (source: no such metric is exported yet)"),
            lines("Voltage at grid meters", Query(f"max by (meter, phase) (bijli_meter_voltage_volts) {OF_GRID}", "{{meter}} {{phase}}"), "volt",
                  "Line to neutral, by phase where the meter tells phases. Near zero: the mains are off.", width=8,
                  limits=[("red", None), ("green", 207), ("red", 253)], source="207 and 253 V (source: EN 50160, 230 V ± 10 % of ten-minute means)"),
            lines("Frequency at grid meters", Query(f"max by (meter) (bijli_meter_frequency_hertz) {OF_GRID}", "{{meter}}"), "hertz",
                  "Of the mains, as read.", limits=[("red", None), ("green", 49.5), ("red", 50.5)], decimals=2,
                  source="49.5 and 50.5 Hz (source: EN 50160, alert BijliFrequencyOutOfBand)"),
            lines("UPS charge", Query("max by (meter) (bijli_ups_charge_ratio)", "{{meter}}"), "percentunit",
                  "Charge of the batteries. It falls while the UPS carries the hub, and says how ready it is for the next time.", least=0,
                  limits=[("red", None), ("orange", 0.5), ("green", 0.9)], source="orange below 90 %, red below 50 % (source: house values)", width=4),
            lines("UPS time left", Query("min by (meter) (bijli_ups_time_left_seconds)", "{{meter}}"), "s",
                  "How long its batteries would last, as each UPS estimates.", least=0, limits=[("red", None), ("green", 300)], width=4,
                  source="red below 5 min (source: alert BijliUpsTimeShort)"),
        ]),
        ("Where it goes", [
            stack("Energy flow by stage", Query("sum by (role) (rate(bijli_facility_energy_joules_total[1h]))", "{{role}}"), "watt",
                  "Where the supply went: mean power over the last hour of IT, cooling, UPS loss, distribution loss, lighting and other. The stack is the supply.",
                  shape="stepAfter", source="none, a breakdown (source: single-line diagram of the hub)"),
            lines("What each stage adds to the PUE",
                  Query("sum by (role) (rate(bijli_facility_energy_joules_total{role!='it'}[1h])) / on () group_left () "
                        "(sum(rate(bijli_facility_energy_joules_total{role='it'}[1h])) > 0)", "{{role}}"), "none",
                  "Energy of each stage per unit of node energy in the last hour: 1 and the sum of these is the supply per node energy. The PUE of category 1 or 2 "
                  "is nearer to 1, because it counts the losses behind its IT meter as IT.", decimals=3, least=0,
                  limits=[("green", None), ("orange", 0.4), ("red", 0.7)],
                  source="orange above 0.4, red above 0.7 (source: house values; compare with the season, not with a number)"),
            bars("Share of supply that is not IT",
                 now("sum by (role) (increase(bijli_facility_energy_joules_total{role!='it'}[$__range])) / on () group_left () "
                     "sum(increase(bijli_facility_total_energy_joules_total[$__range]))", "{{role}}"), "percentunit",
                 "Each stage but IT, as a share of all supply in the page's time range.", limits=[("green", None), ("orange", 0.1), ("red", 0.3)],
                 source="orange above 10 %, red above 30 % (source: house values to draw the eye; set them to the site's design)"),
        ]),
        ("PUE over time, and the meters it rests on", [
            lines("Interim PUE over time", Query("max by (window, category) (bijli_pue_ratio)", "{{window}}, category {{category}}"), "none",
                  "The one-hour and one-day ratio of sums, by category; never an average of ratios. A gap is an hour without complete metering.", decimals=3,
                  limits=[("red", None), ("green", 1)], source="a line at 1 (ISO/IEC 30134-2: below is a defect of metering)", width=12),
            lines("Age of the last reading, by meter",
                  Query("time() - max by (meter) (bijli_meter_last_reading_timestamp_seconds)", "{{meter}}"), "s",
                  "Since each meter was last read. A line that climbs is a meter that fell silent; a meter never read has no line and is in the alert.", width=12,
                  limits=[("green", None), ("red", 300)], source="red above 5 min (source: alert BijliMeterSilent)"),
        ]),
    ],
)
