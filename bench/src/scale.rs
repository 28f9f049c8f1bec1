//! `list` and `state` among many containers.

use crate::Result;
use crate::contest::{Bench, Lane, order};
use crate::row::Point;
use crate::runs::text;
use crate::statistics::Summary;
use crate::subject::Subject;
use firn_bench::engine::Stand;
use firn_bench::view::View;
use serde_json::json;
use std::time::{Duration, Instant};

const VIEW: View = View::V2;
/// How long a subject may take to make its containers.
const PATIENCE: Duration = Duration::from_secs(15);

struct Crowd {
    subject: Subject,
    lane: Lane,
    /// Containers that there are.
    there: usize,
    /// How long these took to make.
    spent: Duration,
}

pub fn measure(bench: &mut Bench) -> Result<Vec<Point>> {
    let levels: &[usize] = if bench.quick { &[1, 30] } else { &[1, 100, 1000] };
    println!("list and state among {levels:?} containers");
    let mut crowds: Vec<Crowd> = bench
        .subjects
        .iter()
        .map(|subject| Crowd {
            lane: bench.lane(subject, VIEW),
            subject: subject.clone(),
            there: 0,
            spent: Duration::ZERO,
        })
        .collect();
    let mut points = Vec::new();
    for level in levels {
        for crowd in crowds.iter_mut().filter(|crowd| !crowd.lane.out) {
            crowd.grow(bench, *level)?;
        }
        points.append(&mut ask(bench, &mut crowds, *level)?);
    }
    for crowd in &mut crowds {
        crowd.clear(bench)?;
    }
    Ok(points)
}

fn ask(bench: &mut Bench, crowds: &mut [Crowd], level: usize) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    let rounds = (bench.rounds / 3).max(5);
    for command in ["list", "state"] {
        let mut times = vec![Vec::new(); crowds.len()];
        for round in 0..rounds {
            for at in order(round, crowds.len()) {
                let crowd = &mut crowds[at];
                if crowd.lane.out {
                    continue;
                }
                let id = crowd.id(level - 1);
                let words = if command == "list" { vec!["list"] } else { vec!["state", &id] };
                let words = crowd.subject.line(&crowd.state(bench), &words);
                times[at].extend(crowd.lane.run(bench, VIEW, &words)?.map(|sample| sample.milliseconds));
            }
        }
        for (crowd, times) in crowds.iter().zip(times).filter(|(crowd, _)| !crowd.lane.out) {
            let subject = crowd.subject.name.clone();
            points.push(Point { command, subject, number: level, value: Summary::of(&times) });
        }
    }
    Ok(points)
}

impl Crowd {
    fn state(&self, bench: &Bench) -> std::path::PathBuf {
        bench.scratch.0.join("state").join(format!("{}-many", self.subject.word()))
    }

    fn id(&self, number: usize) -> String {
        format!("bench-{}-{number}", self.subject.word())
    }

    /// Created containers, without a network each: that is the kernel's cost.
    fn grow(&mut self, bench: &mut Bench, level: usize) -> Result<()> {
        let state = self.state(bench);
        let each = self.spent.as_secs_f64() / self.there.max(1) as f64;
        if each * (level - self.there) as f64 > PATIENCE.as_secs_f64() {
            self.lane.out = true;
            println!("{} makes a container in {:.0} ms: not {level} of them", self.subject.name, each * 1e3);
            return Ok(());
        }
        let begin = Instant::now();
        while self.there < level {
            let id = self.id(self.there);
            let mut config = Stand::config(bench.config("spec"), VIEW, &id, &["/bin/sleep"]);
            config["linux"]["namespaces"] =
                json!([{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]);
            config["mounts"] = json!([
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}
            ]);
            let bundle = bench.stand.bundle("many", &config)?;
            let words = self.subject.line(&state, &["create", "--bundle", &text(&bundle), &id]);
            if self.lane.run(bench, VIEW, &words)?.is_none() {
                return Ok(());
            }
            self.there += 1;
        }
        self.spent += begin.elapsed();
        Ok(())
    }

    fn clear(&mut self, bench: &mut Bench) -> Result<()> {
        let state = self.state(bench);
        for number in 0..self.there {
            let words = self.subject.line(&state, &["delete", "--force", &self.id(number)]);
            bench.place(VIEW, self.lane.root.as_deref())?.run(&words)?;
        }
        Ok(())
    }
}
