//! Descriptors that leak, and what is seen of the runtime inside.

use super::host::Canary;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, binary, command, wait_until};
use serde_json::json;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs `line` with descriptors 3 to 39 open on a directory of the host.
fn with_leaked_descriptors(dir: &Path, line: &Command) -> Output {
    let script = format!("for n in $(seq 3 39); do eval \"exec $n<{}\"; done; exec \"$@\"", dir.display());
    let mut bash = Command::new("bash");
    bash.args(["-c", &script, "bash"]).arg(line.get_program()).args(line.get_args());
    command(&mut bash)
}

/// CVE-2024-21626: a working directory that is a descriptor of the runtime's.
#[test]
fn a_working_directory_is_no_descriptor_of_the_hosts() {
    let scratch = Scratch::new("cwdfd");
    let host = Canary::new(&scratch);
    let firn = Runtime::firn(&scratch);
    let mut bundle = Bundle::new(&scratch).args(&["ls", "-a", ".", ".."]).set("/root/readonly", json!(false));
    symlink("/proc/self/fd/5", bundle.root().join("alias")).unwrap();
    let mut directories: Vec<String> = (3..40).map(|n| format!("/proc/self/fd/{n}")).collect();
    directories.extend((3..12).map(|n| format!("/proc/1/fd/{n}")));
    directories.extend(["/alias", "/alias/below", "/proc/self/cwd", "/proc/self/root"].map(String::from));
    for cwd in &directories {
        bundle = bundle.set("/process/cwd", json!(cwd)).write();
        let line = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
        let output = with_leaked_descriptors(&host.path, &line);
        assert!(!output.stdout.contains("secret") && !output.stdout.contains("host"), "{cwd}: {output:?}");
        assert!(output.code == 1 && output.stderr.contains("chdir to cwd"), "{cwd}: {output:?}");
    }
    host.check("a working directory");
    let bundle = bundle.set("/process/cwd", json!("/")).shell("sleep 1000").write();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    for cwd in &directories {
        let line = firn.command(&["exec", "--cwd", cwd, firn.id(), "ls", "-a", ".", ".."]);
        let output = with_leaked_descriptors(&host.path, &line);
        assert!(!output.stdout.contains("secret") && !output.stdout.contains("host"), "{cwd}: {output:?}");
        assert!(output.code == 255 && output.stderr.contains("chdir to cwd"), "{cwd}: {output:?}");
    }
    host.check("a working directory of exec");
}

