//! Without namespaces, under the conditions of a restricted pod: user 65532 (when the tests run as root), no
//! capabilities, no new privileges, and a filter like that of container runtimes.

use crate::fixture::{LAUNCHER, Outcome, Step, is_alive, python, strict, wait_until};
use lineal_sandbox::{
    Access, Determinism, EntropySource, Exit, Isolation, Launcher, Network, Running, SandboxError,
};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

const CONFINE: &str = env!("CARGO_BIN_EXE_lineal-sandbox-confine");
const USER: u32 = 65532;
const EPOCH_S: i64 = 1_767_323_045;

/// Whether a pod's profile lets ptrace(2) through. Newer ones do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ptrace {
    Allowed,
    Forbidden,
}

/// Moves a step into a pod's conditions.
fn in_pod(mut step: Step, ptrace: Ptrace) -> Step {
    step.spec.isolation = Isolation::Pod;
    step.spec.mounts.clear();
    let dir = step.dir.path().to_owned();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let [confine, launcher] = [(CONFINE, "confine"), (LAUNCHER, "launcher")].map(|(program, name)| {
        fs::copy(program, dir.join(name)).unwrap();
        dir.join(name).to_str().unwrap().to_owned()
    });
    let mut args = vec!["--no-new-privs".to_owned(), "--inh-caps=-all".to_owned()];
    if is_root() {
        chown(&dir, Some(USER), Some(USER)).unwrap();
        let user = ["--reuid=65532", "--regid=65532", "--clear-groups", "--bounding-set=-all"];
        args.extend(user.map(str::to_owned));
    }
    args.extend(["--".to_owned(), confine]);
    if ptrace == Ptrace::Allowed {
        args.push("--allow-ptrace".to_owned());
    }
    args.push(launcher);
    step.launcher = Launcher::new("/usr/bin/setpriv", args);
    step
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A Python that the pod's user can run. That it was started is not enough: setpriv has root's rights until then.
fn open_python() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let candidates =
            [python().executable.clone(), "/usr/bin/python3".into(), "/usr/local/bin/python3".into()];
        let runs = |program: &PathBuf| {
            let mut command = Command::new("setpriv");
            if is_root() {
                command.args(["--reuid=65532", "--regid=65532", "--clear-groups"]);
            }
            command.arg("--").arg(program).args(["-c", "import sys; open(sys.executable).close()"]);
            command.env_clear().current_dir("/").output().is_ok_and(|output| output.status.success())
        };
        candidates.into_iter().find(runs).expect("a python3 that every user can run is required")
    })
}

fn python_step(script: &str) -> Step {
    let program = open_python();
    let mut step = Step::new([program.to_str().unwrap(), "-c", script]);
    if program == python().executable {
        let prefix = python().prefix.clone();
        step.mount(&prefix, prefix.to_str().unwrap(), Access::ReadOnly);
    }
    step
}

fn reason<'a>(outcome: &'a Outcome, what: &str) -> Option<&'a str> {
    outcome.report.uncontrolled.iter().find(|entry| entry.what == what).map(|entry| entry.why.as_str())
}

fn controls(outcome: &Outcome, what: &str) -> bool {
    outcome.report.controlled.iter().any(|entry| entry == what)
}

/// Runs the same step in all three ways; its output must be the same.
fn same_everywhere(step: impl Fn() -> Step) -> Vec<Outcome> {
    let outcomes =
        [step(), in_pod(step(), Ptrace::Allowed), in_pod(step(), Ptrace::Forbidden)].map(|step| step.run());
    for outcome in &outcomes {
        assert_eq!(outcome.report.exit, Exit::Code(0), "{outcome:?}");
        assert_eq!(outcome.stdout, outcomes[0].stdout, "{:?}", outcome.report);
        assert!(controls(outcome, "entropy") && controls(outcome, "wall clock"), "{:?}", outcome.report);
        assert_eq!(reason(outcome, "entropy of concurrent processes"), None);
    }
    outcomes.into()
}

