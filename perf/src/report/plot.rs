//! Bars and lines as inline SVG: no script, no font, no image; colours come from the page's style.
//!
//! Promises: every value is also text in the drawing; widths are in user units and scale with the page.

use std::fmt::Write as _;

use super::text::{escape, short};

/// Width of every drawing, user units.
const WIDTH: f64 = 860.0;
/// Height of one bar and the room around it.
const BAR: f64 = 18.0;
const BAR_GAP: f64 = 8.0;
/// Room for a bar's label and for its value.
const LABEL: f64 = 300.0;
const VALUE: f64 = 110.0;
/// Kinds of colour in the page's style.
const COLOURS: usize = 4;

/// One bar: a label and its parts, which are stacked, each with the number of its series.
pub struct Bar {
    /// What it is of.
    pub label: String,
    /// Series and value.
    pub parts: Vec<(usize, f64)>,
}

impl Bar {
    /// A bar of one part.
    pub fn new(label: impl Into<String>, series: usize, value: f64) -> Self {
        Self { label: label.into(), parts: vec![(series, value)] }
    }

    fn sum(&self) -> f64 {
        self.parts.iter().map(|(_, value)| value).sum()
    }
}

/// Horizontal bars from zero; `series` names the colours, if there is more than one.
pub fn bars(title: &str, unit: &str, series: &[&str], bars: &[Bar]) -> String {
    let max = bars.iter().map(Bar::sum).fold(0.0, f64::max);
    if max <= 0.0 {
        return String::new();
    }
    let top = if series.len() > 1 { 52.0 } else { 30.0 };
    let height = top + bars.len() as f64 * (BAR + BAR_GAP) + 4.0;
    let mut svg = open(title, height);
    let _ = write!(
        svg,
        "<text class=\"title\" x=\"0\" y=\"16\">{} <tspan class=\"unit\">{}</tspan></text>",
        escape(title),
        escape(unit)
    );
    svg.push_str(&legend(series, 38.0));
    for (row, bar) in bars.iter().enumerate() {
        let y = top + row as f64 * (BAR + BAR_GAP);
        let middle = y + BAR - 5.0;
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
            LABEL - 8.0,
            escape(&bar.label)
        );
        let mut x = LABEL;
        for (number, value) in &bar.parts {
            let width = (WIDTH - LABEL - VALUE) * value / max;
            let name = series.get(*number).copied().unwrap_or_default();
            let _ = write!(
                svg,
                "<rect class=\"c{}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\"><title>{}: {} {}</title></rect>",
                number % COLOURS,
                escape(name),
                short(*value),
                escape(unit)
            );
            x += width;
        }
        let _ = write!(
            svg,
            "<text class=\"value\" x=\"{:.1}\" y=\"{middle:.1}\">{}</text>",
            x + 6.0,
            short(bar.sum())
        );
    }
    svg.push_str("</svg></figure>\n");
    svg
}

/// One line.
pub struct Line<'a> {
    /// What it is of.
    pub name: &'a str,
    /// Its points, in the order of x.
    pub points: Vec<(f64, f64)>,
}

