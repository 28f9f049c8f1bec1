//! firnctl called as `extra-container`: its verbs and outputs.

use crate::host::Host;
use crate::native::build;
use crate::nix::Nix;
use firn_conformance::harness::{Output, command, wait_until};
use std::io::Write;
use std::process::Stdio;

fn call(host: &Host, args: &[&str]) -> Output {
    command(&mut host.link("extra-container", args))
}

/// With a definition on standard input.
fn call_with(host: &Host, args: &[&str], definition: &str) -> Output {
    let mut call = host.link("extra-container", args);
    let mut call = call.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    call.stdin.take().unwrap().write_all(definition.as_bytes()).unwrap();
    let output = call.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Output { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A definition of one container, in Nix.
fn one(name: &str, system: &str, more: &str) -> String {
    format!("{{ containers.{name} = {{ path = \"{system}\"; notify = false; {more} }}; }}")
}

#[test]
fn containers_are_installed_started_updated_and_restarted() {
    let host = Host::new("extra-create");
    let (first, second) = (build("one", 0), build("two", 0));
    let (a, b) = (host.name("a"), host.name("b"));
    // Nothing but installed.
    let output = call_with(&host, &["create"], &one(&a, &first, "")).succeeds();
    assert_eq!(output.stdout, format!("\nInstalling containers:\n{a}\n\n"));
    assert!(output.stderr.contains("Building containers...\n"), "{output:?}");
    assert_eq!(host.status("a"), "down");
    let output = call_with(&host, &["create", "-s", "-"], &one(&a, &first, "")).succeeds();
    let unchanged = format!("\nInstalling containers:\n{a} (unchanged, skipped)\n\n");
    assert_eq!(output.stdout, format!("{unchanged}Starting containers:\n{a}\n\n"));
    assert_eq!(host.status("a"), "up");
    assert_eq!(call_with(&host, &["create", "--start"], &one(&a, &first, "")).succeeds().stdout, unchanged);
    // Only the system.
    let output = call(&host, &["create", "-u", "-E", &one(&a, &second, "")]).succeeds();
    let installing = format!("\nInstalling containers:\n{a}\n\n");
    assert_eq!(output.stdout, format!("{installing}Updating containers:\n{a}\n\n"));
    assert_eq!(host.exec("a", &["cat", "/switched"]), "test two\n");
    // More than that, and another one by an attribute. One that does not run is not started by -u.
    let both = format!("{{ \"x y\" = ({}) // {{ }}; }}", one(&a, &second, "hostname = \"other\";"));
    let output = call(&host, &["create", "-u", "-A", "\"x y\"", "-E", &both]).succeeds();
    assert_eq!(output.stdout, format!("{installing}Restarting containers:\n{a}\n\n"));
    assert_eq!(host.exec("a", &["hostname"]), "other\n");
    let output = call(&host, &["create", "-u", "-E", &one(&b, &first, "")]).succeeds();
    assert_eq!(output.stdout, format!("\nInstalling containers:\n{b}\n\n"));
    // -r restarts whatever has changed.
    let output = call(&host, &["create", "-r", "-E", &one(&a, &first, "hostname = \"other\";")]).succeeds();
    assert_eq!(output.stdout, format!("{installing}Restarting containers:\n{a}\n\n"));
    // What was installed without a flag is not forgotten by the next call: it is not what runs.
    call(&host, &["create", "-E", &one(&a, &second, "hostname = \"other\";")]).succeeds();
    let output = call(&host, &["create", "-s", "-E", &one(&a, &second, "hostname = \"other\";")]).succeeds();
    assert_eq!(output.stdout, format!("{installing}Updating containers:\n{a}\n\n"));
    assert_eq!(call(&host, &["list"]).succeeds().stdout, format!("{a}\n{b}\n"));
    let pid = || host.call(&["status", "--json", &a]).succeeds().stdout;
    let before = pid();
    call(&host, &["restart", &a]).succeeds();
    assert_ne!(before, pid());
    // Other verbs are nixos-container's.
    assert_eq!(call(&host, &["run", &a, "--", "echo", "create"]).succeeds().stdout, "create\n");
    assert!(call(&host, &["frob"]).fails(1).stderr.contains("unknown action ‘frob’"));
    // By a definition, by name, and all; others stay.
    call(&host, &["destroy", "-E", &one(&b, &first, "")]).succeeds();
    assert_eq!(call(&host, &["list"]).succeeds().stdout, format!("{a}\n"));
    call(&host, &["destroy", "nobody", &a]).succeeds();
    call(&host, &["create", "-E", &one(&b, &first, "")]).succeeds();
    call(&host, &["destroy", "--all"]).succeeds();
    assert_eq!(call(&host, &["list"]).succeeds().stdout, "");
    assert!(call(&host, &["destroy"]).fails(1).stderr.contains("No container name specified"));
    host.leaves_nothing();
}

#[test]
fn an_update_that_fails_is_told() {
    let host = Host::new("extra-fails");
    let (good, bad) = (build("one", 0), build("bad", 4));
    let a = host.name("a");
    call(&host, &["create", "-s", "-E", &one(&a, &good, "")]).succeeds();
    let output = call(&host, &["create", "-s", "-E", &one(&a, &bad, "")]).fails(4);
    assert!(output.stdout.ends_with(&format!("Updating containers:\n{a}\n\n")), "{output:?}");
    assert!(output.stderr.contains("switch-to-configuration has failed"), "{output:?}");
    host.leaves_nothing();
}

#[test]
fn what_is_built_is_created_from_its_store_path() {
    let host = Host::new("extra-build");
    let system = build("one", 0);
    let a = host.name("a");
    let output = call_with(&host, &["build"], &one(&a, &system, "")).succeeds();
    let path = output.stdout.trim();
    assert!(path.starts_with("/nix/store/") && output.stdout.lines().count() == 1, "{output:?}");
    assert_eq!(call(&host, &["list"]).succeeds().stdout, "", "it is not installed");
    let references =
        command(std::process::Command::new("nix-store").args(["--query", "--references", path])).succeeds();
    assert_eq!(references.stdout, format!("{system}\n"));
    let output = call(&host, &["create", "-s", path]).succeeds();
    assert!(output.stdout.ends_with(&format!("Starting containers:\n{a}\n\n")), "{output:?}");
    assert!(!output.stderr.contains("Building"), "{output:?}");
    // As a flake's runner calls it.
    let output = command(host.link("extra-container", &["create"]).env("EXTRA_CONTAINER_ETC", path)).succeeds();
    assert!(output.stdout.contains("(unchanged, skipped)"), "{output:?}");
    host.leaves_nothing();
}

#[test]
fn a_shell_runs_a_command_and_ends_with_its_status() {
    let host = Host::new("extra-shell");
    let system = build("one", 0);
    let a = host.name("a");
    let shell = |more: &[&str]| call(&host, &[&["shell", "-E", &one(&a, &system, "")], more].concat());
    let output = shell(&["--run", "c", "sh", "-c", "hostname; exit 5"]).fails(5);
    assert_eq!(output.stdout, format!("\nRunning command.\n{a}\n"));
    assert_eq!(shell(&["--run", "c", "sh", "-c", "exit 1"]).code, 1);
    assert_eq!(call(&host, &["status", &a]).fails(1).stdout, "gone\n");
    let output =
        call_with(&host, &["shell", "-E", &one(&a, &system, "")], "c echo inside </dev/null\necho $name\nexit 3\n");
    let expected = format!("\nStarting shell.\nEnter \"h\" for documentation.\ninside\n{a}\nDestroying container.\n");
    assert_eq!((output.code, &*output.stdout), (3, &*expected), "{output:?}");
    host.leaves_nothing();
}

/// An sshd of the host's programs, at the socket where systemd has it.
const SSHD: &str = "\
set -e
ln -s usr/lib usr/lib64 /
mkdir -p /run/sshd /etc /root
printf 'root:x:0:0::/root:/bin/sh\\nsshd:x:100:65534::/run/sshd:/bin/false\\n' > /etc/passwd
cp /nix/store/*-firn-test-system-one/keys /etc/keys
/usr/bin/ssh-keygen -q -t ed25519 -N '' -f /etc/key
printf 'HostKey /etc/key\\nAuthorizedKeysFile /etc/keys\\nStrictModes no\\nUsePAM no\\n' > /etc/sshd
cat > /etc/serve.py <<'END'
import socket, subprocess
listener = socket.socket(socket.AF_UNIX)
listener.bind('/run/host/unix-export/ssh')
listener.listen()
while True:
    connection, _ = listener.accept()
    subprocess.Popen(['/usr/sbin/sshd', '-i', '-f', '/etc/sshd'], stdin=connection, stdout=connection)
    connection.close()
END
setsid /usr/bin/python3 /etc/serve.py < /dev/null > /dev/null 2>&1 &
";

#[test]
fn ssh_logs_in_with_a_key_that_the_system_has() {
    let nix = Nix::new("extra-ssh");
    let host = &nix.host;
    let a = host.name("a");
    let definition = |more: &str| {
        format!("{{ containers.{a} = {{ notify = false; volumes-ro = [ \"/usr:/usr\" ]; config = {{ }}; {more} }}; }}")
    };
    let call = |verb: &[&str], more: &str, run: &[&str]| {
        let text = definition(more);
        let options = ["-E", &text, "--nixpkgs-path", "./nixpkgs", "--build-args", "--option", "sandbox", "false"];
        let no_users = ["--option", "substitute", "false", "--option", "build-users-group", ""];
        call(host, &[verb, &options, &no_users, run].concat())
    };
    // Its port would be the host's.
    let error = call(&["create", "--ssh"], "", &[]).fails(1).stderr;
    assert!(error.contains("extra.enableSSH: needs privateNetwork or extra.addressPrefix"), "{error}");
    let private = "privateNetwork = true;";
    call(&["create", "-s", "--ssh"], private, &[]).succeeds();
    host.exec("a", &["sh", "-c", SSHD]);
    wait_until("its sshd listens", || host.call(&["ssh-proxy", "--check", &a]).code == 0);
    let run = ["--run", "cssh", "id -u; exit 7"];
    let output = call(&["shell", "-n", "--ssh"], private, &run).fails(7);
    assert_eq!(output.stdout, "\nRunning command.\n0\n", "{output:?}");
    let key = |name: &str| std::fs::metadata(host.scratch.join("state/ssh").join(name)).unwrap();
    let mode = |name: &str| std::os::unix::fs::PermissionsExt::mode(&key(name).permissions()) & 0o777;
    assert_eq!((mode(""), mode("key")), (0o700, 0o600));
    // As the definition says it, it is the same; without it, it is another system, which has no key.
    assert!(
        call(&["create", "-s"], "privateNetwork = true; extra.enableSSH = true;", &[])
            .succeeds()
            .stdout
            .contains("unchanged")
    );
    assert!(
        call(&["create", "-s", "--ssh"], "privateNetwork = true; extra.enableSSH = false;", &[])
            .succeeds()
            .stdout
            .contains("Updating")
    );
    // Of what Nix has not evaluated firnctl can't change the system.
    let foreign = format!("{{ containers.{a} = {{ rootFS = [ \"/x\" ]; extra.enableSSH = true; }}; }}");
    let error = host.call(&["config", "check", "-E", &foreign]).fails(1).stderr;
    assert!(error.contains("extra.enableSSH: is for containers with config") && error.contains("sshKeys"), "{error}");
    host.leaves_nothing();
}
