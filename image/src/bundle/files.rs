//! Writes the files of a bundle.

use super::init::Init;
use super::plan::{Plan, names};
use super::{config, firn_json};
use crate::caller;
use crate::rootfs::copy::{CopyError, TreeCopy};
use crate::rootfs::erofs;
use crate::rootfs::overlay::{self, OverlayError};
use crate::source::nix::store_path::StorePath;
use crate::store::closure_cache::CachedImage;
use firn::spec::firn_config;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, openat};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why the files can't be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    #[error("{operation} {path}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("make config.json")]
    Config(#[from] oci_spec::OciSpecError),
    #[error("make firn.json")]
    FirnJson(#[source] serde_json::Error),
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    #[error(transparent)]
    Closure(#[from] erofs::ReadError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("copy store path {path}")]
    CopyStore { path: StorePath, source: CopyError },
}

/// Turns the reason of a failed operation on `path` into an error.
pub(super) fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    move |source| FilesError::Io { operation, path: path.to_owned(), source }
}

/// Writes all files into the empty directory `bundle`.
pub(super) fn write_files(plan: &Plan, bundle: &Path) -> Result<(), FilesError> {
    write_file(&bundle.join(names::CONFIG), config::json(plan)?.as_bytes(), 0o600)?;
    let has_image = write_closure_image(plan, bundle)?;
    let content = firn_json::content(plan, has_image);
    let firn_json = serde_json::to_string_pretty(&content).map_err(FilesError::FirnJson)?;
    write_file(&bundle.join(firn_config::FILE), (firn_json + "\n").as_bytes(), 0o600)?;
    if plan.copy {
        copy_root(plan, bundle)?;
    } else {
        make_directory(&bundle.join(names::ROOTFS), 0o755)?;
        if let Some(closure) = &plan.closure {
            let lines: String = closure.paths.iter().map(|path| format!("{path}\n")).collect();
            write_file(&bundle.join(names::CLOSURE), lines.as_bytes(), 0o644)?;
            make_skeleton(&bundle.join(names::SKELETON))?;
        }
    }
    if plan.has_host_files() {
        write_host_files(plan, &bundle.join(names::HOST))?;
    }
    if let Init::Firn { binary, .. } = &plan.init {
        // By copy_file_range(2), which shares the blocks where the file system can.
        let copy = bundle.join(names::INIT);
        fs::copy(binary, &copy).map_err(io_error("copy", binary))?;
        set_mode(&copy, 0o755)?;
    }
    Ok(())
}

/// Writes the EROFS image of the closure, by which firn shows it in one mount. Only root can mount
/// one. False where there is none, and firn binds each store path.
fn write_closure_image(plan: &Plan, bundle: &Path) -> Result<bool, FilesError> {
    let Some(closure) = plan.closure.as_ref().filter(|_| !plan.copy && caller::is_host_root()) else {
        return Ok(false);
    };
    let file = bundle.join(names::CLOSURE_IMAGE);
    let cached = CachedImage::of(&plan.store, closure).map_err(io_error("look at the closure in", plan.store.dir()))?;
    if cached.give(&file) {
        return Ok(true);
    }
    let store = open_directory(plan.store.dir())?;
    let names = closure.paths.iter().map(|path| path.base().as_ref());
    let Some(image) = erofs::image(store.as_fd(), names)? else { return Ok(false) };
    cached.keep(&image);
    // What was kept serves from now on, so that the image is there once.
    if !cached.give(&file) {
        write_file(&file, &image, 0o600)?;
    }
    Ok(true)
}

/// Copies the layers into `rootfs/`, and the closure into `store/`, which is mounted at /nix/store.
/// Not below the root: the container could replace the source of a bind mount there by a symbolic
/// link, and the next start would mount what that leads to on the host.
fn copy_root(plan: &Plan, bundle: &Path) -> Result<(), FilesError> {
    let rootfs = bundle.join(names::ROOTFS);
    if plan.layers.paths().is_empty() {
        make_skeleton(&rootfs)?;
    } else {
        make_directory(&rootfs, 0o755)?;
        copy_layers(plan, &bundle.join(names::SKELETON), &rootfs)?;
    }
    let Some(closure) = &plan.closure else {
        return Ok(());
    };
    let store = bundle.join(names::STORE);
    make_directory(&store, 0o755)?;
    let (from, to) = (open_directory(plan.store.dir())?, open_directory(&store)?);
    // One copy for all store paths, as those that Nix has optimised share files (hard links).
    let mut copy = TreeCopy::new(to.as_fd());
    for path in &closure.paths {
        let copied = copy.copy_entry(&from, path.base().as_ref());
        copied.map_err(|source| FilesError::CopyStore { path: path.clone(), source })?;
    }
    Ok(())
}

/// Copies the overlay of the layers. `lowest` is the path for its lowest layer: the skeleton under a
/// closure, else an empty directory. It is removed afterwards.
fn copy_layers(plan: &Plan, lowest: &Path, rootfs: &Path) -> Result<(), FilesError> {
    match &plan.closure {
        Some(_) => make_skeleton(lowest)?,
        None => make_directory(lowest, 0o755)?,
    }
    overlay::enter_user_namespace()?;
    let layers: Vec<_> = [lowest].into_iter().chain(plan.layers.paths().iter().map(|layer| &**layer)).collect();
    let root = overlay::mount_overlay(&layers)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = openat(&root, ".", flags, Mode::empty()).map_err(|errno| io_error("open", rootfs)(errno.into()))?;
    TreeCopy::new(open_directory(rootfs)?.as_fd()).copy_contents(&from)?;
    fs::remove_dir_all(lowest).map_err(io_error("remove", lowest))
}

fn open_directory(path: &Path) -> Result<OwnedFd, FilesError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| io_error("open", path)(errno.into()))
}

