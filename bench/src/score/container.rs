//! A container, from its cgroup to its end.

use super::{CWD, Score, mounts, program};
use firn::internals::cgroup::{Cgroup, Dir, devices};
use firn::internals::host::cgroup_layout::Layout;
use firn::internals::plan::Plan;
use firn::internals::sys::clone;
use std::path::Path;

/// `run`: what the kernel is asked for, from the making of the cgroup to its
/// removal when the program has ended.
pub fn container(plan: &Plan, layout: &Layout) -> Vec<u8> {
    let mut score = Score::default();
    let cgroup = Cgroup::place(layout, &plan.cgroup).expect("without systemd nothing is asked");
    make_cgroup(&mut score, plan, &cgroup);
    // The cgroup's namespace begins where its maker is: it comes later.
    let at_clone = plan.namespaces.new & !clone::NEWCGROUP;
    let fork = score.clone(at_clone, cgroup.v2().map(|dir| dir.path.as_path()));
    inside(&mut score, plan, &cgroup);
    let status = score.wait(fork);
    for dir in &cgroup.dirs {
        let path = score.path(&dir.path);
        score.retry(libc::SYS_rmdir, &[path]);
    }
    score.end(status);
    score.finish()
}

fn make_cgroup(score: &mut Score, plan: &Plan, cgroup: &Cgroup) {
    for dir in &cgroup.dirs {
        let path = score.path(&dir.path);
        score.call(libc::SYS_mkdirat, &[CWD.into(), path, 0o755.into()]);
        if dir.has("cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = inherited(&dir.path, file);
                score.write_file(&dir.path.join(file), &value);
            }
        }
    }
    for setting in &plan.cgroup.settings {
        let dir = cgroup.controller(setting.controller).expect("the controller of a limit");
        score.write_file(&dir.path.join(&setting.file), &setting.value);
    }
    match cgroup.dirs.iter().find(|dir| dir.has("devices")) {
        Some(dir) => device_list(score, plan, dir),
        None => device_program(score, plan, cgroup),
    }
}

/// What the cpusets above have.
fn inherited(path: &Path, file: &str) -> String {
    let above = path.ancestors().skip(1).find_map(|dir| {
        let value = std::fs::read_to_string(dir.join(file)).ok()?;
        (!value.trim().is_empty()).then(|| value.trim().to_owned())
    });
    above.unwrap_or_else(|| panic!("no cpuset above {} has {file}", path.display()))
}

fn device_list(score: &mut Score, plan: &Plan, dir: &Dir) {
    let allow = score.open_path(&dir.path.join("devices.allow"), libc::O_WRONLY);
    let deny = score.open_path(&dir.path.join("devices.deny"), libc::O_WRONLY);
    for rule in &plan.cgroup.devices {
        score.write(if rule.allow { allow } else { deny }, &rule.text());
    }
}

/// linux/bpf.h: BPF_PROG_LOAD and BPF_PROG_ATTACH of a device program.
fn device_program(score: &mut Score, plan: &Plan, cgroup: &Cgroup) {
    const LOAD: i32 = 5;
    const ATTACH: i32 = 8;
    const TYPE: u64 = 15;
    const ATTACH_TYPE: u64 = 6;
    const ALLOW_MULTI: u64 = 2;
    let Some(dir) = cgroup.v2() else { return };
    let program = devices::program(&plan.cgroup.devices);
    let code = score.words(&program);
    let licence = score.text("Apache-2.0").value;
    let load = score.words(&[TYPE | (program.len() as u64) << 32, code, licence, 0, 0, 0]);
    let attach = score.words(&[0, ATTACH_TYPE | ALLOW_MULTI << 32, 0]);
    // The results of these two are the first two numbers of `attach`.
    let path = score.path(&dir.path);
    let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
    score.push(super::CALL, libc::SYS_openat, &[CWD.into(), path, flags.into()], attach);
    score.push(super::CALL, libc::SYS_bpf, &[LOAD.into(), load.into(), 48.into()], attach + 4);
    score.call(libc::SYS_bpf, &[ATTACH.into(), attach.into(), 20.into()]);
}

fn inside(score: &mut Score, plan: &Plan, cgroup: &Cgroup) {
    const JOIN_SESSION_KEYRING: i32 = 1;
    score.call(libc::SYS_umask, &[0.into()]);
    let name = score.text(format!("_ses.{}", plan.id));
    score.call(libc::SYS_keyctl, &[JOIN_SESSION_KEYRING.into(), name]);
    score.call(libc::SYS_setsid, &[]);
    for dir in cgroup.dirs.iter().filter(|dir| !dir.is_v2()) {
        score.write_file(&dir.path.join("tasks"), "0");
    }
    if plan.namespaces.makes(clone::NEWCGROUP) {
        score.call(libc::SYS_unshare, &[clone::NEWCGROUP.into()]);
    }
    if plan.namespaces.makes(clone::NEWNET) {
        loopback(score);
    }
    if let Some(adjustment) = plan.process.oom_score_adj {
        score.write_file(Path::new("/proc/self/oom_score_adj"), &adjustment.to_string());
    }
    mounts::enter_root(score, plan, cgroup);
    program::become_it(score, &plan.process, plan.seccomp.as_ref());
}

/// struct ifreq, netdevice(7).
fn loopback(score: &mut Score) {
    const SET_FLAGS: u64 = 0x8914;
    let socket = score.open(libc::SYS_socket, &[libc::AF_INET.into(), (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC).into()]);
    let name = u64::from_ne_bytes(*b"lo\0\0\0\0\0\0");
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as u64;
    let request = score.words(&[name, 0, flags, 0, 0]);
    score.call(libc::SYS_ioctl, &[socket.into(), SET_FLAGS.into(), request.into()]);
}