/// CVE-2016-9962: no descriptor of the caller's or of the runtime's own.
#[test]
fn no_descriptors_leak_into_the_container() {
    let scratch = Scratch::new("leak");
    let host = Canary::new(&scratch);
    let firn = Runtime::firn(&scratch);
    // `find` has the directory that it lists open, and its working directory.
    let list = "for p in 1 $$; do find /proc/$p/fd -type l | xargs -n1 readlink; done; true";
    let check = |output: Output| {
        let links: Vec<&str> = output.stdout.lines().collect();
        let harmless = |link: &&str| **link == *"/dev/null" || link.starts_with("pipe:");
        assert!(links.len() >= 6 && links.iter().all(harmless), "{output:?}");
    };
    let bundle = Bundle::new(&scratch).shell(list).write();
    let line = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    check(with_leaked_descriptors(&host.path, &line).succeeds());
    let bundle = bundle.shell("sleep 1000").write();
    // The container keeps the streams of `create`, which must not be the test's.
    let create = firn.command(&["create", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    let mut quiet = Command::new("sh");
    quiet.args(["-c", "exec \"$@\" >/dev/null 2>&1", "sh"]).arg(create.get_program()).args(create.get_args());
    with_leaked_descriptors(&host.path, &quiet).succeeds();
    let pid = firn.state()["pid"].to_string();
    let open = || -> Vec<String> {
        let all = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        all.filter_map(|entry| std::fs::read_link(entry.path()).ok()).map(|p| p.display().to_string()).collect()
    };
    // While it waits it holds the FIFO of `start`, a socket whose other end is gone,
    // and nothing else of the host.
    let harmless = |link: &String| link.starts_with("socket:") || link.ends_with("/start.fifo") || link == "/dev/null";
    assert!(open().iter().all(harmless), "{:?}", open());
    firn.start().succeeds();
    assert!(open().iter().all(|link| link == "/dev/null"), "{:?}", open());
    let line = firn.command(&["exec", firn.id(), "sh", "-c", list]);
    check(with_leaked_descriptors(&host.path, &line).succeeds());
}

/// A copy of firn, so that an attack that succeeds does no harm.
fn copy_of_firn(scratch: &Scratch) -> PathBuf {
    let copy = scratch.directory("copy").join("firn");
    std::fs::copy(binary("firn"), &copy).unwrap();
    copy
}

fn inode(path: &Path) -> String {
    let stat = std::fs::metadata(path).unwrap();
    format!("{}:{}", stat.dev(), stat.ino())
}

/// CVE-2019-5736: the runtime itself as the container's program.
#[test]
fn the_runtime_is_no_program_of_the_containers() {
    let scratch = Scratch::new("selfexe");
    let copy = copy_of_firn(&scratch);
    let before = std::fs::read(&copy).unwrap();
    let firn = Runtime::new(copy.clone(), &scratch);
    let mut bundle = Bundle::new(&scratch).set("/root/readonly", json!(false));
    let root = bundle.root();
    symlink("/proc/self/exe", root.join("bin/runtime")).unwrap();
    let script = root.join("bin/script");
    std::fs::write(&script, "#!/proc/self/exe state\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (program, code) in [("/proc/self/exe", 1), ("/bin/runtime", 1), ("runtime", 1), ("../proc/self/exe", 1)] {
        bundle = bundle.args(&[program, "--version"]).write();
        let output = firn.run(&bundle).fails(code);
        assert!(!output.stdout.contains("firn version"), "{program}: {output:?}");
        firn.left_nothing();
    }
    // The interpreter of a script is the kernel's choice: it starts the
    // runtime from the place that can't be written.
    bundle = bundle.args(&["/bin/script"]).write();
    assert_ne!(firn.run(&bundle).code, 0);
    bundle = bundle.shell("sleep 1000").write();
    firn.create(&bundle).succeeds();
    let pid = firn.state()["pid"].to_string();
    // The waiting init is the runtime. Even root of the host can't write to it
    // this way, and not because it is busy.
    let exe = std::fs::OpenOptions::new().read(true).open(format!("/proc/{pid}/exe")).unwrap();
    let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&exe));
    assert!(std::fs::OpenOptions::new().append(true).open(&again).is_err());
    firn.start().succeeds();
    for (program, code) in [("/proc/self/exe", 255), ("/bin/runtime", 255), ("runtime", 255)] {
        let output = firn.exec(&[program, "--version"]).fails(code);
        assert!(!output.stdout.contains("firn version"), "{program}: {output:?}");
    }
    assert_ne!(firn.exec(&["/bin/script"]).code, 0);
    let error = std::fs::OpenOptions::new().append(true).open(&again).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::ROFS.raw_os_error()), "{error}");
    assert_eq!(std::fs::read(&copy).unwrap(), before);
}

/// A container that lies in wait for what joins it, with the report of what it
/// has seen of what `join` does.
fn hunt(scratch: &Scratch, firn: &Runtime, targets: &[&Path], join: impl Fn(&str)) -> String {
    let canary = scratch.write("canary", "canary\n");
    let shared = scratch.directory("shared");
    let mut args = vec!["/bin/attacker".to_owned(), "hunt".into(), "/shared/report".into()];
    args.push(canary.to_string_lossy().into_owned());
    args.extend(targets.iter().map(|path| inode(path)));
    let caps = json!(["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
    let bundle = Bundle::new(scratch)
        .args(&args.iter().map(String::as_str).collect::<Vec<_>>())
        .set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}))
        .mount(json!({"destination": "/shared", "type": "bind", "source": shared, "options": ["rbind"]}))
        .write();
    std::fs::copy(binary("firn-attacker"), bundle.root().join("bin/attacker")).unwrap();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let report = |word: &str| {
        let mut text = String::new();
        wait_until(&format!("the attacker reports {word:?}"), || {
            text = std::fs::read_to_string(shared.join("report")).unwrap_or_default();
            text.contains(word)
        });
        text
    };
    report("ready");
    join(&firn.state()["pid"].to_string());
    std::fs::write(shared.join("report.stop"), "").unwrap();
    let text = report("end");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
    text
}

