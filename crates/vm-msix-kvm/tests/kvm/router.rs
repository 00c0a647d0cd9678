//! The router alone: the VMM's own entries, refused routes, and GSIs.

use std::collections::BTreeSet;
use std::sync::Arc;

use kvm_bindings::{KVM_IRQCHIP_IOAPIC, kvm_irqchip};
use vm_msix::MsiMessage;
use vm_msix_kvm::{Gsi, KvmError, MsiRoute, RequesterId, RouteTable, Router};

use crate::support::fixture::Fixture;
use crate::support::to_apic;

const IOAPIC_PIN: u32 = 20;

fn route(message: MsiMessage) -> MsiRoute {
    MsiRoute { message, requester: RequesterId(0) }
}

/// Sets routes, and gives the GSIs that failed.
fn set(router: &Router, routes: &[(Gsi, MsiRoute)]) -> Vec<Gsi> {
    let mut failed = Vec::new();
    router.set(routes, &mut |gsi, error| {
        assert!(matches!(error, KvmError::Route { .. }), "{error}");
        failed.push(gsi);
    });
    failed
}

/// Raises a GSI's line for a moment, which for an MSI route is to send it.
fn pulse(fixture: &Fixture, gsi: u32) {
    fixture.vm.set_irq_line(gsi, true).unwrap();
    // The falling edge of an MSI is an error to some kernels.
    let _ = fixture.vm.set_irq_line(gsi, false);
}

/// Leads a pin of the IOAPIC to APIC 0, edge-triggered.
fn program_ioapic(fixture: &Fixture, vector: u8) {
    let mut chip = kvm_irqchip { chip_id: KVM_IRQCHIP_IOAPIC, ..Default::default() };
    fixture.vm.get_irqchip(&mut chip).unwrap();
    // SAFETY: `chip_id` says that the union holds an IOAPIC, and an entry is plain bits.
    unsafe { chip.chip.ioapic.redirtbl[IOAPIC_PIN as usize].bits = u64::from(vector) };
    fixture.vm.set_irqchip(&chip).unwrap();
}

#[test]
fn a_commit_keeps_the_vmms_own_entries() {
    let Some(fixture) = Fixture::new() else { return };
    program_ioapic(&fixture, 0x61);
    pulse(&fixture, IOAPIC_PIN);
    fixture.apic().expect(0x61);

    let gsi = fixture.router.allocate().unwrap();
    assert_eq!(set(&fixture.router, &[(gsi, route(to_apic(0, 0x41)))]), []);
    pulse(&fixture, gsi.0);
    fixture.apic().expect(0x41);
    pulse(&fixture, IOAPIC_PIN);
    fixture.apic().expect(0x61);
    fixture.router.release(&[gsi]);
    pulse(&fixture, IOAPIC_PIN);
    fixture.apic().expect(0x61);
}

/// What the test above would see if the router forgot them.
#[test]
fn a_router_without_the_vmms_entries_takes_them_out_of_kvm() {
    let Some(fixture) = Fixture::new() else { return };
    program_ioapic(&fixture, 0x61);
    let router = Router::new(fixture.vm.clone(), Vec::new());
    let gsi = router.allocate().unwrap();
    assert_eq!(gsi, Gsi(0));
    assert_eq!(set(&router, &[(gsi, route(to_apic(0, 0x41)))]), []);
    pulse(&fixture, IOAPIC_PIN);
    fixture.apic().expect_nothing();
}

#[test]
fn one_bad_route_in_64_fails_alone() {
    let Some(fixture) = Fixture::with_32_bit_ids() else { return };
    for bad in [0, 1, 31, 32, 50, 63] {
        let gsis: Vec<_> = (0..64).map(|_| fixture.router.allocate().unwrap()).collect();
        let good = |position: u8| route(to_apic(0, 0x40 + position));
        let refused = route(MsiMessage::new(0x0000_0001_fee0_0000, 0x40));
        let routes: Vec<_> = gsis
            .iter()
            .zip(0_u8..)
            .map(|(gsi, position)| (*gsi, if position == bad { refused } else { good(position) }))
            .collect();

        assert_eq!(set(&fixture.router, &routes), [gsis[usize::from(bad)]]);
        for (gsi, position) in gsis.iter().zip(0_u8..).filter(|(_, position)| *position != bad) {
            pulse(&fixture, gsi.0);
            fixture.apic().expect(0x40 + position);
        }
        fixture.router.release(&gsis);
    }
}

