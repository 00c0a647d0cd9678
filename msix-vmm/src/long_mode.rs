//! How a CPU of a guest begins in 64-bit mode: flat segments, and the first 4 GiB mapped to themselves.

use kvm_bindings::{kvm_segment, kvm_sregs};

/// Selectors of code, of data and of a task state segment. Linux wants the first two where they are: `__BOOT_CS`, `__BOOT_DS`.
pub(crate) const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
const TASK: u16 = 0x20;

/// Their descriptors; ring 0.
const CODE_DESCRIPTOR: u64 = 0x00af_9b00_0000_ffff;
const DATA_DESCRIPTOR: u64 = 0x00cf_9300_0000_ffff;
/// The low half of a task state segment's, but for its base; and the segment's last byte.
const TASK_DESCRIPTOR: u64 = 0x0000_8b00_0000_0067;
const TASK_LIMIT: u32 = 0x67;

/// Page table entries: present and writable; and also a page of 2 MiB.
const TABLE: u64 = 0x3;
const PAGE: u64 = 0x83;

const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_NE: u64 = 1 << 5;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

/// Where a guest has what that takes.
pub(crate) struct LongMode {
    /// Descriptors.
    pub(crate) gdt: u64,
    /// The task state segment, in the first 16 MiB.
    pub(crate) tss: u64,
    /// Page tables: level 4, level 3, and four of level 2, one after the other.
    pub(crate) pml4: u64,
    pub(crate) pdpt: u64,
    pub(crate) page_directories: u64,
}

impl LongMode {
    /// What is written to the guest's memory, and where.
    pub(crate) fn tables(&self) -> [(u64, Vec<u64>); 4] {
        let Self { gdt, tss, pml4, pdpt, page_directories } = *self;
        let task = TASK_DESCRIPTOR | tss << 16;
        [
            (gdt, vec![0, 0, CODE_DESCRIPTOR, DATA_DESCRIPTOR, task, 0]),
            (pml4, vec![pdpt | TABLE]),
            (pdpt, (0..4).map(|gib| (page_directories + (gib << 12)) | TABLE).collect()),
            (page_directories, (0..4 * 512).map(|page| page << 21 | PAGE).collect()),
        ]
    }

    /// Puts a CPU into that mode, without an IDT.
    pub(crate) fn enter(&self, sregs: &mut kvm_sregs) {
        let segment = |selector, type_| kvm_segment {
            limit: 0xffff_ffff,
            selector,
            type_,
            present: 1,
            s: 1,
            g: 1,
            ..Default::default()
        };
        let data = kvm_segment { db: 1, ..segment(DATA, 0x3) };
        sregs.cs = kvm_segment { l: 1, ..segment(CODE, 0xb) };
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
        let task = kvm_segment { s: 0, g: 0, ..segment(TASK, 0xb) };
        sregs.tr = kvm_segment { base: self.tss, limit: TASK_LIMIT, ..task };
        (sregs.gdt.base, sregs.gdt.limit) = (self.gdt, 6 * 8 - 1);
        (sregs.idt.base, sregs.idt.limit) = (0, 0);
        sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
        sregs.cr3 = self.pml4;
        sregs.cr4 = CR4_PAE;
        sregs.efer = EFER_LME | EFER_LMA;
    }
}
