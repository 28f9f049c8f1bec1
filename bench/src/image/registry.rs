//! The registry of Debian's package docker-registry, on a free port of loopback, with all images.

use super::input::Input;
use crate::Result;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Registry {
    process: Child,
    /// Host and port.
    pub address: String,
}

impl Registry {
    /// `None` if it is not installed.
    pub fn start(scratch: &Path, inputs: &[Input]) -> Result<Option<Self>> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
            scratch.join("registry").display()
        );
        let file = scratch.join("registry.yml");
        std::fs::write(&file, config)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else { return Ok(None) };
        let registry = Self { process, address };
        let listens = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            TcpStream::connect(&registry.address).is_ok()
        });
        if !listens {
            return Err(format!("docker-registry does not listen on {}", registry.address).into());
        }
        for input in inputs {
            let from = format!("oci:{}:v", input.layout.display());
            let mut skopeo = Command::new("skopeo");
            skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", &from]);
            if !skopeo.arg(registry.reference(input)).status()?.success() {
                return Err("skopeo can't push to the registry".into());
            }
        }
        Ok(Some(registry))
    }

    pub fn reference(&self, input: &Input) -> String {
        format!("docker://{}/{}:v", self.address, input.word())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
