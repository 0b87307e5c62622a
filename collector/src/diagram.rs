//! A hub's single-line diagram as the operator declares it in TOML, and the ledger's diagram of it.
//!
//! # Invariants
//! - [`Plan::to_toml`] is canonical: equal plans give equal bytes. The journal keeps these bytes.

mod doubts;
mod meters;
mod splits;
pub mod tree;

use std::collections::BTreeMap;

use bijli_ledger::{Category, CivilError, Diagram, DiagramError, Point, PointId, Role};
use bijli_wire::id::IdError;
use bijli_wire::{NodeId, SubjectId};
use serde::Deserialize;

pub use meters::{MeterError, PlanMeter};
pub use splits::{PlanSplit, SplitError};

/// The declared diagram. Its canonical TOML text is what the journal keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// PUE category 1 to 3; `None`: no PUE is computed and answers say so.
    #[serde(default)]
    pub pue_category: Option<u8>,
    /// The standard and edition in which PUE is reported.
    #[serde(default)]
    pub pue_standard: Option<String>,
    /// A figure is withheld where more of a term is estimated, in percent.
    #[serde(default)]
    pub pue_estimated_max: Option<String>,
    /// Standard uncertainty of what is estimated, in percent.
    #[serde(default)]
    pub pue_estimate_doubt: Option<String>,
    /// Where the hub's days and months begin; `None`: in UTC.
    #[serde(default)]
    pub utc_offset: Option<String>,
    /// The place whose clocks they follow, by its name in the tz database, in its stead.
    #[serde(default)]
    pub time_zone: Option<String>,
    #[serde(default, rename = "point")]
    pub points: Vec<PlanPoint>,
    #[serde(default, rename = "meter")]
    pub meters: Vec<PlanMeter>,
    #[serde(default, rename = "node")]
    pub nodes: Vec<PlanNode>,
    /// How shared GPUs are split; without any by the usual policy.
    #[serde(default, rename = "split")]
    pub splits: Vec<PlanSplit>,
}

/// A place where a meter can hang.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanPoint {
    pub id: String,
    pub role: PlanRole,
    /// Subject id of the meter here; `None`: nothing measures this point.
    #[serde(default)]
    pub meter: Option<String>,
    /// The point that feeds this one; `None`: the main board (or, for a supply, nobody).
    #[serde(default)]
    pub fed_by: Option<String>,
}

/// Which point feeds a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanNode {
    pub id: String,
    pub fed_by: String,
}

/// What a point is for, in the words of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanRole {
    Grid,
    Generator,
    Solar,
    UpsIn,
    UpsOut,
    Pdu,
    Cooling,
    Lighting,
    Other,
}

