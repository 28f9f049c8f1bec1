//! firnctl called as `nixos-container`: its verbs, outputs, files and exit statuses.

use crate::host::Host;
use crate::machine::Machine;
use crate::native::build;
use firn_conformance::harness::{Output, command};
use std::io::Write;
use std::process::Stdio;

fn call(host: &Host, args: &[&str]) -> Output {
    let mut output = command(&mut host.link("nixos-container", args));
    // A Nix without build users says so each time.
    let lines = output.stderr.split_inclusive('\n').filter(|line| !line.starts_with("warning: the group 'nixbld'"));
    output.stderr = lines.collect();
    output
}

/// What it says of a new container.
#[track_caller]
fn create(host: &Host, args: &[&str]) -> Output {
    call(host, &[&["create"], args].concat()).succeeds()
}

fn conf(host: &Host, name: &str) -> String {
    std::fs::read_to_string(host.scratch.join("state/nixos-containers").join(format!("{name}.conf")))
        .unwrap_or_default()
}

/// Names have at most 11 characters.
fn short(number: u32) -> String {
    format!("n{}-{number}", std::process::id() % 1_000_000)
}

#[test]
fn containers_are_made_and_listed() {
    let machine = Machine::new("nixos-create");
    let host = &machine.host;
    let system = build("one", 0);
    let (a, b) = (short(1), short(2));
    let output = create(host, &[&a, "--system-path", &system]);
    assert_eq!((&*output.stdout, &*output.stderr), ("", "host IP is 10.233.1.1, container IP is 10.233.1.2\n"));
    let profile = host.scratch.join("state/profiles").join(&a).join("system");
    assert_eq!(
        conf(host, &a),
        format!(
            "PRIVATE_NETWORK=1\nHOST_ADDRESS=10.233.1.1\nLOCAL_ADDRESS=10.233.1.2\nHOST_BRIDGE=\nHOST_PORT=\n\
             AUTO_START=0\nSYSTEM_PATH={}\n",
            profile.display()
        )
    );
    assert_eq!(std::fs::canonicalize(profile).unwrap().to_str(), Some(&*system));
    assert_eq!(call(host, &["status", &a]).succeeds().stdout, "down\n", "it is not started");
    assert_eq!(
        call(host, &["create", &a, "--system-path", &system]).fails(1).stderr,
        format!("nixos-container: container ‘{a}’ already exists\n")
    );
    for number in 0..2 {
        let output = create(host, &[&a, "--system-path", &system, "--ensure-unique-name"]);
        assert_eq!(output.stdout, format!("{a}-{number}\n"));
    }
    create(
        host,
        &[
            &b,
            "--system-path",
            &system,
            "--host-address",
            "10.7.0.1",
            "--local-address",
            "10.7.0.2",
            "--port",
            "tcp:8080:80",
            "--auto-start",
        ],
    );
    assert!(conf(host, &b).contains("HOST_ADDRESS=10.7.0.1\n"), "{}", conf(host, &b));
    assert!(conf(host, &b).contains("HOST_PORT=tcp:8080:80\nAUTO_START=1\n"), "{}", conf(host, &b));
    assert_eq!(call(host, &["show-ip", &b]).succeeds().stdout, "10.7.0.2\n");
    for other in ["libpod", "containers", "registries"] {
        host.scratch.write(&format!("state/nixos-containers/{other}.conf"), "");
    }
    assert_eq!(call(host, &["list"]).succeeds().stdout, format!("{a}\n{a}-0\n{a}-1\n{b}\n"));
    for (args, why) in [
        (&["create", "abcdefghijkl", "--system-path", &system][..], "container name ‘abcdefghijkl’ is too long"),
        (&["create", "a.b"], "invalid container name"),
        (
            &["create", "x", "--config", "a", "--config-file", "b"],
            "--config and --config-file are mutually incompatible",
        ),
        (&["create", "x", "--host-address", "10.7.0.1"], "--local-address"),
        (&["create", "x", "--no-such"], "--no-such"),
        (&["frob", "x"], "unknown action ‘frob’"),
        (&["start"], "no container name specified"),
        (&[], "no action specified"),
        (&["start", "nobody"], "container ‘nobody’ does not exist"),
        (&["update", "nobody"], "container ‘nobody’ does not exist"),
        (&["show-host-key", &a], "has no host key"),
    ] {
        let error = call(host, args).fails(1).stderr;
        assert!(error.contains(why), "{args:?}: {error}");
    }
    let output = call(host, &["status", "nobody"]).fails(1);
    assert_eq!((&*output.stdout, output.stderr.contains("does not exist")), ("gone\n", true), "{output:?}");
    let output = call(host, &["destroy", "nobody"]).succeeds();
    assert_eq!((&*output.stdout, &*output.stderr), ("", ""));
    // What fails leaves nothing.
    let error = call(host, &["create", "x", "--system-path", "/nix/store/nothing"]).fails(1).stderr;
    assert!(error.contains("failed to build initial container configuration"), "{error}");
    assert_eq!((conf(host, "x"), host.scratch.join("state/profiles/x").exists()), (String::new(), false));
    assert!(!host.scratch.join("state/containers/x").exists());
    for name in [format!("{a}-0"), format!("{a}-1"), a, b] {
        call(host, &["destroy", &name]).succeeds();
        assert_eq!(
            (conf(host, &name), host.scratch.join("state/profiles").join(&name).exists()),
            (String::new(), false)
        );
    }
    machine.leaves_nothing();
}

