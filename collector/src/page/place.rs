//! Accounts as places of the drawing: many accounts, few boxes.
//!
//! Nodes and devices become one box, a load's point and its use become one, and what would be too
//! many boxes to read is folded into one that says how many it holds. Folding moves no energy.

use std::collections::{BTreeMap, BTreeSet};

use bijli_ledger::{Account, PointId, Share};
use bijli_wire::ProjectId;

/// Energy by giver and receiver, as the books answer.
pub(crate) type Flows = BTreeMap<(Account, Account), u128>;

/// A box. The order is the order on the page, from top to bottom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Supply(Supply, String),
    Main,
    Point(PointId),
    MorePoints(usize),
    It,
    Project(ProjectId),
    MoreProjects(usize),
    Unattributed,
    Idle,
    HostOverhead,
    Use(Use, PointId),
    UpsLoss(PointId),
    /// What meters saw and none below them explains, of all points.
    Unmetered,
    /// Of all cables and boards: each by itself is too little to see.
    Distribution,
    MoreLosses(usize),
}

/// Where energy comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Supply {
    Grid,
    Solar,
    Generator,
    Store,
    Unplaced,
    Missing,
    Dispute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    Cooling,
    Lighting,
    Other,
}

/// The look of a band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tone {
    Supply,
    Doubt,
    Main,
    It,
    Active,
    HeldIdle,
    Host,
    Free,
    Cooling,
    Loss,
}

impl Tone {
    /// The style sheet's class.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Supply => "supply",
            Self::Doubt => "doubt",
            Self::Main => "main",
            Self::It => "it",
            Self::Active => "active",
            Self::HeldIdle => "held",
            Self::Host => "host",
            Self::Free => "free",
            Self::Cooling => "cooling",
            Self::Loss => "loss",
        }
    }
}

impl Place {
    /// In words for people.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::Supply(supply, id) => match supply {
                Supply::Grid => named("Grid", id),
                Supply::Solar => named("Solar", id),
                Supply::Generator => named("Generator", id),
                Supply::Store => named("Battery", id),
                Supply::Unplaced => "Outside the diagram".to_owned(),
                Supply::Missing => format!("Unmetered at {id}"),
                Supply::Dispute => format!("Disputed at {id}"),
            },
            Self::Main => "Main board".to_owned(),
            Self::Point(id) => id.to_string(),
            Self::MorePoints(count) => format!("{count} more points"),
            Self::It => "IT equipment".to_owned(),
            Self::Project(project) => project.to_string(),
            Self::MoreProjects(count) => format!("{count} more projects"),
            Self::Unattributed => "Unattributed".to_owned(),
            Self::Idle => "Idle, unallocated".to_owned(),
            Self::HostOverhead => "Host overhead".to_owned(),
            Self::Use(what, id) => match what {
                Use::Cooling => named("Cooling", id.as_str()),
                Use::Lighting => named("Lighting", id.as_str()),
                Use::Other => named("Other", id.as_str()),
            },
            Self::UpsLoss(id) => format!("UPS loss {id}"),
            Self::Unmetered => "Unmetered".to_owned(),
            Self::Distribution => "Distribution losses".to_owned(),
            Self::MoreLosses(count) => format!("{count} more losses"),
        }
    }

    /// In a word, for narrow screens.
    pub(crate) fn short(&self) -> String {
        match self {
            Self::Supply(supply, _) => match supply {
                Supply::Grid => "Grid".to_owned(),
                Supply::Solar => "Solar".to_owned(),
                Supply::Generator => "Genset".to_owned(),
                Supply::Store => "Battery".to_owned(),
                Supply::Unplaced => "Outside".to_owned(),
                Supply::Missing => "Unmetered".to_owned(),
                Supply::Dispute => "Disputed".to_owned(),
            },
            Self::Main => "Board".to_owned(),
            Self::It => "IT".to_owned(),
            Self::Idle => "Unallocated".to_owned(),
            Self::Distribution => "Distribution".to_owned(),
            Self::Point(_)
            | Self::MorePoints(_)
            | Self::Project(_)
            | Self::MoreProjects(_)
            | Self::Unattributed
            | Self::HostOverhead
            | Self::Use(..)
            | Self::UpsLoss(_)
            | Self::Unmetered
            | Self::MoreLosses(_) => self.title(),
        }
    }

    pub(crate) const fn tone(&self) -> Tone {
        match self {
            Self::Supply(supply, _) => match supply {
                Supply::Grid | Supply::Solar | Supply::Generator | Supply::Store => Tone::Supply,
                Supply::Unplaced | Supply::Missing | Supply::Dispute => Tone::Doubt,
            },
            Self::Main | Self::Point(_) | Self::MorePoints(_) => Tone::Main,
            Self::It => Tone::It,
            Self::Project(_) | Self::MoreProjects(_) => Tone::Active,
            Self::Unattributed => Tone::Doubt,
            Self::Idle | Self::HostOverhead => Tone::Free,
            Self::Use(what, _) => match what {
                Use::Cooling => Tone::Cooling,
                Use::Lighting | Use::Other => Tone::Loss,
            },
            Self::UpsLoss(_) | Self::Unmetered | Self::Distribution | Self::MoreLosses(_) => {
                Tone::Loss
            }
        }
    }

    /// Energy ends here.
    pub(crate) const fn is_end(&self) -> bool {
        match self {
            Self::Project(_)
            | Self::MoreProjects(_)
            | Self::Unattributed
            | Self::Idle
            | Self::HostOverhead
            | Self::Use(..)
            | Self::UpsLoss(_)
            | Self::Unmetered
            | Self::Distribution
            | Self::MoreLosses(_) => true,
            Self::Supply(..) | Self::Main | Self::Point(_) | Self::MorePoints(_) | Self::It => {
                false
            }
        }
    }
}

