//! What users of other meters lost, as tables that an auditor can read. Each one opens with the
//! loss that it guards against and who loses it (the comparison is in the design's references).

mod table;

use bijli_ledger::{Nature, NoPue};
use bijli_wire::UtcMillis;
use table::check;

/// Loss: a driver reload takes the counter from 126,272,101,025 mJ to 1,500 mJ. Alumet takes every
/// decrease for a turn of a 64-bit register and books 18 exajoules; Kepler drops what was used.
#[test]
fn a_driver_reload_books_what_the_register_shows_and_estimates_the_rest() {
    check(
        "
        gpu    G0 on n1 max 700 W
        at 10:00:00 G0 = 126272001025                -> began
        at 10:00:01 G0 = 126272101025                -> booked
        at 10:00:02 G0 = 1500                        -> reset
        at 10:00:03 G0 = 101500                      -> booked
        booked G0 measured 201500 mJ
        booked G0 estimated 98500 mJ
        event reset G0
        close 10:15
        expect unplaced:n1 300000 mJ
        expect idle:unallocated 300000 mJ
        expect idle:unallocated 98500 mJ estimated
        ",
    );
}

/// Loss: the same after six hours in the dark. all-smi holds the last power over the whole gap.
#[test]
fn a_reset_after_a_long_gap_estimates_nothing() {
    check(
        "
        gpu    G0 on n1 max 700 W
        at 10:00:00 G0 = 126272001025                -> began
        at 10:00:01 G0 = 126272101025                -> booked
        at 16:00:01 G0 = 5000000                     -> reset
        booked G0 measured 100000 mJ
        booked G0 bridged 5000000 mJ
        booked G0 estimated 0 mJ
        close 16:15
        expect reason G0 of node n1 covers
        ",
    );
}

/// Loss: after a power cut a meter comes back 3 Wh lower. Prometheus' `increase()` takes it for a
/// reset and adds the whole register again: 1,000 kWh out of nothing.
#[test]
fn b_a_meter_that_lost_its_last_moments_is_held() {
    check(
        "
        point  incomer grid max 2000000 W
        at 10:00:00 incomer = 3600000000000          -> began
        at 10:00:15 incomer = 3600015000000          -> booked
        at 10:00:30 incomer = 3600004200000          -> held
        at 10:00:45 incomer = 3600010000000          -> held
        at 10:01:00 incomer = 3600025000000          -> booked
        booked incomer measured 25000000 mJ
        event step_back incomer
        close 10:15
        expect grid:incomer 25000000 mJ
        expect unmetered:main 25000000 mJ
        ",
    );
}

/// Loss: DCGM's sentinel 2^63-14 printed as a value, NaN on a scrape. Omnistat sums them.
#[test]
fn c_sentinels_and_missing_readings_cost_nothing() {
    check(
        "
        gpu    G0 on n1 max 700 W
        at 10:00:00 G0 = 1000000
        at 10:00:01 G0 = 9223372036854775794         -> implausible
        at 10:00:02 G0 = missing                     -> missing
        at 10:00:03 G0 = -1                          -> implausible
        at 10:00:04 G0 = 2000000                     -> booked
        booked G0 measured 1000000 mJ
        close 10:15
        expect gpu:G0 1000000 mJ measured
        ",
    );
}

/// Loss: a 0 W reading in the middle of a job. Slurm sets the job's consumed energy back to 0.
#[test]
fn d_no_power_for_a_moment_resets_nothing() {
    check(
        "
        gpu    G0 on n1 max 700 W
        allocate J1 fire holds G0 10:00 10:15
        run 10:00:00 10:05:00 every 1 s G0 400 W busy
        run 10:05:00 10:05:10 every 1 s G0 0 W busy
        run 10:05:10 10:15:00 every 1 s G0 400 W busy
        close 10:15
        expect project:fire/gpu_active 356000000 mJ measured
        expect idle:unallocated 0 mJ
        ",
    );
}

