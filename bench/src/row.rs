//! What has been measured.

use crate::contest::Bench;
use crate::machine::Machine;
use crate::place::Sample;
use crate::statistics::Summary;
use firn_bench::counts::Count;
use firn_bench::view::View;
use serde_json::{Value, json};

/// One command of one subject.
#[derive(Debug)]
pub struct Row {
    pub command: &'static str,
    pub config: &'static str,
    pub view: &'static str,
    pub subject: String,
    pub samples: Vec<Sample>,
    /// What it is compared with, and the ratio to that.
    pub base: &'static str,
    pub ratio: Summary,
    /// The same of the processor's time, which other work on the machine hardly
    /// changes.
    pub cpu_ratio: f64,
}

impl Row {
    pub fn times(&self) -> Summary {
        Summary::of(&self.milliseconds())
    }

    pub fn milliseconds(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.milliseconds).collect()
    }

    pub fn cpu(&self) -> f64 {
        Summary::of(&self.samples.iter().map(|sample| sample.cpu_milliseconds).collect::<Vec<_>>()).median
    }

    /// The most that it took in most rounds.
    pub fn peak_mib(&self) -> f64 {
        Summary::of(&self.samples.iter().map(|sample| sample.peak_kib as f64 / 1024.0).collect::<Vec<_>>()).median
    }

    pub fn json(&self) -> Value {
        json!({"command": self.command, "config": self.config, "view": self.view, "subject": self.subject,
               "rounds": self.samples.len(), "milliseconds": self.times().json(), "cpu_milliseconds": self.cpu(),
               "peak_mib": self.peak_mib(), "ratio_to": self.base, "ratio": self.ratio.json(),
               "cpu_ratio": self.cpu_ratio})
    }
}

/// Fills in the ratios: to the floor where it does the command, else to firn.
pub fn compare(rows: &mut [Row]) {
    let base = |rows: &[Row], row: &Row, name: &str| {
        let same = |other: &&Row| other.command == row.command && other.subject == name;
        rows.iter().find(same).map(|base| (base.milliseconds(), base.cpu()))
    };
    for at in 0..rows.len() {
        for name in ["floor", "firn"] {
            if let Some((base, cpu)) = base(rows, &rows[at], name) {
                rows[at].cpu_ratio = rows[at].cpu() / cpu;
                rows[at].base = name;
                rows[at].ratio = Summary::of_ratios(&rows[at].milliseconds(), &base);
                break;
            }
        }
    }
}

/// `list` and `state` among many containers, or runs in parallel.
#[derive(Debug)]
pub struct Point {
    pub command: &'static str,
    pub subject: String,
    pub number: usize,
    pub value: Summary,
}

impl Point {
    pub fn json(&self) -> Value {
        json!({"command": self.command, "subject": self.subject, "number": self.number, "value": self.value.json()})
    }
}

#[derive(Debug)]
pub struct Report {
    pub machine: Machine,
    /// Name and version.
    pub subjects: Vec<(String, String)>,
    pub rows: Vec<Row>,
    /// Milliseconds by number of containers.
    pub scale: Vec<Point>,
    /// Runs per second by number of runs at a time.
    pub parallel: Vec<Point>,
    pub counts: Vec<(String, Vec<Count>)>,
    /// Who could not run in which view.
    pub failed: Vec<(View, String)>,
}

impl Report {
    pub fn new(bench: &Bench) -> Self {
        Report {
            machine: Machine::here(),
            subjects: bench.subjects.iter().map(|s| (s.name.clone(), s.version.clone())).collect(),
            rows: Vec::new(),
            scale: Vec::new(),
            parallel: Vec::new(),
            counts: Vec::new(),
            failed: Vec::new(),
        }
    }

    pub fn add(&mut self, mut rows: Vec<Row>) {
        compare(&mut rows);
        self.rows.append(&mut rows);
    }

    pub fn select(&self, view: &str, config: &str, command: &str) -> Vec<&Row> {
        let wanted = |row: &&Row| row.view == view && row.config == config && row.command == command;
        self.rows.iter().filter(wanted).collect()
    }

    pub fn json(&self) -> Value {
        let machine = &self.machine;
        let counts = self.counts.iter().map(|(subject, counts)| {
            let counts: Vec<Value> = counts
                .iter()
                .map(|c| json!({"command": c.command, "calls": c.calls, "instructions": c.instructions}))
                .collect();
            json!({"subject": subject, "counts": counts})
        });
        json!({
            "date": machine.date,
            "machine": {"kernel": machine.kernel, "processor": machine.processor, "cores": machine.cores,
                        "memory_mib": machine.memory_mib},
            "subjects": self.subjects.iter().map(|(name, version)| json!({"name": name, "version": version})).collect::<Vec<_>>(),
            "commands": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "scale": self.scale.iter().map(Point::json).collect::<Vec<_>>(),
            "parallel": self.parallel.iter().map(Point::json).collect::<Vec<_>>(),
            "counts": counts.collect::<Vec<_>>(),
        })
    }
}

/// Rows of subjects that are compared with the first of them.
pub fn beside_first(
    command: &'static str,
    (config, view): (&'static str, &'static str),
    subjects: impl Iterator<Item = (&'static str, Vec<Sample>)>,
) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (subject, samples) in subjects {
        let (ratio, cpu_ratio) = (Summary::default(), 0.0);
        let mut row = Row { command, config, view, subject: subject.into(), samples, base: subject, ratio, cpu_ratio };
        let first = rows.first().unwrap_or(&row);
        let (ratio, cpu_ratio) =
            (Summary::of_ratios(&row.milliseconds(), &first.milliseconds()), row.cpu() / first.cpu());
        let base = first.base;
        (row.base, row.ratio, row.cpu_ratio) = (base, ratio, cpu_ratio);
        rows.push(row);
    }
    rows
}
