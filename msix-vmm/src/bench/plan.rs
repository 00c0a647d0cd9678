//! What is measured: every workload, in both modes, for its numbers of vectors.

use clap::ValueEnum;
use serde::Serialize;

use super::host::Host;
use super::measure::Outcome;
use super::pass::{Bench, Measured};
use super::{beside, bring_up, guest, life, masks, registers, rig::KvmHost, triggers};
use crate::cli::BenchArgs;

/// How interrupts leave the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// By `KVM_SIGNAL_MSI`
    Signal,
    /// Every vector has its descriptor
    Irqfd,
}

/// One row: a workload and its circumstances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Case {
    pub(super) workload: &'static str,
    pub(super) mode: Mode,
    pub(super) vectors: u16,
    pub(super) threads: u16,
    /// Who writes the registers, where both were tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) driver: Option<Driver>,
    /// How, where there is more than one way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<By>,
}

/// Who writes the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Driver {
    /// A loop in the host: no exits.
    Host,
    /// A guest on KVM.
    Guest,
}

/// What closes all vectors; which other vector's mask is flipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum By {
    /// MSI-X Enable is cleared.
    Enable,
    /// Function Mask is set.
    FunctionMask,
    /// That of the vector next to it.
    Neighbour,
    /// That of the last vector.
    Distant,
}

/// How a workload runs.
pub(super) type Run<H> = fn(&Bench<'_, H>, &Case) -> Outcome<Measured>;

/// A workload.
pub(super) struct Workload<H: Host> {
    pub(super) name: &'static str,
    sizes: &'static [u16],
    needs: Needs,
    variants: &'static [Variant],
    pub(super) run: Run<H>,
}

/// What a workload cannot do without, in signal mode.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Kvm,
}

/// In how many ways a workload runs.
#[derive(Clone, Copy)]
struct Variant {
    threads: u16,
    driver: Option<Driver>,
    by: Option<By>,
}

impl Variant {
    const ONE: Self = Self { threads: 1, driver: None, by: None };
    const TWO_THREADS: Self = Self { threads: 2, ..Self::ONE };
    const HOST: Self = Self { driver: Some(Driver::Host), ..Self::ONE };
    const GUEST: Self = Self { driver: Some(Driver::Guest), ..Self::ONE };
    const ENABLE: Self = Self { by: Some(By::Enable), ..Self::ONE };
    const NEIGHBOUR: Self = Self { by: Some(By::Neighbour), ..Self::ONE };
    const DISTANT: Self = Self { by: Some(By::Distant), ..Self::ONE };
    const FUNCTION_MASK: Self = Self { by: Some(By::FunctionMask), ..Self::ONE };
}

/// How cost grows.
const GROWTH: &[u16] = &[1, 3, 8, 32, 64, 256, 1024, 2048];
/// What must not grow.
const REGISTERS: &[u16] = &[1, 64, 2048];
/// One QWORD of the PBA, and the most.
const ENDS: &[u16] = &[64, 2048];
/// Where the number does not matter.
const USUAL: &[u16] = &[64];
/// What a guest is let do: each access is an exit.
const BY_GUEST: &[u16] = &[64, 1024];
/// Ten devices with 64 each.
const TEN_DEVICES: &[u16] = &[bring_up::DEVICES * 64];

const ONE: &[Variant] = &[Variant::ONE];
const THREADS: &[Variant] = &[Variant::ONE, Variant::TWO_THREADS];
const BY_HOST: &[Variant] = &[Variant::HOST];
const OTHERS: &[Variant] = &[Variant::NEIGHBOUR, Variant::DISTANT];
const CLOSINGS: &[Variant] = &[Variant::ENABLE, Variant::FUNCTION_MASK];