/// Why a declared diagram cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("{place}: name refused")]
    Name { place: String, source: IdError },
    #[error("pue_category {found} does not exist; 1 is UPS output, 2 PDU output, 3 IT input")]
    Category { found: u8 },
    #[error("node {node} is declared twice")]
    NodeTwice { node: String },
    #[error("meter {meter}")]
    Meter { meter: String, source: MeterError },
    #[error("{key} = {found:?} is no share")]
    Share { key: &'static str, found: String },
    #[error("utc_offset")]
    Offset(#[source] CivilError),
    #[error("time_zone = {found:?} is no name of the tz database")]
    Zone { found: String },
    #[error("both utc_offset and time_zone are declared")]
    TwoClocks,
    #[error("split")]
    Split(#[from] SplitError),
    #[error("pue_standard needs 1 to 128 bytes")]
    Standard,
    #[error(transparent)]
    Rule(#[from] DiagramError),
    #[error("the journalled text is no diagram: {reason}")]
    Text { reason: String },
}

impl PlanError {
    /// What the operator should do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Name { .. } => "use 1 to 96 letters, digits and . _ - : /",
            Self::Category { .. } => "write pue_category = 1, 2 or 3, or leave the line out",
            Self::NodeTwice { .. } => "keep one [[hub.node]] section per node",
            Self::Meter { source, .. } => source.remedy(),
            Self::Share { .. } => "write it like \"5 %\", at most 100 %",
            Self::Offset(_) => "write it like \"+05:00\": hours and minutes ahead of UTC",
            Self::Zone { .. } => "write it like \"Asia/Karachi\"",
            Self::TwoClocks => "keep time_zone: it knows when its clocks are changed",
            Self::Split(SplitError::Policy { .. }) => "docs/attribution.md says what each does",
            Self::Split(SplitError::From(_)) => "write it like 2026-07-01T00:00:00+05:00",
            Self::Split(SplitError::Twice { .. }) => "keep one [[hub.split]] section for a moment",
            Self::Standard => "name the standard and its edition: \"ISO/IEC 30134-2:2026\"",
            Self::Text { .. } => "the journal was written by another version: upgrade",
            Self::Rule(rule) => match rule {
                DiagramError::PointTwice { .. } => "give each point an id of its own",
                DiagramError::NamedMain => {
                    "name the point otherwise; leave fed_by out for the board"
                }
                DiagramError::MeterTwice { .. } => "a meter counts at one point: take it off one",
                DiagramError::UnknownFeeder { .. } | DiagramError::NodeFeederUnknown { .. } => {
                    "declare the feeding point, or correct its id in fed_by"
                }
                DiagramError::FedBySupply { .. } | DiagramError::NodeFedBySupply { .. } => {
                    "leave fed_by out: what the main board feeds has none"
                }
                DiagramError::SupplyFed { .. } => "leave fed_by out of grid, generator and solar",
                DiagramError::Cycle { .. } => {
                    "follow the cables from the supply down, and cut the circle"
                }
                DiagramError::UpsPair { .. } => {
                    "declare one ups_out point with fed_by set to this ups_in"
                }
                DiagramError::NoSupplyMeter { .. } => {
                    "give a grid, generator or solar point its meter: without one no PUE can be true"
                }
                DiagramError::UnknownMeter { .. } => {
                    "write the meter's id at its point, or correct it in [[hub.meter]]"
                }
            },
        }
    }
}

impl Plan {
    /// Whether nothing is declared: then the hub has no diagram at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.nodes.is_empty()
    }

    /// The text that the journal keeps. The same plan always gives the same text.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        if let Some(category) = self.pue_category {
            text.push_str(&format!("pue_category = {category}\n"));
        }
        for (key, value) in [
            ("pue_standard", &self.pue_standard),
            ("pue_estimated_max", &self.pue_estimated_max),
            ("pue_estimate_doubt", &self.pue_estimate_doubt),
            ("utc_offset", &self.utc_offset),
            ("time_zone", &self.time_zone),
        ] {
            if let Some(value) = value {
                text.push_str(&format!("{key} = {}\n", quoted(value)));
            }
        }
        for point in &self.points {
            let (id, role) = (quoted(&point.id), point.role.word());
            text.push_str(&format!("\n[[point]]\nid = {id}\nrole = \"{role}\"\n"));
            let rest = [("meter", &point.meter), ("fed_by", &point.fed_by)];
            for (key, value) in rest {
                if let Some(value) = value {
                    text.push_str(&format!("{key} = {}\n", quoted(value)));
                }
            }
        }
        self.meters.iter().for_each(|meter| text.push_str(&meter.to_toml()));
        for node in &self.nodes {
            let (id, feeder) = (quoted(&node.id), quoted(&node.fed_by));
            text.push_str(&format!("\n[[node]]\nid = {id}\nfed_by = {feeder}\n"));
        }
        self.splits.iter().for_each(|split| text.push_str(&split.to_toml()));
        text
    }

    /// The plan in a journalled text.
    ///
    /// # Errors
    /// When it is no such text.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        toml::from_str(text).map_err(|error| PlanError::Text { reason: error.message().to_owned() })
    }

    /// The checked diagram; `None` for an empty plan.
    ///
    /// A hub that declares no PUE category still needs one for the ledger; readers look at
    /// [`Plan::pue_category`] first and compute no PUE without it.
    ///
    /// # Errors
    /// Says which rule the plan breaks, and where.
    pub fn diagram(&self) -> Result<Option<Diagram>, PlanError> {
        if self.is_empty() {
            return Ok(None);
        }
        let category = self.category()?.unwrap_or(Category::ItInput);
        let points = self.points.iter().map(PlanPoint::checked).collect::<Result<_, _>>()?;
        let mut nodes = BTreeMap::new();
        for node in &self.nodes {
            let place = || format!("node {:?}", node.id);
            let name = |source| PlanError::Name { place: place(), source };
            let id = NodeId::new(&node.id).map_err(name)?;
            let feeder = PointId::new(&node.fed_by).map_err(name)?;
            if nodes.insert(id, feeder).is_some() {
                return Err(PlanError::NodeTwice { node: node.id.clone() });
            }
        }
        let diagram = Diagram::new(points, nodes, category)?;
        Ok(Some(diagram.with(self.described()?, self.policy()?)?))
    }

    /// The declared category; `None`: none is declared.
    ///
    /// # Errors
    /// When the number is none.
    pub fn category(&self) -> Result<Option<Category>, PlanError> {
        match self.pue_category {
            None => Ok(None),
            Some(number) => {
                Category::from_number(number).map(Some).ok_or(PlanError::Category { found: number })
            }
        }
    }
}