#[test]
fn strict_gives_the_same_bytes_and_times_as_with_namespaces() {
    let script = "import ctypes, os, random, secrets, time, uuid
print(os.urandom(16).hex(), random.random(), uuid.uuid4(), secrets.token_hex(8), hash('x'))
print({str(i) for i in range(50)})
for _ in range(2):
    for device in ('/dev/urandom', '/dev/random', '/dev/../dev/urandom'):
        with open(device, 'rb', buffering=0) as file: print(file.read(16).hex())
os.chdir('/dev')
print(os.read(os.open('urandom', os.O_RDONLY | os.O_NONBLOCK), 8).hex())
print(time.time_ns(), time.time_ns(), int(time.time()), time.gmtime())
getauxval = ctypes.CDLL(None).getauxval
getauxval.restype = ctypes.c_void_p
print(ctypes.string_at(getauxval(25), 16).hex())";
    let outcomes = same_everywhere(|| python_step(script).determinism(strict(7, EPOCH_S)));
    for outcome in &outcomes[1..] {
        assert_eq!(outcome.report.entropy, outcomes[0].report.entropy);
        assert_eq!(outcome.report.clock_reads, outcomes[0].report.clock_reads);
    }
    let other = in_pod(python_step(script).determinism(strict(8, EPOCH_S)), Ptrace::Forbidden).run();
    let pairs = outcomes[0].stdout.lines().zip(other.stdout.lines());
    assert!(pairs.filter(|(one, two)| one == two).count() <= 1, "only the time does not depend on the key");
}

#[test]
fn threads_processes_and_programs_have_the_same_streams_as_with_namespaces() {
    let script = "import hashlib, os, subprocess, sys, threading, time
results = {}
def work(name): results[name] = hashlib.sha256(b''.join(os.urandom(64) for _ in range(50))).hexdigest()
threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
[t.start() for t in threads]
code = 'import os, time; print(hash(\"x\"), os.urandom(32).hex(), time.time_ns())'
children = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) for _ in range(4)]
[t.join() for t in threads]
for name in sorted(results): print(results[name])
for child in children: print(child.communicate()[0])
try: os.execv('/no/such/program', ['x'])
except FileNotFoundError: print(os.urandom(8).hex())
pid = os.fork()
if pid == 0:
    print(os.urandom(8).hex(), time.time_ns(), flush=True)
    os.execvp('sh', ['sh', '-c', 'no-such-program 2>/dev/null; (mktemp -u; date +%N) & wait; mktemp -u; exec date +%s.%N'])
os.waitpid(pid, 0)
threading.Thread(target=lambda: os.execv('/bin/sh', ['sh', '-c', 'date +%s.%N; mktemp -u'])).start()
threading.Event().wait()";
    let outcomes = same_everywhere(|| python_step(script).determinism(strict(7, EPOCH_S)));
    let lines: BTreeSet<&str> = outcomes[0].stdout.lines().collect();
    assert_eq!(lines.len(), 18, "streams differ from each other: {}", outcomes[0].stdout);
}

/// A program without dynamic loader, interpreter or early entropy.
const STATIC_PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static void show(const unsigned char *bytes, int n) { while (n-- > 0) printf("%02x", *bytes++); puts(""); }
int main(void) {
    unsigned char bytes[64];
    show(bytes, getrandom(bytes, sizeof bytes, 0));
    int fd = open("/dev/urandom", O_RDONLY);
    show(bytes, read(fd, bytes, 48));
    struct timespec spec; struct timeval val;
    for (int clock = 0; clock < 6; clock += 5) { clock_gettime(clock, &spec); printf("%ld.%09ld\n", spec.tv_sec, spec.tv_nsec); }
    gettimeofday(&val, 0);
    printf("%ld.%06ld %ld\n", val.tv_sec, val.tv_usec, (long)time(0));
    clock_gettime(CLOCK_MONOTONIC, &spec);
    return spec.tv_sec == 1767323045;
}"#;

#[test]
fn a_static_program_gets_the_same_bytes_and_times_as_with_namespaces() {
    let make = || {
        let mut step = Step::new(["/usr/bin/true"]).determinism(strict(3, EPOCH_S));
        let (source, program) = (step.dir.path().join("program.c"), step.dir.path().join("program"));
        fs::write(&source, STATIC_PROGRAM).unwrap();
        let made =
            Command::new("cc").args(["-static", "-O1", "-o"]).arg(&program).arg(&source).status().unwrap();
        assert!(made.success());
        step.spec.argv = vec![program.to_str().unwrap().to_owned()];
        step.mount(&program, program.to_str().unwrap(), Access::ReadOnly);
        step
    };
    let outcomes = same_everywhere(make);
    assert_eq!(outcomes[0].stdout.matches("1767323045").count(), 4, "{}", outcomes[0].stdout);
}

