//! The demo's result as one JSON document: the collector's status, and every simulated node.
//!
//! Amounts are decimal strings, as everywhere in the API.

use serde::Serialize;

use super::HERE;
use crate::page::view::{Closed, HubView, NodeRow, View};
use crate::state::State;
use crate::status::Status;

#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// The hubs of which nothing is measured.
    simulated_hubs: Vec<String>,
    #[serde(flatten)]
    status: Status,
    nodes: Vec<NodeOutcome>,
}

#[derive(Debug, Serialize)]
struct NodeOutcome {
    hub: String,
    node: String,
    /// `node`, or `gateway`: it reads meters only.
    kind: &'static str,
    is_up: bool,
    gpus: usize,
    power_mw: Option<String>,
}

impl Outcome {
    pub(super) fn of(state: &State) -> Self {
        let view = View::of(state, &Closed::default());
        let simulated = view.hubs.iter().filter(|hub| hub.id != HERE);
        let nodes = |hub: &HubView| -> Vec<NodeOutcome> {
            hub.nodes.iter().map(|row| NodeOutcome::of(&hub.id, row)).collect()
        };
        Self {
            simulated_hubs: simulated.map(|hub| hub.id.clone()).collect(),
            status: Status::of(state),
            nodes: view.hubs.iter().flat_map(nodes).collect(),
        }
    }

    pub(super) fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        format!("{}\n", text.expect("strings and numbers can be written as JSON"))
    }
}

impl NodeOutcome {
    fn of(hub: &str, row: &NodeRow) -> Self {
        Self {
            hub: hub.to_owned(),
            node: row.id.clone(),
            kind: if row.is_gateway { "gateway" } else { "node" },
            is_up: row.is_up,
            gpus: row.gpus,
            power_mw: row.power_mw.map(|power| power.to_string()),
        }
    }
}
