//! Layers that are mounted now, in whatever mount namespace of a process.

use std::collections::HashSet;
use std::fs;
use std::io;

/// Hexadecimal digits of a layer's name at least.
const DIGITS: usize = 64;

/// The names that may be those of layers of the store, of all overlays that processes see: firn mounts layers
/// by their paths, which /proc/PID/mountinfo shows (proc(5)). They are told by their form alone, as paths are
/// escaped there, and may be seen from other places.
///
/// Each process is asked, as one that has changed its root sees only what is below that.
pub(super) fn names() -> io::Result<HashSet<String>> {
    let mut names = HashSet::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        if entry.file_name().to_str().is_none_or(|name| name.parse::<u32>().is_err()) {
            continue;
        }
        let Some(text) = unless_gone(fs::read(entry.path().join("mountinfo")))? else { continue };
        let lines = text.split(|byte| *byte == b'\n');
        lines.filter(|line| is_overlay(line)).for_each(|line| add_names(line, &mut names));
    }
    Ok(names)
}

/// A process that has ended, or is a zombie, shows nothing.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();
    const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(ESRCH | EINVAL)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The file system's type comes after the separator of optional fields.
fn is_overlay(line: &[u8]) -> bool {
    const TYPE: &[u8] = b" - overlay ";
    line.windows(TYPE.len()).any(|window| window == TYPE)
}

fn add_names(line: &[u8], names: &mut HashSet<String>) {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    for word in line.split(|byte| !is_digit(byte)).filter(|word| word.len() >= DIGITS) {
        names.insert(String::from_utf8_lossy(word).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_overlays() {
        let name = "0123456789abcdef".repeat(4);
        let line = format!("1 2 0:3 / / rw shared:1 - overlay overlay rw,lowerdir+=/a/sha256/{name},lowerdir+=/b/c0");
        assert!(is_overlay(line.as_bytes()) && !is_overlay(b"1 2 0:3 / /a rw - tmpfs overlay rw"));
        let mut names = HashSet::new();
        add_names(line.as_bytes(), &mut names);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), [name]);
    }
}
