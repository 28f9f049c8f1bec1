//! `podman --runtime firn`, with podman as Debian has it, for everyday commands:
//! the same answers as with runc.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Scratch, binary, busybox_root, command};
use std::process::Command;

/// A script under podman's own directories and a private network: nothing of the
/// machine's is used or changed, and nothing is sent anywhere.
fn podman(scratch: &Scratch, script: &str) -> firn_conformance::harness::Output {
    let directory = scratch.path().display();
    for dir in ["storage", "runroot", "tmp", "networks", "home", "cache"] {
        scratch.directory(dir);
    }
    let conf = format!(
        "[containers]\ndefault_ulimits=[\"nofile=20000:20000\",\"nproc=30000:30000\"]\nlog_driver=\"k8s-file\"\n\
         [engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\nevents_logfile_path=\"{directory}/events.log\"\n\
         tmp_dir=\"{directory}/tmp\"\nruntime_supports_json=[\"runc\",\"firn\"]\n[engine.runtimes]\nfirn=[\"{}\"]\n\
         [network]\nnetwork_config_dir=\"{directory}/networks\"\n",
        binary("firn").display()
    );
    let conf = scratch.write("containers.conf", &conf);
    let storage = scratch.write(
        "storage.conf",
        &format!("[storage]\ndriver=\"overlay\"\ngraphroot=\"{directory}/storage\"\nrunroot=\"{directory}/runroot\"\n"),
    );
    scratch.write("registries.conf", "");
    // /run/containers and /run/netns are fixed places of podman's.
    let private = "ip link set lo up; mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /run/lock";
    let script = format!(
        "{private}; pm() {{ podman --root {directory}/storage --runroot {directory}/runroot --tmpdir {directory}/tmp \"$@\"; }}\n{script}"
    );
    program("podman", "podman");
    let mut shell = Command::new(program("unshare", "util-linux"));
    shell.args(["--net", "--mount", "--propagation", "private", "bash", "-c", &script]);
    shell.env("CONTAINERS_CONF", conf).env("CONTAINERS_STORAGE_CONF", storage);
    shell.env("CONTAINERS_REGISTRIES_CONF", scratch.join("registries.conf"));
    shell
        .env("HOME", scratch.join("home"))
        .env("TMPDIR", scratch.join("cache"))
        .env("XDG_RUNTIME_DIR", scratch.join("home"));
    command(&mut shell)
}

/// An image of busybox, made without a registry.
fn import(scratch: &Scratch) -> String {
    busybox_root(&scratch.directory("image"));
    let tar = scratch.join("image.tar");
    command(Command::new("tar").arg("-C").arg(scratch.join("image")).arg("-cf").arg(&tar).arg(".")).succeeds();
    format!("pm import {} bb:1 >/dev/null 2>&1 || exit 99\n", tar.display())
}

/// Runs each line with both runtimes, and compares what podman says and its
/// exit status. `@` stands for `pm --runtime NAME`.
fn same(name: &str, lines: &[&str], hide: &str) -> Vec<String> {
    let mut answers = Vec::new();
    for runtime in ["runc", "firn"] {
        let scratch = Scratch::new(name);
        let mut script = import(&scratch);
        for line in lines {
            let line = line.replace('@', &format!("pm --runtime {runtime}"));
            script += &format!("echo '>>>'; ( {line} ) 2>&1; echo \"status $?\"\n");
        }
        let output = podman(&scratch, &script);
        assert_eq!(output.code, 0, "{runtime}: {output:?}");
        let text = output.stdout;
        let answer: Vec<String> = text
            .split(">>>\n")
            .skip(1)
            .map(|part| {
                part.lines().filter(|line| hide.is_empty() || !line.contains(hide)).collect::<Vec<_>>().join("\n")
            })
            .collect();
        answers.push(answer);
    }
    let firn = answers.pop().unwrap();
    for (number, (ours, theirs)) in firn.iter().zip(&answers[0]).enumerate() {
        assert_eq!(ours, theirs, "firn's first, then runc's, for: {}", lines[number]);
    }
    firn
}

/// `run` of a script that begins when its input comes. podman connects to conmon before
/// it starts the container, but a conmon that gets no processor meanwhile may pass on
/// the container's output before it takes the connection, and what nobody is there to
/// read is lost: whichever the runtime. All of it goes one way, or the order is conmon's.
fn run(options: &str, script: &str) -> String {
    format!("echo | @ run --rm --interactive {options} bb:1 sh -c 'read begin; exec 2>&1; {script}'")
}

