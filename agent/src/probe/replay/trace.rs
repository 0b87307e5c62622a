//! The recorded formats: SPEC PTDaemon lines, MLPerf logging lines, and plain CSV.

use bijli_wire::{Milliwatts, UtcMillis};
use chrono::{DateTime, FixedOffset, NaiveDateTime};
use serde::Deserialize;

use bijli_wire::quantity::Decimal;

/// How a trace was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `Time,07-17-2024 09:44:23.305,Watts,2406.500000,...`, times without a zone.
    Ptd,
    /// `:::MLLOG {"time_ms": ..., "key": "power_reading", "value": 8244.0, ...}` in watts. The
    /// logged `conversion_eff` is not applied: the published energies are those of the readings.
    Mllog,
    /// `time_ms,power_mw`, with that heading.
    Csv,
}

/// One recorded reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) at: UtcMillis,
    pub(super) power: Milliwatts,
}

/// A line number and what is wrong there; line 0 is the whole file.
type Refusal = (usize, String);

/// All readings, in time order; lines that are none of the format's readings refuse the file.
pub(super) fn rows(
    text: &str,
    format: Format,
    utc_offset: Option<&str>,
) -> Result<Vec<Row>, Refusal> {
    let offset = match (format, utc_offset) {
        (Format::Ptd, None) => {
            let rule = "its times name no zone: configure utc_offset, for example \"+05:00\"";
            return Err((0, rule.to_owned()));
        }
        (_, Some(text)) => Some(zone(text).map_err(|rule| (0, rule))?),
        (Format::Mllog | Format::Csv, None) => None,
    };
    let mut rows: Vec<Row> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let row = match (format, offset) {
            _ if line.trim().is_empty() => None,
            (Format::Ptd, Some(offset)) => Some(ptd(line, offset).map_err(|rule| (number, rule))?),
            (Format::Ptd, None) => None,
            (Format::Mllog, _) => mllog(line).map_err(|rule| (number, rule))?,
            (Format::Csv, _) if number == 1 && line.trim() == "time_ms,power_mw" => None,
            (Format::Csv, _) => Some(csv(line).map_err(|rule| (number, rule))?),
        };
        let Some(row) = row else { continue };
        if row.at <= UtcMillis::ZERO {
            return Err((number, "its time is before 1970".to_owned()));
        }
        if rows.last().is_some_and(|last| last.at > row.at) {
            return Err((number, "its time is before that of the reading above".to_owned()));
        }
        rows.push(row);
    }
    if rows.is_empty() { Err((0, "no reading in it".to_owned())) } else { Ok(rows) }
}

fn zone(text: &str) -> Result<FixedOffset, String> {
    text.parse().map_err(|_| format!("utc_offset {text:?} is not of the form \"+05:00\""))
}

fn ptd(line: &str, offset: FixedOffset) -> Result<Row, String> {
    let mut parts = line.split(',');
    let (Some("Time"), Some(time), Some("Watts"), Some(watts)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("it does not begin with Time,...,Watts,...".to_owned());
    };
    let local = NaiveDateTime::parse_from_str(time, "%m-%d-%Y %H:%M:%S%.f")
        .map_err(|error| format!("time {time:?}: {error}"))?;
    let local: DateTime<FixedOffset> = local
        .and_local_timezone(offset)
        .single()
        .ok_or_else(|| format!("time {time:?} does not exist"))?;
    Ok(Row { at: UtcMillis::new(local.timestamp_millis()), power: watts_in(watts)? })
}

fn mllog(line: &str) -> Result<Option<Row>, String> {
    #[derive(Deserialize)]
    struct Event<'a> {
        time_ms: i64,
        #[serde(borrow)]
        key: std::borrow::Cow<'a, str>,
        value: serde_json::Value,
    }
    let Some(json) = line.trim().strip_prefix(":::MLLOG ") else { return Ok(None) };
    let event: Event = serde_json::from_str(json).map_err(|error| error.to_string())?;
    if event.key != "power_reading" {
        return Ok(None);
    }
    // The shortest decimal that reads back the same: the digits of the log.
    let power = watts_in(&event.value.to_string())?;
    Ok(Some(Row { at: UtcMillis::new(event.time_ms), power }))
}

