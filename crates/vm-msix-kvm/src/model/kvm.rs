//! KVM's side of interrupts: the routing table, irqfds, and messages that are sent at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;
use std::fmt;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::PoisonError;

use kvm_bindings::{KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_irq_routing_entry, kvm_msi};
use kvm_ioctls::Cap;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use vm_msix::MsiMessage;
use vmm_sys_util::errno::{self, Error};
use vmm_sys_util::eventfd::EventFd;

use super::{scheduling_point, wake};
use crate::eventfd::take_count;

/// What KVM is asked for a message, and may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A route to it.
    Route,
    /// An irqfd that sends it.
    Assign,
    /// The end of that irqfd.
    Deassign,
    /// To send it at once.
    Signal,
}

/// A VM, by what it does to interrupts. What the kernel demands of the order of ioctls is asserted.
pub struct VmFd {
    gsis: u32,
    state: Mutex<State>,
    /// Whether commits are held up.
    held: Mutex<bool>,
    released: Condvar,
    /// Is handed what is sent.
    apic: Box<dyn Fn(MsiMessage) + Send + Sync>,
}

#[derive(Default)]
struct State {
    routes: BTreeMap<u32, MsiMessage>,
    irqfds: Vec<Irqfd>,
    /// What is refused for messages with which data.
    refused: BTreeSet<(Call, u32)>,
    /// Assigns that fail before one does not.
    failing_assigns: u32,
    /// Messages that are not taken before one is.
    failing_signals: u32,
}

struct Irqfd {
    eventfd: EventFd,
    id: String,
    gsi: u32,
    /// A work item that injects is under way.
    working: bool,
}

impl VmFd {
    /// A VM with so many GSIs.
    pub fn new(gsis: u32, apic: impl Fn(MsiMessage) + Send + Sync + 'static) -> Self {
        Self {
            gsis,
            state: Mutex::default(),
            held: Mutex::new(false),
            released: Condvar::new(),
            apic: Box::new(apic),
        }
    }

    /// A write of one to an eventfd that KVM may listen to, as an outside producer makes it.
    pub fn write(&self, eventfd: BorrowedFd<'_>) {
        let mut state = self.lock();
        rustix::io::write(eventfd, &1_u64.to_ne_bytes()).expect("the counter has room");
        let id = id(eventfd);
        if let Some(irqfd) = state.irqfds.iter_mut().find(|irqfd| irqfd.id == id) {
            take_count(eventfd);
            irqfd.working = true;
        }
        self.work(&mut state);
        drop(state);
        wake();
    }

    /// From now on no commit ends before [`release_commits`](Self::release_commits).
    pub fn hold_commits(&self) {
        *self.hold() = true;
    }

    /// Lets commits end.
    pub fn release_commits(&self) {
        *self.hold() = false;
        self.released.notify_all();
    }

    /// From now on this is refused for every message with this data.
    pub fn refuse(&self, call: Call, data: u32) {
        self.lock().refused.insert((call, data));
    }

    /// From now on nothing is refused any more.
    pub fn relent(&self) {
        self.lock().refused.clear();
    }

    /// So many assigns will fail.
    pub fn fail_assigns(&self, count: u32) {
        self.lock().failing_assigns = count;
    }

    /// So many messages will not be taken.
    pub fn fail_signals(&self, count: u32) {
        self.lock().failing_signals = count;
    }

    /// Lets every work item end.
    pub fn settle(&self) {
        let mut state = self.lock();
        let State { routes, irqfds, .. } = &mut *state;
        irqfds.iter_mut().for_each(|irqfd| self.finish(routes, irqfd));
    }

    /// Whether there is a route to a message with this data, used or not.
    pub fn has_route(&self, data: u32) -> bool {
        self.lock().routes.values().any(|message| message.data == data)
    }

    /// The messages that irqfds send now.
    pub fn listening(&self) -> Vec<MsiMessage> {
        let state = self.lock();
        state.irqfds.iter().map(|irqfd| state.routes[&irqfd.gsi]).collect()
    }

    /// How many irqfds are assigned.
    pub fn irqfds(&self) -> usize {
        self.lock().irqfds.len()
    }

    fn allow(state: &State, call: Call, data: u32) -> errno::Result<()> {
        // Of a route KVM says that it is wrong, of everything else that it cannot be had.
        let errno = if call == Call::Route { libc::EINVAL } else { libc::ENOMEM };
        if state.refused.contains(&(call, data)) { Err(Error::new(errno)) } else { Ok(()) }
    }

    /// Work items run sooner or later.
    fn work(&self, state: &mut State) {
        let State { routes, irqfds, .. } = state;
        for irqfd in irqfds.iter_mut().filter(|irqfd| irqfd.working) {
            if thread_rng().gen_bool(0.5) {
                self.finish(routes, irqfd);
            }
        }
    }

