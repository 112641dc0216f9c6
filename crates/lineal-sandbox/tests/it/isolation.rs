//! What a step sees and may change.

use crate::fixture::{Step, python, strict};
use lineal_sandbox::{Access, Determinism, Exit, Network};
use std::fs;
use std::net::TcpListener;
use std::path::Path;

#[test]
fn the_environment_is_exactly_what_was_given() {
    let mut step = Step::new(["env"]);
    step.spec.env.insert("A".into(), "one two".into());
    assert_eq!(step.output(), "A=one two\nPATH=/usr/bin:/bin\n");
}

#[test]
fn only_the_standard_streams_are_open() {
    for determinism in [Determinism::Off, Determinism::Observe, strict(1, 0)] {
        // Descriptor 3 is the listing itself.
        let step = Step::shell("ls /proc/self/fd; readlink /proc/self/fd/0").determinism(determinism);
        assert_eq!(step.output(), "0\n1\n2\n3\n/dev/null\n");
    }
}

#[test]
fn undeclared_files_are_invisible() {
    let mut step = Step::new(["cat"]);
    let secret = step.dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    step.spec.argv.push(secret.to_str().unwrap().to_owned());
    let outcome = step.run();
    assert_eq!(outcome.report.exit, Exit::Code(1));
    assert!(outcome.stderr.contains("No such file"), "{outcome:?}");

    step.mount(&secret, secret.to_str().unwrap(), Access::ReadOnly);
    assert_eq!(step.output(), "secret");
}

#[test]
fn the_root_holds_the_base_system_and_nothing_else() {
    let listed = Step::new(["ls", "/"]).output();
    let allowed = ["bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "tmp", "usr"];
    for name in listed.lines() {
        assert!(allowed.contains(&name), "{name} in the root");
    }
    // Processes of the host are not visible either: init, the shell and ls.
    let pids = Step::shell("ls /proc | grep -c '^[0-9]'").output();
    assert!(pids.trim().parse::<u32>().unwrap() <= 4, "{pids}");
}

#[test]
fn a_read_only_mount_refuses_writes_and_a_read_write_one_takes_them() {
    let mut step = Step::shell("echo new > /out/file; echo changed > /in/file; echo another > /in/other");
    let input = step.dir.path().join("input");
    fs::create_dir(&input).unwrap();
    fs::write(input.join("file"), "original").unwrap();
    step.mount(&input, "/in", Access::ReadOnly);
    let output = step.mount_output("/out");

    let outcome = step.run();
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{outcome:?}");
    assert_eq!(fs::read_to_string(input.join("file")).unwrap(), "original");
    assert!(!input.join("other").exists());
    assert_eq!(fs::read_to_string(output.join("file")).unwrap(), "new\n");
}

#[test]
fn a_read_only_mount_cannot_be_made_writable() {
    let mut step =
        Step::shell("mount -o remount,rw /in; unshare -rm mount -o remount,rw,bind /in; touch /in/x");
    let input = step.dir.path().join("input");
    fs::create_dir(&input).unwrap();
    step.mount(&input, "/in", Access::ReadOnly);
    let outcome = step.run();
    assert_eq!(outcome.report.exit, Exit::Code(1), "{outcome:?}");
    assert!(!input.join("x").exists());
}

#[test]
fn the_rest_of_the_tree_is_read_only() {
    for path in ["/x", "/usr/x", "/etc/passwd", "/dev/x", "/proc/sys/kernel/core_pattern"] {
        let outcome = Step::shell(&format!("echo x > {path}")).run();
        assert_ne!(outcome.report.exit, Exit::Code(0), "{path}");
        assert!(outcome.stderr.contains("Read-only file system"), "{path}: {outcome:?}");
    }
    for path in ["/tmp/x", "/dev/shm/x", "/dev/null"] {
        Step::shell(&format!("echo x > {path}")).output();
    }
}

#[test]
fn later_mounts_cover_earlier_ones_and_files_can_be_mounted() {
    let mut step = Step::shell("cat /data/a /data/b; ls /data");
    let data = step.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("a"), "a from data\n").unwrap();
    fs::write(data.join("b"), "b from data\n").unwrap();
    let other = step.dir.path().join("other");
    fs::write(&other, "b from another file\n").unwrap();
    step.mount(&data, "/data", Access::ReadOnly);
    step.mount(&other, "/data/b", Access::ReadOnly);
    assert_eq!(step.output(), "a from data\nb from another file\na\nb\n");
    assert_eq!(fs::read_to_string(data.join("b")).unwrap(), "b from data\n");
}

