//! `firn-image bundle` with a real closure, and bundles run by a real runtime.

use crate::common::{IMAGE, Temp, closure, init, mode, needs, text};
use serde_json::json;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

#[test]
fn a_closure_is_listed_and_boots_its_init() {
    needs("nix-store", "nix-bin");
    let temp = Temp::new("closure");
    let system = closure(&[]);
    symlink(&system, temp.path("result")).expect("link");
    temp.made(&["--closure", "./result", "-o", "web"]);

    let list = std::fs::read_to_string(temp.path("web/closure")).expect("closure");
    let paths: Vec<_> = list.lines().collect();
    assert!(paths.contains(&&*system), "{paths:?}");
    assert_eq!(paths.len(), 3, "{paths:?}");
    assert!(paths.is_sorted(), "{paths:?}");
    assert_eq!(
        temp.json("web/firn.json"),
        json!({
            "root": {
                "layers": [temp.path("web/skeleton")],
                "upper": "tmpfs",
                "closure": temp.path("web/closure"),
                "closureImage": temp.path("web/closure.erofs"),
            },
            "init": { "restartExitCode": 133, "notify": false },
        })
    );
    let config = temp.json("web/config.json");
    assert_eq!(config["process"]["args"], json!([format!("{system}/init")]));
    let skeleton = temp.path("web/skeleton");
    for (dir, wanted) in [("etc", 0o755), ("var/lib", 0o755), ("var/lib/private", 0o700), ("root", 0o700)] {
        assert_eq!(mode(&skeleton.join(dir)), wanted, "{dir}");
    }
    assert_eq!(std::fs::read(skeleton.join("etc/machine-id")).expect("read"), b"");
}

#[test]
fn the_closure_is_kept_while_the_bundle_exists() {
    needs("nix-store", "nix-bin");
    let temp = Temp::new("gcroot");
    // a path of its own, that no other test roots
    let system = closure(&["--argstr", "script", "#!/bin/sh\n# kept\n"]);
    let link = temp.path("web/gcroot");
    for force in [&[][..], &["--force"]] {
        temp.made(&[&["--closure", &system, "-o", "web"], force].concat());
        assert_eq!(std::fs::read_link(&link).expect("a link"), Path::new(&system));
        assert!(is_rooted(&system, &link));
    }
    std::fs::remove_dir_all(temp.path("web")).expect("remove bundle");
    assert!(!is_rooted(&system, &link));
}

/// Whether the garbage collector keeps a path because of a link. Others may be
/// keeping it for reasons of their own.
fn is_rooted(path: &str, link: &Path) -> bool {
    let output = Command::new("nix-store").args(["-q", "--roots", path]).output().expect("run");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let root = format!("{} -> {path}", link.display());
    text(&output.stdout).lines().any(|line| line == root)
}

#[test]
fn a_list_of_store_paths_stands_for_nix() {
    let temp = Temp::new("list");
    let path = |letter: &str| format!("/nix/store/{}-x", letter.repeat(32));
    for letter in ["a", "b"] {
        std::fs::create_dir_all(temp.path(&format!("root{}/bin", path(letter)))).expect("make a store path");
    }
    std::fs::write(temp.path("list"), format!("{}\n{}\n\n", path("b"), path("a"))).expect("write");
    let store = temp.path("root/nix/store");
    let (store, system) = (store.to_string_lossy(), path("a"));
    let init = init();
    let words = |list| {
        ["--closure", &system, "--store", &store, "--store-paths", list, "-o", "web", "--init", &init, "--", "x"]
    };
    temp.made(&words("list"));
    let listed = std::fs::read_to_string(temp.path("web/closure")).expect("closure");
    assert_eq!(listed, format!("{}\n{}\n", path("a"), path("b")));
    assert!(!temp.path("web/gcroot").exists(), "nobody collects in a store without a database");

    for (list, reason) in [
        (path("b"), "does not list /nix/store/aaa"),
        (format!("{}\n{}\n", path("a"), path("c")), ":2: /nix/store/ccc"),
        (format!("{}\n/etc\n", path("a")), ":2: /etc is not in the store"),
    ] {
        std::fs::write(temp.path("bad"), list).expect("write");
        let _ = std::fs::remove_dir_all(temp.path("web"));
        let refused = temp.refused(&words("bad"));
        assert!(refused.contains(reason), "{refused}");
    }
}

/// A store below `temp` with the paths `aaa…-x` and `bbb…-x`, which have a `bin/NAME` each.
fn small_store(temp: &Temp) -> (String, [String; 2]) {
    let paths = ["a", "b"].map(|letter| format!("/nix/store/{}-x", letter.repeat(32)));
    for (path, name) in paths.iter().zip(["x", "y"]) {
        temp.file(&format!("root{path}/bin/{name}"), "#!/bin/sh\n", 0o755);
    }
    std::fs::write(temp.path("list"), paths.join("\n")).expect("write");
    (temp.path("root/nix/store").to_string_lossy().into(), paths)
}

