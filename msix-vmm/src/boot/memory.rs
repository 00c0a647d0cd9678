//! The guest's RAM: below the devices' addresses as much as fits, the rest above 4 GiB.

use std::fs::File;
use std::io;
use std::sync::Arc;

use linux_loader::loader::bootparam::boot_e820_entry;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

use super::error::{BootError, lacks};
use super::layout::*;

/// Less than any kernel needs.
const MIN: u64 = 16 << 20;
/// What a guest with 40 physical address bits can reach, and more than a test wants.
const MAX: u64 = 512 << 30;

/// Kinds of memory in the map that a PC's firmware hands on (ACPI 6.5, table 15.6).
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// Who else is to have the guest's RAM.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Nobody.
    Private,
    /// Other processes, which are given its file.
    Shared,
}

/// Allocates `bytes` of RAM, rounded up to pages. The host gives each page when it is first touched.
pub(super) fn allocate(bytes: u64, sharing: Sharing) -> Result<GuestMemoryMmap, BootError> {
    if !(MIN..=MAX).contains(&bytes) {
        return Err(BootError::Memory { bytes, min: MIN, max: MAX });
    }
    let ranges = ranges(bytes);
    let file = match sharing {
        Sharing::Private => None,
        Sharing::Shared => {
            let bytes = ranges.iter().map(|(_, bytes)| bytes).sum();
            Some(Arc::new(sealed(bytes).map_err(lacks("a file for the guest's memory"))?))
        }
    };
    let mut offset = 0;
    let regions = ranges.into_iter().map(|(start, bytes)| {
        let part = file.as_ref().map(|file| FileOffset::from_arc(Arc::clone(file), offset));
        offset += bytes;
        (GuestAddress(start), bytes as usize, part)
    });
    GuestMemoryMmap::from_ranges_with_files(regions).map_err(lacks("the guest's memory"))
}

/// A file in memory whose size nobody can change: who maps what was cut off is killed.
fn sealed(bytes: u64) -> io::Result<File> {
    let file = memfd_create("guest-memory", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, bytes)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file.into())
}

/// Where RAM begins and how much there is, of each range.
fn ranges(bytes: u64) -> Vec<(u64, u64)> {
    let bytes = bytes.next_multiple_of(4096);
    let low = bytes.min(DEVICE_MEMORY);
    let mut ranges = vec![(0, low)];
    if bytes > low {
        ranges.push((RAM_ABOVE_4_GIB, bytes - low));
    }
    ranges
}

/// Where RAM below 4 GiB ends.
pub(super) fn low_end(bytes: u64) -> u64 {
    ranges(bytes)[0].1
}

/// The memory map for the kernel.
pub(super) fn e820(bytes: u64) -> Vec<boot_e820_entry> {
    let mut ranges = ranges(bytes);
    let above_4_gib = ranges.split_off(1);
    let high_memory = HIGH_MEMORY.0;
    let entry = |(addr, size), kind| boot_e820_entry { addr, size, r#type: kind };
    let mut map = vec![
        entry((0, LOW_RESERVED), E820_RAM),
        entry((LOW_RESERVED, high_memory - LOW_RESERVED), E820_RESERVED),
        entry((high_memory, ranges[0].1 - high_memory), E820_RAM),
        // Linux uses no ECAM that is not spoken for.
        entry((ECAM, u64::from(BUSES) << 20), E820_RESERVED),
    ];
    map.extend(above_4_gib.into_iter().map(|range| entry(range, E820_RAM)));
    map
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion};

    use super::*;

    const GIB: u64 = 1 << 30;

    /// Ranges of one kind, first and end.
    fn of_kind(bytes: u64, kind: u32) -> Vec<(u64, u64)> {
        let map = e820(bytes);
        let entries = map.iter().filter(|entry| { entry.r#type } == kind);
        entries.map(|entry| (entry.addr, entry.addr + entry.size)).collect()
    }

    #[test]
    fn the_map_ascends_without_overlap() {
        for bytes in [16 << 20, GIB, 3 * GIB, 3 * GIB + 4096, 8 * GIB] {
            let map = e820(bytes);
            for pair in map.windows(2) {
                assert!(
                    { pair[0].addr } + { pair[0].size } <= { pair[1].addr },
                    "{bytes:#x}: {map:x?}"
                );
            }
        }
    }

    #[test]
    fn small_ram_is_all_below_the_devices() {
        let ram = of_kind(256 << 20, E820_RAM);
        assert_eq!(ram, [(0, 0x9_fc00), (0x10_0000, 0x1000_0000)]);
    }

    #[test]
    fn ram_of_3_gib_ends_where_device_memory_begins() {
        assert_eq!(of_kind(3 * GIB, E820_RAM).last(), Some(&(0x10_0000, 0xc000_0000)));
    }

    #[test]
    fn what_does_not_fit_below_goes_above_4_gib() {
        let ram = of_kind(5 * GIB, E820_RAM);
        assert_eq!(ram[1..], [(0x10_0000, 0xc000_0000), (0x1_0000_0000, 0x1_8000_0000)]);
    }

    #[test]
    fn acpi_tables_and_ecam_are_reserved() {
        let reserved = of_kind(GIB, E820_RESERVED);
        let covers =
            |address: u64| reserved.iter().any(|(first, end)| (*first..*end).contains(&address));
        assert!(covers(0xe_0000) && covers(0xe000_0000) && covers(0xe00f_ffff), "{reserved:x?}");
    }

    #[test]
    fn too_little_and_too_much_are_refused() {
        for bytes in [0, 1 << 20, (16 << 20) - 1, 1 << 62] {
            let refused = allocate(bytes, Sharing::Private).err();
            assert!(
                matches!(refused, Some(BootError::Memory { bytes: b, .. }) if b == bytes),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn shared_ram_is_one_file_that_keeps_its_size() {
        let memory = allocate(16 << 20, Sharing::Shared).unwrap();
        let last = GuestAddress((16 << 20) - 8);
        memory.write_obj(0x1234_5678_u64, last).unwrap();
        let region = memory.iter().next().unwrap();
        let file = region.file_offset().unwrap();
        let mut bytes = [0; 8];
        file.file().read_exact_at(&mut bytes, file.start() + last.0).unwrap();
        assert_eq!(u64::from_le_bytes(bytes), 0x1234_5678);
        assert!(file.file().set_len(4096).is_err() && file.file().set_len(1 << 30).is_err());
    }
}
