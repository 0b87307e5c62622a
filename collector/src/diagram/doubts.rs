//! What a diagram that is no error still says of the figures: what will be unknown, and what would
//! make a PUE look better or worse than it is.

use std::collections::BTreeSet;

use bijli_ledger::diagram::MAIN;

use super::{Plan, PlanPoint, PlanRole};

/// Names in one sentence; the others are counted.
const NAMES_MAX: usize = 4;

impl Plan {
    /// In words, the weightiest first. Empty: the diagram leaves nothing open.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut doubts = Vec::new();
        doubts.extend(self.supply());
        doubts.extend(self.it());
        doubts.extend(self.flattery());
        doubts.extend(self.passed_by());
        doubts.extend(self.losses());
        doubts.extend(self.loads());
        doubts
    }

    fn named(&self, is: impl Fn(&PlanPoint) -> bool) -> Option<String> {
        let names: Vec<&str> =
            self.points.iter().filter(|point| is(point)).map(|point| point.id.as_str()).collect();
        listed(&names)
    }

    fn supply(&self) -> Option<String> {
        let bare = self.named(|point| point.role.is_supply() && point.meter.is_none())?;
        Some(format!(
            "{bare}: a supply without a meter. Every supply counts in the numerator, so there is no \
             PUE until it has one; its meter may be read by hand (bijli-collector meterbook)"
        ))
    }

    /// Whether IT is measured where the declared category wants it.
    fn it(&self) -> Option<String> {
        let role = match self.pue_category {
            None => {
                return Some(
                    "no pue_category is declared: no PUE is computed. 1 measures IT at the UPS \
                     outputs, 2 at the PDUs, 3 at the nodes themselves"
                        .to_owned(),
                );
            }
            Some(1) => "ups_out",
            Some(2) => "pdu",
            Some(_) if self.nodes.is_empty() => {
                return Some(
                    "PUE category 3 measures IT at the nodes, and no node is placed: there is no PUE"
                        .to_owned(),
                );
            }
            Some(_) => return None,
        };
        if !self.points.iter().any(|point| self.is_it(point)) {
            let category = self.pue_category.unwrap_or(0);
            return Some(format!(
                "PUE category {category} measures IT at points of role {role}, and there is none: \
                 there is no PUE"
            ));
        }
        let bare = self.named(|point| self.is_it(point) && point.meter.is_none())?;
        Some(format!("{bare}: IT is measured here, and there is no meter: there is no PUE"))
    }

    /// What is counted as IT and is none.
    fn flattery(&self) -> Option<String> {
        let is_load =
            |role| matches!(role, PlanRole::Cooling | PlanRole::Lighting | PlanRole::Other);
        let below = self.named(|point| {
            is_load(point.role) && self.above(point).any(|above| self.is_it(above))
        })?;
        Some(format!(
            "{below}: hangs below a point where IT is measured, so it counts as IT and the PUE looks \
             better than it is. Feed it from elsewhere, or choose a category whose points lie below it"
        ))
    }

    /// What is IT and is not counted as such.
    fn passed_by(&self) -> Option<String> {
        if !matches!(self.pue_category, Some(1 | 2)) {
            return None;
        }
        let is_measured = |feeder: &str| {
            let point = self.points.iter().find(|point| point.id == feeder);
            point.is_some_and(|point| {
                self.is_it(point) || self.above(point).any(|above| self.is_it(above))
            })
        };
        let feeders: BTreeSet<&str> = self.nodes.iter().map(|node| node.fed_by.as_str()).collect();
        let past: Vec<&str> = feeders.into_iter().filter(|feeder| !is_measured(feeder)).collect();
        let names: Vec<&str> = past
            .iter()
            .map(|feeder| if *feeder == MAIN { "the main board" } else { feeder })
            .collect();
        let names = listed(&names)?;
        Some(format!(
            "{names}: feeds nodes past every point where IT is measured, so they are in the numerator \
             only and the PUE looks worse than it is"
        ))
    }

    fn losses(&self) -> Option<String> {
        let bare = self.named(|point| {
            matches!(point.role, PlanRole::UpsIn | PlanRole::UpsOut) && point.meter.is_none()
        })?;
        Some(format!("{bare}: without a meter on both sides of a UPS its loss is not known"))
    }

    fn loads(&self) -> Option<String> {
        let bare = self.named(|point| {
            matches!(point.role, PlanRole::Cooling | PlanRole::Lighting | PlanRole::Other)
                && point.meter.is_none()
        })?;
        Some(format!(
            "{bare}: without a meter; what it uses is within \"unmetered\", nothing is lost"
        ))
    }
}

