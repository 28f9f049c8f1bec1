//! Pids that are another process's by the time they are used.

use firn_conformance::harness::place::{older_than, program};
use firn_conformance::harness::{Bundle, Runtime, Scratch, command, skip};
use std::process::Command;

/// Processes of the container end all the time, and their numbers go to others of
/// the machine. So that few numbers go round quickly, all of it is in a pid
/// namespace with few of them, and the time between the list and its use is drawn
/// out by strace.
#[test]
fn a_signal_to_all_reaches_no_process_that_has_got_the_number_of_one() {
    if older_than("6.14") {
        skip("pid_max is the whole machine's before Linux 6.14");
        return;
    }
    let scratch = Scratch::new("numbers");
    let churn = "trap '' USR1; n=0; while [ $n -lt 25 ]; do n=$((n+1))
        ( trap '' USR1; while :; do ( trap - USR1; exec sleep 0.05 ) 2>/dev/null; done ) & done; wait; sleep 1000";
    let bundle = Bundle::new(&scratch).shell(churn).write();
    let firn = Runtime::firn(&scratch);
    program("strace", "strace");
    let line = firn.command(&["kill", "--all", firn.id(), "USR1"]);
    let run = firn.command(&["run", "--detach", "--bundle", &bundle.path.to_string_lossy(), firn.id()]);
    let words = |line: &Command| {
        let words: Vec<_> =
            [line.get_program()].into_iter().chain(line.get_args()).map(|w| w.to_string_lossy()).collect();
        words.join(" ")
    };
    let hits = scratch.join("hits");
    // A process that has got the signal ends with status 128 + SIGUSR1.
    let script = format!(
        "echo 400 > /proc/sys/kernel/pid_max || exit 90
        {run} < /dev/null > /dev/null 2>&1 || exit 91
        for n in $(seq 40); do ( while :; do sleep 0.05; [ $? = 138 ] && echo hit >> {hits}; done ) 2> /dev/null & done
        for try in 1 2 3 4; do
            strace -f -o /dev/null -e trace=pidfd_open -e inject=pidfd_open:delay_enter=30ms {kill} || exit 92
            [ -s {hits} ] && break
        done
        exit 0",
        run = words(&run),
        kill = words(&line),
        hits = hits.display()
    );
    let mut unshare = Command::new(program("unshare", "util-linux"));
    unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", &script]);
    command(&mut unshare).succeeds();
    let hits = std::fs::read_to_string(&hits).unwrap_or_default().lines().count();
    firn.call(&["delete", "--force", firn.id()]).succeeds();
    assert_eq!(hits, 0, "signals to processes that are not the container's");
    firn.left_nothing();
}
