//! What is printed of the API's own answers about a small hub, by expected text.

use clap::Parser;

use super::{AnswerError, NO_PUE, Question, Said, answer, encoded};
use crate::api::tests::client::{self, serve};
use crate::api::tests::hub::{self, NINE};
use crate::ask::AskError;
use crate::projects::ProjectText;
use crate::projects::registry::Change;
use bijli_wire::UtcMillis;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    question: Question,
}

async fn asked(state: crate::state::Shared, words: &str) -> Result<Said, AnswerError> {
    let url = format!("http://{}", serve(state).await);
    let words = ["bijli-collector"].into_iter().chain(words.split(' ')).chain(["--url", &url]);
    let line = Line::try_parse_from(words).expect("a command line");
    answer(&line.question).await
}

/// What is said of four quarters of the small hub.
async fn said(words: &str) -> Said {
    asked(hub::state(NINE, 4), words).await.expect(words)
}

/// Compares with what is expected, and holds it to the width of a terminal.
async fn prints(words: &str, expected: &str) {
    let said = said(words).await;
    let text = said.text.strip_prefix("All readings are simulated\n\n").expect("the banner");
    assert_eq!(text, expected, "{words}:\n{text}");
    for line in said.text.lines() {
        assert!(line.chars().count() <= super::layout::WIDTH, "{words}: {line}");
        assert_eq!(line, line.trim_end(), "{words}: blanks at the end");
    }
}

#[tokio::test]
async fn a_pue_is_printed_with_all_that_it_must_carry() {
    let expected = "\
iPUE1 (2026-08-01T09:00:00Z/2026-08-01T10:00:00Z) = 1.33 ± 0.02

hub          isb
kind         iPUE: interim, over another period than twelve measured months
category     1
standard     ISO/IEC 30134-2:2026
level        iPUE_L1,-C (WP49)
asked for    2026-08-01T09:00:00Z to 2026-08-01T10:00:00Z (a date is midnight UTC)
coverage     4 of 4 intervals count: 100.00 % of the time, 100.00 % of the energy that is known
uncertainty  ±0.018857 if meters err independently, ±0.018857 if all of a term err alike (k = 2)
estimated    0.00 % of a term at most; there is no figure above 5.00 %
status       provisional: 4 intervals can still be corrected, 0 corrections so far

energy                              amount          mJ    share
numerator: into the data centre  1.800 kWh  6480000000
  from grid                      1.800 kWh  6480000000  100.0 %
denominator: IT                  1.350 kWh  4860000000
estimated part of the two          0.000 J           0    0.0 %
UPS stores gave, in neither        0.000 J           0
no meter explains                30.000 Wh   108000000    1.7 %

meter      of    class  CT class  serial      calibration due     amount
m-incomer  E_DC  0.5S   0.5S      50 123 456  2028-03-31       1.800 kWh
m-ups-out  E_IT  1      -         -           -                1.350 kWh
";
    prints("pue --hub isb", expected).await;
}

/// The figure's own period ends where the books do, and what is not booked is counted.
#[tokio::test]
async fn what_a_pue_does_not_cover_is_said() {
    let day = said("pue --hub isb --from 2026-08-01 --to 2026-08-02").await;
    assert!(day.has_figure);
    for words in [
        "iPUE1 (2026-08-01T00:00:00Z/2026-08-01T10:00:00Z) = 1.33 ± 0.02, coverage 4 of 40 \
         intervals\n",
        "asked for    2026-08-01T00:00:00Z to 2026-08-02T00:00:00Z (a date is midnight UTC)\n",
        "not counted  36: not booked\n",
    ] {
        assert!(day.text.contains(words), "{words}\n{}", day.text);
    }
}

