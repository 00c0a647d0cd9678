//! Everything that can keep a guest from booting, or end it before its time.

use std::io;
use std::path::PathBuf;

use linux_loader::loader;

use super::snapshot::SnapshotError;
use crate::kvm_state::KvmStateError;

/// Why there is no guest, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    /// The kernel's file cannot be opened or read.
    #[error("the kernel {}: {source}", path.display())]
    KernelFile { path: PathBuf, source: io::Error },
    /// Neither of the two formats.
    #[error("{} is no Linux kernel for x86-64: neither an ELF file (vmlinux) nor a bzImage", path.display())]
    NotAKernel { path: PathBuf },
    /// A bzImage of a 32-bit kernel, or from before Linux 3.8.
    #[error("{} has no 64-bit entry point", path.display())]
    No64BitEntry { path: PathBuf },
    /// It has the mark of a format, but cannot be loaded.
    #[error("{} cannot be loaded, it is damaged, or no Linux kernel: {source}", path.display())]
    BadKernel { path: PathBuf, source: loader::Error },
    /// The kernel's place is not all RAM.
    #[error(
        "{} needs {} MiB of memory for itself, and the guest has {}",
        path.display(), bytes.div_ceil(1 << 20), ram >> 20
    )]
    MemoryTooSmall { path: PathBuf, bytes: u64, ram: u64 },
    /// The initial RAM disk's file cannot be opened or read.
    #[error("the initrd {}: {source}", path.display())]
    InitrdFile { path: PathBuf, source: io::Error },
    /// No room for it behind the kernel.
    #[error(
        "the initrd {} has {bytes} bytes, and the guest's memory has room for {room} beside the kernel",
        path.display()
    )]
    InitrdTooBig { path: PathBuf, bytes: u64, room: u64 },
    #[error("the command line has {bytes} bytes, a kernel takes {max}")]
    CommandLine { bytes: usize, max: usize },
    #[error("{cpus} CPUs asked for, 1 to {max} are possible")]
    Cpus { cpus: u32, max: u32 },
    #[error("{} MiB of memory asked for, {} to {} are possible", bytes >> 20, min >> 20, max >> 20)]
    Memory { bytes: u64, min: u64, max: u64 },
    #[error("there are {devices} devices, and {max} places on the bus")]
    TooManyDevices { devices: usize, max: usize },
    #[error("/dev/kvm: {source}; it takes KVM, and the right to use it, to boot a guest")]
    NoKvm { source: io::Error },
    #[error(
        "this host's CPUs have no hardware virtualization (neither vmx nor svm): its KVM cannot boot Linux in any reasonable time"
    )]
    NoHardwareVirtualization,
    #[error("{call}: {source}")]
    Kvm { call: &'static str, source: io::Error },
    /// The host could not provide something.
    #[error("{what}: {source}")]
    Host { what: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the device {name}: {source}")]
    Device { name: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// A disk's file cannot be opened or used.
    #[error("the disk {}: {source}", path.display())]
    DiskFile { path: PathBuf, source: io::Error },
    #[error("nothing can be written down in {}: {source}", path.display())]
    Recording { path: PathBuf, source: io::Error },
    #[error("the guest is over, but its report {} cannot be written: {source}", path.display())]
    Report { path: PathBuf, source: io::Error },
    /// What KVM knows of the guest cannot be had, or not be put back.
    #[error(transparent)]
    KvmState(#[from] KvmStateError),
    /// A guest that was running is lost.
    #[error("the guest cannot be saved to {}: {source}", path.display())]
    NotSaved { path: PathBuf, source: SnapshotError },
    #[error("no guest can go on from {}: {source}", path.display())]
    NotRestored { path: PathBuf, source: SnapshotError },
}

impl BootError {
    /// A device that could not be made.
    pub(super) fn device(
        name: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Device { name, source: Box::new(source) }
    }
}

/// For `map_err`, where KVM refuses a call.
pub(super) fn refused(call: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> BootError {
    move |source| BootError::Kvm { call, source: source.into() }
}

/// For `map_err`, where the host has not what is asked for.
pub(super) fn lacks<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    what: &'static str,
) -> impl FnOnce(E) -> BootError {
    move |source| BootError::Host { what, source: source.into() }
}
