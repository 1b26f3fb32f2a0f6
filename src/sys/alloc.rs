//! The memory of a short-lived program with one thread: small pieces from one array, kept in
//! lists by size, so that a command asks the kernel for memory hardly ever.
//!
//! musl's allocator maps and unmaps pages for every handful of pieces; that was 6 % of a start.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use syscalls::{Sysno, syscall};

/// Pieces of 16, 32, … 65536 bytes: the buffers of a relay are among them.
const CLASSES: usize = 13;
const SMALLEST: usize = 16;
const LARGEST: usize = SMALLEST << (CLASSES - 1);
/// Untouched pages of it cost nothing.
const ARENA: usize = 512 << 10;

/// The allocator of the program.
pub struct Pieces(UnsafeCell<State>);

#[repr(C, align(4096))]
struct State {
    arena: [u8; ARENA],
    /// Bytes of the arena that have been given out at least once.
    used: usize,
    /// The first free piece of each size; each holds the address of the next.
    free: [*mut u8; CLASSES],
}

// SAFETY: rocker has one thread, always; `clone_into` and `Child::spawn` rely on it too.
unsafe impl Sync for Pieces {}

impl Pieces {
    pub const fn new() -> Self {
        Self(UnsafeCell::new(State {
            arena: [0; ARENA],
            used: 0,
            free: [std::ptr::null_mut(); CLASSES],
        }))
    }
}

/// What the system gave; where it gave nothing this process ends with one line, as any command
/// that the host refuses something.
fn given(piece: *mut u8) -> *mut u8 {
    if piece.is_null() {
        out_of_memory();
    }
    piece
}

#[cold]
fn out_of_memory() -> ! {
    // Without memory no error can be put together. 125: rocker failed, not the program.
    let text = b"rocker: no memory is left: Cannot allocate memory (ENOMEM)\n";
    // SAFETY: the kernel reads as many bytes as the text has.
    let _ = unsafe { syscall!(Sysno::write, 2, text.as_ptr(), text.len()) };
    super::process::exit_now(125)
}

/// The list that serves a layout; `None` where it is too large or wants more than 16-byte order.
fn class(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(SMALLEST);
    (size <= LARGEST).then(|| (size.next_power_of_two() / SMALLEST).trailing_zeros() as usize)
}

// SAFETY: every piece is given out once until it is returned; a piece of class n has
// `SMALLEST << n` bytes and begins at a multiple of that in a page-aligned arena, or came from
// the system with the layout that it goes back with. Whether it lies in the arena tells which.
unsafe impl GlobalAlloc for Pieces {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let state = self.0.get();
        // SAFETY: there is one thread and no reference to the state outlives this call.
        unsafe {
            let Some(class) = class(layout) else { return given(System.alloc(layout)) };
            let first = (*state).free[class];
            if !first.is_null() {
                (*state).free[class] = first.cast::<*mut u8>().read();
                return first;
            }
            let size = SMALLEST << class;
            let start = (*state).used.next_multiple_of(size.min(4096));
            if start + size > ARENA {
                return given(System.alloc(layout));
            }
            (*state).used = start + size;
            (&raw mut (*state).arena).cast::<u8>().add(start)
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let state = self.0.get();
        // SAFETY: as above; the layout is the caller's.
        unsafe {
            // Fresh pages are zero, and stay untouched until they are used: those of the system,
            // and what of the array was never given out.
            let Some(class) = class(layout) else { return given(System.alloc_zeroed(layout)) };
            let used = (*state).used;
            let is_fresh = (*state).free[class].is_null();
            let piece = self.alloc(layout);
            if !is_fresh || (*state).used == used {
                piece.write_bytes(0, layout.size());
            }
            piece
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let state = self.0.get();
        // SAFETY: as above; the caller gives back what it got, with the same layout.
        unsafe {
            let arena = (&raw mut (*state).arena).cast::<u8>();
            let inside = piece >= arena && piece < arena.add(ARENA);
            match class(layout).filter(|_| inside) {
                None => System.dealloc(piece, layout),
                Some(class) => {
                    piece.cast::<*mut u8>().write((*state).free[class]);
                    (*state).free[class] = piece;
                }
            }
        }
    }
}
