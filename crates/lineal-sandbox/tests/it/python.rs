//! Python environments as mounts.

use crate::fixture::{Step, python, strict};
use lineal_sandbox::Access;
use std::fs;
use std::process::Command;

/// A virtual environment finds its base interpreter by the `home` line of its `pyvenv.cfg` and its own place by
/// that of `bin/python`. So it can be mounted anywhere, and the base must be at its own path.
#[test]
fn a_virtual_environment_works_at_another_path() {
    let dir = tempfile::tempdir().unwrap();
    let env = dir.path().join("env");
    let made = Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(&env).status().unwrap();
    assert!(made.success());
    let libraries = fs::read_dir(env.join("lib")).unwrap().next().unwrap().unwrap().path();
    fs::write(libraries.join("site-packages/installed.py"), "word = 'from the environment'").unwrap();

    for determinism in [lineal_sandbox::Determinism::Observe, strict(1, 0)] {
        let script = "import sys, installed, json, ssl, sqlite3; print(sys.prefix, installed.word)";
        let mut step = Step::new(["python", "-c", script]).determinism(determinism);
        step.spec.env.insert("PATH".into(), "/lineal/env/bin:/usr/bin:/bin".into());
        step.mount(&python().prefix, python().prefix.to_str().unwrap(), Access::ReadOnly);
        step.mount(&env, "/lineal/env", Access::ReadOnly);
        assert_eq!(step.output(), "/lineal/env from the environment\n");
    }
}

#[test]
fn worker_processes_and_shared_memory_work() {
    let script = "import multiprocessing as m, concurrent.futures as f
if __name__ == '__main__':
    with m.get_context('fork').Pool(3) as pool:
        print(sum(pool.map(abs, range(100))))
    with f.ThreadPoolExecutor(4) as pool:
        print(sum(pool.map(abs, range(100))))
    from multiprocessing import shared_memory
    block = shared_memory.SharedMemory(create=True, size=10)
    block.close(); block.unlink()
    print(m.Lock().acquire(timeout=1))";
    for determinism in [lineal_sandbox::Determinism::Observe, strict(1, 0)] {
        assert_eq!(Step::python(script).determinism(determinism).output(), "4950\n4950\nTrue\n");
    }
}