#[test]
fn twenty_at_a_time_have_addresses_of_their_own() {
    let machine = Machine::new("nixos-many");
    let host = &machine.host;
    let system = build("one", 0);
    let name = short(0);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let mut create =
                host.link("nixos-container", &["create", &name, "--system-path", &system, "--ensure-unique-name"]);
            create.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut names = Vec::new();
    let mut addresses = Vec::new();
    for call in calls {
        let output = call.wait_with_output().unwrap();
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{stderr}");
        names.push(stdout.trim().to_owned());
        addresses.extend(stderr.lines().find(|line| line.starts_with("host IP")).map(String::from));
    }
    for list in [&mut names, &mut addresses] {
        list.sort();
        list.dedup();
        assert_eq!(list.len(), 20, "{list:?}");
    }
    machine.leaves_nothing();
}

#[test]
fn a_container_is_started_entered_updated_and_destroyed() {
    let machine = Machine::new("nixos-life");
    let host = &machine.host;
    let (one, two) = (build("one", 0), build("two", 0));
    let name = short(5);
    create(host, &[&name, "--system-path", &one]);
    // The test's system tells nobody that it is ready. Its file counts.
    let changed = conf(host, &name) + "EXTRA_NSPAWN_FLAGS=\"--notify-ready=no\"\n";
    host.scratch.write(&format!("state/nixos-containers/{name}.conf"), &changed);
    let output = call(host, &["start", &name]).succeeds();
    assert_eq!((&*output.stdout, &*output.stderr), ("", ""));
    call(host, &["start", &name]).succeeds();
    assert_eq!(call(host, &["status", &name]).succeeds().stdout, "up\n");
    for (script, code) in [("exit 0", 0), ("exit 1", 1), ("exit 77", 77), ("kill -TERM $$", 143)] {
        assert_eq!(call(host, &["run", &name, "--", "sh", "-c", script]).code, code, "{script}");
    }
    let odd = ["a b", "'\"", "$(x)", "new\nline", "", "-x"];
    let print = ["run", &name, "sh", "-c", r#"for i; do printf '[%s]' "$i"; done"#, "sh"];
    let output = call(host, &[&print[..], &odd[..]].concat()).succeeds();
    assert_eq!(output.stdout, odd.map(|word| format!("[{word}]")).concat());
    let mut shell = host.link("nixos-container", &["root-login", &name]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(b"echo $HOME; exit 4\n").unwrap();
    let output = shell.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(4), &b"/root\n"[..]));
    assert_eq!(call(host, &["show-ip", &name]).succeeds().stdout, "10.233.1.2\n");
    // Live.
    let output = call(host, &["update", &name, "--system-path", &two]).succeeds();
    assert_eq!((&*output.stdout, &*output.stderr), ("", "reloading container...\n"));
    assert_eq!(call(host, &["run", &name, "cat", "/switched"]).succeeds().stdout, "test two\n");
    call(host, &["run", &name, "sh", "-c", "mkdir -p /etc/ssh; echo a key > /etc/ssh/ssh_host_ecdsa_key.pub"])
        .succeeds();
    assert_eq!(call(host, &["show-host-key", &name]).succeeds().stdout, "a key\n");
    call(host, &["restart", &name]).succeeds();
    assert_eq!(call(host, &["status", &name]).succeeds().stdout, "up\n");
    for verb in ["stop", "terminate"] {
        let output = call(host, &[verb, &name]).succeeds();
        assert_eq!((&*output.stdout, &*output.stderr), ("", ""), "{verb}");
        assert_eq!(call(host, &["status", &name]).succeeds().stdout, "down\n");
        call(host, &["start", &name]).succeeds();
    }
    let output = call(host, &["destroy", &name]).succeeds();
    assert_eq!((&*output.stdout, &*output.stderr), ("", ""));
    assert_eq!((call(host, &["list"]).succeeds().stdout, conf(host, &name)), (String::new(), String::new()));
    machine.leaves_nothing();
}

#[test]
fn containers_of_firnctl_are_known_too() {
    let host = Host::new("nixos-others");
    let name = host.name("a");
    host.project(serde_json::json!({"a": {}}));
    host.up();
    assert_eq!(call(&host, &["list"]).succeeds().stdout, format!("{name}\n"));
    // A file of that name is another's.
    host.scratch.directory("state/nixos-containers");
    host.scratch.write(&format!("state/nixos-containers/{name}.conf"), "AUTO_START=1\n");
    assert_eq!(call(&host, &["status", &name]).succeeds().stdout, "up\n");
    assert_eq!(call(&host, &["run", &name, "echo", "inside"]).succeeds().stdout, "inside\n");
    assert_eq!(host.plan(), "a: unchanged\n");
    std::fs::remove_file(host.scratch.join("state/nixos-containers").join(format!("{name}.conf"))).unwrap();
    let error = call(&host, &["update", &name]).fails(1).stderr;
    assert!(error.contains("`firnctl update` changes it"), "{error}");
    assert!(call(&host, &["show-ip", &name]).fails(1).stderr.contains("cannot get IP address"));
    call(&host, &["destroy", &name]).succeeds();
    assert_eq!(call(&host, &["status", &name]).fails(1).stdout, "gone\n");
    host.leaves_nothing();
}
