//! A vector is open for triggers and for its descriptor, or closed for both: failures in between (C4, C11).

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use vm_msix::{MsiMessage, MsixObserver, Route, Signal, VectorIndex};
use vm_msix_kvm::{RequesterId, Translate};

use crate::support::fixture::{Fixture, function};
use crate::support::producer::{Producer, is_assigned};
use crate::support::taps::{Memory, Remapper, Rule};
use crate::support::{guest, to_apic, to_memory, unsynced};

/// Does this once for each question, then nothing more.
#[derive(Clone)]
struct Script(Arc<AtomicUsize>, &'static [Answer]);

#[derive(Clone, Copy)]
enum Answer {
    Good,
    Unfit,
    Blocked,
}

impl Script {
    fn idle() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::MAX / 2)), &[])
    }

    fn begin(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

impl Translate for Script {
    fn translate(&self, _: RequesterId, message: MsiMessage) -> Option<MsiMessage> {
        let question = self.0.fetch_add(1, Ordering::SeqCst);
        match self.1.get(question).unwrap_or(&Answer::Good) {
            Answer::Good => Some(message),
            Answer::Unfit => Some(MsiMessage::new(message.address | 1 << 40, message.data)),
            Answer::Blocked => None,
        }
    }
}

/// The eventfd is aimed by the first answer, and the latch opened by the next ones.
fn expect_closed_for_both(answers: &'static [Answer], pending: bool) {
    let Some(fixture) = Fixture::new() else { return };
    let script = Script(Script::idle().0, answers);
    let mut msix = function(1, fixture.delivery().with_translate(script.clone()));
    let guard = msix.get_irqfd(0).unwrap();
    let producer = Producer::of(&guard);
    if pending {
        producer.signal();
    }
    guest(&mut msix).program(0, to_apic(0, 0x41));
    guest(&mut msix).unmask(0);
    script.begin();
    guest(&mut msix).enable();
    assert_eq!(unsynced(&msix), [0]);
    assert_eq!(guest(&mut msix).is_pending(0), pending);

    guest(&mut msix).mask(0);
    producer.signal();
    assert!(guest(&mut msix).is_pending(0));
    fixture.apic().expect_nothing();
    guest(&mut msix).unmask(0);
    guest(&mut msix).disable();
    guest(&mut msix).enable();
    assert_eq!(fixture.apic().requested(), [0x41]);
    guest(&mut msix).mask(0);
    assert!(!guest(&mut msix).is_pending(0));
    assert!(!is_assigned(&fixture.vm, &Producer::of(&guard).into_eventfd()));
}

#[test]
fn c4_c11_a_latch_that_is_refused_takes_its_irqfd_along() {
    expect_closed_for_both(&[Answer::Good, Answer::Unfit], false);
}

#[test]
fn c4_c11_a_latched_signal_that_cannot_be_sent_takes_its_irqfd_along() {
    expect_closed_for_both(&[Answer::Good, Answer::Good, Answer::Unfit], true);
}

#[test]
fn c3_c11_a_latch_that_is_refused_takes_along_an_irqfd_that_led_nowhere() {
    expect_closed_for_both(&[Answer::Blocked, Answer::Unfit], false);
}

#[test]
fn c3_what_waits_in_the_counter_alone_is_written_to_memory() {
    let Some(fixture) = Fixture::new() else { return };
    let memory = Memory::default();
    let mut msix = function(1, fixture.delivery().with_memory_write(memory.clone()));
    guest(&mut msix).bring_up(&[to_memory(7)]);
    let guard = msix.get_irqfd(0).unwrap();
    guest(&mut msix).mask(0);
    Producer::of(&guard).signal();
    guest(&mut msix).unmask(0);
    assert_eq!(memory.take_data(), [7]);
}

type Work = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// What another thread does between the look at late events and the new routes.
struct Between(Work);

impl MsixObserver for Between {
    fn route_changed(&self, _: VectorIndex, _: Route) {
        if let Some(work) = self.0.lock().unwrap().take() {
            std::thread::spawn(work).join().unwrap();
        }
    }
}

#[test]
fn c4_late_news_of_a_route_that_was_replaced_is_dropped_also_without_irqfds() {
    let Some(fixture) = Fixture::new() else { return };
    let (remapper, work) = (Remapper::default(), Work::default());
    let msix = function(1, fixture.delivery().with_translate(remapper.clone()));
    let mut msix = msix.with_observer(Between(work.clone()));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    let backend = msix.backend().clone();
    *work.lock().unwrap() = Some(Box::new(move || {
        remapper.set(Rule::Become(MsiMessage::new(0x100_fee0_0000, 0x41)));
        backend.invalidate_translations();
        remapper.set(Rule::Pass);
        drop(guard);
    }));
    msix.write_msix_table(8, &0x42_u32.to_le_bytes());
    assert!(work.lock().unwrap().is_none());
    guest(&mut msix).mask(0);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    fixture.apic().expect_nothing();
}

/// KVM does not know another file by the eventfd's number, so that it cannot be deassigned.
#[test]
fn c7_an_irqfd_that_could_not_be_detached_when_its_last_guard_went_goes_later() {
    let Some(fixture) = Fixture::new() else { return };
    let mut msix = fixture.function(1);
    guest(&mut msix).bring_up(&[to_apic(0, 0x41)]);
    let guard = msix.get_irqfd(0).unwrap();
    let eventfd = Producer::of(&guard).into_eventfd();
    let number = guard.as_raw_fd();
    let null = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: both are numbers of open descriptors; the function's own is put back below.
    assert!(unsafe { libc::dup2(null.as_raw_fd(), number) } >= 0);
    drop(guard);
    // SAFETY: as above.
    assert!(unsafe { libc::dup2(eventfd.as_raw_fd(), number) } >= 0);

    assert!(msix.flush().is_ok());
    assert!(!is_assigned(&fixture.vm, &eventfd));
    assert_eq!(fixture.router.gsis_in_use(), 0);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
}
