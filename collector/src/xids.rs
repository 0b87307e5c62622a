//! What an XID means and what is to be done about it: NVIDIA's catalogue as data (`xids.toml`), and
//! what the operators of a hub say against it (`[[hub.xid]]`).
//!
//! # Invariants
//! - The catalogue is part of the program and read once; a test holds it to be whole.
//! - Advice names where it is from, and which part of it we concluded ourselves or a hub changed.
//! - A number that is not in the catalogue is told as that. It is never dropped.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::severity::Severity;

const TEXT: &str = include_str!("../xids.toml");
/// From here on numbers are an NVSwitch's (SXid); XIDs have three digits.
const SXID_MIN: u32 = 10_000;

/// The kind of immediate action, as NVIDIA's resolution buckets have them (`xids.toml`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Ignore,
    RestartApp,
    RestartVm,
    ResetGpu,
    RebootNode,
    CheckMechanicals,
    UpdateSoftware,
    ContactSupport,
    /// The action depends on what else is there.
    Workflow,
    /// Nobody published one.
    NonePublished,
}

impl Class {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::RestartApp => "restart_app",
            Self::RestartVm => "restart_vm",
            Self::ResetGpu => "reset_gpu",
            Self::RebootNode => "reboot_node",
            Self::CheckMechanicals => "check_mechanicals",
            Self::UpdateSoftware => "update_software",
            Self::ContactSupport => "contact_support",
            Self::Workflow => "workflow",
            Self::NonePublished => "none_published",
        }
    }
}

/// What is known of an XID, for one hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// False: the catalogue does not have this number.
    pub is_known: bool,
    pub name: String,
    /// Empty if it is not known.
    pub meaning: String,
    pub class: Class,
    pub action: String,
    /// Our own judgement, or the hub's.
    #[serde(skip)]
    pub severity: Severity,
    /// When it is more than its severity says; `None`: never.
    pub escalates: Option<String>,
    /// Where this is from: the document, its date, and what is not from there.
    pub provenance: String,
}

/// The catalogue.
#[derive(Debug)]
pub struct Catalogue(BTreeMap<u32, Advice>);

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    sources: BTreeMap<String, Source>,
    #[serde(rename = "xid")]
    xids: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    document: String,
    as_of: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    codes: Vec<u32>,
    name: String,
    meaning: String,
    class: Class,
    action: String,
    severity: Severity,
    #[serde(default)]
    escalates: Option<String>,
    source: String,
    inferred: Vec<Part>,
}

/// A part of an entry that its source may not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Meaning,
    Class,
    Action,
}

impl Part {
    const fn word(self) -> &'static str {
        match self {
            Self::Meaning => "meaning",
            Self::Class => "class",
            Self::Action => "action",
        }
    }
}

/// Why a text is no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("the text is not one of this form")]
    Text(#[source] toml::de::Error),
    #[error("XID {code} is listed twice")]
    Twice { code: u32 },
    #[error("{name:?} names the source {found:?}, which is not declared")]
    Source { name: String, found: String },
}

/// The catalogue that this program was built with.
#[must_use]
pub fn catalogue() -> &'static Catalogue {
    static BUILT_IN: LazyLock<Catalogue> =
        LazyLock::new(|| Catalogue::parse(TEXT).expect("a test reads the same text"));
    &BUILT_IN
}

impl Catalogue {
    fn parse(text: &str) -> Result<Self, CatalogueError> {
        let text: Text = toml::from_str(text).map_err(CatalogueError::Text)?;
        let mut known = BTreeMap::new();
        for entry in text.xids {
            let Some(source) = text.sources.get(&entry.source) else {
                let Entry { name, source: found, .. } = entry;
                return Err(CatalogueError::Source { name, found });
            };
            let advice = entry.advice(source);
            for code in entry.codes {
                if known.insert(code, advice.clone()).is_some() {
                    return Err(CatalogueError::Twice { code });
                }
            }
        }
        Ok(Self(known))
    }

    #[must_use]
    pub fn has(&self, code: u32) -> bool {
        self.0.contains_key(&code)
    }

