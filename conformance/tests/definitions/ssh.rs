//! `sshKeys`: into containers by real OpenSSH, over the host's sshd.

use crate::host::Host;
use firn_conformance::harness::console::Terminal;
use firn_conformance::harness::place::program;
use firn_conformance::harness::{Output, command, wait_until};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const INIT: &str = "#!/bin/sh\ntrap 'exit 0' 37\nwhile :; do sleep 60 & wait $!; done\n";

struct Ssh {
    host: Host,
    proxy: String,
}

impl Ssh {
    /// A root with the host's programs, users of its own, and a repository.
    fn new(test: &str) -> Self {
        let host = Host::new(test);
        let scratch = &host.scratch;
        for directory in ["usr", "etc", "proc", "sys", "dev", "run", "tmp", "root", "home/web"] {
            scratch.directory(&format!("users/{directory}"));
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            std::os::unix::fs::symlink(format!("usr/{name}"), scratch.join("users").join(name)).unwrap();
        }
        let passwd = "root:x:0:0::/root:/bin/bash\nweb:x:1000:1001::/home/web:/bin/bash\n";
        scratch.write("users/etc/passwd", passwd);
        scratch.write("users/etc/group", "root:x:0:\nweb:x:1001:\nlog:x:7:root,web\n");
        host.init("users", INIT);
        let script = format!(
            "cd {}/users/home/web && git init -q --bare repo && git -C repo symbolic-ref HEAD refs/heads/main \
             && tree=$(git -C repo hash-object -t tree -w /dev/null) \
             && commit=$(git -C repo -c user.name=a -c user.email=a@b commit-tree -m first $tree) \
             && git -C repo update-ref refs/heads/main $commit && chown -R 1000:1001 .",
            scratch.path().display()
        );
        sh(&script);
        for key in ["web", "root", "ghost", "host"] {
            sh(&format!(
                "ssh-keygen -q -t ed25519 -N '' -C {key}@test -f {}",
                scratch.join(&format!("key-{key}")).display()
            ));
        }
        let path = |name: &str| scratch.join(name).display().to_string();
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nPermitRootLogin forced-commands-only\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitUserEnvironment no\nSubsystem sftp internal-sftp\nAcceptEnv LANG\n",
            path("key-host"),
            path("authorized_keys")
        );
        scratch.write("sshd_config", &config);
        // sshd's own directory (sshd(8), "Privilege separation").
        std::fs::create_dir_all("/run/sshd").unwrap();
        let sshd = program("/usr/sbin/sshd", "openssh-server");
        let proxy = format!("{} -i -f {} -E {}", sshd.display(), path("sshd_config"), path("sshd.log"));
        Ssh { host, proxy }
    }

    fn key(&self, name: &str) -> String {
        std::fs::read_to_string(self.host.scratch.join(&format!("key-{name}.pub"))).unwrap().trim().to_owned()
    }

    /// Options of ssh, scp and sftp.
    fn options(&self, key: &str) -> Vec<String> {
        let key = self.host.scratch.join(&format!("key-{key}")).display().to_string();
        let mut options: Vec<String> = ["-F", "none", "-i"].map(String::from).into();
        options.push(key);
        let proxy = format!("ProxyCommand={}", self.proxy);
        let more = ["IdentitiesOnly=yes", "BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"];
        for option in more.iter().chain(&["LogLevel=ERROR", &*proxy]) {
            options.extend(["-o".to_owned(), (*option).to_owned()]);
        }
        options
    }

    fn command(&self, key: &str, args: &[&str]) -> Command {
        let mut ssh = Command::new(program("ssh", "openssh-client"));
        ssh.args(self.options(key)).args(args).env("HOST_SECRET", "secret").current_dir(self.host.scratch.path());
        ssh
    }

    fn ssh(&self, key: &str, script: &str) -> Output {
        command(&mut self.command(key, &["root@host", script]))
    }

    /// Another client, which gets the options in one text.
    fn client(&self, line: &str) -> Output {
        let quoted = |word: &String| format!("'{word}'");
        let options = self.options("web").iter().map(quoted).collect::<Vec<_>>().join(" ");
        let line = line.replace("OPTIONS", &options);
        command(Command::new("sh").args(["-c", &line]).current_dir(self.host.scratch.path()))
    }
}

#[track_caller]
fn sh(script: &str) {
    command(Command::new("sh").args(["-c", script])).succeeds();
}

