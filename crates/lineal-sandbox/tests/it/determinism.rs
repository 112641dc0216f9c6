//! Entropy and clock.

use crate::fixture::{Outcome, Step, launcher, strict};
use lineal_sandbox::{Determinism, EntropySource, Exit, probe};
use std::fs;

/// 2026-01-02 03:04:05 UTC.
const EPOCH_S: i64 = 1_767_323_045;

const MANY_SOURCES: &str = "import os, random, time, uuid, tempfile, datetime, ctypes
print(os.urandom(16).hex(), random.random(), uuid.uuid4(), uuid.uuid1())
print({str(i) for i in range(50)}, hash('x'), id(object()))
print(time.time_ns(), datetime.datetime.now(), tempfile.mktemp())
getauxval = ctypes.CDLL(None).getauxval
getauxval.restype = ctypes.c_void_p
print(ctypes.string_at(getauxval(25), 16).hex(), os.getpid())
print(open('/dev/urandom', 'rb').read(16).hex())";

fn unmet(outcome: &Outcome, what: &str) -> bool {
    outcome.report.uncontrolled.iter().any(|entry| entry.what == what)
}

#[test]
fn observe_counts_what_is_read_from_the_devices() {
    let quiet = Step::new(["true"]).run().report.entropy;
    assert!(!quiet.beyond_start_up(), "{quiet:?}");

    for (device, source) in
        [("/dev/urandom", EntropySource::DevUrandom), ("/dev/random", EntropySource::DevRandom)]
    {
        let outcome = Step::new(["head", "-c", "16", device]).run();
        assert_eq!(outcome.report.exit, Exit::Code(0));
        let entropy = outcome.report.entropy;
        let entry = entropy.askers.iter().find(|entry| entry.source == source).unwrap();
        assert_eq!((entry.size_bytes, &entry.process), (16, &None));
        assert!(entropy.beyond_start_up());
    }
}

#[test]
fn observe_counts_calls_by_size_and_process() {
    let outcome = Step::python("import os; [os.urandom(100) for _ in range(5)]").run();
    let entropy = outcome.report.entropy;
    let entry = entropy.askers.iter().find(|entry| entry.size_bytes == 100).unwrap();
    assert_eq!((entry.source, entry.count), (EntropySource::Getrandom, 5));
    assert!(entry.process.as_deref().unwrap().starts_with("python"), "{entry:?}");
    assert!(entropy.hash_seed_read && entropy.beyond_start_up());
    assert_eq!(outcome.report.clock_reads, 0);

    // Without `site`, which may import packages that seed themselves.
    let mut seeded = Step::python("pass");
    seeded.spec.argv.insert(1, "-S".into());
    seeded.spec.env.insert("PYTHONHASHSEED".into(), "0".into());
    let entropy = seeded.run().report.entropy;
    assert!(!entropy.hash_seed_read && !entropy.beyond_start_up(), "{entropy:?}");
}

#[test]
fn observed_bytes_are_real() {
    let step = || Step::shell("head -c 16 /dev/urandom | od -x").output();
    assert_ne!(step(), step());
    let step = || Step::python("import os; print(os.urandom(16).hex())").output();
    assert_ne!(step(), step());
}

#[test]
fn a_device_gives_more_than_it_holds_at_a_time() {
    for determinism in [Determinism::Observe, strict(1, 0)] {
        let step = Step::shell("head -c 3000000 /dev/urandom | wc -c").determinism(determinism);
        let outcome = step.run();
        assert_eq!(outcome.stdout.trim(), "3000000");
        assert!(outcome.report.entropy.bytes >= 3_000_000);
    }
}

#[test]
fn the_keyed_device_does_not_depend_on_how_it_is_read() {
    let sum = |reader: &str| Step::shell(&format!("{reader} | sha256sum")).determinism(strict(1, 0)).output();
    let whole = sum("head -c 777000 /dev/urandom");
    assert_eq!(whole, sum("dd if=/dev/urandom bs=777 count=1000 iflag=fullblock 2>/dev/null"));
    assert_ne!(whole, sum("head -c 777000 /dev/random"), "the two devices are two streams");
}

#[test]
fn strict_runs_are_identical_and_differ_by_key() {
    let run = |key| Step::python(MANY_SOURCES).determinism(strict(key, EPOCH_S)).run();
    let (first, second, other) = (run(1), run(1), run(2));
    assert_eq!(first.report.exit, Exit::Code(0), "{first:?}");
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(first.report.entropy, second.report.entropy);
    assert_eq!(first.report.clock_reads, second.report.clock_reads);
    for (one, two) in first.stdout.lines().zip(other.stdout.lines()) {
        assert_ne!(one, two, "another key must change every line");
    }
    assert!(!unmet(&first, "entropy") && !unmet(&first, "wall clock") && !unmet(&first, "aslr"));
}

#[test]
fn the_clock_is_fixed_and_goes_on_by_a_microsecond() {
    let script = "import time; print(time.time_ns(), time.time_ns(), int(time.time()))";
    let step = Step::python(script).determinism(strict(1, EPOCH_S));
    let outcome = step.run();
    let numbers: Vec<i64> = outcome.stdout.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert_eq!(numbers[1] - numbers[0], 1000);
    assert_eq!((numbers[0] / 1_000_000_000, numbers[2]), (EPOCH_S, EPOCH_S));
    assert!(outcome.report.clock_reads >= 3);
    assert_eq!(
        Step::new(["date", "-u", "+%F %T"]).determinism(strict(1, EPOCH_S)).output(),
        "2026-01-02 03:04:05\n"
    );
    // Before 1970, too.
    assert_eq!(Step::new(["date", "+%s"]).determinism(strict(1, -5)).output(), "-5\n");
}

