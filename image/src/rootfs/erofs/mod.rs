//! An EROFS image of a closure's metadata: directories, symbolic links and files without data. Over
//! the store as a data-only layer (overlayfs, "Data-only lower layers") it shows exactly the closure,
//! in one mount and with the page cache of the store's files, however many paths it has.
//!
//! Each file is a hole of its size with the extended attributes `trusted.overlay.metacopy`, which is
//! empty, and `trusted.overlay.redirect`, its path in the store.

mod format;
mod tree;

pub(crate) use tree::ReadError;

use rustix::fd::BorrowedFd;
use std::ffi::OsStr;

/// The image of the entries `names` of the open directory `store`. `Ok(None)`: one holds a file that
/// is neither regular, a directory nor a symbolic link. The same tree gives the same bytes.
pub(crate) fn image<'a>(
    store: BorrowedFd<'_>,
    names: impl Iterator<Item = &'a OsStr>,
) -> Result<Option<Vec<u8>>, ReadError> {
    Ok(tree::read(store, names)?.map(|nodes| format::write(&nodes)))
}