#[test]
fn generator_and_reasons_stand_apart() {
    let answer = serde_json::json!({
        "hub": "isb", "from": "2026-07-01T00:00:00Z", "to": "2026-08-01T00:00:00Z", "no_pue": null,
        "pue": {
            "kind": "iPUE", "category": 2, "standard": null, "wp49": "iPUE_L2,MC",
            "shown": "iPUE2 (2026-07-01/2026-07-31) = 1.39 ± not stated (meter m-inc has no class), coverage 5 of 9 intervals",
            "total_mj": "340896153529", "it_mj": "245290467748",
            "intervals_complete": 5, "intervals_expected": 9,
            "coverage": {"time": "55.55 %", "energy": "60.00 %", "gap_ms": 10_800_000},
            "by_source": [
                {"source": "grid", "energy": "", "energy_mj": "230132287896"},
                {"source": "generator", "energy": "", "energy_mj": "110763865633"},
            ],
            "store_drawn_mj": "2759957947", "estimated_mj": "1",
            "estimated": {"share": "0.01 %", "share_max": "5.00 %"},
            "uncertainty": null, "uncertainty_unstated": "meter m-inc has no class",
            "residual": {"unexplained_mj": "7", "contradicted_mj": "8", "outside_mj": "9"},
            "meters": [{"meter": "m-inc", "term": "E_DC", "energy_mj": "340896153529"}],
            "status": "settled", "intervals_provisional": 0, "adjustments": 3,
            "withheld": [{"reason": "isb/generator does not cover the interval", "intervals": 3}],
        },
    });
    let answer: super::pue::Answer = serde_json::from_value(answer).expect("an answer");
    let expected = "\
iPUE2 (2026-07-01/2026-07-31) = 1.39 ± not stated (meter m-inc has no class), coverage 5 of 9
intervals

hub          isb
kind         iPUE: interim, over another period than twelve measured months
category     2
standard     not declared
level        iPUE_L2,MC (WP49)
asked for    2026-07-01T00:00:00Z to 2026-08-01T00:00:00Z (a date is midnight UTC)
coverage     5 of 9 intervals count: 55.55 % of the time, 60.00 % of the energy that is known
longest gap  3 h
not counted  3: isb/generator does not cover the interval
not counted  1: not booked
uncertainty  not stated: meter m-inc has no class
estimated    0.01 % of a term at most; there is no figure above 5.00 %
status       settled: 0 intervals can still be corrected, 3 corrections so far

energy                               amount            mJ   share
numerator: into the data centre  94.693 kWh  340896153529
  from grid                      63.925 kWh  230132287896  67.5 %
  from generator                 30.767 kWh  110763865633  32.5 %
denominator: IT                  68.136 kWh  245290467748
estimated part of the two           0.001 J             1  <0.1 %
UPS stores gave, in neither      766.654 Wh    2759957947
no meter explains                   0.007 J             7  <0.1 %
meters contradict, in neither       0.008 J             8
not in the diagram, in neither      0.009 J             9

meter  of    class  CT class  serial  calibration due      amount
m-inc  E_DC  -      -         -       -                94.693 kWh
";
    assert_eq!(answer.show(), expected, "{}", answer.show());
}

/// Goal: several hubs are one figure, by the name of the way it was made; all are every hub.
#[tokio::test]
async fn hubs_together_are_one_figure_in_two_ways() {
    let expected = "\
iPUE1 of isb (2026-08-01T09:00:00Z/2026-08-01T10:00:00Z) = 1.33 ± 0.02, sum of E_DC over sum of E_IT
             ±0.018857 if meters err independently, ±0.018857 if all of a term err alike (k = 2)
iPUE1 of isb (2026-08-01T09:00:00Z/2026-08-01T10:00:00Z) = 1.33 ± 0.02, mean weighted by total
energy, as (EU) 2024/1364 aggregates
             ±0.018857 if meters err independently, ±0.018857 if all of a term err alike (k = 2)

hubs         isb
asked for    2026-08-01T09:00:00Z to 2026-08-01T10:00:00Z (a date is midnight UTC)
standard     ISO/IEC 30134-2:2026
isb          iPUE1 (2026-08-01T09:00:00Z/2026-08-01T10:00:00Z) = 1.33 ± 0.02

hub  into the data centre, mJ      IT, mJ
isb                6480000000  4860000000
sum                6480000000  4860000000
";
    prints("pue --hub all", expected).await;
    prints("pue --hub isb --hub isb", expected).await;
    let refused = asked(hub::state(NINE, 4), "pue --hub isb --hub lhe").await;
    assert!(refused.expect_err("no such hub").to_string().contains("no hub \"lhe\""));
}

#[tokio::test]
async fn where_there_is_no_pue_it_says_why_and_is_no_figure() {
    let words = "pue --hub isb --from 2026-07-01 --to 2026-07-02";
    let expected = "\
no PUE: no interval of the period is closed

hub          isb
asked for    2026-07-01T00:00:00Z to 2026-07-02T00:00:00Z (a date is midnight UTC)
code         nothing_closed
";
    prints(words, expected).await;
    for words in [words, &format!("{words} --json")] {
        assert!(!said(words).await.has_figure, "{words} ends with {NO_PUE}");
    }
}

