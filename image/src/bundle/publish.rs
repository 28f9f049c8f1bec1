//! Writes the bundle: all of it or nothing. It is built in a folder beside its
//! place and moved there in one step.

use super::init::Init;
use super::{Closure, Plan, config, firn_json, names};
use crate::rootfs::copy::{Copy, CopyError};
use crate::rootfs::overlay as merged;
use crate::rootfs::overlay::MergeError;
use crate::source::nix::cli as nix_cli;
use crate::source::nix::cli::NixError;
use crate::source::nix::store_path::StorePath;
use crate::store::staging::Temp;
use firn::spec::roots;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, openat, renameat_with};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{operation} {path}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("make config.json")]
    Config(#[from] oci_spec::OciSpecError),
    #[error("make firn.json")]
    FirnJson(#[source] serde_json::Error),
    #[error("bundle {0} exists already: pass --force to replace it")]
    Exists(PathBuf),
    #[error("{path} can't be replaced: {reason}: remove it yourself, or choose another --output")]
    Foreign { path: PathBuf, reason: String },
    #[error(transparent)]
    Nix(#[from] NixError),
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("copy store path {path}")]
    CopyStore { path: StorePath, source: CopyError },
}

/// Writes the bundle; with `force`, in the place of an earlier one.
pub fn write(plan: &Plan, force: bool) -> Result<(), WriteError> {
    let replaces = check_place(&plan.output, force)?;
    let temp = Temp::beside(&plan.output).map_err(failed("make folder beside", &plan.output))?;
    fill(plan, temp.path())?;
    // Rooted here already, so that nothing is collected before the move.
    let roots = add_roots(plan, temp.path())?;
    // A copied root may hold setuid programs, which are for the container only.
    set_mode(temp.path(), if plan.copy { 0o700 } else { 0o755 })?;
    move_in(temp.path(), &plan.output, replaces)?;
    // Nix knows roots by their place, which is another one now.
    if roots && let Err(error) = add_roots(plan, &plan.output) {
        // The move undone; what lies in the temporary folder goes with it.
        let flags = if replaces { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        let back = renameat_with(CWD, &plan.output, CWD, temp.path(), flags);
        back.map_err(|source| failed("remove", &plan.output)(source.into()))?;
        return Err(error);
    }
    Ok(())
}

/// Tells Nix what it must not collect while the bundle exists: the closure, and
/// layers that lie in the store. A copy needs neither. Says whether there is any.
fn add_roots(plan: &Plan, bundle: &Path) -> Result<bool, WriteError> {
    if plan.copy {
        return Ok(false);
    }
    let collected = plan.closure.as_ref().filter(|closure| closure.is_collected);
    if let Some(Closure { path, .. }) = collected {
        nix_cli::add_root(&plan.store, path, &bundle.join(names::GCROOT))?;
    }
    let layers = plan.layers.paths().iter().filter_map(|layer| plan.store.resolve(layer).ok());
    let mut rooted = collected.is_some();
    for (number, path) in layers.enumerate() {
        let link = bundle.join(format!("{}-layer-{number}", names::GCROOT));
        match nix_cli::add_root(&plan.store, &path, &link) {
            Ok(()) => rooted = true,
            // Without Nix nobody collects.
            Err(NixError::Missing) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rooted)
}

fn fill(plan: &Plan, bundle: &Path) -> Result<(), WriteError> {
    write_file(&bundle.join(names::CONFIG), config::json(plan)?.as_bytes(), 0o600)?;
    let firn_json = serde_json::to_string_pretty(&firn_json::roots(plan)).map_err(WriteError::FirnJson)?;
    write_file(&bundle.join(roots::FILE), (firn_json + "\n").as_bytes(), 0o600)?;
    if plan.copy {
        copy_root(plan, bundle)?;
    } else {
        make_dir(&bundle.join(names::ROOTFS), 0o755)?;
        if let Some(closure) = &plan.closure {
            let lines: String = closure.paths.iter().map(|path| format!("{path}\n")).collect();
            write_file(&bundle.join(names::CLOSURE), lines.as_bytes(), 0o644)?;
            skeleton(&bundle.join(names::SKELETON))?;
        }
    }
    host(plan, &bundle.join(names::HOST))?;
    if let Init::Firn { binary, .. } = &plan.init {
        // Shares the blocks where the file system can.
        let copy = bundle.join(names::INIT);
        fs::copy(binary, &copy).map_err(failed("copy", binary))?;
        set_mode(&copy, 0o755)?;
    }
    Ok(())
}

/// The root in `rootfs/`, and the closure beside it in `store/`, which is bound
/// over /nix/store of the root. Not below the root: the container could put a link
/// into the place of a bind's source there, and the next start would show what
/// that leads to on the host.
fn copy_root(plan: &Plan, bundle: &Path) -> Result<(), WriteError> {
    let rootfs = bundle.join(names::ROOTFS);
    if plan.layers.paths().is_empty() {
        skeleton(&rootfs)?;
    } else {
        make_dir(&rootfs, 0o755)?;
        copy_layers(plan, &bundle.join(names::SKELETON), &rootfs)?;
    }
    let Some(closure) = &plan.closure else {
        return Ok(());
    };
    let store = bundle.join(names::STORE);
    make_dir(&store, 0o755)?;
    let (from, to) = (open_dir(plan.store.dir())?, open_dir(&store)?);
    // One for all of them: store paths that Nix has optimised share files.
    let mut copy = Copy::into(to.as_fd());
    for path in &closure.paths {
        copy.one(&from, path.base().as_ref()).map_err(|source| WriteError::CopyStore { path: path.clone(), source })?;
    }
    Ok(())
}

/// `lowest` is the place of the lowest layer, as in a bundle that is not copied.
fn copy_layers(plan: &Plan, lowest: &Path, rootfs: &Path) -> Result<(), WriteError> {
    match &plan.closure {
        Some(_) => skeleton(lowest)?,
        None => make_dir(lowest, 0o755)?,
    }
    merged::become_able_to_mount()?;
    let layers: Vec<_> = [lowest].into_iter().chain(plan.layers.paths().iter().map(|layer| &**layer)).collect();
    let root = merged::mount(&layers)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = openat(&root, ".", flags, Mode::empty()).map_err(|errno| failed("open", rootfs)(errno.into()))?;
    Copy::into(open_dir(rootfs)?.as_fd()).contents(&from)?;
    fs::remove_dir_all(lowest).map_err(failed("remove", lowest))
}

fn open_dir(path: &Path) -> Result<OwnedFd, WriteError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|errno| failed("open", path)(errno.into()))
}

/// What stage 2 of NixOS and systemd expect in a root that is otherwise empty.
fn skeleton(root: &Path) -> Result<(), WriteError> {
    for (dir, mode) in [
        ("", 0o755),
        ("etc", 0o755),
        ("nix", 0o755),
        ("nix/store", 0o755),
        ("root", 0o700),
        ("var", 0o755),
        ("var/lib", 0o755),
        ("var/lib/private", 0o700),
    ] {
        make_dir(&root.join(dir), mode)?;
    }
    for file in ["etc/machine-id", "etc/os-release"] {
        write_file(&root.join(file), b"", 0o644)?;
    }
    Ok(())
}

/// The files shown at /run/host.
fn host(plan: &Plan, dir: &Path) -> Result<(), WriteError> {
    make_dir(dir, 0o755)?;
    write_file(&dir.join(names::MANAGER), b"firn\n", 0o644)?;
    let uuid = format!("{}\n", plan.identity.uuid);
    write_file(&dir.join(names::UUID), uuid.as_bytes(), 0o644)?;
    if let Some(text) = &plan.os_release {
        write_file(&dir.join(names::OS_RELEASE), text, 0o644)?;
    }
    Ok(())
}

/// Whether there is a bundle to replace. Anything else in its place is an error.
fn check_place(output: &Path, force: bool) -> Result<bool, WriteError> {
    match fs::symlink_metadata(output) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(failed("look at", output)(source)),
        Ok(_) if !force => Err(WriteError::Exists(output.to_owned())),
        Ok(meta) => {
            let foreign = |reason| WriteError::Foreign { path: output.to_owned(), reason };
            if !meta.is_dir() {
                return Err(foreign("not a directory".into()));
            }
            check_bundle(output).map_err(failed("look at", output))?.map_err(foreign)?;
            Ok(true)
        }
    }
}

