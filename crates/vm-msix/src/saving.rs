//! Saving a function and continuing it elsewhere (C14).

use crate::backend::MsiBackend;
use crate::config::{Identity, MsixConfig};
use crate::control::MessageControl;
use crate::error::MsixError;
use crate::observer::MsixObserver;
use crate::registers::Registers;
use crate::state::{MsixStateV1, VectorStateV1};
use crate::sync::Retry;
use crate::trigger::signal;

impl<B: MsiBackend, O: MsixObserver> MsixConfig<B, O> {
    /// Stops the function in order to save it: every vector is closed, whatever its registers say, and signals are
    /// latched. When it returns, no interrupt of this function is on its way to a CPU, unless a vector could not be
    /// closed: that one is in [`unsynced`](Self::unsynced).
    ///
    /// A VM is saved in this order: producers and CPUs stopped, functions paused, functions saved, and only then the local
    /// APICs, which have by now what was sent. If the source goes on, [`resume`](Self::resume) it.
    pub fn pause(&mut self) {
        self.registers.paused = true;
        self.sync_all(Retry::No);
    }

    /// Goes on after a [`pause`](Self::pause): what the registers ask for is opened, and what was latched delivered.
    pub fn resume(&mut self) {
        self.registers.paused = false;
        self.sync_all(Retry::No);
    }

    /// The state to save: the registers and the Pending Bits, nothing of the host.
    ///
    /// [Pause](Self::pause) the function first: a signal that comes during the snapshot may be in it or not.
    pub fn snapshot(&self) -> MsixStateV1 {
        let Identity { vectors: _, pci_id, device_name } = &self.identity;
        let Registers { control, bus_master, paused: _, table } = &self.registers;
        let MessageControl { enabled, function_masked } = *control;
        MsixStateV1 {
            pci_id: *pci_id,
            device_name: device_name.clone(),
            enabled,
            function_masked,
            bus_master: *bus_master,
            vectors: table
                .iter()
                .zip(self.pending_vectors())
                .map(|(entry, pending)| VectorStateV1::new(entry, pending))
                .collect(),
        }
    }

    /// Takes a saved state over, also into a function that is in use: what is there is released, then
    /// the registers are set, and what was pending is delivered or stays pending.
    ///
    /// Restore the local APICs before, or restore a paused function and resume it after them: what is delivered must
    /// find its APIC.
    ///
    /// If the backend then fails a vector, the registers stand, and the vector is as after any such failure:
    /// see [`unsynced`](Self::unsynced).
    ///
    /// # Errors
    ///
    /// [`MsixError::State`] if the state is not one of this function; nothing has changed then.
    pub fn restore(&mut self, snapshot: &MsixStateV1) -> Result<(), MsixError> {
        let Identity { vectors: count, pci_id, device_name } = &self.identity;
        snapshot.validate(*count, *pci_id, device_name)?;

        self.registers.reset();
        self.close_and_release();

        let MsixStateV1 {
            pci_id: _,
            device_name: _,
            enabled,
            function_masked,
            bus_master,
            vectors,
        } = snapshot;
        let control = MessageControl { enabled: *enabled, function_masked: *function_masked };
        self.registers.control = control;
        self.registers.bus_master = *bus_master;
        self.registers.table.load(vectors.iter().map(VectorStateV1::entry));
        self.latch_again(vectors);
        self.sync_all(Retry::No);
        Ok(())
    }

    /// The Pending Bit of every vector, in order.
    fn pending_vectors(&self) -> impl Iterator<Item = bool> {
        let qwords = self.identity.vectors.pba_qwords();
        (0..usize::from(qwords)).flat_map(|qword| {
            let bits = self.backend().latched(qword);
            (0..u64::BITS).map(move |bit| bits.unbounded_shr(bit) & 1 != 0)
        })
    }

    /// Signals those that were pending, while every vector is closed.
    fn latch_again(&self, vectors: &[VectorStateV1]) {
        let states = self.identity.vectors.indices().zip(vectors);
        for (vector, _) in states.filter(|(_, state)| state.pending) {
            // A failure has been told to the observer, and there is nobody else to tell.
            let _ = signal(self.backend(), self.observer(), vector);
        }
    }
}
