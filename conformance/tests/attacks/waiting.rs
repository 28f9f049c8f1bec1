//! An init that waits for `start`: a process in its pid namespace sees it, and
//! with CAP_SYS_PTRACE may use what it has.

use firn_conformance::harness::{Bundle, Runtime, Scratch};
use serde_json::json;
use std::process::Stdio;

fn status(pid: &str, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("no {field} in {text}")).split_whitespace().next().unwrap().to_owned()
}

/// Loading a filter takes no_new_privs or CAP_SYS_ADMIN: neither the right nor the
/// lack of a filter may outlast it.
#[test]
fn what_waits_for_start_has_the_containers_rights_and_filter() {
    let scratch = Scratch::new("waits");
    let firn = Runtime::firn(&scratch);
    let deny = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["unshare", "mount"], "action": "SCMP_ACT_ERRNO"}],
    });
    for no_new_privileges in [true, false] {
        for (uid, caps) in [(0, json!(["CAP_KILL", "CAP_CHOWN"])), (1000, json!([]))] {
            let sets = json!({"bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": caps, "permitted": caps});
            let bundle = Bundle::new(&scratch)
                .args(&["sleep", "1000"])
                .set("/process/noNewPrivileges", json!(no_new_privileges))
                .set("/process/user", json!({"uid": uid, "gid": uid}))
                .set("/process/capabilities", sets)
                .set("/linux/seccomp", deny.clone())
                .write();
            firn.create(&bundle).succeeds();
            let pid = firn.state()["pid"].to_string();
            let set = if uid == 0 { "0000000000000021" } else { "0000000000000000" };
            let facts = ["CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Uid"].map(|field| status(&pid, field));
            let (nnp, uid) = (u8::from(no_new_privileges).to_string(), uid.to_string());
            assert_eq!(facts, [set, set, "0000000000000021", &nnp, "2", &uid].map(String::from));
            firn.call(&["delete", "--force", firn.id()]).succeeds();
            firn.left_nothing();
            std::fs::remove_dir_all(&bundle.path).unwrap();
        }
    }
}

/// What is under the filter while it waits needs read, write and execve: so no
/// profile that a program can live with keeps a container from its start.
#[test]
fn waiting_needs_no_call_but_read_write_and_execve() {
    let scratch = Scratch::new("waitcalls");
    let firn = Runtime::firn(&scratch);
    // What init makes before, and could need to wait by other means.
    let calls = [
        "accept",
        "accept4",
        "recvfrom",
        "recvmsg",
        "sendto",
        "sendmsg",
        "poll",
        "ppoll",
        "openat",
        "openat2",
        "close",
        "close_range",
        "rt_sigaction",
        "capset",
        "setresuid",
        "setresgid",
        "setgroups",
        "umask",
        "fchdir",
        "futex",
        "clone",
        "clone3",
        "setsid",
        "dup",
        "fcntl",
        "seccomp",
        "getdents64",
    ];
    let kill = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": calls, "action": "SCMP_ACT_KILL_PROCESS"}],
    });
    let bundle = Bundle::new(&scratch).args(&["true"]).set("/process/noNewPrivileges", json!(true));
    let bundle = bundle.set("/linux/seccomp", kill).write();
    firn.run(&bundle).succeeds();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    firn.wait_for("stopped");
    firn.call(&["delete", firn.id()]).succeeds();
    // An error on the way is told all the same.
    std::fs::write(bundle.root().join("bin/broken"), "\x7fELF").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bundle.root().join("bin/broken"), mode).unwrap();
    let bundle = bundle.args(&["/bin/broken"]).write();
    firn.create(&bundle).succeeds();
    let error = firn.start().fails(1).stderr;
    assert!(error.contains("exec /bin/broken: exec format error"), "{error}");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
}

/// A process that may read it learns what the container is given, and nothing of the caller.
#[test]
fn the_environment_of_the_caller_is_not_in_what_waits() {
    let scratch = Scratch::new("waitenv");
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch).shell("echo $FIRN_SECRET > /seen; echo $OWN >> /seen");
    let bundle = bundle.set("/root/readonly", json!(false)).set("/process/env/-", json!("OWN=own")).write();
    let mut create = firn.command(&["create", "--bundle"]);
    create.arg(&bundle.path).arg(firn.id()).env("FIRN_SECRET", "hunter2");
    create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(create.status().unwrap().success());
    let pid = firn.state()["pid"].to_string();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!environment.is_empty() && environment.iter().all(|byte| *byte == 0), "{environment:?}");
    firn.start().succeeds();
    firn.wait_for("stopped");
    assert_eq!(std::fs::read_to_string(bundle.root().join("seen")).unwrap(), "\nown\n");
    firn.call(&["delete", firn.id()]).succeeds();
    firn.left_nothing();
}
