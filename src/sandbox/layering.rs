//! Ways of putting layers on top of each other, so that a step can write to them: which one is taken here.

use std::sync::OnceLock;

/// In the order in which they are tried: copies take longest, but lose nothing, which cannot be said of fuse-overlayfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layering {
    /// The kernel's overlay, given layers one by one (Linux 6.8).
    Kernel,
    /// The kernel's overlay, given all layers in one call.
    Mount,
    /// Every step gets a copy of all files, and what it changed is found afterwards.
    Copy,
    /// The program fuse-overlayfs.
    Fuse,
}

/// Finds the way by going it: whatever works first is kept for the whole command.
#[derive(Debug, Default)]
pub struct Layerings {
    found: OnceLock<Layering>,
}

impl Layering {
    /// One word, as the option has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Mount => "mount",
            Self::Fuse => "fuse",
            Self::Copy => "copy",
        }
    }

    /// Whether it takes much more room than another way would.
    pub fn is_wasteful(self) -> bool {
        self == Self::Copy
    }

    const ALL: [Self; 4] = [Self::Kernel, Self::Mount, Self::Copy, Self::Fuse];

    /// What to tell whoever waits: that this is done because a better way failed.
    pub fn instead_of(self, why: &str) -> String {
        let effect = match self {
            Self::Kernel => "the kernel puts layers on top of each other",
            Self::Mount => "layers are mounted in the way of kernels before Linux 6.8",
            Self::Fuse => "fuse-overlayfs puts layers on top of each other, more slowly",
            Self::Copy => {
                "each RUN gets a copy of all files, which takes time and space (--overlay fuse is quicker, but forgets owners of links and setuid bits)"
            }
        };
        format!("{effect}, because a better way does not work here: {why}")
    }
}

impl Layerings {
    /// This one and no other.
    pub fn only(layering: Layering) -> Self {
        Self { found: OnceLock::from(layering) }
    }

    /// What is to be tried, in order: one, once it is known.
    pub fn candidates(&self) -> &[Layering] {
        match self.found.get() {
            Some(found) => std::slice::from_ref(found),
            None => &Layering::ALL,
        }
    }

    /// Notes that one works. Says whether it is news that the best does not.
    pub fn works(&self, layering: Layering) -> bool {
        self.found.set(layering).is_ok() && layering != Layering::Kernel
    }

    /// Whether an overlay of the kernel is not even to be tried.
    pub fn is_without_kernel(&self) -> bool {
        matches!(self.found.get(), Some(Layering::Fuse | Layering::Copy))
    }
}
