package systemd

import "strings"

// skip is a directive of systemd that nsinit knowingly has no key for.
type skip struct {
	reason   string
	security bool // it protected something: leaving it out is a loss
}

// obsoleteNames are old spellings that systemd itself still reads.
var obsoleteNames = map[string]string{
	"ReadWriteDirectories": "ReadWritePaths", "ReadOnlyDirectories": "ReadOnlyPaths",
	"InaccessibleDirectories": "InaccessiblePaths", "StartLimitInterval": "StartLimitIntervalSec",
	"MemoryLimit": "MemoryMax", "OnFailureIsolate": "OnFailureJobMode", "PropagateReloadTo": "PropagatesReloadTo",
	"PropagateReloadFrom": "ReloadPropagatedFrom", "BindTo": "BindsTo", "RequiresOverridable": "Requires",
	"RequisiteOverridable": "Requisite", "SystemCallFilters": "SystemCallFilter",
}

// skipped are the directives that have no key here, by name and by prefix
// (with a *): "no feature" is not a reason, what happens instead is.
var skipped = map[string]skip{}

func init() {
	for _, group := range []struct {
		names, reason string
		security      bool
	}{
		{"AllowIsolate IgnoreOnIsolate SurviveFinalKillSignal", "there is no isolate verb and no second kill phase to be left out of", false},
		{"OnFailureJobMode OnSuccessJobMode", "jobs never replace others here", false},
		{"JobRunningTimeoutSec JobTimeoutAction JobTimeoutRebootArgument RebootArgument FailureActionExitStatus SuccessActionExitStatus", "the action has no argument here", false},
		{"CollectMode", "a unit's file keeps it listed", false},
		{"WantsMountsFor", "mounts are not units here; requires_mounts_for checks them", false},
		{"SourcePath", "it names what generated the file", false},
		{"ConditionNeedsUpdate AssertNeedsUpdate ConditionCredential AssertCredential ConditionFirmware AssertFirmware ConditionOSRelease AssertOSRelease ConditionPathIsEncrypted AssertPathIsEncrypted ConditionPathIsSocket AssertPathIsSocket ConditionFraction AssertFraction ConditionMachineTag AssertMachineTag ConditionVersion AssertVersion ConditionCPUFeature AssertCPUFeature ConditionMemoryPressure AssertMemoryPressure ConditionCPUPressure AssertCPUPressure ConditionIOPressure AssertIOPressure ConditionKernelModuleLoaded AssertKernelModuleLoaded", "no such condition here: the start is not held back by it; write exec_condition", false},
		{"RestartMode TimeoutStartFailureMode TimeoutStopFailureMode ExecReloadPost RefreshOnReload LUOSession NFTSet TimeoutCleanSec", "no such step here", false},
		{"Sockets", "sockets stand in the unit itself, as [socket.NAME]", false},
		{"PermissionsStartOnly", "write ! before the commands that need root", false},
		{"RootDirectoryStartOnly RootHash RootHashSignature RootVerity RootImageOptions RootEphemeral RootMStack MountImages MountAPIVFS ExtensionImages ExtensionDirectories", "images are not mounted", false},
		{"StandardInputText StandardInputData", "standard input is null", false},
		{"LogExtraFields LogNamespace LogFilterPatterns SyslogFacility SyslogLevel SyslogLevelPrefix", "records have the unit's name and a level only", false},
		{"ExecSearchPath", "programs are found when the unit is imported", false},
		{"Personality NUMAPolicy NUMAMask CPUSchedulingResetOnFork MemoryKSM MemoryTHP", "it is the manager's", false},
		{"DefaultMemoryMin DefaultMemoryLow MemoryZSwapMax MemoryZSwapWriteback StartupCPUWeight StartupIOWeight StartupAllowedCPUs StartupMemoryHigh StartupMemoryMax StartupMemoryLow StartupMemorySwapMax StartupMemoryZSwapMax StartupAllowedMemoryNodes AllowedMemoryNodes CPUQuotaPeriodSec IODeviceWeight IODeviceLatencyTargetSec CPUSetPartition DisableControllers CPUShares StartupCPUShares BlockIOWeight StartupBlockIOWeight BlockIODeviceWeight BlockIOReadBandwidth BlockIOWriteBandwidth", "no such limit here", false},
		{"MemoryAccounting CPUAccounting IOAccounting TasksAccounting BlockIOAccounting IPAccounting", "accounting is always on", false},
		{"ManagedOOMSwap ManagedOOMMemoryPressure ManagedOOMMemoryPressureLimit ManagedOOMPreference ManagedOOMMemoryPressureDurationSec MemoryPressureWatch MemoryPressureThresholdSec CPUPressureWatch CPUPressureThresholdSec IOPressureWatch IOPressureThresholdSec OOMRules OOMKills CoredumpReceive DelegateSubgroup", "there is no systemd-oomd to read it", false},
		{"IPAddressAllow IPAddressDeny IPIngressFilterPath IPEgressFilterPath SocketBindAllow SocketBindDeny RestrictNetworkInterfaces BPFProgram BindNetworkInterface", "no packet filter of that kind; see [network]", true},
		{"AppArmorProfile SELinuxContext SmackProcessLabel RestrictFileSystems FileSystemAccess", "security modules are not configured", true},
		{"PrivateBPF BPFDelegateCommands BPFDelegateMaps BPFDelegatePrograms BPFDelegateAttachments DelegateNamespaces", "no such restriction here", true},
		{"SetCredentialEncrypted LoadCredentialEncrypted IPCNamespacePath UserNamespacePath", "the value cannot be had here", true},
		{"BindLogSockets", "the log sockets are always the service's own", false},
		{"SetLoginEnvironment USBFunctionDescriptors USBFunctionStrings NotifyReload", "it is not used here", false},
		{"MemoryDenyWriteExecuteLog ConcurrencySoftMax ConcurrencyHardMax", "it is for slices", false},
		// of triggers
		{"ListenMessageQueue ListenUSBFunction Transparent Mark IPTOS IPTTL Priority PipeSize MessageQueueMaxMessages MessageQueueMessageSize PassSecurity PassPacketInfo PassPIDFD PassFileDescriptorsToExec AcceptFileDescriptors DeferTrigger DeferTriggerMaxSec Timestamping TCPCongestion Broadcast NoDelay DeferAcceptSec KeepAliveTimeSec KeepAliveIntervalSec KeepAliveProbes SELinuxContextFromNet SmackLabel SmackLabelIPIn SmackLabelIPOut Writable FlushPending BindToDevice SocketProtocol PollLimitIntervalSec PollLimitBurst ExecStopPre FileDescriptorName XAttrEntryPoint XAttrListen XAttrAccept MaxConnectionsPerSource", "no such option of a socket here", false},
		{"OnClockChange OnTimezoneChange RemainAfterElapse RandomizedOffsetSec DeferReactivation TriggerLimitIntervalSec TriggerLimitBurst DirectoryMode", "no such option of a trigger here", false},
	} {
		for _, name := range strings.Fields(group.names) {
			skipped[name] = skip{group.reason, group.security}
		}
	}
}

// securityNames are directives of which a loss is one of protection.
func protects(name string) bool {
	for _, prefix := range []string{"Protect", "Private", "Restrict", "SystemCall", "Capability", "NoNewPrivileges", "LockPersonality",
		"MemoryDeny", "RemoveIPC", "KeyringMode", "SecureBits", "DynamicUser", "Inaccessible", "ReadOnlyPaths", "NoExecPaths",
		"DevicePolicy", "ProcSubset", "User", "Group", "UMask", "RootDirectory", "RootImage", "TemporaryFileSystem"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return skipped[name].security
}
