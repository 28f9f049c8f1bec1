//! How processes end whose pidfds are held. From Linux 6.15 on the kernel keeps that with the pidfd. Before,
//! it tells who listens to its process events (NETLINK_CONNECTOR, linux/cn_proc.h), which takes CAP_NET_ADMIN
//! and the host's first pid namespace; a filter in the kernel leaves those of the processes that are held,
//! so nothing wakes the keeper but their ends.

use crate::sys::{attach_filter, listen_to_process_events};
use rustix::net::RecvFlags;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// PROC_EVENT_EXIT (linux/cn_proc.h).
const EXIT: u32 = 0x8000_0000;
/// Where the fields of an event are: behind the headers of netlink (16 bytes) and of the connector (20).
const WHAT: usize = 36;
const PID: usize = 52;
const TGID: usize = 56;
const STATUS: usize = 60;
/// With more processes than this each end on the host wakes the keeper: the kernel takes 4096 instructions.
const LIMIT: usize = 2000;

/// The ends of processes, from when it was made.
#[derive(Debug)]
pub(super) struct Exits {
    socket: OwnedFd,
}

impl Exits {
    /// Errors: the kernel has no such events. Without the right to have them none come.
    pub(super) fn listen() -> io::Result<Exits> {
        let exits = Exits { socket: listen_to_process_events()? };
        exits.choose(std::iter::empty())?;
        Ok(exits)
    }

    /// Has the kernel pass on the ends of these processes only.
    pub(super) fn choose(&self, pids: impl Iterator<Item = u32>) -> io::Result<()> {
        attach_filter(self.socket.as_fd(), &filter(&pids.collect::<Vec<_>>()))
    }

    /// Those that have come: pid and wait status.
    pub(super) fn next_ended(&self) -> Option<(u32, i32)> {
        loop {
            let mut event = [0; 128];
            match rustix::net::recv(&self.socket, &mut event, RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    let number = |at: usize| Some(u32::from_ne_bytes(*event[..length].get(at..)?.first_chunk()?));
                    match (number(WHAT), number(PID), number(TGID), number(STATUS)) {
                        // The first thread's: of all others nobody asks.
                        (Some(EXIT), Some(pid), Some(tgid), Some(status)) if pid == tgid => {
                            return Some((pid, status.cast_signed()));
                        }
                        _ => {}
                    }
                }
                // Some were lost: more have come than there is room for.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::NOBUFS) => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for Exits {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The pid of a pidfd of ours. `None`: it is none, or its process was reaped.
pub(super) fn pid_of(pidfd: BorrowedFd<'_>) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok().filter(|pid| *pid > 0)
}

/// An instruction of classic BPF (`struct sock_filter`, linux/filter.h): code, jt, jf, k.
type Instruction = (u16, u8, u8, u32);

/// BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K.
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Passes on the ends of these processes. It loads in the network's byte order what the kernel writes in
/// its own.
fn filter(pids: &[u32]) -> Vec<Instruction> {
    let number = |number: u32| u32::from_be_bytes(number.to_ne_bytes());
    let (drop, pass) = ((RETURN, 0, 0, 0), (RETURN, 0, 0, u32::MAX));
    let mut program = vec![(LOAD, 0, 0, WHAT as u32), (EQUAL, 1, 0, number(EXIT)), drop, (LOAD, 0, 0, PID as u32)];
    if pids.len() > LIMIT {
        program.push(pass);
        return program;
    }
    program.extend(pids.iter().flat_map(|pid| [(EQUAL, 0, 1, number(*pid)), pass]));
    program.push(drop);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_room_for_a_thousand_and_passes_all_for_more() {
        assert!(filter(&(1..=2000).collect::<Vec<_>>()).len() < 4096);
        assert_eq!(filter(&(1..=2001).collect::<Vec<_>>()).len(), 5);
        assert_eq!(filter(&[]).last(), Some(&(RETURN, 0, 0, 0)));
    }
}
