//! What the texts of a definition mean: times, sizes, addresses. Each says what would be right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// A span of time as systemd.time(7) has it: `1min 30s`, `90` (seconds), `1.5h`. None is
/// `infinity`.
pub fn time(text: &str) -> Result<Option<Duration>, String> {
    let wrong = || format!("{text:?} is no time: write it as 90, 1min 30s or infinity");
    if text.trim() == "infinity" {
        return Ok(None);
    }
    let mut rest = text.trim();
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = rest[end..].trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        total += number * unit_seconds(&rest[..end]).ok_or_else(wrong)?;
        rest = rest[end..].trim_start();
    }
    match Duration::try_from_secs_f64(total) {
        Ok(duration) if !text.trim().is_empty() => Ok(Some(duration)),
        _ => Err(wrong()),
    }
}

/// The units of systemd.time(7), from milliseconds to weeks.
fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "" | "s" | "sec" | "second" | "seconds" => 1.0,
        "ms" | "msec" => 1e-3,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return None,
    })
}

/// A number of bytes: `512M`, `1.5GiB`, `1000`; units are powers of 1024, as in systemd and Docker.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size: write it as 512M, 2G or a number of bytes");
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| wrong())?;
    let power = match text[end..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(wrong()),
    };
    let bytes = number * 1024f64.powi(power);
    if bytes.is_finite() && bytes < 2f64.powi(63) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    /// None where the text has none: then it is the address alone.
    pub prefix: Option<u8>,
}

/// Whether an option is of IPv4 or of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Family::V4 => "an IPv4 address",
            Family::V6 => "an IPv6 address",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Family::V4 => "10.233.1.2",
            Family::V6 => "fc00::2",
        }
    }

    fn is_of(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Family::V4)
    }

    fn bits(self) -> u8 {
        if self == Family::V4 { 32 } else { 128 }
    }
}

/// `ADDRESS` or `ADDRESS/PREFIX`, of something that can be a host.
pub fn network(text: &str, family: Family) -> Result<Network, String> {
    let wrong = || format!("must be {}, as in {}, not {text:?}", family.name(), family.example());
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    if !family.is_of(address) {
        return Err(wrong());
    }
    let prefix = match prefix.map(str::parse::<u8>) {
        None => None,
        Some(Ok(prefix)) if prefix <= family.bits() => Some(prefix),
        Some(_) => return Err(format!("{text:?}: the prefix must be a number from 0 to {}", family.bits())),
    };
    if address.is_unspecified() || address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(format!("{text:?} can't be the address of a host"));
    }
    if address.is_loopback() {
        return Err(format!("{text:?} is a loopback address, which never leaves its network namespace"));
    }
    Ok(Network { address, prefix })
}

/// `ADDRESS` alone.
pub fn address(text: &str, family: Family) -> Result<IpAddr, String> {
    match network(text, family)? {
        Network { address, prefix: None } => Ok(address),
        Network { address, prefix: Some(_) } => {
            Err(format!("{text:?} must have no prefix here: write {address}; localAddress may have one"))
        }
    }
}

/// The address of a host on which a port is.
pub fn any_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("must be an IPv4 or IPv6 address, not {text:?}"))
}

/// The three numbers of `extra.addressPrefix`.
pub fn prefix24(text: &str) -> Result<[u8; 3], String> {
    let numbers: Option<Vec<u8>> = text.split('.').map(|part| part.parse().ok()).collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| format!("must be three numbers from 0 to 255, as in 10.250.1, not {text:?}"))
}

/// Six bytes of a MAC address that one host can have.
pub fn mac(text: &str) -> Result<[u8; 6], String> {
    let parts: Option<Vec<u8>> =
        text.split(':').map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok()).flatten()).collect();
    let bytes: [u8; 6] = parts
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("must be a MAC address, as in 02:00:00:00:00:01, not {text:?}"))?;
    if bytes[0] & 1 == 1 {
        return Err(format!("{text:?} is a multicast address: the first number must be even"));
    }
    if bytes == [0; 6] {
        return Err(format!("{text:?} is no address of a host"));
    }
    Ok(bytes)
}

