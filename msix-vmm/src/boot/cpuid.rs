//! What a guest's CPU says it is: all that the host's KVM can do, and its own place among the guest's CPUs.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm};

use super::error::{BootError, lacks, refused};

/// Leaf 1, ECX: the local APIC's timer takes a deadline. KVM does it, and leaves it to us to say so.
const TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1, ECX: there is a hypervisor, whose own leaves say more; KVM's clock among it, and how fast the TSC runs.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, EDX: the package has more than one logical CPU.
const HTT: u32 = 1 << 28;
/// Levels of leaf 0xb.
const THREADS: u32 = 1;
const CORES: u32 = 2;

/// CPUID of CPU `cpu`, whose APIC ID is its number, of `cpus`: cores of one package, with one thread each.
pub(super) fn of_cpu(kvm: &Kvm, cpu: u32, cpus: u32) -> Result<CpuId, BootError> {
    let supported = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(refused("KVM_GET_SUPPORTED_CPUID"))?;
    let mut leaves = with_topology(supported.as_slice(), cpu, cpus);
    let deadline = if kvm.check_extension(Cap::TscDeadlineTimer) { TSC_DEADLINE } else { 0 };
    let features = leaves.iter_mut().filter(|leaf| leaf.function == 1);
    features.for_each(|leaf| leaf.ecx |= HYPERVISOR | deadline);
    CpuId::from_entries(&leaves).map_err(lacks("room for CPUID"))
}

/// The host's leaves, with the guest's CPUs in them instead of the host's.
fn with_topology(host: &[kvm_cpuid_entry2], cpu: u32, cpus: u32) -> Vec<kvm_cpuid_entry2> {
    let is_extended = |leaf: &kvm_cpuid_entry2| matches!(leaf.function, 0xb | 0x1f);
    let mut leaves: Vec<_> = host.iter().copied().filter(|leaf| !is_extended(leaf)).collect();
    for leaf in &mut leaves {
        match leaf.function {
            0x1 => {
                leaf.ebx = leaf.ebx & 0xffff | cpus << 16 | cpu << 24;
                leaf.edx = if cpus > 1 { leaf.edx | HTT } else { leaf.edx & !HTT };
            }
            // Intel's caches: none is shared by threads, and how many cores there are, in 6 bits.
            0x4 if leaf.eax & 0x1f != 0 => {
                leaf.eax = leaf.eax & 0x3fff | (cpus - 1).min(63) << 26;
            }
            // AMD's count of CPUs, and AMD's IDs.
            0x8000_0008 => leaf.ecx = cpus - 1,
            0x8000_001e => (leaf.eax, leaf.ebx, leaf.ecx) = (cpu, cpu, 0),
            _ => {}
        }
    }
    if host.iter().any(is_extended) {
        let core_bits = cpus.next_power_of_two().trailing_zeros();
        leaves.extend([level(0, THREADS, 0, 1, cpu), level(1, CORES, core_bits, cpus, cpu)]);
    }
    leaves
}

/// A subleaf of leaf 0xb (Intel SDM volume 2, CPUID).
fn level(index: u32, kind: u32, bits: u32, cpus: u32, cpu: u32) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function: 0xb,
        index,
        flags: kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: bits,
        ebx: cpus,
        ecx: index | kind << 8,
        edx: cpu,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host's leaf whose registers are all ones.
    fn leaf(function: u32) -> kvm_cpuid_entry2 {
        let ones = u32::MAX;
        kvm_cpuid_entry2 {
            function,
            eax: ones,
            ebx: ones,
            ecx: ones,
            edx: ones,
            ..Default::default()
        }
    }

    /// The guest's leaf on CPU 2 of 3, of a host that has it.
    fn third_of_three(function: u32) -> Vec<kvm_cpuid_entry2> {
        let leaves = with_topology(&[leaf(function), leaf(0x4000_0000)], 2, 3);
        assert!(leaves.contains(&leaf(0x4000_0000)), "others are the host's");
        leaves.into_iter().filter(|leaf| leaf.function != 0x4000_0000).collect()
    }

    #[test]
    fn leaf_1_has_the_apic_id_and_the_number_of_cpus() {
        assert_eq!(third_of_three(1)[0].ebx, 0x0203_ffff);
        let alone = with_topology(&[leaf(1)], 0, 1);
        assert_eq!(alone[0].edx >> 28 & 1, 0, "HTT");
    }

    #[test]
    fn leaf_b_has_threads_and_cores() {
        for host in [0xb, 0x1f] {
            let leaves = third_of_three(host);
            let registers =
                leaves.iter().map(|leaf| (leaf.function, leaf.eax, leaf.ebx, leaf.ecx, leaf.edx));
            assert_eq!(
                registers.collect::<Vec<_>>(),
                [(0xb, 0, 1, 0x100, 2), (0xb, 2, 3, 0x201, 2)]
            );
        }
    }

    #[test]
    fn amd_counts_from_zero() {
        assert_eq!(third_of_three(0x8000_0008)[0].ecx, 2);
        let ids = third_of_three(0x8000_001e)[0];
        assert_eq!((ids.eax, ids.ebx, ids.ecx), (2, 2, 0));
    }
}
