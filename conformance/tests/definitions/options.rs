//! What a definition's options make of a container.

use crate::host::Host;
use serde_json::json;

#[test]
fn options_have_their_effect() {
    let host = Host::new("ctl-options");
    let scratch = &host.scratch;
    for directory in ["data", "odd : name", "ro"] {
        scratch.directory(directory);
    }
    scratch.write("data/file", "of the host\n");
    scratch.write("secret", "s3cret");
    host.project(json!({"a": {
        "hostname": "other",
        "environment": {"A": "x y", "EMPTY": ""},
        "volumes": ["./data:/data"],
        "volumes-ro": ["./ro:/ro"],
        "bindMounts": {
            "/odd : place": {"hostPath": "./odd : name", "isReadOnly": false},
            "/etc/one-file": {"hostPath": "./data/file"},
            "/made": {"hostPath": "./is/made", "create": true, "isReadOnly": false},
        },
        "tmpfs": ["/var/log:size=64k,mode=0700", "/var"],
        "enableTun": true,
        "allowedDevices": [{"node": "/dev/kmsg", "modifier": "r"}, {"node": "/dev/none", "modifier": "r", "optional": true}],
        "additionalCapabilities": ["CAP_SYS_TIME", "sys_nice", "CAP_SYSLOG"],
        "credentials": {"key": "./secret"},
        "memory": "64M", "pids": 50, "cpus": 0.5,
        "copyResolvConf": false,
        "ociConfig": {"domainname": "patched", "process": {"oomScoreAdj": 500}},
    }, "b": {}}));
    host.up();
    let sh = |script: &str| host.exec("a", &["sh", "-c", script]);
    assert_eq!(sh("hostname; cat /proc/sys/kernel/domainname; cat /proc/1/oom_score_adj"), "other\npatched\n500\n");
    host.expect_log("a", "up A=x y\n");
    assert_eq!(sh("cat /data/file /etc/one-file"), "of the host\nof the host\n");
    assert_eq!(sh("touch /ro/x /etc/one-file /data/w '/odd : place/x' /made/x; echo $?"), "1\n");
    assert!(
        scratch.join("data/w").exists() && scratch.join("odd : name/x").exists() && scratch.join("is/made/x").exists()
    );
    assert!(!scratch.join("ro/x").exists());
    assert_eq!(sh("stat -c %a /var /var/log; grep -c '/var/log tmpfs.*size=64k' /proc/mounts"), "755\n700\n1\n");
    assert_eq!(
        sh("stat -c '%t:%T %a' /dev/net/tun; dd if=/dev/kmsg bs=8k count=1 2>/dev/null | wc -l"),
        "a:c8 666\n1\n"
    );
    assert_eq!(sh("cat $CREDENTIALS_DIRECTORY/key; stat -c %a /run/host/credentials/key"), "s3cret400\n");
    // CAP_SYS_TIME is 25, CAP_SYS_NICE 23 and CAP_NET_ADMIN 12, which enableTun gives (capabilities(7)).
    let masks = sh("grep CapBnd /proc/1/status");
    let mask = u64::from_str_radix(masks.trim().rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(mask & (1 << 25 | 1 << 23 | 1 << 12), 1 << 25 | 1 << 23 | 1 << 12, "{masks}");
    // Another container has the defaults: the host's network without rights over it, and its resolver.
    let masks = host.exec("b", &["grep", "CapBnd", "/proc/1/status"]);
    let mask = u64::from_str_radix(masks.trim().rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(mask & (1 << 25 | 1 << 12), 0, "{masks}");
    let of_host = |path: &str| std::fs::read_link(path).unwrap().to_string_lossy().into_owned();
    assert_eq!(host.exec("b", &["readlink", "/proc/1/ns/net"]).trim(), of_host("/proc/self/ns/net"));
    assert_eq!(host.exec("b", &["cat", "/etc/resolv.conf"]), std::fs::read_to_string("/etc/resolv.conf").unwrap());
    assert_eq!(host.exec("b", &["hostname"]).trim(), host.name("b"));
    // Its secrets are in no file that stays, and in no answer.
    for place in ["state", "run/monitors"] {
        // Sockets can't be read, which it says too.
        let found = std::process::Command::new("grep").arg("-rl").arg("s3cret").arg(scratch.join(place)).output();
        assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "", "{place}");
    }
    limits(&host);
    host.leaves_nothing();
}

/// What the kernel has, on either version of cgroups. Paths in /proc/PID/cgroup are as we see them.
fn limits(host: &Host) {
    let text = host.call(&["status", "--json", &host.name("a")]).succeeds().stdout;
    let pid = serde_json::from_str::<serde_json::Value>(&text).unwrap()["pid"].clone();
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let read = |controller: &str, v2: &str, v1: &str| {
        let of = |line: &str| {
            let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else { return None };
            match controllers {
                "" => std::fs::read_to_string(format!("/sys/fs/cgroup{path}/{v2}")).ok(),
                _ if controllers.split(',').any(|name| name == controller) => {
                    std::fs::read_to_string(format!("/sys/fs/cgroup/{controller}{path}/{v1}")).ok()
                }
                _ => None,
            }
        };
        cgroups.lines().find_map(of).unwrap_or_else(|| panic!("{controller}: {cgroups}"))
    };
    assert_eq!(read("memory", "memory.max", "memory.limit_in_bytes").trim(), (64 << 20).to_string());
    assert_eq!(read("pids", "pids.max", "pids.max").trim(), "50");
    assert_eq!(read("cpu", "cpu.max", "cpu.cfs_quota_us").split(' ').next().unwrap().trim(), "50000");
}

#[test]
fn users_are_the_containers_own() {
    let host = Host::new("ctl-users");
    host.scratch.directory("data");
    host.scratch.write("data/of-root", "x");
    std::os::unix::fs::chown(host.scratch.write("data/of-app", "x"), Some(1000), Some(1000)).unwrap();
    host.scratch.write("secret", "s3cret");
    let more = json!({"privateUsers": "pick", "privateNetwork": true, "volumes": ["./data:/data"], "credentials": {"key": "./secret"}});
    let mut containers: serde_json::Map<String, serde_json::Value> =
        (0..8).map(|number| (format!("p{number}"), more.clone())).collect();
    containers.insert("given".into(), json!({"privateUsers": 700_000}));
    containers.insert("identity".into(), json!({"privateUsers": "identity"}));
    host.project(containers.into());
    host.up();
    let first = |name: &str| -> u32 {
        let map = host.exec(name, &["cat", "/proc/self/uid_map"]);
        let fields: Vec<u32> = map.split_whitespace().map(|field| field.parse().unwrap()).collect();
        assert_eq!((fields[0], fields[2]), (0, 65_536), "{map}");
        fields[1]
    };
    let mut picked: Vec<u32> = (0..8).map(|number| first(&format!("p{number}"))).collect();
    assert_eq!((first("given"), first("identity")), (700_000, 0));
    let before = picked.clone();
    picked.sort_unstable();
    picked.dedup();
    assert!(
        picked.len() == 8 && picked.iter().all(|first| first.is_multiple_of(65_536) && *first >= 524_288),
        "{picked:?}"
    );
    // Inside, files of layers and of binds have the owners that they have on the host; so has what
    // is made there.
    let script =
        "stat -c '%u %n' /bin/busybox /data/of-root /data/of-app; touch /data/new /new; cat $CREDENTIALS_DIRECTORY/key";
    let expected = "0 /bin/busybox\n0 /data/of-root\n1000 /data/of-app\ns3cret";
    assert_eq!(host.exec("p0", &["sh", "-c", script]), expected);
    let owner = |path: std::path::PathBuf| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    assert_eq!(owner(host.scratch.join("data/new")), 0);
    // The same ids at each start; what it has written is still its own.
    host.call(&["restart", &host.name("p0")]).succeeds();
    assert_eq!(first("p0"), before[0]);
    assert_eq!(host.exec("p0", &["stat", "-c", "%u", "/new"]), "0\n");
    host.leaves_nothing();
}

#[test]
fn a_network_may_be_private_or_joined() {
    let host = Host::new("ctl-network");
    let network = host.name("net");
    let ip = |args: &[&str]| {
        firn_conformance::harness::command(std::process::Command::new("ip").args(args)).succeeds();
    };
    ip(&["netns", "add", &network]);
    host.project(json!({
        "private": {"privateNetwork": true},
        "joined": {"networkNamespace": format!("/run/netns/{network}")},
    }));
    host.up();
    assert_eq!(host.exec("private", &["ls", "/sys/class/net"]), "lo\n");
    let inode = |path: &str| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).unwrap().ino()
    };
    let joined = host.exec("joined", &["readlink", "/proc/1/ns/net"]);
    assert_eq!(joined.trim(), format!("net:[{}]", inode(&format!("/run/netns/{network}"))));
    host.call(&["destroy", "--all"]).succeeds();
    ip(&["netns", "delete", &network]);
    host.leaves_nothing();
}
