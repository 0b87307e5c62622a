//! Random lives of a log, full of power cuts: nothing durable is ever lost.

use proptest::prelude::*;

use crate::world::{Action, World};

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => prop_oneof![0..60_usize, 400..900_usize].prop_map(|bytes| Action::Append { bytes }),
        6 => Just(Action::Commit),
        1 => Just(Action::Discard),
        1 => Just(Action::Seal),
        2 => (0..6_u64).prop_map(|back| Action::Advance { back }),
        1 => (0..6_u64).prop_map(|back| Action::Rewind { back }),
        2 => (0..6_u64).prop_map(|back| Action::Unlink { back }),
        1 => Just(Action::Kill),
        1 => Just(Action::PowerCut),
        2 => (0..12_u64).prop_map(|nth| Action::CutAt { nth }),
        1 => (0..30_u64).prop_map(|nth| Action::DoubleCut { nth }),
    ]
}

fn live(world: &mut World, actions: &[Action]) -> Result<(), String> {
    world.restart()?;
    for (step, action) in actions.iter().enumerate() {
        world.apply(*action).map_err(|e| format!("step {step}, {action:?}: {e}"))?;
    }
    world.apply(Action::PowerCut)?;
    // Live again: whatever happened, the next record can be kept.
    world.apply(Action::Append { bytes: 5 })?;
    world.apply(Action::Commit)?;
    world.apply(Action::Kill)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn d1_c1_c4_no_cut_loses_what_was_committed(
        seed: u64,
        actions in prop::collection::vec(action(), 1..80),
    ) {
        let mut world = World::new(seed);
        live(&mut world, &actions).map_err(TestCaseError::fail)?;
    }
}

/// A fixed life: commits, segment changes and a cut.
fn short_life() -> Vec<Action> {
    let mut actions = Vec::new();
    for bytes in [100, 700, 800, 300, 900, 20, 800] {
        actions.extend([Action::Append { bytes }, Action::Append { bytes: 9 }, Action::Commit]);
    }
    actions.extend([Action::Advance { back: 1 }, Action::Unlink { back: 0 }, Action::PowerCut]);
    actions
}

/// Goal: the harness has teeth. A disk whose sync does nothing must break the promise.
#[test]
fn planted_bug_a_sync_that_lies_is_caught() {
    let caught = |lies: bool| {
        (0..50)
            .filter(|seed| {
                let mut world = World::new(*seed);
                world.disk.set_sync_lies(lies);
                live(&mut world, &short_life()).is_err()
            })
            .count()
    };
    assert_eq!(caught(false), 0);
    assert_eq!(caught(true), 50);
}

#[test]
fn same_seed_same_history() {
    let history = || {
        let mut world = World::new(11);
        live(&mut world, &short_life()).expect("an honest disk");
        let files = world.disk.files();
        (world.disk.operations(), files.iter().map(|f| world.disk.contents(f)).collect::<Vec<_>>())
    };
    assert_eq!(history(), history());
}
