//! Attacks of published kinds, each of which would succeed against a runtime
//! without the defence. The attacker is the root file system and what runs in
//! it; the host is a folder of canaries that must not change.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, ConsoleSocket, Output, Runtime, Scratch, binary, busybox_root, command};
use rustix::fs::{CWD, RenameFlags};
use serde_json::json;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A part of the host that an attack would change, and how it was before.
struct Canary {
    path: PathBuf,
    before: Vec<String>,
}

impl Canary {
    fn new(scratch: &Scratch) -> Self {
        let path = scratch.folder("host");
        for dir in ["empty", "dir", "dir/below"] {
            std::fs::create_dir(path.join(dir)).unwrap();
        }
        for file in ["secret", "dir/file", "dir/null", "dir/kcore", "dir/resolv.conf"] {
            std::fs::write(path.join(file), "canary\n").unwrap();
        }
        Canary { before: snapshot(&path), path }
    }

    #[track_caller]
    fn check(&self, attack: &str) {
        assert_eq!(snapshot(&self.path), self.before, "the host has changed by {attack}");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.path.to_str().unwrap()), "mounted on the host by {attack}: {mounts}");
    }
}

/// Everything about a tree that can be changed, but for access times.
fn snapshot(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let stat = std::fs::symlink_metadata(&path).unwrap();
        let text = if stat.is_file() { std::fs::read_to_string(&path).unwrap() } else { String::new() };
        found.push(format!(
            "{} {:o} {}:{} {} {}.{} {text:?}",
            path.display(),
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.ino(),
            stat.mtime(),
            stat.mtime_nsec()
        ));
        if stat.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found.sort();
    found
}

/// Puts a symbolic link in the place of whatever is there.
fn replace_by_link(path: &Path, target: impl AsRef<Path>) {
    match std::fs::symlink_metadata(path) {
        Ok(stat) if stat.is_dir() => std::fs::remove_dir_all(path).unwrap(),
        Ok(_) => std::fs::remove_file(path).unwrap(),
        Err(_) => std::fs::create_dir_all(path.parent().unwrap()).unwrap(),
    }
    symlink(target, path).unwrap();
}

fn without_mounts(mut bundle: Bundle, below: &str) -> Bundle {
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with(below));
    bundle
}

/// A failure must say why; a success is judged by what the host looks like.
#[track_caller]
fn confined_or_refused(output: &Output, attack: &str) {
    assert!(output.code == 0 || output.stderr.trim().len() > 10, "no clear error for {attack}: {output:?}");
    assert!(!output.stdout.contains("canary"), "the host's files were read by {attack}: {output:?}");
}

/// CVE-2021-30465, CVE-2019-18837, CVE-2025-54867: whatever is made or mounted
/// for a container, a link in its image leads nowhere but into the image.
#[test]
fn links_in_the_image_lead_nothing_to_the_host() {
    let scratch = Scratch::new("links");
    let host = Canary::new(&scratch);
    let volume = scratch.folder("volume");
    let file = scratch.write("file", "volume's\n");
    let firn = Runtime::firn(&scratch);
    let mut bundle = Bundle::new(&scratch)
        .shell("cat /vol/secret /vol/dir/file /file /etc/resolv.conf /deep/er/secret 2>/dev/null; echo ran")
        .set("/root/readonly", json!(false))
        .set("/process/cwd", json!("/work/dir"))
        .set("/linux/devices", json!([{"path": "/nodes/fuse", "type": "c", "major": 10, "minor": 229}]))
        .mount(json!({"destination": "/vol", "type": "bind", "source": volume, "options": ["rbind"]}))
        .mount(json!({"destination": "/file", "type": "bind", "source": file, "options": ["bind"]}))
        .mount(json!({"destination": "/etc/resolv.conf", "type": "bind", "source": file, "options": ["bind"]}))
        .mount(json!({"destination": "/deep/er/tmp", "type": "tmpfs", "source": "tmpfs"}));
    bundle.config["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/masked"));
    bundle.config["linux"]["readonlyPaths"].as_array_mut().unwrap().push(json!("/fixed"));
    let with_dev = bundle.write();
    // Once more with the image's own /dev.
    let own = scratch.folder("own-dev");
    let mut without_dev = Bundle { path: own, config: with_dev.config.clone() };
    without_dev.config["root"]["path"] = json!(with_dev.root());
    let without_dev = without_mounts(without_dev, "/dev").write();
    let dev_mounts = with_mounts_below_dev(&scratch, &without_dev);

    let depth = "../".repeat(20);
    let host_dir = host.path.to_str().unwrap();
    let mut tried = 0;
    for place in [
        "dev",
        "dev/pts",
        "dev/shm",
        "dev/mqueue",
        "dev/null",
        "dev/fd",
        "dev/ptmx",
        "proc",
        "sys",
        "etc",
        "vol",
        "file",
        "etc/resolv.conf",
        "deep",
        "deep/er",
        "work",
        "work/dir",
        "nodes",
        "nodes/fuse",
        "masked",
        "fixed",
    ] {
        for target in [
            host_dir.to_owned(),
            format!("{host_dir}/secret"),
            format!("{host_dir}/new/below"),
            format!("{depth}{host_dir}"),
            format!("{depth}{host_dir}/dir/made"),
            "/proc/1/root".to_owned(),
        ] {
            for bundle in [&with_dev, &without_dev, &dev_mounts] {
                if place.starts_with("dev") == std::ptr::eq(bundle, &with_dev) {
                    continue;
                }
                let root = with_dev.root();
                replace_by_link(&root.join(place), &target);
                let attack = format!("/{place} -> {target}");
                let output = firn.run(bundle);
                confined_or_refused(&output, &attack);
                host.check(&attack);
                firn.left_nothing();
                clean(&root);
                tried += 1;
            }
        }
    }
    assert!(tried > 150, "{tried}");
    assert_eq!(std::fs::read_dir(&volume).unwrap().count(), 0, "made in the volume");
    // What was attacked is a bundle that runs.
    assert_eq!(firn.run(&with_dev).succeeds().stdout, "volume's\nvolume's\nran\n");
}