/// `Cooling chiller-1`, and `Cooling` where the point is called just that.
fn named(kind: &str, id: &str) -> String {
    if id.eq_ignore_ascii_case(kind) { kind.to_owned() } else { format!("{kind} {id}") }
}

/// The bands between places, by giver, receiver and look.
pub(crate) type Bands = BTreeMap<(Place, Place, Tone), u128>;

/// How much the drawing shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Every point of the diagram.
    Full,
    /// The diagram's points are one box, for narrow screens.
    Compact,
}

/// Boxes of one kind before the smallest are folded.
const BOXES_MAX: usize = 8;

/// Books to bands. What stays within a box is not drawn.
pub(crate) fn bands(flows: &Flows, detail: Detail) -> Bands {
    let loads = loads(flows);
    let mut bands = Bands::new();
    for ((from, to), energy) in flows {
        let places = (place(from, &loads, detail), place(to, &loads, detail));
        let tone = tone(to, &places.1);
        add(&mut bands, (places.0, places.1, tone), *energy);
    }
    fold_small(bands)
}

fn add(bands: &mut Bands, (from, to, tone): (Place, Place, Tone), energy: u128) {
    if from != to && energy > 0 {
        let sum = bands.entry((from, to, tone)).or_default();
        *sum = sum.saturating_add(energy);
    }
}

/// Points whose whole energy is a use of their own.
fn loads(flows: &Flows) -> BTreeMap<PointId, Use> {
    let of = |account: &Account| match account {
        Account::Cooling(id) => Some((id.clone(), Use::Cooling)),
        Account::Lighting(id) => Some((id.clone(), Use::Lighting)),
        Account::Other(id) => Some((id.clone(), Use::Other)),
        Account::Grid(_)
        | Account::Generator(_)
        | Account::Solar(_)
        | Account::Store(_)
        | Account::Dispute(_)
        | Account::DisputeNode(_)
        | Account::Missing(_)
        | Account::Unplaced(_)
        | Account::Point(_)
        | Account::Node(_)
        | Account::Gpu(_)
        | Account::Cpu(_)
        | Account::Dram(_)
        | Account::LossUps(_)
        | Account::LossDistribution(_)
        | Account::Unmetered(_)
        | Account::Main
        | Account::IdleUnallocated
        | Account::Unattributed
        | Account::HostOverhead
        | Account::Project(..) => None,
    };
    flows.keys().filter_map(|(_, to)| of(to)).collect()
}

fn place(account: &Account, loads: &BTreeMap<PointId, Use>, detail: Detail) -> Place {
    let supply = |kind, id: &PointId| Place::Supply(kind, id.to_string());
    match account {
        Account::Grid(id) => supply(Supply::Grid, id),
        Account::Generator(id) => supply(Supply::Generator, id),
        Account::Solar(id) => supply(Supply::Solar, id),
        Account::Store(id) => supply(Supply::Store, id),
        Account::Dispute(id) => supply(Supply::Dispute, id),
        Account::DisputeNode(node) => Place::Supply(Supply::Dispute, node.to_string()),
        Account::Missing(id) => supply(Supply::Missing, id),
        Account::Unplaced(_) => Place::Supply(Supply::Unplaced, String::new()),
        Account::Point(id) => match (loads.get(id), detail) {
            (Some(what), _) => Place::Use(*what, id.clone()),
            (None, Detail::Full) => Place::Point(id.clone()),
            (None, Detail::Compact) => Place::Main,
        },
        Account::Node(_) | Account::Gpu(_) | Account::Cpu(_) | Account::Dram(_) => Place::It,
        Account::LossUps(id) => Place::UpsLoss(id.clone()),
        Account::LossDistribution(_) => Place::Distribution,
        Account::Cooling(id) => Place::Use(Use::Cooling, id.clone()),
        Account::Lighting(id) => Place::Use(Use::Lighting, id.clone()),
        Account::Other(id) => Place::Use(Use::Other, id.clone()),
        Account::Unmetered(_) => Place::Unmetered,
        Account::Main => Place::Main,
        Account::IdleUnallocated => Place::Idle,
        Account::Unattributed => Place::Unattributed,
        Account::HostOverhead => Place::HostOverhead,
        Account::Project(project, _) => Place::Project(project.clone()),
    }
}

