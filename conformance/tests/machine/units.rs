//! Containers of firnctl as units of systemd, and as machines of machined.

use firn_conformance::harness::{Output, Scratch, binary, busybox_root, command, wait_until};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const UNITS: [(&str, &str); 3] = [
    ("firn@.service", include_str!("../../../ctl/firn@.service")),
    ("firn-network.socket", include_str!("../../../ctl/firn-network.socket")),
    ("firn-network.service", include_str!("../../../ctl/firn-network.service")),
];
/// Stops at what firnctl and `machinectl poweroff` send, and restarts at what `machinectl reboot` sends.
const INIT: &str = "\
#!/bin/sh
trap 'exit 0' 37 38
trap 'exit 133' INT
echo \"up $(hostname)\"
while :; do sleep 1000 & wait $!; done
";

/// Containers of firnctl's own directories: units are for no others.
struct Host {
    scratch: Scratch,
}

impl Host {
    /// Installs the template and definitions.
    fn new(test: &str, containers: &[(&str, Value)]) -> Self {
        assert!(Path::new("/run/systemd/system").exists(), "these tests run in guests: cargo xtask vm");
        let firnctl = binary("firnctl");
        let directory = Path::new("/run/systemd/system");
        for (name, text) in UNITS {
            let text = text.replace("@bindir@", &firnctl.parent().unwrap().to_string_lossy());
            // Another test may do the same.
            let new = directory.join(format!(".{test}"));
            std::fs::write(&new, text).unwrap();
            std::fs::rename(new, directory.join(name)).unwrap();
        }
        let scratch = Scratch::new(test);
        busybox_root(&scratch.directory("root"));
        let init = scratch.write("root/init", INIT);
        std::fs::set_permissions(init, std::fs::Permissions::from_mode(0o755)).unwrap();
        let host = Host { scratch };
        host.create(containers);
        host
    }

    fn create(&self, containers: &[(&str, Value)]) {
        let named = containers.iter().map(|(name, definition)| {
            let mut definition = definition.clone();
            if definition["rootFS"].is_null() {
                definition["rootFS"] = json!(["./root"]);
            }
            for other in definition.get_mut("dependsOn").and_then(Value::as_array_mut).into_iter().flatten() {
                *other = self.name(other.as_str().unwrap()).into();
            }
            (self.name(name), definition)
        });
        let named: serde_json::Map<String, Value> = named.collect();
        let project = self.scratch.write("firn.json", &json!({"containers": named}).to_string());
        self.firnctl(&["create", &project.to_string_lossy()]).succeeds();
    }

    fn name(&self, name: &str) -> String {
        format!("{}-{name}", self.scratch.id())
    }

    fn unit(&self, name: &str) -> String {
        format!("firn@{}.service", self.name(name))
    }

    fn firnctl(&self, args: &[&str]) -> Output {
        command(Command::new(binary("firnctl")).args(args))
    }

    fn status(&self, name: &str) -> Value {
        let output = self.firnctl(&["status", "--json", &self.name(name)]).succeeds();
        serde_json::from_str(&output.stdout).unwrap()
    }

    fn pid(&self, name: &str) -> u64 {
        self.status(name)["pid"].as_u64().expect("it runs")
    }

    fn show(&self, name: &str, property: &str) -> String {
        systemctl(&["show", "--value", "--property", property, &self.unit(name)]).succeeds().stdout.trim().into()
    }

    fn leader(&self, name: &str) -> Option<String> {
        let show = ["show", "--value", "--property", "Leader", &self.name(name)];
        let output = machinectl(&show);
        Some(output.stdout.trim().to_owned()).filter(|leader| !leader.is_empty())
    }

    fn files(&self) -> Vec<PathBuf> {
        let directories = ["/etc/systemd/system", "/etc/systemd/system/machines.target.wants"];
        let entries = directories.iter().filter_map(|directory| std::fs::read_dir(directory).ok());
        let paths = entries.flatten().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_string_lossy().contains(&self.scratch.id())).collect()
    }

    fn destroy(&self) -> Output {
        let names = self.scratch.id();
        let all = self.firnctl(&["list", "--quiet"]).succeeds().stdout;
        let ours: Vec<&str> = all.lines().filter(|name| name.starts_with(&names)).collect();
        self.firnctl(&[&["destroy"], ours.as_slice()].concat())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.destroy();
    }
}

fn machinectl(args: &[&str]) -> Output {
    command(Command::new("machinectl").args(args))
}

fn systemctl(args: &[&str]) -> Output {
    command(Command::new("systemctl").args(args))
}