/// What the hunt finds of a program that joins without any defence: so the
/// attacks work.
#[test]
fn the_attacker_overwrites_a_program_that_joins_unprotected() {
    let scratch = Scratch::new("victim");
    let victim = scratch.directory("victim").join("busybox");
    std::fs::copy(program("busybox", "busybox-static"), &victim).unwrap();
    let firn = Runtime::firn(&scratch);
    let report = hunt(&scratch, &firn, &[&victim], |pid| {
        for _ in 0..3 {
            let namespace = format!("--pid=/proc/{pid}/ns/pid");
            command(Command::new("nsenter").arg(namespace).arg(&victim).args(["sleep", "0.1"])).succeeds();
        }
    });
    for fact in ["written: true", "host reached by root", "host reached by cwd", "more rights"] {
        assert!(report.contains(fact), "{fact}: {report}");
    }
    assert!(std::fs::read(&victim).unwrap().ends_with(b"owned"));
}

/// CVE-2019-5736 and CVE-2016-9962, by a container with CAP_SYS_PTRACE.
#[test]
fn what_joins_a_container_can_not_be_overwritten_and_leads_nowhere() {
    let scratch = Scratch::new("hunt");
    let copy = copy_of_firn(&scratch);
    let before = std::fs::read(&copy).unwrap();
    let firn = Runtime::new(copy.clone(), &scratch);
    let report = hunt(&scratch, &firn, &[&copy], |_| {
        let begin = Instant::now();
        let mut count = 0;
        // However slow the machine is.
        while begin.elapsed() < Duration::from_secs(2) || count < 20 {
            firn.exec(&["true"]).succeeds();
            count += 1;
        }
    });
    assert!(!report.contains("opened 0\n"), "the attacker saw no firn: {report}");
    assert!(!report.contains("opened for writing") && !report.contains("was made"), "{report}");
    assert_eq!(std::fs::read(&copy).unwrap(), before);
    assert!(!report.contains("host reached"), "{report}");
    // One that may trace processes could use whatever they may.
    assert!(!report.contains("more rights"), "{report}");
}

/// Without a mount namespace of its own, a container's root is a directory below that
/// of the host, or of whose namespace it joined.
#[test]
fn an_exec_has_the_containers_root_in_any_mount_namespace() {
    let mut holder = Command::new("unshare")
        // Ends with the test, whatever becomes of that.
        .args(["--mount", "--propagation", "private", "sh", "-c", "echo; read end"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(&mut holder.stdout.take().unwrap(), &mut [0]).unwrap();
    let joined = json!({"type": "mount", "path": format!("/proc/{}/ns/mnt", holder.id())});
    for namespace in [None, Some(joined)] {
        let scratch = Scratch::new("execroot");
        let canary = scratch.write("canary", "the host's\n");
        let firn = Runtime::firn(&scratch);
        let mut bundle = Bundle::new(&scratch).without_namespace("mount").shell("exec sleep 1000");
        if let Some(namespace) = &namespace {
            bundle = bundle.set("/linux/namespaces/-", namespace.clone());
        }
        let bundle = bundle.write();
        std::fs::write(bundle.root().join("mark"), "the container's\n").unwrap();
        firn.create(&bundle).succeeds();
        firn.start().succeeds();
        let script = format!("cat /mark; cat {0} /../../{0} 2>/dev/null; pwd", canary.display());
        let output = firn.exec(&["/bin/busybox", "sh", "-c", &script]).succeeds();
        assert_eq!(output.stdout, "the container's\n/\n", "{namespace:?}");
        // What is mounted there would be mounted for others.
        let hole = scratch.directory("hole");
        let list = scratch.write("list.json", &json!([{"destination": hole, "type": "tmpfs"}]).to_string());
        let output = firn.call(&["mounts", "add", firn.id(), list.to_str().unwrap()]).fails(1);
        assert!(output.stderr.contains("no mount namespace of its own"), "{output:?}");
        firn.call(&["delete", "--force", firn.id()]).succeeds();
        firn.left_nothing();
    }
    drop(holder.stdin.take());
    holder.wait().unwrap();
}
