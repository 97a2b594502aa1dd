//! A line chart as inline SVG. Colours are classes (`s0`, `s1`, …), so that the page's style decides them.

use std::fmt::Write;

use crate::chart::Axis;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 34.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// Up to so many points a line has a dot on each, which shows when pointed at, with its numbers as a tool tip.
const MAX_DOTS: usize = 400;

/// One line of a chart.
pub(crate) struct Line {
    pub(crate) name: String,
    /// The class that colours it.
    pub(crate) class: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
    /// Fill the area below it.
    pub(crate) filled: bool,
}

/// A chart of lines over two axes.
pub(crate) struct Chart {
    /// Unique in the page.
    pub(crate) id: &'static str,
    pub(crate) title: String,
    /// What a reader who cannot see the chart should know.
    pub(crate) description: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) x_name: &'static str,
    pub(crate) x_text: fn(f64) -> String,
    pub(crate) y_text: fn(f64) -> String,
    pub(crate) lines: Vec<Line>,
    /// Places on the x axis to warn of, with what to say there.
    pub(crate) warnings: Vec<(f64, String)>,
}

/// Text that may stand in HTML and in its attributes.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Chart {
    /// The chart, with a legend where it has several lines.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        let (id, title) = (self.id, escape(&self.title));
        let figure = format!("<figure><figcaption id=\"{id}-t\">{title}");
        out += &figure;
        if self.lines.len() > 1 || !self.warnings.is_empty() {
            out += "<span class=\"legend\">";
            for line in &self.lines {
                put(
                    &mut out,
                    format_args!("<span class=\"{}\"><i></i>{}</span>", line.class, escape(&line.name)),
                );
            }
            if !self.warnings.is_empty() {
                out += "<span class=\"bad\"><i></i>errors</span>";
            }
            out += "</span>";
        }
        put(
            &mut out,
            format_args!(
                "</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
                 <desc id=\"{id}-d\">{}</desc>",
                escape(&self.description)
            ),
        );
        self.axes(&mut out);
        self.warn(&mut out);
        for line in &self.lines {
            self.line(&mut out, line);
        }
        out += "</svg></figure>\n";
        out
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let across = LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT);
        (across, HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM))
    }

    fn axes(&self, out: &mut String) {
        let (right, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in self.y.ticks() {
            let (_, y) = self.at((0.0, tick));
            let text = (self.y_text)(tick);
            put(out, format_args!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>"));
            put(
                out,
                format_args!(
                    "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                    LEFT - 8.0,
                    y + 4.0
                ),
            );
        }
        for tick in self.x.ticks() {
            let (x, _) = self.at((tick, 0.0));
            let text = (self.x_text)(tick);
            put(out, format_args!("<path class=\"grid\" d=\"M{x:.1} {TOP}V{floor}\"/>"));
            put(
                out,
                format_args!(
                    "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                    floor + 17.0
                ),
            );
        }
        let middle = f64::midpoint(LEFT, right);
        let bottom = HEIGHT - 8.0;
        put(
            out,
            format_args!("<text x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\">{}</text>", self.x_name),
        );
        put(out, format_args!("<path class=\"axis\" d=\"M{LEFT} {floor}H{right}\"/>"));
    }

    fn warn(&self, out: &mut String) {
        let height = HEIGHT - TOP - BOTTOM;
        for (place, text) in &self.warnings {
            let (x, _) = self.at((*place, 0.0));
            put(
                out,
                format_args!(
                    "<rect class=\"bad\" x=\"{:.1}\" y=\"{TOP}\" width=\"3\" height=\"{height}\"><title>{}</title></rect>",
                    x - 1.5,
                    escape(text)
                ),
            );
        }
    }

    fn line(&self, out: &mut String, line: &Line) {
        let points: Vec<_> = line.points.iter().map(|point| self.at(*point)).collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            put(&mut path, format_args!("{}{x:.1} {y:.1}", if index == 0 { 'M' } else { 'L' }));
        }
        let class = line.class;
        if line.filled {
            let floor = HEIGHT - BOTTOM;
            let (from, to) = (first.0, last.0);
            put(
                out,
                format_args!(
                    "<path class=\"{class} area\" d=\"{path}L{to:.1} {floor}L{from:.1} {floor}Z\"/>"
                ),
            );
        }
        put(out, format_args!("<path class=\"{class} line\" d=\"{path}\"/>"));
        if points.len() > MAX_DOTS {
            return;
        }
        // A line of one point would be nothing to see.
        let shown = if points.len() == 1 { " only" } else { "" };
        for ((x, y), (x_value, y_value)) in points.iter().zip(&line.points) {
            let (name, at, value) = (escape(&line.name), (self.x_text)(*x_value), (self.y_text)(*y_value));
            put(
                out,
                format_args!(
                    "<circle class=\"{class}{shown}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\">\
                     <title>{name} at {at}: {value}</title></circle>"
                ),
            );
        }
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string succeeds");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)]) -> String {
        let line =
            |name: &str| Line { name: name.to_owned(), class: "s0", points: points.to_vec(), filled: true };
        Chart {
            id: "c",
            title: "A <b> & c".to_owned(),
            description: "d".to_owned(),
            x: Axis::linear(10.0),
            y: Axis::linear(10.0),
            x_name: "x",
            x_text: |value| value.to_string(),
            y_text: |value| value.to_string(),
            lines: vec![line("one"), line("two")],
            warnings: vec![(5.0, "2 errors".to_owned())],
        }
        .render()
    }

    #[test]
    fn lines_are_drawn_to_scale() {
        let svg = chart(&[(0.0, 0.0), (10.0, 10.0)]);
        assert!(svg.contains("d=\"M70.0 256.0L826.0 12.0\""), "{svg}");
        assert!(
            svg.contains("A &lt;b&gt; &amp; c") && svg.contains("role=\"img\"") && svg.contains("2 errors")
        );
        assert_eq!(svg.matches("<circle").count(), 4);
    }

    #[test]
    fn no_points_draw_no_line_and_many_draw_no_dots() {
        assert!(!chart(&[]).contains(" line\""));
        assert!(!chart(&[(1.0, 1.0); 500]).contains("<circle"));
    }
}