/// Lines over a common x axis that may be logarithmic; y begins at zero.
pub fn lines(title: &str, unit: &str, x_name: &str, x_is_log: bool, lines: &[Line<'_>]) -> String {
    const LEFT: f64 = 70.0;
    const RIGHT: f64 = 20.0;
    const TOP: f64 = 52.0;
    const PLOT: f64 = 200.0;
    const BOTTOM: f64 = 42.0;
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let y_max = round_up(points().map(|(_, y)| *y).fold(0.0, f64::max));
    let scale = |x: f64| if x_is_log { x.max(1e-9).log10() } else { x };
    let (low, high) =
        points().fold((f64::MAX, f64::MIN), |(low, high), (x, _)| (low.min(scale(*x)), high.max(scale(*x))));
    if y_max <= 0.0 || low > high {
        return String::new();
    }
    let span = if high > low { high - low } else { 1.0 };
    let place = |x: f64, y: f64| {
        (LEFT + (WIDTH - LEFT - RIGHT) * (scale(x) - low) / span, TOP + PLOT * (1.0 - y / y_max))
    };
    let mut svg = open(title, TOP + PLOT + BOTTOM);
    let _ = write!(
        svg,
        "<text class=\"title\" x=\"0\" y=\"16\">{} <tspan class=\"unit\">{}</tspan></text>",
        escape(title),
        escape(unit)
    );
    let names: Vec<&str> = lines.iter().map(|line| line.name).collect();
    svg.push_str(&legend(&names, 38.0));
    for step in 0..=4 {
        let value = y_max * f64::from(step) / 4.0;
        let (_, y) = place(1.0, value);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            short(value)
        );
    }
    let mut xs: Vec<f64> = points().map(|(x, _)| *x).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let every = xs.len().div_ceil(12).max(1);
    for x in xs.iter().step_by(every) {
        let _ = write!(
            svg,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            place(*x, 0.0).0,
            TOP + PLOT + 16.0,
            short(*x)
        );
    }
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        (WIDTH + LEFT) / 2.0,
        TOP + PLOT + 34.0,
        escape(x_name)
    );
    for (number, line) in lines.iter().enumerate() {
        let path: Vec<String> =
            line.points.iter().map(|(x, y)| place(*x, *y)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(svg, "<polyline class=\"l{}\" points=\"{}\"/>", number % COLOURS, path.join(" "));
        for (x, y) in &line.points {
            let (cx, cy) = place(*x, *y);
            let _ = write!(
                svg,
                "<circle class=\"c{}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3.5\"><title>{} at {}: {} {}</title></circle>",
                number % COLOURS,
                escape(line.name),
                short(*x),
                short(*y),
                escape(unit)
            );
        }
    }
    svg.push_str("</svg></figure>\n");
    svg
}

/// The next number that a quarter of is easy to read.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    steps.iter().map(|step| step * power).find(|top| *top >= value).unwrap_or(value)
}

fn open(title: &str, height: f64) -> String {
    format!("<figure><svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">", escape(title))
}

fn legend(series: &[&str], y: f64) -> String {
    let mut svg = String::new();
    if series.len() < 2 {
        return svg;
    }
    let mut x = 0.0;
    for (number, name) in series.iter().enumerate() {
        let _ = write!(
            svg,
            "<rect class=\"c{}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"11\" height=\"11\"/><text class=\"axis\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
            number % COLOURS,
            y - 10.0,
            x + 16.0,
            escape(name)
        );
        // A letter is about 7 units wide.
        x += 36.0 + name.chars().count() as f64 * 7.0;
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_its_room_and_each_value_is_text() {
        let svg = bars(
            "speed",
            "packets/s",
            &["a"],
            &[Bar::new("one & only", 0, 200.0), Bar::new("half", 0, 100.0)],
        );
        assert!(svg.contains(&format!("width=\"{:.1}\"", WIDTH - LABEL - VALUE)));
        assert!(svg.contains("one &amp; only") && svg.contains(">100<") && svg.contains(">200<"));
        assert_eq!(svg.matches("<rect").count(), 2, "one series needs no legend");
        assert!(bars("nothing", "", &[], &[]).is_empty());
    }

    #[test]
    fn axes_end_on_round_numbers() {
        for (value, top) in [(0.0, 0.0), (7.0, 8.0), (13.0, 16.0), (4_100.0, 6_000.0), (99.0, 100.0)] {
            assert!((round_up(value) - top).abs() < 1e-6, "{value}: {}", round_up(value));
        }
    }

    #[test]
    fn a_line_stays_inside_whatever_its_values() {
        let line = |points| Line { name: "x", points };
        for points in
            [vec![(10.0, 5.0), (100.0, 6.0), (1_000.0, 7.0)], vec![(0.0, 1.0)], vec![(5.0, 1.0), (5.0, 2.0)]]
        {
            let svg = lines("t", "u", "meetings", true, &[line(points)]);
            assert!(svg.contains("<polyline") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert!(lines("t", "u", "x", false, &[line(Vec::new())]).is_empty());
    }
}