#[tokio::test]
async fn the_trial_balance_is_in_the_order_of_the_chart() {
    let expected = "\
hub          isb
asked for    2026-08-01T09:00:00Z to 2026-08-01T10:00:00Z (a date is midnight UTC)
entries      128, 0 of them adjustments

account                        nature    debits, mJ  credits, mJ         net
grid:incomer                   source             0   6480000000   1.800 kWh
point:chiller                  through   1116000000   1116000000     0.000 J
point:lights                   through    144000000    144000000     0.000 J
point:pdu-a                    through   4842000000   4842000000     0.000 J
point:ups-in                   through   5112000000   5112000000     0.000 J
point:ups-out                  through   4860000000   4860000000     0.000 J
node:isb-n01                   through   2556000000   2556000000     0.000 J
node:isb-n02                   through   2196000000   2196000000     0.000 J
gpu:GPU-aa01                   through   1440000000   1440000000     0.000 J
gpu:GPU-aa02                   through    324000000    324000000     0.000 J
gpu:GPU-bb01                   through   1260000000   1260000000     0.000 J
gpu:GPU-bb02                   through    252000000    252000000     0.000 J
cpu:isb-n01/cpu0               through    648000000    648000000     0.000 J
cpu:isb-n02/cpu0               through    540000000    540000000     0.000 J
dram:isb-n01/dram0             through    144000000    144000000     0.000 J
dram:isb-n02/dram0             through    144000000    144000000     0.000 J
loss:ups:ups-in                sink       252000000            0   70.000 Wh
loss:distribution:ups-out      sink        18000000            0    5.000 Wh
cooling:chiller                sink      1116000000            0  310.000 Wh
lighting:lights                sink       144000000            0   40.000 Wh
unmetered:main                 sink       108000000            0   30.000 Wh
unmetered:pdu-a                sink        90000000            0   25.000 Wh
main                           through   6480000000   6480000000     0.000 J
idle:unallocated               sink       252000000            0   70.000 Wh
host_overhead                  sink       342000000            0   95.000 Wh
project:climate/gpu_active     sink      1440000000            0  400.000 Wh
project:climate/gpu_held_idle  sink       324000000            0   90.000 Wh
project:climate/host           sink       792000000            0  220.000 Wh
project:urdu-llm/gpu_active    sink      1260000000            0  350.000 Wh
project:urdu-llm/host          sink       342000000            0   95.000 Wh
sum                                     38538000000  38538000000     0.000 J

                 amount          mJ
supplied      1.800 kWh  6480000000
used or lost  1.800 kWh  6480000000
unmetered     55.000 Wh   198000000
disputed        0.000 J           0
missing         0.000 J           0
unplaced        0.000 J           0
imbalance       0.000 J           0

balanced to the millijoule
";
    prints("balance --hub isb", expected).await;
}

#[tokio::test]
async fn energy_has_what_is_nobodys_and_the_sum() {
    let expected = "\
hub          isb
asked for    2026-08-01T09:00:00Z to 2026-08-01T10:00:00Z (a date is midnight UTC)
as of        40.0, since 2026-08-01T10:07:00Z: --as-of 40.0 gives this answer again

project                 GPUs active  held idle       hosts          IT    facility
climate (account)        400.000 Wh  90.000 Wh  220.000 Wh  710.000 Wh  946.666 Wh
urdu-llm (account)       350.000 Wh    0.000 J   95.000 Wh  445.000 Wh  593.333 Wh
unallocated idle                                             70.000 Wh
unattributed                                                   0.000 J
hosts of nobody's GPUs                                       95.000 Wh
sum                                                          1.320 kWh

facility     IT energy times the PUE of each complete interval: derived, not metered
note         an account that no project of the registry claims stands under its own name
";
    prints("energy --hub isb", expected).await;
    let one = "\
hub          isb
project      climate
asked for    2026-08-01T09:00:00Z to 2026-08-01T10:00:00Z (a date is midnight UTC)
as of        40.0, since 2026-08-01T10:07:00Z: --as-of 40.0 gives this answer again

project            class             IT          mJ
climate (account)  measured  710.000 Wh  2556000000

note         there is no project climate in the registry: this is the account
";
    prints("energy --hub isb --project climate --by class", one).await;
    let accounts = "\
hub          isb
asked for    2026-08-01T09:00:00Z to 2026-08-01T10:00:00Z (a date is midnight UTC)
as of        40.0, since 2026-08-01T10:07:00Z: --as-of 40.0 gives this answer again

account                        project      energy          mJ
idle:unallocated                         70.000 Wh   252000000
host_overhead                            95.000 Wh   342000000
project:climate/gpu_active              400.000 Wh  1440000000
project:climate/gpu_held_idle            90.000 Wh   324000000
project:climate/host                    220.000 Wh   792000000
project:urdu-llm/gpu_active             350.000 Wh  1260000000
project:urdu-llm/host                    95.000 Wh   342000000
";
    prints("energy --hub isb --by account", accounts).await;
}