fn tone(to: &Account, place: &Place) -> Tone {
    match to.project() {
        Some((_, Share::GpuActive)) => Tone::Active,
        Some((_, Share::GpuHeldIdle)) => Tone::HeldIdle,
        Some((_, Share::Host)) => Tone::Host,
        None => place.tone(),
    }
}

/// Replaces the smallest projects, and the smallest points that only pass on to IT, by one box.
fn fold_small(bands: Bands) -> Bands {
    let mut received: BTreeMap<&Place, u128> = BTreeMap::new();
    for ((_, to, _), energy) in &bands {
        let sum = received.entry(to).or_default();
        *sum = sum.saturating_add(*energy);
    }
    let projects = smallest(&received, |place| matches!(place, Place::Project(_)));
    let only_it = |point: &Place| {
        let mut below = bands.keys().filter(|(from, ..)| from == point).map(|(_, to, _)| to);
        below.all(|to| {
            matches!(to, Place::It | Place::UpsLoss(_) | Place::Unmetered | Place::Distribution)
        })
    };
    let is_last = |place: &Place| matches!(place, Place::Point(_)) && only_it(place);
    let points = smallest(&received, is_last);
    let losses = smallest(&received, |place| matches!(place, Place::UpsLoss(_)));
    let rename = |place: Place| {
        if projects.contains(&place) {
            Place::MoreProjects(projects.len())
        } else if points.contains(&place) {
            Place::MorePoints(points.len())
        } else if losses.contains(&place) {
            Place::MoreLosses(losses.len())
        } else {
            place
        }
    };
    let mut folded = Bands::new();
    for ((from, to, tone), energy) in bands.clone() {
        add(&mut folded, (rename(from), rename(to), tone), energy);
    }
    folded
}

/// All but the largest, if there are too many; the largest first, ties in the order of places.
fn smallest(
    received: &BTreeMap<&Place, u128>,
    is_kind: impl Fn(&Place) -> bool,
) -> BTreeSet<Place> {
    let mut places: Vec<(&Place, u128)> =
        received.iter().filter(|(place, _)| is_kind(place)).map(|(p, e)| (*p, *e)).collect();
    if places.len() <= BOXES_MAX {
        return BTreeSet::new();
    }
    places.sort_by_key(|(_, energy)| std::cmp::Reverse(*energy));
    places.into_iter().skip(BOXES_MAX - 1).map(|(place, _)| place.clone()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Flows from lines like `grid:incomer -> main 100`.
    pub(crate) fn flows(lines: &str) -> Flows {
        let mut flows = Flows::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (from, rest) = line.split_once(" -> ").expect("an arrow");
            let (to, energy) = rest.rsplit_once(' ').expect("an amount");
            let parse = |account: &str| account.parse().expect("an account");
            flows.insert((parse(from), parse(to)), energy.parse().expect("a number"));
        }
        flows
    }

    pub(crate) const SMALL: &str = "
        grid:incomer -> main 1000
        main -> point:ups-in 700
        main -> point:chiller 250
        main -> unmetered:main 50
        point:chiller -> cooling:chiller 250
        point:ups-in -> point:ups-out 660
        point:ups-in -> loss:ups:ups-in 40
        point:ups-out -> node:n1 660
        node:n1 -> gpu:g1 500
        node:n1 -> project:climate/host 100
        node:n1 -> host_overhead 60
        gpu:g1 -> project:climate/gpu_active 300
        gpu:g1 -> project:climate/gpu_held_idle 120
        gpu:g1 -> idle:unallocated 80";

    fn sums(bands: &Bands) -> (u128, u128) {
        let sources = bands.iter().filter(|((from, ..), _)| matches!(from, Place::Supply(..)));
        let ends = bands.iter().filter(|((_, to, _), _)| to.is_end());
        (sources.map(|(_, e)| e).sum(), ends.map(|(_, e)| e).sum())
    }

    #[test]
    fn folding_moves_no_energy() {
        for detail in [Detail::Full, Detail::Compact] {
            let drawn = bands(&flows(SMALL), detail);
            assert_eq!(sums(&drawn), (1_000, 1_000), "{detail:?}");
            let into_it: u128 =
                drawn.iter().filter(|((_, to, _), _)| *to == Place::It).map(|(_, e)| e).sum();
            assert_eq!(into_it, 660);
        }
    }

    #[test]
    fn too_many_projects_become_one_box_that_says_how_many() {
        let mut lines = String::from("grid:i -> main 210\nmain -> node:n 210\n");
        for number in 1..=20 {
            lines.push_str(&format!("node:n -> project:p{number:02}/host {number}\n"));
        }
        let drawn = bands(&flows(&lines), Detail::Full);
        let boxes: BTreeSet<_> = drawn.keys().map(|(_, to, _)| to).collect();
        assert!(boxes.contains(&Place::MoreProjects(13)), "{boxes:?}");
        assert_eq!(sums(&drawn), (210, 210));
    }
}