    /// The largest number that it has.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.0.last_key_value().map_or(0, |(code, _)| *code)
    }

    fn advice(&self, code: u32) -> Advice {
        self.0.get(&code).cloned().unwrap_or_else(|| Advice::unknown(code))
    }
}

impl Entry {
    fn advice(&self, source: &Source) -> Advice {
        let Source { document, as_of } = source;
        let mut provenance = format!("{document}, as of {as_of}; the severity is our own");
        if !self.inferred.is_empty() {
            let parts: Vec<&str> = self.inferred.iter().map(|part| part.word()).collect();
            provenance.push_str(&format!("; concluded by us: {}", parts.join(", ")));
        }
        Advice {
            is_known: true,
            name: self.name.clone(),
            meaning: self.meaning.clone(),
            class: self.class,
            action: self.action.clone(),
            severity: self.severity,
            escalates: self.escalates.clone(),
            provenance,
        }
    }
}

impl Advice {
    fn unknown(code: u32) -> Self {
        let action = if code >= SXID_MIN {
            "Look it up among the SXids of NVIDIA's Fabric Manager user guide: it is an NVSwitch's."
        } else {
            "Look it up in NVIDIA's newest XID catalogue: its driver is newer than this collector."
        };
        Self {
            is_known: false,
            name: "not in the catalogue".to_owned(),
            meaning: String::new(),
            class: Class::NonePublished,
            action: action.to_owned(),
            severity: Severity::Ticket,
            escalates: None,
            provenance: "not in the catalogue; severity and action are our own".to_owned(),
        }
    }
}

/// What a hub says of one XID against the catalogue; `None`: the catalogue's word counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    pub severity: Option<Severity>,
    pub class: Option<Class>,
    pub action: Option<String>,
}

/// The catalogue as one hub has it: what its operators say against it, by XID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xids(BTreeMap<u32, Override>);

impl Xids {
    /// False if the code has one already.
    pub fn insert(&mut self, code: u32, one: Override) -> bool {
        self.0.insert(code, one).is_none()
    }

    /// By XID.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Override)> {
        self.0.iter().map(|(code, one)| (*code, one))
    }

    /// What this hub is told of an XID.
    #[must_use]
    pub fn advice(&self, code: u32) -> Advice {
        let mut advice = catalogue().advice(code);
        if let Some(one) = self.0.get(&code) {
            one.change(&mut advice);
        }
        advice
    }

    /// How urgent an XID is at this hub.
    #[must_use]
    pub fn severity(&self, code: u32) -> Severity {
        let own = self.0.get(&code).and_then(|one| one.severity);
        let usual = || catalogue().0.get(&code).map_or(Severity::Ticket, |known| known.severity);
        own.unwrap_or_else(usual)
    }
}