/// The image's own /dev, with file systems mounted below it.
fn with_mounts_below_dev(scratch: &Scratch, base: &Bundle) -> Bundle {
    let mut bundle = Bundle { path: scratch.folder("dev-mounts"), config: base.config.clone() };
    for (name, kind) in [("pts", "devpts"), ("shm", "tmpfs"), ("mqueue", "mqueue")] {
        bundle = bundle.mount(json!({"destination": format!("/dev/{name}"), "type": kind, "source": kind}));
    }
    bundle.write()
}

/// Takes back what a link and a run have made of a busybox root.
fn clean(root: &Path) {
    for name in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        if name.ends_with("bin") {
            continue;
        }
        if std::fs::symlink_metadata(&name).unwrap().is_dir() {
            std::fs::remove_dir_all(&name).unwrap();
        } else {
            std::fs::remove_file(&name).unwrap();
        }
    }
    for dir in ["etc", "tmp", "proc", "sys", "dev"] {
        std::fs::create_dir(root.join(dir)).unwrap();
    }
}

/// CVE-2023-27561, CVE-2019-19921: procfs and sysfs behind a link would leave
/// /proc and /sys themselves to the image.
#[test]
fn procfs_and_sysfs_are_not_mounted_behind_a_link() {
    let scratch = Scratch::new("proclink");
    let bundle = Bundle::new(&scratch).shell("true").set("/root/readonly", json!(false)).write();
    let firn = Runtime::firn(&scratch);
    for place in ["proc", "sys"] {
        for target in ["tmp", "/tmp", "/bin/busybox", "../../../tmp", "/"] {
            replace_by_link(&bundle.root().join(place), target);
            let output = firn.run(&bundle).fails(1);
            assert!(
                output.stderr.contains(&format!("/{place} must be a directory")),
                "/{place} -> {target}: {output:?}"
            );
            firn.left_nothing();
        }
        clean(&bundle.root());
    }
    // Also where the link is further up.
    replace_by_link(&bundle.root().join("up"), "tmp");
    let bundle = bundle.mount(json!({"destination": "/up/proc", "type": "proc", "source": "proc"})).write();
    firn.run(&bundle);
    let inside = std::fs::read_dir(bundle.root().join("tmp")).unwrap().count();
    assert!(inside <= 1, "mounted outside of the container's own namespace");
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2025-52881: a mount over a part of /proc
/// would redirect what the runtime writes there.
#[test]
fn nothing_is_mounted_over_parts_of_proc() {
    let scratch = Scratch::new("overproc");
    let volume = scratch.folder("volume");
    let firn = Runtime::firn(&scratch);
    let base = Bundle::new(&scratch).shell("true").set("/root/readonly", json!(false));
    for (link, target) in [("alias", "/proc"), ("deep", "proc/self"), ("up", "../../proc/sys"), ("twice", "alias/self")]
    {
        replace_by_link(&base.root().join(link), target);
    }
    let mut config = base.config.clone();
    for destination in [
        "/proc",
        "/proc/self",
        "/proc/self/attr",
        "/proc/sys/kernel",
        "/proc/net/dev",
        "/x/../proc/self/attr",
        "proc/./self/",
        "/alias",
        "/alias/self/attr",
        "/deep/attr",
        "/up",
        "/up/kernel",
        "/twice/attr",
        "/twice",
    ] {
        for (kind, source, options) in
            [("bind", volume.to_str().unwrap(), json!(["rbind"])), ("tmpfs", "tmpfs", json!([]))]
        {
            config["mounts"] = base.config["mounts"].clone();
            let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
            config["mounts"].as_array_mut().unwrap().push(mount);
            let bundle = Bundle { path: base.path.clone(), config: config.clone() }.write();
            let output = firn.run(&bundle).fails(1);
            assert!(output.stderr.contains("/proc"), "{destination}: {output:?}");
            firn.left_nothing();
        }
    }
    // Before /proc itself is mounted, its place is the image's.
    config["mounts"] = json!([{"destination": "/alias/sys", "type": "tmpfs", "source": "tmpfs"}]);
    config["mounts"].as_array_mut().unwrap().extend(base.config["mounts"].as_array().unwrap().iter().cloned());
    config["process"]["args"] = json!(["sh", "-c", "cat /proc/sys/kernel/ostype"]);
    let bundle = Bundle { path: base.path.clone(), config }.write();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "Linux\n");
}

