//! The lines of what happened at nodes: counts and times, so that a repeat is seen and nothing is
//! told for ever. A gauge of the last XID would hide the one and do the other.

use bijli_wire::UtcMillis;

use super::catalogue as c;
use super::scene::Scene;
use super::text::{Text, Value};
use crate::api::node_event_word;
use crate::events::Counts;

pub(super) fn write(text: &mut Text, scenes: &[Scene]) {
    each(text, scenes, |text, place, counts| {
        for (kind, count) in &counts.kinds {
            let labels = [place.hub, place.node, node_event_word(*kind)];
            text.line(&c::NODE_EVENTS, &labels, Value::Count(*count));
        }
    });
    each(text, scenes, |text, place, counts| {
        for ((gpu, code), xid) in &counts.xids {
            let labels = [place.hub, place.node, gpu, &number(*code)];
            text.line(&c::GPU_XIDS, &labels, Value::Count(xid.count));
        }
    });
    each(text, scenes, |text, place, counts| {
        for ((gpu, code), xid) in &counts.xids {
            let labels = [place.hub, place.node, gpu, &number(*code)];
            text.line(&c::GPU_LAST_XID, &labels, seconds(xid.last));
        }
    });
}

fn number(code: Option<u32>) -> String {
    code.map_or_else(|| "other".to_owned(), |code| code.to_string())
}

struct Place<'a> {
    hub: &'a str,
    node: &'a str,
}

/// One family over every node that is listed.
fn each(text: &mut Text, scenes: &[Scene], mut lines: impl FnMut(&mut Text, &Place, &Counts)) {
    for scene in scenes {
        for (node, counts) in &scene.counts {
            lines(text, &Place { hub: &scene.hub, node: node.as_str() }, counts);
        }
    }
}

fn seconds(at: UtcMillis) -> Value {
    Value::Milli(i128::from(at.get()))
}