#[tokio::test]
async fn csv_has_the_millijoules_of_every_row() {
    let period = "isb,2026-08-01T09:00:00Z,2026-08-01T10:00:00Z,40.0";
    let expected = format!(
        "hubs,from,to,as_of,title,is_registered,account,project,gpu_active_mj,gpu_held_idle_mj,\
         host_mj,it_mj,facility_mj,it_covered_mj\n\
         {period},,no,,climate,1440000000,324000000,792000000,2556000000,3408000000,\
         2556000000\n\
         {period},,no,,urdu-llm,1260000000,0,342000000,1602000000,2136000000,\
         1602000000\n\
         {period},,,idle:unallocated,,,,,252000000,,\n\
         {period},,,unattributed,,,,,0,,\n\
         {period},,,host_overhead,,,,,342000000,,\n"
    );
    assert_eq!(said("energy --hub isb --csv").await.text, expected);
    let expected = format!(
        "hubs,from,to,as_of,title,is_registered,account,project,class,energy_mj\n\
         {period},,no,,climate,measured,2556000000\n"
    );
    let words = "energy --hub isb --project climate --by class --csv";
    assert_eq!(said(words).await.text, expected);
    let by_account = said("energy --hub isb --by account --csv").await.text;
    let row = format!("\n{period},project:climate/gpu_held_idle,,324000000\n");
    assert!(by_account.contains(&row), "{by_account}");
}

/// The texts of nodes are foreign: one with a line's end and a quote stays in its place.
#[tokio::test]
async fn events_say_what_is_to_be_done() {
    let expected = "\
2026-08-01T09:15:00Z  page    isb/isb-n01 GPU-aa01 gpu_xid 79
    pid=1, <script>alert(1)</script>\"} 1
    GPU has fallen off the bus; class reboot_node
    Drain the node and reboot it (the bare metal, not a VM). Read the system event log and the
    kernel's PCIe errors; if it returns, contact support.
    after NVIDIA, Analyzing Xid Errors with the Xid Catalog (Ampere and newer),
    docs.nvidia.com/deploy/xid-errors, as of 2025-10-29; the severity is our own
";
    prints("events --hub isb --severity page", expected).await;
    let newest = said("events --node isb-n01 --limit 1").await.text;
    assert!(newest.contains("gpu_xid 94, 3 times\n"), "{newest}");
    assert!(newest.ends_with("ask with a larger --limit, or an earlier --to\n"), "{newest}");
    prints("events --from 2026-08-02 --to 2026-08-03", "no such event is kept\n").await;
}

