//! Vectors that are closed, and what becomes of their signals.

use vm_msix::MsiMessage;
use vm_msix::Signal;
use vm_msix::test_utils::RegisterAccess;

use crate::check::configuration::Delivery;
use crate::check::message_log::address;
use crate::check::rig::Rig;
use crate::check::verdict::{Failure, Verdict, equal, holds};
use crate::machine::FIRST_DEVICE_VECTOR;

/// A masked vector is silent and pending, alone; unmasked, it is delivered once.
pub(super) fn mask(rig: &Rig) -> Result<String, Failure> {
    rig.start_over()?;
    let masked = rig.wave() / 2;
    rig.unmask_wave();
    rig.driver(0).mask(masked);
    rig.keeps_silent([masked], 3)?;
    equal("Pending Bits", rig.pending(), vec![masked])?;
    rig.driver(0).unmask(masked);
    rig.ran_exactly_once([masked])?;
    equal("Pending Bits after unmask", rig.pending(), vec![])?;
    rig.intact()?;
    Ok(format!("vector {masked}: 3 signals, silent, pending, 1 delivery"))
}

/// The same for all vectors at once.
pub(super) fn function_mask(rig: &Rig) -> Result<String, Failure> {
    rig.start_over()?;
    let all: Vec<u16> = (0..rig.wave()).collect();
    rig.unmask_wave();
    rig.driver(0).mask_function();
    rig.keeps_silent(all.iter().copied(), 2)?;
    equal("Pending Bits", rig.pending(), all.clone())?;
    rig.driver(0).unmask_function();
    rig.ran_exactly_once(all.iter().copied())?;
    equal("Pending Bits after unmask", rig.pending(), vec![])?;
    rig.intact()?;
    Ok(format!("{} vectors: silent, pending, 1 delivery each", all.len()))
}

/// Vectors that were signalled before their driver ever unmasked them.
pub(super) fn first_unmask_while_pending(rig: &Rig) -> Result<String, Failure> {
    rig.start_over()?;
    let all: Vec<u16> = (0..rig.wave()).collect();
    rig.keeps_silent(all.iter().copied(), 1)?;
    for &vector in &all {
        rig.driver(0).unmask(vector);
        rig.ran_exactly_once([vector])?;
    }
    rig.intact()?;
    Ok(format!("{} vectors: 1 delivery each on their first unmask", all.len()))
}

/// Vectors that are unmasked while Function Mask is set live once it clears.
pub(super) fn unmask_under_function_mask(rig: &Rig) -> Result<String, Failure> {
    rig.start_over()?;
    rig.driver(0).mask_function();
    rig.unmask_wave();
    let idle = rig.wave() / 2;
    let signalled: Vec<u16> =
        (0..rig.wave()).filter(|&vector| vector != idle || idle == 0).collect();
    rig.keeps_silent(signalled.iter().copied(), 1)?;
    rig.driver(0).unmask_function();
    rig.ran_exactly_once(signalled.iter().copied())?;
    if idle != 0 {
        equal("handler runs of the idle vector", rig.machine.runs(idle), 0)?;
        rig.handshake(idle, 1)?;
    }
    rig.intact()?;
    Ok(format!("{} vectors pending, all live after Function Mask", signalled.len()))
}

/// A driver that keeps its vectors masked and polls the PBA; the device takes back what was served.
pub(super) fn poll_pba(rig: &Rig) -> Result<String, Failure> {
    const ROUNDS: usize = 5;
    rig.start_over()?;
    let polled = [0, rig.wave() / 2, rig.wave() - 1];
    for _ in 0..ROUNDS {
        for vector in polled {
            holds(!rig.driver(0).is_pending(vector), || {
                format!("vector {vector} pending too soon")
            })?;
            rig.trigger_expecting(vector, Signal::Latched)?;
            holds(rig.driver(0).is_pending(vector), || format!("vector {vector} not pending"))?;
            let taken = rig.device.retract(vector)?;
            holds(taken, || format!("vector {vector}: nothing to take back"))?;
        }
    }
    equal("Pending Bits", rig.pending(), vec![])?;
    rig.unmask_wave();
    rig.silent(polled)?;
    rig.intact()?;
    Ok(format!("{} signals polled, none delivered", ROUNDS * polled.len()))
}

