//! Plots as SVG text: curves over two axes, and bars with the spread of the rounds. Few enough shapes to be written by
//! hand.

use std::fmt::Write;

/// One direction of a plot of curves.
pub struct Axis {
    pub title: &'static str,
    pub log: bool,
    /// Where to put labels; none: where it suits the values.
    pub ticks: Vec<f64>,
    pub show: fn(f64) -> String,
}

/// A named curve.
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A value with its spread.
pub struct Bar {
    pub name: String,
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 420.0;
/// The area of the curves: left, right, top, bottom.
const AREA: (f64, f64, f64, f64) = (80.0, 620.0, 50.0, 360.0);
/// Told apart by those who see few colours, too.
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c8c8c",
];
/// Curves beyond the colours are broken.
const DASHES: [&str; 3] = ["none", "6 3", "2 3"];
const ROW: f64 = 24.0;

/// What an axis shows, from where to where.
struct Scale {
    low: f64,
    high: f64,
    log: bool,
    /// On the page.
    from: f64,
    to: f64,
}

impl Scale {
    fn new(values: impl Iterator<Item = f64>, axis: &Axis, from: f64, to: f64) -> Self {
        let all: Vec<f64> = values.collect();
        let mut low = all.iter().copied().fold(f64::INFINITY, f64::min);
        let mut high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if axis.log {
            (low, high) = (low.max(1e-9), high.max(1e-9));
            if high / low < 2.0 {
                (low, high) = (low / 1.5, high * 1.5);
            }
        } else {
            (low, high) = (low.min(0.0), high * 1.05);
        }
        Self {
            low,
            high,
            log: axis.log,
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let part = if self.log {
            (value.max(1e-9) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    fn ticks(&self, axis: &Axis) -> Vec<f64> {
        if !axis.ticks.is_empty() {
            return axis.ticks.clone();
        }
        let inside = |tick: &f64| (self.low..=self.high).contains(tick);
        if !self.log {
            let step = round_step((self.high - self.low) / 5.0);
            let ticks = (0..10).map(|at| f64::from(at) * step);
            return ticks.filter(inside).collect();
        }
        let parts: &[f64] = if self.high / self.low > 1000.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let decades = (-3..13).map(|power| 10_f64.powi(power));
        let ticks = decades.flat_map(|decade| parts.iter().map(move |part| decade * part));
        ticks.filter(inside).collect()
    }
}

/// 1, 2 or 5 times a power of ten, not below this.
fn round_step(wanted: f64) -> f64 {
    let decade = 10_f64.powf(wanted.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|part| part * decade);
    steps
        .into_iter()
        .find(|step| *step >= wanted)
        .unwrap_or(decade)
}

fn escape(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    escaped.replace('>', "&gt;").replace('"', "&quot;")
}

/// A document that is put together.
struct Page(String);

impl Page {
    fn new(title: &str, height: f64) -> Self {
        let mut page = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
        ));
        let title = escape(title);
        page.add(&format!(
            "<text x=\"20\" y=\"28\" font-size=\"17\">{title}</text>"
        ));
        page
    }

    fn add(&mut self, shape: &str) {
        // Writing to a string does not fail.
        let _written = writeln!(self.0, "{shape}");
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = escape(text);
        self.add(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        self.add(&format!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
            from.0, from.1, to.0, to.1
        ));
    }

    fn end(mut self) -> String {
        self.add("</svg>");
        self.0
    }
}

fn style(number: usize) -> (&'static str, &'static str) {
    let colour = COLOURS.get(number % COLOURS.len()).copied();
    let dash = DASHES.get(number / COLOURS.len() % DASHES.len()).copied();
    (colour.unwrap_or("#000"), dash.unwrap_or("none"))
}

/// Curves over two axes.
pub fn curves(title: &str, x: &Axis, y: &Axis, all: &[Curve]) -> String {
    let (left, right, top, bottom) = AREA;
    let points = || all.iter().flat_map(|curve| &curve.points);
    let across = Scale::new(points().map(|point| point.0), x, left, right);
    let up = Scale::new(points().map(|point| point.1), y, bottom, top);
    let rows = 70.0 + 20.0 * all.len() as f64;
    let mut page = Page::new(title, HEIGHT.max(rows));
    for tick in up.ticks(y) {
        let place = up.place(tick);
        page.line((left, place), (right, place), "#ddd", 1.0);
        page.text(left - 8.0, place + 4.0, "end", &(y.show)(tick));
    }
    for tick in across.ticks(x) {
        let place = across.place(tick);
        page.line((place, bottom), (place, bottom + 5.0), "#222", 1.0);
        page.text(place, bottom + 20.0, "middle", &(x.show)(tick));
    }
    page.line((left, bottom), (right, bottom), "#222", 1.0);
    page.text((left + right) / 2.0, bottom + 44.0, "middle", x.title);
    page.text(left, top - 8.0, "middle", y.title);
    for (number, curve) in all.iter().enumerate() {
        let (colour, dash) = style(number);
        let places = curve.points.iter();
        let places = places.map(|(x, y)| format!("{:.1},{:.1}", across.place(*x), up.place(*y)));
        let places: Vec<_> = places.collect();
        page.add(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>",
            places.join(" ")
        ));
        for (x, y) in curve.points.iter().filter(|_| curve.points.len() < 20) {
            let (x, y) = (across.place(*x), up.place(*y));
            page.add(&format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
            ));
        }
        let row = top + 20.0 * number as f64;
        page.add(&format!(
            "<line x1=\"{}\" y1=\"{row}\" x2=\"{}\" y2=\"{row}\" stroke=\"{colour}\" stroke-width=\"3\" \
             stroke-dasharray=\"{dash}\"/>",
            right + 16.0,
            right + 40.0
        ));
        page.text(right + 46.0, row + 4.0, "start", &curve.name);
    }
    page.end()
}