#[test]
fn a_refused_route_leaves_its_gsi_as_it_was() {
    let Some(fixture) = Fixture::with_32_bit_ids() else { return };
    let gsi = fixture.router.allocate().unwrap();
    assert_eq!(set(&fixture.router, &[(gsi, route(to_apic(0, 0x41)))]), []);
    let refused = route(MsiMessage::new(0x0000_0080_fee0_0000, 0x42));
    assert_eq!(set(&fixture.router, &[(gsi, refused)]), [gsi]);
    pulse(&fixture, gsi.0);
    fixture.apic().expect(0x41);
    // And a later commit is not spoilt by it.
    let other = fixture.router.allocate().unwrap();
    assert_eq!(set(&fixture.router, &[(other, route(to_apic(0, 0x43)))]), []);
    pulse(&fixture, gsi.0);
    fixture.apic().expect(0x41);
}

#[test]
fn gsis_are_nobody_elses() {
    let Some(fixture) = Fixture::new() else { return };
    let own: BTreeSet<_> = Router::irqchip_entries().iter().map(|entry| Gsi(entry.gsi)).collect();
    let mut taken: BTreeSet<Gsi> = BTreeSet::new();
    while let Ok(gsi) = fixture.router.allocate() {
        assert!(taken.insert(gsi), "{gsi:?} was given twice");
        assert!(!own.contains(&gsi), "{gsi:?} is the VMM's");
    }
    assert_eq!(fixture.router.gsis_in_use(), taken.len());
    assert!(matches!(fixture.router.allocate(), Err(KvmError::GsisExhausted { limit: 4096 })));

    let one = *taken.iter().nth(1234).unwrap();
    fixture.router.release(&[one]);
    assert_eq!(fixture.router.allocate().unwrap(), one);
    fixture.router.release(&taken.into_iter().collect::<Vec<_>>());
    assert_eq!(fixture.router.gsis_in_use(), 0);
}

#[test]
fn kvm_takes_a_table_with_every_gsi_in_it() {
    let Some(fixture) = Fixture::new() else { return };
    let gsis: Vec<_> = std::iter::from_fn(|| fixture.router.allocate().ok()).collect();
    let routes: Vec<_> =
        gsis.iter().map(|gsi| (*gsi, route(to_apic(0, 0x20 + (gsi.0 % 0xc0) as u8)))).collect();
    assert_eq!(set(&fixture.router, &routes), []);
    for gsi in [gsis[0], gsis[2000], gsis[gsis.len() - 1]] {
        pulse(&fixture, gsi.0);
        fixture.apic().expect(0x20 + (gsi.0 % 0xc0) as u8);
    }
}

#[test]
fn a_released_gsi_has_no_route_from_the_next_commit_on() {
    let Some(fixture) = Fixture::new() else { return };
    let gsi = fixture.router.allocate().unwrap();
    assert_eq!(set(&fixture.router, &[(gsi, route(to_apic(0, 0x41)))]), []);
    fixture.router.release(&[gsi]);
    let (other, another) = (fixture.router.allocate().unwrap(), fixture.router.allocate().unwrap());
    assert_eq!(other, gsi, "lent again at once");
    assert_eq!(set(&fixture.router, &[(another, route(to_apic(0, 0x42)))]), []);
    let _ = fixture.vm.set_irq_line(gsi.0, true);
    fixture.apic().expect_nothing();
}

#[test]
fn functions_on_several_threads_share_a_router() {
    let Some(fixture) = Fixture::new() else { return };
    let router: Arc<Router> = fixture.router.clone();
    std::thread::scope(|scope| {
        for cpu in 0..4_u8 {
            let router = &router;
            scope.spawn(move || {
                for _ in 0..50 {
                    let gsis: Vec<_> = (0..8).map(|_| router.allocate().unwrap()).collect();
                    let routes: Vec<_> =
                        gsis.iter().map(|gsi| (*gsi, route(to_apic(cpu % 2, 0x41)))).collect();
                    assert_eq!(set(router, &routes), []);
                    router.release(&gsis);
                }
            });
        }
    });
    assert_eq!(router.gsis_in_use(), 0);
    program_ioapic(&fixture, 0x61);
    pulse(&fixture, IOAPIC_PIN);
    fixture.apic().expect(0x61);
}
