//! Profiles to compare runtimes by.

use serde_json::{Value, json};
use std::path::Path;

const PODMAN: &str = "/usr/share/containers/seccomp.json";

/// podman's own profile for containers with these capabilities, expanded as
/// podman does it.
pub fn podman(capabilities: &[&str]) -> Value {
    assert!(
        Path::new(PODMAN).exists(),
        "{PODMAN} is missing: install Debian's package golang-github-containers-common"
    );
    let text = std::fs::read(PODMAN).expect("read podman's profile");
    let profile: Value = serde_json::from_slice(&text).expect("podman's profile is JSON");
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    let has = |capability: &String| capabilities.contains(&capability.as_str());
    let rules = profile["syscalls"].as_array().expect("rules").iter().filter(|rule| {
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let arches = list(&includes["arches"]);
        !list(&excludes["arches"]).iter().any(|arch| arch == "amd64")
            && !list(&excludes["caps"]).iter().any(has)
            && (arches.is_empty() || arches.iter().any(|arch| arch == "amd64"))
            && list(&includes["caps"]).iter().all(has)
    });
    let rules: Vec<Value> = rules.map(rule).collect();
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    })
}

fn rule(raw: &Value) -> Value {
    let mut rule = json!({ "names": raw["names"], "action": raw["action"] });
    if !raw["errnoRet"].is_null() {
        rule["errnoRet"] = raw["errnoRet"].clone();
    }
    if raw["args"].as_array().is_some_and(|args| !args.is_empty()) {
        rule["args"] = raw["args"].clone();
    }
    rule
}

/// A call that the random profiles have rules for; neither a runtime's init
/// nor a sleeping busybox makes any of them.
#[derive(Debug, Clone, Copy)]
pub struct Tested {
    pub name: &'static str,
    pub x86_64: Option<u32>,
    /// Without its bit.
    pub x32: Option<u32>,
    pub i386: Option<u32>,
    /// i386's other number for it, and the first argument that goes with it.
    pub multiplexed: Option<(u32, u64)>,
}

const fn call(name: &'static str, x86_64: Option<u32>, x32: Option<u32>, i386: Option<u32>) -> Tested {
    Tested { name, x86_64, x32, i386, multiplexed: None }
}

const fn through(mut tested: Tested, number: u32, which: u64) -> Tested {
    tested.multiplexed = Some((number, which));
    tested
}

pub const TESTED: [Tested; 16] = [
    call("personality", Some(135), Some(135), Some(136)),
    call("ptrace", Some(101), Some(521), Some(26)),
    call("setpriority", Some(141), Some(141), Some(97)),
    call("ioprio_set", Some(251), Some(251), Some(289)),
    call("timer_create", Some(222), Some(526), Some(259)),
    call("keyctl", Some(250), Some(250), Some(288)),
    call("splice", Some(275), Some(275), Some(313)),
    call("kexec_load", Some(246), Some(528), Some(283)),
    call("create_module", Some(174), None, Some(127)),
    call("waitpid", None, None, Some(7)),
    through(call("accept", Some(43), Some(43), None), 102, 5),
    through(call("listen", Some(50), Some(50), Some(363)), 102, 4),
    through(call("recvmmsg", Some(299), Some(537), Some(337)), 102, 19),
    through(call("semtimedop", Some(220), Some(220), None), 117, 4),
    through(call("shmat", Some(30), Some(30), Some(397)), 117, 21),
    through(call("send", None, None, None), 102, 9),
];

/// Calls that are newer than what a container needs to start.
const NEW: [&str; 9] = [
    "futex_waitv",
    "landlock_add_rule",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "memfd_secret",
    "mount_setattr",
    "process_mrelease",
    "process_madvise",
    "quotactl_fd",
];

const ACTIONS: [&str; 8] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const OPERATORS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];

const VALUES: [u64; 12] =
    [0, 1, 2, 5, 0xff, 0x1000, 0xffff_ffff, 1 << 32, (1 << 32) + 5, (5 << 32) + 1, 1 << 63, u64::MAX];

/// Numbers that look random and are the same in every run.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A profile that lets a container start, with rules of all kinds for the
/// tested calls; `mixed` lets rules for one call have different actions.
pub fn random(seed: u64, mixed: bool) -> Value {
    let mut random = Random::new(seed);
    let mut rules = vec![base(&mut random)];
    for tested in TESTED {
        if random.chance(30) {
            continue;
        }
        let mut action = acting(&mut random);
        for _ in 0..1 + random.below(4) {
            if mixed && random.chance(50) {
                action = acting(&mut random);
            }
            let mut rule = action.clone();
            rule["names"] = json!([tested.name]);
            if random.chance(10) {
                rule["names"] = json!([tested.name, random.of(&TESTED).name, "not_a_system_call"]);
            }
            let count = random.below(4);
            if count > 0 {
                rule["args"] = conditions(&mut random, count);
            }
            let place = random.below(rules.len() + 1);
            rules.insert(place, rule);
        }
    }
    let mut profile = acting(&mut random);
    profile["defaultAction"] = profile["action"].take();
    if !profile["errnoRet"].is_null() {
        profile["defaultErrnoRet"] = profile["errnoRet"].take();
    }
    let mut architectures = vec!["SCMP_ARCH_X86_64"];
    architectures.extend(["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"].iter().filter(|_| random.chance(60)));
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": rules,
    })
}

/// Allows what podman's profile does, without the tested calls and without
/// some of the new ones.
fn base(random: &mut Random) -> Value {
    let profile = podman(&[]);
    let dropped: Vec<&str> = NEW.into_iter().filter(|_| random.chance(50)).collect();
    let rules = profile["syscalls"].as_array().expect("rules").iter();
    let allowed = rules.filter(|rule| rule["action"] == "SCMP_ACT_ALLOW" && rule["args"].is_null());
    let names = allowed.flat_map(|rule| rule["names"].as_array().expect("names")).filter(|name| {
        let name = name.as_str().expect("a name");
        !TESTED.iter().any(|tested| tested.name == name)
            && !dropped.contains(&name)
            && name != "socketcall"
            && name != "ipc"
    });
    json!({ "names": names.collect::<Vec<_>>(), "action": "SCMP_ACT_ALLOW" })
}

fn acting(random: &mut Random) -> Value {
    let action = random.of(&ACTIONS);
    let mut acting = json!({ "action": action });
    // An errno is also there for actions that ignore it.
    if random.chance(50) {
        acting["errnoRet"] = json!(random.of(&[1, 5, 38, 95]));
    }
    acting
}

fn conditions(random: &mut Random, count: usize) -> Value {
    let twice = random.chance(10);
    let mut unused: Vec<usize> = (0..6).collect();
    let conditions = (0..count).map(|_| {
        let place = random.below(unused.len().min(4));
        let index = if twice { unused[place] } else { unused.remove(place) };
        let operator = random.of(&OPERATORS);
        let mut condition = json!({ "index": index, "op": operator, "value": random.of(&VALUES) });
        if operator == "SCMP_CMP_MASKED_EQ" {
            condition["valueTwo"] = json!(random.of(&VALUES));
        }
        condition
    });
    Value::Array(conditions.collect())
}
