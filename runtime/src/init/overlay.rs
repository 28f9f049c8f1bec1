//! A root of layers under something that can be written: an overlay, or that
//! something alone where there are no layers.

use super::mounts::{FileSystem, attributes};
use super::rootfs::{attach, open_directory};
use crate::bail;
use crate::error::{Context, Result};
use crate::plan::roots::{RootsPlan, Upper};
use crate::sys::fds::Bin;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Mounts the root on `place` and returns its descriptor. What is written goes
/// below `place` first, out of the container's sight: the overlay that covers
/// it keeps its own hold of it.
pub fn mount(roots: &RootsPlan, place: &Path) -> Result<OwnedFd> {
    for layer in &roots.layers {
        open_directory(layer.as_path()).doing(|| format!("layer {}", layer.display()))?;
    }
    let writable = match &roots.upper {
        Upper::Tmpfs(options) => tmpfs(options)?,
        Upper::Directory(path) => bind(path)?,
    };
    let what = || format!("mount the root on {}", place.display());
    attach(&writable, open_directory(place)?).doing(what)?;
    if roots.layers.is_empty() {
        return Ok(writable);
    }
    for name in ["upper", "work"] {
        match rustix::fs::mkdirat(&writable, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).doing(|| format!("make the overlay's {name} directory")),
        }
    }
    let overlay = overlay(&roots.layers, &place.join("upper"), &place.join("work"))?;
    attach(&overlay, open_directory(place)?).doing(what)?;
    Ok(overlay)
}

fn tmpfs(options: &str) -> Result<OwnedFd> {
    let fs = FileSystem::open("tmpfs")?;
    fs.set("source", Some("tmpfs"))?;
    fs.set("mode", Some("0755"))?;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some((name, value)) => fs.set(name, Some(value))?,
            None => fs.set(option, None)?,
        }
    }
    fs.mount(attributes(0), &mut Bin::default())
}

#[expect(clippy::disallowed_methods, reason = "the upper directory is the host's")]
fn bind(path: &Path) -> Result<OwnedFd> {
    match std::fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).doing(|| format!("make the writable directory {}", path.display())),
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, path, flags).doing(|| format!("open the writable directory {}", path.display()))
}

fn overlay(layers: &[impl AsRef<Path>], upper: &Path, work: &Path) -> Result<OwnedFd> {
    let fs = FileSystem::open("overlay")?;
    fs.set("source", Some("overlay"))?;
    // The kernel takes them highest first, one by one since 6.7.
    let highest_first = || layers.iter().rev().map(AsRef::as_ref);
    for (number, layer) in highest_first().enumerate() {
        match fs.set_path("lowerdir+", layer) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) if number == 0 => {
                joined_layers(&fs, &highest_first().collect::<Vec<_>>())?;
                break;
            }
            Err(errno) => return Err(errno).doing(|| fs.told(&format!("overlay layer {}", layer.display()))),
        }
    }
    for (name, path) in [("upperdir", upper), ("workdir", work)] {
        fs.set_path(name, path).doing(|| fs.told(&format!("overlay {name}")))?;
    }
    fs.mount(MountAttrFlags::empty(), &mut Bin::default())
}

/// Before 6.7: all in one string, of at most 256 bytes in a file system
/// context and so of short names only.
fn joined_layers(fs: &FileSystem, layers: &[&Path]) -> Result<()> {
    let mut text = Vec::new();
    for layer in layers {
        if !text.is_empty() {
            text.push(b':');
        }
        for byte in layer.as_os_str().as_bytes() {
            if matches!(byte, b':' | b'\\' | b',') {
                text.push(b'\\');
            }
            text.push(*byte);
        }
    }
    if text.len() > 255 {
        bail!("{} layers with long names need Linux 6.7", layers.len());
    }
    fs.set_bytes("lowerdir", &text).doing(|| fs.told("overlay layers"))
}
