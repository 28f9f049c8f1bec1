//! A start of a container as a timeline: what was done, from when to when.

use crate::generation::Start;
use anyhow::{Context, Result};
use firn_network::message::Times;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// What a monitor knows of a start. Times are RFC 3339, UTC.
#[derive(Debug)]
pub struct Marks {
    pub started: String,
    pub created: Option<String>,
    pub init: Option<String>,
    pub ready: Option<String>,
    /// When init ended, if it has.
    pub ended: Option<String>,
    /// How often the monitor has started it again.
    pub restarts: u32,
}

/// Who was at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Firnctl,
    Monitor,
    Network,
    Init,
}

/// Something that took time, in seconds since the start was asked for.
#[derive(Debug)]
struct Step {
    part: Part,
    name: String,
    began: f64,
    ended: f64,
}

/// The steps, in the order in which they began. The network's lies within the runtime's `create`; the others
/// follow each other.
#[derive(Debug)]
pub struct Timeline {
    name: String,
    began: Timestamp,
    is_ready: bool,
    steps: Vec<Step>,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Firnctl => "firnctl",
            Part::Monitor => "runtime",
            Part::Network => "network",
            Part::Init => "init",
        }
    }

    fn color(self) -> &'static str {
        match self {
            Part::Firnctl => "#4878a8",
            Part::Monitor => "#6aa36a",
            Part::Network => "#b06ab0",
            Part::Init => "#d08c3c",
        }
    }
}

impl Timeline {
    /// Of what firnctl has done, if it has, when the network was made, and what the monitor knows.
    pub fn new(name: &str, start: Option<&Start>, network: Option<Times>, marks: &Marks) -> Result<Self> {
        let time =
            |text: &String| text.parse::<Timestamp>().with_context(|| format!("container {name}: time {text:?}"));
        let optional = |text: &Option<String>| text.as_ref().map(time).transpose();
        let of_system = |time| Timestamp::try_from(time).with_context(|| format!("container {name}: a time"));
        let started = time(&marks.started)?;
        let began = start.map_or(Ok(started), |start| of_system(start.began))?;
        let mut timeline = Timeline { name: name.into(), began, is_ready: marks.ready.is_some(), steps: Vec::new() };
        let mut now = began;
        for (step, ended) in start.iter().flat_map(|start| &start.steps) {
            timeline.push(Part::Firnctl, step, &mut now, of_system(*ended)?);
        }
        if start.is_some() {
            timeline.push(Part::Monitor, "monitor", &mut now, started);
        }
        let ended = optional(&marks.ended)?;
        let ready = optional(&marks.ready)?;
        // What it does now, or did when it ended, has no end of its own.
        let last = ready.or(ended).unwrap_or_else(Timestamp::now);
        let marks = [(Part::Monitor, "create", &marks.created), (Part::Monitor, "start", &marks.init)];
        for (part, step, mark) in marks {
            let mark = optional(mark)?;
            timeline.push(part, step, &mut now, mark.unwrap_or(last));
            if mark.is_none() {
                break;
            }
        }
        if now < last {
            timeline.push(Part::Init, "init", &mut now, last);
        }
        // That of this start.
        if let Some(Times { began, ended }) = network
            && of_system(began)? >= started
        {
            let (mut from, to) = (of_system(began)?, of_system(ended)?);
            timeline.push(Part::Network, "network", &mut from, to);
        }
        timeline.steps.sort_by(|a, b| a.began.total_cmp(&b.began));
        Ok(timeline)
    }

    /// A step from `now` on, which becomes its end.
    fn push(&mut self, part: Part, name: &str, now: &mut Timestamp, ended: Timestamp) {
        // The clock may have been set.
        let ended = ended.max(*now);
        let seconds = |time: Timestamp| time.duration_since(self.began).as_secs_f64();
        self.steps.push(Step { part, name: name.into(), began: seconds(*now), ended: seconds(ended) });
        *now = ended;
    }

    fn total(&self) -> f64 {
        self.steps.iter().map(|step| step.ended).fold(0.0, f64::max)
    }

    /// The seconds of one part. The network's are not the runtime's.
    fn seconds(&self, part: Part) -> f64 {
        let of = |part| self.steps.iter().filter(|step| step.part == part).map(|step| step.ended - step.began).sum();
        let own: f64 = of(part);
        if part == Part::Monitor { own - of(Part::Network) } else { own }
    }

    fn parts(&self) -> impl Iterator<Item = Part> {
        let all = [Part::Firnctl, Part::Monitor, Part::Network, Part::Init];
        all.into_iter().filter(|part| self.steps.iter().any(|step| step.part == *part))
    }

    /// A line that sums it up.
    fn summary(&self) -> String {
        let parts: Vec<String> =
            self.parts().map(|part| format!("{} {:.3} s", part.name(), self.seconds(part))).collect();
        let end = if self.is_ready { "ready after" } else { "not ready:" };
        format!("{}: {end} {:.3} s = {}", self.name, self.total(), parts.join(" + "))
    }

    pub fn text(&self) -> String {
        let mut text = self.summary() + "\n";
        for step in &self.steps {
            let indent = if step.part == Part::Network { "  " } else { "" };
            let took = step.ended - step.began;
            let _ = writeln!(text, "{:+10.3} s {took:10.3} s  {indent}{}", step.began, step.label());
        }
        text
    }

