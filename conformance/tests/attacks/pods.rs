//! A container that lies in wait, with CAP_SYS_PTRACE, for those that are created into
//! its pid namespace.

use firn_conformance::harness::place::{older_than, program};
use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, binary, command};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Of the host, for everybody to read; the containers' roots have none.
const CANARY: &str = "/etc/os-release";

fn in_user_namespace(bundle: Bundle) -> Bundle {
    bundle
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]))
        .set("/linux/gidMappings", json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]))
}

/// Without no_new_privs, loading it takes CAP_SYS_ADMIN, which neither container has.
fn filtered(bundle: Bundle, denied: &[&str]) -> Bundle {
    let deny = json!([{"names": denied, "action": "SCMP_ACT_ERRNO"}]);
    bundle
        .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": deny}))
        .set("/process/noNewPrivileges", json!(false))
}

fn with_caps(bundle: Bundle, caps: &[&str]) -> Bundle {
    bundle.set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}))
}

/// Into these namespaces of a process.
fn joining(mut bundle: Bundle, pid: &str, kinds: &[&str]) -> Bundle {
    for kind in kinds {
        bundle = bundle.without_namespace(kind);
        let path = format!("/proc/{pid}/ns/{kind}");
        bundle = bundle.set("/linux/namespaces/-", json!({"type": kind, "path": path}));
    }
    bundle
}

/// For the root of the container.
fn give_away(bundle: &Bundle) {
    let namespaces = bundle.config["linux"]["namespaces"].as_array().unwrap();
    if namespaces.iter().any(|namespace| namespace["type"] == "user") {
        command(Command::new("chown").args(["-R", "100000:100000"]).arg(bundle.root())).succeeds();
    }
}

struct Hunter {
    runtime: Runtime,
    shared: std::path::PathBuf,
}

impl Hunter {
    /// Who is after processes of `victim`.
    fn begin(scratch: &Scratch, victim: &Path, verb: &str, change: impl Fn(Bundle) -> Bundle) -> Hunter {
        let runtime = Runtime::firn(scratch);
        let shared = scratch.directory("shared");
        std::fs::set_permissions(&shared, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let stat = std::fs::metadata(victim).unwrap();
        let inode = format!("{}:{}", stat.dev(), stat.ino());
        let bundle = Bundle::new(scratch)
            .args(&["/bin/attacker", verb, "/shared/report", CANARY, &inode])
            .mount(json!({"destination": "/shared", "type": "bind", "source": shared, "options": ["rbind"]}));
        let caps = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"];
        let bundle = change(with_caps(bundle, &caps)).write();
        std::fs::copy(binary("firn-attacker"), bundle.root().join("bin/attacker")).unwrap();
        give_away(&bundle);
        runtime.create(&bundle).succeeds();
        runtime.start().succeeds();
        let hunter = Hunter { runtime, shared };
        hunter.report("ready");
        hunter
    }

    fn pid(&self) -> String {
        self.runtime.state()["pid"].to_string()
    }

    fn report(&self, word: &str) -> String {
        for _ in 0..3000 {
            let text = std::fs::read_to_string(self.shared.join("report")).unwrap_or_default();
            if text.contains(word) {
                return text;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the attacker did not report {word:?}");
    }

    fn end(self) -> String {
        std::fs::write(self.shared.join("report.stop"), "").unwrap();
        let text = self.report("end");
        self.runtime.call(&["delete", "--force", self.runtime.id()]).succeeds();
        self.runtime.left_nothing();
        text
    }
}

/// A copy of firn, which no other test starts.
fn copy_of_firn(scratch: &Scratch) -> std::path::PathBuf {
    let copy = scratch.directory("copy").join("firn");
    std::fs::copy(binary("firn"), &copy).unwrap();
    copy
}

/// What a hunter sees of containers that are created into its namespaces.
fn hunted(name: &str, verb: &str, kinds: &[&str], change: impl Fn(Bundle) -> Bundle) -> String {
    let scratch = Scratch::new(name);
    let copy = copy_of_firn(&scratch);
    let hunter = Hunter::begin(&scratch, &copy, verb, &change);
    let other = Scratch::new(&format!("{name}2"));
    let second = Runtime::new(copy, &other);
    let bundle = joining(with_caps(Bundle::new(&other), &[]).args(&["true"]), &hunter.pid(), kinds);
    let bundle = filtered(bundle, &["unshare"]).write();
    give_away(&bundle);
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < Duration::from_secs(3) || count < 20 {
        second.run(&bundle).succeeds();
        count += 1;
    }
    second.left_nothing();
    hunter.end()
}

fn check(report: &str) {
    assert!(!report.contains("seen 0\n"), "the attacker saw nobody: {report}");
    for fact in ["host reached", "more rights", "no filter", "opened for writing", "was made"] {
        assert!(!report.contains(fact), "{fact}: {report}");
    }
}

#[test]
fn who_is_created_into_a_pod_has_nothing_of_the_hosts() {
    check(&hunted("pod", "hunt", &["pid"], |bundle| bundle));
}

#[test]
fn who_is_created_into_a_pod_with_a_user_namespace_has_nothing_of_the_hosts() {
    check(&hunted("userpod", "hunt", &["pid", "user"], in_user_namespace));
}

/// The hunter has the host's pids, and sees all processes of the runtime's.
#[test]
fn who_joins_a_user_namespace_is_out_of_reach_among_the_hosts_pids() {
    let report = hunted("hostpids", "glance", &["user"], |bundle| {
        let bundle = in_user_namespace(bundle.without_namespace("pid"));
        let mounts: Vec<Value> = bundle.config["mounts"].as_array().unwrap().clone();
        let mounts: Vec<Value> = mounts
            .into_iter()
            .map(|mount| match mount["destination"] == "/proc" {
                true => json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}),
                false => mount,
            })
            .collect();
        bundle.set("/mounts", json!(mounts)).set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]))
    });
    for fact in ["host reached", "opened for writing", "was made"] {
        assert!(!report.contains(fact), "{fact}: {report}");
    }
}

