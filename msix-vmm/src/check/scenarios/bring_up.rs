//! Finding the device, and taking it back to the start.

use vm_msix::Signal;
use vm_msix::test_utils::RegisterAccess;

use crate::check::rig::Rig;
use crate::check::verdict::{Failure, equal};
use crate::machine::MaskBit;

/// The guest found the device where it is, with the capability and the BARs that it has.
pub(super) fn enumerate(rig: &Rig) -> Result<String, Failure> {
    let found = &rig.found;
    equal("Table Size + 1", found.msix.vectors(), rig.vectors())?;
    equal("Message Control after power-on", found.msix.message_control, rig.vectors() - 1)?;
    equal("BIR of table and PBA", (found.msix.table.bir, found.msix.pba.bir), (2, 2))?;
    let table_size = 16 * u64::from(rig.vectors());
    equal("offset of the table", found.msix.table.offset, 0)?;
    let pba = u64::from(found.msix.pba.offset);
    equal("offset of the PBA", pba, table_size.next_multiple_of(4096))?;
    let pages = pba + 4096;
    let sizes = found.bars.map(|bar| bar.map(|bar| bar.size));
    let wanted = [Some(4096), None, Some(pages.next_power_of_two()), None, None, None];
    equal("sizes of the BARs", sizes, wanted)?;
    Ok(format!(
        "{}: 00:{:02x}.0, capability at {:#x}, table at {:#x}, PBA at {:#x}",
        rig.machine.describe(),
        found.slot,
        found.msix.offset,
        found.table_address(),
        found.pba_address()
    ))
}

/// A reset masks everything, forgets what is pending and gives everything back; the driver can begin again.
pub(super) fn reset(rig: &Rig) -> Result<String, Failure> {
    rig.start_over()?;
    let last = rig.wave() - 1;
    rig.driver(0).unmask(last);
    rig.handshake(last, 1)?;
    rig.driver(0).mask(last);
    rig.trigger_expecting(last, Signal::Latched)?;

    rig.device.reset()?;
    let mut driver = rig.driver(0);
    equal("Message Control after reset", driver.access().read_control(), rig.vectors() - 1)?;
    equal("PBA after reset", driver.access().read_pba(0), 0)?;
    for vector in [0, last] {
        let entry: Vec<u32> = (0..4)
            .map(|dword| driver.access().read_table(u64::from(vector) * 16 + dword * 4))
            .collect();
        equal(format_args!("entry {vector} after reset"), entry, vec![0, 0, 0, 1])?;
    }
    equal("GSIs in use after reset", rig.gsis_in_use(), 0)?;
    equal("vectors out of sync after reset", rig.device.unsynced()?, 0)?;

    // A device that signals now is not heard before the driver is back.
    rig.trigger_expecting(last, Signal::Latched)?;
    rig.settle()?;
    equal("handler runs after reset", rig.machine.runs(last), 1)?;
    rig.start_over()?;
    rig.program(last, 1, 0, MaskBit::Clear)?;
    rig.machine.set_wave(last);
    rig.handshake(last, 1)?;
    rig.settle()?;
    equal("handler runs of a driver that begins again", rig.machine.runs(last), 1)?;
    rig.intact()?;
    Ok(format!("registers, latches and GSIs gone; vector {last} lives again"))
}