#[test]
fn links_in_a_mount_lead_inside_only() {
    let mut step = Step::shell("cat /in/link");
    let input = step.dir.path().join("input");
    fs::create_dir(&input).unwrap();
    let secret = step.dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, input.join("link")).unwrap();
    step.mount(&input, "/in", Access::ReadOnly);
    assert_eq!(step.run().report.exit, Exit::Code(1));
}

#[test]
fn no_privileges_are_left() {
    let status = Step::shell("grep -E '^(Cap|NoNewPrivs|Groups)' /proc/self/status").output();
    for line in status.lines() {
        let (name, value) = line.split_once(':').unwrap();
        let expected = match name {
            "NoNewPrivs" => "1",
            "Groups" => continue,
            _ => "0000000000000000",
        };
        assert_eq!(value.trim(), expected, "{line}");
    }
    assert_eq!(status.lines().count(), 7, "{status}");
}

#[test]
fn host_name_user_and_session_are_fixed() {
    let step =
        Step::shell("uname -n; umask; ps -o sid= -p $$ 2>/dev/null || true; id -un >/dev/null && echo known");
    let output = step.output();
    assert!(output.starts_with("step\n0022\n") && output.ends_with("known\n"), "{output}");
}

/// Connects to the test's listener and sends a word.
fn connect(network: Network) -> (TcpListener, crate::fixture::Outcome) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script =
        format!("import socket; socket.create_connection(('127.0.0.1', {port}), 5).sendall(b'hello')");
    let mut step = Step::python(&script);
    step.spec.network = network;
    let outcome = step.run();
    (listener, outcome)
}

#[test]
fn there_is_no_network_unless_it_is_the_hosts() {
    let (_listener, outcome) = connect(Network::None);
    assert_eq!(outcome.report.exit, Exit::Code(1));
    assert!(outcome.stderr.contains("unreachable"), "{outcome:?}");
    assert!(outcome.report.controlled.iter().any(|what| what == "network"));

    let (listener, outcome) = connect(Network::Host);
    assert_eq!(outcome.report.exit, Exit::Code(0), "{outcome:?}");
    let (mut connection, _) = listener.accept().unwrap();
    let mut word = String::new();
    std::io::Read::read_to_string(&mut connection, &mut word).unwrap();
    assert_eq!(word, "hello");
    assert!(outcome.report.uncontrolled.iter().any(|entry| entry.what == "network"));
}

#[test]
fn calls_of_the_32_bit_interface_are_refused() {
    // mov eax, 20 (getpid); int 0x80; ret. Without IA-32 emulation in the kernel it is a fault instead.
    let script = "import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex('b814000000cd80c3'))
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())";
    let exit = Step::python(script).run().report.exit;
    assert!([Exit::Signal(31), Exit::Signal(11)].contains(&exit), "{exit:?}");
}

#[test]
fn nothing_is_left_behind() {
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let step = Step::shell("echo x > /tmp/x; mkdir /tmp/dir; head -c 8 /dev/urandom > /tmp/random")
        .determinism(strict(1, 0));
    step.output();
    let mut left: Vec<_> =
        fs::read_dir(step.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["stderr", "stdout"]);
    assert_eq!(mounts(), before);
    assert!(!Path::new("/tmp/random").exists());
    assert!(python().executable.exists());
}