#[test]
fn keys_log_in_as_users_of_containers() {
    let ssh = Ssh::new("ctl-ssh");
    let (host, scratch) = (&ssh.host, &ssh.host.scratch);
    scratch.write("authorized_keys", "# root's own\n");
    let of = |user: &str, key: &str| json!({"rootFS": ["./users"], "volumes-ro": ["/usr:/usr"], "sshKeys": {user: [ssh.key(key)]}});
    host.project(json!({"a": of("web", "web"), "b": of("root", "web")}));
    // A key would log in as the one that comes first.
    let error = host.call(&["up", "--detach", "firn.json"]).fails(1).stderr;
    assert!(error.contains("has this key already"), "{error}");
    let mut a = of("web", "web");
    a["sshKeys"]["ghost"] = json!([ssh.key("ghost")]);
    host.project(json!({"a": a, "b": of("root", "root")}));
    host.up();
    let lines = std::fs::read_to_string(scratch.join("authorized_keys")).unwrap();
    assert!(lines.starts_with("# root's own\n# ") && lines.matches("restrict,pty,command=").count() == 3, "{lines}");

    identity(&ssh);
    streams(&ssh);
    terminals(&ssh);
    files(&ssh);
    refusals(&ssh);

    // A key that is removed logs in no more, without a restart.
    let pid = || {
        let text = host.call(&["status", "--json", &host.name("a")]).succeeds().stdout;
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["pid"].as_u64().unwrap()
    };
    let before = pid();
    host.project(json!({"a": {"rootFS": ["./users"], "volumes-ro": ["/usr:/usr"]}, "b": of("root", "root")}));
    assert_eq!(host.plan(), "a: live: sshKeys\nb: unchanged\n");
    host.up();
    assert_eq!(pid(), before);
    assert!(ssh.ssh("web", "true").fails(255).stderr.contains("Permission denied"));
    host.leaves_nothing();
    assert_eq!(std::fs::read_to_string(scratch.join("authorized_keys")).unwrap(), "# root's own\n");
}

/// As on NixOS: its own list has the keys of what it declares, and sshd asks firnctl for all others'.
#[test]
fn keys_that_are_in_no_file_are_asked_of_firnctl() {
    let ssh = Ssh::new("ctl-ssh-asked");
    let (host, scratch) = (&ssh.host, &ssh.host.scratch);
    let name = host.name("a");
    let definition = json!({
        "rootFS": [scratch.join("users")], "volumes-ro": ["/usr:/usr"], "sshKeys": {"web": [ssh.key("web")]},
    });
    scratch.directory("declared");
    scratch.write(&format!("declared/{name}.json"), &json!({"containers": {&name: definition}}).to_string());
    host.call(&["unit", "declare", "declared"]).succeeds();
    host.call(&["start", &name]).succeeds();
    assert!(!scratch.join("authorized_keys").exists());
    // The words in which the module of NixOS calls it. sshd takes no program that others could replace.
    let asks = format!("/run/firn-{}-keys", scratch.id());
    let call = host.firnctl(&[]);
    let words: Vec<_> = std::iter::once(call.get_program()).chain(call.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let script = format!("#!/bin/sh\ncd {}\nexec {} ssh-keys -- \"$1\"\n", scratch.path().display(), words.join(" "));
    std::fs::write(&asks, script).unwrap();
    sh(&format!("chmod 755 {asks}"));
    let config = std::fs::read_to_string(scratch.join("sshd_config")).unwrap();
    let own = format!("AuthorizedKeysFile {}", scratch.join("authorized_keys").display());
    let asked = format!("AuthorizedKeysFile none\nAuthorizedKeysCommand {asks} %u\nAuthorizedKeysCommandUser root");
    scratch.write("sshd_config", &config.replace(&own, &asked));
    let told = ssh.ssh("web", "hostname; id -u");
    std::fs::remove_file(&asks).unwrap();
    assert_eq!(told.succeeds().stdout, format!("{name}\n1000\n"));
    assert!(ssh.ssh("root", "true").fails(255).stderr.contains("Permission denied"));
    std::fs::remove_dir_all(scratch.join("declared")).unwrap();
    host.leaves_nothing();
}

fn identity(ssh: &Ssh) {
    let (a, b) = (ssh.host.name("a"), ssh.host.name("b"));
    let facts = "hostname; id -u; id -g; id -G; echo $HOME $USER $LOGNAME $SHELL $PWD";
    let expected = |name: &str, rest: &str| format!("{name}\n{rest}");
    let output = ssh.ssh("web", facts).succeeds().stdout;
    assert_eq!(output, expected(&a, "1000\n1001\n1001 7\n/home/web web web /bin/bash /home/web\n"));
    let output = ssh.ssh("root", facts).succeeds().stdout;
    assert_eq!(output, expected(&b, "0\n0\n0 7\n/root root root /bin/bash /root\n"));
    // The same by name without ssh.
    let ids = |user: &str| ssh.host.exec("a", &["--user", user, "sh", "-c", "id -u; id -G"]);
    assert_eq!(
        (ids("web"), ids("web:log"), ids("1000:0")),
        ("1000\n1001 7\n".into(), "1000\n7\n".into(), "1000\n0\n".into())
    );
    let error = ssh.host.call(&["exec", "--user", "nobody", &a, "true"]).fails(125).stderr;
    assert!(error.contains("user nobody: there is none in its /etc/passwd"), "{error}");
    let environment = ssh.ssh("web", "env").succeeds().stdout;
    for word in ["HOST_SECRET", "SSH_", "HOME=/root", "FIRN"] {
        assert!(!environment.contains(word), "{word}: {environment}");
    }
    // A login shell, which reads commands from a pipe.
    let mut shell = ssh.command("web", &["-T", "root@host"]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(b"shopt -q login_shell && id -un; exit 4\n").unwrap();
    let output = shell.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(4), &b"web\n"[..]));
}

