//! Where this program lies in memory, and how little of it is left in a process that waits for days.

use super::io::Poll;
use super::{Errno, Result};
use syscalls::Sysno;

/// Waits as `poll` does, for ever, but first gives back the memory that only running needs: the
/// program's code and constants, which are read again from its file, and the unused stack.
///
/// A process that waits for days need not keep what its start has touched. What is mapped while
/// it waits is the one page of the two calls.
pub fn poll_at_rest(list: &mut [Poll<'_>]) -> Result<usize> {
    let mut ranges = [(0_usize, 0_usize); 8];
    let count = clean_ranges(&mut ranges);
    let (first, last) = (ranges.as_ptr(), ranges[count..].as_ptr());
    let result: isize;
    // SAFETY: madvise gets clean pages of the program's file, or stack below every live frame:
    // dropping the first only makes them be read again, and nothing refers to the second. With
    // other advice it gets the pages of this very code, to make them a mapping of their own: the
    // kernel maps sixteen pages around one that is missing, but not beyond the mapping. `Poll` is
    // a transparent `pollfd`, and the kernel writes within the list.
    unsafe {
        std::arch::asm!(
            "lea rdi, [rip + 2f]",
            "and rdi, -4096",
            "lea rsi, [rip + 4f + 4095]",
            "and rsi, -4096",
            "sub rsi, rdi",
            "mov edx, {apart}",
            "mov eax, {madvise}",
            "syscall",
            "2:",
            "cmp r12, r13",
            "je 3f",
            "mov rdi, [r12]",
            "mov rsi, [r12 + 8]",
            "mov edx, {drop}",
            "mov eax, {madvise}",
            "syscall",
            "add r12, 16",
            "jmp 2b",
            "3:",
            "mov rdi, r14",
            "mov rsi, r15",
            "mov rdx, -1",
            "mov eax, {poll}",
            "syscall",
            "4:",
            apart = const libc::MADV_DONTDUMP,
            drop = const libc::MADV_DONTNEED,
            madvise = const Sysno::madvise as i32,
            poll = const Sysno::poll as i32,
            inout("r12") first => _,
            in("r13") last,
            in("r14") list.as_mut_ptr(),
            in("r15") list.len(),
            out("rax") result,
            out("rdi") _,
            out("rsi") _,
            out("rdx") _,
            out("rcx") _,
            out("r11") _,
        );
    }
    match result {
        0.. => Ok(result as usize),
        _ if result == -(libc::EINTR as isize) => Ok(0),
        _ => Err(Errno::new(-result as i32)),
    }
}

/// Finds the memory of this process that can be given back while it waits: segments of the
/// program that are never written, and what lies well below the stack pointer. Gives how many
/// pairs of start and length it found.
fn clean_ranges(ranges: &mut [(usize, usize); 8]) -> usize {
    const PAGE: usize = 4096;
    let Some((base, headers)) = program_headers() else { return 0 };
    let mut found = 0;
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 && found < 6 {
            let start = (base + header.p_vaddr as usize).next_multiple_of(PAGE);
            let end = (base + (header.p_vaddr + header.p_memsz) as usize) & !(PAGE - 1);
            if end > start {
                ranges[found] = (start, end - start);
                found += 1;
            }
        }
    }
    // This function's caller lies above it, so the page below is more than anybody needs.
    let here = (&raw const found).addr() & !(PAGE - 1);
    ranges[found] = (here - 32 * PAGE, 31 * PAGE);
    found + 1
}

/// Where this program lies in memory, and its headers.
pub(super) fn program_headers() -> Option<(usize, &'static [libc::Elf64_Phdr])> {
    // SAFETY: the kernel put the address and the number of the program headers there, which lie in
    // a part of the program that stays mapped.
    let headers = unsafe {
        let (first, count) = (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_PHNUM));
        if first == 0 {
            return None;
        }
        std::slice::from_raw_parts(first as *const libc::Elf64_Phdr, count as usize)
    };
    // The headers are the first thing in the file, right behind its own header of 64 bytes.
    Some((headers.as_ptr().addr() - size_of::<libc::Elf64_Ehdr>(), headers))
}