/// Loss: a job holds eight GPUs and no process touches them. Process-based meters (Kepler,
/// Scaphandre) give their energy to nobody, and nobody is told that they were paid for.
#[test]
fn h_held_and_left_idle_is_the_holders_and_says_so() {
    let gpus: String = (0..8).map(|n| format!("gpu G{n} on n1 max 700 W\n")).collect();
    let runs: String =
        (0..8).map(|n| format!("run 10:00 10:15 every 5 s G{n} 70 W idle\n")).collect();
    let table = format!(
        "
        node n1 max 12000 W
        {gpus}
        allocate J1 fire holds node:n1 10:00 -
        run 10:00 10:15 every 5 s n1 1000 W
        {runs}
        close 10:15
        expect project:fire/gpu_held_idle 504000000 mJ measured
        expect project:fire/host 396000000 mJ derived
        expect project:fire/gpu_active 0 mJ
        expect host_overhead 0 mJ
        "
    );
    check(&table);
}

/// Loss: a job of two seconds. Kepler ignores processes under 5 s; sampling each 15 s sees none.
#[test]
fn i_a_job_of_two_seconds_gets_its_two_seconds() {
    check(
        "
        gpu    G0 on n1 max 700 W
        run 10:00:00 10:07:03 every 1 s G0 70 W idle
        run 10:07:03 10:07:05 every 1 s G0 600 W busy
        run 10:07:05 10:15:00 every 1 s G0 70 W idle
        close 10:15
        expect unattributed 1200000 mJ
        allocate J1 fire holds G0 10:07:03 10:07:05
        close 10:30
        expect project:fire/gpu_active 1200000 mJ
        expect project:fire/gpu_held_idle 0 mJ
        expect unattributed 0 mJ
        expect idle:unallocated 62860000 mJ
        ",
    );
}

/// Loss: two jobs share a node, each with its own GPUs. EAR gives each the whole node's GPUs.
#[test]
fn j_two_jobs_on_one_node_get_their_own_gpus_and_their_share_of_the_host() {
    check(
        "
        node   n1 max 3000 W
        gpu    G0 on n1 max 700 W
        gpu    G1 on n1 max 700 W
        allocate J1 fire  holds G0 10:00 10:15
        allocate J2 water holds G1 10:00 10:05
        allocate J3 air   holds G1 10:04 10:06 -> overlap
        allocate J4 air   holds node:n1 10:00 10:15 -> overlap
        run 10:00 10:15 every 5 s n1 1000 W
        run 10:00 10:15 every 5 s G0 300 W busy
        run 10:00 10:15 every 5 s G1 200 W busy
        close 10:15
        expect project:fire/gpu_active  270000000 mJ
        expect project:water/gpu_active  60000000 mJ
        expect unattributed             120000000 mJ
        expect project:fire/host        225000000 mJ
        expect project:water/host        75000000 mJ
        expect host_overhead            150000000 mJ
        ",
    );
}

/// Loss: batches come twice and in another order. Peers that take differences at the receiver book
/// a step back as a reset, or the same joules twice.
#[test]
fn l_duplicates_and_disorder_book_once() {
    check(
        "
        gpu    G0 on n1 max 700 W
        at 10:00:00 G0 = 1000000                     -> began
        at 10:00:02 G0 = 1800000                     -> booked
        at 10:00:01 G0 = 1400000                     -> late
        at 10:00:02 G0 = 1800000                     -> late
        at 10:00:00 G0 = 1000000                     -> late
        at 10:00:03 G0 = 2200000                     -> booked
        booked G0 measured 1200000 mJ
        ",
    );
}

/// Loss: 82 % of a GPU's samples vanish while its endpoint stays up. Averages over what is left
/// lose the energy; a register does not.
#[test]
fn m_lost_samples_cost_resolution_and_not_energy() {
    check(
        "
        gpu    G0 on n1 max 700 W
        run 10:00 10:07:30 every 50 s G0 400 W busy
        at 10:14:10 G0 = 341000000 busy              -> booked
        at 10:15:00 G0 = 361000000 busy              -> booked
        close 10:15
        booked G0 measured 200000000 mJ
        booked G0 bridged  160000000 mJ
        expect unattributed 360000000 mJ
        expect no reason G0 of node n1 covers
        ",
    );
}

/// Loss: a GPU without an energy counter. Peers integrate and call it measured, or show zero.
#[test]
fn n_without_a_hardware_counter_the_class_says_so() {
    check(
        "
        gpu    G0 on n1 max 250 W integrated
        allocate J1 fire holds G0 10:00 -
        run 10:00 10:15 every 1 s G0 200 W busy
        close 10:15
        expect project:fire/gpu_active 180000000 mJ integrated
        expect project:fire/gpu_active 0 mJ measured
        ",
    );
}