fn listed(names: &[&str]) -> Option<String> {
    let shown = names.iter().take(NAMES_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => None,
        count if count > NAMES_MAX => Some(format!("{shown} and {} more", count - NAMES_MAX)),
        _ => Some(shown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: [(&str, &str, &str, &str); 5] = [
        ("inc", "grid", "", "m-1"),
        ("ups", "ups_in", "", "m-2"),
        ("ups-out", "ups_out", "ups", "m-3"),
        ("pdu", "pdu", "ups-out", "m-4"),
        ("chiller", "cooling", "", "m-5"),
    ];

    fn plan(category: &str, points: &[(&str, &str, &str, &str)], nodes: &[(&str, &str)]) -> Plan {
        let mut text = category.to_owned();
        for (id, role, fed_by, meter) in points {
            text.push_str(&format!("\n[[point]]\nid = \"{id}\"\nrole = \"{role}\"\n"));
            for (key, value) in [("fed_by", fed_by), ("meter", meter)] {
                if !value.is_empty() {
                    text.push_str(&format!("{key} = \"{value}\"\n"));
                }
            }
        }
        for (id, fed_by) in nodes {
            text.push_str(&format!("\n[[node]]\nid = \"{id}\"\nfed_by = \"{fed_by}\"\n"));
        }
        Plan::from_toml(&text).expect("valid")
    }

    #[test]
    fn a_sound_diagram_leaves_nothing_open_and_each_lack_is_named() {
        let changed = |index: usize, point| {
            let mut points = SOUND;
            points[index] = point;
            points
        };
        let one = "pue_category = 1";
        let below = &[("n1", "pdu")][..];
        assert_eq!(plan(one, &SOUND, below).doubts(), Vec::<String>::new());
        assert_eq!(Plan::default().doubts(), Vec::<String>::new());
        for (plan, words) in [
            (
                plan(one, &changed(0, ("inc", "grid", "", "")), below),
                "inc: a supply without a meter",
            ),
            (plan("", &SOUND, below), "no pue_category is declared"),
            (plan("pue_category = 3", &SOUND, &[]), "no node is placed"),
            (plan(one, &SOUND[..1], &[]), "of role ups_out, and there is none"),
            (
                plan("pue_category = 2", &changed(3, ("pdu", "pdu", "ups-out", "")), below),
                "pdu: IT is measured here, and there is no meter",
            ),
            (
                plan(one, &changed(4, ("chiller", "cooling", "pdu", "m-5")), below),
                "chiller: hangs below a point where IT is measured",
            ),
            (plan(one, &SOUND, &[("n1", "main")]), "the main board: feeds nodes past"),
            (plan(one, &SOUND, &[("n1", "ups")]), "ups: feeds nodes past"),
            (
                plan(one, &changed(1, ("ups", "ups_in", "", "")), below),
                "ups: without a meter on both",
            ),
            (
                plan(one, &changed(4, ("chiller", "cooling", "", "")), below),
                "chiller: without a meter",
            ),
        ] {
            let doubts = plan.doubts();
            assert!(doubts.len() == 1 && doubts[0].contains(words), "{words}: {doubts:?}");
        }
        assert_eq!(
            listed(&["a", "b", "c", "d", "e", "f"]).as_deref(),
            Some("a, b, c, d and 2 more")
        );
    }
}