/// The numbers are the API's: `--json` is its answer, byte for byte.
#[tokio::test]
async fn json_is_the_answer_as_it_came() {
    let address = serve(hub::state(NINE, 4)).await;
    let period = "from=2026-08-01T09%3A00%3A00Z&to=2026-08-01T09%3A30%3A00Z";
    for (words, path) in [
        ("pue --hub isb", "hubs/isb/pue"),
        ("balance --hub isb", "hubs/isb/balance"),
        ("energy --hub isb", "energy?hub=isb&by=project"),
        ("energy --hub isb --project climate --by job", "energy?project=climate&by=job"),
    ] {
        let and = if path.contains('?') { '&' } else { '?' };
        let reply = client::get(address, &format!("/v1/{path}{and}{period}")).await;
        let words =
            format!("{words} --json --from 2026-08-01T14:00:00+05:00 --to 2026-08-01T09:30:00Z");
        assert_eq!(said(&words).await.text, reply.body + "\n", "{words}");
    }
    let reply = client::get(address, "/v1/events?limit=100&hub=isb").await;
    let events = said("events --hub isb --json").await;
    assert_eq!(events.text, reply.body + "\n");
    assert_eq!(events.notice.as_deref(), Some("All readings are simulated"), "on stderr");
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_in_words() {
    for (words, expected) in [
        ("pue --hub khi", "there is no hub \"khi\"; /v1/hubs lists them"),
        ("balance --hub ../isb", "there is no hub \"../isb\""),
        ("energy --hub isb --project none", "there is no project \"none\" here"),
        ("pue --hub isb --from yesterday", "--from takes a time with its offset, or a date"),
        ("events --to 2026-08-01T09:00:00", "--to takes a time with its offset, or a date"),
        ("balance --hub isb --from 2026-08-02 --to 2026-08-01", "from is after to"),
        ("balance --hub isb --from 2026-08-01 --to 2026-08-01", "the period is empty"),
        ("events --hub khi", "there is no hub"),
        ("events --limit 0", "limit is a number from 1 to 10000"),
    ] {
        let refused = asked(hub::state(NINE, 4), words).await.expect_err(words);
        assert!(refused.to_string().contains(expected), "{words}: {refused}");
    }
    let early = asked(std::sync::Arc::new(hub::empty_state()), "pue --hub isb").await;
    let early = early.expect_err("the books are not rebuilt yet");
    assert!(matches!(early, AnswerError::Ask(AskError::Refused { .. })), "{early:?}");
}

#[test]
fn names_are_encoded() {
    assert_eq!(encoded("a/b c+ü%"), "a%2Fb%20c%2B%C3%BC%25");
}

#[tokio::test]
async fn a_diagram_is_a_tree_with_what_passed_each_point() {
    let expected = "\
hub          isb
asked for    2026-08-01T09:00:00Z to 2026-08-01T10:00:00Z (a date is midnight UTC)

    incomer         grid           1.800 kWh  m-incomer
    main board                     1.800 kWh
    ├─ ups-in       ups_in         1.420 kWh  m-ups-in
    │  └─ ups-out   ups_out   IT   1.350 kWh  m-ups-out
    │     └─ pdu-a  pdu            1.345 kWh  m-pdu-a
    │        └─ 2 nodes            1.320 kWh
    ├─ chiller      cooling       310.000 Wh  m-chiller
    └─ lights       lighting       40.000 Wh  m-lights
    IT: here PUE category 1 measures IT energy
";
    prints("diagram --hub isb", expected).await;
}

async fn said_of_monsoon(words: &str) -> Said {
    let state = hub::state(NINE, 4);
    hub::register(&state, "monsoon", &["climate", "urdu-llm"], Some("10 kWh"));
    asked(state, words).await.expect(words)
}

#[tokio::test]
async fn jobs_say_what_is_exact_and_budgets_what_is_left() {
    let jobs = "\
job          IT  mean power  Wh/GPU h  held idle      read     class       split
1    510.000 Wh     510.0 W       510     0.00 %  100.00 %  measured  110.000 Wh
2    200.000 Wh     200.0 W       200   100.00 %  100.00 %  measured  110.000 Wh
3    445.000 Wh     445.0 W       445     0.00 %  100.00 %  measured       exact
";
    let said = said_of_monsoon("energy --by job --project monsoon").await.text;
    assert!(said.contains(jobs), "{said}");
    assert!(said.contains("as of        40.1, since"), "{said}");
    for line in said.lines() {
        assert!(line.chars().count() <= super::layout::WIDTH, "{line}");
    }
    let budgets = "\
project       used      budget    of it  days left  at its end  used up
monsoon  1.155 kWh  10.000 kWh  11.55 %         30           -        -
";
    let said = said_of_monsoon("budgets").await.text;
    assert!(said.contains(budgets), "{said}");
}

/// Goal: X11. A title that is a formula, a script and a quote is harmless in every form.
#[tokio::test]
async fn x11_a_hostile_title_is_text_in_csv_and_at_a_terminal() {
    let state = hub::state(NINE, 4);
    let text = ProjectText {
        title: "=HYPERLINK(\"http://x\",\"y\")\u{202e}<script>".into(),
        ..crate::projects::text::tests::text("monsoon", &["climate"])
    };
    let change = Change::Put(Box::new(text.read().expect("sound")));
    let _new = state.registry_mut().make(change, (UtcMillis::new(NINE), 40), 900_000);
    let csv = asked(state.clone(), "energy --csv").await.expect("asked").text;
    let cell = ",\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\u{202e}<script>\",yes,,monsoon,";
    assert!(csv.contains(cell), "{csv}");
    let budgets = asked(state, "budgets").await.expect("asked").text;
    assert!(!budgets.contains('\u{202e}') && budgets.contains("\u{fffd}<script>"), "{budgets}");
}