#[test]
fn what_a_pod_cannot_control_is_listed() {
    for determinism in [Determinism::Off, Determinism::Observe, strict(1, 0)] {
        let outcome = in_pod(Step::new(["true"]).determinism(determinism.clone()), Ptrace::Forbidden).run();
        assert_eq!(outcome.report.exit, Exit::Code(0), "{outcome:?}");
        for what in ["aslr", "network", "host name", "mounts", "process ids", "process count", "size of /tmp"]
        {
            assert!(reason(&outcome, what).is_some() && !controls(&outcome, what), "{what}: {outcome:?}");
        }
        assert!(controls(&outcome, "environment"));
        let is_strict = matches!(determinism, Determinism::Strict { .. });
        for what in ["entropy", "wall clock"] {
            assert_eq!(controls(&outcome, what), is_strict, "{what}");
            assert_eq!(reason(&outcome, what).is_none(), is_strict, "{what}");
        }
        assert_eq!(reason(&outcome, "programs without thread-local storage").is_some(), is_strict);
    }
    let traced = in_pod(Step::new(["true"]).determinism(strict(1, 0)), Ptrace::Allowed).run();
    assert_eq!(reason(&traced, "programs without thread-local storage"), None);
    assert!(reason(&traced, "aslr").unwrap().contains("personality"));
}

/// The kernel closes the memory of a program that its user may not read. Then nothing can be answered, and that is said.
#[test]
fn a_program_whose_memory_is_closed_is_reported() {
    for ptrace in [Ptrace::Allowed, Ptrace::Forbidden] {
        let mut step = in_pod(Step::new(["date"]).determinism(strict(1, EPOCH_S)), ptrace);
        let program = step.dir.path().join("date");
        fs::copy("/usr/bin/date", &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o111)).unwrap();
        step.spec.argv[0] = program.to_str().unwrap().to_owned();
        let outcome = step.run();
        assert_eq!(outcome.report.exit, Exit::Code(0), "{outcome:?}");
        for what in ["entropy", "wall clock"] {
            assert!(reason(&outcome, what).is_some() && !controls(&outcome, what), "{what}: {outcome:?}");
        }
    }
}

#[test]
fn a_pod_is_refused_what_it_has_no_means_for() {
    let field = |change: fn(&mut Step)| {
        let mut step = in_pod(Step::new(["true"]), Ptrace::Forbidden);
        change(&mut step);
        match step.error() {
            SandboxError::BadSpec { field, .. } => field,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(field(|step| step.mount(Path::new("/usr"), "/x", Access::ReadOnly)), "mounts");
    assert_eq!(field(|step| step.spec.root = Some("/usr".into())), "root");
    // And namespaces are refused by the pod.
    let mut step = in_pod(Step::new(["true"]), Ptrace::Forbidden);
    step.spec.isolation = Isolation::Namespaces;
    assert!(matches!(step.error(), SandboxError::Unsupported { .. }), "{:?}", step.error());
}

#[test]
fn observe_counts_in_a_pod() {
    let script =
        "import os; os.urandom(100); os.urandom(100); open('/dev/urandom', 'rb', buffering=0).read(33)";
    let outcome = in_pod(python_step(script), Ptrace::Forbidden).run();
    assert_eq!(outcome.report.exit, Exit::Code(0), "{outcome:?}");
    let askers = &outcome.report.entropy.askers;
    let calls = askers.iter().find(|entry| entry.size_bytes == 100).unwrap();
    assert_eq!((calls.source, calls.count), (EntropySource::Getrandom, 2));
    let device = askers.iter().find(|entry| entry.source == EntropySource::DevUrandom).unwrap();
    assert_eq!(device.size_bytes, 33);
    let bytes = || in_pod(Step::shell("head -c 16 /dev/urandom | od -x"), Ptrace::Forbidden).output();
    assert_ne!(bytes(), bytes(), "observed bytes are real");
}

#[test]
fn getrandom_refuses_in_a_pod_what_the_kernel_refuses() {
    let script = "import ctypes
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(64)
print(libc.syscall(318, 1, 8, 0), ctypes.get_errno())
print(libc.syscall(318, buffer, 8, 0x100), ctypes.get_errno())
print(libc.syscall(318, buffer, 0, 0), libc.syscall(318, buffer, 64, 1))
print(libc.open(1, 0), ctypes.get_errno(), libc.open(b'/no/random', 0), ctypes.get_errno())";
    let outcome = in_pod(python_step(script).determinism(strict(1, 0)), Ptrace::Forbidden).run();
    // 14 is EFAULT, 22 is EINVAL, 2 is ENOENT.
    assert_eq!(outcome.stdout, "-1 14\n-1 22\n0 64\n-1 14 -1 2\n", "{outcome:?}");
    assert!(controls(&outcome, "entropy"), "{outcome:?}");
}

/// The processes whose arguments hold this word.
fn alive_with(word: &str) -> BTreeSet<u32> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let named = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|argument| argument == word)
    };
    pids.filter(|pid| named(pid) && is_alive(*pid)).collect()
}

