//! The container's system call filter. After it, init makes two more calls
//! itself, which have to pass: capset where no_new_privs is off, and execve; and
//! in between what startContainer hooks take, where there are some.

use super::Task;
use crate::bail;
use crate::create::listener::{HANDED_OVER, LOADED};
use crate::create::socket;
use crate::error::{Context, Error, Result};
use crate::seccomp::Filter;
use crate::sys;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::net::RecvFlags;
use std::sync::atomic::{AtomicI32, Ordering};

pub fn load(task: &Task<'_>) -> Result<()> {
    let Some(filter) = task.filter else { return Ok(()) };
    match &filter.listener {
        None => sys::seccomp::load(&filter.program, filter.flags).map(drop).doing(|| "load the filter"),
        Some(_) => load_and_hand_over(task, filter),
    }
}

/// Where the thread that loads the filter and the one that hands its descriptor
/// over meet: a number that is one of these, or the descriptor.
static MEETING: AtomicI32 = AtomicI32::new(NOT_LOADED);
const NOT_LOADED: i32 = -1;
const HANDED: i32 = -2;
const FAILED: i32 = -3;

/// From the moment that the filter is in, any call of this thread may wait for an
/// agent that has yet to get the descriptor. So another thread sends it, to whom
/// the filter does not apply, and this one waits without a system call.
fn load_and_hand_over(task: &Task<'_>, filter: &Filter) -> Result<()> {
    let connection = task.listener.as_ref().ok_or_else(|| Error::new("nobody takes the listener"))?;
    let connection = connection.try_clone().doing(|| "keep the channel for the listener")?;
    let thread = std::thread::Builder::new().stack_size(64 << 10);
    drop(thread.spawn(move || courier(&connection)).doing(|| "make the thread that hands the listener over")?);
    let listener = match sys::seccomp::load(&filter.program, filter.flags) {
        Ok(Some(listener)) => listener,
        result => {
            MEETING.store(FAILED, Ordering::Release);
            result.doing(|| "load the filter")?;
            bail!("the filter has no listener");
        }
    };
    // It closes on exec. Closing it here would be a call.
    let listener = std::mem::ManuallyDrop::new(listener);
    MEETING.store(listener.as_raw_fd(), Ordering::Release);
    loop {
        match MEETING.load(Ordering::Acquire) {
            HANDED => return Ok(()),
            FAILED => bail!("the runtime did not take the listener"),
            _ => std::hint::spin_loop(),
        }
    }
}

/// The other thread: waits for the descriptor, sends it, and ends before the
/// container's own code runs, for it has more rights.
fn courier(connection: &OwnedFd) -> ! {
    let listener = loop {
        match MEETING.load(Ordering::Acquire) {
            NOT_LOADED => std::thread::sleep(std::time::Duration::from_micros(20)),
            FAILED => sys::exec::exit_thread(),
            number => break number,
        }
    };
    let sent = sys::fds::borrow(listener).and_then(|listener| hand_over(connection.as_fd(), listener));
    MEETING.store(if sent.is_ok() { HANDED } else { FAILED }, Ordering::Release);
    // Without the C library's clean-up: whoever waits for a lock that it takes
    // would make a call.
    sys::exec::exit_thread()
}

fn hand_over(connection: BorrowedFd<'_>, listener: BorrowedFd<'_>) -> rustix::io::Result<()> {
    socket::send(connection, LOADED, listener)?;
    let mut answer = [0u8; 1];
    match rustix::net::recv(connection, &mut answer, RecvFlags::empty())? {
        (_, 1) if answer == *HANDED_OVER => Ok(()),
        _ => Err(rustix::io::Errno::PIPE),
    }
}
