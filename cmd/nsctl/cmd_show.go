package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/cobra"
)

func showCmd(a *app) *cobra.Command {
	var properties, values []string
	var value bool
	cmd := &cobra.Command{
		Use: "show [UNIT...]", Short: "Print the fields of a unit's status, or of the manager's", ValidArgsFunction: a.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			properties, value = append(properties, values...), value || len(values) > 0
			if len(args) == 0 {
				m, err := a.api().Manager(cmd.Context())
				if err != nil {
					return err
				}
				return a.show(m, properties, value)
			}
			first := true
			return a.each(cmd.Context(), args, func(unit string) error {
				st, err := a.api().Status(cmd.Context(), unit)
				if err != nil {
					return err
				}
				if !first && !a.json {
					fmt.Fprintln(a.out)
				}
				first = false
				return a.show(st, properties, value)
			})
		},
	}
	cmd.Flags().StringSliceVarP(&properties, "property", "p", nil, "only these fields, with dots for fields inside (network.mode); systemd's names do too")
	cmd.Flags().StringSliceVarP(&values, "value-of", "P", nil, "-p and --value in one")
	cmd.Flags().BoolVar(&value, "value", false, "print values without names")
	return cmd
}

// show prints fields as name=value: texts and numbers as they are, the rest as
// JSON. No properties means all.
func (a *app) show(v any, properties []string, value bool) error {
	if a.json && len(properties) == 0 {
		return a.printJSON(v)
	}
	if len(properties) == 0 {
		properties = fieldNames(v)
	}
	picked := map[string]any{}
	for _, name := range properties {
		f, err := field(v, name)
		if err != nil {
			return err
		}
		picked[name] = f
		if a.json {
			continue
		}
		text, err := plain(f)
		if err != nil {
			return err
		}
		if !value {
			text = name + "=" + text
		}
		fmt.Fprintln(a.out, text)
	}
	if a.json {
		return a.printJSON(picked)
	}
	return nil
}

// fieldNames gives the JSON names of a struct's fields, in their order.
func fieldNames(v any) []string {
	var names []string
	for f := range reflect.TypeOf(v).Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// systemdNames are systemd's properties whose names here are others. The rest
// differ in their writing alone (MainPID, main_pid).
var systemdNames = map[string]string{"Id": "name", "Names": "name", "FragmentPath": "path", "DropInPaths": "drop_ins",
	"UnitFileState": "enabled", "NeedDaemonReload": "changed_on_disk", "NRestarts": "restarts", "TasksCurrent": "tasks",
	"ExecMainPID": "main_pid", "ExecMainCode": "last_exit.code", "ExecMainStatus": "last_exit.status"}

// field finds a field by its JSON name, or systemd's; dots lead into structures.
func field(v any, path string) (any, error) {
	rv := reflect.ValueOf(v)
	for name := range strings.SplitSeq(orElse(systemdNames[path], path), ".") {
		for rv.Kind() == reflect.Pointer {
			if rv.IsNil() {
				return "", nil
			}
			rv = rv.Elem()
		}
		if rv.Kind() != reflect.Struct {
			return nil, fmt.Errorf("cannot show %q: %q is not a structure; --json shows all of it", path, name)
		}
		i := -1
		for j, n := range fieldNames(rv.Interface()) {
			if n == name || flat(n) == flat(name) {
				i = j
			}
		}
		if i < 0 {
			return nil, fmt.Errorf("cannot show %q: there is no such field (nsctl show without -p lists them)", path)
		}
		rv = rv.Field(i)
	}
	return rv.Interface(), nil
}

func plain(v any) (string, error) {
	switch rv := reflect.ValueOf(v); rv.Kind() {
	case reflect.String:
		return clean(rv.String()), nil
	case reflect.Slice, reflect.Map, reflect.Pointer:
		if rv.IsNil() {
			return "", nil
		}
		if list, ok := v.([]string); ok {
			return clean(strings.Join(list, " ")), nil
		}
	}
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("cannot encode: %w", err)
	}
	return escapeJSON(string(data)), nil
}
