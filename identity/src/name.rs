//! The names in certificates, as URIs: `spiffe://bijli/hub/isb/node/isb-n01` for a node,
//! `spiffe://bijli/hub/isb` for the authority of a hub.
//!
//! Ids may hold `/` and `:`; in a URI they are `%2F` and `%3A`, so that every name has one
//! spelling and none reads as another.

use std::fmt;
use std::str::FromStr;

use bijli_wire::id::IdError;
use bijli_wire::{HubId, NodeId};

const PREFIX: &str = "spiffe://bijli/hub/";
const NODE: &str = "/node/";

/// A node of a hub, as its certificate names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName {
    pub hub: HubId,
    pub node: NodeId,
}

/// Whom a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Node(NodeName),
    /// The authority of a hub.
    Hub(HubId),
}

/// Why a URI names nobody here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("{uri:?} is not {PREFIX}<hub>{NODE}<node>")]
    Shape { uri: String },
    #[error("{uri:?} names no hub or node")]
    Id { uri: String, source: IdError },
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}{NODE}{}", segment(self.hub.as_str()), segment(self.node.as_str()))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => name.fmt(f),
            Self::Hub(hub) => write!(f, "{PREFIX}{}", segment(hub.as_str())),
        }
    }
}

impl FromStr for Holder {
    type Err = NameError;

    fn from_str(uri: &str) -> Result<Self, NameError> {
        let shape = || NameError::Shape { uri: uri.to_owned() };
        let id = |source| NameError::Id { uri: uri.to_owned(), source };
        let rest = uri.strip_prefix(PREFIX).ok_or_else(shape)?;
        let (hub, node) = match rest.split_once(NODE) {
            Some((hub, node)) => (hub, Some(node)),
            None => (rest, None),
        };
        let hub = HubId::new(&plain(hub)).map_err(id)?;
        let holder = match node {
            None => Self::Hub(hub),
            Some(node) => {
                Self::Node(NodeName { hub, node: NodeId::new(&plain(node)).map_err(id)? })
            }
        };
        // One spelling only: `%2f`, or a bare slash in an id, is another string for the same name.
        if holder.to_string() == uri { Ok(holder) } else { Err(shape()) }
    }
}

fn segment(id: &str) -> String {
    id.replace('/', "%2F").replace(':', "%3A")
}

fn plain(segment: &str) -> String {
    segment.replace("%2F", "/").replace("%3A", ":")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_by_table() {
        let node = |uri: &str| match uri.parse() {
            Ok(Holder::Node(name)) => format!("{} {}", name.hub, name.node),
            Ok(Holder::Hub(hub)) => format!("hub {hub}"),
            Err(NameError::Shape { .. }) => "shape".to_owned(),
            Err(NameError::Id { .. }) => "id".to_owned(),
        };
        for (uri, expected) in [
            ("spiffe://bijli/hub/isb/node/isb-n01", "isb isb-n01"),
            ("spiffe://bijli/hub/isb/node/rack1%2Fn01", "isb rack1/n01"),
            ("spiffe://bijli/hub/isb/node/rack1/n01", "shape"),
            ("spiffe://bijli/hub/isb/node/rack1%2fn01", "id"),
            ("spiffe://bijli/hub/isb/node/%6E01", "id"),
            ("spiffe://bijli/hub/a/node/b/node/c", "shape"),
            ("spiffe://bijli/hub/isb", "hub isb"),
            ("spiffe://bijli/hub/isb/", "shape"),
            ("spiffe://bijli/hub/isb/node/", "id"),
            ("spiffe://bijli/hub//node/n", "id"),
            ("spiffe://other/hub/isb/node/n", "shape"),
            ("SPIFFE://bijli/hub/isb/node/n", "shape"),
            ("spiffe://bijli/hub/isb/node/n?x", "id"),
        ] {
            assert_eq!(node(uri), expected, "{uri}");
        }
    }

    proptest! {
        /// Goal: no two pairs of ids share a URI, and each comes back as itself.
        #[test]
        fn every_pair_of_ids_has_one_uri(hub in "[a-z./:%-]{1,12}", node in "[a-z./:-]{1,12}") {
            if let (Ok(hub), Ok(node)) = (HubId::new(&hub), NodeId::new(&node)) {
                let name = NodeName { hub, node };
                prop_assert_eq!(name.to_string().parse(), Ok(Holder::Node(name)));
            }
        }

        #[test]
        fn no_text_makes_it_panic(uri in "\\PC{0,40}") {
            if let Ok(holder) = format!("{PREFIX}{uri}").parse::<Holder>() {
                prop_assert_eq!(holder.to_string(), format!("{PREFIX}{uri}"));
            }
        }
    }
}
