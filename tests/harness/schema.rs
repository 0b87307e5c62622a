//! What the tests' own senders say that they measure: one GPU whose register counts millijoules.

use bijli_wire::batch::{Group, Register, Series, Subject};
use bijli_wire::{
    HubId, Method, Millis, Milliwatts, NodeId, Quantity, Schema, SubjectId, SubjectKind,
};

/// A node with one GPU of at most a kilowatt, whose register is read each second.
///
/// # Panics
/// When one of them is no id.
#[must_use]
pub fn of_one_gpu(hub: &str, node: &str, gpu: &str) -> Schema {
    let register = Register {
        numerator: 1,
        denominator: 1,
        modulus: None,
        power_max: Milliwatts::new(1_000_000),
        epoch: 1,
        method: Method::Hardware,
        gap: Millis::new(5_000),
    };
    Schema {
        hub: HubId::new(hub).expect("valid"),
        node: NodeId::new(node).expect("valid"),
        agent: "test".into(),
        subjects: vec![Subject {
            id: SubjectId::new(gpu).expect("valid"),
            kind: SubjectKind::Gpu,
            label: "0".into(),
            model: String::new(),
            serial: String::new(),
            register: Some(register),
        }],
        groups: vec![Group {
            cadence: Millis::new(1_000),
            series: vec![Series::new(0, Quantity::EnergyRegister, 0)],
        }],
    }
}