/// What joins by `exec` is under the filter from its first instant, too.
#[test]
fn what_joins_by_exec_has_no_more_rights_and_a_filter() {
    let scratch = Scratch::new("execpod");
    let copy = copy_of_firn(&scratch);
    let hunter = Hunter::begin(&scratch, &copy, "hunt", |bundle| filtered(bundle, &["unshare"]));
    let mut exec = Command::new(&copy);
    exec.arg("--root").arg(hunter.runtime.root()).args(["exec", hunter.runtime.id(), "true"]);
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < Duration::from_secs(2) || count < 20 {
        command(&mut exec).succeeds();
        count += 1;
    }
    check(&hunter.end());
}

/// A pod's second container, and what it prints.
fn run_in_pod(scratch: &Scratch, change: impl Fn(Bundle) -> Bundle, script: &str) -> Output {
    let first = Runtime::firn(scratch);
    first.create(&Bundle::new(scratch).args(&["sleep", "1234"]).write()).succeeds();
    first.start().succeeds();
    let pid = first.state()["pid"].to_string();
    let other = Scratch::new(&format!("{}x", scratch.id()));
    let second = Runtime::firn(&other);
    let bundle = change(joining(Bundle::new(&other).shell(script), &pid, &["pid"])).write();
    let output = second.run(&bundle);
    second.left_nothing();
    output
}

const FACTS: &str = "grep -c . /proc/1/cmdline >/dev/null && tr '\\0' ' ' </proc/1/cmdline; echo; \
                     grep -E 'NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t'; ulimit -u";

/// Where the profile forbids what makes the last process, that one loads it, with no
/// right but no_new_privs.
#[test]
fn a_profile_that_forbids_to_fork_is_loaded_inside() {
    let scratch = Scratch::new("podfork");
    let script = "read a </proc/self/status; echo $a; while read a; do case $a in NoNew*|Seccomp:*) echo $a;; esac; \
                  done </proc/self/status";
    for (denied, nnp) in [(["unshare", "mount"], 0), (["clone", "unshare"], 1), (["setsid", "unshare"], 1)] {
        let output = run_in_pod(&scratch, |bundle| filtered(with_caps(bundle, &[]), &denied), script).succeeds();
        let said = output.stdout.replace(['\t', ' '], "");
        assert!(said.contains(&format!("NoNewPrivs:{nnp}\nSeccomp:2\n")), "{denied:?}: {output:?}");
        Runtime::firn(&scratch).call(&["delete", "--force", Runtime::firn(&scratch).id()]).succeeds();
        std::fs::remove_dir_all(scratch.join("bundle")).unwrap();
    }
}

/// Before Linux 6.17 a procfs of the pod's is opened by a process there.
#[test]
fn a_procfs_of_the_pod_needs_no_option_of_the_kernel() {
    program("strace", "strace");
    let scratch = Scratch::new("podproc");
    let first = Runtime::firn(&scratch);
    first.create(&Bundle::new(&scratch).args(&["sleep", "1234"]).write()).succeeds();
    first.start().succeeds();
    let pid = first.state()["pid"].to_string();
    let other = Scratch::new("podprocx");
    let second = Runtime::firn(&other);
    let limit = json!([{"type": "RLIMIT_NPROC", "soft": 500, "hard": 500}]);
    let bundle = joining(Bundle::new(&other).shell(FACTS), &pid, &["pid"]).set("/process/rlimits", limit).write();
    // An older kernel refuses the option by itself.
    let is_old = older_than("6.17");
    let injected: &[&str] = if is_old { &[""] } else { &["", "fsconfig:error=EINVAL:when=1"] };
    for inject in injected {
        let mut run = Command::new("strace");
        run.args(["-f", "-o"]).arg(other.join("trace"));
        if !inject.is_empty() {
            run.args(["-e", &format!("inject={inject}")]);
        }
        run.arg(binary("firn")).arg("--root").arg(second.root()).args(["run", "--bundle"]);
        run.arg(&bundle.path).arg(second.id());
        let output = command(&mut run).succeeds();
        assert!(output.stdout.contains("sleep 1234"), "{output:?}");
        assert!(output.stdout.contains("\n500\n"), "{output:?}");
        second.left_nothing();
        let trace = std::fs::read_to_string(other.join("trace")).unwrap();
        assert_eq!(trace.contains("INJECTED"), !inject.is_empty());
        let is_by_process = is_old || !inject.is_empty();
        assert_eq!(trace.contains("CLONE_NEWUSER"), is_by_process, "the other way was taken: {trace}");
    }
    first.call(&["delete", "--force", first.id()]).succeeds();
}