/// Loss: a BMC that does not see the GPUs. Subtracting gives a negative host that peers clamp to
/// zero (or show as negative idle cost: OpenCost).
#[test]
fn p_a_node_register_that_excludes_the_gpus_is_a_dispute() {
    check(
        "
        node n1 max 3000 W
        gpu  G0 on n1 max 700 W
        run 10:00 10:15 every 5 s n1 300 W
        run 10:00 10:15 every 5 s G0 500 W busy
        close 10:15
        expect node:n1 450000000 mJ
        expect dispute_node:n1 180000000 mJ derived
        expect unattributed 450000000 mJ measured
        expect reason devices of node n1 show 180000000 mJ more
        event dispute n1
        ",
    );
}

/// Loss: a job record arrives two days late. Label-based peers cannot give it its energy any more;
/// CEEMS moved its watermark past it.
#[test]
fn r_an_allocation_two_days_late_moves_energy_and_touches_no_measurement() {
    let books = check(
        "
        node   n1 max 3000 W
        gpu    G0 on n1 max 700 W
        run 10:00 10:30 every 5 s n1 900 W
        run 10:00 10:30 every 5 s G0 500 W busy
        close 10:30
        expect unattributed  900000000 mJ
        expect host_overhead 720000000 mJ
        close 2+10:30
        allocate J1 fire holds G0 10:10 10:30
        close 2+11:00
        expect project:fire/gpu_active 600000000 mJ measured
        expect project:fire/host       480000000 mJ derived
        expect unattributed  300000000 mJ
        expect host_overhead 240000000 mJ
        expect gpu:G0 900000000 mJ
        expect node:n1 1620000000 mJ
        booked G0 measured 900000000 mJ
        ",
    );
    let all = || books.entries(UtcMillis::new(0), UtcMillis::new(i64::MAX));
    let receiver = |e: bijli_ledger::Entry<'_>| match e.adjusts {
        Some(adjusts) if adjusts.is_reversal => Some(e.credit.clone()),
        Some(_) => Some(e.debit.clone()),
        None => None,
    };
    let changed: Vec<_> = all().filter_map(receiver).collect();
    assert_eq!(changed.len(), 8, "two corrections down and two up in each quarter hour");
    assert!(changed.iter().all(|account| account.nature() == Nature::Sink), "{changed:?}");
    // The first postings are still there, and counters made of them never fell.
    let unattributed = books.totals().get(&"unattributed".parse().unwrap()).copied();
    assert_eq!(unattributed, Some(900_000_000));
}

/// Loss: one job follows another on a busy GPU. Peers sample each 30 or 60 s and give the minute to
/// whoever holds it at the sample. The second of the handover is exact, however alike the powers.
#[test]
fn a_gpu_handed_on_mid_minute_is_split_at_the_second() {
    check(
        "
        gpu    G0 on n1 max 700 W
        allocate J1 fire  holds G0 10:00 10:05:20
        allocate J2 water holds G0 10:05:20 -
        run 10:00:00 10:05:20 every 1 s G0 440 W busy
        run 10:05:20 10:15:00 every 1 s G0 400 W busy
        close 10:15
        expect project:fire/gpu_active  140800000 mJ measured
        expect project:water/gpu_active 232000000 mJ measured
        expect gpu:G0                   372800000 mJ
        allocate J3 air holds G9 10:00 10:15
        close 10:30
        expect project:fire/gpu_active  140800000 mJ measured
        expect project:water/gpu_active 232000000 mJ measured
        ",
    );
}

/// Loss: a job lets a GPU idle and ends; its idle power and nobody's differ by a watt, and a
/// profile that takes them for one moves energy between a bill and the idle account.
#[test]
fn held_idleness_ends_at_the_second_the_hold_ends() {
    check(
        "
        gpu    G0 on n1 max 700 W
        allocate J1 fire holds node:n1 10:00 10:07:11
        run 10:00:00 10:07:11 every 1 s G0 71 W idle
        run 10:07:11 10:15:00 every 1 s G0 70 W idle
        close 10:15
        expect project:fire/gpu_held_idle 30601000 mJ measured
        expect idle:unallocated           32830000 mJ measured
        ",
    );
}

