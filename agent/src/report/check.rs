//! `bijli-agent check`: what this machine can measure, how, and what is missing and why.

use bijli_wire::Method;
use bijli_wire::message::SubjectKind;
use serde_json::{Value, json};

use super::{COLUMNS, Finding, kind_name, who, wrapped};
use crate::probe::{Description, How, Note};

const HOW_WIDTH: usize = 12;
const WHAT_WIDTH: usize = 20;
const MARGIN: usize = 2;

/// The report for people.
#[must_use]
pub fn text(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for (index, finding) in findings.iter().enumerate() {
        lines.push(finding.probe.clone());
        match &finding.outcome {
            Ok(description) => {
                subjects(&finding.probe, description, &mut lines);
                // Eight equal GPUs are listed one below the other and described once.
                let next = findings.get(index + 1).and_then(|next| next.outcome.as_ref().ok());
                if next.is_some_and(|next| next.notes == description.notes) {
                    continue;
                }
                for note in &description.notes {
                    columns(how_words(note.how), &note.what, &note.words, &mut lines);
                }
            }
            Err(error) => columns("cannot read", "", error, &mut lines),
        }
        lines.push(String::new());
    }
    lines.extend(wrapped(&summary(findings), COLUMNS));
    let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
    lines.join("\n") + "\n"
}

/// What stands in the way, for people.
#[must_use]
pub fn problems(problems: &[String]) -> String {
    const LABEL: &str = "problem: ";
    let mut text = String::new();
    for problem in problems {
        for (row, words) in wrapped(problem, COLUMNS - LABEL.len()).iter().enumerate() {
            let label = if row == 0 { LABEL } else { "" };
            text.push_str(&format!("{label:width$}{words}\n", width = LABEL.len()));
        }
    }
    text
}

fn subjects(probe: &str, description: &Description, lines: &mut Vec<String>) {
    for subject in &description.subjects {
        let id = subject.id.as_str();
        // "nvml:GPU-5b1c" has said it already.
        let is_said = probe.split_once(':').is_some_and(|(_, rest)| rest == id);
        let about = [if is_said { "" } else { id }, &who(subject)].join("  ");
        for line in wrapped(&about, COLUMNS - MARGIN) {
            lines.push(format!("{:MARGIN$}{line}", ""));
        }
    }
}

/// How, what and why side by side, each broken within its own column.
fn columns(how: &str, what: &str, words: &str, lines: &mut Vec<String>) {
    let words = wrapped(words, COLUMNS - MARGIN - HOW_WIDTH - WHAT_WIDTH - MARGIN);
    let what = wrapped(what, WHAT_WIDTH);
    for row in 0..words.len().max(what.len()) {
        let how = if row == 0 { how } else { "" };
        let what = what.get(row).map_or("", String::as_str);
        let words = words.get(row).map_or("", String::as_str);
        let line = format!("{:MARGIN$}{how:HOW_WIDTH$}{what:WHAT_WIDTH$}{:MARGIN$}{words}", "", "");
        lines.push(line);
    }
}

fn how_words(how: How) -> &'static str {
    match how {
        How::Register => "register",
        How::Integrated => "integrated",
        How::Read => "read",
        How::Missing => "missing",
        How::NotOffered => "not offered",
    }
}

fn summary(findings: &[Finding]) -> String {
    let (mut hardware, mut integrated, mut sampled, mut without) = (0, 0, 0, 0);
    let descriptions = findings.iter().filter_map(|finding| finding.outcome.as_ref().ok());
    for subject in descriptions.flat_map(|description| &description.subjects) {
        match subject.register.map(|register| register.method) {
            Some(Method::Hardware) => hardware += 1,
            Some(Method::Integrated) => integrated += 1,
            Some(Method::Sampled) => sampled += 1,
            // A node without a meter of its own is the sum of its devices.
            None if subject.kind == SubjectKind::Node => {}
            Some(Method::Unspecified) | None => without += 1,
        }
    }
    let failed = findings.iter().filter(|finding| finding.outcome.is_err()).count();
    format!(
        "Energy: {hardware} by hardware register, {integrated} integrated, {sampled} sampled, \
         {without} watched without energy. Probes that cannot read now: {failed}."
    )
}

/// The report for programs. `problems` is what stands in the way; nothing does if it is empty.
#[must_use]
pub fn json(findings: &[Finding], problems: &[String]) -> String {
    let probes: Vec<Value> = findings.iter().map(probe).collect();
    let report = json!({ "is_ready": problems.is_empty(), "problems": problems, "probes": probes });
    format!("{report:#}\n")
}

