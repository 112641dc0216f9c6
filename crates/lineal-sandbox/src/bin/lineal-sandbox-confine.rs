//! `lineal-sandbox-confine [--allow-ptrace] PROGRAM ARGS..`: runs a program under a filter that refuses what the default
//! profiles of container runtimes refuse to containers without capabilities. For the tests of this crate.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// asm/unistd.h and linux/seccomp.h.
const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_FIRST_ARGUMENT: u32 = 16;
/// All flags of clone(2) that make a namespace: time, cgroup, uts, ipc, user, pid, net, mount.
const NEW_NAMESPACES: u32 = 0x7E02_0000;
/// The values of personality(2) that the profiles let through.
const PERSONALITIES: [u32; 3] = [0, 8, 0xFFFF_FFFF];
const FORBIDDEN: [libc::c_long; 14] = [
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_sethostname,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
];

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    let allow_ptrace = words.next_if(|word| word == "--allow-ptrace").is_some();
    let Some(program) = words.next() else { return ExitCode::from(2) };
    let mut filter = filter(allow_ptrace);
    let length = u16::try_from(filter.len()).unwrap_or(0);
    let request = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: takes integers; then `request` describes `filter`, which the kernel copies during the call.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const request) == 0
    };
    if installed {
        let _ = Command::new(program).args(words).exec();
    }
    ExitCode::from(2)
}

fn filter(allow_ptrace: bool) -> Vec<libc::sock_filter> {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let equal = |value, yes, no| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value);
    let bit_set = |value, yes, no| instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, yes, no, value);
    let answer = |action: u32| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, action);
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    let refuse = |error: i32| answer(libc::SECCOMP_RET_ERRNO | error as u32);

    let mut program =
        vec![load(OFFSET_ARCHITECTURE), equal(AUDIT_ARCH_X86_64, 1, 0), allow, load(OFFSET_NUMBER)];
    for call in FORBIDDEN.into_iter().filter(|call| !(allow_ptrace && *call == libc::SYS_ptrace)) {
        program.extend([equal(call as u32, 0, 1), refuse(libc::EPERM)]);
    }
    // Its flags are in memory: refused as unknown, so that libraries use clone.
    program.extend([equal(libc::SYS_clone3 as u32, 0, 1), refuse(libc::ENOSYS)]);
    let flags = load(OFFSET_FIRST_ARGUMENT);
    program.extend([equal(libc::SYS_clone as u32, 0, 4), flags]);
    program.extend([bit_set(NEW_NAMESPACES, 0, 1), refuse(libc::EPERM), allow]);
    let skip = 2 + 2 * PERSONALITIES.len();
    program.extend([equal(libc::SYS_personality as u32, 0, skip as u8), load(OFFSET_FIRST_ARGUMENT)]);
    for value in PERSONALITIES {
        program.extend([equal(value, 0, 1), allow]);
    }
    program.extend([refuse(libc::EPERM), allow]);
    program
}
