//! The session, the terminal, and the standard streams.

use super::context::{Init, ProcessState};
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

/// f_type of statfs(2), linux/magic.h.
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// setsid(2): without the caller's controlling terminal, into whose input queue a container
/// could push commands by TIOCSTI (CVE-2017-5226). EPERM means session leader already.
pub fn start_session() -> Result<()> {
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(errno) => Err(errno).doing(|| "setsid"),
    }
}

/// setsid(2), and TIOCSCTTY on the terminal of `open_console`, where there is one.
pub fn start_session_with_terminal(state: &ProcessState<'_>) -> Result<()> {
    start_session()?;
    if !state.plan.terminal {
        return Ok(());
    }
    tty::set_controlling(rustix::stdio::stdin()).doing(|| "set the controlling terminal (TIOCSCTTY)")
}

/// Opens a pty in the container's devpts, sends its master to the console socket
/// (SCM_RIGHTS), and makes the slave the standard streams.
pub fn open_console(state: &mut ProcessState<'_>) -> Result<()> {
    let Some(socket) = state.console_socket.take() else { return Ok(()) };
    let master = open_ptmx(state.root()?)?;
    set_up_terminal(state, &socket, &master)
}

/// The same for a `master` that is open: size, owner, streams.
fn set_up_terminal(state: &ProcessState<'_>, socket: &OwnedFd, master: &OwnedFd) -> Result<()> {
    tty::unlock(master.as_fd()).doing(|| "unlock the terminal (TIOCSPTLCK)")?;
    let terminal = tty::open_peer(master.as_fd()).doing(|| "open the terminal (TIOCGPTPEER)")?;
    if let Some(size) = state.plan.streams.size {
        let size = rustix::termios::Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&terminal, size).doing(|| "set the terminal's size")?;
    }
    if state.plan.streams.console == Console::Foreground {
        // The caller's terminal translates \n; before the program writes.
        let what = || "clear ONLCR of the terminal";
        let mut settings = tcgetattr(&terminal).doing(what)?;
        settings.output_modes.remove(OutputModes::ONLCR);
        tcsetattr(&terminal, OptionalActions::Now, &settings).doing(what)?;
    }
    // The group stays that of devpts (gid=5, tty): write(1) needs it, tty(4).
    rustix::fs::fchown(&terminal, Some(Uid::from_raw(state.plan.uid)), None)
        .doing(|| format!("chown the terminal to user {}", state.plan.uid))?;
    send_master(socket, master)?;
    for stream in 0..3 {
        sys::fds::dup2(terminal.as_fd(), stream).doing(|| "make the terminal a standard stream (dup2)")?;
    }
    Ok(())
}

/// `open_console` for init, which also binds the terminal on /dev/console.
pub fn open_init_console(init: &mut Init<'_>) -> Result<()> {
    if init.state.console_socket.is_none() {
        return Ok(());
    }
    if init.plan.namespaces.makes(clone::NEWNS) {
        open_console(&mut init.state)?;
        match init.dev.take() {
            Some(dev) => {
                create_console_file(&dev).doing(|| "create /dev/console")?;
                bind_console(&dev, rustix::stdio::stdin())?;
            }
            // A bind of the host's /dev: nothing is created in it (init/devices.rs).
            None => {
                let flags = OFlags::PATH | OFlags::DIRECTORY;
                let dev = init.state.root()?.open(&InRoot::new("/dev"), flags);
                bind_console(&dev.doing(|| "open /dev in the container's root")?, rustix::stdio::stdin())?;
            }
        }
    } else if let Some(socket) = init.state.console_socket.take() {
        // Without a mount namespace of its own: the devpts of this one.
        let master = open_ptmx(&RootFd::new(open_directory("/")?))?;
        set_up_terminal(&init.state, &socket, &master)?;
    }
    if init.plan.namespaces.joins_pid() {
        // The program's process does it: a controlling terminal is of one session.
        return Ok(());
    }
    tty::set_controlling(rustix::stdio::stdin()).doing(|| "set the controlling terminal (TIOCSCTTY)")
}