/// A time to sleep that marks the processes of one test in this run.
fn mark(number: u32) -> String {
    format!("{number}.{}", std::process::id())
}

/// Starts processes of all kinds: in the background, in a session of their own, orphaned, deaf to SIGTERM.
fn family(seconds: &str, end: &str) -> Step {
    let script = format!(
        "trap '' TERM; setsid sleep {seconds} & (setsid sh -c 'sleep {seconds} & sleep {seconds}' &) ; sleep {seconds} &
        (trap '' TERM; sleep {seconds} & exit 0); echo ready; {end}"
    );
    in_pod(Step::shell(&script), Ptrace::Forbidden)
}

#[test]
fn nothing_is_alive_after_the_report() {
    for (determinism, ptrace, seconds) in [
        (Determinism::Off, Ptrace::Forbidden, mark(1001)),
        (Determinism::Observe, Ptrace::Forbidden, mark(1002)),
        (strict(1, 0), Ptrace::Forbidden, mark(1003)),
        (strict(1, 0), Ptrace::Allowed, mark(1004)),
    ] {
        let seconds = &seconds;
        let step = family(seconds, "read line < \"$GATE\"; exit 4").determinism(determinism);
        let mut step = in_pod(step, ptrace);
        let gate = step.dir.path().join("gate");
        assert!(Command::new("mkfifo").args(["-m", "666"]).arg(&gate).status().unwrap().success());
        step.spec.env.insert("GATE".into(), gate.to_str().unwrap().to_owned());
        let mut running = step.start();
        step.wait_for_output("ready");
        wait_until("the family", || alive_with(seconds).len() >= 5);
        fs::write(&gate, "go\n").unwrap();
        assert_eq!(running.wait().exit, Exit::Code(4));
        assert_eq!(alive_with(seconds), BTreeSet::new());
        assert!(!is_alive(running.pid()));
    }
}

#[test]
fn a_step_that_takes_too_long_is_killed_with_all_its_processes() {
    for (determinism, seconds) in [(Determinism::Observe, mark(1005)), (strict(1, 0), mark(1006))] {
        let mut step = family(&seconds, &format!("sleep {seconds}")).determinism(determinism);
        step.spec.limits.timeout_ms = Some(1000);
        let report = step.run().report;
        assert_eq!(report.exit, Exit::TimedOut);
        assert!((1000..20_000).contains(&report.wall_ms), "{report:?}");
        assert_eq!(alive_with(&seconds), BTreeSet::new());
    }
}

#[test]
fn stop_kill_and_drop_reach_all_processes() {
    let seconds = &mark(1007);
    for (exit, end) in [
        (Some(Exit::Code(7)), (|running| running.stop(Duration::from_secs(60))) as fn(&mut Running)),
        (Some(Exit::Signal(9)), |running| running.kill()),
        (None, |_| {}),
    ] {
        let script = format!("setsid sleep {seconds} & trap 'echo stopped; exit 7' TERM; echo ready; wait");
        let step = in_pod(Step::shell(&script), Ptrace::Forbidden);
        let mut running = step.start();
        step.wait_for_output("ready");
        end(&mut running);
        if let Some(exit) = exit {
            assert_eq!(running.wait().exit, exit);
        }
        drop(running);
        assert_eq!(alive_with(seconds), BTreeSet::new());
    }
}