    pub fn json(&self) -> Value {
        let step = |step: &Step| json!({"part": step.part.name(), "name": step.name, "began": micros(step.began), "ended": micros(step.ended)});
        let parts = self.parts().map(|part| (part.name().to_owned(), micros(self.seconds(part)).into()));
        json!({
            "name": self.name,
            "startedAt": self.began.to_string(),
            "ready": self.is_ready,
            "seconds": micros(self.total()),
            "parts": parts.collect::<Map<_, _>>(),
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }

    /// A bar for each step, over an axis of time.
    pub fn svg(&self) -> String {
        let total = self.total().max(1e-6);
        let x = |seconds: f64| LEFT + WIDTH * seconds / total;
        let rows = f64::from(u32::try_from(self.steps.len()).unwrap_or(u32::MAX));
        let bottom = TOP + ROW * rows;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n\
             <text x=\"{LEFT}\" y=\"36\" fill=\"#666\">{}</text>\n",
            LEFT + WIDTH + RIGHT,
            bottom + 20.0,
            escaped(&self.summary()),
            self.began,
        );
        let tick = tick(total);
        let ticks = (0..).map(|number| f64::from(number) * tick).take_while(|seconds| *seconds <= total);
        for (at, seconds) in ticks.map(|seconds| (x(seconds), seconds)) {
            let _ = writeln!(
                svg,
                "<path d=\"M{at:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{:.0}\" text-anchor=\"middle\" fill=\"#666\">{seconds} s</text>",
                bottom + 15.0,
                seconds = Seconds(seconds),
            );
        }
        let mut y = TOP;
        for step in &self.steps {
            let (from, to) = (x(step.began), x(step.ended));
            let _ = writeln!(
                svg,
                "<rect x=\"{from:.1}\" y=\"{:.0}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{:.0}\">{}</text>",
                y + 3.0,
                (to - from).max(1.0),
                ROW - 6.0,
                step.part.color(),
                from + 4.0,
                y + 16.0,
                escaped(&format!("{} ({:.3} s)", step.label(), step.ended - step.began)),
            );
            y += ROW;
        }
        svg + "</svg>\n"
    }
}

impl Step {
    fn label(&self) -> String {
        match self.part {
            Part::Firnctl => format!("firnctl: {}", self.name),
            Part::Monitor if self.name != "monitor" => format!("firn {}", self.name),
            _ => self.name.clone(),
        }
    }
}

/// Pixels: of the margins, the axis, a row, and what is above the first.
const LEFT: f64 = 20.0;
const RIGHT: f64 = 240.0;
const WIDTH: f64 = 760.0;
const ROW: f64 = 24.0;
const TOP: f64 = 50.0;

/// Seconds without zeros that say nothing.
struct Seconds(f64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(format!("{:.6}", self.0).trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Seconds to the microsecond.
fn micros(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// Seconds between two lines of the axis: 1, 2 or 5 of a power of ten, for four to ten lines.
fn tick(total: f64) -> f64 {
    let power = 10_f64.powf((total / 10.0).log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power).find(|tick| total / tick <= 10.0).unwrap_or(10.0 * power)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + Duration::from_millis(millis)
    }

    fn mark(millis: u64) -> String {
        firn::state::rfc3339(at(millis))
    }

    fn marks(ready: Option<u64>, ended: Option<u64>) -> Marks {
        Marks {
            started: mark(70),
            created: Some(mark(150)),
            init: Some(mark(160)),
            ready: ready.map(mark),
            ended: ended.map(mark),
            restarts: 0,
        }
    }

    fn start() -> Start {
        Start { version: 1, began: at(0), steps: vec![("clean up".into(), at(10)), ("bundle".into(), at(60))] }
    }

    #[test]
    fn the_time_of_a_start_is_told_to_the_end() {
        let network = Times { began: at(90), ended: at(120) };
        let timeline = Timeline::new("web", Some(&start()), Some(network), &marks(Some(1_160), None)).unwrap();
        assert_eq!(
            timeline.text(),
            "web: ready after 1.160 s = firnctl 0.060 s + runtime 0.070 s + network 0.030 s + init 1.000 s\n\
             \x20   +0.000 s      0.010 s  firnctl: clean up\n\
             \x20   +0.010 s      0.050 s  firnctl: bundle\n\
             \x20   +0.060 s      0.010 s  monitor\n\
             \x20   +0.070 s      0.080 s  firn create\n\
             \x20   +0.090 s      0.030 s    network\n\
             \x20   +0.150 s      0.010 s  firn start\n\
             \x20   +0.160 s      1.000 s  init\n"
        );
        let svg = timeline.svg();
        assert_eq!(svg.matches("<rect").count(), 1 + 7, "{svg}");
        assert!(svg.contains(">0.2 s<") && svg.ends_with("</svg>\n"), "{svg}");
        assert_eq!(timeline.json()["parts"]["init"], 1.0);
    }

    #[test]
    fn a_start_that_has_failed_or_was_the_monitors_is_told_as_far_as_it_came() {
        // The network's of an earlier one is not its own.
        let network = Times { began: at(5), ended: at(6) };
        let timeline = Timeline::new("web", None, Some(network), &marks(None, Some(260))).unwrap();
        let text = timeline.text();
        assert!(text.starts_with("web: not ready: 0.190 s = runtime 0.090 s + init 0.100 s\n"), "{text}");
        let failed = Marks { created: None, init: None, ..marks(None, Some(100)) };
        let text = Timeline::new("web", None, None, &failed).unwrap().text();
        assert!(text.ends_with("0.030 s  firn create\n") && text.lines().count() == 2, "{text}");
    }

    #[test]
    fn an_axis_has_four_to_ten_lines() {
        for (total, expected) in [(0.087, 0.01), (1.0, 0.1), (1.2, 0.2), (3.0, 0.5), (59.0, 10.0), (60.0, 10.0)] {
            assert!((tick(total) - expected).abs() < 1e-9, "{total}: {}", tick(total));
        }
    }
}
