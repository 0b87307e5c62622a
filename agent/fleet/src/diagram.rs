//! The hub's single-line diagram in the collector's configuration format.

use std::fmt::Write as _;

use bijli_wire::NodeId;

use crate::meter::{Point, Role};
use crate::spec::FleetSpec;

/// The `[[hub]]` table of `spec` with its points and the point that feeds each node. Names hold
/// no character that TOML would have escaped: `FleetSpec::check` and the wire's ids see to that.
pub(crate) fn toml<'a>(
    spec: &FleetSpec,
    points: impl Iterator<Item = &'a Point>,
    nodes: impl Iterator<Item = (&'a NodeId, &'a str)>,
) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        writeln!(text, "{words}").expect("a String takes every write");
    };
    line(format_args!("[[hub]]\nid = \"{}\"\ntitle = \"{}\"", spec.hub, spec.title));
    line(format_args!("pue_category = 1\npue_standard = \"ISO/IEC 30134-2:2026\""));
    // Every node's agent and the gateway's.
    line(format_args!("expected_nodes = {}", u64::from(spec.nodes) + 1));
    let points: Vec<&Point> = points.collect();
    for point in &points {
        line(format_args!("\n[[hub.point]]\nid = \"{}\"", point.id));
        line(format_args!("role = \"{}\"\nmeter = \"{}\"", point.role.as_str(), point.meter));
        if let Some(feeder) = &point.fed_by {
            line(format_args!("fed_by = \"{feeder}\""));
        }
    }
    // The meters that PUE rests on are of a usual class, so that a figure has its ±.
    let measures =
        |point: &&&Point| matches!(point.role, Role::Grid | Role::Generator | Role::UpsOut);
    for point in points.iter().filter(measures) {
        line(format_args!("\n[[hub.meter]]\nid = \"{}\"\nmodel = \"Simulated\"", point.meter));
        line(format_args!("class = \"0.5S\"\nstandard = \"IEC 62053-22:2020, simulated\""));
    }
    for (node, pdu) in nodes {
        line(format_args!("\n[[hub.node]]\nid = \"{node}\"\nfed_by = \"{pdu}\""));
    }
    text
}
