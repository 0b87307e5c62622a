//! Line protocol, written: what every server that takes it reads alike.
//!
//! Integers are written with `i`, exactly. Names and label values come from outside and are made
//! harmless: a comma, an equals sign and a space are escaped; a backslash becomes `/` and a control
//! character a space, because no escape of these two is read alike everywhere (InfluxDB 1 takes a
//! backslash before a comma for the comma's escape, and a line break for the end of the point).

use std::fmt::Write as _;

/// A tag's value, escaped; `false`: nothing is left of it, and an empty tag is not allowed.
#[must_use]
pub(super) fn push_tag(out: &mut String, name: &str, value: &str) -> bool {
    if value.trim().is_empty() {
        return false;
    }
    out.push(',');
    out.push_str(name);
    out.push('=');
    for c in value.chars() {
        match c {
            ',' | '=' | ' ' => out.extend(['\\', c]),
            '\\' => out.push('/'),
            c if c.is_control() => out.push_str("\\ "),
            c => out.push(c),
        }
    }
    true
}

/// The integer fields of one line, and its time in milliseconds. Nothing is written without fields.
pub(super) fn push_line<'a>(
    out: &mut String,
    head: &str,
    fields: impl Iterator<Item = (&'a str, i64)>,
    at_ms: i64,
) -> usize {
    let begin = out.len();
    out.push_str(head);
    let mut count = 0_usize;
    for (name, value) in fields {
        let sign = if count == 0 { ' ' } else { ',' };
        write!(out, "{sign}{name}={value}i").expect("a string takes it");
        count += 1;
    }
    if count == 0 {
        out.truncate(begin);
    } else {
        writeln!(out, " {at_ms}").expect("a string takes it");
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_integers_and_a_line_without_fields_is_none() {
        let mut out = String::new();
        let fields = [("power_milliwatts", 612_000), ("temperature", -3)];
        assert_eq!(push_line(&mut out, "gpu,hub=isb", fields.into_iter(), 1_700), 2);
        assert_eq!(push_line(&mut out, "gpu,hub=isb", std::iter::empty(), 1_701), 0);
        assert_eq!(out, "gpu,hub=isb power_milliwatts=612000i,temperature=-3i 1700\n");
    }

    #[test]
    fn a_hostile_label_stays_a_value() {
        let mut out = String::from("gpu");
        assert!(push_tag(&mut out, "model", "H100\n evil,hub=isb\\"));
        assert_eq!(out, "gpu,model=H100\\ \\ evil\\,hub\\=isb/");
        assert!(!push_tag(&mut out, "label", " \t"));
    }

    proptest! {
        #[test]
        fn no_value_ends_its_tag_or_its_line(value in ".{0,40}") {
            let mut out = String::new();
            if push_tag(&mut out, "t", &value) {
                let written = out.strip_prefix(",t=").expect("it begins so");
                let mut escaped = false;
                for c in written.chars() {
                    prop_assert!(!c.is_control());
                    prop_assert!(escaped || !matches!(c, ',' | '=' | ' '));
                    escaped = c == '\\' && !escaped;
                }
                prop_assert!(!escaped, "it ends in an open escape");
            }
        }
    }
}
