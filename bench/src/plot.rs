//! Plots as SVG, on a white ground so that they are legible on a dark page.

use std::fmt::Write;

/// The floor, firn, and the others, a new one and Debian's own in turn.
const COLOURS: [&str; 8] = ["#7f7f7f", "#1f6fb4", "#e07b1a", "#f0b878", "#4c9a4c", "#a5cf9f", "#9467bd", "#c44e52"];

/// One bar: where it ends, and its spread.
#[derive(Debug)]
pub struct Bar {
    pub name: String,
    pub value: f64,
    pub lower: f64,
    pub upper: f64,
}

/// A title and its bars.
pub type Group = (String, Vec<Bar>);

#[derive(Debug)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// The same name has the same colour in all plots.
fn colour(names: &[String], name: &str) -> &'static str {
    COLOURS[names.iter().position(|other| other == name).unwrap_or(0) % COLOURS.len()]
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn begin(width: f64, height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n<rect width=\"{width}\" height=\"{height}\" \
         fill=\"white\"/>\n<text x=\"12\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    )
}

/// Horizontal bars in groups; each group has its own scale if `own_scale`.
pub fn bars(title: &str, unit: &str, names: &[String], groups: &[Group], own_scale: bool) -> String {
    const LEFT: f64 = 120.0;
    const WIDTH: f64 = 470.0;
    const BAR: f64 = 18.0;
    let count: usize = groups.iter().map(|(_, bars)| bars.len()).sum();
    let height = 40.0 + count as f64 * BAR + groups.len() as f64 * 34.0;
    let mut svg = begin(720.0, height, title);
    let most = |bars: &[Bar]| bars.iter().map(|bar| bar.upper.max(bar.value)).fold(0.0, f64::max);
    let all = groups.iter().map(|(_, bars)| most(bars)).fold(0.0, f64::max);
    let mut y = 34.0;
    for (name, bars) in groups {
        let scale = WIDTH / if own_scale { most(bars) } else { all }.max(1e-9);
        let _ = writeln!(svg, "<text x=\"12\" y=\"{:.0}\" font-weight=\"bold\">{}</text>", y + 16.0, escape(name));
        y += 24.0;
        for bar in bars {
            let (middle, end) = (y + BAR / 2.0, LEFT + bar.value * scale);
            let (lower, upper) = (LEFT + bar.lower * scale, LEFT + bar.upper * scale);
            let _ = write!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\n\
                 <path d=\"M{lower:.1} {middle:.1}H{upper:.1}\" stroke=\"#222\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\">{:.2} {}</text>\n",
                LEFT - 6.0,
                middle + 4.0,
                escape(&bar.name),
                y + 2.0,
                end - LEFT,
                BAR - 4.0,
                colour(names, &bar.name),
                end.max(upper) + 6.0,
                middle + 4.0,
                bar.value,
                escape(unit)
            );
            y += BAR;
        }
        y += 10.0;
    }
    svg + "</svg>\n"
}

/// Lines over a horizontal axis whose marks are as far apart as each other;
/// upwards the logarithm if `logarithm`.
pub fn lines(title: &str, names: &[String], lines: &[Line], logarithm: bool) -> String {
    const LEFT: f64 = 60.0;
    const TOP: f64 = 40.0;
    const WIDTH: f64 = 480.0;
    const HEIGHT: f64 = 240.0;
    let mut marks: Vec<f64> = lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
    let size = |value: f64| if logarithm { value.max(1e-3).log10() } else { value };
    let top = values().map(size).fold(f64::MIN, f64::max);
    let bottom = if logarithm { values().map(size).fold(f64::MAX, f64::min).floor() } else { 0.0 };
    let top = if logarithm { top.ceil() } else { top * 1.05 };
    let place = |x: f64, y: f64| {
        let at = marks.iter().position(|mark| *mark == x).unwrap_or(0) as f64;
        let across = LEFT + WIDTH * at / (marks.len().max(2) - 1) as f64;
        (across, TOP + HEIGHT * (1.0 - (size(y) - bottom) / (top - bottom).max(1e-9)))
    };
    let mut svg = begin(720.0, TOP + HEIGHT + 40.0, title);
    let steps: Vec<f64> = match logarithm {
        true => (bottom as i32..=top as i32).map(|power| 10f64.powi(power)).collect(),
        false => (0..=4).map(|step| top * f64::from(step) / 4.0).collect(),
    };
    for step in steps {
        let (_, y) = place(marks.first().copied().unwrap_or(0.0), step);
        let text = if logarithm { format!("{step}") } else { format!("{step:.0}") };
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {y:.1}h{WIDTH}\" stroke=\"#ddd\"/>\n\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>\n",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for mark in &marks {
        let (x, _) = place(*mark, 1.0);
        let _ =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{mark}</text>", TOP + HEIGHT + 20.0);
    }
    for (number, line) in lines.iter().enumerate() {
        let colour = colour(names, &line.name);
        let points: Vec<String> =
            line.points.iter().map(|(x, y)| place(*x, *y)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
        let y = TOP + 10.0 + number as f64 * 20.0;
        let _ = write!(
            svg,
            "<path d=\"M560 {y:.0}h20\" stroke=\"{colour}\" stroke-width=\"4\"/>\n<text x=\"586\" y=\"{:.0}\">{}</text>\n",
            y + 4.0,
            escape(&line.name)
        );
    }
    svg + "</svg>\n"
}