fn streams(ssh: &Ssh) {
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -TERM $$", 143)] {
        assert_eq!(ssh.ssh("web", script).code, code, "{script}");
    }
    let odd = "echo \"$(hostname)\" 'a  b' \"\\\"\"\necho two; tty || true; echo error >&2";
    let output = ssh.ssh("web", odd).succeeds();
    assert_eq!(output.stdout, format!("{} a  b \"\ntwo\nnot a tty\n", ssh.host.name("a")));
    assert_eq!(output.stderr, "error\n");
    let script = "head -c 10000000 /dev/urandom > data && ssh OPTIONS root@host cat < data > back && cmp data back";
    ssh.client(script).succeeds();
}

fn terminals(ssh: &Ssh) {
    let (mut terminal, other) = Terminal::open();
    terminal.resize(33, 101);
    let line = ssh.command("web", &["-t", "root@host", "tty; stty size; echo $TERM; read -r _; stty size; exit 5"]);
    let mut client = Command::new("setsid");
    client.args(["--ctty", "--wait"]).arg(line.get_program()).args(line.get_args()).env("TERM", "vt220");
    let stream = || Stdio::from(other.try_clone().unwrap());
    let mut client = client.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
    let seen = terminal.expect("vt220");
    assert!(seen.contains("/dev/pts/") && seen.contains("33 101"), "{seen}");
    terminal.resize(44, 99);
    // The new size comes by other means than what is typed.
    let number = seen.split("/dev/pts/").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let size = || ssh.host.exec("a", &["sh", "-c", &format!("stty size < /dev/pts/{number}")]);
    wait_until("the size comes", || size() == "44 99\n");
    terminal.send("\n");
    terminal.expect("44 99");
    assert_eq!(client.wait().unwrap().code(), Some(5));
}

fn files(ssh: &Ssh) {
    let same = |name: &str| {
        let upper =
            ssh.host.exec("a", &["sh", "-c", &format!("cksum < /home/web/{name}; stat -c %u:%g /home/web/{name}")]);
        let own = command(Command::new("sh").args(["-c", "cksum < data"]).current_dir(ssh.host.scratch.path()));
        assert_eq!(upper, own.succeeds().stdout + "1000:1001\n", "{name}");
    };
    ssh.client("scp -q OPTIONS data root@host:by-scp").succeeds();
    same("by-scp");
    ssh.client("scp -q -O OPTIONS data root@host:by-old-scp").succeeds();
    same("by-old-scp");
    ssh.client("echo 'put data by-sftp' | sftp -b - OPTIONS root@host").succeeds();
    same("by-sftp");
    ssh.client("rsync -e \"ssh OPTIONS\" data root@host:by-rsync").succeeds();
    same("by-rsync");
    let clone = "GIT_SSH_COMMAND=\"ssh OPTIONS\" git clone -q ssh://root@host/home/web/repo clone && git -C clone log --format=%s";
    assert_eq!(ssh.client(clone).succeeds().stdout, "first\n");
}

