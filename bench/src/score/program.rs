//! From a root that is ready to the program.

use super::Score;
use firn::internals::plan::process::ProcessPlan;
use firn::internals::seccomp::Filter;
use firn::internals::sys::caps::SYS_ADMIN;
use rustix::process::Resource;

pub fn become_it(score: &mut Score, process: &ProcessPlan, filter: Option<&Filter>) {
    limits(score, process);
    drop_bounding(score, process.caps.bounding);
    if process.no_new_privs {
        score.call(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS.into(), 1.into(), 0.into(), 0.into(), 0.into()]);
    }
    let cwd = score.text(process.cwd.to_string());
    score.call(libc::SYS_chdir, &[cwd]);
    score.call(libc::SYS_umask, &[process.umask.into()]);
    assert!(process.groups.is_empty() && process.uid == 0 && process.gid == 0, "a score is for root alone");
    score.call(libc::SYS_setgroups, &[0.into(), 0.into()]);
    score.call(libc::SYS_setresgid, &[0.into(), 0.into(), 0.into()]);
    score.call(libc::SYS_setresuid, &[0.into(), 0.into(), 0.into()]);
    // Without no_new_privs a filter takes CAP_SYS_ADMIN to load.
    let needed = if filter.is_some() && !process.no_new_privs { SYS_ADMIN } else { 0 };
    capabilities(score, process, needed);
    // Nothing of the caller's.
    score.call(libc::SYS_close_range, &[3.into(), u32::MAX.into(), 0.into()]);
    if let Some(filter) = filter {
        load(score, filter);
    }
    if needed & !process.caps.permitted != 0 {
        capabilities(score, process, 0);
    }
    let (argv, environment) = (score.list(&process.args), score.list(&process.env));
    let program = score.text(process.args[0].as_bytes());
    score.call(libc::SYS_execve, &[program, argv, environment]);
}

fn limits(score: &mut Score, process: &ProcessPlan) {
    for (resource, limit) in &process.rlimits {
        let value = |number: Option<u64>| number.unwrap_or(u64::MAX);
        let limit = score.words(&[value(limit.current), value(limit.maximum)]);
        let number = match resource {
            Resource::Nofile => libc::RLIMIT_NOFILE,
            Resource::Nproc => libc::RLIMIT_NPROC,
            other => panic!("no score sets the limit {other:?}"),
        };
        score.call(libc::SYS_prlimit64, &[0.into(), number.into(), limit.into(), 0.into()]);
    }
}

fn drop_bounding(score: &mut Score, kept: u64) {
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("read the last capability");
    let last: u32 = last.trim().parse().expect("a number");
    for capability in (0..=last).filter(|bit| kept & 1 << bit == 0) {
        score.call(libc::SYS_prctl, &[libc::PR_CAPBSET_DROP.into(), capability.into(), 0.into(), 0.into(), 0.into()]);
    }
}

/// linux/capability.h: version 3, the calling process, two times 32 bits of each
/// set.
fn capabilities(score: &mut Score, process: &ProcessPlan, more: u64) {
    let header = score.words(&[0x2008_0522]);
    let sets = process.caps;
    assert!(sets.ambient == 0, "no score raises ambient capabilities");
    let (permitted, effective) = (sets.permitted | more, sets.effective | more);
    let half = |set: u64, half: u32| u64::from((set >> (32 * half)) as u32);
    let all = [effective & permitted, permitted, sets.inheritable];
    let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(|at| half(all[at % 3], at as u32 / 3));
    let data = score.words(&[a | b << 32, c | d << 32, e | f << 32]);
    score.call(libc::SYS_capset, &[header.into(), data.into()]);
}

/// struct sock_fprog, linux/filter.h.
fn load(score: &mut Score, filter: &Filter) {
    const SET_MODE_FILTER: i32 = 1;
    let encode = |i: &firn::internals::sys::seccomp::Instruction| {
        u64::from(i.code) | u64::from(i.jt) << 16 | u64::from(i.jf) << 24 | u64::from(i.k) << 32
    };
    let code: Vec<u64> = filter.program.iter().map(encode).collect();
    let code = score.words(&code);
    let program = score.words(&[filter.program.len() as u64, code]);
    score.call(libc::SYS_seccomp, &[SET_MODE_FILTER.into(), filter.flags.into(), program.into()]);
}