/// A fake /proc of the image's must get none of the runtime's writes.
#[test]
fn sysctls_go_to_the_kernel_and_not_to_the_images_proc() {
    let scratch = Scratch::new("fakeproc");
    let bundle = Bundle::new(&scratch)
        .shell("cat /real/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_forward")
        .set("/root/readonly", json!(false))
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}))
        .set("/process/oomScoreAdj", json!(500));
    let bundle = without_mounts(bundle, "/proc")
        .mount(json!({"destination": "/real", "type": "proc", "source": "proc"}))
        .write();
    let fake = bundle.root().join("proc/sys/net/ipv4");
    std::fs::create_dir_all(&fake).unwrap();
    std::fs::write(fake.join("ip_forward"), "fake\n").unwrap();
    let own = bundle.root().join("proc/self");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("oom_score_adj"), "fake\n").unwrap();
    let firn = Runtime::firn(&scratch);
    assert_eq!(firn.run(&bundle).succeeds().stdout, "1\nfake\n");
    assert_eq!(std::fs::read_to_string(own.join("oom_score_adj")).unwrap(), "fake\n");
    for key in ["kernel.core_pattern", "net/../kernel/core_pattern", "net/ipv4/../../vm/swappiness", "vm.swappiness"] {
        let bundle = Bundle { path: bundle.path.clone(), config: bundle.config.clone() };
        let bundle = bundle.set("/linux/sysctl", json!({key: "x"})).write();
        let output = firn.run(&bundle).fails(1);
        assert!(output.stderr.contains("not in a namespace"), "{key}: {output:?}");
    }
}

/// CVE-2025-31133: what covers a masked file is the host's null device, and
/// not whatever the image has at /dev/null.
#[test]
fn masks_do_not_follow_a_dev_null_of_the_images() {
    let scratch = Scratch::new("devnull");
    let host = Canary::new(&scratch);
    let script = "echo pwned > /masked; cat /masked; cat /target";
    let bundle = Bundle::new(&scratch)
        .shell(script)
        .set("/root/readonly", json!(false))
        .set("/linux/maskedPaths", json!(["/masked"]));
    let bundle = without_mounts(bundle, "/dev").write();
    let root = bundle.root();
    std::fs::write(root.join("masked"), "mask me\n").unwrap();
    std::fs::write(root.join("target"), "kept\n").unwrap();
    let firn = Runtime::firn(&scratch);
    for target in [host.path.join("secret").to_str().unwrap(), "/target", "/proc/sys/kernel/core_pattern", "../target"]
    {
        replace_by_link(&root.join("dev/null"), target);
        let output = firn.run(&bundle);
        confined_or_refused(&output, target);
        host.check(target);
        assert!(!output.stdout.contains("pwned"), "{output:?}");
        assert_eq!(std::fs::read_to_string(root.join("target")).unwrap(), "kept\n");
        firn.left_nothing();
    }
    // A plain file in its place is refused too; the true device is taken.
    std::fs::remove_file(root.join("dev/null")).unwrap();
    std::fs::write(root.join("dev/null"), "").unwrap();
    assert!(firn.run(&bundle).fails(1).stderr.contains("make device /dev/null"));
    std::fs::remove_file(root.join("dev/null")).unwrap();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "kept\n");
}

