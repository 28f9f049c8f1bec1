//! The part of docs/BENCHMARKS.md that is about images.

use super::{closure, rebuild};
use crate::Result;
use crate::machine::Machine;
use crate::parts::{self, Part};
use crate::plot::{self, Bar};
use crate::row::Row;
use crate::table;
use std::path::Path;

const TEXT: &str = "
`cargo xtask bench image` writes this part. Images that the bench makes (gzip, always the same bytes) are unpacked into an empty ext4 in memory, from an image layout and from docker-registry on loopback. All subjects take turns. *floor: decompress* is the decoder that firn-image uses, alone, and *floor: write* a plain writer of the files from layers without compression, with one syncfs(2) at the end, as firn-image does; both take two layers at a time. A ratio is to the slower of them. Of two processors the decoder and the writer have one each when they are measured apart, and firn-image has both for both, and for the digests. *pigz and tar* is `pigz -dc | tar -x`, as many layers at a time as there are processors, and one sync at the end: what people write in a shell, without any digest. CPU is that of all processes, containerd's daemon too; the peak is that of the largest process. firn-image verifies both digests, and so do containerd, podman, buildah and skopeo; umoci does too. Only firn-image waits until all files are on the disk. From a registry firn-image, umoci (after skopeo) and containerd keep the compressed layers, the others don't. *An image of a closure* has 90 store paths of 400 kB, each in a layer of its own; firn-image alone is measured, and the registry keeps what was pushed before. The last table is of `firn run` of a program that ends at once, under firn-init, in a root without and with a closure: what is mounted is one EROFS image over the store, however many paths it has.
";

fn is_unpacking(row: &Row) -> bool {
    row.command != closure::COMMAND && row.command != rebuild::COMMAND
}

/// How often each image was unpacked.
fn rounds(rows: &[Row]) -> String {
    match rows.iter().map(|row| row.samples.len()).min() {
        Some(1) => "one round of each".into(),
        count => format!("{} rounds of each", count.unwrap_or(0)),
    }
}

fn sections(rows: &[Row]) -> Vec<(String, Vec<&Row>)> {
    let mut sections: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in rows {
        let title = format!("{}, {}", row.config, row.view);
        match sections.iter_mut().find(|(known, _)| *known == title) {
            Some((_, rows)) => rows.push(row),
            None => sections.push((title, vec![row])),
        }
    }
    sections
}

pub fn print(rows: &[Row]) {
    for (title, rows) in sections(rows) {
        println!("\n{title}\n{}", table::commands(&rows));
    }
}

/// Replaces the part, and draws the plot.
pub fn write(rows: &[Row], machine: &Machine, docs: &Path) -> Result<()> {
    let mut names: Vec<String> = Vec::new();
    for row in rows.iter().filter(|row| !row.samples.is_empty() && is_unpacking(row)) {
        if !names.contains(&row.subject) {
            names.push(row.subject.clone());
        }
    }
    let bar = |row: &&Row| {
        let times = row.times();
        Bar { name: row.subject.clone(), value: times.median, lower: times.lower, upper: times.upper }
    };
    let groups: Vec<_> = sections(rows)
        .into_iter()
        .filter(|(_, rows)| rows.iter().any(|row| is_unpacking(row)))
        .map(|(title, rows)| (title, rows.iter().map(bar).collect()))
        .collect();
    std::fs::write(docs.join("bench/image.svg"), plot::bars("Unpacking an image", "ms", &names, &groups, true))?;
    let mut part = format!(
        "{TEXT}\n{}: Linux {}, {}, {} cores; {}.\n\n![image](bench/image.svg)\n",
        machine.date,
        machine.kernel,
        machine.processor,
        machine.cores,
        rounds(rows)
    );
    for (title, rows) in sections(rows) {
        part += &format!("\n{title}\n\n{}", table::commands(&rows));
    }
    part += &closure::sentence(rows).map_or(String::new(), |sentence| format!("\n{sentence}"));
    parts::write(Part::Images, &part, docs)
}
