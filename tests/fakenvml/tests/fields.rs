//! Field values of links, limits and modules, and fields that misbehave.

mod common;

use std::sync::LazyLock;

use common::{handle, one, read};
use fakenvml::{Scenario, expected_energy_mj, expected_module_energy_mj};
use nvml_wrapper_sys::bindings::nvmlDevice_t;

const INVALID_ARGUMENT: u32 = 2;
const NOT_SUPPORTED: u32 = 3;
const UNKNOWN: u32 = 999;

const HOPPER: usize = 0;
const GRACE_HOPPER: usize = 1;
const BLACKWELL: usize = 2;
const BARE: usize = 3;

static SCENARIO: LazyLock<Scenario> = LazyLock::new(|| common::start("fields.toml"));

fn gpu(index: usize) -> nvmlDevice_t {
    LazyLock::force(&SCENARIO);
    handle(index)
}

#[test]
fn distances_to_limits_are_signed() {
    let values = read(gpu(HOPPER), &[193, 194, 195, 196].map(|field| (field, 0)));
    assert!(values.iter().all(|value| (value.nvmlReturn, value.valueType) == (0, 5)));
    // SAFETY: the type says which member was written.
    let celsius: Vec<_> = values.iter().map(|value| unsafe { value.value.siVal }).collect();
    assert_eq!(celsius, [-8, -2, 3, 0]);
}

#[test]
fn links_of_the_fourth_generation_count_in_three_fields() {
    let count = |field, link| one(gpu(HOPPER), field, link);
    assert_eq!([161, 162, 163].map(|field| count(field, 2)), [(0, 3, 1), (0, 3, 2), (0, 3, 300)]);
    assert_eq!(count(163, 3), (0, 3, 5));
    assert_eq!(count(163, 4).0, INVALID_ARGUMENT);
    assert_eq!(count(208, 2).0, NOT_SUPPORTED);
    assert_eq!([38, 52, 59, 91].map(|field| count(field, 0).2), [305, 1, 2, 4]);
    assert_eq!([2, 3].map(|link| count(165, link).2), [1, 0]);
    assert_eq!((count(164, 0).2, count(166, 0).2), (26_562, 6));
}

#[test]
fn links_of_the_fifth_generation_have_counters_of_their_own() {
    let fields = [206, 207, 208, 209, 210, 211, 213, 214, 215, 219, 220, 221, 222];
    for field in fields {
        assert_eq!(one(gpu(BLACKWELL), field, 17), (0, 3, field.into()));
        assert_eq!(one(gpu(BLACKWELL), field, 16), (0, 3, 0));
    }
    assert_eq!(one(gpu(BLACKWELL), 163, 17).0, NOT_SUPPORTED);
    assert_eq!((one(gpu(BLACKWELL), 91, 0).2, one(gpu(BLACKWELL), 166, 0).2), (18, 7));
}

#[test]
fn pcie_counts_each_error_for_itself() {
    let fields = [94, 95, 169, 173, 174, 175, 176, 177, 178, 179, 180, 181, 182, 183];
    let counts = fields.map(|field| one(gpu(HOPPER), field, 0));
    assert!(counts.iter().all(|(code, kind, _)| (*code, *kind) == (0, 1)));
    assert_eq!(counts.map(|(.., count)| count), [7, 0, 9, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0]);
}

/// Goal: both scopes of one moment are the scenario's, to the millijoule.
#[test]
fn a_module_is_a_scope_of_its_own() {
    for _ in 0..200 {
        let fields = [(83, 0), (191, 0), (191, 1), (185, 1), (186, 1)];
        let values = read(gpu(GRACE_HOPPER), &fields);
        assert!(values.iter().all(|value| value.nvmlReturn == 0));
        // SAFETY: the unions were written as a whole.
        let energies = [0, 1, 2].map(|index: usize| unsafe { values[index].value.ullVal });
        assert_eq!(energies, [energies[0]; 3]);
        assert!(energies[0] >= 99);
    }
    assert_eq!([185, 186].map(|field| one(gpu(GRACE_HOPPER), field, 0).0), [NOT_SUPPORTED; 2]);
    let module_mj = expected_module_energy_mj(&SCENARIO, GRACE_HOPPER, 80_000);
    assert_eq!(module_mj, Some(expected_energy_mj(&SCENARIO, GRACE_HOPPER, 80_000)));
    assert_eq!([170, 231, 232, 233].map(|field| one(gpu(GRACE_HOPPER), field, 0).2), [10, 1, 2, 3]);
}

#[test]
fn a_module_beside_its_gpu_draws_more() {
    let power = |scope| one(gpu(BLACKWELL), 186, scope);
    assert_eq!([power(0), power(1)], [(0, 1, 160_000), (0, 1, 460_000)]);
    assert_eq!(power(2).0, NOT_SUPPORTED);
    let limits = [187, 188, 189, 190, 192].map(|field| one(gpu(BLACKWELL), field, 1));
    assert_eq!(limits[0].0, NOT_SUPPORTED);
    assert!(limits[1..].iter().all(|(code, _, limit_mw)| (*code, *limit_mw) == (0, 2_500_000)));
    let [own_mj, whole_mj] = [0, 1].map(|scope| one(gpu(BLACKWELL), 191, scope).2);
    assert!(whole_mj >= own_mj);
    assert_eq!(one(gpu(HOPPER), 186, 1).0, NOT_SUPPORTED);
    assert_eq!(one(gpu(HOPPER), 231, 0).0, NOT_SUPPORTED);
}

/// Goal: the two ways in which a field has fooled its readers: a double where an integer belongs,
/// and rubbish under a code of its own in a call that succeeds.
#[test]
fn a_field_may_lie_about_its_type_or_fail_alone() {
    let values = read(gpu(HOPPER), &[(187, 0), (188, 0), (189, 0)]);
    assert_eq!([0, 1, 2].map(|index: usize| values[index].nvmlReturn), [UNKNOWN, 0, 0]);
    // SAFETY: the unions were written as a whole.
    assert_eq!(unsafe { values[0].value.ullVal }, 4_991_201_436_214_789_335);
    assert_eq!([1, 2].map(|index: usize| values[index].valueType), [1, 0]);
    // SAFETY: the type says that it is a double.
    let double = unsafe { values[2].value.dVal };
    assert!((double - 700_000.0).abs() < 0.5);
}

#[test]
fn boards_without_links_and_limits_say_so() {
    let fields = [94, 178, 91, 161, 193, 230];
    assert_eq!(fields.map(|field| one(gpu(BARE), field, 0).0), [NOT_SUPPORTED; 6]);
}