/// Likewise in the container c1.
fn exec(options: &str, script: &str) -> String {
    format!("echo | @ exec --interactive {options} c1 sh -c 'read begin; exec 2>&1; {script}'")
}

#[test]
fn run_with_the_default_options() {
    let cgroup = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us";
    let identity = "id; grep -E \"Cap|NoNewPrivs|Seccomp:\" /proc/self/status; cat /proc/self/oom_score_adj; ulimit -n";
    let lines = [
        run("", "echo hi"),
        run("", "exit 7"),
        "@ run --rm bb:1 false".into(),
        run("", identity),
        run("--user 1000 --workdir /tmp", "id; pwd; grep Cap /proc/self/status; touch /x"),
        run("--read-only", "touch /x; touch /tmp/y; touch /run/z; ls /tmp"),
        run("--cap-add SYS_PTRACE --cap-drop KILL", "grep Cap /proc/self/status"),
        run("--privileged", "grep CapEff /proc/self/status; grep Seccomp: /proc/self/status"),
        run("--tmpfs /x:size=64k", "grep /x /proc/mounts; stat -c %a:%u:%g /x"),
        run("--memory 64m --pids-limit 50 --cpus 0.5", cgroup),
        run(
            "--uidmap 0:100000:65536",
            "id -u; cat /proc/self/uid_map; echo x > /dev/null; touch /x; stat -c %a:%u:%g /x",
        ),
        run("--pid host", "[ $$ != 1 ]"),
        run("--hostname other", "hostname"),
        run("--env A=b", "echo $A"),
        run("--sysctl net.ipv4.ip_forward=1", "cat /proc/sys/net/ipv4/ip_forward"),
        run("--init", "cat /proc/1/comm; echo init"),
        "echo in | @ run --rm -i bb:1 cat".into(),
        // podman warns, with the time, that its own input is no terminal.
        run("-t", "tty; test -t 0 && test -t 1 && test -t 2 && echo terminal") + " 2>/dev/null",
        run("--device /dev/fuse:/dev/other", "test -c /dev/other; echo $?"),
    ];
    let answers = same("prun", &lines.each_ref().map(String::as_str), "");
    assert_eq!(answers[0], "hi\nstatus 0");
    assert_eq!(answers[1], "status 7");
    assert!(answers[17].contains("/dev/pts/0") && answers[17].contains("terminal"), "{}", answers[17]);
}

/// podman's exit codes 125, 126 and 127, and what it makes of the message.
#[test]
fn errors_have_podmans_exit_codes() {
    let scratch = Scratch::new("perr");
    let lines = [
        ("run --rm bb:1 nosuch", "127", "executable file not found in $PATH"),
        ("run --rm bb:1 /nosuch", "127", "no such file or directory"),
        ("run --rm bb:1 /etc", "126", "permission denied"),
        ("run --rm bb:1 /etc/passwd", "126", "permission denied"),
        ("run --rm --workdir /etc/passwd bb:1 true", "126", ""),
        ("run --rm --user nosuch bb:1 true", "126", "nosuch"),
        ("run --rm --nosuch bb:1 true", "125", "unknown flag"),
        ("exec c1 nosuch", "127", "executable file not found in $PATH"),
        ("exec c1 /etc", "126", "permission denied"),
        ("exec --workdir /nosuch c1 true", "127", "no such file or directory"),
    ];
    let mut script = import(&scratch) + "pm --runtime firn run -d --name c1 bb:1 sleep 1000 >/dev/null || exit 98\n";
    for (line, _, _) in lines {
        script += &format!("echo '>>>'; pm --runtime firn {line} 2>&1; echo \"status $?\"\n");
    }
    let output = podman(&scratch, &(script + "pm rm -f -t 0 c1 >/dev/null\n")).succeeds();
    for ((line, status, words), answer) in lines.iter().zip(output.stdout.split(">>>\n").skip(1)) {
        assert!(answer.trim_end().ends_with(&format!("status {status}")), "{line}: {answer}");
        assert!(answer.contains(words), "{line}: {answer}");
    }
}

/// A shell's line that goes on as soon as another one succeeds, at most a minute later.
fn until(line: &str) -> String {
    format!("for n in $(seq 600); do {line} >/dev/null 2>&1 && break; sleep 0.1; done")
}

