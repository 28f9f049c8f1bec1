//! Tables, for the terminal and for Markdown alike.

use crate::row::{Point, Report, Row};

/// In columns: Markdown that is legible as it stands.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let pad = |(cell, width): (&&str, &usize)| format!("{cell}{}", " ".repeat(width - cell.chars().count()));
        format!("| {} |\n", cells.iter().zip(&widths).map(pad).collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(head.to_vec()) + &line(rule.iter().map(String::as_str).collect());
    rows.iter().for_each(|row| text += &line(row.iter().map(String::as_str).collect()));
    text
}

fn spread(row: &Row) -> String {
    if row.base == row.subject {
        return "1".into();
    }
    format!("{:.2} ({:.2}–{:.2})", row.ratio.median, row.ratio.lower, row.ratio.upper)
}

/// The subjects of one command in one view.
pub fn commands(rows: &[&Row]) -> String {
    let base = rows.first().map_or("", |row| row.base);
    let ratio = format!("ratio to {base} (quartiles)");
    let cells = |row: &&Row| {
        let times = row.times();
        vec![
            row.subject.clone(),
            spread(row),
            format!("{:.2}", row.cpu_ratio),
            format!("{:.2}", times.min),
            format!("{:.2}", times.median),
            format!("{:.2}", times.p90),
            format!("{:.2}", row.cpu()),
            // The kernel counts a few pages as none.
            if row.peak_mib() < 0.1 { "< 0.1".into() } else { format!("{:.2}", row.peak_mib()) },
        ]
    };
    let head = ["", &ratio, "of CPU", "min ms", "median ms", "90 % ms", "CPU ms", "peak MiB"];
    table(&head, &rows.iter().map(cells).collect::<Vec<_>>())
}

/// Subjects by numbers.
pub fn points(points: &[&Point], digits: usize) -> String {
    let mut numbers: Vec<usize> = points.iter().map(|point| point.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut subjects: Vec<&str> = Vec::new();
    for point in points {
        if !subjects.contains(&point.subject.as_str()) {
            subjects.push(&point.subject);
        }
    }
    let head: Vec<String> = std::iter::once(String::new()).chain(numbers.iter().map(usize::to_string)).collect();
    let rows = subjects.iter().map(|subject| {
        let cell = |number: &usize| {
            let point = points.iter().find(|point| point.subject == *subject && point.number == *number);
            point.map_or("–".into(), |point| format!("{:.digits$}", point.value.median))
        };
        std::iter::once((*subject).to_owned()).chain(numbers.iter().map(cell)).collect()
    });
    table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows.collect::<Vec<_>>())
}

/// System calls of everybody, instructions of firn.
pub fn counts(report: &Report) -> String {
    let Some((_, first)) = report.counts.first() else { return String::new() };
    let mut head = vec!["command".to_owned()];
    head.extend(report.counts.iter().map(|(subject, _)| format!("calls of {subject}")));
    head.push("instructions of firn".into());
    let rows = first.iter().enumerate().map(|(at, count)| {
        let mut row = vec![count.command.to_owned()];
        row.extend(
            report.counts.iter().map(|(_, counts)| counts[at].calls.map_or("–".into(), |calls| calls.to_string())),
        );
        row.push(count.instructions.map_or("–".into(), |number| format!("{} k", number / 1000)));
        row
    });
    table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows.collect::<Vec<_>>())
}

/// All of it.
pub fn print(report: &Report) {
    for view in ["v1", "v2"] {
        for config in ["podman", "spec"] {
            for command in ["run", "create", "start", "state", "exec", "kill", "delete"] {
                let rows = report.select(view, config, command);
                if !rows.is_empty() {
                    println!("\n{command}, {config}'s config, cgroup {view}\n{}", commands(&rows));
                }
            }
        }
    }
    for command in ["list", "state"] {
        let chosen: Vec<_> = report.scale.iter().filter(|point| point.command == command).collect();
        println!("{command} among containers, median ms\n{}", points(&chosen, 2));
    }
    println!("runs per second by runs at a time\n{}", points(&report.parallel.iter().collect::<Vec<_>>(), 0));
    println!("{}", counts(report));
}
