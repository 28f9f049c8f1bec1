//! Keys of the caller's and of the container's, keyrings(7).

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, command};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

/// The session keyring (owner, permissions, name; number), and the test's key in it.
const LOOK: &str = "keyctl rdescribe @s; keyctl show @s | sed -n 2p; \
    key=$(keyctl search @s user firn-secret 2>/dev/null) && keyctl print $key || echo none";

/// With the host's keyctl, and what it needs, in the container.
fn bundle(scratch: &Scratch, script: &str) -> Bundle {
    program("keyctl", "keyutils");
    let bundle = Bundle::new(scratch)
        .shell(script)
        .set("/process/env", json!(["PATH=/bin:/usr/bin"]))
        .mount(json!({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}));
    for name in ["lib", "lib64"] {
        symlink(format!("usr/{name}"), bundle.root().join(name)).unwrap();
    }
    bundle
}

/// Runs `line` in a session keyring with a key of the caller's.
fn with_a_key(line: &Command) -> Output {
    let script = "keyctl add user firn-secret hush @s >/dev/null && exec \"$@\"";
    let mut session = Command::new("keyctl");
    session.args(["session", "-", "sh", "-c", script, "sh"]).arg(line.get_program()).args(line.get_args());
    command(&mut session)
}

#[test]
fn keys_of_the_caller_do_not_reach_the_container() {
    let scratch = Scratch::new("callerkeys");
    let firn = Runtime::firn(&scratch);
    let mut bundle = bundle(&scratch, LOOK).write();
    let path = bundle.path.to_str().unwrap().to_owned();
    let output = with_a_key(&firn.command(&["run", "--bundle", &path, firn.id()])).succeeds();
    assert!(output.stdout.ends_with("none\n"), "{output:?}");
    // The attack works where the caller's keyring is left.
    let output = with_a_key(&firn.command(&["run", "--no-new-keyring", "--bundle", &path, firn.id()])).succeeds();
    assert!(output.stdout.ends_with("hush\n"), "{output:?}");
    rustix::fs::chmod(scratch.path(), rustix::fs::Mode::from_raw_mode(0o755)).unwrap();
    bundle = bundle.shell("exec sleep 1000");
    for user_namespace in [false, true] {
        if user_namespace {
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 2000}]);
            bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
            bundle = bundle.set("/linux/namespaces/-", json!({"type": "user"}));
        }
        bundle = bundle.write();
        firn.create(&bundle).succeeds();
        firn.start().succeeds();
        let look = |user: &str| {
            let line = firn.command(&["exec", "--user", user, firn.id(), "sh", "-c", LOOK]);
            with_a_key(&line).succeeds().stdout
        };
        let first = look("0");
        assert!(first.ends_with("none\n") && look("1000").ends_with("none\n"), "{user_namespace}: {first}");
        // They share the container's keyring, in which are the container's keys.
        let add = ["exec", firn.id(), "keyctl", "add", "user", "firn-secret", "own", "@s"];
        firn.call(&add).succeeds();
        let (root, user) = (look("0"), look("1000"));
        assert!(root.ends_with("own\n") && user.ends_with("own\n"), "{user_namespace}: {root} {user}");
        // Nobody else may so much as see it.
        assert!(root.starts_with("keyring;0;0;3f080000;_ses."), "{user_namespace}: {root}");
        let mine = std::fs::read_to_string("/proc/keys").unwrap();
        assert!(!mine.contains(firn.id()), "{mine}");
        firn.call(&["delete", "--force", firn.id()]).succeeds();
    }
    // A container that has the caller's keyring shares it with its execs, as under runc.
    firn.create_with(&bundle, &["--no-new-keyring"]).succeeds();
    firn.start().succeeds();
    let line = firn.command(&["exec", firn.id(), "sh", "-c", LOOK]);
    assert!(with_a_key(&line).succeeds().stdout.ends_with("hush\n"));
}

/// Any user may make a keyring of the container's name beforehand, and open it to
/// all, to read the container's keys afterwards.
#[test]
fn a_keyring_that_somebody_made_beforehand_is_not_joined() {
    let scratch = Scratch::new("ses");
    let firn = Runtime::firn(&scratch);
    let bundle = bundle(&scratch, LOOK).write();
    let mut maker = Command::new("setpriv");
    maker.args(["--reuid", "12345", "--clear-groups", "keyctl", "session", &format!("_ses.{}", firn.id()), "sh", "-c"]);
    maker.arg("keyctl setperm @s 0x3f3f3f3f && echo made && read line");
    let mut maker = maker.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(maker.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "made"), "no keyring was made");
    let output = firn.run(&bundle).succeeds();
    drop(maker.stdin.take());
    maker.wait().unwrap();
    assert!(output.stdout.starts_with("keyring;0;0;3f080000;_ses."), "{output:?}");
}