#[test]
fn masked_paths_are_covered_and_read_only_paths_can_not_be_written() {
    let scratch = Scratch::new("masks");
    let script = r"
        cat /secret/file /key /link-to-key /link-to-dir/file 2>/dev/null
        for p in /secret/new /fixed/new /fixed/below/new /link-fixed/new; do ( : > $p ) 2>/dev/null && echo wrote $p; done
        ( : > /fixed-file ) 2>/dev/null && echo wrote /fixed-file
        mv /secret /moved 2>/dev/null && echo moved; umount /secret 2>/dev/null && echo unmounted
        mount -o remount,rw /fixed 2>/dev/null && echo remounted
        ls /secret; echo end";
    let bundle = Bundle::new(&scratch)
        .shell(script)
        .set("/root/readonly", json!(false))
        .set(
            "/linux/maskedPaths",
            json!(["/secret", "/key", "/link-to-key", "/link-to-dir", "/none", "/key/below", "/loop"]),
        )
        .set("/linux/readonlyPaths", json!(["/fixed", "/fixed-file", "/link-fixed", "/none", "/fixed-file/below"]))
        .write();
    let root = bundle.root();
    for dir in ["secret", "fixed/below", "other"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    for file in ["secret/file", "key", "key2", "other/file", "fixed-file"] {
        std::fs::write(root.join(file), "SECRET\n").unwrap();
    }
    symlink("key2", root.join("link-to-key")).unwrap();
    symlink("/other", root.join("link-to-dir")).unwrap();
    symlink("../../fixed/below", root.join("link-fixed")).unwrap();
    let firn = Runtime::firn(&scratch);
    assert_eq!(firn.run(&bundle).succeeds().stdout, "end\n");
    // A link to itself can't be covered: then the container must not run.
    symlink("loop", root.join("loop")).unwrap();
    assert!(firn.run(&bundle).fails(1).stderr.contains("mask /loop"));
}

/// A terminal that comes over the console socket, if there is one.
fn run_with_terminal(firn: &Runtime, scratch: &Scratch, bundle: &Bundle) -> (Output, String) {
    let _ = std::fs::remove_file(scratch.join("console"));
    let socket = ConsoleSocket::listen(scratch, "console");
    let created = firn.create_with(bundle, &["--console-socket", &socket.path.to_string_lossy()]);
    let mut text = String::new();
    if created.code == 0 {
        let terminal = socket.receive();
        firn.start();
        text = terminal.rest();
    }
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    (created, text)
}

/// CVE-2025-52565: the terminal comes from the container's devpts, and
/// /dev/console is no way out of the image.
#[test]
fn a_terminal_does_not_follow_links_in_dev() {
    let scratch = Scratch::new("ttylink");
    let host = Canary::new(&scratch);
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch)
        .shell("tty; cat /target; echo pwned > /dev/console; cat /target")
        .set("/root/readonly", json!(false))
        .set("/process/terminal", json!(true));
    let bundle = without_mounts(bundle, "/dev");
    let root = bundle.root();
    let no_devpts = Bundle { path: scratch.folder("no-devpts"), config: bundle.config.clone() };
    let no_devpts = no_devpts.set("/root/path", json!(root)).write();
    let bundle = bundle
        .mount(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}))
        .write();
    std::fs::write(root.join("target"), "kept\n").unwrap();
    let (secret, dir) = (host.path.join("secret"), host.path.join("dir"));
    for (place, target) in [
        ("dev/console", secret.to_str().unwrap()),
        ("dev/console", "/target"),
        ("dev/console", "/proc/1/fd/0"),
        ("dev/ptmx", "/target"),
        ("dev/pts", dir.to_str().unwrap()),
        ("dev/pts", "/tmp"),
        ("dev/pts/ptmx", secret.to_str().unwrap()),
        ("dev/pts/ptmx", "/dev/ptmx"),
        ("dev/pts/0", "/target"),
    ] {
        for bundle in [&bundle, &no_devpts] {
            let attack = format!("/{place} -> {target}");
            replace_by_link(&root.join(place), target);
            let (created, text) = run_with_terminal(&firn, &scratch, bundle);
            confined_or_refused(&created, &attack);
            host.check(&attack);
            assert!(!text.contains("canary"), "{attack}: {text}");
            assert_eq!(std::fs::read_to_string(root.join("target")).unwrap(), "kept\n", "{attack}");
            if std::ptr::eq(bundle, &no_devpts) {
                assert!(created.stderr.contains("/dev/pts"), "{attack}: {created:?}");
            }
            firn.left_nothing();
            std::fs::remove_dir_all(root.join("dev")).or_else(|_| std::fs::remove_file(root.join("dev"))).unwrap();
            std::fs::create_dir_all(root.join("dev/pts")).unwrap();
        }
    }
    // A multiplexer that is none of a devpts.
    let made = command(Command::new("mknod").arg(root.join("dev/pts/ptmx")).args(["c", "5", "2"]));
    made.succeeds();
    let (created, _) = run_with_terminal(&firn, &scratch, &no_devpts);
    assert!(created.stderr.contains("/dev/pts/ptmx"), "{created:?}");
    let (created, text) = run_with_terminal(&firn, &scratch, &bundle);
    created.succeeds();
    assert!(text.starts_with("/dev/pts/0\r\nkept\r\npwned"), "{text:?}");
}

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
    // While it waits it holds the socket of `start`, and nothing of the host.
    assert!(open().iter().all(|link| link.starts_with("socket:") || link == "/dev/null"), "{:?}", open());
    firn.start().succeeds();
    assert!(open().iter().all(|link| link == "/dev/null"), "{:?}", open());
    let line = firn.command(&["exec", firn.id(), "sh", "-c", list]);
    check(with_leaked_descriptors(&host.path, &line).succeeds());
}

