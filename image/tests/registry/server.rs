//! The registry of Debian's package docker-registry, on a free port of loopback.

use crate::common::{Temp, needs};
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

/// User `firn` with the password `secret`, by bcrypt with few rounds: it is checked at each request.
const PASSWORDS: &str = "firn:$2b$04$LmO25uqSgnB78Lgg6jS2refHy8BaKZv6aUinhrkx.TEeGAysPw8LC\n";

pub struct Registry {
    process: Child,
    /// Host and port.
    pub address: String,
    data: PathBuf,
    log: PathBuf,
}

impl Registry {
    /// With `login`, only for a user with a password.
    pub fn start(temp: &Temp, login: bool) -> Self {
        let passwords = temp.file("passwords", PASSWORDS, 0o600);
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", passwords.display());
        Self::start_with(temp, "", if login { &auth } else { "" })
    }

    /// By HTTPS, with a certificate of its own in `tls.pem`.
    pub fn start_tls(temp: &Temp) -> Self {
        needs("openssl", "openssl");
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-keyout", "tls.key", "-out", "tls.pem", "-days", "2", "-subj", "/CN=test"]);
        command
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
            .current_dir(&temp.0);
        assert!(command.output().expect("run openssl").status.success());
        let [pem, key] = ["tls.pem", "tls.key"].map(|name| temp.path(name).display().to_string());
        Self::start_with(temp, &format!(", tls: {{certificate: {pem}, key: {key}}}"), "")
    }

    /// With more settings of `http`, and of the top.
    fn start_with(temp: &Temp, http: &str, more: &str) -> Self {
        needs("docker-registry", "docker-registry");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let data = temp.path("registry");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"{address}\"{http}}}\n{more}",
            data.display()
        );
        let config = temp.file("registry.yml", &config, 0o644);
        let log = temp.path("registry.log");
        let written = File::create(&log).expect("make the log");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).stdout(written.try_clone().expect("duplicate")).stderr(written);
        let process = command.spawn().expect("start the registry");
        let registry = Self { process, address, data, log };
        let listens = |_: &u32| TcpStream::connect(&registry.address).is_ok();
        let wait = |_: &u32| std::thread::sleep(Duration::from_millis(50));
        assert!((0..200).inspect(wait).any(|n| listens(&n)), "the registry does not listen on {}", registry.address);
        registry
    }

    /// The requests so far with this method, and this in their path, that succeeded.
    pub fn requests(&self, method: &str, part: &str) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).expect("read the log");
        let is_one = |line: &&str| {
            // As in Apache's log: "METHOD PATH PROTOCOL" STATUS.
            let Some((request, rest)) = line.split_once('"').and_then(|(_, rest)| rest.split_once("\" ")) else {
                return false;
            };
            request.starts_with(&format!("{method} ")) && request.contains(part) && rest.starts_with('2')
        };
        log.lines().filter(is_one).map(str::to_owned).collect()
    }

    /// Removes the data of all layers: those of more than 1 kB.
    pub fn lose_blobs(&self) {
        let files = Command::new("find").arg(&self.data).args(["-name", "data", "-size", "+1k", "-delete"]).status();
        assert!(files.expect("run find").success());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