/// Loss: readings of a cut-off node arrive a day after its job ended. The job was known in time, so
/// its seconds are exact although the quarter hour was posted without them.
#[test]
fn late_readings_are_cut_exactly_where_holds_known_before_them_end() {
    check(
        "
        gpu    G0 on n1 max 700 W
        allocate J1 fire holds G0 10:00 10:05:20
        at 10:00:00 G0 = 1000000                     -> began
        close 1+10:00
        run 10:00:00 10:05:20 every 1 s G0 440 W busy
        run 10:05:20 10:15:00 every 1 s G0 400 W busy
        close 1+10:15
        expect project:fire/gpu_active 140800000 mJ measured
        expect unattributed            232000000 mJ measured
        ",
    );
}

/// Loss: none is booked twice or lost when a job is told after its quarter hour was posted, but
/// the seconds are gone: G0's run of 900 s is cut at 320/900 of its energy, 8 kJ from the truth of
/// 140,800,000 mJ. Where power jumped (G1), a run ends and the late cut is exact too.
#[test]
fn a_hold_told_after_posting_is_cut_inside_the_runs() {
    check(
        "
        gpu    G0 on n1 max 700 W
        gpu    G1 on n1 max 700 W
        run 10:00:00 10:05:20 every 1 s G0 440 W busy
        run 10:05:20 10:15:00 every 1 s G0 400 W busy
        run 10:00:00 10:05:20 every 1 s G1 600 W busy
        run 10:05:20 10:15:00 every 1 s G1 350 W busy
        close 10:15
        expect unattributed 767800000 mJ measured
        allocate J1 fire  holds G0 10:00 10:05:20
        allocate J2 water holds G1 10:00 10:05:20
        close 10:30
        expect project:fire/gpu_active  132551111 mJ measured
        expect project:water/gpu_active 192000000 mJ measured
        expect unattributed             443248889 mJ measured
        expect gpu:G0                   372800000 mJ
        ",
    );
}

const HALL: &str = "
    category 2
    point incomer grid max 100000 W
    point ups-in  ups_in  max 80000 W
    point ups-out ups_out max 80000 W fed_by ups-in
    point pdu-1   pdu     max 40000 W fed_by ups-out
    point chiller cooling max 40000 W
    node  n1 fed_by pdu-1 max 12000 W
    gpu   G0 on n1 max 700 W
    gpu   G1 on n1 max 700 W
    allocate J1 fire holds G0 10:00 -
";

/// Loss: no loss, the books of a quarter hour by hand. Every peer multiplies by a constant PUE.
#[test]
fn a_quarter_hour_closes_to_the_millijoule() {
    check(&format!(
        "{HALL}
        run 10:00 10:15 every 15 s incomer 14000 W
        run 10:00 10:15 every 15 s ups-in  10000 W
        run 10:00 10:15 every 15 s ups-out  9600 W
        run 10:00 10:15 every 15 s pdu-1    9500 W
        run 10:00 10:15 every 15 s chiller  3500 W
        run 10:00 10:15 every 5 s  n1       9400 W
        run 10:00 10:15 every 1 s  G0        600 W busy
        run 10:00 10:15 every 1 s  G1        100 W idle
        close 10:15
        expect complete
        expect grid:incomer              12600000000 mJ measured
        expect cooling:chiller            3150000000 mJ measured
        expect unmetered:main              450000000 mJ derived
        expect loss:ups:ups-in             360000000 mJ derived
        expect loss:distribution:ups-out    90000000 mJ derived
        expect loss:distribution:pdu-1      90000000 mJ derived
        expect node:n1                    8460000000 mJ measured
        expect project:fire/gpu_active     540000000 mJ measured
        expect idle:unallocated             90000000 mJ measured
        expect project:fire/host          3915000000 mJ derived
        expect host_overhead              3915000000 mJ derived
        expect pue 1.474 of 1/1
        "
    ));
}

/// Loss: a PUE meter is silent for three hours, and the ratio goes on as if it had measured.
#[test]
fn s_three_hours_without_the_incomer_have_no_pue_and_say_why() {
    let books = check(
        "
        point incomer grid max 100000 W
        point pdu-1   pdu  max 40000 W
        node  n1 fed_by pdu-1
        gpu   G0 on n1 max 700 W
        run 10:00 11:00 every 15 s incomer 10000 W
        run 10:00 15:00 every 15 s pdu-1    8000 W
        run 10:00 15:00 every 15 s G0        500 W busy
        at 10:30 incomer = missing -> missing
        close 14:00
        at 14:00 incomer = 5000                        -> reset
        run 14:00 15:00 every 15 s incomer 10000 W
        close 15:00
        expect pue 1.250 of 8/20
        expect reason meter incomer at incomer covers 0 of 900000 ms
        expect missing:main 86399995000 mJ
        ",
    );
    // The three hours on their own: no figure, and the reason names the meter.
    let start = 1_782_864_000_000 + 11 * 3_600_000;
    let pue = books.pue(UtcMillis::new(start), UtcMillis::new(start + 3 * 3_600_000));
    assert_eq!(pue, Err(NoPue::MissingMeter { meter: "incomer".to_owned(), intervals: 12 }));
}

