//! virtio-rng: the host's entropy for the guest (virtio 1.2, 5.4).

use std::io::Write;

use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use vm_pci_config::ClassCode;

use super::device::VirtioDevice;
use super::ring::{Broken, Ring};

/// The most bytes that one request gets, whatever its buffers would hold.
const MOST: usize = 4096;

/// The entropy device.
pub(crate) struct Entropy;

impl VirtioDevice for Entropy {
    type State = ();

    fn id(&self) -> u16 {
        VIRTIO_ID_RNG as u16
    }

    fn class(&self) -> ClassCode {
        ClassCode { class: 0xff, subclass: 0, prog_if: 0 }
    }

    fn queues(&self) -> usize {
        1
    }

    fn features(&self) -> u64 {
        0
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn serve(&self, _queue: usize, ring: &mut Ring<'_>) -> Result<(), Broken> {
        let mut bytes = [0; MOST];
        while let Some(chain) = ring.pop()? {
            let head = chain.head_index();
            let mut buffer = chain.writer(ring.memory())?;
            let bytes = &mut bytes[..buffer.available_bytes().min(MOST)];
            if bytes.is_empty() {
                return Err(Broken::Incomplete);
            }
            getrandom::fill(bytes).map_err(std::io::Error::from)?;
            buffer.write_all(bytes)?;
            ring.push(head, bytes.len() as u32)?;
        }
        Ok(())
    }

    fn reset(&self) {}

    fn save(&self) {}

    fn restore(&self, (): ()) {}
}
