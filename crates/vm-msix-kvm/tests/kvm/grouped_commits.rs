//! One commit where one will do: what gathers while a commit runs, what one register write opens, what a batch holds.

use vm_msix::{MsixStateV1, Signal};

use crate::support::deferred::Deferred;
use crate::support::gated::Stop;
use crate::support::producer::Producer;
use crate::support::wait::until;
use crate::support::{Msix, guest, to_apic};

const VECTORS: u16 = 40;

/// Commits, as the table and as KVM saw them, since the last look.
struct Count<'a> {
    vm: &'a Deferred,
    before: u64,
}

impl<'a> Count<'a> {
    fn of(vm: &'a Deferred) -> Self {
        vm.table.commits.take();
        Self { vm, before: vm.commits_of_kvm() }
    }

    /// Both have seen commits of so many routes.
    #[track_caller]
    fn expect(&mut self, sizes: &[usize]) {
        let commits = self.vm.table.commits.take();
        assert_eq!(commits.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
        let now = self.vm.commits_of_kvm();
        assert_eq!(now - self.before, sizes.len() as u64);
        self.before = now;
    }
}

#[test]
fn what_is_unmasked_while_a_commit_runs_goes_in_one_commit() {
    let Some(vm) = Deferred::spawned() else { return };
    let (mut msix, guards) = vm.function_on_descriptors(VECTORS);
    vm.table.hold(Stop::Before);
    guest(&mut msix).unmask(0);
    vm.table.wait_until_held();
    for vector in 1..VECTORS {
        guest(&mut msix).unmask(vector);
        Producer::of(&guards[usize::from(vector)]).signal();
    }
    assert!((1..VECTORS).all(|vector| guest(&mut msix).is_pending(vector)));
    vm.fixture.apic().expect_nothing();
    let mut count = Count::of(&vm);
    vm.table.let_go();
    msix.flush().unwrap();
    // The first was counted before it was held up.
    assert_eq!(vm.commits_of_kvm(), 2);
    count.before = 1;
    count.expect(&[usize::from(VECTORS) - 1]);
    let expected: Vec<_> = (0x41..0x40 + VECTORS as u8).collect();
    until("all of them", || vm.fixture.apic().requested() == expected);
}

type Way = (&'static str, fn(&mut Msix), fn(&mut Msix));

/// Each closed by the first and opened, with new messages, by the second.
const WAYS: [Way; 5] = [
    ("Function Mask", |msix| guest(msix).mask_function(), |msix| guest(msix).unmask_function()),
    ("MSI-X Enable", |msix| guest(msix).disable(), |msix| guest(msix).enable()),
    ("bus master", |msix| msix.set_bus_master(false), |msix| msix.set_bus_master(true)),
    ("resume", Msix::pause, Msix::resume),
    (
        "restore",
        |msix| guest(msix).mask_function(),
        |msix| {
            let state = MsixStateV1 { function_masked: false, ..msix.snapshot() };
            msix.restore(&state).unwrap();
        },
    ),
];

fn expect_one_commit_for_each(vm: &Deferred) {
    let (mut msix, guards) = vm.function_on_descriptors(VECTORS);
    guest(&mut msix).mask_function();
    (0..VECTORS).for_each(|vector| guest(&mut msix).unmask(vector));
    let mut count = Count::of(vm);
    for (cpu, (name, close, open)) in (0_u8..).zip(WAYS) {
        close(&mut msix);
        vm.committer.flush();
        Count::of(vm);
        count.before = vm.commits_of_kvm();
        for vector in 0..VECTORS {
            guest(&mut msix).program(vector, to_apic(cpu % 2, 0x80 + vector as u8));
        }
        open(&mut msix);
        msix.flush().unwrap();
        println!("{name}");
        count.expect(&[VECTORS.into()]);
        assert!(guards.iter().all(|guard| vm.is_assigned(guard)), "{name}");
        guest(&mut msix).unmask_function();
    }
}

#[test]
fn c2_what_one_write_opens_is_one_commit_when_deferred() {
    let Some(vm) = Deferred::polled() else { return };
    expect_one_commit_for_each(&vm);
}

#[test]
fn c2_what_one_write_opens_is_one_commit_when_immediate() {
    let Some(vm) = Deferred::immediate() else { return };
    expect_one_commit_for_each(&vm);
}

#[test]
fn c2_what_one_write_opens_is_one_commit_of_the_thread() {
    let Some(vm) = Deferred::spawned() else { return };
    expect_one_commit_for_each(&vm);
}

/// Ten functions of four, closed by Function Mask alone.
fn ten(vm: &Deferred) -> Vec<(Msix, Vec<vm_msix_kvm::Irqfd>)> {
    let one = |_| {
        let (mut msix, guards) = vm.function_on_descriptors(4);
        guest(&mut msix).mask_function();
        (0..4).for_each(|vector| guest(&mut msix).unmask(vector));
        (msix, guards)
    };
    (0..10).map(one).collect()
}

fn open(functions: &mut [(Msix, Vec<vm_msix_kvm::Irqfd>)]) {
    functions.iter_mut().for_each(|(msix, _)| guest(msix).unmask_function());
}

fn all_assigned(vm: &Deferred, functions: &[(Msix, Vec<vm_msix_kvm::Irqfd>)]) -> bool {
    functions.iter().flat_map(|(_, guards)| guards).all(|guard| vm.is_assigned(guard))
}

#[test]
fn a_batch_of_ten_functions_is_one_commit() {
    for vm in [Deferred::polled(), Deferred::spawned(), Deferred::immediate()] {
        let Some(vm) = vm else { return };
        let mut functions = ten(&vm);
        let mut count = Count::of(&vm);
        let outer = vm.committer.batch();
        let inner = vm.committer.batch();
        open(&mut functions[..5]);
        vm.committer.run_pending();
        // Not the one that was made last.
        drop(outer);
        open(&mut functions[5..]);
        vm.committer.run_pending();
        count.expect(&[]);
        drop(inner);
        // By the descriptor of a polled one, by the thread, or by the drop.
        if vm.committer.descriptor().is_some() {
            vm.committer.run_pending();
            until("the commit", || vm.commits_of_kvm() == 1);
            vm.committer.flush();
        }
        count.expect(&[40]);
        assert!(all_assigned(&vm, &functions));
    }
}

#[test]
fn a_batch_commits_when_it_ends_without_being_asked() {
    let Some(vm) = Deferred::spawned() else { return };
    let mut functions = ten(&vm);
    for round in 1..=20 {
        let batch = vm.committer.batch();
        open(&mut functions);
        for (msix, guards) in &mut functions {
            guards.iter().for_each(|guard| Producer::of(guard).signal());
            assert!((0..4).all(|vector| guest(msix).is_pending(vector)));
        }
        vm.fixture.cpus.iter().for_each(|apic| apic.expect_nothing());
        drop(batch);
        let cpu = &vm.fixture.cpus[usize::from(round % 2 == 0)];
        for (msix, _) in &mut functions {
            until("all to be open", || (0..4).all(|vector| !guest(msix).is_pending(vector)));
        }
        until("all interrupts", || cpu.requested() == [0x40, 0x41, 0x42, 0x43]);
        vm.committer.flush();
        assert!(all_assigned(&vm, &functions));
        assert_eq!(vm.commits_of_kvm(), round);
        for (msix, _) in &mut functions {
            guest(msix).mask_function();
            for vector in 0..4 {
                let cpu = u8::from(round % 2 == 1);
                guest(msix).program(vector.into(), to_apic(cpu, 0x40 + vector));
            }
        }
        vm.fixture.cpus.iter().for_each(|apic| apic.clear());
    }
}

#[test]
fn an_empty_batch_commits_nothing() {
    let Some(vm) = Deferred::polled() else { return };
    let mut count = Count::of(&vm);
    drop(vm.committer.batch());
    vm.committer.run_pending();
    count.expect(&[]);
}

#[test]
fn c11_a_flush_inside_a_batch_opens_what_is_gathered() {
    for vm in [Deferred::polled(), Deferred::spawned(), Deferred::immediate()] {
        let Some(vm) = vm else { return };
        let (mut msix, guards) = vm.function_on_descriptors(2);
        let mut count = Count::of(&vm);
        let batch = vm.committer.batch();
        guest(&mut msix).unmask(0);
        assert!(!vm.is_assigned(&guards[0]));
        msix.flush().unwrap();
        count.expect(&[1]);
        assert!(vm.is_assigned(&guards[0]));
        guest(&mut msix).unmask(1);
        assert!(!vm.is_assigned(&guards[1]));
        drop(batch);
        vm.committer.flush();
        count.expect(&[1]);
        assert!(vm.is_assigned(&guards[1]));
        Producer::of(&guards[1]).signal();
        vm.fixture.apic().expect(0x41);
    }
}

/// What it closes takes back what it has queued; the others go on gathering.
#[test]
fn c14_a_pause_inside_a_batch_commits_nothing() {
    for vm in [Deferred::polled(), Deferred::spawned(), Deferred::immediate()] {
        let Some(vm) = vm else { return };
        let mut functions = ten(&vm);
        let mut count = Count::of(&vm);
        let batch = vm.committer.batch();
        open(&mut functions);
        functions[0].0.pause();
        functions[1].0.destroy();
        count.expect(&[]);
        assert!(!functions.iter().any(|(_, guards)| vm.is_assigned(&guards[0])));
        drop(batch);
        vm.committer.flush();
        count.expect(&[32]);
        assert!(all_assigned(&vm, &functions[2..]));
        assert!(!functions[..2].iter().any(|(_, guards)| vm.is_assigned(&guards[0])));
    }
}

/// The latch opens after the commit then, so a trigger in the meantime is latched.
#[test]
fn c3_what_is_triggered_in_a_batch_of_an_immediate_committer_is_sent_once_at_its_end() {
    let Some(vm) = Deferred::immediate() else { return };
    let (mut msix, _guards) = vm.function_on_descriptors(1);
    let batch = vm.committer.batch();
    guest(&mut msix).unmask(0);
    assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    assert!(guest(&mut msix).is_pending(0));
    vm.fixture.apic().expect_nothing();
    drop(batch);
    assert_eq!(vm.fixture.apic().requested(), [0x40]);
    vm.fixture.apic().clear();
    guest(&mut msix).mask(0);
    assert!(!guest(&mut msix).is_pending(0));
    vm.fixture.apic().expect_nothing();
}

/// Its opening is history then, but the registers ask for an open vector all the same.
#[test]
fn c3_the_last_guard_that_goes_inside_a_batch_leaves_its_vector_open() {
    for vm in [Deferred::immediate(), Deferred::polled()] {
        let Some(vm) = vm else { return };
        let (mut msix, mut guards) = vm.function_on_descriptors(2);
        let batch = vm.committer.batch();
        guest(&mut msix).unmask(0);
        Producer::of(&guards[0]).signal();
        drop(guards.remove(0));
        // What was counted is sent by the way back to signal mode.
        assert_eq!(vm.fixture.apic().requested(), [0x40]);
        vm.fixture.apic().clear();
        assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
        vm.fixture.apic().expect(0x40);
        drop(batch);
        vm.committer.run_pending();
        assert_eq!(vm.commits_of_kvm(), 0);
        assert_eq!(msix.trigger(0).unwrap(), Signal::Sent);
        assert_eq!(vm.fixture.router.gsis_in_use(), 1);
        guest(&mut msix).mask(0);
        assert_eq!(msix.trigger(0).unwrap(), Signal::Latched);
    }
}
