//! No walking up the stack: a panic aborts, and a stripped program could name no function in a backtrace.
//!
//! The standard library refers to an unwinder all the same, and the linker would put one into the
//! program, 80 KB with what that needs of the C library. It takes these functions instead, of which
//! the first alone is ever called. Source: the Itanium C++ ABI, "Exception Handling", level I.

use std::ffi::{c_int, c_void};

const END_OF_STACK: c_int = 5;

// SAFETY: nothing else in the program has this name.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_: *const c_void, _: *mut c_void) -> c_int {
    END_OF_STACK
}

/// Functions that ask about a frame, or change it: without a frame nobody calls them.
macro_rules! of_a_frame {
    ($($name:ident)*) => {
        $(
            // SAFETY: nothing else in the program has this name.
            #[unsafe(no_mangle)]
            extern "C" fn $name(_: *mut c_void) -> usize {
                0
            }
        )*
    };
}

of_a_frame! {
    _Unwind_GetIP
    _Unwind_GetIPInfo
    _Unwind_GetDataRelBase
    _Unwind_GetTextRelBase
    _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart
    _Unwind_SetGR
    _Unwind_SetIP
}
