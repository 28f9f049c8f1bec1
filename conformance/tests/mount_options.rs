//! Options of mounts: as one string or many, of any length, those of crun's that
//! engines pass, and those that nobody knows.

use firn_conformance::harness::bundle::image_bundle;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Bundle, Output, Runtime, Scratch, busybox_root};
use serde_json::{Value, json};
use std::os::unix::fs::{chown, symlink};

fn with_mounts(bundle: &Bundle, mounts: Vec<Value>) -> Bundle {
    let bundle = Bundle { path: bundle.path.clone(), config: bundle.config.clone() };
    mounts.into_iter().fold(bundle, Bundle::mount)
}

/// runc and crun hand mount(2) the list joined by commas.
#[test]
fn options_may_stand_in_one_string() {
    let scratch = Scratch::new("onestring");
    let bundle = Bundle::new(&scratch)
        .mount(json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["mode=700,size=1m"]}))
        .set("/root/readonly", json!(false))
        .shell("stat -c %a /t; grep -o ' /t .*size=1024k' /proc/mounts | wc -l")
        .write();
    // Debian's runc prefers the mode of a directory that is there.
    for runtime in [Runtime::new(program("runc", "runc"), &scratch), Runtime::firn(&scratch)] {
        assert_eq!(runtime.run(&bundle).succeeds().stdout, "700\n1\n", "{runtime:?}");
    }
}

/// Whatever goes to a file system may be longer than the 255 bytes that fsconfig(2)
/// takes: mount(2) takes a page of it.
#[test]
fn options_longer_than_fsconfig_takes_reach_the_file_system() {
    let scratch = Scratch::new("longoption");
    let long = format!("{}/{}", "l".repeat(130), "m".repeat(130));
    let low = scratch.directory(&long);
    std::fs::write(low.join("file"), "low\n").unwrap();
    let (upper, work) = (scratch.directory("upper"), scratch.directory("work"));
    let options = json!([
        format!("lowerdir={}", low.display()),
        format!("upperdir={}", upper.display()),
        format!("workdir={}", work.display()),
        "nosuid",
        "ro",
    ]);
    let bundle = Bundle::new(&scratch)
        .mount(json!({"destination": "/o", "type": "overlay", "source": "overlay", "options": options}))
        .set("/root/readonly", json!(false))
        .shell("cat /o/file; touch /o/x 2>/dev/null || echo read-only; grep -c ' /o .*nosuid' /proc/mounts")
        .write();
    let firn = Runtime::firn(&scratch);
    assert_eq!(firn.run(&bundle).succeeds().stdout, "low\nread-only\n1\n");
    // In a running container, and in a user namespace.
    let maps = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    let bundle = bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    let bundle = bundle.set("/linux/namespaces/-", json!({"type": "user"})).shell("exec sleep 1000").write();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    assert_eq!(firn.exec(&["cat", "/o/file"]).succeeds().stdout, "low\n");
    let source = "s".repeat(300);
    let list = json!([{"destination": "/t", "type": "tmpfs", "source": source, "options": ["size=1m", "nodev"]}]);
    let list = scratch.write("list.json", &list.to_string()).to_string_lossy().into_owned();
    firn.call(&["mounts", "add", firn.id(), &list]).succeeds();
    let mounts = firn.exec(&["cat", "/proc/mounts"]).succeeds().stdout;
    let line = mounts.lines().find(|line| line.contains(" /t tmpfs ")).unwrap_or_else(|| panic!("{mounts}"));
    assert!(line.starts_with(&source) && line.contains("nodev") && line.contains("size=1024k"), "{line}");
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    firn.left_nothing();
    // More than a page is told, and not cut.
    let many: Vec<String> =
        (0..30).map(|number| scratch.directory(&format!("{long}{number}")).display().to_string()).collect();
    let mount = json!({"destination": "/p", "type": "overlay", "source": "overlay", "options": [format!("lowerdir={}", many.join(":"))]});
    let error = firn.run(&Bundle::new_of(&bundle).mount(mount).write()).fails(1).stderr;
    assert!(error.contains("takes 4095 bytes of options"), "{error}");
}

/// The same for the layers of a firn.json, whose names may have what overlay takes
/// for an escape.
#[test]
fn layers_may_have_names_of_any_length() {
    let scratch = Scratch::new("longlayer");
    let base = scratch.directory(&format!("{}/{}/base", "l".repeat(200), "m".repeat(200)));
    busybox_root(&base);
    let top = scratch.directory("back\\slash,comma:colon");
    std::fs::create_dir(top.join("etc")).unwrap();
    std::fs::write(top.join("etc/top"), "top\n").unwrap();
    let upper = scratch.directory(&format!("{}/{}", "u".repeat(250), "v".repeat(100)));
    let firn = Runtime::firn(&scratch);
    let (base, top, upper) = (base.display().to_string(), top.display().to_string(), upper.display().to_string());
    // More than a page of them, which is what mount(2) takes.
    let more: Vec<String> = (0..10)
        .map(|number| {
            scratch.directory(&format!("{}/{number}{}", "n".repeat(200), "o".repeat(240))).display().to_string()
        })
        .collect();
    let mut words = vec!["--layer", base.as_str()];
    words.extend(more.iter().flat_map(|layer| ["--layer", layer.as_str()]));
    words.extend(["--layer", &top, "--upper", &upper, "--", "sh", "-c", "cat /etc/top; ls /bin/busybox"]);
    let path = image_bundle(&scratch, &words);
    let output = firn.call(&["run", "--bundle", &path.to_string_lossy(), firn.id()]).succeeds();
    assert_eq!(output.stdout, "top\n/bin/busybox\n");
    firn.left_nothing();
}

