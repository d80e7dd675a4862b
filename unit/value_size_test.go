package unit

import (
	"testing"

	"pgregory.net/rapid"
)

func TestParseSize(t *testing.T) {
	tests := []struct {
		in   string
		want uint64 // 0: refused, except "0"
	}{
		{"0", 0}, {"1", 1}, {"512M", 512 << 20}, {"1.5G", 3 << 29}, {"1K", 1024}, {"10B", 10}, {"1 G", 1 << 30},
		{"1G 500M", 1<<30 + 500<<20}, {"15E", 15 << 60}, {"infinity", Unlimited}, {"0.5K", 512}, {"1T", 1 << 40}, {"1P", 1 << 50},
		{"", 0}, {"M", 0}, {"-1", 0}, {"16E", 0}, {"5M 1G", 0}, {"1 2", 0}, {"1k", 0}, {"1MB", 0}, {"1.", 0},
		{"18446744073709551615", 0}, {"18446744073709551616", 0}, {"50%", 0}, {"1G M", 0},
	}
	for _, tt := range tests {
		got, err := ParseSize(tt.in)
		if refuse := tt.want == 0 && tt.in != "0"; refuse != (err != nil) || got != tt.want && err == nil {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", tt.in, got, err, tt.want)
		}
	}
}

func TestParseAmount(t *testing.T) {
	tests := []struct {
		in   string
		want Amount
		ok   bool
	}{
		{"512M", Amount{Set: true, Value: 512 << 20}, true},
		{"infinity", Amount{Set: true, Value: Unlimited}, true},
		{"50%", Amount{Set: true, Share: 5000}, true},
		{"12.34%", Amount{Set: true, Share: 1234}, true},
		{"100%", Amount{Set: true, Share: 10000}, true},
		{"0%", Amount{Set: true}, true},
		{"0.1%", Amount{Set: true, Share: 10}, true},
		{"101%", Amount{}, false}, {"-1%", Amount{}, false}, {"%", Amount{}, false}, {"1.234%", Amount{}, false}, {"5 %%", Amount{}, false},
	}
	for _, tt := range tests {
		got, err := ParseAmount(tt.in)
		if tt.ok != (err == nil) || tt.ok && got != tt.want {
			t.Errorf("ParseAmount(%q) = %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
}

func TestParseTasksMax(t *testing.T) {
	tests := []struct {
		in   string
		want Amount
		ok   bool
	}{
		{"15%", Amount{Set: true, Share: 1500}, true}, {"100", Amount{Set: true, Value: 100}, true},
		{"infinity", Amount{Set: true, Value: Unlimited}, true},
		{"0", Amount{}, false}, {"1K", Amount{}, false}, {"-1", Amount{}, false}, {"", Amount{}, false}, {"9223372036854775808", Amount{}, false},
	}
	for _, tt := range tests {
		got, err := ParseTasksMax(tt.in)
		if tt.ok != (err == nil) || tt.ok && got != tt.want {
			t.Errorf("ParseTasksMax(%q) = %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
}

func TestAmountOf(t *testing.T) {
	for _, tt := range []struct {
		amount      Amount
		total, want uint64
	}{
		{Amount{Value: 7}, 100, 7}, {Amount{Share: 1500}, 32768, 4915}, {Amount{Share: 5000}, 1<<40 + 1, 1 << 39},
		{Amount{Share: 10000}, Unlimited, Unlimited}, {Amount{Share: 1}, 9999, 0},
	} {
		if got := tt.amount.Of(tt.total); got != tt.want {
			t.Errorf("%+v of %d = %d, want %d", tt.amount, tt.total, got, tt.want)
		}
	}
}

// A share never gives more than the whole, and a greater share never less.
func TestAmountOfProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Uint64().Draw(t, "total")
		share := rapid.Uint32Range(1, 9999).Draw(t, "share")
		less, more := Amount{Share: share}.Of(total), Amount{Share: share + 1}.Of(total)
		if less > more || more > total {
			t.Fatalf("share %d of %d is %d, share %d is %d", share, total, less, share+1, more)
		}
	})
}

func TestParseCPUQuota(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want uint64 // 0: refused
	}{
		{"20%", 2000}, {"150%", 15000}, {"12.5%", 1250}, {"1%", 100}, {"0.5%", 0}, {"0%", 0}, {"20", 0}, {"-1%", 0}, {"99999999999%", 0},
	} {
		got, err := ParseCPUQuota(tt.in)
		if (err == nil) != (tt.want != 0) || err == nil && got != tt.want {
			t.Errorf("ParseCPUQuota(%q) = %d, %v; want %d", tt.in, got, err, tt.want)
		}
	}
}

func TestParseIOBandwidth(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want IoLimit
		ok   bool
	}{
		{"/dev/sda 5M", IoLimit{"/dev/sda", 5_000_000}, true},
		{"  /var  1K ", IoLimit{"/var", 1000}, true},
		{"/dev/sda infinity", IoLimit{"/dev/sda", Unlimited}, true},
		{`"/a b" 1`, IoLimit{"/a b", 1}, true},
		{"/dev/sda", IoLimit{}, false}, {"5M", IoLimit{}, false}, {"sda 5M", IoLimit{}, false},
		{"/dev/sda 0", IoLimit{}, false}, {"/dev/sda 5M x", IoLimit{}, false}, {"/dev/sda x", IoLimit{}, false}, {"", IoLimit{}, false},
	} {
		got, err := ParseIOBandwidth(tt.in)
		if tt.ok != (err == nil) || tt.ok && got != tt.want {
			t.Errorf("ParseIOBandwidth(%q) = %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
}
