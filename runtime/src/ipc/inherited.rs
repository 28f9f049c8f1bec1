//! Descriptors of socket activation, sd_listen_fds(3): from 3 on, before those of
//! `--preserve-fds`.

/// LISTEN_FDS, if LISTEN_PID is this process; otherwise 0.
pub fn count() -> u32 {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let is_ours = number("LISTEN_PID") == Some(std::process::id());
    number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0)
}

/// LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES for the container's init, which is pid 1.
pub fn environment(count: u32) -> Vec<String> {
    if count == 0 {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").ok().map(|names| format!("LISTEN_FDNAMES={names}"));
    let words = [Some(format!("LISTEN_FDS={count}")), Some("LISTEN_PID=1".into()), names];
    words.into_iter().flatten().collect()
}