impl Override {
    fn change(&self, advice: &mut Advice) {
        let Self { severity, class, action } = self.clone();
        let changed: Vec<&str> = [
            ("severity", severity.is_some()),
            ("class", class.is_some()),
            ("action", action.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_changed)| is_changed.then_some(name))
        .collect();
        advice.severity = severity.unwrap_or(advice.severity);
        advice.class = class.unwrap_or(advice.class);
        advice.action = action.unwrap_or_else(|| std::mem::take(&mut advice.action));
        let words = format!("; by this hub's configuration: {}", changed.join(", "));
        advice.provenance.push_str(&words);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_catalogue_is_whole_and_says_of_each_number_what_to_do() {
        let known = &catalogue().0;
        let codes: Vec<u32> = known.keys().copied().collect();
        assert_eq!(catalogue().last(), 172);
        assert_eq!(codes, (1..=172).collect::<Vec<u32>>(), "all that NVIDIA lists");
        let classes: BTreeSet<Class> = known.values().map(|advice| advice.class).collect();
        assert_eq!(classes.len(), 10, "each class has an XID");
        for (code, advice) in known {
            assert!(advice.is_known, "{code}");
            assert!((4..=60).contains(&advice.name.len()), "{code}: {}", advice.name);
            for text in [&advice.meaning, &advice.action] {
                assert!((5..=200).contains(&text.len()) && text.ends_with('.'), "{code}: {text}");
            }
            assert!(advice.provenance.contains("as of 2025-10-29"), "{code}");
        }
    }

    /// Goal: the judgements that on-call engineers rely on do not change unnoticed.
    #[test]
    fn what_wakes_somebody_by_table() {
        let page = [
            46, 48, 54, 62, 64, 79, 95, 110, 119, 120, 136, 140, 143, 155, 156, 158, 167, 168, 169,
            171, 172,
        ];
        let none = Xids::default();
        let paging: Vec<u32> =
            (1..=172).filter(|code| none.severity(*code) == Severity::Page).collect();
        assert_eq!(paging, page);
        for (code, class, severity) in [
            (79, Class::RebootNode, Severity::Page),
            (62, Class::ResetGpu, Severity::Page),
            (94, Class::RestartApp, Severity::Info),
            (63, Class::Ignore, Severity::Info),
            (74, Class::Workflow, Severity::Ticket),
            (54, Class::CheckMechanicals, Severity::Page),
            (167, Class::NonePublished, Severity::Page),
            (45, Class::Workflow, Severity::Info),
        ] {
            let advice = none.advice(code);
            assert_eq!((advice.class, advice.severity), (class, severity), "XID {code}");
            assert_eq!(none.severity(code), severity, "XID {code}");
        }
        assert!(none.advice(171).provenance.ends_with("concluded by us: action"));
    }

    #[test]
    fn an_unknown_number_is_told_as_that() {
        let none = Xids::default();
        for (code, words) in [(173, "newest XID catalogue"), (28_006, "Fabric Manager")] {
            let advice = none.advice(code);
            assert!(!advice.is_known && advice.action.contains(words), "{advice:?}");
            assert_eq!(advice.name, "not in the catalogue");
            assert_eq!(
                (advice.severity, none.severity(code)),
                (Severity::Ticket, Severity::Ticket)
            );
        }
    }

    #[test]
    fn a_hub_may_say_otherwise_and_the_provenance_says_so() {
        let mut own = Xids::default();
        let severity = Some(Severity::Page);
        assert!(own.insert(94, Override { severity, ..Override::default() }));
        let action = Some("Call the night desk.".to_owned());
        let class = Some(Class::ContactSupport);
        assert!(own.insert(43, Override { class, action, ..Override::default() }));
        assert!(!own.insert(43, Override::default()), "twice");
        let mut own = Xids::default();
        let one = Override { severity, class, action: Some("Call the night desk.".to_owned()) };
        own.insert(94, one);
        let advice = own.advice(94);
        assert_eq!((advice.severity, advice.class), (Severity::Page, Class::ContactSupport));
        assert_eq!(advice.action, "Call the night desk.");
        assert_eq!(own.severity(94), Severity::Page);
        let words = "by this hub's configuration: severity, class, action";
        assert!(advice.provenance.ends_with(words), "{}", advice.provenance);
        assert_eq!(own.advice(95), Xids::default().advice(95));
    }

    #[test]
    fn a_text_that_is_no_catalogue_is_refused() {
        let entry = "[[xid]]\ncodes = [1]\nname = \"n\"\nmeaning = \"m\"\nclass = \"ignore\"\n\
            action = \"a\"\nseverity = \"info\"\nsource = \"s\"\ninferred = []\n";
        let source = "[sources.s]\ndocument = \"d\"\nas_of = \"2025-10-29\"\n";
        assert!(Catalogue::parse(&format!("{source}{entry}")).is_ok());
        for (text, words) in [
            (format!("{source}{entry}{entry}"), "XID 1 is listed twice"),
            (entry.to_owned() + "[sources.t]\ndocument = \"d\"\nas_of = \"\"\n", "not declared"),
            (format!("{source}{entry}colour = 1\n"), "not one of this form"),
            (format!("{source}{}", entry.replace("ignore", "pray")), "not one of this form"),
            (format!("{source}{}", entry.replace("info", "loud")), "not one of this form"),
        ] {
            let error = Catalogue::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
