//! Further processes in the container, which clients of the control socket ask for. The runtime's
//! `exec --detach` starts each, and the monitor, as subreaper, learns how it ends.
//!
//! Its streams are pipes, or a terminal, whose other ends go to the client: nothing of them passes
//! through the monitor.

use super::Container;
use super::execs::{Exec, LIMIT};
use super::process_file;
use crate::control::protocol::{self, AttachedStream, ExecProcess, Happening, Message, Reply};
use crate::process::exit::Exit;
use crate::process::pipes;
use crate::process::pty::ConsoleSocket;
use crate::runtime::command::{ExecArgs, Verb};
use firn::error::{Context, Error, Result};
use std::fs;
use std::io;
use std::process::{Command, Stdio};

/// The names of files in the state directory while a process is started; one is at a time.
const PID_FILE: &str = "exec.pid";
const CONSOLE: &str = "exec.console";
const PROCESS_FILE: &str = "exec.process";

impl Container {
    /// Begins to start a process. The client gets its reply when that is done, or has failed.
    pub(super) fn begin_exec(&mut self, client: u32, process: ExecProcess) -> Result<()> {
        if !self.attempt.init_runs() {
            return Err(Error::new("it does not run now"));
        }
        if process.args.is_empty() {
            return Err(Error::new("no command is given"));
        }
        if self.execs.list.len() == LIMIT {
            return Err(Error::new(format!("{LIMIT} processes of clients run in it already")));
        }
        self.execs.last = self.execs.last.wrapping_add(1);
        let number = self.execs.last;
        self.execs.list.push(Exec { number, client, process, streams: Vec::new(), console: None, pid: None });
        self.server.hold(client, &self.reactor);
        self.queue.push(Verb::Exec(number));
        Ok(())
    }

    /// The runtime's command for a process, with its streams.
    pub(super) fn prepare_exec(&mut self, number: u32) -> Result<Command> {
        for name in [PID_FILE, CONSOLE, PROCESS_FILE] {
            self.dir.remove(name)?;
        }
        self.execs.orphans.clear();
        let exec = self.execs.list.iter_mut().find(|exec| exec.number == number);
        let exec = exec.ok_or_else(|| Error::new("exec: its client is gone"))?;
        if !self.attempt.init_runs() {
            return Err(Error::new("it does not run any more"));
        }
        let (mut console, mut process_file) = (None, None);
        if exec.process.terminal {
            if let Some(size) = exec.process.size {
                let file = self.dir.file(PROCESS_FILE);
                process_file::write(&file, &self.dir.file("bundle"), &exec.process, size)?;
                process_file = Some(file);
            }
            let socket = ConsoleSocket::new(self.dir.listen(CONSOLE)?).doing(|| "listen for the terminal")?;
            exec.console = Some(socket);
            console = Some(self.dir.connect_path(CONSOLE));
        }
        let args = ExecArgs {
            args: &exec.process.args,
            env: &exec.process.env,
            cwd: exec.process.cwd.as_deref(),
            user: exec.process.user.as_deref(),
            groups: &exec.process.groups,
            pid_file: self.dir.file(PID_FILE),
            console_socket: console,
            process_file,
        };
        let mut command = self.runtime.exec_command(&args).doing(|| "prepare exec")?;
        if !exec.process.terminal {
            let pipe = || "pipe";
            if exec.process.input {
                let (input, writer) = pipes::pipe_of_others().doing(pipe)?;
                command.stdin(Stdio::from(input));
                exec.streams.push((AttachedStream::Input, writer));
            }
            let (stdout, out) = pipes::pipe_of_others().doing(pipe)?;
            let (stderr, err) = pipes::pipe_of_others().doing(pipe)?;
            command.stdout(Stdio::from(out)).stderr(Stdio::from(err));
            exec.streams.push((AttachedStream::Stdout, stdout));
            exec.streams.push((AttachedStream::Stderr, stderr));
        }
        Ok(command)
    }

    /// The runtime's command has ended: the process runs, or was not started.
    pub(super) fn on_exec_started(&mut self, number: u32, started: Result<()>) {
        let result = started.and_then(|()| self.adopt_exec(number));
        let Some(index) = self.execs.list.iter().position(|exec| exec.number == number) else { return };
        let client = self.execs.list[index].client;
        let mut happening = None;
        let (reply, streams) = match result {
            Ok(()) => {
                let exec = &mut self.execs.list[index];
                let terminal = exec.process.terminal;
                happening = Some(Happening::Exec { exec: number, pid: exec.pid, args: exec.process.args.clone() });
                let (names, ends) = std::mem::take(&mut exec.streams).into_iter().unzip();
                (Reply { exec: Some(number), streams: names, terminal, ..Reply::default() }, ends)
            }
            Err(error) => {
                self.execs.list.remove(index);
                (Reply { error: Some(error.chain()), ..Reply::default() }, Vec::new())
            }
        };
        let taken = self.server.reply(client, reply, &streams);
        happening.into_iter().for_each(|what| self.happened(what));
        self.server.go_on(client, &self.reactor);
        if !taken {
            self.remove_client(client);
        }
        // It may have ended before the runtime did.
        let orphans = std::mem::take(&mut self.execs.orphans);
        for (pid, exit) in orphans {
            self.on_exec_ended(pid, exit);
        }
    }

    /// Reads the pid, and receives the terminal.
    fn adopt_exec(&mut self, number: u32) -> Result<()> {
        let exec = self.execs.list.iter_mut().find(|exec| exec.number == number);
        let exec = exec.ok_or_else(|| Error::new("exec: its client is gone"))?;
        let path = self.dir.file(PID_FILE);
        let name = || format!("pid file {}", path.display());
        let text = fs::read_to_string(&path).doing(name)?;
        exec.pid = Some(text.trim().parse().map_err(io::Error::other).doing(name)?);
        if let Some(console) = exec.console.take() {
            let master = console.receive_master().doing(|| "receive the terminal from the console socket")?;
            let master = master.ok_or_else(|| Error::new("the runtime has sent no terminal"))?;
            let copy = master.try_clone().doing(|| "duplicate the terminal")?;
            exec.streams = vec![(AttachedStream::Stdout, master), (AttachedStream::Input, copy)];
        }
        Ok(())
    }

    /// A child that is not init has ended; whether it was a client's process.
    pub(super) fn on_exec_ended(&mut self, pid: i32, exit: Exit) -> bool {
        let Some(index) = self.execs.list.iter().position(|exec| exec.pid == Some(pid)) else { return false };
        let exec = self.execs.list.remove(index);
        let (status, signal) = exit.status_or_signal();
        self.happened(Happening::ExecExit { exec: exec.number, status, signal });
        let event = protocol::Event::ExecEnded { exec: exec.number, status, signal };
        if !self.server.tell(exec.client, &Message::Event(event)) {
            self.remove_client(exec.client);
        }
        true
    }

    /// Remembers a child that was reaped while the runtime's `exec` runs: it may be the process.
    pub(super) fn remember_exec_orphan(&mut self, pid: i32, exit: Exit) {
        if self.queue.running().is_some_and(|verb| matches!(verb, Verb::Exec(_))) {
            self.execs.orphans.push((pid, exit));
        }
    }
}
