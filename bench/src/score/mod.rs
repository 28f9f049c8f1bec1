//! Writes scores: what firn-floor plays, as the measure of what a container
//! costs at least. Everything that can be known beforehand is: the config has
//! been read, the profile compiled, what is there has been looked up.
//!
//! | module | what it holds |
//! |---|---|
//! | `container` | a container from its cgroup to its end |
//! | `mounts` | its mounts, masks and read-only paths |
//! | `program` | from there to execve: limits, rights, filter |
//! | `join` | a process that joins one |

mod container;
mod join;
mod mounts;
mod program;

pub use container::container;
pub use join::join;

use firn::internals::plan::Plan;
use firn::internals::plan::request::Request;
use firn::internals::sys::mount::MountAttr;
use firn_floor::score::{BASE, CALL, CLONE, Call, DATA, END, RETRY, SIZE};
use libc::c_long;
use std::path::Path;

/// What a call is given.
#[derive(Debug, Clone, Copy)]
struct Arg {
    value: u64,
    indirect: bool,
}

impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Arg { value, indirect: false }
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        u64::from(value).into()
    }
}

impl From<i32> for Arg {
    fn from(value: i32) -> Self {
        (i64::from(value) as u64).into()
    }
}

/// Where the result of a call is kept, for the calls after it.
#[derive(Debug, Clone, Copy)]
struct Place(u64);

impl From<Place> for Arg {
    fn from(place: Place) -> Self {
        Arg { value: place.0, indirect: true }
    }
}

const CWD: i32 = libc::AT_FDCWD;

#[derive(Debug, Default)]
struct Score {
    calls: Vec<Call>,
    data: Vec<u8>,
}

impl Score {
    /// Puts bytes where calls can point to them.
    fn bytes(&mut self, bytes: &[u8]) -> u64 {
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        let at = BASE + DATA + self.data.len() as u64;
        self.data.extend_from_slice(bytes);
        at
    }

    fn words(&mut self, words: &[u64]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.bytes(&bytes)
    }

    fn text(&mut self, text: impl AsRef<[u8]>) -> Arg {
        self.bytes(&[text.as_ref(), b"\0"].concat()).into()
    }

    fn path(&mut self, path: &Path) -> Arg {
        self.text(path.as_os_str().as_encoded_bytes())
    }

    /// Strings for execve.
    fn list(&mut self, strings: &[std::ffi::CString]) -> Arg {
        let mut pointers: Vec<u64> = strings.iter().map(|string| self.bytes(string.as_bytes_with_nul())).collect();
        pointers.push(0);
        self.words(&pointers).into()
    }

    fn place(&mut self) -> Place {
        Place(self.bytes(&[0; 8]))
    }

    fn push(&mut self, kind: u16, number: c_long, args: &[Arg], result: u64) {
        let mut call = Call { kind, indirect: 0, number: number as u32, result, args: [0; 6] };
        for (place, arg) in args.iter().enumerate() {
            call.args[place] = arg.value;
            call.indirect |= u16::from(arg.indirect) << place;
        }
        self.calls.push(call);
    }

    fn call(&mut self, number: c_long, args: &[Arg]) {
        self.push(CALL, number, args, 0);
    }

    /// A call that makes a descriptor.
    fn open(&mut self, number: c_long, args: &[Arg]) -> Place {
        let place = self.place();
        self.push(CALL, number, args, place.0);
        place
    }

    fn retry(&mut self, number: c_long, args: &[Arg]) {
        self.push(RETRY, number, args, 0);
    }

    fn open_path(&mut self, path: &Path, flags: i32) -> Place {
        let path = self.path(path);
        self.open(libc::SYS_openat, &[CWD.into(), path, (flags | libc::O_CLOEXEC).into()])
    }

    fn write(&mut self, file: Place, text: &str) {
        let length = text.len() as u64;
        let text = self.text(text);
        self.call(libc::SYS_write, &[file.into(), text, length.into()]);
    }

    fn write_file(&mut self, path: &Path, text: &str) {
        let file = self.open_path(path, libc::O_WRONLY);
        self.write(file, text);
    }

    fn setattr(&mut self, dir: impl Into<Arg>, path: &str, flags: i32, attr: &MountAttr) {
        let attr = self.words(&[attr.set, attr.clear, attr.propagation, attr.userns_fd]).into();
        let path = self.text(path);
        self.call(libc::SYS_mount_setattr, &[dir.into(), path, flags.into(), attr, 32.into()]);
    }

    /// Begins the child's part. `cgroup` is a directory of cgroup v2.
    fn clone(&mut self, flags: u64, cgroup: Option<&Path>) -> Fork {
        // linux/sched.h
        const INTO_CGROUP: u64 = 0x2_0000_0000;
        const CGROUP: u64 = 10;
        let flags = flags | libc::CLONE_VM as u64 | libc::CLONE_VFORK as u64;
        let mut args = [flags, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, 0, 0, 0];
        args[0] |= if cgroup.is_some() { INTO_CGROUP } else { 0 };
        let args = self.words(&args);
        if let Some(path) = cgroup {
            let path = self.path(path);
            let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
            self.push(CALL, libc::SYS_openat, &[CWD.into(), path, flags.into()], args + CGROUP * 8);
        }
        let pid = self.place();
        self.push(CLONE, libc::SYS_clone3, &[args.into()], pid.0);
        Fork { pid, call: self.calls.len() - 1 }
    }

    /// Begins the parent's part: it waits.
    fn wait(&mut self, fork: Fork) -> Place {
        self.calls[fork.call].args[2] = self.calls.len() as u64;
        let status = self.place();
        self.call(libc::SYS_wait4, &[fork.pid.into(), status.0.into(), 0.into(), 0.into()]);
        status
    }

    fn end(&mut self, status: Place) {
        self.push(END, 0, &[status.0.into()], 0);
    }

    /// The file.
    fn finish(self) -> Vec<u8> {
        let mut file = Vec::with_capacity(SIZE as usize);
        for Call { kind, indirect, number, result, args } in self.calls {
            file.extend_from_slice(&kind.to_ne_bytes());
            file.extend_from_slice(&indirect.to_ne_bytes());
            file.extend_from_slice(&number.to_ne_bytes());
            file.extend([result].iter().chain(&args).flat_map(|word| word.to_ne_bytes()));
        }
        assert!(file.len() < DATA as usize, "a score of too many calls");
        file.resize(DATA as usize, 0);
        file.extend_from_slice(&self.data);
        assert!(file.len() < SIZE as usize, "a score of too many words");
        file.resize(SIZE as usize, 0);
        file
    }
}

/// A clone whose parent's part is still to come.
#[derive(Debug)]
struct Fork {
    pid: Place,
    call: usize,
}

/// What the config comes to, for a container of that name.
pub fn plan(
    config: &serde_json::Value,
    id: &str,
    layout: &firn::internals::host::cgroup_layout::Layout,
) -> firn::error::Result<Plan> {
    let spec = firn::spec::parse(config.to_string().as_bytes()).map_err(|e| firn::error::Error::new(e.to_string()))?;
    let mut host = firn::internals::host::Host::probe()?;
    host.cgroups = layout.clone();
    let request = Request { id: id.to_owned(), bundle: "/".into(), ..Request::default() };
    firn::internals::plan::plan(&spec, request, &host, &firn::log::Log::quiet())
}
