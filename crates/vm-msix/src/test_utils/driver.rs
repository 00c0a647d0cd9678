//! MSI-X as a guest's driver programs it, over whatever carries its register accesses.

use crate::spec;
use crate::{MsiBackend, MsiMessage, MsixConfig, MsixObserver};

/// How a driver reaches the registers: in tests the function itself, in a VM the guest's CPU.
pub trait RegisterAccess {
    /// Reads a DWORD of the MSI-X Table.
    fn read_table(&mut self, offset: u64) -> u32;
    /// Writes a DWORD of the MSI-X Table.
    fn write_table(&mut self, offset: u64, value: u32);
    /// Reads a QWORD of the PBA.
    fn read_pba(&mut self, offset: u64) -> u64;
    /// Reads Message Control, the word at offset 2 of the capability.
    fn read_control(&mut self) -> u16;
    /// Writes Message Control.
    fn write_control(&mut self, value: u16);
}

/// MSI-X Enable in Message Control.
const ENABLE: u16 = 1 << 15;
/// Function Mask in Message Control.
const FUNCTION_MASK: u16 = 1 << 14;

/// A driver's use of MSI-X, in the order of accesses that Linux has.
#[derive(Debug)]
pub struct GuestDriver<A> {
    access: A,
}

impl<A: RegisterAccess> GuestDriver<A> {
    /// A driver that reaches the registers like this.
    pub fn new(access: A) -> Self {
        Self { access }
    }

    /// What it reaches the registers by.
    pub fn access(&mut self) -> &mut A {
        &mut self.access
    }

    /// Brings up the first vectors: enabled under Function Mask, each programmed while masked, Function
    /// Mask cleared, then one unmask at a time.
    pub fn bring_up(&mut self, messages: &[MsiMessage]) {
        self.enable_under_mask();
        for (vector, message) in (0..).zip(messages) {
            self.program(vector, *message);
            self.mask(vector);
        }
        self.unmask_function();
        for (vector, _) in (0..).zip(messages) {
            self.unmask(vector);
        }
    }

    /// Moves a vector to another message: mask, rewrite, unmask.
    pub fn change_affinity(&mut self, vector: u16, message: MsiMessage) {
        self.mask(vector);
        self.program(vector, message);
        self.unmask(vector);
    }

    /// Writes a vector's message by three DWORDs; a driver does so while the vector is masked.
    pub fn program(&mut self, vector: u16, message: MsiMessage) {
        let entry = entry(vector);
        self.access.write_table(entry, message.address_low());
        self.access.write_table(entry + 4, message.address_high());
        self.access.write_table(entry + 8, message.data);
    }

    /// Sets a vector's Mask Bit, and reads it back as drivers do to know that it has arrived.
    pub fn mask(&mut self, vector: u16) {
        self.access.write_table(entry(vector) + 12, spec::VECTOR_CONTROL_MASK);
        self.is_masked(vector);
    }

    /// Clears a vector's Mask Bit.
    pub fn unmask(&mut self, vector: u16) {
        self.access.write_table(entry(vector) + 12, 0);
    }

    /// A vector's Mask Bit.
    pub fn is_masked(&mut self, vector: u16) -> bool {
        self.access.read_table(entry(vector) + 12) & spec::VECTOR_CONTROL_MASK != 0
    }

    /// A vector's Pending Bit.
    pub fn is_pending(&mut self, vector: u16) -> bool {
        let qword = self.access.read_pba(u64::from(vector / 64) * spec::QWORD_SIZE);
        qword & 1 << (vector % 64) != 0
    }

    /// Sets MSI-X Enable and Function Mask in one write: nothing can be sent while entries are half written.
    pub fn enable_under_mask(&mut self) {
        self.set_control(ENABLE | FUNCTION_MASK);
    }

    /// Sets MSI-X Enable, and leaves Function Mask.
    pub fn enable(&mut self) {
        let control = self.access.read_control();
        self.set_control(control | ENABLE);
    }

    /// Clears MSI-X Enable, and leaves Function Mask.
    pub fn disable(&mut self) {
        let control = self.access.read_control();
        self.set_control(control & !ENABLE);
    }

    /// Sets Function Mask, and leaves MSI-X Enable.
    pub fn mask_function(&mut self) {
        let control = self.access.read_control();
        self.set_control(control | FUNCTION_MASK);
    }

    /// Clears Function Mask, and leaves MSI-X Enable.
    pub fn unmask_function(&mut self) {
        let control = self.access.read_control();
        self.set_control(control & !FUNCTION_MASK);
    }

    fn set_control(&mut self, bits: u16) {
        let size = self.access.read_control() & !(ENABLE | FUNCTION_MASK);
        self.access.write_control(size | bits & (ENABLE | FUNCTION_MASK));
    }
}

/// The offset of a vector's table entry.
fn entry(vector: u16) -> u64 {
    u64::from(vector) * spec::ENTRY_SIZE
}

impl<B: MsiBackend, O: MsixObserver> RegisterAccess for &mut MsixConfig<B, O> {
    fn read_table(&mut self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.read_msix_table(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn write_table(&mut self, offset: u64, value: u32) {
        self.write_msix_table(offset, &value.to_le_bytes());
    }

    fn read_pba(&mut self, offset: u64) -> u64 {
        let mut data = [0; 8];
        self.read_pba_entries(offset, &mut data);
        u64::from_le_bytes(data)
    }

    fn read_control(&mut self) -> u16 {
        let size = u32::from(self.num_vectors() - 1) << 16;
        let [_, _, low, high] = self.read_msix_capability(size).to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    fn write_control(&mut self, value: u16) {
        self.write_msix_capability(2, &value.to_le_bytes());
    }
}
