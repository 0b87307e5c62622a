//! Lines of comma-separated values that a spreadsheet opens without running anything.

/// Cells that begin so are formulas to a spreadsheet.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// One line of RFC 4180, with its end.
pub(crate) fn line<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    cells.into_iter().map(cell).collect::<Vec<_>>().join(",") + "\n"
}

/// One cell. A control character would end up in somebody's terminal.
pub(crate) fn cell(text: &str) -> String {
    let is_control = |c: char| c.is_control() && c != '\n' && c != '\t' && c != '\r';
    let text = text.replace(is_control, "\u{FFFD}");
    let tamed = if text.starts_with(FORMULA) { format!("'{text}") } else { text };
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
            ("\u{1b}[31m=x", "\u{FFFD}[31m=x"),
        ] {
            assert_eq!(line([text, "1"]), format!("{written},1\n"), "{text:?}");
        }
    }
}
