//! `/v1/hubs/{hub}/diagram`: the single-line diagram in force, what passed each point of it in a
//! period, and what it leaves open.

use serde::Serialize;

use super::amount::{Amount, time};
use super::asked::Asked;
use super::past::Past;
use super::query::Period;
use super::{Answer, answer};
use crate::diagram::tree::{Carried, Of};

#[derive(Debug, Serialize)]
pub(super) struct DiagramAnswer {
    hub: String,
    from: String,
    to: String,
    pue_category: Option<u8>,
    /// What came in at the main board; null: nothing was booked of it.
    main: Option<Amount>,
    /// In the order of the tree: a point's own follow it.
    points: Vec<PointAnswer>,
    nodes: Vec<NodeAnswer>,
    /// What the diagram leaves open, in words.
    doubts: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PointAnswer {
    id: String,
    role: &'static str,
    fed_by: Option<String>,
    meter: Option<String>,
    /// PUE takes the energy of IT here.
    is_it: bool,
    passed: Option<Amount>,
}

#[derive(Debug, Serialize)]
struct NodeAnswer {
    id: String,
    fed_by: String,
    passed: Option<Amount>,
}

pub(super) async fn diagram(asked: Asked) -> Answer<DiagramAnswer> {
    answer(move || {
        let (parameters, hub) = (asked.parameters(&["from", "to"])?, asked.hub()?);
        let plan = hub.view().plan.clone();
        let (Period { from, to }, flows) = {
            let books = hub.books();
            let period = asked.period(&parameters, &books)?;
            match Past::of(&asked, (&hub, &books), &period, None)? {
                None => (period, books.flows(period.from, period.to)),
                Some(past) => {
                    drop(books);
                    (period, past.flows()?)
                }
            }
        };
        let carried = Carried::of(&flows);
        let points = plan.rows().into_iter().filter_map(|row| match row.of {
            Of::Point { point, is_it } => Some(PointAnswer {
                passed: carried.point(&point).map(Amount::of),
                role: point.role.word(),
                id: point.id,
                fed_by: point.fed_by,
                meter: point.meter,
                is_it,
            }),
            Of::Board | Of::Nodes { .. } => None,
        });
        let nodes = plan.nodes.iter().map(|node| NodeAnswer {
            id: node.id.clone(),
            fed_by: node.fed_by.clone(),
            passed: carried.node(&node.id).map(Amount::of),
        });
        Ok(DiagramAnswer {
            hub: hub.id.to_string(),
            from: time(from),
            to: time(to),
            pue_category: plan.pue_category,
            main: carried.at(&Of::Board).map(Amount::of),
            points: points.collect(),
            nodes: nodes.collect(),
            doubts: plan.doubts(),
        })
    })
    .await
}