fn refusals(ssh: &Ssh) {
    let error = |output: Output| output.fails(255).stderr;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let text = error(command(&mut ssh.command("web", &["-W", &address, "root@host"])));
    assert!(text.contains("stdio forwarding failed"), "{text}");
    let remote = ["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "root@host", "true"];
    assert!(command(&mut ssh.command("web", &remote)).fails(255).stderr.contains("forwarding failed"));
    let tunnel = ["-o", "ExitOnForwardFailure=yes", "-w", "any", "root@host", "true"];
    assert_ne!(command(&mut ssh.command("web", &tunnel)).code, 0);
    // One line each.
    let ghost = error(ssh.ssh("ghost", "true"));
    assert!(ghost.contains("user ghost: there is none in its /etc/passwd") && ghost.lines().count() == 1, "{ghost}");
    let b = ssh.host.name("b");
    ssh.host.call(&["stop", &b]).succeeds();
    let stopped = error(ssh.ssh("root", "true"));
    assert_eq!(stopped, format!("firnctl: container {b}: does not run; `firnctl start {b}` starts it\n"));
    assert!(Path::new(&ssh.host.scratch.join("sshd.log")).exists());
    ssh.host.call(&["start", &b]).succeeds();
}

/// Its root may write what it likes there.
#[test]
fn a_passwd_that_is_no_file_of_the_containers_is_refused() {
    let host = Host::new("ctl-passwd");
    host.project(json!({"a": {}}));
    host.up();
    let name = host.name("a");
    let id = |error: &str| {
        let output = host.call(&["exec", "--user", "web", &name, "id", "-u"]).fails(125);
        assert!(output.stderr.contains(error), "{output:?}");
    };
    host.exec("a", &["mkdir", "-p", "/etc"]);
    for (made, error) in [
        ("mkfifo /etc/passwd", "is not a regular file"),
        ("mknod /etc/passwd c 1 5", "is not a regular file"),
        ("mkdir /etc/passwd", "is not a regular file"),
        ("ln -s /proc/1/environ /etc/passwd", "there is none"),
        ("ln -s ../../../../../etc/hosts-own /etc/passwd", "there is none"),
        ("head -c 5000000 /dev/zero > /etc/passwd", "is larger than"),
        ("echo 'web:x:4294967295:0::/:' > /etc/passwd", "there is none"),
    ] {
        host.exec("a", &["sh", "-c", &format!("rm -rf /etc/passwd; {made}")]);
        id(error);
    }
    host.exec("a", &["sh", "-c", "rm /etc/passwd; echo web:x:1:1::/: > /passwd; ln -s ../../../../passwd /etc/passwd"]);
    assert_eq!(host.exec("a", &["--user", "web", "id", "-u"]), "1\n");
    host.leaves_nothing();
}

/// An sshd that listens for the host, as systemd has it: without any network, and without a key of firnctl's.
#[test]
fn cssh_needs_no_network_where_the_containers_sshd_listens_for_the_host() {
    let ssh = Ssh::new("ctl-cssh");
    let (host, scratch) = (&ssh.host, &ssh.host.scratch);
    let sshd = "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n";
    let passwd = std::fs::read_to_string(scratch.join("users/etc/passwd")).unwrap();
    scratch.write("users/etc/passwd", &format!("{passwd}{sshd}"));
    std::fs::copy(scratch.join("key-host"), scratch.join("users/etc/key")).unwrap();
    scratch.write("users/etc/authorized_keys", &ssh.key("web"));
    scratch.write(
        "users/etc/sshd",
        "HostKey /etc/key\nAuthorizedKeysFile /etc/authorized_keys\nStrictModes no\nUsePAM no\n",
    );
    let serve = "import socket, subprocess
listener = socket.socket(socket.AF_UNIX)
listener.bind('/run/host/unix-export/ssh')
listener.listen()
while True:
    connection, _ = listener.accept()
    subprocess.Popen(['/usr/sbin/sshd', '-i', '-f', '/etc/sshd'], stdin=connection, stdout=connection)
    connection.close()
";
    scratch.write("users/etc/serve.py", serve);
    host.init("users", &INIT.replace("while", "mkdir /run/sshd\npython3 /etc/serve.py &\nwhile"));
    host.project(json!({"a": {"rootFS": ["./users"], "volumes-ro": ["/usr:/usr"], "privateNetwork": true}}));
    host.up();
    let name = host.name("a");
    let check = || host.call(&["ssh-proxy", "--check", &name]).code == 0;
    wait_until("its sshd listens", check);
    // With the user's own keys, of an agent.
    let agent = scratch.join("agent").display().to_string();
    let key = scratch.join("key-web").display().to_string();
    let mut shell = host.firnctl(&["shell", "--no-destroy", "firn.json", "--run", "cssh", "hostname; exit 7"]);
    let program = shell.get_program().to_owned();
    let args: Vec<_> = shell.get_args().map(ToOwned::to_owned).collect();
    let script = "ssh-add -q \"$0\" && exec \"$@\"";
    let mut in_agent = Command::new("ssh-agent");
    in_agent.args(["-a", &agent, "sh", "-c", script, &key]).arg(program).args(args);
    let output = command(in_agent.current_dir(scratch.path())).fails(7);
    assert_eq!(output.stdout, format!("{name}\n"), "{output:?}");
    // Nothing listens any more, and there is no address.
    host.exec("a", &["rm", "/run/host/unix-export/ssh"]);
    let output = command(shell.current_dir(scratch.path())).fails(1);
    assert!(output.stderr.contains("has no localAddress"), "{output:?}");
    // A link to a socket of the host's is followed within the container alone.
    host.exec("a", &["ln", "-s", &agent, "/run/host/unix-export/ssh"]);
    assert!(!check());
    host.leaves_nothing();
}