fn csv(line: &str) -> Result<Row, String> {
    let refuse = || format!("{line:?} is not time_ms,power_mw");
    let (time, power) = line.trim().split_once(',').ok_or_else(refuse)?;
    let at = time.trim().parse().map(UtcMillis::new).map_err(|_| refuse())?;
    let power = power.trim().parse().map(Milliwatts::new).map_err(|_| refuse())?;
    Ok(Row { at, power })
}

/// Decimal watts as whole milliwatts.
fn watts_in(text: &str) -> Result<Milliwatts, String> {
    let watts = Decimal::parse(text.trim()).ok_or_else(|| format!("{text:?} is no power"))?;
    let (milli, unit) = (watts.digits.checked_mul(1_000), watts.denominator());
    match milli {
        Some(milli) if milli % unit == 0 => u64::try_from(milli / unit)
            .map(Milliwatts::new)
            .map_err(|_| format!("{text} W is too large")),
        Some(_) => Err(format!("{text} W is no whole number of milliwatts")),
        None => Err(format!("{text} W is too large")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a real trace (MLPerf Training v5.0, 8xB200), without their metadata.
    const MLLOG: &str = r#"
:::MLLOG {"time_ms": 1745519750000, "key": "power_measurement_start", "value": null}
:::MLLOG {"time_ms": 1745519750000, "key": "conversion_eff", "value": 0.94}
:::MLLOG {"time_ms": 1745519751000, "key": "power_reading", "value": 8244.0}
:::MLLOG {"time_ms": 1745519752000, "key": "power_reading", "value": 9637.5}
:::MLLOG {"time_ms": 1745520408000, "key": "power_measurement_stop", "value": null}
"#;

    fn row(at: i64, mw: u64) -> Row {
        Row { at: UtcMillis::new(at), power: Milliwatts::new(mw) }
    }

    #[test]
    fn readings_of_the_three_formats() {
        let readings = [row(1_745_519_751_000, 8_244_000), row(1_745_519_752_000, 9_637_500)];
        assert_eq!(rows(MLLOG, Format::Mllog, None), Ok(readings.to_vec()));
        let ptd = "Time,07-17-2024 09:44:23.305,Watts,2406.500000,Volts,239.1\n\n";
        let utc = rows(ptd, Format::Ptd, Some("+00:00"));
        assert_eq!(utc, Ok(vec![row(1_721_209_463_305, 2_406_500)]));
        let seven_hours_later = rows(ptd, Format::Ptd, Some("-07:00"));
        assert_eq!(seven_hours_later, Ok(vec![row(1_721_234_663_305, 2_406_500)]));
        let csv = rows("5,7\n6,8\n", Format::Csv, None);
        assert_eq!(csv, Ok(vec![row(5, 7), row(6, 8)]));
    }

    #[test]
    fn refusals_name_the_line_and_the_rule() {
        let ptd = "Time,07-17-2024 09:44:23.305,Watts,2406.5\n";
        for (text, format, offset, line, rule) in [
            (ptd, Format::Ptd, None, 0, "configure utc_offset"),
            (ptd, Format::Ptd, Some("PKT"), 0, "\"PKT\" is not of the form"),
            ("Time,13-40-2024 09:44:23,Watts,1", Format::Ptd, Some("+00:00"), 1, "time"),
            ("Time,x", Format::Ptd, Some("+00:00"), 1, "does not begin with"),
            (
                "Time,07-17-2024 09:44:23.305,Watts,-1.0",
                Format::Ptd,
                Some("+00:00"),
                1,
                "\"-1.0\" is no power",
            ),
            ("5,7\n5,8\n4,9\n", Format::Csv, None, 3, "before that of the reading above"),
            ("time_ms,power_mw\n5;7", Format::Csv, None, 2, "is not time_ms,power_mw"),
            ("-5,7", Format::Csv, None, 1, "before 1970"),
            ("time_ms,power_mw\n", Format::Csv, None, 0, "no reading"),
            (":::MLLOG {\"time_ms\": 1}", Format::Mllog, None, 1, "missing field"),
            (
                ":::MLLOG {\"time_ms\": 1, \"key\": \"power_reading\", \"value\": null}",
                Format::Mllog,
                None,
                1,
                "\"null\" is no power",
            ),
        ] {
            let (found, words) = rows(text, format, offset).expect_err(rule);
            assert!(found == line && words.contains(rule), "{found}: {words}, wanted {rule}");
        }
    }
}