/// Makes the directories and files that stage 2 of NixOS and systemd expect in a root.
fn make_skeleton(root: &Path) -> Result<(), FilesError> {
    for (directory, mode) in [
        ("", 0o755),
        ("etc", 0o755),
        ("nix", 0o755),
        ("nix/store", 0o755),
        ("root", 0o700),
        ("var", 0o755),
        ("var/lib", 0o755),
        ("var/lib/private", 0o700),
    ] {
        make_directory(&root.join(directory), mode)?;
    }
    for file in ["etc/machine-id", "etc/os-release"] {
        write_file(&root.join(file), b"", 0o644)?;
    }
    Ok(())
}

/// Writes what the container sees at /run/host (systemd, "Container Interface").
fn write_host_files(plan: &Plan, host: &Path) -> Result<(), FilesError> {
    make_directory(host, 0o755)?;
    write_file(&host.join(names::MANAGER), b"firn\n", 0o644)?;
    let uuid = format!("{}\n", plan.identity.uuid);
    write_file(&host.join(names::UUID), uuid.as_bytes(), 0o644)?;
    if let Some(text) = &plan.os_release {
        write_file(&host.join(names::OS_RELEASE), text, 0o644)?;
    }
    if plan.has_inaccessible_files() {
        make_inaccessible_files(&host.join(names::INACCESSIBLE))?;
    }
    Ok(())
}

/// One file of each kind, which a system's manager mounts over what a service must not open.
fn make_inaccessible_files(directory: &Path) -> Result<(), FilesError> {
    make_directory(directory, 0o755)?;
    make_directory(&directory.join("dir"), 0)?;
    for (name, kind) in [
        ("reg", FileType::RegularFile),
        ("fifo", FileType::Fifo),
        ("sock", FileType::Socket),
        ("chr", FileType::CharacterDevice),
        ("blk", FileType::BlockDevice),
    ] {
        let path = directory.join(name);
        // Of no device that there is.
        mknodat(CWD, &path, kind, Mode::empty(), 0).map_err(|errno| io_error("make", &path)(errno.into()))?;
    }
    Ok(())
}

fn make_directory(path: &Path, mode: u32) -> Result<(), FilesError> {
    fs::DirBuilder::new().mode(mode).create(path).map_err(io_error("make directory", path))?;
    set_mode(path, mode)
}

fn write_file(path: &Path, contents: &[u8], mode: u32) -> Result<(), FilesError> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(contents))
        .map_err(io_error("write", path))?;
    set_mode(path, mode)
}

/// chmod(2), which the umask does not change.
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), FilesError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io_error("chmod", path))
}
