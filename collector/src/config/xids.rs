//! `[[hub.xid]]`: what the operators of a hub say against the XID catalogue.

use serde::Deserialize;

use super::{Problem, note};
use crate::severity::Severity;
use crate::xids::{Class, Override, Xids, catalogue};

/// Longest action, in characters: it is shown in a table.
const ACTION_MAX: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct XidText {
    code: u32,
    #[serde(default)]
    severity: Option<Severity>,
    #[serde(default)]
    class: Option<Class>,
    #[serde(default)]
    action: Option<String>,
}

/// Those of one hub, whose `place` problems are told of.
pub(super) fn check(texts: Vec<XidText>, place: &str, problems: &mut Vec<Problem>) -> Xids {
    let mut overrides = Xids::default();
    for XidText { code, severity, class, action } in texts {
        let place = format!("{place}, xid {code}");
        if !catalogue().has(code) {
            let what = "the catalogue has no such XID";
            let remedy = format!("correct its code: the catalogue has 1 to {}", catalogue().last());
            note(problems, &place, what, remedy);
        }
        if severity.is_none() && class.is_none() && action.is_none() {
            let remedy = "give a severity, a class or an action, or take the section off";
            note(problems, &place, "it changes nothing", remedy);
        }
        if action.as_ref().is_some_and(|text| !is_one_line(text)) {
            let what = format!("an action is one line of 1 to {ACTION_MAX} characters");
            note(problems, &place, what, "say what is to be done at once, and link to the rest");
        }
        if !overrides.insert(code, Override { severity, class, action }) {
            note(problems, &place, "it is declared twice", "keep one [[hub.xid]] section per code");
        }
    }
    overrides
}

fn is_one_line(text: &str) -> bool {
    let length = text.trim().chars().count();
    (1..=ACTION_MAX).contains(&length) && !text.chars().any(char::is_control)
}

/// A line for each, for `check`.
pub(super) fn explain(overrides: &Xids) -> String {
    let line = |(code, one): (u32, &Override)| {
        let severity = one.severity.map(|severity| format!("severity {}", severity.word()));
        let class = one.class.map(|class| format!("class {}", class.word()));
        let action = one.action.as_ref().map(|_| "an action of its own".to_owned());
        let parts: Vec<String> = [severity, class, action].into_iter().flatten().collect();
        format!("    XID {code}: {}\n", parts.join(", "))
    };
    overrides.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Text {
        xid: Vec<XidText>,
    }

    fn checked(text: &str) -> (Xids, String) {
        let Text { xid } = toml::from_str(text).expect("valid TOML");
        let mut problems = Vec::new();
        let overrides = check(xid, "hub \"isb\"", &mut problems);
        (overrides, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn overrides_are_taken_and_explained() {
        let text = "[[xid]]\ncode = 94\nseverity = \"page\"\n\
            [[xid]]\ncode = 43\nclass = \"restart_app\"\naction = \"Tell the owner.\"\n";
        let (overrides, problems) = checked(text);
        assert_eq!(problems, "");
        assert_eq!(overrides.severity(94), Severity::Page);
        let words =
            "    XID 43: class restart_app, an action of its own\n    XID 94: severity page\n";
        assert_eq!(explain(&overrides), words);
    }

    #[test]
    fn o1_wrong_overrides_by_table() {
        for (text, words) in [
            (
                "code = 999\nseverity = \"page\"",
                "hub \"isb\", xid 999: the catalogue has no such XID",
            ),
            ("code = 94", "it changes nothing"),
            ("code = 94\naction = \"\"", "one line of 1 to 200"),
            ("code = 94\naction = \"a\\nb\"", "one line of 1 to 200"),
            (
                "code = 94\nclass = \"ignore\"\n[[xid]]\ncode = 94\nclass = \"ignore\"",
                "declared twice",
            ),
        ] {
            let (_, problems) = checked(&format!("[[xid]]\n{text}\n"));
            assert!(problems.contains(words), "{text}: {problems}");
        }
    }
}
