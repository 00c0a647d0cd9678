//! Puts kernel, initial RAM disk and command line into the guest's memory, and tells the kernel where they are.
//!
//! Two formats, one protocol: vmlinux, the ELF file that the linker made, goes where it says; a bzImage goes to the first MiB and unpacks
//! itself. Both are entered in 64-bit mode with the address of a filled `boot_params` (Linux, Documentation/arch/x86/boot.rst).

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use linux_loader::loader::Error as LoaderError;
use linux_loader::loader::bootparam::{boot_params, setup_header};
use linux_loader::loader::{BzImage, Elf, KernelLoader, KernelLoaderResult};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::error::{BootError, lacks};
use super::layout::*;
use super::memory;

/// Marks in `setup_header`: of the header, and of a boot sector.
const HEADER_MAGIC: u32 = 0x5372_6448;
const BOOT_FLAG: u16 = 0xaa55;
/// A boot loader without a number.
const LOADER_UNDEFINED: u8 = 0xff;
/// The 64-bit entry point of a bzImage, and the flag in `xloadflags` that there is one.
const ENTRY_64: u64 = 0x200;
const XLF_KERNEL_64: u16 = 1;

/// What is to be booted.
pub(super) struct Files<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initrd: Option<&'a Path>,
    pub(super) command_line: &'a str,
}

/// A kernel in its place.
struct Kernel {
    entry: u64,
    /// The first address that it leaves free.
    end: u64,
    header: setup_header,
}

/// Loads everything into RAM of `ram` bytes. Returns the first instruction's address.
pub(super) fn load(
    memory: &GuestMemoryMmap,
    ram: u64,
    files: &Files<'_>,
) -> Result<u64, BootError> {
    let mut kernel = load_kernel(memory, ram, files.kernel)?;
    if let Some(path) = files.initrd {
        load_initrd(memory, ram, path, &mut kernel)?;
    }
    load_command_line(memory, files.command_line, &mut kernel)?;

    let params = boot_params_of(ram, kernel.header);
    memory.write_obj(params, ZERO_PAGE).map_err(lacks("the zero page"))?;
    Ok(kernel.entry)
}

fn load_command_line(
    memory: &GuestMemoryMmap,
    text: &str,
    kernel: &mut Kernel,
) -> Result<(), BootError> {
    // With the zero byte that ends it.
    let (bytes, max) = (text.len(), COMMAND_LINE_BYTES - 1);
    if bytes > max {
        return Err(BootError::CommandLine { bytes, max });
    }
    let terminated = [text.as_bytes(), &[0]].concat();
    memory.write_slice(&terminated, COMMAND_LINE).map_err(lacks("the command line"))?;
    kernel.header.cmd_line_ptr = COMMAND_LINE.0 as u32;
    kernel.header.cmdline_size = bytes as u32;
    Ok(())
}

fn boot_params_of(ram: u64, hdr: setup_header) -> boot_params {
    let mut params = boot_params { hdr, acpi_rsdp_addr: ACPI.0, ..Default::default() };
    let map = memory::e820(ram);
    params.e820_entries = map.len() as u8;
    params.e820_table[..map.len()].copy_from_slice(&map);
    params
}

fn load_kernel(memory: &GuestMemoryMmap, ram: u64, path: &Path) -> Result<Kernel, BootError> {
    let unreadable = |source| BootError::KernelFile { path: path.into(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut start = Vec::new();
    file.by_ref().take(0x206).read_to_end(&mut start).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;

    let kernel = if start.starts_with(b"\x7fELF") && is_executable(&start) {
        let loaded = Elf::load(memory, None, &mut file, Some(HIGH_MEMORY));
        vmlinux(loaded.map_err(|error| not_loaded(path, &file, ram, error))?)
    } else if start.get(0x202..) == Some(b"HdrS") {
        let loaded = BzImage::load(memory, Some(HIGH_MEMORY), &mut file, Some(HIGH_MEMORY));
        bzimage(path, loaded.map_err(|error| not_loaded(path, &file, ram, error))?)?
    } else {
        return Err(BootError::NotAKernel { path: path.into() });
    };
    if kernel.end > memory::low_end(ram) {
        return Err(BootError::MemoryTooSmall { path: path.into(), bytes: kernel.end, ram });
    }
    Ok(kernel)
}

/// Whether an ELF file is for x86-64 and has its place in memory, as no program of today has.
fn is_executable(elf: &[u8]) -> bool {
    const EXECUTABLE_X86_64: [u8; 4] = [2, 0, 62, 0];
    elf.get(16..20).is_none_or(|kind| kind == EXECUTABLE_X86_64)
}

/// Memory that ends in the kernel's file is what keeps a good one from being read.
fn not_loaded(path: &Path, file: &File, ram: u64, source: LoaderError) -> BootError {
    let path = PathBuf::from(path);
    let bytes = HIGH_MEMORY.0 + file.metadata().map_or(0, |data| data.len());
    match source {
        _ if bytes > ram => BootError::MemoryTooSmall { path, bytes, ram },
        source => BootError::BadKernel { path, source },
    }
}

fn vmlinux(loaded: KernelLoaderResult) -> Kernel {
    let header = setup_header {
        boot_flag: BOOT_FLAG,
        header: HEADER_MAGIC,
        type_of_loader: LOADER_UNDEFINED,
        initrd_addr_max: u32::MAX,
        ..Default::default()
    };
    Kernel { entry: loaded.kernel_load.0, end: loaded.kernel_end, header }
}

fn bzimage(path: &Path, loaded: KernelLoaderResult) -> Result<Kernel, BootError> {
    let header = loaded.setup_header.unwrap_or_default();
    if header.xloadflags & XLF_KERNEL_64 == 0 {
        return Err(BootError::No64BitEntry { path: path.into() });
    }
    // Where it unpacks itself, if nothing makes it go elsewhere.
    let unpacked = header.pref_address.max(loaded.kernel_load.0);
    let end = unpacked.saturating_add(header.init_size.into()).max(loaded.kernel_end);
    let header = setup_header { type_of_loader: LOADER_UNDEFINED, ..header };
    Ok(Kernel { entry: loaded.kernel_load.0 + ENTRY_64, end, header })
}

/// Puts it as high as it may be: what is behind the kernel, the kernel wants for itself.
fn load_initrd(
    memory: &GuestMemoryMmap,
    ram: u64,
    path: &Path,
    kernel: &mut Kernel,
) -> Result<(), BootError> {
    let unreadable = |source| BootError::InitrdFile { path: path.into(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let end = memory::low_end(ram).min(u64::from(kernel.header.initrd_addr_max) + 1);
    let room = end.saturating_sub(kernel.end.next_multiple_of(4096));
    if bytes > room {
        return Err(BootError::InitrdTooBig { path: path.into(), bytes, room });
    }
    let address = (end - bytes) & !0xfff;
    memory
        .read_exact_volatile_from(GuestAddress(address), &mut file, bytes as usize)
        .map_err(|error| unreadable(io::Error::other(error)))?;
    kernel.header.ramdisk_image = address as u32;
    kernel.header.ramdisk_size = bytes as u32;
    Ok(())
}

#[cfg(test)]
mod tests;
