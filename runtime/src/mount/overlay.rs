//! A root of layers: an overlay with a writable upper directory, or that directory alone
//! where there are no layers.

use super::attach::{attach, clone_mount, open_directory};
use super::container_ids::ContainerIds;
use super::file_system::{self, FsContext, MAX_STRING, fsmount_attributes};
use crate::bail;
use crate::error::{Context, Error, Result};
use crate::plan::layered_root::{LayeredRootPlan, Upper};
use crate::sys::fds::CloseBatch;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountFlags, OpenTreeFlags};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Mounts the root on `mount_point` and returns its descriptor. The writable file system is
/// mounted on `mount_point` first, and covered by the overlay, which keeps a reference to its
/// `upper` and `work`: the container can't reach them by path. `ids`: those of a container whose
/// user namespace the caller is not in; the caller then has a mount namespace of its own, in which
/// idmapped copies cover the layers.
pub fn mount_root(
    layered: &LayeredRootPlan,
    mount_point: &Path,
    marks: Marks,
    ids: Option<&ContainerIds>,
) -> Result<OwnedFd> {
    let open = |layer: &PathBuf| open_directory(layer.as_path()).doing(|| format!("layer {}", layer.display()));
    let mut layers = layered.layers.iter().map(open).collect::<Result<Vec<_>>>()?;
    if let Some(ids) = ids.filter(|ids| ids.namespace.is_some()) {
        for (path, layer) in layered.layers.iter().zip(&mut layers) {
            *layer = cover_with_mapped(layer, path, ids)?;
        }
    }
    let writable = match &layered.upper {
        Upper::Tmpfs(options) => create_upper_tmpfs(options)?,
        Upper::Directory(path) => clone_upper_directory(path)?,
    };
    let what = || format!("mount the root on {}", mount_point.display());
    attach(&writable, open_directory(mount_point)?).doing(what)?;
    let on_host = match &layered.upper {
        Upper::Tmpfs(_) => mount_point,
        Upper::Directory(path) => path,
    };
    if layered.layers.is_empty() {
        ids.map_or(Ok(()), |ids| ids.take_over(&writable, on_host))?;
        return Ok(writable);
    }
    for name in ["upper", "work"] {
        match rustix::fs::mkdirat(&writable, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).doing(|| format!("create the overlay's {name} directory")),
        }
    }
    if let Some(ids) = ids {
        // What the container sees as its root directory. `work` is of the overlay alone.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let upper = rustix::fs::openat(&writable, "upper", flags, Mode::empty());
        ids.take_over(&upper.doing(|| "open the overlay's upper directory")?, &on_host.join("upper"))?;
    }
    let (upper, work) = (mount_point.join("upper"), mount_point.join("work"));
    let paths = Paths { layers: &layered.layers, upper, work, marks };
    match create_overlay(&paths, &layers) {
        Ok(overlay) => {
            attach(&overlay, open_directory(mount_point)?).doing(what)?;
            Ok(overlay)
        }
        // An unknown option is an error at once since Linux 6.5, at the creation before.
        Err(error) if matches!(error.errno(), Some(Errno::INVAL | Errno::NOENT)) => {
            match mount_overlay_legacy(&paths, mount_point) {
                // The kernel knew the option: the first error has the reason.
                Err(second) if second.errno().is_some() => Err(error),
                result => result,
            }
        }
        Err(error) => Err(error),
    }
}

/// Attributes by which overlayfs marks opaque directories and whiteouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// `trusted.overlay.`, which take CAP_SYS_ADMIN in the initial user namespace.
    Trusted,
    /// `user.overlay.`, the option `userxattr` (Linux 5.11).
    User,
}

/// The directories of an overlay.
struct Paths<'a> {
    layers: &'a [PathBuf],
    upper: PathBuf,
    work: PathBuf,
    marks: Marks,
}

/// Attaches a copy of the layer with the container's ids to the layer's path, and opens that.
fn cover_with_mapped(layer: &OwnedFd, path: &Path, ids: &ContainerIds) -> Result<OwnedFd> {
    if path.parent().is_none() {
        // `/` is found without a look-up, which would lead to the mount on it.
        bail!("layer {}: the host's root directory can't be a layer in a user namespace", path.display());
    }
    let copy = clone_mount(layer, false).doing(|| format!("layer {}", path.display()))?;
    ids.map(&copy, path)?;
    attach(&copy, layer).doing(|| format!("layer {}", path.display()))?;
    Ok(copy)
}