/// A copy of firn, so that an attack that succeeds does no harm.
fn copy_of_firn(scratch: &Scratch) -> PathBuf {
    let copy = scratch.folder("copy").join("firn");
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
    let shared = scratch.folder("shared");
    let mut args = vec!["/bin/attacker".to_owned(), "hunt".into(), "/shared/report".into()];
    args.push(canary.to_string_lossy().into_owned());
    args.extend(targets.iter().map(|path| inode(path)));
    let caps = json!(["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
    let bundle = Bundle::new(scratch)
        .args(&args.iter().map(String::as_str).collect::<Vec<_>>())
        .set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}))
        .mount(json!({"destination": "/shared", "type": "bind", "source": shared, "options": ["rbind"]}))
        .write();
    std::fs::copy(env!("CARGO_BIN_EXE_firn-attacker"), bundle.root().join("bin/attacker")).unwrap();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    let report = |word: &str| {
        for _ in 0..1000 {
            let text = std::fs::read_to_string(shared.join("report")).unwrap_or_default();
            if text.contains(word) {
                return text;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the attacker did not report {word:?}");
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
    let victim = scratch.folder("victim").join("busybox");
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
        while begin.elapsed() < Duration::from_secs(2) {
            firn.exec(&["true"]).succeeds();
            count += 1;
        }
        assert!(count > 20, "{count}");
    });
    assert!(!report.contains("opened 0\n"), "the attacker saw no firn: {report}");
    assert!(!report.contains("opened for writing") && !report.contains("was made"), "{report}");
    assert_eq!(std::fs::read(&copy).unwrap(), before);
    assert!(!report.contains("host reached"), "{report}");
    // One that may trace processes could use whatever they may.
    assert!(!report.contains("more rights"), "{report}");
}

/// Swaps two names for as long as it lives, as a second container on the same
/// root or volume does.
struct Swapping {
    stop: std::sync::Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Swapping {
    fn new(pairs: Vec<(PathBuf, PathBuf)>) -> Self {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                for (one, other) in &pairs {
                    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("swap two names");
                    count += 1;
                }
            }
            count
        });
        Swapping { stop, thread: Some(thread) }
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let count = self.thread.take().unwrap().join().unwrap();
        assert!(count > 1000 || std::thread::panicking(), "only {count} swaps");
    }
}

/// Runs the bundle again and again for a while.
fn race(firn: &Runtime, bundle: &Bundle, swaps: Vec<(PathBuf, PathBuf)>, time: Duration, check: impl Fn(&Output)) {
    let _swapping = Swapping::new(swaps);
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < time {
        let output = firn.run(bundle);
        confined_or_refused(&output, "a race");
        check(&output);
        count += 1;
    }
    assert!(count >= 10, "only {count} runs");
    firn.left_nothing();
}

/// CVE-2021-30465: a directory that becomes a link to the host, and back, while
/// things are made and mounted below it.
#[test]
fn directories_that_turn_into_links_lead_nothing_to_the_host() {
    let scratch = Scratch::new("race");
    let host = Canary::new(&scratch);
    let volume = scratch.folder("volume");
    let bundle = Bundle::new(&scratch)
        .shell("cat /vol/a/secret /vol/a/b/secret /etc/secret /secret 2>/dev/null; echo ran")
        .set("/root/readonly", json!(false))
        .set("/process/cwd", json!("/vol/a/work"))
        .set("/linux/devices", json!([{"path": "/vol/a/fuse", "type": "c", "major": 10, "minor": 229}]));
    let bundle = without_mounts(bundle, "/dev")
        .mount(json!({"destination": "/vol/a/b", "type": "bind", "source": volume, "options": ["rbind"]}))
        .mount(json!({"destination": "/vol/a/t", "type": "tmpfs", "source": "tmpfs"}))
        .mount(json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}))
        .set("/linux/maskedPaths", json!(["/vol/a/masked", "/vol/a/file"]))
        .set("/linux/readonlyPaths", json!(["/vol/a/fixed"]))
        .write();
    let root = bundle.root();
    for dir in ["vol/a/masked", "vol/a/fixed"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::write(root.join("vol/a/file"), "").unwrap();
    let up = format!("{}{}", "../".repeat(20), host.path.join("dir").display());
    symlink(&host.path, root.join("vol/link")).unwrap();
    symlink(up, root.join("dev-link")).unwrap();
    let swaps = vec![(root.join("vol/a"), root.join("vol/link")), (root.join("dev"), root.join("dev-link"))];
    let firn = Runtime::firn(&scratch);
    race(&firn, &bundle, swaps, Duration::from_secs(3), |_| host.check("a race"));
}

