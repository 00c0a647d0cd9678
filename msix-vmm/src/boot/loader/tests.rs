//! Looks at memory as a kernel does: `boot_params` by the offsets of Linux' Documentation/arch/x86/boot.rst and zero-page.rst.

use std::fs;
use std::path::PathBuf;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{Files, load};
use crate::boot::error::BootError;
use crate::boot::memory::{Sharing, allocate};

const MIB: u64 = 1 << 20;
const RAM: u64 = 64 * MIB;

/// The file of a test, which goes when it does.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let name = format!("msix-vmm-loader-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A bzImage: one sector of setup, whose fields are at their offsets, and `code` behind it.
fn bzimage(code: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 1024];
    let mut put =
        |offset: usize, bytes: &[u8]| file[offset..][..bytes.len()].copy_from_slice(bytes);
    // Sectors of setup beside the first; version; loaded high; 64-bit entry.
    put(0x1f1, &[1]);
    put(0x202, b"HdrS");
    put(0x206, &[0x0f, 0x02]);
    put(0x211, &[1]);
    put(0x214, &0x10_0000_u32.to_le_bytes());
    put(0x236, &[1, 0]);
    // The highest address for an initrd; where it unpacks itself, and how much it needs there.
    put(0x22c, &0x2ff_ffff_u32.to_le_bytes());
    put(0x258, &0x100_0000_u64.to_le_bytes());
    put(0x260, &0x100_0000_u32.to_le_bytes());
    file.extend(code);
    file
}

/// A vmlinux with one segment, at 16 MiB.
fn vmlinux(code: &[u8]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    [0x100_0000, 64, 0_u64].iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0]);
    let (bytes, in_memory) = (code.len() as u64, 0x2000);
    [120, 0, 0x100_0000, bytes, in_memory, 4096]
        .iter()
        .for_each(|word| file.extend(word.to_le_bytes()));
    file.extend(code);
    file
}

/// Loads a kernel with an initrd, and returns the memory and the entry point.
fn loaded(name: &str, kernel: &[u8], initrd: &[u8]) -> Result<(GuestMemoryMmap, u64), BootError> {
    let kernel = TestFile::new(&format!("{name}-kernel"), kernel);
    let initrd = TestFile::new(&format!("{name}-initrd"), initrd);
    let memory = allocate(RAM, Sharing::Private)?;
    let files =
        Files { kernel: &kernel.0, initrd: Some(&initrd.0), command_line: "console=ttyS0 x" };
    let entry = load(&memory, RAM, &files)?;
    Ok((memory, entry))
}

fn bytes(memory: &GuestMemoryMmap, address: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
    bytes
}

/// A number in `boot_params`.
fn param(memory: &GuestMemoryMmap, offset: u64) -> u64 {
    memory.read_obj::<u32>(GuestAddress(0x7000 + offset)).unwrap().into()
}

#[test]
fn a_bzimage_is_entered_behind_its_first_sector() {
    let code: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let (memory, entry) = loaded("bzimage", &bzimage(&code), b"initrd").unwrap();
    assert_eq!(entry, 0x10_0200);
    assert_eq!(bytes(&memory, 0x10_0000, code.len()), code);
    assert_eq!(param(&memory, 0x202), 0x5372_6448, "its own header is handed on");
    assert_eq!(param(&memory, 0x210) & 0xff, 0xff, "by a loader without a number");
}

#[test]
fn a_vmlinux_is_entered_where_it_says() {
    let (memory, entry) = loaded("vmlinux", &vmlinux(b"kernel"), b"initrd").unwrap();
    assert_eq!(entry, 0x100_0000);
    assert_eq!(bytes(&memory, 0x100_0000, 6), b"kernel");
    assert_eq!((param(&memory, 0x1fe) & 0xffff, param(&memory, 0x202)), (0xaa55, 0x5372_6448));
}

#[test]
fn an_initrd_lies_as_high_as_it_may() {
    let initrd = vec![7; 5000];
    // RAM ends at 64 MiB; the bzImage says 48.
    for (name, kernel, end) in
        [("low", bzimage(b"code"), 48 * MIB), ("high", vmlinux(b"code"), 64 * MIB)]
    {
        let (memory, _) = loaded(name, &kernel, &initrd).unwrap();
        let (address, size) = (param(&memory, 0x218), param(&memory, 0x21c));
        assert_eq!((address, size), (end - 8192, 5000), "{name}");
        assert_eq!(bytes(&memory, address, 5000), initrd);
    }
}

#[test]
fn the_command_line_and_the_memory_map_are_handed_on() {
    let (memory, _) = loaded("params", &vmlinux(b"code"), b"").unwrap();
    let command_line = param(&memory, 0x228);
    assert_eq!(bytes(&memory, command_line, 16), b"console=ttyS0 x\0");
    assert_eq!(param(&memory, 0x70), 0xe_0000, "where ACPI begins");
    assert_eq!(param(&memory, 0x1e8) & 0xff, 4, "entries of the map");
    // Address, size and kind of the third.
    let entry = bytes(&memory, 0x7000 + 0x2d0 + 2 * 20, 20);
    let expected = [&MIB.to_le_bytes()[..], &(RAM - MIB).to_le_bytes(), &[1, 0, 0, 0]].concat();
    assert_eq!(entry, expected);
}

#[test]
fn a_kernel_that_is_cut_short_is_damaged() {
    let mut kernel = vmlinux(&[0; 4096]);
    kernel.truncate(2000);
    let error = loaded("short", &kernel, b"").err();
    assert!(matches!(error, Some(BootError::BadKernel { .. })), "{error:?}");
}
