//! bpf(2): loads and attaches a BPF_PROG_TYPE_CGROUP_DEVICE program of cgroup v2.

use super::syscall;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The part of union bpf_attr that BPF_PROG_LOAD reads here.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// BPF_PROG_LOAD of a device program: eBPF instructions of 8 bytes each. Returns the
/// program's descriptor. Errors: EPERM without CAP_BPF or CAP_SYS_ADMIN, EACCES or
/// EINVAL where the verifier rejects it.
pub fn load_device_program(instructions: &[u64]) -> rustix::io::Result<OwnedFd> {
    let attr = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: the attribute and what it points to outlive the call, and the
    // count is that of the slice; the kernel verifies the program itself.
    let fd = unsafe { syscall!(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<Load>())? };
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// BPF_PROG_ATTACH with BPF_F_ALLOW_MULTI: programs that are attached already stay, and
/// an access needs the permission of all of them.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let attr = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
        replace_bpf_fd: 0,
    };
    // SAFETY: the attribute outlives the call; both descriptors are borrowed.
    unsafe { syscall!(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attr, size_of::<Attach>())? };
    Ok(())
}
