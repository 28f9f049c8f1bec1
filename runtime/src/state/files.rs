//! The files of a state directory.

use rustix::fs::AtFlags;
use std::ffi::CStr;

/// The record, `record.rs`.
pub const RECORD: &CStr = c"state.json";
/// The bundle's config.json as it was at `create`: later commands need it, and the bundle
/// may have changed.
pub const CONFIG: &CStr = c"config.json";
/// By which `start` reaches init, `start.rs`.
pub const START_FIFO: &CStr = c"start.fifo";
/// Its name until the container is created.
pub const START_FIFO_UNPUBLISHED: &CStr = c"start.new";
/// Shown to the container, where a service manager waits for readiness; and the socket
/// in it, `ipc/notify.rs`.
pub const NOTIFY_DIRECTORY: &CStr = c"notify";
pub const NOTIFY_SOCKET: &CStr = c"notify/notify.sock";
/// There only while criu restores the container.
pub const MOUNT_PLACE: &CStr = c"criu-root";

/// What may lie in a state directory: what every container has, what a command
/// that was cut off has left, and what few have.
pub const CONTENTS: [&[(&CStr, AtFlags)]; 3] = [
    &[(CONFIG, AtFlags::empty()), (RECORD, AtFlags::empty())],
    &[(START_FIFO, AtFlags::empty()), (START_FIFO_UNPUBLISHED, AtFlags::empty()), (c".new", AtFlags::empty())],
    &[(NOTIFY_SOCKET, AtFlags::empty()), (NOTIFY_DIRECTORY, AtFlags::REMOVEDIR), (MOUNT_PLACE, AtFlags::REMOVEDIR)],
];