#[test]
fn an_option_that_no_bind_has_is_an_error() {
    let scratch = Scratch::new("unknown");
    let source = scratch.directory("source");
    let bundle = Bundle::new(&scratch).shell("true");
    let firn = Runtime::firn(&scratch);
    for option in ["mode=700", "no-such-option", "uid=5", "idmap=uids=0-0-1"] {
        let mount = json!({"destination": "/s", "type": "bind", "source": source, "options": ["rbind", option]});
        let error = firn.run(&with_mounts(&bundle, vec![mount]).write()).fails(1).stderr;
        assert!(error.contains(option) && error.contains("/s"), "{error}");
    }
    let features = firn.call(&["features"]).succeeds().stdout;
    let features: Value = serde_json::from_str(&features).unwrap();
    for known in ["copy-symlink", "dest-nofollow", "idmap", "ridmap", "src-nofollow"] {
        assert!(features["mountOptions"].as_array().unwrap().contains(&json!(known)), "{known}");
    }
}

/// podman's `no-dereference` is `copy-symlink`; with crun they do what is said here.
#[test]
fn cruns_options_for_links_are_honoured() {
    let scratch = Scratch::new("crunlinks");
    let source = scratch.directory("source");
    std::fs::write(source.join("file"), "of the host\n").unwrap();
    symlink("file", source.join("link")).unwrap();
    symlink("nowhere", source.join("dangling")).unwrap();
    let bundle = Bundle::new(&scratch).set("/root/readonly", json!(false));
    let root = bundle.root();
    std::fs::write(root.join("etc/file"), "of the image\n").unwrap();
    symlink("file", root.join("etc/same")).unwrap();
    symlink("other", root.join("etc/other")).unwrap();
    let firn = Runtime::firn(&scratch);
    let run = |script: &str, mounts: &[(&str, &str, &str)]| -> Output {
        let mount = |(name, target, options): &(&str, &str, &str)| {
            let source = source.join(name);
            json!({"destination": target, "type": "bind", "source": source, "options": options.split(',').collect::<Vec<_>>()})
        };
        firn.run(&with_mounts(&bundle, mounts.iter().map(mount).collect()).shell(script).write())
    };
    let script = "readlink /etc/link; cat /etc/link; readlink /etc/dangling; cat /etc/plain";
    let mounts = [
        ("link", "/etc/link", "bind,copy-symlink"),
        ("dangling", "/etc/dangling", "rbind,copy-symlink"),
        ("link", "/etc/same", "bind,copy-symlink"),
        ("file", "/etc/plain", "bind,copy-symlink"),
    ];
    // Again, where they are from the time before.
    for _ in 0..2 {
        assert_eq!(run(script, &mounts).succeeds().stdout, "file\nof the image\nnowhere\nof the host\n");
    }
    let error = run("true", &[("link", "/etc/other", "bind,copy-symlink")]).fails(1).stderr;
    assert!(error.contains("create the symbolic link /etc/other: something else is there already"), "{error}");
    // The link itself is bound: it is followed where it is.
    let output = run("cat /etc/bound", &[("link", "/etc/bound", "bind,src-nofollow")]).succeeds();
    assert_eq!(output.stdout, "of the image\n");
    // The target itself is covered, and what it leads to is not.
    let output = run("cat /etc/file /etc/same", &[("file", "/etc/same", "bind,dest-nofollow")]).succeeds();
    assert_eq!(output.stdout, "of the image\nof the host\n");
    let error = run("true", &[("file", "/etc/missing", "bind,dest-nofollow")]).fails(1).stderr;
    assert!(error.contains("dest-nofollow wants to be there"), "{error}");
    let error = run("true", &[("link", "/etc/link", "bind,copy-symlink,dest-nofollow")]).fails(1).stderr;
    assert!(error.contains("excludes"), "{error}");
    firn.left_nothing();
}

