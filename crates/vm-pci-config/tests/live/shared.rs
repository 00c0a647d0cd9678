//! One device in two places: behind the configuration space and behind its BAR handler.

use std::sync::{Arc, Mutex};
use std::thread;

use vm_pci_config::{Identity, PciConfigSpace};

use crate::common::read32;
use crate::device::{Wrote, device, msix_shaped};

#[test]
fn one_device_behind_the_space_and_a_bar_handler() {
    let (device, _, _mappings) = device();
    let device = Arc::new(Mutex::new(device));
    let mut space = PciConfigSpace::new(Identity::new(1, 2)).unwrap();
    let shared = Box::new(Arc::clone(&device));
    space.add_capability_with_config(&msix_shaped(), shared).unwrap();

    device.lock().unwrap().answers[2] = 0x1111_2222;
    assert_eq!(read32(&space, 0x48), 0x1111_2222);
    let outcome = space.write(0x43, &[0x80]);
    let wrote: Option<&Wrote> = outcome.capabilities[0].result.downcast_ref();
    assert_eq!(wrote, Some(&Wrote(0, 3, vec![0x80])));
}

#[test]
fn a_shared_device_receives_its_mapping() {
    let (device, _, mappings) = device();
    let mut space = PciConfigSpace::new(Identity::new(1, 2)).unwrap();
    let shared = Arc::new(Mutex::new(device));
    let at = space.add_capability_with_config(&msix_shaped(), Box::new(shared)).unwrap();
    mappings.try_recv().unwrap().set_reg(1, 0xdead_beef, 0xffff_ffff).unwrap();
    assert_eq!(read32(&space, at + 4), 0xdead_beef);
}

#[test]
fn a_poisoned_lock_does_not_panic_in_a_guests_access() {
    let (device, _, _mappings) = device();
    let device = Arc::new(Mutex::new(device));
    let other = Arc::clone(&device);
    let panicked = thread::spawn(move || {
        let _guard = other.lock().unwrap();
        panic!("on purpose, with the lock held");
    });
    assert!(panicked.join().is_err() && device.is_poisoned());

    let mut space = PciConfigSpace::new(Identity::new(1, 2)).unwrap();
    space.add_capability_with_config(&msix_shaped(), Box::new(device)).unwrap();
    assert_eq!(read32(&space, 0x48), 0x8765_4321);
    assert_eq!(space.write(0x48, &[1]).capabilities.len(), 1);
}