fn probe(finding: &Finding) -> Value {
    match &finding.outcome {
        Err(error) => json!({ "name": finding.probe, "error": error }),
        Ok(description) => json!({
            "name": finding.probe,
            "subjects": description.subjects.iter().map(subject).collect::<Vec<_>>(),
            "series": series(description),
            "notes": description.notes.iter().map(note).collect::<Vec<_>>(),
        }),
    }
}

fn subject(subject: &bijli_wire::batch::Subject) -> Value {
    let register = subject.register.map(|register| {
        json!({
            "method": match register.method {
                Method::Hardware => "hardware",
                Method::Integrated => "integrated",
                Method::Sampled => "sampled",
                Method::Unspecified => "unspecified",
            },
            "mj_per_count_numerator": register.numerator.to_string(),
            "mj_per_count_denominator": register.denominator.to_string(),
            "modulus_count": register.modulus.map(|modulus| modulus.to_string()),
            "power_max_mw": register.power_max.get().to_string(),
            "gap_ms": register.gap.get().to_string(),
            "epoch": register.epoch.to_string(),
        })
    });
    json!({
        "id": subject.id.as_str(),
        "kind": kind_name(subject.kind),
        "label": subject.label,
        "model": subject.model,
        "serial": subject.serial,
        "register": register,
    })
}

fn series(description: &Description) -> Vec<Value> {
    let offers = description.series.iter().map(|offer| {
        let spec = offer.quantity.spec();
        let subject = description.subjects.get(offer.subject).map(|subject| subject.id.as_str());
        json!({
            "subject": subject,
            "quantity": spec.name,
            "unit": spec.unit,
            "part": offer.part,
            "every_ms": offer.cadence.period().get().to_string(),
        })
    });
    offers.collect()
}

fn note(note: &Note) -> Value {
    json!({ "how": how_words(note.how), "what": note.what, "words": note.words })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::once::tests::gpu;

    fn findings() -> Vec<Finding> {
        let mut gpu = gpu();
        let description = gpu.outcome.as_mut().expect("described");
        description.notes = vec![
            Note::new(
                How::Register,
                "energy",
                "the GPU's own register, in mJ since the driver was loaded; it counts on while \
                 the agent is down",
            ),
            Note::new(How::NotOffered, "energy of a MIG instance", "the whole GPU only"),
        ];
        let error = "isb/incomer at 10.0.0.7:502: connection refused".to_owned();
        let meter = Finding {
            probe: "modbus:isb/incomer".to_owned(),
            outcome: Err(error),
            samples: Vec::new(),
        };
        vec![gpu.clone(), gpu, meter]
    }

    /// Feel free to change the output; this makes sure you break only what you intend.
    #[test]
    fn the_report_for_people() {
        let expected = "\
nvml:GPU-5b1c
  GPU 0, NVIDIA H100 80GB HBM3, serial 1650
nvml:GPU-5b1c
  GPU 0, NVIDIA H100 80GB HBM3, serial 1650
  register    energy                the GPU's own register, in mJ since the
                                    driver was loaded; it counts on while the
                                    agent is down
  not offered energy of a MIG       the whole GPU only
              instance

modbus:isb/incomer
  cannot read                       isb/incomer at 10.0.0.7:502: connection
                                    refused

Energy: 2 by hardware register, 0 integrated, 0 sampled, 0 watched without
energy. Probes that cannot read now: 1.
";
        let report = text(&findings());
        assert_eq!(report, expected);
        assert!(report.lines().all(|line| line.chars().count() <= COLUMNS));
    }

    #[test]
    fn problems_fit_the_columns() {
        let words = "the collector http://127.0.0.1:8640 cannot be reached: Connection refused \
                     (os error 111)";
        let expected = "\
problem: the collector http://127.0.0.1:8640 cannot be reached: Connection
         refused (os error 111)
problem: short
";
        assert_eq!(problems(&[words.to_owned(), "short".to_owned()]), expected);
    }

    #[test]
    fn the_report_for_programs_has_exact_integers_in_strings() {
        let problems = ["the collector cannot be reached".to_owned()];
        let report = json(&findings(), &problems);
        let report: Value = serde_json::from_str(&report).expect("valid JSON");
        assert_eq!(report["is_ready"], false);
        assert_eq!(report["problems"][0], "the collector cannot be reached");
        let gpu = &report["probes"][0];
        assert_eq!(gpu["subjects"][0]["register"]["power_max_mw"], "700000");
        assert_eq!(gpu["subjects"][0]["register"]["method"], "hardware");
        assert_eq!(gpu["subjects"][0]["register"]["modulus_count"], Value::Null);
        assert_eq!(gpu["series"][0]["quantity"], "energy_register");
        assert_eq!(gpu["series"][0]["every_ms"], "1000");
        assert_eq!(gpu["notes"][0]["how"], "register");
        let error = "isb/incomer at 10.0.0.7:502: connection refused";
        assert_eq!(report["probes"][2]["error"], error);
    }
}
