//! docs/BENCHMARKS.md and its plots.

use crate::Result;
use crate::parts;
use crate::plot::{self, Bar, Group, Line};
use crate::row::{Point, Report, Row};
use crate::table;
use std::path::Path;

pub fn write(report: &Report, docs: &Path) -> Result<()> {
    let plots = docs.join("bench");
    std::fs::create_dir_all(&plots)?;
    let mut names = vec!["floor".to_owned()];
    names.extend(report.subjects.iter().map(|(name, _)| name.clone()));
    let times = |row: &Row| {
        let times = row.times();
        Bar { name: row.subject.clone(), value: times.median, lower: times.lower, upper: times.upper }
    };
    let peak = |row: &Row| Bar { name: row.subject.clone(), value: row.peak_mib(), lower: 0.0, upper: 0.0 };
    let runs = groups(report, &["run"], times);
    std::fs::write(
        plots.join("run.svg"),
        plot::bars("run of a program that ends at once", "ms", &names, &runs, false),
    )?;
    let commands = groups(report, &["create", "start", "state", "exec", "kill", "delete"], times);
    std::fs::write(plots.join("commands.svg"), plot::bars("Each command apart", "ms", &names, &commands, true))?;
    let memory = groups(report, &["run", "create", "exec"], peak);
    std::fs::write(plots.join("memory.svg"), plot::bars("Peak memory", "MiB", &names, &memory, false))?;
    let list = lines(&report.scale, "list");
    std::fs::write(plots.join("list.svg"), plot::lines("list: ms by number of containers", &names, &list, true))?;
    let parallel = lines(&report.parallel, "run");
    let title = "Runs per second by runs at a time";
    std::fs::write(plots.join("parallel.svg"), plot::lines(title, &names, &parallel, false))?;
    parts::write_rest(&text(report), docs)
}

fn groups(report: &Report, commands: &[&str], bar: impl Fn(&Row) -> Bar) -> Vec<Group> {
    let mut groups = Vec::new();
    for command in commands {
        for view in ["v1", "v2"] {
            for config in ["podman", "spec"] {
                let rows = report.select(view, config, command);
                if !rows.is_empty() {
                    let title = format!("{command}, {config}'s config, cgroup {view}");
                    groups.push((title, rows.into_iter().map(&bar).collect()));
                }
            }
        }
    }
    groups
}

fn lines(points: &[Point], command: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for point in points.iter().filter(|point| point.command == command) {
        let at = (point.number as f64, point.value.median);
        match lines.iter_mut().find(|line| line.name == point.subject) {
            Some(line) => line.points.push(at),
            None => lines.push(Line { name: point.subject.clone(), points: vec![at] }),
        }
    }
    lines
}

const HEAD: &str = "\
# Benchmarks

`cargo xtask bench` writes this file. All subjects of a table took turns, round after round in one run, each round beginning with another one; of `run`, every turn is two, and the second counts. A ratio is the median of the ratios of the same round, with its quartiles. The machine was shared with other work, so only ratios mean something, not milliseconds; where it was busy, the wall's ratios are too small, for what all wait for alike is added to both sides. Then the ratio of the processor's time (of medians) is the better one: other work hardly changes it.

The *floor* is `firn-floor`: a static program without a C library that does the kernel's work of the same container and nothing else. It reads no config and keeps no state; its system calls were written down beforehand (`bench/src/score/`). `conformance/tests/floor.rs` compares what a program sees under firn and under the floor. No runtime can be faster than it without doing less.

podman's config is the config.json that Debian's podman gives a runtime, with binds from files of the bench and a new network namespace; for cgroup v2 with a cgroup namespace, as podman asks for there, and without the limit of processes where the machine's cgroup v2 has no controllers. A name with a version is a runtime of a newer Debian release, run natively in its own root.
";

fn text(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{HEAD}\n{}: Linux {}, {}, {} cores, {} MiB.\n\n",
        machine.date, machine.kernel, machine.processor, machine.cores, machine.memory_mib
    );
    let versions: Vec<Vec<String>> = report.subjects.iter().map(|(n, v)| vec![n.clone(), v.clone()]).collect();
    text += &table::table(&["runtime", "version"], &versions);
    for (view, subject) in &report.failed {
        text += &format!("\n{subject} can't run a container on cgroup {} here.\n", view.name());
    }
    text += "\n## The whole life: run\n\nA program that ends at once. CPU is that of all processes that the command waited for.\n\n![run](bench/run.svg)\n";
    text += &sections(report, &["run"]);
    text += "\n## Each command apart\n\nOn a container that sleeps; `exec` of a program that ends at once. Where the floor has no such command the ratio is to firn.\n\n![commands](bench/commands.svg)\n";
    text += &sections(report, &["create", "start", "state", "exec", "kill", "delete"]);
    text += "\n## Peak memory\n\nOf the largest process of a command. The tables above have it for each command.\n\n![memory](bench/memory.svg)\n";
    text += "\n## Many containers\n\nMilliseconds (median) by the number of containers that there are, cgroup v2.\n\n![list](bench/list.svg)\n";
    for command in ["list", "state"] {
        let points: Vec<_> = report.scale.iter().filter(|point| point.command == command).collect();
        text += &format!("\n`{command}`\n\n{}", table::points(&points, 2));
    }
    text += "\n## In parallel\n\nRuns per second (median) by the number of runs at a time, podman's config, cgroup v2.\n\n![parallel](bench/parallel.svg)\n\n";
    text += &table::points(&report.parallel.iter().collect::<Vec<_>>(), 0);
    if !report.counts.is_empty() {
        text += "\n## System calls and instructions\n\nOf all processes of a command, up to the container's program; podman's config, cgroup v2. `conformance/tests/budget.rs` holds firn to a ceiling.\n\n";
        text += &table::counts(report);
    }
    text
}

fn sections(report: &Report, commands: &[&str]) -> String {
    let mut text = String::new();
    for command in commands {
        for config in ["podman", "spec"] {
            for view in ["v1", "v2"] {
                let rows = report.select(view, config, command);
                if !rows.is_empty() {
                    text += &format!("\n`{command}`, {config}'s config, cgroup {view}\n\n{}", table::commands(&rows));
                }
            }
        }
    }
    text
}
