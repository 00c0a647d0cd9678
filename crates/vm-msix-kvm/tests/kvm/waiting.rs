//! A close waits for the triggers in flight, asleep (C4).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;

use vm_msix::{MsiMessage, Signal};
use vm_msix_kvm::RequesterId;

use crate::support::fixture::{Fixture, function};
use crate::support::tables::{Asked, Watched};
use crate::support::wait::until;
use crate::support::{Msix, guest, to_apic, to_memory};

/// Memory that takes its time: a write tells that it has begun, and ends when it is told to.
struct SlowMemory {
    begun: Receiver<()>,
    end: SyncSender<()>,
}

impl SlowMemory {
    fn of_function(fixture: &Fixture) -> (Self, Msix) {
        let (tell, begun) = mpsc::channel();
        let (end, ended) = mpsc::sync_channel(16);
        let ended = Mutex::new(ended);
        let write = move |_: RequesterId, _: MsiMessage| {
            tell.send(()).unwrap();
            ended.lock().unwrap().recv().unwrap();
        };
        let mut msix = function(1, fixture.delivery().with_memory_write(write));
        guest(&mut msix).bring_up(&[to_memory(7)]);
        (Self { begun, end }, msix)
    }
}

/// A thread, as the kernel sees it.
struct Task(PathBuf);

impl Task {
    fn current() -> Self {
        Self(Path::new("/proc").join(std::fs::read_link("/proc/thread-self").unwrap()))
    }

    fn is_asleep(&self) -> bool {
        self.stat()[0] == "S"
    }

    /// User and system time.
    fn cpu_ticks(&self) -> u64 {
        let stat = self.stat();
        stat[11].parse::<u64>().unwrap() + stat[12].parse::<u64>().unwrap()
    }

    /// The fields of proc(5)'s stat from the third on, which follows the name.
    fn stat(&self) -> Vec<String> {
        let stat = std::fs::read_to_string(self.0.join("stat")).unwrap();
        stat.rsplit(") ").next().unwrap().split(' ').map(str::to_owned).collect()
    }
}

/// Closes the vector on another thread while a trigger is stuck, and finds it asleep before the trigger ends.
fn expect_to_wait(close: impl Fn(&mut Msix) + Send + Sync + 'static) {
    let Some(fixture) = Fixture::new() else { return };
    let (memory, mut msix) = SlowMemory::of_function(&fixture);
    let trigger = msix.trigger_handle(0).unwrap();
    let sender = thread::spawn(move || trigger.trigger().unwrap());
    memory.begun.recv().unwrap();

    let closed = Arc::new(AtomicBool::new(false));
    let (tell, task) = mpsc::channel();
    let closer = thread::spawn({
        let closed = Arc::clone(&closed);
        move || {
            tell.send(Task::current()).unwrap();
            close(&mut msix);
            closed.store(true, Ordering::Release);
            msix
        }
    });
    let task = task.recv().unwrap();
    until("the close to go to sleep", || task.is_asleep());
    // Asleep it stays, and costs nothing: a close that spins would run up a tick every 10 ms.
    let before = task.cpu_ticks();
    thread::sleep(std::time::Duration::from_millis(100));
    assert!(task.cpu_ticks() <= before + 2);
    assert!(!closed.load(Ordering::Acquire));

    memory.end.send(()).unwrap();
    let mut msix = closer.join().unwrap();
    assert_eq!(sender.join().unwrap(), Signal::Sent);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    assert!(guest(&mut msix).is_pending(0));
    // Opening again sends what was latched; the memory is told not to wait this time.
    memory.end.send(()).unwrap();
    msix.set_bus_master(true);
    guest(&mut msix).bring_up(&[to_memory(7)]);
    assert!(!guest(&mut msix).is_pending(0));
}

#[test]
fn c4_masking_waits_for_a_trigger_in_flight() {
    expect_to_wait(|msix| guest(msix).mask(0));
}

#[test]
fn c4_function_mask_disable_and_bus_master_wait_too() {
    expect_to_wait(|msix| guest(msix).mask_function());
    expect_to_wait(|msix| guest(msix).disable());
    expect_to_wait(|msix| msix.set_bus_master(false));
}

