//! What `ipmitool` prints, understood. Tolerant: by the words of its labels, not by its columns.

use bijli_wire::Milliwatts;

use super::milliwatts;
use super::tool::Said;

/// One answer of a BMC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    watts: u64,
    /// Why it is not to be believed, in the BMC's own words.
    doubt: Option<String>,
    /// How it was read, for people.
    pub(super) evidence: String,
}

impl Reading {
    /// The power, if it can be true.
    pub(super) fn power(&self, power_max: Milliwatts) -> Result<Milliwatts, String> {
        if let Some(doubt) = &self.doubt {
            return Err(doubt.clone());
        }
        match milliwatts(self.watts) {
            Some(power) if power > power_max => {
                Err(format!("{} W are more than power_max: not believed", self.watts))
            }
            Some(power) if power > Milliwatts::ZERO => Ok(power),
            Some(_) | None => {
                Err("0 W: not believed, for a BMC that answers draws some itself".to_owned())
            }
        }
    }
}

/// Of `dcmi power reading`.
pub(super) fn of_dcmi(said: &Said) -> Result<Reading, String> {
    let watts = field(&said.out, "Instantaneous power reading").and_then(whole_watts);
    let Some(watts) = watts else { return Err(refusal(said)) };
    let state = field(&said.out, "Power reading state is").unwrap_or_default();
    let is_active = state.is_empty() || state == "activated";
    let doubt = (!is_active)
        .then(|| format!("the BMC says that its power measurement is {state}: its value is old"));
    let average = field(&said.out, "Average power reading over sample period");
    let period = field(&said.out, "Sampling period");
    let evidence = match (average, period) {
        (Some(average), Some(period)) => {
            let period = period.trim_end_matches('.').trim_start_matches('0');
            format!("DCMI, momentary; the BMC's own average over {period} is {average}")
        }
        _ => "DCMI, momentary".to_owned(),
    };
    Ok(Reading { watts, doubt, evidence })
}

/// Of `sdr get NAME`.
pub(super) fn of_sensor(sensor: &str, said: &Said) -> Result<Reading, String> {
    let Some(reading) = field(&said.out, "Sensor Reading") else { return Err(refusal(said)) };
    let wrong = || format!("sensor {sensor:?} reads {reading:?}, which is no power in watts");
    let (number, rest) = reading.split_once(' ').ok_or_else(wrong)?;
    if !rest.ends_with("Watts") {
        return Err(wrong());
    }
    let watts = number.split('.').next().and_then(|whole| whole.parse().ok()).ok_or_else(wrong)?;
    let state = field(&said.out, "Status").unwrap_or_default();
    let is_read = !matches!(state, "ns" | "na" | "Not Available");
    let doubt = (!is_read).then(|| format!("the BMC says that sensor {sensor:?} is not available"));
    let id = field(&said.out, "Sensor ID").unwrap_or(sensor);
    let entity = field(&said.out, "Entity ID").unwrap_or("of no entity");
    let evidence = format!("sensor {id}, entity {entity}; an 8-bit sensor moves in steps");
    Ok(Reading { watts, doubt, evidence })
}

/// The value of `label: value`, wherever in the text it stands. ipmitool prints two on one line.
fn field<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let is_label = |name: &str| name.trim_end().ends_with(label);
    let mut rest = text.lines().find_map(|line| {
        let colons = line.match_indices(':').map(|(at, _)| at);
        colons.filter(|at| line.get(..*at).is_some_and(is_label)).find_map(|at| line.get(at + 1..))
    })?;
    // Two blanks or more begin the next label.
    rest = rest.trim();
    Some(rest.split("  ").next().unwrap_or(rest).trim())
}

fn whole_watts(value: &str) -> Option<u64> {
    value.strip_suffix("Watts")?.trim().parse().ok()
}

