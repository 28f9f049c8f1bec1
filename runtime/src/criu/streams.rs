//! Standard streams that are pipes of the caller. The images name them as /proc/PID/fd did, in
//! descriptors.json as runc; restore passes the new pipes for these names.

use super::options::Directory;
use super::rpc::{self, opts};
use super::wire::Writer;
use crate::error::{Context, Result};
use rustix::fs::{Mode, OFlags};
use std::ffi::CStr;

const FILE: &CStr = c"descriptors.json";

/// Writes the names to the images directory.
pub fn save(directory: &Directory, names: &[String]) -> Result<()> {
    let what = || format!("write {} in {}", FILE.to_string_lossy(), directory.path.display());
    let names = if names.is_empty() { &[const { String::new() }; 3] } else { names };
    let text = serde_json::to_vec(names).doing(what)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory.fd, FILE, flags, Mode::from_raw_mode(0o600)).doing(what)?;
    crate::path::write_all(&file, &text).doing(what)
}

/// Reads the names from the images directory. Errors: no file, so no images of a checkpoint.
pub fn load(directory: &Directory) -> Result<Vec<String>> {
    let what = || format!("read {} in {}, which a checkpoint writes", FILE.to_string_lossy(), directory.path.display());
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory.fd, FILE, flags, Mode::empty()).doing(what)?;
    let text = crate::path::read_all(&file, 255).doing(what)?;
    serde_json::from_slice(&text).doing(what)
}

/// inherit_fd for each name: the new stream of the same number.
pub fn inherit(names: &[String], list: &mut Writer) {
    for (number, name) in (0..3).zip(names).filter(|(_, name)| name.starts_with("pipe:")) {
        list.message(opts::INHERIT_FD, &rpc::inherit(name, number));
    }
}
