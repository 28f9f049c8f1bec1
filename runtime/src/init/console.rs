//! The session, the terminal, and whose the standard streams are.

use super::context::{Init, Task};
use crate::bail;
use crate::error::{Context, Result};
use crate::ipc::socket;
use crate::mount::attach::{attach, open_directory};
use crate::path::kernel_fs::fs_magic;
use crate::path::{InRoot, RootFd};
use crate::plan::request::Console;
use crate::plan::streams::{Stream, is_null};
use crate::sys::{self, clone, tty};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};

/// linux/magic.h
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// A session of its own, so that no terminal of the caller can be typed into
/// by TIOCSTI (CVE-2017-5226).
pub fn start_session() -> Result<()> {
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(errno).doing(|| "start a session"),
    }
}

/// A session, with the terminal that `open` made as its controlling one.
pub fn start_session_with_terminal(task: &Task<'_>) -> Result<()> {
    start_session()?;
    if !task.process.terminal {
        return Ok(());
    }
    tty::set_controlling(rustix::stdio::stdin()).doing(|| "make the terminal the controlling one")
}

/// Opens a terminal in the container's devpts, hands its master to whoever
/// waits at the console socket, and makes the other end the standard streams.
pub fn open_console(task: &mut Task<'_>) -> Result<()> {
    let Some(socket) = task.console_socket.take() else { return Ok(()) };
    let master = open_ptmx(task.root()?)?;
    set_up_terminal(task, &socket, &master)
}

fn set_up_terminal(task: &Task<'_>, socket: &OwnedFd, master: &OwnedFd) -> Result<()> {
    tty::unlock(master.as_fd()).doing(|| "unlock the terminal")?;
    let terminal = tty::open_peer(master.as_fd()).doing(|| "open the terminal")?;
    if let Some(size) = task.process.streams.size {
        let size = rustix::termios::Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&terminal, size).doing(|| "set the terminal's size")?;
    }
    if task.process.streams.console == Console::Foreground {
        // Before the program writes to it.
        let what = || "set the terminal's ends of lines";
        let mut settings = tcgetattr(&terminal).doing(what)?;
        settings.output_modes.remove(OutputModes::ONLCR);
        tcsetattr(&terminal, OptionalActions::Now, &settings).doing(what)?;
    }
    // The group stays that of devpts, tty(4): write(1) needs it.
    rustix::fs::fchown(&terminal, Some(Uid::from_raw(task.process.uid)), None)
        .doing(|| "give the terminal its owner")?;
    send_master(socket, master)?;
    for stream in 0..3 {
        sys::fds::dup2(terminal.as_fd(), stream).doing(|| "make the terminal the standard streams")?;
    }
    Ok(())
}

/// The same for init, whose terminal is also /dev/console.
pub fn open_init_console(init: &mut Init<'_>) -> Result<()> {
    if init.task.console_socket.is_none() {
        return Ok(());
    }
    if init.plan.namespaces.makes(clone::NEWNS) {
        open_console(&mut init.task)?;
        match init.dev.take() {
            Some(dev) => {
                create_console_file(&dev).doing(|| "make a place for /dev/console")?;
                bind_console(&dev, rustix::stdio::stdin())?;
            }
            // Bound from somewhere, where nothing is made: see init/devices.rs.
            None => {
                let flags = OFlags::PATH | OFlags::DIRECTORY;
                let dev = init.task.root()?.open(&InRoot::new("/dev"), flags);
                bind_console(&dev.doing(|| "open /dev in the container's root")?, rustix::stdio::stdin())?;
            }
        }
    } else if let Some(socket) = init.task.console_socket.take() {
        // Nothing was mounted in the root: a terminal of this mount namespace.
        let master = open_ptmx(&RootFd::new(open_directory("/")?))?;
        set_up_terminal(&init.task, &socket, &master)?;
    }
    if init.plan.namespaces.joins_pid() {
        // That of the process that is made last.
        return Ok(());
    }
    tty::set_controlling(rustix::stdio::stdin()).doing(|| "make the terminal the controlling one")
}

/// The multiplexer must be that of a devpts, whatever the image has put there
/// (CVE-2025-52565).
fn open_ptmx(root: &RootFd) -> Result<OwnedFd> {
    let path = InRoot::new("/dev/pts/ptmx");
    let what = || format!("open {path}, for process.terminal needs a devpts mount at /dev/pts");
    let master = root.open_no_symlinks(&path, OFlags::RDWR | OFlags::NOCTTY).doing(what)?;
    if !is_devpts_ptmx(&master).doing(what)? {
        bail!("{path} is not the multiplexer of a devpts");
    }
    Ok(master)
}

/// Whether `fd` is the multiplexer that belongs to a devpts, opened or by O_PATH.
pub fn is_devpts_ptmx(fd: &OwnedFd) -> Result<bool> {
    let what = || "look at the multiplexer of terminals";
    let stat = rustix::fs::fstat(fd).doing(what)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(5, 2)
        && fs_magic(fd).doing(what)? == DEVPTS_SUPER_MAGIC)
}

/// Hands the master of a terminal to whoever waits at the console socket.
pub fn send_master(socket: &OwnedFd, master: &OwnedFd) -> Result<()> {
    socket::send(socket, b"/dev/ptmx", master.as_fd()).doing(|| "send the terminal to the console socket")
}

fn create_console_file(dev: &OwnedFd) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dev, c"console", flags, Mode::from_raw_mode(0o666)) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// The terminal at /dev/console, by descriptor, where there is a place for it.
fn bind_console(dev: &OwnedFd, terminal: BorrowedFd<'_>) -> Result<()> {
    let what = || "show the terminal at /dev/console";
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = match rustix::fs::openat(dev, c"console", flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        result => result.doing(what)?,
    };
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(terminal, c"", clone).doing(what)?;
    attach(&tree, &place).doing(what)
}

/// The program's user must be able to open /dev/stdout and its like again, so pipes
/// become its own. /dev/null becomes the container's, for a checkpoint can't name a
/// file of the host's.
pub fn set_up_streams(task: &Task<'_>) -> Result<()> {
    let uid = task.process.uid;
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for ((number, stream), kind) in (0..).zip(streams).zip(task.process.streams.streams) {
        match kind {
            Stream::Inherit { .. } => {}
            Stream::Null => {
                if let Some(null) = open_container_null(task, stream) {
                    sys::fds::dup2(null.as_fd(), number).doing(|| "open the container's /dev/null")?;
                }
            }
            Stream::Give { .. } | Stream::Relay { .. } => {
                match rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None) {
                    Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS) => {}
                    Err(errno) => return Err(errno).doing(|| format!("give a standard stream to user {uid}")),
                }
            }
        }
    }
    Ok(())
}

/// The container's /dev/null, if it is one and may be opened as `stream` is.
fn open_container_null(task: &Task<'_>, stream: BorrowedFd<'_>) -> Option<OwnedFd> {
    let mode = rustix::fs::fcntl_getfl(stream).ok()? & OFlags::ACCMODE;
    // What lies there may be the image's own: a fifo must not keep us waiting.
    let flags = mode | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let null = task.root.as_ref()?.open_no_symlinks(&InRoot::new("/dev/null"), flags).ok()?;
    let is_null = rustix::fs::fstat(&null).is_ok_and(|stat| is_null(&stat));
    (is_null && rustix::fs::fcntl_setfl(&null, mode).is_ok()).then_some(null)
}
