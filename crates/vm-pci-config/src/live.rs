//! Capabilities that act: reads come from the device, writes reach it at once.

use alloc::boxed::Box;
use core::any::Any;
use core::fmt;

use crate::PciCapMapping;

/// The live side of a capability: what a guest reads and writes there reaches the device.
///
/// Registers are the capability's own DWORDs: register 0 holds ID, next pointer and the 16 bits behind them.
/// The trait has no default methods, so that a wrapper cannot forget to forward one.
///
/// ```
/// use vm_pci_config::{
///     CapabilityId, Identity, PciCapConfig, PciCapConfigWriteResult, PciCapMapping, PciConfigSpace,
///     PlainCapability,
/// };
///
/// /// A vendor capability: the guest rings a bell in the upper half of register 0, and reads how often it rang.
/// #[derive(Default)]
/// struct Bell {
///     rung: u32,
///     mapping: Option<PciCapMapping>,
/// }
///
/// #[derive(Debug, PartialEq)]
/// struct Rang(u32);
/// impl PciCapConfigWriteResult for Rang {}
///
/// impl PciCapConfig for Bell {
///     fn read_mask(&self) -> &'static [u32] {
///         &[0, 0xffff_ffff, 0]
///     }
///
///     fn read_reg(&self, reg_idx: usize) -> u32 {
///         if reg_idx == 1 { self.rung } else { 0 }
///     }
///
///     fn write_reg(
///         &mut self,
///         reg_idx: usize,
///         offset: u64,
///         _data: &[u8],
///     ) -> Option<Box<dyn PciCapConfigWriteResult>> {
///         if (reg_idx, offset) != (0, 3) {
///             return None;
///         }
///         self.rung += 1;
///         // Registers can also be changed from outside, here or from another thread.
///         self.mapping.as_ref()?.set_reg(2, 0x5a, 0xff).ok()?;
///         Some(Box::new(Rang(self.rung)))
///     }
///
///     fn set_cap_mapping(&mut self, mapping: PciCapMapping) {
///         self.mapping = Some(mapping);
///     }
///
///     fn num_regs(&self) -> usize {
///         3
///     }
/// }
///
/// let mut space = PciConfigSpace::new(Identity::new(0x1af4, 0x1041))?;
/// let bytes = PlainCapability::new(CapabilityId::VENDOR_SPECIFIC, &[12, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
/// let at = space.add_capability_with_config(&bytes, Box::new(Bell::default()))?;
///
/// let outcome = space.write(at + 3, &[1]);
/// assert_eq!(outcome.capabilities[0].result.downcast_ref(), Some(&Rang(1)));
/// let mut data = [0; 4];
/// space.read(at + 4, &mut data);
/// assert_eq!(data, [1, 0, 0, 0]);
/// space.read(at + 8, &mut data);
/// assert_eq!(data, [0x5a, 0, 0, 0]);
/// # Ok::<(), vm_pci_config::PciConfigError>(())
/// ```
pub trait PciCapConfig: Send {
    /// The bits that [`read_reg`](Self::read_reg) supplies, one mask per register; all others are read as stored.
    ///
    /// It is asked once, when the capability is added. The header, the low 16 bits of register 0, must not be in it.
    fn read_mask(&self) -> &'static [u32];

    /// The present value of register `reg_idx`, of which the bits in the read mask are used.
    fn read_reg(&self, reg_idx: usize) -> u32;

    /// A guest wrote `data` at byte `offset` (0 to 3) of register `reg_idx`; it does not run past that register.
    ///
    /// The space has already stored the bits that the capability calls writable, so a change through
    /// [`PciCapMapping`] in here has the last word. What is returned reaches the VMM in [`WriteOutcome`](crate::WriteOutcome).
    fn write_reg(
        &mut self,
        reg_idx: usize,
        offset: u64,
        data: &[u8],
    ) -> Option<Box<dyn PciCapConfigWriteResult>>;

    /// Receives the handle that changes the stored registers from outside; called once, when the capability is added.
    fn set_cap_mapping(&mut self, mapping: PciCapMapping);

    /// The number of registers: the capability's length in DWORDs, rounded up.
    fn num_regs(&self) -> usize;
}

/// What a capability tells the VMM after a write, of a type that both know.
///
/// The space carries it without knowing it; the VMM downcasts.
///
/// ```
/// use vm_pci_config::PciCapConfigWriteResult;
///
/// #[derive(Debug, PartialEq)]
/// struct PowerState(u8);
/// impl PciCapConfigWriteResult for PowerState {}
///
/// let result: Box<dyn PciCapConfigWriteResult> = Box::new(PowerState(3));
/// assert_eq!(result.downcast_ref(), Some(&PowerState(3)));
/// assert_eq!(*result.downcast::<PowerState>().unwrap(), PowerState(3));
/// ```
pub trait PciCapConfigWriteResult: Any + Send {}

impl dyn PciCapConfigWriteResult {
    /// Whether the result is a `T`.
    pub fn is<T: PciCapConfigWriteResult>(&self) -> bool {
        let any: &dyn Any = self;
        any.is::<T>()
    }

    /// The result as a `T`, if it is one.
    pub fn downcast_ref<T: PciCapConfigWriteResult>(&self) -> Option<&T> {
        let any: &dyn Any = self;
        any.downcast_ref()
    }

    /// The result as a `T`, or the result itself again, for the next type to try.
    pub fn downcast<T: PciCapConfigWriteResult>(self: Box<Self>) -> Result<Box<T>, Box<Self>> {
        if !self.is::<T>() {
            return Err(self);
        }
        let any: Box<dyn Any> = self;
        #[expect(clippy::unreachable, reason = "the type was compared three lines above")]
        any.downcast().map_err(|_| unreachable!())
    }
}

impl fmt::Debug for dyn PciCapConfigWriteResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dyn PciCapConfigWriteResult")
    }
}
