//! Records of containers that somebody else has written, or could have: what they
//! say is not believed, and their hooks don't run.

use firn_conformance::harness::place::{older_than, program};
use firn_conformance::harness::{Bundle, Runtime, Scratch, command, skip};
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const NOBODY: u32 = 65534;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_state_is_the_callers_alone_whatever_the_umask() {
    let scratch = Scratch::new("umask");
    let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
    let root = scratch.join("a/b/state");
    for mask in ["0", "0777"] {
        let firn = Runtime::firn(&scratch);
        let create = firn.command(&["create", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
        let script = format!("umask {mask}; exec \"$0\" --root {} \"$@\" > /dev/null 2>&1", root.display());
        let mut shell = Command::new("sh");
        let args = create.get_args().skip(2);
        command(shell.args(["-c", &script]).arg(create.get_program()).args(args)).succeeds();
        for dir in [scratch.join("a"), scratch.join("a/b"), root.clone(), root.join(firn.id())] {
            assert_eq!(mode(&dir), 0o700, "{} with umask {mask}", dir.display());
        }
        for file in ["state.json", "config.json"] {
            assert_eq!(mode(&root.join(firn.id()).join(file)) & 0o077, 0, "{file} with umask {mask}");
        }
        let mut delete = Command::new(create.get_program());
        command(delete.arg("--root").arg(&root).args(["delete", "--force", firn.id()])).succeeds();
        std::fs::remove_dir_all(scratch.join("a")).unwrap();
    }
}

/// A record as a container leaves it, with a hook that shows that it ran.
struct Planted {
    root: PathBuf,
    dir: PathBuf,
    record: Vec<u8>,
    config: Vec<u8>,
    traces: PathBuf,
}

impl Planted {
    fn new(scratch: &Scratch, firn: &Runtime) -> Self {
        let traces = scratch.join("traces");
        let hook = scratch.write("hook", &format!("#!/bin/sh\necho ran >> {}\n", traces.display()));
        set_mode(&hook, 0o755);
        let bundle = Bundle::new(scratch)
            .args(&["true"])
            .set("/hooks", json!({"poststart": [{"path": hook}], "poststop": [{"path": hook}]}))
            .write();
        firn.create(&bundle).succeeds();
        let dir = firn.root().join(firn.id());
        let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
        let planted = Planted {
            root: firn.root().to_owned(),
            record: read("state.json"),
            config: read("config.json"),
            dir: dir.clone(),
            traces,
        };
        firn.call(&["delete", "--force", firn.id()]).succeeds();
        std::fs::remove_file(&planted.traces).unwrap();
        planted
    }

    /// As firn would have written it.
    fn plant(&self) {
        let _ = std::fs::remove_dir_all(&self.root);
        let _ = std::fs::remove_file(&self.dir);
        std::fs::create_dir_all(&self.dir).unwrap();
        set_mode(&self.root, 0o700);
        set_mode(&self.dir, 0o700);
        for (name, text) in [("state.json", &self.record), ("config.json", &self.config)] {
            std::fs::write(self.dir.join(name), text).unwrap();
            set_mode(&self.dir.join(name), 0o600);
        }
    }
}

/// What it is, whether the record itself is trustworthy and its config alone is not,
/// and the change.
type Forgery = (&'static str, bool, fn(&Planted));

/// Each is what another user could have left where the state's directory, or the
/// state of a container, is open to it.
fn forgeries() -> Vec<Forgery> {
    fn own(path: &Path) {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    vec![
        ("the root is another user's", false, |p| own(&p.root)),
        ("others may write to the root", false, |p| set_mode(&p.root, 0o777)),
        ("others may write to the root, though sticky", false, |p| set_mode(&p.root, 0o1777)),
        ("a group may write to the root", false, |p| set_mode(&p.root, 0o770)),
        ("the directory is another user's", false, |p| own(&p.dir)),
        ("others may write to the directory", false, |p| set_mode(&p.dir, 0o707)),
        ("the directory is a link", false, |p| {
            std::fs::rename(&p.dir, p.root.join("elsewhere")).unwrap();
            symlink("elsewhere", &p.dir).unwrap();
        }),
        ("the record is another user's", false, |p| own(&p.dir.join("state.json"))),
        ("others may write to the record", false, |p| set_mode(&p.dir.join("state.json"), 0o602)),
        ("the record is a link", false, |p| {
            std::fs::rename(p.dir.join("state.json"), p.dir.join("other")).unwrap();
            symlink("other", p.dir.join("state.json")).unwrap();
        }),
        ("the config is another user's", true, |p| own(&p.dir.join("config.json"))),
        ("a group may write to the config", true, |p| set_mode(&p.dir.join("config.json"), 0o660)),
    ]
}

/// Under umask 0 anybody could put a directory there, and root ran its hooks.
#[test]
fn a_planted_record_is_not_believed() {
    let scratch = Scratch::new("planted");
    let firn = Runtime::firn(&scratch);
    let planted = Planted::new(&scratch, &firn);
    let id = firn.id();
    // As it was written it is believed: the forgeries differ in one thing each.
    planted.plant();
    assert_eq!(firn.call(&["state", id]).succeeds().stderr, "");
    firn.call(&["delete", id]).succeeds();
    assert_eq!(std::fs::read_to_string(&planted.traces).unwrap(), "ran\n");
    std::fs::remove_file(&planted.traces).unwrap();
    let list = scratch.write("mounts.json", "[{\"destination\": \"/tmp\"}]").to_string_lossy().into_owned();
    for (what, record_is_good, forge) in forgeries() {
        for line in [
            &["state", id][..],
            &["kill", id],
            &["kill", "--all", id, "KILL"],
            &["ps", id],
            &["start", id],
            &["exec", id, "true"],
            &["pause", id],
            &["resume", id],
            &["update", "--pids-limit", "100", id],
            &["events", "--stats", id],
            &["mounts", "remove", id, &list],
            &["checkpoint", id],
            &["list"],
            &["delete", id],
            &["delete", "--force", id],
            &["delete", "--force", "--regex", "."],
        ] {
            planted.plant();
            forge(&planted);
            let output = firn.call(line);
            assert!(!planted.traces.exists(), "{what}: {line:?} ran its hook: {output:?}");
            if !record_is_good {
                // A link is no directory, and so no container.
                let told = ["is not trusted", "too many levels of symbolic links", "does not exist"];
                let told = told.iter().any(|words| output.stderr.contains(words));
                assert!(told || matches!(line, ["list"] | ["delete", "--force", _]), "{what}: {line:?}: {output:?}");
                assert!(!output.stdout.contains(id), "{what}: {line:?} believes it: {output:?}");
            }
        }
    }
    planted.plant();
    firn.call(&["delete", id]).succeeds();
}

/// A directory that is not firn's does not keep the others from being deleted.
#[test]
fn deleting_all_goes_on_past_a_directory_of_somebody_elses() {
    let scratch = Scratch::new("strangers");
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch).shell("sleep 1000").write();
    firn.create(&bundle).succeeds();
    let (mine, others) = (firn.root().join("a-file"), firn.root().join("a-strangers"));
    std::fs::create_dir(&others).unwrap();
    std::fs::write(others.join("kept"), "").unwrap();
    std::fs::write(&mine, "").unwrap();
    chown(&others, Some(NOBODY), Some(NOBODY)).unwrap();
    let full = firn.root().join("a-full-one");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("kept"), "").unwrap();
    let output = firn.call(&["delete", "--force", "--regex", "."]).fails(1);
    for name in ["a-strangers", "a-full-one"] {
        assert!(output.stderr.contains(name), "{name}: {output:?}");
    }
    assert!(!firn.root().join(firn.id()).exists(), "it stopped on the way: {output:?}");
    assert!(others.join("kept").exists() && full.join("kept").exists() && mine.exists());
    std::fs::remove_dir_all(firn.root()).unwrap();
    firn.left_nothing();
}

/// Names that stand in a message can come from a record, an image or an argument
/// that a script passes on; a terminal obeys what stands between them.
#[test]
fn no_escape_sequence_reaches_the_terminal() {
    let scratch = Scratch::new("escapes");
    let harmful = "x\x1b]0;title\x07\u{9b}31m\x7f\ry";
    let annotation = json!({harmful: harmful});
    let bundle = Bundle::new(&scratch).args(&[harmful]).set("/annotations", annotation).write();
    let firn = Runtime::firn(&scratch);
    let root = firn.root().to_string_lossy().into_owned();
    let log = scratch.join("log").to_string_lossy().into_owned();
    let path = bundle.path.to_string_lossy().into_owned();
    let run = ["run", "--bundle", &path, firn.id()];
    let is_clean = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    for line in [
        &run[..],
        &[&["--log", &log], &run[..]].concat(),
        &[&["--log", &log, "--log-format", "json"], &run[..]].concat(),
        &["state", harmful],
        &["delete", "--regex", harmful, "("],
        &["run", "--bundle", harmful, firn.id()],
        &[harmful],
        &["run", harmful, harmful, harmful],
        &[&format!("--{harmful}")],
        &["kill", firn.id(), harmful],
    ] {
        let mut runtime = firn.command::<&str>(&[]);
        let output = command(runtime.args(line));
        assert!(output.code != 0 && is_clean(&output.stderr) && is_clean(&output.stdout), "{line:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{line:?} says nothing");
    }
    assert!(is_clean(&std::fs::read_to_string(&log).unwrap()), "in the log");
    let bundle = bundle.shell("sleep 1000").write();
    firn.create(&bundle).succeeds();
    let output = firn.call(&["state", firn.id()]).succeeds();
    assert!(is_clean(&output.stdout), "{output:?}");
    let state: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(state["annotations"][harmful], harmful, "what it means is kept");
    assert!(root.contains("state"));
}

/// The copy in memory from which an ordinary user's firn runs says that it is a
/// program, and where none may be run from memory that is told.
#[test]
fn an_ordinary_user_can_run_firn_whatever_vm_memfd_noexec_is() {
    if older_than("6.3") {
        skip("vm.memfd_noexec is there since Linux 6.3");
        return;
    }
    let scratch = Scratch::new("memfd");
    let firn = scratch.join("firn");
    std::fs::copy(firn_conformance::harness::binary("firn"), &firn).unwrap();
    set_mode(&firn, 0o755);
    let user = format!(
        "setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {} --root /nowhere exec nosuch true",
        firn.display()
    );
    let call = |level: u32, line: &str| {
        let script = format!("echo {level} > /proc/sys/vm/memfd_noexec && {line}");
        let mut unshare = Command::new(program("unshare", "util-linux"));
        command(unshare.args(["--pid", "--fork", "--mount-proc", "sh", "-c", &script]))
    };
    for level in [0, 1] {
        let output = call(level, &user).fails(255);
        assert!(output.stderr.contains("container does not exist"), "{level}: {output:?}");
    }
    let output = call(2, &user).fails(1);
    assert!(output.stderr.contains("vm.memfd_noexec is 2"), "{output:?}");
    // Who may mount needs no copy, and what hooks read and say is no program.
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "cat > /dev/null; echo out"]}]);
    let bundle = Bundle::new(&scratch).shell("echo ran").set("/hooks", json!({"createRuntime": hook})).write();
    let runtime = Runtime::firn(&scratch);
    let line = runtime.command(&["run", "--bundle", &bundle.path.to_string_lossy(), runtime.id()]);
    let words: Vec<_> = [line.get_program()].into_iter().chain(line.get_args()).map(|w| w.to_string_lossy()).collect();
    assert_eq!(call(2, &words.join(" ")).succeeds().stdout, "ran\n");
    runtime.left_nothing();
}
