"""For the auditor and the minister: what the hubs used, how well, for whom, and how far the figures can be believed."""
from builder.page import HUB, Page
from builder.panel import bars, lines, stack, stat
from builder.query import Query, now

TO_HUB = ("This hub's facility", "/d/bijli-hub?var-hub=${__field.labels.hub}")
TO_PROJECT = ("This project", "/d/bijli-project?var-hub=${__field.labels.hub}&var-project=${__field.labels.project}")
QUANTITY = "none, a quantity and not a judgement (source: closed books; increase extrapolates, so quote the report)"

PAGE = Page(
    "bijli-fund", "bijli: fund overview", "Energy, PUE and projects of all hubs, and how far the figures can be believed.",
    variables=[(*HUB, True)], scope={"hub": '=~"$hub"'}, span="7d",
    answers="how much energy the hubs took in, and from where; the interim PUE of each with its uncertainty, coverage and estimated share; which projects used "
    "the energy; how much ran idle or for nobody; whether each hub's books balance and how far they are closed.",
    cannot="what may be published: a PUE of a year, with its proofs, is asked of the collector. Costs and emissions are not here. Hubs whose Prometheus "
    "is away are missing and not zero; their collectors lose nothing.",
    rows=[
        ("Can the figures be believed?", [
            stat("Interim PUE, 1 day", Query("max by (hub, category) (bijli_pue_ratio{window='1d'})", "{{hub}}, category {{category}}"), "none",
                 "Energy into the hub over energy to IT in the last closed day, by hub and category (where IT is metered: 1 UPS output, 2 PDU output, 3 IT "
                 "input). Absent when a needed meter is missing.", limits=[("red", None), ("green", 1)], decimals=3, width=6, link=TO_HUB,
                 source="red below 1 is a defect of metering or boundary, never a good result (ISO/IEC 30134-2: PUE is above 1 by definition)"),
            stat("± of that PUE", Query("max by (hub) (bijli_pue_uncertainty_ratio{window='1d',bound='correlated'})", "{{hub}}"), "none",
                 "Expanded uncertainty (k = 2) of the day's PUE, if every meter of a term were off to the same side: the cautious bound. Absent where the class "
                 "of a meter is not declared.", decimals=3, width=4, limits=[("green", None), ("orange", 0.05), ("red", 0.1)],
                 source="orange above 0.05, red above 0.1 (source: house values; class 0.5S meters stay near 0.02)"),
            stat("PUE coverage, 1 day", Query("max by (hub) (bijli_pue_coverage_ratio{window='1d'})", "{{hub}}"), "percentunit",
                 "Share of the last day whose intervals had complete metering.", limits=[("red", None), ("orange", 0.95), ("green", 1)], width=4,
                 source="orange below 100 %, red below 95 % (source: house value; a figure is quoted with its coverage whatever it is)"),
            stat("Estimated share, 1 day", Query("max by (hub) (bijli_pue_estimated_ratio{window='1d'})", "{{hub}}"), "percentunit",
                 "Share of either term of the PUE that is estimated and not metered, the larger of the two.", width=4,
                 limits=[("green", None), ("orange", 0.01), ("red", 0.05)],
                 source="red above 5 % (source: the usual pue_estimated_max, above which no figure is given), orange above 1 % (house value)"),
            stat("Ledger imbalance", Query("max by (hub) (bijli_ledger_imbalance_joules)", "{{hub}}"), "joule",
                 "Debits less credits over all closed books. No data means that the books are not proven, not that they balance.", width=3,
                 limits=[("red", None), ("green", 0), ("red", 0.001)], source="anything but zero is red (source: alert BijliLedgerImbalance)"),
            stat("Closed until, ago", Query("time() - max by (hub) (bijli_ledger_closed_until_timestamp_seconds)", "{{hub}}"), "s",
                 "How long ago the last closed interval ended.", limits=[("green", None), ("orange", 1800), ("red", 7200)], width=3,
                 source="orange above 30 min, two intervals, red above 2 h (source: house value for a closing that stalls)"),
        ]),
        ("Energy in", [
            bars("Supply in the period, by hub", now("sum by (hub) (increase(bijli_facility_total_energy_joules_total[$__range])) / 3.6e6", "{{hub}}"),
                 "kwatth", "Energy that entered each hub over the page's time range.", source=QUANTITY, width=6, link=TO_HUB),
            bars("Supply in the period, by source",
                 now("sum by (source) (increase(bijli_facility_total_energy_joules_total[$__range])) / 3.6e6", "{{source}}"), "kwatth",
                 "The same by source. store: batteries gave more than they took; missing, dispute and unplaced are energies whose source no meter shows.",
                 source=QUANTITY, width=6),
            lines("Interim PUE of a day, over time", Query("max by (hub, category) (bijli_pue_ratio{window='1d'})", "{{hub}}, category {{category}}"),
                  "none", "The one-day ratio of sums by hub; never an average of ratios. A gap is a day without complete metering.", decimals=3,
                  limits=[("red", None), ("green", 1)], source="a line at 1 (ISO/IEC 30134-2: below is a defect of metering)", width=12),
        ]),
        ("What it did", [
            stack("IT power by hub", Query("sum by (hub) (rate(bijli_facility_energy_joules_total{role='it'}[1h]))", "{{hub}}"), "watt",
                  "Mean power of the last hour that reached nodes, by hub.", source="none, a quantity (source: closed books)", width=8),
            lines("Share of supply that is not IT",
                  Query("sum by (hub) (rate(bijli_facility_energy_joules_total{role!='it'}[1h])) / "
                        "(sum by (hub) (rate(bijli_facility_total_energy_joules_total[1h])) > 0)", "{{hub}}"), "percentunit",
                  "Cooling, losses, lighting and what no meter explains, as a share of all supply of the last hour.", width=8,
                  limits=[("green", None), ("orange", 0.3), ("red", 0.45)],
                  source="orange above 30 %, red above 45 % (source: house values, a PUE of about 1.4 and 1.8)"),
            lines("GPU energy that served nobody",
                  [Query("sum by (hub) (rate(bijli_idle_energy_joules_total[1h])) / (sum by (hub) (rate(bijli_facility_energy_joules_total{role='it'}[1h])) > 0)",
                         "{{hub}}: nobody held it"),
                   Query("sum by (hub) (rate(bijli_unattributed_energy_joules_total[1h])) / "
                         "(sum by (hub) (rate(bijli_facility_energy_joules_total{role='it'}[1h])) > 0)", "{{hub}}: busy and nobody's")],
                  "percentunit", "Energy of GPUs that nobody held, and of GPUs that were busy although nobody held them, as shares of IT energy of the last hour.",
                  limits=[("green", None), ("orange", 0.1), ("red", 0.3)], width=8,
                  source="orange above 10 %, red above 30 % (source: house values; unattributed above 2 % deserves a look)"),
        ]),
        ("For whom", [
            bars("Energy by project",
                 now("sort_desc(topk(20, sum by (project) (increase(bijli_project_energy_joules_total[$__range])) / 3.6e6))", "{{project}}"), "kwatth",
                 "The 20 projects with most IT energy over all chosen hubs in the page's time range. Overhead of the facility is not in it.", source=QUANTITY),
            bars("Energy by project and hub",
                 now("sort_desc(topk(20, sum by (hub, project) (increase(bijli_project_energy_joules_total[$__range])) / 3.6e6))", "{{project}} at {{hub}}"),
                 "kwatth", "The same by hub; each bar leads to the project's page.", source=QUANTITY, link=TO_PROJECT),
            bars("Held idle, share of a project's GPU energy",
                 now("sort_desc(topk(20, sum by (project) (increase(bijli_project_energy_joules_total{part='gpu_held_idle'}[$__range])) / "
                     "(sum by (project) (increase(bijli_project_energy_joules_total{part=~'gpu_active|gpu_held_idle'}[$__range])) > 0)))", "{{project}}"),
                 "percentunit", "The 20 projects with the highest share of their own GPU energy spent while they held GPUs idle.",
                 limits=[("green", None), ("orange", 0.1), ("red", 0.3)],
                 source="orange above 10 %, red above 30 % (source: house values, to start a conversation and not to punish)"),
        ]),
        ("What late facts changed", [
            lines("Adjustments", Query("sum by (hub) (increase(bijli_ledger_adjustments_total[1h]))", "{{hub}}"), "short",
                  "Times in the last hour that a late fact (a batch after an outage, an allocation told late) changed a closed interval. What was shown before is "
                  "still in the ledger, and the difference is an entry of its own.", width=12,
                  source="none; after an outage many are right (source: books, P4 of docs/promises.md)"),
            lines("Nodes reporting", [Query("sum by (hub) (max by (hub) (bijli_collector_nodes_expected))", "{{hub}}: expected"),
                                      Query("sum by (hub) (max by (hub) (bijli_collector_nodes_reporting))", "{{hub}}: reporting")], "short",
                  "Nodes that delivered in the last minute, beside those expected. What is not delivered now waits on the nodes and is booked later.", width=12,
                  source="a count has no fixed limit (source: alert BijliHubBlind, below 80 %)"),
        ]),
    ],
)
