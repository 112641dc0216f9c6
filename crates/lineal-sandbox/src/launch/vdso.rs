//! The vDSO of a running program, changed so that its functions make system calls, which the filter sees.
//!
//! With ptrace(2) the vDSO is hidden before a program starts (`exec_patch`). Without, a program is first seen when its
//! C library has found the vDSO already, but has not called it. Its pages may be written through `/proc/PID/mem`, as
//! debuggers do for breakpoints; they become the process's own copies.

use crate::sys::memory;
use std::io;

/// `mov eax, NUMBER; syscall; ret`: the arguments of these functions are those of the calls.
const CLOCK_GETTIME: &[u8] = &[0xb8, 228, 0, 0, 0, 0x0f, 0x05, 0xc3];
const GETTIMEOFDAY: &[u8] = &[0xb8, 96, 0, 0, 0, 0x0f, 0x05, 0xc3];
const TIME: &[u8] = &[0xb8, 201, 0, 0, 0, 0x0f, 0x05, 0xc3];
/// `mov eax, -ENOSYS; ret`: the library then makes the call itself, as without this function.
const GETRANDOM: &[u8] = &[0xb8, 0xda, 0xff, 0xff, 0xff, 0xc3];
const FUNCTIONS: [(&[u8], &[u8]); 4] = [
    (b"__vdso_clock_gettime", CLOCK_GETTIME),
    (b"__vdso_gettimeofday", GETTIMEOFDAY),
    (b"__vdso_time", TIME),
    (b"__vdso_getrandom", GETRANDOM),
];
/// The vDSO has two to four pages.
const MAX_IMAGE_SIZE_BYTES: u64 = 256 << 10;
const MAX_SYMBOLS: u64 = 1024;

/// Where in the vDSO which code goes. The same for all programs on one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stubs(Vec<(u64, &'static [u8])>);

impl Stubs {
    /// Reads the vDSO of a process. Its start is the `AT_SYSINFO_EHDR` of the auxiliary vector.
    pub(super) fn of(pid: i32, start: u64) -> io::Result<Self> {
        let mut header = vec![0; 4096];
        memory::read(pid, start, &mut header)?;
        let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "the vDSO is not as expected");
        let size = image_size(&header).filter(|size| *size <= MAX_IMAGE_SIZE_BYTES).ok_or_else(unreadable)?;
        let mut image = vec![0; size as usize];
        memory::read(pid, start, &mut image)?;
        Self::in_image(&image).ok_or_else(unreadable)
    }

    /// Changes the vDSO of a process.
    pub(super) fn write(&self, pid: i32, start: u64) -> io::Result<()> {
        for (offset, code) in &self.0 {
            memory::write_anywhere(pid, start.wrapping_add(*offset), code)?;
        }
        Ok(())
    }

    /// Finds the functions by the dynamic symbols: ELF-64, figures 1-2, 2-1, 4-15 and 5-9 of the gABI. `None` when the
    /// one for the clock is not there, or a function is shorter than its new code.
    fn in_image(image: &[u8]) -> Option<Self> {
        const PT_DYNAMIC: u64 = 2;
        const DT_STRTAB: u64 = 5;
        const DT_SYMTAB: u64 = 6;
        let dynamic = segments(image).find(|(kind, ..)| *kind == PT_DYNAMIC)?.1;
        let entry = |tag: u64| {
            let entries = (0..MAX_SYMBOLS).map_while(|index| {
                let at = dynamic + index * 16;
                number(image, at, 8).filter(|tag| *tag != 0).map(|tag| (tag, at + 8))
            });
            entries.into_iter().find(|(found, _)| *found == tag).and_then(|(_, at)| number(image, at, 8))
        };
        let (names, symbols) = (entry(DT_STRTAB)?, entry(DT_SYMTAB)?);
        let mut stubs = Vec::new();
        // The first symbol is empty. The names follow the symbols, so the table ends where they start.
        for at in (symbols + 24..names).step_by(24).take(MAX_SYMBOLS as usize) {
            let name = image.get((names + number(image, at, 4)?) as usize..)?;
            let name = name.split(|byte| *byte == 0).next()?;
            let Some((_, code)) = FUNCTIONS.iter().find(|(function, _)| *function == name) else { continue };
            let (offset, size) = (number(image, at + 8, 8)?, number(image, at + 16, 8)?);
            if size < code.len() as u64 {
                return None;
            }
            stubs.push((offset, *code));
        }
        stubs.iter().any(|(_, code)| *code == CLOCK_GETTIME).then_some(Self(stubs))
    }
}

/// How many bytes of the image are in memory.
fn image_size(image: &[u8]) -> Option<u64> {
    const PT_LOAD: u64 = 1;
    segments(image)
        .filter(|(kind, ..)| *kind == PT_LOAD)
        .map(|(_, offset, size)| offset.saturating_add(size))
        .max()
}

/// Kind, offset and size of each segment.
fn segments(image: &[u8]) -> impl Iterator<Item = (u64, u64, u64)> {
    let table = number(image, 32, 8).unwrap_or(u64::MAX);
    let count = number(image, 56, 2).unwrap_or(0);
    (0..count).filter_map(move |index| {
        let at = table.checked_add(index * 56)?;
        Some((number(image, at, 4)?, number(image, at + 8, 8)?, number(image, at + 32, 8)?))
    })
}

/// A little-endian number of the image.
fn number(image: &[u8], at: u64, size_bytes: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = image.get(at..at.checked_add(size_bytes)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests;
