//! All unsafe code of this crate.

/// Returns freed memory to the kernel; the C library would keep it for later (`malloc_trim(3)`).
pub fn release_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and any thread may call it at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
