//! Numbers and words for a page.

use serde_json::Value;

/// Text that HTML takes as it is.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A number in few characters: commas from a thousand on, millions as M.
pub fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size >= 1e9 => format!("{:.2} G", value / 1e9),
        _ if size >= 1e7 => format!("{:.1} M", value / 1e6),
        _ if size >= 100.0 => grouped(value),
        _ if size >= 10.0 || size.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

/// A whole number with commas.
pub fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 { format!("-{text}") } else { text }
}

/// A number of a record, or nothing.
pub fn number(value: &Value, name: &str) -> Option<f64> {
    value[name].as_f64()
}

/// A number of a record as text, `-` when there is none.
pub fn cell(value: &Value, name: &str) -> String {
    number(value, name).map_or("-".to_owned(), short)
}

/// A table; cells are text, not HTML.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut html = String::from("<div class=\"wide\"><table><thead><tr>");
    heading.iter().for_each(|cell| html.push_str(&format!("<th>{}</th>", escape(cell))));
    html.push_str("</tr></thead><tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        row.iter().for_each(|cell| html.push_str(&format!("<td>{}</td>", escape(cell))));
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.256, "0.26"),
            (12.4, "12"),
            (1_234.0, "1,234"),
            (928_000.0, "928,000"),
            (21_812_675.0, "21.8 M"),
            (5e9, "5.00 G"),
            (-1_234.0, "-1,234"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_table_shows_markup_as_text() {
        let html = table(&["a"], &[vec!["<b>\"&".to_owned()]]);
        assert!(html.contains("<td>&lt;b&gt;&quot;&amp;</td>"));
    }
}
