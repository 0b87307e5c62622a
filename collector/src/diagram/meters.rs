//! What an operator declares of meters, and of the PUE that rests on them: `[[hub.meter]]` and the
//! `pue_*` keys, as they are written, checked, and warned about.

use std::collections::BTreeMap;

use bijli_ledger::meter::{as_percent, percent};
use bijli_ledger::pue::{ESTIMATE_DOUBT_PPM, ESTIMATED_PPM_MAX};
use bijli_ledger::{
    AccuracyClass, Category, CivilError, ClassError, Date, Diagram, Meter, Offset, PuePolicy, Zone,
};
use bijli_wire::SubjectId;
use bijli_wire::id::IdError;
use serde::Deserialize;

use super::{Plan, PlanError, quoted};
use crate::calendar;

/// Bytes of a text about a meter.
const TEXT_BYTES_MAX: usize = 128;

/// One meter as it is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanMeter {
    pub id: String,
    #[serde(default)]
    pub make: Option<String>,
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub serial: Option<String>,
    /// `0.5S`, or what the maker states: `2 %`.
    #[serde(default)]
    pub class: Option<String>,
    /// The standard and edition under which the class is claimed.
    #[serde(default)]
    pub standard: Option<String>,
    /// Primary over secondary current; `None`: connected without a transformer.
    #[serde(default)]
    pub ct_ratio: Option<String>,
    #[serde(default)]
    pub ct_class: Option<String>,
    #[serde(default)]
    pub calibrated: Option<String>,
    #[serde(default)]
    pub calibration_due: Option<String>,
    #[serde(default)]
    pub certificate: Option<String>,
    #[serde(default)]
    pub laboratory: Option<String>,
}