/// Those that run on any host.
pub(super) fn on_any_host<H: Host>() -> Vec<Workload<H>> {
    use Needs::{Kvm, Nothing};
    let workload =
        |name, sizes, needs, variants, run| Workload { name, sizes, needs, variants, run };
    vec![
        workload("bring-up/batch", GROWTH, Nothing, BY_HOST, bring_up::batch as Run<H>),
        workload("bring-up/one-by-one", GROWTH, Nothing, BY_HOST, bring_up::one_by_one),
        workload("bring-up/linux", GROWTH, Nothing, BY_HOST, bring_up::linux),
        workload(bring_up::TEN_DEVICES, TEN_DEVICES, Nothing, BY_HOST, bring_up::ten_devices),
        workload("mask-pair", ENDS, Nothing, ONE, masks::pair),
        workload("affinity", ENDS, Nothing, ONE, masks::affinity),
        workload("trigger/open", USUAL, Kvm, THREADS, triggers::open),
        workload("trigger/masked", USUAL, Nothing, THREADS, triggers::masked),
        workload("trigger/function-masked", USUAL, Nothing, THREADS, triggers::function_masked),
        workload("trigger/beside-other-mask", USUAL, Kvm, OTHERS, beside::other_mask),
        workload("trigger/beside-same-mask", USUAL, Kvm, ONE, beside::same_mask),
        workload("table-read", REGISTERS, Nothing, ONE, registers::table_read),
        workload("table-write", REGISTERS, Nothing, ONE, registers::table_write),
        workload("capability-read", REGISTERS, Nothing, ONE, registers::capability_read),
        workload("pba-read", REGISTERS, Nothing, ONE, registers::pba_read),
        workload("snapshot", ENDS, Nothing, ONE, life::snapshot),
        workload("restore", ENDS, Nothing, ONE, life::restore),
        workload("disable", ENDS, Nothing, CLOSINGS, life::disable),
        workload("destroy", ENDS, Nothing, ONE, life::destroy),
    ]
}

/// The one that needs a guest.
pub(super) fn on_a_guest() -> Workload<KvmHost> {
    Workload {
        name: "bring-up/linux",
        sizes: BY_GUEST,
        needs: Needs::Kvm,
        variants: &[Variant::GUEST],
        run: guest::linux,
    }
}

impl<H: Host> Workload<H> {
    /// The rows that are asked for, where there is KVM or where there is none.
    pub(super) fn cases(&self, args: &BenchArgs, kvm: bool) -> Vec<Case> {
        let prefix = args.only.as_deref().unwrap_or_default();
        if !self.name.starts_with(prefix) {
            return Vec::new();
        }
        let modes = [Mode::Signal, Mode::Irqfd].into_iter();
        let modes = modes
            .filter(|&mode| args.mode.is_none_or(|only| only == mode))
            .filter(|&mode| kvm || (mode == Mode::Signal && self.needs == Needs::Nothing));
        modes.flat_map(|mode| self.cases_of(mode, args)).collect()
    }

    fn cases_of(&self, mode: Mode, args: &BenchArgs) -> Vec<Case> {
        let case = |vectors| {
            move |&Variant { threads, driver, by }: &Variant| Case {
                workload: self.name,
                mode,
                vectors,
                threads,
                driver,
                by,
            }
        };
        let sizes = self.sizes(args).into_iter();
        let all = sizes.flat_map(|vectors| self.variants.iter().map(case(vectors)));
        all.filter(|case| case.vectors >= case.vectors_needed()).collect()
    }

    fn sizes(&self, args: &BenchArgs) -> Vec<u16> {
        const QUICK: u16 = 64;
        match args.vectors {
            _ if self.sizes == TEN_DEVICES => self.sizes.to_vec(),
            Some(vectors) => vec![vectors],
            None if args.quick => {
                self.sizes.iter().copied().filter(|&size| size <= QUICK).collect()
            }
            None => self.sizes.to_vec(),
        }
    }
}

impl Case {
    /// Two threads have a vector each, and so have a trigger and the mask that is flipped beside it.
    fn vectors_needed(&self) -> u16 {
        if self.threads > 1 || self.workload == "trigger/beside-other-mask" { 2 } else { 1 }
    }
}
