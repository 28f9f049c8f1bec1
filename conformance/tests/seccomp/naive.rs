//! What a random profile says of a call, by reading it rule by rule.

use crate::profiles::TESTED;
use crate::{AUDIT_I386, AUDIT_X86_64, X32_BIT};
use firn::internals::seccomp::interpret::Call;
use serde_json::Value;

pub fn action(name: &Value, errno: &Value) -> u32 {
    let data = errno.as_u64().unwrap_or(1) as u32;
    match name.as_str().expect("an action") {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | data,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_TRACE" => 0x7ff0_0000 | data,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        other => panic!("action {other}"),
    }
}

/// The verdicts that the profile allows for a call of one of the tested system
/// calls: several only where rules overlap.
pub fn verdicts(profile: &Value, call: &Call) -> Vec<u32> {
    let default = action(&profile["defaultAction"], &profile["defaultErrnoRet"]);
    let mut found = Vec::new();
    let mut unconditional = None;
    for rule in profile["syscalls"].as_array().expect("rules") {
        let action = action(&rule["action"], &rule["errnoRet"]);
        if action == default {
            continue;
        }
        for name in rule["names"].as_array().expect("names") {
            for multiplexed in ways(name.as_str().expect("a name"), call) {
                match holds(&rule["args"], call, multiplexed) {
                    Some(Holds::Always) => unconditional = unconditional.or(Some(action)),
                    Some(Holds::Here) => found.push(action),
                    None => {}
                }
            }
        }
    }
    match unconditional {
        Some(action) => vec![action],
        None if found.is_empty() => vec![default],
        None => found,
    }
}

/// How a name means this call: directly, or with that first argument.
fn ways(name: &str, call: &Call) -> Vec<Option<u64>> {
    let Some(tested) = TESTED.iter().find(|tested| tested.name == name) else { return Vec::new() };
    let direct = match call.arch {
        AUDIT_X86_64 if call.number & X32_BIT == 0 => tested.x86_64 == Some(call.number),
        AUDIT_X86_64 => tested.x32 == Some(call.number & !X32_BIT),
        _ => tested.i386 == Some(call.number),
    };
    let other = tested.multiplexed.filter(|(number, _)| call.arch == AUDIT_I386 && *number == call.number);
    direct.then_some(None).into_iter().chain(other.map(|(_, which)| Some(which))).collect()
}

enum Holds {
    Always,
    Here,
}

fn holds(args: &Value, call: &Call, multiplexed: Option<u64>) -> Option<Holds> {
    let none = Vec::new();
    let args = args.as_array().unwrap_or(&none);
    let mut indices: Vec<u64> = args.iter().map(|arg| arg["index"].as_u64().expect("an index")).collect();
    indices.sort_unstable();
    indices.dedup();
    if indices.len() == args.len() {
        return all(args, call, multiplexed);
    }
    let alternatives = args.iter().filter_map(|arg| all(std::slice::from_ref(arg), call, multiplexed));
    alternatives.reduce(|a, b| if matches!(a, Holds::Always) { a } else { b })
}

fn all(args: &[Value], call: &Call, multiplexed: Option<u64>) -> Option<Holds> {
    let half = call.arch == AUDIT_I386 || call.number & X32_BIT != 0;
    let cut = |value: u64| if half { u64::from(value as u32) } else { value };
    let mut result = Holds::Always;
    if let Some(which) = multiplexed {
        if cut(call.args[0]) != which {
            return None;
        }
        result = Holds::Here;
    }
    for arg in args {
        let index = arg["index"].as_u64().expect("an index") as usize;
        if index == 0 && multiplexed.is_some() {
            continue;
        }
        let value = cut(arg["value"].as_u64().expect("a value"));
        let (given, second) = (cut(call.args[index]), cut(arg["valueTwo"].as_u64().unwrap_or(0)));
        let holds = match arg["op"].as_str().expect("an operator") {
            "SCMP_CMP_EQ" => given == value,
            "SCMP_CMP_GE" => given >= value,
            "SCMP_CMP_GT" => given > value,
            "SCMP_CMP_LE" => given <= value,
            "SCMP_CMP_LT" => given < value,
            "SCMP_CMP_NE" => given != value,
            "SCMP_CMP_MASKED_EQ" if value == 0 => continue,
            "SCMP_CMP_MASKED_EQ" => given & value == second & value,
            other => panic!("operator {other}"),
        };
        if !holds {
            return None;
        }
        result = Holds::Here;
    }
    Some(result)
}
