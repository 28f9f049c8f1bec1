//! System call numbers as ranges with the same treatment, and the policy for numbers without a
//! rule.

use super::abi::{Abi, X32_BIT};
use super::order::Treatment;
use super::profile::{ALLOW, Action, ERRNO, KILL_THREAD, LOG, Profile, TRACE, kind};

const ENOSYS: Action = ERRNO | libc::ENOSYS as u32;
/// A tracer skips a call by setting its number to -1 (ptrace(2)); since Linux 4.8 filters see that.
const SKIPPED: u32 = u32::MAX;

/// Numbers from `start` to the next range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub start: u32,
    pub treatment: Treatment,
}

/// The action for numbers without a rule: from each start to the next.
pub type Base = Vec<(u32, Action)>;

/// Actions for calls without a rule, for both x86-64 and x32, which share an AUDIT_ARCH.
///
/// A call that is newer than all calls in the profile was unknown to its author. It fails with
/// ENOSYS, not with the default, so that programs fall back to an older call (glibc falls back for
/// ENOSYS only). Not for a permissive default, or one by which a tracer decides.
pub fn base_x86_64(profile: &Profile<'_>) -> Base {
    let native = newest(profile, Abi::X86_64);
    let (x32, without_rule) = match profile.abis.x32 {
        true => (newest(profile, Abi::X32), profile.default),
        false => (None, KILL_THREAD),
    };
    // Bit 30 distinguishes x32 from x86-64, independent of bit 31.
    let mut base = vec![(0, profile.default)];
    base.extend(native.map(|newest| (newest + 1, ENOSYS)));
    base.push((X32_BIT, without_rule));
    base.extend(x32.map(|newest| (newest + 1, ENOSYS)));
    base.push((2 * X32_BIT, native.map_or(without_rule, |_| ENOSYS)));
    base.push((3 * X32_BIT, x32.map_or(without_rule, |_| ENOSYS)));
    if !profile.abis.x32 {
        base.push((SKIPPED, profile.default));
    }
    base
}

/// The same for i386.
pub fn base_i386(profile: &Profile<'_>) -> Base {
    let mut base = vec![(0, profile.default)];
    base.extend(newest(profile, Abi::I386).map(|newest| (newest + 1, ENOSYS)));
    base
}

/// The newest call in the profile. On i386 without calls that can be made through socketcall(2) or
/// ipc(2): their own numbers were added late.
fn newest(profile: &Profile<'_>, abi: Abi) -> Option<u32> {
    if [ALLOW, LOG, TRACE].contains(&kind(profile.default)) {
        return None;
    }
    let calls = profile.rules.iter().flat_map(|rule| &rule.calls);
    let counted = calls.filter(|call| abi != Abi::I386 || call.multiplexed().is_none());
    counted.filter_map(|call| call.number(abi)).max().filter(|newest| *newest != 0)
}

/// Merges the rules' numbers, in ascending order, with the base.
#[derive(Debug)]
pub struct Ranges<'b> {
    base: &'b Base,
    laid: Vec<Range>,
    next: u64,
}

impl<'b> Ranges<'b> {
    pub fn over(base: &'b Base) -> Self {
        Ranges { base, laid: Vec::with_capacity(128), next: 0 }
    }

    pub fn insert(&mut self, number: u32, treatment: Treatment) {
        self.fill(number.into());
        self.push(number, treatment);
        self.next = u64::from(number) + 1;
    }

    pub fn finish(mut self) -> Vec<Range> {
        self.fill(1 << 32);
        self.laid
    }

    /// Adds the base's ranges up to `end`.
    fn fill(&mut self, end: u64) {
        if self.next == end {
            return;
        }
        for (index, (start, action)) in self.base.iter().enumerate() {
            let until = self.base.get(index + 1).map_or(1 << 32, |(start, _)| u64::from(*start));
            let first = self.next.max((*start).into());
            if first < until.min(end) {
                self.push(first as u32, Treatment::Always(*action));
            }
        }
    }

    fn push(&mut self, start: u32, treatment: Treatment) {
        if self.laid.last().is_none_or(|last| last.treatment != treatment) {
            self.laid.push(Range { start, treatment });
        }
    }
}