/// Whether a directory is a bundle of ours and holds nothing else; the inner
/// error says what speaks against it.
fn check_bundle(path: &Path) -> io::Result<Result<(), String>> {
    let marker = path.join(roots::FILE);
    let meta = match fs::symlink_metadata(&marker) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err("not a bundle made by firn-image (no firn.json)".into()));
        }
        Err(error) => return Err(error),
    };
    if !meta.is_file() || meta.uid() != rustix::process::geteuid().as_raw() {
        return Ok(Err("its firn.json is not yours".into()));
    }
    if roots::parse(&fs::read(&marker)?).is_err() {
        return Ok(Err("its firn.json is not one of firn's".into()));
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let known = [
            names::CONFIG,
            roots::FILE,
            names::ROOTFS,
            names::CLOSURE,
            names::SKELETON,
            names::STORE,
            names::INIT,
            names::HOST,
        ];
        if !known.contains(&&*name) && !name.starts_with(names::GCROOT) {
            return Ok(Err(format!("it also holds {name:?}, which firn-image did not make")));
        }
    }
    if fs::read_dir(path.join(names::ROOTFS)).is_ok_and(|mut dir| dir.next().is_some()) {
        return Ok(Err("its rootfs is not empty".into()));
    }
    Ok(Ok(()))
}

/// Puts the new bundle into its place in one step. A replaced one is then where
/// the new one was built, and goes with that folder.
fn move_in(temp: &Path, output: &Path, replaces: bool) -> Result<(), WriteError> {
    let flags = if replaces { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    renameat_with(CWD, temp, CWD, output, flags).map_err(|error| match error {
        rustix::io::Errno::EXIST => WriteError::Exists(output.to_owned()),
        error => failed("make bundle", output)(error.into()),
    })
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    move |source| WriteError::Io { operation, path: path.to_owned(), source }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), WriteError> {
    fs::DirBuilder::new().mode(mode).create(path).map_err(failed("make folder", path))?;
    set_mode(path, mode)
}

fn write_file(path: &Path, contents: &[u8], mode: u32) -> Result<(), WriteError> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(contents))
        .map_err(failed("write", path))?;
    set_mode(path, mode)
}

/// As asked for, whatever the caller's umask.
fn set_mode(path: &Path, mode: u32) -> Result<(), WriteError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("chmod", path))
}
