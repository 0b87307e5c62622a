//! Lines of comma-separated values that a spreadsheet opens without running anything.

/// Cells that begin so are formulas to a spreadsheet.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// One line of RFC 4180, with its end.
pub(super) fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    cells.into_iter().map(cell).collect::<Vec<_>>().join(",") + "\n"
}

fn cell(text: &str) -> String {
    let tamed = if text.starts_with(FORMULA) { format!("'{text}") } else { text.to_owned() };
    if tamed.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", tamed.replace('"', "\"\""));
    }
    tamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for (text, written) in [
            ("climate", "climate"),
            ("6480000000", "6480000000"),
            ("=1+1", "'=1+1"),
            ("+x", "'+x"),
            ("-x", "'-x"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("a,b", "\"a,b\""),
            ("=a,\"b\"", "\"'=a,\"\"b\"\"\""),
            ("a\nb", "\"a\nb\""),
        ] {
            assert_eq!(line([text, "1"]), format!("{written},1\n"), "{text:?}");
        }
    }
}
