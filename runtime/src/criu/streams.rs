//! Standard streams that are pipes of whoever made the container. Images name
//! them by what they were, in runc's file of that name, and restoring puts the
//! new ones in their places.

use super::options::Folder;
use super::rpc::{self, opts};
use super::wire::Writer;
use crate::error::{Context, Result};
use rustix::fs::{Mode, OFlags};
use std::ffi::CStr;

const FILE: &CStr = c"descriptors.json";

pub fn save(folder: &Folder, names: &[String]) -> Result<()> {
    let what = || format!("write {} in {}", FILE.to_string_lossy(), folder.path.display());
    let names = if names.is_empty() { &[const { String::new() }; 3] } else { names };
    let text = serde_json::to_vec(names).doing(what)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder.fd, FILE, flags, Mode::from_raw_mode(0o600)).doing(what)?;
    crate::path::write_all(&file, &text).doing(what)
}

pub fn load(folder: &Folder) -> Result<Vec<String>> {
    let what = || format!("read {} in {}, which a checkpoint writes", FILE.to_string_lossy(), folder.path.display());
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder.fd, FILE, flags, Mode::empty()).doing(what)?;
    let text = crate::path::read_all(&file, 255).doing(what)?;
    serde_json::from_slice(&text).doing(what)
}

/// The new stream of the same number stands for each pipe.
pub fn inherit(names: &[String], list: &mut Writer) {
    for (number, name) in (0..3).zip(names).filter(|(_, name)| name.starts_with("pipe:")) {
        list.message(opts::INHERIT_FD, &rpc::inherit(name, number));
    }
}