/// Without MSI-X Enable everything is latched, and the device knows that it should use INTx.
pub(super) fn disable_enable(rig: &Rig) -> Result<String, Failure> {
    rig.start_over()?;
    rig.unmask_wave();
    let all: Vec<u16> = (0..rig.wave()).collect();
    rig.driver(0).disable();
    holds(!rig.device.enabled()?, || "the device still sees MSI-X enabled".into())?;
    rig.keeps_silent(all.iter().copied(), 2)?;
    rig.driver(0).enable();
    holds(rig.device.enabled()?, || "the device sees MSI-X disabled".into())?;
    rig.ran_exactly_once(all.iter().copied())?;
    rig.intact()?;
    Ok(format!("{} vectors kept while disabled, 1 delivery each", all.len()))
}

/// A function that may not write to memory may not signal.
pub(super) fn bus_master(rig: &Rig) -> Result<String, Failure> {
    rig.start_over()?;
    rig.unmask_wave();
    let all: Vec<u16> = (0..rig.wave()).collect();
    rig.driver(0).access().set_bus_master(false);
    rig.keeps_silent(all.iter().copied(), 2)?;
    rig.driver(0).access().set_bus_master(true);
    rig.ran_exactly_once(all.iter().copied())?;
    rig.intact()?;
    Ok(format!("{} vectors kept without bus mastering, 1 delivery each", all.len()))
}

/// A message to memory is no interrupt: nothing is injected, nothing pends, and nothing of it is left when the vector
/// points to an APIC again.
pub(super) fn non_doorbell(rig: &Rig) -> Result<String, Failure> {
    rig.start_over()?;
    let vector = rig.wave() - 1;
    let data = u32::from(FIRST_DEVICE_VECTOR) + u32::from(vector);
    let written_before = rig.log.memory_writes();
    rig.driver(0).program(vector, MsiMessage::new(0x0010_0000, data));
    rig.driver(0).unmask(vector);
    for _ in 0..3 {
        rig.trigger_expecting(vector, Signal::Sent)?;
    }
    rig.silent([vector])?;
    equal("Pending Bits", rig.pending(), vec![])?;
    let written = rig.log.memory_writes() - written_before;
    if rig.is_trigger(vector) {
        equal("writes to memory", written, 3)?;
    }
    rig.driver(0).change_affinity(vector, MsiMessage::new(address(0), data));
    rig.silent([vector])?;
    rig.handshake(vector, 1)?;

    // What was kept while masked leaves as one write when the vector opens to memory.
    let written_before = rig.log.memory_writes();
    rig.driver(0).mask(0);
    rig.trigger(0)?;
    rig.trigger(0)?;
    rig.driver(0).program(0, MsiMessage::new(0x0010_0000, data));
    rig.driver(0).unmask(0);
    let kept_written = rig.log.memory_writes() - written_before;
    match rig.configuration.delivery {
        // It leaves by an eventfd, and is seen if it comes before the vector opens in the VMM.
        Delivery::DeviceProcess => {
            holds(kept_written <= 1, || format!("{kept_written} writes of what was kept once"))?;
        }
        _ => equal("writes of what was kept", kept_written, 1)?,
    }
    rig.intact()?;
    Ok(format!("3 signals, {written} handed to the hook, 0 injected; an interrupt again after"))
}

impl Rig {
    /// Lets the driver unmask the first wave, one by one.
    pub(super) fn unmask_wave(&self) {
        for vector in 0..self.wave() {
            self.driver(0).unmask(vector);
        }
    }

    /// Signals closed vectors so many times, and shows that nothing is sent and no handler runs.
    pub(super) fn keeps_silent(
        &self,
        vectors: impl IntoIterator<Item = u16> + Clone,
        times: usize,
    ) -> Verdict {
        let sent = self.log.interrupts();
        for vector in vectors.clone() {
            self.trigger_expecting(vector, Signal::Latched)?;
            for _ in 1..times {
                self.trigger_expecting(vector, Signal::Collapsed)?;
            }
        }
        self.silent(vectors)?;
        equal("messages sent by closed vectors", self.log.interrupts() - sent, 0)
    }

    /// The vectors whose Pending Bit the guest sees.
    pub(crate) fn pending(&self) -> Vec<u16> {
        let mut driver = self.driver(0);
        let qwords = (0..self.vectors()).step_by(64);
        let bits: Vec<u64> =
            qwords.map(|first| driver.access().read_pba(u64::from(first / 64 * 8))).collect();
        let is_set = |vector: &u16| bits[usize::from(vector / 64)] >> (vector % 64) & 1 != 0;
        (0..self.vectors()).filter(is_set).collect()
    }
}
