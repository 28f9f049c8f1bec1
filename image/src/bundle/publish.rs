//! Puts a bundle into its place, all of it or nothing: it is built in a directory beside the place,
//! and renamed there.

use super::files::{FilesError, io_error, set_mode, write_files};
use super::plan::{Plan, names};
use crate::source::nix::NixError;
use crate::store::gcroots;
use crate::store::staging::StagingDir;
use firn::spec::firn_config;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("bundle {0} exists already: pass --force to replace it")]
    Exists(PathBuf),
    #[error("replace bundle {path}: {reason}: remove it yourself, or choose another --output")]
    Foreign { path: PathBuf, reason: String },
    #[error(transparent)]
    Nix(#[from] NixError),
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// Makes the bundle of a plan; with `force`, in the place of an earlier one.
pub(crate) fn publish(plan: &Plan, force: bool) -> Result<(), PublishError> {
    let replaces = check_place(&plan.output, force)?;
    let staging = StagingDir::beside(&plan.output).map_err(io_error("make a directory beside", &plan.output))?;
    write_files(plan, staging.path())?;
    // Roots before the rename, so that nothing is collected meanwhile.
    let has_roots = add_roots(plan, staging.path())?;
    // A copied root may hold setuid programs, which other users of the host must not reach.
    set_mode(staging.path(), if plan.copy { 0o700 } else { 0o755 })?;
    rename_to_place(staging.path(), &plan.output, replaces)?;
    // And again afterwards, as Nix registers roots by their path.
    if has_roots && let Err(error) = add_roots(plan, &plan.output) {
        // The rename is undone; the bundle is removed with the staging directory.
        let undone = renameat_with(CWD, &plan.output, CWD, staging.path(), rename_flags(replaces));
        undone.map_err(|errno| io_error("remove", &plan.output)(errno.into()))?;
        return Err(error);
    }
    Ok(())
}

/// A copied bundle needs no roots: it refers to nothing in the store.
fn add_roots(plan: &Plan, bundle: &Path) -> Result<bool, PublishError> {
    if plan.copy {
        return Ok(false);
    }
    Ok(gcroots::add_roots(bundle, &plan.store, plan.closure.as_ref(), plan.layers.paths())?)
}

/// Whether there is a bundle to replace. Errors: there is something else.
fn check_place(output: &Path, force: bool) -> Result<bool, PublishError> {
    match fs::symlink_metadata(output) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(io_error("look at", output)(source).into()),
        Ok(_) if !force => Err(PublishError::Exists(output.to_owned())),
        Ok(meta) => {
            let foreign = |reason| PublishError::Foreign { path: output.to_owned(), reason };
            if !meta.is_dir() {
                return Err(foreign("not a directory".into()));
            }
            check_bundle(output).map_err(io_error("look at", output))?.map_err(foreign)?;
            Ok(true)
        }
    }
}

/// Whether a directory is a bundle of firn-image's and holds nothing else; the inner error says why
/// it is not.
fn check_bundle(path: &Path) -> io::Result<Result<(), String>> {
    let firn_json = path.join(firn_config::FILE);
    let meta = match fs::symlink_metadata(&firn_json) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err("not a bundle made by firn-image (no firn.json)".into()));
        }
        Err(error) => return Err(error),
    };
    if !meta.is_file() || meta.uid() != rustix::process::geteuid().as_raw() {
        return Ok(Err("its firn.json is not yours".into()));
    }
    if firn_config::parse(&fs::read(&firn_json)?).is_err() {
        return Ok(Err("its firn.json is not one of firn's".into()));
    }
    let known = [
        names::CONFIG,
        firn_config::FILE,
        names::ROOTFS,
        names::CLOSURE,
        names::CLOSURE_IMAGE,
        names::SKELETON,
        names::STORE,
        names::INIT,
        names::HOST,
    ];
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !known.contains(&&*name) && !name.starts_with(gcroots::NAME) {
            return Ok(Err(format!("it also holds {name:?}, which firn-image did not make")));
        }
    }
    if fs::read_dir(path.join(names::ROOTFS)).is_ok_and(|mut rootfs| rootfs.next().is_some()) {
        return Ok(Err("its rootfs is not empty".into()));
    }
    Ok(Ok(()))
}

/// One renameat2(2). A bundle that is replaced is in the staging directory then, and removed with
/// it.
fn rename_to_place(staging: &Path, output: &Path, replaces: bool) -> Result<(), PublishError> {
    renameat_with(CWD, staging, CWD, output, rename_flags(replaces)).map_err(|errno| match errno {
        Errno::EXIST => PublishError::Exists(output.to_owned()),
        errno => io_error("make bundle", output)(errno.into()).into(),
    })
}

fn rename_flags(replaces: bool) -> RenameFlags {
    if replaces { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE }
}
