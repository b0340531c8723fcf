//! Interfaces per instance type and addresses per interface, with cores and memory.
//!
//! Common types only; what is not listed is refused as InvalidInstanceType.

/// Limits of an instance type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceType {
    /// The type's name.
    pub name: &'static str,
    /// Most interfaces an instance can have.
    pub max_enis: u32,
    /// Most private IPv4 addresses on one interface, the primary one included.
    pub ipv4_per_eni: u32,
    /// Cores.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
}

const fn t(
    name: &'static str,
    max_enis: u32,
    ipv4_per_eni: u32,
    vcpus: u32,
    memory_gib: u32,
) -> InstanceType {
    InstanceType { name, max_enis, ipv4_per_eni, vcpus, memory_mib: memory_gib * 1024 }
}

/// The type nodes have unless told otherwise.
pub const DEFAULT: &str = "t3.medium";

/// The known types.
pub const INSTANCE_TYPES: &[InstanceType] = &[
    InstanceType { name: "t3.nano", max_enis: 2, ipv4_per_eni: 2, vcpus: 2, memory_mib: 512 },
    t("t3.micro", 2, 2, 2, 1),
    t("t3.small", 3, 4, 2, 2),
    t("t3.medium", 3, 6, 2, 4),
    t("t3.large", 3, 12, 2, 8),
    t("t3.xlarge", 4, 15, 4, 16),
    t("t3.2xlarge", 4, 15, 8, 32),
    t("t2.micro", 2, 2, 1, 1),
    t("t2.small", 3, 4, 1, 2),
    t("t2.medium", 3, 6, 2, 4),
    t("t4g.small", 3, 4, 2, 2),
    t("t4g.medium", 3, 6, 2, 4),
    t("m5.large", 3, 10, 2, 8),
    t("m5.xlarge", 4, 15, 4, 16),
    t("m5.2xlarge", 4, 15, 8, 32),
    t("m5.4xlarge", 8, 30, 16, 64),
    t("m6i.large", 3, 10, 2, 8),
    t("m6i.xlarge", 4, 15, 4, 16),
    t("m7g.large", 3, 10, 2, 8),
    t("c5.large", 3, 10, 2, 4),
    t("c5.xlarge", 4, 15, 4, 8),
    t("c6i.large", 3, 10, 2, 4),
    t("r5.large", 3, 10, 2, 16),
    t("r6i.large", 3, 10, 2, 16),
];

/// The limits of a type, if known.
pub fn instance_type(name: &str) -> Option<&'static InstanceType> {
    INSTANCE_TYPES.iter().find(|t| t.name == name)
}

impl InstanceType {
    /// How many Pods the VPC CNI lets a node of this type run: ENIs × (addresses − 1) + 2.
    pub const fn max_pods(&self) -> u32 {
        self.max_enis * (self.ipv4_per_eni - 1) + 2
    }
}
