"""For a project and whoever pays for it: its energy, how much of it ran idle, where."""
from builder.page import HUB, Page
from builder.panel import bars, lines, stack, stat
from builder.query import Query, now

PROJECT = ("project", "Project", "label_values(bijli_project_energy_joules_total{hub=~'$hub'}, project)")
QUANTITY = "none, a quantity and not a judgement (source: closed books; increase extrapolates, so quote the report)"
ALL = "sum(increase(bijli_project_energy_joules_total[$__range]))"
PART = "sum(increase(bijli_project_energy_joules_total{part='%s'}[$__range]))"
OF_GPUS = "sum(increase(bijli_project_energy_joules_total{part=~'gpu_active|gpu_held_idle'}[$__range]))"

PAGE = Page(
    "bijli-project", "bijli: project", "Energy of one project: how much, where, and how much of it ran idle.",
    variables=[(*HUB, True), PROJECT], scope={"hub": '=~"$hub"', "project": '="$project"'}, span="7d",
    answers="for one project: its IT energy in the period, by hub and over time; which share its GPUs worked, which they were held idle, which the host took.",
    cannot="which job or person used it: jobs are relations with times in the collector's books and no labels here, so there is no page of a job; ask "
    "*/v1/projects* (docs/api.md). The facility's overhead, cost and emissions are not in these numbers.",
    rows=[
        ("In the period", [
            stat("Energy", now(f"{ALL} / 3.6e6", "energy"), "kwatth", "IT energy booked to the project in the page's time range.", decimals=1, source=QUANTITY),
            stat("GPUs active", now(f"{PART % 'gpu_active'} / ({ALL} > 0)", "active"), "percentunit", "Share of its energy that its GPUs used while they worked.",
                 source="none, a share (source: closed books)"),
            stat("GPUs held idle", now(f"{PART % 'gpu_held_idle'} / ({OF_GPUS} > 0)", "held idle"), "percentunit",
                 "Share of its GPU energy that was used while a job of it had the GPU and left it idle.", limits=[("green", None), ("orange", 0.1), ("red", 0.3)],
                 source="orange above 10 %, red above 30 % (source: house values, to start a conversation and not to punish)"),
            stat("Host share", now(f"{PART % 'host'} / ({ALL} > 0)", "host"), "percentunit",
                 "Share of its energy that processors, memory, fans and losses in the node took for it.", source="none, a share (source: closed books)"),
            stat("Mean power", now("sum(rate(bijli_project_energy_joules_total[$__range]))", "power"), "watt", "Its energy over the length of the time range.",
                 source=QUANTITY),
            stat("Share of IT energy",
                 now(f"{ALL} / (sum(increase(bijli_facility_energy_joules_total{{role='it'}}[$__range])) > 0)", "share"), "percentunit",
                 "Its part of all energy that reached nodes of the chosen hubs.", source="none, a share (source: closed books)"),
        ]),
        ("Over time", [
            stack("Power by use", Query("sum by (part) (rate(bijli_project_energy_joules_total[1h]))", "{{part}}"), "watt",
                  "Mean power over the last hour: GPUs active, GPUs held idle, and the host's part.", width=12, source=QUANTITY),
            stack("Power by hub", Query("sum by (hub) (rate(bijli_project_energy_joules_total[1h]))", "{{hub}}"), "watt",
                  "The same by hub.", width=12, source=QUANTITY),
            lines("Held idle, share of its GPU energy",
                  Query("sum(rate(bijli_project_energy_joules_total{part='gpu_held_idle'}[1h])) / "
                        "(sum(rate(bijli_project_energy_joules_total{part=~'gpu_active|gpu_held_idle'}[1h])) > 0)", "held idle"), "percentunit",
                  "Of the last hour. No line where it held no GPU.", limits=[("green", None), ("orange", 0.1), ("red", 0.3)], width=12,
                  source="orange above 10 %, red above 30 % (source: house values, to start a conversation and not to punish)"),
            bars("Energy in the period, by hub and use",
                 now("sort_desc(sum by (hub, part) (increase(bijli_project_energy_joules_total[$__range])) / 3.6e6)", "{{hub}}: {{part}}"), "kwatth",
                 "Where the energy was used, and for what.", width=12, source=QUANTITY),
        ]),
    ],
)