/// Loss: a node nobody uses for a month costs money every day and is on nobody's bill. CEEMS gives
/// an empty node's energy to nobody at all.
#[test]
fn t_a_month_of_idleness_is_an_account() {
    check(
        "
        node n1 max 3000 W
        gpu  G0 on n1 max 700 W
        run 00:00 31+00:00 every 60 s n1 300 W
        run 00:00 31+00:00 every 60 s G0  70 W idle
        close 31+00:00
        expect idle:unallocated 187488000000 mJ measured
        expect host_overhead    616032000000 mJ derived
        expect no reason G0 of node n1
        expect no reason n1 of node n1
        ",
    );
}

/// Loss: load shedding. The mains go, the UPS carries the load, the generator takes over; a meter
/// that books only the grid loses the hour, one that books UPS output twice invents it.
#[test]
fn u_load_shedding_with_battery_and_generator() {
    check(
        "
        category 1
        point incomer grid max 100000 W
        point genset  generator max 100000 W
        point ups-in  ups_in  max 80000 W
        point ups-out ups_out max 80000 W fed_by ups-in
        node  n1 fed_by ups-out max 12000 W
        run 10:00 10:30 every 15 s ups-out 9000 W
        run 10:00 10:30 every 15 s n1      9000 W
        run 10:00 10:10 every 15 s incomer 10000 W
        run 10:10 10:30 every 15 s incomer     0 W
        run 10:00 10:20 every 15 s genset      0 W
        run 10:20 10:30 every 15 s genset  13000 W
        run 10:00 10:10 every 15 s ups-in  10000 W
        run 10:10 10:20 every 15 s ups-in      0 W
        run 10:20 10:30 every 15 s ups-in  13000 W
        close 10:30
        expect complete
        expect grid:incomer     6000000000 mJ
        expect generator:genset 7800000000 mJ
        expect store:ups-in     2400000000 mJ derived
        expect loss:ups:ups-in              0 mJ
        expect host_overhead   16200000000 mJ
        expect no pue a PUE of 1 or less
        ",
    );
}

/// Loss (S2): a register goes slightly backwards. Intel's Level Zero exporters underflowed an
/// unsigned difference and booked 3.69 TW.
#[test]
fn s2_a_glitch_is_rejected_and_never_subtracted_unsigned() {
    check(
        "
        gpu    G0 on n1 max 700 W
        at 10:00:00 G0 = 50000000
        at 10:00:01 G0 = 49999999                    -> held
        at 10:00:02 G0 = 50400000                    -> booked
        at 10:00:03 G0 = 90000000000                 -> implausible
        at 10:00:04 G0 = 51200000                    -> booked
        booked G0 measured 1200000 mJ
        at 10:00:05 G0 = 90000000000                 -> implausible
        at 10:00:06 G0 = 90000400000                 -> implausible
        at 10:00:07 G0 = 90000800000                 -> rebased
        at 10:00:08 G0 = 90001200000                 -> booked
        booked G0 measured 2400000 mJ
        event rebased G0
        ",
    );
}

/// Loss (S3): RAPL turns at 262 kJ. Scaphandre drops the turn; others guess how often it turned.
#[test]
fn s3_one_turn_is_corrected_and_many_are_not_guessed() {
    check(
        "
        cpu C0 on n1 max 400 W modulus 262143328
        at 10:00:00 C0 = 262000000
        at 10:00:01 C0 = 262100000                   -> booked
        at 10:00:02 C0 = 56672                       -> wrapped
        booked C0 measured 200000 mJ
        at 10:20:02 C0 = 200000000                   -> ambiguous
        booked C0 measured 200000 mJ
        booked C0 estimated 0 mJ
        event ambiguous C0
        cpu C1 on n1 max 400 W modulus 4000000
        at 10:00:00 C1 = 0
        at 10:00:02 C1 = 200000
        at 10:00:32 C1 = 100000                      -> ambiguous
        booked C1 estimated 3000000 mJ
        ",
    );
}