    fn finish(&self, routes: &BTreeMap<u32, MsiMessage>, irqfd: &mut Irqfd) {
        if std::mem::take(&mut irqfd.working) {
            (self.apic)(routes[&irqfd.gsi]);
        }
    }

    fn hold(&self) -> MutexGuard<'_, bool> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a commit waits, before it takes effect and after.
    fn pass(&self) {
        let mut held = self.hold();
        while *held {
            held = self.released.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ioctls, as kvm-ioctls has them.
impl VmFd {
    pub(crate) fn check_extension(&self, _cap: Cap) -> bool {
        false
    }

    pub(crate) fn check_extension_int(&self, _cap: Cap) -> i32 {
        self.gsis.try_into().unwrap_or(i32::MAX)
    }

    pub(crate) fn signal_msi(&self, msi: kvm_msi) -> errno::Result<c_int> {
        scheduling_point();
        let mut state = self.lock();
        if state.failing_signals > 0 {
            state.failing_signals -= 1;
            return Err(Error::new(libc::ENOMEM));
        }
        Self::allow(&state, Call::Signal, msi.data)?;
        drop(state);
        (self.apic)(message(msi.address_lo, msi.address_hi, msi.data));
        scheduling_point();
        Ok(1)
    }

    pub(crate) fn set_gsi_routing(&self, table: &KvmIrqRouting) -> errno::Result<()> {
        let routes: BTreeMap<_, _> = table.as_slice().iter().filter_map(route).collect();
        self.pass();
        let mut state = self.lock();
        for message in routes.values() {
            Self::allow(&state, Call::Route, message.data)?;
        }
        for Irqfd { gsi, .. } in &state.irqfds {
            assert_eq!(
                routes.get(gsi),
                state.routes.get(gsi),
                "the route of GSI {gsi} goes under a live irqfd"
            );
        }
        state.routes = routes;
        drop(state);
        self.pass();
        Ok(())
    }

    pub(crate) fn register_irqfd(&self, eventfd: &EventFd, gsi: u32) -> errno::Result<()> {
        let mut state = self.lock();
        if state.failing_assigns > 0 {
            state.failing_assigns -= 1;
            return Err(Error::new(libc::ENOMEM));
        }
        let id = id(eventfd.as_raw_fd());
        assert!(state.irqfds.iter().all(|irqfd| irqfd.id != id), "an eventfd is assigned twice");
        let route = state.routes.get(&gsi);
        let route = route.unwrap_or_else(|| panic!("GSI {gsi} gets an irqfd before a route"));
        Self::allow(&state, Call::Assign, route.data)?;
        let eventfd = eventfd.try_clone().expect("a descriptor");
        // It stays counted until the next write or the deassign.
        let working = count(&eventfd) > 0;
        state.irqfds.push(Irqfd { eventfd, id, gsi, working });
        self.work(&mut state);
        drop(state);
        scheduling_point();
        Ok(())
    }

    pub(crate) fn unregister_irqfd(&self, eventfd: &EventFd, gsi: u32) -> errno::Result<()> {
        let mut state = self.lock();
        let id = id(eventfd.as_raw_fd());
        let place = state.irqfds.iter().position(|irqfd| irqfd.id == id && irqfd.gsi == gsi);
        let place = place.expect("what is deassigned is assigned");
        Self::allow(&state, Call::Deassign, state.routes[&gsi].data)?;
        let mut irqfd = state.irqfds.remove(place);
        self.finish(&state.routes, &mut irqfd);
        // Empty is an error.
        let _ = irqfd.eventfd.read();
        drop(state);
        scheduling_point();
        Ok(())
    }
}

/// What tells an eventfd from others, whoever has a descriptor of it.
fn id(eventfd: impl AsRawFd) -> String {
    field(eventfd.as_raw_fd(), "eventfd-id:")
}

/// What is in a counter, without taking it.
fn count(eventfd: &EventFd) -> u64 {
    let count = field(eventfd.as_raw_fd(), "eventfd-count:");
    u64::from_str_radix(&count, 16).expect("a number")
}

fn field(descriptor: c_int, name: &str) -> String {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).expect("an eventfd");
    let value = info.lines().find_map(|line| line.strip_prefix(name));
    value.expect("Linux 5.2 or later").trim().to_owned()
}

fn route(entry: &kvm_irq_routing_entry) -> Option<(u32, MsiMessage)> {
    (entry.type_ == KVM_IRQ_ROUTING_MSI).then(|| {
        // SAFETY: every part of the union is plain bytes, and its type says that this is the part that was written.
        let msi = unsafe { entry.u.msi };
        (entry.gsi, message(msi.address_lo, msi.address_hi, msi.data))
    })
}

fn message(low: u32, high: u32, data: u32) -> MsiMessage {
    MsiMessage::new(u64::from(high) << 32 | u64::from(low), data)
}

impl fmt::Debug for VmFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmFd").field("gsis", &self.gsis).finish_non_exhaustive()
    }
}
