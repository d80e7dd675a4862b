package compile

import (
	"github.com/nsinit/nsinit/isolate"
	"github.com/nsinit/nsinit/unit"
)

// credentials returns user, groups and privileges of a command, its prefixes
// applied: "+" lifts them all, "!" user and ambient capabilities. "!!" means
// "!" on a kernel without ambient capabilities, and every kernel that nsinit
// runs on has them. The bounding set of the unit is final already: profile and
// protect_ keys are applied.
func (c *compiler) credentials(command unit.Command) isolate.Credentials {
	if command.FullPrivileges {
		return isolate.Credentials{KeepAll: true}
	}
	s := &c.unit.Security
	cred := isolate.Credentials{
		Bounding:   s.CapabilityBoundingSet,
		Ambient:    s.AmbientCapabilities,
		KeepAll:    s.CapabilityBoundingSet == unit.AllCapabilities,
		NoNewPrivs: s.NoNewPrivileges,
		SecureBits: s.SecureBits,
	}
	if command.NoUser {
		cred.Ambient = 0
		return cred
	}
	if c.account.set {
		cred.SetIDs = true
		cred.UID, cred.GID, cred.Groups = c.account.uid, c.account.gid, c.account.groups
	}
	return cred
}
