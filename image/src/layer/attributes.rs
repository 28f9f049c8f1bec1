//! Extended attributes of a layer's files that belong into an image.

use super::tar_write::Xattr;
use rustix::io::Errno;
use std::io;

/// Bytes of a list of extended attributes and of the value of one at most (XATTR_LIST_MAX,
/// XATTR_SIZE_MAX; xattr(7)).
const LIMIT: usize = 1 << 16;

/// Attributes that are the host's: its policy's labels, its measurements, and its NFS server's ACLs.
const OF_HOST: [&[u8]; 4] = [b"security.selinux", b"security.evm", b"security.ima", b"system.nfs4_acl"];

/// Why attributes can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttributeError {
    #[error("read its extended attributes")]
    Read(#[source] io::Error),
    /// The data or the contents are in another layer, so that this one alone has no meaning.
    #[error(
        "overlayfs has written it with redirect_dir or metacopy ({0}), so that it is not whole: mount the layers, and give the mount as --layer"
    )]
    Incomplete(String),
}

/// The attributes of a file, sorted by name: without overlayfs's and the host's. The file is given by
/// a path that leads to it, such as a magic link of /proc/self/fd.
pub(crate) fn read(file: &str) -> Result<Vec<Xattr>, AttributeError> {
    let mut list = vec![0; LIMIT];
    let length = match rustix::fs::listxattr(file, &mut list[..]) {
        // Most files have none.
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        result => result.map_err(|errno| AttributeError::Read(errno.into()))?,
    };
    let mut attributes = Vec::new();
    let mut value = vec![0; LIMIT];
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if matches!(name, b"trusted.overlay.redirect" | b"trusted.overlay.metacopy") {
            return Err(AttributeError::Incomplete(String::from_utf8_lossy(name).into_owned()));
        }
        if is_left_out(name) {
            continue;
        }
        match rustix::fs::getxattr(file, name, &mut value[..]) {
            Ok(length) => attributes.push((name.to_vec(), value[..length].to_vec())),
            // It was removed meanwhile.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(AttributeError::Read(errno.into())),
        }
    }
    attributes.sort();
    Ok(attributes)
}

fn is_left_out(name: &[u8]) -> bool {
    OF_HOST.contains(&name) || name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}