/// A JSON string is a TOML basic string.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string can be written as JSON")
}

impl PlanPoint {
    fn checked(&self) -> Result<Point, PlanError> {
        let name = |source| PlanError::Name { place: format!("point {:?}", self.id), source };
        Ok(Point {
            id: PointId::new(&self.id).map_err(name)?,
            role: self.role.of_ledger(),
            meter: self.meter.as_deref().map(SubjectId::new).transpose().map_err(name)?,
            fed_by: self.fed_by.as_deref().map(PointId::new).transpose().map_err(name)?,
        })
    }
}

impl PlanRole {
    /// Grid, generator and solar.
    #[must_use]
    pub const fn is_supply(self) -> bool {
        self.of_ledger().is_supply()
    }

    #[must_use]
    pub const fn word(self) -> &'static str {
        self.of_ledger().word()
    }

    #[must_use]
    pub const fn of_ledger(self) -> Role {
        match self {
            Self::Grid => Role::Grid,
            Self::Generator => Role::Generator,
            Self::Solar => Role::Solar,
            Self::UpsIn => Role::UpsIn,
            Self::UpsOut => Role::UpsOut,
            Self::Pdu => Role::Pdu,
            Self::Cooling => Role::Cooling,
            Self::Lighting => Role::Lighting,
            Self::Other => Role::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HONEST: &str = r#"
        pue_category = 1
        [[point]]
        id = "incomer"
        role = "grid"
        meter = "m-incomer"
        [[point]]
        id = "ups-in"
        role = "ups_in"
        meter = "m-ups-in"
        [[point]]
        id = "ups-out"
        role = "ups_out"
        meter = "m-ups-out"
        fed_by = "ups-in"
        [[point]]
        id = "chiller"
        role = "cooling"
        [[node]]
        id = "n01"
        fed_by = "ups-out"
    "#;

    #[test]
    fn an_honest_plan_is_a_diagram_a_tree_and_its_own_text() {
        let plan = Plan::from_toml(HONEST).expect("valid");
        let diagram = plan.diagram().expect("valid").expect("not empty");
        assert_eq!(diagram.category(), Category::UpsOutput);
        assert_eq!(Plan::from_toml(&plan.to_toml()), Ok(plan.clone()));
        let tree = [
            "    incomer        grid         m-incomer",
            "    main board",
            "    ├─ ups-in      ups_in       m-ups-in",
            "    │  └─ ups-out  ups_out  IT  m-ups-out",
            "    │     └─ node n01",
            "    └─ chiller     cooling      ! no meter",
            "    IT: here PUE category 1 measures IT energy",
        ];
        assert_eq!(plan.tree().lines().collect::<Vec<_>>(), tree);
    }

    #[test]
    fn an_empty_plan_is_no_diagram() {
        assert_eq!(Plan::default().diagram(), Ok(None));
        assert_eq!(Plan::from_toml("").expect("valid"), Plan::default());
    }

    #[test]
    fn every_role_has_the_same_word_here_and_in_the_ledger() {
        for role in Role::ALL {
            let text = format!("[[point]]\nid = \"p\"\nrole = \"{role}\"");
            let plan = Plan::from_toml(&text).expect("a known role");
            assert_eq!(plan.points[0].role.of_ledger(), role);
        }
    }
}
