package unit

import (
	"strings"
	"testing"
)

// TestErrors: each text is the unit web; want is every error of it.
func TestErrors(t *testing.T) {
	service := "[service]\nexec_start = '/bin/x'\n"
	for _, tt := range []struct{ name, text, want string }{
		{"unknown key", "[service]\nexec_startt = '/bin/x'\n",
			"2:1: unknown key exec_startt in [service]; did you mean exec_start?"},
		{"unknown key far from any", service + "qwertz = 1\n",
			"3:1: unknown key qwertz in [service]"},
		{"wrong table", service + "memory_max = '1G'\n",
			"3:1: memory_max belongs to [resources], not to [service]"},
		{"systemd's name", "[service]\nExecStart = '/bin/x'\n",
			"2:1: unknown key ExecStart in [service]; write exec_start"},
		{"systemd's name, wrong table", service + "MemoryMax = '1G'\n",
			"3:1: unknown key MemoryMax in [service]; write memory_max in [resources]"},
		{"irregular name", service + "UMask = '0077'\n",
			"3:1: unknown key UMask in [service]; write umask"},
		{"another case", service + "USER = 'x'\n",
			"3:1: unknown key USER in [service]; write user"},
		{"case of a table", "[Service]\nexec_start = '/bin/x'\n",
			"1:2: unknown table [Service]; did you mean [service]?"},
		{"renamed", service + "private_network = true\nPrivatePIDs = true\n",
			"3:1: private_network belongs to [network]; write mode = \"private\" (the default)\n" +
				"4:1: PrivatePIDs belongs to [isolation]; write namespaces = [\"+pid\"] (the default)"},
		{"before any table", "exec_start = '/bin/x'\n",
			"1:1: the key exec_start stands before any table; it belongs to [service]"},
		{"several at once", "[service]\ntype = 'forkin'\nexec_start = 'x'\nrestart = true\nrestart_sec = 'soon'\n",
			"2:8: type = \"forkin\": one of simple, exec, oneshot, notify, notify-reload, forking, idle\n" +
				"3:14: exec_start: command \"x\" does not begin with an absolute path; write a command as one string (\"/bin/x -a b\") or its exact argv as an array in the array ([[\"/bin/x\", \"-a\", \"b\"]])\n" +
				"4:11: restart = true: one of no, always, on-success, on-failure, on-abnormal, on-abort, on-watchdog\n" +
				"5:15: restart_sec: time span \"soon\": expected a number at \"soon\""},
		{"octal", service + "umask = 077\n",
			"3:9: a number cannot begin with 0: write it as a string, \"077\""},
		{"mode as a number", service + "umask = 77\n",
			"3:9: umask: 77 is a number; write the mode as an octal string, \"077\""},
		{"bare words", service + "send_sighup = yes\nsend_sigkill = off\nuser = www-data\n",
			"3:15: true and false are the only truth values: write true\n" +
				"4:16: true and false are the only truth values: write false\n" +
				"5:8: a bare word is no value: write it in quotes, \"www-data\""},
		{"quoted boolean", service + "send_sighup = 'yes'\n",
			"3:15: send_sighup = \"yes\": true or false, without quotes"},
		{"not yet", "[service]\ntype = 'dbus'\nbus_name = 'org.x'\nexec_start = '/bin/x'\n[socket.web]\nlisten_stream = 80\n[timer]\non_boot_sec = 5\n",
			"2:8: type = \"dbus\" is not supported yet; write type = \"exec\"; it counts as started without its bus name\n" +
				"3:1: bus_name is not supported yet\n" +
				"5:2: [socket.NAME] is not supported yet\n" +
				"7:2: [timer] is not supported yet"},
		{"array where one value goes", service + "user = ['a', 'b']\n",
			"3:8: user takes one value, not an array"},
		{"element", service + "[unit]\nafter = ['network', 'a/b']\n",
			"4:21: after: unit name \"a/b\": \"/\" is not allowed; write an instance of a path as `nsctl` and systemd-escape(1) do, / as -"},
		{"flat argv", "[service]\nexec_start = ['/bin/x', 'a b']\n",
			"2:25: exec_start = \"a b\": command \"a\" does not begin with an absolute path; write a command as one string (\"/bin/x -a b\") or its exact argv as an array in the array ([[\"/bin/x\", \"-a\", \"b\"]])"},
		{"two programs", "[service]\nexec_start = ['/bin/x', '/bin/y']\n",
			"2:25: exec_start = \"/bin/y\": only a oneshot can have several; use exec_start_pre or exec_start_post"},
		{"no program", "[service]\nuser = 'x'\n", "exec_start is missing: a service of type simple needs one"},
		{"environment", service + "environment = { A = 1, B = [1] }\n",
			"3:28: environment takes strings: B is an array"},
		{"environment name", service + "environment = { 'A-B' = 'x' }\n",
			"3:25: environment = \"x\": \"A-B\" is no name of a variable: letters, digits and _, no digit first"},
		{"syntax", "[service\nexec_start = 1\n", "1:9: expected '.' or ']' to end table name, but got '\\n' instead"},
		{"twice", service + "exec_start = '/bin/y'\n", "3:1: Key 'service.exec_start' has already been defined."},
		{"control character", "[service]\nuser = 'a\x1b[31m'\n", "2:10: control character U+001B"},
		{"escaped control character", service + "[unit]\ndescription = \"\\u001b[31m\"\n",
			"4:15: description: \"\\x1b[31m\" holds a control character"},
		{"not UTF-8", "[service]\nuser = '\xff'\n", "2:9: not UTF-8"},
		{"target with a sandbox", "[unit]\n[filesystem]\nprivate_tmp = false\n",
			"3:1: private_tmp: a unit without [service] is a target, which has no [filesystem]"},
		{"no mount namespace", service + "[isolation]\nprofile = 'host'\n[filesystem]\nprivate_tmp = true\n",
			"6:1: private_tmp needs a mount namespace, which profile host has not; write namespaces = [\"+mount\"]"},
		{"hostname without uts", service + "[isolation]\nnamespaces = '~uts'\nhostname = 'x'\n",
			"5:1: hostname needs a UTS namespace; write namespaces = [\"+uts\"]"},
		{"user namespace", service + "[isolation]\nnamespaces = ['+user']\n",
			"4:15: namespaces = \"+user\": the namespace \"user\" is not supported yet"},
		{"net is no member", service + "[isolation]\nnamespaces = ['+net']\n",
			"4:15: namespaces = \"+net\": net is no member: mode in [network] alone decides about the network"},
		{"oneshot that restarts", "[service]\ntype = 'oneshot'\nexec_start = '/bin/x'\nrestart = 'always'\n",
			"4:1: restart = \"always\": a oneshot would never end; use on-failure or no"},
		{"directory", service + "[filesystem]\nstate_directory = ['../x', '/y', {path = 'z', mod = '1'}]\n",
			"4:20: state_directory: \"../x\" leaves the directory of its kind\n" +
				"4:28: state_directory: \"/y\": a path below the directory of its kind, without a leading /\n" +
				"4:34: state_directory: unknown entry mod: there are path, mode, owner and preserve"},
		{"specifier", service + "user = '%q'\n",
			"3:8: user: specifier %q in \"%q\": no such specifier; write %% for a %"},
		{"capability", service + "[security]\ncapability_bounding_set = ['+CAP_NET_ADMIN', 'NET_RAW']\n",
			"4:46: capability_bounding_set: unknown capability \"NET_RAW\"; write \"CAP_NET_RAW\""},
		{"ambient", service + "user = 'x'\n[security]\nambient_capabilities = 'CAP_KILL'\ncapability_bounding_set = 'CAP_CHOWN'\n",
			"5:1: ambient_capabilities: CAP_KILL is not in capability_bounding_set"},
		{"unknown units", "[unit]\nrequires = ['db', 'basi']\nbinds_to = 'web'\n" + service,
			"2:13: requires = \"db\": no such unit\n2:19: requires = \"basi\": no such unit (nearest: basic)"},
		{"size", strings.Repeat("# 4567\n", 40000), "larger than 256 KiB"},
		{"depth", "[service]\na = " + strings.Repeat("[", 20), "2:19: nested deeper than 16 levels"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, root := loadFiles(t, map[string]string{"etc/web.toml": tt.text})
			got := errorsOf(s, root, "web")
			got = strings.ReplaceAll(strings.ReplaceAll(got, "etc/web.toml: ", ""), "etc/web.toml:", "")
			if got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
			if _, err := s.Resolve("default"); err != nil {
				t.Errorf("a bad unit stopped another: %v", err)
			}
		})
	}
}
