//! Into containers: programs, their streams, their exit status; and what was printed.

use crate::host::Host;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

#[test]
fn programs_run_with_their_arguments_streams_and_status() {
    let host = Host::new("ctl-access");
    host.project(json!({"a": {"environment": {"A": "of the definition"}}}));
    host.up();
    let name = host.name("a");
    for (script, code) in [("exit 0", 0), ("exit 1", 1), ("exit 77", 77), ("kill -TERM $$", 143)] {
        for verb in ["exec", "run"] {
            assert_eq!(host.call(&[verb, &name, "--", "sh", "-c", script]).code, code, "{verb} {script}");
        }
    }
    // What can't be run at all.
    for (program, code) in [("/missing", 127), ("missing", 127), ("/tmp", 126)] {
        assert_eq!(host.call(&["exec", &name, "--", program]).code, code, "{program}");
    }
    assert_eq!(host.call(&["exec", "nobody", "true"]).code, 125);
    let odd = ["a b", "'\"", "$(touch /pwned)", "new\nline", "", "-x", "*"];
    let expected = odd.iter().map(|argument| format!("[{argument}]")).collect::<String>();
    let print = ["sh", "-c", r#"for i; do printf '[%s]' "$i"; done"#, "sh"];
    for verb in ["exec", "run"] {
        let output = host.call(&[&[verb, &name, "--"], &print[..], &odd[..]].concat()).succeeds();
        assert_eq!(output.stdout, expected, "{verb}");
    }
    assert_eq!(host.exec("a", &["sh", "-c", "ls /pwned 2>/dev/null; echo $A"]), "of the definition\n");
    assert_eq!(host.call(&["run", &name, "sh", "-c", "echo $HOME; tty"]).stdout, "/root\nnot a tty\n");
    ten_megabytes(&host, &["exec", &name, "cat"]);
    ten_megabytes(&host, &["run", &name, "cat"]);
    // A login shell takes commands from a pipe, as root-login of nixos-container does.
    let mut shell = host.firnctl(&["root-login", &name]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(b"echo $HOME; exit 4\n").unwrap();
    let output = shell.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(4), &b"/root\n"[..]));
    host.leaves_nothing();
}

/// Of all values, in, through, and out again.
fn ten_megabytes(host: &Host, args: &[&str]) {
    let data: Vec<u8> = (0..10 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut cat = host.firnctl(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(&data).unwrap();
            drop(stdin);
        });
        stdout.read_to_end(&mut back).unwrap();
    });
    assert!(cat.wait().unwrap().success());
    assert!(back == data, "{} bytes of {}", back.len(), data.len());
}

#[test]
fn a_shell_is_of_a_container_that_is_thrown_away() {
    let host = Host::new("ctl-shell");
    host.project(json!({"a": {}}));
    let name = host.name("a");
    let shell = |more: &[&str]| host.call(&[&["shell", "firn.json"], more].concat());
    let output = shell(&["--run", "c", "sh", "-c", "hostname; exit 5"]).fails(5);
    assert_eq!(output.stdout, format!("{name}\n"));
    assert!(
        output.stderr.contains("Running command.") && output.stderr.ends_with("Destroying container.\n"),
        "{output:?}"
    );
    assert_eq!(shell(&["--run", "c", "false"]).code, 1);
    assert_eq!(host.call(&["status", &name]).stdout, "gone\n");
    // A shell reads its commands from its stdin too; a call in it changes the container.
    let firnctl = host.firnctl(&["shell", "firn.json"]);
    let inner = format!("{} --state-dir state --run-dir run", firnctl.get_program().to_str().unwrap());
    let script = format!(
        "c sh -c 'cat /proc/sys/kernel/random/boot_id > /first' < /dev/null\nsed -i 's/\"rootFS\"/\"environment\": {{\"A\": \"1\"}}, \"rootFS\"/' firn.json\n\
         {inner} shell firn.json < /dev/null\n{inner} exec {name} sh -c 'echo \"A=$A\"; ls /first' < /dev/null\necho $name\nexit 3\n"
    );
    let mut shell = host.firnctl(&["shell", "firn.json"]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), &*stdout), (Some(3), &*format!("A=1\n/first\n{name}\n")), "{stderr}");
    // It destroys none of another project.
    host.up();
    std::fs::create_dir(host.scratch.join("other")).unwrap();
    std::fs::copy(host.scratch.join("firn.json"), host.scratch.join("other/firn.json")).unwrap();
    let error = host.call(&["shell", "other/firn.json", "--run", "true"]).fails(1).stderr;
    assert!(error.contains("belongs to "), "{error}");
    assert_eq!(host.status("a"), "up");
    // One that is kept.
    let kept = host.call(&["shell", "--no-destroy", "firn.json", "--run", "c", "true"]).succeeds();
    assert!(!kept.stderr.contains("Destroying"), "{kept:?}");
    assert_eq!(host.status("a"), "up");
    host.leaves_nothing();
}

