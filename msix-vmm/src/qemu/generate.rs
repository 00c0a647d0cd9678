//! Random sequences of operations that are worth comparing.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use vm_msix::Region;

use super::board::{BELLS, Board};
use super::devices::Signals;
use super::op::{Access, Op, Width};

/// The most operations in one sequence.
const LONGEST: usize = 120;
/// Bytes of the capability.
const CAPABILITY_SIZE: u16 = 12;

/// Where a guest lets a vector write to, before it is known which vector.
#[derive(Clone, Copy, Debug)]
enum Target {
    Zero,
    /// The vector's own slot, this many bytes past its start.
    Slot(u32),
    Doorbell,
}

/// What a guest writes to the registers of an entry.
#[derive(Clone, Copy, Debug)]
struct Entry {
    target: Target,
    upper: u32,
    data: u32,
    control: u32,
}

impl Entry {
    /// The DWORDs of it in the table of this vector.
    fn dwords(self, vector: u16, board: &Board) -> [u32; 4] {
        let address = match self.target {
            Target::Zero => 0,
            Target::Slot(past) => board.slot(vector).map_or(0, |slot| slot + past),
            Target::Doorbell => board.doorbell.unwrap_or(0),
        };
        [address, self.upper, self.data, self.control]
    }
}

/// Sequences for a function with so many vectors; only where the device can be made to signal do they signal.
pub(super) fn sequences(vectors: u16, board: &Board, signals: Signals) -> BoxedStrategy<Vec<Op>> {
    let accesses = accesses_of_a_guest(vectors, board);
    let op = match signals {
        Signals::No => accesses,
        Signals::Ivshmem => {
            prop_oneof![2 => accesses, 1 => select(board.hot.clone()).prop_map(Op::Trigger)].boxed()
        }
    };
    let op = prop_oneof![60 => op, 1 => Just(Op::Reset)];
    // Most begin as a guest does, with vectors that can be seen: a message needs more than one operation.
    let begin = prop_oneof![1 => Just(Vec::new()), 9 => bring_up(board)];
    (begin, vec(op, 1..=LONGEST))
        .prop_map(|(begin, ops)| begin.into_iter().chain(ops).collect())
        .boxed()
}

/// Some vectors programmed, then MSI-X enabled.
fn bring_up(board: &Board) -> impl Strategy<Value = Vec<Op>> + use<> {
    let hot = select(board.hot.clone());
    (vec(program(hot, board.clone()), 0..=10), control_write())
        .prop_map(|(programs, control)| programs.into_iter().chain([control]).collect())
}

fn accesses_of_a_guest(vectors: u16, board: &Board) -> BoxedStrategy<Op> {
    let hot = select(board.hot.clone());
    let write = |(access, value)| Op::Write(access, value);
    let mask = (hot.clone(), control().prop_map(u64::from))
        .prop_map(|(vector, control)| Op::Write(Access::register(vector, 3), control));
    let ops = prop_oneof![
        5 => mask,
        5 => program(hot, board.clone()),
        4 => table_write(vectors, board.clone()),
        3 => table_access(vectors).prop_map(Op::Read),
        3 => control_write(),
        2 => capability_access().prop_map(Op::Read),
        1 => (capability_access(), any::<u32>().prop_map(u64::from)).prop_map(write),
        1 => pba_access(vectors).prop_map(Op::Read),
        1 => (pba_access(vectors), any::<u64>()).prop_map(write),
        1 => prop_oneof![1 => Just(false), 3 => Just(true)].prop_map(Op::BusMaster),
    ];
    ops.boxed()
}

fn program(hot: impl Strategy<Value = u16>, board: Board) -> impl Strategy<Value = Op> {
    (hot, entry())
        .prop_map(move |(vector, entry)| Op::Program(vector, entry.dwords(vector, &board)))
}

/// Whatever the width and the alignment, each register that is hit gets a value that is one of its own: no address
/// leads where a message would do harm.
fn table_write(vectors: u16, board: Board) -> impl Strategy<Value = Op> {
    (table_access(vectors), entry(), entry()).prop_map(move |(access, first, next)| {
        let vector = access.offset / 16;
        let entries = [first.dwords(vector, &board), next.dwords(vector + 1, &board)];
        let bytes = entries.as_flattened().iter().flat_map(|dword| dword.to_le_bytes());
        let mut value = [0; 8];
        for (to, from) in value.iter_mut().zip(bytes.skip((access.offset % 16).into())) {
            *to = from;
        }
        let unused = 64 - 8 * u32::from(access.width.bytes());
        Op::Write(access, u64::from_le_bytes(value) << unused >> unused)
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let target = prop_oneof![
        6 => Just(Target::Doorbell),
        6 => Just(Target::Slot(0)),
        1 => (1..4_u32).prop_map(Target::Slot),
        1 => Just(Target::Zero),
    ];
    let upper = prop_oneof![9 => Just(0), 1 => Just(1)];
    let data = prop_oneof![
        8 => (0..BELLS).prop_map(Board::ringing),
        1 => select(vec![0, 0x8000_0041, 0x8765_4321, u32::MAX]),
    ];
    (target, upper, data, control()).prop_map(|(target, upper, data, control)| Entry {
        target,
        upper,
        data,
        control,
    })
}

/// Vector Control: the Mask Bit, now and then with reserved bits.
fn control() -> impl Strategy<Value = u32> {
    prop_oneof![6 => Just(0), 4 => Just(1), 1 => any::<u32>()]
}

/// The bits of Message Control by a WORD, by a byte, and by a DWORD from the start as Windows does.
fn control_write() -> impl Strategy<Value = Op> {
    let high = prop_oneof![9 => Just(0x80_u64), 3 => Just(0xc0), 1 => Just(0x00), 1 => Just(0x40)];
    let form = select(vec![
        (Access::new(Region::Capability, 2, Width::Word), 8),
        (Access::new(Region::Capability, 3, Width::Byte), 0),
        (Access::new(Region::Capability, 0, Width::Dword), 24),
    ]);
    (form, high).prop_map(|((access, shift), high)| Op::Write(access, high << shift))
}

fn capability_access() -> impl Strategy<Value = Access> {
    accesses(Region::Capability, CAPABILITY_SIZE, &Width::ALL[..3])
}

/// Mostly as a driver does it, and else at any width and offset.
fn table_access(vectors: u16) -> BoxedStrategy<Access> {
    let aligned = accesses(Region::Table, vectors * 16, &Width::ALL[2..]);
    let aligned = aligned.prop_map(|access| Access {
        offset: access.offset - access.offset % access.width.bytes(),
        ..access
    });
    prop_oneof![2 => aligned, 1 => accesses(Region::Table, vectors * 16, &Width::ALL)].boxed()
}

fn pba_access(vectors: u16) -> impl Strategy<Value = Access> {
    accesses(Region::Pba, vectors.div_ceil(64) * 8, &Width::ALL)
}

/// Any of these widths at any offset at which it ends inside.
fn accesses(region: Region, size: u16, widths: &[Width]) -> impl Strategy<Value = Access> + use<> {
    (select(widths.to_vec()), 0..size).prop_map(move |(width, offset)| {
        Access::new(region, offset.min(size - width.bytes()), width)
    })
}
