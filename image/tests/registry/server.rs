//! The registry of Debian's package docker-registry, on a free port of loopback.

use crate::common::{Temp, needs};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// User `firn` with the password `secret`, by bcrypt.
const PASSWORDS: &str = "firn:$2b$12$LmO25uqSgnB78Lgg6jS2re8snQ7ToMa2fPqDQ5ZoR3.kQs1ZprfsO\n";

pub struct Registry {
    process: Child,
    /// Host and port.
    pub address: String,
    data: PathBuf,
}

impl Registry {
    /// With `login`, only for a user with a password.
    pub fn start(temp: &Temp, login: bool) -> Self {
        needs("docker-registry", "docker-registry");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let data = temp.path("registry");
        temp.file("passwords", PASSWORDS, 0o600);
        let passwords = temp.path("passwords");
        let auth = match login {
            true => format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", passwords.display()),
            false => String::new(),
        };
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: \"{address}\"}}\n{auth}",
            data.display()
        );
        let config = temp.file("registry.yml", &config, 0o644);
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("start the registry");
        let registry = Self { process, address, data };
        let listens = |_: &u32| TcpStream::connect(&registry.address).is_ok();
        let wait = |_: &u32| std::thread::sleep(Duration::from_millis(50));
        assert!((0..200).inspect(wait).any(|n| listens(&n)), "the registry does not listen on {}", registry.address);
        registry
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