#[test]
fn logs_are_shown_and_followed() {
    let host = Host::new("ctl-logs");
    host.init("root", "#!/bin/sh\nfor i in 1 2 3; do echo line $i; done\ntrap 'exit 0' 37\nread -r go < /go; echo more\nwhile :; do sleep 60 & wait $!; done\n");
    assert!(std::process::Command::new("mkfifo").arg(host.scratch.join("root/go")).status().unwrap().success());
    host.project(json!({"a": {}}));
    host.up();
    let name = host.name("a");
    firn_conformance::harness::wait_until("it has printed", || host.log("a").lines().count() == 3);
    assert_eq!(host.call(&["logs", "-n", "2", &name]).succeeds().stdout, "line 2\nline 3\n");
    let mut logs = host.spawn(&["logs", "--follow", "-n", "1", &name]);
    let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "line 3");
    host.exec("a", &["sh", "-c", "echo go > /go"]);
    assert_eq!(lines.next().unwrap().unwrap(), "more");
    // It ends with the container; the log stays.
    host.call(&["stop", &name]).succeeds();
    assert_eq!(lines.next().map(Result::unwrap), None);
    assert!(logs.wait().unwrap().success());
    assert_eq!(host.log("a").lines().count(), 4);
    host.leaves_nothing();
}

#[test]
fn a_container_is_looked_at_and_signalled() {
    let host = Host::new("ctl-look");
    host.init("root", "#!/bin/sh\ntrap 'exit 0' 37\ntrap 'echo heard' USR2\nwhile :; do sleep 60 & wait $!; done\n");
    host.project(json!({"a": {"memory": "64M", "restart": "no"}}));
    host.up();
    let name = host.name("a");
    host.call(&["limit", &name, "memory=80M"]).succeeds();
    let inspect = || -> serde_json::Value {
        serde_json::from_str::<serde_json::Value>(&host.call(&["inspect", &name]).succeeds().stdout).unwrap()[0].clone()
    };
    let known = inspect();
    assert_eq!((&known["state"], &known["definition"]["memory"]), (&json!("up"), &json!("80M")));
    assert_eq!((&known["overridden"], &known["running"]["definition"]["memory"]), (&json!(["memory"]), &json!("80M")));
    let pids = host.call(&["top", "--json", &name]).succeeds().stdout;
    let pids: Vec<u64> = serde_json::from_str(&pids).unwrap();
    assert!(pids.contains(&known["pid"].as_u64().unwrap()) && pids.len() >= 2, "{pids:?}");
    assert!(host.call(&["top", &name]).succeeds().stdout.contains("/init"));
    host.call(&["kill", &name, "USR2"]).succeeds();
    host.expect_log("a", "heard\n");
    assert!(host.call(&["show-host-key", &name]).fails(1).stderr.contains("has no host key"));
    host.exec("a", &["sh", "-c", "mkdir -p /etc/ssh; echo key > /etc/ssh/ssh_host_ecdsa_key.pub"]);
    assert_eq!(host.call(&["show-host-key", &name]).succeeds().stdout, "key\n");
    host.call(&["kill", &name]).succeeds();
    firn_conformance::harness::wait_until("it is down", || host.status("a").starts_with("down"));
    assert_eq!(inspect()["state"], json!("down"));
    assert_eq!(host.call(&["show-host-key", &name]).succeeds().stdout, "key\n");
    for args in [&["kill", &*name][..], &["top", &name]] {
        assert!(host.call(args).fails(1).stderr.contains("does not run"), "{args:?}");
    }
    host.leaves_nothing();
}