/// CVE-2025-31133 with a race: /dev/null is now the device, now a link.
#[test]
fn a_dev_null_that_turns_into_a_link_covers_nothing_else() {
    let scratch = Scratch::new("racenull");
    let host = Canary::new(&scratch);
    let bundle = Bundle::new(&scratch)
        .shell("cat /masked; echo pwned 2>/dev/null > /masked; echo ran")
        .set("/root/readonly", json!(false))
        .set("/linux/maskedPaths", json!(["/masked"]));
    let bundle = without_mounts(bundle, "/dev").write();
    let root = bundle.root();
    std::fs::write(root.join("masked"), "canary of the mask\n").unwrap();
    command(Command::new("mknod").arg(root.join("dev/null")).args(["c", "1", "3"])).succeeds();
    symlink(host.path.join("secret"), root.join("dev/null2")).unwrap();
    let swaps = vec![(root.join("dev/null"), root.join("dev/null2"))];
    let firn = Runtime::firn(&scratch);
    race(&firn, &bundle, swaps, Duration::from_secs(1), |_| {
        host.check("a race");
        assert_eq!(std::fs::read_to_string(root.join("masked")).unwrap(), "canary of the mask\n");
    });
}

/// The directory on which /proc was mounted is moved away before it is masked:
/// the true procfs must be masked all the same, wherever it is.
#[test]
fn a_proc_that_is_moved_away_is_masked_all_the_same() {
    let scratch = Scratch::new("raceproc");
    // /proc/keys is a masked file, /proc/sys a read-only directory.
    let script = "for d in /proc /other; do
        [ -e $d/1/stat ] && [ -f $d/keys ] && echo unmasked $d
        [ -e $d/1/stat ] && ( : >> $d/sys/kernel/core_pattern ) 2>/dev/null && echo writable $d
        done; echo ran";
    let bundle = Bundle::new(&scratch).shell(script).set("/root/readonly", json!(false)).write();
    let root = bundle.root();
    std::fs::create_dir(root.join("other")).unwrap();
    let firn = Runtime::firn(&scratch);
    let swaps = vec![(root.join("proc"), root.join("other"))];
    race(&firn, &bundle, swaps, Duration::from_secs(2), |output| {
        assert!(!output.stdout.contains("unmasked") && !output.stdout.contains("writable"), "{output:?}");
    });
}

/// CVE-2024-3154 and its kin: engines copy an image's annotations into the
/// config, so nothing that decides over the host may come from there.
#[test]
fn annotations_are_not_settings() {
    let scratch = Scratch::new("annotations");
    let host = Canary::new(&scratch);
    let firn = Runtime::firn(&scratch);
    let facts =
        "cat /proc/self/mountinfo | cut -d' ' -f4-6 | sort; grep -E 'Cap|Groups|Seccomp' /proc/self/status; ls /";
    let bundle = Bundle::new(&scratch).shell(facts).set("/root/readonly", json!(false)).write();
    let plain = firn.run(&bundle).succeeds().stdout;
    let dir = host.path.to_str().unwrap();
    let hook = scratch.write("hook", &format!("#!/bin/sh\ntouch {dir}/pwned\n"));
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut annotations = json!({});
    for prefix in ["", "firn.", "io.firn.", "dev.firn.", "run.firn."] {
        annotations[format!("{prefix}root.layers")] = json!(dir);
        annotations[format!("{prefix}root.upper")] = json!(dir);
        annotations[format!("{prefix}root.closure")] = json!(format!("{dir}/secret"));
        annotations[format!("{prefix}root")] = json!(format!("{{\"layers\":[\"{dir}\"]}}"));
        annotations[format!("{prefix}hooks.prestart")] = json!(hook);
    }
    for (name, value) in [
        ("run.oci.handler", "krun"),
        ("run.oci.hooks.stdout", "/host/dir/out"),
        ("run.oci.hooks.stderr", "/host/dir/err"),
        ("run.oci.keep_original_groups", "1"),
        ("run.oci.systemd.subgroup", "../../other"),
        ("run.oci.delegate-cgroup", "../../other"),
        ("run.oci.mount_context_type", "rootcontext"),
        ("run.oci.seccomp.receiver", "/nosuch"),
        ("run.oci.seccomp.plugins", "/nosuch"),
        ("run.oci.seccomp_bpf_data", "AAAA"),
        ("run.oci.timens_offset", "100000"),
        ("run.oci.pidfd_receiver", "/nosuch"),
        ("run.oci.close_range", "1"),
        ("module.wasm.image/variant", "compat"),
    ] {
        annotations[name] = json!(value);
    }
    let bundle = bundle.set("/annotations", annotations).write();
    assert_eq!(firn.run(&bundle).succeeds().stdout, plain);
    host.check("annotations");
}