/// The name of a network interface: at most 15 bytes (linux/if.h, IFNAMSIZ), no `/`, no space.
pub fn interface(text: &str) -> Result<(), String> {
    let is_bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    match text {
        // The last two are the kernel's own, in /proc/sys/net.
        "" | "." | ".." | "all" | "default" => Err(format!("{text:?} is no name of a network interface")),
        _ if text.len() > 15 => Err(format!("{text:?} is longer than the 15 bytes of a network interface's name")),
        _ if text.contains(is_bad) => Err(format!("{text:?}: a network interface's name has no '/', ':' or space")),
        _ => Ok(()),
    }
}

/// `SOURCE[:MOUNT POINT]`; without the second it is the source's own path.
pub fn volume(text: &str) -> Result<(&str, Option<&str>), String> {
    match text.rsplit_once(':') {
        None if !text.is_empty() => Ok((text, None)),
        Some((source, target)) if !source.is_empty() && target.starts_with('/') => Ok((source, Some(target))),
        _ => Err(format!("must be SOURCE or SOURCE:/MOUNT/POINT, not {text:?}")),
    }
}

/// Whether an IPv6 address is of the link alone, which needs its interface named.
pub fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_systemds() {
        let seconds = |text| time(text).unwrap().map(|duration| duration.as_secs_f64());
        for (text, wanted) in [
            ("90", 90.0),
            ("1min 30s", 90.0),
            ("1min30s", 90.0),
            ("2 h", 7200.0),
            ("500ms", 0.5),
            ("1.5m", 90.0),
            ("1w", 604_800.0),
            ("0", 0.0),
        ] {
            assert_eq!(seconds(text), Some(wanted), "{text}");
        }
        assert_eq!(seconds("infinity"), None);
        for bad in ["", " ", "1 fortnight", "s", "-1", "1..2", "1e99w"] {
            assert!(time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, wanted) in
            [("0", 0), ("1000", 1000), ("1k", 1024), ("1.5M", 1536 << 10), ("2GiB", 2 << 30), ("1 T", 1 << 40)]
        {
            assert_eq!(size(text), Ok(wanted), "{text}");
        }
        for bad in ["", "M", "1X", "-1", "1e3", "99999999999T"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_are_those_of_hosts() {
        let prefix = |text| network(text, Family::V4).map(|network| network.prefix);
        assert_eq!(prefix("10.1.0.2/24"), Ok(Some(24)));
        assert_eq!(prefix("10.1.0.2"), Ok(None));
        for bad in ["10.1.0.2/33", "10.1.0", "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "fc00::1", "x", ""]
        {
            assert!(network(bad, Family::V4).is_err(), "{bad}");
        }
        for bad in ["10.1.0.2", "::", "::1", "ff02::1", "fc00::1/129"] {
            assert!(network(bad, Family::V6).is_err(), "{bad}");
        }
        assert!(address("10.1.0.2/24", Family::V4).unwrap_err().contains("write 10.1.0.2"));
        assert_eq!(prefix24("10.250.1"), Ok([10, 250, 1]));
        assert!(prefix24("10.250").is_err() && prefix24("10.250.256").is_err() && prefix24("10.250.1.1").is_err());
    }

    #[test]
    fn a_mac_address_is_that_of_one_host() {
        assert_eq!(mac("02:00:00:00:00:1f"), Ok([2, 0, 0, 0, 0, 0x1f]));
        for bad in ["01:00:00:00:00:01", "00:00:00:00:00:00", "2:0:0:0:0:1", "02:00:00:00:00", "zz:00:00:00:00:00"] {
            assert!(mac(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes_have_a_source_and_perhaps_a_place() {
        assert_eq!(volume("./data"), Ok(("./data", None)));
        assert_eq!(volume("./a:b:/data"), Ok(("./a:b", Some("/data"))));
        for bad in ["", ":/x", "a:b"] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }
}
