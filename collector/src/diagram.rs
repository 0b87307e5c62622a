//! A hub's single-line diagram as the operator declares it in TOML.

use serde::{Deserialize, Serialize};

/// The declared diagram. Its canonical TOML text is what the journal keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// PUE category 1 to 3; `None`: no PUE is computed and answers say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pue_category: Option<u8>,
    #[serde(default, rename = "point", skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<PlanPoint>,
    #[serde(default, rename = "node", skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<PlanNode>,
}

/// A place where a meter can hang.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanPoint {
    pub id: String,
    pub role: PlanRole,
    /// Subject id of the meter here; `None`: nothing measures this point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
    /// The point that feeds this one; `None`: the main board (or, for a supply, nobody).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fed_by: Option<String>,
}

/// Which point feeds a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanNode {
    pub id: String,
    pub fed_by: String,
}

/// What a point is for, in the words of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
