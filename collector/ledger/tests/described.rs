//! What a figure says of its meters where IT is measured at nodes, and which policy it is under.

#![expect(clippy::unwrap_used, reason = "a test says what it expects")]

use std::collections::BTreeMap;

use bijli_ledger::pue::Unstated;
use bijli_ledger::{
    Activity, Books, Category, Diagram, DiagramError, Meter, NoPue, Point, PointId, Pue, PuePolicy,
    Role, Rules,
};
use bijli_wire::batch::{Register, Subject};
use bijli_wire::{HubId, Method, Millis, Milliwatts, NodeId, SubjectId, SubjectKind, UtcMillis};

const QUARTER: i64 = 900_000;

fn subject(name: &str, kind: SubjectKind) -> Subject {
    let register = Register {
        numerator: 1,
        denominator: 1,
        modulus: None,
        power_max: Milliwatts::new(100_000_000),
        epoch: 1,
        method: Method::Hardware,
        gap: Millis::new(120_000),
    };
    Subject {
        id: SubjectId::new(name).unwrap(),
        kind,
        label: String::new(),
        model: String::new(),
        serial: String::new(),
        register: Some(register),
    }
}

/// One incomer and two nodes, category 3; these meters are described.
fn diagram(described: &[&str], policy: PuePolicy) -> Result<Diagram, DiagramError> {
    let point = |id: &str, role, meter: Option<&str>| Point {
        id: PointId::new(id).unwrap(),
        role,
        meter: meter.map(|name| SubjectId::new(name).unwrap()),
        fed_by: None,
    };
    let points = vec![point("inc", Role::Grid, Some("m-inc")), point("pdu", Role::Pdu, None)];
    let nodes = ["n1", "n2"].map(|n| (NodeId::new(n).unwrap(), PointId::new("pdu").unwrap()));
    let meters: BTreeMap<SubjectId, Meter> = described
        .iter()
        .map(|name| {
            let class = "1".parse().ok();
            (SubjectId::new(name).unwrap(), Meter { class, ..Meter::default() })
        })
        .collect();
    Diagram::new(points, nodes.into(), Category::ItInput)?.with(meters, policy)
}

/// An hour: 1,000 W come in, the nodes use 400 W each; `blind` seconds of the incomer's hour are
/// lost with its count, and estimated.
fn hour(diagram: Diagram, blind: i64) -> Result<Pue, NoPue> {
    let mut books = Books::new(HubId::new("isb").unwrap(), Rules::default());
    books.set_diagram(UtcMillis::new(0), diagram);
    let gateway = NodeId::new("gw").unwrap();
    for node in ["n1", "n2"] {
        let _new = books.declare(&NodeId::new(node).unwrap(), &subject(node, SubjectKind::Node));
    }
    let _new = books.declare(&gateway, &subject("m-inc", SubjectKind::Meter));
    for step in 0..=240_i64 {
        let at = step * 15_000;
        let mut read = |name: &str, count| {
            let id = SubjectId::new(name).unwrap();
            let _verdict = books.read(&id, UtcMillis::new(at), Some(count), Activity::Unknown);
        };
        read("n1", at * 400);
        read("n2", at * 400);
        let since = at - 1_800_000;
        if since <= 0 {
            read("m-inc", at * 1_000);
        } else if since >= blind * 1_000 {
            // It began again from zero when it came back.
            read("m-inc", (since - blind * 1_000) * 1_000);
        }
    }
    books.advance(UtcMillis::new(4 * QUARTER + 120_000));
    books.pue(UtcMillis::new(0), UtcMillis::new(4 * QUARTER))
}

#[test]
fn nodes_that_are_described_have_their_share_of_the_uncertainty() {
    let all = diagram(&["m-inc", "n1", "n2"], PuePolicy::default()).unwrap();
    let pue = hour(all, 0).unwrap();
    assert_eq!((pue.total, pue.it), (3_600_000_000, 2_880_000_000));
    assert_eq!(pue.meters.len(), 3);
    // By hand: 2.5 x 0.01/sqrt(3) x sqrt(1 + 1/2), and x sqrt(2).
    let known = pue.uncertainty.unwrap();
    assert_eq!((known.independent_micro, known.correlated_micro), (17_678, 20_413));
}

/// Goal: a hub has many nodes; where not all are described, nothing is stated, and it says of how
/// much.
#[test]
fn a_node_that_is_not_described_leaves_the_uncertainty_unstated() {
    let pue = hour(diagram(&["m-inc", "n1"], PuePolicy::default()).unwrap(), 0).unwrap();
    let unstated = Unstated::Undescribed { millijoules: 1_440_000_000 };
    assert_eq!(pue.uncertainty, Err(unstated));
    let why = "not stated (nodes that are not described counted 400.000 Wh)";
    assert!(pue.to_string().ends_with(why), "{pue}");
}

#[test]
fn a_description_of_a_meter_that_is_nowhere_is_refused() {
    let refused = diagram(&["m-9"], PuePolicy::default()).unwrap_err();
    assert!(refused.to_string().contains("meter m-9 is described, but it counts at no point"));
}

/// Goal: S11 for estimates. 240 of 3600 s are estimated, 6.7 % of what came in: no figure by the
/// usual limit, one where the hub allows it, and then its ± is wider.
#[test]
fn a_figure_is_withheld_where_too_much_of_it_is_estimated() {
    let described = ["m-inc", "n1", "n2"];
    let usual = hour(diagram(&described, PuePolicy::default()).unwrap(), 240);
    let words = usual.unwrap_err().to_string();
    let expected = "240000000 of 3600000000 mJ of E_DC are estimated, more than the 5 % that";
    assert!(words.contains(expected), "{words}");
    let lenient = PuePolicy { estimated_ppm_max: 100_000, ..PuePolicy::default() };
    let pue = hour(diagram(&described, lenient).unwrap(), 240).unwrap();
    assert_eq!((pue.estimated, pue.it_estimated), (240_000_000, 0));
    let known = pue.uncertainty.unwrap();
    // By hand: u(E_DC)^2 gains (240/3600 x 15 %)^2 = 0.01^2.
    assert_eq!((known.independent_micro, known.correlated_micro), (30_619, 32_275));
}
