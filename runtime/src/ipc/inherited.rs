//! Descriptors that a service manager opened for the container,
//! sd_listen_fds(3): they come first, then those of --preserve-fds.

/// How many there are, if they are meant for this process.
pub fn count() -> u32 {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let is_ours = number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0)
}

/// What the container's init is told of them: it is process 1.
pub fn environment(count: u32) -> Vec<String> {
    if count == 0 {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").ok().map(|names| format!("LISTEN_FDNAMES={names}"));
    let words = [Some(format!("LISTEN_FDS={count}")), Some("LISTEN_PID=1".into()), names];
    words.into_iter().flatten().collect()
}
