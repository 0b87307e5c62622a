//! The body of a remote write: lines of text become `prometheus.WriteRequest` under snappy.
//!
//! # Layout
//! `prometheus/prompb/remote.proto` and `types.proto`: a request has series (1); a series has
//! labels (1) by rising name and samples (2) by rising time; a label name (1) and value (2); a
//! sample a double (1) and milliseconds (2). The whole in one snappy block, not framed.

use std::collections::BTreeMap;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    at_ms: i64,
}

/// `None`: one of the lines is none that [`super::Shape`] wrote.
pub(super) fn body(lines: &str) -> Option<Vec<u8>> {
    snap::raw::Encoder::new().compress_vec(&request(lines)?.encode_to_vec()).ok()
}

fn request(lines: &str) -> Option<WriteRequest> {
    let mut by_head: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for line in lines.lines() {
        let (rest, at_ms) = line.rsplit_once(' ')?;
        let (head, value) = rest.rsplit_once(' ')?;
        let sample = Sample { value: value.parse().ok()?, at_ms: at_ms.parse().ok()? };
        by_head.entry(head).or_default().push(sample);
    }
    let series = by_head.into_iter().map(|(head, mut samples)| {
        samples.sort_by_key(|sample| sample.at_ms);
        // A time that is told again replaces what it told before.
        samples.reverse();
        samples.dedup_by_key(|sample| sample.at_ms);
        samples.reverse();
        Some(Series { labels: labels(head)?, samples })
    });
    Some(WriteRequest { series: series.collect::<Option<_>>()? })
}

/// The labels of `name{a="b",...}`. An empty value is no label.
fn labels(head: &str) -> Option<Vec<Label>> {
    let (name, mut rest) = head.split_once('{')?;
    let mut labels = vec![Label { name: "__name__".to_owned(), value: name.to_owned() }];
    while rest != "}" {
        let (name, after) = rest.split_once("=\"")?;
        let (value, end) = unescaped(after)?;
        if !value.is_empty() {
            labels.push(Label { name: name.trim_start_matches(',').to_owned(), value });
        }
        rest = after.get(end..)?;
    }
    labels.sort_by(|one, other| one.name.cmp(&other.name));
    Some(labels)
}

/// A value up to its quote, and where the text goes on behind it.
fn unescaped(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, at + 1)),
            (_, '\\') => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            (_, plain) => value.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_series_with_their_labels_and_samples_in_order() {
        let text = "bijli_gpu_power_watts{hub=\"isb\",node=\"n1\",gpu=\"0\"} 612.500 2000\n\
            bijli_meter_voltage_volts{hub=\"isb\",meter=\"a \\\"b\\\\\\n\",phase=\"\"} 231.0 7\n\
            bijli_gpu_power_watts{hub=\"isb\",node=\"n1\",gpu=\"0\"} 1.000 1000\n\
            bijli_gpu_power_watts{hub=\"isb\",node=\"n1\",gpu=\"0\"} 2.000 1000\n";
        let request = request(text).expect("lines of ours");
        let labels = |series: &Series| -> Vec<String> {
            series.labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect()
        };
        let [gpu, meter] = &request.series[..] else { panic!("two series") };
        assert_eq!(labels(gpu), ["__name__=bijli_gpu_power_watts", "gpu=0", "hub=isb", "node=n1"]);
        assert_eq!(
            labels(meter),
            ["__name__=bijli_meter_voltage_volts", "hub=isb", "meter=a \"b\\\n"]
        );
        let samples = [(2.0, 1_000), (612.5, 2_000)];
        assert_eq!(gpu.samples, samples.map(|(value, at_ms)| Sample { value, at_ms }));
        let packed = body(text).expect("lines of ours");
        let plain = snap::raw::Decoder::new().decompress_vec(&packed).expect("snappy");
        assert_eq!(WriteRequest::decode(&plain[..]).expect("protobuf"), request);
    }

    #[test]
    fn what_is_no_line_of_ours_is_not_sent() {
        for line in ["", "x{} 1", "x{a=\"b} 1 2", "x{a=\"b\"} one 2", "x{a=\"b\"} 1 2.5", "x 1 2"] {
            assert!(line.is_empty() || request(&format!("{line}\n")).is_none(), "{line}");
        }
    }
}
