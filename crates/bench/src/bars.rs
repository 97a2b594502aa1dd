//! A chart of horizontal bars: how figures compare with a reference, as an SVG file that needs nothing but itself.

use std::fmt::Write as _;

use crate::chart::Axis;
use crate::svg::escape;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 12.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;
/// One bar with the line of text above it, and the space to the next.
const ROW: f64 = 50.0;
const BAR: f64 = 16.0;
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1d2430}.title{font-size:15px;font-weight:600}\
    .soft{fill:#667085}.page{fill:#fff}.grid{stroke:#e6e8ec}.one{stroke:#667085;stroke-dasharray:4 3}\
    .held{fill:#2f6fde}.missed{fill:#d9730d}.limit{stroke:#d22f3d;stroke-width:2}\
    @media(prefers-color-scheme:dark){text{fill:#e7eaf0}.soft{fill:#98a2b3}.page{fill:#14171c}.grid{stroke:#2c323c}\
    .one{stroke:#98a2b3}.held{fill:#6ea0ff}.missed{fill:#f2a254}.limit{stroke:#ff6b74}}";

/// Figures, each as a multiple of its reference, which is a line at 1.
#[derive(Clone, Debug)]
pub struct BarChart {
    /// Above it all.
    pub title: String,
    /// What a reader who cannot see the chart should know.
    pub description: String,
    /// What the axis says.
    pub x_name: String,
    /// From top to bottom.
    pub rows: Vec<BarRow>,
}

/// One bar.
#[derive(Clone, Debug)]
pub struct BarRow {
    /// What is compared.
    pub label: String,
    /// The figures in words, behind the label.
    pub text: String,
    /// The figure, as a multiple of the reference.
    pub value: f64,
    /// The most that it may be, likewise.
    pub limit: Option<f64>,
}

impl BarChart {
    /// The chart as a file.
    pub fn render(&self) -> String {
        let ends = self.rows.iter().flat_map(|row| [Some(row.value), row.limit]).flatten();
        let axis = Axis::linear(ends.fold(1.0, f64::max));
        let floor = TOP + ROW * self.rows.len() as f64;
        let height = floor + BOTTOM;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-labelledby=\"t d\">\n<title id=\"t\">{}</title>\n<desc id=\"d\">{}</desc>\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"22\">{}</text>\n",
            escape(&self.title),
            escape(&self.description),
            escape(&self.title)
        );
        for tick in axis.ticks() {
            let x = across(axis, tick);
            let number = (tick * 100.0).round() / 100.0;
            put(&mut out, format_args!("<path class=\"grid\" d=\"M{x:.1} {TOP}V{floor}\"/>\n"));
            put(
                &mut out,
                format_args!(
                    "<text class=\"soft\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{number}</text>\n",
                    floor + 16.0
                ),
            );
        }
        let one = across(axis, 1.0);
        put(&mut out, format_args!("<path class=\"one\" d=\"M{one:.1} {TOP}V{floor}\"/>\n"));
        put(
            &mut out,
            format_args!(
                "<text class=\"soft\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>\n",
                height - 10.0,
                escape(&self.x_name)
            ),
        );
        for (at, row) in self.rows.iter().enumerate() {
            row.render(TOP + ROW * at as f64, axis, &mut out);
        }
        out + "</svg>\n"
    }
}

impl BarRow {
    fn render(&self, top: f64, axis: Axis, out: &mut String) {
        let (from, bar) = (across(axis, 0.0), top + 22.0);
        let is_held = self.limit.is_none_or(|limit| self.value <= limit);
        put(
            out,
            format_args!(
                "<text x=\"{LEFT}\" y=\"{:.1}\">{}<tspan class=\"soft\" dx=\"10\">{}</tspan></text>\n",
                top + 16.0,
                escape(&self.label),
                escape(&self.text)
            ),
        );
        put(
            out,
            format_args!(
                "<rect class=\"{}\" x=\"{from:.1}\" y=\"{bar:.1}\" width=\"{:.1}\" height=\"{BAR}\"/>\n",
                if is_held { "held" } else { "missed" },
                across(axis, self.value) - from
            ),
        );
        if let Some(limit) = self.limit {
            let x = across(axis, limit);
            let (from, to) = (bar - 4.0, bar + BAR + 4.0);
            put(out, format_args!("<path class=\"limit\" d=\"M{x:.1} {from:.1}V{to:.1}\"/>\n"));
        }
    }
}

fn across(axis: Axis, value: f64) -> f64 {
    LEFT + axis.place(value) * (WIDTH - LEFT - RIGHT)
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string succeeds");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64, limit: Option<f64>) -> BarRow {
        BarRow { label: "a < b".to_owned(), text: "1 to 2".to_owned(), value, limit }
    }

    fn chart(rows: Vec<BarRow>) -> String {
        let [title, description, x_name] = ["Title & all", "What it shows", "times"].map(str::to_owned);
        BarChart { title, description, x_name, rows }.render()
    }

    #[test]
    fn bars_are_drawn_to_scale_and_marked_where_they_miss_their_limit() {
        let svg = chart(vec![row(1.0, Some(2.0)), row(2.0, Some(1.5)), row(0.5, None)]);
        // 2 is at the right edge, 824 from the left one.
        for width in
            ["class=\"held\" x=\"12.0\" y=\"62.0\" width=\"412.0\"", "class=\"missed\"", "width=\"824.0\""]
        {
            assert!(svg.contains(width), "{width}\n{svg}");
        }
        assert_eq!((svg.matches("class=\"limit\"").count(), svg.matches("class=\"held\"").count()), (2, 2));
        assert!(svg.contains("Title &amp; all") && svg.contains("a &lt; b") && svg.contains("1 to 2"));
    }

    #[test]
    fn a_chart_without_bars_is_a_chart() {
        let svg = chart(Vec::new());
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
