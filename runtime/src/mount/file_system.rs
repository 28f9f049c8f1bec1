//! A file system context, fsopen(2): options, creation, mount.

use super::private_mntns;
use crate::error::{Context, Error, Result};
use crate::mount::procfs;
use crate::plan::mount_options::CONTEXTS;
use crate::sys::fds::CloseBatch;
use crate::sys::mount::{self as attr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::ffi::CString;

/// Bytes of one fsconfig(2) string without its NUL: the kernel's limit is 256.
pub const MAX_STRING: usize = 255;

/// A new file system with its options, as a detached mount. By the legacy mount(2) where an
/// option is too long for fsconfig(2). `more`: an option after `data`.
pub fn create(
    kind: &str,
    source: &str,
    data: &[(String, Option<String>)],
    more: Option<(&str, &str)>,
    attributes: MountAttrFlags,
    batch: &mut CloseBatch,
) -> Result<OwnedFd> {
    let more = more.map(|(name, value)| (name, Some(value)));
    let options = || data.iter().map(|(name, value)| (name.as_str(), value.as_deref())).chain(more);
    let is_long = |text: &str| text.len() > MAX_STRING;
    if is_long(source) || options().any(|(name, value)| is_long(name) || value.is_some_and(is_long)) {
        let text: Vec<String> = options().map(|(name, value)| mount_option(name, value)).collect();
        let tree = private_mntns::mount_legacy(kind, source, &text.join(","))?;
        let set = u64::from(attributes.bits());
        let clear = if set & (attr::ATTR_ATIME | attr::ATTR_NODIRATIME) == 0 { 0 } else { attr::ATTR_ATIME };
        let attributes = attr::MountAttr { set, clear, ..attr::MountAttr::default() };
        if !attributes.is_noop() {
            attr::setattr(tree.as_fd(), false, &attributes).doing(|| "set the mount's options")?;
        }
        return Ok(tree);
    }
    let fs = FsContext::open(kind)?;
    fs.set_option("source", Some(source))?;
    for (name, value) in options() {
        fs.set_option(name, value.map(|value| unquote_context(name, value)))?;
    }
    fs.mount(attributes, batch)
}

/// An option in the comma-separated string of mount(2), in which a security context
/// (context=, fscontext= …) is quoted, since it may have commas.
fn mount_option(name: &str, value: Option<&str>) -> String {
    match value {
        None => name.to_owned(),
        Some(value) if CONTEXTS.contains(&name) => format!("{name}=\"{}\"", unquote_context(name, value)),
        Some(value) => format!("{name}={value}"),
    }
}

/// The value without quotes: fsconfig(2) takes a context bare.
fn unquote_context<'a>(name: &str, value: &'a str) -> &'a str {
    let quoted = || value.strip_prefix('"')?.strip_suffix('"');
    if CONTEXTS.contains(&name) { quoted().unwrap_or(value) } else { value }
}

/// MOUNT_ATTR_* as fsmount(2) takes them, which are those of mount_setattr(2).
pub fn fsmount_attributes(set: u64) -> MountAttrFlags {
    debug_assert_eq!(attr::ATTR_RDONLY, u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()));
    MountAttrFlags::from_bits_retain(set as u32)
}

/// A file system context. Its errors have the kernel's own message, where there is one.
#[derive(Debug)]
pub struct FsContext {
    context: OwnedFd,
    kind: String,
}

impl FsContext {
    /// fsopen(2) of file system `kind`; a `proc` is of the container's pid namespace. Errors:
    /// ENODEV as "this kernel has no file system".
    pub fn open(kind: &str) -> Result<Self> {
        if kind == "proc" {
            return Ok(FsContext { context: procfs::open_container_context()?, kind: kind.to_owned() });
        }
        match rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(context) => Ok(FsContext { context, kind: kind.to_owned() }),
            Err(Errno::NODEV) => Err(Error::new(format!("this kernel has no file system {kind:?}"))),
            Err(errno) => Err(errno).doing(|| format!("open file system {kind:?}")),
        }
    }

    /// Sets an option: a string, or a flag (None).
    pub fn set_option(&self, name: &str, value: Option<&str>) -> Result<()> {
        match value {
            None => rustix::mount::fsconfig_set_flag(&self.context, name),
            Some(value) => rustix::mount::fsconfig_set_string(&self.context, name, value),
        }
        .doing(|| self.with_kernel_log(&format!("{} option {name:?}", self.kind)))
    }

    /// Sets an option whose value need not be UTF-8. Errors: EINVAL for a NUL byte.
    pub fn set_option_bytes(&self, name: &str, value: &[u8]) -> rustix::io::Result<()> {
        let value = CString::new(value).map_err(|_| Errno::INVAL)?;
        rustix::mount::fsconfig_set_string(&self.context, name, value)
    }

    /// Sets an option to a directory's descriptor, FSCONFIG_SET_FD (overlay: Linux 6.13).
    pub fn set_option_fd(&self, name: &str, directory: &OwnedFd) -> rustix::io::Result<()> {
        rustix::mount::fsconfig_set_fd(&self.context, name, directory)
    }

    /// Creates the file system and a detached mount of it, FSCONFIG_CMD_CREATE and fsmount(2).
    pub fn mount(self, attributes: MountAttrFlags, batch: &mut CloseBatch) -> Result<OwnedFd> {
        rustix::mount::fsconfig_create(&self.context)
            .doing(|| self.with_kernel_log(&format!("create the {}", self.kind)))?;
        let mount = rustix::mount::fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .doing(|| self.with_kernel_log(&format!("mount the {}", self.kind)))?;
        batch.add(self.context);
        Ok(mount)
    }

    /// `what` with the messages that the context has, such as `e tmpfs: Bad value`.
    pub fn with_kernel_log(&self, what: &str) -> String {
        let mut buffer = [0u8; 1024];
        let mut text = what.to_owned();
        while let Ok(length @ 1..) = rustix::io::read(&self.context, &mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..length]);
            text += &format!(" ({})", line.trim_end().trim_start_matches(['e', 'w', 'i']).trim_start());
        }
        text
    }
}
