//! What a guest is to do: files and a script that go in on one disk, results
//! that come out on another, both as tar archives on the bare disk.

use crate::Result;
use crate::build::run;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Room for what comes back.
const RESULTS_SIZE: u64 = 64 << 20;

#[derive(Debug)]
pub struct Job {
    /// Files of this machine and where they lie below /var/firn in the guest.
    pub files: Vec<(PathBuf, String)>,
    /// The shell script that runs there, as root.
    pub script: String,
    /// From its first line of output to its end.
    pub limit: Duration,
    /// MiB.
    pub memory: u32,
    pub cpus: u32,
}

impl Job {
    /// The disks with the job and for the results.
    pub fn disks(&self, directory: &Path) -> Result<(PathBuf, PathBuf)> {
        let tree = directory.join("job");
        let (input, output) = (directory.join("job.tar"), directory.join("results.tar"));
        if tree.exists() {
            std::fs::remove_dir_all(&tree)?;
        }
        std::fs::create_dir_all(&tree)?;
        for (file, name) in &self.files {
            let place = tree.join(name);
            std::fs::create_dir_all(place.parent().unwrap_or(&tree))?;
            // No link: tar sees a change when somebody else links to the file too.
            std::fs::copy(file, &place).map_err(|e| format!("{}: {e}", file.display()))?;
        }
        let start = tree.join("start");
        std::fs::write(&start, format!("#!/bin/sh\n{}\n", self.script))?;
        run(Command::new("chmod").arg("755").arg(&start))?;
        // By the builder, so that root owns all of it in the guest.
        run(Command::new("tar").args(["--owner=0", "--group=0", "-C"]).arg(&tree).arg("-cf").arg(&input).arg("."))?;
        std::fs::remove_dir_all(&tree)?;
        std::fs::File::create(&output)?.set_len(RESULTS_SIZE)?;
        Ok((input, output))
    }

    /// The results, unpacked into `results`, and the job's exit status; none if
    /// the guest did not come to write them.
    pub fn read_results(&self, directory: &Path) -> Result<Option<i32>> {
        let results = directory.join("results");
        if results.exists() {
            std::fs::remove_dir_all(&results)?;
        }
        std::fs::create_dir(&results)?;
        let archive = directory.join("results.tar");
        run(Command::new("tar").arg("-C").arg(&results).arg("-xf").arg(&archive))?;
        std::fs::remove_file(&archive)?;
        std::fs::remove_file(directory.join("job.tar"))?;
        let status = std::fs::read_to_string(results.join("status")).ok();
        Ok(status.and_then(|text| text.trim().parse().ok()))
    }
}
