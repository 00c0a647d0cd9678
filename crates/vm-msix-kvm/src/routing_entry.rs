//! Entries of the routing table, in KVM's form.

use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KVM_MSI_VALID_DEVID, kvm_irq_routing_entry,
    kvm_irq_routing_entry__bindgen_ty_1 as Target, kvm_irq_routing_irqchip, kvm_irq_routing_msi,
};

use crate::route_table::MsiRoute;

/// The table that KVM starts with on x86.
pub(crate) fn irqchip() -> Vec<kvm_irq_routing_entry> {
    let pic = |gsi| match gsi {
        0..8 => pin(gsi, KVM_IRQCHIP_PIC_MASTER, gsi),
        _ => pin(gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - 8),
    };
    let pics = (0..16).map(pic);
    let ioapic = (0..24).map(|gsi| pin(gsi, KVM_IRQCHIP_IOAPIC, gsi));
    ioapic.chain(pics).collect()
}

/// A GSI that sends a message; `device_ids`: along with who sends it.
pub(crate) fn msi(gsi: u32, route: MsiRoute, device_ids: bool) -> kvm_irq_routing_entry {
    let mut msi = kvm_irq_routing_msi {
        address_lo: route.message.address_low(),
        address_hi: route.message.address_high(),
        data: route.message.data,
        ..Default::default()
    };
    msi.__bindgen_anon_1.devid = route.requester.0;
    kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_MSI,
        flags: if device_ids { KVM_MSI_VALID_DEVID } else { 0 },
        u: Target { msi },
        ..Default::default()
    }
}

fn pin(gsi: u32, irqchip: u32, pin: u32) -> kvm_irq_routing_entry {
    kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_IRQCHIP,
        u: Target { irqchip: kvm_irq_routing_irqchip { irqchip, pin } },
        ..Default::default()
    }
}
