//! A made-up month of a national fleet that knows its own exact energy: three hubs, lanes of one,
//! two or four GPUs, one job after the other on each, a hundred thousand a day on 24,000 GPUs.
//!
//! Every power is whole watts and every edge a millisecond, so every energy is whole millijoules.

use harness::rng::Rng;

pub(crate) const DAY_MS: i64 = 86_400_000;
/// 2026-07-01T00:00:00Z.
pub(crate) const BEGIN: i64 = 1_782_864_000_000;
pub(crate) const DAYS: i64 = 30;
pub(crate) const END: i64 = BEGIN + DAYS * DAY_MS;
pub(crate) const HUBS: [&str; 3] = ["isb", "khi", "lhe"];
pub(crate) const GPUS_PER_NODE: u64 = 8;
/// Nodes of a hub of the whole fleet, and of the part that others are loaded with too.
pub(crate) const NODES: u64 = 1_000;
pub(crate) const NODES_OF_A_PART: u64 = 5;
/// Projects of the fund, each with an account of its own; a few have most of the jobs.
pub(crate) const PROJECTS: u64 = 400;
/// Widths of a node's lanes.
const LANES: [u64; 4] = [1, 1, 2, 4];
/// A host's share for each of its GPUs.
pub(crate) const HOST_WATTS: u64 = 50;
const FREE_WATTS: u64 = 70;
const LOADING_WATTS: u64 = 90;

/// A job and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) job: u64,
    pub(crate) project: u64,
}

/// Time in which nothing changes; of each GPU of a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) holder: Option<Holder>,
    pub(crate) is_active: bool,
    pub(crate) watts: u64,
}

/// GPUs of one node that jobs hold together.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) hub: usize,
    pub(crate) node: u64,
    pub(crate) first_gpu: u64,
    pub(crate) gpus: u64,
    pub(crate) stretches: Vec<Stretch>,
}

/// The lanes of a hub of so many nodes, node by node.
pub(crate) fn lanes(hub: usize, nodes: u64) -> impl Iterator<Item = Lane> {
    (0..nodes).flat_map(move |node| {
        let mut first_gpu = 0;
        LANES.into_iter().map(move |gpus| {
            let lane =
                Lane { hub, node, first_gpu, gpus, stretches: stretches(hub, node, first_gpu) };
            first_gpu += gpus;
            lane
        })
    })
}

pub(crate) fn ms(span: i64) -> u64 {
    u64::try_from(span).expect("time goes on")
}

fn stretches(hub: usize, node: u64, lane: u64) -> Vec<Stretch> {
    let hub = u64::try_from(hub).expect("small");
    let place = (hub * NODES + node) * GPUS_PER_NODE + lane;
    let mut rng = Rng::new(place);
    let mut draw =
        |from: i64, to: i64| from + i64::try_from(rng.below(ms(to - from))).expect("small");
    let (mut stretches, mut at, mut number) = (Vec::new(), BEGIN, 0);
    let mut push = |at: &mut i64, long: i64, holder, is_active, watts| {
        let (from, to) = (*at, (*at + long).min(END));
        if from < to {
            stretches.push(Stretch { from, to, holder, is_active, watts });
        }
        *at = to;
    };
    while at < END {
        // Mean gap 20 min, mean job 2 h 33 min: 8.3 jobs a day.
        push(&mut at, draw(1, 2_400_000), None, false, FREE_WATTS);
        let is_short = draw(0, 10) < 3;
        let long = if is_short { draw(20_000, 120_000) } else { draw(300_000, 25_868_000) };
        let skewed = ms(draw(0, 1_000) * draw(0, 1_000)) * PROJECTS / 1_000_000;
        let holder = Some(Holder { job: place * 10_000 + number, project: skewed });
        number += 1;
        push(&mut at, long / 10, holder, false, LOADING_WATTS);
        let watts = ms(draw(200, 700));
        push(&mut at, long - long / 10, holder, true, watts);
    }
    stretches
}

/// What a project's GPUs used in the month, in millijoules, by project.
pub(crate) fn truth(nodes: u64) -> Vec<u64> {
    let mut used = vec![0; usize::try_from(PROJECTS).expect("few")];
    for lane in (0..HUBS.len()).flat_map(|hub| lanes(hub, nodes)) {
        for stretch in &lane.stretches {
            let Some(holder) = stretch.holder else { continue };
            let energy = stretch.watts * ms(stretch.to - stretch.from) * lane.gpus;
            used[usize::try_from(holder.project).expect("few")] += energy;
        }
    }
    used
}

pub(crate) fn project(number: u64) -> String {
    format!("p{number:03}")
}
