//! Two programs, shown the same calls.

use crate::profiles::Random;
use crate::{AUDIT_I386, AUDIT_X86_64, X32_BIT};
use firn::internals::seccomp::interpret::{Call, run};
use firn::internals::sys::seccomp::Instruction;
use serde_json::Value;

/// One that no profile here lists.
const AUDIT_RISCV64: u32 = 0xc000_00f3;

#[derive(Debug)]
pub struct Difference {
    pub call: Call,
    pub ours: u32,
    pub theirs: u32,
}

impl Difference {
    pub fn is_of_the_same_call(&self, other: &Difference) -> bool {
        (self.call.arch, self.call.number) == (other.call.arch, other.call.number)
    }
}

#[derive(Debug, Default)]
pub struct Compared {
    pub probes: usize,
    /// System calls of which arguments were looked at.
    pub by_arguments: usize,
    /// By system call.
    pub differences: Vec<Difference>,
}

/// Shows both every number on every architecture, and where one of them looks
/// at arguments, many arguments.
pub fn compare(profile: &Value, ours: &[Instruction], theirs: &[Instruction], seed: u64) -> Compared {
    let mut random = Random::new(seed);
    let values = values(profile);
    let mut compared = Compared::default();
    let show = |compared: &mut Compared, arch, number, args| {
        let call = Call { arch, number, args };
        let (ours, theirs) = (run(ours, &call), run(theirs, &call));
        compared.probes += 1;
        if ours.action != theirs.action {
            compared.differences.push(Difference { call, ours: ours.action, theirs: theirs.action });
        }
        ours.by_arguments || theirs.by_arguments
    };
    for arch in [AUDIT_X86_64, AUDIT_I386, AUDIT_RISCV64] {
        for number in numbers() {
            if !show(&mut compared, arch, number, [0; 6]) {
                continue;
            }
            compared.by_arguments += 1;
            for (index, values) in values.iter().enumerate() {
                for value in values {
                    let mut args = [0; 6];
                    args[index] = *value;
                    show(&mut compared, arch, number, args);
                }
            }
            for _ in 0..1000 {
                show(&mut compared, arch, number, std::array::from_fn(|index| random.of(&values[index])));
            }
        }
    }
    compared
}

/// All that exist, with and without x32's bit, and the edges of the space.
fn numbers() -> impl Iterator<Item = u32> {
    let edges = [X32_BIT - 1, X32_BIT * 2 - 1, X32_BIT * 2, X32_BIT * 2 + 1, X32_BIT * 3 - 1, X32_BIT * 3];
    (0..1024).chain((0..1024).map(|number| number | X32_BIT)).chain(edges).chain([u32::MAX - 1, u32::MAX])
}

/// For each argument, what is on either side of each constant of the profile,
/// and differs from it in the high half only.
fn values(profile: &Value) -> [Vec<u64>; 6] {
    let mut values: [Vec<u64>; 6] = std::array::from_fn(|_| vec![0]);
    // socketcall(2) and ipc(2) of i386
    values[0].extend(1..26);
    let rules = profile["syscalls"].as_array().expect("rules");
    for arg in rules.iter().flat_map(|rule| rule["args"].as_array().into_iter().flatten()) {
        let index = arg["index"].as_u64().expect("an index") as usize;
        for value in [&arg["value"], &arg["valueTwo"]].into_iter().filter_map(Value::as_u64) {
            let near = [value, value.wrapping_sub(1), value.wrapping_add(1), !value];
            values[index].extend(near.into_iter().flat_map(|near| [near, near ^ (1 << 32), near & 0xffff_ffff]));
        }
    }
    for values in &mut values {
        values.sort_unstable();
        values.dedup();
    }
    values
}