#[test]
fn a_container_that_runs_in_the_background() {
    // Its processes are the same whenever one looks, and it heeds SIGTERM once it is up.
    let program = "trap \"exit 3\" TERM; sleep 1000 & echo up; wait";
    let up = |times: u32| until(&format!("[ \"$(@ logs c1 | grep -c up)\" = {times} ]"));
    let runs = |args: &str| until(&format!("@ top c1 args | grep '^{args}'"));
    let lines = [
        format!("@ run -d --name c1 bb:1 sh -c '{program}' >/dev/null"),
        format!("{}; @ logs c1", up(1)),
        exec("", "id"),
        exec("", "exit 9"),
        exec("-t", "test -t 0 && echo terminal") + " 2>/dev/null",
        exec("--user 1000:1000 --env A=b", "id; echo $A; grep Cap /proc/self/status"),
        "@ exec -d c1 sleep 1001 >/dev/null".into(),
        format!("{}; {}; @ top c1 user args | sort", runs("sleep 1000"), runs("sleep 1001")),
        "@ ps --format '{{.Names}}'".into(),
        "@ pause c1; @ inspect c1 --format '{{.State.Status}}'; @ unpause c1".into(),
        "@ inspect c1 --format '{{.State.Status}} {{.State.Running}}'".into(),
        "@ kill --signal WINCH c1; @ inspect c1 --format '{{.State.Status}}'".into(),
        "@ stop -t 10 c1; @ wait c1".into(),
        "@ start c1; @ inspect c1 --format '{{.State.Running}}'".into(),
        format!("{}; @ restart -t 10 c1", up(2)),
        "@ rm -f -t 0 c1".into(),
        "@ ps --all --quiet".into(),
        "@ kill c1".into(),
    ];
    let answers = same("pback", &lines.each_ref().map(String::as_str), "Error");
    assert_eq!(answers[1], "up\nstatus 0");
    assert_eq!(answers[7].lines().count(), 5, "{}", answers[7]);
    assert_eq!(answers[12], "c1\n3\nstatus 0");
}

#[test]
fn a_pod_shares_its_namespaces() {
    let wait = until("@ exec one test -s /dev/shm/x");
    let answers = same(
        "ppod",
        &[
            "pm import -c 'CMD [\"/bin/sleep\",\"1000\"]' $TMPDIR/../image.tar pause:1 >/dev/null 2>&1",
            "@ pod create --name p --infra-image pause:1 >/dev/null",
            &run("--pod p", "hostname"),
            "@ run -d --pod p --name one bb:1 sh -c 'echo here > /dev/shm/x; sleep 1000' >/dev/null",
            &format!("{wait}; {}", run("--pod p", "cat /dev/shm/x")),
            "@ pod rm -f -t 0 p >/dev/null",
        ],
        "",
    );
    assert_eq!(answers[2], "p\nstatus 0");
    assert_eq!(answers[4], "here\nstatus 0");
}

/// As in podman's own test of signals, under a shell with job control: what the
/// caller ignores must not be ignored in the container, where a shell could not
/// set a trap for it.
#[test]
fn a_container_hears_signals_that_podmans_caller_ignores() {
    let program = "for n in 20 21 22; do trap \"echo got: $n\" $n; done; echo ready; while :; do sleep 0.05; done";
    let answers = same(
        "psignals",
        &[
            &format!("trap '' TSTP TTIN TTOU; @ run -d --name c1 bb:1 sh -c '{program}' >/dev/null"),
            "for n in $(seq 100); do @ logs c1 | grep ready && break; sleep 0.1; done",
            "for s in 20 21 22; do @ kill -s $s c1 >/dev/null; for n in $(seq 50); do @ logs c1 | grep \"got: $s\" && break; sleep 0.1; done; done",
            "@ rm -f -t 0 c1 >/dev/null",
        ],
        "",
    );
    assert_eq!(answers[2], "got: 20\ngot: 21\ngot: 22\nstatus 0");
}

/// podman's own tests compare what a build prints, line for line, and go on to read
/// the input that is theirs.
#[test]
fn a_build_prints_what_its_commands_print_and_reads_nothing() {
    let answers = same(
        "pbuild",
        &[
            "mkdir $TMPDIR/context; printf 'FROM bb:1\\nRUN echo words\\n' > $TMPDIR/context/Containerfile",
            "echo kept | (@ build --no-cache -t built $TMPDIR/context 2>&1 | grep -v '^--> \\|^[0-9a-f]\\{64\\}$'; cat)",
        ],
        "",
    );
    assert!(
        answers[1].ends_with("COMMIT built\nSuccessfully tagged localhost/built:latest\nkept\nstatus 0"),
        "{answers:?}"
    );
}
