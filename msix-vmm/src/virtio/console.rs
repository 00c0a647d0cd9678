//! virtio-console with one port (virtio 1.2, 5.3): hvc0 in Linux.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Mutex;

use serde_bytes::ByteBuf;
use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;
use vm_msix::MsiBackend;
use vm_pci_config::ClassCode;

use super::device::VirtioDevice;
use super::ring::{Broken, Ring};
use super::transport::VirtioPci;
use crate::device::lock;

/// The queue for what goes to the guest; the other is for what comes from it.
const RECEIVE: usize = 0;
/// The most bytes that wait for the guest to take them.
const WAITING: usize = 4096;

/// The console device.
pub(crate) struct Console {
    input: Mutex<VecDeque<u8>>,
    output: Mutex<Box<dyn Write + Send>>,
}

impl Console {
    /// A console that writes what the guest writes.
    pub(crate) fn new(output: impl Write + Send + 'static) -> Self {
        Self { input: Mutex::default(), output: Mutex::new(Box::new(output)) }
    }

    fn receive(&self, ring: &mut Ring<'_>) -> Result<(), Broken> {
        let mut input = lock(&self.input);
        while !input.is_empty()
            && let Some(chain) = ring.pop()?
        {
            let head = chain.head_index();
            let mut buffer = chain.writer(ring.memory())?;
            let length = buffer.available_bytes().min(input.len());
            let bytes: Vec<u8> = input.drain(..length).collect();
            buffer.write_all(&bytes)?;
            ring.push(head, length as u32)?;
        }
        Ok(())
    }

    fn transmit(&self, ring: &mut Ring<'_>) -> Result<(), Broken> {
        let mut output = lock(&self.output);
        while let Some(chain) = ring.pop()? {
            let head = chain.head_index();
            let mut buffer = chain.reader(ring.memory())?;
            let written = io::copy(&mut buffer.by_ref(), &mut *output);
            // Nobody is left to read it, which is no fault of the guest's.
            let _ = written.and_then(|_| output.flush());
            ring.push(head, 0)?;
        }
        Ok(())
    }
}

impl<B: MsiBackend + 'static> VirtioPci<B, Console> {
    /// Sends bytes to the guest; tells how many of them, because those that it does not take must wait.
    pub(crate) fn input(&self, bytes: &[u8]) -> usize {
        let mut input = lock(&self.device().input);
        let taken = bytes.len().min(WAITING.saturating_sub(input.len()));
        input.extend(&bytes[..taken]);
        drop(input);
        self.kick(RECEIVE);
        taken
    }
}

impl VirtioDevice for Console {
    /// What the guest has not taken yet.
    type State = ByteBuf;

    fn id(&self) -> u16 {
        VIRTIO_ID_CONSOLE as u16
    }

    fn class(&self) -> ClassCode {
        ClassCode { class: 0x07, subclass: 0x80, prog_if: 0 }
    }

    fn queues(&self) -> usize {
        2
    }

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn serve(&self, queue: usize, ring: &mut Ring<'_>) -> Result<(), Broken> {
        if queue == RECEIVE { self.receive(ring) } else { self.transmit(ring) }
    }

    fn reset(&self) {
        lock(&self.input).clear();
    }

    fn save(&self) -> ByteBuf {
        ByteBuf::from(Vec::from(lock(&self.input).clone()))
    }

    fn restore(&self, state: ByteBuf) {
        let mut waiting = state.into_vec();
        waiting.truncate(WAITING);
        *lock(&self.input) = waiting.into();
    }
}
