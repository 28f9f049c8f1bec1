//! `--pid-file`.

use crate::error::{Context, Result};
use rustix::fs::{Mode, OFlags};
use std::path::Path;

/// Writes the pid to a new file and renames it: a reader sees the whole number or no file.
/// An existing file is replaced, never written to, because other users may have write
/// access to the directory.
pub fn write(path: &Path, pid: i32) -> Result<()> {
    let what = || format!("write the pid file {}", path.display());
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::open(&temporary, flags, Mode::from_raw_mode(0o644)).doing(what)?;
    let written = crate::path::write_all(&file, pid.to_string().as_bytes())
        .and_then(|()| rustix::fs::rename(temporary.as_os_str(), path));
    written.doing(what).inspect_err(|_| {
        let _ = rustix::fs::unlink(&temporary);
    })
}
