//! Device access: devices.allow and devices.deny of cgroup v1, an eBPF program on cgroup v2
//! (BPF_CGROUP_DEVICE). CAP_MKNOD is not dropped for it: creating a node gives no access.

use super::group::Cgroup;
use super::handle::open_dir;
use crate::bail;
use crate::error::{Context, Result};
use crate::host;
use crate::host::cgroup_layout;
use crate::plan::cgroup::devices::Rule;
use crate::sys::bpf;
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Applies the rules. Without CAP_SYS_ADMIN the container may go without: a process with no
/// capabilities outside a user namespace can neither create device nodes nor open those of
/// others (capabilities(7), CAP_MKNOD; the device cgroup is checked in addition to the file
/// mode). Errors: no devices controller; those of bpf(2).
pub fn apply(cgroup: &Cgroup, rules: &[Rule]) -> Result<()> {
    if let Some(dir) = cgroup.dirs.iter().find(|dir| dir.has("devices")) {
        let open = |file| {
            let path = dir.path.join(file);
            rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                .doing(|| format!("open {}", path.display()))
        };
        let (allow, deny) = (open("devices.allow")?, open("devices.deny")?);
        for rule in rules {
            let text = rule.text();
            match rustix::io::write(if rule.allow { &allow } else { &deny }, text.as_bytes()) {
                // A delegated cgroup's files are writable, but the kernel requires
                // CAP_SYS_ADMIN (cgroup-v1/devices.rst).
                Err(Errno::PERM) if host::is_rootless() => return Ok(()),
                written => {
                    written.doing(|| format!("write the device rule {text:?} to cgroup {}", dir.path.display()))?
                }
            };
        }
    } else if let Some(dir) = cgroup.v2() {
        let what = || format!("load the device program of cgroup {}", dir.path.display());
        let program = match bpf::load_device_program(&program(rules)) {
            Err(Errno::PERM) if host::is_rootless() => return Ok(()),
            program => program.doing(what)?,
        };
        bpf::attach_device_program(open_dir(&dir.path)?.as_fd(), program.as_fd()).doing(what)?;
    } else if !host::is_rootless() {
        bail!(
            "the container's devices have no cgroup: mount the devices controller at {}/devices, or cgroup v2",
            cgroup_layout::MOUNT
        );
    }
    Ok(())
}

// linux/bpf.h, linux/bpf_common.h. An instruction: code, registers (source << 4 |
// destination), 16-bit offset, 32-bit immediate.
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x57;
const RIGHT_SHIFT: u8 = 0x77;
const MOVE: u8 = 0xbf;
const SET: u8 = 0xb7;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
const EXIT: u8 = 0x95;

// struct bpf_cgroup_dev_ctx: access_type is access << 16 | type.
const CONTEXT_TYPE: i16 = 0;
const CONTEXT_MAJOR: i16 = 4;
const CONTEXT_MINOR: i16 = 8;
const TYPE_BLOCK: i32 = 1;
const TYPE_CHAR: i32 = 2;
const ACCESS_MKNOD: i32 = 1;
const ACCESS_READ: i32 = 2;
const ACCESS_WRITE: i32 = 4;

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(source << 4 | destination) << 8
        | u64::from(offset as u16) << 16
        | u64::from(immediate as u32) << 32
}

/// Compiles `rules`, of which the last matching one decides: compiled from the end, so that
/// the first match returns. No match is a denial. A rule allows if it covers all of the
/// requested access, and denies if it covers any of it.
pub fn program(rules: &[Rule]) -> Vec<u64> {
    let mut code = vec![
        // r2 = type, r3 = access, r4 = major, r5 = minor
        instruction(LOAD_WORD, 2, 1, CONTEXT_TYPE, 0),
        instruction(MOVE, 3, 2, 0, 0),
        instruction(AND, 2, 0, 0, 0xffff),
        instruction(RIGHT_SHIFT, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, CONTEXT_MAJOR, 0),
        instruction(LOAD_WORD, 5, 1, CONTEXT_MINOR, 0),
    ];
    let mut decided = false;
    for rule in rules.iter().rev() {
        let block = compile_rule(rule);
        let always = block.len() == 2;
        code.extend(block);
        if always {
            decided = true;
            break;
        }
    }
    if !decided {
        code.extend(verdict(false));
    }
    code
}

fn verdict(allow: bool) -> [u64; 2] {
    [instruction(SET, 0, 0, 0, allow.into()), instruction(EXIT, 0, 0, 0, 0)]
}