/// What is wrong with what is declared of a meter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeterError {
    #[error("it has no name that a meter can have")]
    Name(#[source] IdError),
    #[error("it is described twice")]
    Twice,
    #[error("{key}")]
    Class { key: &'static str, source: ClassError },
    #[error("a class says nothing without the standard that it is under")]
    NoStandard,
    #[error("ct_ratio {found:?} is not primary over secondary current")]
    Ratio { found: String },
    #[error("ct_class is given, but no ct_ratio")]
    NoRatio,
    #[error("{key}")]
    Date { key: &'static str, source: CivilError },
    #[error("calibration_due {due} is not after calibrated {calibrated}")]
    Due { calibrated: Date, due: Date },
    #[error("{key} needs 1 to {TEXT_BYTES_MAX} bytes without control characters")]
    Text { key: &'static str },
}

impl MeterError {
    /// What the operator should do about it.
    pub(super) const fn remedy(&self) -> &'static str {
        match self {
            Self::Name(_) => "use 1 to 96 letters, digits and . _ - : /",
            Self::Twice => "keep one [[hub.meter]] section per meter",
            Self::Class { .. } => "copy the class from the meter's name plate",
            Self::NoStandard => "add standard = \"IEC 62053-22:2020\" or whatever it is",
            Self::Ratio { .. } => "write it like \"800/5\"",
            Self::NoRatio => "add ct_ratio = \"800/5\" or whatever it is",
            Self::Date { .. } => "copy the date from the certificate, year first",
            Self::Due { .. } => "correct one of the two",
            Self::Text { .. } => "shorten it, or leave it out",
        }
    }
}

impl PlanMeter {
    fn texts(&self) -> [(&'static str, &Option<String>); 11] {
        [
            ("make", &self.make),
            ("model", &self.model),
            ("serial", &self.serial),
            ("class", &self.class),
            ("standard", &self.standard),
            ("ct_ratio", &self.ct_ratio),
            ("ct_class", &self.ct_class),
            ("calibrated", &self.calibrated),
            ("calibration_due", &self.calibration_due),
            ("certificate", &self.certificate),
            ("laboratory", &self.laboratory),
        ]
    }

    /// Its section of the canonical text.
    pub(super) fn to_toml(&self) -> String {
        let mut text = format!("\n[[meter]]\nid = {}\n", quoted(&self.id));
        for (key, value) in self.texts() {
            if let Some(value) = value {
                text.push_str(&format!("{key} = {}\n", quoted(value)));
            }
        }
        text
    }

    fn checked(&self) -> Result<(SubjectId, Meter), MeterError> {
        let id = SubjectId::new(&self.id).map_err(MeterError::Name)?;
        for (key, value) in self.texts() {
            if value.as_deref().is_some_and(is_no_text) {
                return Err(MeterError::Text { key });
            }
        }
        let class = class("class", &self.class)?;
        if class.is_some() && self.standard.is_none() {
            return Err(MeterError::NoStandard);
        }
        let ct_class = class_of_ct(self)?;
        let calibrated = date("calibrated", &self.calibrated)?;
        let calibration_due = date("calibration_due", &self.calibration_due)?;
        if let (Some(calibrated), Some(due)) = (calibrated, calibration_due)
            && due <= calibrated
        {
            return Err(MeterError::Due { calibrated, due });
        }
        let meter = Meter {
            make: self.make.clone(),
            model: self.model.clone(),
            serial: self.serial.clone(),
            class,
            standard: self.standard.clone(),
            ct_ratio: self.ct_ratio.clone(),
            ct_class,
            calibrated,
            calibration_due,
            certificate: self.certificate.clone(),
            laboratory: self.laboratory.clone(),
        };
        Ok((id, meter))
    }
}

fn is_no_text(text: &str) -> bool {
    text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control)
}

fn class(key: &'static str, text: &Option<String>) -> Result<Option<AccuracyClass>, MeterError> {
    let parsed = text.as_deref().map(str::parse).transpose();
    parsed.map_err(|source| MeterError::Class { key, source })
}

fn class_of_ct(meter: &PlanMeter) -> Result<Option<AccuracyClass>, MeterError> {
    let is_current = |part: &str| part.parse::<u32>().is_ok_and(|ampere| ampere > 0);
    match &meter.ct_ratio {
        None if meter.ct_class.is_some() => return Err(MeterError::NoRatio),
        Some(ratio)
            if !ratio.split_once('/').is_some_and(|(a, b)| is_current(a) && is_current(b)) =>
        {
            return Err(MeterError::Ratio { found: ratio.clone() });
        }
        Some(_) | None => {}
    }
    class("ct_class", &meter.ct_class)
}

fn date(key: &'static str, text: &Option<String>) -> Result<Option<Date>, MeterError> {
    let parsed = text.as_deref().map(str::parse).transpose();
    parsed.map_err(|source| MeterError::Date { key, source })
}

impl Plan {
    /// What is declared of meters, by meter.
    pub(super) fn described(&self) -> Result<BTreeMap<SubjectId, Meter>, PlanError> {
        let mut meters = BTreeMap::new();
        for meter in &self.meters {
            let wrong = |source| PlanError::Meter { meter: meter.id.clone(), source };
            let (id, described) = meter.checked().map_err(wrong)?;
            if meters.insert(id, described).is_some() {
                return Err(wrong(MeterError::Twice));
            }
        }
        Ok(meters)
    }

    /// What the hub decided about its PUE.
    pub(super) fn policy(&self) -> Result<PuePolicy, PlanError> {
        let share = |key, text: &Option<String>, usual| match text {
            None => Ok(usual),
            Some(text) => {
                let ppm = percent(text).filter(|ppm| *ppm <= 1_000_000);
                ppm.ok_or_else(|| PlanError::Share { key, found: text.clone() })
            }
        };
        let (offset, place) = self.clock()?;
        if self.pue_standard.as_deref().is_some_and(is_no_text) {
            return Err(PlanError::Standard);
        }
        Ok(PuePolicy {
            standard: self.pue_standard.clone(),
            estimated_ppm_max: share(
                "pue_estimated_max",
                &self.pue_estimated_max,
                ESTIMATED_PPM_MAX,
            )?,
            estimate_doubt_ppm: share(
                "pue_estimate_doubt",
                &self.pue_estimate_doubt,
                ESTIMATE_DOUBT_PPM,
            )?,
            offset,
            place,
        })
    }

    /// The offset that is declared, or that of the place that is.
    fn clock(&self) -> Result<(Offset, Option<Zone>), PlanError> {
        match (&self.utc_offset, &self.time_zone) {
            (Some(_), Some(_)) => Err(PlanError::TwoClocks),
            (None, Some(name)) => {
                let zone = calendar::zone(name);
                let zone = zone.ok_or_else(|| PlanError::Zone { found: name.clone() })?;
                Ok((zone.standard(), Some(zone)))
            }
            (Some(offset), None) => Ok((offset.parse().map_err(PlanError::Offset)?, None)),
            (None, None) => Ok((Offset::UTC, None)),
        }
    }

    /// What PUE is reported under, and what is known of each meter: for `check`.
    #[must_use]
    pub fn explained(&self) -> String {
        let Ok(Some(diagram)) = self.diagram() else { return String::new() };
        let PuePolicy { standard, estimated_ppm_max, estimate_doubt_ppm, offset, place } =
            diagram.policy();
        let mut text = String::new();
        if self.pue_category.is_some() {
            let standard = standard.as_deref().unwrap_or("no declared standard");
            let days = place.as_ref().map_or(format!("UTC{offset}"), ToString::to_string);
            let (most, doubt) = (as_percent(*estimated_ppm_max), as_percent(*estimate_doubt_ppm));
            text.push_str(&format!(
                "    PUE after {standard}, in days of {days}\n    \
                 no PUE above {most} estimated; an estimate is doubted by {doubt}\n"
            ));
        }
        for (id, meter) in diagram.meters() {
            let or = |name: &str, value: Option<String>| {
                value.map(|value| format!(", {name}{value}")).unwrap_or_default()
            };
            let class = meter.class.as_ref().map_or("no class".to_owned(), ToString::to_string);
            text.push_str(&format!(
                "    meter {id}: {class}{}{}{}{}\n",
                or("", meter.standard.clone()),
                or("CT ", meter.ct_ratio.clone()),
                or("CT class ", meter.ct_class.as_ref().map(ToString::to_string)),
                or("calibration due ", meter.calibration_due.map(|date| date.to_string())),
            ));
        }
        text
    }

    /// What is not wrong, and costs the figure something: for `check`.
    #[must_use]
    pub fn warnings(&self, today: Date) -> Vec<String> {
        let Ok(Some(diagram)) = self.diagram() else { return Vec::new() };
        let mut warnings = Vec::new();
        if self.pue_category.is_some() {
            warnings.extend(standard_warning(&diagram));
            let terms = supply_meters(&diagram).chain(it_meters(&diagram));
            warnings.extend(terms.filter_map(|(term, meter)| doubt(&diagram, term, &meter)));
        }
        for (id, meter) in diagram.meters() {
            if let Some(due) = meter.calibration_due.filter(|due| *due < today) {
                warnings.push(format!("the calibration of meter {id} was due on {due}"));
            }
        }
        warnings
    }
}

fn standard_warning(diagram: &Diagram) -> Option<String> {
    match diagram.policy().standard.as_deref() {
        None => Some(
            "no pue_standard: a report names the standard and its edition, ISO/IEC 30134-2:2026"
                .to_owned(),
        ),
        Some("ISO/IEC 30134-2:2016") => {
            Some("ISO/IEC 30134-2:2016 was withdrawn; ISO/IEC 30134-2:2026 is in force".to_owned())
        }
        Some(_) => None,
    }
}

fn supply_meters(diagram: &Diagram) -> impl Iterator<Item = (&'static str, String)> {
    let supplies = diagram.points().filter(|point| point.role.is_supply());
    supplies.filter_map(|point| Some(("E_DC", point.meter.as_ref()?.to_string())))
}

fn it_meters(diagram: &Diagram) -> Box<dyn Iterator<Item = (&'static str, String)> + '_> {
    match diagram.category() {
        Category::UpsOutput | Category::PduOutput => {
            let points = diagram.it_points().into_iter();
            Box::new(points.filter_map(|point| Some(("E_IT", point.meter.as_ref()?.to_string()))))
        }
        Category::ItInput => {
            Box::new(diagram.nodes().keys().map(|node| ("E_IT", node.to_string())))
        }
    }
}

/// What it costs that a meter of either term says nothing of its accuracy.
fn doubt(diagram: &Diagram, term: &str, meter: &str) -> Option<String> {
    let described = SubjectId::new(meter).ok().and_then(|id| diagram.meters().get(&id).cloned());
    let why = described.unwrap_or_default().limits().err()?;
    Some(format!("meter {meter} of {term} {why}: no PUE here can state its uncertainty"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTS: &str = "pue_category = 1\n\
        [[point]]\nid = \"inc\"\nrole = \"grid\"\nmeter = \"m1\"\n\
        [[point]]\nid = \"ups\"\nrole = \"ups_out\"\nmeter = \"m2\"\n";

    fn plan(lines: &str) -> Plan {
        Plan::from_toml(&format!("{POINTS}{lines}")).expect("a plan")
    }

    fn refused(lines: &str, words: &str) {
        let error = plan(lines).diagram().expect_err(lines);
        let text = crate::journal::chain(&error);
        assert!(text.contains(words), "{lines}: {text}");
        assert!(!error.remedy().is_empty());
    }

    #[test]
    fn what_is_declared_of_meters_is_checked_in_words() {
        let meter = |lines: &str| format!("[[meter]]\nid = \"m1\"\n{lines}");
        refused("[[meter]]\nid = \"m9\"", "meter m9 is described, but it counts at no point");
        refused(&meter("class = \"0.5s\"\nstandard = \"IEC\""), "\"0.5s\" is no accuracy class");
        refused(&meter("class = \"0.5S\""), "a class says nothing without the standard");
        refused(&meter("ct_ratio = \"800:5\""), "\"800:5\" is not primary over secondary");
        refused(&meter("ct_class = \"0.5S\""), "ct_class is given, but no ct_ratio");
        refused(&meter("calibrated = \"31.3.2026\""), "\"31.3.2026\" is no date");
        let dates = "calibrated = \"2026-03-31\"\ncalibration_due = \"2025-03-31\"";
        refused(&meter(dates), "calibration_due 2025-03-31 is not after calibrated 2026-03-31");
        refused(&meter("make = \"\""), "make needs 1 to 128 bytes");
        let twice = format!("{}\n{}", meter(""), meter(""));
        refused(&twice, "it is described twice");
    }

    #[test]
    fn what_is_declared_of_the_figure_is_checked_in_words() {
        let with = |lines: &str| Plan::from_toml(&format!("{lines}\n{POINTS}")).expect("a plan");
        for (lines, words) in [
            ("pue_estimated_max = \"half\"", "pue_estimated_max = \"half\""),
            ("pue_estimate_doubt = \"101 %\"", "pue_estimate_doubt = \"101 %\""),
            ("utc_offset = \"Karachi\"", "\"Karachi\" is no offset"),
            ("time_zone = \"Karachi\"", "\"Karachi\" is no name of the tz database"),
            ("time_zone = \"Asia/Karachi\"\nutc_offset = \"+05:00\"", "both utc_offset and"),
            ("pue_standard = \"\"", "pue_standard"),
        ] {
            let error = with(lines).diagram().expect_err(lines);
            let text = crate::journal::chain(&error);
            assert!(text.contains(words), "{text}");
        }
        let said = with(
            "pue_standard = \"ISO/IEC 30134-2:2026\"\npue_estimated_max = \"2.5 %\"\n\
             utc_offset = \"+05:00\"",
        );
        let diagram = said.diagram().expect("sound").expect("not empty");
        let policy = diagram.policy();
        assert_eq!((policy.estimated_ppm_max, policy.estimate_doubt_ppm), (25_000, 150_000));
        assert_eq!(policy.offset.to_string(), "+05:00");
        assert_eq!(Plan::from_toml(&said.to_toml()), Ok(said));
    }

    /// Goal: what is not declared is said with what it costs, before an auditor says it.
    #[test]
    fn a_meter_without_a_class_is_a_warning_that_says_what_it_costs() {
        let full = "[[meter]]\nid = \"m1\"\nmake = \"Landis+Gyr\"\nmodel = \"E650\"\n\
            serial = \"50 123 456\"\nclass = \"0.5S\"\nstandard = \"IEC 62053-22:2020\"\n\
            ct_ratio = \"800/5\"\nct_class = \"0.5S\"\ncalibrated = \"2024-11-30\"\n\
            calibration_due = \"2026-11-30\"\ncertificate = \"C-17\"\nlaboratory = \"NPSL\"\n";
        let plan = plan(full);
        assert_eq!(Plan::from_toml(&plan.to_toml()), Ok(plan.clone()));
        let explained = [
            "    PUE after no declared standard, in days of UTC+00:00",
            "    no PUE above 5 % estimated; an estimate is doubted by 15 %",
            "    meter m1: 0.5S, IEC 62053-22:2020, CT 800/5, CT class 0.5S, calibration due 2026-11-30",
        ];
        assert_eq!(plan.explained().lines().collect::<Vec<_>>(), explained);
        let today = |text: &str| text.parse().expect("a date");
        let warnings = plan.warnings(today("2026-11-30"));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].starts_with("no pue_standard: "), "{warnings:?}");
        let words = "meter m2 of E_IT has no class: no PUE here can state its uncertainty";
        assert_eq!(warnings[1], words);
        let late = plan.warnings(today("2026-12-01"));
        assert_eq!(late[2], "the calibration of meter m1 was due on 2026-11-30");
        let old = Plan { pue_standard: Some("ISO/IEC 30134-2:2016".to_owned()), ..plan };
        assert!(old.warnings(today("2026-11-30"))[0].contains("was withdrawn"));
        assert!(Plan { pue_category: None, ..old }.warnings(today("2026-11-30")).is_empty());
    }
}
