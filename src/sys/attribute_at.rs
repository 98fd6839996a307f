//! Extended attributes of entries of an open directory.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::path::Arg as _;

/// Reads an attribute of an entry of a directory, links not followed.
pub(super) fn get(
    directory: impl AsFd,
    name: &Path,
    attribute: &str,
    buffer: &mut [u8],
) -> rustix::io::Result<usize> {
    /// Whether this kernel is from before Linux 6.13.
    static IS_OLD: AtomicBool = AtomicBool::new(false);
    if !IS_OLD.load(Ordering::Relaxed) {
        match get_in_one_call(&directory, name, attribute, buffer) {
            Err(Errno::NOSYS) => IS_OLD.store(true, Ordering::Relaxed),
            // A filter of system calls may not know it.
            Err(Errno::PERM) => {}
            answer => return answer,
        }
    }
    // The way around takes several times as long.
    let path = Path::new("/proc/self/fd").join(directory.as_fd().as_raw_fd().to_string()).join(name);
    rustix::fs::lgetxattr(path, attribute, buffer)
}

/// `getxattrat`, which has the same number everywhere.
const CALL: libc::c_long = 464;

/// As the kernel has it.
#[repr(C, align(8))]
struct Arguments {
    value: u64,
    size: u32,
    flags: u32,
}

fn get_in_one_call(
    directory: impl AsFd,
    name: &Path,
    attribute: &str,
    buffer: &mut [u8],
) -> rustix::io::Result<usize> {
    let directory = directory.as_fd().as_raw_fd();
    let size = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    name.into_with_c_str(|name| {
        attribute.into_with_c_str(|attribute| {
            let mut arguments = Arguments { value: buffer.as_mut_ptr() as u64, size, flags: 0 };
            // SAFETY: both texts end in a NUL and outlive the call; the kernel writes at most `size` bytes to `value`, which is
            // the buffer that nobody else has meanwhile, and reads as many bytes of `arguments` as it has.
            let answer = unsafe {
                libc::syscall(
                    CALL,
                    directory,
                    name.as_ptr(),
                    libc::AT_SYMLINK_NOFOLLOW,
                    attribute.as_ptr(),
                    &raw mut arguments,
                    size_of::<Arguments>(),
                )
            };
            usize::try_from(answer)
                .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{XattrFlags, lsetxattr};

    #[test]
    fn both_ways_lead_to_the_same() {
        let dir = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        let directory = std::fs::File::open(dir.path()).unwrap();
        lsetxattr(dir.path().join("file"), "user.a", b"value", XattrFlags::empty()).unwrap();
        let ask = |name: &str, attribute: &str, size: usize| {
            let mut buffers = [vec![0; size], vec![0; size]];
            let [one, other] = &mut buffers;
            let answers = [
                get(&directory, Path::new(name), attribute, one),
                rustix::fs::lgetxattr(dir.path().join(name), attribute, other.as_mut_slice()),
            ];
            assert_eq!(answers[0], answers[1], "{name} {attribute}");
            assert_eq!(buffers[0], buffers[1]);
            answers[0]
        };
        assert_eq!(ask("file", "user.a", 64), Ok(5));
        assert_eq!(ask("file", "user.a", 2), Err(Errno::RANGE));
        assert_eq!(ask("file", "user.b", 64), Err(Errno::NODATA));
        assert_eq!(ask("nothing", "user.a", 64), Err(Errno::NOENT));
        // A link is not followed, and has none.
        assert!(ask("link", "user.a", 64).is_err());
    }
}
