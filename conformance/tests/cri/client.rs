//! Calls of the CRI, as a kubelet makes them, over containerd's socket.

use firn_conformance::harness::place::program;
use firn_conformance::harness::{Scratch, command};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A process of Debian's gRPC for Python: a line for each call, and one for its answer.
pub struct Client {
    process: Child,
    lines: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Client {
    pub fn start(scratch: &Scratch, socket: &Path) -> Self {
        let directory = scratch.directory("client");
        std::fs::write(directory.join("api.proto"), include_str!("api.proto")).unwrap();
        std::fs::write(directory.join("client.py"), include_str!("client.py")).unwrap();
        let mut protoc = Command::new(program("protoc", "protobuf-compiler"));
        command(protoc.args(["--python_out", ".", "api.proto"]).current_dir(&directory)).succeeds();
        // Debian's, which finds Debian's modules.
        let mut python = Command::new("/usr/bin/python3");
        python.arg("client.py").arg(socket).current_dir(&directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = python.spawn().expect("start python3: install Debian's package python3-grpcio");
        let lines = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Client { process, lines: RefCell::new(lines) }
    }

    /// The answer, or the error as gRPC has it: `CODE: message`.
    pub fn try_call(&self, method: &str, request: &Value) -> Result<Value, String> {
        let mut lines = self.lines.borrow_mut();
        writeln!(lines.0, "{method} {request}").map_err(|error| format!("the client is gone: {error}"))?;
        let mut answer = String::new();
        lines.1.read_line(&mut answer).map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| format!("{method}: {error}: {answer:?}"))?;
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["ok"].clone()),
        }
    }

    #[track_caller]
    pub fn call(&self, method: &str, request: &Value) -> Value {
        self.try_call(method, request).unwrap_or_else(|error| panic!("{method} {request}: {error}"))
    }

    /// All pods, with their containers.
    pub fn remove_all(&self) {
        let pods = self.try_call("ListPodSandbox", &json!({})).unwrap_or_default();
        for pod in pods["items"].as_array().into_iter().flatten() {
            let request = json!({"pod_sandbox_id": pod["id"]});
            for method in ["StopPodSandbox", "RemovePodSandbox"] {
                if let Err(error) = self.try_call(method, &request) {
                    println!("{method}: {error}");
                }
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