#[test]
fn several_closures_are_seen_together() {
    let temp = Temp::new("several");
    let (store, [first, second]) = small_store(&temp);
    let init = init();
    let closures = ["--closure", &second, "--closure", &first, "--store", &store, "--store-paths", "list"];
    temp.made(&[&closures[..], &["-o", "web", "--init", &init, "--", "x"]].concat());
    let env = temp.json("web/config.json")["process"]["env"].clone();
    let path = format!("PATH={second}/bin:{first}/bin:");
    assert!(env[0].as_str().expect("text").starts_with(&path), "{env}");

    // The init that is booted is the first one's.
    temp.file(&format!("root{first}/init"), "#!/bin/sh\n", 0o755);
    let refused = temp.refused(&[&closures[..], &["-o", "boot"]].concat());
    assert!(refused.contains(&format!("{second}/init is missing")), "{refused}");

    std::fs::write(temp.path("list"), &second).expect("write");
    let refused = temp.refused(&[&closures[..], &["-o", "other", "--init", &init, "--", "x"]].concat());
    assert!(refused.contains(&format!("list does not list {first} itself")), "{refused}");
}

#[test]
fn the_image_of_a_closure_is_made_once() {
    let temp = Temp::new("image-cache");
    let (store, [system, other]) = small_store(&temp);
    let init = init();
    let image = |bundle: &str| {
        let mut command = Command::new(IMAGE);
        command.args(["bundle", "--closure", &system, "--store", &store, "--store-paths", "list", "-o", bundle]);
        command.args(["--init", &init, "--", "x"]).current_dir(&temp.0).env("XDG_CACHE_HOME", temp.path("cache"));
        let output = command.output().expect("run firn-image");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let file = temp.path(bundle).join("closure.erofs");
        (std::fs::metadata(&file).expect("stat").ino(), std::fs::read(&file).expect("read"))
    };
    let first = image("web");
    assert!(image("web2") == first, "another image");
    // A path that was collected and built anew may have other files.
    std::fs::remove_dir_all(temp.path(&format!("root{other}"))).expect("remove");
    temp.file(&format!("root{other}/bin/much-longer"), "", 0o755);
    let third = image("web3");
    assert!(third.0 != first.0 && third.1 != first.1, "an old image");
    assert_eq!(mode(&temp.path("cache/firn/closures-1")), 0o700);

    // What no bundle has is removed once it is old.
    std::fs::remove_dir_all(temp.path("web3")).expect("remove");
    let kept = |count| {
        let files = std::fs::read_dir(temp.path("cache/firn/closures-1")).expect("list");
        let files: Vec<_> = files.map(|entry| entry.expect("entry").path()).collect();
        assert_eq!(files.len(), count, "{files:?}");
        files
    };
    for file in kept(2) {
        let file = std::fs::File::options().write(true).open(file).expect("open");
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(40 * 24 * 3600);
        file.set_modified(old).expect("set time");
    }
    temp.file(&format!("root{other}/bin/z"), "", 0o755);
    std::fs::remove_dir_all(temp.path(&format!("root{system}"))).expect("remove");
    temp.file(&format!("root{system}/bin/x"), "#!/bin/sh\n", 0o755);
    image("web4");
    // Two bundles have the first one.
    kept(2);
}

#[test]
fn what_is_no_closure_is_refused() {
    let temp = Temp::new("no-closure");
    let empty = Temp::new("empty-path");
    let absent = "/nix/store/00000000000000000000000000000000-absent";
    symlink("/etc", temp.path("etc")).expect("link");
    let refused = |path: &str| temp.refused(&["--closure", path, "-o", "web"]);
    assert!(refused("/etc").contains("is not in the store /nix/store"));
    assert!(refused("etc").contains("is not in the store /nix/store"));
    assert!(refused("/nix/store").contains("is not in the store"));
    assert!(refused("/nix/store/x").contains("is no store path"));
    assert!(refused("absent").contains("No such file or directory"));

    let without_nix = Command::new(IMAGE)
        .args(["bundle", "--closure", absent, "-o", "web"])
        .current_dir(&temp.0)
        .env("PATH", &empty.0)
        .output()
        .expect("run firn-image");
    assert!(text(&without_nix.stderr).contains("nix-store is not installed: install Nix"));
    needs("nix-store", "nix-bin");
    let message = refused(absent);
    assert!(message.contains("query the closure of"), "{message}");
    assert!(message.contains("is not valid"), "{message}");
}

#[test]
fn a_closure_without_init_needs_a_command() {
    needs("nix-store", "nix-bin");
    let temp = Temp::new("no-init");
    let system = closure(&[]);
    let tools = std::fs::read_link(format!("{system}/sw")).expect("a link");
    let tools = tools.to_str().expect("utf-8");
    let message = temp.refused(&["--closure", tools, "-o", "tools"]);
    assert!(message.contains("/init is missing: give a command after --"), "{message}");
    temp.made(&["--closure", tools, "-o", "tools", "--", "sh"]);
    let env = &temp.json("tools/config.json")["process"]["env"];
    let path = env[0].as_str().expect("text");
    assert!(path.starts_with(&format!("PATH={tools}/bin:")), "{path}");
}

