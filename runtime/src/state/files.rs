//! The files of a state directory.

use rustix::fs::AtFlags;
use std::ffi::CStr;

/// The state record, `record.rs`.
pub const RECORD: &CStr = c"state.json";
/// Copy of the bundle's config.json at `create`: later commands use it, because the
/// bundle's may have changed.
pub const CONFIG: &CStr = c"config.json";
/// The FIFO by which `start` reaches init, `start.rs`.
pub const START_FIFO: &CStr = c"start.fifo";
/// Its name until the container is in state created.
pub const START_FIFO_UNPUBLISHED: &CStr = c"start.new";
/// Directory that is mounted in the container if the caller has NOTIFY_SOCKET set,
/// `ipc/notify.rs`.
pub const NOTIFY_DIRECTORY: &CStr = c"notify";
/// The socket in that directory.
pub const NOTIFY_SOCKET: &CStr = c"notify/notify.sock";
/// Exists only while CRIU restores the container.
pub const MOUNT_POINT: &CStr = c"criu-root";

/// The possible contents of a state directory: of every container, left by interrupted
/// commands, of few containers.
pub const CONTENTS: [&[(&CStr, AtFlags)]; 3] = [
    &[(CONFIG, AtFlags::empty()), (RECORD, AtFlags::empty())],
    &[(START_FIFO, AtFlags::empty()), (START_FIFO_UNPUBLISHED, AtFlags::empty()), (c".new", AtFlags::empty())],
    &[(NOTIFY_SOCKET, AtFlags::empty()), (NOTIFY_DIRECTORY, AtFlags::REMOVEDIR), (MOUNT_POINT, AtFlags::REMOVEDIR)],
];
