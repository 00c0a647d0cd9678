//! The floors: what the kernel, or the CPU, takes for the least that a workload could do. Raw system calls on a VM
//! of their own, past our crates.

use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KvmIrqRouting,
    kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1 as Target, kvm_irq_routing_irqchip,
    kvm_irq_routing_msi, kvm_msi,
};
use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::EventFd;

use super::host::message;
use super::measure::{Lap, Meter, Outcome};
use super::vm::BareVm;

/// The least that a workload could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Floor {
    /// So many uncontended atomic read-modify-writes.
    Atomic(u16),
    /// The bare `KVM_SIGNAL_MSI`.
    SignalMsi,
    /// A bare write to an eventfd that KVM listens to.
    EventfdWrite,
    /// One `KVM_SET_GSI_ROUTING`, and so many `KVM_IRQFD`.
    Bind(u16),
    /// The same, and so many eventfds created.
    CreateAndBind(u16),
    /// One `KVM_IRQFD` away and back, among so many.
    Rebind(u16),
    /// The same with a `KVM_SET_GSI_ROUTING` between.
    Reroute(u16),
    /// So many `KVM_IRQFD` away.
    Unbind(u16),
    /// `poll(2)` of so many eventfds, by 64.
    Poll(u16),
}

/// One bare operation, for a thread of its own.
pub(super) type Operation<'a> = Box<dyn FnMut() + Send + 'a>;

/// What the floors need.
pub(super) struct Floors {
    vm: Option<BareVm>,
}

/// The pins of the IOAPIC: the VMM's own part of every routing table.
const PINS: u32 = 24;
/// An atomic word, on a cache line of its own.
#[repr(align(128))]
struct Word(AtomicU32);

impl Floors {
    pub(super) fn new(vm: Option<BareVm>) -> Self {
        Self { vm }
    }

    /// A lap of a floor.
    pub(super) fn lap(&self, floor: Floor) -> Outcome<Lap<'_>> {
        match floor {
            Floor::Atomic(steps) => Ok(atomic_steps(steps)),
            Floor::SignalMsi | Floor::EventfdWrite | Floor::Rebind(_) | Floor::Reroute(_) => {
                let mut operation = self.operation(floor, 0)?;
                Ok(Box::new(move |meter| {
                    meter.repeat(&mut operation);
                    Ok(())
                }))
            }
            Floor::Bind(vectors) => self.bind(vectors, Eventfds::Ready),
            Floor::CreateAndBind(vectors) => self.bind(vectors, Eventfds::New),
            Floor::Unbind(vectors) => self.unbind(vectors),
            Floor::Poll(vectors) => poll(vectors),
        }
    }

    /// The operation of a floor that is one, on a vector; of others, an atomic step.
    pub(super) fn operation(&self, floor: Floor, vector: u16) -> Outcome<Operation<'_>> {
        match floor {
            Floor::SignalMsi => {
                let (vm, msi) = (self.vm()?, bare_message(vector));
                Ok(Box::new(move || {
                    let _ = black_box(vm.signal_msi(black_box(msi)));
                }))
            }
            Floor::EventfdWrite => {
                let bound = Bound::new(self.vm()?, vector, vector + 1)?;
                Ok(Box::new(move || {
                    let _ = black_box(bound.eventfds[0].write(black_box(1)));
                }))
            }
            Floor::Rebind(vectors) => self.rebind(vectors, Table::Stays),
            Floor::Reroute(vectors) => self.rebind(vectors, Table::Changes),
            _ => {
                let word = Word::new();
                Ok(Box::new(move || word.step()))
            }
        }
    }

    fn bind(&self, vectors: u16, eventfds: Eventfds) -> Outcome<Lap<'_>> {
        let vm = self.vm()?;
        let table = table(vectors)?;
        Ok(Box::new(move |meter| {
            let mut made = match eventfds {
                Eventfds::Ready => create(vectors)?,
                Eventfds::New => Vec::with_capacity(vectors.into()),
            };
            let bound = meter.once(|| {
                if eventfds == Eventfds::New {
                    made = create(vectors)?;
                }
                vm.set_gsi_routing(&table)?;
                Bound::assign(vm, 0, made)
            })?;
            drop(bound);
            Ok(())
        }))
    }

    fn rebind(&self, vectors: u16, change: Table) -> Outcome<Operation<'_>> {
        let vm = self.vm()?;
        let table = table(vectors)?;
        vm.set_gsi_routing(&table)?;
        let bound = Bound::new(vm, 0, vectors)?;
        Ok(Box::new(move || {
            let eventfd = &bound.eventfds[0];
            let _ = black_box(vm.unregister_irqfd(eventfd, PINS));
            if change == Table::Changes {
                let _ = black_box(vm.set_gsi_routing(&table));
            }
            let _ = black_box(vm.register_irqfd(eventfd, PINS));
        }))
    }

    fn unbind(&self, vectors: u16) -> Outcome<Lap<'_>> {
        let vm = self.vm()?;
        Ok(Box::new(move |meter| {
            let bound = Bound::new(vm, 0, vectors)?;
            meter.once(|| drop(bound));
            Ok(())
        }))
    }

    fn vm(&self) -> Outcome<&VmFd> {
        Ok(self.vm.as_ref().map(|vm| &*vm.fd).ok_or("this floor needs KVM")?)
    }
}

