//! What `bijli-agent check` and `bijli-agent once` print: pure functions over what probes found.
//!
//! # Invariants
//! - Text fits 80 columns. JSON carries every number as an exact integer in a string, with its
//!   unit beside it.

use bijli_wire::message::SubjectKind;

use crate::holders::Surveyed;
use crate::probe::{Described, Description, How, Note, Probe, Sample, Tick, describe_all};

pub mod check;
pub mod once;

/// Columns of a terminal that nobody resized.
const COLUMNS: usize = 80;

/// What one probe found, with its last reading if it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub probe: String,
    /// The error as a chain of words.
    pub outcome: Result<Description, String>,
    pub samples: Vec<Sample>,
}

/// Describes every probe, and those that they find, one after the other.
#[must_use]
pub fn survey(probes: Vec<Box<dyn Probe>>) -> Vec<Finding> {
    describe_all(probes).into_iter().map(|described| finding(described).0).collect()
}

/// What the witnesses of who holds what said, each as a finding of its own. That there is none is
/// said where there are GPUs to be held.
#[must_use]
pub fn holders(surveyed: Vec<Surveyed>, findings: &[Finding]) -> Vec<Finding> {
    let noted = |note| Description { notes: vec![note], ..Description::default() };
    let finding = |probe: String, outcome| Finding { probe, outcome, samples: Vec::new() };
    let described = findings.iter().filter_map(|finding| finding.outcome.as_ref().ok());
    let mut subjects = described.flat_map(|description| &description.subjects);
    if surveyed.is_empty() && subjects.any(|subject| subject.kind == SubjectKind::Gpu) {
        let words = "nobody tells it: enable [slurm], [job_files], [holds_file] or [kubelet], or \
             PUT allocations at the collector; until then no project has these GPUs";
        let note = Note::new(How::Missing, HOLDS, words);
        return vec![finding("holders".to_owned(), Ok(noted(note)))];
    }
    let of = |Surveyed { name, outcome }| {
        let outcome = outcome.map(|words: String| noted(Note::new(How::Read, HOLDS, words)));
        finding(format!("holders:{name}"), outcome)
    };
    surveyed.into_iter().map(of).collect()
}

const HOLDS: &str = "who holds what";

/// As [`survey`], then reads everything `times` times; the last reading is kept. `tick` is asked
/// before each round and may wait: shares of processor time need two rounds, a second apart.
pub fn survey_and_read(
    probes: Vec<Box<dyn Probe>>,
    times: u32,
    mut tick: impl FnMut() -> Tick,
) -> Vec<Finding> {
    let mut findings: Vec<(Finding, Box<dyn Probe>)> =
        describe_all(probes).into_iter().map(finding).collect();
    for _ in 0..times {
        let now = tick();
        for (finding, probe) in &mut findings {
            if let Ok(description) = &finding.outcome {
                finding.samples = probe.read(&description.cadences(), now);
            }
        }
    }
    findings.into_iter().map(|(finding, _)| finding).collect()
}

fn finding(described: Described) -> (Finding, Box<dyn Probe>) {
    let Described { probe, outcome } = described;
    let outcome = outcome.map_err(|error| {
        let mut words = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            words = format!("{words}: {cause}");
            source = cause.source();
        }
        words
    });
    (Finding { probe: probe.name().to_owned(), outcome, samples: Vec::new() }, probe)
}

fn kind_name(kind: SubjectKind) -> &'static str {
    match kind {
        SubjectKind::Unspecified => "unspecified",
        SubjectKind::Node => "node",
        SubjectKind::Gpu => "gpu",
        SubjectKind::CpuPackage => "cpu_package",
        SubjectKind::Dram => "dram",
        SubjectKind::Meter => "meter",
    }
}

/// `"GPU 0, NVIDIA H100, serial 165"`: what is known of a subject, empty parts left out.
fn who(subject: &bijli_wire::batch::Subject) -> String {
    let serial = if subject.serial.is_empty() {
        String::new()
    } else {
        format!("serial {}", subject.serial)
    };
    // A GPU's label is its index: a number alone says nothing to a reader.
    let is_index = subject.kind == SubjectKind::Gpu && !subject.label.is_empty();
    let label = if is_index { format!("GPU {}", subject.label) } else { subject.label.clone() };
    // A node's label is its name, which its id has said.
    let label = if label == subject.id.as_str() { String::new() } else { label };
    let parts = [label.as_str(), subject.model.as_str(), serial.as_str()];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// `words` broken between words into lines of at most `width` characters; a longer word is cut.
fn wrapped(words: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split_whitespace() {
        let mut letters = word.chars().peekable();
        while letters.peek().is_some() {
            let piece: String = letters.by_ref().take(width).collect();
            let line = lines.last_mut().expect("never empty");
            let used = line.chars().count();
            if used == 0 {
                line.push_str(&piece);
            } else if used + 1 + piece.chars().count() <= width {
                line.push(' ');
                line.push_str(&piece);
            } else {
                lines.push(piece);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_and_long_ones_cut() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
