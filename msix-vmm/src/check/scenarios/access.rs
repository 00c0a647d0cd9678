//! Accesses that a careful driver does not make, and some that Windows does.

use vm_msix::Signal;

use crate::check::rig::Rig;
use crate::check::verdict::{Failure, equal};
use crate::machine::{FIRST_DEVICE_VECTOR, Width};

/// Message Control written as the DWORD at offset 0 of the capability, and as its highest byte.
pub(super) fn control_as_dword(rig: &Rig) -> Result<String, Failure> {
    rig.start_over()?;
    rig.driver(0).unmask(0);
    let mut driver = rig.driver(0);
    let registers = driver.access();
    let first = registers.capability(0);
    let id_and_size = registers.read_config(first, Width::Dword) as u32 & 0x3fff_ffff;
    let write = |value| rig.driver(0).access().write_config(first, Width::Dword, value);

    // Enable clear, and ones in everything that is read-only.
    write(0x3fff_ffff);
    equal("capability, disabled", registers.read_config(first, Width::Dword) as u32, id_and_size)?;
    rig.trigger_expecting(0, Signal::Latched)?;
    write(0xc000_0000);
    let both = registers.read_config(first, Width::Dword) as u32;
    equal("capability, enabled under mask", both, id_and_size | 0xc000_0000)?;
    rig.silent([0])?;
    write(0x8000_0000);
    rig.ran_exactly_once([0])?;

    registers.write_config(registers.capability(3), Width::Byte, 0x40);
    let byte = registers.read_config(registers.capability(2), Width::Word);
    equal("Message Control after a byte", byte, u64::from(rig.vectors() - 1) | 0x4000)?;
    rig.intact()?;
    Ok("the two bits follow every width, the others never change".into())
}

/// One access and what it must do: `None` for a write, the value for a read.
struct Case {
    pba: bool,
    offset: u64,
    width: Width,
    write: Option<u64>,
    reads: Option<u64>,
}

/// Every width at crooked and straight offsets: one defined result each.
pub(super) fn odd_accesses(rig: &Rig) -> Result<String, Failure> {
    rig.start_over()?;
    let message = u64::from(FIRST_DEVICE_VECTOR);
    let read =
        |offset, width, value| Case { pba: false, offset, width, write: None, reads: Some(value) };
    let write =
        |offset, width, value| Case { pba: false, offset, width, write: Some(value), reads: None };
    let pba = |case: Case| Case { pba: true, ..case };
    let ones = u64::MAX;
    let odd = [
        read(0, Width::Byte, 0),
        read(0, Width::Word, 0),
        read(12, Width::Byte, 0),
        read(2, Width::Dword, 0),
        read(4, Width::Qword, 0),
        write(0, Width::Byte, ones),
        write(0, Width::Word, ones),
        write(8, Width::Byte, ones),
        write(12, Width::Byte, 0),
        write(2, Width::Dword, ones),
        write(4, Width::Qword, ones),
        pba(read(0, Width::Byte, 0)),
        pba(read(2, Width::Word, 0)),
        pba(read(4, Width::Qword, 0)),
        pba(write(0, Width::Dword, ones)),
        pba(write(0, Width::Qword, ones)),
    ];
    let straight = [
        read(0, Width::Dword, 0xfee0_0000),
        read(0, Width::Qword, 0xfee0_0000),
        read(8, Width::Qword, 1 << 32 | message),
        read(12, Width::Dword, 1),
        pba(read(0, Width::Dword, 0)),
        pba(read(0, Width::Qword, 0)),
        // Data and Vector Control in one: the reserved bits stay zero.
        write(8, Width::Qword, 0xffff_fffe << 32 | message),
        read(12, Width::Dword, 0),
        write(12, Width::Dword, ones),
        read(12, Width::Dword, 1),
    ];
    let before = rig.device.counts()?.illegal_accesses;
    odd.iter().try_for_each(|case| case.run(rig))?;
    let reported = rig.device.counts()?.illegal_accesses - before;
    equal("odd accesses reported", reported, odd.len() as u64)?;
    straight.iter().try_for_each(|case| case.run(rig))?;
    let reported = rig.device.counts()?.illegal_accesses - before;
    equal("straight accesses reported", reported - odd.len() as u64, 0)?;
    rig.silent([0])?;
    rig.driver(0).unmask(0);
    rig.handshake(0, 1)?;
    rig.intact()?;
    Ok(format!("{} odd accesses without effect, {} straight ones", odd.len(), straight.len()))
}

impl Case {
    fn run(&self, rig: &Rig) -> Result<(), Failure> {
        let Self { pba, offset, width, write, reads } = *self;
        let base = if pba { rig.found.pba_address() } else { rig.found.table_address() };
        let mut driver = rig.driver(0);
        let registers = driver.access();
        if let Some(value) = write {
            registers.write(base + offset, width, value);
        }
        let Some(value) = reads else {
            return Ok(());
        };
        let region = if pba { "PBA" } else { "table" };
        let seen = registers.read(base + offset, width);
        equal(format_args!("{region} {offset:#x}, {width:?}"), seen, value)
    }
}