/// Bars from zero, one below the other, with the spread as a whisker.
pub fn bars(title: &str, show: fn(f64) -> String, all: &[Bar]) -> String {
    let (left, right) = (360.0, 800.0);
    let highest = all
        .iter()
        .map(|bar| bar.high)
        .fold(f64::MIN_POSITIVE, f64::max);
    let place = |value: f64| left + (value / highest).clamp(0.0, 1.0) * (right - left);
    let top = 50.0;
    let mut page = Page::new(title, top + 20.0 + ROW * all.len() as f64);
    for (number, bar) in all.iter().enumerate() {
        let row = top + ROW * number as f64;
        let middle = row + ROW / 2.0;
        page.text(left - 8.0, middle + 4.0, "end", &bar.name);
        page.add(&format!(
            "<rect x=\"{left}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>",
            row + 3.0,
            place(bar.value) - left,
            ROW - 6.0,
            COLOURS[0]
        ));
        let (low, high) = (place(bar.low), place(bar.high));
        page.line((low, middle), (high, middle), "#222", 1.5);
        page.line((low, middle - 4.0), (low, middle + 4.0), "#222", 1.5);
        page.line((high, middle - 4.0), (high, middle + 4.0), "#222", 1.5);
        page.text(high + 8.0, middle + 4.0, "start", &show(bar.value));
    }
    page.line(
        (left, top),
        (left, top + ROW * all.len() as f64),
        "#222",
        1.0,
    );
    page.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(log: bool) -> Axis {
        Axis {
            title: "x",
            log,
            ticks: Vec::new(),
            show: |value| value.to_string(),
        }
    }

    #[test]
    fn values_lie_where_their_axis_says() {
        let scale = Scale::new([10.0, 1000.0].into_iter(), &axis(true), 0.0, 100.0);
        assert_eq!(
            [10.0, 100.0, 1000.0].map(|value| scale.place(value).round()),
            [0.0, 50.0, 100.0]
        );
        let scale = Scale::new([50.0, 100.0].into_iter(), &axis(false), 0.0, 105.0);
        assert_eq!(scale.place(100.0).round(), 100.0);
        assert_eq!(scale.place(0.0), 0.0);
    }

    #[test]
    fn names_cannot_break_the_document() {
        let curve = Curve {
            name: "<a & \"b\">".to_owned(),
            points: vec![(1.0, 2.0)],
        };
        let page = curves("t", &axis(true), &axis(true), &[curve]);
        assert!(page.contains("&lt;a &amp; &quot;b&quot;&gt;"), "{page}");
        assert!(page.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn nothing_to_show_is_no_reason_to_panic() {
        assert!(curves("t", &axis(true), &axis(false), &[]).contains("</svg>"));
        assert!(bars("t", |value| value.to_string(), &[]).contains("</svg>"));
    }
}