#[test]
fn c4_a_close_wakes_when_the_last_of_several_triggers_lands() {
    let Some(fixture) = Fixture::new() else { return };
    let (memory, mut msix) = SlowMemory::of_function(&fixture);
    let senders: Vec<_> = (0..3)
        .map(|_| {
            let trigger = msix.trigger_handle(0).unwrap();
            thread::spawn(move || trigger.trigger().unwrap())
        })
        .collect();
    for _ in 0..3 {
        memory.begun.recv().unwrap();
    }
    let (tell, task) = mpsc::channel();
    let closed = Arc::new(AtomicBool::new(false));
    let closer = thread::spawn({
        let closed = Arc::clone(&closed);
        move || {
            tell.send(Task::current()).unwrap();
            guest(&mut msix).mask(0);
            closed.store(true, Ordering::Release);
        }
    });
    let task = task.recv().unwrap();
    for landed in 0..3 {
        until("some to land", || {
            senders.iter().filter(|sender| sender.is_finished()).count() == landed
        });
        until("the close to sleep", || task.is_asleep());
        assert!(!closed.load(Ordering::Acquire));
        memory.end.send(()).unwrap();
    }
    closer.join().unwrap();
    assert!(closed.load(Ordering::Acquire));
}

/// The message changes only after the trigger that carries the old one has landed (C5).
#[test]
fn c5_a_rewrite_waits_for_the_message_in_flight() {
    let Some(fixture) = Fixture::new() else { return };
    let (memory, mut msix) = SlowMemory::of_function(&fixture);
    let trigger = msix.trigger_handle(0).unwrap();
    let sender = thread::spawn(move || trigger.trigger().unwrap());
    memory.begun.recv().unwrap();
    let (tell, task) = mpsc::channel();
    let writer = thread::spawn(move || {
        tell.send(Task::current()).unwrap();
        guest(&mut msix).program(0, to_apic(0, 0x41));
        msix
    });
    let task = task.recv().unwrap();
    until("the rewrite to sleep", || task.is_asleep());
    assert!(!writer.is_finished());
    memory.end.send(()).unwrap();
    let msix = writer.join().unwrap();
    sender.join().unwrap();
    assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
    assert_eq!(fixture.apic().requested(), [0x41]);
}

/// A trigger of another vector, and one of the same vector that finds it closed, wait for nobody.
#[test]
fn triggers_do_not_wait_for_a_close() {
    let Some(fixture) = Fixture::new() else { return };
    let (memory, mut msix) = SlowMemory::of_function(&fixture);
    let trigger = msix.trigger_handle(0).unwrap();
    let stuck = thread::spawn({
        let trigger = trigger.clone();
        move || trigger.trigger().unwrap()
    });
    memory.begun.recv().unwrap();
    let (tell, task) = mpsc::channel();
    let closer = thread::spawn(move || {
        tell.send(Task::current()).unwrap();
        guest(&mut msix).mask(0);
    });
    let task = task.recv().unwrap();
    until("the close to sleep", || task.is_asleep());
    // Closed already, although the close still waits for the one in flight.
    assert_eq!(trigger.trigger().unwrap(), Signal::Latched);
    assert_eq!(trigger.trigger().unwrap(), Signal::Collapsed);
    assert!(!closer.is_finished());
    memory.end.send(()).unwrap();
    closer.join().unwrap();
    assert_eq!(stuck.join().unwrap(), Signal::Sent);
}

/// Giving a GSI back is a commit of the routing table, which waits for a grace period: no vCPU waits with it.
#[test]
fn c4_a_close_and_a_pba_read_wait_for_no_routing_ioctl_of_a_guards_end() {
    let Some(fixture) = Fixture::new() else { return };
    let table = Arc::new(Watched::new(fixture.router.clone()));
    let (tell, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let ended = Mutex::new(ended);
    table.inspect(move |asked| {
        if matches!(asked, Asked::Release(_)) {
            tell.send(()).unwrap();
            ended.lock().unwrap().recv().unwrap();
        }
    });
    let mut msix = function(2, fixture.delivery_with(table));
    guest(&mut msix).bring_up(&[to_apic(0, 0x41), to_apic(0, 0x42)]);
    let guard = msix.get_irqfd(0).unwrap();
    let dropper = thread::spawn(move || drop(guard));
    begun.recv().unwrap();

    let vcpu = thread::spawn(move || {
        guest(&mut msix).mask(0);
        guest(&mut msix).mask(1);
        guest(&mut msix).is_pending(0);
        msix
    });
    until("the vCPU", || vcpu.is_finished());
    end.send(()).unwrap();
    dropper.join().unwrap();
    let msix = vcpu.join().unwrap();
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    assert_eq!(fixture.router.gsis_in_use(), 0);
}
