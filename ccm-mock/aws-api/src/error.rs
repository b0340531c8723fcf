//! The errors AWS answers, by exact code. Messages are AWS's sentences, written where the refusal happens.
//!
//! It does not know HTTP statuses of a wire protocol beyond "client error".

use crate::text_enum::text_enum;

text_enum! {
    /// An error code on the wire.
    Code {
        AllocationIdNotFound = "InvalidAllocationID.NotFound",
        AttachmentLimitExceeded = "AttachmentLimitExceeded",
        CertificateNotFound = "CertificateNotFound",
        DependencyViolation = "DependencyViolation",
        DuplicateListener = "DuplicateListener",
        DuplicateLoadBalancerName = "DuplicateLoadBalancerName",
        DuplicateTagKeys = "DuplicateTagKeys",
        DuplicateTargetGroupName = "DuplicateTargetGroupName",
        HostedZoneNotEmpty = "HostedZoneNotEmpty",
        InsufficientFreeAddressesInSubnet = "InsufficientFreeAddressesInSubnet",
        InvalidArn = "InvalidArnException",
        InvalidAttachmentNotFound = "InvalidAttachmentID.NotFound",
        InvalidChangeBatch = "InvalidChangeBatch",
        InvalidConfigurationRequest = "InvalidConfigurationRequest",
        InvalidDomainName = "InvalidDomainName",
        InvalidGroupDuplicate = "InvalidGroup.Duplicate",
        InvalidGroupNotFound = "InvalidGroup.NotFound",
        InvalidInstanceIdNotFound = "InvalidInstanceID.NotFound",
        InvalidInstanceType = "InvalidInstanceType",
        InvalidLoadBalancerAction = "InvalidLoadBalancerAction",
        InvalidNetworkInterfaceInUse = "InvalidNetworkInterface.InUse",
        InvalidNetworkInterfaceNotFound = "InvalidNetworkInterfaceID.NotFound",
        InvalidParameterCombination = "InvalidParameterCombination",
        InvalidParameterValue = "InvalidParameterValue",
        InvalidPermissionDuplicate = "InvalidPermission.Duplicate",
        InvalidPermissionNotFound = "InvalidPermission.NotFound",
        InvalidScheme = "InvalidScheme",
        InvalidSecurityGroup = "InvalidSecurityGroup",
        InvalidSubnet = "InvalidSubnet",
        InvalidSubnetIdNotFound = "InvalidSubnetID.NotFound",
        InvalidTarget = "InvalidTarget",
        InvalidVpcIdNotFound = "InvalidVpcID.NotFound",
        IpInUse = "InvalidIPAddress.InUse",
        ListenerNotFound = "ListenerNotFound",
        LoadBalancerNotFound = "LoadBalancerNotFound",
        NoSuchHostedZone = "NoSuchHostedZone",
        OperationNotPermitted = "OperationNotPermitted",
        PriorityInUse = "PriorityInUse",
        PrivateIpAddressLimitExceeded = "PrivateIpAddressLimitExceeded",
        ResourceInUse = "ResourceInUse",
        ResourceInUseException = "ResourceInUseException",
        ResourceNotFound = "ResourceNotFoundException",
        RuleNotFound = "RuleNotFound",
        RulesPerSecurityGroupLimitExceeded = "RulesPerSecurityGroupLimitExceeded",
        SubnetNotFound = "SubnetNotFound",
        TargetGroupAssociationLimit = "TargetGroupAssociationLimit",
        TargetGroupNotFound = "TargetGroupNotFound",
        TooManyActions = "TooManyActions",
        TooManyCertificates = "TooManyCertificates",
        TooManyListeners = "TooManyListeners",
        TooManyLoadBalancers = "TooManyLoadBalancers",
        TooManyRules = "TooManyRules",
        TooManyTags = "TooManyTags",
        TooManyTargetGroups = "TooManyTargetGroups",
        TooManyTargets = "TooManyTargets",
        TooManyUniqueTargetGroupsPerLoadBalancer = "TooManyUniqueTargetGroupsPerLoadBalancer",
        UnsupportedProtocol = "UnsupportedProtocol",
        ValidationError = "ValidationError",
        InternalFailure = "InternalFailure",
    }
}

text_enum! {
    /// A member of a request, by its name in the API.
    Parameter {
        Actions = "Actions",
        Attributes = "Attributes",
        Certificates = "Certificates",
        Conditions = "Conditions",
        DefaultActions = "DefaultActions",
        HealthCheckIntervalSeconds = "HealthCheckIntervalSeconds",
        HealthCheckPath = "HealthCheckPath",
        HealthCheckPort = "HealthCheckPort",
        HealthCheckProtocol = "HealthCheckProtocol",
        HealthCheckTimeoutSeconds = "HealthCheckTimeoutSeconds",
        HealthyThresholdCount = "HealthyThresholdCount",
        Matcher = "Matcher",
        Name = "Name",
        Port = "Port",
        Protocol = "Protocol",
        SecurityGroups = "SecurityGroups",
        Subnets = "Subnets",
        UnhealthyThresholdCount = "UnhealthyThresholdCount",
    }
}

/// A refusal: code and AWS's sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// The code callers match on.
    pub code: Code,
    /// The sentence people read.
    pub message: String,
    /// The member of the request that is refused, where one is to blame. It is not on the wire.
    pub parameter: Option<Parameter>,
    /// Which element of it: an attribute's key, a condition's value, an ARN.
    pub element: Option<String>,
}

impl Error {
    /// An error of this code and sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into(), parameter: None, element: None }
    }

    /// The same about a member of the request.
    pub fn of(self, parameter: Parameter) -> Self {
        Error { parameter: Some(parameter), ..self }
    }

    /// The same about one element of that member.
    pub fn element(self, element: impl Into<String>) -> Self {
        Error { element: Some(element.into()), ..self }
    }

    /// True when the code says that the thing named does not exist.
    pub fn is_not_found(&self) -> bool {
        use Code::*;
        matches!(
            self.code,
            CertificateNotFound
                | InvalidGroupNotFound
                | InvalidInstanceIdNotFound
                | InvalidNetworkInterfaceNotFound
                | InvalidSubnetIdNotFound
                | InvalidVpcIdNotFound
                | ListenerNotFound
                | LoadBalancerNotFound
                | NoSuchHostedZone
                | ResourceNotFound
                | RuleNotFound
                | SubnetNotFound
                | TargetGroupNotFound
        )
    }
}