/// crun(1): `idmap=uids=…;gids=…`, and `@` for ids of the container's.
#[test]
fn an_id_mapping_may_stand_in_an_option() {
    let scratch = Scratch::new("idmapoption");
    let source = scratch.directory("source");
    std::fs::write(source.join("file"), "").unwrap();
    chown(source.join("file"), Some(1000), Some(1000)).unwrap();
    let bundle = Bundle::new(&scratch).shell("stat -c %u:%g /s/file").set("/root/readonly", json!(false));
    let firn = Runtime::firn(&scratch);
    let run = |bundle: &Bundle, option: &str| {
        let mount = json!({"destination": "/s", "type": "bind", "source": source, "options": ["rbind", option]});
        firn.run(&with_mounts(bundle, vec![mount]).write()).succeeds().stdout
    };
    assert_eq!(run(&bundle, "idmap=uids=1000-3000-1;gids=1000-4000-1"), "3000:4000\n");
    assert_eq!(run(&bundle, "ridmap=uids=0-0-1#1000-3000-1;gids=1000-4000-1"), "3000:4000\n");
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    let bundle = bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    assert_eq!(run(&bundle, "idmap=uids=@1000-7-1;gids=@1000-8-1"), "7:8\n");
    firn.left_nothing();
}

/// The container's terminals come from its own devpts: a node for them in the config
/// is passed over, as under runc and crun.
#[test]
fn a_ptmx_among_the_devices_is_passed_over() {
    let scratch = Scratch::new("ptmxnode");
    let ptmx = json!([{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2, "fileMode": 438}]);
    let mut bundle = Bundle::new(&scratch).shell("readlink /dev/ptmx").set("/linux/devices", ptmx).write();
    for _ in 0..2 {
        for runtime in [Runtime::firn(&scratch), Runtime::new(program("runc", "runc"), &scratch)] {
            assert_eq!(runtime.run(&bundle).succeeds().stdout, "pts/ptmx\n", "{runtime:?}");
        }
        let maps = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        bundle = bundle.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
        bundle = bundle.set("/linux/namespaces/-", json!({"type": "user"})).write();
    }
}

/// A label that can't be set would leave the container unconfined.
#[test]
fn a_label_without_its_module_is_an_error() {
    let scratch = Scratch::new("label");
    let label = json!("system_u:system_r:container_t:s0:c1,c2");
    let bundle = Bundle::new(&scratch).shell("true");
    for pointer in ["/linux/mountLabel", "/process/selinuxLabel"] {
        let bundle = Bundle::new_of(&bundle).set(pointer, label.clone()).write();
        let error = Runtime::firn(&scratch).run(&bundle).fails(1).stderr;
        assert!(error.contains("SELinux is disabled or not supported on this host"), "{error}");
        Runtime::new(program("runc", "runc"), &scratch).run(&bundle).fails(1);
    }
}

/// Many masks take no longer for each than few: processor time, as the machine may be
/// busy with other things.
#[test]
fn many_masked_paths_take_no_longer_for_each_than_few() {
    let scratch = Scratch::new("manymasks");
    let bundle = Bundle::new(&scratch).shell("true");
    let time = |count: usize| {
        let masks: Vec<String> = (0..count).map(|number| format!("/nowhere/{number}")).collect();
        let bundle = Bundle::new_of(&bundle).set("/linux/maskedPaths", json!(masks)).write();
        let firn = Runtime::firn(&scratch);
        let call = firn.command(&["run", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "\"$@\"; times", "sh"]).arg(call.get_program()).args(call.get_args());
        let output = firn_conformance::harness::command(&mut shell).succeeds();
        // Of the children, user and system: 0m1.234000s 0m0.100000s
        let line = output.stdout.lines().last().expect("times prints two lines").to_owned();
        let seconds = |text: &str| -> f64 {
            let (minutes, seconds) = text.trim_end_matches('s').split_once('m').expect("minutes");
            minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
        };
        line.split_whitespace().map(seconds).sum::<f64>()
    };
    let (few, many) = (time(10_000), time(80_000));
    assert!(many < 3.0 * 8.0 * few.max(0.05), "{few} s, and eight times as many {many} s");
}

/// What a command line or a bundle names may be a pipe, and never a device.
#[test]
fn a_file_that_is_named_has_an_end() {
    let scratch = Scratch::new("endless");
    let firn = Runtime::firn(&scratch);
    let bundle = Bundle::new(&scratch).shell("exec sleep 1000").write();
    firn.create(&bundle).succeeds();
    firn.start().succeeds();
    for (words, stdin) in [
        (vec!["exec", "--process", "/dev/zero", firn.id()], "/dev/null"),
        (vec!["update", "--resources", "/dev/zero", firn.id()], "/dev/null"),
        (vec!["update", "--resources", "-", firn.id()], "/dev/zero"),
        (vec!["mounts", "add", firn.id(), "/dev/zero"], "/dev/null"),
    ] {
        let mut call = firn.command(&words);
        let output = call.stdin(std::fs::File::open(stdin).unwrap()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let told = error.contains("neither a regular file nor a pipe") || error.contains("are longer than");
        assert!(!output.status.success() && told, "{words:?}: {error}");
    }
    std::fs::remove_file(bundle.path.join("config.json")).unwrap();
    symlink("/dev/zero", bundle.path.join("config.json")).unwrap();
    let other = Runtime::firn(&Scratch::new("endlessconfig"));
    let error = other.run(&bundle).fails(1).stderr;
    assert!(error.contains("neither a regular file nor a pipe"), "{error}");
}
