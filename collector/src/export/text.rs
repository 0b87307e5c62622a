//! Prometheus text format 0.0.4, written into one `String`.
//!
//! # Invariants
//! - Numbers are printed from integers; no float is made on the way.
//! - Label values are escaped, so no text from outside can end a line or a label.
//! - A family's lines follow its HELP and TYPE, which are written once, before its first line.

use std::fmt::Write as _;

use super::catalogue::Metric;

/// A value as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Count(u64),
    /// Thousandths of the metric's unit.
    Milli(i128),
    /// Millionths.
    Micro(i128),
    /// Billionths.
    Nano(i128),
}

/// How a number of the wire becomes one of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Milli,
    Ppm,
    Nano,
    /// Of what is never below 0.
    Whole,
}

impl Unit {
    pub(crate) fn value(self, number: i64) -> Value {
        match self {
            Self::Milli => Value::Milli(i128::from(number)),
            Self::Ppm => Value::Micro(i128::from(number)),
            Self::Nano => Value::Nano(i128::from(number)),
            Self::Whole => Value::Count(u64::try_from(number).unwrap_or(0)),
        }
    }
}

/// The text so far.
#[derive(Debug, Default)]
pub(crate) struct Text {
    out: String,
    family: Option<&'static str>,
}

impl Text {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { out: String::with_capacity(bytes), family: None }
    }

    /// One line. `labels` are the values of the metric's labels, in the catalogue's order.
    pub(crate) fn line(&mut self, metric: &Metric, labels: &[&str], value: Value) {
        assert_eq!(labels.len(), metric.labels.len(), "{} needs its labels", metric.name);
        if self.family != Some(metric.name) {
            self.begin(metric);
        }
        head(&mut self.out, metric, labels);
        self.out.push(' ');
        number(&mut self.out, value);
        self.out.push('\n');
    }

    /// A line, if there is a value.
    pub(crate) fn line_if(&mut self, metric: &Metric, labels: &[&str], value: Option<Value>) {
        if let Some(value) = value {
            self.line(metric, labels, value);
        }
    }

    pub(crate) fn finish(self) -> String {
        self.out
    }

    fn begin(&mut self, metric: &Metric) {
        self.family = Some(metric.name);
        let (name, help, kind) = (metric.name, metric.help, metric.kind.word());
        // Writing to a String cannot fail.
        let _written = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }
}

/// `name{label="value",...}`, the values in the order of the metric's labels.
pub(crate) fn head(out: &mut String, metric: &Metric, labels: &[&str]) {
    out.push_str(metric.name);
    for (index, (name, value)) in metric.labels.iter().zip(labels).enumerate() {
        out.push(if index == 0 { '{' } else { ',' });
        out.push_str(name);
        out.push_str("=\"");
        escape(out, value);
        out.push('"');
    }
    out.push('}');
}

pub(crate) fn number(out: &mut String, value: Value) {
    let (value, places) = match value {
        Value::Count(count) => (i128::from(count), 0),
        Value::Milli(value) => (value, 3),
        Value::Micro(value) => (value, 6),
        Value::Nano(value) => (value, 9),
    };
    let (sign, size, scale) = (sign(value), value.unsigned_abs(), 10_u128.pow(places));
    // Writing to a String cannot fail.
    let _written = write!(out, "{sign}{}", size / scale);
    if places > 0 {
        let width = usize::try_from(places).unwrap_or(0);
        let _written = write!(out, ".{:0width$}", size % scale);
    }
}

const fn sign(value: i128) -> &'static str {
    if value < 0 { "-" } else { "" }
}

fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            // A carriage return or any other control character would only confuse a terminal.
            control if control.is_control() => out.push(' '),
            plain => out.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::catalogue;

    #[test]
    fn lines_are_escaped_grouped_and_printed_from_integers() {
        let mut text = Text::default();
        let hostile = "x\"} 1\nup{ \\ \r";
        text.line(&catalogue::NODE_INFO, &["isb", "n1", hostile], Value::Count(1));
        text.line(&catalogue::NODE_CPU, &["isb", "n1"], Value::Micro(50_000));
        text.line_if(&catalogue::NODE_CPU, &["isb", "n2"], None);
        text.line(&catalogue::IMBALANCE, &["isb"], Value::Milli(-7));
        text.line(&catalogue::IDLE, &["isb"], Value::Milli(1_234_567));
        let labels = ["isb", "n1", "0", "power_cap"];
        text.line(&catalogue::GPU_THROTTLE, &labels, Unit::Nano.value(1_000_000_002));
        let text = text.finish();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "bijli_node_info{hub=\"isb\",node=\"n1\",agent=\"x\\\"} 1\\nup{ \\\\  \"} 1",
                "bijli_node_cpu_utilization_ratio{hub=\"isb\",node=\"n1\"} 0.050000",
                "bijli_ledger_imbalance_joules{hub=\"isb\"} -0.007",
                "bijli_idle_energy_joules_total{hub=\"isb\"} 1234.567",
                "bijli_gpu_throttle_seconds_total{hub=\"isb\",node=\"n1\",gpu=\"0\",\
                 reason=\"power_cap\"} 1.000000002",
            ]
        );
        assert_eq!(text.matches("# TYPE").count(), 5);
    }
}
