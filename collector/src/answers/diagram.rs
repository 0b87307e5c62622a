//! `diagram`: the single-line diagram as a tree, with what passed each point in a period.

use std::collections::BTreeMap;

use clap::Args;
use serde::Deserialize;

use super::layout::{Amount, field, period, wrapped};
use super::{AnswerError, Said, Scope};
use crate::diagram::tree::Of;
use crate::diagram::{Plan, PlanNode, PlanPoint, PlanRole};

#[derive(Debug, Args)]
pub struct Ask {
    #[command(flatten)]
    scope: Scope,
    /// The API's answer as it came.
    #[arg(long)]
    json: bool,
}

/// `/v1/hubs/{hub}/diagram`
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    hub: String,
    from: String,
    to: String,
    pue_category: Option<u8>,
    main: Option<Passed>,
    points: Vec<Point>,
    nodes: Vec<Node>,
    doubts: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Passed {
    energy_mj: Amount,
}

#[derive(Debug, Deserialize)]
struct Point {
    id: String,
    role: PlanRole,
    fed_by: Option<String>,
    meter: Option<String>,
    passed: Option<Passed>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    fed_by: String,
    passed: Option<Passed>,
}

pub(super) async fn answer(asked: &Ask) -> Result<Said, AnswerError> {
    Ok(asked.scope.ask("diagram").await?.json_or(asked.json, Answer::show))
}

impl Answer {
    pub(super) fn show(&self) -> String {
        let mut text = field("hub", &self.hub);
        text.push_str(&period(&self.from, &self.to));
        text.push('\n');
        let plan = self.plan();
        if plan.is_empty() {
            text.push_str("no diagram is declared: every node is booked apart, as unplaced\n");
            return text;
        }
        let points = self.points.iter().map(|point| (point.id.as_str(), &point.passed));
        let points: BTreeMap<&str, &Option<Passed>> = points.collect();
        let nodes = self.nodes.iter().map(|node| (node.id.as_str(), &node.passed));
        let nodes: BTreeMap<&str, &Option<Passed>> = nodes.collect();
        let known = |passed: Option<&&Option<Passed>>| Some(passed?.as_ref()?.energy_mj);
        text.push_str(&plan.tree_with(|of| {
            let energy = match of {
                Of::Board => self.main.as_ref().map(|main| main.energy_mj),
                Of::Point { point, .. } => known(points.get(point.id.as_str())),
                Of::Nodes { ids, .. } => {
                    let all = ids.iter().filter_map(|id| known(nodes.get(id.as_str())));
                    let all: Vec<Amount> = all.collect();
                    (!all.is_empty()).then(|| Amount::sum(all.into_iter()))
                }
            };
            energy.map_or_else(|| "-".to_owned(), Amount::human)
        }));
        text.push('\n');
        for doubt in &self.doubts {
            text.push_str(&format!("\n! {}\n", wrapped(doubt, 76).join("\n  ")));
        }
        text
    }

    fn plan(&self) -> Plan {
        let point = |point: &Point| PlanPoint {
            id: point.id.clone(),
            role: point.role,
            meter: point.meter.clone(),
            fed_by: point.fed_by.clone(),
        };
        let node = |node: &Node| PlanNode { id: node.id.clone(), fed_by: node.fed_by.clone() };
        Plan {
            pue_category: self.pue_category,
            points: self.points.iter().map(point).collect(),
            nodes: self.nodes.iter().map(node).collect(),
            // Nothing else of a plan is drawn.
            ..Plan::default()
        }
    }
}
