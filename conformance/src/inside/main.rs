//! A small static program for containers that have nothing else: it shows what
//! a process inside sees. The demo and tests put it into their roots.

#![forbid(unsafe_code)]

use std::process::ExitCode;

const USAGE: &str = "usage: firn-inside facts | starts | cat FILE | ls DIR | notify TEXT | exit STATUS";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["facts"] => facts(),
        ["starts"] => starts(),
        ["cat", file] => std::fs::read_to_string(file).map(|text| print!("{text}")),
        ["ls", dir] => list(dir),
        ["notify", text] => notify(text),
        ["exit", status] => return ExitCode::from(status.parse().unwrap_or(2)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("firn-inside {}: {error}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

/// Who and where this process is.
fn facts() -> std::io::Result<()> {
    let read = std::fs::read_to_string;
    let status = read("/proc/self/status")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim().to_owned();
    println!("host name     {}", read("/proc/sys/kernel/hostname")?.trim());
    println!("process       {}", std::process::id());
    println!("user          {}", field("Uid:").split_whitespace().next().unwrap_or(""));
    println!("capabilities  {}", field("CapEff:"));
    println!("processes     {}", std::fs::read_dir("/proc")?.flatten().filter(|e| is_pid(&e.file_name())).count());
    println!("mounts        {}", read("/proc/self/mountinfo")?.lines().count());
    Ok(())
}

fn is_pid(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())
}

/// Counts in /starts how often it was started on this root, and waits.
fn starts() -> std::io::Result<()> {
    let before = std::fs::read_to_string("/starts").ok().and_then(|text| text.trim().parse::<u32>().ok()).unwrap_or(0);
    std::fs::write("/starts", format!("{}\n", before + 1))?;
    println!("started {} time(s) on this root", before + 1);
    loop {
        std::thread::park();
    }
}

fn list(dir: &str) -> std::io::Result<()> {
    let mut names: Vec<_> = std::fs::read_dir(dir)?.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    names.iter().for_each(|name| println!("{}", name.to_string_lossy()));
    Ok(())
}

/// Tells the service manager, sd_notify(3).
fn notify(text: &str) -> std::io::Result<()> {
    let path = std::env::var_os("NOTIFY_SOCKET").ok_or_else(|| std::io::Error::other("NOTIFY_SOCKET is not set"))?;
    std::os::unix::net::UnixDatagram::unbound()?.send_to(text.as_bytes(), path).map(drop)
}