#[test]
fn a_container_starts_at_boot_and_outlives_the_main_process_of_its_unit() {
    // machined takes no such name.
    let host = Host::new(
        "unit",
        &[
            ("web", json!({"autoStart": true, "dependsOn": ["a..b"], "extra": {"addressPrefix": "10.213.7"}})),
            ("a..b", json!({"autoStart": true, "hostname": "other"})),
        ],
    );
    systemctl(&["start", "machines.target"]).succeeds();
    for name in ["web", "a..b"] {
        assert_eq!(host.status(name)["state"], "up", "{name}");
    }
    let init = host.pid("web");
    let cgroup = std::fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap();
    let place = format!("0::/machine.slice/{}/{}\n", host.unit("web"), host.name("web"));
    assert!(cgroup.ends_with(&place), "{cgroup}");

    // Names are answered in a unit of its own.
    let names = || host.firnctl(&["exec", &host.name("web"), "nslookup", &format!("{}.containers", host.name("web"))]);
    assert!(names().succeeds().stdout.contains("10.213.7.2"), "{:?}", names());
    let network = || systemctl(&["is-active", "firn-network.service"]).stdout;
    assert_eq!(network(), "active\n");

    let main = host.show("web", "MainPID");
    command(Command::new("kill").args(["-9", &main])).succeeds();
    wait_until("it is gone", || !Path::new("/proc").join(&main).exists());
    // Whoever asks has another monitor take over.
    assert_eq!(host.pid("web"), init);
    let main_now = host.show("web", "MainPID");
    assert_ne!(main_now, main);

    machinectl(&["reboot", &host.name("web")]).succeeds();
    wait_until("it has restarted", || host.status("web")["pid"].as_u64().is_some_and(|pid| pid != init));
    assert_eq!(host.show("web", "MainPID"), main_now);
    wait_until("machined knows the new one", || host.leader("web") == Some(host.pid("web").to_string()));
    for turn in 0..5 {
        systemctl(&["restart", &host.unit("web")]).succeeds();
        assert_eq!(host.leader("web"), Some(host.pid("web").to_string()), "{turn}");
    }
    machinectl(&["terminate", &host.name("web")]).succeeds();
    wait_until("it has ended", || host.show("web", "ActiveState") == "inactive");
    assert_eq!(host.show("web", "Result"), "success");
    // What is gone is not started before it.
    let waits = || host.show("web", "Wants").split(' ').any(|unit| unit == host.unit("a..b"));
    assert!(waits());
    host.firnctl(&["destroy", &host.name("a..b")]).succeeds();
    assert!(!waits());
    host.destroy().succeeds();
    assert_eq!(host.files(), Vec::<PathBuf>::new());
    wait_until("nobody asks for names any more", || network() == "inactive\n");
}

#[test]
fn units_are_started_by_firnctl_and_a_failed_one_says_why() {
    let host = Host::new("unitverbs", &[("db", json!({})), ("web", json!({"dependsOn": ["db"]}))]);
    host.firnctl(&["start", &host.name("web")]).succeeds();
    let mains: Vec<String> = ["db", "web"].map(|name| host.show(name, "MainPID")).into();
    let after = host.show("web", "After");
    assert!(after.split(' ').any(|unit| unit == host.unit("db")), "{after}");
    host.firnctl(&["restart", &host.name("web")]).succeeds();
    assert_ne!(host.show("web", "MainPID"), mains[1]);
    assert_eq!(host.show("db", "MainPID"), mains[0]);
    systemctl(&["restart", &host.unit("web")]).succeeds();
    machinectl(&["poweroff", &host.name("web")]).succeeds();
    wait_until("it has powered off", || host.show("web", "ActiveState") == "inactive");
    let log = host.firnctl(&["logs", &host.name("web")]).succeeds().stdout;
    assert_eq!(log, format!("up {}\n", host.name("web")).repeat(3));

    host.scratch.write("root/init", "#!/bin/missing\n");
    let failed = host.firnctl(&["restart", &host.name("db")]).fails(1);
    assert!(failed.stderr.contains("/init"), "{failed:?}");
    assert_eq!(host.show("db", "ActiveState"), "failed");
}

/// What Debian's units mount that the root of the tests leaves out, as the machine itself may lack it.
const MASKED: [&str; 8] = [
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-remount-fs.service",
    "systemd-udev-trigger.service",
];

#[test]
fn debian_is_a_machine_that_machinectl_and_journalctl_know() {
    let scratch = Scratch::new("unmasked");
    let units = scratch.directory("layer/etc/systemd/system");
    for unit in MASKED {
        // A whiteout: the unit is not masked.
        let path = units.join(unit);
        command(Command::new("mknod").arg(path).args(["c", "0", "0"])).succeeds();
    }
    let debian = std::env::var("FIRN_DEBIAN_ROOT").expect("FIRN_DEBIAN_ROOT");
    let definition = json!({
        "rootFS": [debian, scratch.join("layer")],
        "extra": {"addressPrefix": "10.213.9"}, "persistent": true, "notify": true,
    });
    let host = Host::new("debian", &[("web", definition)]);
    let (name, unit) = (host.name("web"), host.unit("web"));
    systemctl(&["stop", "systemd-machined.service"]).succeeds();
    systemctl(&["start", &unit]).succeeds();
    let state = || systemctl(&["--machine", &name, "is-system-running", "--wait"]).stdout;
    let failed = || systemctl(&["--machine", &name, "--failed"]).stdout;
    assert_eq!(state(), "running\n", "{}", failed());

    // machinectl show has no words for what is a list.
    let show = machinectl(&["status", &name]).succeeds().stdout;
    let link = show.lines().find_map(|line| line.trim().strip_prefix("Iface: ").map(str::to_owned));
    assert!(link.is_some_and(|link| link.starts_with("ve-")), "{show}");
    assert!(show.contains("Service: firn"), "{show}");
    assert!(machinectl(&["status", &name]).succeeds().stdout.contains("10.213.9.2"));
    let shell = machinectl(&["shell", "--quiet", &name, "/bin/sh", "-c", "logger -t shell in-$(hostname)"]);
    shell.succeeds();
    let journal = || command(Command::new("journalctl").args(["-M", &name, "-t", "shell", "-o", "cat"])).stdout;
    wait_until("the journal has the line", || journal() == format!("in-{name}\n"));

    // machined forgets nothing when it is started anew.
    systemctl(&["restart", "systemd-machined.service"]).succeeds();
    assert_eq!(host.leader("web"), Some(host.pid("web").to_string()));
    systemctl(&["restart", &unit]).succeeds();
    assert_eq!(host.leader("web"), Some(host.pid("web").to_string()));
    assert_eq!(state(), "running\n", "{}", failed());
    host.destroy().succeeds();
    assert_eq!(host.files(), Vec::<PathBuf>::new());
}
