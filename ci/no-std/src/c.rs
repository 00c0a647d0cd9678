//! What Rust needs of a platform, from the C library: memory, an end, and a line of text.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{CStr, c_char, c_int, c_void};
use core::panic::PanicInfo;

#[link(name = "c")]
unsafe extern "C" {
    fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void;
    fn free(memory: *mut c_void);
    safe fn abort() -> !;
    fn puts(text: *const c_char) -> c_int;
}

/// Prints a line.
pub(crate) fn print(text: &CStr) {
    // SAFETY: a `CStr` ends with a NUL and lives as long as the call. That standard output may be closed is
    // no reason to fail.
    unsafe { puts(text.as_ptr()) };
}

struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

// SAFETY: the C library's memory is aligned as asked for, is nobody else's until it is freed, and its
// functions do not unwind.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The least that every C library takes; it also wants the size to be a multiple.
        let Ok(layout) = layout.align_to(size_of::<*const ()>()) else {
            return core::ptr::null_mut();
        };
        let layout = layout.pad_to_align();
        // SAFETY: the alignment is a power of two and the size is a multiple of it.
        unsafe { aligned_alloc(layout.align(), layout.size()) }.cast()
    }

    unsafe fn dealloc(&self, memory: *mut u8, _layout: Layout) {
        // SAFETY: by the caller's promise it came from `alloc`, that is from `aligned_alloc`.
        unsafe { free(memory.cast()) };
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    print(c"vm-msix without std: panicked");
    abort()
}

/// The `alloc` that comes with the compiler is built to unwind and asks for this by name. Nothing
/// unwinds here, so nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    abort()
}
