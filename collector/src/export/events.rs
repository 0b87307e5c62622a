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
        for ((gpu, code), count) in &counts.xids {
            let code = code.map_or_else(|| "other".to_owned(), |code| code.to_string());
            let labels = [place.hub, place.node, gpu, &code];
            text.line(&c::GPU_XIDS, &labels, Value::Count(*count));
        }
    });
    each(text, scenes, |text, place, counts| {
        for (gpu, at) in &counts.last_xid {
            text.line(&c::GPU_LAST_XID, &[place.hub, place.node, gpu], seconds(*at));
        }
    });
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