/// Opens the ptmx of the devpts at /dev/pts. The image may have put another file or a
/// symbolic link there (CVE-2025-52565): so links are refused, and the file's type, device
/// number and file system are checked.
fn open_ptmx(root: &RootFd) -> Result<OwnedFd> {
    let path = InRoot::new("/dev/pts/ptmx");
    let what = || format!("open {path} (process.terminal needs a devpts mount at /dev/pts)");
    let master = root.open_no_symlinks(&path, OFlags::RDWR | OFlags::NOCTTY).doing(what)?;
    if !is_devpts_ptmx(&master).doing(what)? {
        bail!("{path} is not the ptmx of a devpts: process.terminal needs a devpts mount at /dev/pts");
    }
    Ok(master)
}

/// Whether `fd` (may be O_PATH) is the ptmx device of a devpts: 5:2, on that file system.
pub fn is_devpts_ptmx(fd: &OwnedFd) -> Result<bool> {
    let what = || "stat the ptmx of /dev/pts";
    let stat = rustix::fs::fstat(fd).doing(what)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(5, 2)
        && fs_magic(fd).doing(what)? == DEVPTS_SUPER_MAGIC)
}

/// Sends the pty master to the console socket (SCM_RIGHTS).
pub fn send_master(socket: &OwnedFd, master: &OwnedFd) -> Result<()> {
    socket::send(socket, b"/dev/ptmx", master.as_fd()).doing(|| "send the terminal's master to the console socket")
}

/// Creates /dev/console as the target of the bind mount.
fn create_console_file(dev: &OwnedFd) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dev, c"console", flags, Mode::from_raw_mode(0o666)) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Binds the terminal on /dev/console by its descriptor, where the file exists.
fn bind_console(dev: &OwnedFd, terminal: BorrowedFd<'_>) -> Result<()> {
    let what = || "bind the terminal on /dev/console";
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let console = match rustix::fs::openat(dev, c"console", flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        result => result.doing(what)?,
    };
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(terminal, c"", clone).doing(what)?;
    attach(&tree, &console).doing(what)
}

/// Gives pipes to the program's user, who could not open /dev/stdout again otherwise, and
/// replaces the host's /dev/null by the container's: criu can't name a file of the host's
/// in a checkpoint.
pub fn set_up_streams(state: &ProcessState<'_>) -> Result<()> {
    let uid = state.plan.uid;
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for ((number, stream), kind) in (0..).zip(streams).zip(state.plan.streams.streams) {
        match kind {
            Stream::Inherit { .. } => {}
            Stream::Null => {
                if let Some(null) = open_container_null(state, stream) {
                    sys::fds::dup2(null.as_fd(), number)
                        .doing(|| "use the container's /dev/null as a standard stream")?;
                }
            }
            Stream::Give { .. } | Stream::Relay { .. } => {
                match rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None) {
                    Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS) => {}
                    Err(errno) => return Err(errno).doing(|| format!("chown standard stream {number} to user {uid}")),
                }
            }
        }
    }
    Ok(())
}

/// The container's /dev/null with the access mode of `stream`, if it is the null device.
fn open_container_null(state: &ProcessState<'_>, stream: BorrowedFd<'_>) -> Option<OwnedFd> {
    let mode = rustix::fs::fcntl_getfl(stream).ok()? & OFlags::ACCMODE;
    // O_NONBLOCK: the image may have a FIFO there, whose open would block.
    let flags = mode | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
    let null = state.root.as_ref()?.open_no_symlinks(&InRoot::new("/dev/null"), flags).ok()?;
    let is_null = rustix::fs::fstat(&null).is_ok_and(|stat| is_null(&stat));
    (is_null && rustix::fs::fcntl_setfl(&null, mode).is_ok()).then_some(null)
}
