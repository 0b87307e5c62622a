//! The protocol of ack, epoch, rewind and fork, searched exhaustively: two agents, one collector,
//! everything lost, doubled, late or reordered, disks lost, rolled back, cloned and restored.
//!
//! Every state that can be reached is visited once. In each, the promises are asked; and from each
//! the faults stop, and everything must drain. The rules of `model/world.rs` are the shortest
//! statement of the protocol there is; each of them is also left out once, and the search must
//! notice.

#[path = "model/collector.rs"]
mod collector;
#[path = "model/real.rs"]
mod real;
#[path = "model/world.rs"]
mod world;

use std::collections::{BTreeSet, HashSet, VecDeque};

use collector::Collector;
use harness::rng::Rng;
use real::Real;
use world::{Broken, Budget, Kind, Step, World};

const NO_FAULT: Budget = Budget {
    batches: 0,
    restarts: 0,
    rollbacks: 0,
    clones: 0,
    unlinks: 0,
    disk_losses: 0,
    backups: 0,
    portals: 0,
};
/// Random histories in which model and product are compared, and the frames of each.
const STORIES: u64 = 20_000;
const STORY_STEPS: usize = 14;
/// Rounds in which a healed system must be at rest.
const ROUNDS_MAX: usize = 12;
/// Batches that each agent makes after the faults.
const BATCHES_AFTER: usize = 3;

/// What a search saw.
#[derive(Debug)]
struct Seen {
    states: usize,
    broken: Option<String>,
}

/// Visits every state that can be reached, nearest first, until a promise is broken.
fn search(budget: Budget, rules: Broken) -> Seen {
    let first = World::new(budget);
    let mut known = HashSet::from([first.clone()]);
    let mut due = VecDeque::from([(first, Vec::<Step>::new())]);
    while let Some((world, path)) = due.pop_front() {
        let fault = safety(&world).or_else(|| liveness(&world, rules));
        if let Some(fault) = fault {
            let path: Vec<String> = path.iter().map(|step| format!("{step:?}")).collect();
            let broken = Some(format!("{fault}\n  {}", path.join("\n  ")));
            return Seen { states: known.len(), broken };
        }
        for step in world.steps() {
            let after = world.after(step, rules);
            if known.insert(after.clone()) {
                due.push_back((after, [&path[..], &[step]].concat()));
            }
        }
    }
    Seen { states: known.len(), broken: None }
}

/// What must hold in every state.
fn safety(world: &World) -> Option<String> {
    let mut once = BTreeSet::new();
    if let Some(twice) = world.collector.booked().find(|content| !once.insert(*content)) {
        return Some(format!("P2: {twice} is booked twice"));
    }
    let held = world.collector.held();
    let kept: BTreeSet<u8> = world.agents.iter().flat_map(|a| a.spool.bodies.clone()).collect();
    let is_somewhere = |content: &u8| {
        held.contains(content) || kept.contains(content) || world.ghost.excused.contains(content)
    };
    (1..=world.made).find(|content| !is_somewhere(content)).map(|gone| {
        let acked = if world.ghost.acked.contains(&gone) { "acked" } else { "waiting" };
        format!("P1: {gone}, {acked}, is nowhere any more")
    })
}

/// The faults stop here, and life goes on. Everything must come to rest, and be where it belongs,
/// whether what was under way arrives or not.
fn liveness(world: &World, rules: Broken) -> Option<String> {
    let arrived = healed(world.clone(), rules);
    let lost = World { under_way: BTreeSet::new(), ..world.clone() };
    arrived.or_else(|| healed(lost, rules))
}

fn healed(mut world: World, rules: Broken) -> Option<String> {
    world.budget = NO_FAULT;
    for _ in 0..BATCHES_AFTER {
        world = calm_round(&world, rules).unwrap_or(world);
        for who in
            (0..world.agents.len()).filter(|who| world.agents[*who].is_on).collect::<Vec<_>>()
        {
            world.budget.batches = 1;
            world = world.after(Step::Make(who), rules);
        }
    }
    for _ in 0..ROUNDS_MAX {
        let Some(next) = calm_round(&world, rules) else { return at_rest(&world) };
        world = next;
    }
    Some("P8: it does not come to rest".to_owned())
}

/// Everybody greets, sends all that waits, and hears the answers; `None`: nothing is left to do.
fn calm_round(world: &World, rules: Broken) -> Option<World> {
    let before = world.clone();
    let mut world = world.clone();
    for who in 0..world.agents.len() {
        if world.agents[who].is_on && !world.agents[who].is_greeted {
            world = world.after(Step::Greet(who), rules);
        }
        let waiting: Vec<_> = world.agents[who].spool.waiting().collect();
        let (is_on, epoch) = (world.agents[who].is_on, world.agents[who].spool.epoch);
        for (seq, _) in waiting {
            let is_same = is_on && world.agents[who].spool.epoch == epoch;
            if is_same && world.agents[who].is_greeted {
                world = world.after(Step::Send(who, seq), rules);
            }
        }
    }
    for kind in [Kind::Batch, Kind::Ack, Kind::Fork] {
        let arriving: Vec<_> = world.under_way.iter().filter(|m| m.kind == kind).copied().collect();
        for message in arriving {
            world = world.after(Step::Arrive(message), rules);
            world.under_way.remove(&message);
        }
    }
    (world != before).then_some(world)
}

