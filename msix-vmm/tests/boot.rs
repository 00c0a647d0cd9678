//! `boot`, as far as it goes without a guest: what keeps one from booting is said in one sentence.
//!
//! With a guest, see `ci/nested`.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output};

/// A directory for the files of a test.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let name = format!("msix-vmm-boot-{}-{test}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().into()
    }

    fn sparse(&self, name: &str, bytes: u64) -> String {
        let path = self.file(name, &[]);
        File::options().write(true).open(&path).unwrap().set_len(bytes).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn boot(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_msix-vmm")).arg("boot").args(args).output().unwrap()
}

/// Boots, and returns the one line with which that was refused.
fn refused(args: &[&str]) -> String {
    let output = boot(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!((error.lines().count(), output.stdout.len()), (1, 0), "{error}");
    error
}

/// An ELF file with one segment of code at `address`: `bytes` in memory, 16 of them in the file.
fn elf(address: u64, bytes: u64) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // Executable, x86-64, version 1.
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    // Entry point, program headers, no sections.
    [address, 64, 0].iter().for_each(|word| file.extend(word.to_le_bytes()));
    // No flags; sizes and numbers of headers.
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // To be loaded, readable and executable, from behind the headers.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    [120, address, address, 16, bytes, 4096]
        .iter()
        .for_each(|word| file.extend(word.to_le_bytes()));
    file.resize(136, 0xf4);
    file
}

/// The parts of a bzImage that a loader looks at.
fn bzimage(xloadflags: u16) -> Vec<u8> {
    let mut file = vec![0; 8192];
    let mut put =
        |offset: usize, bytes: &[u8]| file[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x202, b"HdrS");
    put(0x206, &0x20f_u16.to_le_bytes());
    // Loaded high.
    put(0x211, &[1]);
    put(0x214, &0x10_0000_u32.to_le_bytes());
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(0x236, &xloadflags.to_le_bytes());
    put(0x258, &0x100_0000_u64.to_le_bytes());
    put(0x260, &0x200_0000_u32.to_le_bytes());
    file
}

#[test]
fn a_kernel_that_is_not_there_or_cannot_be_read() {
    assert!(refused(&["--kernel", "/no/such/kernel"]).contains("No such file"));
    assert!(refused(&["--kernel", "/"]).contains("Is a directory"));
}

#[test]
fn what_is_no_kernel() {
    let files = Files::new("no-kernel");
    for (name, bytes) in [("empty", &b""[..]), ("text", b"#!/bin/sh\n"), ("zeros", &[0; 4096])] {
        let error = refused(&["--kernel", &files.file(name, bytes)]);
        assert!(error.contains("no Linux kernel for x86-64"), "{error}");
    }
    let program = refused(&["--kernel", &files.file("short", b"\x7fELF")]);
    assert!(program.contains("damaged"), "{program}");
}

#[test]
fn a_program_of_this_host_is_an_elf_file_and_no_kernel() {
    let error = refused(&["--kernel", env!("CARGO_BIN_EXE_msix-vmm")]);
    assert!(error.contains("no Linux kernel for x86-64"), "{error}");
}

#[test]
fn a_kernel_without_a_64_bit_entry() {
    let files = Files::new("32-bit");
    let error = refused(&["--kernel", &files.file("bzImage", &bzimage(0))]);
    assert!(error.contains("no 64-bit entry"), "{error}");
}

#[test]
fn a_kernel_that_needs_more_memory_than_there_is() {
    let files = Files::new("memory");
    // 17 to 49 MiB, both.
    let vmlinux = files.file("vmlinux", &elf(0x100_0000, 0x200_0000));
    let bzimage = files.file("bzImage", &bzimage(1));
    for kernel in [vmlinux, bzimage] {
        let error = refused(&["--kernel", &kernel, "--mem", "47M"]);
        assert!(error.contains("needs 48 MiB") && error.contains("has 47"), "{error}");
    }
}

#[test]
fn an_initrd_that_is_not_there_or_does_not_fit() {
    let files = Files::new("initrd");
    let kernel = files.file("vmlinux", &elf(0x100_0000, 0x200_0000));
    let error = refused(&["--kernel", &kernel, "--initrd", "/no/such/initrd"]);
    assert!(error.contains("initrd") && error.contains("No such file"), "{error}");

    let initrd = files.sparse("initrd", (16 << 20) + 1);
    let error = refused(&["--kernel", &kernel, "--initrd", &initrd, "--mem", "64M"]);
    assert!(error.contains("16777217 bytes") && error.contains("room for 16777216"), "{error}");
}

#[test]
fn too_little_and_too_much_memory() {
    for size in ["0M", "1M", "15M", "100000G"] {
        let error = refused(&["--kernel", "/dev/null", "--mem", size]);
        assert!(error.contains("MiB of memory asked for"), "{error}");
    }
    for size in ["512", "lots", "", "-1M", "18446744073709551615G"] {
        let output = boot(&["--kernel", "/dev/null", &format!("--mem={size}")]);
        assert_eq!(output.status.code(), Some(2), "{size:?} is no size");
    }
}

#[test]
fn no_cpu_and_too_many() {
    for cpus in ["0", "255", "256", "4294967295"] {
        let error = refused(&["--kernel", "/dev/null", "--cpus", cpus]);
        assert!(error.contains(&format!("{cpus} CPUs asked for, 1 to 254")), "{error}");
    }
}

#[test]
fn a_command_line_that_is_too_long() {
    let files = Files::new("command-line");
    let kernel = files.file("vmlinux", &elf(0x100_0000, 0x1000));
    let error = refused(&["--kernel", &kernel, "--cmdline", &"x".repeat(2048)]);
    assert!(error.contains("2048 bytes, a kernel takes 2047"), "{error}");
}

#[test]
fn unknown_devices_and_numbers_of_vectors_are_no_arguments() {
    for args in [["--device", "floppy"], ["--vectors", "0"], ["--vectors", "2049"]] {
        let output = boot(&[&["--kernel", "/dev/null"], &args[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_guest_goes_on_or_boots_and_not_both() {
    assert_eq!(boot(&[]).status.code(), Some(2), "neither");
    for new in [["--kernel", "k"], ["--initrd", "i"], ["--cpus", "1"], ["--mem", "1G"]] {
        let output = boot(&[&["--restore", "f"], &new[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{new:?}");
    }
}

#[test]
fn a_guest_that_cannot_be_saved_does_not_begin() {
    let files = Files::new("snapshot");
    let kernel = files.file("vmlinux", &elf(0x100_0000, 0x1000));
    let error = refused(&["--kernel", &kernel, "--snapshot", "/no/such/folder/guest"]);
    assert!(error.contains("cannot be saved to /no/such/folder/guest"), "{error}");
    let folder = files.0.to_str().unwrap();
    let error = refused(&["--kernel", &kernel, "--snapshot", folder]);
    assert!(error.contains("is a directory"), "{error}");
    let saved = files.file("guest", b"an older one");
    assert!(!refused(&["--kernel", "/no/such/file", "--snapshot", &saved]).contains("saved"));
    assert_eq!(fs::read(saved).unwrap(), b"an older one");
    assert_eq!(fs::read_dir(&files.0).unwrap().count(), 2, "nothing is left beside it");
}

#[test]
fn c14_what_is_no_saved_guest() {
    let files = Files::new("saved");
    let mark = b"msix-vmm\r\n\x1a\n";
    let header = |rest: &[u8]| [&mark[..], rest].concat();
    for (name, bytes, reason) in [
        ("empty", Vec::new(), "no saved guest"),
        ("text", b"#!/bin/sh\nexit 0\n".to_vec(), "no saved guest"),
        ("mark", header(&[]), "ends too early"),
        ("version", header(&[2, 0, 0, 0]), "of version 2, and only version 1"),
        (
            "endless",
            header(&[&[1, 0, 0, 0][..], &[0xff; 12]].concat()),
            "18446744073709551615 bytes",
        ),
        ("state", header(&[&[1, 0, 0, 0, 1][..], &[0; 12]].concat()), "state is damaged"),
    ] {
        let error = refused(&["--restore", &files.file(name, &bytes)]);
        assert!(error.contains("no guest can go on from") && error.contains(reason), "{error}");
    }
    assert!(refused(&["--restore", "/no/such/file"]).contains("No such file"));
    assert!(refused(&["--restore", "/"]).contains("Is a directory"));
}

/// Nothing is wrong with the files: what is left is the host.
#[test]
fn a_host_that_cannot_boot_linux_says_why() {
    let files = Files::new("host");
    let kernel = files.file("vmlinux", &elf(0x100_0000, 0x1000));
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap();
    let expected = if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        "/dev/kvm: "
    } else if !cpu.contains(" vmx") && !cpu.contains(" svm") {
        "no hardware virtualization"
    } else {
        eprintln!("skipped: this host can boot Linux");
        return;
    };
    let error = refused(&["--kernel", &kernel]);
    assert!(error.contains(expected), "{error}");
}