/// firn.json names host paths: it must be the caller's alone.
#[test]
fn a_firn_json_of_somebody_else_is_refused() {
    let scratch = Scratch::new("firnjson");
    let bundle = Bundle::bare(&scratch, "bundle").shell("echo ran").write();
    let layer = scratch.folder("layer");
    busybox_root(&layer);
    let file = bundle.path.join("firn.json");
    let firn = Runtime::firn(&scratch);
    let text = json!({"root": {"layers": [layer], "upper": "tmpfs"}}).to_string();
    let write = |owner: u32, mode: u32| {
        std::fs::write(&file, &text).unwrap();
        std::os::unix::fs::chown(&file, Some(owner), Some(owner)).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write(0, 0o644);
    assert_eq!(firn.run(&bundle).succeeds().stdout, "ran\n");
    for (owner, mode) in [(1000, 0o644), (1000, 0o600), (0, 0o664), (0, 0o646), (0, 0o666), (65534, 0o644)] {
        write(owner, mode);
        let output = firn.run(&bundle).fails(1);
        assert!(output.stderr.contains("must belong to user 0"), "{owner} {mode:o}: {output:?}");
    }
    write(0, 0o644);
    std::fs::rename(&file, scratch.join("elsewhere")).unwrap();
    symlink(scratch.join("elsewhere"), &file).unwrap();
    firn.run(&bundle).fails(1);
    firn.left_nothing();
}

fn running(scratch: &Scratch, bundle: Bundle) -> Runtime {
    let bundle = bundle.shell("sleep 1000").write();
    let firn = Runtime::firn(scratch);
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    firn
}

/// CVE-2022-29162, CVE-2025-27612: capabilities that are added are for the
/// process, and not for what it starts as another user.
#[test]
fn added_capabilities_are_not_inheritable() {
    let scratch = Scratch::new("execcap");
    let firn = running(&scratch, Bundle::new(&scratch));
    let line = ["exec", "--cap", "CAP_SYS_ADMIN", "--cap", "net_raw", firn.id(), "grep", "^Cap", "/proc/self/status"];
    let output = firn.call(&line).succeeds();
    let set = |name: &str| {
        let line = output.stdout.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap()
    };
    let config = 1 << 29 | 1 << 5 | 1 << 10;
    let added = config | 1 << 21 | 1 << 13;
    assert_eq!([set("CapInh"), set("CapAmb")], [0, 0], "{output:?}");
    assert_eq!([set("CapPrm"), set("CapEff"), set("CapBnd")], [added; 3], "{output:?}");
    // Without it, what the config says.
    let plain = firn.exec(&["grep", "^CapPrm", "/proc/self/status"]).succeeds().stdout;
    assert!(plain.contains(&format!("{config:016x}")), "{plain}");
    assert!(firn.call(&["exec", "--cap", "CAP_NONE", firn.id(), "true"]).code != 0);
}

/// CVE-2026-30892: a user that is half understood must not become root.
#[test]
fn a_user_is_understood_whole_or_not_at_all() {
    let scratch = Scratch::new("execuser");
    let bundle = Bundle::new(&scratch).set("/process/user", json!({"uid": 5, "gid": 6}));
    let firn = running(&scratch, bundle);
    let as_user = |user: &str| firn.call(&["exec", "--user", user, firn.id(), "sh", "-c", "id -u; id -g; id -G"]);
    for (user, ids) in
        [("1", "1\n6\n6\n"), ("1000:7", "1000\n7\n7\n"), ("0:0", "0\n0\n0\n"), ("001:010", "1\n10\n10\n")]
    {
        assert_eq!(as_user(user).succeeds().stdout, ids, "{user}");
    }
    for user in [
        "",
        ":",
        "1:",
        ":1",
        "a",
        "root",
        "1a",
        "0x1",
        "+1",
        "-1",
        " 1",
        "1 ",
        "1:2:3",
        "1:a",
        "4294967295",
        "4294967296",
        "1.0",
        "1,2",
    ] {
        let output = as_user(user);
        assert!(output.code != 0 && output.stdout.is_empty(), "{user:?}: {output:?}");
    }
}

/// CVE-2022-2989 and its kin: the groups of whoever calls the runtime.
#[test]
fn groups_of_the_caller_do_not_reach_the_container() {
    let scratch = Scratch::new("groups");
    let bundle = Bundle::new(&scratch).shell("id -G").set("/process/user", json!({"uid": 1000, "gid": 1000})).write();
    let firn = Runtime::firn(&scratch);
    let with_groups = |line: Command| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--groups", "0,4,6,27"]).arg(line.get_program()).args(line.get_args());
        command(&mut setpriv).succeeds().stdout
    };
    let run = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    assert_eq!(with_groups(run), "1000\n");
    let firn = running(&scratch, bundle);
    assert_eq!(with_groups(firn.command(&["exec", firn.id(), "id", "-G"])), "1000\n");
}