#[test]
fn a_failed_root_takes_the_bundle_with_it() {
    let temp = Temp::new("failed-root");
    // Answers queries, and fails to protect what it was asked about.
    let path = "/nix/store/00000000000000000000000000000000-p";
    std::fs::create_dir_all(temp.path(&format!("host{path}"))).expect("make a store path");
    for (tries, name) in [(0, "first"), (1, "second")] {
        let count = temp.path(name);
        temp.file(
            "bin/nix-store",
            &format!(
                "#!/bin/sh\ncase $1 in --query) echo {path}; exit;; esac\n\
                 echo x >>{0}\n[ $(wc -l <{0}) -le {tries} ] && exit\n\
                 echo 'error: no roots today' >&2; exit 1\n",
                count.display()
            ),
            0o755,
        );
        let output = Command::new(IMAGE)
            .args(["bundle", "--closure", path, "--store", "host/nix/store", "-o", "web", "--", "true"])
            .current_dir(&temp.0)
            .env("PATH", format!("{}:/usr/bin:/bin", temp.path("bin").display()))
            .output()
            .expect("run firn-image");
        assert!(!output.status.success());
        let message = text(&output.stderr);
        assert!(message.contains("no roots today"), "{message}");
        assert!(!temp.path("web").exists());
        std::fs::remove_file(count).expect("the script ran");
        assert_eq!(temp.names(), ["bin", "host"]);
    }
}

/// Another runtime sees an empty rootfs in the bundle; filled, it runs it. So
/// config.json is one for any runtime, and firn-init works in a real container.
#[test]
fn another_runtime_takes_the_configuration() {
    needs("runc", "runc");
    needs("busybox", "busybox-static");
    let temp = Temp::new("runc");
    std::fs::create_dir_all(temp.path("root/bin")).expect("make layer");
    std::fs::copy("/bin/busybox", temp.path("root/bin/sh")).expect("copy busybox");
    let script = "echo $$ $container $(cat /run/host/container-manager) $(hostname); exit 133";
    temp.made(&["--layer", "root", "-o", "web", "--user", "7", "--", "sh", "-c", script]);
    for tool in ["bin/sh", "bin/cat", "bin/hostname"] {
        let target = temp.path("web/rootfs").join(tool);
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("make directory");
        std::fs::copy("/bin/busybox", target).expect("copy busybox");
    }
    // A group of its own below the machine's, under a name that is nobody else's.
    let id = format!("firn-image-test-{}", std::process::id());
    let mut config = temp.json("web/config.json");
    config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
    std::fs::write(temp.path("web/config.json"), config.to_string()).expect("write config");
    let output = Command::new("runc")
        .arg("--root")
        .arg(temp.path("state"))
        .args(["run", "--bundle"])
        .arg(temp.path("web"))
        .arg(&id)
        .output()
        .expect("run runc");
    assert_eq!(output.status.code(), Some(133), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let pid = said.split(' ').next().expect("a pid");
    assert_ne!(pid, "1", "{said}");
    assert_eq!(said, format!("{pid} firn firn web\n"));
}

#[test]
fn layers_in_the_store_are_kept_too() {
    needs("nix-store", "nix-bin");
    let temp = Temp::new("layer-root");
    let system = closure(&["--argstr", "script", "#!/bin/sh\n# a layer\n"]);
    temp.layer("own");
    temp.made(&["--layer", "own", "--layer", &system, "-o", "web"]);
    let link = temp.path("web/gcroot-layer-0");
    assert!(is_rooted(&system, &link));
}

#[test]
fn a_store_may_lie_elsewhere() {
    needs("nix-store", "nix-bin");
    let temp = Temp::new("store");
    let system = closure(&[]);
    let copied = Command::new("sh")
        .args(["-c", "nix-store --export $(nix-store -qR $0) | nix-store --store \"$PWD/alt\" --import"])
        .arg(&system)
        .current_dir(&temp.0)
        .output()
        .expect("run sh");
    assert!(copied.status.success(), "{}", text(&copied.stderr));
    let store = temp.path("alt/nix/store");
    let given = temp.path("alt").join(&system[1..]).join("init");
    let [given, dir] = [&given, &store].map(|path| path.to_str().expect("utf-8"));
    temp.made(&["--closure", given, "--store", dir, "-o", "web"]);
    assert_eq!(temp.json("web/firn.json")["root"]["store"], dir);
    // inside, the store is where the packages expect it
    let config = temp.json("web/config.json");
    assert_eq!(config["process"]["args"], json!([format!("{system}/init")]));
    let list = std::fs::read_to_string(temp.path("web/closure")).expect("closure");
    assert!(list.lines().all(|line| line.starts_with("/nix/store/")), "{list}");
}