/// Conditions that jump behind the verdict if they fail, then the verdict.
fn compile_rule(rule: &Rule) -> Vec<u64> {
    let mut conditions: Vec<Vec<u64>> = Vec::new();
    match rule.kind {
        'b' => conditions.push(vec![instruction(JUMP_NOT_EQUAL, 2, 0, 0, TYPE_BLOCK)]),
        'c' => conditions.push(vec![instruction(JUMP_NOT_EQUAL, 2, 0, 0, TYPE_CHAR)]),
        _ => {}
    }
    let mut access = 0;
    for (on, bit) in [(rule.read, ACCESS_READ), (rule.write, ACCESS_WRITE), (rule.mknod, ACCESS_MKNOD)] {
        if on {
            access |= bit;
        }
    }
    if access != ACCESS_READ | ACCESS_WRITE | ACCESS_MKNOD {
        let mut condition = vec![instruction(MOVE, 1, 3, 0, 0), instruction(AND, 1, 0, 0, access)];
        condition.push(if rule.allow {
            instruction(JUMP_NOT_EQUAL_REGISTER, 1, 3, 0, 0)
        } else {
            // None of the requested access is denied here: continue.
            instruction(JUMP_EQUAL, 1, 0, 0, 0)
        });
        conditions.push(condition);
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number {
            conditions.push(vec![instruction(JUMP_NOT_EQUAL, register, 0, 0, number as i32)]);
        }
    }
    let mut code: Vec<u64> = conditions.iter().flatten().copied().collect();
    let end = code.len() + 2;
    let mut at = 0;
    for condition in &conditions {
        at += condition.len();
        // Jump offsets count from the next instruction.
        code[at - 1] |= (((end - at) as u64) & 0xffff) << 16;
    }
    code.extend(verdict(rule.allow));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets a device program, for the instructions above.
    fn run(program: &[u64], kind: i32, access: i32, major: u32, minor: u32) -> bool {
        let mut registers = [0u64; 11];
        let mut at = 0;
        loop {
            let word = program[at];
            let code = word as u8;
            let (destination, source) = (((word >> 8) & 15) as usize, ((word >> 12) & 15) as usize);
            let offset = (word >> 16) as u16 as i16;
            let immediate = (word >> 32) as u32 as i32 as i64 as u64;
            at += 1;
            let jump = match code {
                LOAD_WORD => {
                    registers[destination] = match offset {
                        CONTEXT_TYPE => (access << 16 | kind) as u64,
                        CONTEXT_MAJOR => major.into(),
                        _ => minor.into(),
                    };
                    false
                }
                AND => {
                    registers[destination] &= immediate;
                    false
                }
                RIGHT_SHIFT => {
                    registers[destination] >>= immediate;
                    false
                }
                MOVE => {
                    registers[destination] = registers[source];
                    false
                }
                SET => {
                    registers[destination] = immediate;
                    false
                }
                JUMP_NOT_EQUAL => registers[destination] != immediate,
                JUMP_EQUAL => registers[destination] == immediate,
                JUMP_NOT_EQUAL_REGISTER => registers[destination] != registers[source],
                EXIT => return registers[0] == 1,
                other => panic!("instruction {other:#x}"),
            };
            if jump {
                at = at.checked_add_signed(offset.into()).unwrap();
            }
        }
    }

    fn rule(allow: bool, kind: char, major: Option<u32>, minor: Option<u32>, access: &str) -> Rule {
        let has = |letter| access.contains(letter);
        Rule { allow, kind, major, minor, read: has('r'), write: has('w'), mknod: has('m') }
    }

    #[test]
    fn the_last_matching_rule_decides() {
        let program = program(&[
            rule(false, 'a', None, None, "rwm"),
            rule(true, 'c', Some(1), Some(3), "rw"),
            rule(true, 'b', Some(8), None, "r"),
            rule(false, 'c', Some(1), None, "w"),
        ]);
        let allowed = |kind, access, major, minor| run(&program, kind, access, major, minor);
        assert!(allowed(TYPE_CHAR, ACCESS_READ, 1, 3));
        assert!(!allowed(TYPE_CHAR, ACCESS_WRITE, 1, 3));
        assert!(!allowed(TYPE_CHAR, ACCESS_READ | ACCESS_WRITE, 1, 3));
        assert!(!allowed(TYPE_CHAR, ACCESS_MKNOD, 1, 3));
        assert!(!allowed(TYPE_CHAR, ACCESS_READ, 1, 4));
        assert!(allowed(TYPE_BLOCK, ACCESS_READ, 8, 77));
        assert!(!allowed(TYPE_BLOCK, ACCESS_READ | ACCESS_WRITE, 8, 77));
        assert!(!allowed(TYPE_CHAR, ACCESS_READ, 8, 77));
    }

    #[test]
    fn a_rule_for_everything_ends_the_program() {
        let all = program(&[rule(false, 'c', Some(1), None, "r"), rule(true, 'a', None, None, "rwm")]);
        assert_eq!(all.len(), 8);
        assert!(run(&all, TYPE_CHAR, ACCESS_READ, 1, 3));
    }
}