/// The upper directory's file system: a tmpfs with these options.
fn create_upper_tmpfs(options: &str) -> Result<OwnedFd> {
    let option = |option: &str| match option.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (option.to_owned(), None),
    };
    let given = options.split(',').filter(|option| !option.is_empty()).map(option);
    let data: Vec<_> = std::iter::once(("mode".to_owned(), Some("0755".to_owned()))).chain(given).collect();
    file_system::create("tmpfs", "tmpfs", &data, None, fsmount_attributes(0), &mut CloseBatch::default())
}

/// The upper directory of the host, created where it is missing, as a detached mount.
#[expect(clippy::disallowed_methods, reason = "the upper directory is the host's")]
fn clone_upper_directory(path: &Path) -> Result<OwnedFd> {
    match std::fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).doing(|| format!("create the writable directory {}", path.display())),
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, path, flags).doing(|| format!("open the writable directory {}", path.display()))
}

/// One `lowerdir+` for each layer, the highest first (Linux 6.7).
fn create_overlay(paths: &Paths<'_>, layers: &[OwnedFd]) -> Result<OwnedFd> {
    let fs = FsContext::open("overlay")?;
    fs.set_option("source", Some("overlay"))?;
    for (path, layer) in paths.layers.iter().zip(layers).rev() {
        set_layer_option(&fs, "lowerdir+", path, Some(layer))
            .doing(|| fs.with_kernel_log(&format!("overlay layer {}", path.display())))?;
    }
    for (name, path) in [("upperdir", &paths.upper), ("workdir", &paths.work)] {
        set_layer_option(&fs, name, path, None).doing(|| fs.with_kernel_log(&format!("overlay {name}")))?;
    }
    if paths.marks == Marks::User {
        fs.set_option("userxattr", None)?;
    }
    fs.mount(MountAttrFlags::empty(), &mut CloseBatch::default())
}

/// Sets a directory by its path, so that mountinfo shows it. By descriptor where the path
/// is too long for fsconfig(2) or has a backslash, which overlayfs takes for an escape;
/// before Linux 6.13, which has that, as `.` with the directory as working directory.
#[expect(clippy::disallowed_methods, reason = ". only, a directory of the host's")]
pub fn set_layer_option(
    fs: &FsContext,
    name: &str,
    path: &Path,
    directory: Option<&OwnedFd>,
) -> rustix::io::Result<()> {
    let text = path.as_os_str().as_bytes();
    if text.len() <= MAX_STRING && !text.contains(&b'\\') {
        return fs.set_option_bytes(name, text);
    }
    let opened = match directory {
        Some(_) => None,
        None => Some(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?),
    };
    let Some(directory) = directory.or(opened.as_ref()) else { return Err(Errno::NOENT) };
    match fs.set_option_fd(name, directory) {
        Err(Errno::INVAL) => {}
        result => return result,
    }
    let before = rustix::fs::open(c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::fchdir(directory)?;
    let result = fs.set_option_bytes(name, b".");
    rustix::process::fchdir(before)?;
    result
}

/// Before Linux 6.7: all layers in one `lowerdir=`. By the legacy mount_root(2), which takes 4095
/// bytes of options in all; fsconfig(2) takes 255 bytes for each.
#[expect(clippy::disallowed_methods, reason = "the caller's mount point for the root, before it is entered")]
fn mount_overlay_legacy(paths: &Paths<'_>, mount_point: &Path) -> Result<OwnedFd> {
    const PAGE: usize = 4096;
    let mut options = b"lowerdir=".to_vec();
    for (number, layer) in paths.layers.iter().rev().enumerate() {
        if number > 0 {
            options.push(b':');
        }
        escape(layer, b":\\,", &mut options);
    }
    for (name, path) in [("upperdir", &paths.upper), ("workdir", &paths.work)] {
        options.extend([b",", name.as_bytes(), b"="].concat());
        escape(path, b"\\,", &mut options);
    }
    if paths.marks == Marks::User {
        options.extend(b",userxattr");
    }
    if options.len() >= PAGE {
        bail!("mount the overlay: {} layers with names of that length need Linux 6.7", paths.layers.len());
    }
    let options = CString::new(options).map_err(|_| Error::new("the name of a layer has a NUL byte"))?;
    rustix::mount::mount("overlay", mount_point, "overlay", MountFlags::empty(), options.as_c_str())
        .doing(|| "mount the overlay")?;
    open_directory(mount_point)
}

/// Appends `path` with a backslash before each byte of `special`.
fn escape(path: &Path, special: &[u8], text: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if special.contains(byte) {
            text.push(b'\\');
        }
        text.push(*byte);
    }
}