/// Why there is no reading, in words that say what to do.
fn refusal(said: &Said) -> String {
    let lines = said.err.lines().chain(said.out.lines()).map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let all = lines.join("; ");
    let has = |word: &str| all.to_ascii_lowercase().contains(word);
    if has("(c1)") || has("0xc1") {
        return "the BMC has no DCMI power reading (completion code 0xC1): name one of its power \
                sensors (`sensor`), or read it by Redfish"
            .to_owned();
    }
    if has("(d4)") {
        let words = "the BMC needs another `privilege` than USER for this (completion code 0xD4): \
                     write OPERATOR, and give its user no more than that";
        return words.to_owned();
    }
    if has("could not open device") {
        return "there is no /dev/ipmi0: load the kernel modules ipmi_si and ipmi_devintf, and give \
                the agent's group access to it; or there is no BMC"
            .to_owned();
    }
    if has("unable to establish") {
        return format!(
            "no session: nobody there, or it refuses user, password, privilege or cipher suite \
             ({all})"
        );
    }
    match all.is_empty() {
        true => "ipmitool says nothing".to_owned(),
        false => format!("ipmitool says: {all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Milliwatts = Milliwatts::new(12_000_000);

    /// As ipmitool 1.8.19 prints it, with fewer blanks.
    const DCMI: &str = "
    Instantaneous power reading:                  3180 Watts
    Minimum during sampling period:               2900 Watts
    Maximum during sampling period:               9944 Watts
    Average power reading over sample period:     3300 Watts
    IPMI timestamp:       11/27/26 09:40:26 UTC    Sampling period:  00000001 Seconds.
    Power reading state is:                   activated

";
    const SENSOR: &str = "Sensor ID              : SYS POWER 1 (0x1)
 Entity ID             : 7.1 (System Board)
 Sensor Type (Threshold)  : Other (0x0b)
 Sensor Reading        : 3180 (+/- 0) Watts
 Status                : ok
";

    fn said(out: &str, err: &str) -> Said {
        Said { is_success: err.is_empty(), out: out.to_owned(), err: err.to_owned() }
    }

    fn dcmi(out: &str) -> Result<u64, String> {
        of_dcmi(&said(out, ""))?.power(MAX).map(Milliwatts::get)
    }

    fn sensor(out: &str) -> Result<u64, String> {
        of_sensor("SYS POWER 1", &said(out, ""))?.power(MAX).map(Milliwatts::get)
    }

    #[test]
    fn power_is_read_by_its_labels() {
        assert_eq!(dcmi(DCMI), Ok(3_180_000));
        let evidence = of_dcmi(&said(DCMI, "")).expect("read").evidence;
        let words = "DCMI, momentary; the BMC's own average over 1 Seconds is 3300 Watts";
        assert_eq!(evidence, words);
        assert_eq!(dcmi("Instantaneous power reading : 7 Watts"), Ok(7_000));
        assert_eq!(sensor(SENSOR), Ok(3_180_000));
        assert_eq!(sensor(&SENSOR.replace("3180 (+/- 0)", "3180.500 (+/- 10)")), Ok(3_180_000));
    }

    #[test]
    fn what_cannot_be_true_is_missing_and_says_why() {
        for (out, words) in [
            (DCMI.replace("3180", "0"), "0 W: not believed"),
            (DCMI.replace("3180", "65535"), "65535 W are more than power_max"),
            (DCMI.replace(" activated", " deactivated"), "power measurement is deactivated"),
            (DCMI.replace("3180", "-1"), "ipmitool says: Instantaneous power reading"),
            (String::new(), "ipmitool says nothing"),
        ] {
            let refused = dcmi(&out).expect_err(words);
            assert!(refused.contains(words), "{refused}");
        }
        for (out, words) in [
            (SENSOR.replace("Watts", "degrees C"), "no power in watts"),
            (SENSOR.replace("3180 (+/- 0) Watts", "No Reading"), "no power in watts"),
            (SENSOR.replace(": ok", ": ns"), "is not available"),
        ] {
            let refused = sensor(&out).expect_err(words);
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (out, err, words) in [
            ("\n    DCMI request failed because: Invalid command (c1)\n", "", "0xC1): name one"),
            ("DCMI request failed because: Insufficient privilege level (d4)", "", "`privilege`"),
            ("", "Could not open device at /dev/ipmi0 or /dev/ipmi/0", "ipmi_devintf"),
            ("", "Error: Unable to establish IPMI v2 / RMCP+ session\n", "no session: nobody"),
            ("", "Unable to find sensor id 'NOPE'\n", "Unable to find sensor id 'NOPE'"),
        ] {
            let refused = of_dcmi(&said(out, err)).expect_err(words);
            assert!(refused.contains(words), "{refused}");
        }
    }
}