#[test]
fn a_killed_launcher_takes_the_step_along() {
    let step = in_pod(Step::shell("echo ready; while :; do sleep 0.01; done"), Ptrace::Forbidden);
    let mut running = step.start();
    step.wait_for_output("ready");
    let pid = running.launcher_pid().to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    assert_eq!(running.wait().exit, Exit::LauncherStopped);
    wait_until("end of the step", || !is_alive(running.pid()));
}

#[test]
fn the_launchers_memory_is_closed_to_the_step() {
    let script = "cat /proc/$PPID/environ /proc/$PPID/auxv; grep -E '^(Cap|NoNewPrivs|Uid)' /proc/self/status; ls /proc/self/fd; readlink /proc/self/fd/0";
    let outcome = in_pod(Step::shell(script).determinism(strict(1, 0)), Ptrace::Forbidden).run();
    assert_eq!(outcome.stderr.matches("Permission denied").count(), 2, "{outcome:?}");
    let (status, descriptors) = outcome.stdout.split_once("\n0\n").unwrap();
    assert_eq!(descriptors, "1\n2\n3\n/dev/null\n");
    for line in status.lines() {
        let (name, value) = line.split_once(":\t").unwrap();
        match name {
            "Uid" if is_root() => assert!(value.starts_with("65532\t"), "{line}"),
            "NoNewPrivs" => assert_eq!(value, "1"),
            // Without root the bounding set may be the machine's.
            "Uid" | "CapBnd" => {}
            _ => assert_eq!(value, "0000000000000000", "{line}"),
        }
    }
}

#[test]
fn what_does_not_start_is_an_error_in_a_pod_too() {
    for determinism in [Determinism::Off, Determinism::Observe, strict(1, 0)] {
        let step = |word: &str| in_pod(Step::new([word]).determinism(determinism.clone()), Ptrace::Forbidden);
        let error = step("no-such-program").error();
        assert!(matches!(error, SandboxError::ProgramNotFound { .. }), "{error:?}");
        let error = step("/etc/passwd").error();
        assert!(matches!(error, SandboxError::ProgramNotExecutable { .. }), "{error:?}");
        let mut step = step("true");
        step.spec.cwd = "/no/such/place".into();
        assert!(matches!(step.error(), SandboxError::WorkingDirectory { .. }));
    }
}

#[test]
fn limits_hold_in_a_pod() {
    let mut step = in_pod(
        Step::shell(
            "yes | head -c 3000000; dd if=/dev/zero of=\"$OUT\" bs=65536 count=64 2>/dev/null; echo $?",
        ),
        Ptrace::Forbidden,
    );
    let out = step.dir.path().join("out");
    step.spec.env.insert("OUT".into(), out.to_str().unwrap().to_owned());
    step.spec.limits.file_size_bytes = 1 << 20;
    step.spec.limits.log_size_bytes = 100_000;
    step.spec.network = Network::Host;
    let outcome = step.run();
    assert!(outcome.report.log_cut && outcome.stdout.starts_with("y\ny\n"));
    assert_eq!(fs::metadata(out).unwrap().len(), 1 << 20);
}

#[test]
fn a_tee_shows_both_streams_on_the_launchers_standard_error() {
    for pod in [false, true] {
        let mut step =
            Step::shell("echo to stdout; echo to stderr >&2; head -c 300000 /dev/zero | tr '\\0' x");
        if pod {
            step = in_pod(step, Ptrace::Forbidden);
        }
        step.spec.tee = true;
        let spec = serde_json::to_string(&step.spec).unwrap();
        // As the launcher is started: the spec on standard input, which stays open.
        let mut child = Command::new(LAUNCHER)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), format!("{spec}\n").as_bytes()).unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let mut shown = String::new();
        std::io::Read::read_to_string(&mut stderr, &mut shown).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(shown.contains("to stdout\n") && shown.contains("to stderr\n"), "{}", &shown[..100]);
        assert_eq!(shown.matches('x').count(), 300_000);
        assert!(step.stdout().contains("to stdout\n"));
    }
}
