//! Each command of a container's life apart, on a container that sleeps.

use crate::Result;
use crate::contest::{Bench, Lane, WARM_UP, order};
use crate::place::Sample;
use crate::row::Row;
use crate::runs::text;
use crate::statistics::Summary;
use crate::subject::Subject;
use firn_bench::counts::wait_for_end;
use firn_bench::engine::Stand;
use firn_bench::score;
use firn_bench::view::View;
use std::path::PathBuf;

const CONFIG: &str = "podman";
const COMMANDS: [&str; 6] = ["create", "state", "start", "exec", "kill", "delete"];

/// One subject's container.
struct Life {
    subject: Subject,
    lane: Lane,
    id: String,
    bundle: PathBuf,
    state: PathBuf,
    samples: [Vec<Sample>; 6],
    /// The floor's exec into firn's container.
    floor: Vec<Sample>,
}

pub fn measure(bench: &mut Bench, view: View) -> Result<Vec<Row>> {
    println!("create, state, start, exec, kill, delete, {CONFIG}'s config, cgroup {}", view.name());
    let mut lives = Vec::new();
    for subject in bench.subjects.clone() {
        let id = format!("bench-{}-life", subject.word());
        let config = Stand::config(bench.config(CONFIG), view, &id, &["/bin/sleep"]);
        lives.push(Life {
            lane: bench.lane(&subject, view),
            bundle: bench.stand.bundle(&format!("{id}-{}", view.name()), &config)?,
            state: subject.state(&bench.scratch.0, view),
            subject,
            id,
            samples: Default::default(),
            floor: Vec::new(),
        });
    }
    lives.retain(|life: &Life| !life.lane.out);
    for round in 0..bench.rounds + WARM_UP {
        for at in order(round, lives.len()) {
            lives[at].live(bench, view, round >= WARM_UP)?;
        }
    }
    Ok(lives.into_iter().flat_map(|life| life.rows(view)).collect())
}

impl Life {
    fn live(&mut self, bench: &mut Bench, view: View, counts: bool) -> Result<()> {
        let pid_file = bench.scratch.0.join("pid");
        for (at, command) in COMMANDS.into_iter().enumerate() {
            if self.lane.out {
                return Ok(());
            }
            let (bundle, pid_path) = (text(&self.bundle), text(&pid_file));
            let words = match command {
                "create" => vec!["create", "--bundle", &bundle, "--pid-file", &pid_path, &self.id],
                "exec" => vec!["exec", &self.id, "/bin/true"],
                "kill" => vec!["kill", &self.id, "KILL"],
                command => vec![command, &self.id],
            };
            let words = self.subject.line(&self.state, &words);
            let sample = self.lane.run(bench, view, &words)?;
            if sample.is_none() {
                return self.clear(bench, view);
            }
            self.samples[at].extend(sample.filter(|_| counts));
            if command == "exec" && self.subject.name == "firn" {
                let sample = self.join_by_floor(bench, view, &pid_file)?;
                self.floor.extend(sample.filter(|_| counts));
            }
            if command == "kill" {
                wait_for_end(&pid_file)?;
            }
        }
        Ok(())
    }

    fn join_by_floor(&mut self, bench: &mut Bench, view: View, pid_file: &std::path::Path) -> Result<Option<Sample>> {
        let pid: i32 = std::fs::read_to_string(pid_file)?.trim().parse()?;
        let layout = view.layout();
        let config = Stand::config(bench.config(CONFIG), view, &self.id, &["/bin/true"]);
        let plan = score::plan(&config, &self.id, &layout).map_err(|e| e.chain())?;
        let sheet = bench.scratch.0.join("join.score");
        std::fs::write(&sheet, score::join(&plan, &layout, pid))?;
        let words = bench.floor(&sheet);
        self.lane.run(bench, view, &words)
    }

    fn clear(&mut self, bench: &mut Bench, view: View) -> Result<()> {
        let words = self.subject.line(&self.state, &["delete", "--force", &self.id]);
        bench.place(view, self.lane.root.as_deref())?.run(&words)?;
        Ok(())
    }

    fn rows(self, view: View) -> Vec<Row> {
        if self.lane.out {
            return Vec::new();
        }
        let row = |command, subject: &str, samples| Row {
            command,
            config: CONFIG,
            view: view.name(),
            subject: subject.to_owned(),
            samples,
            base: "",
            ratio: Summary::default(),
            cpu_ratio: 0.0,
        };
        let mut rows = Vec::new();
        if !self.floor.is_empty() {
            rows.push(row("exec", "floor", self.floor));
        }
        for (command, samples) in COMMANDS.into_iter().zip(self.samples) {
            rows.push(row(command, &self.subject.name, samples));
        }
        rows
    }
}