#[test]
fn a_setuid_program_gains_nothing_under_no_new_privs() {
    let scratch = Scratch::new("setuid");
    let bundle =
        Bundle::new(&scratch).args(&["/bin/suid", "euid"]).set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let suid = bundle.root().join("bin/suid");
    std::fs::copy(env!("CARGO_BIN_EXE_firn-attacker"), &suid).unwrap();
    std::fs::set_permissions(&suid, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let bundle = bundle.write();
    let firn = Runtime::firn(&scratch);
    assert_eq!(firn.run(&bundle).succeeds().stdout, "1000\n");
    // The attack works where the config lets it.
    let bundle = bundle.set("/process/noNewPrivileges", json!(false)).write();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "0\n");
    let bundle = bundle.set("/process/noNewPrivileges", json!(true));
    let firn = running(&scratch, bundle);
    assert_eq!(firn.exec(&["/bin/suid", "euid"]).succeeds().stdout, "1000\n");
}

/// Making a device node gives no access to the device.
#[test]
fn a_device_that_is_made_inside_can_not_be_opened() {
    let scratch = Scratch::new("mknod");
    let caps = json!(["CAP_MKNOD"]);
    let bundle = Bundle::new(&scratch)
        .shell("mknod /fuse c 10 229 && echo made; head -c0 < /fuse && echo opened; head -c1 /dev/zero | wc -c")
        .set("/root/readonly", json!(false))
        .set("/process/capabilities", json!({"bounding": caps, "effective": caps, "permitted": caps}))
        .write();
    let firn = Runtime::firn(&scratch);
    let output = firn.run(&bundle).succeeds();
    assert_eq!(output.stdout, "made\n1\n", "{output:?}");
    assert!(output.stderr.contains("Operation not permitted"), "{output:?}");
    // A config that names no devices at all denies them too, as under runc.
    std::fs::remove_file(bundle.root().join("fuse")).unwrap();
    let bundle = bundle.set("/linux/resources", json!({})).write();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "made\n1\n");
    // The attack works where the config allows the device.
    std::fs::remove_file(bundle.root().join("fuse")).unwrap();
    let allow = json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]});
    let bundle = bundle.set("/linux/resources", allow).write();
    assert_eq!(firn.run(&bundle).succeeds().stdout, "made\nopened\n1\n");
}

/// The cgroup mount shows the container's own part, and it can't be left.
#[test]
fn a_container_sees_and_moves_within_its_own_cgroup_only() {
    let scratch = Scratch::new("cgescape");
    let script = r"
        cut -d: -f3 /proc/self/cgroup | sort -u
        for d in /sys/fs/cgroup/*/; do [ -L ${d%/} ] || wc -l < $d/cgroup.procs; done | sort -u
        ls -d /sys/fs/cgroup/*/libpod_parent /sys/fs/cgroup/*/firn-test-* /sys/fs/cgroup/*/release_agent 2>/dev/null
        for d in /sys/fs/cgroup/*/; do echo $$ 2>/dev/null > $d/../cgroup.procs && echo left; done
        mkdir /sys/fs/cgroup/memory/below 2>/dev/null && echo made; exit 0";
    let bundle = Bundle::new(&scratch).shell(script).write();
    let firn = Runtime::firn(&scratch);
    let output = firn.run(&bundle).succeeds();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[0], "/", "{output:?}");
    // The shell and the pipe's own processes, and nobody else's.
    assert!(lines[1..].iter().all(|n| n.parse::<u32>().is_ok_and(|n| n < 5)), "{output:?}");
    // Without a cgroup namespace the mount is still no more than its own part.
    let bundle = bundle.without_namespace("cgroup").write();
    let output = firn.run(&bundle).succeeds();
    let lines: Vec<&str> = output.stdout.lines().filter(|line| !line.starts_with('/')).collect();
    assert!(lines.iter().all(|n| n.parse::<u32>().is_ok_and(|n| n < 5)), "{output:?}");
}

/// CVE-2017-5226: a program in the caller's session could type into its
/// terminal (TIOCSTI).
#[test]
fn a_container_is_in_a_session_of_its_own() {
    let scratch = Scratch::new("session");
    let facts = "set -- $(cat /proc/$$/stat); echo session $6 tty $7; ( : > /dev/tty ) 2>/dev/null && echo opened";
    let bundle = Bundle::new(&scratch).shell(facts).write();
    let firn = Runtime::firn(&scratch);
    let on_a_terminal = |line: Command| {
        let (mut terminal, other) = firn_conformance::harness::Terminal::open();
        let stream = || Stdio::from(other.try_clone().unwrap());
        let mut setsid = Command::new("setsid");
        setsid.args(["--ctty", "--wait"]).arg(line.get_program()).args(line.get_args());
        let mut child = setsid.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let text = terminal.expect("tty 0\r\n");
        assert!(child.wait().unwrap().code().is_some());
        drop((setsid, other));
        text + &terminal.rest()
    };
    let text = on_a_terminal(firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]));
    assert_eq!(text, "session 1 tty 0\r\n");
    let firn = running(&scratch, bundle);
    let text = on_a_terminal(firn.command(&["exec", firn.id(), "sh", "-c", facts]));
    assert!(!text.contains("session 0 ") && !text.contains("opened"), "{text}");
}