/// What must hold when nothing is left to do.
fn at_rest(world: &World) -> Option<String> {
    let held = world.collector.held();
    let booked: BTreeSet<u8> = world.collector.booked().collect();
    for agent in world.agents.iter().filter(|agent| agent.is_on) {
        if agent.spool.waiting().next().is_some() {
            return Some(format!("P8: {agent:?} still waits"));
        }
        let missing = agent.spool.bodies.iter().find(|body| !held.contains(body));
        if let Some(missing) = missing {
            return Some(format!("P1: {missing} is kept by its agent and not on the disk"));
        }
    }
    let stuck = held.iter().find(|content| !booked.contains(content));
    stuck.map(|content| format!("P8: {content} is on the disk and never booked"))
}

fn clean(budget: Budget) -> usize {
    let seen = search(budget, Broken::Nothing);
    assert!(seen.broken.is_none(), "{}", seen.broken.unwrap_or_default());
    println!("{} states, no promise broken", seen.states);
    seen.states
}

/// Goal: restarts, lost and doubled messages, and unlinking after the keeping time.
#[test]
fn no_order_of_messages_and_restarts_breaks_a_promise() {
    let budget = Budget { batches: 3, restarts: 1, unlinks: 1, portals: 1, ..NO_FAULT };
    assert!(clean(budget) > 1_000);
}

/// Goal: C10, C11, D6. The collector loses its disk, or has yesterday's again.
#[test]
fn c10_c11_no_loss_of_the_collectors_disk_breaks_a_promise() {
    let budget = Budget { batches: 2, restarts: 1, unlinks: 1, disk_losses: 1, ..NO_FAULT };
    assert!(clean(budget) > 1_000);
    assert!(clean(Budget { batches: 3, backups: 1, unlinks: 1, ..NO_FAULT }) > 1_000);
}

/// Goal: A9, A10. An agent's disk is rolled back, or runs twice.
#[test]
fn a9_a10_no_clone_and_no_rolled_back_agent_breaks_a_promise() {
    assert!(clean(Budget { batches: 3, rollbacks: 1, restarts: 1, ..NO_FAULT }) > 1_000);
    assert!(clean(Budget { batches: 3, clones: 1, ..NO_FAULT }) > 1_000);
}

/// Goal: the search can fail. Each rule is left out once and must be missed.
#[test]
fn every_rule_that_is_left_out_is_missed() {
    let all = Budget { batches: 2, restarts: 1, unlinks: 1, ..NO_FAULT };
    let disk = Budget { batches: 2, disk_losses: 1, unlinks: 1, ..NO_FAULT };
    let portal = Budget { batches: 1, portals: 1, ..NO_FAULT };
    let forks = Budget { batches: 3, rollbacks: 1, ..NO_FAULT };
    for (rules, budget) in [
        (Broken::HelloReleases, &forks),
        (Broken::SettledKept, &disk),
        (Broken::NoRewind, &disk),
        (Broken::NoRenewal, &forks),
        (Broken::AckWithoutHash, &portal),
        (Broken::ForkIsDuplicate, &forks),
        (Broken::NoFloor, &disk),
        (Broken::EldersAwaited, &forks),
        (Broken::BookedOnReceipt, &all),
        (Broken::LastForgotten, &all),
    ] {
        let seen = search(budget.clone(), rules);
        let broken = seen.broken.unwrap_or_else(|| panic!("{rules:?} is not missed"));
        println!("{rules:?}: missed after {} states: {broken}", seen.states);
    }
}

/// Goal: what was searched is what runs. Any frames, in any order: the model's collector and the
/// product's admission give the same answers and book the same batches, epoch by epoch.
#[test]
fn the_products_admission_answers_as_the_model_does() {
    for story in 0..STORIES {
        let mut rng = Rng::new(story);
        let (mut model, mut real) = (Collector::default(), Real::default());
        let mut told = Vec::new();
        for _ in 0..STORY_STEPS {
            let (epoch, seq, content) =
                (1 + pick(&mut rng, 3), 1 + pick(&mut rng, 5), pick(&mut rng, 2));
            // Of one epoch and sequence there are two contents, and no content is anywhere else.
            let content = 1 + (epoch - 1) * 10 + (seq - 1) * 2 + content;
            let (expected, found) = if pick(&mut rng, 4) == 0 {
                told.push(format!("greet {epoch} from {seq}"));
                let known = model.greet(epoch, seq, Broken::Nothing);
                (format!("{known:?}"), format!("{:?}", real.greet(epoch, seq)))
            } else {
                told.push(format!("take {epoch}#{seq} = {content}"));
                let verdict = model.take(epoch, seq, content, Broken::Nothing);
                (format!("{verdict:?}"), format!("{:?}", real.take(epoch, seq, content)))
            };
            assert_eq!(expected, found, "story {story}: {told:#?}");
            for epoch in 0..3 {
                let of = |content: &u8| (content - 1) / 10 == epoch;
                let expected: Vec<u8> = model.booked().filter(of).collect();
                let found: Vec<u8> = real.booked.iter().copied().filter(of).collect();
                assert_eq!(expected, found, "story {story}, booked: {told:#?}");
            }
        }
    }
}

fn pick(rng: &mut Rng, below: u8) -> u8 {
    u8::try_from(rng.below(u64::from(below))).expect("small")
}