#[test]
fn all_ways_to_read_the_time_of_day_agree() {
    let script = "import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
pair = (ctypes.c_long * 2)()
for clock in (0, 5, 11):
    libc.syscall(228, clock, pair); print(pair[0])
libc.syscall(96, pair, None); print(pair[0])
print(libc.syscall(201, pair), pair[0], libc.syscall(201, None))
print(libc.syscall(228, 0, None), ctypes.get_errno(), libc.syscall(96, None, None))
print(time.monotonic() > 0)";
    let lines = Step::python(script).determinism(strict(1, 77)).output();
    // 14 is EFAULT.
    assert_eq!(lines, "77\n77\n77\n77\n77 77 77\n-1 14 0\nTrue\n");
}

#[test]
fn getrandom_refuses_what_the_kernel_refuses() {
    let script = "import ctypes
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(64)
print(libc.syscall(318, 1, 8, 0), ctypes.get_errno())
print(libc.syscall(318, buffer, 8, 0x100), ctypes.get_errno())
print(libc.syscall(318, buffer, 0, 0), libc.syscall(318, buffer, 64, 1))";
    for determinism in [Determinism::Observe, strict(1, 0)] {
        // 14 is EFAULT, 22 is EINVAL.
        assert_eq!(Step::python(script).determinism(determinism).output(), "-1 14\n-1 22\n0 64\n");
    }
}

#[test]
fn the_vdso_is_hidden_under_strict_and_the_layout_is_fixed() {
    let auxv = |determinism| {
        let mut step = Step::new(["true"]).determinism(determinism);
        step.spec.env.insert("LD_SHOW_AUXV".into(), "1".into());
        step.output()
    };
    let observed = auxv(Determinism::Observe);
    assert!(observed.contains("AT_SYSINFO_EHDR"));
    assert_eq!(observed, auxv(Determinism::Observe), "addresses must not move");
    assert_ne!(observed, auxv(Determinism::Off), "without control they do");
    assert!(!auxv(strict(1, 0)).contains("AT_SYSINFO_EHDR"));
}

#[test]
fn concurrent_processes_and_threads_have_their_own_streams() {
    const SCRIPT: &str = "import os, sys, subprocess, threading
results = {}
def work(name):
    results[name] = b''.join(os.urandom(64) for _ in range(50)).hex()
threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
[t.start() for t in threads]
children = [subprocess.Popen([sys.executable, '-c', 'import os, time; print(hash(str()), hash(\"x\"), os.urandom(32).hex(), time.time_ns())'], stdout=subprocess.PIPE) for _ in range(4)]
[t.join() for t in threads]
for name in sorted(results): print(results[name])
for child in children: print(child.communicate()[0])";
    let run = || Step::python(SCRIPT).determinism(strict(1, EPOCH_S)).output();
    let first = run();
    assert_eq!(first, run());
    let lines: std::collections::BTreeSet<&str> = first.lines().collect();
    assert_eq!(lines.len(), 10, "streams must differ from each other");
}

#[test]
fn a_shell_pipeline_of_parallel_jobs_is_identical() {
    let run = || {
        let mut step =
            Step::shell("for i in 1 2 3 4 5 6; do (mktemp -u; date +%N) > /out/$i & done; wait; cat /out/*")
                .determinism(strict(9, EPOCH_S));
        step.mount_output("/out");
        step.output()
    };
    let first = run();
    assert_eq!(first, run());
    assert_eq!(first.lines().count(), 12);
}

#[test]
fn a_thread_may_replace_the_program() {
    let script = "import os, threading
threading.Thread(target=lambda: os.execv('/bin/sh', ['sh', '-c', 'date +%s; mktemp -u'])).start()
threading.Event().wait()";
    let run = || Step::python(script).determinism(strict(1, EPOCH_S)).run();
    let (first, second) = (run(), run());
    assert_eq!(first.report.exit, Exit::Code(0), "{first:?}");
    assert!(first.stdout.starts_with(&EPOCH_S.to_string()));
    assert_eq!(first.stdout, second.stdout);
    assert!(!unmet(&first, "entropy") && !unmet(&first, "entropy of concurrent processes"));
}

#[test]
fn off_neither_counts_nor_controls() {
    let outcome = Step::python("import os; os.urandom(16); open('/dev/urandom','rb').read(1)")
        .determinism(Determinism::Off)
        .run();
    assert_eq!((outcome.report.exit, outcome.report.entropy.reads), (Exit::Code(0), 0));
    for what in ["aslr", "entropy", "wall clock"] {
        assert!(unmet(&outcome, what), "{what}");
    }
}

#[test]
fn the_probe_finds_this_machine_able() {
    let dir = tempfile::tempdir().unwrap();
    let capabilities = probe(&launcher(), dir.path());
    let unmet = capabilities.strict.unwrap();
    for what in ["aslr", "entropy", "wall clock"] {
        assert!(!unmet.iter().any(|entry| entry.what == what), "{what}: {unmet:?}");
    }
    let kernel = capabilities.facts.iter().find(|fact| fact.name == "kernel").unwrap();
    assert_eq!(kernel.detail, fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim());
}

#[test]
fn a_signal_does_not_use_up_a_stream() {
    let run = |interval_s: &str| {
        let script = format!(
            "import hashlib, os, signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, {interval_s}, {interval_s})
hash = hashlib.sha256()
for _ in range(5000): hash.update(os.urandom(16))
signal.setitimer(signal.ITIMER_REAL, 0)
print(hash.hexdigest())"
        );
        Step::python(&script).determinism(strict(1, 0)).output()
    };
    assert_eq!(run("0.0003"), run("0"));
}
