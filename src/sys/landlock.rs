//! Landlock: rules that a process makes for itself.

/// The version of the interface that this kernel has; none where it is missing or switched off.
pub fn version() -> Option<u32> {
    const CREATE_RULESET_VERSION: libc::c_ulong = 1;
    let nothing: *const libc::c_void = std::ptr::null();
    // SAFETY: asked for the version, the kernel takes no rules: a null pointer and no size are what it wants.
    let answer =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, CREATE_RULESET_VERSION) };
    u32::try_from(answer).ok().filter(|version| *version > 0)
}
