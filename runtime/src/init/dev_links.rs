//! The links of /dev: runtime-linux.md "Dev symbolic links", and /dev/ptmx.

use super::Init;
use crate::error::{Context, Result};
use crate::path::InRoot;
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
];

pub fn make_all(init: &mut Init<'_>) -> Result<()> {
    let Some(dev) = init.dev.take() else { return Ok(()) };
    let root = init.task.root()?;
    // Where the kernel has it, as runc does.
    let core = root.open(&InRoot::new("/proc/kcore"), OFlags::PATH).is_ok().then_some(("/proc/kcore", "core"));
    for (text, name) in LINKS.into_iter().chain(core) {
        match rustix::fs::symlinkat(text, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).doing(|| format!("make the link /dev/{name}")),
        }
    }
    // A node of the image's here would be another pty multiplexer than that
    // of the container's own devpts.
    let link = || rustix::fs::symlinkat("pts/ptmx", &dev, "ptmx");
    match link() {
        Err(Errno::EXIST) => rustix::fs::unlinkat(&dev, "ptmx", AtFlags::empty()).and_then(|()| link()),
        result => result,
    }
    .doing(|| "make the link /dev/ptmx")
}
