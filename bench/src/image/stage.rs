//! What is needed to run a command.

use super::registry::Registry;
use crate::Result;
use crate::place::Place;
use std::path::PathBuf;

/// Bytes and inodes of the file system that each command finds empty.
const FILE_SYSTEM: (&str, &str) = ("3G", "400000");

pub struct Stage {
    pub place: Place,
    pub scratch: PathBuf,
    pub firn_image: PathBuf,
    /// Where the file system of the commands is mounted.
    pub target: PathBuf,
    pub registry: Option<Registry>,
}

impl Stage {
    /// A new ext4 in memory: one in which thousands of files were removed before is slower, and the
    /// machine's disk is others' too.
    pub fn fresh_target(&mut self) -> Result<()> {
        let (size, inodes) = FILE_SYSTEM;
        let script = "set -e; while umount -q -R \"$1\" 2>/dev/null; do :; done
            mkdir -p \"$2/ram\"; mountpoint -q \"$2/ram\" || mount -t tmpfs tmpfs \"$2/ram\"
            rm -f \"$2/ram/disk\"; truncate -s \"$3\" \"$2/ram/disk\"
            mkfs.ext4 -q -F -N \"$4\" \"$2/ram/disk\"; mount -o loop \"$2/ram/disk\" \"$1\"; sync -f \"$1\"";
        let (target, scratch) = (self.target.to_string_lossy(), self.scratch.to_string_lossy());
        let words = ["/bin/sh", "-c", script, "sh", &target, &scratch, size, inodes];
        match self.place.run(&words)?.status {
            0 => Ok(()),
            status => Err(format!("make a file system: status {status}").into()),
        }
    }
}
