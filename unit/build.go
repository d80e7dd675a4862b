package unit

import (
	"errors"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// builder makes one Unit of what its files say.
type builder struct {
	unit     *Unit
	says     settings
	defaults settings // of nsinit.toml
	network  string   // the instance's default network
	bridges  []Bridge // of nsinit.toml; nil: not known
	context  SpecifierContext
	users    userTable
	errs     List
	unparsed bool // a file could not be read: what it says is unknown
	service  bool // a file has [service]
	linked   bool
	unknown  int // names of units that are not there
}

// build resolves every key. The unit is only good when the list is empty.
func (b *builder) build() (*Unit, List) {
	b.says.dropCleared()
	if b.unparsed {
		sortErrors(b.errs)
		return b.unit, b.errs
	}
	b.unit.target = !b.service
	b.decodeFirst("service.user", "service.group", "isolation.profile")
	b.userContext()
	b.unit.Network.Links = b.says.links()
	for _, k := range keyTable().with(b.unit.Network.Links) {
		if k.Supported && (b.service || k.ofTargets() || b.says.written(k.ID())) {
			b.decode(k)
		}
	}
	b.finish()
	sortErrors(b.errs)
	sortErrors(b.unit.Warnings)
	return b.unit, b.errs
}

// decodeFirst reads keys that others lean on; their errors come again later.
func (b *builder) decodeFirst(ids ...string) {
	errs, warnings := b.errs, b.unit.Warnings
	for _, id := range ids {
		b.decode(keyTable().byID[id])
	}
	b.errs, b.unit.Warnings = errs, warnings
}

// userContext completes what specifiers say of the service's user.
func (b *builder) userContext() {
	s := &b.unit.Service
	b.context.setUser(b.users, s.User, s.Group)
	if b.unit.Isolation.Profile == "" {
		b.unit.Isolation.Profile = ProfileStrict // it has an error
	}
	b.unit.Profile = b.unit.Isolation.Profile
}

// decode sets the field of one key from what is written, the instance's
// defaults, the profile or the format's default, whichever comes first.
func (b *builder) decode(k *Key) {
	set := b.says[k.ID()]
	if set != nil {
		b.origins(k, set)
	} else if set = b.defaults[k.ID()]; set == nil {
		b.preset(k)
		return
	}
	b.read(k, set)
}

// read sets the field of one key from a setting.
func (b *builder) read(k *Key, set *setting) {
	dst := b.field(k)
	if dst.IsValid() && !strings.Contains("Conditions Asserts", k.fieldName()) {
		dst.SetZero()
	}
	c := &valueContext{key: k, unit: b.context, base: b.base(k), specifier: k.expands()}
	if k.kind.whole != nil {
		b.decodeWhole(c, set, dst)
		return
	}
	for _, it := range set.items {
		v, err := k.kind.one(c, it.v)
		if err == nil {
			err = b.assign(k, dst, v)
		}
		if err != nil {
			b.fail(k, it, err)
		}
		b.remark(c, k, it)
	}
}

func (b *builder) origins(k *Key, set *setting) {
	if b.unit.origins == nil {
		b.unit.origins = map[string][]Position{}
	}
	list := make([]Position, 0, len(set.at))
	for _, at := range set.at {
		if at.doc != nil {
			e := at.doc.atKey(at.n)
			list = append(list, Position{e.File, e.Line, e.Col})
		}
	}
	if len(list) > 0 {
		b.unit.origins[k.ID()] = list
	}
}

// presetOf names a value that is the same in every unit.
type presetOf struct {
	profile string
	key     *Key
}

// presetFields are fields as presets set them, by presetOf: most keys are written
// in no unit, and reading the same text again for each made most of a boot.
var presetFields sync.Map

// preset sets the field of a key that nobody writes from the profile or from
// the format's default.
func (b *builder) preset(k *Key) {
	at := presetOf{b.unit.Isolation.Profile, k.canonical()}
	if v, ok := presetFields.Load(at); ok {
		if v := v.(reflect.Value); v.IsValid() {
			b.field(k).Set(v)
		}
		return
	}
	v := profilePreset(at.profile, k)
	if v == nil {
		v = presets()[at.key.ID()]
	}
	if v == nil {
		presetFields.Store(at, reflect.Value{})
		return
	}
	b.read(k, &setting{key: k, items: []item{{v: v}}, resets: true})
	if dst := b.field(k); sameInEvery(dst, v) {
		presetFields.Store(at, reflect.ValueOf(dst.Interface()))
	}
}

// sameInEvery says whether units may have the same value: it shares no memory,
// and no specifier makes another of it in each.
func sameInEvery(dst reflect.Value, v any) bool {
	text, _ := v.(string)
	switch dst.Kind() {
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return !strings.Contains(text, "%")
	}
	return false
}

// base is what "+" and "~" entries of a key change.
func (b *builder) base(k *Key) any {
	switch k.ID() {
	case "security.capability_bounding_set":
		return profileCapabilities(b.unit.Isolation.Profile)
	case "isolation.namespaces":
		return profileNamespaces(b.unit.Isolation.Profile)
	}
	return nil
}

// field is the field of the Unit that a key sets; invalid for timeout_sec,
// which sets two.
func (b *builder) field(k *Key) reflect.Value {
	if k.index == nil {
		return reflect.Value{}
	}
	if k.Table == linkTable || k.link != "" {
		return reflect.ValueOf(b.unit.Network.link(k.link)).Elem().FieldByIndex(k.index)
	}
	return reflect.ValueOf(b.unit).Elem().FieldByIndex(k.index)
}

// decodeWhole reads a list whose elements only have a meaning together.
func (b *builder) decodeWhole(c *valueContext, set *setting, dst reflect.Value) {
	vs := make([]any, len(set.items))
	for i, it := range set.items {
		vs[i] = it.v
	}
	if len(vs) == 0 && c.key.kind.label == cpuSet.label {
		return // an empty list of processors is all of them
	}
	v, err := c.key.kind.whole(c, vs)
	if err == nil {
		err = b.assign(c.key, dst, v)
	}
	if err == nil {
		return
	}
	for i, it := range set.items { // the element that is wrong by itself
		if _, one := c.key.kind.whole(c, vs[i:i+1]); one != nil {
			b.fail(c.key, it, one)
			return
		}
	}
	b.fail(c.key, set.at[len(set.at)-1], err)
}

// assign converts v to the field's type, through a pointer, or appends it.
func (b *builder) assign(k *Key, dst reflect.Value, v any) error {
	val := reflect.ValueOf(v)
	if k.ID() == "service.timeout_sec" {
		return b.assignTimeouts(val)
	}
	switch {
	case val.Type().ConvertibleTo(dst.Type()):
		if dst.Kind() == reflect.Slice && k.kind.whole == nil {
			val = reflect.AppendSlice(dst, val)
		}
		dst.Set(val.Convert(dst.Type()))
	case dst.Kind() == reflect.Slice:
		dst.Set(reflect.Append(dst, val.Convert(dst.Type().Elem())))
	case dst.Kind() == reflect.Pointer:
		p := reflect.New(dst.Type().Elem())
		p.Elem().Set(val.Convert(p.Elem().Type()))
		dst.Set(p)
	default:
		return fmt.Errorf("cannot store %s in %s", val.Type(), dst.Type())
	}
	return nil
}

// assignTimeouts is timeout_sec: each of its two keys wins when written.
func (b *builder) assignTimeouts(val reflect.Value) error {
	for _, id := range []string{"service.timeout_start_sec", "service.timeout_stop_sec"} {
		if !b.says.written(id) {
			b.field(keyTable().byID[id]).Set(val)
		}
	}
	return nil
}

// fail reports a bad value where it stands.
func (b *builder) fail(k *Key, it item, err error) {
	e := &Error{File: b.unit.Path}
	if it.doc != nil {
		e = it.doc.atValue(it.n)
	}
	e.Key, e.Msg = k.ID(), valueMessage(k, it.v, err)
	if errors.Is(err, errNotYet) && k.ID() == "service.type" {
		e.Hint = typesMeanwhile[fmt.Sprint(it.v)]
	}
	b.errs = append(b.errs, e)
}

// valueMessage words an error as "key = value: reason", without saying the
// value twice.
func valueMessage(k *Key, v any, err error) string {
	value, reason := tomlText(v), err.Error()
	if p, ok := v.(pair); ok {
		value = tomlText(p.value)
	}
	switch {
	case errors.Is(err, errNotYet) && strings.HasPrefix(reason, value):
		return k.Name + " = " + reason
	case strings.Contains(reason, value) || value == "the value":
		return k.Name + ": " + reason
	case len(value) > 80:
		value = strconv.Quote(value[1:60] + "...")
	}
	return k.Name + " = " + value + ": " + reason
}

func (b *builder) remark(c *valueContext, k *Key, it item) {
	for _, remark := range c.remarks {
		b.warn(k, it, "%s = %s: %s", k.Name, tomlText(it.v), remark)
	}
	c.remarks = nil
	if k.kind.label == commands.label && it.eatenBackslash() {
		b.warn(k, it, `%s: TOML turned \\ into \ before the command was split; write the command in single quotes`, k.Name)
	}
}

// eatenBackslash says whether a command in a basic string lost a backslash
// that its writer may have meant for the command.
func (it item) eatenBackslash() bool {
	if it.doc == nil || it.n == nil {
		return false
	}
	src := it.doc.src[it.n.off:it.n.end]
	return strings.HasPrefix(src, `"`) && strings.Contains(src, `\\`)
}

func (b *builder) warn(k *Key, it item, format string, args ...any) {
	e := &Error{File: b.unit.Path}
	if it.doc != nil {
		e = it.doc.atValue(it.n)
	}
	e.Key, e.Msg, e.Warning = k.ID(), fmt.Sprintf(format, args...), true
	b.unit.Warnings = append(b.unit.Warnings, e)
}

// sortErrors brings the errors of a unit into the order of its files.
func sortErrors(l List) {
	sort.SliceStable(l, func(i, j int) bool {
		a, b := l[i], l[j]
		if a.File != b.File {
			return false
		}
		return a.Line < b.Line || a.Line == b.Line && a.Col < b.Col
	})
}