/// Whether the eventfds are part of what is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Eventfds {
    Ready,
    New,
}

/// Whether a new routing table is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    Stays,
    Changes,
}

/// Eventfds that KVM listens to, until this is dropped.
struct Bound<'a> {
    vm: &'a VmFd,
    first: u16,
    eventfds: Vec<EventFd>,
}

impl<'a> Bound<'a> {
    /// For the vectors from `first` to before `end`, with their routes.
    fn new(vm: &'a VmFd, first: u16, end: u16) -> Outcome<Self> {
        vm.set_gsi_routing(&table(end)?)?;
        Self::assign(vm, first, create(end - first)?)
    }

    fn assign(vm: &'a VmFd, first: u16, eventfds: Vec<EventFd>) -> Outcome<Self> {
        let bound = Self { vm, first, eventfds };
        for (gsi, eventfd) in bound.gsis() {
            vm.register_irqfd(eventfd, gsi)?;
        }
        Ok(bound)
    }

    fn gsis(&self) -> impl Iterator<Item = (u32, &EventFd)> {
        (PINS + u32::from(self.first)..).zip(&self.eventfds)
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        for (gsi, eventfd) in self.gsis() {
            // Closing the eventfd undoes it too, only later.
            let _ = self.vm.unregister_irqfd(eventfd, gsi);
        }
    }
}

fn create(eventfds: u16) -> Outcome<Vec<EventFd>> {
    let flags = libc::EFD_NONBLOCK | libc::EFD_CLOEXEC;
    Ok((0..eventfds).map(|_| EventFd::new(flags)).collect::<Result<_, _>>()?)
}

/// A routing table of the IOAPIC and so many messages.
fn table(vectors: u16) -> Outcome<KvmIrqRouting> {
    let pins = (0..PINS).map(|pin| kvm_irq_routing_entry {
        gsi: pin,
        type_: KVM_IRQ_ROUTING_IRQCHIP,
        u: Target { irqchip: kvm_irq_routing_irqchip { irqchip: KVM_IRQCHIP_IOAPIC, pin } },
        ..Default::default()
    });
    let messages = (0..vectors).map(|vector| {
        let kvm_msi { address_lo, address_hi, data, .. } = bare_message(vector);
        let msi = kvm_irq_routing_msi { address_lo, address_hi, data, ..Default::default() };
        kvm_irq_routing_entry {
            gsi: PINS + u32::from(vector),
            type_: KVM_IRQ_ROUTING_MSI,
            u: Target { msi },
            ..Default::default()
        }
    });
    let entries: Vec<_> = pins.chain(messages).collect();
    KvmIrqRouting::from_entries(&entries).map_err(|error| format!("{error:?}").into())
}

fn bare_message(vector: u16) -> kvm_msi {
    let message = message(vector, 0);
    let (address_lo, address_hi) = (message.address_low(), message.address_high());
    kvm_msi { address_lo, address_hi, data: message.data, ..Default::default() }
}

impl Word {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// A method, so that a closure captures the word with its cache line, and not the atomic alone.
    fn step(&self) {
        black_box(black_box(&self.0).fetch_or(1, Ordering::AcqRel));
    }
}

fn atomic_steps(steps: u16) -> Lap<'static> {
    let word = Word::new();
    Box::new(move |meter: &mut Meter<'_>| {
        meter.repeat(|| (0..steps).for_each(|_| word.step()));
        Ok(())
    })
}

fn poll(vectors: u16) -> Outcome<Lap<'static>> {
    const READABLE: i16 = libc::POLLIN;
    let eventfds = create(vectors)?;
    let polled =
        |eventfd: &EventFd| libc::pollfd { fd: eventfd.as_raw_fd(), events: READABLE, revents: 0 };
    let mut polled: Vec<_> = eventfds.iter().map(polled).collect();
    Ok(Box::new(move |meter| {
        let _open = &eventfds;
        meter.repeat(|| {
            for qword in polled.chunks_mut(64) {
                // SAFETY: the pointer and the length are those of one slice of `pollfd`, borrowed mutably.
                black_box(unsafe { libc::poll(qword.as_mut_ptr(), qword.len() as _, 0) });
            }
        });
        Ok(())
    }))
}