/// Loss (S4): a counter that stands still while the card is busy. Estimating by utilisation
/// invents energy; the ledger books what the register shows: nothing.
#[test]
fn s4_a_stuck_register_invents_nothing() {
    check(
        "
        gpu    G0 on n1 max 700 W
        run 10:00 10:15 every 1 s G0 0 W busy
        close 10:15
        booked G0 measured 0 mJ
        expect gpu:G0 0 mJ
        expect no reason G0 of node n1
        ",
    );
}

/// Loss (S7): the meters below show more than the one above. Peers rescale the parts or clamp the
/// rest, so a reversed current transformer goes unseen for a year.
#[test]
fn s7_an_impossible_balance_is_disputed_and_nothing_is_rescaled() {
    check(&format!(
        "{HALL}
        run 10:00 10:15 every 15 s incomer 14000 W
        run 10:00 10:15 every 15 s ups-in  10000 W
        run 10:00 10:15 every 15 s ups-out  9600 W
        run 10:00 10:15 every 15 s pdu-1    5000 W
        run 10:00 10:15 every 15 s chiller  3500 W
        run 10:00 10:15 every 5 s  n1       9400 W
        run 10:00 10:15 every 1 s  G0        600 W busy
        run 10:00 10:15 every 1 s  G1        100 W idle
        close 10:15
        expect point:pdu-1   8460000000 mJ
        expect dispute:pdu-1 3960000000 mJ derived
        expect node:n1       8460000000 mJ measured
        expect project:fire/gpu_active 540000000 mJ measured
        expect reason meters below pdu-1 show 3960000000 mJ more
        expect no pue the meters around pdu-1 contradict
        event dispute pdu-1
        "
    ));
}

/// Loss (S11): a PUE below 1, or one without an IT meter, is printed all the same.
#[test]
fn s11_no_figure_without_the_it_meter() {
    check(
        "
        point incomer grid max 100000 W
        point pdu-1   pdu  max 40000 W
        node  n1 fed_by pdu-1
        gpu   G0 on n1 max 700 W
        run 10:00 10:15 every 15 s incomer 10000 W
        run 10:00 10:10 every 15 s pdu-1    8000 W
        run 10:00 10:15 every 15 s G0        500 W busy
        close 10:15
        expect no pue meter pdu-1 does not cover 1
        expect reason meter pdu-1 at pdu-1 covers 600000 of 900000 ms
        expect unmetered:pdu-1 4350000000 mJ derived
        ",
    );
}

/// Loss (S11): IT upstream of its supply meter gives 0.8. It is a dispute of the board.
#[test]
fn s11_a_ratio_below_one_is_a_fault_of_metering() {
    check(
        "
        point incomer grid max 100000 W
        point pdu-1   pdu  max 40000 W
        run 10:00 10:15 every 15 s incomer  8000 W
        run 10:00 10:15 every 15 s pdu-1   10000 W
        close 10:15
        expect dispute:main 1800000000 mJ
        expect no pue the meters around main contradict
        ",
    );
}

/// Loss (A13, P9): a second node claims a GPU and doubles or steals its energy.
#[test]
fn a_subject_bound_to_one_node_is_not_anothers() {
    check(
        "
        gpu    G0 on n1 max 700 W
        at 10:00:00 G0 = 1000000
        gpu    G0 on n2 max 700 W
        at 10:00:01 G0 = 1400000                     -> booked
        event bound_elsewhere G0
        close 10:15
        expect node:n1 400000 mJ
        expect node:n2 0 mJ
        ",
    );
}

/// Loss (S1): the agent reboots the node and the count restarts above its old value. Only the
/// epoch tells; subtracting would book a difference that never was.
#[test]
fn s1_a_new_epoch_is_a_reset_even_when_the_count_is_higher() {
    check(
        "
        gpu    G0 on n1 max 700 W epoch 1
        at 10:00:00 G0 = 10000
        at 10:00:01 G0 = 110000                      -> booked
        gpu    G0 on n1 max 700 W epoch 2
        at 10:01:00 G0 = 6000000                     -> reset
        booked G0 measured 6100000 mJ
        booked G0 estimated 0 mJ
        ",
    );
}
